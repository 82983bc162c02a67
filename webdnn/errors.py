"""Errors that a user of WebDNN can cause; every other exception is a bug of ours."""

from __future__ import annotations


class WebDNNError(Exception):
    """A user's mistake or an input that WebDNN cannot take.

    The message says what was expected, what was found, where, and what to do next. The command line
    prints it without a traceback.
    """


class ModelError(WebDNNError):
    """The model file is broken, truncated or not of the expected format."""


class UnsupportedError(WebDNNError):
    """The model is valid but needs something that WebDNN lacks (operator, dtype, shape, limit)."""


class DimensionError(WebDNNError):
    """A dimension is missing, out of range or contradicts another one."""
