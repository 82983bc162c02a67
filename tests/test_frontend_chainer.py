"""Chains through the importer: every function and link against chainer itself.

The configurations are in `chainer_cases`. Each is imported, read by numpy, and run on wasm in Node;
both must agree with what the chain returns for another input. The vision models run in Chromium on
both targets.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

# In CI its absence is an error, raised by the import below.
if importlib.util.find_spec("chainer") is None and not os.environ.get("CI"):
    pytest.skip("chainer is not installed: docs/frameworks/chainer.md", allow_module_level=True)

import webdnn
from tests.chainer_cases import CASES, PICTURES, ROIS, WHICH, Case, F, L, Of, chainer
from tests.interpret import interpret
from tests.jobs import Job, interpreted, run_jobs
from tools import framework_tables
from webdnn import frontend
from webdnn.browser.check import _arrays, check, wire
from webdnn.browser.compare import TOLERANCE, compare
from webdnn.browser.engine import open_page
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from webdnn.expr import evaluate
from webdnn.frontend.chainer import Arguments, computed
from webdnn.frontend.chainer.functions import FUNCTIONS, REFUSED, ErfcInv, ErfInv, Ndtri
from webdnn.frontend.chainer.trace import flat_outputs
from webdnn.frontend.finish import Imported
from webdnn.graph import Graph, placeholder

ImportedJob = tuple[Imported, Job]
X = np.random.default_rng(3).standard_normal((2, 6)).astype("f")


def imported_job(case: Case) -> ImportedJob:
    """The import of a case, and what it should compute on inputs other than the example."""
    chain = case.chain()
    dims = dict(case.dims)
    first = case.inputs[0]
    if not isinstance(first, list) and first.ndim > 1 and "batch" not in dims:
        dims["batch"] = len(first)
    imported = frontend.load(chain, dims, example=case.inputs)
    arguments = Arguments(chain, case.inputs)
    rng = np.random.default_rng(11)
    arrays = []
    for leaf, value in zip(arguments.leaves, imported.graph.inputs, strict=True):
        shape = [evaluate(d, case.sizes) for d in value.shape]
        array = leaf.array
        for axis, size in enumerate(shape):
            array = np.take(array, np.arange(size) % array.shape[axis], axis)
        if array.dtype.kind == "f" and not case.name.startswith("roi"):
            moved = array + 0.1 * rng.standard_normal(array.shape).astype("f")
            array = np.clip(moved, leaf.array.min(), leaf.array.max())
        elif array.dtype.kind == "i" and not case.name.startswith("permutate"):
            array = rng.permutation(array.ravel()).reshape(array.shape)
        arrays.append(np.ascontiguousarray(array))
    with chainer.using_config("train", False), np.errstate(all="ignore"):
        expected = dict(flat_outputs(arguments.call(chain, arrays)))
    feeds = {leaf.name: a for leaf, a in zip(arguments.leaves, arrays, strict=True)}
    wanted = {k: np.asarray(getattr(v, "array", v)) for k, v in expected.items()}
    return imported, Job(
        case.name, imported.graph, feeds, wanted, case.tol, case.sizes, case.constant
    )


@pytest.fixture(scope="module")
def jobs() -> Sequence[ImportedJob]:
    return [imported_job(case) for case in CASES]


def load(function: Any, *example: Any, dims: Any = None, **parameters: Any) -> Imported:
    """The import of a function of arrays."""
    return frontend.load(Of(function, **parameters), dims or {}, example=example or (X,))


# ---- every function -----------------------------------------------------------------------------


def test_every_function_is_read_as_chainer_computes_it(jobs: Sequence[ImportedJob]) -> None:
    assert interpreted([job for _, job in jobs]) == {}


def test_every_function_runs_on_wasm(jobs: Sequence[ImportedJob]) -> None:
    """The first configuration of each, and all whose sizes are open."""
    some = [job for _, job in jobs if job.name.endswith("-0") or job.sizes]
    assert len(some) > 190
    assert run_jobs(some) == {}


def test_every_function_has_a_configuration(jobs: Sequence[ImportedJob]) -> None:
    used = {name for imported, _ in jobs for name in imported.contents}
    older = {"MaxPooling2D", "DilatedConvolution2DFunction"}  # what these were called before 7.8
    inverse = {"ErfInv", "ErfcInv", "Ndtri"}  # chainer needs SciPy for them: tested below
    assert used == set(FUNCTIONS) - older - inverse


def test_sizes_are_open_where_they_were_asked_for(jobs: Sequence[ImportedJob]) -> None:
    opened = [(i, job) for i, job in jobs if job.sizes]
    assert len(opened) > 25
    for imported, job in opened:
        assert {str(d) for d in imported.graph.dims} == set(job.sizes), job.name


def test_inverses_of_distributions() -> None:
    """Against the functions that they invert, which Python has itself."""
    y = np.linspace(-2.5, 2.5, 41)
    for function, x in (
        (ErfInv, [math.erf(v) for v in y]),
        (ErfcInv, [math.erfc(v) for v in y]),
        (Ndtri, [math.erfc(-v / math.sqrt(2)) / 2 for v in y]),
    ):
        p = placeholder("x", (41,), "f32")
        out = interpret(Graph((p,), {"y": function(p)}), {"x": np.array(x, "f")})["y"]
        np.testing.assert_allclose(out, y, rtol=2e-3, atol=2e-4)


def test_the_page_lists_what_is_taken() -> None:
    text = (framework_tables.FOLDER / "chainer.md").read_text()
    assert text == framework_tables.page("chainer"), "run python -m tools.framework_tables"


def test_every_name_of_chainer_is_a_function_or_refused_for_a_reason() -> None:
    from chainer import functions

    classes = {
        cls.__name__
        for module in (m for name, m in sys.modules.items() if name.startswith("chainer.functions"))
        for cls in vars(module).values()
        if isinstance(cls, type)
        and cls.__module__.startswith("chainer.functions")
        and cls.__module__.split(".")[2] not in ("loss", "evaluation")
        and issubclass(cls, (chainer.FunctionNode, chainer.Function))
        and not cls.__name__.startswith("_")
        and "Grad" not in cls.__name__
    }
    assert functions and len(classes) > 130
    inner = {
        # what only backward passes, GPUs and base classes use
        "Assign", "BaseNStepRNN", "Convolution2DGradW", "CudnnRNNWeightConcat", "Cumprodsum",
        "DiagEinSum", "Forget", "IndexSelectorBase", "MaxPoolingNDWithIndexes", "NStepBiGRU",
        "NStepBiLSTM", "NStepBiRNNReLU", "NStepBiRNNTanh", "NStepGRU", "NStepLSTM",
        "NStepRNNReLU", "NStepRNNTanh", "Pooling2D", "RsqrtGPU", "SelectorBase",
    }  # fmt: skip
    assert classes - set(FUNCTIONS) - set(REFUSED) - inner == set()


# ---- names, sizes, state ------------------------------------------------------------------------


class Net(chainer.Chain):  # type: ignore[misc]
    """Two layers, one within a list."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.first = L.Linear(6, 5)
            self.rest = chainer.ChainList(L.BatchNormalization(5), L.Linear(5, 4))

    def forward(self, image: Any, scale: float = 1.0) -> Any:
        h = F.relu(self.first(image))
        return {"logits": self.rest[1](self.rest[0](h)) * scale, "hidden": h}


def test_inputs_outputs_and_parameters_keep_their_names() -> None:
    graph = frontend.load(Net(), example=X).graph
    assert [v.attrs["name"] for v in graph.inputs] == ["image"]
    assert list(graph.outputs) == ["logits", "hidden"]
    assert {"first/W", "first/b", "rest/0/avg_mean", "rest/0/gamma", "rest/1/W"} <= set(graph.names)
    assert graph.names["rest/1/LinearFunction"].shape == (1, 4)


def test_arguments_are_positional_named_or_options() -> None:
    net = Net()
    by_name = frontend.load(net, example={"image": X, "scale": 2.0}).graph
    by_place = frontend.load(net, example=(X, 2.0)).graph
    assert by_name.outputs == by_place.outputs
    assert by_name.outputs["logits"] is not frontend.load(net, example=X).graph.outputs["logits"]
    pairs = load(lambda x: (x[0] + x[1][:, :1], x[0]), [X, X + 1]).graph
    assert [v.attrs["name"] for v in pairs.inputs] == ["x_0", "x_1"]
    assert list(pairs.outputs) == ["output_0", "output_1"]


def test_inputs_become_constants() -> None:
    chain = Of(lambda x, t: F.sigmoid(x) * F.broadcast_to(t, x.shape))
    imported = frontend.load(chain, example=(X, X[:1]), fixed={"x_1": X[1:]})
    assert [v.attrs["name"] for v in imported.graph.inputs] == ["x_0"]
    expected = (F.sigmoid(X[:1]) * X[1:]).array
    assert interpreted([Job("t", imported.graph, {"x_0": X[:1]}, {"output": expected})]) == {}


def test_sequential_and_lists_of_links() -> None:
    model = chainer.Sequential(L.Linear(6, 5), F.relu, L.Linear(5, 2))
    imported = frontend.load(model, {"batch": (1, 9)}, example=X)
    job = Job("s", imported.graph, {"x": X}, {"output": model(X).array}, sizes={"batch": 2})
    assert interpreted([job]) == {}


def test_batch_is_one_unless_it_is_given() -> None:
    imported = frontend.load(Net(), example=X)
    assert imported.graph.inputs[0].shape == (1, 6)
    assert any("batch = 1" in note for note in imported.notes)
    assert frontend.load(Net(), {"batch": 7}, example=X).graph.inputs[0].shape == (7, 6)
    (d,) = frontend.load(Net(), {"batch": (1, 7)}, example=X).graph.dims
    assert str(d) == "batch"


def test_a_batch_that_a_chain_insists_on_stays() -> None:
    imported = load(lambda x: F.reshape(F.relu(x), (3, 4)))
    assert imported.graph.inputs[0].shape == (2, 6)
    assert any("the batch is 2" in note for note in imported.notes)
    with pytest.raises(ModelError, match="chain raised"):
        load(lambda x: F.reshape(F.relu(x), (3, 4)), dims={"batch": 5})


def test_a_chain_is_left_as_it_was() -> None:
    cell = L.LSTM(6, 3)
    cell(X)
    before = cell.h.array.copy()
    state = np.random.get_state()[1].copy()
    imported = frontend.load(cell, {"batch": 2}, example=X)
    assert np.array_equal(cell.h.array, before)
    assert np.array_equal(np.random.get_state()[1], state)
    found = interpret(imported.graph, {"x": X})["output"]
    np.testing.assert_allclose(found, cell(X).array, atol=1e-5)  # from the state that it had


def test_arrays_handed_on_and_no_backprop_hide_nothing() -> None:
    def hidden(x: Any) -> Any:
        with chainer.no_backprop_mode():
            h = F.relu(x).array
        return F.sum(chainer.Variable(h) * F.sigmoid(h), axis=1)

    found = interpret(load(hidden, dims={"batch": 2}).graph, {"x": X})["output"]
    np.testing.assert_allclose(found, hidden(X).array, atol=1e-5)


def test_inner_values_have_the_names_of_the_graph() -> None:
    """What `webdnn check --layers` compares."""
    for model, example in ((Net(), (X,)), (L.NStepGRU(1, 6, 3, 0), (None, [X, X]))):
        graph = frontend.load(model, {}, example=example).graph
        rng = np.random.default_rng(1)
        feeds = {v.attrs["name"]: rng.random(v.shape).astype("f") for v in graph.inputs}
        outputs, inner = computed(model, example, feeds)
        found = interpret(graph, feeds)
        for name, wanted in outputs.items():
            np.testing.assert_allclose(found[name], wanted, atol=1e-5)
        kept = set(graph.names.values())
        values = interpret(graph, feeds, keep=kept.__contains__)
        common = [name for name in inner if name in values]
        assert len(common) >= 2, (inner, values)
        for name in common:
            np.testing.assert_allclose(values[name], inner[name], atol=1e-5)


@pytest.mark.models
def test_check_compares_chains_with_chainer() -> None:
    report = check(Net(), example=X, variants=["plain"], layers=True)
    assert report.right and report.reference == "Chainer"
    assert {layer.name for run in report.runs for layer in run.layers}


def test_parameters_without_values_are_noted() -> None:
    imported = frontend.load(L.Linear(None, 3), example=X)
    assert any("got random" in note and "W" in note for note in imported.notes)


def test_training_functions_are_as_at_test_time() -> None:
    def noisy(x: Any) -> Any:
        return F.dropout(F.zoneout(x, F.rrelu(x)), 0.9)

    found = interpret(load(noisy, dims={"batch": 2}).graph, {"x": X})["output"]
    np.testing.assert_allclose(found, np.where(X < 0, X * (1 / 8 + 1 / 3) / 2, X), rtol=1e-5)


# ---- what a trace cannot hold -------------------------------------------------------------------


def overwritten(x: Any) -> Any:
    x.array[:, 0] = 3
    return F.tanh(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.relu(x) * np.sort(x.array), "Mul: an array that it takes was computed"),
        (lambda x: F.relu(x) * np.arcsinh(x.array), r"numpy\.arcsinh$"),
        (lambda x: overwritten(F.relu(x)), "chain raised ValueError.*read-only"),
        (lambda x: F.relu(x) * float(x.array.mean()), "MulConstant: its argument 'value' depends"),
        (lambda x: F.get_item(x, slice(0, int((x.array > 0).sum()))), "depends on the values"),
        (lambda x: F.relu(x) if x.array[0, 0] > 0.1 else F.tanh(x), "depends on the values"),
        (lambda x: F.gumbel_softmax(x), "or is random"),
        (lambda x: F.gaussian(x, x), "Gaussian.*draws random numbers"),
        (lambda x: chainer.Variable(np.sort(x.array)), "computed from the inputs in a way"),
        (lambda x: {"a": 3}, "returns a int as a"),
        (lambda x: None, "returns nothing"),
        (lambda x: F.softmax_cross_entropy(x, np.zeros(len(x), "i")), "SoftmaxCross.*is a loss"),
        (lambda x: F.inv(F.matmul(x, x, transa=True) + np.eye(6, dtype="f")), "Inv: decompos"),
        (lambda x: F.matmul(x, x), "chain raised InvalidType"),
        (lambda x: x[x.array > 0], "would give a result of no fixed size"),
    ],
)
def test_what_would_be_frozen_or_lacks_is_named(function: Any, message: str) -> None:
    with pytest.raises((ModelError, UnsupportedError), match=message):
        load(function, dims={"batch": 2})


class Strange(chainer.FunctionNode):  # type: ignore[misc]
    """A function that is not chainer's."""

    def forward(self, inputs: Any) -> Any:
        return (inputs[0] * 2,)


def test_all_unknown_functions_are_listed_and_can_be_given_a_meaning(monkeypatch: Any) -> None:
    def twice(x: Any) -> Any:
        (y,) = Strange().apply((x,))
        return F.cholesky(F.matmul(y, y, transa=True) + 9 * np.eye(6, dtype="f"))

    with pytest.raises(UnsupportedError) as caught:
        load(twice)
    assert "Strange" in str(caught.value) and "Cholesky" in str(caught.value)
    assert "FUNCTIONS['module.Class']" in str(caught.value)
    monkeypatch.setitem(FUNCTIONS, f"{__name__}.Strange", FUNCTIONS["MultiAdd"])
    assert load(lambda x: Strange().apply((x,))[0]).graph.outputs


def test_functions_that_no_output_needs_are_not_asked_for() -> None:
    def unused(x: Any) -> Any:
        Strange().apply((x,))
        return F.relu(x)

    assert load(unused).contents == {"ReLU": 1}


def test_what_depends_on_an_open_size_is_named() -> None:
    with pytest.raises(UnsupportedError, match="depends on the sizes of the inputs"):
        load(lambda x: F.relu(x) if len(x) % 2 else F.tanh(x), dims={"batch": (1, 8)})
    with pytest.raises(UnsupportedError, match="computed anew for each size"):
        load(lambda x: x + np.linspace(0, 1, x.shape[1], dtype="f"), dims={"x.1": (2, 9)})
    with pytest.raises(UnsupportedError, match=r"in a way that is not understood: 4 at batch=2"):
        load(lambda x: F.tile(x, (len(x) ** 2, 1)), dims={"batch": (1, 8)})
    with pytest.raises(DimensionError, match="no such open dimension"):
        load(F.relu, dims={"width": 3})


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (None, "needs an example"),
        ("abc", "holds no array"),
        (object(), "is a object; expected a numpy array"),
        (np.zeros((0, 3), "f"), "is empty"),
        (np.array(["a"]), "dtype <U1"),
        ((X, X, X), "gives 3 arguments, Linear takes x, n_batch_axes"),
        ((X[:, :5],), "chain raised InvalidType"),
    ],
)
def test_examples_that_are_none(example: Any, message: str) -> None:
    with pytest.raises(WebDNNError, match=message):
        frontend.load(L.Linear(6, 3), example=example)


def test_objects_of_chainer_that_are_no_models() -> None:
    with pytest.raises(ModelError, match=r"expected a chainer\.Link.*found a Variable"):
        frontend.load(chainer.Variable(X), example=X)


def test_without_chainer_the_error_says_how_to_install_it(monkeypatch: Any) -> None:
    model = type("Link", (), {"__module__": "chainer.link"})()
    monkeypatch.setitem(sys.modules, "chainer", None)
    with pytest.raises(WebDNNError, match=r"pip install.*webdnn\[chainer\]"):
        frontend.load(model, example=X)


# ---- files of parameters ------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Net, Path, Path]:
    net = Net()
    net.rest[0].avg_mean[:] = 3
    chainer.serializers.save_npz(tmp_path / "net.npz", net)
    chainer.serializers.save_hdf5(str(tmp_path / "net.h5"), net)
    return net, tmp_path / "net.npz", tmp_path / "net.h5"


def test_parameters_are_loaded_from_both_formats(saved: tuple[Net, Path, Path]) -> None:
    net, *paths = saved
    wanted = net(X)["hidden"].array
    for path in paths:
        other = Net()
        graph = frontend.load(other, {"batch": 2}, example=X, weights=path).graph
        np.testing.assert_allclose(interpret(graph, {"image": X})["hidden"], wanted, atol=1e-6)
        assert np.all(other.rest[0].avg_mean == 3)


def test_parameters_that_were_never_written(saved: tuple[Net, Path, Path]) -> None:
    net, _, path = saved
    with h5py.File(path, "r+") as file:
        name = "rest/0/avg_mean"
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, "f")  # read as zeros
    with pytest.raises(ModelError, match="avg_mean is declared, but its numbers are missing"):
        frontend.load(net, {"batch": 2}, example=X, weights=path)


def test_parameters_of_a_chain_that_never_ran(tmp_path: Path) -> None:
    chainer.serializers.save_hdf5(str(tmp_path / "a.h5"), L.Linear(None, 3))
    with pytest.raises(ModelError, match="W is missing"):
        frontend.load(L.Linear(None, 3), example=np.ones((2, 6), "f"), weights=tmp_path / "a.h5")


def test_parameters_give_a_size_to_those_that_had_none(tmp_path: Path) -> None:
    chainer.serializers.save_npz(tmp_path / "a.npz", L.Linear(6, 3))
    imported = frontend.load(L.Linear(None, 3), example=X, weights=tmp_path / "a.npz")
    assert imported.parameters == 21 and not any("random" in n for n in imported.notes)


def test_parameters_alone_say_what_is_needed(saved: tuple[Net, Path, Path]) -> None:
    for path in saved[1:]:
        with pytest.raises(ModelError) as caught:
            frontend.load(path)
        assert path.name in str(caught.value) and "weights_file=" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 4


def test_parameters_that_do_not_fit_are_listed(saved: tuple[Net, Path, Path]) -> None:
    net = chainer.Chain(first=L.Linear(6, 9), other=L.Linear(2, 2))
    for path in saved[1:]:
        with pytest.raises(ModelError) as caught:
            frontend.load(net, example=X, weights=path)
        text = str(caught.value)
        assert "first/W: expected shape [9, 6], found [5, 6]" in text
        assert "other/W is missing (expected shape [2, 2])" in text
        assert "Not used of the file: rest/0/N" in text or "rest/0" in text
    predictor = L.Classifier(Net())
    chainer.serializers.save_npz(saved[1], predictor)
    with pytest.raises(ModelError, match="Perhaps it is of a Classifier"):
        frontend.load(Net(), example=X, weights=saved[1])


def test_parameters_from_strangers(tmp_path: Path, saved: tuple[Net, Path, Path]) -> None:
    net, npz, h5 = saved
    damaged = tmp_path / "damaged"
    for path in (npz, h5):
        damaged.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ModelError, match="damaged"):
            frontend.load(net, example=X, weights=damaged)
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="expected parameters"):
        frontend.load(net, example=X, weights=damaged)
    with pytest.raises(ModelError, match="cannot be read"):
        frontend.load(net, example=X, weights=tmp_path / "none.npz")
    np.savez(tmp_path / "pickled.npz", W=np.array([print], dtype=object), b=np.zeros(3))
    with pytest.raises(ModelError, match="W holds object, expected numbers"):
        frontend.load(L.Linear(6, 3), example=X, weights=tmp_path / "pickled.npz")
    np.savez(tmp_path / "flat.npz", W=np.zeros(0, "f"), b=np.zeros(3, "f"))
    with pytest.raises(ModelError, match=r"flat\.npz: its parameters are damaged"):
        frontend.load(L.Linear(None, 3), example=X, weights=tmp_path / "flat.npz")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, "
        header += b"'shape': (4000000000, 6)}"
        archive.writestr("W.npy", header.ljust(127) + b"\n" + b"\0" * (1 << 22))
    for out, message in ((6, "expected shape"), (None, "too many")):
        with pytest.raises(ModelError, match=message):
            frontend.load(L.Linear(out, 3), example=X, weights=tmp_path / "bomb.npz")


# ---- the vision models --------------------------------------------------------------------------


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of coarse and fine structure."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 50, (1, 3, height // 8 + 1, width // 8 + 1))
    whole = coarse.repeat(8, 2).repeat(8, 3)[:, :, :height, :width]
    return (whole + random.normal(0, 20, whole.shape)).astype("f")


# The layer before softmax, which tells all classes apart.
LAST = {"GoogLeNet": "loss3_fc", "VGG16Layers": "fc8"}


def returned(model: Any, x: np.ndarray, layers: list[str]) -> dict[str, np.ndarray]:
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return {name: y.array for name, y in model(chainer.Variable(x), layers=layers).items()}


def vision(name: str) -> Any:
    """A vision model of chainer with seeded weights, scaled so that its outputs discriminate."""
    np.random.seed(1)
    model = getattr(L, name)(None)
    random = np.random.default_rng(2)
    for part in model.links():
        if isinstance(part, L.BatchNormalization):
            part.avg_mean[...] = random.normal(0, 0.2, part.avg_mean.shape)
            part.avg_var[...] = random.uniform(0.5, 2, part.avg_var.shape)
            part.gamma.array[...] = random.uniform(0.2, 0.7, part.gamma.shape)
        elif isinstance(part, (L.Convolution2D, L.Linear)):
            fan = part.W.size / part.W.shape[0]
            part.W.array[...] = random.standard_normal(part.W.shape, np.float32) * (2 / fan) ** 0.5
    # Probabilities of a few classes above the others, not of one alone.
    last = getattr(model, LAST.get(name, "fc6"))
    side = 64 if name.startswith("ResNet") else 224
    (logits,) = returned(model, picture(side, side), [LAST.get(name, "fc6")]).values()
    last.W.array[...] *= 2 / logits.std()
    return model


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50Layers",
        *(
            pytest.param(name, marks=pytest.mark.models)
            for name in ("ResNet152Layers", "GoogLeNet", "VGG16Layers")
        ),
    ],
)
def test_vision_models_are_read_as_chainer_computes_them(name: str) -> None:
    model, layers = vision(name), [LAST.get(name, "fc6"), "prob"]
    side = 64 if name.startswith("ResNet") else 224
    graph = frontend.load(model, example=(picture(side, side), layers)).graph
    assert list(graph.outputs) == layers
    x = picture(side, side, 1)
    expected = returned(model, x, layers)
    assert np.ptp(expected[layers[0]]) > 0.1
    assert interpreted([Job(name, graph, {"x": x}, expected)]) == {}


def test_regions_in_chromium(tmp_path: Path) -> None:
    """Kernels written by hand, on WebGPU; wasm runs them above."""

    def every(x: Any, rois: Any, at: Any) -> Any:
        pools = [
            f(x, rois, at, (3, 2), 0.9) for f in (F.roi_max_pooling_2d, F.roi_average_pooling_2d)
        ]
        aligned = [F.roi_average_align_2d, F.roi_max_align_2d]
        return [*pools, *(f(x, rois, at, (3, 2), 0.9, (None, 3)) for f in aligned)]

    given = PICTURES, ROIS, WHICH
    webdnn.transpile(Of(every), tmp_path / "d", example=given, dims={"batch": len(PICTURES)})
    with chainer.using_config("train", False):
        expected = {f"output_{k}": y.array for k, y in enumerate(Of(every)(*given))}
    arrays: dict[str, bytes] = {}
    feeds = {f"x_{k}": a for k, a in enumerate(given)}
    argument = {
        "descriptor": "/d/",
        "options": {"backend": "webgpu"},
        "runs": [{"inputs": wire(feeds, "in/", arrays)}],
        "layers": False,
    }
    with open_page("chromium", mounts={"/d/": tmp_path / "d"}, webgpu=True) as page:
        reply = page.call("/__page__/execute.js", argument, arrays, timeout=300)
    found = _arrays(reply.value["runs"][0]["outputs"], reply.arrays)
    assert Job("regions", Graph((), {}), feeds, expected).problem(found) == ""


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "dims", "sizes"),
    [
        ("ResNet50Layers", {"h": (64, 96), "w": (64, 96)}, [(64, 64), (75, 96)]),
        ("GoogLeNet", {}, [(224, 224)]),
    ],
)
def test_vision_models_run_in_chromium(
    name: str, dims: Any, sizes: list[tuple[int, int]], tmp_path: Path
) -> None:
    """Through the real descriptor, on both targets at every size."""
    model, layers = vision(name), [LAST.get(name, "fc6"), "prob"]
    webdnn.transpile(model, tmp_path / "d", example=(picture(*sizes[0]), layers), dims=dims)
    given = [picture(*size, seed=5) for size in sizes]
    expected = [returned(model, x, layers) for x in given]
    arrays: dict[str, bytes] = {}
    runs = [{"inputs": wire({"x": x}, f"in/{k}/", arrays)} for k, x in enumerate(given)]
    with open_page("chromium", mounts={"/d/": tmp_path / "d"}, webgpu=True) as page:
        for target in webdnn.TARGETS:
            argument = {
                "descriptor": "/d/",
                "options": {"backend": target},
                "runs": runs,
                "layers": False,
            }
            reply = page.call("/__page__/execute.js", argument, arrays, timeout=900)
            assert reply.value["backend"]["name"] == target
            for x, run, wanted in zip(given, reply.value["runs"], expected, strict=True):
                found = _arrays(run["outputs"], reply.arrays)
                for layer in layers:
                    result = compare(layer, found[layer], wanted[layer], TOLERANCE[target])
                    print(f"{name} {target} {x.shape}: {layer} {result.relative:.2e}")
                    assert result.verdict == "right", (target, layer, x.shape, result)
