"""Damaged files of every format: 300, the same each time; `make fuzz` tries thousands of others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_damaged_files() -> None:
    """In a process of its own, which forks: pytest's has threads of frameworks."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_files", "--count", "300", "--seed", "1"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert "300 mutants, 0 kinds of findings" in found.stdout
