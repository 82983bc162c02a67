"""Chainer models: a chain is run on an example, and what it called becomes the graph.

    import chainer.links as L
    webdnn.transpile(L.VGG16Layers(None), "build", example=np.zeros((1, 3, 224, 224), "f"))

The model is a `chainer.Link` (Chain, ChainList, Sequential ...) on the CPU, `example` the arguments
of its `forward`: an array, a tuple of arguments, a dictionary of named ones, or a list of arrays
where a chain takes sequences. The chain runs in test mode, several times, and stays as it is:
`trace` notes what it calls, `functions` says what each function is.

Inputs are named as `forward` names its parameters (members of a list `xs_0`, `xs_1` ...), outputs
as the returned dictionary does, or `output`, `output_0`. The first axis of the first input, if it
has two or more and is no sequence, is the dimension `batch`, shared by all inputs of the same first
size. Other axes are as in the example, unless `dims` names them: `h` and `w`, `length` (the first
axis of all sequences of a list), or INPUT.AXIS.

`weights` is a file of parameters, as `serializers.save_npz` or `save_hdf5` writes them; they are
loaded into the chain. Such a file alone is no model: it has no architecture.
"""

from __future__ import annotations

import inspect
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import ops
from ...errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from ...expr import Dim, Expr, free
from ...expr import evaluate as size_at
from ...graph import FROM_NUMPY, Graph, Value, evaluate, type_text
from ..dims import BATCH, Declared, Given, Settled, settle_inputs
from ..finish import Imported, finished
from ..hdf5 import is_hdf5
from ..relations import solved
from .trace import (
    Call,
    ChainError,
    NeedsUpper,
    Ref,
    Runs,
    Trace,
    constant_of,
    named_arrays,
    record,
    references,
)

INSTALL = (
    "pip install 'setuptools<80' wheel numpy && pip install --no-build-isolation 'webdnn[chainer]'"
)


def recognises(model: Any, head: bytes) -> bool:
    """Whether this is an object of chainer, or a file of parameters that chainer wrote."""
    if any(c.__module__.split(".")[0] == "chainer" for c in type(model).__mro__):
        return True
    if head[:4] == b"PK\x03\x04":
        length = int.from_bytes(head[26:28], "little")
        return head[30 : 30 + length].endswith(b".npy")
    if is_hdf5(head) and isinstance(model, (str, os.PathLike)):
        from .weights import is_chainer_hdf5

        return is_chainer_hdf5(Path(model))
    return False


@solved
def load(
    model: Any,
    dims: Given,
    *,
    example: Any = None,
    weights: str | os.PathLike[str] | None = None,
) -> Imported:
    """Import a chain. Raises WebDNNError for what cannot be traced, named by link and function."""
    if isinstance(model, (str, os.PathLike, bytes)):
        raise ModelError(_parameters_alone(model))
    _check_model(model)
    if weights is not None:
        from .weights import load_weights

        load_weights(model, Path(weights))
    if example is None:
        raise ModelError(
            f"a {type(model).__name__} is traced, so it needs an example of its input: "
            "webdnn.transpile(chain, folder, example=array), or a tuple of the arguments of its "
            "forward"
        )
    arguments = Arguments(model, example)
    names = [name for name, parameter in model.namedparams() if parameter.array is None]
    notes = []
    if names:
        shown = ", ".join(n.strip("/") for n in names[:3]) + (" ..." if names[3:] else "")
        notes.append(f"these parameters had no values and got random ones: {shown}")
    try:
        return _imported(model, arguments, dims, notes, True)
    except ChainError as error:
        # Perhaps the first axis is no batch, or the chain works for this one only.
        if not arguments.batch or 1 in arguments.batch_sizes() or any(map(BATCH.fullmatch, dims)):
            raise
        try:
            return _imported(model, arguments, dims, notes, False)
        except (ChainError, DimensionError):
            raise error from None


def _parameters_alone(model: Any) -> str:
    name = Path(model).name if not isinstance(model, bytes) else "this file"
    return (
        f"{name} holds arrays, such as the parameters of a Chainer model, but no architecture: "
        "that is Python code. Transpile it from Python:\n"
        "    chain = MyChain()  # the class that the parameters belong to\n"
        f"    example = numpy.zeros((1, 3, 224, 224), 'float32')  # an input of its forward\n"
        f"    webdnn.transpile(chain, 'build', example=example, weights_file={str(name)!r})"
    )


def _check_model(model: Any) -> None:
    try:
        import chainer
    except ImportError as error:
        raise WebDNNError(
            f"Chainer is needed for this model, but cannot be imported ({error}). Install it with "
            f"{INSTALL}, and import webdnn.chainer_compat before chainer"
        ) from None
    if not isinstance(model, chainer.Link):
        raise ModelError(
            f"expected a chainer.Link (a Chain, for example), found a {type(model).__name__}"
        )
    device = getattr(model, "device", None)
    if device is not None and device.xp is not np:
        raise ModelError(f"the chain is on {device}: move it to the CPU with chain.to_cpu()")


# ---- the example ---------------------------------------------------------------------------------


@dataclass
class Leaf:
    """An array of the example: the input's name, and whether it is a member of a list."""

    name: str
    array: np.ndarray
    member: bool
    fixed: bool = False  # it is no input, but the same in every run


class Arguments:
    """The example's arrays by name, and the arguments of a call with others in their place."""

    def __init__(self, model: Any, example: Any):
        self.leaves: list[Leaf] = []
        self.variables = True  # arithmetic of Variables is chainer's, of arrays numpy's
        self.settled = False  # whether a run has shown which of them the chain takes
        call = type(model).__dict__.get("__call__") or getattr(type(model), "forward", None)
        call = call or type(model).__call__
        parameters = list(inspect.signature(call).parameters.values())[1:]
        plain = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        rest = next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), None)
        given = example if isinstance(example, tuple) else (example,)
        if isinstance(example, Mapping):
            self.positional: list[Any] = []
            self.named = {str(k): self._spec(str(k), v, False) for k, v in example.items()}
        elif rest is None and len(given) > len(plain):
            raise ModelError(
                f"the example gives {len(given)} arguments, {type(model).__name__} takes "
                f"{', '.join(plain) or 'none'}; a list of arrays is one argument, a tuple several"
            )
        else:
            many = len(given) > len(plain) + 1
            labels = plain + [f"{rest}_{k}" if many else str(rest) for k in range(len(given))]
            self.positional = [self._spec(n, v, False) for n, v in zip(labels, given)]
            self.named = {}
        if not self.leaves:
            raise ModelError("the example holds no array: nothing would be an input of the model")
        names = [leaf.name for leaf in self.leaves]
        if twice := {n for n in names if names.count(n) > 1}:
            raise ModelError(f"the example gives two inputs the name {', '.join(twice)}")
        first = self.leaves[0]
        self.batch: list[Leaf] = []
        if not first.member and first.array.ndim > 1:
            self.batch = [
                leaf
                for leaf in self.leaves
                if not leaf.member and leaf.array.ndim and len(leaf.array) == len(first.array)
            ]

    def _spec(self, name: str, value: Any, member: bool) -> Any:
        """A function of the replaced arrays that gives this argument."""
        if hasattr(value, "creator_node"):
            value = value.array
        if isinstance(value, (list, tuple)):
            parts = [self._spec(f"{name}_{k}", v, True) for k, v in enumerate(value)]
            return lambda arrays: type(value)(part(arrays) for part in parts)
        if not isinstance(value, np.ndarray):
            if value is None or isinstance(value, (bool, int, float, str)):
                return lambda arrays: value  # an option of forward, not an input
            raise ModelError(
                f"the example's {name!r} is a {type(value).__name__}; expected a numpy array, or a "
                "tuple, list or dictionary of arrays"
            )
        if value.dtype.name not in FROM_NUMPY:
            raise UnsupportedError(f"the example's {name!r} has dtype {value.dtype}")
        if value.size == 0:
            raise ModelError(f"the example's {name!r} is empty: shape {list(value.shape)}")
        k = len(self.leaves)
        self.leaves.append(Leaf(re.sub(r"\W", "_", name), value, member))
        return lambda arrays: arrays[k]

    def batch_sizes(self) -> set[int]:
        """The example's own batch sizes."""
        return {len(leaf.array) for leaf in self.batch}

    def call(self, model: Any, arrays: Sequence[np.ndarray], variables: bool = True) -> Any:
        """What the chain returns for these arrays, as Variables or as they are."""
        import chainer

        given = [chainer.Variable(a) if variables else a for a in arrays]
        return model(
            *(spec(given) for spec in self.positional),
            **{name: spec(given) for name, spec in self.named.items()},
        )

    def record(
        self,
        model: Any,
        arrays: Sequence[np.ndarray],
        seed: int = 0,
        values: dict[Ref, np.ndarray] | None = None,
    ) -> Trace:
        """A run of the chain on Variables or, if it does not take them, on arrays."""

        def run(variables: bool) -> Trace:
            call = lambda given: self.call(model, given, variables)  # noqa: E731
            return record(model, call, arrays, seed, values)

        try:
            trace = run(self.variables)
        except ChainError as error:
            if self.settled:
                raise
            try:
                trace = run(False)
            except ChainError:
                raise error from None
            self.variables = False
        self.settled = True
        return trace

    def declared(self, dims: Mapping[str, Any], batch: bool) -> list[Declared]:
        """The inputs; only axes that a key of `dims` can mean are open, and the batch."""
        keys = {str(k) for k in dims}
        lengths = {len(leaf.array) for leaf in self.leaves if leaf.member and leaf.array.ndim}
        out = []
        for leaf in self.leaves:
            shape: list[int | str | None] = list(leaf.array.shape)
            for axis in range(len(shape)):
                if {f"{leaf.name}.{axis}", f"{leaf.name}_{axis}"} & keys:
                    shape[axis] = None
            if len(shape) == 4:
                for axis, words in ((2, ("h", "height")), (3, ("w", "width"))):
                    if keys & set(words):
                        shape[axis] = None
            if batch and any(leaf is b for b in self.batch):
                shape[0] = "batch"
            elif leaf.member and shape and len(lengths) == 1 and "length" in keys:
                shape[0] = "length"
            out.append(Declared(leaf.name, FROM_NUMPY[leaf.array.dtype.name], tuple(shape)))
        return out


def _resized(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The example repeated or cut to another shape."""
    for axis, size in enumerate(shape):
        if array.shape[axis] != size:
            array = np.take(array, np.arange(size) % array.shape[axis], axis)
    return np.ascontiguousarray(array)


def _varied(array: np.ndarray, seed: int) -> np.ndarray:
    """Another input of the same kind: floats within about the same range, integers within it."""
    turned = np.flip(array)
    if array.dtype.kind == "b":
        return np.asarray(~array)
    if array.dtype.kind in "iu":
        low, high = array.min(), array.max()
        if low == high:  # only 0 and what was given are known to be allowed
            other = turned.copy()
            other.flat[:: 2 if array.size > 1 else 1] = low - 1 if low > 0 else low + 1
            return np.ascontiguousarray(other)
        return np.ascontiguousarray((low + high - turned).astype(array.dtype))
    spread = float(array.std()) or float(np.abs(array).max()) or 1.0
    noise = np.random.default_rng(seed).standard_normal(array.shape)
    other = turned + 0.5 * spread * noise
    if array.min() >= 0:
        other = np.abs(other)
    return np.ascontiguousarray(other.astype(array.dtype))


def computed(
    model: Any, example: Any, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the chain itself computes of other inputs than the example's: (outputs, inner values).

    Both by the names that they have in the imported graph. The chain stays as it is.
    """
    arguments = Arguments(model, example)
    values: dict[Ref, np.ndarray] = {}
    given = [np.asarray(arrays[leaf.name]) for leaf in arguments.leaves]
    trace = arguments.record(model, given, 0, values)
    outputs = {name: values[ref] for name, ref in trace.outputs.items()}
    return outputs, {name: values[ref] for ref, name in trace.names().items() if ref in values}


# ---- the import ----------------------------------------------------------------------------------


def _imported(
    model: Any,
    arguments: Arguments,
    dims: Given,
    before: Sequence[str],
    batch: bool,
) -> Imported:
    notes = list(before)
    if not batch:
        size = len(arguments.batch[0].array)
        notes.append(f"the batch is {size} as in the example: the chain does not run with 1")
    settled = settle_inputs(arguments.declared(dims, batch), dims, notes)
    for leaf in arguments.leaves:
        if settled.inputs[leaf.name].constant:
            leaf.array, leaf.fixed = evaluate(settled.inputs[leaf.name]), True
    runs = _runs(model, arguments, settled, notes, False)
    try:
        built = Builder(model, runs, settled)
        graph = built.graph(settled.symbols, type(model).__name__)
    except NeedsUpper:
        runs = _runs(model, arguments, settled, [], True)
        built = Builder(model, runs, settled)
        graph = built.graph(settled.symbols, type(model).__name__)
    except ValueError as error:
        if isinstance(error, WebDNNError):
            raise
        raise UnsupportedError(str(error)) from None
    weights = [(a.size, a.nbytes) for _, a in named_arrays(model)]
    return finished(graph, notes, built.contents, weights, settled.batch)


def _runs(
    model: Any,
    arguments: Arguments,
    settled: Settled,
    notes: list[str],
    upper: bool,
) -> Runs:
    """Run the chain at the settled sizes on two inputs, and at others if sizes are open."""
    symbols, values = settled.symbols, settled.inputs.values()

    def trace(sizes: Mapping[str, int], seed: int = 0) -> Trace:
        shapes = [[size_at(d, sizes) for d in v.shape] for v in values]
        arrays = [_resized(leaf.array, s) for leaf, s in zip(arguments.leaves, shapes)]
        if seed:
            arrays = [
                a if leaf.fixed else _varied(a, seed) for leaf, a in zip(arguments.leaves, arrays)
            ]
        return arguments.record(model, arrays, seed)

    base = {}
    for s in symbols:
        found = next(
            n
            for leaf, v in zip(arguments.leaves, values)
            for n, d in zip(leaf.array.shape, v.shape)
            if d is s
        )
        base[s.args[0]] = _nearest(s, max(found, 2))
    traces, sizes = [trace(base)], [base]
    failed = ""
    for candidate in _other_sizes(symbols, base, upper):
        if len(traces) == 4 + upper:
            break
        try:
            traces.append(trace(candidate))
            sizes.append(candidate)
        except ChainError as error:
            at = ", ".join(f"{k}={v}" for k, v in candidate.items())
            failed = failed or (
                "\nThe chain itself does not run at every size in the range: at "
                f"{at} {error}. Fix these dimensions"
            )
    if symbols and len(traces) == 1:
        at = ", ".join(f"{k}={v}" for k, v in base.items())
        raise UnsupportedError(f"the chain was run at {at}, but not at other sizes.{failed}")
    try:
        other = trace(base, 1)
    except ChainError:
        other = None
        notes.append(
            "the chain could not be run on another input of this size: whether its constants "
            "depend on the input was not checked"
        )
    runs = Runs(traces, sizes, other, {str(s.args[0]): s for s in symbols}, failed)
    runs.check()
    return runs


def _other_sizes(
    symbols: Sequence[Expr], base: Mapping[str, int], upper: bool
) -> Iterator[dict[str, int]]:
    """Sizes to try beside `base`, each dimension moved by amounts of its own."""
    if not symbols:
        return
    seen = [dict(base)]
    if upper:
        seen.append({str(s.args[0]): s.args[2] for s in symbols})
        yield seen[-1]
    for step in (1, 3, 2, 8, 32, 64, 16, 4, 5):
        out = {}
        for k, s in enumerate(symbols):
            name, _, high, each = s.args
            move = step * (1, 3, 2, 5, 4)[(k * len(seen)) % 5] * each
            size = base[name] + move
            out[name] = _nearest(s, size if size <= high else base[name] - move)
        if out not in seen:
            seen.append(out)
            yield out


def _nearest(symbol: Expr, size: int) -> int:
    """A size that a dimension may have, near the given one."""
    _, low, high, step = symbol.args
    return int(min(low + max(0, size - low) // step * step, high))


class Builder:
    """Turns the calls of the runs into values of a graph."""

    def __init__(self, model: Any, runs: Runs, settled: Settled):
        self.runs, self.inputs = runs, settled.given
        self.arrays = dict(named_arrays(model))
        self.values: dict[Ref, Value] = {
            Ref("input", (i,)): v for i, v in enumerate(settled.inputs.values())
        }
        self.names: dict[str, Value] = dict(settled.inputs)
        self.contents: list[str] = []
        self.labels = runs.first.names()
        # sizes that were met, and what each is called
        self.sizes: dict[Expr, Dim] = {s: s for s in runs.symbols.values()}

    def graph(self, symbols: Sequence[Expr], name: str) -> Graph:
        """The graph of the runs' outputs."""
        outputs = self.runs.first.outputs
        for output, ref in outputs.items():
            if ref.kind == "const":
                raise UnsupportedError(
                    f"the chain's output {output!r} is not the result of one of chainer's "
                    "functions, or of numpy's that are recorded"
                )
        needed = self._needed()
        self._check_functions(needed)
        for k in needed:
            self._call(k)
        found: dict[str, Value] = {}
        taken = {v.attrs["name"] for v in self.inputs}
        for output, ref in outputs.items():
            label = output if output not in taken else f"{output}_output"
            found[label] = self._value(ref, ())
        return Graph(self.inputs, found, self.names, tuple(symbols), name)

    def _needed(self) -> list[int]:
        """The calls that the outputs depend on, in order."""
        calls = self.runs.first.calls
        needed: set[int] = set()
        stack = list(self.runs.first.outputs.values())
        while stack:
            ref = stack.pop()
            if ref.kind == "call" and ref.at[0] not in needed:
                needed.add(ref.at[0])
                call = calls[ref.at[0]]
                stack += [*call.inputs, *references(call.attrs)]
        return sorted(needed)

    def _check_functions(self, needed: Sequence[int]) -> None:
        """All functions that are not known, in one message."""
        from .functions import FUNCTIONS, REFUSED

        unknown: dict[str, list[Call]] = {}
        for k in needed:
            call = self.runs.first.calls[k]
            if call.function not in FUNCTIONS:
                unknown.setdefault(call.function, []).append(call)
        if not unknown:
            return
        lines = []
        own = False
        for function, calls in unknown.items():
            where = f" (link {calls[0].link!r})" if calls[0].link else ""
            times = f", {len(calls)} times" if calls[1:] else ""
            why = REFUSED.get(function)
            lines.append(f"  {function}{where}{times}" + (f": {why}" if why else ""))
            own |= "." in function and not function.startswith("numpy.")
        text = "functions of the chain that are not supported:\n" + "\n".join(lines)
        if own:
            text += (
                "\nA function of your own can be given a meaning in terms of webdnn.ops: "
                "webdnn.frontend.chainer.functions.FUNCTIONS['module.Class'] = function"
            )
        raise UnsupportedError(text)

    def _value(self, ref: Ref, inputs: Sequence[Value]) -> Value:
        found = self.values.get(ref)
        if found is not None:
            return found
        if ref.kind == "param":
            (name,) = ref.at
            found = constant_of(self.arrays[name], name)
            self.names.setdefault(name, found)
        else:
            assert ref.kind == "const", ref
            found = self.runs.constant(ref.at[0], inputs)
        self.values[ref] = found
        return found

    def _resolved(self, value: Any, inputs: Sequence[Value]) -> Any:
        """An argument with values in the place of references."""
        if isinstance(value, Ref):
            return self._value(value, inputs)
        if isinstance(value, tuple):
            return tuple(self._resolved(v, inputs) for v in value)
        if isinstance(value, dict):
            return {k: self._resolved(v, inputs) for k, v in value.items()}
        return value

    def _call(self, k: int) -> None:
        """Compute the results of call k."""
        from .functions import FUNCTIONS

        call = self.runs.first.calls[k]
        self.contents.append(call.function)
        function: Callable[..., Any] = FUNCTIONS[call.function]
        known = [self.values[r] for r in call.inputs if r in self.values]
        inputs = [self._value(r, known) for r in call.inputs]
        keywords = {}
        for name, p in inspect.signature(function).parameters.items():
            if p.kind != p.KEYWORD_ONLY:
                continue
            if name in call.attrs:
                keywords[name] = self._resolved(self.runs.argument(k, name, inputs), inputs)
            elif p.default is p.empty:
                raise UnsupportedError(f"{call.label}: it has no {name!r}; is this Chainer 7?")
        try:
            out = function(*inputs, **keywords)
        except (ModelError, UnsupportedError, DimensionError) as error:
            error.say(f"{error}{self.runs.failed}")
            error.at(call.label)
            raise
        except ValueError as error:
            raise UnsupportedError(f"{call.label}: {error}{self.runs.failed}") from None
        results = [out] if isinstance(out, Value) else list(out)
        for j, value in enumerate(results[: len(call.results)]):
            if value is not None:
                self._result(k, j, value)

    def _plainer(self, d: Dim) -> Dim:
        """The size that this one is wherever it is defined: an earlier one if they are equal.

        min(h, (h + 1) // 2 * 2) is h: that is found out by trying all h, which costs little.
        """
        if not isinstance(d, Expr) or d in self.sizes:
            return self.sizes.get(d, d) if isinstance(d, Expr) else d
        names = sorted(str(s.args[0]) for s in free(d, "dim"))
        ranges = [
            range(s.args[1], s.args[2] + 1, s.args[3])
            for s in map(self.runs.symbols.__getitem__, names)
        ]
        found: Dim = d
        if math.prod(map(len, ranges)) <= 4096:
            every = [dict(zip(names, at)) for at in itertools.product(*ranges)]
            mine = [size_at(d, at) for at in every]
            for other in self.sizes:
                same_dims = sorted(str(s.args[0]) for s in free(other, "dim")) == names
                if same_dims and mine == [size_at(other, at) for at in every]:
                    found = self.sizes[other]
                    break
        self.sizes[d] = found
        return found

    def _result(self, k: int, j: int, value: Value) -> None:
        """Note a result whose shape is as chainer's at every size."""
        call = self.runs.first.calls[k]
        for trace, sizes in zip(self.runs.traces, self.runs.sizes):
            wanted = trace.calls[k].results[j][0]
            found = tuple(size_at(d, sizes) for d in value.shape)
            if found != wanted:
                at = f" at {', '.join(f'{n}={s}' for n, s in sizes.items())}" if sizes else ""
                raise UnsupportedError(
                    f"{call.label}: its result is {list(wanted)} in chainer{at}, but would be "
                    f"{list(found)} ({type_text(value)}) here"
                )
        dtype = FROM_NUMPY.get(call.results[j][1].name)
        if dtype is None:
            raise UnsupportedError(f"{call.label}: its result has dtype {call.results[j][1]}")
        shape = [self._plainer(d) for d in value.shape]
        value = ops.cast(ops.slice_(value, [0] * value.rank, shape), dtype)
        self.values[Ref("call", (k, j))] = value
        self.names.setdefault(self.labels[Ref("call", (k, j))], value)


__all__ = ["Imported", "computed", "load", "recognises"]
