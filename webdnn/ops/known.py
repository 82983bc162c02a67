"""Small integer tensors that are known when the model is transpiled, symbolic dims included.

Shape arithmetic in a model (Shape, Gather, Mul, Concat, Reshape ...) is evaluated here with numpy
arrays of ints and expressions, so that a graph never computes its own shapes at run time.

    >>> from webdnn.expr import dim
    >>> known(ints([1, dim("h", 1, 8)], "i64")).tolist()
    [1, h]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..expr import Expr, as_dim, cast, dim, is_size, lift, select, substitute, upper
from ..graph import Node, Op, Value, constant, dims_of, evaluate, is_counted, scalar_dtype

LIMIT = 4096  # elements; larger tensors are data, not shapes


def _element(node: Node, read: Callable[[int, Any], Expr], idx: tuple[Any, ...]) -> Expr:
    shape, dtype = node._types[0]
    flat: Any = lift(0)
    for i, d in zip(idx, shape):
        flat = flat * d + i
    values = node.attrs["values"]
    out = lift(values[-1], "i32")
    for k in range(len(values) - 2, -1, -1):
        out = select(flat < k + 1, lift(values[k], "i32"), out)
    return cast(out, scalar_dtype(dtype))


INTS = Op("ints", "map", lambda *, values, shape, dtype: [(shape, dtype)], _element, flops=2)


def ints(values: Any, dtype: str = "i64") -> Value:
    """A tensor of ints and expressions; an ordinary constant if every element is an int."""
    array = np.asarray(values, dtype=object)
    flat = [as_dim(v) for v in array.ravel()]
    if all(isinstance(v, int) for v in flat):
        return constant(np.array(flat, dtype=np.int64).reshape(array.shape), dtype)
    return INTS(values=tuple(flat), shape=array.shape, dtype=dtype)


def known(v: Value) -> np.ndarray | None:
    """Elements as an object array of ints and expressions; None if not all are known."""
    if v.op is INTS:
        out = np.empty(len(v.attrs["values"]), dtype=object)
        out[:] = v.attrs["values"]
        return out.reshape(v.attrs["shape"])
    if v.constant and v.dtype in ("i64", "i32", "bool") and v.size <= LIMIT:
        array = evaluate(v)
        return np.array(array.tolist(), dtype=object).reshape(array.shape)
    return None


def _symbolic(values: Sequence[Value]) -> list[np.ndarray] | None:
    if not any(v.op is INTS for v in values):
        return None
    arrays = [a for a in map(known, values) if a is not None]
    return arrays if len(arrays) == len(values) else None


def fold_known(op: Op, values: Sequence[Value], attrs: Mapping[str, Any]) -> Value | None:
    """Evaluate an elementwise operator on known integers; None if one is not known."""
    arrays = _symbolic(values)
    if arrays is None:
        return None
    ((shape, dtype),) = op.infer(*values, **attrs)
    if dtype not in ("i64", "i32", "bool"):
        return None
    node = op.node(values, attrs)
    assert op.element is not None
    sizes: Any = shape  # integers: every operand is known, so of a known shape
    full = [np.broadcast_to(a, sizes) for a in arrays]
    out: np.ndarray = np.empty(sizes, dtype=object)

    def read(at: tuple[int, ...]) -> Callable[[int, Any], Expr]:
        return lambda k, _: lift(full[k][at], scalar_dtype(values[k].dtype))

    # A length that a run finds may be 0, which its dimension leaves out for the sake of divisions.
    found = [d for d in dims_of([tuple(a.flat) for a in full]) if is_counted(d)]
    from_0 = {} if op.name in ("div", "mod") else {d: dim(d.args[0], 0, upper(d)) for d in found}
    for at in np.ndindex(*sizes):
        value = as_dim(op.element(node, read(at), at))
        if isinstance(value, Expr) and (value.dtype == "bool" or not is_size(value)):
            return None
        if from_0:
            empty = op.element(node, lambda k, i, at=at: substitute(read(at)(k, i), from_0), at)
            if as_dim(empty) != as_dim(substitute(lift(value), from_0)):
                return None
        out[at] = value
    return ints(out, dtype)


def move_known(move: Callable[..., Any], *values: Value) -> Value | None:
    """Evaluate a movement (numpy on object arrays) of known integers; None if one is not known."""
    arrays = _symbolic(values)
    return None if arrays is None else ints(move(*arrays), values[0].dtype)


__all__ = [
    "INTS",
    "ints",
    "known",
]
