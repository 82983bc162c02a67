"""The operations of keras.ops, which stand as layers in functional models of Keras 3.

    y = keras.ops.einsum("btc,bsc->bts", x, x)     # Einsum
    y = x[:, :2] * 2                                # GetItem, Multiply

The functions are named as Keras'. Here are those of neural networks and images; all others are
numpy's, in `frontend.arrays` and `frontend.arithmetic`. `built` makes a layer of a function: what
it takes stands in the node's arguments and in the operation's configuration.

Limits: what draws random numbers, decomposes matrices or takes Python functions.
`OPERATIONS` is the registry.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import ops
from ...errors import UnsupportedError
from ...graph import Value, constant
from .. import arithmetic, arrays
from ..arrays import (
    Operand,
    axes_of,
    axis_of,
    dtype_of,
    floats,
    known_dims,
    value,
)
from ..tensorflow import functions as tensorflow
from ..windows import channel_axis, in_format
from . import activations, spatial
from .attention import both, causal
from .images import resized
from .model import Call, Layer, Nested

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- neural networks -----------------------------------------------------------------------------


def batch_normalization(
    x: Operand,
    mean: Operand,
    variance: Operand,
    offset: Operand = None,
    scale: Operand = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Value:
    v = floats(x)
    mean, variance = floats(mean), floats(variance)
    scale, offset = (None if p is None else floats(p) for p in (scale, offset))
    at = [axis_of(axis, v)]
    return ops.batch_normalize(v, mean, variance, scale, offset, float(epsilon), at)


def layer_normalization(
    x: Operand,
    gamma: Operand = None,
    beta: Operand = None,
    axis: Any = -1,
    epsilon: float | None = None,
) -> Value:
    v = floats(x)
    at = axes_of(axis, v)
    y = ops.normalize(v, at, 1e-7 if epsilon is None else float(epsilon))
    return _scaled(y, at, gamma, beta)


def rms_normalization(
    x: Operand, scale: Operand = None, axis: Any = -1, epsilon: float | None = None
) -> Value:
    v = floats(x)
    at = axes_of(axis, v)
    return _scaled(ops.rms_normalize(v, at, 1e-7 if epsilon is None else epsilon), at, scale, None)


def _scaled(y: Value, at: Sequence[int], gamma: Operand, beta: Operand) -> Value:
    y = y if gamma is None else ops.mul(y, ops.along(floats(gamma), at, y.rank))
    return y if beta is None else ops.add(y, ops.along(floats(beta), at, y.rank))


def dot_product_attention(
    query: Operand,
    key: Operand,
    value_: Operand,
    bias: Operand = None,
    mask: Operand = None,
    scale: float | None = None,
    is_causal: bool = False,
    attn_logits_soft_cap: float | None = None,
) -> Value:
    q, k, v = (ops.transpose(floats(x), (0, 2, 1, 3)) for x in (query, key, value_))
    size = ops.static(q.shape[-1], "the size of a head")
    share = ops.static(q.shape[1], "heads") // ops.static(k.shape[1], "heads")
    k, v = ops.repeat(k, share, 1), ops.repeat(v, share, 1)
    scores = ops.matmul(
        ops.mul(q, 1 / math.sqrt(size) if scale is None else float(scale)),
        ops.transpose(k, (0, 1, 3, 2)),
    )
    if bias is not None:
        scores = ops.add(scores, floats(bias))
    if attn_logits_soft_cap is not None:
        cap = float(attn_logits_soft_cap)
        scores = ops.mul(ops.tanh_(ops.div(scores, cap)), cap)
    seen = None if mask is None else ops.cast(value(mask), "bool")
    if is_causal:
        seen = both(seen, causal(*scores.shape[-2:]))
    weights = activations.masked_softmax(scores, seen, [-1])
    return ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))


def depth_to_space(x: Operand, block_size: int, data_format: Any = None) -> Value:
    return ops.depth_to_space(floats(x), int(block_size), channel_axis(data_format))


def space_to_depth(x: Operand, block_size: int, data_format: Any = None) -> Value:
    return ops.space_to_depth(floats(x), int(block_size), channel_axis(data_format))


def rgb_to_grayscale(images: Operand, data_format: Any = None) -> Value:
    x, back = in_format(floats(images), data_format)
    return back(tensorflow.rgb_to_grayscale(x))


def resize(
    layer: Layer,
    images: Operand,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    data_format: Any = None,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
) -> Value:
    if crop_to_aspect_ratio or pad_to_aspect_ratio:
        raise UnsupportedError("resize that keeps the aspect ratio; the Resizing layer does it")
    x, back = in_format(floats(images), data_format)
    out = known_dims(size, "a size")
    return back(resized(layer, x, (1, 2), out, interpolation, bool(antialias)))


def _activation(name: str) -> Callable[..., Value]:
    fn = activations.FUNCTIONS[name]
    return lambda x, *args, **kwargs: fn(floats(x), *args, **kwargs)


def one_hot(x: Operand, num_classes: int, axis: int = -1, dtype: Any = None) -> Value:
    hot = arrays.one_hot(ops.cast(value(x), "i32"), int(num_classes), axis)
    return ops.cast(hot, dtype_of(dtype or "float32"))


def multi_hot(inputs: Operand, num_classes: int, axis: int = -1, dtype: Any = None) -> Value:
    y = one_hot(inputs, num_classes, axis, dtype)
    at = 1 if value(inputs).rank > 1 else 0
    return ops.squeeze(ops.reduce_max(y, [at]), [at])


def normalize(x: Operand, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> Value:
    v = floats(x)
    least = 1e-7 if epsilon is None else float(epsilon)
    if order == 2:
        total = ops.reduce_sum(ops.mul(v, v), axes_of(axis, v))
        return ops.mul(v, ops.min_(ops.rsqrt_(total), 1 / least))
    return ops.div(v, ops.max_(arithmetic.norm(v, order, axis, True), least))


# ---- shapes and indices --------------------------------------------------------------------------


def get_item(x: Operand, key: Any) -> Value:
    """x[key]; a list of numbers is one of indices where x has a single axis."""
    v = value(x)
    one = isinstance(key, list) and v.rank == 1 and all(isinstance(k, int) for k in key)
    return arrays.getitem(v, tuple(key) if isinstance(key, list) and not one else key)


def append(x1: Operand, x2: Operand, axis: Any = None) -> Value:
    pair = [arrays.flat_or_along(value(x), axis)[0] for x in (x1, x2)]
    return arrays.concatenate(pair, axis or 0)


def shape_of(x: Operand) -> Value:
    return ops.ints(list(value(x).shape), "i32")


# ---- building ------------------------------------------------------------------------------------


def built(fn: Callable[..., Any], ignored: Sequence[str] = ()) -> Function:
    """An operation as a function that builds a layer: arguments by position, by name, by config."""
    parameters = inspect.signature(fn).parameters
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    spread = any(p.kind == p.VAR_POSITIONAL for p in parameters.values())
    names = [n for n in parameters if n != "layer"]

    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
        given = list(call.args)
        taken = set() if spread else set(names[: len(given)])
        named = {
            k: v
            for k, v in layer.config.items()
            if k not in taken and (k in parameters or (open_ended and k in _OPTIONS))
        }
        for k, v in call.items():
            k = f"{k}_" if f"{k}_" in parameters else k
            if k in parameters or open_ended:
                named[k] = v
            elif v is not None and v is not False and k not in ("name", *ignored):
                raise layer.lacks(f"the argument {k}={v!r:.60}")
        named.pop("name", None)
        if isinstance(named.get("dtype"), Mapping):  # a serialised policy
            named["dtype"] = (named["dtype"].get("config") or {}).get("name", "float32")
        if "layer" in parameters:
            given.insert(0, layer)
        return fn(*given, **named)

    return build


# What activation operations keep in their configuration.
_OPTIONS = ("alpha", "approximate", "axis", "b", "default_value", "negative_slope", "threshold")

_NETWORK: dict[str, Callable[..., Any]] = {
    "Conv": spatial.conv, "DepthwiseConv": spatial.depthwise_conv,
    "SeparableConv": spatial.separable_conv, "ConvTranspose": spatial.conv_transpose,
    "MaxPool": spatial.max_pool, "AveragePool": spatial.average_pool,
    "AdaptiveMaxPool": spatial.adaptive_max_pool,
    "AdaptiveAveragePool": spatial.adaptive_average_pool,
    "BatchNorm": batch_normalization, "LayerNorm": layer_normalization,
    "RMSNorm": rms_normalization, "DotProductAttention": dot_product_attention,
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
    "RGBToGrayscale": rgb_to_grayscale, "Resize": resize,
    "OneHot": one_hot, "MultiHot": multi_hot,
    "Gelu": lambda x, approximate=True: activations.FUNCTIONS["gelu"](
        floats(x), approximate=approximate),
}  # fmt: skip
_NAMES = {
    "Celu": "celu", "Elu": "elu", "Glu": "glu", "HardShrink": "hard_shrink",
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "HardTanh": "hard_tanh",
    "LeakyRelu": "leaky_relu", "LogSigmoid": "log_sigmoid", "LogSoftmax": "log_softmax",
    "Mish": "mish", "Relu": "relu", "Relu6": "relu6", "Selu": "selu", "Sigmoid": "sigmoid",
    "Silu": "silu", "SoftShrink": "soft_shrink", "Softmax": "softmax", "Softplus": "softplus",
    "Softsign": "softsign", "SparsePlus": "sparse_plus", "SparseSigmoid": "sparse_sigmoid",
    "Sparsemax": "sparsemax", "Squareplus": "squareplus", "TanhShrink": "tanh_shrink",
    "Threshold": "threshold", "ReLU": "relu",
}  # fmt: skip

# numpy's functions and ours by their names there, the others by Keras' names of its operations.
_ARRAYS = (
    "array_split", "broadcast_to", "concatenate", "dstack", "expand_dims", "flip", "full_like",
    "hstack", "moveaxis", "pad", "repeat", "reshape", "roll", "split", "squeeze", "stack",
    "swapaxes", "take", "take_along_axis", "tile", "transpose", "unstack", "vstack",
)  # fmt: skip
_ALIASES = {
    "Absolute": "abs", "Amax": "max", "Amin": "min", "Array": "convert_to_tensor",
    "BitwiseInvert": "bitwise_not", "Conjugate": "copy", "Fabs": "abs", "Fmax": "maximum",
    "Fmin": "minimum", "LeftShift": "bitwise_left_shift", "Real": "copy",
    "RightShift": "bitwise_right_shift", "StopGradient": "copy", "TrueDivide": "divide",
}  # fmt: skip
_SHAPES: dict[str, Callable[..., Any]] = {
    "Append": append, "Fliplr": lambda x: arrays.flip(x, 1), "Flipud": lambda x: arrays.flip(x, 0),
    "GetItem": get_item, "Ndim": lambda x: constant(value(x).rank, "i32"), "Normalize": normalize,
    "OnesLike": lambda x, dtype=None: arrays.full_like(x, 1, dtype),
    "Ravel": lambda x: ops.reshape(value(x), (value(x).size,)), "Shape": shape_of,
    "Size": lambda x: ops.ints(value(x).size, "i32"),
    "Slice": lambda inputs, start_indices, shape: tensorflow.slice_(inputs, start_indices, shape),
    "ZerosLike": lambda x, dtype=None: arrays.full_like(x, 0, dtype),
}  # fmt: skip


def _class_name(name: str) -> str:
    """take_along_axis: TakeAlongAxis."""
    return "".join(word.capitalize() for word in name.split("_"))


_NUMPY = arithmetic.FUNCTIONS | {name: getattr(arrays, name) for name in _ARRAYS}
FUNCTIONS = (
    {_class_name(name): fn for name, fn in _NUMPY.items()}
    | {name: _NUMPY[known] for name, known in _ALIASES.items()}
    | {k: _activation(n) for k, n in _NAMES.items()}
    | _SHAPES
    | _NETWORK
)
OPERATIONS: dict[str, Function] = {name: built(fn) for name, fn in FUNCTIONS.items()}

__all__ = ["FUNCTIONS", "OPERATIONS", "built"]
