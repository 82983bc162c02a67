"""What people install: the wheel, with the lowest dependencies it states, and npm's package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import webdnn

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOWEST = ROOT / "tools" / "constraints-lowest.txt"


def run(*command: str | Path, cwd: Path) -> str:
    """A command's output, far from this checkout; what went wrong is in the failure."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_version_and_one_licence() -> None:
    package = json.loads((ROOT / "runner" / "package.json").read_text())
    assert package["version"] == webdnn.__version__
    assert f"### {webdnn.__version__}\n" in (ROOT / "docs" / "compatibility.md").read_text()
    assert (ROOT / "runner" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_versions_tested_are_those_accepted() -> None:
    """constraints-lowest.txt has the bounds of pyproject.toml; constraints.txt is within them."""
    lowest, highest = (
        dict(line.split("==") for line in path.read_text().split() if "==" in line)
        for path in (LOWEST, ROOT / "tools" / "constraints.txt")
    )
    optional = PROJECT["optional-dependencies"]
    for text in PROJECT["dependencies"]:
        needed = Requirement(text)
        (bound,) = needed.specifier
        assert Version(lowest[needed.name]) == Version(bound.version), text
    for text in chain(PROJECT["dependencies"], *optional.values()):
        needed = Requirement(text)
        assert needed.name == "webdnn" or highest[needed.name] in needed.specifier, text


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_packages_work_without_this_checkout(tmp_path: Path) -> None:
    """A model is transpiled by the wheel, and run in Node by the npm package."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("webdnn-*.whl")
    run(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(python, *pip[1:], "install", "--constraint", LOWEST, wheel, cwd=tmp_path)

    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4]) for n in "xy")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "m",
        [x],
        [y],
        [onnx.numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10  # which the lowest onnx reads
    onnx.save(model, tmp_path / "m.onnx")
    command = tmp_path / "env" / "bin" / "webdnn"
    said = run(command, "transpile", "m.onnx", "-o", "m", "--json", cwd=tmp_path)
    assert json.loads(said)["name"] == "m"

    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{ "type": "module" }')
    (archive,) = run(
        "npm", "pack", "--silent", "--pack-destination", tmp_path, cwd=ROOT / "runner"
    ).split()
    run("npm", "install", "--silent", "--no-audit", "--no-fund", tmp_path / archive, cwd=project)
    installed = project / "node_modules" / "webdnn"
    assert {p.name for p in installed.iterdir()} == {"src", "LICENSE", "README.md", "package.json"}
    (project / "main.js").write_text(
        "import { load } from 'webdnn';\n"
        "const model = await load('../m');\n"
        "const { y } = await model.run({ x: Float32Array.of(1, 1, 1, 1) });\n"
        "console.log(y.data.join(' '));\n"
    )
    assert run("node", "main.js", cwd=project).split() == ["24", "28", "32", "36"]
