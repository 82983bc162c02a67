"""Which axes of a Caffe net's inputs are open, and what they are called.

A prototxt declares every size. Its batch (often 10) is seldom what a page wants: the first axis of
the inputs is the open dimension `batch`, 1 unless `dims` says otherwise, wherever no layer works
along that axis. Other axes are as declared, unless `dims` asks for them: an image's `h` and `w`,
and of a recurrent net `time` and `batch`, the first two axes of its sequences. INPUT.AXIS is any
axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..dims import Declared, Given
from .phase import Step
from .text import Message

RECURRENT: Mapping[str, int] = {"LSTM": 2, "RNN": 1}  # how many states each has


@dataclass
class Input:
    """A blob that the page gives, as declared: an axis that the prototxt leaves open is None."""

    name: str
    shape: list[int | None]
    declared: bool = True  # by name, not by a layer that reads data


def open_axes(
    inputs: Sequence[Input], steps: Sequence[Step], fixed: set[str], dims: Given
) -> tuple[list[Declared], list[str]]:
    """The inputs with what is open in them, and notes; `fixed`: constants among the blobs."""
    size = inputs[0].shape[0] if inputs[0].shape else None
    asked = [k for k in dims if "batch".startswith(k.lower()) or k.lower() == "n"]
    holder = _keeps_batch(steps, fixed)
    times = _times(inputs, steps)
    notes = []
    batched = [i for i in inputs if len(i.shape) > 1 and i.shape[0] == size and not times]
    is_open = bool(batched) and (holder is None or bool(asked) or size is None)
    if is_open and size is not None and size > 1 and not asked:
        notes.append(f"the prototxt declares a batch of {size}")
    if holder is not None and not asked and size is not None and size > 1:
        notes.append(
            f"the first axis stays {size} as declared, because {holder.label} works along it"
        )
    if holder is not None and is_open and asked:
        notes.append(f"{holder.label} works along the first axis: check its top")
    out = []
    for i in inputs:
        shape: list[int | str | None] = list(i.shape)
        if is_open and any(i is b for b in batched):
            shape[0] = "batch"
        for axis, name in times.get(i.name, {}).items():
            if name in dims or (name == "batch" and asked):
                shape[axis] = name
        for axis in range(len(shape)):
            keys = {f"{i.name}.{axis}", f"{i.name}_{axis}"}
            if len(shape) == 4 and axis > 1:
                keys |= {"h", "height"} if axis == 2 else {"w", "width"}
            if any(k in keys or k.lower() in keys for k in dims) and isinstance(shape[axis], int):
                shape[axis] = None
        out.append(Declared(i.name, "f32", tuple(shape)))
    return out, notes


def _times(inputs: Sequence[Input], steps: Sequence[Step]) -> dict[str, dict[int, str]]:
    """Which axes of the inputs of a recurrent net are `time` and `batch`.

    The markers of a recurrent layer are [time, batch]; so is the beginning of whatever else is
    declared with these two sizes. Static inputs are [batch, ...], states [1, batch, ...].
    """
    shapes = {i.name: i.shape for i in inputs}
    out: dict[str, dict[int, str]] = {}
    for s in steps:
        if s.type not in RECURRENT or len(s.takes) < 2 or len(shapes.get(s.takes[1], [])) != 2:
            continue
        both = shapes[s.takes[1]]
        exposed = s.message.child("recurrent_param").flag("expose_hidden") * RECURRENT[s.type]
        for name, shape in shapes.items():
            if shape[:2] == both:
                out[name] = {0: "time", 1: "batch"}
        rest = s.takes[2:]
        for k, name in enumerate(rest):
            state = k >= len(rest) - exposed
            if name in shapes and len(shapes[name]) > state and name not in out:
                out[name] = {int(state): "batch"}
    return out


def _keeps_batch(steps: Sequence[Step], fixed: set[str]) -> Step | None:
    """The first layer that works along the first axis, so that the batch stays as declared.

    fixed: the constants among the blobs, whose first axis is as it is.
    """
    for s in steps:
        if fixed.intersection(s.takes) or s.type == "Parameter":
            return s
        m = s.message
        key = {"Convolution": "convolution", "Deconvolution": "convolution"}.get(
            s.type, {"InnerProduct": "inner_product"}.get(s.type, s.type.lower())
        )
        p = m.child(f"{key}_param")
        axis = p.values("axis")[-1][0] if p.values("axis") else None
        match s.type:
            case "LSTM" | "RNN" | "BatchReindex":
                return s
            case "Reshape":
                dims = p.child("shape").values("dim")
                whole = axis in (None, 0) and dims and dims[0][0] != 0
                if whole and not _infers_batch(p):
                    return s
            case "Permute":
                order = p.values("order")
                if order and order[0][0] != 0:
                    return s
            case "Concat" | "Slice":
                old = p.values("concat_dim" if s.type == "Concat" else "slice_dim")
                if axis == 0 or (axis is None and old and old[-1][0] == 0):
                    return s
            case "Reduction":
                if axis in (None, 0):
                    return s
            case (
                "Tile" | "Softmax" | "ArgMax" | "Flatten" | "InnerProduct" | "Crop" | "Reverse"
                | "Convolution" | "Deconvolution"
            ):  # fmt: skip
                if axis == 0 or (s.type == "Reverse" and axis is None):
                    return s
            case "Scale" | "Bias":
                if axis == 0 and len(s.bottoms) == 1:
                    return s
    return None


def _infers_batch(p: Message) -> bool:
    """Whether a reshape of all axes leaves the number of images to be inferred: [-1, ...]."""
    dims = [d for d, _ in p.child("shape").values("dim")]
    return bool(dims) and dims[0] == -1 and not p.values("num_axes")


__all__ = ["Input", "open_axes"]
