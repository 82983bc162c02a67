"""Whether a change of the compiler changes a kernel: the texts of all kernels before and after.

    python -m tools.kernel_diff save /tmp/before      # at the commit before
    python -m tools.kernel_diff save /tmp/after       # in the working tree
    python -m tools.kernel_diff diff /tmp/before /tmp/after

A refactor prints nothing and exits with 0. The kernels are those of the table of cases and of the
trained networks that `make models` has fetched; MODEL... after the folder saves other files.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import models
from tests.cases import CASES
from webdnn import passes
from webdnn.frontend import load
from webdnn.inspect.dump import kernel_table, sources
from webdnn.schedule.lower import lower


def graphs(paths: list[str]) -> Iterator[tuple[str, Any]]:
    """Names and graphs: of the files given, else of the cases and the networks at hand."""
    for path in paths:
        yield Path(path).stem, load(path).graph
    if paths:
        return
    for name, case in CASES.items():
        yield f"case_{name}", case.build().graph()
    for name in models.MODELS:
        try:
            yield name, load(models.fetch(name), models.dim_options(name)).graph
        except OSError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)


def save(folder: Path, paths: list[str]) -> None:
    """Writes one text per graph and target: its launches, then its distinct kernels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs(paths):
        settled = passes.run(graph, 0)
        for target in ("wasm", "webgpu"):
            program = lower(settled, target)
            texts = [kernel_table(program), *sources(program, target).values()]
            (folder / f"{name}.{target}.txt").write_text("\n\n".join(texts) + "\n")


def diff(before: Path, after: Path) -> int:
    """Prints how the texts of two folders differ; returns the number of files that do."""
    changed = 0
    for name in sorted({p.name for folder in (before, after) for p in folder.glob("*.txt")}):
        old, new = (
            (folder / name).read_text().splitlines() if (folder / name).exists() else []
            for folder in (before, after)
        )
        lines = list(difflib.unified_diff(old, new, f"before/{name}", f"after/{name}", lineterm=""))
        changed += bool(lines)
        print(*lines, sep="\n", end="\n" if lines else "")
    print(f"{changed} files differ", file=sys.stderr)
    return changed


def main(arguments: list[str]) -> int:
    """`save FOLDER [MODEL...]` or `diff BEFORE AFTER`."""
    match arguments:
        case ["save", folder, *paths]:
            save(Path(folder), paths)
            return 0
        case ["diff", before, after]:
            return int(diff(Path(before), Path(after)) > 0)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
