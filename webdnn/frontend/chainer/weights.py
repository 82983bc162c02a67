"""Files of a chain's parameters, as chainer's serializers write them, loaded into the chain.

    load_weights(chain, Path("model.npz"))  # of serializers.save_npz, or .h5 of save_hdf5

Both hold one array for each parameter and persistent value, named by its path in the chain. The
chain itself says what it wants, by the protocol of chainer's serializers; each array is compared
with that before it is read. The file may be a stranger's: nothing in it is executed, only arrays of
numbers are taken, and none that is larger than the parameter that it is for.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelError, WebDNNError
from ..damaged import damaged
from ..hdf5 import check_array, is_hdf5, probe

LARGEST = 1 << 31  # bytes of a parameter whose size the chain leaves to the file
Entry = tuple[tuple[int, ...], np.dtype[Any], Callable[[], np.ndarray]]


def load_weights(chain: Any, path: Path) -> None:
    """Load a file of parameters into a chain; raises ModelError for what does not fit.

    Nothing is loaded if anything is wrong, except that parameters without a size get theirs.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if head[:4] == b"PK\x03\x04":
        opened = _npz(path)
    elif is_hdf5(head):
        opened = _hdf5(path)
    else:
        raise ModelError(
            f"{path}: expected parameters as chainer.serializers.save_npz (.npz) or save_hdf5 "
            f"(.h5) write them; the file begins with {head[:8]!r}"
        )
    with opened as entries:
        plan = _Reader(entries)
        chain.serialize(plan)
        _report(path, plan)
        try:
            chain.serialize(_Reader(entries, load=True))
        except WebDNNError:
            raise
        except Exception as error:  # a size that the chain leaves to the file, and cannot take
            raise damaged(f"{path}: its parameters are", error) from error


class _Reader:
    """chainer's serializer protocol: a chain asks for each of its values by name."""

    def __init__(self, entries: Mapping[str, Entry], path: str = "", load: bool = False):
        self.entries, self.path, self.load = entries, path, load
        self.asked: list[str] = []
        self.problems: list[str] = []

    def __getitem__(self, name: str) -> _Reader:
        child = _Reader(self.entries, f"{self.path}{name.strip('/')}/", self.load)
        child.asked, child.problems = self.asked, self.problems
        return child

    def __call__(self, name: str, value: Any) -> Any:
        key = f"{self.path}{name}"
        self.asked.append(key)
        if key not in self.entries:
            self.problems.append(f"{key} is missing{_described(value)}")
            return value
        shape, dtype, read = self.entries[key]
        if dtype.kind not in "fiub":
            self.problems.append(f"{key} holds {dtype}, expected numbers")
        elif value is None:
            if math.prod(shape) * dtype.itemsize > LARGEST:
                self.problems.append(f"{key} has {list(shape)} elements: too many")
            elif self.load:
                return read()
        elif np.shape(value) != shape:
            wanted = list(np.shape(value))
            self.problems.append(f"{key}: expected shape {wanted}, found {list(shape)}")
        elif self.load:
            array = read()
            if isinstance(value, np.ndarray):
                np.copyto(value, array, casting="unsafe")
            else:
                return type(value)(array.item())
        return value


def _described(value: Any) -> str:
    return f" (expected shape {list(value.shape)})" if isinstance(value, np.ndarray) else ""


def _report(path: Path, plan: _Reader) -> None:
    if not plan.problems:
        return
    shown = "\n".join(f"  {p}" for p in plan.problems[:8])
    more = f"\n  and {len(plan.problems) - 8} more" if plan.problems[8:] else ""
    unused = [name for name in plan.entries if name not in set(plan.asked)]
    left = f"\nNot used of the file: {', '.join(unused[:5])}" if unused else ""
    if unused and all(u.split("/")[0] in ("updater", "model", "predictor") for u in unused):
        left += (
            "\nPerhaps it is of a Classifier or a snapshot of a trainer: save the predictor alone "
            "with chainer.serializers.save_npz"
        )
    raise ModelError(f"{path} does not fit the chain:\n{shown}{more}{left}")


@contextmanager
def _npz(path: Path) -> Iterator[Mapping[str, Entry]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: the file is damaged: {error}") from None
    with archive:
        entries: dict[str, Entry] = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                shape, dtype = _npy_type(archive, info, path)
                entries[info.filename[:-4]] = (shape, dtype, _npy_reader(archive, info, path))
        yield entries


def _npy_type(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(file)
    except Exception as error:  # numpy reads the header with Python's own parser
        raise ModelError(f"{path}: {info.filename} is damaged: {error}") from None
    return shape, dtype


def _npy_reader(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path
) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        try:
            with archive.open(info) as file:
                # the header was compared with the parameter: no more than that is read
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        except Exception as error:  # whatever zlib, zipfile and numpy find wrong in it
            raise ModelError(f"{path}: {info.filename} is damaged: {error}") from None

    return read


@contextmanager
def _hdf5(path: Path) -> Iterator[Mapping[str, Entry]]:
    import h5py

    probe(path, str(path))
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ModelError(f"{path}: the file is damaged: {error}") from None
    with file:
        entries: dict[str, Entry] = {}
        try:
            _collect(file, "", entries, path, 0)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: the file is damaged: {error}") from None
        yield entries


def _collect(group: Any, prefix: str, entries: dict[str, Entry], path: Path, depth: int) -> None:
    """The datasets of a group and those within; links to other files are not followed."""
    import h5py

    if depth > 64 or len(entries) > 100_000:
        raise ModelError(f"{path}: groups without end")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, f"{prefix}{name}/", entries, path, depth + 1)
        elif isinstance(item, h5py.Dataset) and item.shape is not None:  # None: not yet made
            check_array(item, f"{path}: {prefix}{name}")
            entries[f"{prefix}{name}"] = (item.shape, item.dtype, _h5_reader(item, path))


def _h5_reader(item: Any, path: Path) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        try:
            return np.asarray(item[()])
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: {item.name} is damaged: {error}") from None

    return read


def is_chainer_hdf5(path: Path) -> bool:
    """Whether an HDF5 file is as chainer writes it: groups and arrays without attributes."""
    import h5py

    probe(path, str(path))
    try:
        with h5py.File(path, "r") as file:
            own = {"layers", "_layer_checkpoint_dependencies", "model_weights", "vars"}
            return not file.attrs.keys() and bool(file.keys()) and not own & set(file.keys())
    except (OSError, RuntimeError):
        return False


__all__ = ["is_chainer_hdf5", "load_weights"]
