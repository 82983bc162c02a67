"""TensorFlow.js layers models: the configuration of Keras 2 in `model.json`, weights in shards.

The manifest lists groups of weights, each of which is the bytes of its shards in a row. A weight
may be quantised: to 8 or 16 bits (value = number * scale + min), or to float16.

Limits: shards are files beside `model.json` (or below it), not addresses; a graph model, which is
TensorFlow's graph and no longer Keras' layers, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...graph import FROM_NUMPY, Value, constant, evaluate, lazy_constant
from ..beside import beside
from .config import Entry
from .old import weights_as_now
from .weights import Flat, Named

_DTYPES = ("float32", "float16", "int32", "uint8", "bool", "uint16", "int8", "int16")
EAGER = 65536  # bytes; larger weights stay in the file until they are needed
LEAST = 1024  # elements of a quantised weight that stays so: smaller ones become floats


@dataclass(frozen=True)
class _Group:
    """The shards of a group: (path, first byte in the group, size)."""

    shards: Sequence[tuple[Path, int, int]]

    @property
    def size(self) -> int:
        return self.shards[-1][1] + self.shards[-1][2] if self.shards else 0

    def read(self, start: int, size: int) -> np.ndarray:
        out = np.zeros(size, np.uint8)
        for path, first, length in self.shards:
            low, high = max(start, first), min(start + size, first + length)
            if low < high:
                with path.open("rb") as file:
                    file.seek(low - first)
                    file.readinto(out[low - start : high - start].data)
        return out


def topology(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The configuration of a layers model: {"class_name", "config"}."""
    found = data.get("modelTopology")
    if data.get("format") == "graph-model" or (isinstance(found, Mapping) and "node" in found):
        raise UnsupportedError(
            f"{name}: a TensorFlow.js graph model, which no longer has layers. Convert the model "
            "it was made from: its .h5 or .keras file, or tf2onnx for a SavedModel"
        )
    if isinstance(found, Mapping) and isinstance(found.get("model_config"), Mapping):
        found = found["model_config"]
    if not isinstance(found, Mapping) or "class_name" not in found or "config" not in found:
        raise ModelError(f"{name}: modelTopology holds no Keras model (no class_name and config)")
    return found


def weights(
    data: Mapping[str, Any], path: Path, model: Entry
) -> tuple[Flat, dict[Any, tuple[int, int]]]:
    """The weights that the manifest of `model.json` (at path) lists, and their sizes."""
    manifest = data.get("weightsManifest")
    if not isinstance(manifest, list):
        raise ModelError(f"{path}: has no weightsManifest: the weights are missing")
    named: list[Named] = []
    held: dict[Any, tuple[int, int]] = {}
    for group in manifest:
        try:
            paths = [beside(path, str(p), f"{path}: weights") for p in group["paths"]]
            listed = [_checked(w) for w in group["weights"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path}: its weightsManifest is not as TensorFlow.js writes it ({error!r})"
            ) from None
        shards = _shards(paths)
        needed = sum(size for *_, size in listed)
        if shards.size != needed:
            raise ModelError(
                f"{path}: {', '.join(p.name for p in paths)} should have {needed} bytes together, "
                f"but have {shards.size}: a shard is truncated, or belongs to another model"
            )
        at = 0
        for name, shape, dtype, stored, scale, size in listed:
            value = _value(shards, at, name, shape, dtype, stored, scale, size)
            named.append((name, value))
            held[name] = math.prod(shape), size
            at += size

    def convert(entry: Entry, found: list[Value]) -> list[Value]:
        return weights_as_now(entry.class_name, entry.config, found, 2, None)

    return Flat(_distinct(named, path), model, convert, ordered=False), held


def _distinct(named: Sequence[Named], path: Path) -> list[Named]:
    """Each weight once: what several models have is listed for each of them."""
    out: dict[str, Value] = {}
    for name, value in named:
        first = out.setdefault(name, value)
        if first is not value and (
            first.shape != value.shape or not np.array_equal(evaluate(first), evaluate(value))
        ):
            raise ModelError(f"{path}: two weights are named {name!r}, and differ")
    return list(out.items())


def _checked(weight: Mapping[str, Any]) -> tuple[str, tuple[int, ...], str, str, Any, int]:
    """(name, shape, dtype, dtype as stored, (scale, min) or None, bytes) of a weight."""
    shape = tuple(int(d) for d in weight["shape"])
    dtype = str(weight["dtype"])
    quantised = weight.get("quantization")
    stored, scale = dtype, None
    if quantised:
        stored = str(quantised["dtype"])
        if stored in ("uint8", "uint16"):
            scale = float(quantised["scale"]), float(quantised["min"])
        elif stored != "float16":
            raise ValueError(f"quantised to {stored}")
    if dtype not in _DTYPES or stored not in _DTYPES or any(d < 0 for d in shape):
        raise ValueError(f"{weight['name']}: {dtype}{list(shape)}")
    size = math.prod(shape) * np.dtype(stored).itemsize
    return str(weight["name"]), shape, dtype, stored, scale, size


def _shards(paths: Sequence[Path]) -> _Group:
    shards, at = [], 0
    for path in paths:
        size = path.stat().st_size
        shards.append((path, at, size))
        at += size
    return _Group(shards)


def _value(
    group: _Group,
    at: int,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    stored: str,
    scale: tuple[float, float] | None,
    size: int,
) -> Value:
    def raw() -> np.ndarray:
        return group.read(at, size).view(np.dtype(stored).newbyteorder("<")).reshape(shape)

    def load() -> np.ndarray:
        array = raw()
        if scale is not None:
            real = array.astype(np.float32) * np.float32(scale[0]) + np.float32(scale[1])
            array = real if dtype == "float32" else np.round(real)
        return array.astype("float32" if dtype == "float16" else dtype, copy=False)

    key = str(group.shards[0][0]), at, name
    if dtype.startswith("float") and stored != "float32" and math.prod(shape) >= LEAST:
        kept = lazy_constant((*key, stored), shape, FROM_NUMPY[stored], raw)
        if scale is None:
            return ops.cast(kept, "f32")  # which stay halves: passes/narrow.py
        if scale[0]:
            step, zero = np.float32(scale[0]), np.float32(-scale[1] / scale[0])
            return ops.dequantize(
                kept,
                constant(np.full((1,) * len(shape), step)),
                constant(np.full((1,) * len(shape), zero)),
            )
    if size <= EAGER:
        return constant(load())
    return lazy_constant(key, shape, FROM_NUMPY["float32" if dtype == "float16" else dtype], load)


__all__ = ["topology", "weights"]
