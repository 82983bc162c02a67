"""The bits of an element as another type of the same width: ONNX's BitCast.

    >>> from webdnn.graph import constant, evaluate
    >>> hex(int(evaluate(BitCast(constant(1.0, "f32"), to=6))))
    '0x3f800000'

Limits: types of 32 bits, and integers of fewer; 64-bit types have no bits of their own here.
"""

from __future__ import annotations

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...graph import DTYPES, Value, array_type
from .elements import element_type

_WORDS = ("f32", "i32", "u32")
_FEW = ("bool", "i8", "u8", "i16", "u16", "i4", "u4", "i2", "u2")


def BitCast(x: Value, *, to: int) -> Value:
    dtype = element_type(to)
    if dtype == x.dtype:
        return x
    if x.dtype in _WORDS and dtype in _WORDS:
        return ops.bits_as(x, to=dtype)
    if x.dtype in _FEW and dtype in _FEW and _bits(x.dtype) == _bits(dtype):
        return ops.cast(x, dtype)
    name = f"from {DTYPES[x.dtype]} to {DTYPES[dtype]}"
    if x.dtype in (*_WORDS, *_FEW) and dtype in (*_WORDS, *_FEW):
        raise ModelError(f"the bits {name}, which are not as many")
    raise UnsupportedError(
        f"the bits {name}: integers of 64 bits and floats but float32 are computed in another form"
    )


def _bits(dtype: str) -> int:
    few = {"i4": 4, "u4": 4, "i2": 2, "u2": 2}
    return few.get(dtype) or 8 * array_type(dtype).itemsize


__all__ = ["BitCast"]
