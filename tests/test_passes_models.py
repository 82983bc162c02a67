"""Whole models through the passes: the same numbers, and how many transposes are left."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests import models
from tests.interpret import interpret
from webdnn.frontend.onnx import load
from webdnn.passes import PIPELINE, layout, run

# Of the largest output. Rounding alone moves the recogniser's confident outputs by 3e-5: so far are
# both graphs from onnxruntime, on either side.
TOLERANCE = 1e-4

UNFUSED = tuple(itertools.takewhile(lambda row: row[0] != "attention", PIPELINE))

# What is left before packing, and why: the image (1) and an image that is returned (1); attention's
# heads, four views a layer; the pixels of transposed convolutions (2 of ppocr_det); the channel
# shuffles of shufflenet (16). Everything else is an NHWC or channel-free model: none.
TRANSPOSES = {
    "multistyle26": 2,
    "opennsfw": 0,
    "mobilenetv2": 1,
    "minilm": 24,
    "ppocr_det": 3,
    "ppocr_rec": 9,
    "ppocr_cls": 1,
    "magika": 0,
    "basic_pitch": 0,
    "openwakeword": 0,
    "light_shufflenet": 17,
} | {
    f"light_{name}": 1
    for name in (
        "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "squeezenet",
        "zfnet512",
    )
}  # fmt: skip


@pytest.mark.models
@pytest.mark.parametrize("name", TRANSPOSES)
def test_model(name: str) -> None:
    before = load(models.fetch(name), models.dim_options(name, gpu=True)).graph
    assert layout.count_transposes(run(before, 0, pipeline=UNFUSED)) == TRANSPOSES[name]
    now = run(before, 0)
    sizes = models.model(name).sizes[0]
    feeds = models.feeds(name, sizes, gpu=True)
    want = interpret(before, feeds, sizes, "numpy")
    for key, found in interpret(now, feeds, sizes, "numpy").items():
        scale = float(np.abs(want[key]).max())
        assert scale > 0
        np.testing.assert_allclose(found, want[key], rtol=0, atol=TOLERANCE * scale)
