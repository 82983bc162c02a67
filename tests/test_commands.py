"""transpile, check, bench and inspect from end to end, on a small net in real browsers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import webdnn
from tests.test_browser import need
from tests.test_cli import run
from webdnn.browser.engine import Engine
from webdnn.errors import WebDNNError


def small_net(path: Path, seed: int = 0, constant: bool = False) -> Path:
    """x[1,3,h,w] → 3×3 convolution, ReLU, global mean, matrix product: two outputs."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) * (0 if constant else (2 / np.prod(shape[1:])) ** 0.5)
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["scores"]),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", floats, [1, 3, "h", "w"])],
        [
            helper.make_tensor_value_info("features", floats, [1, 8, "h", "w"]),
            helper.make_tensor_value_info("scores", floats, [1, 10]),
        ],
        [weight("w", 8, 3, 3, 3), weight("b", 8), weight("m", 8, 10)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_net(tmp_path_factory.mktemp("net") / "small.onnx")


@pytest.fixture(scope="module")
def descriptor(net: Path) -> Path:
    folder = net.parent / "descriptor"
    assert run("transpile", str(net), "-o", str(folder), "--dim", "h=8..40", "w=8..40") == 0
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert run(*arguments, "--json") == status
    return json.loads(capsys.readouterr().out)


def test_transpile_tells_what_it_wrote(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = printed(capsys, "transpile", str(net), "-o", str(tmp_path / "m"), "--dim", "h=8,w=9")
    assert summary["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 8, 9]}]
    variants = {f"wasm {v}" for v in ("plain", "relaxed", "plain-threads", "relaxed-threads")}
    assert set(summary["targets"]) == {"webgpu"} | variants
    for target in summary["targets"].values():
        assert (tmp_path / "m" / target["file"]).is_file()
        assert 1000 < target["code_gzip"] < 100_000
    assert summary["weights_bytes"] >= 4 * (8 * 3 * 9 + 8 + 80)


def test_dump_shows_every_stage(net: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stages"
    arguments = ["--dim", "h=8", "w=8", "--target", "webgpu", "--dump", str(folder)]
    assert run("transpile", str(net), "-o", str(tmp_path / "m"), *arguments) == 0
    names = sorted(p.name for p in folder.iterdir())
    assert names[0] == "01_import.txt"
    assert "conv(" in (folder / names[0]).read_text()
    texts = [p.read_text() for p in (folder / "kernels").iterdir()]
    assert texts and all(text.startswith("// ") and "@compute" in text for text in texts)


def test_dump_to_where_nothing_can_be_written(net: Path, tmp_path: Path) -> None:
    dims: dict[str, int | tuple[int, int]] = {"h": 8, "w": 8}
    with pytest.raises(WebDNNError, match=r"cannot write to .*: Not a directory"):
        webdnn.transpile(net, tmp_path / "m", dims=dims, dump=net / "stages")
    assert not (tmp_path / "m").exists()


def test_debug_levels(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--dim", "h=8", "w=8", "--target", "webgpu", "--json", "-o", str(tmp_path / "m")]
    shown = {}
    for level in "1234":
        monkeypatch.setenv("WEBDNN_DEBUG", level)
        assert run("transpile", str(net), *arguments) == 0
        printed = capsys.readouterr()
        json.loads(printed.out)  # nothing of it is on standard output
        shown[level] = printed.err
    assert "pass simplify" in shown["1"] and "MFLOP" not in shown["1"]
    assert "MFLOP" in shown["2"] and "f32[1,3,8,8] = input()" not in shown["2"]
    assert "f32[1,3,8,8] = input()" in shown["3"] and "@compute" not in shown["3"]
    assert "@compute" in shown["4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "small.onnx"),
        (b"not a model at all", "small.onnx"),
    ],
)
def test_failed_transpile_leaves_the_older_descriptor(
    net: Path,
    tmp_path: Path,
    content: bytes,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "m"
    assert run("transpile", str(net), "-o", str(output), "--dim", "h=8", "w=8") == 0
    before = {p.relative_to(tmp_path): p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    broken = tmp_path / "small.onnx"
    broken.write_bytes(content)
    assert run("transpile", str(net), "-o", str(output / "inner"), "--dim", "h=8", "w=8") == 2
    assert f"lies in {output}, which is another descriptor's" in capsys.readouterr().err
    assert run("transpile", str(broken), "-o", str(output)) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err
    broken.unlink()
    after = {p.relative_to(tmp_path): p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert after == before


def test_interrupted_transpile_leaves_nothing(net: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of compiling: no output, no scratch folder beside it."""
    command = [sys.executable, "-m", "webdnn.cli", "transpile", str(net), "-o", str(tmp_path / "m")]
    process = subprocess.Popen(
        [*command, "--dim", "h=8", "w=8"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # An empty cache: compiling takes long enough to be interrupted.
        env={
            **os.environ,
            "WEBDNN_CACHE": str(tmp_path / "cache"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        },
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "wasm" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    error = process.stderr.read()
    assert process.wait(60) == 130, error
    assert "Traceback" not in error
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == []


@pytest.mark.parametrize("engine", ["chromium", "firefox", "webkit"])
def test_check_is_right_in_each_engine(
    net: Path, descriptor: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    need(engine)
    arguments = ["--size", "h=8,w=8", "--size", "h=13,w=40", "--browser", engine]
    report = printed(capsys, "check", str(net), "--descriptor", str(descriptor), *arguments)
    assert report["right"] is True
    ran = {(run_["target"], run_["variant"], run_["sizes"]["h"]) for run_ in report["runs"]}
    variants = ["plain", "relaxed", "plain-threads", "relaxed-threads"]
    wasm = ["plain"] if engine == "webkit" else variants
    expected = {("wasm", v, h) for v in wasm for h in (8, 13)}
    if engine != "webkit":
        expected |= {("webgpu", None, h) for h in (8, 13)}
    assert ran == expected
    for run_ in report["runs"]:
        assert [output["name"] for output in run_["outputs"]] == ["features", "scores"]
        assert all(output["max_abs"] < 1e-3 for output in run_["outputs"])


def test_check_transpiles_by_itself(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("chromium")
    arguments = ["--target", "wasm", "--variant", "plain", "--dim", "h=8", "w=9"]
    report = printed(capsys, "check", str(net), *arguments)
    assert report["right"] is True
    assert report["runs"][0]["outputs"][0]["shape"] == [1, 8, 8, 9]


def test_a_model_of_two_rates_is_made_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page does not give the rate; the model's framework gets it."""
    text = """two (float[N, 6] x, int64 rate) => (float[N, 6] y) {
        usual = Constant <value = int64 {16000}> ()
        same = Equal(rate, usual)
        y = If(same) <then_branch = t () => (float[N, 6] a) { a = Sigmoid(x) },
                      else_branch = e () => (float[N, 6] b) { b = Neg(x) }> }"""
    opset = helper.make_opsetid("", 17)
    proto = helper.make_model(parser.parse_graph(text), opset_imports=[opset], ir_version=9)
    model, folder = tmp_path / "two.onnx", tmp_path / "build"
    onnx.save(proto, model)
    assert run("transpile", str(model), "-o", str(folder), "--target", "wasm") == 0
    assert "--set rate=" in capsys.readouterr().out  # both branches in each run
    arguments = ["--target", "wasm", "--set", "rate=16000"]
    assert run("transpile", str(model), "-o", str(folder), *arguments) == 0
    assert "N = 1, being a batch" in capsys.readouterr().out
    assert [i["name"] for i in json.loads((folder / "model.json").read_text())["inputs"]] == ["x"]
    assert run("check", str(model), "--descriptor", str(folder)) == 2
    assert "--set rate=VALUE" in capsys.readouterr().err
    need("chromium")
    arguments += ["--descriptor", str(folder), "--variant", "plain"]
    report = printed(capsys, "check", str(model), *arguments)
    assert report["right"] is True and report["batch"] == ["N"]
    arguments[3] = "rate=8000"
    report = printed(capsys, "check", str(model), *arguments, status=1)
    assert report["runs"][0]["outputs"][0]["verdict"] == "wrong"


def test_check_finds_other_weights(
    descriptor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The descriptor is sound, but it is not this model's."""
    need("chromium")
    other = small_net(tmp_path / "other.onnx", seed=1)
    arguments = ["--descriptor", str(descriptor), "--size", "h=8,w=8"]
    report = printed(capsys, "check", str(other), *arguments, status=1)
    assert {run_["outputs"][0]["verdict"] for run_ in report["runs"]} == {"wrong"}


def test_check_finds_one_flipped_byte(
    net: Path, descriptor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("chromium")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(descriptor), str(copy)], check=True)
    (shard,) = copy.glob("weights-*.bin")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    arguments = ["--descriptor", str(copy), "--size", "h=8,w=8"]
    report = printed(capsys, "check", str(net), *arguments, status=1)
    assert len(report["runs"]) == 5
    for run_ in report["runs"]:
        assert shard.name in run_["error"] and "SHA-256" in run_["error"]


def test_check_refuses_an_empty_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("chromium")
    dead = small_net(tmp_path / "dead.onnx", constant=True)
    arguments = ["--target", "wasm", "--variant", "plain", "--dim", "h=8", "w=8"]
    report = printed(capsys, "check", str(dead), *arguments, status=1)
    assert [output["verdict"] for output in report["runs"][0]["outputs"]] == ["empty", "empty"]


def test_check_takes_and_saves_arrays(
    net: Path, descriptor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("chromium")
    x = np.linspace(-1, 1, 3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)
    np.save(tmp_path / "x.npy", x)
    arguments = ["--descriptor", str(descriptor), "--size", "h=8,w=8", "--target", "wasm"]
    arguments += ["--variant", "relaxed", "--input", f"x={tmp_path / 'x.npy'}"]
    arguments += ["--save", str(tmp_path / "saved")]
    assert printed(capsys, "check", str(net), *arguments)["right"] is True
    place = tmp_path / "saved" / "h=8,w=8"
    np.testing.assert_array_equal(np.load(place / "input" / "x.npy"), x)
    for name in ("features", "scores"):
        expected = np.load(place / "expected" / f"{name}.npy")
        actual = np.load(place / "wasm-relaxed" / f"{name}.npy")
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((1, 3, 8, 9), np.float32),
            r"expected float32[1, 3, 8, 8], found float32[1, 3, 8, 9]",
        ),
        (np.zeros((1, 3, 8, 8), np.float64), r"found float64[1, 3, 8, 8]"),
    ],
)
def test_check_refuses_an_input_that_does_not_fit(
    net: Path,
    descriptor: Path,
    tmp_path: Path,
    array: np.ndarray,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "x.npy", array)
    arguments = ["--descriptor", str(descriptor), "--size", "h=8,w=8"]
    assert run("check", str(net), *arguments, "--input", f"x={tmp_path / 'x.npy'}") == 2
    assert message in capsys.readouterr().err
    assert run("check", str(net), *arguments, "--input", f"y={tmp_path / 'x.npy'}") == 2
    assert "the model's inputs are x" in capsys.readouterr().err


def test_check_refuses_a_size_out_of_range(
    net: Path, descriptor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--descriptor", str(descriptor), "--size", "h=8,w=41"]
    assert run("check", str(net), *arguments) == 2
    assert "dimension w: expected 8..40, found 41" in capsys.readouterr().err
    arguments[-1] = "h=8,w=8,n=1"
    assert run("check", str(net), *arguments) == 2
    message = "--size n=1: n is no open dimension. Open are: h = 8..40, w = 8..40"
    assert message in capsys.readouterr().err
    assert run("bench", str(descriptor), "--size", "h=8,w=8,n=1") == 2
    assert message in capsys.readouterr().err


def test_bench_refuses_what_it_would_ignore(
    descriptor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ("--target webgpu --threads 2", "--threads is of wasm, which is not timed here"),
        ("--target webgpu --variant plain", "--variant is of wasm, which is not timed here"),
        ("--variant plain --threads 1,2", "--variant plain has one thread"),
    ):
        assert run("bench", str(descriptor), *words.split()) == 2
        assert message in capsys.readouterr().err


def test_check_layers(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Inner values are compared in the model's own layout; the others are listed."""
    need("chromium")
    arguments = ["--layers", "--dim", "h=8", "w=9", "--variant", "plain"]
    report = printed(capsys, "check", str(net), *arguments)
    assert report["right"] is True
    for run_ in report["runs"]:
        seen = {layer["name"] for layer in run_["layers"]} | set(run_["fused"])
        assert seen == {"conv", "pooled", "flat"}
        assert run_["layers"], "nothing was stored"
        assert "conv" in run_["fused"]


def test_bench(descriptor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("chromium")
    arguments = ["--size", "h=16,w=16", "--reps", "3", "--profile"]
    timings = printed(capsys, "bench", str(descriptor), *arguments)
    assert [(t["target"], t["threads"]) for t in timings[:2]] == [("wasm", 1), ("wasm", 2)]
    assert timings[2]["target"] == "webgpu"
    for timing in timings:
        assert len(timing["warm"]) == 3
        assert 0 < timing["minimum"] <= timing["median"]
        assert timing["load"] > 0 and timing["first"] > 0
        assert timing["kernels"] and all(kernel["ms"] >= 0 for kernel in timing["kernels"])
    assert timings[0]["peak"] is None and timings[2]["peak"] > 1e8
    # two for each multiply-add of the convolution; bias and activation come on top
    conv = max(kernel["flops"] for kernel in timings[2]["kernels"])
    assert 2 * 16 * 16 * 8 * 27 <= conv <= 2.1 * 16 * 16 * 8 * 27


def test_bench_on_a_card_is_chromiums(descriptor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", str(descriptor), "--gpu", "--browser", "firefox") == 2
    assert "--gpu is of chromium" in capsys.readouterr().err


def test_bench_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", str(tmp_path)) == 2
    assert "no model.json here" in capsys.readouterr().err


def test_inspect(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = printed(capsys, "inspect", str(net), "--dim", "h=8", "w=16")
    assert seen["operators"] == {
        "Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "MatMul": 1,
    }  # fmt: skip
    assert seen["parameters"] == 8 * 27 + 8 + 80
    assert seen["parameter_bytes"] == 4 * seen["parameters"]
    for compiled in seen["targets"].values():
        flops = {kernel["kind"]: kernel["flops"] for kernel in compiled["kernels"]}
        # two for each multiply-add; bias and activation come on top
        assert 2 * 8 * 16 * 8 * 27 <= flops["conv"] <= 2.1 * 8 * 16 * 8 * 27
        assert "conv" in compiled["fused"]
        assert compiled["memory"]["inputs and outputs"] >= 4 * (3 * 128 + 8 * 128 + 10)


def test_tables_for_people(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", str(net), "--dim", "h=8", "w=16", "--target", "wasm") == 0
    text = capsys.readouterr().out
    assert "Conv 1" in text and "fused away" in text and "code (gzip)" in text


def test_mistakes_in_python(net: Path, tmp_path: Path) -> None:
    """What the command line could not be given is one error with words, too."""
    for options, message in (
        ({"dims": "h=8"}, 'dims: expected values by name, as {"h": (64, 512)}'),
        ({"fixed": ["x=1"]}, 'fixed: expected values by name, as {"sr": 16000}'),
        ({"keep_versions": -1}, "keep_versions: expected a number from 0 on, found -1"),
        ({"name": 3}, "--name: expected a text that is not empty, found 3"),
        ({"limits": "4"}, "limits are raised by a number from 1 on, found '4'"),
    ):
        with pytest.raises(WebDNNError, match=re.escape(message)):
            webdnn.transpile(net, tmp_path / "m", **cast(Any, options))
    for model, message in (
        (type("Net", (), {}), "found the class Net, not what Net(…) makes"),
        ("https://x.example/m.onnx", "no such file: that is an address; download the file first"),
    ):
        with pytest.raises(WebDNNError, match=re.escape(message)):
            webdnn.transpile(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_file_whose_name_says_nothing(net: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(net.read_bytes())
    for file, name in ((tmp_path / "model.onnx", "faces"), (net, net.stem)):
        report = webdnn.transpile(
            file, tmp_path / "faces", dims={"h": 8, "w": 8}, targets=["webgpu"]
        )
        assert report.descriptor["name"] == name
