"""What a chain calls while it runs, and several such runs read as one with open sizes.

    trace = record(chain, lambda arrays: chain(*arrays), [x])
    trace.calls[0].function, trace.calls[0].inputs
    ('ReLU', (Ref(kind='input', at=(0,)),))

A trace lists the functions that were called, in order: with what they were constructed with, and
where each of their arrays came from. Arrays are recognised by identity, so `x.array` handed on, or
`no_backprop_mode`, hide nothing; elementwise arithmetic of numpy's with them is recorded too
(`numpy`). What is computed from the inputs in yet another way is a new array: it would be
frozen into the model. `Runs` finds that out by comparing two runs on different inputs, and finds
the sizes that follow an open dimension by comparing runs at different sizes.

N-step recurrent networks are one call, `NStep`, where chainer runs a loop over the steps.

Limits: as in every trace, Python's own decisions are those of the example. A decision that depends
on the values or the sizes makes the runs differ, and is an error.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, Expr, as_dim, lift
from ...expr import evaluate as size_at
from ...graph import FROM_NUMPY, Value, constant
from .numpy import plain, recorded_arrays

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Ref:
    """Where an array comes from.

    kind and at: ("input", (i,)), ("call", (call, output)), ("param", (name,)) or ("const", (k,)).
    """

    kind: str
    at: tuple[Any, ...]


@dataclass(frozen=True)
class Opaque:
    """A constructor's argument that is neither data nor a number: its type."""

    name: str


@dataclass
class Call:
    """One call of a function: its name, the path of the link that called it, what it was
    constructed with, and where its arrays come from and what its results were."""

    function: str
    link: str
    attrs: dict[str, Any]
    inputs: tuple[Ref, ...]
    results: list[tuple[tuple[int, ...], np.dtype[Any]]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The call in words for the user."""
        return f"{self.function} in link {self.link!r}" if self.link else self.function


@dataclass
class Trace:
    """The calls of one run, the arrays that came from nowhere, and the outputs by name."""

    calls: list[Call]
    constants: list[np.ndarray]
    outputs: dict[str, Ref]

    def names(self) -> dict[Ref, str]:
        """A name for each result: link and function, numbered where that is not enough."""
        found: dict[Ref, str] = {}
        taken: dict[str, int] = {}
        for k, call in enumerate(self.calls):
            base = f"{call.link}/{call.function}" if call.link else call.function
            for j in range(len(call.results)):
                taken[base] = taken.get(base, 0) + 1
                number = f"_{taken[base]}" if taken[base] > 1 else ""
                found[Ref("call", (k, j))] = f"{base}{number}"
        return found


class ChainError(ModelError):
    """The chain itself raised an error."""


class Recorder:
    """What is known while a chain runs."""

    def __init__(self, link: Any):
        self.calls: list[Call] = []
        self.constants: list[np.ndarray] = []
        self.known: dict[int, Ref] = {}
        self.alive: list[Any] = []  # an array that is gone gives its id to another
        self.depth = 0
        self.paths = {id(part): name.strip("/") for name, part in link.namedlinks()}
        self.within: list[str] = []
        self.link = link
        self.arrays = recorded_arrays(self.tell)

    def recorded(self, array: np.ndarray, ref: Ref) -> np.ndarray:
        """A view of an array that tells what numpy does with it."""
        view = self.view(array)
        self.learn(view, ref)
        return view

    def view(self, array: Any) -> np.ndarray:
        """The same elements as an array that is recorded and cannot be written to."""
        view = np.asarray(array).view(self.arrays)
        view.flags.writeable = False
        return view

    def tell(
        self, function: str, attrs: Mapping[str, Any], inputs: Sequence[Any], result: Any
    ) -> Any:
        """Note what numpy computed, unless it is part of a function; the result is recorded."""
        if self.depth:
            return result
        view = self.view(result)
        given = [i if isinstance(i, np.ndarray) else np.asarray(i) for i in inputs]
        self.record(function, attrs, given, [view])
        return view

    def learn(self, array: Any, ref: Ref) -> None:
        """From now on this array is what `ref` says."""
        self.known[id(array)] = ref
        self.alive.append(array)

    def parameters(self) -> None:
        """Learn the arrays of the chain's parameters and persistent values."""
        for name, array in named_arrays(self.link):
            if id(array) not in self.known:
                self.learn(array, Ref("param", (name,)))

    def ref(self, array: Any) -> Ref:
        """Where an array comes from; one that was never seen is a constant."""
        array = getattr(array, "array", array)  # of a Variable
        found = self.known.get(id(array))
        if found is None:
            self.parameters()  # a parameter without a size gets its array when it is used
            found = self.known.get(id(array))
        if found is None:
            found = Ref("const", (len(self.constants),))
            self.constants.append(np.array(plain(array)))
            self.learn(array, found)
        return found

    def frozen(self, value: Any) -> Any:
        """A constructor's argument as data: numbers, text, tuples, slices, references."""
        if isinstance(value, np.ndarray) or hasattr(value, "creator_node"):
            return self.ref(value)
        if isinstance(value, np.generic):
            return value.item()
        if value is None or value is Ellipsis or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (tuple, list, range)):
            return tuple(self.frozen(v) for v in value)
        if isinstance(value, dict):
            return {k: self.frozen(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(*map(self.frozen, (value.start, value.stop, value.step)))
        if isinstance(value, (np.dtype, type)):
            try:
                return np.dtype(value).name
            except TypeError:
                return Opaque(type(value).__name__)
        return Opaque(type(value).__name__)

    def record(
        self, function: str, attrs: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> None:
        """Note a call. Outputs are arrays, Variables, or None for what cannot be used."""
        path = self.within[-1] if self.within else ""
        call = Call(
            function,
            path,
            {k: self.frozen(v) for k, v in attrs.items()},
            tuple(self.ref(i) for i in inputs),
        )
        for j, output in enumerate(outputs):
            array = getattr(output, "array", output)
            if array is None:
                call.results.append(((), np.dtype(bool)))
                continue
            self.learn(array, Ref("call", (len(self.calls), j)))
            call.results.append((array.shape, array.dtype))
        self.calls.append(call)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What is called here belongs to a function that is recorded as a whole."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


def named_arrays(link: Any) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every parameter that has one, and of every persistent array."""
    for name, parameter in link.namedparams():
        if parameter.array is not None:
            yield name.strip("/"), parameter.array
    for path, part in link.namedlinks():
        for name in sorted(getattr(part, "_persistent", ())):
            value = getattr(part, name, None)
            if isinstance(value, np.ndarray):
                yield f"{path}/{name}".strip("/"), value


def record(
    link: Any,
    run: Callable[[list[np.ndarray]], Any],
    inputs: Sequence[np.ndarray],
    seed: int = 0,
    values: dict[Ref, np.ndarray] | None = None,
) -> Trace:
    """Run a chain in test mode and note what it calls. The chain's state is as before afterwards.

    run: hands arrays to the chain, which stand for `inputs`. seed: of numpy's random numbers.
    values: is filled with every array. Raises ChainError with what the chain raised, and ModelError
    where it returns no arrays.
    """
    recorder = Recorder(link)
    given = [recorder.recorded(a, Ref("input", (i,))) for i, a in enumerate(inputs)]
    before = [(part, dict(part.__dict__)) for part in link.links()]
    random = np.random.get_state()
    np.random.seed(seed)
    try:
        with _hooked(recorder):
            returned = run(given)
        outputs = {name: recorder.ref(v) for name, v in flat_outputs(returned)}
        if values is not None:
            alive = (a for a in recorder.alive if isinstance(a, np.ndarray))
            values.update((recorder.known[id(a)], plain(a)) for a in alive)
    except ModelError:
        raise
    except Exception as error:
        raise ChainError(_explained(error, inputs)) from error
    finally:
        np.random.set_state(random)
        for part, state in before:
            changed = {k: v for k, v in part.__dict__.items() if k not in state}
            for name in changed:
                del part.__dict__[name]
            part.__dict__.update(state)
    if not outputs:
        raise ModelError("the chain returns nothing: its forward must return a Variable")
    return Trace(recorder.calls, recorder.constants, outputs)


def flat_outputs(returned: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, Variable) of what a chain returns; tuples are numbered, dictionaries name them."""
    if isinstance(returned, Mapping):
        for key, value in returned.items():
            yield from flat_outputs(value, f"{name}_{key}" if name else str(key))
    elif isinstance(returned, (tuple, list)):
        single = len(returned) == 1
        for k, value in enumerate(returned):
            yield from flat_outputs(value, name if single else f"{name or 'output'}_{k}")
    elif isinstance(returned, (np.ndarray, np.generic)) or hasattr(returned, "creator_node"):
        yield name or "output", returned
    elif returned is not None:
        raise ModelError(
            f"the chain returns a {type(returned).__name__} as {name or 'its output'}; expected "
            "Variables, or tuples, lists or dictionaries of them"
        )


@contextmanager
def _hooked(recorder: Recorder) -> Iterator[None]:
    """Within, chainer runs in test mode and tells the recorder about every call."""
    import chainer
    from chainer.function import FunctionAdapter
    from chainer.functions.rnn import n_step_rnn
    from chainer.links.rnn.n_step_rnn import NStepRNNBase

    apply = chainer.FunctionNode.apply

    def recorded_apply(node: Any, inputs: Any) -> Any:
        function = node.function if isinstance(node, FunctionAdapter) else node
        if recorder.depth or type(function).__name__ == "Forget":
            return apply(node, inputs)  # Forget calls a Python function: what that calls counts
        attrs = dict(vars(function))
        with recorder.inside():
            outputs = apply(node, tuple(map(unrecorded, inputs)))
        for y in outputs:
            y.array = recorder.view(y.array)
        indices = []
        if attrs.get("return_indices"):
            indices = [recorder.view(function.indexes)]
            function.indexes = indices[0]
        recorder.record(function_name(type(function)), attrs, inputs, [*outputs, *indices])
        return outputs

    def unrecorded(v: Any) -> Any:
        """A function's input as it would be without a recorder."""
        if isinstance(v, chainer.Variable):
            return chainer.Variable(plain(v.array)) if isinstance(v.array, recorder.arrays) else v
        return plain(v)

    link_call, loop = NStepRNNBase._call, n_step_rnn.n_step_rnn_impl

    def link_steps(link: Any, hs: Any, xs: Any, **kwargs: Any) -> Any:
        if recorder.depth:
            return link_call(link, hs, xs, **kwargs)
        with recorder.inside():
            hys, ys = link_call(link, hs, xs, **kwargs)
        relu = any("ReLU" in c.__name__ for c in type(link).__mro__)
        kind = {8: "lstm", 6: "gru"}.get(link.n_weights, "rnn_relu" if relu else "rnn_tanh")
        recurrent(kind, link.n_layers, link.direction, hs, link.ws, link.bs, xs, hys, ys, True)
        return hys, ys

    def loop_steps(
        f: Any, layers: int, ratio: float, hx: Any, cx: Any, ws: Any, bs: Any, xs: Any, both: bool
    ) -> Any:
        if recorder.depth:
            return loop(f, layers, ratio, hx, cx, ws, bs, xs, both)
        with recorder.inside():
            hy, cy, ys = loop(f, layers, ratio, hx, cx, ws, bs, xs, both)
        kind = {"_lstm": "lstm", "_gru": "gru"}.get(f.__name__)
        if kind is None:
            cells = [c.cell_contents for c in f.__closure__ or ()]
            kind = f"rnn_{next(c for c in cells if c in ('tanh', 'relu'))}"
        initial, last = ([hx], [hy]) if cx is None else ([hx, cx], [hy, cy])
        recurrent(kind, layers, 2 if both else 1, initial, ws, bs, xs, last, ys, False)
        return hy, cy, ys

    def recurrent(
        kind: str, layers: int, directions: int, hs: Any, ws: Any, bs: Any, xs: Any, hys: Any,
        ys: Any, sequences: bool,
    ) -> None:  # fmt: skip
        attrs = {
            "kind": kind,
            "layers": layers,
            "directions": directions,
            "initial": [h is not None for h in hs],
            "sequences": sequences,
        }
        weights = [w for layer in (*ws, *bs) for w in layer]
        states = [h for h in hs if h is not None]
        recorder.record("NStep", attrs, [*states, *weights, *xs], [*hys, *ys])

    class Path_(chainer.LinkHook):  # type: ignore[misc]
        name = "WebDNN"

        def forward_preprocess(self, args: Any) -> None:
            recorder.within.append(recorder.paths.get(id(args.link), type(args.link).__name__))

        def forward_postprocess(self, args: Any) -> None:
            recorder.within.pop()

    with ExitStack() as stack:
        for key, value in (("train", False), ("enable_backprop", False), ("use_ideep", "never")):
            stack.enter_context(chainer.using_config(key, value))
        stack.enter_context(chainer.using_config("use_static_graph", False))
        if not hasattr(np, "float"):  # resize_images asks for it, NumPy has it no more
            stack.enter_context(patch.object(np, "float", float, create=True))
        stack.enter_context(patch.object(chainer.FunctionNode, "apply", recorded_apply))
        stack.enter_context(patch.object(NStepRNNBase, "_call", link_steps))
        stack.enter_context(patch.object(n_step_rnn, "n_step_rnn_impl", loop_steps))
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(Path_())
        yield


def function_name(cls: type) -> str:
    """chainer's own functions by their class, others with their module."""
    own = cls.__module__.split(".")[0] == "chainer"
    return cls.__name__ if own else f"{cls.__module__}.{cls.__name__}"


def _explained(error: Exception, inputs: Sequence[np.ndarray]) -> str:
    """What a chain raised, where, and for what inputs."""
    ours = str(Path(__file__).parent)
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)
    ]
    user = [f for f in frames if f"{Path('/chainer/')}" not in f.filename] or frames
    place = f" at {user[-1].filename}:{user[-1].lineno}" if user else ""
    given = ", ".join(f"{a.dtype.name}{list(a.shape)}" for a in inputs)
    text = " ".join(str(error).split())
    return f"the chain raised {type(error).__name__}{place}: {text}. It was called with {given}"


# ---- several runs as one -------------------------------------------------------------------------


class NeedsUpper(Exception):
    """A table grows with an open size: its rows up to the largest size must be seen."""


@dataclass
class Runs:
    """Traces of one chain: `first` and `other` at the same sizes on different inputs, the rest at
    other sizes. `sizes[k]` are the sizes of trace k; `other` is not among them."""

    traces: list[Trace]
    sizes: Sequence[Sizes]
    other: Trace | None
    symbols: Mapping[str, Expr]
    failed: str = ""  # where the chain itself did not run

    @property
    def first(self) -> Trace:
        """The run whose calls are imported."""
        return self.traces[0]

    def check(self) -> None:
        """Raises UnsupportedError where the runs are not the same computation."""
        if self.other is not None:
            self._same_calls(self.other, "the values of the inputs")
            for k, (a, b) in enumerate(zip(self.first.constants, self.other.constants)):
                if a.shape != b.shape or a.dtype != b.dtype or not _equal(a, b):
                    raise UnsupportedError(
                        f"{self._user(k)}: an array that it takes was computed from the inputs "
                        "in a way that is not recorded, or is random. It would be frozen to what "
                        "the example gives; use chainer.functions"
                    )
            for call, other in zip(self.first.calls, self.other.calls):
                for name, given in call.attrs.items():
                    if not _same(given, other.attrs[name]):
                        raise UnsupportedError(
                            f"{call.label}: its argument {name.strip('_')!r} depends on the values "
                            f"of the inputs ({given} or {other.attrs[name]}), or is random"
                        )
        for trace, sizes in zip(self.traces[1:], self.sizes[1:]):
            at = ", ".join(f"{k}={v}" for k, v in sizes.items())
            self._same_calls(trace, f"the sizes of the inputs (at {at})")

    def _same_calls(self, trace: Trace, why: str) -> None:
        advice = "A traced model cannot decide anew: use chainer.functions, or fix the dimension"
        for a, b in zip(self.first.calls, trace.calls):
            if (a.function, a.inputs, len(a.results)) != (b.function, b.inputs, len(b.results)):
                raise UnsupportedError(
                    f"what the chain computes depends on {why}: {a.label} there is {b.label}, or "
                    f"takes other arrays. {advice}"
                )
        if len(self.first.calls) != len(trace.calls) or self.first.outputs != trace.outputs:
            raise UnsupportedError(
                f"what the chain computes depends on {why}: {len(self.first.calls)} calls or "
                f"{len(trace.calls)}. {advice}"
            )

    def _user(self, k: int) -> str:
        wanted = Ref("const", (k,))
        for call in self.first.calls:
            if wanted in call.inputs or wanted in _refs(call.attrs):
                return call.label
        return "an output of the chain"

    def argument(self, call: int, name: str, inputs: Sequence[Value]) -> Any:
        """What a call was constructed with, where sizes are open as expressions over them."""
        found = [t.calls[call].attrs[name] for t in self.traces]
        what = f"{self.first.calls[call].label}: its argument {name.strip('_')!r}"
        return self._unified(found, inputs, what)

    def _unified(self, found: Sequence[Any], inputs: Sequence[Value], what: str) -> Any:
        one = found[0]
        if all(_same(one, other) for other in found):
            return one
        kinds = {type(f) for f in found}
        if kinds == {int}:
            return self.solve(found, inputs, what)
        if kinds == {float}:
            return self._solve_float(found, inputs, what)
        if kinds == {tuple} and len({len(f) for f in found}) == 1:
            return tuple(self._unified(parts, inputs, what) for parts in zip(*found))
        if kinds == {slice}:
            parts = zip(*((f.start, f.stop, f.step) for f in found))
            return slice(*(self._unified(part, inputs, what) for part in parts))
        raise UnsupportedError(f"{what} depends on the open sizes: {self._table(found)}")

    def _table(self, found: Sequence[Any]) -> str:
        return "; ".join(
            f"{f} at {', '.join(f'{k}={v}' for k, v in at.items())}"
            for f, at in zip(found, self.sizes)
        )

    def _sources(self, inputs: Sequence[Value]) -> list[tuple[Any, list[int]]]:
        """What sizes may be computed from, simplest first, and its value in each run: the open
        dimensions, the sizes of the inputs, and products of neighbouring sizes."""
        found: set[Any] = set()
        for v in inputs:
            for i in range(v.rank):
                found |= {ops.product(v.shape[i:j]) for j in range(i + 1, v.rank + 1)}
        sizes = sorted(
            (d for d in found if isinstance(d, Expr)), key=lambda d: (len(str(d)), str(d))
        )
        dims = [*self.symbols.values()]
        pairs = [ops.product([a, b]) for k, a in enumerate(dims) for b in dims[k + 1 :]]
        every = dict.fromkeys([*dims, *sizes, *pairs])
        tables = ((d, [size_at(d, at) for at in self.sizes]) for d in every)
        return [(d, at) for d, at in tables if len(set(at)) > 1]

    def solve(self, found: Sequence[int], inputs: Sequence[Value], what: str) -> Dim:
        """The simplest expression that has these values at the sizes of the runs."""
        if len(set(found)) == 1:
            return int(found[0])
        sources = self._sources(inputs)
        for guess in _guesses(sources, found):
            if all(size_at(as_dim(guess), at) == f for f, at in zip(found, self.sizes)):
                return as_dim(guess)
        raise UnsupportedError(self._not_understood(what, found))

    def _not_understood(self, what: str, found: Sequence[Any]) -> str:
        return (
            f"{what} depends on the open sizes in a way that is not understood: "
            f"{self._table(found)}. Fix the dimensions"
        )

    def _solve_float(self, found: Sequence[float], inputs: Sequence[Value], what: str) -> Value:
        """A number that is proportional to a size, to one over it, or to their square roots."""
        for power in (1.0, -1.0, 0.5, -0.5):
            if any(f <= 0 for f in found) and power != 1:
                continue
            scaled = [f ** (1 / power) for f in found]
            for d, at in self._sources(inputs):
                ratio = scaled[0] / at[0]
                if all(abs(s - ratio * n) <= 1e-6 * abs(s) for s, n in zip(scaled, at)):
                    times = ops.mul(ops.cast(ops.ints(d, "i64"), "f32"), ratio)
                    times = ops.sqrt_(times) if abs(power) < 1 else times
                    return ops.reciprocal(times) if power < 0 else times
        raise UnsupportedError(self._not_understood(what, found))

    def constant(self, k: int, inputs: Sequence[Value]) -> Value:
        """Constant k, which may grow with open sizes: one number everywhere, or a table of which
        each size takes the beginning."""
        arrays = [t.constants[k] for t in self.traces]
        one = arrays[0]
        if all(a.shape == one.shape and _equal(a, one) for a in arrays):
            return constant_of(one, self._user(k))
        user = self._user(k)
        what = f"{user}: the size of an array that it takes"
        if len({a.ndim for a in arrays}) > 1:
            raise UnsupportedError(f"{what} depends on the open sizes; fix the dimensions")
        shape = [self.solve(sizes, inputs, what) for sizes in zip(*(a.shape for a in arrays))]
        for axis, d in enumerate(shape):  # repeated along the axis: one of them is enough
            first = [np.take(a, [0], axis) if a.shape[axis] else a for a in arrays]
            if isinstance(d, Expr) and all(map(_equal, arrays, first)):
                arrays = first
        if all(a.size and _equal(a, np.full_like(a, a.flat[0])) for a in arrays):
            numbers = [a.flat[0].item() for a in arrays]
            if any(n != numbers[0] for n in numbers):  # one number, which follows from the sizes
                number = self._unified(numbers, inputs, f"{user}: a number that it takes")
                value = number if isinstance(number, Value) else ops.ints(number, "i64")
                return ops.expand(ops.cast(value, FROM_NUMPY[one.dtype.name]), shape)
        largest = max(arrays, key=lambda a: a.size)
        if any(n > m for a in arrays for n, m in zip(a.shape, largest.shape)):
            raise NeedsUpper
        if any(not _equal(a, largest[tuple(slice(0, n) for n in a.shape)]) for a in arrays):
            raise UnsupportedError(
                f"{user}: an array that it takes is computed anew for each size, outside of "
                "chainer's functions; fix the dimensions"
            )
        part = [d if largest.shape[a] != 1 else 1 for a, d in enumerate(shape)]
        highest = {name: int(s.args[2]) for name, s in self.symbols.items()}
        if any(size_at(d, highest) > n for d, n in zip(part, largest.shape)):
            raise NeedsUpper
        table = constant_of(largest, user)
        return ops.expand(ops.slice_(table, [0] * largest.ndim, part), shape)


def _guesses(sources: Sequence[tuple[Any, list[int]]], found: Sequence[int]) -> Iterator[Any]:
    """Expressions that may have these values, simplest first."""
    for d, _ in sources:
        yield d
    for d, at in sources:
        steps = [(f - found[0], n - at[0]) for f, n in zip(found, at) if n != at[0]]
        if all(up % over == 0 for up, over in steps):
            slope = steps[0][0] // steps[0][1]
            if slope:
                yield lift(d) * slope + (found[0] - slope * at[0])
    for d, _ in sources:
        for k in range(2, 65):
            yield lift(d) // k
            yield (lift(d) + (k - 1)) // k


def constant_of(array: Any, what: str) -> Value:
    """A constant; raises UnsupportedError for an element type that we lack."""
    try:
        return constant(array)
    except TypeError:
        raise UnsupportedError(
            f"{what}: arrays of {np.asarray(array).dtype} are not supported"
        ) from None


def _refs(value: Any) -> Iterator[Ref]:
    """The references within a constructor's arguments."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple):
        for v in value:
            yield from _refs(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from _refs(v)
    elif isinstance(value, slice):
        yield from _refs((value.start, value.stop, value.step))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.all((a == b) | ((a != a) & (b != b))))


def _same(a: Any, b: Any) -> bool:
    """Whether two arguments are equal; NaN equals itself."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, slice) and isinstance(b, slice):
        return _same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b)


references = _refs

__all__ = [
    "Call",
    "ChainError",
    "NeedsUpper",
    "Ref",
    "Runs",
    "Trace",
    "constant_of",
    "named_arrays",
    "record",
    "references",
]
