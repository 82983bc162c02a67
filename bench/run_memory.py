"""How much memory a model takes in a page, in each form of its weights and on both targets.

    python -m bench.run_memory                       # 300 MB of float32
    python -m bench.run_memory 3200 --forms int4 --targets wasm
    python -m bench.run_memory --descriptor DIR      # one that is there already

The model is `tests.large`'s. All is in MB. "planned" is what `webdnn inspect` says of weights in
the form in use, activations, inputs and outputs; "model" is `model.memory.total` after a run, in
Chromium, and "part" that of what is planned. "process" is what the process that holds the memory
(the page's, or the GPU's) has more than before the model was loaded, "peak" the most meanwhile.
WebGPU is on SwiftShader, whose process holds a device's memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chromium import driven
from tests.large import write_model
from webdnn.browser.engine import SOFTWARE_WEBGPU
from webdnn.browser.server import running
from webdnn.inspect.summary import inspect
from webdnn.transpiler import transpile

FORMS = ("f32", "f16", "int8", "int4")
TARGETS = ("wasm", "webgpu")
PAGE = """async ({ backend }) => {
  const { load } = await import('/m/model.js');
  const stages = {};
  const start = performance.now();
  const model = await load({ backend, progress: (p) => { stages[p.stage] = 1; } });
  const ms = performance.now() - start;
  await model.run({ tokens: new Int32Array(16) });
  globalThis.model = model;
  return { memory: model.memory, ms, backend: model.backend.name, stages: Object.keys(stages) };
}"""


def status(process: Path) -> dict[str, str]:
    """The lines of /proc/PID/status by their names."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:  # it has ended
        return {}
    return dict(line.split(":", 1) for line in lines)


def held(kind: str, field: str) -> float:
    """The largest of a field among the processes of a kind that this one's browser has, in MB."""
    found = {int(p.name): (p, status(p)) for p in Path("/proc").iterdir() if p.name.isdigit()}

    def ours(pid: int) -> bool:
        while pid in found and pid != os.getpid():
            pid = int(found[pid][1].get("PPid", 0))
        return pid == os.getpid()

    sizes = [0]
    for pid, (folder, lines) in found.items():
        if field in lines and ours(pid):
            command = (folder / "cmdline").read_bytes()
            sizes += [int(lines[field].split()[0])] * (f"--type={kind}".encode() in command)
    return max(sizes) * 1024 / 1e6


def measured(folder: Path, target: str) -> dict[str, Any]:
    """What a page of its own says of the model, and what its process holds."""
    kind = "renderer" if target == "wasm" else "gpu-process"
    with running({"/m/": folder}) as server, driven(*SOFTWARE_WEBGPU) as page:
        page.set_default_timeout(600_000)
        page.goto(f"{server.url}m/model.json")
        before = held(kind, "VmRSS")
        found: dict[str, Any] = page.evaluate(PAGE, {"backend": target})
        peak = held(kind, "VmHWM") - before
        if target == "wasm":  # what was downloaded may wait for the collector
            page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(2000)
        return found | {"process": held(kind, "VmRSS") - before, "peak": peak}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.run_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("size", nargs="?", type=float, default=300, metavar="MB")
    parser.add_argument("--forms", nargs="+", default=FORMS)
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--descriptor", type=Path, help="measures this alone")
    given = parser.parse_args(arguments)
    print("| weights | target | planned | model | part | process | peak | load, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)

    def row(form: str, target: str, folder: Path, planned: float) -> None:
        found = measured(folder, target)
        total = found["memory"]["total"] / 1e6
        part = f"{total / planned:.2f}" if planned else ""
        numbers = f"{found['process']:.0f} | {found['peak']:.0f} | {found['ms'] / 1000:.1f}"
        print(
            f"| {form} | {target} | {planned:.0f} | {total:.0f} | {part} | {numbers} |", flush=True
        )

    if given.descriptor:
        for target in given.targets:
            row("", target, given.descriptor, 0)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "large.onnx"
        write_model(model, given.size)
        for form in given.forms:
            folder = Path(scratch) / form
            transpile(model, folder, targets=given.targets, weights=form)
            seen = inspect(model, weights=form, targets=given.targets)
            for target in given.targets:
                memory = seen.targets[target].memory
                unplanned = ("prepared weights", "total")
                planned = sum(n for part, n in memory.items() if part not in unplanned)
                row(form, target, folder, planned / 1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
