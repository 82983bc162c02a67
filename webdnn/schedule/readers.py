"""Who reads a value: what need not be stored first, as its one reader computes or stores it too.

A row that is normalised and read by products of one row alone is normalised in each of them. The
sums of slices (`Instance.slices`) are added up where they are read, if each is read a few times
alone: by a reduction over rows, or by products of one row. What is appended to a cache is stored by
the attention of one query that reads all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..expr import Expr, coefficient, free, lift, product, same, upper
from ..graph import Value
from ..ops.linear import PACKED_MATMUL
from ..scalar import MONOIDS
from .fuse import Cluster, Fusion

COLUMNS = 8192  # of a product of one row: more read the row so often that it is better stored


def read_by_a_norm(fusion: Fusion, r: Cluster, axes: Sequence[Expr]) -> bool:
    """Whether a cluster's result is read by one reduction alone, over rows that a kernel reads
    once."""
    readers = {id(c): c for c in map(fusion.cluster_of.get, fusion.users[r.sink]) if c}
    if len(readers) != 1:
        return False
    ((_, reader),) = readers.items()
    return (
        all(fusion.cluster_of.get(u) is reader for u in fusion.users[r.sink])
        and reader.anchor.node.op.kind == "reduce"
        and reader.anchor.attrs["axes"] == (r.sink.rank - 1,)
        and upper(r.sink.shape[-1]) <= fusion.target.row
        and [e for e in r.index[r.sink] if e.op != "const"] == list(axes)
        and _few_buffers(fusion, r, reader)
    )


def read_by_rows(fusion: Fusion, r: Cluster) -> bool:
    """Whether a cluster's result is read by products of one row alone, as their first operand."""
    readers = []
    for path in _paths(fusion, r.sink):
        *_, before, user = path
        reader = fusion.cluster_of.get(user)
        if user.op is not PACKED_MATMUL or reader is None or before in user.inputs[1:]:
            return False
        if upper(product(user.shape[:-1])) != 1 or upper(user.shape[-1]) > COLUMNS:
            return False
        readers.append(reader)
    return bool(readers) and all(_few_buffers(fusion, r, reader) for reader in readers)


def normalises_a_row(fusion: Fusion, r: Cluster) -> bool:
    """Whether a cluster's reductions lead to a row that products of one row alone read, each of
    which may take them over: what is reduced is read from memory as it lies."""
    sink, anchor = r.sink, r.anchor
    if (
        anchor.node.op.kind != "reduce"
        or sink in fusion.outputs
        or sink in fusion.forced
        or sink.dtype != "f32"
        or any(v.node.op.kind == "reduce" and not _plain(v) for v in r.values)
        or coordinates(r.index[sink], (*r.axes, *r.reduce), [0] * sink.rank) is None
    ):
        return False
    for leaf in fusion.leaves(r.values):
        while leaf.op.view and leaf not in fusion.stored and not leaf.weight:
            (leaf,) = leaf.inputs
        if leaf not in fusion.stored and not leaf.constant:
            return False
    return read_by_rows(fusion, r)


def _plain(v: Value) -> bool:
    """Whether a reduction has one result, of floats, and no prefixes."""
    return MONOIDS[v.attrs["monoid"]] == 1 and v.dtype == "f32" and not v.node.op.prefixes


def _few_buffers(fusion: Fusion, r: Cluster, reader: Cluster) -> bool:
    """Whether a kernel reads what both clusters do; of a template's, what its slices sum up."""
    read, template = fusion.leaves(r.values), r.anchor.node.op.template
    sums = 0
    if template is not None:
        read, sums = read - set(r.anchor.inputs), 2 if template.beside else 1
    read |= fusion.leaves(reader.values)
    return len(read - {r.sink}) + 1 + sums <= fusion.target.limits.buffers


def _paths(fusion: Fusion, v: Value) -> list[list[Value]]:
    """From a value over views, which are not stored, to each of those who read it."""
    found: list[list[Value]] = []
    todo = [[v]]
    while todo:
        path = todo.pop()
        for u in fusion.users[path[-1]]:
            view = u.op.view and u not in fusion.stored and u not in fusion.cluster_of
            (todo if view else found).append([*path, u])
    return found


def appended(fusion: Fusion, r: Cluster) -> dict[Value, int]:
    """The concats that only a cluster's template reads, which reads each element once, and the
    operand that each is or is a view of."""
    anchor, found = r.anchor, {}
    template = anchor.node.op.template
    for k in template.once(anchor.node) if template and template.once else ():
        v = operand = anchor.inputs[k]
        while v.op.forward is not None and v not in fusion.stored:
            (v,) = v.inputs
        if (
            v.op.joins
            and v in fusion.stored
            and v not in fusion.forced
            and v not in fusion.cluster_of
            and anchor.inputs.count(operand) == 1
            and [path[-1] for path in _paths(fusion, v)] == [anchor]
        ):
            found[v] = k
    return found


def coordinates(
    index: Sequence[Expr], axes: Sequence[Expr], at: Sequence[Any]
) -> dict[Expr, Any] | None:
    """The point of a kernel's space, over `axes`, that has its result at `at`; None where `index`,
    its place there, is no such number of digits."""
    found: dict[Expr, Any] = {}
    for e, place in zip(index, at, strict=True):
        steps: dict[Expr, int] = {}
        for v in free(e, "var"):
            step = coefficient(e, v)
            if v in found or v not in axes or not isinstance(step, int):
                return None
            steps[v] = step
        found |= {v: lift(0) for v in steps if v.args[1] == 1}
        digits = sorted(steps.keys() - found.keys(), key=steps.__getitem__, reverse=True)
        below: Any = 1
        for v in reversed(digits):
            if not same(below, steps[v]):
                return None
            quotient = lift(place) // below
            found[v] = quotient if v is digits[0] else quotient % v.args[1]
            below = product([below, v.args[1]])
        if e is not sum((v * step for v, step in steps.items()), lift(0)):
            return None
    return found if set(found) == set(axes) else None


__all__ = ["appended", "coordinates", "normalises_a_row", "read_by_a_norm", "read_by_rows"]
