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
computes `composed`, the convolution that it was, or by `winograd_products` where that is faster: a
transform, a product of all tiles with the filters for each of the 36 values, and a transform.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..expr import Dim, Expr, as_dim, binary, const, lift, product, select, var
from ..graph import Node, Op, Shape, Template, Value, any_view, no_view
from .linear import (
    PACKED_CONV,
    PACKED_MATMUL,
    PANEL,
    conv_space,
    conv_view,
    conv_window,
    packed_conv_infer,
)
from .movement import reshape

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


# What six values along an axis of the picture become at the points, and the points' sums the four
# of the result.
B = (
    (1.0, 0.0, -2.5, 0.0, 1.0, 0.0),
    (0.0, -2 * _S, -2.0, _S, 1.0, 0.0),
    (0.0, 2 * _S, -2.0, -_S, 1.0, 0.0),
    (0.0, -_S, -0.5, 2 * _S, 1.0, 0.0),
    (0.0, _S, -0.5, -2 * _S, 1.0, 0.0),
    (0.0, 1.0, 0.0, -2.5, 0.0, 1.0),
)
A = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, _S, -_S, 2 * _S, -2 * _S, 0.0),
    (0.0, 0.5, 0.5, 2.0, 2.0, 0.0),
    (0.0, _S / 2, -_S / 2, 4 * _S, -4 * _S, 1.0),
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


# ---- by products: where the memory of one workgroup holds no tile of all channels ----------------


def _tiles(size: Dim) -> Dim:
    """How many tiles lie along an axis of the result."""
    return as_dim((lift(size) + (TILE - 1)) // TILE)


def _tile_vars(b: Dim, y: Dim, x: Dim) -> tuple[dict[str, Expr], Expr]:
    """The variables of a tile, and its number."""
    sizes = {"b": b, "ty": _tiles(y), "tx": _tiles(x), "at": POINTS**2}
    v = {name: var(name, size) for name, size in sizes.items()}
    return v, (v["b"] * sizes["ty"] + v["ty"]) * sizes["tx"] + v["tx"]


def _input_infer(
    x: Value, *, height: Dim, width: Dim, pad: tuple[int, int]
) -> list[tuple[Shape, str]]:
    n, _, _, c = x.shape
    return [((POINTS**2, product([n, _tiles(height), _tiles(width)]), c), x.dtype)]


def _input_vars(node: Node) -> tuple[dict[str, Expr], Expr]:
    n, h, w, c = node.inputs[0].shape
    v, tile = _tile_vars(n, node.attrs["height"], node.attrs["width"])
    return {**v, "c": var("c", c), "iy": var("iy", h), "ix": var("ix", w)}, tile


def _input_define(node: Node, read: Any) -> Mapping[str, Any]:
    v, _ = _input_vars(node)
    return {
        "vars": v,
        "holes": {"a": read(0, (v["b"], v["iy"], v["ix"], v["c"]))},
        "sums": (),
        "attrs": {"pad": node.attrs["pad"], "matrix": B, "tile": TILE},
    }


def _input_space(node: Node) -> tuple[Any, ...]:
    v, tile = _input_vars(node)
    return v["at"], tile, v["c"]


# [N,H,W,C] -> [36, tiles, C]: what each tile of a result of `height` by `width` reads, transformed.
WINOGRAD_INPUT = Op(
    "winograd_input",
    "template",
    _input_infer,
    template=Template("winograd_input", _input_define, (conv_view,), _input_space),
)


def _output_infer(s: Value, *, shape: tuple[Dim, ...]) -> list[tuple[Shape, str]]:
    return [(shape, s.dtype)]


def _output_define(node: Node, read: Any) -> Mapping[str, Any]:
    b, y, x, m = node.attrs["shape"]
    v, tile = _tile_vars(b, y, x)
    v |= {"y": var("y", y), "x": var("x", x), "c": var("c", m)}
    return {
        "vars": v,
        "holes": {"a": read(0, (v["at"], tile, v["c"]))},
        "sums": (),
        "attrs": {"pad": (0, 0), "matrix": A, "tile": TILE},
    }


# [36, tiles, M] -> `shape`, [N,Y,X,M]: the tiles of the result, of the sums at the points.
WINOGRAD_OUTPUT = Op(
    "winograd_output",
    "template",
    _output_infer,
    template=Template(
        "winograd_output",
        _output_define,
        (any_view,),
        lambda node: tuple(var(k, d) for k, d in zip("byxc", node.attrs["shape"], strict=True)),
    ),
)


def winograd_products(v: Value) -> Value:
    """The same as a product for each point, between two transforms."""
    x, _, u = v.inputs
    _, y, across, m = v.shape
    tiles = WINOGRAD_INPUT(x, height=y, width=across, pad=tuple(v.attrs["pads"][:2]))
    filters = reshape(u, (POINTS**2, *u.shape[2:]))
    return WINOGRAD_OUTPUT(PACKED_MATMUL(tiles, filters, n=m), shape=v.shape)


def winograd(v: Value) -> Value:
    """The same of a packed convolution of one group, 3x3, not strided, not dilated."""
    x, w = v.inputs
    return WINOGRAD(x, w, FILTERS(w), **v.attrs)


__all__ = ["WINOGRAD", "winograd"]
