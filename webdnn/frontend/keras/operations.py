"""The operations of keras.ops, which stand as layers in functional models of Keras 3.

    y = keras.ops.einsum("btc,bsc->bts", x, x)     # Einsum
    y = x[:, :2] * 2                                # GetItem, Multiply

The functions are named as Keras', here those of neural networks and images, in
`elementwise` and `numpy` all others. `built` makes a layer of a function: what it takes
stands in the node's arguments and in the operation's configuration.

Limits: what draws random numbers, decomposes matrices or takes Python functions.
`OPERATIONS` is the registry; `tensorflow` has the functions of tf.keras.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedError
from ...graph import Value, as_dim, constant
from ..arrays import channels_first, channels_last
from . import activations
from .elementwise import ELEMENTWISE, Tensor, axes, dims, dtype_of, floats, value
from .images import one_hot, resized
from .model import Call, Layer, Nested
from .numpy import SHAPED, moveaxis
from .spatial import adaptive_pool, transposed_crop, windowed

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- neural networks -----------------------------------------------------------------------------


def _spatial(x: Tensor, data_format: Any) -> tuple[Value, Callable[[Value], Value]]:
    """x channels last, and how to bring a result back."""
    v = floats(x)
    if str(data_format or "channels_last").lower() in ("channels_last", "nhwc", "nwc", "ndhwc"):
        return v, lambda y: y
    return channels_last(v), channels_first


def _each(given: Any, count: int) -> list[int]:
    """One number for each spatial axis, from one, from as many, or with batch and channels."""
    if given is None:
        return [1] * count
    if not isinstance(given, (list, tuple)):
        return [int(given)] * count
    if len(given) == count + 2:
        given = given[1:-1]
    return [int(g) for g in given] * (count if len(given) == 1 else 1)


def conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    x, back = _spatial(inputs, data_format)
    w, rank = floats(kernel), x.rank - 2
    steps, gaps = _each(strides, rank), _each(dilation_rate, rank)
    pads = windowed(x, [int(k) for k in w.shape[:rank]], steps, gaps, padding.lower())  # type: ignore[arg-type]
    groups = ops.static(x.shape[-1], "channels") // ops.static(w.shape[-2], "channels")
    return back(ops.convolve(x, w, steps, pads, gaps, groups))


def depthwise_conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    w = floats(kernel)
    *size, depth, times = w.shape
    x, back = _spatial(inputs, data_format)
    w = ops.reshape(w, (*size, 1, ops.product([depth, times])))
    x = ops.repeat(x, ops.static(times, "the depth multiplier"), -1)
    return back(conv(x, w, strides, padding, None, dilation_rate))


def separable_conv(
    inputs: Tensor,
    depthwise_kernel: Tensor,
    pointwise_kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    x, back = _spatial(inputs, data_format)
    y = depthwise_conv(x, depthwise_kernel, strides, padding, None, dilation_rate)
    return back(conv(y, pointwise_kernel))


def conv_transpose(
    inputs: Tensor,
    kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    x, back = _spatial(inputs, data_format)
    w, rank = floats(kernel), x.rank - 2
    steps, gaps = _each(strides, rank), _each(dilation_rate, rank)
    extra = [None] * rank if output_padding is None else _each(output_padding, rank)
    cuts = [
        transposed_crop(int(k), s, d, padding.lower(), e)  # type: ignore[arg-type]
        for k, s, d, e in zip(w.shape, steps, gaps, extra)
    ]
    y = ops.convolve_transpose(
        x,
        ops.transpose(w, (*range(rank), rank + 1, rank)),
        steps,
        [(before, max(after, 0)) for before, after in cuts],
        gaps,
        1,
        [max(-after, 0) for _, after in cuts],
    )
    return back(y)


def _pool(mode: str) -> Callable[..., Value]:
    def pool(
        inputs: Tensor,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: Any = None,
    ) -> Value:
        x, back = _spatial(inputs, data_format)
        size = _each(pool_size, x.rank - 2)
        steps = size if strides is None else _each(strides, x.rank - 2)
        ones = [1] * (x.rank - 2)
        pads = windowed(x, size, steps, ones, padding.lower())
        compute = ops.max_pool if mode == "max" else ops.average_pool
        return back(compute(x, size, steps, pads, ones))

    return pool


def _adaptive(mode: str) -> Callable[..., Value]:
    def pool(inputs: Tensor, output_size: Any, data_format: Any = None) -> Value:
        x, back = _spatial(inputs, data_format)
        for k, n in enumerate(_each(output_size, x.rank - 2)):
            x = adaptive_pool(x, k + 1, n, mode)
        return back(x)

    return pool


def batch_normalization(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    offset: Tensor = None,
    scale: Tensor = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Value:
    v = floats(x)
    at = axis % v.rank
    shape = [v.shape[k] if k == at else 1 for k in range(v.rank)]
    factor = ops.rsqrt_(ops.add(floats(variance), float(epsilon)))
    factor = factor if scale is None else ops.mul(factor, floats(scale))
    shift = ops.neg(ops.mul(floats(mean), factor))
    shift = shift if offset is None else ops.add(shift, floats(offset))
    return ops.add(ops.mul(v, ops.reshape(factor, shape)), ops.reshape(shift, shape))


def layer_normalization(
    x: Tensor,
    gamma: Tensor = None,
    beta: Tensor = None,
    axis: Any = -1,
    epsilon: float | None = None,
) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    y = ops.normalize(v, at, 1e-7 if epsilon is None else float(epsilon))
    return _scaled(y, at, gamma, beta)


def rms_normalization(
    x: Tensor, scale: Tensor = None, axis: Any = -1, epsilon: float | None = None
) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    return _scaled(ops.rms_normalize(v, at, 1e-7 if epsilon is None else epsilon), at, scale, None)


def _scaled(y: Value, at: Sequence[int], gamma: Tensor, beta: Tensor) -> Value:
    shape = [y.shape[k] if k in at else 1 for k in range(y.rank)]
    y = y if gamma is None else ops.mul(y, ops.reshape(floats(gamma), shape))
    return y if beta is None else ops.add(y, ops.reshape(floats(beta), shape))


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value_: Tensor,
    bias: Tensor = None,
    mask: Tensor = None,
    scale: float | None = None,
    is_causal: bool = False,
    attn_logits_soft_cap: float | None = None,
) -> Value:
    q, k, v = (ops.transpose(floats(x), (0, 2, 1, 3)) for x in (query, key, value_))
    size = ops.static(q.shape[-1], "the size of a head")
    share = ops.static(q.shape[1], "heads") // ops.static(k.shape[1], "heads")
    k, v = ops.repeat(k, share, 1), ops.repeat(v, share, 1)
    scores = ops.matmul(
        ops.mul(q, 1 / math.sqrt(size) if scale is None else float(scale)),
        ops.transpose(k, (0, 1, 3, 2)),
    )
    if bias is not None:
        scores = ops.add(scores, floats(bias))
    if attn_logits_soft_cap is not None:
        cap = float(attn_logits_soft_cap)
        scores = ops.mul(ops.tanh_(ops.div(scores, cap)), cap)
    seen = None if mask is None else ops.cast(value(mask), "bool")
    if is_causal:
        t, s = scores.shape[-2:]
        rows, columns = ops.iota((1, 1, t, 1), 2), ops.iota((1, 1, 1, s), 3)
        before = ops.greater_equal(rows, columns)
        seen = before if seen is None else ops.logical_and(seen, before)
    weights = activations.masked_softmax(scores, seen, [-1])
    return ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))


def depth_to_space(x: Tensor, block_size: int, data_format: str = "channels_last") -> Value:
    v, back = _spatial(x, data_format)
    n, h, w, c = v.shape
    b = int(block_size)
    depth = ops.static(c, "the number of channels") // (b * b)
    y = ops.transpose(ops.reshape(v, (n, h, w, b, b, depth)), (0, 1, 3, 2, 4, 5))
    return back(ops.reshape(y, (n, ops.product([h, b]), ops.product([w, b]), depth)))


def space_to_depth(x: Tensor, block_size: int, data_format: str = "channels_last") -> Value:
    v, back = _spatial(x, data_format)
    n, h, w, c = v.shape
    b = int(block_size)
    h, w = as_dim(h // b), as_dim(w // b)
    y = ops.transpose(ops.reshape(v, (n, h, b, w, b, c)), (0, 1, 3, 2, 4, 5))
    return back(ops.reshape(y, (n, h, w, ops.product([b, b, c]))))


def rgb_to_grayscale(images: Tensor, data_format: Any = None) -> Value:
    v, back = _spatial(images, data_format)
    weights = constant(np.array([0.2989, 0.587, 0.114], np.float32), v.dtype)
    return back(ops.reduce_sum(ops.mul(v, weights), [-1]))


def resize(
    layer: Layer,
    images: Tensor,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    data_format: Any = None,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
) -> Value:
    if crop_to_aspect_ratio or pad_to_aspect_ratio:
        raise UnsupportedError("resize that keeps the aspect ratio; the Resizing layer does it")
    x, back = _spatial(images, data_format)
    return back(resized(layer, x, (1, 2), dims(size, "a size"), interpolation, bool(antialias)))


def _activation(name: str) -> Callable[..., Value]:
    fn = activations.FUNCTIONS[name]
    return lambda x, *args, **kwargs: fn(floats(x), *args, **kwargs)


def one_hot_(x: Tensor, num_classes: int, axis: int = -1, dtype: Any = None) -> Value:
    y = one_hot(value(x), int(num_classes), "f32" if dtype is None else dtype_of(dtype))
    return y if axis in (-1, y.rank - 1) else moveaxis(y, -1, axis)


def multi_hot(inputs: Tensor, num_classes: int, axis: int = -1, dtype: Any = None) -> Value:
    y = one_hot_(inputs, num_classes, axis, dtype)
    at = 1 if value(inputs).rank > 1 else 0
    return ops.squeeze(ops.reduce_max(y, [at]), [at])


# ---- building ------------------------------------------------------------------------------------


def built(fn: Callable[..., Any], ignored: Sequence[str] = ()) -> Function:
    """An operation as a function that builds a layer: arguments by position, by name, by config."""
    parameters = inspect.signature(fn).parameters
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    spread = any(p.kind == p.VAR_POSITIONAL for p in parameters.values())
    names = [n for n in parameters if n != "layer"]

    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
        given = list(call.args)
        taken = set() if spread else set(names[: len(given)])
        named = {
            k: v
            for k, v in layer.config.items()
            if k not in taken and (k in parameters or (open_ended and k in _OPTIONS))
        }
        for k, v in call.items():
            k = f"{k}_" if f"{k}_" in parameters else k
            if k in parameters or open_ended:
                named[k] = v
            elif v is not None and v is not False and k not in ("name", *ignored):
                raise layer.lacks(f"the argument {k}={v!r:.60}")
        named.pop("name", None)
        if "layer" in parameters:
            given.insert(0, layer)
        return fn(*given, **named)

    return build


# What activation operations keep in their configuration.
_OPTIONS = ("alpha", "approximate", "axis", "b", "default_value", "negative_slope", "threshold")

_NETWORK: dict[str, Callable[..., Any]] = {
    "Conv": conv, "DepthwiseConv": depthwise_conv, "SeparableConv": separable_conv,
    "ConvTranspose": conv_transpose, "MaxPool": _pool("max"), "AveragePool": _pool("average"),
    "AdaptiveMaxPool": _adaptive("max"), "AdaptiveAveragePool": _adaptive("average"),
    "BatchNorm": batch_normalization, "LayerNorm": layer_normalization,
    "RMSNorm": rms_normalization, "DotProductAttention": dot_product_attention,
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
    "RGBToGrayscale": rgb_to_grayscale, "Resize": resize,
    "OneHot": one_hot_, "MultiHot": multi_hot,
    "Gelu": lambda x, approximate=True: activations.FUNCTIONS["gelu"](
        floats(x), approximate=approximate),
}  # fmt: skip
_NAMES = {
    "Celu": "celu", "Elu": "elu", "Glu": "glu", "HardShrink": "hard_shrink",
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "HardTanh": "hard_tanh",
    "LeakyRelu": "leaky_relu", "LogSigmoid": "log_sigmoid", "LogSoftmax": "log_softmax",
    "Mish": "mish", "Relu": "relu", "Relu6": "relu6", "Selu": "selu", "Sigmoid": "sigmoid",
    "Silu": "silu", "SoftShrink": "soft_shrink", "Softmax": "softmax", "Softplus": "softplus",
    "Softsign": "softsign", "SparsePlus": "sparse_plus", "SparseSigmoid": "sparse_sigmoid",
    "Sparsemax": "sparsemax", "Squareplus": "squareplus", "TanhShrink": "tanh_shrink",
    "Threshold": "threshold", "ReLU": "relu",
}  # fmt: skip

FUNCTIONS = ELEMENTWISE | SHAPED | _NETWORK | {k: _activation(n) for k, n in _NAMES.items()}
OPERATIONS: dict[str, Function] = {name: built(fn) for name, fn in FUNCTIONS.items()}

__all__ = ["FUNCTIONS", "OPERATIONS", "built"]
