"""Weights that a model stores in bytes, halves or less are downloaded so, whatever widens them.

Each model is a few nodes of ONNX as exporters write them; onnxruntime computes the expected result,
without its optimiser, which multiplies integers where a model multiplies floats. The size is that
of the weights in the program of either target.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from tests.interpret import interpret
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.frontend import load
from webdnn.schedule.lower import lower
from webdnn.schedule.plan import nbytes

RNG = np.random.default_rng(3)
Q = RNG.integers(-128, 128, (256, 96)).astype(np.int8)
SCALE = RNG.random(96).astype(np.float32)
HALF = RNG.random((256, 96)).astype(np.float16)
FILTERS = RNG.integers(-128, 128, (40, 16, 3, 3)).astype(np.int8)

SPELLED = {
    "bytes": ("c = Cast<to=1>(q) y = MatMul(x, c)", {"q": Q}),
    "scale": ("c = Cast<to=1>(q) w = Mul(c, s) y = MatMul(x, w)", {"q": Q, "s": SCALE}),
    "scale first": ("c = Cast<to=1>(q) w = Mul(s, c) y = MatMul(x, w)", {"q": Q, "s": SCALE}),
    "quotient": ("c = Cast<to=1>(q) w = Div(c, s) y = MatMul(x, w)", {"q": Q, "s": SCALE + 1}),
    "zero point": (
        "c = Cast<to=1>(q) e = Cast<to=1>(z) d = Sub(c, e) w = Mul(d, s) y = MatMul(x, w)",
        {"q": Q, "s": SCALE, "z": RNG.integers(-9, 9, 96).astype(np.int8)},
    ),
    "u8 less 128": (
        "c = Cast<to=1>(q) d = Sub(c, z) w = Mul(d, s) y = MatMul(x, w)",
        {"q": Q.view(np.uint8), "s": SCALE, "z": np.array(128, np.float32)},
    ),
    "blocks": (
        "c = Cast<to=1>(q) r = Reshape(c, a) m = Mul(r, s) v = Reshape(m, b)"
        " w = Transpose<perm=[1, 0]>(v) y = MatMul(x, w)",
        {
            "q": np.ascontiguousarray(Q.T), "a": np.array([96, 8, 32]), "b": np.array([96, 256]),
            "s": RNG.random((96, 8, 1)).astype(np.float32),
        },
    ),
    "dequantised": ("w = DequantizeLinear<axis=1>(q, s) y = MatMul(x, w)", {"q": Q, "s": SCALE}),
    "halves": ("c = Cast<to=1>(q) y = MatMul(x, c)", {"q": HALF}),
    "a table of halves": ("c = Cast<to=1>(q) y = Gather(c, i)", {"q": HALF}),
    "two products of halves": (
        "c = Cast<to=1>(q) d = Cast<to=1>(p) a = MatMul(x, c) b = MatMul(x, d) y = Add(a, b)",
        {"q": HALF, "p": HALF[::-1].copy()},
    ),
    "filters": (
        "c = Cast<to=1>(q) w = Mul(c, s) y = Conv(image, w)",
        {"q": FILTERS, "s": RNG.random((40, 1, 1, 1)).astype(np.float32)},
    ),
    "filters of halves, normalised": (
        "c = Cast<to=1>(q) v = Conv(image, c) y = BatchNormalization(v, s, s, s, s)",
        {"q": FILTERS.astype(np.float16), "s": RNG.random(40).astype(np.float32) + 1},
    ),
    "depthwise filters": (
        "c = Cast<to=1>(q) w = Mul(c, s) y = Conv<group=16>(image, w)",
        {"q": RNG.integers(-9, 9, (128, 1, 3, 3)).astype(np.int8), "s": np.array(0.1, np.float32)},
    ),
}  # fmt: skip


def model(text: str, constants: dict[str, np.ndarray]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    feeds = {
        "x": RNG.random((3, 256)).astype(np.float32),
        "i": np.array([0, 255, -3]),
        "image": RNG.random((1, 16, 7, 6)).astype(np.float32),
    }
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = [k for k in feeds if k in words]
    head = ", ".join(
        f"{'int64' if k == 'i' else 'float'}[{','.join(map(str, feeds[k].shape))}] {k}"
        for k in used
    )
    proto = parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 19]> g ({head}) => (float y) {{ {text} }}'
    )
    proto.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y"))
    for name, a in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(a, name))
    return proto, {k: feeds[k] for k in used}


@pytest.mark.parametrize("name", SPELLED)
def test_weights_stay_as_they_are_stored(name: str) -> None:
    text, constants = SPELLED[name]
    proto, feeds = model(text, constants)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    (wanted,) = session.run(None, feeds)
    graph = passes.run(load(proto).graph, 0)
    assert np.abs(interpret(graph, feeds)["y"] - wanted).max() <= 1e-5 * np.abs(wanted).max()
    given = sum(a.nbytes for a in constants.values() if a.dtype.kind != "i" or a.itemsize == 1)
    for target in TARGETS.values():
        program = lower(graph, target)
        size = sum(nbytes(program.buffers[b]) for b in program.weights)
        assert size <= 1.02 * given + 400, f"{target.name}: {given} bytes became {size}"
