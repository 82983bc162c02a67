"""Chainer's convolutions, pooling, recurrent and region functions in terms of ours.

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (1, 4, 5, 5), "f32")
    >>> MaxPoolingND(x, ksize=(2, 2), stride=(2, 2), pad=(0, 0), cover_all=True).shape
    (1, 4, 3, 3)

Those for two axes are those for any number of them by other names of their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import limits, ops
from ...errors import UnsupportedError
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant
from .. import windows
from ..arrays import channels_first, channels_last
from ..sequences import Cell, mask_of, run
from ..windows import Window

Attr = Any


def _window(
    x: Value, ksize: Sequence[Dim], stride: Sequence[int], pad: Sequence[int], dilate: Attr = None,
    cover_all: bool = False,
) -> Window:  # fmt: skip
    """The windows over x [N, C, spatial...].

    cover_all: with windows until every element is in one: that is a padding of stride - 1 more
    behind, of which windows that do not fit are left out.
    """
    extra = [s - 1 if cover_all else 0 for s in stride]
    pads = [(p, p + more) for p, more in zip(pad, extra)]
    return replace(windows.window(x.shape[2:], ksize, stride, dilate, pads), extra=extra)


# ---- products and convolutions ------------------------------------------------------------------


def LinearFunction(x: Value, W: Value, b: Value | None = None) -> Value:
    y = ops.matmul(x, ops.transpose(W, (1, 0)))
    return y if b is None else ops.add(y, b)


def BilinearFunction(e1: Value, e2: Value, W: Value, *rest: Value) -> Value:
    """sum over j, k of e1[j] e2[k] W[j, k]; and e1 V1 + e2 V2 + b."""
    left, right = (ops.reshape(e, (e.shape[0], ops.product(e.shape[1:]))) for e in (e1, e2))
    j, k, m = W.shape
    pairs = ops.mul(ops.unsqueeze(left, [2]), ops.unsqueeze(right, [1]))
    depth = ops.product([j, k])
    y = ops.matmul(ops.reshape(pairs, (left.shape[0], depth)), ops.reshape(W, (depth, m)))
    if rest:
        v1, v2, b = rest
        y = ops.add(ops.add(y, ops.matmul(left, v1)), ops.add(ops.matmul(right, v2), b))
    return y


def SimplifiedDropconnect(
    x: Value, W: Value, b: Value | None = None, *, ratio: float, mask: Attr = None
) -> Value:
    x = ops.reshape(x, (x.shape[0], ops.product(x.shape[1:])))
    if mask is None:
        if ratio:
            raise UnsupportedError("it draws random numbers: call it with train=False")
        return LinearFunction(x, W, b)
    weights = ops.mul(ops.mul(W, 1 / (1 - ratio)), ops.cast(mask, W.dtype))
    if mask.rank == 2:
        return LinearFunction(x, weights, b)
    y = ops.squeeze(ops.matmul(weights, ops.unsqueeze(x, [2])), [2])
    return y if b is None else ops.add(y, b)


def ConvolutionND(
    x: Value, W: Value, b: Value | None = None, *, stride: Sequence[int], pad: Sequence[int],
    cover_all: bool, dilate: Attr = None, groups: int = 1,
) -> Value:  # fmt: skip
    return windows.conv(x, W, b, _window(x, W.shape[2:], stride, pad, dilate, cover_all), groups)


def Convolution2DFunction(
    x: Value, W: Value, b: Value | None = None, *, sy: int, sx: int, ph: int, pw: int,
    cover_all: bool = False, dy: int = 1, dx: int = 1, groups: int = 1,
) -> Value:  # fmt: skip
    w = _window(x, W.shape[2:], (sy, sx), (ph, pw), (dy, dx), cover_all)
    return windows.conv(x, W, b, w, groups)


DilatedConvolution2DFunction = Convolution2DFunction


def DeconvolutionND(
    x: Value, W: Value, b: Value | None = None, *, stride: Sequence[int], pad: Sequence[int],
    outs: Attr = None, dilate: Attr = None, groups: int = 1,
) -> Value:  # fmt: skip
    w = _window(x, W.shape[2:], stride, pad, dilate)
    outs = outs or [None] * w.rank
    extra = []
    for k, (size, out) in enumerate(zip(x.shape[2:], outs)):
        more = 0 if out is None else as_dim(lift(out) - windows.transposed_size(w, k, size))
        # a size that is open leaves open how much more: as much as there can be, and cut
        extra.append(more if isinstance(more, int) else w.strides[k] - 1)
    return windows.conv_transpose(x, W, b, w, groups, extra, outs)


def Deconvolution2DFunction(
    x: Value, W: Value, b: Value | None = None, *, sy: int, sx: int, ph: int, pw: int,
    outh: Dim | None, outw: Dim | None, dy: int = 1, dx: int = 1, groups: int = 1,
) -> Value:  # fmt: skip
    return DeconvolutionND(
        x, W, b, stride=(sy, sx), pad=(ph, pw), outs=(outh, outw), dilate=(dy, dx), groups=groups
    )


def LocalConvolution2DFunction(
    x: Value, W: Value, b: Value | None = None, *, sy: int, sx: int
) -> Value:
    """Filters of its own for each position: as many matrix products as positions."""
    m, oh, ow, c, kh, kw = W.shape
    patches = windows.patches(x, windows.window(x.shape[2:], (kh, kw), (sy, sx)))
    patches = ops.slice_axis(ops.slice_axis(patches, 2, 0, oh), 3, 0, ow)
    n, depth, places = x.shape[0], ops.product([c, kh, kw]), ops.product([oh, ow])
    rows = ops.reshape(ops.transpose(patches, (2, 3, 0, 1, 4, 5)), (places, n, depth))
    filters = ops.reshape(ops.transpose(W, (1, 2, 3, 4, 5, 0)), (places, depth, m))
    y = ops.transpose(ops.reshape(ops.matmul(rows, filters), (oh, ow, n, m)), (2, 3, 0, 1))
    return y if b is None else ops.add(y, b)


def Shift(x: Value, *, kh: int, kw: int, dy: int, dx: int) -> Value:
    """Groups of channels, each moved by a step of its own (Wu et al., arXiv 1711.08141)."""
    n, c, h, w = x.shape
    py, px = kh // 2 * abs(dy), kw // 2 * abs(dx)
    wide = ops.pad(x, (0, 0, py, px), (0, 0, py, px))
    count = kh * kw
    middle, last = (count - 1) // 2, count - 1
    each = ops.static(c, "the number of channels") // count
    parts = []
    for k in range(count):
        place = {middle: last, last: middle}.get(k, k)  # the largest group does not move
        top = py - (place // kw - py // abs(dy)) * dy
        left = px - (place % kw - px // abs(dx)) * dx
        size = as_dim(lift(c) - each * last) if k == last else each
        parts.append(ops.slice_(wide, (0, each * k, top, left), (n, size, h, w)))
    return ops.concat(parts, 1)


def Im2Col(
    x: Value, *, kh: int, kw: int, sy: int, sx: int, ph: int, pw: int, cover_all: bool, dy: int,
    dx: int,
) -> Value:  # fmt: skip
    return windows.im2col(x, _window(x, (kh, kw), (sy, sx), (ph, pw), (dy, dx), cover_all))


# ---- pooling ------------------------------------------------------------------------------------


def _whole(x: Value, ksize: Sequence[Dim], pad: Sequence[int]) -> bool:
    """Whether the one window is the picture: its size may be open then."""
    return not any(pad) and all(ops.same(k, d) for k, d in zip(ksize, x.shape[2:]))


def MaxPoolingND(
    x: Value, *, ksize: Sequence[int], stride: Sequence[int], pad: Sequence[int], cover_all: bool,
    return_indices: bool = False,
) -> Value | list[Value]:  # fmt: skip
    if _whole(x, ksize, pad) and not return_indices:
        return ops.reduce_max(x, range(2, x.rank))
    w = _window(x, ksize, stride, pad, None, cover_all)
    y = windows.max_pool(x, w)
    if not return_indices:
        return y
    places = windows.patches(x, w, float("-inf"))
    flat = ops.reshape(places, (*places.shape[: x.rank], ops.product(w.kernel)))
    return [y, ops.squeeze(ops.reduce(flat, "argmax", [x.rank]), [x.rank])]


def MaxPooling2D(
    x: Value, *, kh: int, kw: int, sy: int, sx: int, ph: int, pw: int, cover_all: bool,
    return_indices: bool = False,
) -> Value | list[Value]:  # fmt: skip
    return MaxPoolingND(
        x, ksize=(kh, kw), stride=(sy, sx), pad=(ph, pw), cover_all=cover_all,
        return_indices=return_indices,
    )  # fmt: skip


def AveragePoolingND(
    x: Value, *, ksize: Sequence[int], stride: Sequence[int], pad: Sequence[int],
    cover_all: bool = False, pad_value: Attr = 0,
) -> Value:  # fmt: skip
    if _whole(x, ksize, pad):
        return ops.reduce_mean(x, range(2, x.rank))
    w = _window(x, ksize, stride, pad, None, cover_all)
    return windows.average_pool(x, w, include_pad=pad_value is not None)


def AveragePooling2D(x: Value, *, kh: int, kw: int, sy: int, sx: int, ph: int, pw: int) -> Value:
    return AveragePoolingND(x, ksize=(kh, kw), stride=(sy, sx), pad=(ph, pw))


def _placed(x: Value, axis: int, k: int, stride: int, offset: int) -> Value:
    """Elements `stride` apart along an axis, where windows of k have their element `offset`."""
    factors = [stride if a == axis else 1 for a in range(x.rank)]
    before = [offset if a == axis else 0 for a in range(x.rank)]
    after = [k - 1 - offset if a == axis else 0 for a in range(x.rank)]
    return ops.pad(ops.dilate(x, factors), before, after)


def _cut(x: Value, axis: int, pad: int, size: Dim) -> Value:
    """`size` elements from `pad` on, zeros where there are none."""
    have = x.shape[axis]
    before = [-pad if a == axis else 0 for a in range(x.rank)]
    after = [as_dim(lift(size) + pad - have) if a == axis else 0 for a in range(x.rank)]
    if isinstance(after[axis], int):
        return ops.pad(x, before, after)
    return ops.slice_axis(x, axis, pad, size)


def _unpooled(x: Value, w: Window, outs: Attr) -> list[Dim]:
    """The sizes that are given, or those that pooling through w would have come from."""
    return [
        windows.transposed_size(w, k, size) if out is None else out
        for k, (size, out) in enumerate(zip(x.shape[2:], outs or [None] * w.rank))
    ]


def UnpoolingND(
    x: Value, *, ksize: Sequence[int], stride: Sequence[int], pad: Sequence[int], cover_all: bool,
    outs: Attr = None,
) -> Value:  # fmt: skip
    """Each element spread over its window; where windows overlap they add up."""
    sizes = _unpooled(x, _window(x, ksize, stride, pad, None, cover_all), outs)
    for axis, (k, s, p, size) in enumerate(zip(ksize, stride, pad, sizes), 2):
        if k == s:
            wide = ops.repeat(x, k, axis)
        else:
            wide = _placed(x, axis, k, s, 0)
            for offset in range(1, k):
                wide = ops.add(wide, _placed(x, axis, k, s, offset))
        x = _cut(wide, axis, p, size)
    return x


def Unpooling2D(
    x: Value, *, kh: int, kw: int, sy: int, sx: int, ph: int, pw: int, cover_all: bool,
    outh: Dim | None, outw: Dim | None,
) -> Value:  # fmt: skip
    return UnpoolingND(
        x, ksize=(kh, kw), stride=(sy, sx), pad=(ph, pw), cover_all=cover_all, outs=(outh, outw)
    )


def Upsampling2D(
    x: Value, *, indexes: Value, kh: int, kw: int, sy: int, sx: int, ph: int, pw: int,
    cover_all: bool, outh: Dim | None, outw: Dim | None,
) -> Value:  # fmt: skip
    """Each element at the place in its window that a maximum had; overlapping windows add up."""
    w = _window(x, (kh, kw), (sy, sx), (ph, pw), None, cover_all)
    height, width = _unpooled(x, w, (outh, outw))
    at = ops.cast(indexes, "i64")
    total: Value | None = None
    for place in range(kh * kw):
        chosen = ops.where(ops.equal(at, constant(place, "i64")), x, constant(0, x.dtype))
        part = _placed(chosen, 2, kh, sy, place // kw)
        part = _placed(part, 3, kw, sx, place % kw)
        total = part if total is None else ops.add(total, part)
    assert total is not None
    return _cut(_cut(total, 2, ph, height), 3, pw, width)


# ---- resampling ---------------------------------------------------------------------------------


def ResizeImages(
    x: Value, *, out_H: Dim, out_W: Dim, mode: str = "bilinear", align_corners: bool = True
) -> Value:
    y = channels_last(x)
    for axis, out in ((1, out_H), (2, out_W)):
        size = y.shape[axis]
        if mode == "nearest" and isinstance(size, int) and isinstance(out, int):
            limits.make(4 * 8 * out, f"a picture resized to {out}")
            at = np.minimum(np.floor(np.arange(out) * (size / out)), size - 1)
            y = ops.gather(y, constant(at.astype(np.int64)), axis) if out != size else y
        elif mode == "nearest":
            y = ops.resize(y, axis, out, mode="nearest", coordinates="asymmetric", rounding="floor")
        else:
            coordinates = "align_corners" if align_corners else "half_pixel"
            y = ops.resize(y, axis, out, mode="linear", coordinates=coordinates)
    return channels_first(y)


def SpatialTransformerGrid(theta: Value, *, output_shape: Sequence[Dim]) -> Value:
    h, w = (ops.static(d, "the size of the grid") for d in output_shape)
    limits.make(8 * 8 * h * w, f"a grid of {h} by {w}")
    ys, xs = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij")
    places = np.stack([xs, ys, np.ones((h, w))]).reshape(3, h * w).astype(np.float32)
    return ops.reshape(ops.matmul(theta, constant(places)), (theta.shape[0], 2, h, w))


def SpatialTransformerSampler(x: Value, grid: Value) -> Value:
    grid = ops.transpose(grid, (0, 2, 3, 1))
    return channels_first(ops.grid_sample(channels_last(x), grid, align_corners=True))


# ---- regions of interest ------------------------------------------------------------------------


def _roi_pool(
    x: Value, rois: Value, index: Value, order: Sequence[int], more: int, outs: tuple[int, int],
    scale: float, mode: str = "max", empty: float = 0.0,
) -> Value:  # fmt: skip
    """rois [R, 4 or 5], whose columns `order` are x0, y0, x1, y1 [and `more` at their ends].

    chainer rounds halves to even numbers, so corners come rounded.
    """
    corners = ops.gather(rois, constant(np.array(order, np.int64)), 1)
    corners = ops.round_(ops.mul(corners, float(scale)))
    if more:
        corners = ops.add(corners, constant(np.array([0, 0, more, more], np.float32), rois.dtype))
    image = ops.unsqueeze(ops.cast(index, rois.dtype), [1])
    boxes = ops.concat([image, corners], 1)
    return channels_first(ops.roi_pool(channels_last(x), boxes, *outs, 1.0, mode, empty))


def ROIPooling2D(x: Value, rois: Value, *, outh: int, outw: int, spatial_scale: float) -> Value:
    """rois [R, (image, x_min, y_min, x_max, y_max)], both ends inside; empty bins give 0."""
    index = ops.squeeze(ops.slice_axis(rois, 1, 0, 1), [1])
    return _roi_pool(x, rois, index, (1, 2, 3, 4), 0, (outh, outw), spatial_scale)


def ROIMaxPooling2D(
    x: Value, rois: Value, index: Value, *, outh: int, outw: int, spatial_scale: float
) -> Value:
    """rois [R, (y_min, x_min, y_max, x_max)], the last of them outside."""
    order, empty = (1, 0, 3, 2), float("-inf")
    return _roi_pool(x, rois, index, order, -1, (outh, outw), spatial_scale, "max", empty)


def ROIAveragePooling2D(
    x: Value, rois: Value, index: Value, *, outh: int, outw: int, spatial_scale: float
) -> Value:
    """rois [R, (y_min, x_min, y_max, x_max)], the last of them outside."""
    return _roi_pool(x, rois, index, (1, 0, 3, 2), -1, (outh, outw), spatial_scale, "avg")


def _roi_align(
    x: Value, rois: Value, index: Value, outs: tuple[int, int], scale: float, ratio: Attr, mode: str
) -> Value:
    boxes = ops.gather(rois, constant(np.array([1, 0, 3, 2], np.int64)), 1)
    down, across = (r or 0 for r in ratio)
    y = ops.roi_align(channels_last(x), boxes, index, *outs, scale, (down, across), False, mode)
    return channels_first(y)


def ROIAverageAlign2D(
    x: Value, rois: Value, index: Value, *, outh: int, outw: int, spatial_scale: float,
    sampling_ratio: Attr,
) -> Value:  # fmt: skip
    """rois [R, (y_min, x_min, y_max, x_max)]; a ratio of None: as many samples as pixels."""
    return _roi_align(x, rois, index, (outh, outw), spatial_scale, sampling_ratio, "avg")


def ROIMaxAlign2D(
    x: Value, rois: Value, index: Value, *, outh: int, outw: int, spatial_scale: float,
    sampling_ratio: Attr,
) -> Value:  # fmt: skip
    """rois [R, (y_min, x_min, y_max, x_max)]; a ratio of None: as many samples as pixels."""
    return _roi_align(x, rois, index, (outh, outw), spatial_scale, sampling_ratio, "max")


# ---- recurrent cells ----------------------------------------------------------------------------


def _gates(x: Value, count: int, interleaved: bool) -> list[Value]:
    """The parts of x along its second axis: one of each unit after the other, or of each gate."""
    n, width, *rest = x.shape
    units = as_dim(lift(width) // count)
    shape = (n, units, count, *rest) if interleaved else (n, count, units, *rest)
    y = ops.reshape(x, shape)
    axis = 2 if interleaved else 1
    return [ops.squeeze(ops.slice_axis(y, axis, k, 1), [axis]) for k in range(count)]


def LSTM(c_prev: Value, x: Value) -> list[Value]:
    """Rows of c beyond those of x are carried over."""
    a, i, f, o = _gates(x, 4, True)
    batch = x.shape[0]
    old = ops.slice_axis(c_prev, 0, 0, batch)
    new = ops.add(ops.mul(ops.tanh_(a), ops.sigmoid(i)), ops.mul(ops.sigmoid(f), old))
    h = ops.mul(ops.sigmoid(o), ops.tanh_(new))
    rest = as_dim(lift(c_prev.shape[0]) - batch)
    if not ops.same(rest, 0):
        new = ops.concat([new, ops.slice_axis(c_prev, 0, batch, rest)], 0)
    return [new, h]


def SLSTM(c_prev1: Value, c_prev2: Value, x1: Value, x2: Value) -> list[Value]:
    a1, i1, f1, o1 = _gates(x1, 4, True)
    a2, i2, f2, o2 = _gates(x2, 4, True)
    first = ops.add(ops.mul(ops.tanh_(a1), ops.sigmoid(i1)), ops.mul(ops.sigmoid(f1), c_prev1))
    second = ops.add(ops.mul(ops.tanh_(a2), ops.sigmoid(i2)), ops.mul(ops.sigmoid(f2), c_prev2))
    c = ops.add(first, second)
    return [c, ops.mul(ops.sigmoid(ops.add(o1, o2)), ops.tanh_(c))]


def TreeLSTM(*inputs: Value) -> list[Value]:
    *cells, x = inputs
    a, i, o, *forget = _gates(x, 3 + len(cells), False)
    c = ops.mul(ops.tanh_(a), ops.sigmoid(i))
    for f, cell in zip(forget, cells):
        c = ops.add(c, ops.mul(ops.sigmoid(f), cell))
    return [c, ops.mul(ops.sigmoid(o), ops.tanh_(c))]


# The gates of chainer's weights w0, w1 ... in the order of ours.
_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}


def NStep(
    *inputs: Value, kind: str, layers: int, directions: int, initial: Sequence[bool],
    sequences: bool,
) -> list[Value]:  # fmt: skip
    """Layers of recurrent cells over sequences of any lengths.

    inputs: the initial states (h, and c of an lstm) that are given, [layers * directions, B, H];
    the weights and then the biases of each layer; the inputs. `sequences`: these are B sequences
    [T, I]; else they are T steps [B_t, I], B_t never growing. Results: the last states, then the
    sequences or the steps.
    """
    order = _ORDER[kind]
    count, runs = len(order), layers * directions
    rest = list(inputs)
    states: list[Value | None] = [rest.pop(0) if given else None for given in initial]
    take = 2 * count * runs
    weights, biases, xs = rest[:take], rest[take : 2 * take], rest[2 * take :]
    if sequences:
        lengths = [x.shape[0] for x in xs]
        uneven = not all(ops.same(n, lengths[0]) for n in lengths)
        longest = max(ops.static(n, "a length") for n in lengths) if uneven else lengths[0]
        rows = [_cut(x, 0, 0, longest) for x in xs]
        x = ops.concat([ops.unsqueeze(r, [0]) for r in rows], 0)  # [B, T, I]
    else:
        sizes = [s.shape[0] for s in xs]
        uneven = not all(ops.same(n, sizes[0]) for n in sizes)
        x = ops.concat([ops.unsqueeze(_cut(s, 0, 0, sizes[0]), [1]) for s in xs], 1)
        lengths = []
        if uneven:
            known = [ops.static(n, "the number of sequences") for n in sizes]
            lengths = [sum(n > b for n in known) for b in range(known[0])]
    mask = None
    if uneven:
        whole = max(ops.static(n, "a length") for n in lengths)
        mask = mask_of(constant(np.array(lengths, np.int64)), whole)
    last: list[list[Value]] = [[] for _ in initial]
    for layer in range(layers):
        outs = []
        for way in range(directions):
            k = layer * directions + way
            w, b = (v[2 * count * k : 2 * count * (k + 1)] for v in (weights, biases))
            first = [None if s is None else ops.squeeze(ops.slice_axis(s, 0, k, 1), [0])
                     for s in states]  # fmt: skip
            done = run(_cell(kind, w, b), x, first, mask=mask, reverse=way == 1)
            outs.append(done.outputs)
            for states_of, h in zip(last, done.states):
                states_of.append(h)
        x = ops.concat(outs, 2)
    final = [ops.concat([ops.unsqueeze(h, [0]) for h in hs], 0) for hs in last]
    if sequences:
        every = [ops.squeeze(ops.slice_(x, (b, 0, 0), (1, n, x.shape[2])), [0])
                 for b, n in enumerate(lengths)]  # fmt: skip
    else:
        every = [ops.squeeze(ops.slice_(x, (0, t, 0), (n, 1, x.shape[2])), [1])
                 for t, n in enumerate(sizes)]  # fmt: skip
    return [*final, *every]


def _cell(kind: str, w: Sequence[Value], b: Sequence[Value]) -> Cell:
    """The cell of one layer in one direction: the gates' weights and biases come one by one."""
    order = _ORDER[kind]

    def joined(parts: Sequence[Value], start: int) -> Value:
        return ops.concat([parts[start + k] for k in order], 0)

    kernel, recurrent = (ops.transpose(joined(w, k), (1, 0)) for k in (0, len(order)))
    bias, inner = (joined(b, k) for k in (0, len(order)))
    name, _, activation = kind.partition("_")
    functions = (activation,) if activation else ()
    return Cell(name, kernel, recurrent, bias, inner, functions)
