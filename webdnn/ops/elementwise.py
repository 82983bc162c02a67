"""Elementwise operators: each is one function over scalars, for every target and for constants.

    >>> from webdnn.graph import placeholder
    >>> gelu(placeholder("x", (4,), "f32"))
    gelu:f32[4]

A body is called with expressions (and then printed by a target) or with numpy arrays (and then
folds constants). Shapes broadcast as numpy's do; the dtype of the result is that of the first
operand unless `dtype` says otherwise. Integers narrower than 32 bits wrap to their own width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from .. import expr
from ..errors import SizesDifferError, UnsupportedError
from ..expr import (
    FLOAT,
    Expr,
    absolute,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bounds,
    ceil,
    cos,
    cosh,
    erf,
    exp,
    floor,
    idiv,
    isinf,
    isnan,
    lift,
    log,
    maximum,
    minimum,
    power,
    rem,
    round_even,
    rsqrt,
    same,
    select,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    trunc,
)
from ..graph import (
    FEW_BITS,
    FLOATS,
    Node,
    Op,
    Shape,
    Value,
    array_type,
    computed,
    constant,
    scalar_dtype,
    type_text,
)
from .derived import derived
from .known import fold_known

Body = Callable[..., Any]  # of a scalar function: expressions or arrays in, the same out
_NARROW = {
    "i2": (2, True), "u2": (2, False), "i4": (4, True), "u4": (4, False),
    "i8": (8, True), "u8": (8, False), "i16": (16, True), "u16": (16, False),
}  # fmt: skip


def broadcast_shapes(*shapes: Shape) -> Shape:
    """numpy's broadcasting; a symbolic dimension matches itself or 1. Raises SizesDifferError."""
    rank = max(len(s) for s in shapes)
    out = []
    for axis in range(rank):
        size: Any = 1
        for s in shapes:
            d = s[axis - rank + len(s)] if axis - rank + len(s) >= 0 else 1
            if d == 1:
                continue
            if size != 1 and not same(size, d):
                raise SizesDifferError(
                    f"shapes do not broadcast: {', '.join(str(list(s)) for s in shapes)}", size, d
                )
            size = d if size == 1 else size
        out.append(size)
    return tuple(out)


def broadcast_index(idx: tuple[Any, ...], shape: Shape) -> tuple[Any, ...]:
    """The index into a value of `shape` for index `idx` of the broadcast result."""
    tail = idx[len(idx) - len(shape) :]
    return tuple(lift(0) if d == 1 else i for i, d in zip(tail, shape))


def wrap(e: Any, dtype: str) -> Any:
    """`e` reduced to the width of a narrow integer dtype (numpy arrays wrap by themselves)."""
    if dtype not in _NARROW or not isinstance(e, Expr):
        return e
    bits, signed = _NARROW[dtype]
    lo, hi = bounds(e)
    half = 1 << (bits - 1)
    if (-half if signed else 0) <= lo and hi < (half if signed else 2 * half):
        return e
    mask = expr.binary("bitand", e + half if signed else e, (1 << bits) - 1)
    return mask - half if signed else mask


@overload
def elementwise(body: Body) -> Op: ...
@overload
def elementwise(*, dtype: str | None = None, of: int = 0) -> Callable[[Body], Op]: ...
def elementwise(body: Body | None = None, *, dtype: str | None = None, of: int = 0) -> Any:
    """Make a graph operator of a scalar function; its dtype is `dtype`, else operand `of`'s.

    The operator takes values of one dtype (but for operands before `of`), and numbers and arrays
    beside them; what is known when the model is transpiled is computed at once. It raises
    UnsupportedError where dtypes differ, SizesDifferError where shapes do not broadcast. Each call
    of `elementwise` makes another operator, whatever the function's name.
    """
    if body is None:
        return lambda b: _define(b, dtype, of)
    return _define(body, dtype, of)


def _define(body: Body, dtype: str | None, of: int) -> Op:
    def infer(*inputs: Value, **attrs: Any) -> list[tuple[Shape, str]]:
        shape = broadcast_shapes(*(v.shape for v in inputs))
        return [(shape, attrs.get("to") or dtype or inputs[of].dtype)]

    def element(node: Node, read: Callable[[int, Any], Expr], idx: tuple[Any, ...]) -> Expr:
        args = [read(k, broadcast_index(idx, v.shape)) for k, v in enumerate(node.inputs)]
        out = node._types[0][1]
        return wrap(lift(body(*args, **node.attrs), scalar_dtype(out)), out)

    def build(op: Op, *args: Any, **attrs: Any) -> Value:
        first = next(a for a in args[of:] + args[:of] if isinstance(a, Value))
        values = tuple(a if isinstance(a, Value) else constant(a, first.dtype) for a in args)
        if len({v.dtype for v in values[of:]}) > 1:
            raise UnsupportedError(
                f"{op}: operands must have one dtype, found "
                f"{', '.join(map(type_text, values[of:]))}"
            )
        known = fold_known(op, values, attrs)
        return known if known is not None else op.node(values, attrs).outputs[0]

    name = body.__name__.rstrip("_")
    return Op(name, "map", infer, element, body, body=body, build=build)


def is_float(x: Any) -> bool:
    """Whether an expression or array holds floating-point numbers."""
    return x.dtype in FLOAT if isinstance(x, Expr) else np.asarray(x).dtype.kind == "f"


# ---- arithmetic ----------------------------------------------------------------------------------


@elementwise
def add(x, y):
    return x + y


@elementwise
def sub(x, y):
    return x - y


@elementwise
def mul(x, y):
    return x * y


@elementwise
def div(x, y):
    """Quotient; integers truncate, as in ONNX."""
    return x / y if is_float(x) else idiv(x, y)


@elementwise
def mod(x, y):
    """Remainder with the sign of y, as in Python."""
    if is_float(x):
        r = rem(x, y)
        other_sign = expr.apply("xor", r < 0, y < 0)
        return select(expr.apply("and", expr.apply("ne", r, 0), other_sign), r + y, r)
    return expr.apply("mod", x, y)


@elementwise
def fmod(x, y):
    """Remainder with the sign of x, as in C."""
    return rem(x, y)


@elementwise
def pow_(x, y):
    return power(x, y)


@elementwise
def min_(x, y):
    return minimum(x, y)


@elementwise
def max_(x, y):
    return maximum(x, y)


@elementwise
def neg(x):
    return -x


@elementwise
def abs_(x):
    return absolute(x)


@elementwise
def sign_(x):
    return sign(x)


@elementwise
def reciprocal(x):
    return 1 / x


def _unary(fn: Body) -> Op:
    def body(x: Any) -> Any:
        return fn(x)

    body.__name__ = {"round": "round_even"}.get(fn.__name__, fn.__name__)
    return elementwise(body)


exp_, log_, sqrt_, rsqrt_, sin_, cos_, tan_, asin_, acos_, atan_ = map(
    _unary, (exp, log, sqrt, rsqrt, sin, cos, tan, asin, acos, atan)
)
sinh_, cosh_, tanh_, asinh_, acosh_, atanh_, erf_ = map(
    _unary, (sinh, cosh, tanh, asinh, acosh, atanh, erf)
)
floor_, ceil_, round_, trunc_ = map(_unary, (floor, ceil, round_even, trunc))


@elementwise
def atan2_(y, x):
    return atan2(y, x)


# ---- activations ---------------------------------------------------------------------------------


@elementwise
def relu(x):
    return maximum(x, 0)


@elementwise
def leaky_relu(x, *, alpha):
    return select(x < 0, x * alpha, x)


@elementwise
def prelu(x, slope):
    return select(x < 0, x * slope, x)


@elementwise
def thresholded_relu(x, *, alpha):
    return select(x > alpha, x, 0)


@elementwise
def elu(x, *, alpha):
    return select(x < 0, alpha * (exp(x) - 1), x)


@elementwise
def celu(x, *, alpha):
    return maximum(x, 0) + minimum(alpha * (exp(x / alpha) - 1), 0)


@elementwise
def selu(x, *, alpha, gamma):
    return gamma * select(x > 0, x, alpha * (exp(x) - 1))


@elementwise
def sigmoid(x):
    return 1 / (1 + exp(-x))


@elementwise
def hard_sigmoid(x, *, alpha, beta):
    return maximum(minimum(x * alpha + beta, 1), 0)


@elementwise
def affine(x, *, alpha, beta):
    return x * alpha + beta


@elementwise
def scaled_tanh(x, *, alpha, beta):
    return alpha * tanh(x * beta)


@elementwise
def hard_swish(x):
    return x * maximum(minimum(x * (1 / 6) + 0.5, 1), 0)


@elementwise
def silu(x):
    return x / (1 + exp(-x))


@elementwise
def swish(x, *, alpha):
    return x / (1 + exp(x * -alpha))


@elementwise
def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return maximum(x, 0) + log(1 + exp(-absolute(x)))


@elementwise
def softsign(x):
    return x / (1 + absolute(x))


@elementwise
def mish(x):
    return x * tanh(maximum(x, 0) + log(1 + exp(-absolute(x))))


@elementwise
def gelu(x):
    """0.5 x (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel, arXiv 1606.08415)"""
    return 0.5 * x * (1 + erf(x * 0.7071067811865476))


@elementwise
def gelu_tanh(x):
    """The tanh approximation of gelu."""
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


@elementwise
def shrink(x, *, lambd, bias):
    return select(x < -lambd, x + bias, select(x > lambd, x - bias, 0))


@elementwise
def clip(x, lo, hi):
    """min(max(x, lo), hi); lo and hi are operands."""
    return minimum(maximum(x, lo), hi)


# ---- comparison, logic, bits ---------------------------------------------------------------------


@elementwise(dtype="bool")
def less(x, y):
    return expr.apply("lt", x, y)


@elementwise(dtype="bool")
def less_equal(x, y):
    return expr.apply("le", x, y)


@elementwise(dtype="bool")
def greater(x, y):
    return expr.apply("gt", x, y)


@elementwise(dtype="bool")
def greater_equal(x, y):
    return expr.apply("ge", x, y)


@elementwise(dtype="bool")
def equal(x, y):
    return expr.apply("eq", x, y)


@elementwise(dtype="bool")
def not_equal(x, y):
    return expr.apply("ne", x, y)


@elementwise(dtype="bool")
def logical_and(x, y):
    return expr.apply("and", x, y)


@elementwise(dtype="bool")
def logical_or(x, y):
    return expr.apply("or", x, y)


@elementwise(dtype="bool")
def logical_xor(x, y):
    return expr.apply("xor", x, y)


@elementwise(dtype="bool")
def logical_not(x):
    return expr.apply("not", x)


@elementwise(dtype="bool")
def is_nan(x):
    return isnan(x)


@elementwise(dtype="bool")
def is_inf(x, *, positive=True, negative=True):
    if positive and negative:
        return isinf(x)
    sides = x > 0 if positive else x < 0
    return expr.apply("and", isinf(x), sides)


@elementwise
def bit_and(x, y):
    return expr.apply("bitand", x, y)


@elementwise
def bit_or(x, y):
    return expr.apply("bitor", x, y)


@elementwise
def bit_xor(x, y):
    return expr.apply("bitxor", x, y)


@elementwise
def bit_not(x):
    return expr.apply("bitnot", x)


@elementwise
def shift_left(x, n):
    """Left shift; one by less than 0, or by the width or more, leaves nothing."""
    return select(_beyond(n), 0, expr.apply("shl", x, n))


@elementwise
def shift_right(x, n):
    """Right shift that keeps the sign; one by less than 0 or more than 31 leaves only that."""
    if (x.dtype == "u32") if isinstance(x, Expr) else np.asarray(x).dtype.kind == "u":
        return select(_beyond(n), 0, expr.apply("shr", x, n))
    return expr.apply("shr", x, select(_beyond(n), 31, n))


def _beyond(n):
    return expr.apply("or", n < 0, n > 31)


@elementwise(of=1)
def where(condition, x, y):
    """Choose x where the condition holds, else y."""
    return select(condition, x, y)


@elementwise
def cast_(x, *, to):
    """Conversion between dtypes; to narrow integers it wraps."""
    if isinstance(x, Expr):
        if to == "f16":
            return _round_f16(expr.cast(x, "f32"))
        return expr.cast(x, scalar_dtype(to))
    if to != "bool" and to not in FLOATS and np.asarray(x).dtype.kind == "f":
        x = expr.cast_numpy(x, computed(to))
    with np.errstate(all="ignore"):
        whole = np.asarray(x).astype(array_type(to))
    return wrapped_bits(whole, to) if to in FEW_BITS else whole


def wrapped_bits(x: Any, dtype: str) -> Any:
    """Arrays of integers reduced to the 2 or 4 bits of a dtype."""
    bits, signed = _NARROW[dtype]
    half = 2 ** (bits - 1) if signed else 0
    return (((x.astype(np.int32) + half) & (2**bits - 1)) - half).astype(x.dtype)


def _round_f16(x: Expr) -> Expr:
    """Round to the 11 bits of float16, beyond its range to infinity; it is computed in f32."""
    bits = expr.bitcast(x, "u32")
    half = expr.binary("bitand", expr.binary("shr", bits, 13), 1) + 0xFFF
    rounded = expr.bitcast(expr.binary("bitand", bits + half, 0xFFFFE000), "f32")
    big = select(x > 65519.99, float("inf"), select(x < -65519.99, float("-inf"), rounded))
    small = round_even(x * 16777216.0) * (1 / 16777216.0)
    return select(absolute(x) < 6.103515625e-05, small, select(isnan(x), x, big))


@elementwise
def from_end(i, size):
    """A position, which counts from the end of an axis of that size where it is negative."""
    return select(i < 0, i + size, i)


def cast(x: Value, to: str) -> Value:
    """Convert `x` to dtype `to`, unless it already has it; to integers sizes stay known."""
    if x.dtype == to:
        return x
    known = derived(x, to)
    if known is None and x.op in (max_, min_):  # rounding keeps which is larger
        parts = [cast(i, to) for i in x.inputs]
        known = fold_known(x.op, parts, x.attrs)
    return cast_(x, to=to) if known is None else known


def clamp(x: Value, lo: float | None = None, hi: float | None = None) -> Value:
    """Clip with literal bounds."""
    y = x if lo is None else max_(x, lo)
    return y if hi is None else min_(y, hi)


__all__ = [
    "abs_",
    "acos_",
    "acosh_",
    "add",
    "affine",
    "asin_",
    "asinh_",
    "atan2_",
    "atan_",
    "atanh_",
    "bit_and",
    "bit_not",
    "bit_or",
    "bit_xor",
    "cast",
    "cast_",
    "ceil_",
    "celu",
    "clamp",
    "clip",
    "cos_",
    "cosh_",
    "div",
    "elu",
    "equal",
    "erf_",
    "exp_",
    "floor_",
    "fmod",
    "from_end",
    "gelu",
    "gelu_tanh",
    "greater",
    "greater_equal",
    "hard_sigmoid",
    "hard_swish",
    "is_inf",
    "is_nan",
    "leaky_relu",
    "less",
    "less_equal",
    "log_",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "max_",
    "min_",
    "mish",
    "mod",
    "mul",
    "neg",
    "not_equal",
    "pow_",
    "prelu",
    "reciprocal",
    "relu",
    "round_",
    "rsqrt_",
    "scaled_tanh",
    "selu",
    "shift_left",
    "shift_right",
    "shrink",
    "sigmoid",
    "sign_",
    "silu",
    "sin_",
    "sinh_",
    "softplus",
    "softsign",
    "sqrt_",
    "sub",
    "swish",
    "tan_",
    "tanh_",
    "thresholded_relu",
    "trunc_",
    "where",
]
