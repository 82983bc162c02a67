"""What a layer of a Keras model offers to the function that builds it.

    def dense(layer, inputs, call):
        (x,) = inputs
        units = layer.config["units"]
        y = ops.matmul(x, layer.weight(0, (x.shape[-1], units)))
        return ops.add(y, layer.weight(1, (units,))) if layer.config.get("use_bias", True) else y

`layers.LAYERS` maps class names to such functions (`layers.OPERATIONS` the classes of
`keras.ops`, which share some names with layers), and `webdnn.keras.register` adds a user's own.
Whatever generation of Keras wrote the model:

* `config` uses today's names: Keras 1's (`nb_filter`, `border_mode`, `dim_ordering`, ...) are
  translated, its layers bear their later class names, and `data_format` is channels_last or
  channels_first where Keras has it. Defaults that a file leaves out are the function's affair:
  `version` tells the generation (in which, say, hard_sigmoid differs).
* `weights` are in creation order and in today's layout, without those that are only needed for
  training. The weights of a recurrent layer's cell are the layer's own.
* An inner layer (of Bidirectional, TimeDistributed, a stack of cells) is `layer.sublayer(...)`, and
  `layer.apply(inner, inputs)` builds it, be it a layer or a whole model.

Masks (of Masking, or Embedding with mask_zero) travel beside the tensors: bool, shaped [N, T] for a
sequence. `call.mask` is the first input's, `call.masks` lists one or None for each. A layer whose
class is in `layers.PASS_MASK` hands its first input's mask on; any other function that does
sets `call.output_mask` (one mask, or a list with one for each output).

Limits: weights are constants; a layer cannot create or change them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import ModelError, UnsupportedError
from ...graph import Value, type_text

Nested = Any  # a Value, a plain Python value, or a list, tuple or dict of these


class Generation(int):
    """1, 2 or 3: the generation of Keras that wrote a model. `text` is its version in full."""

    text: str = ""


class Source(Protocol):
    """Where the weights of a layer or a model are."""

    def own(self) -> list[Value]:
        """The layer's own weights in creation order."""

    def child(
        self, path: str, first: int = 0, count: int | None = None, name: str | None = None
    ) -> Source:
        """The weights of an inner layer.

        path: its attribute in Keras 3 (`forward_layer`, `cell/cells/lstm_cell`), name: its name
        there, by which it is found if it is another model's too. Where the file
        holds one flat list for the outer layer, they are the `count` weights from `first` on.
        """

    def layers(self, entries: Sequence[Any]) -> list[Source]:
        """The weights of each layer of a model, for all its layers in their order."""


class Call(dict[str, Any]):
    """The keyword arguments of one call of a layer, and the masks that come and go with it.

    `args` are the positional arguments as they were given: `inputs` are the same, save that a
    single list or dict of tensors is spread out, so that `Add()([a, b])` has the inputs a and b.
    `named_masks` are those of tensors that are given by name. A function that takes masks off the
    tensors that it is given, as MultiHeadAttention does, clears them here.
    """

    def __init__(
        self,
        kwargs: Mapping[str, Any] | None = None,
        args: Sequence[Nested] = (),
        masks: Sequence[Value | None] = (),
        named_masks: Mapping[str, Value] | None = None,
    ):
        super().__init__(kwargs or {})
        self.args = list(args)
        self.masks = list(masks)
        self.named_masks = dict(named_masks or {})
        self.output_mask: Value | list[Value | None] | None = None

    @property
    def mask(self) -> Value | None:
        """The mask of the call's first input, unless the call itself gives one."""
        given = self.get("mask")
        if isinstance(given, (list, tuple)) and given:
            given = given[0]
        if isinstance(given, Value):
            return given
        return self.masks[0] if self.masks else None


@dataclass
class Layer:
    """A layer (or operation) of a model.

    class_name: Keras' class. config: its configuration. version: the generation of Keras that
    wrote the model: 1, 2 or 3. states: what outlives a run of the model, as in `Graph.states`; a
    stateful layer adds its own.
    """

    class_name: str
    name: str
    config: Mapping[str, Any]
    version: int
    source: Source
    build: Callable[[Layer, Sequence[Nested], Call], Nested] = field(repr=False)
    states: dict[str, tuple[Value, Value]] = field(default_factory=dict, repr=False)

    @property
    def data_format(self) -> str:
        """channels_last or channels_first."""
        return self.config.get("data_format") or "channels_last"

    @property
    def weights(self) -> list[Value]:
        """The weights in creation order, as constants; those of a cell count as the layer's own."""
        return self.source.own() or self.source.child("cell").own()

    def weight(self, k: int, shape: Sequence[Any] | None = None) -> Value:
        """Weight number k. `shape` is what it must be; None where any size will do.

        Raises ModelError if it is missing or misshapen.
        """
        policy = self.config.get("dtype")
        if isinstance(policy, Mapping) and (policy.get("config") or {}).get("mode") == "float8":
            raise self.lacks(
                "it rounds to float8, as quantize('float8') makes it; save the model before that, "
                "and transpile it with --weights int8 or f16"
            )
        found = self.weights
        if k >= len(found):
            raise self.error(
                f"{len(found)} weights found, but it needs at least {k + 1}"
                + ("" if shape is None else f" (number {k} shaped {_text(shape)})")
                + ". Was the file written with all its weights, and by this architecture?"
            )
        value = found[k]
        if shape is not None and (
            len(shape) != value.rank
            or any(a is not None and a != b for a, b in zip(shape, value.shape))
        ):
            raise self.error(
                f"weight {k} should have the shape {_text(shape)}, but has {_text(value.shape)}: "
                "the weights do not fit the architecture or the size of its input"
            )
        return value

    def sublayer(
        self, config: Mapping[str, Any], path: str, first: int = 0, count: int | None = None
    ) -> Layer:
        """An inner layer with its weights.

        config: {"class_name": ..., "config": ...} as it stands in this layer's own config. path:
        its attribute in Keras 3. first, count: which of this layer's weights are its own where a
        file holds only a flat list of them; forward_layer and backward_layer know.
        """
        inner = config.get("config")
        if not isinstance(inner, Mapping) or "class_name" not in config:
            raise self.error(f"its {path!r} is no layer: {config!r:.80}")
        return Layer(
            str(config["class_name"]),
            f"{self.name}/{inner.get('name') or path}",
            inner,
            self.version,
            self.source.child(path, first, count, inner.get("name")),
            self.build,
            self.states,
        )

    def apply(
        self,
        inner: Layer | Mapping[str, Any],
        inputs: Sequence[Nested],
        call: Call | None = None,
        path: str = "layer",
    ) -> Nested:
        """What an inner layer or model (from `sublayer`, or its config) makes of these inputs."""
        if not isinstance(inner, Layer):
            inner = self.sublayer(inner, path)
        return self.build(inner, inputs, call if call is not None else Call(args=inputs))

    def error(self, message: str) -> ModelError:
        """The error for a model that is wrong at this layer."""
        return ModelError(f"layer {self.name!r} ({self.class_name}): {message}")

    def lacks(self, message: str) -> UnsupportedError:
        """The error for what this layer needs and WebDNN lacks."""
        return UnsupportedError(f"layer {self.name!r} ({self.class_name}): {message}")


def snippet(key: str) -> str:
    """How to say what a layer computes, by its class or its own name: the end of an error."""
    return (
        "Say what each computes before the model is transpiled, in Python or in a file for "
        "--plugin:\n"
        "  import webdnn\n"
        "  from webdnn import ops\n\n"
        f"  @webdnn.keras.register({key!r})\n"
        "  def build(layer, inputs):\n"
        "      (x,) = inputs  # layer.config, layer.weight(0) and so on are at hand\n"
        "      ...  # return a Value, by the functions of ops: ops.mul, ops.exp_, ops.softmax"
    )


def shown(value: Any) -> str:
    """A value of a model as an error message writes it."""
    return type_text(value) if isinstance(value, Value) else repr(value)[:80]


def _text(shape: Sequence[Any]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"


__all__ = ["Call", "Generation", "Layer", "Nested", "Source", "shown", "snippet"]
