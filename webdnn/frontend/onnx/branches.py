"""Branches of an If that only a run chooses between: a dear one is computed where it is taken.

Two branches that cost little are both computed, and the run selects. Of others a *region* is made
(`ops.iterate`) that runs once, or not at all: its states are the outputs, which one branch replaces
where the condition holds. What a branch reads from around it is computed before.

Limits: branches that hold lengths which only a run finds, or sequences, are both computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ... import ops
from ...expr import post_order, upper
from ...graph import Value, constant, is_counted
from ...ops.control import ITERATE, Region

DEAR = 2**20  # operations of a branch; fewer take no longer than the copies of a region


def taken(
    condition: Value,
    branches: Sequence[Sequence[Value]],
    around: Iterable[Value],
    names: Mapping[str, Value],
) -> list[Value] | None:
    """The outputs of that branch whose turn it is: the first where the condition holds.

    around: values outside of the branches. names: of values in them. None where both are computed
    as well, or have to be.
    """
    outside = set(post_order(around, lambda v: v.inputs))
    own = [_own(branch, outside) for branch in branches]
    dear = [_work(values) > DEAR for values in own]
    kinds = [v for values in own for v in values] + [v for branch in branches for v in branch]
    if not any(dear) or any(is_counted([v.shape, *v.attrs.values()]) for v in kinds):
        return None
    flag = ops.reshape(condition, ())
    flags = flag, ops.logical_not(flag)
    before = next(
        ([*branch] for branch, is_dear in zip(branches, dear) if not is_dear),
        [ops.expand(constant(0, v.dtype), v.shape) for v in branches[0]],
    )
    for go, branch, values, is_dear in zip(flags, branches, own, dear):
        if is_dear:
            before = _once(go, before, branch, values, names)
    return before


def _own(branch: Sequence[Value], outside: set[Value]) -> list[Value]:
    """What only a branch computes, inputs before users."""
    found = post_order(branch, lambda v: () if v in outside or v.weight else v.inputs)
    return [v for v in found if v not in outside and not v.weight and v.inputs]


def _work(values: Sequence[Value]) -> int:
    """The operations that values cost, roughly, at the largest sizes."""
    total = 0
    for v in values:
        sizes = [upper(i.size) for i in v.inputs]
        if v.op is ITERATE:
            return DEAR + 1
        if v.op.kind in ("template", "opaque") and len(sizes) > 1:  # [M, K] by [K, N]: M K N
            total += math.isqrt(sizes[0] * sizes[1] * upper(v.size))
        elif not v.op.view:
            total += max(upper(v.size), *sizes) * (4 + int(v.op.flops))
    return total


def _once(
    go: Value,
    before: Sequence[Value],
    branch: Sequence[Value],
    values: Sequence[Value],
    names: Mapping[str, Value],
) -> list[Value]:
    """`branch` where `go` holds, else `before`."""
    flag, count = ops.parameter((), "bool"), ops.parameter((), "i64")
    states = [ops.parameter(v.shape, v.dtype) for v in before]
    new: dict[Value, Value] = {}
    read: dict[Value, Value] = {}

    def within(v: Value) -> Value:
        if v in new:
            return new[v]
        if v.weight or not (v.inputs or v.op.kind == "input"):
            return v
        if v not in read:
            read[v] = ops.parameter(v.shape, v.dtype)
        return read[v]

    for v in values:
        new[v] = v.op.node([within(i) for i in v.inputs], v.attrs).outputs[v.index]
    after = [within(v) for v in branch]
    region = Region(
        (flag, count, *states, *read.values()),
        (constant(False, "bool"), count, *after),
        {name: new[v] for name, v in names.items() if v in new},
    )
    attrs = {"region": region, "states": 2 + len(before), "most": 0, "once": True}
    node = ITERATE.node([go, constant(0, "i64"), *before, *read], attrs)
    return list(node.outputs[2:])


__all__ = ["taken"]
