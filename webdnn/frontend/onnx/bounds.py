"""How long what only a run finds may be: `--dim boxes=100`.

The axis is named as the model declares it of a node's output, or by that output: `kept.1=100`. It
is at most so long then, and memory is laid out for that; a run that finds more ends with an error
that says which bound it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ... import ops
from ...errors import DimensionError
from ...expr import upper
from ...graph import Value, is_counted
from ..dims import Formula, Range, Sizes
from .declared import dim_name, open_sizes


@dataclass(frozen=True)
class Bound:
    """The most elements along an axis, and the key of `--dim` that says so."""

    axis: int
    most: int
    key: str


def length_bounds(graph: Any, sizes: Sizes) -> tuple[Sizes, dict[str, list[Bound]]]:
    """The sizes that are left for the inputs, and the bounds of other values, by their names.

    Raises DimensionError for a formula.
    """
    given = {dim_name(d) for i in graph.input for d in i.type.tensor_type.shape.dim}

    def of_inputs(key: str) -> bool:
        """Whether `dims` takes a key for an open size of an input."""
        short = key.lower() in ("h", "w", "height", "width", "n", "batch")
        named = any(name.lower().startswith(key.lower()) for name in given)
        return named or (short and open_sizes(graph.input))

    places: dict[str, list[tuple[str, int]]] = {}
    for node in graph.node:
        for name in filter(None, node.output):
            for axis in range(8):
                places.setdefault(f"{name}.{axis}", []).append((name, axis))
    for v in (*graph.value_info, *graph.output):
        for axis, d in enumerate(v.type.tensor_type.shape.dim):
            if dim_name(d) and dim_name(d) not in given:
                places.setdefault(dim_name(d), []).append((v.name, axis))
    found: dict[str, list[Bound]] = {}
    for key, size in sizes.items():
        for name, axis in () if of_inputs(key) else places.get(key, ()):
            if isinstance(size, Formula):
                raise DimensionError(
                    f"--dim {key}={size}: how long {name!r} is, only a run finds; give the most "
                    f"that it may be, as --dim {key}=100"
                )
            most = size.high if isinstance(size, Range) else size
            found.setdefault(name, []).append(Bound(axis, most, key))
    rest = {k: size for k, size in sizes.items() if of_inputs(k) or k not in places}
    left = Sizes(rest, sizes.sides, sizes.assumed & rest.keys(), sizes.fixed)
    return (left if found else sizes), found


def longest(names: Iterable[str], bounds: Mapping[str, list[Bound]]) -> int | None:
    """The least bound of the first axes of outputs, if any of them has one."""
    found = [b.most for name in names for b in bounds.get(name, ()) if b.axis == 0]
    return min(found, default=None)


def bounded(name: str, v: Value, bound: Bound) -> tuple[Value, Value, str]:
    """The value with the first elements along the axis, whether a run finds more, and what to say.

    Raises DimensionError where the length is known, or there is no such axis.
    """
    key, axis = bound.key, bound.axis
    if axis >= v.rank:
        raise DimensionError(f"--dim {key}: {name!r} has {v.rank} axes, counted from 0")
    d = v.shape[axis]
    if not is_counted(d):
        raise DimensionError(
            f"--dim {key}: axis {axis} of {name!r} has {d} elements. Bounds are for lengths that "
            "only a run finds; sizes that are open are those of inputs"
        )
    count = ops.ints(d, "i64")
    more = ops.reshape(ops.greater(count, bound.most), ())
    if upper(d) > bound.most:
        v = ops.slice_axis(v, axis, 0, bound.most)
    if v.size != 0:
        v = ops.counted(v, axis, ops.min_(count, ops.ints(bound.most, "i64")))
    said = (
        f"axis {axis} of {name!r} is longer than --dim {key}={bound.most} allows: transpile the "
        "model with a larger one, or give it less"
    )
    return v, more, said


__all__ = ["Bound", "bounded", "length_bounds", "longest"]
