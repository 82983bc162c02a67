"""How long a page's thread is busy with a picture that it hands over, in headless Chromium.

    python -m bench.pictures                 # wasm, and WebGPU on the processor
    python -m bench.pictures --times 60 --input rgb,resample=fast wasm

For a frame of a 1080p video, and a JPEG of 12 megapixels as a file, a bitmap and an element, four
medians in milliseconds: the call of `run`; the longest task of the page's main thread until the
result, in time of a processor ("busy") and by the clock ("task"); and the whole until the result.
A trace of the browser tells the tasks of that thread from all others, and what it works from what
it waits for a processor, which on a few busy cores is most of a task. The model takes 224 × 224
pixels and computes next to nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image
from playwright.sync_api import sync_playwright

import webdnn
from webdnn.browser.engine import SOFTWARE_WEBGPU, find
from webdnn.browser.server import running

HERE = Path(__file__).parent
KINDS = ("1080p video", "12-megapixel file", "12-megapixel bitmap", "12-megapixel img")
CATEGORIES = ["toplevel", "blink.user_timing", "devtools.timeline"]
SLACK = 1000  # microseconds by which a task may begin before what it does is marked


def prepare(place: Path, specification: str) -> None:
    """The model, and the picture: noise that is smooth enough to be a photograph."""
    image = helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, 224, 224])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["photo"], ["mean"])
    graph = helper.make_graph([node], "mean", [image], [mean])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, place / "mean.onnx")
    webdnn.transpile(place / "mean.onnx", place / "model", inputs=specification)
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    (place / "files").mkdir()
    photo = Image.fromarray(noise).resize((4000, 3000))
    photo.save(place / "files" / "photo.jpg", quality=92)
    (place / "files" / "index.html").write_text("<!doctype html><title>pictures</title>")


def longest(events: list[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """For each run that the page marked, the longest task of its thread: milliseconds of a
    processor, and by the clock."""
    marks = sorted((e["ts"], e["name"], e["pid"], e["tid"]) for e in events
                   if e["name"] in ("begin", "end") and "user_timing" in e["cat"])  # fmt: skip
    pid, tid = marks[0][2:]
    tasks = [e for e in events if (e["pid"], e["tid"], e["ph"]) == (pid, tid, "X")
             and e["name"].endswith("RunTask")]  # fmt: skip
    for (begin, *_), (end, *_) in zip(marks[::2], marks[1::2], strict=True):
        own = [t for t in tasks if begin - SLACK <= t["ts"] <= end]
        yield (
            max((t.get("tdur", 0) for t in own), default=0) / 1000,
            max((t["dur"] for t in own), default=0) / 1000,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("backends", nargs="*", default=["wasm", "webgpu"])
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--input", default="rgb", help="what becomes of pictures [default: rgb]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        place = Path(folder)
        prepare(place, options.input)
        mounts = {"/model/": place / "model", "/b/": HERE, "/": place / "files"}
        for backend in options.backends:
            gpu = backend == "webgpu"
            flags = SOFTWARE_WEBGPU if gpu else ()
            with running(mounts) as server:
                browser = driver.chromium.launch(
                    executable_path=find("chromium"), args=["--no-sandbox", *flags]
                )
                page = browser.new_page()
                page.set_default_timeout(600_000)
                page.goto(server.url)
                page.evaluate("async () => { window.bench = await import('/b/pictures.mjs'); }")
                print(page.evaluate("options => bench.start(options)", {"backend": backend}))
                print(f"{'':22}{'call':>8}{'busy':>8}{'task':>8}{'whole':>8}")
                for kind in KINDS:
                    page.evaluate("kind => bench.warm(kind)", kind)
                    browser.start_tracing(page=page, categories=CATEGORIES)
                    argument = [kind, options.times if "video" in kind else options.times // 3]
                    found = page.evaluate("([kind, times]) => bench.runs(kind, times)", argument)
                    tasks = longest(json.loads(browser.stop_tracing())["traceEvents"])
                    busy, task = (median(one) for one in zip(*tasks, strict=True))
                    call, whole = (median(found[key]) for key in ("call", "whole"))
                    print(f"  {kind:20}{call:8.1f}{busy:8.1f}{task:8.1f}{whole:8.0f}")
                browser.close()


if __name__ == "__main__":
    main()
