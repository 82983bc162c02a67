"""ONNX, for users: `webdnn.onnx.register` says what an operator of one's own computes."""

from .frontend.onnx import register

__all__ = ["register"]
