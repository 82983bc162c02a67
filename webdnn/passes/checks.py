"""Checks of positions: what a model made for `load({debug: true})` computes besides.

    >>> from webdnn import ops
    >>> from webdnn.graph import placeholder
    >>> words, ids = placeholder("words", (100, 8), "f32"), placeholder("ids", (5,), "i64")
    >>> graph, checks = checked(Graph((words, ids), {"y": ops.gather(words, ids)}))
    >>> checks
    [{'of': "gather 'y'", 'low': 'check 0 low', 'high': 'check 0 high', 'size': 100}]

A kernel cannot raise an error: it clamps a position that is beyond its axis, or drops what would be
written there. So the least and the greatest position of each operator that reads or writes at
positions of a run are outputs of the graph, which the runner compares with the axis. Positions that
are known when the model is transpiled are checked then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .. import ops
from ..expr import Dim, upper
from ..graph import Graph, Value, is_counted


def checked(graph: Graph) -> tuple[Graph, list[dict[str, Any]]]:
    """The graph with an output for the least and the greatest of the positions of each operator.

    Each check names them: {"of": the operator, "low": …, "high": …, "size": of the axis}.
    """
    named = {v: name for name, v in reversed((*graph.outputs.items(), *graph.names.items()))}
    owner: dict[Value, str] = {}  # the first value with a name that is computed of it
    values = graph.values()
    for v in reversed(values):
        for i in v.inputs:
            owner[i] = named.get(v) or owner.get(v, "")
    outputs = dict(graph.outputs)
    checks: list[dict[str, Any]] = []
    for v in values:
        for positions, size in _positions(v):
            if positions.constant:
                continue
            check: dict[str, Any] = {"of": f"{v.op} {named.get(v) or owner.get(v, '')!r}"}
            for which, monoid in (("low", "min"), ("high", "max")):
                check[which] = f"check {len(checks)} {which}"
                least = ops.reduce(ops.cast(positions, "i32"), monoid, range(positions.rank))
                outputs[check[which]] = ops.reshape(least, ())
            checks.append({**check, "size": upper(size) if is_counted(size) else size})
    return replace(graph, outputs=outputs), checks


def _positions(v: Value) -> Iterator[tuple[Value, Dim]]:
    """The positions that an operator is given, each with the size of the axis."""
    if v.op in (ops.GATHER, ops.GATHER_ELEMENTS):
        x, at = v.inputs
        yield at, x.shape[v.attrs["axis"]]
    elif v.op is ops.GATHER_ND:
        x, at = v.inputs
        for k, axis in enumerate(v.op.positions(v.node) if v.op.positions else ()):
            yield ops.slice_axis(at, at.rank - 1, k, 1), x.shape[axis]
    elif v.op is ops.from_end and ops.known(v.inputs[1]) is not None:
        yield v.inputs[0], ops.known(v.inputs[1]).item()  # type: ignore[union-attr]


__all__ = ["checked"]
