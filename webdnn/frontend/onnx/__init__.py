"""ONNX models: settling the dimensions, and walking the nodes in order.

    imported = load("model.onnx", {"h": (64, 512), "w": (64, 512), "batch": 1})
    imported.graph, imported.notes

Files are read in `files`, operators are in `operators`, and `registry` finds the function for a
node: one of these, or one that a user registered. An operator that we lack is replaced by its
definition where the model (model-local functions) or ONNX itself gives one as a function; all that
remain are reported in one list before anything else is looked at. Only what the outputs need is
read.

Bodies of control flow (`control`) are run again for each iteration; `sequences` are Python's.

Limits: inputs are tensors (no sequences, maps, strings, complex numbers).
"""

from __future__ import annotations

import math
import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx

from ...errors import (
    ModelError,
    NumbersNeededError,
    SizesDifferError,
    UnsupportedError,
    WebDNNError,
)
from ...graph import Graph, Shape, Value, type_text
from ..damaged import NO_DAMAGE, damaged
from ..dims import Given, Sizes, settle_inputs
from ..finish import Imported, finished
from ..relations import numbers_needed, solved
from . import control, old
from .attributes import check_word
from .bounds import Bound, bounded, length_bounds, longest
from .declared import Results, declared_shapes, dims_text, kept_shapes, open_sizes
from .draws import Draws
from .elements import ELEMENT_TYPES, ONNX_NAMES, element_type
from .files import External, read, tensor_value
from .inputs import declared_inputs
from .nodes import bound, check_calls, check_names, label, ordered, reads
from .registry import (
    Handler,
    call,
    fixed,
    handler,
    normalised,
    register,
    registered,
    snippet,
)
from .sequences import Held, TensorSequence

Scope = MutableMapping[str, Held]
_OURS = ("opset", "outputs", "declared", "draws")  # keywords of functions that are no attributes


def recognises(model: Any, head: bytes) -> bool:
    """Whether this is an ONNX model: anything, since `load` says what else it is."""
    return True


@solved
def load(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    dims: Given | None = None,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Imported:
    """Import an ONNX model, from a path, the file's bytes or a ModelProto.

    dims: the sizes of the dimensions that the model leaves open; see `frontend.dims`.
    arrays: tensors that the model has as external data but that lie in memory, by location.
    Raises ModelError for a broken file, UnsupportedError for what we lack, DimensionError for a
    dimension that is missing, unknown or contradicts another.
    """
    proto, external = read(model)
    if arrays:
        external = External(arrays=arrays)
    notes: list[str] = []
    opsets = _opsets(proto.opset_import)
    if max(opsets.values(), default=0) >= 2**31 or min(opsets.values(), default=0) < 0:
        raise ModelError("the model's opset numbers are out of range: the file is damaged")
    functions = {(f.domain, f.name): f for f in proto.functions}
    reader = _Importer(external, functions, notes)
    check_calls(proto)
    constants = {t.name: t for t in proto.graph.initializer}
    constants |= {s.values.name: s for s in proto.graph.sparse_initializer}
    check_names(proto.graph)
    reader.draws = Draws({i.name for i in proto.graph.input})
    declared = [i for i in proto.graph.input if i.name not in constants]
    wanted = [o.name for o in proto.graph.output]
    if not wanted:
        raise ModelError("the model has no outputs: the file is damaged, or not a whole model")
    given = set(constants) | {i.name for i in declared}
    order = ordered(proto.graph.node, given, wanted)
    reader.check_operators(order, opsets)
    sizes = dims if isinstance(dims, Sizes) else Sizes(dims)
    sizes, reader.bounds = length_bounds(proto.graph, sizes)
    taken = declared_inputs(declared, sizes)
    settled = settle_inputs(taken.declared, taken.sizes, notes)
    tensors = [i for i in declared if i.name in settled.inputs]
    reader.shapes = kept_shapes(order, declared_shapes(proto.graph, tensors, settled.inputs))
    scope: Scope = taken.held(settled.inputs)
    reader.constants(
        constants.values(), scope, {n for node in order for n in reads(node)} | set(wanted)
    )
    reader.run(order, scope, opsets)
    outputs: dict[str, Value] = {}
    producers = {name: node for node in order for name in node.output}
    for o in proto.graph.output:
        outputs |= _outputs(o, scope[o.name], producers.get(o.name), notes)
    _check_declared(proto.graph, reader.names, producers, notes)
    graph = Graph(
        settled.given,
        outputs | {f"alarm {k}": v for k, v in enumerate(reader.alarms)},
        reader.names | settled.inputs,
        settled.symbols,
        proto.graph.name or "model",
        states=reader.draws.states,
        alarms={f"alarm {k}": said for k, said in enumerate(reader.alarms.values())},
    )
    if graph.states:
        notes.append(
            "random numbers are drawn anew in each run, and are the same again after the model is "
            "loaded or reset; another engine draws others"
        )
    return finished(graph, notes, *_contents(proto), settled.batch, reader.labels)


def _opsets(imports: Iterable[Any]) -> dict[str, int]:
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in imports}


def _contents(model: onnx.ModelProto) -> tuple[list[str], list[tuple[int, int]]]:
    """The operators of a model by name, and elements and bytes of each of its constants."""
    nodes = model.graph.node
    names = [n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}" for n in nodes]
    tensors = [*model.graph.initializer, *(s.values for s in model.graph.sparse_initializer)]
    tensors += [
        a.t for n in nodes if n.op_type == "Constant" for a in n.attribute if a.HasField("t")
    ]
    sizes = []
    for t in tensors:
        width = onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize
        sizes.append((math.prod(t.dims), math.prod(t.dims) * width))
    return names, sizes


# ---- inputs and outputs -------------------------------------------------------------------------


def _outputs(declared: Any, held: Held, node: Any, notes: list[str]) -> dict[str, Value]:
    """What is declared as an output, by name; the tensors of a sequence are NAME.0, NAME.1 ..."""
    kind = declared.type
    if kind.WhichOneof("value") == "optional_type":
        kind = kind.optional_type.elem_type
    if isinstance(held, TensorSequence):
        return {f"{declared.name}.{k}": v for k, v in enumerate(held.items)}
    if held is None:
        raise UnsupportedError(f"output {declared.name!r} is an optional value that is absent")
    _check_output(declared.name, kind.tensor_type, held, node, notes)
    return {declared.name: held}


def _check_output(name: str, given: Any, value: Value, node: Any, notes: list[str]) -> None:
    """Raises where an output's declaration contradicts what its node (None: an input) computes.

    Another number of axes is a note: PyTorch's exporter declares those of a branch not taken.
    """
    shape = type_text(value)
    of = f"{label(node)}: its output" if node is not None else "output"
    if given.elem_type and ELEMENT_TYPES.get(given.elem_type) != value.dtype:
        raise ModelError(
            f"{of} {name!r} is declared as {element_type(given.elem_type)}, but its "
            f"computation gives {shape}: the model contradicts itself"
        )
    said = _other_shape(given, value)
    if said and len(given.shape.dim) != value.rank:
        notes.append(
            f"{of} {name!r} is declared as {said}, but its computation gives {shape}: the file "
            "contradicts itself; the computation counts"
        )
    elif said:
        raise ModelError(
            f"{of} {name!r} is declared as {said}, but its computation gives "
            f"{shape}: the model contradicts itself, or a --dim does not fit it"
        )


def _other_shape(kind: Any, value: Value) -> str:
    """The shape that a declared type gives to a value, if that is another than it has."""
    if not kind.HasField("shape"):
        return ""
    said = [int(d.dim_value) if d.dim_value > 0 else None for d in kind.shape.dim]
    fits = len(said) == value.rank and all(
        s is None or not isinstance(d, int) or s == d for s, d in zip(said, value.shape)
    )
    return "" if fits else f"[{', '.join('?' if s is None else str(s) for s in said)}]"


def _check_declared(
    graph: Any, names: Mapping[str, Value], producers: Mapping[str, Any], notes: list[str]
) -> None:
    """Notes where the declaration of an inner value contradicts what its node computes.

    onnxruntime goes by the computation, and so do we. A declaration that was made for other sizes
    of the inputs says nothing.
    """
    if open_sizes(graph.input):
        return
    found = [
        (v.name, said)
        for v in graph.value_info
        if v.name in producers
        and v.name in names
        and (said := _other_shape(v.type.tensor_type, names[v.name]))
    ]
    if found:
        name, said = found[0]
        more = f", and {len(found) - 1} more such" if len(found) > 1 else ""
        notes.append(
            f"{label(producers[name])}: {name!r} is declared as {said}, but its computation gives "
            f"{type_text(names[name])}{more}: the file contradicts itself; the computation counts"
        )


# ---- nodes --------------------------------------------------------------------------------------


def _unknown(found: Mapping[tuple[str, str, int | str], Sequence[Any]]) -> UnsupportedError:
    """The error for operators that we lack: (domain, operator, version) -> their nodes."""
    lines = []
    for (domain, operator, version), nodes in found.items():
        many = f"{len(nodes)} nodes, the first is " if len(nodes) > 1 else ""
        lines.append(
            f"  {operator} ({domain or 'ai.onnx'}, opset {version}) at {many}{label(nodes[0])}"
        )
    # A graph as an attribute is control flow, which no function over our operators is.
    ours = [
        nodes
        for nodes in found.values()
        if not any(a.type == onnx.AttributeProto.GRAPH for n in nodes for a in n.attribute)
    ]
    if ours:
        lines += [
            "Say what each computes before the model is transpiled, in Python or in a file for "
            "--plugin:",
            "  import webdnn",
            "  from webdnn import ops",
        ]
        for nodes in ours[:3]:  # enough to see how it is done
            lines += ["", *(f"  {line}" for line in snippet(nodes).splitlines())]
    count = f"{len(found)} operators" if len(found) > 1 else "an operator"
    return UnsupportedError(
        f"the model needs {count} that WebDNN does not support:\n" + "\n".join(lines)
    )


class _Importer:
    """Walks nodes; `names` collects every value name of the model that has been computed, and
    `labels` the nodes of these."""

    def __init__(
        self, external: External, functions: Mapping[tuple[str, str], Any], notes: list[str]
    ):
        self.external, self.functions, self.notes = external, functions, notes
        self.names: dict[str, Value] = {}
        self.labels: dict[str, str] = {}
        self.shapes: Mapping[str, Shape] = {}  # that the model declares, of known sizes
        self.depth = 0  # within definitions of ONNX's own, whose nodes say nothing to anybody
        self.draws = Draws(())
        self.bounds: Mapping[str, list[Bound]] = {}  # of lengths that a run finds, by value
        self.alarms: dict[Value, str] = {}  # whether a run is wrong, and what to say then
        self.within = 0  # in bodies, whose values are no outputs
        self.looked: set[tuple[str, str]] = set()  # functions whose operators have been checked

    def check_operators(self, nodes: Sequence[Any], opsets: Mapping[str, int]) -> None:
        """Raise one error that lists every operator that we lack."""
        found: dict[tuple[str, str, int | str], list[Any]] = {}
        for node, version in self.lacking(nodes, opsets):
            found.setdefault((normalised(node.domain), node.op_type, version), []).append(node)
        if found:
            raise _unknown(found)

    def lacking(
        self, nodes: Sequence[Any], opsets: Mapping[str, int]
    ) -> Iterator[tuple[Any, int | str]]:
        """The nodes whose operator we lack, each with the version of the operator's domain.

        Those of a function of the model are given once, whoever calls it.
        """
        for node in nodes:
            domain = normalised(node.domain)
            key = node.domain, node.op_type
            local = self.functions.get(key)
            if registered(node) is not None or (local is not None and key in self.looked):
                continue
            elif local is not None:
                self.looked.add(key)
                yield from self.lacking(local.node, _opsets(local.opset_import))
            elif domain == "" and node.op_type in control.OPERATORS:
                if node.op_type != "If":  # of which one branch may be taken
                    for a in node.attribute:
                        yield from self.lacking(a.g.node, opsets)
            elif handler(node) is not None:
                continue
            else:
                body = _definition(node, opsets)
                if isinstance(body, onnx.FunctionProto) and not any(
                    True for _ in self.lacking(body.node, opsets)
                ):
                    continue
                if body is True:  # depends on types; tried when they are known
                    continue
                yield node, opsets.get(domain, "?")

    def constants(self, tensors: Iterable[Any], scope: Scope, needed: set[str]) -> None:
        """Define the initialisers that are needed."""
        for t in tensors:
            name = t.values.name if isinstance(t, onnx.SparseTensorProto) else t.name
            if name in needed:
                scope[name] = self.names[name] = tensor_value(
                    t, self.external, f"initializer {name!r}"
                )

    def run(
        self, order: Sequence[Any], scope: Scope, opsets: Mapping[str, int], record: bool = True
    ) -> None:
        """Compute the nodes in order and define their outputs in the scope."""
        for node in order:
            try:
                outputs = self.outputs(node, scope, opsets)
            except (WebDNNError, ValueError) as error:
                if self.depth:
                    raise
                if isinstance(error, (NumbersNeededError, SizesDifferError)):
                    error.at(label(node))
                    raise
                text = f"{label(node)}: {error}"
                held = [scope[i] for i in node.input if i]
                shapes = [v.shape for v in held if isinstance(v, Value)]
                numbers = numbers_needed(text, error, shapes)
                if numbers is not None:
                    raise numbers from error
                if isinstance(error, WebDNNError):
                    error.say(text)
                    raise
                raise ModelError(text) from error
            except NO_DAMAGE:
                raise
            except Exception as error:
                raise damaged(f"{label(node)}: its attributes or constants are", error) from error
            for name, value in zip(node.output, outputs):
                if name:
                    if record and isinstance(value, Value):
                        value = self.bounded(name, value)
                    scope[name] = value
                    if record and isinstance(value, Value):
                        self.names.setdefault(name, value)
                        self.labels.setdefault(name, label(node))
            for name in node.output[len(outputs) :]:
                if name:
                    raise UnsupportedError(f"{label(node)}: its output {name!r} is not supported")

    def bounded(self, name: str, v: Value) -> Value:
        """A value whose lengths that a run finds are no longer than the user says."""
        for longest_is in self.bounds.get(name, ()):
            v, more, said = bounded(name, v, longest_is)
            self.alarms[more] = said
        return v

    def outputs(self, node: Any, scope: Scope, opsets: Mapping[str, int]) -> Sequence[Held]:
        """The values of a node's outputs."""
        inputs = [scope[i] if i else None for i in node.input]
        domain = normalised(node.domain)
        local = self.functions.get((node.domain, node.op_type))
        found = handler(node)
        if local is not None and (found is None or found.own is None):
            return self.call(local, node, scope, _opsets(local.opset_import))
        if found is not None:
            return self.apply(found, node, inputs, opsets.get(domain, 1 if domain else old.FIRST))
        if not domain and node.op_type in control.OPERATORS:
            return self.controlled(node, inputs, scope, opsets)
        body = _definition(node, opsets, inputs)
        if not isinstance(body, onnx.FunctionProto):
            raise _unknown({(domain, node.op_type, opsets.get(domain, "?")): [node]})
        self.check_operators(body.node, opsets)
        schema = onnx.defs.get_schema(
            node.op_type, opsets.get(node.domain, opsets.get("", old.FIRST)), node.domain
        )
        defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
        self.depth += 1
        try:
            return self.call(body, node, scope, _opsets(body.opset_import) or opsets, defaults)
        finally:
            self.depth -= 1

    def apply(self, found: Handler, node: Any, inputs: list[Held], opset: int) -> Sequence[Held]:
        """One of our own operators, or a user's."""
        while inputs and inputs[-1] is None:
            inputs.pop()
        attrs = {a.name: self.attribute(a, node) for a in node.attribute}
        sequences = [v for v in inputs if isinstance(v, TensorSequence)]
        if sequences and (found.own is not None or node.domain):
            raise UnsupportedError(f"an input is {sequences[0]}; only tensors are supported")
        if found.own is not None:
            try:
                return call(found, node, inputs, attrs, opset)
            except WebDNNError as error:
                if not self.depth:
                    raise
                error.at(label(node))
                raise
        _check_types(node, inputs, opset)
        if not normalised(node.domain) and opset < old.FIRST:
            tensors = [v for v in inputs if not isinstance(v, TensorSequence)]  # all of them
            given, attrs = old.modern(node.op_type, tensors, attrs, opset)
            inputs = [*given]
        positional, keywords = found.positional, found.keywords
        needed = sum(p.default is p.empty for p in positional)
        missing = [p.name for p, i in zip(positional[:needed], inputs) if i is None]
        if len(inputs) < needed or any(name not in found.omissible for name in missing):
            raise ModelError(
                f"{needed} inputs expected, {sum(i is not None for i in inputs)} found"
            )
        if not found.many and len(inputs) > len(positional):
            raise UnsupportedError(
                f"at most {len(positional)} inputs are supported, {len(inputs)} found"
            )
        for name in list(attrs):
            ours = name in _OURS and not node.domain
            if (name not in keywords and not found.anything) or ours:
                if name in _IGNORED:
                    del attrs[name]
                    continue
                raise UnsupportedError(f"attribute {name!r} is not supported")
            only = fixed(node.op_type, name)
            if only is not None and attrs[name] != only:
                raise UnsupportedError(
                    f"{name}={attrs[name]} is not supported; export the model with {name}={only}"
                )
        for name, p in keywords.items():
            if p.default is p.empty and name not in attrs and name not in _OURS:
                raise ModelError(f"attribute {name!r} is missing")
        for name, value in attrs.items():
            check_word(name, value, keywords[name].annotation if name in keywords else None)
        if "opset" in keywords:
            attrs.setdefault("opset", opset)
        if "outputs" in keywords:
            attrs["outputs"] = len(node.output)
        if "declared" in keywords:
            shapes = [self.shapes.get(o) for o in node.output]
            attrs["declared"] = Results(shapes, longest(node.output, self.bounds), node.output[0])
        if "draws" in keywords:
            self.draws.node = label(node)
            attrs["draws"] = self.draws
        out = found.function(*inputs, **attrs)
        if "declared" in keywords and attrs["declared"].believed:
            self.believe(node, attrs["declared"])
            for wrong in () if self.within else attrs["declared"].contradicted:
                self.alarms[wrong] = (
                    f"{label(node)}: {attrs['declared'].believed} of this run give another result "
                    "than the shape that the model declares for it: correct the declaration, or "
                    "remove it"
                )
        return out if isinstance(out, (list, tuple)) else [out]

    def believe(self, node: Any, declared: Results) -> None:
        """Notes that a declaration of the model has settled what only a run knows."""
        shapes = " and ".join(dims_text(s) for s in declared.shapes if s is not None)
        self.notes.append(
            f"{label(node)}: {declared.believed} of a run decide the shape of its result, which is "
            f"taken to be {shapes}, as the model declares it"
        )

    def attribute(self, a: Any, node: Any) -> Any:
        """An attribute as a number, text, tuple or constant."""
        if a.type == onnx.AttributeProto.TENSOR:
            return tensor_value(a.t, self.external, label(node))
        if a.type == onnx.AttributeProto.SPARSE_TENSOR:
            raise UnsupportedError(f"attribute {a.name!r}: sparse tensors are not supported here")
        if a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise UnsupportedError(f"attribute {a.name!r}: graphs are not supported here")
        value = onnx.helper.get_attribute_value(a)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if a.type == onnx.AttributeProto.STRINGS:
            return tuple(text.decode("utf-8", "replace") for text in value)
        return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value

    def controlled(
        self, node: Any, inputs: Sequence[Held], scope: Scope, opsets: Mapping[str, int]
    ) -> Sequence[Held]:
        """The outputs of a node whose attributes are bodies."""
        bodies = {
            a.name: self.body(a.g, scope, opsets)
            for a in node.attribute
            if a.type == onnx.AttributeProto.GRAPH and a.HasField("g")
        }
        attrs = {
            a.name: self.attribute(a, node)
            for a in node.attribute
            if a.type not in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        }
        if node.op_type == "Loop":
            attrs["longest"] = longest(node.output, self.bounds)
        function = control.OPERATORS[node.op_type]
        return function(node, inputs, bodies, attrs, opsets.get("", old.FIRST), self.notes)

    def body(self, graph: Any, scope: Scope, opsets: Mapping[str, int]) -> control.Body:
        """A graph that is an attribute of a node, which may read what is defined around it."""
        wanted = [o.name for o in graph.output]
        given = [i.name for i in graph.input]
        tensors = {t.name: t for t in graph.initializer} | {
            s.values.name: s for s in graph.sparse_initializer
        }

        names: dict[str, Value] = {}

        @cache
        def order() -> list[Any]:
            around = set(scope) - {o for node in graph.node for o in node.output}
            found = ordered(graph.node, {*around, *tensors, *given}, wanted)
            self.check_operators(found, opsets)
            return found

        def compute(values: Sequence[Held], iteration: Value | None) -> list[Held]:
            inner: Scope = ChainMap({}, scope)
            inner.update(zip(given, values))
            needed = {n for node in order() for n in reads(node)} | set(wanted)
            self.constants(tensors.values(), inner, needed)
            bounds, self.bounds = self.bounds, {}  # for values of the model's own graph alone
            self.within += 1
            with self.draws.body(iteration):
                self.run(order(), inner, opsets)
            self.within -= 1
            self.bounds = bounds
            made = [o for node in order() for o in node.output if o]
            names.update((o, v) for o in made if isinstance(v := inner.get(o), Value))
            return [inner[name] for name in wanted]

        producers = {o: node for node in graph.node for o in node.output}
        first = wanted[0] if wanted else ""
        while first in producers and producers[first].op_type == "Identity":
            first = producers[first].input[0]
        made = producers[first].op_type if first in producers else ""
        steady = made == "Constant" or (not made and (first in tensors or first in given[1:2]))

        def around() -> Iterable[Value]:
            return [v for v in scope.values() if isinstance(v, Value)]

        return control.Body(
            len(given), len(wanted), len(graph.node), steady, compute, names, around
        )

    def call(
        self,
        function: Any,
        node: Any,
        scope: Scope,
        opsets: Mapping[str, int],
        defaults: Iterable[Any] = (),
    ) -> Sequence[Held]:
        """A function's body with the node's inputs and attributes."""
        given = {a.name: a for a in (*defaults, *function.attribute_proto, *node.attribute)}
        inner: Scope = dict.fromkeys(function.input)
        inner.update({name: scope[i] if i else None for name, i in zip(function.input, node.input)})
        bodies = [bound(n, given) for n in function.node]
        order = ordered(
            bodies, inner, [o for o, wanted in zip(function.output, node.output) if wanted]
        )
        outside = self.shapes
        inside = zip(function.output, node.output)
        self.shapes = kept_shapes(order, {f: outside[o] for f, o in inside if o in outside})
        try:
            self.run(order, inner, opsets, record=False)
        finally:
            self.shapes = outside
        return [inner.get(o) for o in function.output[: len(node.output)]]


@cache
def _schema(op_type: str, version: int) -> Any:
    """ONNX's own definition of an operator, or None."""
    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None


def _check_types(node: Any, inputs: Sequence[Held], opset: int) -> None:
    """Raises where attributes or inputs have types that ONNX does not give the operator."""
    schema = None if normalised(node.domain) else _schema(node.op_type, opset)
    if schema is None:
        return
    for a in node.attribute:
        defined = schema.attributes.get(a.name)
        if defined is not None and a.type != defined.type.value:
            kind = onnx.AttributeProto.AttributeType.Name(a.type)
            raise ModelError(f"attribute {a.name!r} is {kind}, expected {defined.type.name}")
    for k, value in enumerate(inputs):
        formal = schema.inputs[min(k, len(schema.inputs) - 1)] if schema.inputs else None
        if formal is None:
            continue
        if isinstance(value, TensorSequence):
            if not any("seq(" in t for t in formal.types):
                raise ModelError(f"input {formal.name} is {value}; {node.op_type} takes a tensor")
            continue
        if value is None:
            if formal.option == onnx.defs.OpSchema.FormalParameterOption.Variadic:
                raise ModelError(f"input {k} is omitted; {node.op_type} needs every one")
            continue
        kinds = (t.removeprefix("optional(").removesuffix("))") for t in sorted(formal.types))
        taken = [t[7:].removesuffix(")") for t in kinds if t.startswith("tensor(")]
        if not taken:
            raise ModelError(
                f"input {formal.name} is {type_text(value)}; {node.op_type} takes a sequence"
            )
        dtype = ONNX_NAMES[value.dtype]
        if dtype not in taken:
            raise ModelError(
                f"input {formal.name} is {dtype}; {node.op_type} of opset {opset} takes "
                f"{', '.join(taken)}"
            )


# Attributes that say nothing about the result.
_IGNORED = {"consumed_inputs", "storage_order", "seed"}


def _definition(node: Any, opsets: Mapping[str, int], inputs: Sequence[Held] | None = None) -> Any:
    """ONNX's function body for an operator: a FunctionProto, None, or True if types decide it."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = opsets.get(domain, 0)
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        at = [v for v in schema.function_opset_versions if v <= version]
        raw = schema.get_function_with_opset_version(max(at)) if at else schema.function_body
        return raw if isinstance(raw, onnx.FunctionProto) else onnx.FunctionProto.FromString(raw)
    if not schema.has_context_dependent_function:
        return None
    if inputs is None:
        return True
    types = [
        onnx.helper.make_tensor_type_proto(
            next(code for code, d in ELEMENT_TYPES.items() if d == v.dtype),
            [d if isinstance(d, int) else str(d) for d in v.shape],
        ).SerializeToString()
        if isinstance(v, Value)
        else b""
        for v in inputs
    ]
    at = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    raw = schema.get_context_dependent_function_with_opset_version(
        max(at), node.SerializeToString(), types
    )
    return onnx.FunctionProto.FromString(raw)


__all__ = ["load", "recognises", "register"]
