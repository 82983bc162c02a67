"""ONNX's operators for sound: Fourier transforms, windows, and the matrix to the mel scale.

    >>> from webdnn.graph import placeholder
    >>> DFT(placeholder("x", (1, 16, 1), "f32"), opset=17).shape
    (1, 16, 2)

As in `operators`, one plain function each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ... import ops
from ...errors import ModelError
from ...expr import as_dim, lift, maximum
from ...graph import Value
from ..arrays import axis_of, known_int
from ..spectra import fourier, real_signal
from .declared import NOTHING, Results, by_axis, chosen, is_known, scalar, settled
from .elements import cast, element_type


def DFT(
    x: Value,
    dft_length: Value | None = None,
    axis_input: Value | None = None,
    *,
    axis: int | None = None,
    inverse: int = 0,
    onesided: int = 0,
    opset: int,
    declared: Results = NOTHING,
) -> Value:
    """The last axis of x is (re, im) or re alone."""

    def along(at: int) -> Value:
        given = ops.static(x.shape[at], "the length of a Fourier transform")
        if dft_length is None:
            return _along(x, at, 2 * (given - 1) if inverse and onesided else given, how)
        if is_known(dft_length):
            return _along(x, at, known_int(dft_length, "the length of a Fourier transform"), how)
        shape = declared.shape(dft_length, "the length of a Fourier transform", x.rank)
        size = ops.static(shape[at], "the length of a Fourier transform")
        lengths = [2 * size - 1, 2 * size - 2] if onesided and not inverse else [size]
        found = {n: _along(x, at, n, how) for n in lengths if n > 0}
        tests = {n: ops.equal(scalar(dft_length), n) for n in found}
        return chosen(tests, found, dft_length, "the length of a Fourier transform", declared)

    how = bool(inverse), bool(onesided)
    if axis_input is not None:
        axes = [*range(x.rank - 1)]
        if inverse and onesided and dft_length is None:  # of one bin there is no signal
            axes = [a for a in axes if not ops.same(x.shape[a], 1)] or [0]
        return by_axis(axis_input, x, along, "axis", declared, axes)
    return along(axis_of((1 if opset < 20 else -2) if axis is None else axis, x))


def _along(x: Value, at: int, length: int, how: tuple[bool, bool]) -> Value:
    """The transform of this length along an axis; `how`: whether inverse, and of one side."""
    inverse, onesided = how
    perm = [k for k in range(x.rank - 1) if k != at] + [at, x.rank - 1]
    y = ops.transpose(x, perm)
    given = ops.static(x.shape[at], "the length of a Fourier transform")
    bins = length // 2 + 1 if onesided else length
    y = ops.pad(y, [0] * y.rank, [0] * (y.rank - 2) + [(bins if inverse else length) - given, 0])
    y = real_signal(y, length) if inverse and onesided else fourier(y, bins, inverse)
    return ops.transpose(y, [perm.index(k) for k in range(x.rank)])


def STFT(
    x: Value,
    frame_step: Value,
    window: Value | None = None,
    frame_length: Value | None = None,
    *,
    onesided: int = 1,
    declared: Results = NOTHING,
) -> Value:
    """[batch, samples, parts] -> [batch, frames, bins, 2]"""
    what = "the frame length"

    def of(length: int) -> Value:
        return _frames(x, frame_step, window, length, bool(onesided), declared)

    if window is not None:
        return of(ops.static(window.shape[0], "the window's length"))
    if frame_length is None:
        raise ModelError("neither a window nor a frame length is given")
    if is_known(frame_length):
        return of(known_int(frame_length, what))
    bins = ops.static(declared.shape(frame_length, what, 4)[2], what)
    lengths = [2 * bins - 2, 2 * bins - 1] if onesided else [bins]
    tests = {n: ops.equal(scalar(frame_length), n) for n in lengths if n > 0}
    return chosen(tests, {n: of(n) for n in tests}, frame_length, what, declared)


def _frames(
    x: Value,
    frame_step: Value,
    window: Value | None,
    length: int,
    onesided: bool,
    declared: Results,
) -> Value:
    """The transforms of frames of this length."""
    x = ops.unsqueeze(x, [2]) if x.rank == 2 else x  # some exporters leave the last axis out
    if is_known(frame_step):
        step = known_int(frame_step, "the frame step")
        frames = ops.transpose(ops.windows(x, [1], [length], [step], [1]), (0, 1, 3, 2))
    else:
        count = declared.shape(frame_step, "the frame step", 4)[1]
        by = ops.min_(ops.cast(scalar(frame_step), "i64"), ops.ints(x.shape[1], "i64"))
        begin = ops.mul(ops.iota((count, 1), 0, "i64"), ops.max_(by, 0))
        frames = ops.gather(x, ops.add(begin, ops.iota((1, length), 1, "i64")), 1)
    if window is not None:
        frames = ops.mul(frames, ops.along(window, 2, 4))
    return fourier(frames, length // 2 + 1 if onesided else length)


# ---- windows -------------------------------------------------------------------------------------


def _window(terms: Sequence[float]) -> Callable[..., Value]:
    """A sum of cosines over the window, each with its factor."""

    def window(
        size: Value,
        *,
        output_datatype: int = 1,
        periodic: int = 1,
        declared: Results = NOTHING,
    ) -> Value:
        (count,) = settled(size, "the size of a window", declared)
        last = count if periodic else as_dim(maximum(lift(count) - 1, 1))
        at = ops.mul(ops.iota((count,), 0, "f32"), 2 * math.pi)
        at = ops.div(at, ops.cast(ops.ints(last, "i64"), "f32"))
        out = ops.mul(at, 0.0)
        for k, factor in enumerate(terms):
            wave = ops.cos_(ops.mul(at, float(k))) if k else 1.0
            out = ops.add(out, ops.mul(wave, factor) if k else factor)
        return cast(out, element_type(output_datatype))

    return window


BlackmanWindow = _window([0.42, -0.5, 0.08])
HammingWindow = _window([25 / 46, -21 / 46])
HannWindow = _window([0.5, -0.5])


def MelWeightMatrix(
    bins: Value,
    length: Value,
    rate: Value,
    lowest: Value,
    highest: Value,
    *,
    output_datatype: int = 1,
    declared: Results = NOTHING,
) -> Value:
    """[length // 2 + 1, bins]: triangles that are even on the mel scale, by the frequency's bin."""
    if is_known(bins) and is_known(length):
        many = known_int(bins, "the number of mel bins")
        rows = known_int(length, "the length of a Fourier transform") // 2 + 1
    else:
        shape = declared.shape(bins, "the number of mel bins", 2)
        rows, many = (ops.static(d, "the size of a mel matrix") for d in shape)

    def mel(hertz: Value) -> Value:
        return ops.mul(ops.log_(ops.add(ops.div(hertz, 700.0), 1.0)), 2595 / math.log(10))

    low, high = (mel(ops.cast(ops.reshape(v, ()), "f32")) for v in (lowest, highest))
    step = ops.div(ops.sub(high, low), float(many + 2))
    mels = ops.add(ops.mul(ops.iota((many + 2,), 0, "f32"), step), low)
    hertz = ops.mul(ops.sub(ops.exp_(ops.mul(mels, math.log(10) / 2595)), 1.0), 700.0)
    size = ops.add(scalar(length), 1)
    edges = ops.floor_(
        ops.div(ops.mul(ops.cast(size, "f32"), hertz), ops.cast(ops.reshape(rate, ()), "f32"))
    )
    left, centre, right = (ops.slice_axis(edges, 0, k, many) for k in range(3))
    at = ops.iota((rows, 1), 0, "f32")
    width = ops.sub(centre, left)
    up = ops.div(ops.sub(at, left), ops.where(ops.equal(width, 0.0), 1.0, width))
    down = ops.div(
        ops.sub(right, at), ops.where(ops.equal(right, centre), 1.0, ops.sub(right, centre))
    )
    rising = ops.logical_and(ops.greater_equal(at, left), ops.less_equal(at, centre))
    rising = ops.logical_and(rising, ops.greater(width, 0.0))
    falling = ops.logical_and(ops.greater_equal(at, centre), ops.less(at, right))
    at_peak = ops.logical_and(ops.equal(at, centre), ops.equal(width, 0.0))
    y = ops.where(at_peak, 1.0, ops.where(falling, down, ops.where(rising, up, 0.0)))
    return cast(y, element_type(output_datatype))


OPERATORS: dict[str, Callable[..., Any]] = {
    "BlackmanWindow": BlackmanWindow,
    "DFT": DFT,
    "HammingWindow": HammingWindow,
    "HannWindow": HannWindow,
    "MelWeightMatrix": MelWeightMatrix,
    "STFT": STFT,
}
