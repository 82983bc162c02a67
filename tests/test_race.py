"""The race on a graphics card: what its engines are given is one network, however it is written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.entry import errors
from bench.gpu import pack, pytorch, race
from bench.gpu.networks import TRIALS, Prepared, _make

RESULTS = Path(race.__file__).parent / "results.json"


@pytest.fixture(scope="module", params=TRIALS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp(request.param)
    _make(request.param, folder)
    return Prepared(request.param, folder)


def test_every_way_of_writing_a_network_gives_the_same(network: Prepared) -> None:
    expected = {"y": network.expected()["y"]}
    assert np.abs(expected["y"]).max() > 0.1
    measured = pytorch.measure(network)
    assert measured["relative_error"] < 1e-5
    if network.fused:
        session = onnxruntime.InferenceSession(network.fused)
        y = session.run(["y"], network.inputs(fused=True))[0]
        assert errors([("y", y.tobytes())], expected)[1] < 1e-5


def test_results_have_the_better_of_the_peers_times() -> None:
    def row(name: str, *busy: float) -> race.Row:
        times = {kind: list(busy) for kind in race.KINDS}
        counts = {"dispatches": 9, "passes": 1, "submits": 1}
        return {"name": name, "times": times, "first": [100.4], "counts": counts,
                "absolute_error": 1e-6, "relative_error": 4.217e-7}  # fmt: skip

    engines = [row("ours", 1, 3, 2), row("plain", 5, 6, 7), row("fused", 4, 4.5, 9)]
    results = [{"model": "bert128", "gflop": 1.0, "clocks": [[60, 61]], "engines": engines}]
    torch = {"bert128": {"graph_ms": 2.5, "compile_ms": 2.25, "relative_error": 0.0}}
    [made] = race.summary(results, torch)
    kept = json.loads(RESULTS.read_text())["models"][0]
    assert list(made) == list(kept)
    assert (made["ours_busy_ms"], made["ort_busy_ms"], made["torch_ms"]) == (2, 4.5, 2.25)
    assert (made["launches"], made["error"]) == (9, 4.22e-7)
    assert "PyTorch, compile" in race.table(results, torch)


def test_a_pack_in_parts_is_whole_again(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    for name, text in (("chromium/chromium", "#!"), ("chromium/fonts/a.ttf", "x" * 5000)):
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(text)
    pack._compress(stage, tmp_path / "race.tar.xz", 1)
    parts = pack._cut(tmp_path / "race.tar.xz", tmp_path, 200)
    assert len(parts) > 1
    for part in reversed(parts):
        command = ["bash", part / "unpack.sh", tmp_path / "there"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "all" in said and (tmp_path / "there" / "env.sh").is_file()
    assert (tmp_path / "there" / "chromium" / "fonts" / "a.ttf").read_text() == "x" * 5000
