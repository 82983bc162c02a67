"""What the targets' planners share: the bytes of buffers, and how long each is needed.

Weights of all targets lie in one blob, in order of first use, those that are prepared before the
others.
"""

from __future__ import annotations

from ..expr import Dim, as_dim, upper
from ..scalar import STORAGE, bytes_of
from .kernel import Buffer, Program

ALIGN = 256  # of weights: the offset alignment of a WebGPU binding


def nbytes(buffer: Buffer) -> int:
    """The most bytes that a buffer can need."""
    return bytes_of(buffer.dtype, upper(buffer.size))


def bytes_at(buffer: Buffer) -> Dim:
    """The bytes that a buffer needs at the sizes of a run."""
    bits = STORAGE[buffer.dtype].bits
    return as_dim((buffer.size if bits == 32 else (buffer.size * bits + 31) // 32) * 4)


def align(n: int, to: int) -> int:
    """n rounded up to a multiple of `to`."""
    return (n + to - 1) // to * to


def lifetimes(program: Program) -> dict[int, tuple[int, int]]:
    """First and last step that touch each temporary: what is also needed outside a loop is needed
    throughout the loop.
    """
    out: dict[int, tuple[int, int]] = {}
    for k, step in enumerate(program.steps):
        for b in step.buffers:
            if program.buffers[b].kind == "temp":
                out[b] = (out.get(b, (k, k))[0], k)
    for loop in program.repeats:  # inner ones first
        end = loop.last - 1
        for b, (first, last) in out.items():
            apart = last < loop.first or first > end
            if not apart and not (loop.first <= first and last <= end):
                out[b] = min(first, loop.first), max(last, end)
    return out


__all__ = ["ALIGN", "align", "bytes_at", "lifetimes", "nbytes"]
