"""Activations that exporters spell out: x*0.5*(1+erf(x/sqrt2)) -> gelu(x), x*sigmoid(x) -> silu(x).

The single operator is cheaper (no divisions, fewer roundings) and names its kernel. Normalisations
and softmax need no rule here: the fuser groups their reductions whatever their spelling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from .. import ops
from ..graph import FLOATS, Rule, Value
from .simplify import uniform

Uses = Mapping[Value, int]


def factors(v: Value, depth: int = 4) -> Iterator[tuple[float, list[Value]]]:
    """The readings of v as number * product of values, unfolding mul and div by numbers."""
    yield 1.0, [v]
    if depth == 0 or v.op not in (ops.mul, ops.div):
        return
    x, y = v.inputs
    if v.op is ops.div:
        d = uniform(y)
        if d:
            for c, vs in factors(x, depth - 1):
                yield c / d, vs
        return
    for a, b in ((x, y), (y, x)):
        c = uniform(a)
        if c is not None:
            for d, vs in factors(b, depth - 1):
                yield c * d, vs
            return
    for c, vs in factors(x, depth - 1):
        for d, ws in factors(y, depth - 1):
            yield c * d, vs + ws


def scaled(v: Value) -> Iterator[tuple[float, Value]]:
    """The readings of v as number * value."""
    return ((c, vs[0]) for c, vs in factors(v) if len(vs) == 1)


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5)


def _one_plus(v: Value) -> Value | None:
    """y where v is 1 + y"""
    if v.op is not ops.add:
        return None
    x, y = v.inputs
    return y if uniform(x) == 1 else x if uniform(y) == 1 else None


def _cube(v: Value, x: Value) -> bool:
    if v.op is ops.pow_:
        return v.inputs[0] is x and uniform(v.inputs[1]) == 3
    return any(c == 1 and vs == [x, x, x] for c, vs in factors(v))


def _gate(v: Value, x: Value) -> str | None:
    """Which activation is x * v, up to its factor of one half: gelu or gelu_tanh."""
    inner = _one_plus(v)
    if inner is None or not inner.inputs:
        return None
    (arg, *_) = inner.inputs
    if inner.op is ops.erf_ and any(y is x and _near(c, math.sqrt(0.5)) for c, y in scaled(arg)):
        return "gelu"
    if inner.op is ops.tanh_:
        for c, y in scaled(arg):
            if y.op is ops.add and _near(c, math.sqrt(2 / math.pi)):
                for a, b in (y.inputs, y.inputs[::-1]):
                    if a is x and any(_near(d, 0.044715) and _cube(z, x) for d, z in _cubes(b)):
                        return "gelu_tanh"
    return None


def _cubes(v: Value) -> Iterator[tuple[float, Value]]:
    """number * x^3, where x^3 may be spelled as a product."""
    yield from scaled(v)
    for c, vs in factors(v):
        if len(vs) == 3 and vs[0] is vs[1] is vs[2]:
            yield c, ops.pow_(vs[0], 3.0)


def gelu(v: Value, uses: Uses) -> Value | None:
    """0.5 * x * (1 + erf(x / sqrt(2))) -> gelu(x), and the same with the tanh approximation"""
    if v.op not in (ops.mul, ops.div) or v.dtype not in FLOATS:
        return None
    for c, vs in factors(v):
        if len(vs) == 2 and _near(c, 0.5):
            for x, g in (vs, vs[::-1]):
                name = _gate(g, x)
                if name is not None and x.shape == v.shape:
                    return ops.gelu(x) if name == "gelu" else ops.gelu_tanh(x)
    return None


def silu(v: Value, uses: Uses) -> Value | None:
    """x * sigmoid(x) -> silu(x); x * sigmoid(a * x) -> swish(x)"""
    if v.op is not ops.mul or v.dtype not in FLOATS:
        return None
    for x, s in (v.inputs, v.inputs[::-1]):
        if s.op is ops.sigmoid and x.shape == v.shape:
            if s.inputs[0] is x:
                return ops.silu(x)
            for c, y in scaled(s.inputs[0]):
                if y is x:
                    return ops.swish(x, alpha=c)
    return None


def _bounds(v: Value) -> tuple[Value, float, float] | None:
    """x, lo, hi where v is min(max(x, lo), hi) in some spelling."""
    match v.op, v.inputs:
        case ops.clip, (x, lo, hi):
            ends = uniform(lo), uniform(hi)
            return (x, *ends) if None not in ends else None
        case ops.min_, (Value(op=ops.max_ | ops.relu) as inner, hi) if uniform(hi) is not None:
            x = inner.inputs[0]
            low = 0.0 if inner.op is ops.relu else uniform(inner.inputs[1])
            return (x, low, uniform(hi)) if low is not None else None
    return None


def hard_sigmoid(v: Value, uses: Uses) -> Value | None:
    """clip(x + 3, 0, 6) / 6 -> hard_sigmoid(x), in any spelling with numbers"""
    if v.op not in (ops.mul, ops.div) or v.dtype not in FLOATS:
        return None
    for c, y in scaled(v):
        found = _bounds(y)
        if found and c > 0 and found[1] == 0 and _near(c * found[2], 1) and found[0].op is ops.add:
            x, b = found[0].inputs
            shift = uniform(b)
            if shift is not None and x.shape == v.shape:
                return ops.hard_sigmoid(x, alpha=c, beta=shift * c)
    return None


def hard_swish(v: Value, uses: Uses) -> Value | None:
    """x * hard_sigmoid(x) and x * clip(x + 3, 0, 6) / 6 -> hard_swish(x)"""
    if v.op not in (ops.mul, ops.div) or v.dtype not in FLOATS:
        return None
    for c, vs in factors(v):
        if len(vs) != 2:
            continue
        for x, g in (vs, vs[::-1]):
            if x.shape != v.shape:
                continue
            if c == 1 and g.op is ops.hard_sigmoid and g.inputs[0] is x:
                line = g.attrs["alpha"], g.attrs["beta"]
                if _near(line[0], 1 / 6) and _near(line[1], 0.5):
                    return ops.hard_swish(x)
            found = _bounds(g)
            if found and found[1:] == (0, 6) and _near(c, 1 / 6) and found[0].op is ops.add:
                a, b = found[0].inputs
                if a is x and uniform(b) == 3:
                    return ops.hard_swish(x)
    return None


RULES: tuple[Rule, ...] = (gelu, silu, hard_swish, hard_sigmoid)

__all__ = ["RULES"]
