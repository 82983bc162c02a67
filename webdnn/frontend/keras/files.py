"""Opening what Keras saved: zips, HDF5, JSON with weights beside it, and models in memory.

    saved = read("model.h5", None)
    saved.config, saved.version, saved.source

A model may come from strangers, so that reading one neither runs nor writes anything: JSON and
arrays are read in place, nothing is unpacked onto a disk or unpickled, no code of a Lambda is
looked at, and paths inside of files lead nowhere else (no links of HDF5, no shards outside of the
model's folder). Declared sizes are held against the bytes that are there before memory is taken.

Limits: those of `hdf5`.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelError, UnsupportedError
from ...graph import FROM_NUMPY, Value, constant, lazy_constant
from ..beside import beside
from ..hdf5 import BOMB, PACKED, Window, check_array, check_size, is_hdf5, probe
from . import tfjs
from .config import Config, Entry, subclassed
from .model import Generation, Source
from .old import weights_as_now, with_order
from .weights import Groups, Live, Named, Tree, array_constant, in_order

EAGER = 65536  # bytes; larger weights stay in the file until they are needed
CONFIG = 1 << 28  # bytes of JSON that are read
ARCHITECTURE = "config.json"
WEIGHTS = "model.weights.h5"


@dataclass
class Saved:
    """A model as it was saved: {"class_name", "config"}, its generation, and its weights.

    held: the elements and bytes of each weight that was asked for, as the model holds it.
    """

    config: Config
    version: int
    source: Source
    notes: list[str] = field(default_factory=list)
    held: dict[Any, tuple[int, int]] = field(default_factory=dict)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The elements and bytes of each weight that was read."""
        return list(self.held.values())


def is_keras(model: Any, head: bytes) -> bool:
    """Whether this is Keras' by its first bytes, its members, or its class."""
    if head.startswith(b"PK\x03\x04"):
        first = head[30 : 30 + struct.unpack_from("<H", head, 26)[0]] if len(head) > 30 else b""
        if first in (b"metadata.json", ARCHITECTURE.encode(), WEIGHTS.encode()):
            return True
        return _member_names(model) >= {ARCHITECTURE}
    if is_hdf5(head):
        return True
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        return bool(re.search(rb'"(class_name|modelTopology|weight_map)"\s*:', text))
    if head:
        return False
    if isinstance(model, (str, os.PathLike)):
        return (Path(model) / ARCHITECTURE).is_file() and (Path(model) / WEIGHTS).is_file()
    return any(
        re.match(r"(keras|tf_keras|tensorflow\.python\.keras)\.", c.__module__ + ".")
        for c in type(model).__mro__
    )


def _member_names(model: Any) -> set[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(model) if isinstance(model, bytes) else model) as archive:
            return set(archive.namelist())
    except Exception:  # whatever zipfile meets in a damaged directory
        return set()


def read(model: Any, weights: str | os.PathLike[str] | None) -> Saved:
    """Open a model: a path, a file's bytes, or an object. weights: for an architecture in JSON."""
    if not isinstance(model, (bytes, str, os.PathLike)):
        _no_weights(weights, "a model in memory")
        return _live(model)
    if isinstance(model, bytes):
        file, name, head = (
            _File(io.BytesIO(model), "the model", len(model)),
            "the model",
            model[:8192],
        )
    else:
        path = Path(model)
        if path.is_dir():
            _no_weights(weights, "a whole model")
            return _folder(path)
        file = _opened(path)
        name, head = str(path), file.head()
    if head.startswith(b"PK\x03\x04"):
        _no_weights(weights, "a .keras file")
        return _zip(file)
    if is_hdf5(head):
        return _whole_hdf5(_hdf5(file), weights)
    return _json(file, name, weights)


def _no_weights(weights: Any, what: str) -> None:
    if weights is not None:
        raise ModelError(f"weights were given ({weights}), but {what} has its own")


@dataclass
class _File:
    """Bytes on disk or in memory, and how errors call them."""

    stream: Any
    name: str
    size: int
    folder: Path | None = None

    def head(self) -> bytes:
        self.stream.seek(0)
        out: bytes = self.stream.read(8192)
        self.stream.seek(0)
        return out

    @property
    def key(self) -> Any:
        """What tells this file's weights from another's: it stays open as long as they live."""
        return id(self.stream), self.name


def _opened(path: Path) -> _File:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    return _File(stream, str(path), path.stat().st_size, path.parent)


def parsed(data: bytes | str, name: str) -> Any:
    """JSON, or a clear error."""
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise ModelError(f"{name}: is not text, where JSON was expected ({error})") from None
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{name}: is not whole JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        ) from None
    except RecursionError:
        raise ModelError(f"{name}: its JSON is nested too deeply") from None
    except ValueError:  # Python's limit of digits
        raise ModelError(f"{name}: its JSON holds a number of thousands of digits") from None


def generation(version: Any) -> Generation:
    """1, 2 or 3 of a version's text; tf.keras and TensorFlow.js are 2, what is unknown is 3."""
    text = str(version or "")
    match = re.match(r"([0-9]+)\.", text)
    out = Generation(min(max(int(match[1]), 1), 3) if match else 2 if "tfjs" in text else 3)
    out.text = text
    return out


# ---- .keras --------------------------------------------------------------------------------------


def _zip(file: _File) -> Saved:
    try:
        archive = zipfile.ZipFile(file.stream)
        names = set(archive.namelist())
        if ARCHITECTURE not in names:
            raise ModelError(
                f"{file.name}: a zip without {ARCHITECTURE}: not a whole .keras file "
                f"(it holds {', '.join(sorted(names)[:5]) or 'nothing'})"
            )
        config = parsed(
            _member(archive, file, ARCHITECTURE, CONFIG), f"{file.name}: {ARCHITECTURE}"
        )
        metadata = {}
        if "metadata.json" in names:
            data = _member(archive, file, "metadata.json", CONFIG)
            metadata = parsed(data, f"{file.name}: metadata.json")
        if WEIGHTS not in names:
            raise _weightless(file.name, names)
        info = archive.getinfo(WEIGHTS)
        where = f"{file.name}: {WEIGHTS}"
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            stream: Any = Window(file.stream, _data_at(file, info), info.file_size)
            if info.header_offset + info.file_size > file.size:
                raise ModelError(f"{file.name}: is truncated")
            crc = 0
            while part := stream.read(1 << 20):
                crc = zlib.crc32(part, crc)
            if crc != info.CRC:
                raise ModelError(f"{where} is damaged: its checksum differs")
        else:
            stream = io.BytesIO(_member(archive, file, WEIGHTS, None))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, EOFError, OSError) as error:
        raise ModelError(f"{file.name}: the zip file is damaged or truncated ({error})") from None
    except (NotImplementedError, RuntimeError) as error:  # a method of compression, a password
        raise ModelError(f"{file.name}: {error}") from None
    return _modern(config, metadata, _hdf5(_File(stream, where, info.file_size)), file.name)


def _weightless(name: str, names: set[str]) -> ModelError:
    if "model.weights.npz" in names:
        return ModelError(
            f"{name}: its weights are an .npz of pickles, which are not opened. "
            "Load the model in Keras and save it again: model.save('model.keras')"
        )
    return ModelError(f"{name}: has no {WEIGHTS}: the weights are missing")


def _data_at(file: _File, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header."""
    file.stream.seek(info.header_offset)
    header = file.stream.read(30)
    name, extra = struct.unpack_from("<HH", header, 26)
    return info.header_offset + 30 + int(name) + int(extra)


def _member(archive: zipfile.ZipFile, file: _File, name: str, limit: int | None) -> bytes:
    """The bytes of a member, unless it claims to be much more than the file holds."""
    info = archive.getinfo(name)
    packed = min(info.compress_size, file.size)
    if info.file_size > BOMB and info.file_size > PACKED * packed:
        raise ModelError(
            f"{file.name}: {name} would unpack from {packed} to {info.file_size} bytes: refused. "
            "If that is right, zip it without compression"
        )
    if limit is not None and info.file_size > limit:
        raise ModelError(f"{file.name}: {name} has {info.file_size} bytes: more than {limit}")
    try:
        return archive.read(name)
    except Exception as error:  # zlib and lzma have errors of their own
        if isinstance(error, (MemoryError, NotImplementedError, RuntimeError)):
            raise
        raise ModelError(f"{file.name}: {name} is damaged ({error})") from None


def _folder(path: Path) -> Saved:
    first = path / ARCHITECTURE
    config = parsed(_limited(first), str(first))
    metadata = {}
    if (path / "metadata.json").is_file():
        found = beside(first, "metadata.json", f"{path}: the version")
        metadata = parsed(_limited(found), str(found))
    weights = beside(first, WEIGHTS, f"{path}: the weights")
    return _modern(config, metadata, _hdf5(_opened(weights)), str(path))


def _limited(path: Path) -> bytes:
    file = _opened(path)
    if file.size > CONFIG:
        raise ModelError(f"{path}: has {file.size} bytes: more than {CONFIG}")
    with file.stream:
        out: bytes = file.stream.read()
    return out


def _modern(config: Any, metadata: Any, store: _Hdf5, name: str) -> Saved:
    if not isinstance(config, Mapping) or "class_name" not in config:
        raise ModelError(f"{name}: {ARCHITECTURE} is not the configuration of a Keras model")
    version = metadata.get("keras_version") if isinstance(metadata, Mapping) else None
    return Saved(config, generation(version), Tree(store), held=store.held)


# ---- HDF5 ----------------------------------------------------------------------------------------


@dataclass
class _Hdf5:
    """A file of HDF5, of which only plain groups and datasets that lie inside of it are read."""

    root: Any
    file: _File
    held: dict[Any, tuple[int, int]] = field(default_factory=dict)
    found: dict[str, list[Value]] = field(default_factory=dict)

    def item(self, path: str, within: Any = None) -> Any:
        """The group or dataset at a path, or None."""
        import h5py

        at = self.root if within is None else within
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(at, h5py.Group):
                return None
            try:
                link = at.get(part, getlink=True)
                if link is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise ModelError(
                        f"{self.file.name}: {path!r} is a link to somewhere else: refused"
                    )
                at = at[part]
            except (KeyError, OSError, RuntimeError, ValueError) as error:
                raise self.damaged(path, error) from None
        return at

    def damaged(self, path: str, error: Any) -> ModelError:
        return ModelError(f"{self.file.name}: {path!r} is damaged or truncated ({error})")

    def groups(self, path: str) -> list[str]:
        """The names of what lies at a path."""
        import h5py

        at = self.item(path)
        try:
            return list(at) if isinstance(at, h5py.Group) else []
        except (OSError, RuntimeError) as error:
            raise self.damaged(path, error) from None

    # The parts of a `Store`:

    def variables(self, path: str) -> list[Value]:
        if path not in self.found:
            group = self._at(path, "vars")
            keys = self.groups(group) if group else []
            self.found[path] = [self.value(f"{group}/{k}") for k in in_order(keys)]
        return self.found[path]

    def label(self, path: str) -> str | None:
        group = self._at(path, "vars")
        return self.text(group, "name") if group else None

    def below(self, path: str) -> list[str]:
        here = self._at(path, "")
        return self.groups(here) if here else []

    def _at(self, path: str, end: str) -> str | None:
        """The path as the file has it: tf.keras 2.12 said _layer_checkpoint_dependencies."""
        both = path, re.sub(r"\blayers\b", "_layer_checkpoint_dependencies", path)
        for here in dict.fromkeys(both):
            whole = f"{here}/{end}".strip("/")
            if whole and self.item(whole) is not None:
                return whole
        return None

    def text(self, path: str, attribute: str) -> str | None:
        """An attribute that is text, or None."""
        found = self.attribute(path, attribute)
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace")
        return found if isinstance(found, str) else None

    def attribute(self, path: str, attribute: str) -> Any:
        at = self.item(path)
        try:
            return at.attrs[attribute] if at is not None and attribute in at.attrs else None
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise self.damaged(f"{path}@{attribute}", error) from None

    def texts(self, path: str, attribute: str) -> list[str] | None:
        """An attribute that is a list of texts; long ones are cut into NAME0, NAME1, ..."""
        found = self.attribute(path, attribute)
        if found is None:
            parts: list[str] = []
            k = 0
            while (part := self.attribute(path, f"{attribute}{k}")) is not None:
                parts += [_decoded(p) for p in np.atleast_1d(part)]
                k += 1
            return parts if k else None
        return [_decoded(p) for p in np.atleast_1d(found)]

    def value(self, path: str) -> Value:
        """A dataset as a constant."""
        import h5py

        data = self.item(path)
        if not isinstance(data, h5py.Dataset):
            raise ModelError(f"{self.file.name}: {path!r} should be an array, but there is none")
        where = f"{self.file.name}: {path!r}"
        try:
            shape, dtype = data.shape, data.dtype
            half = data.attrs.get("dtype") in ("bfloat16", b"bfloat16")
            if shape is None or not (half or dtype.kind in "fiub"):
                raise ModelError(f"{where} holds {dtype}, not numbers")
            check_size(data, where, self.file.size)
            check_array(data, where)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise self.damaged(path, error) from None
        size = math.prod(shape)
        claimed = size * dtype.itemsize

        def load() -> np.ndarray:
            try:
                array = data[()]
            except (OSError, RuntimeError) as error:
                raise self.damaged(path, error) from None
            if half and array.dtype.kind in "Vu":  # bfloat16 is the upper half of a float32
                array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            return _plain(np.asarray(array))

        self.held[path] = size, claimed
        short = "f32" if half or dtype.kind == "f" else FROM_NUMPY[dtype.name]
        return _weight((*self.file.key, path), shape, short, claimed, load)


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def _weight(
    key: Any, shape: Sequence[int], dtype: str, size: int, load: Callable[[], np.ndarray]
) -> Value:
    if size <= EAGER:
        return constant(load())
    return lazy_constant(key, tuple(int(d) for d in shape), dtype, load)


def _decoded(text: Any) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _hdf5(file: _File) -> _Hdf5:
    import h5py

    if not is_hdf5(file.head()):
        raise ModelError(f"{file.name}: is not an HDF5 file")
    probe(file.stream, file.name)
    try:
        return _Hdf5(h5py.File(file.stream, "r"), file)
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{file.name}: the HDF5 file is damaged or truncated ({error})") from None


def _whole_hdf5(store: _Hdf5, weights: Any) -> Saved:
    name = store.file.name
    text = store.text("", "model_config")
    if text is None:
        if store.item("layers") is None and store.attribute("", "layer_names") is None:
            raise ModelError(
                f"{name}: an HDF5 file, but not one that Keras wrote (no model_config)"
            )
        raise ModelError(
            f"{name}: holds weights only. Give the architecture as the model, and this file as its "
            "weights: save model.to_json() to model.json, and then\n"
            f"  webdnn transpile model.json {Path(name).name} ..."
        )
    _no_weights(weights, "a whole model")
    config = parsed(text, f"{name}: model_config")
    version = store.text("", "keras_version") or store.text("model_weights", "keras_version")
    if store.item("model_weights") is None:
        raise ModelError(f"{name}: has no model_weights: the weights are missing")
    backend = store.text("", "backend") or store.text("model_weights", "backend")
    old = generation(version or "1.0")
    notes = [] if old > 1 or backend else [_BACKEND.format(name)]
    groups = _groups(store, "model_weights", old, backend)
    return Saved(with_order(config) if old == 1 else config, old, groups, notes, store.held)


_BACKEND = (
    "{0}: Keras 1 did not say which backend it used: taken to be TensorFlow. If it was Theano, "
    "whose filters are turned around, set the attribute `backend` of the file to 'theano' with h5py"
)


def _groups(
    store: _Hdf5, path: str, version: int, backend: str | None, whole: bool = True
) -> Groups:
    """The lists of weights of an older file, by layer."""

    def lists(layer: str) -> Callable[[], list[Named]]:
        where = f"{path}/{layer}".strip("/")

        def load() -> list[Named]:
            names = store.texts(where, "weight_names")
            if names is None:
                raise ModelError(f"{store.file.name}: {where!r} does not list its weights")
            return [(n, store.value(f"{where}/{n}")) for n in names]

        return load

    listed = store.texts(path, "layer_names")
    names = store.groups(path) if listed is None else listed

    def convert(entry: Entry, found: list[Value]) -> list[Value]:
        return weights_as_now(entry.class_name, entry.config, found, version, backend)

    return Groups({n: lists(n) for n in names}, convert, store.file.name, whole)


# ---- JSON ----------------------------------------------------------------------------------------


def _json(file: _File, name: str, weights: Any) -> Saved:
    if file.size > CONFIG:
        raise ModelError(f"{name}: has {file.size} bytes of JSON: more than {CONFIG}")
    data = parsed(file.stream.read(), name)
    if not isinstance(data, Mapping):
        raise ModelError(f"{name}: is JSON, but not a Keras model")
    if "weight_map" in data:
        raise ModelError(f"{name}: lists shards of weights. Give the architecture as the model")
    if "modelTopology" in data or "weightsManifest" in data:
        _no_weights(weights, "a TensorFlow.js model")
        config = tfjs.topology(data, name)
        if file.folder is None:
            raise ModelError("a model.json needs its shards: give its path, not its bytes")
        whole = Entry(str(config["class_name"]), "model", {})
        flat, held = tfjs.weights(data, Path(name), whole)
        return Saved(config, 2, flat, held=held)
    if "class_name" not in data or "config" not in data:
        raise ModelError(f"{name}: is JSON, but not a Keras model (no class_name and config)")
    if weights is None:
        raise ModelError(
            f"{name}: is an architecture without weights. Give the file of the weights too: "
            "after this one, or with weights_file= in Python"
        )
    version = generation(data.get("keras_version") or ("3." if "module" in data else "1.0"))
    data = with_order(data) if version == 1 else data
    path = Path(weights)
    if path.suffix == ".json":
        shards = _Shards(path)
        return Saved(data, version, Tree(shards, named=False), held=shards.held)
    store = _hdf5(_opened(path))
    source: Source = Tree(store, named=False)
    if store.attribute("", "layer_names") is not None or store.attribute("", "layer_names0"):
        backend = store.text("", "backend") or data.get("backend")
        source = _groups(store, "", version, backend, whole=False)
    elif store.item("model_weights") is not None:
        backend = store.text("", "backend") or store.text("model_weights", "backend")
        source = _groups(store, "model_weights", version, backend, whole=False)
    elif not store.below("layers"):
        raise ModelError(f"{path}: an HDF5 file, but not weights that Keras wrote")
    return Saved(data, version, source, held=store.held)


class _Shards:
    """Keras 3's sharded weights: a JSON file says which of the HDF5 files beside it holds what."""

    def __init__(self, path: Path):
        data = parsed(_limited(path), str(path))
        found = data.get("weight_map") if isinstance(data, Mapping) else None
        if not isinstance(found, Mapping):
            raise ModelError(f"{path}: is JSON, but not a list of Keras' shards (no weight_map)")
        self.path = path
        self.held: dict[Any, tuple[int, int]] = {}
        self.files: dict[str, _Hdf5] = {}
        self.map: dict[str, list[str]] = {
            str(k).strip("/"): [str(f) for f in (v if isinstance(v, list) else [v])]
            for k, v in found.items()
        }

    def _stores(self, path: str) -> list[_Hdf5]:
        out = []
        for name in self.map.get(f"{path}/vars".strip("/"), []):
            if name not in self.files:
                self.files[name] = _hdf5(_opened(beside(self.path, name, f"{self.path}: weights")))
                self.files[name].held = self.held
            out.append(self.files[name])
        return out

    def variables(self, path: str) -> list[Value]:
        found = {}
        for store in self._stores(path):
            for key in store.groups(f"{path}/vars"):
                found[key] = store.value(f"{path}/vars/{key}")
        return [found[k] for k in in_order(found)]

    def label(self, path: str) -> str | None:
        return next((x for s in self._stores(path) if (x := s.label(path))), None)

    def below(self, path: str) -> list[str]:
        start = f"{path}/".lstrip("/")
        parts = (p[len(start) :].partition("/")[0] for p in self.map if p.startswith(start))
        return list(dict.fromkeys(parts))


# ---- models in memory ----------------------------------------------------------------------------


def _live(model: Any) -> Saved:
    classes = type(model).__mro__
    if not hasattr(model, "to_json") or not hasattr(model, "layers"):
        raise ModelError(
            f"{type(model).__name__} is a part of Keras, but not a model: give a keras.Model, for "
            "example keras.Sequential([keras.Input(shape), layer])"
        )
    modern = any(c.__module__ == "keras.src.layers.layer" for c in classes)
    config = _configuration(model)
    functional = next((c for c in classes if c.__name__ == "Functional"), None)
    if functional is not None and not _lists_layers(config):
        # A class of one's own around a functional graph, with a training step, say.
        model = functional(model.inputs, model.outputs, name=model.name)
        config = _configuration(model)
    if not _lists_layers(config):
        raise UnsupportedError(subclassed(type(model).__name__))
    held: dict[Any, tuple[int, int]] = {}
    if modern:
        return Saved(config, 3, Live(model, held), held=held)

    def again(layer: Any, k: int) -> np.ndarray:
        return np.asarray(layer.get_weights()[k])

    def lists(layer: Any) -> Callable[[], list[Named]]:
        def load() -> list[Named]:
            out = []
            arrays = layer.get_weights()
            for k, (weight, array) in enumerate(zip(layer.weights, arrays, strict=True)):
                held[id(layer), weight.name] = array.size, array.nbytes
                out.append((weight.name, array_constant(array, partial(again, layer, k))))
            return out

        return load

    def convert(entry: Entry, found: list[Value]) -> list[Value]:
        return weights_as_now(entry.class_name, entry.config, found, 2, config.get("backend"))

    groups = Groups({layer.name: lists(layer) for layer in model.layers}, convert, model.name)
    return Saved(config, 2, groups, held=held)


def _lists_layers(config: Any) -> bool:
    inner = config.get("config") if isinstance(config, Mapping) else None
    return isinstance(inner, list) or (isinstance(inner, Mapping) and "layers" in inner)


def _configuration(model: Any) -> Any:
    try:
        return json.loads(model.to_json())
    except NotImplementedError as error:
        return {"class_name": type(model).__name__, "config": {}, "reason": str(error)}


__all__ = ["Saved", "generation", "is_keras", "parsed", "read"]
