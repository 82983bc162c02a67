"""Patterns of sizes that models leave open: each imports, and is right at five sizes.

Two PyTorch modules hold a pattern an output, so that exporting costs once for all: `anything` runs
at any size, `multiples` only where a skip meets what was halved. Models of ONNX are cases as in
`tests.cases`. All are one program for each target: wasm runs in Node with guard bytes around every
buffer, WebGPU in Chromium through the real runner, and there wasm too where sizes may be 0.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto

from tests.cases import Case, Net, W, f32, i64
from tests.test_cases_browser import write
from tests.test_cases_wasm import values
from tests.wasm_harness import published
from tests.wasm_harness import run as run_program
from webdnn import ops, passes, transpile
from webdnn.browser.check import _ELEMENTS, check, wire
from webdnn.browser.engine import find, open_page
from webdnn.codegen import TARGETS
from webdnn.errors import WebDNNError
from webdnn.expr import Expr, dim, evaluate, lift, substitute
from webdnn.frontend import load
from webdnn.frontend.finish import Imported
from webdnn.frontend.pytorch.module import function
from webdnn.graph import CONST, INPUT, Graph, Value, placeholder
from webdnn.inspect.summary import inspect
from webdnn.schedule.kernel import Program
from webdnn.schedule.lower import lower

HERE = Path(__file__).parent
_F32, _F64, _I64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
Array = Any
Tensor = Any


# ---- modules of PyTorch --------------------------------------------------------------------------


def pad_twice_modulo(x: Tensor) -> Tensor:
    h, w = x.shape[2:]
    y = torch.relu(F.pad(x, (0, (4 - w % 4) % 4, 0, (4 - h % 4) % 4)))
    return y[:, :, :h, :w] + x


def pad_negative_modulo(x: Tensor) -> Tensor:
    return torch.exp(F.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8)))


def swin(x: Tensor, p: int = 4, shift: int = 2) -> Tensor:
    """Shifted windows of a padded picture, and their attention."""
    b, c, h, w = x.shape
    y = F.pad(x, (0, -w % p, 0, -h % p)).permute(0, 2, 3, 1)
    hp, wp = y.shape[1:3]
    y = torch.roll(y, (-shift, -shift), (1, 2))
    y = y.reshape(b, hp // p, p, wp // p, p, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, p * p, c)
    y = (y @ y.transpose(1, 2)).softmax(-1) @ y
    y = y.reshape(b, hp // p, wp // p, p, p, c).permute(0, 1, 3, 2, 4, 5).reshape(b, hp, wp, c)
    return torch.roll(y, (shift, shift), (1, 2))[:, :h, :w].permute(0, 3, 1, 2) + x


def pad_to_another(x: Tensor) -> Tensor:
    """What U-Nets do with odd sizes: the difference to both sides, its larger half at the end."""
    y = F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0)
    dy, dx = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
    return torch.cat([F.pad(y, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2)), x], 1)


def crop_to_another(x: Tensor) -> Tensor:
    """Crops what is larger from both sides, as the first U-Net."""
    y = F.conv2d(x, torch.ones(2, 2, 3, 3) / 9)
    dy, dx = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
    return x[:, :, dy // 2 : dy // 2 + y.shape[2], dx // 2 : dx // 2 + y.shape[3]] - y


def resize_and_back(x: Tensor) -> Tensor:
    h, w = x.shape[2:]
    y = F.interpolate(x, size=(h // 2, (w + 1) // 2), mode="bilinear")
    return F.interpolate(y, size=(h, w), mode="bilinear", align_corners=True) * x


def resize_by_a_fraction(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=0.7, recompute_scale_factor=True)


def odd_column_dropped(x: Tensor) -> Tensor:
    return x[:, :, :, : x.shape[3] // 2 * 2].reshape(1, 2, -1, 2).sum(-1)


def patches_and_positions(x: Tensor) -> Tensor:
    """A ViT's grid of positions, resized to that of the patches, and its class token."""
    y = F.conv2d(x, torch.ones(3, 2, 4, 4) / 16, stride=4)
    grid = F.interpolate(torch.arange(48.0).reshape(1, 3, 4, 4), size=y.shape[2:], mode="bilinear")
    return torch.cat([torch.ones(1, 1, 3), (y + grid).flatten(2).transpose(1, 2)], 1)


def causal(s: Tensor) -> Tensor:
    at = torch.arange(s.shape[1])
    mask = torch.where(at[None] > at[:, None], float("-inf"), 0.0)
    return (s @ s.transpose(1, 2) + mask).softmax(-1) @ s


def reflected_by_half(s: Tensor) -> Tensor:
    n = s.shape[1]
    return F.pad(s.transpose(1, 2), (n // 2, n - 1 - n // 2), mode="reflect")


def overlap_add(s: Tensor) -> Tensor:
    frames = s[:, :, 0].unfold(1, 4, 2)
    folded = F.fold(frames.transpose(1, 2), (1, s.shape[1] // 2 * 2), (1, 4), stride=(1, 2))
    return folded[0, 0]


def chunks_of_a_padded_row(s: Tensor) -> Tensor:
    """Attention within chunks of 5 of a sequence that is padded to whole ones."""
    n = s.shape[1]
    y = F.pad(s, (0, 0, 0, math.ceil(n / 5) * 5 - n)).reshape(-1, 5, 4)
    return ((y @ y.transpose(1, 2)).softmax(-1) @ y).reshape(1, -1, 4)[:, :n]


def vocoder(s: Tensor) -> Tensor:
    """Mel to wave: a source of as many samples as frames times the hop, and two upsamplings."""
    n = s.shape[1]
    pitch = F.interpolate(s[:, None, :, 0], scale_factor=6.0)
    source = torch.sin(torch.cumsum(pitch, -1) + torch.arange(n * 6) * 0.1)
    y = s.transpose(1, 2)
    y = F.conv_transpose1d(y, torch.ones(4, 3, 4) / 7, stride=2, padding=1)
    y = y + F.conv1d(source, torch.ones(3, 1, 6) / 6, stride=3, padding=2)[..., : y.shape[2]]
    y = F.conv_transpose1d(F.leaky_relu(y, 0.1), torch.ones(3, 1, 5) / 4, stride=3, padding=1)
    return torch.tanh(y)[..., : n * 6] + source


def relative_positions(s: Tensor) -> Tensor:
    """Shaw's shift: rows of 2n - 1 become diagonals by padding and reshaping."""
    n = s.shape[1]
    y = F.pad(s[0] @ torch.ones(4, 1) + torch.arange(2 * n - 1) * 0.1, (0, 1)).reshape(-1)
    return F.pad(y, (0, n - 1)).reshape(n + 1, 2 * n - 1)[:n, n - 1 :]


def unshuffled_and_back(x: Tensor) -> Tensor:
    return F.pixel_shuffle(torch.relu(F.pixel_unshuffle(x, 2)), 2) + x


def focus(x: Tensor) -> Tensor:
    parts = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return F.conv2d(torch.cat(parts, 1), torch.ones(3, 8, 1, 1))


def windows_that_divide(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    y = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    y = (y - y.mean(1, keepdim=True)).reshape(b, h // 4, w // 4, 4, 4, c)
    return y.permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


def unet(x: Tensor) -> Tensor:
    """Two strided convolutions down, each (n - 1) // 2 + 1, and their skips on the way up."""
    w = torch.ones(2, 2, 3, 3) / 9
    a = F.conv2d(x, w, stride=2, padding=1)
    b = F.conv2d(a, w, stride=2, padding=1)
    y = torch.cat([F.interpolate(b, scale_factor=2.0), a], 1)
    y = F.conv_transpose2d(y, torch.ones(4, 2, 2, 2) / 8, stride=2)
    return torch.cat([y, x], 1)


def pyramid(x: Tensor) -> Tensor:
    """Features of each level are added to the coarser ones, three levels deep."""
    levels = [x]
    for _ in range(3):
        levels.append(F.max_pool2d(levels[-1], 3, 2, 1))
    y = levels[-1]
    for finer in levels[-2::-1]:
        y = F.interpolate(y, scale_factor=2.0) + finer
    return y


ANY = (
    pad_twice_modulo, pad_negative_modulo, swin, pad_to_another, crop_to_another, resize_and_back,
    resize_by_a_fraction, odd_column_dropped, patches_and_positions, causal, reflected_by_half,
    overlap_add, chunks_of_a_padded_row, vocoder, relative_positions,
)  # fmt: skip
IN_STEPS = (unshuffled_and_back, focus, windows_that_divide, unet, pyramid)


class Patterns(torch.nn.Module):
    """Each pattern of a picture `x` or a sequence `s` is an output of its name."""

    def __init__(self, patterns: tuple[Callable[[Tensor], Tensor], ...]):
        super().__init__()
        self.patterns = patterns

    def forward(self, x: Tensor, s: Tensor) -> dict[str, Tensor]:
        of = {"x": x, "s": s}
        return {p.__name__: p(of[next(iter(p.__annotations__))]) for p in self.patterns}


# ---- models of ONNX ------------------------------------------------------------------------------

CASES: dict[str, Case] = {}
_SIDE = {"h": (5, 40), "w": (5, 40)}
_SIDES = ({"h": 5, "w": 5}, {"h": 6, "w": 7}, {"h": 9, "w": 40}, {"h": 23, "w": 12},
          {"h": 40, "w": 31})  # fmt: skip
_LENGTHS = tuple({"t": t} for t in (3, 4, 7, 10, 33))


def case(**more: Any) -> Callable[[Callable[[Net], Any]], None]:
    """A model, at sizes that are the ranges of `dims` as a user gives them."""

    def add(body: Callable[[Net], Any]) -> None:
        CASES[body.__name__] = Case(body.__name__, body, **more)

    return add


def size(n: Net, x: str, axis: int) -> str:
    return n.Gather(n.Shape(x), np.int64(axis))


def row(n: Net, *parts: Any) -> str:
    """A vector of sizes: scalars and numbers."""
    vectors = [n.Unsqueeze(p, i64(0)) if isinstance(p, str) else i64(p) for p in parts]
    return n.Concat(*vectors, axis=0)


def upsampled(n: Net, x: str) -> str:
    return n.Resize(x, None, f32(1, 1, 2, 2), mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric")  # fmt: skip


@case(dims={"past": (0, 16), "s": (1, 8)}, tol=1e-4,
      sizes=tuple({"past": past, "s": s, "total": past + s}
                  for past, s in ((0, 1), (0, 5), (5, 1), (16, 8), (7, 3))))  # fmt: skip
def decoder(n: Net) -> Any:
    """A mask of past + s, positions that begin at the past, a cache that grows."""
    ids, mask = n.x(1, "s", dtype="int64", lo=0, hi=9), n.x(1, "total", lo=1, hi=1, dtype="int64")
    past = [n.x(1, 2, "past", 4), n.x(1, 2, "past", 4)]
    before, new = size(n, past[0], 2), size(n, ids, 1)
    total = n.Add(before, new)
    at = n.Range(before, total, np.int64(1))
    x = n.Add(n.Gather(W(10, 8), ids), n.Gather(W(32, 8), at))
    q, k, v = (
        n.Transpose(n.Reshape(n.MatMul(x, W(8, 8)), i64(0, -1, 2, 4)), perm=[0, 2, 1, 3])
        for _ in range(3)
    )
    k, v = n.Concat(past[0], k, axis=2), n.Concat(past[1], v, axis=2)
    keys = n.Range(np.int64(0), total, np.int64(1))
    causal = n.LessOrEqual(n.Unsqueeze(keys, i64(0)), n.Unsqueeze(at, i64(1)))
    seen = n.And(causal, n.Unsqueeze(n.Cast(mask, to=TensorProto.BOOL), i64(1)))
    scores = n.MatMul(q, n.Transpose(k, perm=[0, 1, 3, 2]))
    scores = n.Where(n.Unsqueeze(seen, i64(1)), scores, f32(-1e30))
    y = n.Transpose(n.MatMul(n.Softmax(scores), v), perm=[0, 2, 1, 3])
    return n.Reshape(y, i64(0, -1, 8)), k, v


@case(dims={"t": (0, 20)}, sizes=tuple({"t": t} for t in (0, 1, 2, 7, 20)))
def nothing(n: Net) -> Any:
    """What is computed of no elements at all."""
    x = n.x(2, "t", 3)
    both = n.Concat(x, W(2, 2, 3), axis=1)
    total = n.ReduceSum(x, i64(1), keepdims=0)
    flat = n.Reshape(n.Mul(x, f32(2)), row(n, 2, n.Mul(size(n, x, 1), np.int64(3))))
    return both, total, flat, n.Softmax(x, axis=2), n.Pad(x, i64(0, 1, 0, 0, 0, 0))


@case(dims={"h": (8, 64), "w": (8, 64)}, tol=1e-4,
      sizes=tuple({"h": h, "w": w}
                  for h, w in ((8, 8), (8, 24), (40, 16), (56, 64), (24, 8))))  # fmt: skip
def yolo(n: Net) -> Any:
    """Three levels, a neck with skips, and grids of anchors joined along one axis."""
    x = n.x(1, 3, "h", "w")
    levels = []
    for k, c in enumerate((4, 6, 8)):
        x = n.Conv(x, W(c, 3 if k == 0 else c - 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
        levels.append(x)
    neck = [levels[2]]
    for finer in (levels[1], levels[0]):
        neck.append(n.Concat(upsampled(n, neck[-1]), finer, axis=1))
    heads = []
    for y, c in zip(neck, (8, 14, 18)):
        y = n.Conv(y, W(2 * 5, c, 1, 1))
        rows, columns = size(n, y, 2), size(n, y, 3)
        y = n.Reshape(y, row(n, 1, 2, 5, rows, columns))
        y = n.Sigmoid(n.Transpose(y, perm=[0, 1, 3, 4, 2]))
        centre, rest = n.Split(y, i64(2, 3), axis=4, outputs=2)
        line = [n.Cast(n.Range(np.int64(0), end, np.int64(1)), to=_F32) for end in (columns, rows)]
        shape = row(n, rows, columns)
        grid = n.Concat(
            n.Unsqueeze(n.Expand(n.Unsqueeze(line[0], i64(0)), shape), i64(2)),
            n.Unsqueeze(n.Expand(n.Unsqueeze(line[1], i64(1)), shape), i64(2)),
            axis=2,
        )
        stride = n.Div(n.Cast(size(n, levels[0], 3), to=_F32), n.Cast(columns, to=_F32))
        centre = n.Mul(n.Add(centre, grid), n.Mul(stride, f32(2)))
        heads.append(n.Reshape(n.Concat(centre, rest, axis=4), i64(1, -1, 5)))
    return n.Concat(*heads, axis=1)


@case(dims={"h": (9, 41), "w": (9, 41)},
      sizes=tuple({"h": h, "w": w}
                  for h, w in ((9, 9), (9, 17), (25, 9), (33, 41), (41, 25))))  # fmt: skip
def corners_stay(n: Net) -> Any:
    """Convolutions of (n - 1) // 2 + 1, undone by sizes of 2 * n - 1 with aligned corners."""
    x = n.x(1, 2, "h", "w")
    levels = [x]
    for _ in range(3):
        levels.append(n.MaxPool(levels[-1], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    y = levels[3]
    for finer in (levels[2], levels[1], x):
        doubled = [n.Sub(n.Mul(size(n, y, k), np.int64(2)), np.int64(1)) for k in (2, 3)]
        y = n.Resize(y, None, None, row(n, 1, 2, *doubled), mode="linear",
            coordinate_transformation_mode="align_corners")  # fmt: skip
        y = n.Add(y, finer)
    return y


@case(dims={"t": (4, 40)}, sizes=tuple({"t": t} for t in (4, 6, 10, 24, 40)))
def gates_in_equal_parts(n: Net) -> Any:
    a, b = n.Split(n.x(1, "t", 3), axis=1, outputs=2)
    return n.Mul(a, n.Sigmoid(b))


@case(dims=_SIDE, sizes=_SIDES)
def reshape_the_rest(n: Net) -> Any:
    """Flattened by -1, and back by sizes that were read before."""
    x = n.x(1, 3, "h", "w")
    flat = n.Reshape(x, n.Concat(n.Slice(n.Shape(x), i64(0), i64(2)), i64(-1), axis=0))
    y = n.Reshape(n.Softmax(flat), n.Shape(x))
    z = n.Reshape(n.Transpose(flat, perm=[2, 1, 0]), row(n, size(n, x, 2), -1, 3))
    return y, z, n.Reshape(x, i64(0, 0, -1))


@case(dims=_SIDE, sizes=_SIDES)
def sizes_times_a_number(n: Net) -> Any:
    """Shape, Cast, Mul, Floor, Cast: how older exporters resize."""
    x = n.x(1, 2, "h", "w")
    out = []
    for scale in (2.0, 0.5, 0.7, 1.3):
        sides = [
            n.Unsqueeze(n.Floor(n.Mul(n.Cast(size(n, x, k), to=_F32), np.float32(scale))), i64(0))
            for k in (2, 3)
        ]
        sizes = n.Cast(n.Concat(f32(1, 2), *sides, axis=0), to=_I64)
        out.append(n.Resize(x, None, None, sizes, mode="linear"))
    return out


@case(dims=_SIDE, sizes=_SIDES)
def sizes_in_doubles(n: Net) -> Any:
    """Half and a tenth of each side, rounded down and up, in float64."""
    x = n.x(1, 2, "h", "w")
    sides = n.Cast(n.Slice(n.Shape(x), i64(2), i64(4)), to=_F64)
    half = n.Cast(n.Floor(n.Div(sides, np.float64([2]))), to=_I64)
    tenth = n.Cast(n.Ceil(n.Mul(sides, np.float64([0.1]))), to=_I64)
    return n.Slice(x, half, i64(100, 100), i64(2, 3)), n.Slice(x, i64(0, 0), tenth, i64(2, 3))


@case(dims={"t": (3, 40)}, sizes=_LENGTHS)
def padded_to_whole_chunks(n: Net) -> Any:
    """ceil(t / 8) * 8 - t zeros, by floats; chunks; and the zeros cut off again."""
    x = n.x(1, "t", 2)
    t = size(n, x, 1)
    whole = n.Mul(n.Ceil(n.Div(n.Cast(t, to=_F32), f32(8))), f32(8))
    missing = n.Cast(n.Sub(whole, n.Cast(t, to=_F32)), to=_I64)
    y = n.Reshape(n.Pad(x, row(n, 0, 0, 0, 0, missing, 0)), i64(-1, 8, 2))
    y = n.Reshape(n.Sub(y, n.ReduceMean(y, axes=[1])), i64(1, -1, 2))
    return n.Slice(y, i64(0), n.Unsqueeze(t, i64(0)), i64(1))


@case(dims={"t": (3, 40)}, sizes=_LENGTHS)
def halves_and_ranges_of_floats(n: Net) -> Any:
    x = n.x(1, 2, "t")
    t = n.Cast(size(n, x, 2), to=_F32)
    times = n.Range(f32(0), t, f32(1))
    steps = n.Range(f32(0), t, f32(0.5))
    middle = n.Cast(n.Mul(t, f32(0.5)), to=_I64)
    ends = [n.Slice(x, i64(0), n.Unsqueeze(middle, i64(0)), i64(2)),
            n.Slice(x, n.Unsqueeze(n.Neg(middle), i64(0)), i64(1000), i64(2))]  # fmt: skip
    return n.Mul(x, times), n.Add(*ends), steps


@case(dims=_SIDE, sizes=_SIDES)
def letterbox(n: Net) -> Any:
    """Both sides to multiples of 32 by floats, half of what is missing before and after."""
    x = n.x(1, 2, "h", "w")
    before, after = [], []
    for k in (2, 3):
        side = n.Cast(size(n, x, k), to=_F32)
        missing = n.Sub(n.Mul(n.Ceil(n.Div(side, f32(32))), f32(32)), side)
        half = n.Floor(n.Div(missing, f32(2)))
        before.append(n.Cast(half, to=_I64))
        after.append(n.Cast(n.Sub(missing, half), to=_I64))
    return n.Pad(x, row(n, 0, 0, *before, 0, 0, *after))


@case(dims={"t": (3, 40)}, sizes=_LENGTHS)
def lengths_rounded_clipped_and_summed(n: Net) -> Any:
    x, y = n.x(1, "t", 2), n.x(1, 2, "t")
    t = n.Cast(size(n, x, 1), to=_F32)
    rounded = n.Cast(n.Round(n.Mul(t, f32(0.25))), to=_I64)
    clipped = n.Cast(n.Clip(n.Mul(t, f32(0.3)), f32(2), f32(10)), to=_I64)
    total = n.Cast(n.ReduceSum(n.Cast(n.Shape(x), to=_F32), i64(0), keepdims=1), to=_I64)
    ends = [n.Unsqueeze(rounded, i64(0)), n.Unsqueeze(clipped, i64(0)), total]
    return [n.Slice(y, i64(0), end, i64(2)) for end in ends]


@case(dims={"t": (3, 40)}, sizes=_LENGTHS)
def resize_by_a_computed_scale(n: Net) -> Any:
    """A scale that is a quotient of two sizes."""
    x, y = n.x(1, 2, "t"), n.x(1, 3, "t")
    short = n.MaxPool(x, kernel_shape=[3], strides=[2], pads=[1, 1])
    scale = n.Div(n.Cast(size(n, y, 2), to=_F32), n.Cast(size(n, short, 2), to=_F32))
    scales = n.Concat(f32(1, 1), n.Unsqueeze(scale, i64(0)), axis=0)
    big = n.Resize(short, None, scales, mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric")  # fmt: skip
    return n.Concat(big, y, axis=1)


@case(dims={"t": (1, 40)}, sizes=tuple({"t": t} for t in (1, 2, 7, 33, 40)), tol=1e-4)
def samples_of_frames(n: Net) -> Any:
    """A vocoder's excitation: frames repeated by Expand and Reshape, phases by CumSum, a tail."""
    f0 = n.x(1, "t", lo=0.01, hi=0.2)
    t = size(n, f0, 1)
    wide = n.Expand(n.Unsqueeze(f0, i64(2)), row(n, 1, t, 5))
    samples = n.Reshape(wide, row(n, 1, n.Mul(t, np.int64(5))))
    tail = n.ConstantOfShape(row(n, 1, n.Sub(n.Mul(t, np.int64(6)), n.Mul(t, np.int64(5)))))
    wave = n.Concat(n.Sin(n.CumSum(samples, np.int64(1))), tail, axis=1)
    window = n.Slice(W(1, 400), i64(0), n.Unsqueeze(size(n, wave, 1), i64(0)), i64(1))
    return n.Mul(wave, window), n.Tile(f0, row(n, t, 1))


# ---- all of them in one program ------------------------------------------------------------------


@dataclass
class Pattern:
    """An imported model whose names no other has, and what it must give."""

    graph: Graph
    notes: list[str]
    sizes: list[dict[str, int]]
    feeds: list[dict[str, Array]]
    wanted: list[dict[str, Array]]
    tol: float = 2e-5


def apart(found: Imported, prefix: str) -> Graph:
    """The graph with names of inputs, outputs and dimensions that begin with a prefix."""
    table = {d: dim(f"{prefix}{d.args[0]}", *d.args[1:]) for d in found.graph.dims}

    def renamed(a: Any) -> Any:
        if isinstance(a, tuple):
            return tuple(map(renamed, a))
        return substitute(a, table) if isinstance(a, Expr) else a

    new: dict[Value, Value] = {}
    for v in found.graph.values():
        if v.op is INPUT:
            shape = [renamed(lift(d)) for d in v.shape]
            new[v] = placeholder(prefix + v.attrs["name"], shape, v.dtype)
        elif v.op is CONST:
            new[v] = v
        else:
            attrs = {k: renamed(a) for k, a in v.attrs.items()}
            new[v] = v.op.node([new[i] for i in v.inputs], attrs).outputs[v.index]
    return Graph(
        tuple(new[v] for v in found.graph.inputs),
        {prefix + name: new[v] for name, v in found.graph.outputs.items()},
        dims=tuple(table.values()),
    )


def of_module(patterns: Any, prefix: str, dims: Any, sizes: list[dict[str, int]]) -> Pattern:
    module = Patterns(patterns).eval()
    low = sizes[0]
    example = (torch.randn(1, 2, low["h"] + 8, low["w"] + 16), torch.randn(1, low["t"] + 5, 4))
    found = load(module, dims, example=example)
    called = function(module, example)
    feeds, wanted = [], []
    for k, at in enumerate(sizes):
        rng = np.random.default_rng(k)
        shapes = {"x": (1, 2, at["h"], at["w"]), "s": (1, at["t"], 4)}
        drawn = {name: rng.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
        wanted.append({prefix + name: y for name, y in called(drawn).items()})
        feeds.append({prefix + name: a for name, a in drawn.items()})
    named = [{prefix + name: n for name, n in at.items()} for at in sizes]
    return Pattern(apart(found, prefix), found.notes, named, feeds, wanted, 1e-4)


def of_case(case: Case) -> Pattern:
    net = case.build()
    dims = {net.symbol(d): r for d, r in case.dims.items()}
    found = load(net.model(), dims)
    return Pattern(
        replace(found.graph, names={}),
        found.notes,
        [{str(net.symbol(d)): n for d, n in at.items()} for at in case.sizes],
        [case.feeds(net, k) for k in range(5)],
        [case.expected(k) for k in range(5)],
        case.tol,
    )


ANY_SIZES = [dict(zip("hwt", at)) for at in
             ((5, 6, 4), (6, 5, 5), (9, 12, 7), (13, 7, 12), (20, 20, 20))]  # fmt: skip
STEPPED_SIZES = [dict(zip("hwt", at)) for at in
                 ((8, 8, 4), (8, 24, 5), (40, 16, 4), (24, 8, 4), (32, 40, 5))]  # fmt: skip
MODULES: Mapping[str, Callable[[], Pattern]] = {
    "anything": lambda: of_module(
        ANY, "any_", {"h": (5, 20), "w": (5, 20), "t": (4, 20)}, ANY_SIZES
    ),
    "multiples": lambda: of_module(
        IN_STEPS, "step_", {"h": (5, 40), "w": (5, 47), "t": (4, 5)}, STEPPED_SIZES
    ),
}
NAMES = [*MODULES, *CASES]


@cache
def pattern(name: str) -> Pattern:
    return MODULES[name]() if name in MODULES else of_case(CASES[name])


@cache
def importable() -> dict[str, Pattern]:
    """The patterns that import; the others fail in their own tests."""
    found = {}
    for name in NAMES:
        try:
            found[name] = pattern(name)
        except Exception:
            continue
    return found


@cache
def together(target: str) -> Program:
    """The program of all patterns, but on wasm in a browser."""
    return program([p.graph for p in importable().values()], target)


def program(graphs: list[Graph], target: str) -> Program:
    merged = Graph(
        tuple(v for g in graphs for v in g.inputs),
        {k: v for g in graphs for k, v in g.outputs.items()},
        dims=tuple(d for g in graphs for d in g.dims),
    )
    return lower(passes.run(merged, 0), TARGETS[target])


def at(k: int, field: str) -> dict[str, Any]:
    """All patterns' sizes, feeds or results at their k-th size."""
    return {name: a for p in importable().values() for name, a in getattr(p, field)[k].items()}


def complain(name: str, found: Callable[[int], Mapping[str, Array]], times: float) -> None:
    """Fails where a pattern's results at one of its sizes are not what they must be."""
    p = pattern(name)  # raises what its import does
    tell = Case(name, lambda n: None)
    wrong = []
    for k in range(5):
        for output, wanted in p.wanted[k].items():
            got = found(k)[output].astype(wanted.dtype)
            if problem := tell.problem(got, wanted, p.tol * times):
                wrong.append(f"{output} at {p.sizes[k]}: {problem}")
    assert not wrong, "\n".join(wrong)


@cache
def on_wasm(k: int) -> dict[str, Array]:
    merged, sizes = together("wasm"), at(k, "sizes")
    result = run_program(merged, values(merged, at(k, "feeds")), sizes)
    out = {}
    for tensor in merged.outputs:
        shape = [evaluate(d, sizes) for d in tensor.shape]
        out[tensor.name] = published(tensor, result[tensor.buffer], shape)
    return out


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("name", NAMES)
def test_on_wasm(name: str) -> None:
    complain(name, on_wasm, 1)


NONE_AT_ALL = ("decoder", "nothing")


@pytest.fixture(scope="module")
def in_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """(target, k) -> the outputs in Chromium."""
    find("chromium")
    folder = tmp_path_factory.mktemp("sizes")
    replies: dict[str, Any] = {}
    with open_page("chromium", mounts={"/d/": folder, "/t/": HERE}, webgpu=True) as page:

        def outputs(target: str, k: int) -> dict[str, Array]:
            if target not in replies:
                some = [pattern(name).graph for name in NONE_AT_ALL]
                merged = together(target) if target == "webgpu" else program(some, target)
                write(merged, target, folder / target)
                names = {t.name for t in merged.inputs}
                arrays: dict[str, bytes] = {}
                fed = [{n: a for n, a in at(r, "feeds").items() if n in names} for r in range(5)]
                runs = [{"inputs": wire(a, f"in/{r}/", arrays)} for r, a in enumerate(fed)]
                argument = {"descriptor": f"/d/{target}/", "options": {"backend": target},
                            "runs": runs, "layers": False}  # fmt: skip
                replies[target] = page.call("/t/cases_page.js", argument, arrays, timeout=300)
                assert replies[target].value["overwritten"] == 0
            reply = replies[target]
            return {
                o["name"]: np.frombuffer(reply.arrays[o["array"]], _ELEMENTS[o["type"]]).reshape(
                    o["shape"]
                )
                for o in reply.value["runs"][k]["outputs"]
            }

        yield outputs


@pytest.mark.parametrize("name", NAMES)
def test_on_webgpu(name: str, in_browser: Callable[..., Any]) -> None:
    complain(name, lambda k: in_browser("webgpu", k), 10)


@pytest.mark.parametrize("name", NONE_AT_ALL)
def test_no_elements_on_wasm_in_a_browser(name: str, in_browser: Callable[..., Any]) -> None:
    complain(name, lambda k: in_browser("wasm", k), 1)


def test_a_descriptor_whose_sizes_are_formulas_is_checked(tmp_path: Path) -> None:
    """What is computed from other sizes, and what was fixed, is no dimension of the descriptor."""
    net = Net(Case("formulas", lambda n: None))
    x, mask, table = net.x("past"), net.x("total"), net.x("fixed", 2)
    net.outputs = [net.Relu(x), net.Exp(mask), net.Neg(table)]
    dims = {net.symbol("past"): (0, 4), net.symbol("total"): "formulas_past*2+1"}
    dims[net.symbol("fixed")] = 3
    transpile(net.model(), tmp_path, dims=dims, targets=["wasm"])
    at = [{"formulas_past": 3}]
    report = check(net.model(), descriptor=tmp_path, targets=["wasm"], variants=["plain"], sizes=at)
    assert report.right, report


def test_inspect_shows_a_model_whose_sizes_are_open(tmp_path: Path) -> None:
    net = Net(Case("m", lambda n: None))
    x = net.x(1, 2, "h", 8)
    net.outputs = [net.Add(upsampled(net, net.MaxPool(x, kernel_shape=[2, 2], strides=[2, 2])), x)]
    path = tmp_path / "m.onnx"
    path.write_bytes(net.model().SerializeToString())
    seen = inspect(path, targets=["webgpu"])
    assert seen.notices[0].endswith("with --dim m_h=2..512:2")
    assert seen.dims[0]["name"] == "m_h" and seen.outputs[0]["shape"] == [1, 2, "m_h", 8]


# ---- what is refused says what to give -----------------------------------------------------------


def refused(dims: Any, body: Callable[[Net], Any]) -> str:
    net = Net(Case("m", lambda n: None))
    net.outputs = [body(net)]
    with pytest.raises(WebDNNError) as caught:
        load(net.model(), dims)
    return str(caught.value)


def root(n: Net) -> Any:
    x = n.x(1, "t", 2)
    length = n.Cast(n.Sqrt(n.Cast(size(n, x, 1), to=_F32)), to=_I64)
    return n.Expand(n.x(1), n.Unsqueeze(length, i64(0)))


def test_a_size_without_a_formula_names_the_node_and_the_dimension() -> None:
    text = refused({"m_t": (1, 99)}, root)
    assert "Expand node 'm.Expand" in text and "follows from m_t by cast, sqrt" in text
    assert text.endswith("for example --dim m_t=50 (in Python dims={'m_t': 50})")
    assert "--dim m_t=256 (in Python" in refused({}, root)


def test_a_size_that_is_data_names_the_input() -> None:
    text = refused({"m_t": (1, 99)}, lambda n: n.Expand(n.x("t"), n.x(1, dtype="int64")))
    assert "is computed from the elements of 'm.x1'" in text and "--dim" not in text


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("step", "factor"),
    [
        *itertools.product([ops.floor_, ops.ceil_], [0.5, 0.7, 1.1, 1 / 3, 0.9999]),
        *itertools.product([ops.round_], [0.5, 0.25, 1.5, 1 / 3]),
    ],
)
def test_floats_of_sizes_round_as_numpy_does(dtype: str, factor: float, step: Any) -> None:
    n = dim("n", 0, 1500)
    times = step(ops.mul(ops.cast(ops.ints(n, "i64"), dtype), factor))
    found = ops.known(ops.cast(times, "i64"))
    assert found is not None
    real = np.float32 if dtype == "f32" else np.float64
    exact = {ops.floor_: np.floor, ops.ceil_: np.ceil, ops.round_: np.round}[step]
    for k in range(1501):
        assert evaluate(found.item(), {"n": k}) == exact(real(k) * real(factor)), k
