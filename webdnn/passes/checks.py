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
greatest become outputs of the graph, where that is asked for; in a loop, the least and the greatest
of all iterations, which are further states of it. Positions that are known when the model is
transpiled are checked then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import ops
from ..expr import Dim, upper
from ..graph import INPUT, Graph, Node, Value, constant, is_counted
from ..ops.control import ITERATE, Region, regions


def checked(
    graph: Graph, compute: bool, labels: Mapping[str, str] | None = None
) -> tuple[Graph, list[dict[str, Any]] | None]:
    """The graph, and a check for each operator that reads or writes at positions of a run.

    A check is {"of": the operator, or what `labels` calls it, "input": that has the positions,
    "size": of the axis}, or has "low" and "high" in place of "input": further outputs of the
    graph, which has them if `compute`. `labels` are those of `Imported`.
    Else there are no checks at all (None) where such positions are computed.
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
    if not compute and _in_bodies(graph):
        return graph, None
    if compute and _in_bodies(graph):
        new, watched = _watching(graph, named)
        outputs = {name: new[v] for name, v in outputs.items()}
        graph = replace(
            graph,
            names={name: new[v] for name, v in graph.names.items() if v in new},
            states={name: (a, new[b]) for name, (a, b) in graph.states.items()},
        )
        for watch in watched:
            low, high = (f"check {len(checks)} {which}" for which in ("low", "high"))
            outputs |= {low: watch.low, high: watch.high}
            checks.append({"of": watch.of, "low": low, "high": high, "size": watch.size})
        graph = replace(graph, outputs=outputs)
        named = {new.get(v, v): name for v, name in named.items()}
        labelled = {new.get(v, v): said for v, said in labelled.items()}
        owner = {new.get(v, v): new.get(u, u) for v, u in owner.items()}
        values = graph.values()
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


def _in_bodies(graph: Graph) -> bool:
    """Whether bodies of loops read at positions of a run."""
    bodies = (region.graph().values() for region in regions(graph.values()))
    return any(not at.constant for body in bodies for v in body for at, _ in _positions(v))


@dataclass(frozen=True)
class _Watch:
    """The least and the greatest position (i32) that an operator of a body was given."""

    of: str
    low: Value
    high: Value
    size: Dim


def _watching(graph: Graph, named: Mapping[Value, str]) -> tuple[dict[Value, Value], list[_Watch]]:
    """What the values of a graph become with loops that watch positions, and what these found."""
    new: dict[Value, Value] = {}
    loops: dict[Node, Node] = {}
    found: list[_Watch] = []
    for v in graph.values():
        if v.op is INPUT or v.constant:
            new[v] = v
            continue
        inputs = [new[i] for i in v.inputs]
        if v.op is not ITERATE:
            new[v] = v.op.node(inputs, v.attrs).outputs[v.index]
            continue
        count = v.attrs["states"]
        if v.node not in loops:
            loops[v.node], watched = _watched(v.node, inputs, named.get(v, ""))
            found += watched
        more = loops[v.node].attrs["states"] - count
        new[v] = loops[v.node].outputs[v.index if v.index < count else v.index + more]
    return new, found


def _watched(node: Node, inputs: Sequence[Value], name: str) -> tuple[Node, list[_Watch]]:
    """A loop with the least and the greatest of all iterations' positions as further states."""
    region, count = node.attrs["region"], node.attrs["states"]
    body = region.graph()
    own = {v: k for k, v in region.names.items()}
    new, watches = _watching(body, own)
    for v in body.values():
        for at, size in _positions(new[v]):
            if not at.constant:
                low, high = (
                    ops.reshape(ops.reduce(ops.cast(at, "i32"), end, range(at.rank)), ())
                    for end in ("min", "max")
                )
                of = f"{v.op} {own.get(v, name)!r}"
                watches.append(_Watch(of, low, high, upper(size) if is_counted(size) else size))
    first, last = constant(2**31 - 1, "i32"), constant(-(2**31), "i32")
    before = [end for _ in watches for end in (first, last)]
    parameters = [ops.parameter((), "i32") for _ in before]
    after = [
        combine(p, end)
        for k, watch in enumerate(watches)
        for combine, p, end in (
            (ops.min_, parameters[2 * k], watch.low),
            (ops.max_, parameters[2 * k + 1], watch.high),
        )
    ]
    results = [new[v] for v in region.outputs]
    whole = Region(
        (*region.inputs[:count], *parameters, *region.inputs[count:]),
        (*results[:count], *after, *results[count:]),
        {k: new[v] for k, v in region.names.items() if v in new},
    )
    given = [*inputs[:count], *before, *inputs[count:]]
    attrs = {**node.attrs, "region": whole, "states": count + len(before)}
    again = node.op.node(given, attrs)
    ends = again.outputs[count : count + len(before)]
    return again, [
        replace(watch, low=ends[2 * k], high=ends[2 * k + 1]) for k, watch in enumerate(watches)
    ]


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


__all__ = ["checked"]
