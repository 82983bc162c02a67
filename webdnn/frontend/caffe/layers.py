"""Caffe's layers, one function each, named as the layer's type: bottoms in, tops out.

    LAYERS["ReLU"](layer, x)      # the top as a Value, or a list of them

Blobs are NCHW, and every function takes any rank that Caffe takes. What needs channels last is
wrapped in transposes, which the layout pass removes again. A layer is as at test time. The sources
are the layer catalogue and caffe.proto of BVLC Caffe 1.0 (caffe.berkeleyvision.org), and for
Permute, Normalize and PriorBox the SSD fork (Liu et al., arXiv 1512.02325).

`LAYERS` is what can be built, `WEIGHTED` what is nothing without its weights; layers that feed a
net or only measure it are in `caffe`.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import ops
from ...errors import ModelError
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant, type_text
from .. import arrays, windows
from ..arrays import channels_first, channels_last
from . import boxes, recurrent, spatial
from .layer import Layer, axis_of, one, same_shapes
from .text import Message

# ---- inner products ------------------------------------------------------------------------------


def InnerProduct(layer: Layer, x: Value) -> Value:
    """All axes from `axis` on are one vector."""
    p = layer.param("inner_product_param")
    axis = axis_of(p, "axis", 1, x)
    outputs = p.integer("num_output", 0, 1)
    if outputs < 1:
        raise ModelError("num_output is missing")
    size = ops.static(ops.product(x.shape[axis:]), "the number of inputs of the inner product")
    if p.flag("transpose"):
        w = layer.blob(0, (size, outputs), "the weights")
    else:
        w = ops.transpose(layer.blob(0, (outputs, size), "the weights"), (1, 0))
    y = ops.matmul(ops.reshape(x, (ops.product(x.shape[:axis]), size)), w)
    if p.flag("bias_term", True):
        y = ops.add(y, layer.blob(1, (outputs,), "the bias"))
    return ops.reshape(y, (*x.shape[:axis], outputs))


def Embed(layer: Layer, x: Value) -> Value:
    """The row of the weights that each number of x means."""
    p = layer.param("embed_param")
    outputs, inputs = p.integer("num_output", 0, 1), p.integer("input_dim", 0, 1)
    if not outputs or not inputs:
        raise ModelError("num_output and input_dim expected")
    y = ops.gather(layer.blob(0, (inputs, outputs), "the weights"), ops.cast(x, "i32"), 0)
    return ops.add(y, layer.blob(1, (outputs,), "the bias")) if p.flag("bias_term", True) else y


def Parameter(layer: Layer) -> Value:
    """A blob of weights as a top."""
    shape = layer.param("parameter_param").child("shape").integers("dim", 1)
    return layer.blob(0, shape, "the parameter")


# ---- normalisation -------------------------------------------------------------------------------


def LRN(layer: Layer, x: Value) -> Value:
    """Across channels, or within each channel over a square window."""
    p = layer.param("lrn_param")
    size, alpha, beta = p.integer("local_size", 5, 1), p.number("alpha", 1), p.number("beta", 0.75)
    if size % 2 == 0:
        raise ModelError(f"local_size {size}: an odd number expected")
    region = p.choice("norm_region", ("ACROSS_CHANNELS", "WITHIN_CHANNEL"), "ACROSS_CHANNELS")
    k = p.number("k", 1)
    if region == "ACROSS_CHANNELS":
        return channels_first(ops.lrn(channels_last(x), size, alpha, beta, k))
    half = size // 2
    if x.rank != 4:
        raise ModelError(f"a blob of four axes expected, found {type_text(x)}")
    w = windows.window(x.shape[2:], (size, size), pads=[(half, half)] * 2)
    mean = windows.average_pool(ops.mul(x, x), w, include_pad=True)
    return ops.div(x, ops.pow_(ops.add(ops.mul(mean, alpha), 1.0), beta))


def BatchNorm(layer: Layer, x: Value) -> Value:
    """Stored sums over their weight; blobs 3 and 4 are the scale and bias of NVIDIA's fork."""
    p = layer.param("batch_norm_param")
    eps = p.number("eps", 1e-5)
    channels = x.shape[1] if x.rank > 1 else 1
    axis = min(1, x.rank - 1)
    affine: list[Value | None] = [None, None]
    if p.flag("scale_bias") and len(layer.blobs) >= 5:
        affine = [layer.blob(k, (channels,), w) for k, w in ((3, "the scale"), (4, "the bias"))]
    if p.flag("use_global_stats", True):
        if len(layer.blobs) < 3:
            raise ModelError(
                f"three blobs of weights (mean, variance, weight) expected, "
                f"{len(layer.blobs)} found"
            )
        weight = ops.reshape(layer.blob(2, (1,), "the weight of the statistics"), ())
        zero = ops.equal(weight, 0.0)
        factor = ops.where(zero, constant(0.0, "f32"), ops.div(constant(1.0, "f32"), weight))
        mean, variance = (
            ops.mul(layer.blob(k, (channels,), what), factor)
            for k, what in enumerate(("the mean", "the variance"))
        )
        return ops.batch_normalize(x, mean, variance, affine[0], affine[1], eps, [axis])
    y = ops.normalize(x, [0, *range(2, x.rank)], eps)
    for v, op in zip(affine, (ops.mul, ops.add)):
        y = y if v is None else op(y, ops.along(v, axis, x.rank))
    return y


def BN(layer: Layer, x: Value) -> Value:
    """Slope and bias, after the stored mean and variance where there are such (SegNet, PSPNet)."""
    p = layer.param("bn_param")
    eps = p.number("eps", 1e-5)
    mode = p.choice("bn_mode", ("LEARN", "INFERENCE"), "INFERENCE")
    channels = x.shape[1]
    what = ("the slope", "the bias", "the mean", "the variance")
    count = 4 if len(layer.blobs) > 2 else 2
    slope, bias, *stored = (layer.blob(k, (channels,), what[k]) for k in range(count))
    if stored:
        return ops.batch_normalize(x, stored[0], stored[1], slope, bias, eps, [1])
    if mode == "LEARN":
        x = ops.normalize(x, [0, *range(2, x.rank)], eps)
    return ops.add(ops.mul(x, ops.along(slope, 1, x.rank)), ops.along(bias, 1, x.rank))


def _operand(layer: Layer, p: Message, xs: Sequence[Value], what: str) -> tuple[Value, int, bool]:
    """The second operand of Scale and Bias: (value, first axis in the first bottom, learnt)."""
    x = xs[0]
    axis = axis_of(p, "axis", 1, x)
    count = p.integer("num_axes", 1, -1)
    if len(xs) == 2:
        y = xs[1]
        axis = 0 if y.rank == 0 else axis
        fits = axis + y.rank <= x.rank and all(map(ops.same, y.shape, x.shape[axis:]))
        if not fits:
            raise ModelError(
                f"the second bottom {type_text(y)} does not fit {type_text(x)} from axis {axis} on"
            )
        return y, axis, False
    one(xs)
    end = x.rank if count < 0 else axis + count
    if end > x.rank:
        raise ModelError(f"{count} axes from axis {axis} on of {type_text(x)}")
    return layer.blob(0, x.shape[axis:end], what), axis, True


def Scale(layer: Layer, *xs: Value) -> Value:
    """Times weights or a second bottom, from an axis on; and a bias."""
    p = layer.param("scale_param")
    scale, axis, learnt = _operand(layer, p, xs, "the scale")
    y = ops.mul(xs[0], ops.along(scale, axis, xs[0].rank))
    if p.flag("bias_term"):
        bias = layer.blob(int(learnt), scale.shape, "the bias")
        y = ops.add(y, ops.along(bias, axis, y.rank))
    return y


def Bias(layer: Layer, *xs: Value) -> Value:
    """Plus weights or a second bottom, from an axis on."""
    bias, axis, _ = _operand(layer, layer.param("bias_param"), xs, "the bias")
    return ops.add(xs[0], ops.along(bias, axis, xs[0].rank))


def MVN(layer: Layer, x: Value) -> Value:
    """Minus the mean, and over the deviation, of each image (and channel)."""
    p = layer.param("mvn_param")
    axes = list(range(1 if p.flag("across_channels") else 2, x.rank))
    d = ops.sub(x, ops.reduce_mean(x, axes) if axes else x)
    if not p.flag("normalize_variance", True):
        return d
    square = ops.mul(d, d)
    deviation = ops.sqrt_(ops.reduce_mean(square, axes) if axes else square)
    return ops.div(d, ops.add(deviation, p.number("eps", 1e-9)))


def Normalize(layer: Layer, x: Value) -> Value:
    """Over the Euclidean norm of each image, or each position's channels; times a scale (SSD)."""
    p = layer.param("norm_param")
    axes = list(range(1, x.rank)) if p.flag("across_spatial", True) else [1]
    norm = ops.sqrt_(ops.add(ops.reduce_sum(ops.mul(x, x), axes), p.number("eps", 1e-10)))
    shared = p.flag("channel_shared", True)
    scale = layer.blob(0, (1,) if shared else (x.shape[1],), "the scale")
    return ops.mul(ops.div(x, norm), ops.along(scale, 0 if shared else 1, x.rank))


# ---- elementwise ---------------------------------------------------------------------------------


def ReLU(layer: Layer, x: Value) -> Value:
    """With `negative_slope`."""
    slope = layer.param("relu_param").number("negative_slope")
    return ops.leaky_relu(x, alpha=slope) if slope else ops.relu(x)


def ReLU6(layer: Layer, x: Value) -> Value:
    """min(max(x, 0), 6) (forks)."""
    return ops.clamp(x, 0.0, layer.param("relu6_param").number("threshold", 6))


def PReLU(layer: Layer, x: Value) -> Value:
    """A slope for each channel, or one."""
    if layer.param("prelu_param").flag("channel_shared"):
        return ops.prelu(x, ops.reshape(layer.blob(0, (1,), "the slope"), ()))
    if x.rank < 2:
        raise ModelError(f"a blob with channels expected, found {type_text(x)}")
    return ops.prelu(x, ops.along(layer.blob(0, (x.shape[1],), "the slopes"), 1, x.rank))


def ELU(layer: Layer, x: Value) -> Value:
    """With `alpha`."""
    return ops.elu(x, alpha=layer.param("elu_param").number("alpha", 1))


def Sigmoid(layer: Layer, x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    return ops.sigmoid(x)


def TanH(layer: Layer, x: Value) -> Value:
    """tanh x."""
    return ops.tanh_(x)


def Swish(layer: Layer, x: Value) -> Value:
    """x / (1 + exp(-beta x))."""
    return ops.swish(x, alpha=layer.param("swish_param").number("beta", 1))


def Mish(layer: Layer, x: Value) -> Value:
    """x tanh(log(1 + exp(x))) (forks)."""
    return ops.mish(x)


def HSigmoid(layer: Layer, x: Value) -> Value:
    """min(max(x + 3, 0), 6) / 6 (forks for MobileNetV3)."""
    return ops.hard_sigmoid(x, alpha=1 / 6, beta=0.5)


def HSwish(layer: Layer, x: Value) -> Value:
    """x min(max(x + 3, 0), 6) / 6 (forks for MobileNetV3)."""
    return ops.hard_swish(x)


def Clip(layer: Layer, x: Value) -> Value:
    """From `min` to `max`."""
    p = layer.param("clip_param")
    if "min" not in p or "max" not in p:
        raise ModelError("min and max expected")
    return ops.clamp(x, p.number("min"), p.number("max"))


def AbsVal(layer: Layer, x: Value) -> Value:
    """Without the sign."""
    return ops.abs_(x)


def BNLL(layer: Layer, x: Value) -> Value:
    """log(1 + exp(x))."""
    return ops.softplus(x)


def Threshold(layer: Layer, x: Value) -> Value:
    """1 above the threshold, else 0."""
    above = ops.greater(x, layer.param("threshold_param").number("threshold"))
    return ops.cast(above, "f32")


def Power(layer: Layer, x: Value) -> Value:
    """(shift + scale x) ^ power."""
    p = layer.param("power_param")
    y = _affine(x, p)
    power = p.number("power", 1)
    if power == 0:
        return ops.add(ops.mul(x, 0.0), 1.0)
    if power == 2:
        return ops.mul(y, y)
    return y if power == 1 else ops.pow_(y, power)


def Exp(layer: Layer, x: Value) -> Value:
    """base ^ (shift + scale x); base -1 is e."""
    p = layer.param("exp_param")
    y = _affine(x, p)
    rate = math.log(_base(p))
    return ops.exp_(y if rate == 1 else ops.mul(y, rate))


def Log(layer: Layer, x: Value) -> Value:
    """The logarithm of shift + scale x; base -1 is e."""
    p = layer.param("log_param")
    y = ops.log_(_affine(x, p))
    rate = math.log(_base(p))
    if rate == 0:
        raise ModelError("a logarithm of base 1")
    return y if rate == 1 else ops.mul(y, 1 / rate)


def _affine(x: Value, p: Message) -> Value:
    scale, shift = p.number("scale", 1), p.number("shift")
    x = x if scale == 1 else ops.mul(x, scale)
    return x if shift == 0 else ops.add(x, shift)


def _base(p: Message) -> float:
    base = p.number("base", -1)
    if base != -1 and base <= 0:
        raise ModelError(f"base {base}: a positive number, or -1 for e, expected")
    return math.e if base == -1 else base


def Eltwise(layer: Layer, *xs: Value) -> Value:
    """SUM (with coefficients), PROD or MAX of bottoms of one shape."""
    p = layer.param("eltwise_param")
    operation = p.choice("operation", ("PROD", "SUM", "MAX"), "SUM")
    coefficients = p.numbers("coeff")
    p.flag("stable_prod_grad", True)
    if len(xs) < 2:
        raise ModelError("two bottoms or more expected")
    same_shapes(xs)
    if coefficients and len(coefficients) != len(xs):
        raise ModelError(f"{len(coefficients)} coefficients for {len(xs)} bottoms")
    if coefficients and operation == "PROD":
        raise ModelError("coefficients are for sums")
    y: Value | None = None
    for k, x in enumerate(xs):
        if operation == "SUM" and coefficients and coefficients[k] != 1:
            x = ops.mul(x, coefficients[k])
        if y is None:
            y = x
        else:
            y = {"SUM": ops.add, "PROD": ops.mul, "MAX": ops.max_}[operation](y, x)
    assert y is not None
    return y


def Axpy(layer: Layer, *xs: Value) -> Value:
    """a x + y with a number for each image and channel (SENet)."""
    a, x, y = one(xs, 3)
    same_shapes((x, y))
    if ops.product(a.shape) != ops.product(x.shape[:2]) and not ops.same(
        ops.product(a.shape), ops.product(x.shape[:2])
    ):
        raise ModelError(f"{type_text(a)} has no number for each channel of {type_text(x)}")
    scale = ops.reshape(a, (*x.shape[:2], *[1] * (x.rank - 2)))
    return ops.add(ops.mul(x, scale), y)


# ---- rearrangement -------------------------------------------------------------------------------


def Dropout(layer: Layer, x: Value) -> Value:
    """Nothing at test time, unless a fork's `scale_train: false` leaves the scaling to it."""
    p = layer.param("dropout_param")
    ratio = p.number("dropout_ratio", 0.5)
    return x if p.flag("scale_train", True) else ops.mul(x, 1 - ratio)


def Split(layer: Layer, x: Value) -> list[Value]:
    """The same to each top."""
    return [x] * len(layer.tops)


def Concat(layer: Layer, *xs: Value) -> Value:
    """Along `axis` (or `concat_dim`)."""
    p = layer.param("concat_param")
    if not xs:
        raise ModelError("a bottom expected")
    axis = axis_of(p, "axis" if "axis" in p else "concat_dim", 1, xs[0])
    return ops.concat(xs, axis)


def Slice(layer: Layer, x: Value) -> list[Value]:
    """At the given points, or in equal parts."""
    p = layer.param("slice_param")
    axis = axis_of(p, "axis" if "axis" in p else "slice_dim", 1, x)
    points, parts = p.integers("slice_point", 1), len(layer.tops)
    if points and len(points) != parts - 1:
        raise ModelError(f"{len(points)} slice points for {parts} tops")
    out = arrays.split(x, points or parts, axis)
    if any(y.size == 0 for y in out):
        raise ModelError(f"slice points {points} of axis {axis} of {type_text(x)}")
    return out


def Crop(layer: Layer, *xs: Value) -> Value:
    """The first bottom cut to the size of the second, from an axis on."""
    x, like = one(xs, 2)
    p = layer.param("crop_param")
    axis = axis_of(p, "axis", 2, x)
    offsets = p.integers("offset", 0)
    count = x.rank - axis
    if like.rank != x.rank:
        raise ModelError(f"{type_text(x)} cut to the size of {type_text(like)}")
    if len(offsets) not in (0, 1, count):
        raise ModelError(f"{len(offsets)} offsets for {count} axes")
    offsets = (offsets or [0]) * count if len(offsets) < 2 else offsets
    starts = [*[0] * axis, *offsets]
    sizes = [*x.shape[:axis], *like.shape[axis:]]
    for k, (start, size, have) in enumerate(zip(starts, sizes, x.shape)):
        room = as_dim(lift(have) - size - start)
        if isinstance(room, int) and room < 0:
            raise ModelError(
                f"axis {k}: {size} elements from {start} on of {type_text(x)}: it ends before"
            )
    return ops.slice_(x, starts, sizes)


def Permute(layer: Layer, x: Value) -> Value:
    """The axes in another order (SSD)."""
    order = layer.param("permute_param").integers("order", 0, x.rank - 1)
    if len(set(order)) != len(order):
        raise ModelError(f"order {order} names an axis twice")
    return ops.transpose(x, [*order, *(k for k in range(x.rank) if k not in order)])


def Flatten(layer: Layer, x: Value) -> Value:
    """The axes from `axis` to `end_axis` as one."""
    p = layer.param("flatten_param")
    axis, end = axis_of(p, "axis", 1, x), axis_of(p, "end_axis", -1, x)
    if end < axis:
        raise ModelError(f"axis {axis} to end_axis {end}")
    return ops.reshape(
        x, (*x.shape[:axis], ops.product(x.shape[axis : end + 1]), *x.shape[end + 1 :])
    )


def Reshape(layer: Layer, x: Value) -> Value:
    """0 keeps an axis, one -1 is inferred; only the axes from `axis` on are reshaped."""
    p = layer.param("reshape_param")
    axis = axis_of(p, "axis", 0, x, 1)
    count = p.integer("num_axes", -1, -1)
    end = x.rank if count < 0 else axis + count
    if end > x.rank:
        raise ModelError(f"{count} axes from axis {axis} on of {type_text(x)}")
    dims: list[Dim] = []
    for k, d in enumerate(p.child("shape").integers("dim", -1)):
        if d == 0 and axis + k >= x.rank:
            raise ModelError(f"dim 0 in place {k} keeps axis {axis + k} of {type_text(x)}")
        dims.append(x.shape[axis + k] if d == 0 else d)
    return ops.reshape(x, (*x.shape[:axis], *dims, *x.shape[end:]))


def Tile(layer: Layer, x: Value) -> Value:
    """`tiles` times along an axis."""
    p = layer.param("tile_param")
    times = p.integer("tiles", 0, 1)
    if not times:
        raise ModelError("tiles is missing")
    axis = axis_of(p, "axis", 1, x)
    return ops.tile(x, [times if k == axis else 1 for k in range(x.rank)])


def BatchReindex(layer: Layer, *xs: Value) -> Value:
    """The images that the second bottom numbers."""
    x, at = one(xs, 2)
    return ops.gather(x, ops.cast(ops.reshape(at, (ops.product(at.shape),)), "i32"), 0)


def Reverse(layer: Layer, x: Value) -> Value:
    """x backwards along an axis (forks)."""
    return ops.flip(x, [axis_of(layer.param("reverse_param"), "axis", 0, x)])


def ShuffleChannel(layer: Layer, x: Value) -> Value:
    """Channels of the groups in turn (ShuffleNet)."""
    groups = layer.param("shuffle_channel_param").integer("group", 1, 1)
    channels = ops.static(x.shape[1], "the number of channels")
    if channels % groups:
        raise ModelError(f"{channels} channels in {groups} groups")
    y = ops.reshape(x, (x.shape[0], groups, channels // groups, *x.shape[2:]))
    return ops.reshape(ops.transpose(y, (0, 2, 1, *range(3, y.rank))), x.shape)


# ---- reductions ----------------------------------------------------------------------------------


def Reduction(layer: Layer, x: Value) -> Value:
    """All axes from `axis` on to one number, times a coefficient."""
    p = layer.param("reduction_param")
    numbers = {"SUM": 1, "ASUM": 2, "SUMSQ": 3, "MEAN": 4}
    operation = p.choice("operation", numbers, "SUM")
    axis = axis_of(p, "axis", 0, x)
    axes = range(axis, x.rank)
    if operation == "MEAN":
        y = ops.reduce_mean(x, axes)
    else:
        y = {"SUM": lambda: x, "ASUM": lambda: ops.abs_(x), "SUMSQ": lambda: ops.mul(x, x)}[
            operation
        ]()
        y = ops.reduce_sum(y, axes)
    coefficient = p.number("coeff", 1)
    y = y if coefficient == 1 else ops.mul(y, coefficient)
    return ops.reshape(y, x.shape[:axis])


def Softmax(layer: Layer, x: Value) -> Value:
    """Along `axis`."""
    return ops.softmax(x, axis_of(layer.param("softmax_param"), "axis", 1, x))


def SoftmaxWithLoss(layer: Layer, x: Value) -> Value:
    """Its softmax at test time: labels are not looked at."""
    return Softmax(layer, x)


def SigmoidCrossEntropyLoss(layer: Layer, x: Value) -> Value:
    """Its sigmoid at test time."""
    return ops.sigmoid(x)


def InfogainLoss(layer: Layer, x: Value) -> Value:
    """Its softmax at test time."""
    return ops.softmax(x, axis_of(layer.param("infogain_loss_param"), "axis", 1, x))


def ArgMax(layer: Layer, x: Value) -> Value:
    """Positions of the largest (the last among equals), their values, or both, as f32."""
    p = layer.param("argmax_param")
    k = p.integer("top_k", 1, 1)
    values = p.flag("out_max_val")
    n = x.shape[0]
    if "axis" in p:
        axis = axis_of(p, "axis", 0, x)
    else:
        rank = x.rank
        x, axis = ops.reshape(x, (n, ops.product(x.shape[1:]))), 1
    if isinstance(x.shape[axis], int) and k > x.shape[axis]:
        raise ModelError(f"top_k {k} of {x.shape[axis]} elements")
    largest, at = _top(x, k, axis)
    at = ops.cast(at, "f32")
    if "axis" in p:
        return largest if values else at
    both = [ops.unsqueeze(v, [1]) for v in ((at, largest) if values else (at,))]
    y = ops.concat(both, 1)
    return ops.reshape(y, (*y.shape, *[1] * (rank - 3)))


def _top(x: Value, k: int, axis: int) -> tuple[Value, Value]:
    """The k largest elements along an axis, in order, and their positions."""
    if k == 1:
        return ops.reduce_max(x, [axis]), ops.reduce(x, "argmax_last", [axis])
    values, at = ops.top_k(ops.flip(x, [axis]), k, axis)
    last = ops.ints(as_dim(lift(x.shape[axis]) - 1), "i64")
    return values, ops.sub(last, at)


# ---- the registry --------------------------------------------------------------------------------


def _functions(*modules: Any) -> dict[str, Callable[..., Value | list[Value]]]:
    """The functions of modules that are named as a layer is."""
    return {
        name: fn
        for module in modules
        for name, fn in vars(module).items()
        if name[0].isupper() and inspect.isfunction(fn) and fn.__module__ == module.__name__
    }


LAYERS: Mapping[str, Callable[..., Value | list[Value]]] = _functions(
    spatial, recurrent, boxes, sys.modules[__name__]
) | {
    "ConvolutionDepthwise": spatial.DepthwiseConvolution,
    "DepthwiseConv": spatial.DepthwiseConvolution,
    "SoftmaxWithLossV2": SoftmaxWithLoss,
}

# Layers that are nothing without weights.
WEIGHTED = frozenset({
    "Convolution", "Deconvolution", "DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv",
    "InnerProduct", "Embed", "BatchNorm", "BN", "PReLU", "Normalize", "LSTM", "RNN", "Parameter",
})  # fmt: skip

__all__ = ["LAYERS", "WEIGHTED"]
