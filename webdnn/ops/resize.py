"""Resizing along axes: nearest, linear and cubic interpolation, as compositions.

Coordinates are computed as tensors (so they fold into small tables where sizes are known) and
elements are gathered along one axis at a time: interpolation is separable.
"""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedError
from ..expr import as_dim, bounds, lift
from ..graph import Value, constant
from .elementwise import (
    abs_,
    add,
    cast,
    ceil_,
    div,
    equal,
    floor_,
    greater,
    less,
    logical_or,
    max_,
    min_,
    mul,
    round_,
    sub,
    where,
)
from .indexing import gather
from .known import ints
from .movement import iota, repeat, reshape


def _source(
    x: Value, axis: int, out: Any, scale: float | None, coordinates: str, roi: tuple[float, float]
) -> Value:
    """The source coordinate (f32[out]) of each output position; `scale`: output/input size."""
    size = x.shape[axis]
    i = iota((out,), 0, "f32")
    n_in, n_out = (cast(ints(d, "i64"), "f32") for d in (size, out))
    inverse = constant(1 / scale, "f32") if scale else div(n_in, n_out)

    def unless_one(single: Value, many: Value) -> Value:
        """`single` where the output has one element, which a symbolic size may have."""
        if isinstance(out, int):
            return single if out == 1 else many
        return many if bounds(out)[0] > 1 else where(equal(n_out, 1.0), single, many)

    if coordinates == "asymmetric":
        return mul(i, inverse)
    if coordinates == "align_corners":
        return unless_one(mul(i, 0.0), mul(i, div(sub(n_in, 1.0), sub(n_out, 1.0))))
    if coordinates == "tf_half_pixel_for_nn":
        return mul(add(i, 0.5), inverse)
    if coordinates == "tf_crop_and_resize":
        start, end = roi
        centre = add(mul(i, 0.0), mul(sub(n_in, 1.0), 0.5 * (start + end)))
        step = div(mul(sub(n_in, 1.0), end - start), sub(n_out, 1.0))
        return unless_one(centre, add(mul(i, step), mul(sub(n_in, 1.0), start)))
    half = sub(mul(add(i, 0.5), inverse), 0.5)
    if coordinates == "pytorch_half_pixel":
        return unless_one(mul(i, 0.0), half)
    if coordinates == "half_pixel_symmetric" and scale:
        # the output is centred on the input even where rounding of its size lost a fraction
        adjust = div(n_out, mul(n_in, scale))
        centre = mul(n_in, 0.5)
        offset = mul(centre, sub(constant(1.0, "f32"), adjust))
        return add(offset, half)
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


def _along(x: Value, axis: int, w: Value) -> Value:
    """A vector as a tensor that broadcasts along `axis` of x."""
    return reshape(w, [w.size if k == axis else 1 for k in range(x.rank)])


def resize(
    x: Value,
    axis: int,
    out: Any,
    *,
    mode: str = "linear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    scale: float | None = None,
    cubic: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    roi: tuple[float, float] = (0.0, 1.0),
    extrapolation: float = 0.0,
    table: int | None = None,
) -> Value:
    """x resized to `out` elements along one axis, by ONNX Resize's definitions.

    mode: nearest, linear or cubic. coordinates: the coordinate transformation. rounding: the rule
    of nearest. scale: output/input size where the model gives it (else that of the sizes). cubic:
    the coefficient of the cubic kernel. roi: the part of the axis that tf_crop_and_resize takes;
    `extrapolation` stands for what lies outside x. table: the cubic kernel is looked up at steps
    of 1/table, as TensorFlow does. Raises UnsupportedError for what is not ONNX's.
    """
    out = as_dim(out)
    if antialias:
        raise UnsupportedError("resize: antialias is not supported; export the model without it")
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
        rounded = {
            "floor": lambda: floor_(at),
            "ceil": lambda: ceil_(at),
            "round_prefer_floor": lambda: ceil_(sub(at, 0.5)),
            "round_prefer_ceil": lambda: floor_(add(at, 0.5)),
            "round_even": lambda: round_(at),
        }[rounding]()
        y = take(rounded)
    elif mode == "linear":
        inside = min_(max_(at, 0.0), last)
        base = floor_(inside)
        fraction = _along(x, axis, cast(sub(inside, base), x.dtype))
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
            mul(take(add(base, float(k - 1))), _along(x, axis, cast(w, x.dtype)))
            for k, w in enumerate(weights)
        ]
        y = add(add(terms[0], terms[1]), add(terms[2], terms[3]))
    else:
        raise UnsupportedError(f"resize: unknown mode {mode!r}")
    if coordinates == "tf_crop_and_resize":
        outside = _along(x, axis, logical_or(less(at, 0.0), greater(at, last)))
        y = where(outside, constant(extrapolation, x.dtype), y)
    return y


def _cubic(d: Value, a: float) -> Value:
    """Keys' cubic convolution kernel (1981) at distance 0 <= d <= 2."""
    near = add(mul(sub(mul(d, a + 2), a + 3), mul(d, d)), 1.0)
    far = sub(mul(add(mul(sub(mul(d, a), 5 * a), d), 8 * a), d), 4 * a)
    return where(less(d, 1.0), near, where(less(d, 2.0), far, constant(0.0, "f32")))


__all__ = ["resize"]
