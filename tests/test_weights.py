"""`--weights` and `--keep`: what becomes of the weights of a float model, and that it is computed.

The oracles are onnxruntime's own quantisation (how far off integers may be) and its
DequantizeLinear of the integers that were written (what a page must compute of them).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi._pybind_state import quantize_matmul_4bits
from onnxruntime.quantization.quant_utils import quantize_data

from tests.interpret import interpret
from tests.test_browser import need
from tests.wasm_harness import run as run_program
from webdnn import ops, passes
from webdnn.browser.check import check
from webdnn.browser.compare import TOLERANCE, compare, narrowed
from webdnn.codegen import TARGETS
from webdnn.codegen.wasm.plan import Arena, largest_first, plan_arena
from webdnn.descriptor.weights import weight_array, write_weights
from webdnn.errors import WebDNNError
from webdnn.frontend import load
from webdnn.graph import Graph, Value, constant, evaluate, placeholder
from webdnn.inspect.summary import inspect
from webdnn.inspect.tables import show_check, show_inspection
from webdnn.ops.quantised import DEQUANTIZE
from webdnn.options import each_input
from webdnn.passes.quantise import Form, integers, kept_forms, quantise, weight_form
from webdnn.schedule.kernel import Program
from webdnn.schedule.lower import lower
from webdnn.schedule.plan import nbytes
from webdnn.transpiler import transpile

RNG = np.random.default_rng(10)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


# ---- what may be asked for -----------------------------------------------------------------------


def test_forms() -> None:
    assert weight_form("f16") == Form("f16")
    assert weight_form("int8") == Form("int8", 128)
    assert weight_form("int4:64,asymmetric") == Form("int4", 64, True)
    assert str(weight_form("int4")) == "int4:32"
    assert kept_forms(["head*", "a=b=f16"]) == [("head*", Form("f32")), ("a=b", Form("f16"))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fp16", r"--weights fp16: expected f32, f16, int8, int4,"),
        ("int2", r"--weights int2: expected f32"),
        ("int4:", r"--weights int4:: expected f32"),
        ("int8:12", r"expected a block that is a multiple of 8, as in int8:128, found 12"),
        ("int4:0", r"a multiple of 8, as in int4:32, found 0"),
        ("f16:32", r"--weights f16:32: expected f32"),
        ("int8,symmetric", r"expected f32"),
        ("net.caffemodel", r"a file of weights follows the model: MODEL WEIGHTS"),
    ],
)
def test_forms_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WebDNNError, match=message):
        transpile(b"", tmp_path / "d", weights=text)


def test_what_is_kept_must_be_there() -> None:
    x = placeholder("x", (4, 64), "f32")
    y = ops.matmul(x, constant(normal(64, 64)))
    graph = Graph((x,), {"y": y}, {"y": y})
    with pytest.raises(WebDNNError, match=r"--keep z\*: no layer .* as their weights: y$"):
        quantise(graph, weight_form("int8"), kept_forms("z*"))
    with pytest.raises(WebDNNError, match=r"--keep says .*: give --weights too"):
        quantise(graph, weight_form("f32"), kept_forms("y"))
    with pytest.raises(WebDNNError, match=r"--keep y=int3: expected PATTERN=FORM"):
        kept_forms("y=int3")
    kept, notes = quantise(graph, weight_form("int8"), kept_forms("y"))
    assert kept.outputs == graph.outputs and "as float32 those of y" in notes[0]
    assert quantise(graph, weight_form("f32")) == (graph, [])


def test_what_has_no_integers_stays() -> None:
    """NaN and infinities have no scale; what float16 cannot hold stays float32."""
    for bad in (np.nan, np.inf, 1e30):
        w = normal(64, 64)
        w[3, 5] = bad
        x = placeholder("x", (4, 64), "f32")
        graph = Graph((x,), {"y": ops.matmul(x, constant(w))})
        for form in ("f16", "int8") if bad != 1e30 else ("f16",):
            assert quantise(graph, weight_form(form), kept_forms(f"y={form}"))[0].outputs == (
                graph.outputs
            )


# ---- how exact integers are ----------------------------------------------------------------------


def off(w: np.ndarray, found: np.ndarray) -> float:
    return float(np.sqrt(np.mean((w - found) ** 2)))


def test_int4_is_as_exact_as_onnxruntimes() -> None:
    w = normal(256, 48)
    for symmetric in (True, False):
        packed = np.zeros((48, 256 // 32, 16), np.uint8)
        scale, zero = np.zeros(48 * 8, np.float32), np.zeros(48 * 4, np.uint8)
        quantize_matmul_4bits(packed, w, scale, zero, 32, 48, 256, symmetric)
        q = np.stack([packed & 15, packed >> 4], -1).reshape(48, 8, 32).astype(np.float32)
        middle = np.stack([zero & 15, zero >> 4], -1).reshape(48, 8, 1)
        theirs = (q - (8 if symmetric else middle)) * scale.reshape(48, 8, 1)
        ours = integers(constant(w), (32, 1), 4, not symmetric)
        assert ours is not None and off(w, evaluate(ours)) < 1.02 * off(
            w, theirs.reshape(48, 256).T
        )


def test_int8_is_as_exact_as_onnxruntimes() -> None:
    w = normal(3, 3, 16, 8)
    found = integers(constant(w), (3, 3, 16, 1), 8)
    assert found is not None and found.inputs[0].dtype == "i8"
    for m in range(8):
        channel = w[..., m].reshape(-1)
        zero, scale, q = quantize_data(channel, TensorProto.INT8, symmetric=True)
        theirs = (np.asarray(q, np.float32) - np.float32(zero)) * np.float32(scale)
        assert off(channel, evaluate(found)[..., m].reshape(-1)) < 1.05 * off(channel, theirs)


def test_odd_sizes_are_cut_blocks() -> None:
    w = normal(70, 5)
    w[:, 2] = 0
    for asymmetric in (False, True):
        found = integers(constant(w), (32, 1), 4, asymmetric)
        assert found is not None and found.inputs[1].shape == (3, 5)
        assert off(w, evaluate(found)) < 0.15
        assert not evaluate(found)[:, 2].any()


# ---- what a page computes of them ----------------------------------------------------------------

FILTERS = {  # of the model below; what each layer's weights become
    "stem": "f32",
    "wide": "int4:32",
    "depth": "int8",
    "grouped": "int8,asymmetric",
    "point": "int4:16,asymmetric",
    "half": "f16",
    "table": "int4:32",
    "left": "int8:32",
    "last": "int4:32,asymmetric",
    "added": "f16",
}


def network() -> onnx.ModelProto:
    """Convolutions of all kinds, a table, products on either side, tables that are added."""
    shapes = {
        "stem": (32, 3, 3, 3), "wide": (64, 32, 3, 3), "depth": (64, 1, 5, 5),
        "grouped": (64, 16, 3, 3), "point": (96, 64, 1, 1), "half": (33, 96, 1, 1),
        "table": (50, 64), "left": (24, 64), "last": (64, 40), "added": (32, 64),
    }  # fmt: skip
    weights = {
        k: numpy_helper.from_array(normal(*s) * np.float32(np.prod(s[1:]) ** -0.5), k)
        for k, s in shapes.items()
    }
    node = helper.make_node
    norm = [numpy_helper.from_array(np.abs(normal(64)) + np.float32(0.5), f"n{i}") for i in (0, 3)]
    norm += [numpy_helper.from_array(normal(64), f"n{i}") for i in (1, 2)]
    nodes = [
        node("Conv", ["x", "stem"], ["a"], pads=[1, 1, 1, 1]),
        node("Conv", ["a", "wide"], ["b"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["b", "n0", "n1", "n2", "n3"], ["c"]),
        node("Conv", ["c", "depth"], ["d"], group=64, pads=[2, 2, 2, 2]),
        node("Conv", ["d", "grouped"], ["e"], group=4, pads=[0, 1, 1, 0]),
        node("Relu", ["e"], ["f"]),
        node("Conv", ["f", "point"], ["g"]),
        node("Conv", ["g", "half"], ["picture"]),
        node("Gather", ["table", "ids"], ["h"]),
        node("Add", ["h", "added"], ["i"]),
        node("Transpose", ["i"], ["j"], perm=[0, 2, 1]),
        node("MatMul", ["left", "j"], ["k"]),  # [2, 24, 32]
        node("MatMul", ["i", "last"], ["l"]),  # [2, 32, 40]
        node("MatMul", ["k", "l"], ["words"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 15, 11]),
            helper.make_tensor_value_info("ids", TensorProto.INT32, [2, 32]),
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("picture", "words")],
        [*weights.values(), *norm],
    )
    opset = [helper.make_opsetid("", 21)]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opset, ir_version=10)
    )


def dequantised(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """The model with DequantizeLinear, or a cast, of what the quantised graph holds."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    held = {w.name: w for w in out.graph.initializer}
    before: list[onnx.NodeProto] = []
    for name in FILTERS:
        w = written(graph, name, tuple(held[name].dims))
        if w is None:
            continue
        out.graph.initializer.remove(held[name])
        before += linear(out, name, w, len(held[name].dims) == 4)
    nodes = [*before, *out.graph.node]
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    return out


def written(graph: Graph, name: str, shape: tuple[int, ...]) -> Value | None:
    """The dequantised weight that stands where the model has the one of that name."""
    order = (2, 3, 1, 0) if len(shape) == 4 else range(len(shape))
    found = [
        v
        for v in graph.values()
        if v.op is DEQUANTIZE and v.shape == tuple(shape[k] for k in order)
    ]
    assert len(found) <= 1, name
    return found[0] if found else None


def linear(model: onnx.ModelProto, name: str, w: Value, filters: bool) -> Iterator[onnx.NodeProto]:
    parts = [evaluate(x) for x in w.inputs]
    blocks = list(w.attrs["blocks"])
    if filters:
        parts = [a.transpose(3, 2, 0, 1) for a in parts]
        blocks = [blocks[k] for k in (3, 2, 0, 1)]
    q, *others = parts
    dtype = w.inputs[0].dtype
    if dtype == "f16":
        model.graph.initializer.append(numpy_helper.from_array(q, f"{name}_q"))
        yield helper.make_node("Cast", [f"{name}_q"], [name], to=TensorProto.FLOAT)
        return
    kind = getattr(TensorProto, f"{'U' if dtype[0] == 'u' else ''}INT{dtype[1:]}")
    scale = others[0].astype(np.float32)
    # One scale for a whole channel is a scale of an axis, else of blocks of one axis.
    whole = [k for k, (d, s) in enumerate(zip(q.shape, scale.shape, strict=True)) if s == 1 != d]
    if filters and scale.size == q.shape[0]:
        attributes: dict[str, Any] = {"axis": 0}
        others = [a.reshape(-1) for a in others]
    else:
        (axis,) = [k for k, b in enumerate(blocks) if b > 1]
        assert set(whole) <= {axis}
        attributes = {"axis": axis, "block_size": blocks[axis]}
    names = [f"{name}_{k}" for k in ("q", "scale", "zero")][: len(parts)]
    for key, a in zip(names, (q, *others), strict=True):
        t = TensorProto.FLOAT if key.endswith("scale") else kind
        model.graph.initializer.append(helper.make_tensor(key, t, a.shape, a.reshape(-1).tolist()))
    yield helper.make_node("DequantizeLinear", names, [name], **attributes)


@pytest.mark.parametrize("engine", ["chromium", "firefox"])
def test_pages_compute_what_is_written(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Every form and kind of layer beside onnxruntime's DequantizeLinear of the same integers."""
    need(engine)
    model = network()
    keep = [f"{name}={form}" for name, form in FILTERS.items()]
    graph, notes = quantise(load(model).graph, weight_form("int8"), kept_forms(keep))
    assert notes[0].startswith("weights of 9 layers are stored: 4 as int4, 3 as int8, 2 as f16")
    plain = onnxruntime.SessionOptions()  # else it computes products of 4 bits in int8
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(dequantised(model, graph).SerializeToString(), plain)
    inputs = {"x": normal(1, 3, 15, 11), "ids": RNG.integers(0, 50, (2, 32), np.int32)}
    expected = dict(zip(("picture", "words"), session.run(None, inputs), strict=True))
    report = check(
        model,
        weights="int8",
        keep=keep,
        inputs=inputs,
        expected=expected,
        browser=engine,
        variants=["plain", "relaxed-threads"] if engine == "chromium" else ["plain-threads"],
        targets=None if engine == "chromium" else ["wasm"],
    )
    assert len(report.runs) == (3 if engine == "chromium" else 1)
    for run in report.runs:
        assert not run.error and len(run.outputs) == 2
        for output in run.outputs:
            # Scales into which a norm was folded are rounded to float16 once more: 2^-12.
            allowed = max(TOLERANCE[run.target], 3e-4 if output.name == "picture" else 0)
            assert output.relative < allowed, (run.label, output)
            assert output.cosine > 0.9999999 and output.verdict in ("right", "narrowed")
    show_check(report)
    shown = capsys.readouterr().out
    assert "weights as int8:128 int4:32 int8:128,asymmetric" in shown and "of 48" in shown


def test_inspect_says_how_weights_are_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.onnx"
    onnx.save(network(), file)
    keep = [f"{name}={form}" for name, form in FILTERS.items()]
    seen = inspect(file, weights="int8", keep=keep, targets=["webgpu"])
    compiled = seen.targets["webgpu"]
    kept = {w.storage: w for w in compiled.weights}
    assert kept.keys() == {"f32", "f16", "i8", "u8", "i4", "u4"}
    large = {(w.storage, w.bytes) for w in compiled.weights}
    assert {("i4", 9 * 32 * 64 // 2), ("u4", 64 * 96 // 2), ("f16", 32 * 64 * 2)} <= large
    # A depthwise kernel reads memory: its filters are widened, and no other integers are.
    assert [w.shape for w in compiled.weights if w.widened and w.storage[1] in "48"] == [(5, 5, 64)]
    assert compiled.memory["prepared weights"] >= 25 * 64 * 4
    assert compiled.memory["total"] == sum(compiled.memory.values()) / 2
    show_inspection(seen)
    assert "widened to 32 bits when they have arrived: " in capsys.readouterr().out


def test_tables_of_halves_are_not_widened() -> None:
    """On wasm products read 32 bits, as halves cost more than they save; look-ups read halves."""
    ids, x = placeholder("ids", (8,), "i32"), placeholder("x", (4, 64), "f32")
    outputs = {
        "y": ops.gather(constant(normal(50, 64)), ids, 0),
        "z": ops.matmul(x, constant(normal(64, 64))),
    }
    graph, _ = quantise(Graph((ids, x), outputs), weight_form("f16"))
    program = lower(passes.run(graph), TARGETS["wasm"])
    widened = {buffer for step in program.prepare for buffer in step.buffers}
    whole = [v.shape for buffer, v in program.weights.items() if buffer not in widened]
    assert whole == [(50, 64)]


def test_each_output_of_a_layer_stays_its_own() -> None:
    """The cells of an LSTM after its last step are not its outputs, with narrow weights neither."""
    weights = {"w": normal(1, 160, 32), "r": normal(1, 160, 40)}
    names = ["x", "w", "r"], ["y", "h", "c"]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("LSTM", *names, hidden_size=40)],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (5, 2, 32))],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names[1]],
            [numpy_helper.from_array(a / np.float32(6), n) for n, a in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    x = normal(5, 2, 32)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    graph, _ = quantise(load(model).graph, weight_form("f16"))
    assert any(v.op is DEQUANTIZE for v in graph.values())
    found = interpret(graph, {"x": x})
    for name, array in zip(names[1], wanted, strict=True):
        assert np.abs(found[name] - array).max() < 3e-3 * np.abs(array).max(), name


def in_halves(graph: Graph) -> tuple[Graph, Program, Arena, int]:
    """The graph with weights of halves, what wasm runs, its memory, and the bytes of the blob."""
    graph, _ = quantise(graph, weight_form("f16"))
    program = lower(passes.run(graph), TARGETS["wasm"])
    held = write_weights([program], lambda k, data: str(k), lambda *_: None)
    offsets = {b: held.offset[v] for b, v in program.weights.items()}
    program = replace(program, prepare=largest_first(program))
    return graph, program, plan_arena(program, offsets, held.bytes), held.bytes


def intact(program: Program, arena: Arena) -> None:
    """What a step reads lies where it was loaded or written, in `prepare` and in two runs."""
    owner = np.full(arena.size // 4, -1)
    words = {
        b: slice(at // 4, (at + nbytes(program.buffers[b])) // 4) for b, at in arena.address.items()
    }
    label = {b: arena.address[b] if b in program.weights else arena.size + b for b in words}
    lasting = [t.buffer for t in (*program.inputs, *program.outputs, *program.states)]
    begun = {*program.weights, *lasting}
    for b in begun:
        owner[words[b]] = label[b]
    for steps in (program.prepare, program.steps, program.steps):
        begun = {b for b in begun if program.buffers[b].kind != "temp"}
        for step in steps:
            for b in step.buffers:
                assert b not in begun or (owner[words[b]] == label[b]).all(), (step, b)
            for b, slot in zip(step.buffers, step.kernel.slots, strict=True):
                assert b in begun or slot.access != "read"
                if slot.access != "read":
                    owner[words[b]] = label[b]
            begun |= {*step.buffers}
            assert all((owner[words[b]] == label[b]).all() for b in step.buffers)
    assert all((owner[words[b]] == label[b]).all() for b in lasting)


def test_halves_take_the_memory_of_floats() -> None:
    x = placeholder("x", (1, 64), "f32")
    y = x
    for _ in range(8):
        y = ops.relu(ops.matmul(y, constant(normal(64, 64))))
    _, program, arena, blob = in_halves(Graph((x,), {"y": y}))
    intact(program, arena)
    one = 64 * 64 * 4
    assert len(program.prepare) == 8 and blob == 8 * one // 2
    assert arena.size < 9.1 * one


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_weights_that_were_prepared_leave_their_memory() -> None:
    """Halves on wasm: what they become and what a run stores lies where they lay."""
    model = network()
    graph, program, arena, blob = in_halves(load(model).graph)
    intact(program, arena)
    raw = {b for step in program.prepare for b in step.buffers if b in program.weights}
    freed = sum(nbytes(program.buffers[b]) for b in raw)
    apart = blob + plan_arena(program, {}, 0).size
    # All but what the last one to be prepared leaves, and what lies between buffers.
    assert freed > 90_000 and apart - arena.size > 0.8 * freed

    session = onnxruntime.InferenceSession(dequantised(model, graph).SerializeToString())
    inputs = {"x": normal(1, 3, 15, 11), "ids": RNG.integers(0, 50, (2, 32), np.int32)}
    expected = dict(zip(("picture", "words"), session.run(None, inputs), strict=True))
    given = {b: weight_array(v) for b, v in program.weights.items()}
    given |= {t.buffer: inputs[t.name] for t in program.inputs}
    for variant, threads in (("plain", 1), ("relaxed-threads", 2)):
        found = run_program(program, given, variant=variant, threads=threads, repeat=2, arena=arena)
        for t in program.outputs:
            y = expected[t.name]
            assert np.abs(found[t.buffer].reshape(y.shape) - y).max() < 1e-5 * np.abs(y).max()


# ---- how far off the float model they are --------------------------------------------------------


def test_outputs_of_narrower_weights_are_measured() -> None:
    wanted = normal(6, 10)
    for by, verdict in ((0, "right"), (0.1, "narrowed"), (0.7, "wrong")):
        noise = np.float32(by) * normal(6, 10)
        found = narrowed(wanted + noise, compare("y", wanted + noise, wanted, 1e-4), wanted, "int4")
        assert found.verdict == verdict and found.rows == 6
        a, b = wanted.reshape(-1), (wanted + noise).reshape(-1)
        assert found.cosine == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)
        assert found.agree == (wanted.argmax(1) == (wanted + noise).argmax(1)).sum()
    assert "int4 change it by more than half" in found.why
    broken = wanted.copy()
    broken[0, 0] = np.nan
    assert narrowed(broken, compare("y", broken, wanted, 1e-4), wanted, "int8").verdict == "wrong"
    ids = np.arange(10)
    for other, verdict in ((4, "narrowed"), (6, "wrong")):
        moved = np.where(ids < other, ids + 1, ids)
        found = narrowed(moved, compare("y", moved, ids, 1e-4), ids, "int8")
        assert (found.verdict, found.rows, found.agree) == (verdict, 10, 10 - other)


def test_inputs_of_several_runs() -> None:
    texts = ["x=a.npy", "m=b.npy", "x=c.npy", "m=d.npy"]
    assert each_input(texts) == [
        {"x": Path("a.npy"), "m": Path("b.npy")},
        {"x": Path("c.npy"), "m": Path("d.npy")},
    ]
    assert each_input([]) == []
    with pytest.raises(WebDNNError, match=r"is given as often: x 2 times, m 1 times"):
        each_input(texts[:3])


# ---- how large they are --------------------------------------------------------------------------


def mobile() -> onnx.ModelProto:
    """Inverted residuals with norms, as in the latter half of MobileNetV2."""
    held, nodes, at = [], [], "x"

    def conv(out: int, of: int, size: int, **attributes: Any) -> None:
        nonlocal at
        n = len(nodes)
        held.append(numpy_helper.from_array(normal(out, of, size, size), f"w{n}"))
        held.extend(numpy_helper.from_array(np.abs(normal(out)) + 1, f"{k}{n}") for k in "gbmv")
        nodes.append(
            helper.make_node("Conv", [at, f"w{n}"], [f"c{n}"], pads=[size // 2] * 4, **attributes)
        )
        norm = [f"c{n}", *(f"{k}{n}" for k in "gbmv")]
        nodes.append(helper.make_node("BatchNormalization", norm, [f"y{n}"]))
        nodes.append(helper.make_node("Clip", [f"y{n}", "low", "high"], [f"z{n}"]))
        at = f"z{n}"

    held += [numpy_helper.from_array(np.float32(v), k) for k, v in (("low", 0), ("high", 6))]
    conv(32, 3, 3, strides=[2, 2])
    for before, after in ((32, 96), (96, 160), (160, 320)):
        conv(before * 6, before, 1)
        conv(before * 6, 1, 3, group=before * 6)
        conv(after, before * 6, 1)
    conv(1280, 320, 1)
    return made(nodes, held, [1, 3, 16, 16], at)


def encoder() -> onnx.ModelProto:
    """Tables and two layers of products, as in a BERT without its attention."""
    held = [numpy_helper.from_array(normal(3000, 256), "words")]
    held.append(numpy_helper.from_array(normal(1, 64, 256), "places"))
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Gather", ["words", "i"], ["e"]),
        helper.make_node("Add", ["e", "places"], ["h0"]),
    ]
    for n, (k, m) in enumerate([(256, 256)] * 4 + [(256, 1024), (1024, 256)] * 2):
        held.append(numpy_helper.from_array(normal(k, m), f"w{n}"))
        held.append(numpy_helper.from_array(normal(m), f"b{n}"))
        nodes.append(helper.make_node("MatMul", [f"h{n}", f"w{n}"], [f"p{n}"]))
        nodes.append(helper.make_node("Add", [f"p{n}", f"b{n}"], [f"s{n}"]))
        nodes.append(helper.make_node("Tanh", [f"s{n}"], [f"h{n + 1}"]))
    return made(nodes, held, [1, 64], "h8")


def made(nodes: list[Any], held: list[Any], shape: list[int], out: str) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        held,
    )
    opset = [helper.make_opsetid("", 21)]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opset, ir_version=10)
    )


@pytest.mark.parametrize("model", [mobile, encoder])
def test_sizes_of_downloads(model: Any, tmp_path: Path) -> None:
    net, sizes = model(), {}
    for form in ("f32", "f16", "int8", "int4"):
        report = transpile(net, tmp_path / form, targets=["webgpu"], weights=form)
        sizes[form] = report.descriptor["weights"]["bytes"]
    parts = {form: size / sizes["f32"] for form, size in sizes.items()}
    assert parts["f16"] <= 0.51 and parts["int8"] <= 0.27 and parts["int4"] <= 0.16, parts
