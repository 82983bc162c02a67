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

from ... import ops
from ...errors import ModelError
from ...expr import Dim, lift
from ...graph import FLOATS, Value, as_dim, constant, type_text
from ..arrays import channels_first, channels_last
from .activations import activation
from .model import Call, Layer, Nested

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- arguments -----------------------------------------------------------------------------------


def sizes(given: Any, count: int) -> list[int]:
    """An argument that is one number or one for each axis."""
    if given is None:
        return [1] * count
    if isinstance(given, (list, tuple)):
        return [int(g) for g in given] * (count if len(given) == 1 else 1)
    return [int(given)] * count


def pairs(given: Any, count: int) -> list[tuple[int, int]]:
    """Amounts before and after each axis: one number, one for each axis, or a pair for each."""
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


def floating(x: Value) -> Value:
    """x as floating-point numbers, as a layer with weights converts its input."""
    return x if x.dtype in FLOATS else ops.cast(x, "f32")


def to_last(layer: Layer, x: Value) -> Value:
    """x with its channels as the last axis."""
    if layer.data_format == "channels_last" or x.rank < 3:
        return x
    return channels_last(x)


def from_last(layer: Layer, y: Value) -> Value:
    """What was computed channels last in the layer's own format."""
    if layer.data_format == "channels_last" or y.rank < 3:
        return y
    return channels_first(y)


def channels(layer: Layer, x: Value) -> int:
    """The number of channels, which weights depend on."""
    c = x.shape[-1]
    if not isinstance(c, int):
        raise layer.error(f"the number of channels must be known, but is {c}: {type_text(x)}")
    return c


def weight(layer: Layer, k: int, shape: Sequence[Any] | None, x: Value) -> Value:
    """Weight number k of that shape, in x's dtype."""
    found = layer.weight(k, shape)
    if found.dtype not in FLOATS:
        raise layer.lacks(
            f"its weights are quantized ({found.dtype}); Dense and Embedding in int8 are "
            "supported. Save the model before it is quantized"
        )
    return ops.cast(found, x.dtype)


def finish(layer: Layer, y: Value, k: int, size: int) -> Value:
    """The bias, if there is one (weight k), the layer's own format and its activation."""
    if layer.config.get("use_bias", True):
        y = ops.add(y, weight(layer, k, (size,), y))
    return activation(layer.config.get("activation"), layer.version)(from_last(layer, y))


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


def windowed(
    x: Value, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str
) -> list[tuple[Dim, Dim]]:
    """The padding of each spatial axis of x [N, spatial..., C] by its name."""
    if padding == "same":
        return ops.same_pads(x.shape[1:-1], kernel, strides, dilation)
    if padding == "causal":
        return [((k - 1) * d, 0) for k, d in zip(kernel, dilation)]
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "full":
        return [((k - 1) * d, (k - 1) * d) for k, d in zip(kernel, dilation)]
    raise ModelError(f"unknown padding {padding!r}; expected valid, same or causal")


def convolution(layer: Layer, x: Value, w: Value, groups: int = 1) -> Value:
    """x by filters w [k..., C/groups, M], all channels last, with the layer's own geometry."""
    c, rank = layer.config, x.rank - 2
    strides, dilation = sizes(c.get("strides"), rank), sizes(c.get("dilation_rate"), rank)
    kernel = [int(k) for k in w.shape[:rank]]  # type: ignore[arg-type]
    pads = windowed(x, kernel, strides, dilation, c.get("padding", "valid"))
    return ops.convolve(x, w, strides, pads, dilation, groups)


def _conv(rank: int) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = to_last(layer, floating(tensor(layer, inputs, rank + 2)))
        groups, filters = int(layer.config.get("groups") or 1), int(layer.config["filters"])
        kernel = sizes(layer.config["kernel_size"], rank)
        depth = channels(layer, x)
        if depth % groups or filters % groups:
            raise layer.error(f"{groups} groups divide neither {depth} nor {filters} channels")
        w = weight(layer, 0, (*kernel, depth // groups, filters), x)
        return finish(layer, convolution(layer, x, w, groups), 1, filters)

    return build


def depthwise(layer: Layer, x: Value, w: Value) -> Value:
    """x by one filter for each channel, w [k..., C, multiplier]; outputs of a channel adjoin."""
    *kernel, depth, multiplier = (int(d) for d in w.shape)  # type: ignore[arg-type]
    x = ops.repeat(x, multiplier, -1)
    return convolution(
        layer, x, ops.reshape(w, (*kernel, 1, depth * multiplier)), depth * multiplier
    )


def _depthwise(rank: int) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = to_last(layer, floating(tensor(layer, inputs, rank + 2)))
        depth, multiplier = channels(layer, x), int(layer.config.get("depth_multiplier") or 1)
        kernel = sizes(layer.config["kernel_size"], rank)
        w = weight(layer, 0, (*kernel, depth, multiplier), x)
        return finish(layer, depthwise(layer, x, w), 1, depth * multiplier)

    return build


def _separable(rank: int) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = to_last(layer, floating(tensor(layer, inputs, rank + 2)))
        depth, multiplier = channels(layer, x), int(layer.config.get("depth_multiplier") or 1)
        kernel, filters = sizes(layer.config["kernel_size"], rank), int(layer.config["filters"])
        y = depthwise(layer, x, weight(layer, 0, (*kernel, depth, multiplier), x))
        w = weight(layer, 1, (*[1] * rank, depth * multiplier, filters), x)
        y = ops.convolve(y, w, [1] * rank, [(0, 0)] * rank, [1] * rank, 1)
        return finish(layer, y, 2, filters)

    return build


def transposed_crop(
    kernel: int, stride: int, dilation: int, padding: str, extra: int | None
) -> tuple[int, int]:
    """What is cut before and after the full result, (size - 1) * stride + reach; negative: added.

    extra: output_padding, None for Keras' own choice.
    """
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        return 0, -(max(reach, stride) - reach if extra is None else extra)
    cut = reach - stride if extra is None else reach - reach % 2 - extra
    before = max(cut // 2, 0)
    return before, cut - before


def _conv_transpose(rank: int) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        c = layer.config
        x = to_last(layer, floating(tensor(layer, inputs, rank + 2)))
        kernel, filters = sizes(c["kernel_size"], rank), int(c["filters"])
        strides, dilation = sizes(c.get("strides"), rank), sizes(c.get("dilation_rate"), rank)
        given = c.get("output_padding")
        extra: Sequence[int | None] = [None] * rank if given is None else sizes(given, rank)
        w = weight(layer, 0, (*kernel, filters, channels(layer, x)), x)
        cuts = [
            transposed_crop(k, s, d, c.get("padding", "valid"), e)
            for k, s, d, e in zip(kernel, strides, dilation, extra)
        ]
        y = ops.convolve_transpose(
            x,
            ops.transpose(w, (*range(rank), rank + 1, rank)),
            strides,
            [(before, max(after, 0)) for before, after in cuts],
            dilation,
            1,
            [max(-after, 0) for _, after in cuts],
        )
        return finish(layer, y, 1, filters)

    return build


def _locally_connected(rank: int) -> Function:
    """Keras 1 and 2: a convolution whose filters differ at each position, kernel [P, k*C, M]."""

    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        c = layer.config
        first = layer.data_format == "channels_first"
        x = to_last(layer, floating(tensor(layer, inputs, rank + 2)))
        if int(c.get("implementation") or 1) != 1 or c.get("padding", "valid") != "valid":
            raise layer.lacks("only implementation=1 with padding='valid' is supported")
        kernel, strides = sizes(c["kernel_size"], rank), sizes(c.get("strides"), rank)
        filters, depth = int(c["filters"]), channels(layer, x)
        w = ops.windows(x, range(1, rank + 1), kernel, strides, [1] * rank)
        places = [ops.static(d, "the size of a locally connected layer") for d in w.shape[1:-rank]]
        places = places[:rank]
        # [N, places..., C, k...] -> [N, places..., k..., C], or C first as that format flattens it
        if not first:
            w = ops.transpose(w, (*range(rank + 1), *range(rank + 2, 2 * rank + 2), rank + 1))
        total = int(np.prod(places))
        flat = ops.reshape(w, (x.shape[0], total, 1, int(np.prod(kernel)) * depth))
        y = ops.matmul(flat, weight(layer, 0, (total, flat.shape[-1], filters), x))
        y = ops.reshape(y, (x.shape[0], *places, filters))
        if c.get("use_bias", True):
            bias = weight(layer, 1, (*places, filters), x)
            if first:  # Keras reads its elements as if they were channels first
                bias = ops.reshape(bias, (filters, *places))
                bias = ops.transpose(bias, (*range(1, rank + 1), 0))
            y = ops.add(y, bias)
        return activation(c.get("activation"), layer.version)(from_last(layer, y))

    return build


# ---- pooling -------------------------------------------------------------------------------------


def _pool(rank: int, mode: str) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        c = layer.config
        x = to_last(layer, tensor(layer, inputs, rank + 2))
        size = sizes(c.get("pool_size", 2), rank)
        strides = size if c.get("strides") is None else sizes(c["strides"], rank)
        pads = windowed(x, size, strides, [1] * rank, c.get("padding", "valid"))
        if mode == "max":
            return from_last(layer, ops.max_pool(x, size, strides, pads, [1] * rank))
        x = floating(x)
        if backend(layer) == "torch" and any(before != after for before, after in pads):
            # where the two sides differ, PyTorch averages over the repeated edge
            before, after = [b for b, _ in pads], [a for _, a in pads]
            x = ops.pad(x, [0, *before, 0], [0, *after, 0], "edge")
            pads = [(0, 0)] * rank
        return from_last(layer, ops.average_pool(x, size, strides, pads, [1] * rank))

    return build


def _global_pool(rank: int, mode: str) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = tensor(layer, inputs, rank + 2)
        last = layer.data_format == "channels_last"
        axes = list(range(1, rank + 1) if last else range(2, rank + 2))
        if mode == "max":
            y = ops.reduce_max(x, axes)
        elif call.mask is not None and rank == 1:
            x = floating(x)
            weights = ops.unsqueeze(ops.cast(call.mask, x.dtype), [2 if last else 1])
            y = ops.div(ops.reduce_sum(ops.mul(x, weights), axes), ops.reduce_sum(weights, axes))
        else:
            y = ops.reduce_mean(floating(x), axes)
        return y if layer.config.get("keepdims") else ops.squeeze(y, axes)

    return build


def adaptive_pool(x: Value, axis: int, count: int, mode: str) -> Value:
    """`count` windows along an axis: window i covers floor(i * size / count) up to, without it,
    ceil((i + 1) * size / count).
    """
    size = ops.static(x.shape[axis], "an axis that is pooled adaptively")
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


def _adaptive_pool(rank: int, mode: str) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = to_last(layer, floating(tensor(layer, inputs, rank + 2)))
        for k, count in enumerate(sizes(layer.config["output_size"], rank)):
            x = adaptive_pool(x, k + 1, count, mode)
        return from_last(layer, x)

    return build


# ---- padding, cropping ---------------------------------------------------------------------------


def _zero_padding(rank: int) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = to_last(layer, tensor(layer, inputs, rank + 2))
        amounts = pairs(layer.config.get("padding", 1), rank)
        before, after = [b for b, _ in amounts], [a for _, a in amounts]
        return from_last(layer, ops.pad(x, [0, *before, 0], [0, *after, 0]))

    return build


def _cropping(rank: int) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        x = to_last(layer, tensor(layer, inputs, rank + 2))
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

    return build


LAYERS: dict[str, Function] = {}
for _rank in (1, 2, 3):
    _build = {
        "Conv{}D": _conv(_rank),
        "Conv{}DTranspose": _conv_transpose(_rank),
        "DepthwiseConv{}D": _depthwise(_rank),
        "SeparableConv{}D": _separable(_rank),
        "MaxPooling{}D": _pool(_rank, "max"),
        "AveragePooling{}D": _pool(_rank, "average"),
        "GlobalMaxPooling{}D": _global_pool(_rank, "max"),
        "GlobalAveragePooling{}D": _global_pool(_rank, "average"),
        "AdaptiveMaxPooling{}D": _adaptive_pool(_rank, "max"),
        "AdaptiveAveragePooling{}D": _adaptive_pool(_rank, "average"),
        "ZeroPadding{}D": _zero_padding(_rank),
        "Cropping{}D": _cropping(_rank),
        "LocallyConnected{}D": _locally_connected(_rank),
    }
    LAYERS |= {name.format(_rank): build for name, build in _build.items()}
for _missing in ("DepthwiseConv3D", "SeparableConv3D", "LocallyConnected3D"):
    del LAYERS[_missing]

__all__ = ["LAYERS"]
