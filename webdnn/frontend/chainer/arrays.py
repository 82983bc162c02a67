"""Chainer's functions that move elements: shapes, joining and splitting, padding, indexing.

    >>> from webdnn.graph import placeholder
    >>> GetItem(placeholder("x", (2, 6, 4), "f32"), slices=(Ellipsis, slice(1, None, 2), 0))
    reshape:f32[2,3]

Indices may be numbers, slices, None and integer arrays, with numpy's meaning; arrays may come from
the inputs, as long as the result has a size that does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, lift
from ...graph import Value, as_dim, constant, evaluate, type_text
from ..arrays import axes_of, axis_of, slice_range

Attr = Any


def known_number(v: Value | int, what: str) -> int:
    """A number that must not depend on the inputs."""
    if isinstance(v, Value):
        if not v.constant:
            raise UnsupportedError(f"{what} is computed from the inputs")
        return int(evaluate(v))
    return v


# ---- shapes -------------------------------------------------------------------------------------


def Reshape(x: Value, *, shape: Sequence[Dim]) -> Value:
    return ops.reshape(x, shape)


def Transpose(x: Value, *, axes: Attr) -> Value:
    return ops.transpose(x, range(x.rank)[::-1] if axes is None else axes_of(axes, x))


def Swapaxes(x: Value, *, axis1: int, axis2: int) -> Value:
    perm = list(range(x.rank))
    perm[axis1], perm[axis2] = perm[axis2], perm[axis1]
    return ops.transpose(x, perm)


def Moveaxis(x: Value, *, source: Sequence[int], destination: Sequence[int]) -> Value:
    return ops.transpose(x, _moved(x.rank, axes_of(source, x), axes_of(destination, x)))


def _moved(rank: int, source: Sequence[int], destination: Sequence[int]) -> list[int]:
    perm = [a for a in range(rank) if a not in source]
    for to, a in sorted(zip(destination, source)):
        perm.insert(to, a)
    return perm


def Rollaxis(x: Value, *, axis: int, start: int) -> Value:
    axis = axis_of(axis, x)
    start = start + x.rank if start < 0 else start
    perm = [a for a in range(x.rank) if a != axis]
    perm.insert(start - (axis < start), axis)
    return ops.transpose(x, perm)


def ExpandDims(x: Value, *, axis: int) -> Value:
    return ops.unsqueeze(x, [axis_of(axis, x, 1)])


def Squeeze(x: Value, *, axis: Attr) -> Value:
    return ops.squeeze(x, None if axis is None else axes_of(axis, x))


def BroadcastTo(x: Value, *, _shape: Sequence[Dim]) -> Value:
    return ops.expand(x, _shape)


def Broadcast(*xs: Value) -> list[Value]:
    rank = max(x.rank for x in xs)
    shape: list[Dim] = [1] * rank
    for x in xs:
        for k, d in enumerate(x.shape, rank - x.rank):
            shape[k] = d if ops.same(shape[k], 1) else shape[k]
    return [ops.expand(x, shape) for x in xs]


def Concat(*xs: Value, axis: int) -> Value:
    return ops.concat(xs, axis_of(axis, xs[0]))


def Stack(*xs: Value, axis: int) -> Value:
    axis = axis_of(axis, xs[0], 1)
    return ops.concat([ops.unsqueeze(x, [axis]) for x in xs], axis)


def Hstack(*xs: Value) -> Value:
    wide = [ops.reshape(x, (1,)) if x.rank == 0 else x for x in xs]
    return ops.concat(wide, 0 if wide[0].rank == 1 else 1)


def Vstack(*xs: Value) -> Value:
    return ops.concat([x if x.rank > 1 else ops.reshape(x, (1, x.size)) for x in xs], 0)


def Dstack(*xs: Value) -> Value:
    deep = []
    for x in xs:
        if x.rank < 2:
            x = ops.reshape(x, (1, x.size))
        deep.append(ops.unsqueeze(x, [2]) if x.rank == 2 else x)
    return ops.concat(deep, 2)


def SplitAxis(x: Value, *, axis: int, indices: Attr = None, sections: Attr = None) -> list[Value]:
    axis = axis_of(axis, x)
    size = x.shape[axis]
    if isinstance(indices, Value):
        indices = tuple(int(i) for i in evaluate(indices)) if indices.constant else indices
    if isinstance(indices, Value):
        raise UnsupportedError("the indices are computed from the inputs")
    if indices is None:
        each = as_dim(lift(size) // sections)
        return ops.split(x, [each] * sections, axis)
    ends = [_bounded(i, size) for i in indices]
    starts = [0, *ends]
    sizes = [as_dim(lift(b) - a) for a, b in zip(starts, [*ends, size])]
    sizes = [0 if isinstance(n, int) and n < 0 else n for n in sizes]
    return [ops.slice_axis(x, axis, a, n) for a, n in zip(starts, sizes)]


def _bounded(i: Dim, size: Dim) -> Dim:
    """An index as numpy takes it: from the end if negative, and not beyond it."""
    if isinstance(i, int) and isinstance(size, int):
        return min(max(i + size if i < 0 else i, 0), size)
    return as_dim(lift(size) + i) if isinstance(i, int) and i < 0 else i


def Separate(x: Value, *, axis: int) -> list[Value]:
    axis = axis_of(axis, x)
    size = ops.static(x.shape[axis], "the axis that is separated")
    return [ops.squeeze(ops.slice_axis(x, axis, k, 1), [axis]) for k in range(size)]


def Flip(x: Value, *, axis: int) -> Value:
    return ops.flip(x, [axis_of(axis, x)])


def FlipLR(x: Value) -> Value:
    return ops.flip(x, [1])


def FlipUD(x: Value) -> Value:
    return ops.flip(x, [0])


def Repeat(x: Value, *, repeats: Sequence[int], axis: int | None) -> Value:
    if axis is None:
        x, axis = ops.reshape(x, (x.size,)), 0
    axis = axis_of(axis, x)
    if len(repeats) == 1 and repeats[0] > 0:
        return ops.repeat(x, repeats[0], axis)
    size = ops.static(x.shape[axis], "the axis that is repeated")
    times = repeats if len(repeats) > 1 else [repeats[0]] * size
    return _taken(x, np.repeat(np.arange(size), times), axis)


def _taken(x: Value, indices: np.ndarray, axis: int) -> Value:
    """x at known positions along an axis."""
    return ops.gather(x, constant(indices.astype(np.int64)), axis)


def Tile(x: Value, *, reps: Sequence[Dim]) -> Value:
    rank = max(x.rank, len(reps))
    wide = ops.reshape(x, [*[1] * (rank - x.rank), *x.shape])
    return ops.tile(wide, [1] * (rank - len(reps)) + list(reps))  # type: ignore[arg-type]


def Depth2Space(x: Value, *, r: int) -> Value:
    n, c, h, w = x.shape
    deep = as_dim(lift(c) // (r * r))
    y = ops.transpose(ops.reshape(x, (n, r, r, deep, h, w)), (0, 3, 4, 1, 5, 2))
    return ops.reshape(y, (n, deep, as_dim(lift(h) * r), as_dim(lift(w) * r)))


def Space2Depth(x: Value, *, r: int) -> Value:
    n, c, h, w = x.shape
    high, wide = as_dim(lift(h) // r), as_dim(lift(w) // r)
    y = ops.transpose(ops.reshape(x, (n, c, high, r, wide, r)), (0, 3, 5, 1, 2, 4))
    return ops.reshape(y, (n, as_dim(lift(c) * (r * r)), high, wide))


def Pad(x: Value, *, pad_width: Attr, mode: str, keywords: Mapping[str, Attr]) -> Value:
    if isinstance(pad_width, Value):
        pad_width = tuple(map(tuple, evaluate(pad_width).tolist())) if pad_width.constant else None
    width = _pairs(pad_width, x.rank, "pad_width")
    if mode == "constant":
        values = _pairs(keywords.get("constant_values", 0), x.rank, "constant_values")
        if len({v for pair in values for v in pair}) == 1:
            before, after = zip(*width)
            return ops.pad(x, before, after, value=values[0][0])
        for axis in range(x.rank):  # numpy's order: the corners are those of the later axis
            for side in range(2):
                amounts = [[0] * x.rank, [0] * x.rank]
                amounts[side][axis] = width[axis][side]
                x = ops.pad(x, amounts[0], amounts[1], value=values[axis][side])
        return x
    if (
        mode not in ("edge", "reflect", "symmetric", "wrap")
        or keywords.get("reflect_type") == "odd"
    ):
        raise UnsupportedError(
            f"padding mode {mode!r}; constant, edge, reflect, symmetric and wrap are supported"
        )
    for axis, (before, after) in enumerate(width):
        if (before, after) == (0, 0):
            continue
        size = x.shape[axis]
        if isinstance(size, int):
            at = np.pad(np.arange(size), (before, after), mode=mode)  # type: ignore[call-overload]
            x = _taken(x, at, axis)
        elif mode == "symmetric":
            raise UnsupportedError("symmetric padding of an open dimension; fix it with --dim")
        else:
            zero = [0] * x.rank
            low, high = list(zero), list(zero)
            low[axis], high[axis] = before, after
            x = ops.pad(x, low, high, mode)
    return x


def _pairs(given: Attr, rank: int, what: str) -> list[tuple[Any, Any]]:
    """numpy's ways to say (before, after) for each axis."""
    if given is None or isinstance(given, Value):
        raise UnsupportedError(f"{what} is computed from the inputs")
    try:
        pairs = np.broadcast_to(np.asarray(given), (rank, 2)).tolist()
    except ValueError:
        raise ModelError(f"{what} {given} does not fit {rank} axes") from None
    return [(a, b) for a, b in pairs]


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
    """numpy's indexing: slices and new axes first, then the arrays and the numbers beside them."""
    items = _items(x, slices)
    arrays = any(isinstance(i, Value) for i in items)
    starts: list[Dim] = []
    sizes: list[Dim] = []
    steps: list[int] = []
    shape: list[Dim] = []  # after the slices and new axes; numbers are dropped or wait for arrays
    waiting: list[tuple[int, Value]] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        size = x.shape[axis]
        start, count, step = 0, size, 1  # type: tuple[Any, Any, int]
        if isinstance(item, slice):
            start, count, step = _slice(item, size)
            shape.append(count)
        elif isinstance(item, Value):
            waiting.append((len(shape), item))
            shape.append(size)
        elif arrays:
            waiting.append((len(shape), ops.ints(item, "i64")))
            shape.append(size)
        else:
            start, count = (as_dim(lift(size) + item) if _negative(item) else item), 1
        starts.append(start)
        sizes.append(count)
        steps.append(step)
        axis += 1
    y = ops.reshape(ops.slice_(x, starts, sizes, steps), shape)
    return _gathered(y, waiting) if waiting else y


def _negative(i: Dim) -> bool:
    return isinstance(i, int) and i < 0


def _slice(item: slice, size: Dim) -> tuple[Dim, Dim, int]:
    step = 1 if item.step is None else known_number(item.step, "the step of a slice")
    for bound in (item.start, item.stop):
        if isinstance(bound, Value):
            raise UnsupportedError("the bounds of a slice are computed from the inputs")
    return slice_range(item.start, item.stop, step, size)


def _items(x: Value, slices: Sequence[Attr]) -> list[Any]:
    """An index for every axis: slices, numbers, None, and integer arrays as values."""
    items: list[Any] = []
    for s in slices:
        if isinstance(s, tuple):
            s = constant(np.array(s))
        if isinstance(s, bool):
            raise UnsupportedError("indexing with True or False is not supported")
        if isinstance(s, Value) and s.dtype == "bool":
            if not s.constant:
                raise UnsupportedError(
                    "a mask that is computed from the inputs would give a result of no fixed size"
                )
            items += [constant(i.astype(np.int64)) for i in np.nonzero(evaluate(s))]
        else:
            items.append(s)
    used = sum(i is not None and i is not Ellipsis for i in items)
    whole = [slice(None)] * (x.rank - used)
    if Ellipsis in [i for i in items if not isinstance(i, Value)]:
        at = next(k for k, i in enumerate(items) if i is Ellipsis)
        return [*items[:at], *whole, *items[at + 1 :]]
    return [*items, *whole]


def _gathered(x: Value, waiting: Sequence[tuple[int, Value]]) -> Value:
    """x taken at integer arrays along several axes, which broadcast against each other."""
    axes = [a for a, _ in waiting]
    if len(waiting) == 1:
        return ops.gather(x, ops.cast(waiting[0][1], "i64"), axes[0])
    indices = Broadcast(*(ops.cast(i, "i64") for _, i in waiting))
    rank = indices[0].rank
    rest = [a for a in range(x.rank) if a not in axes]
    at = ops.concat([ops.unsqueeze(i, [rank]) for i in indices], rank)
    y = ops.gather_nd(ops.transpose(x, [*axes, *rest]), at)
    if axes == list(range(axes[0], axes[0] + len(axes))):  # side by side: the result stays there
        before = axes[0]
        order = [*range(rank, rank + before), *range(rank), *range(rank + before, y.rank)]
        y = ops.transpose(y, order)
    return y


def ScatterAdd(a: Value, b: Value, *, slices: Sequence[Attr]) -> Value:
    """a with b added at positions that are known: through their table, or as padding."""
    items = _items(a, slices)
    if all(i is not None and not isinstance(i, Value) for i in items):
        before, after, steps, shape = [], [], [], []
        for item, size in zip(items, a.shape):
            start, count, step = _slice(item, size) if isinstance(item, slice) else (item, 1, 1)
            start = as_dim(lift(size) + start) if _negative(start) else start
            before.append(start)
            after.append(as_dim(lift(size) - start - (lift(count) - 1) * step - 1))
            steps.append(step)
            shape.append(count)
        if all(s > 0 for s in steps):
            wide = ops.dilate(ops.reshape(b, shape), steps)
            return ops.add(a, ops.pad(wide, before, after))
    if not a.static or not all(i.constant for i in items if isinstance(i, Value)):
        raise UnsupportedError("the positions are computed from the inputs")
    index = tuple(evaluate(i) if isinstance(i, Value) else i for i in items)
    where = np.arange(a.size).reshape([ops.static(d, "an axis") for d in a.shape])[index].ravel()
    if where.size * a.size > 1 << 22:
        raise UnsupportedError(f"{where.size} positions in {type_text(a)} are too many")
    table = np.zeros((where.size, a.size), np.float32)
    table[np.arange(where.size), where] = 1
    total = ops.matmul(ops.reshape(b, (1, where.size)), ops.cast(constant(table), b.dtype))
    return ops.add(a, ops.reshape(total, a.shape))


def Permutate(x: Value, *, indices: Value, axis: int, inv: bool) -> Value:
    axis = axis_of(axis, x)
    indices = ops.cast(indices, "i64")
    if inv and indices.constant:
        indices = constant(np.argsort(evaluate(indices), kind="stable").astype(np.int64))
    elif inv:
        n = indices.shape[0]
        here = ops.equal(ops.reshape(indices, (1, n)), ops.iota((n, 1), 0, "i64"))
        indices = ops.squeeze(ops.reduce(ops.cast(here, "i32"), "argmax", [1]), [1])
    return ops.gather(x, indices, axis)


def SelectItem(x: Value, t: Value) -> Value:
    return ops.squeeze(ops.gather_elements(x, ops.unsqueeze(ops.cast(t, "i64"), [1]), 1), [1])


def EmbedIDFunction(x: Value, W: Value, *, ignore_label: int | None) -> Value:
    if ignore_label is None:
        return ops.gather(W, x, 0)
    ignored = ops.equal(x, constant(ignore_label, x.dtype))
    rows = ops.gather(W, ops.where(ignored, constant(0, x.dtype), x), 0)
    return ops.where(ops.unsqueeze(ignored, [x.rank]), constant(0, W.dtype), rows)


def Diagonal(x: Value, *, offset: int, axis1: int, axis2: int) -> Value:
    first, second = axes_of((axis1, axis2), x)
    rest = [a for a in range(x.rank) if a not in (first, second)]
    rows, columns = (ops.static(x.shape[a], "the axis of a diagonal") for a in (first, second))
    at = np.arange(rows)
    at = at[(at + offset >= 0) & (at + offset < columns)]
    where = constant(np.stack([at, at + offset], 1).astype(np.int64))
    y = ops.gather_nd(ops.transpose(x, [first, second, *rest]), where)
    return ops.transpose(y, [*range(1, y.rank), 0])
