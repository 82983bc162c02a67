"""`model.loop` in real browsers: on a canvas, a camera, a video, streams; what ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

import webdnn
from tests.test_browser import need
from webdnn.browser.engine import Engine, open_page

HERE = Path(__file__).parent
ALL = ["canvas", "camera", "video", "items", "hidden", "ends", "disposed"]


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """y = [mean of the picture's bytes, k]."""
    folder = tmp_path_factory.mktemp("loop")
    graph = onnx.parser.parse_graph(
        "g (float[1, 3, 4, 4] image, float[1] k) => (float[2] y) "
        "{ m = ReduceMean<keepdims=0>(image) one = Constant<value_ints=[1]>() "
        "v = Reshape(m, one) y = Concat<axis=0>(v, k) }"
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    webdnn.transpile(model, folder, inputs={"image": "rgb,scale=1"})
    return {"/model/": folder, "/t/": HERE}


def called(
    engine: Engine, mounts: dict[str, Path], scenarios: list[str], *flags: str, **options: Any
) -> dict[str, Any]:
    need(engine)
    webgpu = options.get("backend") == "webgpu"
    with open_page(engine, mounts=mounts, flags=flags, webgpu=webgpu) as page:
        argument = {"scenarios": scenarios, "options": options}
        reply: dict[str, Any] = page.call("/t/loop_page.js", argument, timeout=120).value
    return reply


@pytest.mark.parametrize(
    ("engine", "backend"), [("chromium", "wasm"), ("chromium", "webgpu"), ("firefox", "wasm")]
)
def test_loop(engine: Engine, backend: str, mounts: dict[str, Path]) -> None:
    found = called(engine, mounts, ALL, backend=backend)

    canvas = found["canvas"]
    assert canvas["ended"] == "resolved"
    greys = [result["y"][0] for result in canvas["found"]]
    assert len(greys) == 6
    for result in canvas["found"]:
        assert result["y"][1] == 5
        assert result["same"]
        assert result["y"][0] >= result["since"], "a frame from before the page was ready"
    assert greys[-1] - greys[0] > 10, "60 ms a result, 10 ms a frame: most are left out"

    camera = found["camera"]
    assert camera["ended"] == "resolved"
    assert len(camera["found"]) >= 5
    assert all(result["open"] for result in camera["found"])
    if engine == "chromium":
        assert (camera["kind"], camera["closed"]) == ("VideoFrame", True)
    else:
        assert camera["kind"] == "HTMLVideoElement"

    video = found["video"]
    assert video["ended"] == "resolved"
    assert video["paused"] <= 4
    assert all(result["same"] for result in video["found"])

    items = found["items"]
    assert items["found"] == [*([g, g, g] for g in (0, 10, 20, 30, 40)), [3, 1, 8], [4, 1, 8]]
    assert items == items | {"ended": "resolved", "cleaned": True, "closed": True}

    assert found["hidden"] == {"before": 0, "still": True, "ended": "resolved"}

    assert [said.partition(":")[0] for said in found["disposed"]] == ["disposed"] * 2

    ends = found["ends"]
    for name in ("already", "waiting", "running"):
        assert ends[name] == "resolved", name
    assert ends["amid"] == ["resolved", 0]
    assert ends["page"] == "RangeError: of the page"
    assert ends["source"] == "TypeError: the camera caught fire"
    assert ends["input"].startswith("input: ")
    assert '"k"' in ends["input"]
    assert 'no option is called "input"; the nearest is "inputs"' in ends["option"]
    for name, part in (
        ("nothing", "found undefined"),
        ("image", "found an HTMLImageElement"),
        ("locked", "the stream is locked"),
        ("callback", "expected a function for the outputs, found undefined"),
        ("twice", '"image" is the frame\'s: leave it out of inputs'),
        ("silent", "has no video track"),
        ("audio", "found one of audio"),
    ):
        assert ends[name].startswith("option: loop: "), ends[name]
        assert part in ends[name]


def test_no_garbage(mounts: dict[str, Path]) -> None:
    """Thousands of frames leave nothing in the heap."""
    flags = ("--js-flags=--expose-gc", "--enable-precise-memory-info")
    found = called("chromium", mounts, ["garbage"], *flags, backend="wasm")
    assert found["garbage"] < 100_000, found
