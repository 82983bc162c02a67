"""A descriptor in words: its signature, and what a page downloads of it.

>>> shape_text([1, ["*", "h", 2]])
'1, h * 2'
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..descriptor.module_js import beside


def shape_text(shape: Sequence[Any]) -> str:
    """A signature's shape, its symbolic sizes as formulas."""

    def size(value: Any) -> str:
        match value:
            case ["select", condition, a, b]:
                return f"({size(a)} if {size(condition)} else {size(b)})"
            case [op, a, b] if op in ("min", "max"):
                return f"{op}({size(a)}, {size(b)})"
            case [op, a, b]:
                return f"({size(a)} {op} {size(b)})"
        return str(value)

    def bare(text: str) -> str:
        # "(h + 8)" as a whole needs no parentheses; "(h + 1) * (w + 1)" keeps its own.
        depth = 0
        for position, character in enumerate(text):
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0:
                return text[1:-1] if text.startswith("(") and position == len(text) - 1 else text
        return text

    return ", ".join(bare(size(value)) for value in shape) or "scalar"


def kind_text(entry: Mapping[str, Any]) -> str:
    """What a tensor of model.json holds: its dtype, or pictures, or named classes."""
    if "image" in entry:
        return f"{entry['image']['channels']} pictures"
    if "drawn" in entry:
        return f"{entry['drawn']['channels']} picture"
    if "labels" in entry:
        return f"{entry['dtype']}, {len(entry['labels'])} labels"
    return str(entry["dtype"])


def describe(folder: Path) -> dict[str, Any]:
    """What a descriptor's folder holds: signature, targets, and what a page downloads of it.

    A page fetches the modules of the runner that its target needs, the target's code, and weights;
    `code_gzip` counts all but the weights, as a web server would send them.
    """
    document = json.loads((folder / "model.json").read_text())
    runner = document["runner"]

    def gzipped(name: str) -> int:
        return len(gzip.compress((folder / name).read_bytes(), 9))

    def code(target: str, file: str) -> dict[str, Any]:
        names = ["model.js", file, *(f"{runner}/{name}" for name in beside(document, target))]
        return {"file": file, "code_gzip": sum(map(gzipped, names))}

    targets: dict[str, Any] = {}
    for name in ("webgpu", "webgpu-f16"):
        if name in document["targets"]:
            targets[name] = code(name, document["targets"][name]["file"])
    for variant in document["targets"].get("wasm", {}).get("variants", ()):
        targets[f"wasm {variant['name']}"] = code("wasm", variant["file"])
    return {
        "descriptor": str(folder),
        "name": document["name"],
        "dims": document["dims"],
        "inputs": document["inputs"],
        "outputs": [t for t in document["outputs"] if not t.get("hidden")],
        "weights_bytes": document["weights"]["bytes"],
        "shards": len(document["weights"]["shards"]),
        "targets": targets,
    }
