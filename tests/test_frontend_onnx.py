"""The ONNX frontend: ONNX's own node tests through the numpy reading, dimensions, and what bad
models get.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from tests import test_draws
from tests.cases import CASES
from tests.conformance import READINGS, cases, folder_cases, recorded
from tests.conformance import run as run_cases
from tests.interpret import interpret
from tests.test_onnx_microsoft import MADE, Draw
from tools import ops_table
from webdnn import ops, passes
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from webdnn.frontend import load
from webdnn.frontend.onnx import files
from webdnn.frontend.onnx.registry import DOMAINS, full_name
from webdnn.graph import CONST, DTYPES, evaluate, type_text
from webdnn.passes import wide

# ---- ONNX's node tests --------------------------------------------------------------------------


@pytest.mark.parametrize("reading", READINGS)
def test_onnx_backend_tests(reading: str) -> None:
    """What passes by the record does so by both readings of its graph, and nothing else."""
    results = run_cases(cases(), reading)
    wrong = {name: said for name, said in results.items() if said}
    known = recorded()["graph"]
    text = "\n".join(f"{name}: {wrong[name]}" for name in wrong if name not in known)
    assert not text, f"these have passed:\n{text}"
    more = known.keys() - wrong.keys() if reading == "element" else ()
    assert not more, f"to be recorded (--target element --record), since they pass now: {more}"


# ---- models for the tests below -----------------------------------------------------------------


def model(text: str, opset: int = 17, ir: int = 10, **constants: np.ndarray) -> onnx.ModelProto:
    """A model from ONNX's textual syntax, with initialisers."""
    proto = parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]>\n{text}')
    for name, array in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


RELU = "m (float[1, 3] x) => (float[1, 3] y) { y = Relu(x) }"


def refusal(kind: type[Exception], *args: Any, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        load(*args, **more)
    return str(caught.value)


# ---- dimensions ---------------------------------------------------------------------------------

IMAGE = "m (float[N, 3, height, width] x) => (float[N, 3, a, b] y) { y = Relu(x) }"


def test_ranges_make_symbolic_dimensions() -> None:
    graph = load(model(IMAGE), {"height": (64, 512), "width": 96}).graph
    (x,) = graph.inputs
    assert [str(d) for d in x.shape] == ["1", "3", "height", "96"]
    assert [(d.args[1], d.args[2]) for d in graph.dims] == [(64, 512)]


def test_batch_becomes_one_and_notes_say_what_was_settled() -> None:
    notes = load(model(IMAGE), {"height": 64, "width": 96}).notes
    assert any(n.startswith("N = 1 (the batch)") and "--dim N=SIZE" in n for n in notes), notes
    assert any(note.startswith("height = 64") for note in notes), notes
    assert load(model(IMAGE), {"N": 4, "height": 8, "width": 8}).graph.inputs[0].shape == (
        4,
        3,
        8,
        8,
    )


@pytest.mark.parametrize(
    "keys",
    [
        ("height", "width"),
        ("x.2", "x.3"),
        ("x_2", "x_3"),
        ("hei", "wid"),
        ("h", "w"),
        ("H", "W"),
    ],
)
def test_names_of_dimensions(keys: tuple[str, str]) -> None:
    graph = load(model(IMAGE), dict(zip(keys, (5, 7), strict=True))).graph
    assert graph.inputs[0].shape == (1, 3, 5, 7)


def test_unnamed_and_colliding_dimensions() -> None:
    proto = model(IMAGE)
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
    assert load(proto, {"x.2": 5, "x.3": 7}).graph.inputs[0].shape == (1, 3, 5, 7)
    assert load(proto, {"h": 5, "w": 7}).graph.inputs[0].shape == (1, 3, 5, 7)
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "?"
    assert load(proto, {"x.2": 5, "x.3": 7}).graph.inputs[0].shape == (1, 3, 5, 7)


def test_channels_last_images() -> None:
    proto = model("m (float[N, a, b, 3] x) => (float[N, a, b, 3] y) { y = Relu(x) }")
    assert load(proto, {"h": 5, "w": 7}).graph.inputs[0].shape == (1, 5, 7, 3)


def test_one_name_is_one_dimension() -> None:
    proto = model("m (float[B, T] x, float[B, T] z) => (float[B, T] y) { y = Add(x, z) }")
    graph = load(proto, {"T": (1, 9)}).graph
    assert graph.inputs[0].shape[1] is graph.inputs[1].shape[1] is graph.dims[0]


@pytest.mark.parametrize("size", ["8", 8.0, None, (8,), (1, 2, 1, 1), ("1", 2)])
def test_sizes_that_are_no_numbers(size: Any) -> None:
    with pytest.raises(DimensionError, match=r"dims\['h'\]: expected a size, a pair of"):
        load(bytes(9), {"h": size})


def test_sizes_of_numpy() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "f (float[h, w] x) => (float[h, w] y) { y = Relu(x) }"
    )
    low, high, w = np.arange(2, 5)
    graph = load(model, {"h": (low, high), "w": w}).graph
    assert [str(d.args[0]) for d in graph.dims] == ["h"]
    assert graph.inputs[0].shape[1] == 4


@pytest.mark.parametrize("model", [None, 5, {"weight": np.ones(3)}, np.ones(3), ["model.onnx"]])
def test_objects_that_are_no_models(model: Any) -> None:
    with pytest.raises(ModelError, match="expected the path of a model file, its bytes, or a mod"):
        load(model)


def test_a_missing_dimension_says_what_to_add() -> None:
    text = refusal(DimensionError, model(IMAGE), {"height": 8})
    assert (
        "axis 3 of input 'x' (named 'width')" in text
        and "--dim width=SIZE" in text
        and "named 'height'" not in text
        and text.endswith(
            "with sizes that it takes: --dim height=8 width=32..640 "
            "(in Python dims={'height': 8, 'width': (32, 640)})"
        )
    )


@pytest.mark.parametrize(
    ("dims", "parts"),
    [
        ({"height": 8, "width": 8, "depth": 3}, ["--dim depth", "no such", "height", "width"]),
        ({"height": -1, "width": 8}, ["--dim height=-1", "from 0 up"]),
        ({"height": (9, 3), "width": 8}, ["--dim height=9..3"]),
        ({"height": (1, 9, 3), "width": 8}, ["--dim height=1..9:3", "1..7:3 or height=3..9:3"]),
        ({"height": (1, 9), "width": "8 * k"}, ["width=8*k", "'k' is no open dimension"]),
        ({"height": "width - 4", "width": (1, 8)}, ["height=width-4", "would be -3"]),
        ({"height": "width", "width": "height"}, ["height and width", "computed from the other"]),
        ({"height": 8, "x.2": 9, "width": 8}, ["height", "x.2", "differ"]),
    ],
)
def test_wrong_dimensions(dims: dict[str, Any], parts: list[str]) -> None:
    text = refusal(DimensionError, model(IMAGE), dims)
    assert all(part in text for part in parts), text


def test_an_ambiguous_beginning() -> None:
    proto = model("m (float[1, seq_a, seq_b] x) => (float[1, a, b] y) { y = Relu(x) }")
    text = refusal(DimensionError, proto, {"seq": 8})
    assert "seq_a" in text and "seq_b" in text


def test_fixed_dimensions_that_contradict_the_declared_output() -> None:
    proto = model("m (float[n, k] x) => (float[1, 8] y) { y = Relu(x) }")
    assert load(proto, {"k": 8})
    assert "[1, 8]" in refusal(ModelError, proto, {"k": 9})


def test_outputs_declared_with_other_axes() -> None:
    """As PyTorch declares those of an If of which it knows one branch; onnxruntime takes them."""
    proto = model("m (float[n, 3] x) => (float[6] y) { y = Relu(x) }")
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(
        None, {"x": np.ones((2, 3), np.float32)}
    )
    imported = load(proto, {"n": 2})
    assert imported.graph.outputs["y"].shape == expected.shape
    assert any("'y' is declared as [6]" in note for note in imported.notes)


def test_symbolic_sizes_that_are_not_always_equal() -> None:
    proto = model(
        """m (float[1, 2, h, w] x) => (float[1, 2, a, b] y) {
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x)
        u = Resize<mode = "nearest">(p, , s)  y = Add(u, x) }""",
        s=np.array([1, 1, 2, 2], np.float32),
    )
    even = load(proto, {"h": (2, 8, 2), "w": 4})
    assert even.graph.outputs["y"].shape == (1, 2, *even.graph.dims, 4)
    found = load(proto, {"h": (1, 9), "w": 4})
    assert found.graph.dims == even.graph.dims
    assert found.notes[0].startswith("h = 2..8:2, since Add node of 'y' needs ")
    assert load(proto, {"h": 8, "w": 4})


def test_shapes_are_computed_now() -> None:
    proto = model("""m (float[1, 3, h, w] x) => (float[a, b] y) {
        s = Shape(x)  start = Constant<value_ints = [2]>()  end = Constant<value_ints = [4]>()
        hw = Slice(s, start, end)  one = Constant<value_ints = [-1]>()
        area = ReduceProd<keepdims = 1>(hw)
        to = Concat<axis = 0>(one, area)  y = Reshape(x, to) }""")
    graph = load(proto, {"h": (2, 9), "w": (3, 8)}).graph
    y = graph.outputs["y"]
    assert y.op is ops.RESHAPE and str(y.shape[1]) in ("(h * w)", "h * w") and y.shape[0] == 3


# ---- constants ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "float16",
        "float64",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "bool",
    ],
)
def test_constants_of_every_dtype(dtype: str) -> None:
    array = np.array([[0, 1, 100], [3, 1, 0]]).astype(dtype)
    big = np.resize(array, (2, 50000))
    for data in (array, big):
        proto = helper.make_model(
            helper.make_graph(
                [helper.make_node("Identity", ["c"], ["y"])],
                "m",
                [],
                [helper.make_empty_tensor_value_info("y")],
                [numpy_helper.from_array(data, "c")],
            ),
            opset_imports=[helper.make_opsetid("", 17)],
        )
        y = load(proto).graph.outputs["y"]
        assert DTYPES[y.dtype] == dtype
        np.testing.assert_array_equal(evaluate(y), data)


def test_bfloat16_and_small_integers_are_widened() -> None:
    import ml_dtypes

    for kind, wanted in (
        (ml_dtypes.bfloat16, np.float32),
        (ml_dtypes.int4, np.int8),
        (ml_dtypes.uint4, np.uint8),
    ):
        tensor = numpy_helper.from_array(np.array([1, 3, 7]).astype(kind), "c")
        proto = helper.make_model(
            helper.make_graph(
                [helper.make_node("Identity", ["c"], ["y"])],
                "m",
                [],
                [helper.make_empty_tensor_value_info("y")],
                [tensor],
            ),
            opset_imports=[helper.make_opsetid("", 21)],
        )
        np.testing.assert_array_equal(
            evaluate(load(proto).graph.outputs["y"]), np.array([1, 3, 7], wanted)
        )


def test_weights_stay_in_the_file_until_they_are_needed(tmp_path: Path) -> None:
    """Those of initialisers and of Constant nodes; in a path's file, and in a file's bytes."""
    weights, shift = np.random.default_rng(0).random((2, 300, 400)).astype(np.float32)
    proto = model(
        "m (float[300, 300] x) => (float[300, 400] y) { z = MatMul(x, w) y = Add(z, c) }", w=weights
    )
    data = numpy_helper.from_array(shift)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=data))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    for source in (path, path.read_bytes(), proto):
        held = files.read(source)[0].ByteSize()
        assert source is proto or held < 1000, f"{held} bytes in the protocol buffer"
        w, c = (v for v in load(source).graph.values() if v.op is CONST)
        np.testing.assert_array_equal(evaluate(w), weights)
        np.testing.assert_array_equal(evaluate(c), shift)


def test_external_data(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    proto = model("m (float[1, 30] x) => (float[1, 40] y) { y = MatMul(x, w) }", w=weights)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    (w,) = [v for v in load(path).graph.values() if v.op is CONST]
    np.testing.assert_array_equal(evaluate(w), weights)
    data = (tmp_path / "m.bin").read_bytes()
    (tmp_path / "m.bin").write_bytes(data[:-4])
    text = refusal(ModelError, path)
    assert "'m.bin' is truncated" in text and str(len(data)) in text
    (tmp_path / "m.bin").unlink()
    text = refusal(ModelError, path)
    assert "'w'" in text and "m.bin" in text and "does not exist" in text


def test_models_of_a_cache_of_links(tmp_path: Path) -> None:
    """As Hugging Face lays it out: names are links to blobs, which bear the names of hashes."""
    weights = np.random.default_rng(0).random((300, 400)).astype(np.float32)
    proto = model("m (float[1, 300] x) => (float[1, 400] y) { y = MatMul(x, w) }", w=weights)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(proto, blobs / "a1")  # 480 kB inside the model's file
    onnx.save(proto, blobs / "b2", save_as_external_data=True, location="m.onnx_data")
    (blobs / "m.onnx_data").rename(blobs / "c3")
    up = Path("../../../blobs")
    for name, blob in (("one.onnx", "a1"), ("m.onnx", "b2"), ("m.onnx_data", "c3")):
        (snapshot / name).symlink_to(up / blob)
    for name in ("one.onnx", "m.onnx"):
        (w,) = [v for v in load(snapshot / name).graph.values() if v.op is CONST]
        np.testing.assert_array_equal(evaluate(w), weights)
    (snapshot / "m.onnx_data").unlink()
    text = refusal(ModelError, snapshot / "m.onnx")
    assert str(snapshot / "m.onnx_data") in text and str(blobs / "m.onnx_data") in text
    (blobs / "c3").rename(blobs / "m.onnx_data")  # beside the target of a link
    (w,) = [v for v in load(snapshot / "m.onnx").graph.values() if v.op is CONST]
    np.testing.assert_array_equal(evaluate(w), weights)
    (tmp_path / "elsewhere").write_bytes((blobs / "m.onnx_data").read_bytes())
    (snapshot / "m.onnx_data").symlink_to(tmp_path / "elsewhere")
    assert "a link to" in refusal(ModelError, snapshot / "m.onnx")
    (snapshot / "m.onnx_data").unlink()
    (snapshot / "m.onnx_data").symlink_to("m.onnx_data")
    assert "m.onnx_data" in refusal(ModelError, snapshot / "m.onnx")


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    proto = model(
        "m (float[1, 2] x) => (float[1, 2] y) { y = Add(x, w) }", w=np.ones(2, np.float32)
    )
    onnx.save(
        proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0
    )
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m.bin").symlink_to("../m.bin")
    absolute, long = str(tmp_path / "in" / "m.bin"), "m" * 5000
    for place in ("../m.bin", "a/../../m.bin", "..\\m.bin", absolute, "", "m\0bin", "m.bin", long):
        proto.graph.initializer[0].external_data[0].value = place
        (tmp_path / "in" / "n.onnx").write_bytes(proto.SerializeToString())
        text = refusal(ModelError, tmp_path / "in" / "n.onnx")
        assert "'w'" in text and ("not beside the model" in text or place == long)


def test_initialisers_listed_as_inputs_are_constants() -> None:
    proto = model(
        "m (float[1, 3] x, float[3] w) => (float[1, 3] y) { y = Mul(x, w) }",
        opset=8,
        ir=3,
        w=np.ones(3, np.float32),
    )
    assert [v.attrs["name"] for v in load(proto).graph.inputs] == ["x"]


def test_integers_beyond_32_bits() -> None:
    big = np.array([1, 2**40], np.int64)
    added = model("m (int64[2] x) => (int64[2] y) { y = Add(x, big) }", big=big)
    assert passes.run(load(added).graph).wide == {"x", "y"}
    # As the end of a slice, or as a bound, it is not data.
    sliced = model(
        "m (int64[4] x) => (int64[3] y) { y = Slice(x, s, e) }",
        s=np.array([1]),
        e=np.array([2**63 - 1]),
    )
    assert load(sliced).graph.outputs["y"].shape == (3,)
    clipped = model(
        "m (int64[4] x) => (int64[4] y) { y = Clip(x, lo, hi) }",
        lo=np.array(0),
        hi=np.array(2**63 - 1),
    )
    assert not passes.run(load(clipped).graph).wide
    # An operator without arithmetic on words takes the low ones, and an alarm is raised.
    text = "m (int64[2] x) => (int64[2] y) { s = Mul(x, x)  y, i = TopK(s, k) }"
    alarms = passes.run(load(model(text, k=np.array([2]))).graph).alarms
    (said,) = alarms.values()
    assert said.startswith("numbers beyond 32 bits in 's', of which arg_top_k takes 32 bits")


# ---- nodes --------------------------------------------------------------------------------------


def test_all_unsupported_operators_in_one_error() -> None:
    proto = model(
        """m (float[1, 3] x) => (float[1, 3] y) {
        a = StringNormalizer(x)  b = Frobnicate(x)  c = ImageDecoder(x)  e = Relu(x)  y = Sum(a,
        b, c, e) }"""
    )
    proto.graph.node[1].domain = "my.domain"
    proto.graph.node[2].name = "top"
    text = refusal(UnsupportedError, proto)
    assert "3 operators" in text
    assert "StringNormalizer (ai.onnx, opset 17)" in text
    assert "Frobnicate (my.domain, opset ?)" in text
    assert "ImageDecoder (ai.onnx, opset 17) at ImageDecoder node 'top'" in text
    assert "Relu" not in text
    assert '@webdnn.onnx.register("my.domain::Frobnicate")\n  def frobnicate(x):' in text


def test_nodes_that_no_output_needs_are_not_looked_at() -> None:
    body = "{ z = StringNormalizer(x)  y = Relu(x) }"
    assert load(model(f"m (float[1, 3] x) => (float[1, 3] y) {body}"))


def test_a_local_function_is_inlined() -> None:
    proto = parser.parse_model("""<ir_version: 10, opset_import: ["" : 17, "local" : 1]>
        m (float[1, 3] x) => (float[1, 3] y) { y = local.scaled <factor = 3.0> (x) }
        <domain: "local", opset_import: ["" : 17]>
        scaled <factor> (a) => (b) {
            f = Constant <value_float: float = @factor> ()  b = Mul(a, f) }""")
    graph = load(proto).graph
    x = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(interpret(graph, {"x": x})["y"], x * 3)


def test_names_of_the_model_lead_to_values() -> None:
    graph = load(
        model("m (float[1, 3] x) => (float[1, 3] y) { a = Relu(x)  b = Neg(a)  y = Exp(b) }")
    ).graph
    assert {"x", "a", "b", "y"} <= set(graph.names)
    assert graph.names["b"].op is ops.neg and graph.names["y"] is graph.outputs["y"]


def test_nodes_may_come_in_any_order() -> None:
    proto = model("m (float[1, 3] x) => (float[1, 3] y) { a = Relu(x)  y = Exp(a) }")
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert load(proto).graph.outputs["y"].op is ops.exp_


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        (
            "m (float[1, 3] x) => (float[1, 3] y) { y = Add(x, z) }",
            ModelError,
            ["'z'", "nothing in the model defines", "Add node of 'y'"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 3] y) { a = Add(x, b)  b = Relu(a)  y = Neg(b) }",
            ModelError,
            ["cycle", "Add", "Relu"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 3] y) { y = Relu(x)  y = Neg(x) }",
            ModelError,
            ["'y' is defined twice"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 3] z) { y = Relu(x) }",
            ModelError,
            ["'z'", "nothing in the model defines"],
        ),
        (
            "m (float[1, 3] x, float[1, 4] w) => (float[1, 3] y) { y = Add(x, w) }",
            ModelError,
            ["Add node of 'y'", "do not broadcast"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 3] y) { y = Concat(x, x) }",
            ModelError,
            ["attribute 'axis' is missing"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 3] y) { y = Relu() }",
            ModelError,
            ["1 inputs expected, 0 found"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 3] y) { y = Relu<wild = 3>(x) }",
            UnsupportedError,
            ["attribute 'wild'"],
        ),
        (
            "m (string[1, 3] x) => (string[1, 3] y) { y = Identity(x) }",
            UnsupportedError,
            ["input 'x'", "string", "float32"],
        ),
        (
            "m (complex64[1, 3] x) => (complex64[1, 3] y) { y = Identity(x) }",
            UnsupportedError,
            ["input 'x'", "complex64"],
        ),
        (
            "m (seq(map(int64, float[1])) x) => (seq(map(int64, float[1])) y) { y = Identity(x) }",
            UnsupportedError,
            ["input 'x' has type map"],
        ),
        (
            "m (float[2, 3] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }",
            UnsupportedError,
            ["the shape: expected what is known", "elements of 's'", "Reshape node of 'y'"],
        ),
        (
            "m (float[1, 3] x, float[1, 5] w) => (float[1, 3] y) { y = MatMul(x, w) }",
            ModelError,
            ["MatMul node of 'y'", "do not fit"],
        ),
        (
            "m (float[1, 3] x) => (float[1, 4] y) { y = Relu(x) }",
            ModelError,
            ["output 'y' is declared as [1, 4]"],
        ),
        (
            "m (float[1, 3, 8, 8] x) => (float[a, b, c, d] y)"
            " { y = AveragePool<kernel_shape = [2, 2], strides = [0, 1]>(x) }",
            ModelError,
            ["AveragePool node of 'y'", "strides [0, 1]", "positive", "[8, 8]"],
        ),
        (
            "m (float[1, 3, 8, 8] x) => (float[a, b, c, d] y)"
            " { y = LpPool<kernel_shape = [3]>(x) }",
            ModelError,
            ["LpPool node of 'y'", "kernel [3]", "[8, 8]"],
        ),
        (
            "m (float[1, 3, 8, 8] x) => (float[a, b, c, d] y)"
            ' { y = AveragePool<kernel_shape = [2, 2], auto_pad = "SAME">(x) }',
            ModelError,
            ["AveragePool node of 'y'", "auto_pad", "'SAME'", "SAME_UPPER"],
        ),
        (
            "m (float[1, 2, 5, 5] x, float[4, 2, 3, 3] w) => (float[a, b, c, d] y)"
            " { y = Conv<kernel_shape = [3, 2]>(x, w) }",
            ModelError,
            ["Conv node of 'y'", "kernel_shape [3, 2]", "f32[4,2,3,3]"],
        ),
    ],
)
def test_broken_graphs(text: str, kind: type[Exception], parts: list[str]) -> None:
    message = refusal(kind, model(text))
    assert all(part in message for part in parts), message


def test_an_if_is_folded_where_its_condition_is_known() -> None:
    text = """m (float[1, 3] x CONDITION) => (float[1, 3] y) {
        y = If(c) <then_branch = t () => (float[1, 3] a) { a = Relu(x) },
                   else_branch = e () => (float[1, 3] b) { b = ImageDecoder(x) }> }"""
    graph = load(model(text.replace("CONDITION", ""), c=np.array(True))).graph
    assert graph.outputs["y"].op is ops.relu
    asks = model(text.replace("CONDITION", ", bool c"))
    message = refusal(UnsupportedError, asks)
    for part in ("If node of 'y': else_branch: the model needs an operator", "ImageDecoder",
                 "condition 'c' depends on input bool[] 'c'", "--set c=VALUE"):  # fmt: skip
        assert part in message
    fixed = load(asks, fixed={"c": True})
    assert fixed.graph == graph and fixed.notes == ["input 'c' is the constant True (--set)"]
    assert "ImageDecoder" in refusal(
        UnsupportedError, model(text.replace("CONDITION", ""), c=np.array(False))
    )


def test_an_if_that_depends_on_a_size_or_on_data() -> None:
    text = """m (float[1, n] x) => (float[1, n] y) {
        shape = Shape(x)
        size = Slice(shape, one, two)
        c = CONDITION
        y = If(c) <then_branch = t () => (float[1, n] a) { a = Relu(x) },
                  else_branch = e () => (float[OTHER, n] b) { b = BRANCH }> }"""
    constants = {"one": np.array([1]), "two": np.array([2]), "k": np.array([8])}

    def asks(condition: str = "Less(size, k)", branch: str = "Neg(x)") -> onnx.ModelProto:
        whole = text.replace("CONDITION", condition).replace("BRANCH", branch)
        return model(whole.replace("OTHER", "1" if branch == "Neg(x)" else "m"), **constants)

    assert load(asks(), {"n": 4}).graph.outputs["y"].op is ops.relu
    assert load(asks(), {"n": (1, 7)}).graph.outputs["y"].op is ops.relu
    assert load(asks(), {"n": (8, 16)}).graph.outputs["y"].op is ops.neg
    graph = load(asks(), {"n": (4, 16)}).graph
    for n in (4, 7, 8, 16):
        x = np.random.default_rng(n).standard_normal((1, n)).astype(np.float32)
        session = onnxruntime.InferenceSession(asks().SerializeToString())
        (expected,) = session.run(None, {"x": x})
        np.testing.assert_array_equal(interpret(graph, {"x": x}, {"n": n})["y"], expected)
    twice = asks(branch="Concat<axis = 0>(x, x)")
    message = refusal(UnsupportedError, twice, {"n": (4, 16)})
    for part in ("If node of 'y': output 'y': f32[1,n] or f32[2,n]: expected one shape",
                 "depends on the size of dimension 'n'", "--dim n=SIZE"):  # fmt: skip
        assert part in message, message
    assert load(twice, {"n": (4, 7)})
    twice.graph.node[2].CopyFrom(helper.make_node("ReduceMax", ["x"], ["f"], keepdims=0))
    twice.graph.node.insert(3, helper.make_node("Cast", ["f"], ["c"], to=9))
    message = refusal(UnsupportedError, twice, {"n": 400})
    assert "depends on input f32[1,400] 'x'" in message and "--set" not in message


def test_an_if_of_an_input_says_that_it_may_be_constant() -> None:
    proto = model("""m (float[3] x, bool c) => (float[3] y) {
        y = If(c) <then_branch = t () => (float[3] a) { a = Relu(x) },
                  else_branch = e () => (float[3] b) { b = Neg(x) }> }""")
    (note,) = load(proto).notes
    assert "both branches are computed in each run" in note and "--set c=VALUE" in note


def test_errors_within_bodies_say_where() -> None:
    proto = model("""m (float[3] x) => (float[3] y) {
        three = Constant<value_int = 3>()
        y = Loop(three, , x) <body = b (int64 k, bool go, float[3] s) => (bool on, float[3] t) {
            on = Identity(go)
            t = If(c) <then_branch = d () => (float[3] a) { a = Add(s, w) },
                       else_branch = e () => (float[3] b) { b = Neg(s) }> }> }""",
        c=np.array(True), w=np.zeros(2, np.float32))  # fmt: skip
    message = refusal(WebDNNError, proto)
    place = "Loop node of 'y': iteration 0: If node of 't': then_branch: Add node of 'a': "
    assert message.startswith(place), message


@pytest.mark.parametrize(
    ("times", "body", "parts"),
    [
        ("", "on = Identity(go)  t = Add(s, s)",
         ["Loop node of 'y': it has no limit of iterations, and its condition never ends it"]),
        ("3", "on = Identity(go)  t = Concat<axis = 0>(s, s)  m = Size(t)", []),
        ("15000", "on = Identity(go)  t = Concat<axis = 0>(s, s)",
         ["Loop node of 'y': state 2 is f32[2] before an iteration and f32[4] after it"]),
    ],
)  # fmt: skip
def test_loops_that_are_refused(times: str, body: str, parts: list[str]) -> None:
    count = f"m = Constant<value_int = {times}>()" if times.isdigit() else ""
    name = "m" if count else times
    proto = model(f"""m (float[a] x, int64 n) => (float[b] y) {{ {count}
        y = Loop({name}, , x) <body = b (int64 k, bool go, float[c] s) => (bool on, float[d] t)
            {{ {body} }}> }}""")
    if not parts:
        assert load(proto, {"a": 2}).graph.outputs["y"].shape == (16,)
        return
    message = refusal(UnsupportedError, proto, {"a": 2})
    assert all(part in message for part in parts), message


# ---- inputs that are made constants --------------------------------------------------------------

SCALED = "m (float[1, n] x, float[1, n] mask, int64 k) => (float[1, n] y) BODY"
BODY = """{
    masked = Mul(x, mask)
    f = CastLike(k, x)
    y = Mul(masked, f) }"""

# Sizes whose positions lie between two elements, or would but for rounding.
BETWEEN = ((56, 13), (30, 35), (28, 2), (14, 16), (29, 45), (40, 18), (63, 44))


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_nearest_as_onnxruntime_rounds(coordinates: str, rounding: str) -> None:
    text = f"""m (float[1, 1, n] x, float[1, 1, m] like) => (float[1, 1, m] y) {{
        sizes = Shape (like)
        y = Resize <mode = "nearest", coordinate_transformation_mode = "{coordinates}",
                    nearest_mode = "{rounding}"> (x, , , sizes)
    }}"""
    proto = model(text, opset=19)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    opened = load(proto, {"n": (1, 64), "m": (1, 64)}).graph
    for n, m in BETWEEN:
        feeds = {"x": np.arange(n, dtype="f")[None, None], "like": np.zeros((1, 1, m), "f")}
        (expected,) = session.run(None, feeds)
        for graph, sizes in (load(proto, {"n": n, "m": m}).graph, {}), (opened, {"n": n, "m": m}):
            np.testing.assert_array_equal(interpret(graph, feeds, sizes)["y"], expected)


def test_inputs_become_constants() -> None:
    """As onnxruntime computes the model with these values given."""
    proto = model(SCALED.replace("BODY", BODY))
    mask = np.array([[1, 0, 2, 0.5]])  # float64: numbers, whatever their width
    imported = load(proto, fixed={"mask": mask, "k": 3})
    assert [v.attrs["name"] for v in imported.graph.inputs] == ["x"]
    assert imported.graph.inputs[0].shape == (1, 4)  # the size of the mask, which is x's, too
    x = np.random.default_rng(0).random((1, 4), np.float32)
    given = {"x": x, "mask": mask.astype(np.float32), "k": np.array(3)}
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, given)
    np.testing.assert_allclose(interpret(imported.graph, {"x": x})["y"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (
            {"rate": 1},
            r"--set rate: the model has no such input. It has x: float32\[1, n\]; mask: ",
        ),
        ({"k": 1.5}, r"--set k: expected a value for k: int64\[\]; found float64 1.5. The model's"),
        ({"k": True}, "found bool True"),
        ({"k": [1, 2]}, r"found int64\[2\]"),
        ({"k": "k.npy"}, "expected an .npy file"),
        ({"k": [[1], [1, 2]]}, "lists of numbers that are equally long"),
        ({"k": "text.npy"}, "expected an .npy file"),
        ({"mask": np.ones((2, 4))}, r"found float64\[2, 4\]"),
        ({"mask": 1e300}, "found float64 1e"),
        ({"x": [[1]], "mask": [[1]], "k": 1}, "no input is left"),
        ({"x": [[1, 2]], "mask": [[1]]}, "another constant has 2 for n"),
    ],
)
def test_constants_that_do_not_fit(fixed: dict[str, Any], message: str) -> None:
    with pytest.raises(WebDNNError, match=message):
        load(model(SCALED.replace("BODY", BODY)), fixed=fixed)


def test_constants_and_sizes_contradict() -> None:
    proto = model(SCALED.replace("BODY", BODY))
    with pytest.raises(
        DimensionError, match="--dim n=3: an input that --set makes a constant has 2"
    ):
        load(proto, {"n": 3}, fixed={"mask": [[1, 2]]})
    with pytest.raises(
        DimensionError, match=r"--dim k: .*make this input a constant: --set k=VALUE"
    ):
        load(proto, {"k": 3})


def test_a_batch_is_said_to_be_one() -> None:
    proto = model("m (float[N, t] x) => (float[N, t] y) { y = Relu(x) }")
    assert load(proto, {"t": 3}).batch == ("N",)
    assert load(proto, {"t": 3, "N": 2}).batch == ()
    assert "The batch, axis 0 of input 'x' (named 'N'), is 1" in refusal(DimensionError, proto)


def test_opsets_before_7_by_the_suites_own_data() -> None:
    """PyTorch's models of the suite are of opset 6: operands broadcast along axes by name."""
    old = [c for c in folder_cases() if c.kind != "simple" and c.proto.opset_import[0].version < 7]
    results = run_cases(old, "element")
    assert len(results) == 112
    assert not {name: said for name, said in results.items() if said}


@pytest.mark.parametrize(
    ("text", "opset", "expected"),
    [
        ("m (float[2,3] x) => (float[4,3] y) { y = Reshape<shape = [3, 2]>(x) }", 4, "f32[3,2]"),
        ('m (float[2,3] x) => (int32[2,3] y) { y = Cast<to = "INT32">(x) }', 5, "i32[2,3]"),
        ("m (float[2,3] x) => (float[4,3] y) { y = Concat(x, x) }", 3, "f32[2,6]"),
        ("m (float[2,3] x) => (float[4,3] y) { y = Pad<paddings = [0, 1, 0, 1]>(x) }", 1,
         "f32[2,5]"),
        ("m (float[2,3] x) => (float[4,3] y) <float[1] t = {2}, float[1] a = {1}>"
         " { y = Tile(x, t, a) }", 5, "f32[2,6]"),
    ],
)  # fmt: skip
def test_operands_that_were_attributes(text: str, opset: int, expected: str) -> None:
    proto = model(text, opset)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert type_text(load(proto).graph.outputs["y"]) == expected


# ---- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('y = Gelu <approximate = "tan"> (x)', "none, tanh"),
        ('y = DepthToSpace <blocksize = 2, mode = "RCD"> (x)', "DCR, CRD"),
        ('y = MaxPool <kernel_shape = [2, 2], auto_pad = "SAME"> (x)', "NOTSET, SAME_UPPER"),
        ('y = Resize <nearest_mode = "zz"> (x, , s)', "round_prefer_floor, round_prefer_ceil"),
        ('y = Resize <mode = "Nearest"> (x, , s)', "nearest, linear, cubic"),
        ('y = ScatterND <reduction = "sub"> (x, i, u)', "none, add, mul, max, min"),
        ('y = GridSample <padding_mode = "same"> (x, g)', "zeros, border, reflection"),
    ],
)
def test_words_that_an_attribute_cannot_be(body: str, words: str) -> None:
    text = refusal(
        ModelError,
        model(
            f"m (float[1, 4, 4, 4] x) => (float[a, b, c, d] y) {{ {body} }}",
            opset=20,
            s=np.array([1, 1, 2, 2], np.float32),
            i=np.array([[0]]),
            u=np.ones((1, 4, 4, 4), np.float32),
            g=np.zeros((1, 2, 2, 2), np.float32),
        ),
    )
    assert f"; expected {words}" in text


def test_names_that_are_no_text() -> None:
    data = model(RELU).SerializeToString()
    for name in (b"Relu", b"x", b"y"):
        broken = data.replace(bytes([len(name)]) + name, bytes([len(name)]) + b"\xff" + name[1:])
        assert broken != data
        assert "no text in UTF-8" in refusal(ModelError, broken)


def test_an_if_that_is_not_whole() -> None:
    proto = model("m (float[2] x) => (float[a] y) { y = If (c) }", c=np.array(True))
    assert "If node of 'y': attribute 'then_branch' is missing" in refusal(ModelError, proto)
    del proto.graph.node[0].input[:]
    assert "If node of 'y': 1 input expected, its condition" in refusal(ModelError, proto)


def test_parts_of_a_concat_with_other_axes() -> None:
    proto = model(
        "m (float[2] x) => (float[a] y) { y = Concat <axis = 0> (x, c) }", c=np.float32(1)
    )
    assert "concat along axis 0: f32[2], f32[] do not fit" in refusal(UnsupportedError, proto)


def test_what_trusting_code_meets_names_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception itself, which may be a fault of ours, stays in the chain."""

    def trusting(x: Any) -> Any:
        return {}[x]

    monkeypatch.setitem(DOMAINS[""], "Relu", trusting)
    with pytest.raises(ModelError, match=r"Relu node of 'y': its attributes .* are damaged") as e:
        load(model(RELU))
    assert isinstance(e.value.__cause__, KeyError)

    def wrong(x: Any) -> Any:
        return mistyped  # noqa: F821

    monkeypatch.setitem(DOMAINS[""], "Relu", wrong)
    with pytest.raises(NameError):
        load(model(RELU))


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty"),
        (b"PK\x03\x04 something", "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"hello world, this is no model", "not an ONNX file"),
        (bytes(range(256)) * 9, "not an ONNX file"),
        (b"\x93NUMPY" + bytes(99), "not an ONNX file"),
    ],
)
def test_files_that_are_not_onnx(data: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert part in refusal(ModelError, path)
    assert part in refusal(ModelError, data)


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(ModelError, tmp_path / "none.onnx")
    assert "folder" in refusal(ModelError, tmp_path)


@pytest.mark.parametrize("large", [False, True])
def test_a_truncated_file_never_passes(large: bool, tmp_path: Path) -> None:
    weights = np.ones((300 if large else 3, 300), np.float32)
    data = model(
        "m (float[1, 3] x) => (float[1, 300] y) { y = MatMul(x, w) }".replace(
            "1, 3]", f"1, {len(weights)}]", 1
        ),
        w=weights,
    ).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert load(path)
    for cut in (*range(1, min(len(data), 200), 7), len(data) // 2, len(data) - 40, len(data) - 1):
        path.write_bytes(data[:cut])
        for given in (path, data[:cut]):
            text = refusal(ModelError, given)
            assert re.search("truncated|damaged|not an ONNX|not a whole", text), (cut, text)


def test_every_operator_is_plain() -> None:
    """The registry names ONNX's operators and nothing else."""
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""} | {
        "SimplifiedLayerNormalization"
    }
    ours = set(DOMAINS[""])
    assert ours <= known, ours - known


@pytest.mark.parametrize(("dtype", "x"), [("int8", [-100, -3, 7]), ("uint32", [4000000000, 1, 2])])
@pytest.mark.parametrize("reduction", ["max", "min"])
def test_elements_that_no_update_hits_stay(dtype: str, x: list[int], reduction: str) -> None:
    """Whatever the dtype: what a reduction over no updates begins with changes nothing."""
    proto = parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 18]>
    scatter ({dtype}[3] x, int64[1] i, {dtype}[1] u) => ({dtype}[3] y)
    {{ y = ScatterElements <axis = 0, reduction = "{reduction}"> (x, i, u) }}""")
    feeds = {"x": np.array(x, dtype), "i": np.array([2]), "u": np.array([5], dtype)}
    (expected,) = ReferenceEvaluator(proto).run(None, feeds)
    np.testing.assert_array_equal(interpret(load(proto).graph, feeds)["y"], expected)


@pytest.mark.parametrize(
    ("line", "wraps"),
    [
        ("y = Add (x, one)", False),  # an id with an offset
        ("y = Sub (one, x)", False),  # a mask that is turned around
        ("y = Add (x, x)", False),  # of inputs that are near 0
        ("a = Add (x, x) y = Add (a, x)", True),
        ("y = Mul (x, three)", True),
        ("a = Mod (x, n) y = Mul (a, three)", False),
        ("a = Mul (x, three) y = Mod (a, n)", True),  # a hash
        ("a = Equal (x, one) b = Cast <to = 7> (a) c = CumSum (b, zero) y = Mul (c, b)", False),
        ("c = CumSum (x, zero) y = Sub (c, one)", True),
        ("a = Equal (x, one) b = Cast <to = 7> (a) y = Mul (b, x)", False),
        ("y = ReduceSum <keepdims = 0> (x)", True),
        ("a = ReduceSum <keepdims = 0> (x) y = Cast <to = 6> (a)", True),
        ("y = ReduceMax <keepdims = 0> (x)", False),
        ("y = ReduceProd <keepdims = 0> (x)", True),
        ("a = Clip (x, one, n) b = Mul (a, a) y = Neg (b)", False),
        ("a = Clip (x, one, n) y = ReduceProd <keepdims = 0> (a)", True),
        ("a = Clip (x, one, n) b = Mul (a, a) c = Mul (b, b) y = Div (c, n)", True),
        ("a = ArgMax <axis = 0> (x) y = Mul (a, big)", False),
        ("a = Gather (table, x) y = Mul (a, three)", False),
        ("a, i = TopK (x, one1) y = Mul (i, big)", False),
        ("a, i = TopK (x, one1) y = Mul (a, big)", True),
        ("a = Shape (x) b = Mul (a, big) y = Add (x, b)", False),
        ("a = Cast <to = 1> (x) b = Floor (a) y = Cast <to = 7> (b)", False),
        ("a = Div (x, three) b = Mul (a, three) y = Sub (x, b)", False),
        ("a = Range (zero, n, one) b = Mul (a, big) y = ReduceMax <keepdims = 0> (b)", False),
        ("a = Abs (x) y = Neg (a)", False),
        ("a = Where (m, x, one) b = Concat <axis = 0> (a, table) y = Add (b, three)", False),
        ("y = Pow (x, three)", True),
        ("a = Mod (x, n) y = Pow (a, three)", False),
        ("a = Mod (x, three) h = Constant <value = int64 {64}> () y = Pow (a, h)", True),
        ("h = Constant <value = int64 {1000000000000}> () y = Max (x, h)", True),
        ("h = Constant <value = int64 {1000000000000}> () y = Clip (x, h)", True),
        ("h = Constant <value = int64 {1000000000000}> () y = Min (x, h)", False),
        ("y = MatMul (x, x)", True),
        ("a = Mod (x, n) y = MatMul (a, a)", False),
        ('y = Einsum <equation = "i,i->"> (x, x)', True),
        ("a = Cast <to = 6> (x) y = Mul (a, a)", False),  # wraps in every runtime
        ("y = ReduceSum <keepdims = 0> (table)", False),
    ],
)
def test_integers_that_are_not_proved_to_fit_are_computed_in_64_bits(
    line: str, wraps: bool
) -> None:
    """And all are what the reference computes, up to the largest inputs that the runner takes."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    ints (int64[4] x, bool[4] m) => (int64[4] y) <int64 one = {{1}}, int64 three = {{3}},
    int64 n = {{1000}}, int64 zero = {{0}}, int64 big = {{100000}}, int64[1] one1 = {{1}},
    int64[4] table = {{0, 7, 9, 900}}> {{ {line} }}"""
    proto = parser.parse_model(text)
    proto.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y"))
    hits: dict[str, int] = {}
    graph = wide.settle(load(proto).graph, hits)
    assert bool(hits) == wraps
    bound = graph.near.get("x", 2**31 - 1)
    x = np.array([bound, -bound, 3, 2**29])
    feeds = {"x": x % 4 if "Gather" in line else x, "m": np.array([True, False, True, True])}
    with np.errstate(over="ignore"):
        (expected,) = ReferenceEvaluator(proto).run(None, feeds)
    np.testing.assert_array_equal(interpret(graph, feeds)["y"], expected)


def _small(*lines: str, head: str, opset: int = 13) -> bytes:
    text = f'<ir_version: 8, opset_import: ["": {opset}]> {head} {{ {" ".join(lines)} }}'
    return parser.parse_model(text).SerializeToString()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("y = Softmax <axis = [1, 2]> (x)", "attribute 'axis' is INTS, expected INT"),
        ("y = LeakyRelu <alpha = 1> (x)", "attribute 'alpha' is INT, expected FLOAT"),
        ('y = Concat <axis = 0> (x, "", x)', "input 1 is omitted"),
        ("j = Cast <to = 3> (x) y = Softmax (j)", "input input is int8; Softmax of opset 13 takes"),
        ('y = Slice (x, "", i)', "starts: none is given"),
        (
            "j = Constant <value = int64[2] {0, 0}> () k = Constant <value = int64[1] {1}> ()"
            " y = Slice (x, j, k)",
            "2 starts, 1 ends",
        ),
        ("y = ConvTranspose <strides = [1]> (z, z)", "do not fit its inputs|pads|strides"),
    ],
)
def test_nodes_that_onnx_does_not_define(line: str, part: str) -> None:
    head = "g (float[2,3] x, float[1,1,3,3] z, int64[1] i) => (y)"
    with pytest.raises((ModelError, UnsupportedError), match=part):
        load(_small(line, head=head))


def test_names_given_twice() -> None:
    model = onnx.ModelProto.FromString(_small("y = Relu (x)", head="g (float[2] x) => (y)"))
    for field, what in (("input", "inputs"), ("output", "outputs")):
        twice = onnx.ModelProto()
        twice.CopyFrom(model)
        entries = getattr(twice.graph, field)
        entries.append(entries[0])
        with pytest.raises(ModelError, match=f"two {what} of the name"):
            load(twice)


def test_ranges_whose_lowest_sizes_are_negative() -> None:
    line = "w = Constant <value = float[1,1,3,1] {1, 1, 1}> () y = Conv (x, w)"
    model = _small(line, head="g (float[1,1,h,2] x) => (y)")
    assert load(model, {"h": (3, 9)})
    with pytest.raises(DimensionError, match=r"axis 2 of 'y' would have -1 elements at h=1"):
        load(model, {"h": (1, 9)})


# Attributes of the operators' page that change no result, or mean the same for another operator
# whose function is the same.
UNTESTED = {
    "BatchNormalization": {"momentum"}, "Cast": {"round_mode"},
    "CastLike": {"round_mode", "saturate"}, "Dropout": {"is_test"},
    "MaxPool": {"storage_order"},
    "QuantizeLinear": {"precision", "saturate"}, "DequantizeLinear": {"output_dtype"},
    "ConvInteger": {"auto_pad", "dilations", "group", "kernel_shape", "strides"},
    "QLinearConv": {"auto_pad", "dilations", "group", "kernel_shape", "strides"},
    "LpPool": {"ceil_mode"}, "SimplifiedLayerNormalization": {"axis", "epsilon"},
    "MeanVarianceNormalization": {"axes"}, "RNN": {"clip"}, "Upsample": {"scales"},
    "ReduceSum": {"axes"}, "com.microsoft::SkipGroupNorm": {"channels_last"},
    "com.microsoft::FusedMatMulActivation": {"transA", "transB", "transBatchA", "transBatchB"},
    "com.microsoft::NhwcFusedConv": {"activation_params"},
    "com.microsoft::TransposeMatMul": {"alpha", "transB"},
    "com.microsoft::GroupQueryAttention": {"qk_norm_epsilon"},
    "com.microsoft::QAttention": {"mask_filter_value", "scale", "unidirectional"},
    "com.microsoft::QGemm": {"transA"},
}  # fmt: skip


def test_attributes_on_the_operators_page_are_tested() -> None:
    """By a case that runs on both targets, one of ONNX's node tests that passes, or, in the domain
    com.microsoft, at random; what a fused operator has of ONNX's own is tested there.
    """
    used: dict[str, set[str]] = {}
    nodes = [n for case in CASES.values() for n in case.build().nodes]
    nodes += test_draws.model().graph.node
    nodes += [n for c in cases() if c.name not in recorded()["graph"] for n in c.proto.graph.node]
    for node in nodes:
        names = used.setdefault(full_name(node.domain, node.op_type), set())
        names |= {a.name for a in node.attribute}
    table = ops_table.attributes()
    for name in table:
        operator = name.removeprefix("com.microsoft::")
        if operator in MADE:
            some = [MADE[operator](Draw(k))[2] for k in range(20)]
            used.setdefault(name, set()).update(*some)
        plain = re.sub("^(Fused|NhwcFused|Nhwc|QLinear|DynamicQuantize|Q)", "", operator)
        if operator != name:
            used.setdefault(name, set()).update(table.get(plain, ()), table.get(operator, ()))
    left = {
        name: rest
        for name, taken in table.items()
        if (rest := set(taken) - used.get(name, set()) - {"stash_type", "noop_with_empty_axes"})
    }
    found = {name: more for name in left if (more := left[name] - UNTESTED.get(name, set()))}
    assert not found, found
    assert "spatial" not in table["BatchNormalization"]  # one value alone is taken


@pytest.mark.parametrize(
    ("op", "dtype"),
    [("ReduceLogSumExp", np.float32)]
    + [(op, d) for op in ("ReduceMax", "ReduceMin", "ReduceProd") for d in (np.float32, np.int32)],
)
def test_reductions_of_an_empty_constant(op: str, dtype: Any) -> None:
    proto = parser.parse_model(f"""<ir_version: 9, opset_import: ["": 20]>
    m (float[2] x) => (float[2] y) {{ y = {op} <keepdims = 0> (c, axes) }}""")
    proto.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y"))
    for name, array in (("c", np.zeros((2, 0), dtype)), ("axes", np.array([1]))):
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    feeds = {"x": np.ones(2, np.float32)}
    (expected,) = ReferenceEvaluator(proto).run(None, feeds)
    np.testing.assert_array_equal(evaluate(load(proto).graph.outputs["y"]), expected)


def _declares(text: str, name: str = "", shape: Any = ()) -> onnx.ModelProto:
    """A model of opset 18 whose value `name` is declared with this shape, of sizes and names."""
    proto = parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> m {text}')
    graph = proto.graph
    for v in (*graph.input, *graph.output, graph.value_info.add(name=name)):
        if v.name == name:
            v.CopyFrom(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        elif v.name == "y":
            v.CopyFrom(helper.make_empty_tensor_value_info("y"))
    return proto


@pytest.mark.parametrize(
    ("text", "name", "shape"),
    [
        # "?" and "" are no names: the sizes of two axes that have them are not one
        ("(float[a] x, int64[1] n) => (float[b] y) <int64[1] o = {0}> { y = Slice (x, o, n) }",
         "y", ["?"]),
        ("(float[a] x, int64[1] n) => (float[b] y) <int64[1] o = {0}> { y = Slice (x, o, n) }",
         "y", [""]),
        # made for another size of x
        ("(float[a] x, int64[1] n) => (float y) <int64[1] o = {0}> "
         "{ s = Slice (x, o, n) y = ReduceSum (s) }", "s", [4]),
        # some write 0 for what they do not know
        ("(float[20] x, int64[1] n) => (float y) <int64[1] o = {0}> "
         "{ s = Slice (x, o, n) y = ReduceSum (s) }", "s", [0]),
    ],
)  # fmt: skip
def test_declarations_that_say_nothing(text: str, name: str, shape: list[Any]) -> None:
    proto = _declares(text, name, shape)
    size = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if isinstance(shape[0], str):
        size.dim_param = shape[0]
    feeds = {"x": np.arange(20, dtype=np.float32), "n": np.array([7])}
    (expected,) = ReferenceEvaluator(proto).run(None, feeds)
    named = "a" if size.dim_param == "a" else "x.0"
    imported = load(proto, None if size.dim_value else {named: 20})
    np.testing.assert_array_equal(interpret(imported.graph, feeds)["y"], expected)


@pytest.mark.parametrize(
    "line",
    ["y = ReduceSum (x, n)", "y = Slice (x, n, n)", "y = Pad (x, m)", "y = OneHot (n, d, v)",
     "y = Tile (x, m)", "y = Reshape (x, n)", "y = Squeeze (x, n)", "y = CenterCropPad (x, m)"],
)  # fmt: skip
def test_a_declaration_of_another_rank(line: str) -> None:
    proto = _declares(
        "(float[3,1] x, int64[1] n, int64[2] m, int64 d, float[2] v) => (float[a] y) "
        f"{{ {line} }}", "y", [1, 1, 1],
    )  # fmt: skip
    message = r"declared as \[1, 1, 1\]; [12] axes expected. Correct the declaration"
    with pytest.raises(ModelError, match=message):
        load(proto)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 1, 1, 0]])
def test_indices_of_a_maximum_that_is_minus_infinity(pads: list[int]) -> None:
    """Those of the first element of the window, not of padding."""
    proto = _declares(
        "(float[1,1,2,2] x) => (float[a] y, int64[1,1,b,c] i) "
        f"{{ y, i = MaxPool <kernel_shape = [2,2], pads = {pads}> (x) }}"
    )
    feeds = {"x": np.full((1, 1, 2, 2), -np.inf, np.float32)}
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(["i"], feeds)[0]
    np.testing.assert_array_equal(interpret(load(proto).graph, feeds)["i"], expected)


@pytest.mark.parametrize("batch", [12, 300])
def test_the_batch_of_integer_matrices_is_no_depth(batch: int) -> None:
    """One product of floats, as each sum is of 64 products, however many matrices there are."""
    proto = _declares(
        f"(uint8[{batch},2,64] a, uint8[{batch},64,3] b) => (int32[a] y) "
        "{ y = MatMulInteger (a, b) }"
    )
    imported = load(proto).graph
    products = [v for v in imported.values() if v.op is ops.MATMUL]
    assert [v.dtype for v in products] == ["f32"]
    rng = np.random.default_rng(0)
    feeds = {v.attrs["name"]: rng.integers(0, 256, v.shape, np.uint8) for v in imported.inputs}
    (expected,) = ReferenceEvaluator(proto).run(None, feeds)
    np.testing.assert_array_equal(interpret(imported, feeds)["y"], expected)
