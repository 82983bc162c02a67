"""The last pass: matmul and conv -> the forms that templates compute, with weights in panels.

Rearranged weights are constant expressions; they are evaluated when the descriptor is written. Of
a quantised weight what is stored is rearranged.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..graph import Rule, Value
from .simplify import dequantised_view


def packed_matmul(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """matmul(a, b) -> packed_matmul(a, pack(b))"""
    return ops.pack_matmul(*v.inputs) if v.op is ops.MATMUL else None


def packed_conv(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """conv(x, w) -> packed_matmul (1x1), depthwise or packed_conv"""
    if v.op is not ops.CONV:
        return None
    x, w = v.inputs
    return ops.pack_conv(x, w, **v.attrs)


RULES: tuple[Rule, ...] = (packed_matmul, packed_conv, dequantised_view)

__all__ = ["RULES"]
