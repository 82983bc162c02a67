"""Algebra that is exact for every input: f(x) -> x, f(g(x)) -> h(x).

    x*1 -> x     -(-x) -> x     reshape(reshape(x)) -> reshape(x)     concat(x[:2], x[2:]) -> x

Floating point is respected: x + 0 stays (it turns -0 into +0), x * 0 stays (NaN), and a division by
a constant becomes a product only where the reciprocal is exact (a power of two). Exceptions, chosen
since every framework's own kernels do the same: powers 2, 3, 1/2 and -1/2, and x / sqrt(y) -> x *
rsqrt(y).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..expr import as_dim, lift, same
from ..graph import FLOATS, Rule, Value, constant, evaluate
from ..ops.elementwise import broadcast_shapes
from ..ops.quantised import moved

Uses = Mapping[Value, int]
SMALL = 64  # elements of a constant that a rule looks at; larger ones are read at the very end

# What each dtype holds exactly: a cast through a wider dtype changes nothing.
_HOLDS: Mapping[str, tuple[str, ...]] = {
    "f64": ("f32", "f16", "i8", "u8", "i16", "u16", "i32", "u32", "bool"),
    "f32": ("f16", "i8", "u8", "i16", "u16", "bool"),
    "f16": ("i8", "u8", "bool"),
    "i64": ("i32", "u32", "i16", "u16", "i8", "u8", "bool"),
    "u64": ("u32", "u16", "u8", "bool"),
    "i32": ("i16", "u16", "i8", "u8", "bool"),
    "u32": ("u16", "u8", "bool"),
    "i16": ("i8", "u8", "bool"),
    "u16": ("u8", "bool"),
    "i8": ("bool",),
    "u8": ("bool",),
}


def uniform(v: Value) -> Any:
    """Number that every element of a small constant (of small constants) is, or None."""
    if not v.constant or not v.size or any(c.size > SMALL for c in (v, *v.inputs)):
        return None
    a = evaluate(v)
    first = a.flat[0].item()
    return first if (a == first).all() else None


def as_shape(x: Value, v: Value) -> Value:
    """Broadcast x to the shape of v."""
    return x if x.shape == v.shape else ops.expand(x, v.shape)


def _is(v: Value, number: float) -> bool:
    u = uniform(v)
    return u is not None and u == number and math.copysign(1, u) == math.copysign(1, number)


def neutral(v: Value, uses: Uses) -> Value | None:
    """x*1, x/1, x-0, x+(-0), x^1 -> x; for integers also x+0."""
    if v.op not in (ops.mul, ops.div, ops.sub, ops.add, ops.pow_):
        return None
    x, y = v.inputs
    zero = 0.0 if v.dtype in FLOATS else 0
    match v.op:
        case ops.mul | ops.div | ops.pow_ if _is(y, 1):
            return as_shape(x, v)
        case ops.mul if _is(x, 1):
            return as_shape(y, v)
        case ops.sub if _is(y, zero):
            return as_shape(x, v)
        case ops.add:
            for a, b in ((x, y), (y, x)):
                if _is(b, -zero):
                    return as_shape(a, v)
    return None


def twice(v: Value, uses: Uses) -> Value | None:
    """f(f(x)): involutions give x, projections f(x), lossless casts fall away."""
    if len(v.inputs) != 1 or v.inputs[0].op != v.op:
        return None
    (y,) = v.inputs
    match v.op:
        case ops.neg | ops.logical_not | ops.bit_not:
            return y.inputs[0]
        case ops.abs_ | ops.relu | ops.floor_ | ops.ceil_ | ops.round_ | ops.trunc_ | ops.sign_:
            return y
        case ops.cast_:
            (x,) = y.inputs
            if x.dtype in _HOLDS.get(y.dtype, ()) or x.dtype == y.dtype:
                return ops.cast(x, v.dtype)
    return None


def cast_to_itself(v: Value, uses: Uses) -> Value | None:
    """cast(x: f32, f32) -> x"""
    return v.inputs[0] if v.op is ops.cast_ and v.inputs[0].dtype == v.dtype else None


def power(v: Value, uses: Uses) -> Value | None:
    """x^2 -> x*x, x^3 -> x*x*x, x^0.5 -> sqrt(x), x^-1 -> 1/x, x^-0.5 -> rsqrt(x)"""
    if v.op is not ops.pow_ or v.dtype not in FLOATS:
        return None
    x = v.inputs[0]
    made = {
        2: lambda: ops.mul(x, x),
        3: lambda: ops.mul(ops.mul(x, x), x),
        0.5: lambda: ops.sqrt_(x),
        -1: lambda: ops.reciprocal(x),
        -0.5: lambda: ops.rsqrt_(x),
    }.get(uniform(v.inputs[1]))
    return as_shape(made(), v) if made else None


def root(v: Value, uses: Uses) -> Value | None:
    """1/x -> reciprocal(x), reciprocal(sqrt(x)) -> rsqrt(x), x/sqrt(y) -> x*rsqrt(y)"""
    if v.dtype not in FLOATS:
        return None
    match v.op, v.inputs:
        case ops.reciprocal, (Value(op=ops.sqrt_, inputs=(x,)),):
            return ops.rsqrt_(x)
        case ops.div, (x, y) if uniform(x) == 1 and y.shape == v.shape:
            return ops.reciprocal(y)
        case ops.div, (x, Value(op=ops.sqrt_, inputs=(y,)) as s) if not s.constant:
            return ops.mul(x, ops.rsqrt_(y))
    return None


def exact_reciprocal(v: Value, uses: Uses) -> Value | None:
    """x / 8 -> x * 0.125: only powers of two, whose reciprocals are exact."""
    if v.op is not ops.div or v.dtype not in FLOATS:
        return None
    d = uniform(v.inputs[1])
    if d and math.isfinite(d) and abs(math.frexp(d)[0]) == 0.5 and 2.0**-100 < abs(d) < 2.0**100:
        return ops.mul(v.inputs[0], constant(np.full(v.inputs[1].shape, 1 / d), v.dtype))
    return None


def negation(v: Value, uses: Uses) -> Value | None:
    """x + -y -> x - y, x - -y -> x + y, (-x) * (-y) -> x * y"""
    match v.op, v.inputs:
        case ops.add, (x, Value(op=ops.neg, inputs=(y,))) | (Value(op=ops.neg, inputs=(y,)), x) if (
            not x.constant
        ):
            return ops.sub(x, y)
        case ops.sub, (x, Value(op=ops.neg, inputs=(y,))):
            return ops.add(x, y)
        case ops.mul, (Value(op=ops.neg, inputs=(x,)), Value(op=ops.neg, inputs=(y,))):
            return ops.mul(x, y)
    return None


def choice(v: Value, uses: Uses) -> Value | None:
    """where(True, x, y) -> x, where(False, x, y) -> y, where(c, x, x) -> x"""
    if v.op is not ops.where:
        return None
    c, x, y = v.inputs
    if x is y:
        return as_shape(x, v)
    known = uniform(c)
    return None if known is None else as_shape(x if known else y, v)


def clamps(v: Value, uses: Uses) -> Value | None:
    """max(relu(x), c) -> relu(x) for c <= 0; clip(x, -inf, inf) -> x"""
    match v.op, v.inputs:
        case ops.max_, (Value(op=ops.relu) as x, c) if (
            (lo := uniform(c)) is not None and lo <= 0 and x.shape == v.shape
        ):
            return x
        case ops.max_, (x, c) if _is(c, float("-inf")):
            return as_shape(x, v)
        case ops.min_, (x, c) if _is(c, float("inf")):
            return as_shape(x, v)
    return None


def broadcast(v: Value, uses: Uses) -> Value | None:
    """f(expand(x), y) -> f(x, y) where y alone gives the shape"""
    if not v.op.pointwise or not any(i.op is ops.EXPAND for i in v.inputs):
        return None
    inputs = list(v.inputs)
    for k, i in enumerate(inputs):
        if i.op is ops.EXPAND:
            trial = [*inputs[:k], i.inputs[0], *inputs[k + 1 :]]
            if broadcast_shapes(*(t.shape for t in trial)) == v.shape:
                inputs = trial
    return v.op(*inputs, **v.attrs) if tuple(inputs) != v.inputs else None


# ---- views ---------------------------------------------------------------------------------------


def view_of_view(v: Value, uses: Uses) -> Value | None:
    """reshape, transpose, expand and slice of themselves compose; what changes nothing goes."""
    if v.op not in (ops.RESHAPE, ops.TRANSPOSE, ops.EXPAND, ops.SLICE):
        return None
    (x,) = v.inputs
    if v.op in (ops.RESHAPE, ops.EXPAND) and v.shape == x.shape:
        return x
    if v.op is ops.TRANSPOSE:
        plain = ops.transpose(x, v.attrs["perm"])
        return plain if plain is not v else None
    if v.op is ops.SLICE and v.shape == x.shape and all(t == 1 for t in v.attrs["steps"]):
        return x
    if x.op != v.op:
        return None
    (y,) = x.inputs
    match v.op:
        case ops.RESHAPE:
            return ops.reshape(y, v.shape)
        case ops.EXPAND:
            return ops.expand(y, v.shape)
        case ops.SLICE:
            a, b = x.attrs, v.attrs
            starts = [
                as_dim(lift(s) + lift(at) * t)
                for s, t, at in zip(a["starts"], a["steps"], b["starts"])
            ]
            return ops.slice_(y, starts, v.shape, [s * t for s, t in zip(a["steps"], b["steps"])])
    return None


def concat_of_slices(v: Value, uses: Uses) -> Value | None:
    """concat(x[0:2], x[2:5], y) -> concat(x[0:5], y)"""
    if v.op is not ops.CONCAT:
        return None
    axis = v.attrs["axis"]
    parts: list[Value] = []
    for part in v.inputs:
        joined = _join(parts[-1], part, axis) if parts else None
        if joined is None:
            parts.append(part)
        else:
            parts[-1] = joined
    return ops.concat(parts, axis) if len(parts) < len(v.inputs) else None


def _join(a: Value, b: Value, axis: int) -> Value | None:
    if a.op is not ops.SLICE or b.op is not ops.SLICE or a.inputs != b.inputs:
        return None
    p, q = a.attrs, b.attrs
    others = [k for k in range(a.rank) if k != axis]
    end = lift(p["starts"][axis]) + a.shape[axis]
    if (
        p["steps"][axis] != 1
        or p["steps"] != q["steps"]
        or not same(as_dim(end), q["starts"][axis])
    ):
        return None
    if any(p["starts"][k] != q["starts"][k] for k in others):
        return None
    size = as_dim(lift(a.shape[axis]) + b.shape[axis])
    return ops.slice_(
        a.inputs[0],
        p["starts"],
        [size if k == axis else d for k, d in enumerate(a.shape)],
        p["steps"],
    )


def slice_of_concat(v: Value, uses: Uses) -> Value | None:
    """concat(x, y)[:n] -> x[:n] where the slice lies within one operand"""
    if v.op is not ops.SLICE or v.inputs[0].op is not ops.CONCAT:
        return None
    (x,) = v.inputs
    axis = x.attrs["axis"]
    start, step, size = v.attrs["starts"][axis], v.attrs["steps"][axis], v.shape[axis]
    if step != 1 or not isinstance(start, int) or not isinstance(size, int):
        return None
    at = 0
    for part in x.inputs:
        n = part.shape[axis]
        if not isinstance(n, int):
            return None
        if at <= start and start + size <= at + n:
            starts = [start - at if k == axis else s for k, s in enumerate(v.attrs["starts"])]
            return ops.slice_(part, starts, v.shape, v.attrs["steps"])
        at += n
    return None


def pad_of_pad(v: Value, uses: Uses) -> Value | None:
    """Zero pads of zero pads add up."""
    if (
        v.op is not ops.PAD
        or v.inputs[0].op is not ops.PAD
        or v.inputs[0].attrs["value"] != v.attrs["value"]
    ):
        return None
    a, b = v.inputs[0].attrs, v.attrs

    def total(side: str) -> list[Any]:
        return [as_dim(lift(p) + q) for p, q in zip(a[side], b[side])]

    return ops.pad(
        v.inputs[0].inputs[0], total("before"), total("after"), "constant", v.attrs["value"]
    )


def through_concat(v: Value, uses: Uses) -> Value | None:
    """f(concat(x, y), c) -> concat(f(x, c), f(y, c)): f is fused into whatever makes x and y"""
    x = next((i for i in v.inputs if not i.constant), None)
    if not v.op.pointwise or x is None or x.op is not ops.CONCAT or uses.get(x, 0) > 1:
        return None
    axis = x.attrs["axis"]
    if x.shape != v.shape or any(i is not x and not i.constant for i in v.inputs):
        return None
    starts: list[Any] = [0]
    for part in x.inputs:
        starts.append(as_dim(lift(starts[-1]) + part.shape[axis]))
    parts = []
    for start, part in zip(starts, x.inputs):
        operands = []
        for i in v.inputs:
            k = axis - (v.rank - i.rank)
            if i is x:
                i = part
            elif k >= 0 and i.shape[k] != 1:
                i = ops.slice_axis(i, k, start, part.shape[axis])
            operands.append(i)
        parts.append(v.op(*operands, **v.attrs))
    return ops.concat(parts, axis)


def slice_into(v: Value, uses: Uses) -> Value | None:
    """concat(x, y)[..., :n] -> concat(x[..., :n], y[..., :n]); pad(x)[a:b] -> pad(x[c:d])"""
    if (
        v.op is not ops.SLICE
        or v.inputs[0].op not in (ops.CONCAT, ops.PAD)
        or uses.get(v.inputs[0], 0) > 1
    ):
        return None
    (x,) = v.inputs
    starts, steps = v.attrs["starts"], v.attrs["steps"]
    if x.op is ops.CONCAT:
        axis = x.attrs["axis"]
        if starts[axis] != 0 or steps[axis] != 1 or v.shape[axis] != x.shape[axis]:
            return None
        cut = [
            ops.slice_(p, starts, [*v.shape[:axis], p.shape[axis], *v.shape[axis + 1 :]], steps)
            for p in x.inputs
        ]
        return ops.concat(cut, axis)
    (y,) = x.inputs
    before, after = list(x.attrs["before"]), list(x.attrs["after"])
    inner, sizes = [0] * y.rank, list(y.shape)
    for k, (start, step, size, d) in enumerate(zip(starts, steps, v.shape, y.shape)):
        if start == 0 and step == 1 and size == x.shape[k]:
            continue
        at = (start, size, d, before[k], after[k])
        if step != 1 or not all(isinstance(n, int) for n in at):
            return None
        inner[k] = max(start - before[k], 0)
        sizes[k] = min(start + size - before[k], d) - inner[k]
        if sizes[k] <= 0:  # nothing but padding
            return None
        before[k] = max(before[k] - start, 0)
        after[k] = size - before[k] - sizes[k]
    return ops.pad(ops.slice_(y, inner, sizes), before, after, "constant", x.attrs["value"])


def gather_of_view(v: Value, uses: Uses) -> Value | None:
    """x[c[:n]] -> x[c][:n], x[expand(c)] -> expand(x[c]) for constant x, c: a table made before"""
    if (
        v.op is not ops.GATHER
        or not v.inputs[0].constant
        or v.inputs[1].op not in (ops.SLICE, ops.EXPAND)
    ):
        return None
    x, view = v.inputs
    (c,) = view.inputs
    if not c.constant:
        return None
    axis, before, after = (
        v.attrs["axis"],
        v.shape[: v.attrs["axis"]],
        v.shape[v.attrs["axis"] + view.rank :],
    )
    table = ops.gather(x, ops.reshape(c, (1,) * (view.rank - c.rank) + c.shape), axis)
    if view.op is ops.EXPAND:
        return ops.expand(table, v.shape)
    if not isinstance(table.size, int) or table.size > max(x.size, SMALL):
        return None
    a = view.attrs
    return ops.slice_(
        table,
        [0 for _ in before] + [*a["starts"]] + [0 for _ in after],
        v.shape,
        [1 for _ in before] + [*a["steps"]] + [1 for _ in after],
    )


def dequantised_view(v: Value, uses: Uses) -> Value | None:
    """transpose(dequantize(q, s)) -> dequantize(transpose(q), transpose(s)), as other views"""
    return moved(v)


VIEWS: tuple[Rule, ...] = (dequantised_view, view_of_view, concat_of_slices, slice_of_concat)
RULES: tuple[Rule, ...] = (
    neutral,
    twice,
    cast_to_itself,
    power,
    root,
    exact_reciprocal,
    negation,
    choice,
    clamps,
    broadcast,
    pad_of_pad,
    gather_of_view,
    through_concat,
    slice_into,
    *VIEWS,
)

__all__ = ["RULES", "VIEWS", "as_shape", "uniform"]
