"""The weights of a descriptor: evaluated one at a time, and written as they come.

    weights = write_weights(programs, save, progress)
    weights.offset[value], weights.size[value]     # where a constant lies among all bytes

The size of a weight follows from its type, so all offsets are known before any weight is evaluated.
Equal weights share their bytes: a hash of each is kept. Memory holds one weight at a time, and the
bytes of the shard that is being filled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ..errors import UnsupportedError
from ..graph import Value, evaluate, stored, type_text
from ..scalar import PACKED, STORAGE
from ..schedule.kernel import Program
from ..schedule.plan import ALIGN, align, nbytes

SHARD = 4 * 2**20  # bytes of a file of weights


@dataclass
class Weights:
    """Where each constant lies, in bytes, by Value; the bytes of all; the shards that hold them."""

    offset: dict[Value, int] = field(default_factory=dict)
    size: dict[Value, int] = field(default_factory=dict)
    bytes: int = 0
    shards: list[str] = field(default_factory=list)


def write_weights(
    programs: Iterable[Program],
    save: Callable[[int, bytes], str],
    progress: Callable[[str, int, int], None],
) -> Weights:
    """Writes each constant that a program reads, in order of first use; equal ones share.

    What is prepared comes first: on wasm its memory is free then, and is so in one piece.

    save: writes shard k, and returns the name of its file.
    Raises UnsupportedError for integers that do not fit into 32 bits.
    """
    order: dict[Value, int] = {}
    programs = [*programs]
    steps = [(p, p.prepare) for p in programs] + [(p, p.steps) for p in programs]
    for program, some in steps:
        for step in some:
            for b in step.buffers:
                if b in program.weights:
                    order.setdefault(program.weights[b], nbytes(program.buffers[b]))
    out = Weights(size=order)
    shard = bytearray()
    seen: dict[tuple[str, bytes], int] = {}

    def append(data: memoryview | bytes) -> None:
        while data:
            part = data[: SHARD - len(shard)]
            data = data[len(part) :]
            shard.extend(part)
            out.bytes += len(part)
            if len(shard) == SHARD:
                finish()

    def finish() -> None:
        out.shards.append(save(len(out.shards), bytes(shard)))
        shard.clear()

    def write(v: Value, size: int) -> int:
        """The offset of a constant; its array is gone afterwards."""
        data = weight_array(v).reshape(-1).view(np.uint8).data
        rest = bytes(size - len(data))  # of nothing at all, or of an odd number of halves
        found = hashlib.sha256(data)
        found.update(rest)
        key = v.dtype, found.digest()
        if key not in seen:
            seen[key] = out.bytes
            append(data)
            append(rest)
            append(bytes(align(out.bytes, ALIGN) - out.bytes))
        return seen[key]

    for k, (v, size) in enumerate(order.items()):
        out.offset[v] = write(v, size)
        progress("weights", k + 1, len(order))
    if shard:
        finish()
    return out


def weight_array(v: Value) -> np.ndarray:
    """A constant as downloaded, in the storage that `graph.stored` names, in the order of elements.

    Raises UnsupportedError if an integer does not fit into 32 bits.
    """
    a = evaluate(v)
    kept = np.dtype(STORAGE[stored(v.dtype)].numpy)
    if kept.kind in "iu" and a.dtype.kind in "iu" and a.size:
        info = np.iinfo(kept)
        if a.min() < info.min or a.max() > info.max:
            raise UnsupportedError(
                f"a constant {type_text(v)} holds {a.min()}..{a.max()}: integers are 32 bits wide "
                "in the page; cast it to a float type in the model, or keep its values within 32 "
                "bits"
            )
    if stored(v.dtype) in PACKED:
        return packed(a, stored(v.dtype))
    return np.ascontiguousarray(a, kept)


def packed(a: np.ndarray, storage: str) -> np.ndarray:
    """Integers of at most 16 bits in words of u32, the first one in the lowest bits."""
    row = STORAGE[storage]
    if row.bits >= 8:
        flat = np.ascontiguousarray(a, row.numpy).reshape(-1).view(np.uint8)
    else:
        each = 8 // row.bits
        parts = np.ascontiguousarray(a).reshape(-1).astype(np.uint8)
        parts = np.append(parts, np.zeros(-len(parts) % each, np.uint8)) & (2**row.bits - 1)
        flat = parts[::each]
        for k in range(1, each):
            flat = flat | parts[k::each] << k * row.bits
    return np.append(flat, np.zeros(-len(flat) % 4, np.uint8)).view("<u4")


__all__ = ["SHARD", "Weights", "weight_array", "write_weights"]
