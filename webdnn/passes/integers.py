"""Quantised numbers are multiplied as the integers that they are; what they are worth comes after.

    conv(q * s, dequantize(w, t, z))  ->  conv(q, dequantize(w, 1, z)) * (s * t)
    conv(q * s, w)                    ->  conv(q, w) * s, where w is any other

for matmul too. q are whole numbers (`rounded.whole`), s is one number and t one, or one for each
column. So sums are exact, what is stored between two operators is q, and no weight is scaled where
it is read. `sums_fit` says of which products a target may use instructions for integers: what NaN
becomes in these is anything, as in the model's own cast.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import ops
from ..expr import Dim
from ..graph import Rule, Value, constant
from ..ops.quantised import DEQUANTIZE
from .affine import last, scale
from .rounded import whole
from .simplify import uniform

Uses = Mapping[Value, int]


def _scaled(v: Value) -> tuple[Value, Value] | None:
    """q, s where v = q * s, or a view of that, q whole and s one number."""
    if v.op in (ops.TRANSPOSE, ops.RESHAPE, ops.SLICE):
        inner = _scaled(v.inputs[0])
        return None if inner is None else (v.op(inner[0], **v.attrs), inner[1])
    found = scale(v) if v.op is ops.mul else None
    if found is None or uniform(found[1]) is None or whole(found[0]) is None:
        return None
    return found[0], constant(uniform(found[1]), v.dtype)


def _bare(w: Value) -> tuple[Value, Value] | None:
    """A dequantised weight without its scale, and that along the last axis."""
    if w.op is not DEQUANTIZE or len(w.inputs) == 1:
        return None
    q, t, *zero = w.inputs
    along = last(t)
    if along is None or (t.shape[-1] != 1 and w.attrs["blocks"][-1] != 1):
        return None
    if not zero:
        return ops.dequantize(q, dtype=w.dtype), ops.cast(along, "f32")
    one = constant(np.ones(t.shape, np.float32))
    return DEQUANTIZE(q, one, *zero, **w.attrs), ops.cast(along, "f32")


def scales_after(v: Value, uses: Uses) -> Value | None:
    """conv(q * s, dequantize(w, t)) -> conv(q, dequantize(w)) * (s * t), or q * s and any w"""
    if v.op not in (ops.CONV, ops.MATMUL) or v.dtype != "f32":
        return None
    x, w = v.inputs
    found = _scaled(x)
    if found is None:
        return None
    q, s = found
    right = _bare(w) or _scaled(w)
    if right is None:
        return ops.mul(v.op(q, w, **v.attrs), s)
    return ops.mul(v.op(q, right[0], **v.attrs), ops.mul(right[1], s))


def sums_fit(a: Value, b: Value, depth: Dim) -> bool:
    """Whether a product is of whole numbers of 16 bits, all sums of which fit into 32."""
    ends = whole(a), whole(b)
    if None in ends or not isinstance(depth, int):
        return False
    left, right = (max(map(abs, e)) for e in ends if e is not None)
    return max(left, right) < 2**15 and left * right * depth < 2**31


RULES: tuple[Rule, ...] = (scales_after,)

__all__ = ["RULES", "sums_fit"]
