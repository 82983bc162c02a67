"""What every frontend shares: the inputs with their dimensions, and the finished graph's checks.

    >>> declared = [Declared("image", "f32", ("N", None, None, 3))]
    >>> inputs, symbols = settle_inputs(declared, {"h": (32, 64), "w": 48}, [])
    >>> inputs["image"]
    image:f32[1,h,48,3]

A model may leave dimensions open. Each key of `dims` names one by the first of these rules that
fits:

1. its name in the model;
2. INPUT.AXIS, for example `image.2` (or `image_2`): the only way for dimensions without a name;
3. the beginning of one dimension's name, in any case: `seq` for `sequence_length`;
4. `h`, `w` (or height, width): the open image axes of four-dimensional inputs, next to a known
   number of channels or else as NCHW; `batch`: the first axis of the first input.

A batch dimension that is not given becomes 1, and a note says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import ops
from ..errors import DimensionError, UnsupportedError
from ..expr import Dim, Expr, dim
from ..expr import evaluate as size_at
from ..graph import DTYPES, Graph, Value, computed, dims_of, evaluate, is_counted, placeholder

BATCH = re.compile(r"(?i)n|b|bs|batch([_ .-]?(size|dim|axis))?|batchsize|unk__\d+")
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
    `parameter_bytes` are those of its weights as the model holds them.
    """

    graph: Graph
    notes: list[str] = field(default_factory=list)
    contents: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    parameter_bytes: int = 0


@dataclass(frozen=True)
class Declared:
    """An input as its model declares it: an open dimension is its name there, or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass
class _Open:
    """A dimension that the model leaves open: its name (or None), and where it occurs."""

    name: str | None
    at: list[tuple[str, int]]
    batch: bool = False
    key: str | None = None  # what the user calls it

    @property
    def label(self) -> str:
        return self.name or f"{self.at[0][0]}.{self.at[0][1]}"


def settle_inputs(
    declared: Sequence[Declared], dims: Mapping[str, int | tuple[int, int]], notes: list[str]
) -> tuple[dict[str, Value], list[Expr]]:
    """The graph's inputs by name with every dimension settled, and the symbolic dimensions.

    What was settled is added to `notes`. Raises DimensionError for a dimension that is missing, and
    for a key of `dims` that means none or several.
    """
    shapes: dict[str, tuple[str, list[int | _Open]]] = {}
    opened: dict[Any, _Open] = {}
    for k, i in enumerate(declared):
        shape: list[int | _Open] = []
        for axis, d in enumerate(i.shape):
            if isinstance(d, int):
                shape.append(d)
                continue
            one = opened.setdefault(d or (i.name, axis), _Open(d or None, []))
            one.at.append((i.name, axis))
            one.batch |= axis == 0 and (k == 0 or not d or bool(BATCH.fullmatch(d)))
            shape.append(one)
        shapes[i.name] = i.dtype, shape
    settled = _settle(list(opened.values()), shapes, dims, notes)
    inputs = {
        name: placeholder(
            name, [settled[id(d)] if isinstance(d, _Open) else d for d in shape], dtype
        )
        for name, (dtype, shape) in shapes.items()
    }
    return inputs, [d for d in dict.fromkeys(settled.values()) if isinstance(d, Expr)]


def _settle(
    opened: list[_Open],
    shapes: Mapping[str, tuple[str, list[Any]]],
    dims: Mapping[str, int | tuple[int, int]],
    notes: list[str],
) -> dict[int, Dim]:
    chosen: dict[int, str] = {}
    for key in dims:
        for one in _named(key, opened, shapes):
            if id(one) in chosen and dims[chosen[id(one)]] != dims[key]:
                raise DimensionError(
                    f"--dim {chosen[id(one)]} and --dim {key} both mean {_place(one)}, but differ"
                )
            chosen.setdefault(id(one), key)
    missing = [one for one in opened if id(one) not in chosen and not one.batch]
    if missing:
        lines = [
            f"  {_place(one)}: add --dim {_short(one, opened, shapes)}=SIZE or LOW..HIGH"
            for one in missing
        ]
        raise DimensionError(
            "the model leaves dimensions open that must be given:\n" + "\n".join(lines)
        )
    out: dict[int, Dim] = {}
    for one in opened:
        settled = chosen.get(id(one))
        if settled is None:
            out[id(one)] = 1
            notes.append(
                f"{one.label} = 1 (the batch); another size: --dim {_argument(one.label)}=SIZE, "
                f"in Python dims={{{one.label!r}: SIZE}}"
            )
            continue
        wanted = dims[settled]
        lo, hi = (wanted, wanted) if isinstance(wanted, int) else wanted
        if not 1 <= lo <= hi < 2**31:
            raise DimensionError(f"--dim {settled}={_range(wanted)}: expected 1 <= low <= high")
        out[id(one)] = lo if lo == hi else dim(re.sub(r"\W", "_", settled), lo, hi)
        if lo == hi:
            notes.append(f"{one.label} = {lo} ({_place(one)})")
    return out


def _range(wanted: int | tuple[int, int]) -> str:
    return str(wanted) if isinstance(wanted, int) else f"{wanted[0]}..{wanted[1]}"


def _place(one: _Open) -> str:
    name, axis = one.at[0]
    named = f" (named {one.name!r})" if one.name else ""
    return f"axis {axis} of input {name!r}{named}"


def _argument(label: str) -> str:
    return f"'{label}'" if re.search(r"[^\w.:-]", label) else label


def _short(one: _Open, opened: list[_Open], shapes: Mapping[str, tuple[str, list[Any]]]) -> str:
    """The key to advise: a plain name if it has one, else h or w for an image's axes."""
    if one.name and re.fullmatch(r"[A-Za-z_]\w*", one.name):
        return one.name
    for key in ("h", "w"):
        if _named(key, opened, shapes, strict=False) == [one]:
            return key
    return _argument(one.label)


def _named(
    key: str, opened: list[_Open], shapes: Mapping[str, tuple[str, list[Any]]], strict: bool = True
) -> list[_Open]:
    """The dimensions that a key of `dims` means, by the rules of the module's text."""
    rules = (
        lambda one: one.name == key,
        lambda one: any(key in (f"{name}.{axis}", f"{name}_{axis}") for name, axis in one.at),
        lambda one: bool(one.name) and one.name.lower().startswith(key.lower()),
    )
    for rule in rules:
        found = [one for one in opened if rule(one)]
        if len(found) > 1:
            raise DimensionError(
                f"--dim {key} could mean {' or '.join(_place(one) for one in found)}; "
                f"use {' or '.join(_argument(one.label) for one in found)}"
            )
        if found:
            return found
    short = {"height": "h", "width": "w"}.get(key.lower(), key.lower())
    found = []
    if short in ("h", "w"):
        for _, shape in shapes.values():
            if len(shape) == 4:
                nhwc = isinstance(shape[1], _Open) and isinstance(shape[3], int)
                d = shape[("h", "w").index(short) + (1 if nhwc else 2)]
                if isinstance(d, _Open) and d not in found:
                    found.append(d)
    if short in ("batch", "n"):
        found = [one for one in opened if one.batch]
    if not found and strict:
        have = (
            "; ".join(f"{_argument(one.label)}: {_place(one)}" for one in opened)
            or "none: every dimension is fixed"
        )
        raise DimensionError(f"--dim {key}: the model has no such open dimension. Open are: {have}")
    return found


def finished(
    graph: Graph, notes: list[str], contents: Iterable[str], weights: Iterable[tuple[int, int]]
) -> Imported:
    """The graph with the checks that every import ends with, and notes on widths.

    contents: the model's operators or layers, each by its type's name. weights: the number of
    elements and the bytes of each.

    Raises DimensionError where a size would be negative at the smallest symbolic dimensions, and
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
    )


def _check_sizes(graph: Graph) -> None:
    """No size may be negative at the smallest symbolic dimensions."""
    lowest = {str(d.args[0]): d.args[1] for d in graph.dims}
    for name, value in graph.names.items():
        for axis, d in enumerate(value.shape):
            if not isinstance(d, Expr) or d.op == "dim" or is_counted(d):
                continue
            if size_at(d, lowest) < 0:
                used = ", ".join(f"{s.args[0]}={s.args[1]}" for s in dims_of([(d,)]))
                raise DimensionError(
                    f"axis {axis} of {name!r} would have {size_at(d, lowest)} elements at {used}: "
                    "a window or a slice does not fit. Choose a larger lowest size with --dim"
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


__all__ = ["Declared", "Imported", "finished", "settle_inputs"]
