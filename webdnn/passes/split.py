"""Long reductions with few results are split in two: sum(x, (h, w)) -> sum(sum(x, w), h).

A reduction kernel works on one result at a time; the sums over the pixels of a few channels
(instance normalisation, global pooling) would leave most of a GPU idle. The first half reduces the
inner axis alone, with as many results as there are outer positions; a single long axis is cut into
rows first. Sums are associated differently: results differ by rounding.

It also keeps float sums accurate: the rounding error of a serial sum grows with its length, and
models that take a variance as E[x^2] - E[x]^2 magnify it. Reductions along the last axis are left
whole unless they are very long: their kernels keep many partial results anyway, and softmax and
layer normalisation stay one kernel.

Weights of a product that a GPU with default limits cannot bind are cut by columns; the parts of the
result are computed in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .. import ops
from ..expr import upper
from ..graph import Rule, Value

ASSOCIATIVE = ("sum", "prod", "max", "min", "any", "all")


WHOLE = 65536  # elements of the last axis that one kernel reduces
BINDING = 128 * 2**20  # bytes that a storage buffer binding has by default in WebGPU


def rules(
    results: int = 4096, length: int = 256, rows: int = 64, binding: int = BINDING
) -> tuple[Rule, ...]:
    """Split reductions of more than `length` elements into fewer than `results` results.

    Symbolic sizes count with their largest value. `rows`: the longest first half of a single axis.
    Weights of products are split at `binding` bytes.
    """

    def split_reduction(v: Value, uses: Mapping[Value, int]) -> Value | None:
        """reduce(x, (i, j)) -> reduce(reduce(x, j), i), and reduce(x, i) over rows of x"""
        if v.op is not ops.REDUCE or v.attrs["monoid"] not in ASSOCIATIVE:
            return None
        (x,) = v.inputs
        monoid, axes = v.attrs["monoid"], [a for a in v.attrs["axes"] if x.shape[a] != 1]
        if upper(v.size) >= results or math.prod(upper(x.shape[a]) for a in axes) <= length:
            return None
        if axes[-1] == x.rank - 1 and math.prod(upper(x.shape[a]) for a in axes) <= WHOLE:
            return None
        if len(axes) > 1:
            # The inner axis first: neighbours in memory are reduced together.
            return ops.reduce(ops.reduce(x, monoid, axes[-1:]), monoid, axes[:-1])
        (axis,) = axes
        size = x.shape[axis]
        row = next(
            (d for d in range(rows, 15, -1) if isinstance(size, int) and size % d == 0), None
        )
        if row is None:
            return None
        cut = ops.reshape(x, (*x.shape[:axis], size // row, row, *x.shape[axis + 1 :]))
        part = ops.reshape(
            ops.reduce(cut, monoid, (axis + 1,)), (*x.shape[:axis], -1, *x.shape[axis + 1 :])
        )
        return ops.reduce(part, monoid, (axis,))

    def split_columns(v: Value, uses: Mapping[Value, int]) -> Value | None:
        """x @ w -> concat(x @ w[:, :n], x @ w[:, n:])"""
        if v.op is not ops.MATMUL or not v.inputs[1].constant or v.inputs[1].rank != 2:
            return None
        x, w = v.inputs
        k, n = (upper(d) for d in w.shape)
        if 4 * k * n <= binding or 4 * k * 8 > binding:
            return None
        width = binding // (4 * k) // 8 * 8  # whole panels
        parts = [
            ops.matmul(x, ops.slice_axis(w, 1, at, min(width, n - at))) for at in range(0, n, width)
        ]
        return ops.concat(parts, -1)

    return (split_reduction, split_columns)


__all__ = ["rules"]
