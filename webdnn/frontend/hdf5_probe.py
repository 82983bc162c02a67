"""A program of its own: walks an HDF5 file as a front end will, and hangs or crashes in its place.

    python -P hdf5_probe.py < JSON

libhdf5 loops in damaged files, and nothing stops it from within. `hdf5.probe` runs this file in a
process that may take some seconds of a processor and some memory: it lists every group, reads every
attribute, and asks every dataset what a front end asks. What it cannot read is no matter here: the
front end will meet the same error. It imports nothing of WebDNN, and writes one line: nothing, or
why the file is refused.

Limits: numbers of large datasets are not read. Memory and time are limited on POSIX systems only;
elsewhere whoever runs this waits for a limited time.
"""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

PATHS = 20_000  # groups and datasets, counted for each way to them
DEEPEST = 128
SMALL = 1 << 16  # bytes of a dataset that a front end reads at once


class Window(io.RawIOBase):
    """A stretch of a file as a file."""

    def __init__(self, stream: Any, start: int, size: int):
        self.stream, self.start, self.size, self.at = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.stream.seek(self.start + self.at)
        size = max(0, min(len(buffer), self.size - self.at))
        read: int = self.stream.readinto(memoryview(buffer)[:size])
        self.at += read
        return read


def limit(seconds: float, memory: int) -> None:
    """Lets the system end this process where it takes more of a processor, or of memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    whole = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        mapped = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))


def walk(file: Any) -> str:
    """Why the file is refused, or nothing."""
    import h5py

    seen: set[int] = set()
    paths = 0
    stack: list[tuple[Any, tuple[int, ...]]] = [(file, ())]
    while stack:
        at, above = stack.pop()
        paths += 1
        address = h5py.h5o.get_info(at.id).addr
        if address in above or len(above) > DEEPEST or paths > PATHS:
            return f"groups without end, at {at.name!r}"
        if address not in seen:
            seen.add(address)
            attributes(at)
        if not isinstance(at, h5py.Group):
            continue
        for name in tried(list, at) or ():
            if isinstance(tried(partial(at.get, getlink=True), name), h5py.HardLink):
                below = tried(at.__getitem__, name)
                if isinstance(below, h5py.Dataset):
                    paths += 1
                    tried(numbers, below)
                elif below is not None:
                    stack.append((below, (*above, address)))
    return ""


def attributes(at: Any) -> None:
    """Reads what is said of a group or a dataset."""
    for name in tried(list, at.attrs) or ():
        tried(at.attrs.__getitem__, name)
    tried(at.attrs.__contains__, "layer_names")


def numbers(data: Any) -> None:
    """Asks a dataset what a front end asks; reads it if it is small."""
    attributes(data)
    size = data.size * data.dtype.itemsize if data.shape is not None else 0
    data.id.get_storage_size()
    if not data.is_virtual and not data.external and data.chunks:
        data.id.get_num_chunks()
    if not data.is_virtual and not data.external and size <= SMALL:
        data[()]


def tried(read: Any, *of: Any) -> Any:
    """What is read, or None where the file is damaged."""
    try:
        return read(*of)
    except Exception:
        return None


def main() -> None:
    """Reads the JSON that `hdf5.probe` writes: sys.path, the file, limits; and behind it bytes."""
    order = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = order["path"]
    import h5py

    if order["file"] is None:
        stream: Any = io.BytesIO(sys.stdin.buffer.read())
    else:
        stream = Path(order["file"]).open("rb")  # noqa: SIM115
        if order["start"] is not None:
            stream = Window(stream, order["start"], order["size"])
    limit(order["seconds"], order["memory"])
    file = tried(h5py.File, stream, "r")
    print(json.dumps(walk(file) if file is not None else ""))


if __name__ == "__main__":
    main()
