"""Ours beside ONNX Runtime Web on a graphics card: one browser page, taking turns.

    python -m bench.gpu.race                            # MobileNetV2, ResNet-50, style transfer
    python -m bench.gpu.race mobilenetv2 --json gpu.json
    python -m bench.gpu.race mobilenetv2 --software --rounds 1    # does it work at all?

ONNX Runtime Web runs twice: as it is, and with its commands captured and replayed (graph capture);
its better time is the one to compare with. Four times are taken of each engine, in milliseconds:

    busy         the sum of what timestamps say of each compute pass
    done         from the call until the GPU has finished, inputs and outputs being on it
    full         from arrays in to arrays out, as a page sees it
    first        from opening the engine to its first output

Busy time says how good the kernels are; a browser adds milliseconds to whatever it must wait for.
GPU clocks change: the page measures a stream of multiply-adds before and after, and the engines'
runs alternate. Outputs are checked against onnxruntime. The exit status is 1 when ours fails or an
output is off by more than 1e-3. How to prepare a machine: README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.entry import WRONG, Entry, descriptor, enter, errors, sizes
from bench.peers import ort_mounts
from webdnn.browser.engine import open_page

ENGINES = {
    "ours": "WebDNN",
    "ort": "ONNX Runtime Web",
    "ort_captured": "ONNX Runtime Web, captured",
}
USUAL: Mapping[str, Mapping[str, int]] = {
    "mobilenetv2": {},
    "light_resnet50": {},
    "multistyle26": {"h": 512, "w": 512},
}
# Headless Chromium on a Linux machine with a Vulkan driver and no display.
FLAGS = (
    "--ignore-gpu-blocklist",
    "--disable-gpu-sandbox",
    "--disable-gpu-watchdog",
    "--use-angle=vulkan",
    "--use-vulkan=native",
    "--disable-vulkan-surface",
    "--enable-features=Vulkan,VulkanFromANGLE,DefaultANGLEVulkan",
    "--disable-dawn-features=timestamp_quantization",  # else steps of 100 µs
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)
SOFTWARE = ("--disable-dawn-features=timestamp_quantization",)
HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.race",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", metavar="MODEL|DIM=SIZE", help=", ".join(USUAL))
    parser.add_argument("--engines", default=",".join(ENGINES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=10, help="turns, default: %(default)s")
    parser.add_argument("--burst", type=int, default=4, help="runs a turn, default: %(default)s")
    parser.add_argument("--pause", type=float, default=5, help="ms before a turn")
    parser.add_argument("--descriptors", type=Path, help="folder of descriptors, by model name")
    parser.add_argument("--software", action="store_true", help="the browser's software adapter")
    parser.add_argument("--flag", action="append", default=[], help="one more for the browser")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    parser.add_argument("--results", type=Path, metavar="FILE", help="a row for each model")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.engines.split(",") if name not in ENGINES]:
        parser.error(f"unknown engine {unknown[0]}; expected some of {', '.join(ENGINES)}")
    try:
        picked = sizes(given.what, USUAL)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))

    results: list[dict[str, Any]] = []
    for name, size in picked.items():
        entry = enter(name, size)
        print(f"{entry.label} …", file=sys.stderr, flush=True)
        results.append(_race(entry, given))
        if given.json:  # after each, so that what was measured survives a later crash
            given.json.write_text(json.dumps(results, indent=1))
    print(table(results))
    if given.results:
        given.results.write_text(json.dumps({"models": summary(results)}, indent=1) + "\n")
    bad = 0
    for result in results:
        for row in result["engines"]:
            wrong = "error" not in row and not row["relative_error"] <= WRONG
            if wrong or ("error" in row and row["name"] == "ours"):
                bad += 1
                reason = row.get("error") or f"relative error {row['relative_error']:.2g}"
                print(f"{result['model']}, {ENGINES[row['name']]}: {reason}", file=sys.stderr)
    return 1 if bad else 0


def _race(entry: Entry, given: argparse.Namespace) -> dict[str, Any]:
    engines = given.engines.split(",")
    served = {**ort_mounts(), "/bench/": HERE, "/onnx/": entry.onnx.parent}
    failed: list[dict[str, Any]] = []
    if "ours" in engines:
        try:
            served["/ours/"] = descriptor(entry, "webgpu", given.descriptors)
        except Exception as error:  # whatever it is, the peer can still be measured
            engines.remove("ours")
            failed = [{"name": "ours", "error": (str(error) or type(error).__name__).strip()}]
    task = {
        "engines": engines,
        "rounds": given.rounds,
        "burst": given.burst,
        "pause": given.pause,
        "inputs": entry.signature,
        "dims": entry.size,
        "onnx": f"/onnx/{entry.onnx.name}",
        "descriptor": "/ours/",
    }
    flags = [*(SOFTWARE if given.software else FLAGS), *given.flag]
    with open_page(
        "chromium", mounts=served, csp=False, webgpu=given.software, flags=flags
    ) as page:
        reply = page.call("/bench/race.mjs", task, entry.arrays, timeout=1800)
    for row in reply.value["engines"]:
        if "error" not in row:
            outputs = [
                (output, reply.arrays[f"{row['name']}-{i}"])
                for i, output in enumerate(row["outputs"])
            ]
            row["absolute_error"], row["relative_error"] = errors(outputs, entry.expected)
    reply.value["engines"][:0] = failed
    return {"model": entry.label, "gflop": entry.gflop, **reply.value}


def summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each model, as results.json has them: medians in ms, the peer's in its better way.

    PyTorch's are not measured here: `torch_ms` stays empty."""
    rows = []
    for result in results:
        medians = {
            row["name"]: {
                **{key: round(statistics.median(value), 3) for key, value in row["times"].items()},
                "first": round(row["first"], 1),
            }
            for row in result["engines"]
            if "error" not in row
        }
        ours = next((row for row in result["engines"] if row["name"] == "ours"), {})
        peers = [times for name, times in medians.items() if name != "ours"]
        row: dict[str, Any] = {"model": result["model"], "torch_ms": None}
        for key in ("busy", "done", "first"):
            row[f"ours_{key}_ms"] = medians.get("ours", {}).get(key)
            row[f"ort_{key}_ms"] = min((times[key] for times in peers), default=None)
        row["launches"] = ours.get("counts", {}).get("dispatches")
        row["error"] = ours.get("relative_error")
        rows.append(row)
    return rows


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: minimum and median of each time, and the peer's busy time as a multiple of ours."""
    lines = [
        "| model | GFLOP | engine | busy ms min / median | × ours | done ms | full ms "
        "| first output ms | dispatches, passes, submits | max abs error | relative |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        ours = next(
            (min(row["times"]["busy"]) for row in result["engines"]
             if row["name"] == "ours" and "error" not in row),
            None,
        )  # fmt: skip
        for row in result["engines"]:
            label = f"| {result['model']} | {result['gflop']:.2f} | {ENGINES[row['name']]} |"
            if "error" in row:
                short = " ".join(row["error"].split())[:160]
                lines.append(f"{label} {short} | | | | | | | |")
                continue
            times = row["times"]
            busy = times["busy"]
            middle = {key: statistics.median(value) for key, value in times.items()}
            counts = ", ".join(str(count) for count in row["counts"].values())
            lines.append(
                f"{label} {min(busy):.3f} / {middle['busy']:.3f} | "
                f"{f'{min(busy) / ours:.2f}' if ours else ''} | {middle['done']:.2f} | "
                f"{middle['full']:.2f} | {row['first']:.0f} | {counts} | "
                f"{row['absolute_error']:.1e} | {row['relative_error']:.1e} |"
            )
    adapters = {" ".join(filter(None, result["adapter"].values())) for result in results}
    clocks = [clock for result in results for clock in result["clocks"]]
    lines += [
        "",
        f"{', '.join(sorted(adapters))}; multiply-adds before and after: "
        f"{', '.join(f'{clock:.3g}' for clock in clocks)} TFLOP/s.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
