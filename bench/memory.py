"""How much memory `webdnn.transpile` takes for a model that is larger than what one would hold.

    python -m bench.memory                     # 2,500 MB of random weights
    python -m bench.memory 256 --target wasm   # as many MB, one target

The model is `tests.large`'s: ONNX, float32, the weights in a file of their own. The process is one
of its own, as a user starts it. "More" is its largest memory less the model's largest weight.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.large import largest_memory, write_model


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("size", nargs="?", type=float, default=2500, metavar="MB")
    parser.add_argument("--target", default="webgpu,wasm", help="default: %(default)s")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "large.onnx"
        largest = write_model(model, given.size)
        start = time.perf_counter()
        memory = largest_memory(
            f"import webdnn; webdnn.transpile({str(model)!r}, {folder + '/descriptor'!r}, "
            f"targets={given.target.split(',')!r})"
        )
        seconds = time.perf_counter() - start
    print("| model MB | targets | s | memory MB | largest weight MB | more MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    row = [f"{n / 1e6:.0f}" for n in (memory, largest, memory - largest)]
    print(f"| {given.size:.0f} | {given.target} | {seconds:.0f} | {' | '.join(row)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
