"""Imported graphs against their frameworks: many small ones are one program on wasm in Node.

    job = Job("dense", imported.graph, {"x": x}, {"y": framework(x)})
    problems = run_jobs([job, ...])          # {name: what is wrong}; empty if all is right

A job is right when each output has the expected shape and differs by no more than `tol` times the
largest magnitude of the expected output, which must not be constant: a comparison that cannot fail
proves nothing. `interpreted` reads the same graphs in numpy, in milliseconds, without a compiler:
for finding out which side of the compiler is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.interpret import interpret, shown
from tests.test_cases_wasm import evaluate, values
from tests.wasm_harness import published
from tests.wasm_harness import run as run_program
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.graph import (
    INPUT,
    Graph,
    Value,
    placeholder,
)
from webdnn.passes import counted
from webdnn.schedule.lower import lower

Arrays = Mapping[str, np.ndarray]


@dataclass
class Job:
    """A graph, its inputs, what its outputs should be, and the sizes of its symbolic dimensions."""

    name: str
    graph: Graph
    feeds: Arrays
    expected: Arrays
    tol: float = 1e-4
    sizes: Mapping[str, int] = field(default_factory=dict)
    constant: bool = False  # the expected output may be constant (masks, indices)

    def problem(self, found: Arrays) -> str:
        """What is wrong with these outputs, or nothing."""
        if set(found) != set(self.expected):
            return f"outputs {sorted(self.expected)} expected, {sorted(found)} found"
        for name, wanted in self.expected.items():
            got, wanted = found[name], np.asarray(wanted)
            if got.shape != wanted.shape:
                return f"{name}: shape {list(wanted.shape)} expected, {list(got.shape)} found"
            a, b = np.float64(wanted), np.float64(got)
            if a.size > 1 and not self.constant and np.ptp(a) < 1e-3 * np.abs(a).max():
                return f"{name}: the expected output is constant: the comparison proves nothing"
            largest = np.abs(a[np.isfinite(a)]).max(initial=0)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            worst = np.abs(np.where(same, 0, a - b)).max(initial=0)
            if not worst <= self.tol * largest:
                at = np.unravel_index(np.argmax(np.where(same, 0, np.abs(a - b))), a.shape)
                return (
                    f"{name}: error {worst:.3g} of {largest:.3g} at {[int(i) for i in at]}: "
                    f"{a[at]:.7g} expected, {b[at]:.7g} found"
                )
        return ""


def run_jobs(jobs: Sequence[Job], batch: int = 48) -> dict[str, str]:
    """What is wrong with each job on wasm, by name; a batch that breaks is run one by one."""
    out: dict[str, str] = {}
    for first in range(0, len(jobs), batch):
        some = jobs[first : first + batch]
        try:
            out |= _run(some)
        except Exception:
            for job in some:
                try:
                    out |= _run([job])
                except Exception as error:
                    out[job.name] = f"{type(error).__name__}: {error}"
    return {name: problem for name, problem in out.items() if problem}


def interpreted(jobs: Sequence[Job]) -> dict[str, str]:
    """What is wrong with each job by the numpy reading of its graph."""
    found = {}
    for job in jobs:
        try:
            problem = job.problem(interpret(job.graph, job.feeds, job.sizes))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            found[job.name] = problem
    return found


def _run(jobs: Sequence[Job]) -> dict[str, str]:
    inputs: list[Value] = []
    outputs: dict[str, Value] = {}
    sizes: dict[str, int] = {}
    feeds: dict[str, np.ndarray] = {}
    states: dict[str, tuple[Value, Value]] = {}
    symbols = []
    graphs = [counted.settle(job.graph, {}) for job in jobs]
    for k, job in enumerate(jobs):
        clash = [d for d, n in job.sizes.items() if sizes.setdefault(d, n) != n]
        assert not clash, f"{job.name}: another size of {clash}"
        graph = _renamed(graphs[k], lambda name, k=k: f"{k}:{name}")
        inputs += graph.inputs
        outputs |= graph.outputs
        states |= graph.states
        symbols += [d for d in graph.dims if d not in symbols]
        feeds |= {f"{k}:{name}": array for name, array in job.feeds.items()}
    merged = Graph(tuple(inputs), outputs, {}, tuple(symbols), "jobs", states=states)
    program = lower(passes.run(merged, 0), TARGETS["wasm"])
    result = run_program(program, values(program, feeds), sizes)
    found: dict[str, dict[str, np.ndarray]] = {}
    for tensor in program.outputs:
        index, _, name = tensor.name.partition(":")
        shape = [d if isinstance(d, int) else evaluate(d, sizes) for d in tensor.shape]
        found.setdefault(index, {})[name] = published(tensor, result[tensor.buffer], shape)
    return {
        job.name: job.problem(shown(graphs[k].counts, found.get(str(k), {}), job.sizes))
        for k, job in enumerate(jobs)
    }


def _renamed(graph: Graph, name: Callable[[str], str]) -> Graph:
    """The graph with other names of inputs and outputs."""
    new: dict[Value, Value] = {}
    for v in graph.values():
        if v.op is INPUT:
            new[v] = placeholder(name(v.attrs["name"]), v.shape, v.dtype)
        elif v.constant:
            new[v] = v
        else:
            node = v.op.node(tuple(new[i] for i in v.inputs), v.attrs)
            new[v] = node.outputs[v.index]
    return Graph(
        tuple(new[v] for v in graph.inputs),
        {name(k): new[v] for k, v in graph.outputs.items()},
        {},
        graph.dims,
        graph.name,
        states={name(k): (new[a], new[b]) for k, (a, b) in graph.states.items()},
    )
