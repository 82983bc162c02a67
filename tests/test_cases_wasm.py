"""The table of cases on WebAssembly in Node: plain SIMD, one thread, guard bytes around every
buffer.

Many cases are one program, so that compiling them takes one call; a case that breaks its batch is
found by running the batch's cases alone.
"""

from __future__ import annotations

import re
import shutil
from functools import cache

import numpy as np
import pytest

from tests.cases import CASES, Net, merged
from tests.interpret import shown
from tests.wasm_harness import NUMPY, published
from tests.wasm_harness import run as run_program
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.descriptor.weights import weight_array
from webdnn.schedule.kernel import Program
from webdnn.schedule.lower import lower

BATCH = 64
TARGET = "wasm"
NAMES = [name for name, case in CASES.items() if TARGET not in case.skip]

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def values(program: Program, feeds: dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    """The contents of input, state and weight buffers."""
    out = {}
    for b, v in program.weights.items():
        kept = weight_array(v)
        row = program.buffers[b].dtype
        out[b] = kept.view(NUMPY[row])[: v.size] if row in ("i8", "u8") else kept
    out |= {t.buffer: np.zeros(t.shape) for t in program.states}
    return out | {
        t.buffer: stored(feeds[t.name], program.buffers[t.buffer].dtype, t.words)
        for t in program.inputs
    }


def stored(array: np.ndarray, dtype: str, words: int = 1) -> np.ndarray:
    """An input as it lies in memory: elements of 32 bits, or two words each, or float64."""
    kind = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "u32": np.uint32}[dtype]
    if words > 1:
        return np.ascontiguousarray(array).reshape(-1).view(kind)
    return np.asarray(array).astype(kind)


def run_cases(nets: list[Net]) -> dict[str, list[dict[str, np.ndarray]]]:
    """The outputs of each case at each of its sizes, all of them computed by one program."""
    program = lower(passes.run(merged(nets), 0), TARGETS[TARGET])
    out: dict[str, list[dict[str, np.ndarray]]] = {net.case.name: [] for net in nets}
    for k in range(max(len(net.case.sizes) for net in nets)):
        feeds, dims = {}, {}
        for net in nets:
            feeds |= net.case.feeds(net, k)
            sizes = net.case.sizes[k % len(net.case.sizes)]
            dims |= {str(net.symbol(d)): n for d, n in sizes.items()}
        result = run_program(program, values(program, feeds), dims)
        for net in nets:
            if k < len(net.case.sizes):
                found = {}
                for tensor in program.outputs:
                    if re.sub(r"\.count_*$", "", tensor.name) in net.output_names():
                        shape = [
                            d if isinstance(d, int) else evaluate(d, dims) for d in tensor.shape
                        ]
                        found[tensor.name] = published(tensor, result[tensor.buffer], shape)
                out[net.case.name].append(shown(net.graph().counts, found, dims))
    return out


def evaluate(d, dims):
    from webdnn.expr import evaluate as size

    return size(d, dims)


@cache
def batch(index: int) -> dict[str, list[dict[str, np.ndarray]]] | None:
    """A batch's results, or None if it does not run as a whole."""
    try:
        return run_cases(
            [CASES[name].build() for name in NAMES[index * BATCH : (index + 1) * BATCH]]
        )
    except Exception:
        return None


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str) -> None:
    case = CASES[name]
    net = case.build()
    results = batch(NAMES.index(name) // BATCH)
    found = results[name] if results is not None else run_cases([net])[name]
    for k, sizes in enumerate(case.sizes):
        for output, wanted in case.expected(k).items():
            problem = case.problem(found[k][output], wanted)
            assert not problem, f"{output} at {dict(sizes)}: {problem}"
