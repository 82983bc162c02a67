"""Attention is recognised: its scores need not go through memory.

    softmax(matmul(q, k) * scale + mask) @ v  ->  attention(q, k, v, scale, mask)

The scores may be scaled and masked by any number of additions and multiplications, whose other
operands are broadcast. Heads beyond what the template takes stay products.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..expr import upper
from ..graph import Rule, Value
from ..ops.attention import STEPS

DEEPEST = 128  # of a head: its row of the result lies in the registers of a few invocations
BATCH = 65535  # batch and heads, as every target's grid takes them
NAMES = {op: name for name, op in STEPS.items()}


def _softmax(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """x of softmax(x) over the last axis, where nothing else uses what is in between."""
    if v.op is not ops.div or uses.get(v, 0) > 1:
        return None
    e, total = v.inputs
    if e.op is not ops.exp_ or uses.get(e, 0) != 2 or uses.get(total, 0) != 1:
        return None
    (shifted,) = e.inputs
    last = (e.rank - 1,)
    if (
        total.op is not ops.REDUCE
        or total.inputs[0] is not e
        or (total.attrs["monoid"], total.attrs["axes"]) != ("sum", last)
        or shifted.op is not ops.sub
        or uses.get(shifted, 0) != 1
    ):
        return None
    x, most = shifted.inputs
    if (
        most.op is not ops.REDUCE
        or most.inputs[0] is not x
        or (most.attrs["monoid"], most.attrs["axes"]) != ("max", last)
        or uses.get(most, 0) != 1
        or uses.get(x, 0) != 2
    ):
        return None
    return x


def attention(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """softmax(f(q @ k)) @ v -> attention(q, k, v, f)"""
    if v.op is not ops.MATMUL or v.dtype != "f32":
        return None
    x = _softmax(v.inputs[0], uses)
    steps: list[tuple[str, bool, Value]] = []
    while x is not None and x.op in NAMES:
        a, b = x.inputs
        first = a.shape == x.shape and (a.op in NAMES or a.op is ops.MATMUL)
        if not first and (x.op is ops.div or x.op is ops.sub):
            return None
        inner, other = (a, b) if first else (b, a)
        if inner.shape != x.shape or uses.get(inner, 0) != 1:
            return None
        steps.insert(0, (NAMES[x.op], first, other))
        x = inner
    if x is None or x.op is not ops.MATMUL:
        return None
    q, k = x.inputs
    depth, width = q.shape[-1], v.shape[-1]
    if not all(isinstance(n, int) and n % 4 == 0 and n <= DEEPEST for n in (depth, width)):
        return None
    if q.constant or k.constant or v.inputs[1].constant:
        return None
    if upper(ops.product(v.shape[:-2])) > BATCH:
        return None
    return ops.attention(q, k, v.inputs[1], steps)


RULES: tuple[Rule, ...] = (attention,)

__all__ = ["RULES"]
