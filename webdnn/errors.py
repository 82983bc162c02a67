"""Errors that a user of WebDNN can cause; every other exception is a bug of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class WebDNNError(Exception):
    """A user's mistake or an input that WebDNN cannot take.

    The message says what was expected, what was found, where, and what to do next. The command line
    prints it without a traceback.
    """

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
    """A dimension is missing, out of range or contradicts another one."""


class SizesDifferError(ModelError, ValueError):
    """Two sizes that must be equal are not, or not at all sizes that dimensions may have.

    `sizes` are the two: numbers, or expressions over dimensions. `place` is what needs it.
    """

    def __init__(self, message: str, a: Any, b: Any):
        super().__init__(message)
        self.sizes, self.place = (a, b), ""

    def at(self, place: str) -> None:
        self.place = self.place or place
        super().at(place)


class TooSmallError(DimensionError):
    """A size is negative where dimensions are smallest; `names` are those dimensions'."""

    def __init__(self, message: str, names: Iterable[str]):
        super().__init__(message)
        self.names = tuple(names)
