"""Integers of 64 bits as two words of 32, for the numbers that are not proved to fit into one.

    >>> from webdnn.graph import constant, evaluate
    >>> x = wide(constant([-3, 10**12], "i64"))
    >>> y = multiply(x, x)
    >>> evaluate(y.low).tolist(), evaluate(y.high).tolist()
    ([9, 2701131776], [0, 3567587328])

A `Words` is two values of u32, with which everything else of the compiler goes on as with any
others. Arithmetic wraps at 64 bits; division truncates, and by zero gives 0; shifts by 64 and more
leave nothing but the sign. Operands broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..expr import apply, as_dim, lift, upper
from ..graph import Shape, Value, constant, evaluate
from .elementwise import (
    add,
    bit_and,
    bit_not,
    bit_or,
    bit_xor,
    broadcast_shapes,
    cast,
    elementwise,
    greater_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    mul,
    not_equal,
    sub,
    trunc_,
    where,
)
from .elementwise import equal as equal_
from .elementwise import less as less_
from .elementwise import shift_left as left_
from .elementwise import shift_right as right_
from .movement import concat, expand, pad, reshape, slice_axis
from .reduce import SCAN, reduce

U = np.uint32


@dataclass(frozen=True)
class Words:
    """A tensor of 64-bit integers: the value of the low and of the high 32 bits of each (u32).

    signed: whether it is i64 or u64.
    """

    low: Value
    high: Value
    signed: bool

    @property
    def shape(self) -> Shape:
        """The sizes of the axes."""
        return broadcast_shapes(self.low.shape, self.high.shape)

    def each(self, f: Callable[[Value], Value]) -> Words:
        """What moves elements, of both words."""
        return Words(f(self.low), f(self.high), self.signed)


def wide(v: Value) -> Words:
    """A value of i64 or u64 whose elements lie in 32 bits; a constant may hold any number."""
    signed = v.dtype == "i64"
    if v.constant:
        bits = evaluate(v).astype(np.int64 if signed else np.uint64).view(np.uint64)
        parts = (bits & np.uint64(0xFFFFFFFF), bits >> np.uint64(32))
        least, most = (constant(part.astype(U), "u32") for part in parts)
        return Words(least, most, signed)
    low = cast(v, "u32")
    zero = number(0, signed).high
    return Words(low, cast(right_(cast(v, "i32"), 31), "u32") if signed else zero, signed)


def number(n: int, signed: bool = True) -> Words:
    """One number for all elements."""
    bits = n % 2**64
    return Words(constant(bits % 2**32, "u32"), constant(bits >> 32, "u32"), signed)


def narrow(x: Words) -> Value:
    """The low words as i64 or u64: the numbers where these fit into 32 bits."""
    return cast(cast(x.low, "i32"), "i64") if x.signed else cast(x.low, "u64")


def fits(x: Words) -> Value:
    """Whether each number fits into 32 bits."""
    return equal_(x.high, cast(right_(cast(x.low, "i32"), 31), "u32") if x.signed else 0)


def joined(x: Words) -> Value:
    """Both words side by side along a new last axis, the low one first: as 64 bits in memory."""
    shape = (*x.shape, 1)
    parts = [reshape(expand(w, x.shape), shape) for w in (x.low, x.high)]
    return cast(concat(parts, len(shape) - 1), "i32" if x.signed else "u32")


def split(v: Value, signed: bool) -> Words:
    """What `joined` has put together."""
    parts = (slice_axis(v, v.rank - 1, k, 1) for k in range(2))
    low, high = (cast(reshape(p, v.shape[:-1]), "u32") for p in parts)
    return Words(low, high, signed)


# ---- words of results: functions of u32 ----------------------------------------------------------


def _and(x: Any, y: Any) -> Any:
    return apply("bitand", x, y)


def _or(x: Any, y: Any) -> Any:
    return apply("bitor", x, y)


def _not(x: Any) -> Any:
    return apply("bitnot", x)


def _add(x: Any, y: Any) -> Any:
    return apply("add", x, y)


def _sub(x: Any, y: Any) -> Any:
    return apply("sub", x, y)


def _mul(x: Any, y: Any) -> Any:
    return apply("mul", x, y)


def _div(x: Any, y: Any) -> Any:
    return apply("idiv", x, y)


def _left(x: Any, n: Any) -> Any:
    return apply("shl", x, n)


def _right(x: Any, n: Any) -> Any:
    return apply("shr", x, n)


def _if(condition: Any, x: Any, y: Any) -> Any:
    return apply("select", condition, x, y)


def _carry(a: Any, b: Any) -> Any:
    """1 where a + b has 33 bits."""
    return _right(_or(_and(a, b), _and(_or(a, b), _not(_add(a, b)))), U(31))


def _borrow(a: Any, b: Any) -> Any:
    """1 where a < b."""
    return _right(_or(_and(_not(a), b), _and(_or(_not(a), b), _sub(a, b))), U(31))


def _product_high(a: Any, b: Any) -> Any:
    """The high word of a * b."""
    a0, a1, b0, b1 = _and(a, U(0xFFFF)), _right(a, U(16)), _and(b, U(0xFFFF)), _right(b, U(16))
    t = _add(_mul(a1, b0), _right(_mul(a0, b0), U(16)))
    u = _add(_mul(a0, b1), _and(t, U(0xFFFF)))
    return _add(_add(_mul(a1, b1), _right(t, U(16))), _right(u, U(16)))


def _leading(x: Any) -> Any:
    """The number of zeros before the first bit that is set; 31 of 0."""
    count = zero = _and(x, U(0))
    for k in (16, 8, 4, 2, 1):
        clear = apply("lt", x, U(1 << (32 - k)))
        count = _add(count, _if(clear, _add(zero, U(k)), zero))
        x = _if(clear, _left(x, U(k)), x)
    return count


def _digit(top: Any, rest: Any, high: Any, low: Any) -> tuple[Any, Any]:
    """A digit of 16 bits of (top, rest) by the divisor (high, low), and what is left of top."""
    q = _div(top, high)
    r = _sub(top, _mul(q, high))
    for _ in range(2):
        digits = apply("gt", _mul(q, low), _or(_left(r, U(16)), rest))
        large = apply("or", apply("ge", q, U(65536)), digits)
        large = apply("and", large, apply("lt", r, U(65536)))
        q, r = _if(large, _sub(q, U(1)), q), _if(large, _add(r, high), r)
    return q, r


def _quotient_word(u1: Any, u0: Any, v: Any) -> Any:
    """(u1, u0) / v, for u1 < v with its highest bit set (Knuth, The Art of Computer Programming,
    vol. 2, 4.3.1, algorithm D, of digits of 16 bits)."""
    high, low = _right(v, U(16)), _and(v, U(0xFFFF))
    q1, _ = _digit(u1, _right(u0, U(16)), high, low)
    rest = _sub(_or(_left(u1, U(16)), _right(u0, U(16))), _mul(q1, v))
    q0, _ = _digit(rest, _and(u0, U(0xFFFF)), high, low)
    return _or(_left(q1, U(16)), q0)


def _quotient(al: Any, ah: Any, bl: Any, bh: Any) -> tuple[Any, Any]:
    """The words of a / b, of numbers without a sign; 0 where b is 0."""
    zero = _and(al, U(0))
    short = apply("eq", bh, zero)
    # A divisor of one word: long division. Of two: an estimate that is one too large at most
    # (Warren, Hacker's Delight, 9-5).
    top = _if(short, _div(ah, bl), zero)
    rest = _sub(ah, _mul(top, bl))
    b = _if(short, bl, bh)
    s = _leading(b)
    back = _sub(U(32), s)
    v = _if(short, _left(bl, s), _or(_left(bh, s), _right(bl, back)))
    u1 = _if(short, _or(_left(rest, s), _right(al, back)), _right(ah, U(1)))
    u0 = _if(short, _left(al, s), _or(_left(ah, U(31)), _right(al, U(1))))
    q = _quotient_word(u1, u0, v)
    estimate = _right(q, _sub(U(31), s))
    estimate = _if(apply("eq", estimate, zero), estimate, _sub(estimate, U(1)))
    low, high = _mul(estimate, bl), _add(_product_high(estimate, bl), _mul(estimate, bh))
    left, left_high = _sub(al, low), _sub(_sub(ah, high), _borrow(al, low))
    same = apply("and", apply("eq", left_high, bh), apply("ge", left, bl))
    more = apply("or", apply("gt", left_high, bh), same)
    estimate = _if(more, _add(estimate, U(1)), estimate)
    nothing = apply("eq", _or(bl, bh), zero)
    return _if(nothing, zero, _if(short, q, estimate)), top


@elementwise
def sum_high(al, bl, ah, bh):
    """The high word of a sum."""
    return _add(_add(ah, bh), _carry(al, bl))


@elementwise
def difference_high(al, bl, ah, bh):
    """The high word of a difference."""
    return _sub(_sub(ah, bh), _borrow(al, bl))


@elementwise
def product_high(al, bl, ah, bh):
    """The high word of a product."""
    return _add(_add(_product_high(al, bl), _mul(al, bh)), _mul(ah, bl))


@elementwise
def quotient_low(al, ah, bl, bh):
    """The low word of a quotient of numbers without a sign."""
    return _quotient(al, ah, bl, bh)[0]


@elementwise
def quotient_high(al, ah, bl, bh):
    """The high word of a quotient of numbers without a sign."""
    return _quotient(al, ah, bl, bh)[1]


@elementwise
def left_high(low, high, n):
    """The high word of a number that is shifted left by n."""
    near = _or(_left(high, n), _right(low, _sub(U(32), n)))
    return _if(apply("lt", n, U(32)), near, _left(low, _sub(n, U(32))))


@elementwise
def right_low(low, high, n):
    """The low word of a number that is shifted right by n."""
    near = _or(_right(low, n), _left(high, _sub(U(32), n)))
    return _if(apply("lt", n, U(32)), near, _right(high, _sub(n, U(32))))


@elementwise(dtype="bool")
def words_less(al, ah, bl, bh):
    """Whether a < b, of numbers without a sign."""
    return apply("or", apply("lt", ah, bh), apply("and", apply("eq", ah, bh), apply("lt", al, bl)))


# ---- arithmetic ----------------------------------------------------------------------------------


def plus(a: Words, b: Words) -> Words:
    """a + b"""
    return Words(add(a.low, b.low), sum_high(a.low, b.low, a.high, b.high), a.signed)


def minus(a: Words, b: Words) -> Words:
    """a - b"""
    return Words(sub(a.low, b.low), difference_high(a.low, b.low, a.high, b.high), a.signed)


def multiply(a: Words, b: Words) -> Words:
    """a * b"""
    return Words(mul(a.low, b.low), product_high(a.low, b.low, a.high, b.high), a.signed)


def negative(a: Words) -> Words:
    """-a"""
    return minus(number(0, a.signed), a)


def below_zero(a: Words) -> Value:
    """Whether each number is less than 0."""
    return greater_equal(a.high, 2**31) if a.signed else constant(False, "bool")


def choose(condition: Value, a: Words, b: Words) -> Words:
    """a where the condition holds, else b."""
    return Words(where(condition, a.low, b.low), where(condition, a.high, b.high), a.signed)


def absolute(a: Words) -> Words:
    """|a|"""
    return choose(below_zero(a), negative(a), a) if a.signed else a


def sign(a: Words) -> Words:
    """-1, 0 or 1"""
    positive = choose(is_zero(a), number(0, a.signed), number(1, a.signed))
    return choose(below_zero(a), number(-1), positive) if a.signed else positive


def is_zero(a: Words) -> Value:
    """Whether each number is 0."""
    return equal_(bit_or(a.low, a.high), 0)


def equal(a: Words, b: Words) -> Value:
    """a == b"""
    return logical_and(equal_(a.low, b.low), equal_(a.high, b.high))


def less(a: Words, b: Words) -> Value:
    """a < b"""
    flip = constant(2**31, "u32")
    high = [bit_xor(x.high, flip) if a.signed else x.high for x in (a, b)]
    return words_less(a.low, high[0], b.low, high[1])


def least(a: Words, b: Words) -> Words:
    """The smaller one."""
    return choose(less(a, b), a, b)


def greatest(a: Words, b: Words) -> Words:
    """The larger one."""
    return choose(less(a, b), b, a)


def divide(a: Words, b: Words) -> Words:
    """The quotient, truncated."""
    x, y = absolute(a), absolute(b)
    words = x.low, x.high, y.low, y.high
    q = Words(quotient_low(*words), quotient_high(*words), a.signed)
    if not a.signed:
        return q
    return choose(logical_xor(below_zero(a), below_zero(b)), negative(q), q)


def remainder(a: Words, b: Words) -> Words:
    """What truncated division leaves, with the sign of a; 0 where b is 0."""
    rest = minus(a, multiply(divide(a, b), b))
    return choose(is_zero(b), number(0, a.signed), rest)


def modulo(a: Words, b: Words) -> Words:
    """The remainder with the sign of b; 0 where that is 0."""
    r = remainder(a, b)
    if not a.signed:
        return r
    other = logical_and(logical_not(is_zero(r)), logical_xor(below_zero(r), below_zero(b)))
    return choose(other, plus(r, b), r)


def power(a: Words, n: Words) -> Words:
    """a to the power of n; of negative n, and of n beyond 63, only 1 and -1 leave something."""
    known = n.low.constant and n.low.size == 1
    most = int(evaluate(n.low).ravel()[0]) if known else 63
    result, square = number(1, a.signed), a
    for k in range(min(max(most.bit_length(), 1), 6)):
        bit = equal_(bit_and(right_(n.low, k), 1), 1)
        result = choose(bit, multiply(result, square), result)
        square = multiply(square, square)
    odd = equal_(bit_and(n.low, 1), 1)
    one, minus_one, zero = (number(x, a.signed) for x in (1, -1, 0))
    units = choose(equal(a, one), one, zero)
    if a.signed:
        units = choose(equal(a, minus_one), choose(odd, minus_one, one), units)
    far = logical_or(not_equal(n.high, 0), greater_equal(n.low, 64))
    return choose(logical_or(below_zero(n), far), units, result)


def bits(op: Callable[..., Value], *x: Words) -> Words:
    """An operator on bits, of both words."""
    return Words(op(*(w.low for w in x)), op(*(w.high for w in x)), x[0].signed)


def _distance(n: Words) -> Value:
    """By how much to shift: 64 for what is less than 0 or more."""
    large = logical_or(not_equal(n.high, 0), greater_equal(n.low, 64))
    return where(large, constant(64, "u32"), n.low)


def shift_left(a: Words, n: Words) -> Words:
    """a << n"""
    by = _distance(n)
    return Words(left_(a.low, by), left_high(a.low, a.high, by), a.signed)


def shift_right(a: Words, n: Words) -> Words:
    """a >> n, with the sign."""
    by = _distance(n)
    turned = choose(below_zero(a), bits(bit_not, a), a) if a.signed else a
    out = Words(right_low(turned.low, turned.high, by), right_(turned.high, by), a.signed)
    return choose(below_zero(a), bits(bit_not, out), out) if a.signed else out


# ---- conversions ---------------------------------------------------------------------------------


def to_float(a: Words, dtype: str) -> Value:
    """As f32 or f64."""
    size = absolute(a)
    f = add(mul(cast(size.high, dtype), 2.0**32), cast(size.low, dtype))
    return where(below_zero(a), mul(f, -1.0), f) if a.signed else f


def from_float(x: Value, signed: bool) -> Words:
    """A value of f32 or f64, truncated; it saturates, and NaN becomes 0."""
    whole = trunc_(x)
    negative_ = less_(whole, 0.0)
    size = where(negative_, mul(whole, -1.0), whole)
    top = trunc_(mul(size, 2.0**-32))
    words = Words(cast(sub(size, mul(top, 2.0**32)), "u32"), cast(top, "u32"), signed)
    least, most = (-(2**63), 2**63 - 1) if signed else (0, 2**64 - 1)
    words = choose(negative_, negative(words) if signed else number(0, False), words)
    ends = choose(negative_, number(least, signed), number(most, signed))
    return choose(greater_equal(size, 2.0 ** (63 if signed else 64)), ends, words)


# ---- along axes ----------------------------------------------------------------------------------


def total(a: Words, axes: Sequence[int], scan: bool = False) -> Words:
    """The sum over axes, or (scan) of each prefix along the one axis."""
    n = 1
    for k in axes:
        n *= upper(a.shape[k])
    width = next((w for w in (16, 8, 4) if n <= 2 ** (32 - w)), None)
    if width is None:
        raise UnsupportedError(f"the sum of {n} integers of 64 bits")

    def added(v: Value) -> Value:
        v = expand(v, a.shape)
        if scan:
            return SCAN(v, monoid="scan_sum", axes=tuple(axes))
        return reduce(v, "sum", axes)

    zero = number(0, a.signed).high
    result = Words(added(bit_and(a.low, 2**width - 1)), zero, a.signed)
    for at in range(width, 32, width):
        part = added(bit_and(right_(a.low, at), 2**width - 1))
        result = plus(result, shift_left(Words(part, zero, a.signed), number(at, a.signed)))
    return Words(result.low, add(result.high, added(a.high)), a.signed)


def extreme(a: Words, axes: Sequence[int], largest: bool) -> Words:
    """The largest or the smallest number over axes."""
    monoid, none = ("max", 0) if largest else ("min", 2**32 - 1)
    flip = constant(2**31 if a.signed else 0, "u32")
    ordered = expand(bit_xor(a.high, flip), a.shape)
    high = reduce(ordered, monoid, axes)
    low = where(equal_(ordered, high), a.low, constant(none, "u32"))
    return Words(reduce(low, monoid, axes), bit_xor(high, flip), a.signed)


def position(a: Words, axis: int, monoid: str) -> Value:
    """Where along an axis the largest or smallest number is: argmax, argmin, or the last such."""
    found = equal(a, extreme(a, [axis], "max" in monoid))
    return reduce(cast(found, "i32"), monoid.replace("min", "max"), [axis])


def whole_product(a: Words, axes: Sequence[int]) -> Words:
    """The product over axes, by halves; of an open axis at its largest size."""
    for axis in axes:
        a = _grown(a, axis, max(upper(a.shape[axis]), 1))
        while (size := upper(a.shape[axis])) > 1:
            half = (size + 1) // 2
            a = multiply(
                *(_grown(_part(a, axis, at, min(half, size - at)), axis, half) for at in (0, half))
            )
    return a


def _part(a: Words, axis: int, start: int, size: int) -> Words:
    return a.each(lambda w: slice_axis(w, axis, start, size))


def _grown(a: Words, axis: int, size: int) -> Words:
    """With ones after the elements of an axis, to so many."""
    shape = a.shape
    after = [as_dim(size - lift(d)) if k == axis else 0 for k, d in enumerate(shape)]
    low, high = (expand(w, shape) for w in (a.low, a.high))
    before = [0] * len(shape)
    return Words(pad(low, before, after, value=1), pad(high, before, after), a.signed)


__all__ = ["Words"]  # the functions are called by the module's name: they are no operators
