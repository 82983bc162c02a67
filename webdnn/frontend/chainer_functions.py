"""Chainer's functions in terms of ours: one plain function each, named as chainer's class is.

    >>> from webdnn.graph import placeholder
    >>> LeakyReLU(placeholder("x", (2, 3), "f32"), slope=0.1)
    leaky_relu:f32[2,3]

Inputs are positional; keywords are the attributes of the function's object, by chainer's names.
The convolutions, pooling, recurrent and region functions are in `chainer_layers`. `FUNCTIONS` at
the end is the registry of both, `REFUSED` says why others are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..errors import ModelError, UnsupportedError
from ..expr import Dim, lift
from ..graph import FROM_NUMPY, Value, as_dim, constant, evaluate, type_text
from . import chainer_layers
from .onnx_ops import slice_range

Attr = Any


def axes_of(x: Value, axis: Sequence[int] | int | None) -> list[int]:
    """Axes counted from 0; all of them for None."""
    if axis is None:
        return list(range(x.rank))
    return [a % x.rank for a in ([axis] if isinstance(axis, int) else axis)]


def scalar(value: Any, x: Value) -> Value:
    """A number of a function's object as a value of x's dtype."""
    return ops.cast(value, x.dtype) if isinstance(value, Value) else constant(value, x.dtype)


def without(x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """x without reduced axes, unless they are kept."""
    return x if keepdims or not axes else ops.squeeze(x, axes)


def known_number(v: Value | int, what: str) -> int:
    """A number that must not depend on the inputs."""
    if isinstance(v, Value):
        if not v.constant:
            raise UnsupportedError(f"{what} is computed from the inputs")
        return int(evaluate(v))
    return v


# ---- activations --------------------------------------------------------------------------------


def ClippedReLU(x: Value, *, cap: float) -> Value:
    return ops.clamp(x, 0.0, cap)


def CReLU(x: Value, *, axis: int) -> Value:
    return ops.concat([ops.relu(x), ops.relu(ops.neg(x))], axis % x.rank)


def ELU(x: Value, *, alpha: float) -> Value:
    return ops.elu(x, alpha=float(alpha))


def HardSigmoid(x: Value) -> Value:
    return ops.hard_sigmoid(x, alpha=0.2, beta=0.5)


def LeakyReLU(x: Value, *, slope: float) -> Value:
    return ops.leaky_relu(x, alpha=float(slope))


def LogSoftmax(x: Value, *, axis: int = 1) -> Value:
    return ops.log_softmax(x, axis % x.rank)


def _extended(v: Value, x: Value) -> Value:
    """A parameter of x's axes from the second on."""
    return ops.reshape(v, (1, *v.shape, *[1] * (x.rank - v.rank - 1)))


def PReLUFunction(x: Value, W: Value) -> Value:
    return ops.prelu(x, _extended(W, x))


def RReLU(x: Value, *, lower: float, upper: float) -> Value:
    return ops.leaky_relu(x, alpha=(lower + upper) / 2)


def Softmax(x: Value, *, axis: int = 1) -> Value:
    return ops.softmax(x, axis % x.rank)


def Softplus(x: Value, *, beta: float) -> Value:
    return ops.mul(ops.softplus(ops.mul(x, float(beta))), 1 / beta)


def Swish(x: Value, beta: Value) -> Value:
    return ops.mul(x, ops.sigmoid(ops.mul(x, _extended(beta, x))))


# ---- arithmetic ---------------------------------------------------------------------------------


def AddConstant(x: Value, *, value: Attr) -> Value:
    return ops.add(x, scalar(value, x))


def SubFromConstant(x: Value, *, value: Attr) -> Value:
    return ops.sub(scalar(value, x), x)


def MulConstant(x: Value, *, value: Attr) -> Value:
    return ops.mul(x, scalar(value, x))


def DivFromConstant(x: Value, *, value: Attr) -> Value:
    return ops.div(scalar(value, x), x)


def PowVarConst(x: Value, *, value: Attr) -> Value:
    if isinstance(value, (int, float)) and value == 2:
        return ops.mul(x, x)
    if isinstance(value, (int, float)) and value == 0.5:
        return ops.sqrt_(x)
    return ops.pow_(x, scalar(value, x))


def PowConstVar(x: Value, *, value: Attr) -> Value:
    return ops.pow_(scalar(value, x), x)


def MultiAdd(*xs: Value) -> Value:
    out = xs[0]
    for x in xs[1:]:
        out = ops.add(out, x)
    return out


def BatchL2NormSquared(x: Value) -> Value:
    axes = list(range(1, x.rank))
    return without(ops.reduce_sum(ops.mul(x, x), axes), axes)


def Clip(x: Value, *, x_min: Attr, x_max: Attr) -> Value:
    low, high = (None if b is None else scalar(b, x) for b in (x_min, x_max))
    x = x if low is None else ops.max_(x, low)
    return x if high is None else ops.min_(x, high)


def _constant_times(name: str, factor: float, before: bool = False) -> Callable[[Value], Value]:
    """log2, log10: a function of ours scaled by a number."""
    function: Callable[[Value], Value] = getattr(ops, name)
    return lambda x: ops.mul(function(x), factor)


def Erfc(x: Value) -> Value:
    return ops.sub(constant(1, x.dtype), ops.erf_(x))


def ErfInv(x: Value) -> Value:
    """The inverse of erf, by Giles' approximation for single precision (2010)."""
    one = constant(1, x.dtype)
    w = ops.neg(ops.log_(ops.mul(ops.sub(one, x), ops.add(one, x))))
    near = _polynomial(
        ops.sub(w, 2.5),
        (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
         -0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
    )  # fmt: skip
    far = _polynomial(
        ops.sub(ops.sqrt_(w), 3.0),
        (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
         -0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
    )  # fmt: skip
    return ops.mul(ops.where(ops.less(w, 5.0), near, far), x)


def _polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    out = ops.add(ops.mul(x, coefficients[0]), coefficients[1])
    for c in coefficients[2:]:
        out = ops.add(ops.mul(out, x), c)
    return out


def ErfcInv(x: Value) -> Value:
    return ErfInv(ops.sub(constant(1, x.dtype), x))


def Ndtr(x: Value) -> Value:
    return ops.mul(ops.add(ops.erf_(ops.mul(x, math.sqrt(0.5))), 1.0), 0.5)


def Ndtri(x: Value) -> Value:
    return ops.mul(ErfInv(ops.sub(ops.mul(x, 2.0), 1.0)), math.sqrt(2))


def Expm1(x: Value) -> Value:
    return ops.sub(ops.exp_(x), 1.0)


def Log1p(x: Value) -> Value:
    return ops.log_(ops.add(x, 1.0))


def LinearInterpolate(p: Value, x: Value, y: Value) -> Value:
    return ops.add(ops.mul(p, x), ops.mul(ops.sub(constant(1, p.dtype), p), y))


def Square(x: Value) -> Value:
    return ops.mul(x, x)


def Identity(*xs: Value) -> Sequence[Value]:
    return xs


def Copy(x: Value) -> Value:
    return x


def Cast(x: Value, *, type: str) -> Value:
    return ops.cast(x, FROM_NUMPY[np.dtype(type).name])


def Where(x: Value, y: Value, *, condition: Value) -> Value:
    return ops.where(ops.cast(condition, "bool"), x, y)


# ---- reductions ---------------------------------------------------------------------------------


def Sum(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    axes = axes_of(x, axis)
    return without(ops.reduce_sum(x, axes) if axes else x, axes, keepdims)


def Mean(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    axes = axes_of(x, axis)
    return without(ops.reduce_mean(x, axes) if axes else x, axes, keepdims)


def Max(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    axes = axes_of(x, axis)
    return without(ops.reduce_max(x, axes) if axes else x, axes, keepdims)


def Min(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    axes = axes_of(x, axis)
    return without(ops.reduce(x, "min", axes) if axes else x, axes, keepdims)


def Prod(x: Value, *, axis: Attr, keepdims: bool) -> Value:
    axes = axes_of(x, axis)
    return without(ops.reduce(x, "prod", axes) if axes else x, axes, keepdims)


def LogSumExp(x: Value, *, axis: Attr) -> Value:
    axes = axes_of(x, axis)
    return without(ops.log_sum_exp(x, axes), axes)


def ArgMax(x: Value, *, axis: int | None) -> Value:
    return _arg(x, axis, "argmax")


def ArgMin(x: Value, *, axis: int | None) -> Value:
    return _arg(x, axis, "argmin")


def _arg(x: Value, axis: int | None, monoid: str) -> Value:
    if axis is None:
        x, axis = ops.reshape(x, (x.size,)), 0
    at = axis % x.rank
    return ops.squeeze(ops.reduce(x, monoid, [at]), [at])


def SumTo(x: Value, *, _shape: Sequence[Dim]) -> Value:
    lead = x.rank - len(_shape)
    axes = [*range(lead), *(lead + k for k, d in enumerate(_shape) if ops.same(d, 1))]
    return ops.reshape(ops.reduce_sum(x, axes) if axes else x, _shape)


def Cumsum(x: Value, *, axis: int | None) -> Value:
    if axis is None:
        return ops.cumsum(ops.reshape(x, (x.size,)), 0)
    return ops.cumsum(x, axis % x.rank)


def Cumprod(x: Value, *, axis: int | None) -> Value:
    """Products over windows that double in length."""
    if axis is None:
        x, axis = ops.reshape(x, (x.size,)), 0
    at = axis % x.rank
    size = ops.static(x.shape[at], "the axis of a cumulative product")
    reach = 1
    while reach < size:
        before = [reach if k == at else 0 for k in range(x.rank)]
        moved = ops.pad(ops.slice_axis(x, at, 0, size - reach), before, [0] * x.rank, value=1.0)
        x = ops.mul(x, moved)
        reach *= 2
    return x


# ---- products -----------------------------------------------------------------------------------


def _swapped(x: Value) -> Value:
    return ops.transpose(x, (*range(x.rank - 2), x.rank - 1, x.rank - 2)) if x.rank > 1 else x


def MatMul(
    a: Value, b: Value, *, transa: bool, transb: bool, transc: bool = False, dtype: Attr = None
) -> Value:
    if transc:
        a, b, transa, transb = b, a, not transb, not transa
    return ops.matmul(_swapped(a) if transa else a, _swapped(b) if transb else b)


def BatchMatMul(a: Value, b: Value, *, transa: bool, transb: bool) -> Value:
    a, b = (ops.reshape(v, (*v.shape[:2], ops.product(v.shape[2:]))) for v in (a, b))
    return ops.matmul(_swapped(a) if transa else a, _swapped(b) if transb else b)


def EinSum(*xs: Value, in_subs: str, out_sub: str) -> Value:
    dropped = "@" in in_subs and "@" not in out_sub  # chainer allows it where "@" stands for none
    equation = f"{in_subs}->{out_sub}"
    return ops.einsum(equation.replace("@", "" if dropped else "..."), *xs)


def TensorDot(
    a: Value, b: Value, *, axes: Attr, a_axes: Attr = None, b_axes: Attr = None, c_axes: Attr = None
) -> Value:
    if a_axes is not None and b_axes is not None:
        left, right = a_axes[1], b_axes[0]
    elif isinstance(axes, int):
        left, right = range(a.rank - axes, a.rank), range(axes)
    else:
        left, right = ([p] if isinstance(p, int) else p for p in axes)
    left, right = [p % a.rank for p in left], [p % b.rank for p in right]
    rows = [p for p in range(a.rank) if p not in left]
    columns = [p for p in range(b.rank) if p not in right]
    depth = ops.product([a.shape[p] for p in left])
    flat = ops.matmul(
        ops.reshape(ops.transpose(a, [*rows, *left]), (-1 if rows else 1, depth)),
        ops.reshape(ops.transpose(b, [*right, *columns]), (depth, -1 if columns else 1)),
    )
    shape = [*(a.shape[p] for p in rows), *(b.shape[p] for p in columns)]
    return ops.reshape(flat, shape)


def FFT(real: Value, imaginary: Value, *, _method: str) -> list[Value]:
    """The transform of the last axis as products with its matrix."""
    n = ops.static(real.shape[-1], "the length of a Fourier transform")
    angle = np.outer(np.arange(n), np.arange(n)) % n * (2 * np.pi / n)
    inverse = _method == "ifft"
    cos, sin = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    scale = 1 / n if inverse else 1.0
    c, s = (constant((m * scale).astype(np.float32)) for m in (cos, sin))
    return [
        ops.sub(ops.matmul(real, c), ops.matmul(imaginary, s)),
        ops.add(ops.matmul(real, s), ops.matmul(imaginary, c)),
    ]


# ---- shapes -------------------------------------------------------------------------------------


def Reshape(x: Value, *, shape: Sequence[Dim]) -> Value:
    return ops.reshape(x, shape)


def Transpose(x: Value, *, axes: Attr) -> Value:
    return ops.transpose(x, range(x.rank)[::-1] if axes is None else axes_of(x, axes))


def Swapaxes(x: Value, *, axis1: int, axis2: int) -> Value:
    perm = list(range(x.rank))
    perm[axis1], perm[axis2] = perm[axis2], perm[axis1]
    return ops.transpose(x, perm)


def Moveaxis(x: Value, *, source: Sequence[int], destination: Sequence[int]) -> Value:
    return ops.transpose(x, _moved(x.rank, axes_of(x, source), axes_of(x, destination)))


def _moved(rank: int, source: Sequence[int], destination: Sequence[int]) -> list[int]:
    perm = [a for a in range(rank) if a not in source]
    for to, a in sorted(zip(destination, source)):
        perm.insert(to, a)
    return perm


def Rollaxis(x: Value, *, axis: int, start: int) -> Value:
    axis %= x.rank
    start = start + x.rank if start < 0 else start
    perm = [a for a in range(x.rank) if a != axis]
    perm.insert(start - (axis < start), axis)
    return ops.transpose(x, perm)


def ExpandDims(x: Value, *, axis: int) -> Value:
    return ops.unsqueeze(x, [axis % (x.rank + 1)])


def Squeeze(x: Value, *, axis: Attr) -> Value:
    return ops.squeeze(x, None if axis is None else axes_of(x, axis))


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
    return ops.concat(xs, axis % xs[0].rank)


def Stack(*xs: Value, axis: int) -> Value:
    axis %= xs[0].rank + 1
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
    axis %= x.rank
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
    axis %= x.rank
    size = ops.static(x.shape[axis], "the axis that is separated")
    return [ops.squeeze(ops.slice_axis(x, axis, k, 1), [axis]) for k in range(size)]


def Flip(x: Value, *, axis: int) -> Value:
    return ops.flip(x, [axis % x.rank])


def FlipLR(x: Value) -> Value:
    return ops.flip(x, [1])


def FlipUD(x: Value) -> Value:
    return ops.flip(x, [0])


def Repeat(x: Value, *, repeats: Sequence[int], axis: int | None) -> Value:
    if axis is None:
        x, axis = ops.reshape(x, (x.size,)), 0
    axis %= x.rank
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
    start, stop = item.start, item.stop
    if step > 0:
        start, stop = 0 if start is None else start, 2**31 - 1 if stop is None else stop
    else:
        start, stop = 2**31 - 1 if start is None else start, -(2**31) if stop is None else stop
    return slice_range(start, stop, step, size)


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
    axis %= x.rank
    indices = ops.cast(indices, "i64")
    if inv and indices.constant:
        indices = constant(np.argsort(evaluate(indices), kind="stable").astype(np.int64))
    elif inv:
        n = indices.shape[0]
        here = ops.equal(ops.reshape(indices, (1, n)), ops.iota((n, 1), 0, "i64"))
        indices = _arg(ops.cast(here, "i32"), 1, "argmax")
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
    first, second = axis1 % x.rank, axis2 % x.rank
    rest = [a for a in range(x.rank) if a not in (first, second)]
    rows, columns = (ops.static(x.shape[a], "the axis of a diagonal") for a in (first, second))
    at = np.arange(rows)
    at = at[(at + offset >= 0) & (at + offset < columns)]
    where = constant(np.stack([at, at + offset], 1).astype(np.int64))
    y = ops.gather_nd(ops.transpose(x, [first, second, *rest]), where)
    return ops.transpose(y, [*range(1, y.rank), 0])


# ---- normalisation ------------------------------------------------------------------------------


def FixedBatchNormalization(
    x: Value, gamma: Value, beta: Value, mean: Value, var: Value, *, eps: float, axis: Attr
) -> Value:
    kept = _kept(x, gamma, axis)
    gamma, beta, mean, var = (_along(v, x, kept) for v in (gamma, beta, mean, var))
    scale = ops.div(gamma, ops.sqrt_(ops.add(var, float(eps))))
    return ops.add(ops.mul(x, scale), ops.sub(beta, ops.mul(mean, scale)))


def BatchNormalization(x: Value, gamma: Value, beta: Value, *, eps: float, axis: Attr) -> Value:
    """By the statistics of the batch itself, where a chain asks for that in test mode."""
    kept = _kept(x, gamma, axis)
    y = ops.normalize(x, [a for a in range(x.rank) if a not in kept], float(eps))
    return ops.add(ops.mul(y, _along(gamma, x, kept)), _along(beta, x, kept))


def _kept(x: Value, gamma: Value, axis: Attr) -> list[int]:
    """The axes that statistics do not go over."""
    if axis is None:
        return list(range(1, 1 + gamma.rank))
    over = axes_of(x, axis)
    return [a for a in range(x.rank) if a not in over]


def _along(v: Value, x: Value, axes: Sequence[int]) -> Value:
    dims = iter(v.shape)
    return ops.reshape(v, [next(dims) if k in axes else 1 for k in range(x.rank)])


def FixedDecorrelatedBatchNormalization(
    x: Value, mean: Value, projection: Value, *, groups: int
) -> Value:
    order = (1, 0, *range(2, x.rank))
    flat = ops.transpose(x, order)
    deep = as_dim(lift(x.shape[1]) // groups)
    columns = ops.reshape(flat, (groups, deep, ops.product([x.shape[0], *x.shape[2:]])))
    y = ops.matmul(projection, ops.sub(columns, ops.unsqueeze(mean, [mean.rank])))
    return ops.transpose(ops.reshape(y, flat.shape), order)


def GroupNormalization(x: Value, gamma: Value, beta: Value, *, groups: int, eps: float) -> Value:
    n, c, *space = x.shape
    each = as_dim(lift(c) // groups)
    y = ops.reshape(x, (n, groups, each, *space))
    y = ops.reshape(ops.normalize(y, range(2, y.rank), float(eps)), x.shape)
    return ops.add(ops.mul(y, _along(gamma, x, [1])), _along(beta, x, [1]))


def LayerNormalization(x: Value, gamma: Value, beta: Value, *, eps: float) -> Value:
    return ops.add(ops.mul(ops.normalize(x, [1], float(eps)), gamma), beta)


def NormalizeL2(x: Value, *, eps: float, axis: Attr) -> Value:
    norm = ops.sqrt_(ops.reduce_sum(ops.mul(x, x), axes_of(x, axis)))
    return ops.div(x, ops.add(norm, float(eps)))


def LocalResponseNormalization(x: Value, *, n: int, k: float, alpha: float, beta: float) -> Value:
    size = n // 2 * 2 + 1
    last = ops.transpose(x, (0, *range(2, x.rank), 1))
    y = ops.lrn(last, size, float(alpha * size), float(beta), float(k))
    return ops.transpose(y, (0, x.rank - 1, *range(1, x.rank - 1)))


# ---- the registry -------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Absolute": ops.abs_, "Add": ops.add, "Arccos": ops.acos_, "Arcsin": ops.asin_,
    "Arctan": ops.atan_, "Arctan2": ops.atan2_, "Arctanh": ops.atanh_, "Cos": ops.cos_,
    "Cosh": ops.cosh_, "Div": ops.div, "Erf": ops.erf_, "Exp": ops.exp_, "Fmod": ops.fmod,
    "Log": ops.log_, "Log10": _constant_times("log_", 1 / math.log(10)),
    "Log2": _constant_times("log_", 1 / math.log(2)), "Maximum": ops.max_, "Minimum": ops.min_,
    "Mul": ops.mul, "Neg": ops.neg, "PowVarVar": ops.pow_, "ReLU": ops.relu,
    "Sigmoid": ops.sigmoid, "Sin": ops.sin_, "Sinh": ops.sinh_, "Sqrt": ops.sqrt_, "Sub": ops.sub,
    "Tan": ops.tan_, "Tanh": ops.tanh_,
    "ceil": ops.ceil_, "fix": ops.trunc_, "floor": ops.floor_, "sign": ops.sign_,
}  # fmt: skip
for _module in (globals(), vars(chainer_layers)):
    FUNCTIONS |= {
        name: fn
        for name, fn in _module.items()
        if name[0].isupper() and getattr(fn, "__module__", "").startswith("webdnn.frontend.chainer")
        and callable(fn) and not isinstance(fn, type)
    }  # fmt: skip

_LOSS = "it is a loss: return the prediction instead (of a Classifier, its `predictor`)"
_RANDOM = "it draws random numbers"
_SPECIAL = "this special function is not available on the targets"
_ALGEBRA = "decompositions and inverses of matrices are not available on the targets"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("AbsoluteError", "BernoulliNLL", "BinaryAccuracy", "BlackOut", "Accuracy", "Contrastive",
         "ConnectionistTemporalClassification", "CrossCovariance", "DeCov", "Hinge", "HuberLoss",
         "MeanAbsoluteError", "MeanSquaredError", "NegativeSamplingFunction", "Triplet",
         "SigmoidCrossEntropy", "SoftmaxCrossEntropy", "SquaredError", "BlackOutFunction",
         "BinaryHierarchicalSoftmaxFunction", "ClassificationSummary", "R2_score"), _LOSS),
    **dict.fromkeys(("Dropout", "Gaussian", "Zoneout"), _RANDOM),
    **dict.fromkeys(("DiGamma", "Erfcx", "LGamma", "LogNdtr", "PolyGamma", "Zeta"), _SPECIAL),
    **dict.fromkeys(
        ("BatchDet", "BatchInv", "Cholesky", "Inv", "DecorrelatedBatchNormalization"), _ALGEBRA),
    "AsStrided": "it depends on the layout of chainer's memory: use indexing or im2col",
    "CooMatMul": "sparse matrices are not supported: use a dense one",
    "TheanoFunction": "functions of Theano are not supported",
    "BatchRenormalizationFunction": "it is for training; in test mode it is fixed",
}  # fmt: skip

__all__ = ["FUNCTIONS", "REFUSED"]
