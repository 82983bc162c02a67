"""Classification: Chainer's ResNet-50, in a page that names what a photograph shows.

python -m examples.chainer.build              # builds it, prints the address; Ctrl-C ends it
python -m examples.chainer.build --headless   # compares the page with Chainer, in Chromium

No package publishes trained weights for Chainer, so these are seeded: random convolutions, their
normalisation as these photographs want it, and a last layer fitted to crops of the four of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

import webdnn.chainer_compat  # noqa: F401 - before chainer: what NumPy took away

# isort: split
import chainer
import chainer.functions as F
import chainer.links as L

from examples import showcase
from examples.showcase import Array, Example, main, new_site, photos, transpile
from webdnn.graph import Value, placeholder
from webdnn.picture.image import load_raster, parse, settle

LABELS = {
    "astronaut.png": "astronaut",
    "chelsea.png": "cat",
    "coffee.png": "cup of coffee",
    "rocket.jpg": "rocket",
}
# What Chainer's own `prepare` does to a picture for this network.
IMAGE = "bgr,resize=256,crop=224,scale=1,mean=103.063,115.903,123.152"
SHAPE = (1, 3, 224, 224)
CROPS = 6  # of each photograph, to fit the last layer to

PAGE = Example(
    "chainer",
    "Classification",
    "Chainer",
    "ResNet-50 says which of four photographs a picture looks like most.",
)


class Classifier(chainer.Chain):  # type: ignore[misc]
    """ResNet-50 without its last layer, and one of our own."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.resnet = L.ResNet50Layers(None)
            self.head = L.Linear(2048, len(LABELS))

    def features(self, image: Array | chainer.Variable) -> chainer.Variable:
        """What the network sees in pictures [N, 3, 224, 224]: [N, 2048]."""
        return self.resnet.forward(image, layers=["pool5"])["pool5"]

    def forward(self, image: chainer.Variable) -> dict[str, chainer.Variable]:
        """The probability of each label, [N, 4]."""
        return {"scores": F.softmax(self.head(self.features(image)))}


def crops() -> Array:
    """CROPS pieces of each photograph, half of them mirrored: [4 * CROPS, 3, 224, 224]."""
    random = np.random.default_rng(50)
    picture = settle(parse("bgr,crop=224,scale=1,mean=103.063,115.903,123.152"), inputs())
    pieces = []
    for name, file in photos(*LABELS).items():
        raster = load_raster(file)
        side = min(raster.shape[:2])
        step = max(1, side // 256)  # about the size that `resize` gives
        assert name in LABELS
        for k in range(CROPS):
            small = raster[::step, ::step]
            y, x = (int(random.integers(0, n - 223)) for n in small.shape[:2])
            piece = small[y : y + 224, x : x + 224, :]
            pieces.append(picture.read(np.ascontiguousarray(piece[:, :: -1 if k % 2 else 1])))
    return np.concatenate(pieces).astype(np.float32)


def inputs() -> Value:
    """The network's input, of one picture."""
    return placeholder("image", SHAPE, "f32")


@cache
def weights() -> Path:
    """A file of the chain's parameters, made once: as `serializers.save_npz` writes them."""
    path = showcase.cache() / "chainer-resnet50-seeded-1.npz"
    if path.is_file():
        return path
    np.random.seed(50)
    chain = Classifier()
    images = crops()
    for link in chain.links():
        if isinstance(link, L.BatchNormalization):
            link.decay = 0  # the statistics of this batch, and of no other
    with chainer.using_config("train", True), chainer.no_backprop_mode():
        chain.features(images)
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        seen = chain.features(images).array.astype(np.float64)
    # Ridge regression to 6 for a crop's own label and 0 for the others.
    wanted = 6 * np.eye(len(LABELS)).repeat(CROPS, 0)
    centre = seen.mean(0)
    seen -= centre
    products = seen @ seen.T
    ridge = 0.02 * np.trace(products) / len(seen)
    solved = np.linalg.solve(products + ridge * np.eye(len(seen)), wanted - wanted.mean(0))
    head = (seen.T @ solved).T
    chain.head.W.array[...] = head
    chain.head.b.array[...] = wanted.mean(0) - head @ centre
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    chainer.serializers.save_npz(partial, chain)
    partial.replace(path)
    return path


def build() -> None:
    """Makes the site: page, photographs, and the model for both targets."""
    site = new_site(PAGE, *LABELS)
    transpile(
        Classifier(),
        site / "model",
        example=np.zeros(SHAPE, np.float32),
        weights_file=weights(),
        inputs={"image": IMAGE},
        labels=list(LABELS.values()),
        name="resnet50",
    )


def expected(given: Mapping[str, Array]) -> dict[str, Array]:
    """What Chainer makes of the page's picture."""
    chain = Classifier()
    chainer.serializers.load_npz(weights(), chain)
    picture = settle(parse(IMAGE), inputs()).read(given["image"])
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return {name: y.array for name, y in chain(chainer.Variable(picture)).items()}


EXAMPLES = {PAGE: expected}

if __name__ == "__main__":
    sys.exit(main(build, EXAMPLES))
