"""Every layer of Keras against Keras: random configurations, read in numpy and run on wasm."""

from __future__ import annotations

import inspect
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.interpret import interpret
from tests.jobs import Job, interpreted, run_jobs
from tests.keras_cases import CASES, DRAWS, ONCE, L, drawn, keras, randomise
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.errors import ModelError, UnsupportedError
from webdnn.frontend import keras as frontend
from webdnn.frontend.keras import layers as keras_layers
from webdnn.frontend.keras import model as keras_model
from webdnn.graph import Graph, Value, constant, evaluate
from webdnn.schedule.lower import lower
from webdnn.schedule.plan import nbytes

pytestmark = pytest.mark.usefixtures("own_files")

FIXTURES = Path(__file__).parent / "fixtures" / "keras"
COMPILED = 2  # of the configurations of each layer: compiling takes longer than reading

# What is no layer by itself: containers, cells (tested within RNN) and abstract classes. Keras'
# own IntegerLookup needs TensorFlow: it is tested below, by hand.
PARTS = {
    "GRUCell", "InputLayer", "InputSpec", "IntegerLookup", "LSTMCell", "Layer", "SimpleRNNCell",
    "Wrapper",
}  # fmt: skip


def job(name: str, number: int, folder: Path) -> Job:
    """A layer saved as .keras, imported, and what Keras computes."""
    model, feeds = drawn(name, number)
    path = folder / f"{name}{number}.keras"
    model.save(path)
    imported = frontend.load(str(path), {"batch": 2})
    graph = imported.graph
    outputs = model([keras.ops.convert_to_tensor(f) for f in feeds], training=False)
    arrays = [
        keras.ops.convert_to_numpy(o)
        for o in (outputs if isinstance(outputs, (list, tuple)) else [outputs])
    ]
    return Job(
        f"{name} {number}",
        graph,
        dict(zip((v.attrs["name"] for v in graph.inputs), feeds, strict=True)),
        dict(zip(graph.outputs, arrays, strict=True)),
        constant=True,
    )


@cache
def jobs(folder: Path) -> list[Job]:
    return [job(name, k, folder) for name in CASES for k in range(1 if name in ONCE else DRAWS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


def test_every_layer_is_covered_or_refused() -> None:
    classes = {
        c.__name__
        for n in dir(keras.layers)
        if inspect.isclass(c := getattr(keras.layers, n)) and n[0].isupper()
    }
    covered = set(CASES) | set(keras_layers.IDENTITIES) | set(keras_layers.REFUSED) | PARTS
    assert sorted(classes - covered) == []
    assert not set(keras_layers.REFUSED) & set(keras_layers.LAYERS)
    assert set(CASES) - {"StackedRNNCells"} <= set(keras_layers.LAYERS)


def test_layers_that_only_train_are_identities() -> None:
    values = {"rate": 0.5, "stddev": 1.0, "factor": 0.5, "height_factor": 0.2}
    values |= {"width_factor": 0.2, "value_range": (0, 1)}
    for name in keras_layers.IDENTITIES:
        cls = getattr(L, name, None)
        if cls is None:  # RandomHeight, RandomWidth: before Keras 3
            continue
        taken = inspect.signature(cls.__init__).parameters
        given = values | ({"factor": 4} if name == "RandomPosterization" else {})
        layer = cls(**{k: v for k, v in given.items() if k in taken})
        shape = {"1D": (4, 3), "3D": (4, 4, 4, 3)}.get(name[-2:], (6, 6, 3))
        x = np.random.default_rng(1).uniform(size=(2, *shape)).astype(np.float32)
        found = layer(keras.ops.convert_to_tensor(x), training=False)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), x, err_msg=name)


def test_layers_in_numpy(folder: Path) -> None:
    assert not interpreted(jobs(folder))


def test_layers_on_wasm(folder: Path) -> None:
    assert not run_jobs([j for j in jobs(folder) if int(j.name.split()[1]) < COMPILED])


def test_expected_outputs_discriminate(folder: Path) -> None:
    flat = [
        j.name
        for j in jobs(folder)
        for a in j.expected.values()
        if a.size > 1 and a.dtype.kind == "f" and np.ptp(a) < 1e-3 * np.abs(a).max()
    ]
    assert not flat


# ---- what older versions of Keras had, by hand ---------------------------------------------------

R = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return R.normal(size=shape).astype(np.float32)


class Given:
    """Weights in a list."""

    def __init__(self, *weights: np.ndarray):
        self.weights = [constant(w) for w in weights]

    def own(self) -> list[Value]:
        return self.weights

    def child(self, path: str, *rest: Any) -> Given:
        return Given()


def made(name: str, config: dict[str, Any], x: np.ndarray, *weights: np.ndarray) -> Any:
    """What an old layer makes of x."""
    layer = keras_model.Layer(name, "old", config, 2, Given(*weights), None)  # type: ignore[arg-type]
    values = [constant(x)]
    found = keras_layers.LAYERS[name](layer, values, keras_model.Call({}, values))
    return [evaluate(v) for v in found] if isinstance(found, list) else evaluate(found)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_dense_layers_of_keras_1() -> None:
    x, w, v, b, c = normal(3, 4), normal(4, 4), normal(4, 4), normal(4), normal(4)
    t = sigmoid(x @ v + c)
    wanted = t * np.tanh(x @ w + b) + (1 - t) * x
    close(made("Highway", {"activation": "tanh"}, x, w, v, b, c), wanted)
    w, b = normal(5, 4, 3), normal(5, 3)
    wanted = (np.einsum("ni,fio->nfo", x, w) + b).max(1)
    close(made("MaxoutDense", {"units": 3, "nb_feature": 5}, x, w, b), wanted)
    close(made("ThresholdedReLU", {"theta": 0.3}, x), np.where(x > 0.3, x, 0))


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_locally_connected(order: str) -> None:
    x, w, b = normal(2, 5, 6, 3), normal(2 * 5, 3 * 2 * 3, 4), normal(2, 5, 4)
    first = order == "channels_first"
    bias = b.reshape(4, 2, 5).transpose(1, 2, 0) if first else b
    wanted = np.zeros((2, 2, 5, 4))
    for i in range(2):
        for j in range(5):
            patch = x[:, 2 * i : 2 * i + 3, j : j + 2]
            patch = (patch.transpose(0, 3, 1, 2) if first else patch).reshape(2, -1)
            wanted[:, i, j] = patch @ w[5 * i + j] + bias[i, j]
    config = {
        "filters": 4, "kernel_size": [3, 2], "strides": [2, 1], "data_format": order,
        "padding": "valid", "activation": "linear",
    }  # fmt: skip
    if first:
        found = made("LocallyConnected2D", config, x.transpose(0, 3, 1, 2), w, b)
        found = found.transpose(0, 2, 3, 1)
    else:
        found = made("LocallyConnected2D", config, x, w, b)
    close(found, wanted)


def as_cudnn(kernel: np.ndarray, gates: int, recurrent: bool) -> np.ndarray:
    """Keras' own rule, the other way round: each gate transposed, of kernels in their old shape."""
    parts = np.split(kernel, gates, 1)
    return np.concatenate([p.T if recurrent else p.T.reshape(p.shape) for p in parts], 1)


def test_cudnn_layers() -> None:
    x, k, r, b = normal(2, 5, 3), normal(3, 16), normal(4, 16), normal(32)
    h = c = np.zeros((2, 4))
    for t in range(5):
        i, f, g, o = np.split(x[:, t] @ k + h @ r + b[:16] + b[16:], 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    config = {"units": 4, "return_state": True}
    weights = as_cudnn(k, 4, False), as_cudnn(r, 4, True), b
    for found, wanted in zip(made("CuDNNLSTM", config, x, *weights), [h, h, c], strict=True):
        close(found, wanted)
    k, r, b = normal(3, 12), normal(4, 12), normal(24)
    h = np.zeros((2, 4))
    for t in range(5):
        (xz, xr, xh), (hz, hr, hh) = (
            np.split(a, 3, 1) for a in (x[:, t] @ k + b[:12], h @ r + b[12:])
        )
        z = sigmoid(xz + hz)
        h = z * h + (1 - z) * np.tanh(xh + sigmoid(xr + hr) * hh)
    weights = as_cudnn(k, 3, False), as_cudnn(r, 3, True), b
    close(made("CuDNNGRU", {"units": 4}, x, *weights), h)


def test_integer_lookup() -> None:
    x = np.array([[12, 1138, 42], [42, 7, 9]], np.int32)
    config: dict[str, Any] = {"vocabulary": [12, 36, 1138, 42], "num_oov_indices": 1}
    np.testing.assert_array_equal(made("IntegerLookup", config, x), [[1, 3, 4], [4, 0, 0]])
    config["mask_token"] = 9
    np.testing.assert_array_equal(made("IntegerLookup", config, x), [[2, 4, 5], [5, 1, 0]])
    config = {"vocabulary": [12, 36, 1138, 42], "num_oov_indices": 2}
    np.testing.assert_array_equal(made("IntegerLookup", config, x), [[2, 4, 5], [5, 1, 1]])
    config = {"vocabulary": [12, 36, 1138, 42], "output_mode": "count"}
    wanted = [[0, 1, 0, 1, 1], [2, 0, 0, 0, 1]]
    np.testing.assert_array_equal(made("IntegerLookup", config, x), wanted)
    config = {"vocabulary": [12, 36, 1138, 42], "invert": True}
    found = made("IntegerLookup", config, np.array([1, 3, 0], np.int32))
    np.testing.assert_array_equal(found, [12, 1138, -1])


# ---- what outlives a run, open sizes, errors -----------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.LSTM(5, stateful=True, return_sequences=True),
        lambda: L.Bidirectional(L.GRU(4, stateful=True)),
        lambda: L.RNN([L.LSTMCell(3), L.GRUCell(4)], stateful=True),
        lambda: L.ConvLSTM1D(3, 3, stateful=True),
    ],
)
def test_stateful_layers_go_on_where_they_were(layer: Any, folder: Path) -> None:
    made_ = layer()
    shape = (3, 6, 4) if "Conv" in type(made_).__name__ else (6, 4)
    x = keras.Input(batch_shape=(2, *shape))
    model = keras.Model(x, L.Dense(3)(made_(x)))
    randomise(model, np.random.default_rng(0))
    for v in model.weights:
        if "rnn_state" in v.path:
            v.assign(np.zeros(v.shape))
    path = folder / f"{made_.name}.keras"
    model.save(path)
    graph = frontend.load(str(path)).graph
    after = {name: state for name, (_, state) in graph.states.items()}
    once = Graph(graph.sources, {**graph.outputs, **after}, {}, graph.dims)
    states = {name: np.zeros(v.shape, np.float32) for name, (v, _) in graph.states.items()}
    assert states
    for _ in range(3):
        feed = normal(2, *shape)
        found = interpret(once, {graph.inputs[0].attrs["name"]: feed, **states})
        states = {name: found[name] for name in states}
        close(found[next(iter(graph.outputs))], keras.ops.convert_to_numpy(model(feed)))


def open_jobs(folder: Path) -> list[Job]:
    """Layers whose inputs have sizes that only a run knows."""
    image, steps = (None, None, 3), (None, 4)
    rows = {
        "conv": (image, L.Conv2D(4, 3, strides=2, padding="same")),
        "transposed": (image, L.Conv2DTranspose(4, 3, strides=2, padding="same")),
        "separable": (image, L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2)),
        "pool": (image, L.AveragePooling2D(2)),
        "max_pool": (image, L.MaxPooling2D(3, strides=2, padding="same")),
        "global": (image, L.GlobalAveragePooling2D()),
        "up": (image, L.UpSampling2D(2, interpolation="bilinear")),
        "padding": (image, L.ZeroPadding2D(2)),
        "resizing": (image, L.Resizing(5, 7)),
        "group": (image, L.GroupNormalization(3)),
        "lstm": (steps, L.Bidirectional(L.LSTM(3, return_sequences=True))),
        "gru": (steps, L.GRU(3, go_backwards=True)),
        "conv1d": (steps, L.Conv1D(5, 3, padding="causal")),
        "distributed": (steps, L.TimeDistributed(L.Dense(3))),
        "pooled": (steps, L.GlobalMaxPooling1D()),
    }
    out = []
    for name, (shape, layer) in rows.items():
        x = keras.Input(shape)
        model = keras.Model(x, layer(x))
        randomise(model, np.random.default_rng(1))
        path = folder / f"open_{name}.keras"
        model.save(path)
        dims = (
            {"h": (4, 16), "w": (4, 16)}
            if len(shape) == 3
            else {f"{model.layers[0].name}.1": (2, 12)}
        )
        graph = frontend.load(str(path), dims).graph
        sizes = {str(d.args[0]): n for d, n in zip(graph.dims, (10, 7))}
        feed = normal(1, *(n for n, _ in zip((10, 7), range(len(shape) - 1))), shape[-1])
        wanted = keras.ops.convert_to_numpy(model(feed))
        given = {graph.inputs[0].attrs["name"]: feed}
        out.append(Job(name, graph, given, {next(iter(graph.outputs)): wanted}, sizes=sizes))
    return out


def test_open_sizes(folder: Path) -> None:
    jobs_ = open_jobs(folder)
    assert not interpreted(jobs_)
    assert not run_jobs(jobs_)


def nets() -> dict[str, Any]:
    """Small nets in which masks travel, and weights that were changed after training."""
    ids = keras.Input((7,), dtype="int32")
    words = L.Embedding(10, 6, mask_zero=True)
    x, other = words(ids), words(keras.ops.flip(ids, 1))

    def sequential(*layers: Any) -> Any:
        first = L.Embedding(10, 6, mask_zero=True)
        return keras.Sequential([keras.Input((7,), dtype="int32"), first, *layers])

    y = L.MultiHeadAttention(2, 4)(L.LayerNormalization()(x), x, use_causal_mask=True)
    y = L.LayerNormalization()(L.Add()([x, y]))
    block = L.Add()([y, L.Dense(6)(L.Dense(12, activation="gelu")(y))])
    attended = L.MultiHeadAttention(2, 4)(query=x, value=x, key=x)  # takes the mask off x
    kept = L.Dropout(0.1)(x)  # x itself, whose mask goes when this one's does
    grouped, inner = L.GroupQueryAttention(4, 4, 2), keras.Input((7, 6))
    attends = keras.Model(inner, L.MultiHeadAttention(2, 4)(inner, inner))
    merged = [
        cls()([x, other])
        for cls in (L.Add, L.Multiply, L.Maximum, L.Minimum, L.Average, L.Concatenate, L.Subtract)
    ]
    changed = sequential(L.Flatten(), L.Dense(8), L.Dense(4))
    changed.layers[2].enable_lora(2)
    out = {
        "recurrent": sequential(L.Dropout(0.2), L.LSTM(5, return_sequences=True), L.GRU(4)),
        "both ways": sequential(
            L.Bidirectional(L.GRU(5, return_sequences=True)),
            L.TimeDistributed(L.Dense(4)),
            L.SimpleRNN(3),
        ),
        "pooled": sequential(L.Dense(5), L.GlobalAveragePooling1D()),
        "lost": sequential(L.Conv1D(5, 3), L.LSTM(4)),
        "transformer": keras.Model(ids, [block, L.GlobalAveragePooling1D()(block)]),
        "twice": keras.Model(ids, [attended, L.GroupQueryAttention(4, 4, 2)(attended, x)]),
        # An attention sees the mask of x at run time: if no MultiHeadAttention ran before it. The
        # deepest runs first, and of one depth the last.
        "two": keras.Model(ids, [L.MultiHeadAttention(2, 4)(x, x) for _ in range(2)]),
        "by depth": keras.Model(ids, [grouped(x, x), L.Dense(4)(L.MultiHeadAttention(2, 4)(x, x))]),
        "dropped": keras.Model(
            ids, [grouped(x, x), L.Dense(4)(L.Dense(4)(L.MultiHeadAttention(2, 4)(kept, kept)))]
        ),
        "inside": keras.Model(ids, [grouped(x, x), L.Dense(4)(attends(x))]),
        "attention": keras.Model(ids, L.Attention()([other, x])),
        "merged": keras.Model(ids, [*merged, *(L.LSTM(3)(m) for m in merged)]),
        "lora": changed,
    }
    for model in out.values():
        randomise(model, np.random.default_rng(2))
    return out


def test_nets_with_masks_and_changed_weights(folder: Path) -> None:
    found = []
    for name, model in nets().items():
        path = folder / f"{name}.keras"
        model.save(path)
        feed = np.random.default_rng(3).integers(0, 4, (2, 7)).astype(np.int32)
        feed[0, :2] = 0
        wanted = model(keras.ops.convert_to_tensor(feed), training=False)
        arrays = list(map(keras.ops.convert_to_numpy, keras.tree.flatten(wanted)))
        for source in (str(path), model):
            graph = frontend.load(source, {"batch": 2}).graph
            given = {graph.inputs[0].attrs["name"]: feed}
            outputs = dict(zip(graph.outputs, arrays, strict=True))
            found.append(Job(f"{name} {source}", graph, given, outputs))
    assert not interpreted(found)


ROUNDED = ("int8", "other range", "both")  # where activations are integers, too


def quantised() -> dict[str, Any]:
    """A net of every layer that Keras quantises, in every way that it does."""
    q = keras.quantizers
    rounded = q.AbsMaxQuantizer(value_range=(-100, 100), epsilon=1e-5)
    ways = {
        "int8": ("int8", None),
        "weights in int8": ("int8", q.Int8QuantizationConfig(activation_quantizer=None)),
        "other range": ("int8", q.Int8QuantizationConfig(activation_quantizer=rounded)),
        "int4": ("int4", None),  # blocks of 128: all of them in one
        "blocks": ("int4", q.Int4QuantizationConfig(block_size=16)),
        "columns": ("int4", q.Int4QuantizationConfig(block_size=-1)),
        "both": ("int4", q.Int4QuantizationConfig(block_size=-1, activation_quantizer=rounded)),
    }
    out = {}
    for k, (name, (mode, config)) in enumerate(ways.items()):
        ids = keras.Input((7,), dtype="int32")
        reversible = L.ReversibleEmbedding(72, 64, tie_weights=bool(k % 2))
        x = L.Add()([reversible(ids), L.Embedding(72, 64)(ids)])
        x = L.EinsumDense("abc,cde->abde", (7, 3, 40), bias_axes="e")(x)
        x = L.EinsumDense("abde,def->abf", (7, 64))(x)
        x = L.EinsumDense("abc,bcd->abd", (7, 64), bias_axes="bd", activation="relu")(x)
        x = L.Dense(64, use_bias=False)(x)
        out[name] = model = keras.Model(ids, [reversible(x, reverse=True), L.Dense(33)(x)])
        randomise(model, np.random.default_rng(2))
        model.quantize(mode, config=config)
    return out


def test_quantised_layers(folder: Path) -> None:
    """As Keras computes them, of a file and of a model; no weight is downloaded wider."""
    found = []
    for name, model in quantised().items():
        path = folder / f"{name}.keras"
        model.save(path)
        with zipfile.ZipFile(path) as files, files.open("model.weights.h5") as file:
            stored = nbytes_of(h5py.File(io.BytesIO(file.read())))
        feed = np.random.default_rng(3).integers(0, 72, (2, 7)).astype(np.int32)
        wanted = map(keras.ops.convert_to_numpy, model(keras.ops.convert_to_tensor(feed)))
        arrays = [*wanted]
        for source in (str(path), model)[: 2 if name == "blocks" else 1]:
            graph = frontend.load(source, {"batch": 2}).graph
            outputs = dict(zip(graph.outputs, arrays, strict=True))
            given = {graph.inputs[0].attrs["name"]: feed}
            tol = 2e-3 if name in ROUNDED else 1e-4  # x / scale beside .5 goes either way
            found.append(Job(f"{name} {source}", graph, given, outputs, tol=tol))
        program = lower(passes.run(graph), TARGETS["wasm"])
        size = sum(nbytes(program.buffers[b]) for b in program.weights)
        assert size <= 1.02 * stored, f"{name}: {stored} bytes became {size}"
    assert not interpreted(found)


def nbytes_of(file: Any) -> int:
    sizes: list[int] = []
    file.visititems(lambda _, o: sizes.append(getattr(o, "nbytes", 0)))
    return sum(sizes)


def test_what_is_quantised_otherwise_is_refused(folder: Path) -> None:
    x = keras.Input((7, 6))
    model = keras.Model(x, L.MultiHeadAttention(2, 4)(x, x))
    model.quantize("int8")
    model.save(folder / "inside.keras")
    with pytest.raises(UnsupportedError, match=r"its weights are quantized \(i8\); Dense, Einsum"):
        frontend.load(str(folder / "inside.keras"), {"batch": 2})
    model = keras.Model(x, L.Dense(4)(x))
    model.quantize("float8")
    model.save(folder / "float8.keras")
    with pytest.raises(UnsupportedError, match="it rounds to float8"):
        frontend.load(str(folder / "float8.keras"), {"batch": 2})
    integers = R.integers(-9, 9, (4, 3)).astype(np.int8)
    with pytest.raises(ModelError, match=r"integers of 4 bits \[5, 3\] lie in i8\[5, 2\]"):
        made("Dense", {"units": 3}, normal(2, 5), integers, normal(3), normal(3))


def test_errors_say_what_is_wrong() -> None:
    x = normal(2, 5)
    with pytest.raises(UnsupportedError, match="'swoosh' is none of Keras' own"):
        made("Activation", {"activation": "swoosh"}, x)
    with pytest.raises(ModelError, match=r"weight 0 should have the shape \[5, 3\]"):
        made("Dense", {"units": 3}, x, normal(4, 3), normal(3))
    with pytest.raises(ModelError, match="0 weights found"):
        made("Dense", {"units": 3}, x)
    with pytest.raises(ModelError, match="4 axes expected"):
        made("Conv2D", {"filters": 3, "kernel_size": 3}, x, normal(3, 3, 5, 3))
    with pytest.raises(ModelError, match="groups"):
        config = {"filters": 4, "kernel_size": 1, "groups": 3}
        made("Conv1D", config, normal(1, 4, 6), normal(1, 2, 4))
    with pytest.raises(UnsupportedError, match="lanczos9"):
        config = {"height": 3, "width": 3, "interpolation": "lanczos9"}
        made("Resizing", config, normal(1, 4, 4, 3))
    with pytest.raises(UnsupportedError, match="MyCell"):
        cells = [{"class_name": "MyCell", "config": {}}]
        stack = {"class_name": "StackedRNNCells", "config": {"cells": cells}}
        made("RNN", {"cell": stack}, normal(1, 4, 3))


# ---- layers that genuine old versions saved ------------------------------------------------------


@pytest.mark.parametrize("archive", ["layers_tf29.zip", "layers_keras2.zip"])
def test_layers_of_older_versions(archive: str) -> None:
    found = []
    with zipfile.ZipFile(FIXTURES / archive) as files:
        names = [n[:-3] for n in files.namelist() if n.endswith(".h5")]
        for name in names:
            with np.load(io.BytesIO(files.read(f"{name}.npz"))) as arrays:
                feeds = [arrays[k] for k in arrays.files if k[0] == "x"]
                wanted = [arrays[k] for k in arrays.files if k[0] == "y"]
            graph = frontend.load(files.read(f"{name}.h5"), {"batch": 2}).graph
            given = dict(zip((v.attrs["name"] for v in graph.inputs), feeds, strict=True))
            outputs = dict(zip(graph.outputs, wanted, strict=True))
            found.append(Job(name, graph, given, outputs, constant=True))
    assert len(found) > 30
    assert not interpreted(found)
