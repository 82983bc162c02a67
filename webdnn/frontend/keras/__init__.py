"""Keras models of every generation: the file's layers, walked into a graph.

    imported = load("model.keras", {"batch": 1})
    imported.graph, imported.notes

A model is `.keras` (Keras 3, and tf.keras from 2.12 on), a whole-model `.h5` or `.hdf5` (Keras 1,
2, tf.keras, Keras 3), a TensorFlow.js layers model (`model.json` with its shards beside it), an
architecture in JSON with a file of weights, or a `keras.Model` in memory. Configurations and arrays
are read; Keras itself is neither needed nor imported. `files` opens what was saved,
`config` says which layer is called with what, `weights` finds a layer's weights, and
`layers` says what each layer computes. A layer of one's own is registered:

    @webdnn.keras.register("Scale")
    def scale(layer, inputs):
        (x,) = inputs
        return ops.mul(x, layer.weight(0, (x.shape[-1],)))

Limits: graphs of layers (Sequential and functional models, nested in any way) as at inference. A
subclassed model is Python code, of which a file keeps nothing that could be read.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import limits, ops
from ...errors import ModelError, UnsupportedError, WebDNNError
from ...graph import Graph, Value
from ..damaged import NO_DAMAGE, damaged
from ..dims import Declared, Given, settle_inputs
from ..finish import Imported, finished
from ..plugins import Own, add, as_value
from ..relations import solved
from .config import Entry, Plan, Ref, changed, leaves, plan_of
from .files import Saved, is_keras, read
from .layers import LAYERS, OPERATIONS, PASS_MASK, REFUSED
from .model import Call, Layer, Nested, Source, snippet
from .recorded import unknown as unknown_function

Handler = Callable[..., Nested]

_REGISTERED: dict[str, Own] = {}
# What comes of a configuration in which things are not what they should be.
_ODD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
_PUBLIC = {
    "float32": "f32", "float16": "f16", "float64": "f64", "bfloat16": "f32", "bool": "bool",
    "int8": "i8", "uint8": "u8", "int16": "i16", "uint16": "u16",
    "int32": "i32", "uint32": "u32", "int64": "i64", "uint64": "u64",
}  # fmt: skip


def recognises(model: Any, head: bytes) -> bool:
    """Whether this is a Keras model, or a part of one."""
    return is_keras(model, head)


def register(class_name: str, function: Handler | None = None, *, replace: bool = False) -> Any:
    """Say what a layer of one's own computes: `register("Scale", fn)`, or as a decorator.

        @register("Scale")
        def scale(layer, inputs): ...

    function: (layer, inputs) or (layer, inputs, call) -> Value or list of Values, written with
    `webdnn.ops`; `model` describes what a layer offers. A registered function goes before the
    importer's own. `class_name` may also be the name of one layer: so are Lambda layers told apart.
    replace: whether it may replace a function registered before, which is an error otherwise.
    """
    if function is None:
        return lambda fn: register(class_name, fn, replace=replace)
    taken = len(inspect.signature(function).parameters)
    if taken not in (2, 3):
        raise WebDNNError(
            f"register({class_name!r}): the function must take (layer, inputs) or "
            f"(layer, inputs, call), but takes {taken} parameters"
        )
    add(_REGISTERED, class_name, Own(function), f"layer {class_name}", replace)
    return function


@solved
def load(
    model: Any,
    dims: Given | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
) -> Imported:
    """Import a Keras model: a path, the file's bytes, or a model in memory.

    dims: the sizes of the open dimensions; see `frontend.dims`. weights: the file of the weights
    for an architecture in JSON: an h5 of `save_weights`, or `.weights.h5`.

    Raises ModelError for a damaged or incomplete model, UnsupportedError for layers that are not
    known (all are listed), DimensionError for an open dimension that is not given.
    """
    saved = read(model, weights)
    try:
        plan = plan_of(saved.config, saved.version)
        called = list(plan.everything())
        limits.check_calls(sum(times for _, times in called), len(called), "layers")
        known = [entry for entry, _ in called]
        _check_known(known)
        declared = [_declared(plan.layers[ref.layer]) for ref in plan.inputs]
        names = _unique(plan.output_names)
    except (*_ODD, RecursionError) as error:
        raise ModelError(
            "the model's configuration is not as Keras writes it "
            f"({type(error).__name__}: {str(error)[:200]})"
        ) from error
    notes = list(saved.notes)
    settled = settle_inputs(declared, dims, notes)
    walker = _Walker(saved)
    given = [
        Tensor(ops.cast(v, "f32") if v.dtype in ("f16", "f64") else v)
        for v in settled.inputs.values()
    ]
    found = walker.run(plan, saved.source, given, "")
    outputs = {name: t.value for name, t in zip(names, leaves(found), strict=True)}
    graph = Graph(
        settled.given,
        outputs,
        walker.names | settled.inputs,
        settled.symbols,
        plan.name or "model",
        states=walker.states,
    )
    contents = [e.class_name for e in known if e.class_name != "InputLayer"]
    return finished(graph, notes, contents, saved.sizes, settled.batch, walker.labels)


@dataclass
class Tensor:
    """A value with the mask that travels with it, until a layer takes it off."""

    value: Value
    mask: Value | None = None


@dataclass
class _Walker:
    """Builds the layers of a model, nested models included, in the order in which Keras does.

    names: the first value of each layer by the layer's name, below `outer/` in a nested model.
    labels: these layers by the same names, as errors call them.
    """

    saved: Saved
    names: dict[str, Value] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    states: dict[str, tuple[Value, Value]] = field(default_factory=dict)

    def run(self, plan: Plan, source: Source, given: Sequence[Tensor], prefix: str) -> Nested:
        """The outputs of a model, in its own structure, for tensors given to its inputs."""
        if len(given) != len(plan.inputs):
            raise ModelError(
                f"model {prefix + plan.name!r} has {len(plan.inputs)} inputs "
                f"({', '.join(i.layer for i in plan.inputs)}), but is called with {len(given)}"
            )
        entries = list(plan.layers.values())
        sources = dict(zip(plan.layers, source.layers(entries), strict=True))
        done: dict[tuple[str, int], list[Tensor]] = {
            (ref.layer, ref.node): [t] for ref, t in zip(plan.inputs, given, strict=True)
        }
        for at in plan.order():
            args, kwargs = plan.call(*at)
            entry = plan.layers[at[0]]
            layer = Layer(
                entry.class_name, prefix + entry.name, entry.config, self.saved.version,
                sources[at[0]], self.build, self.states,
            )  # fmt: skip
            positional, keywords = _filled(args, done), _filled(kwargs, done)
            done[at] = self._called(layer, positional, keywords, entry)
            for k, t in enumerate(done[at]):
                name = layer.name + (f":{at[1]}" if at[1] else "") + (f".{k}" if k else "")
                self.names.setdefault(name, t.value)
                self.labels.setdefault(name, f"layer {layer.name!r} ({layer.class_name})")
        return _filled(plan.outputs, done)

    def _called(
        self, layer: Layer, args: Sequence[Nested], kwargs: dict[str, Nested], entry: Entry
    ) -> list[Tensor]:
        if not args:  # the input may be given by name
            names = [k for k in ("inputs", "sequences", "x") if k in kwargs]
            args, kwargs = (
                [kwargs[k] for k in names],
                {k: v for k, v in kwargs.items() if k not in names},
            )
        spread = _spread(args)
        masks = [a.mask if isinstance(a, Tensor) else None for a in spread]
        named = {k: t.mask for k, t in kwargs.items() if isinstance(t, Tensor) and t.mask}
        call = Call(_values(kwargs), _values(list(args)), masks, named)
        found = self.build(layer, _values(spread), call, operation=entry.operation)
        given = call.output_mask
        flat = list(leaves(found))
        each = given if isinstance(given, list) else [given] * len(flat)
        out = [Tensor(_value(v, layer), m) for v, m in zip(flat, [*each, *[None] * len(flat)])]
        tensors = [a for a in (*spread, *kwargs.values()) if isinstance(a, Tensor)]
        for k, made in enumerate(out):  # Dropout, say, gives the tensor itself
            same = [t for t in tensors if t.value is made.value and t.mask is made.mask]
            out[k] = next(iter(same), made)
        for one, mask in zip(spread, call.masks):
            if isinstance(one, Tensor):
                one.mask = mask
        for name, one in kwargs.items():
            if isinstance(one, Tensor):
                one.mask = call.named_masks.get(name)
        return out

    def build(
        self, layer: Layer, inputs: Sequence[Nested], call: Call, operation: bool = False
    ) -> Nested:
        """What a layer or a nested model computes; `call.output_mask` is set."""
        if "layers" in layer.config and layer.class_name not in LAYERS:
            plan = plan_of({"class_name": layer.class_name, "config": layer.config}, layer.version)
            masks = [*call.masks, *[None] * len(inputs)]
            given = [Tensor(v, m) for v, m in zip(plan.arranged(inputs, call.args), masks)]
            found = self.run(plan, layer.source, given, layer.name + "/")
            flat = list(leaves(found))
            call.masks = [t.mask for t in given]
            call.output_mask = [t.mask for t in flat]
            return _values(found)
        handler = _handler(layer.class_name, layer.name.rpartition("/")[2], operation)
        if handler is None:
            raise _unknown([(layer.name, layer.class_name, operation)])
        if layer.class_name in PASS_MASK and not operation:
            call.output_mask = call.mask
        if isinstance(handler, Own):
            return _of_user(handler, layer, inputs, call)
        try:
            return handler(layer, inputs, call)
        except WebDNNError as error:
            if layer.name in str(error):
                raise
            error.at(f"layer {layer.name!r} ({layer.class_name})")
            raise
        except KeyError as error:
            raise layer.error(f"its configuration lacks {error}") from error
        except ValueError as error:
            raise layer.error(f"cannot be built: {str(error)[:300]}") from error
        except NO_DAMAGE:
            raise
        except Exception as error:
            where = f"layer {layer.name!r} ({layer.class_name}): its configuration is"
            raise damaged(where, error) from error


def _of_user(own: Own, layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """What a registered function makes of a layer; whatever it raises is the user's to mend."""
    three = len(inspect.signature(own.function).parameters) == 3
    try:
        found = own(layer, inputs, call) if three else own(layer, inputs)
    except WebDNNError as error:
        where = "" if layer.name in str(error) else f"layer {layer.name!r} ({layer.class_name}): "
        error.say(f"{where}{error}{own.where(error)}")
        raise
    except KeyError as error:
        raise layer.error(f"its configuration lacks {error}{own.where(error)}") from error
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise layer.error(f"{kind}{error}{own.where(error)}") from error
    return changed(found, lambda leaf: _value(leaf, layer, str(own)))


def _handler(class_name: str, name: str, operation: bool) -> Handler | Own | None:
    if operation:
        return _REGISTERED.get(class_name) or OPERATIONS.get(class_name)
    return _REGISTERED.get(name) or _REGISTERED.get(class_name) or LAYERS.get(class_name)


def _check_known(entries: Sequence[Entry]) -> None:
    """All layers that are not known, at once; so are functions of TensorFlow that became layers."""
    unknown = []
    for e in entries:
        if e.model or e.class_name == "InputLayer":
            continue
        handler = _handler(e.class_name, e.name, e.operation)
        if handler is None:
            unknown.append((e.name, e.class_name, e.operation))
        elif not isinstance(handler, Own) and (name := unknown_function(e.class_name, e.config)):
            unknown.append((e.name, f"TensorFlow's {name}", e.operation))
    if unknown:
        raise _unknown(unknown)


def _unknown(layers: Sequence[tuple[str, str, bool]]) -> UnsupportedError:
    found: dict[str, list[str]] = {}
    for name, cls, operation in dict.fromkeys(layers):
        why = "" if operation or cls not in REFUSED else f" ({REFUSED[cls]})"
        found.setdefault(f"{'keras.ops ' if operation else ''}{cls}{why}", []).append(repr(name))
    lines = [
        f"  {cls}: {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if names[4:] else "")
        for cls, names in found.items()
    ]
    name, cls, _ = layers[0]
    # Lambdas and functions are told apart by the names of their layers.
    lines.append(snippet(name if cls == "Lambda" or " " in cls else cls))
    return UnsupportedError("the model has layers that WebDNN does not know:\n" + "\n".join(lines))


def _declared(entry: Entry) -> Declared:
    """The signature of an input layer."""
    config = entry.config
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None and config.get("shape") is not None:
        shape = [None, *config["shape"]]
    if not isinstance(shape, (list, tuple)):
        raise ModelError(
            f"input {entry.name!r} has no shape: the model was saved before it knew its input's. "
            "Give the first layer an input_shape (or begin with an Input), and save it again"
        )
    if config.get("sparse") or config.get("ragged"):
        raise UnsupportedError(
            f"input {entry.name!r} is sparse or ragged: only dense inputs are taken"
        )
    dtype = config.get("dtype") or config.get("input_dtype") or "float32"
    if isinstance(dtype, Mapping):
        dtype = str((dtype.get("config") or {}).get("name") or "float32").removeprefix("mixed_")
    if dtype not in _PUBLIC:
        raise UnsupportedError(
            f"input {entry.name!r} is of dtype {dtype!r}: expected one of {', '.join(_PUBLIC)}. "
            "Turn text into numbers in the page, and let the model begin behind that"
        )
    axes = [None if d is None else int(d) for d in shape]
    first = ["batch" if axes[0] is None else axes[0]] if axes else []
    return Declared(entry.name, _PUBLIC[dtype], (*first, *axes[1:]))


# ---- structures of tensors -----------------------------------------------------------------------


def _filled(nested: Nested, done: Mapping[tuple[str, int], Sequence[Tensor]]) -> Nested:
    """The structure with tensors in place of references to them."""

    def fill(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        found = done[leaf.layer, leaf.node]
        if leaf.tensor >= len(found):
            raise ModelError(
                f"output {leaf.tensor} of layer {leaf.layer!r} is used, but it has {len(found)}"
            )
        return found[leaf.tensor]

    return changed(nested, fill)


def _values(nested: Nested) -> Nested:
    return changed(nested, lambda leaf: leaf.value if isinstance(leaf, Tensor) else leaf)


def _spread(args: Sequence[Nested]) -> list[Nested]:
    """The positional arguments, a single list or dict of them spread out."""
    if len(args) == 1 and isinstance(args[0], Mapping):
        return [args[0][k] for k in sorted(args[0])]
    if len(args) == 1 and isinstance(args[0], (list, tuple)):
        return list(args[0])
    return list(args)


def _value(found: Any, layer: Layer, function: str = "its function") -> Value:
    try:
        return as_value(found)
    except TypeError as error:
        raise layer.error(f"{function} returned {error}") from None


def _unique(names: Sequence[str]) -> list[str]:
    """The names with _1, _2, ... behind those that were there before."""
    out: list[str] = []
    for name in names:
        k, new = 0, name
        while new in out:
            k += 1
            new = f"{name}_{k}"
        out.append(new)
    return out


__all__ = ["load", "recognises", "register"]
