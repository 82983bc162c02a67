"""Convolutions whose windows are anywhere: ONNX's DeformConv.

    >>> from webdnn.graph import placeholder
    >>> x, w = placeholder("x", (1, 2, 5, 5), "f32"), placeholder("w", (3, 2, 2, 2), "f32")
    >>> DeformConv(x, w, placeholder("o", (1, 8, 4, 4), "f32")).shape
    (1, 3, 4, 4)

What each place of a filter sees is sampled between pixels, then multiplied as one matrix.
Limits: images of two axes, as everywhere that has the operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import ops
from ...errors import ModelError
from ...graph import Value, constant, type_text
from ..arrays import channels_last


def DeformConv(
    x: Value,
    w: Value,
    offset: Value,
    b: Value | None = None,
    mask: Value | None = None,
    *,
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    offset_group: int = 1,
    pads: Sequence[int] = (0, 0, 0, 0),
    strides: Sequence[int] = (1, 1),
) -> Value:
    if x.rank != 4 or w.rank != 4 or offset.rank != 4 or len(pads) != 4:
        raise ModelError(
            f"{type_text(x)}, {type_text(w)}, {type_text(offset)}: images of two axes expected"
        )
    kernel = [ops.static(d, "the filter's size") for d in w.shape[2:]]
    taps = kernel[0] * kernel[1]
    n, channels = x.shape[0], ops.static(x.shape[1], "the number of channels")
    filters = ops.static(w.shape[0], "the number of filters")
    space = offset.shape[2:]
    wanted = (n, offset_group * taps * 2, *space)
    if not all(map(ops.same, offset.shape, wanted)) or channels % offset_group:
        raise ModelError(f"offset {type_text(offset)}: {list(map(str, wanted))} expected")
    # [N, groups, taps, 2, OH, OW]: where each tap of each window looks
    moved = ops.reshape(offset, (n, offset_group, taps, 2, *space))
    parts = []
    for axis in range(2):
        tap = np.indices(kernel)[axis].reshape(1, 1, taps, 1, 1) * dilations[axis]
        line = ops.iota([d if k == axis else 1 for k, d in enumerate(space)], axis, "f32")
        base = ops.add(ops.mul(line, float(strides[axis])), float(-pads[axis]))
        own = ops.squeeze(ops.slice_axis(moved, 3, axis, 1), [3])
        at = ops.add(ops.add(own, base), constant(tap.astype(np.float32), "f32"))
        parts.append(at)
    each = channels // offset_group
    seen = []
    for g in range(offset_group):
        rows, columns = (ops.squeeze(ops.slice_axis(p, 1, g, 1), [1]) for p in parts)
        image = channels_last(ops.slice_axis(x, 1, g * each, each))
        y = _between(image, rows, columns)
        if mask is not None:
            factor = ops.slice_axis(mask, 1, g * taps, taps)
            y = ops.mul(y, ops.unsqueeze(factor, [4]))
        seen.append(y)
    whole = ops.concat(seen, 4)  # [N, taps, OH, OW, C]
    depth = channels // group
    whole = ops.reshape(whole, (n, taps, *space, group, depth))
    whole = ops.transpose(whole, (0, 4, 2, 3, 5, 1))  # [N, group, OH, OW, C, taps]
    flat = ops.reshape(whole, (n, group, ops.product(space), depth * taps))
    weights = ops.reshape(w, (1, group, filters // group, depth * taps))
    y = ops.matmul(flat, ops.transpose(weights, (0, 1, 3, 2)))  # [N, group, OH * OW, M]
    y = ops.reshape(ops.transpose(y, (0, 1, 3, 2)), (n, filters, *space))
    return y if b is None else ops.add(y, ops.along(b, 1, 4))


def _between(image: Value, rows: Value, columns: Value) -> Value:
    """[N, H, W, C] at places [N, ...] between pixels: [N, ..., C], which is 0 outside."""
    height, width = image.shape[1:3]
    low, left = ops.floor_(rows), ops.floor_(columns)
    flat = ops.reshape(image, (image.shape[0], ops.product((height, width)), image.shape[3]))
    out: Value | None = None
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = ops.add(low, float(down)), ops.add(left, float(right))
        weight = ops.mul(
            ops.sub(1.0, ops.abs_(ops.sub(rows, y))), ops.sub(1.0, ops.abs_(ops.sub(columns, x)))
        )
        iy, ix = ops.cast(y, "i32"), ops.cast(x, "i32")
        inside = [
            ops.logical_and(ops.greater_equal(i, 0), ops.less(i, ops.ints(d, "i32")))
            for i, d in ((iy, height), (ix, width))
        ]
        here = ops.logical_and(*inside)
        at = ops.add(ops.mul(iy, ops.ints(width, "i32")), ix)
        at = ops.where(here, at, constant(0, "i32"))
        pixel = ops.gather_nd(flat, ops.unsqueeze(at, [at.rank]), 1)
        part = ops.mul(pixel, ops.unsqueeze(ops.where(here, weight, 0.0), [at.rank]))
        out = part if out is None else ops.add(out, part)
    assert out is not None
    return out


__all__ = ["DeformConv"]
