"""Damaged files of every format: each is transpiled, or refused by one WebDNNError.

    python -m tests.fuzz_files --seed 1 --count 5000        as `make fuzz`
    python -m tests.fuzz_files --seed 1 --only 37           mutant 37 of that seed again, with files
    python -m tests.fuzz_files --format onnx --count 500    files of one format

Mutant k of a seed is the same on every machine with the same libraries. It is a sound model of a
few kilobytes of which one file was changed one to three times: bits and bytes, cuts, lengths,
stretches of other files; in text, tokens; in JSON, values; in zips and HDF5, members, with their
checksums right again; in protocol buffers, fields, with the lengths around them right again. So
damage is found behind the checks that a crude one does not pass.

Each mutant is transpiled for WebGPU, and for wasm up to the C that a compiler would get, in a
process of its own with SECONDS of processor time and MEMORY more than what it begins with. What
comes of it must be a descriptor or a WebDNNError with a message for people; all else is a finding,
which is printed with the line of ours in which it was raised.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import json
import os
import pickle
import random
import re
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import webdnn
import webdnn.chainer_compat
from webdnn import passes, transpiler
from webdnn.browser.inputs import default_sizes, random_inputs, signature_of
from webdnn.codegen import TARGETS
from webdnn.descriptor.write import write
from webdnn.errors import WebDNNError
from webdnn.frontend import FORMATS
from webdnn.inspect.dump import sources
from webdnn.inspect.report import report_html
from webdnn.schedule.lower import lower

FIXTURES = Path(__file__).parent / "fixtures"
SECONDS = 5
MEMORY = 1 << 30
LONGEST = 4000  # characters of a message for people
# How many mutants of a hundred are of a format; torch takes a second for each of its files, and the
# process that tries HDF5 half a second for each of Keras'.
SHARES = {
    "onnx": 50, "keras": 15, "tfjs": 8, "caffe": 14, "chainer": 3, "labels": 3, "pictures": 2,
    "descriptor": 2, "pytorch": 3,
}  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 7, 64, 255, 65536, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63))
TEXTS = ("", "x", "0", "nearest_zz", "\udcff", "\x1b[31m", "../../etc/passwd", "/", "é" * 40)


@dataclass(frozen=True)
class Sample:
    """A sound model: its files by name, the first of which is the model's own."""

    format: str
    name: str
    files: Mapping[str, bytes]
    weights: str | None = None  # one of the files
    options: Mapping[str, Any] = field(default_factory=dict)  # of `transpile`


@dataclass(frozen=True)
class Mutant:
    """A sample with a changed file, and what was done to it."""

    sample: Sample
    files: Mapping[str, bytes]
    changes: Sequence[str]

    def __str__(self) -> str:
        return f"{self.sample.format} {self.sample.name}: {'; '.join(self.changes)}"


# ---- samples -------------------------------------------------------------------------------------


def _onnx_models() -> Iterator[tuple[str, onnx.ModelProto]]:
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype("f"), name)

    def ints(name: str, *values: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    def model(
        name: str,
        nodes: list[onnx.NodeProto],
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Sequence[str],
        constants: Sequence[onnx.TensorProto] = (),
        **more: Any,
    ) -> tuple[str, onnx.ModelProto]:
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            constants,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        return name, helper.make_model(graph, opset_imports=opsets, **more)

    node = helper.make_node
    yield model(
        "conv",
        [
            node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1],
                 dilations=[1, 1], kernel_shape=[3, 3], group=1),
            node("BatchNormalization", ["c", "s", "s", "s", "v"], ["n"], epsilon=1e-3),
            node("LeakyRelu", ["n"], ["r"], alpha=0.2),
            node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            node("LRN", ["m"], ["l"], size=3, alpha=1e-3),
            node("ConvTranspose", ["l", "t"], ["u"], strides=[2, 2], output_padding=[1, 1]),
            node("AveragePool", ["u"], ["a"], kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
            node("GlobalAveragePool", ["a"], ["g"]),
            node("Flatten", ["g"], ["f"], axis=1),
            node("Gemm", ["f", "d"], ["h"], transB=1, alpha=0.5),
            node("Softmax", ["h"], ["y"], axis=-1),
        ],
        {"x": (1, 3, 8, 8)},
        ["y"],
        [weight("w", 4, 3, 3, 3), weight("b", 4), weight("s", 4), weight("t", 4, 2, 2, 2),
         weight("d", 5, 2), numpy_helper.from_array(np.full(4, 0.5, "f"), "v")],
    )  # fmt: skip
    yield model(
        "shapes",
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Concat", ["n", "two", "rest"], ["to"], axis=0),
            node("Reshape", ["x", "to"], ["r"]),
            node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
            node("Slice", ["t", "one", "four", "one", "one"], ["c"]),
            node("Pad", ["c", "pads"], ["p"], mode="reflect"),
            node("Tile", ["p", "times"], ["i"]),
            node("Split", ["i"], ["q", "k"], axis=2, num_outputs=2),
            node("Unsqueeze", ["q", "zero"], ["z"]),
            node("Squeeze", ["z", "zero"], ["u"]),
            node("ReduceMean", ["u"], ["e"], axes=[1], keepdims=1),
            node("Expand", ["e", "shape"], ["o"]),
            node("Gather", ["o", "index"], ["g"], axis=1),
            node("TopK", ["g", "one"], ["top", "at"], axis=-1),
            node("Cast", ["at"], ["f"], to=TensorProto.FLOAT),
            node("Add", ["top", "f"], ["y"]),
        ],
        {"x": (1, 4, 6)},
        ["y", "k"],
        [ints("zero", 0), ints("two", 2), ints("rest", -1), ints("one", 1), ints("four", 4),
         ints("pads", 0, 1, 0, 0, 1, 0), ints("times", 1, 1, 2), ints("shape", 1, 3, 2),
         numpy_helper.from_array(np.array([[0, 1], [2, 0]], np.int64), "index")],
    )  # fmt: skip
    yield model(
        "images",
        [
            node("Resize", ["x", "", "scales"], ["r"], mode="linear",
                 coordinate_transformation_mode="half_pixel", nearest_mode="floor"),
            node("DepthToSpace", ["r"], ["d"], blocksize=2, mode="CRD"),
            node("SpaceToDepth", ["d"], ["s"], blocksize=2),
            node("InstanceNormalization", ["s", "g", "g"], ["i"], epsilon=1e-5),
            node("RoiAlign", ["i", "rois", "batch"], ["a"], output_height=2, output_width=2,
                 sampling_ratio=1, spatial_scale=1.0, mode="avg"),
            node("Einsum", ["a", "m"], ["e"], equation="bchw,wk->bchk"),
            node("CumSum", ["e", "axis"], ["c"], exclusive=1),
            node("ArgMax", ["c"], ["k"], axis=1, keepdims=0),
            node("OneHot", ["k", "depth", "values"], ["y"], axis=-1),
        ],
        {"x": (1, 4, 4, 4)},
        ["y", "c"],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], "f"), "scales"), weight("g", 4),
         numpy_helper.from_array(np.array([[0, 0, 3, 3]], "f"), "rois"), ints("batch", 0),
         weight("m", 2, 3), numpy_helper.from_array(np.array(2, np.int64), "axis"),
         ints("depth", 4), numpy_helper.from_array(np.array([0, 1], "f"), "values")],
    )  # fmt: skip
    yield model(
        "sequences",
        [
            node("LSTM", ["x", "w", "r", "b"], ["h", "last"], hidden_size=4,
                 direction="bidirectional", activations=["Sigmoid", "Tanh", "Tanh"] * 2),
            node("GRU", ["x", "gw", "gr"], ["", "g"], hidden_size=4, linear_before_reset=1),
            node("LayerNormalization", ["x", "n", "n"], ["l"], axis=-1),
            node("MatMul", ["l", "m"], ["p"]),
            node("Where", ["yes", "p", "x"], ["o"]),
            node("If", ["condition"], ["y"],
                 then_branch=helper.make_graph([node("Relu", ["o"], ["t"])], "then", [],
                     [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)]),
                 else_branch=helper.make_graph([node("Neg", ["o"], ["f"])], "else", [],
                     [helper.make_tensor_value_info("f", TensorProto.FLOAT, None)])),
            node("Twice", ["y"], ["z"], domain="own", factor=2.0),
        ],
        {"x": (5, 1, 3)},
        ["h", "g", "z"],
        [weight("w", 2, 16, 3), weight("r", 2, 16, 4), weight("b", 2, 32), weight("gw", 1, 12, 3),
         weight("gr", 1, 12, 4), weight("n", 3), weight("m", 3, 3),
         numpy_helper.from_array(np.array([True, False, True]), "yes"),
         numpy_helper.from_array(np.array(True), "condition")],
        functions=[
            helper.make_function(
                "own", "Twice", ["a"], ["c"],
                [_with_reference(node("Constant", [], ["k"]), "value_float", "factor"),
                 node("Mul", ["a", "k"], ["c"])],
                [helper.make_opsetid("", 17)], ["factor"])
        ],
    )  # fmt: skip
    yield model(
        "quantised",
        [
            node("DequantizeLinear", ["q", "scale", "point"], ["w"], axis=1),
            node("MatMul", ["x", "w"], ["m"]),
            node("QuantizeLinear", ["m", "one", "zero"], ["i"]),
            node("DequantizeLinear", ["i", "one", "zero"], ["d"]),
            node("Clip", ["d", "low", "high"], ["c"]),
            node("GatherElements", ["c", "at"], ["g"], axis=1),
            node("ScatterND", ["g", "where", "new"], ["s"]),
            node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["n"],
                 center_point_box=1),
            node("Cast", ["n"], ["y"], to=1),
        ],
        {"x": (2, 4), "boxes": (1, 6, 4), "scores": (1, 2, 6)},
        ["s", "y"],
        [numpy_helper.from_array(rng.integers(-9, 9, (4, 3)).astype(np.int8), "q"),
         numpy_helper.from_array(np.array([0.1, 0.2, 0.3], "f"), "scale"),
         numpy_helper.from_array(np.zeros(3, np.int8), "point"),
         numpy_helper.from_array(np.array(0.1, "f"), "one"),
         numpy_helper.from_array(np.array(3, np.uint8), "zero"),
         numpy_helper.from_array(np.array(-1, "f"), "low"),
         numpy_helper.from_array(np.array(1, "f"), "high"),
         numpy_helper.from_array(np.array([[0, 2], [1, 1]], np.int64), "at"),
         numpy_helper.from_array(np.array([[1]], np.int64), "where"),
         weight("new", 1, 2), ints("most", 3),
         numpy_helper.from_array(np.array([0.5], "f"), "iou")],
    )  # fmt: skip
    yield model(
        "open",
        [
            node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Resize", ["c", "", "scales"], ["r"], mode="nearest",
                 coordinate_transformation_mode="asymmetric"),
            node("Concat", ["r", "x"], ["s"], axis=1),
            node("Shape", ["s"], ["all"]),
            node("Slice", ["all", "zero", "two"], ["first"]),
            node("Concat", ["first", "rest"], ["to"], axis=0),
            node("Reshape", ["s", "to"], ["flat"]),
            node("ReduceMax", ["flat"], ["m"], axes=[2], keepdims=0),
            node("Softmax", ["m"], ["y"]),
            node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            node("MatMul", ["k", "kt"], ["scores"]),
            node("Slice", ["scores", "zero", "two", "axis", "step"], ["z"]),
            node("TopK", ["y", "two"], ["best", "at"]),
            node("Gather", ["y", "at"], ["g"], axis=1),
        ],
        {"x": (1, 3, "h", 16), "k": (1, "t", 4)},
        ["y", "z", "g"],
        [weight("w", 3, 3, 3, 3), numpy_helper.from_array(np.array([1, 1, 2, 2], "f"), "scales"),
         ints("zero", 0), ints("two", 2), ints("rest", -1), ints("axis", 1), ints("step", 1)],
    )  # fmt: skip


def _with_reference(node: onnx.NodeProto, name: str, to: str) -> onnx.NodeProto:
    node.attribute.add(name=name, ref_attr_name=to, type=onnx.AttributeProto.FLOAT)
    return node


def _elsewhere(model: onnx.ModelProto) -> tuple[bytes, bytes]:
    """The model with the numbers of its weights in a file beside it, and that file."""
    data = b""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", len(data)), ("length", len(raw))):
            tensor.external_data.add(key=key, value=str(value))
        data += raw
    return out.SerializeToString(), data


def _layers_model() -> dict[str, bytes]:
    """A TensorFlow.js layers model of two shards, one weight of it in 8 bits."""
    rng = np.random.default_rng(1)
    layers: list[dict[str, Any]] = [
        {"class_name": "Conv2D", "config": {
            "name": "c", "filters": 3, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same",
            "data_format": "channels_last", "dilation_rate": [1, 1], "activation": "relu",
            "use_bias": True, "batch_input_shape": [None, 6, 6, 2], "dtype": "float32"}},
        {"class_name": "Flatten", "config": {"name": "f", "data_format": "channels_last"}},
        {"class_name": "Dense", "config": {
            "name": "d", "units": 4, "activation": "softmax", "use_bias": True}},
    ]  # fmt: skip
    arrays = {
        "c/kernel": rng.integers(0, 255, (3, 3, 2, 3)).astype(np.uint8),
        "c/bias": rng.standard_normal(3).astype("f"),
        "d/kernel": rng.standard_normal((108, 4)).astype("f"),
        "d/bias": rng.standard_normal(4).astype("f"),
    }
    rows: list[dict[str, Any]] = []
    for name, array in arrays.items():
        row: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": "float32"}
        if array.dtype == np.uint8:
            row["quantization"] = {"dtype": "uint8", "scale": 0.01, "min": -1.0}
        rows.append(row)
    data = b"".join(a.tobytes() for a in arrays.values())
    model = {
        "format": "layers-model",
        "modelTopology": {
            "keras_version": "2.9.0",
            "model_config": {
                "class_name": "Sequential",
                "config": {"name": "s", "layers": layers},
            },
        },
        "weightsManifest": [{"paths": ["1.bin", "2.bin"], "weights": rows}],
    }
    text = json.dumps(model).encode()
    return {"model.json": text, "1.bin": data[:500], "2.bin": data[500:]}


@cache
def _torch_program() -> bytes:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    module = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (torch.zeros(1, 2, 4, 4),))
        torch.export.save(program, out)
    return out.getvalue()


def _chain() -> Any:
    """The chain that the samples of Chainer hold the parameters of."""
    import chainer
    import chainer.links as L

    class Net(chainer.Chain):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            with self.init_scope():
                self.c = L.Convolution2D(2, 3, 3)
                self.n = L.BatchNormalization(3)
                self.d = L.Linear(None, 4)

        def forward(self, x: Any) -> Any:
            return self.d(chainer.functions.relu(self.n(self.c(x))))

    return Net()


def _parameters() -> dict[str, bytes]:
    rng = np.random.default_rng(2)
    arrays = {
        "c/W": rng.standard_normal((3, 2, 3, 3)).astype("f"),
        "c/b": np.zeros(3, "f"),
        "n/gamma": np.ones(3, "f"),
        "n/beta": np.zeros(3, "f"),
        "n/avg_mean": np.zeros(3, "f"),
        "n/avg_var": np.ones(3, "f"),
        "n/N": np.array(0),
        "d/W": rng.standard_normal((4, 12)).astype("f"),
        "d/b": np.zeros(4, "f"),
    }
    npz, h5 = io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz, **arrays)
    with h5py.File(h5, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return {"w.npz": npz.getvalue(), "w.h5": h5.getvalue()}


def samples(formats: Sequence[str]) -> list[Sample]:
    """The sound models of these formats."""
    out: list[Sample] = []
    models = dict(_onnx_models())
    classes = models["conv"].SerializeToString()
    for name, model in models.items():
        dims = {"dims": {"h": (8, 64, 8), "t": (1, 9)}} if name == "open" else {}
        out.append(Sample("onnx", name, {"m.onnx": model.SerializeToString()}, None, dims))
    text, data = _elsewhere(models["conv"])
    out.append(Sample("onnx", "external", {"m.onnx": text, "w.bin": data}))
    keras = FIXTURES / "keras"
    for path in (*sorted(keras.glob("*.keras")), *sorted(keras.glob("*.h5"))):
        if "weights" not in path.name:
            out.append(Sample("keras", path.stem, {path.name: path.read_bytes()}))
    files = {n: (keras / n).read_bytes() for n in ("keras2_graph.json", "keras2_graph_weights.h5")}
    out.append(Sample("keras", "architecture", files, "keras2_graph_weights.h5"))
    out.append(Sample("tfjs", "layers", _layers_model()))
    for path in sorted((FIXTURES / "caffe").glob("*.prototxt")):
        weights = path.with_suffix(".caffemodel")
        files = {p.name: p.read_bytes() for p in (path, weights)}
        out.append(Sample("caffe", path.stem, files, weights.name))
    names = [f"class {k}" for k in range(5)]
    for file, text in {
        "lines": "\n".join(names),
        "list": json.dumps(names),
        "index": json.dumps({n: k for k, n in enumerate(names)}),
        "pairs": json.dumps({str(k): [f"n0{k}", n] for k, n in enumerate(names)}),
    }.items():
        out.append(Sample("labels", file, {"labels.txt": text.encode(), "m.onnx": classes}))
    spec = b"x:rgb,resize=8,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,scale=1/255,fit=cover"
    out.append(Sample("pictures", "spec", {"spec.txt": spec, "m.onnx": classes}))
    if "descriptor" in formats:
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder) / "d"
            webdnn.transpile(classes, found, targets="webgpu")
            files = {
                str(p.relative_to(found)): p.read_bytes()
                for p in sorted(found.rglob("*"), key=lambda p: (p.name != "model.json", p))
                if p.is_file()
            }
        out.append(Sample("descriptor", "model.json", files))
    if "chainer" in formats:
        _chain()  # imports it before processes are forked
        for name, data in _parameters().items():
            out.append(Sample("chainer", name, {name: data}))
    if "pytorch" in formats:
        out.append(Sample("pytorch", "program", {"m.pt2": _torch_program()}))
    return [s for s in out if s.format in formats]


# ---- mutations -----------------------------------------------------------------------------------

# (content, other contents of that kind, random) -> the changed content, and what was done.
Change = Callable[[bytes, Sequence[bytes], random.Random], tuple[bytes, str]]


def change_bytes(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """Damage that knows nothing of the format."""
    out = bytearray(data)
    at = r.randrange(len(out)) if out else 0
    match r.randrange(8) if out else 7:
        case 0:
            out[at] ^= 1 << r.randrange(8)
            return bytes(out), f"bit at {at}"
        case 1:
            out[at] = r.choice((0, 1, 127, 128, 255, r.randrange(256)))
            return bytes(out), f"byte at {at}"
        case 2:
            return bytes(out[:at]), f"cut at {at}"
        case 3:
            size = r.randrange(1, 65)
            del out[at : at + size]
            return bytes(out), f"{size} bytes less at {at}"
        case 4:
            size = r.choice((2, 4, 8))
            number = r.choice(NUMBERS) & ((1 << 8 * size) - 1)
            out[at : at + size] = number.to_bytes(size, r.choice(("little", "big")))
            return bytes(out), f"{number} in {size} bytes at {at}"
        case 5:
            found = [m.span() for m in re.finditer(rb"[A-Za-z_]{3,}", bytes(out))]
            if found:
                at = r.randrange(*r.choice(found))
            out[at] = r.choice((0xFF, 0xC3, 0x1B, 0x0A, 0))
            return bytes(out), f"no letter at {at}"
        case 6:
            size = r.randrange(1, 65)
            out[at:at] = out[at : at + size]
            return bytes(out), f"{size} bytes twice at {at}"
    other = r.choice(others)
    start = r.randrange(len(other)) if other else 0
    piece = other[start : start + r.randrange(1, 200)]
    out[at : at + len(piece)] = piece
    return bytes(out), f"{len(piece)} bytes of another at {at}"


_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[-+]?\d[\d.eE+-]*|\w+|[^\w\s]')
_WORDS = (
    "0", "-1", "1e400", "9" * 5000, "2147483648", "-2147483648", "1.5", "null", "true", '"x"',
    "[]", "{}", "NaN", "[[1]]", '"\\ud800"', '"\\u001b[31m"', "",
)  # fmt: skip


def change_text(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """Tokens of a text swapped, dropped, doubled or replaced."""
    text = data.decode("utf-8", "surrogateescape")
    found = [m.span() for m in _TOKEN.finditer(text)]
    if not found or not r.randrange(6):
        return change_bytes(data, others, r)
    (a, b), (c, d) = sorted((r.choice(found), r.choice(found)))
    match r.randrange(4):
        case 0 if b <= c:
            changed = text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
            what = f"{text[a:b][:20]!r} and {text[c:d][:20]!r} swapped"
        case 1:
            changed, what = text[:a] + text[b:], f"without {text[a:b][:20]!r} at {a}"
        case 2:
            changed, what = text[:b] + " " + text[a:], f"{text[a:b][:20]!r} twice at {a}"
        case _:
            word = r.choice(_WORDS) if r.randrange(3) else text[c:d]
            changed, what = text[:a] + word + text[b:], f"{text[a:b][:20]!r} is {word[:20]!r}"
    return changed.encode("utf-8", "surrogateescape"), what


_VALUES: tuple[Any, ...] = (
    *NUMBERS, *TEXTS, None, True, False, 1.5, -0.5, 1e308, [], {}, [0], [-1, 2], [[]], {"a": 1},
    [1, 2, 3, 4, 5], "valid", "same", "float16", "linear", 10**30,
)  # fmt: skip


def change_json(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """A value of a JSON document replaced, dropped, doubled, or moved."""
    if not r.randrange(4):
        return change_text(data, others, r)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return change_text(data, others, r)
    places = [(holder, key) for holder, key in _places(document)]
    if not places:
        return change_text(data, others, r)
    holder, key = r.choice(places)
    old = holder[key]
    match r.randrange(6):
        case 0:
            del holder[key]
            what = f"without {key!r}"
        case 1:
            other, where = r.choice(places)
            holder[key] = json.loads(json.dumps(other[where]))
            what = f"{key!r} is what is {where!r}"
        case 2 if isinstance(holder, list):
            holder.append(old)
            what = f"entry {key} twice"
        case 2 | 3:
            holder[key] = [old] if r.randrange(2) else {"x": old}
            what = f"{key!r} in brackets"
        case _:
            like = [v for v in _VALUES if type(v) is type(old)] if r.randrange(2) else _VALUES
            holder[key] = r.choice(like or _VALUES)
            what = f"{key!r} is {str(holder[key])[:30]!r}"
    return json.dumps(document).encode("utf-8", "surrogateescape"), what


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Where there are values in a JSON document: (list or object, index or key)."""
    stack = [document]
    while stack:
        holder = stack.pop()
        keys = range(len(holder)) if isinstance(holder, list) else list(holder)
        for key in keys:
            yield holder, key
            if isinstance(holder[key], (list, dict)):
                stack.append(holder[key])


def change_zip(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """A member of a zip changed as its own kind is, left out, renamed, or exchanged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            members = {i.filename: archive.read(i) for i in infos}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return change_bytes(data, others, r)
    if not members or not r.randrange(5):
        return change_bytes(data, others, r)
    name = r.choice([n for n in members if r.randrange(3) or n.endswith((".json", ".h5"))] or
                    list(members))  # fmt: skip
    match r.randrange(8):
        case 0:
            del members[name]
            what = f"without {name}"
        case 1:
            other = r.choice(list(members))
            members[name], members[other] = members[other], members[name]
            what = f"{name} and {other} exchanged"
        case 2:
            members[r.choice(("x", "../x", "config.json", name[:-1]))] = members.pop(name)
            what = f"{name} has another name"
        case _:
            members[name], what = change(name, members[name], [members[name]], r)
            what = f"{name}: {what}"
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", infos[0].compress_type) as archive:
        warnings.simplefilter("ignore")
        for member, content in members.items():
            archive.writestr(member, content)
    return out.getvalue(), what


def change_hdf5(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """A dataset or an attribute of an HDF5 file changed; or its bytes."""
    if r.randrange(3) == 0:
        return change_bytes(data, others, r)
    stream = io.BytesIO(data)
    try:
        with h5py.File(stream, "r+") as file:
            what = _change_hdf5(file, r)
    except Exception:  # what was changed before is no whole file
        return change_bytes(data, others, r)
    return stream.getvalue(), what


def _change_hdf5(file: Any, r: random.Random) -> str:
    names: list[str] = []
    file.visit(names.append)
    attributes = [(at, a) for at in ("/", *names) for a in file[at].attrs]
    if attributes and r.randrange(2):
        texts = [(at, a) for at, a in attributes if a.endswith("_config")]
        at, attribute = r.choice(texts if texts and r.randrange(2) else attributes)
        old = file[at].attrs[attribute]
        what = f"{at}@{attribute}: "
        if isinstance(old, (str, bytes)) and r.randrange(8):
            text = old.encode("utf-8", "surrogateescape") if isinstance(old, str) else old
            changed, how = (change_json if text[:1] in b"{[" else change_text)(text, [text], r)
            file[at].attrs[attribute] = np.bytes_(changed) if r.randrange(2) else changed.decode()
            return what + how
        if r.randrange(2):
            del file[at].attrs[attribute]
            return what + "gone"
        file[at].attrs[attribute] = r.choice((3, 1.5, "x", np.zeros((2, 2)), b"\xff\xfe", [b"a"]))
        return what + "another value"
    at = r.choice(names or ["/"])
    if isinstance(file[at], h5py.Group) or not r.randrange(3):
        del file[at]
        return f"without {at}"
    shape = file[at].shape or ()
    del file[at]
    sizes: Any = [(0,), (), (1 << 20, 1 << 20), (*shape, 1), shape[1:], shape[::-1]]
    size, dtype = r.choice((shape, *sizes)), r.choice(("f4", "f8", "i8", "S3", "?", "c8", "f2"))
    if np.prod(size, dtype=float) > 1e6:
        file.create_dataset(at, size, dtype, chunks=(64, 64))
    else:
        file[at] = np.zeros(size, dtype)
    return f"{at}: {dtype}{list(size)}"


def change_onnx(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """A field of a model changed; or as `change_fields` does."""
    if not r.randrange(3):
        return change_fields(data, others, r)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        what = _change_node(model, r) if r.randrange(3) else _change_field(model, r)
        return model.SerializeToString(), what
    except Exception:  # what was changed before is no message of its kind
        return change_bytes(data, others, r)


def _change_node(model: Any, r: random.Random) -> str:
    """An attribute, an input or the operator of a node, or a constant."""
    graphs = [model.graph, *(a.g for n in model.graph.node for a in n.attribute if a.type == 5)]
    nodes = [n for g in (*graphs, *model.functions) for n in g.node]
    node = r.choice(nodes)
    where = f"{node.op_type}: "
    match r.randrange(9):
        case 0 if node.input:
            k = r.randrange(len(node.input))
            names = [o for n in nodes for o in n.output] + [t.name for t in model.graph.initializer]
            node.input[k] = r.choice([*names, "", "nowhere"])
            return f"{where}input {k} is {node.input[k]!r}"
        case 1 if node.input:
            k = r.randrange(len(node.input) + 1)
            node.input[:] = [*node.input[:k], *([node.input[0]] if r.randrange(2) else [])]
            return f"{where}{len(node.input)} inputs"
        case 2:
            node.op_type = r.choice([n.op_type for n in nodes] + ["Nothing", "", "Loop", "Add"])
            return f"{where}is {node.op_type!r}"
        case 3 | 4 if model.graph.initializer:
            return _change_tensor(r.choice(model.graph.initializer), r)
        case 5:
            node.attribute.add(name=r.choice(("axis", "axes", "mode", "to", "x")), i=1, type=2)
            return where + "one more attribute"
    attributes = [(n, a) for n in nodes for a in n.attribute]
    if not attributes:
        return "nothing"
    node, a = r.choice(attributes)
    where = f"{node.op_type}.{a.name}: "
    match r.randrange(6):
        case 0:
            a.type = r.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
            return f"{where}of type {a.type}"
        case 1:
            node.attribute.remove(a)
            return where + "gone"
        case 2:
            new = r.choice([1, 1.5, b"\xff\xfe", [1, 2], [0.5], ["a", "b"], numpy_helper.from_array(
                np.zeros((2, 0), "f"))])  # fmt: skip
            made = onnx.helper.make_attribute(a.name, new)
            a.CopyFrom(made)
            return f"{where}{str(new)[:20]!r}"
    a.i = r.choice(NUMBERS)
    a.f = r.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    a.s = r.choice(TEXTS).encode("utf-8", "surrogateescape")
    if a.ints:
        match r.randrange(4):
            case 0:
                a.ints.append(r.choice(NUMBERS))
            case 1:
                a.ints.pop()
            case 2:
                a.ints[:] = [r.choice(list(a.ints)) for _ in a.ints]
            case _:
                a.ints[r.randrange(len(a.ints))] = r.choice(NUMBERS)
    return f"{where}{a.i if a.type == 2 else a.f if a.type == 1 else a.s or list(a.ints)}"


def _change_tensor(tensor: Any, r: random.Random) -> str:
    where = f"{tensor.name}: "
    match r.randrange(6):
        case 0:
            tensor.data_type = r.choice(range(25))
            return f"{where}of type {tensor.data_type}"
        case 1 if tensor.dims:
            tensor.dims[r.randrange(len(tensor.dims))] = r.choice(NUMBERS)
            return f"{where}{list(tensor.dims)}"
        case 2:
            tensor.dims.append(r.choice((1, 0, -1, 2)))
            return f"{where}{list(tensor.dims)}"
        case 3 if tensor.dims:
            array = numpy_helper.to_array(tensor)
            shape = [r.choice((0, 1, d, d + 1)) for d in array.shape]
            tensor.CopyFrom(numpy_helper.from_array(np.resize(array, shape), tensor.name))
            return f"{where}{shape}, whole"
        case 4 if tensor.raw_data:
            tensor.raw_data = tensor.raw_data[: r.randrange(len(tensor.raw_data))]
            return where + "cut"
    array = np.array(numpy_helper.to_array(tensor))
    if array.size and array.dtype != bool:
        with np.errstate(all="ignore"):
            array.flat[r.randrange(array.size)] = np.array(r.choice(NUMBERS)).astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return f"{where}another number in it"


def _change_field(model: Any, r: random.Random) -> str:
    """A field of any message within."""
    found: list[tuple[Any, Any]] = []
    stack = [model]
    while stack:
        message = stack.pop()
        for kind, value in message.ListFields():
            found.append((message, kind))
            if kind.message_type is not None:
                stack += [value] if isinstance(value, type(value)) and hasattr(
                    value, "ListFields"
                ) else list(value)  # fmt: skip
    message, kind = r.choice(found)
    value = getattr(message, kind.name)
    where = f"{message.DESCRIPTOR.name}.{kind.name}"
    if not r.randrange(4):
        message.ClearField(kind.name)
        return f"without {where}"
    new: Any
    if kind.cpp_type in (1, 2, 3, 4, 8):
        new = r.choice([n for n in NUMBERS if (abs(n) < 2**31 if kind.cpp_type != 2 else True)])
    elif kind.cpp_type in (5, 6):
        new = r.choice((0.0, -1.0, float("nan"), 1e38))
    elif kind.type == 9:
        new = r.choice([t for t in TEXTS if t.isprintable()] + ["\x1b[2J"])
    elif kind.type == 12:
        new = r.choice((b"", b"\xff", value[:-1] if isinstance(value, bytes) else b"x"))
    else:
        new = None
    repeated = not isinstance(value, (int, float, str, bytes)) and not hasattr(value, "ListFields")
    if new is not None and not repeated:
        setattr(message, kind.name, new)
        return f"{where} is {str(new)[:20]!r}"
    if repeated and len(value):
        if r.randrange(2):
            del value[r.randrange(len(value))]
            return f"{where} has one less"
        if new is not None:
            value[r.randrange(len(value))] = new
            return f"{where} has {str(new)[:20]!r} in it"
        value.add().CopyFrom(value[0])
        return f"{where} has one twice"
    message.ClearField(kind.name)
    return f"without {where}"


def change_fields(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """A field of a protocol buffer of an unknown kind: its number, its type, or its content."""
    fields = _fields(data)
    if not fields or not r.randrange(3):
        return change_bytes(data, others, r)
    k = r.randrange(len(fields))
    key, content = fields[k]
    what = f"field {key >> 3}"
    if key & 7 == 2 and isinstance(content, bytes) and _fields(content) and r.randrange(6):
        inner, how = change_fields(content, others, r)
        fields[k] = key, inner
        return _encoded_fields(fields), f"{what}, {how}"
    match r.randrange(6):
        case 0:
            del fields[k]
            return _encoded_fields(fields), f"without {what}"
        case 1:
            fields.insert(k, fields[k])
            return _encoded_fields(fields), f"{what} twice"
        case 2:
            fields[k] = (r.randrange(1, 40) << 3) | key & 7, content
            return _encoded_fields(fields), f"{what} is number {fields[k][0] >> 3}"
        case 3 if len(fields) > 1:
            other = r.randrange(len(fields))
            fields[k], fields[other] = fields[other], fields[k]
            return _encoded_fields(fields), f"{what} in another place"
    if isinstance(content, int):
        fields[k] = key, r.choice(NUMBERS) & (2**64 - 1)
        return _encoded_fields(fields), f"{what} is {fields[k][1]}"
    changed, how = change_bytes(content, others, r)
    if key & 7 in (1, 5):
        changed = changed[: len(content)].ljust(len(content), b"\0")
    fields[k] = key, changed
    return _encoded_fields(fields), f"{what}: {how}"


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message, (key, content); none if these bytes are no message."""
    out: list[tuple[int, int | bytes]] = []
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            if key & 7 == 0:
                value, at = _varint(data, at)
                out.append((key, value))
                continue
            size, at = (8 if key & 7 == 1 else 4, at) if key & 7 != 2 else _varint(data, at)
            if key & 7 not in (1, 2, 5) or not 0 < key >> 3 < 512 or at + size > len(data):
                return []
            out.append((key, data[at : at + size]))
            at += size
    except IndexError:
        return []
    return out


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _encoded_fields(fields: Sequence[tuple[int, int | bytes]]) -> bytes:
    out = bytearray()

    def varint(value: int) -> None:
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)

    for key, content in fields:
        varint(key)
        if isinstance(content, int):
            varint(content)
        else:
            if key & 7 == 2:
                varint(len(content))
            out.extend(content)
    return bytes(out)


def change_npy(data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """The header of a numpy array, or its bytes."""
    end = data.find(b"\n") + 1
    if not r.randrange(3) or not end:
        return change_bytes(data, others, r)
    text, what = change_text(data[10:end], [data[10:end]], r)
    return data[:8] + struct.pack("<H", min(len(text), 65535)) + text + data[end:], what


_KINDS: Mapping[str, Change] = {
    ".json": change_json, ".prototxt": change_text, ".txt": change_text, ".keras": change_zip,
    ".pt2": change_zip, ".npz": change_zip, ".h5": change_hdf5, ".onnx": change_onnx,
    ".caffemodel": change_fields, ".npy": change_npy,
}  # fmt: skip


def change(name: str, data: bytes, others: Sequence[bytes], r: random.Random) -> tuple[bytes, str]:
    """The content of a file, changed as files of its name's suffix are."""
    return _KINDS.get(Path(name).suffix, change_bytes)(data, others, r)


def mutant(known: Sequence[Sample], r: random.Random) -> Mutant:
    """One of the samples with a changed file."""
    formats = [f for f in SHARES if any(s.format == f for s in known)]
    name = r.choices(formats, [SHARES[f] for f in formats])[0]
    sample = r.choice([s for s in known if s.format == name])
    files = dict(sample.files)
    mutable = [f for f in files if f.endswith((*_KINDS, ".bin"))]
    if name in ("labels", "pictures", "descriptor"):
        mutable = mutable[:1]
    file = r.choice(mutable)
    others = [s.files[f] for s in known if s.format == name for f in s.files
              if Path(f).suffix == Path(file).suffix]  # fmt: skip
    changes = []
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        files[file], what = change(file, files[file], others, r)
        changes.append(f"{file}: {what}")
    return Mutant(sample, files, changes)


# ---- transpiling them ----------------------------------------------------------------------------


def transpiled(sample: Sample, folder: Path) -> None:
    """Transpiles the files in a folder as `webdnn transpile` does, without compiling C."""
    first = folder / next(iter(sample.files))
    given: dict[str, Any] = {**sample.options}
    model: Any = first
    if sample.weights is not None:
        given["weights_file"] = folder / sample.weights
    match sample.format:
        case "descriptor":
            signature = signature_of(folder)
            for sizes in default_sizes(signature):
                random_inputs(signature, sizes, {}, 0)
            return
        case "labels":
            model, given["labels"] = folder / "m.onnx", first
        case "pictures":
            text = first.read_text("utf-8", "surrogateescape")
            model, given["inputs"] = folder / "m.onnx", text.partition(":")[2]
        case "chainer":
            model, given["weights_file"], given["example"] = (
                _chain(), first, np.zeros((1, 2, 4, 4), "f"),
            )  # fmt: skip
    read = transpiler.imported(model, **given)
    graph = passes.run(read.imported.graph)
    sources(lower(graph, TARGETS["wasm"]), TARGETS["wasm"])
    programs = {"webgpu": lower(graph, TARGETS["webgpu"])}
    write(
        {TARGETS[name]: program for name, program in programs.items()},
        folder / "out",
        first.stem,
        images={name: picture.signature() for name, picture in read.pictures.items()},
        labels=read.labels,
        report=lambda document: report_html(document, programs),
    )


@dataclass(frozen=True)
class Outcome:
    """What came of a mutant: `kind` is "made", "refused" or, of a finding, what it is."""

    kind: str
    text: str = ""
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        return self.kind in ("made", "refused")


def outcome(sample: Sample, folder: Path) -> Outcome:
    """What comes of the files in a folder, in this process."""
    try:
        transpiled(sample, folder)
    except WebDNNError as error:
        text = str(error)
        if not text.strip() or len(text) > LONGEST:
            return Outcome(f"a message of {len(text)} characters", text[:500])
        return Outcome("refused", text)
    except MemoryError:
        return Outcome(f"more than {MEMORY >> 20} MB: {_line(sys.exc_info()[2])}", _traced())
    except Exception as error:
        return Outcome(f"{type(error).__name__}: {_line(error.__traceback__)}", _traced())
    return Outcome("made")


def _traced() -> str:
    lines = traceback.format_exc(chain=False).splitlines()
    return "\n".join(lines if len(lines) < 30 else [*lines[:6], "  ...", *lines[-20:]])


def _line(trace: Any) -> str:
    """The innermost line of ours."""
    ours = [f for f in traceback.extract_tb(trace) if "/webdnn/" in f.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}" if ours else "?"


def apart(sample: Sample, files: Mapping[str, bytes]) -> Outcome:
    """What comes of the files in a process of its own, with limits."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        out, into = os.pipe()
        child = os.fork()
        if not child:
            _in_child(sample, folder, into)
        os.close(into)
        seconds = SECONDS * (4 if sample.format == "pytorch" else 1)
        data = _received(out, child, 20 * seconds)
        _, status = os.waitpid(child, 0)
    taken = time.monotonic() - begin
    if data:
        found: Outcome = pickle.loads(data)
        return Outcome(found.kind, found.text, taken)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if killed in (signal.SIGXCPU, signal.SIGKILL):
        return Outcome(f"more than {seconds} s", "", taken)
    return Outcome(f"the process ended by signal {killed}", "", taken)


def _in_child(sample: Sample, folder: Path, into: int) -> None:
    """Does the work and never returns."""
    try:
        space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (space + MEMORY,) * 2)
        seconds = SECONDS * (4 if sample.format == "pytorch" else 1)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        data = pickle.dumps(outcome(sample, folder))
        with os.fdopen(into, "wb") as pipe:
            pipe.write(data)
    finally:
        os._exit(0)


def _received(out: int, child: int, seconds: float) -> bytes:
    """What a child writes until it ends; after so many seconds it is killed."""
    data, end = b"", time.monotonic() + seconds
    with os.fdopen(out, "rb", 0) as pipe:
        while True:
            if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
                os.kill(child, signal.SIGKILL)
                return b""
            part = pipe.read(1 << 16)
            if not part:
                return data
            data += part


@dataclass
class Tally:
    """What came of a run: counts of what was fine by format, and the findings by kind."""

    fine: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: dict[str, list[tuple[int, Mutant, Outcome]]] = field(default_factory=dict)


def run(
    seed: int,
    count: int,
    formats: Sequence[str] = tuple(SHARES),
    only: int | None = None,
    told: Callable[[int, Mutant, Outcome], None] = lambda k, m, o: None,
) -> Tally:
    """Mutants 0 .. count - 1 of a seed, or one alone."""
    for name in FORMATS:
        importlib.import_module(f"webdnn.frontend.{name}")
    known = samples(formats)
    gc.collect()
    gc.freeze()  # what a process shares with its children is not copied to mark it
    tally = Tally()
    for k in range(count) if only is None else [only]:
        made = mutant(known, random.Random(f"{seed}/{','.join(formats)}/{k}"))
        found = apart(made.sample, made.files)
        if found.fine:
            tally.fine[made.sample.format, found.kind] += 1
        else:
            tally.findings.setdefault(f"{made.sample.format}: {found.kind}", []).append(
                (k, made, found)
            )
        told(k, made, found)
    return tally


def summary(seed: int, tally: Tally, formats: Sequence[str]) -> str:
    """The findings, each kind once with the way to see it again, and counts."""
    lines = []
    some = "" if len(formats) == len(SHARES) else f" --format {','.join(formats)}"
    for kind, found in sorted(tally.findings.items(), key=lambda item: -len(item[1])):
        k, made, seen = found[0]
        lines += [
            f"{len(found)} x {kind}",
            f"  {made}",
            *(f"  | {line}" for line in seen.text.splitlines()[-14:]),
            f"  again: python -m tests.fuzz_files --seed {seed} --only {k}{some}",
        ]
    total = sum(tally.fine.values()) + sum(map(len, tally.findings.values()))
    counts = ", ".join(f"{f} {kind} {n}" for (f, kind), n in sorted(tally.fine.items()))
    lines.append(f"seed {seed}: {total} mutants, {len(tally.findings)} kinds of findings; {counts}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz_files", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=None, help="default: a new one")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--only", type=int, help="this mutant alone, whose files are kept")
    parser.add_argument("--format", default=",".join(SHARES), help=f"of {', '.join(SHARES)}")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    formats = given.format.split(",")
    print(f"seed {seed}", flush=True)
    if given.only is not None:
        made = mutant(samples(formats), random.Random(f"{seed}/{given.format}/{given.only}"))
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        for name, data in made.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        found = apart(made.sample, made.files)
        print(f"{made}\n{folder}\n{found.kind} in {found.seconds:.1f} s\n{found.text}")
        raise SystemExit(not found.fine)

    def told(k: int, made: Mutant, found: Outcome) -> None:
        if not found.fine:
            print(f"{k}: {made}: {found.kind}", flush=True)
        elif k % 250 == 249:
            print(f"{k + 1} of {given.count}", flush=True)

    tally = run(seed, given.count, formats, told=told)
    print(summary(seed, tally, formats))
    raise SystemExit(bool(tally.findings))


if __name__ == "__main__":
    main()
