"""How long `webdnn transpile` takes: with nothing compiled before, and again at once.

    python -m bench.transpile                     # the models that the races run, both targets
    python -m bench.transpile minilm T=77 --target wasm

Each run is a process of its own, as a user starts it, Python's start included. "Cold" has an empty
cache of compiled objects, "warm" the one that the cold run left; neither downloads anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.entry import sizes
from bench.wasm_peers import USUAL
from tests import models


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.transpile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", metavar="MODEL|DIM=SIZE", help=", ".join(USUAL))
    parser.add_argument("--target", default="webgpu,wasm", help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        picked = sizes(given.what, USUAL)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))
    print("| model | MB | targets | cold s | warm s |\n| --- | --- | --- | --- | --- |")
    for name, size in picked.items():
        onnx = models.fetch(name)
        dims = [f"{key}={value}" for key, value in models.fixed_dims(name, size).items()]
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (_seconds(onnx, dims, given.target, Path(folder)) for _ in range(2))
        label = " ".join([name, "×".join(map(str, size.values()))]).strip()
        megabytes = f"{onnx.stat().st_size / 1e6:.1f}"
        print(f"| {label} | {megabytes} | {given.target} | {cold:.1f} | {warm:.1f} |", flush=True)
    return 0


def _seconds(onnx: Path, dims: Sequence[str], target: str, folder: Path) -> float:
    command = [sys.executable, "-m", "webdnn.cli", "transpile", str(onnx), "--target", target,
               "-o", str(folder / "descriptor")]  # fmt: skip
    if dims:
        command += ["--dim", *dims]
    environment = {**os.environ, "WEBDNN_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
