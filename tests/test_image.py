"""Pictures as inputs: the grammar, the graph, resampling; the runner against numpy and Pillow."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.jobs import Job, interpreted, run_jobs
from webdnn import ops, passes
from webdnn.codegen import TARGETS
from webdnn.errors import WebDNNError
from webdnn.expr import dim
from webdnn.graph import Graph, constant, placeholder
from webdnn.picture.image import (
    ImageInput,
    Pixels,
    compile_images,
    named,
    parse,
    read_specs,
)
from webdnn.picture.resample import fitted, on_white, resized
from webdnn.schedule.lower import lower

ROOT = Path(__file__).resolve().parents[1]


def picture(width: int, height: int, seed: int = 0, opaque: bool = True) -> Pixels:
    """Noise on a slope: every resampling error shows."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 200, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None]
    out = np.clip(slope + rng.integers(0, 120, (height, width, 4)), 0, 255).astype(np.uint8)
    if opaque:
        out[..., 3] = 255
    return out


# ---- the grammar ---------------------------------------------------------------------------------


def test_a_specification_is_what_it_says() -> None:
    spec = parse("bgr, resize=320x240,fit=contain,pad=114,scale=2/255,mean=1,1.5,2,layout=nhwc")
    assert spec == ImageInput(
        "bgr",
        resize=(320, 240),
        fit="contain",
        pad=(114, 114, 114),
        scale=2 / 255,
        mean=(1.0, 1.5, 2.0),
        layout="nhwc",
    )
    assert parse("gray") == ImageInput("gray")
    assert parse("rgb,resize=256,crop=224").shorter == 256
    assert parse("rgb,resample=fast") == ImageInput("rgb", resample="fast")
    assert parse("rgb,resize=224").size == (224, 224)
    assert parse("rgb,mean=.5,std=1e-1").std == (0.1,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image:rgb", ("image", "rgb")),
        ("input:0:bgr,scale=1", ("input:0", "bgr,scale=1")),
        ("rgb,resize=224", (None, "rgb,resize=224")),
        ("a=b:gray", ("a=b", "gray")),
        ("image=photo.npy", None),
        ("image=rgb.npy", None),
        ("image:yuv", None),
    ],
)
def test_names_and_files_are_told_apart(text: str, expected: Any) -> None:
    assert named(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yuv", "expected rgb, bgr, gray, rgba first, found 'yuv'"),
        ("rgb,224", "expected OPTION=VALUE, found '224'"),
        ("rgb,resize=224,224", "expected OPTION=VALUE, found '224'"),
        ("rgb,size=224", "unknown option 'size'; the options are resize, longest"),
        ("rgb,mean=1,2", "mean: expected 1 or 3 numbers (rgb), found 2"),
        ("gray,std=1,2", "std: expected 1 number (gray), found 2"),
        ("rgb,std=0", "std: expected numbers other than 0"),
        ("rgb,scale=1/0", "divides by zero"),
        ("rgb,scale=nan", "expected a number as 0.5 or 1/255, found 'nan'"),
        ("rgb,scale=1,scale=2", "scale is given twice"),
        ("rgb,resize=0", "resize: expected sides of 1..16384 pixels, found 0×0"),
        ("rgb,resize=a", "expected a size as 224 or 320x240 (width first), found 'a'"),
        ("rgb,resize=200,crop=224", "crop=224×224: expected at most resize=200×200"),
        ("rgb,resize=256,crop=224,fit=cover", "leave out crop or fit"),
        ("rgb,fit=fill", "fit: expected stretch, contain or cover, found fill"),
        ("rgb,resample=nearest", "resample: expected exact or fast, found nearest"),
        ("rgb,layout=hwc", "layout: expected nhwc or nchw, found hwc"),
        ("rgb,pad=300", "pad: expected 1 or 3 numbers in 0..255, found 300"),
        ("rgb,resize=64,longest=64", "longest: leaves the size open"),
        ("rgb,resize=64,multiple=32", "multiple: is for sizes that stay open"),
    ],
)
def test_what_is_no_specification_is_said(text: str, message: str) -> None:
    with pytest.raises(WebDNNError) as error:
        read_specs({"image": text})
    assert str(error.value).startswith("input 'image': ")
    assert message in str(error.value)


def test_what_are_no_specifications_is_said() -> None:
    with pytest.raises(WebDNNError, match=r"inputs: expected a text .* found list"):
        read_specs(["image:rgb"])  # type: ignore[arg-type]


# ---- resampling, against Pillow ------------------------------------------------------------------


def test_resizing_is_pillow_s_within_one_level() -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for seed in range(60):
        (w, h), (to_w, to_h) = rng.integers(1, 90, (2, 2)).tolist()
        source = picture(w, h, seed)
        ours = resized(source, (to_w, to_h))
        rgb = Image.fromarray(source[..., :3])
        theirs = np.asarray(rgb.resize((to_w, to_h), Image.Resampling.BILINEAR))
        assert np.abs(np.int32(ours[..., :3]) - theirs).max() <= 1, (w, h, to_w, to_h)
        box = (w * 0.1, h * 0.2, w * 0.85, h * 0.9)
        theirs = np.asarray(rgb.resize((to_w, to_h), Image.Resampling.BILINEAR, box=box))
        ours = resized(source, (to_w, to_h), box)
        assert np.abs(np.int32(ours[..., :3]) - theirs).max() <= 1, (w, h, to_w, to_h)


def test_transparent_colours_do_not_bleed() -> None:
    from PIL import Image

    source = picture(40, 30, opaque=False)
    theirs = np.int32(Image.fromarray(source).resize((17, 19), Image.Resampling.BILINEAR))
    ours = np.int32(resized(source, (17, 19), alpha=True))
    # A level of premultiplied colour is 255 / alpha levels of the colour itself.
    assert (np.abs(ours - theirs) <= np.ceil(255 / np.maximum(theirs[..., 3:], 1)) + 1).all()


def test_fits_are_pillow_s() -> None:
    from PIL import Image, ImageOps

    for seed, (w, h, to) in enumerate([(64, 48, (32, 32)), (30, 70, (50, 20)), (33, 33, (20, 31))]):
        source = picture(w, h, seed)
        rgb = Image.fromarray(source[..., :3])
        cover = np.int32(ImageOps.fit(rgb, to, Image.Resampling.BILINEAR))
        assert np.abs(fitted(source, to, "cover", (0, 0, 0))[..., :3] - cover).max() <= 1
        contain = np.int32(ImageOps.pad(rgb, to, Image.Resampling.BILINEAR, color=(9, 8, 7)))
        ours = np.int32(fitted(source, to, "contain", (9, 8, 7))[..., :3])
        # Where the margin is odd, Pillow may put its larger half first.
        rolled = [np.roll(ours, (y, x), (0, 1)) for y in (0, 1) for x in (0, 1)]
        assert min(np.abs(one - contain).max() for one in rolled) <= 1


def test_transparency_is_laid_on_white() -> None:
    source = np.uint8([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 128]]])
    assert on_white(source).tolist() == [
        [[10, 20, 30, 255], [255, 255, 255, 255], [127, 177, 255, 255]]
    ]


# ---- in the graph --------------------------------------------------------------------------------

LAYOUTS = {"nchw": (1, 3, 5, 7), "nhwc": (1, 5, 7, 3)}


def graph_of(shape: tuple[Any, ...], dtype: str = "f32") -> Graph:
    x = placeholder("image", shape, dtype)
    dims = tuple(d for d in shape if not isinstance(d, int))
    return Graph((x,), {"out": ops.mul(x, x)}, {"image": x}, dims)


def test_the_descriptor_says_fast_alone() -> None:
    for text, wanted in (
        ("rgb", None),
        ("rgb,resample=exact", None),
        ("rgb,resample=fast", "fast"),
    ):
        _, pictures = compile_images(graph_of((1, 3, 8, 8)), read_specs(text))
        assert pictures["image"].signature().get("resample") == wanted


def words(pixels: Pixels) -> np.ndarray:
    return np.ascontiguousarray(pixels).view("<u4")[..., 0]


def test_pixels_become_what_the_model_was_trained_on() -> None:
    """Against torchvision's and Caffe's formulas, spelled out; all dtypes, layouts and orders."""
    from PIL import Image

    source = picture(7, 5, 3)
    rgb = source[..., :3].astype(np.float64)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    gray = np.asarray(Image.fromarray(source[..., :3]).convert("L"), np.float64)
    alpha = picture(7, 5, 4, opaque=False)
    torch = ((rgb / 255 - mean) / std).transpose(2, 0, 1)[None]
    caffe = (rgb[..., ::-1] - [104, 117, 123]).transpose(2, 0, 1)[None]
    table: list[tuple[str, str, tuple[Any, ...], str, Pixels, np.ndarray]] = [
        ("torch", f"rgb,mean={str(mean)[1:-1]},std={str(std)[1:-1]}", LAYOUTS["nchw"], "f32",
         source, torch),
        ("caffe", "bgr,scale=1,mean=104,117,123", LAYOUTS["nchw"], "f32", source, caffe),
        ("chw", "rgb", (3, 5, 7), "f32", source, (rgb / 255).transpose(2, 0, 1)),
        ("keras", "rgb,scale=2/255,mean=1", LAYOUTS["nhwc"], "f32", source, rgb[None] / 127.5 - 1),
        ("half", "rgb", LAYOUTS["nhwc"], "f16", source, rgb[None] / 255),
        ("bytes", "rgb", LAYOUTS["nhwc"], "u8", source, rgb[None]),
        ("ints", "bgr,layout=nchw", LAYOUTS["nchw"], "i32", source,
         rgb[..., ::-1].transpose(2, 0, 1)),
        ("gray", "gray,layout=nchw", (1, 1, 5, 7), "f32", source, gray[None, None] / 255),
        ("plane", "gray,scale=1", (5, 7), "f32", source, gray),
        ("rgba", "rgba,mean=.5", (1, 5, 7, 4), "f32", alpha, alpha[None] / 255 - 0.5),
        ("open", "rgb", (1, 3, dim("h", 2, 9), dim("w", 2, 9)), "f32", source,
         (rgb / 255).transpose(2, 0, 1)[None]),
    ]  # fmt: skip
    jobs = []
    for name, text, shape, dtype, pixels, expected in table:
        graph, pictures = compile_images(graph_of(shape, dtype), read_specs(text))
        read = pictures["image"].values(pixels)
        expected = expected.reshape(read.shape)
        assert np.abs(read - expected).max() <= 1e-3 * np.abs(expected).max(), name
        if dtype in ("u8", "i32"):
            wanted = (expected.astype(read.dtype) * expected.astype(read.dtype)).astype(read.dtype)
            jobs.append(Job(name, graph, {"image": words(pixels)}, {"out": wanted}, 0))
        else:
            tol = 2e-3 if dtype == "f16" else 1e-5
            sizes = {"h": 5, "w": 7} if graph.dims else {}
            jobs.append(
                Job(name, graph, {"image": words(pixels)}, {"out": expected**2}, tol, sizes)
            )
    assert interpreted(jobs) == {}
    assert run_jobs(jobs) == {}


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("rgb", (1, 4, 8, 8),
         "expected 3 channels (rgb) on axis 1 (nchw) or 3 (nhwc), found 4 and 8"),
        ("rgb,layout=nhwc", (1, 3, 8, 8),
         "expected 3 channels (rgb) on axis 3 (layout=nhwc), found 8; it fits layout=nchw"),
        ("rgb", (1, 3, 8, 3), "could be nchw or nhwc; add layout=nchw"),
        ("rgb,resize=9", (1, 3, 8, 8), "expected 8×8 pixels (width × height), found 9×9 (resize)"),
        ("rgb,resize=12,crop=9x8", (1, 3, 9, 8), "expected 8×9 pixels (width × height), found 9×8"),
        ("rgb", (2, 3, 8, 8), "expected a batch of 1, found 2"),
        ("rgb", (8, 8), "expected the shape of a picture"),
        ("rgb", (1, 3, 8, 8, 8), "expected the shape of a picture, [1, 3, h, w] or [1, h, w, 3]"),
        ("rgb,resize=9", (1, 3, dim("h", 2, 9), dim("w", 2, 9)),
         "found 9×9 (resize) for sides that are open; fix them: --dim h=9 w=9"),
        ("rgb,longest=9", (1, 3, 8, 8), "longest is for sides that are open; these are fixed"),
        ("rgb,multiple=32", (1, 3, dim("h", 40, 60), dim("w", 1, 64)),
         "no multiple of 32 lies in 40..60"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_said(text: str, shape: Any, message: str) -> None:
    with pytest.raises(WebDNNError) as error:
        compile_images(graph_of(shape), read_specs({"image": text}))
    assert message in str(error.value)
    assert "input 'image' is f32[" in str(error.value)


def test_names_that_the_model_lacks() -> None:
    with pytest.raises(WebDNNError, match="input 'photo': the model's inputs are image"):
        compile_images(graph_of((1, 3, 8, 8)), read_specs({"photo": "rgb"}))
    x, y = placeholder("x", (1, 3, 8, 8), "f32"), placeholder("y", (1, 3, 8, 8), "f32")
    two = Graph((x, y), {"out": ops.add(x, y)})
    with pytest.raises(WebDNNError, match=r"several inputs \(x, y\); say which: --input NAME:rgb"):
        compile_images(two, read_specs("rgb"))
    graph, pictures = compile_images(two, read_specs({"y": "bgr"}))
    assert [v.shape for v in graph.inputs] == [(1, 3, 8, 8), (8, 8)] and list(pictures) == ["y"]


def test_integers_take_pixels_as_they_are() -> None:
    with pytest.raises(WebDNNError, match="integers take pixels as they are"):
        compile_images(graph_of((1, 3, 8, 8), "u8"), read_specs("rgb,mean=.5"))


@pytest.mark.parametrize("target", ["wasm", "webgpu"])
def test_preprocessing_costs_no_launch(target: str) -> None:
    """Where the net's planes were turned into pixels before, the words are unpacked instead; a net
    of pixels has one kernel more."""

    def launches(layout: str, text: str | None) -> list[str]:
        shape = {"nchw": (1, 3, 32, 48), "nhwc": (1, 32, 48, 3)}[layout]
        x = placeholder("image", shape, "f32")
        y = ops.transpose(x, (0, 2, 3, 1)) if layout == "nchw" else x
        w = constant(np.random.default_rng(0).standard_normal((3, 3, 3, 8)).astype("f"))
        y = ops.relu(ops.conv(y, w, stride=(2, 2), pads=(1, 1, 1, 1)))
        graph = Graph((x,), {"y": ops.reduce_sum(y, (1, 2))})
        if text:
            graph, _ = compile_images(graph, read_specs(text))
        return [step.kernel.name for step in lower(passes.run(graph), TARGETS[target]).steps]

    spec = "bgr,mean=.5,.4,.3,std=.2"
    assert len(launches("nchw", spec)) == len(launches("nchw", None))
    assert len(launches("nhwc", spec)) == len(launches("nhwc", None)) + 1


# ---- the runner's half, bit for bit --------------------------------------------------------------

SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import { Pictures } from '%s';
const [input, output] = process.argv.slice(1);
const cases = JSON.parse(readFileSync(input, 'utf8'));
const pictures = new Pictures();
const results = cases.map(({ image, shape, dims, width, height, bytes }) => {
  const data = new Uint8ClampedArray(Buffer.from(bytes, 'base64'));
  try {
    const signature = { name: 'x', dtype: 'uint32', shape, image };
    const made = pictures.read(signature, { data, width, height }, dims);
    const pixels = Buffer.from(made.data.buffer, made.data.byteOffset, made.data.byteLength);
    return { shape: made.shape, bytes: pixels.toString('base64') };
  } catch (error) {
    return { error: `${error.code}: ${error.message}` };
  }
});
writeFileSync(output, JSON.stringify(results));
"""


def fits() -> Iterator[tuple[str, dict[str, Any], Pixels, Pixels | None]]:
    """Every way of resizing, many sizes, opaque and not: a label, the runner's arguments, the
    picture, and the pixels that it becomes; None where it is refused."""
    h, w = dim("h", 16, 40), dim("w", 16, 40)
    both: tuple[Any, ...] = (1, 3, h, w)
    table: list[tuple[str, tuple[Any, ...]]] = [
        ("rgb", (1, 3, 24, 32)),
        ("rgb,fit=cover", (1, 3, 24, 32)),
        ("rgb,fit=contain,pad=9,8,7", (1, 3, 24, 31)),
        ("rgb,resize=30,crop=24", (1, 3, 24, 24)),
        ("rgb,resize=40x30,crop=33x20", (1, 3, 20, 33)),
        ("rgba,fit=cover", (1, 24, 32, 4)),
        ("gray,layout=nchw", (1, 1, 28, 28)),
        ("rgb", both),
        ("rgb,multiple=8", both),
        ("rgb,longest=30", both),
        ("rgb", (1, 3, 24, w)),
        ("rgb,fit=contain", (1, 3, h, h)),
        ("rgb,crop=20", (1, 3, 20, 20)),
    ]
    for k, (text, shape) in enumerate(table):
        graph, pictures = compile_images(graph_of(shape), read_specs(text))
        ours = pictures["image"]
        sides = [d if isinstance(d, int) else d.args[0] for d in (ours.height, ours.width)]
        dims = [{"name": d.args[0], "min": d.args[1], "max": d.args[2]} for d in graph.dims]
        for turn, (width, height) in enumerate([(64, 48), (33, 57), (20, 20), (25, 301), (7, 5)]):
            source = picture(width, height, 10 * k + turn, opaque=turn % 2 == 0)
            try:
                wanted = ours.pixels(source)
            except WebDNNError:
                wanted = None
            case = {"image": ours.signature(), "shape": sides, "dims": dims}
            yield f"{text} {width}x{height}", case, source, wanted


def test_the_runner_makes_the_same_pixels(tmp_path: Path) -> None:
    """JavaScript and numpy agree exactly."""
    from base64 import b64decode, b64encode

    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    cases, expected = [], []
    for label, case, source, wanted in fits():
        height, width = source.shape[:2]
        text = b64encode(source.tobytes()).decode()
        cases.append({**case, "width": width, "height": height, "bytes": text})
        expected.append((label, wanted))
    (tmp_path / "in.json").write_text(json.dumps(cases))
    script = SCRIPT % (ROOT / "runner" / "src" / "picture" / "image.js").as_uri()
    subprocess.run(
        [node, "--input-type=module", "-e", script, tmp_path / "in.json", tmp_path / "out.json"],
        check=True,
    )
    found = json.loads((tmp_path / "out.json").read_text())
    refused = 0
    for (label, wanted), got in zip(expected, found, strict=True):
        if wanted is None:
            refused += 1
            assert "error" in got and "expected a picture" in got["error"], label
            continue
        assert "error" not in got, (label, got)
        assert got["shape"] == list(wanted.shape[:2]), label
        pixels = np.frombuffer(b64decode(got["bytes"]), np.uint8).reshape(wanted.shape)
        assert np.array_equal(pixels, wanted), (label, np.abs(np.int32(pixels) - wanted).max())
    assert 0 < refused < 10
