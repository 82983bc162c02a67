"""The inputs that an ONNX model declares; of a sequence, the tensors in it.

    taken = declared_inputs(proto.graph.input, Sizes({"xs": 2}))
    taken.declared    # xs.0: float32[?, 3], xs.1: float32[?, 3]

A page gives tensors. How many a sequence has is a size under its name, `--dim xs=2`, and each is an
input of its own, named by its position. An optional input is given in each run, or in none: it is
absent where its size is 0.

Where an input has no shape, the sizes that are said of its axes are it (`--dim x.0=2 x.1=3`).

Limits: an optional sequence that is given is not empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import DimensionError, ModelError, UnsupportedError
from ...graph import DTYPES, Value
from ..dims import Declared, Sizes
from .declared import dim_name
from .elements import element_type
from .sequences import Held, TensorSequence

_KINDS = {"map_type": "map", "sparse_tensor_type": "sparse_tensor", None: "none"}


@dataclass(frozen=True)
class Inputs:
    """The tensors that a model takes, and the sizes that are said of these.

    parts: of each sequence, its dtype and the names of its tensors; None for an optional that is
    absent.
    """

    declared: list[Declared]
    sizes: Sizes
    parts: Mapping[str, tuple[str, list[str]] | None]

    def held(self, tensors: Mapping[str, Value]) -> dict[str, Held]:
        """What the model's names of its inputs stand for, given each tensor."""
        out: dict[str, Held] = dict(tensors)
        for name, part in self.parts.items():
            out[name] = part and TensorSequence(part[0], tuple(tensors[n] for n in part[1]))
        return out


def declared_inputs(inputs: Iterable[Any], sizes: Sizes) -> Inputs:
    """What a graph takes: without inputs that are initialisers, which callers leave out.

    Raises UnsupportedError for what is neither tensor nor sequence of tensors, ModelError where the
    number of axes is not said, DimensionError for a sequence of which nobody says how long it is.
    """
    declared: list[Declared] = []
    parts: dict[str, tuple[str, list[str]] | None] = {}
    said = dict(sizes)
    for i in inputs:
        kind, optional = i.type, i.type.WhichOneof("value") == "optional_type"
        if optional:
            kind = kind.optional_type.elem_type
        sequence = kind.WhichOneof("value") == "sequence_type"
        if sequence:
            kind = kind.sequence_type.elem_type
        found = kind.WhichOneof("value")
        if found != "tensor_type":
            raise UnsupportedError(
                f"input {i.name!r} has type {_KINDS.get(found, str(found).removesuffix('_type'))}; "
                "only tensors, and sequences of them, are supported"
            )
        try:
            dtype = element_type(kind.tensor_type.elem_type)
        except UnsupportedError as error:
            raise UnsupportedError(f"input {i.name!r}: {error}") from None
        count = said.pop(i.name, None) if sequence or (optional and said.get(i.name) == 0) else 1
        if count is None or not isinstance(count, int):
            raise DimensionError(
                f"input {i.name!r} is a sequence of {DTYPES[dtype]} tensors: say how many a page "
                f"gives, for example --dim {i.name}=2 (in Python dims={{{i.name!r}: 2}}). They are "
                f"the inputs {i.name}.0 and {i.name}.1 then"
            )
        if not count:
            parts[i.name] = None if optional else (dtype, [])
            continue
        names = [f"{i.name}.{k}" for k in range(count)] if sequence else [i.name]
        for name in names:
            if kind.tensor_type.HasField("shape"):
                dims = kind.tensor_type.shape.dim
                shape = tuple(_size(d, named=not sequence) for d in dims)
            else:
                shape = (None,) * _axes(name, said)
            declared.append(Declared(name, dtype, shape))
        if sequence:
            parts[i.name] = dtype, names
    twice = {d.name for d in declared} & parts.keys()
    if twice or len({d.name for d in declared}) < len(declared):
        raise ModelError(f"the tensors of sequences have names of other inputs: {sorted(twice)}")
    return Inputs(declared, Sizes(said, sizes.sides, sizes.assumed, sizes.fixed), parts)


def _size(d: Any, named: bool) -> int | str | None:
    """A size as it is declared; tensors of a sequence differ in those that have names."""
    if d.HasField("dim_value") and d.dim_value >= 0:
        return int(d.dim_value)
    return (named and dim_name(d)) or None


def _axes(name: str, sizes: Mapping[str, Any]) -> int:
    """How many axes a tensor has whose shape is not declared: as many as sizes are said of it."""
    count = 0
    while f"{name}.{count}" in sizes:
        count += 1
    if not count:
        raise ModelError(
            f"input {name!r} has no shape, not even its number of axes; declare it in the model, "
            f"or say the size of each axis: --dim {name}.0=SIZE {name}.1=SIZE"
        )
    return count


__all__ = ["Inputs", "declared_inputs"]
