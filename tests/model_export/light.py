"""Weights for the bare architectures of the onnx package, so that their outputs mean something.

The onnx package ships nine whole networks whose weights are ConstantOfShape nodes (every value
0.02), so that the files stay small. Their outputs are constant and would hide almost any error.
`build` replaces each of those weights by seeded random values scaled as He et al. (2015) propose,
chosen by the part the tensor plays:

    Conv, Gemm weight     normal, deviation sqrt(2 / fan-in)
    bias                  normal, deviation 0.05
    batch norm            scale 0.8..1.2, variance 0.6..1.4; shift and mean normal, deviation 0.1
    Unsqueeze → Mul, Add  as batch norm's scale and shift: that is what they spell out

    build(Path(".../light_squeezenet.onnx"), Path("squeezenet.onnx"))

Limits: f32 weights only. The deviation of the logits grows with the depth of a random network, and
a saturated softmax says as little as a constant one: `LOGIT_SHIFT` scales the last layer by a power
of two that brings the logits' deviation on a photo to about 2 (found by measuring, once).
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

# The input's name where it is not data_0.
INPUT = dict.fromkeys(("resnet50", "shufflenet", "zfnet512"), "gpu_0/data_0")

# Powers of two on the last layer's weight, by architecture.
LOGIT_SHIFT = {
    "bvlc_alexnet": -1,
    "densenet121": 2,
    "inception_v1": -2,
    "inception_v2": -2,
    "resnet50": -12,
    "shufflenet": -18,
    "squeezenet": -1,
    "vgg19": -1,
    "zfnet512": 1,
}


def build(source: Path, out: Path) -> None:
    """Write `source`, a light model, to `out` as an ordinary ONNX file with weights inside.

    Raises ValueError when a constant feeds an operator that this table of roles does not know.
    """
    model = onnx.load(source)
    graph = model.graph
    architecture = source.stem.removeprefix("light_")
    fixed = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
    for node in graph.node:
        for slot, name in enumerate(node.input):
            users[name].append((node, slot))
    last = [node for node in graph.node if node.op_type in ("Conv", "Gemm")][-1]

    weights: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            continue
        name = node.output[0]
        shape = tuple(int(size) for size in numpy_helper.to_array(fixed[node.input[0]]))
        uses = list(_uses(name, users))
        values = _values(f"{architecture}/{name}", shape, {(op.op_type, slot) for op, slot in uses})
        if any(op is last and slot == 1 for op, slot in uses):
            values *= np.float32(2.0 ** LOGIT_SHIFT[architecture])
        weights[name] = numpy_helper.from_array(values, name)

    nodes = [node for node in graph.node if node.output[0] not in weights]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    # Before IR version 4 every initialiser had to be listed as an input too.
    inputs = [value for value in graph.input if value.name not in fixed]
    made = onnx.helper.make_graph(
        nodes, architecture, inputs, list(graph.output), [*kept, *weights.values()]
    )
    result = onnx.helper.make_model(made, opset_imports=list(model.opset_import), ir_version=8)
    out.write_bytes(result.SerializeToString(deterministic=True))


def _uses(
    name: str, users: dict[str, list[tuple[onnx.NodeProto, int]]]
) -> Iterator[tuple[onnx.NodeProto, int]]:
    """The nodes and input slots that a constant reaches, seen through changes of its shape."""
    for node, slot in users[name]:
        if node.op_type in ("Unsqueeze", "Reshape") and slot == 0:
            yield from _uses(node.output[0], users)
        else:
            yield node, slot


def _values(seed: str, shape: tuple[int, ...], roles: set[tuple[str, int]]) -> NDArray[np.float32]:
    rng = np.random.default_rng(zlib.crc32(seed.encode()))

    def normal(deviation: float) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)

    def around_one(spread: float) -> NDArray[np.float32]:
        return 1 + np.float32(spread) * (2 * rng.random(shape, dtype=np.float32) - 1)

    match sorted(roles):
        case [("Conv", 1)]:
            return normal(math.sqrt(2 / math.prod(shape[1:])))
        case [("Gemm", 1)]:  # [outputs, inputs]: all nine networks have transB = 1
            return normal(math.sqrt(2 / shape[-1]))
        case [("Conv", 2)] | [("Gemm", 2)]:
            return normal(0.05)
        case [("BatchNormalization", 1)] | [("Mul", 0 | 1)]:
            return around_one(0.2)
        case [("BatchNormalization", 2 | 3)] | [("Add", 0 | 1)]:
            return normal(0.1)
        case [("BatchNormalization", 4)]:
            return around_one(0.4)
        case other:
            raise ValueError(f"{seed}: a constant feeds {other}; expected a weight of Conv, Gemm, "
                             "BatchNormalization, Mul or Add. Give that part its own scale here.")
