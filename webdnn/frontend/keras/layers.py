"""The layers of Keras in terms of our operators: core, merging, normalising and reshaping ones.

Each function is named as its layer and builds it from the layer's configuration and weights, as
`model` says:

    def Permute(layer, inputs, call):
        x = tensor(layer, inputs)
        return ops.transpose(x, (0, *layer.config["dims"]))

`LAYERS`, at the end, holds every layer of Keras that computes something at inference, with those of
the neighbouring files: `spatial` (convolutions, pooling, padding), `attention`,
`recurrent`, `images` (preprocessing), `audio` and `recorded` (functions
of TensorFlow that stand as layers). Layers of `IDENTITIES` do nothing at
inference. `REFUSED` says why others are not taken. `PASS_MASK` are the layers that hand their
input's mask on.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedError
from ...expr import Dim
from ...graph import Value, constant, type_text
from ..arrays import axes_of, floats, known_ints, promoted
from . import attention, audio, images, operations, quantised, recorded, recurrent, spatial
from .activations import activation, masked_softmax, relu, softmax
from .model import Call, Layer, Nested
from .spatial import tensor, weight

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


def tensors(layer: Layer, inputs: Sequence[Nested], least: int = 1) -> list[Value]:
    """All inputs of a layer, of which there must be at least so many."""
    values = [x for x in inputs if isinstance(x, Value)]
    if len(values) < least:
        raise layer.error(f"at least {least} inputs expected, {len(values)} found")
    return values


# ---- core ----------------------------------------------------------------------------------------


def Dense(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = floats(tensor(layer, inputs))
    units = int(c["units"])
    bias = bool(c.get("use_bias", True))
    if quantised.is_quantised(layer):
        y = quantised.dense(layer, x, units, bias)
    else:
        y = ops.matmul(x, weight(layer, 0, (x.shape[-1], units), x))
    if bias:
        y = ops.add(y, weight(layer, 1, (units,), x))
    return activation(c.get("activation"), layer.version)(y)


def EinsumDense(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = floats(tensor(layer, inputs))
    return activation(c.get("activation"), layer.version)(
        einsum_dense(layer, x, c["equation"], c.get("bias_axes"))
    )


def einsum_dense(layer: Layer, x: Value, equation: str, bias_axes: str | None) -> Value:
    """The product and the bias of an EinsumDense layer, whose weights these are."""
    if quantised.is_quantised(layer):
        y = quantised.einsum(layer, x, equation, bool(bias_axes))
    else:
        y = ops.einsum(equation, x, weight(layer, 0, None, x))
    return ops.add(y, weight(layer, 1, None, x)) if bias_axes else y


def Embedding(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    at = ops.cast(tensor(layer, inputs), "i32")
    if c.get("mask_zero"):
        call.output_mask = ops.not_equal(at, 0)
    shape = int(c["input_dim"]), int(c["output_dim"])
    if quantised.is_quantised(layer):
        return quantised.rows(layer, at, shape)
    return ops.gather(layer.weight(0, shape), at, 0)


def ReversibleEmbedding(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    if not (call.get("reverse") or (len(call.args) > 1 and call.args[1] is True)):
        return Embedding(layer, inputs[:1], call)
    x = floats(tensor(layer, inputs[:1]))
    tied = bool(c.get("tie_weights", True))
    if quantised.is_quantised(layer):
        y = quantised.reverse(layer, x, (int(c["input_dim"]), int(c["output_dim"])), tied)
        return _capped(y, c.get("logit_soft_cap"))
    if tied:
        table = ops.transpose(weight(layer, 0, (int(c["input_dim"]), x.shape[-1]), x), (1, 0))
    else:
        table = weight(layer, 1, (x.shape[-1], int(c["input_dim"])), x)
    return _capped(ops.matmul(x, table), c.get("logit_soft_cap"))


def _capped(y: Value, cap: float | None) -> Value:
    return y if cap is None else ops.mul(ops.tanh_(ops.div(y, float(cap))), float(cap))


def Masking(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = tensor(layer, inputs)
    differs = ops.not_equal(x, constant(layer.config.get("mask_value", 0.0), x.dtype))
    kept = ops.reduce(differs, "any", [-1])
    call.output_mask = ops.squeeze(kept, [-1])
    return ops.where(kept, x, constant(0, x.dtype))


def _identity(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    return inputs[0] if len(inputs) == 1 else list(inputs)


def Pipeline(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """Preprocessing layers one after the other."""
    x: Nested = list(inputs)
    for k, inner in enumerate(layer.config.get("layers") or []):
        x = layer.apply(layer.sublayer(inner, f"layers/{k}"), x if isinstance(x, list) else [x])
    return x[0] if isinstance(x, list) and len(x) == 1 else x


def SpectralNormalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """The inner layer: its kernel was divided by its norm while training."""
    inner = layer.sublayer(layer.config["layer"], "layer")
    return layer.apply(inner, inputs, call)


# ---- activations ---------------------------------------------------------------------------------


def Activation(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    spec = layer.config.get("activation")
    return activation(spec, layer.version)(floats(tensor(layer, inputs)))


def ReLU(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    return relu(
        floats(tensor(layer, inputs)),
        _number(c.get("max_value")),
        _number(c.get("negative_slope")),
        _number(c.get("threshold")),
    )


def _number(given: Any) -> float | None:
    """A number, which older files wrap into an array."""
    return None if given is None else float(images.numbers(given).reshape(-1)[0])


def LeakyReLU(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    slope = layer.config.get("negative_slope", layer.config.get("alpha", 0.3))
    return ops.leaky_relu(floats(tensor(layer, inputs)), alpha=_number(slope))


def PReLU(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs))
    shape: list[Any] = list(x.shape[1:])
    for a in layer.config.get("shared_axes") or []:
        shape[int(a) - 1] = 1
    return ops.prelu(x, weight(layer, 0, shape, x))


def ELU(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    alpha = _number(layer.config.get("alpha", 1.0))
    return ops.elu(floats(tensor(layer, inputs)), alpha=alpha)


def ThresholdedReLU(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    alpha = _number(layer.config.get("theta", 1.0))
    return ops.thresholded_relu(floats(tensor(layer, inputs)), alpha=alpha)


def Softmax(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs[:1]))
    given = call.get("mask", inputs[1] if len(inputs) > 1 else None)
    mask = given if isinstance(given, Value) else None
    if mask is None and call.mask is not None:
        mask = call.mask
    if mask is None:
        return softmax(x, layer.config.get("axis", -1))
    axes = known_ints(layer.config.get("axis", -1), "the axes")
    return masked_softmax(x, mask, axes, layer.version >= 3)


# ---- merging -------------------------------------------------------------------------------------


def _aligned(layer: Layer, inputs: Sequence[Nested], least: int = 2) -> list[Value]:
    """The inputs with one dtype and rank: axes are inserted behind the batch."""
    values = promoted(*tensors(layer, inputs, least))
    rank = max(v.rank for v in values)
    return [ops.unsqueeze(v, range(1, 1 + rank - v.rank)) for v in values]


def _merge(combine: Callable[[Value, Value], Value], neutral: float | None = None) -> Function:
    """A merge of any number of inputs; where one is masked, `neutral` or the others count."""

    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        values = _aligned(layer, inputs, 1)
        masks = [*call.masks, *[None] * len(values)][: len(values)]
        out, seen = values[0], _spread(masks[0], values[0])
        if neutral is not None:
            values = [_neutral(v, m, neutral) for v, m in zip(values, masks)]
            out = values[0]
        for v, m in zip(values[1:], masks[1:]):
            if neutral is None and layer.version >= 3:
                mask = _spread(m, v)
                if mask is not None:
                    v = ops.where(mask, v, out)
                if seen is not None:
                    out = ops.where(seen, out, v)
                both = mask is not None and seen is not None
                seen = ops.logical_or(seen, mask) if both else None
            out = combine(out, v)
        every = [m for m in masks if m is not None]
        if len(every) == len(masks):
            call.output_mask = reduce(ops.logical_or, every)
            if neutral is not None:
                out = ops.where(_spread(call.output_mask, out), out, constant(0, out.dtype))
        return out

    return build


def _spread(mask: Value | None, x: Value) -> Value | None:
    """A mask [N, T] as one that broadcasts over x [N, T, ...]."""
    return None if mask is None else ops.unsqueeze(mask, range(mask.rank, x.rank))


def _neutral(x: Value, mask: Value | None, value: float) -> Value:
    return x if mask is None else ops.where(_spread(mask, x), x, constant(value, x.dtype))


def _plain_merge(compute: Callable[[list[Value]], Value]) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
        values = _aligned(layer, inputs, 1)
        every = [m for m in call.masks if m is not None]
        if every and len(every) == len(values):
            call.output_mask = reduce(ops.logical_or, every)
        return compute(values)

    return build


def _average(values: list[Value]) -> Value:
    values = [floats(v) for v in values]
    return ops.mul(reduce(ops.add, values), 1 / len(values))


def _difference(values: list[Value]) -> Value:
    if len(values) != 2:
        raise UnsupportedError(f"two inputs expected, {len(values)} found")
    return ops.sub(*values)


def Concatenate(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    values = promoted(*tensors(layer, inputs))
    axis = int(layer.config.get("axis", -1)) % values[0].rank
    masks = [*call.masks, *[None] * len(values)][: len(values)]
    if any(m is not None for m in masks):
        rank = max(m.rank for m in masks if m is not None)
        parts = [_mask_of(v, m, rank) for v, m in zip(values, masks)]
        if axis < rank:
            call.output_mask = ops.concat(parts, axis)
        else:
            call.output_mask = reduce(ops.logical_and, parts)
    return ops.concat(values, axis)


def _mask_of(x: Value, mask: Value | None, rank: int) -> Value:
    return mask if mask is not None else ops.expand(constant(np.ones((), bool)), x.shape[:rank])


def _dot(layer: Layer, x: Value, y: Value, axes: Any, normalize: bool) -> Value:
    """The products along one axis of each, batch by batch (keras.layers.Dot)."""
    a, b = [axes] * 2 if isinstance(axes, int) else [int(k) for k in axes]
    a, b = a % x.rank, b % y.rank
    if 0 in (a, b):
        raise layer.error("the batch axis cannot be contracted")
    if not ops.same(x.shape[a], y.shape[b]):
        raise layer.error(
            f"axis {a} of {type_text(x)} and axis {b} of {type_text(y)} differ in size"
        )
    if normalize:
        x, y = operations.normalize(x, [a]), operations.normalize(y, [b])
    one = string.ascii_lowercase[: x.rank]
    other = one[0] + string.ascii_uppercase[1 : y.rank]
    other = other.replace(other[b], one[a])
    out = "".join(c for c in one + other[1:] if c != one[a])
    z = ops.einsum(f"{one},{other}->{out}", x, y)
    return z if z.rank > 1 else ops.unsqueeze(z, [1])


def Dot(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, y = _pair(layer, inputs)
    return _dot(layer, x, y, layer.config["axes"], bool(layer.config.get("normalize")))


def _pair(layer: Layer, inputs: Sequence[Nested]) -> tuple[Value, Value]:
    values = tensors(layer, inputs, 2)
    if len(values) != 2:
        raise layer.error(f"two inputs expected, {len(values)} found")
    return floats(values[0]), floats(values[1])


def Merge(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """Keras 1: the mode says which."""
    c = layer.config
    mode = c.get("mode", "sum")
    if mode == "concat":
        return Concatenate(_with(layer, axis=c.get("concat_axis", -1)), inputs, call)
    if mode in ("dot", "cos"):
        x, y = _pair(layer, inputs)
        axes = c.get("dot_axes", -1)
        axes = (
            [a[0] if isinstance(a, (list, tuple)) else a for a in axes]
            if axes != -1 and (isinstance(axes, (list, tuple)))
            else axes
        )
        z = _dot(layer, x, y, axes, mode == "cos")
        return ops.unsqueeze(z, [1]) if mode == "cos" else z
    kinds = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum"}
    if mode not in kinds:
        raise layer.lacks(f"mode {mode!r}; supported are {', '.join(kinds)}, concat, dot and cos")
    return LAYERS[kinds[mode]](layer, inputs, call)


def _with(layer: Layer, **config: Any) -> Layer:
    return replace(layer, config={**layer.config, **config})


# ---- normalisation -------------------------------------------------------------------------------


def _axes(given: Any, x: Value) -> list[int]:
    return sorted(set(axes_of(given, x)))


def BatchNormalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """By the moving statistics; a factor and an offset that fold into a convolution before."""
    c = layer.config
    x = floats(tensor(layer, inputs))
    axes = _axes(c.get("axis", -1), x)
    if c.get("mode") == 1:
        raise layer.lacks("mode=1 (Keras 1's normalisation by sample); mode 0 and 2 are supported")
    scaled, centred = c.get("scale", True), c.get("center", True)
    if len(axes) != 1:
        raise layer.lacks(f"one axis is normalised here, found {axes}")
    size = (x.shape[axes[0]],)
    names = ["gamma"] * bool(scaled) + ["beta"] * bool(centred) + ["mean", "variance"]
    at = {name: layer.weight(k, size) for k, name in enumerate(names)}
    epsilon = float(c.get("epsilon", 1e-3))
    scale, bias = at.get("gamma"), at.get("beta")
    return ops.batch_normalize(x, at["mean"], at["variance"], scale, bias, epsilon, axes)


def _affine(
    layer: Layer, y: Value, axes: Sequence[int], names: Sequence[str], sizes_: Sequence[Dim]
) -> Value:
    """y times the weight "scale" and plus "center", along the given axes."""
    for k, name in enumerate(names):
        w = ops.along(weight(layer, k, sizes_, y), axes, y.rank)
        y = ops.mul(y, w) if name == "scale" else ops.add(y, w)
    return y


def _enabled(layer: Layer) -> list[str]:
    return [name for name in ("scale", "center") if layer.config.get(name, True)]


def LayerNormalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = floats(tensor(layer, inputs))
    axes = _axes(c.get("axis", -1), x)
    size = [x.shape[a] for a in axes]
    epsilon = float(c.get("epsilon", 1e-3))
    if c.get("rms_scaling"):  # until Keras 3.9: the deviation without the mean taken away
        d = ops.sub(x, ops.reduce_mean(x, axes))
        inverse = ops.rsqrt_(ops.add(ops.reduce_mean(ops.mul(d, d), axes), epsilon))
        return _affine(layer, ops.mul(x, inverse), axes, ["scale"], size)
    return _affine(layer, ops.normalize(x, axes, epsilon), axes, _enabled(layer), size)


def RMSNormalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs))
    axes = _axes(layer.config.get("axis", -1), x)
    y = ops.rms_normalize(x, axes, float(layer.config.get("epsilon", 1e-6)))
    return _affine(layer, y, axes, ["scale"], [x.shape[a] for a in axes])


def GroupNormalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = floats(tensor(layer, inputs))
    axis = _axes(c.get("axis", -1), x)[0]
    size = ops.static(x.shape[axis], "the normalised axis")
    groups = int(c.get("groups", 32))
    groups = size if groups == -1 else groups
    if size % groups:
        raise layer.error(f"{groups} groups do not divide the {size} channels of {type_text(x)}")
    y = ops.group_normalize(x, groups, axis, float(c.get("epsilon", 1e-3)))
    return _affine(layer, y, [axis], _enabled(layer), [size])


def UnitNormalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs))
    return operations.normalize(x, _axes(layer.config.get("axis", -1), x))


def LayerScale(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """ConvNeXt's: each channel by its own factor."""
    x = floats(tensor(layer, inputs))
    return ops.mul(x, weight(layer, 0, (x.shape[-1],), x))


# ---- reshaping -----------------------------------------------------------------------------------


def Reshape(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = tensor(layer, inputs)
    target = [-1 if d is None else int(d) for d in layer.config["target_shape"]]
    return ops.reshape(x, (x.shape[0], *target))


def Permute(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    return ops.transpose(tensor(layer, inputs), (0, *(int(d) for d in layer.config["dims"])))


def Flatten(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = tensor(layer, inputs)
    if x.rank == 1:
        return ops.unsqueeze(x, [1])
    x = spatial.to_last(layer, x)
    return ops.reshape(x, (x.shape[0], ops.product(x.shape[1:])))


def RepeatVector(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = tensor(layer, inputs, 2)
    return ops.expand(ops.unsqueeze(x, [1]), (x.shape[0], int(layer.config["n"]), x.shape[1]))


# ---- Keras 1 -------------------------------------------------------------------------------------


def Highway(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """t f(x W + b) + (1 - t) x with the gate t = sigmoid(x Wc + bc)."""
    x = floats(tensor(layer, inputs))
    n, c = x.shape[-1], layer.config
    gate, y = (ops.matmul(x, weight(layer, k, (n, n), x)) for k in (1, 0))
    if c.get("use_bias", c.get("bias", True)):
        y, gate = (ops.add(v, weight(layer, k, (n,), x)) for v, k in ((y, 2), (gate, 3)))
    y, gate = activation(c.get("activation"), layer.version)(y), ops.sigmoid(gate)
    return ops.add(x, ops.mul(gate, ops.sub(y, x)))


def MaxoutDense(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """The maximum of several products, W [features, in, out]."""
    x, c = floats(tensor(layer, inputs, 2)), layer.config
    w = layer.weight(0, (None, x.shape[1], None))
    y = ops.einsum("ni,fio->nfo", x, ops.cast(w, x.dtype))
    if c.get("use_bias", c.get("bias", True)):
        y = ops.add(y, weight(layer, 1, (w.shape[0], w.shape[2]), x))
    return ops.squeeze(ops.reduce_max(y, [1]), [1])


# ---- the registry --------------------------------------------------------------------------------

# Layers that only train: at inference their input is their output.
IDENTITIES = (
    "ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "Dropout", "Equalization",
    "GaussianDropout", "GaussianNoise", "Identity", "MixUp", "RandAugment", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform",
    "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight",
    "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation",
    "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth",
    "RandomZoom", "Solarization", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
)  # fmt: skip

# Layers of Keras that are not taken, and why.
REFUSED: Mapping[str, str] = {
    "ContrastLimitedAdaptiveHistogramEqualization": "histograms are not computed here",
    "FlaxLayer": "its computation is Python code, not part of the file",
    "HashedCrossing": "hashing of text is not done here",
    "Hashing": "hashing of text is not done here",
    "JaxLayer": "its computation is Python code, not part of the file",
    "Lambda": "its computation is Python code, not part of the file",
    "MaxNumBoundingBoxes": "it works on dictionaries of boxes",
    "StringLookup": "text is turned into numbers in the page",
    "TFSMLayer": "its computation is a TensorFlow SavedModel",
    "TextVectorization": "text is turned into numbers in the page",
    "TorchModuleWrapper": "its computation is a PyTorch module; export that instead",
}

PASS_MASK = frozenset(
    {
        "Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization",
        "Dense", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GroupNormalization",
        "Identity", "LayerNormalization", "LeakyReLU", "Normalization", "PReLU", "ReLU",
        "Rescaling", "Softmax", "SpatialDropout1D", "ThresholdedReLU",
        "UnitNormalization",
    }
)  # fmt: skip

_ALIASES = {
    "AvgPool1D": "AveragePooling1D", "AvgPool2D": "AveragePooling2D",
    "AvgPool3D": "AveragePooling3D", "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization", "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D", "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution3D": "Conv3D", "Convolution3DTranspose": "Conv3DTranspose",
    "Deconvolution2D": "Conv2DTranspose", "Deconvolution3D": "Conv3DTranspose",
    "GlobalAvgPool1D": "GlobalAveragePooling1D", "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalAvgPool3D": "GlobalAveragePooling3D", "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D", "GlobalMaxPool3D": "GlobalMaxPooling3D",
    "GroupQueryAttention": "GroupedQueryAttention", "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D", "MaxPool3D": "MaxPooling3D",
    "SeparableConvolution1D": "SeparableConv1D", "SeparableConvolution2D": "SeparableConv2D",
    "SyncBatchNormalization": "BatchNormalization",
}  # fmt: skip

LAYERS: dict[str, Function] = {
    **dict.fromkeys(IDENTITIES, _identity),
    **{
        f.__name__: f
        for f in (
            Activation, BatchNormalization, Concatenate, Dense, Dot, ELU, EinsumDense, Embedding,
            Flatten, GroupNormalization, Highway, LayerNormalization, LayerScale, LeakyReLU,
            Masking, MaxoutDense, Merge, PReLU, Permute, Pipeline, RMSNormalization, ReLU,
            RepeatVector, Reshape, ReversibleEmbedding, Softmax, SpectralNormalization,
            ThresholdedReLU, UnitNormalization,
        )
    },
    "Add": _plain_merge(lambda values: reduce(ops.add, values)),
    "Average": _plain_merge(_average),
    "Subtract": _plain_merge(_difference),
    "Multiply": _merge(ops.mul, 1.0),
    "Maximum": _merge(ops.max_),
    "Minimum": _merge(ops.min_),
    **attention.LAYERS,
    **audio.LAYERS,
    **images.LAYERS,
    **recorded.LAYERS,
    **recurrent.LAYERS,
    **spatial.LAYERS,
}  # fmt: skip
LAYERS |= {old: LAYERS[new] for old, new in _ALIASES.items()}

# The operations of keras.ops and of TensorFlow, which stand as layers in functional models.
OPERATIONS: dict[str, Function] = operations.OPERATIONS

__all__ = ["LAYERS", "OPERATIONS", "PASS_MASK", "REFUSED"]
