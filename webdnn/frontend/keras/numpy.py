"""keras.ops as numpy has it: reductions, products, shapes, indexing and sorting.

    >>> from webdnn.graph import placeholder
    >>> get_item(placeholder("x", (2, 9, 4), "f32"), (slice(None), slice(1, 3))).shape
    (2, 2, 4)

Each function takes what Keras' own does, by position or by name. Shapes that a model computes from
shapes are known when it is transpiled. `SHAPED` names the functions as Keras names its operations.

Limits: what sorts with options, decomposes matrices or has a result of unknown size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import UnsupportedError
from ...expr import Dim, Expr
from ...graph import Value, as_dim, constant, type_text
from .elementwise import Tensor, along, axes, cast, dims, dtype_of, floats, number, promoted, value

# ---- reductions ----------------------------------------------------------------------------------


def _kept(y: Value, at: Sequence[int], keepdims: bool) -> Value:
    return y if keepdims or not at else ops.squeeze(y, at)


def _reduction(monoid: str) -> Callable[..., Value]:
    def reduce(x: Tensor, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Value:
        v = value(x)
        if monoid in ("any", "all"):
            v = ops.cast(v, "bool")
        elif v.dtype == "bool":
            v = ops.cast(v, "i32")
        at = axes(axis, v.rank)
        y = ops.reduce(v, monoid, at) if at else v
        if initial is not None:
            y = (ops.max_ if monoid == "max" else ops.min_)(*promoted(y, initial))
        return _kept(y, at, keepdims)

    return reduce


def mean(x: Tensor, axis: Any = None, keepdims: bool = False) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    return _kept(ops.reduce_mean(v, at), at, keepdims)


def var(x: Tensor, axis: Any = None, keepdims: bool = False) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    d = ops.sub(v, ops.reduce_mean(v, at))
    return _kept(ops.reduce_mean(ops.mul(d, d), at), at, keepdims)


def std(x: Tensor, axis: Any = None, keepdims: bool = False) -> Value:
    return ops.sqrt_(var(x, axis, keepdims))


def moments(x: Tensor, axes: Any, keepdims: bool = False) -> list[Value]:
    return [mean(x, axes, keepdims), var(x, axes, keepdims)]


def average(x: Tensor, weights: Tensor = None, axis: Any = None) -> Value:
    if weights is None:
        return mean(x, axis)
    v, w = (floats(t) for t in (x, weights))
    if w.rank < v.rank:
        (at,) = axes(axis, v.rank)
        w = ops.reshape(w, [v.shape[k] if k == at else 1 for k in range(v.rank)])
        w = ops.expand(w, v.shape)
    at_ = axes(axis, v.rank)
    total = ops.div(ops.reduce_sum(ops.mul(v, w), at_), ops.reduce_sum(w, at_))
    return _kept(total, at_, False)


def logsumexp(x: Tensor, axis: Any = None, keepdims: bool = False) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    return _kept(ops.log_sum_exp(v, at), at, keepdims)


def _arg(monoid: str) -> Callable[..., Value]:
    def find(x: Tensor, axis: Any = None, keepdims: bool = False) -> Value:
        v, at = along(value(x), axis)
        if v.dtype == "bool":
            v = ops.cast(v, "i32")
        y = _kept(ops.reduce(v, monoid, [at]), [at], keepdims and axis is not None)
        return ops.reshape(y, [1] * value(x).rank) if keepdims and axis is None else y

    return find


def count_nonzero(x: Tensor, axis: Any = None) -> Value:
    return _reduction("sum")(cast(value(x), "bool"), axis)


def ptp(x: Tensor, axis: Any = None, keepdims: bool = False) -> Value:
    return ops.sub(_reduction("max")(x, axis, keepdims), _reduction("min")(x, axis, keepdims))


def norm(x: Tensor, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    size = ops.abs_(v)
    if ord in (None, 2, "fro", "euclidean") and (len(at) < 2 or ord != 2):
        y = ops.lp_norm(v, 2, at)
    elif ord == 1 and len(at) == 1:
        y = ops.lp_norm(v, 1, at)
    elif ord in (math.inf, "inf") and len(at) == 1:
        y = ops.reduce_max(size, at)
    elif isinstance(ord, (int, float)) and ord > 0 and len(at) == 1:
        total = ops.reduce_sum(ops.pow_(size, float(ord)), at)
        y = ops.pow_(total, 1 / ord)
    else:
        raise UnsupportedError(f"norm with ord={ord!r} over axes {at}")
    return _kept(y, at, keepdims)


def normalize(x: Tensor, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> Value:
    v = floats(x)
    least = 1e-7 if epsilon is None else float(epsilon)
    if order == 2:
        total = ops.reduce_sum(ops.mul(v, v), axes(axis, v.rank))
        return ops.mul(v, ops.min_(ops.rsqrt_(total), 1 / least))
    return ops.div(v, ops.max_(norm(v, order, axis, True), least))


def cumsum(
    x: Tensor, axis: Any = None, dtype: Any = None, exclusive: bool = False, reverse: bool = False
) -> Value:
    v, at = along(value(x), axis)
    v = ops.cast(v, "i32") if v.dtype == "bool" else v
    return ops.cumsum(v if dtype is None else cast(v, dtype), at, exclusive, reverse)


def diff(a: Tensor, n: int = 1, axis: int = -1) -> Value:
    v, at = along(value(a), axis)
    for _ in range(n):
        size = as_dim(v.shape[at] - 1)
        v = ops.sub(ops.slice_axis(v, at, 1, size), ops.slice_axis(v, at, 0, size))
    return v


# ---- products ------------------------------------------------------------------------------------


def matmul(x1: Tensor, x2: Tensor) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.matmul(a, b)


def dot(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    if a.rank == 0 or b.rank == 0:
        return ops.mul(a, b)
    return tensordot(a, b, [[a.rank - 1], [max(b.rank - 2, 0)]])


def tensordot(x1: Tensor, x2: Tensor, axes: Any = 2) -> Value:
    a, b = promoted(x1, x2)
    if isinstance(axes, int):
        left, right = list(range(a.rank - axes, a.rank)), list(range(axes))
    else:
        left, right = (
            [int(k) for k in (part if isinstance(part, (list, tuple)) else [part])] for part in axes
        )
    letters = "abcdefghijklmnopqrstuvwxyz"
    one = list(letters[: a.rank])
    other = list(letters[a.rank : a.rank + b.rank])
    for k, j in zip(left, right):
        other[j % b.rank] = one[k % a.rank]
    inner = {one[k % a.rank] for k in left}
    out = [c for c in (*one, *other) if c not in inner]
    return ops.einsum(f"{''.join(one)},{''.join(other)}->{''.join(out)}", a, b)


def einsum(*operands: Tensor, subscripts: str) -> Value:
    return ops.einsum(subscripts, *promoted(*operands))


def outer(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    return ops.mul(ops.reshape(a, (a.size, 1)), ops.reshape(b, (1, b.size)))


# ---- shapes --------------------------------------------------------------------------------------


def shape_of(x: Tensor) -> Value:
    return ops.ints(list(value(x).shape), "i32")


def reshape(x: Tensor, newshape: Any) -> Value:
    return ops.reshape(value(x), dims(newshape))


def transpose(x: Tensor, axes: Any = None) -> Value:
    v = value(x)
    order = range(v.rank)[::-1] if axes is None else dims(axes)
    return ops.transpose(v, [ops.static(k, "an axis") for k in order])


def moveaxis(x: Tensor, source: Any, destination: Any) -> Value:
    v = value(x)
    start, end = axes(source, v.rank), axes(destination, v.rank)
    order = [k for k in range(v.rank) if k not in start]
    for at, k in sorted(zip(end, start)):
        order.insert(at, k)
    return ops.transpose(v, order)


def swapaxes(x: Tensor, axis1: int, axis2: int) -> Value:
    v = value(x)
    order = list(range(v.rank))
    a, b = axis1 % v.rank, axis2 % v.rank
    order[a], order[b] = order[b], order[a]
    return ops.transpose(v, order)


def expand_dims(x: Tensor, axis: Any) -> Value:
    given = axis if isinstance(axis, (list, tuple)) else [axis]
    return ops.unsqueeze(value(x), [int(number(a, "an axis")) for a in given])


def squeeze(x: Tensor, axis: Any = None) -> Value:
    v = value(x)
    return ops.squeeze(v, None if axis is None or axis == [] else axes(axis, v.rank))


def concatenate(xs: Sequence[Tensor], axis: Any = 0) -> Value:
    return ops.concat(promoted(*xs), int(number(axis, "an axis")))


def stack(x: Sequence[Tensor], axis: int = 0) -> Value:
    parts = promoted(*x) if isinstance(x, (list, tuple)) else [value(x)]
    at = axis % (parts[0].rank + 1)
    return ops.concat([ops.unsqueeze(p, [at]) for p in parts], at)


def _stacked(axis: int, rank: int) -> Callable[..., Value]:
    def join(xs: Sequence[Tensor]) -> Value:
        parts = promoted(*xs)
        if axis == 1 and parts[0].rank == 1 and rank == 1:
            return ops.concat(parts, 0)
        if rank == 2:
            parts = [ops.unsqueeze(p, [0]) if p.rank < 2 else p for p in parts]
        if rank == 3:
            parts = [ops.unsqueeze(p, [0]) if p.rank < 2 else p for p in parts]
            parts = [ops.unsqueeze(p, [2]) if p.rank < 3 else p for p in parts]
        return ops.concat(parts, axis)

    return join


def split(x: Tensor, indices_or_sections: Any, axis: Any = 0) -> list[Value]:
    v = value(x)
    at = axes(axis, v.rank)[0]
    size = v.shape[at]
    if isinstance(indices_or_sections, (list, tuple)):
        ends = [*dims(indices_or_sections), size]
        starts = [0, *ends[:-1]]
        return [ops.slice_axis(v, at, s, as_dim(e - s)) for s, e in zip(starts, ends)]
    count = int(number(indices_or_sections, "the number of parts"))
    if isinstance(size, int) and size % count:
        raise UnsupportedError(f"axis {at} of {type_text(v)} is not divided by {count}")
    return ops.split(v, [as_dim(size // count)] * count, at)


def array_split(x: Tensor, indices_or_sections: Any, axis: Any = 0) -> list[Value]:
    v = value(x)
    at = axes(axis, v.rank)[0]
    if isinstance(indices_or_sections, (list, tuple)):
        return split(v, indices_or_sections, at)
    size, count = ops.static(v.shape[at], "an axis that is split"), int(indices_or_sections)
    parts = [size // count + (k < size % count) for k in range(count)]
    return ops.split(v, parts, at)


def unstack(x: Tensor, num: int | None = None, axis: int = 0) -> list[Value]:
    v = value(x)
    at = axis % v.rank
    count = ops.static(v.shape[at], "an axis that is taken apart")
    return [ops.squeeze(p, [at]) for p in ops.split(v, [1] * count, at)]


def pad(
    x: Tensor, constant_values: Tensor = None, *, pad_width: Any, mode: str = "constant"
) -> Value:
    v = value(x)
    if isinstance(pad_width, Value):
        pad_width = np.array(dims(pad_width), object).reshape(-1, 2).tolist()
    if isinstance(pad_width, int):
        pad_width = [[pad_width, pad_width]] * v.rank
    widths = [p if isinstance(p, (list, tuple)) else (p, p) for p in pad_width]
    if len(widths) == 1:
        widths = widths * v.rank
    if len(widths) == 2 and not isinstance(pad_width[0], (list, tuple)):
        widths = [tuple(pad_width)] * v.rank
    before, after = [dims(w[0])[0] for w in widths], [dims(w[1])[0] for w in widths]
    mode = mode.lower()
    if mode == "symmetric":
        return _symmetric(v, before, after)
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise UnsupportedError(
            f"padding mode {mode!r}; constant, edge, reflect, symmetric and wrap"
        )
    fill = 0 if constant_values is None else number(constant_values, "the value of padding")
    return ops.pad(v, before, after, mode, fill)


def _symmetric(v: Value, before: Sequence[Dim], after: Sequence[Dim]) -> Value:
    """Reflection with the edge repeated."""
    for k, (b, a) in enumerate(zip(before, after)):
        parts = [v]
        if b != 0:
            parts.insert(0, ops.flip(ops.slice_axis(v, k, 0, b), [k]))
        if a != 0:
            parts.append(ops.flip(ops.slice_axis(v, k, as_dim(v.shape[k] - a), a), [k]))
        v = ops.concat(parts, k)
    return v


def repeat(x: Tensor, repeats: Any, axis: Any = None) -> Value:
    v, at = along(value(x), axis)
    if isinstance(repeats, (list, tuple)) and len(repeats) > 1:
        order = np.repeat(np.arange(len(repeats)), [int(r) for r in repeats])
        return ops.gather(v, constant(order.astype(np.int64)), at)
    times = dims(repeats)[0]
    return ops.repeat(v, ops.static(times, "the number of repetitions"), at)


def tile(x: Tensor, repeats: Any) -> Value:
    v, times = value(x), [ops.static(d, "a number of repetitions") for d in dims(repeats)]
    if len(times) < v.rank:
        times = [1] * (v.rank - len(times)) + times
    if len(times) > v.rank:
        v = ops.reshape(v, [1] * (len(times) - v.rank) + list(v.shape))
    return ops.tile(v, times)


def broadcast_to(x: Tensor, shape: Any) -> Value:
    return ops.expand(value(x), dims(shape))


def flip(x: Tensor, axis: Any = None) -> Value:
    v = value(x)
    return ops.flip(v, axes(axis, v.rank))


def roll(x: Tensor, shift: Any, axis: Any = None) -> Value:
    v = value(x)
    if axis is None:
        flat = ops.reshape(v, (v.size,))
        return ops.reshape(roll(flat, shift, 0), v.shape)
    shifts = shift if isinstance(shift, (list, tuple)) else [shift]
    for s, at in zip(shifts, axes(axis, v.rank)):
        size = v.shape[at]
        head = as_dim(size - s if isinstance(size, Expr) and s > 0 else -s if s < 0 else size - s)
        if isinstance(size, int):
            head = (size - int(s)) % size
        rest = as_dim(size - head)
        v = ops.concat([ops.slice_axis(v, at, head, rest), ops.slice_axis(v, at, 0, head)], at)
    return v


def get_item(x: Tensor, key: Any) -> Value:
    """x[key] with integers, slices, None and an ellipsis; a single tensor of indices gathers."""
    v = value(x)
    keys = list(key) if isinstance(key, (list, tuple)) else [key]
    if isinstance(key, list) and keys and all(isinstance(k, int) for k in keys) and v.rank == 1:
        return ops.gather(v, constant(np.array(keys, np.int64)), 0)
    taken = sum(k is not None and k is not Ellipsis for k in keys)
    at = keys.index(Ellipsis) if any(k is Ellipsis for k in keys) else len(keys)
    keys[at : at + 1] = [slice(None)] * (v.rank - taken)
    axis, drop = 0, []
    for k in keys:
        if k is None:
            v, axis = ops.unsqueeze(v, [axis]), axis + 1
        elif isinstance(k, slice):
            v, axis = _sliced(v, axis, k), axis + 1
        elif (isinstance(k, Value) and k.rank) or isinstance(k, list):
            found = value(k)
            if found.dtype == "bool":
                raise UnsupportedError("an index of truth values has no fixed number of results")
            v, axis = ops.gather(v, ops.cast(found, "i64"), axis), axis + found.rank
        else:
            place = value(k, "i64")
            v = ops.gather(v, ops.unsqueeze(ops.cast(place, "i64"), [0]), axis)
            drop.append(axis)
            axis += 1
    return ops.squeeze(v, drop) if drop else v


def _sliced(v: Value, axis: int, k: slice) -> Value:
    size = v.shape[axis]
    step = 1 if k.step is None else int(number(k.step, "a step"))
    start, stop = (None if e is None else as_dim(number(e, "a slice")) for e in (k.start, k.stop))
    if start is None and stop is None and step == 1:
        return v
    if (
        isinstance(size, int)
        and isinstance(start, (int, type(None)))
        and isinstance(stop, (int, type(None)))
    ):
        first, last, step = slice(start, stop, step).indices(size)
        count = len(range(first, last, step))
        return ops.slice_axis(v, axis, first, count, step)
    if step < 0:
        if start is None and stop is None and step == -1:
            return ops.flip(v, [axis])
        raise UnsupportedError(f"a slice backwards along axis {axis} of {type_text(v)}")
    begin: Dim = 0 if start is None else start
    end: Any = size if stop is None else stop
    begin = as_dim(size + begin) if isinstance(begin, int) and begin < 0 else begin
    end = as_dim(size + end) if isinstance(end, int) and end < 0 else end
    return ops.slice_axis(v, axis, begin, as_dim((end - begin + (step - 1)) // step), step)


def slice_(inputs: Tensor, start_indices: Any, shape: Any) -> Value:
    v = value(inputs)
    starts = dims(start_indices, "the start of a slice")
    sizes = [
        as_dim(d - s) if isinstance(n, int) and n == -1 else n
        for n, s, d in zip(dims(shape), starts, v.shape)
    ]
    return ops.slice_(v, starts, sizes)


def take(x: Tensor, indices: Tensor, axis: Any = None) -> Value:
    v, at = along(value(x), axis)
    return ops.gather(v, ops.cast(value(indices, "i64"), "i64"), at)


def take_along_axis(x: Tensor, indices: Tensor, axis: Any = None) -> Value:
    v, at = along(value(x), axis)
    places = ops.cast(value(indices, "i64"), "i64")
    shape = [places.shape[k] if k == at else d for k, d in enumerate(v.shape)]
    return ops.gather_elements(v, ops.expand(places, shape), at)


def _triangle(upper: bool) -> Callable[..., Value]:
    return lambda x, k=0: ops.trilu(value(x), k, upper)


def full_like(x: Tensor, fill_value: Tensor, dtype: Any = None) -> Value:
    v = value(x)
    to = v.dtype if dtype is None else dtype_of(dtype)
    return ops.expand(ops.cast(value(fill_value), to), v.shape)


def sort(x: Tensor, axis: int = -1) -> Value:
    return ops.sort(value(x), axis)[0]


def argsort(x: Tensor, axis: Any = -1) -> Value:
    v, at = along(value(x), axis)
    return ops.sort(v, at)[1]


def top_k(x: Tensor, k: int, sorted: bool = True) -> list[Value]:
    return list(ops.top_k(value(x), int(number(k, "k")), -1))


def trace(x: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    v = moveaxis(x, [axis1, axis2], [0, 1])
    rows, columns = (ops.static(d, "an axis of a trace") for d in v.shape[:2])
    first = (max(-offset, 0), max(offset, 0))
    count = min(rows - first[0], columns - first[1])
    square_ = ops.slice_axis(ops.slice_axis(v, 0, first[0], count), 1, first[1], count)
    return ops.einsum("ii...->...", square_)


def digitize(x: Tensor, bins: Tensor) -> Value:
    v, edges = floats(x), floats(bins)
    above = ops.cast(ops.greater_equal(ops.unsqueeze(v, [v.rank]), edges), "i32")
    return ops.squeeze(ops.reduce_sum(above, [v.rank]), [v.rank])


SHAPED: dict[str, Callable[..., Any]] = {
    "All": _reduction("all"), "Any": _reduction("any"), "Amax": _reduction("max"),
    "Amin": _reduction("min"), "Max": _reduction("max"), "Min": _reduction("min"),
    "Prod": _reduction("prod"), "Sum": _reduction("sum"), "Mean": mean, "Var": var, "Std": std,
    "Moments": moments, "Average": average, "Logsumexp": logsumexp, "Argmax": _arg("argmax"),
    "Argmin": _arg("argmin"), "CountNonzero": count_nonzero, "Ptp": ptp, "Norm": norm,
    "Normalize": normalize, "Cumsum": cumsum, "Diff": diff, "Matmul": matmul, "Dot": dot,
    "Tensordot": tensordot, "Einsum": einsum, "Outer": outer,
    "Inner": lambda x1, x2: tensordot(x1, x2, [[-1], [-1]]),
    "Reshape": reshape, "Transpose": transpose, "Moveaxis": moveaxis, "Swapaxes": swapaxes,
    "ExpandDims": expand_dims, "Squeeze": squeeze, "Concatenate": concatenate, "Stack": stack,
    "Append": lambda x1, x2, axis=None: concatenate([along(value(x1), axis)[0],
                                                     along(value(x2), axis)[0]], axis or 0),
    "Vstack": _stacked(0, 2), "Hstack": _stacked(1, 1), "Dstack": _stacked(2, 3), "Split": split,
    "ArraySplit": array_split, "Unstack": unstack, "Pad": pad, "Repeat": repeat, "Tile": tile,
    "BroadcastTo": broadcast_to, "Flip": flip, "Fliplr": lambda x: flip(x, 1),
    "Flipud": lambda x: flip(x, 0), "Roll": roll, "GetItem": get_item, "Slice": slice_,
    "Take": take, "TakeAlongAxis": take_along_axis, "Tril": _triangle(False),
    "Triu": _triangle(True), "FullLike": full_like,
    "OnesLike": lambda x, dtype=None: full_like(x, 1, dtype),
    "ZerosLike": lambda x, dtype=None: full_like(x, 0, dtype), "Sort": sort, "Argsort": argsort,
    "TopK": top_k, "Digitize": digitize, "Shape": shape_of,
    "Ravel": lambda x: ops.reshape(value(x), (value(x).size,)),
    "Size": lambda x: ops.ints(value(x).size, "i32"),
    "Ndim": lambda x: constant(value(x).rank, "i32"),
    "Trace": trace,
}  # fmt: skip

__all__ = ["SHAPED"]
