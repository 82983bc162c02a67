"""Quantised operators of com.microsoft: each takes numbers apart, computes and quantises again.

    >>> from webdnn.graph import placeholder
    >>> x, scale, zero = (placeholder(n, s, d) for n, s, d in
    ...     (("x", (2, 3), "u8"), ("s", (), "f32"), ("z", (), "u8")))
    >>> QLinearSigmoid(x, scale, zero, scale, zero)
    cast:u8[2,3]

An integer q stands for (q - zero) * scale. Arithmetic between is in float32, so that a result may
differ from onnxruntime's by one step where a number lies halfway between two. Weights in blocks of
2, 4 or 8 bits stay as they are, and kernels read them so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, same
from ...graph import Value, constant, type_text
from ...ops.integers import shifted
from ..arrays import axis_of, channels_first, channels_last, known_array
from . import operators, shapes
from .attributes import attributes_of
from .operators import (
    AveragePool,
    DequantizeLinear,
    DynamicQuantizeLinear,
    Gemm,
    MatMulInteger,
    QuantizeLinear,
)
from .recurrent import LSTM
from .reductions import Softmax

Attr = Any


def _quantised(y: Value, scale: Value, zero: Value | None, like: Value) -> Value:
    """y as integers of the zero point's dtype, or of another tensor's."""
    given = zero if zero is not None else ops.cast(ops.ints(0, "i64"), like.dtype)
    return QuantizeLinear(y, scale, given)


def _of(y: Value, zero: Value | None, like: Value) -> Value:
    """Numbers that are at the scale of the result already, as its integers."""
    return _quantised(y, constant(1.0, "f32"), zero, like)


# The scales are put together first, as in onnxruntime: numbers halfway between two integers are
# frequent here, and go the same way.


def QLinearAdd(
    a: Value, a_scale: Value, a_zero: Value | None, b: Value, b_scale: Value, b_zero: Value | None,
    scale: Value, zero: Value | None = None,
) -> Value:  # fmt: skip
    left = ops.mul(shifted(a, a_zero), ops.div(a_scale, scale))
    return _of(ops.add(left, ops.mul(shifted(b, b_zero), ops.div(b_scale, scale))), zero, a)


def QLinearMul(
    a: Value, a_scale: Value, a_zero: Value | None, b: Value, b_scale: Value, b_zero: Value | None,
    scale: Value, zero: Value | None = None,
) -> Value:  # fmt: skip
    y = ops.mul(shifted(a, a_zero), shifted(b, b_zero))
    return _of(ops.mul(y, ops.div(ops.mul(a_scale, b_scale), scale)), zero, a)


def QLinearWhere(
    condition: Value,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    scale: Value,
    zero: Value,
) -> Value:
    x, y = DequantizeLinear(a, a_scale, a_zero), DequantizeLinear(b, b_scale, b_zero)
    return _quantised(ops.where(condition, x, y), scale, zero, a)


def QLinearConcat(scale: Value, zero: Value, *inputs: Value, axis: int) -> Value:
    """inputs: a tensor, its scale and its zero point, for each part."""
    if not inputs or len(inputs) % 3:
        raise ModelError(f"{len(inputs)} inputs of parts; expected three for each")
    parts = [DequantizeLinear(*inputs[k : k + 3]) for k in range(0, len(inputs), 3)]
    return _quantised(shapes.Concat(*parts, axis=axis), scale, zero, inputs[0])


def QLinearLeakyRelu(
    x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value | None = None, *,
    alpha: float = 0.01,
) -> Value:  # fmt: skip
    y = ops.leaky_relu(DequantizeLinear(x, x_scale, x_zero), alpha=alpha)
    return _quantised(y, scale, zero, x)


def QLinearSigmoid(
    x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value | None = None
) -> Value:
    return _quantised(ops.sigmoid(DequantizeLinear(x, x_scale, x_zero)), scale, zero, x)


def QLinearSoftmax(
    x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value, *,
    axis: int = -1, opset: int,
) -> Value:  # fmt: skip
    y = Softmax(DequantizeLinear(x, x_scale, x_zero), axis=axis, opset=opset)
    return _quantised(y, scale, zero, x)


def QLinearGlobalAveragePool(
    x: Value, x_scale: Value, x_zero: Value, scale: Value, zero: Value, *, channels_last: int = 0
) -> Value:
    axes = range(1, x.rank - 1) if channels_last else range(2, x.rank)
    y = ops.reduce_mean(DequantizeLinear(x, x_scale, x_zero), axes)
    return _quantised(y, scale, zero, x)


def _inside(x: Value, last: int, compute: Callable[[Value], Value]) -> Value:
    """compute(x), which wants its channels as the second axis, of x with them there or last."""
    return channels_last(compute(channels_first(x))) if last else compute(x)


@attributes_of(AveragePool)
def QLinearAveragePool(
    x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value | None = None, *,
    channels_last: int = 0, **given: Attr,
) -> Value:  # fmt: skip
    wide = DequantizeLinear(x, x_scale, x_zero)
    y = _inside(wide, channels_last, lambda v: AveragePool(v, **given))
    return _quantised(y, scale, zero, x)


@attributes_of(operators.QLinearConv)
def QLinearConv(
    x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value,
    scale: Value, zero: Value, b: Value | None = None, *, channels_last: int = 0, **given: Attr,
) -> Value:  # fmt: skip
    def conv(v: Value) -> Value:
        return operators.QLinearConv(
            v, x_scale, x_zero, w, w_scale, w_zero, scale, zero, b, **given
        )

    return _inside(x, channels_last, conv)


def _rescaled(total: Value, a_scale: Value, b_scale: Value, bias: Value | None) -> Value:
    """Sums of products of integers as numbers; scales are one for all, or one for each column."""
    scale = ops.mul(_one(a_scale), _one(b_scale))
    y = ops.mul(ops.cast(total, "f32"), ops.cast(scale, "f32"))
    return ops.cast(y if bias is None else ops.add(y, ops.cast(bias, "f32")), a_scale.dtype)


def _one(v: Value) -> Value:
    return ops.reshape(v, ()) if v.size == 1 else v


def MatMulIntegerToFloat(
    a: Value,
    b: Value,
    a_scale: Value,
    b_scale: Value,
    a_zero: Value | None = None,
    b_zero: Value | None = None,
    bias: Value | None = None,
) -> Value:
    zero = None if b_zero is None else _one(b_zero)
    return _rescaled(MatMulInteger(a, b, a_zero, zero), a_scale, b_scale, bias)


def DynamicQuantizeMatMul(
    a: Value, b: Value, b_scale: Value, b_zero: Value | None = None, bias: Value | None = None
) -> Value:
    q, scale, zero = DynamicQuantizeLinear(a)
    return MatMulIntegerToFloat(q, b, scale, b_scale, zero, b_zero, bias)


def QGemm(
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    c: Value | None = None,
    scale: Value | None = None,
    zero: Value | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """Gemm of quantised matrices; c is at the scale of the products. Floats where no scale is."""
    left, right = ops.cast(a, "i32"), ops.cast(b, "i32")
    left = ops.sub(left, ops.cast(_one(a_zero), "i32"))
    columns = _one(b_zero)
    right = ops.sub(right, ops.cast(ops.unsqueeze(columns, [1]) if transB and columns.rank else
                                    columns, "i32"))  # fmt: skip
    total = Gemm(left, right, transA=transA, transB=transB)
    total = total if c is None else ops.add(total, c)
    y = ops.mul(_rescaled(total, a_scale, b_scale, None), alpha)
    return y if scale is None else _quantised(y, scale, zero, a)


@attributes_of(LSTM)
def DynamicQuantizeLSTM(
    x: Value,
    w: Value,
    r: Value,
    b: Value | None,
    lens: Value | None,
    h0: Value | None,
    c0: Value | None,
    p: Value | None,
    w_scale: Value,
    w_zero: Value,
    r_scale: Value,
    r_zero: Value,
    **given: Attr,
) -> list[Value]:
    """LSTM whose weights are quantised, [directions, inputs, 4 * hidden].

    onnxruntime also quantises the input, and the state at each step, to use products of integers;
    here both stay as they are, which is more exact.
    """

    def wide(v: Value, scale: Value, zero: Value) -> Value:
        if scale.rank == 2 and same(v.shape[0], 1):  # a scale for each column
            parts = [ops.reshape(part, part.shape[1:]) for part in (scale, zero)]
            whole = DequantizeLinear(v, *parts, axis=2)
        elif scale.rank == 2:
            columns = [ops.unsqueeze(part, [1]) for part in (scale, zero)]
            whole = ops.sub(ops.cast(v, "i32"), ops.cast(columns[1], "i32"))
            whole = ops.mul(ops.cast(whole, "f32"), columns[0])
        else:
            whole = DequantizeLinear(v, scale, zero, axis=0)
        return ops.transpose(whole, (0, 2, 1))

    weights = wide(w, w_scale, w_zero), wide(r, r_scale, r_zero)
    return LSTM(x, *weights, b, lens, h0, c0, p, **given)


# ---- weights in blocks ---------------------------------------------------------------------------


def _sized(v: Value, shape: tuple[int, ...], what: str) -> Value:
    """v in a shape that its elements must fill."""
    if not v.static or v.size != math.prod(shape):
        raise ModelError(f"{what} {type_text(v)}: expected {list(shape)}")
    return ops.reshape(v, shape)


def _in_bits(v: Value, bits: int, count: Dim) -> Value:
    """[N, bytes] -> [N, count], of integers of `bits` bits, the lowest first."""
    return ops.slice_axis(ops.parts(v, bits), v.rank - 1, 0, count)


def _check_bits(bits: int, block: int) -> None:
    if bits not in (2, 4, 8):
        raise UnsupportedError(f"bits = {bits}; 2, 4 and 8 are supported")
    if block < 1 or block * bits % 8:
        raise ModelError(f"block_size = {block}: blocks of whole bytes expected")


def _wide(q: Value, scale: Value, zero: Value | None, axis: int, block: int) -> Value:
    """(q - zero) * scale, a scale for each `block` neighbours along an axis: a weight that stays
    quantised where all are constants."""
    blocks = [block if k == axis else 1 for k in range(q.rank)]
    if q.constant and scale.constant and (zero is None or zero.constant):
        return ops.dequantize(q, scale, zero, blocks, scale.dtype)

    def each(v: Value) -> Value:
        if v.shape[axis] == 1:
            return v
        return ops.slice_axis(ops.repeat(v, block, axis), axis, 0, q.shape[axis])

    y = ops.cast(ops.cast(q, "i32"), "f32")
    y = y if zero is None else ops.sub(y, ops.cast(each(zero), "f32"))
    return ops.cast(ops.mul(y, ops.cast(each(scale), "f32")), scale.dtype)


def MatMulNBits(
    a: Value,
    b: Value,
    scales: Value,
    zeros: Value | None = None,
    g_idx: Value | None = None,
    bias: Value | None = None,
    *,
    K: int,
    N: int,
    block_size: int,
    bits: int = 4,
    accuracy_level: int = 0,
    weight_prepacked: int = 0,
) -> Value:
    """a [..., K] by weights [N, blocks of K, bytes], in float32: accuracy_level is a least."""
    _check_bits(bits, block_size)
    if weight_prepacked:
        raise UnsupportedError(
            f"weight_prepacked = {weight_prepacked}: weights in the order of one kind of GPU; "
            "export the model without it"
        )
    count = -(-K // block_size)
    q = _in_bits(_sized(b, (N, count * (block_size * bits // 8)), "weights"), bits, K)
    scales = _sized(scales, (N, count), "scales")
    if zeros is None:
        zeros = constant(np.full((1, 1), 2 ** (bits - 1)), "u8")
    elif zeros.dtype == "u8":
        zeros = _in_bits(_sized(zeros, (N, -(-count * bits // 8)), "zero points"), bits, count)
    else:
        zeros = _sized(zeros, (N, count), "zero points")
    if g_idx is not None:
        block = known_array(g_idx, "g_idx").reshape(-1)[:K]
        if len(block) != K or block.min() < 0 or block.max() >= count:
            raise ModelError(f"g_idx {type_text(g_idx)}: {K} numbers of 0..{count - 1} expected")
        order = np.argsort(block, kind="stable")
        if not (block[order] == np.arange(K) // block_size).all():  # blocks of several sizes
            scales = ops.gather(scales, constant(block.astype(np.int32)), 1)
            zeros = zeros if zeros.size == 1 else ops.gather(zeros, constant(block), 1)
            block_size = 1
        elif (order != np.arange(K)).any():  # rows of one block become neighbours
            at = constant(order.astype(np.int32))
            q, a = ops.gather(q, at, 1), ops.gather(a, at, a.rank - 1)
    w = _wide(q, scales, zeros, 1, block_size)
    y = ops.matmul(a, ops.cast(ops.transpose(w, (1, 0)), a.dtype))
    return y if bias is None else ops.add(y, bias)


def GatherBlockQuantized(
    data: Value,
    indices: Value,
    scales: Value,
    zeros: Value | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
) -> Value:
    """Rows of a table whose elements are quantised in blocks along an axis."""
    _check_bits(bits, block_size)
    axis = axis_of(quantize_axis, data)
    if data.dtype == "u8":
        if zeros is None:
            zeros = constant(np.full((1,) * data.rank, 2 ** (bits - 1)), "u8")
        elif bits < 8:
            zeros = _in_bits(zeros, bits, scales.shape[-1])
        data = ops.parts(data, bits)
    w = _wide(data, scales, zeros, axis, block_size)
    return shapes.Gather(w, indices, axis=axis_of(gather_axis, data))


OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": QuantizeLinear,
    "DequantizeLinear": DequantizeLinear,
    **{
        name: fn
        for name, fn in list(globals().items())
        if name[0].isupper() and callable(fn) and getattr(fn, "__module__", "") == __name__
    },
}
