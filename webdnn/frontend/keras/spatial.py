"""Keras' layers over space: convolutions, pooling, padding and cropping along 1 to 3 axes.

Each function is named as its layer and builds it, as `model` says. Everything is computed
channels last, which is Keras' own default; a layer in channels_first is put between transposes,
which the passes remove. Padding "same" puts the odd element after, as TensorFlow does. A transposed
convolution crops by Keras' own rule: it is the adjoint of the convolution that would produce its
input, so that "same" gives `size * stride` elements.

Two things differ between Keras' own backends, none of which a file names: what lies beyond the edge
for average pooling with uneven padding, and bicubic interpolation. `backend` says which is meant.

    >>> transposed_crop(kernel=3, stride=2, dilation=1, padding="same", extra=None)
    (0, 1)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import limits, ops
from ...errors import ModelError
from ...expr import as_dim, lift
from ...graph import FLOATS, Value, constant, type_text
from .. import windows
from ..arrays import Operand, floats, without
from ..tensorflow import functions as tensorflow
from ..windows import in_format, named_window, per_axis
from .activations import activation
from .model import Call, Layer, Nested

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- arguments -----------------------------------------------------------------------------------


def pairs(given: Any, count: int) -> list[tuple[int, int]]:
    """Amounts before and after each axis: one number, one for each axis, or a pair for each.

    Raises ModelError for another count, and for a negative one.
    """
    found = _pairs(given, count)
    if len(found) != count or any(n < 0 for pair in found for n in pair):
        raise ModelError(f"{given}: amounts from 0 on for {count} axes expected")
    return found


def _pairs(given: Any, count: int) -> list[tuple[int, int]]:
    if not isinstance(given, (list, tuple)):
        return [(int(given), int(given))] * count
    if count == 1 and len(given) == 2 and not isinstance(given[0], (list, tuple)):
        return [(int(given[0]), int(given[1]))]
    if count == 2 and len(given) == 4:  # Keras 1: top, bottom, left, right
        return [(int(given[0]), int(given[1])), (int(given[2]), int(given[3]))]
    return [
        (int(g[0]), int(g[1])) if isinstance(g, (list, tuple)) else (int(g), int(g)) for g in given
    ]


def tensor(layer: Layer, inputs: Sequence[Nested], rank: int | None = None) -> Value:
    """The only input of a layer; raises ModelError for another number or rank of inputs."""
    values = [x for x in inputs if isinstance(x, Value)]
    if len(values) != 1:
        raise layer.error(f"one input expected, {len(values)} found")
    if rank is not None and values[0].rank != rank:
        raise layer.error(f"an input of {rank} axes expected, found {type_text(values[0])}")
    return values[0]


def spatial_input(layer: Layer, inputs: Sequence[Nested]) -> tuple[Value, int]:
    """The only input of a layer, and its number of spatial axes, which the class's name tells."""
    rank = int(next(c for c in layer.class_name if c.isdigit()))
    return tensor(layer, inputs, rank + 2), rank


def to_last(layer: Layer, x: Value) -> Value:
    """x with its channels as the last axis."""
    return in_format(x, layer.data_format)[0]


def from_last(layer: Layer, y: Value) -> Value:
    """What was computed channels last in the layer's own format."""
    return in_format(y, layer.data_format)[1](y)


def channels(layer: Layer, x: Value) -> int:
    """The number of channels, which weights depend on."""
    c = x.shape[-1 if layer.data_format == "channels_last" else 1]
    if not isinstance(c, int):
        raise layer.error(f"the number of channels must be known, but is {c}: {type_text(x)}")
    return c


def weight(layer: Layer, k: int, shape: Sequence[Any] | None, x: Value) -> Value:
    """Weight number k of that shape, in x's dtype."""
    found = layer.weight(k, shape)
    if found.dtype not in FLOATS:
        raise layer.lacks(
            f"its weights are quantized ({found.dtype}); Dense, EinsumDense, Embedding and "
            "ReversibleEmbedding in int8 and int4 are supported. Save the model before it is "
            "quantized, and transpile that with --weights int8"
        )
    return ops.cast(found, x.dtype)


def finish(layer: Layer, y: Value, k: int, size: int) -> Value:
    """The bias, if there is one (weight k), the layer's own format and its activation."""
    if layer.config.get("use_bias", True):
        y = from_last(layer, ops.add(to_last(layer, y), weight(layer, k, (size,), y)))
    return activation(layer.config.get("activation"), layer.version)(y)


def backend(layer: Layer) -> str:
    """The backend that the model's numbers follow: that of the Keras which would run it here.

    Before Keras 3 it is TensorFlow's way. Later it is the backend of a Keras that is already
    imported, else that of KERAS_BACKEND, which Keras itself obeys, else TensorFlow.
    """
    if layer.version < 3:
        return "tensorflow"
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "backend"):
        return str(keras.backend.backend())
    return os.environ.get("KERAS_BACKEND", "tensorflow")


# ---- convolutions --------------------------------------------------------------------------------


def conv(
    inputs: Operand,
    kernel: Operand,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    """Filters [k..., C/groups, M]."""
    return tensorflow.convolution(inputs, kernel, strides, padding, data_format, dilation_rate)


def depthwise_conv(
    inputs: Operand,
    kernel: Operand,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    """One filter for each channel, [k..., C, multiplier]; outputs of a channel adjoin."""
    x, back = in_format(floats(inputs), data_format)
    *size, depth, multiplier = floats(kernel).shape
    w = ops.reshape(floats(kernel), (*size, 1, ops.product([depth, multiplier])))
    x = ops.repeat(x, ops.static(multiplier, "the depth multiplier"), -1)
    return back(conv(x, w, strides, padding, None, dilation_rate))


def separable_conv(
    inputs: Operand,
    depthwise_kernel: Operand,
    pointwise_kernel: Operand,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    """A depthwise convolution, whose outputs are then mixed at each place."""
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(y, pointwise_kernel, 1, "valid", data_format)


def conv_transpose(
    inputs: Operand,
    kernel: Operand,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    """The adjoint of a convolution; filters [k..., M, C]."""
    x, back = in_format(floats(inputs), data_format)
    w, rank = floats(kernel), x.rank - 2
    seen = named_window(x, w.shape[:rank], strides, dilation_rate, "valid")
    none: list[int | None] = [None] * rank
    extra = none if output_padding is None else per_axis(output_padding, rank)
    cuts = [
        transposed_crop(k, s, d, padding.lower(), e)
        for k, s, d, e in zip(seen.kernel, seen.strides, seen.dilations, extra)
    ]
    y = ops.convolve_transpose(
        x,
        ops.transpose(w, (*range(rank), rank + 1, rank)),
        seen.strides,
        [(before, max(after, 0)) for before, after in cuts],
        seen.dilations,
        1,
        [max(-after, 0) for _, after in cuts],
    )
    return back(y)


def transposed_crop(
    kernel: int, stride: int, dilation: int, padding: str, extra: int | None
) -> tuple[int, int]:
    """What is cut before and after the full result, (size - 1) * stride + reach; negative: added.

    extra: output_padding, None for Keras' own choice.
    """
    span = windows.reach(kernel, dilation)
    if padding == "valid":
        return 0, -(max(span, stride) - span if extra is None else extra)
    cut = span - stride if extra is None else span - span % 2 - extra
    before = max(cut // 2, 0)
    return before, cut - before


def _geometry(layer: Layer) -> dict[str, Any]:
    """What a convolution takes from a layer, where its configuration has it."""
    names = ("strides", "padding", "output_padding", "data_format", "dilation_rate")
    return {k: layer.config[k] for k in names if layer.config.get(k) is not None}


def Conv(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, rank = spatial_input(layer, inputs)
    x, depth = floats(x), channels(layer, x)
    groups, filters = int(layer.config.get("groups") or 1), int(layer.config["filters"])
    if depth % groups or filters % groups:
        raise layer.error(f"{groups} groups divide neither {depth} nor {filters} channels")
    kernel = per_axis(layer.config["kernel_size"], rank)
    w = weight(layer, 0, (*kernel, depth // groups, filters), x)
    return finish(layer, conv(x, w, **_geometry(layer)), 1, filters)


def _by_channel(layer: Layer, inputs: Sequence[Nested]) -> tuple[Value, Value, int]:
    """The input, a filter [k..., C, multiplier] for each of its channels, and C * multiplier."""
    x, rank = spatial_input(layer, inputs)
    x, depth = floats(x), channels(layer, x)
    multiplier = int(layer.config.get("depth_multiplier") or 1)
    kernel = per_axis(layer.config["kernel_size"], rank)
    return x, weight(layer, 0, (*kernel, depth, multiplier), x), depth * multiplier


def DepthwiseConv(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, w, depth = _by_channel(layer, inputs)
    return finish(layer, depthwise_conv(x, w, **_geometry(layer)), 1, depth)


def SeparableConv(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, w, depth = _by_channel(layer, inputs)
    filters = int(layer.config["filters"])
    mix = weight(layer, 1, (*[1] * (x.rank - 2), depth, filters), x)
    return finish(layer, separable_conv(x, w, mix, **_geometry(layer)), 2, filters)


def ConvTranspose(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, rank = spatial_input(layer, inputs)
    x, depth = floats(x), channels(layer, x)
    kernel, filters = per_axis(layer.config["kernel_size"], rank), int(layer.config["filters"])
    w = weight(layer, 0, (*kernel, filters, depth), x)
    return finish(layer, conv_transpose(x, w, **_geometry(layer)), 1, filters)


def LocallyConnected(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """Keras 1 and 2: a convolution whose filters differ at each position, kernel [P, k*C, M]."""
    c = layer.config
    first = layer.data_format == "channels_first"
    x, rank = spatial_input(layer, inputs)
    depth, filters = channels(layer, x), int(c["filters"])
    x = to_last(layer, floats(x))
    if int(c.get("implementation") or 1) != 1 or c.get("padding", "valid") != "valid":
        raise layer.lacks("only implementation=1 with padding='valid' is supported")
    seen = named_window(x, c["kernel_size"], c.get("strides"), 1, "valid")
    w = ops.windows(x, range(1, rank + 1), seen.kernel, seen.strides, seen.dilations)
    places = [ops.static(d, "the size of a locally connected layer") for d in w.shape[1 : rank + 1]]
    # [N, places..., C, k...] -> [N, places..., k..., C], or C first as that format flattens it
    if not first:
        w = ops.transpose(w, (*range(rank + 1), *range(rank + 2, 2 * rank + 2), rank + 1))
    total = int(np.prod(places))
    flat = ops.reshape(w, (x.shape[0], total, 1, int(np.prod(seen.kernel)) * depth))
    y = ops.matmul(flat, weight(layer, 0, (total, flat.shape[-1], filters), x))
    y = ops.reshape(y, (x.shape[0], *places, filters))
    if c.get("use_bias", True):
        bias = weight(layer, 1, (*places, filters), x)
        if first:  # Keras reads its elements as if they were channels first
            bias = ops.reshape(bias, (filters, *places))
            bias = ops.transpose(bias, (*range(1, rank + 1), 0))
        y = ops.add(y, bias)
    return activation(c.get("activation"), layer.version)(from_last(layer, y))


# ---- pooling -------------------------------------------------------------------------------------


def max_pool(
    inputs: Operand,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: Any = None,
) -> Value:
    return tensorflow.max_pool(inputs, pool_size, strides, padding, data_format)


def average_pool(
    layer: Layer,
    inputs: Operand,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: Any = None,
) -> Value:
    if backend(layer) == "torch":
        # where the two sides of the padding differ, PyTorch averages over the repeated edge
        x, back = in_format(floats(inputs), data_format)
        pads = named_window(x, pool_size, strides or pool_size, 1, padding).pads
        if any(before != after for before, after in pads):
            before, after = [b for b, _ in pads], [a for _, a in pads]
            inputs = back(ops.pad(x, [0, *before, 0], [0, *after, 0], "edge"))
            padding = "valid"
    return tensorflow.avg_pool(inputs, pool_size, strides, padding, data_format)


def MaxPooling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, _ = spatial_input(layer, inputs)
    return max_pool(x, layer.config.get("pool_size", 2), **_geometry(layer))


def AveragePooling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, _ = spatial_input(layer, inputs)
    return average_pool(layer, x, layer.config.get("pool_size", 2), **_geometry(layer))


def _global(layer: Layer, inputs: Sequence[Nested]) -> tuple[Value, list[int]]:
    """The input and its spatial axes."""
    x, rank = spatial_input(layer, inputs)
    first = 1 if layer.data_format == "channels_last" else 2
    return x, list(range(first, first + rank))


def GlobalMaxPooling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, axes = _global(layer, inputs)
    return without(ops.reduce_max(x, axes), axes, layer.config.get("keepdims"))


def GlobalAveragePooling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, axes = _global(layer, inputs)
    x = floats(x)
    if call.mask is not None and len(axes) == 1:
        weights = ops.unsqueeze(ops.cast(call.mask, x.dtype), [3 - axes[0]])
        total = ops.reduce_sum(ops.mul(x, weights), axes)
        y = ops.div(total, ops.reduce_sum(weights, axes))
    else:
        y = ops.reduce_mean(x, axes)
    return without(y, axes, layer.config.get("keepdims"))


def adaptive_pool(x: Value, axis: int, count: int, mode: str) -> Value:
    """`count` windows along an axis: window i covers floor(i * size / count) up to, without it,
    ceil((i + 1) * size / count).
    """
    size = ops.static(x.shape[axis], "an axis that is pooled adaptively")
    if count < 1:
        raise ModelError(f"output_size {count}: a positive number expected")
    limits.make(128 * count * (size // count + 2), f"adaptive pooling to {count} elements")
    if size % count == 0:
        step = size // count
        parts = ops.reshape(x, (*x.shape[:axis], count, step, *x.shape[axis + 1 :]))
        y = ops.reduce(parts, "max", [axis + 1]) if mode == "max" else None
        y = ops.reduce_mean(parts, [axis + 1]) if y is None else y
        return ops.squeeze(y, [axis + 1])
    starts = [i * size // count for i in range(count)]
    ends = [-(-(i + 1) * size // count) for i in range(count)]
    widest = max(e - s for s, e in zip(starts, ends))
    at = np.array([[min(s + k, e - 1) for k in range(widest)] for s, e in zip(starts, ends)])
    parts = ops.gather(x, constant(at.astype(np.int64)), axis)
    if mode == "max":
        return ops.squeeze(ops.reduce(parts, "max", [axis + 1]), [axis + 1])
    inside = [
        [1 / (e - s) if s + k < e else 0.0 for k in range(widest)] for s, e in zip(starts, ends)
    ]
    shape = [1] * parts.rank
    shape[axis : axis + 2] = count, widest
    scale = constant(np.array(inside, np.float32).reshape(shape), x.dtype)
    return ops.squeeze(ops.reduce_sum(ops.mul(parts, scale), [axis + 1]), [axis + 1])


def adaptive_max_pool(inputs: Operand, output_size: Any, data_format: Any = None) -> Value:
    return _adaptive(inputs, output_size, data_format, "max")


def adaptive_average_pool(inputs: Operand, output_size: Any, data_format: Any = None) -> Value:
    return _adaptive(inputs, output_size, data_format, "average")


def _adaptive(inputs: Operand, output_size: Any, data_format: Any, mode: str) -> Value:
    x, back = in_format(floats(inputs), data_format)
    for axis, count in enumerate(per_axis(output_size, x.rank - 2), 1):
        x = adaptive_pool(x, axis, count, mode)
    return back(x)


def AdaptiveMaxPooling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, _ = spatial_input(layer, inputs)
    return adaptive_max_pool(x, layer.config["output_size"], layer.data_format)


def AdaptiveAveragePooling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, _ = spatial_input(layer, inputs)
    return adaptive_average_pool(x, layer.config["output_size"], layer.data_format)


# ---- padding, cropping ---------------------------------------------------------------------------


def ZeroPadding(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, rank = spatial_input(layer, inputs)
    amounts = pairs(layer.config.get("padding", 1), rank)
    before, after = [b for b, _ in amounts], [a for _, a in amounts]
    return from_last(layer, ops.pad(to_last(layer, x), [0, *before, 0], [0, *after, 0]))


def Cropping(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, rank = spatial_input(layer, inputs)
    x = to_last(layer, x)
    amounts = pairs(layer.config.get("cropping", 0), rank)
    out = []
    for k, (before, after) in enumerate(amounts):
        left = as_dim(lift(x.shape[k + 1]) - before - after)
        if isinstance(left, int) and left < 1:
            raise layer.error(
                f"nothing is left of axis {k + 1} of {type_text(x)} without {before}, {after}"
            )
        out.append(left)
    starts = [0, *(before for before, _ in amounts), 0]
    return from_last(layer, ops.slice_(x, starts, (x.shape[0], *out, x.shape[-1])))


# Layers, by their names without the number of axes, and for how many axes there are such.
_FUNCTIONS: dict[str, tuple[Function, int]] = {
    "Conv{}D": (Conv, 3),
    "Conv{}DTranspose": (ConvTranspose, 3),
    "DepthwiseConv{}D": (DepthwiseConv, 2),
    "SeparableConv{}D": (SeparableConv, 2),
    "LocallyConnected{}D": (LocallyConnected, 2),
    "MaxPooling{}D": (MaxPooling, 3),
    "AveragePooling{}D": (AveragePooling, 3),
    "GlobalMaxPooling{}D": (GlobalMaxPooling, 3),
    "GlobalAveragePooling{}D": (GlobalAveragePooling, 3),
    "AdaptiveMaxPooling{}D": (AdaptiveMaxPooling, 3),
    "AdaptiveAveragePooling{}D": (AdaptiveAveragePooling, 3),
    "ZeroPadding{}D": (ZeroPadding, 3),
    "Cropping{}D": (Cropping, 3),
}
LAYERS: dict[str, Function] = {
    name.format(rank): function
    for name, (function, most) in _FUNCTIONS.items()
    for rank in range(1, most + 1)
}

__all__ = ["LAYERS"]
