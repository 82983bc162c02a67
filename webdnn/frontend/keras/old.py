"""What Keras 1 wrote, in today's words: names of layers and arguments, and layouts of weights.

    >>> modern("Convolution2D", {"nb_filter": 8, "nb_row": 3, "nb_col": 3, "dim_ordering": "th"})
    ('Conv2D', {'filters': 8, 'data_format': 'channels_first', 'kernel_size': [3, 3]})

Keras 2 kept the layers of Keras 1 but renamed their arguments, joined the many weights of recurrent
layers, and fixed the layout of filters. Theano, and nothing else, turns filters around: a file of
Keras 2 says which backend it was made with; one of Keras 1 does not, and is taken to be
TensorFlow's unless its attribute `backend` says otherwise, as Keras 2 itself did.

The facts are those of Keras 1.2.2's layers and of Keras 2's conversion when it loads such files.
Limits: batch normalisation that uses the batch's statistics (mode 2) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import ops
from ...errors import UnsupportedError
from ...graph import Value

_CLASSES = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D", "AtrousConvolution2D": "Conv2D",
    "AtrousConv1D": "Conv1D", "AtrousConv2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose", "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",
}  # fmt: skip
_NAMES = {
    "output_dim": "units", "nb_filter": "filters", "border_mode": "padding", "bias": "use_bias",
    "inner_activation": "recurrent_activation", "pool_length": "pool_size", "length": "size",
    "stride": "strides", "subsample": "strides", "subsample_length": "strides", "p": "rate",
    "atrous_rate": "dilation_rate", "filter_length": "kernel_size",
}  # fmt: skip
# Layers of which some of these names mean what they say.
_KEEP = {"Embedding": {"output_dim"}, "RepeatVector": {"n"}, "Merge": set(_NAMES)}
_SIZES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))


def modern(class_name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The class and the configuration of a Keras 1 layer as Keras 2 would write them."""
    keep = _KEEP.get(class_name, set())
    out: dict[str, Any] = {}
    for key, value in config.items():
        if key == "dim_ordering":
            orders = {"th": "channels_first", "tf": "channels_last"}
            out["data_format"] = orders.get(value, value)
        elif not any(key in names for names in _SIZES):
            out[key if key in keep else _NAMES.get(key, key)] = value
    for names in _SIZES:
        if all(n in config for n in names):
            out["kernel_size"] = [config[n] for n in names]
    if class_name.startswith("ZeroPadding"):
        out["padding"] = _padding(out.get("padding"), class_name)
    if class_name == "Merge" and "layers" in out:
        out["branches"] = out.pop("layers")  # whole models, each with its own input
    if isinstance(inner := out.get("layer"), Mapping) and isinstance(inner.get("config"), Mapping):
        name, inside = modern(str(inner["class_name"]), inner["config"])
        out["layer"] = {"class_name": name, "config": inside}
    if class_name == "BatchNormalization" and out.get("mode"):
        if out["mode"] != 1:
            raise UnsupportedError(
                f"layer {out.get('name')!r} (BatchNormalization): mode {out['mode']} normalises by "
                "the statistics of the batch; mode 0, which uses those of the training, is needed"
            )
        return "LayerNormalization", {**out, "axis": -1}  # each sample by itself
    return _CLASSES.get(class_name, class_name), out


def with_order(config: Any) -> Any:
    """A Keras 1 configuration in which all layers say the order of an image's axes.

    Some layers forgot to (ZeroPadding2D): they have the order that the others have.
    """
    said: set[str] = set()

    def look(part: Any) -> None:
        if isinstance(part, Mapping):
            if isinstance(part.get("dim_ordering"), str):
                said.add(part["dim_ordering"])
            for inner in part.values():
                look(inner)
        elif isinstance(part, list):
            for inner in part:
                look(inner)

    def add(part: Any) -> Any:
        if isinstance(part, list):
            return [add(p) for p in part]
        if not isinstance(part, Mapping):
            return part
        out = {k: add(v) for k, v in part.items()}
        if str(out.get("class_name"))[-2:] in ("2D", "3D") and isinstance(out.get("config"), dict):
            out["config"].setdefault("dim_ordering", *said)
        return out

    look(config)
    return add(config) if len(said) == 1 else config


def _padding(value: Any, class_name: str) -> Any:
    """Keras 1 writes [2, 3], [top, bottom, left, right], or a dict of these with _pad."""
    if isinstance(value, Mapping):
        flat = class_name == "ZeroPadding1D"
        sides = ("left", "right") if flat else ("top", "bottom", "left", "right")
        value = [value.get(f"{side}_pad", 0) for side in sides]
    if isinstance(value, Sequence) and len(value) == 4:
        return [list(value[:2]), list(value[2:])]
    return value


def weights_as_now(
    class_name: str,
    config: Mapping[str, Any],
    weights: Sequence[Value],
    version: int,
    backend: str | None,
) -> list[Value]:
    """A layer's weights in the layout of Keras 2 and later."""
    w = list(weights)
    if version == 1 and w:
        first = config.get("data_format") == "channels_first"
        if class_name == "Conv1D" and w[0].rank == 4:
            # [length, 1, in, out], and before Keras 1.2 [out, in, length, 1]
            now = w[0].shape[1] == 1 and w[0].shape[3] == config.get("filters")
            w[0] = ops.squeeze(w[0] if now else ops.transpose(w[0], (2, 3, 1, 0)), [1])
        elif class_name == "Conv2DTranspose" and w[0].rank == 4:
            w[0] = ops.transpose(w[0], (2, 3, 0, 1) if first else (0, 1, 3, 2))
        elif class_name in ("Conv2D", "SeparableConv2D") and first:
            w = [ops.transpose(v, (2, 3, 1, 0)) if v.rank == 4 else v for v in w]
        elif class_name == "Conv3D" and first:
            w[0] = ops.transpose(w[0], (2, 3, 4, 1, 0))
        elif class_name == "GRU" and len(w) == 9:
            w = [ops.concat(w[k::3], -1) for k in range(3)]
        elif (
            class_name in ("LSTM", "ConvLSTM2D") and len(w) == 12
        ):  # gates i, c, f, o to i, f, c, o
            gates = [[w[3 * g + k] for g in (0, 2, 1, 3)] for k in range(3)]
            if class_name == "ConvLSTM2D" and first:
                gates = [
                    [ops.transpose(v, (2, 3, 1, 0)) if v.rank == 4 else v for v in part]
                    for part in gates
                ]
            w = [ops.concat(part, -1) for part in gates]
    if backend == "theano" and w and class_name in _FLIPPED:
        turned = 2 if class_name == "ConvLSTM2D" else 1
        w[:turned] = [ops.flip(v, range(v.rank - 2)) for v in w[:turned]]
    return w


_FLIPPED = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")

__all__ = ["modern", "weights_as_now", "with_order"]
