"""The different elements of a tensor, and where each is: ONNX's Unique.

    >>> from webdnn.graph import placeholder
    >>> [v.rank for v in Unique(placeholder("x", (6,), "f32"), outputs=4)]
    [1, 1, 1, 1]

How many there are only a run finds (`ops.counted`). Elements are sorted, so that equal ones are
neighbours; slices along an axis are compared each with each: (slices)^2 times their elements.
"""

from __future__ import annotations

from ... import limits, ops
from ...graph import Value, constant
from ..arrays import axis_of

PAIRS = 2**24  # of slices, times their elements


def Unique(x: Value, *, axis: int | None = None, sorted: int = 1, outputs: int) -> list[Value]:
    if axis is None:
        whole, at = ops.reshape(x, (x.size,)), 0
        order, rank = _by_sorting(whole)
    else:
        whole, at = x, axis_of(axis, x)
        order, rank = _by_pairs(x, at)
    n = whole.shape[at]
    line = ops.iota((n,), 0, "i64")
    # order: the elements, equal ones together, the first of them first; rank: of each, by value
    ordered = ops.gather(rank, order, 0)
    starts = _differs(ordered)
    count = ops.add(ops.gather(ordered, ops.sub(ops.ints(n, "i64"), 1), 0), 1)
    count = ops.min_(count, ops.ints(n, "i64"))  # of nothing there is none
    groups = ops.first_true(ops.reshape(starts, (1, n)), n)  # where each value begins in the order
    places = ops.min_(ops.reshape(groups, (n,)), ops.sub(ops.ints(n, "i64"), 1))
    first = ops.gather(order, places, 0)
    exists = ops.less(line, count)
    ends = ops.gather(places, ops.min_(ops.add(line, 1), ops.sub(ops.ints(n, "i64"), 1)), 0)
    ends = ops.where(ops.equal(ops.add(line, 1), count), ops.ints(n, "i64"), ends)
    many = ops.sub(ends, places)
    if not sorted:  # in the order in which they appear
        keys = ops.where(exists, first, ops.add(ops.ints(n, "i64"), line))
        turn = ops.arg_top_k(keys, n, 0, largest=False)
        first, many = ops.gather(first, turn, 0), ops.gather(many, turn, 0)
        back = ops.arg_top_k(turn, n, 0, largest=False)
        rank = ops.gather(back, rank, 0)
    y = ops.gather(whole, first, at)
    found = [
        ops.counted(y, at, count),
        ops.counted(first, 0, count),
        rank,
        ops.counted(many, 0, count),
    ]
    return found[:outputs]


def _differs(x: Value) -> Value:
    """Whether each element of a vector is another than the one before; the first is."""
    n = x.shape[0]
    before = ops.gather(x, ops.max_(ops.sub(ops.iota((n,), 0, "i64"), 1), constant(0, "i64")), 0)
    return ops.logical_or(ops.not_equal(x, before), ops.equal(ops.iota((n,), 0, "i64"), 0))


def _by_sorting(x: Value) -> tuple[Value, Value]:
    """The positions of x's elements in ascending order, and of each its number among values."""
    values, order = ops.sort(x, 0)
    n = x.shape[0]
    number = ops.sub(ops.cumsum(ops.cast(_differs(values), "i64"), 0), 1)
    back = ops.arg_top_k(order, n, 0, largest=False)
    return order, ops.gather(number, back, 0)


def _by_pairs(x: Value, axis: int) -> tuple[Value, Value]:
    """The same of slices along an axis, which are compared element by element."""
    rest = [k for k in range(x.rank) if k != axis]
    n = ops.static(x.shape[axis], "the number of slices")
    rows = ops.reshape(ops.transpose(x, [axis, *rest]), (n, -1))
    many = ops.static(rows.shape[1], "the elements of a slice")
    limits.make(max(0, 4 * (n * n * many - PAIRS)), f"{n} slices of {many} elements in pairs")
    a, b = ops.unsqueeze(rows, [1]), ops.unsqueeze(rows, [0])  # [n, n, many]
    unlike = ops.cast(ops.not_equal(a, b), "i32")
    at = ops.reduce(unlike, "argmax", [2])  # the first element that differs, or the first
    here = ops.equal(ops.iota((1, 1, many), 2, "i64"), at)
    less = ops.reduce(ops.logical_and(here, ops.less(b, a)), "any", [2])
    same = ops.logical_not(ops.cast(ops.reduce(unlike, "max", [2]), "bool"))
    j = ops.iota((1, n, 1), 1, "i64")
    earlier = ops.logical_and(same, ops.less(j, ops.iota((n, 1, 1), 0, "i64")))
    below = ops.cast(ops.logical_or(less, earlier), "i64")
    place = ops.reshape(ops.reduce_sum(below, [1]), (n,))  # of each slice in the order
    order = ops.arg_top_k(place, n, 0, largest=False)
    lead = ops.logical_not(ops.reduce(earlier, "any", [1]))  # [n, 1, 1]: the first of its equals
    leads = ops.gather(ops.reshape(lead, (n,)), order, 0)
    number = ops.sub(ops.cumsum(ops.cast(leads, "i64"), 0), 1)
    return order, ops.gather(number, place, 0)


__all__ = ["Unique"]
