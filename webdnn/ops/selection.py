"""Choosing elements: sorting, the greatest k, and what is true.

    >>> from webdnn.graph import placeholder
    >>> top_k(placeholder("x", (4, 1000), "f32"), 5, axis=1)
    (gather_elements:f32[4,5], arg_top_k:i64[4,5])

Order is total: of equal elements the one with the lower index goes first, -0 equals 0, and NaN is
greater than every number (as numpy and PyTorch sort). Two kernels do it all: `arg_top_k`, of which
sorting is k = n, and `first_true`, which finds positions.

A result whose length only a run finds has the length of its upper bound; `lengths.counted` ties the
number of its valid elements to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..expr import (
    Dim,
    as_dim,
    lift,
    product,
    upper,
)
from ..graph import (
    Node,
    Op,
    Value,
    computed,
    constant,
    type_text,
)
from .elementwise import cast, div, mod, not_equal
from .indexing import gather_elements
from .known import ints
from .movement import axis_in, concat, expand, reshape, transpose
from .reduce import neutral, reduce_sum

# ---- the greatest k ------------------------------------------------------------------------------

LOCAL = 1024  # so many elements WebGPU sorts in workgroup memory


def order_keys(x: np.ndarray, largest: bool) -> np.ndarray:
    """Unsigned keys whose ascending order is the one of `arg_top_k`."""
    if x.dtype == bool:
        x = x.astype(np.int32)
    if x.dtype.kind == "f":
        bits = (x.astype(np.float32) + np.float32(0)).view(np.uint32)
        keys = np.where(bits >> 31, ~bits, bits | 0x80000000).astype(np.uint64)
        keys = np.where(np.isnan(x), np.uint64(0xFFFFFFFF), keys)
    else:
        keys = (x.astype(np.int64) + (2**31 if x.dtype.kind == "i" else 0)).astype(np.uint64)
    return np.uint64(2**40) - keys if largest else keys


def _arg_top_k_numpy(
    x: np.ndarray, above: np.ndarray | None = None, *, k: int, largest: bool
) -> np.ndarray:
    keys = order_keys(x, largest)
    if above is not None:
        keys[~(x > above)] = 2**62
    found = np.argsort(keys, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(keys, found, 1) == 2**62, -1, found)


def _arg_top_k_kernel(node: Node) -> dict[str, Any]:
    x = node.inputs[0]
    rows, n = x.shape
    k = node.attrs["k"]
    return {
        "items": rows,
        "cost": as_dim(lift(n) * 4),
        "scratch": as_dim(lift(k) * 8),
        "kind": computed(x.dtype),
        "local": upper(k) <= LOCAL,
        "most": upper(k),
        "above": len(node.inputs) > 1,
    }


ARG_TOP_K = Op(
    "arg_top_k",
    "opaque",
    lambda x, *above, k, largest: [((x.shape[0], k), "i64")],
    None,
    _arg_top_k_numpy,
    kernel=_arg_top_k_kernel,
    combines=lambda node: [
        (0, (1,), neutral("max" if node.attrs["largest"] else "min", node.inputs[0].dtype))
    ],
    rows={0: 1},
)


def arg_top_k(
    x: Value, k: Any, axis: int = -1, largest: bool = True, above: Value | None = None
) -> Value:
    """The indices (i64) of the k greatest elements along an axis, greatest first.

    Not `largest`: the k least, least first. Of equal elements the lower index goes first; NaN is
    greater than every number. `above` (f32 of one element): only elements of x (f32, `largest`)
    that are greater than it, so no NaN; where these are fewer than k, -1 follows. Raises
    UnsupportedError if there are fewer than k elements.
    """
    if above is not None and (computed(x.dtype) != "f32" or not largest or above.size != 1):
        raise UnsupportedError(f"top_k of {type_text(x)} above {type_text(above)}")
    axis = axis_in(axis, x)
    k = as_dim(k)
    n = x.shape[axis]
    if upper(k) > upper(n) or (isinstance(k, int) and k < 0):
        raise UnsupportedError(f"top_k: {k} of the {n} elements of axis {axis} of {type_text(x)}")
    perm = [d for d in range(x.rank) if d != axis] + [axis]
    moved = transpose(x, perm)
    rows = product(moved.shape[:-1])
    flat = reshape(moved, (rows, n))
    operands = (flat,) if above is None else (flat, reshape(above, (1,)))
    found = ARG_TOP_K(*operands, k=k, largest=bool(largest))
    found = reshape(found, (*moved.shape[:-1], k))
    return transpose(found, [perm.index(d) for d in range(x.rank)])


def top_k(
    x: Value, k: Any, axis: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Value, Value]:
    """(values, indices i64) of the k greatest elements along an axis; see `arg_top_k`.

    Always sorted: not `sorted` asks for no particular order, and gets this one.
    """
    at = arg_top_k(x, k, axis, largest)
    return gather_elements(x, at, axis), at


def sort(x: Value, axis: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """(values, indices i64) of all elements along an axis in order, stable both ways."""
    return top_k(x, x.shape[axis_in(axis, x)], axis, descending)


# ---- the positions of what is true ---------------------------------------------------------------


def _first_true_numpy(mask: np.ndarray, *, k: int) -> np.ndarray:
    rows, n = mask.shape
    out = np.full((rows, k), n, np.int64)
    for row, found in zip(out, map(np.flatnonzero, mask)):
        row[: len(found)] = found[:k]
    return out


FIRST_TRUE = Op(
    "first_true",
    "opaque",
    lambda mask, *, k: [((mask.shape[0], k), "i64")],
    None,
    _first_true_numpy,
    kernel=lambda node: {"items": node.inputs[0].shape[0], "cost": node.inputs[0].shape[1]},
    combines=lambda node: [(0, (1,), False)],
)


def first_true(mask: Value, k: Dim) -> Value:
    """mask bool [R, n] -> i64 [R, k]: where the 1st, 2nd ... k-th true element of each row is.

    Where a row has fewer, the index is n.
    """
    if mask.rank != 2 or mask.dtype != "bool":
        raise UnsupportedError(f"first_true of {type_text(mask)}: bool [rows, n] expected")
    return FIRST_TRUE(mask, k=as_dim(k))


def non_zero(x: Value, limit: Dim | None = None) -> tuple[Value, Value]:
    """(positions i64 [rank, limit], count i64 []): where x is not 0, in row-major order.

    The first `count` columns are valid; the others hold positions beyond x. limit: an upper bound
    of the count that the caller knows (x.size).
    """
    zero = constant(0, x.dtype) if x.dtype != "bool" else None
    mask = reshape(x if zero is None else not_equal(x, zero), (1, x.size))
    rest = first_true(mask, x.size if limit is None else limit)
    rows: list[Value] = []
    for d in reversed(x.shape):
        size = ints(d, "i64")
        rows.append(mod(rest, size) if len(rows) < x.rank - 1 else rest)
        rest = div(rest, size)
    found = concat(rows[::-1], 0) if rows else expand(constant(0, "i64"), (0, 1))
    return found, reshape(reduce_sum(cast(mask, "i64"), [1]), ())


__all__ = [
    "ARG_TOP_K",
    "FIRST_TRUE",
    "arg_top_k",
    "first_true",
    "non_zero",
    "sort",
    "top_k",
]
