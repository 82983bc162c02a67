"""What every format says of arrays: axes, sizes that must be known, and the order of channels.

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (2, 3, 8, 9), "f32")
    >>> channels_last(x).shape, axis_of(-1, x), along(placeholder("b", (3,), "f32"), 1, 4).shape
    ((2, 8, 9, 3), 3, (1, 3, 1, 1))

Names and meanings are numpy's where it has them. A format's function translates its own attributes
and calls these, so that an axis out of range or a size that is not known is the same error whatever
the model was made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..errors import ModelError, UnsupportedError
from ..expr import Dim, Expr, as_dim, bounds, lift, maximum, minimum, select
from ..graph import Value, evaluate, type_text

# ---- axes ----------------------------------------------------------------------------------------


def axis_of(axis: Any, x: Value, extra: int = 0, what: str = "axis") -> int:
    """An axis of x counted from 0; `extra` axes more than it has are allowed.

    Raises ModelError for one that x has not.
    """
    at = known_int(axis, what)
    rank = x.rank + extra
    if not -rank <= at < rank:
        raise ModelError(f"{what} {at} is out of range for {type_text(x)}")
    return at % rank


def axes_of(axes: Any, x: Value, extra: int = 0) -> list[int]:
    """Axes of x counted from 0, in the order given: one, several, or as a tensor; None is all."""
    if axes is None:
        return list(range(x.rank))
    return [axis_of(a, x, extra) for a in known_ints(axes, "the axes")]


def along(v: Value, axis: int | Sequence[int], rank: int) -> Value:
    """v with its axes as those of a tensor of `rank` axes that it broadcasts against.

    axis: the first of them, or each: a bias [C] along axis 1 of four is [1, C, 1, 1].
    """
    at = list(range(axis, axis + v.rank)) if isinstance(axis, int) else list(axis)
    shape: list[Dim] = [1] * rank
    for k, d in zip(at, v.shape, strict=True):
        shape[k] = d
    return ops.reshape(v, shape)


def without(x: Value, axes: Sequence[int], keepdims: Any = False) -> Value:
    """x without the axes that were reduced, unless they are kept."""
    return x if keepdims or not axes else ops.squeeze(x, axes)


def channels_last(x: Value) -> Value:
    """[N, C, spatial...] as [N, spatial..., C]."""
    return ops.transpose(x, (0, *range(2, x.rank), 1))


def channels_first(x: Value) -> Value:
    """[N, spatial..., C] as [N, C, spatial...]."""
    return ops.transpose(x, (0, x.rank - 1, *range(1, x.rank - 1)))


# ---- what must be known when the model is transpiled ---------------------------------------------


def known_dims(given: Any, what: str) -> list[Dim]:
    """Sizes: the elements of a tensor, or numbers, symbolic ones included; None counts as -1.

    Raises ModelError for None, and UnsupportedError for what depends on the inputs.
    """
    if given is None:
        raise ModelError(f"{what}: none is given")
    if isinstance(given, Value):
        found = ops.known(given)
        if found is None:
            found = known_array(given, what).astype(np.int64).astype(object)
        return [as_dim(d) for d in found.ravel()]
    out: list[Dim] = []
    for item in given if isinstance(given, (list, tuple, np.ndarray)) else [given]:
        out += known_dims(item, what) if isinstance(item, Value) else [-1 if item is None else item]
    return [as_dim(d) for d in out]


def known_ints(given: Any, what: str) -> list[int]:
    """`known_dims` that may not be symbolic."""
    return [ops.static(d, what) for d in known_dims(given, what)]


def known_int(given: Any, what: str) -> int:
    """One such number."""
    found = known_ints(given, what)
    if len(found) != 1:
        raise ModelError(f"{what}: one number expected, {len(found)} found")
    return found[0]


def known_number(given: Any, what: str) -> Any:
    """A number of any kind: a Python number as it is, or the element of a tensor."""
    if not isinstance(given, Value):
        return given
    found = number_or_none(given, what)
    return known_array(given, what) if found is None else found


def number_or_none(v: Value, what: str) -> Any:
    """The element of a tensor that is known, or None where a run computes it."""
    found = ops.known(v)
    if found is None and v.constant:
        found = evaluate(v)
    if found is None:
        return None
    if found.size != 1:
        raise ModelError(f"{what}: one number expected, found {type_text(v)}")
    return found.ravel()[0]


def known_array(v: Value | None, what: str) -> np.ndarray:
    """The elements of a constant."""
    if v is None:
        raise ModelError(f"{what}: none is given")
    if not v.constant:
        raise UnsupportedError(
            f"{what} must be known when the model is transpiled, but depends on the model's inputs "
            f"({v.op}: {type_text(v)}). If it depends only on an input's shape, fix that with --dim"
        )
    return evaluate(v)


# ---- indexing ------------------------------------------------------------------------------------


def slice_range(start: Dim | None, end: Dim | None, step: int, size: Dim) -> tuple[Dim, Dim, int]:
    """(first element, number of elements, step) of numpy's start:end:step of `size` elements."""
    if step == 0:
        raise ModelError("a slice's step must not be 0")
    low, high = (0, size) if step > 0 else (-1, as_dim(lift(size) - 1))
    first, last = (low, high) if step > 0 else (high, low)
    s = lift(first) if start is None else _clamp(_from_end(start, size), 0, high)
    e = lift(last) if end is None else _clamp(_from_end(end, size), low, high)
    count = (e - s + step - 1) // step if step > 0 else (s - e - step - 1) // -step
    return as_dim(s), as_dim(maximum(lift(count), 0)), step


def _from_end(position: Dim, size: Dim) -> Dim:
    """A position that counts from the end if negative."""
    if isinstance(position, int):
        position = max(min(position, 2**31 - 1), -(2**31))
        return as_dim(lift(size) + position) if position < 0 else position
    if bounds(position)[0] >= 0:
        return position
    if bounds(position)[1] < 0:
        return as_dim(position + size)
    return as_dim(select(position < 0, position + size, position))


def _clamp(position: Dim, low: Dim, high: Dim) -> Expr:
    return minimum(maximum(lift(position), low), high)


__all__ = [
    "along",
    "axes_of",
    "axis_of",
    "channels_first",
    "channels_last",
    "known_array",
    "known_dims",
    "known_int",
    "known_ints",
    "known_number",
    "number_or_none",
    "slice_range",
    "without",
]
