"""The output folder: it changes as a whole or not at all, and nothing of others is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.large import largest_memory, write_model
from webdnn import ops
from webdnn.codegen import TARGETS
from webdnn.descriptor.write import replacing, write
from webdnn.errors import UnsupportedError, WebDNNError
from webdnn.expr import dim
from webdnn.graph import Graph, Op, constant, placeholder
from webdnn.schedule.lower import lower


def written(output: Path, text: str) -> None:
    """A descriptor of one file, as far as `replacing` looks."""
    with replacing(output) as path:
        (path / "model.json").write_text(json.dumps({"files": {}, "runner": "r", "text": text}))


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def text_of(output: Path) -> str:
    return str(json.loads((output / "model.json").read_text())["text"])


def test_an_older_descriptor_is_replaced(tmp_path: Path) -> None:
    written(tmp_path / "a/d", "old")
    written(tmp_path / "a/d", "new")
    assert text_of(tmp_path / "a/d") == "new"
    assert names(tmp_path / "a") == {"d"}, "something is left beside it"


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError(), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_descriptor(tmp_path: Path, error: BaseException) -> None:
    written(tmp_path / "d", "old")
    with pytest.raises((WebDNNError, type(error))), replacing(tmp_path / "d") as path:
        (path / "model.json").write_text("half")
        raise error
    assert text_of(tmp_path / "d") == "old"
    assert names(tmp_path) == {"d"}


def test_an_interruption_between_the_renames_restores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "d", "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if ".new." in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "d", "new")
    assert text_of(tmp_path / "d") == "old"
    assert names(tmp_path) == {"d"}


@pytest.mark.parametrize("between", [False, True])
def test_a_killed_transpile_leaves_the_older_descriptor(tmp_path: Path, between: bool) -> None:
    """Killed while it writes: untouched. Killed between the renames: the next one restores it."""
    written(tmp_path / "d", "old")
    code = f"""
import os, signal
from pathlib import Path
from tests.large import largest_memory, write_model
from webdnn import ops
from webdnn.descriptor.write import replacing, write
rename = Path.rename
def kill(self, target):
    if ".new." in self.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = kill
with replacing(Path({str(tmp_path / "d")!r})) as path:
    (path / "model.json").write_text("half")
    if not {between}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    if not between:
        assert text_of(tmp_path / "d") == "old"
        return
    assert not (tmp_path / "d").exists()
    with pytest.raises(ValueError), replacing(tmp_path / "d"):
        raise ValueError
    assert text_of(tmp_path / "d") == "old"


def test_what_killed_transpiles_left_is_removed_when_old(tmp_path: Path) -> None:
    old, young = tmp_path / ".d.new.abc", tmp_path / ".d.new.def"
    other = tmp_path / ".dd.new.abc"
    for folder in (old, young, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (1, 1))
    written(tmp_path / "d", "new")
    assert names(tmp_path) == {"d", young.name, other.name}


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "d", "old")
    (tmp_path / "d/mine.txt").write_text("mine")
    with pytest.raises(WebDNNError, match=r"mine\.txt"):
        written(tmp_path / "d", "new")
    assert text_of(tmp_path / "d") == "old"


def test_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(WebDNNError, match="is a file"):
        written(tmp_path / "f", "new")
    with pytest.raises(WebDNNError, match="it is a file"):
        written(tmp_path / "f/d", "new")
    with pytest.raises(WebDNNError, match=r"cannot write to .*name too long"):
        written(tmp_path / ("d" * 300), "new")


def test_a_link_is_followed(tmp_path: Path) -> None:
    written(tmp_path / "d", "old")
    (tmp_path / "link").symlink_to("d")
    written(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert text_of(tmp_path / "d") == "new"


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WebDNNError, match="current folder"):
        written(Path(), "new")
    assert names(tmp_path) == set()


def test_more_memory_than_wasm_has_is_refused(tmp_path: Path) -> None:
    x, y = (placeholder(name, (2**29,), "f32") for name in "xy")
    program = lower(Graph((x, y), {"z": ops.add(x, y)}), TARGETS["wasm"])
    with pytest.raises(UnsupportedError, match=r"needs 6\.0 GiB .* --target webgpu"):
        write({TARGETS["wasm"]: program}, tmp_path / "d", "large", report=lambda _: "")
    assert names(tmp_path) == set()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_weights_are_never_held_twice(tmp_path: Path) -> None:
    """Of 100 MB only the largest weight, its packed form and a shard are in memory at once.

    The rest is Python with its packages, which a model of 1 MB takes too, and what the C library
    keeps of memory that was freed: as much as a large array.
    """
    code = "import webdnn; webdnn.transpile({!r}, {!r}, targets='webgpu')"
    memory, largest = [], 0
    for megabytes, width in ((1, 64), (100, 512)):
        model = tmp_path / f"{megabytes}.onnx"
        largest = write_model(model, megabytes, width)
        memory.append(largest_memory(code.format(str(model), str(tmp_path / "d"))))
    more = memory[1] - memory[0]
    assert more < 3 * largest + 16e6, f"{more / 1e6:.0f} MB for weights of {largest / 1e6:.0f} MB"


def test_kept_values_are_computed_ones(tmp_path: Path) -> None:
    """A part of a weight that only a view reads is none: no target has it beside the weights."""
    table = constant(np.arange(24, dtype=np.float32).reshape(6, 4))
    x = placeholder("x", (dim("n", 1, 4), 4), "f32")
    rows = ops.slice_axis(table, 0, 0, x.shape[0])
    y = ops.relu(ops.add(x, rows))
    graph = Graph((x,), {"y": y}, {"rows": rows, "sum": y}, dims=(x.shape[0],))
    programs = {t: lower(graph, t, keep=True) for t in TARGETS.values()}
    assert all(p.stored.keys() == {"sum"} for p in programs.values())
    write(programs, tmp_path / "d", "kept", keep=True, report=lambda _: "")


def test_a_kernel_without_a_text_is_named(tmp_path: Path) -> None:
    """Not as a fault of the folder that is being written."""
    untold = Op("untold", "opaque", lambda x: [(x.shape, x.dtype)])
    x = placeholder("x", (2, 3), "f32")
    for target in TARGETS.values():
        program = lower(Graph((x,), {"y": untold(x)}), target)
        with pytest.raises(WebDNNError, match=rf"untold\.{target.suffix}: cannot be read"):
            write({target: program}, tmp_path / "d", "untold", report=lambda _: "")
