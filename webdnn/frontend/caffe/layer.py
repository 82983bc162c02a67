"""What a layer of a Caffe net offers to the function that builds it, and what many of these share.

    layer.param("pooling_param").integer("kernel_size", 1, low=1)
    layer.blob(0, (64, 3, 7, 7), "the filters")       # a constant; an error where it does not fit

Blobs are NCHW; what needs channels last is wrapped in `arrays.channels_last` and `channels_first`,
which the layout pass removes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ... import ops
from ...errors import ModelError
from ...expr import Dim
from ...graph import Value, type_text
from .. import arrays, windows
from .text import Message
from .weights import Blob

LARGEST_CONSTANT = 2**26  # elements that a layer may compute when the model is transpiled


@dataclass
class Layer:
    """A layer of the net: its definition, the names of its tops, its weights, notes to the user."""

    name: str
    type: str
    message: Message
    tops: tuple[str, ...]
    blobs: Sequence[Blob] = ()
    notes: list[str] = field(default_factory=list)

    def param(self, name: str) -> Message:
        """The layer's parameters of that name; empty where it has none."""
        return self.message.child(name)

    def blob(self, index: int, shape: Sequence[Dim], what: str) -> Value:
        """Blob `index` of the weights as a constant of this shape, f32.

        Axes of size 1 may differ, as old files have four axes in every blob. Raises ModelError
        where the blob is missing or does not fit.
        """
        wanted = [ops.static(d, f"each size of {what}") for d in shape]
        if index >= len(self.blobs):
            raise ModelError(
                f"{what} of shape {wanted} expected as blob {index} of its weights, but the "
                f"weights file has {len(self.blobs)} for it"
            )
        blob = self.blobs[index]
        if [d for d in blob.shape if d != 1] != [d for d in wanted if d != 1]:
            raise ModelError(
                f"{what}: shape {wanted} expected (by the prototxt), {list(blob.shape)} found in "
                f"the weights file (blob {index}). Are these the weights of this net?"
            )
        return ops.reshape(blob.value(), wanted)


def axis_of(p: Message, name: str, default: int, x: Value, extra: int = 0) -> int:
    """An axis parameter, counted from 0; `extra` axes more than the blob has are allowed."""
    return arrays.axis_of(p.integer(name, default), x, extra, name)


def one(xs: Sequence[Value], count: int = 1) -> tuple[Value, ...]:
    """The bottoms, of which there must be `count`."""
    if len(xs) != count:
        raise ModelError(f"{count} bottom{'s' if count > 1 else ''} expected, {len(xs)} found")
    return tuple(xs)


def same_shapes(xs: Sequence[Value]) -> None:
    """Raises ModelError where bottoms differ in shape."""
    first = xs[0]
    for x in xs[1:]:
        if x.rank != first.rank or not all(map(ops.same, x.shape, first.shape)):
            raise ModelError(
                f"bottoms of one shape expected, found {', '.join(map(type_text, xs))}"
            )


def each(p: Message, name: str, rank: int, default: int | None, low: int) -> list[int]:
    """kernel_size, stride, pad or dilation of each spatial axis: one, one each, or _h and _w."""
    short = "kernel" if name == "kernel_size" else name
    if f"{short}_h" in p or f"{short}_w" in p:
        if rank != 2:
            raise ModelError(f"{short}_h and {short}_w of a blob with {rank} spatial axes")
        missing = 0 if default is None else default
        given = [p.integer(f"{short}_{a}", missing, low) for a in "hw"]
        if default is None and not all(given):
            raise ModelError(f"both {short}_h and {short}_w expected")
        return given
    given = p.integers(name, low)
    if not given and default is None:
        raise ModelError(f"{name} is missing")
    return windows.per_axis(given or default, rank, name)


def gathered(x: Value, axis: int) -> Value:
    """x with the axes before `axis` as one: how a layer with an axis of its own sees its batch."""
    return ops.reshape(x, (ops.product(x.shape[:axis]), *x.shape[axis:]))


__all__ = [
    "LARGEST_CONSTANT",
    "Layer",
    "axis_of",
    "each",
    "gathered",
    "one",
    "same_shapes",
]
