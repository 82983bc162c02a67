"""TensorFlow's functions in models of tf.keras, where each call of one became a layer.

    y = tf.nn.relu(x) + 1.0        # TFOpLambda with function nn.relu, and with math.add
    z = tf.concat([x, y], -1)      # TFOpLambda with function concat
    w = z[:, :, ::2]               # SlicingOpLambda
    TensorFlowOpLayer              # TF 2.0 to 2.3: a node of TensorFlow's graph, with constants

Each function takes its arguments by TensorFlow's names. `FUNCTIONS` names them as files do, without
"tf."; `NODES` are operators of TensorFlow's graphs by the same functions. Functions that TensorFlow
has under several names stand once, `_SAME` has the others.

Limits: functions that draw random numbers, and those that take Python functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedError
from ...graph import Value, as_dim, constant, evaluate
from . import numpy as kn
from . import operations as ko
from .activations import FUNCTIONS as ACTIVATIONS
from .elementwise import (
    ELEMENTWISE,
    Tensor,
    axes,
    cast,
    dims,
    dtype_of,
    floats,
    number,
    promoted,
    value,
)
from .images import one_hot, resized
from .model import Call, Layer, Nested
from .numpy import SHAPED

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- functions with TensorFlow's arguments -------------------------------------------------------


def _unary(name: str) -> Callable[..., Any]:
    fn = ELEMENTWISE[name]
    return lambda x: fn(x)


def _pair(name: str) -> Callable[..., Any]:
    fn = ELEMENTWISE[name]
    return lambda x, y: fn(x, y)


def _reduce(name: str) -> Callable[..., Any]:
    fn = SHAPED[name]
    return lambda input_tensor, axis=None, keepdims=False: fn(input_tensor, axis, keepdims)


def _features(name: str) -> Callable[..., Any]:
    fn = ACTIVATIONS[name]
    return lambda features: fn(floats(features))


def _listed(values: tuple[Any, ...]) -> list[Any]:
    """Tensors given as a list, or one by one."""
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        return list(values[0])
    return list(values)


def concat(*values: Tensor, axis: Any) -> Value:
    return kn.concatenate(_listed(values), axis)


def stack(*values: Tensor, axis: int = 0) -> Value:
    return kn.stack(_listed(values), axis)


def add_n(*inputs: Tensor) -> Value:
    total, *rest = promoted(*_listed(inputs))
    for x in rest:
        total = ops.add(total, x)
    return total


def einsum(equation: str, *inputs: Tensor) -> Value:
    return ops.einsum(equation, *promoted(*_listed(inputs)))


def matmul(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    left, right = (floats(v) for v in promoted(a, b))
    left = kn.swapaxes(left, -1, -2) if transpose_a else left
    return ops.matmul(left, kn.swapaxes(right, -1, -2) if transpose_b else right)


def gather(params: Tensor, indices: Tensor, axis: Any = None, batch_dims: int = 0) -> Value:
    if batch_dims:
        if axis not in (None, batch_dims):
            raise UnsupportedError(f"gather with batch_dims={batch_dims} along axis {axis}")
        at = ops.cast(value(indices), "i64")
        return ops.gather_nd(value(params), ops.unsqueeze(at, [at.rank]), batch_dims)
    at_ = 0 if axis is None else int(number(axis, "an axis"))
    return ops.gather(value(params), ops.cast(value(indices), "i64"), at_)


def split(value_: Tensor, num_or_size_splits: Any, axis: Any = 0) -> list[Value]:
    x = value(value_)
    at = axes(axis, x.rank)[0]
    if isinstance(num_or_size_splits, (list, tuple, Value)):
        sizes = dims(num_or_size_splits)
        known = [d for d in sizes if not (isinstance(d, int) and d < 0)]
        rest = as_dim(x.shape[at] - sum(known, 0))
        return ops.split(x, [rest if isinstance(d, int) and d < 0 else d for d in sizes], at)
    return kn.split(x, num_or_size_splits, at)


def resize(
    layer: Layer,
    images: Tensor,
    size: Any,
    method: Any = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Value:
    if preserve_aspect_ratio:
        raise UnsupportedError("resize with preserve_aspect_ratio")
    names = {0: "bilinear", 1: "nearest", 2: "bicubic"}
    return resized(
        layer, floats(images), (1, 2), dims(size), str(names.get(method, method)), antialias
    )


def pad(tensor: Tensor, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Value:
    return kn.pad(tensor, constant_values, pad_width=paddings, mode=mode.lower())


def strided_slice(
    input_: Tensor,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    keys: list[Any] = []
    starts, ends = dims(begin), dims(end)
    steps = dims(strides) if strides is not None else [1] * len(starts)
    for k, (b, e, s) in enumerate(zip(starts, ends, steps)):
        bit = 1 << k
        if ellipsis_mask & bit:
            keys.append(Ellipsis)
        elif new_axis_mask & bit:
            keys.append(None)
        elif shrink_axis_mask & bit:
            keys.append(b)
        else:
            first, last = None if begin_mask & bit else b, None if end_mask & bit else e
            keys.append(slice(first, last, s))
    return kn.get_item(input_, tuple(keys))


def bias_add(value_: Tensor, bias: Tensor, data_format: Any = None) -> Value:
    x, b = promoted(value_, bias)
    if str(data_format or "NHWC").startswith("NC"):
        b = ops.reshape(b, (b.shape[0], *[1] * (x.rank - 2)))
    return ops.add(x, b)


def lrn(
    input_: Tensor,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
) -> Value:
    size = 2 * int(depth_radius) + 1
    return ops.lrn(floats(input_), size, alpha * size, beta, bias)


def l2_normalize(x: Tensor, axis: Any = None, epsilon: float = 1e-12) -> Value:
    v = floats(x)
    total = ops.reduce_sum(ops.mul(v, v), axes(axis, v.rank))
    return ops.mul(v, ops.rsqrt_(ops.max_(total, float(epsilon))))


def one_hot_(
    indices: Tensor,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: Any = None,
    dtype: Any = None,
) -> Value:
    to = "f32" if dtype is None else dtype_of(dtype)
    y = one_hot(value(indices), int(number(depth, "the depth")), to)
    if on_value is not None or off_value is not None:
        on, off = (
            d if v is None else number(v, "a value") for v, d in ((on_value, 1), (off_value, 0))
        )
        y = ops.add(ops.mul(y, on - off), off)
    return y if axis in (None, -1, y.rank - 1) else kn.moveaxis(y, -1, axis)


def arg(name: str) -> Callable[..., Any]:
    fn = SHAPED[name]
    return lambda input, axis=None, dimension=None, output_type=None: fn(
        input, 0 if axis is None and dimension is None else axis if axis is not None else dimension
    )


def batch_normalization(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    offset: Tensor,
    scale: Tensor,
    variance_epsilon: float,
) -> Value:
    v, m, s = floats(x), floats(mean), floats(variance)
    factor = ops.rsqrt_(ops.add(s, float(variance_epsilon)))
    factor = factor if scale is None else ops.mul(factor, floats(scale))
    y = ops.mul(ops.sub(v, m), factor)
    return y if offset is None else ops.add(y, floats(offset))


def clip_by_value(t: Tensor, clip_value_min: Tensor, clip_value_max: Tensor) -> Value:
    y: Value = ELEMENTWISE["Clip"](t, clip_value_min, clip_value_max)
    return y


def _pool(name: str) -> Callable[..., Any]:
    fn = ko.FUNCTIONS[name]
    return lambda input, ksize, strides=None, padding="VALID", data_format=None: fn(
        input, ksize, strides, padding, data_format
    )


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"math.{n}": _pair(k) for n, k in {
        "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "Divide",
        "truediv": "Divide", "divide_no_nan": "DivideNoNan", "floordiv": "FloorDivide",
        "floormod": "Mod", "maximum": "Maximum", "minimum": "Minimum", "pow": "Power",
        "equal": "Equal", "not_equal": "NotEqual", "greater": "Greater", "less": "Less",
        "greater_equal": "GreaterEqual", "less_equal": "LessEqual", "logical_and": "LogicalAnd",
        "logical_or": "LogicalOr", "logical_xor": "LogicalXor",
    }.items()},
    **{f"math.{n}": _unary(k) for n, k in {
        "abs": "Abs", "negative": "Negative", "square": "Square", "sqrt": "Sqrt", "rsqrt": "Rsqrt",
        "exp": "Exp", "expm1": "Expm1", "log": "Log", "log1p": "Log1p", "sign": "Sign",
        "floor": "Floor", "ceil": "Ceil", "round": "Round", "sin": "Sin", "cos": "Cos",
        "tan": "Tan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "asin": "Arcsin",
        "acos": "Arccos", "atan": "Arctan", "asinh": "Arcsinh", "acosh": "Arccosh",
        "atanh": "Arctanh", "erf": "Erf", "erfc": "Erfc", "reciprocal": "Reciprocal",
        "logical_not": "LogicalNot", "is_nan": "Isnan", "is_inf": "Isinf",
        "is_finite": "Isfinite", "rint": "Round",
    }.items()},
    **{f"math.reduce_{n}": _reduce(k) for n, k in {
        "sum": "Sum", "mean": "Mean", "max": "Max", "min": "Min", "prod": "Prod", "any": "Any",
        "all": "All", "variance": "Var", "std": "Std", "logsumexp": "Logsumexp",
    }.items()},
    **{f"nn.{n}": _features(n) for n in ("relu", "relu6", "elu", "selu", "softplus", "softsign")},
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(
        floats(features), alpha=float(number(alpha, "alpha"))),
    "nn.silu": lambda features, beta=1.0: ops.swish(floats(features), alpha=float(beta)),
    "nn.gelu": lambda features, approximate=False: ACTIVATIONS["gelu"](
        floats(features), approximate=bool(approximate)),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(floats(logits), -1 if axis is None else axis),
    "nn.log_softmax": lambda logits, axis=-1: ops.log_softmax(
        floats(logits), -1 if axis is None else axis),
    "nn.bias_add": bias_add,
    "nn.local_response_normalization": lambda input, depth_radius=5, bias=1.0, alpha=1.0, beta=0.5:
        lrn(input, depth_radius, bias, alpha, beta),
    "nn.depth_to_space": lambda input, block_size, data_format="NHWC": ko.depth_to_space(
        input, block_size, data_format),
    "nn.space_to_depth": lambda input, block_size, data_format="NHWC": ko.space_to_depth(
        input, block_size, data_format),
    "nn.batch_normalization": batch_normalization,
    "nn.moments": lambda x, axes, shift=None, keepdims=False: kn.moments(x, axes, keepdims),
    "nn.max_pool2d": _pool("MaxPool"), "nn.avg_pool2d": _pool("AveragePool"),
    "nn.conv2d": lambda input, filters, strides=1, padding="VALID", data_format=None,
        dilations=None: ko.conv(input, filters, strides, padding, data_format, dilations),
    "math.sigmoid": lambda x: ops.sigmoid(floats(x)), "math.argmax": arg("Argmax"),
    "math.argmin": arg("Argmin"), "math.add_n": add_n, "math.l2_normalize": l2_normalize,
    "math.cumsum": lambda x, axis=0, exclusive=False, reverse=False: kn.cumsum(
        x, axis, None, bool(exclusive), bool(reverse)),
    "math.top_k": lambda input, k=1, sorted=True: kn.top_k(input, k),
    "math.squared_difference": lambda x, y: ELEMENTWISE["Square"](ops.sub(*promoted(x, y))),
    "linalg.matmul": matmul, "einsum": einsum,
    "tensordot": lambda a, b, axes: kn.tensordot(a, b, axes), "concat": concat, "stack": stack,
    "unstack": lambda value, num=None, axis=0: kn.unstack(value, num, axis),
    "split": lambda value, num_or_size_splits, axis=0: split(value, num_or_size_splits, axis),
    "reshape": lambda tensor, shape: kn.reshape(tensor, shape),
    "transpose": lambda a, perm=None: kn.transpose(a, perm),
    "expand_dims": lambda input, axis: kn.expand_dims(input, axis),
    "squeeze": lambda input, axis=None: kn.squeeze(input, axis),
    "tile": lambda input, multiples: kn.tile(input, multiples),
    "repeat": lambda input, repeats, axis=None: kn.repeat(input, repeats, axis),
    "broadcast_to": lambda input, shape: kn.broadcast_to(input, shape),
    "reverse": lambda tensor, axis: kn.flip(tensor, axis),
    "roll": lambda input, shift, axis: kn.roll(input, shift, axis), "pad": pad, "gather": gather,
    "gather_nd": lambda params, indices, batch_dims=0: ops.gather_nd(
        value(params), ops.cast(value(indices), "i64"), batch_dims),
    "where": lambda condition, x=None, y=None: ELEMENTWISE["Where"](condition, x, y),
    "slice": lambda input_, begin, size: kn.slice_(input_, begin, size),
    "strided_slice": strided_slice, "cast": lambda x, dtype: cast(x, dtype),
    "clip_by_value": clip_by_value, "identity": value, "stop_gradient": value,
    "shape": lambda input, out_type=None: kn.shape_of(input),
    "rank": lambda input: constant(value(input).rank, "i32"),
    "size": lambda input, out_type=None: ops.ints(value(input).size, "i32"),
    "ones_like": lambda input, dtype=None: kn.full_like(input, 1, dtype),
    "zeros_like": lambda input, dtype=None: kn.full_like(input, 0, dtype),
    "fill": lambda dims_, value_: ops.expand(value(value_), dims(dims_)),
    "convert_to_tensor": lambda value_, dtype=None, dtype_hint=None: ELEMENTWISE[
        "ConvertToTensor"](value_, dtype),
    "one_hot": one_hot_, "sort": lambda values, axis=-1, direction="ASCENDING": ops.sort(
        value(values), axis, direction == "DESCENDING")[0],
    "argsort": lambda values, axis=-1, direction="ASCENDING": ops.sort(
        value(values), axis, direction == "DESCENDING")[1],
    "norm": lambda tensor, ord="euclidean", axis=None, keepdims=False: kn.norm(
        tensor, ord, axis, bool(keepdims)),
    "image.resize": resize, "image.rgb_to_grayscale": lambda images: ko.rgb_to_grayscale(images),
    "image.flip_left_right": lambda image: kn.flip(image, 2),
    "image.flip_up_down": lambda image: kn.flip(image, 1),
    "__operators__.getitem": lambda tensor, slice_spec: kn.get_item(tensor, slice_spec),
    "math.softplus": lambda features: ops.softplus(floats(features)),
}  # fmt: skip

_SAME = {
    "__operators__.add": "math.add", "__operators__.eq": "math.equal",
    "__operators__.ne": "math.not_equal", "math.realdiv": "math.divide",
    "math.mod": "math.floormod",
    "math.floor_div": "math.floordiv", "realdiv": "math.divide", "truediv": "math.divide",
    "nn.swish": "nn.silu", "nn.sigmoid": "math.sigmoid", "nn.tanh": "math.tanh",
    "nn.l2_normalize": "math.l2_normalize", "nn.lrn": "nn.local_response_normalization",
    "nn.top_k": "math.top_k", "nn.max_pool": "nn.max_pool2d", "nn.avg_pool": "nn.avg_pool2d",
    "nn.convolution": "nn.conv2d", "linalg.norm": "norm",
    "linalg.l2_normalize": "math.l2_normalize",
    "linalg.einsum": "einsum", "linalg.tensordot": "tensordot", "image.resize_v2": "image.resize",
    "math.softmax": "nn.softmax", "math.log_softmax": "nn.log_softmax",
    "linalg.transpose": "transpose", "image.resize_images": "image.resize",
}  # fmt: skip
_IGNORED = ("validate_indices", "data_format")  # arguments that change nothing here
_PLAIN = ("math.", "nn.", "linalg.", "array_ops.", "math_ops.")


def function_of(name: str) -> Callable[..., Any] | None:
    """The function that a file names: math.add, tf.math.add, add, raw_ops.Add ..."""
    name = name.removeprefix("tf.").removeprefix("tensorflow.").removeprefix("compat.v1.")
    for known in (_SAME.get(name, name), *(f"{p}{name}" for p in _PLAIN)):
        if known in FUNCTIONS:
            return FUNCTIONS[known]
    return None


def TFOpLambda(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    name = str(layer.config.get("function") or layer.config.get("symbol") or "")
    fn = function_of(name)
    if fn is None:
        raise layer.lacks(
            f"TensorFlow's function {name!r}; register this layer by its name: "
            f"@keras.register({layer.name!r})"
        )
    return ko.built(fn, _IGNORED)(replace(layer, config={}), inputs, call)


def SlicingOpLambda(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    given = dict(call)
    spec = given.get("slice_spec", call.args[1] if len(call.args) > 1 else None)
    tensor = call.args[0] if call.args else given.get("tensor")
    return kn.get_item(tensor, tuple(spec) if isinstance(spec, list) else spec)


def ClassMethod(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """A method of a tensor that tf.keras recorded: get_shape, set_shape."""
    name = str(layer.config.get("function") or "")
    if name.endswith(("set_shape",)):
        return inputs[0]
    if name.endswith(("get_shape", "shape")):
        return kn.shape_of(inputs[0])
    raise layer.lacks(f"the method {name!r} of a tensor")


# ---- nodes of TensorFlow's graph -----------------------------------------------------------------

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


def TensorFlowOpLayer(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """A node of a graph: its operator, its attributes, and its inputs that are constant."""
    node = layer.config.get("node_def")
    if not isinstance(node, (str, Mapping)):
        raise layer.error("it has no node_def")
    node = json.loads(node) if isinstance(node, str) else node
    operator = str(node.get("op"))
    given = {int(k): v for k, v in (layer.config.get("constants") or {}).items()}
    tensors = [x for x in inputs if isinstance(x, Value)]
    args: list[Any] = []
    while tensors or len(args) in given:
        k = len(args)
        args.append(_constant(given[k]) if k in given else tensors.pop(0))
    attrs = {k: _attribute(v) for k, v in (node.get("attr") or {}).items()}
    options: dict[str, Any] = {}
    if operator in ("ConcatV2", "Concat"):
        at = args.pop() if operator == "ConcatV2" else args.pop(0)
        return concat(*args, axis=_number(at))
    if operator == "Pack":
        return stack(*args, axis=int(attrs.get("axis") or 0))
    if operator in ("Split", "Unpack"):
        if operator == "Unpack":
            return kn.unstack(args[0], None, int(attrs.get("axis") or 0))
        return kn.split(args[1], int(attrs["num_split"]), _number(args[0]))
    if operator in ("ResizeBilinear", "ResizeNearestNeighbor"):
        if not attrs.get("half_pixel_centers"):
            raise layer.lacks("resizing without half_pixel_centers")
        mode = "bilinear" if operator == "ResizeBilinear" else "nearest"
        return resized(layer, floats(args[0]), (1, 2), dims(args[1]), mode)
    if operator not in NODES:
        raise layer.lacks(f"the operator {operator!r} of TensorFlow's graphs")
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


def _constant(given: Any) -> Value:
    array = np.asarray(given)
    kind = "f32" if array.dtype.kind == "f" else "bool" if array.dtype.kind == "b" else "i32"
    return constant(array, kind)


def _plain(x: Any) -> Any:
    return evaluate(x).tolist() if isinstance(x, Value) and x.constant else x


def _number(x: Any) -> int:
    return int(number(x, "an axis"))


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


LAYERS: dict[str, Function] = {
    "ClassMethod": ClassMethod,
    "InstanceMethod": ClassMethod,
    "InstanceProperty": ClassMethod,
    "SlicingOpLambda": SlicingOpLambda,
    "TFOpLambda": TFOpLambda,
    "TensorFlowOpLayer": TensorFlowOpLayer,
}

__all__ = ["FUNCTIONS", "LAYERS", "function_of"]
