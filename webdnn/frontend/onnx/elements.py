"""Element types: ONNX's numbers for ours, and what is computed in floats alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...graph import DTYPES, FLOATS, SHORT_FLOATS, Value, constant, evaluate, type_text
from ...ops.ranges import RANGES

# ONNX's TensorProto.DataType -> our dtype.
ELEMENT_TYPES = {
    1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "bool", 10: "f16",
    11: "f64", 12: "u32", 13: "u64", 16: "bf16", 17: "f8e4m3fn", 18: "f8e4m3fnuz", 19: "f8e5m2",
    20: "f8e5m2fnuz", 21: "u4", 22: "i4", 23: "f4e2m1", 24: "f8e8m0", 25: "u2", 26: "i2",
}  # fmt: skip


# What ONNX calls our dtypes: float, double, float8e4m3fn ...
_NAMES = {25: "uint2", 26: "int2"} | {c: n.lower() for n, c in TensorProto.DataType.items()}
ONNX_NAMES = {d: _NAMES[c] for c, d in ELEMENT_TYPES.items()}  # two are younger than onnx 1.19


def element_type(code: int) -> str:
    """Our dtype for one of TensorProto.DataType."""
    if code not in ELEMENT_TYPES:
        raise UnsupportedError(
            f"element type {_NAMES.get(code, code)} is not supported; these are: "
            f"{', '.join(sorted({DTYPES[d] for d in ELEMENT_TYPES.values()}))}"
        )
    return ELEMENT_TYPES[code]


def in_floats(fn: Callable[[Value], Value], x: Value) -> Value:
    """What fn makes of floating-point numbers, of x's dtype again."""
    return fn(x) if x.dtype in FLOATS else ops.cast(fn(ops.cast(x, "f32")), x.dtype)


def onto(x: Value, computed: Value, what: str) -> Value:
    """What was computed of x and `what`, which may broadcast to x but not x to it."""
    if computed.rank != x.rank or not all(map(ops.same, computed.shape, x.shape)):
        raise ModelError(f"{what} does not fit {type_text(x)}: it would be {type_text(computed)}")
    return computed


def saturated(v: Value) -> Value:
    """A constant bound beyond 32 bits bounds nothing that fits into them: the largest one does as
    well.
    """
    if v.constant and v.dtype in ("i64", "u64"):
        return constant(np.clip(evaluate(v), *RANGES[v.dtype]), v.dtype)
    return v


def cast(x: Value, dtype: str, saturate: bool = True, how: str = "up") -> Value:
    """x as a dtype, rounded as that has its numbers: it is computed in 32 bits.

    saturate: whether what is beyond a float8 becomes the largest. how: the rounding of exponents.
    """
    if dtype == x.dtype or (dtype not in ("f16", *SHORT_FLOATS)):
        return ops.cast(x, dtype)
    wide = ops.cast(x, "f32")
    if dtype == "f8e8m0":
        return ops.cast(ops.round_power(wide, how=how), dtype)
    if dtype in ("f16", "bf16"):
        rounding = ops.round_float16 if dtype == "f16" else ops.round_bfloat16
        return ops.cast(rounding(wide), dtype)
    return ops.cast(ops.round_minifloat(wide, to=dtype, saturate=saturate), dtype)
