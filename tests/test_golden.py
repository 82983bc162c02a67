"""The texts of a few kernels, kept to be read: what a change of the compiler does to them shows in
review. `pytest tests/test_golden.py --update-golden` rewrites them; `make kernels` compares all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import CASES
from tools import kernel_diff, ops_table
from webdnn import ops, passes
from webdnn.codegen import TARGETS
from webdnn.graph import Graph, Value, placeholder
from webdnn.inspect.dump import sources
from webdnn.schedule.lower import lower

GOLDEN = Path(__file__).parent / "golden"
# Elementwise; a reduction with its row; a product with a bias.
NETS = ("gelu", "softmax_last", "gemm")


@pytest.mark.parametrize("target", ["wasm", "webgpu"])
@pytest.mark.parametrize("name", NETS)
def test_kernels(name: str, target: str, request: pytest.FixtureRequest) -> None:
    program = lower(passes.run(CASES[name].build().graph(), 0), TARGETS[target])
    text = "\n".join(sources(program, TARGETS[target]).values())
    path = GOLDEN / f"{name}.{'c' if target == 'wasm' else 'wgsl'}"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), "intended? then run this with --update-golden"


def test_documented_operators_are_those_that_exist() -> None:
    assert ops_table.PAGE.read_text() == ops_table.page(), "run python -m tools.ops_table"


def test_kernel_diff_finds_a_changed_kernel(tmp_path: Path) -> None:
    for side, text in (("a", "x = 1\n"), ("b", "x = 2\n")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "same.txt").write_text("x\n")
        (tmp_path / side / "net.wasm.txt").write_text(text)
    assert kernel_diff.diff(tmp_path / "a", tmp_path / "a") == 0
    assert kernel_diff.diff(tmp_path / "a", tmp_path / "b") == 1


def test_the_digest_tells_which_kernels_changed() -> None:
    """A text shows by its kernel's name; a size or an operand alone, that launches differ."""

    def entries(body: Callable[[Value], dict[str, Value]], *shape: int) -> list[str]:
        x = placeholder("x", shape, "f32")
        graph = passes.run(Graph((x,), body(x), dims=()), 0)
        return kernel_diff.entries(lower(graph, TARGETS["wasm"]), TARGETS["wasm"])

    def changed(row: list[str]) -> list[str]:
        return kernel_diff.changes({"net wasm": before}, {"net wasm": row})

    before = entries(lambda x: {"y": ops.relu(x)}, 2, 6)
    assert changed(entries(lambda x: {"y": ops.relu(x)}, 2, 6)) == []
    assert changed(entries(lambda x: {"y": ops.exp_(x)}, 2, 6)) == ["net wasm: exp, relu"]
    assert changed(entries(lambda x: {"y": ops.relu(x), "z": ops.exp_(x)}, 2, 6)) == [
        "net wasm: exp"
    ]
    other_launch = ["net wasm: what is launched, or with what"]
    assert changed(entries(lambda x: {"y": ops.relu(x)}, 2, 7)) == other_launch
    assert changed(entries(lambda x: {"y": ops.relu(x), "z": ops.relu(ops.relu(x))}, 2, 6)) == []
    assert kernel_diff.changes({"a wasm": [""]}, {"b wasm": [""]}) == [
        "b wasm: is new",
        "a wasm: is gone",
    ]
