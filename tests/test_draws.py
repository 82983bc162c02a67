"""Random operators of ONNX on both targets: onnxruntime's distribution, the same numbers again.

Every engine has a generator of its own, so samples are compared by their distribution functions
(Kolmogorov and Smirnov's distance of two samples), and frequencies by their standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

import webdnn
from tests.interpret import interpret
from webdnn.browser.engine import Page, open_page
from webdnn.frontend import load

HERE = Path(__file__).parent
SAMPLES = 8000
SHARES = np.float32([[0.1, 0.2, 0.65, 0.05], [0.5, 0.25, 0, 0.25]])


def model() -> onnx.ModelProto:
    """One of each operator; x is only what the Like ones take a shape of."""
    constants = {
        "wide": np.zeros((SAMPLES // 4, 4), np.float16),
        "p": np.full(SAMPLES, 0.3, np.float32),
        "logs": np.log(SHARES + 1e-30, dtype=np.float32),
    }
    make = helper.make_node
    nodes = [
        make("RandomUniform", [], ["u"], shape=[SAMPLES], low=-1.0, high=3.0, dtype=1, seed=1.0),
        make("RandomNormal", [], ["n"], shape=[SAMPLES], mean=1.0, scale=2.0, seed=3.0),
        make("RandomNormal", [], ["n2"], shape=[SAMPLES], mean=1.0, scale=2.0, dtype=1),
        make("RandomUniformLike", ["x"], ["ul"], low=-2.0, high=2.0, dtype=1, seed=2.0),
        make("RandomNormalLike", ["wide"], ["nl"], mean=0.5, scale=2.0, dtype=1, seed=7.5),
        make("Bernoulli", ["p"], ["b"], dtype=6, seed=4.0),
        make("Multinomial", ["logs"], ["m"], sample_size=SAMPLES, dtype=6, seed=5.0),
    ]
    names = ["u", "n", "n2", "ul", "nl", "b", "m"]
    graph = helper.make_graph(
        nodes, "draws", [helper.make_tensor_value_info("x", 1, [SAMPLES])],
        [helper.make_empty_tensor_value_info(n) for n in names],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def bernoulli() -> onnx.ModelProto:
    node = helper.make_node("Bernoulli", ["p"], ["b"])
    p = numpy_helper.from_array(np.full(SAMPLES, 0.3, np.float32), "p")
    ends = [helper.make_tensor_value_info("b", 1, [SAMPLES])]
    return helper.make_model(helper.make_graph([node], "b", [], ends, [p]), ir_version=10)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of two samples, scaled by their sizes: above 1.95 once in a thousand times."""
    every = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(s), every, "right") / s.size for s in (a, b)]
    return float(np.abs(below[0] - below[1]).max() * np.sqrt(a.size * b.size / (a.size + b.size)))


def test_distributions_are_those_of_onnxruntime() -> None:
    proto = model()
    imported = load(proto)
    assert any("random numbers are drawn anew in each run" in n for n in imported.notes)
    found = interpret(imported.graph, {"x": np.zeros(SAMPLES, np.float32)})
    x = np.zeros(SAMPLES, np.float32)
    right = dict(
        zip(found, onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x}))
    )
    # The definition that onnxruntime writes out gives 1 with the probability of 0.
    right["b"] = np.int32(np.asarray(ReferenceEvaluator(bernoulli()).run(None, {})[0]))
    for name, got in found.items():
        wanted = right[name]
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), name
        if name in ("b", "m"):
            for row, other in zip(np.atleast_2d(got), np.atleast_2d(wanted), strict=True):
                share = [np.bincount(r, minlength=4) / SAMPLES for r in (row, other)]
                most = 4 * np.sqrt(2 * share[1] * (1 - share[1]) / SAMPLES)
                assert (np.abs(share[0] - share[1]) <= most + 1e-9).all(), (name, share)
            continue
        a, b = got.ravel(), wanted.ravel()
        assert distance(a, b) < 1.95, name
        # neighbours, and their distances from the middle, say nothing of one another
        for values in (a, np.abs(a - a.mean())):
            assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4 / np.sqrt(SAMPLES), name
    assert abs(np.corrcoef(found["n"], found["n2"])[0, 1]) < 4 / np.sqrt(SAMPLES)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("draws") / "model"
    webdnn.transpile(model(), folder)
    with open_page("chromium", mounts={"/m/": folder, "/t/": HERE}, webgpu=True) as page:
        yield page


@pytest.mark.parametrize("target", ["wasm", "webgpu"])
def test_runs_differ_and_come_again(page: Page, target: str) -> None:
    """As the numpy reading has them: from the beginning when the model is reset."""
    runs = [[0.0] * SAMPLES] * 2
    job = {"url": "/m/model.js", "options": {"backend": target}, "plan": [*runs, None, *runs]}
    reply: Any = page.call("/t/states_page.js", job, timeout=120).value["outputs"]
    wanted = interpret(load(model()).graph, {"x": np.zeros(SAMPLES, np.float32)})
    for name, right in wanted.items():
        first, second, again, last = (np.array(r[name], np.float64) for r in reply)
        assert np.abs(first - right.ravel()).max() <= 1e-4 * max(np.abs(right).max(), 1), name
        assert np.array_equal(first, again) and np.array_equal(second, last), name
        assert (first != second).mean() > 0.3, name
        if name not in ("b", "m"):
            assert distance(first, second) < 1.95, name
            assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(SAMPLES), name


def looped(times: str) -> onnx.ModelProto:
    """A Loop that collects numbers which it draws."""
    return parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17]> m (int64 n) => (float[k, 50] y) {'
        f" most = Constant<value_int = 8>() {times} y = Loop(count, ) <body = b (int64 i, bool go)"
        " => (bool again, float[50] row) { again = Identity(go) "
        " row = RandomUniform<shape = [50], seed = 1.0>() }> }"
    )


@pytest.mark.parametrize("times", ["count = Identity(most)", "count = Min(n, most)"])
def test_iterations_differ(times: str) -> None:
    """Of a Loop that is written out, and of one that a run ends."""
    graph = load(looped(times)).graph
    y = interpret(graph, {"n": np.array(6)} if graph.inputs else {})["y"]
    assert y.shape == ((6 if "Min" in times else 8), 50)
    assert np.unique(y).size == y.size


def test_rows_of_a_scan_differ() -> None:
    """Of a Scan whose length a run decides, so that it remains a loop."""
    proto = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 17]> m (float[n, 5] x) => (float[n, 5] y) {'
        " y = Scan<num_scan_inputs = 1, body = b (float[5] e) => (float[5] row) {"
        " r = RandomUniform<shape = [5]>() row = Add(e, r) }>(x) }"
    )
    graph = load(proto, {"n": (1, 9)}).graph
    y = interpret(graph, {"x": np.zeros((7, 5), np.float32)}, {"n": 7})["y"]
    assert y.shape == (7, 5) and np.unique(y).size == y.size
