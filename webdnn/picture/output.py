"""Pictures that a model draws: an output becomes pixels that lie as a canvas wants them.

>>> parse("rgb,mean=0.5,std=0.5").scale is None
True
>>> parse("mask,colors=#000,#f80").colors
('#000000ff', '#ff8800ff')

The mirror of `image.py`: what `--input` does to a pixel, the same options of `--output` undo. The
output becomes `u32 [H, W]`, RGBA with R in the lowest byte, by expressions that fuse into the
kernels that compute it. A `mask` is a picture of classes: of scores that of the best class has its
colour, of a map of class numbers each has its own, and of one number a pixel that is the opacity
of one colour.

`Drawing.pixels` reads the same in numpy, for references; `Drawing.agrees` says where pixels are
what a reference's values make, as exactly as a target computes. The limits: one picture a run (a
batch of one), 8 bits a channel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from ..expr import Dim
from ..graph import FLOATS, Graph, Value, constant, is_counted, type_text
from .colors import is_color, palette, read_colors, word
from .grammar import by_channel, check_scale, head_of, number, one_of, split
from .image import CHANNELS, LAYOUTS, axes_of, check_batch
from .resample import Pixels

KINDS = (*CHANNELS, "mask")
CLASSES = 256  # colours of a map of class numbers, whose classes the model does not count
_KEYS = ("scale", "mean", "std", "colors", "threshold", "layout")
Array = NDArray[Any]


@dataclass(frozen=True)
class ImageOutput:
    """How a model's output becomes a picture.

    channels: "rgb", "bgr", "gray", "rgba" or "mask". A pixel is (value · std + mean) / scale,
    rounded to even and clipped to 0..255, with one mean and deviation for all channels or for each;
    `scale` is 1/255 where the model gives floating-point numbers, else 1. layout: "nhwc" or "nchw",
    where the output's shape alone does not tell. Of masks alone: colors, one for each class, as
    "#ff8800" or (255, 136, 0), with a fourth part for opacity, or the path of a file with one a
    line; threshold, from which on a single number a pixel is the colour as a whole.

    Raises WebDNNError for what cannot be meant.
    """

    channels: str = "rgb"
    scale: float | None = None
    mean: float | tuple[float, ...] = (0.0,)
    std: float | tuple[float, ...] = (1.0,)
    colors: Any = None
    threshold: float | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        one_of("channels", self.channels, KINDS)
        if self.layout is not None:
            one_of("layout", self.layout, LAYOUTS)
        count = CHANNELS.get(self.channels, 1)
        for key in ("mean", "std"):
            values = by_channel(key, getattr(self, key), self.channels, count)
            object.__setattr__(self, key, values)
        check_scale(self.scale)
        for key in ("colors", "threshold"):
            if getattr(self, key) is not None and self.channels != "mask":
                raise WebDNNError(f"{key}: is for mask, found {self.channels}")
        if self.threshold is not None:
            if not np.isfinite(self.threshold):
                raise WebDNNError(f"threshold: expected a number, found {self.threshold:g}")
            if self.scaled:
                raise WebDNNError(
                    "threshold: is compared with the model's own numbers; "
                    "leave out scale, mean, std"
                )
        if self.colors is not None:
            object.__setattr__(self, "colors", read_colors(self.colors))

    @property
    def scaled(self) -> bool:
        """Whether values are other than the model's own."""
        return self.scale is not None or (self.mean, self.std) != ((0.0,), (1.0,))


def named(text: str) -> tuple[str | None, str] | None:
    """("out", "rgb,scale=1") of `out:rgb,scale=1`; None if this is no such text."""
    return head_of(text, KINDS)


def parse(text: str) -> ImageOutput:
    """The specification `rgb,mean=0.5,std=0.5`; what follows a comma continues a list.

    Raises WebDNNError that says what was expected.
    """
    first, texts = split(text, KINDS, _KEYS, ("mean", "std", "colors"))
    options: dict[str, Any] = {"channels": first}
    for key, values in texts.items():
        if key == "layout":
            options[key] = values[0]
        elif key == "colors":
            single = len(values) == 1 and not is_color(values[0])
            options[key] = values[0] if single else values
        elif key in ("scale", "threshold"):
            options[key] = number(key, values[0])
        else:
            options[key] = tuple(number(key, value) for value in values)
    return ImageOutput(**options)


@dataclass(frozen=True)
class Drawing:
    """An image output of one graph: its specification with everything settled.

    `shape` and `dtype` are those of the model's own output, `axes` where the channels (None: no
    such axis), height and width lie in it. `kind` is what a pixel is made of: "levels" of colours,
    the "opacity" of one, "scores" of classes or the number of one of the "classes".
    """

    name: str
    spec: ImageOutput
    shape: tuple[Dim, ...]
    dtype: str
    axes: tuple[int | None, int, int]
    kind: str

    @property
    def size(self) -> tuple[Dim, Dim]:
        """Rows and columns."""
        return self.shape[self.axes[1]], self.shape[self.axes[2]]

    @property
    def count(self) -> int:
        """The number of channels."""
        return 1 if self.axes[0] is None else cast(int, self.shape[self.axes[0]])

    @cached_property
    def colors(self) -> tuple[str, ...]:
        """Of a mask, as #rrggbbaa."""
        if self.spec.colors is not None:
            return cast("tuple[str, ...]", self.spec.colors)
        if self.kind == "opacity":
            return ("#ffffffff",)
        return palette(self.count if self.kind == "scores" else CLASSES)

    def signature(self) -> dict[str, Any]:
        """What model.json says to the page; docs/descriptor.md."""
        out: dict[str, Any] = {"channels": self.spec.channels}
        if self.spec.channels == "mask":
            out["colors"] = list(self.colors)
        return out

    def _affine(self, channel: int) -> tuple[float, float, int]:
        """Factor, summand and upper bound of a channel's levels."""

        def of(values: Any) -> float:
            return float(values[channel if len(values) > 1 else 0])

        default = 1 / 255 if self.dtype in FLOATS else 1.0
        scale = default if self.spec.scale is None else self.spec.scale
        # A colour that is not opaque is so much less.
        most = word(self.colors[0]) >> 24 if self.kind == "opacity" else 255
        part = most / 255 / scale
        return of(self.spec.std) * part, of(self.spec.mean) * part, most

    @cached_property
    def _words(self) -> NDArray[np.uint32]:
        """The classes' pixels; of a map of class numbers, then one for all others."""
        rest = [0] if self.kind == "classes" else []
        return np.array([*map(word, self.colors), *rest], np.uint32)

    def packed(self, value: Value) -> Value:
        """The pixels, u32 [H, W], of the model's own output."""
        axis = self.axes[0]
        if self.kind == "scores":
            best = ops.reshape(ops.reduce(value, "argmax", [cast(int, axis)]), self.size)
            return ops.gather(constant(self._words), best)
        planes = [
            ops.reshape(value if axis is None else ops.slice_axis(value, axis, c, 1), self.size)
            for c in range(self.count)
        ]
        if self.kind == "classes":
            # Of a negative number as of one that is too large, the last: transparent.
            last = constant(np.uint32(len(self._words) - 1))
            at = ops.min_(ops.cast(ops.cast(planes[0], "i32"), "u32"), last)
            return ops.gather(constant(self._words), ops.cast(at, "i32"))
        if self.kind == "opacity":
            color = word(self.colors[0])
            if self.spec.threshold is not None:
                bound = ops.cast(constant(np.float32(self.spec.threshold)), self.dtype)
                drawn, none = (constant(np.uint32(c)) for c in (color, 0))
                return ops.where(ops.greater_equal(planes[0], bound), drawn, none)
            rgb = constant(np.uint32(color & 0xFFFFFF))
            return ops.add(_shifted(self._level(planes[0], 0), 24), rgb)
        levels = [self._level(plane, c) for c, plane in enumerate(planes)]
        opaque = constant(np.uint32(255 << 24))
        if self.spec.channels == "gray":
            return ops.add(ops.mul(levels[0], constant(np.uint32(0x10101))), opaque)
        r, g, b = levels[2::-1] if self.spec.channels == "bgr" else levels[:3]
        alpha = _shifted(levels[3], 24) if self.spec.channels == "rgba" else opaque
        return ops.add(ops.add(r, _shifted(g, 8)), ops.add(_shifted(b, 16), alpha))

    def _level(self, plane: Value, channel: int) -> Value:
        """A channel's levels, u32."""
        gain, bias, most = self._affine(channel)
        if self.dtype in FLOATS:
            value = ops.mul(ops.cast(plane, "f32"), constant(np.float32(gain)))
            if bias:
                value = ops.add(value, constant(np.float32(bias)))
            found = ops.cast(ops.round_(value), "u32")  # below 0 and NaN become 0
        else:
            narrow = "u32" if self.dtype in ("u32", "u64") else "i32"
            found = ops.cast(plane, narrow)
            if narrow == "i32":
                found = ops.cast(ops.max_(found, constant(np.int32(0))), "u32")
        return ops.min_(found, constant(np.uint32(most)))

    # The numpy reading, for references.

    def _planes(self, values: Array) -> Array:
        """The model's own output as [H, W, C]."""
        axis, row, column = self.axes
        last = [] if axis is None else [axis]
        batch = [k for k in range(values.ndim) if k not in self.axes]
        moved = values.transpose([*batch, row, column, *last])
        return cast(Array, moved.reshape(values.shape[row], values.shape[column], -1))

    def _levels(self, planes: Array) -> Array:
        gain, bias, most = np.array([self._affine(c) for c in range(self.count)]).T
        exact = np.nan_to_num(planes.astype(np.float64) * gain + bias, nan=0.0)
        return np.rint(np.clip(exact, 0, most)).astype(np.uint8)

    def pixels(self, values: Array) -> Pixels:
        """RGBA pixels [H, W, 4] of what the model gives, in its shape and dtype."""
        planes = self._planes(values)
        if self.kind == "scores":
            return _bytes(self._words[planes.argmax(-1)])
        if self.kind == "classes":
            at, last = planes[..., 0].astype(np.int64), len(self._words) - 1
            return _bytes(self._words[np.where((at < 0) | (at > last), last, at)])
        if self.kind == "opacity":
            out = _bytes(np.full(planes.shape[:2], word(self.colors[0]), np.uint32))
            if self.spec.threshold is not None:
                return np.where(planes >= self.spec.threshold, out, np.uint8(0))
            return np.concatenate([out[..., :3], self._levels(planes)], -1)
        levels = self._levels(planes)
        if self.spec.channels == "bgr":
            levels = levels[..., ::-1]
        if self.spec.channels == "gray":
            levels = levels.repeat(3, -1)
        if self.spec.channels != "rgba":
            levels = np.concatenate([levels, np.full_like(levels[..., :1], 255)], -1)
        return levels

    def agrees(self, found: Pixels, values: Array, tolerance: float) -> NDArray[np.bool_]:
        """Where the pixels `found` [H, W, 4] are what `values` make, [H, W].

        Values may be off by `tolerance` of their largest magnitude: a level by as much, and by 1
        for its rounding; a class may be any whose score is so near to the best.
        """
        planes = self._planes(values).astype(np.float64)
        off = tolerance * float(np.abs(planes[np.isfinite(planes)]).max(initial=0))
        words = np.ascontiguousarray(found).view("<u4")[..., 0]
        if self.kind == "scores":
            near = planes >= planes.max(-1, keepdims=True) - 2 * off
            return cast("NDArray[np.bool_]", (near & (words[..., None] == self._words)).any(-1))
        if self.kind == "opacity" and self.spec.threshold is not None:
            drawn = words == word(self.colors[0])
            low, high = self.spec.threshold - off, self.spec.threshold + off
            value = planes[..., 0]
            same = (drawn & (value >= low)) | (~drawn & (words == 0) & (value < high))
            return cast("NDArray[np.bool_]", same)
        levels = self.levels(tolerance, values)
        differ = np.abs(found.astype(np.int64) - self.pixels(values))
        return cast("NDArray[np.bool_]", (differ <= levels).all(-1))

    def levels(self, tolerance: float, values: Array) -> int:
        """By how many levels of 255 a pixel may be off, where it is not of a class."""
        if self.kind == "classes":
            return 0
        if self.dtype not in FLOATS:
            return 1
        gain = max(abs(self._affine(c)[0]) for c in range(self.count))
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
        return max(1, int(np.ceil(tolerance * largest * gain)))


def _shifted(level: Value, bits: int) -> Value:
    return ops.shift_left(level, constant(np.uint32(bits)))


def _bytes(words: NDArray[np.uint32]) -> Pixels:
    return np.ascontiguousarray(words, "<u4").view(np.uint8).reshape(*words.shape, 4)


def settle(spec: ImageOutput, name: str, value: Value) -> Drawing:
    """What `spec` means for a graph's output. Raises WebDNNError where it does not fit."""
    shown = f"output {name!r} is {type_text(value)}"
    if is_counted(value.shape):
        raise UnsupportedError(f"{shown}: only a run finds its size, which a picture's must not be")
    if spec.channels == "mask":
        axes = _mask_axes(spec, value.shape, shown)
    else:
        axes = axes_of(spec.channels, spec.layout, value.shape, shown)
    check_batch(value.shape, axes, f"{shown}: an image output gives one picture a run")
    kind = "levels"
    if spec.channels == "mask":
        single = axes[0] is None or value.shape[axes[0]] == 1
        alone = "opacity" if value.dtype in FLOATS else "classes"
        kind = alone if single else "scores"
    drawing = Drawing(name, spec, value.shape, value.dtype, axes, kind)
    if kind == "levels" and value.dtype in ("bool", "i8"):
        raise UnsupportedError(f"{shown}: expected numbers that hold a pixel's 0..255")
    if spec.scaled and (kind in ("scores", "classes") or value.dtype not in FLOATS):
        why = "classes have colours" if spec.channels == "mask" else "integers are pixels"
        raise WebDNNError(f"{shown}: {why} as they are, without scale, mean, std")
    if spec.threshold is not None and kind != "opacity":
        are = f"{drawing.count} classes" if kind == "scores" else "class numbers"
        raise WebDNNError(f"{shown}: threshold is for one number a pixel, found {are}")
    expected = {"opacity": 1, "scores": drawing.count}.get(kind)
    if spec.colors is not None and expected not in (None, len(spec.colors)):
        what = "1 colour, whose opacity it is" if kind == "opacity" else f"{expected} colors"
        raise WebDNNError(f"{shown}: expected {what}, found {len(spec.colors)}")
    return drawing


def _mask_axes(
    spec: ImageOutput, shape: tuple[Dim, ...], shown: str
) -> tuple[int | None, int, int]:
    """Where classes (None: no such axis), height and width lie."""
    rank = len(shape)
    if rank == 2:
        return None, 0, 1
    if rank not in (3, 4):
        raise DimensionError(
            f"{shown}: expected the shape of a mask: [1, classes, h, w], [1, h, w, classes] or "
            "[1, h, w]"
        )
    at = {"nchw": (rank - 3, rank - 2, rank - 1), "nhwc": (rank - 1, rank - 3, rank - 2)}
    counts = {layout: shape[axes[0]] for layout, axes in at.items()}
    fitting = [k for k, d in counts.items() if isinstance(d, int) and spec.layout in (None, k)]
    if not fitting:
        on = "either axis" if spec.layout is None else f"axis {at[spec.layout][0]}"
        raise DimensionError(f"{shown}: expected the number of classes, found an open size on {on}")
    sure = [k for k in fitting if counts[k] == 1][:1]
    if not sure and spec.colors is not None:
        sure = [k for k in fitting if counts[k] == len(spec.colors)]
    if len(sure or fitting) > 1:
        raise DimensionError(f"{shown}: could be nchw or nhwc; add layout=nchw or layout=nhwc")
    return at[(sure or fitting)[0]]


def read_specs(
    outputs: str | ImageOutput | Mapping[Any, Any] | None,
) -> dict[str | None, ImageOutput]:
    """The specifications by output name, from what `transpile` takes; None: the only output."""
    if isinstance(outputs, (str, ImageOutput)):
        outputs = {None: outputs}
    out: dict[str | None, ImageOutput] = {}
    expected = "a text as 'rgb,scale=1' or an ImageOutput"
    if not isinstance(outputs, Mapping | None):
        raise WebDNNError(
            f"outputs: expected {expected}, or these by the names of outputs; found "
            f"{type(outputs).__name__}"
        )
    for name, given in (outputs or {}).items():
        label = "--output" if name is None else f"output {name!r}"
        if not isinstance(given, (str, ImageOutput)):
            raise WebDNNError(f"{label}: expected {expected}, found {type(given).__name__}")
        try:
            out[name] = parse(given) if isinstance(given, str) else given
        except WebDNNError as error:
            raise WebDNNError(f"{label}: {error}") from None
    return out


def compile_outputs(
    graph: Graph, specs: Mapping[str | None, ImageOutput]
) -> tuple[Graph, dict[str, Drawing]]:
    """The graph that gives pixels instead, and its drawings by output name.

    Raises WebDNNError where a specification does not fit the graph's output.
    """
    drawings: dict[str, Drawing] = {}
    names = [name for name in graph.outputs if name not in graph.alarms]
    for name, spec in specs.items():
        if name is None and len(names) != 1:
            raise WebDNNError(
                f"--output: the model has several outputs ({', '.join(names)}); "
                f"say which: --output NAME:{spec.channels},…"
            )
        found = names[0] if name is None else name
        if found not in graph.outputs:
            raise ModelError(f"output {found!r}: the model's outputs are {', '.join(names)}")
        if found in drawings:
            raise WebDNNError(f"output {found!r} is given twice")
        drawings[found] = settle(spec, found, graph.outputs[found])
    if not drawings:
        return graph, drawings
    outputs = {
        name: drawings[name].packed(value) if name in drawings else value
        for name, value in graph.outputs.items()
    }
    return dataclasses.replace(graph, outputs=outputs), drawings


__all__ = ["Drawing", "ImageOutput", "compile_outputs", "named", "parse", "read_specs"]
