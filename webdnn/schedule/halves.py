"""Which stored values a target in half precision keeps as halves: `Target.halves`.

    conv -> relu -> conv      what lies between the two is stored as halves
    floor(x * scale) -> i32   x stays float32, as it was computed

Halves hold 11 bits, whole numbers up to 2048 and magnitudes up to 65504. So what counts, points or
decides stays float32:

* what the page gives and gets, what outlives a run, what a loop with an end of its own carries, and
  what hand-written kernels read and write
* statistics: one number of many that were summed; the sums of a product's slices; squares, other
  products and exponentials that are there to be summed
* whole numbers and positions: what is made of integers of more than 8 bits alone, or was rounded
* from the last product on all floats that become integers, or that hand-written kernels read
"""

from __future__ import annotations

from .. import ops
from ..expr import product, upper
from ..graph import Value, scalar_dtype
from ..ops.elementwise import cast_
from ..ops.linear import PACKED_MATMUL
from .fuse import Fusion

LONG = 16  # elements of which a sum is a statistic: more than most windows have
HELD = ("bool", "i8", "u8", "i4", "u4", "i2", "u2")  # integers that halves hold
ROUNDED = (ops.round_, ops.floor_, ops.ceil_, ops.trunc_)
GROWING = (ops.mul, ops.pow_, ops.exp_)


def halves(fusion: Fusion) -> frozenset[Value]:
    """The stored values that are kept as halves."""
    exact = _whole(fusion) | _deciding(fusion)
    for v in fusion.order:  # parts lie in the memory of what they are joined to
        if v.node.op.joins and any(i in exact for i in v.inputs):
            exact.add(v)
    return frozenset(
        v
        for v in fusion.stored
        if _is_float(v)
        and v.node.op.kind not in ("input", "opaque")
        and v not in exact
        and v not in fusion.outputs
        and not _statistic(fusion, v)
        and not _summed(fusion, v)
    )


def _is_float(v: Value) -> bool:
    return scalar_dtype(v.dtype) == "f32"


def _statistic(fusion: Fusion, v: Value) -> bool:
    """Whether a kernel stores one number of the many that it added up."""
    cluster = fusion.cluster_of.get(v)
    if cluster is None or cluster.anchor.node.op.kind != "reduce":
        return False
    if cluster.anchor.attrs.get("monoid") in ("max", "min"):
        return False
    length = upper(product([axis.args[1] for axis in cluster.reduce]))
    return length > LONG and upper(v.size) < upper(cluster.anchor.inputs[0].size)


def _summed(fusion: Fusion, v: Value) -> bool:
    """Whether sums alone read a product or an exponential, which may be beyond what halves hold
    where neither what it is made of is nor, once its root or logarithm is taken, the sum.
    """
    return v.op in GROWING and all(
        u.node.op.kind == "reduce" and u.attrs.get("monoid") not in ("max", "min")
        for u in fusion.users[v]
    )


def _whole(fusion: Fusion) -> set[Value]:
    """Whole numbers and positions: floats that were rounded or are made of integers alone."""
    found: set[Value] = set()
    for v in fusion.order:
        op, inputs = v.node.op, [i for i in v.inputs if not i.constant]
        if not _is_float(v):
            continue
        floats = [i for i in inputs if _is_float(i)]
        counts = any(not (_is_float(i) or i.dtype in HELD) for i in inputs)
        if op in ROUNDED or (op is cast_ and counts):
            found.add(v)
        elif floats and all(i in found for i in floats):
            outer = op is PACKED_MATMUL and v.inputs[0].shape[-1] == 1
            if op.kind != "template" or outer:
                found.add(v)
    return found


def _deciding(fusion: Fusion) -> set[Value]:
    """Floats from the last product on that become integers, or that hand-written kernels read."""
    found: set[Value] = set()
    for v in reversed(fusion.order):
        if _is_float(v) and any(
            u.node.op.kind == "opaque"
            or u.node.op in ROUNDED
            or (u.node.op is cast_ and not _is_float(u) and u.dtype != "bool")
            or (u in found and u.node.op.kind != "template")
            for u in fusion.users[v]
        ):
            found.add(v)
    return found


__all__ = ["halves"]
