"""The nearest number of a narrower float type, of numbers that are computed in 32 bits.

    >>> from webdnn.graph import constant, evaluate
    >>> float(evaluate(round_bfloat16(constant(3.1415927, "f32"))))
    3.140625

Halves go to the even neighbour, as the hardware of these types has it.
"""

from __future__ import annotations

import numpy as np

from .. import expr
from ..expr import Expr, absolute, isnan, lift, round_even, select
from ..graph import DTYPES, Op, Value
from .elementwise import elementwise


def _bits(x):
    """The bits of a float32, as u32."""
    return expr.bitcast(x, "u32") if isinstance(x, Expr) else np.float32(x).view(np.uint32)


def _from_bits(u):
    return expr.bitcast(u, "f32") if isinstance(u, Expr) else np.uint32(u).view(np.float32)


def _shortened(x, bits):
    """x without its last `bits` bits, rounded to the nearest, to even between two; of a number."""
    u = _bits(x)
    odd = expr.apply("bitand", expr.apply("shr", u, _u32(u, bits)), _u32(u, 1))
    whole = u + (odd + _u32(u, 2 ** (bits - 1) - 1))
    return _from_bits(expr.apply("bitand", whole, _u32(u, 2**32 - 2**bits)))


def _u32(like, n):
    return lift(n, "u32") if isinstance(like, Expr) else np.uint32(n)


@elementwise
def round_bfloat16(x):
    """The nearest bfloat16, to even between two; beyond the largest, an infinity."""
    return select(isnan(x), x, _shortened(x, 16))


@elementwise
def round_float16(x):
    """The nearest float16, to even between two; beyond the largest, an infinity."""
    if not isinstance(x, Expr):
        return x.astype(np.float16).astype(x.dtype)
    size = absolute(x)
    small = round_even(size * 2.0**24) * 2.0**-24  # in steps of the least
    near = select(size < 2.0**-14, small, _shortened(size, 13))
    near = select(near > 65504.0, float("inf"), near)
    sign_bit = expr.apply("bitand", _bits(x), lift(2**31, "u32"))
    return select(isnan(x), x, _from_bits(expr.apply("bitor", _bits(near), sign_bit)))


# Of the float8 and float4 types: bits after the point, exponent of the least normal number, the
# largest number, what lies beyond it, and whether zero has a sign.
_MINIFLOATS = {
    "f8e4m3fn": (3, -6, 448.0, float("nan"), True),
    "f8e4m3fnuz": (3, -7, 240.0, float("nan"), False),
    "f8e5m2": (2, -14, 57344.0, float("inf"), True),
    "f8e5m2fnuz": (2, -15, 57344.0, float("nan"), False),
    "f4e2m1": (1, 0, 6.0, 6.0, True),
}


@elementwise
def round_minifloat(x, *, to, saturate):
    """The nearest number of a float8 or float4 type, to even between two.

    Beyond the largest: that one where it saturates, else an infinity, or NaN where it has none.
    """
    bits, least, largest, beyond, signed = _MINIFLOATS[to]
    size = absolute(x)
    small = round_even(size * 2.0 ** (bits - least)) * 2.0 ** (least - bits)
    near = select(size < 2.0**least, small, _shortened(size, 23 - bits))
    near = select(near > largest, largest if saturate else beyond, near)
    near = select(x < 0, 0.0 - near, near) if not signed else select(x > 0, near, _negated(x, near))
    return select(isnan(x), x, near)


def _negated(x, size):
    """The size with x's sign, that of a zero included."""
    if not isinstance(x, Expr):
        return np.copysign(size, x)
    sign_bit = expr.apply("bitand", _bits(x), lift(2**31, "u32"))
    return _from_bits(expr.apply("bitor", _bits(size), sign_bit))


@elementwise
def round_power(x, *, how):
    """A power of two (float8 of exponents alone): the next `up` or `down`, or the `nearest`."""
    u = _bits(x)
    more = {"up": 2**23 - 1, "down": 0, "nearest": 2**22}[how]
    power = expr.apply("bitand", u + _u32(u, more), _u32(u, 0x7F800000))
    return select(isnan(x), x, _from_bits(select(power < _u32(u, 1), _u32(u, 0x00400000), power)))


def _viewed(kind: str) -> Op:
    @elementwise(dtype=kind)
    def bits_as(x):
        """The same 32 bits, of another dtype."""
        return expr.bitcast(x, kind) if isinstance(x, Expr) else np.asarray(x).view(DTYPES[kind])

    return bits_as


_VIEWED = {kind: _viewed(kind) for kind in ("f32", "i32", "u32")}


def bits_as(x: Value, to: str) -> Value:
    """The same 32 bits as f32, i32 or u32, of x which is one of these."""
    return _VIEWED[to](x)


__all__ = ["bits_as", "round_bfloat16", "round_float16", "round_minifloat", "round_power"]
