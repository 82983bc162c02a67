"""The WebGPU target: prints kernels as WGSL and a program as `webgpu.json` (docs/descriptor.md).

    >>> i = var("i", 65536)
    >>> kernel = Loop("relu", (i,), (), (), (Store(1, i, maximum(load(0, i), 0.0)),),
    ...               (Slot("f32", 65536, "read"), Slot("f32", 65536, "write")))
    >>> print(print_kernel(kernel).code.splitlines()[-2])
      b1[id] = max_c4(b0[id], vec4<f32>(0.0f));

`dialect` prints expressions, `loops` and `gemm` kernels; this module is the way in.

A kernel that reads f16 has two texts: one for devices with `shader-f16`, and one for all others,
which unpacks two halves from a word. A reduction by one workgroup a row has another for devices
with `subgroups`.

Limits: at most 8 storage buffers per kernel; subnormals may be
flushed to zero, as WGSL allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import WebDNNError
from ...expr import Expr
from ...schedule.kernel import (
    Instance,
    Kernel,
    Loop,
    Opaque,
    Program,
    Step,
)
from .. import opaque
from ..integers import to_json
from ..loops import depthwise_loop
from ..template import render
from .dialect import Printed, Wgsl, linear_grid, times
from .gemm import print_gemm
from .loops import print_loop
from .recurrent import print_recurrent


def print_kernel(kernel: Kernel) -> Printed:
    """The WGSL of a kernel."""
    match kernel:
        case Loop():
            return print_loop(kernel)
        case Instance(template="depthwise"):
            return print_loop(depthwise_loop(kernel))
        case Instance(template="matmul" | "conv"):
            return print_gemm(kernel)
        case Instance(template="recurrent"):
            return print_recurrent(kernel)
        case Opaque():
            return print_opaque(kernel)
    raise WebDNNError(
        f"kernel {kernel.name}: {kernel.template!r} has no text for WebGPU; use the wasm target"
    )


def print_opaque(kernel: Opaque) -> Printed:
    """Hand-written text, with what `kernel.Opaque` promises to it."""
    attrs = kernel.attrs
    items = attrs.get("items", 1)
    d = Wgsl(kernel.name, kernel.slots, ())
    env: dict[str, Any] = {**attrs, "items": d.text(items)}
    for name, value in attrs.items():
        if isinstance(value, (int, Expr)) and not isinstance(value, bool):
            env[name] = d.text(value)
    for k, slot in enumerate(attrs["outputs"]):
        env[f"out{k}"] = f"b{slot}"
    env["read"] = lambda k, index: d.element(attrs["inputs"][k], index)
    env["attrs"] = attrs
    grid, width = linear_grid(items)
    env["item"] = "i32(wg.x)" if width is None else f"i32(wg.y) * {d.text(width)} + i32(wg.x)"
    main = render(opaque.text(f"{kernel.template}.wgsl"), env)
    return d.printed(kernel.name, main, "", grid, times(items, attrs.get("cost", 1000)))


def build(program: Program, bindings: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The parts of `webgpu.json` that follow from the steps: kernels, prepare, steps.

    bindings: the binding object of each buffer id, as the descriptor defines it. Kernels with equal
    text are one. Raises WebDNNError naming the kernel that WebGPU cannot run.
    """
    kernels: list[dict[str, Any]] = []
    known: dict[str, int] = {}
    printed: dict[Kernel, Printed] = {}

    def step(s: Step) -> dict[str, Any]:
        if s.kernel not in printed:
            printed[s.kernel] = print_kernel(s.kernel)
        p = printed[s.kernel]
        if p.code not in known:
            known[p.code] = len(kernels)
            origin = " ".join(s.kernel.origin.split())
            head = f"// {p.name} {origin}".rstrip() + "\n"
            kernels.append({"name": p.name, "code": head + p.code, "origin": origin})
            if p.variants:
                kernels[-1]["variants"] = {k: head + code for k, code in p.variants.items()}
        return {
            "kernel": known[p.code],
            "bindings": [bindings[b] for b in s.buffers],
            "params": [to_json(x) for x in p.params],
            "grid": [to_json(x) for x in p.grid],
            "flops": p.flops,
        }

    first = [step(s) for s in program.prepare]
    return {"kernels": kernels, "prepare": first, "steps": [step(s) for s in program.steps]}
