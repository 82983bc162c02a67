"""Sums of products of 8-bit integers, exact, by the kernels that multiply floats.

    >>> from webdnn.graph import placeholder
    >>> a, b = placeholder("a", (3, 600), "u8"), placeholder("b", (600, 5), "i8")
    >>> integer_matmul(a, b)
    add:i32[3,5]

Floats hold integers up to 2**24, and sums of them are exact in any order while no sum of
magnitudes exceeds that. So a product costs what it costs with floats. Where the sum may be larger
(here 600 * 255 * 128 is) the depth is cut into pieces that are added as integers. Of constant
weights the magnitudes are known, and pieces are seldom needed. What multiplies floats must keep to
sums of products: a transform that does not (Winograd's) would round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..errors import SizesDifferError, UnsupportedError
from ..expr import same
from ..graph import Value, constant, evaluate, type_text
from .elementwise import add, cast, sub
from .linear import matmul
from .movement import reshape, slice_axis
from .quantised import NARROW, dequantize
from .spatial import Pads, convolve, static

EXACT = 2**24  # magnitudes up to which float32 holds every integer
_ENDS = {"u8": (0, 255), "i8": (-128, 127)}


def shifted(q: Value, zero: Value | None) -> Value:
    """q - zero as floats; constants stay as they are stored. zero broadcasts against q."""
    if q.constant and q.dtype in NARROW and (zero is None or zero.constant):
        if zero is None:
            return dequantize(q)
        zero = reshape(zero, (*[1] * (q.rank - zero.rank), *zero.shape))
        return dequantize(q, constant(np.ones(zero.shape, np.float32)), zero)
    wide = cast(q, "i32")
    return cast(wide if zero is None else sub(wide, cast(zero, "i32")), "f32")


def _magnitude(q: Value, zero: Value | None) -> int:
    """The largest magnitude that q - zero may have."""
    lo, hi = _ENDS[q.dtype]
    if zero is None:
        return max(-lo, hi)
    at = evaluate(zero) if zero.constant and zero.size else np.array([lo, hi])
    return max(hi - int(at.min()), int(at.max()) - lo)


def _pieces(
    w: Value, zero: Value | None, axis: int, others: Sequence[int], each: int
) -> list[tuple[int, int]]:
    """Where and how long the parts of an axis of w are of which no sum over it and `others`
    exceeds EXACT, elements of the other operand being at most `each`; none if a part of one does.
    """
    n = w.shape[axis]
    if not isinstance(n, int) or n < 1:
        return []
    if w.constant and (zero is None or zero.constant):
        a = evaluate(w).astype(np.int32)
        a = np.abs(a if zero is None else a - evaluate(zero).astype(np.int32))
        a = a.sum(tuple(others), dtype=np.int64, keepdims=True)
        sums = np.moveaxis(np.cumsum(a, axis), axis, 0)
    else:
        taps = math.prod(static(w.shape[k], "the size of a filter") for k in others)
        sums = np.arange(1, n + 1)[:, None] * (taps * _magnitude(w, zero))
    sums = np.concatenate([np.zeros_like(sums[:1]), sums]) * each
    for count in range(1, n + 1):
        size = -(-n // count)
        size = min(n, -(-size // 4) * 4 if count < n else 1)
        ends = [*range(0, n, size), n]
        if (np.diff(sums[ends], axis=0) <= EXACT).all():
            return [(a, b - a) for a, b in pairwise(ends)]
    return []


def _added(parts: Sequence[Value]) -> Value:
    total = cast(parts[0], "i32")
    for part in parts[1:]:
        total = add(total, cast(part, "i32"))
    return total


def integer_matmul(
    a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> Value | None:
    """(a - a_zero) [..., M, K] @ (b - b_zero) [..., K, N] in i32, of u8 and i8.

    The zero points broadcast against their operands, along K too. Raises SizesDifferError where K
    differs. None where K is unknown, or other integers are given.
    """
    if not same(a.shape[-1], b.shape[-2]):
        message = f"matmul: {type_text(a)} and {type_text(b)} do not fit"
        raise SizesDifferError(message, a.shape[-1], b.shape[-2])
    if not {a.dtype, b.dtype} <= _ENDS.keys():
        return None
    pieces = _pieces(b, b_zero, b.rank - 2, (), _magnitude(a, a_zero))
    x, w = shifted(a, a_zero), shifted(b, b_zero)
    parts = [
        matmul(slice_axis(x, x.rank - 1, at, n), slice_axis(w, w.rank - 2, at, n))
        for at, n in pieces
    ]
    return _added(parts) if parts else None


def integer_convolve(
    x: Value,
    w: Value,
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
    groups: int,
    x_zero: Value | None = None,
    w_zero: Value | None = None,
) -> Value | None:
    """(x - x_zero) [N, spatial..., C] by (w - w_zero) [k..., C/groups, M] in i32, of u8 and i8.

    Padding is x_zero. None for other integers, and where windows are so large that one channel's
    sum may not be exact, or that of a group's channels.
    """
    if x.rank != w.rank or x.shape[-1] != w.shape[-2] * groups or w.shape[-1] % groups:
        raise UnsupportedError(
            f"conv: {type_text(x)} and filters {type_text(w)} with {groups} groups do not fit"
        )
    if not {x.dtype, w.dtype} <= _ENDS.keys():
        return None
    pieces = _pieces(w, w_zero, w.rank - 2, range(w.rank - 2), _magnitude(x, x_zero))
    if not pieces or (groups > 1 and len(pieces) > 1):
        return None
    left, right = shifted(x, x_zero), shifted(w, w_zero)
    return _added(
        [
            convolve(
                slice_axis(left, x.rank - 1, at, n) if groups == 1 else left,
                slice_axis(right, w.rank - 2, at, n),
                strides,
                pads,
                dilations,
                groups,
            )
            for at, n in pieces
        ]
    )


__all__ = ["integer_convolve", "integer_matmul"]
