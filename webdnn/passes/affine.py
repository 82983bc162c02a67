"""Constant scales and shifts go into weights: conv(x, w) * s + b -> conv(x, w * s) + b.

Batch normalisation arrives as x * scale + shift; so do input normalisations, the 1/sqrt(d) of
attention and the gains of layer normalisation.

    (y * a + b) * c + d             ->  y * (a*c) + (b*c + d)
    conv(x, w) * s                  ->  conv(x, w * s)            s: a number, or one per channel
    conv(x * s, w)                  ->  conv(x, s * w)
    conv(x + b, w), not padded      ->  conv(x, w) + sum(b * w)   (zeros come after the shift)

and the same for matmul, also through reshapes and transposes in between. A product is scaled only
if nobody else uses it, nor the table whose transpose its weights are: both would be stored. The
weights stay unevaluated (s * w is a constant of the graph), and shifts stay elementwise: the fuser
adds them where the product is stored. Results differ from the original by the rounding of s * w.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..expr import Dim
from ..graph import FLOATS, Rule, Shape, Value, constant
from ..ops.elementwise import broadcast_shapes
from ..ops.movement import groups
from ..ops.quantised import DEQUANTIZE, rescaled
from .layout import invert

Uses = Mapping[Value, int]


def scale(v: Value) -> tuple[Value, Value] | None:
    """x, s where v = x * s, s constant and x of v's shape."""
    if v.op not in (ops.mul, ops.div, ops.neg) or v.dtype not in FLOATS:
        return None
    if v.op is ops.neg:
        return v.inputs[0], constant(-1.0, v.dtype)
    x, s = v.inputs
    if v.op is ops.div:
        return (x, ops.reciprocal(s)) if s.constant and x.shape == v.shape else None
    return next(((a, b) for a, b in ((x, s), (s, x)) if b.constant and a.shape == v.shape), None)


def shift(v: Value) -> tuple[Value, Value] | None:
    """x, b where v = x + b, b constant and x of v's shape."""
    if v.op not in (ops.add, ops.sub) or v.dtype not in FLOATS:
        return None
    x, b = v.inputs
    if v.op is ops.sub:
        return (x, ops.neg(b)) if b.constant and x.shape == v.shape else None
    return next(((a, c) for a, c in ((x, b), (b, x)) if c.constant and a.shape == v.shape), None)


def compact(a: Value, b: Value) -> bool:
    """Whether a constant a * b or a + b is no larger than a or b."""
    shape = broadcast_shapes(a.shape, b.shape)
    return any((1,) * (len(shape) - c.rank) + c.shape == shape for c in (a, b))


def last(s: Value) -> Value | None:
    """A constant that varies along the last axis only, as a vector (of 1 if it is one number)."""
    if any(d != 1 for d in s.shape[:-1]):
        return None
    return ops.reshape(s, (s.shape[-1] if s.rank else 1,))


def tied(w: Value, uses: Uses) -> bool:
    """Whether weights are the transpose of a table, as it is stored, that others read too."""
    w = w.inputs[0] if w.op is DEQUANTIZE else w
    return w.op is ops.TRANSPOSE and uses.get(w.inputs[0], 0) > 1


# ---- after a product -----------------------------------------------------------------------------


def absorb(v: Value, s: Value, uses: Uses) -> Value | None:
    """Multiply s into the constants that v is made of; None if that is not possible."""
    if uses.get(v, 0) > 1:
        return None
    if (found := scale(v)) is not None:
        x, c = found
        if not compact(c, s):
            return None
        inner = absorb(x, ops.mul(c, s), uses)
        return inner if inner is not None else ops.mul(x, ops.mul(c, s))
    if (found := shift(v)) is not None:
        x, b = found
        inner = absorb(x, s, uses) if compact(b, s) else None
        return None if inner is None else ops.add(inner, ops.mul(b, s))
    match v.op:
        case ops.CONV | ops.MATMUL if v.inputs[1].weight and (n := last(s)) is not None:
            x, w = v.inputs
            scaled = None if tied(w, uses) else rescaled(w, n)
            return None if scaled is None else v.op(x, scaled, **v.attrs)
        case ops.MATMUL if s.size == 1:  # of two computed operands: the scale of attention's scores
            a, b = v.inputs
            inner = absorb(a, ops.reshape(s, ()), uses)
            return None if inner is None else ops.matmul(inner, b)
        case ops.TRANSPOSE:
            perm = v.attrs["perm"]
            inner = absorb(v.inputs[0], ops.transpose(ranked(s, v.rank), invert(perm)), uses)
            return None if inner is None else ops.transpose(inner, perm)
        case ops.RESHAPE:
            below = reshaped(ranked(s, v.rank), v.shape, v.inputs[0].shape)
            inner = None if below is None else absorb(v.inputs[0], below, uses)
            return None if inner is None else ops.reshape(inner, v.shape)
    return None


def ranked(s: Value, rank: int) -> Value:
    """Put axes of size 1 in front of s."""
    return ops.reshape(s, (1,) * (rank - s.rank) + s.shape)


def reshaped(s: Value, shape: Shape, to: Shape) -> Value | None:
    """Reshape s (broadcast to `shape`) along with a value reshaped to `to`; keep it small."""
    full: list[Dim] = []
    out: list[Dim] = []
    for left, right in groups(shape, to):
        varies = any(s.shape[k] != 1 for k in left)
        sizes = [shape[k] for k in left], [to[k] for k in right]
        if varies and not all(isinstance(d, int) for side in sizes for d in side):
            return None
        full += sizes[0] if varies else [1] * len(left)
        out += sizes[1] if varies else [1] * len(right)
    wide = ops.expand(s, full)
    return (
        ops.reshape(wide, out) if wide.constant else None
    )  # not if it would have to be downloaded


def fold_scale(v: Value, uses: Uses) -> Value | None:
    """conv(x, w) * s -> conv(x, w * s), through shifts, scales, reshapes and transposes"""
    found = scale(v)
    return None if found is None else absorb(found[0], found[1], uses)


def fold_shift(v: Value, uses: Uses) -> Value | None:
    """(x + a) + b -> x + (a + b)"""
    outer = shift(v)
    inner = shift(outer[0]) if outer is not None and uses.get(outer[0], 0) <= 1 else None
    if outer is None or inner is None or not compact(inner[1], outer[1]):
        return None
    return ops.add(inner[0], ops.add(inner[1], outer[1]))


# ---- before a product ----------------------------------------------------------------------------


def per_input(v: Value, s: Value) -> Value | None:
    """The weights of a product with each input channel multiplied by s, or None."""
    n, w = last(s), v.inputs[1]
    if n is None or n.shape == (1,):
        return None if n is None else ops.mul(w, n)
    if v.op is ops.MATMUL:
        return ops.mul(w, ops.reshape(n, (n.shape[0], 1)))
    kh, kw, c, m = w.shape
    g = v.attrs["groups"]  # channel k*c + i of x meets w[:, :, i, of group k]
    parts = ops.reshape(w, (kh, kw, c, g, m // g))
    factors = ops.reshape(ops.transpose(ops.reshape(n, (g, c)), (1, 0)), (c, g, 1))
    return ops.reshape(ops.mul(parts, factors), w.shape)


def scaled_input(v: Value, uses: Uses) -> Value | None:
    """conv(x * s, w) -> conv(x, s * w)"""
    if (
        v.op not in (ops.CONV, ops.MATMUL)
        or not v.inputs[1].constant
        or uses.get(v.inputs[0], 0) > 1
        or tied(v.inputs[1], uses)
    ):
        return None
    found = scale(v.inputs[0])
    w = None if found is None else per_input(v, found[1])
    return None if found is None or w is None else v.op(found[0], w, **v.attrs)


def shifted_input(v: Value, uses: Uses) -> Value | None:
    """conv(x + b, w) -> conv(x, w) + sum(b * w), only without padding

    Not in float16: a bias of thousands, as normalisation leaves it, would lose its last digits when
    the sum is stored, and what it is the difference of with the product is small.
    """
    if (
        v.op not in (ops.CONV, ops.MATMUL)
        or v.dtype == "f16"
        or not v.inputs[1].constant
        or uses.get(v.inputs[0], 0) > 1
    ):
        return None
    found = shift(v.inputs[0])
    w = None if found is None or any(v.attrs.get("pads", ())) else per_input(v, found[1])
    if found is None or w is None:
        return None
    axes = (0, 1, 2) if v.op is ops.CONV else (w.rank - 2,)
    return ops.add(v.op(found[0], v.inputs[1], **v.attrs), ops.reduce_sum(w, axes))


RULES: tuple[Rule, ...] = (fold_scale, fold_shift, scaled_input, shifted_input)

__all__ = ["RULES"]
