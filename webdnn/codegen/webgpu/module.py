"""The WebGPU target: prints kernels as WGSL and a program as `webgpu.json` (docs/descriptor.md).

    >>> i = var("i", 65536)
    >>> kernel = Loop("relu", (i,), (), (), (Store(1, i, maximum(load(0, i), 0.0)),),
    ...               (Slot("f32", 65536, "read"), Slot("f32", 65536, "write")))
    >>> print(print_kernel(kernel).code.splitlines()[-2])
      b1[id] = max_c4(b0[id], vec4<f32>(0.0f));

`dialect` prints expressions, `loops` and `gemm` kernels; this module is the way in.

A kernel that reads f16 has two texts: one for devices with `shader-f16`, and one for all others,
which unpacks two halves from a word. One that stores f16 has the first alone. A reduction by one
workgroup a row has another for devices with `subgroups`.

Limits: those of `limits`; subnormals may be flushed to zero, as WGSL allows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
from ...schedule.plan import align, bytes_at
from ...schedule.target import Ranges
from .. import opaque
from ..integers import to_json
from ..kept import kept_values
from ..loops import depthwise_loop
from ..template import own_source
from .attention import print_attention, slices_of_keys
from .dialect import Printed, Wgsl, linear_grid, times
from .gemm import best_slices, print_gemm
from .instances import print_general
from .limits import LIMITS
from .loops import print_loop
from .plan import chunks, plan_slots
from .recurrent import print_recurrent
from .winograd import print_winograd

TEMPLATES: Mapping[str, Callable[[Instance], Printed]] = {
    "matmul": print_gemm,
    "conv": print_gemm,
    "attention": print_attention,
    "depthwise": lambda kernel: print_loop(depthwise_loop(kernel)),
    "recurrent": print_recurrent,
    "winograd_input": print_winograd,
    "winograd_output": print_winograd,
}


def print_kernel(kernel: Kernel) -> Printed:
    """The WGSL of a kernel."""
    match kernel:
        case Loop():
            return print_loop(kernel)
        case Instance(folder=folder) if folder is not None:
            return print_general(kernel)
        case Opaque():
            return print_opaque(kernel)
    printer = TEMPLATES.get(kernel.template)
    if printer is None:
        raise WebDNNError(
            f"kernel {kernel.name}: {kernel.template!r} has no text for WebGPU; use the wasm target"
        )
    return printer(kernel)


def slices(kernel: Instance) -> int:
    """Into how many slices the depth of a template's kernel is cut: `Target.slices`."""
    printer = None if kernel.folder is not None else TEMPLATES.get(kernel.template)
    if printer is print_attention:
        return slices_of_keys(kernel)
    return best_slices(kernel) if printer is print_gemm else 1


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
    main = opaque.rendered(f"{kernel.template}.wgsl", env)
    return d.printed(kernel.name, main, "", grid, times(items, attrs.get("cost", 1000)))


def build(program: Program, bindings: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The parts of `webgpu.json` that follow from the steps: kernels, prepare, steps; and the
    features that a device needs.

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
            if source := own_source(s.kernel, ".wgsl"):
                kernels[-1]["source"] = source
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
    steps = [step(s) for s in program.steps]
    return {
        "kernels": kernels,
        "prepare": first,
        "steps": tree(program, steps, bindings),
        "features": sorted({f for p in printed.values() for f in p.features}),
    }


def tree(
    program: Program, steps: Sequence[dict[str, Any]], bindings: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The steps of a program with its loops as steps around theirs."""
    out: list[dict[str, Any] | None] = list(steps)
    for loop in program.repeats:  # inner ones first, in place of their first step
        body = [s for s in out[loop.first : loop.last] if s is not None]
        whole = {"while": bindings[loop.flag]["b"], "body": body}
        if loop.once:
            whole["once"] = True
        out[loop.first : loop.last] = [whole, *[None] * (loop.last - loop.first - 1)]
    return [s for s in out if s is not None]


def memory(program: Program) -> int:
    """The bytes of all GPUBuffers but the weights'."""
    return sum(align(n, 16) for n in plan_slots(program).sizes)


def emit(
    program: Program,
    weights: Ranges,
    download: int,
    write: Callable[[str, str, bytes], str],
    *,
    keep: bool,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Prints a program into `webgpu.json`: `schedule.target.Emit`."""
    progress(0, 1)
    slots = plan_slots(program, keep)
    ranges = {*weights.values()}
    parts = chunks(ranges, LIMITS.binding)
    bindings: dict[int, dict[str, Any]] = {b: {"b": s} for b, s in slots.of.items()}
    for b, (offset, size) in weights.items():
        k = max(i for i, (start, _) in enumerate(parts) if start <= offset)
        bindings[b] = {"w": k, "offset": offset - parts[k][0], "bytes": size}
    sizes = {
        s: to_json(bytes_at(program.buffers[b]))
        for b, s in slots.of.items()
        if program.buffers[b].kind != "temp"
    }
    document = build(program, bindings)
    features = document.pop("features")
    document |= {
        "buffers": [
            {"bytes": sizes.get(s, n), "max": align(n, 16)} for s, n in enumerate(slots.sizes)
        ],
        "weights": [{"offset": offset, "bytes": align(size, 16)} for offset, size in parts],
        "inputs": [
            {"buffer": slots.of[t.buffer], "dtype": program.buffers[t.buffer].dtype}
            for t in program.inputs
        ],
        "outputs": [
            {"buffer": slots.of[t.buffer], "dtype": program.buffers[t.buffer].dtype}
            for t in program.outputs
        ],
    }
    if program.states:
        document["states"] = [{"buffer": slots.of[t.buffer]} for t in program.states]
    if keep:
        document |= kept_values(program, lambda b: ("buffer", slots.of[b]))
    text = json.dumps(document, separators=(",", ":")).encode()
    name = write("webgpu-f16" if features else "webgpu", ".json", text)
    largest = max([*slots.sizes, *(size for _, size in ranges), 4])
    limits = {
        "maxStorageBufferBindingSize": largest,
        "maxBufferSize": max([largest, *(size for _, size in parts)]),
        "maxStorageBuffersPerShaderStage": max(
            (len(s.buffers) for s in (*program.prepare, *program.steps)), default=1
        ),
    }
    progress(1, 1)
    entry = {"file": name, "features": features, "limits": limits}
    return entry | ({"loops": True} if program.repeats else {})
