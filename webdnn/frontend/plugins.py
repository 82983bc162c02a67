"""Operators of users' own: what the formats' `register` functions keep, and files that call them.

    run_plugin("mine.py")      # webdnn transpile model.onnx --plugin mine.py

Each format has a table of `Own` functions by whatever identifies an operator there, to which its
`register` adds. An exception in a user's function is the user's to mend: it becomes one WebDNNError
that says in which line of which file it was raised.

Limits: registered functions stay until the process ends.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

import numpy as np

from .. import ops
from ..errors import WebDNNError
from ..expr import Expr, load, var
from ..graph import Op, Value, constant, scalar_dtype

Key = TypeVar("Key")


@dataclass(frozen=True)
class Own:
    """A function that a user registered. reference: the same in numpy, for `webdnn check`."""

    function: Callable[..., Any]
    reference: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns, having read the operators that it calls.

        What an @elementwise function or a template says is read when kernels are built, which would
        be too late to say who called it.
        """
        found = self.function(*args, **kwargs)
        _read(_values(found), set(_values([*args, *kwargs.values()])))
        return found

    def __str__(self) -> str:
        """As messages show it: "mish (mine.py:4)"."""
        code = _code(self.function)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
        return _name(self.function) + where

    def where(self, error: BaseException) -> str:
        """The end of a message about an exception in the function: " (in mish, mine.py:6)"."""
        code = _code(self.function)
        if code is None:
            return f" (in {_name(self.function)})"
        line = _line(error, code.co_filename) or code.co_firstlineno
        return f" (in {_name(self.function)}, {code.co_filename}:{line})"


def add(table: MutableMapping[Key, Own], key: Key, own: Own, name: str, replace: bool) -> None:
    """Register a function; `name` is what the message calls the operator.

    Raises WebDNNError if another function is registered for it, unless `replace`. The same place of
    the same file is no other function: it has been run again.
    """
    old = table.get(key)
    again = old is not None and (
        old.function is own.function or (_code(own.function) is not None and str(old) == str(own))
    )
    if old is not None and not again and not replace:
        raise WebDNNError(
            f"{name} is registered twice: by {old} and by {own}. "
            "Take one of them out, or say replace=True where the second should replace the first"
        )
    table[key] = own


def as_value(found: Any) -> Value:
    """One result of a user's function as a value; numbers, sizes and arrays are constants.

    Raises TypeError, saying what was found instead, for all else.
    """
    if isinstance(found, Value):
        return found
    if isinstance(found, Expr):  # a size
        return ops.ints(found, "i32")
    try:
        return constant(found)
    except TypeError:
        raise TypeError(
            f"{type(found).__name__}, not a Value as the functions of webdnn.ops do"
        ) from None


def run_plugin(file: str | os.PathLike[str]) -> None:
    """Run a Python file that registers operators.

    Modules beside it may be imported. Raises WebDNNError, with the line, for whatever it raises.
    """
    path = Path(file)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise WebDNNError(f"plugin {path}: cannot be read: {error.strerror}") from None
    module = ModuleType(f"plugin {path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses, for one, look for it
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        at = f"{error.filename or path}:{error.lineno}" if error.lineno else str(path)
        raise WebDNNError(f"plugin {at}: {type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        line = _line(error, str(path))
        at = f"{path}:{line}" if line else str(path)
        kind = "" if isinstance(error, WebDNNError) else f"{type(error).__name__}: "
        raise WebDNNError(f"plugin {at}: {kind}{error}") from error


def _name(function: Callable[..., Any]) -> str:
    if isinstance(function, Op):
        return str(function)
    return str(getattr(inspect.unwrap(function), "__name__", type(function).__name__))


def _code(function: Callable[..., Any]) -> CodeType | None:
    """Where a function is written; None for one that is not written in Python."""
    written = inspect.unwrap(function)
    found = getattr(written.infer if isinstance(written, Op) else written, "__code__", None)
    return found if isinstance(found, CodeType) else None


def _line(error: BaseException, file: str) -> int | None:
    """The line of a file in which an exception was raised, or from which what raised it was
    called.
    """
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return lines[-1] if lines else None


def _values(nested: Any) -> Iterator[Value]:
    if isinstance(nested, Value):
        yield nested
    elif isinstance(nested, (list, tuple, Mapping)):
        for inner in nested.values() if isinstance(nested, Mapping) else nested:
            yield from _values(inner)


def _read(values: Iterator[Value], given: set[Value]) -> None:
    """Read what elementwise functions and templates say of each value between `given` and
    `values`.
    """
    stack, seen = list(values), given
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        stack += v.inputs
        node, op = v.node, v.op

        def read(k: int, at: Any, inputs: Sequence[Value] = v.inputs) -> Expr:
            return load(k, 0, scalar_dtype(inputs[k].dtype))

        if op.template is not None and op.template.space is not None:
            op.template.space(node)
            op.template.define(node, read)
        elif op.pointwise and op.element is not None:
            with np.errstate(all="ignore"):
                op.element(node, read, tuple(var(f"i{k}", d) for k, d in enumerate(v.shape)))


__all__ = ["Own", "add", "as_value", "run_plugin"]
