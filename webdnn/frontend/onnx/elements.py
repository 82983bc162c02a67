"""Element types: ONNX's numbers for ours, and what is computed in floats alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...graph import DTYPES, FLOATS, Value, constant, evaluate, type_text
from ..ranges import RANGES

# ONNX's TensorProto.DataType -> our dtype. bfloat16 has no storage of its own: float32 holds it
# exactly.
ELEMENT_TYPES = {
    1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "bool", 10: "f16",
    11: "f64", 12: "u32", 13: "u64", 16: "f32",
}  # fmt: skip
BFLOAT16 = 16


def element_type(code: int) -> str:
    """Our dtype for one of TensorProto.DataType."""
    if code not in ELEMENT_TYPES:
        from onnx import TensorProto

        name = (
            TensorProto.DataType.Name(code).lower()
            if code in TensorProto.DataType.values()
            else code
        )
        raise UnsupportedError(
            f"element type {name} is not supported; these are: "
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


def cast(x: Value, dtype: str) -> Value:
    """x as a dtype; as float16 rounded, which is computed in 32 bits."""
    if dtype == "f16" and x.dtype != "f16":
        return ops.cast(ops.round_float16(ops.cast(x, "f32")), dtype)
    return ops.cast(x, dtype)
