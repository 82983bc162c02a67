"""The descriptor as both languages see it, and the JavaScript that Python writes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fixtures import tiny_model

from webdnn.descriptor.module_js import model_dts, model_js
from webdnn.descriptor.write import sealed
from webdnn.scalar import STORAGE

RUNNER = Path(__file__).resolve().parents[1] / "runner" / "src"


def keys(value: object, path: str = "") -> set[str]:
    """The paths of a JSON document's fields; list elements are one."""
    if isinstance(value, dict):
        inner = {p for k, v in value.items() for p in keys(v, f"{path}.{k}")}
        return {f"{path}.{k}" for k in value} | inner
    if isinstance(value, list):
        return {p for v in value for p in keys(v, f"{path}[]")}
    return set()


def test_the_hand_made_descriptor_is_what_the_transpiler_writes(tmp_path: Path) -> None:
    """Every field that the runner's tests rely on is written by the transpiler, and the reverse."""
    onnx = pytest.importorskip("onnx")
    from webdnn import transpile

    helper, tensor = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", tensor.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", tensor.FLOAT, ["n", 16])],
        [helper.make_tensor("w", tensor.FLOAT, [64, 16], [0.5] * 1024)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "tiny.onnx")
    transpile(tmp_path / "tiny.onnx", tmp_path / "out", dims={"n": (1, 8)}, keep_values=True)
    written = json.loads((tmp_path / "out" / "model.json").read_text())
    ours, contents = tiny_model.descriptor()

    def without(document: dict[str, object], *names: str) -> dict[str, object]:
        return {k: v for k, v in document.items() if k not in names}

    assert written["format"] == ours["format"]
    skipped = ("files", "targets", "sha256")
    assert keys(without(written, *skipped)) == keys(without(ours, *skipped))
    digest = written.pop("sha256")
    text = (tmp_path / "out" / "model.json").read_text()
    assert text == sealed(written)
    assert digest == hashlib.sha256(text.replace(digest, "").encode()).hexdigest()
    assert keys(next(iter(written["files"].values()))) == keys(next(iter(ours["files"].values())))
    optional = ("stored", "fused")
    for target in ("webgpu", "wasm"):
        theirs, mine = written["targets"][target], ours["targets"][target]
        left = ("limits", *optional)
        assert keys(without(theirs, *left)) == keys(without(mine, *left))
    assert keys(next(iter(written["targets"]["wasm"]["stored"].values()))) == keys(
        next(iter(ours["targets"]["wasm"]["stored"].values()))
    )
    program = json.loads((tmp_path / "out" / written["targets"]["webgpu"]["file"]).read_text())
    hand_made = json.loads(contents[ours["targets"]["webgpu"]["file"]])
    assert keys(without(program, "stored", "kernels", "prepare", *optional)) == keys(
        without(hand_made, "stored", "kernels", "prepare", *optional)
    )
    for kernel in program["kernels"]:
        assert {"name", "code", "origin"} <= set(kernel) <= {"name", "code", "origin", "variants"}
    script = (tmp_path / "out" / "model.js").read_text("utf8")
    modules = set(re.findall(r"""["'`]([\w./-]+\.js)["'`]""", script)) - {"model.js"}  # in words
    beside = {module.rpartition("/")[2] for module in modules}
    assert beside == {"worker.js", "pictures.js", "pictures-gpu.js", "loops-gpu.js"}
    assert all((tmp_path / "out" / module).is_file() for module in modules), modules


def test_names_are_quoted_and_files_are_literal() -> None:
    model, _ = tiny_model.descriptor()
    model["inputs"][0]["name"] = 'it\'s a "tensor"\n*/ \\'
    bound = 'new URL("./worker.js",u);beside("pictures.js","model.js");import("./pictures-gpu.js")'
    script, types = model_js(model, sealed(model, None), bound), model_dts(model)
    moved = bound.replace("worker.js", "runner/worker.js").replace("pic", "runner/pic")
    assert script.endswith(moved)
    for name in model["files"]:
        assert f"'{name}': new URL('./{name}', import.meta.url).href," in script
    spec = "{ dtype: 'float32'; shape: readonly [1, number] };"
    assert f"'it\\'s a \"tensor\"\\n*/ \\\\': {spec}" in types
    assert "/** [1, n] with n = 1..1024 */" in types
    assert "'total:0': { dtype: 'int64'; shape: readonly [1] };" in types


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_both_sides_agree_how_elements_are_stored() -> None:
    script = f"""
    import {{ STORAGE, bytesOf }} from '{(RUNNER / "descriptor.js").as_uri()}';
    const rows = Object.keys(STORAGE).map((name) => [name, STORAGE[name].bits, bytesOf(name, 6)]);
    console.log(JSON.stringify(rows));
    """
    command = ["node", "--input-type=module", "--eval", script]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    # Integers narrower than a word are parts of one: buffers of them are of u32.
    rows = [row for row in STORAGE.values() if row.bits >= 32 or row.computed == "f32"]
    assert sorted(found) == sorted([row.name, row.bits, row.bits * 6 // 8] for row in rows)
