"""Keras' activation functions, as names, as serialized functions and as layers in an argument.

    >>> from webdnn.graph import placeholder
    >>> activation("gelu", 3)(placeholder("x", (2, 4), "f32"))
    gelu:f32[2,4]

Keras wrote an activation in several ways: a name (`"relu"`), a function (`{"class_name":
"function", "config": "relu"}`) and an object (`{"class_name": "LeakyReLU", "config": {...}}`, and
Keras 2.2's nested configurations). Their definitions follow keras.activations; those that changed
between major versions take the version: hard_sigmoid was 0.2x + 0.5 before Keras 3 and is x/6 + 0.5
since. `scalar` gives an activation as one function of `ops.elementwise`, for recurrent kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import ops
from ...errors import UnsupportedError
from ...graph import Value, constant

Function = Callable[[Value], Value]
Scalar = str | tuple[str, Mapping[str, float]]  # a function of ops.elementwise, with attributes

_SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}  # Klambauer et al., 1706.02515


def relu(
    x: Value,
    max_value: float | None = None,
    negative_slope: float | None = 0.0,
    threshold: float | None = 0.0,
) -> Value:
    """x above `threshold`, at most max_value; below it negative_slope * (x - threshold)."""
    slope, low = negative_slope or 0.0, threshold or 0.0
    if not low:
        y = ops.leaky_relu(x, alpha=slope) if slope else ops.relu(x)
    else:
        below = ops.mul(ops.sub(x, low), slope) if slope else constant(0, x.dtype)
        y = ops.where(ops.greater(x, low), x, below)
    return y if max_value is None else ops.min_(y, max_value)


def softmax(x: Value, axis: Any = -1) -> Value:
    """Softmax along an axis, or over several together."""
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) == 1:
        return ops.softmax(x, axes[0])
    e = ops.exp_(ops.sub(x, ops.reduce_max(x, axes)))
    return ops.div(e, ops.reduce_sum(e, axes))


def sparsemax(x: Value, axis: int = -1) -> Value:
    """As Keras computes it, without sorting: relu(x - t), where t = (sum of s_i - 1) / k.

    s_i sums x over what is not below x_i, and i runs over the k elements of the support: those with
    x_i > (s_i - 1) / rank of i. (Martins and Astudillo, arXiv 1602.02068, take only the last s_i.)
    """
    axis %= x.rank
    one, other = ops.unsqueeze(x, [axis + 1]), ops.unsqueeze(x, [axis])
    shape = [x.shape[axis] if k in (axis, axis + 1) else 1 for k in range(x.rank + 1)]
    earlier = ops.less_equal(ops.iota(shape, axis + 1), ops.iota(shape, axis))
    tie = ops.logical_and(ops.equal(other, one), earlier)
    above = ops.logical_or(ops.greater(other, one), tie)
    zero = constant(0, x.dtype)
    sums = ops.squeeze(ops.reduce_sum(ops.where(above, other, zero), [axis + 1]), [axis + 1])
    rank = ops.squeeze(ops.reduce_sum(ops.cast(above, x.dtype), [axis + 1]), [axis + 1])
    inside = ops.greater(x, ops.div(ops.sub(sums, 1.0), rank))
    size = ops.reduce_sum(ops.cast(inside, x.dtype), [axis])
    total = ops.reduce_sum(ops.where(inside, sums, zero), [axis])
    return ops.relu(ops.sub(x, ops.div(ops.sub(total, 1.0), size)))


def squareplus(x: Value, b: float = 4) -> Value:
    return ops.mul(ops.add(x, ops.sqrt_(ops.add(ops.mul(x, x), float(b)))), 0.5)


def sparse_plus(x: Value) -> Value:
    """0 up to -1, x from 1 on, (x + 1)^2 / 4 between."""
    bent = ops.clamp(ops.add(x, 1.0), 0.0, 2.0)
    return ops.add(ops.mul(ops.mul(bent, bent), 0.25), ops.relu(ops.sub(x, 1.0)))


def glu(x: Value, axis: int = -1) -> Value:
    axis %= x.rank
    size = x.shape[axis]
    if not isinstance(size, int) or size % 2:
        raise UnsupportedError(f"glu halves axis {axis}, which has {size} elements")
    left, right = ops.split(x, [size // 2] * 2, axis)
    return ops.mul(left, ops.sigmoid(right))


def threshold(x: Value, threshold: float, default_value: float) -> Value:
    return ops.where(ops.greater(x, threshold), x, constant(default_value, x.dtype))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "celu": lambda x, alpha=1.0: ops.celu(x, alpha=alpha),
    "elu": lambda x, alpha=1.0: ops.elu(x, alpha=alpha),
    "exponential": ops.exp_,
    "gelu": lambda x, approximate=False: ops.gelu_tanh(x) if approximate else ops.gelu(x),
    "glu": glu,
    "hard_shrink": lambda x, threshold=0.5: ops.shrink(x, lambd=threshold, bias=0.0),
    "hard_sigmoid": lambda x: ops.hard_sigmoid(x, alpha=1 / 6, beta=0.5),
    "hard_silu": ops.hard_swish,
    "hard_tanh": lambda x: ops.clamp(x, -1.0, 1.0),
    "leaky_relu": lambda x, negative_slope=0.2: ops.leaky_relu(x, alpha=negative_slope),
    "linear": lambda x: x,
    "log_sigmoid": lambda x: ops.neg(ops.softplus(ops.neg(x))),
    "log_softmax": lambda x, axis=-1: ops.log_softmax(x, axis),
    "mish": ops.mish,
    "relu": relu,
    "relu6": lambda x: relu(x, 6.0),
    "selu": lambda x: ops.selu(x, **_SELU),
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "soft_shrink": lambda x, threshold=0.5: ops.shrink(x, lambd=threshold, bias=threshold),
    "softmax": softmax,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": lambda x: ops.hard_sigmoid(x, alpha=0.5, beta=0.5),
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "tanh": ops.tanh_,
    "tanh_shrink": lambda x: ops.sub(x, ops.tanh_(x)),
    "threshold": threshold,
}
_ALIASES = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "exp": "exponential",
    "leakyrelu": "leaky_relu",
    "sigmoid_v2": "sigmoid",
    "gelu_new": "gelu",
    "relu_6": "relu6",
}
# The activations that are one scalar function, as the recurrent kernels take them.
_SCALARS: dict[str, Scalar] = {
    "elu": ("elu", {"alpha": 1.0}), "exponential": "exp", "gelu": "gelu",
    "hard_sigmoid": ("hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}), "hard_silu": "hard_swish",
    "leaky_relu": ("leaky_relu", {"alpha": 0.2}), "linear": "linear", "mish": "mish",
    "relu": "relu", "selu": ("selu", _SELU), "sigmoid": "sigmoid", "silu": "silu",
    "softplus": "softplus", "softsign": "softsign",
    "sparse_sigmoid": ("hard_sigmoid", {"alpha": 0.5, "beta": 0.5}), "tanh": "tanh",
}  # fmt: skip
# Activation layers that may stand as an argument: function, and the old names of its arguments.
LAYERS: dict[str, tuple[str, Mapping[str, str]]] = {
    "ELU": ("elu", {}),
    "LeakyReLU": ("leaky_relu", {"alpha": "negative_slope"}),
    "ReLU": ("relu", {}),
    "Softmax": ("softmax", {}),
}
_LAYER_DEFAULTS = {"LeakyReLU": {"negative_slope": 0.3}}


def _read(spec: Any) -> tuple[str, dict[str, Any]]:
    """The name of an activation, and the arguments that it was given."""
    if spec is None:
        return "linear", {}
    if isinstance(spec, str):
        return _ALIASES.get(spec, spec), {}
    if isinstance(spec, Mapping):
        kind, config = spec.get("class_name"), spec.get("config")
        if kind == "function" and isinstance(config, str):
            return _read(config)
        given = dict(config) if isinstance(config, Mapping) else {}
        if kind in LAYERS:
            name, old = LAYERS[kind]
            arguments = dict(_LAYER_DEFAULTS.get(kind, {}))
            for key, value in given.items():
                if key not in ("name", "trainable", "dtype", "batch_input_shape"):
                    arguments[old.get(key, key)] = value
            return name, arguments
        if kind == "Activation":
            return _read(given.get("activation"))
        if isinstance(kind, str):
            return _read(kind)
        if isinstance(spec.get("name"), str):
            return _read(spec["name"])
    return str(spec), {}


def activation(spec: Any, version: int) -> Function:
    """The function that a Keras activation names; `version`: Keras' major version.

    Raises UnsupportedError for a name that is none of Keras'.
    """
    name, arguments = _read(spec)
    if name == "hard_sigmoid" and version < 3:
        return lambda x: ops.hard_sigmoid(x, alpha=0.2, beta=0.5)
    function = FUNCTIONS.get(name)
    if function is None:
        raise UnsupportedError(
            f"activation {name!r} is none of Keras' own; known are {', '.join(sorted(FUNCTIONS))}. "
            "Say what the whole layer computes instead: webdnn.keras.register(its name, function)"
        )
    return lambda x: function(x, **arguments)


def scalar(spec: Any, version: int) -> Scalar | None:
    """The activation as a function of ops.elementwise, or None where it is not a single one."""
    name, arguments = _read(spec)
    if name == "hard_sigmoid" and version < 3:
        return "hard_sigmoid", {"alpha": 0.2, "beta": 0.5}
    found = _SCALARS.get(name)
    if found is None or not arguments:
        return found
    if name in ("elu", "leaky_relu") and isinstance(found, tuple):
        return found[0], {"alpha": float(next(iter(arguments.values())))}
    return None


def masked_softmax(
    scores: Value, mask: Value | None, axes: Sequence[int], blank: bool = False
) -> Value:
    """Softmax where positions whose mask is False get a score of -1e9, next to nothing.

    A row without any other position attends to all equally or, with `blank`, to none.
    """
    if mask is None:
        return softmax(scores, list(axes))
    keep = mask if mask.dtype == "bool" else ops.greater(mask, 0.5)
    shares = softmax(ops.where(keep, scores, constant(-1e9, scores.dtype)), list(axes))
    return ops.where(keep, shares, constant(0, shares.dtype)) if blank else shares


__all__ = ["FUNCTIONS", "LAYERS", "activation", "masked_softmax", "scalar"]
