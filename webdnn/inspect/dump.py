"""Looking inside a compiled program: its kernels as a table and as text, its memory.

    print(kernel_table(program))               # WEBDNN_DEBUG=2
    print(*sources(program, target).values())  # WEBDNN_DEBUG=4
    dump(program, target, Path("inside"))      # --dump: kernels.wasm.txt, kernels/, plan.wasm.txt

Bytes are those that a launch reads and writes if it touches each element of its buffers once;
floating-point operations and bytes are those of the largest sizes.
"""

from __future__ import annotations

from pathlib import Path

from ..schedule.kernel import Program, kernel_text
from ..schedule.plan import nbytes
from ..schedule.target import Target
from .work import flops


def kernel_table(program: Program) -> str:
    """A line for each launch: its number, name, MFLOP, bytes, and what of the model it computes."""
    lines = [f"{'':4} {'kernel':44} {'MFLOP':>10} {'kB':>9}  computes"]
    for k, step in enumerate(program.steps):
        work = flops(step.kernel) / 1e6
        size = sum(nbytes(program.buffers[b]) for b in step.buffers) / 1e3
        kernel = step.kernel
        lines.append(f"{k:4} {kernel.name:44} {work:10.2f} {size:9.1f}  {kernel.origin}".rstrip())
    return "\n".join(lines)


def sources(program: Program, target: Target) -> dict[str, str]:
    """The text of every distinct kernel, by file name, in order of first use."""
    out: dict[str, str] = {}
    texts: set[str] = set()
    for step in (*program.prepare, *program.steps):
        printed = target.print(step.kernel)
        name, text = printed.name, printed.text
        if text not in texts:
            texts.add(text)
            head = f"// {name} {' '.join(step.kernel.origin.split())}".rstrip()
            out[f"{len(out):03}_{name}.{target.suffix}"] = f"{head}\n{text}"
    return out


def dump(program: Program, target: Target, folder: Path) -> None:
    """Writes kernels.TARGET.txt, plan.TARGET.txt and the texts in kernels/ for `--dump`."""
    (folder / "kernels").mkdir(parents=True, exist_ok=True)
    (folder / f"kernels.{target.name}.txt").write_text(
        "\n".join(
            f"{k:4} {kernel_text(s.kernel)}  {s.buffers}  # {s.kernel.origin}"
            for k, s in enumerate(program.steps)
        )
        + "\n"
    )
    (folder / f"plan.{target.name}.txt").write_text(
        "\n".join(
            f"{b.id:4} {b.kind:8} {b.dtype} {b.size} elements, at most {nbytes(b)} bytes  {b.name}"
            for b in program.buffers
        )
        + "\n"
    )
    for name, text in sources(program, target).items():
        (folder / "kernels" / name).write_text(text)


__all__ = ["dump", "kernel_table", "sources"]
