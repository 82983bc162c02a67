"""Descriptors of earlier releases run with today's runner, on both targets.

Each folder of `fixtures/releases` is what that release wrote for one small network, without the
files that the test does not load, and with the outputs of onnxruntime in `expected.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import driven
from webdnn.browser.server import running
from webdnn.descriptor.write import runner_source

RELEASES = sorted((Path(__file__).parent / "fixtures" / "releases").iterdir())

PAGE = """async ({ options }) => {
  const { load } = await import('/runner/index.js');
  const model = await load('/m/', options);
  const data = Float32Array.from({ length: 2 * 3 * 8 * 8 }, (_, i) => (i % 7) - 3);
  const { y, best } = await model.run({ x: { data, shape: [2, 3, 8, 8] } });
  return { y: [...y.data], best: [...best.data].map(Number), backend: model.backend.name };
}"""


@pytest.mark.parametrize("release", RELEASES, ids=lambda folder: folder.name)
def test_release(release: Path) -> None:
    expected: dict[str, Any] = json.loads((release / "expected.json").read_text())
    flags = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    mounts = {"/m/": release, "/runner/": runner_source(), "/": release}
    with running(mounts) as server, driven(*flags) as page:
        page.goto(f"{server.url}expected.json")
        for options in (
            {"backend": "wasm", "variant": "plain"},
            {"backend": "webgpu", "variant": "plain"},
        ):
            found = page.evaluate(PAGE, {"options": options})
            assert found["backend"] == options["backend"]
            assert found["best"] == expected["best"]
            assert found["y"] == pytest.approx(expected["y"], rel=1e-5)
