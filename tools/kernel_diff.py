"""Whether a change of the compiler changes a kernel: of the table of cases and of trained networks.

    python -m tools.kernel_diff check                # against the digest in tests/kernels.json
    python -m tools.kernel_diff update               # the change is meant: writes that digest

    python -m tools.kernel_diff save /tmp/before     # at the commit before
    python -m tools.kernel_diff save /tmp/after      # in the working tree
    python -m tools.kernel_diff diff /tmp/before /tmp/after

The digest has an entry for each graph and target: a hash of its launches (which kernel, on which
buffers, with which sizes), then each distinct kernel's name and a hash of its text. Where in the
model a kernel comes from (the first line of what is saved) is not part of it. `check` names what
changed; `save` and `diff` show how, MODEL... after the folder for some files alone. A refactor
changes nothing, and both exit with 0. A network that cannot be fetched is left out, but in CI it is
an error.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import webdnn
from tests import models
from tests.cases import CASES
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.frontend import load
from webdnn.graph import Graph
from webdnn.inspect.dump import kernel_table, sources
from webdnn.schedule.kernel import Kernel, Program
from webdnn.schedule.lower import lower
from webdnn.schedule.target import Target

DIGEST = Path(__file__).parents[1] / "tests" / "kernels.json"
# What all kernels of a target share, and no kernel's own text shows.
SHARED = ("prelude.h", "double.h", "module.c")

Digest = dict[str, list[str]]


def network(name: str) -> Graph:
    """A network of tests/models.py, imported; OSError or FetchError if it cannot be had."""
    path, weights = models.fetch(name), models.fetch_weights(name)
    return load(path, models.dim_options(name), weights=weights).graph


def graphs(paths: Sequence[str]) -> Iterator[tuple[str, Graph]]:
    """Names and graphs: of the files given, else of the cases and the networks at hand."""
    for path in paths:
        yield Path(path).stem, load(path).graph
    if paths:
        return
    for name, case in CASES.items():
        yield f"case_{name}", case.build().graph()
    for name in models.MODELS | models.OTHER:
        try:
            yield name, network(name)
        except (OSError, models.FetchError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)


def save(folder: Path, paths: Sequence[str]) -> None:
    """Writes one text per graph and target: its launches, then its distinct kernels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs(paths):
        settled = passes.run(graph, 0)
        for target in TARGETS.values():
            program = lower(settled, target)
            texts = [kernel_table(program), *sources(program, target).values()]
            (folder / f"{name}.{target.name}.txt").write_text("\n\n".join(texts) + "\n")


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


# ---- the digest ----------------------------------------------------------------------------------


def short(text: str) -> str:
    """A hash that is long enough to tell two texts of one kernel apart."""
    return sha256(text.encode()).hexdigest()[:8]


def entries(program: Program, target: Target) -> list[str]:
    """The hash of the launches, then "name hash" of each distinct kernel in order of first use."""
    kernels: dict[Kernel, tuple[str, tuple[Any, ...]]] = {}
    buffers: dict[int, int] = {}  # numbered in order of first use
    rows: dict[str, None] = {}
    launches = []
    for step in (*program.prepare, *program.steps):
        if step.kernel not in kernels:
            printed = target.print(step.kernel)
            kernels[step.kernel] = f"{printed.name} {short(printed.text)}", printed.given
        row, given = kernels[step.kernel]
        rows[row] = None
        launches.append((row, [buffers.setdefault(b, len(buffers)) for b in step.buffers], given))
    sizes = [(b.kind, b.dtype, b.size) for b in map(program.buffers.__getitem__, buffers)]
    return [short(repr((len(program.prepare), launches, sizes))), *rows]


def digest_of(name: str) -> Digest:
    """The entries of one graph; none of a network that cannot be fetched, unless in CI."""
    try:
        case = name.removeprefix("case_")
        graph = network(name) if case == name else CASES[case].build().graph()
    except (OSError, models.FetchError) as error:
        if os.environ.get("CI"):
            raise
        print(f"{name} is left out: {error}", file=sys.stderr)
        return {}
    settled = passes.run(graph, 0)
    # Half precision has the kernels of WebGPU, on other buffers.
    return {f"{name} {t}": entries(lower(settled, TARGETS[t]), TARGETS[t]) for t in webdnn.TARGETS}


def digest() -> Digest:
    """The digest of the working tree."""
    root = Path(webdnn.__file__).parent
    found = {name: [short(p.read_text()) for p in root.rglob(name)] for name in SHARED}
    names = [*(models.MODELS | models.OTHER), *(f"case_{name}" for name in CASES)]
    with ProcessPoolExecutor() as pool:
        for some in pool.map(digest_of, names):
            found |= some
    return found


def written(digest: Mapping[str, Sequence[str]]) -> str:
    """The digest as JSON: a line for each entry, or for each kernel where that is too long."""
    rows = []
    for name, row in sorted(digest.items()):
        line = f"{json.dumps(name)}: {json.dumps(row)}"
        rows.append(line if len(line) < 100 else f"{json.dumps(name)}: {json.dumps(row, indent=1)}")
    return "{\n" + ",\n".join(rows) + "\n}\n"


def changes(old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each entry that differs: the kernels that are others or gone."""
    lines = []
    for name in [*new, *(old.keys() - new.keys())]:
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            lines.append(f"{name}: {'is new' if before is None else 'is gone'}")
        elif before != after:
            left, right = Counter(before[1:]), Counter(after[1:])
            kernels = dict.fromkeys(row.split(" ")[0] for row in (*(right - left), *(left - right)))
            lines.append(f"{name}: {', '.join(kernels) or 'what is launched, or with what'}")
    return lines


def recorded(new: Digest) -> tuple[Digest, Digest]:
    """The committed digest: what `new` is compared with, and networks that `new` leaves out."""
    old = json.loads(DIGEST.read_text()) if DIGEST.exists() else {}
    networks = models.MODELS | models.OTHER
    left_out = {k: v for k, v in old.items() if k not in new and k.split(" ")[0] in networks}
    return {k: v for k, v in old.items() if k not in left_out}, left_out


def check() -> int:
    """Prints which kernels are not those of the digest; returns the number of such entries."""
    new = digest()
    lines = changes(recorded(new)[0], new)
    if lines:
        print(*lines, sep="\n")
        print(
            f"{len(lines)} of {len(new)} entries of tests/kernels.json are others. If that is "
            "meant, write the new ones with `python -m tools.kernel_diff update` and say why in "
            "the commit; if not, `save` and `diff` show how the kernels differ.",
            file=sys.stderr,
        )
    return len(lines)


def update() -> None:
    """Writes the digest and prints what changed."""
    new = digest()
    old, left_out = recorded(new)
    DIGEST.write_text(written(new | left_out))
    print(*changes(old, new), sep="\n")


def main(arguments: list[str]) -> int:
    """`check`, `update`, `save FOLDER [MODEL...]` or `diff BEFORE AFTER`."""
    match arguments:
        case ["check"]:
            return int(check() > 0)
        case ["update"]:
            update()
            return 0
        case ["save", folder, *paths]:
            save(Path(folder), paths)
            return 0
        case ["diff", before, after]:
            return int(diff(Path(before), Path(after)) > 0)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
