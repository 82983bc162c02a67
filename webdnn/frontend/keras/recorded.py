"""Calls of TensorFlow's functions in models of tf.keras, each of which became a layer.

    y = tf.nn.relu(x) + 1.0        # TFOpLambda with function nn.relu, and with math.add
    z = tf.concat([x, y], -1)      # TFOpLambda with function concat
    w = z[:, :, ::2]               # SlicingOpLambda
    TensorFlowOpLayer              # TF 2.0 to 2.3: a node of TensorFlow's graph, with constants

What is called is in `frontend.tensorflow`; here are the layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import ops
from ...graph import Value
from ..arrays import value
from ..tensorflow.functions import function_of, getitem
from ..tensorflow.nodes import known, node
from .model import Call, Layer, Nested, snippet
from .operations import built

Function = Callable[[Layer, Sequence[Nested], Call], Nested]

_IGNORED = ("validate_indices", "data_format")  # arguments that change nothing here


def unknown(class_name: str, config: Mapping[str, Any]) -> str:
    """The function of TensorFlow that a layer calls, if it is not known; else nothing."""
    if class_name == "TFOpLambda":
        name = str(config.get("function") or config.get("symbol") or "")
        return "" if function_of(name) is not None else name
    given = config.get("node_def")
    if class_name == "TensorFlowOpLayer" and isinstance(given, (str, Mapping)):
        name = str((json.loads(given) if isinstance(given, str) else given).get("op"))
        return "" if known(name) else name
    return ""


def TFOpLambda(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    name = str(layer.config.get("function") or layer.config.get("symbol") or "")
    fn = function_of(name)
    if fn is None:
        raise layer.lacks(
            f"it calls TensorFlow's function {name!r}, which WebDNN does not know.\n"
            f"{snippet(layer.name)}"
        )
    return built(fn, _IGNORED)(replace(layer, config={}), inputs, call)


def SlicingOpLambda(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    given = dict(call)
    spec = given.get("slice_spec", call.args[1] if len(call.args) > 1 else None)
    return getitem(call.args[0] if call.args else given.get("tensor"), spec)


def ClassMethod(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """A method of a tensor that tf.keras recorded: get_shape, set_shape."""
    name = str(layer.config.get("function") or "")
    if name.endswith(("set_shape",)):
        return inputs[0]
    if name.endswith(("get_shape", "shape")):
        return ops.ints(list(value(inputs[0]).shape), "i32")
    raise layer.lacks(f"the method {name!r} of a tensor")


def TensorFlowOpLayer(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """A node of a graph: its operator, its attributes, and its inputs that are constant."""
    given = layer.config.get("node_def")
    if not isinstance(given, (str, Mapping)):
        raise layer.error("it has no node_def")
    node_def = json.loads(given) if isinstance(given, str) else given
    constants = {int(k): v for k, v in (layer.config.get("constants") or {}).items()}
    tensors = [x for x in inputs if isinstance(x, Value)]
    args: list[Any] = []
    while tensors or len(args) in constants:
        k = len(args)
        args.append(value(np.asarray(constants[k])) if k in constants else tensors.pop(0))
    found: Nested = node(str(node_def.get("op")), node_def.get("attr") or {}, args)
    return found


LAYERS: dict[str, Function] = {
    "ClassMethod": ClassMethod,
    "InstanceMethod": ClassMethod,
    "InstanceProperty": ClassMethod,
    "SlicingOpLambda": SlicingOpLambda,
    "TFOpLambda": TFOpLambda,
    "TensorFlowOpLayer": TensorFlowOpLayer,
}

__all__ = ["LAYERS", "unknown"]
