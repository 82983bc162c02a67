"""Keras' attention layers: dot-product, additive, multi-head and grouped-query.

    q [N, T, H, D], k, v [N, S, K, D] -> softmax(q k / sqrt(D)) v [N, T, H, D]

A mask that a query brings blanks no row of the attention but its keys' positions do, as in Keras:
what is masked gets a score of -1e9, so that a row without any key attends to all equally (or to
none, where Keras 3 takes the path of its Softmax layer: `explicit`). Scores
are computed by matrix products with the heads as a batch axis; in grouped-query attention each key
head serves the query heads next to it, without being copied.

    >>> equations(4, [1])
    ('abcd,aecd->acbe', 'acbe,aecd->abcd')
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import ops
from ...expr import Dim
from ...graph import Value, constant
from ..arrays import floats, known_ints
from .activations import masked_softmax
from .model import Call, Layer, Nested
from .spatial import weight

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- masks ---------------------------------------------------------------------------------------


def both(a: Value | None, b: Value | None) -> Value | None:
    """What two masks allow together."""
    return b if a is None else a if b is None else ops.logical_and(a, b)


def _positions(t: Dim, s: Dim) -> tuple[Value, Value]:
    """Rows [1, T, 1] and columns [1, 1, S]."""
    return ops.iota((1, t, 1), 1), ops.iota((1, 1, s), 2)


def causal(t: Dim, s: Dim) -> Value:
    """[1, T, S]: a position sees itself and those before."""
    return ops.greater_equal(*_positions(t, s))


def sliding(t: Dim, s: Dim, window: int) -> Value:
    """[1, T, S]: a position sees those less than `window` away."""
    return ops.less(ops.abs_(ops.sub(*_positions(t, s))), window)


def _operands(inputs: Sequence[Nested], call: Call, names: Sequence[str]) -> list[Value | None]:
    """The arguments of a call in the order of `names`, given by position or by name."""
    out: list[Value | None] = []
    for k, name in enumerate(names):
        found = inputs[k] if k < len(inputs) else call.get(name)
        out.append(found if isinstance(found, Value) else None)
    return out


def _multi_mask(
    layer: Layer, inputs: Sequence[Nested], call: Call, query: Value, value: Value
) -> tuple[Value | None, Value | None]:
    """What [N, T, S] (or [N, H, T, S]) may be attended to, and the query's own mask."""
    names = ("query", "value", "key")
    old = re.match(r"2\.(\d+)\.", getattr(layer.version, "text", ""))
    carried: list[Value | None] = [None] * 3
    if not (old and int(old[1]) < 10):  # until Keras 2.9 masks that tensors carry did not count
        carried = [
            m if m is not None else call.named_masks.get(name)
            for name, m in zip(names, [*call.masks, None, None, None])
        ]
    given = [call.get(f"{name}_mask") for name in names]
    q_mask, v_mask, k_mask = (
        g if isinstance(g, Value) else c for g, c in zip(given, carried, strict=True)
    )
    mask: Value | None = None
    if q_mask is not None:
        mask = ops.unsqueeze(ops.cast(q_mask, "bool"), [q_mask.rank])
    for m in (v_mask, k_mask):
        if m is not None:
            mask = both(mask, ops.unsqueeze(ops.cast(m, "bool"), [m.rank - 1]))
    t, s = query.shape[1], value.shape[1]
    if call.get("use_causal_mask"):
        mask = both(mask, causal(t, s))
    window = layer.config.get("sliding_window")
    if window is not None:
        mask = both(mask, sliding(t, s, int(window)))
    attention = call.get("attention_mask")
    if attention is None and len(inputs) > 6 and isinstance(inputs[6], Value):
        attention = inputs[6]
    if isinstance(attention, Value):
        attention = ops.cast(attention, "bool")
        if mask is not None and attention.rank > mask.rank:
            mask = ops.unsqueeze(mask, [1])
        mask = both(attention, mask)
    return mask, q_mask


# ---- multi-head attention ------------------------------------------------------------------------


def equations(rank: int, axes: Sequence[int]) -> tuple[str, str]:
    """The products of attention over some axes: keys and queries to scores, and scores and values.

    Projected tensors are (batch, ..., heads, size), of `rank` axes; scores are (batch, other axes,
    heads, query axes, key axes).
    """
    target = string.ascii_lowercase[:rank]
    batch = [k for k in range(rank - 1) if k not in axes]
    letters = iter(string.ascii_lowercase[rank:])
    source = "".join(
        c if k in batch or k == rank - 1 else next(letters) for k, c in enumerate(target)
    )
    scores = "".join([target[k] for k in (*batch, *axes)] + [source[k] for k in axes])
    return f"{target},{source}->{scores}", f"{scores},{source}->{target}"


def _inner(layer: Layer, name: str, first: int, count: int) -> Layer:
    """One of the projections; some files know it by the name of the private attribute."""
    for path in (name, f"_{name}"):
        inner = layer.sublayer({"class_name": "EinsumDense", "config": {}}, path, first, count)
        if inner.weights:
            break
    return inner


def _projected(
    layer: Layer, x: Value, at: int, name: str, shape: Sequence[Any], bias: bool
) -> tuple[Value, int]:
    """x [..., D] by an inner EinsumDense [D, heads, size]; the index of the next flat weight."""
    count = 1 + bias
    inner = _inner(layer, name, at, count)
    w = weight(inner, 0, (x.shape[-1], *shape), x)
    n = ops.product([ops.static(d, "the size of a projection") for d in w.shape[1:]])
    y = ops.matmul(x, ops.reshape(w, (w.shape[0], n)))
    if bias:
        y = ops.add(y, ops.reshape(weight(inner, 1, w.shape[1:], x), (n,)))
    return ops.reshape(y, (*x.shape[:-1], *w.shape[1:])), at + count


def _output(layer: Layer, x: Value, at: int, bias: bool) -> Value:
    """x [..., heads, size] by the output's projection [heads, size, ...]."""
    inner = _inner(layer, "output_dense", at, 1 + bias)
    w = inner.weight(0)
    if w.rank < 3 or not all(map(ops.same, w.shape[:2], x.shape[-2:])):
        raise inner.error(
            f"a kernel [{x.shape[-2]}, {x.shape[-1]}, ...] expected, found "
            f"[{', '.join(map(str, w.shape))}]"
        )
    rows, columns = ops.product(w.shape[:2]), ops.product(w.shape[2:])
    flat = ops.reshape(x, (*x.shape[:-2], rows))
    y = ops.matmul(flat, ops.reshape(ops.cast(w, x.dtype), (rows, columns)))
    if bias:
        y = ops.add(y, ops.reshape(weight(inner, 1, w.shape[2:], x), (columns,)))
    return ops.reshape(y, (*x.shape[:-2], *w.shape[2:]))


def _heads_first(x: Value, keys: bool = False) -> Value:
    """[N, T, H, D] -> [N, H, T, D], or [N, H, D, T] as the second operand of scores."""
    return ops.transpose(x, (0, 2, 3, 1) if keys else (0, 2, 1, 3))


@dataclass
class _Projected:
    """Query, key and value as their dense layers give them, and what is done to the result."""

    q: Value
    k: Value
    v: Value
    gate: Value | None
    mask: Value | None
    query_mask: Value | None
    weights: int  # how many of the layer's weights these projections have

    def finished(self, layer: Layer, y: Value, scores: Value, call: Call) -> Nested:
        """The layer's result from y, the weighted values, and the attention's weights."""
        if self.gate is not None:
            y = ops.mul(y, ops.sigmoid(self.gate))
        out = _output(layer, y, self.weights, bool(layer.config.get("use_bias", True)))
        call.output_mask = self.query_mask
        return [out, scores] if call.get("return_attention_scores") else out


def _projections(
    layer: Layer,
    inputs: Sequence[Nested],
    call: Call,
    heads: int,
    groups: int,
    size: int,
    deep: int,
) -> _Projected:
    """Of queries there are `heads`, of keys and values `groups`; queries and keys have `size`
    numbers each, values `deep`.
    """
    query, value, key = _operands(inputs, call, ("query", "value", "key"))
    if query is None or value is None:
        raise layer.error("a query and a value expected")
    query, value = floats(query), floats(value)
    key = value if key is None else floats(key)
    bias = bool(layer.config.get("use_bias", True))
    mask, query_mask = _multi_mask(layer, inputs, call, query, value)
    q, at = _projected(layer, query, 0, "query_dense", (heads, size), bias)
    k, at = _projected(layer, key, at, "key_dense", (groups, size), bias)
    gate = None
    if layer.config.get("use_gate"):
        gate, at = _projected(layer, query, at, "gate_dense", (heads, deep), bias)
    v, at = _projected(layer, value, at, "value_dense", (groups, deep), bias)
    return _Projected(q, k, v, gate, mask, query_mask, at)


def MultiHeadAttention(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    c = layer.config
    heads, size = int(c["num_heads"]), int(c["key_dim"])
    p = _projections(layer, inputs, call, heads, heads, size, int(c.get("value_dim") or size))
    if layer.version >= 3:  # takes the masks off its tensors: layers after it see none
        call.masks, call.named_masks = [None] * len(call.masks), {}
    q, mask = ops.mul(p.q, 1 / math.sqrt(size)), p.mask
    given = known_ints(c.get("attention_axes") or [*range(1, q.rank - 2)], "the axes")
    axes = [a % (q.rank - 1) for a in given]
    if q.rank == 4 and axes == [1]:
        scores = ops.matmul(_heads_first(q), _heads_first(p.k, True))
        weights = masked_softmax(scores, _broadcast(mask, 4, 1), [-1], explicit(layer, q, call))
        y = _heads_first(ops.matmul(weights, _heads_first(p.v)))
    else:
        first, second = equations(q.rank, axes)
        scores = ops.einsum(first, q, p.k)
        last = range(scores.rank - len(axes), scores.rank)
        weights = masked_softmax(
            scores, _broadcast(mask, scores.rank, len(axes)), list(last), explicit(layer, q, call)
        )
        y = ops.einsum(second, weights, p.v)
    return p.finished(layer, y, weights, call)


def explicit(layer: Layer, q: Value, call: Call) -> bool:
    """Whether Keras computes the scores itself, and not by its backend's attention."""
    scores = bool(call.get("return_attention_scores"))
    dropout = float(layer.config.get("dropout") or 0)
    return layer.version >= 3 and (q.rank != 4 or scores or dropout > 0)


def _broadcast(mask: Value | None, rank: int, count: int) -> Value | None:
    """A mask with the rank of scores: axes are inserted before its `count` pairs of positions."""
    if mask is None or mask.rank >= rank:
        return mask
    place = max(0, mask.rank - 2 * count)
    return ops.unsqueeze(mask, range(place, place + rank - mask.rank))


def GroupedQueryAttention(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    size, heads, groups = (
        int(layer.config[name]) for name in ("head_dim", "num_query_heads", "num_key_value_heads")
    )
    p = _projections(layer, inputs, call, heads, groups, size, size)
    n, t, s, share = p.q.shape[0], p.q.shape[1], p.v.shape[1], heads // groups
    q = ops.mul(_heads_first(p.q), 1 / math.sqrt(size))
    # the query heads of one key head are rows of one product: [N, G, share * T, D]
    rows = ops.reshape(q, (n, groups, ops.product([share, t]), size))
    scores = ops.reshape(ops.matmul(rows, _heads_first(p.k, True)), (n, heads, t, s))
    weights = masked_softmax(scores, _broadcast(p.mask, 4, 1), [-1], explicit(layer, q, call))
    rows = ops.reshape(weights, (n, groups, ops.product([share, t]), s))
    y = ops.reshape(ops.matmul(rows, _heads_first(p.v)), (n, heads, t, size))
    return p.finished(layer, _heads_first(y), weights, call)


# ---- attention without projections ---------------------------------------------------------------


def _attention(score: Callable[[Layer, Value, Value], Value]) -> Function:
    def build(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
        values = [floats(x) for x in inputs if isinstance(x, Value)]
        if len(values) not in (2, 3):
            raise layer.error(
                f"[query, value] or [query, value, key] expected, {len(values)} found"
            )
        query, value = values[:2]
        given = call.get("mask")
        masks = given if isinstance(given, (list, tuple)) else call.masks
        q_mask, v_mask = [*masks, None, None][:2]
        scores = score(layer, query, values[2] if len(values) > 2 else value)
        mask = None
        if v_mask is not None:
            mask = ops.cast(v_mask, "bool")
            mask = ops.unsqueeze(mask, [mask.rank - 1]) if mask.rank < scores.rank else mask
        if call.get("use_causal_mask") or layer.config.get("causal"):
            mask = both(mask, causal(scores.shape[-2], scores.shape[-1]))
        weights = masked_softmax(scores, mask, [-1])
        y = ops.matmul(weights, value)
        if q_mask is not None:
            kept = ops.unsqueeze(ops.cast(q_mask, "bool"), [q_mask.rank])
            y = ops.where(kept, y, constant(0, y.dtype))
            call.output_mask = q_mask
        return [y, weights] if call.get("return_attention_scores") else y

    return build


def _sums(query: Value, key: Value, scale: Value | None) -> Value:
    """tanh of the sums of every query with every key, [N, T, S, D]."""
    pairs = ops.add(ops.unsqueeze(query, [query.rank - 1]), ops.unsqueeze(key, [key.rank - 2]))
    return ops.tanh_(pairs if scale is None else ops.mul(pairs, scale))


def _dot_score(layer: Layer, query: Value, key: Value) -> Value:
    c = layer.config
    scaled = bool(c.get("use_scale"))
    scale = weight(layer, 0, (), query) if scaled else None
    if c.get("score_mode", "dot") == "concat":
        total = ops.reduce_sum(_sums(query, key, scale), [-1])
        return ops.mul(ops.squeeze(total, [-1]), weight(layer, int(scaled), (), query))
    r = key.rank
    scores = ops.matmul(query, ops.transpose(key, (*range(r - 2), r - 1, r - 2)))
    return scores if scale is None else ops.mul(scores, scale)


def _additive_score(layer: Layer, query: Value, key: Value) -> Value:
    y = _sums(query, key, None)
    if layer.config.get("use_scale", True):
        y = ops.mul(y, weight(layer, 0, (query.shape[-1],), query))
    return ops.squeeze(ops.reduce_sum(y, [-1]), [-1])


LAYERS: dict[str, Function] = {
    "AdditiveAttention": _attention(_additive_score),
    "Attention": _attention(_dot_score),
    "GroupedQueryAttention": GroupedQueryAttention,
    "MultiHeadAttention": MultiHeadAttention,
}

__all__ = ["LAYERS"]
