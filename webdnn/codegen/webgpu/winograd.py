"""Winograd's transforms as WGSL, and where these and a product are faster than a convolution.

An invocation transforms one channel of a tile: four of them would read wider, but need more
registers than leave a device full.
"""

from __future__ import annotations

from ...expr import Expr, acc, lift, logical_and, product, select, substitute, var
from ...schedule.kernel import Instance, Store
from ..loops import padded
from ..template import render
from .dialect import Printed, Wgsl, ceil_div, counter, digits, linear_grid, template, times
from .gemm import product_time
from .limits import LIMITS

GROUP = 64  # invocations of a workgroup
POINTS = 6  # along an axis
# Least C * M / (C + M): the first is what is saved in arithmetic for each pixel, the second what
# goes through memory. On the device that was measured less paid too, but others are slower there.
WORTH = 32
SAVED = 0.8  # of the time that it would take, since filters take more memory
# Microseconds of a transform beside its traffic, and bytes of that in a microsecond: as in `gemm`.
LAUNCH, TRAFFIC = 4.8, 3.5e6


def winograd_pays(pixels: int, tiles: int, channels: int, filters: int) -> bool:
    """Whether a convolution is faster by Winograd's way: `Target.winograd`."""
    largest = 4 * POINTS**2 * tiles * max(channels, filters)
    if largest > LIMITS.binding or channels * filters < WORTH * (channels + filters):
        return False
    moved = 4 * (POINTS**2 * tiles + pixels) * (channels + filters)
    there = product_time(tiles, filters, channels, POINTS**2, False) + 2 * LAUNCH + moved / TRAFFIC
    return there < SAVED * product_time(pixels, filters, 9 * channels, 1, True)


def print_winograd(kernel: Instance) -> Printed:
    """A `winograd_input` or `winograd_output` instance."""
    v, (top, left) = kernel.vars, kernel.attrs["pad"]
    matrix, size = kernel.attrs["matrix"], kernel.attrs["tile"]
    i, j = var("i", POINTS), var("j", POINTS)
    p, q = var("p", len(matrix)), var("q", len(matrix))
    y, x, there = v["ty"] * size, v["tx"] * size, lift(True)
    put: dict[Expr, Expr]
    if "iy" in v:  # of a picture, with zeros around it
        iy, y_inside = padded(v["iy"].args[1], y + i - top)
        ix, x_inside = padded(v["ix"].args[1], x + j - left)
        read = substitute(kernel.holes["a"], {v["iy"]: iy, v["ix"]: ix})
        read = select(logical_and(y_inside, x_inside), read, 0.0)
        put = {v["at"]: p * POINTS + q}
    else:
        read = substitute(kernel.holes["a"], {v["at"]: i * POINTS + j})
        put = {v["y"]: y + p, v["x"]: x + q}
        there = logical_and(*(put[v[k]] < v[k].args[1] for k in "yx"))
    writes = [
        Store(s.slot, substitute(s.index, put), substitute(s.value, put)) for s in kernel.stores
    ]
    d = Wgsl(kernel.name, kernel.slots, ())
    axes = [v[name] for name in ("b", "ty", "tx", "c")]
    names: dict[Expr, str] = {axis: f"z{k}" for k, axis in enumerate(axes)}
    items = product([axis.args[1] for axis in axes])
    grid, width = linear_grid(ceil_div(items, GROUP))
    scope, point = {counter("id"): "id"}, []
    for axis, e in digits(counter("id"), axes).items():
        point += [*d.block([e], scope), f"{names[axis]} = {scope[e]};"]

    read = d.lower(read)
    scope = {**names, i: "i", j: "j"}
    load = [*d.block([read], scope), f"return {scope[read]};"]
    scope = {**names, p: "p", q: "q", acc(0, 0, "f32"): "value"}
    store = d.block([there], scope)
    if there is not lift(True):
        store.append(f"if (!{scope[there]}) {{ return; }}")
    store += d.stores(writes, scope)
    functions = [f"var<private> {name}: i32;" for name in names.values()]
    for head, lines in (
        ("fn load(i: i32, j: i32) -> f32", load),
        ("fn put(p: i32, q: i32, value: f32)", store),
    ):
        functions.append("\n".join([head + " {", *("  " + line for line in lines), "}"]))
    group = "i32(wg.x)" if width is None else f"(i32(wg.y) * {d.text(width)} + i32(wg.x))"
    env = {
        "matrix": matrix,
        "GROUP": GROUP,
        "POINTS": POINTS,
        "group": group,
        "items": d.text(items),
        "point": "\n".join(point),
    }
    main = render(template("winograd_transform"), env)
    terms = sum(1 for row in matrix for factor in row if factor)
    flops = times(items, 2 * terms * (POINTS + len(matrix)))
    return d.printed(kernel.name, main, "\n".join(functions), grid, flops)


__all__ = ["print_winograd", "winograd_pays"]
