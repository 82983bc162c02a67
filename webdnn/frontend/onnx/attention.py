"""Attention as onnxruntime's optimiser and model builder write it (domain com.microsoft).

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (1, 7, 32), "f32")
    >>> MultiHeadAttention(x, x, x, num_heads=4, outputs=1)[0].shape
    (1, 7, 32)

B is the batch, S the queries' length, P that of the past, T of all keys; N heads of H numbers each,
of which K have keys and values of their own. Everything is composed of products and a softmax.
Masks of lengths, of the start and the end, and of 2, 3 and 4 axes are taken; packed batches without
padding, beam search within the operator, and caches of 8 bits are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import Dim, as_dim, lift, maximum, same
from ...graph import Value, type_text
from ..arrays import known_dims
from .operators import DequantizeLinear, RMSNormalization

LOWEST = -3.4028234663852886e38  # what onnxruntime adds where a query may not look


def _refuse(**given: Any) -> None:
    """Raises UnsupportedError for the first input or attribute that is given and not taken."""
    for name, value in given.items():
        if isinstance(value, Value) or value:
            raise UnsupportedError(f"{name} is not supported; export the model without it")


def _heads(x: Value, heads: int) -> Value:
    """[B, S, N * H] -> [B, N, S, H]; what has four axes is so already."""
    if x.rank == 4:
        return x
    if x.rank != 3:
        raise ModelError(f"[batch, length, features] expected, found {type_text(x)}")
    b, s, d = x.shape
    width = ops.static(d, "the number of features")
    if heads < 1 or width % heads:
        raise ModelError(f"{type_text(x)} has not {heads} heads")
    return ops.transpose(ops.reshape(x, (b, s, heads, width // heads)), (0, 2, 1, 3))


def _joined(x: Value) -> Value:
    """[B, N, S, H] -> [B, S, N * H]"""
    b, n, s, h = x.shape
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (b, s, as_dim(lift(n) * h)))


def _parts(x: Value, sizes: Sequence[Dim], what: str) -> list[Value]:
    """x cut along its last axis."""
    if not same(as_dim(sum((lift(n) for n in sizes), lift(0))), x.shape[-1]):
        raise ModelError(f"{what} {type_text(x)}: its last axis should be {list(sizes)}")
    return ops.split(x, sizes, x.rank - 1)


def attend(
    q: Value,
    k: Value,
    v: Value,
    *,
    scale: float | None = None,
    bias: Value | None = None,
    keep: Value | None = None,
    cap: float = 0.0,
    sink: Value | None = None,
) -> Value:
    """softmax(q k' scale + bias) v: q [B, N, S, H], k [B, K, T, H], v [B, K, T, W] -> [B, N, S, W].

    N is a multiple of K. bias (f32) and keep (bool, where a query may look) broadcast to
    [B, N, S, T]. cap bounds scores by a tanh; sink [N] is the score of a key without a value.
    """
    b, n, s, h = q.shape
    own, t, width = k.shape[1], k.shape[2], v.shape[3]
    size = ops.static(h, "the size of a head")
    group = ops.static(as_dim(lift(n) // own), "the number of queries of a key")
    if not (same(h, k.shape[3]) and same(as_dim(lift(own) * group), n) and same(t, v.shape[2])):
        raise ModelError(
            f"queries {type_text(q)}, keys {type_text(k)} and values {type_text(v)} do not fit"
        )
    rows = ops.reshape(q, (b, own, as_dim(lift(s) * group), h))
    scores = ops.matmul(rows, ops.transpose(k, (0, 1, 3, 2)))
    scores = ops.mul(ops.reshape(scores, (b, n, s, t)), scale or 1 / math.sqrt(size))
    if cap:
        scores = ops.mul(ops.tanh_(ops.mul(scores, 1 / cap)), cap)
    if bias is not None:
        scores = ops.add(scores, ops.cast(bias, scores.dtype))
    if keep is not None:
        scores = ops.where(keep, scores, LOWEST)
    if sink is None:
        weights = ops.softmax(scores, 3)
    else:
        score = ops.reshape(ops.cast(sink, scores.dtype), (1, n, 1, 1))
        most = ops.max_(ops.reduce_max(scores, [3]), score)
        e = ops.exp_(ops.sub(scores, most))
        weights = ops.div(e, ops.add(ops.reduce_sum(e, [3]), ops.exp_(ops.sub(score, most))))
    weights = ops.reshape(weights, (b, own, as_dim(lift(s) * group), t))
    return ops.reshape(ops.matmul(weights, v), (b, n, s, width))


def _causal(s: Dim, t: Dim, past: Value | Dim) -> Value:
    """Whether query i, which stands `past` keys after the first, may look at key j: [..., S, T]."""
    at = ops.iota((s, 1), 0, "i64")
    at = ops.add(at, past if isinstance(past, Value) else ops.ints(past, "i64"))
    return ops.less_equal(ops.iota((1, t), 1, "i64"), at)


def _masked(mask: Value, b: Dim, s: Dim, t: Dim, past: Dim, filled: float) -> Value:
    """What a mask adds to scores: 0 where a key counts, `filled` elsewhere."""
    at = ops.iota((1, t), 1, "i64")
    if mask.rank == 1:
        count = mask.shape[0]
        wide = ops.cast(ops.unsqueeze(mask, [1]), "i64")
        if same(count, b):
            keep = ops.less(at, wide)
        elif same(count, as_dim(lift(b) * 2)):
            end, start = ops.split(wide, [b, b], 0)
            keep = ops.logical_and(ops.less(at, end), ops.greater_equal(at, start))
        else:
            raise UnsupportedError(
                f"mask {type_text(mask)}: the lengths of {b} sequences, or their ends and starts, "
                "are supported; packed sequences are not"
            )
        keep = ops.unsqueeze(keep, [1, 2])
    elif mask.rank in (2, 3):
        keep = ops.unsqueeze(_true(mask), [1, 2] if mask.rank == 2 else [1])
    elif mask.rank == 4:
        keep = _true(ops.slice_axis(ops.slice_axis(mask, 2, past, s), 3, 0, t))
    else:
        raise ModelError(f"mask {type_text(mask)}: from 1 to 4 axes expected")
    if not same(keep.shape[-1], t):
        raise ModelError(f"mask {type_text(mask)} for {t} keys")
    return ops.where(keep, ops.cast(ops.ints(0, "i64"), "f32"), filled)


def _true(mask: Value) -> Value:
    return mask if mask.dtype == "bool" else ops.greater(mask, 0)


def _sum(*terms: Value | None) -> Value | None:
    given = [t for t in terms if t is not None]
    total = given[0] if given else None
    for t in given[1:]:
        assert total is not None
        total = ops.add(total, ops.cast(t, total.dtype))
    return total


def _after(past: Value | None, new: Value) -> Value:
    """[B, N, P, H] and [B, N, S, H] -> [B, N, T, H]"""
    return new if past is None else ops.concat([past, new], 2)


# ---- the operators -------------------------------------------------------------------------------


def Attention(
    x: Value,
    weights: Value,
    bias: Value | None = None,
    mask: Value | None = None,
    past: Value | None = None,
    attention_bias: Value | None = None,
    past_length: Value | None = None,
    *,
    num_heads: int,
    unidirectional: int = 0,
    scale: float = 0.0,
    mask_filter_value: float = -10000.0,
    qkv_hidden_sizes: Sequence[int] = (),
    do_rotary: int = 0,
    rotary_embedding_dim: int = 0,
    past_present_share_buffer: int = 0,
) -> list[Value]:
    """Projection to queries, keys and values, and attention over them."""
    _refuse(past_sequence_length=past_length)
    width = ops.static(weights.shape[-1], "the width of the weights")
    sizes = list(qkv_hidden_sizes) or [width // 3] * 3
    projected = ops.matmul(x, weights)
    if bias is not None:
        projected = ops.add(projected, bias)
    q, k, v = (_heads(p, num_heads) for p in _parts(projected, sizes, "the projected input"))
    before: Dim = 0
    if past is not None:
        if past.rank != 5:
            raise ModelError(f"past {type_text(past)}: [2, B, N, P, H] expected")
        old = [ops.squeeze(ops.slice_axis(past, 0, j, 1), [0]) for j in (0, 1)]
        before = past.shape[3]
        k, v = _after(old[0], k), _after(old[1], v)
    b, s, t = x.shape[0], x.shape[1], k.shape[2]
    added = None if mask is None else _masked(mask, b, s, t, before, mask_filter_value)
    keep = _causal(s, t, before) if unidirectional else None
    y = attend(q, k, v, scale=scale, bias=_sum(added, attention_bias), keep=keep)
    present = [ops.unsqueeze(k, [0]), ops.unsqueeze(v, [0])]
    if not all(map(same, k.shape, v.shape)):
        return [_joined(y)]
    return [_joined(y), ops.concat(present, 0)]


def QAttention(
    x: Value,
    weights: Value,
    bias: Value,
    x_scale: Value,
    w_scale: Value,
    mask: Value | None = None,
    x_zero: Value | None = None,
    w_zero: Value | None = None,
    past: Value | None = None,
    *,
    num_heads: int,
    unidirectional: int = 0,
    scale: float = 0.0,
    mask_filter_value: float = -10000.0,
    do_rotary: int = 0,
    past_present_share_buffer: int = 0,
) -> list[Value]:
    """Attention whose input and weights are quantised."""
    return Attention(
        DequantizeLinear(x, x_scale, x_zero),
        DequantizeLinear(weights, w_scale, w_zero),
        bias,
        mask,
        past,
        num_heads=num_heads,
        unidirectional=unidirectional,
        scale=scale,
        mask_filter_value=mask_filter_value,
    )


def MultiHeadAttention(
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    bias: Value | None = None,
    mask: Value | None = None,
    attention_bias: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    past_length: Value | None = None,
    cache_indirection: Value | None = None,
    *,
    num_heads: int,
    unidirectional: int = 0,
    scale: float = 0.0,
    mask_filter_value: float = -10000.0,
    outputs: int,
) -> list[Value]:
    """Attention over queries, keys and values that are given apart, or packed."""
    _refuse(
        past_sequence_length=past_length,
        cache_indirection=cache_indirection,
        **{"its fourth output (qk)": outputs > 3},
    )
    if query.rank == 5:  # [B, S, N, 3, H]
        q, k, v = _packed(query, 3)
    else:
        q = _heads(query, num_heads)
        if key is None:
            raise ModelError(f"keys are missing beside queries {type_text(query)}")
        if key.rank == 5:  # [B, L, N, 2, H]
            k, v = _packed(key, 2)
        elif value is None:
            raise ModelError(f"values are missing beside keys {type_text(key)}")
        else:
            k, v = _heads(key, num_heads), _heads(value, num_heads)
    if bias is not None:
        width = [as_dim(lift(num_heads) * p.shape[3]) for p in (q, k, v)]
        q, k, v = (
            ops.add(p, ops.reshape(part, (num_heads, 1, p.shape[3])))
            for p, part in zip((q, k, v), _parts(bias, width, "bias"))
        )
    before: Dim = 0 if past_key is None else past_key.shape[2]
    k, v = _after(past_key, k), _after(past_value, v)
    b, s, t = q.shape[0], q.shape[2], k.shape[2]
    added = None if mask is None else _masked(mask, b, s, t, before, mask_filter_value)
    keep = _causal(s, t, as_dim(lift(t) - s)) if unidirectional else None
    y = attend(q, k, v, scale=scale, bias=_sum(added, attention_bias), keep=keep)
    return [_joined(y), k, v]


def _packed(x: Value, count: int) -> list[Value]:
    """[B, S, N, count, H] -> count times [B, N, S, H]"""
    if not same(x.shape[3], count):
        raise ModelError(f"{type_text(x)}: {count} expected as its fourth axis")
    parts = (ops.squeeze(ops.slice_axis(x, 3, j, 1), [3]) for j in range(count))
    return [ops.transpose(p, (0, 2, 1, 3)) for p in parts]


def rotated(
    x: Value, cos: Value, sin: Value, positions: Value, interleaved: bool, width: int = 0
) -> Value:
    """x [B, N, S, H] with pairs of its numbers turned by the angles of their positions [B, S].

    cos, sin [positions, width / 2] are tables. Pairs lie half of the width apart, or side by side.
    """
    half = width // 2 or ops.static(cos.shape[1], "the width of the table of cosines")
    b, n, s, h = x.shape
    size = ops.static(h, "the size of a head")
    if 2 * half > size or cos.rank != 2 or ops.static(cos.shape[1], "its width") != half:
        raise ModelError(f"the table {type_text(cos)} of cosines does not fit {type_text(x)}")
    c, d = (ops.unsqueeze(ops.cast(ops.gather(w, positions, 0), x.dtype), [1]) for w in (cos, sin))
    turned, rest = ops.split(x, [2 * half, size - 2 * half], 3)
    if interleaved:
        pairs = ops.reshape(turned, (b, n, s, half, 2))
        p, q = (ops.squeeze(ops.slice_axis(pairs, 4, j, 1), [4]) for j in (0, 1))
    else:
        p, q = ops.split(turned, [half, half], 3)
    parts = [ops.sub(ops.mul(p, c), ops.mul(q, d)), ops.add(ops.mul(q, c), ops.mul(p, d))]
    if interleaved:
        both = ops.concat([ops.unsqueeze(part, [4]) for part in parts], 4)
        parts = [ops.reshape(both, (b, n, s, 2 * half))]
    return ops.concat([*parts, rest] if size > 2 * half else parts, 3)


def RotaryEmbedding(
    x: Value,
    positions: Value,
    cos: Value,
    sin: Value,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
    is_packed_batching: int = 0,
) -> Value:
    """Positions as angles; x is [B, S, N * H] or [B, N, S, H]."""
    half = ops.static(cos.shape[1], "the width of the table of cosines")
    flat = x.rank == 3
    if flat and not num_heads:
        if rotary_embedding_dim:
            raise ModelError("num_heads is missing beside rotary_embedding_dim")
        num_heads = ops.static(x.shape[2], "the number of features") // (2 * half)
    y = _heads(x, num_heads)
    b, s = y.shape[0], y.shape[2]
    at = ops.cast(positions, "i64")
    if at.rank < 2:  # where the first stands
        at = ops.add(ops.iota((1, s), 1, "i64"), ops.reshape(at, (1, 1)))
        at = ops.expand(at, (b, s))
    y = rotated(y, cos, sin, at, bool(interleaved), rotary_embedding_dim)
    return _joined(y) if flat else y


def GroupQueryAttention(
    query: Value,
    key: Value | None,
    value: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    lengths: Value,
    total: Value,
    cos: Value | None = None,
    sin: Value | None = None,
    positions: Value | None = None,
    attention_bias: Value | None = None,
    sink: Value | None = None,
    k_scale: Value | None = None,
    v_scale: Value | None = None,
    q_norm: Value | None = None,
    k_norm: Value | None = None,
    query_lengths: Value | None = None,
    *,
    num_heads: int,
    kv_num_heads: int,
    scale: float = 0.0,
    softcap: float = 0.0,
    do_rotary: int = 0,
    rotary_interleaved: int = 0,
    local_window_size: int = -1,
    smooth_softmax: int = -1,
    causal: int = 1,
    qk_output: int = 0,
    qk_norm_epsilon: float = 1e-6,
    q_norm_epsilon: float | None = None,
    k_norm_epsilon: float | None = None,
    kv_cache_bit_width: int = 0,
    k_quant_type: str = "NONE",
    v_quant_type: str = "NONE",
    sliding_window_cache: int = 0,
    outputs: int,
) -> list[Value]:
    """Causal attention where several heads share keys, over a past of which a run knows the length.

    lengths [B] are the numbers of keys of each sequence, less one. present has room for `total`
    keys, or for as many as past where that is more: then past is a buffer that fills up.
    """
    _refuse(
        k_scale=k_scale,
        v_scale=v_scale,
        query_seqlens=query_lengths,
        **{"its fourth output (qk)": outputs > 3},
    )
    if key is None or value is None:
        each = ops.static(query.shape[2], "the number of features")
        width = each // (num_heads + 2 * kv_num_heads)
        sizes = [num_heads * width, kv_num_heads * width, kv_num_heads * width]
        query, key, value = _parts(query, sizes, "the packed queries, keys and values")
    q, k, v = _heads(query, num_heads), _heads(key, kv_num_heads), _heads(value, kv_num_heads)
    if q_norm is not None:
        q = RMSNormalization(q, q_norm, epsilon=q_norm_epsilon or qk_norm_epsilon)
    if k_norm is not None:
        k = RMSNormalization(k, k_norm, epsilon=k_norm_epsilon or qk_norm_epsilon)
    b, s = q.shape[0], q.shape[2]
    (every,) = known_dims(total, "total_sequence_length (make it a constant, or of a size)")
    room: Dim = every
    first = ops.ints(0, "i64")
    if past_key is not None and not same(past_key.shape[2], 0):
        before = past_key.shape[2]
        if not same(every, as_dim(lift(before) + s)):
            room = as_dim(maximum(lift(every), before))
        # how many keys of the past count, [B, 1]
        last = ops.cast(ops.reshape(lengths, (b, 1)), "i64")
        last = ops.min_(ops.max_(last, 0), ops.ints(room, "i64"))  # so that 32 bits hold all of it
        counted = ops.add(ops.sub(last, ops.ints(s, "i64")), 1)
        whole = ops.equal(ops.ints(every, "i64"), ops.ints(s, "i64"))
        first = ops.where(whole, ops.ints(0, "i64"), counted)
    elif not same(every, s):
        raise ModelError(f"total_sequence_length is {every}, but there are {s} keys and no past")
    if do_rotary:
        if cos is None or sin is None:
            raise ModelError("do_rotary needs cos_cache and sin_cache")
        at = ops.add(ops.iota((1, s), 1, "i64"), ops.reshape(first, (first.size, 1)))
        at = ops.expand(at, (b, s)) if positions is None else ops.cast(positions, "i64")
        q, k = (rotated(x, cos, sin, at, bool(rotary_interleaved)) for x in (q, k))
    if past_key is not None and past_value is not None and not same(past_key.shape[2], 0):
        k, v = (_into(old, new, first, room) for old, new in ((past_key, k), (past_value, v)))
    t = k.shape[2]
    keep: Value | None = None
    first = ops.reshape(first, (first.size, 1, 1, 1))
    if causal:
        keep = _causal(s, t, first)
    elif not same(room, s):
        keep = ops.less(ops.iota((1, t), 1, "i64"), ops.add(first, ops.ints(s, "i64")))
    if local_window_size > 0:
        near = ops.logical_not(_causal(s, t, ops.sub(first, local_window_size)))
        keep = near if keep is None else ops.logical_and(keep, near)
    bias = attention_bias
    if bias is not None and not same(bias.shape[3], t):
        bias = ops.slice_axis(bias, 3, 0, t)
    if sink is None and smooth_softmax == 1:
        sink = ops.expand(ops.cast(ops.ints(0, "i64"), "f32"), (num_heads,))
    y = attend(q, k, v, scale=scale, bias=bias, keep=keep, cap=softcap, sink=sink)
    return [_joined(y), k, v]


def _into(past: Value, new: Value, first: Value, room: Dim) -> Value:
    """The `first` keys of the past [B, N, P, H], then the new ones [B, N, S, H]: [B, N, room, H].

    What lies beyond both is as in the past, or never looked at.
    """
    before, s = past.shape[2], new.shape[2]
    at = ops.iota((1, room), 1, "i64")
    since = ops.sub(at, ops.reshape(first, (first.size, 1)))  # [B, room]
    fresh = ops.logical_and(ops.greater_equal(since, 0), ops.less(since, ops.ints(s, "i64")))
    last = ops.ints(as_dim(lift(before) - 1), "i64")
    taken = ops.where(fresh, ops.add(since, ops.ints(before, "i64")), ops.min_(at, last))
    both = ops.concat([past, new], 2)
    if same(taken.shape[0], 1):
        return ops.gather(both, ops.reshape(taken, (room,)), 2)
    rows = ops.transpose(both, (0, 2, 1, 3))
    rows = ops.gather_nd(rows, ops.unsqueeze(taken, [2]), 1)  # [B, room, N, H]
    return ops.transpose(rows, (0, 2, 1, 3))


OPERATORS = {
    fn.__name__: fn
    for fn in (
        Attention,
        GroupQueryAttention,
        MultiHeadAttention,
        QAttention,
        RotaryEmbedding,
    )
}

__all__ = ["OPERATORS", "attend", "rotated"]
