"""What every import ends with: the graph, what was settled on the way, and the checks of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .. import ops
from ..errors import TooSmallError, UnsupportedError
from ..expr import Expr
from ..expr import evaluate as size_at
from ..graph import DTYPES, Graph, Value, computed, dims_of, evaluate, is_counted

# What each integer dtype may hold here: 64-bit integers are computed in 32 bits.
RANGES: Mapping[str, tuple[int, int]] = {
    "u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767),
    "i32": (-(2**31), 2**31 - 1), "i64": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1), "u64": (0, 2**32 - 1),
}  # fmt: skip


@dataclass
class Imported:
    """A graph, what was settled on the way in words for the user, and what the model consists of.

    `contents` counts the model's own operators or layers by name; `parameters` and
    `parameter_bytes` are those of its weights as the model holds them. `batch` names the open
    dimensions that became 1 because they look like a batch.
    """

    graph: Graph
    notes: list[str] = field(default_factory=list)
    contents: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    parameter_bytes: int = 0
    batch: tuple[str, ...] = ()


def finished(
    graph: Graph,
    notes: list[str],
    contents: Iterable[str],
    weights: Iterable[tuple[int, int]],
    batch: tuple[str, ...] = (),
) -> Imported:
    """The graph with the checks that every import ends with, and notes on widths.

    contents: the model's operators or layers, each by its type's name. weights: the number of
    elements and the bytes of each. batch: as `Imported` has it.

    Raises TooSmallError where a size would be negative at the smallest symbolic dimensions, and
    UnsupportedError for 64-bit constants that do not fit into 32 bits.
    """
    _check_sizes(graph)
    _check_ranges(graph)
    for dtype in sorted({v.dtype for v in graph.values()} & {"f64"}):
        notes.append(f"{DTYPES[dtype]} is computed as {DTYPES[computed(dtype)]}")
    if wide := _wide_arithmetic(graph):
        shown = ", ".join(map(repr, wide[:3])) + (f" and {len(wide) - 3} more" if wide[3:] else "")
        notes.append(f"64-bit integers are computed in 32 bits: {shown} must stay within them")
    sizes = list(weights)
    return Imported(
        graph,
        notes,
        dict(Counter(contents).most_common()),
        sum(elements for elements, _ in sizes),
        sum(size for _, size in sizes),
        batch,
    )


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


def _check_ranges(graph: Graph) -> None:
    """64-bit integers are stored in 32 bits: constants that are used as data must fit."""
    names: dict[Value, str] = {}
    for name, value in graph.names.items():
        names.setdefault(value, name)
    roots = [i for v in graph.values() if not v.constant for i in v.inputs if i.constant]
    for v in dict.fromkeys((*roots, *(o for o in graph.outputs.values() if o.constant))):
        if v.dtype not in ("i64", "u64") or not v.size:
            continue
        array = evaluate(v)
        lo, hi = RANGES[v.dtype]
        for found in (array.min(), array.max()):
            if not lo <= found <= hi:
                raise UnsupportedError(
                    f"the {DTYPES[v.dtype]} constant {names.get(v, v)!r} holds {found}, which does "
                    "not fit into the 32 bits in which such integers are computed here"
                )


_GROWING = {ops.add, ops.sub, ops.mul, ops.pow_, ops.shift_left, ops.SCAN}


def _wide_arithmetic(graph: Graph) -> list[str]:
    """The 64-bit values of the model that may leave the 32 bits in which they are computed."""
    named = {v: name for name, v in reversed(graph.names.items())}
    return [
        named[v]
        for v in graph.values()
        if v in named
        and v.dtype in ("i64", "u64")
        and not v.constant
        and (v.op in _GROWING or v.attrs.get("monoid") in ("sum", "prod"))
    ]


__all__ = ["RANGES", "Imported", "finished"]
