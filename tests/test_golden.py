"""The texts of a few kernels, kept to be read: what a change of the compiler does to them shows in
review. `pytest tests/test_golden.py --update-golden` rewrites them; `tools/kernel_diff.py` compares
all kernels.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import CASES
from tools import kernel_diff, ops_table
from webdnn import passes
from webdnn.inspect.dump import sources
from webdnn.schedule.lower import lower

GOLDEN = Path(__file__).parent / "golden"
# Elementwise; a reduction with its row; a product with a bias.
NETS = ("gelu", "softmax_last", "gemm")


@pytest.mark.parametrize("target", ["wasm", "webgpu"])
@pytest.mark.parametrize("name", NETS)
def test_kernels(name: str, target: str, request: pytest.FixtureRequest) -> None:
    program = lower(passes.run(CASES[name].build().graph(), 0), target)
    text = "\n".join(sources(program, target).values())
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
