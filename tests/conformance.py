"""ONNX's own backend tests, as given: each model through a descriptor and the runner, in Chromium.

    python -m tests.conformance                 # all of it on both targets: half an hour
    python -m tests.conformance --target wasm --share 1/3 --only '^test_pad' --json out.json

Nothing is made easier: inputs stay inputs, also where they are axes or shapes, and names, types,
shapes and elements of all outputs are compared, with the suite's own tolerances. A batch of models
is one descriptor, so that compiling takes one call; a batch that breaks is cut in halves until the
model is found that does it. The targets `element` and `numpy` read the imported graphs
(tests/interpret.py), in a minute: they say on which side of the compiler something is wrong.

The result is a line for each case: "" where it passes, or else what went wrong, which for what is
refused is the transpiler's own message.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from tests.interpret import interpret
from webdnn import passes
from webdnn.browser.check import _ELEMENTS, wire
from webdnn.browser.engine import Page, PageError, open_page
from webdnn.codegen import TARGETS
from webdnn.descriptor import write as descriptor
from webdnn.errors import WebDNNError
from webdnn.frontend import load
from webdnn.graph import DTYPES, Graph, array_type
from webdnn.passes import counted
from webdnn.schedule.lower import lower

FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")
READINGS = ("element", "numpy")
BATCH = 60
HERE = Path(__file__).parent
RECORD = HERE / "conformance.json"
VERSION = 2  # of what is cached


@dataclass(frozen=True)
class Case:
    """A model of the suite; `sets` are its (inputs, outputs), each a serialised proto, those of a
    sequence, or None for an optional that is absent."""

    name: str
    kind: str  # "node", "expanded" (the same by ONNX's definition), or one of FOLDERS
    model: bytes
    sets: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]
    rtol: float
    atol: float

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The model."""
        return onnx.ModelProto.FromString(self.model)

    @property
    def operators(self) -> list[str]:
        """The operators that it is about, by name."""
        return sorted({n.op_type for n in self.proto.graph.node})

    @property
    def given(self) -> list[str]:
        """The inputs that are no initialisers."""
        constants = {t.name for t in self.proto.graph.initializer}
        return [i.name for i in self.proto.graph.input if i.name not in constants]

    def arrays(self, which: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs and expected outputs of a data set, as a page has them: by name."""
        given, wanted = self.sets[which]
        return (
            dict(_named(zip(self.given, given))),
            dict(_named(zip([o.name for o in self.proto.graph.output], wanted, strict=True))),
        )


def _named(values: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors by name; the k-th of a sequence is NAME.k."""
    for name, value in values:
        if isinstance(value, bytes):
            yield name, numpy_helper.to_array(onnx.TensorProto.FromString(value))
        elif value is not None:
            yield from _named((f"{name}.{k}", v) for k, v in enumerate(value))


def _proto(x: Any) -> Any:
    if isinstance(x, dict):
        raise TypeError("a map")
    if x is None or isinstance(x, bytes):
        return x
    if isinstance(x, (list, tuple)):
        return tuple(map(_proto, x))
    proto = x if isinstance(x, onnx.TensorProto) else numpy_helper.from_array(np.asarray(x))
    return proto.SerializeToString()


def node_cases() -> Iterator[Case]:
    """The tests of single operators, as the suite makes them: half a minute."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        kind = "expanded" if "_expanded" in case.name else "node"
        try:
            sets = tuple(
                (tuple(map(_proto, ins)), tuple(map(_proto, outs))) for ins, outs in case.data_sets
            )
        except TypeError:  # inputs or outputs that are maps
            sets = ()
        yield Case(case.name, kind, case.model.SerializeToString(), sets, case.rtol, case.atol)


def folder_cases() -> Iterator[Case]:
    """The models that the suite has as files."""
    for folder in FOLDERS:
        for case in load_model_tests(kind=folder):
            root = Path(case.model_dir)
            sets = [
                (_protos(where, "input"), _protos(where, "output"))
                for where in sorted(root.glob("test_data_set_*"))
            ]
            model = (root / "model.onnx").read_bytes()
            yield Case(case.name, folder, model, tuple(sets), case.rtol, case.atol)


def _protos(folder: Path, side: str) -> tuple[bytes, ...]:
    found = folder.glob(f"{side}_*.pb")
    return tuple(p.read_bytes() for p in sorted(found, key=lambda p: int(p.stem.split("_")[1])))


def cases() -> list[Case]:
    """The whole suite."""
    root = os.environ.get("WEBDNN_CACHE") or Path.home() / ".cache" / "webdnn"
    path = Path(root) / f"onnx-node-tests-{onnx.__version__}-{VERSION}.pickle"
    if not path.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [vars(c) for c in node_cases()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            pickle.dump(found, file)
        Path(file.name).replace(path)
    with path.open("rb") as file:
        return [*(Case(**fields) for fields in pickle.load(file)), *folder_cases()]


# ---- one case ------------------------------------------------------------------------------------


def tensors_of(kind: Any) -> Any:
    """A type without the sequence or optional around it."""
    while (of := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
        kind = getattr(kind, of).elem_type
    return kind.tensor_type


def sizes(case: Case) -> dict[str, Any]:
    """The sizes that the model leaves open, as its data have them."""
    out: dict[str, Any] = {}
    arrays, _ = case.arrays(0)
    inputs = {i.name: i for i in case.proto.graph.input}
    for name, value in zip(case.given, case.sets[0][0]):
        tensors = {name: arrays[name]} if isinstance(value, bytes) else {}
        if not tensors:
            out[name] = len(value or ())
            tensors = {f"{name}.{k}": arrays[f"{name}.{k}"] for k in range(out[name])}
        declared = tensors_of(inputs[name].type)
        for part, array in tensors.items():
            if not declared.HasField("shape"):
                out |= {f"{part}.{k}": d for k, d in enumerate(array.shape)}
            for k, d in enumerate(declared.shape.dim):
                if not d.HasField("dim_value") and k < array.ndim:
                    named = part == name and re.search(r"\w", d.dim_param)
                    out[d.dim_param if named else f"{part}.{k}"] = array.shape[k]
    return out


def graph_of(case: Case) -> Graph:
    """The imported graph. Raises WebDNNError for what is refused."""
    if not case.sets:
        raise WebDNNError("its inputs or outputs are maps")
    return load(case.proto, sizes(case)).graph


def different(case: Case, which: int, found: Mapping[str, np.ndarray]) -> str:
    """ "", or how the outputs differ from those of a data set."""
    expected = case.arrays(which)[1]
    if found.keys() != expected.keys():
        return f"{', '.join(found)} found, {', '.join(expected)} expected"
    for name, wanted in expected.items():
        got = found[name]
        if got.dtype != wanted.dtype or got.shape != wanted.shape:
            return (
                f"{name}: {got.dtype}{list(got.shape)}, expected "
                f"{wanted.dtype}{list(wanted.shape)}"
            )
        if wanted.dtype.kind in "fV":
            a, b = got.astype(np.float64), wanted.astype(np.float64)
            if not np.allclose(a, b, rtol=case.rtol, atol=case.atol, equal_nan=True):
                worst = np.nanmax(np.abs(a - b))
                return f"{name}: largest difference {worst:g} of {np.nanmax(np.abs(b)):g}"
        elif not np.array_equal(got, wanted):
            return f"{name}: {np.sum(got != wanted)} of {wanted.size} elements differ"
    return ""


# ---- many of them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A case that is a part of a batch: its names begin with `prefix` there."""

    case: Case
    graph: Graph
    prefix: str


def prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """The model with other names of its inputs and outputs, also where bodies read them."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    ends = [*out.graph.input, *out.graph.output]
    new = {v.name: prefix + v.name for v in ends}

    def rename(graph: Any) -> None:
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [new.get(n, n) for n in names]
            for a in node.attribute:
                for body in (a.g, *a.graphs):
                    rename(body)

    rename(out.graph)
    for v in (*ends, *out.graph.initializer):
        v.name = new.get(v.name, v.name)
    return out


def prepared(chosen: Sequence[Case], results: dict[str, str]) -> list[Entry]:
    """The cases that are imported, in graphs that may be merged; the others get their result."""
    out = []
    for number, case in enumerate(chosen):
        prefix = f"{number}:"
        try:
            graph = graph_of(case)
            if case.sets:
                proto = prefixed(case.proto, prefix)
                graph = load(proto, sizes(replace(case, model=proto.SerializeToString()))).graph
            out.append(Entry(case, counted.settle(graph, {}), prefix))
        except WebDNNError as error:
            said = str(error).removeprefix("the model needs ").replace(":\n  ", ": ")
            results[case.name] = f"refused: {said}"
        except Exception as error:
            results[case.name] = f"crash: {type(error).__name__}: {error}"
    return out


def merged(entries: Sequence[Entry]) -> Graph:
    """One graph of many cases."""
    graphs = [e.graph for e in entries]
    return Graph(
        tuple(v for g in graphs for v in g.inputs),
        {k: v for g in graphs for k, v in g.outputs.items()},
        name="suite",
        counts={k: shape for g in graphs for k, shape in g.counts.items()},
        states={k: state for g in graphs for k, state in g.states.items()},
    )


def feeds(entry: Entry, which: int) -> dict[str, np.ndarray]:
    """The inputs of a case by their names in the batch."""
    arrays, _ = entry.case.arrays(which % len(entry.case.sets))
    return {entry.prefix + name: a for name, a in arrays.items()}


class Runner:
    """Runs batches on one target, in a page that is opened anew after a failure."""

    def __init__(self, target: str, folder: Path):
        self.target, self.folder = target, folder
        self.stack = contextlib.ExitStack()
        self.page: Page | None = None
        self.count = 0

    def run(self, entries: Sequence[Entry], results: dict[str, str]) -> None:
        """Fills in the results of cases; those that break a batch are found by halving it."""
        if not entries:
            return
        try:
            found = self._run(entries)
        except Exception as error:
            self.close()
            if len(entries) > 1:
                half = len(entries) // 2
                self.run(entries[:half], results)
                self.run(entries[half:], results)
                return
            kind = "refused" if isinstance(error, WebDNNError) else "crash"
            kind = "does not run" if isinstance(error, PageError) else kind
            results[entries[0].case.name] = f"{kind}: {error}"
            return
        for entry in entries:
            said = ""
            for which, run in enumerate(found[: len(entry.case.sets)]):
                begin = len(entry.prefix)
                mine = {k[begin:]: a for k, a in run.items() if k.startswith(entry.prefix)}
                said = said or different(entry.case, which, mine)
            results[entry.case.name] = said

    def _run(self, entries: Sequence[Entry]) -> list[dict[str, np.ndarray]]:
        """The outputs of each data set."""
        self.count += 1
        name = f"{self.target}-{self.count}"
        program = lower(passes.run(merged(entries), 0), TARGETS[self.target])
        target = TARGETS[self.target]
        descriptor.write({target: program}, self.folder / name, "suite", report=lambda _: "")
        if self.page is None:
            mounts = {"/d/": self.folder, "/t/": HERE}
            self.page = self.stack.enter_context(
                open_page("chromium", mounts=mounts, webgpu=self.target == "webgpu")
            )
        arrays: dict[str, bytes] = {}
        runs = []
        for which in range(max(len(e.case.sets) for e in entries)):
            given = {k: a for e in entries for k, a in feeds(e, which).items()}
            runs.append({"inputs": wire(given, f"in/{which}/", arrays)})
        argument = {
            "descriptor": f"/d/{name}/",
            "options": {"backend": self.target},
            "runs": runs,
            "layers": False,
        }
        reply = self.page.call("/t/cases_page.js", argument, arrays, timeout=570)
        if reply.value["overwritten"]:
            raise AssertionError("guard words behind GPU buffers changed")
        return [
            {o["name"]: received(o, reply.arrays[o["array"]]) for o in run["outputs"]}
            for run in reply.value["runs"]
        ]

    def close(self) -> None:
        """Closes the page."""
        self.stack.close()
        self.page = None


def received(described: Mapping[str, Any], data: bytes) -> np.ndarray:
    """An output as an array of its public type."""
    array = np.frombuffer(data, _ELEMENTS[described["type"]]).reshape(described["shape"])
    return array.astype(np.dtype(described["dtype"]))


def read_only(entries: Sequence[Entry], reading: str, results: dict[str, str]) -> None:
    """Fills in the results by a numpy reading of the graphs, as `interpret` has two."""
    for e in entries:
        try:
            said = ""
            for which in range(len(e.case.sets)):
                kinds = {v.attrs["name"]: array_type(v.dtype) for v in e.graph.inputs}
                given = {k: a.astype(kinds[k]) for k, a in feeds(e, which).items()}
                public = {k: np.dtype(DTYPES[v.dtype]) for k, v in e.graph.outputs.items()}
                found = interpret(e.graph, given, None, reading).items()
                mine = {k[len(e.prefix) :]: a.astype(public[k]) for k, a in found}
                said = said or different(e.case, which, mine)
            results[e.case.name] = said
        except Exception as error:
            results[e.case.name] = f"crash: {type(error).__name__}: {error}"


def run(
    chosen: Sequence[Case], target: str, tell: Any = lambda done, total: None
) -> dict[str, str]:
    """What went wrong with each case, by name; "" where it passes."""
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(target, Path(folder))
        try:
            for first in range(0, len(chosen), BATCH):
                entries = prepared(chosen[first : first + BATCH], results)
                if target in READINGS:
                    read_only(entries, target, results)
                else:
                    runner.run(entries, results)
                tell(min(first + BATCH, len(chosen)), len(chosen))
        finally:
            runner.close()
    return {case.name: results[case.name] for case in chosen}


def recorded() -> dict[str, dict[str, str]]:
    """What is known not to pass, and why: by target (of readings: "graph"), by case."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text())
    return found


def record(target: str, results: Mapping[str, str]) -> None:
    """Puts results into the record."""
    target = "graph" if target in READINGS else target
    known = recorded() if RECORD.exists() else {}
    mine = known.get(target, {}) | {k: said.split("\n")[0] for k, said in results.items()}
    mine = {k: said[:300] for k, said in sorted(mine.items()) if said}
    RECORD.write_text(json.dumps(known | {target: mine}, indent=1, sort_keys=True) + "\n")


def share_of(chosen: Sequence[Case], part: int, of: int) -> list[Case]:
    """The cases of a fixed part, by the hash of their names."""
    return [c for c in chosen if zlib.crc32(c.name.encode()) % of == part % of]


def main() -> None:
    """The command line: see above."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", action="append", choices=["wasm", "webgpu", *READINGS])
    parser.add_argument("--share", default="1/1", help="K/N: the K-th of N parts")
    parser.add_argument("--only", default="", help="a regular expression of names")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--record", action="store_true", help="put it into conformance.json")
    options = parser.parse_args()
    part, of = map(int, options.share.split("/"))
    chosen = [c for c in share_of(cases(), part, of) if re.search(options.only, c.name)]
    out: dict[str, dict[str, str]] = {}
    for target in options.target or ["wasm", "webgpu"]:
        warnings.simplefilter("ignore")
        out[target] = run(chosen, target, lambda done, total: print(f"{done} of {total}"))
        passed = sum(not said for said in out[target].values())
        if len(chosen) - passed <= 40:
            for name, said in out[target].items():
                if said:
                    print(f"{name}: {said}")
        print(f"{target}: {passed} of {len(chosen)} pass")
        if options.record:
            record(target, out[target])
        if options.json:
            options.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
