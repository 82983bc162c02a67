"""Long reductions with few results are split in two: sum(x, (h, w)) -> sum(sum(x, w), h).

A reduction kernel works on one result at a time; the sums over the pixels of a few channels
(instance normalisation, global pooling) would leave most of a GPU idle. The first half reduces the
inner axis alone, with as many results as there are outer positions; a single long axis is cut into
rows first. Sums are associated differently: results differ by rounding.

Not in PIPELINE: a target asks for it, since it pays where there are more lanes than results, and
costs a store and a load of the partial results. To use it, put `("split", split.rules())` before
"pack" in the pipeline of that target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .. import ops
from ..graph import Rule, Value, upper

ASSOCIATIVE = ("sum", "prod", "max", "min", "any", "all")


def rules(results: int = 4096, length: int = 4096, rows: int = 256) -> tuple[Rule, ...]:
    """Split reductions of more than `length` elements into fewer than `results` results.

    Symbolic sizes count with their largest value. `rows`: the longest first half of a single axis.
    """

    def split_reduction(v: Value, uses: Mapping[Value, int]) -> Value | None:
        """reduce(x, (i, j)) -> reduce(reduce(x, j), i), and reduce(x, i) over rows of x"""
        if v.op != "reduce" or v.attrs["monoid"] not in ASSOCIATIVE:
            return None
        (x,) = v.inputs
        monoid, axes = v.attrs["monoid"], [a for a in v.attrs["axes"] if x.shape[a] != 1]
        if upper(v.size) >= results or math.prod(upper(x.shape[a]) for a in axes) <= length:
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
        cut = ops.reshape(x, (*x.shape[:axis], size // row, row, *x.shape[axis + 1 :]))  # type: ignore[operator]
        part = ops.reshape(
            ops.reduce(cut, monoid, (axis + 1,)), (*x.shape[:axis], -1, *x.shape[axis + 1 :])
        )
        return ops.reduce(part, monoid, (axis,))

    return (split_reduction,)


__all__ = ["rules"]
