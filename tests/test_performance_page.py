"""docs/performance.md shows the figures of bench/gpu/results.json, and their means."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "performance.md").read_text().partition("\n## Half precision")[0]
MODELS = json.loads((ROOT / "bench" / "gpu" / "results.json").read_text())["models"]


def test_the_table_is_of_the_results() -> None:
    rows = [line.split("|")[2:-1] for line in PAGE.splitlines() if re.match(r"\| .*\d", line)]
    shown = [[float(cell) for cell in row] for row in rows]
    columns = ("ours_busy", "ort_busy", "torch", "ours_done", "ort_done", "ours_first", "ort_first")
    assert shown == [
        [*(m[f"{column}_ms"] for column in columns), m["launches"], float(f"{m['error']:.1e}")]
        for m in MODELS
    ]


def test_the_means_are_of_the_results() -> None:
    def mean(ours: str, peer: str) -> str:
        logs = [math.log(m[ours] / m[peer]) for m in MODELS]
        return f"{math.exp(sum(logs) / len(logs)):.2f}"

    busy = mean("ours_busy_ms", "ort_busy_ms"), mean("ours_busy_ms", "torch_ms")
    first = mean("ours_first_ms", "ort_first_ms")
    said = re.search(r"is (\S+) of ONNX.* and (\S+) of PyTorch's, .* first output (\S+)\.", PAGE)
    assert said is not None and said.groups() == (*busy, first)
