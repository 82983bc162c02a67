"""What people see of `webdnn.transpile` in a terminal or notebook: as of the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

from webdnn.errors import WebDNNError
from webdnn.transpiler import Report

P = ParamSpec("P")

_IN_PYTHON = {
    "--dim ": '--dim NAME=LOW..HIGH is dims={"NAME": (LOW, HIGH)}, and a size dims={"NAME": SIZE}',
    "--input ": '--input NAME:rgb,… is inputs={"NAME": "rgb,…"}',
    "--set ": '--set NAME=VALUE is fixed={"NAME": VALUE}',
    "--labels ": "--labels FILE is labels=FILE, or a list of names",
    "--limits ": "--limits N is limits=N",
    "--preload ": "--preload PAGE is preload=PAGE",
}


def watched(function: Callable[P, Report]) -> Callable[P, Report]:
    """`transpile` that shows people what `webdnn transpile` shows, and says nothing in a pipe.

    In a terminal or notebook there are a progress bar, the signature and the notices; not where
    `progress` is given. An error that names options of the command line has a note, below its
    traceback, with the parameters of those names.
    """

    @functools.wraps(function)
    def within(*args: P.args, **options: P.kwargs) -> Report:
        try:
            return shown(*args, **options)
        except WebDNNError as error:
            for note in (n for option, n in _IN_PYTHON.items() if option in str(error)):
                error.add_note(f"In Python {note}")
            raise

    def shown(*args: P.args, **options: P.kwargs) -> Report:
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
