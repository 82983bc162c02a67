"""Control flow of ONNX models: what a few nodes cannot show, and random bodies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from tests.interpret import interpret
from tests.packages import Package, Pinned, fetch_file
from webdnn import ops
from webdnn.browser.inputs import signature_of
from webdnn.browser.reference import reference
from webdnn.codegen import TARGETS
from webdnn.errors import DimensionError, ModelError, UnsupportedError
from webdnn.frontend import load
from webdnn.graph import Graph, constant, placeholder
from webdnn.passes import run
from webdnn.passes.checks import checked
from webdnn.passes.quantise import quantise, weight_form
from webdnn.schedule.lower import lower
from webdnn.transpiler import transpile

SILERO = Package("pypi", "silero-vad", "6.2.3")
EXPORTS = {
    "vad": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    "vad_16k_op15": "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
    "vad_half": "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
    "vad_op18_ifless": "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
    "vad_openvino_16k": "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
    "vad_16k_sequence": "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
}


@pytest.mark.models
@pytest.mark.parametrize("name", EXPORTS)
def test_silero_frame_by_frame(name: str) -> None:
    """All exports of a voice detector, which choose by the sample rate and by sizes."""
    path = fetch_file(Pinned(SILERO, f"silero_vad/data/silero_{name}.onnx", EXPORTS[name]))
    session = onnxruntime.InferenceSession(path)
    taken = {i.name: i for i in session.get_inputs()}
    rows = 3 if name == "vad_16k_sequence" else 1
    dims: dict[str, Any] = {"batch": 1, "sequence": 576}
    if name == "vad":
        dims = {"input.0": 1, "input.1": 576, "state.1": 1}
    if rows > 1:
        dims = {"sequence_length": rows}
    fixed = all(isinstance(d, int) for d in taken["input"].shape)
    graph = run(load(path, {} if fixed else dims).graph, debug=0)
    before = {k for k in taken if k not in ("input", "sr")}  # of the state, and after in its order
    feeds: dict[str, Any] = {
        k: np.zeros([d if isinstance(d, int) else 1 for d in taken[k].shape], np.float32)
        for k in before
    }
    if "sr" in taken:
        feeds["sr"] = np.array(16000)
    rng = np.random.default_rng(0)
    for _ in range(3):
        feeds["input"] = rng.uniform(-1, 1, (rows, 576)).astype(np.float32)
        wanted = session.run(None, feeds)
        got = interpret(graph, feeds, reading="numpy")
        for a, b in zip(got.values(), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        feeds |= dict(zip([k for k in taken if k in before], wanted[1:], strict=True))


def test_errors_name_nodes_of_functions_and_bodies() -> None:
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "f": 1]>
        m (float[2, 3] x, int64 n) => (float[2, 3] y) { y = f.outer(x, n) }
        <domain: "f", opset_import: ["": 17, "f": 1]> outer (a, n) => (b) { b = f.inner(a, n) }
        <domain: "f", opset_import: ["": 17]> inner (a, n) => (b) { b = Loop(n, , a) <body = b
            (int64 i, bool g, float[2, 3] s) => (bool h, float[2, 3] t) { h = Identity(g)
                c = Relu(s)  t = Flatten<axis = 7>(c) }> }""")
    with pytest.raises(ModelError) as caught:
        load(proto)
    assert str(caught.value) == (
        "f::outer node of 'y': f::inner node of 'b': Loop node of 'b': its body: Flatten node of "
        "'t': axis 7 is out of range for f32[2,3]"
    )


def test_a_loop_whose_condition_is_computed_of_sizes() -> None:
    """As PyTorch writes while loops: of no limit, but for the largest number."""
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        m (float[n] x) => (float[a] y) { most = Constant<value_int = 9223372036854775807>()
            go = Constant<value = bool {1}>()  eight = Constant<value_int = 8>()
            y = Loop(most, go, x) <body = b (int64 i, bool g, float[p] s) => (bool h, float[q] t)
                { t = Concat<axis = 0>(s, s)  k = Size(t)  h = Less(k, eight) }> }""")
    assert load(proto, {"n": 3}).graph.outputs["y"].shape == (12,)


def test_a_branch_that_no_run_can_compute() -> None:
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        m (float[2, n] x, int64 rate) => (float[2, m] y) <float[3, 1] w = {1, 2, 3}> {
            k = Constant<value_int = 16>()  c = Equal(rate, k)
            y = If(c) <then_branch = t () => (float[2, a] a) { a = MatMul(x, w) },
                       else_branch = e () => (float[2, b] b) { b = Relu(x) }> }""")
    imported = load(proto, {"n": 4})
    assert [n for n in imported.notes if "If node of 'y': every run computes its other" in n]
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    got = interpret(imported.graph, {"x": x, "rate": np.array(8)})["y"]
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    np.testing.assert_array_equal(got, session.run(None, {"x": x, "rate": np.array(8)})[0])


@pytest.mark.parametrize(
    ("branch", "said"),
    [
        ("b = Flatten<axis = 7>(x)", "Flatten node of 'b'"),
        ("b = Squeeze(x, far)", "Squeeze node of 'b'"),
    ],
)
def test_a_branch_that_is_damaged_is_not_dropped(branch: str, said: str) -> None:
    """Only sizes that differ say that no run takes it; all else may be a fault of the reader's."""
    proto = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        m (float[2, 4] x, bool c) => (float[m, n] y) <int64[1] far = {{9}}> {{
            y = If(c) <then_branch = t () => (float[2, 4] a) {{ a = Relu(x) }},
                       else_branch = e () => (float[m, n] b) {{ {branch} }}> }}""")
    with pytest.raises(ModelError, match=rf"(?s){said}.*both branches are needed.*--set c=VALUE"):
        load(proto)


def _of_sequences() -> onnx.ModelProto:
    """y.k = xs.k · w, and all of them joined, with what is optional added, if it is there."""
    proto = parser.parse_model("""<ir_version: 9, opset_import: ["": 18]> m (float[3] w) => (z) {
        ys = SequenceMap(xs, w) <body = b (float[a, 3] x, float[3] y) => (float[a, 3] p)
            { p = Mul(x, y) }>
        all = ConcatFromSequence<axis = 0>(ys)  c = OptionalHasElement(more)
        z = If(c) <then_branch = t () => (float[n, 3] p)
                { m = OptionalGetElement(more)  p = Add(all, m) },
            else_branch = e () => (float[n, 3] q) { q = Neg(all) }> }""")
    del proto.graph.output[:]
    proto.graph.input.append(helper.make_tensor_sequence_value_info("xs", 1, [None, 3]))
    row = helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [3]))
    proto.graph.input.append(helper.make_value_info("more", row))
    proto.graph.output.append(helper.make_tensor_value_info("z", 1, [None, 3]))
    proto.graph.output.append(helper.make_tensor_sequence_value_info("ys", 1, None))
    return proto


@pytest.mark.parametrize("more", [True, False])
def test_sequences_and_optionals_as_inputs(more: bool) -> None:
    proto = _of_sequences()
    dims = {"xs": 2, "xs.0.0": 2, "xs.1.0": (1, 4)} | ({} if more else {"more": 0})
    graph = load(proto, dims).graph
    assert [v.attrs["name"] for v in graph.inputs] == ["w", "xs.0", "xs.1", "more"][: 3 + more]
    assert list(graph.outputs) == ["z", "ys.0", "ys.1"]
    rng = np.random.default_rng(0)
    feeds = {
        v.attrs["name"]: rng.standard_normal(
            [d if isinstance(d, int) else 3 for d in v.shape], np.float32
        )
        for v in graph.inputs
    }
    wanted = reference(proto, tuple(feeds), tuple(graph.outputs)).run(feeds)
    found = interpret(run(graph, 0), feeds, {"xs_1_0": 3})
    assert found.keys() == wanted.keys()
    for name, a in wanted.items():
        np.testing.assert_allclose(found[name], a, rtol=1e-6, err_msg=name)


def test_sequences_whose_length_is_not_said() -> None:
    proto = _of_sequences()
    with pytest.raises(DimensionError, match=r"'xs' is a sequence of float32 .* --dim xs=2"):
        load(proto)
    with pytest.raises(DimensionError, match=r"--dim xs=2"):
        load(proto, {"xs": (1, 3)})
    proto.graph.input[1].type.sequence_type.elem_type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match=r"'xs\.0' has no shape.*--dim xs\.0\.0=SIZE"):
        load(proto, {"xs": 1})
    sizes = {"xs": 1, "xs.0.0": 2, "xs.0.1": 3}
    assert load(proto, sizes).graph.outputs["ys.0"].shape == (2, 3)


def test_loops_that_stay_loops() -> None:
    """Of far too many iterations to be written out, or of a number that is an input."""
    text = """<ir_version: 8, opset_import: ["": 17]>
        m (float[3] x, int64 n) => (float[3] y) { k = Constant<value_int = 9223372036854775807>()
            y = Loop(TIMES, , x) <body = b (int64 i, bool g, float[3] s) => (bool h, float[3] t)
                { h = Identity(g)  u = Cos(s)  t = Mul(u, x) }> }"""
    for times, most in (("k", "its limit"), ("n", "an input")):
        graph = load(parser.parse_model(text.replace("TIMES", times))).graph
        assert graph.outputs["y"].op is ops.ITERATE
        for target in TARGETS.values():
            program = lower(run(graph, 0), target)
            (repeat,) = program.repeats
            assert repeat.last - repeat.first >= 4, most
            origins = {s.kernel.origin for s in program.steps[repeat.first : repeat.last]}
            assert any("t" in origin.split(", ") for origin in origins), origins


COUNTS = """<ir_version: 8, opset_import: ["": 17]>
    m (int64[3] x, int64 n) => (int64[3] y) { y = Loop(n, , x) <body = b
        (int64 i, bool g, int64[3] s) => (bool h, int64[3] t) { h = Identity(g)  BODY }> }"""


NESTED = "t = Loop(n, , s) <body = c (int64 j, bool p, int64[3] u) => (bool q, int64[3] v)"
NESTED += " { q = Identity(p)  v = Mul(u, x) }>"
FAR = f"far = Constant<value_int = {2**63 - 1}>()  "


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("far = Constant<value_int = 3000000000>()  t = Add(s, far)", True),
        ("t = Mul(s, s)", True),
        ("t = Add(s, x)", True),
        (NESTED, True),
        ("near = Constant<value_int = 3>()  t = Add(s, near)", False),
        (FAR + "t = Clip(s, i, far)", False),
        (FAR + "t = Max(s, far)", True),
        (FAR + "r = Mul(s, far)  p = Constant<value_int = 97>()  t = Mod(r, p)", False),
    ],
)
def test_integers_of_loops_have_words_where_they_may_need_them(body: str, words: bool) -> None:
    proto = parser.parse_model(COUNTS.replace("BODY", body))
    feeds = {"x": np.array([-7, 1, 2**31 - 1]), "n": np.array(4)}
    if not words:
        feeds["x"] = feeds["x"] // 4  # `Graph.near`
    (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
    graph = run(load(proto).graph, 0)
    np.testing.assert_array_equal(interpret(graph, feeds)["y"], wanted)
    assert ("y" in graph.wide) == words


def test_what_a_loop_cannot_compute_in_words_is_an_alarm() -> None:
    """TopK within: it has 32 bits for a number, which an iteration says that it has exceeded."""
    body = """r = Mul(x, i)  k = Constant<value_ints = [3]>()  t, at = TopK(r, k)"""
    proto = parser.parse_model(COUNTS.replace("BODY", body))
    graph = run(load(proto).graph, 0)
    feeds = {"x": np.array([-7, 1, 2**29]), "n": np.array(4)}
    (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
    np.testing.assert_array_equal(interpret(graph, feeds)["y"], wanted)
    with pytest.raises(AssertionError, match=r"32 bits in .*'r', of which arg_top_k takes 32 bits"):
        interpret(graph, feeds | {"n": np.array(9)})


@pytest.mark.parametrize(
    ("collects", "carries", "said"),
    [
        ("float[3] r", "r = Relu(s)  t = Add(s, s)", "collects something .* Min"),
        ("", "t = Concat<axis = 0>(s, s)", r"f32\[3\] before an iteration and f32\[6\] after"),
    ],
)
def test_loops_of_any_length_that_are_refused(collects: str, carries: str, said: str) -> None:
    proto = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        m (float[3] x, int64 n) => (float[a] y) {{
            {"y, z" if collects else "y"} = Loop(n, , x) <body = b (int64 i, bool g, float[q] s) =>
            (bool h, float[p] t {"," if collects else ""} {collects}) {{
                h = Identity(g)  {carries} }}> }}""")
    with pytest.raises(UnsupportedError, match=f"(?s)Loop node of 'y'.*{said}"):
        load(proto)


_ROWS = """s, y = Loop(n, , x) <body = b (int64 i, bool g, float[3] s0)
    => (bool h, float[3] t, float[3] r) { h = Identity(g)  t = Add(s0, x)  r = Relu(t) }>"""


@pytest.mark.parametrize(
    ("head", "body", "key", "fits", "more"),
    [
        ("float[9] x) => (int64[1, k] y, float[k] z", "b = Greater(x, half)  y = NonZero(b)  "
         "r = Transpose(y)  z = GatherND(x, r)", "k", {"x": [1, 0, 0, 1, 1, 0, 0, 0, 1]},
         {"x": [1] * 5 + [0] * 4}),
        ("float[9] x, bool[9] c) => (float[k] y", "y = Compress <axis = 0> (x, c)", "k",
         {"x": [*range(9)], "c": [1, 0] * 4 + [0]}, {"c": [1] * 9}),
        ("float[9] x) => (float[k] y", "y = Unique (x)", "k", {"x": [1, 2, 4] * 3},
         {"x": [*range(9)]}),
        ("int64 a, int64 e, int64 d) => (int64[j] y, int64 s",
         "y = Range(a, e, d)  s = ReduceSum <keepdims = 0> (y)", "y.0",
         {"a": 7, "e": 1, "d": -2}, {"e": -9}),
        ("float a, float e, float d) => (float[k] y", "y = Range(a, e, d)", "k",
         {"a": 1, "e": 2.4, "d": 0.5}, {"d": 0.25}),
        ("float[3] x, int64 n) => (float[k, 3] y, float[3] s", _ROWS, "k",
         {"x": [1, -2, 3], "n": 4}, {"n": 5}),
    ],
)  # fmt: skip
def test_lengths_that_a_run_finds_have_bounds(
    head: str, body: str, key: str, fits: dict[str, Any], more: dict[str, Any]
) -> None:
    """At most 4, for which memory is laid out; more is an error that names the bound."""
    proto = parser.parse_model(f"""<ir_version: 9, opset_import: ["": 18]>
        m ({head}) <float half = {{0.5}}> {{ {body} }}""")
    kinds = {i.name: i.type.tensor_type.elem_type for i in proto.graph.input}
    numpy = {name: onnx.helper.tensor_dtype_to_np_dtype(kind) for name, kind in kinds.items()}
    feeds = {name: np.array(value, numpy[name]) for name, value in fits.items()}
    wanted = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
    graph = run(load(proto, {key: 4}).graph, 0)
    found = interpret(graph, feeds)
    for output, array in zip(proto.graph.output, wanted, strict=True):
        np.testing.assert_array_equal(found[output.name], array)
        assert all(d <= 5 for d in graph.outputs[output.name].shape)
    feeds |= {name: np.array(value, numpy[name]) for name, value in more.items()}
    with pytest.raises(AssertionError, match=f"'y' is longer than --dim {re.escape(key)}=4 allows"):
        interpret(graph, feeds)


def test_sizes_of_a_run_that_the_model_does_not_declare_are_an_error() -> None:
    proto = parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        m (float[1, 3] x, int64[2] s) => (float[4, 3] y) { y = Expand(x, s) }""")
    graph = run(load(proto).graph, 0)
    x = np.array([[1, 2, 3]], np.float32)
    for sizes in ([4, 3], [4, 1]):
        feeds = {"x": x, "s": np.array(sizes)}
        (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
        np.testing.assert_array_equal(interpret(graph, feeds)["y"], wanted)
    with pytest.raises(AssertionError, match="Expand node of 'y': the shape of this run give"):
        interpret(graph, {"x": x, "s": np.array([5, 3])})


@pytest.mark.parametrize(("dims", "kept"), [({}, 0), ({}, 3), ({"k": 1}, 0), ({"k": 1}, 1)])
def test_a_length_that_a_run_finds_may_be_none(dims: dict[str, int], kept: int) -> None:
    """Comparisons and bounds of it are right then, too."""
    proto = parser.parse_model("""<ir_version: 9, opset_import: ["": 18]>
        m (float[9] x, bool[9] c) => (float[k] y, bool some, bool none, int64 most, int64 least,
            int64 off, float sum)
        <int64 zero = {0}, int64 one = {1}, float other = {-7}> {
        y = Compress <axis = 0> (x, c)  n = Size(y)
        some = Greater(n, zero)  none = Equal(n, zero)
        most = Max(n, one)  least = Min(n, one)  less = Sub(n, one)  off = Abs(less)
        all = ReduceSum <keepdims = 0> (y)  sum = Where(some, all, other) }""")
    graph = run(load(proto, dims).graph, 0)
    feeds = {"x": np.arange(1, 10, dtype=np.float32), "c": np.arange(9) < kept}
    wanted = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
    found = interpret(graph, feeds)
    for output, array in zip(proto.graph.output, wanted, strict=True):
        np.testing.assert_array_equal(found[output.name], array, output.name)


def test_what_is_no_length_that_a_run_finds_has_no_bound() -> None:
    head = '<ir_version: 9, opset_import: ["": 18]> m (float[3] x) => (float[3] y) {'
    with pytest.raises(DimensionError, match=r"--dim y.0: axis 0 of 'y' has 3 elements"):
        load(parser.parse_model(head + "y = Relu(x) }"), {"y.0": 2})
    with pytest.raises(DimensionError, match=r"--dim y.1: 'y' has 1 axes"):
        load(parser.parse_model(head + "y = Relu(x) }"), {"y.1": 2})


_BRANCHES = """<ir_version: 9, opset_import: ["": 18]>
    m (float[24, 256] x, int64[24] k, bool c) => (float[24, 256] y, int64[24] z) {
        a = Relu(x)
        y, z = If(c) <then_branch = t () => (float[24, 256] y1, int64[24] z1) {
            p = MatMul(a, weights)  y1 = MatMul(p, weights)
            square = Mul(k, k)  many = Constant<value_ints = [24]>()
            z1, at = TopK(square, many) }, else_branch = e () => (float[24, 256] y2, int64[24] z2)
            { ELSE  z2 = Neg(k) }> }"""


@pytest.mark.parametrize(("other", "regions"), [("y2 = Exp(a)", 1), ("y2 = MatMul(x, weights)", 2)])
def test_a_run_computes_the_branch_that_it_takes(other: str, regions: int) -> None:
    """If it costs more than a little; numbers that only the other one cannot hold are no alarm."""
    proto = parser.parse_model(_BRANCHES.replace("ELSE", other))
    random = np.random.default_rng(0)
    weights = random.standard_normal((256, 256)).astype(np.float32) / 16
    proto.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    read = load(proto)
    assert "a run computes one" in read.notes[0]
    graph = run(read.graph, 0)
    for target in TARGETS.values():
        repeats = lower(graph, target).repeats
        assert [loop.once for loop in repeats] == [True] * regions
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    x = random.standard_normal((24, 256)).astype(np.float32)
    for condition, largest in ((True, 40000), (False, 10**5)):
        feeds = {"x": x, "k": np.arange(24) * (largest // 24), "c": np.array(condition)}
        found = interpret(graph, feeds)
        wanted = session.run(None, feeds)
        np.testing.assert_allclose(found["y"], wanted[0], 1e-4, 1e-4)
        np.testing.assert_array_equal(found["z"], wanted[1])
    with pytest.raises(AssertionError, match="numbers beyond 32 bits in 'square'"):
        interpret(graph, feeds | {"c": np.array(True)})


def test_lengths_that_a_run_finds_are_dimensions_of_a_signature(tmp_path: Path) -> None:
    count = {"name": "y.count", "dtype": "int64", "shape": [], "hidden": True}
    rows = {"name": "y", "dtype": "float32", "shape": ["y.count", 8], "largest": [100, 8]}
    document = {"dims": [], "inputs": [], "outputs": [rows, count], "targets": {}}
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert signature_of(tmp_path) == document


def test_a_table_of_halves_that_a_body_hands_to_a_text_is_widened() -> None:
    """Around the loop, rows of it are looked up where they are stored as halves."""
    table = constant(np.ones((1, 8, 8, 2), np.float16), "f16")
    ids, rois = placeholder("ids", (2,), "i64"), placeholder("rois", (1, 4), "f32")
    go, k, s = (ops.parameter(*p) for p in (((), "bool"), ((), "i64"), ((1, 4), "f32")))
    first = constant(np.zeros(1, np.int32), "i32")
    found = ops.roi_align(ops.cast(table, "f32"), s, first, 1, 2)
    found = found.op(table, *found.inputs[1:], **found.attrs)
    after = [ops.less(k, 9), ops.add(k, 1), ops.reshape(found, (1, 4))]
    begin = ops.less(ops.reshape(ops.reduce_max(ids, [0]), ()), 9)
    y = ops.iterate([begin, constant(0, "i64"), rois], [go, k, s], after)[2]
    rows = ops.cast(ops.gather(table, ids, 1), "f32")
    program = lower(run(Graph((ids, rois), {"rows": rows, "y": y}), 0), TARGETS["wasm"])
    (text,) = [s for s in program.steps if s.kernel.name == "roi_align"]
    assert {slot.dtype for slot in text.kernel.slots} <= TARGETS["wasm"].reads
    assert {s.dtype for step in program.steps for s in step.kernel.slots} >= {"f16"}


_DECODER = """<ir_version: 8, opset_import: ["": 17]>
    m (float[1, 64] x, int64 n) => (float[1, 64] y) <int64 w = {2}> {
        y = Loop(n, , x) <body = b (int64 i, bool g, float[1, 64] s) => (bool h, float[1, 64] t)
            { h = Identity(g)  k = Add(i, w)  r = Gather<axis = 0>(weights, k)
              p = MatMul(s, weights)  q = Add(p, r)  t = Tanh(q) }> }"""


def _decoder() -> onnx.ModelProto:
    proto = parser.parse_model(_DECODER)
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32) / 8
    proto.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    return proto


def test_weights_in_bodies_are_narrower_where_that_is_asked_for() -> None:
    proto = _decoder()
    graph, (note,) = quantise(load(proto).graph, weight_form("int8"))
    assert note.startswith("weights of 2 layers are stored: 2 as int8;")
    for target in TARGETS.values():
        program = lower(run(graph, 0), target)
        assert "i8" in {v.dtype for v in program.weights.values()}
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    feeds = {"x": x, "n": np.array(4)}
    (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)
    difference = np.abs(interpret(run(graph, 0), feeds)["y"] - wanted).max()
    assert 1e-5 < difference < 0.05


def test_what_a_loop_reads_at_is_checked(tmp_path: Path) -> None:
    """The least and the greatest position of all iterations, which are none of no iteration."""
    proto = _decoder()
    report = transpile(
        proto.SerializeToString(), tmp_path / "d", targets=["wasm"], weights="int8", debug=True
    )
    assert report.descriptor["weights"]["form"] == "int8:128"
    (check,) = report.descriptor["checks"]
    assert check == {"of": "gather 'r'", "low": "check 0 low", "high": "check 0 high", "size": 64}
    assert checked(load(proto).graph, compute=False)[1] is None
    graph, _ = checked(load(proto).graph, compute=True)
    (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(
        None, {"x": np.ones((1, 64), np.float32), "n": np.array(4)}
    )
    for n, low, high in ((4, 2, 5), (0, 2**31 - 1, -(2**31)), (90, 2, 91)):
        found = interpret(run(graph, 0), {"x": np.ones((1, 64), np.float32), "n": np.array(n)})
        assert (found["check 0 low"], found["check 0 high"]) == (low, high)
        if n == 4:
            np.testing.assert_allclose(found["y"], wanted, 1e-5, 1e-5)
