"""Weights of a float model become narrower: halves, or integers with a scale, as the user asks.

    matmul(x, w)  ->  matmul(x, dequantize(round(w / scale), scale))

It is done before all other passes, once, and only on request: it changes what the model computes.

    f16   every weight is rounded to float16
    int8  q = round(w / scale) in -127..127, scale = max |w| / 127
    int4  q = round(w / scale) in -8..7, scale = m / -8, where m is what has the largest magnitude

of the weights that share a scale: those of a block of neighbours along the depth of a product, or
along a row of a table that is gathered from; of a convolution those of an output channel, or with
int4 of a block of its input channels where blocks divide them. An asymmetric form has a zero point
too: scale = (max w - min w) / 255 or / 15 of a range that holds 0. Filters of one channel each
(depthwise) are int8 in both. Scales are float16 where its range has them.

Biases, norms, weights of few elements stay floats; so do the first and the last products and
convolutions, if they hold little, and what `keep` names. The smallest of all others, which together
hold next to nothing, are of the next wider form; tables that are added and weights of recurrences
are float16. Bodies of loops (`ops.iterate`) have layers like any other. Integers are constant
expressions: they are computed when the descriptor is written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from .. import ops
from ..errors import WebDNNError
from ..expr import Dim
from ..graph import Graph, Value, constant, evaluate, rewrite
from ..ops.control import inside, regions
from ..ops.quantised import DEQUANTIZE, halved, moved

SMALL = 1024  # elements of a weight that is not worth a scale
LITTLE = 100  # a first or last layer stays as it is if it holds less than this part of all weights
NEXT_TO_NOTHING = 200  # less than this part of all weights: what smaller bytes are not worth
BLOCKS = {"int8": 128, "int4": 32}
_FORM = re.compile(r"(f32|f16)|(int8|int4)(?::(\d{1,6}))?(,asymmetric)?")
FORMS = "f32, f16, int8, int4, or with a block int4:64, and int4:64,asymmetric"


@dataclass(frozen=True)
class Form:
    """What weights become: f32 (nothing), f16, int8 or int4; of integers, how many along the depth
    of a product share a scale, and whether they have a zero point."""

    name: str
    block: int = 0
    asymmetric: bool = False

    def __str__(self) -> str:
        zero = ",asymmetric" if self.asymmetric else ""
        return f"{self.name}:{self.block}{zero}" if self.block else self.name


def weight_form(text: str) -> Form:
    """What a user asks for: f32, f16, int8, int4, int4:64, int8,asymmetric.

    Raises WebDNNError for anything else.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        file = "; a file of weights follows the model: MODEL WEIGHTS, in Python weights_file="
        file = file if re.search(r"[./\\]", str(text)) else ""
        raise WebDNNError(f"--weights {text}: expected {FORMS}{file}")
    block = int(found[3] or BLOCKS[found[2]]) if found[2] else 0
    if found[2] and (block < 8 or block % 8):
        raise WebDNNError(
            f"--weights {text}: expected a block that is a multiple of 8, as in {found[2]}:"
            f"{BLOCKS[found[2]]}, found {block}: so many weights share a scale"
        )
    return Form(found[1] or found[2], block, found[4] is not None)


def kept_forms(keep: str | Sequence[str]) -> list[tuple[str, Form]]:
    """`PATTERN` or `PATTERN=FORM`, each as the pattern and what becomes of these layers."""
    out = []
    for text in (keep,) if isinstance(keep, str) else keep:
        pattern, equals, form = text.rpartition("=")
        try:
            out.append((pattern, weight_form(form)) if equals else (text, Form("f32")))
        except WebDNNError as error:
            raise WebDNNError(f"--keep {text}: expected PATTERN=FORM with FORM {FORMS}") from error
    return out


def described(form: Form, keep: Sequence[tuple[str, Form]]) -> str:
    """The form in words for the descriptor; none where all weights stay as they are."""
    forms = dict.fromkeys(str(f) for f in (form, *(other for _, other in keep)) if f.name != "f32")
    return " ".join(forms)


def quantise(
    graph: Graph, form: Form, keep: Sequence[tuple[str, Form]] = ()
) -> tuple[Graph, list[str]]:
    """The graph with its weights in that form, and notes of what was done.

    keep: patterns (`*`, `?`) of names of layers, and the form of their weights; of several that fit
    the last counts. A layer is called as the model calls its result or its weight. Raises
    WebDNNError for a pattern that fits none, or for float32 layers among others that are.
    """
    if form.name == "f32":
        if any(other.name == "f32" for _, other in keep):
            raise WebDNNError(
                "--keep says which weights stay float32 where others do not: give --weights too, "
                "as in --weights int8"
            )
        if not keep:
            return graph, []
    bodies = [region.graph() for region in regions(graph.values())]
    layers: dict[Value, list[tuple[int, bool]]] = {}
    named: dict[Value, list[str]] = {}
    for part in (graph, *bodies):
        own = {v: places for v in part.values() if (places := _weights_of(v))}
        layers |= own
        named |= _names(part, own)
    large = {v for v, places in layers.items() if max(v.inputs[k].size for k, _ in places) >= SMALL}
    chosen = {v: form for v in layers if v in large}
    if form.block:
        ends = _ends(graph, layers)
        wider = (
            Form("f16") if form.name == "int8" else Form("int8", BLOCKS["int8"], form.asymmetric)
        )
        chosen |= dict.fromkeys(_smallest(layers, chosen.keys() - ends), wider)
        chosen |= dict.fromkeys(ends, Form("f32"))
    for pattern, other in keep:
        found = [v for v in layers if any(fnmatchcase(n, pattern) for n in named[v])]
        if not found:
            names = [*dict.fromkeys(n for v in layers if v in large for n in named[v][:1])]
            some = ", ".join(names[:8]) + (", …" if names[8:] else "")
            raise WebDNNError(
                f"--keep {pattern}: no layer with weights is called so. They are called as their "
                f"results in the model, or as their weights: {some or 'there is none'}"
            )
        chosen |= dict.fromkeys(found, other)
    origin: dict[Value, Value] = {}
    done: dict[Value, str] = {}

    def quantised(v: Value, uses: object) -> Value | None:
        first = origin.get(v, v)
        how = chosen.get(first)
        if how is None or how.name == "f32" or first in done:
            return None
        inputs = [*v.inputs]
        for k, integral in layers[first]:
            inputs[k] = _narrow(v, k, how if integral else Form("f16")) or inputs[k]
            if inputs[k].op is DEQUANTIZE:
                done[first] = _kind(inputs[k])
        return v.op.node(inputs, v.attrs).outputs[v.index] if first in done else None

    def narrowed(part: Graph) -> Graph:
        return inside(rewrite(part, (quantised,), {}, origin), narrowed)

    out = narrowed(graph)
    return out, [_note([v for v in layers if v in large or v in done], done, form, named)]


def _note(
    layers: Sequence[Value],
    done: Mapping[Value, str],
    form: Form,
    named: Mapping[Value, Sequence[str]],
) -> str:
    """What became of how many layers, and the names of those whose weights are float32."""
    counts = Counter(done.values())
    parts = [f"{n} as {kind}" for kind, n in counts.most_common()]
    note = f"weights of {len(layers)} layers are stored: {', '.join(parts) or 'none otherwise'}"
    if form.block and counts.keys() - {"f16"}:
        note += f"; {form.block} along the depth of a product share a scale"
    floats = [n for v in layers if v not in done for n in named[v][:1]]
    if floats:
        more = f" and {len(floats) - 8} more" if floats[8:] else ""
        note += f"; as float32 those of {', '.join(floats[:8])}{more}"
    return note


def _names(
    graph: Graph, layers: Mapping[Value, Sequence[tuple[int, bool]]]
) -> dict[Value, list[str]]:
    """What the model calls each layer: as its result (also with its bias), as its weights."""
    of: dict[Value, list[str]] = {}
    for name, v in (*graph.names.items(), *graph.outputs.items()):
        of.setdefault(v, []).append(str(name))
        while v not in layers and (before := _before(v)) is not None:
            v = before
            of.setdefault(v, []).append(str(name))
    for v, places in layers.items():
        for k, _ in places:
            w = v.inputs[k]
            while w not in of and w.op.view and w.inputs:
                w = w.inputs[0]
            of.setdefault(v, []).extend(of.get(w, ()))
    return {v: [*dict.fromkeys(of.get(v, ()))] for v in layers}


def _before(v: Value) -> Value | None:
    """What a view, a bias, a norm or an activation is of."""
    if not (v.op.view or v.op.pointwise):
        return None
    inner = [i for i in v.inputs if not i.constant]
    return inner[0] if len(inner) == 1 else None


def _weights_of(v: Value) -> list[tuple[int, bool]]:
    """The operands of an operator that are its weights, and whether each may be integers."""
    if v.constant:
        return []
    if v.op in (ops.MATMUL, ops.CONV, ops.GATHER):
        place = {ops.MATMUL: (1, 0), ops.CONV: (1,), ops.GATHER: (0,)}[v.op]
        return [(k, True) for k in place if _is_weight(v.inputs[k])][:1]
    return [(k, False) for k, w in enumerate(v.inputs) if _is_weight(w)]


def _is_weight(w: Value) -> bool:
    many = sum(d != 1 for d in w.shape) > 1  # a vector is a bias, or what a norm multiplies by
    return w.constant and w.dtype == "f32" and many


def _ends(graph: Graph, layers: Mapping[Value, Sequence[tuple[int, bool]]]) -> set[Value]:
    """The first and last products and convolutions that hold little of all weights; in the body of
    a loop none is the first or last.
    """
    sizes = {v: sum(v.inputs[k].size for k, _ in places) for v, places in layers.items()}
    integral = {v for v, places in layers.items() if any(can for _, can in places)}
    before: dict[Value, bool] = {}
    for v in graph.values():
        before[v] = any(before[i] or i in integral for i in v.inputs)
    after = dict.fromkeys(graph.values(), False)
    for v in reversed(graph.values()):
        for i in v.inputs:
            after[i] |= after[v] or v in integral
    return {
        v
        for v in integral & before.keys()
        if v.op is not ops.GATHER  # a first layer, but rows of it are read and nothing is summed
        and not (before[v] and after[v])
        and sizes[v] * LITTLE < sum(sizes.values())
    }


def _smallest(
    layers: Mapping[Value, Sequence[tuple[int, bool]]], among: Container[Value]
) -> set[Value]:
    """The smallest products and convolutions, which together hold next to nothing of the weights:
    the first of a convolutional network are such, and what it computes depends on them most."""
    sizes = {v: sum(v.inputs[k].size for k, _ in places) for v, places in layers.items()}
    left = sum(sizes.values()) / NEXT_TO_NOTHING
    out = set()
    for v in sorted(layers, key=sizes.__getitem__):
        if v in among and v.op in (ops.MATMUL, ops.CONV):
            left -= sizes[v]
            if left < 0:
                break
            out.add(v)
    return out


def _kind(w: Value) -> str:
    """What a dequantised weight is stored as, in the words of a form."""
    return {"f16": "f16", "i4": "int4", "u4": "int4"}.get(w.inputs[0].dtype, "int8")


def _narrow(v: Value, k: int, form: Form) -> Value | None:
    """The weight of a layer, dequantised; None where it stays as it is."""
    w = v.inputs[k]
    bits = 4 if form.name == "int4" else 8
    if v.op is ops.CONV:
        channels = w.shape[2]
        if channels == 1:
            bits = 8
        blocks = [*w.shape[:3], 1]
        if bits == 4 and isinstance(channels, int) and channels % form.block == 0:
            blocks = [1, 1, form.block, 1]
    else:
        depth = w.rank - 2 if v.op is ops.MATMUL and k == 1 else w.rank - 1
        blocks = [form.block if a == depth else 1 for a in range(w.rank)]
    if w.op is not ops.TRANSPOSE:
        return _stored(w, form, bits, blocks)
    perm = w.attrs["perm"]  # of the model's own, which may be a table of embeddings, too
    blocks = [blocks[perm.index(a)] for a in range(w.rank)]
    own = _stored(w.inputs[0], form, bits, blocks)
    return None if own is None else moved(ops.transpose(own, perm))


def _stored(w: Value, form: Form, bits: int, blocks: Sequence[Dim]) -> Value | None:
    """A constant of f32 as halves, or as integers of so many bits; None where it stays."""
    if form.name != "f16":
        return integers(w, [int(b) for b in blocks], bits, form.asymmetric)  # type: ignore[arg-type]
    with np.errstate(over="ignore"):
        if not np.isfinite(evaluate(w).astype(np.float16)).all():
            return None
    return ops.dequantize(ops.cast(w, "f16"))


def integers(w: Value, blocks: Sequence[int], bits: int, asymmetric: bool = False) -> Value | None:
    """A constant of f32 as integers of that many bits, with one scale (and zero point) for each
    block of neighbours; None if it holds NaN or an infinity."""
    sizes = [int(d) for d in w.shape]  # type: ignore[arg-type]
    blocks = [min(b, d) for b, d in zip(blocks, sizes, strict=True)]
    counts = [-(-d // b) for d, b in zip(sizes, blocks, strict=True)]
    missing = [n * b - d for n, b, d in zip(counts, blocks, sizes, strict=True)]
    whole = ops.pad(w, [0] * w.rank, missing)
    split = ops.reshape(whole, [x for n, b in zip(counts, blocks, strict=True) for x in (n, b)])
    axes = range(1, 2 * w.rank, 2)
    array = evaluate(split)
    high = array.max(tuple(axes), keepdims=True)
    low = array.min(tuple(axes), keepdims=True)
    if not (np.isfinite(high) & np.isfinite(low)).all():
        return None
    least, most = (-8, 7) if bits == 4 else (-127, 127)
    if asymmetric:
        least, most = 0, 2**bits - 1
        high, low = np.maximum(high, 0), np.minimum(low, 0)
        scale = (high - low) / most
    elif bits == 4:
        scale = np.where(high < -low, low, high) / -8
    else:
        scale = np.maximum(high, -low) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    factor = halved(constant(scale))
    q = ops.round_(ops.div(split, ops.cast(factor, "f32")))
    zeros = []
    if asymmetric:
        zero = np.round(-low / evaluate(factor).astype(np.float32)).clip(0, most)
        q = ops.add(q, constant(zero.astype(np.float32)))
        zeros = [ops.reshape(constant(zero.astype(np.uint8), f"u{bits}"), counts)]
    dtype = f"{'u' if asymmetric else 'i'}{bits}"
    q = ops.reshape(ops.cast(ops.clamp(q, least, most), dtype), whole.shape)
    q = ops.slice_(q, [0] * w.rank, sizes)
    scales = ops.reshape(factor, counts)
    return DEQUANTIZE(q, scales, *zeros, blocks=tuple(blocks), dtype=w.dtype)


__all__ = ["Form", "described", "kept_forms", "quantise", "weight_form"]
