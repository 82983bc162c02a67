"""numpy's arithmetic on tensors: elementwise functions, reductions and products.

    >>> from webdnn.graph import placeholder
    >>> FUNCTIONS["multiply"](placeholder("x", (2, 3), "i32"), 0.5)
    mul:f32[2,3]

keras.ops, TensorFlow and Chainer take these functions from numpy, and so names and arguments are
numpy's here; what only frameworks have (rsqrt, logsumexp ...) is called as Keras calls it. Operands
may be numbers and lists beside tensors, and are brought to one dtype by `arrays.promoted`.
`FUNCTIONS` has all by name.

Limits: what sorts with options, decomposes matrices or has a result of unknown size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import limits, ops
from ..errors import UnsupportedError
from ..expr import as_dim
from ..graph import DTYPES, FLOATS, Value, constant, evaluate
from .arrays import (
    Operand,
    axes_of,
    diagonal,
    dtype_of,
    flat_or_along,
    floats,
    known_int,
    numbers,
    promoted,
    value,
    without,
)

Function = Callable[..., Any]

# ---- elementwise ---------------------------------------------------------------------------------


def _binary(fn: Function) -> Function:
    return lambda x1, x2: fn(*promoted(x1, x2))


def _floating(fn: Function) -> Function:
    return lambda x: fn(floats(x))


def _numeric(fn: Function) -> Function:
    return lambda x: fn(numbers(x))


def _logical(fn: Function) -> Function:
    return lambda *xs: fn(*(ops.cast(value(x), "bool") for x in xs))


def _bits(fn: Function, of_truths: Function) -> Function:
    """Of integers bit by bit; of truth values as one."""

    def compute(*xs: Operand) -> Any:
        vs = promoted(*xs)
        return (of_truths if vs[0].dtype == "bool" else fn)(*vs)

    return compute


def divide(x1: Operand, x2: Operand) -> Value:
    """x1 / x2 as floating-point numbers."""
    return ops.div(*(floats(v) for v in promoted(x1, x2)))


def divide_no_nan(x1: Operand, x2: Operand) -> Value:
    """x1 / x2, and 0 where x2 is."""
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.where(ops.equal(b, 0.0), constant(0, a.dtype), ops.div(a, b))


def floor_divide(x1: Operand, x2: Operand) -> Value:
    """The largest whole number not above x1 / x2."""
    a, b = promoted(x1, x2)
    if a.dtype in FLOATS:
        return ops.floor_(ops.div(a, b))
    return ops.div(ops.sub(a, ops.mod(a, b)), b)


def clip(x: Operand, x_min: Operand, x_max: Operand) -> Value:
    """min(max(x, x_min), x_max); None is no bound."""
    v = value(x)
    for bound, fn in ((x_min, ops.max_), (x_max, ops.min_)):
        if bound is not None:
            known = isinstance(bound, Value) and bound.constant and bound.size == 1
            v = fn(*promoted(v, evaluate(bound).item() if known else bound))
    return v


def where(condition: Operand, x1: Operand = None, x2: Operand = None) -> Value:
    """x1 where the condition holds, else x2."""
    if x1 is None or x2 is None:
        raise UnsupportedError("the positions of what is true have no fixed number; give x1 and x2")
    return ops.where(ops.cast(value(condition), "bool"), *promoted(x1, x2))


def power(x1: Operand, x2: Operand) -> Value:
    """x1 to the power of x2."""
    a, b = promoted(x1, x2)
    if isinstance(x2, (int, float)) and x2 in (1, 2, 0.5):
        return a if x2 == 1 else ops.mul(a, a) if x2 == 2 else ops.sqrt_(a)
    return ops.pow_(a, b)


def square(x: Operand) -> Value:
    """x times x."""
    v = value(x)
    return ops.mul(v, v)


def log1p(x: Operand) -> Value:
    """log(1 + x), exact for small x: x log(u) / (u - 1) where u = 1 + x (Kahan)."""
    v = floats(x)
    u = ops.add(v, 1.0)
    return ops.where(ops.equal(u, 1.0), v, ops.mul(v, ops.div(ops.log_(u), ops.sub(u, 1.0))))


def expm1(x: Operand) -> Value:
    """exp(x) - 1, exact for small x: tanh(x / 2) (exp(x) + 1)."""
    v = floats(x)
    small = ops.mul(ops.tanh_(ops.mul(v, 0.5)), ops.add(ops.exp_(v), 1.0))
    return ops.where(ops.less(ops.abs_(v), 1.0), small, ops.sub(ops.exp_(v), 1.0))


def logaddexp(x1: Operand, x2: Operand) -> Value:
    """log(exp(x1) + exp(x2)) without overflow."""
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.add(ops.max_(a, b), ops.softplus(ops.neg(ops.abs_(ops.sub(a, b)))))


def round_(x: Operand, decimals: int = 0) -> Value:
    """To so many decimals, halves to even."""
    v = value(x)
    if v.dtype not in FLOATS:
        return v
    scale = 10.0**decimals
    return ops.div(ops.round_(ops.mul(v, scale)), scale) if decimals else ops.round_(v)


def isclose(
    x1: Operand, x2: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    """Whether |x1 - x2| <= atol + rtol |x2|."""
    a, b = (floats(v) for v in promoted(x1, x2))
    near = ops.less_equal(ops.abs_(ops.sub(a, b)), ops.add(ops.mul(ops.abs_(b), rtol), atol))
    if equal_nan:
        near = ops.logical_or(near, ops.logical_and(ops.is_nan(a), ops.is_nan(b)))
    return near


def nan_to_num(
    x: Operand, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Value:
    """x with numbers for NaN and the infinities: the largest there are where none are given."""
    v = floats(x)
    top = float(np.finfo(np.float32).max)
    v = ops.where(ops.is_nan(v), constant(nan, v.dtype), v)
    high, low = top if posinf is None else posinf, -top if neginf is None else neginf
    v = ops.where(ops.is_inf(v, negative=False), constant(high, v.dtype), v)
    return ops.where(ops.is_inf(v, positive=False), constant(low, v.dtype), v)


def cast(x: Operand, dtype: Any) -> Value:
    """x as a framework's dtype; what is not 0 is true."""
    v, to = value(x), dtype_of(dtype)
    return ops.not_equal(v, 0) if to == "bool" and v.dtype != "bool" else ops.cast(v, to)


def saturate_cast(x: Operand, dtype: Any) -> Value:
    """x as a dtype, what lies beyond its range being brought to its ends."""
    v, to = value(x), dtype_of(dtype)
    if to not in FLOATS and to != "bool":
        info = np.iinfo(DTYPES[to])
        bound = 2**31 - 128 if v.dtype in FLOATS else 2**31 - 1
        v = ops.clamp(v, max(int(info.min), -bound), min(int(info.max), bound))
    return cast(v, dtype)


def convert_to_tensor(x: Operand, dtype: Any = None) -> Value:
    """An operand as a tensor."""
    return value(x) if dtype is None else cast(x, dtype)


# ---- reductions ----------------------------------------------------------------------------------


def reduced(
    fn: Callable[[Value, list[int]], Value], x: Value, axis: Any = None, keepdims: Any = False
) -> Value:
    """fn over axes of x (None: all), which are dropped unless they are kept."""
    at = axes_of(axis, x)
    return without(fn(x, at) if at else x, at, keepdims)


def _reduction(monoid: str) -> Function:
    def compute(x: Operand, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Value:
        v = ops.cast(value(x), "bool") if monoid in ("any", "all") else numbers(x)
        y = reduced(lambda v, at: ops.reduce(v, monoid, at), v, axis, keepdims)
        if initial is None:
            return y
        return (ops.max_ if monoid == "max" else ops.min_)(*promoted(y, initial))

    return compute


sum_, prod, max_, min_, any_, all_ = map(_reduction, ("sum", "prod", "max", "min", "any", "all"))


def mean(x: Operand, axis: Any = None, keepdims: bool = False) -> Value:
    """The mean, of integers too a floating-point number."""
    return reduced(ops.reduce_mean, floats(x), axis, keepdims)


def var(x: Operand, axis: Any = None, keepdims: bool = False) -> Value:
    """The variance of the population."""
    v = floats(x)
    at = axes_of(axis, v)
    d = ops.sub(v, ops.reduce_mean(v, at))
    return without(ops.reduce_mean(ops.mul(d, d), at), at, keepdims)


def std(x: Operand, axis: Any = None, keepdims: bool = False) -> Value:
    """The standard deviation of the population."""
    return ops.sqrt_(var(x, axis, keepdims))


def moments(x: Operand, axes: Any, keepdims: bool = False) -> list[Value]:
    """Mean and variance."""
    return [mean(x, axes, keepdims), var(x, axes, keepdims)]


def average(x: Operand, weights: Operand = None, axis: Any = None) -> Value:
    """The mean, weighted by a tensor of x's shape or a vector along the axis."""
    if weights is None:
        return mean(x, axis)
    v, w = (floats(t) for t in (x, weights))
    at = axes_of(axis, v)
    if w.rank < v.rank:
        w = ops.expand(ops.along(w, at, v.rank), v.shape)
    total = ops.div(ops.reduce_sum(ops.mul(v, w), at), ops.reduce_sum(w, at))
    return without(total, at)


def logsumexp(x: Operand, axis: Any = None, keepdims: bool = False) -> Value:
    """log(sum(exp(x))) without overflow."""
    return reduced(ops.log_sum_exp, floats(x), axis, keepdims)


def _arg(monoid: str) -> Function:
    def find(x: Operand, axis: Any = None, keepdims: bool = False) -> Value:
        v, at = flat_or_along(numbers(x), axis)
        y = ops.reduce(v, monoid, [at])
        return ops.reshape(y, [1] * value(x).rank) if axis is None and keepdims else without(
            y, [at], keepdims)  # fmt: skip

    return find


argmax, argmin = _arg("argmax"), _arg("argmin")


def count_nonzero(x: Operand, axis: Any = None) -> Value:
    """How many elements are not 0."""
    return sum_(cast(value(x), "bool"), axis)


def ptp(x: Operand, axis: Any = None, keepdims: bool = False) -> Value:
    """The largest less the smallest element."""
    return ops.sub(max_(x, axis, keepdims), min_(x, axis, keepdims))


def norm(x: Operand, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Value:
    """The 2-norm of vectors and matrices, or another norm of vectors along an axis."""
    v = floats(x)
    at = axes_of(axis, v)
    size = ops.abs_(v)
    if ord in (None, 2, "fro", "euclidean") and (len(at) < 2 or ord != 2):
        y = ops.lp_norm(v, 2, at)
    elif ord == 1 and len(at) == 1:
        y = ops.lp_norm(v, 1, at)
    elif ord in (math.inf, "inf") and len(at) == 1:
        y = ops.reduce_max(size, at)
    elif isinstance(ord, (int, float)) and ord > 0 and len(at) == 1:
        y = ops.pow_(ops.reduce_sum(ops.pow_(size, float(ord)), at), 1 / ord)
    else:
        raise UnsupportedError(f"norm with ord={ord!r} over axes {at}")
    return without(y, at, keepdims)


def cumsum(
    x: Operand, axis: Any = None, dtype: Any = None, exclusive: bool = False, reverse: bool = False
) -> Value:
    """Sums of all elements up to each."""
    v, at = flat_or_along(numbers(x), axis)
    return ops.cumsum(v if dtype is None else cast(v, dtype), at, exclusive, reverse)


def diff(a: Operand, n: int = 1, axis: Any = -1) -> Value:
    """The difference of neighbours along an axis, n times."""
    v, at = flat_or_along(value(a), axis)
    for _ in range(n):
        size = as_dim(v.shape[at] - 1)
        v = ops.sub(ops.slice_axis(v, at, 1, size), ops.slice_axis(v, at, 0, size))
    return v


def trace(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The sum of the diagonal of two axes."""
    return sum_(diagonal(x, offset, axis1, axis2), -1)


def digitize(x: Operand, bins: Operand) -> Value:
    """How many of the ascending bins each element reaches."""
    v, edges = floats(x), floats(bins)
    return sum_(ops.greater_equal(ops.unsqueeze(v, [v.rank]), edges), -1)


# ---- products ------------------------------------------------------------------------------------


def matmul(x1: Operand, x2: Operand) -> Value:
    """The matrix product over the last two axes."""
    return ops.matmul(*(floats(v) for v in promoted(x1, x2)))


def dot(x1: Operand, x2: Operand) -> Value:
    """The sum over the last axis of x1 and the last but one of x2."""
    a, b = promoted(x1, x2)
    if a.rank == 0 or b.rank == 0:
        return ops.mul(a, b)
    return tensordot(a, b, [[a.rank - 1], [max(b.rank - 2, 0)]])


def tensordot(x1: Operand, x2: Operand, axes: Any = 2) -> Value:
    """The sum over axes of x1 and x2: the last and first so many, or (those of x1, those of x2)."""
    a, b = promoted(x1, x2)
    if isinstance(axes, int):
        axes = range(a.rank - axes, a.rank), range(axes)
    left, right = (axes_of(part, v) for part, v in zip(axes, (a, b), strict=True))
    letters = [chr(ord("a") + k) for k in range(a.rank + b.rank)]
    one, other = letters[: a.rank], letters[a.rank :]
    for k, j in zip(left, right, strict=True):
        other[j] = one[k]
    inner = {one[k] for k in left}
    out = [c for c in (*one, *other) if c not in inner]
    return ops.einsum(f"{''.join(one)},{''.join(other)}->{''.join(out)}", a, b)


def einsum(*operands: Operand, subscripts: str) -> Value:
    """Einstein's summation."""
    return ops.einsum(subscripts, *promoted(*operands))


def outer(x1: Operand, x2: Operand) -> Value:
    """Each element of x1 times each of x2."""
    a, b = promoted(x1, x2)
    return ops.mul(ops.reshape(a, (a.size, 1)), ops.reshape(b, (1, b.size)))


def waves(length: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The cosines and sines [length, bins] of a discrete Fourier transform."""
    limits.make(4 * 8 * length * bins, f"the matrix of a Fourier transform of length {length}")
    angle = np.outer(np.arange(length), np.arange(bins)) % length * (2 * np.pi / length)
    return np.cos(angle), np.sin(angle)


# ---- order ---------------------------------------------------------------------------------------


def sort(x: Operand, axis: Any = -1) -> Value:
    """In ascending order along an axis."""
    v, at = flat_or_along(value(x), axis)
    return ops.sort(v, at)[0]


def argsort(x: Operand, axis: Any = -1) -> Value:
    """The positions of the elements in ascending order."""
    v, at = flat_or_along(value(x), axis)
    return ops.sort(v, at)[1]


def top_k(x: Operand, k: Any, sorted: bool = True) -> list[Value]:
    """The k largest elements along the last axis, and their positions."""
    return list(ops.top_k(value(x), known_int(k, "k"), -1))


def _triangle(upper: bool) -> Function:
    return lambda x, k=0: ops.trilu(value(x), k, upper)


FUNCTIONS: dict[str, Function] = {
    "abs": _numeric(ops.abs_), "add": _binary(ops.add), "all": all_, "any": any_,
    "arccos": _floating(ops.acos_), "arccosh": _floating(ops.acosh_),
    "arcsin": _floating(ops.asin_), "arcsinh": _floating(ops.asinh_),
    "arctan": _floating(ops.atan_), "arctan2": _binary(ops.atan2_),
    "arctanh": _floating(ops.atanh_), "argmax": argmax, "argmin": argmin, "argsort": argsort,
    "average": average, "bitwise_and": _bits(ops.bit_and, ops.logical_and),
    "bitwise_left_shift": _binary(ops.shift_left), "bitwise_not": _bits(
        ops.bit_not, ops.logical_not), "bitwise_or": _bits(ops.bit_or, ops.logical_or),
    "bitwise_right_shift": _binary(ops.shift_right),
    "bitwise_xor": _bits(ops.bit_xor, ops.logical_xor), "cast": cast,
    "cbrt": lambda x: ops.mul(ops.sign_(floats(x)), ops.pow_(ops.abs_(floats(x)), 1 / 3)),
    "ceil": _floating(ops.ceil_), "clip": clip, "convert_to_tensor": convert_to_tensor,
    "copy": value, "cos": _floating(ops.cos_), "cosh": _floating(ops.cosh_),
    "count_nonzero": count_nonzero, "cumsum": cumsum,
    "deg2rad": lambda x: ops.mul(floats(x), math.pi / 180), "diff": diff, "digitize": digitize,
    "divide": divide, "divide_no_nan": divide_no_nan, "dot": dot, "einsum": einsum,
    "equal": _binary(ops.equal), "erf": _floating(ops.erf_),
    "erfc": lambda x: ops.sub(1.0, ops.erf_(floats(x))), "exp": _floating(ops.exp_),
    "exp2": lambda x: ops.exp_(ops.mul(floats(x), math.log(2))), "expm1": expm1,
    "floor": _floating(ops.floor_), "floor_divide": floor_divide, "fmod": _binary(ops.fmod),
    "greater": _binary(ops.greater), "greater_equal": _binary(ops.greater_equal),
    "hypot": lambda x1, x2: ops.sqrt_(ops.add(square(floats(x1)), square(floats(x2)))),
    "inner": lambda x1, x2: tensordot(x1, x2, [[-1], [-1]]), "isclose": isclose,
    "isfinite": lambda x: ops.logical_not(
        ops.logical_or(ops.is_nan(floats(x)), ops.is_inf(floats(x)))),
    "isinf": lambda x: ops.is_inf(floats(x)), "isnan": _floating(ops.is_nan),
    "isneginf": lambda x: ops.is_inf(floats(x), positive=False),
    "isposinf": lambda x: ops.is_inf(floats(x), negative=False), "less": _binary(ops.less),
    "less_equal": _binary(ops.less_equal), "log": _floating(ops.log_),
    "log10": lambda x: ops.mul(ops.log_(floats(x)), 1 / math.log(10)), "log1p": log1p,
    "log2": lambda x: ops.mul(ops.log_(floats(x)), 1 / math.log(2)), "logaddexp": logaddexp,
    "logical_and": _logical(ops.logical_and), "logical_not": _logical(ops.logical_not),
    "logical_or": _logical(ops.logical_or), "logical_xor": _logical(ops.logical_xor),
    "logsumexp": logsumexp, "matmul": matmul, "max": max_, "maximum": _binary(ops.max_),
    "mean": mean, "min": min_, "minimum": _binary(ops.min_), "mod": _binary(ops.mod),
    "moments": moments, "multiply": _binary(ops.mul), "nan_to_num": nan_to_num,
    "negative": _numeric(ops.neg), "norm": norm, "not_equal": _binary(ops.not_equal),
    "outer": outer, "power": power, "prod": prod, "ptp": ptp,
    "rad2deg": lambda x: ops.mul(floats(x), 180 / math.pi),
    "reciprocal": _floating(ops.reciprocal), "round": round_, "rsqrt": _floating(ops.rsqrt_),
    "saturate_cast": saturate_cast, "sign": _numeric(ops.sign_), "sin": _floating(ops.sin_),
    "sinh": _floating(ops.sinh_), "sort": sort, "sqrt": _floating(ops.sqrt_), "square": square,
    "std": std, "subtract": _binary(ops.sub), "sum": sum_, "tan": _floating(ops.tan_),
    "tanh": _floating(ops.tanh_), "tensordot": tensordot, "top_k": top_k, "trace": trace,
    "tril": _triangle(False), "triu": _triangle(True), "trunc": _floating(ops.trunc_), "var": var,
    "where": where,
}  # fmt: skip

__all__ = [
    "FUNCTIONS", "argmax", "argmin", "argsort", "average", "cast", "clip", "convert_to_tensor",
    "count_nonzero", "cumsum", "diff", "digitize", "divide", "divide_no_nan", "dot", "einsum",
    "expm1", "floor_divide", "isclose", "log1p", "logaddexp", "logsumexp", "matmul", "max_", "mean",
    "min_", "moments", "nan_to_num", "norm", "outer", "power", "ptp", "reduced", "round_",
    "saturate_cast", "sort", "square", "std", "sum_", "tensordot", "top_k", "trace", "var", "waves",
    "where",
]  # fmt: skip
