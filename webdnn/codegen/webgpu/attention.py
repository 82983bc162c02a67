"""Attention as WGSL: the functions that its templates call, and which of them a kernel takes.

Scores never reach memory: keys are gone through in order, with the largest score so far (Milakov
and Gimelshein, "Online normalizer calculation for softmax", 2018).
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import WebDNNError
from ...expr import Expr, acc, as_dim, cost, product, substitute, upper, var, walk
from ...schedule.kernel import Instance, Store
from ..template import render
from .dialect import LANE, Printed, Wgsl, ceil_div, counter, digits, template, times
from .limits import LIMITS

FEW = 8  # queries, of which each has a workgroup of its own
MANY = 1024  # workgroups, with which a device is full


def print_attention(kernel: Instance) -> Printed:
    """An `attention` instance."""
    v = kernel.vars
    rows, keys = v["m"].args[1], v["t"].args[1]
    outer = [v[name] for name in ("b0", "b1") if name in v]
    few = upper(rows) <= FEW
    schedule = "attention_row" if few else "attention_tile"
    groups = product([o.args[1] for o in outer])
    grid = (rows if few else ceil_div(rows, 16), 1, as_dim(groups))
    if any(upper(size) > LIMITS.groups for size in grid):
        raise WebDNNError(
            f"kernel {kernel.name}: a grid of {grid} workgroups, "
            f"WebGPU allows {LIMITS.groups} per axis"
        )
    quad, nq = var("dq", v["d"].args[1] // 4), var("nq", v["n"].args[1] // 4)
    fours = {v["d"]: quad * 4 + LANE, v["n"]: nq * 4 + LANE}
    holes = {name: substitute(kernel.holes[name], fours) for name in ("q", "k", "v")}
    score = kernel.holes["score"]
    stores = [
        Store(s.slot, substitute(s.index, fours), substitute(s.value, fours)) for s in kernel.stores
    ]
    roots = [*holes.values(), score, *(e for s in stores for e in (s.index, s.value))]
    accesses = [(e.args[0], e.args[1]) for e in walk(*roots) if e.op == "load"]
    d = Wgsl(kernel.name, kernel.slots, accesses + [(s.slot, s.index) for s in stores])
    names = {o: f"z{k}" for k, o in enumerate(outer)}
    scope, lines = {counter("z"): "i32(wg.z)"}, []
    for o, e in digits(counter("z"), outer).items():
        lines += [*d.block([e], scope), f"{names[o]} = {scope[e]};"]

    def function(head: str, root: Expr, known: Mapping[Expr, str], wide: bool) -> str:
        e = d.lower(root)
        scope = {**names, **known}
        lines = [*d.block([e], scope), f"return {d.splat(scope[e], e, wide)};"]
        return "\n".join([f"fn {head} {{", *("  " + line for line in lines), "}"])

    m, t, dot = v["m"], v["t"], acc(1, 0, "f32")
    functions = [
        *(f"var<private> {name}: i32;" for name in names.values()),
        *(
            function(f"load_{name}({row}: i32, {column}: i32) -> vec4<f32>", holes[name], at, True)
            for name, row, column, at in (
                ("q", "m", "dq", {m: "m", quad: "dq"}),
                ("k", "t", "dq", {t: "t", quad: "dq"}),
                ("v", "t", "nq", {t: "t", nq: "nq"}),
            )
        ),
        function(
            "score(m: i32, t: i32, product: f32) -> f32",
            score,
            {m: "m", t: "t", dot: "product"},
            False,
        ),
    ]
    d.wide_acc = True
    d._width.clear()
    known = {**names, m: "m", nq: "nq", acc(0, 0, "f32"): "sum"}
    writes = "\n  ".join(d.stores(stores, known))
    functions.append(f"fn finish(m: i32, nq: i32, sum: vec4<f32>) {{\n  {writes}\n}}")
    count = upper(grid[0]) * upper(as_dim(groups))
    env = {
        "TM": 2 if count < MANY else 4,
        "D": v["d"].args[1],
        "E": v["n"].args[1],
        "M": d.text(rows),
        "T": d.text(keys),
        "batch": "\n".join(lines),
    }
    main = render(template(schedule), env)
    each = 2 * (v["d"].args[1] + v["n"].args[1]) + 8 + round(cost(score))
    flops = times(groups, rows, keys, each)
    name = f"{kernel.name}__{schedule.removeprefix('attention_')}"
    return d.printed(name, main, "\n".join(functions), grid, flops)


__all__ = ["print_attention"]
