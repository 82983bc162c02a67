"""Every kind of picture that a page may hold, in real browsers, on both targets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps

import webdnn
from tests.test_browser import need
from tests.test_image import picture
from webdnn import cli
from webdnn.browser.engine import SOFTWARE_PAINTING, Engine, open_page
from webdnn.browser.server import running
from webdnn.picture.image import load_raster

HERE = Path(__file__).parent
EXACT = [
    "image", "blob image", "canvas", "offscreen canvas", "bitmap", "image data", "blob", "file",
    "raster",
]  # fmt: skip
ERRORS = {
    "unloaded image": ("image", "wait for its decode(), or its load event"),
    "broken image": ("image", "one that could not be loaded"),
    "unloaded video": ("image", "wait for its loadeddata event"),
    "closed frame": ("image", "a VideoFrame of 0 × 0; it was closed"),
    "closed bitmap": ("image", "an ImageBitmap of 0 × 0; it was closed"),
    "empty canvas": ("image", "an OffscreenCanvas of 0 × 5; give it a width"),
    "text blob": ("image", "expected a file with a picture that this browser can read"),
    "element": ("dtype", "expected an image, canvas, video, ImageBitmap"),
    "text": ("dtype", 'found the text "photo.png"'),
    "nothing": ("dtype", "found null"),
    "object": ("dtype", "found an object with src"),
    "short raster": ("image", "found Uint8ClampedArray of length 60 for 4 × 5 pixels"),
    "wide colours": ("image", "colour space srgb, found display-p3"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, which gives back its pixels and a score for each of three labels; the files."""
    place = tmp_path_factory.mktemp("pictures")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["photo", "levels"], ["pixels"]),
            helper.make_node("GlobalAveragePool", ["photo"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["scores"]),
        ],
        "echo",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, 24, 32])],
        [
            helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 24, 32]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3]),
        ],
        [numpy_helper.from_array(np.float32(255), "levels")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, place / "echo.onnx")
    webdnn.transpile(
        place / "echo.onnx",
        place / "model",
        inputs="rgb,fit=cover",
        labels={"scores": ["red", "green", "blue"]},
    )
    webdnn.transpile(place / "echo.onnx", place / "fast", inputs="rgb,fit=cover,resample=fast")
    files = place / "files"
    files.mkdir()
    Image.fromarray(photograph(1000, 777)).save(files / "large.png")
    source = picture(53, 41, 1)
    source[..., 0] = np.maximum(source[..., 0], 130)  # redder than blue, which is least
    source[..., 2] //= 2
    Image.fromarray(source).save(files / "photo.png")
    clear = picture(40, 44, 2)
    clear[:20, :, 3] = 0
    Image.fromarray(clear).save(files / "transparent.png")
    corners = np.zeros((48, 64, 3), np.uint8)
    corners[:24, :32, 0] = corners[24:, :32, 1] = corners[24:, 32:, 2] = 200
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(corners).save(files / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(corners).save(files / "smooth.png")
    (files / "half.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">'
        '<rect width="64" height="24" fill="#0a141e"/></svg>'
    )
    (files / "text.png").write_text("no picture")
    return place


def photograph(width: int, height: int) -> np.ndarray:
    """Structure of every size, as much of each: [h, w, 3]."""
    rng, out = np.random.default_rng(0), np.zeros((height, width, 3))
    for n in (4, 16, 64, 256):
        cells = Image.fromarray(rng.integers(0, 256, (n * height // width + 1, n, 3), np.uint8))
        out += np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC), np.float64) / 4
    return np.clip((out - 128) * 1.6 + 128, 0, 255).astype(np.uint8)


def values(folder: Path, file: str) -> np.ndarray:
    """The levels that the model should see, [3, 24, 32]."""
    read = webdnn.imported(folder / "echo.onnx", inputs="rgb,fit=cover")
    return np.rint(read.pictures["photo"].read(load_raster(folder / "files" / file))[0] * 255)


def played(
    folder: Path,
    engine: Engine,
    options: Any,
    sources: list[str],
    flags: Sequence[str] = (),
    model: str = "model",
    photo: str = "photo.png",
) -> tuple[Any, Any]:
    need(engine)
    mounts = {"/model/": folder / model, "/files/": folder / "files", "/t/": HERE}
    names = {
        "png": photo, "turned": "turned.jpg", "transparent": "transparent.png",
        "svg": "half.svg", "text": "text.png", "smooth": "smooth.png",
    }  # fmt: skip
    files = {name: f"/files/{file}" for name, file in names.items()}
    gpu = options["backend"] == "webgpu"
    with open_page(engine, mounts=mounts, webgpu=gpu, flags=flags) as page:
        argument = {"options": options, "files": files, "sources": sources}
        reply = page.call("/t/pictures_page.js", argument, timeout=120)
    found = {
        name: np.frombuffer(raw, np.float32).reshape(3, 24, 32)
        for name, raw in reply.arrays.items()
    }
    return reply.value, found


@pytest.mark.parametrize(
    ("engine", "backend", "flags"),
    [
        ("chromium", "wasm", ()),
        ("chromium", "webgpu", ()),  # where no video can be brought to the GPU
        ("chromium", "webgpu", SOFTWARE_PAINTING),
        ("firefox", "wasm", ()),
        ("firefox", "webgpu", ()),
        ("webkit", "wasm", ()),
    ],
)
def test_every_source_gives_the_same_pixels(
    folder: Path, engine: Engine, backend: str, flags: Sequence[str]
) -> None:
    further = ["transparent image", "turned image", "turned blob", "svg", "pixels", *ERRORS]
    if engine != "chromium":
        further.remove("wide colours")
    else:
        further += ["video frame", "video", "webgl canvas"]
    reply, found = played(folder, engine, {"backend": backend}, EXACT + further, flags)
    results = reply["results"]
    wanted = values(folder, "photo.png")
    assert np.ptp(wanted) > 200
    for name in EXACT:
        assert results[name]["shape"] == [1, 3, 24, 32], (name, results[name])
        # Not by the page's own thread; workers of WebKitGTK cannot draw.
        assert results[name]["reads"] == 0 or engine == "webkit", name
        assert np.array_equal(np.rint(found[name]), wanted), name
    assert np.array_equal(np.rint(found["transparent image"]), values(folder, "transparent.png"))
    assert (found["transparent image"][:, 0] == 255).all()
    turned = values(folder, "turned.jpg")
    with Image.open(folder / "files" / "turned.jpg") as image:
        assert ImageOps.exif_transpose(image).size == (48, 64)
    for name in ("turned image", "turned blob"):
        assert np.abs(found[name] - turned).max() <= 6, name  # decoders of JPEG differ a little
    half = np.rint(found["svg"])
    assert half[:, 2, 5].tolist() == [10, 20, 30] and (half[:, -2] == 255).all()
    assert np.rint(found["pixels"])[:, 0, 0].tolist() == [1, 2, 3]
    if engine == "chromium":
        assert np.abs(found["video frame"] - wanted).max() <= 2
        imported = int(bool(flags))
        assert [results[name]["imports"] for name in ("video frame", "video")] == [imported] * 2
        # Video is coded with less of colour than of light.
        smooth = values(folder, "smooth.png")
        assert np.abs(found["video"] - smooth)[:, 2:8, 2:12].max() <= 12
        assert np.rint(found["webgl canvas"])[:, 0, 0].tolist() == [255, 0, 0]
    for name, (code, message) in ERRORS.items():
        if name not in further:
            continue
        assert results[name]["code"] == code and message in results[name]["message"], results[name]
        assert results[name]["message"].startswith('input "photo": '), results[name]
    assert reply["order"] == [0, 1, 2] and reply["same"] and reply["later"]
    assert (reply["aborted"], reply["disposed"]) == ("aborted", ["disposed", "disposed"])
    assert [one["label"] for one in reply["top"]] == ["red", "green"]
    assert reply["inputs"] == [
        {
            "name": "photo",
            "dtype": "uint32",
            "shape": [24, 32],
            "image": {"channels": "rgb", "resize": [32, 24], "fit": "cover"},
        }
    ]
    assert reply["outputs"][1]["labels"] == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("engine", "backend"), [("chromium", "wasm"), ("chromium", "webgpu"), ("firefox", "wasm")]
)
def test_what_the_browser_halves_first(folder: Path, engine: Engine, backend: str) -> None:
    """`resample=fast` is within three levels of Pillow on photographs; what need not be read by the
    processor, and what is bytes already, is exact."""
    options, flags = {"backend": backend}, SOFTWARE_PAINTING if backend == "webgpu" else ()
    sources = ["image", "canvas", "bitmap", "blob", "raster"]
    if engine == "chromium":
        sources.append("video frame")
    with Image.open(folder / "files" / "large.png") as image:
        cut = ImageOps.fit(image, (32, 24), Image.Resampling.BILINEAR)
    wanted = np.int32(cut).transpose(2, 0, 1)
    photo = {"model": "fast", "photo": "large.png"}
    found = played(folder, engine, options, sources, flags, **photo)[1]
    far = {name: np.abs(np.rint(values) - wanted) for name, values in found.items()}
    assert far.keys() == set(sources)
    assert far["raster"].max() <= 1
    for name, levels in far.items():
        assert levels.max() <= 3 and levels.mean() <= 1, (name, levels.max(), levels.mean())
    # That it was the browser: our own filter alone gives the same from a file and from bytes.
    assert not np.array_equal(found["blob"], found["raster"])
    if backend == "webgpu":
        assert np.abs(found["video frame"] - wanted).max() <= 2


def test_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--input` and `--labels`, from end to end."""
    need("chromium")

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
            raise SystemExit(0)
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out + said.err

    model, photo = str(folder / "echo.onnx"), str(folder / "files" / "photo.png")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    image = ["--input", "photo:rgb,fit=contain,pad=9"]
    target = ["--target", "wasm"]
    output, labels = str(tmp_path / "out"), str(tmp_path / "labels.txt")
    status, said = run("transpile", model, "-o", output, *image, "--labels", labels, *target)
    assert status == 2 and "fit none" not in said and "say which: --labels NAME=FILE" in said
    assert not (tmp_path / "out").exists()
    labels = f"scores={labels}"
    status, said = run("transpile", model, "-o", output, *image, "--labels", labels, *target)
    assert status == 0 and "rgb pictures" in said and "float32, 3 labels" in said, said
    written = json.loads((tmp_path / "out" / "model.json").read_text())
    assert written["inputs"][0]["image"]["pad"] == [9, 9, 9]
    assert written["outputs"][1]["labels"] == ["red", "green", "blue"]
    check = ["check", model, "--variant", "plain", "--descriptor", output, *target]
    status, said = run(*check, *image)
    assert status == 0 and "right: 1 run" in said, said
    status, said = run(*check, *image, "--input", f"photo={photo}", "--save", str(tmp_path / "s"))
    assert status == 0, said
    assert np.load(tmp_path / "s" / "input" / "photo.npy").shape == (41, 53, 4)
    status, said = run(*check)
    assert status == 2 and "was transpiled as a picture; give the same --input" in said
    status, said = run(*check, *image, "--input", f"photo={model}")
    assert status == 2 and "expected a picture or an .npy file" in said
    status, said = run("inspect", model, "--target", "wasm", *image)
    assert status == 0 and "24, 32" in said


@pytest.fixture
def elsewhere(folder: Path) -> Iterator[str]:
    """The files from another origin, which allows that they are shown, not that they are read."""
    with running({"/": folder / "files"}) as server:
        yield server.url


def test_pictures_of_another_origin(folder: Path, elsewhere: str) -> None:
    need("chromium")
    mounts = {"/model/": folder / "model", "/files/": folder / "files", "/t/": HERE}
    files = {"foreign": f"{elsewhere}photo.png", "png": "/files/photo.png"}
    with open_page("chromium", mounts=mounts, csp=False) as page:
        argument = {
            "options": {"backend": "wasm"},
            "files": files,
            "sources": ["foreign image", "image", "blob image", "revoked image"],
        }
        reply = page.call("/t/pictures_page.js", argument, timeout=60)
    refused = reply.value["results"]["foreign image"]
    assert refused["code"] == "image"
    assert "from another origin may not be read" in refused["message"]
    # The next picture is not held liable for it.
    assert reply.value["results"]["image"]["shape"] == [1, 3, 24, 32]
    # An element is decoded by the thread that reads it; the file behind it, where the page's policy
    # lets it be fetched (here it has none), is not.
    wanted = values(folder, "photo.png")
    for name, kind in (("blob image", "Blob"), ("revoked image", "HTMLImageElement")):
        assert reply.value["results"][name]["decoded"] == kind, name
        found = np.frombuffer(reply.arrays[name], np.float32).reshape(3, 24, 32)
        assert np.array_equal(np.rint(found), wanted), name
