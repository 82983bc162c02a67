"""Outputs that are pictures: `--output`, and `model.draw` on canvases of a real browser.

The references are onnxruntime's numbers, made into pixels by lines of this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import webdnn
from tests.test_browser import need
from webdnn.browser.check import check
from webdnn.browser.engine import SOFTWARE_PAINTING, Engine, open_page
from webdnn.errors import WebDNNError

HERE = Path(__file__).parent
SIZES = [[5, 7], [9, 64], [33, 130], [16, 128]]
COLORS = np.array([[0, 0, 0, 0], [255, 136, 0, 255], [0, 0, 255, 128]])
SPECS = {
    "rgb": "rgb",
    "centred": "bgr,mean=0.5,std=0.5",
    "alpha": "rgba",
    "grey": "gray,scale=1",
    "scores": "mask,colors=#00000000,#ff8800,#0000ff80",
    "classes": "mask,colors=#00000000,#ff8800,#0000ff80",
    "opacity": "mask,colors=#ff8800",
    "cut": "mask,colors=#ff8800,threshold=0.5",
}


def network() -> onnx.ModelProto:
    """Numbers of all the kinds that become pixels, from x."""
    graph = onnx.parser.parse_graph(
        """g (float[1, 3, h, w] x) => (float[1, 3, h, w] rgb, float[1, h, w, 3] centred,
          float[1, 4, h, w] alpha, float[h, w] grey, float[1, 3, h, w] scores,
          int64[1, h, w] classes, float[1, 1, h, w] opacity, float[1, 1, h, w] cut,
          float[1, 3, h, w] plain) {
          rgb = Relu(x)
          twice = Add(x, x)
          one = Constant<value_float=1.0>()
          shifted = Sub(twice, one)
          centred = Transpose<perm=[0, 2, 3, 1]>(shifted)
          zero = Constant<value_ints=[0]>()
          first = Constant<value_ints=[1]>()
          red = Slice(x, zero, first, first)
          alpha = Concat<axis=1>(x, red)
          many = Constant<value_float=300.0>()
          scaled = Mul(red, many)
          axes = Constant<value_ints=[0, 1]>()
          grey = Squeeze(scaled, axes)
          scores = Neg(x)
          classes = ArgMax<axis=1, keepdims=0>(x)
          opacity = Identity(red)
          cut = Identity(red)
          plain = Identity(x) }"""
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def level(values: Any) -> Any:
    return np.rint(np.clip(values, 0, 255))


def expected(found: dict[str, Any]) -> dict[str, Any]:
    """RGBA pixels of onnxruntime's outputs."""
    opaque = np.full((*found["grey"].shape, 1), 255.0)
    rgb = level(found["rgb"][0].transpose(1, 2, 0) * 255)
    centred = level((found["centred"][0] * 0.5 + 0.5) * 255)[..., ::-1]
    grey = level(found["grey"])[..., None].repeat(3, -1)
    red = found["opacity"][0, 0][..., None]
    orange = np.full((*red.shape[:2], 3), [255.0, 136, 0])
    return {
        "rgb": np.concatenate([rgb, opaque], -1),
        "centred": np.concatenate([centred, opaque], -1),
        "alpha": level(found["alpha"][0].transpose(1, 2, 0) * 255),
        "grey": np.concatenate([grey, opaque], -1),
        "scores": COLORS[found["scores"][0].argmax(0)],
        "classes": COLORS[found["classes"][0]],
        "opacity": np.concatenate([orange, level(red * 255)], -1),
        "cut": np.where(red >= 0.5, np.concatenate([orange, opaque], -1), 0),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("draw")
    report = webdnn.transpile(network(), path, dims={"h": (1, 64), "w": (1, 256)}, outputs=SPECS)
    assert "output rgb: rgb picture [h, w]" in repr(report)
    return path


@pytest.mark.parametrize(
    ("engine", "backend"), [("chromium", "wasm"), ("chromium", "webgpu"), ("firefox", "wasm")]
)
def test_draw(engine: Engine, backend: str, folder: Path) -> None:
    """Canvases hold what onnxruntime's numbers make, within a level of rounding."""
    need(engine)
    session = onnxruntime.InferenceSession(network().SerializeToString())
    names = [output.name for output in session.get_outputs()]
    random = np.random.default_rng(0)
    feeds = [random.uniform(-0.2, 1.2, (1, 3, *size)).astype(np.float32) for size in SIZES]
    mounts = {"/model/": folder, "/t/": HERE}
    webgpu = backend == "webgpu"
    flags = SOFTWARE_PAINTING if webgpu else ()  # without, Chromium brings no texture to a canvas
    with open_page(engine, mounts=mounts, webgpu=webgpu, flags=flags) as page:
        arrays = {f"x{k}": x.tobytes() for k, x in enumerate(feeds)}
        argument = {"backend": backend, "sizes": SIZES}
        reply = page.call("/t/draw_page.js", argument, arrays, timeout=120)
    for k, x in enumerate(feeds):
        wanted = expected(dict(zip(names, session.run(None, {"x": x}), strict=True)))
        for way in ("cpu", "gpu") if webgpu else ("cpu",):
            for name, pixels in wanted.items():
                raw = np.frombuffer(reply.arrays[f"{way}.{name}.{k}"], np.uint8)
                found = raw.reshape(pixels.shape).astype(int)
                # A canvas keeps colours times alpha: they are compared so.
                alpha = pixels[..., 3:], found[..., 3:]
                assert np.abs(alpha[0] - alpha[1]).max() <= 1, (way, name, k)
                kept = found[..., :3] * (1 if way == "gpu" else alpha[1] / 255)
                most = 1.01 if name in ("rgb", "centred", "grey", "cut") else 2.01
                off = np.abs(pixels[..., :3] * alpha[0] / 255 - kept)
                assert off.max() <= most, (way, name, k)
    wrong, info = reply.value["wrong"], reply.value["info"]
    assert info["rgb"] == {"drawn": {"channels": "rgb"}, "dtype": "uint32"}
    assert info["scores"]["drawn"]["colors"] == ["#00000000", "#ff8800ff", "#0000ff80"]
    assert info["plain"] == {"dtype": "float32"}
    for name, parts in {
        "several": ('several outputs are pictures ("rgb", ', "third argument"),
        "none": ('not "plain"',),
        "canvas": ("expected an HTMLCanvasElement or OffscreenCanvas, found an HTMLBodyElement",),
        "outputs": ('expected what run() returned, with "rgb" in it',),
        "taken": ("context of another kind",),
        "odd": (),
        "transferred": ("no context (", "draw on that"),
    }.items():
        assert wrong[name].startswith("option: draw: "), wrong[name]
        assert all(part in wrong[name] for part in parts), wrong[name]
    assert wrong["fine"] == "drawn"
    if webgpu:
        assert wrong["gone"].startswith("option: draw: the GPU refused: "), wrong
        assert "before they are destroyed" in wrong["gone"]
        assert "with the model that made them" in wrong["elsewhere"], wrong
        assert wrong["foreign"].startswith("option: draw: the GPU refused: "), wrong
        assert "by the model that made them or one on the same device" in wrong["foreign"], wrong
        assert wrong["again"] == "drawn", wrong
        assert wrong["ended"].startswith("disposed: "), wrong
    assert wrong["disposed"].startswith("disposed: ")


def test_check_compares_pixels(tmp_path: Path) -> None:
    """`webdnn check --output` holds pixels against those that the framework's numbers make."""
    onnx.save(network(), tmp_path / "m.onnx")
    report = check(
        tmp_path / "m.onnx",
        outputs=SPECS,
        dims={"h": (1, 8), "w": (1, 70)},
        sizes=[{"h": 8, "w": 70}],
        variants=["relaxed"],
    )
    assert report.right, report
    for run in report.runs:
        drawn = [output for output in run.outputs if output.why == "compared as pixels"]
        assert {output.name for output in drawn} == set(SPECS)


@pytest.mark.parametrize(
    ("outputs", "parts"),
    [
        ({"rgb": "gray"}, ["output 'rgb' is", "expected 1 channels (gray)"]),
        ({"rgb": "rgb,size=3"}, ["unknown option 'size'", "colors, threshold, layout"]),
        ({"rgb": "rgb,colors=#fff"}, ["colors: is for mask, found rgb"]),
        ({"scores": "mask,colors=#fff,#000"}, ["2"]),
        ({"scores": "mask,colors=red,#000,#fff"}, ["#ff8800"]),
        ({"classes": "mask,threshold=1"}, ["threshold is for one number a pixel, found class"]),
        ({"nothing": "rgb"}, ["output 'nothing'", "the model's outputs are rgb, centred"]),
        ("rgb", ["--output: the model has several outputs", "say which"]),
        (3, ["outputs: expected a text", "found int"]),
    ],
)
def test_what_does_not_fit(outputs: Any, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(WebDNNError) as caught:
        webdnn.transpile(network(), tmp_path / "out", dims={"h": 8, "w": 8}, outputs=outputs)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path: Path) -> None:
    """-o is the folder; --output NAME:… a picture."""
    from click.testing import CliRunner

    from webdnn.cli import cli

    onnx.save(network(), tmp_path / "m.onnx")
    words = ["transpile", str(tmp_path / "m.onnx"), "--dim", "h=8", "w=8", "--target", "webgpu"]
    runner = CliRunner()
    done = runner.invoke(cli, [*words, "-o", str(tmp_path / "out"), "--output", "rgb:rgb"])
    assert done.exit_code == 0, done.output
    assert "rgb picture" in done.output
    model = str(tmp_path / "m.onnx")
    words_of = ["inspect", model, "--dim", "h=8", "w=8", "--target", "webgpu"]
    for drawn in ([], ["--output", "rgb:rgb", "--output", "scores:mask,layout=nchw"]):
        done = runner.invoke(cli, [*words_of, *drawn])
        assert done.exit_code == 0, done.output
        shown = ("rgb picture" in done.output, "mask picture" in done.output)
        assert shown == (bool(drawn), bool(drawn)), done.output
    done = runner.invoke(cli, [*words_of, "--output", str(tmp_path / "out")])
    assert done.exit_code != 0 and not isinstance(done.exception, TypeError)
    for arguments in (["--output", "rgb:rgb"], ["-o", "a", "-o", "b"]):
        done = runner.invoke(cli, [*words, *arguments])
        assert done.exit_code != 0
