"""Tables that the command line prints: a descriptor, a check, timings, an inspection.

Each `show_…` function takes what the module of that name returns and prints it on standard output,
in colour on a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.markup import escape
from rich.table import Table

from ..descriptor.module_js import range_text
from .describe import kind_text, shape_text
from .terminal import Terminal

if TYPE_CHECKING:  # these import onnx and numpy: not needed to print help
    from webdnn.browser.bench import Timing
    from webdnn.browser.check import CheckReport, Run
    from webdnn.browser.compare import Output
    from webdnn.inspect.summary import Compiled, Inspection

out = Terminal()


def amount(count: float) -> str:
    """Bytes for people: 37 B, 1.2 kB, 4.8 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def _table(title: str = "") -> Table:
    # Rules only below the heading: a check's widest row still fits into 80 columns.
    return Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )


def show_descriptor(summary: Mapping[str, Any]) -> None:
    """The tables of `describe`."""
    table = _table(escape(summary["name"]))
    for heading in ("", "name", "dtype", "shape"):
        table.add_column(heading)
    for kind in ("inputs", "outputs"):
        for entry in summary[kind]:
            table.add_row(
                kind[:-1], escape(entry["name"]), kind_text(entry), shape_text(entry["shape"])
            )
    out.print(table)
    for dim in summary["dims"]:
        out.print(f"  {escape(dim['name'])} = {range_text(dim)}", highlight=False)
    for name in summary.get("batch", ()):
        out.print(f"  {escape(name)} = 1, being a batch", highlight=False)
    out.print()
    table = _table()
    table.add_column("a page fetches")
    table.add_column("code (gzip)", justify="right")
    table.add_column("weights", justify="right")
    for label, target in summary["targets"].items():
        table.add_row(label, amount(target["code_gzip"]), amount(summary["weights_bytes"]))
    out.print(table)


def print_notices(notices: Sequence[str]) -> None:
    """Prints what the transpiler decided and a user may want to know."""
    for notice in notices:
        out.print(f"[yellow]note[/] {escape(notice)}", highlight=False, soft_wrap=True)


_COLOURS = {
    "right": "green",
    "constant": "green",
    "flipped": "green",
    "narrowed": "green",
    "wrong": "bold red",
    "empty": "bold yellow",
}


def show_check(report: CheckReport) -> None:
    against = f", compared with {report.reference}" if report.reference else ""
    form = f", weights as {report.form}" if report.form else ""
    table = _table(escape(f"{report.model} in {report.browser}{form}{against}"))
    table.add_column("target", no_wrap=True)
    table.add_column("sizes")
    table.add_column("output", overflow="fold", min_width=8)
    # The largest error; that over the reference's largest magnitude; and the bound of the latter.
    # Where weights were made narrower: the angle to the float model's, and how many classes agree.
    for heading in ("error", "relative", *(("cosine", "top-1") if form else ("allowed",))):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    reasons: dict[str, None] = {}  # in order, each once
    for run in report.runs:
        target = run.label
        every = {**dict.fromkeys(report.batch, 1), **run.sizes}
        sizes = " ".join(f"{escape(name)}={size}" for name, size in every.items())
        if run.number is not None:
            sizes = f"input {run.number} {sizes}".rstrip()
        if run.error:
            table.add_row(
                target, sizes, "", "", "", *[""] * (1 + bool(form)), "[bold red]failed[/]"
            )
        for output in run.outputs:
            table.add_row(
                target,
                sizes,
                escape(output.name),
                f"{output.max_abs:.2e}",
                f"{output.relative:.2e}",
                *(
                    (_cosine(output), _agreement([output]))
                    if form
                    else (f"{output.tolerance:.0e}",)
                ),
                f"[{_COLOURS[output.verdict]}]{output.verdict}[/]",
            )
            if output.why:
                reason = f"[{_COLOURS[output.verdict]}]{output.verdict}[/] {escape(output.name)}"
                reasons[f"{reason}: {escape(output.why)}"] = None
    out.print(table)
    if form:
        _show_agreement(report)
    for run in report.runs:
        if run.layers or run.fused:
            _show_layers(run, bool(form))
    for run in report.runs:
        if run.error:
            name = run.label
            out.print(f"[bold red]{name}:[/] {escape(run.error)}", highlight=False, soft_wrap=True)
    for reason in reasons:
        out.print(reason, highlight=False, soft_wrap=True)
    unproved = [run for run in report.runs if not run.right and not run.error]
    if any(o.verdict in ("empty", "constant") for run in unproved for o in run.outputs):
        out.print(
            "[yellow]note[/] empty: on these inputs a wrong descriptor could look right; "
            "give real ones (--input NAME=FILE, and NAME:rgb,… for pictures), or another --seed",
            highlight=False,
            soft_wrap=True,
        )
    print_notices(report.notices)
    wrong = sum(not run.right for run in report.runs)
    if wrong:
        out.print(f"[bold red]not right: {wrong} of {_runs(len(report.runs))}[/]", highlight=False)
    else:
        out.print(f"[green]right: {_runs(len(report.runs))}[/]", highlight=False)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _cosine(output: Output) -> str:
    return "" if math.isnan(output.cosine) else f"{output.cosine:.5f}"


def _agreement(outputs: Sequence[Output]) -> str:
    """Of how many rows the largest element, or of integers how many elements, are the same."""
    rows, agree = sum(o.rows for o in outputs), sum(o.agree for o in outputs)
    return f"{agree} of {rows}" if rows else ""


def _show_agreement(report: CheckReport) -> None:
    """A line for each target and output over all inputs, where there were several."""
    found: dict[tuple[str, str], list[Output]] = {}
    for run in report.runs:
        for output in run.outputs:
            found.setdefault((run.label, output.name), []).append(output)
    for (target, name), outputs in found.items():
        if len(outputs) > 1:
            top = f", top-1 {_agreement(outputs)}" if _agreement(outputs) else ""
            text = (
                f"{target} {escape(name)}, {len(outputs)} runs: "
                f"relative at most {max(o.relative for o in outputs):.2e}, "
                f"cosine at least {min(o.cosine for o in outputs):.5f}{top}"
            )
            out.print(text, highlight=False, soft_wrap=True)


def _show_layers(run: Run, form: bool) -> None:
    table = _table(f"{run.label}: stored values")
    for heading in ("value", "shape", "error", "relative", *(["cosine"] if form else []), ""):
        table.add_column(heading, overflow="fold")
    for layer in run.layers:
        # A constant inner value is nothing special: only what is wrong or flipped stands out here.
        told = ("wrong", "flipped", "narrowed")
        verdict = layer.verdict if layer.verdict in told else "right"
        table.add_row(
            escape(layer.name),
            shape_text(layer.shape),
            f"{layer.max_abs:.2e}",
            f"{layer.relative:.2e}",
            *([_cosine(layer)] if form else []),
            f"[{_COLOURS[verdict]}]{verdict}[/]",
        )
    out.print(table)
    turned = [(1 - x.cosine, x.name) for x in run.layers if x.cosine < 1]
    before = [0.0, *(angle for angle, _ in turned)]
    grown = sorted(((x - b, name) for b, (x, name) in zip(before, turned)), reverse=True)[:3]
    if form and grown:
        names = ", ".join(f"{escape(name)} (by {growth:.1e})" for growth, name in grown)
        out.print(
            f"[yellow]note[/] the angle grows most at {names}: layers before these are the first "
            "to --keep",
            highlight=False,
            soft_wrap=True,
        )
    first = next((layer for layer in run.layers if layer.verdict == "flipped"), None)
    if first is not None:
        text = (
            f"[yellow]flipped[/] first of what is stored: {escape(first.name)}: {escape(first.why)}"
        )
        out.print(text, highlight=False, soft_wrap=True)
    out.print(f"fused away ({len(run.fused)}): {escape(', '.join(run.fused))}", style="dim")


def show_timings(timings: Sequence[Timing], name: str, browser: str) -> None:
    """One row for each target, then the kernels of those that were profiled."""
    sizes = " ".join(f"{dim}={size}" for dim, size in timings[0].sizes.items())
    table = _table(escape(f"{name} {sizes} in {browser}, ms".replace("  ", " ")))
    for heading in ("target", "threads", "load", "first run", "warm min", "median", "runs"):
        justify: Literal["left", "right"] = "left" if heading == "target" else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for t in timings:
        figures = (t.load, t.first, t.minimum, t.median)
        target = f"{t.target} {t.variant}"
        table.add_row(target, str(t.threads), *(f"{ms:.2f}" for ms in figures), str(len(t.warm)))
    out.print(table)
    for t in timings:
        if t.kernels:
            _show_kernels(t)


def _show_kernels(timing: Timing) -> None:
    """The steps of one run, slowest first; those that together take 1 % are one row."""
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    table = _table(f"{timing.target} {timing.variant}, {threads}: kernels")
    table.add_column("kernel", overflow="fold")
    table.add_column("from")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    if timing.peak:
        table.add_column("GFLOP/s", justify="right")
        table.add_column("of peak", justify="right")
    total = sum(kernel.ms for kernel in timing.kernels) or 1.0
    rest = sorted(timing.kernels, key=lambda kernel: -kernel.ms)
    left = total
    while rest and left > total / 100:
        kernel = rest.pop(0)
        left -= kernel.ms
        table.add_row(
            escape(kernel.name),
            escape(_tail(kernel.origin.split(", ")[0])),
            f"{kernel.ms:.3f}",
            f"{100 * kernel.ms / total:.1f} %",
            *_rate(kernel.flops, kernel.ms, timing.peak),
        )
    if rest:
        table.add_row(f"{len(rest)} more", "", f"{left:.3f}", f"{100 * left / total:.1f} %")
    out.print(table)
    flops = sum(kernel.flops or 0 for kernel in timing.kernels)
    if timing.peak and flops:
        rate, part = _rate(flops, total, timing.peak)
        out.print(
            f"all kernels: {total:.3f} ms at {rate} GFLOP/s, {part} of the "
            f"{timing.peak / 1e9:,.0f} of a stream of multiply-adds",
            highlight=False,
        )


def _rate(flops: float | None, ms: float, peak: float | None) -> tuple[str, ...]:
    """Billions of operations a second, and what part of the device's peak that is."""
    if not peak:
        return ()
    if not flops or not ms:
        return "", ""
    rate = flops / ms * 1000
    return f"{rate / 1e9:,.0f}", f"{100 * rate / peak:.1f} %"


def _tail(name: str, width: int = 34) -> str:
    # Exporters nest names: a/b/c/Conv. What tells two of them apart is the end.
    return name if len(name) <= width else "…" + name[1 - width :]


def show_inspection(seen: Inspection) -> None:
    """What the model is made of, then one table of kernels for each target."""
    operators = ", ".join(f"{name} {count}" for name, count in seen.operators.items())
    out.print(f"[bold]operators[/]  {escape(operators)}", highlight=False)
    out.print(
        f"[bold]parameters[/] {seen.parameters:,} ({amount(seen.parameter_bytes)})", highlight=False
    )
    show_descriptor(seen.download)
    for name, compiled in seen.targets.items():
        _show_compiled(name, compiled)
    print_notices(seen.notices)


def _show_weights(compiled: Compiled) -> None:
    """How many weights are stored in which way; which of them a kernel widens once."""
    parts = []
    for storage in dict.fromkeys(w.storage for w in compiled.weights):
        those = [w for w in compiled.weights if w.storage == storage]
        parts.append(f"{len(those)} as {storage} ({amount(sum(w.bytes for w in those))})")
    if parts:
        out.print(f"  weights: {', '.join(parts)}", highlight=False)
    widened = [w for w in compiled.weights if w.widened]
    if widened:
        of = [*dict.fromkeys(w.name.partition(", ")[0] for w in widened)]
        names, more = ", ".join(of[:6]), f" and {len(of) - 6} more" if of[6:] else ""
        out.print(
            f"  widened to 32 bits when they have arrived: {len(widened)} "
            f"({amount(sum(w.bytes for w in widened))}): {escape(names)}{more}",
            highlight=False,
            soft_wrap=True,
        )


def _show_compiled(target: str, compiled: Compiled) -> None:
    table = _table(
        f"{target}: {compiled.launches} launches of {len(compiled.kernels)} kernels, "
        f"{compiled.flops / 1e9:.3f} GFLOP"
    )
    table.add_column("kernel", overflow="fold")
    table.add_column("is")
    table.add_column("launches", justify="right")
    table.add_column("MFLOP", justify="right")
    table.add_column("from", overflow="fold")
    for kernel in sorted(compiled.kernels, key=lambda kernel: -kernel.flops):
        first = kernel.origins[:2]
        more = len(kernel.origins) - len(first)
        table.add_row(
            escape(kernel.name),
            kernel.kind,
            str(kernel.launches),
            f"{kernel.flops / 1e6:.2f}",
            escape(", ".join(map(_tail, first)) + (f" and {more} more" if more else "")),
        )
    out.print(table)
    if compiled.memory:
        parts = ", ".join(f"{name} {amount(size)}" for name, size in compiled.memory.items())
        less = sum(compiled.memory.values()) > 2 * compiled.memory["total"]
        where = ", as some of it lies where weights lay that no run reads" if less else ""
        out.print(f"  memory: {parts}{where}", highlight=False, soft_wrap=True)
    _show_weights(compiled)
    if compiled.prepare:
        out.print(f"  {compiled.prepare} more launches, once, when the weights have arrived")
    out.print(f"  {len(compiled.fused)} values of the model are fused away: never stored")
