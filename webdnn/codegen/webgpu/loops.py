"""Loops as WGSL: elementwise kernels, reductions, and what follows a reduction along its row.

There is one schedule, `Schedule(lanes, threads, wide)`: a workgroup computes `lanes` outputs with
`threads` invocations each. (64, 1) is elementwise or a short reduction; (1, 256) a row in workgroup
memory; (8, 32) reduces over pixels with channels side by side. Prefix sums are serial.

What an invocation reads of a row stays in its registers where that is little, so that memory is
read once however many stages there are; neighbouring elements of long rows are read as vec4.

A row's reduction is a tree: a barrier for each halving of the workgroup. Devices with subgroups get
a text that needs one barrier. It supposes nothing of a subgroup's size, nor of which invocations
are in it; argmax and argmin stay trees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...expr import (
    Dim,
    Expr,
    as_dim,
    coefficient,
    cost,
    free,
    lift,
    make,
    multiple_of,
    product,
    substitute,
    upper,
    var,
    walk,
)
from ...schedule.kernel import (
    Instance,
    Loop,
    Stage,
    Store,
    is_row,
    loads,
)
from ..loops import collapse, indices, rewrite
from .dialect import (
    LANE,
    Printed,
    Wgsl,
    ceil_div,
    counter,
    digits,
    linear_grid,
    plus,
    times,
    vector,
)


@dataclass(frozen=True)
class Schedule:
    """A workgroup has `threads` invocations for each of `lanes` outputs (of fours, if `wide`)."""

    lanes: int
    threads: int
    wide: bool
    rows: bool = False  # neighbouring invocations differ in the reduction, not in the output
    fours: bool = False  # the innermost reduction axis is walked in vec4
    kept: int = 0  # elements (or fours) of a row in an invocation's registers; 0: none

    def __str__(self) -> str:
        threads = f"x{self.threads}" if self.threads > 1 else ""
        kept = f"k{self.kept}" if self.kept else ""
        return f"{self.lanes}{threads}{kept}{'v' if self.wide or self.fours else ''}"


KEPT = 4  # most elements (or fours) of a row that stay in registers
ROW = 256 * KEPT  # so long a row always does
AT_ONCE = 4  # elements that an invocation reads before it combines them
FEW_ROWS = 512  # so few do not fill a large device: each is shared by as many invocations as can be


def schedule(loop: Loop) -> Schedule:
    """The schedule of a collapsed loop, by its largest size and by what is contiguous."""
    outputs = upper(product([v.args[1] for v in loop.axes]))
    length = upper(product([v.args[1] for v in loop.reduce])) if loop.reduce else 1
    last = loop.axes[-1] if loop.axes else None
    wide = (
        last is not None
        and multiple_of(lift(last.args[1]), 4)
        and all(coefficient(s.index, last) == 1 for s in loop.stores)
        and outputs >= 16384
    )
    serial = Schedule(64, 1, wide)
    if length <= 32 or any(s.monoid == "scan_sum" for s in loop.stages):
        return serial
    threads = 32
    if _along_reduce(loop):
        fours = (
            length >= 256
            and multiple_of(lift(loop.reduce[-1].args[1]), 4)
            and all(s.monoid in SUBGROUP for s in loop.stages)
        )
        steps = length // 4 if fours else length
        each = 1 if outputs <= FEW_ROWS else KEPT
        while threads < 256 and threads * each < steps:
            threads *= 2
        kept = -(-steps // threads)
        lanes = max(1, 64 // threads)
        return Schedule(lanes, threads, False, True, fours, kept if kept <= KEPT else 0)
    if outputs >= 32768 and length <= 1024:
        return serial
    lanes = 32  # side by side in memory; fewer, for more workgroups, down to a 32-byte sector
    while lanes > 8 and outputs < lanes * 256:
        lanes //= 2
    while threads * 2 > length:
        threads //= 2
    return Schedule(lanes, min(threads, 256 // lanes), False)


def _along_reduce(loop: Loop) -> bool:
    """Whether the innermost reduction axis, rather than the last parallel one, is contiguous."""
    if not loop.axes:
        return True
    inner, outer = loop.reduce[-1], loop.axes[-1]
    score = 0
    for index in indices(loop):
        score += (coefficient(index, inner) == 1) - (coefficient(index, outer) == 1)
    return score >= 0


IDENTITY = {
    "sum": 0, "prod": 1, "any": False, "all": True, "scan_sum": 0,
    "max": -math.inf, "min": math.inf, "argmax": -math.inf, "argmax_last": -math.inf,
    "argmin": math.inf, "argmin_last": math.inf,
}  # fmt: skip

SUBGROUP = {"sum": "Add", "prod": "Mul", "max": "Max", "min": "Min", "any": "Any", "all": "All"}


class LoopPrinter:
    """Prints one collapsed loop by one schedule, with subgroups where it may and can use them."""

    def __init__(self, loop: Loop, plan: Schedule, subgroups: bool = False) -> None:
        self.plan, self.subgroups = plan, subgroups
        sizes = [v.args[1] for v in loop.axes]
        leaves = list(loop.axes)
        if plan.wide:
            last = loop.axes[-1]
            leaves[-1] = var(f"{last.args[0]}4", as_dim(lift(last.args[1]) // 4))
            sizes[-1] = leaves[-1].args[1]
            loop = rewrite(loop, {last: leaves[-1] * 4 + LANE})
        if plan.fours:
            last = loop.reduce[-1]
            fours = var(f"{last.args[0]}4", as_dim(lift(last.args[1]) // 4))
            loop = rewrite(loop, {last: fours * 4 + LANE}, reduce=(*loop.reduce[:-1], fours))
        self.loop, self.leaves, self.sizes = loop, leaves, sizes
        accesses = [(e.args[0], e.args[1]) for e in loads(loop)] + [
            (s.slot, s.index) for s in loop.stores
        ]
        self.d = Wgsl(loop.name, loop.slots, accesses)
        self.d.wide_acc = plan.wide
        self.names: dict[Expr, str] = {}
        self.kept: list[dict[Expr, str]] = []  # what is in registers, for each element of `kept`
        self.guarded = False  # whether the last of these may lie beyond the row
        self.lines: list[str] = []
        self.shared: dict[str, str] = {}  # workgroup arrays: name -> element type
        self.indent = 1

    def put(self, *lines: str) -> None:
        """Appends lines, indented by their braces."""
        for line in lines:
            if line.startswith("}"):
                self.indent -= 1
            self.lines.append("  " * self.indent + line)
            if line.endswith("{"):
                self.indent += 1

    def print(self) -> Printed:
        """The kernel's text: coordinates, stages, stores."""
        loop, plan, d = self.loop, self.plan, self.d
        outputs = as_dim(product(self.sizes))
        group = plan.lanes * plan.threads
        grid, width = linear_grid(ceil_div(outputs, plan.lanes))
        index = "wg.x" if width is None else f"(wg.y * u32({self.text(width)}) + wg.x)"
        if plan.threads == 1:
            self.put(f"let id = i32({index} * {group}u + local);")
            self.put(f"if (id >= {self.text(outputs)}) {{ return; }}")
        else:
            fast, slow = ("thread", "lane") if plan.rows else ("lane", "thread")
            count = plan.threads if plan.rows else plan.lanes
            self.put(f"let {fast} = i32(local % {count}u);")
            self.put(f"let {slow} = i32(local / {count}u);")
            self.put(f"let slot = thread * {plan.lanes} + lane;")
            self.put(f"let wanted = i32({index}) * {plan.lanes} + lane;")
            self.put(f"let live = wanted < {self.text(outputs)};")
            self.put("let id = select(0, wanted, live);")
        if self.subgroups:
            self.put("let mates = i32(subgroupAdd(1u));")
            self.put("let rank = i32(subgroupExclusiveAdd(1u));")
        self.split("id", self.leaves, self.names, "i")
        if plan.kept:
            self.open_kept()
        for k, stage in enumerate(loop.stages):
            if stage.monoid != "scan_sum" or not self.rows():
                self.stage(k)
        self.finish()
        arrays = (f"var<workgroup> {n}: array<{t}, {group}>;" for n, t in self.shared.items())
        main = [
            *arrays,
            f"@compute @workgroup_size({group})",
            "fn main(@builtin(workgroup_id) wg: vec3<u32>,",
            "        @builtin(local_invocation_index) local: u32) {",
            *self.lines,
            "}",
        ]
        each = sum(cost(e) + 1 for s in loop.stages for e in s.exprs)
        return d.printed(f"{loop.name}__{plan}", "\n".join(main), "", grid, self.flops(each))

    def flops(self, each: int) -> Any:
        """Rough floating-point operations of one launch."""
        length = times(*(v.args[1] for v in self.loop.reduce))
        rows = sum(cost(s.value) for s in self.loop.stores if is_row(s, self.loop))
        once = sum(cost(s.value) for s in self.loop.stores if not is_row(s, self.loop))
        if self.plan.fours:
            length = times(length, 4)
        return times(
            *self.sizes, 4 if self.plan.wide else 1, plus(times(length, each + rows), once)
        )

    def text(self, e: Dim) -> str:
        """A size as text: a literal or a parameter."""
        e = lift(e)
        names = dict(self.names)
        self.d.block([e], names)
        return names[e]

    def rows(self) -> list[Store]:
        """The stores that run over the reduce axes."""
        return [s for s in self.loop.stores if is_row(s, self.loop)]

    def split(self, flat: str, leaves: Sequence[Expr], names: dict[Expr, str], letter: str) -> None:
        """Names the coordinates that the number `flat` stands for, by position: kernels whose axes
        only have other names are one."""
        if len(leaves) == 1:
            names[leaves[0]] = flat
            return
        source = counter(flat)
        scope = {source: flat}
        for k, (leaf, e) in enumerate(digits(source, leaves).items()):
            self.d.block([e], scope)
            names[leaf] = f"{letter}{k}"
            self.put(f"let {names[leaf]} = {scope[e]};")

    def open_loops(self, names: dict[Expr, str], begin: str = "thread") -> int:
        """Opens the loops over the reduce axes, from `begin` on where invocations share them;
        returns how many braces to close."""
        reduce = self.loop.reduce
        if self.plan.threads == 1:
            for k, v in enumerate(reduce):
                name = f"r{k}"
                self.put(f"for (var {name} = 0; {name} < {self.text(v.args[1])}; {name}++) {{")
                names[v] = name
            return len(reduce)
        total = product([v.args[1] for v in reduce])
        self.put(f"for (var r = {begin}; r < {self.text(total)}; r += {self.plan.threads}) {{")
        self.split("r", reduce, names, "r")
        return 1

    def share(
        self,
        monoid: str,
        dtypes: Sequence[str],
        parts: Sequence[str],
        exprs: Sequence[Expr],
        wide: bool,
    ) -> None:
        """Combines an invocation's share of a reduction. AT_ONCE elements are read before they are
        combined, in their order, as memory takes its time to answer."""
        reduce, step = self.loop.reduce, self.plan.threads
        total = product([v.args[1] for v in reduce])

        def read(names: dict[Expr, str], j: int) -> list[str]:
            """Names for the values of one element."""
            self.put(*self.d.block(list(exprs), names, f"t{j}_"))
            texts = [self.d.splat(names[e], e, wide) for e in exprs]
            self.put(*(f"let x{j}_{k} = {text};" for k, text in enumerate(texts)))
            return [f"x{j}_{k}" for k in range(len(texts))]

        begin = "thread"
        if step > 1 and upper(total) >= AT_ONCE * step:
            begin = f"first_{parts[0]}"
            last = f"{self.text(total)} - {(AT_ONCE - 1) * step}"
            self.put(f"var {begin} = thread;")
            self.put(f"for (; {begin} < {last}; {begin} += {AT_ONCE * step}) {{")
            found = []
            for j in range(AT_ONCE):
                names = dict(self.names)
                self.put(f"let e{j} = {begin} + {j * step};")
                self.split(f"e{j}", reduce, names, f"e{j}_")
                found.append(read(names, j))
            for values in found:
                self.put(*self.combine(monoid, dtypes, parts, values, wide))
            self.put("}")
        names = dict(self.names)
        braces = self.open_loops(names, begin)
        self.put(*self.d.block(list(exprs), names))
        values = [self.d.splat(names[e], e, wide) for e in exprs]
        self.put(*self.combine(monoid, dtypes, parts, values, wide))
        for _ in range(braces):
            self.put("}")

    def open_kept(self) -> None:
        """Where in its row each element lies that an invocation keeps."""
        reduce, plan = self.loop.reduce, self.plan
        total = product([v.args[1] for v in reduce])
        self.guarded = total != plan.kept * plan.threads
        for j in range(plan.kept):
            self.put(f"let e{j} = thread + {j * plan.threads};")
            names: dict[Expr, str] = {}
            self.split(f"e{j}", reduce, names, f"e{j}_")
            self.kept.append(names)

    def inside(self, j: int) -> str:
        """Whether element j of those that are kept lies in the row."""
        return f"e{j} < {self.text(product([v.args[1] for v in self.loop.reduce]))}"

    def keep(self, j: int, exprs: Sequence[Expr]) -> list[str]:
        """The texts of expressions at element j; what they read, and they themselves, are named."""
        names = self.kept[j]
        names |= self.names
        of_row = set(self.loop.reduce)
        reads = [e for e in walk(*exprs) if e.op in ("load", "load4") and free(e) & of_row]
        for e in (*reads, *exprs):
            if e in names:
                continue
            self.put(*self.d.block([e], names, f"t{j}_"))
            if free(e) & of_row:
                name = f"x{j}_{sum(text.startswith(f'x{j}_') for text in names.values())}"
                self.put(f"let {name} = {names[e]};")
                names[e] = name
        return [names[e] for e in exprs]

    def stage(self, k: int) -> None:
        """A reduction: each invocation's share, then those of the workgroup."""
        stage, plan = self.loop.stages[k], self.plan
        dtypes = [e.dtype for e in stage.exprs]
        accs = [f"a{k}_{j}" for j in range(len(dtypes))]
        parts = [f"w{k}"] if plan.fours else accs
        wide = plan.wide or plan.fours
        none = [
            f"{vector(T, wide)}({e})" for T, e in zip(dtypes, self.identity(stage.monoid, dtypes))
        ]
        self.put(*(f"var {part} = {e};" for part, e in zip(parts, none, strict=True)))
        exprs = [self.d.lower(e) for e in stage.exprs]
        for j in range(plan.kept):
            values = [
                self.d.splat(text, e, wide)
                for text, e in zip(self.keep(j, exprs), exprs, strict=True)
            ]
            if self.guarded:
                inside = self.inside(j)
                values = [
                    f"select({e}, {value}, {inside})" for e, value in zip(none, values, strict=True)
                ]
            self.put(*self.combine(stage.monoid, dtypes, parts, values, wide))
        if not plan.kept:
            self.share(stage.monoid, dtypes, parts, exprs, wide)
        if plan.fours:
            self.put(f"var {accs[0]} = w{k}.x;")
            for c in "yzw":
                self.put(*self.combine(stage.monoid, dtypes, accs, [f"w{k}.{c}"], False))
        results = accs
        if plan.threads > 1:
            results = [f"r{k}_{j}" for j in range(len(dtypes))]
            if self.subgroups and stage.monoid in SUBGROUP:
                self.by_subgroups(k, stage.monoid, dtypes[0])
            else:
                self.by_tree(k, stage.monoid, dtypes)
            if k + 1 < len(self.loop.stages):
                self.put("workgroupBarrier();")
        for j, (result, value) in enumerate(zip(results, stage.exprs, strict=True)):
            self.names[make("acc", (k, j), value.dtype)] = result

    def by_tree(self, k: int, monoid: str, dtypes: Sequence[str]) -> None:
        """r<k> of the workgroup's a<k>: half of the invocations take over the other half's."""
        plan, parts = self.plan, self.parts(dtypes)
        self.put(*(f"{p}[slot] = a{k}_{j};" for j, p in enumerate(parts)))
        self.put("workgroupBarrier();")
        self.put(f"for (var half = {plan.threads // 2}; half > 0; half >>= 1u) {{")
        self.put("if (thread < half) {")
        mine = [f"{p}[slot]" for p in parts]
        other = [f"{p}[slot + half * {plan.lanes}]" for p in parts]
        self.put(*self.combine(monoid, dtypes, mine, other, plan.wide))
        self.put("}", "workgroupBarrier();", "}")
        self.put(*(f"let r{k}_{j} = {p}[lane];" for j, p in enumerate(parts)))

    def by_subgroups(self, k: int, monoid: str, T: str) -> None:
        """r<k> of the workgroup's a<k>: the first of each subgroup leaves its result in workgroup
        memory and all others the identity, as nobody knows which subgroups there are; then every
        subgroup combines all of them. Floats are compared as integers, for the sake of NaN."""
        share, result = f"a{k}_0", "{}"
        if T == "f32" and monoid in ("max", "min"):
            nan = "2147483647" if monoid == "max" else "(-2147483648)"
            T, share, result = "i32", f"order({share}, {nan})", "unorder({})"
        [part], combine = self.parts([T]), f"subgroup{SUBGROUP[monoid]}"
        self.put(
            f"let s{k} = {combine}({share});",
            f"{part}[thread] = select({self.identity(monoid, [T])[0]}, s{k}, rank == 0);",
            "workgroupBarrier();",
            f"var t{k} = {part}[rank];",
            f"for (var i = rank + mates; i < {self.plan.threads}; i += mates) {{",
            *self.combine(monoid, [T], [f"t{k}"], [f"{part}[i]"], False),
            "}",
            f"let r{k}_0 = {result.format(f'{combine}(t{k})')};",
        )

    def parts(self, dtypes: Sequence[str]) -> list[str]:
        """Workgroup arrays for one accumulator each; every stage uses the same ones."""
        out: list[str] = []
        for T in dtypes:
            name = f"part_{T}_{sum(o.startswith(f'part_{T}_') for o in out)}"
            self.shared[name] = T
            out.append(name)
        return out

    def identity(self, monoid: str, dtypes: Sequence[str]) -> list[str]:
        """What the accumulators start with."""
        value, T = IDENTITY[monoid], dtypes[0]
        if isinstance(value, float) and math.isinf(value) and T != "f32":
            info = np.iinfo(np.int32 if T == "i32" else np.uint32)
            value = int(info.min if value < 0 else info.max)
        out = [self.d.const(lift(float(value) if T == "f32" else value, T))]
        if len(dtypes) == 2:
            out.append("-1" if monoid.endswith("_last") else "2147483647")
        return out

    def combine(
        self, monoid: str, dtypes: Sequence[str], a: Sequence[str], b: Sequence[str], wide: bool
    ) -> list[str]:
        """Lines that combine b into a, four lanes each if `wide`."""
        v = "4" if wide else ""
        if monoid in ("max", "min"):
            f = f"{monoid}_{v}" if dtypes[0] == "f32" else monoid
            return [f"{a[0]} = {f}({a[0]}, {b[0]});"]
        if len(dtypes) == 1:
            sign = {"sum": "+", "scan_sum": "+", "prod": "*", "any": "|", "all": "&"}[monoid]
            return [f"{a[0]} = {a[0]} {sign} {b[0]};"]
        kind = monoid.removeprefix("arg")
        if dtypes[0] == "f32":
            wins = f"wins_{kind}{v}({b[0]}, {b[1]}, {a[0]}, {a[1]})"
        else:
            sign, tie = (">" if "max" in kind else "<"), (">" if kind.endswith("last") else "<")
            wins = f"({b[0]} {sign} {a[0]}) | (({b[0]} == {a[0]}) & ({b[1]} {tie} {a[1]}))"
        return [
            "{",
            f"let wins = {wins};",
            f"{a[0]} = select({a[0]}, {b[0]}, wins);",
            f"{a[1]} = select({a[1]}, {b[1]}, wins);",
            "}",
        ]

    def finish(self) -> None:
        """The stores: once per output, then those of the row."""
        d, plan, loop = self.d, self.plan, self.loop
        rows = self.rows()
        once = [s for s in loop.stores if s not in rows]
        if once:
            if plan.threads > 1:
                self.put("if (live && thread == 0) {")
                self.put(*d.stores(once, self.names))
                self.put("}")
            else:
                self.put(
                    *(["{"] if rows else []), *d.stores(once, self.names), *(["}"] if rows else [])
                )
        if not rows:
            return
        if plan.threads > 1:
            self.put("if (live) {")
        scans = [(k, s) for k, s in enumerate(loop.stages) if s.monoid == "scan_sum"]
        for k, s in scans:
            T = s.exprs[0].dtype
            self.put(f"var a{k}_0 = {vector(T, plan.wide)}(0);")
        for j in range(plan.kept):
            self.put(f"if ({self.inside(j)}) {{" if self.guarded else "{")
            self.put(*d.stores(rows, self.kept[j] | self.names), "}")
        names = dict(self.names)
        braces = 0 if plan.kept else self.open_loops(names)
        for k, s in scans:
            e = d.lower(s.exprs[0])
            self.put(*d.block([e], names))
            self.put(f"a{k}_0 += {d.splat(names[e], e, plan.wide)};")
            names[make("acc", (k, 0), s.exprs[0].dtype)] = f"a{k}_0"
        if not plan.kept:
            self.put(*d.stores(rows, names))
        for _ in range(braces):
            self.put("}")
        if plan.threads > 1:
            self.put("}")


def print_loop(loop: Loop) -> Printed:
    """A Loop by its schedule, with texts for devices with subgroups where these save barriers."""
    loop = collapse(loop)
    plan = schedule(loop)
    printed = LoopPrinter(loop, plan).print()
    if plan.threads == 1 or plan.lanes > 1 or all(s.monoid not in SUBGROUP for s in loop.stages):
        return printed
    return with_subgroups(printed, LoopPrinter(loop, plan, subgroups=True).print())


def with_subgroups(printed: Printed, fast: Printed) -> Printed:
    """A kernel with texts for devices that have subgroups."""
    texts = {"subgroups": fast.code, **{f"{k}+subgroups": v for k, v in fast.variants.items()}}
    texts = {features: f"enable subgroups;\n{code}" for features, code in texts.items()}
    return replace(printed, variants={**printed.variants, **texts})


class RowStages:
    """The stages of one row, within a kernel that is printed otherwise and whose expressions have
    the result of stage k as acc(`first` + k, 0): all of a workgroup's invocations take part.

    `accesses` are what that kernel must declare."""

    def __init__(self, kernel: Instance, threads: int, subgroups: bool, first: int) -> None:
        results = [make("acc", (k, 0), s.exprs[0].dtype) for k, s in enumerate(kernel.stages)]
        known = {make("acc", (first + k, 0), e.dtype): e for k, e in enumerate(results)}
        stages = tuple(
            Stage(s.monoid, tuple(substitute(e, known) for e in s.exprs)) for s in kernel.stages
        )
        row = Loop(kernel.name, (), kernel.reduce, stages, (), kernel.slots)
        length = upper(product([v.args[1] for v in row.reduce]))
        fours = multiple_of(lift(row.reduce[-1].args[1]), 4)
        kept = -(-(length // 4 if fours else length) // threads)
        plan = Schedule(1, threads, False, True, fours, kept if kept <= KEPT else 0)
        self.printer = LoopPrinter(row, plan, subgroups)
        self.accesses = [(e.args[0], e.args[1]) for e in loads(self.printer.loop)]

    def lines(self, d: Wgsl) -> tuple[list[str], list[str]]:
        """Declarations, and the lines that leave stage k's result in the private variable
        stage<k>."""
        p = self.printer
        p.d = d
        p.put("{", "let thread = local;", "let lane = 0;", "let slot = local;")
        if p.subgroups:
            p.put("let mates = i32(subgroupAdd(1u));", "let rank = i32(subgroupExclusiveAdd(1u));")
        if p.plan.kept:
            p.open_kept()
        stages = range(len(p.loop.stages))
        for k in stages:
            p.stage(k)
        p.put(*(f"stage{k} = r{k}_0;" for k in stages), "}")
        types = [stage.exprs[0].dtype for stage in p.loop.stages]
        head = [f"var<private> stage{k}: {types[k]};" for k in stages]
        head += [f"var<workgroup> {n}: array<{T}, {p.plan.threads}>;" for n, T in p.shared.items()]
        return head, p.lines
