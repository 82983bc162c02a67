"""Write an exported program as one ONNX file without the exporter's notes.

The exporter records source lines and file names of the machine that ran it; without them the
same weights give the same bytes everywhere, and the file says nothing about that machine.
"""

from pathlib import Path

import onnx
import torch


def save(program: torch.onnx.ONNXProgram | None, out: Path) -> None:
    """Save `program` at `out` (weights inside the file), then check that onnx accepts it."""
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    onnx.checker.check_model(model)
    out.write_bytes(model.SerializeToString(deterministic=True))
