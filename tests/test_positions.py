"""Positions beyond an axis, in Chromium on both targets: clamped, or refused by a debug build.

What fits is onnxruntime's; that it refuses the rest too is asserted beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import parser

import webdnn
from webdnn.browser.engine import Page, open_page

MODEL = """<ir_version: 9, opset_import: ["": 18]>
positions (int64[2] ids, float[n, 3] table, int64[2, 3] rows, int64[2, 2] pairs, int64[1] at)
    => (float[2, 3] words, float[2, 3] picked, float[2] single, float[n, 3] set, float[2] moved)
    <int64[1] three = {3}, float[1, 3] new = {7, 8, 9}, float[3] few = {5, 6, 7}>
{
    [lookup] words = Gather <axis = 0> (table, ids)
    picked = GatherElements <axis = 0> (table, rows)
    single = GatherND (table, pairs)
    places = Unsqueeze (at, zero)
    set = ScatterND (table, places, new)
    next = Sub (three, ids)
    moved = Gather <axis = 0> (few, next)
}""".replace("int64[1] three", "int64[1] zero = {0}, int64[1] three")
PAGE = """export default async ({ url, options, jobs }) => {
  const { load } = await import(url);
  const model = await load(options).catch((error) => error.message);
  if (typeof model === 'string') return model;
  const found = [];
  for (const job of jobs) {
    const inputs = {};
    for (const [name, { shape, data }] of Object.entries(job))
      inputs[name] = {
        shape,
        data: name === 'table' ? Float32Array.from(data) : BigInt64Array.from(data, BigInt),
      };
    found.push(
      await model.run(inputs).then(
        (out) => Object.fromEntries(Object.entries(out).map(([k, { data }]) => [k, [...data]])),
        ({ code, message }) => `${code}: ${message}`,
      ),
    );
  }
  model.dispose();
  return found;
};
"""
GOOD: dict[str, Any] = {
    "ids": [3, 1],
    "rows": [[0, -4, 2], [3, 1, 0]],
    "pairs": [[0, 2], [-1, 0]],
    "at": [2],
}
BAD = [  # the input that is another, and what is said of it
    ({"ids": [4, 1]}, "Gather node 'lookup': position 4 is beyond its axis, which has 4 elements"),
    ({"ids": [-5, 1]}, "Gather node 'lookup': position -5"),
    ({"rows": [[0, 0, 0], [0, 9, 0]]}, "GatherElements node of 'picked': position 9"),
    ({"pairs": [[0, 3], [0, 0]]}, "GatherND node of 'single': position 3 is beyond its axis"),
    ({"at": [-7]}, "ScatterND node of 'set': position -7"),
    ({"ids": [3, -1]}, "Gather node of 'moved': position 4 is beyond its axis, which has 3"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("positions")
    for name in ("debug", "plain"):
        webdnn.transpile(
            parser.parse_model(MODEL), folder / name, dims={"n": (2, 9)}, debug=name == "debug"
        )
    proto = parser.parse_model(MODEL)
    del proto.graph.output[1:]
    webdnn.transpile(proto, folder / "embedding", dims={"n": (2, 9)})
    (folder / "page.js").write_text(PAGE)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with open_page("chromium", mounts={"/m/": folder}, webgpu=True) as page:
        yield page


def feeds(change: dict[str, Any]) -> dict[str, np.ndarray]:
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    return {k: np.asarray(v) for k, v in (GOOD | change).items()} | {"table": table}


def play(page: Page, name: str, options: Any) -> Any:
    jobs = [feeds({}), *(feeds(change) for change, _ in BAD)]
    described = [
        {k: {"shape": v.shape, "data": v.ravel().tolist()} for k, v in job.items()} for job in jobs
    ]
    job = {"url": f"/m/{name}/model.js", "options": options, "jobs": described}
    return page.call("/m/page.js", job, timeout=120).value


@pytest.mark.parametrize("backend", ["wasm", "webgpu"])
def test_debug_refuses_positions_beyond_an_axis(page: Page, backend: str) -> None:
    good, *bad = play(page, "debug", {"backend": backend, "debug": True})
    session = onnxruntime.InferenceSession(parser.parse_model(MODEL).SerializeToString())
    for output, expected in zip(session.get_outputs(), session.run(None, feeds({})), strict=True):
        np.testing.assert_allclose(good.pop(output.name), expected.ravel())
    assert not good, "checks are not shown to the page"
    for (change, message), found in zip(BAD, bad, strict=True):
        assert found.startswith("range: ") and message in found
        with pytest.raises(Exception, match=r"(?i)out of|invalid ind"):
            session.run(None, feeds(change))


def test_without_debug_positions_are_clamped(page: Page) -> None:
    for name in ("plain", "debug"):
        _, beyond, before, *_ = play(page, name, {"backend": "wasm"})
        assert beyond["words"][:3] == [9, 10, 11] and before["words"][:3] == [0, 1, 2]
    message = play(page, "plain", {"backend": "wasm", "debug": True})
    assert "computes positions; transpile the model with --debug" in message


def test_positions_that_a_page_gives_need_no_other_build(page: Page) -> None:
    found = play(page, "embedding", {"backend": "webgpu", "debug": True})
    assert found[0]["words"] == [9, 10, 11, 3, 4, 5]
    assert "Gather node 'lookup': position 4 is beyond its axis" in found[1]
    assert "position -5" in found[2] and "words" in found[3]
