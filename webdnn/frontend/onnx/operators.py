"""ONNX's operators in terms of ours: one plain function each, named as ONNX names it.

    >>> from webdnn.graph import placeholder
    >>> Gemm(placeholder("a", (2, 3), "f32"), placeholder("b", (5, 3), "f32"), transB=1)
    matmul:f32[2,5]

Inputs are positional (an omitted optional one is None), attributes are keywords with ONNX's names
and defaults; words that a Literal does not list are refused before the function is called. One
function takes every version of its operator from opset 7; where versions differ in more than the
place of an argument it also asks for `opset`. `outputs` is how many outputs the node has. An
operator whose meaning is that of one of ours, argument by argument, is a line of SAME.

What must be known when the model is transpiled (axes, sizes, pads ...) is read with `known_dims`
or `known_array`, which say so if it is not. `OPERATORS` at the end has them all by name; they are
`registry`'s for ONNX's own domain.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Literal

import numpy as np

from ... import limits, ops
from ...errors import ModelError, UnsupportedError, WebDNNError
from ...expr import Dim, as_dim, lift
from ...graph import FLOATS, Value, constant, evaluate, type_text
from ...ops.ranges import RANGES
from .. import windows
from ..arrays import (
    axes_of,
    axis_of,
    channels_first,
    channels_last,
    known_dims,
    known_ints,
)
from ..windows import Window
from . import draws, fourier, reductions, resizing, shapes
from .algebra import Det
from .attributes import attributes_of
from .bits import BitCast
from .declared import NOTHING, Results, chosen, is_known, settled
from .detection import Compress, MaxRoiPool, NonMaxSuppression, NonZero, RoiAlign, TopK
from .elements import cast, element_type, in_floats, onto
from .grams import TfIdfVectorizer
from .recurrent import GRU, LSTM, RNN
from .sampled import DeformConv
from .unique import Unique

Attr = Any
AutoPad = Literal["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", ""]
Reduction = Literal["none", "add", "mul", "max", "min"]
RoundMode = Literal["up", "down", "nearest"]
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
Coordinates = Literal[
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize",
]  # fmt: skip

# ---- elementwise --------------------------------------------------------------------------------

SAME: dict[str, Callable[..., Value]] = {
    "Abs": ops.abs_, "Acos": ops.acos_, "Acosh": ops.acosh_, "Add": ops.add, "And": ops.logical_and,
    "Asin": ops.asin_, "Asinh": ops.asinh_, "Atan": ops.atan_, "Atanh": ops.atanh_,
    "BitwiseAnd": ops.bit_and, "BitwiseNot": ops.bit_not, "BitwiseOr": ops.bit_or,
    "BitwiseXor": ops.bit_xor, "Ceil": ops.ceil_, "Cos": ops.cos_, "Cosh": ops.cosh_,
    "Div": ops.div, "Equal": ops.equal, "Erf": ops.erf_, "Exp": ops.exp_, "Floor": ops.floor_,
    "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal, "HardSwish": ops.hard_swish,
    "IsNaN": ops.is_nan, "Less": ops.less, "LessOrEqual": ops.less_equal, "Log": ops.log_,
    "MatMul": ops.matmul,
    "Mish": ops.mish, "Mul": ops.mul, "Neg": ops.neg, "Not": ops.logical_not,
    "Or": ops.logical_or, "PRelu": ops.prelu, "Reciprocal": ops.reciprocal, "Relu": ops.relu,
    "Round": ops.round_, "Sigmoid": ops.sigmoid, "Sign": ops.sign_, "Sin": ops.sin_,
    "Sinh": ops.sinh_, "Softplus": ops.softplus, "Softsign": ops.softsign, "Sqrt": ops.sqrt_,
    "Sub": ops.sub, "Tan": ops.tan_, "Tanh": ops.tanh_, "Where": ops.where, "Xor": ops.logical_xor,
}  # fmt: skip


def LeakyRelu(x: Value, *, alpha: float = 0.01) -> Value:
    return ops.leaky_relu(x, alpha=alpha)


def ThresholdedRelu(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.thresholded_relu(x, alpha=alpha)


def Elu(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.elu(x, alpha=alpha)


def Celu(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.celu(x, alpha=alpha)


def Selu(
    x: Value, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Value:
    return ops.selu(x, alpha=alpha, gamma=gamma)


def HardSigmoid(x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    return ops.hard_sigmoid(x, alpha=alpha, beta=beta)


def Shrink(x: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    return in_floats(lambda v: ops.shrink(v, lambd=lambd, bias=bias), x)


def Gelu(x: Value, *, approximate: Literal["none", "tanh"] = "none") -> Value:
    return ops.gelu_tanh(x) if approximate == "tanh" else ops.gelu(x)


def Swish(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.silu(x) if alpha == 1 else ops.swish(x, alpha=alpha)


def Clip(
    x: Value,
    lo: Value | None = None,
    hi: Value | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Value:
    bounds_given = [lo if lo is not None else min, hi if hi is not None else max]
    for k, (bound, op) in enumerate(zip(bounds_given, (ops.max_, ops.min_))):
        if isinstance(bound, Value):
            bounds_given[k] = bound = ops.reshape(bound, ())
        if bound is not None and not (
            isinstance(bound, float) and math.isinf(bound) and (bound > 0) == (k == 1)
        ):
            x = op(x, bound)
    return x


def Pow(x: Value, y: Value) -> Value:
    if x.dtype == y.dtype:
        return ops.pow_(x, y)
    return in_floats(lambda v: ops.pow_(v, ops.cast(y, v.dtype)), x)


def Mod(x: Value, y: Value, *, fmod: int = 0) -> Value:
    return ops.fmod(x, y) if fmod else ops.mod(x, y)


def BitShift(x: Value, y: Value, *, direction: Literal["LEFT", "RIGHT"]) -> Value:
    return ops.shift_left(x, y) if direction == "LEFT" else ops.shift_right(x, y)


def IsInf(x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    if not detect_negative and not detect_positive:
        return ops.logical_and(ops.is_nan(x), False)
    return ops.is_inf(x, positive=bool(detect_positive), negative=bool(detect_negative))


def Max(*xs: Value) -> Value:
    return reduce(ops.max_, xs)


def Min(*xs: Value) -> Value:
    return reduce(ops.min_, xs)


def Sum(*xs: Value) -> Value:
    return reduce(ops.add, xs)


def Mean(*xs: Value) -> Value:
    return ops.mul(reduce(ops.add, xs), 1 / len(xs))


def Cast(x: Value, *, to: int, saturate: int = 1, round_mode: RoundMode = "up") -> Value:
    return cast(x, element_type(to), bool(saturate), round_mode)


def CastLike(x: Value, like: Value, *, saturate: int = 1, round_mode: RoundMode = "up") -> Value:
    return cast(x, like.dtype, bool(saturate), round_mode)


def Identity(x: Value) -> Value:
    return x


def Dropout(
    x: Value,
    ratio: Value | None = None,
    training: Value | None = None,
    *,
    seed: int = 0,
    is_test: int = 1,
    **attrs: Attr,
) -> list[Value]:
    if training is not None and not (training.constant and not evaluate(training).any()):
        raise UnsupportedError("training mode is not supported; export the model for inference")
    return [x, ops.expand(constant(True), x.shape)]


# ---- normalisations -----------------------------------------------------------------------------


def BatchNormalization(
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    var: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
    outputs: int,
) -> list[Value]:
    """With training_mode also the running mean and variance, by the batch's own."""
    if outputs > 1 and not training_mode:
        raise UnsupportedError("outputs of training are not supported; export for inference")
    at = 1 if x.rank > 1 else 0
    if not training_mode:
        return [ops.batch_normalize(x, mean, var, scale, bias, epsilon, [at])]
    axes = [k for k in range(x.rank) if k != at]
    own = ops.reduce_mean(x, axes)
    d = ops.sub(x, own)
    spread = ops.reduce_mean(ops.mul(d, d), axes)
    flat = [ops.reshape(v, (x.shape[at],)) for v in (own, spread)]
    y = ops.batch_normalize(x, flat[0], flat[1], scale, bias, epsilon, [at])
    kept = [
        ops.add(ops.mul(old, momentum), ops.mul(new, 1 - momentum))
        for old, new in zip((mean, var), flat)
    ]
    return [y, *kept][:outputs]


def InstanceNormalization(x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Value:
    return _by_channel(ops.normalize(x, _picture(x), epsilon), scale, bias)


def _by_channel(x: Value, scale: Value, bias: Value) -> Value:
    """x [N, C, ...] times a scale [C] and with a bias [C]."""
    for v in (scale, bias):
        if x.rank < 3 or v.rank != 1 or not ops.same(v.shape[0], x.shape[1]):
            raise ModelError(f"{type_text(v)} is not one number for each channel of {type_text(x)}")
    return ops.add(ops.mul(x, ops.along(scale, 1, x.rank)), ops.along(bias, 1, x.rank))


def LayerNormalization(
    x: Value,
    scale: Value,
    bias: Value | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int,
) -> list[Value]:
    axes = range(axis_of(axis, x), x.rank)
    wide = ops.cast(x, element_type(stash_type)) if x.dtype == "f16" else x
    y = ops.mul(ops.cast(ops.normalize(wide, axes, epsilon), x.dtype), scale)
    y = onto(x, y if bias is None else ops.add(y, bias), "scale or bias")
    if outputs == 1:
        return [y]
    mean = ops.reduce_mean(wide, axes)
    d = ops.sub(wide, mean)
    return [y, mean, ops.rsqrt_(ops.add(ops.reduce_mean(ops.mul(d, d), axes), epsilon))]


def SimplifiedLayerNormalization(
    x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    return RMSNormalization(x, scale, axis=axis, epsilon=epsilon, stash_type=stash_type)


def RMSNormalization(
    x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    y = ops.rms_normalize(x, range(axis_of(axis, x), x.rank), epsilon)
    return onto(x, ops.mul(y, scale), f"scale {type_text(scale)}")


def GroupNormalization(
    x: Value,
    scale: Value,
    bias: Value,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    opset: int,
) -> Value:
    if opset < 21:  # one scale for each group, not for each channel
        each = ops.static(x.shape[1], "the number of channels") // num_groups
        scale, bias = (ops.repeat(v, each, 0) for v in (scale, bias))
    return _by_channel(ops.group_normalize(x, num_groups, 1, epsilon), scale, bias)


def LpNormalization(x: Value, *, axis: int = -1, p: int = 2) -> Value:
    norm = ops.lp_norm(x, p, [axis_of(axis, x)])
    zero = ops.equal(norm, 0.0)
    return ops.where(zero, 0.0, ops.div(x, ops.where(zero, 1.0, norm)))


def MeanVarianceNormalization(x: Value, *, axes: Sequence[int] = (0, 2, 3)) -> Value:
    found = axes_of(axes, x)
    d = ops.sub(x, ops.reduce_mean(x, found))
    return ops.div(d, ops.add(ops.sqrt_(ops.reduce_mean(ops.mul(d, d), found)), 1e-9))


def LRN(
    x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Value:
    return channels_first(ops.lrn(channels_last(x), size, alpha, beta, bias))


# ---- matrix products ----------------------------------------------------------------------------


def Gemm(
    a: Value,
    b: Value,
    c: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    a, b = (ops.transpose(v, (1, 0)) if turn else v for v, turn in ((a, transA), (b, transB)))
    y = _scaled(ops.matmul(a, b), alpha)
    if c is None or beta == 0:
        return y
    return onto(y, ops.add(y, _scaled(c, beta)), f"C {type_text(c)}")


def _scaled(x: Value, factor: float) -> Value:
    return x if factor == 1 else in_floats(lambda v: ops.mul(v, factor), x)


def Einsum(*xs: Value, equation: str) -> Value:
    if len(equation.partition("->")[0].split(",")) != len(xs):
        raise ModelError(
            f"the equation {equation!r} has {len(equation.partition('->')[0].split(','))} "
            f"operands, the node {len(xs)}"
        )
    return ops.einsum(equation, *xs)


# ---- convolution --------------------------------------------------------------------------------


def _window(
    sizes: Sequence[Dim],
    kernel: Sequence[int],
    *,
    auto_pad: AutoPad = "NOTSET",
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Window:
    """The windows over spatial axes of these sizes that the attributes mean."""
    rank = len(sizes)
    around: str | windows.Pads = auto_pad.lower()
    if auto_pad in ("NOTSET", ""):
        flat = list(pads) or [0] * (2 * rank)
        if len(flat) != 2 * rank:
            raise ModelError(f"{len(flat)} pads for {rank} spatial axes; expected {2 * rank}")
        if min(flat, default=0) < 0:
            raise ModelError(f"pads {flat}: one is negative")
        around = list(zip(flat[:rank], flat[rank:]))
    return windows.window(sizes, kernel, strides, dilations, around)


def _kernel(x: Value, w: Value, kernel_shape: Sequence[int]) -> list[int]:
    """The filters' own size, which kernel_shape may repeat."""
    if x.rank != w.rank or x.rank < 3:
        raise ModelError(f"filters {type_text(w)} do not fit {type_text(x)}")
    kernel = [ops.static(d, "the filter's size") for d in w.shape[2:]]
    if kernel_shape and list(kernel_shape) != kernel:
        raise ModelError(f"kernel_shape {list(kernel_shape)}, but filters {type_text(w)}")
    return kernel


@attributes_of(_window)
def Conv(
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    **window: Attr,
) -> Value:
    kernel = _kernel(x, w, kernel_shape)
    return windows.conv(x, w, b, _window(x.shape[2:], kernel, **window), group)


@attributes_of(_window)
def ConvTranspose(
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    auto_pad: AutoPad = "NOTSET",
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    output_padding: Sequence[int] = (),
    output_shape: Sequence[int] = (),
    **given: Attr,
) -> Value:
    kernel, rank = _kernel(x, w, kernel_shape), x.rank - 2
    extra = list(output_padding) or [0] * rank
    by_size = bool(output_shape) or auto_pad.startswith("SAME")
    window = _window(x.shape[2:], kernel, auto_pad="VALID" if by_size else auto_pad, **given)
    if by_size:  # the pads are what is too much
        around: windows.Pads = []
        for k, size in enumerate(x.shape[2:]):
            full = lift(windows.transposed_size(window, k, size)) + extra[k]
            wanted = output_shape[-rank + k] if output_shape else lift(size) * window.strides[k]
            total = ops.static(as_dim(full - wanted), "the padding for the given output size")
            small, large = total // 2, total - total // 2
            around.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
        window = replace(window, pads=around)
    return windows.conv_transpose(x, w, b, window, group, extra)


def Col2Im(
    x: Value,
    image_shape: Value,
    block_shape: Value,
    *,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    declared: Results = NOTHING,
) -> Value:
    """Overlapping blocks added up: the transposed convolution by filters of a single one each."""
    if is_known(image_shape):
        image = known_dims(image_shape, "the image's shape")
    else:
        rank = 2 + ops.static(image_shape.size, "the rank of the image")
        image = list(declared.shape(image_shape, "the image's shape", rank)[2:])

    def by(block: Sequence[int]) -> Value:
        window = _window(image, block, dilations=dilations, pads=pads, strides=strides)
        return _joined(x, image, block, window)

    if is_known(block_shape):
        return by(known_ints(block_shape, "the block"))
    depth = declared.shape(block_shape, "the block", 2 + len(image))[1]
    many = ops.static(x.shape[1], "the number of channels")
    many //= max(ops.static(depth, "the number of channels"), 1)
    found: dict[tuple[int, ...], Value] = {}
    sides = [d for d in range(1, many + 1) if many % d == 0]
    for block in itertools.product(sides, repeat=len(image)):
        if math.prod(block) == many:
            with contextlib.suppress(WebDNNError, ValueError):  # not so many of them fit
                found[block] = by(block)
    given = ops.cast(block_shape, "i64")
    tests = {
        b: ops.reshape(ops.reduce(ops.equal(given, constant(b, "i64")), "all", [0]), ())
        for b in found
    }
    return chosen(tests, found, block_shape, "the block", declared)


def _joined(x: Value, image: Sequence[Dim], block: Sequence[int], window: Window) -> Value:
    """x [N, C * block, positions] as an image, positions of blocks being those of windows."""
    many = math.prod(block)
    channels = ops.static(x.shape[1], "the number of channels") // many
    counts: list[Dim] = []
    extra: list[int] = []
    for k, size in enumerate(image):
        room = lift(size) - windows.transposed_size(window, k, 1)
        counts.append(as_dim(room // window.strides[k] + 1))
        left = as_dim(lift(size) - windows.transposed_size(window, k, counts[k]))
        extra.append(ops.static(left, "what the blocks leave of the image"))
    limits.make(4 * channels * many**2, f"the filters of blocks of {block}")
    one = np.eye(many, dtype=np.float32).reshape(many, 1, *block)
    filters = constant(np.tile(one, (channels, *[1] * (window.rank + 1))), x.dtype)
    y = ops.reshape(x, (x.shape[0], x.shape[1], *counts))
    return windows.conv_transpose(y, filters, None, window, channels, extra)


# ---- pooling ------------------------------------------------------------------------------------


@attributes_of(_window)
def _pooling(
    x: Value,
    *,
    kernel_shape: Sequence[int],
    ceil_mode: int = 0,
    auto_pad: AutoPad = "NOTSET",
    **given: Attr,
) -> Window:
    """The windows that the attributes of a pooling mean over x."""
    w = _window(x.shape[2:], kernel_shape, auto_pad=auto_pad, **given)
    if auto_pad.startswith("SAME"):
        return w
    return (windows.ceil_mode if ceil_mode else windows.at_least_one)(w, x.shape[2:])


@attributes_of(_pooling)
def MaxPool(x: Value, *, storage_order: int = 0, outputs: int, **given: Attr) -> list[Value]:
    """Also where each maximum is, counted through all of x; storage_order 1: columns first."""
    w = _pooling(x, **given)
    y = windows.max_pool(x, w)
    if outputs < 2:
        return [y]
    wide = windows.patches(ops.cast(x, "f32"), w, -math.inf)  # [N, C, places..., kernel...]
    many = math.prod(w.kernel)
    rows = ops.reshape(wide, (*wide.shape[: x.rank], many))
    found = ops.squeeze(ops.reduce(rows, "argmax", [x.rank]), [x.rank])
    space = x.shape[2:]
    weights: list[Dim] = [ops.product(space[k + 1 :]) for k in range(w.rank)]
    if storage_order:
        weights = [ops.product(space[:k]) for k in range(w.rank)]
    lead = ops.add(
        ops.mul(ops.iota((x.shape[0], 1), 0, "i64"), ops.ints(x.shape[1], "i64")),
        ops.iota((1, x.shape[1]), 1, "i64"),
    )
    at = ops.mul(ops.along(lead, [0, 1], x.rank), ops.ints(ops.product(space), "i64"))
    rest = found
    for k in reversed(range(w.rank)):
        line = ops.iota([d if j == 2 + k else 1 for j, d in enumerate(y.shape)], 2 + k, "i64")
        begin = ops.sub(ops.mul(line, w.strides[k]), ops.ints(w.pads[k][0], "i64"))
        place = ops.add(begin, ops.mul(ops.mod(rest, w.kernel[k]), w.dilations[k]))
        if w.pads[k] != (0, 0):  # where all is -inf, padding is as great as any element
            last = ops.ints(as_dim(lift(space[k]) - 1), "i64")
            place = ops.max_(ops.min_(place, last), constant(0, "i64"))
        rest = ops.div(rest, w.kernel[k])
        at = ops.add(at, ops.mul(place, ops.ints(weights[k], "i64")))
    return [y, at]


def MaxUnpool(
    x: Value,
    indices: Value,
    output_shape: Value | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    declared: Results = NOTHING,
) -> Value:
    """What MaxPool chose, where it was, among zeros."""
    rank = x.rank - 2
    steps, around = list(strides) or [1] * rank, list(pads) or [0] * (2 * rank)
    if rank < 1 or len(kernel_shape) != rank or len(steps) != rank or len(around) != 2 * rank:
        raise ModelError(f"windows {list(kernel_shape)} do not fit {type_text(x)}")
    small: list[Dim] = [*x.shape[:2]]
    for k, d in enumerate(x.shape[2:]):
        small.append(
            as_dim((lift(d) - 1) * steps[k] + kernel_shape[k] - around[k] - around[k + rank])
        )
    shape = small if output_shape is None else settled(output_shape, "the output's shape", declared)
    at = indices
    if output_shape is not None:  # indices count through what MaxPool saw, which was smaller
        places, rest = [], indices
        for d in reversed(small):
            size = ops.ints(d, "i64")
            places.append(ops.mod(rest, size))
            rest = ops.div(rest, size)
        at = constant(0, "i64")
        for place, d in zip(reversed(places), shape, strict=True):
            at = ops.add(ops.mul(at, ops.ints(d, "i64")), place)
    zeros = ops.expand(constant(0, x.dtype), (ops.product(shape),))
    flat = [ops.reshape(v, (x.size,)) for v in (at, x)]
    return ops.reshape(ops.scatter_elements(zeros, flat[0], flat[1], 0, "none"), shape)


@attributes_of(_pooling)
def AveragePool(x: Value, *, count_include_pad: int = 0, **given: Attr) -> Value:
    return windows.average_pool(x, _pooling(x, **given), bool(count_include_pad))


@attributes_of(_pooling)
def LpPool(x: Value, *, p: int = 2, **given: Attr) -> Value:
    y = windows.patches(_raised(x, p), _pooling(x, **given))
    y = ops.reduce_sum(y, range(x.rank, y.rank))
    return _rooted(ops.reshape(y, y.shape[: x.rank]), p)


def _raised(x: Value, p: int) -> Value:
    if p < 1:
        raise ModelError(f"p {p}: a positive number expected")
    return ops.abs_(x) if p == 1 else ops.mul(x, x) if p == 2 else ops.pow_(ops.abs_(x), float(p))


def _rooted(x: Value, p: int) -> Value:
    return x if p == 1 else ops.sqrt_(x) if p == 2 else ops.pow_(x, 1 / p)


def _picture(x: Value) -> range:
    """The spatial axes of x [N, C, spatial...]."""
    if x.rank < 3:
        raise ModelError(f"[N, C, spatial...] expected, found {type_text(x)}")
    return range(2, x.rank)


def GlobalAveragePool(x: Value) -> Value:
    return ops.reduce_mean(x, _picture(x))


def GlobalMaxPool(x: Value) -> Value:
    return ops.reduce_max(x, _picture(x))


def GlobalLpPool(x: Value, *, p: int = 2) -> Value:
    return _rooted(ops.reduce_sum(_raised(x, p), _picture(x)), p)


# ---- quantisation, as arithmetic ----------------------------------------------------------------


def _quantisation(v: Value, x: Value, axis: int, block_size: int) -> Value:
    """A scale or zero point that broadcasts against x: one for all, for each index of an axis, or
    by blocks.
    """
    if v.size == 1:
        return ops.reshape(v, ())
    if block_size and v.rank == x.rank:
        at = axis_of(axis, x)
        whole = ops.repeat(v, block_size, at)
        return ops.slice_axis(whole, at, 0, x.shape[at])
    return ops.along(v, axis_of(axis, x), x.rank)


def _saturated_cast(x: Value, dtype: str) -> Value:
    return ops.cast(ops.clamp(x, *map(float, RANGES[dtype])), dtype)


def QuantizeLinear(
    x: Value,
    scale: Value,
    zero: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
    precision: int = 0,
) -> Value:
    dtype = zero.dtype if zero is not None else element_type(output_dtype) if output_dtype else "u8"
    wide = ops.cast(x, "f32")
    if dtype in FLOATS:
        y = ops.div(wide, ops.cast(_quantisation(scale, x, axis, block_size), "f32"))
        return cast(y, dtype, bool(saturate))
    y = ops.round_(ops.div(wide, ops.cast(_quantisation(scale, x, axis, block_size), "f32")))
    if zero is not None and not (zero.constant and not evaluate(zero).any()):
        y = ops.add(y, ops.cast(_quantisation(zero, x, axis, block_size), "f32"))
    return _saturated_cast(y, dtype)


def DequantizeLinear(
    x: Value,
    scale: Value,
    zero: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    dtype = element_type(output_dtype) if output_dtype else scale.dtype
    if zero is not None and zero.dtype != x.dtype:
        raise ModelError(f"the zero point {type_text(zero)} is not of the type of {type_text(x)}")
    if zero is not None and zero.size not in (1, scale.size):
        raise ModelError(f"the zero point {type_text(zero)} does not fit {type_text(scale)}")
    if x.constant and scale.constant and (zero is None or zero.constant) and x.dtype in ops.NARROW:
        return _weights(x, scale, zero, axis, block_size, dtype)
    kind = "f32" if x.dtype in FLOATS else "i32"
    wide = ops.cast(x, kind)
    if zero is not None:
        wide = ops.sub(wide, ops.cast(_quantisation(zero, x, axis, block_size), kind))
    y = ops.mul(ops.cast(wide, "f32"), ops.cast(_quantisation(scale, x, axis, block_size), "f32"))
    return ops.cast(y, dtype)


def _weights(
    q: Value, scale: Value, zero: Value | None, axis: int, block_size: int, dtype: str
) -> Value:
    """Quantised weights, which stay so: a scale for all, for each index of an axis, or by
    blocks."""
    sizes: Any = q.shape  # integers, since q is constant
    blocks: list[int] = [1] * q.rank
    if scale.size == 1:
        shape: list[Any] = [1] * q.rank
        blocks = [max(d, 1) for d in sizes]
    elif block_size:
        shape = [*scale.shape]
        blocks[axis_of(axis, q)] = block_size
    else:
        at = axis_of(axis, q)
        shape = [d if k == at else 1 for k, d in enumerate(q.shape)]
        blocks = [1 if k == at else max(d, 1) for k, d in enumerate(sizes)]
    if scale.size != math.prod(shape):
        raise UnsupportedError(
            f"the scale {type_text(scale)} does not fit {type_text(q)} along axis {axis}"
        )
    if zero is not None:
        zero = ops.reshape(zero, shape if zero.size == scale.size else [1] * q.rank)
    return ops.dequantize(q, ops.reshape(scale, shape), zero, blocks, dtype)


def DynamicQuantizeLinear(x: Value) -> list[Value]:
    axes = range(x.rank)
    high = ops.max_(ops.reshape(ops.reduce_max(x, axes), ()), 0.0)
    low = ops.min_(ops.reshape(ops.reduce(x, "min", axes), ()), 0.0)
    scale = ops.div(ops.sub(high, low), 255.0)
    scale = ops.where(ops.equal(high, low), 1.0, scale)  # of zeros alone
    zero = ops.cast(ops.clamp(ops.round_(ops.neg(ops.div(low, scale))), 0.0, 255.0), "u8")
    return [QuantizeLinear(x, scale, zero), scale, zero]


def MatMulInteger(
    a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> Value:
    for q, v, n in ((a, a_zero, a.shape[-2:][0]), (b, b_zero, b.shape[-1])):
        if v is not None and v.rank < 2 and v.size != 1 and not ops.same(v.size, n):
            raise ModelError(f"zero points {type_text(v)} do not fit {type_text(q)}")
    if a_zero is not None:
        by_row = a_zero.rank == 1 and a_zero.size != 1
        a_zero = ops.unsqueeze(a_zero, [1]) if by_row else a_zero
        a_zero = ops.reshape(a_zero, ()) if a_zero.size == 1 else a_zero
    if b_zero is not None and b_zero.size == 1:
        b_zero = ops.reshape(b_zero, ())
    exact = ops.integer_matmul(a, b, a_zero, b_zero) if min(a.rank, b.rank) > 1 else None
    if exact is not None:
        return exact
    left, right = ops.cast(a, "i32"), ops.cast(b, "i32")
    left = left if a_zero is None else ops.sub(left, ops.cast(a_zero, "i32"))
    right = right if b_zero is None else ops.sub(right, ops.cast(b_zero, "i32"))
    return ops.matmul(left, right)


def QLinearMatMul(
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    total = ops.cast(MatMulInteger(a, b, a_zero, b_zero), "f32")

    def rows(v: Value) -> Value:
        return ops.unsqueeze(v, [1]) if v.rank == 1 and v.size != 1 else v

    scale = ops.mul(rows(ops.cast(a_scale, "f32")), ops.cast(b_scale, "f32"))
    y = ops.add(
        ops.round_(ops.mul(total, ops.div(scale, ops.cast(y_scale, "f32")))),
        ops.cast(y_zero, "f32"),
    )
    return _saturated_cast(y, y_zero.dtype)


@attributes_of(_window)
def ConvInteger(
    x: Value,
    w: Value,
    x_zero: Value | None = None,
    w_zero: Value | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    **window: Attr,
) -> Value:
    """Exact sums of integer products."""
    seen = _window(x.shape[2:], _kernel(x, w, kernel_shape), **window)
    x_zero = None if x_zero is None else ops.reshape(x_zero, ())
    if w_zero is not None:
        if w_zero.size not in (1, w.shape[0]):
            raise ModelError(f"zero points {type_text(w_zero)}: one for each of {type_text(w)}")
        w_zero = ops.reshape(w_zero, () if w_zero.size == 1 else (w_zero.size,))
    filters = ops.transpose(w, (*range(2, w.rank), 1, 0))
    y = ops.integer_convolve(
        channels_last(x), filters, seen.strides, seen.pads, seen.dilations, group, x_zero, w_zero
    )
    if y is not None:
        return channels_first(y)
    # windows of x by the filters, reduced in 32-bit integers
    left, right = ops.cast(x, "i32"), ops.cast(w, "i32")
    left = left if x_zero is None else ops.sub(left, ops.cast(x_zero, "i32"))
    if w_zero is not None:
        zero = ops.cast(w_zero, "i32")
        right = ops.sub(right, ops.along(zero, 0, w.rank) if zero.rank else zero)
    n = x.shape[0]
    m, each = w.shape[:2]
    patches = windows.patches(left, seen)  # [N, C, O..., K...]
    space = patches.shape[2 : x.rank]
    patches = ops.reshape(patches, (n, group, 1, each, *space, *seen.kernel))
    filters = ops.reshape(
        right, (1, group, as_dim(lift(m) // group), each, *[1] * len(space), *seen.kernel)
    )
    product = ops.mul(patches, filters)
    total = ops.reduce_sum(product, [3, *range(4 + len(space), product.rank)])
    return ops.reshape(total, (n, m, *space))


@attributes_of(ConvInteger)
def QLinearConv(
    x: Value,
    x_scale: Value,
    x_zero: Value,
    w: Value,
    w_scale: Value,
    w_zero: Value,
    y_scale: Value,
    y_zero: Value,
    b: Value | None = None,
    **attrs: Attr,
) -> Value:
    total = ConvInteger(x, w, x_zero, w_zero, **attrs)
    total = ops.add(total, ops.along(b, 1, x.rank)) if b is not None else total
    scale = ops.mul(ops.cast(x_scale, "f32"), ops.cast(w_scale, "f32"))
    scale = ops.div(scale, ops.cast(y_scale, "f32"))
    scale = ops.reshape(scale, ()) if scale.size == 1 else ops.along(scale, 1, x.rank)
    y = ops.add(
        ops.round_(ops.mul(ops.cast(total, "f32"), scale)), ops.reshape(ops.cast(y_zero, "f32"), ())
    )
    return _saturated_cast(y, y_zero.dtype)


# ---- the registry -------------------------------------------------------------------------------

OPERATORS: dict[str, Callable[..., Any]] = (
    SAME
    | {
        name: fn
        for name, fn in list(globals().items())
        if name[0].isupper() and callable(fn) and getattr(fn, "__module__", "") == __name__
    }
    | {
        fn.__name__: fn
        for fn in (
            Det,
            GRU,
            LSTM,
            RNN,
            Compress,
            MaxRoiPool,
            NonMaxSuppression,
            NonZero,
            RoiAlign,
            TopK,
            BitCast,
            DeformConv,
            TfIdfVectorizer,
            Unique,
        )
    }
    | draws.OPERATORS
    | fourier.OPERATORS
    | reductions.OPERATORS
    | resizing.OPERATORS
    | shapes.OPERATORS
)
