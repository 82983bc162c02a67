"""Runs a hand-built Program on wasm in Node, with guard bytes around every buffer."""

from __future__ import annotations

import functools
import json
import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from webdnn.codegen.wasm.module import compile_program
from webdnn.expr import OPS, Expr, cast_numpy, evaluate, walk
from webdnn.graph import array_type
from webdnn.schedule.kernel import Buffer, Kernel, Loop, Program, Step, Tensor, is_row

GUARD = 64
NUMPY = {
    "f32": np.float32, "f64": np.float64, "i32": np.int32, "u32": np.uint32, "f16": np.float16,
    "i8": np.int8, "u8": np.uint8,
}  # fmt: skip
SCALARS = {**NUMPY, "bool": np.bool_}
RUNNER = Path(__file__).parent / "wasm_run.mjs"


@functools.cache
def node_flags() -> tuple[str, ...]:
    """Node 20 has relaxed SIMD behind a flag; later versions have it without, and refuse the
    flag."""
    version = subprocess.run(
        ["node", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return ("--experimental-wasm-relaxed-simd",) if version.startswith("v20.") else ()


def program(*kernels: Kernel, dims=()) -> Program:
    """A step for each kernel, on buffers of its own, numbered through in the order of the slots."""
    buffers: list[Buffer] = []
    steps = []
    for kernel in kernels:
        first = len(buffers)
        buffers += [Buffer(first + k, "temp", s.dtype, s.size) for k, s in enumerate(kernel.slots)]
        steps.append(Step(kernel, tuple(range(first, len(buffers)))))
    return Program(tuple(dims), [], [], buffers, steps)


def run(
    p: Program,
    values: Mapping[int, np.ndarray],
    dims: Mapping[str, int] | None = None,
    variant: str = "plain",
    threads: int = 1,
    repeat: int = 1,
    profile: bool = False,
    modules=None,
    compiler=compile_program,
    sizes=(),
    arena=None,
):
    """The contents of every buffer after `prepare` and `run`; fails if a byte between buffers
    changed. `sizes`: dims of further runs, which go first; "digests" of the memory after each.
    `arena`: the planned memory to use, in which what lives apart shares bytes."""
    dims = dims or {}
    addresses, contents, at = {}, {}, GUARD
    buffers = [b for b in p.buffers if not arena or b.id in arena.address]
    for b in buffers:
        addresses[b.id] = at
        size = evaluate(b.size, {d.args[0]: d.args[2] for d in p.dims})
        given = values.get(b.id)
        data = np.full(size, 77 if b.dtype[0] == "u" else -77, NUMPY[b.dtype])
        if given is not None:
            flat = np.ascontiguousarray(given, NUMPY[b.dtype]).ravel()
            data[: flat.size] = flat
        contents[b.id] = data
        at = (at + data.nbytes + GUARD + 3) // 4 * 4
    if arena:
        addresses, at = arena.address, arena.size
    image = np.full(at + GUARD, 0xA5, np.uint8)
    for b in sorted(buffers, key=lambda b: b.id in values):  # what is given comes last
        raw = contents[b.id].view(np.uint8)
        image[addresses[b.id] : addresses[b.id] + raw.size] = raw
    modules = modules or compiler(p, addresses, variants=[variant])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "m.wasm").write_bytes(modules[variant])
        (root / "arena").write_bytes(image.tobytes())
        job = {
            "module": str(root / "m.wasm"),
            "arena": str(root / "arena"),
            "bytes": image.size,
            "shared": variant.endswith("threads"),
            "threads": threads,
            "repeat": repeat,
            "profile": profile,
            "dims": [dims[d.args[0]] for d in p.dims],
            "sizes": [[at[d.args[0]] for d in p.dims] for at in sizes],
        }
        (root / "job.json").write_text(json.dumps(job))
        done = subprocess.run(
            ["node", *node_flags(), str(RUNNER), str(root / "job.json")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        reply = json.loads(done.stdout)
        assert reply["result"] == 0
        after = np.frombuffer((root / "arena.out").read_bytes(), np.uint8)
    out = {}
    guard = np.ones(image.size, bool)
    for b in buffers:
        start, size = addresses[b.id], contents[b.id].nbytes
        guard[start : start + size] = False
        out[b.id] = after[start : start + size].copy().view(NUMPY[b.dtype])
    assert (after[guard] == 0xA5).all(), "bytes outside the buffers changed"
    out["ms"], out["steps"], out["digests"] = reply["ms"], reply["steps"], reply["digests"]
    return out


def published(tensor: Tensor, buffer: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An output of the model's type from the buffer that holds it."""
    flat = buffer[: math.prod(shape) * tensor.words]
    dtype = array_type(tensor.dtype)
    return (flat.view(dtype) if tensor.words > 1 else flat.astype(dtype)).reshape(shape)


def calculate(
    root: Expr, values: dict[Expr, np.ndarray], buffers: Mapping[int, np.ndarray]
) -> np.ndarray:
    """A numpy reading of an expression; `values` holds variables and accumulators. Indices are
    clamped."""
    with np.errstate(all="ignore"):
        for e in walk(root):
            if e in values:
                continue
            if e.op == "const":
                values[e] = np.asarray(e.args[0], SCALARS[e.dtype])
            elif e.op == "load":
                buffer = buffers[e.args[0]]
                values[e] = buffer[np.clip(values[e.args[1]], 0, buffer.size - 1)]
                if e.dtype == "bool":
                    values[e] = values[e] != 0
            elif e.op == "cast":
                values[e] = cast_numpy(values[e.args[0]], e.dtype)
            elif e.op == "bitcast":
                values[e] = values[e.args[0]].view(SCALARS[e.dtype])
            else:
                out = OPS[e.op].numpy(*(values[a] for a in e.args))
                values[e] = np.asarray(out).astype(SCALARS[e.dtype])
    return values[root]


def interpret(loop: Loop, given: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The numpy reading of a loop of fixed sizes: all slots afterwards."""
    buffers = {k: np.array(b).ravel() for k, b in given.items()}
    loop_vars = [*loop.axes, *loop.reduce]
    shape = [v.args[1] for v in loop_vars]
    values: dict[Expr, np.ndarray] = {}
    for k, v in enumerate(loop_vars):
        values[v] = np.arange(shape[k], dtype=np.int32).reshape(
            [-1 if j == k else 1 for j in range(len(shape))]
        )
    outer, rest = shape[: len(loop.axes)], [1] * len(loop.reduce)
    for k, stage in enumerate(loop.stages):
        flat = [
            np.broadcast_to(calculate(e, values, buffers), shape).reshape(*outer, -1)
            for e in stage.exprs
        ]
        results = _reduced(stage.monoid, flat, shape, outer + rest)
        for e in walk(
            *(x for s in loop.stages for x in s.exprs),
            *(x for s in loop.stores for x in (s.index, s.value)),
        ):
            if e.op == "acc" and e.args[0] == k:
                values[e] = results[e.args[1]].astype(SCALARS[e.dtype])
    for s in loop.stores:
        at = np.broadcast_to(
            calculate(s.index, values, buffers), shape if is_row(s, loop) else outer + rest
        )
        value = np.broadcast_to(calculate(s.value, values, buffers), at.shape)
        buffers[s.slot][at.ravel()] = value.ravel()
    return buffers


def _reduced(
    monoid: str, flat: list[np.ndarray], shape: list[int], kept: list[int]
) -> list[np.ndarray]:
    x = flat[0]
    if monoid == "scan_sum":
        return [
            np.cumsum(x, -1, dtype=np.float64 if x.dtype.kind == "f" else x.dtype).reshape(shape)
        ]
    if monoid.startswith("arg"):
        pick = np.argmax if "max" in monoid else np.argmin
        at = x.shape[-1] - 1 - pick(x[..., ::-1], -1) if monoid.endswith("_last") else pick(x, -1)
        return [np.take_along_axis(f, at[..., None], -1).reshape(kept) for f in flat]
    call = {
        "sum": np.sum,
        "prod": np.prod,
        "max": np.max,
        "min": np.min,
        "any": np.any,
        "all": np.all,
    }[monoid]
    wide = x.astype(np.float64) if x.dtype.kind == "f" and monoid in ("sum", "prod") else x
    return [call(wide, -1).astype(x.dtype).reshape(kept)]
