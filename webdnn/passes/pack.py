"""matmul and conv -> the forms that templates compute, with weights in panels.

Rearranged weights are constant expressions; they are evaluated when the descriptor is written. Of
a quantised weight what is stored is rearranged. A table of embeddings that the last product has
too, transposed, is stored once: its rows are read from the panels.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..expr import product
from ..graph import Graph, Rule, Value, rewrite
from ..ops.linear import pack
from ..ops.quantised import moved
from .integers import sums_fit
from .simplify import dequantised_view


def packed_matmul(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """matmul(a, b) -> packed_matmul(a, pack(b))"""
    if v.op is not ops.MATMUL:
        return None
    a, b = v.inputs
    return ops.pack_matmul(a, b, sums_fit(a, b, a.shape[-1]))


def packed_conv(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """conv(x, w) -> packed_matmul (1x1), depthwise or packed_conv"""
    if v.op is not ops.CONV:
        return None
    x, w = v.inputs
    return ops.pack_conv(x, w, **v.attrs, whole=sums_fit(x, w, product(w.shape[:3])))


RULES: tuple[Rule, ...] = (packed_matmul, packed_conv, dequantised_view)


def settle(graph: Graph, hits: dict[str, int]) -> Graph:
    """The graph with products and convolutions in the forms of templates."""
    graph = rewrite(graph, RULES, hits)
    panels = {v.inputs[1] for v in graph.values() if v.op is ops.PACKED_MATMUL}

    def tied(v: Value, uses: Mapping[Value, int]) -> Value | None:
        """gather(w, at), packed_matmul(a, pack(transpose(w))) -> gather_columns(pack(...), at)"""
        if v.op is not ops.GATHER or v.attrs["axis"] != 0:
            return None
        w, at = v.inputs
        if w.rank != 2 or not w.weight:
            return None
        turned = ops.transpose(w, (1, 0))
        own = Graph((), {"": pack(moved(turned) or turned)})
        b = rewrite(own, RULES).outputs[""]
        return ops.GATHER_COLUMNS(b, at, n=w.shape[0]) if b in panels else None

    return rewrite(graph, (tied,), hits)


__all__ = ["RULES", "settle"]
