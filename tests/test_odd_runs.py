"""What a page may do to a model: outputs handed on where they lie, aborts at odd moments."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import parser

import webdnn
from webdnn.browser.engine import Page, open_page

HEAD = '<ir_version: 9, opset_import: ["": 18]> '
# x has 32 bits, since another operator reads it that needs no more.
SQUARE = (
    HEAD
    + """m (int64[n] x) => (int64[n] y, float[n] real)
    { y = Mul(x, x)  real = Cast <to = 1> (x) }"""
)
SOME = (
    HEAD
    + """m (float[r, n] x, bool[r] rows, bool[n] columns) => (float[k, n] y, float[r, c] z)
    { y = Compress <axis = 0> (x, rows)  z = Compress <axis = 1> (x, columns) }"""
)
BRIGHTER = (
    HEAD
    + """m (float[1, 3, 8, 8] image, float limit) => (float[1, 3, 8, 8] y)
    <bool go = {1}, float two = {2}>
    { y = Loop(, go, image) <body = b (int64 i, bool g, float[1, 3, 8, 8] s)
        => (bool h, float[1, 3, 8, 8] t)
        { t = Mul(s, two)  most = ReduceMax <keepdims = 0> (t)  h = Less(most, limit) }> }"""
)
PAGE = """
const said = (run) => run.then(
  (out) => Object.fromEntries(
    Object.entries(out).map(([k, { data }]) => [k, Array.from(data, Number)])),
  ({ code, message }) => `${code}: ${message}`,
);
const scenes = {
  async handedOn() {
    const [square, some] = await Promise.all(['square', 'some'].map(async (name) =>
      (await import(`/m/${name}/model.js`)).load({ backend: 'webgpu' })));
    const numbers = await square.run({ x: Int32Array.of(70000, 3) }, { outputs: 'gpu' });
    const flags = { rows: Uint8Array.of(0, 1, 1), columns: Uint8Array.of(0, 1) };
    const x = { data: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [3, 2] };
    const { y, z } = await some.run({ x, ...flags }, { outputs: 'gpu' });
    return Promise.all([
      said(square.run({ x: numbers.y })),
      said(square.run({ x: { data: numbers.y.data, shape: [2] } })),
      said(some.run({ x: y, rows: Uint8Array.of(1, 1), columns: flags.columns })),
      said(some.run({ x: z, rows: flags.rows, columns: Uint8Array.of(1) })),
    ]);
  },
  async aborted({ options }) {
    const model = await (await import('/m/brighter/model.js')).load(options);
    const canvas = new OffscreenCanvas(8, 8);
    const context = canvas.getContext('2d');
    context.fillRect(0, 0, 8, 8);
    const image = await canvas.convertToBlob(); // black, which does not get brighter
    context.fillStyle = 'white';
    context.fillRect(0, 0, 8, 8);
    const limit = Float32Array.of(1);
    const page = new AbortController();
    const runs = [
      model.run({ image, limit }, { signal: page.signal }),
      model.run({ image: canvas, limit }),
    ].map(said);
    page.abort();
    const [aborted, next] = await Promise.all(runs);
    model.dispose();
    return [aborted, next.y.length];
  },
  async loops() {
    const { load } = await import('/m/bare/model.js');
    const info = { vendor: 'a', architecture: 'card', isFallbackAdapter: false };
    Object.defineProperty(GPUAdapter.prototype, 'info', { get: () => info, configurable: true });
    const strict = await load({ backend: 'webgpu' }).catch(({ code, message }) => [code, message]);
    const model = await load();
    const { name, rejected } = model.backend;
    model.dispose();
    return [...strict, name, rejected.map(({ name, code }) => [name, code])];
  },
};
export default ({ scene, ...rest }) => scenes[scene](rest);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder: Path = tmp_path_factory.mktemp("odd")
    webdnn.transpile(parser.parse_model(SQUARE), folder / "square", dims={"n": (1, 9)})
    webdnn.transpile(parser.parse_model(SOME), folder / "some", dims={"r": (1, 9), "n": (1, 9)})
    webdnn.transpile(parser.parse_model(BRIGHTER), folder / "brighter", inputs={"image": "rgb"})
    bare = Path(shutil.copytree(folder / "brighter", folder / "bare"))
    for script in bare.glob("runner.*/loops-gpu.js"):
        script.unlink()
    (folder / "page.js").write_text(PAGE)
    with open_page("chromium", mounts={"/m/": folder}, webgpu=True) as page:
        yield page


def test_outputs_on_the_gpu_that_are_no_inputs_as_they_lie(page: Page) -> None:
    """They would be read as other numbers, without a word."""
    tensor, buffer, rows, columns = page.call("/m/page.js", {"scene": "handedOn"}).value
    for found in (tensor, buffer):
        assert found.startswith(
            'input: input "x": the GPUBuffer is an output that has two words for'
        )
    assert rows == {"y": [3, 4, 5, 6], "z": [4, 6]}
    assert "an output that has rows of 2 elements, which this input has not" in columns


@pytest.mark.parametrize("options", [{"backend": "webgpu"}, {"backend": "wasm", "threads": 2}])
def test_a_run_that_is_aborted_while_its_picture_is_read(page: Page, options: Any) -> None:
    """It is not begun any more; this one would never end."""
    job = {"scene": "aborted", "options": options}
    aborted, pixels = page.call("/m/page.js", job, timeout=20).value
    assert aborted == "aborted: the run was aborted" and pixels == 192


def test_what_webgpu_alone_lacks_is_a_reason_for_wasm(page: Page) -> None:
    code, message, name, rejected = page.call("/m/page.js", {"scene": "loops"}).value
    assert code == "missing-file" and message.endswith("Serve it with the model.")
    assert name == "wasm" and rejected[0] == ["webgpu", "missing-file"]
