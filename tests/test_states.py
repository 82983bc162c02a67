"""States that outlive a run, through real descriptors: in Node and in Chromium, wherever a model
can run.

The oracle is the same arithmetic in a Python loop, and onnxruntime's LSTM over the whole sequence
where the model is given it in pieces.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from webdnn import ops, passes
from webdnn.browser.engine import Page, open_page
from webdnn.codegen import TARGETS
from webdnn.descriptor import write as descriptor
from webdnn.errors import DimensionError
from webdnn.expr import dim
from webdnn.graph import Graph, constant, placeholder, verify
from webdnn.schedule.lower import lower

HERE = Path(__file__).parent
UNITS, FEATURES, STEPS = 11, 5, 3
RNG = np.random.default_rng(7)
W = (RNG.normal(size=(FEATURES, 4 * UNITS)) * 0.6).astype(np.float32)
R = (RNG.normal(size=(UNITS, 4 * UNITS)) * 0.5).astype(np.float32)


def model() -> Graph:
    """An LSTM that goes on where it stopped, and two vectors that swap places and grow."""
    x = placeholder("x", (1, STEPS, FEATURES), "f32")
    h, c = (placeholder(name, (1, UNITS), "f32") for name in ("h", "c"))
    hs, cs = ops.lstm(ops.matmul(x, constant(W)), constant(R), h, c)
    last = [ops.squeeze(ops.slice_axis(v, 1, STEPS - 1, 1), [1]) for v in (hs, cs)]
    a, b = (placeholder(name, (STEPS, FEATURES), "f32") for name in ("a", "b"))
    count = placeholder("count", (), "i32")
    states = {
        "h": (h, last[0]),
        "c": (c, last[1]),
        "a": (a, b),
        "b": (b, ops.add(a, ops.reshape(x, (STEPS, FEATURES)))),
        "count": (count, ops.add(count, 1)),
    }
    outputs = {"hs": hs, "a": ops.mul(a, 2.0), "b": states["b"][1], "count": count}
    return Graph((x,), outputs, {}, (), "memory", states=states)


def sequence(pieces: int) -> np.ndarray:
    return RNG.normal(size=(pieces, STEPS, FEATURES)).astype(np.float32)


def lstm(x: np.ndarray) -> np.ndarray:
    """onnxruntime's states of the whole sequence; its gates are i, o, f, c."""
    order = [0, 3, 1, 2]
    weights = [np.stack(np.split(m, 4, 1))[order].transpose(0, 2, 1).reshape(1, 4 * UNITS, -1)
        for m in (W, R)]  # fmt: skip
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=UNITS)
    graph = helper.make_graph(
        [node], "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x[:, None].shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor(n, TensorProto.FLOAT, m.shape, m.ravel())
         for n, m in zip("wr", weights)],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(made.SerializeToString(), None, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x[:, None]})[0])[:, 0, 0]


def expected(x: np.ndarray) -> list[dict[str, np.ndarray]]:
    """The outputs of the runs over consecutive pieces, from zeros."""
    hs = lstm(x.reshape(-1, FEATURES)).reshape(len(x), STEPS, UNITS)
    a = b = np.zeros((STEPS, FEATURES), np.float32)
    out = []
    for k, piece in enumerate(x):
        out.append({"hs": hs[k], "a": 2 * a, "b": a + piece, "count": np.array(k)})
        a, b = b, a + piece
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = model()
    verify(graph)
    programs = {TARGETS[t]: lower(passes.run(graph, 0), TARGETS[t]) for t in ("webgpu", "wasm")}
    path: Path = tmp_path_factory.mktemp("states") / "model"
    descriptor.write(programs, path, "memory", report=lambda _: "")
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with open_page("chromium", mounts={"/m/": folder, "/t/": HERE}, webgpu=True) as page:
        yield page


def check(reply: Any, wanted: list[dict[str, np.ndarray]]) -> None:
    assert [s["name"] for s in reply["states"]] == ["h", "c", "a", "b", "count"]
    assert reply["states"][0]["shape"] == [1, UNITS]
    assert len(reply["outputs"]) == len(wanted)
    for k, (found, right) in enumerate(zip(reply["outputs"], wanted)):
        for name, array in right.items():
            error = np.abs(np.array(found[name]) - array.ravel()).max()
            assert error <= 1e-4, f"run {k}, {name}: error {error}"


def plan_of(*sequences: np.ndarray) -> tuple[list[Any], list[dict[str, np.ndarray]]]:
    """The job's plan, a reset between sequences, and what its runs should give."""
    plan: list[Any] = []
    for x in sequences:
        plan += [None] * bool(plan) + [piece.ravel().tolist() for piece in x]
    return plan, [out for x in sequences for out in expected(x)]


@pytest.mark.parametrize("options,sync", [
    ({"backend": "wasm"}, False), ({"backend": "wasm", "threads": 1}, False),
    ({"backend": "wasm", "worker": False}, False), ({"backend": "wasm", "worker": False}, True),
    ({"backend": "webgpu"}, False),
], ids=["workers", "worker", "calling-thread", "sync", "webgpu"])  # fmt: skip
def test_states_in_chromium(page: Page, options: Any, sync: bool) -> None:
    plan, wanted = plan_of(sequence(4), sequence(3))
    job = {"url": "/m/model.js", "options": options, "plan": plan, "sync": sync}
    check(page.call("/t/states_page.js", job, timeout=120).value, wanted)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_states_in_node(folder: Path, tmp_path: Path) -> None:
    plan, wanted = plan_of(sequence(2), sequence(2))
    job = {"url": (folder / "model.js").as_uri(), "plan": plan, "sync": True}
    job["options"] = {"backend": "wasm", "worker": False, "variant": "plain"}
    script = tmp_path / "run.mjs"
    script.write_text(
        f"import play from {json.dumps((HERE / 'states_page.js').as_uri())};\n"
        "import { readFile } from 'node:fs/promises';\n"
        f"const job = {json.dumps(job)};\n"
        "job.options.fetch = async (url) => new Response(await readFile(new URL(url)));\n"
        "console.log(JSON.stringify(await play(job)));\n"
    )
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), wanted)


def test_a_state_has_one_size() -> None:
    n = dim("n", 1, 8)
    x, s = (placeholder(name, (n, 4), "f32") for name in ("x", "s"))
    graph = Graph((x,), {"y": s}, {}, (n,), states={"s": (s, ops.add(s, x))})
    with pytest.raises(DimensionError, match=r"state 's' is f32\[n,4\].*fix n with --dim"):
        lower(passes.run(graph, 0), TARGETS["wasm"])


def test_a_graph_prints_its_states() -> None:
    x, s = (placeholder(name, (4,), "f32") for name in ("x", "s"))
    graph = Graph((x,), {"y": ops.neg(s)}, states={"s": (s, ops.add(s, x))})
    assert "s': f32[4] = add(s, x)" in str(graph)
    with pytest.raises(AssertionError, match="state 's'"):
        verify(Graph((x,), {"y": x}, states={"s": (s, ops.reshape(s, (2, 2)))}))
