"""Inputs that the user makes constants: `--set sr=16000`, in Python `fixed={"sr": 16000}`.

    >>> fixed_values({"sr": 16000}, [Declared("sr", "i64", ())])["sr"]
    array(16000)

A page need not give what it always gives alike (a sample rate, a temperature, a mask), and what a
model computes of it alone is folded, the condition of an If included. The sizes of the value are
those of the input, also where the model leaves them open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WebDNNError
from ..graph import DTYPES, array_type


@dataclass(frozen=True)
class Declared:
    """An input as its model declares it: an open dimension is its name there, or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        shown = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {DTYPES[self.dtype]}[{shown}]"


def parse_fixed(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` by name: numbers, true and false, lists of them, and .npy files.

    Raises WebDNNError for what is none of these.
    """
    fixed: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise WebDNNError(
                f"--set {text}: expected NAME=VALUE, as in sr=16000, causal=true, sizes=[4,8] or "
                "mask=mask.npy"
            )
        if name in fixed:
            raise WebDNNError(f"--set {text}: {name} is given twice")
        try:
            fixed[name] = Path(value) if value.endswith(".npy") else _parsed(value)
        except (ValueError, RecursionError):
            raise WebDNNError(
                f"--set {text}: expected a number, true or false, a list as [1,2], or an .npy file "
                f"as the value of {name}; found {value!r}"
            ) from None
    return fixed


def _parsed(text: str) -> Any:
    """A number, as JSON or Python writes it, a truth value, or lists of them."""
    try:
        return float(text) if text.lower().strip("+-") in ("nan", "inf") else json.loads(text)
    except ValueError:
        return json.loads(text.lower())  # True, as Python writes it


def fixed_values(fixed: Mapping[str, Any], declared: Sequence[Declared]) -> dict[str, np.ndarray]:
    """The constants by input, as arrays of the inputs' dtypes and shapes.

    A number is the value of an input without axes, or of one that has a single element. Raises
    WebDNNError for a name that is no input and for a value that does not fit, with the inputs.
    """
    inputs = {d.name: d for d in declared}
    listed = "; ".join(map(str, declared)) or "none"
    out = {}
    for name, given in fixed.items():
        if name not in inputs:
            raise WebDNNError(f"--set {name}: the model has no such input. It has {listed}")
        wanted = inputs[name]
        value = _array(name, given)
        if value.ndim == 0 and all(d == 1 for d in wanted.shape):
            value = value.reshape((1,) * len(wanted.shape))
        fits = len(wanted.shape) == value.ndim and all(
            not isinstance(d, int) or d == n for d, n in zip(wanted.shape, value.shape)
        )
        cast = _cast(value, array_type(wanted.dtype).name)
        if not fits or cast is None:
            shape = f"[{', '.join(map(str, value.shape))}]" if value.ndim else f" {value}"
            raise WebDNNError(
                f"--set {name}: expected a value for {wanted}; found {value.dtype}{shape}. "
                f"The model's inputs are {listed}"
            )
        out[name] = cast
    if out.keys() == inputs.keys() and inputs:
        raise WebDNNError(
            f"--set {' '.join(out)}: no input is left that a page could give; the outputs would be "
            "constants"
        )
    return out


def constant_note(name: str, value: np.ndarray) -> str:
    """What is said of an input that has become a constant."""
    shown = f" {value.tolist()}" if value.size <= 4 else f" of shape {list(value.shape)}"
    return f"input {name!r} is the constant{shown} (--set)"


def _array(name: str, given: Any) -> np.ndarray:
    """A value as the user gives it: a number, nested lists, an array, or an .npy file."""
    try:
        if isinstance(given, (str, os.PathLike)):
            return np.asarray(np.load(given, allow_pickle=False))
        array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error  # without the name again
        raise WebDNNError(f"--set {name}={given}: expected an .npy file: {why}") from error
    except ValueError as error:
        raise WebDNNError(
            f"--set {name}: expected a number, or lists of numbers that are equally long, or an "
            f".npy file: {error}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise WebDNNError(f"--set {name}: expected numbers, found {type(given).__name__}")
    return array


def _cast(value: np.ndarray, dtype: str) -> np.ndarray | None:
    """The value in another dtype; None if that cannot hold it or is of another kind."""
    to = np.dtype(dtype)
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
    if not value.size:
        return value.astype(to)
    if value.dtype.kind not in kinds[to.kind]:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        cast = value.astype(to)
    if to.kind in "iu" and not np.array_equal(cast, value):
        return None
    overflows = to.kind == "f" and not np.array_equal(np.isfinite(cast), np.isfinite(value))
    return None if overflows else cast


__all__ = ["Declared", "constant_note", "fixed_values", "parse_fixed"]
