"""Choosing elements: sorting, the greatest k, what is true, and lengths that only a run finds.

    >>> from webdnn.graph import placeholder
    >>> top_k(placeholder("x", (4, 1000), "f32"), 5, axis=1)
    (gather_elements:f32[4,5], arg_top_k:i64[4,5])

Order is total: of equal elements the one with the lower index goes first, -0 equals 0, and NaN is
greater than every number (as numpy and PyTorch sort). Two kernels do it all: `arg_top_k`, of which
sorting is k = n, and `first_true`, which finds positions.

A result whose length is only known after a run has the length of its upper bound; `counted` ties
the number of its valid elements to it, and `settled` turns such a graph into an ordinary one, with
that number as a further output (`Graph.counts`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..expr import (
    Dim,
    Expr,
    as_dim,
    bounds,
    dim,
    free,
    lift,
    load,
    maximum,
    product,
    substitute,
    upper,
    var,
    walk,
)
from ..graph import (
    DTYPES,
    FLOATS,
    INPUT,
    Graph,
    Node,
    Op,
    Shape,
    Value,
    computed,
    constant,
    scalar_dtype,
    type_text,
)
from . import elementwise
from .elementwise import add, cast, div, less, mod, not_equal, where
from .indexing import GATHER, GATHER_ELEMENTS, GATHER_ND, gather_elements
from .known import INTS, ints
from .movement import PAD, concat, expand, iota, pad, reshape, transpose
from .reduce import reduce_sum

# ---- the greatest k ------------------------------------------------------------------------------

LOCAL = 1024  # so many elements WebGPU sorts in workgroup memory


def order_keys(x: np.ndarray, largest: bool) -> np.ndarray:
    """Unsigned keys whose ascending order is the one of `arg_top_k`."""
    if x.dtype == bool:
        x = x.astype(np.int32)
    if x.dtype.kind == "f":
        bits = (x.astype(np.float32) + np.float32(0)).view(np.uint32)
        keys = np.where(bits >> 31, ~bits, bits | 0x80000000).astype(np.uint64)
        keys = np.where(np.isnan(x), np.uint64(0xFFFFFFFF), keys)
    else:
        keys = (x.astype(np.int64) + (2**31 if x.dtype.kind == "i" else 0)).astype(np.uint64)
    return np.uint64(2**40) - keys if largest else keys


def _arg_top_k_numpy(
    x: np.ndarray, above: np.ndarray | None = None, *, k: int, largest: bool
) -> np.ndarray:
    keys = order_keys(x, largest)
    if above is not None:
        keys[~(x > above)] = 2**62
    found = np.argsort(keys, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(keys, found, 1) == 2**62, -1, found)


def _arg_top_k_kernel(node: Node, read: Any) -> dict[str, Any]:
    x = node.inputs[0]
    rows, n = x.shape
    k = node.attrs["k"]
    return {
        "items": rows,
        "cost": as_dim(lift(n) * 4),
        "scratch": as_dim(lift(k) * 8),
        "kind": computed(x.dtype),
        "local": upper(k) <= LOCAL,
        "most": upper(k),
        "above": len(node.inputs) > 1,
    }


ARG_TOP_K = Op(
    "arg_top_k",
    "opaque",
    lambda x, *above, k, largest: [((x.shape[0], k), "i64")],
    None,
    _arg_top_k_numpy,
    kernel=_arg_top_k_kernel,
)


def arg_top_k(
    x: Value, k: Any, axis: int = -1, largest: bool = True, above: Value | None = None
) -> Value:
    """The indices (i64) of the k greatest elements along an axis, greatest first.

    Not `largest`: the k least, least first. Of equal elements the lower index goes first; NaN is
    greater than every number. `above` (f32 of one element): only elements of x (f32, `largest`)
    that are greater than it, so no NaN; where these are fewer than k, -1 follows. Raises
    UnsupportedError if there are fewer than k elements.
    """
    if above is not None and (computed(x.dtype) != "f32" or not largest or above.size != 1):
        raise UnsupportedError(f"top_k of {type_text(x)} above {type_text(above)}")
    axis %= x.rank
    k = as_dim(k)
    n = x.shape[axis]
    if upper(k) > upper(n) or (isinstance(k, int) and k < 0):
        raise UnsupportedError(f"top_k: {k} of the {n} elements of axis {axis} of {type_text(x)}")
    perm = [d for d in range(x.rank) if d != axis] + [axis]
    moved = transpose(x, perm)
    rows = product(moved.shape[:-1])
    flat = reshape(moved, (rows, n))
    operands = (flat,) if above is None else (flat, reshape(above, (1,)))
    found = ARG_TOP_K(*operands, k=k, largest=bool(largest))
    found = reshape(found, (*moved.shape[:-1], k))
    return transpose(found, [perm.index(d) for d in range(x.rank)])


def top_k(
    x: Value, k: Any, axis: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Value, Value]:
    """(values, indices i64) of the k greatest elements along an axis; see `arg_top_k`.

    Always sorted: not `sorted` asks for no particular order, and gets this one.
    """
    at = arg_top_k(x, k, axis, largest)
    return gather_elements(x, at, axis), at


def sort(x: Value, axis: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """(values, indices i64) of all elements along an axis in order, stable both ways."""
    return top_k(x, x.shape[axis % x.rank], axis, descending)


# ---- the positions of what is true ---------------------------------------------------------------


def _first_true_numpy(mask: np.ndarray, *, k: int) -> np.ndarray:
    rows, n = mask.shape
    out = np.full((rows, k), n, np.int64)
    for row, found in zip(out, map(np.flatnonzero, mask)):
        row[: len(found)] = found[:k]
    return out


FIRST_TRUE = Op(
    "first_true",
    "opaque",
    lambda mask, *, k: [((mask.shape[0], k), "i64")],
    None,
    _first_true_numpy,
    kernel=lambda node, read: {"items": node.inputs[0].shape[0], "cost": node.inputs[0].shape[1]},
)


def first_true(mask: Value, k: Dim) -> Value:
    """mask bool [R, n] -> i64 [R, k]: where the 1st, 2nd ... k-th true element of each row is.

    Where a row has fewer, the index is n.
    """
    if mask.rank != 2 or mask.dtype != "bool":
        raise UnsupportedError(f"first_true of {type_text(mask)}: bool [rows, n] expected")
    return FIRST_TRUE(mask, k=as_dim(k))


def non_zero(x: Value, limit: Dim | None = None) -> tuple[Value, Value]:
    """(positions i64 [rank, limit], count i64 []): where x is not 0, in row-major order.

    The first `count` columns are valid; the others hold positions beyond x. limit: an upper bound
    of the count that the caller knows (x.size).
    """
    zero = constant(0, x.dtype) if x.dtype != "bool" else None
    mask = reshape(x if zero is None else not_equal(x, zero), (1, x.size))
    rest = first_true(mask, x.size if limit is None else limit)
    rows: list[Value] = []
    for d in reversed(x.shape):
        size = ints(d, "i64")
        rows.append(mod(rest, size) if len(rows) < x.rank - 1 else rest)
        rest = div(rest, size)
    found = concat(rows[::-1], 0) if rows else expand(constant(0, "i64"), (0, 1))
    return found, reshape(reduce_sum(cast(mask, "i64"), [1]), ())


# ---- lengths that are known after a run ----------------------------------------------------------

_MARK = "#"  # begins the name of a dimension that `counted` makes, until `settled` names it


def _counted_infer(x: Value, count: Value, *, axis: int, size: Expr) -> list[tuple[Shape, str]]:
    return [((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)]


COUNTED = Op("counted", "map", _counted_infer, lambda node, read, idx: read(0, idx))


def counted(x: Value, axis: int, count: Value) -> Value:
    """x, of which only the first `count` (a scalar) elements along an axis exist.

    The axis becomes a dimension of its own, up to what it was, which is settled after a run.
    A graph that holds such values must go through `settled`.
    """
    axis %= x.rank
    count = cast(reshape(count, ()), "i64")
    # From 1, so that divisions by it are resolved: where there is none, no element is read either.
    size = dim(f"{_MARK}{id(count)}.{id(x)}.{axis}", 1, max(1, upper(x.shape[axis])))
    return COUNTED(x, count, axis=axis, size=size)


def is_counted(d: Any) -> bool:
    """Whether a dimension depends on what a run finds."""
    return isinstance(d, Expr) and any(x.args[0].startswith(_MARK) for x in free(d, "dim"))


def settled(graph: Graph) -> Graph:
    """The graph with every `counted` axis at its upper bound, and what was counted as outputs.

    What is computed from the elements beyond the count is never seen, as long as no operator mixes
    them with those before: anything element by element, or along other axes, goes. Reductions and
    sorting along a counted axis see what changes nothing there; a concat along it, or a reshape
    that changes its stride, raises UnsupportedError.
    """
    marks = [v for v in graph.values() if v.op is COUNTED]
    if not marks:
        return graph
    new: dict[Value, Value] = {}
    largest: dict[Expr, Dim] = {}
    counts: dict[Expr, Value] = {}
    for v in graph.values():
        if v.op is INPUT or v.constant:
            new[v] = v
        elif v.op is COUNTED:
            x, count = (new[i] for i in v.inputs)
            size = v.attrs["size"]
            largest[size] = x.shape[v.attrs["axis"]]
            counts[size] = count
            new[v] = x
        elif v.op is INTS and any(map(is_counted, v.attrs["values"])):
            parts = [_value_of(e, counts) for e in v.attrs["values"]]
            flat = concat([reshape(p, (1,)) for p in parts], 0)
            new[v] = reshape(cast(flat, v.dtype), v.shape)
        elif (
            v.op is PAD
            and any(map(is_counted, v.inputs[0].shape))
            and not any(map(is_counted, v.attrs["before"]))
        ):
            new[v] = _padded(v, new[v.inputs[0]], largest, counts)
        else:
            if not all(map(_grows, v.shape)):
                raise UnsupportedError(
                    f"{v.op} {_plain(v)}: the more a run finds, the less there is"
                )
            inputs = [new[i] for i in v.inputs]
            which, along, filler = _combined(v)
            if along:
                for axis in along:
                    end = _value_of(v.inputs[which].shape[axis], counts)
                    inputs[which] = _masked(inputs[which], axis, end, filler)
            elif any(map(is_counted, read := _gathered(v))):
                sizes = [cast(_value_of(d, counts), inputs[1].dtype) for d in read]
                end = sizes[0]
                if v.op is GATHER_ND:
                    end = concat([reshape(size, (1,)) for size in sizes], 0)
                # Negative positions count from the end that the run finds.
                inputs[1] = where(less(inputs[1], 0), add(inputs[1], end), inputs[1])
            elif any(is_counted(d) for i in v.inputs for d in i.shape):
                _check_rows(v, next((k for k, n in graph.names.items() if n is v), ""))
            attrs = {k: _bounded(a, largest) for k, a in v.attrs.items()}
            new[v] = v.op.node(tuple(inputs), attrs).outputs[v.index]
    outputs = {name: new[v] for name, v in graph.outputs.items()}
    shapes: dict[str, Shape] = {}
    names: dict[Expr, Expr] = {}
    for name, v in graph.outputs.items():
        if not any(map(is_counted, v.shape)):
            continue
        for size in [e for d in v.shape for e in free(d, "dim") if is_counted(e)]:
            if size not in names:
                number = f"{name}.count"
                while number in outputs:
                    number += "_"
                names[size] = dim(number, 0, upper(largest[size]))
                outputs[number] = counts[size]
        true = [substitute(lift(d), names) for d in v.shape]
        shapes[name] = tuple(as_dim(d if bounds(d)[0] >= 0 else maximum(d, 0)) for d in true)
    named = {k: new[v] for k, v in graph.names.items() if v in new}
    kept = {k: v for k, v in named.items() if not any(map(is_counted, graph.names[k].shape))}
    states = {k: (before, new[after]) for k, (before, after) in graph.states.items()}
    return dataclasses.replace(graph, outputs=outputs, names=kept, counts=shapes, states=states)


def _padded(v: Value, x: Value, largest: Mapping[Expr, Dim], counts: Mapping[Expr, Value]) -> Value:
    """A constant pad around what exists of x, which is not where x ends."""
    old = v.inputs[0].shape
    for axis in (k for k, d in enumerate(old) if is_counted(d)):
        x = _masked(x, axis, _value_of(old[axis], counts), v.attrs["value"])
    if not all(map(_grows, v.shape)):
        raise UnsupportedError(f"pad of {_plain(v)}: the more a run finds, the less there is")
    before = _bounded(v.attrs["before"], largest)
    sizes = zip(_bounded(v.shape, largest), x.shape, before)
    return pad(x, before, [as_dim(lift(o) - d - b) for o, d, b in sizes], value=v.attrs["value"])


def _grows(d: Dim) -> bool:
    """Whether a size is at its largest where everything that is counted is."""
    if not is_counted(d):
        return True
    assert isinstance(d, Expr)
    if d.op in ("add", "min", "max"):
        return all(map(_grows, d.args))
    if d.op in ("mul", "floordiv"):
        left, right = d.args
        if d.op == "floordiv" and is_counted(right):
            return False
        return _grows(left) and _grows(right) and min(bounds(left)[0], bounds(right)[0]) >= 0
    return d.op == "dim"


def _plain(v: Value) -> str:
    """The type of a value as text, without the names of counted dimensions."""
    return re.sub(rf"{_MARK}[\d.]+", "?", type_text(v))


def _gathered(v: Value) -> Sequence[Dim]:
    """The sizes of the axes that an operator reads at computed positions."""
    if v.op in (GATHER, GATHER_ELEMENTS):
        return (v.inputs[0].shape[v.attrs["axis"]],)
    if v.op is GATHER_ND:
        first = v.attrs["batch_dims"]
        depth = v.inputs[1].shape[-1]
        assert isinstance(depth, int)
        return v.inputs[0].shape[first : first + depth]
    return ()


def _combined(v: Value) -> tuple[int, list[int], Any]:
    """What an operator combines or chooses from: the number of the input, the counted axes along
    which it does, and an element that changes nothing there.
    """
    which = 1 if v.op.name == "suppress" else 0
    if not v.inputs:
        return which, [], None
    axes: Sequence[int] = ()
    if v.op.kind == "reduce" and not v.op.prefixes:
        axes = v.attrs["axes"]
    elif v.op.name in ("arg_top_k", "first_true", "suppress"):
        axes = (1,)
    along = [k for k in axes if is_counted(v.inputs[which].shape[k])]
    return which, along, _filler(v) if along else None


def _filler(v: Value) -> Any:
    dtype = v.inputs[0].dtype
    fixed = {"first_true": False, "suppress": -1, "sum": 0, "prod": 1, "any": False, "all": True}
    monoid = v.attrs.get("monoid", v.op.name)
    if monoid in fixed:
        return fixed[monoid]
    top = "max" not in monoid if monoid != "arg_top_k" else not v.attrs["largest"]
    if dtype in FLOATS:
        return float("inf" if top else "-inf")
    kind = np.iinfo(DTYPES[dtype if np.dtype(DTYPES[dtype]).itemsize < 4 else computed(dtype)])
    return kind.max if top else kind.min


def _masked(x: Value, axis: int, count: Value, filler: Any) -> Value:
    """x with `filler` from element `count` of an axis on."""
    shape = tuple(d if k == axis else 1 for k, d in enumerate(x.shape))
    exists = less(iota(shape, axis, "i64"), count)
    return where(exists, x, constant(filler, x.dtype))


def _bounded(a: Any, largest: Mapping[Expr, Dim]) -> Any:
    """An attribute with upper bounds in the place of what was counted."""
    if isinstance(a, Expr):
        return as_dim(substitute(a, largest))
    return tuple(_bounded(x, largest) for x in a) if isinstance(a, tuple) else a


def _value_of(e: Any, counts: Mapping[Expr, Value]) -> Value:
    """An integer expression over counted dimensions as a value (i64)."""
    if not is_counted(e):
        return ints(e, "i64")
    names = {
        "add": "add", "sub": "sub", "mul": "mul", "min": "min_", "max": "max_",
        "floordiv": "div", "mod": "mod",
    }  # fmt: skip
    done: dict[Expr, Value] = {}
    for x in walk(e):
        if x in counts:
            done[x] = counts[x]
        elif x.op in ("const", "dim"):
            done[x] = ints(as_dim(x), "i64")
        elif x.op in names:
            done[x] = getattr(elementwise, names[x.op])(*(done[a] for a in x.args))
        else:
            raise UnsupportedError(
                f"a size {e} computed of what a run finds: {x.op} is not covered"
            )
    return done[e]


# Opaque operators whose rows are independent: which inputs may have how many rows a run finds.
_ROWS: Mapping[str, tuple[int, ...]] = {"arg_top_k": (0,), "roi_pool": (1,), "roi_align": (1, 2)}


def _check_rows(v: Value, name: str) -> None:
    """Raises UnsupportedError where an operator mixes what exists with what lies beyond it."""
    op = v.op
    axes = [(n, k) for n, i in enumerate(v.inputs) for k, d in enumerate(i.shape) if is_counted(d)]
    problem = ""
    if op.kind == "map":
        for e in _indices(v):
            if any(is_counted(d) for d in free(e, "dim")):
                problem = "reads positions that depend on the length"
    elif op.kind == "reduce":
        x = v.inputs[0]
        if not v.op.prefixes and any(is_counted(x.shape[k]) for k in v.attrs["axes"]):
            problem = "combines elements along the counted axis"
    elif op.kind == "template":
        a, b = v.inputs
        rows = a.shape[:1] if v.op.name != "matmul" else a.shape[:-1]
        if any(map(is_counted, b.shape)) or any(map(is_counted, a.shape[len(rows) :])):
            problem = "combines elements along the counted axis"
    elif any(k > 0 or n not in _ROWS.get(v.op.name, ()) for n, k in axes):
        problem = "needs to know how many there are"
    if problem:
        shapes = ", ".join(map(_plain, v.inputs))
        raise UnsupportedError(
            f"{f'{name!r}: ' if name else ''}{v.op} of ({shapes}) {problem}, which only a run "
            "finds out. Supported after NonMaxSuppression, NonZero and the like is what goes "
            "element by element, along other axes, or is a reduction or a choice; cut the model "
            "before this operator and do the rest in the page"
        )


def _indices(v: Value) -> list[Expr]:
    """What an element of a map is computed of: all indices and sizes in its expression."""
    seen: list[Expr] = []

    def read(k: int, idx: Any) -> Expr:
        i = v.inputs[k]
        seen.extend(lift(e) for e in idx)
        flat = lift(0)
        for e, d in zip(idx, i.shape):
            flat = flat * upper(d) + e
        return load(k, flat, scalar_dtype(i.dtype))

    axes = tuple(lift(0) if d == 1 else var(f"i{k}", d) for k, d in enumerate(v.shape))
    assert v.op.element is not None
    seen.append(v.op.element(v.node, read, axes))
    return seen


__all__ = [
    "ARG_TOP_K",
    "COUNTED",
    "FIRST_TRUE",
    "arg_top_k",
    "counted",
    "first_true",
    "is_counted",
    "non_zero",
    "settled",
    "sort",
    "top_k",
]
