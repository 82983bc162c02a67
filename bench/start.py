"""How long a page takes to its first result where every answer of the server is late.

    python -m bench.start                    # 150 ms, what `load()` picks
    python -m bench.start --late 40 --load "{ backend: 'wasm', threads: 1 }" --runs relaxed

A classifier with 98 kB of weights in an empty cache of headless Chromium, whose process runs
already. Pages without and with the lines of `--preload` take turns; of each kind the times are
printed from navigation, in milliseconds: those at which each request of the middle page began and
ended, then the medians of model and first result over all pages. The delay stands for a round trip
on connections that are open; a new connection takes one or two more.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import sync_playwright

import webdnn
from webdnn.browser.engine import find
from webdnn.browser.server import Request, running

PAGE = """<!doctype html><title>start</title>
{place}
<script type="module">
import {{ load }} from '/m/model.js';
const times = {{ module: performance.now() }};
const model = await load({options});
times.model = performance.now();
await model.run({{ x: new Float32Array(3 * 64 * 64).fill(0.5) }});
times.result = performance.now();
const requests = performance.getEntriesByType('resource').map(
  ({{ name, startTime, responseEnd }}) => [name.replace(/.*[/]/, ''), startTime, responseEnd]);
globalThis.found = {{ times, requests, backend: model.backend }};
</script>"""


def classifier() -> onnx.ModelProto:
    """Three convolutions and a linear layer: 24,458 weights."""
    rng = np.random.default_rng(0)
    nodes, weights, value, channels = [], [], "x", 3
    for i, wide in enumerate((16, 32, 64)):
        shape = (wide, channels, 3, 3)
        kernel = rng.normal(0, 0.1, shape).astype(np.float32)
        weights += [
            numpy_helper.from_array(kernel, f"w{i}"),
            numpy_helper.from_array(np.zeros(wide, np.float32), f"b{i}"),
        ]
        names = [value, f"w{i}", f"b{i}"]
        nodes += [
            helper.make_node("Conv", names, [f"c{i}"], strides=[2, 2], pads=[1] * 4),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
        ]
        value, channels = f"r{i}", wide
    weights.append(numpy_helper.from_array(rng.normal(0, 0.1, (64, 10)).astype(np.float32), "w"))
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    tensor = helper.make_tensor_value_info
    x, y = tensor("x", TensorProto.FLOAT, [1, 3, 64, 64]), tensor("y", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "classifier", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--late", type=int, default=150, help="milliseconds of each answer")
    parser.add_argument("--load", default="", help="the options of `load`, as JavaScript")
    parser.add_argument("--runs", default="", help="what the lines name besides: relaxed-threads")
    parser.add_argument("--pages", type=int, default=7)
    options = parser.parse_args()
    words = " ".join(["webdnn /m/", *options.runs.split()])
    place = f"<!-- {words} -->\n<!-- /webdnn -->"

    found: dict[str, list[dict[str, Any]]] = {"": [], "early": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        model, early = Path(folder) / "m", Path(folder) / "early.html"
        early.write_text(PAGE.format(options=options.load, place=place))
        webdnn.transpile(classifier().SerializeToString(), model, preload=early)
        texts = {"/": PAGE.format(options=options.load, place=""), "/early": early.read_text()}

        def late(request: Request) -> bool:
            time.sleep(options.late / 1000)
            text = texts.get(request.path_only)
            if text is not None:
                request.reply(200, text.encode(), {"Content-Type": "text/html"})
            return text is not None

        weights = sum(path.stat().st_size for path in model.glob("weights*"))
        browser = driver.chromium.launch(executable_path=find("chromium"), args=["--no-sandbox"])
        with running({"/m/": model}, hook=late) as server:
            for _ in range(options.pages):
                for kind, kept in found.items():
                    context = browser.new_context()  # a cache of its own
                    page = context.new_page()
                    page.goto(server.url + kind)
                    page.wait_for_function("globalThis.found")
                    kept.append(page.evaluate("found"))
                    context.close()
        browser.close()
    for kind, pages in found.items():
        middle = sorted(pages, key=lambda one: one["times"]["result"])[len(pages) // 2]
        lines = "with the lines of --preload" if kind else "without lines in the page"
        print(f"{weights / 1000:.0f} kB of weights, {middle['backend']['reason']}, {lines}")
        for name, began, ended in middle["requests"]:
            print(f"  {name:32}{began:6.0f} …{ended:6.0f}")
        for what in ("module", "model", "result"):
            times = [one["times"][what] for one in pages]
            print(f"{what:34}{statistics.median(times):6.0f}  (least {min(times):.0f})")


if __name__ == "__main__":
    main()
