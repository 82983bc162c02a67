"""A random model of any size, and the memory that transpiling it takes.

    write_model(Path("large.onnx"), 2500)      # of 2.5 GB, the weights beside it
    largest_memory("print('hello')")           # of a Python process of its own, in bytes

The model is the skeleton of a language model: a table of embeddings with an eighth of the weights,
blocks of two products (biases, a normalisation, a residual), and at the end a product with another
eighth. All weights are float32, and no two are equal.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

CHUNK = 2**22  # elements made and written at once


def write_model(path: Path, megabytes: float, width: int = 1024) -> int:
    """Writes the model and `path`.data beside it; returns the bytes of its largest weight."""
    rows = int(megabytes * 1e6) // (8 * 4 * width)
    blocks = 6 * rows // (8 * width)
    initializers, nodes = [], []
    random = np.random.default_rng(0)
    largest = 0
    with Path(f"{path}.data").open("wb") as file:

        def weight(name: str, shape: Sequence[int]) -> str:
            nonlocal largest
            tensor = TensorProto(
                name=name,
                dims=shape,
                data_type=TensorProto.FLOAT,
                data_location=TensorProto.EXTERNAL,
            )
            size = int(np.prod(shape))
            entries = {"location": f"{path.name}.data", "offset": file.tell(), "length": 4 * size}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            for at in range(0, size, CHUNK):
                part = random.random(min(CHUNK, size - at), np.float32)
                file.write(((part - np.float32(0.5)) / np.float32(np.sqrt(shape[-1]))).data)
            initializers.append(tensor)
            largest = max(largest, 4 * size)
            return name

        def node(op: str, *inputs: str, **attributes: object) -> str:
            nodes.append(helper.make_node(op, inputs, [f"{op}{len(nodes)}"], **attributes))
            return f"{op}{len(nodes) - 1}"

        x = node("Gather", weight("table", (rows, width)), "tokens")
        for k in range(blocks):
            y = node("MatMul", x, weight(f"{k}.up", (width, 4 * width)))
            y = node("Relu", node("Add", y, weight(f"{k}.up.bias", (4 * width,))))
            y = node("MatMul", y, weight(f"{k}.down", (4 * width, width)))
            y = node("Add", node("Add", y, weight(f"{k}.down.bias", (width,))), x)
            scale, bias = (weight(f"{k}.{name}", (width,)) for name in ("scale", "bias"))
            x = node("LayerNormalization", y, scale, bias, axis=-1)
        node("MatMul", x, weight("head", (width, rows)))
    nodes[-1].output[0] = "scores"
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 16, rows])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return largest


def largest_memory(code: str) -> int:
    """The most memory that a Python process of its own had resident while it ran `code`.

    Pages of mapped files count. (ru_maxrss would count this process's own memory with it.)
    """
    ending = "\nprint(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')))"
    done = subprocess.run(
        [sys.executable, "-c", code + ending],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the process failed:\n{done.stderr}")
    return int(done.stdout.split()[-2]) * 1024
