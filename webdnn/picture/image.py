"""Preprocessing that is compiled in, so that a page hands over nothing but a picture.

>>> spec = parse("rgb,resize=256,crop=224,mean=0.485,0.456,0.406,std=0.229,0.224,0.225")
>>> spec.resize, spec.crop, spec.mean
(256, (224, 224), (0.485, 0.456, 0.406))

Each side does what it does best. The runner turns whatever the page holds into RGBA
pixels of the right size (`runner/src/picture/`). The compiled graph does the rest: its input is
`u32 [H, W]`, one pixel a word as canvases lay them out; channels, scale, mean, deviation and layout
are expressions over it and fuse into the first kernels like any other arithmetic.

Both halves are also read in numpy here, exactly: `Picture.pixels` is what the runner computes, to
the last bit, and `Picture.values` what the model was trained to see. `webdnn check` feeds its
reference with them.

The grammar and its meaning for users: docs/preprocessing.md. The limits: one picture a run (a batch
of one), 8 bits a channel, one filter (triangle, antialiased; Pillow's `BILINEAR`).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from ..expr import Dim, Expr
from ..graph import DTYPES, FLOATS, Graph, Value, constant, placeholder, rewrite, type_text
from .grammar import by_channel, check_scale, head_of, listed, number, one_of, split, whole
from .resample import Pixels, fitted, on_white, resized

CHANNELS: Mapping[str, int] = {"rgb": 3, "bgr": 3, "gray": 1, "rgba": 4}
FITS = ("stretch", "contain", "cover")
RESAMPLES = ("exact", "fast")
LAYOUTS = ("nhwc", "nchw")
LARGEST = 16384  # of a picture's side: what browsers' canvases take

Size = tuple[int, int]  # width, height
_KEYS = (
    *("resize", "longest", "multiple", "fit", "pad", "crop", "resample"),
    *("scale", "mean", "std", "layout"),
)


@dataclass(frozen=True)
class ImageInput:
    """How a picture becomes a model's input. Sizes are in pixels; (width, height) where there are
    two.

    channels: "rgb", "bgr", "gray" or "rgba". resize: a size to which the picture is brought by
    `fit`; with `crop`, one number is the length of the shorter side. longest: the longer side is
    made at most so long. multiple: of which both sides are made multiples. pad: the colour (r, g,
    b) around a picture that `fit="contain"` makes. crop: the middle that is taken. resample:
    "exact", or "fast": the browser halves what is much too large first. Each value is
    (pixel · scale − mean) / std, with the pixel in 0..255 and one mean and deviation for all or for
    each channel; `scale` is 1/255 where the model takes floating-point numbers, else 1. layout:
    "nhwc" or "nchw", where the model's shape alone does not tell.

    Raises WebDNNError for what cannot be meant.
    """

    channels: str = "rgb"
    resize: int | Size | None = None
    longest: int | None = None
    multiple: int = 1
    fit: str = "stretch"
    pad: tuple[int, ...] = (0, 0, 0)
    crop: int | Size | None = None
    resample: str = "exact"
    scale: float | None = None
    mean: float | tuple[float, ...] = (0.0,)
    std: float | tuple[float, ...] = (1.0,)
    layout: str | None = None

    def __post_init__(self) -> None:
        one_of("channels", self.channels, tuple(CHANNELS))
        one_of("fit", self.fit, FITS)
        one_of("resample", self.resample, RESAMPLES)
        if self.layout is not None:
            one_of("layout", self.layout, LAYOUTS)
        count = CHANNELS[self.channels]
        for key in ("mean", "std"):
            values = by_channel(key, getattr(self, key), self.channels, count)
            object.__setattr__(self, key, values)
        if 0 in cast("tuple[float, ...]", self.std):
            raise WebDNNError("std: expected numbers other than 0, by which values are divided")
        check_scale(self.scale)
        for key in ("resize", "crop"):
            _check_size(key, getattr(self, key))
        if isinstance(self.crop, int):
            object.__setattr__(self, "crop", (self.crop, self.crop))
        for key, lowest in (("longest", 1), ("multiple", 1)):
            number = getattr(self, key)
            if number is not None and not lowest <= number <= LARGEST:
                raise WebDNNError(f"{key}: expected {lowest}..{LARGEST}, found {number}")
        pad = self.pad if isinstance(self.pad, Sequence) else (self.pad,)
        if len(pad) not in (1, 3) or not all(0 <= v <= 255 for v in pad):
            raise WebDNNError(f"pad: expected 1 or 3 numbers in 0..255, found {listed(pad)}")
        object.__setattr__(self, "pad", tuple(int(v) for v in (pad * 3 if len(pad) == 1 else pad)))
        self._check_sizes_agree()

    def _check_sizes_agree(self) -> None:
        if self.longest is not None and (self.resize is not None or self.crop is not None):
            raise WebDNNError("longest: leaves the size open, but resize or crop fixes it")
        if self.multiple != 1 and (self.resize is not None or self.crop is not None):
            raise WebDNNError("multiple: is for sizes that stay open, but resize or crop fixes it")
        if self.crop is not None and self.fit != "stretch":
            raise WebDNNError(
                f"fit={self.fit}: crop takes the middle of a resized picture, whose shorter side "
                "is resize=S; leave out crop or fit (fit=cover crops, too)"
            )
        if self.crop is not None and self.resize is not None:
            crop, resize = cast(Size, self.crop), _pair(self.resize)
            if crop[0] > resize[0] or crop[1] > resize[1]:
                raise WebDNNError(
                    f"crop={_x(crop)}: expected at most resize={_x(resize)}, of which it is a part"
                )

    @property
    def shorter(self) -> int | None:
        """The length of the shorter side, where `resize` and `crop` mean that."""
        return self.resize if isinstance(self.resize, int) and self.crop is not None else None

    @property
    def size(self) -> Size | None:
        """The size that every picture ends with, if it is fixed."""
        if self.crop is not None:
            return cast(Size, self.crop)
        return None if self.resize is None else _pair(self.resize)


def _pair(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


def _x(size: Sequence[Any]) -> str:
    return "×".join(map(str, size))


def _check_size(key: str, size: int | Size | None) -> None:
    sides = () if size is None else _pair(size)
    if any(not isinstance(n, int) or not 1 <= n <= LARGEST for n in sides) or len(sides) not in (
        0,
        2,
    ):
        raise WebDNNError(f"{key}: expected sides of 1..{LARGEST} pixels, found {_x(sides)}")


# ---- the grammar of the command line -------------------------------------------------------------


def named(text: str) -> tuple[str | None, str] | None:
    """("image", "rgb,resize=224") of `image:rgb,resize=224`; None if this is no such text.

    The name may hold colons, and may be left out: then it is None.
    """
    return head_of(text, tuple(CHANNELS))


def parse(text: str) -> ImageInput:
    """The specification `rgb,resize=224,mean=0.5,std=0.5`; numbers after a comma continue a list.

    Raises WebDNNError that says what was expected.
    """
    first, texts = split(text, tuple(CHANNELS), _KEYS, ("mean", "std", "pad"))
    options: dict[str, Any] = {"channels": first}
    for key, values in texts.items():
        if key in ("fit", "resample", "layout"):
            options[key] = values[0]
        elif key in ("resize", "crop"):
            options[key] = _size(key, values[0])
        elif key in ("longest", "multiple"):
            options[key] = whole(key, values[0])
        elif key == "pad":
            options[key] = tuple(whole(key, value) for value in values)
        elif key == "scale":
            options[key] = number(key, values[0])
        else:
            options[key] = tuple(number(key, value) for value in values)
    return ImageInput(**options)


def _size(key: str, text: str) -> int | Size:
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    if match is None:
        raise WebDNNError(f"{key}: expected a size as 224 or 320x240 (width first), found {text!r}")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


# ---- in the graph --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """An image input of one graph: its specification with everything settled.

    `shape` and `dtype` are those of the model's own input, `width` and `height` those of the
    pixels; `axes` are where the channels, height and width lie in `shape` (None: no channel axis).
    """

    name: str
    spec: ImageInput
    shape: tuple[Dim, ...]
    dtype: str
    axes: tuple[int | None, int, int]

    @property
    def height(self) -> Dim:
        """Rows of the pixels."""
        return self.shape[self.axes[1]]

    @property
    def width(self) -> Dim:
        """Columns of the pixels."""
        return self.shape[self.axes[2]]

    @property
    def multiple(self) -> int:
        """What sides that are open are multiples of: also of their dimensions' steps."""
        steps = [d.args[3] for d in (self.width, self.height) if isinstance(d, Expr)]
        return math.lcm(self.spec.multiple, *steps)

    def signature(self) -> dict[str, Any]:
        """What model.json says to the runner; docs/descriptor.md."""
        spec = self.spec
        out: dict[str, Any] = {"channels": spec.channels}
        if spec.shorter is not None:
            out["shorter"] = spec.shorter
        elif spec.resize is not None:
            out["resize"] = list(_pair(spec.resize))
        elif spec.crop is None and self.fixed:
            out["resize"] = [self.width, self.height]
        if spec.crop is not None:
            out["crop"] = list(cast(Size, spec.crop))
        out["fit"] = spec.fit
        if spec.longest is not None:
            out["longest"] = spec.longest
        if self.multiple != 1:
            out["multiple"] = self.multiple
        if spec.fit == "contain":
            out["pad"] = list(spec.pad)
        if spec.resample == "fast":
            out["resample"] = "fast"
        return out

    def unpacked(self, pixels: Value) -> Value:
        """The model's own input, computed from `pixels`, u32 [H, W]."""
        spec, count = self.spec, CHANNELS[self.spec.channels]
        deep = ops.reshape(pixels, (*pixels.shape, 1))

        def channel(order: Value) -> Value:
            shifted = ops.shift_right(deep, ops.mul(order, constant(np.uint32(8))))
            return ops.bit_and(shifted, constant(np.uint32(255)))

        if spec.channels == "gray":
            # ITU-R BT.601 in 16 fractional bits, as Pillow converts to "L".
            weights = zip((19595, 38470, 7471), range(3))
            sums = [
                ops.mul(channel(constant(np.uint32(c))), constant(np.uint32(w))) for w, c in weights
            ]
            sum_ = ops.add(ops.add(sums[0], sums[1]), ops.add(sums[2], constant(np.uint32(32768))))
            bytes_ = ops.shift_right(sum_, constant(np.uint32(16)))
        else:
            order = ops.iota((1, 1, count), 2, "u32")
            if spec.channels == "bgr":
                order = ops.sub(constant(np.uint32(2)), order)
            bytes_ = channel(order)
        if self.dtype in FLOATS:
            gain, bias = self._affine()
            values = ops.cast(bytes_, "f32")
            values = ops.mul(values, constant(_shared(gain)))
            if bias.any():
                values = ops.add(values, constant(_shared(bias)))
            values = ops.cast(values, self.dtype)
        else:
            values = ops.cast(bytes_, self.dtype)
        if self.axes[0] is not None and self.axes[0] < self.axes[1]:
            values = ops.transpose(values, (2, 0, 1))
        return ops.reshape(values, self.shape)

    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor and summand of each channel."""
        count = CHANNELS[self.spec.channels]
        mean = np.broadcast_to(np.asarray(self.spec.mean, np.float64), (count,))
        std = np.broadcast_to(np.asarray(self.spec.std, np.float64), (count,))
        scale = 1 / 255 if self.spec.scale is None else self.spec.scale
        return scale / std, -mean / std

    @property
    def fixed(self) -> bool:
        """Whether every picture ends with one size."""
        return isinstance(self.width, int) and isinstance(self.height, int)

    # The numpy reading, for references.

    def read(self, given: NDArray[Any]) -> NDArray[Any]:
        """The model's own input for what a page gives: a picture [h, w, 4], or words [H, W]."""
        if given.ndim == 2:
            pixels = np.ascontiguousarray(given, "<u4").view(np.uint8)
            return self.values(pixels.reshape(*given.shape, 4))
        return self.values(self.pixels(given))

    def example(self, seed: int) -> Pixels:
        """A random picture [h, w, 4] of another size than the model's, coarse and fine."""
        rng = np.random.default_rng([seed, *map(ord, self.name)])
        height, width = (cast(int, d) for d in (self.height, self.width))
        h, w = height * 5 // 4 + 2, width * 4 // 3 + 3
        coarse = rng.random((h // 8 + 1, w // 8 + 1, 4)).repeat(8, 0).repeat(8, 1)[:h, :w]
        out = ((0.8 * coarse + 0.2 * rng.random((h, w, 4))) * 255).astype(np.uint8)
        if self.spec.channels != "rgba":
            out[..., 3] = 255
        return out

    def values(self, pixels: Pixels) -> NDArray[Any]:
        """The model's own input for RGBA pixels [H, W, 4], in the model's shape and dtype."""
        rgb = pixels[..., :3]
        match self.spec.channels:
            case "rgb":
                taken = rgb
            case "bgr":
                taken = rgb[..., ::-1]
            case "rgba":
                taken = pixels
            case _:
                luma = rgb.astype(np.int64) @ np.array([19595, 38470, 7471])
                taken = ((luma + 32768) >> 16)[..., None]
        if self.dtype in FLOATS:
            scale = 1 / 255 if self.spec.scale is None else self.spec.scale
            numbers = (taken * scale - np.asarray(self.spec.mean, np.float64)) / np.asarray(
                self.spec.std, np.float64
            )
        else:
            numbers = np.asarray(taken)
        if self.axes[0] is not None and self.axes[0] < self.axes[1]:
            numbers = numbers.transpose(2, 0, 1)
        sizes = dict(zip(self.axes[1:], pixels.shape[:2]))
        shape = [sizes.get(axis, d) for axis, d in enumerate(self.shape)]
        return numbers.reshape(cast(Any, shape)).astype(DTYPES[self.dtype])

    def pixels(self, picture: Pixels) -> Pixels:
        """RGBA pixels [H, W, 4] of a picture [h, w, 4] as the runner makes them, bit for bit.

        Raises DimensionError where no size in the range of the symbolic dimensions fits.
        """
        height, width = picture.shape[:2]
        alpha = self.spec.channels == "rgba"
        source = picture if alpha else on_white(picture)
        spec = self.signature()
        if "shorter" in spec:
            short = spec["shorter"]
            size = (
                (short, int(short * height / width))
                if width <= height
                else (int(short * width / height), short)
            )
            source = resized(source, size, alpha=alpha)
        elif "resize" in spec:
            source = fitted(source, spec["resize"], spec["fit"], self.spec.pad, alpha)
        elif "crop" not in spec:
            size = self.open_size(width, height)
            source = fitted(source, size, spec["fit"], self.spec.pad, alpha)
        if "crop" in spec:
            (w, h), (had_h, had_w) = spec["crop"], source.shape[:2]
            if w > had_w or h > had_h:
                raise DimensionError(
                    f"input {self.name!r}: expected a picture of at least {w}×{h}, "
                    f"found {had_w}×{had_h}"
                )
            x, y = round((had_w - w) / 2), round((had_h - h) / 2)
            source = source[y : y + h, x : x + w]
        return source

    def open_size(self, width: int, height: int) -> Size:
        """(width, height) within the model's ranges for a picture of this size, whose proportions
        are kept up to rounding."""
        (low_w, high_w), (low_h, high_h) = (_range(d) for d in (self.width, self.height))
        m = self.multiple
        if isinstance(self.width, Expr) and self.width is self.height:
            width = height = max(width, height)
        low = [-(-n // m) * m for n in (low_w, low_h)]
        high = [n // m * m for n in (high_w, high_h)]
        factor = 1.0
        if self.spec.longest is not None:
            factor = min(1.0, self.spec.longest / max(width, height))
        smallest = max(low[0] / width, low[1] / height)
        largest = min(high[0] / width, high[1] / height)
        if smallest > largest:
            raise DimensionError(
                f"input {self.name!r}: expected a picture that scales to {_show(low_w, high_w)} "
                f"by {_show(low_h, high_h)} pixels, found {width}×{height}"
            )
        factor = min(max(factor, smallest), largest)
        sides = [int(n * factor / m + 0.5) * m for n in (width, height)]
        return tuple(min(max(n, a), b) for n, a, b in zip(sides, low, high))  # type: ignore


def _range(d: Dim) -> Size:
    return (d, d) if isinstance(d, int) else (d.args[1], d.args[2])


def _show(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}..{high}"


def _shared(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """One number for all channels where they are equal, else [C]."""
    single = values.astype(np.float32)
    return single[:1].reshape(()) if (single == single[0]).all() else single


def random_words(
    rng: np.random.Generator, shape: tuple[int, ...], channels: str, other: bool = False
) -> NDArray[np.uint32]:
    """Random pixels, one word each; `other` from another distribution, so that averages differ."""
    values = rng.random((*shape, 4), np.float32)
    pixels = ((values**3 if other else values) * 255.99).astype(np.uint8)
    if channels != "rgba":
        pixels[..., 3] = 255
    return pixels.view(np.dtype("<u4"))[..., 0]


def load_raster(file: Path) -> Pixels:
    """A picture [h, w, 4] of a file: .npy of bytes [h, w, 3 or 4], or whatever Pillow reads.

    Raises WebDNNError for what is none, and where Pillow is needed and not installed.
    """
    try:
        if file.suffix == ".npy":
            found = np.load(file, allow_pickle=False)
        else:
            from PIL import Image, ImageOps

            with Image.open(file) as image:
                found = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
    except ImportError:
        raise WebDNNError(f"{file}: reading pictures needs Pillow: pip install pillow") from None
    except (OSError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise WebDNNError(f"{file}: expected a picture or an .npy file: {why}") from None
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] not in (3, 4):
        raise WebDNNError(
            f"{file}: expected uint8 of shape [h, w, 3] or [h, w, 4], "
            f"found {found.dtype} {list(found.shape)}"
        )
    if found.shape[2] == 3:
        found = np.concatenate([found, np.full_like(found[..., :1], 255)], -1)
    return cast(Pixels, np.ascontiguousarray(found))


def settle(spec: ImageInput, value: Value) -> Picture:
    """What `spec` means for a graph's input. Raises WebDNNError where it does not fit."""
    name, count = value.attrs["name"], CHANNELS[spec.channels]
    shown = f"input {name!r} is {type_text(value)}"
    axes = axes_of(spec.channels, spec.layout, value.shape, shown)
    check_batch(value.shape, axes, f"{shown}: an image input takes one picture a run")
    if value.dtype not in FLOATS:
        if value.dtype in ("bool", "i8"):
            raise UnsupportedError(f"{shown}: expected numbers that hold a pixel's 0..255")
        if spec.scale not in (None, 1) or any(spec.mean) or set(spec.std) != {1.0}:  # type: ignore
            raise WebDNNError(
                f"{shown}: integers take pixels as they are, without scale, mean, std"
            )
    picture = Picture(name, spec, value.shape, value.dtype, axes)
    for d in (picture.width, picture.height):
        if isinstance(d, Expr) and d.op != "dim":
            raise UnsupportedError(f"{shown}: expected a plain size for the picture's sides")
    if spec.size is not None and (picture.width, picture.height) != spec.size:
        given = f"{_x(spec.size)} ({'crop' if spec.crop is not None else 'resize'})"
        if isinstance(picture.width, int) and isinstance(picture.height, int):
            wanted = f"{picture.width}×{picture.height} pixels (width × height)"
            raise DimensionError(f"{shown}: expected {wanted}, found {given}")
        raise DimensionError(
            f"{shown}: found {given} for sides that are open; fix them: "
            f"--dim h={spec.size[1]} w={spec.size[0]}"
        )
    if spec.size is None and isinstance(picture.width, int) and isinstance(picture.height, int):
        for key in ("longest", "multiple"):
            if getattr(spec, key) != ImageInput.__dataclass_fields__[key].default:
                raise DimensionError(
                    f"{shown}: {key} is for sides that are open; these are fixed. "
                    "Leave it out: pictures are resized to the model's size"
                )
    for d in (picture.width, picture.height):
        low, high = _range(d)
        if isinstance(d, Expr) and low % d.args[3]:
            raise DimensionError(
                f"{shown}: the sides of pictures are made multiples of the step, but "
                f"--dim {d}={low}..{high}:{d.args[3]} are others"
            )
        if not picture.fixed and high // picture.multiple * picture.multiple < low:
            raise DimensionError(
                f"{shown}: no multiple of {picture.multiple} lies in {_show(low, high)}"
            )
    assert count == (1 if axes[0] is None else value.shape[axes[0]])
    return picture


def check_batch(shape: Sequence[Dim], axes: Container[int | None], shown: str) -> None:
    """Raises DimensionError, which begins with `shown`, where other axes hold several pictures."""
    found = next((d for axis, d in enumerate(shape) if axis not in axes and d != 1), None)
    if found is not None:
        raise DimensionError(
            f"{shown}; expected a batch of 1, found "
            f"{found if isinstance(found, int) else 'an open size'}. Fix it with --dim"
        )


def axes_of(
    channels: str, layout: str | None, shape: tuple[Dim, ...], shown: str
) -> tuple[int | None, int, int]:
    """Where channels (None: no such axis), height and width lie in the shape of a picture.

    Raises DimensionError, which calls the tensor `shown`, where it is none or could be either.
    """
    count, rank = CHANNELS[channels], len(shape)
    if rank == 2 and count == 1:
        return None, 0, 1
    if rank not in (3, 4):
        raise DimensionError(
            f"{shown}: expected the shape of a picture, [1, {count}, h, w] or [1, h, w, {count}]"
        )
    at = {"nchw": (rank - 3, rank - 2, rank - 1), "nhwc": (rank - 1, rank - 3, rank - 2)}
    fitting = [one for one in LAYOUTS if shape[at[one][0]] == count]
    axis = {one: at[one][0] for one in LAYOUTS}
    if layout is not None and layout not in fitting:
        raise DimensionError(
            f"{shown}: expected {count} channels ({channels}) on axis {axis[layout]} "
            f"(layout={layout}), found {_dim_text(shape[axis[layout]])}"
            + (f"; it fits layout={fitting[0]}" if fitting else "")
        )
    if not fitting:
        raise DimensionError(
            f"{shown}: expected {count} channels ({channels}) on axis {axis['nchw']} (nchw) "
            f"or {axis['nhwc']} (nhwc), found {_dim_text(shape[axis['nchw']])} and "
            f"{_dim_text(shape[axis['nhwc']])}"
        )
    if layout is None and len(fitting) > 1:
        raise DimensionError(f"{shown}: could be nchw or nhwc; add layout=nchw or layout=nhwc")
    return at[layout or fitting[0]]


def _dim_text(d: Dim) -> str:
    return str(d) if isinstance(d, int) else str(d.args[0] if d.op == "dim" else d)


def read_specs(inputs: str | ImageInput | Mapping[Any, Any] | None) -> dict[str | None, ImageInput]:
    """The specifications by input name, from what `transpile` takes; None: the only input."""
    if isinstance(inputs, (str, ImageInput)):
        inputs = {None: inputs}
    out: dict[str | None, ImageInput] = {}
    if not isinstance(inputs, Mapping | None):
        raise WebDNNError(
            f"inputs: expected a text as 'rgb,resize=224', an ImageInput, or these by the names of "
            f"inputs; found {type(inputs).__name__}"
        )
    for name, given in (inputs or {}).items():
        label = "--input" if name is None else f"input {name!r}"
        try:
            out[name] = parse(given) if isinstance(given, str) else given
        except WebDNNError as error:
            raise WebDNNError(f"{label}: {error}") from None
        if not isinstance(out[name], ImageInput):
            raise WebDNNError(
                f"{label}: expected a text as 'rgb,resize=224' or an ImageInput, "
                f"found {type(given).__name__}"
            )
    return out


def compile_images(
    graph: Graph, specs: Mapping[str | None, ImageInput]
) -> tuple[Graph, dict[str, Picture]]:
    """The graph that takes pixels instead, and its pictures by input name.

    Raises WebDNNError where a specification does not fit the graph's input.
    """
    found = {v.attrs["name"]: v for v in graph.inputs}
    pictures: dict[str, Picture] = {}
    replaced: dict[Value, Value] = {}
    pixels: dict[Value, Value] = {}
    for name, spec in specs.items():
        if name is None and len(found) != 1:
            raise WebDNNError(
                f"--input: the model has several inputs ({', '.join(found)}); "
                f"say which: --input NAME:{spec.channels},…"
            )
        value = next(iter(found.values())) if name is None else found.get(name)
        if value is None:
            raise ModelError(f"input {name!r}: the model's inputs are {', '.join(found)}")
        picture = settle(spec, value)
        if picture.name in pictures:
            raise WebDNNError(f"input {picture.name!r} is given twice")
        pictures[picture.name] = picture
        words = placeholder(picture.name, (picture.height, picture.width), "u32")
        pixels[value] = words
        replaced[value] = picture.unpacked(words)
    if not replaced:
        return graph, pictures

    def from_pixels(v: Value, uses: Mapping[Value, int]) -> Value | None:
        return replaced.get(v)

    out = rewrite(graph, [from_pixels])
    inputs = tuple(pixels.get(v, v) for v in graph.inputs)
    return dataclasses.replace(out, inputs=inputs), pictures


__all__ = ["ImageInput", "Picture", "compile_images", "named", "parse", "read_specs"]
