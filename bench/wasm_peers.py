"""Ours beside ONNX Runtime Web and LiteRT.js on WebAssembly, in one browser, taking turns.

    python -m bench.wasm_peers                                   # the usual models, 1 and 2 threads
    python -m bench.wasm_peers minilm T=77 --threads 1 --json minilm.json
    python -m bench.wasm_peers --quick --html bench.html

For every model and number of threads one headless Chromium page opens all engines on the same
network and the same input; then they run in turns (A, B, C, A, B, C, …), a burst each, so that a
busy moment of the machine falls on all of them. Printed: minimum and median of the warm runs, the
time from opening an engine to its first output, what share of the core's measured multiply-add
ceiling it reaches, the code it downloads (gzip, weights apart), and the error of its outputs
against onnxruntime. Figures move from machine to machine and from run to run: quote the ratios.

Ours is transpiled for the size at hand with `webdnn.transpile`, or taken from `--descriptors DIR`,
a folder of descriptors named like the models. LiteRT.js takes part where the same network exists as
a .tflite file that it accepts (basic_pitch leaves its batch open, which it does not). The exit
status is 1 when ours fails, or when an output of any engine is off by more than 1e-3.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from bench import page
from bench.entry import WRONG, Entry, descriptor, enter, errors, sizes
from bench.peers import mounts
from tests import models
from webdnn.browser.engine import open_page
from webdnn.cli import describe

ENGINES = {"ours": "WebDNN", "ort": "ONNX Runtime Web", "litert": "LiteRT.js"}
# What is measured when no model is named, at the sizes that docs and notes quote.
USUAL: Mapping[str, Mapping[str, int]] = {
    **{name: {} for name in models.COMPARED},
    "minilm": {"T": 128},
    "ppocr_det": {"h": 640, "w": 640},
    "ppocr_rec": {},
    "opennsfw": {},
    "multistyle26": {"h": 256, "w": 256},
    "basic_pitch": {},
    "openwakeword": {},
}
QUICK = ("keras_mobilenetv2", "minilm", "multistyle26")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One engine on one network with one number of threads. Times are milliseconds."""

    model: str
    threads: int
    engine: str
    gflop: float
    backend: str = "wasm"
    minimum: float = float("nan")
    median: float = float("nan")
    first: float = float("nan")
    ceiling: float = float("nan")
    """GFLOP/s that one core reached in the same page."""
    code_gzip: int = 0
    absolute_error: float = float("nan")
    relative_error: float = float("nan")
    notes: Mapping[str, Any] | None = None
    failure: str = ""

    @property
    def share(self) -> float:
        """The part of the multiply-add ceiling of all threads that the fastest run reached."""
        return self.gflop / self.minimum * 1e3 / (self.ceiling * self.threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.wasm_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", metavar="MODEL|DIM=SIZE", help=", ".join(USUAL))
    parser.add_argument("--engines", default=",".join(ENGINES), help="default: %(default)s")
    parser.add_argument("--threads", default="1,2", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=10, help="turns, default: %(default)s")
    parser.add_argument("--burst", type=int, default=3, help="runs a turn, default: %(default)s")
    parser.add_argument("--pause", type=float, default=20, help="ms before a turn")
    parser.add_argument("--descriptors", type=Path, help="folder of descriptors, by model name")
    parser.add_argument("--quick", action="store_true", help="three networks, in three minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page of bars here")
    given = parser.parse_args(arguments)
    if given.quick:
        given.what, given.rounds = [*given.what, *QUICK], min(given.rounds, 5)
    if unknown := [name for name in given.engines.split(",") if name not in ENGINES]:
        parser.error(f"unknown engine {unknown[0]}; expected some of {', '.join(ENGINES)}")
    try:
        picked = sizes(given.what, USUAL)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))

    rows: list[Row] = []
    for name, size in picked.items():
        entry = enter(name, size)
        for threads in map(int, given.threads.split(",")):
            print(f"{entry.label}, {threads} thread(s) …", file=sys.stderr, flush=True)
            rows += measure(entry, threads, given, models.fetch_tflite(name))
    print(table(rows))
    results = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "rows": [_plain(row) for row in rows],
    }
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1))
    if given.html:
        given.html.parent.mkdir(parents=True, exist_ok=True)
        page.report(given.html, results)
    bad = [
        row
        for row in rows
        if (row.engine == "ours" if row.failure else not row.relative_error <= WRONG)
    ]
    for row in bad:
        reason = row.failure or f"relative error {row.relative_error:.2g}, expected {WRONG:g}"
        print(f"{row.model}, {ENGINES[row.engine]}: {reason}", file=sys.stderr)
    return 1 if bad else 0


def measure(
    entry: Entry, threads: int, given: argparse.Namespace, tflite: Path | None = None
) -> list[Row]:
    """Every engine on one network, taking turns; `tflite` is the same network for LiteRT.js."""
    engines = [e for e in given.engines.split(",") if e != "litert" or tflite]
    served = {**mounts(), "/bench/": HERE, "/onnx/": entry.onnx.parent}
    rows: list[Row] = []
    if tflite:
        served["/tflite/"] = tflite.parent
    if "ours" in engines:
        try:
            served["/ours/"] = descriptor(entry, "wasm", given.descriptors)
        except Exception as error:  # whatever it is, the peers can still be measured
            engines.remove("ours")
            short = (str(error) or type(error).__name__).strip().splitlines()[0]
            rows.append(Row(entry.label, threads, "ours", entry.gflop, failure=short))
    task = {
        "engines": engines,
        "backend": "wasm",
        "threads": threads,
        "rounds": given.rounds,
        "burst": given.burst,
        "pause": given.pause,
        "inputs": entry.signature,
        "dims": entry.size,
        "onnx": f"/onnx/{entry.onnx.name}",
        "tflite": f"/tflite/{tflite.name}" if tflite else None,
        "descriptor": "/ours/",
        "peak": "/peak/peak.wasm",
    }
    with open_page("chromium", mounts=served, csp=False) as opened:
        reply = opened.call("/bench/turns.mjs", task, entry.arrays, timeout=1800)
    ceiling = max(reply.value["ceiling"])
    for report in reply.value["engines"]:
        row = Row(entry.label, threads, report["name"], entry.gflop, ceiling=ceiling)
        if "error" in report:
            rows.append(replace(row, failure=" ".join(report["error"].split())))
            continue
        outputs = [
            (output, reply.arrays[f"{report['name']}-{i}"])
            for i, output in enumerate(report["outputs"])
        ]
        absolute, relative = errors(outputs, entry.expected)
        rows.append(
            replace(
                row,
                minimum=min(report["times"]),
                median=statistics.median(report["times"]),
                first=report["first"],
                code_gzip=_code_size(report, served),
                absolute_error=absolute,
                relative_error=relative,
                notes=report["notes"],
            )
        )
    return rows


def _code_size(report: Mapping[str, Any], served: Mapping[str, Path]) -> int:
    """Bytes of code, gzipped, that an engine downloads: everything but the network's weights."""
    if report["name"] == "ours":
        targets = describe(served["/ours/"])["targets"]
        return int(targets[f"wasm {report['notes']['variant']}"]["code_gzip"])
    size = 0
    for url in dict.fromkeys(report["fetched"]):
        mount = "/" + PurePosixPath(url).parts[1] + "/"
        if mount not in ("/onnx/", "/tflite/") and mount in served:
            size += len(gzip.compress((served[mount] / url.removeprefix(mount)).read_bytes(), 9))
    return size


def _plain(row: Row) -> dict[str, Any]:
    """A row for JSON, which has no NaN: null is what was not measured."""
    finite = {key: None if value != value else value for key, value in asdict(row).items()}
    return {key: None if value == float("inf") else value for key, value in finite.items()}


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, with every peer's minimum as a multiple of ours."""
    ours = {(r.model, r.threads): r.minimum for r in rows if r.engine == "ours" and not r.failure}
    lines = [
        "| model | GFLOP | threads | engine | min ms | median ms | × ours | of ceiling "
        "| first output ms | code kB gzip | max abs error | relative |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        label = f"| {r.model} | {r.gflop:.2f} | {r.threads} | {ENGINES[r.engine]} |"
        if r.failure:
            lines.append(f"{label} {r.failure[:120]} | | | | | | | |")
            continue
        base = ours.get((r.model, r.threads))
        lines.append(
            f"{label} {r.minimum:.2f} | {r.median:.2f} | "
            f"{f'{r.minimum / base:.2f}' if base else ''} | {r.share:.0%} | {r.first:.0f} | "
            f"{r.code_gzip / 1e3:.0f} | {r.absolute_error:.1e} | {r.relative_error:.1e} |"
        )
    best = max((row.ceiling for row in rows if not row.failure), default=float("nan"))
    lines.append("")
    lines.append(
        f"One core's multiply-add ceiling in the same pages: {best:.1f} GFLOP/s. "
        f"{platform.machine()}, {os.cpu_count()} cores."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
