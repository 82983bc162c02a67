"""Slices and pads by amounts that only a run knows: positions are computed, and gathered.

    >>> from webdnn.graph import placeholder
    >>> x, n = placeholder("x", (20,), "f32"), placeholder("n", (1,), "i64")
    >>> slice_of(x, n, n, None, None, Results()).rank
    1

Where the model declares the shape of a result, that is its shape. Else a slice has as many
elements as the run finds, at most those of the axis (`ops.counted`); a pad may be of any size, and
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...errors import ModelError
from ...expr import Dim, as_dim, lift, maximum
from ...graph import Value, constant
from ..arrays import axes_of
from .declared import Results, is_known, scalar
from .elements import saturated


def amounts(given: Value, axes: Value | Sequence[int] | None, x: Value) -> dict[int, Value]:
    """What a vector says of each axis of x that it speaks of: i64 scalars.

    Of axes that a run names, each may be one; then an axis is spoken of by 0 where it is none.
    """
    count = ops.static(given.size, "the number of axes")
    given = saturated(given)
    if axes is None or not isinstance(axes, Value) or is_known(axes):
        at = axes_of(axes, x)[:count] if axes is None else axes_of(axes, x)
        if len(at) != count:
            raise ModelError(f"{count} amounts for {len(at)} axes; expected one of each")
        return {a: scalar(given, k) for k, a in enumerate(at)}
    at_run = ops.mod(ops.cast(axes, "i64"), x.rank)
    wide = ops.cast(given, "i64")

    def of(a: int) -> Value:
        mine = ops.where(ops.equal(at_run, a), wide, constant(0, "i64"))
        return ops.reshape(ops.reduce_sum(mine, [0]), ())

    return {a: of(a) for a in range(x.rank)}


def _spoken(axes: Any, a: int, x: Value) -> Value | None:
    """Whether axes that a run names have this one; None where that is known to be so."""
    if not isinstance(axes, Value) or is_known(axes):
        return None
    here = ops.equal(ops.mod(ops.cast(axes, "i64"), x.rank), a)
    return ops.reshape(ops.reduce(here, "any", [0]), ())


def slice_of(
    x: Value,
    starts: Value,
    ends: Value,
    axes: Value | Sequence[int] | None,
    steps: Value | None,
    declared: Results,
) -> Value:
    """x[start:end:step] along axes, as numpy slices."""
    first, last = amounts(starts, axes, x), amounts(ends, axes, x)
    step = {a: constant(1, "i64") for a in first} if steps is None else amounts(steps, axes, x)
    shape = declared.shape(starts, "starts, ends and steps", x.rank) if declared else None
    one, zero = constant(1, "i64"), constant(0, "i64")
    for a, begin in first.items():
        size = ops.ints(x.shape[a], "i64")
        spoken = _spoken(axes, a, x)
        by, end = step[a], last[a]
        if spoken is not None:
            by, end = ops.where(spoken, by, one), ops.where(spoken, end, size)
        most = ops.ints(as_dim(maximum(lift(x.shape[a]), 1)), "i64")  # a longer step is as good
        by = ops.max_(ops.min_(by, most), ops.neg(most))
        down = ops.less(by, 0)
        low = ops.where(down, constant(-1, "i64"), zero)
        high = ops.where(down, ops.sub(size, 1), size)
        begin, end = (ops.where(ops.less(v, 0), ops.add(v, size), v) for v in (begin, end))
        begin = ops.max_(ops.min_(begin, high), zero)
        length: Dim = x.shape[a] if shape is None else shape[a]
        at = ops.add(begin, ops.mul(ops.iota((length,), 0, "i64"), by))
        y = ops.gather(x, ops.max_(ops.min_(at, ops.sub(size, 1)), zero), a)
        if shape is None:
            end = ops.max_(ops.min_(end, high), low)
            rest = ops.where(down, ops.add(by, 1), ops.sub(by, 1))
            many = ops.div(ops.add(ops.sub(end, begin), rest), by)
            y = ops.counted(y, a, ops.max_(many, zero))
        x = y
    return x


def pad_of(
    x: Value,
    pads: Value,
    fill: Any,
    axes: Value | None,
    mode: str,
    declared: Results,
) -> Value:
    """x with elements before and after axes; negative amounts crop."""
    shape = declared.shape(pads, "pads", x.rank)
    count = ops.static(pads.size, "pads") // 2
    before = amounts(ops.slice_axis(pads, 0, 0, count), axes, x)
    for a, n in before.items():
        size = ops.ints(x.shape[a], "i64")
        at = ops.sub(ops.iota((shape[a],), 0, "i64"), n)
        last = ops.sub(size, 1)
        if mode == "reflect":
            back = ops.mod(at, ops.max_(ops.mul(last, 2), constant(1, "i64")))
            place = ops.min_(back, ops.sub(ops.mul(last, 2), back))
        elif mode == "wrap":
            place = ops.mod(at, size)
        else:
            place = ops.max_(ops.min_(at, last), constant(0, "i64"))
        y = ops.gather(x, place, a)
        if mode == "constant":
            inside = ops.logical_and(ops.greater_equal(at, 0), ops.less(at, size))
            value = constant(0, x.dtype) if fill is None else fill
            value = value if isinstance(value, Value) else constant(value, x.dtype)
            y = ops.where(ops.along(inside, a, x.rank), y, ops.reshape(value, ()))
        x = y
    return x
