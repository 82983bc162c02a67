"""The page of a model in `webdnn serve`, driven as a visitor would: one page of Chromium."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import webdnn
from tests.chromium import driven
from tests.test_image import picture
from webdnn.browser.engine import SOFTWARE_WEBGPU
from webdnn.browser.serve import PAGES, PREFIX, pages
from webdnn.browser.server import running

CLASSES = 40
LABELS = [f"class {i}" for i in range(CLASSES)]
SIDE = 32


def _saved(place: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any],
           constants: dict[str, NDArray[Any]]) -> Path:  # fmt: skip
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, place.stem, inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), place)
    return place


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models: of pictures and labels; of three inputs and an open dimension; of a sound; and from
    pictures to pictures."""
    place = tmp_path_factory.mktemp("serve")
    rng = np.random.default_rng(0)
    node, info = helper.make_node, helper.make_tensor_value_info
    number = TensorProto.FLOAT
    weights = rng.standard_normal((3 * SIDE * SIDE, CLASSES)).astype("f") * 0.02
    classify = _saved(
        place / "classify.onnx",
        [node("Flatten", ["image"], ["flat"]), node("MatMul", ["flat", "weights"], ["logits"]),
         node("Softmax", ["logits"], ["scores"])],
        [info("image", number, [1, 3, SIDE, SIDE])],
        [info("scores", number, [1, CLASSES])],
        {"weights": weights},
    )  # fmt: skip
    images = {"image": f"rgb,resize={SIDE},mean=0.5,std=0.25"}
    webdnn.transpile(classify, place / "site" / "classify", inputs=images, labels=LABELS)
    mix = _saved(
        place / "mix.onnx",
        [node("Gather", ["table", "ids"], ["rows"]), node("Add", ["rows", "x"], ["sum"]),
         node("Mul", ["sum", "gain"], ["y"])],
        [info("ids", TensorProto.INT64, [1, "t"]), info("x", number, [1, "t", 2]),
         info("gain", number, [])],
        [info("y", number, [1, "t", 2])],
        {"table": np.arange(20, dtype="f").reshape(10, 2)},
    )  # fmt: skip
    webdnn.transpile(mix, place / "site" / "mix", dims={"t": (2, 8, 2)}, name="<mix>")
    loud = _saved(
        place / "loud.onnx",
        [node("Abs", ["wave"], ["all"]), node("ReduceMax", ["all"], ["peak"], axes=[1])],
        [info("wave", number, [1, "n"])], [info("peak", number, [1, 1])], {},
    )  # fmt: skip
    webdnn.transpile(loud, place / "site" / "loud", dims={"n": (100, 4000)})
    paint = _saved(
        place / "paint.onnx",
        [node("Sub", ["one", "image"], ["negative"]),
         node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1)],
        [info("image", number, [1, 3, "h", "w"])],
        [info("negative", number, [1, 3, "h", "w"]), info("mean", number, [1, 1, "h", "w"])],
        {"one": np.float32(1)},
    )  # fmt: skip
    drawn = {"negative": "rgb", "mean": "mask,colors=#0d6e66"}
    sides = {"h": (8, 512), "w": (8, 512)}
    webdnn.transpile(paint, place / "site" / "paint", dims=sides, inputs="rgb", outputs=drawn)
    return place


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Any]:
    """A page with `webdnn serve`'s server before it; `goto` takes a path, as its base is set."""
    mounts = {"/": site / "site", PREFIX: PAGES}
    with running(mounts, csp=True, hook=pages) as up, driven(*SOFTWARE_WEBGPU) as page:
        noticed: list[str] = []
        page.on("pageerror", lambda error: noticed.append(str(error)))
        page.set_default_timeout(60_000)
        page.goto(up.url)
        yield page
        assert not noticed


def _wanted(model: Path, feeds: dict[str, Any]) -> NDArray[Any]:
    """The only output of a model, as onnxruntime has it."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def _open(page: Any, name: str) -> None:
    page.evaluate("path => { location.href = path; }", f"/{name}/")
    page.wait_for_url(f"**/{name}/")
    _settled(page)


def _settled(page: Any, state: str = "ready") -> str:
    page.wait_for_selector(f"[data-state={state}]", state="attached")
    return str(page.inner_text("#message"))


def _input(page: Any, name: str) -> Any:
    return page.locator("fieldset.input", has=page.locator("legend", has_text=name))


def _give(page: Any, name: str, file: str, content: bytes, kind: str = "") -> None:
    """Chooses a file for an input; what was there before must go first."""
    page.evaluate("document.documentElement.dataset.state = 'asked'")
    files = {"name": file, "mimeType": kind, "buffer": content}
    _input(page, name).locator("input[type=file]").set_input_files(files)


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _first(page: Any) -> list[float]:
    """The numbers that the first output's summary ends with."""
    text = page.inner_text("#outputs > div:first-child > p")
    return [float(one) for one in text.rpartition("first: ")[2].split(", ") if one != "…"]


def test_a_picture_has_the_classes_that_onnxruntime_finds(page: Any, site: Path) -> None:
    pixels = picture(SIDE, SIDE, 3)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    planes = (pixels[..., :3].astype("f") / 255 - 0.5) / 0.25
    feeds = {"image": planes.transpose(2, 0, 1)[None].copy()}
    scores = _wanted(site / "classify.onnx", feeds)
    best = np.argsort(-scores[0])[:5]
    _open(page, "classify")
    assert "random picture, 32 × 32" in page.inner_text("#inputs")
    for backend, name in (("wasm", "WebAssembly"), ("webgpu", "WebGPU")):
        page.evaluate("document.documentElement.dataset.state = 'asked'")
        page.locator("#backends").get_by_text(name, exact=True).click()
        _settled(page)
        assert page.inner_text("#target").startswith(name), backend
        # Dropped anywhere in the page: it goes to the input that takes pictures.
        page.evaluate(
            """bytes => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], 'cat.png', { type: 'image/png' }));
              document.documentElement.dataset.state = 'asked';
              document.querySelector('main').dispatchEvent(
                new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
            }""",
            list(stream.getvalue()),
        )
        _settled(page)
        assert page.locator("#outputs dt").all_inner_texts() == [LABELS[i] for i in best]
        shown = page.locator("#outputs dd:nth-of-type(2n)").all_inner_texts()
        assert np.allclose([float(one) for one in shown], scores[0][best], rtol=1e-3)
        assert "cat.png, 32 × 32" in page.inner_text("#inputs")
    figures = page.inner_text("#figures")
    assert "ms" in figures and "memory" in figures and "weights" in figures
    _give(page, "image", "a.npy", _npy(planes))
    assert "expected a picture, found numbers" in _settled(page, "failed")
    code = page.inner_text("#code")
    assert "from '/classify/model.js'" in code and "model.top(" in code


def test_arrays_numbers_and_open_sizes(page: Any, site: Path) -> None:
    _open(page, "mix")
    assert page.inner_text("h1").endswith("<mix>")
    assert [page.inner_text("#outputs h3")] == ["yfloat32 [1, 2, 2]"]
    page.locator("#size-t").fill("6")
    page.keyboard.press("Enter")
    page.get_by_text("float32 [1, 6, 2]").wait_for()
    page.locator("#size-t").fill("5")
    page.keyboard.press("Enter")
    assert "size of t" in _settled(page, "failed")

    ids, x = np.array([[1, 9, 4, 0]]), np.linspace(-1, 1, 8, dtype="f").reshape(1, 4, 2)
    _give(page, "ids", "ids.npy", _npy(ids))
    page.get_by_text("float32 [1, 4, 2]").wait_for()  # the array brings its size
    assert page.locator("#size-t").is_disabled() and page.input_value("#size-t") == "4"
    _give(page, "x", "x.npy", _npy(x.astype(">f8")))
    _settled(page)
    assert "x.npy: float64 [1, 4, 2], as float32" in page.inner_text("#inputs")
    page.evaluate("document.documentElement.dataset.state = 'asked'")
    _input(page, "gain").locator("input[type=text]").fill("0.5")
    page.keyboard.press("Enter")
    _settled(page)
    feeds = {"ids": ids, "x": x, "gain": np.array(0.5, "f")}
    wanted = _wanted(site / "mix.onnx", feeds)
    assert np.allclose(_first(page), wanted.ravel()[:6], rtol=1e-4)

    for content, kind, message in (
        (_npy(x), "", "expected numbers of type int64, found float32 in the .npy file: save"),
        (_npy(ids[:, :3]), "", 'dimension "t"'),
        (_npy(np.asfortranarray(np.eye(2, dtype="i4"))), "", "Fortran order"),
        (_npy(np.array([["a"]])), "", "expected a .npy file of numbers, found '<U1'"),
        (_npy(ids)[:-3], "", "the .npy file ends early"),
        (b"no array", "", "expected an array: a .npy file, or numbers as .json"),
        (b"[[1, 2], [3]]", "application/json", "expected lists of equal lengths"),
        (b"[[1, 2.5, 3, 4]]", "application/json", "found 2.5 at element 1"),
        (b"\x89PNG", "image/png", "transpile with --input ids:rgb"),
    ):
        _give(page, "ids", "ids.npy", content, kind)
        assert message in _settled(page, "failed")
    _give(page, "ids", "ids.json", json.dumps(ids.tolist()).encode(), "application/json")
    _settled(page)
    assert np.allclose(_first(page), wanted.ravel()[:6], rtol=1e-4)


def test_a_sound_is_decoded_at_the_rate_of_the_model(page: Any) -> None:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((2, 2, 16000, 0, "NONE", ""))
        both = np.stack([np.full(8000, 16384), np.full(8000, 8192)], 1)
        file.writeframes(both.astype("<i2").tobytes())
    _open(page, "loud")
    _give(page, "wave", "loud.wav", stream.getvalue(), "audio/wav")
    _settled(page)
    text = page.inner_text("#inputs")
    for said in ("at 16000 Hz, 2 channels mixed to one, 0.5 s", "the first 0.25 s go in"):
        assert said in text
    assert page.inner_text("#outputs h3") == "peakfloat32 [1, 1]"
    assert abs(float(page.inner_text("#outputs p")) - 0.375) < 1e-3
    page.evaluate("document.documentElement.dataset.state = 'asked'")
    page.get_by_label("Sample rate of wave").fill("8000")
    page.keyboard.press("Enter")
    _settled(page)
    assert "at 8000 Hz" in page.inner_text("#inputs")
    _give(page, "wave", "noise.wav", b"no sound", "audio/wav")
    assert "expected a sound that this browser can decode" in _settled(page, "failed")


def test_outputs_that_are_pictures_are_drawn(page: Any) -> None:
    """A negative, and the opacity of a colour: as numpy has them, in one of two colours each."""
    _open(page, "paint")
    source = np.full((24, 40, 3), (250, 30, 90), np.uint8)
    source[:, 20:] = 0
    stream = io.BytesIO()
    Image.fromarray(source).save(stream, "png")
    _give(page, "image", "two.png", stream.getvalue(), "image/png")
    _settled(page)
    assert page.locator("#outputs h3").all_inner_texts() == [
        "negativergb picture [24, 40]",
        "meanmask picture [24, 40]",
    ]
    assert page.locator("#outputs p").count() == 0
    found = page.evaluate(
        """() => [...document.querySelectorAll('#outputs canvas')].map((canvas) => {
          const at = (x) => [...canvas.getContext('2d').getImageData(x, 9, 1, 1).data];
          return [canvas.width, canvas.height, at(5), at(30)];
        })"""
    )
    negative, mean = found
    assert negative == [40, 24, [5, 225, 165, 255], [255, 255, 255, 255]]
    assert mean[3] == [0, 0, 0, 0] and abs(mean[2][3] - 370 / 3) <= 1
    assert np.abs(np.subtract(mean[2][:3], (0x0D, 0x6E, 0x66))).max() <= 1


def test_a_phone_and_a_keyboard_have_it_all(page: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    _open(page, "mix")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    small = """() => [...document.querySelectorAll('a, button, input, .button')]
      .filter((one) => !one.matches('.button input, .choice input'))
      .map((one) => [one.outerHTML, one.getBoundingClientRect()])
      .filter(([, { width, height }]) => width && (width < 24 || height < 24))
      .map(([text]) => text)"""
    assert page.evaluate(small) == []
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.id"))
    assert {"File for ids", "Numbers for gain", "size-t", "run", "copy", "Code"} <= seen


def test_damage_is_said_in_the_page(page: Any, site: Path) -> None:
    file = site / "site" / "loud" / "model.json"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-20])
        page.evaluate("location.href = '/loud/'")
        page.wait_for_url("**/loud/")
        assert "model.json is damaged" in _settled(page, "failed")
        assert "transpile the model again" in page.inner_text("#message")
    finally:
        file.write_bytes(whole)
