"""How TensorFlow resizes images, as do Keras by itself and JAX, which follow it.

    >>> scale_matrix(4, 2, "bilinear", False).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]

It samples at half-pixel centres. Bicubic interpolation uses Keys' kernel with -0.5, looked up in
steps of 1/1024, and forgets what lies outside the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ... import limits, ops
from ...errors import UnsupportedError
from ...expr import Dim, as_dim
from ...graph import Value, constant
from ..arrays import moveaxis


def _kernel(mode: str) -> Callable[[np.ndarray], np.ndarray]:
    if mode == "bilinear":
        return lambda d: np.maximum(0, 1 - d)
    if mode == "bicubic":  # Keys (1981), a = -0.5
        return lambda d: np.where(
            d < 1,
            (1.5 * d - 2.5) * d * d + 1,
            np.where(d < 2, ((-0.5 * d + 2.5) * d - 4) * d + 2, 0),
        )
    radius = int(mode[-1])
    return lambda d: np.where(d < radius, np.sinc(d) * np.sinc(d / radius), 0)


def scale_matrix(size: int, out: int, mode: str, antialias: bool) -> np.ndarray:
    """[out, size]: the share of each element of an axis in each element of the resized one.

    The kernel is centred on the half-pixel source position and, to antialias, as wide as the
    reduction; its shares are normalised over what lies inside (TensorFlow's ScaleAndTranslate).
    """
    limits.make(4 * 8 * size * out, f"the matrix that resizes {size} to {out} elements")
    inverse = size / out
    width = max(inverse, 1.0) if antialias else 1.0
    centre = (np.arange(out) + 0.5) * inverse - 0.5
    shares = _kernel(mode)(np.abs(centre[:, None] - np.arange(size)[None, :]) / width)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def resized(
    x: Value,
    axes: Sequence[int],
    out: Sequence[Dim],
    mode: str,
    antialias: bool = False,
    corners: bool = False,
    backend: str = "tensorflow",
) -> Value:
    """x with its axes resized to `out` elements: nearest, bilinear, bicubic, lanczos3 or lanczos5.

    corners: bilinear positions are those of corners, as in TensorFlow 1. backend: whose bicubic
    interpolation; PyTorch's kernel has -0.75 and repeats the edge, JAX looks nothing up.
    """
    for axis, size in zip(axes, out):
        if mode == "nearest":
            x = ops.resize(
                x, axis, size, mode="nearest", coordinates="tf_half_pixel_for_nn", rounding="floor"
            )
        elif mode == "bilinear" and not antialias:
            coordinates = "asymmetric" if corners else "half_pixel"
            x = ops.resize(x, axis, size, mode="linear", coordinates=coordinates)
        elif mode == "bicubic" and not antialias:
            torch = backend == "torch"
            x = ops.resize(
                x,
                axis,
                size,
                mode="cubic",
                coordinates="half_pixel",
                cubic=-0.75 if torch else -0.5,
                exclude_outside=not torch,
                table=1024 if backend == "tensorflow" else None,
            )
        elif mode in ("bilinear", "bicubic", "lanczos3", "lanczos5"):
            old = ops.static(x.shape[axis], f"an axis resized by {mode}, antialias={antialias},")
            new = ops.static(as_dim(size), "the new size of an axis")
            shares = constant(scale_matrix(old, new, mode, antialias).astype(np.float32), x.dtype)
            y = ops.matmul(moveaxis(x, axis, -1), ops.transpose(shares, (1, 0)))
            x = moveaxis(y, -1, axis)
        else:
            raise UnsupportedError(
                f"interpolation {mode!r}; these are supported: nearest, bilinear, bicubic, "
                "lanczos3, lanczos5"
            )
    return x


__all__ = ["resized", "scale_matrix"]
