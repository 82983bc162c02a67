"""Runs a hand-built Program on wasm in Node, with guard bytes around every buffer."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from webdnn.codegen.wasm import compile_program
from webdnn.expr import evaluate
from webdnn.kernel import Buffer, Kernel, Program, Step

GUARD = 64
NUMPY = {"f32": np.float32, "i32": np.int32, "u32": np.uint32, "f16": np.float16}
RUNNER = Path(__file__).parent / "wasm_run.mjs"


def program(kernel: Kernel, dims=()) -> Program:
    """One step; buffer k is slot k."""
    buffers = [Buffer(k, "temp", s.dtype, s.size) for k, s in enumerate(kernel.slots)]
    return Program(tuple(dims), [], [], buffers, [Step(kernel, tuple(range(len(buffers))))])


def run(p: Program, values: Mapping[int, np.ndarray], dims: Mapping[str, int] | None = None,
        variant: str = "plain", threads: int = 1, repeat: int = 1, modules=None):
    """The contents of every buffer after `prepare` and `run`; fails if a byte between buffers changed."""
    dims = dims or {}
    addresses, contents, at = {}, {}, GUARD
    for b in p.buffers:
        addresses[b.id] = at
        size = evaluate(b.size, {d.args[0]: d.args[2] for d in p.dims})
        given = values.get(b.id)
        data = np.full(size, -77, NUMPY[b.dtype]) if b.dtype != "u32" else np.full(size, 77, np.uint32)
        if given is not None:
            flat = np.ascontiguousarray(given, NUMPY[b.dtype]).ravel()
            data[: flat.size] = flat
        contents[b.id] = data
        at = (at + data.nbytes + GUARD + 3) // 4 * 4
    image = np.full(at + GUARD, 0xA5, np.uint8)
    for b in p.buffers:
        raw = contents[b.id].view(np.uint8)
        image[addresses[b.id] : addresses[b.id] + raw.size] = raw
    modules = modules or compile_program(p, addresses)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "m.wasm").write_bytes(modules[variant])
        (root / "arena").write_bytes(image.tobytes())
        job = {"module": str(root / "m.wasm"), "arena": str(root / "arena"), "bytes": image.size,
               "shared": variant.endswith("threads"), "threads": threads, "repeat": repeat,
               "dims": [dims[d.args[0]] for d in p.dims]}
        (root / "job.json").write_text(json.dumps(job))
        done = subprocess.run(["node", str(RUNNER), str(root / "job.json")], capture_output=True, text=True,
                              timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        reply = json.loads(done.stdout)
        assert reply["result"] == 0
        after = np.frombuffer((root / "arena.out").read_bytes(), np.uint8)
    out = {}
    guard = np.ones(image.size, bool)
    for b in p.buffers:
        start, size = addresses[b.id], contents[b.id].nbytes
        guard[start : start + size] = False
        out[b.id] = after[start : start + size].copy().view(NUMPY[b.dtype])
    assert (after[guard] == 0xA5).all(), "bytes outside the buffers changed"
    out["ms"] = reply["ms"]
    return out
