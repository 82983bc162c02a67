"""Fourier transforms of every plan, against NumPy's."""

import numpy as np
import pytest

from tests.interpret import interpret
from webdnn.frontend import spectra
from webdnn.graph import Graph, placeholder

# By a matrix, in two steps, in three, with an odd factor, with a large one, of prime length.
LENGTHS = (1, 17, 400, 625, 1018, 2048, 1009)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("inverse", [False, True])
def test_as_numpy(inverse: bool, parts: int) -> None:
    rng = np.random.default_rng(0)
    transform = np.fft.ifft if inverse else np.fft.fft
    for n in LENGTHS:
        x = rng.standard_normal((3, n, parts)).astype(np.float32)
        given = placeholder("x", x.shape, "f32")
        numbers = x[..., 0] + (1j * x[..., 1] if parts == 2 else 0)
        for bins in {n, n // 2 + 1}:
            y = spectra.fourier(given, bins, inverse)
            found = interpret(Graph((given,), {"y": y}), {"x": x})["y"]
            expected = transform(numbers.astype(np.complex128))[:, :bins]
            error = np.abs(found[..., 0] + 1j * found[..., 1] - expected).max()
            assert error < 2e-6 * np.abs(expected).max(), (n, bins)


def test_real_signals_again() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 7, 240, 513):
        x = rng.standard_normal((2, n // 2 + 1, 2)).astype(np.float32)
        given = placeholder("x", x.shape, "f32")
        graph = Graph((given,), {"y": spectra.real_signal(given, n)})
        expected = np.fft.irfft(x[..., 0] + 1j * x[..., 1], n)
        np.testing.assert_allclose(
            interpret(graph, {"x": x})["y"][..., 0], expected, atol=2e-6 * np.abs(expected).max()
        )


def test_the_plans_that_are_tested() -> None:
    plans = [spectra._plan(n, True)[0] for n in LENGTHS]
    assert plans[:2] == [1, 1]
    assert min(p for p in plans[2:6]) > 0
    assert spectra._plan(1009, False)[0] == 0
