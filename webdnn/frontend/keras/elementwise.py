"""keras.ops element by element, and how operands of every kind become values of one type.

    >>> from webdnn.graph import placeholder
    >>> ELEMENTWISE["Multiply"](placeholder("x", (2, 3), "i32"), 0.5)
    mul:f32[2,3]

Each function takes what Keras' own does, by position or by name. Operands may be numbers and lists.
Types are promoted as in Keras: numbers take the type of the tensor beside them, save that a float
makes integers float32. `ELEMENTWISE` names the functions as Keras names its operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedError
from ...expr import Dim
from ...graph import DTYPES, FLOATS, FROM_NUMPY, Value, as_dim, constant, evaluate, type_text

Tensor = Any  # a Value, a number, or a list of numbers


# ---- operands ------------------------------------------------------------------------------------


def dtype_of(given: Any) -> str:
    """Our dtype for Keras' name of one, also as "tf.float32" or a serialized policy."""
    if isinstance(given, Mapping):
        given = (given.get("config") or {}).get("name", "float32")
    name = str(given).rpartition(".")[2]
    name = {"bfloat16": "float32", "float": "float32", "int": "int32"}.get(name, name)
    if name not in FROM_NUMPY:
        raise UnsupportedError(f"dtype {given!r}; known are {', '.join(DTYPES.values())}")
    return FROM_NUMPY[name]


def value(x: Tensor, like: str | None = None) -> Value:
    """An operand as a value; numbers become f32, i32 or bool, or take the dtype `like`."""
    if isinstance(x, Value):
        return ops.cast(x, "f32") if x.dtype == "f64" else x
    if isinstance(x, (list, tuple)) and any(isinstance(part, Value) for part in x):
        parts = promoted(*x)
        return ops.concat([ops.unsqueeze(p, [0]) for p in parts], 0)
    array = np.asarray(x)
    kind = {"f": "f32", "i": "i32", "u": "i32", "b": "bool"}.get(array.dtype.kind)
    if kind is None:
        raise UnsupportedError(f"an operand {x!r:.60}; numbers and tensors are expected")
    return constant(array, like or kind)


_RANK = ("bool", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "f32", "f64")


def promoted(*xs: Tensor) -> list[Value]:
    """The operands with one dtype."""
    xs = tuple(value(x) if isinstance(x, Value) else x for x in xs)
    tensors = [x for x in xs if isinstance(x, Value)]
    widest = max((x.dtype for x in tensors), key=_RANK.index, default=None)
    plain = [np.asarray(x).dtype.kind for x in xs if not isinstance(x, (Value, list, tuple))]
    if widest is None:
        widest = "f32" if "f" in plain else "i32" if set(plain) - {"b"} else "bool"
    elif widest not in FLOATS and "f" in plain:
        widest = "f32"
    elif widest == "bool" and "i" in plain:
        widest = "i32"
    return [ops.cast(x, widest) if isinstance(x, Value) else value(x, widest) for x in xs]


def floats(x: Tensor) -> Value:
    """An operand as floating-point numbers."""
    v = value(x)
    return v if v.dtype in FLOATS else ops.cast(v, "f32")


def number(x: Tensor, what: str) -> Any:
    """A Python number; a tensor must be known."""
    if isinstance(x, Value):
        found = ops.known(x)
        if found is None and x.constant:
            found = evaluate(x)
        if found is None or found.size != 1:
            raise UnsupportedError(f"{what} must be known, but is computed: {type_text(x)}")
        return found.ravel()[0]
    return x


def dims(given: Any, what: str = "a shape") -> list[Dim]:
    """Sizes: numbers, and elements of shapes, symbolic ones included."""
    if isinstance(given, Value):
        found = ops.known(given)
        if found is None:
            raise UnsupportedError(f"{what} must be known, but is computed: {type_text(given)}")
        return [as_dim(d) for d in found.ravel()]
    items = given if isinstance(given, (list, tuple)) else [given]
    return [as_dim(-1 if d is None else number(d, what)) for d in items]


def axes(axis: Any, rank: int) -> list[int]:
    """Axes counted from 0; None: all."""
    if axis is None:
        return list(range(rank))
    given = axis if isinstance(axis, (list, tuple)) else [axis]
    return [int(number(a, "an axis")) % max(rank, 1) for a in given]


def along(x: Value, axis: Any) -> tuple[Value, int]:
    """x and an axis of it; without one, x laid flat."""
    if axis is None:
        return ops.reshape(x, (x.size,)), 0
    return x, axes(axis, x.rank)[0]


# ---- elementwise ---------------------------------------------------------------------------------


def _binary(fn: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda x1, x2: fn(*promoted(x1, x2))


def _floating(fn: Callable[..., Value]) -> Callable[..., Value]:
    return lambda x: fn(floats(x))


def _numeric(fn: Callable[..., Value]) -> Callable[..., Value]:
    """Of numbers; truth values count as integers."""

    def compute(x: Tensor) -> Value:
        v = value(x)
        return fn(ops.cast(v, "i32") if v.dtype == "bool" else v)

    return compute


def _logical(fn: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda x1, x2: fn(ops.cast(value(x1), "bool"), ops.cast(value(x2), "bool"))


def divide(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    return ops.div(floats(a), floats(b))


def divide_no_nan(x1: Tensor, x2: Tensor) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.where(ops.equal(b, 0.0), constant(0, a.dtype), ops.div(a, b))


def floor_divide(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    if a.dtype in FLOATS:
        return ops.floor_(ops.div(a, b))
    return ops.div(ops.sub(a, ops.mod(a, b)), b)


def clip(x: Tensor, x_min: Tensor, x_max: Tensor) -> Value:
    v = value(x)
    low, high = (None if b is None else value(b, None) for b in (x_min, x_max))
    for b, fn in ((low, ops.max_), (high, ops.min_)):
        if b is not None:
            v, b = promoted(v, b if isinstance(b, Value) and not b.constant else evaluate(b).item())
            v = fn(v, b)
    return v


def where(condition: Tensor, x1: Tensor = None, x2: Tensor = None) -> Value:
    if x1 is None or x2 is None:
        raise UnsupportedError("the positions of what is true have no fixed number; give x1 and x2")
    a, b = promoted(x1, x2)
    return ops.where(ops.cast(value(condition), "bool"), a, b)


def power(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    if isinstance(x2, (int, float)) and x2 == 2:
        return ops.mul(a, a)
    return ops.pow_(a, b)


def square(x: Tensor) -> Value:
    v = value(x)
    return ops.mul(v, v)


def log1p(x: Value) -> Value:
    """log(1 + x), exact for small x: x log(u) / (u - 1) where u = 1 + x (Kahan)."""
    u = ops.add(x, 1.0)
    return ops.where(ops.equal(u, 1.0), x, ops.mul(x, ops.div(ops.log_(u), ops.sub(u, 1.0))))


def expm1(x: Value) -> Value:
    """exp(x) - 1, exact for small x: tanh(x / 2) (exp(x) + 1)."""
    small = ops.mul(ops.tanh_(ops.mul(x, 0.5)), ops.add(ops.exp_(x), 1.0))
    return ops.where(ops.less(ops.abs_(x), 1.0), small, ops.sub(ops.exp_(x), 1.0))


def logaddexp(x1: Tensor, x2: Tensor) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.add(ops.max_(a, b), ops.softplus(ops.neg(ops.abs_(ops.sub(a, b)))))


def round_(x: Tensor, decimals: int = 0) -> Value:
    v = value(x)
    if v.dtype not in FLOATS:
        return v
    scale = 10.0**decimals
    return ops.div(ops.round_(ops.mul(v, scale)), scale) if decimals else ops.round_(v)


def isclose(
    x1: Tensor, x2: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    near = ops.less_equal(ops.abs_(ops.sub(a, b)), ops.add(ops.mul(ops.abs_(b), rtol), atol))
    if equal_nan:
        near = ops.logical_or(near, ops.logical_and(ops.is_nan(a), ops.is_nan(b)))
    return near


def nan_to_num(
    x: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Value:
    v = floats(x)
    top = float(np.finfo(np.float32).max)
    v = ops.where(ops.is_nan(v), constant(nan, v.dtype), v)
    high, low = top if posinf is None else posinf, -top if neginf is None else neginf
    v = ops.where(ops.is_inf(v, negative=False), constant(high, v.dtype), v)
    return ops.where(ops.is_inf(v, positive=False), constant(low, v.dtype), v)


def cast(x: Tensor, dtype: Any) -> Value:
    v, to = value(x), dtype_of(dtype)
    return ops.not_equal(v, 0) if to == "bool" and v.dtype != "bool" else ops.cast(v, to)


def saturate_cast(x: Tensor, dtype: Any) -> Value:
    v, to = value(x), dtype_of(dtype)
    if to not in FLOATS and to != "bool":
        info = np.iinfo(DTYPES[to])
        bound = 2**31 - 128 if v.dtype in FLOATS else 2**31 - 1
        v = ops.clamp(v, max(int(info.min), -bound), min(int(info.max), bound))
    return cast(v, dtype)


def convert_to_tensor(x: Tensor, dtype: Any = None) -> Value:
    return value(x) if dtype is None else cast(x, dtype)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs": _numeric(ops.abs_), "Absolute": _numeric(ops.abs_), "Add": _binary(ops.add),
    "Arccos": _floating(ops.acos_), "Arccosh": _floating(ops.acosh_),
    "Arcsin": _floating(ops.asin_), "Arcsinh": _floating(ops.asinh_),
    "Arctan": _floating(ops.atan_), "Arctan2": _binary(ops.atan2_),
    "Arctanh": _floating(ops.atanh_), "BitwiseAnd": lambda x, y: ops.bit_and(*promoted(x, y)),
    "BitwiseInvert": lambda x: ops.bit_not(value(x)), "BitwiseNot": lambda x: ops.bit_not(value(x)),
    "BitwiseOr": lambda x, y: ops.bit_or(*promoted(x, y)),
    "BitwiseXor": lambda x, y: ops.bit_xor(*promoted(x, y)),
    "BitwiseLeftShift": lambda x, y: ops.shift_left(*promoted(x, y)),
    "BitwiseRightShift": lambda x, y: ops.shift_right(*promoted(x, y)),
    "LeftShift": lambda x, y: ops.shift_left(*promoted(x, y)),
    "RightShift": lambda x, y: ops.shift_right(*promoted(x, y)),
    "Cbrt": lambda x: ops.mul(ops.sign_(floats(x)), ops.pow_(ops.abs_(floats(x)), 1 / 3)),
    "Ceil": _floating(ops.ceil_), "Cos": _floating(ops.cos_), "Cosh": _floating(ops.cosh_),
    "Deg2rad": lambda x: ops.mul(floats(x), math.pi / 180), "Divide": divide,
    "DivideNoNan": divide_no_nan, "Equal": _binary(ops.equal), "Erf": _floating(ops.erf_),
    "Erfc": lambda x: ops.sub(1.0, ops.erf_(floats(x))), "Exp": _floating(ops.exp_),
    "Exp2": lambda x: ops.exp_(ops.mul(floats(x), math.log(2))), "Expm1": _floating(expm1),
    "Fabs": _floating(ops.abs_), "Floor": _floating(ops.floor_), "FloorDivide": floor_divide,
    "Fmax": _binary(ops.max_), "Fmin": _binary(ops.min_), "Fmod": _binary(ops.fmod),
    "Greater": _binary(ops.greater), "GreaterEqual": _binary(ops.greater_equal),
    "Hypot": lambda x1, x2: ops.sqrt_(ops.add(square(floats(x1)), square(floats(x2)))),
    "Isclose": isclose, "Isfinite": lambda x: ops.logical_not(
        ops.logical_or(ops.is_nan(floats(x)), ops.is_inf(floats(x)))),
    "Isinf": lambda x: ops.is_inf(floats(x)), "Isnan": lambda x: ops.is_nan(floats(x)),
    "Isneginf": lambda x: ops.is_inf(floats(x), positive=False),
    "Isposinf": lambda x: ops.is_inf(floats(x), negative=False), "Less": _binary(ops.less),
    "LessEqual": _binary(ops.less_equal), "Log": _floating(ops.log_),
    "Log10": lambda x: ops.mul(ops.log_(floats(x)), 1 / math.log(10)), "Log1p": _floating(log1p),
    "Log2": lambda x: ops.mul(ops.log_(floats(x)), 1 / math.log(2)), "Logaddexp": logaddexp,
    "LogicalAnd": _logical(ops.logical_and),
    "LogicalNot": lambda x: ops.logical_not(ops.cast(value(x), "bool")),
    "LogicalOr": _logical(ops.logical_or), "LogicalXor": _logical(ops.logical_xor),
    "Maximum": _binary(ops.max_), "Minimum": _binary(ops.min_), "Mod": _binary(ops.mod),
    "Multiply": _binary(ops.mul), "NanToNum": nan_to_num, "Negative": _numeric(ops.neg),
    "NotEqual": _binary(ops.not_equal), "Power": power,
    "Rad2deg": lambda x: ops.mul(floats(x), 180 / math.pi),
    "Reciprocal": _floating(ops.reciprocal), "Round": round_, "Rsqrt": _floating(ops.rsqrt_),
    "Sign": _numeric(ops.sign_), "Sin": _floating(ops.sin_), "Sinh": _floating(ops.sinh_),
    "Sqrt": _floating(ops.sqrt_), "Square": square, "Subtract": _binary(ops.sub),
    "Tan": _floating(ops.tan_), "Tanh": _floating(ops.tanh_), "TrueDivide": divide,
    "Trunc": _floating(ops.trunc_), "Clip": clip, "Where": where, "Cast": cast,
    "SaturateCast": saturate_cast, "ConvertToTensor": convert_to_tensor,
    "Copy": value, "StopGradient": value, "Array": convert_to_tensor, "Conjugate": value,
    "Real": value,
}  # fmt: skip

__all__ = ["ELEMENTWISE"]
