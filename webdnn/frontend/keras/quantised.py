"""Layers that `model.quantize` has made integers of: Dense, EinsumDense, Embedding and their kind.

    int8                  q [rows, columns], a scale for each column: q / scale
    int4                  two to a byte along the last axis, the lower four bits first: the same
    int4 in blocks        (q - zero) * scale of blocks of neighbours along the rows

Weights stay as they are stored. Where a layer has a quantizer of activations (int8 by default), its
input is rounded too, by the greatest of what each sum is over.

Limits: the inner layers of MultiHeadAttention, which Keras itself cannot load again; GPTQ, AWQ and
float8; int4 as the first versions of Keras that had it packed it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...expr import Dim
from ...graph import Value, constant, evaluate, type_text
from .model import Layer

RANGE = (-127, 127)  # of AbsMaxQuantizer, and what keeps its scale finite
EPSILON = 1e-7


def is_quantised(layer: Layer) -> bool:
    """Whether the layer's first weight is integers."""
    return layer.weight(0).dtype == "i8"


def dense(layer: Layer, x: Value, units: int, bias: bool) -> Value:
    """x [..., rows] by a Dense layer's kernel [rows, units], without its bias."""
    w, scale = matrix(layer, 0, (x.shape[-1], units), 1 + bias)
    return _product(layer, x, w, scale, int8(layer, (x.shape[-1], units)))


def einsum(layer: Layer, x: Value, equation: str, bias: bool) -> Value:
    """The product of an EinsumDense layer, without its bias."""
    left, right, out, sizes = _labels(layer, x, equation)
    shape = [ops.static(sizes[c], f"axis {c} of {equation}") for c in right]
    summed = [k for k, c in enumerate(left) if c not in out]
    if int8(layer, shape):
        kernel, scale = layer.weight(0, shape), layer.weight(1 + bias)
        x, own = _rounded(layer, x, summed, True)
        y = ops.div(ops.einsum(equation, x, ops.cast(kernel, x.dtype)), scale)
    else:
        columns = math.prod(d for c, d in zip(right, shape, strict=True) if c in out)
        flat = math.prod(shape) // max(columns, 1), columns
        w, each = matrix(layer, 0, flat, 1 + bias)
        own = None
        if each is not None:
            x, own = _rounded(layer, x, summed, False)
            w = ops.dequantize(w, ops.reciprocal(ops.unsqueeze(each, [0])))
        y = ops.einsum(equation, x, ops.reshape(ops.cast(w, x.dtype), shape))
    if own is None:
        return y
    kept = [c for c in left if c in out]
    own = ops.squeeze(own, summed)
    own = ops.transpose(own, [kept.index(c) for c in out if c in kept])
    return ops.div(y, ops.unsqueeze(own, [k for k, c in enumerate(out) if c not in kept]))


def rows(layer: Layer, at: Value, shape: Sequence[int]) -> Value:
    """Rows of an Embedding's table [N, D]. What is looked up is as the table is stored, so that
    `reverse` has the same."""
    w, scale = matrix(layer, 0, shape, 1, axis=1)
    y = ops.gather(ops.cast(w, "f32"), at, 0)
    if scale is None:
        return y
    each = ops.gather(ops.cast(scale, "f32"), at, 0)
    return ops.div(y, ops.unsqueeze(each, [each.rank]))


def reverse(layer: Layer, x: Value, shape: Sequence[int], tied: bool) -> Value:
    """x [..., D] by the table [N, D] of a ReversibleEmbedding, or by its other kernel [D, N]."""
    w, scale = matrix(layer, 0, shape, 1, axis=1)
    if tied:
        w = ops.transpose(w, (1, 0))
    else:
        first = 2 if scale is not None else 4  # the table has a zero point and g_idx, too
        w, scale = matrix(layer, first, shape[::-1], first + 1, packed=0, groups=3)
    return _product(layer, x, w, scale, True, always=True)


def matrix(
    layer: Layer,
    k: int,
    shape: Sequence[Any],
    at: int,
    axis: int = 0,
    packed: int = 1,
    groups: int | None = None,
) -> tuple[Value, Value | None]:
    """Weight k of that shape, and what it must be divided by: integers and a scale for each index
    of the axis that stays, or blocks along `axis` already scaled, and None.

    at: which weight is the scale; of blocks the zero point follows, and g_idx (or at `groups`).
    packed: the axis along which a byte has two.
    """
    q = _integers(layer, k, shape, packed)
    scale = layer.weight(at)
    if scale.rank == 1:
        return q, layer.weight(at, (shape[1 - axis],))
    g_idx = layer.weight(at + 2 if groups is None else groups, (shape[axis],))
    block = _block(layer, g_idx)
    blocks = [1, 1]
    blocks[axis] = block
    wanted = list(shape)
    wanted[axis] = -(-shape[axis] // block)
    zero = layer.weight(at + 1, wanted)
    return ops.dequantize(q, layer.weight(at, wanted), zero, blocks), None


def int8(layer: Layer, shape: Sequence[Any]) -> bool:
    """Whether the layer's integers have 8 bits, not 4: by its policy, else by the shape."""
    policy = layer.config.get("dtype")
    if isinstance(policy, Mapping):
        policy = (policy.get("config") or {}).get("mode")
    text = str(policy or "")
    if text.startswith(("int8", "int4")):
        return text.startswith("int8")
    found = layer.weight(0).shape
    return len(found) == len(shape) and all(map(ops.same, found, shape))


def _integers(layer: Layer, k: int, shape: Sequence[Any], packed: int) -> Value:
    if int8(layer, shape):
        return layer.weight(k, shape)
    bytes_ = list(shape)
    bytes_[packed] = -(-shape[packed] // 2)
    found = layer.weight(k)
    if found.dtype != "i8" or len(found.shape) != 2 or [*found.shape] != bytes_:
        raise layer.error(
            f"weight {k} is {type_text(found)}, where integers of 4 bits {list(shape)} lie in "
            f"i8{bytes_}. If an older Keras quantised the model, do so again with that of today"
        )
    turned = (1, 0) if packed == 0 else (0, 1)
    nibbles = ops.cast(ops.parts(ops.transpose(found, turned), 4), "i32")
    signed = ops.cast(ops.sub(ops.bit_xor(nibbles, 8), 8), "i4")
    return ops.slice_axis(ops.transpose(signed, turned), packed, 0, shape[packed])


def _block(layer: Layer, g_idx: Value) -> int:
    """How many neighbours share a scale."""
    group = evaluate(g_idx).astype(np.int64)
    size = int((group == 0).sum()) or 1
    if not (group == np.arange(len(group)) // size).all():
        raise layer.lacks("blocks of its weights are no neighbours (g_idx)")
    return size


def _product(
    layer: Layer, x: Value, w: Value, scale: Value | None, default: bool, always: bool = False
) -> Value:
    """x [..., rows] by w [rows, columns]; `default` says whether x is rounded where nothing is
    said, `always` that it is with blocks, too."""
    own = None
    if scale is not None or always:
        x, own = _rounded(layer, x, [x.rank - 1], default)
    y = ops.matmul(x, ops.cast(w, x.dtype))
    by = [v for v in (scale, own) if v is not None]
    return ops.div(y, by[0] if len(by) == 1 else ops.mul(*by)) if by else y


def _rounded(
    layer: Layer, x: Value, axes: Sequence[int], default: bool
) -> tuple[Value, Value | None]:
    """x rounded to integers by the greatest along the axes, and by what it was multiplied."""
    given = layer.config.get("quantization_config")
    quantizer: Any = {} if default else None
    if isinstance(given, Mapping):
        quantizer = (given.get("config") or {}).get("activation_quantizer")
    if quantizer is None:
        return x, None
    if quantizer.get("class_name", "AbsMaxQuantizer") != "AbsMaxQuantizer":
        raise layer.lacks(
            f"its activations are quantized by {quantizer['class_name']}; AbsMaxQuantizer is "
            "supported"
        )
    config = quantizer.get("config") or {}
    low, high = config.get("value_range") or RANGE
    top = ops.add(ops.reduce_max(ops.abs_(x), axes), float(config.get("epsilon") or EPSILON))
    own = ops.div(constant(float(high), x.dtype), top)
    return ops.clamp(ops.round_(ops.mul(x, own)), float(low), float(high)), own


def _labels(layer: Layer, x: Value, equation: str) -> tuple[str, str, str, dict[str, Dim]]:
    """The letters of the input, the kernel and the result, and the sizes that they stand for."""
    left, _, out = equation.replace(" ", "").partition("->")
    left, _, right = left.partition(",")
    if len(left) != x.rank or "." in equation:  # with an ellipsis Keras itself fails
        raise layer.error(f"the equation {equation!r} does not fit {type_text(x)}")
    given = layer.config.get("output_shape")
    given = [given] if isinstance(given, int) else list(given or ())
    sizes = {c: d for c, d in zip(out[1:], given) if d is not None}
    sizes |= dict(zip(left, x.shape, strict=True))
    missing = [c for c in right if c not in sizes]
    if missing:
        raise layer.error(f"the equation {equation!r}: no size for {', '.join(missing)}")
    return left, right, out, sizes


__all__ = ["dense", "einsum", "int8", "is_quantised", "matrix", "reverse", "rows"]
