"""Rewritings of kernels that are the same for every target, done before one is printed.

    >>> i, j = var("i", 56), var("j", 64)
    >>> at = i * 64 + j
    >>> slots = (Slot("f32", 3584, "read"), Slot("f32", 3584, "write"))
    >>> inc = Store(1, at, load(0, at) + 1.0)
    >>> kernel_text(collapse(Loop("inc", (i, j), (), (), (inc,), slots)))
    'inc[j<3584]  -> b1[j] = (b0[j] + 1.0)'

`collapse` merges neighbouring axes that every access walks as one and drops axes of size 1;
`depthwise_loop` states a depthwise convolution as a Loop. Neither changes what is computed; sums
may be taken in another grouping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..expr import (
    Dim,
    Expr,
    children,
    coefficient,
    free,
    is_const,
    less,
    lift,
    load,
    logical_and,
    maximum,
    minimum,
    product,
    select,
    substitute,
    var,
    walk,
)
from ..scalar import PACKED, STORAGE
from ..schedule.kernel import Instance, Loop, Stage, Store, loads, packed_element


def rewrite(loop: Loop, table: Mapping[Expr, Any], **changes: Any) -> Loop:
    """The loop with variables replaced in its stages and stores, and other fields changed."""
    memo: dict[Expr, Expr] = {}
    stages = tuple(
        Stage(s.monoid, tuple(substitute(e, table, memo) for e in s.exprs)) for s in loop.stages
    )
    stores = tuple(
        Store(s.slot, substitute(s.index, table, memo), substitute(s.value, table, memo))
        for s in loop.stores
    )
    return replace(loop, stages=stages, stores=stores, **changes)


def indices(loop: Loop) -> list[Expr]:
    """Every index that the loop accesses memory with."""
    return [e.args[1] for e in loads(loop)] + [s.index for s in loop.stores]


def values_free(loop: Loop) -> set[Expr]:
    """The variables used as numbers, outside every index."""
    roots = [e for s in loop.stages for e in s.exprs] + [s.value for s in loop.stores]
    found: set[Expr] = set()
    seen: set[Expr] = set()
    while roots:
        e = roots.pop()
        if e in seen:
            continue
        seen.add(e)
        if e.op == "var":
            found.add(e)
        if e.op != "load":
            roots.extend(children(e))
    return found


def collapse(loop: Loop) -> Loop:
    """Merges axes (i, j) that every index walks as i * size(j) + j, and drops unit axes."""
    unit = [v for v in (*loop.axes, *loop.reduce) if is_const(lift(v.args[1]), 1)]
    if unit:
        loop = rewrite(
            loop,
            dict.fromkeys(unit, 0),
            axes=tuple(v for v in loop.axes if v not in unit),
            reduce=tuple(v for v in loop.reduce if v not in unit),
        )
    for group in ("axes", "reduce"):
        position = len(getattr(loop, group)) - 2
        while position >= 0:
            axes = getattr(loop, group)
            i, j = axes[position], axes[position + 1]
            if _walk_as_one(loop, i, j):
                merged = var(j.args[0], product([i.args[1], j.args[1]]))
                axes = (*axes[:position], merged, *axes[position + 2 :])
                loop = rewrite(loop, {i: 0, j: merged}, **{group: axes})
            position -= 1
    return loop


def _walk_as_one(loop: Loop, i: Expr, j: Expr) -> bool:
    if {i, j} & values_free(loop):
        return False
    for index in indices(loop):
        a, b = coefficient(index, i), coefficient(index, j)
        if a is None or b is None or lift(a) is not lift(b * lift(j.args[1])):
            return False
    return True


def padded(size: Dim, at: Expr) -> tuple[Expr, Expr]:
    """A coordinate held within 0..size-1, and whether it lay there (true where proved)."""
    inside = logical_and(at >= 0, lift(True) if less(at, size) else at < size)
    return minimum(maximum(at, 0), size - 1), inside


def depthwise_loop(kernel: Instance) -> Loop:
    """A `depthwise` instance as a Loop that sums over ky and kx."""
    v = kernel.vars
    (sy, sx), (dy, dx), (top, left) = (kernel.attrs[k] for k in ("stride", "dilation", "pad"))
    iy, y_inside = padded(v["iy"].args[1], v["y"] * sy + v["ky"] * dy - top)
    ix, x_inside = padded(v["ix"].args[1], v["x"] * sx + v["kx"] * dx - left)
    a = substitute(kernel.holes["a"], {v["iy"]: iy, v["ix"]: ix})
    term = select(logical_and(y_inside, x_inside), a, 0.0) * kernel.holes["w"]
    axes = tuple(v[name] for name in ("b", "y", "x", "c") if name in v)
    return Loop(
        kernel.name,
        axes,
        (v["ky"], v["kx"]),
        (Stage("sum", (term,)),),
        kernel.stores,
        kernel.slots,
        kernel.origin,
    )


def panel_base(kernel: Instance, b: Expr | None = None) -> Expr | None:
    """Where the panels begin that hole "b" of a product loads, in terms of batch axes or groups.

    None if the hole is anything but a load of element base + (n // 8) * (K * 8) + k * 8 + n % 8,
    where k counts through all that is summed over. `b`: a part of the hole instead.
    """
    b, n = kernel.holes["b"] if b is None else b, kernel.vars["n"]
    deep = [kernel.vars[name] for name in kernel.sums]
    if b.op != "load":
        return None
    base = substitute(b.args[1], dict.fromkeys((n, *deep), 0))
    size = product([v.args[1] for v in deep])
    k: Any = lift(0)
    for v in deep:
        k = k * v.args[1] + v
    panels = (n // 8) * (lift(size) * 8) + k * 8 + n % 8
    return base if b.args[1] is base + panels else None


@dataclass(frozen=True)
class Panels:
    """Panels of a product's second operand as they lie in memory: `base` is their first element, in
    batch axes or groups. An element is worth (element - zero) * scale; None where it is not so."""

    slot: int
    storage: str
    base: Expr
    zero: Expr | None = None
    scale: Expr | None = None

    @property
    def bits(self) -> int:
        return STORAGE[self.storage].bits


def stored_panels(kernel: Instance, together: int) -> Panels | None:
    """The panels that hole "b" of a product reads, where `together` rows share zeros and scales,
    from every row on whose number is a multiple of that; else None."""
    b = kernel.holes["b"]
    base = panel_base(kernel)
    if base is not None:
        return Panels(b.args[0], kernel.slots[b.args[0]].dtype, base)
    scale = zero = None
    if b.op == "mul":
        b, scale = b.args
    if b.op != "cast":
        return None
    n, deep = kernel.vars["n"], [kernel.vars[name] for name in kernel.sums]
    size, depth = product([v.args[1] for v in deep]), lift(0)
    for v in deep:
        depth = depth * v.args[1] + v
    (q,) = b.args
    found = None
    for word in walk(q):
        if word.op != "load" or n not in free(word):
            continue
        own = kernel.slots[word.args[0]].dtype
        base = substitute(word.args[1], dict.fromkeys((n, *deep), 0))
        for storage in PACKED if own == "u32" else (own,):
            each = 32 // STORAGE[storage].bits if own == "u32" else 1
            at = base * each + (n // 8) * (lift(size) * 8) + depth * 8 + n % 8
            e = load(word.args[0], at // each, word.dtype)
            e = packed_element(e, at, storage) if each > 1 else e
            if e in walk(q):
                found = Panels(word.args[0], storage, base * each)
                zero = None if q is e else e - q
                if zero is not None and e in walk(zero):
                    return None
    k = var("k_", 2**31 - 1)
    for shared in (zero, scale):
        own = lift(0) if shared is None else substitute(shared, along_depth(kernel, k))
        blocks = [x for x in walk(own) if x.op == "shr" and x.args[0] is k]
        if any(1 << x.args[1].args[0] < together for x in blocks):
            return None
        if k in free(substitute(own, dict.fromkeys(blocks, lift(0)))):
            return None
    return found and replace(found, zero=zero, scale=scale)


def along_depth(kernel: Instance, k: Expr) -> dict[Expr, Expr]:
    """The variables that a product sums over, as functions of the one that counts through all."""
    out: dict[Expr, Expr] = {}
    rest: Any = k
    for name in reversed(kernel.sums[1:]):
        v = kernel.vars[name]
        out[v] = rest % v.args[1]
        rest = rest // v.args[1]
    return out | {kernel.vars[kernel.sums[0]]: rest}


def points(kernel: Instance) -> list[Expr]:
    """The variables of a template's kernel that its stores run over, in the kernel's order."""
    stored = {v for s in kernel.stores for v in free(s.index, "var")}
    return [v for v in kernel.vars.values() if v in stored]
