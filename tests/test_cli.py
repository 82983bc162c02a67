"""The command line: arguments, messages, exit status. Compiling and checking: their own tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from webdnn import cli, tables
from webdnn.errors import DimensionError


def run(*arguments: str) -> int:
    """The exit status of `webdnn ARGUMENTS`, in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
        raise SystemExit(0)
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("texts", "dims"),
    [
        (["h=256"], {"h": 256}),
        (["h=64..512", "w=7"], {"h": (64, 512), "w": 7}),
        (["h=1,w=2..2"], {"h": 1, "w": (2, 2)}),
        (["unk__0=16"], {"unk__0": 16}),
        ([], {}),
    ],
)
def test_dims(texts: list[str], dims: cli.Dims) -> None:
    assert cli.parse_dims(texts) == dims


@pytest.mark.parametrize(
    "text", ["h", "h=", "h=x", "h=-1", "h=0", "h=512..64", "=3", "h=1..", "h=1,h=2"]
)
def test_bad_dims(text: str) -> None:
    with pytest.raises(DimensionError, match=re.escape(f"--dim {text.split(',')[-1]}")):
        cli.parse_dims([text])


@pytest.mark.parametrize(
    ("words", "dims"),
    [
        (["m.onnx", "w=256"], ["h=256"]),  # MODEL --dim h=256 w=256
        (["w=256", "m.onnx"], ["h=256"]),  # --dim h=256 w=256 MODEL
        (["m.onnx"], ["h=256", "w=256"]),
        (["m.onnx"], ["h=256,w=256"]),
    ],
)
def test_sizes_may_follow_as_bare_words(words: list[str], dims: list[str]) -> None:
    assert cli.model_and_dims(words, dims) == (Path("m.onnx"), {"h": 256, "w": 256})


def test_a_bare_word_that_is_no_size() -> None:
    with pytest.raises(DimensionError, match=r"--dim w=-3: expected NAME=SIZE"):
        cli.model_and_dims(["m.onnx", "w=-3"], ["h=256"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage"),
        (["transpile"], "MODEL"),
        (["transpile", "a.onnx"], "--output"),
        (["transpile", "a.onnx", "b.onnx", "-o", "x"], "expected one MODEL, found a.onnx, b.onnx"),
        (
            ["transpile", "a.onnx", "-o", "x", "--target", "cuda"],
            "'cuda' is not one of webgpu, wasm",
        ),
        (["check", "a.onnx", "--variant", "fast"], "'fast' is not one of plain, relaxed"),
        (["check", "a.onnx", "--browser", "lynx"], "chromium"),
        (["serve", "--port", "99999", "."], "99999"),
        (["nonsense"], "nonsense"),
    ],
)
def test_usage_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "/no/such/folder"], "/no/such/folder: expected a folder"),
        (["check", "/no/such.onnx"], "/no/such.onnx: no such file"),
        (["check", "/no/such.onnx", "--dim", "h=9..2"], "--dim h=9..2: expected sizes"),
        (["check", "/no/such.onnx", "--input", "x"], "--input x: expected NAME=FILE.npy"),
        (
            ["check", "/no/such.onnx", "--size", "h=1..2"],
            "--size h=1..2: expected sizes, not ranges",
        ),
    ],
)
def test_mistakes_get_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_mistakes_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "/no/such.onnx", "--json") == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == "ModelError"
    assert "/no/such.onnx" in error["message"]


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "model_and_dims", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", "a.onnx"])


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    cli.emit({"ms": float("nan"), "runs": ({"error": float("inf")},), 3: Path("a")})
    assert json.loads(capsys.readouterr().out) == {"ms": None, "runs": [{"error": None}], "3": "a"}


def test_amounts() -> None:
    assert [tables.amount(n) for n in (37, 1234, 4_800_000, 2_500_000_000)] == [
        "37 B",
        "1.2 kB",
        "4.8 MB",
        "2.50 GB",
    ]


def test_shapes() -> None:
    size = ["*", ["//", ["+", "h", 3], 4], 4]
    assert tables.shape_text([1, size, "w"]) == "1, ((h + 3) // 4) * 4, w"
    assert tables.shape_text([["*", ["+", "h", 1], ["+", "w", 1]]]) == "(h + 1) * (w + 1)"
    assert tables.shape_text([]) == "scalar"


def test_serve_until_interrupted(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    process = subprocess.Popen(
        [sys.executable, "-m", "webdnn.cli", "serve", str(tmp_path), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "300"},
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found
        with urllib.request.urlopen(found[0], timeout=10) as reply:
            assert reply.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert reply.read() == b"hello"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
