"""Recurrent cells in WGSL: how they are cut into invocations, and the holes of their template.

>>> split(128, 4)
Split(threads=256, groups=32, parts=8, own=1)

A workgroup must hold the state of all hidden units, and 256 invocations own 1024 of them, four
each; beyond that each owns several groups of four.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import WebDNNError
from ...expr import Expr, acc, cost, lift, substitute, var, walk
from ...schedule.kernel import Instance, Store
from ..template import render
from .dialect import LANE, Printed, Wgsl, linear_grid, template, times, vector
from .limits import LIMITS

THREADS = LIMITS.invocations
MEMORY = LIMITS.workgroup


@dataclass(frozen=True)
class Split:
    """How one workgroup shares the work: groups of four hidden units, `parts` invocations for the
    depth of each product, `own` groups for each invocation."""

    threads: int
    groups: int
    parts: int
    own: int


def split(hidden: int, gates: int) -> Split:
    """The split for a number of hidden units: parts balance the products and adding them up."""
    groups = -(-hidden // 8) * 2
    parts = 1
    while (
        groups * parts * 2 <= THREADS
        and (parts * 2) ** 2 <= hidden
        and groups * (parts * 2 - 1) * gates * 16 + hidden * 8 <= MEMORY
    ):
        parts *= 2
    own = -(-groups // THREADS)
    threads = THREADS if own > 1 else -(-groups * parts // 32) * 32
    return Split(threads, groups, parts, own)


def print_recurrent(kernel: Instance) -> Printed:
    """A `recurrent` instance; raises WebDNNError where the state exceeds workgroup memory."""
    v, holes = kernel.vars, kernel.holes
    hidden, gates = v["j"].args[1], v["g"].args[1]
    cut = split(hidden, gates)
    phases = [(range(gates), "h")]
    if "reset" in holes:
        phases = [(range(gates - 1), "h"), (range(gates - 1, gates), "reset")]
    if hidden * 4 * len(phases) > MEMORY:
        raise WebDNNError(
            f"kernel {kernel.name}: {hidden} hidden units; WebGPU guarantees workgroup memory for "
            f"{MEMORY // 4 // len(phases)}. Use the wasm target"
        )
    q = var("q", -(-hidden // 4))
    lanes = {v["j"]: q * 4 + LANE}
    stores = [
        Store(s.slot, substitute(s.index, lanes), substitute(s.value, lanes)) for s in kernel.stores
    ]
    other = {name: substitute(e, lanes) for name, e in holes.items() if name != "r"}
    roots = [*other.values(), *(e for s in stores for e in (s.index, s.value))]
    accesses = [(e.args[0], e.args[1]) for e in walk(*roots) if e.op == "load"]
    slot = holes["r"].args[0]
    accesses += [(s.slot, s.index) for s in stores] + [(slot, q * 4 + LANE)]
    d = Wgsl(kernel.name, kernel.slots, accesses)
    if hidden % 4:
        d.vec -= {s.slot for s in stores}
    d.wide_acc = True

    def names(o: int) -> dict[Expr, str]:
        known = {v["n"]: "n", v["t"]: "t", q: f"q{o}"}
        known |= {acc(0, g, "f32"): f"s{o}_{g}" for g in range(gates)}
        return known | {acc(1, s, "f32"): f"{'hc'[s]}{o}" for s in range(len(stores))}

    def block(known: dict[Expr, str], values: list[Expr]) -> tuple[list[str], list[str]]:
        """Lines, and the texts of the values, four lanes wide."""
        low = [d.lower(e) for e in values]
        lines = d.block(low, known)
        return lines, [known[e] if d.wide(e) else f"vec4<f32>({known[e]})" for e in low]

    def spread(name: str, o: int, value: str) -> str:
        """Stores four units in workgroup memory, without those beyond the last."""
        lines = []
        for i in range(4):
            guard = f"if (q{o} * 4 + {i} < {hidden}) {{ " if hidden % 4 > 0 and i else ""
            lines.append(
                f"{guard}{name}[q{o} * 4 + {i}] = {value}.{'xyzw'[i]};{' }' if guard else ''}"
            )
        return "\n".join(lines)

    def first(o: int) -> str:
        states = ["h", "c"][: len(stores)]
        lines, texts = block(names(o), [other[s] for s in states])
        return "\n".join([*lines, *(f"{s}{o} = {x};" for s, x in zip(states, texts))])

    def resets(o: int) -> str:
        lines, (text,) = block(names(o), [other["reset"]])
        return "\n".join([*lines, f"let r = {text};", spread("reset", o, "r")])

    def finish(o: int) -> str:
        known, lines = names(o), []
        for s in reversed(range(len(stores))):  # h is computed from c
            more, (text,) = block(known, [stores[s].value])
            lines += [*more, f"let new{s} = {text};"]
            known[d.lower(stores[s].value)] = f"new{s}"
        for s in range(len(stores)):
            lines.append(f"{'hc'[s]}{o} = new{s};")
        done = [
            Store(s.slot, s.index, acc(1, i, "f32")) for i, s in enumerate(stores)
        ]  # the registers, which hold the new states by now
        mask = f"q{o} * 4 + $ < {hidden}" if hidden % 4 else None
        lines += d.stores(done, names(o), mask)
        return "\n".join([*lines, spread("h", o, "new0")])

    element = d.element(slot, f"q / 2 * {2 * gates * hidden} + i + q % 2")
    function = f"fn load_r(q: i32, i: i32) -> {vector('f32', True)} {{ return {element}; }}"
    items = v["n"].args[1]
    grid, width = linear_grid(items)
    env = {
        "H": hidden,
        "G": gates,
        "N": d.text(items),
        "T": d.text(v["t"].args[1]),
        "n": "i32(wg.x)" if width is None else f"i32(wg.y) * {d.text(width)} + i32(wg.x)",
        "threads": cut.threads,
        "groups": cut.groups,
        "PARTS": cut.parts,
        "OWN": cut.own,
        "states": len(stores),
        "phases": phases,
        "reverse": kernel.attrs["reverse"],
        "first": first,
        "finish": finish,
        "resets": resets,
        "spread": spread,
    }
    main = render(template("recurrent"), env)
    each = 2 * gates * hidden * hidden + hidden * math.ceil(sum(cost(s.value) for s in stores))
    flops = times(items, lift(v["t"].args[1]), each)
    return d.printed(f"{kernel.name}__{cut.threads}", main, function, grid, flops)


__all__ = ["Split", "print_recurrent", "split"]
