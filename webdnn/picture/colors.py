"""Colours of a class map: one for each class, given or built in.

>>> read_colors(["#f80", (0, 0, 255, 128)])
('#ff8800ff', '#0000ff80')
>>> palette(3)
('#00000000', '#800000ff', '#008000ff')

A file has one colour a line, as CSS writes them (`#f80`, `#ff8800`, `#ff880080`, with or without
the `#`), or is a JSON list of such texts or of [r, g, b].
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import WebDNNError

LARGEST = 2**20  # bytes of a file of colours: more is some other file
_HEX = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_EXPECTED = "expected a colour as #ff8800"


def palette(count: int) -> tuple[str, ...]:
    """The colours of Pascal VOC, with class 0, the background, transparent."""

    def color(index: int) -> str:
        rgb = [0, 0, 0]
        for place in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (index >> channel & 1) << place
            index >>= 3
        return "#{:02x}{:02x}{:02x}ff".format(*rgb)

    return ("#00000000", *(color(index) for index in range(1, count)))[:count]


def is_color(text: str) -> bool:
    """Whether a text is a colour, rather than the name of a file."""
    return _HEX.fullmatch(text) is not None


def read_colors(source: Any) -> tuple[str, ...]:
    """Colours as `#rrggbbaa`: of a file, or as they are given.

    source: a path, or a list of which each is a text or a sequence of 3 or 4 numbers of 0..255.
    Raises WebDNNError for what is no colour.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_file(Path(source))
    if not isinstance(source, Sequence) or not source:
        raise WebDNNError(f"colors: expected a list of colours or a file, found {source!r}")
    return tuple(_color(given, "colors") for given in source)


def word(color: str) -> int:
    """A colour as a pixel: R in the lowest byte."""
    return int.from_bytes(bytes.fromhex(color[1:]), "little")


def _color(given: Any, where: str) -> str:
    if isinstance(given, str):
        match = _HEX.fullmatch(given.strip())
        if match is None:
            raise WebDNNError(f"{where}: {_EXPECTED}, found {given!r}")
        digits = match[1].lower()
        digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
        return f"#{digits}" if len(digits) == 8 else f"#{digits}ff"
    if (
        not isinstance(given, Sequence)
        or len(given) not in (3, 4)
        or not all(isinstance(v, int) and 0 <= v <= 255 for v in given)
    ):
        raise WebDNNError(f"{where}: {_EXPECTED} or [255, 136, 0], found {given!r}")
    return "#" + bytes([*given, 255][:4]).hex()


def _read_file(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > LARGEST:
            raise WebDNNError(f"{path}: expected a file of colours, found one of over 1 MB")
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise WebDNNError(
            f"colors: expected colours as #ff8800,#0088ff or a file with one a line; "
            f"{str(path)!r} is neither"
        ) from None
    except OSError as error:
        raise WebDNNError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WebDNNError(f"{path}: expected colours, one a line; found no text") from None
    if text.lstrip()[:1] == "[":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise WebDNNError(f"{path}: expected a JSON list, as it begins with [") from None
        if not found:
            raise WebDNNError(f"{path}: expected colours, found none")
        return tuple(_color(given, f"{path}, colour {k}") for k, given in enumerate(found))
    lines = text.rstrip().splitlines()
    if not lines:
        raise WebDNNError(f"{path}: expected colours, one a line; found none")
    return tuple(_color(line, f"{path}, line {k}") for k, line in enumerate(lines, 1))


__all__ = ["is_color", "palette", "read_colors", "word"]
