"""The last pass: matmul and conv -> the forms that templates compute, with weights in panels.

Rearranged weights are constant expressions; they are evaluated when the descriptor is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Rule, Value
from ..ops.linear import pack_conv, pack_matmul


def packed_matmul(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """matmul(a, b) -> packed_matmul(a, pack(b))"""
    return pack_matmul(*v.inputs) if v.op == "matmul" else None


def packed_conv(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """conv(x, w) -> packed_matmul (1x1), depthwise or packed_conv"""
    if v.op != "conv":
        return None
    x, w = v.inputs
    return pack_conv(x, w, **v.attrs)


RULES: tuple[Rule, ...] = (packed_matmul, packed_conv)

__all__ = ["RULES"]
