"""Reductions over axes: one monoid each, and operators composed of them.

    >>> from webdnn.graph import placeholder
    >>> softmax(placeholder("x", (2, 5), "f32"), -1)
    div:f32[2,5]

Reduced axes are kept with size 1. Softmax and the normalisations are compositions; the fuser puts
reductions over the same axes, and the elementwise work between them, into one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..expr import Dim, as_dim, lift, product, same
from ..graph import (
    DTYPES,
    FLOATS,
    FROM_NUMPY,
    Op,
    Shape,
    Value,
    array_type,
    computed,
    constant,
    type_text,
)
from ..scalar import MONOIDS
from .elementwise import (
    abs_,
    add,
    cast,
    div,
    exp_,
    greater_equal,
    is_inf,
    less_equal,
    log_,
    mul,
    neg,
    pow_,
    rsqrt_,
    sqrt_,
    sub,
    where,
)
from .known import INTS, ints, known
from .movement import along, axis_in, expand, flip, iota, pad, reshape, slice_axis, windows


def _reduce_infer(x: Value, *, monoid: str, axes: tuple[int, ...]) -> list[tuple[Shape, str]]:
    if monoid not in MONOIDS:
        raise AssertionError(monoid)
    shape = tuple(1 if k in axes else d for k, d in enumerate(x.shape))
    return [(shape, "i64" if monoid.startswith("arg") else x.dtype)]


def _reduce_numpy(x: np.ndarray, *, monoid: str, axes: tuple[int, ...]) -> np.ndarray:
    plain: dict[str, Callable[..., Any]] = {
        "sum": np.sum,
        "prod": np.prod,
        "max": np.max,
        "min": np.min,
        "any": np.any,
        "all": np.all,
    }
    if monoid in plain:
        # float32 is summed in 64 bits, without a wide copy of what may be a large weight
        wide = {"dtype": np.float64} if monoid in ("sum", "prod") and x.dtype == np.float32 else {}
        # numpy knows what is nothing's sum, but not its maximum
        least = monoid in ("max", "min") and not x.size
        first = {"initial": neutral(monoid, FROM_NUMPY[x.dtype.name])} if least else {}
        return np.asarray(plain[monoid](x, axis=axes, keepdims=True, **wide, **first))
    (axis,) = axes
    find = np.argmax if "max" in monoid else np.argmin
    if monoid.endswith("last"):
        return x.shape[axis] - 1 - np.expand_dims(find(np.flip(x, axis), axis), axis)
    return np.expand_dims(find(x, axis), axis)


def neutral(monoid: str, dtype: str) -> Any:
    """The element that changes nothing where elements of a dtype are combined."""
    fixed = {"sum": 0, "prod": 1, "any": False, "all": True}
    if monoid in fixed:
        return fixed[monoid]
    least = "max" in monoid
    if dtype in FLOATS:
        return float("-inf" if least else "inf")
    if dtype == "bool":
        return not least
    kept = np.iinfo(DTYPES[dtype if array_type(dtype).itemsize < 4 else computed(dtype)])
    return kept.min if least else kept.max


REDUCE = Op(
    "reduce",
    "reduce",
    _reduce_infer,
    None,
    _reduce_numpy,
    combines=lambda node: [
        (0, node.attrs["axes"], neutral(node.attrs["monoid"], node.inputs[0].dtype))
    ],
)
SCAN = Op(
    "scan",
    "reduce",
    lambda x, *, monoid, axes: [(x.shape, x.dtype)],
    None,
    lambda x, *, monoid, axes: np.cumsum(x, axes[0]),
    prefixes=True,
)


def reduce(x: Value, monoid: str, axes: Sequence[int]) -> Value:
    """Combine elements by `monoid` (a row of scalar.MONOIDS) over axes, which stay with size 1.

    The result has x's dtype; argmax and argmin give i64 and take one axis, else they raise
    UnsupportedError.
    """
    at = tuple(sorted({axis_in(a, x) for a in axes}))
    if all(x.shape[a] == 1 for a in at):
        if not monoid.startswith("arg"):
            return x
        return expand(constant(0, "i64"), x.shape)  # the only element is the first
    if monoid.startswith("arg") and len(at) != 1:
        raise UnsupportedError(f"{monoid} over axes {at} of {type_text(x)}: one axis expected")
    if any(x.shape[a] == 0 for a in at) and not monoid.startswith("arg"):  # of nothing
        shape = [1 if k in at else d for k, d in enumerate(x.shape)]
        return expand(constant(neutral(monoid, x.dtype), x.dtype), shape)
    values = known(x) if x.op is INTS else None
    if values is not None and monoid in ("sum", "prod"):
        combine: Callable[..., Any] = np.sum if monoid == "sum" else np.prod
        return ints(combine(values, axis=at, keepdims=True), x.dtype)
    return REDUCE(x, monoid=monoid, axes=at)


def reduce_sum(x: Value, axes: Sequence[int]) -> Value:
    """The sum over axes."""
    return reduce(x, "sum", axes)


def reduce_max(x: Value, axes: Sequence[int]) -> Value:
    """The maximum over axes."""
    return reduce(x, "max", axes)


def count(x: Value, axes: Sequence[int], dtype: str) -> Value:
    """The number of elements that a reduction over axes combines, as a scalar."""
    n = product([x.shape[a] for a in axes])
    return cast(ints(n, "i64"), dtype)


def reduce_mean(x: Value, axes: Sequence[int]) -> Value:
    """The mean over axes, in x's dtype (integers truncate)."""
    total = reduce(x, "sum", axes)
    n = product([x.shape[a] for a in axes])
    if isinstance(n, int) and n and x.dtype in FLOATS:
        return mul(total, 1 / n) if n & (n - 1) == 0 else div(total, float(n))
    return div(total, count(x, axes, x.dtype))


def cumsum(x: Value, axis: int, exclusive: bool = False, reverse: bool = False) -> Value:
    """Prefix sums along an axis, of x's shape and dtype.

    exclusive: without the element itself. reverse: from the end.
    """
    axis = axis_in(axis, x)
    if reverse:
        return flip(cumsum(flip(x, [axis]), axis, exclusive), [axis])
    if exclusive:
        zero = [0] * x.rank
        x = pad(x, [1 if k == axis else 0 for k in range(x.rank)], zero)
        x = slice_axis(x, axis, 0, as_dim(lift(x.shape[axis]) - 1))
    return SCAN(x, monoid="scan_sum", axes=(axis,))


def softmax(x: Value, axis: int) -> Value:
    """exp(x - max) / sum(exp(x - max)) along an axis."""
    e = exp_(sub(x, reduce_max(x, [axis])))
    return div(e, reduce_sum(e, [axis]))


def log_softmax(x: Value, axis: int) -> Value:
    """log(softmax(x)) without overflow."""
    shifted = sub(x, reduce_max(x, [axis]))
    return sub(shifted, log_(reduce_sum(exp_(shifted), [axis])))


def log_sum_exp(x: Value, axes: Sequence[int]) -> Value:
    """log(sum(exp(x))) without overflow; infinities as they are."""
    m = reduce_max(x, axes)
    m = where(is_inf(m), 0.0, m)
    return add(log_(reduce_sum(exp_(sub(x, m)), axes)), m)


def normalize(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over axes (population variance)."""
    d = sub(x, reduce_mean(x, axes))
    return mul(d, rsqrt_(add(reduce_mean(mul(d, d), axes), epsilon)))


def batch_normalize(
    x: Value,
    mean: Value,
    variance: Value,
    scale: Value | None,
    bias: Value | None,
    epsilon: float,
    axes: Sequence[int],
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias by stored statistics along axes.

    It is a factor and an offset, computed in f32, which fold into weights before it. Raises
    ModelError for statistics that are not of the shape of these axes.
    """
    expected = [x.shape[a] for a in axes]
    for w in (mean, variance, scale, bias):
        if w is not None and not (w.rank == len(axes) and all(map(same, w.shape, expected))):
            raise ModelError(
                f"batch normalisation of {type_text(x)} by {type_text(w)}: {expected} expected"
            )
    m, v, s, b = (None if w is None else cast(w, "f32") for w in (mean, variance, scale, bias))
    assert m is not None and v is not None
    factor = rsqrt_(add(v, epsilon))
    factor = factor if s is None else mul(s, factor)
    offset = neg(mul(m, factor)) if b is None else sub(b, mul(m, factor))
    factor, offset = (along(cast(w, x.dtype), axes, x.rank) for w in (factor, offset))
    return add(mul(x, factor), offset)


def group_normalize(x: Value, groups: int, axis: int, epsilon: float) -> Value:
    """`normalize` of each image over groups of an axis and all others (Wu and He, 1803.08494)."""
    c = as_dim(lift(x.shape[axis]) // groups)
    parts = reshape(x, (*x.shape[:axis], groups, c, *x.shape[axis + 1 :]))
    axes = [k for k in range(1, parts.rank) if k != axis]
    return reshape(normalize(parts, axes, epsilon), x.shape)


def rms_normalize(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """x / sqrt(mean(x^2) + epsilon) over axes (Zhang and Sennrich, arXiv 1910.07467)."""
    return mul(x, rsqrt_(add(reduce_mean(mul(x, x), axes), epsilon)))


def lp_norm(x: Value, p: int, axes: Sequence[int]) -> Value:
    """The 1- or 2-norm over axes. Raises UnsupportedError for another."""
    if p not in (1, 2):
        raise UnsupportedError(f"the {p}-norm; 1 and 2 are supported")
    return reduce_sum(abs_(x), axes) if p == 1 else sqrt_(reduce_sum(mul(x, x), axes))


def _pool_windows(
    x: Value,
    size: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[Dim, Dim]],
    dilation: Sequence[int],
    fill: float,
) -> Value:
    """Windows over the axes between the first (batch) and the last (channels)."""
    axes = list(range(1, x.rank - 1))
    before = [0] + [b for b, _ in pads] + [0]
    after = [0] + [a for _, a in pads] + [0]
    return windows(pad(x, before, after, "constant", fill), axes, size, stride, dilation)


def max_pool(
    x: Value,
    size: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[Dim, Dim]],
    dilation: Sequence[int],
) -> Value:
    """Maximum of each window of x [N, spatial..., C]; padding never wins."""
    w = _pool_windows(x, size, stride, pads, dilation, neutral("max", x.dtype))
    y = reduce(w, "max", range(x.rank, w.rank))
    return reshape(y, y.shape[: x.rank])


def average_pool(
    x: Value,
    size: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[Dim, Dim]],
    dilation: Sequence[int],
    include_pad: bool = False,
    extra: Sequence[Dim] = (),
) -> Value:
    """Mean of each window of x [N, spatial..., C], padding left out unless include_pad.

    `extra[k]` of the padding after axis k (ceil mode) never counts, even with include_pad.
    """
    w = _pool_windows(x, size, stride, pads, dilation, 0)
    total = reduce(w, "sum", range(x.rank, w.rank))
    y = reshape(total, total.shape[: x.rank])
    if all(b == 0 and a == 0 for b, a in pads) or (include_pad and not any(e != 0 for e in extra)):
        return mul(y, 1 / int(np.prod(size)))
    # How many elements each window covers is separable: a product of counts along each axis.
    scale: Value | None = None
    for k, (b, a) in enumerate(pads):
        axis = k + 1
        shape: list[Dim] = [1] * x.rank
        shape[axis] = x.shape[axis]
        ones = expand(constant(np.ones([1] * x.rank, np.float32)), shape)
        fill: list[Dim] = [0] * x.rank
        lo, hi = list(fill), list(fill)
        lo[axis], hi[axis] = b, a
        if include_pad:
            e = extra[k] if extra else 0
            hi[axis] = a - e
            ones = pad(ones, lo, hi, "constant", 1.0)
            lo, hi = list(fill), list(fill)
            hi[axis] = e
        cover = windows(pad(ones, lo, hi), [axis], [size[k]], [stride[k]], [dilation[k]])
        n = reduce(cover, "sum", [x.rank])
        n = reshape(n, n.shape[: x.rank])
        scale = n if scale is None else mul(scale, n)
    assert scale is not None
    return div(y, cast(scale, x.dtype))


def lrn(x: Value, size: int, alpha: float, beta: float, bias: float) -> Value:
    """Local response normalisation over the last axis (Krizhevsky et al., 2012)."""
    if size < 1:
        raise ModelError(f"local response normalisation over {size} channels: 1 or more expected")
    before = (size - 1) // 2
    squares = pad(
        mul(x, x), [0] * (x.rank - 1) + [before], [0] * (x.rank - 1) + [size - 1 - before]
    )
    w = windows(squares, [x.rank - 1], [size], [1], [1])
    total = reshape(reduce(w, "sum", [x.rank]), x.shape)
    return div(x, pow_(add(mul(total, alpha / size), bias), beta))


def trilu(x: Value, k: Any, upper: bool) -> Value:
    """The upper or lower triangle of the last two axes, diagonal k included; zeros elsewhere."""
    rows, cols = x.shape[-2:]
    r = iota((rows, 1), 0)
    c = iota((1, cols), 1)
    keep = (greater_equal if upper else less_equal)(c, add(r, k))
    zero = constant(0, x.dtype)
    return where(keep, x, zero)


__all__ = [
    "REDUCE",
    "SCAN",
    "average_pool",
    "batch_normalize",
    "cumsum",
    "group_normalize",
    "log_softmax",
    "log_sum_exp",
    "lp_norm",
    "lrn",
    "max_pool",
    "normalize",
    "reduce",
    "reduce_max",
    "reduce_mean",
    "reduce_sum",
    "rms_normalize",
    "softmax",
    "trilu",
]
