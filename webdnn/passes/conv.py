"""Zero padding becomes a part of the convolution after it: conv(pad(x, 0)) -> conv(x, pads)."""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..expr import Dim
from ..graph import Rule, Value
from ..ops.movement import groups

Uses = Mapping[Value, int]


def pad_into_conv(v: Value, uses: Uses) -> Value | None:
    """conv(pad(x, by (0, t, l, 0) and (0, b, r, 0)), pads) -> conv(x, pads + (t, l, b, r))"""
    if v.op is not ops.CONV or v.inputs[0].op is not ops.PAD or v.inputs[0].attrs["value"] != 0:
        return None
    padded, w = v.inputs
    before, after = padded.attrs["before"], padded.attrs["after"]
    if not all(isinstance(p, int) for p in (*before, *after)):
        return None
    if any((before[0], after[0], before[3], after[3])):
        return None
    top, left, bottom, right = v.attrs["pads"]
    pads = (top + before[1], left + before[2], bottom + after[1], right + after[2])
    return ops.conv(padded.inputs[0], w, **{**v.attrs, "pads": pads})


def pad_before_conv(v: Value, uses: Uses) -> Value | None:
    """conv(reshape(pad(x))) -> conv(pad(reshape(x))) where only axes of size 1 come and go (1-D)"""
    if (
        v.op is not ops.CONV
        or v.inputs[0].op is not ops.RESHAPE
        or v.inputs[0].inputs[0].op is not ops.PAD
    ):
        return None
    seen = v.inputs[0]
    (padded,) = seen.inputs
    (x,) = padded.inputs
    shape: list[Dim] = [1] * seen.rank
    before: list[Dim] = [0] * seen.rank
    after: list[Dim] = [0] * seen.rank
    for left, right in groups(padded.shape, seen.shape):
        long = [k for k in left if x.shape[k] != 1 or padded.shape[k] != 1]
        to = [k for k in right if seen.shape[k] != 1]
        if len(long) > 1 or len(long) != len(to):
            return None
        for k, n in zip(long, to, strict=True):
            shape[n], before[n], after[n] = (
                x.shape[k],
                padded.attrs["before"][k],
                padded.attrs["after"][k],
            )
    moved = ops.pad(ops.reshape(x, shape), before, after, "constant", padded.attrs["value"])
    return v.op(moved, v.inputs[1], **v.attrs)


RULES: tuple[Rule, ...] = (pad_before_conv, pad_into_conv)

__all__ = ["RULES"]
