"""Writes the graph descriptor (docs/descriptor.md): weights, kernels, and what a page imports.

Everything is written into a temporary folder beside the output and moved into place at the end, so
a failed or interrupted transpile leaves nothing behind and an older descriptor untouched.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..codegen.integers import to_json
from ..errors import WebDNNError
from ..expr import Expr
from ..graph import DTYPES, lengths
from ..schedule.kernel import Program, Tensor
from ..schedule.target import Target
from ..version import __version__
from .module_js import PACKAGE, model_dts, model_js
from .weights import write_weights

FORMAT = 1
ALWAYS = ("model.json", "model.js", "model.d.ts", "package.json", "report.html")
# The runner's code that is written into model.js.
BOUND = "bound.js"

Progress = Callable[[str, int, int], None]


class Folder:
    """The folder being written, and the list of its files."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, dict[str, Any]] = {}

    def write(self, stem: str, suffix: str, data: bytes) -> str:
        """A file whose name carries the hash of its content; returns the name."""
        digest = hashlib.sha256(data).hexdigest()
        name = f"{stem}.{digest[:10]}{suffix}"
        (self.path / name).write_bytes(data)
        self.files[name] = {"bytes": len(data), "sha256": digest}
        return name


def runner_source() -> Path:
    """The folder of the descriptor runner, built: in the wheel, or beside the package.

    Raises WebDNNError where neither has them.
    """
    packaged = Path(str(files("webdnn"))) / "runner"
    checkout = Path(__file__).resolve().parents[2] / "runner" / "dist"
    for folder in (packaged, checkout):
        if (folder / "index.js").is_file():
            return folder
    raise WebDNNError(
        f"the descriptor runner is missing: neither {packaged} nor {checkout} has index.js; "
        "reinstall webdnn"
    )


def write_runner(folder: Folder) -> str:
    """Copies the runner into a folder named by its content; returns that name."""
    files = [
        path
        for path in sorted(runner_source().iterdir())
        if path.suffix in (".js", ".ts") and path.name != BOUND
    ]
    digest = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()
    name = f"runner.{digest[:10]}"
    (folder.path / name).mkdir()
    for path in files:
        shutil.copyfile(path, folder.path / name / path.name)
    return name


def sealed(document: Mapping[str, Any], indent: int | None = 1) -> str:
    """The text of model.json, with the SHA-256 of all of it but that digest's own digits."""
    separators = (",", ":") if indent is None else None
    text = json.dumps({**document, "sha256": ""}, indent=indent, separators=separators)
    digest = hashlib.sha256(text.encode()).hexdigest()
    head, _, tail = text.rpartition('""')
    return f'{head}"{digest}"{tail}'


def _dimension(d: Expr) -> dict[str, Any]:
    """A symbolic dimension as model.json lists it."""
    name, low, high, step = d.args
    return {"name": name, "min": low, "max": high, **({"step": step} if step > 1 else {})}


def _signature(
    tensors: Iterable[Tensor], extras: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The tensors as model.json lists them; `extras` are further fields by tensor name."""
    return [
        {
            "name": t.name,
            "dtype": DTYPES[t.dtype],
            "shape": [to_json(d) for d in t.shape],
            **({"words": t.words} if t.words > 1 else {}),
            **extras.get(t.name, {}),
        }
        for t in tensors
    ]


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    """A check of positions (`passes.checks`) as model.json has it."""
    return {**check, "size": to_json(check["size"])}


def _counted(program: Program) -> dict[str, dict[str, Any]]:
    """What model.json says besides of outputs whose length a run finds, and of what counts them."""
    largest = {t.name: t.shape for t in program.outputs}
    return {
        name: {
            "shape": [to_json(d) for d in shape],
            "largest": [to_json(d) for d in largest[name]],
        }
        for name, shape in program.counts.items()
    } | {name: {"hidden": True} for name in lengths(program.counts, program.dims)}


def write(
    programs: Mapping[Target, Program],
    output: Path,
    name: str,
    *,
    images: Mapping[str, Mapping[str, Any]] | None = None,
    drawings: Mapping[str, Mapping[str, Any]] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    form: str = "",
    keep: bool = False,
    checks: Sequence[Mapping[str, Any]] | None = None,
    keep_versions: int = 1,
    report: Callable[[dict[str, Any]], str],
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Writes the descriptor of `programs` (by target) to `output`, atomically.

    `images` says how pictures become inputs, `drawings` which outputs are pictures, `labels` what
    the classes of outputs are called, each by the tensor's name. `form` is what weights were made
    into, if they were. `checks` are those of positions,
    where they are compiled in. The files of the newest `keep_versions` that `output` holds stay,
    for pages that are open while a new version is deployed. `report` gives the page for people,
    `report.html`, from model.json's content.

    Returns the content of model.json, but for its digest. Raises WebDNNError where `output` cannot
    be written, holds files that are not a descriptor's, or a kernel cannot be compiled; then
    `output` is as it was.
    """
    first = next(iter(programs.values()))
    with replacing(output) as path:
        folder = Folder(path)
        weights = write_weights(
            programs.values(),
            lambda k, data: folder.write(f"weights-{k}", ".bin", data),
            progress,
        )
        targets: dict[str, Any] = {}
        for target, program in programs.items():
            ranges = {b: (weights.offset[v], weights.size[v]) for b, v in program.weights.items()}
            stage = partial(progress, target.name)
            targets[target.name] = target.emit(
                program, ranges, weights.bytes, folder.write, keep=keep, progress=stage
            )
        document: dict[str, Any] = {
            "format": FORMAT,
            "generator": f"webdnn {__version__}",
            "name": name,
            "dims": [_dimension(d) for d in first.dims],
            "inputs": _signature(
                first.inputs,
                {name: {"image": image} for name, image in (images or {}).items()}
                | {name: {"near": bound} for name, bound in first.near.items()},
            ),
            "outputs": _signature(
                first.outputs,
                {
                    name: ({"drawn": drawings[name]} if drawings and name in drawings else {})
                    | ({"labels": [*labels[name]]} if labels and name in labels else {})
                    for name in {**(drawings or {}), **(labels or {})}
                }
                | _counted(first)
                | {name: {"hidden": True, "alarm": of} for name, of in first.alarms.items()}
                | {c[k]: {"hidden": True} for c in checks or () for k in ("low", "high") if k in c},
            ),
            **({} if checks is None else {"checks": [_check(c) for c in checks]}),
            **({"states": _signature(first.states, {})} if first.states else {}),
            "runner": write_runner(folder),
            "files": folder.files,
            "weights": {
                "bytes": weights.bytes,
                "shards": weights.shards,
                **({"form": form} if form else {}),
            },
            "targets": targets,
        }
        if kept := _keep(output, keep_versions, path):
            document["kept"] = kept
        (path / "model.json").write_text(sealed(document), "ascii", newline="\n")
        bound = (runner_source() / BOUND).read_text("utf8")
        (path / "model.js").write_text(model_js(document, sealed(document, None), bound), "utf8")
        (path / "model.d.ts").write_text(model_dts(document))
        (path / "package.json").write_text(PACKAGE)
        (path / "report.html").write_text(report(document))
    return document


def _versions(output: Path) -> list[list[str]]:
    """The files of each version that a descriptor's folder holds, the newest first."""
    try:
        known = json.loads((output / "model.json").read_text())
        versions = [[*known["files"], known["runner"]], *known.get("kept", ())]
        return [[name for name in version if isinstance(name, str)] for version in versions]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _keep(output: Path, count: int, path: Path) -> list[list[str]]:
    """Copies to `path` what `count` other versions in `output` have and it lacks, and lists it."""
    versions = _versions(output)
    present = {entry.name: entry for entry in output.iterdir()} if versions else {}
    kept: list[list[str]] = []
    for version in versions:
        if len(kept) == count:
            break
        names = [name for name in version if name in present and not (path / name).exists()]
        for name in names:
            if present[name].is_dir():
                shutil.copytree(present[name], path / name)
            else:
                shutil.copy2(present[name], path / name)
        if names:
            kept.append(names)
    return kept


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A new folder that takes the place of `output` when the block succeeds, and else vanishes.

    Raises WebDNNError where `output` cannot be written or holds what is not a descriptor's.
    """
    output = Path(output).resolve()  # a link stays, and where it leads is written
    parent = output.parent
    check_output(output)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _tidy(output)
        path = Path(tempfile.mkdtemp(prefix=f".{output.name}.new.", dir=parent))
    except OSError as error:
        why = error.strerror
        if isinstance(error, FileExistsError | NotADirectoryError):
            why = "it is a file, or lies in one"
        raise WebDNNError(
            f"cannot write to {parent}: {why}; choose another folder with -o"
        ) from error
    old: Path | None = None
    try:
        path.chmod(0o755)
        yield path
        if output.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=parent))
            output.rename(old / "descriptor")
        path.rename(output)
    except OSError as error:
        raise WebDNNError(
            f"could not write the descriptor to {output}: {error.strerror or error}"
        ) from error
    finally:
        if old is not None and not output.exists():  # also when interrupted by Ctrl-C
            (old / "descriptor").rename(output)
        shutil.rmtree(path, ignore_errors=True)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _tidy(output: Path) -> None:
    """Removes what transpiles that were killed more than an hour ago left beside `output`.

    One that was killed between its two renames left the older descriptor: that one returns.
    """
    pattern = re.compile(rf"\.{re.escape(output.name)}\.(new|old)\.\w+")
    for left in output.parent.iterdir():
        if not pattern.fullmatch(left.name):
            continue
        if (left / "descriptor").is_dir() and not output.exists():
            (left / "descriptor").rename(output)
        elif time.time() - left.stat().st_mtime > 3600:
            shutil.rmtree(left, ignore_errors=True)


def check_output(output: Path) -> None:
    """Raises WebDNNError where a descriptor must not take the place of what is at `output`."""
    output = output.resolve()
    try:
        if outer := next((p for p in output.parents if _versions(p)), None):
            raise WebDNNError(
                f"{output} lies in {outer}, which is another descriptor's alone; "
                "choose a folder outside of it with -o"
            )
        _refuse_foreign(output)
    except OSError as error:
        raise WebDNNError(
            f"cannot write to {output}: {error.strerror}; choose another folder with -o"
        ) from error
    if Path.cwd().is_relative_to(output):
        raise WebDNNError(
            f"{output} is the current folder, which cannot be replaced as a whole; "
            "choose a folder in it with -o, or run from outside"
        )


def _refuse_foreign(output: Path) -> None:
    """Raises if `output` holds anything that is not an older descriptor's."""
    if not output.exists():
        return
    if not output.is_dir():
        raise WebDNNError(f"{output} is a file; -o takes the folder to write the descriptor to")
    present = {p.name for p in output.iterdir()}
    if not present:
        return
    listed = {name for version in _versions(output) for name in version}
    foreign = sorted(present - {*listed, *ALWAYS} if listed else present)
    if foreign:
        raise WebDNNError(
            f"{output} holds files that are not a descriptor's ({', '.join(foreign[:3])}); "
            "choose an empty or new folder with -o, or remove them"
        )


__all__ = ["FORMAT", "check_output", "runner_source", "sealed", "write"]
