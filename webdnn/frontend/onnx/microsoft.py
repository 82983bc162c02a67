"""The operators of com.microsoft, into which onnxruntime's optimiser and its exporters fuse others.

    >>> from webdnn.graph import placeholder
    >>> SkipLayerNormalization(*(placeholder(n, (2, 3, 8), "f32") for n in "xs"),
    ...     placeholder("gamma", (8,), "f32"))[0].shape
    (2, 3, 8)

One plain function each, as in `operators`; attention is in `attention`, what is quantised in
`qlinear`. Everything is taken apart again, and fused as each target likes it. `OPERATORS` at the
end has them all by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import same
from ...graph import Value, constant, type_text
from ..arrays import axis_of, channels_first, channels_last, known_int, swapaxes
from . import attention, operators, qlinear, resizing, shapes, unique
from .algebra import Inverse
from .attributes import attributes_of
from .elements import onto
from .operators import Conv, Gemm, LayerNormalization

Attr = Any

# ---- activations ---------------------------------------------------------------------------------


def Gelu(x: Value) -> Value:
    return ops.gelu(x)


def FastGelu(x: Value, bias: Value | None = None) -> Value:
    return ops.gelu_tanh(x if bias is None else ops.add(x, bias))


def BiasGelu(x: Value, bias: Value) -> Value:
    return ops.gelu(ops.add(x, bias))


def QuickGelu(x: Value, *, alpha: float = 1.702) -> Value:
    return ops.swish(x, alpha=alpha)


def BiasSplitGelu(x: Value, bias: Value) -> Value:
    """The first half of the features times the Gelu of the second."""
    width = ops.static(x.shape[-1], "the number of features")
    a, b = ops.split(ops.add(x, bias), [width // 2] * 2, x.rank - 1)
    return ops.mul(a, ops.gelu(b))


def BiasAdd(x: Value, bias: Value, skip: Value) -> Value:
    return ops.add(ops.add(x, bias), skip)


def BiasSoftmax(x: Value, bias: Value, *, axis: int = 1, is_inner_broadcast: int) -> Value:
    """Softmax over all axes from `axis` on; is_inner_broadcast says what the shapes say too."""
    at = axis_of(axis, x)
    y = ops.add(x, bias)
    rows = ops.reshape(y, (*y.shape[:at], ops.product(y.shape[at:])))
    return ops.reshape(ops.softmax(rows, at), y.shape)


# The parameters of activations that other operators name, in the order in which they give them.
_PARAMETERS = {
    "Clip": ("min", "max"), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",), "ThresholdedRelu": ("alpha",), "Selu": ("alpha", "gamma"),
    "Celu": ("alpha",), "HardSwish": (), "Relu": (), "Sigmoid": (), "Softplus": (),
    "Softsign": (), "Tanh": (),
}  # fmt: skip


def _activated(y: Value, name: str, given: Sequence[float | None]) -> Value:
    """y through the activation of that name, or as it is for none."""
    if not name:
        return y
    if name not in _PARAMETERS:
        raise UnsupportedError(
            f"activation {name!r} is not supported; these are: {', '.join(_PARAMETERS)}"
        )
    if name == "HardSwish":
        given = ()
    values = {k: v for k, v in zip(_PARAMETERS[name], given) if v is not None}
    return operators.OPERATORS[name](y, **values)


# ---- products and convolutions -------------------------------------------------------------------


def FusedMatMul(
    a: Value,
    b: Value,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Value:
    def turned(x: Value, batch: int, last: int) -> Value:
        """Rows are the first axis where `batch`; rows and columns change places where `last`."""
        if x.rank < 2:
            return x
        if batch:
            x = ops.transpose(x, (*range(1, x.rank - 1), 0, x.rank - 1))
        return swapaxes(x, -1, -2) if last else x

    y = ops.matmul(turned(a, transBatchA, transA), turned(b, transBatchB, transB))
    return y if alpha == 1 else ops.mul(y, alpha)


def TransposeMatMul(
    a: Value, b: Value, *, alpha: float = 1.0, transA: int = 0, transB: int = 0
) -> Value:
    return FusedMatMul(a, b, alpha=alpha, transA=transA, transB=transB)


def FusedMatMulActivation(
    a: Value,
    b: Value,
    *,
    activation: str,
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Value:
    y = FusedMatMul(
        a, b, alpha=alpha, transA=transA, transB=transB, transBatchA=transBatchA,
        transBatchB=transBatchB,
    )  # fmt: skip
    return _activated(y, activation, (activation_alpha, activation_beta))


@attributes_of(Gemm)
def FusedGemm(
    a: Value,
    b: Value,
    c: Value | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    **given: Attr,
) -> Value:
    second = activation_gamma if activation == "Selu" else activation_beta
    return _activated(Gemm(a, b, c, **given), activation, (activation_alpha, second))


@attributes_of(Conv)
def FusedConv(
    x: Value,
    w: Value,
    b: Value | None = None,
    z: Value | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    **given: Attr,
) -> Value:
    """activation(conv(x) + z)"""
    y = Conv(x, w, b, **given)
    return _activated(y if z is None else ops.add(y, z), activation, activation_params)


def _channels_last_filters(w: Value) -> Value:
    """[M, kernel..., C] -> [M, C, kernel...]"""
    return ops.transpose(w, (0, w.rank - 1, *range(1, w.rank - 1)))


@attributes_of(Conv)
def NhwcConv(x: Value, w: Value, b: Value | None = None, **given: Attr) -> Value:
    return channels_last(Conv(channels_first(x), _channels_last_filters(w), b, **given))


@attributes_of(FusedConv)
def NhwcFusedConv(
    x: Value, w: Value, b: Value | None = None, z: Value | None = None, **given: Attr
) -> Value:
    sum_ = None if z is None else channels_first(z)
    return channels_last(FusedConv(channels_first(x), _channels_last_filters(w), b, sum_, **given))


@attributes_of(operators.MaxPool)
def NhwcMaxPool(x: Value, **given: Attr) -> Value:
    return channels_last(operators.MaxPool(channels_first(x), **given)[0])


# ---- normalisations ------------------------------------------------------------------------------


def _on_skip(x: Value, skip: Value, bias: Value | None) -> Value:
    total = onto(x, ops.add(x, skip), f"skip {type_text(skip)}")
    return total if bias is None else onto(x, ops.add(total, bias), "bias")


def SkipLayerNormalization(
    x: Value,
    skip: Value,
    gamma: Value,
    beta: Value | None = None,
    bias: Value | None = None,
    *,
    epsilon: float = 1e-12,
) -> list[Value]:
    total = _on_skip(x, skip, bias)
    parts = LayerNormalization(total, gamma, beta, epsilon=epsilon, outputs=3)
    return [*parts, total]


def SkipSimplifiedLayerNormalization(
    x: Value, skip: Value, gamma: Value, bias: Value | None = None, *, epsilon: float = 1e-12
) -> list[Value]:
    total = _on_skip(x, skip, bias)
    last = [x.rank - 1]
    scale = ops.rsqrt_(ops.add(ops.reduce_mean(ops.mul(total, total), last), epsilon))
    return [ops.mul(ops.mul(total, scale), gamma), ops.reduce_mean(total, last), scale, total]


def EmbedLayerNormalization(
    ids: Value,
    segments: Value | None,
    words: Value,
    places: Value,
    kinds: Value | None,
    gamma: Value,
    beta: Value,
    mask: Value | None = None,
    positions: Value | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 0,
) -> list[Value]:
    """Embeddings of words, places and segments, summed and normalised; and the masks' lengths."""
    if ids.rank != 2:
        raise ModelError(f"ids {type_text(ids)}: [batch, length] expected")
    b, s = ids.shape
    if positions is None:
        place = ops.unsqueeze(ops.slice_axis(places, 0, 0, s), [0])
    else:
        place = ops.gather(places, positions, 0)
    total = ops.add(ops.gather(words, ids, 0), place)
    if segments is not None and kinds is not None:
        total = ops.add(total, ops.gather(kinds, segments, 0))
    (y,) = LayerNormalization(total, gamma, beta, epsilon=epsilon, outputs=1)
    if mask is None:
        lengths = ops.expand(constant(0, "i32"), (b,))
    else:
        lengths = ops.reshape(ops.reduce_sum(ops.cast(mask, "i32"), [1]), (b,))
    return [y, lengths, total]


def _grouped(
    x: Value, gamma: Value, beta: Value, epsilon: float, groups: int, activation: int, last: int
) -> Value:
    axis = x.rank - 1 if last else 1
    for v in (gamma, beta):
        if v.rank != 1 or not same(v.shape[0], x.shape[axis]):
            raise ModelError(f"{type_text(v)} is not one number for each channel of {type_text(x)}")
    if activation not in (0, 1):
        raise UnsupportedError(f"activation {activation}; 0 (none) and 1 (SiLU) are supported")
    y = ops.group_normalize(ops.cast(x, "f32"), groups, axis, epsilon)
    y = ops.mul(y, ops.along(ops.cast(gamma, "f32"), axis, x.rank))
    y = ops.add(y, ops.along(ops.cast(beta, "f32"), axis, x.rank))
    return ops.cast(ops.silu(y) if activation else y, x.dtype)


def GroupNorm(
    x: Value,
    gamma: Value,
    beta: Value,
    *,
    activation: int,
    groups: int,
    epsilon: float = 1e-5,
    channels_last: int = 1,
) -> Value:
    return _grouped(x, gamma, beta, epsilon, groups, activation, channels_last)


def SkipGroupNorm(
    x: Value,
    gamma: Value,
    beta: Value,
    skip: Value,
    bias: Value | None = None,
    *,
    activation: int,
    groups: int,
    epsilon: float = 1e-5,
    channels_last: int = 1,
) -> list[Value]:
    """GroupNorm of x + skip + bias, and that sum; skip [N, C] is one for all pixels."""
    axis = x.rank - 1 if channels_last else 1
    if skip.rank == 2:
        skip = ops.along(skip, [0, axis], x.rank)
    total = onto(x, ops.add(x, skip), f"skip {type_text(skip)}")
    if bias is not None:
        total = ops.add(total, ops.along(bias, axis, x.rank))
    return [_grouped(total, gamma, beta, epsilon, groups, activation, channels_last), total]


# ---- others --------------------------------------------------------------------------------------


def ExpandDims(x: Value, axis: Value) -> Value:
    return ops.unsqueeze(x, [axis_of(known_int(axis, "the axis"), x, 1)])


def CDist(
    a: Value, b: Value, *, metric: Literal["sqeuclidean", "euclidean"] = "sqeuclidean"
) -> Value:
    """[M, K] and [N, K] -> [M, N], the distance of each pair of rows."""
    if a.rank != 2 or b.rank != 2 or not same(a.shape[1], b.shape[1]):
        raise ModelError(f"{type_text(a)} and {type_text(b)}: rows of one length expected")
    d = ops.sub(ops.unsqueeze(a, [1]), ops.unsqueeze(b, [0]))
    total = ops.squeeze(ops.reduce_sum(ops.mul(d, d), [2]), [2])
    return ops.sqrt_(total) if metric == "euclidean" else total


def Pad(
    x: Value,
    pads: Value,
    fill: Value | None = None,
    *,
    mode: Literal["constant", "reflect", "edge"] = "constant",
) -> Value:
    return shapes.Pad(x, pads, fill, mode=mode)


def GatherND(x: Value, indices: Value) -> Value:
    return shapes.GatherND(x, indices)


def GridSample(
    x: Value,
    grid: Value,
    *,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: int = 0,
) -> Value:
    return resizing.GridSample(
        x, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners
    )


def Unique(x: Value) -> list[Value]:
    """The values in the order in which they appear, of each element which, and how often."""
    y, _, which, many = unique.Unique(x, sorted=0, outputs=4)
    return [y, which, many]


def Range(start: Value, limit: Value, delta: Value | None = None) -> Value:
    return shapes.Range(start, limit, constant(1, start.dtype) if delta is None else delta)


OPERATORS: dict[str, Callable[..., Any]] = (
    {
        name: fn
        for name, fn in list(globals().items())
        if name[0].isupper() and callable(fn) and getattr(fn, "__module__", "") == __name__
    }
    | {"Inverse": Inverse, "Trilu": shapes.Trilu}
    | attention.OPERATORS
    | qlinear.OPERATORS
)
