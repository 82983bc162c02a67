"""Integers over dims as the JSON of the descriptor (`Int` in docs/descriptor.md).

    >>> from webdnn.expr import dim
    >>> to_json((dim("h", 64, 512) * 3 + 7) // 8)
    ['//', ['+', ['*', 'h', 3], 7], 8]

Integers of kernels also hold loop variables and loads; those have no place there and are refused.
"""

from __future__ import annotations

from typing import Any

from ..expr import Dim, Expr, text

_ARITHMETIC = {
    "add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%", "min": "min", "max": "max",
}  # fmt: skip
_COMPARE = {"lt": "<", "le": "<=", "eq": "==", "ne": "!=", "and": "&&", "or": "||"}


def to_json(e: Dim) -> Any:
    """`e` as nested lists; raises ValueError where it depends on more than dims."""
    if not isinstance(e, Expr):
        return int(e)
    if e.op == "const":
        return int(e.args[0])
    if e.op == "dim":
        return e.args[0]
    if e.op == "select":
        return ["select", *map(to_json, e.args)]
    if e.op == "cast":
        return to_json(e.args[0])
    sign = _ARITHMETIC.get(e.op) or _COMPARE.get(e.op)
    if sign is None:
        raise ValueError(f"{text(e)} is not an integer over the model's dimensions ({e.op})")
    return [sign, *map(to_json, e.args)]
