"""Opsets 1 to 6: what their operators mean, said as opset 7 does.

    >>> from webdnn.graph import placeholder
    >>> x, y = placeholder("x", (2, 3, 4), "f32"), placeholder("y", (3,), "f32")
    >>> modern("Add", [x, y], {"broadcast": 1, "axis": 1}, 6)
    ([x:f32[2,3,4], reshape:f32[3,1]], {})

Until opset 7 operands broadcast only where an attribute says so, along axes that another one names;
before opset 5 and 6 some operands were attributes. That is all that differs for inference: the
attributes that said whether a model is trained, or where a result may lie, say nothing.

Limits: Upsample of opset 1 to 6, which never left the experiments, takes its two scales as Caffe2
wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from ... import ops
from ...errors import ModelError
from ...graph import Value, constant, type_text

FIRST = 7  # the opset that operators are written for
_BROADCAST = {
    "Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor",
}  # fmt: skip
# What says nothing of the result of an inference, beside what newer opsets have.
_SILENT = {"consumed_inputs", "is_test", "output_sequence"}

Inputs = list[Value | None]


def modern(
    name: str, inputs: Inputs, attrs: Mapping[str, Any], opset: int
) -> tuple[Inputs, dict[str, Any]]:
    """Inputs and attributes of a node of an opset before 7, as opset 7 has them."""
    given = {k: a for k, a in attrs.items() if k not in _SILENT}
    if name in _BROADCAST:
        axis = given.pop("axis", None)
        wanted = given.pop("broadcast", 0)
        if len(inputs) == 2 and wanted and axis is not None:
            inputs = [inputs[0], _along(inputs[0], inputs[1], axis)]
    elif name == "Gemm":
        given.pop("broadcast", None)
    elif name == "PRelu" and len(inputs) == 2:
        x, slope = inputs
        if x is not None and slope is not None and slope.rank == 1 and slope.size != 1:
            inputs = [x, _along(x, slope, 1)]
    elif name == "Concat" and opset < 4:
        given.setdefault("axis", 1)
    elif name == "Reshape" and opset < 5 and "shape" in given:
        inputs = [*inputs, constant(np.array(given.pop("shape"), np.int64))]
    elif name == "Cast" and opset < 6 and isinstance(given.get("to"), str):
        if given["to"] not in dict(TensorProto.DataType.items()):
            raise ModelError(f"to={given['to']!r}: the name of an element type expected")
        given["to"] = TensorProto.DataType.Value(given["to"])
    elif name == "Pad" and opset < 2 and "paddings" in given:
        given["pads"] = given.pop("paddings")
    elif name == "Tile" and opset < 6 and len(inputs) == 3:
        inputs = _tile(*inputs)
    elif name == "Split" and opset < 2 and len(inputs) == 2:
        given.setdefault("axis", 0)
    elif name == "Upsample" and "height_scale" in given:
        scales = (1.0, 1.0, given.pop("height_scale"), given.pop("width_scale", 1.0))
        given["scales"] = scales
    elif name == "GlobalLpPool" and "p" in given:
        given["p"] = int(given["p"])
    return inputs, given


def _along(x: Value | None, y: Value | None, axis: int) -> Value | None:
    """y, whose axes are those of x from `axis` on, such that it broadcasts as numpy does."""
    if x is None or y is None:
        return y
    at = axis + x.rank if axis < 0 else axis
    if not 0 <= at <= x.rank - y.rank:
        raise ModelError(f"axis {axis}: {type_text(y)} does not fit {type_text(x)} from there on")
    return ops.reshape(y, (*y.shape, *[1] * (x.rank - at - y.rank)))


def _tile(x: Value | None, tiles: Value | None, axis: Value | None) -> Inputs:
    """Tile of opset 1 repeats one axis: the repeats of all."""
    if x is None or tiles is None or axis is None:
        raise ModelError("Tile of opset 1 needs all its inputs")
    here = ops.equal(constant(np.arange(x.rank)), ops.cast(ops.reshape(axis, (1,)), "i64"))
    many = ops.cast(ops.reshape(tiles, (1,)), "i64")
    return [x, ops.where(here, many, constant(np.ones(1, np.int64)))]
