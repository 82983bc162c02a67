"""The door to a terminal: whatever the command line prints goes through a `Terminal`.

Names, notices and messages come from models of strangers. A control character among them could
overwrite what is on the screen, or what is copied from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment

from ..errors import printable


class Terminal(Console):
    """rich's console, which prints control characters of its own only, and names as they are: `:x:`
    in one is no picture."""

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """The segments of what is printed: text, tables, progress, tracebacks."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


@contextmanager
def progress(err: Terminal, title: str, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on `err`; yields `tell(stage, done, total)`.

    In a pipe each stage is one line; `quiet` shows nothing.
    """
    if quiet:
        yield lambda stage, done, total: None
        return
    if not err.is_terminal:
        seen: list[str] = []

        def line(stage: str, done: int, total: int) -> None:
            if seen[-1:] != [stage]:
                seen.append(stage)
                err.print(f"{title}: {stage}", markup=False, highlight=False)

        yield line
        return
    columns = (
        SpinnerColumn(),
        TextColumn("[bold]{task.fields[title]}[/]"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.description}", style="dim"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", title=escape(title), total=None)
        yield lambda stage, done, total: bars.update(
            task, description=escape(stage), completed=done, total=total
        )


__all__ = ["Terminal", "progress"]
