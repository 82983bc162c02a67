"""Layers of object detectors, as in the SSD fork of Caffe (Liu et al., arXiv 1512.02325) and Fast
R-CNN's (Girshick, arXiv 1504.08083)."""

from __future__ import annotations

import math

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...graph import Value, constant, type_text
from ..arrays import channels_first, channels_last
from .layer import LARGEST_CONSTANT, Layer, one
from .text import Message


def PriorBox(layer: Layer, *xs: Value) -> Value:
    """Boxes around each cell of a feature map, a constant [1, 2, cells * boxes * 4] (SSD).

    Row 0 is xmin, ymin, xmax, ymax over the image's size, row 1 the variances.
    """
    x, image = one(xs, 2)
    p = layer.param("prior_box_param")
    if x.rank != 4 or image.rank != 4:
        raise ModelError(f"blobs of four axes expected, found {', '.join(map(type_text, xs))}")
    rows, columns = (ops.static(d, "the feature map under the boxes") for d in x.shape[2:])
    height, width = (ops.static(d, "the image under the boxes") for d in image.shape[2:])
    size = p.integer("img_size", 0, 1)
    high, wide = p.integer("img_h", size, 1), p.integer("img_w", size, 1)
    if high and wide:
        height, width = high, wide
    step = p.number("step")
    step_y, step_x = p.number("step_h", step), p.number("step_w", step)
    if not step_y or not step_x:
        step_y, step_x = height / rows, width / columns
    offset = p.number("offset", 0.5)
    boxes = np.array(_box_sizes(layer, p))
    if rows * columns * len(boxes) * 4 > LARGEST_CONSTANT:
        raise UnsupportedError(f"{rows * columns * len(boxes)} boxes: more than fit in a model")
    y, x_ = np.meshgrid(
        (np.arange(rows) + offset) * step_y, (np.arange(columns) + offset) * step_x, indexing="ij"
    )
    half_w, half_h = boxes[:, 0] / 2, boxes[:, 1] / 2
    sides = (
        (x_[..., None] - half_w) / width,
        (y[..., None] - half_h) / height,
        (x_[..., None] + half_w) / width,
        (y[..., None] + half_h) / height,
    )
    corners = np.stack(sides, -1).reshape(-1)
    if p.flag("clip"):
        corners = corners.clip(0, 1)
    variance = p.numbers("variance") or [0.1]
    if len(variance) not in (1, 4):
        raise ModelError(f"{len(variance)} variances; expected 1 or 4")
    spread = np.tile(variance * (4 // len(variance)), len(corners) // 4)
    return constant(np.stack([corners, spread])[None], "f32")


def _box_sizes(layer: Layer, p: Message) -> list[tuple[float, float]]:
    """(width, height) of each box of a cell, in pixels of the image."""
    smallest, largest = p.numbers("min_size"), p.numbers("max_size")
    ratios = [1.0]
    flip = p.flag("flip", True)
    for ratio in p.numbers("aspect_ratio"):
        if not ratio > 0:
            raise ModelError(f"aspect_ratio {ratio}: a positive number expected")
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if flip else [ratio]
    if not smallest:
        raise ModelError("min_size is missing")
    if largest and len(largest) != len(smallest):
        raise ModelError(f"{len(largest)} of max_size for {len(smallest)} of min_size")
    if any(not s > 0 for s in smallest + largest):
        raise ModelError("min_size and max_size must be positive")
    if any(s != int(s) for s in smallest + largest if math.isfinite(s)):
        layer.notes.append(
            f"layer {layer.name!r}: sizes of boxes with fractions are taken as they are, as OpenCV "
            "does; the SSD fork of Caffe cuts the fractions off"
        )
    out = []
    for k, s in enumerate(smallest):
        out.append((s, s))
        if largest:
            if largest[k] <= s:
                raise ModelError(f"max_size {largest[k]} is not larger than min_size {s}")
            out.append((math.sqrt(s * largest[k]),) * 2)
        others = [r for r in ratios if abs(r - 1) >= 1e-6]
        out += [(s * math.sqrt(r), s / math.sqrt(r)) for r in others]
    return out


_CODES = {name: k + 1 for k, name in enumerate(ops.CODES)}  # PriorBoxParameter.CodeType


def DetectionOutput(layer: Layer, *xs: Value) -> Value:
    """Rows [1, 1, detections, 7] of image, label, confidence, xmin, ymin, xmax, ymax (SSD).

    By image, label and confidence, best first, as Caffe orders them. There are as many rows as
    detections, none where nothing is found (where Caffe writes a row of -1).
    """
    loc, conf, prior = one(xs, 3)
    p = layer.param("detection_output_param")
    suppression = p.child("nms_param")
    classes = p.integer("num_classes", 0, 1)
    if not classes:
        raise ModelError("num_classes is missing")
    threshold, eta = suppression.number("nms_threshold", 0.3), suppression.number("eta", 1.0)
    if threshold < 0 or not 0 < eta <= 1:
        raise ModelError(
            f"nms_threshold {threshold}, eta {eta}: at least 0, and above 0 and at most 1 expected"
        )
    for name, v in (("location", loc), ("confidence", conf), ("prior", prior)):
        if v.rank < 2:
            raise ModelError(f"{name} {type_text(v)}: at least two axes expected")
    rows, count = ops.detection_output(
        loc,
        conf,
        prior,
        num_classes=classes,
        share_location=p.flag("share_location", True),
        background_label_id=p.integer("background_label_id", 0),
        nms_threshold=threshold,
        top_k=suppression.integer("top_k", -1),
        eta=eta,
        code_type=p.choice("code_type", _CODES, "CORNER"),
        variance_encoded_in_target=p.flag("variance_encoded_in_target"),
        keep_top_k=p.integer("keep_top_k", -1),
        confidence_threshold=(
            p.number("confidence_threshold") if "confidence_threshold" in p else None
        ),
        clip=p.flag("clip"),
        normalized=p.flag("normalized_bbox", True),
    )
    return ops.counted(ops.reshape(rows, (1, 1, *rows.shape)), 2, count)


def ROIPooling(layer: Layer, *xs: Value) -> Value:
    """The maximum of each bin of regions [R, 5] of image, x0, y0, x1, y1 (Fast R-CNN)."""
    x, rois = one(xs, 2)
    p = layer.param("roi_pooling_param")
    height, width = p.integer("pooled_h", 0, 1), p.integer("pooled_w", 0, 1)
    if not height or not width:
        raise ModelError("pooled_h and pooled_w expected")
    if x.rank != 4 or not ops.same(ops.product(rois.shape[1:]), 5):
        found = ", ".join(map(type_text, xs))
        raise ModelError(f"a blob of four axes and regions [R, 5] expected, found {found}")
    flat = ops.reshape(rois, (rois.shape[0], 5))
    y = ops.roi_pool(channels_last(x), flat, height, width, p.number("spatial_scale", 1.0))
    return channels_first(y)
