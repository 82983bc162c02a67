"""report.html: what a descriptor contains and why, for people. Plain HTML, no scripts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from .kernel import Loop, Program, Step
from .plan import lifetimes, nbytes
from .tables import kind_text, shape_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1d2433 }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 } h1 { margin-bottom: 0 }
td, th { text-align: left; padding: .25rem .6rem; vertical-align: top;
  border-bottom: 1px solid #dde2ea }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
code { font-size: .92em; overflow-wrap: anywhere }
p.muted, td.muted { color: #677087 }
"""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    def cell(tag: str, x: Any) -> str:
        number = isinstance(x, (int, float)) or (
            tag == "th" and x in ("bytes", "steps", "kernels", "work items", "k")
        )
        shown = escape(f"{x:,}" if isinstance(x, int) else str(x))
        return f"<{tag}{' class=n' if number else ''}>{shown}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", h) for h in head) + "</tr>"]
    lines += ["<tr>" + "".join(cell("td", c) for c in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


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
        f"<!doctype html><meta charset=utf-8><title>{name} · WebDNN</title><style>{_STYLE}</style>",
        f"<h1>{name}</h1><p class=muted>{made_by}, descriptor format {document['format']}</p>",
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
            _table(
                ["dimension", "from", "to"],
                [[d["name"], d["min"], d["max"]] for d in document["dims"]],
            )
        )
    parts += [
        "<h2>Files</h2>",
        _table(["file", "bytes"], [[n, f["bytes"]] for n, f in files.items()]),
    ]
    for target, program in programs.items():
        live = lifetimes(program)
        temporaries = sum(nbytes(program.buffers[b]) for b in live)
        parts.append(f"<h2>{escape(target)}</h2>")
        parts.append(
            _table(
                ["steps", "kernels", "weights", "temporaries without sharing (bytes)"],
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


__all__ = ["report_html", "step_row"]
