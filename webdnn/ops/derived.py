"""Sizes that a model computes in floating point: ceil(n / 8) * 8, floor(n * 0.7).

    >>> from webdnn import ops
    >>> from webdnn.expr import dim
    >>> n = ops.cast(ops.ints(dim("n", 1, 640), "i64"), "f32")
    >>> ops.known(ops.cast(ops.floor_(ops.mul(n, 0.7)), "i64"))
    array((n * 7) // 10, dtype=object)

What is cast to integers is computed by numpy, in the widths of the model, at every size that the
dimensions may have, and a formula (p*a + q) // r over the integers that it began with is found
that gives the same at all of them. Or else a sum of such, where steps come in turns of several
lengths (round(n / 4), where halves go to even numbers); or two of them by ranges of n: in float64
floor(n * 0.7) is (7*n - 1) // 10 for some n below each power of two. So the rounding of floating
point is that of the model's own framework, and no formula is believed that was not tried
everywhere.

Limits: 2^20 combinations of sizes; no roots, logarithms and quotients of two open sizes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from .. import limits
from ..expr import OPS as SCALAR
from ..expr import Dim, Expr, as_dim, cast_numpy, lift, select, walk
from ..graph import DTYPES, FLOATS, Value, dims_of, evaluate, is_open
from .known import INTS, ints

FEW = 64  # elements; what has more is data, not sizes
NODES = 256  # that are between the sizes and the cast
COMBINATIONS = 2**20
LARGEST_DIVISOR = 256
PERIOD, TERMS = 64, 4  # of steps that come again, and how many of these are unlike the others
TURNS, MOST_IN_TURNS = 32, 2**15  # how often two formulas may take turns, over how many sizes
_TRIED = 999  # samples that a formula is tried on before all are


def derived(x: Value, to: str) -> Value | None:
    """The integers of dtype `to` that floats computed from sizes alone are cast to.

    None where they are not, or no formula gives them. Raises UnsupportedError where trying is
    beyond the limits of the model that is read.
    """
    if x.constant or x.dtype not in FLOATS or to not in ("i32", "i64"):
        return None
    order = _between(x)
    if order is None:
        return None
    dims = dims_of(v.attrs["values"] for v in order if v.op is INTS)
    if len(dims) > 62:  # the bits of `_dependence`
        return None
    depends = _dependence(order, dims)[x].ravel()
    out = np.empty(len(depends), object)
    for mask in {*depends.tolist()}:
        mine = [d for k, d in enumerate(dims) if mask >> k & 1]
        found = _formulas(order, mine, depends == mask)
        if found is None:
            return None
        out[depends == mask] = found
    return ints(out.reshape(_numbers(x)), to)


def _dependence(order: Sequence[Value], dims: Sequence[Expr]) -> dict[Value, np.ndarray]:
    """For each element of the values, the dimensions that it depends on: bit k is dims[k]."""
    out: dict[Value, np.ndarray] = {}
    for v in order:
        if v.op is INTS:
            sets = [{*dims_of([(s,)])} for s in v.attrs["values"]]
            bits = [sum(1 << k for k, d in enumerate(dims) if d in own) for own in sets]
            out[v] = np.array(bits, np.int64).reshape(_numbers(v))
        elif v.constant:
            out[v] = np.zeros(_numbers(v), np.int64)
        elif v.op.pointwise:
            none = np.zeros(_numbers(v), np.int64)
            out[v] = np.asarray(reduce(np.bitwise_or, [out[i] for i in v.inputs], none))
        elif v.op.kind == "reduce":
            (i,) = v.inputs
            out[v] = np.bitwise_or.reduce(out[i], axis=v.attrs["axes"], keepdims=True)
        else:
            out[v] = np.concatenate([out[i].ravel() for i in v.inputs])[_moved(v)]
    return out


def _formulas(order: Sequence[Value], dims: Sequence[Expr], which: np.ndarray) -> list[Dim] | None:
    """Elements of the last value that depend on no other dimensions; None without formulas."""
    sizes = [s for v in order if v.op is INTS for s in v.attrs["values"] if isinstance(s, Expr)]
    samples = _samples(list(dict.fromkeys(sizes)), dims)
    if samples is None:
        return None
    leaves = [s for s in samples if {*dims_of([(s,)])} <= {*dims}]
    count = max((len(s) for s in samples.values()), default=1)
    steps = count * sum(math.prod(_numbers(v)) for v in order)
    limits.compute("sizes through floats", 8 * steps, steps, ())
    arrays: dict[Value, np.ndarray] = {}
    for v in order:
        found = _computed(v, arrays, samples)
        arrays[v] = np.broadcast_to(found.astype(DTYPES[v.dtype]), (*_numbers(v), count))
        one = not v.constant and v.op.pointwise and len(v.inputs) == 1
        if one and _rounds(arrays[v.inputs[0]], arrays[v]):
            for y in arrays[v].astype(np.int64).reshape(-1, count):
                size = _formula(y, leaves, samples)
                if isinstance(size, Expr) and size not in samples:
                    leaves.append(size)  # what follows may be a multiple of it, less another
                    samples[size] = y
    whole = cast_numpy(arrays[order[-1]], "i32").astype(np.int64).reshape(-1, count)
    out = [d for y in whole[which] if (d := _formula(y, leaves, samples)) is not None]
    return out if len(out) == which.sum() else None


def _rounds(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether an operator has made whole numbers of others."""
    with np.errstate(all="ignore"):
        whole = (np.abs(after) < 2**31) & (after == np.floor(after))
        return bool(whole.all() and (before != np.floor(before)).any())


def _numbers(v: Value) -> tuple[int, ...]:
    shape: tuple[int, ...] = v.shape  # type: ignore[assignment]  # of few elements
    return shape


def _between(x: Value) -> list[Value] | None:
    """The values from sizes and constants to x, in order; None where it needs anything else."""
    order: list[Value] = []
    seen: set[Value] = set()
    stack = [(x, False)]
    while stack:
        v, done = stack.pop()
        if done:
            order.append(v)
            continue
        if v in seen:
            continue
        seen.add(v)
        leaf = v.constant or v.op is INTS
        moves = v.op.view or v.op.joins
        combines = v.op.kind == "reduce" and not v.op.prefixes and v.dtype in FLOATS
        if not v.static or not 0 < v.size <= FEW or len(seen) > NODES or v.dtype not in DTYPES:
            return None
        if not leaf and (v.op.numpy is None or not (v.op.pointwise or moves or combines)):
            return None
        if moves and any(map(is_open, v.attrs.values())):
            return None
        stack.append((v, True))
        if not leaf:
            stack.extend((i, False) for i in v.inputs)
    return order


def _samples(sizes: Sequence[Expr], dims: Sequence[Expr]) -> dict[Expr, np.ndarray] | None:
    """Each size at all combinations of the dimensions, others being lowest; None if too many."""
    spans = [np.arange(d.args[1], d.args[2] + 1, d.args[3], dtype=np.int64) for d in dims]
    if math.prod(len(s) for s in spans) > COMBINATIONS:
        return None
    grid = np.meshgrid(*spans, indexing="ij")
    done: dict[Expr, np.ndarray] = {d: g.ravel() for d, g in zip(dims, grid)}
    count = math.prod(len(s) for s in spans)
    for e in walk(*sizes):
        if e.op == "dim" and e not in done:
            done[e] = np.full(count, e.args[1], np.int64)
        elif e.op == "const":
            done[e] = np.asarray(e.args[0])
        elif e.op == "cast":
            done[e] = done[e.args[0]].astype(np.int64)
        elif e not in done:
            done[e] = np.asarray(SCALAR[e.op].numpy(*(done[a] for a in e.args)))
    return {a: done[a] for a in sizes}


def _computed(
    v: Value, arrays: dict[Value, np.ndarray], samples: dict[Expr, np.ndarray]
) -> np.ndarray:
    """A value's elements, the last axis along the samples."""
    if v.op is INTS:
        rows = [samples[s] if isinstance(s, Expr) else np.array([s]) for s in v.attrs["values"]]
        return np.stack(np.broadcast_arrays(*rows)).reshape(*_numbers(v), -1)
    if v.constant:
        return evaluate(v)[..., None]
    inputs = [arrays[i] for i in v.inputs]
    if not (v.op.pointwise or v.op.kind == "reduce"):
        return np.concatenate([a.reshape(-1, a.shape[-1]) for a in inputs])[_moved(v)]
    assert v.op.numpy is not None
    ones = [(1,) * (v.rank - i.rank) for i in v.inputs]
    with np.errstate(all="ignore"):
        return np.asarray(
            v.op.numpy(*(a.reshape(one + a.shape) for a, one in zip(inputs, ones)), **v.attrs)
        )


def _moved(v: Value) -> np.ndarray:
    """Where each element of a value was before it was moved, counted through its inputs."""
    ends = np.cumsum([0, *(i.size for i in v.inputs)])
    numbers = [np.arange(i.size).reshape(_numbers(i)) + e for i, e in zip(v.inputs, ends)]
    assert v.op.numpy is not None
    return np.asarray(v.op.numpy(*numbers, **v.attrs))


def _formula(
    y: np.ndarray, leaves: Sequence[Expr], samples: Mapping[Expr, np.ndarray]
) -> Dim | None:
    """Integers as one formula over sizes: of one of them, or of their sum with factors."""
    if (y == y[0]).all():
        return int(y[0])
    groups = [(leaf,) for leaf in leaves] + ([tuple(leaves)] if len(leaves) > 1 else [])
    at = {leaf: np.broadcast_to(samples[leaf], y.shape) for leaf in leaves}
    for a, b in itertools.combinations(leaves, 2):
        groups.append((a * b,))
        at[a * b] = at[a] * at[b]
    for group in groups:
        found = _quotient(y, np.stack([at[leaf] for leaf in group]))
        if found is not None:
            factors, rest, divisor = found
            total = sum((leaf * p for leaf, p in zip(group, factors)), lift(0)) + rest
            return as_dim(total // divisor)
    ways = itertools.product((_periodic, _in_turns), leaves)
    return next((d for way, a in ways if (d := way(y, a, samples[a])) is not None), None)


def _periodic(y: np.ndarray, leaf: Expr, at: np.ndarray) -> Dim | None:
    """What grows by the same steps again and again: a sum of quotients by the period."""
    at, y = np.unique(np.stack([np.broadcast_to(at, y.shape), y], 1), axis=0).T
    apart, steps = np.diff(at), np.diff(y)
    if len(at) < 3 or (apart != apart[0]).any() or not apart[0]:
        return None
    for period in range(2, min(PERIOD, len(steps) // 2) + 1):
        if (steps[period:] != steps[:-period]).any():
            continue
        usual = int(np.bincount(steps[:period] - steps.min()).argmax() + steps.min())
        others = np.flatnonzero(steps[:period] != usual).tolist()
        if len(others) > TERMS:
            return None
        k = (leaf - int(at[0])) // int(apart[0])
        parts = [(k + (period - 1 - j)) // period * int(steps[j] - usual) for j in others]
        return as_dim(sum(parts, k * usual + int(y[0])))
    return None


def _in_turns(y: np.ndarray, leaf: Expr, at: np.ndarray) -> Dim | None:
    """(p*a + q) // r of one size a, with two q that take turns as it grows."""
    pairs = np.unique(np.stack([np.broadcast_to(at, y.shape), y], 1), axis=0)
    at, y = pairs.T
    if len(np.unique(at)) < len(at) or not 2 < len(at) <= MOST_IN_TURNS:
        return None
    slope = (y[-1] - y[0]) / (at[-1] - at[0])
    for divisor in range(1, LARGEST_DIVISOR + 1):
        factor = round(slope * divisor)
        least = y * divisor - factor * at
        pieces: list[tuple[int, int, int]] = []  # where each begins, and the q that it allows
        for a, low in zip(at.tolist(), least.tolist()):
            high = low + divisor - 1
            if pieces and max(low, pieces[-1][1]) <= min(high, pieces[-1][2]):
                pieces[-1] = pieces[-1][0], max(low, pieces[-1][1]), min(high, pieces[-1][2])
            elif len(pieces) < TURNS:
                pieces.append((a, low, high))
            else:
                break
        else:
            rests = [next((q for q in (0, divisor - 1) if b <= q <= c), b) for _, b, c in pieces]
            if len({*rests}) == 2:
                out = lift(0)
                for (begin, _, _), rest in zip(pieces, rests):
                    out = select(leaf < begin, out, (leaf * factor + rest) // divisor)
                return as_dim(out)
    return None


def _quotient(y: np.ndarray, at: np.ndarray) -> tuple[list[int], int, int] | None:
    """(p, q, r) of y = (p . at + q) // r, with the smallest divisor r; None where there is none."""
    some = np.unique(np.linspace(0, len(y) - 1, _TRIED).astype(int))
    rows = np.concatenate([at[:, some], np.ones((1, len(some)), int)])
    slopes = np.linalg.lstsq(rows.T.astype(float), y[some].astype(float), rcond=None)[0][:-1]
    for divisor in range(1, LARGEST_DIVISOR + 1):
        exact = slopes * divisor
        choices = [np.round(exact)] + ([np.floor(exact), np.ceil(exact)] if len(at) == 1 else [])
        for factors in choices:
            p = factors.astype(np.int64)
            for samples in (some, slice(None)):
                left = y[samples] * divisor - p @ at[:, samples]
                low, high = int(left.max()), int(left.min()) + divisor - 1
                if low > high:
                    break
            else:
                rest = next((q for q in (0, divisor - 1) if low <= q <= high), low)
                return p.tolist(), rest, divisor
    return None


__all__: list[str] = []  # `cast` calls it
