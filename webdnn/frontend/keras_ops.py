"""The operations of keras.ops, which stand as layers in functional models of Keras 3.

    y = keras.ops.einsum("btc,bsc->bts", x, x)     # Einsum
    y = x[:, :2] * 2                                # GetItem, Multiply

Each function takes what Keras' own does, by position or by name; `_built` gathers that from the
node's arguments and from the operation's configuration. Operands may be numbers and lists. Types
are promoted as in Keras: numbers take the type of the tensor beside them, save that a float makes
integers float32. Shapes that the model computes from shapes are known when it is transpiled.

Limits: what draws random numbers, sorts with options, decomposes matrices or takes Python functions.
`OPERATIONS` is the registry; `keras_tensorflow` has the functions of tf.keras.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..errors import UnsupportedError
from ..expr import Dim, Expr
from ..graph import DTYPES, FLOATS, FROM_NUMPY, Value, as_dim, constant, evaluate, type_text
from . import keras_activations
from .keras_images import one_hot, resized
from .keras_model import Call, Layer, Nested
from .keras_spatial import adaptive_pool, transposed_crop, windowed

Function = Callable[[Layer, Sequence[Nested], Call], Nested]
Tensor = Any  # a Value, a number, or a list of numbers


# ---- operands ------------------------------------------------------------------------------------


def dtype_of(given: Any) -> str:
    """Our dtype for Keras' name of one, also as "tf.float32" or a serialized policy."""
    if isinstance(given, Mapping):
        given = (given.get("config") or {}).get("name", "float32")
    name = str(given).rpartition(".")[2]
    name = {"bfloat16": "float32", "float": "float32", "int": "int32"}.get(name, name)
    if name not in FROM_NUMPY:
        raise UnsupportedError(f"dtype {given!r}; known are {', '.join(DTYPES.values())}")
    return FROM_NUMPY[name]


def value(x: Tensor, like: str | None = None) -> Value:
    """An operand as a value; numbers become f32, i32 or bool, or take the dtype `like`."""
    if isinstance(x, Value):
        return ops.cast(x, "f32") if x.dtype == "f64" else x
    if isinstance(x, (list, tuple)) and any(isinstance(part, Value) for part in x):
        parts = promoted(*x)
        return ops.concat([ops.unsqueeze(p, [0]) for p in parts], 0)
    array = np.asarray(x)
    kind = {"f": "f32", "i": "i32", "u": "i32", "b": "bool"}.get(array.dtype.kind)
    if kind is None:
        raise UnsupportedError(f"an operand {x!r:.60}; numbers and tensors are expected")
    return constant(array, like or kind)


_RANK = ("bool", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "f32", "f64")


def promoted(*xs: Tensor) -> list[Value]:
    """The operands with one dtype."""
    xs = tuple(value(x) if isinstance(x, Value) else x for x in xs)
    tensors = [x for x in xs if isinstance(x, Value)]
    widest = max((x.dtype for x in tensors), key=_RANK.index, default=None)
    plain = [np.asarray(x).dtype.kind for x in xs if not isinstance(x, (Value, list, tuple))]
    if widest is None:
        widest = "f32" if "f" in plain else "i32" if set(plain) - {"b"} else "bool"
    elif widest not in FLOATS and "f" in plain:
        widest = "f32"
    elif widest == "bool" and "i" in plain:
        widest = "i32"
    return [ops.cast(x, widest) if isinstance(x, Value) else value(x, widest) for x in xs]


def floats(x: Tensor) -> Value:
    """An operand as floating-point numbers."""
    v = value(x)
    return v if v.dtype in FLOATS else ops.cast(v, "f32")


def number(x: Tensor, what: str) -> Any:
    """A Python number; a tensor must be known."""
    if isinstance(x, Value):
        found = ops.known(x)
        if found is None and x.constant:
            found = evaluate(x)
        if found is None or found.size != 1:
            raise UnsupportedError(f"{what} must be known, but is computed: {type_text(x)}")
        return found.ravel()[0]
    return x


def dims(given: Any, what: str = "a shape") -> list[Dim]:
    """Sizes: numbers, and elements of shapes, symbolic ones included."""
    if isinstance(given, Value):
        found = ops.known(given)
        if found is None:
            raise UnsupportedError(f"{what} must be known, but is computed: {type_text(given)}")
        return [as_dim(d) for d in found.ravel()]
    items = given if isinstance(given, (list, tuple)) else [given]
    return [as_dim(-1 if d is None else number(d, what)) for d in items]


def axes(axis: Any, rank: int) -> list[int]:
    """Axes counted from 0; None: all."""
    if axis is None:
        return list(range(rank))
    given = axis if isinstance(axis, (list, tuple)) else [axis]
    return [int(number(a, "an axis")) % max(rank, 1) for a in given]


def along(x: Value, axis: Any) -> tuple[Value, int]:
    """x and an axis of it; without one, x laid flat."""
    if axis is None:
        return ops.reshape(x, (x.size,)), 0
    return x, axes(axis, x.rank)[0]


# ---- elementwise -----------------------------------------------------------------------------------


def _binary(fn: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda x1, x2: fn(*promoted(x1, x2))


def _floating(fn: Callable[..., Value]) -> Callable[..., Value]:
    return lambda x: fn(floats(x))


def _numeric(fn: Callable[..., Value]) -> Callable[..., Value]:
    """Of numbers; truth values count as integers."""

    def compute(x: Tensor) -> Value:
        v = value(x)
        return fn(ops.cast(v, "i32") if v.dtype == "bool" else v)

    return compute


def _logical(fn: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda x1, x2: fn(ops.cast(value(x1), "bool"), ops.cast(value(x2), "bool"))


def divide(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    return ops.div(floats(a), floats(b))


def divide_no_nan(x1: Tensor, x2: Tensor) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.where(ops.equal(b, 0.0), constant(0, a.dtype), ops.div(a, b))


def floor_divide(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    if a.dtype in FLOATS:
        return ops.floor_(ops.div(a, b))
    return ops.div(ops.sub(a, ops.mod(a, b)), b)


def clip(x: Tensor, x_min: Tensor, x_max: Tensor) -> Value:
    v = value(x)
    low, high = (None if b is None else value(b, None) for b in (x_min, x_max))
    for b, fn in ((low, ops.max_), (high, ops.min_)):
        if b is not None:
            v, b = promoted(v, b if isinstance(b, Value) and not b.constant else evaluate(b).item())
            v = fn(v, b)
    return v


def where(condition: Tensor, x1: Tensor = None, x2: Tensor = None) -> Value:
    if x1 is None or x2 is None:
        raise UnsupportedError("the positions of what is true have no fixed number; give x1 and x2")
    a, b = promoted(x1, x2)
    return ops.where(ops.cast(value(condition), "bool"), a, b)


def power(x1: Tensor, x2: Tensor) -> Value:
    a, b = promoted(x1, x2)
    if isinstance(x2, (int, float)) and x2 == 2:
        return ops.mul(a, a)
    return ops.pow_(a, b)


def square(x: Tensor) -> Value:
    v = value(x)
    return ops.mul(v, v)


def log1p(x: Value) -> Value:
    """log(1 + x), exact for small x: x log(u) / (u - 1) where u = 1 + x (Kahan)."""
    u = ops.add(x, 1.0)
    return ops.where(ops.equal(u, 1.0), x, ops.mul(x, ops.div(ops.log_(u), ops.sub(u, 1.0))))


def expm1(x: Value) -> Value:
    """exp(x) - 1, exact for small x: tanh(x / 2) (exp(x) + 1)."""
    small = ops.mul(ops.tanh_(ops.mul(x, 0.5)), ops.add(ops.exp_(x), 1.0))
    return ops.where(ops.less(ops.abs_(x), 1.0), small, ops.sub(ops.exp_(x), 1.0))


def logaddexp(x1: Tensor, x2: Tensor) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    return ops.add(ops.max_(a, b), ops.softplus(ops.neg(ops.abs_(ops.sub(a, b)))))


def round_(x: Tensor, decimals: int = 0) -> Value:
    v = value(x)
    if v.dtype not in FLOATS:
        return v
    scale = 10.0**decimals
    return ops.div(ops.round_(ops.mul(v, scale)), scale) if decimals else ops.round_(v)


def isclose(
    x1: Tensor, x2: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    a, b = (floats(v) for v in promoted(x1, x2))
    near = ops.less_equal(ops.abs_(ops.sub(a, b)), ops.add(ops.mul(ops.abs_(b), rtol), atol))
    if equal_nan:
        near = ops.logical_or(near, ops.logical_and(ops.is_nan(a), ops.is_nan(b)))
    return near


def nan_to_num(
    x: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Value:
    v = floats(x)
    top = float(np.finfo(np.float32).max)
    v = ops.where(ops.is_nan(v), constant(nan, v.dtype), v)
    high, low = top if posinf is None else posinf, -top if neginf is None else neginf
    v = ops.where(ops.is_inf(v, negative=False), constant(high, v.dtype), v)
    return ops.where(ops.is_inf(v, positive=False), constant(low, v.dtype), v)


def cast(x: Tensor, dtype: Any) -> Value:
    v, to = value(x), dtype_of(dtype)
    return ops.not_equal(v, 0) if to == "bool" and v.dtype != "bool" else ops.cast(v, to)


def saturate_cast(x: Tensor, dtype: Any) -> Value:
    v, to = value(x), dtype_of(dtype)
    if to not in FLOATS and to != "bool":
        info = np.iinfo(DTYPES[to])
        bound = 2**31 - 128 if v.dtype in FLOATS else 2**31 - 1
        v = ops.clamp(v, max(int(info.min), -bound), min(int(info.max), bound))
    return cast(v, dtype)


def convert_to_tensor(x: Tensor, dtype: Any = None) -> Value:
    return value(x) if dtype is None else cast(x, dtype)


# ---- reductions --------------------------------------------------------------------------------------


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


# ---- products ----------------------------------------------------------------------------------------


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


# ---- shapes ------------------------------------------------------------------------------------------


def shape_of(x: Tensor) -> Value:
    return ops.ints(list(value(x).shape), "i32")


def reshape(x: Tensor, newshape: Any) -> Value:
    return ops.reshape(value(x), dims(newshape))


def transpose(x: Tensor, axes: Any = None) -> Value:
    v = value(x)
    return ops.transpose(v, dims(axes) if axes is not None else range(v.rank)[::-1])  # type: ignore[arg-type]


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
        return [ops.slice_axis(v, at, s, as_dim(e - s)) for s, e in zip(starts, ends)]  # type: ignore[operator]
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
    v, times = value(x), dims(repeats)
    if len(times) < v.rank:
        times = [1] * (v.rank - len(times)) + times
    if len(times) > v.rank:
        v = ops.reshape(v, [1] * (len(times) - v.rank) + list(v.shape))
    return ops.tile(v, times)  # type: ignore[arg-type]


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
        elif isinstance(k, Value) and k.rank or isinstance(k, list):
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
    first = 0 if start is None else start
    end: Any = size if stop is None else stop
    first = as_dim(size + first) if isinstance(first, int) and first < 0 else first
    end = as_dim(size + end) if isinstance(end, int) and end < 0 else end
    return ops.slice_axis(v, axis, first, as_dim((end - first + (step - 1)) // step), step)


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


def one_hot_(x: Tensor, num_classes: int, axis: int = -1, dtype: Any = None) -> Value:
    y = one_hot(value(x), int(num_classes), "f32" if dtype is None else dtype_of(dtype))
    return y if axis in (-1, y.rank - 1) else moveaxis(y, -1, axis)


def multi_hot(inputs: Tensor, num_classes: int, axis: int = -1, dtype: Any = None) -> Value:
    y = one_hot_(inputs, num_classes, axis, dtype)
    at = 1 if value(inputs).rank > 1 else 0
    return ops.squeeze(ops.reduce_max(y, [at]), [at])


# ---- neural networks -----------------------------------------------------------------------------------


def _spatial(x: Tensor, data_format: Any) -> tuple[Value, Callable[[Value], Value]]:
    """x channels last, and how to bring a result back."""
    v = floats(x)
    if str(data_format or "channels_last").lower() in ("channels_last", "nhwc", "nwc", "ndhwc"):
        return v, lambda y: y
    to = (0, *range(2, v.rank), 1)
    return ops.transpose(v, to), lambda y: ops.transpose(y, (0, y.rank - 1, *range(1, y.rank - 1)))


def _each(given: Any, count: int) -> list[int]:
    """One number for each spatial axis, from one, from as many, or with batch and channels."""
    if given is None:
        return [1] * count
    if not isinstance(given, (list, tuple)):
        return [int(given)] * count
    if len(given) == count + 2:
        given = given[1:-1]
    return [int(g) for g in given] * (count if len(given) == 1 else 1)


def conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    x, back = _spatial(inputs, data_format)
    w, rank = floats(kernel), x.rank - 2
    steps, gaps = _each(strides, rank), _each(dilation_rate, rank)
    pads = windowed(x, [int(k) for k in w.shape[:rank]], steps, gaps, padding.lower())  # type: ignore[arg-type]
    groups = ops.static(x.shape[-1], "channels") // ops.static(w.shape[-2], "channels")
    return back(ops.convolve(x, w, steps, pads, gaps, groups))


def depthwise_conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    w = floats(kernel)
    *size, depth, times = w.shape
    x, back = _spatial(inputs, data_format)
    w = ops.reshape(w, (*size, 1, ops.product([depth, times])))
    x = ops.repeat(x, ops.static(times, "the depth multiplier"), -1)
    return back(conv(x, w, strides, padding, None, dilation_rate))


def separable_conv(
    inputs: Tensor,
    depthwise_kernel: Tensor,
    pointwise_kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    x, back = _spatial(inputs, data_format)
    y = depthwise_conv(x, depthwise_kernel, strides, padding, None, dilation_rate)
    return back(conv(y, pointwise_kernel))


def conv_transpose(
    inputs: Tensor,
    kernel: Tensor,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Value:
    x, back = _spatial(inputs, data_format)
    w, rank = floats(kernel), x.rank - 2
    steps, gaps = _each(strides, rank), _each(dilation_rate, rank)
    extra = [None] * rank if output_padding is None else _each(output_padding, rank)
    cuts = [
        transposed_crop(int(k), s, d, padding.lower(), e)  # type: ignore[arg-type]
        for k, s, d, e in zip(w.shape, steps, gaps, extra)
    ]
    y = ops.convolve_transpose(
        x,
        ops.transpose(w, (*range(rank), rank + 1, rank)),
        steps,
        [(before, max(after, 0)) for before, after in cuts],
        gaps,
        1,
        [max(-after, 0) for _, after in cuts],
    )
    return back(y)


def _pool(mode: str) -> Callable[..., Value]:
    def pool(
        inputs: Tensor,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: Any = None,
    ) -> Value:
        x, back = _spatial(inputs, data_format)
        size = _each(pool_size, x.rank - 2)
        steps = size if strides is None else _each(strides, x.rank - 2)
        ones = [1] * (x.rank - 2)
        pads = windowed(x, size, steps, ones, padding.lower())
        compute = ops.max_pool if mode == "max" else ops.average_pool
        return back(compute(x, size, steps, pads, ones))

    return pool


def _adaptive(mode: str) -> Callable[..., Value]:
    def pool(inputs: Tensor, output_size: Any, data_format: Any = None) -> Value:
        x, back = _spatial(inputs, data_format)
        for k, n in enumerate(_each(output_size, x.rank - 2)):
            x = adaptive_pool(x, k + 1, n, mode)
        return back(x)

    return pool


def batch_normalization(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    offset: Tensor = None,
    scale: Tensor = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Value:
    v = floats(x)
    at = axis % v.rank
    shape = [v.shape[k] if k == at else 1 for k in range(v.rank)]
    factor = ops.rsqrt_(ops.add(floats(variance), float(epsilon)))
    factor = factor if scale is None else ops.mul(factor, floats(scale))
    shift = ops.neg(ops.mul(floats(mean), factor))
    shift = shift if offset is None else ops.add(shift, floats(offset))
    return ops.add(ops.mul(v, ops.reshape(factor, shape)), ops.reshape(shift, shape))


def layer_normalization(
    x: Tensor,
    gamma: Tensor = None,
    beta: Tensor = None,
    axis: Any = -1,
    epsilon: float | None = None,
) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    y = ops.normalize(v, at, 1e-7 if epsilon is None else float(epsilon))
    return _scaled(y, at, gamma, beta)


def rms_normalization(
    x: Tensor, scale: Tensor = None, axis: Any = -1, epsilon: float | None = None
) -> Value:
    v = floats(x)
    at = axes(axis, v.rank)
    return _scaled(ops.rms_normalize(v, at, 1e-7 if epsilon is None else epsilon), at, scale, None)


def _scaled(y: Value, at: Sequence[int], gamma: Tensor, beta: Tensor) -> Value:
    shape = [y.shape[k] if k in at else 1 for k in range(y.rank)]
    y = y if gamma is None else ops.mul(y, ops.reshape(floats(gamma), shape))
    return y if beta is None else ops.add(y, ops.reshape(floats(beta), shape))


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value_: Tensor,
    bias: Tensor = None,
    mask: Tensor = None,
    scale: float | None = None,
    is_causal: bool = False,
    attn_logits_soft_cap: float | None = None,
) -> Value:
    q, k, v = (ops.transpose(floats(x), (0, 2, 1, 3)) for x in (query, key, value_))
    size = ops.static(q.shape[-1], "the size of a head")
    share = ops.static(q.shape[1], "heads") // ops.static(k.shape[1], "heads")
    k, v = ops.repeat(k, share, 1), ops.repeat(v, share, 1)
    scores = ops.matmul(
        ops.mul(q, 1 / math.sqrt(size) if scale is None else float(scale)),
        ops.transpose(k, (0, 1, 3, 2)),
    )
    if bias is not None:
        scores = ops.add(scores, floats(bias))
    if attn_logits_soft_cap is not None:
        cap = float(attn_logits_soft_cap)
        scores = ops.mul(ops.tanh_(ops.div(scores, cap)), cap)
    seen = None if mask is None else ops.cast(value(mask), "bool")
    if is_causal:
        t, s = scores.shape[-2:]
        rows, columns = ops.iota((1, 1, t, 1), 2), ops.iota((1, 1, 1, s), 3)
        before = ops.greater_equal(rows, columns)
        seen = before if seen is None else ops.logical_and(seen, before)
    weights = keras_activations.masked_softmax(scores, seen, [-1])
    return ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))


def depth_to_space(x: Tensor, block_size: int, data_format: str = "channels_last") -> Value:
    v, back = _spatial(x, data_format)
    n, h, w, c = v.shape
    b = int(block_size)
    depth = ops.static(c, "the number of channels") // (b * b)
    y = ops.transpose(ops.reshape(v, (n, h, w, b, b, depth)), (0, 1, 3, 2, 4, 5))
    return back(ops.reshape(y, (n, ops.product([h, b]), ops.product([w, b]), depth)))


def space_to_depth(x: Tensor, block_size: int, data_format: str = "channels_last") -> Value:
    v, back = _spatial(x, data_format)
    n, h, w, c = v.shape
    b = int(block_size)
    h, w = as_dim(h // b), as_dim(w // b)
    y = ops.transpose(ops.reshape(v, (n, h, b, w, b, c)), (0, 1, 3, 2, 4, 5))
    return back(ops.reshape(y, (n, h, w, ops.product([b, b, c]))))


def rgb_to_grayscale(images: Tensor, data_format: Any = None) -> Value:
    v, back = _spatial(images, data_format)
    weights = constant(np.array([0.2989, 0.587, 0.114], np.float32), v.dtype)
    return back(ops.reduce_sum(ops.mul(v, weights), [-1]))


def resize(
    layer: Layer,
    images: Tensor,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    data_format: Any = None,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
) -> Value:
    if crop_to_aspect_ratio or pad_to_aspect_ratio:
        raise UnsupportedError("resize that keeps the aspect ratio; the Resizing layer does it")
    x, back = _spatial(images, data_format)
    return back(resized(layer, x, (1, 2), dims(size, "a size"), interpolation, bool(antialias)))


def _activation(name: str) -> Callable[..., Value]:
    fn = keras_activations.FUNCTIONS[name]
    return lambda x, *args, **kwargs: fn(floats(x), *args, **kwargs)


# ---- building ------------------------------------------------------------------------------------------


def _built(fn: Callable[..., Any], ignored: Sequence[str] = ()) -> Function:
    """An operation as a function that builds a layer: arguments by position, by name, by config."""
    parameters = inspect.signature(fn).parameters
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    spread = any(p.kind == p.VAR_POSITIONAL for p in parameters.values())
    names = [n for n in parameters if n != "layer"]

    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
        given = list(call.args)
        taken = set() if spread else set(names[: len(given)])
        named = {
            k: v
            for k, v in layer.config.items()
            if k not in taken and (k in parameters or (open_ended and k in _OPTIONS))
        }
        for k, v in call.items():
            k = "value_" if k == "value" and "value_" in parameters else k
            if k in parameters or open_ended:
                named[k] = v
            elif v is not None and k not in ("name", *ignored):
                raise layer.lacks(f"the argument {k}={v!r:.60}")
        named.pop("name", None)
        if "layer" in parameters:
            given.insert(0, layer)
        return fn(*given, **named)

    return build


# What activation operations keep in their configuration.
_OPTIONS = ("alpha", "approximate", "axis", "b", "default_value", "negative_slope", "threshold")

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs": _numeric(ops.abs_), "Absolute": _numeric(ops.abs_), "Add": _binary(ops.add),
    "Arccos": _floating(ops.acos_), "Arccosh": _floating(ops.acosh_),
    "Arcsin": _floating(ops.asin_), "Arcsinh": _floating(ops.asinh_),
    "Arctan": _floating(ops.atan_), "Arctan2": _binary(ops.atan2_),
    "Arctanh": _floating(ops.atanh_), "BitwiseAnd": lambda x, y: ops.bit_and(*promoted(x, y)),
    "BitwiseInvert": lambda x: ops.bit_not(value(x)), "BitwiseNot": lambda x: ops.bit_not(value(x)),
    "BitwiseOr": lambda x, y: ops.bit_or(*promoted(x, y)),
    "BitwiseXor": lambda x, y: ops.bit_xor(*promoted(x, y)),
    "BitwiseLeftShift": lambda x, y: ops.shift_left(*promoted(x, y)),
    "BitwiseRightShift": lambda x, y: ops.shift_right(*promoted(x, y)),
    "LeftShift": lambda x, y: ops.shift_left(*promoted(x, y)),
    "RightShift": lambda x, y: ops.shift_right(*promoted(x, y)),
    "Cbrt": lambda x: ops.mul(ops.sign_(floats(x)), ops.pow_(ops.abs_(floats(x)), 1 / 3)),
    "Ceil": _floating(ops.ceil_), "Cos": _floating(ops.cos_), "Cosh": _floating(ops.cosh_),
    "Deg2rad": lambda x: ops.mul(floats(x), math.pi / 180), "Divide": divide,
    "DivideNoNan": divide_no_nan, "Equal": _binary(ops.equal), "Erf": _floating(ops.erf_),
    "Erfc": lambda x: ops.sub(1.0, ops.erf_(floats(x))), "Exp": _floating(ops.exp_),
    "Exp2": lambda x: ops.exp_(ops.mul(floats(x), math.log(2))), "Expm1": _floating(expm1),
    "Fabs": _floating(ops.abs_), "Floor": _floating(ops.floor_), "FloorDivide": floor_divide,
    "Fmax": _binary(ops.max_), "Fmin": _binary(ops.min_), "Fmod": _binary(ops.fmod),
    "Greater": _binary(ops.greater), "GreaterEqual": _binary(ops.greater_equal),
    "Hypot": lambda x1, x2: ops.sqrt_(ops.add(square(floats(x1)), square(floats(x2)))),
    "Isclose": isclose, "Isfinite": lambda x: ops.logical_not(
        ops.logical_or(ops.is_nan(floats(x)), ops.is_inf(floats(x)))),
    "Isinf": lambda x: ops.is_inf(floats(x)), "Isnan": lambda x: ops.is_nan(floats(x)),
    "Isneginf": lambda x: ops.is_inf(floats(x), positive=False),
    "Isposinf": lambda x: ops.is_inf(floats(x), negative=False), "Less": _binary(ops.less),
    "LessEqual": _binary(ops.less_equal), "Log": _floating(ops.log_),
    "Log10": lambda x: ops.mul(ops.log_(floats(x)), 1 / math.log(10)), "Log1p": _floating(log1p),
    "Log2": lambda x: ops.mul(ops.log_(floats(x)), 1 / math.log(2)), "Logaddexp": logaddexp,
    "LogicalAnd": _logical(ops.logical_and),
    "LogicalNot": lambda x: ops.logical_not(ops.cast(value(x), "bool")),
    "LogicalOr": _logical(ops.logical_or), "LogicalXor": _logical(ops.logical_xor),
    "Maximum": _binary(ops.max_), "Minimum": _binary(ops.min_), "Mod": _binary(ops.mod),
    "Multiply": _binary(ops.mul), "NanToNum": nan_to_num, "Negative": _numeric(ops.neg),
    "NotEqual": _binary(ops.not_equal), "Power": power,
    "Rad2deg": lambda x: ops.mul(floats(x), 180 / math.pi),
    "Reciprocal": _floating(ops.reciprocal), "Round": round_, "Rsqrt": _floating(ops.rsqrt_),
    "Sign": _numeric(ops.sign_), "Sin": _floating(ops.sin_), "Sinh": _floating(ops.sinh_),
    "Sqrt": _floating(ops.sqrt_), "Square": square, "Subtract": _binary(ops.sub),
    "Tan": _floating(ops.tan_), "Tanh": _floating(ops.tanh_), "TrueDivide": divide,
    "Trunc": _floating(ops.trunc_), "Clip": clip, "Where": where, "Cast": cast,
    "SaturateCast": saturate_cast, "ConvertToTensor": convert_to_tensor,
    "Copy": value, "StopGradient": value, "Array": convert_to_tensor, "Conjugate": value, "Real": value,
}  # fmt: skip

_SHAPED: dict[str, Callable[..., Any]] = {
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
    "TopK": top_k, "Digitize": digitize, "OneHot": one_hot_, "MultiHot": multi_hot,
    "Ravel": lambda x: ops.reshape(value(x), (value(x).size,)), "Shape": shape_of,
    "Size": lambda x: ops.ints(value(x).size, "i32"),
    "Ndim": lambda x: constant(value(x).rank, "i32"),
    "Trace": trace,
}  # fmt: skip

_NETWORK: dict[str, Callable[..., Any]] = {
    "Conv": conv, "DepthwiseConv": depthwise_conv, "SeparableConv": separable_conv,
    "ConvTranspose": conv_transpose, "MaxPool": _pool("max"), "AveragePool": _pool("average"),
    "AdaptiveMaxPool": _adaptive("max"), "AdaptiveAveragePool": _adaptive("average"),
    "BatchNorm": batch_normalization, "LayerNorm": layer_normalization,
    "RMSNorm": rms_normalization, "DotProductAttention": dot_product_attention,
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
    "RGBToGrayscale": rgb_to_grayscale, "Resize": resize,
    "Gelu": lambda x, approximate=True: keras_activations.FUNCTIONS["gelu"](
        floats(x), approximate=approximate),
}  # fmt: skip
_NAMES = {
    "Celu": "celu", "Elu": "elu", "Glu": "glu", "HardShrink": "hard_shrink",
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "HardTanh": "hard_tanh",
    "LeakyRelu": "leaky_relu", "LogSigmoid": "log_sigmoid", "LogSoftmax": "log_softmax",
    "Mish": "mish", "Relu": "relu", "Relu6": "relu6", "Selu": "selu", "Sigmoid": "sigmoid",
    "Silu": "silu", "SoftShrink": "soft_shrink", "Softmax": "softmax", "Softplus": "softplus",
    "Softsign": "softsign", "SparsePlus": "sparse_plus", "SparseSigmoid": "sparse_sigmoid",
    "Sparsemax": "sparsemax", "Squareplus": "squareplus", "TanhShrink": "tanh_shrink",
    "Threshold": "threshold", "ReLU": "relu",
}  # fmt: skip

_FUNCTIONS = _ELEMENTWISE | _SHAPED | _NETWORK | {k: _activation(n) for k, n in _NAMES.items()}
OPERATIONS: dict[str, Function] = {name: _built(fn) for name, fn in _FUNCTIONS.items()}

__all__ = ["OPERATIONS"]
