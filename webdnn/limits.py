"""What a model may cost to read: the limits for files from strangers, which one number raises.

    with budget(4):  # four times as much of each
        imported = load("model.onnx")

A file of a kilobyte can ask for gigabytes (a constant of a declared size) or for hours (functions
that call each other twice each). What is computed when a model is transpiled is therefore counted,
before it is computed, against what the file itself holds: constants and their bytes by
`graph.evaluate` and by whoever makes an array, nodes where they are made, calls of functions and of
nested models where they are expanded. A budget belongs to one model and to the thread that reads
it. Outside of one nothing is counted.

Limits: what the compilers of kernels cost is that of the graph, which `NODES` bounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from .errors import UnsupportedError, WebDNNError

P = ParamSpec("P")
T = TypeVar("T")

# Such that a small file is read or refused within 5 seconds of a processor and a gigabyte
# (tests/test_strangers.py); a larger one has its share beside them.
MEMORY = 1 << 28  # bytes of constants that are computed from nothing, at any one time
SHARE = 4  # of the bytes of stored constants, beside MEMORY, for what is computed of these
WORK = 1 << 27  # elements that are computed from nothing
SHARE_OF_WORK = 256  # of the elements of stored constants, beside WORK
NODES = 30_000  # that an import makes, beside
SHARE_OF_NODES = 16  # of those that the file holds
EXPANDED = 5_000  # nodes or layers that calls become, beside
SHARE_OF_CALLS = 64  # of those that the file holds
ELEMENTS = 1 << 31  # of a tensor: a run counts them in 32 bits
EACH = 1024  # elements that an operator on a constant counts for at least: what calling it takes


@dataclass
class Budget:
    """What one model has cost so far, and how many times the limits it may."""

    factor: float = 1.0
    reading: bool = False  # a model, rather than compiling it
    nodes: int = 0
    own: int = 0  # nodes or layers that the file holds
    made: int = 0  # bytes of arrays that are kept
    work: int = 0
    held: int = 0  # elements of the constants that were read
    written: int = 0  # nodes of bodies that are written out
    seen: set[Any] = field(default_factory=set)


_BUDGET: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budget(factor: float = 1.0) -> Iterator[None]:
    """Counts what is done within; within another budget it continues that one.

    factor: how many times the limits are allowed. Raises WebDNNError for one below 1.
    """
    if not (isinstance(factor, int | float) and factor >= 1):
        raise WebDNNError(f"limits are raised by a number from 1 on, found {factor!r}")
    if _BUDGET.get() is not None:
        yield
        return
    token = _BUDGET.set(Budget(factor))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def limited(function: Callable[P, T]) -> Callable[P, T]:
    """A function within a budget of its own, of which its keyword `limits` is the factor."""

    @functools.wraps(function)
    def within(*args: P.args, **options: P.kwargs) -> T:
        factor: Any = options.get("limits", 1)
        try:
            with budget(factor):
                return function(*args, **options)
        except MemoryError:
            raise UnsupportedError(
                "the model takes more memory than there is for this process: choose smaller sizes "
                "with --dim, or a smaller model"
            ) from None

    return within


@contextmanager
def reading() -> Iterator[None]:
    """Within, a model is read: the nodes that are made are counted."""
    with budget():
        spent = _BUDGET.get()
        assert spent is not None
        before, spent.reading = spent.reading, True
        try:
            yield
        finally:
            spent.reading = before


def factor() -> float:
    """How many times the limits are allowed."""
    return (_BUDGET.get() or Budget()).factor


def count_node() -> None:
    """Counts a node of a graph that is being read. Raises UnsupportedError beyond NODES."""
    spent = _BUDGET.get()
    if spent is None or not spent.reading:
        return
    spent.nodes += 1
    allowed = (NODES + SHARE_OF_NODES * spent.own) * spent.factor
    if spent.nodes > allowed:
        raise _beyond(f"the model becomes more than {allowed:.0f} nodes", 2 * spent.factor)


def check_calls(found: int, held: int, what: str) -> None:
    """Raises UnsupportedError if calls become far more nodes or layers (`what`) than there are.

    found: how many they become. held: how many the file holds.
    """
    spent = _BUDGET.get() or Budget()
    spent.own = max(spent.own, held)
    allowed = (EXPANDED + SHARE_OF_CALLS * held) * spent.factor
    if found > allowed:
        raise _beyond(
            f"the file holds {held} {what}, which its calls of one another make {_rounded(found)}, "
            f"more than the {allowed:.0f} allowed",
            min(found, 10**9) * spent.factor / allowed,
        )


def affords(nodes: int) -> bool:
    """Whether so many nodes of bodies that are written out again and again may be added."""
    spent = _BUDGET.get() or Budget()
    return spent.written + nodes <= (NODES + SHARE_OF_NODES * spent.own) * spent.factor


def write(nodes: int, what: str) -> None:
    """Counts nodes of bodies that are written out again and again, before they are (`what`).

    Raises UnsupportedError beyond NODES.
    """
    spent = _BUDGET.get() or Budget()
    spent.written += nodes
    allowed = (NODES + SHARE_OF_NODES * spent.own) * spent.factor
    if spent.written > allowed:
        raise _beyond(
            f"{what}, makes {_rounded(spent.written)} nodes, more than the {allowed:.0f} allowed",
            spent.written * spent.factor / allowed,
        )


def make(nbytes: int, what: str) -> None:
    """Counts an array that is made from nothing and kept; call it before the array is made.

    Raises UnsupportedError beyond MEMORY.
    """
    spent = _BUDGET.get() or Budget()
    spent.made += nbytes
    if spent.made > MEMORY * spent.factor:
        raise _beyond(
            f"{what} would take {_bytes(nbytes)} when the model is transpiled", spent.made / MEMORY
        )


def compute(what: Any, live: int, work: int, stored: Iterable[tuple[Any, int, int]]) -> None:
    """Counts the evaluation of a constant; call it before it is evaluated.

    live: the most bytes that are computed and held at once. work: the elements that are computed.
    stored: key, elements and bytes of each stored constant that it is computed of. Raises
    UnsupportedError beyond the limits.
    """
    spent = _BUDGET.get() or Budget()
    room = 0
    for key, elements, nbytes in stored:
        room += nbytes
        if key not in spent.seen:
            spent.seen.add(key)
            spent.held += elements
    needed = (spent.made + live) / (MEMORY + SHARE * room)
    if needed > spent.factor:
        raise _beyond(
            f"computing the constant {what} would take {_bytes(live)} when the model is transpiled",
            needed,
        )
    spent.work += work
    needed = spent.work / (WORK + SHARE_OF_WORK * spent.held)
    if needed > spent.factor:
        raise _beyond(
            f"computing the model's constants, at last {what}, would take {_rounded(spent.work)} "
            "steps when the model is transpiled",
            needed,
        )


def _beyond(message: str, factor: float) -> UnsupportedError:
    """The error for what only `factor` times the limits would allow."""
    allow = "no machine could do it"
    if factor < 10**4:
        enough = math.ceil(factor + 0.5)
        allow = f"if you trust it, allow it with --limits {enough} (in Python limits={enough})"
    return UnsupportedError(f"{message}: far more than such a file should need; {allow}")


def _bytes(n: int) -> str:
    return f"{n / 2**30:.3g} GiB" if n >= 2**30 else f"{n / 2**20:.3g} MiB"


def _rounded(n: int) -> str:
    return f"{n}" if n < 10**9 else f"about 10^{len(str(n)) - 1}"


__all__ = [
    "EACH",
    "ELEMENTS",
    "affords",
    "budget",
    "check_calls",
    "compute",
    "count_node",
    "factor",
    "limited",
    "make",
    "reading",
    "write",
]
