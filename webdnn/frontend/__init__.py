"""Frontends: one file for each format, its functions named as the format names its operators.

A frontend reads a model and returns the graph with notes on what it decided. Nothing outside this
folder knows a format.
"""

from .onnx import Imported, load

__all__ = ["Imported", "load"]
