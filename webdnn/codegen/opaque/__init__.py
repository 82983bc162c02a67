"""Kernels written by hand for each target, which never fuse: `NAME.c` and `NAME.wgsl`.

What such a text is given is said by `schedule.kernel.Opaque`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

from ...errors import WebDNNError
from ..template import render

FOLDER = Path(__file__).parent


@cache
def _text(name: str) -> str:
    """The text of a kernel by its file's name, without the comment at its head."""
    lines = (FOLDER / name).read_text().splitlines()
    return "\n".join(dropwhile(lambda line: line.startswith("//"), lines))


def rendered(name: str, env: Mapping[str, Any]) -> str:
    """The text of a kernel by its file's name, filled in.

    Raises WebDNNError, with the file, where it is missing or asks for what there is not.
    """
    try:
        return render(_text(name), env)
    except OSError as error:
        raise WebDNNError(
            f"kernel {FOLDER / name}: cannot be read: {error.strerror}. Write it, or leave this "
            "target out with --target"
        ) from None
    except ValueError as error:
        raise WebDNNError(f"kernel {FOLDER / name}: {error}") from error


__all__ = ["rendered"]
