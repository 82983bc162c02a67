"""Every layer of keras.layers in random configurations: what the Keras frontend's tests build.

`CASES` has a function for each layer: it draws a configuration and returns the layer with the
shapes of its inputs. A draw is settled by the layer's name and a number, so that a failure can be
repeated:

    layer, inputs, call = drawn("Conv2D", 3)
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers as L

Draw = Callable[[random.Random], Any]
DRAWS = 3  # configurations of each layer

# Layers of which one configuration says everything.
ONCE = {"Identity", "Pipeline", "RandomCrop", "RepeatVector", "SpectralNormalization"}


# ---- convolutions and pooling --------------------------------------------------------------------


def spatial(r: random.Random, rank: int, first: bool, channels: int, least: int = 6) -> tuple:
    """The shape of an input without its batch."""
    size = [r.randint(least, least + (6 if rank < 3 else 2)) for _ in range(rank)]
    return (channels, *size) if first else (*size, channels)


def each(r: random.Random, rank: int, choices: list[int]) -> Any:
    """One number, or one for each axis."""
    return r.choice(choices) if r.random() < 0.5 else tuple(r.choice(choices) for _ in range(rank))


def activation(r: random.Random) -> str | None:
    return r.choice([None, "relu", "tanh", "gelu", "leaky_relu"])


def geometry(r: random.Random, rank: int, causal: bool = False) -> dict[str, Any]:
    """Kernel, strides or dilation, padding, format."""
    dilated = r.random() < 0.35
    paddings = ["same", "valid"] + (["causal", "causal"] if causal else [])
    config = {
        "kernel_size": each(r, rank, [1, 2, 3]),
        "strides": 1 if dilated else each(r, rank, [1, 2]),
        "dilation_rate": each(r, rank, [2]) if dilated else 1,
        "padding": r.choice(paddings),
        "data_format": r.choice(["channels_last", "channels_last", "channels_first"]),
        "use_bias": r.random() < 0.8,
        "activation": activation(r),
    }
    if config["padding"] == "causal":
        config["data_format"] = "channels_last"
    return config


def conv(rank: int) -> Draw:
    def draw(r: random.Random) -> Any:
        groups = r.choice([1, 1, 2, 4])
        config = geometry(r, rank, causal=rank == 1)
        first = config["data_format"] == "channels_first"
        layer = getattr(L, f"Conv{rank}D")(8, groups=groups, **config)
        return layer, spatial(r, rank, first, 4)

    return draw


def depthwise(rank: int, separable: bool) -> Draw:
    def draw(r: random.Random) -> Any:
        config = geometry(r, rank)
        if isinstance(config["strides"], tuple):  # TensorFlow has equal strides only
            config["strides"] = config["strides"][0]
        first = config["data_format"] == "channels_first"
        config["depth_multiplier"] = r.choice([1, 1, 2, 3])
        if separable:
            layer = getattr(L, f"SeparableConv{rank}D")(6, **config)
        else:
            layer = getattr(L, f"DepthwiseConv{rank}D")(**config)
        return layer, spatial(r, rank, first, r.choice([1, 3, 4]))

    return draw


def conv_transpose(rank: int) -> Draw:
    def draw(r: random.Random) -> Any:
        config = geometry(r, rank)
        config["strides"] = 1 if config["dilation_rate"] != 1 else each(r, rank, [1, 2, 3])
        strides = config["strides"]
        least = min(strides if isinstance(strides, tuple) else (strides,))
        if least > 1 and r.random() < 0.4:
            config["output_padding"] = r.randint(0, least - 1)
        first = config["data_format"] == "channels_first"
        return getattr(L, f"Conv{rank}DTranspose")(5, **config), spatial(r, rank, first, 3, 3)

    return draw


def pool(rank: int, mode: str) -> Draw:
    def draw(r: random.Random) -> Any:
        first = r.random() < 0.3
        layer = getattr(L, f"{mode}Pooling{rank}D")(
            each(r, rank, [2, 3]),
            strides=r.choice([None, each(r, rank, [1, 2])]),
            padding=r.choice(["same", "valid"]),
            data_format="channels_first" if first else "channels_last",
        )
        return layer, spatial(r, rank, first, 3)

    return draw


def global_pool(rank: int, mode: str) -> Draw:
    def draw(r: random.Random) -> Any:
        first = r.random() < 0.4
        layer = getattr(L, f"Global{mode}Pooling{rank}D")(
            data_format="channels_first" if first else "channels_last",
            keepdims=r.random() < 0.5,
        )
        return layer, spatial(r, rank, first, 5)

    return draw


def adaptive_pool(rank: int, mode: str) -> Draw:
    def draw(r: random.Random) -> Any:
        first = r.random() < 0.4
        layer = getattr(L, f"Adaptive{mode}Pooling{rank}D")(
            each(r, rank, [1, 2, 3, 4]),
            data_format="channels_first" if first else "channels_last",
        )
        return layer, spatial(r, rank, first, 3)

    return draw


def amounts(r: random.Random, rank: int) -> Any:
    kind = r.randint(0, 2)
    if kind == 0:
        return r.randint(1, 2)
    if kind == 1 and rank > 1:
        return tuple(r.randint(0, 2) for _ in range(rank))
    pairs = tuple((r.randint(0, 2), r.randint(0, 2)) for _ in range(rank))
    return pairs[0] if rank == 1 else pairs


def padded(rank: int, kind: str) -> Draw:
    def draw(r: random.Random) -> Any:
        first = r.random() < 0.4 and not (rank == 1 and kind == "Cropping")
        options = {"data_format": "channels_first" if first else "channels_last"}
        if rank == 1 and kind == "Cropping":
            options = {}
        layer = getattr(L, f"{kind}{rank}D")(amounts(r, rank), **options)
        return layer, spatial(r, rank, first, 3)

    return draw


def up_sampling(rank: int) -> Draw:
    def draw(r: random.Random) -> Any:
        if rank == 1:
            return L.UpSampling1D(r.choice([2, 3])), (5, 4)
        first = r.random() < 0.4
        options: dict[str, Any] = {"data_format": "channels_first" if first else "channels_last"}
        if rank == 2:
            options["interpolation"] = r.choice(["nearest", "bilinear", "bicubic"])
        layer = getattr(L, f"UpSampling{rank}D")(each(r, rank, [1, 2, 3]), **options)
        return layer, spatial(r, rank, first, 3, 3)

    return draw


# ---- core, merging, normalising, reshaping -------------------------------------------------------


def dense(r: random.Random) -> Any:
    shape = r.choice([(5,), (4, 5), (3, 4, 5)])
    act = r.choice([None, "softmax", "selu", L.LeakyReLU(0.1), keras.activations.mish])
    return L.Dense(6, activation=act, use_bias=r.random() < 0.7), shape


def einsum_dense(r: random.Random) -> Any:
    return r.choice(
        [
            lambda: (L.EinsumDense("ab,bc->ac", 7, bias_axes="c", activation="relu"), (5,)),
            lambda: (L.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d"), (4, 5)),
            lambda: (L.EinsumDense("...x,xy->...y", 6, bias_axes="y"), (3, 4, 5)),
            lambda: (L.EinsumDense("abc,cde->abde", (None, 3, 4), bias_axes="de"), (4, 6)),
            lambda: (L.EinsumDense("abcd,cde->abe", (None, 5)), (4, 3, 2)),
        ]
    )()


def several(name: str) -> Draw:
    def draw(r: random.Random) -> Any:
        count = 2 if name == "Subtract" else r.randint(2, 4)
        shapes = [r.choice([(3, 4, 5), (3, 4, 5), (1, 4, 5), (4, 5), (5,)]) for _ in range(count)]
        return getattr(L, name)(), [(3, 4, 5), *shapes[1:]]

    return draw


def concatenate(r: random.Random) -> Any:
    axis = r.choice([1, 2, -1])
    shapes = [[4, 5] for _ in range(r.randint(2, 4))]
    for s in shapes:
        s[axis - 1 if axis > 0 else 1] = r.randint(2, 5)
    return L.Concatenate(axis=axis), [tuple(s) for s in shapes]


def dot(r: random.Random) -> Any:
    return r.choice(
        [
            lambda n: (L.Dot(1, normalize=n), [(5,), (5,)]),
            lambda n: (L.Dot((1, 2), normalize=n), [(3, 5), (10, 3)]),
            lambda n: (L.Dot(-1, normalize=n), [(4, 5), (3, 5)]),
            lambda n: (L.Dot((1, 2), normalize=n), [(5,), (4, 5)]),
            lambda n: (L.Dot((2, 1), normalize=n), [(3, 4, 2), (4, 5)]),
        ]
    )(r.random() < 0.5)


def normalised(r: random.Random, name: str, **more: Any) -> Any:
    axis = r.choice([-1, 1, 3, 2] if name == "BatchNormalization" else [-1, [2, 3], [-2, -1]])
    return getattr(L, name)(
        axis=axis,
        epsilon=r.choice([1e-3, 1e-2]),
        center=r.random() < 0.7,
        scale=r.random() < 0.7,
        **more,
    ), (4, 5, 6)


def group_norm(r: random.Random) -> Any:
    axis = r.choice([-1, 1])
    groups = r.choice([1, 2, 4, -1])
    layer = L.GroupNormalization(groups, axis=axis, center=r.random() < 0.7, scale=r.random() < 0.7)
    return layer, (8, 3, 8)


def permute(r: random.Random) -> Any:
    dims = [1, 2, 3]
    r.shuffle(dims)
    return L.Permute(dims), (3, 4, 5)


def softmax(r: random.Random) -> Any:
    layer = L.Softmax(axis=r.choice([-1, 1, [1, 2]]))
    return layer, (4, 5)


def prelu(r: random.Random) -> Any:
    return L.PReLU(shared_axes=r.choice([None, [1, 2], [1], [-1]])), (4, 5, 6)


def relu(r: random.Random) -> Any:
    return L.ReLU(
        max_value=r.choice([None, 1.0, 6.0]),
        negative_slope=r.choice([0.0, 0.1]),
        threshold=r.choice([0.0, 0.3]),
    ), (6, 7)


FUNCTIONS = sorted(
    n
    for n in dir(keras.activations)
    if n[0] != "_" and n not in ("get", "serialize", "deserialize", "threshold")
)


def activations(r: random.Random) -> Any:
    """All activations by name, a few at a time: the results side by side."""
    x = keras.Input((4, 6))
    return x, [L.Activation(name)(x) for name in FUNCTIONS]


def masking(r: random.Random) -> Any:
    return L.Masking(0.0), Sequence((6, 4))


class Sequence(tuple):
    """The shape of a sequence of which some steps are zeros."""


class Integers(tuple):
    """The shape of an input of integers from 0 to `limit`."""

    limit = 10
    float = False


def embedding(r: random.Random) -> Any:
    return L.Embedding(10, r.choice([3, 8])), Integers((5,))


# ---- recurrent layers ----------------------------------------------------------------------------


def cell_options(r: random.Random, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "activation": r.choice(["tanh", "tanh", "relu", "hard_sigmoid", "softsign", "softmax"]),
        "use_bias": r.random() < 0.8,
    }
    if name != "SimpleRNN":
        options["recurrent_activation"] = r.choice(["sigmoid", "sigmoid", "hard_sigmoid"])
    if name == "GRU":
        options["reset_after"] = r.random() < 0.5
    return options


def layer_options(r: random.Random) -> dict[str, Any]:
    return {
        "return_sequences": r.random() < 0.6,
        "return_state": r.random() < 0.4,
        "go_backwards": r.random() < 0.4,
        "unroll": r.random() < 0.2,
    }


def masked(r: random.Random, layer: Any, shape: tuple, states: list[tuple] = ()) -> Any:
    """The layer over a sequence that may be masked, and states that it may be given."""
    x = keras.Input(shape)
    given = [keras.Input(s) for s in states] if states and r.random() < 0.4 else []
    # PyTorch's Keras fails on masks where time is unrolled backwards
    inner = getattr(layer, "forward_layer", layer)
    backwards = inner.unroll and (inner.go_backwards or inner is not layer)
    y = L.Masking()(x) if r.random() < 0.5 and not backwards else x
    out = layer(y, initial_state=given) if given else layer(y)
    out = list(out) if isinstance(out, (list, tuple)) else [out]
    return [x, *given], out, [Sequence(shape), *(tuple(s) for s in states if given)]


def recurrent(name: str) -> Draw:
    def draw(r: random.Random) -> Any:
        layer = getattr(L, name)(5, **cell_options(r, name), **layer_options(r))
        return masked(r, layer, (6, 4), [(5,)] * (2 if name == "LSTM" else 1))

    return draw


def cells(r: random.Random, count: int) -> list[Any]:
    names = [r.choice(["SimpleRNN", "GRU", "LSTM"]) for _ in range(count)]
    return [getattr(L, f"{n}Cell")(r.randint(3, 6), **cell_options(r, n)) for n in names]


def rnn(count: int) -> Draw:
    def draw(r: random.Random) -> Any:
        cell = cells(r, count)
        options = layer_options(r)
        if count > 1:
            cell, options["return_state"] = [L.StackedRNNCells(cell)], False
        return masked(r, L.RNN(cell[0], **options), (6, 4))

    return draw


def bidirectional(r: random.Random) -> Any:
    name = r.choice(["SimpleRNN", "GRU", "LSTM"])
    options = layer_options(r) | {"go_backwards": False}
    options["return_state"] = options["return_state"] and name != "SimpleRNN"
    layer = getattr(L, name)(4, **cell_options(r, name), **options)
    mode = r.choice(["concat", "sum", "mul", "ave", None])
    return masked(r, L.Bidirectional(layer, merge_mode=mode), (5, 3))


def time_distributed(r: random.Random) -> Any:
    return r.choice(
        [
            lambda: (L.TimeDistributed(L.Dense(4, activation="relu")), (5, 3)),
            lambda: (L.TimeDistributed(L.Conv2D(4, 3)), (3, 6, 5, 2)),
            lambda: (L.TimeDistributed(L.LSTM(4)), (3, 5, 2)),
            lambda: (L.TimeDistributed(L.BatchNormalization()), (3, 5, 2)),
        ]
    )()


def conv_lstm(rank: int) -> Draw:
    def draw(r: random.Random) -> Any:
        first = r.random() < 0.3
        dilated = r.random() < 0.2
        layer = getattr(L, f"ConvLSTM{rank}D")(
            3,
            each(r, rank, [1, 3]),
            strides=1 if dilated else r.choice([1, 2]),
            dilation_rate=2 if dilated else 1,
            padding=r.choice(["same", "valid"]),
            data_format="channels_first" if first else "channels_last",
            recurrent_activation=r.choice(["sigmoid", "hard_sigmoid"]),
            use_bias=r.random() < 0.8,
            **{k: v for k, v in layer_options(r).items() if k != "unroll"},
        )
        return layer, (3, *spatial(r, rank, first, 2, 5))

    return draw


# ---- attention -----------------------------------------------------------------------------------


def attended(name: str) -> Draw:
    def draw(r: random.Random) -> Any:
        count = r.choice([2, 3])
        x = [keras.Input(s) for s in [(4, 6), (5, 6), (5, 6)][:count]]
        options: dict[str, Any] = {"use_scale": r.random() < 0.5}
        if name == "Attention":
            options["score_mode"] = r.choice(["dot", "dot", "concat"])
        call = {"use_causal_mask": r.random() < 0.4}
        masks = r.random() < 0.5
        y = [L.Masking()(v) for v in x[:2]] + x[2:] if masks else x
        scores = r.random() < 0.3
        out = getattr(L, name)(**options)(y, return_attention_scores=scores, **call)
        return x, list(out) if scores else [out], [Sequence(v.shape[1:]) for v in x]

    return draw


def multi_head(r: random.Random) -> Any:
    if r.random() < 0.25:
        layer = L.MultiHeadAttention(2, 3, attention_axes=r.choice([(1, 2), (2,), (1,)]))
        x = keras.Input((3, 4, 5))
        return [x], [layer(x, x)], [(3, 4, 5)]
    t, s = (5, 5) if r.random() < 0.5 else (4, 6)
    x = [keras.Input((t, 6)), keras.Input((s, 6))]
    options: dict[str, Any] = {
        "value_dim": r.choice([None, 5]),
        "output_shape": r.choice([None, 7]),
        "use_bias": r.random() < 0.7,
        "use_gate": r.random() < 0.3,
        "sliding_window": r.choice([None, None, 2]),
        "dropout": r.choice([0.0, 0.1]),
    }
    return _heads(r, L.MultiHeadAttention(2, 4, **options), x, t, s)


def _heads(r: random.Random, layer: Any, x: list[Any], t: int, s: int) -> Any:
    y = [L.Masking()(v) for v in x] if r.random() < 0.4 else x
    call: dict[str, Any] = {"use_causal_mask": r.random() < 0.4}
    if r.random() < 0.3:
        x = [*x, keras.Input((t, s))]
        call["attention_mask"] = x[2] > -1.0
    if r.random() < 0.3:
        y = [*y, y[1]]
    out = layer(*y, **call)
    return x, [out], [Sequence(v.shape[1:]) for v in x]


def grouped(r: random.Random) -> Any:
    t, s = (5, 5) if r.random() < 0.5 else (4, 6)
    x = [keras.Input((t, 6)), keras.Input((s, 6))]
    layer = L.GroupQueryAttention(
        4,
        r.choice([4, 6]),
        r.choice([1, 2]),
        use_bias=r.random() < 0.7,
        use_gate=r.random() < 0.3,
        sliding_window=r.choice([None, 2]),
    )
    return _heads(r, layer, x, t, s)


# ---- preprocessing -------------------------------------------------------------------------------


def resizing(r: random.Random) -> Any:
    first = r.random() < 0.3
    fit = r.choice([None, None, "crop_to_aspect_ratio", "pad_to_aspect_ratio"])
    layer = L.Resizing(
        r.randint(4, 12),
        r.randint(4, 12),
        interpolation=r.choice(["nearest", "bilinear", "bicubic"]),
        antialias=r.random() < 0.4,
        fill_value=0.5,
        data_format="channels_first" if first else "channels_last",
        **({fit: True} if fit else {}),
    )
    return layer, spatial(r, 2, first, 3, 5)


def center_crop(r: random.Random) -> Any:
    first = r.random() < 0.4
    layer = L.CenterCrop(
        r.choice([3, 4, 14]), r.choice([4, 5]), data_format="channels_first" if first else None
    )
    return layer, spatial(r, 2, first, 3)


def normalization(r: random.Random) -> Any:
    axis = r.choice([-1, None, 1, (1, 2)])
    shape = (4, 5)
    invert = r.random() < 0.4
    if r.random() < 0.5:
        size = 1 if axis is None else {-1: 5, 1: 4, (1, 2): 20}[axis]
        mean, var = np.linspace(-1, 1, size), np.linspace(0.5, 2, size)
        if axis == (1, 2):
            mean, var = mean.reshape(4, 5), var.reshape(4, 5)
        if axis is None:
            mean, var = float(mean[0]), float(var[0])
        return L.Normalization(axis=axis, mean=mean, variance=var, invert=invert), shape
    return L.Normalization(axis=axis, invert=invert), shape


def category_encoding(r: random.Random) -> Any:
    mode = r.choice(["one_hot", "multi_hot", "count"])
    return L.CategoryEncoding(10, output_mode=mode), Integers((1,) if mode == "one_hot" else (4,))


def discretization(r: random.Random) -> Any:
    mode = r.choice(["int", "one_hot", "multi_hot", "count"])
    return L.Discretization([-1.0, 0.0, 0.5], output_mode=mode), (7,)


def stft(r: random.Random) -> Any:
    first = r.random() < 0.4
    layer = L.STFTSpectrogram(
        mode=r.choice(["log", "magnitude", "psd", "real", "imag", "angle", "stft"]),
        frame_length=r.choice([16, 20]),
        frame_step=r.choice([None, 5]),
        window=None,  # others need scipy
        padding=r.choice(["same", "valid"]),
        expand_dims=r.random() < 0.5,
        data_format="channels_first" if first else "channels_last",
    )
    return layer, (2, 70) if first else (70, 2)


def mel(r: random.Random) -> Any:
    layer = L.MelSpectrogram(
        fft_length=r.choice([64, 48]),
        sequence_stride=r.choice([16, 20]),
        sequence_length=r.choice([None, 40]),
        window=r.choice(["hann", "hamming"]),
        sampling_rate=4000,
        num_mel_bins=12,
        max_freq=r.choice([None, 1500]),
        power_to_db=r.random() < 0.6,
        top_db=r.choice([80.0, 20.0]),
        mag_exp=r.choice([2.0, 1.0]),
    )
    return layer, (300,)


IMAGES = (4, 6, 3)
CASES: dict[str, Draw] = {
    "Dense": dense,
    "EinsumDense": einsum_dense,
    "Embedding": embedding,
    "ReversibleEmbedding": lambda r: (L.ReversibleEmbedding(10, 4), Integers((5,))),
    "Masking": masking,
    "Identity": lambda r: (L.Identity(), (5,)),
    "SpectralNormalization": lambda r: (L.SpectralNormalization(L.Dense(4)), (5,)),
    "Pipeline": lambda r: (L.Pipeline([L.Rescaling(2.0), L.Rescaling(1.0, 3.0)]), IMAGES),
    "Activation": activations,
    "ReLU": relu,
    "LeakyReLU": lambda r: (L.LeakyReLU(r.choice([0.3, 0.1])), (5, 6)),
    "PReLU": prelu,
    "ELU": lambda r: (L.ELU(r.choice([1.0, 0.5])), (5, 6)),
    "Softmax": softmax,
    "Concatenate": concatenate,
    "Dot": dot,
    "BatchNormalization": lambda r: normalised(r, "BatchNormalization"),
    "LayerNormalization": lambda r: normalised(r, "LayerNormalization"),
    "RMSNormalization": lambda r: (L.RMSNormalization(axis=r.choice([-1, [2, 3]])), (3, 4, 5)),
    "GroupNormalization": group_norm,
    "UnitNormalization": lambda r: (L.UnitNormalization(axis=r.choice([-1, 1, [1, 2]])), (4, 5)),
    "Reshape": lambda r: (L.Reshape(r.choice([(-1,), (5, 8), (2, -1, 4)])), (4, 10)),
    "Permute": permute,
    "Flatten": lambda r: (L.Flatten(data_format=r.choice([None, "channels_first"])), (4, 5, 6)),
    "RepeatVector": lambda r: (L.RepeatVector(4), (5,)),
    "RNN": rnn(1),
    "StackedRNNCells": rnn(3),
    "Bidirectional": bidirectional,
    "TimeDistributed": time_distributed,
    "Attention": attended("Attention"),
    "AdditiveAttention": attended("AdditiveAttention"),
    "MultiHeadAttention": multi_head,
    "GroupedQueryAttention": grouped,
    "Resizing": resizing,
    "CenterCrop": center_crop,
    "Rescaling": lambda r: (L.Rescaling(r.choice([1 / 255, [1.0, 2.0, 3.0]]), 0.5), IMAGES),
    "Normalization": normalization,
    "RandomCrop": lambda r: (L.RandomCrop(3, 4), IMAGES),
    "AutoContrast": lambda r: (L.AutoContrast(value_range=r.choice([(0, 255), (0, 1)])), IMAGES),
    "CategoryEncoding": category_encoding,
    "MelSpectrogram": mel,
    "STFTSpectrogram": stft,
    "Discretization": discretization,
}
for _rank in (1, 2, 3):
    CASES |= {
        f"Conv{_rank}D": conv(_rank),
        f"Conv{_rank}DTranspose": conv_transpose(_rank),
        f"ZeroPadding{_rank}D": padded(_rank, "ZeroPadding"),
        f"Cropping{_rank}D": padded(_rank, "Cropping"),
        f"UpSampling{_rank}D": up_sampling(_rank),
        f"ConvLSTM{_rank}D": conv_lstm(_rank),
    }
    for _mode in ("Max", "Average"):
        CASES |= {
            f"{_mode}Pooling{_rank}D": pool(_rank, _mode),
            f"Global{_mode}Pooling{_rank}D": global_pool(_rank, _mode),
            f"Adaptive{_mode}Pooling{_rank}D": adaptive_pool(_rank, _mode),
        }
for _rank in (1, 2):
    CASES[f"DepthwiseConv{_rank}D"] = depthwise(_rank, False)
    CASES[f"SeparableConv{_rank}D"] = depthwise(_rank, True)
for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    CASES[_name] = several(_name)
for _name in ("SimpleRNN", "LSTM", "GRU"):
    CASES[_name] = recurrent(_name)


def drawn(name: str, number: int) -> tuple[keras.Model, list[np.ndarray]]:
    """A model of one layer with random weights, and inputs for a batch of two."""
    r = random.Random(f"{name} {number}")
    keras.utils.set_random_seed(abs(hash((len(name), number))) % 2**31)
    found = CASES[name](r)
    if len(found) == 2 and isinstance(found[0], L.Layer):
        layer, shapes = found
        shapes = shapes if isinstance(shapes, list) else [shapes]
        inputs = [
            keras.Input(s, dtype="int32" if isinstance(s, Integers) else None) for s in shapes
        ]
        outputs = layer(inputs if len(inputs) > 1 else inputs[0])
    elif len(found) == 2:
        inputs, outputs = found
        shapes = [inputs.shape[1:]]
        inputs = [inputs]
    else:
        inputs, outputs, shapes = found
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(number)
    randomise(model, rng)
    feeds = []
    for s in shapes:
        if isinstance(s, Integers):
            feeds.append(rng.integers(0, s.limit, (2, *s)).astype(np.int32))
            continue
        x = rng.normal(size=(2, *s)).astype(np.float32)
        if isinstance(s, Sequence):
            x[0, rng.permutation(s[0])[: s[0] // 2]] = 0
            x[1, -1] = 0
        feeds.append(x)
    return model, feeds


def randomise(model: keras.Model, rng: np.random.Generator) -> None:
    """Weights that make outputs discriminate, and statistics that are not trivial."""
    for v in model.weights:
        if "seed" in v.path or "int" in str(v.dtype):
            continue
        shape = tuple(v.shape)
        if "variance" in v.path or "gamma" in v.path:
            new = rng.uniform(0.5, 2.0, shape)
        else:
            fan = int(np.prod(shape[:-1])) if len(shape) > 1 else 2
            new = rng.normal(size=shape) * 1.5 / np.sqrt(fan)
        v.assign(new.astype(np.float32))
