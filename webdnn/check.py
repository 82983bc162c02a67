"""Checks, for users: `webdnn.check.check` runs a model in a browser beside its own framework."""

from .browser.check import CheckReport, check

__all__ = ["CheckReport", "check"]
