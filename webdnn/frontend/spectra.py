"""Discrete Fourier transforms, by the way that costs least.

    >>> from webdnn.graph import placeholder
    >>> fourier(placeholder("x", (3, 400, 1), "f32"), 201).shape
    (3, 201, 2)

A transform of length a·b is b transforms of length a, a factor for each number, and a transforms of
length b (Cooley and Tukey); the factors are part of the second transforms' matrices where those are
small. A short transform is a product with its matrix, as is one of prime length, up to where two
transforms of a length with small factors cost less (Bluestein). Of real numbers half of a spectrum
is computed; the rest mirrors it. Limits: lengths are numbers.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from .. import limits, ops
from ..errors import ModelError
from ..expr import product
from ..graph import Value, constant

# What a number that is stored between two transforms costs, in multiplications and additions.
STORED = 24
# Elements of the matrices that factors are made part of: more is a download for little.
MERGED = 2**17
PRIMES = (2, 3, 5)


def fourier(x: Value, bins: int, inverse: bool = False) -> Value:
    """[..., length, parts] -> [..., bins, 2]; parts are real and imaginary, or the former alone.

    The inverse transform is divided by the length. Raises ModelError for other parts, and
    UnsupportedError where tables take more than `limits` allows.
    """
    *outer, n, parts = x.shape
    length = ops.static(n, "the length of a Fourier transform")
    if parts not in (1, 2):
        raise ModelError(f"numbers of {parts} parts, real and imaginary: 1 or 2 expected")
    of_real = parts == 1
    rows = ops.reshape(ops.cast(x, "f32"), (product(outer), length, parts))
    y = _spectrum(rows, 1 if inverse else -1, min(bins, length // 2 + 1) if of_real else bins)
    have = ops.static(y.shape[1], "the bins of a spectrum")
    if bins > have:  # the rest mirrors what is there
        rest = ops.flip(ops.slice_axis(y, 1, length - bins + 1, bins - have), [1])
        y = ops.concat([y, ops.mul(rest, _conjugate())], 1)
    y = ops.mul(y, 1 / length) if inverse else y
    return ops.cast(ops.reshape(y, (*outer, bins, 2)), x.dtype)


def real_signal(x: Value, length: int) -> Value:
    """[..., bins, 2] -> [..., length, 1]: the inverse transform of one side of a spectrum."""
    at = x.rank - 2
    bins = ops.static(x.shape[at], "the bins of a spectrum")
    rest = ops.flip(ops.slice_axis(x, at, 1, length - bins), [at])
    whole = ops.concat([x, ops.mul(rest, _conjugate(x.dtype))], at)
    return ops.slice_axis(fourier(whole, length, inverse=True), at + 1, 0, 1)


def _conjugate(dtype: str = "f32") -> Value:
    return constant([1, -1], dtype)


def _spectrum(x: Value, sign: int, bins: int) -> Value:
    """[rows, length, parts] -> [rows, bins, 2]; of real numbers at most length // 2 + 1 bins."""
    rows, n, parts = x.shape
    assert isinstance(n, int) and isinstance(parts, int)
    a, _ = _plan(n, parts == 1)
    table = f"the tables of a Fourier transform of length {n}"
    limits.make(32 * n * (bins if a == 1 else 4), table)
    if a == 1:
        flat = ops.reshape(x, (rows, n * parts))
        matrix = _turns(np.outer(np.arange(n), np.arange(bins)), n, sign)[:, :parts]
        return ops.reshape(ops.matmul(flat, _flat(matrix, n * parts, bins * 2)), (rows, bins, 2))
    if a == 0:
        return _chirped(x, sign, bins)
    b = n // a
    half = a // 2 + 1 if parts == 1 else a
    # element b·i + j, bin k + a·m: transforms over i, then over j
    y = ops.transpose(ops.reshape(x, (rows, a, b, parts)), (0, 2, 1, 3))
    y = _spectrum(ops.reshape(y, (product([rows, b]), a, parts)), sign, half)
    y = ops.transpose(ops.reshape(y, (rows, b, half, 2)), (2, 0, 1, 3))
    j, k, m = np.arange(b)[:, None], np.arange(half)[:, None, None], np.arange(b)
    if _merges(half, b):
        matrix = _turns(j * (k + a * m), n, sign)
        y = ops.matmul(ops.reshape(y, (half, rows, 2 * b)), _flat(matrix, half, 2 * b, 2 * b))
        y = ops.transpose(ops.reshape(y, (half, rows, b, 2)), (1, 2, 0, 3))
    else:
        y = _times(y, ops.reshape(_flat(_turns(k * j, n, sign), half, b, 2, 2), (half, 1, b, 2, 2)))
        y = _spectrum(ops.reshape(y, (product([half, rows]), b, 2)), sign, b)
        y = ops.transpose(ops.reshape(y, (half, rows, b, 2)), (1, 2, 0, 3))
    many = -(-bins // a)
    found = ops.slice_axis(y, 1, 0, many)
    if half < a:
        others = ops.slice_axis(ops.slice_axis(y, 1, b - many, many), 2, 1, a - half)
        found = ops.concat([found, ops.mul(ops.flip(others, [1, 2]), _conjugate())], 2)
    return ops.slice_axis(ops.reshape(found, (rows, many * a, 2)), 1, 0, bins)


def _chirped(x: Value, sign: int, bins: int) -> Value:
    """By Bluestein's way: as a convolution, 2·j·k being j² + k² - (j - k)²."""
    n = ops.static(x.shape[1], "the length of a Fourier transform")
    longer = _smooth(2 * n - 1)
    at = np.arange(n)
    chirp = _turns(at[:, None] ** 2, 2 * n, sign)
    y = ops.pad(_times(_complex(x), _flat(chirp, n, 2, 2)), [0, 0, 0], [0, longer - n, 0])
    around = np.zeros(longer, np.complex128)
    around[:n] = np.exp(-1j * sign * np.pi * (at * at % (2 * n)) / n)
    around[longer - n + 1 :] = around[1:n][::-1]
    filtered = np.fft.fft(around) / longer
    pairs = np.stack([filtered.real, filtered.imag, -filtered.imag, filtered.real], -1)
    y = _times(_spectrum(y, -1, longer), _flat(pairs, longer, 2, 2))
    y = ops.slice_axis(_spectrum(y, 1, longer), 1, 0, bins)
    return _times(y, _flat(chirp[:bins], bins, 2, 2))


def _complex(x: Value) -> Value:
    """[..., 1 or 2] -> [..., 2]"""
    return ops.pad(x, [0] * x.rank, [0] * (x.rank - 1) + [1]) if x.shape[-1] == 1 else x


def _times(x: Value, factors: Value) -> Value:
    """The product of complex numbers [..., 2] and matrices [..., 2, 2] that turn them."""
    re, im = (ops.slice_axis(x, -1, k, 1) for k in (0, 1))
    by_re, by_im = (
        ops.squeeze(ops.slice_axis(factors, -2, k, 1), [factors.rank - 2]) for k in (0, 1)
    )
    return ops.add(ops.mul(re, by_re), ops.mul(im, by_im))


def _turns(steps: np.ndarray, n: int, sign: int) -> np.ndarray:
    """Of turns by steps[..., j, k] n-ths: matrices [..., j, re and im, k, re and im], float64."""
    angle = steps % n * (2 * np.pi / n)
    cos, sin = np.cos(angle), sign * np.sin(angle)
    return np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -3)


def _flat(table: np.ndarray, *shape: int) -> Value:
    return constant(table.reshape(shape).astype(np.float32))


def _merges(half: int, b: int) -> bool:
    return half * 4 * b * b <= MERGED and _plan(b, False)[0] == 1


@functools.cache
def _plan(n: int, of_real: bool) -> tuple[int, float]:
    """How a transform of length n is computed, and what a row of it costs.

    1: by its matrix; 0: by Bluestein's way; else the length of the first transforms.
    """
    bins = n // 2 + 1 if of_real else n
    best = 1, float(2 * n * (1 if of_real else 2) * bins)
    low = [d for d in range(2, math.isqrt(n) + 1) if n > 16 and n % d == 0]
    for a in (*low, *(n // d for d in low)):
        b, half = n // a, a // 2 + 1 if of_real else a
        merged = half * 4 * b * b <= MERGED
        passes = 2 if merged and 4 * b * b <= _plan(b, False)[1] else 3
        cost = b * _plan(a, of_real)[1] + half * _plan(b, False)[1]
        cost += passes * STORED * 2 * half * b
        best = min(best, (a, cost), key=lambda found: found[1])
    if best[0] == 1 and n > 500:
        longer = _smooth(2 * n - 1)
        cost = 2 * _plan(longer, False)[1] + 4 * STORED * 2 * longer
        best = min(best, (0, cost), key=lambda found: found[1])
    return best


def _smooth(least: int) -> int:
    """The first length from `least` on whose only factors are PRIMES."""
    for n in itertools.count(least):
        rest = n
        for p in PRIMES:
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
    raise AssertionError


__all__ = ["fourier", "real_signal"]
