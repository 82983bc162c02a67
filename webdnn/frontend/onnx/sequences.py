"""Sequences of tensors, and what may be absent: both are settled when a model is transpiled.

    >>> from webdnn.graph import placeholder
    >>> both = SequenceConstruct(placeholder("a", (2,), "f32"), placeholder("b", (3,), "f32"))
    >>> SequenceAt(both, constant(-1, "i64"))
    input:f32[3]

A graph knows tensors alone. How many tensors a sequence has, and where an operator puts or finds
one, is known when the model is read: so a sequence is a tuple of Values, and its operators are
Python's. An optional value is the value itself, or None as an omitted input is. One function an
operator, as in `operators`.

Limits: positions and lengths are known when the model is transpiled, but for SequenceAt among
tensors of one type, which chooses in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto

from ... import limits, ops
from ...errors import ModelError, UnsupportedError
from ...graph import DTYPES, Value, constant, type_text
from .. import arrays
from ..arrays import axis_of, known_dims, known_int
from .elements import element_type


@dataclass(frozen=True, eq=False)
class TensorSequence:
    """Tensors of one dtype in their order."""

    dtype: str
    items: tuple[Value, ...]

    def __repr__(self) -> str:
        return f"a sequence of {len(self.items)} {DTYPES[self.dtype]} tensors"


# What a name stands for while a model is read; None: it was omitted, or is an optional without one.
Held = Value | TensorSequence | None


def kind_text(held: Held) -> str:
    """What a name stands for, in words: f32[2,3], a sequence of 2 float32 tensors."""
    return "nothing" if held is None else type_text(held) if isinstance(held, Value) else repr(held)


def _position(position: Value, count: int, beyond: int = 0) -> int:
    """A position among `count` tensors, negative ones from the end; up to `beyond` behind them."""
    k = known_int(position, "position")
    if not -count <= k < count + beyond:
        raise ModelError(f"position {k} in a sequence of {count}")
    return k % count if k < 0 else k


def joined(items: Sequence[Held], dtype: str | None = None) -> TensorSequence:
    """A sequence of tensors, which have one dtype: this one, or that of the first."""
    tensors = [v for v in items if isinstance(v, Value)]
    if len(tensors) < len(items):
        raise ModelError("sequences are of tensors; found a sequence, or nothing, in one")
    dtype = dtype or tensors[0].dtype
    for v in tensors:
        if v.dtype != dtype:
            raise ModelError(f"{type_text(v)} in a sequence of {DTYPES[dtype]} tensors")
    return TensorSequence(dtype, tuple(tensors))


def SequenceConstruct(*inputs: Value) -> TensorSequence:
    if not inputs:
        raise ModelError("1 input expected at least, 0 found")
    return joined(inputs)


def SequenceEmpty(*, dtype: int = TensorProto.FLOAT) -> TensorSequence:
    return TensorSequence(element_type(dtype), ())


def SequenceAt(sequence: TensorSequence, position: Value) -> Value:
    items = sequence.items
    if ops.known(position) is None and items and len({(v.shape, v.dtype) for v in items}) == 1:
        at = ops.reshape(ops.cast(position, "i64"), ())
        at = ops.where(ops.less(at, 0), ops.add(at, len(items)), at)
        every = ops.concat([ops.unsqueeze(v, [0]) for v in items], 0)
        return ops.gather(every, at, 0)
    return items[_position(position, len(items))]


def SequenceInsert(
    sequence: TensorSequence, tensor: Value, position: Value | None = None
) -> TensorSequence:
    items = list(sequence.items)
    at = len(items) if position is None else _position(position, len(items), 1)
    items.insert(at, tensor)
    return joined(items, sequence.dtype)


def SequenceErase(sequence: TensorSequence, position: Value | None = None) -> TensorSequence:
    items = list(sequence.items)
    if not items:
        raise ModelError("nothing can be erased from an empty sequence")
    del items[-1 if position is None else _position(position, len(items))]
    return TensorSequence(sequence.dtype, tuple(items))


def SequenceLength(sequence: TensorSequence) -> Value:
    return constant(len(sequence.items), "i64")


def SplitToSequence(
    x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1
) -> TensorSequence:
    axis = axis_of(axis, x)
    if split is None:
        rows = arrays.unstack(x, axis=axis)
        return TensorSequence(
            x.dtype, tuple(ops.unsqueeze(v, [axis]) for v in rows) if keepdims else tuple(rows)
        )
    if split.rank:
        sizes = known_dims(split, "split")
        total = sum(sizes)
        if not ops.same(total, x.shape[axis]):
            raise ModelError(f"parts {sizes} of axis {axis} of {type_text(x)} do not add up")
    else:
        each = known_int(split, "split")
        size = ops.static(x.shape[axis], f"axis {axis} of {type_text(x)}, which is split,")
        if each < 1:
            raise ModelError(f"parts of {each} elements")
        limits.make(8 * -(-size // each), "a sequence of its parts")
        sizes = [min(each, size - start) for start in range(0, size, each)]
    return TensorSequence(x.dtype, tuple(ops.split(x, sizes, axis)))


def ConcatFromSequence(sequence: TensorSequence, *, axis: int, new_axis: int = 0) -> Value:
    items = sequence.items
    if not items:
        raise UnsupportedError("the sequence is empty: its tensors have no shape to join")
    at = axis_of(axis, items[0], new_axis)
    return ops.concat([ops.unsqueeze(v, [at]) for v in items] if new_axis else list(items), at)


def Optional(x: Held = None, *, type: Any = None) -> Held:
    return x


def OptionalHasElement(x: Held = None) -> Value:
    return constant(x is not None, "bool")


def OptionalGetElement(x: Value | TensorSequence) -> Held:
    return x


OPERATORS: dict[str, Callable[..., Any]] = {
    fn.__name__: fn
    for fn in (
        ConcatFromSequence,
        Optional,
        OptionalGetElement,
        OptionalHasElement,
        SequenceAt,
        SequenceConstruct,
        SequenceEmpty,
        SequenceErase,
        SequenceInsert,
        SequenceLength,
        SplitToSequence,
    )
}

__all__ = ["OPERATORS", "Held", "TensorSequence", "joined", "kind_text"]
