"""ONNX's operators that make images of other sizes: resizing, sampling, cropping.

    >>> from webdnn.graph import constant, placeholder
    >>> x, sizes = placeholder("x", (1, 3, 8, 8), "f32"), constant([16, 12], "i64")
    >>> Resize(x, None, None, sizes, axes=[2, 3], opset=18).shape
    (1, 3, 16, 12)

As in `operators`, one plain function each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant, evaluate, type_text
from ..arrays import axes_of, channels_first, channels_last, known_array, known_dims, known_ints
from .declared import NOTHING, Results, fed, is_known, scalar

Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
Coordinates = Literal[
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize",
]  # fmt: skip


def Resize(
    x: Value,
    *inputs: Value | None,
    opset: int,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: Coordinates = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: Literal["stretch", "not_larger", "not_smaller"] = "stretch",
    mode: Literal["nearest", "linear", "cubic"] = "nearest",
    nearest_mode: Rounding = "round_prefer_floor",
    declared: Results = NOTHING,
) -> Value:
    if opset < 11:  # Resize-10 took (x, scales), and one definition of coordinates
        return Upsample(x, inputs[0], mode=mode, declared=declared)
    roi, scales, sizes = (*inputs, None, None, None)[:3]
    at = axes_of(axes, x)
    out: list[Dim]
    factor: Sequence[float | Value | None]
    if sizes is not None and sizes.size != 0 and not is_known(sizes):
        shape = declared.shape(sizes, "sizes", x.rank)
        out, factor = [shape[a] for a in at], [None] * len(at)
        if keep_aspect_ratio_policy != "stretch":
            ratio = _kept_ratio(x, sizes, at, keep_aspect_ratio_policy)
            factor = [ratio] * len(at)
    elif sizes is not None and sizes.size != 0:
        out, factor = known_dims(sizes, "sizes"), [None] * len(at)
        if keep_aspect_ratio_policy != "stretch":
            ratios = [
                ops.static(o, "a size") / ops.static(x.shape[a], "a dimension")
                for o, a in zip(out, at)
            ]
            same = min(ratios) if keep_aspect_ratio_policy == "not_larger" else max(ratios)
            out = [math.floor(same * ops.static(x.shape[a], "a dimension") + 0.5) for a in at]
            factor = [same] * len(at)
    else:
        factor = _factors(scales)
        out = _scaled_sizes(x, at, factor, scales, declared)
    if len(out) != len(at):
        raise ModelError(f"{len(out)} sizes or scales for {len(at)} axes of {type_text(x)}")
    region: Sequence[float | Value] = [0.0] * len(at) + [1.0] * len(at)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        region = _factors(roi)
    if len(region) != 2 * len(at):
        raise ModelError(f"roi has {len(region)} elements; expected 2 for each of {len(at)} axes")

    def along_axis(y: Value, axis: int, k: int) -> Value:
        if antialias and mode != "nearest":
            how = coordinate_transformation_mode, None if mode == "linear" else cubic_coeff_a
            return _smoothed(y, axis, out[k], factor[k], *how, bool(exclude_outside))
        return ops.resize(
            y,
            axis,
            out[k],
            mode=mode,
            coordinates=coordinate_transformation_mode,
            rounding=nearest_mode,
            scale=_ratio(y.shape[axis], out[k]) if factor[k] is None else factor[k],
            cubic=cubic_coeff_a,
            exclude_outside=bool(exclude_outside),
            roi=(region[k], region[len(at) + k]),
            extrapolation=extrapolation_value,
        )

    def unchanged(k: int) -> bool:
        whole = (region[k], region[len(at) + k]) == (0.0, 1.0)
        size = x.shape[at[k]]
        alone = ops.same(size, 1) and mode != "cubic" and not antialias
        return whole and (factor[k] in (None, 1.0) or alone) and ops.same(out[k], size)

    return _resized(x, {a: k for k, a in enumerate(at) if not unchanged(k)}, along_axis)


def _ratio(size: Dim, out: Dim) -> float | Value:
    """Output/input size, rounded to float32."""
    if isinstance(size, int) and isinstance(out, int):
        return float(np.float32(out) / np.float32(size)) if size else 1.0
    whole = as_dim(lift(out) // size)
    if ops.same(lift(whole) * size, out) and isinstance(whole, int):
        return float(whole)
    return ops.div(*(ops.cast(ops.ints(d, "i64"), "f32") for d in (out, size)))


def _resized(
    x: Value, axes: dict[int, int], along_axis: Callable[[Value, int, int], Value]
) -> Value:
    """Spatial axes are resized channels last."""
    if x.rank > 2 and all(a >= 2 for a in axes):
        y = channels_last(x)
        for a, k in axes.items():
            y = along_axis(y, a - 1, k)
        return channels_first(y)
    for a, k in axes.items():
        x = along_axis(x, a, k)
    return x


def _smoothed(
    x: Value,
    axis: int,
    out: Dim,
    scale: float | Value | None,
    coordinates: str,
    cubic: float | None,
    exclude_outside: bool,
) -> Value:
    """An axis resized with a filter as wide as what one element of the result stands for.

    cubic: the coefficient of the cubic filter; None is linear. What lies outside is as the edge is,
    unless it is excluded.
    """
    if coordinates not in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
        raise UnsupportedError(f"antialias with {coordinates} coordinates")
    given = ops.static(x.shape[axis], "an axis that is resized with antialias")
    count = max(ops.static(out, "an axis that is resized with antialias"), 1)
    # A scale may be smaller than the sizes say by what rounding them down has left.
    beyond = 0 if exclude_outside else math.ceil(2 * (given / count + 1)) + 1
    size = constant(float(given), "f32")
    by = ops.div(constant(float(count), "f32"), size) if scale is None else scale
    by = by if isinstance(by, Value) else constant(by, "f32")
    to = ops.iota((count, 1), 0, "f32")
    if coordinates == "asymmetric":
        centre = ops.div(to, by)
    elif coordinates == "align_corners":
        centre = ops.mul(to, (given - 1) / max(count - 1, 1))
    else:
        centre = ops.sub(ops.div(ops.add(to, 0.5), by), 0.5)
    line = ops.sub(ops.iota((1, given + 2 * beyond), 1, "f32"), float(beyond))
    at = ops.abs_(ops.mul(ops.sub(line, centre), ops.min_(by, 1.0)))
    if cubic is None:
        weights = ops.max_(ops.sub(1.0, at), 0.0)
    else:
        near, far = _cubic(at, cubic)
        weights = ops.where(ops.less(at, 2.0), far, 0.0)
        weights = ops.where(ops.less_equal(at, 1.0), near, weights)
    weights = ops.div(weights, ops.reduce_sum(weights, [1]))
    around = [beyond if k == axis else 0 for k in range(x.rank)]
    wide = ops.pad(x, around, around, "edge") if beyond else x
    perm = [k for k in range(x.rank) if k != axis] + [axis]
    y = ops.matmul(ops.transpose(wide, perm), ops.transpose(weights, (1, 0)))
    return ops.transpose(y, [perm.index(k) for k in range(x.rank)])


def _cubic(d: Value, a: float) -> tuple[Value, Value]:
    """The cubic kernel up to 1, and from there to 2 (Keys, 1981)."""
    near = ops.add(ops.mul(ops.mul(ops.sub(ops.mul(d, a + 2), a + 3), d), d), 1.0)
    far = ops.mul(ops.sub(ops.mul(d, a), 5 * a), d)
    return near, ops.sub(ops.mul(ops.add(far, 8 * a), d), 4 * a)


def _kept_ratio(x: Value, sizes: Value, at: Sequence[int], policy: str) -> Value:
    """The one scale of all axes, by sizes that a run gives."""
    ratios = [
        ops.div(ops.cast(scalar(sizes, k), "f32"), ops.cast(ops.ints(x.shape[a], "i64"), "f32"))
        for k, a in enumerate(at)
    ]
    return reduce(ops.min_ if policy == "not_larger" else ops.max_, ratios)


def _scaled_sizes(
    x: Value,
    at: Sequence[int],
    factor: Sequence[float | Value | None],
    scales: Value | None,
    declared: Results,
) -> list[Dim]:
    """The sizes of axes times their scales, or as the model declares them."""
    if scales is not None and any(isinstance(f, Value) and fed(f) for f in factor):
        shape = declared.shape(scales, "scales", x.rank)
        return [shape[a] for a in at]
    return [_scaled_size(x.shape[a], s) for a, s in zip(at, factor)]


def _factors(scales: Value | None) -> list[float | Value]:
    """Each scale: a number, or what is computed."""
    if scales is None or scales.constant:
        return [float(s) for s in known_array(scales, "scales").ravel()]
    parts = [ops.slice_axis(scales, 0, k, 1) for k in range(ops.static(scales.size, "scales"))]
    return [evaluate(p).item() if p.constant else ops.reshape(p, ()) for p in parts]


def _scaled_size(size: Dim, scale: float | Value | None) -> Dim:
    """floor(size * scale), in float32"""
    if isinstance(scale, float) and not 0 < scale < math.inf:
        raise ModelError(f"scale {scale}: a positive number expected")
    known = ops.mul(ops.cast(ops.ints(size, "i64"), "f32"), scale)
    return known_dims(ops.cast(ops.floor_(known), "i64"), "the size times its scale")[0]


def Upsample(
    x: Value,
    scales_input: Value | None = None,
    *,
    mode: Literal["nearest", "linear", "bilinear", "cubic"] = "nearest",
    scales: Sequence[float] = (),
    declared: Results = NOTHING,
) -> Value:
    factor = _factors(scales_input) if scales_input is not None else list(scales)
    if len(factor) != x.rank:
        raise ModelError(f"{len(factor)} scales for {type_text(x)}, one an axis expected")
    how = {"bilinear": "linear"}.get(mode, mode)
    out = _scaled_sizes(x, range(x.rank), factor, scales_input, declared)

    def along_axis(y: Value, axis: int, k: int) -> Value:
        return ops.resize(
            y,
            axis,
            out[k],
            mode=how,
            coordinates="asymmetric",
            rounding="floor",
            scale=factor[k],
        )

    def unchanged(k: int) -> bool:
        return factor[k] == 1 or (ops.same(x.shape[k], 1) and ops.same(out[k], 1))

    return _resized(x, {k: k for k in range(x.rank) if not unchanged(k)}, along_axis)


def GridSample(
    x: Value,
    grid: Value,
    *,
    mode: Literal["linear", "nearest", "cubic", "bilinear", "bicubic"] = "linear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: int = 0,
) -> Value:
    how = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    y = ops.grid_sample(channels_last(x), grid, how, padding_mode, bool(align_corners))
    return channels_first(y)


def CenterCropPad(
    x: Value, shape: Value, *, axes: Sequence[int] | None = None, declared: Results = NOTHING
) -> Value:
    """The middle of each axis, or the axis in the middle of zeros."""
    at = axes_of(axes, x)
    if is_known(shape):
        wanted = known_ints(shape, "the shape")
    else:
        whole = declared.shape(shape, "the shape", x.rank)
        wanted = [ops.static(whole[a], "the shape") for a in at]
    if len(wanted) != len(at):
        raise ModelError(f"{len(wanted)} sizes for {len(at)} axes of {type_text(x)}")
    for a, size in zip(at, wanted):
        given = ops.static(x.shape[a], "an axis that is cropped or padded")
        if given > size:
            x = ops.slice_axis(x, a, (given - size) // 2, size)
        before = [0] * x.rank
        after = [0] * x.rank
        before[a] = max(size - given, 0) // 2
        after[a] = max(size - given, 0) - before[a]
        x = ops.pad(x, before, after)
    return x


def AffineGrid(
    theta: Value, size: Value, *, align_corners: int = 0, declared: Results = NOTHING
) -> Value:
    """[N, axes, axes + 1] -> [N, spatial..., axes]: where each position of an image comes from."""
    if theta.rank != 3:
        raise ModelError(f"[N, axes, axes + 1] expected, found {type_text(theta)}")
    axes = ops.static(theta.shape[1], "the number of axes")
    if is_known(size):
        space = known_dims(size, "the size")[2:]
    else:
        space = list(declared.shape(size, "the size", axes + 2)[1:-1])
    if len(space) != axes:
        raise ModelError(f"a size of {len(space)} spatial axes for {type_text(theta)}")

    def line(k: int) -> Value:
        n = ops.cast(ops.ints(space[k], "i64"), theta.dtype)
        i = ops.iota([d if j == k else 1 for j, d in enumerate(space)], k, theta.dtype)
        i = ops.mul(i, 2.0)
        if align_corners:
            y = ops.sub(ops.div(i, ops.max_(ops.sub(n, 1.0), 1.0)), 1.0)
        else:
            y = ops.sub(ops.div(ops.add(i, 1.0), n), 1.0)
        return ops.reshape(ops.expand(y, space), (1, *space, 1))

    lines = [line(k) for k in reversed(range(axes))]  # x is the last axis
    ones = ops.expand(constant(1.0, theta.dtype), lines[0].shape)
    grid = ops.reshape(ops.concat([*lines, ones], axes + 1), (1, ops.product(space), axes + 1))
    moved = ops.matmul(grid, ops.transpose(theta, (0, 2, 1)))
    return ops.reshape(moved, (theta.shape[0], *space, axes))


OPERATORS: dict[str, Callable[..., Any]] = {
    fn.__name__: fn for fn in (Resize, Upsample, GridSample, CenterCropPad, AffineGrid)
}
