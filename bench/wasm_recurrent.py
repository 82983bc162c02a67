"""Recurrent layers beside ONNX Runtime Web on WebAssembly, one thread, in one browser, in turns.

    python -m bench.wasm_recurrent                  # LSTM of 128, 256, 512 units over 100 steps
    python -m bench.wasm_recurrent gru:64 lstm:1024 --steps 50 --batch 4

A recurrence cannot be spread over time: for each step all recurrent weights are read for one
product of a vector with a matrix. `of ceiling` is the share of the core's multiply-add rate, which
nothing that reads each weight for one multiply-add reaches. Otherwise as bench.wasm_peers.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import webdnn
from bench.entry import Entry
from bench.wasm_peers import measure, table

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def layer(cell: str, units: int, steps: int, batch: int, folder: Path) -> Entry:
    """One layer with as many inputs as hidden units, its weights drawn so that it does not
    saturate.
    """
    rng = np.random.default_rng(units)
    gates = GATES[cell]
    scale = units**-0.5
    weights = {
        "w": rng.normal(size=(1, gates * units, units)) * scale,
        "r": rng.normal(size=(1, gates * units, units)) * scale,
        "b": rng.normal(size=(1, 2 * gates * units)) * 0.1,
    }
    node = helper.make_node(cell.upper(), ["x", "w", "r", "b"], ["y"], hidden_size=units)
    graph = helper.make_graph(
        [node],
        cell,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (steps, batch, units))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (steps, 1, batch, units))],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    name = f"{cell}{units}"
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    feeds = {"x": rng.normal(size=(steps, batch, units)).astype(np.float32)}
    session = onnxruntime.InferenceSession(path, None, ["CPUExecutionProvider"])
    expected = dict(zip(["y"], map(np.asarray, session.run(None, feeds))))
    webdnn.transpile(path, folder / "ours" / name, targets=("wasm",))
    work = 2 * 2 * gates * units * units * steps * batch / 1e9  # input and recurrent products
    return Entry(name, {"T": steps, "N": batch}, path, feeds, expected, work)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layers", nargs="*", default=["lstm:128", "lstm:256", "lstm:512"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--engines", default="ours,ort")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--burst", type=int, default=3)
    parser.add_argument("--pause", type=float, default=20)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given.descriptors = folder / "ours"
        for what in given.layers:
            cell, _, units = what.partition(":")
            entry = layer(cell, int(units), given.steps, given.batch, folder)
            rows += measure(entry, 1, given)
    print(table(rows))


if __name__ == "__main__":
    main()
