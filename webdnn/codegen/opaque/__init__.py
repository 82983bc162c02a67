"""Kernels written by hand for each target, which never fuse: `NAME.c` and `NAME.wgsl`.

What such a text is given is said by `schedule.kernel.Opaque`.
"""

from __future__ import annotations

from functools import cache
from itertools import dropwhile
from pathlib import Path


@cache
def text(name: str) -> str:
    """The text of a kernel by its file's name, without the comment at its head."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    return "\n".join(dropwhile(lambda line: line.startswith("//"), lines))
