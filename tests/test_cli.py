"""The command line: arguments, messages, exit status. Compiling and checking: their own tests."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from onnx import TensorProto, helper, parser

import webdnn
from webdnn import cli, options
from webdnn.errors import DimensionError, WebDNNError
from webdnn.inspect import tables
from webdnn.inspect.terminal import Terminal


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
        (["h=32..640:32", "past=0..8"], {"h": (32, 640, 32), "past": (0, 8)}),
        (["total=past+s", "past + s=3"], {"total": "past+s", "past + s": 3}),
        ([], {}),
    ],
)
def test_dims(texts: list[str], dims: options.Dims) -> None:
    assert options.parse_dims(texts) == dims


@pytest.mark.parametrize(
    "text",
    ["h", "h=", "h=-1", "h=512..64", "=3", "h=1..", "h=1,h=2", "h=8..17:8", "h=8..16:0", "h=f(x)"],
)
def test_bad_dims(text: str) -> None:
    with pytest.raises(DimensionError, match=re.escape(f"--dim {text.split(',')[-1]}")):
        options.parse_dims([text])


def test_constants() -> None:
    texts = ["sr=16000", "a:b=1e-3", "on=true", "off=False", "sizes=[4, 8]", "top=inf", "m=x/m.npy"]
    wanted = {"sr": 16000, "a:b": 1e-3, "on": True, "off": False, "sizes": [4, 8], "top": math.inf}
    assert options.parse_fixed(texts) == {**wanted, "m": Path("x/m.npy")}


@pytest.mark.parametrize("text", ["sr", "=1", "sr=", "sr=fast", "sr=[1,", "sr=m.txt"])
def test_bad_constants(text: str) -> None:
    with pytest.raises(WebDNNError, match=re.escape(f"--set {text}: expected")):
        options.parse_fixed([text])


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
    assert options.source_of(words, dims) == options.Source(
        Path("m.onnx"), None, {"h": 256, "w": 256}
    )


def test_two_files_are_the_model_and_its_weights(tmp_path: Path) -> None:
    text, binary = tmp_path / "deploy", tmp_path / "net=1"
    text.write_text('name: "net"\nlayer {\n}\n')
    binary.write_bytes(b"\n\x03net\x00\xff")
    wanted = options.Source(text, binary, {"h": 2})
    assert options.source_of([str(text), str(binary), "h=2"], []) == wanted
    assert options.source_of([str(binary), "h=2", str(text)], []) == wanted
    missing = options.source_of(["a=1.caffemodel", "b.prototxt"], [])
    assert missing == options.Source(Path("a=1.caffemodel"), Path("b.prototxt"), {})


def test_labels_are_files_by_output(tmp_path: Path) -> None:
    (tmp_path / "a=b").write_text("cat")
    assert options.label_files([]) is None
    assert options.label_files(["labels.txt"]) == Path("labels.txt")
    assert options.label_files([str(tmp_path / "a=b")]) == tmp_path / "a=b"
    both = options.label_files(["y=a.txt", "z=b.txt"])
    assert both == {"y": Path("a.txt"), "z": Path("b.txt")}
    with pytest.raises(WebDNNError, match=r"--labels y=b.txt: output 'y' is given labels twice"):
        options.label_files(["y=a.txt", "y=b.txt"])


def test_a_bare_word_that_is_no_size() -> None:
    with pytest.raises(DimensionError, match=r"--dim w=-3: expected NAME=SIZE"):
        options.source_of(["m.onnx", "w=-3"], ["h=256"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage"),
        (
            ["transpile", "a.onnx", "-o", "x", "--weights", "fp16"],
            "--weights fp16: expected f32, f16, int8, int4, or with a block int4:64",
        ),
        (["inspect", "a.onnx", "--keep", "a=int3"], "--keep a=int3: expected PATTERN=FORM"),
        (["transpile"], "MODEL"),
        (["transpile", "a.onnx"], "--output"),
        (
            ["transpile", "a.onnx", "b.onnx", "c.onnx", "-o", "x"],
            "expected one MODEL, or MODEL and WEIGHTS, found a.onnx, b.onnx, c.onnx",
        ),
        (
            ["transpile", "a.onnx", "-o", "x", "--target", "cuda"],
            "'cuda' is not one of webgpu, wasm",
        ),
        (["check", "a.onnx", "--variant", "fast"], "'fast' is not one of plain, relaxed"),
        (["check", "a.onnx", "--browser", "lynx"], "chromium"),
        (["serve", "--port", "99999", "."], "99999"),
        (["check", "a.onnx", "--seed", "-1"], "-1 is not in the range"),
        (["check", "a.onnx", "--timeout", "0"], "0.0 is not in the range"),
        (["check", "a.onnx", "--target", ","], "expected webgpu, wasm, or several with commas"),
        (
            ["check", "a.onnx", "--target", "wasm", "--target=webgpu"],
            "--target is given 2 times: expected one (several are one list with commas)",
        ),
        (["transpile", "a", "-o", "x", "--name", "a", "--name", "b"], "--name is given 2 times"),
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
        (["inspect", "/dev/null"], "/dev/null: is a device or a pipe"),
        (["check", "/no/such.onnx"], "/no/such.onnx: no such file"),
        (["check", "/no/such.onnx", "--dim", "h=9..2"], "--dim h=9..2: expected LOW..HIGH"),
        (["check", "/no/such.onnx", "--input", "x"], "--input x: expected NAME=FILE.npy"),
        (
            ["transpile", "/no/such.onnx", "-o", "x", "--input", "image=a.npy"],
            "--input image=a.npy: expected NAME:rgb|bgr|gray|rgba",
        ),
        (
            ["transpile", "/no/such.onnx", "-o", "x", "--input", "image:rgb,size=3"],
            "input 'image': unknown option 'size'",
        ),
        (
            ["transpile", "/no/such.onnx", "-o", "x", "--input", "a:rgb", "--input", "a:bgr"],
            "--input a:bgr: this input is given twice",
        ),
        (
            ["transpile", "x", "-o", "x", "--labels", "a", "--labels", "y=b"],
            "--labels a: of several, expected each as OUTPUT=FILE",
        ),
        (
            ["check", "/no/such.onnx", "--size", "h=1..2"],
            "--size h=1..2: expected sizes, not ranges",
        ),
        (["check", "x", "--size", "h=1,h=2"], "--size h=2: h is given twice"),
        (["check", "x", "--target", "webgpu", "--variant", "plain"], "--variant is of wasm"),
        (["check", "x", "--descriptor", ".", "--weights", "int8"], "--weights: . has its weights"),
        (["check", "x", "--input", "a:rbg,resize=4"], "--input a:rbg,resize=4: expected NAME:rgb|"),
        (["transpile", "x", "-o", "a/b:0:rbg"], "for a folder of that name ./a/b:0:rbg"),
        (["transpile", "x", "-o", "rbg,scale=1"], "expected NAME:rgb|bgr|gray|rgba|mask[,OPTION"),
        (["transpile", "x", "-o", "y", "--output", "a=rgb"], "--output a=rgb: expected NAME:rgb|"),
        (["transpile", "x", "-o", "mask"], "a picture; a folder called so is ./mask"),
        (["transpile", "x", "-o", "y", "--name", ""], "--name: expected a text that is not empty"),
        (["transpile", "x", "-o", "y", "--dump", "y/d"], "expected a folder outside of y"),
        (["bench", "x", "--threads", "1,65"], "--threads 1,65: expected numbers from 1 to 64"),
        (["serve", ".", "--host", "300.1.1.1"], "--host 300.1.1.1: expected an address of this"),
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


# A terminal's title, a line written anew, an 8-bit sequence of colour, text that runs backwards.
# Of what prints, `:x:` is a picture to rich, which must stay what it is.
EVIL = "\x1b]0;owned\x07\r\x9b31m\u202e<img/onload>:x:"


def evil_model(path: Path, operator: str = "Relu") -> Path:
    """A model with control characters in all its names."""
    x = helper.make_tensor_value_info(f"x{EVIL}", TensorProto.FLOAT, (f"d{EVIL}", 4))
    y = helper.make_tensor_value_info(f"y{EVIL}", TensorProto.FLOAT, None)
    node = helper.make_node(operator, [f"x{EVIL}"], [f"y{EVIL}"], name=f"n{EVIL}")
    graph = helper.make_graph([node], f"g{EVIL}", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("terminal", [False, True])
def test_control_characters_reach_no_terminal(
    terminal: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEBDNN_DEBUG", "4")
    shown = io.StringIO()
    if terminal:
        screen = Terminal(file=shown, force_terminal=True, width=100)
        monkeypatch.setattr(cli, "err", screen)
        monkeypatch.setattr(cli, "out", screen)
        monkeypatch.setattr(tables, "out", screen)
    good = evil_model(tmp_path / "\x1b[2Jm.onnx")
    bad = evil_model(tmp_path / "bad.onnx", f"Relu{EVIL}")
    options = ("--target", "webgpu", "--dim", f"d{EVIL}=1..8")
    cli.main(["transpile", str(good), "-o", str(tmp_path / "d"), *options])
    cli.main(["inspect", str(good), *options])
    assert run("transpile", str(bad), "-o", str(tmp_path / "e"), *options) == 2
    assert run("transpile", str(good), str(bad), f"a{EVIL}", "-o", "e") == 2
    captured = capsys.readouterr()
    text = captured.out + captured.err + shown.getvalue()
    assert text.count(repr("\x1b]0;owned")[1:-1]) > 10
    assert ":x:" in text and "\N{CROSS MARK}" not in text
    if terminal:  # without those of rich itself
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")
    assert [c for c in set(text) if not c.isprintable()] == ["\n"]
    report = (tmp_path / "d" / "report.html").read_text()
    assert "<img" not in report and "&lt;img" in report


def test_messages_have_no_control_characters() -> None:
    error = WebDNNError(f"layer {EVIL}\n\tsecond line, \ud800")
    error.at("where")
    assert str(error) == (
        r"where: layer \x1b]0;owned\x07\r\x9b31m\u202e<img/onload>:x:" "\n\tsecond line, \\ud800"
    )


def test_messages_quote_no_endless_words() -> None:
    error = WebDNNError(f"layer {'9' * 5000!r} of {'/a' * 150}: expected a number")
    assert len(str(error)) < 600
    assert str(error).endswith(f"99' of {'/a' * 150}: expected a number")


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "source_of", lambda *_: 1 / 0)
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


def test_python_shows_people_what_the_command_line_does(tmp_path: Path) -> None:
    """In a terminal: progress, signature, notices. In a pipe: nothing."""
    code = f"""
import sys
from tests.test_cli import relu
import webdnn
webdnn.transpile(relu(), {str(tmp_path / "named")!r}, targets=["wasm"])
"""
    command = [sys.executable, "-c", code]
    quiet = subprocess.run(command, capture_output=True, text=True, check=True)
    assert quiet.stdout + quiet.stderr == ""
    terminal, end = pty.openpty()
    with subprocess.Popen(command, stdout=end, stderr=end, env={**os.environ, "TERM": "xterm"}):
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(terminal, 4096):
                shown += piece
    os.close(terminal)
    for part in ("Transpiling", "named", "input", "float32", "a page fetches", "wasm relaxed"):
        assert part in shown.decode(), shown.decode()


def relu() -> bytes:
    """A model whose exporter gave it no name."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "main_graph", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def test_a_file_as_output_is_refused_before_the_model_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(WebDNNError, match="is a file; -o takes the folder"):
        webdnn.transpile(tmp_path / "absent.onnx", tmp_path / "file")


def test_python_is_told_its_own_parameters(tmp_path: Path) -> None:
    """As a note of the error, which the command line does not print."""
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> m (float[1, n] x) => (float[1, n] y) '
        "{ y = Relu(x) }"
    )
    with pytest.raises(WebDNNError, match="--dim n=SIZE") as raised:
        webdnn.transpile(model, tmp_path / "out")
    (note,) = raised.value.__notes__
    assert 'dims={"NAME": (LOW, HIGH)}' in note
    webdnn.transpile(model, tmp_path / "out", dims={"n": (1, 4)}, targets="webgpu")
