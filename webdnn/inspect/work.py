"""The work of kernels: floating-point operations at the largest sizes."""

from __future__ import annotations

import math
from typing import Any

from ..expr import Dim, cost, free, upper
from ..schedule.kernel import Instance, Kernel, Loop, Opaque, is_row


def flops(kernel: Kernel) -> int:
    """Floating-point operations of one launch at the largest sizes, index arithmetic left out."""
    match kernel:
        case Loop():
            points = math.prod(_size(axis) for axis in kernel.axes)
            inner = points * math.prod(_size(axis) for axis in kernel.reduce)
            # Each stage evaluates its expressions and combines the result once for each element.
            work = inner * sum(cost(e) + 1 for stage in kernel.stages for e in stage.exprs)
            for store in kernel.stores:
                work += (inner if is_row(store, kernel) else points) * cost(store.value)
            return work
        case Instance():
            axes = free(kernel.stores[0].index, "var")
            points = math.prod(_size(v) for v in axes)
            summed = math.prod(_size(kernel.vars[name]) for name in kernel.sums)
            each = 2 * summed + kernel.slices * sum(cost(store.value) for store in kernel.stores)
            return points * each // kernel.slices
        case Opaque():
            return upper(kernel.attrs.get("items", 1)) * upper(kernel.attrs.get("cost", 0))
    return 0


def _size(axis: Any) -> int:
    size: Dim = axis.args[1]
    return upper(size)
