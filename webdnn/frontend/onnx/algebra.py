"""Determinants and inverses of small matrices, by elimination that is written out step by step.

    >>> from webdnn.graph import placeholder
    >>> Det(placeholder("x", (5, 3, 3), "f32")).shape
    (5,)

Each step takes the row whose element is largest (partial pivoting), as LAPACK does. A graph of n
steps over [.., n, n] computes it, so n is bounded.
"""

from __future__ import annotations

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import same
from ...graph import Value, type_text

LARGEST = 32  # rows


def _square(x: Value) -> int:
    """The number of rows of x [..., n, n]."""
    if x.rank < 2 or not same(x.shape[-1], x.shape[-2]):
        raise ModelError(f"square matrices expected, found {type_text(x)}")
    n = ops.static(x.shape[-1], "the number of rows")
    if n > LARGEST:
        raise UnsupportedError(f"matrices of {n} rows; at most {LARGEST} are supported")
    return n


def _pivoted(x: Value, k: int) -> tuple[Value, Value]:
    """[..., n, m] with the row whose element of column k is largest in place k, of those from k on;
    and whether it was in another place, [..., 1, 1].
    """
    rank, n = x.rank, x.shape[-2]
    rows = ops.iota([1] * (rank - 2) + [n, 1], rank - 2, "i64")
    column = ops.abs_(ops.slice_axis(x, rank - 1, k, 1))
    column = ops.where(ops.less(rows, k), -1.0, column)
    at = ops.reduce(column, "argmax", [rank - 2])  # [..., 1, 1]
    chosen = ops.reduce_sum(ops.where(ops.equal(rows, at), x, 0.0), [rank - 2])
    here = ops.slice_axis(x, rank - 2, k, 1)
    x = ops.where(ops.equal(rows, at), here, x)
    return ops.where(ops.equal(rows, k), chosen, x), ops.not_equal(at, k)


def Det(x: Value) -> Value:
    """x [..., n, n] -> [...]"""
    n = _square(x)
    total: Value | None = None
    m = x
    for k in range(n):
        m, swapped = _pivoted(m, 0)
        pivot = ops.slice_axis(ops.slice_axis(m, x.rank - 2, 0, 1), x.rank - 1, 0, 1)
        signed = ops.where(swapped, ops.neg(pivot), pivot)
        total = signed if total is None else ops.mul(total, signed)
        if k < n - 1:
            left = n - 1 - k
            top = ops.slice_axis(ops.slice_axis(m, x.rank - 2, 0, 1), x.rank - 1, 1, left)
            below = ops.slice_axis(m, x.rank - 2, 1, left)
            factor = ops.div(ops.slice_axis(below, x.rank - 1, 0, 1), pivot)
            factor = ops.where(ops.equal(pivot, 0.0), 0.0, factor)
            m = ops.sub(ops.slice_axis(below, x.rank - 1, 1, left), ops.mul(factor, top))
    if total is None:
        return ops.expand(ops.cast(ops.ints(1, "i64"), x.dtype), x.shape[:-2])
    return ops.reshape(total, x.shape[:-2])


def Inverse(x: Value) -> Value:
    """x [..., n, n] -> its inverse, of the same shape; infinities and NaN where it has none."""
    n = _square(x)
    rank = x.rank
    rows = ops.iota([1] * (rank - 2) + [n, 1], rank - 2, "i64")
    columns = ops.iota([1] * (rank - 1) + [n], rank - 1, "i64")
    one = ops.expand(ops.cast(ops.equal(rows, columns), x.dtype), x.shape)
    m = ops.concat([x, one], rank - 1)
    for k in range(n):
        m, _ = _pivoted(m, k)
        top = ops.slice_axis(m, rank - 2, k, 1)
        top = ops.div(top, ops.slice_axis(top, rank - 1, k, 1))
        factor = ops.slice_axis(m, rank - 1, k, 1)
        m = ops.where(ops.equal(rows, k), top, ops.sub(m, ops.mul(factor, top)))
    return ops.slice_axis(m, rank - 1, n, n)


__all__ = ["Det", "Inverse"]
