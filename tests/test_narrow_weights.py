"""Weights that a model stores in bytes, halves or less are downloaded so, whatever widens them.

Each model is a few nodes of ONNX as exporters write them; onnxruntime computes the expected result,
without its optimiser, which multiplies integers where a model multiplies floats. The size is that
of the weights in the program of either target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from tests.interpret import interpret
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.errors import WebDNNError
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
    "a table, of a product too": (
        "w = DequantizeLinear<axis=0>(q, s) e = Gather(w, i) t = Transpose<perm=[1, 0]>(w)"
        " n = LayerNormalization(e, s2) l = MatMul(n, t) y = Mul(l, half)",
        {
            "q": Q, "s": SCALE[:1].repeat(256), "s2": SCALE + 1, "half": np.array(0.5, np.float32),
        },
    ),
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
    wanted, found = run(proto, feeds)
    graph = passes.run(load(proto).graph, 0)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    given = sum(a.nbytes for a in constants.values() if a.dtype.kind != "i" or a.itemsize == 1)
    for target in TARGETS.values():
        program = lower(graph, target)
        size = sum(nbytes(program.buffers[b]) for b in program.weights)
        assert size <= 1.02 * given + 400, f"{target.name}: {given} bytes became {size}"


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What onnxruntime computes, and what the graph does."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    with np.errstate(all="ignore"):
        return session.run(None, feeds)[0], interpret(passes.run(load(proto).graph, 0), feeds)["y"]


F0 = np.zeros((), np.float32)


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("y = QuantizeLinear(x, s)", {"s": F0}),
        ("y = QuantizeLinear(x, s)", {"s": F0 * np.nan}),
        ("y = QuantizeLinear(x, s)", {"s": F0 - 1}),
        ("d = Mul(x, s) y, a, b = DynamicQuantizeLinear(d)", {"s": F0}),
        ("w = DequantizeLinear<axis=1>(q, s) y = MatMul(x, w)", {"q": Q, "s": SCALE * 0}),
        (
            "w = DequantizeLinear<axis=1>(q, s) y = MatMul(x, w)",
            {"q": Q, "s": np.where(np.arange(96) % 3, np.nan, 1).astype(np.float32)},
        ),
        (
            "u = Cast<to=2>(x) y = ConvInteger(u, w)",
            {"w": np.full((5, 3, 30, 30), 255, np.uint8)},  # one channel's sum is beyond 2**24
        ),
        ("u = Cast<to=2>(x) y = MatMulInteger(u, w)", {"w": np.full((700, 5), 255, np.uint8)}),
    ],
)
def test_extremes_are_as_in_onnxruntime(text: str, constants: dict[str, np.ndarray]) -> None:
    proto, feeds = model(text, constants)
    if "w" in constants:
        shape = (1, 3, 33, 32) if constants["w"].ndim == 4 else (2, 700)
        feeds = {"x": RNG.integers(0, 256, shape).astype(np.float32)}
        proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, shape))
    wanted, found = run(proto, feeds)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-4 if wanted.dtype.kind == "f" else 0)


@pytest.mark.parametrize(
    ("text", "constants", "message"),
    [
        ("w = DequantizeLinear(q, s) y = MatMul(x, w)", {"s": SCALE[:9]}, "scale f32.9. does not"),
        ("w = DequantizeLinear<axis=3>(q, s) y = MatMul(x, w)", {}, "axis 3 is out of range"),
        (
            "w = DequantizeLinear<axis=1>(q, s, z) y = MatMul(x, w)", {"z": np.zeros(5, np.int8)},
            r"the zero point i8\[5\] does not fit f32\[96\]",
        ),
        (
            "w = DequantizeLinear<axis=1>(q, s, z) y = MatMul(x, w)", {"z": np.zeros(96, np.uint8)},
            r"the zero point u8\[96\] is not of the type of i8\[256,96\]",
        ),
        (
            "w = DequantizeLinear(q, s) y = MatMul(x, w)", {"q": Q.astype(np.int64)},
            "input x is int64; DequantizeLinear of opset 19 takes .*, int8,",
        ),
        (
            "u = Cast<to=2>(x) y = MatMulInteger(u, q, s, z)",
            {"s": np.zeros((), np.uint8), "z": np.zeros(7, np.int8)}, r"zero points i8\[7\] do not",
        ),
        (
            "u = Cast<to=2>(x) y = MatMulInteger(u, z)", {"z": np.zeros((9, 5), np.int8)},
            r"u8\[3,256\] and i8\[9,5\] do not fit",
        ),
        (
            "u = Cast<to=2>(image) y = ConvInteger(u, z)", {"z": np.zeros((9, 5, 2, 2), np.int8)},
            r"u8\[1,7,6,16\] and filters i8\[2,2,5,9\] with 1 groups do not fit",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(text: str, constants: dict[str, np.ndarray], message: str) -> None:
    given = {"q": Q, "s": SCALE} | constants
    proto, _ = model(text, {k: v for k, v in given.items() if f"{k}," in text or f"{k})" in text})
    with pytest.raises(WebDNNError, match=message):
        load(proto)


@pytest.mark.parametrize("scale", [1, 0, np.nan, np.inf])
@pytest.mark.parametrize("block", [24, 32, 70, 128])
def test_blocks_of_any_size_and_scale(block: int, scale: float) -> None:
    """Sizes that do not divide the depth, and are larger; zero points beyond 4 bits, which a model
    may have as floats: as in onnxruntime."""
    count = -(-70 // block)
    scales = np.where(np.arange(9)[:, None] % 3, scale, RNG.random((9, count))).astype(np.float32)
    constants: dict[str, np.ndarray] = {"q": RNG.integers(-8, 8, (70, 9)).astype(np.int8)}
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=block)
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    nets = [([node, product], constants | {"s": np.ascontiguousarray(scales.T)})]
    if block in (32, 128):  # MatMulNBits has powers of 2 alone
        zeros = np.where(np.arange(9 * count) % 2, 20, -7).astype(np.float32)
        bits = RNG.integers(0, 256, (9, count, block // 2)).astype(np.uint8)
        more = {"domain": "com.microsoft", "K": 70, "N": 9, "bits": 4, "block_size": block}
        nodes = [helper.make_node("MatMulNBits", ["x", "q", "s", "z"], ["y"], **more)]
        nets.append((nodes, {"q": bits, "s": scales.reshape(-1), "z": zeros}))
    for nodes, given in nets:
        graph = helper.make_graph(
            nodes,
            "blocks",
            [helper.make_tensor_value_info("x", 1, (3, 70))],
            [helper.make_empty_tensor_value_info("y")],
            [numpy_helper.from_array(a, name) for name, a in given.items()],
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        wanted, found = run(proto, {"x": RNG.standard_normal((3, 70)).astype(np.float32)})
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT4, onnx.TensorProto.UINT4])
def test_odd_numbers_of_four_bits(kind: int, tmp_path: Path) -> None:
    """In the model's file or beside it; a byte less or more is an error."""
    proto, feeds = model("w = DequantizeLinear(q, s) y = MatMul(x, w)", {"s": SCALE[:1]})
    data = RNG.integers(0, 256, 256 * 3 // 2 - 1).astype(np.uint8).tobytes()
    q = onnx.TensorProto(name="q", data_type=kind, raw_data=data, dims=(255, 3))
    proto.graph.initializer.append(q)
    proto.opset_import[0].version = 21
    proto.ir_version = 10
    feeds["x"] = feeds["x"][:, :255]
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, (3, 255)))
    wanted, found = run(proto, feeds)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    path = tmp_path / "model.onnx"
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    onnx.save(copy, path, save_as_external_data=True, size_threshold=0, location="weights")
    beside = interpret(load(path).graph, feeds)["y"]
    assert (beside == interpret(load(proto).graph, feeds)["y"]).all()
    for wrong in (data[:-1], data + b"\0"):
        proto.graph.initializer[-1].raw_data = wrong
        with pytest.raises(WebDNNError, match=f"383 bytes expected .*, {len(wrong)} found"):
            load(proto)
