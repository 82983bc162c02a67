"""Transposes move until they cancel: f(T(x)) -> T(f'(x)), T'(f(T(x))) -> f'(x).

Convolutions are NHWC by definition, so a model written for NCHW arrives with a transpose on each
side of every convolution. Two steps remove them; together they never add to their number.

    sink    f(T(x), c) -> T(f'(x, T'(c))): transposes move towards the outputs, through operators
            whose axes can be renamed, as long as the other operands follow at no cost (constants,
            scalars, vectors along one axis, operands transposed alike). T' after T composes to
            nothing. A product with both operands transposed, or the second one and a constant, is
            the transposed product of the two in reverse: constants should be second, where they are
            packed beforehand.
    cancel  T'(f(T(x), y)) -> f'(x, T'(y)): where an operand would follow at a cost, the whole
            is counted (which transposes vanish, which appear), and rewritten if fewer are left. It
            looks at the graph first: a value is wanted in another order if a user transposes it so.

Both rest on one table, `plan`: how the transposed result of an operator is the same operator on
transposed inputs. Symbolic sizes take part like any others. Limits: transposes stay at matrix
products, at reshapes that mix what they moved (attention heads; the fuser reads them as views), at
inputs and outputs.

    >>> from webdnn.graph import Graph, placeholder, rewrite
    >>> x = placeholder("x", (1, 8, 8, 3), "f32")
    >>> y = ops.transpose(ops.relu(ops.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))
    >>> print(rewrite(Graph((x,), {"y": y}), SINK))
    x: f32[1,8,8,3] = input()
    y: f32[1,8,8,3] = relu(x)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import ops
from ..graph import Graph, Rule, Value, rewrite
from ..ops.movement import IOTA, groups
from .simplify import VIEWS

Perm = tuple[int, ...]
Uses = Mapping[Value, int]
Plan = tuple[Sequence[tuple[Value, Perm | None]], Callable[..., Value]]

ROUNDS = 4  # of cancelling, at most: one removal may make the next worth while
DEPTH = 16  # operators that a transpose may be carried up through at once


def invert(p: Sequence[int]) -> Perm:
    """q with transpose(transpose(x, p), q) = x"""
    return tuple(sorted(range(len(p)), key=p.__getitem__))


def is_transpose(v: Value) -> bool:
    """Whether v is a transpose at run time; that of a weight costs nothing."""
    return v.op is ops.TRANSPOSE and not v.weight


def count_transposes(graph: Graph) -> int:
    """The transposes of values that are not weights."""
    return sum(map(is_transpose, graph.values()))


# ---- the table -----------------------------------------------------------------------------------


def plan(v: Value, q: Perm) -> Plan | None:
    """transpose(v, q) as v's own operator: its inputs, each with a permutation (None: as it is),
    and what makes the result of them. None if that operator's axes cannot be renamed so."""
    op, a, at = v.op, v.attrs, invert(q)

    def pick(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[k] for k in q)

    same = [(i, q) for i in v.inputs]
    if op.pointwise or v.op is ops.EXPAND:
        operands = [(_to_rank(i, v.rank), q) if _wide(i) else (i, None) for i in v.inputs]
        if v.op is ops.EXPAND:
            return operands, lambda x: ops.expand(x, pick(v.shape))
        return operands, lambda *xs: op(*xs, **a)
    match v.op:
        case ops.REDUCE | ops.SCAN:
            return same, lambda x: op(
                x, monoid=a["monoid"], axes=tuple(sorted(at[k] for k in a["axes"]))
            )
        case ops.CONCAT:
            return same, lambda *xs: ops.concat(xs, at[a["axis"]])
        case ops.GATHER_ELEMENTS:
            return same, lambda *xs: op(*xs, axis=at[a["axis"]])
        case ops.SLICE:
            return same, lambda x: ops.slice_(
                x, pick(a["starts"]), pick(a["sizes"]), pick(a["steps"])
            )
        case ops.PAD | ops.PAD_MODE | ops.DILATE:
            return same, lambda x: op(
                x, **{k: pick(w) if isinstance(w, tuple) else w for k, w in a.items()}
            )
        case ops.IOTA:
            return [], lambda: IOTA(shape=pick(v.shape), axis=at[a["axis"]], dtype=a["dtype"])
        case ops.WINDOWS:
            return _plan_windows(v, q)
        case ops.GATHER:
            return _plan_gather(v, q)
        case ops.RESHAPE:
            return _plan_reshape(v, q)
    return None


def _wide(i: Value) -> bool:
    return any(d != 1 for d in i.shape)


def _to_rank(i: Value, rank: int) -> Value:
    return ops.reshape(i, (1,) * (rank - i.rank) + i.shape)


def _plan_windows(v: Value, q: Perm) -> Plan | None:
    """Plan windows: the appended axes (offsets in a window) stay last, in the order of `axes`."""
    (x,) = v.inputs
    lead, tail = q[: x.rank], [k - x.rank for k in q[x.rank :]]
    if sorted(lead) != list(range(x.rank)):
        return None
    at = invert(lead)
    order: dict[str, Any] = {k: tuple(w[t] for t in tail) for k, w in v.attrs.items()}
    order["axes"] = tuple(at[k] for k in order["axes"])
    return [(x, lead)], lambda y: ops.windows(y, **order)


def _plan_gather(v: Value, q: Perm) -> Plan | None:
    """Plan `gather`: the axes of the indices stay together and go where the gathered axis goes."""
    x, indices = v.inputs
    axis, m = v.attrs["axis"], indices.rank
    block = tuple(range(axis, axis + m))
    start = q.index(axis) if m else -1
    if m == 0 or q[start : start + m] != block:
        return None
    p = tuple(axis if k == axis else k if k < axis else k - m + 1 for k in q if k not in block[1:])
    return [(x, p), (indices, None)], lambda y, i: ops.gather(y, i, p.index(axis))


def _blocks(v: Value) -> list[tuple[range, range]] | None:
    try:
        return groups(v.inputs[0].shape, v.shape)
    except ValueError:  # symbolic sizes that do not divide evenly
        return None


def _plan_reshape(v: Value, q: Perm) -> Plan | None:
    """Plan reshape: runs of axes that are split or merged move as wholes; axes of 1 are free."""
    (x,) = v.inputs
    runs = _blocks(v)
    if runs is None:
        return None
    at = {axis: n for n, axis in enumerate(k for k in q if v.shape[k] != 1)}
    keyed: list[tuple[int, int, range]] = []
    for n, (left, right) in enumerate(runs):
        to = [at[k] for k in right if v.shape[k] != 1]
        if to and to != list(range(to[0], to[0] + len(to))):
            return None
        keyed.append((to[0] if to else keyed[-1][0] if keyed else -1, n, left))
    p = tuple(k for _, _, left in sorted(keyed, key=lambda t: t[:2]) for k in left)
    return [(x, p)], lambda y: ops.reshape(y, [v.shape[k] for k in q])


def follow(v: Value, k: int) -> Perm | None:
    """Find q for which transpose(v, q) takes input k, a transpose, in its original order."""
    t = v.inputs[k]
    back = invert(t.attrs["perm"])
    if v.op is ops.WINDOWS:
        return (*back, *range(t.rank, v.rank))
    if v.op is ops.GATHER:
        axis, m = v.attrs["axis"], v.inputs[1].rank
        if k != 0:
            return None
        return tuple(
            o
            for a in back
            for o in (range(axis, axis + m) if a == axis else [a if a < axis else a + m - 1])
        )
    if v.op is ops.RESHAPE:
        runs = _blocks(v)
        if runs is None:
            return None
        (x,) = t.inputs
        # An axis that is only repeated has no order of its own: it goes where its run goes.
        free = {
            a for a, d in enumerate(x.shape) if d == 1 or (x.op is ops.EXPAND and _repeated(x, a))
        }
        key: list[tuple[int, int, range]] = []
        for n, (left, right) in enumerate(runs):
            fixed = [t.attrs["perm"][a] for a in left if t.attrs["perm"][a] not in free]
            key.append((min(fixed) if fixed else key[-1][0] if key else -1, n, right))
        return tuple(o for _, _, right in sorted(key, key=lambda e: e[:2]) for o in right)
    extra = v.rank - t.rank
    return (*range(extra), *(b + extra for b in back))


def _repeated(x: Value, axis: int) -> bool:
    source = x.inputs[0].shape
    at = axis - (x.rank - len(source))
    return at < 0 or source[at] == 1


# ---- counting ------------------------------------------------------------------------------------


def carry(
    v: Value,
    q: Perm | None,
    uses: Uses,
    find: Callable[[Value, Perm], Value | None],
    shared: int,
    depth: int = DEPTH,
) -> tuple[int, Value]:
    """How many transposes it adds to have transpose(v, q) instead of v, and that value.

    `find` gives the same elements in the same order, if the graph has them anyway; `shared` is what
    the loss of a transpose with other users counts.
    """
    moved = v if q is None else ops.transpose(v, q)
    if q is None or moved is v or moved.weight:
        return 0, moved
    if v.op is ops.TRANSPOSE:
        gone = -1 if uses.get(v, 0) <= 1 else shared
        if not is_transpose(moved):
            return gone, moved
        rest, moved = carry(moved.inputs[0], moved.attrs["perm"], uses, find, shared, depth - 1)
        return gone + rest, moved
    if not is_transpose(moved):
        return 0, moved
    if (found_value := find(v, q)) is not None:
        return 0, ops.reshape(found_value, moved.shape)
    found = plan(v, q) if depth > 0 and (uses.get(v, 0) <= 1 or _is_view(v)) else None
    if found is not None:
        moves = [carry(i, p, uses, find, shared, depth - 1) for i, p in found[0]]
        total = sum(n for n, _ in moves)
        if total <= 0:
            return total, found[1](*(part for _, part in moves))
    return 1, moved


def _is_view(v: Value) -> bool:
    return v.op in (ops.RESHAPE, ops.EXPAND, ops.IOTA, ops.SLICE)


# ---- the rules -----------------------------------------------------------------------------------


def sink(v: Value, uses: Uses) -> Value | None:
    """f(T(x), y) -> T(f'(x, T'(y))) where no more transposes are left than before"""
    if v.op is ops.TRANSPOSE:
        return None
    tried: set[Perm] = set()
    for k, t in enumerate(v.inputs):
        if not is_transpose(t):
            continue
        q = follow(v, k)
        found = plan(v, q) if q is not None and q not in tried else None
        if q is None or found is None:
            continue
        tried.add(q)
        moves: dict[tuple[Value, Perm | None], tuple[int, Value]] = {
            move: carry(*move, uses, lambda x, p: None, -1) for move in found[0]
        }
        lost = sum(n for n, _ in moves.values() if n < 0)
        added = sum(n for n, _ in moves.values() if n > 0)
        if lost + added + 1 > 0 or (added and lost + added + 1 == 0):
            continue  # equal numbers are progress only if nothing but this transpose moves
        return ops.transpose(found[1](*(moves[move][1] for move in found[0])), invert(q))
    return None


def _swaps(t: Value) -> bool:
    """Whether t is a transpose of the last two axes."""
    r = t.rank
    return is_transpose(t) and t.attrs["perm"] == (*range(r - 2), r - 1, r - 2)


def _swap(x: Value) -> Value:
    return ops.transpose(x, (*range(x.rank - 2), x.rank - 1, x.rank - 2))


def swapped(v: Value, uses: Uses) -> Value | None:
    """matmul(T(a), T(b)) -> T(matmul(b, a)), where a may be constant"""
    if v.op is not ops.MATMUL:
        return None
    a, b = v.inputs
    if _swaps(b) and (_swaps(a) or a.weight):
        return _swap(ops.matmul(b.inputs[0], _swap(a)))
    return None


def cancel(graph: Graph, hits: dict[str, int]) -> Graph:
    """u -> T(f'(...)) for values u = f(...) wanted in another order, where that leaves fewer."""
    origin: dict[Value, Value] = {}
    wanted: dict[
        Value, dict[Perm, Perm]
    ] = {}  # value -> order of its longer axes -> transpose's order
    for v in graph.values():
        if is_transpose(v):
            wanted.setdefault(v.inputs[0], {})[_longer(v.inputs[0], v.attrs["perm"])] = v.attrs[
                "perm"
            ]
    users = graph.uses()
    outputs = set(graph.results)

    def find(x: Value, p: Perm) -> Value | None:
        q = wanted.get(origin.get(x, x), {}).get(_longer(x, p))
        return None if q is None else ops.transpose(x, q)

    def cancel_wanted(u: Value, uses: Uses) -> Value | None:
        old = origin.get(u, u)
        for q in wanted.get(old, {}).values():
            found = plan(u, q)
            if found is None:
                continue
            others = old in outputs or any(
                w.op is not ops.TRANSPOSE or w.attrs["perm"] != q for w in users[old]
            )
            moves = [carry(*move, uses, find, 0) for move in found[0]]
            if sum(n for n, _ in moves) - 1 + others < 0:
                moved = found[1](*(part for _, part in moves))
                if moved is not u:  # a square of one element is its own transpose
                    return ops.transpose(moved, invert(q))
        return None

    return rewrite(graph, (cancel_wanted, composed), hits, origin)


def settle(graph: Graph, hits: dict[str, int]) -> Graph:
    """Sink, then cancel; if that leaves more transposes than there were, the graph as it was."""
    moved = rewrite(graph, (*SINK, *VIEWS), hits)
    for _ in range(ROUNDS):
        before, moved = moved, cancel(moved, hits)
        if before.results == moved.results:
            break
    return moved if count_transposes(moved) <= count_transposes(graph) else graph


def units(v: Value, uses: Uses) -> Value | None:
    """f(U(x), c) -> U(f(x, U'(c))) where U only moves axes of size 1 (transposes of vectors)"""
    if not v.op.pointwise:
        return None
    x = next((i.inputs[0] for i in v.inputs if _moves_units(i) and i.shape == v.shape), None)
    if x is None:
        return None
    operands = []
    for i in v.inputs:
        if not _wide(i):
            operands.append(i)
        elif [d for d in i.shape if d != 1] == [d for d in v.shape if d != 1] and (
            i.weight or _moves_units(i)
        ):
            operands.append(ops.reshape(i, x.shape))
        else:
            return None
    y = v.op(*operands, **v.attrs)
    return ops.reshape(y, v.shape) if y.shape == x.shape else None


def _moves_units(v: Value) -> bool:
    if v.op is not ops.RESHAPE or v.weight:
        return False
    (x,) = v.inputs
    return x.rank == v.rank and [d for d in x.shape if d != 1] == [d for d in v.shape if d != 1]


def _longer(v: Value, p: Perm) -> Perm:
    return tuple(k for k in p if v.shape[k] != 1)


def composed(v: Value, uses: Uses) -> Value | None:
    """transpose(transpose(x)) -> transpose(x), or x"""
    if v.op is not ops.TRANSPOSE:
        return None
    plain = ops.transpose(v.inputs[0], v.attrs["perm"])
    return plain if plain is not v else None


SINK: tuple[Rule, ...] = (composed, sink, units, swapped)

__all__ = ["SINK", "cancel", "count_transposes", "invert", "is_transpose", "plan", "settle"]
