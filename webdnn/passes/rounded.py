"""Floats that were rounded are integers already: what quantised models do between two products.

    f32(i32(u8(clamp(round(x) + z, 0, 255))) - z)  ->  clamp(round(x), -z, 255 - z)
    round((q * s) / s)                             ->  q

A model with quantised activations rounds after each operator and takes the integer apart before the
next. What a run computes is 32 bits wide in any case, so an integer that is only read as a float
need not become one. All is exact, but that NaN stays NaN, where a cast to integers makes it 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .. import ops
from ..graph import FLOATS, Rule, Value, constant, evaluate
from ..ops.quantised import DEQUANTIZE
from .simplify import SMALL, as_shape, uniform

Uses = Mapping[Value, int]
Range = tuple[float, float]

EXACT = 2.0**24  # magnitudes up to which float32 holds every integer
WIDE = 2**16  # scales of columns that are looked at
_HOLDS: Mapping[str, Range] = {
    "u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767),
    "i32": (-EXACT, EXACT), "i64": (-EXACT, EXACT), "u32": (0, EXACT), "u64": (0, EXACT),
    "i4": (-8, 7), "u4": (0, 15), "i2": (-2, 1), "u2": (0, 3), "bool": (0, 1),
}  # fmt: skip
_VIEWS = (ops.TRANSPOSE, ops.RESHAPE, ops.SLICE, ops.EXPAND)


def whole(v: Value) -> Range | None:
    """The least and the largest that a float may be which is always a whole number, or None."""
    if v.dtype != "f32":
        return None
    if v.constant:
        if not 0 < v.size <= SMALL:
            return None
        array = evaluate(v)
        ends = float(array.min()), float(array.max())
        even = (array == np.floor(array)).all()
        # At the bound itself it may be the float of a neighbour.
        return ends if even and max(map(abs, ends)) < EXACT else None
    if v.op in (ops.round_, ops.floor_, ops.ceil_, ops.trunc_):
        return -math.inf, math.inf
    if v.op is ops.cast_:
        found = _HOLDS.get(v.inputs[0].dtype)
        return found if found is not None and EXACT not in found else None
    if v.op in _VIEWS:
        return whole(v.inputs[0])
    if v.op is ops.PAD and float(v.attrs["value"]).is_integer():
        found, by = whole(v.inputs[0]), v.attrs["value"]
        return None if found is None else (min(found[0], by), max(found[1], by))
    if v.op is DEQUANTIZE:
        return _as_stored(v)
    if v.op not in (ops.add, ops.sub, ops.min_, ops.max_):
        return None
    a, b = (whole(x) for x in v.inputs)
    if a is None or b is None:
        return None
    if v.op is ops.add:
        return a[0] + b[0], a[1] + b[1]
    if v.op is ops.sub:
        return a[0] - b[1], a[1] - b[0]
    pick = min if v.op is ops.min_ else max
    return pick(a[0], b[0]), pick(a[1], b[1])


def _as_stored(v: Value) -> Range | None:
    """What integers may be that are read without a scale."""
    q, *others = v.inputs
    ends = _HOLDS.get(q.dtype)
    if ends is None or (
        others and not (others[0].size <= WIDE and (evaluate(others[0]) == 1).all())
    ):
        return None
    if len(others) < 2:
        return ends
    zero = evaluate(others[1]).astype(np.float64)
    if not zero.size or (zero != np.floor(zero)).any():
        return None
    return ends[0] - float(zero.max()), ends[1] - float(zero.min())


def _inside(r: Range | None, of: Range | None) -> bool:
    return r is not None and of is not None and of[0] <= r[0] and r[1] <= of[1]


def as_float(v: Value) -> Value | None:
    """The float that an integer was made of, where it is the same number."""
    if v.constant:
        known = ops.cast(v, "f32")
        return known if whole(known) is not None else None
    if v.op is ops.cast_:
        (x,) = v.inputs
        f = x if x.dtype == "f32" else as_float(x) if x.dtype not in FLOATS else None
        return f if f is not None and _inside(whole(f), _HOLDS.get(v.dtype)) else None
    if v.op in (*_VIEWS, ops.CONCAT) or (v.dtype == "i32" and v.op in (ops.add, ops.sub)):
        parts = [p for p in map(as_float, v.inputs) if p is not None]
        if len(parts) < len(v.inputs):
            return None
        found = v.op(*parts, **v.attrs)
        sums = v.op in (ops.add, ops.sub)
        return None if sums and not _inside(whole(found), (-EXACT, EXACT)) else found
    return None


def never_an_integer(v: Value, uses: Uses) -> Value | None:
    """cast(cast(x, u8), f32) -> x, where x is a whole number of 0..255; with sums between"""
    if v.op is not ops.cast_ or v.dtype != "f32" or v.inputs[0].dtype not in _HOLDS or v.constant:
        return None
    return as_float(v.inputs[0])


def round_again(v: Value, uses: Uses) -> Value | None:
    """round(x) -> x, where x is a whole number; round((q * s) / s) -> q"""
    if v.op is not ops.round_:
        return None
    (x,) = v.inputs
    if whole(x) is not None:
        return x
    if x.op is ops.div and x.inputs[0].op is ops.mul:
        s = uniform(x.inputs[1])
        for q, by in _either(x.inputs[0].inputs):
            same = s and uniform(by) == s and 1e-30 < abs(s) < 1e30
            if same and _inside(whole(q), (-(2**16), 2**16)):
                return as_shape(q, v)
    return None


def _either(pair: Sequence[Value]) -> list[tuple[Value, Value]]:
    return [(pair[0], pair[1]), (pair[1], pair[0])]


def clamped_already(v: Value, uses: Uses) -> Value | None:
    """max(x, c) -> x, where x is a whole number and never less than c; so min"""
    if v.op not in (ops.max_, ops.min_):
        return None
    for x, c in _either(v.inputs):
        bound, r = uniform(c), whole(x)
        if bound is None or r is None or x.shape != v.shape:
            continue
        if r[0] >= bound if v.op is ops.max_ else r[1] <= bound:
            return x
    return None


def _shifted(v: Value) -> tuple[Value, float] | None:
    """x, k of x + k or x - k, for whole x and a whole number k."""
    if v.op not in (ops.add, ops.sub) or v.dtype != "f32":
        return None
    for x, by in _either(v.inputs)[: 2 if v.op is ops.add else 1]:
        k = uniform(by)
        small = k is not None and abs(k) < 2**16 and k == math.floor(k)
        if small and x.shape == v.shape and whole(x) is not None:
            return x, k if v.op is ops.add else -k
    return None


def shifted_clamp(v: Value, uses: Uses) -> Value | None:
    """clamp(x + z, lo, hi) - z -> clamp(x, lo - z, hi - z), for whole numbers"""
    found = _shifted(v)
    if found is None or found[0].op is not ops.min_:
        return None
    low, k = found
    limits: list[tuple[Value, float]] = []
    for op in (ops.min_, ops.max_):
        ends = [(x, uniform(c)) for x, c in _either(low.inputs) if low.op is op]
        known = [(x, c) for x, c in ends if c is not None and abs(c) < 2**16 and x.shape == v.shape]
        if not known:
            return None
        limits.append(known[0])
        low = known[0][0]
    x, z = _shifted(low) or (low, 0.0)
    if z + k:
        x = ops.add(x, constant(z + k, "f32"))
    return ops.clamp(x, limits[1][1] + k, limits[0][1] + k)


RULES: tuple[Rule, ...] = (never_an_integer, round_again, clamped_already, shifted_clamp)

__all__ = ["RULES"]
