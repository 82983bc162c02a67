"""Default inputs of a descriptor: sizes for its open dimensions, and random tensors.

>>> signature = signature_of(Path("build"))  # doctest: +SKIP
>>> random_inputs(signature, default_sizes(signature)[0], {}, seed=0)  # doctest: +SKIP
{"image": array(...)}

Floats lie in 0..1, integers that index a table within it (`table_sizes` reads that off the imported
graph, whatever format it came from), other integers are 0 or 1, as in a mask.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from webdnn import ops
from webdnn.errors import DimensionError, WebDNNError
from webdnn.frontend.dims import Declared, Range
from webdnn.graph import DTYPES, INPUT, Graph, Value, evaluate
from webdnn.inspect.describe import shape_text
from webdnn.picture.image import random_words

Array = NDArray[Any]
MOST = 2**28  # elements of an input that is drawn: no page holds more


def signature_of(descriptor: Path) -> dict[str, Any]:
    """A descriptor's model.json; raises WebDNNError when the folder holds none.

    What is read of it here is checked; all else is the runner's to check.
    """
    file = descriptor / "model.json"
    try:
        document = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WebDNNError(
            f"{descriptor}: no model.json here; expected the folder that webdnn transpile wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise WebDNNError(f"{file}: not a graph descriptor: {error}") from error
    wrong = _wrong(document)
    if wrong:
        raise WebDNNError(
            f"{file}: damaged: {wrong}. Transpile the model again, or copy its folder as a whole"
        )
    return cast("dict[str, Any]", document)


def _wrong(document: Any) -> str:
    """What of a model.json is not as the transpiler writes it, or nothing."""
    if not isinstance(document, dict):
        return "expected an object"
    dims, names = document.get("dims"), set[Any]()
    if not isinstance(dims, list):
        return "expected a list of dims"
    for dim in dims:
        match dim:
            case {"name": str(name), "min": int(low), "max": int(high)} if 0 <= low <= high:
                names.add(name)
                if isinstance(dim.get("step", 1), int) and dim.get("step", 1) > 0:
                    continue
        return f"dims: expected a name, min and max, found {str(dim)[:80]}"
    for kind in ("inputs", "outputs"):
        entries = document.get(kind)
        if not isinstance(entries, list):
            return f"expected a list of {kind}"
        if kind == "outputs":  # those that a run finds as the lengths of others
            hidden = [e for e in entries if isinstance(e, dict) and e.get("hidden")]
            names |= {n for e in hidden if isinstance(n := e.get("name"), str)}
        for entry in entries:
            match entry:
                case {"name": str(), "dtype": str(dtype), "shape": list(shape)} if (
                    dtype in DTYPES.values()
                    and all(_is_size(size, names, 0) for size in shape)
                    and isinstance(entry.get("image", {}), dict)
                    and isinstance(entry.get("labels", []), list)
                ):
                    continue
            return f"{kind}: expected a name, dtype and shape, found {str(entry)[:80]}"
    if not isinstance(document.get("targets"), dict):
        return "expected an object of targets"
    return ""


def _is_size(size: Any, names: Container[str], depth: int) -> bool:
    """Whether this is a descriptor's Int over these dimensions."""
    if isinstance(size, int):
        return abs(size) < 2**53
    if isinstance(size, str):
        return size in names
    if not isinstance(size, list) or len(size) < 2 or depth > 100:
        return False
    operator, *rest = size
    known = (operator in _INT_OPS and len(rest) == 2) if isinstance(operator, str) else False
    return (known or (operator == "select" and len(rest) == 3)) and all(
        _is_size(r, names, depth + 1) for r in rest
    )


def _ranges(signature: Mapping[str, Any]) -> dict[str, Range]:
    return {d["name"]: Range(d["min"], d["max"], d.get("step", 1)) for d in signature["dims"]}


def sizes_of(
    signature: Mapping[str, Any], declared: Sequence[Declared] = ()
) -> dict[str, int | str | tuple[int, ...]]:
    """The sizes that a descriptor was made with, as `transpile` takes them.

    For the `declared` inputs of its model also what is no dimension there: numbers and formulas.
    """
    ranges = {name: (r.low, r.high, r.step) for name, r in _ranges(signature).items()}
    out: dict[str, int | str | tuple[int, ...]] = {**ranges}
    shapes = {e["name"]: e["shape"] for e in signature["inputs"] if "image" not in e}
    for one in declared:
        for axis, (size, made) in enumerate(zip(one.shape, shapes.get(one.name, ()))):
            if not isinstance(size, int) and not isinstance(made, str):
                out[f"{one.name}.{axis}"] = made if isinstance(made, int) else shape_text([made])
    return out


def default_sizes(
    signature: Mapping[str, Any], given: Mapping[str, Array] | None = None
) -> list[dict[str, int]]:
    """Default sizes of the symbolic dimensions: those of the given inputs, else their minimum and
    an odd middle."""
    ranges = _ranges(signature)
    if not ranges:
        return [{}]
    fixed = {
        size: array.shape[axis]
        for entry in signature["inputs"]
        if (array := (given or {}).get(entry["name"])) is not None
        and "image" not in entry
        and array.ndim == len(entry["shape"])
        for axis, size in enumerate(entry["shape"])
        if isinstance(size, str)
    }
    # An odd middle: sizes that are no multiple of a tile are where kernels go wrong.
    choices = [
        {name: r.low for name, r in ranges.items()},
        {name: r.nearest(r.low + (r.high - r.low) // 2 | 1) for name, r in ranges.items()},
    ]
    chosen = [choice | fixed for choice in choices]
    return chosen if chosen[0] != chosen[1] else chosen[:1]


def random_inputs(
    signature: Mapping[str, Any],
    sizes: Mapping[str, int],
    bounds: Mapping[str, int],
    seed: int,
    other: bool = False,
) -> dict[str, Array]:
    """Inputs for a descriptor's signature at given sizes of its symbolic dimensions.

    `bounds` limits integer inputs, by name. `other` draws floats from another distribution, so that
    even an average over all of them differs. Raises DimensionError for a size that is missing,
    out of range, or of no dimension.
    """
    ranges = _ranges(signature)
    for name in sizes:
        if name not in ranges:
            opened = ", ".join(f"{n} = {r}" for n, r in ranges.items()) or "none"
            raise DimensionError(
                f"--size {name}={sizes[name]}: {name} is no open dimension. Open are: {opened}"
            )
    for name, allowed in ranges.items():
        size = sizes.get(name)
        if size is None or size not in allowed:
            near = {n: r.nearest(sizes.get(n, r.low)) for n, r in ranges.items()}
            raise DimensionError(
                f"size of dimension {name}: expected {allowed}, "
                f"found {'none' if size is None else size}",
                f"For example: --size {','.join(f'{n}={s}' for n, s in near.items())}",
            )
    shapes = [tuple(_evaluate(size, sizes) for size in e["shape"]) for e in signature["inputs"]]
    for entry, shape in zip(signature["inputs"], shapes):
        if min(shape, default=0) < 0 or math.prod(shape) > MOST:
            raise DimensionError(
                f"input {entry['name']!r} would be {list(shape)}: expected at most {MOST} elements"
            )
    return {
        entry["name"]: _random_input(
            entry,
            np.random.default_rng([seed, position]),
            shapes[position],
            bounds.get(entry["name"]),
            other,
        )
        for position, entry in enumerate(signature["inputs"])
    }


def _evaluate(size: Any, sizes: Mapping[str, int]) -> int:
    """A descriptor's Int (docs/descriptor.md) at given dimensions."""
    match size:
        case int():
            return size
        case str():
            return sizes[size]
        case ["select", condition, a, b]:
            return _evaluate(a if _evaluate(condition, sizes) else b, sizes)
        case [op, a, b]:
            x, y = _evaluate(a, sizes), _evaluate(b, sizes)
            return _INT_OPS[op](x, y)
    raise WebDNNError(f"model.json: expected a size, found {size!r}")


_INT_OPS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "//": lambda x, y: x // y if y else 0,
    "%": lambda x, y: x % y if y else 0,
    "min": min,
    "max": max,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "&&": lambda x, y: bool(x) and bool(y),
    "||": lambda x, y: bool(x) or bool(y),
}


def _random_input(
    entry: Mapping[str, Any],
    rng: np.random.Generator,
    shape: tuple[int, ...],
    bound: int | None,
    other: bool,
) -> Array:
    if "image" in entry:
        return random_words(rng, shape, entry["image"]["channels"], other)
    return _random(rng, entry["dtype"], shape, bound, other)


def _random(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], bound: int | None, other: bool
) -> Array:
    if dtype.startswith("float"):
        values = np.asarray(rng.random(shape, np.float32))  # of no axes, numpy gives a scalar
        return np.asarray(values**3 if other else values, dtype)
    if dtype == "bool":
        chosen = np.asarray(rng.random(shape) < 0.5)
        chosen.reshape(-1)[:1] = not other  # one alone is most often a switch
        return chosen
    limits = np.iinfo(dtype)
    if bound is not None:
        return np.asarray(rng.integers(0, bound, shape), dtype)
    if limits.bits == 8:
        return np.asarray(rng.integers(limits.min, limits.max + 1, shape), dtype)
    # An integer of unknown meaning, most often a mask: 0 or 1, the first one set.
    values = np.asarray(rng.integers(0, 2, shape), dtype)
    values.reshape(-1)[:1] = 1
    return values


# What an index passes through between a graph's input and the table that it indexes; `where` and
# `add` are how a negative one is counted from the end.
_CARRIERS = {
    ops.cast_, ops.EXPAND, ops.RESHAPE, ops.TRANSPOSE, ops.SLICE, ops.CONCAT, ops.where, ops.add,
    ops.max_, ops.min_, ops.COUNTED, ops.from_end,
}  # fmt: skip


def table_sizes(graph: Graph) -> dict[str, int]:
    """Rows of the smallest table that each integer input indexes (an embedding, a one-hot code)."""
    found: dict[str, int] = {}
    for v in graph.values():
        rows: Any = 0
        index: Value | None = None
        match v.op, v.inputs:
            case ops.GATHER, (table, index):
                rows = table.shape[v.attrs["axis"]]
            case ops.equal, (a, b):
                index, codes = (b, a) if a.constant or a.op is ops.IOTA else (a, b)
                if codes.op is ops.IOTA:
                    rows = codes.shape[codes.attrs["axis"]]
                elif codes.constant and codes.size != 1 and codes.dtype.startswith(("i", "u")):
                    rows = int(evaluate(codes).max()) + 1
        if index is None or not isinstance(rows, int) or rows < 2 or index.constant:
            continue
        for name in _origins(index):
            found[name] = min(found.get(name, rows), rows)
    return found


def _origins(index: Value) -> set[str]:
    """Integer inputs whose elements reach a value unchanged."""
    names, seen, rest = set(), {index}, [index]
    while rest:
        v = rest.pop()
        if v.op is INPUT and v.dtype.startswith(("i", "u")):
            names.add(v.attrs["name"])
        elif v.op in _CARRIERS:
            new = [i for i in v.inputs if i not in seen]
            seen.update(new)
            rest += new
    return names
