"""Where buffers lie in the one arena of the wasm target, by their lifetimes.

    weights | inputs | outputs | states | prepared weights | temporaries packed by lifetime

Inputs and outputs are never reused, so a second run without refilling gives the same result; states
keep their memory from run to run. Sizes are upper bounds where they are symbolic: the plan is
static.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...schedule.kernel import Program
from ...schedule.plan import align, lifetimes, nbytes

PACK = 64  # of buffers in the arena: a cache line


@dataclass
class Arena:
    """Byte addresses of buffers, relative to the arena, and its size."""

    address: dict[int, int]
    size: int
    temporaries: int  # bytes that the temporaries share


def plan_arena(
    program: Program, weights: dict[int, int], weight_bytes: int, keep: bool = False
) -> Arena:
    """Addresses for the wasm target; `weights`: offset of each weight buffer in the blob.

    Temporaries are placed largest first, each at the lowest address that is free during its
    lifetime; with `keep` none shares memory.
    """
    address = dict(weights)
    top = align(weight_bytes, PACK)
    for tensor in (*program.inputs, *program.outputs, *program.states):
        if tensor.buffer not in address:
            address[tensor.buffer] = top
            top = align(top + nbytes(program.buffers[tensor.buffer]), PACK)
    for buffer in program.buffers:
        if buffer.kind == "prepared":
            address[buffer.id] = top
            top = align(top + nbytes(buffer), PACK)
    live = lifetimes(program)
    placed: list[tuple[int, int, int, int]] = []  # start, end, first, last
    size = 0
    for b in sorted(live, key=lambda b: (-nbytes(program.buffers[b]), live[b])):
        first, last = (0, len(program.steps)) if keep else live[b]
        need = align(nbytes(program.buffers[b]), PACK)
        at = 0
        for start, end, _, _ in sorted(p for p in placed if p[2] <= last and first <= p[3]):
            if at + need <= start:
                break
            at = max(at, end)
        placed.append((at, at + need, first, last))
        address[b] = top + at
        size = max(size, at + need)
    return Arena(address, top + size, size)


__all__ = ["Arena", "plan_arena"]
