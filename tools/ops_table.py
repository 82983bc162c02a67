"""Writes docs/ops.md: the ONNX operators that are supported, and their attributes.

    python -m tools.ops_table

It is read off the importer's table of operators; a test holds the page against it, and another one
sees to it that every operator has a case in tests/cases.py, which runs on both targets.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from webdnn.frontend.onnx.registry import DOMAINS, full_name

PAGE = Path(__file__).parent.parent / "docs" / "ops.md"
HEAD = """# Operators

The ONNX operators that the importer knows, from opset 7 on, with the attributes that it takes.
Each has cases in `tests/cases.py`, which run on both targets against onnxruntime. An operator that
is not here is taken where ONNX, or the model itself, defines it as a function of these, and `If`
where its condition is known when the model is transpiled. What remains is refused then, all of it
in one list, unless [a function of yours](frameworks/onnx.md#operators-of-your-own) says what it
computes.

This page is written by `python -m tools.ops_table`.

| operator | attributes |
| --- | --- |
"""


def page() -> str:
    """The text of docs/ops.md."""
    rows = []
    known = {full_name(d, name): fn for d, table in DOMAINS.items() for name, fn in table.items()}
    for name, function in sorted(known.items()):
        parameters = inspect.signature(function).parameters.values()
        attributes = [
            p.name
            for p in parameters
            if p.kind == p.KEYWORD_ONLY and p.name not in ("opset", "outputs")
        ]
        rows.append(f"| {name} | {', '.join(attributes)} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
