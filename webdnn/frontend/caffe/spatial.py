"""Caffe's layers that look at windows of an image: convolutions, pooling, and changes of its size.

Sizes follow Caffe's rules: convolutions round down, pooling rounds up and may drop a last window
that begins in the padding. Sources as in `layers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, lift, maximum, minimum
from ...graph import Value, as_dim, constant, type_text
from ..arrays import along, channels_first, channels_last
from .layer import Layer, axis_of, gathered, one, same_shapes, window

LOWEST = float(np.finfo(np.float32).min)


# ---- convolution ---------------------------------------------------------------------------------


def Convolution(layer: Layer, *xs: Value) -> list[Value]:
    """Several bottoms share the filters; the axes before `axis` are the batch."""
    return [_convolution(layer, x, transposed=False) for x in xs]


def Deconvolution(layer: Layer, *xs: Value) -> list[Value]:
    """The adjoint of a convolution."""
    return [_convolution(layer, x, transposed=True) for x in xs]


def DepthwiseConvolution(layer: Layer, *xs: Value) -> list[Value]:
    """A convolution with a group for each channel, whatever `group` says (forks)."""
    return [_convolution(layer, x, transposed=False, depthwise=True) for x in xs]


def _convolution(layer: Layer, x: Value, transposed: bool, depthwise: bool = False) -> Value:
    p = layer.param("convolution_param")
    axis = axis_of(p, "axis", 1, x)
    rank = x.rank - axis - 1
    if rank < 1:
        raise ModelError(f"{type_text(x)} has no spatial axes after channel axis {axis}")
    channels = ops.static(x.shape[axis], "the number of channels")
    outputs = p.integer("num_output", channels if depthwise else 0, 1)
    if outputs < 1:
        raise ModelError("num_output is missing")
    kernel = window(p, "kernel_size", rank, None, 1)
    stride = window(p, "stride", rank, 1, 1)
    pad = [(n, n) for n in window(p, "pad", rank, 0, 0)]
    dilation = window(p, "dilation", rank, 1, 1)
    groups = channels if depthwise else p.integer("group", 1, 1)
    if depthwise:
        p.integer("group", 1)
    if channels % groups or outputs % groups:
        raise ModelError(f"{channels} channels and {outputs} outputs in {groups} groups")
    y = channels_last(gathered(x, axis))
    turn = (*range(2, rank + 2), 1, 0)
    if transposed:
        w = layer.blob(0, (channels, outputs // groups, *kernel), "the filters")
        w = ops.transpose(w, (*range(2, rank + 2), 0, 1))
        y = ops.convolve_transpose(y, w, stride, pad, dilation, groups, [0] * rank)
    else:
        w = layer.blob(0, (outputs, channels // groups, *kernel), "the filters")
        y = ops.convolve(y, ops.transpose(w, turn), stride, list(pad), dilation, groups)
    if p.flag("bias_term", True):
        y = ops.add(y, layer.blob(1, (outputs,), "the bias"))
    y = channels_first(y)
    return ops.reshape(y, (*x.shape[:axis], *y.shape[1:]))


def Im2col(layer: Layer, *xs: Value) -> list[Value]:
    """[N, C, H, W] -> [N, C * KH * KW, OH, OW]: the windows of a convolution as columns."""
    p = layer.param("convolution_param")
    out = []
    for x in xs:
        axis = axis_of(p, "axis", 1, x)
        rank = x.rank - axis - 1
        kernel = window(p, "kernel_size", rank, None, 1)
        pad = [0] * (axis + 1) + window(p, "pad", rank, 0, 0)
        y = ops.windows(
            ops.pad(x, pad, pad),
            range(axis + 1, x.rank),
            kernel,
            window(p, "stride", rank, 1, 1),
            window(p, "dilation", rank, 1, 1),
        )
        y = ops.transpose(
            y, (*range(axis + 1), *range(x.rank, x.rank + rank), *range(axis + 1, x.rank))
        )
        columns = ops.product([x.shape[axis], *kernel])
        out.append(ops.reshape(y, (*x.shape[:axis], columns, *y.shape[axis + 1 + rank :])))
    return out


# ---- pooling -------------------------------------------------------------------------------------


@dataclass
class _Pool:
    """What a pooling layer does: the numbers for each spatial axis."""

    method: str
    kernel: list[int]
    stride: list[int]
    pad: list[int]
    ceil: bool = True


def Pooling(layer: Layer, x: Value) -> Value | list[Value]:
    """A second top of maximum pooling is the position of each maximum in its image."""
    p = layer.param("pooling_param")
    method = p.choice("pool", ("MAX", "AVE", "STOCHASTIC"), "MAX")
    if x.rank != 4:
        raise ModelError(f"a blob of four axes expected, found {type_text(x)}")
    ceil = p.choice("round_mode", ("CEIL", "FLOOR"), "CEIL") == "CEIL" and p.flag("ceil_mode", True)
    masked = len(layer.tops) > 1
    if p.flag("global_pooling"):
        if masked:
            raise UnsupportedError("a second top of global pooling is not supported")
        if method == "STOCHASTIC":
            return _stochastic(*(ops.reduce_mean(v, (2, 3)) for v in (ops.mul(x, x), x)))
        return ops.reduce_max(x, (2, 3)) if method == "MAX" else ops.reduce_mean(x, (2, 3))
    pool = _Pool(
        method,
        window(p, "kernel_size", 2, None, 1),
        window(p, "stride", 2, 1, 1),
        window(p, "pad", 2, 0, 0),
        ceil,
    )
    return _pooled(x, pool) if not masked else _pooled_with_positions(x, pool)


def _around(x: Value, pool: _Pool) -> tuple[list[tuple[Dim, Dim]], list[Dim]]:
    """(before, after) for each axis, and how much of the latter is there for the last window alone.

    There are ceil((size + 2 pad - kernel) / stride) + 1 windows; where there is padding, a last one
    that begins beyond the image and its first padding is dropped.
    """
    around: list[tuple[Dim, Dim]] = []
    extra: list[Dim] = []
    for size, k, s, pad in zip(x.shape[2:], pool.kernel, pool.stride, pool.pad):
        if pad >= k:
            raise ModelError(f"pad {pad} is not smaller than the kernel {k}")
        room = lift(size) + (2 * pad - k)
        count = (room + (s - 1 if pool.ceil else 0)) // s
        if any(pool.pad):
            count = minimum(count, (lift(size) + (pad - 1)) // s)
        beyond = as_dim(maximum(count * s - room, 0))
        around.append((pad, as_dim(lift(beyond) + pad)))
        extra.append(beyond)
    return around, extra


def _pooled(x: Value, pool: _Pool) -> Value:
    around, extra = _around(x, pool)
    y = channels_last(x)
    no = [1] * len(pool.kernel)
    # Without padding Caffe keeps a window that begins beyond the image: it finds nothing there.
    empty = any(isinstance(e, int) and e >= k for e, k in zip(extra, pool.kernel))
    if pool.method == "MAX":
        y = ops.max_pool(y, pool.kernel, pool.stride, around, no)
        return channels_first(ops.clamp(y, LOWEST) if empty else y)
    if empty:
        raise UnsupportedError("windows of the average lie beyond the image")
    if pool.method == "AVE":
        y = ops.average_pool(y, pool.kernel, pool.stride, around, no, True, extra)
        return channels_first(y)
    if any(pool.pad):
        raise ModelError("padding is for maximum and average pooling")
    square, plain = (
        ops.average_pool(v, pool.kernel, pool.stride, around, no) for v in (ops.mul(y, y), y)
    )
    return channels_first(_stochastic(square, plain))


def _stochastic(square: Value, plain: Value) -> Value:
    """The mean of a window weighted by its own elements (Zeiler and Fergus, 2013)."""
    some = ops.greater(plain, 0.0)
    return ops.where(some, ops.div(square, ops.where(some, plain, constant(1.0, "f32"))), 0.0)


def _pooled_with_positions(x: Value, pool: _Pool) -> list[Value]:
    """The maxima and their positions h * W + w as numbers, the first among equals."""
    if pool.method != "MAX":
        raise ModelError("only maximum pooling has a second top")
    around, _ = _around(x, pool)
    n, c, _, width = x.shape
    before, after = ([0, 0, *(pair[side] for pair in around)] for side in (0, 1))
    w = ops.windows(
        ops.pad(x, before, after, value=LOWEST), (2, 3), pool.kernel, pool.stride, (1, 1)
    )
    oh, ow = w.shape[2:4]
    w = ops.reshape(w, (n, c, oh, ow, pool.kernel[0] * pool.kernel[1]))
    best = ops.cast(ops.reshape(ops.reduce(w, "argmax", [4]), (n, c, oh, ow)), "i32")
    row = ops.div(best, pool.kernel[1])
    column = ops.sub(best, ops.mul(row, pool.kernel[1]))
    for axis, k in ((2, 0), (3, 1)):
        shape: list[Dim] = [1, 1, 1, 1]
        shape[axis] = (oh, ow)[k]
        start = ops.sub(ops.mul(ops.iota(shape, axis), pool.stride[k]), pool.pad[k])
        row, column = (ops.add(row, start), column) if axis == 2 else (row, ops.add(column, start))
    at = ops.add(ops.mul(row, ops.cast(ops.ints(width, "i64"), "i32")), column)
    return [ops.reshape(ops.reduce_max(w, [4]), (n, c, oh, ow)), ops.cast(at, "f32")]


def SPP(layer: Layer, x: Value) -> Value:
    """Pools in 1, 4, 16 ... bins, flattened and joined (He et al., arXiv 1406.4729)."""
    p = layer.param("spp_param")
    method = p.choice("pool", ("MAX", "AVE", "STOCHASTIC"), "MAX")
    levels = p.integer("pyramid_height", 0, 1, 12)
    if not levels:
        raise ModelError("pyramid_height is missing")
    if x.rank != 4:
        raise ModelError(f"a blob of four axes expected, found {type_text(x)}")
    sizes = [ops.static(d, "the image that spatial pyramid pooling divides") for d in x.shape[2:]]
    parts = []
    for level in range(levels):
        bins = 2**level
        kernel = [-(-size // bins) for size in sizes]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, sizes)]
        y = _pooled(x, _Pool(method, kernel, kernel, pad))
        parts.append(ops.reshape(y, (x.shape[0], ops.product(y.shape[1:]))))
    return ops.concat(parts, 1)


# ---- sizes ---------------------------------------------------------------------------------------


def Upsample(layer: Layer, *xs: Value) -> Value:
    """Each element `scale` times; with a second bottom, each maximum at its place (SegNet)."""
    p = layer.param("upsample_param")
    scale = p.number("scale", 0) or p.integer("stride", 0, 0) or (1 if len(xs) < 2 else 2)
    times = int(scale)
    if times != scale or times < 1:
        raise UnsupportedError(f"scale {scale}: a whole number expected")
    x = xs[0]
    if x.rank != 4:
        raise ModelError(f"a blob of four axes expected, found {type_text(x)}")
    large = ops.repeat(ops.repeat(x, times, 2), times, 3)
    if len(xs) == 1:
        return large
    _, mask = one(xs, 2)
    same_shapes(xs)
    h = p.integer("upsample_h", 0, 0) or large.shape[2]
    w = p.integer("upsample_w", 0, 0) or large.shape[3]
    at = ops.repeat(ops.repeat(mask, times, 2), times, 3)
    if not (ops.same(h, large.shape[2]) and ops.same(w, large.shape[3])):
        # An odd image had a last window that was cut off.
        large, at = (ops.slice_(v, [0] * 4, (*v.shape[:2], h, w)) for v in (large, at))
    row = ops.mul(ops.iota((h, 1), 0), ops.cast(ops.ints(w, "i64"), "i32"))
    here = ops.cast(ops.add(row, ops.iota((1, w), 1)), "f32")
    return ops.where(ops.equal(at, along(here, 2, 4)), large, 0.0)


def Interp(layer: Layer, *xs: Value) -> Value:
    """Bilinear with corners aligned, to a size, by a factor, or like a second bottom (DeepLab)."""
    p = layer.param("interp_param")
    x = xs[0]
    if x.rank != 4:
        raise ModelError(f"a blob of four axes expected, found {type_text(x)}")
    before, after = p.integer("pad_beg", 0, high=0), p.integer("pad_end", 0, high=0)
    x = ops.pad(x, [0, 0, before, before], [0, 0, after, after])
    zoom, shrink = p.integer("zoom_factor", 0, 1), p.integer("shrink_factor", 0, 1)
    size = [p.integer("height", 0, 1), p.integer("width", 0, 1)]
    for k, axis in enumerate((2, 3)):
        out: Any = lift(x.shape[axis])
        if len(xs) > 1:
            out = xs[1].shape[axis]
        elif zoom or shrink:
            out = (out - 1) // shrink + 1 if shrink else out
            out = out + (out - 1) * (zoom - 1) if zoom else out
        elif all(size):
            out = size[k]
        else:
            raise ModelError("height and width, zoom_factor or shrink_factor expected")
        x = ops.resize(x, axis, as_dim(out), coordinates="align_corners")
    return x
