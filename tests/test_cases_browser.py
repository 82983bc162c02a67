"""The table of cases in browsers, through real descriptors and the real runner.

    chromium   wasm: plain, relaxed, plain-threads, relaxed-threads; WebGPU (SwiftShader)
    firefox    wasm: plain, relaxed-threads; WebGPU (its other WGSL compiler, with shader-f16)
    webkit     wasm: plain

A batch of cases is one descriptor. On WebGPU every storage buffer is followed by guard words,
which no kernel may change; on wasm tests/test_cases_wasm.py looks after those.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cases import CASES, Net, merged
from webdnn import passes
from webdnn.browser import engine as browser
from webdnn.browser.check import _ELEMENTS, THREADS, wire
from webdnn.browser.engine import BrowserError, Page, PageError, open_page
from webdnn.codegen import TARGETS
from webdnn.descriptor import write as descriptor
from webdnn.schedule.kernel import Program
from webdnn.schedule.lower import lower

BATCH = 80
HERE = Path(__file__).parent
WEBGPU_TOLERANCE = (
    10.0  # times a case's own: WGSL's exp, log and division are allowed less accuracy
)
NAMES = list(CASES)
BATCHES = range(-(-len(NAMES) // BATCH))
VARIANTS = {"chromium": ("plain", "relaxed", "plain-threads", "relaxed-threads"), "firefox":
("plain", "relaxed-threads"),
            "webkit": ("plain",)}  # fmt: skip
RUNS = [(e, "wasm", v) for e, variants in VARIANTS.items() for v in variants]
RUNS += [(e, "webgpu", None) for e in ("chromium", "firefox")]


def write(program: Program, target: str, folder: Path) -> None:
    """The descriptor of a program, without a report."""
    descriptor.write({TARGETS[target]: program}, folder, "cases", report=lambda _: "")


class Pages:
    """Open pages and written descriptors, made when first asked for."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder, self.stack = folder, stack
        self.pages: dict[str, Page] = {}
        self.batches: dict[int, list[Net]] = {}

    def page(self, engine: Any) -> Page:
        if engine not in self.pages:
            try:
                browser.find(engine)
            except BrowserError as error:
                if os.environ.get("CI"):
                    raise
                pytest.skip(str(error))
            mounts = {"/d/": self.folder, "/t/": HERE}
            self.pages[engine] = self.stack.enter_context(
                open_page(engine, mounts=mounts, webgpu=engine != "webkit")
            )
        return self.pages[engine]

    def batch(self, k: int) -> list[Net]:
        if k not in self.batches:
            nets = [CASES[name].build() for name in NAMES[k * BATCH : (k + 1) * BATCH]]
            programs = {}
            for target in ("wasm", "webgpu"):
                graph = passes.run(merged([n for n in nets if target not in n.case.skip]), 0)
                programs[target] = lower(graph, TARGETS[target])
                write(programs[target], target, self.folder / f"{target}-{k}")
            self.batches[k] = nets
        return self.batches[k]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with ExitStack() as stack:
        yield Pages(tmp_path_factory.mktemp("cases"), stack)


@pytest.mark.parametrize("k", BATCHES)
@pytest.mark.parametrize(("engine", "target", "variant"), RUNS)
def test_cases(engine: str, target: str, variant: str | None, k: int, pages: Pages) -> None:
    page = pages.page(engine)
    nets = [n for n in pages.batch(k) if target not in n.case.skip]
    count = max(len(n.case.sizes) for n in nets)
    arrays: dict[str, bytes] = {}
    runs = []
    for r in range(count):
        feeds: dict[str, Any] = {}
        for n in nets:
            feeds |= n.case.feeds(n, r)
        runs.append({"inputs": wire(feeds, f"in/{r}/", arrays)})
    options: dict[str, Any] = {"backend": target}
    if variant:
        options |= {"variant": variant, "threads": THREADS if variant.endswith("threads") else 1}
    argument = {
        "descriptor": f"/d/{target}-{k}/",
        "options": options,
        "runs": runs,
        "layers": False,
    }
    try:
        reply = page.call("/t/cases_page.js", argument, arrays, timeout=570)
    except PageError as error:
        pytest.fail(f"the batch does not run: {error}")
    backend = reply.value["backend"]
    assert (backend["name"], backend["variant"]) == (target, variant) or variant is None, backend
    wrong = []
    for r, run in enumerate(reply.value["runs"]):
        found = {
            o["name"]: np.frombuffer(reply.arrays[o["array"]], _ELEMENTS[o["type"]]).reshape(
                o["shape"]
            )
            for o in run["outputs"]
        }
        for n in nets:
            if r < len(n.case.sizes):
                tol = n.case.tol * (WEBGPU_TOLERANCE if target == "webgpu" else 1)
                for output, wanted in n.case.expected(r).items():
                    problem = n.case.problem(
                        found[output].astype(wanted.dtype),
                        wanted,
                        tol,
                        n.case.special and target == "webgpu",
                    )
                    if problem:
                        wrong.append(f"{output} at {dict(n.case.sizes[r])}: {problem}")
    assert not wrong, f"{len(wrong)} outputs are wrong:\n" + "\n".join(wrong)
    assert reply.value["overwritten"] == 0, "guard words behind GPU buffers changed"
    assert reply.value["guarded"] > 0 or target == "wasm"


OWN_DEVICE = """
import execute from '/__page__/execute.js';
export default async function ({ features, ...argument }, io) {
  const adapter = await navigator.gpu.requestAdapter();
  const requiredFeatures = features.filter((name) => adapter.features.has(name));
  const device = await adapter.requestDevice({ requiredFeatures });
  return execute({ ...argument, options: { device } }, io);
}
"""


@pytest.mark.parametrize("engine", ["chromium", "firefox"])
def test_texts_follow_the_features_of_the_device(engine: str, pages: Pages) -> None:
    page, net = pages.page(engine), CASES["softmax_long"].build()
    program = lower(passes.run(merged([net]), 0), TARGETS["webgpu"])
    write(program, "webgpu", pages.folder / "long")
    (pages.folder / "own_device.js").write_text(OWN_DEVICE)
    feeds = net.case.feeds(net, 0)
    [(output, wanted)] = net.case.expected(0).items()
    for features in ([], ["subgroups"]):
        arrays: dict[str, bytes] = {}
        argument = {
            "descriptor": "/d/long/",
            "features": features,
            "runs": [{"inputs": wire(feeds, "in/", arrays)}],
            "layers": False,
        }
        reply = page.call("/d/own_device.js", argument, arrays, timeout=570)
        has = features if engine == "chromium" else []  # Firefox has no subgroups
        assert reply.value["backend"]["variant"] == ("+".join(has) or "plain")
        [run] = reply.value["runs"]
        [found] = [o["array"] for o in run["outputs"] if o["name"] == output]
        y = np.frombuffer(reply.arrays[found], np.float32).reshape(wanted.shape)
        np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-7)
