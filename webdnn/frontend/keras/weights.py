"""Where the weights of a Keras layer are: three ways to hold them, looked up alike.

* `Tree`: Keras 3 files hold them at `layers/<snake case of the class>[_k]/vars/<i>`, where k counts
  the layers of that class; the layer's name stands beside them, as an attribute.
* `Groups` and `Flat`: older files hold one list for each layer of the model by the layer's name;
  what is inside a layer (a nested model, a Bidirectional's two) is found by the weights' names,
  or else by their order: trainable ones first.
* `Live`: a model in memory is asked itself.

Limits: a nested model in an older file whose weights bear other layers' names is only taken apart
where all its layers are of the classes in `_counts`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from ...errors import ModelError
from ...graph import Value, constant
from .config import Entry
from .model import Source

Named = tuple[str, Value]
Convert = Callable[[Entry, list[Value]], list[Value]]


class Store(Protocol):
    """A file of weights in a tree."""

    def variables(self, path: str) -> list[Value]:
        """The values at PATH/vars, in order; none if there is no such group."""

    def label(self, path: str) -> str | None:
        """The name of the layer whose weights are at PATH, if the file says it."""

    def below(self, path: str) -> list[str]:
        """The groups at PATH."""


@dataclass
class Tree:
    """Weights by their path in a Keras 3 file. named: layers bear the architecture's names.

    A layer that several models (or a wrapper) have is saved where it comes first: elsewhere it is
    found by its name. labels: the paths at which each name lies, once they were needed.
    """

    store: Store
    path: str = ""
    named: bool = True
    labels: dict[str, list[str]] = field(default_factory=dict)

    def own(self) -> list[Value]:
        return self.store.variables(self.path)

    def child(
        self, path: str, first: int = 0, count: int | None = None, name: str | None = None
    ) -> Tree:
        found = Tree(self.store, f"{self.path}/{path}".strip("/"), self.named, self.labels)
        if name is None or self.store.below(found.path):
            return found
        return self._elsewhere(found, name)

    def layers(self, entries: Sequence[Entry]) -> list[Source]:
        level = f"{self.path}/layers".strip("/")
        groups = self.store.below(level)
        here = {
            name: g for g in groups if self.named and (name := self.store.label(f"{level}/{g}"))
        }
        classes = [snake_case(e.class_name) for e in entries if not e.operation]
        numbered = {c: _of_class(c, groups) for c in classes}
        seen: Counter[str] = Counter()
        out: list[Tree | Nothing] = []
        for entry in entries:
            if entry.operation:
                out.append(Nothing())
                continue
            name = snake_case(entry.class_name)
            k = seen[name]
            seen[name] += 1
            if here:
                group = here.get(entry.name, f"{entry.name}?")  # saved elsewhere
            elif len(numbered[name]) == classes.count(name):
                group = numbered[name][k]  # tf.keras leaves numbers out
            else:
                group = name + (f"_{k}" if k else "")
            found = self.child(f"layers/{group}")
            if not here and self.store.below(found.path):
                self._remember(entry, found)
            out.append(found)
        return [
            t if isinstance(t, Nothing) or self.store.below(t.path) else self._elsewhere(t, e.name)
            for t, e in zip(out, entries, strict=True)
        ]

    def _elsewhere(self, missing: Tree, name: str) -> Tree:
        """Weights that are saved at another place, where their layer came first."""
        if not self.labels:
            self._label("layers")
        places = self.labels.get(name, [])
        if len(places) == 1:
            missing.path = places[0]
        return missing

    def _remember(self, entry: Entry, found: Tree) -> None:
        """Where an old file, which does not name them, has a layer and what is inside of it."""
        places = self.labels.setdefault(entry.name, [])
        if found.path not in places:
            places.append(found.path)
        inner = entry.config.get("layer")
        if entry.model:
            found.layers([inside(entry, layer) for layer in entry.config["layers"]])
        elif isinstance(inner, Mapping) and self.store.below(f"{found.path}/layer"):
            self._remember(inside(entry, inner), found.child("layer"))

    def _label(self, path: str) -> None:
        for group in self.store.below(path):
            at = f"{path}/{group}"
            if group != "vars":
                if label := self.store.label(at):
                    self.labels.setdefault(label, []).append(at)
                self._label(at)


@dataclass
class Groups:
    """Weights of an older file: a list for each layer, by name.

    whole: the file holds the architecture too, so that the names are its own. Where they are
    not, layers that have weights are taken in their order, as Keras does.
    """

    lists: Mapping[str, Callable[[], list[Named]]]
    convert: Convert
    where: str
    whole: bool = True

    def own(self) -> list[Value]:
        return []

    def child(
        self, path: str, first: int = 0, count: int | None = None, name: str | None = None
    ) -> Source:
        return Nothing()

    def layers(self, entries: Sequence[Entry]) -> list[Source]:
        lists = self.lists if self.whole else self._in_order(entries)
        out: list[Source] = []
        for e in entries:
            if e.name in lists:
                out.append(Flat(lists[e.name](), e, self.convert))
            elif e.model and self.whole:  # Keras 1 lists the layers of a Merge's models too
                out.append(self)
            else:
                out.append(Nothing())
        return out

    def _in_order(self, entries: Sequence[Entry]) -> Mapping[str, Callable[[], list[Named]]]:
        """The lists by the names of the architecture's layers."""
        filled = [name for name, read in self.lists.items() if read()]
        if set(filled) <= {e.name for e in entries}:
            return self.lists
        needing = [e for e in entries if not e.operation and _counts(e) != (0, 0)]
        if len(filled) != len(needing):
            raise ModelError(
                f"{self.where}: has weights for {len(filled)} layers ({_few(filled)}), but the "
                f"architecture has {len(needing)} layers with weights "
                f"({_few([e.name for e in needing])}): they belong to different models"
            )
        return {e.name: self.lists[name] for e, name in zip(needing, filled, strict=True)}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


@dataclass
class Flat:
    """The weights of a layer as one list, with their names."""

    named: list[Named]
    entry: Entry
    convert: Convert
    ordered: bool = True  # if names fail, the order is that of Keras: what is trained comes first

    def own(self) -> list[Value]:
        return self.convert(self.entry, [v for _, v in self.named])

    def child(
        self, path: str, first: int = 0, count: int | None = None, name: str | None = None
    ) -> Source:
        half = len(self.named) // 2
        part = self.named[first : None if count is None else first + count]
        if path == "forward_layer":
            part = self.named[:half]
        elif path == "backward_layer":
            part = self.named[half:]
        inner = self.entry.config.get(path)
        entry = Entry(self.entry.class_name, self.entry.name, {})
        if isinstance(inner, Mapping) and "class_name" in inner:
            entry = inside(self.entry, inner)
        elif path in ("forward_layer", "backward_layer"):
            entry = inside(self.entry, self.entry.config.get("layer") or {})
        return Flat(part, entry, self.convert)

    def layers(self, entries: Sequence[Entry]) -> list[Source]:
        parts = _by_name(self.named, entries)
        if parts is None and not self.ordered:
            raise ModelError(
                f"the weights ({_few([n for n, _ in self.named])}) do not bear the names of the "
                f"model's layers ({_few([e.name for e in entries if _counts(e) != (0, 0)])})"
            )
        if parts is None:
            parts = _by_order(self.named, entries, self.entry.name)
        return [Flat(p, e, self.convert, self.ordered) for p, e in zip(parts, entries, strict=True)]


@dataclass
class Nothing:
    """No weights: of operations and input layers, or because the file has none for a layer."""

    def own(self) -> list[Value]:
        return []

    def child(
        self, path: str, first: int = 0, count: int | None = None, name: str | None = None
    ) -> Nothing:
        return self

    def layers(self, entries: Sequence[Entry]) -> list[Source]:
        return [self] * len(entries)


@dataclass
class Live:
    """Weights of a layer of Keras 3 in memory. held: the elements and bytes of all that is read."""

    layer: Any
    held: dict[Any, tuple[int, int]]

    def own(self) -> list[Value]:
        stored: dict[str, Any] = {}
        self.layer.save_own_variables(stored)
        out = []
        for key in in_order(stored):
            array = as_array(stored[key])
            self.held[id(self.layer), key] = array.size, array.nbytes
            out.append(array_constant(array, partial(as_array, stored[key])))
        return out

    def child(
        self, path: str, first: int = 0, count: int | None = None, name: str | None = None
    ) -> Source:
        at: Any = self.layer
        for part in path.split("/"):
            if isinstance(at, (list, tuple)):
                at = dict(_numbered(at)).get(part)
            else:
                at = getattr(at, part, None)
            if at is None:
                return Nothing()
        return Live(at, self.held)

    def layers(self, entries: Sequence[Entry]) -> list[Source]:
        have = {layer.name: layer for layer in self.layer.layers}
        return [Live(have[e.name], self.held) if e.name in have else Nothing() for e in entries]


def inside(outer: Entry, inner: Mapping[str, Any]) -> Entry:
    """The row of a layer inside of another one's configuration."""
    config = inner.get("config") or {}
    if isinstance(config, list):
        config = {"layers": config}
    return Entry(str(inner.get("class_name")), str(config.get("name") or outer.name), config)


def snake_case(name: str) -> str:
    """A class's name as Keras 3 writes it in paths: Conv2DTranspose is conv2d_transpose."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _of_class(name: str, groups: Sequence[str]) -> list[str]:
    """The groups of a class's layers in their order: dense, dense_1, ... dense_10."""
    found = {g: re.fullmatch(rf"{re.escape(name)}(?:_(\d+))?", g) for g in groups}
    return sorted(
        (g for g, m in found.items() if m), key=lambda g: int((found[g] or [0, 0])[1] or 0)
    )


def _numbered(layers: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The layers of a list with the names that Keras 3 gives them in paths."""
    seen: Counter[str] = Counter()
    for layer in layers:
        name = snake_case(type(layer).__name__)
        yield name + (f"_{seen[name]}" if seen[name] else ""), layer
        seen[name] += 1


def in_order(keys: Iterable[str]) -> list[str]:
    """The keys of a layer's variables in creation order: 0, 1, ... 10; others behind."""
    return sorted(keys, key=lambda k: (not k.isdigit(), int(k) if k.isdigit() else 0, k))


def as_array(variable: Any) -> np.ndarray:
    """The array of a variable of any backend."""
    if hasattr(variable, "detach"):  # a tensor of PyTorch
        variable = variable.detach().cpu()
    return np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable)


def array_constant(array: np.ndarray, again: Callable[[], np.ndarray]) -> Value:
    """A weight as a constant, asked for `again` when it is needed; floats are f32."""
    if array.dtype.kind in "fV" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32, copy=False)
    return constant(array, again=again)


# ---- the parts of a flat list --------------------------------------------------------------------


def _by_name(named: Sequence[Named], entries: Sequence[Entry]) -> list[list[Named]] | None:
    """The weights of each layer by their names, or None if there are some that fit no layer.

    A wrapper or a model whose own name they do not bear has those of the layers inside of it, be
    they another one's too.
    """
    names = {e.name: k for k, e in enumerate(entries)}
    owner = [_owner(weight, names) for weight, _ in named]
    parts = [[w for w, k in zip(named, owner) if k == place] for place in range(len(entries))]
    claimed = {weight for (weight, _), k in zip(named, owner) if k is not None}
    for place, entry in enumerate(entries):
        inner = {e.name: 0 for e in _insides(entry)}
        if parts[place] or not inner:
            continue
        fits = [w for w in named if _owner(w[0], inner) is not None]
        parts[place] = [w for w in fits if w[0] not in claimed] or fits
    claimed |= {weight for part in parts for weight, _ in part}
    return parts if all(weight in claimed for weight, _ in named) else None


def _owner(weight: str, names: Mapping[str, int]) -> int | None:
    """Which of the layers a weight belongs to by its name: dense_1/kernel:0, or dense_1_W."""
    pieces = [p for p in re.split(r"[/:]", weight) if p]
    for piece in pieces:
        if piece in names:
            return names[piece]
    if len(pieces) == 1:  # Keras 1
        for name in sorted(names, key=len, reverse=True):
            if pieces[0].startswith(name + "_"):
                return names[name]
    return None


def _insides(entry: Entry) -> Iterator[Entry]:
    """The layers inside of a model or a wrapper."""
    listed = entry.config["layers"] if entry.model else [entry.config.get("layer")]
    for layer in listed:
        if isinstance(layer, Mapping) and "class_name" in layer:
            inner = inside(entry, layer)
            yield inner
            yield from _insides(inner)


def _by_order(named: Sequence[Named], entries: Sequence[Entry], model: str) -> list[list[Named]]:
    """The weights of each layer by their order: all that are trained, then all that are not."""
    counts = [_counts(e) for e in entries]
    lost = [e.name for e, c in zip(entries, counts) if c is None]
    total = sum(sum(c) for c in counts if c)
    if lost or total != len(named):
        raise ModelError(
            f"model {model!r} has {len(named)} weights, which could not be matched with its "
            f"layers by name ({named[0][0]!r}, ...)"
            + (f", nor counted for {', '.join(lost)}" if lost else f"; its layers need {total}")
        )
    trained, still = 0, sum(c[0] for c in counts if c)
    parts = []
    for c in counts:
        assert c is not None
        parts.append([*named[trained : trained + c[0]], *named[still : still + c[1]]])
        trained, still = trained + c[0], still + c[1]
    return parts


def _counts(entry: Entry) -> tuple[int, int] | None:
    """How many weights a layer has that are trained and that are not, or None if not known."""
    config = entry.config
    bias = int(config.get("use_bias", True))
    name = entry.class_name
    found: tuple[int, int] | None = None
    if entry.model:
        inner = [_counts(inside(entry, layer)) for layer in config["layers"]]
        if None not in inner:
            found = sum(c[0] for c in inner if c), sum(c[1] for c in inner if c)
    elif name in ("SeparableConv1D", "SeparableConv2D"):
        found = 2 + bias, 0
    elif name == "Dense" or re.fullmatch(r"(Depthwise)?Conv[123]D(Transpose)?", name):
        found = 1 + bias, 0
    elif name == "BatchNormalization":
        found = int(config.get("scale", True)) + int(config.get("center", True)), 2
    elif name == "LayerNormalization":
        found = int(config.get("scale", True)) + int(config.get("center", True)), 0
    elif name in ("Embedding", "PReLU"):
        found = 1, 0
    elif name in ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "ConvLSTM2D"):
        found = 2 + bias, 0
    elif name == "MultiHeadAttention":
        found = 4 * (1 + bias), 0
    elif name in ("Bidirectional", "TimeDistributed"):
        inner_counts = _counts(inside(entry, config["layer"]))
        times = 2 if name == "Bidirectional" else 1
        found = inner_counts and (times * inner_counts[0], times * inner_counts[1])
    elif name in _WEIGHTLESS or re.fullmatch(
        r"(Global)?(Max|Average)Pooling[123]D|(ZeroPadding|Cropping|UpSampling)[123]D", name
    ):
        found = 0, 0
    if found and config.get("trainable") is False and not entry.model:
        found = 0, sum(found)
    return found


_WEIGHTLESS = frozenset((
    "InputLayer", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "ThresholdedReLU", "Dropout",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
    "Flatten", "Reshape", "Permute", "RepeatVector", "Add", "Subtract", "Multiply", "Average",
    "Maximum", "Minimum", "Concatenate", "Dot", "Masking", "Lambda", "ActivityRegularization",
    "Rescaling", "Resizing", "CenterCrop", "TFOpLambda", "SlicingOpLambda", "Merge",
))  # fmt: skip


__all__ = [
    "Flat", "Groups", "Live", "Named", "Nothing", "Store", "Tree", "array_constant", "as_array",
    "in_order", "inside", "snake_case",
]  # fmt: skip
