"""What `webdnn check` calls right, wrong and empty, without a browser."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.test_browser import need
from webdnn.browser.check import Run, _case, _file_name, _recorded, check
from webdnn.browser.compare import compare, still
from webdnn.browser.inputs import (
    _evaluate,
    _random,
    default_sizes,
    random_inputs,
    signature_of,
    table_sizes,
)
from webdnn.browser.reference import Reference, recorded, reference
from webdnn.errors import DimensionError, ModelError, WebDNNError
from webdnn.frontend import load


def around(largest: float) -> np.ndarray:
    return np.linspace(-largest, largest, 101, dtype=np.float32)


def test_tolerance_is_a_part_of_the_largest_magnitude() -> None:
    reference = around(1000)
    assert compare("y", reference + np.float32(0.09), reference, 1e-4).verdict == "right"
    result = compare("y", reference + np.float32(0.11), reference, 1e-4)
    assert result.verdict == "wrong"
    assert result.max_abs == pytest.approx(0.11, rel=1e-2)
    assert result.relative == pytest.approx(0.11e-3, rel=1e-2)


def test_half_precision_reference_is_itself_rounded() -> None:
    reference = around(1).astype(np.float16)
    exact = reference.astype(np.float32)
    assert compare("y", exact + np.float32(1e-3), reference, 1e-4).verdict == "right"
    assert compare("y", exact + np.float32(3e-3), reference, 1e-4).verdict == "wrong"


def test_one_wrong_element_is_enough() -> None:
    actual = around(1).copy()
    actual[50] += 0.01
    assert compare("y", actual, around(1), 1e-4).verdict == "wrong"


def test_integers_must_be_equal() -> None:
    reference = np.arange(100_000, dtype=np.int64)
    actual = reference.copy()
    actual[7] += 1  # far within 1e-4 of the largest
    assert compare("y", actual, reference, 1e-4).verdict == "wrong"
    assert compare("y", reference, reference, 1e-4).verdict == "right"


@pytest.mark.parametrize(
    ("expected", "actual", "verdict"),
    [
        ([0, 1, np.nan], [0, 1, np.nan], "right"),
        ([0, 1, np.nan], [0, 1, 2], "wrong"),
        ([0, 1, 2], [0, 1, np.nan], "wrong"),
        ([0, 1, np.inf], [0, 1, np.inf], "right"),
        ([0, 1, np.inf], [0, 1, -np.inf], "wrong"),
        ([0, 1, 2], [0, 1, np.inf], "wrong"),
        ([np.nan, np.nan], [np.nan, np.nan], "empty"),
    ],
)
def test_special_values(expected: list[float], actual: list[float], verdict: str) -> None:
    arrays = (np.array(values, np.float32) for values in (actual, expected))
    assert compare("y", *arrays, 1e-4).verdict == verdict


def test_shape_must_be_equal() -> None:
    result = compare("y", np.zeros((2, 3), np.float32), np.ones((3, 2), np.float32), 1e-4)
    assert (result.verdict, result.why) == ("wrong", "expected shape [3, 2], found [2, 3]")


def test_nearly_constant_reference_proves_nothing() -> None:
    reference = np.full(10, 5, np.float32)
    reference[0] += 0.004  # less than ten times 1e-4 of 5
    assert compare("y", reference, reference, 1e-4).verdict == "empty"
    reference[0] += 0.002
    assert compare("y", reference, reference, 1e-4).verdict == "right"
    zeros = np.zeros(10, np.float32)
    assert compare("y", zeros, zeros, 1e-4).verdict == "empty"


def test_output_that_ignores_the_input_proves_nothing() -> None:
    reference = around(1)
    same = compare("y", reference, reference, 1e-4, other=reference + np.float32(9e-4))
    assert (same.verdict, same.why) == ("empty", "hardly changes with the input")
    moved = compare("y", reference, reference, 1e-4, other=reference + np.float32(2e-3))
    assert moved.verdict == "right"


def test_an_output_may_be_constant_by_nature_where_others_are_right() -> None:
    length, y = np.array(7, np.int64), around(1)
    fixed = compare("length", length, length, 1e-4, other=length)
    right = compare("y", y, y, 1e-4, other=y + np.float32(1))
    assert fixed.verdict == "constant"
    assert Run("wasm", "plain", {}, (fixed, right)).right
    assert not Run("wasm", "plain", {}, (fixed,)).right
    assert compare("length", length + 1, length, 1e-4, other=length).verdict == "wrong"


def test_integers_that_have_wrapped_are_called_so() -> None:
    total = np.array([6_000_000_000, 3])
    found = compare("sum", total.astype(np.int32).astype(np.int64), total, 1e-4)
    assert found.verdict == "wrong" and "6000000000 needs 64 bits" in found.why
    assert "64 bits" not in compare("sum", np.array([2, 4]), np.array([2, 3]), 1e-4).why


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_random_inputs_without_axes_are_arrays(dtype: str) -> None:
    for other in (False, True):
        array = _random(np.random.default_rng(0), dtype, (), None, other)
        assert isinstance(array, np.ndarray) and array.dtype == dtype


def divider() -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Div", ["a", "b"], ["q"])],
        "div",
        [info(name, TensorProto.INT64, [8]) for name in "ab"],
        [info("q", TensorProto.INT64, [8])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_inputs_that_are_given_are_not_replaced() -> None:
    """The divisor means something: another one, drawn at random, may be 0."""
    against = reference(divider(), ["a", "b"], ["q"])
    signature = {
        "dims": [],
        "inputs": [{"name": name, "dtype": "int64", "shape": [8]} for name in "ab"],
    }
    a, b = np.arange(8) * 7, np.full(8, 2)
    for given in ({"a": a, "b": b}, {"b": b}):
        case = _case(against, False, signature, {}, {}, {}, given, 0)
        assert (case.expected["q"] == case.inputs["a"] // 2).all()
        assert bool(case.other) == (len(given) == 1)


def test_a_browser_ends_with_the_process_that_opened_it(tmp_path: Path) -> None:
    program = """
import pathlib, sys, time
from webdnn.browser import open_page
with open_page("chromium", mounts={}) as page:
    print(page._process.pid, flush=True)
    time.sleep(60)
"""
    need("chromium")
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        browser = int(process.stdout.readline())
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    ps = ["ps", "-eo", "pgid=,stat="]
    listed = subprocess.run(ps, capture_output=True, text=True, check=True)
    left = [line for line in listed.stdout.splitlines() if line.split()[0] == str(browser)]
    assert not [line for line in left if not line.split()[1].startswith("Z")]


def test_sizes_of_a_descriptor() -> None:
    sizes = {"h": 130, "w": 7}
    assert _evaluate(["*", ["//", ["+", "h", 3], 4], 4], sizes) == 132
    assert _evaluate(["//", ["-", 0, "w"], 2], sizes) == -4
    assert _evaluate(["select", ["<", "w", 8], ["min", "h", 9], 0], sizes) == 9


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int32", "uint8", "bool"])
def test_random_inputs_have_their_dtype_and_vary(dtype: str) -> None:
    rng = np.random.default_rng(0)
    array = _random(rng, dtype, (64,), None, False)
    assert (str(array.dtype), array.shape) == (dtype, (64,))
    assert len(np.unique(array)) > 1


def test_random_indices_stay_in_their_table() -> None:
    """Token ids reach the embedding through a cast; both embeddings limit them."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["cast"], to=TensorProto.INT32),
        helper.make_node("Gather", ["words", "cast"], ["w"]),
        helper.make_node("Gather", ["few", "ids"], ["f"]),
        helper.make_node("Add", ["w", "f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embed",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
        [
            onnx.numpy_helper.from_array(np.zeros((100, 8), np.float32), "words"),
            onnx.numpy_helper.from_array(np.zeros((30, 8), np.float32), "few"),
        ],
    )
    assert table_sizes(load(helper.make_model(graph)).graph) == {"ids": 30}
    indices = _random(np.random.default_rng(0), "int64", (1000,), 30, False)
    assert (indices.min(), indices.max()) == (0, 29)


@pytest.mark.parametrize("spelled", ["OneHot", "Equal"])
def test_one_hot_codes_limit_their_index(spelled: str) -> None:
    constants = [
        onnx.numpy_helper.from_array(np.array(50, np.int64), "depth"),
        onnx.numpy_helper.from_array(np.array([0, 1], np.float32), "values"),
        onnx.numpy_helper.from_array(np.arange(50)[None], "codes"),
        onnx.numpy_helper.from_array(np.array([-1]), "last"),
    ]
    if spelled == "OneHot":
        nodes = [helper.make_node("OneHot", ["bytes", "depth", "values"], ["y"])]
    else:
        nodes = [
            helper.make_node("Unsqueeze", ["bytes", "last"], ["column"]),
            helper.make_node("Equal", ["column", "codes"], ["same"]),
            helper.make_node("Cast", ["same"], ["y"], to=TensorProto.FLOAT),
        ]
    graph = helper.make_graph(
        nodes,
        "codes",
        [helper.make_tensor_value_info("bytes", TensorProto.INT64, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 50])],
        constants,
    )
    assert table_sizes(load(helper.make_model(graph)).graph) == {"bytes": 50}


def test_output_that_moves_at_another_size_is_not_empty() -> None:
    reference = around(1)
    assert still(reference, reference + np.float32(9e-4), 1e-4)
    assert not still(reference, reference + np.float32(2e-3), 1e-4)
    assert not still(reference, around(1)[:-1], 1e-4)
    holes = np.where(reference > 0, np.nan, reference)
    assert not still(holes, reference, 1e-4)


def test_names_become_file_names() -> None:
    assert _file_name("input:0") == "input_0"
    assert _file_name("../../etc/passwd") == "_.._etc_passwd"
    assert _file_name("..") == "_"


def test_engine_that_lacks_a_target(tmp_path: Path) -> None:
    with pytest.raises(WebDNNError, match="webkit cannot run webgpu: it runs wasm"):
        check(tmp_path / "any.onnx", targets=["webgpu"], browser="webkit")
    with pytest.raises(WebDNNError, match="variant relaxed: it runs plain"):
        check(tmp_path / "any.onnx", variants=["relaxed"], browser="webkit")


# ---- references: every format in its own framework ----------------------------------------------


def moved(with_framework: Reference, name: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """An input, and the only output that the framework makes of it; another input changes it."""
    x = np.random.default_rng(0).random(shape, np.float32)
    (y,), (z,) = (with_framework.run({name: v}).values() for v in (x, 1 - x))
    assert not np.allclose(y, z)
    return x, y


def test_reference_of_onnx() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Exp", ["square"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "exp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    for source in (model, model.SerializeToString()):
        found = reference(source, ["x"], ["y"])
        x, y = moved(found, "x", (3,))
        np.testing.assert_allclose(y, np.exp(x * x), rtol=1e-6)
        assert found.name == "onnxruntime" and found.layers is not None
        np.testing.assert_allclose(found.layers({"x": x})["square"], x * x, rtol=1e-6)
        with pytest.raises(WebDNNError, match="onnxruntime cannot run the model on these inputs"):
            found.run({"x": x[:2]})


def test_reference_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    table = torch.nn.Embedding(40, 3)
    found = reference(table, ["input"], ["output"], example=torch.zeros(1, 4, dtype=torch.int64))
    ids = np.array([[5, 39, 0, 7]])
    np.testing.assert_array_equal(
        found.run({"input": ids})["output"], table.weight.detach().numpy()[ids]
    )
    graph = load(table, {}, example=torch.zeros(1, 4, dtype=torch.int64)).graph
    assert table_sizes(graph) == {"input": 40}


def test_reference_of_keras(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((5,), name="x"), keras.layers.Dense(4, name="d")])
    model.save(tmp_path / "model.keras")
    weights, bias = (np.asarray(w) for w in model.get_weights())
    for source in (tmp_path / "model.keras", model):
        found = reference(source, ["x"], ["d"])
        x, y = moved(found, "x", (2, 5))
        np.testing.assert_allclose(y, x @ weights + bias, rtol=1e-5, atol=1e-6)
        assert found.layers is not None and found.name.startswith("Keras 3")
        np.testing.assert_allclose(found.layers({"x": x})["d"], y)


def test_a_keras_file_that_keras_cannot_load(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        config = {"class_name": "Sequential", "config": [{"class_name": "Ancient", "config": {}}]}
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "1.2.2"
        file.create_group("model_weights")
    with pytest.raises(
        ModelError, match=r"Keras 3.* cannot load this.*get_custom_objects.*--expected OUTPUT=FILE"
    ):
        reference(tmp_path / "old.h5", ["x"], ["y"])


CAFFE = """
input: "data" input_shape { dim: 1 dim: 2 dim: 5 dim: 5 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "leak" type: "ReLU" bottom: "pool" top: "pool" relu_param { negative_slope: 0.5 } }
layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" }
"""


def test_reference_of_caffe(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "net.prototxt").write_text(CAFFE)
    found = reference(tmp_path / "net.prototxt", ["data"], ["prob"])
    x, _ = moved(found, "data", (1, 2, 5, 5))
    windows = np.lib.stride_tricks.sliding_window_view(x - 0.5, (3, 3), (2, 3))[:, :, ::2, ::2]
    pooled = windows.max((4, 5))
    pooled = np.where(pooled < 0, pooled / 2, pooled)
    wanted = np.exp(pooled) / np.exp(pooled).sum(1, keepdims=True)
    np.testing.assert_allclose(found.run({"data": x - np.float32(0.5)})["prob"], wanted, rtol=1e-5)
    assert found.layers is not None
    layers = found.layers({"data": x - np.float32(0.5)})
    np.testing.assert_allclose(layers["pool"], pooled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("package", "source", "extra"),
    [("onnxruntime", "net.onnx", "check"), ("cv2", "net.prototxt", "caffe")],
)
def test_a_framework_that_is_missing(
    package: str, source: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / source).write_text(CAFFE if package == "cv2" else "\x08\x07")
    with pytest.raises(WebDNNError, match=rf"pip install 'webdnn\[{extra}\]'.*--expected"):
        reference(tmp_path / source, ["data"], ["prob"])


def test_recorded_outputs_belong_to_their_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", around(1))
    y = {"y": tmp_path / "y.npy"}
    names = (["a", "b"], ["y", "z"])
    with pytest.raises(WebDNNError, match=r"give them too: --input b=FILE\.npy$"):
        _recorded(y, names, [{"a": tmp_path / "a.npy"}])
    with pytest.raises(WebDNNError, match="--expected w: the model's outputs are y, z"):
        _recorded({"w": tmp_path / "y.npy"}, names, [{}])
    found = recorded(_recorded(y, names, [dict.fromkeys("ab", tmp_path / "y.npy")]))
    np.testing.assert_array_equal(found.run({})["y"], around(1))


def test_given_inputs_decide_the_sizes() -> None:
    dims = [{"name": "h", "min": 4, "max": 40}, {"name": "n", "min": 1, "max": 9}]
    signature = {"dims": dims, "inputs": [{"name": "x", "dtype": "float32", "shape": [1, "h"]}]}
    assert default_sizes(signature) == [{"h": 4, "n": 1}, {"h": 23, "n": 5}]
    x = np.zeros((1, 17), np.float32)
    assert default_sizes(signature, {"x": x}) == [{"h": 17, "n": 1}, {"h": 17, "n": 5}]
    assert default_sizes({**signature, "dims": dims[:1]}, {"x": x}) == [{"h": 17}]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"dims": [{"name": "h", "min": 4, "max": 2}]}, "dims: expected a name, min and max"),
        ({"inputs": {}}, "expected a list of inputs"),
        ({"outputs": [{"name": "y", "dtype": "f8", "shape": []}]}, "outputs: expected a name"),
        ({"inputs": [{"name": "x", "dtype": "bool", "shape": ["w"]}]}, "inputs: expected a name"),
        ({"targets": None}, "expected an object of targets"),
    ],
)
def test_a_damaged_descriptor_is_one_error(
    change: dict[str, Any], part: str, tmp_path: Path
) -> None:
    entry = {"name": "x", "dtype": "float32", "shape": [["*", "h", 2]]}
    whole: dict[str, Any] = {
        "dims": [{"name": "h", "min": 1, "max": 2}], "inputs": [entry], "outputs": [], "targets": {}
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(whole))
    assert random_inputs(signature_of(tmp_path), {"h": 2}, {}, 0)["x"].shape == (4,)
    (tmp_path / "model.json").write_text(json.dumps(whole | change))
    with pytest.raises(WebDNNError, match=f"damaged: {part}"):
        signature_of(tmp_path)


def test_an_input_that_no_page_holds() -> None:
    entry = {"name": "x", "dtype": "float32", "shape": [2**31]}
    with pytest.raises(DimensionError, match=r"input 'x' would be \[2147483648\]"):
        random_inputs({"dims": [], "inputs": [entry]}, {}, {}, 0)


def test_a_missing_framework_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def transpiled(*_: Any, **options: Any) -> None:
        raise AssertionError("the model was transpiled")

    monkeypatch.setattr("webdnn.browser.check.transpile", transpiled)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WebDNNError, match=r"with onnxruntime, which is not installed: pip install"):
        check(onnx.ModelProto())
