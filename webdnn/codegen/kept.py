"""Where inner values can be read after a run, for `webdnn check --layers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..schedule.kernel import Program
from .integers import to_json


def kept_values(program: Program, where: Callable[[int], tuple[str, int]]) -> dict[str, Any]:
    """The entries `stored` and `fused` of a descriptor; `where` is a buffer's place, as an item."""
    stored = {
        name: {
            **dict([where(s["buffer"])]),
            "dtype": s["dtype"],
            "shape": [to_json(d) for d in s["shape"]],
            "strides": [to_json(d) for d in s["strides"]],
            "start": to_json(s["start"]),
        }
        for name, s in program.stored.items()
    }
    return {"stored": stored, "fused": program.fused_away}
