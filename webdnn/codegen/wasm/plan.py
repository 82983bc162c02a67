"""Where buffers lie in the one arena of the wasm target, by their lifetimes.

    weights | inputs | outputs | states | prepared weights and temporaries packed by lifetime

Inputs and outputs are never reused, so a second run without refilling gives the same result; states
keep their memory from run to run. Weights that no run reads, but only what prepares them, are in
use until then: what is prepared later, and temporaries, may lie there. Sizes are upper bounds where
they are symbolic: the plan is static.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from ...schedule.kernel import Program, Step
from ...schedule.plan import align, lifetimes, nbytes

PACK = 64  # of buffers in the arena: a cache line
LOADED = -1  # before the first step: the weights arrive


@dataclass
class Arena:
    """Byte addresses of buffers, relative to the arena, and its size."""

    address: dict[int, int]
    size: int


def plan_arena(
    program: Program, weights: dict[int, int], weight_bytes: int, keep: bool = False
) -> Arena:
    """Addresses for the wasm target; `weights`: offset of each weight buffer in the blob.

    Prepared weights and then temporaries are placed largest first, each at the lowest address that
    is free during its lifetime; with `keep` no temporary shares memory with another.
    """
    buffers = program.buffers
    live = spans(program)
    address = dict(weights)
    # start, end, first, last: of the blob, what a step reads
    placed = [
        (at, at + align(nbytes(buffers[b]), PACK), *live[b])
        for b, at in weights.items()
        if b in live
    ]
    fixed = top = align(weight_bytes, PACK)
    for tensor in (*program.inputs, *program.outputs, *program.states):
        if tensor.buffer not in address:
            address[tensor.buffer] = top
            top = align(top + nbytes(buffers[tensor.buffer]), PACK)
    end = len(program.prepare) + len(program.steps)
    placed = sorted([*placed, (fixed, top, LOADED, end)])
    for kind in ("prepared", "temp"):
        chosen = [b for b in live if buffers[b].kind == kind]
        for b in sorted(chosen, key=lambda b: (-nbytes(buffers[b]), live[b])):
            first, last = (len(program.prepare), end) if keep and kind == "temp" else live[b]
            need = align(nbytes(buffers[b]), PACK)
            at = 0
            for start, stop, begun, over in placed:
                if begun <= last and first <= over:
                    if at + need <= start:
                        break
                    at = max(at, stop)
            insort(placed, (at, at + need, first, last))
            address[b] = at
            top = max(top, at + need)
    return Arena(address, top)


def largest_first(program: Program) -> list[Step]:
    """The steps of `prepare`, those that read the largest weights first; what one makes for another
    keeps them together.

    A weight that has been read leaves its memory to what is prepared later: the last is the one
    that leaves it to nobody.
    """
    buffers = program.buffers
    groups: list[tuple[set[int], list[Step]]] = []  # prepared weights, and what makes them
    for step in program.prepare:
        places = {b for b in step.buffers if buffers[b].kind == "prepared"}
        joined = [g for g in groups if g[0] & places]
        groups = [g for g in groups if not g[0] & places]
        steps = [s for _, earlier in joined for s in earlier]
        groups.append((places.union(*(g[0] for g in joined)), [*steps, step]))

    def size(group: tuple[set[int], list[Step]]) -> int:
        read = {b for step in group[1] for b in step.buffers} - group[0]
        return sum(nbytes(buffers[b]) for b in read)

    return [s for _, steps in sorted(groups, key=size, reverse=True) for s in steps]


def spans(program: Program) -> dict[int, tuple[int, int]]:
    """First and last step that need each weight, prepared weight and temporary to be as it is.

    The steps of `Program.prepare` come before the others. Weights are there from the start, and
    what a run reads and does not compute stays.
    """
    before = len(program.prepare)
    end = before + len(program.steps)
    out = {b: (first + before, last + before) for b, (first, last) in lifetimes(program).items()}
    read = {b for step in program.steps for b in step.buffers} - out.keys()
    for k, step in enumerate(program.prepare):
        for b in step.buffers:
            out[b] = (out.get(b, (k, k))[0], k)
    for b in {*out, *read}:
        kind = program.buffers[b].kind
        if kind in ("weight", "prepared"):
            first, last = out.get(b, (LOADED, end))
            out[b] = (LOADED if kind == "weight" else first, end if b in read else last)
    return out


__all__ = ["Arena", "largest_first", "plan_arena", "spans"]
