"""Lengths that only a run finds: every axis at its upper bound, and the counts as outputs.

    x[non_zero(m)]  ->  x[at the positions found, then anything], and how many there are

`ops.counted` gives an axis a dimension of its own, so that inference tells what depends on it. This
pass, the first one, puts the upper bound in its place and proves, operator by operator, that no
element which exists is computed of one that does not:

* an operator that `combines` elements along the axis (a reduction, sorting) sees there an element
  that changes nothing;
* positions that count from the end of the axis (`positions`) count from where it really ends;
* any other map may read what it likes, as long as its indices do not mention the length;
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
    substitute,
    upper,
    var,
    walk,
)
from ..graph import (
    INPUT,
    Graph,
    Op,
    Shape,
    Value,
    constant,
    dim_text,
    is_counted,
    scalar_dtype,
    type_text,
)

Largest = Mapping[Expr, Dim]  # of each counted dimension, the upper bound
Counts = Mapping[Expr, Value]  # and the scalar that a run finds

# Arithmetic of sizes as operators on values.
_SIZES: Mapping[str, Op] = {
    "add": ops.add, "sub": ops.sub, "mul": ops.mul, "min": ops.min_, "max": ops.max_,
    "floordiv": ops.div, "mod": ops.mod,
}  # fmt: skip


def settle(graph: Graph, hits: dict[str, int]) -> Graph:
    """The graph without counted dimensions; the graph itself where there are none.

    Raises UnsupportedError where an operator mixes what exists with what lies beyond it, or has the
    less the more a run finds.
    """
    marks = sum(v.op is ops.COUNTED for v in graph.values())
    if not marks:
        return graph
    hits["counted"] = marks
    new: dict[Value, Value] = {}
    largest: dict[Expr, Dim] = {}
    counts: dict[Expr, Value] = {}
    for v in graph.values():
        if v.op is INPUT or v.constant:
            new[v] = v
        elif v.op is ops.COUNTED:
            x, count = (new[i] for i in v.inputs)
            largest[v.attrs["size"]] = x.shape[v.attrs["axis"]]
            counts[v.attrs["size"]] = count
            new[v] = x
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
        for size in largest:
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


def _bounded(v: Value, inputs: list[Value], largest: Largest, counts: Counts) -> Value:
    """A value at its upper bound, of inputs that are."""
    if not all(map(_grows, v.shape)):
        raise UnsupportedError(f"{v.op} {type_text(v)}: the more a run finds, the less there is")
    old = [i.shape for i in v.inputs]
    which, axes, neutral = v.op.combines(v.node) if v.op.combines else (0, (), None)
    along = [k for k in axes if is_counted(old[which][k])]
    read = [old[0][k] for k in v.op.positions(v.node)] if v.op.positions else []
    if v.op is ops.INTS and any(map(is_counted, v.attrs["values"])):
        parts = [ops.reshape(_value_of(e, counts), (1,)) for e in v.attrs["values"]]
        return ops.reshape(ops.cast(ops.concat(parts, 0), v.dtype), v.shape)
    if v.op is ops.PAD and is_counted(old[0]) and not is_counted(v.attrs["before"]):
        return _padded(v, inputs[0], largest, counts)
    if along:
        for axis in along:
            count = _value_of(old[which][axis], counts)
            inputs[which] = _masked(inputs[which], axis, count, neutral)
    elif is_counted(read):
        at = inputs[1]
        ends = [ops.cast(_value_of(d, counts), at.dtype) for d in read]
        if len(ends) > 1:
            ends = [ops.concat([ops.reshape(e, (1,)) for e in ends], 0)]
        inputs[1] = ops.where(ops.less(at, 0), ops.add(at, ends[0]), at)
    elif is_counted(old):
        _check(v)
    attrs = {k: _largest(a, largest) for k, a in v.attrs.items()}
    return v.op.node(inputs, attrs).outputs[v.index]


def _padded(v: Value, x: Value, largest: Largest, counts: Counts) -> Value:
    """A constant pad around what exists of x, which is not where x ends."""
    old = v.inputs[0].shape
    for axis in (k for k, d in enumerate(old) if is_counted(d)):
        x = _masked(x, axis, _value_of(old[axis], counts), v.attrs["value"])
    before = _largest(v.attrs["before"], largest)
    sizes = zip(_largest(v.shape, largest), x.shape, before)
    after = [as_dim(lift(o) - d - b) for o, d, b in sizes]
    return ops.pad(x, before, after, value=v.attrs["value"])


def _masked(x: Value, axis: int, count: Value, neutral: Any) -> Value:
    """x with `neutral` from element `count` of an axis on."""
    shape = tuple(d if k == axis else 1 for k, d in enumerate(x.shape))
    exists = ops.less(ops.iota(shape, axis, "i64"), count)
    return ops.where(exists, x, constant(neutral, x.dtype))


def _largest(a: Any, largest: Largest) -> Any:
    """An attribute with upper bounds in the place of what was counted."""
    if isinstance(a, Expr):
        return as_dim(substitute(a, largest))
    return tuple(_largest(x, largest) for x in a) if isinstance(a, tuple) else a


def _value_of(e: Any, counts: Counts) -> Value:
    """An integer expression over counted dimensions as a value (i64)."""
    if not is_counted(e):
        return ops.ints(e, "i64")
    done: dict[Expr, Value] = {}
    for x in walk(e):
        if x in counts:
            done[x] = counts[x]
        elif x.op in ("const", "dim"):
            done[x] = ops.ints(as_dim(x), "i64")
        elif x.op in _SIZES:
            done[x] = _SIZES[x.op](*(done[a] for a in x.args))
        else:
            raise UnsupportedError(
                f"the size {dim_text(e)} of what a run finds (?): {x.op} is not covered"
            )
    return done[e]


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
    problem = ""
    if v.op.kind == "map":
        if any(is_counted(d) for e in _indices(v) for d in free(e, "dim")):
            problem = "reads positions that depend on the length"
    elif v.op.kind != "reduce":  # along other axes, or of what came before: that all exists
        rest = [
            i.shape[v.op.rows[k] :] if k in v.op.rows else i.shape for k, i in enumerate(v.inputs)
        ]
        if is_counted(rest):
            problem = (
                "combines elements along the counted axis"
                if v.op.kind == "template"
                else "needs to know how many there are"
            )
    if problem:
        raise UnsupportedError(
            f"{v.op} of ({', '.join(map(type_text, v.inputs))}) {problem}, which only a run "
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


__all__ = ["settle"]
