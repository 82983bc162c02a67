"""What the operators on scalars mean: one table, read as numpy, for every target.

    >>> [int(OPS[op].numpy(np.int32(-7), np.int32(2))) for op in ("idiv", "floordiv")]
    [-3, -4]

`expr` builds expressions of these rows and folds constants with them; each target spells them; the
tests hold every spelling against the row. The corners (NaN, division by zero, shifts beyond the
width, casts out of range) are in the docstring of `expr`. Infinities and NaN are values here: the
caller silences numpy's warnings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

INT = ("i32", "u32")
FLOAT = ("f32", "f64")
NUMPY = {
    "f32": np.float32,
    "f64": np.float64,
    "i32": np.int32,
    "u32": np.uint32,
    "bool": np.bool_,
}


@dataclass(frozen=True)
class Storage:
    """How elements lie in memory: `bits` each, read as the scalar dtype `computed`; `numpy` is the
    array that holds them before they are written.

    Integers of 16, 8, 4 and 2 bits are a part of a word of u32, the first one in its lowest bits: a
    kernel loads the word, and what it takes of it is arithmetic (`Lowering.read`).
    """

    name: str
    bits: int
    computed: str
    numpy: Any


# The runner's twin of this table is STORAGE of runner/src/descriptor.js.
STORAGE: Mapping[str, Storage] = {
    row.name: row
    for row in (
        Storage("f32", 32, "f32", np.float32),
        Storage("i32", 32, "i32", np.int32),
        Storage("u32", 32, "u32", np.uint32),
        Storage("f64", 64, "f64", np.float64),
        Storage("f16", 16, "f32", np.float16),
        Storage("i16", 16, "i32", np.int16),
        Storage("u16", 16, "i32", np.uint16),
        Storage("i8", 8, "i32", np.int8),
        Storage("u8", 8, "i32", np.uint8),
        Storage("i4", 4, "i32", np.int8),
        Storage("u4", 4, "i32", np.uint8),
        Storage("i2", 2, "i32", np.int8),
        Storage("u2", 2, "i32", np.uint8),
    )
}
# What a kernel reads as parts of words.
PACKED = frozenset(row.name for row in STORAGE.values() if row.computed == "i32" and row.bits < 32)


def bytes_of(storage: str, elements: int) -> int:
    """The bytes that elements take up: whole words of 32 bits, at least one."""
    return max(1, -(-elements * STORAGE[storage].bits // 32)) * 4


@dataclass(frozen=True)
class Op:
    """A row of the operator table: meaning for numpy, result dtype, and cost in rough flops."""

    name: str
    arity: int
    numpy: Callable[..., Any]
    result: str = "same"  # "same" as the operands, or a dtype
    cost: int = 1


def _int_div(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    safe = np.where(b == 0, 1, b).astype(b.dtype)
    q = np.abs(a.astype(np.int64)) // np.abs(safe.astype(np.int64))
    q = np.where((a < 0) != (safe < 0), -q, q)
    return np.where(b == 0, 0, q).astype(a.dtype)


def _rem(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f":
        return np.fmod(a, b)
    return np.where(b == 0, 0, a - _int_div(a, b) * b).astype(a.dtype)


def _floordiv(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f":
        return np.floor_divide(a, b)
    return np.where(b == 0, 0, np.floor_divide(a, np.where(b == 0, 1, b))).astype(a.dtype)


def _mod(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f":
        return np.mod(a, b)
    return np.where(b == 0, 0, np.mod(a, np.where(b == 0, 1, b))).astype(a.dtype)


def _shift(left: bool) -> Callable[..., Any]:
    def call(a: Any, n: Any) -> Any:
        a, n = np.asarray(a), np.asarray(n)
        wide = a.astype(np.int64) if a.dtype.kind == "i" else a.astype(np.uint64)
        count = np.clip(n, 0, 32).astype(wide.dtype)
        out = np.left_shift(wide, count) if left else np.right_shift(wide, count)
        return np.where(n >= 32, 0, out).astype(a.dtype)

    return call


def _erf(x: Any) -> Any:
    x = np.asarray(x)
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype) if x.size else x


def _pow(a: Any, b: Any) -> Any:
    a = np.asarray(a)
    return np.power(a.astype(np.float64), b).astype(a.dtype)


def _rsqrt(x: Any) -> Any:
    return 1 / np.sqrt(x)


OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        Op("add", 2, np.add),
        Op("sub", 2, np.subtract),
        Op("mul", 2, np.multiply),
        Op("div", 2, np.true_divide, cost=4),
        Op("floordiv", 2, _floordiv, cost=8),
        Op("mod", 2, _mod, cost=8),
        Op("idiv", 2, _int_div, cost=8),
        Op("rem", 2, _rem, cost=8),
        Op("min", 2, np.minimum),
        Op("max", 2, np.maximum),
        Op("pow", 2, _pow, cost=40),
        Op("atan2", 2, np.arctan2, cost=40),
        Op("neg", 1, np.negative),
        Op("abs", 1, np.abs),
        Op("sign", 1, np.sign, cost=2),
        Op("sqrt", 1, np.sqrt, cost=8),
        Op("rsqrt", 1, _rsqrt, cost=10),
        Op("exp", 1, np.exp, cost=16),
        Op("log", 1, np.log, cost=20),
        Op("sin", 1, np.sin, cost=24),
        Op("cos", 1, np.cos, cost=24),
        Op("tan", 1, np.tan, cost=40),
        Op("asin", 1, np.arcsin, cost=30),
        Op("acos", 1, np.arccos, cost=30),
        Op("atan", 1, np.arctan, cost=24),
        Op("sinh", 1, np.sinh, cost=30),
        Op("cosh", 1, np.cosh, cost=30),
        Op("tanh", 1, np.tanh, cost=20),
        Op("asinh", 1, np.arcsinh, cost=30),
        Op("acosh", 1, np.arccosh, cost=30),
        Op("atanh", 1, np.arctanh, cost=30),
        Op("erf", 1, _erf, cost=24),
        Op("floor", 1, np.floor),
        Op("ceil", 1, np.ceil),
        Op("round", 1, np.round),  # half to even
        Op("trunc", 1, np.trunc),
        Op("isnan", 1, np.isnan, "bool"),
        Op("isinf", 1, np.isinf, "bool"),
        Op("lt", 2, np.less, "bool"),
        Op("le", 2, np.less_equal, "bool"),
        Op("gt", 2, np.greater, "bool"),
        Op("ge", 2, np.greater_equal, "bool"),
        Op("eq", 2, np.equal, "bool"),
        Op("ne", 2, np.not_equal, "bool"),
        Op("and", 2, np.logical_and, "bool"),
        Op("or", 2, np.logical_or, "bool"),
        Op("xor", 2, np.logical_xor, "bool"),
        Op("not", 1, np.logical_not, "bool"),
        Op("bitand", 2, np.bitwise_and),
        Op("bitor", 2, np.bitwise_or),
        Op("bitxor", 2, np.bitwise_xor),
        Op("bitnot", 1, np.invert),
        Op("shl", 2, _shift(True)),
        Op("shr", 2, _shift(False)),
        Op("select", 3, np.where, "select"),  # select(condition, if true, if false)
        Op("cast", 1, lambda x: x, "cast"),  # numeric conversion to the node's dtype
        Op("bitcast", 1, lambda x: x, "cast"),  # same 32 bits, another dtype
    )
}

# A monoid row: the number of accumulators, and what combines them, by name; targets spell these.
#   sum, prod, max, min    one accumulator
#   any, all               bool
#   argmax, argmin         (value, index): the first of equals wins; "argmax_last" the last
#   scan_sum               inclusive prefix sum along the one reduce axis, for stores by row
MONOIDS: Mapping[str, int] = {
    "sum": 1,
    "prod": 1,
    "max": 1,
    "min": 1,
    "any": 1,
    "all": 1,
    "argmax": 2,
    "argmin": 2,
    "argmax_last": 2,
    "argmin_last": 2,
    "scan_sum": 1,
}


def cast_numpy(x: Any, dtype: str) -> Any:
    """The numpy reading of `cast`."""
    x = np.asarray(x)
    if dtype == "bool":
        return x != 0
    if dtype in INT and x.dtype.kind == "f":
        info = np.iinfo(NUMPY[dtype])
        wide = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=2.0**40, neginf=-(2.0**40))
        return np.clip(np.trunc(wide), info.min, info.max).astype(NUMPY[dtype])
    with np.errstate(all="ignore"):
        return x.astype(NUMPY[dtype])
