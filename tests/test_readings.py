"""What `webdnn check` allows where the reference itself is off: measured, and no more than that."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from tests.interpret import interpret
from webdnn.browser.compare import (
    TOLERANCE,
    Output,
    compare,
    drawn,
    drawn_judged,
    flipped,
    judged,
)
from webdnn.browser.readings import Readings, with_inner, with_onnxruntime
from webdnn.browser.reference import Reference, reference
from webdnn.frontend import load
from webdnn.graph import placeholder
from webdnn.picture.output import parse, settle

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def model(text: str, opset: int = 17, **constants: Array) -> onnx.ModelProto:
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def verdict(
    proto: onnx.ModelProto, inputs: dict[str, Array], actual: Array
) -> tuple[Output, Output, Readings]:
    """The usual comparison of the only output, that by readings, and these."""
    (name,) = (o.name for o in proto.graph.output)
    against = reference(proto, list(inputs), [name])
    expected = against.run(inputs)
    usual = compare(name, actual, expected[name], TOLERANCE["wasm"])
    readings = against.again(inputs, expected)
    assert isinstance(readings, Readings), readings
    return usual, judged(actual, usual, readings), readings


def evaluated(proto: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """The only output as ONNX's own evaluator has it."""
    (found,) = ReferenceEvaluator(proto).run(None, inputs)
    return np.asarray(found)


def damaged(proto: onnx.ModelProto, weight: str) -> onnx.ModelProto:
    """The model with one of its weights changed, as by a wrong kernel or a lost byte."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    (tensor,) = (t for t in out.graph.initializer if t.name == weight)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[array.size // 2] = -array.flat[array.size // 2] + 3
    tensor.CopyFrom(numpy_helper.from_array(array, weight))
    return out


def test_a_transform_in_float32_is_judged_by_float64() -> None:
    """The logarithm of what little a tone leaves in other frequencies: float32 has no digit of it
    left. The oracle is numpy's transform in float64."""
    proto = model(
        """g (float[1, 800] x) => (float[1, t, 201, 1] y) {
            s = STFT(x, step, window)
            power = ReduceSumSquare<axes = [3]>(s)
            level = Max(power, least)
            y = Log(level) }""",
        step=np.array(160),
        window=np.hanning(400).astype(np.float32),
        least=np.array(1e-9, np.float32),
    )
    x = np.sin(np.arange(800) * (2 * np.pi * 25 / 400))[None].astype(np.float32)
    frames = np.stack([x[0, k : k + 400] for k in (0, 160, 320)]).astype(np.float64)
    spectrum = np.fft.rfft(frames * np.hanning(400).astype(np.float32))
    levels = np.log(np.maximum(np.abs(spectrum) ** 2, 1e-9))[None, ..., None]
    usual, found, readings = verdict(proto, {"x": x}, levels.astype(np.float32))
    assert usual.verdict == "wrong"
    assert (found.verdict, readings.name) == ("right", "onnxruntime in float64")
    assert found.tolerance == TOLERANCE["wasm"]  # float64 has what it takes
    assert (
        "onnxruntime is itself off by" in found.why
        and "decided by onnxruntime in float64" in found.why
    )
    assert verdict(proto, {"x": x}, levels[:, :, ::-1].astype(np.float32))[1].verdict != "right"


def quantised() -> onnx.ModelProto:
    """Two layers with activations of 8 bits between them, as quantize_static writes them."""
    weights = RNG.integers(-127, 128, (2, 64, 64)).astype(np.int8)
    return model(
        """g (float[n, 64] x) => (float[n, 64] y) {
            w1 = DequantizeLinear(q1, sw)
            h = MatMul(x, w1)
            hr = Relu(h)
            hq = QuantizeLinear(hr, sh, zero)
            hd = DequantizeLinear(hq, sh, zero)
            w2 = DequantizeLinear(q2, sw)
            y = MatMul(hd, w2) }""",
        21,
        sh=np.array(0.03, np.float32),
        sw=np.array(0.01, np.float32),
        zero=np.array(0, np.uint8),
        q1=weights[0],
        q2=weights[1],
    )


def test_a_quantised_model_is_what_its_operators_say() -> None:
    proto, x = quantised(), RNG.random((4, 64), np.float32)
    usual, found, readings = verdict(proto, {"x": x}, evaluated(proto, {"x": x}))
    assert found.verdict == "right" and readings.rounds
    assert readings.name == "onnxruntime without its optimisations"
    for weight in ("q1", "q2"):
        wrong = evaluated(damaged(proto, weight), {"x": x})
        usual, found, _ = verdict(proto, {"x": x}, wrong)
        assert (usual.verdict, found.verdict) == ("wrong", "wrong"), weight


def moved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The quantised model as a page may compute it, whose sums are in another order: what is
    rounded to steps is off by 1e-6."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    (scale,) = (t for t in out.graph.initializer if t.name == "sh")
    scale.CopyFrom(numpy_helper.from_array(np.array(0.03 * 1.000001, np.float32), "sh"))
    return out


def flipping(proto: onnx.ModelProto, count: int) -> list[tuple[Array, Array]]:
    """Inputs, and outputs of a page in which roundings have fallen to the other side."""
    found = []
    for seed in range(100):
        x = np.random.default_rng(seed).random((32, 64), np.float32)
        actual = evaluated(moved(proto), {"x": x})
        if np.abs(actual - evaluated(proto, {"x": x})).max() > 1e-4 * np.abs(actual).max():
            found.append((x, actual))
        if len(found) == count:
            break
    assert len(found) == count
    return found


def test_a_rounding_that_falls_to_the_other_side_is_allowed() -> None:
    proto = quantised()
    for x, actual in flipping(proto, 2):
        usual, found, _ = verdict(proto, {"x": x}, actual)
        assert (usual.verdict, found.verdict) == ("wrong", "right"), found
        assert "a rounding on the other side moves it" in found.why and found.tolerance < 0.05


@pytest.mark.parametrize("text", ["gray,scale=1/40,mean=10", "mask,threshold=0"])
def test_pixels_of_a_rounding_that_falls_to_the_other_side(text: str) -> None:
    """As `test_a_rounding_…`, where the output is a picture: [32, 64] numbers are gray levels, or
    drawn from a threshold on."""
    proto = quantised()
    value = placeholder("y", (32, 64), "f32")
    drawing = settle(parse(text), "y", value)

    def words(values: Array) -> Array:
        return drawing.pixels(values).view("<u4")[..., 0]

    ((x, actual),) = flipping(proto, 1)
    against = reference(proto, ["x"], ["y"])
    expected = against.run({"x": x})
    readings = against.again({"x": x}, expected)
    assert isinstance(readings, Readings)
    tolerance = TOLERANCE["wasm"]
    if "threshold" in text:  # put it where the two differ
        at = np.unravel_index(np.abs(actual - expected["y"]).argmax(), actual.shape)
        middle = float(actual[at] + expected["y"][at]) / 2
        drawing = settle(parse(f"mask,threshold={middle}"), "y", value)
    usual = drawn(drawing, words(actual), expected["y"], tolerance)
    found = drawn_judged(drawing, words(actual), usual, readings)
    assert (usual.verdict, found.verdict) == ("wrong", "right"), found
    assert "compared as pixels; a rounding on the other side moves it" in found.why
    wrong = [np.roll(actual, 1, 0)]  # one weight moves few numbers over a threshold
    wrong += [] if "threshold" in text else [evaluated(damaged(proto, "q2"), {"x": x})]
    for values in wrong:
        assert drawn_judged(drawing, words(values), usual, readings).verdict == "wrong"


def test_layers_name_a_flipped_rounding() -> None:
    """As integers and as floats behind them; a value that is a step away everywhere is wrong."""
    proto = quantised()
    ((x, _),) = flipping(proto, 1)
    names = ["h", "hq", "hd"]
    page = dict(zip(names, ReferenceEvaluator(with_inner(moved(proto))).run(names, {"x": x})))
    against = reference(proto, ["x"], ["y"])
    assert against.layers is not None
    expected = against.layers({"x": x})
    readings = against.again({"x": x}, expected, inner=True)
    assert isinstance(readings, Readings)

    def said(name: str, actual: Array) -> Output:
        usual = compare(name, actual, expected[name], 1e-4)
        return flipped(actual, judged(actual, usual, readings), readings)

    assert compare("h", page["h"], expected["h"], 1e-4).verdict == "right"
    for name, step in (("hq", 1), ("hd", np.float32(0.03))):
        found = said(name, page[name])
        assert found.verdict == "flipped" and "of 2048 elements are rounded to another" in found.why
        beside = np.where(page[name] > 100 * step, page[name] - step, page[name] + step)
        assert said(name, beside.astype(page[name].dtype)).verdict == "wrong"


def test_products_of_integers_are_exact() -> None:
    """On processors without instructions for it onnxruntime's sums of products saturate."""
    proto = model(
        """g (uint8[4, 64] a) => (int32[4, 32] y) {
            y = MatMulInteger(a, b, az, bz) }""",
        b=RNG.integers(90, 128, (64, 32)).astype(np.int8),
        az=np.array(3, np.uint8),
        bz=np.array(-2, np.int8),
    )
    a = RNG.integers(220, 256, (4, 64)).astype(np.uint8)
    exact = evaluated(proto, {"a": a})
    _, found, readings = verdict(proto, {"a": a}, exact)
    assert found.verdict == "right" and readings.name.endswith("with exact integer products")
    np.testing.assert_array_equal(readings.decides["y"], exact)
    assert verdict(proto, {"a": a}, exact + 1)[1].verdict == "wrong"


def test_quantised_products_are_exact() -> None:
    proto = model(
        """g (uint8[4, 64] a) => (uint8[4, 32] y) {
            y = QLinearMatMul(a, sa, za, b, sb, zb, sy, zy) }""",
        b=RNG.integers(-128, 128, (64, 32)).astype(np.int8),
        sa=np.array(0.01, np.float32),
        za=np.array(9, np.uint8),
        sb=np.array(0.02, np.float32),
        zb=np.array(0, np.int8),
        sy=np.array(0.2, np.float32),
        zy=np.array(128, np.uint8),
    )
    a = RNG.integers(0, 256, (4, 64)).astype(np.uint8)
    exact = evaluated(proto, {"a": a})
    _, found, readings = verdict(proto, {"a": a}, exact)
    assert found.verdict == "right"
    assert np.abs(readings.decides["y"].astype(int) - exact).max() <= 1
    off = np.where(np.arange(exact.size).reshape(exact.shape) == 7, exact ^ 8, exact)
    assert verdict(proto, {"a": a}, off)[1].verdict == "wrong"


@pytest.mark.parametrize(("code", "name"), [(10, "float16"), (16, "bfloat16")])
def test_arithmetic_of_16_bits_inside_a_float32_output(code: int, name: str) -> None:
    proto = model(
        f"""g (float[4, 64] x) => (float[4, 32] y) {{
            h = Cast<to = {code}>(x)
            wide = Cast<to = 1>(h)
            m = MatMul(wide, w)
            n = Cast<to = {code}>(m)
            y = Cast<to = 1>(n) }}""",
        w=RNG.normal(0, 1, (64, 32)).astype(np.float32),
    )
    x = RNG.normal(0, 1, (4, 64)).astype(np.float32)
    (w,) = (numpy_helper.to_array(t) for t in proto.graph.initializer)
    usual, found, readings = verdict(proto, {"x": x}, x @ w)
    assert readings.narrow == {"y": name}
    assert (usual.verdict, found.verdict) == ("wrong", "right")
    assert f"the model computes it in {name}" in found.why
    assert verdict(proto, {"x": x}, (x @ w) * np.float32(1.05))[1].verdict == "wrong"


def test_products_of_bfloat16_which_onnxruntime_lacks() -> None:
    proto = model(
        """g (float[4, 64] x) => (float[4, 32] y) {
            h = Cast<to = 16>(x)
            v = Cast<to = 16>(w)
            m = MatMul(h, v)
            y = Cast<to = 1>(m) }""",
        w=RNG.normal(0, 1, (64, 32)).astype(np.float32),
    )
    x = RNG.normal(0, 1, (4, 64)).astype(np.float32)
    (w,) = (numpy_helper.to_array(t) for t in proto.graph.initializer)
    usual, found, readings = verdict(proto, {"x": x}, x @ w)
    assert readings.name == "onnx.reference in float64" and readings.narrow == {"y": "bfloat16"}
    assert (usual.verdict, found.verdict) == ("wrong", "right")
    assert verdict(proto, {"x": x}, (x @ w) * np.float32(1.1))[1].verdict == "wrong"


def test_float32_that_is_right_leaves_a_wrong_page_wrong() -> None:
    proto = model(
        "g (float[4, 64] x) => (float[4, 32] y) { m = MatMul(x, w) y = Tanh(m) }",
        w=RNG.normal(0, 0.1, (64, 32)).astype(np.float32),
    )
    x = RNG.random((4, 64), np.float32)
    expected = evaluated(proto, {"x": x})
    _, found, _ = verdict(proto, {"x": x}, expected * np.float32(1.001))
    assert found.verdict == "wrong"
    assert "onnxruntime and onnxruntime in float64 differ by" in found.why
    _, found, _ = verdict(proto, {"x": x}, expected)
    assert found.verdict == "right" and found.tolerance == TOLERANCE["wasm"]


def test_a_reference_that_is_noise_proves_nothing() -> None:
    """What is left of a difference of large numbers depends on the order of sums."""
    proto = model(
        """g (float[1, 4096] x) => (float[1, 8] y) {
            big = MatMul(x, w)
            y = Sub(big, same) }""",
        w=np.full((4096, 8), 1e4, np.float32),
        same=np.full((1, 8), 4096 * 1e4 / 3, np.float32),
    )
    x = np.full((1, 4096), 1 / 3, np.float32)
    _, found, _ = verdict(proto, {"x": x}, np.arange(8, dtype=np.float32)[None])
    assert (found.verdict, found.why.split(":")[0]) == ("empty", "nothing can be compared")


def test_the_highest_of_two_that_are_nearly_equal() -> None:
    """Which of them it is, float32 cannot say; but it is one of these."""
    proto = model(
        """g (float[1, 64] x) => (int64[1] y) {
            m = MatMul(x, w)
            y = ArgMax<axis = 1, keepdims = 0>(m) }""",
        w=np.concatenate([np.zeros((64, 2)), np.ones((64, 2))], 1).astype(np.float32)
        * (1 + 1e-7 * RNG.random((64, 4))).astype(np.float32),
    )
    x = RNG.random((1, 64), np.float32)
    verdicts = [verdict(proto, {"x": x}, np.array([k]))[1].verdict for k in range(4)]
    assert verdicts[:2] == ["wrong", "wrong"] and "right" in verdicts[2:]


# ---- modules of PyTorch, and Keras on it ---------------------------------------------------------


def module_verdicts(against: Reference, inputs: dict[str, Array], exact: Array) -> list[Output]:
    """What is said of the only output as it would be without rounding, and of one that is wrong."""
    expected = against.run(inputs)
    ((name, usual),) = expected.items()
    readings = against.again(inputs, expected)
    assert isinstance(readings, Readings), readings
    np.testing.assert_allclose(readings.decides[name], exact, rtol=1e-6)
    found = []
    for actual in (exact.astype(np.float32), (exact * 1.05).astype(np.float32)):
        first = compare(name, actual, usual, 1e-5)
        assert first.verdict == "wrong"
        found.append(judged(actual, first, readings))
    return found


def test_modules_that_compute_in_16_bits() -> None:
    """By their weights, and by autocast; without rounding as the same module is in float64."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, half: bool) -> None:
            super().__init__()
            self.half_ = half
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(
                torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4)
            )
            if half:
                self.net = self.net.half()

        def forward(self, x: Any) -> Any:
            if self.half_:
                return self.net(x.half()).float()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.net(x).float()

    x = torch.rand(2, 16)
    for half, name in ((True, "float16"), (False, "bfloat16")):
        net = Net(half)
        against = reference(net, ["x"], ["output"], example=x)
        exact = copy.deepcopy(net.net).double()(x.double()).detach().numpy()
        right, wrong = module_verdicts(against, {"x": x.numpy()}, exact)
        assert (right.verdict, wrong.verdict) == ("right", "wrong")
        assert (
            f"computes it in {name}" in right.why and "decided by PyTorch in float64" in right.why
        )


def test_keras_of_mixed_precision() -> None:
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(32, "tanh", dtype="mixed_float16"),
        keras.layers.Dense(4, dtype="float32", name="y"),
    ]
    model = keras.Sequential([keras.Input((16,), name="x"), *layers])
    x = RNG.random((2, 16), np.float32)
    w, b, v, c = (np.asarray(a, np.float64) for a in model.get_weights())
    exact = np.tanh(x @ w + b) @ v + c
    right, wrong = module_verdicts(reference(model, ["x"], ["y"]), {"x": x}, exact)
    assert (right.verdict, wrong.verdict) == ("right", "wrong")
    assert "computes it in float16" in right.why and "decided by Keras" in right.why


def test_states_that_are_not_rounded() -> None:
    """onnxruntime rounds an LSTM's states to 8 bits; the reading that decides does not."""
    rng = np.random.default_rng(0)
    inputs, hidden = 6, 8
    weights = {
        "w": rng.integers(-90, 90, (1, inputs, 4 * hidden)).astype(np.int8),
        "r": rng.integers(-90, 90, (1, hidden, 4 * hidden)).astype(np.int8),
        "scale": np.full(1, 0.01, np.float32),
        "scales": rng.uniform(0.005, 0.01, (1, 4 * hidden)).astype(np.float32),
        "zero": np.array([3], np.int8),
        "zeros": np.zeros((1, 4 * hidden), np.int8),
    }
    node = helper.make_node(
        "DynamicQuantizeLSTM",
        ["x", "w", "r", "", "", "", "", "", "scales", "zeros", "scale", "zero"],
        ["y"],
        domain="com.microsoft",
        hidden_size=hidden,
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, [20, 1, inputs])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    x = {"x": rng.standard_normal((20, 1, inputs)).astype(np.float32)}
    (usual,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, x)
    found = with_onnxruntime(onnxruntime, proto)(x, {"y": usual})
    ours = interpret(load(proto).graph, x)["y"]
    assert np.abs(ours - usual).max() > 1e-3
    np.testing.assert_allclose(ours, found.decides["y"], atol=1e-5)
