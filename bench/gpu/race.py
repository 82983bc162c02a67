"""Ours beside ONNX Runtime Web and PyTorch on a graphics card: seven networks.

    python -m bench.gpu.race                             # all seven
    python -m bench.gpu.race mobilenetv2 --torch torch.json --results bench/gpu/results.json
    python -m bench.gpu.race tiny_bert --software --quick      # does it work at all?

The two engines take turns in one page of a browser, with the same weights and inputs. ONNX Runtime
Web runs the network as exporters write it and, where it has operators of its own for it, as its
optimizer does; each with its commands captured and replayed (graph capture), or without where that
fails. Its better way counts. Four times are taken of each engine, in milliseconds:

    busy         the sum of what timestamps say of each compute pass
    done         from the call until the GPU has finished, inputs and outputs being on it
    full         from arrays in to arrays out, as a page sees it (a cache stays on the GPU)
    queued       of one run among 20 that are started without waiting for the GPU
    first        from importing the engine to its first output, in a browser that did nothing else

Busy time says how good the kernels are; a browser adds milliseconds to whatever it must wait for.
Each pair runs in two browsers, so that each engine opens first in one. GPU clocks change: a stream
of multiply-adds is measured before and after. Outputs are those of the last run, compared with
onnxruntime's. The exit status is 1 when ours fails or an output is off by more than 1e-3. How to
prepare a machine, also one without network: README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.entry import WRONG, errors
from bench.gpu import pytorch
from bench.gpu.networks import DEFINITIONS, NETWORKS, Prepared, prepare
from bench.peers import ort_mounts
from tests.packages import cache_dir
from webdnn.browser.engine import HARDWARE_WEBGPU, open_page
from webdnn.errors import WebDNNError

SOFTWARE = ("--disable-dawn-features=timestamp_quantization",)
HERE = Path(__file__).parent
KINDS = ("busy", "done", "full", "queued")
STEADY = 1.05
"""Clocks that differ by more make a race void."""

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.race",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(DEFINITIONS))
    parser.add_argument(
        "--rounds", type=int, default=4, help="turns a browser, default %(default)s"
    )
    parser.add_argument("--burst", type=int, default=4, help="runs a turn, default %(default)s")
    parser.add_argument("--queued", type=int, default=20, help="runs at once, default %(default)s")
    parser.add_argument("--pause", type=float, default=5, help="ms before a turn")
    parser.add_argument("--quick", action="store_true", help="one round of one run of each")
    parser.add_argument("--software", action="store_true", help="the browser's software adapter")
    parser.add_argument("--flag", action="append", default=[], help="one more for the browser")
    parser.add_argument("--prepare", action="store_true", help="make all files, and stop")
    parser.add_argument("--jobs", type=int, default=2, help="networks made at a time")
    parser.add_argument("--seconds", type=float, help="start no further browser after this long")
    parser.add_argument(
        "--torch", type=Path, metavar="FILE", help="PyTorch's times; what it lacks is measured"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    parser.add_argument("--results", type=Path, metavar="FILE", help="a row for each model")
    given = parser.parse_args(arguments)
    names = given.models or list(NETWORKS)
    if unknown := [name for name in names if name not in DEFINITIONS]:
        parser.error(f"unknown model {unknown[0]}; expected some of {', '.join(DEFINITIONS)}")
    if given.quick:
        given.rounds = given.burst = given.queued = 1

    start = time.monotonic()
    with ProcessPoolExecutor(given.jobs) as pool:
        prepared = dict(zip(names, pool.map(_prepared, names), strict=True))
    if given.prepare:
        return 0
    torch = pytorch.times(names, given.torch) if given.torch else {}
    results: list[Row] = []
    for name, (network, descriptor) in prepared.items():
        if given.seconds and time.monotonic() - start > given.seconds:
            print(f"{name}: no time is left for it", file=sys.stderr)
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        results.append(_race(network, descriptor, given))
        print(table(results[-1:], torch, header=len(results) == 1), flush=True)
        # After each, so that what was measured survives a later crash.
        if given.json:
            given.json.write_text(json.dumps(results, indent=1))
        if given.results:
            rows = summary(results, torch)
            given.results.write_text(json.dumps({"models": rows}, indent=1) + "\n")
    print(closing(results))
    bad = 0
    for result in results:
        for row in result["engines"]:
            wrong = "error" not in row and not row["relative_error"] <= WRONG
            if wrong or ("error" in row and row["name"] == "ours"):
                bad += 1
                reason = row.get("error") or f"relative error {row['relative_error']:.2g}"
                print(f"{result['model']}, {row['name']}: {reason}", file=sys.stderr)
    return 1 if bad else 0


def _prepared(name: str) -> tuple[Prepared, Path]:
    """The network's files and our descriptor of it, which is transpiled each time."""
    import webdnn

    network = prepare(name)
    folder = cache_dir() / "bench" / f"gpu-{name}-webgpu"
    start = time.perf_counter()
    webdnn.transpile(network.plain, folder, targets=("webgpu",))
    print(f"{name}: transpiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return network, folder


def _race(network: Prepared, descriptor: Path, given: argparse.Namespace) -> Row:
    """One network: ours against each file of the peer's, each pair in two browsers."""
    rows: dict[str, Row] = {}
    result: Row = {"model": network.name, "gflop": network.gflop, "clocks": []}
    for file in filter(None, (network.plain, network.fused)):
        for captured in (True, False):
            name = f"{file.stem}{', captured' if captured else ''}"
            for first in ("ours", name):
                reply = _page(network, descriptor, file, captured, first == "ours", given)
                print(f"  {name}: {reply.get('clocks')}", file=sys.stderr, flush=True)
                for row in reply["engines"]:
                    row["name"] = "ours" if row.pop("kind", "ours") == "ours" else name
                    _merge(rows, row)
                result["clocks"].append(reply.get("clocks", []))
                result.setdefault("adapter", reply.get("adapter"))
                if "error" in rows.get(name, {"error": ""}):
                    break
            if "error" not in rows.get(name, {"error": ""}):
                break
    result["engines"] = list(rows.values())
    return result


def _page(
    network: Prepared,
    descriptor: Path,
    file: Path,
    captured: bool,
    ours_first: bool,
    given: argparse.Namespace,
) -> Row:
    """A browser with both engines; what race.mjs returns, with errors of outputs."""
    fused = file == network.fused
    sets = {"plain": network.inputs(), file.stem: network.inputs(fused)}
    signatures = {
        name: [
            {"name": key, "dtype": str(value.dtype), "shape": value.shape,
             "kept": key.startswith("past_")}
            for key, value in inputs.items()
        ]
        for name, inputs in sets.items()
    }  # fmt: skip
    entrants = [
        {"kind": "ours", "url": "/ours/", "set": "plain", "inputs": signatures["plain"],
         "captured": False, "inPlace": False},
        {"kind": "ort", "url": f"/onnx/{file.name}", "set": file.stem,
         "inputs": signatures[file.stem], "captured": captured,
         "inPlace": fused and any(key.startswith("past_") for key in sets[file.stem])},
    ]  # fmt: skip
    task = {
        "entrants": entrants if ours_first else entrants[::-1],
        "rounds": given.rounds,
        "burst": given.burst,
        "queued": given.queued,
        "pause": given.pause,
    }
    arrays = {
        f"{name}-{i}": value.tobytes()
        for name, inputs in sets.items()
        for i, value in enumerate(inputs.values())
    }
    mounts = {**ort_mounts(), "/bench/": HERE, "/onnx/": file.parent, "/ours/": descriptor}
    flags = [*(SOFTWARE if given.software else HARDWARE_WEBGPU), *given.flag]
    try:
        with open_page(
            "chromium", mounts=mounts, csp=False, webgpu=given.software, flags=flags
        ) as page:
            reply = page.call(
                "/bench/race.mjs", task, arrays, timeout=1800 if given.software else 120
            )
    except WebDNNError as error:
        return {"engines": [{"kind": "ort", "error": f"the page failed: {error}"}]}
    expected = network.expected()
    for row in reply.value["engines"]:
        if "outputs" in row:
            found = [
                (name, reply.arrays[f"{row['kind']}-{i}"]) for i, name in enumerate(row["outputs"])
            ]
            whole = expected if row["kind"] == "ours" or not fused else {"y": expected["y"]}
            wanted = [(name, data) for name, data in found if name in whole]
            row["absolute_error"], row["relative_error"] = errors(wanted, whole)
        elif "error" not in row:
            row["error"] = "its rival did not open"
    value: Row = reply.value
    return value


def _merge(rows: dict[str, Row], new: Row) -> None:
    """Adds what one browser measured to what others did."""
    old = rows.get(new["name"])
    firsts = [new.pop("first")] if new.get("first") is not None else []
    if old is None or ("error" in old and "error" not in new):
        rows[new["name"]] = {**new, "first": [*(old or {}).get("first", []), *firsts]}
    elif "error" in new:
        if "times" not in old or new["name"] != "ours":
            old["error"] = new["error"]
    else:
        for kind in KINDS:
            old["times"][kind] += new["times"][kind]
        old["first"] += firsts
        for key in ("absolute_error", "relative_error"):
            old[key] = new[key] if not new[key] <= old[key] else old[key]


def medians(row: Row) -> dict[str, float]:
    """Of each kind of time, and of the first outputs."""
    times = {kind: statistics.median(values) for kind, values in row["times"].items() if values}
    return {**times, **({"first": statistics.median(row["first"])} if row["first"] else {})}


def summary(results: Sequence[Row], torch: Mapping[str, Row]) -> list[Row]:
    """A row for each model, as results.json has them: medians in ms, the peer's better way."""
    rows = []
    for result in results:
        sound = {row["name"]: row for row in result["engines"] if "error" not in row}
        ours = medians(sound["ours"]) if "ours" in sound else {}
        peers = [medians(row) for name, row in sound.items() if name != "ours"]
        row: Row = {"model": result["model"]}
        for kind, digits in (("busy", 3), ("done", 2), ("first", 0)):
            best = min((times[kind] for times in peers if kind in times), default=None)
            for key, value in ((f"ours_{kind}_ms", ours.get(kind)), (f"ort_{kind}_ms", best)):
                row[key] = None if value is None else round(value, digits) if digits else int(value)
            if kind == "busy":
                row["torch_ms"] = _best(torch.get(result["model"], {}))
        row["launches"] = sound.get("ours", {}).get("counts", {}).get("dispatches")
        error = sound.get("ours", {}).get("relative_error")
        row["error"] = None if error is None else float(f"{error:.2e}")
        rows.append(row)
    return rows


def _best(torch: Row) -> float | None:
    times = [torch[kind] for kind in ("graph_ms", "compile_ms") if torch.get(kind) is not None]
    return round(min(times), 3) if times else None


def table(results: Sequence[Row], torch: Mapping[str, Row], header: bool = True) -> str:
    """Markdown: medians of each time, and the peer's busy time as a multiple of ours."""
    lines = [
        "| model | GFLOP | engine | busy ms min / median | × ours | done ms | full ms | queued ms "
        "| first output ms | dispatches, passes, submits | max abs error | relative |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ] if header else []  # fmt: skip
    for result in results:
        ours = next(
            (medians(row)["busy"] for row in result["engines"]
             if row["name"] == "ours" and "error" not in row),
            None,
        )  # fmt: skip
        label = f"| {result['model']} | {result['gflop']:.2f} |"
        for row in result["engines"]:
            who = "WebDNN" if row["name"] == "ours" else f"ONNX Runtime Web, {row['name']}"
            if "error" in row:
                short = " ".join(row["error"].split())[:160]
                lines.append(f"{label} {who} | {short} | | | | | | | | |")
                continue
            times = medians(row)
            part = f"{times['busy'] / ours:.2f}" if ours else ""
            counts = ", ".join(str(count) for count in row["counts"].values())
            lines.append(
                f"{label} {who} | {min(row['times']['busy']):.3f} / {times['busy']:.3f} | "
                f"{part} | {times['done']:.2f} | "
                f"{times['full']:.2f} | {times['queued']:.2f} | {times.get('first', 0):.0f} | "
                f"{counts} | {row['absolute_error']:.1e} | {row['relative_error']:.1e} |"
            )
        beside = torch.get(result["model"], {})
        for kind in ("graph", "compile"):
            if (ms := beside.get(f"{kind}_ms")) is not None:
                part = f"{ms / ours:.2f}" if ours else ""
                error = beside["relative_error"]
                lines.append(
                    f"{label} PyTorch, {kind} | {ms:.3f} | {part} | | | | | | | {error:.1e} |"
                )
    return "\n".join(lines)


def closing(results: Sequence[Row]) -> str:
    """Which device it was, and whether its clock was steady."""
    adapters = {" ".join(filter(None, (r.get("adapter") or {}).values())) for r in results}
    lines = ["", ", ".join(sorted(adapters))]
    for result in results:
        clocks = list(_flat(result["clocks"]))
        if clocks:
            steady = max(clocks) <= STEADY * min(clocks)
            lines.append(
                f"{result['model']}: multiply-adds at {min(clocks):.3g} to {max(clocks):.3g} "
                f"TFLOP/s{'' if steady else ': the clock changed, repeat'}"
            )
    return "\n".join(lines)


def _flat(clocks: Sequence[Sequence[float]]) -> Iterator[float]:
    for pair in clocks:
        yield from pair


if __name__ == "__main__":
    sys.exit(main())
