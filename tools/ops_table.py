"""Writes docs/ops.md: the ONNX operators that are supported, and what functions are written with.

    python -m tools.ops_table

It is read off the importer's table of operators; a test holds the page against it, and another one
sees to it that every operator has a case in tests/cases.py, which runs on both targets.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

from webdnn import expr, ops
from webdnn.frontend.onnx.registry import DOMAINS, fixed, full_name
from webdnn.graph import Op

PAGE = Path(__file__).parent.parent / "docs" / "ops.md"
HEAD = """# Operators

The ONNX operators that the importer knows, and those of com.microsoft, into which onnxruntime's
optimiser fuses them, with the attributes that it takes.
Each has cases in `tests/cases.py`, which run on both targets against onnxruntime. An operator that
is not here is taken where ONNX, or the model itself, defines it as a function of these. `If`,
`Loop`, `Scan` and `SequenceMap` are taken as [the page on ONNX](frameworks/onnx.md#what-is-taken)
says. What remains is refused then, all of it in one list, unless [a function of
yours](frameworks/onnx.md#operators-of-your-own) says what it computes.

This page is written by `python -m tools.ops_table`.

| operator | attributes |
| --- | --- |
"""


FUNCTIONS = """
## What functions are written with

`from webdnn import ops`: functions of Values, by the file that says what each does
(`help(ops.transpose)`). Shapes broadcast as numpy's do; convolutions, pooling and resizing take
channels last.

| file | functions |
| --- | --- |
"""
SCALARS = """
`from webdnn.expr import …`: functions of scalars, for the body of an `@elementwise` function,
beside `+ - * / // %` and comparisons: """


def parameters(function: object) -> str:
    """The parameters of a function, as it is called."""
    return ", ".join(
        f"*{p.name}" if p.kind == p.VAR_POSITIONAL else p.name
        for p in inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    )


def functions() -> str:
    """The functions of `webdnn.ops` that give Values, and those of `webdnn.expr` on scalars."""
    rows = []
    for path in sorted(Path(ops.__file__).parent.glob("[!_]*.py")):
        module = import_module(f"webdnn.ops.{path.stem}")
        named = [(name, getattr(module, name)) for name in module.__all__]
        calls = [
            f"`{name}({parameters(f)})`"
            for name, f in named
            if (isinstance(f, Op) and f.body is not None)
            or (name.islower() and "Value" in str(inspect.signature(f).return_annotation))
        ]
        if calls:
            rows.append(f"| {path.stem} | {', '.join(calls)} |")
    scalar = [name for name, f in vars(expr).items() if getattr(f, "__name__", "") in expr.OPS]
    return FUNCTIONS + "\n".join(rows) + "\n" + SCALARS + ", ".join(sorted(scalar)) + ".\n"


def attributes() -> dict[str, list[str]]:
    """The attributes that each operator takes, but for those of which it takes one value alone."""
    known = {full_name(d, name): fn for d, table in DOMAINS.items() for name, fn in table.items()}
    return {
        name: [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind == p.KEYWORD_ONLY
            and p.name not in ("opset", "outputs", "declared", "draws")
            and fixed(name.rpartition("::")[2], p.name) is None
        ]
        for name, function in sorted(known.items())
    }


def page() -> str:
    """The text of docs/ops.md."""
    rows = [f"| {name} | {', '.join(taken)} |" for name, taken in attributes().items()]
    return HEAD + "\n".join(rows) + "\n" + functions()


if __name__ == "__main__":
    PAGE.write_text(page())
