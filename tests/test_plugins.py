"""Operators of users' own: registered in Python and by --plugin, and every way to get it wrong.

The oracle for what is right is onnxruntime on the same model with ONNX's operator of that meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

import webdnn
from tests.jobs import Job, interpreted, run_jobs
from tests.test_browser import need
from tests.test_cli import run
from tests.test_extending import BLOCKS
from webdnn import ops
from webdnn.browser.engine import open_page
from webdnn.browser.reference import reference
from webdnn.errors import DimensionError, UnsupportedError, WebDNNError
from webdnn.expr import exp, log, tanh
from webdnn.frontend import load
from webdnn.frontend.onnx import registry
from webdnn.frontend.plugins import run_plugin
from webdnn.ops.elementwise import elementwise

register = webdnn.onnx.register
X = np.random.default_rng(0).normal(0, 2, (2, 5)).astype("float32")


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {})


def model(nodes: str, functions: str = "", shape: str = "2, 5") -> onnx.ModelProto:
    """float[2, 5] x => float[...] y, in ONNX's textual syntax."""
    domains = '["" : 18, "com.example" : 3]'
    header = f"<ir_version: 10, opset_import: {domains}>"
    text = f"{header} m (float[{shape}] x) => (float[a, b] y) {{ {nodes} }} {functions}"
    return parser.parse_model(text)


def runtime(nodes: str) -> dict[str, np.ndarray]:
    """What onnxruntime makes of X."""
    session = onnxruntime.InferenceSession(
        model(nodes).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return {"y": session.run(["y"], {"x": X})[0]}


def refused(nodes: str, kind: type[Exception] = WebDNNError, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        load(model(nodes, **more))
    return str(caught.value)


def mish(x: Any) -> Any:
    return x * tanh(log(1 + exp(x)))


def test_functions_of_values_and_of_scalars() -> None:
    register("com.example", "Mish", elementwise(mish))

    @register("com.example::Gate")
    def gate(x: Any, y: Any = None, *, alpha: float = 0.5, axes: Any = (), opset: int) -> Any:
        assert (opset, axes, type(alpha)) == (3, (1, -1), float)
        return ops.mul(ops.leaky_relu(x, alpha=alpha), x if y is None else y)

    @register("com.example", "Halves")
    def halves(x: Any, outputs: int) -> Any:
        return tuple(ops.mul(x, 1 / outputs) for _ in range(outputs))

    ours = """
        a = com.example.Mish (x)
        b, c = com.example.Halves (a)
        d = com.example.Gate <alpha = 2, axes = [1, -1]> (b)
        e = com.example.Gate <axes = [1, -1]> (c, d)
        y = Softmax (e)"""
    theirs = """
        a = Mish (x)
        half = Constant <value_float = 0.5> ()
        b = Mul (a, half)
        d0 = LeakyRelu <alpha = 2.0> (b)  d = Mul (d0, b)
        e0 = LeakyRelu <alpha = 0.5> (b)  e = Mul (e0, d)
        y = Softmax (e)"""
    job = Job("own", load(model(ours)).graph, {"x": X}, runtime(theirs))
    assert interpreted([job]) == {}
    assert run_jobs([job]) == {}


def test_a_registered_function_goes_before_a_definition() -> None:
    body = '<domain: "com.example", opset_import: ["" : 18]> Twice (a) => (b) { b = Add (a, a) }'
    given = model("y = com.example.Twice (x)", body)
    job = Job("inlined", load(given).graph, {"x": X}, runtime("y = Add (x, x)"))
    register("com.example::Twice", lambda x: ops.relu(x))
    register("Neg", lambda x: ops.abs_(x))
    jobs = [
        job,
        Job("own", load(given).graph, {"x": X}, runtime("y = Relu (x)")),
        Job("ours", load(model("y = Neg (x)")).graph, {"x": X}, runtime("y = Abs (x)")),
    ]
    assert interpreted(jobs) == {}


def test_each_operator_that_is_missing_is_listed_once() -> None:
    text = refused(
        """a = com.example.Mish (x)
        b = com.example.Mish (a)
        c = com.example.Scale <factor = 2.0, class = 1> (b)
        d = com.example.Pair <mode = "up"> (c, a)
        e = com.example.Pair (d)
        y = com.other.Last (e)""",
        UnsupportedError,
    )
    assert "needs 4 operators" in text
    assert (
        "  Mish (com.example, opset 3) at 2 nodes, the first is com.example::Mish node of" in text
    )
    assert "  Last (com.other, opset ?) at com.other::Last node of 'y'" in text
    assert "def scale(x, **attributes):" in text  # class is no name in Python
    assert "def pair(x0, x1=None, *, mode: str | None = None):" in text
    assert "--plugin" in text and text.count("@webdnn.onnx.register") == 3


def test_the_snippet_can_be_pasted() -> None:
    def snippet(text: str) -> str:
        return re.sub("(?m)^  ", "", text[text.index("  import webdnn") :])

    nodes = "y = com.example.Scale <factor = 3.0> (x)"
    pasted = snippet(refused(nodes, UnsupportedError))
    exec(compile(pasted, "pasted.py", "exec"), {})
    assert re.search(
        r"^com.example::Scale node of 'y': scale \(pasted.py:4\) returned NoneType, not a Value",
        refused(nodes),
    )
    done = pasted.replace("...  # return", "return ops.mul(x, factor)  #")
    exec(compile(done.replace("Scale", "Scaled"), "done.py", "exec"), {})
    theirs = "three = Constant <value_float = 3.0> ()  y = Mul (x, three)"
    graph = load(model(nodes.replace("Scale", "Scaled"))).graph
    assert interpreted([Job("pasted", graph, {"x": X}, runtime(theirs))]) == {}


def raising(x: Any) -> Any:
    raise RuntimeError("no luck")


def deciding(x: Any) -> Any:
    return x if x > 0 else -x


def of_numpy(x: Any) -> Any:
    return np.exp(x)


@pytest.mark.parametrize(
    ("function", "nodes", "parts"),
    [
        (lambda x: x, "(x, x)", ["the node has 2 inputs, but <lambda> (", "takes 1"]),
        (lambda x, y: x, "(x)", ["needs y, but the node has 1 input and no attributes"]),
        (lambda x, *, a, b=1: x, "<b = 2> (x)", ["needs a, but the node has", "attributes b"]),
        (lambda x, *, a=1: x, "<b = 2> (x)", ["attribute 'b' is not taken by", "keywords are: a"]),
        (lambda x: (x, x), "(x)", ["returned 2 results, but the node has 1 output", "`outputs`"]),
        (lambda x: "y", "(x)", ["returned str, not a Value"]),
        (raising, "(x)", ["RuntimeError: no luck (in raising, ", "test_plugins.py:"]),
        (lambda x: ops.reshape(x, (3,)), "(x)", ["reshape", "(in <lambda>, "]),
        (lambda x: ops.add(x, ops.transpose(x, (1, 0))), "(x)", ["broadcast", "(in <lambda>, "]),
        (elementwise(deciding), "(x)", ["only known at run time (in deciding, "]),
        (elementwise(of_numpy), "(x)", ["exp", "(in of_numpy, "]),
    ],
)  # fmt: skip
def test_a_function_that_does_not_fit(
    function: Callable[..., Any], nodes: str, parts: list[str]
) -> None:
    register("com.example::Op", function)
    text = refused(f"y = com.example.Op {nodes}")
    assert text.startswith("com.example::Op node of 'y': ")
    assert [part for part in parts if part not in text] == [], text


def test_control_flow_cannot_be_registered() -> None:
    register("com.example::Op", lambda x, *, body: x)
    proto = model("y = com.example.Op (x)")
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("body", onnx.GraphProto()))
    with pytest.raises(UnsupportedError, match="attribute 'body': graphs are not supported here"):
        load(proto)


def test_attributes_have_the_annotated_types() -> None:
    @register("com.example::Op")
    def op(x: Any, *, n: int = 1, s: str | None = None, f: float = 1, on: bool = False) -> Any:
        assert (type(n), type(f), type(on)) == (int, float, bool)
        return ops.mul(x, f) if on else x

    assert load(model('y = com.example.Op <n = 2, s = "a", f = 2, on = 1> (x)'))
    assert "attribute 'n' is 1.5, but op (" in refused("y = com.example.Op <n = 1.5> (x)")
    assert "takes str" in refused("y = com.example.Op <s = 3> (x)")
    assert "takes bool" in refused("y = com.example.Op <on = 3> (x)")


def test_errors_within_functions_of_the_model_name_the_node() -> None:
    register("com.example::Op", raising)
    header = '<domain: "com.example", opset_import: ["com.example" : 3]>'
    body = "F (a) => (b) { b = com.example.Op (a) }"
    text = refused("y = com.example.F (x)", functions=f"{header} {body}")
    assert text.startswith("com.example::F node of 'y': com.example::Op node of 'b': RuntimeError")


def test_sizes_that_may_differ() -> None:
    register("com.example::Op", lambda x: ops.add(x, ops.transpose(x, (1, 0))))
    notes = load(model("y = com.example.Op (x)", shape="h, w"), {"h": (2, 9), "w": (2, 9)}).notes
    assert notes == [
        "w = h (axis 1 of input 'x' (named 'w')): com.example::Op node of 'y' needs h and w to be "
        "equal"
    ]
    register("com.example::Op", lambda x: ops.add(x, ops.concat([x, x], 0)), replace=True)
    with pytest.raises(DimensionError, match=r"in <lambda>.*it does for none of those allowed"):
        load(model("y = com.example.Op (x)", shape="h, w"), {"h": (2, 9), "w": (2, 9)})


def test_registering() -> None:
    first = register("com.example::Op", lambda x: x)
    register("com.example", "Op", first)  # run again
    with pytest.raises(WebDNNError, match=r"com.example::Op is registered twice: by .* and by"):
        register("com.example", "Op", lambda x: x)
    register("com.example", "Op", mish, replace=True)
    register("ai.onnx::Relu", mish)
    with pytest.raises(WebDNNError, match="Relu is registered twice"):
        register("Relu", raising)
    for names in (("com.example",), ("com.example::",), ("com.example", "a b"), ("a::b", "c")):
        with pytest.raises(WebDNNError, match="expected DOMAIN::OPERATOR"):
            register(*names, function=mish)
    with pytest.raises(WebDNNError, match="expected a function as function, found int"):
        register("com.example", "Op", 3)  # type: ignore[arg-type]


# ---- plugins -------------------------------------------------------------------------------------

MISH = """
import numpy as np
import webdnn
from webdnn.expr import exp, log, tanh
from webdnn.ops.elementwise import elementwise

print("not a part of the result")

@webdnn.onnx.register("com.example", "Mish"{reference})
@elementwise
def mish(x):
    return x * tanh(log(1 + exp(x)))
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """model.onnx with com.example::Mish, and two plugins."""
    monkeypatch.chdir(tmp_path)
    onnx.save(model("a = com.example.Mish (x)  y = MatMul (x, a)", shape="4, 4"), "model.onnx")
    Path("mine.py").write_text(MISH.format(reference=""))
    numpy = ", reference=lambda x: x * np.tanh(np.log1p(np.exp(x)))"
    Path("checked.py").write_text(MISH.format(reference=numpy))
    return tmp_path


def test_plugins_on_the_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transpile = ["transpile", "model.onnx", "-o", "out", "--target", "webgpu", "--json"]
    assert run(*transpile) == 2
    assert '@webdnn.onnx.register("com.example::Mish")' in capsys.readouterr().err
    assert run(*transpile, "--plugin", "mine.py") == 0
    assert json.loads(capsys.readouterr().out)["inputs"][0]["name"] == "x"
    assert run("inspect", "model.onnx", "--target", "webgpu", "--plugin", "mine.py", "--json") == 0
    assert json.loads(capsys.readouterr().out)["operators"] == {"MatMul": 1, "com.example.Mish": 1}


def test_a_reference_in_numpy(files: Path) -> None:
    run_plugin("checked.py")
    found = reference("model.onnx", ["x"], ["y"])
    assert found.name == "onnx.reference, with com.example::Mish as registered"
    theirs = model("a = Mish (x)  y = MatMul (x, a)", shape="4, 4")
    theirs.graph.output.append(onnx.ValueInfoProto(name="a"))
    session = onnxruntime.InferenceSession(theirs.SerializeToString())
    x = np.random.default_rng(0).normal(0, 2, (4, 4)).astype("float32")
    expected = session.run(["y", "a"], {"x": x})
    assert found.layers is not None
    np.testing.assert_allclose(found.run({"x": x})["y"], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found.layers({"x": x})["a"], expected[1], rtol=1e-5)


def test_check_without_a_reference(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "model.onnx", "--plugin", "mine.py") == 2
    text = capsys.readouterr().err
    assert "perhaps because it lacks com.example::Mish" in text
    assert "webdnn.onnx.register('com.example::Mish', …, reference=" in text
    assert "--expected" in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import webdnn\n1 +", "mine.py:2: SyntaxError: invalid syntax"),
        ("import webdnn\nwebdnn.onx", "mine.py:2: AttributeError: module 'webdnn' has no"),
        ("def f():\n    raise KeyError('k')\nf()", "mine.py:2: KeyError: 'k'"),
        ("import no_such_module", "mine.py:1: ModuleNotFoundError: No module named"),
        ("import broken", "mine.py:1: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)", "mine.py:2: SystemExit: 0"),
        ("import webdnn\nwebdnn.onnx.register('a b', id)", "mine.py:2: register('a b'): expected"),
        ("'\xff'", "mine.py:1: SyntaxError"),
    ],
)  # fmt: skip
def test_plugins_that_fail(
    text: str, message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_bytes(text.encode("latin-1"))
    Path("broken.py").write_text("1 / 0")
    assert run("inspect", "model.onnx", "--plugin", "mine.py") == 2
    error = capsys.readouterr().err
    assert f"error: plugin {message}" in error and "Traceback" not in error


def test_a_plugin_that_is_not_there(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "model.onnx", "--plugin", "absent.py") == 2
    assert "plugin absent.py: cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "old", "new", "target", "parts"),
    [
        ("manhattan.py", 'var("k"', 'vra("k"', "webgpu", ["'y': NameError", "(in manhattan, "]),
        ("manhattan.c", '"term"', '"tern"', "wasm", ["template manhattan.c: line", "'tern'"]),
        ("manhattan.c", 'size("k")', 'size("K")', "wasm", ["template manhattan.c: line", "no 'K'"]),
        ("manhattan.c", "n = 0", "n = zero", "wasm", ["templates manhattan.c: the", "'zero'"]),
        ("manhattan.wgsl", "size(", "sizes(", "webgpu", ["manhattan.wgsl: line", "'sizes'"]),
        ("manhattan.wgsl", "", None, "webgpu", ["manhattan.wgsl: cannot be read"]),
    ],
)  # fmt: skip
def test_templates_that_fail(
    file: str,
    old: str,
    new: str | None,
    target: str,
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The recipe of docs/extending.md with a mistake in one of its files."""
    monkeypatch.chdir(tmp_path)
    onnx.save(model("y = com.example.Manhattan (x, x)", shape="4, 4"), "model.onnx")
    for name, _, text in BLOCKS:
        if name.startswith("mine/"):
            Path(Path(name).name).write_text(text)
    if new is None:
        Path(file).unlink()
    else:
        assert old in Path(file).read_text()
        Path(file).write_text(Path(file).read_text().replace(old, new))
    arguments = ["-o", "out", "--target", target, "--plugin", "manhattan.py"]
    assert run("transpile", "model.onnx", *arguments) == 2
    error = capsys.readouterr().err
    assert [part for part in parts if part not in error] == [] and "Traceback" not in error, error


TRAPS = """export default async (places) => {
  const { load } = await import('/m/model.js');
  const said = [];
  for (const place of places) {
    const model = await load({ backend: 'wasm', ...place });
    const fine = await model.run({ x: new Float32Array(1024).fill(1) });
    const x = new Float32Array(1024).map((_, i) => i % 7);
    const error = await model.run({ x }).catch((found) => found);
    said.push([model.backend.threads, fine.y.data[0], error.code, error.message]);
    model.dispose();
  }
  return said;
};
"""


def test_a_templates_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a browser that refuses the text, or in which it fails, can say whose it is."""
    monkeypatch.chdir(tmp_path)
    need("chromium")
    nodes = "d = com.example.Manhattan (x, x) y = Softmax <axis = 1> (d)"
    onnx.save(model(nodes, shape="32, 32"), "model.onnx")
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, _, text in BLOCKS:
        if name.startswith("mine/"):
            sums = '+= ${hole("term", "n")};'
            fails = text.replace(sums, f"{sums} if (acc0[0] > 1) __builtin_trap();")
            Path(name).write_text(fails)
    arguments = ["-o", "out", "--plugin", "mine/manhattan.py"]
    assert run("transpile", "model.onnx", *arguments) == 0
    (program,) = Path("out").glob("webgpu.*.json")
    sources = {
        k["name"].split("__")[0]: k.get("source")
        for k in json.loads(program.read_text())["kernels"]
    }
    assert sources["manhattan"] == "mine/manhattan.wgsl", sources
    Path("traps.js").write_text(TRAPS)
    with open_page("chromium", mounts={"/m/": tmp_path / "out", "/t/": tmp_path}) as page:
        places = [{"threads": 2}, {"threads": 1}, {"worker": False}]
        said = page.call("/t/traps.js", places, timeout=60).value
    assert [threads for threads, *_ in said] == [2, 1, 1]
    for _, fine, code, message in said:
        assert (fine, code) == (1 / 32, "kernel")
        assert "the kernel manhattan" in message and "(d) failed: unreachable" in message, message
        assert "It is written in mine/manhattan.c, which is not WebDNN's" in message
