"""Memory: where the buffers of a program lie.

    wasm     one arena: weights | inputs | outputs | states | widened weights | temporaries packed
             by lifetime
    WebGPU   one GPUBuffer an input, output, state and slot; temporaries that do not live at once
             share a slot (a dispatch may not read and write one GPUBuffer through two bindings)

Weights of all targets lie in one blob, in order of first use. Inputs and outputs are never reused,
so a second run without refilling gives the same result; states keep theirs from run to run. Sizes
are upper bounds where they are symbolic: the plan is static.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..expr import upper
from ..scalar import bytes_of
from .kernel import Buffer, Program

ALIGN = 256  # of weights: the offset alignment of a WebGPU binding
PACK = 64  # of buffers in the arena: a cache line


def nbytes(buffer: Buffer) -> int:
    """The most bytes that a buffer can need."""
    return bytes_of(buffer.dtype, upper(buffer.size))


def align(n: int, to: int) -> int:
    """n rounded up to a multiple of `to`."""
    return (n + to - 1) // to * to


def lifetimes(program: Program) -> dict[int, tuple[int, int]]:
    """First and last step that touch each temporary."""
    out: dict[int, tuple[int, int]] = {}
    for k, step in enumerate(program.steps):
        for b in step.buffers:
            if program.buffers[b].kind == "temp":
                out[b] = (out.get(b, (k, k))[0], k)
    return out


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


__all__ = [
    "ALIGN",
    "Arena",
    "Slots",
    "align",
    "chunks",
    "lifetimes",
    "nbytes",
    "plan_arena",
    "plan_slots",
]
