"""Quantised weights: what they stand for is computed where they are read, and never downloaded.

    >>> from webdnn.graph import constant
    >>> q = constant(np.zeros((64, 32), np.int8))
    >>> scale = constant(np.ones((2, 32), np.float32))
    >>> dequantize(q, scale)
    dequantize:f32[64,32]

An element is (q - zero) * scale in float32. The scale and the zero point have q's rank; along each
axis they have q's size (one for each index), 1 (one for all), or one for each block of `blocks`
neighbours. Views of dequantised weights are dequantised views (`moved`): so weights can be
transposed, reshaped and put into panels as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..expr import Dim, Expr, as_dim, binary, lift
from ..expr import cast as cast_expr
from ..graph import Node, Op, Shape, Value, constant, evaluate, type_text
from .elementwise import cast, mul, sub
from .movement import (
    CONCAT,
    RESHAPE,
    SLICE,
    TRANSPOSE,
    concat,
    groups,
    pad,
    reshape,
    slice_,
    transpose,
)

# of which a word of 32 bits holds several
NARROW = ("i16", "u16", "i8", "u8", "i4", "u4", "i2", "u2")
SMALL = 256  # bytes that are dequantised beforehand: kernels then have them as they compute


def _infer(
    q: Value, *others: Value, blocks: tuple[int, ...], dtype: str
) -> list[tuple[Shape, str]]:
    return [(q.shape, dtype)]


def _block(i: Expr, size: Dim, block: int) -> Expr:
    """The block that index i of an axis is in."""
    if block == 1:
        return i
    if isinstance(size, int) and block >= size:
        return lift(0)
    if block & (block - 1) == 0:  # a shift stays one where sizes become run-time parameters
        return binary("shr", i, block.bit_length() - 1)
    return i // block


def _element(node: Node, read: Callable[[int, Any], Expr], idx: tuple[Any, ...]) -> Expr:
    q, *others = node.inputs
    at = tuple(
        _block(lift(i), d, b) for i, d, b in zip(idx, q.shape, node.attrs["blocks"], strict=True)
    )
    e = read(0, idx)
    if len(others) == 2:
        zero = read(2, tuple(lift(0) if d == 1 else i for i, d in zip(at, others[1].shape)))
        e = cast_expr(e, zero.dtype) - zero
    e = cast_expr(e, "f32")
    return e * read(1, at) if others else e


def _widened(a: np.ndarray, shape: Sequence[int], blocks: Sequence[int]) -> np.ndarray:
    """A scale or zero point of blocks, with an element for each of the weight's."""
    for axis, (size, block) in enumerate(zip(shape, blocks, strict=True)):
        if a.shape[axis] != 1 and block > 1:
            a = np.repeat(a, block, axis)[(slice(None),) * axis + (slice(size),)]
    return a


def _numpy(q: np.ndarray, *others: np.ndarray, blocks: tuple[int, ...], dtype: str) -> np.ndarray:
    out = q
    if len(others) == 2:
        wide = np.float32 if others[1].dtype.kind == "f" else np.int32
        out = q.astype(wide) - _widened(others[1].astype(wide), q.shape, blocks)
    out = out.astype(np.float32)
    return out * _widened(others[0].astype(np.float32), q.shape, blocks) if others else out


DEQUANTIZE = Op("dequantize", "map", _infer, _element, _numpy, grows=SMALL, flops=2)


def dequantize(
    q: Value,
    scale: Value | None = None,
    zero: Value | None = None,
    blocks: Sequence[int] | None = None,
    dtype: str = "f32",
) -> Value:
    """(q - zero) * scale, computed where it is read.

    q: a constant of NARROW or f16. scale: a constant of floats, and zero one of integers or floats,
    both of q's rank. blocks: along each axis, how many neighbours share an element of these; by
    default as many as make the sizes fit. dtype: of the result.

    Raises UnsupportedError where the shapes do not fit.
    """
    if 0 in q.shape:
        return constant(np.zeros(q.shape, np.float32), dtype)
    if scale is None:
        return DEQUANTIZE(q, blocks=(1,) * q.rank, dtype=dtype)
    if scale.rank != q.rank or (zero is not None and zero.rank != q.rank):
        raise UnsupportedError(
            f"dequantize: {type_text(q)} and its scale {type_text(scale)} have different ranks"
        )
    sizes: list[Any] = [*zip(q.shape, scale.shape, strict=True)]
    found = tuple(blocks or (-(-d // max(s, 1)) if s != d else 1 for d, s in sizes))
    if any(s != -(-d // b) for (d, s), b in zip(sizes, found, strict=True)):
        raise UnsupportedError(
            f"dequantize: the scale {type_text(scale)} does not fit {type_text(q)} in blocks of "
            f"{' x '.join(map(str, found))}"
        )
    if zero is not None:
        if zero.size != 1 and zero.shape != scale.shape:
            raise UnsupportedError(
                f"dequantize: the zero point {type_text(zero)} does not fit the scale "
                f"{type_text(scale)}"
            )
        zero = _plainer(zero)
        if zero.size == 1:
            at = evaluate(zero).item() if zero.size else 0
            half = {"u8": 128, "u4": 8, "u2": 2}.get(q.dtype)
            if at == half:  # the same numbers, signed
                q = cast(sub(cast(q, "i32"), constant(half, "i32")), f"i{q.dtype[1]}")
                zero = None
            elif at == 0:
                zero = None
    others = (scale,) if zero is None else (scale, zero)
    return DEQUANTIZE(q, *others, blocks=found, dtype=dtype)


def _plainer(zero: Value) -> Value:
    """A zero point that is the same everywhere, as one number."""
    a = evaluate(zero)
    if a.size and (a == a.flat[0]).all():
        return constant(a.reshape(-1)[:1].reshape((1,) * zero.rank), zero.dtype)
    return zero


def stored_halves(v: Value) -> bool:
    """Whether v is weights of float16, each widened where it is read."""
    return v.op is DEQUANTIZE and v.inputs[0].dtype == "f16"


def halved(scale: Value) -> Value:
    """A scale as float16, where all its numbers are zero or normal ones there; else as it is."""
    a = np.abs(evaluate(scale))
    fits = ((a == 0) | ((a >= 2**-14) & (a <= 65504))).all()
    return cast(scale, "f16") if fits else scale


def rescaled(w: Value, n: Value) -> Value | None:
    """w * n for a vector n along the last axis, or of one element; None where that is no smaller
    than the product."""
    if w.op is not DEQUANTIZE:
        return mul(w, n) if w.constant else None
    if len(w.inputs) == 1:
        return None
    q, scale, *zero = w.inputs
    blocks = w.attrs["blocks"]
    if n.size != 1 and scale.shape[-1] == 1:
        blocks = (*blocks[:-1], 1)
    elif n.size != 1 and blocks[-1] != 1:
        return None
    product = mul(cast(scale, "f32"), cast(n, "f32"))
    if scale.dtype == "f16" and n.constant:
        product = halved(product)
    return DEQUANTIZE(q, product, *zero, blocks=blocks, dtype=w.dtype)


# ---- parts of bytes ------------------------------------------------------------------------------


def _parts_infer(x: Value, *, bits: int) -> list[tuple[Shape, str]]:
    return [((*x.shape[:-1], as_dim(lift(x.shape[-1]) * (8 // bits))), f"u{bits}")]


def _parts_element(node: Node, read: Callable[[int, Any], Expr], idx: tuple[Any, ...]) -> Expr:
    bits = node.attrs["bits"]
    at = lift(idx[-1])
    byte = read(0, (*idx[:-1], at // (8 // bits)))
    return binary("bitand", binary("shr", byte, at % (8 // bits) * bits), 2**bits - 1)


def _parts_numpy(a: np.ndarray, *, bits: int) -> np.ndarray:
    out = np.empty((*a.shape, 8 // bits), np.uint8)
    for k in range(8 // bits):
        out[..., k] = a >> k * bits & (2**bits - 1)
    return out.reshape(*a.shape[:-1], a.shape[-1] * (8 // bits))


PARTS = Op("parts", "map", _parts_infer, _parts_element, _parts_numpy)


def parts(x: Value, bits: int) -> Value:
    """The unsigned integers of `bits` bits in the bytes of x, the lowest bits first:
    [..., N] -> [..., N * 8 / bits]"""
    return x if bits == 8 else PARTS(x, bits=bits)


# ---- views ---------------------------------------------------------------------------------------


def padded(w: Value, after: Dim) -> Value:
    """A dequantised weight with `after` more columns, whose elements are anything."""
    blocks = w.attrs["blocks"]

    def wider(v: Value, by: Dim = after) -> Value:
        return pad(v, [0] * v.rank, [0] * (v.rank - 1) + [by])

    if not after:
        return w
    q, *others = w.inputs
    n, size = q.shape[-1], blocks[-1]
    if others and others[0].shape[-1] == 1 != n:
        blocks = (*blocks[:-1], size + after)
    elif others:
        missing = -(-(n + after) // size) + n // -size
        others = [wider(v, missing) if v.shape == others[0].shape else v for v in others]
    return DEQUANTIZE(wider(q), *others, blocks=blocks, dtype=w.dtype)


def moved(v: Value) -> Value | None:
    """A view of a dequantised weight as a dequantised view of what is stored, or None."""
    if v.op is CONCAT:
        return _joined(v)
    if v.op not in (TRANSPOSE, RESHAPE, SLICE) or v.inputs[0].op is not DEQUANTIZE:
        return None
    if v.op is RESHAPE:
        return _reshaped(v)
    (w,) = v.inputs
    shape, blocks = w.shape, w.attrs["blocks"]
    if v.op is TRANSPOSE:
        perm = v.attrs["perm"]
        parts = [transpose(x, perm) for x in w.inputs]
        return DEQUANTIZE(*parts, blocks=tuple(blocks[k] for k in perm), dtype=w.dtype)
    columns = [*zip(v.attrs["starts"], v.shape, v.attrs["steps"], strict=True)]
    cut = [k for k, column in enumerate(columns) if column != (0, shape[k], 1)]
    if 0 in v.shape or any(1 < blocks[k] < shape[k] for k in cut):
        return None
    parts = []
    for x in w.inputs:
        mine = [c if x.shape[k] == shape[k] else (0, 1, 1) for k, c in enumerate(columns)]
        mine = [c if k in cut else (0, x.shape[k], 1) for k, c in enumerate(mine)]
        parts.append(slice_(x, *([*each] for each in zip(*mine, strict=True))))
    return DEQUANTIZE(*parts, blocks=blocks, dtype=w.dtype)


def _joined(v: Value) -> Value | None:
    """concat(dequantize(q1, s1), dequantize(q2, s2)) where all are alike."""
    axis, first = v.attrs["axis"], v.inputs[0]
    if any(
        w.op is not DEQUANTIZE
        or len(w.inputs) != len(first.inputs)
        or w.inputs[0].dtype != first.inputs[0].dtype
        or w.attrs["blocks"] != first.attrs["blocks"]
        or w.attrs["blocks"][axis] != 1
        or any(x.shape[axis] != w.shape[axis] for x in w.inputs)
        for w in v.inputs
    ):
        return None
    parts = [concat([w.inputs[k] for w in v.inputs], axis) for k in range(len(first.inputs))]
    return DEQUANTIZE(*parts, blocks=first.attrs["blocks"], dtype=first.dtype)


def _reshaped(v: Value) -> Value | None:
    """Runs of axes that are merged or split: where a run's elements share a scale in blocks of
    neighbours, they still do."""
    (w,) = v.inputs
    q, *others = w.inputs
    shape: list[Any] = [*v.shape]
    blocks = [1] * v.rank
    if 0 in shape:
        return None
    for left, right in groups(q.shape, v.shape):
        long = [[k for k in run if of[k] != 1] for run, of in ((left, q.shape), (right, shape))]
        if [*map(len, long)] == [1, 1]:  # the same axis; its last block may be cut off
            blocks[long[1][0]] = w.attrs["blocks"][long[0][0]]
            continue
        block = _run([q.shape[k] for k in left], [w.attrs["blocks"][k] for k in left])
        if block is None:
            return None
        for k in reversed(right):
            d = shape[k]
            if block % d == 0:
                blocks[k], block = d, block // d
            elif d % block == 0:
                blocks[k], block = block, 1
            else:
                return None
    parts = []
    for x in others:
        if x.size == 1:
            parts.append(reshape(x, (1,) * v.rank))
        else:
            parts.append(reshape(x, [-(-d // b) for d, b in zip(shape, blocks, strict=True)]))
    return DEQUANTIZE(reshape(q, shape), *parts, blocks=tuple(blocks), dtype=w.dtype)


def _run(sizes: Sequence[Any], blocks: Sequence[int]) -> int | None:
    """How many neighbours share a scale where axes are merged; None where they are not neighbours
    or a block is cut off."""
    out, whole = 1, True
    for d, b in reversed([*zip(sizes, blocks, strict=True)]):
        if d == 1:
            continue
        if whole and b >= d:
            out *= d
        elif whole and d % b == 0:
            out, whole = out * b, False
        elif not whole and b == 1:
            continue
        else:
            return None
    return out


__all__ = ["DEQUANTIZE", "NARROW", "dequantize", "parts", "stored_halves"]
