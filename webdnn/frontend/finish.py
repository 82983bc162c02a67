"""What every import ends with: the graph, what was settled on the way, and the checks of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .. import ops
from ..errors import TooSmallError, UnsupportedError
from ..expr import Expr
from ..expr import evaluate as size_at
from ..graph import DTYPES, INPUT, Graph, Value, dims_of, is_counted
from ..ops.ranges import RANGES, bounded, fits, integer_ranges

# How large integers of a loop's body are taken to be: two add up to more than 32 bits, one and an
# offset do not.
LIKELY = 3 * 2**29 - 1


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

    Raises TooSmallError where a size would be negative at the smallest symbolic dimensions, and
    UnsupportedError for 64-bit constants of loops' bodies that do not fit into 32 bits.
    """
    graph = replace(graph, outputs={name: _rounded(v) for name, v in graph.outputs.items()})
    _check_sizes(graph)
    wide: dict[str, str] = {}
    dtypes: set[str] = set()
    for inner, names in _with_bodies(graph, _names(graph)):
        dtypes |= {v.dtype for v in inner.values()}
        if inner is graph:
            continue  # `passes.wide`
        taken = {v: (max(-LIKELY, RANGES[v.dtype][0]), LIKELY)
                 for v in inner.inputs if v.dtype in ("i64", "u64")}  # fmt: skip
        ranges = integer_ranges(inner, taken)
        _check_constants(graph, inner, ranges)
        wide = _may_wrap(ranges, names) | wide
    if "f64" in dtypes:
        notes.append("float64 is computed as float32 on WebGPU, which has no wider numbers")
    if wide:
        shown = ", ".join([*wide.values()][:3])
        shown += f" and {len(wide) - 3} more" if len(wide) > 3 else ""
        notes.append(
            f"64-bit integers of loops are computed in 32 bits, and {shown} may need more: numbers "
            "beyond 2147483647 wrap. `webdnn check --input NAME=FILE.npy` with the largest inputs "
            "that you expect shows whether any do"
        )
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


def _names(graph: Graph) -> dict[Value, str]:
    """What the model calls each value.

    What has no name counts as the first value with one that is computed of it.
    """
    own = {v: name for name, v in reversed((*graph.names.items(), *graph.outputs.items()))}
    out = dict(own)
    for v in reversed(graph.values()):
        for i in v.inputs:
            if i not in own and v in out:
                out[i] = out[v]
    return out


def _with_bodies(
    graph: Graph, names: Mapping[Value, str]
) -> Iterator[tuple[Graph, Mapping[Value, str]]]:
    """A graph and the bodies of its loops, each with the names of its values.

    What has no name in a body counts as what the loop gives.
    """
    yield graph, names
    loops = {v.attrs["region"]: v for v in reversed(graph.values()) if v.op is ops.ITERATE}
    for region, loop in loops.items():
        body = region.graph(graph.dims)
        inside = dict.fromkeys(body.values(), names[loop]) if loop in names else {}
        own = {v: name for v, name in _names(body).items() if name in region.names}
        yield from _with_bodies(body, {**inside, **names, **own})


def _check_constants(
    graph: Graph, body: Graph, ranges: Mapping[Value, tuple[float, float]]
) -> None:
    """64-bit integers of a loop's body are in 32 bits: constants that are used as data must fit."""
    data = {i for v in body.values() if not bounded(v, ranges) for i in v.inputs}
    data |= set(body.results)
    names: dict[Value, str] = {}
    for name, value in graph.names.items():
        names.setdefault(value, name)
    for v, found in ranges.items():
        if v in data and v.constant and v.dtype in ("i64", "u64") and not fits(found, v.dtype):
            lo, hi = RANGES[v.dtype]
            raise UnsupportedError(
                f"the {DTYPES[v.dtype]} constant {names.get(v, v)!r} holds "
                f"{next(x for x in found if not lo <= x <= hi)}, which does "
                "not fit into the 32 bits in which a loop computes such integers here"
            )


def _may_wrap(
    ranges: Mapping[Value, tuple[float, float]], names: Mapping[Value, str]
) -> dict[str, str]:
    """The values, with operators, that are not proved to fit into 32 bits, by name."""
    found: dict[str, str] = {}
    for v, r in ranges.items():
        if v.dtype in ("i64", "u64") and not v.constant and not fits(r, v.dtype):
            name = repr(names[v]) if v in names else "'a value without a name'"
            found.setdefault(name, f"{name} ({v.attrs.get('monoid', v.op)})")
    return found


__all__ = ["Imported", "finished"]
