"""Caffe nets against genuine Caffe (fixtures that it made once) and against OpenCV's reading.

Nets are written here as text; their caffemodels by `caffemodel`, field by field, since no Caffe is
installed. Layers run as one wasm program in Node, whole architectures are read in numpy.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import webdnn
from tests.jobs import Job, interpreted, run_jobs
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from webdnn.frontend import Imported, format_of, load
from webdnn.frontend.caffe_layers import LAYERS
from webdnn.frontend.caffe_text import parse
from webdnn.graph import evaluate, upper

FIXTURES = Path(__file__).parent / "fixtures" / "caffe"
Weights = Mapping[str, Sequence[np.ndarray]]


# ---- writing nets -------------------------------------------------------------------------------


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def entry(number: int, body: bytes | int) -> bytes:
    """A field of the wire format: bytes, or a varint."""
    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    return varint(number << 3 | 2) + varint(len(body)) + body


def blob(array: np.ndarray, style: str = "packed") -> bytes:
    """A BlobProto: packed, unpacked, double, half (NVIDIA's) or legacy (four sizes)."""
    a = np.asarray(array, np.float32)
    shape = entry(7, entry(1, b"".join(map(varint, a.shape))))
    match style:
        case "unpacked":
            dims = entry(7, b"".join(entry(1, d) for d in a.shape))
            return dims + b"".join(b"\x2d" + struct.pack("<f", v) for v in a.ravel())
        case "double":
            return shape + entry(8, a.astype("<f8").tobytes())
        case "doubles":
            return shape + b"".join(b"\x41" + struct.pack("<d", v) for v in a.ravel())
        case "half":
            return shape + entry(10, 2) + entry(12, a.astype("<f2").tobytes())
        case "legacy":
            sizes = (1,) * (4 - a.ndim) + a.shape
            return b"".join(entry(k, d) for k, d in enumerate(sizes, 1)) + entry(5, a.tobytes())
        case "pieces":
            half = a.size // 2 * 4
            return shape + entry(5, a.tobytes()[:half]) + entry(5, a.tobytes()[half:])
    return shape + entry(5, a.tobytes())


def caffemodel(weights: Weights, style: str = "packed", version: int = 2) -> bytes:
    """A NetParameter with the blobs of layers by name."""
    out = entry(1, b"net")
    for name, arrays in weights.items():
        blobs = [blob(a, style) for a in arrays]
        if version == 2:
            body = entry(1, name.encode()) + entry(2, b"Any")
            out += entry(100, body + b"".join(entry(7, b) for b in blobs))
        elif version == 1:
            body = entry(2, b"x") + entry(4, name.encode()) + entry(5, 4)
            out += entry(2, body + b"".join(entry(6, b) for b in blobs))
        else:
            inner = entry(1, name.encode()) + b"".join(entry(50, b) for b in blobs)
            out += entry(2, entry(1, inner) + entry(2, b"x"))
    return out


def source(name: str, *dims: int) -> str:
    shape = " ".join(f"dim: {d}" for d in dims)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}\n'


def layer(
    name: str, kind: str, body: str = "", bottoms: Sequence[str] = ("x",), tops: Sequence[str] = ()
) -> str:
    ends = "".join(f' bottom: "{b}"' for b in bottoms)
    ends += "".join(f' top: "{t}"' for t in tops or (name,))
    return f'layer {{ name: "{name}" type: "{kind}"{ends} {body} }}\n'


def given(text: str, weights: Weights | None = None, **dims: int) -> Imported:
    """A net of text and arrays, imported."""
    return load(text.encode(), dims, weights=caffemodel(weights) if weights else None)


def problem(text: str | bytes, weights: bytes | None = None, **dims: int) -> str:
    """The one error that a net gives."""
    with pytest.raises(WebDNNError) as error:
        load(text.encode() if isinstance(text, str) else text, dims, weights=weights)
    return str(error.value)


def random_weights(
    rng: np.random.Generator, shapes: Mapping[str, Sequence[Sequence[int]]]
) -> Weights:
    """Weights that keep the scale of what goes through, so that outputs discriminate."""
    return {
        name: [
            (rng.normal(size=s) * (1.5 / np.sqrt(max(1, np.prod(s[1:]))))).astype(np.float32)
            for s in given_shapes
        ]
        for name, given_shapes in shapes.items()
    }


# ---- genuine Caffe ------------------------------------------------------------------------------


def genuine() -> list[Job]:
    """Each net of the fixtures as a job: what Caffe 1.0 computed is expected."""
    expected = np.load(FIXTURES / "expected.npz")
    jobs = []
    for path in sorted(FIXTURES.glob("*.prototxt")):
        name = path.stem

        def arrays(side: str, name: str = name) -> dict[str, np.ndarray]:
            start = f"{name}/{side}/"
            return {k.removeprefix(start): expected[k] for k in expected if k.startswith(start)}

        first = next(iter(arrays("in").values()))
        batch = {"batch": len(first)} if name in ("convolution", "rules", "old") else {}
        graph = load(path, batch, weights=path.with_suffix(".caffemodel")).graph
        feeds = {v.attrs["name"]: arrays("in")[v.attrs["name"]] for v in graph.inputs}
        jobs.append(Job(name, graph, feeds, arrays("out"), 1e-5))
    return jobs


def test_genuine_caffe_read_in_numpy() -> None:
    jobs = genuine()
    assert sum(len(j.expected) for j in jobs) > 180
    assert not interpreted(jobs)


def test_genuine_caffe_on_wasm() -> None:
    for job in genuine():
        job.tol = 1e-4
        assert not run_jobs([job])
