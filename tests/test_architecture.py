"""The map of the house, asserted: which way imports point, where hand-written target text is."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from webdnn.frontend import FORMATS

ROOT = Path(__file__).parent.parent / "webdnn"
FILES = sorted(ROOT.rglob("*.py"))
ROOMS = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}

# What each room of the transpiler may import. What is not listed (the command line, reports, what
# drives a browser) may import anything but a frontend, which only the ENTRIES may.
MAY_IMPORT = {
    "errors": set(),
    "limits": {"errors"},
    "scalar": set(),
    "expr": {"scalar"},
    "graph": {"expr", "scalar", "limits", "errors"},
    "ops": {"graph", "expr", "scalar", "limits", "errors"},
    "frontend": {"ops", "graph", "expr", "limits", "errors"},
    "passes": {"ops", "graph", "expr", "errors"},
    "schedule": {"ops", "graph", "expr", "scalar", "errors"},
    "codegen": {"schedule", "expr", "scalar", "errors"},
    "descriptor": {"codegen", "schedule", "graph", "expr", "scalar", "errors"},
    "picture": {"ops", "graph", "expr", "errors"},
}
ENTRIES = {"transpiler", "cli", "options", "inspect", "browser", "keras", "onnx"}

# Hand-written text of a target: what computes products, convolutions, recurrences, the mathematics
# that a target lacks, the frame of a module, and what never fuses. Everything else is printed from
# expressions. A new kernel is seldom worth a new row.
TEMPLATES = {
    "columns.c", "conv.c", "depthwise.c", "few.c", "integers.c", "matmul.c", "recurrent.c",
    "tile.c", "winograd.c",
    "module.c", "prelude.h", "double.h",
    "attention_row.wgsl", "attention_tile.wgsl", "gemm_narrow.wgsl", "gemm_register.wgsl",
    "gemm_row.wgsl",
    "gemm_tile.wgsl", "maths.wgsl", "recurrent.wgsl", "winograd_transform.wgsl",
    "arg_top_k.c", "arg_top_k.wgsl", "suppress.c", "suppress.wgsl",
    "first_true.c", "first_true.wgsl", "roi_align.c", "roi_align.wgsl",
    "roi_pool.c", "roi_pool.wgsl",
}  # fmt: skip
TARGET_TEXT = ("@workgroup_size", "@compute", "var<storage", "__builtin_wasm", "vector_size(")

# Files of more than 700 lines, and why each is still one file.
LONG = {
    "expr.py": "construction, ranges and polynomials call one another",
    "graph.py": "values, the operators that make them, and their evaluation call one another",
    "frontend/onnx/operators.py": "one function per operator of the format",
    "schedule/lower.py": "kernels, their placements and their steps call one another",
}


def part(path: Path) -> str:
    """The part of the transpiler that a file belongs to: graph, ops, passes ..."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def is_module(name: list[str]) -> bool:
    """Whether webdnn.a.b is a file or a folder, rather than a name that webdnn.a defines."""
    path = ROOT.parent.joinpath(*name)
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports, without the package's name."""
    package = ["webdnn", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*module, a.name] for a in node.names]
            found = [name if is_module(name) else module for name in names]
        elif isinstance(node, ast.Import):
            found = [a.name.split(".") for a in node.names]
        else:
            continue
        yield from (".".join(m[1:]) for m in found if m[0] == "webdnn")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dependencies_point_one_way(path: Path) -> None:
    here = part(path)
    used = {module.split(".")[0] for module in imports(path)} & ROOMS - {here, "version"}
    if here in MAY_IMPORT:
        assert used <= MAY_IMPORT[here]
    elif here not in ENTRIES:
        assert "frontend" not in used


def test_no_imports_in_a_circle() -> None:
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    imported = {name: {*imports(path)} & modules.keys() - {name} for name, path in modules.items()}
    while free := {name for name, below in imported.items() if not below}:
        imported = {name: below - free for name, below in imported.items() if name not in free}
    assert not imported, "these import one another, or what does"


def test_no_format_imports_another() -> None:
    """What formats share has a file beside their folders; PyTorch's exporter writes ONNX.

    `tensorflow` is a room and no format: it reads nothing, but knows TensorFlow's functions by
    name, which stand in models of tf.keras too.
    """
    rooms = {p.parent.name for p in (ROOT / "frontend").glob("*/__init__.py")}
    assert rooms == {*FORMATS, "tensorflow"}
    found = set()
    for path in FILES:
        here = path.relative_to(ROOT).parts
        if here[0] == "frontend":
            names = (m.split(".") for m in imports(path) if m.startswith("frontend."))
            found |= {(here[1], name[1]) for name in names if name[1] in rooms - {here[1]}}
    assert found == {("pytorch", "onnx"), ("keras", "tensorflow")}


def test_target_text_is_in_listed_templates_only() -> None:
    written = [p for suffix in ("c", "h", "cpp", "wgsl", "wat") for p in ROOT.rglob(f"*.{suffix}")]
    assert sorted(p.name for p in written) == sorted(TEMPLATES)
    rooms = ("wasm/templates", "webgpu/templates", "opaque")
    assert {p.parent for p in written} == {ROOT / "codegen" / room for room in rooms}
    for path in FILES:
        if part(path) != "codegen":
            text = path.read_text()
            assert not [t for t in TARGET_TEXT if t in text], path


def test_templates_are_named_by_their_operators_and_printers_alone() -> None:
    """What fuses around a template is said by `Op.template`, beside the operator."""
    names = {"matmul", "conv", "depthwise", "winograd", "packed_matmul", "packed_conv"}
    tables = {"codegen/wasm/instances.py", "codegen/webgpu/module.py"}
    for path in FILES:
        if part(path) in ("schedule", "codegen", "descriptor", "inspect"):
            nodes = ast.walk(ast.parse(path.read_text()))
            strings = {n.value for n in nodes if isinstance(n, ast.Constant)}
            named = str(path.relative_to(ROOT)) in tables
            assert named or not strings & names, path


def test_no_drawer_for_odds_and_ends() -> None:
    banned = {"utils", "util", "helpers", "common", "misc", "base"}
    assert not [p for p in FILES if p.stem in banned]


def test_no_ambient_state() -> None:
    for path in FILES:
        assert not [
            n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Global)
        ], path


def test_no_class_for_a_single_subclass() -> None:
    """A base class earns its place with two subclasses; errors are for those who catch them."""
    below: dict[str, set[str]] = defaultdict(set)
    defined: set[str] = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                defined.add(node.name)
                for base in node.bases:
                    below[ast.unparse(base).split(".")[-1]].add(node.name)
    single = {b for b, subs in below.items() if b in defined and len(subs) == 1}
    assert not {b for b in single if not b.endswith("Error")}


def test_files_are_short() -> None:
    long = {str(p.relative_to(ROOT)) for p in FILES if len(p.read_text().splitlines()) > 700}
    assert long <= set(LONG), "split it, or say in LONG why it is one file"
    assert set(LONG) <= long, "no longer long: strike it from LONG"


def test_every_room_is_in_the_tables() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    rooms = page.partition("## The rooms")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([^`]+)`", rooms))
    transpiler = {p.name for p in ROOT.glob("*.py")}
    transpiler |= {f"{p.parent.relative_to(ROOT)}/" for p in ROOT.rglob("*/__init__.py")}
    source = ROOT.parent / "runner" / "src"
    runner = {f"{p.name}/" if p.is_dir() else p.name for p in source.iterdir()}
    assert transpiler | runner <= named, transpiler | runner - named
    gone = {n for n in named if n.endswith("/")} - transpiler - runner
    assert gone == {"webdnn/", "runner/src/", "runner/dist/", "templates/"}
