"""ONNX's operators that move elements, choose them by position, or make them of nothing.

    >>> from webdnn.graph import placeholder
    >>> Flatten(placeholder("x", (2, 3, 4), "f32")).shape
    (2, 12)

As in `operators`, one plain function each. Shapes, axes and amounts that only a run knows are
settled by what the model declares of the result (`declared`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ... import limits, ops
from ...errors import ModelError, SizesDifferError, UnsupportedError
from ...expr import Dim, as_dim, lift, maximum
from ...graph import DTYPES, FLOATS, Graph, Value, constant, evaluate, type_text
from ...ops.ranges import integer_ranges
from .. import arrays
from ..arrays import axes_of, axis_of, known_dims, known_ints
from .declared import NOTHING, Results, fed, is_known, settled
from .elements import element_type, saturated
from .varying import pad_of, slice_of

LONGEST = 2**24  # numbers of a Range whose length a run finds

Reduction = Literal["none", "add", "mul", "max", "min"]


def Shape(x: Value, *, start: int = 0, end: int | None = None) -> Value:
    return ops.ints(np.array(x.shape[slice(start, end)], dtype=object), "i64")


def Size(x: Value) -> Value:
    return ops.ints(ops.product(x.shape), "i64")


def Reshape(x: Value, shape: Value, *, allowzero: int = 0, declared: Results = NOTHING) -> Value:
    to = settled(shape, "the shape", declared)
    if not allowzero and is_known(shape):
        to = [
            x.shape[k] if isinstance(d, int) and d == 0 and k < x.rank else d
            for k, d in enumerate(to)
        ]
    if not any(isinstance(d, int) and d == -1 for d in to) and not ops.same(
        ops.product(to), x.size
    ):
        found, wanted = x.size, ops.product(to)
        raise SizesDifferError(
            f"{type_text(x)} has {found} elements, the shape {to} has {wanted}", found, wanted
        )
    return ops.reshape(x, to)


def Flatten(x: Value, *, axis: int = 1) -> Value:
    if not -x.rank <= axis <= x.rank:
        raise ModelError(f"axis {axis} is out of range for {type_text(x)}")
    axis = axis + x.rank if axis < 0 else axis
    return ops.reshape(x, (ops.product(x.shape[:axis]), ops.product(x.shape[axis:])))


def Squeeze(
    x: Value,
    axes_input: Value | None = None,
    *,
    axes: Sequence[int] | None = None,
    declared: Results = NOTHING,
) -> Value:
    if axes_input is not None and not is_known(axes_input):
        rank = x.rank - ops.static(axes_input.size, "the number of axes")
        return ops.reshape(x, declared.shape(axes_input, "the axes", rank))
    given = axes_input if axes_input is not None else axes
    found = None if given is None else axes_of(given, x)
    for a in found or ():
        size = x.shape[a]
        if not ops.same(size, 1):
            message = f"axis {a} of {type_text(x)} has not size 1"
            if isinstance(size, int):
                raise SizesDifferError(message, size, 1)
            raise ModelError(message)
    return ops.squeeze(x, found)


def Unsqueeze(
    x: Value,
    axes_input: Value | None = None,
    *,
    axes: Sequence[int] = (),
    declared: Results = NOTHING,
) -> Value:
    if axes_input is not None and not is_known(axes_input):
        rank = x.rank + ops.static(axes_input.size, "the number of axes")
        return ops.reshape(x, declared.shape(axes_input, "the axes", rank))
    given = known_ints(axes_input if axes_input is not None else axes, "the axes")
    return ops.unsqueeze(x, axes_of(given, x, len(given)))


def Transpose(x: Value, *, perm: Sequence[int] | None = None) -> Value:
    return ops.transpose(x, range(x.rank)[::-1] if perm is None else perm)


def Expand(x: Value, shape: Value, *, declared: Results = NOTHING) -> Value:
    return ops.expand(x, settled(shape, "the shape", declared, x.rank))


def Tile(x: Value, repeats: Value, *, declared: Results = NOTHING) -> Value:
    if not is_known(repeats):
        whole = declared.shape(repeats, "repeats", x.rank)
        return ops.tile(x, [_times(w, d) for w, d in zip(whole, x.shape, strict=True)])
    return ops.tile(x, known_dims(repeats, "repeats"))  # type: ignore[arg-type]


def _times(whole: Dim, part: Dim) -> int:
    """How often a part has been repeated."""
    whole, part = ops.static(whole, "a repeated axis"), ops.static(part, "an axis to repeat")
    if part and whole % part:
        raise ModelError(f"{whole} elements declared, which are no repetitions of {part}")
    return whole // max(part, 1)


def Concat(*xs: Value, axis: int) -> Value:
    return ops.concat(xs, axis_of(axis, xs[0]))


def Split(
    x: Value,
    sizes: Value | None = None,
    *,
    axis: int = 0,
    split: Sequence[int] | None = None,
    num_outputs: int | None = None,
    outputs: int,
    declared: Results = NOTHING,
) -> list[Value]:
    axis = axis_of(axis, x)
    given: Sequence[Dim] | None = split
    if sizes is not None and is_known(sizes):
        given = known_dims(sizes, "the split")
    elif sizes is not None:
        given = [declared.shape(sizes, "the split", x.rank, k)[axis] for k in range(outputs)]
    if given is None:
        size, parts = x.shape[axis], num_outputs or outputs
        each = as_dim((lift(size) + (parts - 1)) // parts)
        last = as_dim(lift(size) - lift(each) * (parts - 1))
        if num_outputs is None and not ops.same(each, last):
            raise SizesDifferError(f"{parts} equal parts of {size} elements", each, last)
        given = [each] * (parts - 1) + [last]
    shown = ", ".join(map(str, given[:8])) + (", ..." if len(given) > 8 else "")
    if len(given) != outputs:
        raise ModelError(f"{len(given)} parts [{shown}] for {outputs} outputs")
    total = as_dim(sum((lift(g) for g in given), lift(0)))
    if not ops.same(total, x.shape[axis]):
        raise SizesDifferError(
            f"the parts [{shown}] do not add up to axis {axis} of {type_text(x)}",
            total,
            x.shape[axis],
        )
    return ops.split(x, given, axis)


def Slice(
    x: Value,
    starts_input: Value | None = None,
    ends_input: Value | None = None,
    axes_input: Value | None = None,
    steps_input: Value | None = None,
    *,
    starts: Sequence[Dim] = (),
    ends: Sequence[Dim] = (),
    axes: Sequence[int] | None = None,
    declared: Results = NOTHING,
) -> Value:
    operands = starts_input, ends_input, axes_input, steps_input
    if starts_input is not None and ends_input is not None and not all(map(is_known, operands)):
        return slice_of(x, starts_input, ends_input, axes_input, steps_input, declared)
    if starts_input is not None or ends_input is not None:
        starts, ends = known_dims(starts_input, "starts"), known_dims(ends_input, "ends")
    given = axes_input if axes_input is not None else axes
    at = list(range(len(starts))) if given is None else axes_of(given, x)
    steps = known_ints(steps_input, "steps") if steps_input is not None else [1] * len(starts)
    if not len(at) == len(starts) == len(ends) == len(steps):
        raise ModelError(
            f"{len(starts)} starts, {len(ends)} ends, {len(at)} axes and {len(steps)} steps; "
            "expected one of each for every axis"
        )
    items = [slice(None)] * x.rank
    for a, s, e, t in zip(at, starts, ends, steps):
        items[a] = slice(s, e, t)
    return ops.slice_(x, *arrays.basic_index(x, items))


def Gather(x: Value, indices: Value, *, axis: int = 0) -> Value:
    return ops.gather(x, indices, axis_of(axis, x))


def GatherElements(x: Value, indices: Value, *, axis: int = 0) -> Value:
    return ops.gather_elements(x, indices, axis_of(axis, x))


def GatherND(x: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    return ops.gather_nd(x, indices, batch_dims)


def ScatterElements(
    x: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: Reduction = "none"
) -> Value:
    return ops.scatter_elements(x, indices, updates, axis_of(axis, x), reduction)


def TensorScatter(
    past: Value,
    update: Value,
    starts: Value | None = None,
    *,
    axis: int = -2,
    mode: Literal["linear", "circular"] = "linear",
) -> Value:
    """A cache with an update from a place of its axis on, which is another one of each batch."""
    at = axis_of(axis, past)
    size, many = (ops.ints(v.shape[at], "i64") for v in (past, update))
    line = ops.iota([past.shape[at] if k == at else 1 for k in range(past.rank)], at, "i64")
    if starts is not None:
        line = ops.sub(line, ops.along(ops.cast(starts, "i64"), 0, past.rank))
    place = ops.mod(line, size) if mode == "circular" else line
    new = ops.logical_and(ops.greater_equal(place, 0), ops.less(place, many))
    last = ops.sub(many, 1)
    place = ops.max_(ops.min_(place, last), constant(0, "i64"))
    chosen = ops.gather_elements(update, ops.expand(place, past.shape), at)
    return ops.where(new, chosen, past)


def ReverseSequence(x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Value:
    """The first elements of each sequence, as many as it is long, in reverse."""
    batch, time = axis_of(batch_axis, x), axis_of(time_axis, x)
    if batch == time or lengths.rank != 1 or not ops.same(lengths.shape[0], x.shape[batch]):
        raise ModelError(f"lengths {type_text(lengths)} of sequences do not fit {type_text(x)}")
    shape = [x.shape[time] if k == time else 1 for k in range(x.rank)]
    at, size = ops.iota(shape, time, "i64"), ops.along(ops.cast(lengths, "i64"), batch, x.rank)
    mirrored = ops.sub(ops.sub(size, 1), at)
    at = ops.where(ops.less(at, size), mirrored, at)
    return ops.gather_elements(x, ops.expand(at, x.shape), time)


def Scatter(x: Value, indices: Value, updates: Value, *, axis: int = 0) -> Value:
    return ScatterElements(x, indices, updates, axis=axis)


def ScatterND(x: Value, indices: Value, updates: Value, *, reduction: Reduction = "none") -> Value:
    return ops.scatter_nd(x, indices, updates, reduction)


def Pad(
    x: Value,
    pads_input: Value | None = None,
    fill: Value | None = None,
    axes_input: Value | None = None,
    *,
    mode: Literal["constant", "reflect", "edge", "wrap"] = "constant",
    pads: Sequence[Dim] = (),
    value: float = 0.0,
    declared: Results = NOTHING,
) -> Value:
    if pads_input is not None and not (is_known(pads_input) and is_known(axes_input)):
        return pad_of(x, pads_input, fill, axes_input, mode, declared)
    amounts = known_dims(pads_input, "pads") if pads_input is not None else list(pads)
    axes = axes_of(axes_input, x)
    if len(amounts) != 2 * len(axes):
        raise ModelError(f"{len(amounts)} pads for {len(axes)} axes; expected {2 * len(axes)}")
    pairs: list[tuple[Dim, Dim]] = [(0, 0)] * x.rank
    for k, a in enumerate(axes):
        pairs[a] = amounts[k], amounts[len(axes) + k]
    given = value if fill is None or fill.size == 0 else fill
    return arrays.pad(x, given, pad_width=pairs, mode=mode)


def DepthToSpace(x: Value, *, blocksize: int, mode: Literal["DCR", "CRD"] = "DCR") -> Value:
    if x.rank != 4:
        raise ModelError(f"[N, C, H, W] expected, found {type_text(x)}")
    return ops.depth_to_space(x, blocksize, 1, mode)


def SpaceToDepth(x: Value, *, blocksize: int, mode: Literal["DCR", "CRD"] = "DCR") -> Value:
    if x.rank != 4:
        raise ModelError(f"[N, C, H, W] expected, found {type_text(x)}")
    return ops.space_to_depth(x, blocksize, 1, mode)


# ---- constants and generated tensors -------------------------------------------------------------


def Constant(
    *,
    value: Value | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> Value:
    if value is not None:
        return value
    for given, dtype in (
        (value_float, "f32"),
        (value_floats, "f32"),
        (value_int, "i64"),
        (value_ints, "i64"),
    ):
        if given is not None:
            return constant(np.array(given, dtype=DTYPES[dtype]))
    raise UnsupportedError("a Constant of strings or a sparse tensor is not supported")


def ConstantOfShape(
    shape: Value, *, value: Value | None = None, declared: Results = NOTHING
) -> Value:
    fill = ops.reshape(value, ()) if value is not None else constant(0.0, "f32")
    return ops.expand(fill, settled(shape, "the shape", declared))


def Range(start: Value, limit: Value, delta: Value, *, declared: Results = NOTHING) -> Value:
    for v in (start, limit, delta):
        if declared and fed(v):
            line = ops.iota(declared.shape(v, "the ends of a Range", 1), 0, start.dtype)
            return ops.add(ops.mul(line, ops.reshape(delta, ())), ops.reshape(start, ()))
    if all(v.constant for v in (start, limit, delta)):
        first, end, step = (evaluate(v).item() for v in (start, limit, delta))
        if not step or not all(map(math.isfinite, (first, end, step))):
            raise ModelError(f"a range from {first} to {end} in steps of {step}")
        count = max(math.ceil((end - first) / step), 0)
        limits.make(8 * count, f"a range of {count} elements")
        return constant(np.arange(count) * step + first, start.dtype)
    if start.dtype in FLOATS and declared.longest is not None:
        return _found_range(start, limit, delta, declared)
    if start.dtype in FLOATS:
        ends = ops.ceil_(ops.div(ops.sub(limit, start), delta))
        (size,) = known_dims(ops.cast(ends, "i64"), "the number of elements of a Range of floats")
        i = ops.iota((as_dim(maximum(size, 0)),), 0, start.dtype)
        return ops.add(ops.mul(i, delta), start)
    if not all(map(is_known, (start, limit, delta))):
        return _found_range(saturated(start), saturated(limit), saturated(delta), declared)
    (s,), (e,), (d,) = (
        known_dims(v, name) for v, name in ((start, "start"), (limit, "limit"), (delta, "delta"))
    )
    if not isinstance(d, int):
        raise UnsupportedError(f"the step of a Range must be a number, but is {d}")
    size = (lift(e) - s + d - 1) // d if d > 0 else (lift(s) - e - d - 1) // -d
    i = ops.iota((as_dim(maximum(size, 0)),), 0, start.dtype)
    return (
        ops.add(ops.mul(i, d) if d != 1 else i, start)
        if not (start.constant and evaluate(start) == 0)
        else (ops.mul(i, d) if d != 1 else i)
    )


def _found_range(start: Value, limit: Value, delta: Value, declared: Results) -> Value:
    """As many numbers as a run finds, at most those of a limit that is known, or that is said."""
    first, end, by = (ops.reshape(v, ()) for v in (start, limit, delta))
    if start.dtype in FLOATS:
        found = ops.cast(ops.ceil_(ops.div(ops.sub(end, first), by)), "i64")
    else:
        first, end, by = (ops.cast(v, "i64") for v in (first, end, by))
        up = ops.greater(by, constant(0, "i64"))
        far, size = ops.where(up, ops.sub(end, first), ops.sub(first, end)), ops.abs_(by)
        if is_known(delta):
            (step,) = known_ints(delta, "the step of a Range")
            if not step:
                raise ModelError("a range in steps of 0")
            far = ops.sub(end, first) if step > 0 else ops.sub(first, end)
            size = constant(abs(step), "i64")
        elif declared.longest is None:
            known_ints(delta, "the step of a Range")
        found = ops.div(ops.add(far, ops.sub(size, 1)), size)
    count = ops.max_(found, constant(0, "i64"))
    most = integer_ranges(Graph((), {"count": count}))[count][1]
    if not most <= LONGEST:
        if declared.longest is None:
            raise UnsupportedError(
                "how many numbers it has is computed from what only a run knows: give it a limit, "
                f"as by Min(number, 512), or by --dim {declared.name}.0=512"
            )
        most = declared.longest + 1  # the last one is never read: there is more then than allowed
        count = ops.min_(count, constant(most, "i64"))
    line = ops.cast(ops.iota((int(most),), 0, "i64"), first.dtype)
    line = ops.add(ops.mul(line, by), first)
    return ops.cast(ops.counted(line, 0, count), start.dtype)


def EyeLike(x: Value, *, dtype: int | None = None, k: int = 0) -> Value:
    if x.rank != 2:
        raise ModelError(f"a matrix expected, found {type_text(x)}")
    rows, cols = x.shape
    on = ops.equal(ops.iota((1, cols), 1), ops.add(ops.iota((rows, 1), 0), k))
    return ops.cast(on, x.dtype if dtype is None else element_type(dtype))


def Trilu(x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    if x.rank < 2:
        raise ModelError(f"matrices expected, found {type_text(x)}")
    diagonal: Any = 0 if k is None else ops.reshape(ops.cast(saturated(k), "i32"), ())
    return ops.trilu(x, diagonal, bool(upper))


def OneHot(
    indices: Value, depth: Value, values: Value, *, axis: int = -1, declared: Results = NOTHING
) -> Value:
    if is_known(depth):
        (size,) = known_dims(depth, "the depth")
    else:
        size = declared.shape(depth, "the depth", indices.rank + 1)[axis_of(axis, indices, 1)]
    if values.shape != (2,):
        raise ModelError(f"values {type_text(values)}: off and on expected")
    at = ops.cast(indices, "i64") if indices.dtype in FLOATS else indices
    at = ops.where(ops.less(at, 0), ops.add(at, ops.ints(size, at.dtype)), at)
    off, on = (ops.reshape(ops.slice_axis(values, 0, j, 1), ()) for j in (0, 1))
    return ops.where(arrays.one_hot(at, size, axis), on, off)


OPERATORS: dict[str, Callable[..., Any]] = {
    fn.__name__: fn
    for fn in (
        Shape,
        Size,
        Reshape,
        Flatten,
        Squeeze,
        Unsqueeze,
        Transpose,
        Expand,
        Tile,
        Concat,
        Split,
        Slice,
        Gather,
        GatherElements,
        GatherND,
        ScatterElements,
        TensorScatter,
        ReverseSequence,
        Scatter,
        ScatterND,
        Pad,
        DepthToSpace,
        SpaceToDepth,
        Constant,
        ConstantOfShape,
        Range,
        EyeLike,
        Trilu,
        OneHot,
    )
}
