"""HDF5 files of strangers: what must hold of an array before its numbers are read.

    dataset = h5py.File(path)["data/conv1/0"]
    check_size(dataset, f"{path}: {dataset.name!r}", path.stat().st_size)
    check_array(dataset, f"{path}: {dataset.name!r}")

An array may lie in another file, may be declared without ever having been written (HDF5 reads such
numbers as zeros), and may claim far more memory than the file has bytes. What groups and links mean
is up to each format; what must not be followed is what `get(name, getlink=True)` does not call a
HardLink.

libhdf5 itself, which loops in some damaged files, is tried in a process of its own first (`probe`).

Limits: the probe needs a Python at `sys.executable`; without one a file is read as it is.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import ModelError
from .hdf5_probe import Window

_MAGIC = b"\x89HDF\r\n\x1a\n"
BOMB = 1 << 26  # bytes from which on what is packed a hundredfold is refused
PACKED = 100
SECONDS = 2  # of a processor, to walk a file's structure
PATIENCE = 10  # seconds to wait for each of these, on a machine that is busy


def is_hdf5(head: bytes) -> bool:
    """Whether a file begins as HDF5 does; an application's own block may come first."""
    return any(head[at : at + len(_MAGIC)] == _MAGIC for at in (0, 512, 1024, 2048, 4096))


def probe(file: Any, where: str) -> None:
    """Raises ModelError for a file in which libhdf5 hangs, crashes, or finds no end.

    file: a path, or a stream: a file that is open, a stretch of one (with `stream`, `start` and
    `size`), or bytes in memory. It is walked in another process of limited time and memory.
    """
    stream = getattr(file, "stream", file)
    path = file if isinstance(file, Path) else getattr(stream, "name", None)
    times = limits.factor()
    if path is None:
        data = file.getvalue() if isinstance(file, io.BytesIO) else _all(file)
        why = _walked(None, None, None, times, data)
    else:
        path = Path(path).resolve()
        stretch = getattr(file, "start", None), getattr(file, "size", None)
        why = _walked_once(str(path), path.stat().st_mtime_ns, *stretch, times)
    if why:
        raise ModelError(f"{where}: the HDF5 file is damaged: {why}")


def _walked(
    path: str | None, start: int | None, size: int | None, times: float, data: bytes = b""
) -> str:
    """Why a file is refused, or nothing; path: None for one in memory, which is `data`."""
    if not sys.executable:
        return ""
    seconds = SECONDS * times
    order = {
        "path": sys.path,
        "file": path,
        "start": start,
        "size": size,
        "seconds": seconds,
        "memory": int(limits.MEMORY * times),
    }
    text = json.dumps(order).encode() + b"\n"
    script = Path(__file__).with_name("hdf5_probe.py")
    try:
        found = subprocess.run(
            [sys.executable, "-P", str(script)],
            input=text + data,
            capture_output=True,
            timeout=PATIENCE * seconds,
        )
    except subprocess.TimeoutExpired:
        return f"reading its structure does not end within {seconds:g} seconds"
    except OSError:  # no process could be started: the file is read as it is
        return ""
    if found.returncode < 0:  # by a signal
        return f"reading its structure crashes, or does not end within {seconds:g} seconds"
    why: str = json.loads(found.stdout) if found.stdout else ""
    return why


@lru_cache(maxsize=16)
def _walked_once(path: str, time: int, *rest: Any) -> str:
    """`_walked` of a file that was last changed at a time, in nanoseconds."""
    return _walked(path, *rest)


def _all(stream: Any) -> bytes:
    stream.seek(0)
    data: bytes = stream.read()
    stream.seek(0)
    return data


def check_array(data: Any, where: str) -> None:
    """Raises ModelError for a dataset of h5py whose numbers are not in its file."""
    if data.is_virtual or data.external:
        raise ModelError(f"{where} is stored in another file: refused")
    if data.shape is not None and math.prod(data.shape) and not data.id.get_storage_size():
        raise ModelError(f"{where} is declared, but its numbers are missing")


def check_size(data: Any, where: str, held: int) -> None:
    """Raises ModelError for a dataset that is larger than a file of `held` bytes can tell."""
    stored = data.id.get_storage_size()
    claimed = math.prod(data.shape) * data.dtype.itemsize
    if stored > held or (claimed > BOMB and claimed > PACKED * stored):
        raise ModelError(
            f"{where} claims {claimed} bytes, of which the file holds {min(stored, held)}: it is "
            "truncated, or not what it seems"
        )


__all__ = ["BOMB", "PACKED", "Window", "check_array", "check_size", "is_hdf5", "probe"]
