"""Targets: each prints the kernels of a program in its own language."""

from collections.abc import Mapping

from ..schedule.target import Target
from . import wasm, webgpu

# By name, in the order in which a page prefers them.
TARGETS: Mapping[str, Target] = {t.name: t for t in (webgpu.HALF, webgpu.TARGET, wasm.TARGET)}

__all__ = ["TARGETS"]
