"""Lengths that only a run finds: axes of which a part exists, and operators that ask how much.

    >>> from webdnn.graph import constant, placeholder
    >>> x, n = placeholder("x", (8, 3), "f32"), placeholder("n", (), "i64")
    >>> counted(x, 0, n)
    counted:f32[?,3]

A value lies in memory as large as it can become; the pass `counted` takes the marks of
`counted` out again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count as counter
from typing import Any
from weakref import WeakKeyDictionary

from ..expr import Dim, Expr, dim, free, lift, maximum, minimum, substitute, upper
from ..graph import COUNTED_DIM, Node, Op, Shape, Value
from .elementwise import cast
from .movement import axis_in, reshape

# Numbers of values in the order in which they were met, so that names sort alike in every process.
_SERIAL = counter()
_SERIALS: WeakKeyDictionary[Value, int] = WeakKeyDictionary()


def _serial(v: Value) -> str:
    if v not in _SERIALS:
        _SERIALS[v] = next(_SERIAL)
    return f"{_SERIALS[v]:09}"


def _counted_infer(x: Value, count: Value, *, axis: int, size: Expr) -> list[tuple[Shape, str]]:
    return [((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)]


COUNTED = Op("counted", "map", _counted_infer, lambda node, read, idx: read(0, idx))


def counted(x: Value, axis: int, count: Value) -> Value:
    """x, of which only the first `count` (a scalar) elements along an axis exist.

    The axis becomes a dimension of its own, up to what it was, that a run finds; what is computed
    of it may not mix these elements with those beyond. The pass `counted` sees to that, and to
    the length of outputs.
    """
    axis = axis_in(axis, x)
    count = cast(reshape(count, ()), "i64")
    # From 1, so that divisions by it are resolved: where there is none, no element is read either.
    name = f"{COUNTED_DIM}{_serial(count)}.{_serial(x)}.{axis}"
    size = dim(name, 1, max(1, upper(x.shape[axis])))
    return COUNTED(x, count, axis=axis, size=size)


# ---- operators that look at a length -------------------------------------------------------------


def _measured_infer(
    *inputs: Value, of: Node, shape: Shape, lengths: tuple[str, ...]
) -> list[tuple[Shape, str]]:
    return [(shape, of._types[0][1])]


def _measured_element(node: Node, read: Callable[..., Expr], idx: tuple[Any, ...]) -> Expr:
    of, names = node.attrs["of"], node.attrs["lengths"]
    first = len(of.inputs)
    found = {name: read(first + k, ()) for k, name in enumerate(names)}

    def settled(e: Any) -> Expr:
        return substitute(
            lift(e), {d: found[d.args[0]] for d in free(e, "dim") if d.args[0] in found}
        )

    def inside(k: int, at: Sequence[Any]) -> Expr:
        """Element `at` of an operand, or one at its edge for what is beyond the result's end."""
        ends = [lift(d) - 1 for d in node.inputs[k].shape]
        return read(k, tuple(minimum(maximum(settled(e), 0), end) for e, end in zip(at, ends)))

    return settled(of.op.element(of, inside, idx))


MEASURED = Op("measured", "map", _measured_infer, _measured_element, flops=2)


def measured(
    v: Value, inputs: Sequence[Value], counts: Mapping[Expr, Value], shape: Sequence[Dim]
) -> Value:
    """A map operator's value v, its lengths that a run finds (`counts`) read from memory.

    inputs, shape: v's own with the axes at their largest. An element that does not exist is
    computed of any that the inputs have.
    """
    names = tuple(str(d.args[0]) for d in counts)
    return MEASURED(*inputs, *counts.values(), of=v.node, shape=tuple(shape), lengths=names)


__all__ = ["COUNTED", "MEASURED", "counted", "measured"]
