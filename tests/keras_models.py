"""Architectures of keras.applications with seeded weights.

    model = application("MobileNetV2", 96)
    outputs = predict(model, {"input": image})

Keras' own initialisation shrinks activations layer by layer, until the output no longer depends on
the input: `seeded` keeps their scale, and gives moving statistics and biases values too, so that
none of them can be forgotten unnoticed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from unittest import mock

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

# The side of the images that each is tested with: small, but not so small that nothing is left.
APPLICATIONS = {
    "ResNet50": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "InceptionV3": 96,
    "DenseNet121": 64,
    "NASNetMobile": 64,
    "Xception": 96,
    "ConvNeXtTiny": 64,
}

# The values of white, where it is not 1: these models scale their input themselves.
BRIGHTEST = dict.fromkeys(
    ("MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"), 255
)


def seeded(model: Any, seed: int = 7) -> Any:
    """The model with random weights in all its layers."""
    rng = np.random.default_rng(seed)

    def value(layer: Any, variable: Any) -> np.ndarray:
        shape, name = tuple(variable.shape), variable.path.rpartition("/")[2]
        if name in ("gamma", "moving_variance", "scale"):
            return rng.uniform(0.6, 1.4, shape)
        if name == "kernel" and len(shape) == 2:
            return rng.normal(0, math.sqrt(1 / shape[0]), shape)
        if len(shape) > 1:
            depthwise = type(layer).__name__.startswith("Depthwise") or "depthwise" in name
            fan_in = math.prod(shape[:2] if depthwise else shape[:-1])
            return rng.normal(0, math.sqrt(1.6 / fan_in), shape)
        return rng.normal(0, 0.1, shape)

    for layer in model._flatten_layers(include_self=False):
        for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
            if isinstance(layer, keras.layers.Normalization):
                shape = tuple(variable.shape)
                variable.assign(rng.uniform(0.5, 1.5, shape).astype(variable.dtype))
            elif "float" in str(variable.dtype):
                variable.assign(value(layer, variable).astype("float32"))
    return model


def application(name: str, side: int, classes: int = 1000) -> Any:
    """One of keras.applications, for images of side × side, with seeded weights and logits."""
    keras.utils.clear_session()
    options = {"weights": None, "classes": classes, "classifier_activation": None}
    # NASNet refuses to be built on PyTorch, for reasons of its training.
    backend = nullcontext()
    if name.startswith("NASNet"):
        backend = mock.patch("keras.src.applications.nasnet.backend.backend", lambda: "any")
    with backend:
        model = getattr(keras.applications, name)(input_shape=(side, side, 3), **options)
    return settled(seeded(model), photos(4, side, BRIGHTEST.get(name, 1)))


def settled(model: Any, images: np.ndarray, seed: int = 8) -> Any:
    """The model with moving statistics near those of the images.

    So the activations keep their scale through a hundred layers, and the outputs tell images apart.
    """
    rng = np.random.default_rng(seed)
    layers = [m for m in model._flatten_layers() if type(m).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        mean, variance = (
            keras.ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance)
        )
        spread = np.sqrt(variance)
        layer.moving_mean.assign(mean + spread * rng.normal(0, 0.1, mean.shape))
        layer.moving_variance.assign(
            variance * rng.uniform(0.6, 1.4, mean.shape) + 0.1 * variance.mean()
        )
    return model


def photos(count: int, side: int, top: float = 1.0) -> np.ndarray:
    """Images that differ in more than noise: [count, side, side, 3], 0..top."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    waves = rng.uniform(1, 9, (count, 3, 2, 1, 1))
    image = 0.5 + 0.5 * np.sin(waves[:, :, 0] * y + waves[:, :, 1] * x)
    image = image * rng.uniform(0.3, 1, (count, 3, 1, 1)) + rng.uniform(0, 0.1, image.shape)
    return (top * np.moveaxis(image, 1, 3) / 1.1).astype("float32")


def predict(model: Any, feeds: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in order, at inference."""
    import torch

    given = dict(feeds) if isinstance(feeds, Mapping) else list(feeds)
    with torch.no_grad():
        found = model(given[0] if isinstance(given, list) and len(given) == 1 else given)
    return [keras.ops.convert_to_numpy(t) for t in keras.tree.flatten(found)]
