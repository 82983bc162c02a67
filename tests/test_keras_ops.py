"""The operations of keras.ops against Keras, each in a model of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.jobs import Job, interpreted, run_jobs
from tests.keras_cases import keras
from webdnn.errors import UnsupportedError
from webdnn.frontend import keras as frontend
from webdnn.frontend.keras import layers as keras_layers
from webdnn.frontend.keras import model as keras_model
from webdnn.frontend.keras import operations as keras_ops
from webdnn.graph import constant, evaluate

pytestmark = pytest.mark.usefixtures("own_files")

K = keras.ops
Compute = Callable[..., Any]

# Operations of one tensor that take nothing else, by the numbers that they are given.
ANY = [
    "abs", "absolute", "ceil", "cos", "cosh", "deg2rad", "erf", "erfc", "exp", "exp2", "expm1",
    "fabs", "floor", "negative", "rad2deg", "round", "sign", "sin", "sinh", "square", "tan",
    "tanh", "trunc", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "relu", "relu6",
    "selu", "sigmoid", "silu", "softplus", "softsign", "softmax", "log_softmax", "log_sigmoid",
    "leaky_relu", "hard_sigmoid", "hard_silu", "hard_tanh", "hard_shrink", "soft_shrink",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh_shrink", "celu", "elu",
    "gelu", "arctan", "arcsinh", "logical_not", "all", "any", "amax", "amin", "max", "min",
    "prod", "sum", "mean", "var", "std", "logsumexp", "argmax", "argmin", "count_nonzero",
    "ptp", "norm", "normalize", "cumsum", "diff", "flip", "transpose", "ravel", "ones_like",
    "zeros_like", "sort", "argsort", "tril", "triu", "fliplr", "flipud", "cbrt", "nan_to_num",
    "copy", "stop_gradient", "layer_normalization", "rms_normalization", "conjugate", "real",
    "trace",
]  # fmt: skip
POSITIVE = [
    "log", "log10", "log1p", "log2", "sqrt", "rsqrt", "reciprocal", "arccosh",
]  # fmt: skip
SMALL = [
    "arccos", "arcsin", "arctanh",
]  # fmt: skip
BINARY = [
    "add", "subtract", "multiply", "divide", "true_divide", "divide_no_nan", "maximum",
    "minimum", "fmax", "fmin", "greater", "greater_equal", "less", "less_equal", "equal",
    "not_equal", "logical_and", "logical_or", "logical_xor", "arctan2", "hypot", "logaddexp",
    "isclose", "mod", "fmod", "floor_divide",
]  # fmt: skip

# (shapes of the inputs, function); a shape of integers is a list.
MORE: dict[str, tuple[list[Any], Compute]] = {
    "numbers": ([(4, 5)], lambda x: (x * 2 + 1.5 - x / 3) ** 2),
    "power": ([(4, 5)], lambda x: K.power(K.abs(x), 1.5)),
    "integers": ([[4, 5]], lambda x: x * 3 - x // 2 + x % 4),
    "bits": (
        [[4, 5], [4, 5]],
        lambda x, y: [
            K.bitwise_and(x, y), K.bitwise_or(x, y), K.bitwise_xor(x, y), K.bitwise_not(x),
            K.bitwise_invert(y), K.bitwise_left_shift(x, 2), K.bitwise_right_shift(x, 1),
            K.left_shift(y, 1), K.right_shift(y, 1),
        ],
    ),
    "clip": ([(4, 5)], lambda x: K.clip(x, -0.5, 0.7)),
    "where": ([(4, 5), (4, 5)], lambda x, y: K.where(x > y, x, 0.5)),
    "cast": ([(4, 5)], lambda x: [K.cast(x * 9, "int32"), K.cast(x > 0, "float32")]),
    "saturate": ([(4, 5)], lambda x: K.cast(K.saturate_cast(x * 300, "uint8"), "float32")),
    "round": ([(4, 5)], lambda x: K.round(x, 1)),
    "sum": ([(4, 5)], lambda x: [K.sum(x, axis=1), K.sum(x, axis=(1, 2), keepdims=True)]),
    "mean": ([(4, 5)], lambda x: K.mean(x, axis=[1, -1])),
    "max": ([(4, 5)], lambda x: K.max(x, axis=-1, initial=0.3)),
    "argmax": ([(4, 5)], lambda x: [K.argmax(x, axis=1, keepdims=True), K.argmin(x, -1)]),
    "moments": ([(4, 5)], lambda x: list(K.moments(x, [1], keepdims=True))),
    "average": ([(4, 5)], lambda x: K.average(x, axis=-1, weights=np.arange(1, 6, dtype="f"))),
    "norm": ([(4, 5)], lambda x: [K.norm(x, ord=1, axis=-1), K.norm(x, axis=(1, 2))]),
    "normalize": ([(4, 5)], lambda x: [K.normalize(x, 1), K.normalize(x, order=3)]),
    "cumsum": ([(4, 5)], lambda x: K.cumsum(x, axis=1)),
    "diff": ([(4, 5)], lambda x: K.diff(x, 2, axis=1)),
    "matmul": ([(4, 5), (5, 3)], lambda x, y: K.matmul(x, y)),
    "operators": ([(4, 5), (5, 3)], lambda x, y: -(x @ y) + abs(x[:, :, :3])),
    "dot": ([(4, 5)], lambda x: K.dot(x, K.ones((5, 3)))),
    "tensordot": ([(4, 5), (5, 3)], lambda x, y: K.tensordot(x, y, axes=[[2], [1]])),
    "inner": ([(5,)], lambda x: K.inner(x, x)),
    "outer": ([(5,)], lambda x: K.outer(x, x)),
    "einsum": ([(4, 5), (3, 5)], lambda x, y: K.einsum("btc,bsc->bst", x, y)),
    "reshape": ([(4, 5)], lambda x: K.reshape(x, (-1, 2, 10))),
    "transpose": ([(4, 5)], lambda x: K.transpose(x, (0, 2, 1))),
    "moveaxis": ([(4, 5, 6)], lambda x: [K.moveaxis(x, 1, -1), K.swapaxes(x, 1, 2)]),
    "expand_dims": ([(4, 5)], lambda x: K.squeeze(K.expand_dims(x, (1, -1)), 1)),
    "concatenate": ([(4, 5), (4, 2)], lambda x, y: K.concatenate([x, y, x], axis=-1)),
    "append": ([(4, 5), (4, 2)], lambda x, y: K.append(x, y, axis=2)),
    "stack": ([(4, 5), (4, 5)], lambda x, y: [K.stack([x, y], 1), K.stack([y, x], axis=-1)]),
    "stacks": (
        [(4, 5), (4, 5)], lambda x, y: [K.vstack([x, y]), K.hstack([x, y]), K.dstack([x, y])]
    ),
    "split": ([(4, 6)], lambda x: [*K.split(x, 3, axis=-1), *K.split(x, [1, 3], axis=1)]),
    "array_split": ([(4, 5)], lambda x: list(K.array_split(x, 3, axis=2))),
    "unstack": ([(4, 5)], lambda x: list(K.unstack(x, axis=1))),
    "pad": (
        [(4, 5)],
        lambda x: [
            K.pad(x, ((0, 0), (1, 2), (2, 0))), K.pad(x, ((0, 0), (1, 2), (0, 1)), "reflect"),
            K.pad(x, ((0, 0), (1, 2), (2, 0)), constant_values=3),
        ],
    ),
    "repeat": ([(4, 5)], lambda x: [K.repeat(x, 3, axis=1), K.tile(x, (1, 2, 3))]),
    "broadcast_to": ([(1, 5)], lambda x: K.broadcast_to(x, (2, 3, 5))),
    "roll": ([(4, 5)], lambda x: [K.roll(x, 2, axis=1), K.roll(x, -1, axis=2), K.flip(x, 1)]),
    "get_item": (
        [(4, 5, 6)],
        lambda x: [
            x[:, 1], x[..., -1], x[:, :, None, 1:4], x[:, ::2, -3:], x[:, -1, 2], x[:, ..., 0:2],
            x[:, :-1], x[0],
        ],
    ),
    "slice": ([(4, 5)], lambda x: K.slice(x, (0, 1, 2), (2, 2, 3))),
    "take": ([(4, 5)], lambda x: [K.take(x, [2, 0, 1], axis=1), K.take(x, 2, axis=-1)]),
    "take_by": ([(4, 5), [3]], lambda x, at: K.take(x[0], at % 4, axis=0)),
    "take_along": ([(4, 5), [4, 2]], lambda x, at: K.take_along_axis(x, at % 5, axis=2)),
    "full_like": ([(4, 5)], lambda x: K.full_like(x, 2.5) * x),
    "top_k": ([(4, 9)], lambda x: list(K.top_k(x, 3))),
    "digitize": ([(4, 5)], lambda x: K.digitize(x, np.array([-0.5, 0.0, 0.5]))),
    "one_hot": ([[4]], lambda x: [K.one_hot(x, 10), K.one_hot(x, 10, axis=1), K.multi_hot(x, 10)]),
    "conv": (
        [(9, 8, 3)],
        lambda x: K.conv(x, K.sin(K.reshape(K.arange(54.0), (3, 3, 3, 2))), 2, "same"),
    ),
    "depthwise": (
        [(9, 8, 3)],
        lambda x: K.depthwise_conv(x, K.sin(K.reshape(K.arange(54.0), (3, 3, 3, 2)))),
    ),
    "separable": (
        [(9, 8, 3)],
        lambda x: K.separable_conv(
            x, K.sin(K.reshape(K.arange(27.0), (3, 3, 3, 1))),
            K.cos(K.reshape(K.arange(6.0), (1, 1, 3, 2))),
        ),
    ),
    "pools": (
        [(9, 8, 3)],
        lambda x: [
            K.max_pool(x, 2, 1, "same"), K.average_pool(x, (3, 2)),
            K.adaptive_average_pool(x, (2, 3)), K.adaptive_max_pool(x, (2, 3)),
        ],
    ),
    "batch_normalization": (
        [(4, 5)],
        lambda x: K.batch_normalization(
            x, np.arange(5.0, dtype="f"), np.arange(1.0, 6.0, dtype="f"), -1
        ),
    ),
    "attention": (
        [(4, 2, 6), (5, 2, 6)], lambda q, k: K.dot_product_attention(q, k, k, is_causal=False)
    ),
    "causal": ([(4, 2, 6)], lambda q: K.dot_product_attention(q, q, q, is_causal=True)),
    "blocks": ([(4, 6, 8)], lambda x: [K.depth_to_space(x, 2), K.space_to_depth(x, 2)]),
    "images": (
        [(6, 5, 3)],
        lambda x: [
            K.image.rgb_to_grayscale(x), K.image.resize(x, (9, 4)),
            K.image.resize(x, (3, 10), "nearest"),
        ],
    ),
    "activations": (
        [(4, 6)], lambda x: [K.glu(x), K.threshold(x, 0.2, -1.0), K.gelu(x, False), K.celu(x, 2.0)]
    ),
}  # fmt: skip


def _after(first: Compute, name: str) -> Compute:
    fn = getattr(K, name)
    return lambda x: fn(first(x))


def cases() -> dict[str, tuple[list[Any], Compute]]:
    out: dict[str, tuple[list[Any], Compute]] = {}
    for name in ANY:
        out[f"{name}(x)"] = ([(4, 6)], getattr(K, name))
    for name in POSITIVE:
        out[f"{name}(x)"] = ([(4, 6)], _after(lambda x: K.abs(x) + 1.1, name))
    for name in SMALL:
        out[f"{name}(x)"] = ([(4, 6)], _after(lambda x: K.sin(x) * 0.9, name))
    for name in BINARY:
        out[f"{name}(x, y)"] = ([(4, 6), (1, 6)], getattr(K, name))
    return out | MORE


def job(name: str, folder: Path) -> tuple[Job, set[str]]:
    shapes, compute = cases()[name]
    inputs = [
        keras.Input(tuple(s), batch_size=2, dtype="int32" if isinstance(s, list) else "float32")
        for s in shapes
    ]
    found = compute(*inputs)
    model = keras.Model(inputs, found)
    path = folder / f"{abs(hash(name))}.keras"
    model.save(path)
    rng = np.random.default_rng(len(name))
    feeds = [
        rng.integers(0, 10, (2, *s)).astype(np.int32)
        if isinstance(s, list)
        else rng.normal(size=(2, *s)).astype(np.float32)
        for s in shapes
    ]
    graph = frontend.load(str(path)).graph
    outputs = model([K.convert_to_tensor(f) for f in feeds], training=False)
    flat = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    expected = dict(zip(graph.outputs, map(K.convert_to_numpy, flat), strict=True))
    classes = {layer["class_name"] for layer in json.loads(model.to_json())["config"]["layers"]}
    given = dict(zip((v.attrs["name"] for v in graph.inputs), feeds, strict=True))
    return Job(name, graph, given, expected, constant=True), classes


@cache
def built(folder: Path) -> tuple[list[Job], set[str]]:
    pairs = [job(name, folder) for name in cases()]
    return [j for j, _ in pairs], set().union(*(c for _, c in pairs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras_ops")


def test_every_operation_is_tried(folder: Path) -> None:
    # what Keras computes itself when a model is made, other names of the same, and one that fails
    never = {
        "Abs",
        "Array",
        "ConvTranspose",
        "ConvertToTensor",
        "Mish",
        "Ndim",
        "ReLU",
        "Shape",
        "Size",
    }
    assert not set(keras_ops.OPERATIONS) - built(folder)[1] - never


def test_operations_in_numpy(folder: Path) -> None:
    assert not interpreted(built(folder)[0])


def test_operations_on_wasm(folder: Path) -> None:
    # the plain functions of one or two tensors are compiled for every frontend in test_cases_wasm
    assert not run_jobs([j for j in built(folder)[0] if j.name in MORE])


# ---- TensorFlow's functions, against numpy -------------------------------------------------------

X = np.random.default_rng(3).normal(size=(2, 4, 6)).astype(np.float32)
Y = np.random.default_rng(4).normal(size=(2, 4, 6)).astype(np.float32)
PLAIN = keras_model.Call


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# (function, positional arguments, keyword arguments as files have them, what it is in numpy)
TENSORFLOW: list[tuple[str, tuple[Any, ...], dict[str, Any], Callable[..., Any]]] = [
    ("math.add", ("x",), {"y": 2.0, "name": None}, lambda: X + 2),
    ("__operators__.add", ("x", "y"), {}, lambda: X + Y),
    ("math.subtract", (1.0, "x"), {"name": None}, lambda: 1 - X),
    ("math.truediv", ("x",), {"y": "y"}, lambda: X / Y),
    ("nn.relu", ("x",), {"name": None}, lambda: np.maximum(X, 0)),
    ("nn.leaky_relu", ("x",), {"alpha": 0.1}, lambda: np.where(X > 0, X, 0.1 * X)),
    ("nn.silu", ("x",), {"beta": 2.0}, lambda: X / (1 + np.exp(-2 * X))),
    ("nn.softmax", ("x",), {"axis": -1}, lambda: softmax(X)),
    ("math.reduce_mean", ("x",), {"axis": [1], "keepdims": True}, lambda: X.mean(1, keepdims=True)),
    ("math.reduce_sum", ("x",), {"axis": -1}, lambda: X.sum(-1)),
    ("math.reduce_std", ("x",), {"axis": 1}, lambda: X.std(1)),
    ("concat", ("x", "y"), {"axis": -1}, lambda: np.concatenate([X, Y], -1)),
    ("concat", (["x", "y"],), {"axis": 1}, lambda: np.concatenate([X, Y], 1)),
    ("stack", (["x", "y"],), {"axis": 1}, lambda: np.stack([X, Y], 1)),
    ("reshape", ("x",), {"shape": [-1, 3, 8]}, lambda: X.reshape(-1, 3, 8)),
    ("transpose", ("x",), {"perm": [0, 2, 1]}, lambda: X.transpose(0, 2, 1)),
    ("compat.v1.transpose", ("x",), {"perm": [1, 0, 2]}, lambda: X.transpose(1, 0, 2)),
    ("expand_dims", ("x",), {"axis": 1}, lambda: X[:, None]),
    ("squeeze", ("x",), {"axis": []}, lambda: X),
    ("linalg.matmul", ("x", "y"), {"transpose_b": True}, lambda: X @ Y.transpose(0, 2, 1)),
    ("math.l2_normalize", ("x",), {"axis": -1},
     lambda: X / np.sqrt((X * X).sum(-1, keepdims=True))),
    ("split", ("x",), {"num_or_size_splits": [2, -1], "axis": 2}, lambda: [X[..., :2], X[..., 2:]]),
    ("unstack", ("x",), {"axis": 1}, lambda: [X[:, k] for k in range(4)]),
    ("tile", ("x",), {"multiples": [1, 2, 1]}, lambda: np.tile(X, (1, 2, 1))),
    ("pad", ("x",), {"paddings": [[0, 0], [1, 2], [0, 1]], "mode": "REFLECT"},
     lambda: np.pad(X, ((0, 0), (1, 2), (0, 1)), "reflect")),
    ("gather", ("x",), {"indices": [2, 0], "axis": 1}, lambda: X[:, [2, 0]]),
    ("clip_by_value", ("x",), {"clip_value_min": -0.5, "clip_value_max": 0.5},
     lambda: X.clip(-0.5, 0.5)),
    ("cast", ("x",), {"dtype": "int32"}, lambda: np.trunc(X)),
    ("math.argmax", ("x",), {"axis": -1}, lambda: X.argmax(-1)),
    ("math.pow", ("x",), {"y": 2}, lambda: X**2),
    ("math.squared_difference", ("x", "y"), {}, lambda: (X - Y) ** 2),
    ("where", (True,), {"x": "x", "y": "y"}, lambda: X),
    ("one_hot", ("at",), {"depth": 5, "on_value": 2.0, "off_value": -1.0},
     lambda: np.eye(5)[[1, 3]] * 3 - 1),
    ("einsum", ("btc,bsc->bts", "x", "y"), {}, lambda: np.einsum("btc,bsc->bts", X, Y)),
    ("math.cumsum", ("x",), {"axis": 1, "exclusive": True}, lambda: np.cumsum(X, 1) - X),
    ("strided_slice", ("x", [0, 1, 0], [2, 3, 5]), {"strides": [1, 1, 2], "begin_mask": 4},
     lambda: X[:2, 1:3, :5:2]),
    ("add_n", (["x", "y", "x"],), {}, lambda: 2 * X + Y),
    ("math.sigmoid", ("x",), {}, lambda: 1 / (1 + np.exp(-X))),
]  # fmt: skip


def layer_of(class_name: str, config: dict[str, Any]) -> keras_model.Layer:
    class Nowhere:
        def own(self) -> list[Any]:
            return []

    return keras_model.Layer(class_name, "node", config, 2, Nowhere(), None)  # type: ignore[arg-type]


def computed(found: Any) -> list[np.ndarray]:
    values = found if isinstance(found, list) else [found]
    return [evaluate(v) for v in values]


def test_tensorflow_functions() -> None:
    values = {"x": constant(X), "y": constant(Y), "at": constant(np.array([1, 3], np.int32))}

    def given(a: Any) -> Any:
        if isinstance(a, list) and a and a[0] in ("x", "y"):
            return [values[k] for k in a]
        return values.get(a, a) if isinstance(a, str) else a

    for name, args, kwargs, wanted in TENSORFLOW:
        call = PLAIN({k: given(v) for k, v in kwargs.items()}, [given(a) for a in args])
        layer = layer_of("TFOpLambda", {"name": "node", "dtype": "float32", "function": name})
        found = computed(keras_layers.LAYERS["TFOpLambda"](layer, call.args, call))
        expected = wanted()
        expected = expected if isinstance(expected, list) else [expected]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6, err_msg=name)


def test_tensorflow_slices_and_graph_nodes() -> None:
    build = keras_layers.LAYERS["SlicingOpLambda"]
    layer = layer_of("SlicingOpLambda", {"function": "__operators__.getitem"})
    spec = [slice(None), slice(1, None, 2), 3]
    found = build(layer, [constant(X)], PLAIN({"slice_spec": spec}, [constant(X)]))
    np.testing.assert_array_equal(evaluate(found), X[:, 1::2, 3])
    node = {
        "op": "Mul", "name": "m", "input": ["a", "m/y"], "attr": {"T": {"type": "DT_FLOAT"}}
    }  # fmt: skip
    layer = layer_of("TensorFlowOpLayer", {"node_def": json.dumps(node), "constants": {"1": 2.5}})
    found = keras_layers.LAYERS["TensorFlowOpLayer"](layer, [constant(X)], PLAIN())
    np.testing.assert_allclose(evaluate(found), X * 2.5)
    node = {"op": "Mean", "attr": {"keep_dims": {"b": True}}}
    layer = layer_of("TensorFlowOpLayer", {"node_def": node, "constants": {"1": [1, 2]}})
    found = keras_layers.LAYERS["TensorFlowOpLayer"](layer, [constant(X)], PLAIN())
    np.testing.assert_allclose(evaluate(found), X.mean((1, 2), keepdims=True), rtol=1e-5)


def test_unknown_functions_are_named() -> None:
    layer = layer_of("TFOpLambda", {"function": "signal.stft"})
    with pytest.raises(UnsupportedError, match=r"signal\.stft(?s:.*)@webdnn\.keras\.register"):
        keras_layers.LAYERS["TFOpLambda"](layer, [constant(X)], PLAIN({}, [constant(X)]))
