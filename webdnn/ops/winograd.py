"""Convolutions of 3x3 by Winograd's way: a quarter of the multiplications, and some additions.

    >>> from webdnn.graph import constant, placeholder
    >>> from webdnn.ops.linear import pack_conv
    >>> x = placeholder("x", (1, 14, 14, 64), "f32")
    >>> w = constant(np.zeros((3, 3, 64, 64), np.float32))
    >>> winograd(pack_conv(x, w, (1, 1), (1, 1, 1, 1), (1, 1), 1))
    winograd:f32[1,14,14,64]

F(4x4, 3x3) reads 6x6 of the picture, transforms it (B), multiplies it element by element with the
transformed filter (G), summing over channels, and transforms the 6x6 sums to 4x4 of the result (A).
It is interpolation, at the points 0, ±√½, ±√2 and infinity. Of the usual choices these make the
smallest rounding errors: a few times those of the plain sum.

The transformed filters are four times as large as the filters. They are no constant: what is
downloaded are the filters, and `Program.prepare` transforms them. A target without the template
computes `composed`, the convolution that it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..expr import Expr, binary, const, lift, select, var
from ..graph import Node, Op, Shape, Template, Value, no_view
from .linear import PACKED_CONV, PANEL, conv_space, conv_view, conv_window, packed_conv_infer

TILE = 4  # of the result, along an axis
POINTS = TILE + 2
_S = math.sqrt(2) / 2
# Row i evaluates a filter's polynomial at point i, over the product of its distances to others.
G = (
    (1.0, 0.0, 0.0),
    (-2 / 3, -2 / 3 * _S, -1 / 3),
    (-2 / 3, 2 / 3 * _S, -1 / 3),
    (1 / 6, _S / 3, 1 / 3),
    (1 / 6, -_S / 3, 1 / 3),
    (0.0, 0.0, 1.0),
)


def _filters_infer(w: Value) -> list[tuple[Shape, str]]:
    _, panels, depth, _ = w.shape
    assert isinstance(depth, int)
    return [((POINTS, POINTS, panels, depth // 9, PANEL), w.dtype)]


def _row(i: Expr, k: int) -> Expr:
    """G[i][k]"""
    e = const(G[-1][k], "f32")
    for at in reversed(range(POINTS - 1)):
        e = select(binary("eq", i, at), const(G[at][k], "f32"), e)
    return e


def _filters_element(node: Node, read: Any, idx: tuple[Any, ...]) -> Expr:
    i, j, panel, c, lane = (lift(e) for e in idx)
    channels = node.outputs[0].shape[3]
    total: Expr | None = None
    for ky in range(3):
        for kx in range(3):
            tap = read(0, (lift(0), panel, channels * (3 * ky + kx) + c, lane))
            term = tap * (_row(i, ky) * _row(j, kx))
            total = term if total is None else total + term
    assert total is not None
    return total


def _filters_numpy(w: np.ndarray) -> np.ndarray:
    _, panels, depth, lanes = w.shape
    taps = w.reshape(panels, 3, 3, depth // 9, lanes)
    g = np.array(G, np.float32)
    return np.einsum("iy,jx,pyxcl->ijpcl", g, g, taps, optimize=True)


# Filters in panels -> [6, 6, panels, C, 8]; never folded, for it would be downloaded.
FILTERS = Op(
    "winograd_filters", "map", _filters_infer, _filters_element, _filters_numpy, grows=0, flops=18
)


def _composed(x: Value, w: Value, u: Value, **attrs: Any) -> Value:
    return PACKED_CONV(x, w, **attrs)


def _define(node: Node, read: Any) -> Mapping[str, Any]:
    v, attrs = conv_window(node, node.attrs["kernel"])
    n, c = var("n", node.attrs["m"]), var("c", node.inputs[0].shape[-1])
    return {
        "vars": {**v, "n": n, "c": c},
        "holes": {
            "u": read(2, (0, 0, n // PANEL, c, n % PANEL)),
            "a": read(0, (v["b"], v["iy"], v["ix"], c)),
        },
        "sums": ("ky", "kx", "c"),
        "attrs": attrs,
    }


WINOGRAD = Op(
    "winograd",
    "template",
    lambda x, w, u, **attrs: packed_conv_infer(x, w, **attrs),
    template=Template("winograd", _define, (conv_view, no_view), conv_space),
    composed=_composed,
)


def winograd(v: Value) -> Value:
    """The same of a packed convolution of one group, 3x3, not strided, not dilated."""
    x, w = v.inputs
    return WINOGRAD(x, w, FILTERS(w), **v.attrs)


__all__ = ["WINOGRAD", "winograd"]
