"""Attention: a softmax of products, times a product, in one operator.

    >>> from webdnn.graph import placeholder
    >>> q, v = (placeholder(name, (2, 5, 8), "f32") for name in "qv")
    >>> k = placeholder("k", (2, 8, 5), "f32")
    >>> attention(q, k, v, ())
    attention:f32[2,5,8]

Front ends do not make it: `passes.attention` recognises it. A target without the template computes
`composed`, the products and the softmax that it was recognised from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..expr import Expr, acc, binary, free, product, same, select, unary, var
from ..graph import Node, Op, Shape, Template, Value, any_place
from .elementwise import add, broadcast_index, broadcast_shapes, div, mul, sub
from .linear import matmul_space, pack_matmul
from .reduce import softmax

# What may stand between the first product and the softmax.
STEPS = {"add": add, "sub": sub, "mul": mul, "div": div}


def _infer(
    q: Value, k: Value, v: Value, *others: Value, steps: tuple[tuple[str, bool], ...]
) -> list[tuple[Shape, str]]:
    batch = broadcast_shapes(broadcast_shapes(q.shape[:-2], k.shape[:-2]), v.shape[:-2])
    return [((*batch, q.shape[-2], v.shape[-1]), q.dtype)]


def _define(node: Node, read: Any) -> Mapping[str, Any]:
    q, k, v, *others = node.inputs
    *batch, m, n = matmul_space(node)
    t, d = var("t", k.shape[-1]), var("d", q.shape[-1])
    score: Expr = acc(1, 0, "f32")
    for at, (x, (name, first)) in enumerate(zip(others, node.attrs["steps"], strict=True), 3):
        other = read(at, broadcast_index((*batch, m, t), x.shape))
        score = binary(name, *((score, other) if first else (other, score)))
    axes = {v.args[0]: v for e in batch for v in free(e, "var")}
    return {
        "vars": {**dict(sorted(axes.items())), "m": m, "n": n, "t": t, "d": d},
        "holes": {
            "q": read(0, broadcast_index((*batch, m, d), q.shape)),
            "k": read(1, broadcast_index((*batch, d, t), k.shape)),
            "v": read(2, broadcast_index((*batch, t, n), v.shape)),
            "score": score,
        },
        "sums": ("t", "d"),
        "attrs": {},
    }


def _once(node: Node) -> tuple[int, ...]:
    """Keys and values, with one query for each batch and head."""
    _, k, v, *_ = node.inputs
    *batch, rows, _ = node.outputs[0].shape
    alone = (i for i, x in ((1, k), (2, v)) if same(product(x.shape[:-2]), product(batch)))
    return tuple(alone) if rows == 1 else ()


def _composed(
    q: Value, k: Value, v: Value, *others: Value, steps: tuple[tuple[str, bool], ...]
) -> Value:
    x = pack_matmul(q, k)
    for other, (name, first) in zip(others, steps, strict=True):
        x = STEPS[name](x, other) if first else STEPS[name](other, x)
    return pack_matmul(softmax(x, -1), v)


def _join(parts: Sequence[Any], beside: Sequence[Sequence[Any]]) -> Any:
    """Sums of weighted values, from each slice's sums, largest score and total weight."""
    most = beside[0][0]
    for high, _ in beside[1:]:
        most = binary("max", most, high)
    total, weights = None, None
    for part, (high, weight) in zip(parts, beside, strict=True):
        # A slice without any key has -inf, as have all where there are no keys at all.
        scale = select(binary("eq", high, most), 1.0, unary("exp", high - most))
        total = part * scale if total is None else total + part * scale
        weights = weight * scale if weights is None else weights + weight * scale
    return binary("div", total, weights)


ATTENTION = Op(
    "attention",
    "template",
    _infer,
    template=Template(
        "attention", _define, (any_place,), matmul_space, beside=2, once=_once, join=_join
    ),
    composed=_composed,
)


def attention(q: Value, k: Value, v: Value, steps: Sequence[tuple[str, bool, Value]]) -> Value:
    """softmax(f(q @ k)) @ v over q [..., M, D], k [..., D, T], v [..., T, E], batch axes broadcast.

    f: one after the other, (a name of STEPS, whether the scores come first, the other operand).
    """
    return ATTENTION(
        q, k, v, *(x for _, _, x in steps), steps=tuple((name, first) for name, first, _ in steps)
    )


__all__ = ["ATTENTION", "attention"]
