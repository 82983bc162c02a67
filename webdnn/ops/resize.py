"""Resizing along axes and sampling on a grid: nearest, linear and cubic interpolation.

    >>> from webdnn.graph import placeholder
    >>> resize(placeholder("x", (1, 8, 8, 3), "f32"), 1, 5).shape
    (1, 5, 8, 3)

Both are compositions. Resizing computes coordinates as tensors (so they fold into small tables
where sizes are known) and gathers elements along one axis at a time: interpolation is separable. On
a grid each position is its own, and the neighbours of all axes are gathered at once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ..errors import ModelError, UnsupportedError
from ..expr import as_dim, bounds, lift, same
from ..graph import Value, constant, type_text
from .elementwise import (
    abs_,
    add,
    cast,
    ceil_,
    div,
    equal,
    floor_,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_or,
    max_,
    min_,
    mul,
    round_,
    sub,
    where,
)
from .indexing import gather, gather_nd
from .known import ints
from .movement import along, concat, iota, repeat, slice_axis, squeeze, unsqueeze

Scale = float | Value | None
Roi = tuple[float | Value, float | Value]
# A position that rounding has moved by so much from halfway between two elements is there: so
# onnxruntime has it.
BETWEEN = 1e-6


def _source(x: Value, axis: int, out: Any, scale: Scale, coordinates: str, roi: Roi) -> Value:
    """The source coordinate (f32[out]) of each output position; `scale`: output/input size.

    Each step is rounded as onnxruntime does where a scale is given, else as TensorFlow does: where
    a position lies between two elements, the last bit decides.
    """
    size = x.shape[axis]
    i = iota((out,), 0, "f32")
    n_in, n_out = (cast(ints(d, "i64"), "f32") for d in (size, out))

    def back(position: Value) -> Value:
        return mul(position, div(n_in, n_out)) if scale is None else div(position, scale)

    def unless_one(single: Value, many: Value) -> Value:
        """`single` where the output has one element, which a symbolic size may have."""
        if isinstance(out, int):
            return single if out == 1 else many
        return many if bounds(out)[0] > 1 else where(equal(n_out, 1.0), single, many)

    if coordinates == "asymmetric":
        return back(i)
    if coordinates == "align_corners":
        last = sub(n_in, 1.0), sub(n_out, 1.0)
        at = mul(i, div(*last)) if scale is None else div(mul(i, last[0]), last[1])
        return unless_one(mul(i, 0.0), at)
    if coordinates == "tf_half_pixel_for_nn":
        return back(add(i, 0.5))
    if coordinates == "tf_crop_and_resize":
        start, end = (r if isinstance(r, Value) else constant(r, "f32") for r in roi)
        centre = add(mul(i, 0.0), mul(sub(n_in, 1.0), mul(add(start, end), 0.5)))
        step = div(mul(sub(n_in, 1.0), sub(end, start)), sub(n_out, 1.0))
        return unless_one(centre, add(mul(i, step), mul(sub(n_in, 1.0), start)))
    half = sub(back(add(i, 0.5)), 0.5)
    if coordinates == "pytorch_half_pixel":
        return unless_one(mul(i, 0.0), half)
    if coordinates == "half_pixel_symmetric" and scale is not None:
        # the output is centred on the input even where rounding of its size lost a fraction
        adjust = div(n_out, mul(n_in, scale))
        centre = mul(n_in, 0.5)
        offset = mul(centre, sub(constant(1.0, "f32"), adjust))
        return sub(add(offset, back(add(i, 0.5))), 0.5)
    if coordinates not in ("half_pixel", "half_pixel_symmetric"):
        raise UnsupportedError(f"resize: unknown coordinate transformation {coordinates!r}")
    return half


def _integer_factor(x: Value, axis: int, out: Any) -> int | None:
    size = x.shape[axis]
    if isinstance(size, int) and isinstance(out, int):
        return out // size if size and out % size == 0 else None
    for factor in (2, 3, 4, 8, 16):
        if as_dim(lift(size) * factor) == as_dim(out):
            return factor
    return None


def resize(
    x: Value,
    axis: int,
    out: Any,
    *,
    mode: str = "linear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    scale: Scale = None,
    cubic: float = -0.75,
    exclude_outside: bool = False,
    roi: Roi = (0.0, 1.0),
    extrapolation: float = 0.0,
    table: int | None = None,
) -> Value:
    """Resize x to `out` elements along one axis, by ONNX Resize's definitions.

    mode: nearest, linear or cubic. coordinates: the coordinate transformation. rounding: the rule
    of nearest. scale: output/input size by which positions are divided (else they are multiplied by
    that of the sizes, which rounds otherwise). cubic:
    the coefficient of the cubic kernel. roi: the part of the axis that tf_crop_and_resize takes;
    `extrapolation` stands for what lies outside x. table: the cubic kernel is looked up at steps
    of 1/table, as TensorFlow does. Raises UnsupportedError for what is not ONNX's.
    """
    out = as_dim(out)
    factor = _integer_factor(x, axis, out)
    if factor == 1 and coordinates != "tf_crop_and_resize" and (scale is None or scale == 1):
        return x
    plain = (coordinates, rounding) in (
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
        ("pytorch_half_pixel", "round_prefer_floor"),
        ("tf_half_pixel_for_nn", "floor"),
    )
    if mode == "nearest" and factor and plain and (scale is None or scale == factor):
        return repeat(x, factor, axis)
    at = _source(x, axis, out, scale, coordinates, roi)
    last = cast(sub(ints(x.shape[axis], "i64"), 1), "f32")

    def take(position: Value) -> Value:
        return gather(x, cast(min_(max_(position, 0.0), last), "i32"), axis)

    if mode == "nearest":
        rules = {
            "floor": lambda: floor_(at),
            "ceil": lambda: ceil_(at),
            "round_prefer_floor": lambda: ceil_(sub(at, 0.5 + BETWEEN)),
            "round_prefer_ceil": lambda: floor_(add(at, 0.5 + BETWEEN)),
            "round_even": lambda: round_(at),
        }
        if rounding not in rules:
            raise UnsupportedError(
                f"resize: unknown rounding {rounding!r}; expected {', '.join(rules)}"
            )
        y = take(rules[rounding]())
    elif mode == "linear":
        inside = min_(max_(at, 0.0), last)
        base = floor_(inside)
        fraction = along(cast(sub(inside, base), x.dtype), axis, x.rank)
        low, high = take(base), take(add(base, 1.0))
        y = add(low, mul(sub(high, low), fraction))
    elif mode == "cubic":
        base = floor_(at)
        fraction = sub(at, base)
        if table:
            fraction = mul(round_(mul(fraction, float(table))), 1 / table)
        weights = [_cubic(abs_(sub(fraction, float(k))), cubic) for k in (-1, 0, 1, 2)]
        if exclude_outside:
            for k, w in enumerate(weights):
                p = add(base, float(k - 1))
                weights[k] = where(
                    logical_or(less(p, 0.0), greater(p, last)), constant(0.0, "f32"), w
                )
            total = add(add(weights[0], weights[1]), add(weights[2], weights[3]))
            weights = [div(w, total) for w in weights]
        terms = [
            mul(take(add(base, float(k - 1))), along(cast(w, x.dtype), axis, x.rank))
            for k, w in enumerate(weights)
        ]
        y = add(add(terms[0], terms[1]), add(terms[2], terms[3]))
    else:
        raise UnsupportedError(f"resize: unknown mode {mode!r}")
    if coordinates == "tf_crop_and_resize":
        outside = along(logical_or(less(at, 0.0), greater(at, last)), axis, x.rank)
        y = where(outside, constant(extrapolation, x.dtype), y)
    return y


def _cubic(d: Value, a: float) -> Value:
    """Keys' cubic convolution kernel (1981) at distance 0 <= d <= 2."""
    near = add(mul(sub(mul(d, a + 2), a + 3), mul(d, d)), 1.0)
    far = sub(mul(add(mul(sub(mul(d, a), 5 * a), d), 8 * a), d), 4 * a)
    return where(less(d, 1.0), near, where(less(d, 2.0), far, constant(0.0, "f32")))


def grid_sample(
    x: Value, grid: Value, mode: str = "linear", padding: str = "zeros", align_corners: bool = False
) -> Value:
    """Sample x [N, S..., C] at positions: grid [N, S'..., (..., column, row)] -> [N, S'..., C].

    Positions go from -1 to 1 over each spatial axis, which a grid names from the last to the first:
    from edge to edge of its outer elements, or between their centres where `align_corners`. mode:
    nearest, linear or cubic. padding: what lies beyond is zeros, or that of the nearest edge
    ("border"), or mirrored ("reflection"). Raises UnsupportedError for other modes.
    """
    if grid.rank != x.rank or not same(grid.shape[-1], x.rank - 2):
        raise ModelError(
            f"grid_sample: a grid {type_text(grid)} for {type_text(x)}: {x.rank} axes expected, "
            f"the last with {x.rank - 2} coordinates"
        )
    if mode not in ("linear", "nearest", "cubic") or x.rank < 4:
        raise UnsupportedError(
            f"grid_sample: mode {mode!r} on {type_text(x)}; linear, nearest and cubic over two "
            "spatial axes or more are supported"
        )
    rank = x.rank - 2
    sizes = [cast(ints(d, "i64"), "f32") for d in x.shape[1:-1]]
    at = []
    for k, size in enumerate(sizes):
        g = squeeze(slice_axis(grid, rank + 1, rank - 1 - k, 1), [rank + 1])
        if align_corners:
            p = mul(add(g, 1.0), mul(sub(size, 1.0), 0.5))
        else:
            p = sub(mul(add(g, 1.0), mul(size, 0.5)), 0.5)
        # A cubic's neighbours are brought inside one by one, other positions before they are used.
        at.append(p if mode == "cubic" else _brought_inside(p, size, padding, align_corners))

    def pick(where_: Sequence[Value]) -> Value:
        columns = [cast(min_(max_(p, 0.0), sub(n, 1.0)), "i32") for p, n in zip(where_, sizes)]
        index = concat([unsqueeze(c, [rank + 1]) for c in columns], rank + 1)
        value = gather_nd(x, index, 1)
        if padding != "zeros":
            return value
        inside = [
            logical_and(greater_equal(p, 0.0), less_equal(p, sub(n, 1.0)))
            for p, n in zip(where_, sizes)
        ]
        whole = unsqueeze(functools.reduce(logical_and, inside), [rank + 1])
        return where(whole, value, constant(0.0, x.dtype))

    if mode == "nearest":
        return pick([round_(p) for p in at])
    low = [floor_(p) for p in at]
    part = [sub(p, q) for p, q in zip(at, low)]
    steps = (-1.0, 0.0, 1.0, 2.0) if mode == "cubic" else (0.0, 1.0)

    def interpolated(where_: list[Value]) -> Value:
        """The sum over the steps along the axes that `where_` has no position for."""
        axis = len(where_)
        if axis == rank:
            return pick(where_)
        terms = []
        for step in steps:
            p = add(low[axis], step)
            if mode == "cubic":
                p = _brought_inside(p, sizes[axis], padding, align_corners)
                weight = _cubic(abs_(sub(part[axis], step)), -0.75)
            else:
                weight = part[axis] if step else sub(constant(1.0, "f32"), part[axis])
            terms.append(mul(interpolated([*where_, p]), unsqueeze(weight, [rank + 1])))
        return functools.reduce(add, terms)

    return interpolated([])


def _brought_inside(p: Value, size: Value, padding: str, corners: bool) -> Value:
    """Clamp or mirror a position to lie among `size` elements, as the padding says."""
    if padding == "border":
        return min_(max_(p, 0.0), sub(size, 1.0))
    if padding == "reflection":
        low = 0.0 if corners else -0.5
        span = sub(size, 1.0) if corners else size
        distance = abs_(sub(p, low))
        turns = floor_(div(distance, max_(span, 1.0)))  # the span of one element is 0
        rest = sub(distance, mul(turns, span))
        odd = greater(sub(turns, mul(floor_(mul(turns, 0.5)), 2.0)), 0.5)
        p = add(where(odd, sub(span, rest), rest), low)
        return min_(max_(p, 0.0), sub(size, 1.0))
    return p


__all__ = ["grid_sample", "resize"]
