"""What every WebGPU device can do: the specification's default limits."""

from __future__ import annotations

from ...schedule.target import Limits

LIMITS = Limits(buffers=8, binding=2**27, groups=65535, invocations=256, workgroup=16384)
