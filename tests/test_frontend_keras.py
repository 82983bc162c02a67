"""Keras models in all the forms in which they are saved, against Keras; and what is no such model.

Layers are tested one by one elsewhere. Fixtures of old Keras carry the outputs that it gave;
`tests/fixtures/keras/make.py` says how they were made.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests import keras_models
from tests.jobs import Job, interpreted, run_jobs
from tests.keras_models import application, photos, predict, seeded
from tests.test_cli import run
from tools import framework_tables
from webdnn import ops
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from webdnn.frontend import format_of, load
from webdnn.frontend import keras as frontend
from webdnn.frontend.finish import Imported
from webdnn.frontend.keras import tfjs
from webdnn.graph import CONST, DTYPES, FROM_NUMPY

keras = keras_models.keras
L = keras.layers
FIXTURES = Path(__file__).parent / "fixtures" / "keras"
OLD = [  # as make.py names them
    path
    for path in sorted(FIXTURES.glob("*.*"))
    if path.suffix in (".h5", ".keras")
    and re.fullmatch(
        r"(keras1_(tensorflow|theano)|keras2|tf29|tf213)_(cnn|cnn_t[fh]|conv1d|graph|merge|ops|rnn)",
        path.stem,
    )
]
RNG = np.random.default_rng(11)


def old_job(path: Path, model: Any = None, weights: Path | None = None) -> Job:
    """A fixture as a job: its inputs by name (or in order), its outputs in order."""
    data = np.load(path.with_suffix(".npz"))
    graph = load(model or path, {"batch": 2}, weights=weights).graph
    feeds = {k[3:]: data[k] for k in data if k.startswith("in_")}
    if set(feeds) == {"x"}:
        feeds = {graph.inputs[0].attrs["name"]: feeds["x"]}
    elif {"a", "b"} != {v.attrs["name"] for v in graph.inputs}:
        feeds = {v.attrs["name"]: a for v, a in zip(graph.inputs, feeds.values(), strict=True)}
    for v in graph.inputs:
        feeds[v.attrs["name"]] = feeds[v.attrs["name"]].astype(DTYPES[v.dtype])
    outputs = [data[k] for k in data if k.startswith("out_")]
    return Job(path.stem, graph, feeds, dict(zip(graph.outputs, outputs, strict=True)))


def test_models_of_old_keras_give_what_it_gave() -> None:
    assert len(OLD) == 19
    jobs = [old_job(p) for p in OLD]
    assert interpreted(jobs) == {}
    compiled = ("keras1_tensorflow_rnn", "keras2_graph", "tf29_ops")
    assert run_jobs([job for job in jobs if job.name in compiled]) == {}


def test_theano_turns_filters_around(tmp_path: Path) -> None:
    """Keras 1 does not say that it used Theano: a note does, and without the hint it is wrong."""
    path = tmp_path / "keras1_theano_conv1d.h5"
    shutil.copy(FIXTURES / path.name, path)
    shutil.copy((FIXTURES / path.name).with_suffix(".npz"), path.with_suffix(".npz"))
    assert not [note for note in load(path).notes if "TensorFlow" in note]
    with h5py.File(path, "a") as file:
        del file.attrs["backend"]
    assert "taken to be TensorFlow" in load(path).notes[0]
    assert interpreted([old_job(path)])


# ---- Keras 3: every way to save one model --------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Any:
    """Shared, nested and wrapped layers, two inputs, outputs in a dict, operations in between."""
    keras.utils.clear_session()
    image, words = (
        keras.Input((8, 9, 3), name="image"),
        keras.Input((5,), name="words", dtype="int32"),
    )
    body = keras.Sequential(
        [keras.Input((8, 9, 3)), L.Conv2D(6, 3, strides=2), L.BatchNormalization(), L.ReLU()],
        name="body",
    )
    inner_in = keras.Input((6,), name="inner_in")
    inner = keras.Model(
        inner_in,
        L.BatchNormalization()(L.Dense(6, activation="gelu")(inner_in)) + inner_in,
        name="inner",
    )
    x = L.GlobalAveragePooling2D()(body(image))
    x = inner(inner(x))
    y = L.Embedding(20, 6, mask_zero=True)(words)
    y = L.Bidirectional(L.LSTM(3, return_sequences=True))(y)
    y = L.TimeDistributed(inner)(y)
    y = L.MultiHeadAttention(2, 3)(y, y)
    y = L.RNN([L.LSTMCell(4), L.GRUCell(6)])(y)
    dense = L.Dense(4, name="shared")
    joined = keras.ops.concatenate([dense(x), dense(y) * 2.0], axis=-1)
    model = keras.Model(
        {"image": image, "words": words}, {"scores": joined, "code": L.LayerNormalization()(y)}
    )
    return seeded(model)


@pytest.fixture(scope="module")
def feeds() -> dict[str, np.ndarray]:
    words = RNG.integers(1, 20, (2, 5)).astype("int32")
    words[1, 3:] = 0
    return {"image": RNG.normal(0, 1, (2, 8, 9, 3)).astype("float32"), "words": words}


def as_is(model: Any, folder: Path) -> tuple[Any, Path | None]:
    return model, None


def as_zip(model: Any, folder: Path) -> tuple[Any, Path | None]:
    model.save(folder / "m.keras")
    return folder / "m.keras", None


def as_packed_zip(model: Any, folder: Path) -> tuple[Any, Path | None]:
    model.save(folder / "m.keras")
    with zipfile.ZipFile(folder / "m.keras") as old:
        with zipfile.ZipFile(folder / "p.zip", "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
    return folder / "p.zip", None


def as_bytes(model: Any, folder: Path) -> tuple[Any, Path | None]:
    model.save(folder / "m.keras")
    return (folder / "m.keras").read_bytes(), None


def as_folder(model: Any, folder: Path) -> tuple[Any, Path | None]:
    model.save(folder / "m", zipped=False)
    return folder / "m", None


def as_h5(model: Any, folder: Path) -> tuple[Any, Path | None]:
    model.save(folder / "m.h5")
    return folder / "m.h5", None


def as_architecture(model: Any, folder: Path) -> tuple[Any, Path | None]:
    (folder / "m.json").write_text(model.to_json())
    model.save_weights(folder / "m.weights.h5")
    return folder / "m.json", folder / "m.weights.h5"


def as_shards(model: Any, folder: Path) -> tuple[Any, Path | None]:
    (folder / "m.json").write_text(model.to_json())
    model.save_weights(folder / "s.weights.json", max_shard_size=3e-6)
    assert len(list(folder.glob("s_*.h5"))) > 1
    return folder / "m.json", folder / "s.weights.json"


def as_nameless(model: Any, folder: Path) -> tuple[Any, Path | None]:
    """Before Keras 3.6 the weights' groups did not bear the layers' names."""

    def strip(file: Any) -> None:
        groups: list[Any] = []
        file.visititems(lambda name, item: groups.append(item))
        named = [group for group in groups if "name" in group.attrs]
        assert len(named) > 10
        for group in named:
            del group.attrs["name"]

    model.save(folder / "m.keras")
    return with_weights(folder / "m.keras", strip), None


SAVED = [
    as_nameless,
    as_is,
    as_zip,
    as_packed_zip,
    as_bytes,
    as_folder,
    as_h5,
    as_architecture,
    as_shards,
]


@pytest.fixture(scope="module")
def imported(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Imported]:
    out = {}
    for save in SAVED:
        model, weights = save(network, tmp_path_factory.mktemp(save.__name__))
        out[save.__name__] = load(model, {"batch": 2}, weights=weights)
    return out


def test_every_way_to_save_a_model(
    imported: Mapping[str, Imported], network: Any, feeds: dict[str, np.ndarray]
) -> None:
    code, scores = predict(network, feeds)
    jobs = [
        Job(name, i.graph, feeds, {"code": code, "scores": scores}) for name, i in imported.items()
    ]
    assert run_jobs(jobs[:1]) == {}
    assert interpreted(jobs) == {}


def test_what_an_import_says_of_the_model(imported: Mapping[str, Imported], network: Any) -> None:
    found = imported["as_zip"]
    assert [v.attrs["name"] for v in found.graph.inputs] == ["image", "words"]
    assert [v.dtype for v in found.graph.inputs] == ["f32", "i32"]
    assert {"body", "body/conv2d", "shared", "shared:1", "inner:1", "embedding"} <= set(
        found.graph.names
    )
    assert found.contents["Dense"] == 3 and "InputLayer" not in found.contents
    for name in ("as_is", "as_zip", "as_folder", "as_architecture", "as_shards"):
        assert imported[name].parameters == network.count_params(), name
        assert imported[name].parameter_bytes == 4 * network.count_params(), name


def test_operations_with_a_dtype_in_an_hdf5_file(tmp_path: Path) -> None:
    """Such a file does not say what is an operation of keras.ops, which may have a dtype too."""
    x = keras.Input((4,), name="x")
    y = x * keras.ops.cast(x > 0, "float32") + keras.ops.ones_like(x, dtype="float32")
    keras.Model(x, y).save(tmp_path / "m.h5")
    found = load(tmp_path / "m.h5")
    a = RNG.normal(0, 1, (1, 4)).astype("float32")
    (output,) = found.graph.outputs
    assert interpreted([Job("cast", found.graph, {"x": a}, {output: np.maximum(a, 0) + 1})]) == {}


def test_open_dimensions() -> None:
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, L.Conv2D(4, 3, padding="same", strides=2)(image))
    with pytest.raises(DimensionError, match="--dim h=SIZE"):
        load(model)
    found = load(seeded(model), {"h": (8, 32), "w": 12, "batch": (1, 4)})
    assert [str(d.args[0]) for d in found.graph.dims] == ["batch", "h"]
    x = RNG.normal(0, 1, (3, 17, 12, 3)).astype("float32")
    (y,) = predict(model, [x])
    job = Job("dims", found.graph, {"image": x}, {"conv2d": y}, sizes={"batch": 3, "h": 17})
    job.expected = {next(iter(found.graph.outputs)): y}
    assert interpreted([job]) == {}


def test_inputs_become_constants() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((1,), name="b")
    model = keras.Model([a, b], L.Dense(3, name="d")(L.multiply([a, b])))
    found = load(seeded(model), fixed={"b": [[2.5]]})
    assert [v.attrs["name"] for v in found.graph.inputs] == ["a"]
    x = RNG.normal(0, 1, (1, 4)).astype("float32")
    (y,) = predict(model, [x, np.full((1, 1), 2.5, "float32")])
    assert interpreted([Job("fixed", found.graph, {"a": x}, {"d": y})]) == {}


def test_keras_suffix_of_an_hdf5_file(tmp_path: Path) -> None:
    """TF before 2.12 wrote HDF5 whatever the suffix was."""
    for suffix in (".h5", ".npz"):
        name = "renamed.keras" if suffix == ".h5" else "renamed.npz"
        shutil.copy(FIXTURES / f"tf29_graph{suffix}", tmp_path / name)
    assert interpreted([old_job(tmp_path / "renamed.keras")]) == {}


def test_models_are_recognised_by_what_they_are(network: Any, tmp_path: Path) -> None:
    for save in SAVED:
        folder = tmp_path / save.__name__
        folder.mkdir()
        assert format_of(save(network, folder)[0]) == "keras"
    renamed = tmp_path / "model.onnx"
    shutil.copy(FIXTURES / "keras2_cnn.h5", renamed)
    assert format_of(renamed) == "keras"
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("archive/data.pkl", b"")
    assert format_of(tmp_path / "other.zip") != "keras"
    assert format_of(b'{"some": "json"}') != "keras"


def test_one_model_inside_another_and_its_own(tmp_path: Path) -> None:
    """A layer that two models have is saved once."""
    keras.utils.clear_session()
    x = keras.Input((5,))
    shared = L.Dense(5, activation="tanh")
    encoder = keras.Model(x, shared(x), name="encoder")
    model = seeded(keras.Model(x, shared(encoder(x) * 3.0) + 1.0))
    model.save(tmp_path / "m.keras")
    feed = RNG.normal(0, 1, (1, 5)).astype("float32")
    (y,) = predict(model, [feed])
    for source in (model, tmp_path / "m.keras"):
        graph = load(source).graph
        job = Job(
            "shared", graph, {graph.inputs[0].attrs["name"]: feed}, {next(iter(graph.outputs)): y}
        )
        assert interpreted([job]) == {}


def test_a_functional_model_of_ones_own_class() -> None:
    class Trained(keras.Model):
        def __init__(self, inputs: Any, outputs: Any, name: str, extra: int):
            super().__init__(inputs, outputs, name=name)
            self.extra = extra

    x = keras.Input((4,), name="x")
    model = seeded(Trained(x, L.Dense(3)(x), "trained", 5))
    feed = RNG.normal(0, 1, (1, 4)).astype("float32")
    graph = load(model).graph
    job = Job("own", graph, {"x": feed}, {next(iter(graph.outputs)): predict(model, [feed])[0]})
    assert interpreted([job]) == {}


# ---- older files, in other ways ------------------------------------------------------------------


def test_architecture_and_weights_of_keras_2(tmp_path: Path) -> None:
    architecture = FIXTURES / "keras2_graph.json"
    weights = FIXTURES / "keras2_graph_weights.h5"
    assert interpreted([old_job(FIXTURES / "keras2_graph.h5", architecture, weights)]) == {}
    # The weights of a whole model do as well, and also where its layers had other names.
    whole = FIXTURES / "keras2_graph.h5"
    assert interpreted([old_job(whole, architecture, whole)]) == {}
    renamed = tmp_path / "renamed.h5"
    shutil.copy(weights, renamed)
    with h5py.File(renamed, "a") as file:
        names = [n.decode() for n in file.attrs["layer_names"]]
        for name in names:
            file.move(name, "other_" + name)
        file.attrs["layer_names"] = [("other_" + n).encode() for n in names]
    assert interpreted([old_job(whole, architecture, renamed)]) == {}


def test_nested_weights_whose_names_say_nothing(tmp_path: Path) -> None:
    """Then their order does: what is trained comes first, moving statistics behind."""
    path = tmp_path / "keras2_graph.h5"
    shutil.copy(FIXTURES / path.name, path)
    shutil.copy((FIXTURES / path.name).with_suffix(".npz"), path.with_suffix(".npz"))
    with h5py.File(path, "a") as file:
        group = file["model_weights/inner"]
        names = [n.decode() for n in group.attrs["weight_names"]]
        new = [f"variable_{k}" for k in range(len(names))]
        for old, name in zip(names, new, strict=True):
            group[name] = group[old][()]
        group.attrs["weight_names"] = [n.encode() for n in new]
    assert interpreted([old_job(path)]) == {}


class Functional:
    """A model of tf.keras in memory, as far as an importer sees it."""

    def __init__(self, path: Path):
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
            self.json = json.dumps({**config, "keras_version": "2.15.0", "backend": "tensorflow"})
            self.name = "live"
            self.layers = [OldLayer(file["model_weights"][n]) for n in file["model_weights"]]

    def to_json(self) -> str:
        return self.json


class OldLayer:
    def __init__(self, group: Any):
        names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["weight_names"]]
        self.name = group.name.rpartition("/")[2]
        self.arrays = [group[n][()] for n in names]
        self.weights = [type("Variable", (), {"name": n})() for n in names]

    def get_weights(self) -> list[np.ndarray]:
        return self.arrays


Functional.__module__ = "tf_keras.src.engine.functional"


def test_models_of_tf_keras_in_memory() -> None:
    path = FIXTURES / "tf29_graph.h5"
    model = Functional(path)
    assert format_of(model) == "keras"
    assert interpreted([old_job(path, model)]) == {}


# ---- TensorFlow.js -------------------------------------------------------------------------------


def layers_model(folder: Path, bits: Mapping[str, str] | None = None) -> Path:
    """keras2_graph as TensorFlow.js' converter writes it; bits: weights that are quantised."""
    with h5py.File(FIXTURES / "keras2_graph.h5") as file:
        config = json.loads(file.attrs["model_config"])
        weights = []
        for layer in file["model_weights"]:
            group = file["model_weights"][layer]
            for name in group.attrs["weight_names"]:
                weights.append((name.decode().removesuffix(":0"), group[name.decode()][()]))
    rows, data = [], b""
    for name, array in weights:
        row = {"name": name, "shape": list(array.shape), "dtype": "float32"}
        stored = (bits or {}).get(name.rpartition("/")[2], "float32")
        if stored.startswith("uint"):
            low, top = float(array.min()), float(np.iinfo(stored).max)
            scale = (float(array.max()) - low) / top or 1.0
            row["quantization"] = {"dtype": stored, "scale": scale, "min": low}
            array = np.round((array - low) / scale)
        elif stored == "float16":
            row["quantization"] = {"dtype": stored, "original_dtype": "float32"}
        data += array.astype(np.dtype(stored).newbyteorder("<")).tobytes()
        rows.append(row)
    cut = len(data) // 3 + 1  # in the middle of a weight
    paths = []
    for k in range(3):
        paths.append(f"group1-shard{k + 1}of3.bin")
        (folder / paths[-1]).write_bytes(data[k * cut : (k + 1) * cut])
    model = {
        "format": "layers-model",
        "modelTopology": {
            "keras_version": "2.2.4",
            "backend": "tensorflow",
            "model_config": config,
        },
        "weightsManifest": [{"paths": paths, "weights": rows}],
    }
    (folder / "model.json").write_text(json.dumps(model))
    return folder / "model.json"


def test_tensorflow_js(tmp_path: Path) -> None:
    path = FIXTURES / "keras2_graph.h5"
    assert interpreted([old_job(path, layers_model(tmp_path))]) == {}


@pytest.mark.parametrize(
    ("bits", "tol"),
    [
        ({"kernel": "uint16"}, 1e-3),
        ({"kernel": "float16"}, 1e-2),
        ({"bias": "uint8"}, 0.1),
        ({"kernel": "uint8"}, 0.2),
    ],
)
def test_tensorflow_js_quantised(
    bits: dict[str, str], tol: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfjs, "LEAST", 20)
    job = old_job(FIXTURES / "keras2_graph.h5", layers_model(tmp_path, bits))
    if "kernel" in bits:
        kept = {v.dtype for v in job.graph.values() if v.op is CONST and v.size >= 20}
        assert kept & {FROM_NUMPY[stored] for stored in bits.values()}
    job.tol = tol
    assert interpreted([job]) == {}
    job.tol = 1e-7  # but it is not what was not quantised
    assert interpreted([job])


def test_tensorflow_js_shards(tmp_path: Path) -> None:
    path = layers_model(tmp_path)
    text = path.read_text()
    last = tmp_path / "group1-shard3of3.bin"
    data = last.read_bytes()
    last.write_bytes(data[:-8])
    with pytest.raises(ModelError, match=r"should have \d+ bytes together, but have \d+"):
        load(path)
    last.unlink()
    with pytest.raises(
        ModelError, match=r"weights in 'group1-shard3of3\.bin', but .* does not exist"
    ):
        load(path)
    for name in ("../group1-shard3of3.bin", "/etc/passwd", "C:\\x", "http://host/x", "a/../../x"):
        path.write_text(text.replace("group1-shard3of3.bin", name.replace("\\", "\\\\")))
        with pytest.raises(ModelError, match="not beside the model: refused"):
            load(path)
    secret = tmp_path.parent / "secret.bin"
    secret.write_bytes(data)
    last.symlink_to(secret)
    path.write_text(text)
    with pytest.raises(ModelError, match=r"a link to .*secret\.bin, which is not beside"):
        load(path)
    last.unlink()
    with pytest.raises(ModelError, match="give its path, not its bytes"):
        load(text.encode())
    graph = {"format": "graph-model", "modelTopology": {"node": []}, "weightsManifest": []}
    path.write_text(json.dumps(graph))
    with pytest.raises(UnsupportedError, match="graph model"):
        load(path)
    rows = json.loads(text)
    rows["weightsManifest"][0]["weights"][0]["name"] = "elsewhere/kernel"
    last.write_bytes(data)
    path.write_text(json.dumps(rows))
    with pytest.raises(ModelError, match="do not bear the names of the model's layers"):
        load(path)


# ---- layers that are not known -------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class Scale(L.Layer):
    """A layer of one's own, with a weight."""

    def __init__(self, power: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.power = power

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(shape[-1],), name="factor")

    def call(self, x: Any) -> Any:
        return x * self.factor**self.power

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "_REGISTERED", {})


def own_layers() -> Any:
    keras.utils.clear_session()
    x = keras.Input((4,), name="x")
    y = Scale(2.0, name="first")(L.Dense(4, name="dense")(x))
    y = L.Lambda(lambda t: t * 2, output_shape=(4,), name="twice")(y)
    y = L.TimeDistributed(Scale(name="wrapped"), name="each")(L.Reshape((2, 2))(y))
    return seeded(keras.Model(x, L.Flatten(name="out")(y)))


def test_unknown_layers_are_listed_at_once(registry: None) -> None:
    with pytest.raises(UnsupportedError) as error:
        load(own_layers())
    message = str(error.value)
    assert "Scale: 'first', 'wrapped'" in message
    assert "Lambda (its computation is Python code, not part of the file): 'twice'" in message
    assert "@webdnn.keras.register('Scale')" in message


def test_unknown_functions_of_tensorflow_are_listed_at_once(registry: None, tmp_path: Path) -> None:
    """Models of tf.keras call them as layers; what is registered by a layer's name is known."""
    shape = {"dtype": "float32", "batch_input_shape": [None, 4]}
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "name": "x", "config": {"name": "x", **shape}}
    ]
    called = ["signal.stft", "math.add", "strings.join", "signal.stft", "audio.decode"]
    for k, function in enumerate(called):
        config = {"name": f"n{k}", "dtype": "float32", "function": function}
        inbound = [[layers[-1]["name"], 0, 0, {}]]
        layers.append({"class_name": "TFOpLambda", "name": f"n{k}", "config": config})
        layers[-1]["inbound_nodes"] = inbound
    layers[0]["inbound_nodes"] = []
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["n4", 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.9.0"
        file.create_group("model_weights")
    frontend.register("n4", lambda layer, inputs: inputs[0])
    with pytest.raises(UnsupportedError) as error:
        load(tmp_path / "m.h5")
    message = str(error.value)
    assert "TensorFlow's signal.stft: 'n0', 'n3'\n" in message
    assert "TensorFlow's strings.join: 'n2'\n" in message
    assert "math.add" not in message and "audio.decode" not in message
    assert "register('n0')" in message


def test_registered_layers(registry: None, tmp_path: Path) -> None:
    @frontend.register("Scale")
    def scale(layer: Any, inputs: Any) -> Any:
        (x,) = inputs
        factor = layer.weight(0, (x.shape[-1],))
        return ops.mul(x, ops.pow_(factor, float(layer.config["power"])))

    frontend.register("twice", lambda layer, inputs, call: ops.mul(inputs[0], 2.0))
    model = own_layers()
    model.save(tmp_path / "m.keras")
    feed = RNG.normal(0, 1, (1, 4)).astype("float32")
    jobs = [
        Job("own", load(source).graph, {"x": feed}, {"out": predict(model, [feed])[0]})
        for source in (model, tmp_path / "m.keras")
    ]
    assert interpreted(jobs) == {}


def test_a_registered_function_that_fails(registry: None) -> None:
    def load_with(function: Callable[..., Any]) -> None:
        frontend.register("Scale", function, replace=True)
        frontend.register("Lambda", lambda layer, inputs: inputs[0])
        load(own_layers())

    with pytest.raises(
        ModelError, match=r"layer 'first' \(Scale\): weight 0 should have the shape \[7\]"
    ):
        load_with(lambda layer, inputs: layer.weight(0, (7,)))
    with pytest.raises(
        ModelError, match=r"layer 'first' \(Scale\): its configuration lacks 'size'"
    ):
        load_with(lambda layer, inputs: layer.config["size"])
    with pytest.raises(ModelError, match=r"layer 'first' \(Scale\): reshape"):
        load_with(lambda layer, inputs: ops.reshape(inputs[0], (3, 9)))
    with pytest.raises(ModelError, match=r"'first'.*<lambda> \(.*py:\d+\) returned object, not"):
        load_with(lambda layer, inputs: object())
    with pytest.raises(ModelError, match=r"'first' .*: RuntimeError: .* \(in failing, .*:\d+"):
        load_with(failing)
    with pytest.raises(WebDNNError, match=r"\(layer, inputs\)"):
        frontend.register("Scale", lambda: None)
    with pytest.raises(WebDNNError, match="layer Scale is registered twice: by failing"):
        frontend.register("Scale", lambda layer, inputs: inputs[0])


def failing(layer: Any, inputs: Any) -> Any:
    raise RuntimeError("no luck")


PLUGIN = """
import webdnn
from webdnn import ops

@webdnn.keras.register("Scale")
def scale(layer, inputs):
    (x,) = inputs
    factor = layer.weight(0, (x.shape[-1],))
    return ops.mul(x, ops.pow_(factor, float(layer.config["power"])))
"""


def test_layers_of_a_plugin(
    registry: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plugin = tmp_path / "m.keras", tmp_path / "mine.py"
    x = keras.Input((4,), name="x")
    model = seeded(keras.Model(x, Scale(2.0, name="out")(L.Dense(4)(x))))
    model.save(file)
    plugin.write_text(PLUGIN)
    assert run("inspect", str(file), "--target", "webgpu") == 2
    assert "--plugin" in capsys.readouterr().err
    assert run("inspect", str(file), "--target", "webgpu", "--plugin", str(plugin), "--json") == 0
    assert json.loads(capsys.readouterr().out)["operators"] == {"Dense": 1, "Scale": 1}


def test_subclassed_models(tmp_path: Path) -> None:
    class Sub(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Sub()
    predict(model, [np.zeros((1, 4), "float32")])
    model.save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        with pytest.raises(UnsupportedError, match="subclassed model") as error:
            load(source)
        assert "keras.Model(x, model.call(x))" in str(error.value) and "onnx" in str(error.value)
    with pytest.raises(ModelError, match="Dense is a part of Keras, but not a model"):
        load(L.Dense(3))
    with pytest.raises(ModelError, match="has no shape"):
        load(keras.Sequential([L.Dense(3)]))


# ---- files that are not right --------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    keras.utils.clear_session()
    model = keras.Sequential(
        [keras.Input((4,), name="x"), L.Dense(5, name="a"), L.Dense(3, name="b")]
    )
    seeded(model).save(tmp_path / "small.keras")
    return tmp_path / "small.keras"


def repacked(path: Path, change: Callable[[dict[str, bytes]], None], method: int = 0) -> Path:
    """The .keras file with other members."""
    with zipfile.ZipFile(path) as file:
        members = {n: file.read(n) for n in file.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def with_weights(path: Path, change: Callable[[Any], None]) -> Path:
    def changed(members: dict[str, bytes]) -> None:
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "a") as file:
            change(file)
        members["model.weights.h5"] = buffer.getvalue()

    return repacked(path, changed)


def test_a_file_cut_anywhere_is_one_clear_error(small: Path, tmp_path: Path) -> None:
    for source in (small, FIXTURES / "keras2_graph.h5", FIXTURES / "keras2_graph.json"):
        data = source.read_bytes()
        cut = tmp_path / ("cut" + source.suffix)
        for size in sorted(
            {9, 40, 300, len(data) // 3, len(data) // 2, len(data) - 300, len(data) - 1}
        ):
            cut.write_bytes(data[:size])
            with pytest.raises(WebDNNError):
                load(cut)
                pytest.fail(f"{source.name} cut at {size} was taken")


def test_members_that_are_missing(small: Path) -> None:
    for name, message in (
        ("config.json", "a zip without config.json"),
        ("model.weights.h5", "the weights are missing"),
    ):
        copy = small.with_name("copy.keras")
        shutil.copy(small, copy)
        with pytest.raises(ModelError, match=message):
            frontend.load(repacked(copy, lambda members, name=name: members.pop(name)))

    def npz(members: dict[str, bytes]) -> None:
        members["model.weights.npz"] = members.pop("model.weights.h5")

    with pytest.raises(ModelError, match="pickles, which are not opened"):
        load(repacked(small, npz))


def test_configurations_that_are_not_right(small: Path) -> None:
    def config(change: Callable[[Any], Any]) -> Callable[[dict[str, bytes]], None]:
        def changed(members: dict[str, bytes]) -> None:
            members["config.json"] = json.dumps(change(json.loads(members["config.json"]))).encode()

        return changed

    def dropped(data: Any) -> Any:
        del data["config"]["layers"][1]["config"]["units"]
        return data

    def nameless(data: Any) -> Any:
        data["config"]["layers"][1] = {"class_name": "Dense"}
        return data

    cases: list[tuple[Callable[[Any], Any], str]] = [
        (dropped, r"layer 'a' \(Dense\): its configuration lacks 'units'"),
        (nameless, "not as Keras writes it"),
        (lambda data: [data], "is not the configuration of a Keras model"),
        (lambda data: {**data, "config": {"layers": []}}, "has no layers"),
        (lambda data: {**data, "config": 3}, "lists no layers"),
    ]
    for change, message in cases:
        copy = small.with_name("copy.keras")
        shutil.copy(small, copy)
        with pytest.raises(WebDNNError, match=message):
            load(repacked(copy, config(change)))
    deep = {
        "config.json": b'{"class_name": "Sequential", "config": '
        + b"[" * 100000
        + b"]" * 100000
        + b"}"
    }
    with pytest.raises(ModelError, match="nested too deeply"):
        load(repacked(small, lambda members: members.update(deep)))


def test_references_that_lead_nowhere(tmp_path: Path) -> None:
    x = keras.Input((4,), name="x")
    model = keras.Model(x, L.Dense(3, name="d")(x))
    weights = tmp_path / "m.weights.h5"
    model.save_weights(weights)
    base = json.loads(model.to_json())

    def with_history(history: list[Any]) -> bytes:
        data = json.loads(json.dumps(base))
        node = data["config"]["layers"][1]["inbound_nodes"][0]
        node["args"][0]["config"]["keras_history"] = history
        return json.dumps(data).encode()

    for history, message in (
        (["y", 0, 0], "refers to a layer 'y' that it lacks"),
        (["x", 7, 0], "call 7 of layer 'x', which is called nowhere"),
        (["x", 0, 3], "output 3 of layer 'x' is used, but it has 1"),
        (["d", 0, 0], "depends on its own output"),
    ):
        with pytest.raises(ModelError, match=message):
            load(with_history(history), weights=weights)


def test_weights_that_do_not_fit(small: Path) -> None:
    def transposed(file: Any) -> None:
        kernel = file["layers/dense_1/vars/0"][()]
        del file["layers/dense_1/vars/0"]
        file["layers/dense_1/vars/0"] = kernel.T.copy()

    copies = [small.with_name(f"{k}.keras") for k in range(4)]
    for copy in copies:
        shutil.copy(small, copy)
    expected = r"layer 'b' \(Dense\): weight 0 should have the shape \[5, 3\], but has \[3, 5\]"
    with pytest.raises(ModelError, match=expected):
        load(with_weights(copies[0], transposed))

    def missing(file: Any) -> None:
        del file["layers/dense_1/vars/1"]

    with pytest.raises(
        ModelError, match=r"layer 'b' \(Dense\): 1 weights found, but it needs at least 2"
    ):
        load(with_weights(copies[1], missing))

    def gone(file: Any) -> None:
        del file["layers/dense"]

    with pytest.raises(ModelError, match=r"layer 'a' \(Dense\): 0 weights found"):
        load(with_weights(copies[2], gone))

    def text(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = "text"

    with pytest.raises(ModelError, match="not numbers"):
        load(with_weights(copies[3], text))


def test_weights_of_another_model(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, name="a")])
    (tmp_path / "m.json").write_text(model.to_json())
    with pytest.raises(ModelError, match="belong to different models"):
        load(tmp_path / "m.json", weights=FIXTURES / "keras2_graph_weights.h5")
    with pytest.raises(ModelError, match="an architecture without weights"):
        load(tmp_path / "m.json")
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "m.json", weights=tmp_path / "none.h5")
    with pytest.raises(ModelError, match="is not an HDF5 file"):
        load(tmp_path / "m.json", weights=FIXTURES / "keras2_graph.npz")
    with pytest.raises(ModelError, match=r"holds weights only\. Give the architecture"):
        load(FIXTURES / "keras2_graph_weights.h5")
    with pytest.raises(ModelError, match="has its own"):
        load(FIXTURES / "keras2_cnn.h5", weights=FIXTURES / "keras2_graph_weights.h5")
    other = tmp_path / "data.h5"
    with h5py.File(other, "w") as file:
        file["data"] = np.zeros(3)
        file.attrs["made by"] = "something else"
    with pytest.raises(ModelError, match="not one that Keras wrote"):
        load(other)


# ---- files from strangers ------------------------------------------------------------------------


def test_links_out_of_a_file_are_refused(small: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["0"] = np.ones((4, 5), "float32")
    (tmp_path / "raw").write_bytes(bytes(80))

    def external(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(secret), "0")

    def group(file: Any) -> None:
        del file["layers/dense/vars"]
        file["layers/dense/vars"] = h5py.ExternalLink(str(secret), "/")

    def soft(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense_1/vars/0")

    def storage(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset(
            "0", (4, 5), "float32", external=[(str(tmp_path / "raw"), 0, 80)]
        )

    def virtual(file: Any) -> None:
        del file["layers/dense/vars/0"]
        layout = h5py.VirtualLayout((4, 5), "float32")
        layout[:] = h5py.VirtualSource(str(secret), "0", (4, 5))
        file["layers/dense/vars"].create_virtual_dataset("0", layout)

    for k, change in enumerate((external, group, soft, storage, virtual)):
        copy = tmp_path / f"{k}.keras"
        shutil.copy(small, copy)
        with pytest.raises(ModelError, match="refused"):
            load(with_weights(copy, change))


def test_links_out_of_a_folder_are_refused(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with zipfile.ZipFile(small) as archive:
        archive.extractall(folder)
    assert load(folder)
    for name in ("metadata.json", "model.weights.h5"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        with pytest.raises(ModelError, match=rf"'{name}', a link to .*, which is not beside"):
            load(folder)
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)
    assert load(folder)


def test_sizes_that_are_only_claimed(small: Path, tmp_path: Path) -> None:
    def huge(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset(
            "0", (1 << 20, 1 << 20), "float32", chunks=(64, 64)
        )

    def packed(file: Any) -> None:
        del file["layers/dense/vars/0"]
        data = file["layers/dense/vars"].create_dataset(
            "0", (5000, 5000), "float32", chunks=(5000, 5000), compression="gzip"
        )
        data[:] = 0

    def empty(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", (4, 5), "float32")

    for k, (change, message) in enumerate(
        ((huge, "claims"), (packed, "claims"), (empty, "numbers are missing"))
    ):
        copy = tmp_path / f"{k}.keras"
        shutil.copy(small, copy)
        with pytest.raises(ModelError, match=message):
            load(with_weights(copy, change))

    def bomb(members: dict[str, bytes]) -> None:
        members["config.json"] = b" " * (1 << 27)

    copy = tmp_path / "bomb.keras"
    shutil.copy(small, copy)
    with pytest.raises(ModelError, match="would unpack from"):
        load(repacked(copy, bomb, zipfile.ZIP_DEFLATED))


def test_a_zip_that_lies_about_its_member(small: Path) -> None:
    data = bytearray(small.read_bytes())
    at = data.rindex(b"model.weights.h5")  # in the central directory, behind its sizes
    struct.pack_into("<II", data, at - 46 + 20, 1 << 30, 1 << 30)
    small.write_bytes(data)
    with pytest.raises(ModelError, match="truncated"):
        load(small)


def test_a_damaged_member_is_noticed(small: Path) -> None:
    data = bytearray(small.read_bytes())
    at = data.index(b"model.weights.h5") + 1500
    data[at] ^= 1
    small.write_bytes(data)
    with pytest.raises(ModelError, match="checksum"):
        load(small)


def test_nothing_of_a_lambda_is_run(registry: None, tmp_path: Path) -> None:
    """Code in a file stays what it is: text."""
    x = keras.Input((4,), name="x")
    model = keras.Model(x, L.Lambda(lambda t: t, output_shape=(4,), name="evil")(x))
    data = json.loads(model.to_json())
    layer = data["config"]["layers"][1]
    layer["config"]["function"] = {
        "class_name": "__lambda__",
        "config": {"code": "not even base64"},
    }
    with pytest.raises(UnsupportedError, match="Lambda"):
        load(json.dumps(data).encode(), weights=FIXTURES / "keras2_graph_weights.h5")


def test_the_page_lists_what_is_taken() -> None:
    """If this fails: python -m tools.framework_tables keras"""
    assert (framework_tables.FOLDER / "keras.md").read_text() == framework_tables.page("keras")


# ---- whole architectures -------------------------------------------------------------------------

QUICK = ("MobileNetV2", "MobileNetV3Small")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.models])
        for name in keras_models.APPLICATIONS
    ],
)
def test_keras_applications(name: str) -> None:
    """Two images at once, whose outputs differ by much more than what is tolerated."""
    side = keras_models.APPLICATIONS[name]
    model = application(name, side, classes=100)
    images = photos(2, side, keras_models.BRIGHTEST.get(name, 1))
    (wanted,) = predict(model, [images])
    assert np.abs(wanted[0] - wanted[1]).max() > 0.2 * np.abs(wanted).max()
    found = load(model, {"batch": 2})
    feeds = {found.graph.inputs[0].attrs["name"]: images}
    job = Job(name, found.graph, feeds, {next(iter(found.graph.outputs)): wanted})
    assert interpreted([job]) == {}
    assert found.parameters == model.count_params()
