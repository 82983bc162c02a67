"""Resizing as the descriptor runner does it, bit for bit: what references are fed with.

>>> resized(np.zeros((480, 640, 4), np.uint8), (224, 224)).shape
(224, 224, 4)

Pillow's `BILINEAR` in whole numbers: a triangle as wide as a pixel of the result (or of the source,
where that is larger), columns before rows, 8 bits between. The same arithmetic is in
`runner/src/picture/resample.js`. (Newer Pillows sometimes take rows first, which may differ by a
level.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
BITS = 22  # of a weight's fraction: 8 bits times that, and a sum's carry, fit into 31


def on_white(picture: Pixels) -> Pixels:
    """RGBA with what is transparent laid on white: alpha becomes 255."""
    rgb, alpha = np.split(picture.astype(np.int32), [3], -1)
    mixed = (rgb * alpha + 255 * (255 - alpha) + 127) // 255
    return np.concatenate([mixed, np.full_like(alpha, 255)], -1).astype(np.uint8)


def fitted(
    picture: Pixels, size: Sequence[int], fit: str, pad: Sequence[int], alpha: bool = False
) -> Pixels:
    """A picture [h, w, 4] brought to `size` (width, height)."""
    (height, width), (w, h) = picture.shape[:2], size
    if fit == "cover":
        box = [0.0, 0.0, float(width), float(height)]
        if width * h > w * height:
            box[0], box[2] = _middle(width, height * w / h)
        elif width * h < w * height:
            box[1], box[3] = _middle(height, width * h / w)
        return resized(picture, (w, h), box, alpha)
    if fit == "contain":
        factor = min(w / width, h / height)
        inner = [min(max(int(n * factor + 0.5), 1), m) for n, m in ((width, w), (height, h))]
        out = np.empty((h, w, 4), np.uint8)
        out[:] = [*pad, 255]
        x, y = (w - inner[0]) // 2, (h - inner[1]) // 2
        out[y : y + inner[1], x : x + inner[0]] = resized(picture, inner, alpha=alpha)
        return out
    return resized(picture, (w, h), alpha=alpha)


def _middle(length: int, part: float) -> tuple[float, float]:
    start = (length - part) / 2
    return start, start + part


def resized(
    picture: Pixels, size: Sequence[int], box: Sequence[float] | None = None, alpha: bool = False
) -> Pixels:
    """A part `box` (left, top, right, bottom) of a picture [h, w, 4] at `size` (width, height).

    Pillow's `resize(size, BILINEAR, box)` in its own fixed-point arithmetic: a triangle as wide as
    a pixel of the result (or of the source, where that is larger), columns first, 8 bits between.
    """
    (height, width), (w, h) = picture.shape[:2], size
    edges = np.asarray(box or (0, 0, width, height), np.float32)
    left, top, right, bottom = edges.tolist()
    work = picture.astype(np.int64)
    if alpha:
        product = work[..., :3] * work[..., 3:] + 128
        work = np.concatenate([(product + (product >> 8)) >> 8, work[..., 3:]], -1)
    for axis, n, (low, high), old in ((1, w, (left, right), width), (0, h, (top, bottom), height)):
        if (n, low, high) == (old, 0, old):
            continue
        weights = np.zeros((n, old), np.int64)
        for k, (first, row) in enumerate(triangle(old, low, float(np.float32(high - low)), n)):
            weights[k, first : first + len(row)] = row
        work = np.moveaxis(np.tensordot(weights, work, (1, axis)), 0, axis)
        work = (work + (1 << BITS - 1)) >> BITS
    if alpha:
        a = work[..., 3:]
        whole = np.minimum(255 * work[..., :3] // np.maximum(a, 1), 255)
        work = np.concatenate([np.where((a == 0) | (a == 255), work[..., :3], whole), a], -1)
    return work.astype(np.uint8)


def triangle(length: int, start: float, extent: float, n: int) -> list[tuple[int, list[int]]]:
    """For each of `n` pixels that divide `extent` from `start` on a line of `length` pixels: the
    first pixel that it takes, and the weights, which sum to 2**BITS up to rounding."""
    scale = extent / n
    support = max(scale, 1.0)
    out = []
    for k in range(n):
        centre = start + (k + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), length)
        raw = [max(0.0, 1 - abs((x - centre + 0.5) * (1 / support))) for x in range(first, last)]
        total = sum(raw)
        out.append((first, [int(v * (1 / total) * (1 << BITS) + 0.5) for v in raw]))
    return out


__all__ = ["Pixels", "fitted", "on_white", "resized"]
