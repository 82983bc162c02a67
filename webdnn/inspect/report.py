"""report.html: what a descriptor contains and why, for people. Plain HTML, no scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from ..descriptor.module_js import range_text
from ..graph import DTYPES, SHORT_FLOATS
from ..schedule.kernel import Loop, Program, Step
from ..schedule.plan import lifetimes, nbytes
from .describe import kind_text, shape_text

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --line: #dde2ea; --muted: #677087; --sheet: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ee; --line: #333a48; --muted: #97a0b3; --sheet: #14171d }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
  color: var(--ink); background: var(--sheet) }
div { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; min-width: min(100%, 24rem) }
h1 { margin-bottom: 0; overflow-wrap: anywhere }
td, th { text-align: left; padding: .25rem .6rem; vertical-align: top;
  border-bottom: 1px solid var(--line) }
table.wide { table-layout: fixed; width: 100%; min-width: 60rem; overflow-wrap: anywhere }
.wide th:nth-child(1) { width: 2rem } .wide th:nth-child(3) { width: 5.5rem }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); border-radius: .4rem }
p { margin-top: 0; color: var(--muted) }
"""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    """A table whose columns of numbers are set to the right, their heads too."""
    right = [all(isinstance(row[k], (int, float)) for row in rows) for k in range(len(head))]

    def line(tag: str, cells: list[Any]) -> str:
        shown = [escape(f"{x:,}" if isinstance(x, int) else str(x)) for x in cells]
        cls = [" class=n" if n else "" for n in right]
        return "<tr>" + "".join(f"<{tag}{c}>{x}</{tag}>" for c, x in zip(cls, shown))

    lines = [line("th", head), *(line("td", row) for row in rows)]
    wide = " class=wide" if len(head) > 4 else ""
    return f"<div><table{wide}>" + "\n".join(lines) + "</table></div>"


# The arrays of dtypes whose own name does not tell: `DataOf` in the runner's types.d.ts.
_ARRAYS = {
    **{DTYPES[d]: "Float32Array" for d in ("f16", *SHORT_FLOATS)},
    "int2": "Int8Array",
    "uint2": "Uint8Array",
    "int4": "Int8Array",
    "uint4": "Uint8Array",
    "int64": "BigInt64Array",
    "uint64": "BigUint64Array",
    "bool": "Uint8Array",
}


def _example(entry: Mapping[str, Any], smallest: Mapping[str, int]) -> str:
    """What a page may give an input, in JavaScript: zeros, of the smallest sizes where these are
    open."""
    if "image" in entry:
        return "document.querySelector('img')"
    sizes = [smallest[n] if isinstance(n, str) else n for n in entry["shape"]]
    if any(isinstance(n, list) for n in sizes):  # a formula
        return "{ data, shape }"
    array = _ARRAYS.get(entry["dtype"], f"{entry['dtype'].capitalize()}Array")
    data = f"new {array}({' * '.join(map(str, sizes)) or 1})"
    return data if sizes == entry["shape"] else f"{{ data: {data}, shape: {sizes} }}"


def snippet(document: Mapping[str, Any], module: str = "./model.js") -> str:
    """The lines of a page that run the model; `module` is where its page finds it."""
    inputs = [t for t in document["inputs"] if not t.get("hidden")]
    smallest = {d["name"]: d["min"] for d in document["dims"]}
    lines = [
        f"import {{ load }} from '{module}';",
        "const model = await load();",
        "const outputs = await model.run({",
        *(
            f"  {json.dumps(t['name'], ensure_ascii=False)}: {_example(t, smallest)},"
            for t in inputs
        ),
        "});",
    ]
    if any("labels" in t and "drawn" not in t for t in document["outputs"]):
        lines.append("model.top(outputs, 3);  // [{ label, score, index }, …]")
    for tensor in document["outputs"]:
        if "drawn" in tensor:
            name = json.dumps(tensor["name"], ensure_ascii=False)
            lines.append(f"model.draw(document.querySelector('canvas'), outputs, {name});")
    if any("image" in t for t in inputs):
        lines.append("// a picture: <img>, <canvas>, <video>, ImageData, File …")
    if any("image" not in t for t in inputs):
        lines.append("// zeros stand for your numbers; { data, shape } where dimensions are open")
    return "\n".join(lines)


def step_row(k: int, step: Step) -> list[Any]:
    """One line of the kernel table."""
    kernel = step.kernel
    if isinstance(kernel, Loop):
        shape = " × ".join(str(v.args[1]) for v in kernel.axes) or "1"
        shape += (
            (" | " + " × ".join(str(v.args[1]) for v in kernel.reduce)) if kernel.reduce else ""
        )
        kind = "loop"
    else:
        kind = kernel.template
        sizes = getattr(kernel, "vars", {})
        shape = ", ".join(f"{n}={v.args[1]}" for n, v in sizes.items())
    return [k, kernel.name, kind, shape, kernel.origin, step.why]


def report_html(document: Mapping[str, Any], programs: Mapping[str, Program]) -> str:
    """The report of one descriptor."""
    files = document["files"]
    name, made_by = escape(document["name"]), escape(document["generator"])
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{name} · WebDNN</title><link rel=icon href=data:,><style>{_STYLE}</style>",
        f"<h1>{name}</h1><p>{made_by}, descriptor format {document['format']}</p>",
    ]
    tensors = [
        [kind, t["name"], kind_text(t), shape_text(t["shape"])]
        for kind in ("inputs", "outputs")
        for t in document[kind]
        if not t.get("hidden")
    ]
    parts += [
        "<h2>Signature</h2>",
        _table(["", "name", "dtype", "shape"], [[k[:-1], *r] for k, *r in tensors]),
    ]
    if document["dims"]:
        parts.append(
            _table(["dimension", "sizes"], [[d["name"], range_text(d)] for d in document["dims"]])
        )
    parts += [
        "<h2>In a page</h2>",
        "<pre>" + escape(snippet(document), quote=False) + "</pre>",
        "<h2>Files</h2>",
        _table(["file", "bytes"], [[n, f["bytes"]] for n, f in files.items()]),
    ]
    for target, program in programs.items():
        live = lifetimes(program)
        temporaries = sum(nbytes(program.buffers[b]) for b in live)
        parts.append(f"<h2>{escape(target)}</h2>")
        parts.append(
            _table(
                ["steps", "kernels", "bytes of weights", "bytes of temporaries, unshared"],
                [
                    [
                        len(program.steps),
                        len({s.kernel for s in program.steps}),
                        sum(nbytes(program.buffers[b]) for b in program.weights),
                        temporaries,
                    ]
                ],
            )
        )
        parts.append(
            _table(
                ["k", "kernel: what was fused", "kind", "shape", "computes", "stored because"],
                [step_row(k, s) for k, s in enumerate(program.steps)],
            )
        )
    return "\n".join(parts) + "\n"


__all__ = ["report_html", "snippet", "step_row"]
