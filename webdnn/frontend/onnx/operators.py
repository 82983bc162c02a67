"""ONNX's operators in terms of ours: one plain function each, named as ONNX names it.

    >>> from webdnn.graph import placeholder
    >>> Gemm(placeholder("a", (2, 3), "f32"), placeholder("b", (5, 3), "f32"), transB=1)
    matmul:f32[2,5]

Inputs are positional (an omitted optional one is None), attributes are keywords with ONNX's names
and defaults; words that a Literal does not list are refused before the function is called. One
function takes every version of its operator from opset 7; where versions differ in more than the
place of an argument it also asks for `opset`. `outputs` is how many outputs the node has. An
operator whose meaning is that of one of ours, argument by argument, is a line of SAME.

What must be known when the model is transpiled (axes, sizes, pads ...) is read with `known_dims`
or `known_array`, which say so if it is not. `OPERATORS` at the end has them all by name; they are
`registry`'s for ONNX's own domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Literal

import numpy as np

from ... import limits, ops
from ...errors import ModelError, SizesDifferError, UnsupportedError
from ...expr import Dim, as_dim, lift, maximum
from ...graph import DTYPES, FLOATS, Value, constant, evaluate, type_text
from .. import arrays, windows
from ..arithmetic import waves
from ..arrays import (
    axes_of,
    axis_of,
    channels_first,
    channels_last,
    known_array,
    known_dims,
    known_int,
    known_ints,
    without,
)
from ..ranges import RANGES
from ..windows import Window
from .algebra import Det
from .attributes import attributes_of
from .detection import Compress, MaxRoiPool, NonMaxSuppression, NonZero, RoiAlign, TopK
from .recurrent import GRU, LSTM, RNN

Attr = Any
AutoPad = Literal["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", ""]
Reduction = Literal["none", "add", "mul", "max", "min"]
RoundMode = Literal["up", "down", "nearest"]
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
Coordinates = Literal[
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize",
]  # fmt: skip

# ONNX's TensorProto.DataType -> our dtype. bfloat16 has no storage of its own: float32 holds it
# exactly.
ELEMENT_TYPES = {
    1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "bool", 10: "f16",
    11: "f64", 12: "u32", 13: "u64", 16: "f32",
}  # fmt: skip
BFLOAT16 = 16


def element_type(code: int) -> str:
    """Our dtype for one of TensorProto.DataType."""
    if code not in ELEMENT_TYPES:
        from onnx import TensorProto

        name = (
            TensorProto.DataType.Name(code).lower()
            if code in TensorProto.DataType.values()
            else code
        )
        raise UnsupportedError(
            f"element type {name} is not supported; these are: "
            f"{', '.join(sorted({DTYPES[d] for d in ELEMENT_TYPES.values()}))}"
        )
    return ELEMENT_TYPES[code]


# ---- elementwise --------------------------------------------------------------------------------

SAME: dict[str, Callable[..., Value]] = {
    "Abs": ops.abs_, "Acos": ops.acos_, "Acosh": ops.acosh_, "Add": ops.add, "And": ops.logical_and,
    "Asin": ops.asin_, "Asinh": ops.asinh_, "Atan": ops.atan_, "Atanh": ops.atanh_,
    "BitwiseAnd": ops.bit_and, "BitwiseNot": ops.bit_not, "BitwiseOr": ops.bit_or,
    "BitwiseXor": ops.bit_xor, "Ceil": ops.ceil_, "Cos": ops.cos_, "Cosh": ops.cosh_,
    "Div": ops.div, "Equal": ops.equal, "Erf": ops.erf_, "Exp": ops.exp_, "Floor": ops.floor_,
    "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal, "HardSwish": ops.hard_swish,
    "IsNaN": ops.is_nan, "Less": ops.less, "LessOrEqual": ops.less_equal, "Log": ops.log_,
    "MatMul": ops.matmul,
    "Mish": ops.mish, "Mul": ops.mul, "Neg": ops.neg, "Not": ops.logical_not,
    "Or": ops.logical_or, "PRelu": ops.prelu, "Reciprocal": ops.reciprocal, "Relu": ops.relu,
    "Round": ops.round_, "Sigmoid": ops.sigmoid, "Sign": ops.sign_, "Sin": ops.sin_,
    "Sinh": ops.sinh_, "Softplus": ops.softplus, "Softsign": ops.softsign, "Sqrt": ops.sqrt_,
    "Sub": ops.sub, "Tan": ops.tan_, "Tanh": ops.tanh_, "Where": ops.where, "Xor": ops.logical_xor,
}  # fmt: skip


def in_floats(fn: Callable[[Value], Value], x: Value) -> Value:
    """What fn makes of floating-point numbers, of x's dtype again."""
    return fn(x) if x.dtype in FLOATS else ops.cast(fn(ops.cast(x, "f32")), x.dtype)


def onto(x: Value, computed: Value, what: str) -> Value:
    """What was computed of x and `what`, which may broadcast to x but not x to it."""
    if computed.rank != x.rank or not all(map(ops.same, computed.shape, x.shape)):
        raise ModelError(f"{what} does not fit {type_text(x)}: it would be {type_text(computed)}")
    return computed


def LeakyRelu(x: Value, *, alpha: float = 0.01) -> Value:
    return ops.leaky_relu(x, alpha=alpha)


def ThresholdedRelu(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.thresholded_relu(x, alpha=alpha)


def Elu(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.elu(x, alpha=alpha)


def Celu(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.celu(x, alpha=alpha)


def Selu(
    x: Value, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Value:
    return ops.selu(x, alpha=alpha, gamma=gamma)


def HardSigmoid(x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    return ops.hard_sigmoid(x, alpha=alpha, beta=beta)


def Shrink(x: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    return in_floats(lambda v: ops.shrink(v, lambd=lambd, bias=bias), x)


def Gelu(x: Value, *, approximate: Literal["none", "tanh"] = "none") -> Value:
    return ops.gelu_tanh(x) if approximate == "tanh" else ops.gelu(x)


def Swish(x: Value, *, alpha: float = 1.0) -> Value:
    return ops.silu(x) if alpha == 1 else ops.swish(x, alpha=alpha)


def Clip(
    x: Value,
    lo: Value | None = None,
    hi: Value | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Value:
    bounds_given = [lo if lo is not None else min, hi if hi is not None else max]
    for k, (bound, op) in enumerate(zip(bounds_given, (ops.max_, ops.min_))):
        if isinstance(bound, Value):
            bounds_given[k] = bound = _saturated(ops.reshape(bound, ()))
        if bound is not None and not (
            isinstance(bound, float) and math.isinf(bound) and (bound > 0) == (k == 1)
        ):
            x = op(x, bound)
    return x


def _saturated(v: Value) -> Value:
    """A constant bound beyond 32 bits bounds nothing that fits into them: the largest one does as
    well.
    """
    if v.constant and v.dtype in ("i64", "u64"):
        return constant(np.clip(evaluate(v), *RANGES[v.dtype]), v.dtype)
    return v


def Pow(x: Value, y: Value) -> Value:
    if x.dtype == y.dtype:
        return ops.pow_(x, y)
    return in_floats(lambda v: ops.pow_(v, ops.cast(y, v.dtype)), x)


def Mod(x: Value, y: Value, *, fmod: int = 0) -> Value:
    return ops.fmod(x, y) if fmod else ops.mod(x, y)


def BitShift(x: Value, y: Value, *, direction: Literal["LEFT", "RIGHT"]) -> Value:
    return ops.shift_left(x, y) if direction == "LEFT" else ops.shift_right(x, y)


def IsInf(x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    if not detect_negative and not detect_positive:
        return ops.logical_and(ops.is_nan(x), False)
    return ops.is_inf(x, positive=bool(detect_positive), negative=bool(detect_negative))


def Max(*xs: Value) -> Value:
    return reduce(ops.max_, xs)


def Min(*xs: Value) -> Value:
    return reduce(ops.min_, xs)


def Sum(*xs: Value) -> Value:
    return reduce(ops.add, xs)


def Mean(*xs: Value) -> Value:
    return ops.mul(reduce(ops.add, xs), 1 / len(xs))


def Cast(x: Value, *, to: int, saturate: int = 1, round_mode: RoundMode = "up") -> Value:
    if to == BFLOAT16:
        return ops.round_bfloat16(ops.cast(x, "f32"))
    return _cast(x, element_type(to))


def CastLike(x: Value, like: Value, *, saturate: int = 1, round_mode: RoundMode = "up") -> Value:
    return _cast(x, like.dtype)


def _cast(x: Value, dtype: str) -> Value:
    """x as a dtype; as float16 rounded, which is computed in 32 bits."""
    if dtype == "f16" and x.dtype != "f16":
        return ops.cast(ops.round_float16(ops.cast(x, "f32")), dtype)
    return ops.cast(x, dtype)


def Identity(x: Value) -> Value:
    return x


def Dropout(
    x: Value,
    ratio: Value | None = None,
    training: Value | None = None,
    *,
    seed: int = 0,
    is_test: int = 1,
    **attrs: Attr,
) -> list[Value]:
    if training is not None and not (training.constant and not evaluate(training).any()):
        raise UnsupportedError("training mode is not supported; export the model for inference")
    return [x, ops.expand(constant(True), x.shape)]


# ---- shapes -------------------------------------------------------------------------------------


def Shape(x: Value, *, start: int = 0, end: int | None = None) -> Value:
    return ops.ints(np.array(x.shape[slice(start, end)], dtype=object), "i64")


def Size(x: Value) -> Value:
    return ops.ints(ops.product(x.shape), "i64")


def Reshape(x: Value, shape: Value, *, allowzero: int = 0) -> Value:
    to = known_dims(shape, "the shape")
    if not allowzero:
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
    x: Value, axes_input: Value | None = None, *, axes: Sequence[int] | None = None
) -> Value:
    given = axes_input if axes_input is not None else axes
    found = None if given is None else axes_of(given, x)
    for a in found or ():
        if not ops.same(x.shape[a], 1):
            raise ModelError(f"axis {a} of {type_text(x)} has not size 1")
    return ops.squeeze(x, found)


def Unsqueeze(x: Value, axes_input: Value | None = None, *, axes: Sequence[int] = ()) -> Value:
    given = known_ints(axes_input if axes_input is not None else axes, "the axes")
    return ops.unsqueeze(x, axes_of(given, x, len(given)))


def Transpose(x: Value, *, perm: Sequence[int] | None = None) -> Value:
    return ops.transpose(x, range(x.rank)[::-1] if perm is None else perm)


def Expand(x: Value, shape: Value) -> Value:
    return ops.expand(x, known_dims(shape, "the shape"))


def Tile(x: Value, repeats: Value) -> Value:
    return ops.tile(x, known_dims(repeats, "repeats"))  # type: ignore[arg-type]


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
) -> list[Value]:
    axis = axis_of(axis, x)
    given: Sequence[Dim] | None = known_dims(sizes, "the split") if sizes is not None else split
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
) -> Value:
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
) -> Value:
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


# ---- constants and generated tensors ------------------------------------------------------------


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


def ConstantOfShape(shape: Value, *, value: Value | None = None) -> Value:
    fill = ops.reshape(value, ()) if value is not None else constant(0.0, "f32")
    return ops.expand(fill, known_dims(shape, "the shape"))


def Range(start: Value, limit: Value, delta: Value) -> Value:
    if all(v.constant for v in (start, limit, delta)):
        first, end, step = (evaluate(v).item() for v in (start, limit, delta))
        if not step or not all(map(math.isfinite, (first, end, step))):
            raise ModelError(f"a range from {first} to {end} in steps of {step}")
        count = max(math.ceil((end - first) / step), 0)
        limits.make(8 * count, f"a range of {count} elements")
        return constant((np.arange(count) * step + first).astype(DTYPES[start.dtype]))
    if start.dtype in FLOATS:
        ends = ops.ceil_(ops.div(ops.sub(limit, start), delta))
        (size,) = known_dims(ops.cast(ends, "i64"), "the number of elements of a Range of floats")
        i = ops.iota((as_dim(maximum(size, 0)),), 0, start.dtype)
        return ops.add(ops.mul(i, delta), start)
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


def EyeLike(x: Value, *, dtype: int | None = None, k: int = 0) -> Value:
    if x.rank != 2:
        raise ModelError(f"a matrix expected, found {type_text(x)}")
    rows, cols = x.shape
    on = ops.equal(ops.iota((1, cols), 1), ops.add(ops.iota((rows, 1), 0), k))
    return ops.cast(on, x.dtype if dtype is None else element_type(dtype))


def Trilu(x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    if x.rank < 2:
        raise ModelError(f"matrices expected, found {type_text(x)}")
    diagonal: Any = 0 if k is None else ops.reshape(ops.cast(_saturated(k), "i32"), ())
    return ops.trilu(x, diagonal, bool(upper))


def OneHot(indices: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:
    (size,) = known_dims(depth, "the depth")
    if values.shape != (2,):
        raise ModelError(f"values {type_text(values)}: off and on expected")
    at = ops.cast(indices, "i64") if indices.dtype in FLOATS else indices
    at = ops.where(ops.less(at, 0), ops.add(at, ops.ints(size, at.dtype)), at)
    off, on = (ops.reshape(ops.slice_axis(values, 0, j, 1), ()) for j in (0, 1))
    return ops.where(arrays.one_hot(at, size, axis), on, off)


# ---- reductions ---------------------------------------------------------------------------------


def _reduction(compute: Callable[[Value, list[int]], Value]) -> Callable[..., Value]:
    def reduction(
        x: Value,
        axes_input: Value | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Value:
        given = axes_input if axes_input is not None else axes
        axes = () if given is None else known_ints(given, "the axes")
        found = list(dict.fromkeys(axis_of(a, x) for a in axes))  # one may be given twice
        if not found and noop_with_empty_axes:
            return compute(x, [])
        found = found or axes_of(None, x)
        return without(compute(x, found), found, keepdims)

    return reduction


ReduceSum = _reduction(ops.reduce_sum)
ReduceMean = _reduction(ops.reduce_mean)
ReduceMax = _reduction(lambda x, axes: _reduce_bool(x, "max", "any", axes))
ReduceMin = _reduction(lambda x, axes: _reduce_bool(x, "min", "all", axes))
ReduceProd = _reduction(lambda x, axes: ops.reduce(x, "prod", axes))
ReduceL1 = _reduction(lambda x, axes: ops.lp_norm(x, 1, axes))
ReduceL2 = _reduction(lambda x, axes: in_floats(ops.sqrt_, _sum_square(x, axes)))
ReduceLogSum = _reduction(lambda x, axes: in_floats(ops.log_, ops.reduce_sum(x, axes)))
ReduceLogSumExp = _reduction(lambda x, axes: in_floats(lambda v: ops.log_sum_exp(v, axes), x))
ReduceSumSquare = _reduction(lambda x, axes: _sum_square(x, axes))


def _sum_square(x: Value, axes: list[int]) -> Value:
    return ops.reduce_sum(ops.mul(x, x), axes)


def _reduce_bool(x: Value, monoid: str, of_bool: str, axes: list[int]) -> Value:
    return ops.reduce(x, of_bool if x.dtype == "bool" else monoid, axes)


def ArgMax(x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    return _arg("argmax", x, axis, keepdims, select_last_index)


def ArgMin(x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    return _arg("argmin", x, axis, keepdims, select_last_index)


def _arg(monoid: str, x: Value, axis: int, keep: int, last: int) -> Value:
    axis = axis_of(axis, x)
    return without(ops.reduce(x, monoid + "_last" * bool(last), [axis]), [axis], keep)


def Hardmax(x: Value, *, axis: int | None = None, opset: int) -> Value:
    def hardmax(y: Value) -> Value:
        line = ops.iota([1] * (y.rank - 1) + [y.shape[-1]], y.rank - 1, "i64")
        return ops.cast(ops.equal(ops.reduce(y, "argmax", [y.rank - 1]), line), y.dtype)

    return _last_axis(x, axis, opset, hardmax)


def CumSum(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return ops.cumsum(x, axis_of(axis, x), bool(exclusive), bool(reverse))


def CumProd(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    """Each product anew, over what stands before: (elements of the axis)^2 multiplications."""
    at = axis_of(axis, x)
    here, there = (
        ops.iota([x.shape[at] if k == at + j else 1 for k in range(x.rank + 1)], at + j, "i64")
        for j in (0, 1)
    )
    near = (ops.less if exclusive else ops.less_equal)(*((here, there)[:: 1 if reverse else -1]))
    factors = ops.where(near, ops.unsqueeze(x, [at]), constant(1, x.dtype))
    return ops.squeeze(ops.reduce(factors, "prod", [at + 1]), [at + 1])


def Softmax(x: Value, *, axis: int | None = None, opset: int) -> Value:
    return _last_axis(x, axis, opset, lambda y: ops.softmax(y, -1), lambda y, a: ops.softmax(y, a))


def LogSoftmax(x: Value, *, axis: int | None = None, opset: int) -> Value:
    return _last_axis(
        x, axis, opset, lambda y: ops.log_softmax(y, -1), lambda y, a: ops.log_softmax(y, a)
    )


def _last_axis(
    x: Value,
    axis: int | None,
    opset: int,
    last: Callable[[Value], Value],
    any_axis: Callable[[Value, int], Value] | None = None,
) -> Value:
    """The softmax family: along one axis since opset 13, over all axes from `axis` on before."""
    at = axis_of((-1 if opset >= 13 else 1) if axis is None else axis, x)
    if opset < 13:
        wide = [k for k in range(at, x.rank) if not ops.same(x.shape[k], 1)]
        if len(wide) > 1:
            rows = ops.reshape(x, (*x.shape[:at], ops.product(x.shape[at:])))
            return ops.reshape(last(rows), x.shape)
        at = wide[0] if wide else at
    if any_axis is not None:
        return any_axis(x, at)
    perm = [k for k in range(x.rank) if k != at] + [at]
    return ops.transpose(last(ops.transpose(x, perm)), [perm.index(k) for k in range(x.rank)])


# ---- normalisations -----------------------------------------------------------------------------


def BatchNormalization(
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    var: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
    outputs: int,
) -> Value:
    if outputs > 1:
        raise UnsupportedError("training mode is not supported; export the model for inference")
    return ops.batch_normalize(x, mean, var, scale, bias, epsilon, [1 if x.rank > 1 else 0])


def InstanceNormalization(x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Value:
    return _by_channel(ops.normalize(x, _picture(x), epsilon), scale, bias)


def _by_channel(x: Value, scale: Value, bias: Value) -> Value:
    """x [N, C, ...] times a scale [C] and with a bias [C]."""
    for v in (scale, bias):
        if x.rank < 3 or v.rank != 1 or not ops.same(v.shape[0], x.shape[1]):
            raise ModelError(f"{type_text(v)} is not one number for each channel of {type_text(x)}")
    return ops.add(ops.mul(x, ops.along(scale, 1, x.rank)), ops.along(bias, 1, x.rank))


def LayerNormalization(
    x: Value,
    scale: Value,
    bias: Value | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int,
) -> list[Value]:
    axes = range(axis_of(axis, x), x.rank)
    wide = ops.cast(x, element_type(stash_type)) if x.dtype == "f16" else x
    y = ops.mul(ops.cast(ops.normalize(wide, axes, epsilon), x.dtype), scale)
    y = onto(x, y if bias is None else ops.add(y, bias), "scale or bias")
    if outputs == 1:
        return [y]
    mean = ops.reduce_mean(wide, axes)
    d = ops.sub(wide, mean)
    return [y, mean, ops.rsqrt_(ops.add(ops.reduce_mean(ops.mul(d, d), axes), epsilon))]


def SimplifiedLayerNormalization(
    x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    return RMSNormalization(x, scale, axis=axis, epsilon=epsilon, stash_type=stash_type)


def RMSNormalization(
    x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    y = ops.rms_normalize(x, range(axis_of(axis, x), x.rank), epsilon)
    return onto(x, ops.mul(y, scale), f"scale {type_text(scale)}")


def GroupNormalization(
    x: Value,
    scale: Value,
    bias: Value,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    opset: int,
) -> Value:
    if opset < 21:  # one scale for each group, not for each channel
        each = ops.static(x.shape[1], "the number of channels") // num_groups
        scale, bias = (ops.repeat(v, each, 0) for v in (scale, bias))
    return _by_channel(ops.group_normalize(x, num_groups, 1, epsilon), scale, bias)


def LpNormalization(x: Value, *, axis: int = -1, p: int = 2) -> Value:
    norm = ops.lp_norm(x, p, [axis_of(axis, x)])
    zero = ops.equal(norm, 0.0)
    return ops.where(zero, 0.0, ops.div(x, ops.where(zero, 1.0, norm)))


def MeanVarianceNormalization(x: Value, *, axes: Sequence[int] = (0, 2, 3)) -> Value:
    found = axes_of(axes, x)
    d = ops.sub(x, ops.reduce_mean(x, found))
    return ops.div(d, ops.add(ops.sqrt_(ops.reduce_mean(ops.mul(d, d), found)), 1e-9))


def LRN(
    x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Value:
    return channels_first(ops.lrn(channels_last(x), size, alpha, beta, bias))


# ---- matrix products ----------------------------------------------------------------------------


def Gemm(
    a: Value,
    b: Value,
    c: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    a, b = (ops.transpose(v, (1, 0)) if turn else v for v, turn in ((a, transA), (b, transB)))
    y = _scaled(ops.matmul(a, b), alpha)
    if c is None or beta == 0:
        return y
    return onto(y, ops.add(y, _scaled(c, beta)), f"C {type_text(c)}")


def _scaled(x: Value, factor: float) -> Value:
    return x if factor == 1 else in_floats(lambda v: ops.mul(v, factor), x)


def Einsum(*xs: Value, equation: str) -> Value:
    if len(equation.partition("->")[0].split(",")) != len(xs):
        raise ModelError(
            f"the equation {equation!r} has {len(equation.partition('->')[0].split(','))} "
            f"operands, the node {len(xs)}"
        )
    return ops.einsum(equation, *xs)


# ---- Fourier transforms -------------------------------------------------------------------------


def _fourier(parts: int, length: int, bins: int, inverse: bool) -> Value:
    """[length * parts, bins * 2]: the transform of [length, parts], parts being re (and im)."""
    cos, sin = waves(length, bins)
    sin = sin if inverse else -sin
    rows = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)][:parts], 1)
    scale = 1 / length if inverse else 1.0
    return constant((rows * scale).reshape(length * parts, bins * 2).astype(np.float32))


def _real_fourier(bins: int, length: int) -> Value:
    """The real signal of one side of its spectrum: [bins * 2, length]."""
    cos, sin = (wave.T for wave in waves(length, bins))
    at = np.arange(bins)[:, None]
    twice = np.where((at == 0) | (2 * at == length), 1, 2) / length
    rows = np.stack([cos * twice, -sin * twice], 1)
    return constant(rows.reshape(bins * 2, length).astype(np.float32))


def _transformed(x: Value, bins: int, inverse: bool) -> Value:
    """[..., length, parts] -> [..., bins, 2]"""
    *outer, length, parts = x.shape
    size = ops.static(length, "the length of a Fourier transform")
    matrix = _fourier(ops.static(parts, "the last axis"), size, bins, inverse)
    flat = ops.reshape(ops.cast(x, "f32"), (*outer, as_dim(lift(length) * parts)))
    return ops.cast(ops.reshape(ops.matmul(flat, matrix), (*outer, bins, 2)), x.dtype)


def DFT(
    x: Value,
    dft_length: Value | None = None,
    axis_input: Value | None = None,
    *,
    axis: int | None = None,
    inverse: int = 0,
    onesided: int = 0,
    opset: int,
) -> Value:
    """As a product with the transform's matrix; the last axis of x is (re, im) or re alone."""
    default = 1 if opset < 20 else -2
    at = axis_of(next((a for a in (axis_input, axis) if a is not None), default), x)
    perm = [k for k in range(x.rank - 1) if k != at] + [at, x.rank - 1]
    y = ops.transpose(x, perm)
    given = ops.static(x.shape[at], "the length of a Fourier transform")
    one_side_back = inverse and onesided
    length = 2 * (given - 1) if one_side_back else given
    if dft_length is not None:
        length = known_int(dft_length, "the length of a Fourier transform")
    bins = length // 2 + 1 if onesided else length
    y = ops.pad(y, [0] * y.rank, [0] * (y.rank - 2) + [(bins if inverse else length) - given, 0])
    if one_side_back:
        y = ops.matmul(ops.reshape(y, (*y.shape[:-2], bins * 2)), _real_fourier(bins, length))
        y = ops.unsqueeze(y, [y.rank])
    else:
        y = _transformed(y, bins, bool(inverse))
    return ops.transpose(y, [perm.index(k) for k in range(x.rank)])


def STFT(
    x: Value,
    frame_step: Value,
    window: Value | None = None,
    frame_length: Value | None = None,
    *,
    onesided: int = 1,
) -> Value:
    """[batch, samples, parts] -> [batch, frames, bins, 2]"""
    step = known_int(frame_step, "the frame step")
    if frame_length is not None:
        length = known_int(frame_length, "the frame length")
    elif window is not None:
        length = ops.static(window.shape[0], "the window's length")
    else:
        raise ModelError("neither a window nor a frame length is given")
    x = ops.unsqueeze(x, [2]) if x.rank == 2 else x  # some exporters leave the last axis out
    frames = ops.transpose(ops.windows(x, [1], [length], [step], [1]), (0, 1, 3, 2))
    if window is not None:
        frames = ops.mul(frames, ops.along(window, 2, 4))
    return _transformed(frames, length // 2 + 1 if onesided else length, inverse=False)


# ---- convolution --------------------------------------------------------------------------------


def _window(
    sizes: Sequence[Dim],
    kernel: Sequence[int],
    *,
    auto_pad: AutoPad = "NOTSET",
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Window:
    """The windows over spatial axes of these sizes that the attributes mean."""
    rank = len(sizes)
    around: str | windows.Pads = auto_pad.lower()
    if auto_pad in ("NOTSET", ""):
        flat = list(pads) or [0] * (2 * rank)
        if len(flat) != 2 * rank:
            raise ModelError(f"{len(flat)} pads for {rank} spatial axes; expected {2 * rank}")
        if min(flat, default=0) < 0:
            raise ModelError(f"pads {flat}: one is negative")
        around = list(zip(flat[:rank], flat[rank:]))
    return windows.window(sizes, kernel, strides, dilations, around)


def _kernel(x: Value, w: Value, kernel_shape: Sequence[int]) -> list[int]:
    """The filters' own size, which kernel_shape may repeat."""
    if x.rank != w.rank or x.rank < 3:
        raise ModelError(f"filters {type_text(w)} do not fit {type_text(x)}")
    kernel = [ops.static(d, "the filter's size") for d in w.shape[2:]]
    if kernel_shape and list(kernel_shape) != kernel:
        raise ModelError(f"kernel_shape {list(kernel_shape)}, but filters {type_text(w)}")
    return kernel


@attributes_of(_window)
def Conv(
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    **window: Attr,
) -> Value:
    kernel = _kernel(x, w, kernel_shape)
    return windows.conv(x, w, b, _window(x.shape[2:], kernel, **window), group)


@attributes_of(_window)
def ConvTranspose(
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    auto_pad: AutoPad = "NOTSET",
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    output_padding: Sequence[int] = (),
    output_shape: Sequence[int] = (),
    **given: Attr,
) -> Value:
    kernel, rank = _kernel(x, w, kernel_shape), x.rank - 2
    extra = list(output_padding) or [0] * rank
    by_size = bool(output_shape) or auto_pad.startswith("SAME")
    window = _window(x.shape[2:], kernel, auto_pad="VALID" if by_size else auto_pad, **given)
    if by_size:  # the pads are what is too much
        around: windows.Pads = []
        for k, size in enumerate(x.shape[2:]):
            full = lift(windows.transposed_size(window, k, size)) + extra[k]
            wanted = output_shape[-rank + k] if output_shape else lift(size) * window.strides[k]
            total = ops.static(as_dim(full - wanted), "the padding for the given output size")
            small, large = total // 2, total - total // 2
            around.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
        window = replace(window, pads=around)
    return windows.conv_transpose(x, w, b, window, group, extra)


def Col2Im(
    x: Value,
    image_shape: Value,
    block_shape: Value,
    *,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Value:
    """Overlapping blocks added up: the transposed convolution by filters of a single one each."""
    image = known_dims(image_shape, "the image's shape")
    block = known_ints(block_shape, "the block")
    window = _window(image, block, dilations=dilations, pads=pads, strides=strides)
    many = math.prod(block)
    channels = ops.static(x.shape[1], "the number of channels") // many
    counts: list[Dim] = []
    extra: list[int] = []
    for k, size in enumerate(image):
        room = lift(size) - windows.transposed_size(window, k, 1)
        counts.append(as_dim(room // window.strides[k] + 1))
        left = as_dim(lift(size) - windows.transposed_size(window, k, counts[k]))
        extra.append(ops.static(left, "what the blocks leave of the image"))
    limits.make(4 * channels * many**2, f"the filters of blocks of {block}")
    one = np.eye(many, dtype=np.float32).reshape(many, 1, *block)
    filters = constant(np.tile(one, (channels, *[1] * (window.rank + 1))), x.dtype)
    y = ops.reshape(x, (x.shape[0], x.shape[1], *counts))
    return windows.conv_transpose(y, filters, None, window, channels, extra)


# ---- pooling ------------------------------------------------------------------------------------


@attributes_of(_window)
def _pooling(
    x: Value,
    *,
    kernel_shape: Sequence[int],
    ceil_mode: int = 0,
    auto_pad: AutoPad = "NOTSET",
    **given: Attr,
) -> Window:
    """The windows that the attributes of a pooling mean over x."""
    w = _window(x.shape[2:], kernel_shape, auto_pad=auto_pad, **given)
    if auto_pad.startswith("SAME"):
        return w
    return (windows.ceil_mode if ceil_mode else windows.at_least_one)(w, x.shape[2:])


@attributes_of(_pooling)
def MaxPool(x: Value, *, storage_order: int = 0, outputs: int, **given: Attr) -> Value:
    if outputs > 1:
        raise UnsupportedError("its second output (Indices) is not supported")
    return windows.max_pool(x, _pooling(x, **given))


@attributes_of(_pooling)
def AveragePool(x: Value, *, count_include_pad: int = 0, **given: Attr) -> Value:
    return windows.average_pool(x, _pooling(x, **given), bool(count_include_pad))


@attributes_of(_pooling)
def LpPool(x: Value, *, p: int = 2, **given: Attr) -> Value:
    y = windows.patches(_raised(x, p), _pooling(x, **given))
    y = ops.reduce_sum(y, range(x.rank, y.rank))
    return _rooted(ops.reshape(y, y.shape[: x.rank]), p)


def _raised(x: Value, p: int) -> Value:
    if p < 1:
        raise ModelError(f"p {p}: a positive number expected")
    return ops.abs_(x) if p == 1 else ops.mul(x, x) if p == 2 else ops.pow_(ops.abs_(x), float(p))


def _rooted(x: Value, p: int) -> Value:
    return x if p == 1 else ops.sqrt_(x) if p == 2 else ops.pow_(x, 1 / p)


def _picture(x: Value) -> range:
    """The spatial axes of x [N, C, spatial...]."""
    if x.rank < 3:
        raise ModelError(f"[N, C, spatial...] expected, found {type_text(x)}")
    return range(2, x.rank)


def GlobalAveragePool(x: Value) -> Value:
    return ops.reduce_mean(x, _picture(x))


def GlobalMaxPool(x: Value) -> Value:
    return ops.reduce_max(x, _picture(x))


def GlobalLpPool(x: Value, *, p: int = 2) -> Value:
    return _rooted(ops.reduce_sum(_raised(x, p), _picture(x)), p)


# ---- resizing -----------------------------------------------------------------------------------


def Resize(
    x: Value,
    *inputs: Value | None,
    opset: int,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: Coordinates = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: Literal["stretch", "not_larger", "not_smaller"] = "stretch",
    mode: Literal["nearest", "linear", "cubic"] = "nearest",
    nearest_mode: Rounding = "round_prefer_floor",
) -> Value:
    if opset < 11:  # Resize-10 took (x, scales), and one definition of coordinates
        return Upsample(x, inputs[0], mode=mode)
    roi, scales, sizes = (*inputs, None, None, None)[:3]
    at = axes_of(axes, x)
    out: list[Dim]
    factor: Sequence[float | Value | None]
    if sizes is not None and sizes.size != 0:
        out, factor = known_dims(sizes, "sizes"), [None] * len(at)
        if keep_aspect_ratio_policy != "stretch":
            ratios = [
                ops.static(o, "a size") / ops.static(x.shape[a], "a dimension")
                for o, a in zip(out, at)
            ]
            ratio = min(ratios) if keep_aspect_ratio_policy == "not_larger" else max(ratios)
            out = [math.floor(ratio * ops.static(x.shape[a], "a dimension") + 0.5) for a in at]
            factor = [ratio] * len(at)
    else:
        factor = _factors(scales)
        out = [_scaled_size(x.shape[a], s) for a, s in zip(at, factor)]
    if len(out) != len(at):
        raise ModelError(f"{len(out)} sizes or scales for {len(at)} axes of {type_text(x)}")
    region = [0.0] * len(at) + [1.0] * len(at)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        region = [float(r) for r in known_array(roi, "roi").ravel()]

    def along_axis(y: Value, axis: int, k: int) -> Value:
        return ops.resize(
            y,
            axis,
            out[k],
            mode=mode,
            coordinates=coordinate_transformation_mode,
            rounding=nearest_mode,
            scale=factor[k],
            cubic=cubic_coeff_a,
            exclude_outside=bool(exclude_outside),
            roi=(region[k], region[len(at) + k]),
            extrapolation=extrapolation_value,
        )

    def unchanged(k: int) -> bool:
        whole = (region[k], region[len(at) + k]) == (0.0, 1.0)
        return whole and factor[k] in (None, 1.0) and ops.same(out[k], x.shape[at[k]])

    return _resized(x, {a: k for k, a in enumerate(at) if not unchanged(k)}, along_axis)


def _resized(
    x: Value, axes: dict[int, int], along_axis: Callable[[Value, int, int], Value]
) -> Value:
    """Spatial axes are resized channels last."""
    if x.rank > 2 and all(a >= 2 for a in axes):
        y = channels_last(x)
        for a, k in axes.items():
            y = along_axis(y, a - 1, k)
        return channels_first(y)
    for a, k in axes.items():
        x = along_axis(x, a, k)
    return x


def _factors(scales: Value | None) -> list[float | Value]:
    """Each scale: a number, or what is computed from sizes."""
    if scales is None or scales.constant:
        return [float(s) for s in known_array(scales, "scales").ravel()]
    parts = [ops.slice_axis(scales, 0, k, 1) for k in range(ops.static(scales.size, "scales"))]
    return [evaluate(p).item() if p.constant else ops.reshape(p, ()) for p in parts]


def _scaled_size(size: Dim, scale: float | Value | None) -> Dim:
    """floor(size * scale), in float32"""
    if isinstance(scale, float) and not 0 < scale < math.inf:
        raise ModelError(f"scale {scale}: a positive number expected")
    known = ops.mul(ops.cast(ops.ints(size, "i64"), "f32"), scale)
    return known_dims(ops.cast(ops.floor_(known), "i64"), "the size times its scale")[0]


def Upsample(
    x: Value,
    scales_input: Value | None = None,
    *,
    mode: Literal["nearest", "linear", "bilinear", "cubic"] = "nearest",
    scales: Sequence[float] = (),
) -> Value:
    factor = _factors(scales_input) if scales_input is not None else list(scales)
    if len(factor) != x.rank:
        raise ModelError(f"{len(factor)} scales for {type_text(x)}, one an axis expected")
    how = {"bilinear": "linear"}.get(mode, mode)

    def along_axis(y: Value, axis: int, k: int) -> Value:
        return ops.resize(
            y,
            axis,
            _scaled_size(y.shape[axis], factor[k]),
            mode=how,
            coordinates="asymmetric",
            rounding="floor",
            scale=factor[k],
        )

    return _resized(x, {k: k for k, s in enumerate(factor) if s != 1}, along_axis)


def GridSample(
    x: Value,
    grid: Value,
    *,
    mode: Literal["linear", "nearest", "cubic", "bilinear", "bicubic"] = "linear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: int = 0,
) -> Value:
    how = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    y = ops.grid_sample(channels_last(x), grid, how, padding_mode, bool(align_corners))
    return channels_first(y)


# ---- quantisation, as arithmetic ----------------------------------------------------------------


def _quantisation(v: Value, x: Value, axis: int, block_size: int) -> Value:
    """A scale or zero point that broadcasts against x: one for all, for each index of an axis, or
    by blocks.
    """
    if v.size == 1:
        return ops.reshape(v, ())
    if block_size and v.rank == x.rank:
        at = axis_of(axis, x)
        whole = ops.repeat(v, block_size, at)
        return ops.slice_axis(whole, at, 0, x.shape[at])
    return ops.along(v, axis_of(axis, x), x.rank)


def _saturated_cast(x: Value, dtype: str) -> Value:
    wide = {"i4": "i8", "u4": "u8"}.get(dtype, dtype)  # what a run computes has whole bytes
    return ops.cast(ops.clamp(x, *map(float, RANGES[dtype])), wide)


def QuantizeLinear(
    x: Value,
    scale: Value,
    zero: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
    precision: int = 0,
) -> Value:
    dtype = zero.dtype if zero is not None else element_type(output_dtype) if output_dtype else "u8"
    if dtype in FLOATS:
        raise UnsupportedError("quantisation to 8-bit floats is not supported")
    wide = ops.cast(x, "f32")
    y = ops.round_(ops.div(wide, ops.cast(_quantisation(scale, x, axis, block_size), "f32")))
    if zero is not None:
        y = ops.add(y, ops.cast(_quantisation(zero, x, axis, block_size), "f32"))
    return _saturated_cast(y, dtype)


def DequantizeLinear(
    x: Value,
    scale: Value,
    zero: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    dtype = element_type(output_dtype) if output_dtype else scale.dtype
    if x.constant and scale.constant and (zero is None or zero.constant) and x.dtype in ops.NARROW:
        return _weights(x, scale, zero, axis, block_size, dtype)
    wide = ops.cast(x, "i32")
    if zero is not None:
        wide = ops.sub(wide, ops.cast(_quantisation(zero, x, axis, block_size), "i32"))
    y = ops.mul(ops.cast(wide, "f32"), ops.cast(_quantisation(scale, x, axis, block_size), "f32"))
    return ops.cast(y, dtype)


def _weights(
    q: Value, scale: Value, zero: Value | None, axis: int, block_size: int, dtype: str
) -> Value:
    """Quantised weights, which stay so: a scale for all, for each index of an axis, or by
    blocks."""
    sizes: Any = q.shape  # integers, since q is constant
    blocks: list[int] = [1] * q.rank
    if scale.size == 1:
        shape: list[Any] = [1] * q.rank
        blocks = [max(d, 1) for d in sizes]
    elif block_size:
        shape = [*scale.shape]
        blocks[axis_of(axis, q)] = block_size
    else:
        at = axis_of(axis, q)
        shape = [d if k == at else 1 for k, d in enumerate(q.shape)]
        blocks = [1 if k == at else max(d, 1) for k, d in enumerate(sizes)]
    if scale.size != math.prod(shape):
        raise UnsupportedError(
            f"the scale {type_text(scale)} does not fit {type_text(q)} along axis {axis}"
        )
    if zero is not None:
        zero = ops.reshape(zero, shape if zero.size == scale.size else [1] * q.rank)
    return ops.dequantize(q, ops.reshape(scale, shape), zero, blocks, dtype)


def DynamicQuantizeLinear(x: Value) -> list[Value]:
    axes = range(x.rank)
    high = ops.max_(ops.reshape(ops.reduce_max(x, axes), ()), 0.0)
    low = ops.min_(ops.reshape(ops.reduce(x, "min", axes), ()), 0.0)
    scale = ops.div(ops.sub(high, low), 255.0)
    zero = ops.cast(ops.clamp(ops.round_(ops.neg(ops.div(low, scale))), 0.0, 255.0), "u8")
    return [QuantizeLinear(x, scale, zero), scale, zero]


def MatMulInteger(
    a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> Value:
    left, right = ops.cast(a, "i32"), ops.cast(b, "i32")
    if a_zero is not None:
        zero = ops.cast(a_zero, "i32")
        left = ops.sub(
            left,
            ops.unsqueeze(zero, [1])
            if zero.rank == 1 and zero.size != 1
            else ops.reshape(zero, ())
            if zero.size == 1
            else zero,
        )
    if b_zero is not None:
        right = ops.sub(right, ops.cast(b_zero, "i32"))
    return ops.matmul(left, right)


def QLinearMatMul(
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    total = ops.cast(MatMulInteger(a, b, a_zero, b_zero), "f32")

    def rows(v: Value) -> Value:
        return ops.unsqueeze(v, [1]) if v.rank == 1 and v.size != 1 else v

    scale = ops.mul(rows(ops.cast(a_scale, "f32")), ops.cast(b_scale, "f32"))
    y = ops.add(
        ops.round_(ops.mul(total, ops.div(scale, ops.cast(y_scale, "f32")))),
        ops.cast(y_zero, "f32"),
    )
    return _saturated_cast(y, y_zero.dtype)


@attributes_of(_window)
def ConvInteger(
    x: Value,
    w: Value,
    x_zero: Value | None = None,
    w_zero: Value | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    **window: Attr,
) -> Value:
    """Exact sums of integer products: windows of x by the filters, reduced in 32-bit integers."""
    left, right = ops.cast(x, "i32"), ops.cast(w, "i32")
    left = ops.sub(left, ops.reshape(ops.cast(x_zero, "i32"), ())) if x_zero is not None else left
    if w_zero is not None:
        zero = ops.cast(w_zero, "i32")
        zero = ops.reshape(zero, ()) if zero.size == 1 else ops.along(zero, 0, w.rank)
        right = ops.sub(right, zero)
    seen = _window(x.shape[2:], _kernel(x, w, kernel_shape), **window)
    n = x.shape[0]
    m, each = w.shape[:2]
    patches = windows.patches(left, seen)  # [N, C, O..., K...]
    space = patches.shape[2 : x.rank]
    patches = ops.reshape(patches, (n, group, 1, each, *space, *seen.kernel))
    filters = ops.reshape(
        right, (1, group, as_dim(lift(m) // group), each, *[1] * len(space), *seen.kernel)
    )
    product = ops.mul(patches, filters)
    total = ops.reduce_sum(product, [3, *range(4 + len(space), product.rank)])
    return ops.reshape(total, (n, m, *space))


@attributes_of(ConvInteger)
def QLinearConv(
    x: Value,
    x_scale: Value,
    x_zero: Value,
    w: Value,
    w_scale: Value,
    w_zero: Value,
    y_scale: Value,
    y_zero: Value,
    b: Value | None = None,
    **attrs: Attr,
) -> Value:
    total = ConvInteger(x, w, x_zero, w_zero, **attrs)
    total = ops.add(total, ops.along(b, 1, x.rank)) if b is not None else total
    scale = ops.mul(ops.cast(x_scale, "f32"), ops.cast(w_scale, "f32"))
    scale = ops.div(scale, ops.cast(y_scale, "f32"))
    scale = ops.reshape(scale, ()) if scale.size == 1 else ops.along(scale, 1, x.rank)
    y = ops.add(
        ops.round_(ops.mul(ops.cast(total, "f32"), scale)), ops.reshape(ops.cast(y_zero, "f32"), ())
    )
    return _saturated_cast(y, y_zero.dtype)


# ---- the registry -------------------------------------------------------------------------------

OPERATORS: dict[str, Callable[..., Any]] = (
    SAME
    | {
        name: fn
        for name, fn in list(globals().items())
        if name[0].isupper() and callable(fn) and getattr(fn, "__module__", "") == __name__
    }
    | {
        fn.__name__: fn
        for fn in (
            Det,
            GRU,
            LSTM,
            RNN,
            Compress,
            MaxRoiPool,
            NonMaxSuppression,
            NonZero,
            RoiAlign,
            TopK,
        )
    }
)
