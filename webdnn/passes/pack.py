"""matmul and conv -> the forms that templates compute, with weights in panels.

Rearranged weights are constant expressions; they are evaluated when the descriptor is written. Of
a quantised weight what is stored is rearranged.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..expr import product
from ..graph import Rule, Value
from .integers import sums_fit
from .simplify import dequantised_view


def packed_matmul(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """matmul(a, b) -> packed_matmul(a, pack(b))"""
    if v.op is not ops.MATMUL:
        return None
    a, b = v.inputs
    return ops.pack_matmul(a, b, sums_fit(a, b, a.shape[-1]))


def packed_conv(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """conv(x, w) -> packed_matmul (1x1), depthwise or packed_conv"""
    if v.op is not ops.CONV:
        return None
    x, w = v.inputs
    return ops.pack_conv(x, w, **v.attrs, whole=sums_fit(x, w, product(w.shape[:3])))


RULES: tuple[Rule, ...] = (packed_matmul, packed_conv, dequantised_view)

__all__ = ["RULES"]
