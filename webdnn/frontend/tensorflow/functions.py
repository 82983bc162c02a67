"""TensorFlow's functions in terms of numpy's: each takes its arguments by TensorFlow's names.

    >>> from webdnn.graph import placeholder
    >>> function_of("tf.math.add")(placeholder("x", (2, 3), "f32"), y=2.0)
    add:f32[2,3]

`FUNCTIONS` names them as files do, without "tf."; those that TensorFlow has under several names
stand once, `_SAME` has the others.

Limits: functions that draw random numbers, and those that take Python functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from ... import ops
from ...errors import UnsupportedError
from ...expr import as_dim
from ...graph import Value, constant
from .. import arithmetic, arrays
from ..arrays import (
    Operand,
    axes_of,
    axis_of,
    dtype_of,
    floats,
    known_dims,
    known_int,
    known_number,
    promoted,
    value,
)
from ..windows import channel_axis, in_format, named_window
from .images import resized

NUMPY = arithmetic.FUNCTIONS


def _unary(name: str) -> Callable[..., Any]:
    fn = NUMPY[name]
    return lambda x: fn(x)


def _pair(name: str) -> Callable[..., Any]:
    fn = NUMPY[name]
    return lambda x, y: fn(x, y)


def _reduce(name: str) -> Callable[..., Any]:
    fn = NUMPY[name]
    return lambda input_tensor, axis=None, keepdims=False: fn(input_tensor, axis, keepdims)


def _arg(name: str) -> Callable[..., Any]:
    fn = NUMPY[name]

    def find(input: Operand, axis: Any = None, dimension: Any = None, output_type: Any = None):  # type: ignore[no-untyped-def]
        return fn(input, next((a for a in (axis, dimension) if a is not None), 0))

    return find


def _features(fn: Callable[[Value], Value]) -> Callable[..., Any]:
    return lambda features: fn(floats(features))


def _listed(values: tuple[Any, ...]) -> list[Any]:
    """Tensors given as a list, or one by one."""
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        return list(values[0])
    return list(values)


# ---- arrays --------------------------------------------------------------------------------------


def concat(*values: Operand, axis: Any) -> Value:
    return arrays.concatenate(_listed(values), axis)


def stack(*values: Operand, axis: int = 0) -> Value:
    return arrays.stack(_listed(values), axis)


def squeeze(input: Operand, axis: Any = None) -> Value:
    return arrays.squeeze(input, None if axis == [] else axis)


def gather(params: Operand, indices: Operand, axis: Any = None, batch_dims: int = 0) -> Value:
    if not batch_dims:
        return arrays.take(params, indices, 0 if axis is None else axis)
    if axis not in (None, batch_dims):
        raise UnsupportedError(f"gather with batch_dims={batch_dims} along axis {axis}")
    at = ops.cast(value(indices), "i64")
    return ops.gather_nd(value(params), ops.unsqueeze(at, [at.rank]), batch_dims)


def gather_nd(params: Operand, indices: Operand, batch_dims: int = 0) -> Value:
    return ops.gather_nd(value(params), ops.cast(value(indices), "i64"), batch_dims)


def split(value_: Operand, num_or_size_splits: Any, axis: Any = 0) -> list[Value]:
    x = value(value_)
    if not isinstance(num_or_size_splits, (list, tuple, Value)):
        return arrays.split(x, num_or_size_splits, axis)
    at, sizes = axis_of(axis, x), known_dims(num_or_size_splits, "the sizes of the parts")
    known = [d for d in sizes if not (isinstance(d, int) and d < 0)]
    rest = as_dim(x.shape[at] - sum(known, 0))
    return ops.split(x, [rest if isinstance(d, int) and d < 0 else d for d in sizes], at)


def slice_(input_: Operand, begin: Any, size: Any) -> Value:
    x = value(input_)
    starts = known_dims(begin, "the start of a slice")
    sizes = known_dims(size, "the size of a slice")
    rest = [as_dim(d - s) for d, s in zip(x.shape, starts)]
    return ops.slice_(x, starts, [r if n == -1 else n for n, r in zip(sizes, rest)])


def strided_slice(
    input_: Operand,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    starts, ends = (known_dims(p, "the bounds of a slice") for p in (begin, end))
    steps = [1] * len(starts) if strides is None else known_dims(strides, "the steps of a slice")
    keys: list[Any] = []
    for k, (b, e, s) in enumerate(zip(starts, ends, steps)):
        bit = 1 << k
        if ellipsis_mask & bit:
            keys.append(Ellipsis)
        elif new_axis_mask & bit:
            keys.append(None)
        elif shrink_axis_mask & bit:
            keys.append(b)
        else:
            keys.append(slice(None if begin_mask & bit else b, None if end_mask & bit else e, s))
    return arrays.getitem(input_, tuple(keys))


def getitem(tensor: Operand, slice_spec: Any) -> Value:
    return arrays.getitem(tensor, tuple(slice_spec) if isinstance(slice_spec, list) else slice_spec)


def pad(tensor: Operand, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Value:
    return arrays.pad(tensor, constant_values, pad_width=paddings, mode=mode.lower())


def one_hot(
    indices: Operand,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: Any = None,
    dtype: Any = None,
) -> Value:
    at = ops.cast(value(indices), "i32")
    hot = arrays.one_hot(at, known_int(depth, "the depth"), -1 if axis is None else axis)
    to = "f32" if dtype is None else dtype_of(dtype)
    if on_value is None and off_value is None:
        return ops.cast(hot, to)
    on, off = (
        constant(d if v is None else known_number(v, "a value"), to)
        for v, d in ((on_value, 1), (off_value, 0))
    )
    return ops.where(hot, on, off)


# ---- arithmetic ----------------------------------------------------------------------------------


def add_n(*inputs: Operand) -> Value:
    return reduce(ops.add, promoted(*_listed(inputs)))


def einsum(equation: str, *inputs: Operand) -> Value:
    return arithmetic.einsum(*_listed(inputs), subscripts=equation)


def matmul(a: Operand, b: Operand, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    left, right = promoted(a, b)
    left = arrays.swapaxes(left, -1, -2) if transpose_a else left
    return arithmetic.matmul(left, arrays.swapaxes(right, -1, -2) if transpose_b else right)


def l2_normalize(x: Operand, axis: Any = None, epsilon: float = 1e-12) -> Value:
    v = floats(x)
    total = ops.reduce_sum(ops.mul(v, v), axes_of(axis, v))
    return ops.mul(v, ops.rsqrt_(ops.max_(total, float(epsilon))))


def sort(values: Operand, axis: Any = -1, direction: str = "ASCENDING") -> Value:
    v = value(values)
    return ops.sort(v, axis_of(axis, v), direction == "DESCENDING")[0]


def argsort(values: Operand, axis: Any = -1, direction: str = "ASCENDING") -> Value:
    v = value(values)
    return ops.sort(v, axis_of(axis, v), direction == "DESCENDING")[1]


# ---- neural networks -----------------------------------------------------------------------------


def convolution(
    input: Operand,
    filters: Operand,
    strides: Any = None,
    padding: str = "VALID",
    data_format: Any = None,
    dilations: Any = None,
) -> Value:
    """Filters [k..., C/groups, M]."""
    x, back = in_format(floats(input), data_format)
    f = floats(filters)
    w = named_window(x, f.shape[:-2], strides, dilations, padding)
    groups = ops.static(x.shape[-1], "channels") // ops.static(f.shape[-2], "channels")
    return back(ops.convolve(x, f, w.strides, w.pads, w.dilations, groups))


def _pool(
    compute: Callable[..., Value], operand: Callable[[Operand], Value]
) -> Callable[..., Value]:
    def pool(
        input: Operand,
        ksize: Any,
        strides: Any = None,
        padding: str = "VALID",
        data_format: Any = None,
    ) -> Value:
        x, back = in_format(operand(input), data_format)
        w = named_window(x, ksize, ksize if strides is None else strides, 1, padding)
        return back(compute(x, w.kernel, w.strides, w.pads, w.dilations))

    return pool


max_pool, avg_pool = _pool(ops.max_pool, value), _pool(ops.average_pool, floats)


def bias_add(value_: Operand, bias: Operand, data_format: Any = None) -> Value:
    x, b = promoted(value_, bias)
    return ops.add(x, ops.along(b, [channel_axis(data_format) % x.rank], x.rank))


def lrn(
    input: Operand,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
) -> Value:
    size = 2 * int(depth_radius) + 1
    return ops.lrn(floats(input), size, alpha * size, beta, bias)


def batch_normalization(
    x: Operand,
    mean: Operand,
    variance: Operand,
    offset: Operand,
    scale: Operand,
    variance_epsilon: float,
) -> Value:
    v = floats(x)
    mean, variance = floats(mean), floats(variance)
    scale, offset = (None if p is None else floats(p) for p in (scale, offset))
    at = range(v.rank - mean.rank, v.rank)
    return ops.batch_normalize(v, mean, variance, scale, offset, float(variance_epsilon), at)


def resize(
    images: Operand,
    size: Any,
    method: Any = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Value:
    if preserve_aspect_ratio:
        raise UnsupportedError("resize with preserve_aspect_ratio")
    name = str({0: "bilinear", 1: "nearest", 2: "bicubic"}.get(method, method))
    return resized(floats(images), (1, 2), known_dims(size, "a size"), name, antialias)


def rgb_to_grayscale(images: Operand) -> Value:
    """[..., 3] -> [..., 1]"""
    v = floats(images)
    weights = constant([0.2989, 0.587, 0.114], v.dtype)
    return ops.reduce_sum(ops.mul(v, weights), [-1])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"math.{n}": _pair(k) for n, k in {
        **{n: n for n in (
            "add", "subtract", "multiply", "divide", "divide_no_nan", "maximum", "minimum",
            "equal", "not_equal", "greater", "less", "greater_equal", "less_equal",
            "logical_and", "logical_or", "logical_xor",
        )},
        "truediv": "divide", "floordiv": "floor_divide", "floormod": "mod", "pow": "power",
    }.items()},
    **{f"math.{n}": _unary(k) for n, k in {
        **{n: n for n in (
            "abs", "negative", "square", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sign",
            "floor", "ceil", "round", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf", "erfc",
            "reciprocal", "logical_not",
        )},
        "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh",
        "acosh": "arccosh", "atanh": "arctanh", "is_nan": "isnan", "is_inf": "isinf",
        "is_finite": "isfinite", "rint": "round",
    }.items()},
    **{f"math.reduce_{n}": _reduce(k) for n, k in {
        **{n: n for n in ("sum", "mean", "max", "min", "prod", "any", "all", "std", "logsumexp")},
        "variance": "var",
    }.items()},
    "nn.relu": _features(ops.relu), "nn.softplus": _features(ops.softplus),
    "nn.softsign": _features(ops.softsign),
    "nn.relu6": _features(lambda x: ops.clamp(ops.relu(x), hi=6.0)),
    "nn.elu": _features(lambda x: ops.elu(x, alpha=1.0)),
    "nn.selu": _features(
        lambda x: ops.selu(x, alpha=1.6732632423543772, gamma=1.0507009873554805)),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(
        floats(features), alpha=float(known_number(alpha, "alpha"))),
    "nn.silu": lambda features, beta=1.0: ops.swish(floats(features), alpha=float(beta)),
    "nn.gelu": lambda features, approximate=False: (
        ops.gelu_tanh if approximate else ops.gelu)(floats(features)),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(floats(logits), -1 if axis is None else axis),
    "nn.log_softmax": lambda logits, axis=-1: ops.log_softmax(
        floats(logits), -1 if axis is None else axis),
    "nn.bias_add": bias_add, "nn.local_response_normalization": lrn,
    "nn.depth_to_space": lambda input, block_size, data_format="NHWC": ops.depth_to_space(
        floats(input), int(block_size), channel_axis(data_format)),
    "nn.space_to_depth": lambda input, block_size, data_format="NHWC": ops.space_to_depth(
        floats(input), int(block_size), channel_axis(data_format)),
    "nn.batch_normalization": batch_normalization,
    "nn.moments": lambda x, axes, shift=None, keepdims=False: arithmetic.moments(x, axes, keepdims),
    "nn.max_pool2d": max_pool, "nn.avg_pool2d": avg_pool,
    "nn.conv2d": convolution, "math.sigmoid": lambda x: ops.sigmoid(floats(x)),
    "math.argmax": _arg("argmax"), "math.argmin": _arg("argmin"), "math.add_n": add_n,
    "math.l2_normalize": l2_normalize,
    "math.cumsum": lambda x, axis=0, exclusive=False, reverse=False: arithmetic.cumsum(
        x, axis, None, bool(exclusive), bool(reverse)),
    "math.top_k": lambda input, k=1, sorted=True: arithmetic.top_k(input, k),
    "math.squared_difference": lambda x, y: arithmetic.square(ops.sub(*promoted(x, y))),
    "linalg.matmul": matmul, "einsum": einsum,
    "tensordot": lambda a, b, axes: arithmetic.tensordot(a, b, axes), "concat": concat,
    "stack": stack, "unstack": lambda value, num=None, axis=0: arrays.unstack(value, num, axis),
    "split": lambda value, num_or_size_splits, axis=0: split(value, num_or_size_splits, axis),
    "reshape": lambda tensor, shape: arrays.reshape(tensor, shape),
    "transpose": lambda a, perm=None: arrays.transpose(a, perm),
    "expand_dims": lambda input, axis: arrays.expand_dims(input, axis), "squeeze": squeeze,
    "tile": lambda input, multiples: arrays.tile(input, multiples),
    "repeat": lambda input, repeats, axis=None: arrays.repeat(input, repeats, axis),
    "broadcast_to": lambda input, shape: arrays.broadcast_to(input, shape),
    "reverse": lambda tensor, axis: arrays.flip(tensor, axis),
    "roll": lambda input, shift, axis: arrays.roll(input, shift, axis), "pad": pad,
    "gather": gather, "gather_nd": gather_nd,
    "where": lambda condition, x=None, y=None: arithmetic.where(condition, x, y),
    "slice": slice_, "strided_slice": strided_slice,
    "cast": lambda x, dtype: arithmetic.cast(x, dtype),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: arithmetic.clip(
        t, clip_value_min, clip_value_max),
    "identity": value, "stop_gradient": value,
    "shape": lambda input, out_type=None: ops.ints(list(value(input).shape), "i32"),
    "rank": lambda input: constant(value(input).rank, "i32"),
    "size": lambda input, out_type=None: ops.ints(value(input).size, "i32"),
    "ones_like": lambda input, dtype=None: arrays.full_like(input, 1, dtype),
    "zeros_like": lambda input, dtype=None: arrays.full_like(input, 0, dtype),
    "fill": lambda dims, value_: arrays.broadcast_to(value_, dims),
    "convert_to_tensor": lambda value_, dtype=None, dtype_hint=None: arithmetic.convert_to_tensor(
        value_, dtype),
    "one_hot": one_hot, "sort": sort, "argsort": argsort,
    "norm": lambda tensor, ord="euclidean", axis=None, keepdims=False: arithmetic.norm(
        tensor, ord, axis, bool(keepdims)),
    "image.resize": resize, "image.rgb_to_grayscale": rgb_to_grayscale,
    "image.flip_left_right": lambda image: arrays.flip(image, 2),
    "image.flip_up_down": lambda image: arrays.flip(image, 1), "__operators__.getitem": getitem,
    "math.softplus": _features(ops.softplus),
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
_PREFIXES = ("math.", "nn.", "linalg.", "array_ops.", "math_ops.")


def function_of(name: str) -> Callable[..., Any] | None:
    """The function that a file names: math.add, tf.math.add, add, raw_ops.Add ..."""
    name = name.removeprefix("tf.").removeprefix("tensorflow.").removeprefix("compat.v1.")
    for known in (_SAME.get(name, name), *(f"{p}{name}" for p in _PREFIXES)):
        if known in FUNCTIONS:
            return FUNCTIONS[known]
    return None


__all__ = ["FUNCTIONS", "function_of"]
