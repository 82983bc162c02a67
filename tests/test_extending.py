"""The recipes of docs/extending.md, followed to the letter in a copy of the sources.

A block's first line names its file. A new file is written; in a file that exists the block is put
in before the first line that begins with what stands after ", before", or at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import parser

from tests.test_browser import need

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(?:#|//) (\S+?)(?:, before ([^\n]+))?\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^```\n(webdnn .*)\n```$", re.M)
BLOCKS = [match.groups()[1:] for match in BLOCK.finditer(PAGE)]
MODEL = """<ir_version: 10, opset_import: ["" : 17, "com.example" : 1]>
m (float[4, 6] x) => (float[4, 6] y) {
    a = com.example.Mish (x)
    y = com.example.Norm <axis = 1> (a)
}"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with every recipe in them; of the table of cases, only the recipes' own."""
    folder = tmp_path_factory.mktemp("webdnn")
    for name in ("webdnn", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("fixtures"))
    (folder / "runner").symlink_to(ROOT / "runner")
    shutil.copy(ROOT / "pyproject.toml", folder)
    cases = folder / "tests" / "cases.py"
    head, marker, _ = cases.read_text().partition("# ---- elementwise")
    assert marker
    cases.write_text(head)
    for name, before, text in BLOCKS:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        at = len(lines)
        if before is not None:
            places = [k for k, line in enumerate(lines) if line.lstrip().startswith(before)]
            assert places, f"docs/extending.md: {name} has no line that begins with {before!r}"
            at = places[0]
        path.write_text("".join([*lines[:at], text, *lines[at:]]))
    onnx.save(parser.parse_model(MODEL), folder / "model.onnx")
    return folder


def python(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_recipe_has_its_test() -> None:
    recipes = re.split(r"^## ", PAGE, flags=re.M)[1:]
    assert len(recipes) == 7
    for recipe in recipes:
        files = [match[2] for match in BLOCK.finditer(recipe)]
        assert COMMAND.search(recipe) or any(f.startswith("tests/") for f in files), recipe
    assert PAGE.count("\n```python\n") + PAGE.count("\n```c\n") + PAGE.count("\n```wgsl\n") == len(
        BLOCKS
    )


def test_recipes_within_webdnn(copy: Path) -> None:
    need("chromium")
    new = {name for name, before, _ in BLOCKS if name.startswith("tests/test_") and not before}
    tests = [
        *sorted(new),
        "tests/test_architecture.py::test_dependencies_point_one_way",
        "tests/test_architecture.py::test_target_text_is_in_listed_templates_only",
        "tests/test_cases.py::test_passes",
        "tests/test_cases_wasm.py::test_case",
        "tests/test_cases_browser.py::test_cases",
        "-k",
        "not (firefox or webkit or relaxed or threads)",
    ]
    python(copy, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)


def test_an_operator_of_ones_own(copy: Path) -> None:
    need("chromium")
    (command,) = COMMAND.findall(PAGE)
    python(copy, "-m", "webdnn.cli", *command.split()[1:], "--variant", "plain")
