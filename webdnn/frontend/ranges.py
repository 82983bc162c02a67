"""Which integers a graph computes with: an interval for each value, by interval arithmetic.

    >>> from webdnn import ops
    >>> from webdnn.graph import Graph, placeholder
    >>> ids = placeholder("ids", (9,), "i64")
    >>> y = ops.mod(ops.add(ids, 1), 31)
    >>> integer_ranges(Graph((ids,), {"y": y}))[y]
    (0, 30)

It is asked whether 64-bit integers fit into the 32 bits in which they are computed. Constants,
sizes, comparisons, positions, remainders, clipped numbers and what follows of them are known. An
input, or a number that comes of a float, is taken to fit, for the runner refuses an input that does
not; arithmetic with these must be proved to fit. A sum of two is excused where one of them lies
within 2^30 of 0: an offset that is added to an id is no reason for a notice.

Limits: of floats, only that they came of integers; bits of integers are not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .. import ops
from ..expr import Expr, bounds, load, upper, var, walk
from ..graph import Graph, Value, evaluate, scalar_dtype

Range = tuple[float, float]  # whole numbers, or infinite where nothing is known

# What each integer dtype may hold here: 64-bit integers are computed in 32 bits.
RANGES: Mapping[str, tuple[int, int]] = {
    "u2": (0, 3), "i2": (-2, 1), "u4": (0, 15), "i4": (-8, 7), "u8": (0, 255), "i8": (-128, 127),
    "u16": (0, 65535), "i16": (-32768, 32767),
    "i32": (-(2**31), 2**31 - 1), "i64": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1), "u64": (0, 2**32 - 1), "bool": (0, 1),
}  # fmt: skip
UNKNOWN: Range = (-math.inf, math.inf)
UNPROVED: Range = (-(2**63), 2**63)  # computed in a way that nothing is known of
NEAR = 2**30
SMALL = 4096  # elements; larger constants of few bits are not looked into


def fits(r: Range, dtype: str) -> bool:
    """Whether a range is that of a dtype, or within it, or not known."""
    lo, hi = RANGES[dtype]
    return (lo <= r[0] and r[1] <= hi) or math.inf in (-r[0], r[1])


def integer_ranges(graph: Graph) -> dict[Value, Range]:
    """The interval of each integer value that a run computes, and of each constant that it reads.

    It is that of the numbers before they wrap: `fits` says whether they do.
    """
    values = graph.values()
    read = {i for v in values if not v.constant for i in v.inputs}
    read |= set(graph.results)
    out: dict[Value, Range] = {}
    known: dict[Value, Range] = {}  # in the width of its dtype
    for v in values:
        if v.constant and v not in read:
            continue
        if v.dtype not in RANGES:
            known[v] = UNKNOWN
            continue
        r = out[v] = _range(v, known)
        lo, hi = RANGES[v.dtype]
        if not (lo <= r[0] and r[1] <= hi):
            r = (max(lo, -hi), hi)  # but for the number that has no negative
        known[v] = r
    return out


def _range(v: Value, of: Mapping[Value, Range]) -> Range:
    if v.constant:
        if not v.dtype.endswith("64") and v.size > SMALL:
            return RANGES[v.dtype]
        array = evaluate(v)
        return (int(array.min()), int(array.max())) if array.size else (0, 0)
    if v.op is ops.INTS:
        each = [bounds(d) for d in v.attrs["values"]]
        return min(lo for lo, _ in each), max(hi for _, hi in each)
    if v.op is ops.from_end:  # a position within its axis
        return 0, max(of[v.inputs[1]][1] - 1, 0)
    if v.op.element is not None:

        def read(k: int, index: Any) -> Expr:
            return load(v.inputs[k], 0, scalar_dtype(v.inputs[k].dtype))

        index = tuple(var(f"i{k}", d) for k, d in enumerate(v.shape))
        return _of(v.op.element(v.node, read, index), of)
    if v.op.kind == "reduce":
        return _reduced(v, of[v.inputs[0]])
    if v.op is ops.MATMUL:
        a, b = v.inputs
        return _total(_corners(lambda x, y: x * y, of[a], of[b]), upper(a.shape[-1]))
    if v.op is ops.ITERATE:  # its state 1 counts
        return (0, 2**31 - 1) if v.index == 1 else UNKNOWN
    if v.op.kind == "opaque":  # positions within an operand, or how many there are
        return 0, max((upper(i.size) for i in v.inputs), default=0)
    return UNPROVED if v.op.kind == "template" else UNKNOWN


def _reduced(v: Value, r: Range) -> Range:
    monoid, (x,) = v.attrs["monoid"], v.inputs
    sizes = [upper(x.shape[a]) for a in v.attrs["axes"]]
    if monoid.startswith("arg"):
        return 0, max(sizes[0] - 1, 0)
    if monoid in ("max", "min", "any", "all"):
        return r
    if monoid in ("sum", "scan_sum"):
        return _total(r, math.prod(sizes))
    return _power(r, (math.prod(sizes),) * 2) if monoid == "prod" else UNPROVED


def _total(r: Range, n: int) -> Range:
    """Of the sum of at most n."""
    return min(0, r[0] * n), max(0, r[1] * n)


def _power(r: Range, exponent: Range) -> Range:
    largest = max(abs(r[0]), abs(r[1]), 1) if math.isfinite(r[1] - r[0]) else math.inf
    size = largest ** min(max(exponent[1], 0), 64)  # beyond 64 bits are none, but of 1
    return (-size if r[0] < 0 else 0), size


def _corners(f: Callable[[float, float], float], a: Range, b: Range) -> Range:
    if not math.isfinite(a[1] - a[0] + b[1] - b[0]):
        return UNKNOWN
    found = [f(x, y) for x in a for y in b]
    return min(found), max(found)


def _sum(a: Range, b: Range) -> Range:
    lo, hi = a[0] + b[0], a[1] + b[1]
    if max(-lo, hi) >= 2**31 and any(lo >= -NEAR and hi <= NEAR for lo, hi in (a, b)):
        return UNKNOWN
    return lo, hi


def _of(root: Expr, loads: Mapping[Value, Range]) -> Range:
    """The interval of an expression, given those of the values that it reads."""
    at: dict[Expr, Range] = {}
    for e in walk(root):
        at[e] = RANGES["bool"] if e.dtype == "bool" else _apply(e, at, loads)
    return at[root]


def _apply(e: Expr, at: Mapping[Expr, Range], loads: Mapping[Value, Range]) -> Range:
    args = [at[a] for a in e.args if isinstance(a, Expr) and a in at]
    match e.op, args:
        case "load", _:
            return loads[e.args[0]]
        case "const", _:
            return UNKNOWN if math.isnan(e.args[0]) else (e.args[0], e.args[0])
        case (("var" | "dim"), _):
            return bounds(e)
        case "add", [a, b]:
            return _sum(a, b)
        case "sub", [a, b]:
            return _sum(a, (-b[1], -b[0]))
        case "neg", [a]:
            return -a[1], -a[0]
        case "mul", [a, b]:
            return _corners(lambda x, y: x * y, a, b)
        case "pow", [a, b]:
            return _power(a, b)
        case "shl", [a, b]:
            return _corners(lambda x, y: x * 2 ** min(max(y, 0), 32), a, b)
        case "abs", [a]:
            return (0 if a[0] <= 0 <= a[1] else min(map(abs, a))), max(map(abs, a))
        case (("min" | "max"), [a, b]):
            pick = min if e.op == "min" else max
            return pick(a[0], b[0]), pick(a[1], b[1])
        case "select", [_, a, b]:
            return min(a[0], b[0]), max(a[1], b[1])
        case "mod", [_, b]:
            return min(0, b[0] + 1), max(0, b[1] - 1)
        case "rem", [a, b]:
            size = min(max(map(abs, a)), max(max(map(abs, b)) - 1, 0))
            return (-size if a[0] < 0 else 0), (size if a[1] > 0 else 0)
        case (("idiv" | "floordiv"), [a, b]):
            if b[0] >= 1 and math.isfinite(a[1] - a[0]):
                return (a[0] // b[0] if a[0] < 0 else 0), (a[1] // b[0] if a[1] > 0 else 0)
            return -max(map(abs, a)), max(map(abs, a))
        case "bitand", [a, b]:
            return (0, min(r[1] for r in (a, b) if r[0] >= 0)) if max(a[0], b[0]) >= 0 else UNKNOWN
        case "shr", [a, _]:
            return min(0, a[0]), max(0, a[1])
        case "sign", _:
            return -1, 1
        case (("floor" | "ceil" | "round" | "trunc" | "cast"), [a]):
            return a
    return UNKNOWN


__all__ = ["RANGES", "fits", "integer_ranges"]
