"""Zero padding before a convolution is the convolution's own: conv(pad(x, 0)) -> conv(x, pads)."""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..graph import Rule, Value


def pad_into_conv(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """conv(pad(x, by (0, t, l, 0) and (0, b, r, 0)), pads) -> conv(x, pads + (t, l, b, r))"""
    if v.op != "conv" or v.inputs[0].op != "pad" or v.inputs[0].attrs["value"] != 0:
        return None
    padded, w = v.inputs
    before, after = padded.attrs["before"], padded.attrs["after"]
    if not all(isinstance(p, int) for p in (*before, *after)) or any(
        (before[0], after[0], before[3], after[3])
    ):
        return None
    top, left, bottom, right = v.attrs["pads"]
    pads = (top + before[1], left + before[2], bottom + after[1], right + after[2])
    return ops.conv(padded.inputs[0], w, **{**v.attrs, "pads": pads})


RULES: tuple[Rule, ...] = (pad_into_conv,)

__all__ = ["RULES"]
