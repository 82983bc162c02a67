"""Keras' layers over sound: spectrograms, as products of overlapping windows.

    >>> mel_matrix(4, 9, 8000, 0.0, 4000.0).shape
    (9, 4)

Fourier transforms are matrix products with cosines and sines, the window function included: a
MelSpectrogram of the default length 2048 brings a matrix of 2048 by 2050 numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ... import limits, ops
from ...graph import Value, constant
from ..arithmetic import waves
from ..arrays import floats
from .model import Call, Layer, Nested
from .spatial import conv, tensor, weight

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


def _mel(hertz: np.ndarray) -> np.ndarray:
    return np.asarray(1127.0 * np.log(1.0 + hertz / 700.0))


def mel_matrix(bands: int, bins: int, rate: float, low: float, high: float) -> np.ndarray:
    """[bins, bands]: triangles on the mel scale of HTK, each with a peak of 1; no bin at 0 Hz."""
    at = _mel(np.linspace(0.0, rate / 2, bins)[1:])[:, None]
    first, last = _mel(np.array([low, high]))
    edges = np.linspace(first, last, bands + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (at - left) / (centre - left), (right - at) / (right - centre)
    return np.pad(np.maximum(0.0, np.minimum(rising, falling)), ((1, 0), (0, 0)))


def _window(layer: Layer, name: str | None, length: int) -> np.ndarray:
    """A periodic window function."""
    turn = 2 * np.pi * np.arange(length) / length
    if name is None:
        return np.ones(length)
    if name == "hann":
        return np.asarray(0.5 - 0.5 * np.cos(turn))
    if name == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(turn))
    raise layer.lacks(f"window {name!r}; hann and hamming are supported")


def MelSpectrogram(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """[N, samples] -> [N, bands, frames]."""
    c = layer.config
    x = floats(tensor(layer, inputs))
    length, stride = int(c["fft_length"]), int(c["sequence_stride"])
    short = int(c.get("sequence_length") or length)
    rate = float(c.get("sampling_rate", 16000))
    limits.make(
        8 * length * (int(c["num_mel_bins"]) + 8), f"the tables of frames of {length} samples"
    )
    before = (length - short) // 2
    shape = np.pad(
        _window(layer, c.get("window", "hann"), short), (before, length - short - before)
    )
    bins = length // 2 + 1
    table = np.concatenate(waves(length, bins), 1) * shape[:, None]
    sides = [0] * (x.rank - 1) + [length // 2]
    frames = ops.windows(ops.pad(x, sides, sides, "reflect"), [x.rank - 1], [length], [stride], [1])
    parts = ops.matmul(frames, constant(table.astype(np.float32), x.dtype))
    real, imaginary = ops.split(ops.mul(parts, parts), [bins, bins], parts.rank - 1)
    power, exponent = ops.add(real, imaginary), float(c.get("mag_exp", 2.0)) / 2
    power = power if exponent == 1 else ops.pow_(power, exponent)
    high = float(c.get("max_freq") or int(rate / 2))
    bands = mel_matrix(int(c["num_mel_bins"]), bins, rate, float(c.get("min_freq", 20.0)), high)
    y = ops.matmul(power, constant(bands.astype(np.float32), x.dtype))
    if c.get("power_to_db", True):
        least = float(c.get("min_power", 1e-10))
        reference = 10 * np.log10(max(abs(float(c.get("ref_power", 1.0))), least))
        y = ops.sub(ops.mul(ops.log_(ops.max_(y, least)), 10 / np.log(10)), float(reference))
        top = ops.reduce_max(y, range(y.rank))
        y = ops.max_(y, ops.sub(top, float(c.get("top_db", 80.0))))
    return ops.transpose(y, (*range(y.rank - 2), y.rank - 1, y.rank - 2))


def STFTSpectrogram(layer: Layer, inputs: Sequence[Nested], call: Call) -> Value:
    """[N, T, C] -> [N, frames, C * bins], or [N, frames, bins, C]: each channel by itself."""
    c = layer.config
    first = layer.data_format == "channels_first"
    x = floats(tensor(layer, inputs, 3))
    x = x if first else ops.transpose(x, (0, 2, 1))
    n, depth, length = x.shape
    mode, frame = c.get("mode", "log"), int(c["frame_length"])
    step = int(c.get("frame_step") or frame // 2)
    fft = int(c.get("fft_length") or 2 ** int(np.ceil(np.log2(frame))))
    bins = fft // 2 + 1
    flat = ops.reshape(x, (ops.product([n, depth]), length, 1))
    count = 1 if mode in ("real", "imag") else 2
    parts = [
        conv(flat, weight(layer, k, (frame, 1, bins), x), step, c.get("padding", "valid"))
        for k in range(count)
    ]
    if count == 1:
        y = parts[0]
    elif mode == "angle":
        y = ops.atan2_(parts[1], parts[0])
    elif mode == "stft":
        y = ops.concat(parts, 2)
    else:
        y = ops.add(*(ops.mul(p, p) for p in parts))
        if mode == "psd":
            inner = ops.slice_axis(y, 2, 1, bins - 2)
            y = ops.add(y, ops.pad(inner, [0, 0, 1], [0, 0, 1]))
        else:
            y = ops.sqrt_(ops.max_(y, 1e-7))
            y = y if mode == "magnitude" else ops.log_(ops.max_(y, 1e-7))
    size = y.shape[2]
    y = ops.reshape(y, (n, depth, y.shape[1], size))  # [N, C, frames, bins]
    if c.get("expand_dims"):
        return y if first else ops.transpose(y, (0, 2, 3, 1))
    y = ops.transpose(y, (0, 1, 3, 2) if first else (0, 2, 1, 3))
    rows = ops.product([depth, size])
    return ops.reshape(y, (n, rows, y.shape[3]) if first else (n, y.shape[1], rows))


LAYERS: dict[str, Function] = {
    "MelSpectrogram": MelSpectrogram,
    "STFTSpectrogram": STFTSpectrogram,
}

__all__ = ["LAYERS"]
