"""Keras' preprocessing layers: scaling and resizing of images, and encodings of categories.

The random layers do nothing at inference (`layers` lists them). Resizing is TensorFlow's
(`frontend.tensorflow.images`), save that bicubic interpolation follows Keras' backend
(`spatial.backend`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...expr import Dim, as_dim, lift
from ...graph import FLOATS, Value, constant, type_text
from ..arithmetic import digitize
from ..arrays import floats, known_ints, one_hot
from ..tensorflow import images as tensorflow
from ..windows import per_axis
from .model import Call, Layer, Nested
from .spatial import backend, from_last, spatial_input, tensor, to_last

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


def numbers(given: Any) -> np.ndarray:
    """An array in a configuration: a number, a list or a serialized array."""
    if isinstance(given, Mapping):
        given = given.get("config", given)
        given = given.get("value", given) if isinstance(given, Mapping) else given
    return np.asarray(given, np.float32)


# ---- resizing ------------------------------------------------------------------------------------


def resized(
    layer: Layer,
    x: Value,
    axes: Sequence[int],
    out: Sequence[Dim],
    mode: str,
    antialias: bool = False,
) -> Value:
    """x with its axes resized to `out` elements, by Keras' name of the interpolation."""
    # Keras by itself, until 2.2, took TensorFlow 1's corners for the centres of pixels
    corners = re.match(r"2\.([01]\.|2\.\d+$)", getattr(layer.version, "text", ""))
    return tensorflow.resized(x, axes, out, mode, antialias, bool(corners), backend(layer))


def UpSampling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x, rank = spatial_input(layer, inputs)
    x, factors = to_last(layer, x), per_axis(layer.config.get("size", 2), rank)
    mode = str(layer.config.get("interpolation") or "nearest").lower()
    if mode == "nearest":
        for k, factor in enumerate(factors):
            x = ops.repeat(x, factor, k + 1)
        return from_last(layer, x)
    out = [as_dim(lift(d) * f) for d, f in zip(x.shape[1:-1], factors)]
    return from_last(layer, resized(layer, floats(x), (1, 2), out, mode))


def _image(layer: Layer, inputs: Sequence[Nested]) -> Value:
    x = tensor(layer, inputs)
    if x.rank != 4:
        raise layer.error(f"a batch of images expected (4 axes), found {type_text(x)}")
    return to_last(layer, x)


def _like(x: Value, y: Value) -> Value:
    """y, computed in floats, rounded to x's integers."""
    if x.dtype in FLOATS:
        return y
    lo, hi = (0, 255) if x.dtype == "u8" else (-(2**31), 2**31 - 1)
    return ops.cast(ops.clamp(ops.round_(y), lo, hi), x.dtype)


def _aspect(x: Value, height: int, width: int) -> tuple[int, int, int, int]:
    """The image's size, and the height and width of the part with the target's aspect ratio."""
    h, w = (ops.static(d, "the size of an image fitted by its aspect ratio") for d in x.shape[1:3])
    return h, w, int(float(w * height) / width), int(float(h * width) / height)


def cropped_to_aspect(x: Value, height: int, width: int) -> Value:
    """The largest centred part of images [N, H, W, C] with that aspect ratio."""
    h, w, tall, wide = _aspect(x, height, width)
    tall, wide = max(min(h, tall), 1), max(min(w, wide), 1)
    starts = (0, int((h - tall) / 2), int((w - wide) / 2), 0)
    return ops.slice_(x, starts, (x.shape[0], tall, wide, x.shape[3]))


def Resizing(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = _image(layer, inputs)
    mode, height, width = str(c.get("interpolation") or "bilinear"), c["height"], c["width"]
    height, width = int(height), int(width)
    y = x if mode == "nearest" else floats(x)
    if c.get("crop_to_aspect_ratio"):
        y = cropped_to_aspect(y, height, width)
    elif c.get("pad_to_aspect_ratio"):
        if c.get("fill_mode", "constant") != "constant":
            raise layer.lacks(f"fill_mode {c['fill_mode']!r}; constant is supported")
        h, w, tall, wide = _aspect(x, height, width)
        down, right = max(0, int((tall - h) / 2)), max(0, int((wide - w) / 2))
        fill = float(c.get("fill_value") or 0.0)
        y = ops.pad(y, (0, down, right, 0), (0, down, right, 0), "constant", fill)
    y = resized(layer, y, (1, 2), (height, width), mode, bool(c.get("antialias")))
    if mode != "nearest" and layer.version >= 3:
        y = _like(x, y)
    return from_last(layer, y)


def CenterCrop(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(_image(layer, inputs))
    height, width = int(layer.config["height"]), int(layer.config["width"])
    h, w = (ops.static(d, "the size of an image that is cropped") for d in x.shape[1:3])
    if h >= height and w >= width:
        starts = (0, (h - height) // 2, (w - width) // 2, 0)
        y = ops.slice_(x, starts, (x.shape[0], height, width, x.shape[3]))
    else:
        y = cropped_to_aspect(x, height, width)
        y = resized(layer, y, (1, 2), (height, width), "bilinear")
    return from_last(layer, y)


def RandomCrop(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """The image as it is in Keras 3; before, resized with its sides cut to the aspect ratio."""
    if layer.version >= 3:
        return inputs[0]
    x = floats(_image(layer, inputs))
    height, width = int(layer.config["height"]), int(layer.config["width"])
    y = cropped_to_aspect(x, height, width)
    return from_last(layer, resized(layer, y, (1, 2), (height, width), "bilinear"))


# ---- values --------------------------------------------------------------------------------------


def Rescaling(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs))
    scale, offset = numbers(layer.config.get("scale", 1.0)), numbers(layer.config.get("offset", 0))
    y = x if np.all(scale == 1) else ops.mul(x, constant(scale, x.dtype))
    return y if np.all(offset == 0) else ops.add(y, constant(offset, x.dtype))


def Normalization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = floats(tensor(layer, inputs))
    axis = c.get("axis", -1)
    kept = [] if axis is None else sorted(a % x.rank for a in known_ints(axis, "the axes"))
    shape = [x.shape[k] if k in kept else 1 for k in range(x.rank)]
    given = c.get("mean"), c.get("variance")
    if given[0] is not None and given[1] is not None:
        mean, variance = (_aligned(numbers(g), kept, x.rank) for g in given)
    else:
        flat = [layer.weight(k) for k in (0, 1)]
        for k, v in enumerate(flat):
            if not all(ops.same(a, b) for a, b in [(v.size, ops.product(shape))]):
                raise layer.error(
                    f"weight {k} has {v.size} elements, but axes {kept} of {type_text(x)} have "
                    f"{ops.product(shape)}"
                )
        mean, variance = (ops.reshape(ops.cast(v, x.dtype), shape) for v in flat)
    mean, variance = ops.cast(mean, x.dtype), ops.cast(variance, x.dtype)
    deviation = ops.max_(ops.sqrt_(variance), 1e-7)
    if c.get("invert"):
        return ops.add(mean, ops.mul(x, deviation))
    return ops.div(ops.sub(x, mean), deviation)


def _aligned(a: np.ndarray, kept: Sequence[int], rank: int) -> Value:
    """Statistics of the kept axes, those counted from the right, as a tensor of x's rank."""
    shape = [1] * rank
    if a.ndim == rank:
        return constant(a)
    for i in range(1, a.ndim + 1):
        shape[kept[-i]] = a.shape[-i]
    return constant(a.reshape(shape))


def AutoContrast(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs, 4))
    lo, hi = _value_range(layer)
    y = ops.mul(ops.sub(x, lo), 255 / (hi - lo))
    low, high = ops.reduce(y, "min", [1, 2]), ops.reduce_max(y, [1, 2])
    scale = ops.div(constant(255.0, x.dtype), ops.sub(high, low))
    y = ops.clamp(ops.add(ops.mul(y, scale), ops.neg(ops.mul(low, scale))), 0.0, 255.0)
    y = ops.add(ops.mul(y, (hi - lo) / 255), lo)
    return ops.where(ops.is_nan(y), x, y)


def _value_range(layer: Layer) -> tuple[float, float]:
    lo, hi = layer.config.get("value_range") or (0, 255)
    return float(lo), float(hi)


# ---- categories ----------------------------------------------------------------------------------


def encoded(x: Value, mode: str, depth: int, weights: Value | None = None) -> Value:
    """Category numbers as Keras encodes them: one_hot, multi_hot or count."""
    last = x.shape[-1] if x.rank > 1 else 0
    if mode == "one_hot" and isinstance(last, int) and last == 1:
        x = ops.squeeze(x, [-1])
    hot = ops.cast(one_hot(ops.cast(x, "i32"), depth), "f32")
    if mode == "one_hot":
        return hot
    axis = 1 if x.rank > 1 else 0
    if mode == "multi_hot":
        return ops.squeeze(ops.reduce_max(hot, [axis]), [axis])
    if weights is not None:
        hot = ops.mul(hot, ops.unsqueeze(floats(weights), [weights.rank]))
    return ops.squeeze(ops.reduce_sum(hot, [axis]), [axis])


def CategoryEncoding(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    values = [x for x in inputs if isinstance(x, Value)]
    weights = call.get("count_weights") or (values[1] if len(values) > 1 else None)
    depth = int(layer.config["num_tokens"])
    return encoded(values[0], layer.config.get("output_mode") or "multi_hot", depth, weights)


def Discretization(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    x = floats(tensor(layer, inputs))
    bounds = layer.config.get("bin_boundaries")
    if bounds is None:
        raise layer.lacks("its bin boundaries are not in the file: give bin_boundaries, not adapt")
    edges = constant(np.asarray(bounds, np.float32), x.dtype)
    at = digitize(x, edges)
    mode = layer.config.get("output_mode") or "int"
    return at if mode == "int" else encoded(at, mode, len(bounds) + 1)


def IntegerLookup(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    c = layer.config
    x = ops.cast(tensor(layer, inputs), "i32")
    words, mask = c.get("vocabulary"), c.get("mask_token")
    if isinstance(words, Mapping):
        words = numbers(words).tolist()
    if not isinstance(words, (list, tuple)):
        raise layer.lacks(
            "its vocabulary is not in the configuration: give `vocabulary`, not adapt"
        )
    oov, mode = int(c.get("num_oov_indices", 1)), c.get("output_mode") or "int"
    if c.get("oov_method", "floormod") != "floormod" or mode == "tf_idf":
        raise layer.lacks("hashing of unknown values and tf_idf")
    special = ([int(mask)] if mask is not None and mode == "int" else []) + [
        int(c.get("oov_token", -1))
    ] * oov
    terms = [int(w) for w in words]
    if terms[: len(special)] == special:
        terms = terms[len(special) :]
    table = constant(np.array(terms, np.int64), "i32")
    first = len(special)
    if c.get("invert"):
        every = constant(np.array([*special, *terms], np.int64), "i32")
        return ops.gather(every, x, 0)
    hit = ops.equal(ops.unsqueeze(x, [x.rank]), table)
    numbers_ = ops.add(ops.iota((len(terms),), 0, "i32"), first)
    none = -1 if oov == 0 else first - oov
    found = ops.where(hit, numbers_, constant(-1, "i32"))
    y = ops.squeeze(ops.reduce_max(found, [x.rank]), [x.rank])
    unknown = constant(none, "i32")
    if oov > 1:
        unknown = ops.add(ops.mod(x, oov), none)
    y = ops.where(ops.less(y, 0), unknown, y)
    if mask is not None and mode == "int":
        y = ops.where(ops.equal(x, int(mask)), constant(0, "i32"), y)
    if mode == "int":
        return y
    depth = first + len(terms)
    if c.get("pad_to_max_tokens") and c.get("max_tokens"):
        depth = int(c["max_tokens"])
    return encoded(y, mode, depth)


LAYERS: dict[str, Function] = {
    f.__name__: f
    for f in (
        AutoContrast, CategoryEncoding, CenterCrop, Discretization, IntegerLookup, Normalization,
        RandomCrop, Rescaling, Resizing,
    )
}  # fmt: skip
LAYERS |= {f"UpSampling{rank}D": UpSampling for rank in (1, 2, 3)}

__all__ = ["LAYERS", "resized"]
