"""Convolutions of 3x3 become Winograd's where that is faster, and its filters are not too many.

    packed_conv(x, w) -> winograd(x, filters(w))

Sums over C channels for M others take 9 C M products for each position; by Winograd's way 36 C M
for each 4x4 of them, and the transforms. But its filters are four times as large: each run reads
them, and they are held beside those that were downloaded. So small pictures with many channels are
left alone, and what all filters of a graph take is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..expr import product, upper
from ..graph import Graph, Value, rewrite
from ..ops.quantised import stored_halves
from ..ops.winograd import POINTS, TILE

MEMORY = 128 << 20  # bytes of transformed filters of a graph
# What is added to the products of a convolution, measured in products, as they take time: for each
# weight that is read, and for each tile and channel that is transformed.
READ, TRANSFORMED = 10, 500
WORTH = 0.75  # of the time that it took


def _saved(v: Value) -> float:
    """The products that Winograd's way saves of a convolution; 0 where it is not possible or worth
    it."""
    if v.op is not ops.PACKED_CONV:
        return 0
    x, w = v.inputs
    a = v.attrs
    plain = a["kernel"] == (3, 3) and a["groups"] == 1 and {*a["stride"], *a["dilation"]} == {1}
    plain = plain and not a.get("whole")  # integers, which this would round
    channels, m = x.shape[-1], a["m"]
    # Of integers, what is made of them is held a second time.
    floats = w.constant or stored_halves(w)
    if not plain or not floats or w.dtype != "f32" or not isinstance(channels, int):
        return 0
    if channels % 4:
        return 0
    n, height, width = map(upper, v.shape[:3])
    tiles = n * -(-height // TILE) * -(-width // TILE)
    direct = 9 * channels * m * (n * height * width + READ)
    here = POINTS**2 * channels * m * (tiles + READ) + TRANSFORMED * (channels + m) * tiles
    return direct - here if here < WORTH * direct else 0


def settle(graph: Graph, hits: dict[str, int]) -> Graph:
    """The graph with Winograd's convolutions where they save most for the memory that they take."""
    saved: dict[Value, float] = {}
    for v in graph.values():
        if found := _saved(v):
            saved[v] = found / v.inputs[1].size
    chosen: set[Value] = set()
    room = float(MEMORY)
    for v in sorted(saved, key=saved.__getitem__, reverse=True):
        taken = 4 * upper(product(v.inputs[1].shape)) * POINTS**2 / 9
        taken *= v.inputs[1] not in chosen  # else its filters are there
        if taken <= room:
            room -= taken
            chosen.add(v.inputs[1])

    def winograd(v: Value, uses: Mapping[Value, int]) -> Value | None:
        """packed_conv(x, w) -> winograd(x, filters(w))"""
        return ops.winograd(v) if _saved(v) and v.inputs[1] in chosen else None

    return rewrite(graph, [winograd], hits) if chosen else graph


__all__ = ["settle"]
