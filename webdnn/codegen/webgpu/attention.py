"""Attention as WGSL: the functions that its templates call, and which of them a kernel takes.

Scores never reach memory: keys are gone through in order, with the largest score so far (Milakov
and Gimelshein, "Online normalizer calculation for softmax", 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import WebDNNError
from ...expr import Expr, acc, as_dim, cost, product, substitute, upper, var, walk
from ...schedule.kernel import Instance, Store
from ..template import render
from .dialect import LANE, Printed, Wgsl, ceil_div, counter, digits, template, times
from .limits import LIMITS

FEW = 8  # queries, of which each has a workgroup of its own, or several
MANY = 1024  # workgroups, with which a device is full
ENOUGH = 128  # of few queries, each with a slice of the keys, of which it has SHORTEST
SHORTEST = 64
LEAST, MOST = 4, 16  # slices that are worth adding up, and how many add up quickly


def slices_of_keys(kernel: Instance) -> int:
    """Into how many slices the keys of an attention are cut, at its largest sizes."""
    v = kernel.vars
    rows, keys = upper(v["m"].args[1]), upper(v["t"].args[1])
    if rows > FEW:
        return 1
    groups = rows * upper(product([v[name].args[1] for name in ("b0", "b1") if name in v]))
    slices = min(keys // SHORTEST, -(-ENOUGH // groups), MOST)
    return slices if slices >= LEAST else 1


# Accumulators of an attention's stores.
SUM, BESIDE, KEY, VALUE = (0, 0), (2, 0), (3, 1), (3, 2)


def braced(head: str, lines: Sequence[str]) -> str:
    """A function of these lines."""
    return "\n".join([f"fn {head} {{", *("  " + line for line in lines), "}"])


def print_attention(kernel: Instance) -> Printed:
    """An `attention` instance."""
    v = kernel.vars
    rows, keys = v["m"].args[1], v["t"].args[1]
    outer = [v[name] for name in ("b0", "b1") if name in v]
    few = upper(rows) <= FEW
    schedule = "attention_row" if few else "attention_tile"
    groups = product([o.args[1] for o in outer])
    grid = (rows if few else ceil_div(rows, 16), kernel.slices, as_dim(groups))
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
    if kernel.slices > 1:
        names[v["slice"]] = "slice"
        lines.append("slice = i32(wg.y);")
    for o, e in digits(counter("z"), outer).items():
        lines += [*d.block([e], scope), f"{names[o]} = {scope[e]};"]

    def returned(e: Expr, scope: dict[Expr, str], wide: bool) -> list[str]:
        """Lines that return a value; of what is chosen for all lanes, the other is not read."""
        if e.op != "select" or d.wide(e.args[0]) or all(x.op != "load4" for x in walk(e)):
            return [*d.block([e], scope), f"return {d.splat(scope[e], e, wide)};"]
        condition, one, other = e.args
        lines = d.block([condition], scope)
        inside = returned(one, dict(scope), wide)
        return [
            *lines,
            f"if ({scope[condition]}) {{",
            *("  " + line for line in inside),
            "}",
            *returned(other, scope, wide),
        ]

    def function(head: str, root: Expr, known: Mapping[Expr, str], wide: bool) -> str:
        return braced(head, returned(d.lower(root), {**names, **known}, wide))

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
    of: dict[tuple[int, int], list[Store]] = {}  # stores, by what they store
    for store in stores:
        passed = store.value.op == "acc" and store.value.args[0] > 1
        which = store.value.args if passed else SUM
        of.setdefault(BESIDE if which[0] == BESIDE[0] else which, []).append(store)

    def stored(head: str, which: tuple[int, int], known: Mapping[Expr, str]) -> None:
        if which in of:
            functions.append(braced(head, d.stores(of[which], {**names, **known})))

    beside = {acc(2, 0, "f32"): "most", acc(2, 1, "f32"): "total"}
    stored("conclude(m: i32, most: f32, total: f32)", BESIDE, {m: "m", **beside})
    d.wide_acc = True
    d._width.clear()
    for name, which, column, at in (("k", KEY, "dq", quad), ("v", VALUE, "nq", nq)):
        known = {t: "t", at: column, acc(*which, "f32"): "x"}
        stored(f"keep_{name}(t: i32, {column}: i32, x: vec4<f32>)", which, known)
    stored(
        "finish(m: i32, nq: i32, sum: vec4<f32>)",
        SUM,
        {m: "m", nq: "nq", acc(*SUM, "f32"): "sum"},
    )
    count = upper(grid[0]) * upper(as_dim(groups))
    env = {
        "TM": 2 if count < MANY else 4,
        "D": v["d"].args[1],
        "E": v["n"].args[1],
        "M": d.text(rows),
        "T": d.text(keys),
        "FROM": "0",
        "TO": d.text(keys),
        "SLICED": kernel.slices > 1,
        "KEEPS": "".join(name for name, which in (("k", KEY), ("v", VALUE)) if which in of),
    }
    if kernel.slices > 1:
        share = d.text(ceil_div(keys, kernel.slices))
        lines += [
            f"let begin = i32(wg.y) * {share};",
            f"let end = min(begin + {share}, {env['T']});",
        ]
        env |= {"FROM": "begin", "TO": "end"}
    env["batch"] = "\n".join(lines)
    main = render(template(schedule), env)
    each = 2 * (v["d"].args[1] + v["n"].args[1]) + 8 + round(cost(score))
    flops = times(groups, rows, keys, each)
    name = f"{kernel.name}__{schedule.removeprefix('attention_')}"
    return d.printed(name, main, "\n".join(functions), grid, flops)


__all__ = ["print_attention"]
