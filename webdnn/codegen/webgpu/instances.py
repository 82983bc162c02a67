"""Prints templates that are not WebDNN's own: what docs/extending.md promises to their text."""

from __future__ import annotations

from ...expr import Expr, cost, product, walk
from ...schedule.kernel import Instance
from ..loops import points
from ..template import render_own
from .dialect import Printed, Wgsl, ceil_div, counter, digits, linear_grid, times

GROUP = 64  # invocations of a workgroup, each for one point of the result


def print_general(kernel: Instance) -> Printed:
    """The WGSL of a template's kernel; each hole, and the stores, become a function."""
    assert kernel.folder is not None
    values = [e for s in kernel.stores for e in (s.index, s.value)]
    loads = [e for e in walk(*kernel.holes.values(), *values) if e.op == "load"]
    accesses = [(e.args[0], e.args[1]) for e in loads]
    d = Wgsl(kernel.name, kernel.slots, accesses + [(s.slot, s.index) for s in kernel.stores])
    names = {v: name for name, v in kernel.vars.items()}
    functions: dict[str, str] = {}

    def taken(*roots: Expr) -> list[str]:
        used = set(walk(*roots))
        return [name for v, name in names.items() if v in used]

    def hole(name: str) -> str:
        e = d.lower(kernel.holes[name])
        scope, params = dict(names), taken(kernel.holes[name])
        lines = [*d.block([e], scope), f"return {scope[e]};"]
        typed = ", ".join(f"{v}: i32" for v in params)
        functions[name] = (
            f"fn hole_{name}({typed}) -> {e.dtype} {{\n  " + "\n  ".join(lines) + "\n}"
        )
        return f"hole_{name}({', '.join(params)})"

    def stores() -> str:
        accs = sorted({e for e in walk(*values) if e.op == "acc"}, key=lambda e: e.args)
        scope = {**names, **{e: f"acc{e.args[1]}" for e in accs}}
        lines = d.stores(kernel.stores, scope)
        typed = [f"{v}: i32" for v in taken(*values)] + [f"{scope[e]}: {e.dtype}" for e in accs]
        functions["stores"] = f"fn stores({', '.join(typed)}) {{\n  " + "\n  ".join(lines) + "\n}"
        return f"stores({', '.join([*taken(*values), *(scope[e] for e in accs)])});"

    where = points(kernel)
    items = product([v.args[1] for v in where])
    grid, width = linear_grid(ceil_div(items, GROUP))
    group = "i32(wg.x)" if width is None else f"(i32(wg.y) * {d.text(width)} + i32(wg.x))"
    scope = {counter("item"): "item"}
    point = [f"let item = {group} * {GROUP} + i32(local);"]
    point.append(f"if (item >= {d.text(items)}) {{ return; }}")
    for v, e in digits(counter("item"), where).items():
        point += [*d.block([e], scope, "d"), f"let {names[v]} = {scope[e]};"]
    env = {
        "attrs": kernel.attrs,
        "size": lambda name: d.text(kernel.vars[name].args[1]),
        "point": "\n".join(point),
        "hole": hole,
        "stores": stores,
    }
    main = render_own(kernel.folder / f"{kernel.template}.wgsl", env)
    main = f"@compute @workgroup_size({GROUP})\n{main}"
    inner = product([kernel.vars[name].args[1] for name in kernel.sums])
    each = sum(cost(e) + 1 for e in kernel.holes.values())
    flops = times(items, inner, each)
    return d.printed(kernel.name, main, "\n".join(functions.values()), grid, flops)


__all__ = ["print_general"]
