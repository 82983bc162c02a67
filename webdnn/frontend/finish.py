"""What every import ends with: the graph, what was settled on the way, and the checks of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .. import ops
from ..errors import TooSmallError
from ..expr import Expr
from ..expr import evaluate as size_at
from ..graph import INPUT, Graph, Value, dims_of, is_counted
from ..ops.control import regions


@dataclass
class Imported:
    """A graph, what was settled on the way in words for the user, and what the model consists of.

    `contents` counts the model's own operators or layers by name; `parameters` and
    `parameter_bytes` are those of its weights as the model holds them. `batch` names the open
    dimensions that became 1 because they look like a batch. `labels` are the nodes or layers that
    compute the values of `graph.names`, as errors call them.
    """

    graph: Graph
    notes: list[str] = field(default_factory=list)
    contents: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    parameter_bytes: int = 0
    batch: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def finished(
    graph: Graph,
    notes: list[str],
    contents: Iterable[str],
    weights: Iterable[tuple[int, int]],
    batch: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
) -> Imported:
    """The graph with the checks that every import ends with, and notes on widths.

    contents: the model's operators or layers, each by its type's name. weights: the number of
    elements and the bytes of each. batch, labels: as `Imported` has them.

    Raises TooSmallError where a size would be negative at the smallest symbolic dimensions.
    """
    graph = replace(graph, outputs={name: _rounded(v) for name, v in graph.outputs.items()})
    _check_sizes(graph)
    if "f64" in {v.dtype for inner in _with_bodies(graph) for v in inner.values()}:
        notes.append("float64 is computed as float32 on WebGPU, which has no wider numbers")
    sizes = list(weights)
    return Imported(
        graph,
        notes,
        dict(Counter(contents).most_common()),
        sum(elements for elements, _ in sizes),
        sum(size for _, size in sizes),
        batch,
        labels or {},
    )


_ROUNDS = {"f16": ops.round_float16, "bf16": ops.round_bfloat16}


def _rounded(v: Value) -> Value:
    """An output of float16 or bfloat16 as such a number: it is computed in 32 bits."""
    rounding = _ROUNDS.get(v.dtype)
    exact = v.constant or v.op in (INPUT, rounding)
    exact |= v.op is ops.cast_ and v.inputs[0].op is rounding
    return v if rounding is None or exact else rounding(v)


def _check_sizes(graph: Graph) -> None:
    """No size may be negative at the smallest symbolic dimensions."""
    lowest = {str(d.args[0]): d.args[1] for d in graph.dims}
    for name, value in graph.names.items():
        for axis, d in enumerate(value.shape):
            if not isinstance(d, Expr) or d.op == "dim" or is_counted(d):
                continue
            if size_at(d, lowest) < 0:
                used = dims_of([(d,)])
                at = ", ".join(f"{s.args[0]}={s.args[1]}" for s in used)
                raise TooSmallError(
                    f"axis {axis} of {name!r} would have {size_at(d, lowest)} elements at {at}: "
                    "a window or a slice does not fit. Choose a larger lowest size with --dim",
                    [str(s.args[0]) for s in used],
                )


def _with_bodies(graph: Graph) -> Iterator[Graph]:
    """A graph, and the bodies of its loops."""
    yield graph
    for region in regions(graph.values()):
        yield region.graph(graph.dims)


__all__ = ["Imported", "finished"]
