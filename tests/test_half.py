"""Half precision: which values are halves, what pages compute with them, and that it is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from tests.cases import CASES
from tests.half_cases import half, off, rounded
from tests.half_cases import lowered as halved
from tests.test_browser import need
from tests.test_weights import network, normal
from webdnn import ops, passes, transpile
from webdnn.browser.check import _arrays, check, wire
from webdnn.browser.engine import open_page
from webdnn.codegen.webgpu import HALF, TARGET
from webdnn.descriptor.write import write
from webdnn.errors import WebDNNError
from webdnn.graph import Graph, Value, constant, evaluate, placeholder
from webdnn.schedule.kernel import Instance, Program
from webdnn.schedule.lower import lower


def lowered(inputs: tuple[Value, ...], outputs: dict[str, Value]) -> Program:
    return lower(passes.run(Graph(inputs, outputs), 0), HALF)


def kept(program: Program) -> list[str]:
    """How what lies between kernels is stored, in the order of the steps."""
    made = dict.fromkeys(b for step in program.steps for b in step.buffers)
    return [program.buffers[b].dtype for b in made if program.buffers[b].kind == "temp"]


X = placeholder("x", (4, 64), "f32")
W = constant(normal(64, 64))
EYE = constant(np.eye(64, dtype=np.float32))


def test_what_lies_between_products_is_half() -> None:
    program = lowered((X,), {"y": ops.matmul(ops.relu(ops.matmul(X, W)), W)})
    assert kept(program) == ["f16"]
    assert {program.buffers[t.buffer].dtype for t in (*program.inputs, *program.outputs)} == {"f32"}
    assert HALF.limits == TARGET.limits


def test_statistics_are_float32() -> None:
    """Of pixels, whose sums a kernel of its own reads; the largest of them is no sum."""
    x = placeholder("x", (1, 64, 64, 8), "f32")
    y = ops.reduce_mean(ops.mul(x, x), axes=(1, 2))
    found = kept(lowered((x,), {"y": ops.matmul(ops.reshape(y, (1, 8)), constant(normal(8, 8)))}))
    assert found and set(found) == {"f32"}


def test_what_is_there_to_be_summed_is_float32() -> None:
    """Squares of 300 and exponentials of 12 are beyond halves, norms and logarithms are not."""
    product = ops.matmul(X, W)
    for many in (ops.mul(product, product), ops.exp_(product), ops.pow_(product, 2.0)):
        found = kept(lowered((X,), {"y": ops.sqrt_(ops.reduce_sum(many, axes=(1,)))}))
        assert found and set(found) == {"f32"}


def test_what_becomes_integers_is_float32() -> None:
    """From the product on; what is before that, and what an index is no part of, is half."""
    first = ops.matmul(ops.relu(ops.matmul(X, W)), W)
    where = ops.cast(ops.mul(first, 100.0), "i32")
    other = ops.matmul(ops.tanh_(first), W)
    found = kept(lowered((X,), {"where": where, "other": other}))
    assert found.count("f32") == 1 and "f16" in found


def test_positions_are_float32() -> None:
    """Angles of up to 512, whose halves would be a quarter apart."""
    at = placeholder("at", (4, 1), "i32")
    angle = ops.matmul(ops.cast(at, "f32"), constant(normal(1, 64)))
    both = ops.concat([ops.cos_(angle), ops.sin_(angle)], axis=1)
    program = lowered((at,), {"y": ops.matmul(both, constant(normal(128, 8)))})
    assert set(kept(program)) == {"f32"}


def test_options_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WebDNNError, match="--precision f8: expected one of f32, f16"):
        transpile(b"", tmp_path / "d", precision="f8")
    with pytest.raises(
        WebDNNError, match="--precision f16 is of WebGPU, which --target leaves out"
    ):
        transpile(b"", tmp_path / "d", precision="f16", targets=["wasm"])
    with pytest.raises(WebDNNError, match="--layers reads inner values as float32"):
        check(network(), precision="f16", layers=True)


def test_halves_are_downloaded_once(tmp_path: Path) -> None:
    sizes = []
    for precision in ("f32", "f16"):
        report = transpile(
            network(),
            tmp_path / precision,
            precision=precision,
            weights="f16",
            targets=["webgpu"],
        )
        sizes.append(report.descriptor["weights"]["bytes"])
        assert ("webgpu-f16" in report.descriptor["targets"]) == (precision == "f16")
    assert sizes[0] == sizes[1]
    entry = report.descriptor["targets"]["webgpu-f16"]
    assert entry["features"] == ["shader-f16"]
    program = json.loads((tmp_path / "f16" / entry["file"]).read_text())
    texts = [k["code"] for k in program["kernels"]]
    assert sum("enable f16;" in text for text in texts) > len(texts) / 2


def test_pages_compute_halves() -> None:
    """Beside onnxruntime in float32; that they are halves shows in how far off they are."""
    need("firefox")
    inputs = {"x": normal(1, 3, 15, 11), "ids": np.arange(64, dtype=np.int32).reshape(2, 32) % 50}
    report = check(network(), precision="f16", inputs=inputs, browser="firefox", targets=["webgpu"])
    assert report.right, report
    exact, half = report.runs
    assert (exact.target, half.target) == ("webgpu", "webgpu-f16")
    for a, b in zip(exact.outputs, half.outputs, strict=True):
        assert a.relative < 1e-5 < 1e-4 < b.relative < 4e-3, (a, b)


def test_kernels_read_and_write_halves(tmp_path: Path) -> None:
    """Each kind of kernel with halves all around it; transforms of convolutions; large numbers."""
    need("firefox")
    nets = [half(CASES[name]).build() for name in list(CASES)[::48]]
    nets = [n for n in nets if "webgpu" not in n.case.skip]
    write({HALF: halved(nets)}, tmp_path / "cases", "cases", report=lambda _: "")
    x = placeholder("x", (1, 32, 32, 64), "f32")
    w = [constant(normal(3, 3, 64, 64) / np.float32(24)) for _ in range(2)]
    y = ops.conv(ops.relu(ops.conv(x, w[0], (1, 1), (1, 1, 1, 1))), w[1], (1, 1), (1, 1, 1, 1))
    always = replace(HALF, winograd=lambda *sizes: True)
    program = lower(passes.run(Graph((x,), {"y": y}), 0), always)
    assert {"winograd_input", "winograd_output"} <= {
        s.kernel.template for s in program.steps if isinstance(s.kernel, Instance)
    }
    assert {b.dtype for b in program.buffers if b.kind in ("temp", "prepared")} == {"f16"}
    write({HALF: program}, tmp_path / "winograd", "winograd", report=lambda _: "")
    big = placeholder("big", (2, 64), "f32")
    program = lowered((big,), {"y": ops.matmul(ops.relu(ops.matmul(big, EYE)), EYE)})
    write({HALF: program}, tmp_path / "big", "big", report=lambda _: "")

    feeds = {name: a for n in nets for name, a in n.case.feeds(n, 0).items()}
    picture = normal(1, 32, 32, 64)
    beyond = normal(2, 64) * np.float32(1e5)
    given: list[dict[str, np.ndarray]] = [feeds, {"x": picture}, {"big": beyond}]
    found = []
    with open_page("firefox", mounts={"/d/": tmp_path}, webgpu=True) as page:
        for name, inputs in zip(("cases", "winograd", "big"), given, strict=True):
            arrays: dict[str, bytes] = {}
            argument = {
                "descriptor": f"/d/{name}/",
                "runs": [{"inputs": wire(inputs, "in/", arrays)}],
                "layers": False,
                "options": {"backend": "webgpu"},
            }
            reply = page.call("/__page__/execute.js", argument, arrays, timeout=570)
            assert not reply.value["backend"]["rejected"]
            assert reply.value["backend"]["precision"] == "f16"
            found.append(_arrays(reply.value["runs"][0]["outputs"], reply.arrays))
    wrong = [
        f"{output}: {problem}"
        for n in nets
        for output, wanted in n.case.expected(0).items()
        if (problem := off(n.case, found[0][output].astype(wanted.dtype), wanted))
    ]
    assert not wrong, "\n".join(wrong)
    y64 = torch.from_numpy(picture).double().permute(0, 3, 1, 2)
    for k, array in enumerate(map(evaluate, w)):
        y64 = conv2d(y64, torch.from_numpy(array).double().permute(3, 2, 0, 1), padding=1)
        y64 = y64 if k else y64.relu()
    wanted = y64.permute(0, 2, 3, 1).numpy()
    assert 1e-4 < np.abs(found[1]["y"] - wanted).max() / np.abs(wanted).max() < 6e-3
    assert (
        found[2]["y"].max() == 65504
        and (found[2]["y"] == np.clip(np.maximum(rounded(beyond), 0), 0, 65504)).mean() > 0.9
    )


def test_pages_are_told_what_they_get(tmp_path: Path) -> None:
    """Where there is no half precision, its place is taken in float32, but not of who insists."""
    need("chromium")
    transpile(network(), tmp_path / "d", precision="f16", targets=["webgpu"])
    arrays: dict[str, bytes] = {}
    inputs = {"x": normal(1, 3, 15, 11), "ids": np.zeros((2, 32), np.int32)}
    runs = [{"inputs": wire(inputs, "in/", arrays)}]
    with open_page("chromium", mounts={"/d/": tmp_path / "d"}, webgpu=True) as page:
        argument = {"descriptor": "/d/", "runs": runs, "layers": False}
        reply = page.call(
            "/__page__/execute.js", {**argument, "options": {"backend": "webgpu"}}, arrays
        )
        backend = reply.value["backend"]
        assert (backend["name"], backend["precision"]) == ("webgpu", "f32")
        (rejected,) = backend["rejected"]
        assert (rejected["name"], rejected["code"]) == ("webgpu-f16", "features")
        assert "lacks the features shader-f16" in rejected["reason"]
        assert any("webdnn: net computes in f32 on webgpu" in line for line in page.console)
        with pytest.raises(WebDNNError, match="which backend or variant leave out"):
            options = {"precision": "f16", "variant": "plain"}
            page.call("/__page__/execute.js", {**argument, "options": options}, arrays)
        with pytest.raises(WebDNNError, match="lacks the features shader-f16"):
            page.call("/__page__/execute.js", {**argument, "options": {"precision": "f16"}}, arrays)
