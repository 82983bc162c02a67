"""Lengths that only a run finds: every axis at its upper bound, and the counts as outputs.

    x[non_zero(m)]  ->  x[at the positions found, then anything], and how many there are

`ops.counted` gives an axis a dimension of its own, so that inference tells what depends on it. This
pass puts the upper bound in its place and proves, operator by operator, that no element which
exists is computed of one that does not:

* an operator that `combines` elements along the axis (a reduction, sorting, a product) sees there
  an element that changes nothing;
* a map may read what it likes: where its indices mention the length, it reads that too
  (`ops.measured`), from memory;
* of any other operator only `rows` may be counted, which it computes one by one.

What does else is refused by name. The counts become outputs, and `Graph.counts` says of which
outputs they are the lengths: the runner cuts these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import ops
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
    post_order,
    substitute,
    upper,
    var,
)
from ..graph import (
    INPUT,
    Graph,
    Shape,
    Value,
    constant,
    dims_of,
    is_counted,
    scalar_dtype,
    type_text,
)

Largest = Mapping[Expr, Dim]  # of each counted dimension, the upper bound
Counts = Mapping[Expr, Value]  # and the scalar that a run finds


def settle(graph: Graph, hits: dict[str, int]) -> Graph:
    """The graph without counted dimensions; the graph itself where there are none.

    Raises UnsupportedError where an operator mixes what exists with what lies beyond it.
    """
    order, marks = _order(graph)
    if not marks:
        return graph
    hits["counted"] = len(marks)
    new: dict[Value, Value] = {}
    largest: dict[Expr, Dim] = {}
    counts: dict[Expr, Value] = {}
    for v in order:
        if v.op is INPUT or v.constant:
            new[v] = v
        elif v.op is ops.COUNTED:
            size = v.attrs["size"]
            new[v], counts[size] = (new[i] for i in v.inputs)
            largest[size] = new[v].shape[v.attrs["axis"]]
        else:
            try:
                new[v] = _bounded(v, [new[i] for i in v.inputs], largest, counts)
            except UnsupportedError as error:
                raise UnsupportedError(f"{_place(graph, v)}{error}") from None
    outputs = {name: new[v] for name, v in graph.outputs.items()}
    shapes: dict[str, Shape] = {}
    lengths: dict[Expr, Expr] = {}
    for name, v in graph.outputs.items():
        if not is_counted(v.shape):
            continue
        for size in marks:
            if size not in lengths and any(size in free(d, "dim") for d in v.shape):
                number = f"{name}.count"
                while number in outputs:
                    number += "_"
                lengths[size] = dim(number, 0, upper(largest[size]))
                outputs[number] = counts[size]
        true = [substitute(lift(d), lengths) for d in v.shape]
        shapes[name] = tuple(as_dim(d if bounds(d)[0] >= 0 else maximum(d, 0)) for d in true)
    names = {k: new[v] for k, v in graph.names.items() if v in new and not is_counted(v.shape)}
    states = {k: (before, new[after]) for k, (before, after) in graph.states.items()}
    return dataclasses.replace(graph, outputs=outputs, names=names, counts=shapes, states=states)


def _order(graph: Graph) -> tuple[list[Value], dict[Expr, Value]]:
    """What the results need, what a value is computed of before it; and the marks, by dimension.

    A length may be all that is needed of a value (its Shape): then its mark is among those of the
    values that the model has a name for.
    """
    named = {f"\0{name}": v for name, v in graph.names.items()}
    all_ = dataclasses.replace(graph, outputs=graph.outputs | named).values()
    marks = {v.attrs["size"]: v for v in all_ if v.op is ops.COUNTED}
    if not marks:
        return [], marks

    def below(v: Value) -> list[Value]:
        said = _lengths((v.shape, *v.attrs.values()))
        return [*(marks[d] for d in said if d in marks), *v.inputs]

    order = post_order((*graph.sources, *graph.results), below)
    needed = set(order)
    return order, {d: v for d, v in marks.items() if v in needed}


def _lengths(a: Any) -> list[Expr]:
    """The counted dimensions of a shape or an attribute."""
    return [d for d in dims_of([_flat(a)]) if is_counted(d)]


def _flat(a: Any) -> tuple[Any, ...]:
    """What a nest of tuples holds of sizes."""
    if isinstance(a, tuple):
        return tuple(e for x in a for e in _flat(x))
    return (a,) if isinstance(a, Expr) else ()


def _bounded(v: Value, inputs: list[Value], largest: Largest, counts: Counts) -> Value:
    """A value at its upper bound, of inputs that are."""
    shape = _largest(v.shape, largest)
    if v.op is ops.PAD and is_counted(v.inputs[0].shape) and not is_counted(v.attrs["before"]):
        return _padded(v, inputs[0], largest, counts)
    if v.op.kind == "map":
        said = _lengths(tuple(_indices(v)))
        if said:
            return ops.measured(v, inputs, _found(said, counts), shape)
    else:
        _check(v)
    for which, axes, neutral in v.op.combines(v.node) if v.op.combines else ():
        for axis in axes:
            size = v.inputs[which].shape[axis]
            if is_counted(size):
                inputs[which] = _masked(inputs[which], axis, _value_of(size, counts), neutral)
    new = v.op.node(inputs, {k: _largest(a, largest) for k, a in v.attrs.items()}).outputs[v.index]
    if new.shape != shape:
        raise UnsupportedError(f"{v.op} {type_text(v)}: how large it can become is not known")
    return new


def _padded(v: Value, x: Value, largest: Largest, counts: Counts) -> Value:
    """A constant pad around what exists of x, which is not where x ends."""
    old, before = v.inputs[0].shape, v.attrs["before"]
    for axis in (k for k, d in enumerate(old) if is_counted(d)):
        x = _masked(x, axis, _value_of(old[axis], counts), v.attrs["value"])
    after = [
        as_dim(lift(o) - d - b) for o, d, b in zip(_largest(v.shape, largest), x.shape, before)
    ]
    return ops.pad(x, before, after, value=v.attrs["value"])


def _masked(x: Value, axis: int, count: Value, neutral: Any) -> Value:
    """x with `neutral` from element `count` of an axis on."""
    shape = tuple(d if k == axis else 1 for k, d in enumerate(x.shape))
    exists = ops.less(ops.iota(shape, axis, "i64"), count)
    return ops.where(exists, x, constant(neutral, x.dtype))


def _largest(a: Any, largest: Largest) -> Any:
    """A shape or an attribute with upper bounds in the place of what is counted."""
    if isinstance(a, tuple):
        return tuple(_largest(x, largest) for x in a)
    if not is_counted(a):
        return a
    return as_dim(substitute(a, largest)) if _grows(a) else upper(a)


def _found(lengths: list[Expr], counts: Counts) -> Counts:
    """The values of some lengths."""
    missing = [d for d in lengths if d not in counts]
    if missing:
        raise UnsupportedError("a length that only a run finds is needed, but not what finds it")
    return {d: counts[d] for d in counts if d in lengths}


def _value_of(e: Any, counts: Counts) -> Value:
    """An integer expression over counted dimensions as a value (i64)."""
    v = ops.ints(e, "i64")
    lengths = _lengths((e,))
    return ops.measured(v, [], _found(lengths, counts), ()) if lengths else v


# ---- what is refused -----------------------------------------------------------------------------


def _place(graph: Graph, v: Value) -> str:
    """The source model's name of a value, or of the first that is computed of it: "'y': "."""
    named = {value: name for name, value in reversed(graph.names.items())}
    users = graph.uses()
    near = dict.fromkeys([v])
    while near:
        found = next((one for one in near if one in named), None)
        if found is not None:
            return f"{named[found]!r}: "
        near = dict.fromkeys(u for one in near for u in users.get(one, ()))
    return ""


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


def _check(v: Value) -> None:
    """Raises UnsupportedError where an operator mixes what exists with what lies beyond it."""
    combined = v.op.combines(v.node) if v.op.combines else ()
    settled = {(which, axis % v.inputs[which].rank) for which, axes, _ in combined for axis in axes}
    rest = [
        d
        for k, i in enumerate(v.inputs)
        for axis, d in enumerate(i.shape)
        if (k, axis) not in settled
        and not (k in v.op.rows and axis in range(i.rank)[: v.op.rows[k]])
    ]
    moved = [a for k, a in v.attrs.items() if k == "pads"]  # where windows begin
    if v.op.kind != "reduce" and is_counted([*rest, *moved]):
        raise UnsupportedError(
            f"{v.op} of ({', '.join(map(type_text, v.inputs))}) needs to know how many there are, "
            "which only a run finds out. Supported after NonMaxSuppression, NonZero and the like "
            "is what goes element by element, moves elements, or is a reduction, a choice, a "
            "product or a convolution; cut the model before this operator and do the rest in the "
            "page"
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


__all__ = ["settle"]
