"""Errors that a user of WebDNN can cause; every other exception is a bug of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# What steers a terminal, turns text around, or cannot be written: all controls but tab and line
# feed, those of bidirectional text, line separators, and halves of surrogate pairs.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_FOUND = re.compile(r"\?\d+\.\d+\.\d+")  # a length that only a run finds: `ops.counted`
_ENDLESS = re.compile(r"\S{400,}")  # a name or a number that nobody reads


def printable(text: str) -> str:
    """Text with escapes in place of control characters, which names in a model's file may hold."""
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


class WebDNNError(Exception):
    """A user's mistake or an input that WebDNN cannot take.

    The message says what was expected, what was found, where, and what to do next. The command line
    prints it without a traceback.
    """

    def __str__(self) -> str:
        whole = _FOUND.sub("?", super().__str__())
        whole = _ENDLESS.sub(lambda m: f"{m[0][:120]}…{m[0][-40:]}", whole)
        return printable(whole)

    def say(self, message: str) -> None:
        """Gives the error another message; whoever does so raises it again."""
        self.args = (message,)

    def at(self, place: str) -> None:
        """Puts the place where the error was met before its message."""
        self.say(f"{place}: {self}")


class ModelError(WebDNNError):
    """The model file is broken, truncated or not of the expected format."""


class UnsupportedError(WebDNNError):
    """The model is valid but needs something that WebDNN lacks (operator, dtype, shape, limit)."""


class DimensionError(WebDNNError):
    """A dimension is missing, out of range or contradicts another one.

    The message is the problem and, where one is known, the advice: what to give with --dim.
    """

    def __init__(self, problem: str, advice: str = ""):
        super().__init__(f"{problem}. {advice}" if advice else problem)
        self.problem, self.advice = problem, advice

    def say(self, message: str) -> None:
        super().say(message)
        self.problem, self.advice = message, ""


class SizesDifferError(ModelError, ValueError):
    """Two sizes that must be equal are not, or not at all sizes that dimensions may have.

    `sizes` are the two: numbers (also of axes), or expressions over dimensions. `place` is what
    needs it.
    """

    def __init__(self, message: str, a: Any, b: Any):
        super().__init__(message)
        self.sizes, self.place = (a, b), ""

    def at(self, place: str) -> None:
        self.place = self.place or place
        super().at(place)


class NumbersNeededError(DimensionError, UnsupportedError):
    """Dimensions must be numbers; `names` are those of the ones that are not."""

    def __init__(self, message: str, names: Iterable[str]):
        super().__init__(message)
        self.names = tuple(names)


class TooSmallError(DimensionError):
    """A size is negative where dimensions are smallest; `names` are those dimensions'."""

    def __init__(self, message: str, names: Iterable[str]):
        super().__init__(message)
        self.names = tuple(names)
