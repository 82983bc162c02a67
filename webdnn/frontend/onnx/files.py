"""ONNX files: the model without its weights, and constants that are read when they are needed.

    proto, external = read("model.onnx")
    value = tensor_value(proto.graph.initializer[0], external, "initializer 'w'")

Large weights are never held by the protocol buffer: they become external data that lie in the file
itself, and are mapped while they are read. External data lie beside the model, unless they are in
memory already (`External`). Where the model is reached through a symbolic link, beside it means
beside the link or beside the link's target, which may be links themselves: a Hugging Face cache has
`snapshots/X/model.onnx -> ../../blobs/HASH` and `model.onnx_data -> ../../blobs/OTHER`.

Limits: of a ModelProto, and of the subgraphs of a file, the protocol buffer holds the weights.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from ... import limits
from ...errors import ModelError, UnsupportedError
from ...graph import Value, array_type, constant, lazy_constant
from ..beside import beside
from .elements import ELEMENT_TYPES, element_type

EAGER = 1024  # bytes; smaller constants are read at once and interned by content
LARGE = 65536  # bytes; larger weights stay in the file until they are needed

_FOREIGN = (  # what is recognised as no other format comes here
    "not an ONNX file, nor one of Keras (.keras, .h5, model.json), Caffe (.prototxt) or "
    "PyTorch (.pt2)"
)
_MODEL_FIELDS = {
    1: 0,
    2: 2,
    3: 2,
    4: 2,
    5: 0,
    6: 2,
    7: 2,
    8: 2,
    14: 2,
    20: 2,
    25: 2,
    26: 2,
}  # number: wire type


# The messages with weights in them: field by field, what lies inside.
_INSIDE = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor"},
}


OWN = "."  # the location of weights in the model's file itself: no other file can have it

# Views of large weights, by location, where the model's bytes are in memory; None: they are OWN.
Place = dict[str, np.ndarray] | None


@dataclass(frozen=True)
class External:
    """Where a model's external data lie: in files beside it, or in memory.

    model: the path of its file, as given, or None for a model in memory, whose files are those of
    the current folder. arrays: the tensors in memory, by what the model gives as their location.
    """

    model: Path | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def file(self, location: str, where: str) -> Path:
        """The file of a location; raises what `beside` raises."""
        path = self.model or Path("model.onnx")
        if location == OWN and self.model:
            return path.resolve()
        return beside(path, location, f"{where}: external data")


def read(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
) -> tuple[onnx.ModelProto, External]:
    """The model, and where its external data lie; large weights are among these."""
    if isinstance(model, onnx.ModelProto):
        return model, External()
    arrays: dict[str, np.ndarray] = {}
    if isinstance(model, bytes):
        return _parse(model, "the model", arrays), External(arrays=arrays)
    path = Path(model)
    try:
        if path.is_file() and not path.stat().st_size:
            raise ModelError(f"{path}: the file is empty")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(data, str(path), None), External(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: is a folder; expected an ONNX file") from None


def _parse(data: bytes | mmap.mmap, name: str, place: Place) -> onnx.ModelProto:
    problem = _scan(data)
    if problem:
        raise ModelError(f"{name}: {problem}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(_without_weights(data, 0, len(data), "model", place))
    except (DecodeError, IndexError) as error:
        raise ModelError(f"{name}: the ONNX file is damaged or truncated ({error})") from None
    wrong = next(_not_text(proto.graph, *proto.functions), None)
    if wrong is not None:
        raise ModelError(
            f"{name}: the ONNX file is damaged: {wrong!r} is no text in UTF-8, as names of nodes, "
            "operators and values are"
        )
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(
            f"{name}: not a whole ONNX model (no graph or no opset): the file is truncated"
        )
    return proto


def _not_text(*bodies: Any) -> Iterator[bytes]:
    """The names in graphs and functions that are no UTF-8: protobuf gives these as bytes."""
    for body in bodies:
        for node in body.node:
            names = (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (n for n in names if isinstance(n, bytes))
            for a in node.attribute:
                yield from (n for n in (a.name, a.ref_attr_name) if isinstance(n, bytes))
                yield from _not_text(*([a.g] if a.HasField("g") else ()), *a.graphs)
        if isinstance(body, onnx.GraphProto):
            held = (*body.input, *body.output, *body.initializer)
            held += tuple(s.values for s in body.sparse_initializer)
            yield from (n for n in (body.name, *(h.name for h in held)) if isinstance(n, bytes))
            for declared in body.input:
                dims = (d.dim_param for d in declared.type.tensor_type.shape.dim)
                yield from (n for n in dims if isinstance(n, bytes))


def _without_weights(
    data: bytes | mmap.mmap, at: int, end: int, message: str, place: Place
) -> bytes:
    """A message with its large weights as external data that lie in these bytes themselves."""
    if message == "tensor":
        return _elsewhere(data, at, end, place)
    out = bytearray()
    for number, start, body, stop in _fields(data, at, end):
        inside = _INSIDE[message].get(number)
        if inside is None or stop - body <= LARGE:
            out += data[start:stop]
        else:
            part = _without_weights(data, body, stop, inside, place)
            out += _encoded(number << 3 | 2) + _encoded(len(part)) + part
    return bytes(out)


def _elsewhere(data: bytes | mmap.mmap, at: int, end: int, place: Place) -> bytes:
    """A TensorProto whose raw_data (field 9), if it has some, is external data."""
    kept, raw = bytearray(), None
    for number, start, body, stop in _fields(data, at, end):
        if number == 9:
            raw = body, stop - body
        else:
            kept += data[start:stop]
    tensor = onnx.TensorProto.FromString(bytes(kept))
    if raw is not None:
        code, shape = tensor.data_type, tuple(tensor.dims)
        fits = (
            code in ELEMENT_TYPES
            and min(shape, default=0) >= 0
            and raw[1] == math.prod(shape) * _stored(code).itemsize
            and sum(raw) <= end
        )
        if not fits:
            return data[at:end]  # 4-bit elements, or damaged: the usual way reports it
        tensor.data_location = onnx.TensorProto.EXTERNAL
        location = OWN if place is None else f"byte {raw[0]}"
        if place is not None:
            array = np.frombuffer(data, _stored(code), math.prod(shape), raw[0])
            place[location] = array.reshape(shape)
        for key, value in (("location", location), ("offset", raw[0]), ("length", raw[1])):
            tensor.external_data.add(key=key, value=str(value))
    return tensor.SerializeToString()


def _fields(data: bytes | mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, first byte, first byte of the content, end) of each field of a protocol buffer
    message.
    """
    while at < end:
        start = at
        key, at = _varint(data, at)
        body = at
        wire = key & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            size, body = _varint(data, at)
            at = body + size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise DecodeError(f"wire type {wire} at byte {start}")
        yield key >> 3, start, body, at


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _scan(data: bytes | mmap.mmap) -> str:
    """What is wrong with the outermost structure of the file, or nothing."""
    head = data[:32]
    for magic, what in (
        (b"PK\x03\x04", "a zip archive (a PyTorch or Keras file?)"),
        (b"\x89HDF", "an HDF5 file"),
        (b"version https://git-lfs", "a Git LFS pointer: `git lfs pull` fetches the file itself"),
        (b"<", "HTML or XML text"),
        (b"\x80", "a Python pickle"),
    ):
        if head.startswith(magic):
            return f"not an ONNX file but {what}"
    if not head:
        return "the file is empty"
    at = fields = 0
    while at < len(data):
        try:
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if _MODEL_FIELDS.get(number) != wire:
                return _FOREIGN if fields < 2 else f"the ONNX file is damaged at byte {at}"
            size, at = _varint(data, at)
        except IndexError:
            return f"the ONNX file is truncated: it ends within a field at byte {len(data)}"
        if wire == 2:
            at += size
            if at > len(data):
                what = f"the ONNX file is truncated: {at} bytes expected, {len(data)} found"
                return what if fields or number == 7 else _FOREIGN
        fields += 1
    return ""


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, at


# ---- constants ----------------------------------------------------------------------------------


def tensor_value(tensor: Any, external: External, where: str) -> Value:
    """A tensor of the model as a lazy constant; external data is checked to be there, but not
    read.
    """
    if isinstance(tensor, onnx.SparseTensorProto):
        return constant(_dense(tensor))
    shape = tuple(int(d) for d in tensor.dims)
    code = tensor.data_type
    if code not in ELEMENT_TYPES:
        try:
            element_type(code)
        except UnsupportedError as error:
            raise UnsupportedError(f"{where}: {error}") from None
    dtype = ELEMENT_TYPES[code]
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _external(tensor, shape, dtype, external, where)

    def array() -> np.ndarray:
        try:
            return (
                np.asarray(numpy_helper.to_array(tensor))
                .astype(array_type(dtype), copy=False)
                .reshape(shape)
            )
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"{where}: the data do not fit shape {list(shape)} ({error})"
            ) from None

    raw = tensor.raw_data
    expected = _bytes(code, math.prod(shape))
    if len(raw) <= EAGER and not (raw and code in _BITS and len(raw) != expected):
        return constant(array(), dtype)
    if len(raw) != expected:
        raise ModelError(
            f"{where}: {expected} bytes expected for shape {list(shape)}, {len(raw)} found"
        )
    return lazy_constant((_digest(raw), code), shape, dtype, array)


def _external(
    tensor: Any, shape: tuple[int, ...], dtype: str, external: External, where: str
) -> Value:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    stored = _stored(tensor.data_type)
    held = external.arrays.get(location)
    if held is not None and (held.shape, held.dtype) == (shape, stored):
        key: Any = (_digest(held.ravel("K").view(np.uint8)), held.strides, tensor.data_type)
        return lazy_constant(key, shape, dtype, lambda: held.astype(array_type(dtype), copy=False))
    path = external.file(location, where)
    begin = entries.get("offset", "0")
    if not begin.isdecimal() or min(shape, default=0) < 0:
        raise ModelError(
            f"{where}: shape {list(shape)} at byte {begin} of {location!r}: the file is damaged"
        )
    offset, count = int(begin), math.prod(shape)
    length = _bytes(tensor.data_type, count)
    size, end = path.stat().st_size, offset + length
    if end > size:
        raise ModelError(f"{where}: {location!r} is truncated: {end} bytes expected, {size} found")

    def array() -> np.ndarray:
        if not count:
            return np.zeros(shape, array_type(dtype))
        mapped = np.memmap(path, np.uint8, "r", offset, (length,))
        if tensor.data_type in _BITS:
            whole = onnx.TensorProto(
                data_type=tensor.data_type, dims=shape, raw_data=mapped.tobytes()
            )
            return numpy_helper.to_array(whole).astype(array_type(dtype))
        return mapped.view(stored).reshape(shape).astype(array_type(dtype), copy=False)

    key = (str(path), path.stat().st_mtime_ns, offset, tensor.data_type)
    return lazy_constant(key, shape, dtype, array)


_BITS = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}  # of element types of which a byte holds several


def _bytes(code: int, count: int) -> int:
    """The bytes of so many elements."""
    return -(-count * _BITS[code] // 8) if code in _BITS else count * _stored(code).itemsize


def _stored(code: int) -> np.dtype[Any]:
    """How numpy has the elements of an ONNX element type."""
    return onnx.helper.tensor_dtype_to_np_dtype(code)


def _digest(data: Any) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _dense(sparse: Any) -> np.ndarray:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    if min(sparse.dims, default=0) < 0:
        raise ModelError(f"a sparse tensor has the shape {list(sparse.dims)}")
    limits.make(math.prod(sparse.dims) * values.dtype.itemsize, "a sparse tensor")
    out = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        out.ravel()[indices] = values
    else:
        out[tuple(indices.T)] = values
    return out


__all__ = ["External", "read", "tensor_value"]
