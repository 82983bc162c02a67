"""Operands that only a run knows, by what the model declares of the result.

    >>> from webdnn.graph import placeholder
    >>> x, axis = placeholder("x", (2, 3), "f32"), placeholder("axis", (), "i64")
    >>> by_axis(axis, x, lambda a: ops.cumsum(x, a), "axis", NOTHING)
    where:f32[2,3]

Axes, sizes, pads and the like may be inputs, or be computed of inputs. The shape of what they make
is then the one that the model declares (as exporters and shape inference write them), and the
elements follow from the operand when it is known. Of axes there are few: what each would give is
computed, and the run chooses. Where neither helps the operand is refused by name.

Where sizes that a run gives contradict what the model declares, the run is an error.

Limits: other operands (axes, pads, scales) that contradict it give wrong elements, in silence (with
`debug` too); a note says which declaration was believed. Where no candidate's axes are those
of the run (one is given twice, say), the run gets the first candidate's result.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim
from ...graph import INPUT, Shape, Value, dim_text
from ..arrays import axis_of, known_array, known_dims

Key = TypeVar("Key", bound=Hashable)


class Results:
    """The shapes that a model declares of a node's outputs, None where it leaves something open.

    `believed` is what was taken from them, for a note. `longest` is what the user says that the
    first axis has at most, `name` the first output's.
    """

    def __init__(
        self, shapes: Sequence[Shape | None] = (), longest: int | None = None, name: str = "OUTPUT"
    ) -> None:
        self.shapes, self.longest, self.name = shapes, longest, name
        self.believed = ""
        self.contradicted: list[Value] = []  # whether a run's operand says another shape

    def __bool__(self) -> bool:
        """Whether the first output is declared."""
        return bool(self.shapes) and self.shapes[0] is not None

    def shape(self, given: Value, what: str, rank: int | None, k: int = 0) -> Shape:
        """The shape of output k, which decides in the place of an operand that a run gives.

        rank: the number of axes that it has to have; None where that is not known.
        Raises UnsupportedError, with the words for an operand that is not known, if there is none;
        ModelError if it has another rank.
        """
        found = self.shapes[k] if k < len(self.shapes) else None
        if found is None:
            refuse(given, what)
        if rank is not None and len(found) != rank:
            raise ModelError(
                f"the shape of its result, which {what} of a run decide, is declared as "
                f"{dims_text(found)}; {rank} axes expected. Correct the declaration in the model, "
                "or remove it"
            )
        self.believed = what
        return found

    def holds(self, given: Value, shape: Shape) -> None:
        """Notes where a run is wrong: where sizes that it gives, of the last axes, are others.

        A size of 1 may stand for any, and so may those below, by the rules of Expand and Reshape.
        """
        count = ops.static(given.size, "the number of sizes")
        if not count:
            return
        sizes = ops.cast(ops.reshape(given, (count,)), "i64")
        other = ops.not_equal(sizes, ops.ints(list(shape[-count:]), "i64"))
        other = ops.logical_and(other, ops.greater(sizes, 1))
        self.contradicted.append(ops.reshape(ops.reduce(other, "any", [0]), ()))


NOTHING = Results()


def refuse(given: Value, what: str) -> NoReturn:
    """Raises UnsupportedError: this operand has to be known, or the result declared."""
    try:
        known_array(given, what)
    except UnsupportedError as error:
        error.say(
            f"{error}. Make it a constant (--set, or in the model), or declare the shape of the "
            "result in the model"
        )
        raise
    raise AssertionError(what)


def is_known(v: Value | None) -> bool:
    """Whether an operand is known when the model is transpiled, or omitted."""
    return v is None or v.constant or not v.size or ops.known(v) is not None


def fed(v: Value) -> bool:
    """Whether elements of an input decide a number, and not sizes alone."""
    seen, rest = {v}, [v]
    while rest:
        x = rest.pop()
        if x.op is INPUT:
            return True
        new = [i for i in x.inputs if i not in seen]
        seen.update(new)
        rest += new
    return False


def settled(given: Value, what: str, declared: Results, least: int = 0) -> list[Dim]:
    """The elements of an operand that is the shape of the result, of `least` axes or more."""
    if is_known(given):
        return known_dims(given, what)
    rank = max(given.size, least) if isinstance(given.size, int) else None
    shape = declared.shape(given, what, rank)
    declared.holds(given, shape)
    return list(shape)


def scalar(v: Value, k: int | None = None) -> Value:
    """Element k of a vector of integers, or the only one there is, as an i64 scalar."""
    part = v if k is None else ops.slice_axis(v, 0, k, 1)
    return ops.cast(ops.reshape(part, ()), "i64")


def by_axis(
    axis: Value,
    x: Value,
    make: Callable[[int], Value],
    what: str,
    declared: Results,
    axes: Sequence[int] | None = None,
) -> Value:
    """What `make` gives for an axis of x (one of `axes`; all): of one that a run names it chooses.

    Raises UnsupportedError where the shape depends on the axis and is not declared.
    """
    if is_known(axis):
        return make(axis_of(axis, x))
    at = ops.mod(scalar(axis), x.rank)
    found = {a: make(a) for a in (range(x.rank) if axes is None else axes)}
    return chosen({a: ops.equal(at, a) for a in found}, found, axis, what, declared)


def by_axes(
    axes: Value,
    x: Value,
    make: Callable[[list[int]], Value],
    what: str,
    declared: Results,
) -> Value:
    """The same of several axes, which `make` takes in ascending order."""
    count = ops.static(axes.size, what)
    at = ops.mod(ops.cast(axes, "i64"), x.rank)
    hit = [ops.reshape(ops.reduce(ops.equal(at, k), "any", [0]), ()) for k in range(x.rank)]
    found = {c: make(list(c)) for c in itertools.combinations(range(x.rank), count)}
    tests = {c: _all([hit[k] for k in c]) for c in found}
    return chosen(tests, found, axes, what, declared)


def _all(flags: Sequence[Value]) -> Value:
    out = flags[0]
    for flag in flags[1:]:
        out = ops.logical_and(out, flag)
    return out


def chosen(
    tests: Mapping[Key, Value],
    found: Mapping[Key, Value],
    given: Value,
    what: str,
    declared: Results,
) -> Value:
    """Of results, by key, that one whose test a run finds true, all being of the same shape."""
    shapes = {y.shape for y in found.values()}
    if len(shapes) != 1:
        shape = declared.shape(given, what, None)
        found = {k: y for k, y in found.items() if y.shape == shape}
    if not found:
        refuse(given, what)
    first, *rest = found
    out = found[first]
    for key in rest:
        out = ops.where(tests[key], found[key], out)
    return out


# ---- what a model declares -----------------------------------------------------------------------

# What has the shape of its first input.
_KEEP = {
    "Abs", "Cast", "CastLike", "Ceil", "Cos", "Exp", "Floor", "Identity", "Log", "Neg", "Not",
    "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Tanh",
}  # fmt: skip


def dim_name(d: Any) -> str:
    """The name of a dimension that a model leaves open, "" if it has none: some write "?"."""
    return d.dim_param if re.search(r"\w", d.dim_param) else ""


def open_sizes(inputs: Sequence[Any]) -> bool:
    """Whether a size of an input is open, so that other declarations may be for one that it had."""
    return any(
        not d.HasField("dim_value") or d.dim_value < 0
        for i in inputs
        for d in i.type.tensor_type.shape.dim
    )


def declared_shapes(
    graph: Any, inputs: Sequence[Any], settled: Mapping[str, Value]
) -> dict[str, Shape]:
    """The shapes that a graph declares of its values and outputs, if they leave nothing open.

    inputs: those that the graph declares, whose names of dimensions stand for `settled` sizes.
    Of inner values a size of 0 says nothing, as some write what they do not know; nor does a shape
    of numbers alone where sizes of inputs are open: it was made for other ones.
    """
    names: dict[str, Dim] = {}
    for i in inputs:
        for d, size in zip(i.type.tensor_type.shape.dim, settled[i.name].shape):
            if name := dim_name(d):
                names.setdefault(name, size)
    results = {o.name for o in graph.output}
    other = open_sizes(inputs)
    out: dict[str, Shape] = {}
    for v in (*graph.value_info, *graph.output):
        kind = v.type.tensor_type
        if v.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
            continue
        numbers = [d.dim_value for d in kind.shape.dim if d.HasField("dim_value")]
        inner = v.name not in results
        if inner and (0 in numbers or (other and len(numbers) == len(kind.shape.dim))):
            continue
        sizes = [
            int(d.dim_value) if d.HasField("dim_value") else names.get(dim_name(d))
            for d in kind.shape.dim
        ]
        shape = tuple(d for d in sizes if d is not None)
        if len(shape) == len(sizes) and all(not isinstance(d, int) or d >= 0 for d in shape):
            out[v.name] = shape
    return out


def kept_shapes(nodes: Sequence[Any], shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The same with those of the inputs of operators that keep the shape."""
    out = dict(shapes)
    for node in reversed(nodes):
        if node.op_type in _KEEP and node.output[0] in out and node.input:
            out.setdefault(node.input[0], out[node.output[0]])
    return out


def dims_text(shape: Shape) -> str:
    """A shape in words: [2, h]."""
    return f"[{', '.join(map(dim_text, shape))}]"
