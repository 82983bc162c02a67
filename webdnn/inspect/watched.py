"""What people see of `webdnn.transpile` in a terminal or notebook: as of the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

from webdnn.transpiler import Report

P = ParamSpec("P")


def watched(function: Callable[P, Report]) -> Callable[P, Report]:
    """`transpile` that shows people what `webdnn transpile` shows, and says nothing in a pipe.

    In a terminal or notebook there are a progress bar, the signature and the notices; not where
    `progress` is given.
    """

    @functools.wraps(function)
    def within(*args: P.args, **options: P.kwargs) -> Report:
        from . import tables
        from .describe import describe
        from .terminal import Terminal, progress

        people = tables.out.is_terminal or tables.out.is_jupyter
        if options.get("progress") or not people:
            return function(*args, **options)
        with progress(Terminal(stderr=True), "Transpiling", quiet=False) as tell:
            options["progress"] = tell
            report = function(*args, **options)
        tables.show_descriptor(describe(report.output))
        tables.print_notices(report.notices)
        return report

    return within


__all__ = ["watched"]
