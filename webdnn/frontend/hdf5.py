"""HDF5 files of strangers: what must hold of an array before its numbers are read.

    dataset = h5py.File(path)["data/conv1/0"]
    check_size(dataset, f"{path}: {dataset.name!r}", path.stat().st_size)
    check_array(dataset, f"{path}: {dataset.name!r}")

An array may lie in another file, may be declared without ever having been written (HDF5 reads such
numbers as zeros), and may claim far more memory than the file has bytes. What groups and links mean
is up to each format; what must not be followed is what `get(name, getlink=True)` does not call a
HardLink.

Limits: HDF5 itself is read by h5py, whose own robustness is not ours.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import ModelError

_MAGIC = b"\x89HDF\r\n\x1a\n"
BOMB = 1 << 26  # bytes from which on what is packed a hundredfold is refused
PACKED = 100


def is_hdf5(head: bytes) -> bool:
    """Whether a file begins as HDF5 does; an application's own block may come first."""
    return any(head[at : at + len(_MAGIC)] == _MAGIC for at in (0, 512, 1024, 2048, 4096))


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


__all__ = ["BOMB", "PACKED", "check_array", "check_size", "is_hdf5"]
