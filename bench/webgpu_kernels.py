"""What each WebGPU kernel of a model costs on this machine's GPU, and which tile would be best.

    python -m bench.webgpu_kernels light_resnet50 mobilenetv2      # every kernel as it is printed
    python -m bench.webgpu_kernels light_resnet50 --tiles          # and every tile of the table

Kernels run one by one in headless Chromium between timestamps, on random data; a line per distinct
kernel and size: times it occurs, microseconds, GFLOP/s. `--job FILE` writes the job for
`webgpu_kernels.mjs` instead of running it, for a machine that has only a JavaScript engine with
WebGPU; `--results FILE` prints what came back from there.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import webdnn
from webdnn.browser.engine import open_page
from webdnn.codegen.webgpu.dialect import Printed
from webdnn.codegen.webgpu.gemm import TILES, Tile, print_gemm
from webdnn.codegen.webgpu.module import print_kernel
from webdnn.expr import bounds
from webdnn.schedule.kernel import Instance, Kernel, Opaque, kernel_text

PAGE = """import measure from '/bench/webgpu_kernels.mjs';
export default async (job, io) => {
  const text = new TextDecoder().decode(await io.read('job'));
  return measure(navigator.gpu, JSON.parse(text), (line) => console.log(line));
};"""


def gemm(kernel: Kernel) -> bool:
    return isinstance(kernel, Instance) and kernel.template in ("matmul", "conv")


def suits(tile: Tile, kernel: Kernel) -> bool:
    """Whether a tile is worth a try: not ten times larger or smaller than the rows there are."""
    assert isinstance(kernel, Instance)
    names = ("m",) if kernel.template == "matmul" else ("b", "y", "x")
    rows = math.prod(int(bounds(kernel.vars[n].args[1])[1]) for n in names if n in kernel.vars)
    return rows * 4 > tile.BM and rows < tile.BM * 5000


def task(kernel: Kernel, printed: Printed, codes: list[str], label: str) -> dict[str, Any]:
    if printed.code not in codes:
        codes.append(printed.code)
    high = lambda x: int(bounds(x)[1])  # noqa: E731
    return {
        "code": codes.index(printed.code),
        "group": kernel_text(kernel),
        "label": label,
        "slots": [
            {"bytes": high(s.size) * 4, "dtype": s.dtype, "write": s.access != "read"}
            for s in kernel.slots
        ],
        "params": [high(p) for p in printed.params],
        "grid": [high(g) for g in printed.grid],
        "flops": printed.flops if isinstance(printed.flops, int) else 0,
    }


def job(programs: dict[str, Any], tiles: tuple[Tile, ...]) -> dict[str, Any]:
    """Every distinct kernel of the programs, and each matmul and convolution in every tile."""
    codes: list[str] = []
    tasks: list[dict[str, Any]] = []
    for model, program in programs.items():
        for kernel, times in Counter(s.kernel for s in program.steps).items():
            if isinstance(kernel, Opaque):
                continue
            tasks.append(
                task(kernel, print_kernel(kernel), codes, "") | {"model": model, "times": times}
            )
            for tile in tiles if gemm(kernel) else ():
                if not suits(tile, kernel):
                    continue
                tasks.append(
                    task(kernel, print_gemm(kernel, tile), codes, str(tile))
                    | {"model": model, "times": times}
                )
    return {"codes": codes, "tasks": tasks}


def report(work: dict[str, Any], results: list[dict[str, Any] | None]) -> None:
    """Prints the table, and per model what the chosen and what the best tiles add up to."""
    chosen: Counter[str] = Counter()
    best: Counter[str] = Counter()
    groups: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for t, r in zip(work["tasks"], results, strict=True):
        if r is not None:
            groups.setdefault((t["model"], t["group"]), []).append((t, r))
    for (model, group), rows in groups.items():
        t, r = rows[0]
        least = min(rows, key=lambda row: row[1]["us"])
        chosen[model] += r["us"] * t["times"]
        best[model] += least[1]["us"] * t["times"]
        others = sorted(rows[1:], key=lambda row: row[1]["us"])[:5]
        print(
            f"{model:14.14} {t['times']:3}x {r['us']:8.1f} us "
            f"{t['flops'] / r['us'] / 1e3:8.0f} GFLOP/s  {group[:90]}"
        )
        if others:
            print("      " + "  ".join(f"{o['label']} {v['us']:.1f}" for o, v in others))
        for o, v in rows:
            if v["difference"] is None or v["difference"] > 1e-4 * max(1.0, v["size"] or 0.0):
                print(
                    f"      WRONG: {o['label']} differs by {v['difference']} "
                    f"(values of {v['size']})"
                )
    for model in chosen:
        print(
            f"{model}: {chosen[model] / 1e3:.3f} ms as printed, "
            f"{best[model] / 1e3:.3f} ms with the best tiles"
        )


def main() -> None:
    from tests.models import fetch

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", help="NAME or NAME,dim=size,...")
    parser.add_argument("--tiles", action="store_true", help="also every tile of the table")
    parser.add_argument("--job", type=Path)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    if args.results:
        report(json.loads(args.job.read_text()), json.loads(args.results.read_text()))
        return
    programs: dict[str, Any] = {}
    for text in args.models:
        name, *sizes = text.split(",")
        dims = {d.split("=")[0]: int(d.split("=")[1]) for d in sizes}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(name) if Path(name).exists() else fetch(name)
            done = webdnn.transpile(path, Path(folder) / "out", targets=["webgpu"], dims=dims)
        programs[path.stem if path.stem != "model" else name] = done.programs["webgpu"]
    work = job(programs, TILES if args.tiles else ())
    if args.job:
        args.job.write_text(json.dumps(work))
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.js").write_text(PAGE)
        with open_page(
            "chromium",
            mounts={"/bench/": Path(__file__).parent, "/page/": Path(folder)},
            webgpu=True,
        ) as page:
            reply = page.call(
                "/page/page.js", None, {"job": json.dumps(work).encode()}, timeout=3600
            )
            print("\n".join(page.console))
    report(work, reply.value)


if __name__ == "__main__":
    main()
