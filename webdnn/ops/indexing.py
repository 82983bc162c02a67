"""Reads at positions that are computed: each says which element of its first input it takes.

    >>> from webdnn.graph import placeholder
    >>> gather(placeholder("x", (10, 8), "f32"), placeholder("at", (2, 3), "i64"))
    gather:f32[2,3,8]

Positions are signed integers; negative ones count from the end, and one beyond an axis is clamped
to it, because a kernel cannot raise an error (`passes.checks` finds such ones). Positions that are
known when the model is transpiled become slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ModelError
from ..expr import Expr, as_dim, cast, lift, maximum, minimum, same, select
from ..graph import Node, Op, Value, evaluate, type_text
from .known import INTS, ints, known
from .movement import axis_in, reshape, slice_axis

Read = Callable[[int, Any], Expr]
Index = tuple[Any, ...]


def check_positions(indices: Value, size: Any, what: str) -> None:
    """Raises ModelError for positions that are known now and lie beyond an axis of known size."""
    if not (indices.constant and isinstance(size, int) and indices.size):
        return
    found = evaluate(indices)
    low, high = int(found.min()), int(found.max())
    if low < -size or high >= size:
        wrong = low if low < -size else high
        raise ModelError(f"{what}: position {wrong} is out of range for {size} elements")


def gathered_position(i: Expr, size: Any) -> Expr:
    """A position along an axis of that size: from its end if negative, and clamped to it."""
    i = cast(i, "i32")
    i = select(i < 0, i + size, i)
    return minimum(maximum(i, 0), lift(size) - 1)


def _gather_element(node: Node, read: Read, idx: Index) -> Expr:
    x, indices = node.inputs
    axis = node.attrs["axis"]
    i = gathered_position(read(1, idx[axis : axis + indices.rank]), x.shape[axis])
    return read(0, (*idx[:axis], i, *idx[axis + indices.rank :]))


GATHER = Op(
    "gather",
    "map",
    lambda x, indices, *, axis: [
        ((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    ],
    _gather_element,
    lambda x, indices, *, axis: np.take(x, indices, axis, mode="wrap"),
)


def gather(x: Value, indices: Value, axis: int = 0) -> Value:
    """Take x at indices along an axis: [A..., D, B...], [I...] -> [A..., I..., B...].

    Negative indices count from the end; those beyond the axis are clamped. Raises ModelError where
    one is known to lie beyond it.
    """
    axis = axis_in(axis, x)
    check_positions(indices, x.shape[axis], f"axis {axis} of {type_text(x)}")
    at = known(indices)
    if at is not None and at.size == 1:
        i = at.ravel()[0]
        i = as_dim(i if isinstance(i, Expr) else i if i >= 0 else lift(x.shape[axis]) + i)
        piece = slice_axis(x, axis, i, 1)
        return reshape(piece, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    elements = known(x) if x.op is INTS else None
    if elements is not None and at is not None:
        return ints(np.take(elements, at.astype(np.int64), axis), x.dtype)
    return GATHER(x, indices, axis=axis)


def _gather_elements_element(node: Node, read: Read, idx: Index) -> Expr:
    x, _ = node.inputs
    axis = node.attrs["axis"]
    i = gathered_position(read(1, idx), x.shape[axis])
    return read(0, (*idx[:axis], i, *idx[axis + 1 :]))


GATHER_ELEMENTS = Op(
    "gather_elements",
    "map",
    lambda x, indices, *, axis: [(indices.shape, x.dtype)],
    _gather_elements_element,
    lambda x, indices, *, axis: np.take_along_axis(
        x[tuple(slice(0, n) if k != axis else slice(None) for k, n in enumerate(indices.shape))],
        np.where(indices < 0, indices + x.shape[axis], indices).astype(np.int64),
        axis,
    ),
    flops=2,
)


def gather_elements(x: Value, indices: Value, axis: int) -> Value:
    """Take elements: out[i, j] = x[indices[i, j], j] (for axis 0), in the shape of indices.

    Negative indices count from the end; those beyond the axis are clamped. Raises ModelError where
    one is known to lie beyond it, and where the shapes do not fit.
    """
    axis = axis_in(axis, x)
    check_alike(x, indices, axis)
    check_positions(indices, x.shape[axis], f"axis {axis} of {type_text(x)}")
    return GATHER_ELEMENTS(x, indices, axis=axis)


def check_alike(x: Value, indices: Value, axis: int) -> None:
    """Raises ModelError unless indices have x's axes, and at most its sizes but along `axis`."""
    more = [
        k
        for k, (a, b) in enumerate(zip(x.shape, indices.shape))
        if k != axis and isinstance(a, int) and isinstance(b, int) and b > a
    ]
    if indices.rank != x.rank or more:
        raise ModelError(f"indices {type_text(indices)} do not fit {type_text(x)}")


def _gather_nd_element(node: Node, read: Read, idx: Index) -> Expr:
    x, indices = node.inputs
    batch = node.attrs["batch_dims"]
    depth = indices.shape[-1]
    assert isinstance(depth, int)
    outer = idx[: indices.rank - 1]
    at = list(outer[:batch])
    for k in range(depth):
        i = cast(read(1, (*outer, lift(k))), "i32")
        d = x.shape[batch + k]
        i = select(i < 0, i + d, i)
        at.append(minimum(maximum(i, 0), lift(d) - 1))
    return read(0, (*at, *idx[indices.rank - 1 :]))


GATHER_ND = Op(
    "gather_nd",
    "map",
    lambda x, indices, *, batch_dims: [
        ((*indices.shape[:-1], *x.shape[batch_dims + indices.shape[-1] :]), x.dtype)
    ],
    _gather_nd_element,
    flops=2,
)


def gather_nd(x: Value, indices: Value, batch_dims: int = 0) -> Value:
    """ONNX GatherND: the last axis of indices holds coordinates into x.

    The first batch_dims axes are shared: x [B..., D..., R...], indices [B..., I..., len(D)] ->
    [B..., I..., R...]. Negative coordinates count from the end; others are clamped. Raises
    ModelError where one is known to lie beyond its axis, and where the shapes do not fit.
    """
    check_coordinates(x, indices, batch_dims)
    return GATHER_ND(x, indices, batch_dims=batch_dims)


def check_coordinates(x: Value, indices: Value, batch_dims: int = 0) -> None:
    """Raises ModelError unless the last axis of indices holds coordinates of elements of x."""
    depth = indices.shape[-1] if indices.rank else None
    if (
        not isinstance(depth, int)
        or not 0 <= batch_dims < min(x.rank, indices.rank)
        or not 1 <= depth <= x.rank - batch_dims
        or not all(map(same, x.shape[:batch_dims], indices.shape[:batch_dims]))
    ):
        beside = f" beside {batch_dims} shared axes" if batch_dims else ""
        raise ModelError(f"coordinates {type_text(indices)} do not fit {type_text(x)}{beside}")
    for k in range(depth if indices.constant else 0):
        one = slice_axis(indices, indices.rank - 1, k, 1)
        axis = batch_dims + k
        check_positions(one, x.shape[axis], f"axis {axis} of {type_text(x)}")


__all__ = [
    "GATHER",
    "GATHER_ELEMENTS",
    "GATHER_ND",
    "gather",
    "gather_elements",
    "gather_nd",
]
