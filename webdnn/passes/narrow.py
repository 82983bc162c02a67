"""Weights that a model widens by arithmetic of its own stay as they are stored.

    matmul(x, (cast(q) - z) * s)  ->  matmul(x, dequantize(q, s, z))
    conv(x, cast(w: f16, f32))    ->  conv(x, dequantize(w))

Exporters write so where a format lacks an operator for it. Constants of bytes and halves would be
folded to floats, twice or four times as large; as `ops.dequantize` they are weights, and kernels
compute what they read. Vectors and small tables are folded as before: they weigh nothing. A
quotient by a scale becomes a product with its reciprocal, which rounds once more.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import ops
from ..errors import UnsupportedError
from ..graph import Rule, Value, constant
from ..ops.quantised import NARROW, moved

Uses = Mapping[Value, int]
LEAST = 1024  # elements of a weight that is worth it


def as_stored(v: Value, uses: Uses) -> Value | None:
    """op(x, cast(q) * s) -> op(x, dequantize(q, s)), whatever the operator"""
    narrow = [_narrow(i) if i.constant else None for i in v.inputs]
    if not any(narrow):
        return None
    inputs = [n or i for n, i in zip(narrow, v.inputs, strict=True)]
    return v.op.node(tuple(inputs), v.attrs).outputs[v.index]


def _narrow(v: Value) -> Value | None:
    """A constant as dequantised integers or halves, if it is computed of such in the usual ways."""
    if v.size < LEAST or not v.inputs:
        return None
    if v.op is ops.cast_:
        return _cast(v)
    if v.op in (ops.TRANSPOSE, ops.RESHAPE, ops.SLICE, ops.CONCAT):
        parts = [p for p in map(_narrow, v.inputs) if p is not None]
        return moved(v.op(*parts, **v.attrs)) if len(parts) == len(v.inputs) else None
    if v.op in (ops.sub, ops.mul, ops.div):
        left, right = v.inputs
        w, c = _narrow(left), right
        if w is None and v.op is ops.mul:
            w, c = _narrow(right), left
        if w is not None and w.shape == v.shape and c.size * 8 <= v.size:
            c = ops.reshape(c, (*[1] * (w.rank - c.rank), *c.shape))
            return _less(w, c) if v.op is ops.sub else _times(w, c, v.op is ops.div)
    return None


def _cast(v: Value) -> Value | None:
    (q,) = v.inputs
    if v.dtype not in ("f32", "f16"):
        return None
    if q.dtype in NARROW or (q.dtype, v.dtype) == ("f16", "f32"):
        w = None if q.dtype in NARROW else _narrow(q)
        if w is not None:  # halves that are computed of integers are not rounded
            return w.op(*w.inputs, **{**w.attrs, "dtype": v.dtype})
        return ops.dequantize(q, dtype=v.dtype) if sum(d != 1 for d in q.shape) > 1 else None
    return None


def _less(w: Value, zero: Value) -> Value | None:
    """dequantize(q) - zero"""
    one = constant(np.ones(zero.shape, np.float32))
    return _dequantised(w.inputs[0], one, zero, w.dtype) if len(w.inputs) == 1 else None


def _times(w: Value, scale: Value, inverse: bool) -> Value | None:
    """dequantize(q, own, zero) * scale, or divided by it"""
    scale = ops.cast(scale, "f32")
    scale = ops.reciprocal(scale) if inverse else scale
    q, *others = w.inputs
    own = others[0] if others else constant(np.ones((1,) * q.rank, np.float32))
    zero = others[1] if len(others) > 1 else None
    if 1 not in (own.size, scale.size) and own.shape != scale.shape:
        return None
    product = ops.mul(ops.cast(own, "f32"), scale)
    if zero is not None and zero.size > 1 and zero.shape != product.shape:
        return None
    return _dequantised(q, product, zero, w.dtype)


def _dequantised(q: Value, scale: Value, zero: Value | None, dtype: str) -> Value | None:
    try:
        return ops.dequantize(q, scale, zero, dtype=dtype)
    except UnsupportedError:  # a scale that belongs to no blocks of an axis
        return None


RULES: tuple[Rule, ...] = (as_stored,)

__all__ = ["RULES"]
