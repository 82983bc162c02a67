"""Chainer's functions that move elements: shapes, joining and splitting, padding, indexing.

    >>> from webdnn.graph import placeholder
    >>> GetItem(placeholder("x", (2, 6, 4), "f32"), slices=(Ellipsis, slice(1, None, 2), 0))
    reshape:f32[2,3]

They are numpy's, and so are those of `frontend.arrays`, which say what is meant. Indices may come
from the inputs, as long as the result has a size that does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedError
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant, evaluate
from .. import arrays
from ..arrays import axis_of, known_number

Attr = Any

# ---- shapes -------------------------------------------------------------------------------------


def Reshape(x: Value, *, shape: Sequence[Dim]) -> Value:
    return arrays.reshape(x, shape)


def Transpose(x: Value, *, axes: Attr) -> Value:
    return arrays.transpose(x, axes)


def Swapaxes(x: Value, *, axis1: int, axis2: int) -> Value:
    return arrays.swapaxes(x, axis1, axis2)


def Moveaxis(x: Value, *, source: Sequence[int], destination: Sequence[int]) -> Value:
    return arrays.moveaxis(x, source, destination)


def Rollaxis(x: Value, *, axis: int, start: int) -> Value:
    """To before the axis that is at `start`; x.rank is the end."""
    axis, start = axis_of(axis, x), axis_of(start, x) if start < 0 else start
    return arrays.moveaxis(x, axis, start - (axis < start))


def ExpandDims(x: Value, *, axis: int) -> Value:
    return arrays.expand_dims(x, axis)


def Squeeze(x: Value, *, axis: Attr) -> Value:
    return arrays.squeeze(x, axis)


def BroadcastTo(x: Value, *, _shape: Sequence[Dim]) -> Value:
    return arrays.broadcast_to(x, _shape)


def Broadcast(*xs: Value) -> list[Value]:
    return arrays.broadcast_arrays(*xs)


def Concat(*xs: Value, axis: int) -> Value:
    return arrays.concatenate(xs, axis)


def Stack(*xs: Value, axis: int) -> Value:
    return arrays.stack(xs, axis)


def Hstack(*xs: Value) -> Value:
    return arrays.hstack(xs)


def Vstack(*xs: Value) -> Value:
    return arrays.vstack(xs)


def Dstack(*xs: Value) -> Value:
    return arrays.dstack(xs)


def SplitAxis(x: Value, *, axis: int, indices: Attr = None, sections: Attr = None) -> list[Value]:
    return arrays.split(x, sections if indices is None else indices, axis)


def Separate(x: Value, *, axis: int) -> list[Value]:
    return arrays.unstack(x, None, axis)


def Flip(x: Value, *, axis: int) -> Value:
    return arrays.flip(x, axis)


def FlipLR(x: Value) -> Value:
    return arrays.flip(x, 1)


def FlipUD(x: Value) -> Value:
    return arrays.flip(x, 0)


def Repeat(x: Value, *, repeats: Sequence[int], axis: int | None) -> Value:
    return arrays.repeat(x, repeats, axis)


def Tile(x: Value, *, reps: Sequence[Dim]) -> Value:
    return arrays.tile(x, reps)


def Depth2Space(x: Value, *, r: int) -> Value:
    return ops.depth_to_space(x, r, 1)


def Space2Depth(x: Value, *, r: int) -> Value:
    return ops.space_to_depth(x, r, 1)


def Pad(x: Value, *, pad_width: Attr, mode: str, keywords: Mapping[str, Attr]) -> Value:
    if keywords.get("reflect_type") == "odd":
        raise UnsupportedError("padding with reflect_type 'odd'; 'even' is supported")
    return arrays.pad(x, keywords.get("constant_values"), pad_width=pad_width, mode=mode)


def PadSequence(*xs: Value, length: Dim | None, padding: Attr) -> Value:
    if length is None:
        if len({x.shape[0] for x in xs}) == 1:
            length = xs[0].shape[0]
        else:
            length = max(ops.static(x.shape[0], "the length of a sequence") for x in xs)
    rows = []
    for x in xs:
        more = as_dim(lift(length) - x.shape[0])
        rest = [0] * (x.rank - 1)
        rows.append(ops.pad(x, [0, *rest], [more, *rest], value=known_number(padding, "padding")))
    return Stack(*rows, axis=0)


def TransposeSequence(*xs: Value) -> list[Value]:
    """Step t of all sequences that are longer than t; they come longest first."""
    lengths = [ops.static(x.shape[0], "the length of a sequence") for x in xs]
    return [
        ops.concat([ops.slice_axis(x, 0, t, 1) for x, n in zip(xs, lengths) if n > t], 0)
        for t in range(lengths[0])
    ]


# ---- indexing -----------------------------------------------------------------------------------


def GetItem(x: Value, *, slices: Sequence[Attr]) -> Value:
    return arrays.getitem(x, tuple(slices))


def ScatterAdd(a: Value, b: Value, *, slices: Sequence[Attr]) -> Value:
    """a with b added at an index: as padding where it is made of slices and numbers."""
    items = arrays.index_items(a, tuple(slices))
    if all(i is not None and not isinstance(i, Value) for i in items):
        starts, sizes, steps = arrays.basic_index(a, items)
        if all(s > 0 for s in steps):
            spans = [(lift(n) - 1) * s + 1 for n, s in zip(sizes, steps)]
            after = [as_dim(lift(d) - s - n) for d, s, n in zip(a.shape, starts, spans)]
            return ops.add(a, ops.pad(ops.dilate(ops.reshape(b, sizes), steps), starts, after))
    places = arrays.getitem(ops.reshape(ops.iota((a.size,), 0, "i64"), a.shape), tuple(slices))
    flat, new = ops.reshape(a, (a.size,)), ops.reshape(b, (b.size,))
    total = ops.scatter_nd(flat, ops.reshape(places, (places.size, 1)), new, "add")
    return ops.reshape(total, a.shape)


def Permutate(x: Value, *, indices: Value, axis: int, inv: bool) -> Value:
    indices = ops.cast(indices, "i64")
    if inv and indices.constant:
        indices = constant(np.argsort(evaluate(indices), kind="stable").astype(np.int64))
    elif inv:
        n = indices.shape[0]
        here = ops.equal(ops.reshape(indices, (1, n)), ops.iota((n, 1), 0, "i64"))
        indices = ops.squeeze(ops.reduce(ops.cast(here, "i32"), "argmax", [1]), [1])
    return arrays.take(x, indices, axis)


def SelectItem(x: Value, t: Value) -> Value:
    return ops.squeeze(ops.gather_elements(x, ops.unsqueeze(ops.cast(t, "i64"), [1]), 1), [1])


def EmbedIDFunction(x: Value, W: Value, *, ignore_label: int | None) -> Value:
    if ignore_label is None:
        return ops.gather(W, x, 0)
    ignored = ops.equal(x, constant(ignore_label, x.dtype))
    rows = ops.gather(W, ops.where(ignored, constant(0, x.dtype), x), 0)
    return ops.where(ops.unsqueeze(ignored, [x.rank]), constant(0, W.dtype), rows)


def Diagonal(x: Value, *, offset: int, axis1: int, axis2: int) -> Value:
    return arrays.diagonal(x, offset, axis1, axis2)
