"""Counts a network's floating-point work from the shapes that a real run has.

    gflop(Path("resnet50.onnx"), {"data": image})     # 8.2

Only matrix products and convolutions count, two operations for each multiply-add, as the
literature counts them. Shapes are read from a run in onnxruntime, not inferred, so symbolic and
data-dependent sizes are no obstacle; control flow is (bodies of If and Loop are not seen).
"""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

_COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def gflop(path: Path, feeds: Mapping[str, NDArray[Any]]) -> float:
    """Billions of operations of one run of the ONNX file at `path` on `feeds`."""
    import onnxruntime

    model = onnx.load(path)
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type in _COUNTED]
    shape: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in graph.initializer}
    shape |= {name: value.shape for name, value in feeds.items()}
    wanted = {name for node in nodes for name in (*node.input[:2], *node.output)}
    known = shape.keys() | {value.name for value in graph.output}
    missing = [name for name in wanted if name not in known]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.onnx"
        onnx.save(model, file)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, dict(feeds))
    shape |= {name: value.shape for name, value in zip(names, found, strict=True)}
    return sum(_operations(node, shape) for node in nodes) / 1e9


def _operations(node: onnx.NodeProto, shape: Mapping[str, tuple[int, ...]]) -> int:
    a, b, y = shape[node.input[0]], shape[node.input[1]], shape[node.output[0]]
    match node.op_type:
        case "Conv":  # weights [outputs, inputs / groups, kernel…]: each output sees one filter
            return 2 * math.prod(y) * math.prod(b[1:])
        case "ConvTranspose":  # weights [inputs, outputs / groups, kernel…]: each input spreads
            return 2 * math.prod(a) * math.prod(b[1:])
        case "Gemm":
            transposed = any(x.name == "transA" and x.i for x in node.attribute)
            return 2 * math.prod(y) * a[0 if transposed else 1]
        case _:
            return 2 * math.prod(y) * a[-1]
