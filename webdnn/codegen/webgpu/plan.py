"""Which GPUBuffers there are, and which of them holds each buffer of a program.

One for each input, output and state, and slots that temporaries share which do not live at once: a
dispatch may not read and write one GPUBuffer through two bindings. Inputs and outputs are never
reused. Sizes are upper bounds where they are symbolic: the plan is static.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...schedule.kernel import Program
from ...schedule.plan import lifetimes, nbytes


@dataclass
class Slots:
    """GPUBuffers: bytes of each, and which one holds a buffer of the program."""

    sizes: list[int]
    of: dict[int, int]


def plan_slots(program: Program, keep: bool = False) -> Slots:
    """GPUBuffers for the WebGPU target; a temporary takes the best fitting slot that is free."""
    sizes: list[int] = []
    of: dict[int, int] = {}
    for tensor in (*program.inputs, *program.outputs, *program.states):
        if tensor.buffer not in of:
            of[tensor.buffer] = len(sizes)
            sizes.append(nbytes(program.buffers[tensor.buffer]))
    for buffer in program.buffers:
        if buffer.kind == "prepared":
            of[buffer.id] = len(sizes)
            sizes.append(nbytes(buffer))
    live = lifetimes(program)
    busy: list[tuple[int, int]] = []  # last step, slot
    free: list[int] = []
    for b in sorted(live, key=lambda b: live[b]):
        first, last = live[b]
        free += [slot for end, slot in busy if end < first]
        busy = [(end, slot) for end, slot in busy if end >= first]
        need = nbytes(program.buffers[b])
        fitting = [s for s in free if sizes[s] >= need and sizes[s] <= 2 * need]
        if keep or not (fitting or free):
            slot = len(sizes)
            sizes.append(need)
        else:
            # the tightest that fits; else the largest grows
            slot = (
                min(fitting, key=lambda s: sizes[s])
                if fitting
                else max(free, key=lambda s: sizes[s])
            )
            if not fitting and sizes[slot] > 2 * need:
                slot = len(sizes)
                sizes.append(need)
            else:
                free.remove(slot)
                sizes[slot] = max(sizes[slot], need)
        of[b] = slot
        busy.append((last, slot))
    return Slots(sizes, of)


def chunks(offsets: Iterable[tuple[int, int]], limit: int) -> Sequence[tuple[int, int]]:
    """Consecutive ranges (offset, bytes) of the blob, cut between weights.

    Each is at most `limit` bytes unless one weight is larger.
    """
    out: list[tuple[int, int]] = []
    for offset, size in sorted(offsets):
        if out and offset + size - out[-1][0] <= limit:
            out[-1] = (out[-1][0], offset + size - out[-1][0])
        else:
            out.append((offset, size))
    return out


__all__ = ["Slots", "chunks", "plan_slots"]
