"""Chainer's functions and links with configurations of each: what the importer is tested with.

    for case in CASES: case.name, case.chain(), case.inputs

A case is a chain, the arrays that it is called with, and perhaps dimensions that are left open,
with the sizes at which the result is compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import webdnn.chainer_compat  # noqa: F401 - before chainer: what NumPy took away

# isort: split
import chainer
import chainer.functions as F
import chainer.links as L

warnings.filterwarnings("ignore", category=DeprecationWarning)


@dataclass
class Case:
    """A chain, the arguments of its call, and open dimensions with the sizes to compare at."""

    name: str
    make: Callable[[], Any]
    inputs: Any
    dims: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    constant: bool = False
    tol: float = 1e-4

    def chain(self) -> Any:
        """The chain, with the same values each time."""
        np.random.seed(7)
        return self.make()


class Of(chainer.Chain):  # type: ignore[misc]
    """A chain of one function, with arrays as its parameters."""

    def __init__(self, function: Callable[..., Any], **parameters: np.ndarray):
        super().__init__()
        self.function = function
        self.names = list(parameters)
        with self.init_scope():
            for name, array in parameters.items():
                setattr(self, name, chainer.Parameter(array))

    def forward(self, *x: Any) -> Any:
        return self.function(*x, *(getattr(self, name) for name in self.names))


RNG = np.random.default_rng(5)
CASES: list[Case] = []


def n(*shape: int) -> np.ndarray:
    """Normal numbers."""
    return RNG.standard_normal(shape).astype("f")


def u(*shape: int, low: float = 0.1, high: float = 0.9) -> np.ndarray:
    """Uniform numbers."""
    return RNG.uniform(low, high, shape).astype("f")


def ints(high: int, *shape: int) -> np.ndarray:
    """Integers from 0."""
    return RNG.integers(0, high, shape).astype("i")


def add(name: str, function: Any, *inputs: Any, p: Any = (), **options: Any) -> None:
    """A case of a function; p are its parameters."""
    parameters = {f"p{k}": a for k, a in enumerate(p)}
    count = sum(c.name.split("-")[0] == name for c in CASES)
    CASES.append(
        Case(f"{name}-{count}", lambda: Of(function, **parameters), tuple(inputs), **options)
    )


def link(name: str, make: Callable[[], Any], *inputs: Any, **options: Any) -> None:
    """A case of a link."""
    count = sum(c.name.split("-")[0] == name for c in CASES)
    CASES.append(Case(f"{name}-{count}", make, inputs, **options))


def perturbed(made: Any) -> Any:
    """A link whose parameters and statistics are random, so that each of them counts."""
    for _, parameter in made.namedparams():
        if parameter.array is not None:
            parameter.array[...] += 0.3 * np.random.standard_normal(parameter.shape)
    for part in made.links():
        for name in getattr(part, "_persistent", ()):
            value = getattr(part, name)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                value[...] = np.random.uniform(0.5, 1.5, value.shape)
    return made


# ---- elementwise --------------------------------------------------------------------------------

ELEMENTWISE = """
    absolute cos cosh sin sinh tan tanh erf erfc exp expm1 square sigmoid hard_sigmoid relu relu6
    selu softplus elu leaky_relu rrelu log_softmax softmax ndtr identity fix
"""
for one in ELEMENTWISE.split():
    add(one, getattr(F, one), 2 * n(3, 5))
for one in ("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "arccos", "arcsin", "arctan",
            "arctanh"):  # fmt: skip
    add(one, getattr(F, one), u(3, 5))
for one in ("ceil", "floor", "sign"):
    add(one, getattr(F, one), 3 * n(3, 5))
add("neg", lambda x: -x, n(3, 5))
add("clipped_relu", lambda x: F.clipped_relu(x, 0.7), n(3, 5))
add("crelu", lambda x: F.crelu(x, axis=-1), n(3, 5))
add("elu", lambda x: F.elu(x, 0.4), n(3, 5))
add("leaky_relu", lambda x: F.leaky_relu(x, 0.05), n(3, 5))
add("softplus", lambda x: F.softplus(x, beta=2.5), n(3, 5))
add("rrelu", lambda x: F.rrelu(x, 0.2, 0.6), n(3, 5))
add("softmax", lambda x: F.softmax(x, axis=2), n(2, 3, 4))
add("log_softmax", lambda x: F.log_softmax(x, axis=0), n(4, 3))
add("prelu", F.prelu, n(2, 3, 4), p=[u(3)])
add("prelu", F.prelu, n(2, 3, 4), p=[u(3, 4)])
add("swish", F.swish, n(2, 3, 4), p=[u(3)])
add("maxout", lambda x: F.maxout(x, 3), n(2, 6, 4))
for one in ("maximum", "minimum", "arctan2", "squared_difference", "absolute_error", "add", "fmod"):
    add(one, getattr(F, one), 2 * n(3, 4), u(3, 4, low=0.5, high=2))
add("arithmetic", lambda x, y: (x + y) * (x - y) / (y * y + 2) - 3 * x + 1 / (y * y + 1), n(3, 4),
    n(3, 4))  # fmt: skip
add("arithmetic", lambda x: (2 - x) ** 2 + abs(x) ** 1.7 + 2.0**x + (x + 0.25), n(3, 4))
add("arithmetic", lambda x, y: abs(x) ** y + (x // 0.5) + (3 // (abs(y) + 1)), n(3, 4), n(3, 4))
add("arithmetic", lambda x, y: x + y, n(3, 4), n(4))
add("add", F.add, n(3, 4), n(3, 4), n(3, 4))
add("bias", lambda x, y: F.bias(x, y, axis=1), n(2, 3, 4), n(3))
add("scale", lambda x, y: F.scale(x, y, axis=0), n(2, 3, 4), n(2, 3))
add("squared_error", F.squared_error, n(3, 4), n(3, 4))
add("clip", lambda x: F.clip(x, -0.3, 0.8), n(4, 5))
add("clip", lambda x: F.clip(x, None, 0.8), n(4, 5))
add("linear_interpolate", F.linear_interpolate, u(3, 4), n(3, 4), n(3, 4))
add("where", lambda x, y: F.where(np.arange(12).reshape(3, 4) % 3 == 0, x, y), n(3, 4), n(3, 4))
add("where", lambda c, x, y: F.where(c, x, y), RNG.random((3, 4)) > 0.5, n(3, 4), n(3, 4))
add("cast", lambda x: F.cast(x, "i"), 5 * n(3, 4))
add("cast", lambda x: F.cast(x, np.float64) * 2, n(3, 4))
add("copy", lambda x: F.copy(x, -1) * 2, n(3, 4))
add("forget", lambda x: F.forget(lambda v: F.relu(v) + v, x), n(3, 4))
add("dropout", lambda x: F.dropout(x, 0.4) * 2, n(3, 4))
add("zoneout", lambda h, x: F.zoneout(h, x) * 2, n(3, 4), n(3, 4))
add("fft", lambda a, b: F.fft((a, b)), n(3, 8), n(3, 8))
add("ifft", lambda a, b: F.ifft((a, b)), n(3, 7), n(3, 7))

# ---- numpy's functions, of arrays ---------------------------------------------------------------

UNARY = """
    absolute ceil cos exp floor isinf isnan log negative reciprocal rint sign sin sqrt square tanh
    trunc
"""
BINARY = """
    add arctan2 divide equal fmod greater greater_equal less less_equal maximum minimum multiply
    not_equal power remainder subtract
"""
LOGIC = "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor"
for one in UNARY.split():
    low = 0.1 if one in ("log", "reciprocal", "sqrt") else -3
    add(f"numpy.{one}", lambda x, name=one: getattr(np, name)(x.array), u(3, 5, low=low, high=3),
        constant=one.startswith("is"))  # fmt: skip
for one in BINARY.split():
    add(f"numpy.{one}", lambda x, y, name=one: getattr(np, name)(x.array, y.array),
        u(3, 5, high=3), u(3, 5, high=2), constant=one.endswith("equal"))  # fmt: skip
    add(f"numpy.{one}", lambda x, name=one: getattr(np, name)(x.array, 2), u(3, 5, high=4),
        constant=one.endswith("equal"))  # fmt: skip
for one in LOGIC.split():
    add(f"numpy.{one}", lambda x, y, name=one: getattr(np, name)(x.array > 0, y.array > 0.2),
        n(3, 5), n(3, 5))  # fmt: skip
for one in LOGIC.split()[3:]:
    add(f"numpy.{one}", lambda x, y, name=one: getattr(np, name)(x.array, y.array), ints(9, 4, 5),
        ints(9, 4, 5))  # fmt: skip
add("numpy.logical_not", lambda x: np.logical_not(x.array > 0.2), n(3, 5))
add("numpy.invert", lambda x: ~(x.array > 0.2), n(3, 5))
add("numpy.invert", lambda x: ~x.array, ints(9, 3, 5))
add("numpy.where", lambda x, y: np.where((x.array < 0) | (y.array > 1), 0, x.array), n(3, 4),
    n(3, 4))  # fmt: skip
add("where", lambda x: F.where(x.array > 0, x, 0.2 * x), n(3, 4))
add("arrays", lambda x: F.relu((x.array[:, ::2].astype("d").T.reshape(2, -1) / 3).astype("f")),
    n(3, 4))  # fmt: skip
add("arrays", lambda x: np.concatenate([x.array.mean(axis=1), np.max(x.array, 0)]) * 2, n(3, 4))
add("arrays", lambda x: np.stack([x.array.sum(0), np.argmax(x.array, axis=0)]) * 2, n(3, 4))
add("arrays", lambda x: ((x.array > 0).sum(1), (x.array > 0).mean(0) * 2, (x.array > 0).sum()),
    n(4, 9), constant=True)  # fmt: skip
add("arrays", lambda i, j: i.array == j.array, ints(3, 4, 5),
    ints(3, 4, 5))  # fmt: skip
add("arrays", lambda i, w: F.embed_id(np.where(i.array == 3, 0, i.array), w), ints(5, 2, 6),
    p=[n(5, 3)])  # fmt: skip


# ---- reductions and products --------------------------------------------------------------------

for one in ("sum", "mean", "max", "min", "prod"):
    add(one, getattr(F, one), n(3, 4))
    add(one, lambda x, name=one: vars(F)[name](x, axis=(0, -1), keepdims=True), n(2, 3, 4))
    add(one, lambda x, name=one: vars(F)[name](x, axis=1), n(2, 3, 4))
add("average", lambda x, w: F.average(x, axis=1, weights=w), n(3, 4), u(4))
add("logsumexp", F.logsumexp, n(3, 4))
add("logsumexp", lambda x: F.logsumexp(x, axis=(0, 2)), n(2, 3, 4))
add("argmax", lambda x: F.argmax(x, axis=1), n(5, 6))
add("argmax", lambda x: F.argmax(x) + F.argmin(x) * 0, n(5, 6), constant=True)
add("argmin", lambda x: F.argmin(x, axis=-1), n(2, 5, 6))
add("sum_to", lambda x: F.sum_to(x, (3, 1)), n(2, 3, 4))
add("cumsum", F.cumsum, n(2, 3))
add("cumsum", lambda x: F.cumsum(x, axis=-1), n(2, 5))
add("cumprod", lambda x: F.cumprod(x, axis=1), n(2, 7))
add("cumprod", F.cumprod, n(2, 3))
add("batch_l2_norm_squared", F.batch_l2_norm_squared, n(3, 2, 4))
add("matmul", F.matmul, n(3, 4), n(4, 5))
add("matmul", lambda a, b: F.matmul(a, b, transa=True, transb=True), n(2, 4, 3), n(2, 5, 4))
add("matmul", F.matmul, n(4), n(4, 5))
add("matmul", lambda a, b: F.matmul(a, b, transb=True), n(2, 1, 3, 4), n(5, 5, 4))
add("batch_matmul", lambda a, b: F.batch_matmul(a, b, transa=True), n(2, 4, 3), n(2, 4))
add("einsum", lambda a, b: F.einsum("ijk,kl->jil", a, b), n(2, 3, 4), n(4, 5))
add("einsum", lambda a, b: F.einsum("...ij,jk", a, b), n(2, 3, 4), n(4, 5))
add("einsum", lambda a: F.einsum("iij->ji", a), n(3, 3, 4))
add("tensordot", lambda a, b: F.tensordot(a, b, axes=2), n(2, 3, 4), n(3, 4, 5))
add("tensordot", lambda a, b: F.tensordot(a, b, axes=([1, 0], [0, 2])), n(2, 3, 4), n(3, 5, 2))

# ---- shapes -------------------------------------------------------------------------------------

add("reshape", lambda x: F.reshape(x, (3, -1)) * 2, n(2, 3, 4))
add("flatten", lambda x: F.flatten(x) * 2, n(2, 3, 4))
add("transpose", lambda x: F.transpose(x) * 2, n(2, 3, 4))
add("transpose", lambda x: F.transpose(x, (1, -1, 0)) * 2, n(2, 3, 4))
add("swapaxes", lambda x: F.swapaxes(x, 0, -1) * 2, n(2, 3, 4))
add("moveaxis", lambda x: F.moveaxis(x, (0, 1), (-1, 0)) * 2, n(2, 3, 4))
add("moveaxis", lambda x: F.moveaxis(x, 2, 0) * 2, n(2, 3, 4))
for axis, start in ((2, 0), (0, 3), (1, -1), (-1, 1)):
    add("rollaxis", lambda x, a=axis, s=start: F.rollaxis(x, a, s) * 2, n(2, 3, 4))
add("expand_dims", lambda x: F.expand_dims(x, -1) * 2, n(2, 3))
add("squeeze", lambda x: F.squeeze(x) * 2, n(2, 1, 3, 1))
add("squeeze", lambda x: F.squeeze(x, (1,)) * 2, n(2, 1, 3, 1))
add("broadcast_to", lambda x: F.broadcast_to(x, (2, 3, 4)) * 2, n(3, 1))
add("broadcast", lambda x, y: [v * 2 for v in F.broadcast(x, y)], n(3, 1), n(2, 1, 4))
add("concat", lambda x, y: F.concat([x, y]), n(2, 3), n(2, 4))
add("stack", lambda x, y: F.stack([x, y], axis=-1), n(2, 3), n(2, 3))
for one in ("hstack", "vstack", "dstack"):
    add(one, lambda x, y, name=one: vars(F)[name]([x, y]), n(3), n(3))
    add(one, lambda x, y, name=one: vars(F)[name]([x, y]), n(2, 3), n(2, 3))
add("split_axis", lambda x: [2 * v for v in F.split_axis(x, 3, 1)], n(2, 6))
add("split_axis", lambda x: [2 * v for v in F.split_axis(x, [1, 4], 1)], n(2, 6))
add("split_axis", lambda x: [2 * v for v in F.split_axis(x, np.array([2, 5]), -1)], n(2, 6))
add("separate", lambda x: [2 * v for v in F.separate(x, axis=1)], n(2, 3, 4))
add("flip", lambda x: F.flip(x, -1) * 2, n(2, 3, 4))
add("fliplr", lambda x: F.fliplr(x) * 2, n(2, 3, 4))
add("flipud", lambda x: F.flipud(x) * 2, n(2, 3, 4))
add("repeat", lambda x: F.repeat(x, 3, axis=1) * 2, n(2, 3))
add("repeat", lambda x: F.repeat(x, 2) * 2, n(2, 3))
add("repeat", lambda x: F.repeat(x, (1, 0, 3), axis=-1) * 2, n(2, 3))
add("tile", lambda x: F.tile(x, (2, 1, 3)) * 2, n(2, 3))
add("tile", lambda x: F.tile(x, 2) * 2, n(2, 3))
add("depth2space", lambda x: F.depth2space(x, 2) * 2, n(2, 12, 2, 3))
add("space2depth", lambda x: F.space2depth(x, 2) * 2, n(2, 3, 4, 6))
add("pad", lambda x: F.pad(x, 2, "constant") * 2, n(3, 4))
add("pad", lambda x: F.pad(x, ((1, 0), (2, 3)), "constant", constant_values=1.5) * 2, n(3, 4))
add("pad", lambda x: F.pad(x, 1, "constant", constant_values=((1, 2), (3, 4))) * 2, n(3, 4))
for mode in ("edge", "reflect", "symmetric", "wrap"):
    add("pad", lambda x, m=mode: F.pad(x, ((1, 2), (0, 5)), m) * 2, n(3, 4))
add("pad_sequence", lambda *xs: F.pad_sequence(xs, 5, 0.5), n(3, 2), n(4, 2), n(1, 2))
add("pad_sequence", lambda *xs: F.pad_sequence(xs), n(3), n(4))
add("transpose_sequence", lambda *xs: F.transpose_sequence(xs), n(4, 2), n(3, 2), n(1, 2))
add("permutate", lambda x: F.permutate(x, np.array([2, 0, 1], "i"), axis=1) * 2, n(2, 3))
add("permutate", lambda x: F.permutate(x, np.array([2, 0, 1], "i"), inv=True) * 2, n(3, 3))
add("permutate", lambda x, i: F.permutate(x, i, inv=True) * 2, n(3, 3), np.array([1, 2, 0], "i"))
add("select_item", F.select_item, n(5, 4), ints(4, 5))
add("embed_id", F.embed_id, ints(9, 2, 5), p=[n(9, 3)])
add("embed_id", lambda i, w: F.embed_id(i, w, ignore_label=2), ints(5, 3, 4), p=[n(5, 3)])
add("diagonal", lambda x: F.diagonal(x, 1, 2, 0) * 2, n(3, 4, 5))
add("im2col", lambda x: F.im2col(x, (2, 3), (2, 1), (1, 0), cover_all=True), n(2, 3, 5, 6))
add("im2col", lambda x: F.im2col(x, 2, 1, 1, dilate=2), n(2, 3, 5, 6))
for index in (
    np.s_[1], np.s_[:, 1:], np.s_[..., -1], np.s_[::-1, ::2], np.s_[None, 1:2, ..., None, -2],
    np.s_[[1, 0, 1]], np.s_[:, [0, 2]], np.s_[[0, 1], :, [2, 3]], np.s_[:, [0, 2], [1, 3]],
    np.s_[1, [0, 2]], np.s_[..., np.array([[0, 1], [2, 3]])], np.s_[0, :, [1, -1]],
    np.s_[np.array([True, False])], np.s_[:, None, np.array([2, 0]), 1:3],
    np.s_[-1:0:-1, ::-2, 3:1:-1],
):  # fmt: skip
    add("get_item", lambda x, i=index: F.get_item(x, i) * 2, n(2, 3, 4))
add("get_item", lambda x, i: x[np.arange(4), F.cast(i, "i").array] * 2, n(4, 5), ints(5, 4))
add("scatter_add", lambda a, b: F.scatter_add(a, np.s_[1:3, ::2], b), n(4, 5), n(2, 3))
add("scatter_add", lambda a, b: F.scatter_add(a, ([0, 2, 0], [1, 1, 1]), b), n(4, 5), n(3))
add("scatter_add", lambda a, b: F.scatter_add(a, (-1,), b), n(4, 5), n(5))

# ---- connections --------------------------------------------------------------------------------

add("linear", F.linear, n(3, 4), p=[n(5, 4), n(5)])
add("linear", lambda x, w: F.linear(x, w, n_batch_axes=2), n(2, 3, 4), p=[n(5, 4)])
add("bilinear", F.bilinear, n(3, 4), n(3, 5), p=[n(4, 5, 2)])
add("bilinear", F.bilinear, n(3, 4), n(3, 5), p=[n(4, 5, 2), n(4, 2), n(5, 2), n(2)])
add("simplified_dropconnect", lambda x, w, b: F.simplified_dropconnect(x, w, b, train=False),
    n(3, 4), p=[n(5, 4), n(5)])  # fmt: skip
MASK = RNG.random((5, 4)) > 0.5
add("simplified_dropconnect", lambda x, w: F.simplified_dropconnect(
    x, w, mask=MASK, use_batchwise_mask=False), n(3, 4), p=[n(5, 4)])  # fmt: skip
add("convolution_2d", lambda x, w, b: F.convolution_2d(x, w, b, (2, 1), (1, 2)), n(2, 3, 7, 8),
    p=[n(4, 3, 3, 3), n(4)])  # fmt: skip
add("convolution_2d", lambda x, w: F.convolution_2d(x, w, None, 2, 1, cover_all=True),
    n(2, 3, 8, 7), p=[n(6, 3, 3, 3)])  # fmt: skip
add("convolution_2d", lambda x, w: F.convolution_2d(x, w, None, 1, 2, dilate=(2, 1), groups=2),
    n(2, 4, 8, 7), p=[n(6, 2, 3, 3)])  # fmt: skip
add("convolution_1d", lambda x, w, b: F.convolution_1d(x, w, b, 2, 1), n(2, 3, 9),
    p=[n(4, 3, 3), n(4)])  # fmt: skip
add("convolution_3d", lambda x, w, b: F.convolution_3d(x, w, b, (1, 2, 1), 1), n(1, 2, 4, 5, 6),
    p=[n(3, 2, 2, 3, 3), n(3)])  # fmt: skip
add("convolution_nd", lambda x, w: F.convolution_nd(
    x, w, None, 2, 1, cover_all=True, dilate=1, groups=2), n(1, 4, 6, 7),
    p=[n(4, 2, 3, 2)])  # fmt: skip
add("dilated_convolution_2d", lambda x, w: F.dilated_convolution_2d(x, w, None, 1, 2, 2),
    n(1, 2, 7, 8), p=[n(3, 2, 3, 3)])  # fmt: skip
add("depthwise_convolution_2d", lambda x, w, b: F.depthwise_convolution_2d(x, w, b, 1, 1),
    n(2, 3, 6, 5), p=[n(2, 3, 3, 3), n(6)])  # fmt: skip
add("deconvolution_2d", lambda x, w, b: F.deconvolution_2d(x, w, b, 2, 1), n(2, 3, 4, 5),
    p=[n(3, 4, 3, 3), n(4)])  # fmt: skip
add("deconvolution_2d", lambda x, w: F.deconvolution_2d(x, w, None, 2, 0), n(2, 3, 4, 5),
    p=[n(3, 4, 2, 2)])  # fmt: skip
add("deconvolution_2d", lambda x, w: F.deconvolution_2d(x, w, None, 2, 1, (8, 10)), n(2, 3, 4, 5),
    p=[n(3, 4, 3, 3)])  # fmt: skip
add("deconvolution_2d", lambda x, w: F.deconvolution_2d(x, w, None, 2, 1, groups=2),
    n(2, 4, 4, 5), p=[n(4, 3, 4, 4)])  # fmt: skip
add("deconvolution_2d", lambda x, w: F.deconvolution_2d(x, w, None, 1, 0, dilate=2),
    n(1, 2, 4, 5), p=[n(2, 3, 3, 2)])  # fmt: skip
add("deconvolution_1d", lambda x, w, b: F.deconvolution_1d(x, w, b, 3, 1), n(2, 3, 5),
    p=[n(3, 4, 4), n(4)])  # fmt: skip
add("deconvolution_3d", lambda x, w: F.deconvolution_3d(x, w, None, 2, 1), n(1, 2, 3, 3, 4),
    p=[n(2, 3, 3, 3, 3)])  # fmt: skip
add("deconvolution_nd", lambda x, w: F.deconvolution_nd(x, w, None, 2, 1, (8, 10), groups=2),
    n(1, 4, 4, 5), p=[n(4, 2, 3, 3)])  # fmt: skip
add("local_convolution_2d", lambda x, w, b: F.local_convolution_2d(x, w, b, (2, 1)),
    n(2, 3, 7, 6), p=[n(4, 3, 4, 3, 3, 3), n(4, 3, 4)])  # fmt: skip
add("shift", lambda x: F.shift(x), n(2, 11, 5, 6))
add("shift", lambda x: F.shift(x, (3, 5), (2, 1)), n(1, 17, 7, 8))
add("deformable_convolution_2d_sampler", lambda x, o, w, b: F.deformable_convolution_2d_sampler(
    x, o, w, b, 1, 1), n(2, 3, 6, 5), n(2, 18, 6, 5), p=[n(4, 3, 3, 3), n(4)])  # fmt: skip

# ---- normalisation ------------------------------------------------------------------------------

add("fixed_batch_normalization", F.fixed_batch_normalization, n(2, 3, 4, 5),
    p=[n(3), n(3), n(3), u(3)])  # fmt: skip
add("fixed_batch_normalization", lambda *a: F.fixed_batch_normalization(*a, eps=0.1, axis=(0, 1)),
    n(2, 3, 4), p=[n(4), n(4), n(4), u(4)])  # fmt: skip
add("fixed_batch_normalization", F.fixed_batch_normalization, n(2, 3, 4),
    p=[n(3, 4), n(3, 4), n(3, 4), u(3, 4)])  # fmt: skip
add("batch_normalization", F.batch_normalization, n(3, 4, 5), p=[n(4), n(4)])
add("fixed_batch_renormalization", F.fixed_batch_renormalization, n(2, 3, 4),
    p=[n(3), n(3), n(3), u(3)])  # fmt: skip
add("fixed_decorrelated_batch_normalization",
    lambda x, m, s: F.fixed_decorrelated_batch_normalization(x, m, s, groups=2), n(2, 6, 4, 3),
    p=[n(2, 3), n(2, 3, 3)])  # fmt: skip
add("group_normalization", lambda x, g, b: F.group_normalization(x, 2, g, b), n(2, 6, 4, 3),
    p=[n(6), n(6)])  # fmt: skip
add("group_normalization", lambda x, g, b: F.group_normalization(x, 6, g, b, 0.1), n(2, 6, 5),
    p=[n(6), n(6)])  # fmt: skip
add("layer_normalization", F.layer_normalization, n(3, 8), p=[n(8), n(8)])
add("local_response_normalization", F.local_response_normalization, 9 * n(2, 7, 3, 4))
add("local_response_normalization", lambda x: F.local_response_normalization(x, 3, 1, 0.2, 0.5),
    9 * n(2, 7, 3))  # fmt: skip
add("normalize", F.normalize, n(3, 4, 2))
add("normalize", lambda x: F.normalize(x, 0.1, axis=(1, 2)), n(3, 4, 2))

# ---- pooling and resampling ---------------------------------------------------------------------

for cover in (False, True):
    for size, stride, pad in ((2, 2, 0), (3, 2, 1), ((2, 3), (1, 2), (0, 1)), (3, 3, 0)):
        add("max_pooling_2d", lambda x, a=(size, stride, pad, cover): F.max_pooling_2d(x, *a),
            n(2, 3, 7, 8))  # fmt: skip
        add("unpooling_2d", lambda x, a=(size, stride, pad, None, cover): F.unpooling_2d(x, *a),
            n(2, 3, 4, 5))  # fmt: skip
for size, stride, pad in ((2, None, 0), (3, 2, 1), ((2, 3), (1, 2), (0, 1))):
    add("average_pooling_2d", lambda x, a=(size, stride, pad): F.average_pooling_2d(x, *a),
        n(2, 3, 7, 8))  # fmt: skip
add("max_pooling_1d", lambda x: F.max_pooling_1d(x, 3, 2, 1), n(2, 3, 8))
add("max_pooling_3d", lambda x: F.max_pooling_3d(x, 2, 2), n(1, 2, 5, 4, 5))
add("max_pooling_nd", lambda x: F.max_pooling_nd(x, (3, 2), 2, cover_all=False), n(2, 3, 8, 7))
add("average_pooling_1d", lambda x: F.average_pooling_1d(x, 3, 2, 1), n(2, 3, 8))
add("average_pooling_3d", lambda x: F.average_pooling_3d(x, 2, 1, 1, None), n(1, 2, 3, 4, 3))
add("average_pooling_nd", lambda x: F.average_pooling_nd(x, 3, 2, 1, None), n(2, 3, 8, 7))
add("spatial_pyramid_pooling_2d", lambda x: F.spatial_pyramid_pooling_2d(x, 3, "max"),
    n(2, 3, 9, 7))  # fmt: skip
add("unpooling_2d", lambda x: F.unpooling_2d(x, 2, 2, 0, (6, 9)), n(2, 3, 3, 5))
add("unpooling_1d", lambda x: F.unpooling_1d(x, 3, 2, 1), n(2, 3, 5))
add("unpooling_3d", lambda x: F.unpooling_3d(x, 2, cover_all=False), n(1, 2, 3, 2, 3))
add("unpooling_nd", lambda x: F.unpooling_nd(x, 2, 2, 0, (6, 9)), n(2, 3, 3, 5))


def _unpooled(x: Any, size: int, stride: int, pad: int) -> Any:
    y, indexes = F.max_pooling_2d(x, size, stride, pad, return_indices=True)
    return F.upsampling_2d(y, indexes, size, stride, pad, x.shape[2:])


add("upsampling_2d", lambda x: _unpooled(x, 2, 2, 0), n(2, 3, 6, 7))
add("upsampling_2d", lambda x: _unpooled(x, 3, 2, 1), n(2, 3, 6, 7))
for mode, corners in (("bilinear", True), ("bilinear", False), ("nearest", False)):
    for size in ((9, 13), (3, 4), (8, 10), (1, 5)):
        add("resize_images", lambda x, s=size, m=mode, c=corners: F.resize_images(
            x, s, mode=m, align_corners=c), n(2, 3, 4, 5))  # fmt: skip
add("spatial_transformer_grid", lambda t: F.spatial_transformer_grid(t, (4, 6)), n(2, 2, 3))
add("spatial_transformer_sampler", F.spatial_transformer_sampler, n(2, 3, 5, 6), n(2, 2, 4, 3))
ROIS = np.array([[0, 0, 5, 6], [2.4, 1.3, 7.1, 4.9], [1, 1, 1.2, 1.4], [-3, 2, 20, 30]], "f")
WHICH = np.array([0, 1, 1, 0], "i")
CORNERS = np.concatenate([WHICH[:, None], ROIS[:, [1, 0, 3, 2]]], 1).astype("f")
PICTURES = n(2, 3, 9, 10)
add("roi_pooling_2d", lambda x, r: F.roi_pooling_2d(x, r, 3, 4, 0.7), PICTURES, CORNERS)
for one in ("roi_max_pooling_2d", "roi_average_pooling_2d"):
    add(one, lambda x, r, i, name=one: vars(F)[name](x, r, i, (3, 2), 0.9), PICTURES, ROIS, WHICH)
for one in ("roi_max_align_2d", "roi_average_align_2d"):
    for ratio in ((2, 3), (None, 2)):
        add(one, lambda x, r, i, name=one, n=ratio: vars(F)[name](x, r, i, (3, 2), 0.9, n),
            PICTURES, ROIS, WHICH)  # fmt: skip

# ---- recurrent cells ----------------------------------------------------------------------------

add("lstm", F.lstm, n(3, 4), n(3, 16))
add("lstm", F.lstm, n(5, 4), n(3, 16))
add("slstm", F.slstm, n(3, 4), n(3, 4), n(3, 16), n(3, 16))
add("tree_lstm", F.tree_lstm, n(3, 4), n(3, 4), n(3, 20))


def _steps(name: str, states: int, count: int, both: bool, lengths: Any, **options: Any) -> Any:
    """A function of F.n_step_* over time steps, with its weights."""
    layers, inner, hidden, ways = 2, 3, 4, 2 if both else 1
    half = count // 2
    ws = [
        [0.5 * n(hidden, (inner if layer == 0 else hidden * ways) if k < half else hidden)
         for k in range(count)] for layer in range(layers) for _ in range(ways)
    ]  # fmt: skip
    bs = [[0.5 * n(hidden) for _ in range(count)] for _ in range(layers * ways)]
    start = [n(layers * ways, lengths[0], hidden) for _ in range(states)]

    def run(*inputs: Any) -> Any:
        given, xs = inputs[:states], list(inputs[states:])
        return getattr(F, name)(layers, 0.3, *given, ws, bs, xs, **options)

    add(name, run, *start, *(n(b, inner) for b in lengths))


for both in ("", "bi"):
    _steps(f"n_step_{both}lstm", 2, 8, bool(both), (3, 3, 2, 1))
    _steps(f"n_step_{both}gru", 1, 6, bool(both), (3, 2, 2))
    _steps(f"n_step_{both}rnn", 1, 2, bool(both), (2, 2, 1), activation="relu")
    _steps(f"n_step_{both}rnn", 1, 2, bool(both), (2, 2, 2), activation="tanh")


class Sequences(chainer.Chain):  # type: ignore[misc]
    """An N-step network over sequences, from zero states or given ones."""

    def __init__(self, made: Any):
        super().__init__()
        with self.init_scope():
            self.rnn = made

    def forward(self, xs: Any, *states: Any) -> Any:
        lstm = "LSTM" in type(self.rnn).__name__
        given = states or (None,) * (1 + lstm)
        return self.rnn(*given, xs)


for kind in ("LSTM", "BiLSTM", "GRU", "BiGRU", "RNNTanh", "BiRNNReLU", "RNNReLU", "BiRNNTanh"):
    made = lambda k=kind: Sequences(perturbed(getattr(L, f"NStep{k}")(2, 3, 4, 0.1)))  # noqa: E731
    link(f"NStep{kind}", made, [n(4, 3), n(6, 3), n(2, 3)])
    link(f"NStep{kind}", made, [n(5, 3)], dims={"length": (2, 9)}, sizes={"length": 7})
link("NStepBiLSTM", lambda: Sequences(perturbed(L.NStepBiLSTM(2, 3, 4, 0.1))), [n(4, 3), n(6, 3)],
     n(4, 2, 4), n(4, 2, 4))  # fmt: skip


class Loop(chainer.Chain):  # type: ignore[misc]
    """A stateful link called for each step of [N, T, I]."""

    def __init__(self, made: Any):
        super().__init__()
        with self.init_scope():
            self.cell = made

    def forward(self, x: Any) -> Any:
        self.cell.reset_state()
        return F.stack([self.cell(x[:, t]) for t in range(x.shape[1])], axis=1)


for kind in ("LSTM", "StatefulGRU", "StatefulPeepholeLSTM", "StatefulMGU", "StatefulZoneoutLSTM"):
    link(kind, lambda k=kind: Loop(perturbed(getattr(L, k)(3, 4))), n(2, 4, 3))
link("LSTM", lambda: Loop(perturbed(L.LSTM(3, 4))), n(2, 4, 3), dims={"batch": (1, 5)},
     sizes={"batch": 4})  # fmt: skip
link("LSTM", lambda: perturbed(L.LSTM(3, 4)), n(2, 3))
link("StatelessGRU", lambda: perturbed(L.StatelessGRU(3, 4)), n(2, 4), n(2, 3))
link("StatelessMGU", lambda: perturbed(L.StatelessMGU(3, 4)), n(2, 4), n(2, 3))
link("StatelessLSTM", lambda: perturbed(L.StatelessLSTM(3, 4)), n(2, 4), n(2, 4), n(2, 3))
link("NaryTreeLSTM", lambda: perturbed(L.NaryTreeLSTM(3, 4, 2)), n(2, 4), n(2, 4), n(2, 4),
     n(2, 4), n(2, 3))  # fmt: skip
link("ChildSumTreeLSTM", lambda: perturbed(L.ChildSumTreeLSTM(3, 4)), n(2, 4), n(2, 4), n(2, 4),
     n(2, 4), n(2, 3))  # fmt: skip

# ---- links --------------------------------------------------------------------------------------

IMAGE = n(2, 4, 6, 7)


class Rows(chainer.Chain):  # type: ignore[misc]
    """A link over the first plane of a picture, its rows as channels."""

    def __init__(self, made: Any):
        super().__init__()
        with self.init_scope():
            self.made = made

    def forward(self, x: Any) -> Any:
        return self.made(x[:, 0])


class Deep(Rows):
    """A link over the planes of a picture as a volume."""

    def forward(self, x: Any) -> Any:
        return self.made(F.expand_dims(x, 1))


for name, made in {
    "BatchNormalization": lambda: L.BatchNormalization(4),
    "BatchRenormalization": lambda: L.BatchRenormalization(4),
    "DecorrelatedBatchNormalization": lambda: L.DecorrelatedBatchNormalization(4, groups=2),
    "GroupNormalization": lambda: L.GroupNormalization(2),
    "Bias": lambda: L.Bias(1, (4,)),
    "Scale": lambda: L.Scale(1, (4,), bias_term=True),
    "PReLU": lambda: L.PReLU((4,)),
    "Swish": lambda: L.Swish((4,)),
    "Convolution2D": lambda: L.Convolution2D(4, 5, 3, stride=2, pad=1),
    "ConvolutionND": lambda: L.ConvolutionND(2, 4, 5, 3),
    "Convolution1D": lambda: Rows(L.Convolution1D(6, 5, 3)),
    "Deconvolution1D": lambda: Rows(L.Deconvolution1D(6, 5, 3)),
    "Convolution3D": lambda: Deep(L.Convolution3D(1, 2, 3)),
    "Deconvolution3D": lambda: Deep(L.Deconvolution3D(1, 2, 3)),
    "Deconvolution2D": lambda: L.Deconvolution2D(4, 5, 4, stride=2, pad=1),
    "DeconvolutionND": lambda: L.DeconvolutionND(2, 4, 5, 3),
    "DeformableConvolution2D": lambda: L.DeformableConvolution2D(4, 5, 3, pad=1),
    "DepthwiseConvolution2D": lambda: L.DepthwiseConvolution2D(4, 2, 3),
    "DilatedConvolution2D": lambda: L.DilatedConvolution2D(4, 5, 3, pad=2, dilate=2),
    "LocalConvolution2D": lambda: L.LocalConvolution2D(4, 3, (6, 7), 3),
    "Inception": lambda: L.Inception(4, 2, 3, 4, 2, 3, 2),
    "InceptionBN": lambda: L.InceptionBN(4, 2, 3, 4, 2, 3, "max", 2),
    "MLPConvolution2D": lambda: L.MLPConvolution2D(4, (5, 3), 3),
    "Linear": lambda: L.Linear(168, 5),
    "Maxout": lambda: L.Maxout(168, 5, 3),
}.items():
    link(name, lambda m=made: perturbed(m()), IMAGE)
    link(name, lambda m=made: perturbed(m()), IMAGE, dims={"batch": (1, 6)}, sizes={"batch": 3})


class Undropped(Rows):
    """A link that asks for training unless it is told."""

    def forward(self, x: Any) -> Any:
        return self.made(x, train=False)


link("SimplifiedDropconnect", lambda: Undropped(perturbed(L.SimplifiedDropconnect(6, 5))), n(3, 6))
link("LayerNormalization", lambda: perturbed(L.LayerNormalization(6)), n(3, 6))
link("Highway", lambda: perturbed(L.Highway(6)), n(3, 6))
link("Bilinear", lambda: perturbed(L.Bilinear(4, 5, 3)), n(2, 4), n(2, 5))
link("EmbedID", lambda: perturbed(L.EmbedID(9, 4, ignore_label=-1)), ints(9, 2, 6))
link("Parameter", lambda: Of(lambda x, p: x * p, p=n(1)), n(2, 6))

# ---- open sizes ---------------------------------------------------------------------------------


class Attention(chainer.Chain):  # type: ignore[misc]
    """Self-attention with positions and a causal mask that are made for each length."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(11, 8)
            self.qkv = L.Linear(8, 24)
            self.norm = L.LayerNormalization(8)
        self.table = RNG.standard_normal((32, 8)).astype("f")

    def forward(self, ids: Any) -> Any:
        batch, length = ids.shape
        places = np.broadcast_to(self.table[:length], (batch, length, 8))
        x = self.embed(ids) + np.ascontiguousarray(places)
        x = F.reshape(self.norm(F.reshape(x, (-1, 8))), x.shape)
        qkv = F.reshape(self.qkv(x, n_batch_axes=2), (batch, length, 3, 2, 4))
        q, k, v = (F.transpose(qkv[:, :, part], (0, 2, 1, 3)) for part in range(3))
        scores = F.matmul(q, k, transb=True) / 2
        mask = np.tril(np.ones((length, length), bool))
        low = np.full(scores.shape, -1e9, "f")
        scores = F.where(np.broadcast_to(mask, scores.shape).copy(), scores, low)
        y = F.matmul(F.softmax(scores, axis=3), v)
        y = F.reshape(F.transpose(y, (0, 2, 1, 3)), (batch, length, 8))
        return F.sum(y, axis=1) / length, y


link("attention", Attention, ints(11, 2, 6))
link("attention", Attention, ints(11, 2, 6), dims={"batch": (1, 4), "ids.1": (2, 12)},
     sizes={"batch": 3, "ids_1": 9})  # fmt: skip


class Unet(chainer.Chain):  # type: ignore[misc]
    """Down, up, joined; the size of the upsampling follows the input's."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.down = L.Convolution2D(3, 4, 3, stride=2, pad=1)
            self.up = L.Convolution2D(7, 2, 3, pad=1)

    def forward(self, x: Any) -> Any:
        h = F.leaky_relu(self.down(x))
        h = F.resize_images(h, x.shape[2:], align_corners=False)
        h = self.up(F.concat([h, x]))
        return {"mask": F.sigmoid(h), "mean": F.mean(h, axis=(2, 3))}


link("unet", Unet, n(1, 3, 10, 12), dims={"h": (4, 40), "w": (4, 40)}, sizes={"h": 13, "w": 11})


class Cropped(chainer.Chain):  # type: ignore[misc]
    """Down and up again to the very size, by a crop and by `outsize`."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.down = L.Convolution2D(3, 4, 3, 2, 1)
            self.up = L.Deconvolution2D(4, 3, 4, 2, 1)
            self.same = L.Deconvolution2D(4, 3, 3, 2, 1)

    def forward(self, x: Any) -> Any:
        h = F.relu(self.down(x))
        self.same.outsize = x.shape[2:]
        return self.up(h)[:, :, : x.shape[2], : x.shape[3]] + x, self.same(h) + x


link("cropped", Cropped, n(1, 3, 8, 8), dims={"h": (4, 20), "w": (4, 20)}, sizes={"h": 7, "w": 10})


class Masked(chainer.Chain):  # type: ignore[misc]
    """Arithmetic of arrays whose sizes are open."""

    def forward(self, x: Any) -> Any:
        rows, length = x.shape
        places = np.broadcast_to(np.arange(length, dtype="f")[None], (rows, length)).copy()
        low = np.full((rows, length), -9, "f")
        top = np.exp(x.array - x.array.max(axis=1, keepdims=True))
        share = top / top.sum(axis=1, keepdims=True)
        return F.where(share > 1 / length, x * places, low), chainer.Variable(share)


link("masked", Masked, n(2, 5), dims={"batch": (1, 4), "x.1": (2, 9)},
     sizes={"batch": 3, "x_1": 8})  # fmt: skip


class Flattened(chainer.Chain):  # type: ignore[misc]
    """Reshapes whose numbers are products and quotients of open sizes."""

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.shape
        y = F.transpose(F.reshape(x, (b, c, h * w)), (0, 2, 1))
        y = F.reshape(y, (b * h * w, c)) * 2
        z = F.max_pooling_2d(x, 2, cover_all=False)[:, :, : h // 2, ::-1]
        first, second = F.split_axis(z, 2, axis=1)
        return y, first + F.broadcast_to(F.sum(second, (2, 3), keepdims=True), first.shape) / (
            h * w
        )


link("flattened", Flattened, n(2, 4, 6, 8), dims={"batch": (1, 4), "h": (2, 20), "w": (4, 16)},
     sizes={"batch": 3, "h": 9, "w": 7})  # fmt: skip
