"""Files from strangers: impossible models, and small ones that ask for hours or gigabytes.

Each is made here by hand. onnxruntime refuses what is impossible; all must be refused with one
error that says where, within seconds and a gigabyte. They run in a process of limited memory.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import webdnn
from webdnn import limits
from webdnn.errors import ModelError, UnsupportedError, WebDNNError
from webdnn.frontend import hdf5

SECONDS = 5.0  # of the processor, for each file
MEMORY = 1 << 30  # bytes, beside what the program itself has mapped
ROOT = Path(__file__).parent.parent

Operand = Any  # a shape: an input of floats; an array: an initializer; None: left out


def node(
    op: str,
    *operands: Operand,
    opset: int = 20,
    outputs: int = 1,
    shape: Sequence[int] | None = None,
    kind: int = TensorProto.FLOAT,
    **attributes: Any,
) -> bytes:
    """A model of one node, `NODE`; shape: what its output is declared as, of the type `kind`."""
    inputs, constants, names = [], [], []
    for k, x in enumerate(operands):
        names.append("" if x is None else f"x{k}")
        if isinstance(x, np.ndarray):
            constants.append(numpy_helper.from_array(x, f"x{k}"))
        elif x is not None:
            inputs.append(helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, x))
    out = [f"y{k}" for k in range(outputs)]
    declared = [helper.make_tensor_value_info(o, kind, shape) for o in out]
    graph = helper.make_graph(
        [helper.make_node(op, names, out, "NODE", **attributes)], "g", inputs, declared, constants
    )
    return model(graph, opset)


def model(graph: Any, opset: int = 20, functions: Sequence[Any] = ()) -> bytes:
    opsets = [helper.make_opsetid("", opset)]
    if functions:
        opsets.append(helper.make_opsetid("f", 1))
    made = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)
    return bytes(made.SerializeToString())


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


PICTURE = (1, 4, 8, 8)
FILTERS = floats(4, 4, 3, 3)
POOL = {"kernel_shape": [3, 3]}
INT = {"kind": TensorProto.INT64}

# What no implementation can compute: onnxruntime refuses each, and so do we, naming the node.
IMPOSSIBLE: dict[str, Callable[[], bytes]] = {
    # windows
    "conv stride 0": lambda: node("Conv", PICTURE, FILTERS, strides=[0, 0]),
    "conv stride -1": lambda: node("Conv", PICTURE, FILTERS, strides=[-1, 1]),
    "conv one stride": lambda: node("Conv", PICTURE, FILTERS, strides=[1]),
    "conv three strides": lambda: node("Conv", PICTURE, FILTERS, strides=[1, 1, 1]),
    "conv dilation 0": lambda: node("Conv", PICTURE, FILTERS, dilations=[0, 1]),
    "conv dilation -1": lambda: node("Conv", PICTURE, FILTERS, dilations=[-1, -1]),
    "conv three dilations": lambda: node("Conv", PICTURE, FILTERS, dilations=[1, 1, 1]),
    "conv three pads": lambda: node("Conv", PICTURE, FILTERS, pads=[1, 1, 1]),
    "conv pads -1": lambda: node("Conv", PICTURE, FILTERS, pads=[-1, 0, 0, 0]),
    "transposed pads -1": lambda: node("ConvTranspose", PICTURE, FILTERS, pads=[-1, 0, 0, 0]),
    "conv auto_pad": lambda: node("Conv", PICTURE, FILTERS, auto_pad="SAME"),
    "conv kernel_shape": lambda: node("Conv", PICTURE, FILTERS, kernel_shape=[5, 5]),
    "conv window": lambda: node("Conv", PICTURE, floats(4, 4, 9, 9)),
    "conv groups": lambda: node("Conv", PICTURE, floats(4, 1, 3, 3), group=3),
    "conv group 0": lambda: node("Conv", PICTURE, FILTERS, group=0),
    "conv group -1": lambda: node("Conv", PICTURE, FILTERS, group=-1),
    "conv channels": lambda: node("Conv", PICTURE, floats(4, 3, 3, 3)),
    "conv outputs of groups": lambda: node("Conv", PICTURE, floats(3, 2, 3, 3), group=2),
    "conv rank": lambda: node("Conv", PICTURE, floats(4, 4, 3)),
    "conv bias": lambda: node("Conv", PICTURE, FILTERS, floats(3)),
    "transposed stride 0": lambda: node("ConvTranspose", PICTURE, FILTERS, strides=[0, 0]),
    "transposed dilation 0": lambda: node("ConvTranspose", PICTURE, FILTERS, dilations=[0, 0]),
    "transposed output_padding": lambda: node(
        "ConvTranspose", PICTURE, FILTERS, strides=[2, 2], output_padding=[5, 5]
    ),
    "transposed output_padding -1": lambda: node(
        "ConvTranspose", PICTURE, FILTERS, strides=[2, 2], output_padding=[-1, -1]
    ),
    "transposed output_padding length": lambda: node(
        "ConvTranspose", PICTURE, FILTERS, strides=[2, 2], output_padding=[1]
    ),
    "transposed pads": lambda: node("ConvTranspose", PICTURE, FILTERS, pads=[9, 9, 9, 9]),
    "transposed output_shape": lambda: node(
        "ConvTranspose", PICTURE, FILTERS, output_shape=[-1, -1]
    ),
    "transposed groups": lambda: node("ConvTranspose", PICTURE, FILTERS, group=3),
    "maxpool kernel 0": lambda: node("MaxPool", PICTURE, kernel_shape=[0, 0]),
    "maxpool kernel -3": lambda: node("MaxPool", PICTURE, kernel_shape=[-3, 3]),
    "maxpool kernel length": lambda: node("MaxPool", PICTURE, kernel_shape=[3]),
    "maxpool stride 0": lambda: node("MaxPool", PICTURE, **POOL, strides=[0, 0]),
    "maxpool pads": lambda: node("MaxPool", PICTURE, **POOL, pads=[3, 3, 3, 3]),
    "maxpool auto_pad": lambda: node("MaxPool", PICTURE, **POOL, auto_pad="UPPER"),
    "maxpool window": lambda: node("MaxPool", PICTURE, kernel_shape=[9, 9]),
    "averagepool pads": lambda: node("AveragePool", PICTURE, **POOL, pads=[4, 0, 0, 0]),
    "averagepool pads -1": lambda: node("AveragePool", PICTURE, **POOL, pads=[-1, 0, 0, 0]),
    "lrn size 0": lambda: node("LRN", PICTURE, size=0),
    "lrn size -3": lambda: node("LRN", PICTURE, size=-3),
    # sizes
    "resize sizes": lambda: node("Resize", PICTURE, None, None, ints(1, 4, -8, 8), mode="nearest"),
    "resize scales": lambda: node(
        "Resize", PICTURE, None, np.array([1, 1, -2, 2], np.float32), mode="nearest"
    ),
    "resize scale 0": lambda: node(
        "Resize", PICTURE, None, np.array([1, 1, 0, 2], np.float32), mode="nearest"
    ),
    "resize scales length": lambda: node(
        "Resize", PICTURE, None, np.array([1, 2], np.float32), mode="nearest"
    ),
    "resize mode": lambda: node("Resize", PICTURE, None, None, ints(1, 4, 9, 9), mode="area"),
    "resize nearest_mode": lambda: node(
        "Resize", PICTURE, None, None, ints(1, 4, 9, 9), mode="nearest", nearest_mode="zz"
    ),
    "resize coordinates": lambda: node(
        "Resize", PICTURE, None, None, ints(1, 4, 9, 9), coordinate_transformation_mode="zz"
    ),
    "upsample scales": lambda: node(
        "Upsample", PICTURE, np.array([1, 1, -2, 2], np.float32), opset=9
    ),
    "upsample scales length": lambda: node(
        "Upsample", PICTURE, np.array([1, 2], np.float32), opset=9
    ),
    "tile -1": lambda: node("Tile", (2, 2), ints(-1, 1)),
    "tile length": lambda: node("Tile", (2, 2), ints(1, 1, 1)),
    "pad negative": lambda: node("Pad", (2, 2), ints(-2, 0, -2, 0)),
    "pad length": lambda: node("Pad", (2, 2), ints(1, 1, 1)),
    "pad mode": lambda: node("Pad", (2, 2), ints(1, 1, 1, 1), mode="zz"),
    "expand": lambda: node("Expand", (2, 2), ints(3, 2)),
    "expand negative": lambda: node("Expand", (1, 2), ints(-3, 2)),
    "constant of shape": lambda: node("ConstantOfShape", ints(-1, 2)),
    "reshape elements": lambda: node("Reshape", (2, 3), ints(4, 2)),
    "reshape two -1": lambda: node("Reshape", (2, 3), ints(-1, -1)),
    "reshape -2": lambda: node("Reshape", (2, 3), ints(-2, -3)),
    "reshape rest": lambda: node("Reshape", (2, 3), ints(4, -1)),
    "reshape 0": lambda: node("Reshape", (2, 3), ints(2, 3, 0)),
    "depth to space": lambda: node("DepthToSpace", PICTURE, blocksize=3),
    "depth to space 0": lambda: node("DepthToSpace", PICTURE, blocksize=0),
    "depth to space -2": lambda: node("DepthToSpace", PICTURE, blocksize=-2),
    "depth to space mode": lambda: node("DepthToSpace", PICTURE, blocksize=2, mode="ABC"),
    "space to depth": lambda: node("SpaceToDepth", PICTURE, blocksize=3),
    "space to depth 0": lambda: node("SpaceToDepth", PICTURE, blocksize=0),
    "one hot depth": lambda: node("OneHot", ints(0, 1), ints(-3), np.array([0, 1], np.float32)),
    "split sum": lambda: node("Split", (6, 2), ints(2, 3), outputs=2),
    "split negative": lambda: node("Split", (6, 2), ints(8, -2), outputs=2),
    "split outputs": lambda: node("Split", (6, 2), ints(2, 2, 2), outputs=2),
    "split parts": lambda: node("Split", (6, 2), opset=13, outputs=4),
    "slice step 0": lambda: node("Slice", (6, 2), ints(0), ints(3), ints(0), ints(0)),
    "slice lengths": lambda: node("Slice", (6, 2), ints(0, 1), ints(3), ints(0)),
    "range step 0": lambda: node("Range", number(0), number(3), number(0), **INT),
    "top k": lambda: node("TopK", (2, 3), ints(4), outputs=2),
    "top k -1": lambda: node("TopK", (2, 3), ints(-1), outputs=2),
    "eye like": lambda: node("EyeLike", (2, 3, 4)),
    "group norm": lambda: node(
        "GroupNormalization", PICTURE, floats(4), floats(4), num_groups=3, opset=21
    ),
    "group norm 0": lambda: node(
        "GroupNormalization", PICTURE, floats(4), floats(4), num_groups=0, opset=21
    ),
    "dft length": lambda: node("DFT", (1, 8, 1), number(-4)),
    # axes
    "flatten axis": lambda: node("Flatten", (2, 3), axis=5),
    "flatten axis -5": lambda: node("Flatten", (2, 3), axis=-5),
    "softmax axis": lambda: node("Softmax", (2, 3), axis=2),
    "concat axis": lambda: node("Concat", (2, 3), (2, 3), axis=2),
    "concat sizes": lambda: node("Concat", (2, 3), (2, 4), axis=0),
    "concat ranks": lambda: node("Concat", (2, 3), (2, 3, 1), axis=0),
    "gather axis": lambda: node("Gather", (2, 3), ints(0), axis=2),
    "reduce axis": lambda: node("ReduceSum", (2, 3), ints(2)),
    "unsqueeze axis": lambda: node("Unsqueeze", (2, 3), ints(5)),
    "unsqueeze twice": lambda: node("Unsqueeze", (2, 3), ints(0, 0)),
    "squeeze axis": lambda: node("Squeeze", (1, 3), ints(1)),
    "squeeze range": lambda: node("Squeeze", (1, 3), ints(2)),
    "slice axes twice": lambda: node(
        "Slice", (6, 2), ints(0, 1), ints(3, 3), ints(0, 0), ints(1, 1)
    ),
    "transpose twice": lambda: node("Transpose", (2, 3), perm=[0, 0]),
    "transpose length": lambda: node("Transpose", (2, 3), perm=[0]),
    "transpose range": lambda: node("Transpose", (2, 3), perm=[0, 2]),
    "transpose beyond": lambda: node("Transpose", (2, 3), perm=[0, 3]),
    "log softmax axis": lambda: node("LogSoftmax", (2, 3), axis=-3),
    "hardmax axis": lambda: node("Hardmax", (2, 3), axis=7),
    "one hot axis": lambda: node(
        "OneHot", ints(0, 1), ints(3), np.array([0, 1], np.float32), axis=5
    ),
    "trilu rank": lambda: node("Trilu", (3,)),
    "cumsum axis": lambda: node("CumSum", (2, 3), number(2)),
    "argmax axis": lambda: node("ArgMax", (2, 3), axis=2, **INT),
    "layer norm axis": lambda: node("LayerNormalization", (2, 3), floats(3), axis=2),
    "split axis": lambda: node("Split", (6, 2), ints(3, 3), axis=2, outputs=2),
    # indices
    "gather 99": lambda: node("Gather", floats(4, 3), ints(99)),
    "gather -5": lambda: node("Gather", (4, 3), ints(-5, 0)),
    "gather of two": lambda: node("Gather", (4, 3), ints(0, 4)),
    "gather elements": lambda: node("GatherElements", (4, 3), ints(0, 9).reshape(1, 2)),
    "gather elements rank": lambda: node("GatherElements", (4, 3), ints(0, 1)),
    "gather nd": lambda: node("GatherND", (4, 3), ints(4, 0).reshape(1, 2)),
    "gather nd depth": lambda: node("GatherND", (4, 3), ints(0, 0, 0).reshape(1, 3)),
    "gather nd batch": lambda: node("GatherND", (4, 3), ints(0).reshape(1, 1), batch_dims=5),
    "scatter elements": lambda: node(
        "ScatterElements", (4, 3), ints(9).reshape(1, 1), floats(1, 1)
    ),
    "scatter elements shapes": lambda: node(
        "ScatterElements", (4, 3), ints(0).reshape(1, 1), floats(2, 2)
    ),
    "scatter nd": lambda: node("ScatterND", (4, 3), ints(4).reshape(1, 1), floats(1, 3)),
    "scatter nd shapes": lambda: node("ScatterND", (4, 3), ints(0).reshape(1, 1), floats(2, 3)),
    # operands
    "matmul": lambda: node("MatMul", (2, 3), (4, 2)),
    "gemm": lambda: node("Gemm", (2, 3), (4, 2)),
    "gemm rank": lambda: node("Gemm", (2, 3, 1), (3, 2)),
    "gemm bias": lambda: node("Gemm", (2, 3), (3, 2), floats(5)),
    "add": lambda: node("Add", (2, 3), (4, 3)),
    "batch norm": lambda: node(
        "BatchNormalization", PICTURE, floats(3), floats(3), floats(3), floats(3)
    ),
    "instance norm": lambda: node("InstanceNormalization", PICTURE, floats(3), floats(3)),
    "prelu": lambda: node("PRelu", (2, 3), floats(4)),
    "einsum": lambda: node("Einsum", (2, 3), (4, 5), equation="ij,jk->ik"),
    "einsum operands": lambda: node("Einsum", (2, 3), equation="ij,jk->ik"),
    "einsum output": lambda: node("Einsum", (2, 3), equation="ij->iz"),
    "lstm": lambda: node(
        "LSTM", (5, 1, 4), floats(1, 12, 3), floats(1, 12, 3), hidden_size=3, outputs=3
    ),
    "gru direction": lambda: node(
        "GRU",
        (5, 1, 4),
        floats(1, 9, 4),
        floats(1, 9, 3),
        hidden_size=3,
        direction="sideways",
        outputs=2,
    ),
    "roi align size": lambda: node(
        "RoiAlign", PICTURE, floats(1, 4), ints(0), output_height=-1, output_width=2
    ),
    "grid sample mode": lambda: node("GridSample", PICTURE, (1, 2, 2, 2), mode="zz"),
    "conv bias of one": lambda: node("Conv", PICTURE, FILTERS, floats(1)),
    "batch norm of one": lambda: node(
        "BatchNormalization", PICTURE, floats(1), floats(1), floats(1), floats(1)
    ),
    "instance norm of one": lambda: node("InstanceNormalization", PICTURE, floats(1), floats(1)),
    "instance norm rank": lambda: node("InstanceNormalization", (2, 3), floats(3), floats(3)),
    "layer norm scale": lambda: node("LayerNormalization", (2, 3), floats(5, 2, 3)),
    "gemm bias rank": lambda: node("Gemm", (2, 3), (3, 2), floats(4, 2, 2)),
    "one hot values": lambda: node("OneHot", ints(0, 1), ints(3), floats(1)),
    "global pool rank": lambda: node("GlobalAveragePool", (2,)),
    "cast": lambda: node("Cast", (2, 3), to=99),
    "constant": lambda: node("Constant"),
    "bit shift": lambda: node(
        "BitShift",
        np.ones(2, np.uint8),
        np.ones(2, np.uint8),
        direction="UP",
        kind=TensorProto.UINT8,
    ),
    "lstm activation": lambda: node(
        "LSTM",
        (5, 1, 4),
        floats(1, 12, 4),
        floats(1, 12, 3),
        hidden_size=3,
        activations=["Zz", "Tanh", "Tanh"],
        outputs=3,
    ),
    "lstm hidden size": lambda: node(
        "LSTM", (5, 1, 4), floats(1, 12, 4), floats(1, 12, 3), hidden_size=-3, outputs=3
    ),
    "rnn recurrence": lambda: node(
        "RNN", (5, 1, 4), floats(1, 3, 4), floats(1, 3, 5), hidden_size=3, outputs=2
    ),
    "compress axis": lambda: node("Compress", (2, 3), np.ones(2, bool), axis=4),
    "quantize scale": lambda: node(
        "QuantizeLinear", (2, 3), floats(5), np.zeros(5, np.uint8), kind=TensorProto.UINT8
    ),
    "dequantize zero": lambda: node(
        "DequantizeLinear", np.ones((2, 3), np.uint8), floats(3), np.zeros(2, np.uint8)
    ),
    "pad axes twice": lambda: node("Pad", (2, 2), ints(1, 1, 1, 1), None, ints(0, 0)),
    "resize axes twice": lambda: node(
        "Resize", PICTURE, None, None, ints(9, 9), axes=[2, 2], mode="nearest"
    ),
    "lp norm axis": lambda: node("LpNormalization", (2, 3), axis=4),
    "lp norm p": lambda: node("LpNormalization", (2, 3), p=7),
    "roi align batch": lambda: node("RoiAlign", PICTURE, floats(1, 4), ints(7)),
    "roi align mode": lambda: node("RoiAlign", PICTURE, floats(1, 4), ints(0), mode="zz"),
    "roi pool shape": lambda: node("MaxRoiPool", PICTURE, floats(1, 5), pooled_shape=[0, 2]),
    "nms boxes": lambda: node("NonMaxSuppression", (1, 6, 3), (1, 1, 6), ints(3), **INT),
    "depth to space rank": lambda: node("DepthToSpace", (4, 8, 8), blocksize=2),
    "col2im": lambda: node("Col2Im", (1, 7, 9), ints(5, 5), ints(2, 2)),
    "dft axis": lambda: node("DFT", (1, 8, 1), None, number(5)),
    "dft parts": lambda: node("DFT", (1, 8, 3)),
    "stft step": lambda: node("STFT", (1, 64, 1), number(0), None, number(16)),
    "grid sample rank": lambda: node("GridSample", PICTURE, (1, 2, 2, 3)),
    "where": lambda: node("Where", np.ones(3, bool), (2, 4), (2, 4)),
    "max": lambda: node("Max", (2, 3), (4,)),
    "two inputs": lambda: node("Relu", (2, 3), (2, 3)),
    "no input": lambda: node("Relu"),
    "domain": lambda: node("Relu", (2, 3), domain="nobody"),
    "attribute": lambda: node("Relu", (2, 3), alpha=1.0),
    "attribute type": lambda: node("Softmax", (2, 3), axis=1.5),
    "attribute missing": lambda: node("Concat", (2, 3)),
    # what is declared
    "output shape": lambda: node("Relu", (2, 3), shape=[3, 3]),
    "output type": lambda: node("Relu", (2, 3), shape=[2, 3], kind=TensorProto.INT64),
    "data": lambda: _misshapen(),
}


def _misshapen() -> bytes:
    """An initializer of other data than its shape has."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], raw_data=b"\0" * 12)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "NODE")]
    return model(helper.make_graph(nodes, "g", [x], [y], [tensor]))


# ---- a kilobyte that asks for hours or gigabytes -------------------------------------------------


def chain(*steps: tuple[Any, ...], kind: int = TensorProto.FLOAT) -> bytes:
    """A model of nodes in a row: (operator, operands before, operands behind, attributes).

    The operands beside the one that comes from the node before are constants.
    """
    nodes, constants, last = [], [], None
    for k, (op, *operands, attributes) in enumerate(steps):
        names = []
        for j, x in enumerate(operands):
            if x is LAST:
                names.append(last)
            elif isinstance(x, np.ndarray):
                names.append(f"c{k}_{j}")
                constants.append(numpy_helper.from_array(x, names[-1]))
            else:
                names.append("")
        last = f"v{k}"
        nodes.append(helper.make_node(op, names, [last], f"NODE{k}", **attributes))
    out = helper.make_tensor_value_info(str(last), kind, None)
    return model(helper.make_graph(nodes, "g", [], [out], constants))


LAST = object()  # the result of the node before


def bomb(depth: int, calls: int = 2) -> bytes:
    """Functions that call the next one `calls` times each."""
    functions = []
    for k in range(depth):
        names = ["x", *(f"h{j}" for j in range(calls - 1)), "y"]
        domain, op = ("f", f"F{k + 1}") if k + 1 < depth else ("", "Relu")
        nodes = [helper.make_node(op, [a], [b], domain=domain) for a, b in pairwise(names)]
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
        functions.append(helper.make_function("f", f"F{k}", ["x"], ["y"], nodes, opsets))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    call = helper.make_node("F0", ["x"], ["y"], "NODE", domain="f")
    return model(helper.make_graph([call], "g", [x], [y]), functions=functions)


def nested(depth: int, calls: int = 2, wrapper: str = "") -> bytes:
    """An .h5 of a Keras model that calls a model twice, which calls a model twice ..."""
    inner: Any = {"class_name": "ReLU", "name": "relu", "config": {"name": "relu"}}
    for k in range(depth):
        if wrapper:
            config = {"name": f"w{k}", "layer": inner, "merge_mode": "sum"}
            inner = {"class_name": wrapper, "name": f"w{k}", "config": config}
            continue
        name, shape = f"m{k}", {"batch_shape": [None, 4, 4], "dtype": "float32", "name": "in"}
        nodes = [[["in", 0, 0, {}]], *([[inner["name"], j, 0, {}]] for j in range(calls - 1))]
        layers = [
            {"class_name": "InputLayer", "name": "in", "config": shape, "inbound_nodes": []},
            {**inner, "inbound_nodes": nodes},
        ]
        config = {
            "name": name, "layers": layers, "input_layers": [["in", 0, 0]],
            "output_layers": [[inner["name"], calls - 1, 0]],
        }  # fmt: skip
        inner = {"class_name": "Functional", "name": name, "config": config}
    if wrapper:
        shape = {"batch_input_shape": [None, 4, 4], "dtype": "float32", "name": "in"}
        head = {"class_name": "InputLayer", "config": shape}
        inner = {"class_name": "Sequential", "config": {"name": "s", "layers": [head, inner]}}
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        kept = {"class_name": inner["class_name"], "config": inner["config"]}
        h5.attrs["model_config"] = json.dumps(kept)
        h5.attrs["keras_version"] = "2.10.0"
        h5.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return file.getvalue()


def doubled(times: int) -> bytes:
    """A constant beside itself, again and again."""
    steps: list[tuple[Any, ...]] = [("Identity", floats(1024), {})]
    steps += [("Concat", LAST, LAST, {"axis": 0})] * times
    return chain(*steps, ("ReduceMax", LAST, {"keepdims": 0}))


BIG = 2**31
SHAPE = ints(64_000_000)
COSTLY: dict[str, Callable[[], bytes]] = {
    "functions 17": lambda: bomb(17),
    "functions 45": lambda: bomb(45),
    "functions of many calls": lambda: bomb(6, 12),
    "functions 5000": lambda: bomb(5000),
    "keras 14": lambda: nested(14),
    "keras 40": lambda: nested(40),
    "keras of many calls": lambda: nested(5, 20),
    "keras wrappers": lambda: nested(40, wrapper="Bidirectional"),
    "nonzero": lambda: chain(
        ("ConstantOfShape", SHAPE, {"value": numpy_helper.from_array(floats(1))}),
        ("NonZero", LAST, {}),
        ("ReduceMax", LAST, {}),
        kind=TensorProto.INT64,
    ),
    "range": lambda: chain(
        ("Range", number(0), number(BIG), number(1), {}), kind=TensorProto.INT64
    ),
    "range of floats": lambda: chain(
        ("Range", *(np.array(x, np.float32) for x in (0, 1, 1e-9)), {}),
    ),
    "many ranges": lambda: many_ranges(64),
    "window": lambda: chain(("HannWindow", number(10**9), {})),
    "blackman": lambda: chain(("BlackmanWindow", number(2**31 - 1), {})),
    "dft": lambda: node("DFT", (1, 16, 1), number(10**9)),
    "dft of all": lambda: node("DFT", (1, 10**9, 1)),
    "stft": lambda: node("STFT", (1, 2 * 10**9), number(1), None, number(10**9)),
    "expand": lambda: node("Expand", (1,), ints(2**40)),
    "expand elements": lambda: node("Expand", (1,), ints(2**20, 2**20)),
    "tile": lambda: node("Tile", (2, 2), ints(2**30, 2**30)),
    "one hot": lambda: node("OneHot", ints(0, 1), ints(2**40), np.array([0, 1], np.float32)),
    "eye like": lambda: chain(("ConstantOfShape", ints(2**17, 2**17), {}), ("EyeLike", LAST, {})),
    "resize": lambda: node("Resize", PICTURE, None, None, ints(1, 4, 2**30, 2**30), mode="nearest"),
    "resize linear": lambda: node(
        "Resize", PICTURE, None, None, ints(1, 4, 8, 2**30), mode="linear"
    ),
    "pad": lambda: node("Pad", (2, 2), ints(2**31, 0, 0, 0)),
    "pad elements": lambda: node("Pad", (2, 2), ints(2**20, 2**20, 0, 0)),
    "pad reflect": lambda: node("Pad", (2, 2), ints(2**30, 0, 0, 0), mode="reflect"),
    "declared": lambda: node("Relu", (2**40,)),
    "declared elements": lambda: node("Relu", (2**20, 2**20)),
    "declared filters": lambda: node("MatMul", (2**30, 4), (4, 2**30)),
    "constant of shape": lambda: chain(
        ("ConstantOfShape", ints(2**40), {}), ("Add", LAST, floats(1), {})
    ),
    "doubled": lambda: doubled(24),
    "outer product": lambda: chain(
        ("Add", floats(40_000, 1), floats(1, 40_000), {}), ("ReduceMax", LAST, {})
    ),
    "products": lambda: products(200),
    "scatter": lambda: chain(
        ("ConstantOfShape", ints(2**30), {}),
        ("ScatterElements", LAST, ints(3), floats(1), {}),
    ),
    "sparse": lambda: sparse(2**34),
    "kernel": lambda: node("MaxPool", (1, 1, 2**30, 8), kernel_shape=[2**29, 1]),
    "conv pads": lambda: node("Conv", PICTURE, FILTERS, pads=[2**30, 2**30, 2**30, 2**30]),
    "conv of many layers": lambda: node("Conv", (1, 1, 4096, 2, 2), floats(1, 1, 4096, 1, 1)),
    "col2im": lambda: node("Col2Im", (1, 2**20, 1), ints(1024, 1024), ints(1024, 1024)),
    "space to depth": lambda: node("DepthToSpace", (1, 2**30, 2, 2), blocksize=2**14),
}


def many_ranges(count: int) -> bytes:
    """Ranges of 2**22 elements, all of which are used."""
    numbers = [numpy_helper.from_array(number(n), f"n{n}") for n in range(count)]
    end = numpy_helper.from_array(number(2**22), "end")
    nodes = [helper.make_node("Range", [f"n{n}", "end", "n1"], [f"r{n}"]) for n in range(count)]
    nodes += [helper.make_node("ReduceMax", [f"r{n}"], [f"y{n}"]) for n in range(count)]
    out = [helper.make_tensor_value_info(f"y{n}", TensorProto.INT64, None) for n in range(count)]
    return model(helper.make_graph(nodes, "g", [], out, [*numbers, end]))


def products(count: int) -> bytes:
    """Products of constant matrices in a row."""
    a = floats(512, 512)
    return chain(("MatMul", a, a, {}), *[("MatMul", LAST, LAST, {})] * count)


def reflections(count: int) -> bytes:
    """A row that is reflected at its ends again and again."""
    pads = numpy_helper.from_array(ints(1, 1), "pads")
    nodes = [
        helper.make_node("Pad", [f"v{k}", "pads"], [f"v{k + 1}"], mode="reflect")
        for k in range(count)
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("v0", [64]), (f"v{count}", None))
    )
    return model(helper.make_graph(nodes, "g", [x], [y], [pads]))


def sparse(size: int) -> bytes:
    """A sparse initializer of a dense size that no memory has."""
    tensor = helper.make_sparse_tensor(
        numpy_helper.from_array(floats(1), "w"), numpy_helper.from_array(ints(3), "w_at"), [size]
    )
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Relu", ["w"], ["y"], "NODE")]
    return model(helper.make_graph(nodes, "g", [], [y], sparse_initializer=[tensor]))


# ---- all of them, in one process -----------------------------------------------------------------


FILES = {f"impossible {name}": make for name, make in IMPOSSIBLE.items()}
FILES |= {f"costly {name}": make for name, make in COSTLY.items()}
FILES["reflections"] = lambda: reflections(40)


def main() -> None:
    """Tries every file with a limited memory; prints {name: [seconds, what came of it]}."""
    webdnn.imported(node("Relu", (1,)))  # what is imported only once does not count
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in FILES.items():
            data = make()
            begin = time.process_time()
            try:
                webdnn.transpile(data, Path(folder) / "out", targets="webgpu")
                said = "accepted"
            except WebDNNError as error:
                said = str(error)
            except Exception as error:
                said = f"raised {error!r}"
            found[name] = time.process_time() - begin, said
    print(json.dumps(found))


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[float, str]]:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.test_strangers"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True,
        timeout=300,
    )  # fmt: skip
    out: dict[str, tuple[float, str]] = json.loads(ran.stdout)
    return out


def refused(found: dict[str, tuple[float, str]], name: str) -> str:
    """The one error that a file gives, in time."""
    seconds, said = found[name]
    assert seconds < SECONDS
    assert said != "accepted"
    assert not said.startswith("raised"), said
    assert "fault of WebDNN" not in said, said
    return said


# onnxruntime leaves these to chance: it warns, or computes nothing.
ALLOWED_THERE = {"maxpool window", "output shape"}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_is_impossible_is_refused_at_its_node(
    name: str, found: dict[str, tuple[float, str]]
) -> None:
    said = refused(found, f"impossible {name}")
    assert ("'w'" if name == "data" else "'NODE'") in said
    if name not in ALLOWED_THERE:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            session = onnxruntime.InferenceSession(IMPOSSIBLE[name](), options)
            feeds = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs()}
            session.run(None, feeds)


@pytest.mark.parametrize("name", COSTLY)
def test_what_asks_for_too_much_is_refused(name: str, found: dict[str, tuple[float, str]]) -> None:
    refused(found, f"costly {name}")


# ---- what is allowed, and how to allow more ------------------------------------------------------


def test_what_is_only_long_is_taken_in_time(found: dict[str, tuple[float, str]]) -> None:
    """An index within an index within ..., whose text would fill gigabytes."""
    seconds, said = found["reflections"]
    assert said == "accepted"
    assert seconds < SECONDS


def test_limits_are_raised_by_a_number() -> None:
    data = bomb(12)
    with pytest.raises(UnsupportedError, match="its calls of one another") as refusal:
        webdnn.imported(data)
    enough = re.search(r"limits=(\d+)", str(refusal.value))
    assert enough
    assert len(webdnn.imported(data, limits=int(enough[1])).imported.graph.values()) == 2**12 + 1
    with pytest.raises(WebDNNError, match="from 1 on"):
        webdnn.imported(data, limits=0.5)


def test_a_declaration_that_the_computation_contradicts_is_noted() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2])
    inner = helper.make_tensor_value_info("t", TensorProto.FLOAT, [2, 3])
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "TURN"),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    data = model(helper.make_graph(nodes, "g", [x], [y], value_info=[inner]))
    (note,) = webdnn.imported(data).notices
    assert all(part in note for part in ("'TURN'", "'t'", "[2, 3]", "f32[3,2]"))


def test_a_budget_is_one_model_s() -> None:
    end = number(2**22)
    data = chain(("Range", number(0), end, number(1), {}), kind=TensorProto.INT64)
    for _ in range(12):  # 32 MiB each
        webdnn.imported(data)


def test_documentation_has_the_numbers() -> None:
    page = (ROOT / "docs" / "cli.md").read_text().partition("## Files from strangers")[2]
    rows = page.partition("\n`--limits")[0]
    for text in (
        f"{limits.MEMORY >> 20} MiB, and {limits.SHARE} times",
        f"2^{limits.WORK.bit_length() - 1}, and {limits.SHARE_OF_WORK} for each",
        f"{limits.EXPANDED}, and {limits.SHARE_OF_CALLS} for each",
        f"{limits.NODES:,}, and {limits.SHARE_OF_NODES} for each",
        f"less than 2^{limits.ELEMENTS.bit_length() - 1}",
        f"{hdf5.SECONDS} seconds of a processor",
    ):
        assert text in rows


# ---- HDF5 ----------------------------------------------------------------------------------------


def test_libhdf5_that_does_not_end_is_ended() -> None:
    """A damaged file, found by changing bytes at random: libhdf5 reads an attribute for ever."""
    with pytest.raises(ModelError, match="does not end within"):
        webdnn.imported(ROOT / "tests" / "fixtures" / "damaged" / "attributes_without_end.h5")


def test_groups_within_themselves_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        group["b"] = group
    for given in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(ModelError, match="groups without end"):
            hdf5.probe(given, "file")


def test_a_probe_reads_a_stretch_of_a_file(tmp_path: Path) -> None:
    """As a member of a zip lies in it."""
    inner, path = tmp_path / "inner.h5", tmp_path / "outer"
    with h5py.File(inner, "w") as file:
        group = file.create_group("a")
        group["b"] = group
    data = inner.read_bytes()
    path.write_bytes(b"x" * 77 + data + b"y" * 10)
    with path.open("rb") as stream:
        window = hdf5.Window(stream, 77, len(data))
        with pytest.raises(ModelError, match="groups without end"):
            hdf5.probe(window, "file")


if __name__ == "__main__":
    main()
