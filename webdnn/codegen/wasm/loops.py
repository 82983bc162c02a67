"""Prints loops: elementwise work, reductions, softmax and normalisations, scans.

    >>> from webdnn.expr import load, maximum, var
    >>> from webdnn.schedule.kernel import Loop, Slot, Store
    >>> i = var("i", 1000)
    >>> relu = Loop("relu", (i,), (), (), (Store(1, i, maximum(load(0, i), 0.0)),),
    ...             (Slot("f32", 1000, "read"), Slot("f32", 1000, "write")))
    >>> "ST(b1 + i0, MAX1(LD(b0 + i0), S(0.0f)));" in print_loop(relu).body
    True

The lanes lie along the innermost parallel axis or along the innermost reduction axis, whichever
reads memory in order; several vectors run side by side where that hides latency, and what is left
over runs as scalars. Axes that every index runs through in order are one axis. A work item is one
point of the outer axes, or a stretch of the inner axis where that is long.

The limits: one vector axis, and no tiling: a transposing read gathers its lanes one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...expr import (
    Dim,
    Expr,
    acc,
    coefficient,
    cost,
    load,
    substitute,
    upper,
    walk,
)
from ...scalar import FLOAT, MONOIDS
from ...schedule.kernel import Loop, Stage, Store, is_row
from ..dialect import LITERAL
from ..loops import collapse
from .lanes import SCALAR, VECTOR, ZERO, Lanes, Printed, grain

ITEM_NS = 4_000  # work items are cut to about this
BLOCK = 256  # elements of a long sum that are added up one after another


def print_loop(loop: Loop) -> Printed:
    """The C of a loop."""
    printer = _LoopPrinter(loop)
    return Printed(
        loop.name,
        printer.text,
        loop.slots,
        tuple(printer.params.values),
        printer.items,
        printer.grain,
        0,
        loop.origin,
    )


# ---- monoids ------------------------------------------------------------------------------------

_LOWEST = {"f32": "-INF", "f64": "-BIG_INF", "i32": "(-2147483647 - 1)", "u32": "0u"}
_HIGHEST = {"f32": "INF", "f64": "BIG_INF", "i32": "2147483647", "u32": "4294967295u"}
_ONE = {"f32": "1.0f", "f64": "1.0", "i32": "1", "u32": "1u"}
_STEP = {
    "sum": "{0} + {1}",
    "scan_sum": "{0} + {1}",
    "prod": "{0} * {1}",
    "max": "vmax({0}, {1})",
    "min": "vmin({0}, {1})",
    "any": "{0} | {1}",
    "all": "{0} & {1}",
}


def _initial(stage: Stage, vector: bool) -> list[tuple[str, str]]:
    """(C type, first value) of each accumulator."""
    types = VECTOR if vector else SCALAR
    dtype = stage.exprs[0].dtype
    if stage.monoid in ("any", "all"):
        start = str(int(stage.monoid == "all"))
        return [(types["bool"], f"M({start})" if vector else start)]
    table = {"sum": ZERO, "scan_sum": ZERO, "prod": _ONE, "max": _LOWEST, "min": _HIGHEST}
    key = stage.monoid.replace("_last", "").replace("arg", "")
    out = [(types[dtype], table[key][dtype])]
    if MONOIDS[stage.monoid] == 2:
        out.append((types["i32"], "0"))
    return [(t, f"S({x})" if vector else x) for t, x in out]


def _combine(stage: Stage, a: list[str], x: list[str], ordered: bool) -> list[str]:
    """Statements that take `x` into the accumulators `a`.

    `ordered`: x comes after everything in `a`; else positions decide between equals.
    """
    if MONOIDS[stage.monoid] == 1:
        return [f"{a[0]} = {_STEP[stage.monoid].format(a[0], x[0])};"]
    last = stage.monoid.endswith("_last")
    sign = ">" if "argmax" in stage.monoid else "<"
    float_ = stage.exprs[0].dtype in FLOAT
    if last and ordered:
        take = f"({x[0]} {sign}= {a[0]})" + (f" | ({x[0]} != {x[0]})" if float_ else "")
    else:
        take = f"({x[0]} {sign} {a[0]})"
        if float_:
            take += f" | (({x[0]} != {x[0]}) & ({a[0]} == {a[0]}))"
        if not ordered:
            same = f"({x[0]} == {a[0]})"
            if float_:
                same = f"({same} | (({x[0]} != {x[0]}) & ({a[0]} != {a[0]})))"
            take += f" | ({same} & ({x[1]} {'>' if last else '<'} {a[1]}))"
    return [
        f"{{ const __auto_type take = {take};",
        f"  {a[0]} = SEL(take, {x[0]}, {a[0]}), {a[1]} = SEL(take, {x[1]}, {a[1]}); }}",
    ]


# ---- loops --------------------------------------------------------------------------------------


def _roots(loop: Loop) -> list[Expr]:
    return [e for s in loop.stages for e in s.exprs] + [
        e for s in loop.stores for e in (s.index, s.value)
    ]


def _lane_cost(loop: Loop, lane: Expr) -> float:
    """What one element of the loop costs in memory accesses if `lane` is the vector axis."""
    total = 0.0
    repeat = math.prod(upper(v.args[1]) for v in loop.reduce)
    row = [s for s in loop.stores if is_row(s, loop)]
    rare = [s for s in loop.stores if s not in row]
    for roots, weight in (
        ([e for s in loop.stages for e in s.exprs] + [s.value for s in row], repeat),
        ([s.value for s in rare], 1),
    ):
        for e in walk(*roots):
            if e.op == "load":
                step = coefficient(e.args[1], lane)
                total += weight * (0.25 if step == 1 else 0.1 if step == 0 else 1.2)
    for stores, weight in ((row, repeat), (rare, 1)):
        for s in stores:
            step = coefficient(s.index, lane)
            if step == 0 and not (lane in loop.reduce and s in rare):
                return math.inf
            total += weight * (0.25 if step == 1 else 1.2)
    return total


def _choose_lane(loop: Loop) -> Expr | None:
    """The axis whose values lie in the lanes: the innermost parallel or reduction axis, or none."""
    if any(x.op == "load" for s in loop.stores for x in walk(s.index)):
        return None  # scattered: in order
    if any(MONOIDS[s.monoid] > 1 and s.exprs[0].dtype == "f64" for s in loop.stages):
        return None  # two lanes of values would have four of positions
    candidates = list(loop.axes[-1:])
    if loop.reduce and not any(s.monoid == "scan_sum" for s in loop.stages):
        candidates += loop.reduce[-1:]
    scored = [
        (_lane_cost(loop, v), k, v) for k, v in enumerate(candidates) if upper(v.args[1]) >= 4
    ]
    scored = [s for s in scored if s[0] < math.inf]
    return min(scored)[2] if scored else None


class _LoopPrinter(Lanes):
    """Prints one Loop; `text` is the function's body afterwards."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop.slots)
        self.loop, self.kept = _keep_rows(collapse(loop))
        loop = self.loop
        self.chosen = _choose_lane(loop)
        self.across = self.chosen in loop.reduce  # lanes along the reduction
        for k, v in enumerate(loop.axes):
            self.names[v] = f"i{k}" if k < 4 else f"i{k}_"  # i4 is a type of the prelude
            self.level[v] = 1
        for k, v in enumerate(loop.reduce):
            self.names[v] = f"r{k}"
            self.level[v] = 3 + k
        self.long = math.prod(upper(v.args[1]) for v in loop.reduce) >= 4 * BLOCK
        self.inner = loop.axes[-1] if loop.axes and not self.across else None
        if self.inner is not None:
            self.level[self.inner] = 2
        for e in walk(*_roots(loop)):
            if e.op == "acc":  # a prefix is new at each step
                scan = loop.stages[e.args[0]].monoid == "scan_sum"
                self.level[e] = 2 + len(loop.reduce) if scan else 1 if self.across else 2
        self._schedule()
        self._print()
        self.text = "\n".join(self.scopes[0].lines)

    def size(self, v: Expr) -> str:
        """The number of values of a loop variable."""
        size = v.args[1]
        return (
            str(size)
            if isinstance(size, int) and size < LITERAL
            else self.param(self.params.index(size))
        )

    def _schedule(self) -> None:
        loop = self.loop
        outer = [v for v in loop.axes if v is not self.inner]
        flops = sum(cost(e) for s in loop.stages for e in s.exprs) + sum(
            cost(s.value) for s in loop.stores if is_row(s, loop)
        )
        finish = sum(cost(s.value) + 1 for s in loop.stores if not is_row(s, loop))
        reads = sum(1 for e in walk(*_roots(loop)) if e.op == "load")
        lanes = 1 if self.chosen is None else 4
        each = max(
            0.1, (flops + reads + 1) * 0.4 / lanes
        )  # ns for one element of the innermost loop
        work: Dim = 1
        for v in loop.reduce:
            work = v.args[1] * work
        if not loop.reduce:
            each, finish = max(0.1, (finish + reads) * 0.4 / lanes), 0
        row: Dim = work
        self.chunk: int | None = None
        if self.inner is not None:
            n = self.inner.args[1]
            size = max(16, int(ITEM_NS / (each * upper(work) + finish * 0.4 / lanes)) // 16 * 16)
            if upper(n) > size:
                self.chunk = size
                row = work * size
            else:
                row = n * work
        items: Dim = 1
        for v in outer:
            items = v.args[1] * items
        if self.chunk is not None and self.inner is not None:
            items = items * ((self.inner.args[1] + (self.chunk - 1)) // self.chunk)
        self.items = items
        self.grain = grain(each, row)
        self.unroll = 1 if flops + finish > 24 or (not loop.reduce and flops + finish > 8) else 4
        if len(loop.stages) > 2 or any(MONOIDS[s.monoid] > 1 for s in loop.stages):
            self.unroll = min(self.unroll, 2)

    def _print(self) -> None:
        outer = [v for v in self.loop.axes if v is not self.inner]
        counters = [(self.names[v], self.size(v)) for v in outer]
        if self.chunk is not None and self.inner is not None:
            block = self.param(self.params.index(self.chunk))
            size = self.size(self.inner)
            self.line(f"const int blocks = ({size} + {block} - 1) / {block};")
            counters.append(("block", "blocks"))
        self.lines_of_items(counters, self._item)

    def lines_of_items(self, counters: list[tuple[str, str]], body: Callable[[], None]) -> None:
        """The loop over work items, with the item's coordinates kept by counting up."""
        if len(counters) > 1:
            self.line("int q = begin;")
        for k, (name, size) in reversed(list(enumerate(counters))):
            if len(counters) == 1:
                self.line(f"int {name} = begin;")
            elif k == 0:
                self.line(f"int {name} = q;")
            else:
                self.line(f"int {name} = MOD(q, {size});")
                self.line(f"q = DIV(q, {size});")
        with self.braces("for (int item = begin; item < end; item++)", 1):
            body()
            step = ""
            for k, (name, size) in enumerate(counters):
                step = f"if (++{name} == {size}) {{ {name} = 0; {step} }}" if k else f"{name}++;"
            if step:
                self.line(step)

    def _item(self) -> None:
        if self.inner is None:
            scans = any(s.monoid == "scan_sum" for s in self.loop.stages)
            return self._cell(1) if scans else self._row()
        start, stop = "0", self.size(self.inner)
        if self.chunk is not None:
            block = self.param(self.params.index(self.chunk))
            self.line(f"const int start = block * {block};")
            self.line(f"const int stop = vmin(start + {block}, {stop});")
            start, stop = "start", "stop"
        self.vector_accs = True
        unroll = self.unroll if self.chosen is not None else 1
        return self.along(self.inner, 2, start, stop, unroll, self._cell, self.chosen is not None)

    def along(
        self,
        v: Expr,
        level: int,
        start: str,
        stop: str,
        unroll: int,
        body: Callable[[int], None],
        lanes: bool,
    ) -> None:
        """Loops over `v`: several vectors at a time, one vector, then scalars."""
        name = self.names[v]
        if not lanes:
            with self.braces(f"for (int {name} = {start}; {name} < {stop}; {name}++)", level):
                body(1)
            return
        with self.braces(""):
            self.line(f"int {name} = {start};")
            for parts in sorted({unroll, 1}, reverse=True):
                with self.braces(
                    f"for (; {name} + {4 * parts} <= {stop}; {name} += {4 * parts})", level
                ):
                    self.lane = v
                    body(parts)
                    self.lane = None
            with self.braces(f"for (; {name} < {stop}; {name}++)", level):
                body(1)

    @contextmanager
    def reduction(self, axes: tuple[Expr, ...]) -> Iterator[None]:
        """The loops over reduction axes around what follows."""
        if not axes:
            yield
            return
        r = self.names[axes[0]]
        with self.braces(
            f"for (int {r} = 0; {r} < {self.size(axes[0])}; {r}++)", self.level[axes[0]]
        ):
            with self.reduction(axes[1:]):
                yield

    def each_part(self, parts: int) -> Iterator[int]:
        """The vectors of one iteration; names made in one are not seen by the next."""
        for part in range(parts):
            self.part = part
            yield part
        self.part = 0

    def accs(self, k: int, stage: Stage) -> list[str]:
        """The accumulators of stage k for the part at hand."""
        return [self.leaf(acc(k, j, "f32")) for j in range(MONOIDS[stage.monoid])]

    def _declare(self, stage: Stage, names: list[str]) -> None:
        for name, (ctype, first) in zip(names, _initial(stage, self.lane is not None), strict=True):
            self.line(f"{ctype} {name} = {first};")

    def _take(self, k: int, stage: Stage, into: list[str], ordered: bool) -> None:
        """Takes the element (or vector) at hand into the accumulators of stage k."""
        kept = [s for stage_of, s in self.kept if stage_of == k]
        values = []
        for e in stage.exprs:
            text = self.splat(e) if self.lane is not None else self.value(e)
            if len(stage.exprs) > 1 or kept:
                ctype = (VECTOR if self.lane is not None else SCALAR)[e.dtype]
                key = (
                    self._key(e)
                    if self.lane is None or self.varies(e)
                    else (("splat", e), self.part)
                )
                text = self._named(key, text, self.scope, ctype)
            values.append(text)
        for text in _combine(stage, into, values, ordered):
            self.line(text)
        for s in kept:
            self.store(s)

    def _cell(self, parts: int) -> None:
        """One element, or `parts` vectors of neighbours, along the inner parallel axis."""
        loop = self.loop
        scans = [k for k, s in enumerate(loop.stages) if s.monoid == "scan_sum"]
        rows = [
            s
            for s in loop.stores
            if is_row(s, loop) or any(x.op == "acc" and x.args[0] in scans for x in walk(s.value))
        ]
        for k, stage in enumerate(loop.stages):
            for _ in self.each_part(parts):
                self._declare(stage, self.accs(k, stage))
            if k in scans:
                continue
            if stage.monoid == "sum" and stage.exprs[0].dtype == "f32" and self.long:
                self._sum_in_blocks(k, stage, parts)
                continue
            with self.reduction(loop.reduce):
                for _ in self.each_part(parts):
                    self._take(k, stage, self.accs(k, stage), True)
        if rows:
            with self.reduction(loop.reduce):
                for _ in self.each_part(parts):
                    for k in scans:
                        self._take(k, loop.stages[k], self.accs(k, loop.stages[k]), True)
                    for s in rows:
                        self.store(s)
        for _ in self.each_part(parts):
            for s in loop.stores:
                if s not in rows:
                    self.store(s)

    def _sum_in_blocks(self, k: int, stage: Stage, parts: int) -> None:
        """A long sum in blocks of BLOCK elements, so that its rounding errors do not pile up."""
        last = self.loop.reduce[-1]
        r = self.names[last]
        with self.reduction(self.loop.reduce[:-1]):
            head = f"for (int first = 0; first < {self.size(last)}; first += {BLOCK})"
            with self.braces(head):
                self.line(f"const int end = vmin(first + {BLOCK}, {self.size(last)});")
                for part in self.each_part(parts):
                    self._declare(stage, [f"sum{part}"])
                loop = f"for (int {r} = first; {r} < end; {r}++)"
                with self.braces(loop, self.level[last]):
                    for part in self.each_part(parts):
                        self._take(k, stage, [f"sum{part}"], True)
                for part in self.each_part(parts):
                    total = self.accs(k, stage)[0]
                    self.line(f"{total} = {total} + sum{part};")

    def _row(self) -> None:
        """One row with the lanes along the innermost reduction axis (or none), all stages in
        turn."""
        loop, lanes = self.loop, self.across
        head, last = loop.reduce[:-1], loop.reduce[-1:]
        unroll = self.unroll if lanes else 1
        for k, stage in enumerate(loop.stages):
            totals = self.accs(k, stage)
            self._declare(stage, totals)
            wide = [[f"v{k}_{j}_{u}" for j in range(len(totals))] for u in range(unroll)]
            if lanes:
                self.lane = last[0]
                for names in wide:
                    self._declare(stage, names)
                self.lane = None

            def body(
                parts: int, k: int = k, stage: Stage = stage, wide: list[list[str]] = wide
            ) -> None:
                for u in self.each_part(parts):
                    vector = self.lane is not None
                    self._take(
                        k, stage, wide[u] if vector else self.accs(k, stage), vector or not lanes
                    )

            self._along_last(head, last, body, unroll, lanes)
            if lanes:
                for names in wide[1:]:
                    for text in _combine(stage, wide[0], names, False):
                        self.line(text)
                for lane in range(4):
                    elements = [f"{n}[{lane}]" for n in wide[0]]
                    if stage.monoid in ("any", "all"):
                        elements = [f"({x} & 1)" for x in elements]
                    for text in _combine(stage, totals, elements, False):
                        self.line(text)
        rows = [s for s in loop.stores if is_row(s, loop)]
        if rows:

            def finish(parts: int) -> None:
                for _ in self.each_part(parts):
                    for s in rows:
                        self.store(s)

            self._along_last(head, last, finish, 1, lanes)
        for s in loop.stores:
            if s not in rows:
                self.store(s)

    def _along_last(
        self,
        head: tuple[Expr, ...],
        last: tuple[Expr, ...],
        body: Callable[[int], None],
        unroll: int,
        lanes: bool,
    ) -> None:
        with self.reduction(head):
            if last:
                self.along(
                    last[0], self.level[last[0]], "0", self.size(last[0]), unroll, body, lanes
                )
            else:
                body(1)


def _keep_rows(loop: Loop) -> tuple[Loop, list[tuple[int, Store]]]:
    """Softmax's exp, once: a stage's costly element that a row store takes up again is stored on
    the way.

    The pairs are (stage, what it stores); the row store then reads its own buffer. Only where
    nothing else that the row store reads runs along the row, so that an input may share the
    output's memory.
    """
    kept: list[tuple[int, Store]] = []
    stores = list(loop.stores)
    for n, s in enumerate(stores):
        for k, stage in enumerate(loop.stages):
            e = stage.exprs[0]
            if (
                not is_row(s, loop)
                or len(stage.exprs) > 1
                or cost(e) < 16
                or e.dtype != "f32"
                or loop.slots[s.slot].dtype != "f32"
                or s.value is e
                or e not in walk(s.value)
                or stage.monoid == "scan_sum"
            ):
                continue
            again = load(s.slot, s.index)
            value = substitute(s.value, {e: again})
            reads = [x for x in walk(value) if x.op == "load" and x is not again]
            if any(set(loop.reduce) & set(walk(x)) for x in reads):
                continue
            kept.append((k, Store(s.slot, s.index, e)))
            stores[n] = Store(s.slot, s.index, value)
            break
    return Loop(
        loop.name, loop.axes, loop.reduce, loop.stages, tuple(stores), loop.slots, loop.origin
    ), kept
