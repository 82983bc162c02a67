"""Runs kernels on a browser's WebGPU: what the tests of the WebGPU target stand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from webdnn.browser.engine import BrowserError, Engine, Page, find
from webdnn.codegen.webgpu.dialect import Printed
from webdnn.codegen.webgpu.module import print_kernel
from webdnn.expr import OPS, Expr, cast_numpy, evaluate, walk
from webdnn.schedule.kernel import Loop, Step, is_row

NUMPY = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "u32": np.uint32}


def quick_engine() -> Engine:
    """Firefox if there is one: its software device compiles and runs large kernels several times
    faster than Chromium's."""
    try:
        find("firefox")
    except BrowserError:
        return "chromium"
    return "firefox"


def run(
    page: Page,
    steps: Sequence[Step],
    arrays: Mapping[int, np.ndarray],
    outputs: Sequence[int],
    dims: Mapping[str, int] | None = None,
    printer: Callable[[Any], Printed] = print_kernel,
) -> dict[int, np.ndarray]:
    """Launches the steps; `arrays` are the initial contents of buffers, `outputs` what to return.

    Every buffer is as long as its array in `arrays`, and
    lies between guard words that must survive.
    """
    texts: list[str] = []
    launches = []
    for step in steps:
        printed = printer(step.kernel)
        if printed.code not in texts:
            texts.append(printed.code)
        launches.append(
            {
                "kernel": texts.index(printed.code),
                "bind": list(step.buffers),
                "params": [evaluate(p, dims or {}) for p in printed.params],
                "grid": [evaluate(g, dims or {}) for g in printed.grid],
            }
        )
    data, buffers = {}, []
    for b in range(max(arrays) + 1):
        raw = arrays[b].tobytes()
        data[f"in{b}"] = raw + bytes(-len(raw) % 4)
        buffers.append({"bytes": len(data[f"in{b}"]), "data": f"in{b}"})
    job = {"kernels": texts, "buffers": buffers, "steps": launches, "read": list(outputs)}
    reply = page.call("/tests/wgsl_run.js", job, data, timeout=600)
    assert reply.value["broken"] == [], f"written outside of buffers {reply.value['broken']}"
    return {
        b: np.frombuffer(reply.arrays[f"out{b}"], arrays[b].dtype)[: arrays[b].size].reshape(
            arrays[b].shape
        )
        for b in outputs
    }


def validate(page: Page, codes: Sequence[str]) -> None:
    """Has the browser's WGSL compiler check texts; raises PageError with its message."""
    page.call("/tests/wgsl_run.js", {"kernels": list(codes), "validate": True}, timeout=600)


def interpret(
    loop: Loop, arrays: Sequence[np.ndarray], dims: Mapping[str, int] | None = None
) -> list[np.ndarray]:
    """What a Loop means, by numpy: the buffers after it. Floats are computed in f64."""
    buffers = [a.copy() for a in arrays]
    variables = (*loop.axes, *loop.reduce)
    sizes = [evaluate(v.args[1], dims or {}) for v in variables]
    grids = np.meshgrid(*(np.arange(n, dtype=np.int32) for n in sizes), indexing="ij", sparse=True)
    names: dict[Expr, Any] = dict(zip(variables, grids))
    reduce_axes = tuple(range(len(loop.axes), len(variables)))

    def value(root: Expr) -> Any:
        done: dict[Expr, Any] = {}
        for e in walk(root):
            if e in names:
                done[e] = names[e]
            elif e.op == "const":
                done[e] = np.asarray(
                    e.args[0],
                    np.float64 if e.dtype in ("f32", "f16") else NUMPY.get(e.dtype, np.bool_),
                )
            elif e.op == "dim":
                done[e] = np.int32((dims or {})[e.args[0]])
            elif e.op == "load":
                a = arrays[e.args[0]]
                x = a[np.clip(done[e.args[1]], 0, a.size - 1)]
                done[e] = (
                    x != 0
                    if e.dtype == "bool"
                    else x.astype(np.float64)
                    if a.dtype.kind == "f"
                    else x
                )
            elif e.op == "cast":
                x = cast_numpy(done[e.args[0]], e.dtype)
                done[e] = x.astype(np.float64) if x.dtype.kind == "f" else x
            elif e.op == "bitcast":
                x = done[e.args[0]]
                x = x.astype(np.float32) if x.dtype.kind == "f" else x
                done[e] = x.view(NUMPY[e.dtype])
            else:
                with np.errstate(all="ignore"):
                    done[e] = OPS[e.op].numpy(*(done[a] for a in e.args))
        return done[root]

    scans = set()
    everything = [e for s in loop.stages for e in s.exprs] + [s.value for s in loop.stores]
    used = {e.args: e for e in walk(*everything) if e.op == "acc"}
    for k, stage in enumerate(loop.stages):
        full = [np.broadcast_to(value(e), sizes) for e in stage.exprs]
        flat = [x.reshape(*x.shape[: len(loop.axes)], -1) for x in full]
        for j, x in enumerate(reduced(stage.monoid, flat)):
            acc = used.get((k, j))
            if stage.monoid == "scan_sum":
                x = x.reshape(sizes)
                scans.add(k)
            else:
                x = x.reshape(*x.shape, *(1 for _ in reduce_axes))
            if acc is not None:
                names[acc] = x
    for store in loop.stores:
        row = is_row(store, loop) or any(
            e.op == "acc" and e.args[0] in scans for e in walk(store.value)
        )
        shape = sizes if row else sizes[: len(loop.axes)] + [1] * len(reduce_axes)
        index, x = (
            np.broadcast_to(value(store.index), shape),
            np.broadcast_to(value(store.value), shape),
        )
        with np.errstate(all="ignore"):
            buffers[store.slot][index.ravel()] = x.ravel().astype(buffers[store.slot].dtype)
    return buffers


def reduced(monoid: str, rows: list[np.ndarray]) -> list[np.ndarray]:
    """A monoid of scalar.MONOIDS over the last axis."""
    x = rows[0]
    if monoid in ("sum", "prod", "any", "all", "max", "min"):
        return [getattr(np, monoid)(x, axis=-1)]
    if monoid == "scan_sum":
        return [np.cumsum(x, axis=-1)]
    assert monoid in ("argmax", "argmin", "argmax_last", "argmin_last")
    pick = np.argmax if "max" in monoid else np.argmin
    if monoid.endswith("last"):
        at = x.shape[-1] - 1 - pick(x[..., ::-1], axis=-1)
    else:
        at = pick(x, axis=-1)
    return [np.take_along_axis(a, at[..., None], -1)[..., 0] for a in (x, rows[1])]


def close(
    found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5, scale: float = 0.0
) -> tuple[int, str]:
    """Where they differ most and a message, which is empty if they agree.

    Floats agree within `tolerance` of max(|expected|, scale), NaN with NaN; integers exactly.
    """
    a, b = found.ravel(), expected.ravel()
    if found.dtype.kind != "f":
        error = (a != b).astype(np.float64)
        tolerance = 0.5
    else:
        a, b = a.astype(np.float64), b.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(all="ignore"):
            relative = np.abs(a - b) / np.maximum(np.maximum(np.abs(b), scale), 1e-37)
        error = np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative))
    if error.size == 0 or error.max() <= tolerance:
        return 0, ""
    i = int(error.argmax())
    beyond = int((error > tolerance).sum())
    message = f"element {i}: expected {b[i]}, found {a[i]} (error {error[i]:.2g}, {beyond} beyond)"
    return i, message


__all__ = ["NUMPY", "close", "interpret", "quick_engine", "run", "validate"]
