"""A descriptor in a real browser: serving, checking, timing. Nothing of the compiler needs this."""

from .engine import open_page

__all__ = ["open_page"]
