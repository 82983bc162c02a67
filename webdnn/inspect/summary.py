"""A model before and after transpiling: the facts behind `webdnn inspect`.

>>> seen = inspect(Path("style.onnx"), {"h": (64, 512), "w": (64, 512)})  # doctest: +SKIP
>>> seen.parameters, seen.targets["wasm"].launches
(171000, 117)

The model is transpiled into a folder that is thrown away, so sizes are those of the real files.
Floating-point operations count a multiply-add as two; where dimensions are symbolic, they and the
memory are those of the largest sizes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.frontend.dims import OpenSizesError
from webdnn.graph import stored
from webdnn.inspect.describe import describe
from webdnn.inspect.work import flops
from webdnn.scalar import STORAGE, bytes_of
from webdnn.schedule.kernel import Instance, Kernel, Loop, Opaque, Program
from webdnn.schedule.lower import lower
from webdnn.schedule.plan import nbytes
from webdnn.schedule.target import Target
from webdnn.transpiler import Dims, Report, transpile


@dataclass(frozen=True)
class KernelUse:
    """A distinct kernel: how often it is launched, for which nodes, and its work in all."""

    name: str
    kind: str  # loop, opaque, or the template's name
    launches: int
    flops: int
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Weight:
    """A weight in memory: how its elements are stored, the bytes that it takes in the download too,
    and whether a kernel widens it, once, into a second copy that the others read."""

    name: str  # or, where the model's is lost, what the first kernel that reads it computes
    storage: str  # a row of scalar.STORAGE
    shape: tuple[int, ...]
    bytes: int
    widened: bool


@dataclass(frozen=True)
class Compiled:
    """What one target runs. `fused` are values of the model that are computed without being stored;
    memory is in bytes: `total` what all others are together, or less on wasm, where prepared
    weights and temporaries lie where weights lay that were only there to be prepared."""

    kernels: tuple[KernelUse, ...]
    prepare: int  # launches made once, when the weights have arrived
    fused: tuple[str, ...]
    memory: Mapping[str, int]
    weights: tuple[Weight, ...] = ()

    @property
    def launches(self) -> int:
        """Launches of one run."""
        return sum(kernel.launches for kernel in self.kernels)

    @property
    def flops(self) -> int:
        """Floating-point operations of one run."""
        return sum(kernel.flops for kernel in self.kernels)


@dataclass(frozen=True)
class Inspection:
    """A model before and after."""

    model: str
    operators: Mapping[str, int]  # the file's own, by name
    parameters: int
    parameter_bytes: int
    inputs: Sequence[Mapping[str, Any]]  # name, dtype, shape as in model.json
    outputs: Sequence[Mapping[str, Any]]
    dims: Sequence[Mapping[str, Any]]
    targets: Mapping[str, Compiled]
    download: Mapping[str, Any]  # as `describe`
    notices: tuple[str, ...]


def inspect(
    model: Path,
    dims: Dims | None = None,
    *,
    limits: float = 1,
    weights_file: Path | None = None,
    weights: str = "f32",
    keep: Sequence[str] = (),
    precision: str = "f32",
    images: Mapping[Any, str] | None = None,
    outputs: Mapping[Any, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    targets: Sequence[str] = ("webgpu", "wasm"),
    progress: Callable[[str, int, int], None] | None = None,
) -> Inspection:
    """Compiles `model` for `targets` and reports what became of it.

    `limits`, `weights_file`, `weights`, `keep`, `precision`, `images` (inputs that take pictures),
    `outputs` (that are pictures) and `fixed` are those of `transpile`; so is what it raises. Sizes
    that the model leaves open and `dims` does not give are ranges that it takes, and the first
    notice says which.
    """
    with tempfile.TemporaryDirectory(prefix="webdnn-inspect-") as scratch:
        folder = Path(scratch) / "model"

        def transpiled(sizes: Any) -> Report:
            return transpile(
                model,
                folder,
                weights_file=weights_file,
                weights=weights,
                keep=keep,
                precision=precision,
                inputs=images,
                outputs=outputs,
                targets=targets,
                dims=sizes,
                fixed=fixed,
                limits=limits,
                progress=progress,
            )

        notices: list[str] = []
        try:
            report = transpiled(dims)
        except OpenSizesError as error:
            if error.sizes is None:
                raise
            notices = [f"sizes are open; shown is what becomes of it with {error.sizes.line()}"]
            report = transpiled(error.sizes.said())
        download = describe(folder) | {"batch": list(report.imported.batch)}
    # Which values are fused away is only recorded when the stored ones are kept.
    graph = passes.run(report.imported.graph)
    compiled = {}
    for name, program in report.programs.items():
        target = TARGETS[name]
        uses: dict[Kernel, list[Kernel]] = {}
        for step in program.steps:
            uses.setdefault(step.kernel, []).append(step.kernel)
        kernels = tuple(
            KernelUse(
                kernel.name,
                _kind(kernel),
                len(same),
                sum(flops(one) for one in same),
                tuple(dict.fromkeys(one.origin for one in same if one.origin)),
            )
            for kernel, same in uses.items()
        )
        compiled[name] = Compiled(
            kernels,
            len(program.prepare),
            tuple(lower(graph, target, keep=True).fused_away),
            _memory(program, target, report.descriptor),
            _weights(program),
        )
    return Inspection(
        str(model),
        report.imported.contents,
        report.imported.parameters,
        report.imported.parameter_bytes,
        download["inputs"],
        download["outputs"],
        download["dims"],
        compiled,
        download,
        (*notices, *report.notices),
    )


def _memory(program: Program, target: Target, document: Mapping[str, Any]) -> dict[str, int]:
    """What a run holds in memory, at the largest sizes."""

    def held(buffers: Iterable[int]) -> int:
        return sum(nbytes(program.buffers[buffer]) for buffer in {*buffers})

    parts = {
        "weights": document["weights"]["bytes"],
        "prepared weights": held(b.id for b in program.buffers if b.kind == "prepared"),
        "inputs and outputs": held(t.buffer for t in (*program.inputs, *program.outputs)),
        "states": held(t.buffer for t in program.states),
    }
    planned = target.memory(program)
    parts["temporaries"] = max(0, planned - sum(parts.values()) + parts["weights"])
    arena = document["targets"][target.name].get("memory")  # of wasm: all of it
    total = arena["bytes"] if arena else sum(parts.values())
    return {name: size for name, size in parts.items() if size} | {"total": total}


def _weights(program: Program) -> tuple[Weight, ...]:
    """The weights in the order of their first use."""
    widened = {buffer for step in program.prepare for buffer in step.buffers}
    reader: dict[int, str] = {}
    for step in program.steps:
        for buffer in step.buffers:
            reader.setdefault(buffer, step.kernel.origin)
    for step in reversed(program.prepare):
        *read, made = step.buffers
        for buffer in read:
            reader.setdefault(buffer, reader.get(made, ""))
    return tuple(
        Weight(
            program.buffers[buffer].name or reader.get(buffer, ""),
            stored(value.dtype),
            value.shape,
            bytes_of(stored(value.dtype), value.size),
            buffer in widened and STORAGE[stored(value.dtype)].bits < 32,
        )
        for buffer, value in program.weights.items()
    )


def _kind(kernel: Kernel) -> str:
    match kernel:
        case Loop():
            return "loop"
        case Instance():
            return kernel.template
        case Opaque():
            return "opaque"
