"""The door to a terminal: whatever the command line prints goes through a `Terminal`.

Names, notices and messages come from models of strangers. A control character among them could
overwrite what is on the screen, or what is copied from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.segment import Segment

from ..errors import printable


class Terminal(Console):
    """rich's console, which prints control characters of its own only."""

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """The segments of what is printed: text, tables, progress, tracebacks."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


__all__ = ["Terminal"]
