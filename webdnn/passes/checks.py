"""Checks of positions: what `load({debug: true})` compares with the sizes of axes.

    >>> from webdnn import ops
    >>> from webdnn.graph import placeholder
    >>> words, ids = placeholder("words", (100, 8), "f32"), placeholder("ids", (5,), "i64")
    >>> y, z = ops.gather(words, ids), ops.gather(words, ops.sub(99, ids))
    >>> for check in checked(Graph((words, ids), {"y": y, "z": z}), compute=True)[1]:
    ...     print(check)
    {'of': "gather 'y'", 'input': 'ids', 'size': 100}
    {'of': "gather 'z'", 'low': 'check 1 low', 'high': 'check 1 high', 'size': 100}

A kernel cannot raise an error: it clamps a position that is beyond its axis, or drops what would be
written there. Positions that a page gives are looked at before a run. Of others, the least and the
greatest become outputs of the graph, where that is asked for. Positions that are known when the
model is transpiled are checked then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from .. import ops
from ..expr import Dim, upper
from ..graph import Graph, Value, is_counted
from ..ops.control import regions


def checked(
    graph: Graph, compute: bool, labels: Mapping[str, str] | None = None
) -> tuple[Graph, list[dict[str, Any]] | None]:
    """The graph, and a check for each operator that reads or writes at positions of a run.

    A check is {"of": the operator, or what `labels` calls it, "input": that has the positions,
    "size": of the axis}, or has "low" and "high" in place of "input": further outputs of the
    graph, which has them if `compute`. `labels` are those of `Imported`.
    Else there are no checks at all (None) where such positions are computed. Those that a body of
    a loop reads are never checked (`unchecked`).
    """
    named = {v: name for name, v in reversed((*graph.outputs.items(), *graph.names.items()))}
    labelled = {graph.names[k]: said for k, said in (labels or {}).items() if k in graph.names}
    owner: dict[Value, Value] = {}  # the first value with a name that is computed of it
    values = graph.values()
    for v in reversed(values):
        for i in v.inputs:
            owner[i] = v if v in named else owner.get(v, v)
    outputs = dict(graph.outputs)
    checks: list[dict[str, Any]] = []
    if not compute and unchecked(graph):
        return graph, None
    for v in values:
        for positions, size in _positions(v):
            if positions.constant:
                continue
            named_at = v if v in named else owner.get(v, v)
            of = labelled.get(named_at) or f"{v.op} {named.get(named_at, '')!r}"
            check: dict[str, Any] = {"of": of}
            end = upper(size) if is_counted(size) else size
            given = _given(positions)
            if given in graph.inputs:
                checks.append({**check, "input": given.attrs["name"], "size": end})
                continue
            if not compute:
                return graph, None
            for which, monoid in (("low", "min"), ("high", "max")):
                check[which] = f"check {len(checks)} {which}"
                least = ops.reduce(ops.cast(positions, "i32"), monoid, range(positions.rank))
                outputs[check[which]] = ops.reshape(least, ())
            checks.append({**check, "size": end})
    return replace(graph, outputs=outputs), checks


def unchecked(graph: Graph) -> bool:
    """Whether bodies of loops read at positions of a run: no output has those of an iteration."""
    bodies = (region.graph().values() for region in regions(graph.values()))
    return any(not at.constant for body in bodies for v in body for at, _ in _positions(v))


def _given(v: Value) -> Value:
    """The value of which another one has all elements, in some order."""
    while v.op in (ops.cast_, ops.RESHAPE, ops.TRANSPOSE) and v.inputs[0].dtype in ("i32", "i64"):
        v = v.inputs[0]
    return v


def _positions(v: Value) -> Iterator[tuple[Value, Dim]]:
    """The positions that an operator is given, each with the size of the axis."""
    if v.op in (ops.GATHER, ops.GATHER_ELEMENTS):
        x, at = v.inputs
        yield at, x.shape[v.attrs["axis"]]
    elif v.op is ops.GATHER_ND:
        x, at = v.inputs
        for k in range(ops.static(at.shape[-1], "coordinates")):
            yield ops.slice_axis(at, at.rank - 1, k, 1), x.shape[v.attrs["batch_dims"] + k]
    elif v.op is ops.from_end and ops.known(v.inputs[1]) is not None:
        yield v.inputs[0], ops.known(v.inputs[1]).item()  # type: ignore[union-attr]


__all__ = ["checked", "unchecked"]
