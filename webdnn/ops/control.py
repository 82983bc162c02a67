"""Loops whose end only a run finds: a region that is computed as long as a value of its own says.

    >>> from webdnn.graph import constant, placeholder
    >>> from webdnn.ops.elementwise import add, less, mul
    >>> x = placeholder("x", (), "f32")
    >>> go, k, s = (parameter((), dtype) for dtype in ("bool", "i64", "f32"))
    >>> body = [less(mul(s, 2.0), 100.0), add(k, 1), mul(s, 2.0)]
    >>> states = iterate([less(x, 100.0), constant(0, "i64"), x], [go, k, s], body)
    >>> states[2]
    iterate:f32[]

A region is a graph of its own: what it reads from around it is among its inputs. Its states have
memory of their own, which each iteration replaces.

Limits: states keep their shapes; what iterations collect has a number of rows that is known to be
enough.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..errors import ModelError, UnsupportedError
from ..expr import Dim, Expr, free, same
from ..graph import INPUT, Graph, Op, Shape, Value, is_counted, placeholder, rewrite, type_text
from .lengths import COUNTED

_SERIAL = count()
_PARAMETER = "loop value "  # begins the names of inputs of regions
_COUNTED = "{}: a loop has no values whose length a run finds"


@dataclass(frozen=True)
class Region:
    """A graph within a node: its own inputs, and the values that it computes of them.

    names: of values in it, as the source has them.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    names: Mapping[str, Value] = field(default_factory=dict, compare=False, repr=False)

    def graph(self, dims: Sequence[Any] = ()) -> Graph:
        """The same as a graph, whose outputs are named by their numbers."""
        outputs = {str(k): v for k, v in enumerate(self.outputs)}
        return Graph(self.inputs, outputs, dict(self.names), tuple(dims))

    def __str__(self) -> str:
        return f"{{\n{textwrap.indent(str(self.graph()), '  ')}\n}}"


def parameter(shape: Sequence[Any], dtype: str) -> Value:
    """An input of a region, of which there is no second."""
    return placeholder(f"{_PARAMETER}{next(_SERIAL):09}", shape, dtype)


def is_parameter(v: Value) -> bool:
    """Whether a value is an input of a region."""
    return v.op is INPUT and v.attrs["name"].startswith(_PARAMETER)


def _infer(
    *inputs: Value, region: Region, states: int, most: Dim, once: bool = False
) -> list[tuple[Shape, str]]:
    for v in (*inputs, *region.outputs):
        if is_counted(v.shape):
            raise UnsupportedError(_COUNTED.format(type_text(v)))
    for k, (before, after) in enumerate(zip(inputs[:states], region.outputs)):
        fits = before.dtype == after.dtype and before.rank == after.rank
        if not (fits and all(map(same, before.shape, after.shape))):
            raise UnsupportedError(
                f"state {k} is {type_text(before)} before an iteration and {type_text(after)} "
                "after it; a loop that is not written out keeps the types of its states"
            )
    rows = region.outputs[states:]
    return [(v.shape, v.dtype) for v in inputs[:states]] + [
        ((most, *v.shape), v.dtype) for v in rows
    ]


# (*states, *captured) -> the states after the last iteration, and what each collects: state 0 says
# whether there is a further iteration, and state 1 how many there were. once: there is no second.
ITERATE = Op("iterate", "opaque", _infer)


def iterate(
    states: Sequence[Value],
    parameters: Sequence[Value],
    after: Sequence[Value],
    rows: Sequence[Value] = (),
    most: Dim = 0,
    names: Mapping[str, Value] | None = None,
) -> list[Value]:
    """The states after the last iteration, and for each of `rows` an array [most, ...] of them.

    states: before the first iteration. The first, a bool, says whether there is a (further)
    iteration; the second, i64, counts them from 0. parameters: what stands for the states in
    `after`, their values after an iteration, and in `rows`, what an iteration collects. Only the
    rows of iterations that took place are defined. most: how many there are at most, where any are
    collected. names: of values that are computed of the parameters. Raises UnsupportedError for
    states whose types change.
    """
    if len(states) != len(parameters) or len(states) != len(after):
        raise ModelError(f"{len(states)} states, of which {len(after)} are computed")
    region, captured = _closed(parameters, [*after, *rows], names or {})
    attrs = {"region": region, "states": len(states), "most": most}
    return list(ITERATE.node([*states, *captured], attrs).outputs)


def _closed(
    parameters: Sequence[Value], outputs: Sequence[Value], names: Mapping[str, Value]
) -> tuple[Region, list[Value]]:
    """A region of these outputs, and the values around it that it reads."""
    inside = dict.fromkeys(parameters, True)  # whether a value depends on the parameters
    order: list[Value] = []
    stack = [(v, False) for v in reversed(outputs)]
    while stack:
        v, done = stack.pop()
        if done:
            inside[v] = any(inside[i] for i in v.inputs)
            order.append(v)
        elif v not in inside:
            inside[v] = False
            stack.append((v, True))
            stack.extend((i, False) for i in v.inputs)
    # Lengths that an iteration finds; what has one depends on the parameters, too.
    found = {v.attrs["size"] for v in order if v.op is COUNTED and inside[v]}

    def mentions(d: Any) -> bool:
        if isinstance(d, tuple | list):
            return any(map(mentions, d))
        return isinstance(d, Expr) and not found.isdisjoint(free(d, "dim"))

    for v in order:
        inside[v] = mentions([v.shape, *v.attrs.values()]) or any(inside[i] for i in v.inputs)
    new: dict[Value, Value] = {p: p for p in parameters}
    captured: dict[Value, Value] = {}

    def within(v: Value) -> Value:
        if v in new:
            return new[v]
        own = v.weight or not (v.inputs or v.op is INPUT)
        if own and (inside[v] or not is_counted([*v.attrs.values()])):
            return v
        if v not in captured:
            captured[v] = parameter(v.shape, v.dtype)
        return captured[v]

    for v in order:
        if inside[v]:
            inputs = [within(i) for i in v.inputs]
            new[v] = v.op.node(inputs, v.attrs).outputs[v.index]
    results = tuple(map(within, outputs))
    named = {name: new[v] for name, v in names.items() if v in new and v not in parameters}
    return Region((*parameters, *captured.values()), results, named), list(captured)


def inside(
    graph: Graph, change: Callable[[Graph], Graph], hits: dict[str, int] | None = None
) -> Graph:
    """The graph with another one in the place of each of its loops' regions."""
    done: dict[Region, Region] = {}

    def region(v: Value, uses: Mapping[Value, int]) -> Value | None:
        if v.op is not ITERATE or v.attrs["region"] in done.values():
            return None
        old = v.attrs["region"]
        if old not in done:
            new = change(old.graph(graph.dims))
            outputs = tuple(new.outputs[str(k)] for k in range(len(old.outputs)))
            done[old] = Region(new.inputs, outputs, new.names)
        return v.op.node(v.inputs, {**v.attrs, "region": done[old]}).outputs[v.index]

    return rewrite(graph, [region], {} if hits is None else hits)


def regions(values: Sequence[Value]) -> Mapping[Region, None]:
    """The regions of nodes and those within these, each once."""
    out: dict[Region, None] = {}
    for region in dict.fromkeys(v.attrs["region"] for v in values if v.op is ITERATE):
        out |= {region: None, **regions(region.graph().values())}
    return out


__all__ = ["ITERATE", "Region", "inside", "is_parameter", "iterate", "parameter", "regions"]
