"""Writes docs/conformance.md: how many of ONNX's backend tests pass, by operator and type.

    python -m tools.conformance_page

It is made of tests/conformance.json, which `python -m tests.conformance --record` writes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.conformance import Case, cases, recorded

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"
TARGETS = {"wasm": "wasm", "webgpu": "WebGPU"}

# Why a case does not pass, by its name or by what was said: the first that fits.
REASONS = {
    r"^test_(string|strnorm|regex|equal_string|.*tfidf.*string)|String|LabelEncoder|_string_": (
        "text: strings are no tensors here; tokenise and look up in the page"
    ),
    r"ImageDecoder": "pictures: the page has decoders; `--input` takes what they give",
    r"Adagrad|Adam|Momentum|Gradient|training mode": "training: models run, they do not learn",
    r"bernoulli": "random numbers: every engine has a generator of its own",
    r"neither sequences|nothing or a sequence|SplitToSequence": (
        "sequences of which only a run finds how many tensors they have, where one goes, or "
        "whether they are there: an input that `--set` makes a constant would say so"
    ),
    r"TreeEnsemble|ArrayFeatureExtractor|Binarizer|ai\.onnx\.ml": (
        "ai.onnx.ml: trees and tables, for which a function of your own can be registered"
    ),
    r"float64 to int64|int64 to float64": "64 bits: what is computed in 32 has none of these",
    r"largest difference inf": "float64 beyond the range of float32, in which WebGPU computes it",
    r"bf16|bfloat16": (
        "bfloat16 is computed in float32 and rounded once, at the end; the expected numbers were "
        "rounded after each step, and differ in the last of 8 bits"
    ),
    r"resize.*_align_corners": (
        "the expected numbers are of a size with a fraction, where a result has whole elements; "
        "onnxruntime has it as we do"
    ),
    r"_expanded.*(known when|iterations|condition|If node|give it a limit)": (
        "the definition of an operator that we take as a whole: sizes inside of it are computed "
        "from the elements of an input, and nothing declares them"
    ),
    r"give it a limit": "lengths that only a run finds, without a limit: `--dim` gives one",
    r"known when|iterations|condition": "sizes that are computed from the elements of an input",
    r"largest difference": "other rounding than the suite allows: the difference is said",
    r"": "not supported",
}


def reason(name: str, said: str) -> str:
    """Why a case does not pass, in words for a user."""
    return next(why for pattern, why in REASONS.items() if re.search(pattern, f"{name} {said}"))


def kinds(case: Case) -> str:
    """The type of a case's first input, or else output."""
    if not case.sets:
        return "other"
    arrays = [a for side in case.arrays(0) for a in side.values()]
    return str(arrays[0].dtype) if arrays else "other"


def table(found: Sequence[Case]) -> list[str]:
    """A row for each operator: its cases by type, and how many pass on each target."""
    known = recorded()
    by: dict[str, list[Case]] = defaultdict(list)
    for case in found:
        nodes = case.proto.graph.node
        by[nodes[0].op_type if len(nodes) == 1 else "several"].append(case)
    lines = ["| operator | types | wasm | WebGPU |", "| --- | --- | --- | --- |"]
    for operator, mine in sorted(by.items()):
        types = Counter(map(kinds, mine)).most_common()
        passed = [f"{sum(c.name not in known[t] for c in mine)}/{len(mine)}" for t in TARGETS]
        shown = ", ".join(f"{kind} {n}" for kind, n in types)
        lines.append(f"| {operator} | {shown} | {passed[0]} | {passed[1]} |")
    return lines


def page() -> str:
    """The text of docs/conformance.md."""
    known, every = recorded(), cases()
    lines = [
        "# ONNX's own tests",
        "",
        "The backend tests of the ONNX project, as given: inputs stay inputs, also where they are "
        "axes or shapes, and names, types,",
        "shapes and elements of every output are compared, with the suite's tolerances. Each model "
        "goes through a descriptor and the",
        "runner, in Chromium; WebGPU by SwiftShader. `make test-conformance` runs all of it, the "
        "tests a fiftieth; this page is written by",
        "`python -m tools.conformance_page`.",
        "",
        "| tests | cases | wasm | WebGPU |",
        "| --- | --- | --- | --- |",
    ]
    groups = {
        "one operator": ("node",),
        "one operator by its definition": ("expanded",),
        "small models": ("simple",),
        "PyTorch's": ("pytorch-converted", "pytorch-operator"),
    }
    for title, names in groups.items():
        mine = [c for c in every if c.kind in names]
        passed = [sum(c.name not in known[t] for c in mine) for t in TARGETS]
        lines.append(f"| {title} | {len(mine)} | {passed[0]} | {passed[1]} |")
    whole = [len(every) - len(known[t]) for t in TARGETS]
    lines.append(f"| all | {len(every)} | {whole[0]} | {whole[1]} |")
    lines += ["", "## By operator", ""]
    lines += table([c for c in every if c.kind == "node"])
    lines += ["", "## What does not pass, and why", ""]
    by: dict[str, list[str]] = defaultdict(list)
    names = {c.name for c in every}
    for name in sorted({*known["wasm"], *known["webgpu"]} & names):
        where = [title for t, title in TARGETS.items() if name in known[t]]
        said = next(known[t][name] for t in TARGETS if name in known[t])
        only = f" ({where[0]} alone)" if len(where) == 1 else ""
        by[reason(name, said)].append(name.removeprefix("test_") + only)
    for why, mine in sorted(by.items(), key=lambda item: -len(item[1])):
        lines.append(f"* **{why}** ({len(mine)}): {', '.join(mine)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
