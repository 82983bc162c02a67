"""Chainer's functions in terms of ours: one plain function each, named as chainer's class is.

    >>> from webdnn.graph import placeholder
    >>> LeakyReLU(placeholder("x", (2, 3), "f32"), slope=0.1)
    leaky_relu:f32[2,3]

Inputs are positional; keywords are the attributes of the function's object, by chainer's names.
What moves elements is in `arrays`; convolutions, pooling, recurrent and region functions
are in `layers`. `FUNCTIONS` at the end is the registry of all, `REFUSED` says why others
are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ... import ops
from ...expr import Dim, as_dim, lift
from ...graph import FROM_NUMPY, Value, constant
from .. import arithmetic, arrays
from ..arrays import axes_of, axis_of, channels_first, channels_last, flat_or_along
from ..spectra import fourier
from . import arrays as moves
from . import layers

Attr = Any
NUMPY = arithmetic.FUNCTIONS


def scalar(value: Any, x: Value) -> Value:
    """A number of a function's object as a value of x's dtype."""
    return ops.cast(value, x.dtype) if isinstance(value, Value) else constant(value, x.dtype)


# ---- activations --------------------------------------------------------------------------------


def ClippedReLU(x: Value, *, cap: float) -> Value:
    return ops.clamp(x, 0.0, cap)


def CReLU(x: Value, *, axis: int) -> Value:
    return ops.concat([ops.relu(x), ops.relu(ops.neg(x))], axis_of(axis, x))


def ELU(x: Value, *, alpha: float) -> Value:
    return ops.elu(x, alpha=float(alpha))


def HardSigmoid(x: Value) -> Value:
    return ops.hard_sigmoid(x, alpha=0.2, beta=0.5)


def LeakyReLU(x: Value, *, slope: float) -> Value:
    return ops.leaky_relu(x, alpha=float(slope))


def LogSoftmax(x: Value, *, axis: int = 1) -> Value:
    return ops.log_softmax(x, axis_of(axis, x))


def PReLUFunction(x: Value, W: Value) -> Value:
    return ops.prelu(x, ops.along(W, 1, x.rank))


def RReLU(x: Value, *, lower: float, upper: float) -> Value:
    return ops.leaky_relu(x, alpha=(lower + upper) / 2)


def Softmax(x: Value, *, axis: int = 1) -> Value:
    return ops.softmax(x, axis_of(axis, x))


def Softplus(x: Value, *, beta: float) -> Value:
    return ops.mul(ops.softplus(ops.mul(x, float(beta))), 1 / beta)


def Swish(x: Value, beta: Value) -> Value:
    return ops.mul(x, ops.sigmoid(ops.mul(x, ops.along(beta, 1, x.rank))))


# ---- arithmetic ---------------------------------------------------------------------------------


def AddConstant(x: Value, *, value: Attr) -> Value:
    return ops.add(x, scalar(value, x))


def SubFromConstant(x: Value, *, value: Attr) -> Value:
    return ops.sub(scalar(value, x), x)


def MulConstant(x: Value, *, value: Attr) -> Value:
    return ops.mul(x, scalar(value, x))


def DivFromConstant(x: Value, *, value: Attr) -> Value:
    return ops.div(scalar(value, x), x)


def PowVarConst(x: Value, *, value: Attr) -> Value:
    if isinstance(value, (int, float)) and value == 2:
        return ops.mul(x, x)
    if isinstance(value, (int, float)) and value == 0.5:
        return ops.sqrt_(x)
    return ops.pow_(x, scalar(value, x))


def PowConstVar(x: Value, *, value: Attr) -> Value:
    return ops.pow_(scalar(value, x), x)


def MultiAdd(*xs: Value) -> Value:
    return reduce(ops.add, xs)


def BatchL2NormSquared(x: Value) -> Value:
    return arithmetic.sum_(arithmetic.square(x), range(1, x.rank))


def Clip(x: Value, *, x_min: Attr, x_max: Attr) -> Value:
    return arithmetic.clip(x, x_min, x_max)


def ErfInv(x: Value) -> Value:
    """The inverse of erf, by Giles' approximation for single precision (2010)."""
    one = constant(1, x.dtype)
    w = ops.neg(ops.log_(ops.mul(ops.sub(one, x), ops.add(one, x))))
    near = _polynomial(
        ops.sub(w, 2.5),
        (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
         -0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
    )  # fmt: skip
    far = _polynomial(
        ops.sub(ops.sqrt_(w), 3.0),
        (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
         -0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
    )  # fmt: skip
    return ops.mul(ops.where(ops.less(w, 5.0), near, far), x)


def _polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    out = ops.add(ops.mul(x, coefficients[0]), coefficients[1])
    for c in coefficients[2:]:
        out = ops.add(ops.mul(out, x), c)
    return out


def ErfcInv(x: Value) -> Value:
    return ErfInv(ops.sub(constant(1, x.dtype), x))


def Ndtr(x: Value) -> Value:
    return ops.mul(ops.add(ops.erf_(ops.mul(x, math.sqrt(0.5))), 1.0), 0.5)


def Ndtri(x: Value) -> Value:
    return ops.mul(ErfInv(ops.sub(ops.mul(x, 2.0), 1.0)), math.sqrt(2))


def LinearInterpolate(p: Value, x: Value, y: Value) -> Value:
    return ops.add(ops.mul(p, x), ops.mul(ops.sub(constant(1, p.dtype), p), y))


def SquaredError(x0: Value, x1: Value) -> Value:
    return arithmetic.square(ops.sub(x0, x1))


def AbsoluteError(x0: Value, x1: Value) -> Value:
    return ops.abs_(ops.sub(x0, x1))


def Identity(*xs: Value) -> Sequence[Value]:
    return xs


def Copy(x: Value) -> Value:
    return x


def Cast(x: Value, *, type: str) -> Value:
    return ops.cast(x, FROM_NUMPY[np.dtype(type).name])


def Where(x: Value, y: Value, *, condition: Value) -> Value:
    return ops.where(ops.cast(condition, "bool"), x, y)


# ---- reductions ---------------------------------------------------------------------------------


def Sum(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    return arithmetic.sum_(x, axis, keepdims)


def Mean(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    return arithmetic.mean(x, axis, keepdims)


def Max(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    return arithmetic.max_(x, axis, keepdims)


def Min(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    return arithmetic.min_(x, axis, keepdims)


def Prod(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    return arithmetic.prod(x, axis, keepdims)


def LogSumExp(x: Value, *, axis: Attr) -> Value:
    return arithmetic.logsumexp(x, axis)


def ArgMax(x: Value, *, axis: int | None) -> Value:
    return arithmetic.argmax(x, axis)


def ArgMin(x: Value, *, axis: int | None) -> Value:
    return arithmetic.argmin(x, axis)


def SumTo(x: Value, *, _shape: Sequence[Dim]) -> Value:
    lead = x.rank - len(_shape)
    axes = [*range(lead), *(lead + k for k, d in enumerate(_shape) if ops.same(d, 1))]
    return ops.reshape(ops.reduce_sum(x, axes) if axes else x, _shape)


def Cumsum(x: Value, *, axis: int | None) -> Value:
    return arithmetic.cumsum(x, axis)


def Cumprod(x: Value, *, axis: int | None) -> Value:
    """Products over windows that double in length."""
    x, at = flat_or_along(x, axis)
    size = ops.static(x.shape[at], "the axis of a cumulative product")
    reach = 1
    while reach < size:
        before = [reach if k == at else 0 for k in range(x.rank)]
        moved = ops.pad(ops.slice_axis(x, at, 0, size - reach), before, [0] * x.rank, value=1.0)
        x = ops.mul(x, moved)
        reach *= 2
    return x


# ---- products -----------------------------------------------------------------------------------


def _swapped(x: Value) -> Value:
    return arrays.swapaxes(x, -1, -2) if x.rank > 1 else x


def MatMul(
    a: Value, b: Value, *, transa: bool, transb: bool, transc: bool = False, dtype: Attr = None
) -> Value:
    if transc:
        a, b, transa, transb = b, a, not transb, not transa
    return ops.matmul(_swapped(a) if transa else a, _swapped(b) if transb else b)


def BatchMatMul(a: Value, b: Value, *, transa: bool, transb: bool) -> Value:
    a, b = (ops.reshape(v, (*v.shape[:2], ops.product(v.shape[2:]))) for v in (a, b))
    return ops.matmul(_swapped(a) if transa else a, _swapped(b) if transb else b)


def EinSum(*xs: Value, in_subs: str, out_sub: str) -> Value:
    dropped = "@" in in_subs and "@" not in out_sub  # chainer allows it where "@" stands for none
    equation = f"{in_subs}->{out_sub}"
    return ops.einsum(equation.replace("@", "" if dropped else "..."), *xs)


def TensorDot(
    a: Value, b: Value, *, axes: Attr, a_axes: Attr = None, b_axes: Attr = None, c_axes: Attr = None
) -> Value:
    if a_axes is not None and b_axes is not None:
        axes = a_axes[1], b_axes[0]
    return arithmetic.tensordot(a, b, axes)


def FFT(real: Value, imaginary: Value, *, _method: str) -> list[Value]:
    """The transform of the last axis."""
    both = ops.concat([ops.unsqueeze(v, [v.rank]) for v in (real, imaginary)], real.rank)
    size = ops.static(real.shape[-1], "the length of a Fourier transform")
    y = fourier(both, size, inverse=_method == "ifft")
    return [ops.squeeze(part, [real.rank]) for part in ops.split(y, [1, 1], real.rank)]


# ---- normalisation ------------------------------------------------------------------------------


def FixedBatchNormalization(
    x: Value, gamma: Value, beta: Value, mean: Value, var: Value, *, eps: float, axis: Attr
) -> Value:
    kept = _kept(x, gamma, axis)
    return ops.batch_normalize(x, mean, var, gamma, beta, float(eps), kept)


def BatchNormalization(x: Value, gamma: Value, beta: Value, *, eps: float, axis: Attr) -> Value:
    """By the statistics of the batch itself, where a chain asks for that in test mode."""
    kept = _kept(x, gamma, axis)
    y = ops.normalize(x, [a for a in range(x.rank) if a not in kept], float(eps))
    return ops.add(ops.mul(y, ops.along(gamma, kept, x.rank)), ops.along(beta, kept, x.rank))


def _kept(x: Value, gamma: Value, axis: Attr) -> list[int]:
    """The axes that statistics do not go over."""
    if axis is None:
        return list(range(1, 1 + gamma.rank))
    over = axes_of(axis, x)
    return [a for a in range(x.rank) if a not in over]


def FixedDecorrelatedBatchNormalization(
    x: Value, mean: Value, projection: Value, *, groups: int
) -> Value:
    order = (1, 0, *range(2, x.rank))
    flat = ops.transpose(x, order)
    deep = as_dim(lift(x.shape[1]) // groups)
    columns = ops.reshape(flat, (groups, deep, ops.product([x.shape[0], *x.shape[2:]])))
    y = ops.matmul(projection, ops.sub(columns, ops.unsqueeze(mean, [mean.rank])))
    return ops.transpose(ops.reshape(y, flat.shape), order)


def GroupNormalization(x: Value, gamma: Value, beta: Value, *, groups: int, eps: float) -> Value:
    y = ops.group_normalize(x, groups, 1, float(eps))
    return ops.add(ops.mul(y, ops.along(gamma, [1], x.rank)), ops.along(beta, [1], x.rank))


def LayerNormalization(x: Value, gamma: Value, beta: Value, *, eps: float) -> Value:
    return ops.add(ops.mul(ops.normalize(x, [1], float(eps)), gamma), beta)


def NormalizeL2(x: Value, *, eps: float, axis: Attr) -> Value:
    norm = ops.sqrt_(ops.reduce_sum(ops.mul(x, x), axes_of(axis, x)))
    return ops.div(x, ops.add(norm, float(eps)))


def LocalResponseNormalization(x: Value, *, n: int, k: float, alpha: float, beta: float) -> Value:
    size = n // 2 * 2 + 1
    y = ops.lrn(channels_last(x), size, float(alpha * size), float(beta), float(k))
    return channels_first(y)


# ---- numpy's functions, where a chain uses arrays -----------------------------------------------


# numpy's elementwise functions that are taken, and what others are called in `arithmetic`.
UFUNCS: Mapping[str, str] = {
    **{n: n for n in (
        "add", "arctan2", "bitwise_and", "bitwise_or", "bitwise_xor", "ceil", "cos", "divide",
        "equal", "exp", "floor", "fmod", "greater", "greater_equal", "isinf", "isnan", "less",
        "less_equal", "log", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum",
        "minimum", "multiply", "negative", "not_equal", "power", "reciprocal", "sign", "sin",
        "sqrt", "square", "subtract", "tanh", "trunc", "where",
    )},
    "absolute": "abs", "invert": "bitwise_not", "remainder": "mod", "rint": "round",
}  # fmt: skip


def _ufunc(name: str) -> Callable[..., Value]:
    """Operands are cast to the dtype in which numpy computes, but for a condition."""

    def function(*xs: Value, dtype: str) -> Value:
        first = name == "where"
        same = (ops.cast(x, FROM_NUMPY[dtype]) for x in xs[first:])
        found: Value = NUMPY[UFUNCS[name]](*xs[:first], *same)
        return found

    return function


def _joined(function: Callable[..., Value]) -> Callable[..., Value]:
    def join(*xs: Value, axis: int, dtype: str) -> Value:
        return function(*(ops.cast(x, FROM_NUMPY[dtype]) for x in xs), axis=axis)

    return join


# ---- the registry -------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Absolute": ops.abs_, "Add": ops.add, "Arccos": ops.acos_, "Arcsin": ops.asin_,
    "Arctan": ops.atan_, "Arctan2": ops.atan2_, "Arctanh": ops.atanh_, "Cos": ops.cos_,
    "Cosh": ops.cosh_, "Div": ops.div, "Erf": ops.erf_, "Erfc": NUMPY["erfc"], "Exp": ops.exp_,
    "Expm1": arithmetic.expm1, "Fmod": ops.fmod, "Log": ops.log_, "Log10": NUMPY["log10"],
    "Log1p": arithmetic.log1p, "Log2": NUMPY["log2"], "Maximum": ops.max_, "Minimum": ops.min_,
    "Mul": ops.mul, "Neg": ops.neg, "PowVarVar": ops.pow_, "ReLU": ops.relu,
    "Sigmoid": ops.sigmoid, "Sin": ops.sin_, "Sinh": ops.sinh_, "Sqrt": ops.sqrt_,
    "Square": arithmetic.square, "Sub": ops.sub, "Tan": ops.tan_, "Tanh": ops.tanh_,
    "fix": ops.trunc_, "numpy.concatenate": _joined(moves.Concat),
    "numpy.stack": _joined(moves.Stack), **{f"numpy.{name}": _ufunc(name) for name in UFUNCS},
}  # fmt: skip
for _module in (globals(), vars(moves), vars(layers)):
    FUNCTIONS |= {
        name: fn
        for name, fn in _module.items()
        if name[0].isupper() and getattr(fn, "__module__", "").startswith("webdnn.frontend.chainer")
        and callable(fn) and not isinstance(fn, type)
    }  # fmt: skip

_LOSS = "it is a loss: return the prediction instead (of a Classifier, its `predictor`)"
_RANDOM = "it draws random numbers"
_SPECIAL = "this special function is not available on the targets"
_ALGEBRA = "decompositions and inverses of matrices are not available on the targets"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ( "BernoulliNLL", "BinaryAccuracy", "BlackOut", "Accuracy", "Contrastive",
         "ConnectionistTemporalClassification", "CrossCovariance", "DeCov", "Hinge", "HuberLoss",
         "MeanAbsoluteError", "MeanSquaredError", "NegativeSamplingFunction", "Triplet",
         "SigmoidCrossEntropy", "SoftmaxCrossEntropy",  "BlackOutFunction",
         "BinaryHierarchicalSoftmaxFunction", "ClassificationSummary", "R2_score"), _LOSS),
    **dict.fromkeys(("Dropout", "Gaussian", "Zoneout"), _RANDOM),
    **dict.fromkeys(("DiGamma", "Erfcx", "LGamma", "LogNdtr", "PolyGamma", "Zeta"), _SPECIAL),
    **dict.fromkeys(
        ("BatchDet", "BatchInv", "Cholesky", "Inv", "DecorrelatedBatchNormalization"), _ALGEBRA),
    "AsStrided": "it depends on the layout of chainer's memory: use indexing or im2col",
    "CooMatMul": "sparse matrices are not supported: use a dense one",
    "TheanoFunction": "functions of Theano are not supported",
    "BatchRenormalizationFunction": "it is for training; in test mode it is fixed",
}  # fmt: skip

__all__ = ["FUNCTIONS", "REFUSED"]
