"""Convolutions over one, two or three spatial axes, channels last, made of two-dimensional ones.

    >>> from webdnn.graph import placeholder
    >>> x, w = placeholder("x", (1, 9, 4), "f32"), placeholder("w", (3, 4, 8), "f32")
    >>> convolve(x, w, [2], same_pads([9], [3], [2], [1]), [1], 1).shape
    (1, 5, 8)

One axis is a picture one row high; three are a sum over the depth of the filters. Pads may be
symbolic or negative, which crops.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import NumbersNeededError, UnsupportedError
from ..expr import Dim, Expr, as_dim, lift, maximum, product
from ..graph import Value, dim_text, dims_of, is_counted
from .elementwise import add
from .linear import conv, conv_size, conv_transpose
from .movement import dilate, flip, pad, reshape, slice_axis, squeeze, transpose, unsqueeze

Pads = list[tuple[Dim, Dim]]
DEEPEST = 256  # layers of a filter: each is a convolution of its own


def static(d: Dim, what: str) -> int:
    """Require a number; raises NumbersNeededError for a symbolic dimension, called `what`."""
    if not isinstance(d, int):
        if is_counted(d):
            raise UnsupportedError(f"{what} must be a number, but {dim_text(d)} only a run finds")
        names = [str(s.args[0]) for s in dims_of([(d,)])]
        raise NumbersNeededError(f"{what} must be a number, but is {dim_text(d)}", names)
    return d


def same_pads(
    sizes: Sequence[Dim],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    upper: bool = True,
) -> Pads:
    """Padding (before, after) of each spatial axis that gives ceil(size / stride) windows.

    An odd element goes after where `upper`, else before.
    """
    out: Pads = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations):
        reach = (k - 1) * d + 1
        needed = ((lift(size) + (s - 1)) // s - 1) * s + reach - size
        total = maximum(lift(needed), 0)
        small = as_dim(total // 2)
        large = as_dim(total - small)
        out.append((small, large) if upper else (large, small))
    return out


def convolve(
    x: Value, w: Value, strides: Sequence[int], pads: Pads, dilations: Sequence[int], groups: int
) -> Value:
    """Convolve x [N, spatial..., C] with w [k..., C/groups, M]; one to three spatial axes."""
    if any(isinstance(p, Expr) or p < 0 for pair in pads for p in pair):
        x = pad(x, [0, *(p for p, _ in pads), 0], [0, *(p for _, p in pads), 0])
        pads = [(0, 0)] * len(pads)
    n = x.shape[0]
    if x.rank == 3:
        wide = convolve(
            unsqueeze(x, [1]),
            unsqueeze(w, [0]),
            (1, *strides),
            [(0, 0), *pads],
            (1, *dilations),
            groups,
        )
        return squeeze(wide, [1])
    if x.rank == 4:
        (top, bottom), (left, right) = pads
        return conv(x, w, strides, (top, left, bottom, right), dilations, groups)  # type: ignore[arg-type]
    if x.rank != 5:
        raise UnsupportedError(f"convolution over {x.rank - 2} spatial axes; up to 3 are supported")
    # A sum over the kernel's depth of two-dimensional convolutions, the depth being part of the
    # batch.
    layers_deep = static(w.shape[0], "the filter's depth")
    if layers_deep > DEEPEST:
        raise UnsupportedError(
            f"convolution by filters {layers_deep} deep; up to {DEEPEST} are supported"
        )
    (front, back), *pads = pads
    x = pad(x, [0, front, 0, 0, 0], [0, back, 0, 0, 0])
    depth = conv_size(x.shape[1], w.shape[0], strides[0], dilations[0], 0, 0)  # type: ignore[arg-type]
    total: Value | None = None
    for k in range(layers_deep):
        layers = slice_axis(x, 1, k * dilations[0], depth, strides[0])
        flat = reshape(layers, (product([n, depth]), *x.shape[2:]))
        part = convolve(
            flat,
            squeeze(slice_axis(w, 0, k, 1), [0]),
            strides[1:],
            pads,
            dilations[1:],
            groups,
        )
        total = part if total is None else add(total, part)
    assert total is not None
    return reshape(total, (n, depth, *total.shape[1:]))


def convolve_transpose(
    x: Value,
    w: Value,
    strides: Sequence[int],
    pads: list[tuple[int, int]],
    dilations: Sequence[int],
    groups: int,
    extra: Sequence[int],
) -> Value:
    """Transposed convolution of x [N, spatial..., C] with w [k..., C, M/groups]."""
    if x.rank == 3:
        y = convolve_transpose(
            unsqueeze(x, [1]),
            unsqueeze(w, [0]),
            (1, *strides),
            [(0, 0), *pads],
            (1, *dilations),
            groups,
            (0, *extra),
        )
        return squeeze(y, [1])
    if x.rank == 4:
        (top, bottom), (left, right) = pads
        return conv_transpose(x, w, strides, (top, left, bottom, right), dilations, groups, extra)
    # The adjoint of a convolution: the flipped filters over x with zeros between its elements.
    *kernel, c, m = w.shape
    r = len(kernel)
    f = reshape(flip(w, range(r)), (*kernel, groups, as_dim(lift(c) // groups), m))
    f = transpose(f, (*range(r), r + 1, r, r + 2))
    f = reshape(f, (*kernel, as_dim(lift(c) // groups), as_dim(lift(m) * groups)))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations)]
    around: Pads = [
        (e - before, e - after + more) for e, (before, after), more in zip(reach, pads, extra)
    ]
    return convolve(dilate(x, (1, *strides, 1)), f, [1] * r, around, dilations, groups)


__all__ = ["convolve", "convolve_transpose", "same_pads", "static"]
