"""Control flow: If, Loop, Scan and SequenceMap, whose bodies are graphs among their attributes.

    outputs = OPERATORS["Loop"](node, inputs, {"body": body}, opset)

A `Body` computes a body's outputs from its inputs, as often as it is called: a Loop whose number of
iterations is known becomes its body so many times, one after another, and a Scan likewise. Of an If
whose condition is known one branch is computed; of another both are, neither having effects, and
the condition chooses between their results. Where a Loop may end early, each iteration chooses
between what it computes and what was there before; of what it collects the run finds the length.

Where only a run finds the number of iterations or what is scanned, and for far too many, a Loop or
Scan remains one (`ops.iterate`).

Limits: a Loop that remains one keeps the types of what it carries, and has a known limit of
iterations if it collects anything. What an If chooses between has one shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import limits, ops
from ...errors import ModelError, SizesDifferError, UnsupportedError, WebDNNError
from ...expr import Dim, Expr, as_dim, lift, maximum
from ...graph import (
    INPUT,
    Graph,
    Value,
    constant,
    dims_of,
    evaluate,
    is_counted,
    scalar_dtype,
    type_text,
)
from ...ops.control import is_parameter
from ...ops.known import INTS
from ...ops.ranges import integer_ranges
from ..arrays import axis_of, known_int, known_ints
from .branches import taken as taken_branch
from .elements import saturated
from .nodes import label
from .sequences import Held, TensorSequence, joined, kind_text

Attrs = Mapping[str, Any]
CHOSEN = 256  # nodes that a run computes without need, where a loop may end early
MOST = 2**24  # iterations that a number of iterations can be proved to stay below


@dataclass(frozen=True)
class Body:
    """A graph that is an attribute: how many inputs, outputs and nodes it has, and its outputs.

    steady: whether its first output is its second input, or a constant: of a Loop, that it does not
    end before its limit. names: of the values that it had when it was last computed. around: the
    values that it may read.
    """

    inputs: int
    outputs: int
    nodes: int
    steady: bool
    compute: Callable[[Sequence[Held], Value | None], list[Held]]
    names: Mapping[str, Value]
    around: Callable[[], Iterable[Value]]

    def write(self, times: int) -> None:
        """Counts what the body becomes when it is computed so many times (`limits.write`)."""
        limits.write(self._cost * times, f"a body of {self.nodes} nodes, {times} times")

    def affords(self, times: int) -> bool:
        """Whether the limits allow that."""
        return limits.affords(self._cost * times)

    @property
    def _cost(self) -> int:
        return self.nodes + self.inputs + self.outputs

    def __call__(
        self, given: Sequence[Held], place: str, iteration: Value | None = None
    ) -> list[Held]:
        """Its outputs for inputs; errors say at which place, beside its node's, they were met.

        iteration: which one it is, of a loop that only a run ends.
        """
        if len(given) != self.inputs:
            raise ModelError(f"its body has {self.inputs} inputs, {len(given)} expected")
        with at(place):
            return self.compute(given, iteration)


@contextmanager
def at(place: str) -> Iterator[None]:
    """Within, errors say where they were met."""
    try:
        yield
    except WebDNNError as error:
        error.at(place)
        raise


Bodies = Mapping[str, Body]


def body_of(bodies: Bodies, name: str) -> Body:
    """A node's attribute that is a graph."""
    if name not in bodies:
        raise ModelError(f"attribute {name!r} is missing, or no graph")
    return bodies[name]


# ---- If ------------------------------------------------------------------------------------------


def If(
    node: Any, inputs: Sequence[Held], bodies: Bodies, attrs: Attrs, opset: int, notes: list[str]
) -> list[Held]:
    condition = inputs[0] if len(inputs) == 1 else None
    if not isinstance(condition, Value):
        raise ModelError(f"1 input expected, its condition; {len(node.input)} found")
    taken = settled(condition)
    if taken is not None:
        name = "then_branch" if taken else "else_branch"
        return body_of(bodies, name)([], name)
    results, broken = [], {}
    for name in ("then_branch", "else_branch"):
        try:
            results.append(body_of(bodies, name)([], name))
        except SizesDifferError as error:
            if any(isinstance(d, Expr) for d in error.sizes):
                raise  # the sizes may be others
            broken[name] = error  # of any other error a fault of the reader's may be the cause
        except WebDNNError as error:
            error.say(f"{error}\n{_open_choice(node, condition)}")
            raise
    if len(broken) > 1:
        raise broken["then_branch"]
    if broken:  # a run that takes it fails, whoever computes it
        (broke,) = broken.values()
        notes.append(
            f"{label(node)}: every run computes its other branch, whatever {node.input[0]!r} is: "
            f"its {broke}, so that no run can compute that"
        )
        return results[0]
    one, other = results
    if len(one) != len(other):
        raise ModelError(f"its branches have {len(one)} and {len(other)} outputs")
    out = []
    for name, a, b in zip(node.output, one, other):
        try:
            out.append(chosen(condition, a, b))
        except WebDNNError as error:
            error.say(f"output {name!r}: {error}\n{_open_choice(node, condition)}")
            raise
    does = "both branches are computed in each run"
    tensors = [[v for v in branch if isinstance(v, Value)] for branch in (one, other)]
    if all(len(branch) == len(out) for branch in tensors):
        names = {**bodies["then_branch"].names, **bodies["else_branch"].names}
        around = [condition, *bodies["then_branch"].around()]
        skipped = taken_branch(condition, tensors, around, names)
        if skipped is not None:
            out, does = [*skipped], "a page downloads both branches, and a run computes one"
    given, sizes = _dependence(condition)
    remedies = _remedies(given, ())
    if remedies and not sizes and not any(n.startswith(f"{node.input[0]!r} of") for n in notes):
        notes.append(
            f"{node.input[0]!r} of an If depends on {_listed(given)}: {does}. {remedies[0]}"
        )
    return out


def settled(condition: Value) -> bool | None:
    """Whether a condition holds; None where only a run finds out.

    What compares sizes is settled where it is the same for all that the dimensions may have.
    """
    if condition.constant:
        return bool(np.all(evaluate(condition)))
    found = _scalar(condition)
    if found is not None and found.op == "const":
        return bool(found.args[0])
    return None


def _scalar(v: Value, depth: int = 0) -> Expr | None:
    """The one element of a value that is computed of sizes alone, as an expression."""
    if v.size != 1 or depth > 64:
        return None
    if v.op is INTS:
        return lift(v.attrs["values"][0], scalar_dtype(v.dtype))
    if v.constant and v.dtype in ("bool", "i32", "i64"):
        return lift(evaluate(v).ravel()[0].item(), scalar_dtype(v.dtype))
    if v.op.view and len(v.inputs) == 1:
        return _scalar(v.inputs[0], depth + 1)
    if not v.op.pointwise or v.dtype not in ("bool", "i32", "i64"):
        return None
    parts = [_scalar(i, depth + 1) for i in v.inputs]
    if any(p is None for p in parts):
        return None
    assert v.op.element is not None
    return v.op.element(v.node, lambda k, _: parts[k], tuple(lift(0) for _ in v.shape))


def chosen(condition: Value, a: Held, b: Held) -> Held:
    """a where a condition holds, else b; both have one type."""
    if a is b:
        return a
    if isinstance(a, TensorSequence) and isinstance(b, TensorSequence):
        if len(a.items) == len(b.items) and a.dtype == b.dtype:
            pairs = zip(a.items, b.items)
            return TensorSequence(a.dtype, tuple(_chosen(condition, x, y) for x, y in pairs))
    elif isinstance(a, Value) and isinstance(b, Value):
        return _chosen(condition, a, b)
    raise UnsupportedError(f"{kind_text(a)} or {kind_text(b)}: expected the same of both")


def _chosen(condition: Value, a: Value, b: Value) -> Value:
    if a is b:
        return a
    if a.dtype != b.dtype or a.rank != b.rank:
        raise UnsupportedError(f"{type_text(a)} or {type_text(b)}: expected one type")
    for k, (m, n) in enumerate(zip(a.shape, b.shape)):
        if not ops.same(m, n):
            text = f"{type_text(a)} or {type_text(b)}: expected one shape"
            if isinstance(m, int) and isinstance(n, int):
                raise UnsupportedError(text)
            raise SizesDifferError(f"{text}, axis {k} differs", m, n)
    return ops.where(ops.reshape(condition, ()), a, b)


def _dependence(condition: Value) -> tuple[dict[str, Value], list[str]]:
    """The inputs of a graph and the dimensions that a condition depends on."""
    inputs: dict[str, Value] = {}
    sizes: dict[str, None] = {}
    seen, rest = {condition}, [condition]
    while rest:
        v = rest.pop()
        if v.op is INPUT and not is_parameter(v):
            inputs[v.attrs["name"]] = v
        if v.op is INTS:
            sizes |= dict.fromkeys(str(d) for d in dims_of([v.attrs["values"]]))
        new = [i for i in v.inputs if i not in seen]
        seen.update(new)
        rest += new
    return inputs, list(sizes)


def _listed(inputs: Mapping[str, Value], sizes: Sequence[str] = ()) -> str:
    on = [f"input {type_text(v)} {n!r}" for n, v in inputs.items()]
    return " and ".join([*on, *(f"the size of dimension {d!r}" for d in sizes)])


def _remedies(inputs: Mapping[str, Value], sizes: Sequence[str]) -> list[str]:
    """How to have a condition known: by inputs that are constants, and by sizes."""
    # Of a sample rate or a flag there is one value; what a microphone gives is no constant.
    small = [n for n, v in inputs.items() if isinstance(v.size, int) and v.size <= 16]
    out = []
    if small:
        out.append(
            f"If a page always gives the same {' and '.join(small)}, make it a constant: "
            f"{' '.join(f'--set {_quoted(n)}=VALUE' for n in small)}, in Python "
            f"fixed={{{', '.join(f'{n!r}: VALUE' for n in small)}}}"
        )
    if sizes:
        out.append(f"Fix the size: --dim {' '.join(f'{d}=SIZE' for d in sizes)}")
    return out


def _open_choice(node: Any, condition: Value) -> str:
    """What to say of a condition that is not known: what it depends on, and what to do."""
    inputs, sizes = _dependence(condition)
    remedies = _remedies(inputs, sizes) or ["Export the model with the branch that a page takes"]
    on = _listed(inputs, sizes) or "what only a run finds"
    return (
        f"Its condition {node.input[0]!r} depends on {on}, so that both branches are needed. "
        f"{'. '.join(remedies)}"
    )


def _quoted(name: str) -> str:
    return f"'{name}'" if re.search(r"[^\w.:/%-]", name) else name


# ---- Loop ----------------------------------------------------------------------------------------


def Loop(
    node: Any, inputs: Sequence[Held], bodies: Bodies, attrs: Attrs, opset: int, notes: list[str]
) -> list[Held]:
    body, longest = body_of(bodies, "body"), attrs["longest"]
    count, condition, *state = [*inputs, None, None][: max(len(inputs), 2)]
    most = None
    if count is not None:
        if not isinstance(count, Value) or count.size != 1:
            raise ModelError(f"its number of iterations is {kind_text(count)}; expected one int64")
        known = ops.known(count)
        if known is None:
            return _iterated(node, body, count, _upper(count), condition, state, longest)
        if isinstance(known.item(), Expr):
            size = as_dim(maximum(known.item(), 0))
            return _iterated(node, body, count, size, condition, state, longest)
        most = known_int(count, "its number of iterations")
    carried, collected = len(state), body.outputs - 1 - len(state)
    if collected < 0:
        raise ModelError(f"its body has {body.outputs} outputs, {carried + 1} expected at least")
    going: Held = constant(True, "bool") if condition is None else condition
    if most is None and body.steady and settled(_flag(going)) is not False:
        raise UnsupportedError("it has no limit of iterations, and its condition never ends it")
    active: Value | None = None  # whether the iteration takes place; None: it does
    rows: list[list[Held]] = []
    times: list[Value] = []
    k = 0
    while most is None or k < most:
        holds = settled(_flag(going))
        if holds is False:
            break
        if holds is None:
            if most is None or body.nodes * (most - k) > CHOSEN:
                return _iterated(node, body, count, most, condition, [*inputs[2:]], longest)
            flag = ops.reshape(_flag(going), ())
            active = flag if active is None else ops.logical_and(active, flag)
        if not body.affords(most - k if most is not None and body.steady else 1):
            return _iterated(node, body, count, most, condition, [*inputs[2:]], longest)
        body.write(1)
        place = f"iteration {k}"
        found = body([constant(k, "i64"), constant(True, "bool"), *state], place)
        going, after, row = found[0], found[1 : 1 + carried], found[1 + carried :]
        if active is not None:
            with at(f"{place}, which may be the last"):
                after = [chosen(active, new, old) for new, old in zip(after, state)]
            times.append(active)
        state = after
        rows.append(row)
        k += 1
    empty = not rows
    if empty and collected:  # for the types of what is collected
        rows = [body([constant(0, "i64"), constant(True, "bool"), *state], "its body")]
        rows = [rows[0][1 + carried :]]
    length = None
    if times and collected:
        certain = k - len(times)
        ran = [ops.cast(ops.reshape(t, (1,)), "i64") for t in times]
        length = ops.add(ops.reduce_sum(ops.concat(ran, 0), [0]), certain)
    out = list(state)
    for j in range(collected):
        column = _stacked([row[j] for row in rows], 0, empty)
        out.append(column if length is None else ops.counted(column, 0, length))
    return out


def _upper(count: Value) -> int | None:
    """The most that a number that only a run finds can be, where that is known."""
    found = integer_ranges(Graph((), {"count": count})).get(count)
    return int(found[1]) if found is not None and found[1] <= MOST else None


def _iterated(
    node: Any,
    body: Body,
    count: Value | None,
    most: Dim | None,
    condition: Held,
    state: Sequence[Held],
    longest: int | None,
) -> list[Held]:
    """A Loop whose number of iterations only a run finds.

    count: how many there are at most, if the model says so; most: what that is at most, if that is
    known: where it is a size, it is the very number of them. longest: the most rows that the user
    allows where it is not known.
    """
    if most is None and longest is not None:
        most = longest + 1  # the last one is never read: there are more then than allowed
    before = [v for v in state if isinstance(v, Value)]
    if len(before) < len(state):
        raise UnsupportedError(
            "only a run finds how many iterations there are, so that it can carry neither "
            f"sequences nor what may be absent{_settling(count, condition)}"
        )
    if body.outputs > len(before) + 1 and most is None:
        raise UnsupportedError(
            "it collects something in each iteration, and their number is computed from what only "
            "a run knows: give it a limit, as by Min(number, 512), or by --dim "
            f"{node.output[len(before)]}.0=512{_settling(count, condition)}"
        )
    limit = None if count is None else ops.reshape(saturated(ops.cast(count, "i64")), ())

    def flag(held: Held, k: Value) -> Value:
        found = ops.reshape(_flag(held), ())
        return found if limit is None else ops.logical_and(found, ops.less(k, limit))

    types = [("bool", ()), ("i64", ()), *((v.dtype, v.shape) for v in before)]
    parameters = [ops.parameter(shape, dtype) for dtype, shape in types]
    _, k, *states = parameters
    first = constant(True, "bool") if condition is None else condition
    zero, following = constant(0, "i64"), ops.add(k, 1)
    try:
        again, *after = body([k, constant(True, "bool"), *states], "its body", k)
        values = [v for v in after if isinstance(v, Value)]
        if len(values) < len(after):
            raise UnsupportedError("its body gives a sequence, or nothing")
        out = ops.iterate(
            [flag(first, zero), zero, *before],
            parameters,
            [flag(again, following), following, *values[: len(before)]],
            values[len(before) :],
            0 if most is None else most,
            body.names,
        )
    except WebDNNError as error:
        if isinstance(most, Expr) and not is_counted(most):
            sizes = " ".join(f"--dim {d}=SIZE" for d in dims_of([(most,)]))
            error.say(f"{error}. With a number of iterations that is fixed it may do: {sizes}")
        raise
    collected = out[len(before) + 2 :]
    exact = isinstance(most, Expr) and body.steady and settled(_flag(first)) is True
    rows = collected if exact else [ops.counted(v, 0, out[1]) for v in collected]
    return [*out[2 : len(before) + 2], *rows]


def _settling(count: Value | None, condition: Held) -> str:
    """How to have a number of iterations known, if inputs alone decide it."""
    given: dict[str, Value] = {}
    for v in (count, condition):
        given |= _dependence(v)[0] if isinstance(v, Value) else {}
    return "".join(f". {remedy}" for remedy in _remedies(given, ()))


def _flag(held: Held) -> Value:
    if not isinstance(held, Value) or held.dtype != "bool" or held.size != 1:
        raise ModelError(f"its condition is {kind_text(held)}; expected one bool")
    return held


def _stacked(items: Sequence[Held], axis: int, empty: bool = False) -> Value:
    """What iterations collected, along a new axis; `empty`: none of it."""
    parts = [v for v in items if isinstance(v, Value)]
    if len(parts) != len(items):
        raise ModelError("what a body collects are tensors; found a sequence or nothing")
    axis = axis_of(axis, parts[0], 1, "scan_output_axes")
    for p in parts[1:]:
        _chosen_type(parts[0], p)
    if empty:
        return _zeros(parts[0].dtype, [*parts[0].shape[:axis], 0, *parts[0].shape[axis:]])
    return ops.concat([ops.unsqueeze(p, [axis]) for p in parts], axis)


def _chosen_type(a: Value, b: Value) -> None:
    same = a.dtype == b.dtype and a.rank == b.rank and all(map(ops.same, a.shape, b.shape))
    if not same:
        raise UnsupportedError(
            f"iterations collect {type_text(a)} and {type_text(b)}, which no one tensor holds"
        )


# ---- Scan ----------------------------------------------------------------------------------------


def Scan(
    node: Any, inputs: Sequence[Held], bodies: Bodies, attrs: Attrs, opset: int, notes: list[str]
) -> list[Held]:
    body = body_of(bodies, "body")
    lengths: Held = None
    if opset < 9:
        lengths, *inputs = inputs
    count = attrs.get("num_scan_inputs", 0)
    values = [v for v in inputs if isinstance(v, Value)]
    if not 0 < count <= len(values) or len(values) < len(inputs):
        raise ModelError(f"num_scan_inputs is {count} of {len(inputs)} inputs, all of them tensors")
    states, scanned = values[:-count], values[-count:]
    collected = body.outputs - len(states)
    if collected < 0:
        raise ModelError(f"its body has {body.outputs} outputs, {len(states)} expected at least")
    if opset >= 9:
        return _scan(body, states, scanned, _ways(attrs, count, collected))
    # One sequence after another, and what each gives along the first axis.
    ways = _Ways(_given(attrs, "directions", count), [0] * count, [0] * collected, [0] * collected)
    batch = ops.static(values[0].shape[0], "the batch of a Scan of opset 8")
    if any(not ops.same(v.shape[0], batch) for v in values):
        raise ModelError(f"batches differ: {', '.join(map(type_text, values))}")
    ends: list[int | None] = [None] * batch
    if isinstance(lengths, Value):
        ends = list(_known_lengths(lengths, batch))
    each = []
    for n in range(batch):
        one = [_row(v, 0, n) for v in values]
        each.append(_scan(body, one[:-count], one[-count:], ways, ends[n], f"sequence {n}, "))
    return [_stacked(column, 0) for column in zip(*each)]


def _known_lengths(lengths: Value, batch: int) -> list[int]:
    found = known_ints(lengths, "sequence_lens")
    if len(found) != batch:
        raise ModelError(f"sequence_lens has {len(found)} elements, {batch} expected")
    return found


@dataclass(frozen=True)
class _Ways:
    """Along which axis each scanned input and each collected output goes, and whether backwards."""

    input_directions: Sequence[int]
    input_axes: Sequence[int]
    output_directions: Sequence[int]
    output_axes: Sequence[int]


def _ways(attrs: Attrs, count: int, collected: int) -> _Ways:
    return _Ways(
        _given(attrs, "scan_input_directions", count),
        _given(attrs, "scan_input_axes", count),
        _given(attrs, "scan_output_directions", collected),
        _given(attrs, "scan_output_axes", collected),
    )


def _given(attrs: Attrs, name: str, count: int) -> Sequence[int]:
    found: Sequence[int] = attrs.get(name) or [0] * count
    if len(found) != count:
        raise ModelError(f"attribute {name!r} has {len(found)} numbers, {count} expected")
    return found


def _zeros(dtype: str, shape: Sequence[Any]) -> Value:
    return ops.expand(constant(0, dtype), shape)


def _row(v: Value, axis: int, k: int) -> Value:
    return ops.squeeze(ops.slice_axis(v, axis, k, 1), [axis])


def _scan(
    body: Body,
    states: Sequence[Held],
    scanned: Sequence[Value],
    ways: _Ways,
    end: int | None = None,
    place: str = "",
) -> list[Held]:
    """A body for each element of what is scanned; or for the first `end`, then zeros."""
    axes = [axis_of(a, x, what="scan_input_axes") for a, x in zip(ways.input_axes, scanned)]
    sizes = [x.shape[a] for a, x in zip(axes, scanned)]
    length = sizes[0]
    if any(not ops.same(d, length) for d in sizes):
        raise ModelError(f"what is scanned has {' and '.join(map(str, sizes))} elements")
    if end is None and (isinstance(length, Expr) or not body.affords(length)):
        return _scanned(body, states, scanned, axes, length, ways)
    what = f"{place}axis {axes[0]} of {type_text(scanned[0])}, which is scanned,"
    length = ops.static(length, what)
    ran = length if end is None else end
    if not 0 <= ran <= length:
        raise ModelError(f"sequence_lens has {ran}, beyond what is scanned, {length} elements")
    body.write(ran)
    carried, state = len(states), list(states)
    rows = []
    for k in range(ran):
        elements = [
            _row(x, a, ran - 1 - k if backwards else k)
            for x, a, backwards in zip(scanned, axes, ways.input_directions)
        ]
        found = body([*state, *elements], f"{place}iteration {k}")
        state = found[:carried]
        rows.append(found[carried:])
    if not rows:  # for the types of what is collected
        shapes = [[*x.shape[:a], *x.shape[a + 1 :]] for x, a in zip(scanned, axes)]
        elements = [_zeros(x.dtype, shape) for x, shape in zip(scanned, shapes)]
        rows = [body([*state, *elements], "its body")[carried:]]
    out = list(state)
    for j in range(body.outputs - carried):
        column = [row[j] for row in rows][:: -1 if ways.output_directions[j] else 1]
        whole = _stacked(column, ways.output_axes[j], not ran)
        if ran < length:
            axis = axis_of(ways.output_axes[j], whole)
            after = [length - ran if k == axis else 0 for k in range(whole.rank)]
            whole = ops.pad(whole, [0] * whole.rank, after)
        out.append(whole)
    return out


def _scanned(
    body: Body,
    states: Sequence[Held],
    scanned: Sequence[Value],
    axes: Sequence[int],
    length: Dim,
    ways: _Ways,
) -> list[Held]:
    """A Scan whose length is a size of the run, or large: a Loop that takes row after row."""

    def compute(given: Sequence[Held], iteration: Value | None) -> list[Held]:
        k, going, *state = given
        assert isinstance(k, Value)
        last = ops.sub(ops.ints(length), 1)
        elements = [
            ops.gather(x, ops.sub(last, k) if backwards else k, a)
            for x, a, backwards in zip(scanned, axes, ways.input_directions)
        ]
        return [going, *body.compute([*state, *elements], iteration)]

    carried = len(states)
    loop = Body(carried + 2, body.outputs + 1, body.nodes, True, compute, body.names, body.around)
    count = ops.ints(length)
    found = _iterated(None, loop, count, length, None, states, None)
    out = found[:carried]
    for j, column in enumerate(found[carried:]):
        assert isinstance(column, Value)
        whole = ops.flip(column, [0]) if ways.output_directions[j] else column
        axis = axis_of(ways.output_axes[j], whole, what="scan_output_axes")
        order = [*range(1, axis + 1), 0, *range(axis + 1, whole.rank)]
        out.append(ops.transpose(whole, order))
    return out


# ---- SequenceMap ---------------------------------------------------------------------------------


def SequenceMap(
    node: Any, inputs: Sequence[Held], bodies: Bodies, attrs: Attrs, opset: int, notes: list[str]
) -> list[Held]:
    body = body_of(bodies, "body")
    first = inputs[0] if inputs else None
    if not isinstance(first, TensorSequence):
        raise ModelError(f"its first input is {kind_text(first)}; expected a sequence")
    count = len(first.items)
    body.write(count)
    for held in inputs:
        if isinstance(held, TensorSequence) and len(held.items) != count:
            raise ModelError(f"sequences of {count} and {len(held.items)} tensors")
    if not count:
        raise UnsupportedError("the sequence is empty: what its body gives has no type")
    rows = [
        body(
            [held.items[k] if isinstance(held, TensorSequence) else held for held in inputs],
            f"element {k}",
        )
        for k in range(count)
    ]
    return [joined(column) for column in zip(*rows)]


Control = Callable[[Any, Sequence[Held], Bodies, Attrs, int, list[str]], list[Held]]
OPERATORS: Mapping[str, Control] = {fn.__name__: fn for fn in (If, Loop, Scan, SequenceMap)}

__all__ = ["OPERATORS", "Body", "If", "Loop", "Scan", "SequenceMap"]
