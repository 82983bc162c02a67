"""Every layer of Keras against Keras: random configurations, read in numpy and run on wasm."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.jobs import Job, interpreted, run_jobs
from tests.keras_cases import CASES, DRAWS, ONCE, drawn, keras
from webdnn.frontend import keras as frontend
from webdnn.frontend import keras_layers

# What is no layer by itself: containers, cells (tested within RNN) and abstract classes.
PARTS = {
    "GRUCell", "InputLayer", "InputSpec", "LSTMCell", "Layer", "SimpleRNNCell", "Wrapper",
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
    assert not classes - covered
    assert not set(keras_layers.REFUSED) & set(keras_layers.LAYERS)
    assert set(CASES) - {"StackedRNNCells"} <= set(keras_layers.LAYERS)


def test_layers_in_numpy(folder: Path) -> None:
    assert not interpreted(jobs(folder))


def test_layers_on_wasm(folder: Path) -> None:
    assert not run_jobs(jobs(folder))


def test_expected_outputs_discriminate(folder: Path) -> None:
    flat = [
        j.name
        for j in jobs(folder)
        for a in j.expected.values()
        if a.size > 1 and a.dtype.kind == "f" and np.ptp(a) < 1e-3 * np.abs(a).max()
    ]
    assert not flat
