"""Which integers a graph computes with: an interval for each value, by interval arithmetic.

    >>> from webdnn import ops
    >>> from webdnn.graph import Graph, placeholder
    >>> ids = placeholder("ids", (9,), "i64")
    >>> y = ops.mod(ops.add(ids, 1), 31)
    >>> integer_ranges(Graph((ids,), {"y": y}))[y]
    (0, 30)

It is asked whether 64-bit integers fit into 32 bits, in which they are computed then. Constants,
sizes, comparisons, positions, remainders, clipped numbers and what follows of them are known. An
input fits, for the runner refuses one that does not; arithmetic with it must be proved to fit. So
must what a loop makes of its states, which are taken to be so small that an offset fits, and a sum
of two does not; one that grows by much in each iteration may be any number.

Limits: of floats, little but that they came of integers; bits of integers are not followed, and a
user's operator is taken to fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import ops
from ..expr import FLOAT, Expr, bounds, load, upper, var, walk
from ..graph import INPUT, Graph, Node, Value, evaluate, scalar_dtype

Range = tuple[float, float]  # whole numbers, or infinite where nothing is known

# What each integer dtype may hold in 32 bits.
RANGES: Mapping[str, tuple[int, int]] = {
    "u2": (0, 3), "i2": (-2, 1), "u4": (0, 15), "i4": (-8, 7), "u8": (0, 255), "i8": (-128, 127),
    "u16": (0, 65535), "i16": (-32768, 32767),
    "i32": (-(2**31), 2**31 - 1), "i64": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1), "u64": (0, 2**32 - 1), "bool": (0, 1),
}  # fmt: skip
WIDE: Mapping[str, tuple[int, int]] = {"i64": (-(2**63), 2**63 - 1), "u64": (0, 2**64 - 1)}
UNKNOWN: Range = (-math.inf, math.inf)
HUGE = 2**200  # beyond what any dtype holds
ROUNDED = 1 + 2**-12  # more than what conversions from and to floats add to a number
NEAR = 2**30 - 1  # numbers so near 0 add up to 32 bits
LIKELY = 3 * 2**29 - 1  # two so large ones do not, but one and an offset do
GROWTH = 2**13  # of a state in an iteration: what is more is beyond 32 bits after few of them
CUT = (ops.min_, ops.max_, ops.clip)  # `bounded`
SMALL = 4096  # elements; larger constants of few bits are not looked into


def fits(r: Range, dtype: str) -> bool:
    """Whether a range lies within 32 bits of a dtype."""
    lo, hi = RANGES[dtype]
    return lo <= r[0] and r[1] <= hi


def bounded(v: Value, ranges: Mapping[Value, Range]) -> bool:
    """Whether a constant operand of v bounds numbers that fit into 32 bits: beyond these, the
    largest or smallest of them does as well."""
    return v.op in CUT and v.dtype in WIDE and v in ranges and fits(ranges[v], v.dtype)


def integer_ranges(graph: Graph, within: Mapping[Value, Range] | None = None) -> dict[Value, Range]:
    """The interval of each integer value that a run computes, and of each constant that it reads.

    It is that of the numbers before they wrap at 64 bits. within: what is known of inputs; others
    hold whatever their dtype holds in 32 bits.
    """
    values = graph.values()
    read = {i for v in values if not v.constant for i in v.inputs}
    read |= set(graph.results)
    out: dict[Value, Range] = {}
    known: dict[Value, Range] = {}  # after they wrapped
    bodies: dict[Node, Mapping[Value, Range]] = {}
    for v in values:
        if v.constant and v not in read:
            continue
        r: Range = RANGES.get(v.dtype, UNKNOWN)
        if v.op is ops.ITERATE:
            if v.node not in bodies:
                bodies[v.node] = body_ranges(v.node, known)
            ends = [bodies[v.node].get(v.attrs["region"].outputs[v.index], r)]
            if v.index < v.attrs["states"]:  # as it was at first, where no iteration is run
                ends.append(known.get(v.inputs[v.index], r))
            narrow = v.dtype not in WIDE or all(fits(end, v.dtype) for end in ends)
            r = r if narrow else WIDE[v.dtype]
        elif v.op is not INPUT:
            r = _range(v, known)
        r = (within or {}).get(v, r)
        if v.dtype in RANGES:
            out[v] = r
            r = wrapped(r, v.dtype)
        known[v] = r
    return out


def wrapped(r: Range, dtype: str) -> Range:
    """What is left of an interval in so many bits as a dtype has."""
    lo, hi = WIDE.get(dtype, RANGES[dtype])
    return r if lo <= r[0] and r[1] <= hi else (lo, hi)


def body_ranges(node: Node, known: Mapping[Value, Range]) -> dict[Value, Range]:
    """The intervals of a loop's region, given those of what is around it: `integer_ranges`.

    States of 64 bits that 32 are not proved to hold after an iteration may be anything before it,
    and so may those that each iteration makes larger by more than `GROWTH`.
    """
    region, states = node.attrs["region"], node.attrs["states"]
    growing = set() if node.attrs["once"] else _growing(node, known)
    within: dict[Value, Range] = {}
    for k, (p, given) in enumerate(zip(region.inputs, node.inputs)):
        if p.dtype in RANGES:
            r = known.get(given, RANGES[p.dtype])
            within[p] = r
            if k < states and p.dtype in WIDE and fits(r, p.dtype) and p not in growing:
                within[p] = max(-LIKELY, RANGES[p.dtype][0]), LIKELY
            elif k < states:
                within[p] = WIDE.get(p.dtype, RANGES[p.dtype])
    while True:
        found = integer_ranges(region.graph(), within)
        more = {
            p: WIDE[p.dtype]
            for p, after in zip(region.inputs[:states], region.outputs)
            if p.dtype in WIDE and not fits(found[after], p.dtype) and within[p] != WIDE[p.dtype]
        }
        if not more:
            return found
        within |= more


def _growing(node: Node, known: Mapping[Value, Range]) -> set[Value]:
    """The states of a loop whose intervals widen by more than `GROWTH` from one iteration to the
    next."""
    region, states = node.attrs["region"], node.attrs["states"]
    within = {
        p: known.get(given, RANGES[p.dtype])
        for p, given in zip(region.inputs, node.inputs)
        if p.dtype in RANGES
    }
    wide = [(p, o) for p, o in zip(region.inputs[:states], region.outputs) if p.dtype in WIDE]
    growth: dict[Value, float] = {}
    for _ in range(2):
        found = integer_ranges(region.graph(), within)
        more = {
            p: (min(within[p][0], found[o][0]), max(within[p][1], found[o][1])) for p, o in wide
        }
        growth = {p: max(within[p][0] - r[0], r[1] - within[p][1]) for p, r in more.items()}
        within |= more
    return {p for p, size in growth.items() if size > GROWTH}


def _range(v: Value, of: Mapping[Value, Range]) -> Range:
    any_of: Range = RANGES.get(v.dtype, UNKNOWN)
    if v.constant:
        if not v.dtype.endswith("64") and v.size > SMALL:
            return any_of
        array = evaluate(v)
        if v.dtype not in RANGES:
            finite = bool(array.size and np.isfinite(array).all())
            return (float(array.min()), float(array.max())) if finite else UNKNOWN
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
    if v.dtype not in RANGES:
        return UNKNOWN
    if v.op.kind == "opaque":  # positions within an operand, or how many there are
        return 0, max((upper(i.size) for i in v.inputs), default=0)
    return WIDE.get(v.dtype, any_of)


def _reduced(v: Value, r: Range) -> Range:
    monoid, (x,) = v.attrs["monoid"], v.inputs
    sizes = [upper(x.shape[a]) for a in v.attrs["axes"]]
    if monoid.startswith("arg"):
        return 0, max(sizes[0] - 1, 0)
    if monoid in ("max", "min", "any", "all"):
        return r
    if monoid in ("sum", "scan_sum"):
        return _total(r, math.prod(sizes))
    return _power(r, (math.prod(sizes),) * 2) if monoid == "prod" else UNKNOWN


def _total(r: Range, n: int) -> Range:
    """Of the sum of at most n."""
    return min(0, r[0] * max(n, 1)), max(0, r[1] * max(n, 1))


def _power(r: Range, exponent: Range) -> Range:
    largest = max(abs(r[0]), abs(r[1]), 1) if math.isfinite(r[1] - r[0]) else math.inf
    times = min(max(exponent[1], 0), 64)  # beyond 64 bits are none, but of 1
    size = largest**times if math.log2(largest) * times < 1000 else math.inf
    return (-size if r[0] < 0 else 0), size


def _corners(f: Callable[[float, float], float], a: Range, b: Range) -> Range:
    if not math.isfinite(a[1] - a[0] + b[1] - b[0]):
        return UNKNOWN
    found = [f(x, y) for x in a for y in b]
    return min(found), max(found)


def _of(root: Expr, loads: Mapping[Value, Range]) -> Range:
    """The interval of an expression, given those of the values that it reads."""
    at: dict[Expr, Range] = {}
    for e in walk(root):
        lo, hi = RANGES["bool"] if e.dtype == "bool" else _apply(e, at, loads)
        at[e] = (max(lo, -HUGE) if lo < 0 else lo), (min(hi, HUGE) if hi > 0 else hi)
    return at[root]


def _apply(e: Expr, at: Mapping[Expr, Range], loads: Mapping[Value, Range]) -> Range:
    args = [at[a] for a in e.args if isinstance(a, Expr) and a in at]
    unknown = UNKNOWN if e.dtype in FLOAT else RANGES[e.dtype]
    match e.op, args:
        case "load", _:
            return loads[e.args[0]]
        case "const", _:
            return UNKNOWN if math.isnan(e.args[0]) else (e.args[0], e.args[0])
        case (("var" | "dim"), _):
            return bounds(e)
        case (("min" | "max"), [a, b]):
            pick = min if e.op == "min" else max
            return pick(a[0], b[0]), pick(a[1], b[1])
        case "select", [_, a, b]:
            return min(a[0], b[0]), max(a[1], b[1])
        case "sign", _:
            return -1, 1
        case "cast", [a]:  # NaN becomes 0
            if e.dtype != e.args[0].dtype != "bool" and {e.dtype, e.args[0].dtype} & {*FLOAT}:
                a = a[0] * ROUNDED, a[1] * ROUNDED
            return a if e.dtype in FLOAT else (min(a[0], 0), max(a[1], 0))
        case (("tanh" | "sin" | "cos" | "erf"), _):
            return -1, 1
    if not all(math.isfinite(x) for r in args for x in r):
        return UNKNOWN
    match e.op, args:
        case "add", [a, b]:
            return a[0] + b[0], a[1] + b[1]
        case "sub", [a, b]:
            return a[0] - b[1], a[1] - b[0]
        case "neg", [a]:
            return -a[1], -a[0]
        case "mul", [a, b]:
            return _corners(lambda x, y: x * y, a, b)
        case "abs", [a]:
            return (0 if a[0] <= 0 <= a[1] else min(map(abs, a))), max(map(abs, a))
        case (("floor" | "ceil" | "round" | "trunc"), [a]):
            return math.floor(a[0]), math.ceil(a[1])
    if e.dtype in FLOAT:
        return UNKNOWN
    match e.op, args:
        case "pow", [a, b]:
            return _power(a, b)
        case "shl", [a, b]:
            return _corners(lambda x, y: x * 2 ** min(max(y, 0), 64), a, b)
        case "mod", [_, b]:
            return min(0, b[0] + 1), max(0, b[1] - 1)
        case "rem", [a, b]:
            size = min(max(map(abs, a)), max(max(map(abs, b)) - 1, 0))
            return (-size if a[0] < 0 else 0), (size if a[1] > 0 else 0)
        case (("idiv" | "floordiv"), [a, b]):
            if b[0] >= 1:
                return (a[0] // b[0] if a[0] < 0 else 0), (a[1] // b[0] if a[1] > 0 else 0)
            return -max(map(abs, a)), max(map(abs, a))
        case "bitand", [a, b] if max(a[0], b[0]) >= 0:
            return 0, min(r[1] for r in (a, b) if r[0] >= 0)
        case "shr", [a, _]:
            return min(0, a[0]), max(0, a[1])
        case (("bitand" | "bitor" | "bitxor"), [a, b]):
            bits = max(int(abs(x)).bit_length() for x in (*a, *b))
            return (-(2**bits) if min(a[0], b[0]) < 0 else 0), 2**bits - 1
        case "bitnot", [a] if e.dtype == "i32":
            return -1 - a[1], -1 - a[0]
        case "bitnot", [a]:
            return WIDE["u64"]
    return unknown


__all__ = ["NEAR", "RANGES", "WIDE", "Range", "body_ranges", "bounded", "fits", "wrapped"]
