"""Operators of TensorFlow's graphs, by the functions that do the same.

    >>> from webdnn.graph import placeholder
    >>> node("Mean", {"keep_dims": {"b": True}}, [placeholder("x", (2, 3), "f32"), [1]])
    reduce:f32[2,1]

A node has inputs by position and attributes, which are given as JSON has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import UnsupportedError
from ...graph import Value, evaluate
from .. import arrays
from ..arrays import floats, known_dims, known_int
from .functions import FUNCTIONS, concat, stack
from .images import resized

# Operators of a graph that are one of the functions, by position.
NODES: dict[str, str] = {
    **{n: f"math.{k}" for n, k in {
        "Add": "add", "AddV2": "add", "Sub": "subtract", "Mul": "multiply", "RealDiv": "divide",
        "Div": "divide", "DivNoNan": "divide_no_nan", "FloorDiv": "floordiv",
        "FloorMod": "floormod",
        "Maximum": "maximum", "Minimum": "minimum", "Pow": "pow", "Abs": "abs", "Neg": "negative",
        "Square": "square", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Exp": "exp", "Log": "log",
        "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sin": "sin",
        "Cos": "cos", "Tanh": "tanh", "Erf": "erf", "Equal": "equal", "NotEqual": "not_equal",
        "Greater": "greater", "Less": "less", "GreaterEqual": "greater_equal",
        "LessEqual": "less_equal", "LogicalAnd": "logical_and", "LogicalOr": "logical_or",
        "LogicalNot": "logical_not", "Sigmoid": "sigmoid", "SquaredDifference":
        "squared_difference", "AddN": "add_n", "Reciprocal": "reciprocal", "Log1p": "log1p",
    }.items()},
    "Sum": "math.reduce_sum", "Mean": "math.reduce_mean", "Max": "math.reduce_max",
    "Min": "math.reduce_min", "Prod": "math.reduce_prod", "Any": "math.reduce_any",
    "All": "math.reduce_all", "Relu": "nn.relu", "Relu6": "nn.relu6", "Elu": "nn.elu",
    "Selu": "nn.selu", "Softplus": "nn.softplus", "Softsign": "nn.softsign",
    "LeakyRelu": "nn.leaky_relu", "Softmax": "nn.softmax", "LogSoftmax": "nn.log_softmax",
    "BiasAdd": "nn.bias_add", "MatMul": "linalg.matmul", "BatchMatMulV2": "linalg.matmul",
    "Reshape": "reshape", "Transpose": "transpose", "ExpandDims": "expand_dims",
    "Squeeze": "squeeze", "Tile": "tile", "BroadcastTo": "broadcast_to", "Identity": "identity",
    "StopGradient": "stop_gradient", "Shape": "shape", "Pad": "pad", "PadV2": "pad",
    "GatherV2": "gather", "SelectV2": "where", "Slice": "slice", "StridedSlice": "strided_slice",
    "ClipByValue": "clip_by_value", "Cast": "cast", "ReverseV2": "reverse",
    "DepthToSpace": "nn.depth_to_space", "SpaceToDepth": "nn.space_to_depth",
    "OnesLike": "ones_like", "ZerosLike": "zeros_like", "ArgMax": "math.argmax", "Fill": "fill",
}  # fmt: skip
_TYPES = {1: "float32", 3: "int32", 9: "int64", 10: "bool", 2: "float64", 19: "float16"}


def known(operator: str) -> bool:
    """Whether `node` computes an operator."""
    return operator in NODES or operator in _SPECIAL


def node(operator: str, attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Any:
    """What an operator makes of its inputs: tensors, and constants as such or as lists.

    Raises UnsupportedError for an operator that is not among these.
    """
    args, attrs = list(inputs), {k: _attribute(v) for k, v in attributes.items()}
    special = _SPECIAL.get(operator)
    if special is not None:
        return special(args, attrs)
    if operator not in NODES:
        raise UnsupportedError(f"the operator {operator!r} of TensorFlow's graphs")
    options: dict[str, Any] = {}
    if operator in ("Sum", "Mean", "Max", "Min", "Prod", "Any", "All"):
        options["keepdims"] = bool(attrs.get("keep_dims"))
        args[1:] = [_plain(args[1])]
    elif operator == "MatMul":
        options = {f"transpose_{k}": bool(attrs.get(f"transpose_{k}")) for k in "ab"}
    elif operator == "BatchMatMulV2":
        options = {"transpose_a": bool(attrs.get("adj_x")), "transpose_b": bool(attrs.get("adj_y"))}
    elif operator == "LeakyRelu":
        options["alpha"] = float(attrs.get("alpha", 0.2))
    elif operator == "Cast":
        args.append(_TYPES.get(attrs.get("DstT"), "float32"))  # type: ignore[arg-type]
    elif operator == "Squeeze":
        options["axis"] = attrs.get("squeeze_dims") or None
    elif operator in ("DepthToSpace", "SpaceToDepth"):
        options["block_size"] = int(attrs["block_size"])
    elif operator == "StridedSlice":
        options = {k: int(v or 0) for k, v in attrs.items() if k.endswith("_mask")}
    elif operator in ("Transpose", "ExpandDims", "ReverseV2", "ArgMax", "GatherV2"):
        args[-1] = _plain(args[-1])
    return FUNCTIONS[NODES[operator]](*args, **options)


def _resize(mode: str) -> Callable[[list[Any], Mapping[str, Any]], Any]:
    def resize(args: list[Any], attrs: Mapping[str, Any]) -> Value:
        if not attrs.get("half_pixel_centers"):
            raise UnsupportedError("resizing without half_pixel_centers")
        return resized(floats(args[0]), (1, 2), known_dims(args[1], "a size"), mode)

    return resize


# Operators whose inputs stand in another order than a function's arguments.
_SPECIAL: Mapping[str, Callable[[list[Any], Mapping[str, Any]], Any]] = {
    "Concat": lambda args, attrs: concat(*args[1:], axis=args[0]),
    "ConcatV2": lambda args, attrs: concat(*args[:-1], axis=args[-1]),
    "Pack": lambda args, attrs: stack(*args, axis=int(attrs.get("axis") or 0)),
    "Unpack": lambda args, attrs: arrays.unstack(args[0], None, int(attrs.get("axis") or 0)),
    "Split": lambda args, attrs: arrays.split(
        args[1], int(attrs["num_split"]), known_int(args[0], "an axis")),
    "ResizeBilinear": _resize("bilinear"),
    "ResizeNearestNeighbor": _resize("nearest"),
}  # fmt: skip


def _plain(x: Any) -> Any:
    return evaluate(x).tolist() if isinstance(x, Value) and x.constant else x


def _attribute(given: Any) -> Any:
    """An attribute of a node as JSON has it: {"i": "2"}, {"b": true}, {"list": {"i": [..]}}."""
    if not isinstance(given, Mapping) or not given:
        return None
    kind, content = next(iter(given.items()))
    if kind == "list":
        return [int(i) for i in (content or {}).get("i", [])]
    if kind == "i":
        return int(content)
    if kind == "type":
        names = {"DT_FLOAT": 1, "DT_INT32": 3, "DT_INT64": 9, "DT_BOOL": 10, "DT_HALF": 19}
        return names.get(content, content)
    return content


__all__ = ["NODES", "known", "node"]
