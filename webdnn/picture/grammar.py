"""The grammar of `--input` and `--output`: a word for the channels, options, lists of numbers.

>>> split("rgb,scale=2/255,mean=1,2,3", ("rgb", "gray"), ("scale", "mean"), ("mean",))
('rgb', {'scale': ['2/255'], 'mean': ['1', '2', '3']})
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ..errors import WebDNNError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def head_of(text: str, words: Sequence[str]) -> tuple[str | None, str] | None:
    """(NAME or None, the rest) of `NAME:WORD,…` or `WORD,…`; None if this is no such text."""
    match = re.fullmatch(rf"(?:(.*):)?({'|'.join(words)})(?:,(.*))?", text, re.DOTALL)
    return None if match is None else (match[1] or None, text[match.start(2) :])


def split(
    text: str, words: Sequence[str], keys: Sequence[str], lists: Sequence[str]
) -> tuple[str, dict[str, list[str]]]:
    """The first word, and the texts of each option: of `lists` several, parted by commas.

    Raises WebDNNError where the word is none of `words`, or an option none of `keys`.
    """
    first, *parts = (part.strip() for part in text.split(","))
    if first not in words:
        raise WebDNNError(f"expected {', '.join(words)} first, found {first!r}")
    texts: dict[str, list[str]] = {}
    key = ""
    for part in parts:
        name, equals, value = part.partition("=")
        if equals:
            key = name.strip()
            if key not in keys:
                raise WebDNNError(f"unknown option {key!r}; the options are {', '.join(keys)}")
            if key in texts:
                raise WebDNNError(f"{key} is given twice")
            texts[key] = [value.strip()]
        elif key in lists:
            texts[key].append(part)
        else:
            raise WebDNNError(f"expected OPTION=VALUE, found {part!r}")
    return first, texts


def whole(key: str, text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"\d+", text):
        raise WebDNNError(f"{key}: expected a whole number, found {text!r}")
    return int(text)


def number(key: str, text: str) -> float:
    """A number or a fraction of two."""
    above, slash, below = text.partition("/")
    if not _NUMBER.fullmatch(above) or (slash and not _NUMBER.fullmatch(below)):
        raise WebDNNError(f"{key}: expected a number as 0.5 or 1/255, found {text!r}")
    if slash and float(below) == 0:
        raise WebDNNError(f"{key}: {text} divides by zero")
    return float(above) / (float(below) if slash else 1.0)


def listed(values: Sequence[float]) -> str:
    """Numbers with commas."""
    return ", ".join(f"{v:g}" for v in values)


def by_channel(key: str, given: object, channels: str, count: int) -> tuple[float, ...]:
    """One number for all channels, or one for each: finite ones."""
    values = tuple(map(float, given if isinstance(given, Sequence) else (given,)))
    if len(values) not in (1, count):
        expected = "1 number" if count == 1 else f"1 or {count} numbers"
        raise WebDNNError(f"{key}: expected {expected} ({channels}), found {len(values)}")
    if not all(map(math.isfinite, values)):
        raise WebDNNError(f"{key}: expected finite numbers, found {listed(values)}")
    return values


def check_scale(scale: float | None) -> None:
    """Raises WebDNNError for a scale that pixels cannot be multiplied and divided by."""
    if scale is not None and (not math.isfinite(scale) or scale == 0):
        raise WebDNNError(f"scale: expected a number other than 0, found {scale:g}")


def one_of(key: str, found: str, known: Sequence[str]) -> None:
    """Raises WebDNNError for a word that is not known."""
    if found not in known:
        raise WebDNNError(f"{key}: expected {', '.join(known[:-1])} or {known[-1]}, found {found}")


__all__ = ["by_channel", "check_scale", "head_of", "listed", "number", "one_of", "split", "whole"]
