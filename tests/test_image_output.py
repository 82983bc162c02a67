"""Pictures as outputs: the grammar, the graph on wasm beside Pillow, what cannot be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

import webdnn
from tests.jobs import Job, run_jobs
from webdnn.errors import WebDNNError
from webdnn.picture.colors import palette, read_colors
from webdnn.picture.output import ImageOutput, named, parse

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64


def model(shape: list[Any], dtype: int = FLOAT) -> bytes:
    """x · 1.25 − 0.125 of floats, and x of integers, as the output y."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    constants = []
    if dtype == FLOAT:
        nodes = [
            helper.make_node("Mul", ["x", "gain"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "bias"], ["y"]),
        ]
        constants = [
            onnx.numpy_helper.from_array(np.float32(1.25), "gain"),
            onnx.numpy_helper.from_array(np.float32(0.125), "bias"),
        ]
    ends = [helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def bytes_of(values: np.ndarray, mode: str) -> np.ndarray:
    """RGBA [H, W, 4] by Pillow of levels that are no bytes yet."""
    levels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.asarray(Image.fromarray(levels, mode).convert("RGBA"))


def voc(classes: np.ndarray) -> np.ndarray:
    """A class map by Pillow, with the palette that torchvision and Pascal VOC draw it with."""
    image = Image.fromarray(classes.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128])
    out = np.array(image.convert("RGBA"))
    out[classes == 0] = 0
    return out


# name: specification, shape, dtype, what Pillow makes of the numbers [H, W, C]
CASES: dict[str, tuple[str, list[Any], int, Any]] = {
    "planes": ("rgb", [1, 3, 5, 7], FLOAT, lambda v: bytes_of(v * 255, "RGB")),
    "last": ("bgr,scale=1/100", [1, 5, 7, 3], FLOAT, lambda v: bytes_of(v[..., ::-1] * 100, "RGB")),
    "denormalised": (
        "rgb,mean=0.485,0.456,0.406,std=0.229,0.224,0.225",
        [1, 3, 5, 7],
        FLOAT,
        lambda v: bytes_of((v * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255, "RGB"),
    ),
    "alpha": ("rgba", [4, 5, 7], FLOAT, lambda v: bytes_of(v * 255, "RGBA")),
    "gray": ("gray", [5, 7], FLOAT, lambda v: bytes_of(v[..., 0] * 255, "L")),
    "bytes": ("rgb", [1, 3, 5, 7], UINT8, lambda v: bytes_of(v, "RGB")),
    "scores": ("mask,layout=nchw", [1, 6, 5, 7], FLOAT, lambda v: voc(v.argmax(-1))),
    "scores last": ("mask,layout=nhwc", [1, 5, 7, 6], FLOAT, lambda v: voc(v.argmax(-1))),
    "classes": ("mask", [1, 5, 7], INT64, lambda v: voc(v[..., 0])),
    "opacity": (
        "mask,colors=#f80",
        [1, 1, 5, 7],
        FLOAT,
        lambda v: np.dstack(
            [np.full((5, 7), c, np.uint8) for c in (255, 136, 0)]
            + [bytes_of(v[..., 0] * 255, "L")[..., 0]]
        ),
    ),
    "threshold": (
        "mask,threshold=0.5",
        [5, 7],
        FLOAT,
        lambda v: np.where(v >= 0.5, np.uint8([255] * 4), np.uint8(0)),
    ),
}


def test_pixels_are_those_of_pillow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jobs, wanted, drawings = [], {}, {}
    for name, (spec, shape, dtype, drawn) in CASES.items():
        read = webdnn.imported(model(shape, dtype), outputs=spec)
        x = rng.random(shape, np.float32)
        if dtype != FLOAT:
            x = (x * (256 if dtype == UINT8 else 6)).astype("u1" if dtype == UINT8 else "i8")
        session = onnxruntime.InferenceSession(model(shape, dtype))
        (y,) = session.run(None, {"x": x})
        drawing = drawings[name] = read.drawings["y"]
        channel, row, column = drawing.axes
        last = [] if channel is None else [channel]
        rest = [k for k in range(y.ndim) if k not in drawing.axes]
        planes = y.transpose([*rest, row, column, *last]).reshape(5, 7, -1)
        wanted[name] = drawn(planes)
        assert np.abs(drawing.pixels(y).astype(int) - wanted[name]).max() <= 1, name
        assert drawing.agrees(wanted[name], y, 1e-4).all(), name
        off = wanted[name].copy()
        off[2, 3] = 9, 9, 9, 9
        assert drawing.agrees(off, y, 1e-4).sum() == 34, name
        words = np.ascontiguousarray(wanted[name]).view("<u4")[..., 0]
        jobs.append(Job(name, read.imported.graph, {"x": x}, {"y": words}, tol=1, constant=True))
    # The words as numbers say little: each byte must be within one level.
    from tests.interpret import interpret

    for job in jobs:
        (found,) = interpret(job.graph, job.feeds).values()
        pixels = np.ascontiguousarray(found, "<u4").view(np.uint8).reshape(5, 7, 4)
        assert np.abs(pixels.astype(int) - wanted[job.name]).max() <= 1, job.name
    assert run_jobs(jobs) == {}


def test_open_sizes() -> None:
    read = webdnn.imported(model([1, 3, "h", "w"]), outputs="rgb", dims={"h": (2, 9), "w": (2, 9)})
    assert [str(d) for d in read.imported.graph.outputs["y"].shape] == ["h", "w"]


@pytest.mark.parametrize(
    ("spec", "shape", "dtype", "message"),
    [
        ("yuv", [1, 3, 5, 7], FLOAT, "expected rgb, bgr, gray, rgba, mask first, found 'yuv'"),
        ("rgb,resize=4", [1, 3, 5, 7], FLOAT, "unknown option 'resize'; the options are scale"),
        ("rgb", [2, 3, 5, 7], FLOAT, "expected a batch of 1, found 2"),
        ("rgb", [1, 4, 5, 7], FLOAT, "expected 3 channels (rgb) on axis 1 (nchw) or 3 (nhwc)"),
        ("rgb", [3], FLOAT, "expected the shape of a picture"),
        ("rgb", [1, 3, 5, 3], FLOAT, "could be nchw or nhwc; add layout=nchw"),
        ("rgb,scale=2", [1, 3, 5, 7], UINT8, "integers are pixels as they are"),
        ("rgb,colors=#000", [1, 3, 5, 7], FLOAT, "colors: is for mask, found rgb"),
        ("rgb,mean=1,2", [1, 3, 5, 7], FLOAT, "mean: expected 1 or 3 numbers (rgb), found 2"),
        ("rgb,scale=0", [1, 3, 5, 7], FLOAT, "scale: expected a number other than 0"),
        ("mask", [1, 6, 5, 7], FLOAT, "could be nchw or nhwc; add layout=nchw"),
        ("mask,layout=nchw,colors=#000,#f80", [1, 6, 5, 7], FLOAT, "expected 6 colors, found 2"),
        ("mask,layout=nchw,scale=1", [1, 6, 5, 7], FLOAT, "classes have colours as they are"),
        ("mask,layout=nchw,threshold=0", [1, 6, 5, 7], FLOAT, "found 6 classes"),
        ("mask,colors=nowhere.txt", [1, 1, 5, 7], FLOAT, "'nowhere.txt' is neither"),
        ("mask,colors=#0000,#f80", [1, 1, 5, 7], FLOAT, "expected a colour as #ff8800"),
    ],
)
def test_what_cannot_be_drawn(spec: str, shape: list[int], dtype: int, message: str) -> None:
    with pytest.raises(WebDNNError) as caught:
        webdnn.imported(model(shape, dtype), outputs={"y": spec})
    assert message in str(caught.value), caught.value


def test_names() -> None:
    assert named("out:0:mask,colors=#000") == ("out:0", "mask,colors=#000")
    assert named("rgb") == (None, "rgb") and named("public/model") is None
    assert parse("bgr,scale=1,mean=1,2,3") == ImageOutput("bgr", scale=1, mean=(1, 2, 3))
    with pytest.raises(WebDNNError, match="output 'z': the model's outputs are y"):
        webdnn.imported(model([1, 3, 5, 7]), outputs={"z": "rgb"})


def test_colors(tmp_path: Path) -> None:
    assert palette(22)[:3] + palette(22)[20:] == (
        "#00000000", "#800000ff", "#008000ff", "#004080ff", "#804080ff",
    )  # fmt: skip
    file = tmp_path / "colors"
    for text in ("f80\n#0000ff80\n", '["#f80", [0, 0, 255, 128]]'):
        file.write_text(text)
        assert read_colors(file) == ("#ff8800ff", "#0000ff80")
    file.write_text("#f80\nred\n")
    with pytest.raises(WebDNNError, match="line 2: expected a colour as #ff8800, found 'red'"):
        read_colors(file)
