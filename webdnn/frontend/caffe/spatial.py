"""Caffe's layers that look at windows of an image: convolutions, pooling, and changes of its size.

Sizes follow Caffe's rules: convolutions round down, pooling rounds up and may drop a last window
that begins in the padding. Sources as in `layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant, type_text
from .. import windows
from ..windows import Window
from .layer import Layer, axis_of, each, gathered, one, same_shapes
from .text import Message

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
    if axis + 1 == x.rank:
        raise ModelError(f"{type_text(x)} has no spatial axes after channel axis {axis}")
    channels = ops.static(x.shape[axis], "the number of channels")
    outputs = p.integer("num_output", channels if depthwise else 0, 1)
    if outputs < 1:
        raise ModelError("num_output is missing")
    w = _window(p, x.shape[axis + 1 :], dilated=True)
    groups = channels if depthwise else p.integer("group", 1, 1)
    if depthwise:
        p.integer("group", 1)
    if channels % groups or outputs % groups:
        raise ModelError(f"{channels} channels and {outputs} outputs in {groups} groups")
    sizes = (channels, outputs // groups) if transposed else (outputs, channels // groups)
    filters = layer.blob(0, (*sizes, *w.kernel), "the filters")
    bias = layer.blob(1, (outputs,), "the bias") if p.flag("bias_term", True) else None
    convolve = windows.conv_transpose if transposed else windows.conv
    y = convolve(gathered(x, axis), filters, bias, w, groups)
    return ops.reshape(y, (*x.shape[:axis], *y.shape[1:]))


def Im2col(layer: Layer, *xs: Value) -> list[Value]:
    """[N, C, H, W] -> [N, C * KH * KW, OH, OW]: the windows of a convolution as columns."""
    p = layer.param("convolution_param")
    first = [axis_of(p, "axis", 1, x) + 1 for x in xs]
    return [windows.im2col(x, _window(p, x.shape[a:], dilated=True)) for x, a in zip(xs, first)]


def _window(p: Message, sizes: Sequence[Dim], dilated: bool) -> Window:
    """The windows over spatial axes of these sizes that the parameters mean."""
    rank = len(sizes)
    kernel, stride = each(p, "kernel_size", rank, None, 1), each(p, "stride", rank, 1, 1)
    pad = each(p, "pad", rank, 0, 0)
    dilation = each(p, "dilation", rank, 1, 1) if dilated else None
    return windows.window(sizes, kernel, stride, dilation, [(n, n) for n in pad])


# ---- pooling -------------------------------------------------------------------------------------


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
    w = _rounded(_window(p, x.shape[2:], dilated=False), x.shape[2:], ceil)
    return _pooled_with_positions(x, method, w) if masked else _pooled(x, method, w)


def _rounded(w: Window, sizes: Sequence[Dim], ceil: bool = True) -> Window:
    """With padding for a last, partial window.

    Where there is padding anyway, a last window that begins beyond the image and its first padding
    is dropped.
    """
    for k, (pad, _) in zip(w.kernel, w.pads):
        if pad >= k:
            raise ModelError(f"pad {pad} is not smaller than the kernel {k}")
    return windows.ceil_mode(w, sizes, drop=_padded(w)) if ceil else w


def _padded(w: Window) -> bool:
    return any(before != 0 for before, _ in w.pads)


def _pooled(x: Value, method: str, w: Window) -> Value:
    # Without padding Caffe keeps a window that begins beyond the image: it finds nothing there.
    empty = any(isinstance(e, int) and e >= k for e, k in zip(w.extra, w.kernel))
    if method == "MAX":
        y = windows.max_pool(x, w)
        return ops.clamp(y, LOWEST) if empty else y
    if empty:
        raise UnsupportedError("windows of the average lie beyond the image")
    if method == "AVE":
        return windows.average_pool(x, w, include_pad=True)
    if _padded(w):
        raise ModelError("padding is for maximum and average pooling")
    return _stochastic(*(windows.average_pool(v, w) for v in (ops.mul(x, x), x)))


def _stochastic(square: Value, plain: Value) -> Value:
    """The mean of a window weighted by its own elements (Zeiler and Fergus, 2013)."""
    some = ops.greater(plain, 0.0)
    return ops.where(some, ops.div(square, ops.where(some, plain, constant(1.0, "f32"))), 0.0)


def _pooled_with_positions(x: Value, method: str, w: Window) -> list[Value]:
    """The maxima and their positions h * W + w as numbers, the first among equals."""
    if method != "MAX":
        raise ModelError("only maximum pooling has a second top")
    n, c, _, width = x.shape
    seen = windows.patches(x, w, LOWEST)
    oh, ow = seen.shape[2:4]
    seen = ops.reshape(seen, (n, c, oh, ow, w.kernel[0] * w.kernel[1]))
    best = ops.cast(ops.reshape(ops.reduce(seen, "argmax", [4]), (n, c, oh, ow)), "i32")
    row = ops.div(best, w.kernel[1])
    column = ops.sub(best, ops.mul(row, w.kernel[1]))
    for axis, k in ((2, 0), (3, 1)):
        shape: list[Dim] = [1, 1, 1, 1]
        shape[axis] = (oh, ow)[k]
        start = ops.sub(ops.mul(ops.iota(shape, axis), w.strides[k]), w.pads[k][0])
        row, column = (ops.add(row, start), column) if axis == 2 else (row, ops.add(column, start))
    at = ops.add(ops.mul(row, ops.cast(ops.ints(width, "i64"), "i32")), column)
    return [ops.reshape(ops.reduce_max(seen, [4]), (n, c, oh, ow)), ops.cast(at, "f32")]


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
        w = windows.window(sizes, kernel, kernel, pads=[(n, n) for n in pad])
        y = _pooled(x, method, _rounded(w, sizes))
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
    return ops.where(ops.equal(at, ops.along(here, 2, 4)), large, 0.0)


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
