"""A Keras model's configuration: its layers, and which call of each takes which tensors.

    plan = plan_of({"class_name": "Functional", "config": {...}}, version=3)
    plan.inputs                      # [Ref("image", 0, 0)]
    plan.call("conv2d", 0)           # ([Ref("image", 0, 0)], {})

A call of a layer is a *node*; a tensor is (layer, node, output). Three notations name them: Keras 1
and 2 list [layer, node, output, kwargs], tf.keras nests these and puts constants among them, and
Keras 3 has `args` and `kwargs` with marked tensors inside. Sequential models become the same.

A nested model that was built before its first call had a node of its own then, so that its calls
are counted from 1 in some files, and from 0 in others: whether the last index is used tells.

Limits: nothing is executed; a Lambda's code is never decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import ModelError, UnsupportedError
from ...graph import constant
from .old import modern
from .operations import OPERATIONS

Config = Mapping[str, Any]
Node = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Ref:
    """Output `tensor` of call `node` of a layer."""

    layer: str
    node: int
    tensor: int


@dataclass(frozen=True)
class Entry:
    """A layer as the configuration lists it. operation: it is an operation of keras.ops."""

    class_name: str
    name: str
    config: Config
    operation: bool = False

    @property
    def model(self) -> bool:
        """Whether it is a model of layers."""
        return isinstance(self.config.get("layers"), list)


@dataclass
class Plan:
    """A model: `calls` are the nodes of each layer, `inputs` its input layers in order.

    taken: the inputs, outputs: the outputs, in the structures in which the model takes and returns
    them.
    """

    name: str
    layers: dict[str, Entry] = field(default_factory=dict)
    calls: dict[str, list[Node]] = field(default_factory=dict)
    inputs: list[Ref] = field(default_factory=list)
    taken: Any = None
    outputs: Any = None
    version: int = 3

    def call(self, layer: str, node: int) -> Node:
        """The arguments of a call of a layer, references in place of tensors."""
        if layer not in self.layers:
            raise ModelError(f"model {self.name!r} refers to a layer {layer!r} that it lacks")
        nodes = self.calls.get(layer, [])
        if not 0 <= node < len(nodes):
            raise ModelError(
                f"model {self.name!r} refers to call {node} of layer {layer!r}, which "
                + (f"has {len(nodes)} calls" if nodes else "is called nowhere")
            )
        return nodes[node]

    def order(self) -> list[tuple[str, int]]:
        """The calls that the outputs need, (layer, node), in the order in which Keras makes them.

        It counts where a call changes what later ones are given: the deepest first, where the depth
        is the number of calls up to an output, of a layer's calls at least the largest so far.
        Raises ModelError for a call that depends on itself.
        """
        given = {(ref.layer, ref.node) for ref in self.inputs}
        needs: dict[tuple[str, int], list[tuple[str, int]]] = {}
        found: list[tuple[str, int]] = []  # what a call needs goes before it
        finished: set[tuple[str, int]] = set()
        stack = [(ref.layer, ref.node) for ref in reversed(refs(self.outputs))]
        while stack:
            at = stack[-1]
            if at not in needs:
                needs[at] = (
                    [] if at in given else [(r.layer, r.node) for r in refs([*self.call(*at)])]
                )
                waiting = [n for n in needs[at] if n not in finished]
                if any(n in needs for n in waiting):
                    raise ModelError(f"layer {at[0]!r}: its input depends on its own output")
                stack += reversed(waiting)
                continue
            stack.pop()
            if at not in finished:
                finished.add(at)
                found.append(at)
        depths: dict[tuple[str, int], int] = {}
        layers: dict[str, int] = {}
        for at in reversed(found):
            depth = layers[at[0]] = max(depths.setdefault(at, 0), layers.get(at[0], 0))
            depths[at] = depth
            for n in needs[at]:
                depths[n] = max(depth + 1, depths.get(n, 0))
        return sorted((at for at in depths if at not in given), key=lambda at: -depths[at])

    @property
    def output_names(self) -> list[str]:
        """A name for each output: its key where outputs are a dict, else its layer's name."""

        def named(structure: Any, key: str | None) -> Iterator[str]:
            if isinstance(structure, Mapping):
                for k in sorted(structure):
                    yield from named(structure[k], str(k))
            elif isinstance(structure, list):
                for part in structure:
                    yield from named(part, key)
            else:
                yield key or structure.layer

        return list(named(self.outputs, None))

    def arranged(self, inputs: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """The tensors of a call of this model in the order of its inputs."""
        if len(args) == 1 and isinstance(args[0], Mapping) and isinstance(self.taken, Mapping):
            given, wanted = args[0], self.taken
            if set(given) >= set(wanted):
                return [leaf for k in sorted(wanted) for leaf in leaves(given[k])]
        if len(args) == 1 and isinstance(args[0], Mapping):
            names = [ref.layer for ref in self.inputs]
            if set(args[0]) >= set(names):
                return [args[0][n] for n in names]
        return leaves(list(inputs))

    def everything(self) -> Iterator[tuple[Entry, int]]:
        """Every layer, also of nested models and inside of wrappers, and how often it is called."""
        for entry in self.layers.values():
            times = max(1, len(self.calls.get(entry.name, ())))
            yield entry, times
            for inner, each in self._inside(entry):
                yield inner, times * each

    def _inside(self, entry: Entry) -> Iterator[tuple[Entry, int]]:
        if entry.model:
            nested = {"class_name": entry.class_name, "config": entry.config}
            yield from plan_of(nested, self.version).everything()
            return
        for key in ("layer", "backward_layer", "cell", "cells"):
            inner = entry.config.get(key)
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, Mapping) and isinstance(one.get("config"), (dict, list)):
                    inside = _entry(one, f"{entry.name}/{key}", self.version)
                    plan = Plan("", {inside.name: inside}, version=self.version)
                    both = 2 if entry.class_name == "Bidirectional" and key == "layer" else 1
                    yield from ((e, both * times) for e, times in plan.everything())


def plan_of(model: Config, version: int) -> Plan:
    """The plan of a model: {"class_name": ..., "config": ...}.

    Raises UnsupportedError for a model whose configuration lists no layers.
    """
    config = _plain(model.get("config"))
    class_name = str(model.get("class_name") or "Model")
    if isinstance(config, list):
        config = {"layers": config}
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        raise UnsupportedError(subclassed(class_name))
    try:
        if "input_layers" in config:
            return _functional(config, version)
        return _sequential(class_name, config, version)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"the configuration of {class_name} {config.get('name', '')!r} is not as Keras writes "
            f"it ({type(error).__name__}: {error})"
        ) from error


def subclassed(class_name: str) -> str:
    """What to do with a model that is Python code."""
    return (
        f"the model is of class {class_name!r}, whose configuration lists no layers: a subclassed "
        "model is Python code, of which the file keeps only the weights. Rebuild it as a "
        "functional model where it can be called, and save that:\n"
        "  x = keras.Input(shape)\n"
        "  keras.Model(x, model.call(x)).save('model.keras')\n"
        "or export it to ONNX: model.export('model.onnx', format='onnx')"
    )


def _functional(config: Config, version: int) -> Plan:
    plan = Plan(str(config.get("name") or ""), version=version)
    entries = [_entry(layer, f"layer_{k}", version) for k, layer in enumerate(config["layers"])]
    for entry in entries:
        if entry.name in plan.layers:
            raise ModelError(f"model {plan.name!r} has two layers named {entry.name!r}")
        plan.layers[entry.name] = entry
    for entry, layer in zip(entries, config["layers"]):
        nodes = [n for n in layer.get("inbound_nodes") or [] if n]
        plan.calls[entry.name] = [_node(n, plan.layers) for n in nodes]
    plan.taken = _tensors(config["input_layers"], plan.layers)
    plan.outputs = _tensors(config["output_layers"], plan.layers)
    _count_from_zero(plan)
    plan.inputs = [r for r in leaves(plan.taken) if isinstance(r, Ref)]
    lost = [r for r in [*leaves(plan.taken), *leaves(plan.outputs)] if not isinstance(r, Ref)]
    if lost or not leaves(plan.outputs):
        raise ModelError(f"model {plan.name!r} has inputs or outputs that are no tensors: {lost}")
    for ref in plan.inputs:
        if ref.layer not in plan.layers:
            raise ModelError(f"model {plan.name!r} lacks its input layer {ref.layer!r}")
    plan.outputs = _alone(plan.outputs)
    return plan


def _alone(structure: Any) -> Any:
    return structure[0] if isinstance(structure, list) and len(structure) == 1 else structure


def _count_from_zero(plan: Plan) -> None:
    """Where the calls of a layer are counted from 1, count them from 0."""
    used: dict[str, int] = {}
    everything = [list(plan.calls.values()), plan.taken, plan.outputs]
    for ref in leaves(everything):
        if isinstance(ref, Ref):
            used[ref.layer] = max(used.get(ref.layer, 0), ref.node)
    shifted = {n for n, k in used.items() if plan.calls.get(n) and k >= len(plan.calls[n])}
    if not shifted:
        return

    def moved(leaf: Any) -> Any:
        if isinstance(leaf, Ref) and leaf.layer in shifted:
            return Ref(leaf.layer, leaf.node - 1, leaf.tensor)
        return leaf

    plan.calls = {n: [changed(c, moved) for c in calls] for n, calls in plan.calls.items()}
    plan.taken, plan.outputs = changed(plan.taken, moved), changed(plan.outputs, moved)


def _sequential(class_name: str, config: Config, version: int) -> Plan:
    plan = Plan(str(config.get("name") or class_name.lower()), version=version)
    listed = [_entry(layer, f"layer_{k}", version) for k, layer in enumerate(config["layers"])]
    if not listed:
        raise ModelError(f"model {plan.name!r} has no layers")
    first = listed[0]
    if first.class_name == "Merge" and "branches" in first.config:  # Keras 1
        heads = [
            _entry(b, f"{first.name}_{k}", version) for k, b in enumerate(first.config["branches"])
        ]
    else:
        heads = [first]
    tails: list[Ref] = []
    for head in heads:
        if head.class_name == "InputLayer":
            entry = head
        else:
            entry = Entry("InputLayer", f"{head.name}_input", _input_of(head, config, version))
        plan.layers[entry.name] = entry
        plan.inputs.append(Ref(entry.name, 0, 0))
        tails.append(plan.inputs[-1])
        if head is not first:
            plan.layers[head.name], plan.calls[head.name] = head, [([tails[-1]], {})]
            tails[-1] = Ref(head.name, 0, 0)
    last: Any = tails[0] if len(tails) == 1 else tails
    for entry in listed[1:] if first.class_name == "InputLayer" else listed:
        while entry.name in plan.layers and plan.layers[entry.name] != entry:
            entry = Entry(entry.class_name, entry.name + "_", entry.config)
        calls = plan.calls.setdefault(entry.name, [])
        plan.layers[entry.name] = entry
        calls.append(([last], {}))
        last = Ref(entry.name, len(calls) - 1, 0)
    plan.taken, plan.outputs = plan.inputs, last
    return plan


def _input_of(first: Entry, config: Config, version: int) -> Config:
    """The configuration of the input layer that a Sequential model leaves out."""
    dtype = first.config.get("input_dtype") or first.config.get("dtype") or "float32"
    for key in ("batch_shape", "batch_input_shape", "input_shape"):
        shape = first.config.get(key)
        if isinstance(shape, list):
            return {
                "batch_shape": [None, *shape] if key == "input_shape" else shape,
                "dtype": dtype,
            }
    if first.model:
        plan = plan_of({"class_name": first.class_name, "config": first.config}, version)
        if len(plan.inputs) == 1:
            return plan.layers[plan.inputs[0].layer].config
    inner = first.config.get("layer")  # a wrapper's
    shape = config.get("build_input_shape")
    if shape is None and isinstance(inner, Mapping) and isinstance(inner.get("config"), Mapping):
        shape = inner["config"].get("batch_input_shape")
    return {"batch_shape": shape, "dtype": dtype}


def _entry(layer: Config, name: str, version: int) -> Entry:
    """A layer's row of a configuration."""
    config = layer["config"]
    if not isinstance(config, (Mapping, list)):
        raise ModelError(f"layer {layer.get('name') or name!r} has no configuration")
    if isinstance(config, list):  # a Sequential model of Keras 1 and 2
        config = {"layers": config}
    class_name = str(layer["class_name"]).rpartition(">")[2]  # tf.keras: package>class
    name = str(layer.get("name") or config.get("name") or name)
    if version == 1:
        class_name, config = modern(class_name, config)
    module = layer.get("module")
    operation = str(module or "").startswith(("keras.src.ops", "keras.ops"))
    if not module and version == 3 and not config.keys() & {"trainable", "layers"}:
        operation = class_name in OPERATIONS  # an .h5 of Keras 3 does not say it
    return Entry(class_name, name, config, operation)


# ---- the notations -------------------------------------------------------------------------------


def _node(node: Any, layers: Mapping[str, Entry]) -> Node:
    """The arguments of a call, in any of the three notations."""
    if isinstance(node, Mapping) and "args" in node:
        args, kwargs = _marked(node["args"]), _marked(node.get("kwargs") or {})
        return list(args), dict(kwargs)
    kwargs = {}

    def read(data: Any) -> Any:
        if _names_tensor(data):
            if len(data) > 3 and isinstance(data[3], Mapping):
                kwargs.update(data[3])
            return data[2] if data[0] == "_CONSTANT_VALUE" else Ref(data[0], data[1], data[2])
        if isinstance(data, list):
            return [read(d) for d in data]
        if isinstance(data, Mapping):
            return {k: read(v) for k, v in data.items()}
        return data

    found = read(node)
    args = found if isinstance(found, list) and len(found) == 1 else [found]
    return args, {k: _tensors(v, layers) for k, v in kwargs.items()}


def _names_tensor(data: Any) -> bool:
    return (
        isinstance(data, list)
        and len(data) in (3, 4)
        and isinstance(data[0], str)
        and type(data[1]) is int
        and (type(data[2]) is int or data[0] == "_CONSTANT_VALUE")
    )


def _tensors(data: Any, layers: Mapping[str, Entry]) -> Any:
    """A structure with references in place of [layer, node, output] of layers that exist."""
    if _names_tensor(data) and data[0] in layers:
        return Ref(data[0], data[1], data[2])
    if _names_tensor(data) and data[0] == "_CONSTANT_VALUE":
        return data[2]
    if isinstance(data, list):
        return [_tensors(d, layers) for d in data]
    if isinstance(data, Mapping):
        if set(data) == {"start", "stop", "step"}:
            return slice(*(_tensors(data[k], layers) for k in ("start", "stop", "step")))
        return {k: _tensors(v, layers) for k, v in data.items()}
    return data


def _marked(data: Any) -> Any:
    """Keras 3's arguments: objects that JSON lacks are marked by their class."""
    if isinstance(data, list):
        return [_marked(d) for d in data]
    if not isinstance(data, Mapping):
        return data
    config: Any = data.get("config")
    match data.get("class_name"):
        case "__keras_tensor__":
            layer, node, tensor = config["keras_history"]
            return Ref(str(layer), int(node), int(tensor))
        case "__tensor__" | "__numpy__":
            dtype = str(config.get("dtype") or "float32")
            plain = "float32" if dtype in ("bfloat16", "float64") else dtype
            return constant(np.array(config["value"], plain))
        case "__slice__":
            return slice(*(_marked(config[k]) for k in ("start", "stop", "step")))
        case "__ellipsis__":
            return Ellipsis
        case "__bytes__":
            return str(config["value"]).encode()
        case None:
            return {k: _marked(v) for k, v in data.items()}
    return data


def _plain(data: Any) -> Any:
    """tf.keras marks tuples and shapes: they become lists."""
    if isinstance(data, Mapping):
        if data.get("class_name") in ("__tuple__", "TensorShape") and "items" in data:
            return [_plain(d) for d in data["items"]]
        if data.get("class_name") == "__ellipsis__":
            return Ellipsis if "config" not in data else data
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(d) for d in data]
    return data


def refs(structure: Any) -> list[Ref]:
    """The references to tensors in a structure."""
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Ref)]


def leaves(structure: Any) -> list[Any]:
    """The leaves of a structure; those of a dict in the order of its keys, as Keras has them."""
    if isinstance(structure, Mapping):
        return [leaf for k in sorted(structure) for leaf in leaves(structure[k])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in leaves(part)]
    return [structure]


def changed(structure: Any, change: Callable[[Any], Any]) -> Any:
    """The structure with each leaf changed."""
    if isinstance(structure, Mapping):
        return {k: changed(v, change) for k, v in structure.items()}
    if isinstance(structure, tuple):
        return tuple(changed(v, change) for v in structure)
    if isinstance(structure, list):
        return [changed(v, change) for v in structure]
    return change(structure)


__all__ = ["Config", "Entry", "Plan", "Ref", "changed", "leaves", "plan_of", "refs", "subclassed"]
