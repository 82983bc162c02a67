"""Writes at computed positions, the other way round: each element looks for what is written to it.

    >>> from webdnn.graph import placeholder
    >>> x, at = placeholder("x", (9, 4), "f32"), placeholder("at", (2, 4), "i64")
    >>> scatter_elements(x, at, placeholder("y", (2, 4), "f32"), 0)
    where:f32[9,4]

A kernel writes each of its elements once, so a scatter is a reduction over the updates: the last
one that names an element wins, or all of them are combined. Positions that are known when the model
is transpiled cost nothing at run time; the others cost (elements of the axis) × (updates to it).
Negative positions count from the end; updates beyond an axis are dropped.
"""

from __future__ import annotations

import math

import numpy as np

from .. import limits
from ..errors import ModelError, UnsupportedError
from ..expr import Dim, as_dim, lift, product, same
from ..graph import Value, constant, evaluate, type_text
from .elementwise import add, equal, from_end, greater_equal, max_, min_, mul, where
from .indexing import (
    check_alike,
    check_coordinates,
    check_positions,
    gather,
    gather_elements,
)
from .known import INTS, ints, known
from .movement import axis_in, iota, pad, reshape, slice_axis, squeeze, unsqueeze
from .reduce import neutral, reduce

# What combines the updates of an element: a monoid, and the operator that joins the old element.
_COMBINED = {"add": ("sum", add), "mul": ("prod", mul), "max": ("max", max_), "min": ("min", min_)}


def scatter_elements(
    x: Value, indices: Value, updates: Value, axis: int, reduction: str = "none"
) -> Value:
    """Replace elements of x: x[indices[i, j], j] = updates[i, j] (for axis 0).

    indices and updates have one shape, at most x's on the other axes. reduction: none (the last
    update wins), add, mul, max or min, with x's own element. Raises ModelError for shapes that do
    not fit, and where a position is known to lie beyond its axis.
    """
    axis = axis_in(axis, x)
    size = x.shape[axis]
    check_alike(x, indices, axis)
    check_positions(indices, size, f"axis {axis} of {type_text(x)}")
    if updates.rank != indices.rank or not all(map(same, updates.shape, indices.shape)):
        raise ModelError(f"updates {type_text(updates)} for indices {type_text(indices)}")
    after = [
        0 if k == axis or same(a, b) else as_dim(lift(a) - b)
        for k, (a, b) in enumerate(zip(x.shape, indices.shape))
    ]
    at = from_end(indices, ints(size, indices.dtype))
    if any(not isinstance(d, int) or d for d in after):
        none = [0] * x.rank
        at, updates = pad(at, none, after, "constant", -1), pad(updates, none, after)
    if reduction == "none":
        last = _last_writer(at, axis, size)
        found = gather_elements(updates, max_(last, 0), axis)
        return where(greater_equal(last, 0), found, x)
    hit = equal(unsqueeze(at, [axis]), _positions(size, axis, x.rank + 1))
    return _combined(x, hit, unsqueeze(updates, [axis]), axis + 1, reduction)


def scatter_nd(x: Value, indices: Value, updates: Value, reduction: str = "none") -> Value:
    """Replace rows of x [D..., R...] at coordinates indices [I..., len(D)] by updates [I..., R...].

    reduction: none (the last update wins), add, mul, max or min, with x's own elements.
    """
    check_coordinates(x, indices)
    depth = indices.shape[-1]
    assert isinstance(depth, int)
    written = (*indices.shape[:-1], *x.shape[depth:])
    if updates.rank != len(written) or not all(map(same, updates.shape, written)):
        raise ModelError(
            f"updates {type_text(updates)} for indices {type_text(indices)} of {type_text(x)}: "
            f"expected {list(written)}"
        )
    outer, rest = x.shape[:depth], x.shape[depth:]
    elements, coordinates, values = known(x), known(indices), known(updates)
    if (
        x.op is INTS and elements is not None and coordinates is not None
        and values is not None and reduction == "none"
    ):  # fmt: skip
        elements = elements.copy()
        for where_to in np.ndindex(coordinates.shape[:-1]):
            elements[tuple(int(i) for i in coordinates[where_to])] = values[where_to]
        return ints(elements, x.dtype)
    rows: Value | None = None
    for k in range(depth):
        i = squeeze(slice_axis(indices, indices.rank - 1, k, 1), [indices.rank - 1])
        i = from_end(i, ints(outer[k], indices.dtype))
        i = mul(i, ints(product(outer[k + 1 :]), indices.dtype))
        rows = i if rows is None else add(rows, i)
    assert rows is not None
    size, count = product(outer), product(indices.shape[:-1])
    rows = reshape(rows, (count,))
    flat, new = reshape(x, (size, *rest)), reshape(updates, (count, *rest))
    ones = [1] * len(rest)
    if reduction == "none":
        last = _last_writer(rows, 0, size)
        found = gather(new, max_(last, 0), 0)
        hit = reshape(greater_equal(last, 0), (size, *ones))
        return reshape(where(hit, found, flat), x.shape)
    hit = equal(unsqueeze(rows, [0]), _positions(size, 0, 2))
    hit = reshape(hit, (size, count, *ones))
    return reshape(_combined(flat, hit, unsqueeze(new, [0]), 1, reduction), x.shape)


def _positions(size: Dim, axis: int, rank: int) -> Value:
    """Positions 0, 1 ... along an axis."""
    return iota([size if k == axis else 1 for k in range(rank)], axis, "i64")


def _last_writer(at: Value, axis: int, size: Dim) -> Value:
    """Last index along an axis that names each of its positions; -1 where none does."""
    if at.constant and isinstance(size, int) and all(isinstance(d, int) for d in at.shape):
        found = evaluate(at).astype(np.int64)
        shape = [size if k == axis else n for k, n in enumerate(found.shape)]
        limits.make(8 * (math.prod(shape) + found.size * (found.ndim + 1)), "a scatter")
        last = np.full(shape, -1, np.int64)
        at_once: list[np.ndarray] = list(np.indices(found.shape))
        order, at_once[axis] = at_once[axis], found
        inside = (found >= 0) & (found < size)
        last[tuple(i[inside] for i in at_once)] = order[inside]  # of equal places the last one wins
        return constant(last, "i64")
    hit = equal(unsqueeze(at, [axis]), _positions(size, axis, at.rank + 1))
    index = _positions(at.shape[axis], axis + 1, at.rank + 1)
    return squeeze(reduce(where(hit, index, constant(-1, "i64")), "max", [axis + 1]), [axis + 1])


def _combined(x: Value, hit: Value, updates: Value, axis: int, reduction: str) -> Value:
    """Combine each element of x with the updates that name it, along `axis`."""
    if reduction not in _COMBINED:
        raise UnsupportedError(
            f"scatter with reduction {reduction!r}; none, add, mul, max and min are supported"
        )
    monoid, join = _COMBINED[reduction]
    chosen = where(hit, updates, constant(neutral(monoid, x.dtype), x.dtype))
    return join(x, squeeze(reduce(chosen, monoid, [axis]), [axis]))


__all__ = ["scatter_elements", "scatter_nd"]
