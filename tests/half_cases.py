"""The table of cases in half precision: all floats that a kernel reads or writes are halves.

A case alone has few kernels, and what a page gives and gets is float32. So its inputs and outputs
are copied by kernels of their own: what is between the copies lies in memory as halves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tests.cases import Array, Case, Net, merged
from webdnn import passes
from webdnn.codegen.webgpu import HALF
from webdnn.graph import Value, rewrite, scalar_dtype
from webdnn.schedule.fuse import COPY, Fusion
from webdnn.schedule.kernel import Program
from webdnn.schedule.lower import Lowering, TooManyBuffers


class HalfCase(Case):
    """A case whose inputs are numbers that halves hold."""

    def feeds(self, net: Net, k: int) -> dict[str, Array]:
        found = super().feeds(net, k)
        return {name: rounded(a) if a.dtype == np.float32 else a for name, a in found.items()}


def rounded(a: Array) -> Array:
    """As it is stored: the nearest half, and the largest one for finite numbers beyond."""
    with np.errstate(all="ignore"):
        held = np.where(np.isfinite(a), np.clip(a, -65504, 65504), a)
        return held.astype(np.float16).astype(np.float32)


def half(case: Case) -> HalfCase:
    """The case with inputs that halves hold."""
    own = {k: v for k, v in vars(case).items() if k != "answers"}
    return HalfCase(**own)


def off(case: Case, got: Array, wanted: Array) -> str:
    """What is wrong with a result, or nothing. What counts is no half, and not rounded."""
    tolerance = max(2e-3, 10 * case.tol)
    if wanted.dtype != np.float32:
        return case.problem(got, wanted)
    right = not case.problem(got, wanted, tolerance, case.special)
    return "" if right else case.problem(got, rounded(wanted), tolerance, case.special)


def lowered(nets: Sequence[Net]) -> Program:
    """The program of cases with copies around them, which are stored."""
    graph = passes.run(merged(nets), 0)
    copies: set[Value] = set()

    def floats(v: Value) -> bool:
        return scalar_dtype(v.dtype) == "f32"

    def apart(v: Value, uses: Mapping[Value, int]) -> Value | None:
        if v.op is COPY or not any(i.node.op.kind == "input" and floats(i) for i in v.inputs):
            return None
        inputs = [COPY(i) if i.node.op.kind == "input" and floats(i) else i for i in v.inputs]
        copies.update(i for i in inputs if i.op is COPY)
        return v.node.op.node(inputs, v.attrs).outputs[v.node.outputs.index(v)]

    graph = rewrite(graph, (apart,))
    forced = copies | {v for v in graph.outputs.values() if floats(v)}
    outputs = {k: COPY(v) if floats(v) else v for k, v in graph.outputs.items()}
    graph = replace(graph, outputs=outputs)
    while True:
        try:
            return Lowering(Fusion(graph, HALF, forced)).program(False)
        except TooManyBuffers as error:
            if not error.cut - forced:
                raise
            forced |= error.cut
