"""float32 for float64, where a target has no wider numbers.

>>> from webdnn.graph import placeholder
>>> from webdnn.ops import exp_
>>> x = placeholder("x", (4,), "f64")
>>> graph = single(Graph((x,), {"y": exp_(x)}))
>>> print(graph)
x: f32[4] = input()
y: f32[4] = exp(x)
>>> graph.declared
{'x': 'f64', 'y': 'f64'}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..graph import INPUT, Graph, Value, placeholder
from .control import Region
from .elementwise import cast


def single(graph: Graph) -> Graph:
    """The graph with float32 for float64; the graph itself where it has none."""
    new: dict[Value, Value] = {}
    if not _narrowed(graph, new):
        return graph
    named = {v.attrs["name"]: v for v in graph.inputs} | graph.outputs
    return replace(
        graph,
        inputs=tuple(new[v] for v in graph.inputs),
        outputs={k: new[v] for k, v in graph.outputs.items()},
        names={k: new[v] for k, v in graph.names.items() if v in new},
        states={k: (new[a], new[b]) for k, (a, b) in graph.states.items()},
        declared={**graph.declared}
        | {k: v.dtype for k, v in named.items() if new[v].dtype != v.dtype},
    )


def _narrowed(graph: Graph, new: dict[Value, Value]) -> bool:
    """Fills `new` with what each value becomes; says whether any becomes another."""
    results = set(graph.results)
    for v in graph.values():
        if v.op is INPUT:
            own = v.dtype != "f64"
            new[v] = v if own else placeholder(v.attrs["name"], v.shape, "f32")
        elif v.constant:
            new[v] = cast(v, "f32") if v.dtype == "f64" else v
        else:
            attrs: Mapping[str, Any] = {k: in_single(a) for k, a in v.attrs.items()}
            new[v] = v.op.node([new[i] for i in v.inputs], attrs).outputs[v.index]
    return any(b is not v for v, b in new.items() if not v.constant or v in results)


def in_single(a: Any) -> Any:
    """An attribute with float32 for float64: a type or a region."""
    if isinstance(a, Region):
        new: dict[Value, Value] = {}
        if not _narrowed(a.graph(), new):
            return a
        inputs, outputs = (tuple(new[v] for v in part) for part in (a.inputs, a.outputs))
        return Region(inputs, outputs, {k: new[v] for k, v in a.names.items() if v in new})
    return "f32" if isinstance(a, str) and a == "f64" else a


__all__ = ["in_single", "single"]
