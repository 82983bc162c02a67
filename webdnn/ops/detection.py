"""Object detection: non-maximum suppression, the boxes of an SSD, pooling of regions.

    >>> from webdnn.graph import placeholder
    >>> boxes, scores = placeholder("b", (1, 900, 4), "f32"), placeholder("s", (1, 80, 900), "f32")
    >>> non_maximum_suppression(boxes, scores, 100, 0.5, 0.1)
    reshape:i64[1,80,100]

What can be composed is: decoding boxes, choosing the best candidates (`selection.top_k`), and
collecting what is left. Three kernels remain: `suppress`, which takes boxes one after the other,
and the poolings of regions, whose windows depend on the data.

The number of detections is only known in a run. Everything is laid out for the largest number, and
the functions also return how many of the rows are valid; see `lengths.counted`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..expr import Dim, as_dim, lift, minimum, product, same, upper
from ..graph import Node, Op, Value, constant, type_text
from .elementwise import (
    add,
    cast,
    clamp,
    equal,
    exp_,
    greater,
    greater_equal,
    less_equal,
    logical_and,
    logical_or,
    max_,
    min_,
    mul,
    sub,
    where,
)
from .indexing import check_positions, gather, gather_elements, gather_nd
from .movement import concat, iota, reshape, slice_axis, transpose
from .selection import arg_top_k, non_zero

GRID = 4096  # samples along one side of a bin of `roi_align`, at most


def literal(x: float) -> str:
    """Text of a float32 literal in both target languages."""
    return f"{float(np.float32(x))!r}f"


# ---- non-maximum suppression ---------------------------------------------------------------------


def _overlap(a: np.ndarray, b: np.ndarray, offset: Any) -> float:
    def area(x: np.ndarray) -> float:
        w, h = x[2] - x[0], x[3] - x[1]
        return 0.0 if w < 0 or h < 0 else (w + offset) * (h + offset)

    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if w < 0 or h < 0 or not (w + offset > 0 and h + offset > 0):
        return -1.0
    common = (w + offset) * (h + offset)
    return float(common / (area(a) + area(b) - common))


def _suppress_numpy(
    boxes: np.ndarray, order: np.ndarray, limit_iou: np.ndarray, **attrs: Any
) -> np.ndarray:
    limit, classes, eta, offset = (attrs[k] for k in ("limit", "classes", "eta", "offset"))
    out = np.full((order.shape[0], limit), -1, np.int64)
    boxes, offset = boxes.astype(np.float32), np.float32(offset)
    for row, candidates in enumerate(order):
        group = row % classes if boxes.shape[1] > 1 else 0
        mine = boxes[row // classes, group]
        threshold = np.float32(limit_iou.ravel()[0])
        taken: list[int] = []
        for at in candidates:
            if at < 0 or len(taken) == limit:
                break
            if any(_overlap(mine[at], mine[t], offset) > threshold for t in taken):
                continue
            taken.append(at)
            if eta < 1 and threshold > 0.5:
                threshold *= np.float32(eta)
        out[row, : len(taken)] = taken
    return out


SUPPRESS = Op(
    "suppress",
    "opaque",
    lambda boxes, order, threshold, *, limit, **attrs: [((order.shape[0], limit), "i64")],
    None,
    _suppress_numpy,
    kernel=lambda node: {
        "items": node.inputs[1].shape[0],
        "cost": as_dim(lift(node.inputs[1].shape[1]) * 64),
        "scratch": as_dim(lift(node.attrs["limit"]) * 20),
        "offset": literal(node.attrs["offset"]),
        "factor": literal(node.attrs["eta"]),
    },
    combines=lambda node: [(1, (1,), -1)],
    rows={0: None, 1: None},
)


def suppress(
    boxes: Value,
    order: Value,
    threshold: float | Value,
    limit: Dim | None = None,
    eta: float = 1.0,
    offset: float = 0.0,
) -> Value:
    """Greedy non-maximum suppression of each class of each image -> indices i64 [N, C, limit].

    boxes: f32 [N, C or 1, P, 4], corners x0, y0, x1, y1 with x0 <= x1 and y0 <= y1. order: i64
    [N, C, K], the candidates of each class, best first; -1 ends them. One is taken unless its
    overlap (intersection over union) with one taken before is greater than the threshold; -1
    follows the last one taken. limit: how many are taken at most (all). eta: after each that is
    taken, a threshold above 0.5 is multiplied by it. offset: what is added to widths and heights
    (1 for pixel coordinates whose ends are part of the box).
    """
    n, classes, k = order.shape
    if boxes.rank != 4 or boxes.shape[-1] != 4 or boxes.shape[0] != n:
        raise UnsupportedError(
            f"suppress: boxes [N, classes or 1, P, 4] expected for order {type_text(order)}, "
            f"{type_text(boxes)} found"
        )
    limit = k if limit is None or upper(limit) > upper(k) else limit
    level = threshold if isinstance(threshold, Value) else constant(threshold, "f32")
    found = SUPPRESS(
        cast(boxes, "f32"),
        reshape(order, (product([n, classes]), k)),
        reshape(cast(level, "f32"), (1,)),
        limit=limit,
        classes=classes,
        eta=float(eta),
        offset=float(offset),
    )
    return reshape(found, (n, classes, limit))


def non_maximum_suppression(
    boxes: Value,
    scores: Value,
    limit: Dim | None,
    iou_threshold: float | Value,
    score_threshold: float | Value | None = None,
    centered: bool = False,
) -> Value:
    """Boxes that remain in each class -> indices i64 [N, C, limit], best first, then -1.

    boxes: f32 [N, P, 4], two opposite corners in any order (x, y, x, y or y, x, y, x), or, if
    `centered`, x, y, width and height. scores: f32 [N, C, P]. limit: how many of one class. Only
    scores greater than the threshold count (all, without one); see `suppress`.
    """
    a, b = (slice_axis(boxes, 2, k, 2) for k in (0, 2))
    if centered:
        half = mul(b, 0.5)
        corners = concat([sub(a, half), add(a, half)], 2)
    else:
        corners = concat([min_(a, b), max_(a, b)], 2)
    level = score_threshold
    if level is not None and not isinstance(level, Value):
        level = constant(level, "f32")
    order = arg_top_k(scores, scores.shape[2], 2, above=level)
    corners = reshape(corners, (boxes.shape[0], 1, *boxes.shape[1:]))
    return suppress(corners, order, iou_threshold, limit)


def rows_of(valid: Value, limit: Dim | None = None) -> tuple[Value, Value]:
    """True elements in row-major order -> (coordinates i64 [limit, rank], count i64 [])."""
    at, count = non_zero(valid, limit)
    return transpose(at, (1, 0)), count


# ---- the boxes of an SSD -------------------------------------------------------------------------

CODES = ("CORNER", "CENTER_SIZE", "CORNER_SIZE")


def decode_boxes(
    loc: Value, prior: Value, variance: Value | None, code_type: str, clip: bool = False
) -> Value:
    """Corner boxes of predicted offsets loc [..., P, 4] from priors [P, 4] (Liu et al. 2016).

    variance [P, 4] scales the offsets; None if they are scaled already. Codes: CORNER,
    offsets of the corners; CORNER_SIZE, the same in units of the prior's size; CENTER_SIZE,
    offsets of the centre in units of the size, and the logarithm of the size's ratio.
    """
    if code_type not in CODES:
        raise UnsupportedError(f"code_type {code_type!r}: expected one of {', '.join(CODES)}")
    if variance is not None:
        loc = mul(loc, variance)
    low, high = (slice_axis(prior, 1, k, 2) for k in (0, 2))
    size = sub(high, low)
    a, b = (slice_axis(loc, loc.rank - 1, k, 2) for k in (0, 2))
    if code_type == "CENTER_SIZE":
        centre = add(mul(a, size), mul(add(low, high), 0.5))
        half = mul(mul(exp_(b), size), 0.5)
        low, high = sub(centre, half), add(centre, half)
    elif code_type == "CORNER_SIZE":
        low, high = add(low, mul(a, size)), add(high, mul(b, size))
    else:
        low, high = add(low, a), add(high, b)
    boxes = concat([low, high], loc.rank - 1)
    return clamp(boxes, 0.0, 1.0) if clip else boxes


def detection_output(
    loc: Value,
    conf: Value,
    prior: Value,
    *,
    num_classes: int,
    share_location: bool = True,
    background_label_id: int = 0,
    nms_threshold: float = 0.3,
    top_k: int = -1,
    eta: float = 1.0,
    code_type: str = "CORNER",
    variance_encoded_in_target: bool = False,
    keep_top_k: int = -1,
    confidence_threshold: float | None = None,
    clip: bool = False,
    normalized: bool = True,
) -> tuple[Value, Value]:
    """Caffe SSD's DetectionOutput: (detections f32 [limit, 7], count i64 []).

    loc [N, P*4] (or [N, P*C*4] unless `share_location`), conf [N, P*C], prior [1, 2, P*4]: boxes,
    then variances (which may be missing where offsets are scaled already). A row is image,
    label, confidence, xmin, ymin, xmax, ymax, in the order of Caffe: by image, then label, then
    confidence, best first. The first `count` rows are valid. That may be none, as in OpenCV; Caffe
    itself would give one row of -1 then. Of each class only the `top_k` best
    enter the suppression; of each image the `keep_top_k` best stay (-1: all), of equal confidences
    those of the lower label and the earlier. A confidence must be greater than the threshold (None:
    all). `normalized`: coordinates are parts of the image; else pixels, and the last one belongs to
    the box. Raises UnsupportedError for shapes that do not fit.
    """
    encoded = variance_encoded_in_target
    n, per_prior = loc.shape[0], num_classes if not share_location else 1
    loc, conf = reshape(loc, (n, -1)), reshape(conf, (n, -1))
    if prior.rank != 3 or prior.shape[0] != 1 or prior.shape[1] not in (2 - encoded, 2):
        raise UnsupportedError(f"priors [1, 2, boxes * 4] expected, found {type_text(prior)}")
    prior = reshape(prior, (1, prior.shape[1], -1, 4))
    count = prior.shape[2]
    wanted = {"loc": (loc, count * per_prior * 4), "conf": (conf, count * num_classes)}
    for name, (v, size) in wanted.items():
        if not same(v.shape[1], as_dim(size)):
            raise UnsupportedError(
                f"detection_output: {name} {type_text(v)} does not fit {count} priors and "
                f"{num_classes} classes: [{n}, {size}] expected"
            )
    labels = [c for c in range(num_classes) if c != background_label_id]
    classes = len(labels)
    if not classes:
        raise UnsupportedError(
            f"detection_output: {num_classes} classes, of which {background_label_id} is the "
            "background: none is left"
        )
    at = constant(np.array(labels), "i64")
    scores = transpose(reshape(conf, (n, count, num_classes)), (0, 2, 1))
    scores = scores if classes == num_classes else gather(scores, at, 1)
    offsets = transpose(reshape(loc, (n, count, per_prior, 4)), (0, 2, 1, 3))
    if not share_location and classes != num_classes:
        offsets = gather(offsets, at, 1)
    base = reshape(slice_axis(prior, 1, 0, 1), (count, 4))
    variance = None if encoded else reshape(slice_axis(prior, 1, 1, 1), (count, 4))
    boxes = decode_boxes(offsets, base, variance, code_type, clip)
    candidates = count if top_k < 0 else as_dim(minimum(lift(count), top_k))
    above = None if confidence_threshold is None else constant(confidence_threshold, "f32")
    order = arg_top_k(scores, candidates, 2, above=above)
    picked = suppress(boxes, order, nms_threshold, None, eta, 0.0 if normalized else 1.0)
    valid = greater_equal(picked, 0)
    each = picked.shape[2]
    total = as_dim(lift(each) * classes)
    limit = as_dim(lift(n) * total)
    if 0 <= keep_top_k < upper(total):
        lowest = constant(float("-inf"), "f32")
        found = where(valid, gather_elements(scores, max_(picked, 0), 2), lowest)
        found = reshape(found, (n, total))
        last = slice_axis(arg_top_k(found, keep_top_k, 1), 1, keep_top_k - 1, 1)
        least = gather_elements(found, last, 1)
        earlier = less_equal(iota((1, total), 1, "i64"), last)
        best = logical_or(greater(found, least), logical_and(equal(found, least), earlier))
        valid = logical_and(valid, reshape(best, valid.shape))
        limit = as_dim(lift(n) * keep_top_k)
    where_, rows = rows_of(valid, limit)
    image, group = (slice_axis(where_, 1, k, 1) for k in (0, 1))
    box = reshape(gather_nd(picked, where_), (limit, 1))
    confidence = gather_nd(scores, concat([image, group, box], 1))
    corners = gather_nd(boxes, concat([image, mul(group, 0) if share_location else group, box], 1))
    columns = [
        cast(image, "f32"),
        cast(gather(at, group), "f32"),
        reshape(confidence, (limit, 1)),
        corners,
    ]
    return concat([reshape(c, (limit, -1)) for c in columns], 1), rows


# ---- pooling of regions --------------------------------------------------------------------------


def _bins(node: Node) -> dict[str, Any]:
    """Attributes that `roi_pool` and `roi_align` share: a row of bins is a piece of work."""
    x, rois = node.inputs[:2]
    width, height = node.attrs["width"], node.attrs["height"]
    return {
        "items": as_dim(lift(rois.shape[0]) * height),
        "cost": as_dim(lift(x.shape[3]) * width * 32),
        "scale": literal(node.attrs["spatial_scale"]),
        "shift": literal(0.5 if node.attrs.get("half_pixel") else 0.0),
        "lowest": node.attrs.get("empty", 0.0) < 0,
        "most": GRID,
    }


def _roi_shape(x: Value, rois: Value, *rest: Value, height: int, width: int, **attrs: Any) -> Any:
    if height < 1 or width < 1:
        raise ModelError(f"regions of {height} by {width} bins: one or more each way expected")
    return [((rois.shape[0], height, width, x.shape[3]), "f32")]


def _roi_pool_numpy(
    x: np.ndarray,
    rois: np.ndarray,
    *,
    height: int,
    width: int,
    spatial_scale: float,
    mode: str,
    empty: float,
) -> np.ndarray:
    f = np.float32
    out = np.full((len(rois), height, width, x.shape[3]), empty, np.float32)
    pool = np.max if mode == "max" else np.mean
    for r, (image, *corners) in enumerate(rois.astype(np.float32)):
        scaled = [f(c) * f(spatial_scale) for c in corners]
        x0, y0, x1, y1 = (int(np.trunc(c + np.copysign(f(0.5), c))) for c in scaled)
        edges = []
        for start, end, bins, size in ((y0, y1, height, x.shape[1]), (x0, x1, width, x.shape[2])):
            step = f(max(end - start + 1, 1)) / f(bins)
            low = [int(np.clip(np.floor(f(k) * step) + start, 0, size)) for k in range(bins)]
            high = [int(np.clip(np.ceil(f(k + 1) * step) + start, 0, size)) for k in range(bins)]
            edges.append(list(zip(low, high)))
        plane = x[int(np.clip(image, 0, len(x) - 1))]
        for i, (top, bottom) in enumerate(edges[0]):
            for j, (left, right) in enumerate(edges[1]):
                if bottom > top and right > left:
                    out[r, i, j] = pool(plane[top:bottom, left:right], (0, 1))
    return out


ROI_POOL = Op("roi_pool", "opaque", _roi_shape, None, _roi_pool_numpy, kernel=_bins, rows={1: 1})


def roi_pool(
    x: Value,
    rois: Value,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float = 1.0,
    mode: str = "max",
    empty: float = 0.0,
) -> Value:
    """Pool x [N,H,W,C] over rois [R,5] (image, x0, y0, x1, y1) -> f32 [R, bins y, bins x, C].

    The maximum (or the mean: mode "avg") of each bin of a region (Girshick 2015, as Caffe's
    ROIPooling computes it: corners are scaled, rounded half away from zero, and belong to the
    region; bins reach over whole pixels, so neighbours may overlap; what lies outside x is left
    out). A bin without pixels is `empty`: 0, or minus infinity for a maximum.
    """
    _check_regions("roi_pool", x, rois, 5, mode, ("max", "avg"))
    if empty != 0 and (mode, empty) != ("max", -np.inf):
        raise UnsupportedError(
            f"roi_pool: empty bins of {empty}; 0 or, of a maximum, -inf expected"
        )
    return ROI_POOL(
        cast(x, "f32"),
        cast(rois, "f32"),
        height=pooled_height,
        width=pooled_width,
        spatial_scale=float(spatial_scale),
        mode=mode,
        empty=float(empty),
    )


def _roi_align_numpy(
    x: np.ndarray,
    rois: np.ndarray,
    images: np.ndarray,
    *,
    height: int,
    width: int,
    spatial_scale: float,
    sampling_height: int,
    sampling_width: int,
    half_pixel: bool,
    mode: str,
) -> np.ndarray:
    f = np.float32
    _, h, w, _ = x.shape
    out = np.full(
        (len(rois), height, width, x.shape[3]), -np.inf if mode == "max" else 0, np.float32
    )
    for r, corners in enumerate(rois.astype(np.float32)):
        x0, y0, x1, y1 = corners * f(spatial_scale) - f(0.5 if half_pixel else 0)
        size = np.array([y1 - y0, x1 - x0], np.float32)
        size = size if half_pixel else np.maximum(size, 1)
        bins = size / np.array([height, width], np.float32)
        sampling = sampling_height, sampling_width
        grid = [n or min(int(np.ceil(b)), GRID) for n, b in zip(sampling, bins)]
        if min(grid) <= 0:
            continue
        axes = []
        for start, b, count, g, length in zip((y0, x0), bins, (height, width), grid, (h, w)):
            p = (
                start
                + np.arange(count, dtype=f)[:, None] * b
                + (np.arange(g, dtype=f) + f(0.5)) * b / f(g)
            )
            q = np.clip(p, 0, length - 1).astype(np.float32)
            low = q.astype(np.int64)
            axes.append(((p >= -1) & (p <= length), low, np.minimum(low + 1, length - 1), q - low))
        (in_y, top, bottom, fy), (in_x, left, right, fx) = axes
        plane = x[int(np.clip(images[r], 0, len(x) - 1))]
        y, z = (slice(None), slice(None), None, None), (None, None, slice(None), slice(None))
        weights = (
            (1 - fy[y]) * (1 - fx[z]),
            (1 - fy[y]) * fx[z],
            fy[y] * (1 - fx[z]),
            fy[y] * fx[z],
        )
        corners_ = ((top, left), (top, right), (bottom, left), (bottom, right))
        inside = (in_y[y] & in_x[z])[..., None]
        parts = [
            wt[..., None] * inside * plane[a[y], b[z]] for wt, (a, b) in zip(weights, corners_)
        ]
        if mode == "avg":
            out[r] = np.sum(parts, 0).mean((1, 3))
        elif mode == "max":
            out[r] = np.where(inside, np.sum(parts, 0), -np.inf).max((1, 3))
        else:
            out[r] = np.max(parts, 0).max((1, 3))
    return out


ROI_ALIGN = Op(
    "roi_align", "opaque", _roi_shape, None, _roi_align_numpy, kernel=_bins, rows={1: 1, 2: 1}
)


def roi_align(
    x: Value,
    rois: Value,
    images: Value,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float = 1.0,
    sampling: int | tuple[int, int] = 0,
    half_pixel: bool = True,
    mode: str = "avg",
) -> Value:
    """Sample x [N,H,W,C] in rois [R,4] (x0, y0, x1, y1) of images [R] -> f32 [R, bins y, bins x, C]

    Each bin of a region is sampled bilinearly at `sampling` points each way, or (down, across) (0:
    as many as it has pixels, rounded up, at most 4096), and these are averaged (He et al. 2017).
    mode "max": the greatest of those inside x, minus infinity where there are none; "max_corner":
    the greatest of the corners' weighted values, as ONNX has it. half_pixel: pixel centres lie at
    halves; without it they lie at integers, and regions are at least one pixel wide.
    """
    _check_regions("roi_align", x, rois, 4, mode, ("avg", "max", "max_corner"))
    check_positions(images, x.shape[0], "the images of regions")
    down, across = (sampling, sampling) if isinstance(sampling, int) else sampling
    return ROI_ALIGN(
        cast(x, "f32"),
        cast(rois, "f32"),
        cast(images, "i32"),
        height=pooled_height,
        width=pooled_width,
        spatial_scale=float(spatial_scale),
        sampling_height=down,
        sampling_width=across,
        half_pixel=bool(half_pixel),
        mode=mode,
    )


def _check_regions(
    name: str, x: Value, rois: Value, columns: int, mode: str, modes: tuple[str, ...]
) -> None:
    if mode not in modes:
        raise UnsupportedError(f"{name}: mode {mode!r}; {', '.join(modes)} are supported")
    if x.rank != 4 or rois.rank != 2 or rois.shape[1] != columns:
        raise UnsupportedError(
            f"{name}: a picture [N, H, W, C] and regions [R, {columns}] expected, "
            f"{type_text(x)} and {type_text(rois)} found"
        )


__all__ = [
    "CODES",
    "ROI_ALIGN",
    "ROI_POOL",
    "SUPPRESS",
    "decode_boxes",
    "detection_output",
    "non_maximum_suppression",
    "roi_align",
    "roi_pool",
    "rows_of",
    "suppress",
]
