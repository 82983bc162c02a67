"""The weights of a Caffe net: a `.caffemodel`, read straight from its wire format.

    blobs = read("net.caffemodel")           # {layer name: [Blob, ...]}
    blobs["conv1"][0].shape, blobs["conv1"][0].read()

Only names and blobs are taken, as Caffe itself does when it fills a net; what the net is stands in
the prototxt. A blob knows where its numbers lie in the file, and nothing is copied before `read`.
The field numbers are facts of caffe.proto: NetParameter has its layers in 100 (or, of version 1, in
2), LayerParameter name 1, type 2 and blobs 7, V1LayerParameter blobs 6, name 4 and the nested
V0LayerParameter 1 (name 1, blobs 50), BlobProto the four legacy sizes in 1 to 4, float data 5,
shape 7, double data 8, and in NVIDIA's fork a type in 10 and raw data in 12.
`.caffemodel.h5` (HDF5) holds the blobs as /data/<layer>/<index>.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelError
from ...graph import Value, lazy_constant
from ..hdf5 import check_array, check_size, probe

Buffer = bytes | mmap.mmap
Field = tuple[int, int, int, int]  # number, wire type, first byte of the content (or value), end

RAW = {0: "<f8", 1: "<f4", 2: "<f2", 3: "<i4", 4: "<u4"}  # the types of NVIDIA's raw data
# The first byte of a number in a field of its own: data 5, gradient 6, double data 8, gradient 9.
_UNPACKED = {0x2D: (4, "<f4"), 0x35: (4, ""), 0x41: (8, "<f8"), 0x49: (8, "")}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# The fields of a NetParameter and their wire types: by them a file is recognised.
NET = {1: (2,), 2: (2,), 3: (2,), 4: (0, 2), 5: (0,), 6: (2,), 7: (0,), 8: (2,), 100: (2,)}
LAYER_FIELDS = (2, 100)


@dataclass(frozen=True)
class Blob:
    """An array of weights in a file: its shape, the bytes that it takes, and how to read it."""

    shape: tuple[int, ...]
    bytes: int
    key: Any
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def value(self) -> Value:
        """The blob as a constant, f32."""
        return lazy_constant(self.key, self.shape, "f32", self.read)


@dataclass(frozen=True)
class _Part:
    """`count` numbers of a dtype at byte `at`, `step` bytes apart."""

    at: int
    count: int
    dtype: str
    step: int


def is_net(head: bytes) -> bool:
    """Whether this is the beginning of a binary NetParameter with a layer in it."""
    at = 0
    try:
        while at < len(head):
            first = at == 0
            key, at = _varint(head, at, len(head))
            number, wire = key >> 3, key & 7
            if number in NET:
                known: tuple[int, ...] = NET[number]
            else:  # forks have fields of their own before the layers, but never first
                known = () if first or number > 100 else (VARINT, FIXED64, BYTES, FIXED32)
            if wire not in known:
                return False
            if wire in (FIXED64, FIXED32):
                at += 8 if wire == FIXED64 else 4
                continue
            size, at = _varint(head, at, len(head))
            if wire == VARINT:
                continue
            if number in LAYER_FIELDS:
                return _is_layer(head[at : at + size], number)
            if number == 1 and not _printable(head[at : at + size]):
                return False
            at += size
    except ModelError:
        return False
    return False


def _printable(text: bytes) -> bool:
    return not any(c < 32 and c not in b"\t\r\n" for c in text)


def _is_layer(body: bytes, number: int) -> bool:
    """Whether the first fields are those of a layer: its name and type, or its bottoms and tops."""
    try:
        key, at = _varint(body, 0, len(body))
        first, wire = key >> 3, key & 7
        if number == 2 and first == 5:
            return wire == VARINT
        size, at = _varint(body, at, len(body))
        if first not in (1, 2, 3, 4) or wire != BYTES:
            return False
        return (first == 1 and number == 2) or _printable(body[at : at + size])
    except ModelError:
        return False


def read(source: str | os.PathLike[str] | bytes) -> dict[str, list[Blob]]:
    """The blobs of each layer of a model file, by the layer's name; without layers that have none.

    Raises ModelError where the file is damaged or truncated, with the byte; a size that the file
    declares is never trusted beyond what the file holds.
    """
    if isinstance(source, bytes):
        return _Reader(source, "the caffemodel", ("bytes", hash(source), len(source))).net()
    path = Path(source)
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        if not stat.st_size:
            raise ModelError(f"{path}: the file is empty")
        if file.read(4) == b"\x89HDF":
            return _read_hdf5(path)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    return _Reader(data, str(path), key, path).net()


class _Reader:
    """The bytes of a model, what to call them in errors, and the file that they are mapped from."""

    def __init__(self, data: Buffer, name: str, key: Any, path: Path | None = None) -> None:
        self.data, self.name, self.key, self.path = data, name, key, path

    def broken(self, at: int, what: str) -> ModelError:
        """The error for a damaged place."""
        return ModelError(
            f"{self.name}: the caffemodel is damaged or truncated at byte {at}: {what}. "
            "Download or copy it again"
        )

    def fields(self, at: int, end: int) -> Iterator[Field]:
        """The fields of the message between two bytes; of a varint the value in place of a byte."""
        while at < end:
            start = at
            try:
                key, at = _varint(self.data, at, end)
                number, wire = key >> 3, key & 7
                if wire == VARINT:
                    value, at = _varint(self.data, at, end)
                    yield number, wire, value, at
                    continue
                size = 8 if wire == FIXED64 else 4
                if wire == BYTES:
                    size, at = _varint(self.data, at, end)
            except ModelError as error:
                raise self.broken(start, str(error)) from None
            if wire not in (BYTES, FIXED64, FIXED32) or not 0 < number < 2**29:
                raise self.broken(start, f"field {number} of wire type {wire}")
            if at + size > end:
                raise self.broken(
                    start, f"field {number} should have {size} bytes, {end - at} are left"
                )
            yield number, wire, at, at + size
            at += size

    def text(self, at: int, end: int) -> str:
        """A string."""
        return self.data[at:end].decode("utf-8", "replace")

    def net(self) -> dict[str, list[Blob]]:
        """The blobs of the NetParameter that the bytes are."""
        out: dict[str, list[Blob]] = {}
        for number, wire, at, end in self.fields(0, len(self.data)):
            if wire not in NET.get(number, (wire,)):
                raise self.broken(at, f"field {number} of a net has wire type {wire}")
            if number in LAYER_FIELDS:
                name, blobs = self.layer(at, end, *((1, 7) if number == 100 else (4, 6)))
                if blobs:
                    out.setdefault(name, blobs)
        return out

    def layer(self, at: int, end: int, name_field: int, blob_field: int) -> tuple[str, list[Blob]]:
        """The name and the blobs of a layer, whose fields these are."""
        name = ""
        blobs: list[Blob] = []
        for number, wire, start, stop in self.fields(at, end):
            if wire != BYTES:
                continue
            if number == name_field:
                name = self.text(start, stop)
            elif number == blob_field:
                blobs.append(self.blob(start, stop, f"layer {name!r}, blob {len(blobs)}"))
            elif number == 1 and name_field == 4:  # V0LayerParameter
                name, more = self.layer(start, stop, 1, 50)
                blobs += more
        return name, blobs

    def blob(self, at: int, end: int, where: str) -> Blob:
        """A BlobProto."""
        legacy: dict[int, int] = {}
        shape: list[int] | None = None
        parts: list[_Part] = []
        raw: tuple[int, int] | None = None
        raw_type = 1
        begin = at
        while at < end:
            # Numbers that are not packed are one field each: a run of them is taken at once.
            run = self._run(at, end)
            if run is not None:
                parts += [run] if run.dtype else []
                at += run.count * run.step
                continue
            number, wire, start, stop = next(self.fields(at, end))
            at = stop
            if number in (1, 2, 3, 4) and wire == VARINT:
                legacy[number] = start
            elif number == 7 and wire == BYTES:
                shape = self.shape(start, stop)
            elif number in (5, 8) and wire == BYTES:
                dtype, width = ("<f4", 4) if number == 5 else ("<f8", 8)
                if (stop - start) % width:
                    raise self.broken(start, f"{where}: {stop - start} bytes of {dtype[1:]} data")
                parts.append(_Part(start, (stop - start) // width, dtype, width))
            elif number == 10 and wire == VARINT:
                raw_type = start
            elif number == 12 and wire == BYTES:
                raw = start, stop
        if raw is not None:
            if raw_type not in RAW:
                raise self.broken(raw[0], f"{where}: raw data of the unknown type {raw_type}")
            width = np.dtype(RAW[raw_type]).itemsize
            if (raw[1] - raw[0]) % width:
                raise self.broken(raw[0], f"{where}: {raw[1] - raw[0]} bytes of raw data")
            parts = [_Part(raw[0], (raw[1] - raw[0]) // width, RAW[raw_type], width)]
        doubles = [p for p in parts if p.dtype == "<f8"]
        parts = doubles or parts  # as in Caffe: double data, where there is any, is the data
        count = sum(p.count for p in parts)
        if shape is None:
            shape = [legacy.get(k, 0) for k in (1, 2, 3, 4)] if legacy else [count]
        declared = math.prod(shape)
        if declared != count or any(d < 0 for d in shape):
            raise ModelError(
                f"{self.name}: {where} has the shape {shape}, which is {declared} numbers, but "
                f"holds {count} (byte {begin}): the caffemodel is damaged"
            )
        path = self.path
        data: Any = self.data if path is None else None

        def array() -> np.ndarray:
            held, start = data, 0
            if path is not None and parts:  # this blob alone, and as long as its array is held
                held, start = np.memmap(path, np.uint8, "r", begin, (end - begin,)), begin
            pieces = [np.ndarray((p.count,), p.dtype, held, p.at - start, (p.step,)) for p in parts]
            if len(pieces) == 1 and pieces[0].dtype == np.float32 and pieces[0].flags.aligned:
                return pieces[0].reshape(shape)  # as it lies in the file
            pieces = [p.astype(np.float32) for p in pieces]
            whole = (
                pieces[0]
                if len(pieces) == 1
                else np.concatenate([np.zeros(0, np.float32), *pieces])
            )
            return whole.reshape(shape)

        size = sum(p.count * np.dtype(p.dtype).itemsize for p in parts)
        return Blob(tuple(shape), size, (self.key, begin, end), array)

    def _run(self, at: int, end: int) -> _Part | None:
        """The run of numbers in fields of their own that begins here; gradients have no dtype."""
        tag = self.data[at]
        if tag not in _UNPACKED:
            return None
        width, dtype = _UNPACKED[tag]
        longest = (end - at) // (width + 1)
        tags = np.ndarray((longest,), np.uint8, self.data, at, (width + 1,))
        other = np.flatnonzero(tags != tag)
        count = int(other[0]) if other.size else longest
        if not count:
            return None  # too short for one number: the usual way reports it
        return _Part(at + 1, count, dtype, width + 1)

    def shape(self, at: int, end: int) -> list[int]:
        """A BlobShape: its dims, packed or not."""
        dims: list[int] = []
        for number, wire, start, stop in self.fields(at, end):
            if number != 1:
                continue
            if wire == VARINT:
                dims.append(start)
                continue
            while start < stop:
                try:
                    value, start = _varint(self.data, start, stop)
                except ModelError as error:
                    raise self.broken(start, str(error)) from None
                dims.append(value)
        dims = [d - 2**64 if d >= 2**63 else d for d in dims]
        if len(dims) > 32:
            raise self.broken(at, f"a shape of {len(dims)} axes")
        return dims


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end:
            raise ModelError("it ends within a number")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & (2**64 - 1), at
        if shift > 63:
            raise ModelError("a number of more than ten bytes")


def _read_hdf5(path: Path) -> dict[str, list[Blob]]:
    """The blobs of a net saved as HDF5: float datasets /data/<layer>/<index>."""
    import h5py

    out: dict[str, list[Blob]] = {}
    stat = path.stat()
    probe(path, str(path))

    def reading(name: str) -> Callable[[], np.ndarray]:
        def array() -> np.ndarray:
            with h5py.File(path, "r") as file:
                return np.asarray(file[name][()], np.float32)

        return array

    try:
        with h5py.File(path, "r") as file:
            group = file.get("data")
            if not isinstance(group, h5py.Group):
                raise ModelError(f"{path}: an HDF5 file without /data: not weights of Caffe")
            for layer, datasets in _groups(group):
                blobs = []
                for index in range(len(datasets)):
                    if str(index) not in datasets:
                        break
                    link = datasets.get(str(index), getlink=True)
                    data = datasets[str(index)] if isinstance(link, h5py.HardLink) else None
                    if data is None:
                        raise ModelError(f"{path}: weights of {layer!r} refer to another file")
                    check_array(data, f"{path}: blob {index} of {layer!r}")
                    if data.dtype.kind != "f":
                        raise ModelError(f"{path}: weights of {layer!r} are {data.dtype}")
                    check_size(data, f"{path}: blob {index} of {layer!r}", stat.st_size)
                    key = (str(path.resolve()), stat.st_mtime_ns, data.name)
                    blobs.append(Blob(data.shape, data.nbytes, key, reading(data.name)))
                if blobs:
                    out[layer] = blobs
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: the HDF5 file is damaged ({error})") from None
    return out


def _groups(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The groups that hold blobs; a layer's name may contain slashes. Links are not followed."""
    import h5py

    for name in group:
        inner = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if not isinstance(inner, h5py.Group):
            continue
        first = inner.get("0", getlink=True)
        if (first is not None and not isinstance(first, h5py.HardLink)) or (
            first is not None and isinstance(inner["0"], h5py.Dataset)
        ):
            yield prefix + name, inner
        elif prefix.count("/") < 16:
            yield from _groups(inner, f"{prefix}{name}/")


def parameters(blobs: Sequence[Blob]) -> Iterator[tuple[int, int]]:
    """(elements, bytes) of each blob."""
    return ((b.size, b.bytes) for b in blobs)


__all__ = ["Blob", "is_net", "parameters", "read"]
