"""ONNX operators that choose elements or pool regions: detectors end with these.

One function per operator, as in `operators`. Where ONNX leaves an order open (unsorted TopK, equal
scores), the lower index goes first, as onnxruntime has it. The number of rows that
NonMaxSuppression and NonZero give is only known after a run: see `ops.counted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ... import limits, ops
from ...errors import ModelError
from ...graph import Value, constant, evaluate, type_text
from ..arrays import axis_of, channels_first, channels_last, number_or_none


def TopK(
    x: Value,
    count: Value | None = None,
    *,
    k: int | None = None,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
) -> list[Value]:
    axis = axis_of(axis, x)
    found = k if count is None else number_or_none(count, "k")
    if found is None and count is None:
        raise ModelError("k is missing")
    size = x.shape[axis]
    both = ops.top_k(x, size if found is None else found, axis, bool(largest), bool(sorted))
    if found is None and count is not None:  # the run says how many
        most = ops.min_(ops.cast(ops.reshape(count, ()), "i64"), ops.ints(size, "i64"))
        return [ops.counted(v, axis, most) for v in both]
    return list(both)


def NonZero(x: Value) -> Value:
    if x.constant:
        limits.make(8 * x.size * max(x.rank, 1), "its result")
        return constant(np.array(np.nonzero(evaluate(x))), "i64")
    found, count = ops.non_zero(x)
    return ops.counted(found, 1, count)


def Compress(x: Value, condition: Value, *, axis: int | None = None) -> Value:
    if axis is None:
        x, axis = ops.reshape(x, (x.size,)), 0
    if condition.rank != 1:
        raise ModelError(f"condition {type_text(condition)}: one axis expected")
    at = NonZero(condition)
    return ops.gather(x, ops.reshape(at, (at.shape[1],)), axis_of(axis, x))


def NonMaxSuppression(
    boxes: Value,
    scores: Value,
    limit: Value | None = None,
    iou: Value | None = None,
    least: Value | None = None,
    *,
    center_point_box: int = 0,
) -> Value:
    for name, v in (("boxes", boxes), ("scores", scores)):
        if v.rank != 3:
            raise ModelError(f"{name} {type_text(v)}: three axes expected")
    if not (ops.same(boxes.shape[1], scores.shape[2]) and ops.same(boxes.shape[2], 4)):
        raise ModelError(
            f"boxes {type_text(boxes)} and scores {type_text(scores)}: "
            "[N, P, 4] and [N, classes, P] expected"
        )
    most = 0 if limit is None else number_or_none(limit, "max_output_boxes_per_class")
    if isinstance(most, int) and most <= 0:
        return constant(np.zeros((0, 3)), "i64")
    found = ops.non_maximum_suppression(
        boxes, scores, most, 0.0 if iou is None else iou, least, bool(center_point_box)
    )
    if most is None and limit is not None:  # the run says how many
        taken = ops.iota((1, 1, found.shape[2]), 2, "i64")
        found = ops.where(ops.less(taken, ops.reshape(limit, ())), found, constant(-1, "i64"))
    rows, count = ops.rows_of(ops.greater_equal(found, 0))
    box = ops.reshape(ops.gather_nd(found, rows), (rows.shape[0], 1))
    return ops.counted(ops.concat([ops.slice_axis(rows, 1, 0, 2), box], 1), 0, count)


def RoiAlign(
    x: Value,
    rois: Value,
    images: Value,
    *,
    mode: Literal["avg", "max"] = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
    coordinate_transformation_mode: Literal["half_pixel", "output_half_pixel"] | None = None,
    opset: int,
) -> Value:
    transformation = coordinate_transformation_mode or (
        "half_pixel" if opset >= 16 else "output_half_pixel"
    )
    y = ops.roi_align(
        channels_last(x),
        rois,
        images,
        output_height,
        output_width,
        spatial_scale,
        sampling_ratio,
        transformation == "half_pixel",
        {"max": "max_corner"}.get(mode, mode),
    )
    return channels_first(y)


def MaxRoiPool(
    x: Value, rois: Value, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0
) -> Value:
    height, width = pooled_shape
    y = ops.roi_pool(channels_last(x), rois, height, width, spatial_scale)
    return channels_first(y)


__all__ = ["Compress", "MaxRoiPool", "NonMaxSuppression", "NonZero", "RoiAlign", "TopK"]
