"""Matrix products with constant weights become fewer, and follow their input's order in memory.

    matmul(reshape(T(x)), w)                 ->  matmul(reshape(x), w with its rows permuted)
    sum(x[:, None] * w, 0)                   ->  matmul(x[None], w)
    matmul(x, w1), matmul(x, w2)             ->  slices of matmul(x, concat(w1, w2))

The first removes the transpose between the convolutions and the first dense layer of an NHWC
classifier. The second is how a mixture of learned vectors (styles, experts) is sometimes written.
The third is for the projections of attention: one product of three times the width is
one launch, reads x once, and fills more of a GPU at small batches. It is done only where nothing
elementwise but a bias follows: an activation is fused into the store of its own product, and would
otherwise become another pass over memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..graph import FLOATS, Graph, Rule, Value, constant, rewrite
from ..ops.movement import groups
from ..ops.quantised import stored_halves
from .affine import last, shift
from .layout import is_transpose

Uses = Mapping[Value, int]


def flattened(v: Value, uses: Uses) -> Value | None:
    """matmul(reshape(transpose(x)), w) -> matmul(reshape(x), w') if only merged axes moved"""
    if v.op is not ops.MATMUL or not v.inputs[1].weight or v.inputs[0].op is not ops.RESHAPE:
        return None
    a, w = v.inputs
    (t,) = a.inputs
    if not is_transpose(t):
        return None
    try:
        left, right = groups(t.shape, a.shape)[-1]
    except ValueError:
        return None
    dims = [t.shape[k] for k in left]
    if list(right) != [a.rank - 1] or not all(isinstance(d, int) for d in dims):
        return None
    order = sorted(left, key=t.attrs["perm"].__getitem__)
    x = ops.transpose(t, (*range(left[0]), *order))
    if is_transpose(x):
        return None
    *batch, _, n = w.shape
    r = len(batch)
    rows = ops.transpose(
        ops.reshape(w, (*batch, *dims, n)),
        (*range(r), *(r + k - left[0] for k in order), r + len(dims)),
    )
    return ops.matmul(ops.reshape(x, a.shape), ops.reshape(rows, w.shape))


def dot(v: Value, uses: Uses) -> Value | None:
    """sum(x[:, None] * w, 0) -> x[None] @ w: a mixture of the rows of a table"""
    if (
        v.op is not ops.REDUCE
        or v.attrs["monoid"] != "sum"
        or v.attrs["axes"] != (0,)
        or v.rank != 2
    ):
        return None
    (product,) = v.inputs
    if product.op is not ops.mul or product.dtype not in FLOATS or uses.get(product, 0) > 1:
        return None
    for x, w in (product.inputs, product.inputs[::-1]):
        if w.constant and w.shape == product.shape and x.shape == (w.shape[0], 1):
            return ops.matmul(ops.reshape(x, (1, w.shape[0])), w)
    return None


def siblings(graph: Graph, hits: dict[str, int]) -> Graph:
    """Products of one value with several weights -> slices of one product."""
    origin: dict[Value, Value] = {}
    users = graph.uses()
    outputs = set(graph.results)
    # x and whether weights are halves -> end, weights, bias
    groups_: dict[tuple[Value, bool], list[tuple[Value, Value, Value | None]]] = {}
    for m in graph.values():
        if m.op is not ops.MATMUL or m.inputs[1].rank != 2 or m.constant:
            continue
        halves = stored_halves(m.inputs[1])
        if not (m.inputs[1].constant or halves):
            continue
        end: Value = m
        bias: Value | None = None
        if len(users.get(m, ())) == 1 and m not in outputs:
            found = shift(users[m][0])
            n = last(found[1]) if found is not None and found[0] is m else None
            if n is not None and n.shape == (m.shape[-1],):
                end, bias = users[m][0], n
        fused = any(u.op.pointwise or u.op is ops.REDUCE for u in users.get(end, ()))
        if not fused and end not in outputs:
            groups_.setdefault((m.inputs[0], halves), []).append((end, m.inputs[1], bias))

    place: dict[Value, tuple[int, list[tuple[Value, Value, Value | None]]]] = {}
    for members in groups_.values():
        start: Any = 0
        for end, w, _ in members if len(members) > 1 else ():
            place[end] = start, members
            start += w.shape[1]

    def merged_siblings(v: Value, uses: Uses) -> Value | None:
        found = place.get(origin.get(v, v))
        if found is None:
            return None
        start, members = found
        m = v if v.op is ops.MATMUL else next(i for i in v.inputs if i.op is ops.MATMUL)
        out = ops.matmul(m.inputs[0], ops.concat([w for _, w, _ in members], 1))
        if any(b is not None for _, _, b in members):
            out = ops.add(
                out,
                ops.concat(
                    [
                        constant(np.zeros(w.shape[1]), v.dtype) if b is None else b
                        for _, w, b in members
                    ],
                    0,
                ),
            )
        return ops.slice_axis(out, -1, start, v.shape[-1])

    return rewrite(graph, (merged_siblings,), hits, origin)


RULES: tuple[Rule, ...] = (flattened, dot)

__all__ = ["RULES", "siblings"]
