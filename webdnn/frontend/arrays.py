"""What every format says of arrays: axes, indices, padding, joining, and what must be known.

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (2, 3, 8, 9), "f32")
    >>> getitem(x, (0, Ellipsis, slice(None, None, 2))).shape
    (3, 8, 5)
    >>> channels_last(x).shape, axis_of(-1, x)
    ((2, 8, 9, 3), 3)

Names, meanings and the names of arguments are numpy's where it has them. A format's function
translates its own attributes and calls these, so that an axis out of range or a size that is not
known is the same error whatever the model was made with. An operand is a tensor, or what numpy
makes an array of: a number, or numbers and tensors in lists. Sizes, axes and positions in slices
may be tensors too where their elements are known, those of shapes above all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import limits, ops
from ..errors import (
    ModelError,
    NumbersNeededError,
    SizesDifferError,
    UnsupportedError,
    WebDNNError,
)
from ..expr import Dim, Expr, as_dim, bounds, lift, maximum, minimum, select
from ..graph import (
    DTYPES,
    FLOATS,
    FROM_NUMPY,
    INPUT,
    SHORT_FLOATS,
    Value,
    constant,
    dims_of,
    evaluate,
    is_counted,
    type_text,
)

Operand = Any  # a Value, a number, or numbers and Values in lists

# ---- operands ------------------------------------------------------------------------------------

# From the narrowest to the widest: of two dtypes that meet, the wider one is taken.
WIDTHS = (
    "bool", "u2", "i2", "u4", "i4", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64",
    *SHORT_FLOATS, "f16", "f32", "f64",
)  # fmt: skip


def dtype_of(name: Any) -> str:
    """Our dtype for a framework's name of one: float32, "tf.int32", bfloat16 (as float32)."""
    name = str(name).rpartition(".")[2]
    plain = {"bfloat16": "float32", "float": "float32", "int": "int32"}.get(name, name)
    if plain not in FROM_NUMPY:
        raise UnsupportedError(f"dtype {name!r}; known are {', '.join(DTYPES.values())}")
    return FROM_NUMPY[plain]


def value(x: Operand, like: str | None = None) -> Value:
    """An operand as a tensor; numbers become f32, i32 or bool, or take the dtype `like`."""
    if isinstance(x, Value):
        return x
    if isinstance(x, (list, tuple)) and any(isinstance(part, Value) for part in x):
        return stack(x)
    array = np.asarray(x)
    kind = {"f": "f32", "i": "i32", "u": "i32", "b": "bool"}.get(array.dtype.kind)
    if kind is None:
        raise UnsupportedError(f"an operand {x!r:.60}; numbers and tensors are expected")
    return constant(array, like or kind)


def promoted(*xs: Operand) -> list[Value]:
    """The operands with one dtype: the widest of the tensors.

    Numbers take the dtype of the tensors beside them, save that a float makes integers f32.
    """
    tensors = [x for x in xs if isinstance(x, Value)]
    widest = max((x.dtype for x in tensors), key=WIDTHS.index, default=None)
    plain = [np.asarray(x).dtype.kind for x in xs if not isinstance(x, (Value, list, tuple))]
    if widest is None:
        widest = "f32" if "f" in plain else "i32" if set(plain) - {"b"} else "bool"
    elif widest not in FLOATS and "f" in plain:
        widest = "f32"
    elif widest == "bool" and "i" in plain:
        widest = "i32"
    return [ops.cast(x, widest) if isinstance(x, Value) else value(x, widest) for x in xs]


def floats(x: Operand) -> Value:
    """An operand as floating-point numbers."""
    v = value(x)
    return v if v.dtype in FLOATS else ops.cast(v, "f32")


def numbers(x: Operand) -> Value:
    """An operand as numbers: truth values count as integers."""
    v = value(x)
    return ops.cast(v, "i32") if v.dtype == "bool" else v


# ---- what must be known when the model is transpiled ---------------------------------------------


def known_dims(given: Any, what: str) -> list[Dim]:
    """Sizes: the elements of a tensor, or numbers, symbolic ones included; None counts as -1.

    Raises ModelError for None, and UnsupportedError for what depends on the inputs.
    """
    if given is None:
        raise ModelError(f"{what}: none is given")
    if isinstance(given, Value):
        found = ops.known(given) if given.size else np.array([], object)
        if found is None:
            found = known_array(given, what).astype(np.int64).astype(object)
        return [as_dim(d) for d in found.ravel()]
    out: list[Dim] = []
    for item in given if isinstance(given, (list, tuple, range, np.ndarray)) else [given]:
        out += known_dims(item, what) if isinstance(item, Value) else [-1 if item is None else item]
    return [as_dim(d) for d in out]


def known_ints(given: Any, what: str) -> list[int]:
    """`known_dims` that may not be symbolic."""
    return [ops.static(d, what) for d in known_dims(given, what)]


def known_int(given: Any, what: str) -> int:
    """One such number."""
    found = known_ints(given, what)
    if len(found) != 1:
        raise ModelError(f"{what}: one number expected, {len(found)} found")
    return found[0]


def known_number(given: Any, what: str) -> Any:
    """A number of any kind: a Python number as it is, or the element of a tensor."""
    if not isinstance(given, Value):
        return given
    found = number_or_none(given, what)
    return known_array(given, what) if found is None else found


def number_or_none(v: Value, what: str) -> Any:
    """The element of a tensor that is known, or None where a run computes it."""
    found = ops.known(v)
    if found is None and v.constant:
        found = evaluate(v)
    if found is None:
        return None
    if found.size != 1:
        raise ModelError(f"{what}: one number expected, found {type_text(v)}")
    return found.ravel()[0]


def known_array(v: Value | None, what: str) -> np.ndarray:
    """The elements of a constant."""
    if v is None:
        raise ModelError(f"{what}: none is given")
    if not v.constant:
        raise _unknown(v, what)
    return evaluate(v)


def _unknown(v: Value, what: str) -> WebDNNError:
    """Why the elements of a tensor are not known, and what they are computed from."""
    below: dict[Value, None] = {}
    stack = [v]
    while stack:
        x = stack.pop()
        if x not in below and not x.constant:
            below[x] = None
            stack += x.inputs
    fed = [repr(x.attrs["name"]) for x in below if x.op is INPUT]
    text = f"{what}: expected what is known when the model is transpiled, found {type_text(v)} that"
    if fed:
        return UnsupportedError(f"{text} is computed from the elements of {' and '.join(fed)}")
    sizes = dims_of((*x.shape, *x.attrs.get("values", ())) for x in below)
    names = [str(d.args[0]) for d in sizes if not is_counted(d)]
    if not names:
        return UnsupportedError(f"{text} only a run finds")
    steps = [str(x.op) for x in reversed(below) if not (x.op is ops.INTS or x.op.view)]
    return NumbersNeededError(
        f"{text} follows from {' and '.join(names)} by {', '.join(dict.fromkeys(steps))}, for "
        "which there is no formula",
        names,
    )


# ---- axes ----------------------------------------------------------------------------------------


def axis_of(axis: Any, x: Value, extra: int = 0, what: str = "axis") -> int:
    """An axis of x counted from 0; `extra` axes more than it has are allowed.

    Raises ModelError for one that x has not.
    """
    at = known_int(axis, what)
    rank = x.rank + extra
    if not -rank <= at < rank:
        raise ModelError(f"{what} {at} is out of range for {type_text(x)}")
    return at % rank


def axes_of(axes: Any, x: Value, extra: int = 0) -> list[int]:
    """Axes of x counted from 0, in the order given: one, several, or as a tensor; None is all.

    Raises ModelError for one that x has not, and for one that is given twice.
    """
    if axes is None:
        return list(range(x.rank))
    found = [axis_of(a, x, extra) for a in known_ints(axes, "the axes")]
    if len(set(found)) != len(found):
        raise ModelError(f"axes {found} of {type_text(x)}: one is given twice")
    return found


def flat_or_along(x: Value, axis: Any) -> tuple[Value, int]:
    """x and an axis of it counted from 0; for None, x laid flat and its one axis."""
    return (ops.reshape(x, (x.size,)), 0) if axis is None else (x, axis_of(axis, x))


def without(x: Value, axes: Sequence[int], keepdims: Any = False) -> Value:
    """x without the axes that were reduced, unless they are kept."""
    return x if keepdims or not axes else ops.squeeze(x, axes)


def channels_last(x: Value) -> Value:
    """[N, C, spatial...] as [N, spatial..., C]."""
    return ops.transpose(x, (0, *range(2, x.rank), 1))


def channels_first(x: Value) -> Value:
    """[N, spatial..., C] as [N, C, spatial...]."""
    return ops.transpose(x, (0, x.rank - 1, *range(1, x.rank - 1)))


def transpose(x: Operand, axes: Any = None) -> Value:
    """The axes in another order; None: backwards."""
    v = value(x)
    return ops.transpose(v, range(v.rank)[::-1] if axes is None else axes_of(axes, v))


def moveaxis(x: Operand, source: Any, destination: Any) -> Value:
    """Axes moved to other places; the others keep their order."""
    v = value(x)
    start, end = axes_of(source, v), axes_of(destination, v)
    order = [k for k in range(v.rank) if k not in start]
    for at, k in sorted(zip(end, start, strict=True)):
        order.insert(at, k)
    return ops.transpose(v, order)


def swapaxes(x: Operand, axis1: int, axis2: int) -> Value:
    """Two axes exchanged."""
    v = value(x)
    order = list(range(v.rank))
    a, b = axis_of(axis1, v), axis_of(axis2, v)
    order[a], order[b] = order[b], order[a]
    return ops.transpose(v, order)


# ---- shapes --------------------------------------------------------------------------------------


def reshape(x: Operand, newshape: Any) -> Value:
    """Row-major reshape; one -1 (or None) is inferred."""
    return ops.reshape(value(x), known_dims(newshape, "the shape"))


def expand_dims(x: Operand, axis: Any) -> Value:
    """With axes of size 1 at these places of the result."""
    v, given = value(x), known_ints(axis, "the axes")
    return ops.unsqueeze(v, axes_of(given, v, len(given)))


def squeeze(x: Operand, axis: Any = None) -> Value:
    """Without these axes; None: without all of size 1."""
    v = value(x)
    return ops.squeeze(v, None if axis is None else axes_of(axis, v))


def broadcast_to(x: Operand, shape: Any) -> Value:
    """x repeated along axes of size 1 and new ones in front."""
    return ops.expand(value(x), known_dims(shape, "the shape"))


def broadcast_arrays(*xs: Value) -> list[Value]:
    """The tensors with the shape that they broadcast to."""
    rank = max(x.rank for x in xs)
    shape: list[Dim] = [1] * rank
    for x in xs:
        for k, d in enumerate(x.shape, rank - x.rank):
            shape[k] = d if ops.same(shape[k], 1) else shape[k]
    return [ops.expand(x, shape) for x in xs]


def full_like(x: Operand, fill_value: Operand, dtype: Any = None) -> Value:
    """One number in x's shape."""
    v = value(x)
    return ops.expand(ops.cast(value(fill_value), dtype_of(dtype) if dtype else v.dtype), v.shape)


def repeat(x: Operand, repeats: Any, axis: Any = None) -> Value:
    """Each element a number of times in a row: the same for all, or one for each."""
    v, at = flat_or_along(value(x), axis)
    times = known_ints(repeats, "the number of repetitions")
    if len(times) == 1 and times[0] > 0:
        return ops.repeat(v, times[0], at)
    size = ops.static(v.shape[at], "an axis that is repeated")
    if min(times, default=0) < 0:
        raise ModelError(f"the number of repetitions {min(times)}: it is negative")
    limits.make(8 * sum(times) * (size if len(times) == 1 else 1), "an axis that is repeated")
    places = np.arange(size)
    return take(v, np.repeat(places, times if len(times) > 1 else times[0]), at)


def tile(x: Operand, repeats: Any) -> Value:
    """x as a whole repeated along its axes, the last ones first, and along new ones in front."""
    v, times = value(x), known_ints(repeats, "the number of repetitions")
    rank = max(v.rank, len(times))
    v = ops.reshape(v, [*[1] * (rank - v.rank), *v.shape])
    return ops.tile(v, [1] * (rank - len(times)) + times)


def flip(x: Operand, axis: Any = None) -> Value:
    """x backwards along axes; None: along all."""
    v = value(x)
    return ops.flip(v, axes_of(axis, v))


def roll(x: Operand, shift: Any, axis: Any = None) -> Value:
    """Elements moved along axes; what leaves at the end comes in at the beginning."""
    v = value(x)
    if axis is None:
        return ops.reshape(roll(ops.reshape(v, (v.size,)), shift, 0), v.shape)
    shifts = known_ints(shift, "the shift")
    for s, at in zip(shifts, axes_of(axis, v), strict=True):
        size = v.shape[at]
        head = -s % size if isinstance(size, int) else -s if s < 0 else as_dim(size - s)
        v = ops.concat([part(v, at, head, None), part(v, at, 0, head)], at)
    return v


# ---- joining and splitting -----------------------------------------------------------------------


def concatenate(xs: Sequence[Operand], axis: Any = 0) -> Value:
    """Operands of one rank joined along an axis, with one dtype."""
    parts = promoted(*xs)
    return ops.concat(parts, axis_of(axis, parts[0]))


def stack(x: Sequence[Operand], axis: Any = 0) -> Value:
    """Operands of one shape as elements along a new axis."""
    parts = promoted(*x)
    at = axis_of(axis, parts[0], 1)
    return ops.concat([ops.unsqueeze(p, [at]) for p in parts], at)


def vstack(xs: Sequence[Operand]) -> Value:
    """Joined along the first axis; vectors are rows."""
    return ops.concat([_atleast_2d(p) for p in promoted(*xs)], 0)


def hstack(xs: Sequence[Operand]) -> Value:
    """Joined along the second axis; vectors along their only one."""
    parts = [p if p.rank else ops.reshape(p, (1,)) for p in promoted(*xs)]
    return ops.concat(parts, 0 if parts[0].rank == 1 else 1)


def dstack(xs: Sequence[Operand]) -> Value:
    """Joined along the third axis, which matrices get."""
    parts = [_atleast_2d(p) for p in promoted(*xs)]
    return ops.concat([ops.unsqueeze(p, [2]) if p.rank == 2 else p for p in parts], 2)


def _atleast_2d(x: Value) -> Value:
    return x if x.rank > 1 else ops.reshape(x, (1, x.size))


def split(x: Operand, indices_or_sections: Any, axis: Any = 0) -> list[Value]:
    """So many equal parts along an axis, or parts that begin at these positions of it."""
    v = value(x)
    at = axis_of(axis, v)
    size = v.shape[at]
    if isinstance(indices_or_sections, (list, tuple, Value, np.ndarray)):
        cuts = known_dims(indices_or_sections, "the positions of a split")
        return [part(v, at, a, b) for a, b in zip([0, *cuts], [*cuts, None])]
    count = known_int(indices_or_sections, "the number of parts")
    each = as_dim(lift(size) // max(count, 1))
    total = as_dim(lift(each) * count)
    if not ops.same(total, size):
        message = f"axis {at} of {type_text(v)} in {count} equal parts"
        raise SizesDifferError(message, total, size)
    return ops.split(v, [each] * count, at)


def array_split(x: Operand, indices_or_sections: Any, axis: Any = 0) -> list[Value]:
    """As `split`, but the first of so many parts may be longer by one."""
    v = value(x)
    if isinstance(indices_or_sections, (list, tuple)):
        return split(v, indices_or_sections, axis)
    at, count = axis_of(axis, v), known_int(indices_or_sections, "the number of parts")
    each, more = divmod(ops.static(v.shape[at], "an axis that is split"), count)
    return ops.split(v, [each + (k < more) for k in range(count)], at)


def unstack(x: Operand, num: int | None = None, axis: Any = 0) -> list[Value]:
    """The elements along an axis, one by one."""
    v = value(x)
    at = axis_of(axis, v)
    count = ops.static(v.shape[at], "an axis that is taken apart")
    return [ops.squeeze(ops.slice_axis(v, at, k, 1), [at]) for k in range(count)]


# ---- padding -------------------------------------------------------------------------------------

PADDING = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(
    x: Operand, constant_values: Any = None, *, pad_width: Any, mode: str = "constant"
) -> Value:
    """Padding before and after each axis: one number, (before, after), or a pair for each axis.

    mode: numpy's constant, edge, reflect, symmetric or wrap. constant_values: like pad_width, or a
    number that a run computes. Negative amounts crop.
    """
    v = value(x)
    if mode not in PADDING:
        raise UnsupportedError(f"padding mode {mode!r}; {', '.join(PADDING)} are supported")
    pairs = _pairs(pad_width, v.rank, "the pads")
    before, after = [b for b, _ in pairs], [a for _, a in pairs]
    if mode != "constant":
        return _pad_mode(v, before, after, mode)
    if isinstance(constant_values, Value) and not constant_values.constant:
        inside = ops.pad(ops.expand(constant(True), v.shape), before, after)
        fill = ops.cast(ops.reshape(constant_values, ()), v.dtype)
        return ops.where(inside, ops.pad(v, before, after), fill)
    fills = _pairs(0 if constant_values is None else constant_values, v.rank, "the fill")
    if len({f for pair in fills for f in pair}) <= 1:
        return ops.pad(v, before, after, value=fills[0][0] if fills else 0)
    for k, (low, high) in enumerate(fills):  # numpy's order: corners are those of the later axis
        only = [[n if j == k else 0 for j, n in enumerate(side)] for side in (before, after)]
        none = [0] * v.rank
        v = ops.pad(ops.pad(v, only[0], none, value=low), none, only[1], value=high)
    return v


def _pad_mode(v: Value, before: list[Dim], after: list[Dim], mode: str) -> Value:
    """What is reflected more than once is taken from a table, the rest is computed."""
    for k, (size, b, a) in enumerate(zip(v.shape, before, after)):
        longest = max((n for n in (b, a) if isinstance(n, int)), default=0)
        limit = {"reflect": 1, "symmetric": 0}.get(mode)
        if limit is not None and isinstance(size, int) and longest > max(size - limit, 0):
            low, high = ops.static(b, "a pad"), ops.static(a, "a pad")
            limits.make(8 * (size + max(low, 0) + max(high, 0)), f"a pad of {max(low, high)}")
            places = np.pad(np.arange(size), (max(low, 0), max(high, 0)), mode=mode)  # type: ignore[call-overload]
            v = take(v, places, k)
            before[k], after[k] = min(low, 0), min(high, 0)
    return ops.pad(v, before, after, mode)


def _pairs(given: Any, rank: int, what: str) -> list[list[Any]]:
    """numpy's ways to say (before, after) of each axis."""
    array = np.array(_plain(given, what), dtype=object)
    try:
        pairs: list[list[Any]] = np.broadcast_to(array, (rank, 2)).tolist()
    except ValueError:
        raise ModelError(f"{what} {array.tolist()} do not fit {rank} axes") from None
    return pairs


def _plain(given: Any, what: str) -> Any:
    """Known numbers in lists, of whatever they are made."""
    if isinstance(given, Value):
        found = ops.known(given)
        given = known_array(given, what) if found is None else found
    if isinstance(given, (list, tuple)):
        return [_plain(g, what) for g in given]
    return given.tolist() if isinstance(given, np.ndarray) else given


# ---- indexing ------------------------------------------------------------------------------------


def slice_range(start: Dim | None, stop: Dim | None, step: int, size: Dim) -> tuple[Dim, Dim, int]:
    """(first element, number of elements, step) of start:stop:step of an axis of `size`."""
    if step == 0:
        raise ModelError("a slice's step must not be 0")
    low, high = (0, size) if step > 0 else (-1, as_dim(lift(size) - 1))
    first, last = (low, high) if step > 0 else (high, low)
    s = lift(first) if start is None else _clamp(_from_end(start, size), 0, high)
    e = lift(last) if stop is None else _clamp(_from_end(stop, size), low, high)
    count = (e - s + step - 1) // step if step > 0 else (s - e - step - 1) // -step
    return as_dim(s), as_dim(maximum(lift(count), 0)), step


def _from_end(position: Dim, size: Dim) -> Dim:
    """A position that counts from the end if negative."""
    if isinstance(position, int):
        position = max(min(position, 2**31 - 1), -(2**31))
        return as_dim(lift(size) + position) if position < 0 else position
    if bounds(position)[0] >= 0:
        return position
    if bounds(position)[1] < 0:
        return as_dim(position + size)
    return as_dim(select(position < 0, position + size, position))


def _clamp(position: Dim, low: Dim, high: Dim) -> Expr:
    return minimum(maximum(lift(position), low), high)


def part(x: Value, axis: int, start: Dim | None, stop: Dim | None, step: int = 1) -> Value:
    """x[start:stop:step] along one axis."""
    return ops.slice_axis(x, axis, *slice_range(start, stop, step, x.shape[axis]))


def getitem(x: Operand, key: Any) -> Value:
    """x[key]: slices and new axes first, then the arrays and the numbers beside them.

    key: numbers, slices, None, Ellipsis, and arrays of integers or of known truth values, which may
    be tensors; several in a tuple.
    """
    v = value(x)
    items = index_items(v, key)
    arrays = any(isinstance(i, Value) for i in items)
    starts, sizes, steps = basic_index(v, items)
    shape: list[Dim] = []  # after the slices and new axes; numbers are dropped or wait for arrays
    waiting: list[tuple[int, Value]] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        if isinstance(item, slice):
            shape.append(sizes[axis])
        elif arrays:
            waiting.append((len(shape), item if isinstance(item, Value) else ops.ints(item)))
            shape.append(v.shape[axis])
            starts[axis], sizes[axis] = 0, v.shape[axis]
        axis += 1
    y = ops.reshape(ops.slice_(v, starts, sizes, steps), shape)
    return _gathered(y, waiting) if waiting else y


def index_items(x: Value, key: Any) -> list[Any]:
    """An index for each axis of x, and None for each new one; arrays become tensors."""
    items: list[Any] = []
    for k in key if isinstance(key, tuple) else (key,):
        if isinstance(k, (bool, np.bool_)):
            raise UnsupportedError("indexing with True or False is not supported")
        if isinstance(k, (list, tuple)) and any(isinstance(i, Value) for i in k):
            k = value(k)
        elif isinstance(k, (list, tuple, np.ndarray)):
            array = np.asarray(k)
            k = constant(array if array.dtype == bool else array.astype(np.int64))
        if not isinstance(k, Value):
            items.append(k)
        elif k.dtype == "bool":
            if not k.constant:
                raise UnsupportedError(
                    "a mask that is computed from the inputs would give a result of no fixed size"
                )
            items += [constant(i.astype(np.int64)) for i in np.nonzero(evaluate(k))]
        else:
            number = None if k.rank else number_or_none(k, "an index")
            items.append(k if number is None else number)
    used = sum(i is not None and i is not Ellipsis for i in items)
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    if used > x.rank:
        raise ModelError(f"{used} indices for {type_text(x)}")
    items[at : at + 1] = [slice(None)] * (x.rank - used)
    return items


def basic_index(x: Value, items: Sequence[Any]) -> tuple[list[Dim], list[Dim], list[int]]:
    """Starts, sizes and steps of `ops.slice_`; what an array is for stays whole."""
    starts: list[Dim] = []
    sizes: list[Dim] = []
    steps: list[int] = []
    for item in (i for i in items if i is not None):
        size = x.shape[len(starts)]
        start, count, step = 0, size, 1  # type: tuple[Dim, Dim, int]
        if isinstance(item, slice):
            step = 1 if item.step is None else known_int(item.step, "the step of a slice")
            ends = [
                None if e is None else known_dims(e, "the bound of a slice")[0]
                for e in (item.start, item.stop)
            ]
            start, count, step = slice_range(ends[0], ends[1], step, size)
        elif not isinstance(item, Value):
            (at,) = known_dims(item, "an index")
            if isinstance(at, int) and isinstance(size, int) and not -size <= at < size:
                raise ModelError(f"index {at} of axis {len(starts)} of {type_text(x)}")
            start, count = _from_end(at, size), 1
        starts.append(start)
        sizes.append(count)
        steps.append(step)
    return starts, sizes, steps


def _gathered(x: Value, waiting: Sequence[tuple[int, Value]]) -> Value:
    """x taken at integer arrays along several axes, which broadcast against each other."""
    axes = [a for a, _ in waiting]
    if len(waiting) == 1:
        return ops.gather(x, ops.cast(waiting[0][1], "i64"), axes[0])
    indices = broadcast_arrays(*(ops.cast(i, "i64") for _, i in waiting))
    rank = indices[0].rank
    rest = [a for a in range(x.rank) if a not in axes]
    at = ops.concat([ops.unsqueeze(i, [rank]) for i in indices], rank)
    y = ops.gather_nd(ops.transpose(x, [*axes, *rest]), at)
    if axes == list(range(axes[0], axes[0] + len(axes))):  # side by side: the result stays there
        before = axes[0]
        order = [*range(rank, rank + before), *range(rank), *range(rank + before, y.rank)]
        y = ops.transpose(y, order)
    return y


def take(x: Operand, indices: Operand, axis: Any = None) -> Value:
    """x at these positions of an axis, or of x laid flat."""
    v, at = flat_or_along(value(x), axis)
    return ops.gather(v, ops.cast(value(indices, "i64"), "i64"), at)


def take_along_axis(x: Operand, indices: Operand, axis: Any = None) -> Value:
    """x at positions of an axis that are given for each element of the others."""
    v, at = flat_or_along(value(x), axis)
    places = ops.cast(value(indices, "i64"), "i64")
    shape = [places.shape[k] if k == at else d for k, d in enumerate(v.shape)]
    return ops.gather_elements(v, ops.expand(places, shape), at)


def diagonal(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The diagonal of two axes, as the last axis."""
    v = value(x)
    first, second = axis_of(axis1, v), axis_of(axis2, v)
    rows, columns = (ops.static(v.shape[a], "the axis of a diagonal") for a in (first, second))
    limits.make(8 * 3 * rows, f"a diagonal of {rows} elements")
    at = np.arange(rows)
    at = at[(at + offset >= 0) & (at + offset < columns)]
    places = constant(np.stack([at, at + offset], 1).astype(np.int64))
    rest = [a for a in range(v.rank) if a not in (first, second)]
    y = ops.gather_nd(ops.transpose(v, [first, second, *rest]), places)
    return ops.transpose(y, [*range(1, y.rank), 0])


def one_hot(indices: Value, depth: Dim, axis: Any = -1) -> Value:
    """Along a new axis of `depth` elements, whether each is the one that the index says: bool."""
    at = axis_of(axis, indices, 1)
    places = ops.unsqueeze(indices, [at])
    line = ops.iota([depth if k == at else 1 for k in range(places.rank)], at, indices.dtype)
    return ops.equal(places, line)


__all__ = [
    "Operand", "array_split", "axes_of", "axis_of", "basic_index", "broadcast_arrays",
    "broadcast_to", "channels_first", "channels_last", "concatenate", "diagonal", "dstack",
    "dtype_of", "expand_dims", "flat_or_along", "flip", "floats", "full_like", "getitem", "hstack",
    "index_items", "known_array", "known_dims", "known_int", "known_ints", "known_number",
    "moveaxis", "number_or_none", "numbers", "one_hot", "pad", "part", "promoted", "repeat",
    "reshape", "roll", "slice_range", "split", "squeeze", "stack", "swapaxes", "take",
    "take_along_axis", "tile", "transpose", "unstack", "value", "vstack", "without",
]  # fmt: skip
