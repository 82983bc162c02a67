"""ONNX's operators that combine elements along axes: sums, positions, running sums, softmax.

    >>> from webdnn.graph import placeholder
    >>> ReduceMax(placeholder("x", (2, 3), "f32"), axes=[1], keepdims=0).shape
    (2,)

As in `operators`, one plain function each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import ops
from ...graph import Shape, Value, constant
from ..arrays import axes_of, axis_of, known_ints, without
from .declared import NOTHING, Results, by_axes, by_axis, is_known
from .elements import in_floats


def _reduction(compute: Callable[[Value, list[int]], Value]) -> Callable[..., Value]:
    def reduction(
        x: Value,
        axes_input: Value | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
        declared: Results = NOTHING,
    ) -> Value:
        if axes_input is not None and not is_known(axes_input):
            if keepdims:
                return compute(x, _reduced(x, declared.shape(axes_input, "the axes", x.rank)))
            return by_axes(
                axes_input, x, lambda at: without(compute(x, at), at), "the axes", declared
            )
        given = axes_input if axes_input is not None else axes
        axes = () if given is None else known_ints(given, "the axes")
        found = list(dict.fromkeys(axis_of(a, x) for a in axes))  # one may be given twice
        if not found and noop_with_empty_axes:
            return compute(x, [])
        found = found or axes_of(None, x)
        return without(compute(x, found), found, keepdims)

    return reduction


def _reduced(x: Value, shape: Shape) -> list[int]:
    """The axes that a reduction of x to this shape combines; those of one element need none."""
    return [k for k, d in enumerate(shape) if ops.same(d, 1) and not ops.same(x.shape[k], 1)]


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


def CumSum(
    x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0, declared: Results = NOTHING
) -> Value:
    def along(a: int) -> Value:
        return ops.cumsum(x, a, bool(exclusive), bool(reverse))

    return by_axis(axis, x, along, "axis", declared)


def CumProd(
    x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0, declared: Results = NOTHING
) -> Value:
    """Each product anew, over what stands before: (elements of the axis)^2 multiplications."""

    def along(at: int) -> Value:
        here, there = (
            ops.iota([x.shape[at] if k == at + j else 1 for k in range(x.rank + 1)], at + j, "i64")
            for j in (0, 1)
        )
        order = (here, there) if reverse else (there, here)
        near = (ops.less if exclusive else ops.less_equal)(*order)
        factors = ops.where(near, ops.unsqueeze(x, [at]), constant(1, x.dtype))
        return ops.squeeze(ops.reduce(factors, "prod", [at + 1]), [at + 1])

    return by_axis(axis, x, along, "axis", declared)


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


OPERATORS: dict[str, Callable[..., Any]] = {
    "ReduceSum": ReduceSum,
    "ReduceMean": ReduceMean,
    "ReduceMax": ReduceMax,
    "ReduceMin": ReduceMin,
    "ReduceProd": ReduceProd,
    "ReduceL1": ReduceL1,
    "ReduceL2": ReduceL2,
    "ReduceLogSum": ReduceLogSum,
    "ReduceLogSumExp": ReduceLogSumExp,
    "ReduceSumSquare": ReduceSumSquare,
    "ArgMax": ArgMax,
    "ArgMin": ArgMin,
    "Hardmax": Hardmax,
    "CumSum": CumSum,
    "CumProd": CumProd,
    "Softmax": Softmax,
    "LogSoftmax": LogSoftmax,
}
