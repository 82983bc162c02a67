"""Operators of com.microsoft against onnxruntime: one-node models with attributes drawn at random.

Optional inputs are there or not, weights are constants or inputs, as chance has it; the graph is
read in numpy. `tests/cases.py` has some of each operator for the targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tests.interpret import interpret
from webdnn.errors import WebDNNError
from webdnn.frontend import load
from webdnn.frontend.onnx.registry import DOMAINS

ROUNDS = 6
Made = tuple[Sequence[Any], int, dict[str, Any]]  # inputs, how many outputs, attributes


class Draw:
    """What a model is made of."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def f(self, *shape: int, lo: float = -1.5, hi: float = 1.5) -> np.ndarray:
        return (self.rng.random(shape) * (hi - lo) + lo).astype(np.float32)

    def q(self, *shape: int, dtype: Any = np.uint8) -> np.ndarray:
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)

    def weights(self, *shape: int, dtype: Any) -> np.ndarray:
        """Of 7 bits if signed: onnxruntime's sums of pairs saturate at 16 on older processors."""
        lo, hi = (0, 255) if dtype == np.uint8 else (-50, 50)
        return self.rng.integers(lo, hi, shape, endpoint=True).astype(dtype)

    def scale(self, *shape: int) -> np.ndarray:
        return self.f(*shape, lo=0.01, hi=0.05)

    def maybe(self, x: Any) -> Any:
        return x if self.rng.random() < 0.5 else None

    def one(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def n(self, lo: int, hi: int) -> int:
        return int(self.rng.integers(lo, hi + 1))


def built(d: Draw, op: str, made: Made) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one node; which inputs are constants is drawn."""
    inputs, outputs, attrs = made
    names, infos, constants, feeds = [], [], [], {}
    for k, x in enumerate(inputs):
        if x is None:
            names.append("")
            continue
        x = np.asarray(x)
        names.append(f"i{k}")
        # Lengths and totals of sequences decide shapes: constants.
        shape = x.ndim == 0 and x.dtype.kind == "i" and x.itemsize > 1
        shape |= op == "Pad" and k == 1
        # onnxruntime breaks down where what QLinearWhere chooses by or from is a constant
        if shape or (k and op != "QLinearWhere" and d.rng.random() < 0.5):
            constants.append(numpy_helper.from_array(x, f"i{k}"))
        else:
            kind = helper.np_dtype_to_tensor_dtype(x.dtype)
            infos.append(helper.make_tensor_value_info(f"i{k}", kind, x.shape))
            feeds[f"i{k}"] = x
    while names and not names[-1]:
        names.pop()
    shown = [f"o{k}" for k in range(outputs) if k not in attrs.get("skip", ())]
    node = helper.make_node(
        op,
        names,
        [f"o{k}" if f"o{k}" in shown else "" for k in range(outputs)],
        "node",
        domain="com.microsoft",
        **{k: v for k, v in attrs.items() if k != "skip" and v is not None},
    )
    outs = [helper.make_empty_tensor_value_info(o) for o in shown]
    graph = helper.make_graph([node], "m", infos, outs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), feeds


def gemm(d: Draw) -> Made:
    m, k, n = d.n(1, 4), d.n(1, 5), d.n(1, 4)
    at, bt = d.n(0, 1), d.n(0, 1)
    a, b = d.f(*((k, m) if at else (m, k))), d.f(*((n, k) if bt else (k, n)))
    c = d.maybe(d.one(d.f(n), d.f(m, n), d.f(m, 1)))
    activation, more = d.one(
        ("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Tanh", {}), ("Sigmoid", {}),
        ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
        ("Selu", {"activation_alpha": 1.5, "activation_gamma": 0.5}),
    )  # fmt: skip
    attrs = {"transA": at, "transB": bt, "alpha": d.one(1.0, 0.5), "beta": d.one(1.0, 2.0)}
    return [a, b, c], 1, {**attrs, "activation": activation, **more}


def matmul(d: Draw) -> Made:
    m, k, n = d.n(1, 4), d.n(1, 5), d.n(1, 4)
    at, bt, ab = d.n(0, 1), d.n(0, 1), d.n(0, 1)
    batch = [d.n(1, 3)] * d.n(1, 2) if ab else [d.n(1, 3)] * d.n(0, 2)

    def shaped(rows: int, columns: int, turn: int) -> list[int]:
        rows, columns = (columns, rows) if turn else (rows, columns)
        return [rows, *batch, columns] if ab else [*batch, rows, columns]

    attrs = {"transA": at, "transB": bt, "alpha": d.one(1.0, 0.25)}
    attrs |= {"transBatchA": ab, "transBatchB": ab}
    return [d.f(*shaped(m, k, at)), d.f(*shaped(k, n, bt))], 1, attrs


def conv(d: Draw) -> Made:
    x, w = d.f(1, 4, 6, 5), d.f(6, 2, 3, 3)
    activation, params = d.one(
        ("Relu", None), ("LeakyRelu", [0.2]), ("Tanh", None), ("Sigmoid", None),
        ("Clip", [-0.5, 0.75]), ("HardSigmoid", [0.2, 0.4]),
    )  # fmt: skip
    attrs = {"group": 2, "pads": [1, 0, 1, 2], "strides": d.one([1, 1], [2, 1])}
    width = 5
    height = 6 if attrs["strides"] == [1, 1] else 3
    b = d.maybe(d.f(6))
    z = d.maybe(d.f(1, 6, height, width)) if b is not None else None
    return [x, w, b, z], 1, {**attrs, "activation": activation, "activation_params": params}


def max_pool(d: Draw) -> Made:
    attrs = {"kernel_shape": [2, 3], "pads": [0, 1, 1, 1], "strides": [d.n(1, 2), 1]}
    return [d.q(1, 6, 5, 4, dtype=d.one(np.int8, np.uint8))], 1, attrs


def skip_norm(d: Draw) -> Made:
    s = d.n(1, 4)
    x, skip = d.f(2, s, 8), d.one(d.f(2, s, 8), d.f(1, s, 8), d.f(s, 8))
    skipped = {"skip": (1, 2), "epsilon": d.one(1e-5, 1e-3)}
    return [x, skip, d.f(8), d.maybe(d.f(8)), d.maybe(d.f(8))], d.one(1, 4), skipped


def skip_rms(d: Draw) -> Made:
    inputs, outputs, attrs = skip_norm(d)
    return [*inputs[:3], inputs[4]], outputs, attrs


def embed(d: Draw) -> Made:
    b, s = d.n(1, 2), d.n(1, 4)
    ids = d.rng.integers(0, 9, (b, s)).astype(np.int32)
    kinds = d.rng.integers(0, 2, (b, s)).astype(np.int32)
    mask = (np.arange(s) < d.n(1, s)).astype(np.int32)[None].repeat(b, 0)
    places = d.maybe(d.rng.integers(0, 7, (b, s)).astype(np.int32))
    two = d.rng.random() < 0.5
    inputs = [ids, kinds if two else None, d.f(9, 8), d.f(7, 8), d.f(2, 8) if two else None]
    more = {"epsilon": 1e-5}
    return [*inputs, d.f(8), d.f(8), d.maybe(mask), places], d.one(2, 3), more


def mask_of(d: Draw, b: int, s: int, t: int, kinds: Sequence[str]) -> Any:
    kind = d.one(None, *kinds)
    if kind == "lengths":
        return d.rng.integers(1, t + 1, b).astype(np.int32)
    if kind == "ends":
        start = d.rng.integers(0, t, b)
        return np.concatenate([d.rng.integers(start + 1, t + 1), start]).astype(np.int32)
    shape = {"keys": (b, t), "square": (b, s, t)}.get(kind)
    if shape is None:
        return None
    mask = d.rng.integers(0, 2, shape).astype(np.int32)
    mask[..., 0] = 1  # what sees nothing but filled scores is a matter of rounding
    return mask


def attention(d: Draw) -> Made:
    b, s, n, h = d.n(1, 2), d.n(1, 4), 2, 4
    p = d.one(0, 0, 3)
    own = None if p else d.one(None, [8, 8, 12])
    x, w = d.f(b, s, 6), d.f(6, sum(own or [8, 8, 8]))
    past = d.f(2, b, n, p, h) if p else None
    t = s + p
    causal = d.n(0, 1)
    mask = mask_of(d, b, s, t, ("lengths", "ends", "keys", "square"))
    more = None if p else d.maybe(d.f(d.one(1, b), n, s, t))
    attrs = {"num_heads": n, "unidirectional": causal, "scale": d.one(None, 0.3)}
    attrs |= {"qkv_hidden_sizes": own, "mask_filter_value": d.one(None, -50.0)}
    inputs = [x, w, d.f(sum(own or [8, 8, 8])), mask, past, more]
    return inputs, 2 if past is not None else 1, attrs


def multi_head(d: Draw) -> Made:
    b, s, n, h = d.n(1, 2), d.n(1, 4), 2, 4
    form = d.one("apart", "cross", "past")
    length = d.n(1, 5) if form == "cross" else s
    bias = d.maybe(d.f(3 * n * h))
    past: list[Any] = [None, None]
    t = length
    q, k, v = d.f(b, s, n * h), d.f(b, length, n * h), d.f(b, length, n * h)
    if form == "past":
        past = [d.f(b, n, 3, h), d.f(b, n, 3, h)]
        t = length + 3
    mask = mask_of(d, b, s, t, ("lengths", "keys", "square"))
    more = d.maybe(d.f(1, n, s, t))
    attrs = {"num_heads": n, "scale": d.one(None, 0.3), "mask_filter_value": d.one(None, -50.0)}
    attrs |= {"unidirectional": d.n(0, length == s)}
    outputs = 3 if form == "past" else 1
    return [q, k, v, bias, mask, more, *past], outputs, attrs


def group_query(d: Draw) -> Made:
    b, n, kv, h = d.n(1, 2), 4, 2, 16
    form = d.one("prompt", "token", "shared", "more")
    s = {"prompt": d.n(1, 5), "token": 1, "shared": 1, "more": 2}[form]
    b = 1 if form == "more" else b
    past = {"prompt": 0, "token": d.n(1, 5), "shared": 8, "more": 4}[form]
    if form == "prompt":
        total, lengths = s, np.full(b, s - 1)
    elif form == "shared":
        total = d.n(2, 7)
        lengths = np.full(b, total - 1)
    else:
        total = past + s
        lengths = np.full(b, total - 1)
    room = d.n(0, 1) if form == "prompt" else 1
    packed = d.rng.random() < 0.5
    rotary = d.n(0, 1)
    q = d.f(b, s, (n + 2 * kv if packed else n) * h)
    k, v = (None, None) if packed else (d.f(b, s, kv * h), d.f(b, s, kv * h))
    old = [d.f(b, kv, past, h) for _ in "kv"] if room or past else [None, None]
    tables = [d.f(16, 8), d.f(16, 8)] if rotary else [None, None]
    attrs = {"num_heads": n, "kv_num_heads": kv, "do_rotary": rotary, "scale": d.one(None, 0.3)}
    attrs |= {"local_window_size": d.one(-1, 2, 3), "rotary_interleaved": d.n(0, 1)}
    attrs |= {"softcap": d.one(0.0, 5.0), "smooth_softmax": d.one(0, 1)}
    attrs |= {"causal": d.one(None, 0)} if attrs["local_window_size"] < 0 else {}
    sink = d.maybe(d.f(n)) if attrs["smooth_softmax"] == 0 else None
    inputs = [q, k, v, *old, lengths.astype(np.int32), np.int32(total), *tables]
    inputs += [None, None, sink]
    return inputs, 3, attrs


def rotary(d: Draw) -> Made:
    b, s, n, h = d.n(1, 2), d.n(1, 4), 2, 8
    part = d.one(0, 4)
    x = d.f(b, n, s, h) if d.n(0, 1) else d.f(b, s, n * h)
    at = d.one(np.array([3]), d.rng.integers(0, 9, (b, s)))
    width = (part or h) // 2
    attrs = {"interleaved": d.n(0, 1), "num_heads": n if part or d.n(0, 1) else 0}
    return [x, at, d.f(16, width), d.f(16, width)], 1, {**attrs, "rotary_embedding_dim": part}


def to_float(d: Draw) -> Made:
    m, k, n = d.n(1, 4), d.n(1, 6), d.n(1, 4)
    kind, wide = d.one(np.uint8, np.int8), d.n(0, 1)
    b = d.weights(k, n, dtype=kind)
    scale = d.scale(*([n] if wide else []))
    zero = d.maybe(d.weights(*([n] if wide else []), dtype=kind))
    return (
        [d.q(m, k), b, d.scale(), scale, d.maybe(d.q()), zero, d.maybe(d.f(n))], 1, {},
    )  # fmt: skip


def dynamic_matmul(d: Draw) -> Made:
    m, k, n = d.n(1, 4), d.n(1, 6), d.n(1, 4)
    kind = d.one(np.uint8, np.int8)
    zero = d.maybe(d.weights(dtype=kind))
    return [d.f(m, k), d.weights(k, n, dtype=kind), d.scale(), zero, d.maybe(d.f(n))], 1, {}


def q_gemm(d: Draw) -> Made:
    m, k, n = d.n(1, 4), d.n(1, 6), d.n(1, 4)
    bt, kind = d.n(0, 1), d.one(np.uint8, np.int8)
    b = d.weights(*((n, k) if bt else (k, n)), dtype=kind)
    c = d.maybe(d.rng.integers(-900, 900, n).astype(np.int32))
    end = d.one([None, None], [np.float32(0.3), d.q()])
    inputs = [d.q(m, k), d.scale(), d.q(), b, d.scale(), d.weights(dtype=kind), c, *end]
    return inputs, 1, {"transB": bt, "alpha": d.one(1.0, 0.5)}


def q_binary(d: Draw) -> Made:
    kind = d.one(np.uint8, np.int8)
    shapes = d.one(((2, 3, 5), (2, 3, 5)), ((2, 3, 5), (5,)), ((1, 3, 1), (2, 3, 5)))
    a, b = (d.q(*s, dtype=kind) for s in shapes)
    z = [d.q(dtype=kind) for _ in "abc"]
    return [a, d.scale(), z[0], b, d.scale(), z[1], d.scale(), z[2]], 1, {}


def q_where(d: Draw) -> Made:
    kind = d.one(np.uint8, np.int8)
    parts = [d.q(2, 5, dtype=kind), d.scale(), d.q(dtype=kind)]
    other = [d.q(2, 5, dtype=kind), d.scale(), d.q(dtype=kind)]
    end = [d.scale(), d.q(dtype=kind)]
    return [d.rng.integers(0, 2, (2, 5)).astype(bool), *parts, *other, *end], 1, {}


def q_concat(d: Draw) -> Made:
    kind = d.one(np.uint8, np.int8)
    parts: list[Any] = []
    for _ in range(d.n(1, 3)):
        parts += [d.q(2, d.n(1, 4), 3, dtype=kind), d.scale(), d.q(dtype=kind)]
    return [d.scale(), d.q(dtype=kind), *parts], 1, {"axis": 1}


def q_unary(d: Draw) -> Made:
    kind = d.one(np.uint8, np.int8)
    z = [d.q(dtype=kind) for _ in "xy"]
    return [d.q(2, 3, 5, dtype=kind), d.scale(), z[0], np.float32(0.004), z[1]], 1, {}


def q_softmax(d: Draw) -> Made:
    kind = d.one(np.uint8, np.int8)
    end = [np.float32(1 / 256), np.array(np.iinfo(kind).min, kind)]
    inputs = [d.q(2, 3, 5, dtype=kind), d.scale(), d.q(dtype=kind), *end]
    return inputs, 1, {"axis": d.one(-1, 1), "opset": d.one(11, 13)}


def q_pool(d: Draw) -> Made:
    kind, last = d.one(np.uint8, np.int8), d.n(0, 1)
    x = d.q(*((2, 5, 6, 3) if last else (2, 3, 5, 6)), dtype=kind)
    return [x, d.scale(), d.q(dtype=kind), d.scale(), d.q(dtype=kind)], 1, {"channels_last": last}


def q_average(d: Draw) -> Made:
    inputs, _, attrs = q_pool(d)
    attrs |= {"kernel_shape": [2, 3], "pads": [0, 1, 1, 1], "count_include_pad": d.n(0, 1)}
    return inputs, 1, {**attrs, "strides": [1, 2]}


def q_conv(d: Draw) -> Made:
    last = d.n(0, 1)
    kind = d.one(np.uint8, np.int8)
    x = d.q(*((1, 5, 6, 4) if last else (1, 4, 5, 6)))
    w = d.weights(6, 2, 3, 3, dtype=kind)
    b = d.maybe(d.rng.integers(-900, 900, 6).astype(np.int32))
    inputs = [x, d.scale(), d.q(), w, d.scale(), d.weights(dtype=kind), np.float32(0.4), d.q(), b]
    return inputs, 1, {"channels_last": last, "group": 2, "pads": [1, 1, 0, 1]}


def lstm(d: Draw) -> Made:
    t, b, i, h = 3, 2, 4, 5
    way = d.one("forward", "reverse", "bidirectional")
    n = 2 if way == "bidirectional" else 1
    wide = [4 * h] if d.n(0, 1) else []
    w = [d.weights(n, k, 4 * h, dtype=np.int8) for k in (i, h)]
    scale = [d.f(n, *wide, lo=0.002, hi=0.006) for _ in w]
    zero = [np.zeros((n, *wide), np.int8) for _ in w]
    states = [d.f(n, b, h), d.f(n, b, h)] if d.n(0, 1) else [None, None]
    more = [d.maybe(d.f(n, 8 * h)), None, *states, None]
    inputs = [d.f(t, b, i), *w, *more, scale[0], zero[0], scale[1], zero[1]]
    return inputs, 3, {"direction": way, "hidden_size": h}


def in_bytes(q: np.ndarray, bits: int) -> np.ndarray:
    """Integers of `bits` bits, along the last axis, the first one in the lowest bits of a byte."""
    each = 8 // bits
    whole = np.pad(q, [(0, 0)] * (q.ndim - 1) + [(0, -q.shape[-1] % each)]).astype(np.uint8)
    return sum(whole[..., k::each] << k * bits for k in range(each)).astype(np.uint8)


def matmul_n_bits(d: Draw) -> Made:
    """Not with what onnxruntime refuses or gets wrong: see the test of orders."""
    bits, block, k, n = d.one(2, 4, 8), d.one(16, 32, 128), d.n(1, 90), d.n(1, 9)
    blocks = -(-k // block)
    q, zero = (
        d.rng.integers(0, 2**bits, (n, c)).astype(np.uint8) for c in (blocks * block, blocks)
    )
    kind = d.one("bytes", "none", "floats" if bits < 8 else "none")
    zeros = {"bytes": in_bytes(zero, bits), "floats": zero + d.f(n, blocks), "none": None}[kind]
    order = d.rng.integers(0, blocks, k).astype(np.int32)
    order = order if bits == 4 and kind == "none" and d.n(0, 1) else None
    b = in_bytes(q.reshape(n, blocks, block), bits)
    inputs = [d.f(*[2] * d.n(0, 1), 3, k), b, d.scale(n, blocks), zeros, order, d.maybe(d.f(n))]
    more = {"accuracy_level": d.n(0, 1), "weight_prepacked": 0}
    return inputs, 1, {"K": k, "N": n, "bits": bits, "block_size": block, **more}


def gather_block_quantized(d: Draw) -> Made:
    bits, block, k = d.one(2, 4, 8), d.one(16, 32), d.one(8, 32, 64)
    blocks = -(-k // block)
    q, zero = (d.rng.integers(0, 2**bits, (5, 3, c)).astype(np.uint8) for c in (k, blocks))
    inputs = [in_bytes(q, bits), d.rng.integers(-5, 5, (2, 3)), d.scale(5, 3, blocks)]
    attrs = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": d.one(2, -1)}
    return [*inputs, d.maybe(in_bytes(zero, bits))], 1, attrs


def cdist(d: Draw) -> Made:
    k = d.n(1, 5)
    inputs = [d.f(d.n(1, 4), k), d.f(d.n(1, 4), k)]
    return inputs, 1, {"metric": d.one("euclidean", "sqeuclidean")}


def shaped(*shapes: tuple[int, ...], **attrs: Any) -> Callable[[Draw], Made]:
    return lambda d: ([d.f(*s) for s in shapes], 1, {k: v(d) for k, v in attrs.items()})


MADE: dict[str, Callable[[Draw], Made]] = {
    "Attention": attention,
    "BiasGelu": shaped((2, 3, 5), (5,)),
    "CDist": cdist,
    "DequantizeLinear": lambda d: ([d.q(2, 5), d.scale(), d.maybe(d.q())], 1, {}),
    "DynamicQuantizeLSTM": lstm,
    "DynamicQuantizeMatMul": dynamic_matmul,
    "EmbedLayerNormalization": embed,
    "ExpandDims": lambda d: ([d.f(2, 3), np.int32(d.n(-3, 2))], 1, {}),
    "FastGelu": lambda d: ([d.f(2, 5), d.maybe(d.f(5))], 1, {}),
    "FusedConv": conv,
    "FusedGemm": gemm,
    "FusedMatMul": matmul,
    "Gelu": shaped((3, 5)),
    "GatherBlockQuantized": gather_block_quantized,
    "GatherND": lambda d: ([d.f(4, 5, 3), d.rng.integers(0, 4, (2, d.n(1, 2)))], 1, {}),
    "GridSample": lambda d: (
        [d.f(2, 3, 5, 4), d.f(2, 3, 2, 2)], 1,
        {"mode": d.one("bilinear", "nearest", "bicubic"), "align_corners": d.n(0, 1),
            "padding_mode": d.one("zeros", "border", "reflection")},
    ),
    "GroupQueryAttention": group_query,
    "Inverse": lambda d: ([d.f(*[2] * d.n(0, 1), 4, 4) + 0.1 * np.eye(4, dtype=np.float32)], 1, {}),
    "MatMulIntegerToFloat": to_float,
    "MatMulNBits": matmul_n_bits,
    "MultiHeadAttention": multi_head,
    "NhwcMaxPool": max_pool,
    "Pad": lambda d: (
        [d.f(3, 4), np.array([d.n(0, 2) for _ in range(4)]), np.float32(0.5)], 1,
        {"mode": d.one("constant", "reflect", "edge")},
    ),
    "QGemm": q_gemm,
    "QLinearAdd": q_binary,
    "QLinearAveragePool": q_average,
    "QLinearConcat": q_concat,
    "QLinearConv": q_conv,
    "QLinearGlobalAveragePool": q_pool,
    "QLinearLeakyRelu": q_unary,
    "QLinearMul": q_binary,
    "QLinearSigmoid": q_unary,
    "QLinearSoftmax": q_softmax,
    "QLinearWhere": q_where,
    "QuantizeLinear": lambda d: ([d.f(2, 5), d.scale(), d.maybe(d.q())], 1, {}),
    "QuickGelu": shaped((3, 5), alpha=lambda d: d.one(1.0, 1.702)),
    "Range": lambda d: ([np.int32(1), np.int32(d.n(3, 9)), d.maybe(np.int32(2))], 1, {}),
    "RotaryEmbedding": rotary,
    "SkipLayerNormalization": skip_norm,
    "SkipSimplifiedLayerNormalization": skip_rms,
    "TransposeMatMul": shaped((3, 4), (4, 2)),
    "Trilu": lambda d: ([d.f(4, 5), d.maybe(np.int64(d.n(-2, 2)))], 1, {"upper": d.n(0, 1)}),
    "Unique": lambda d: ([d.rng.integers(0, 5, d.n(1, 9)).astype(np.float32)], 3, {}),
}
# Numbers that a result may differ by: what onnxruntime rounds where we do not, or in another order.
TOLERANCE = {"DynamicQuantizeLSTM": 0.03, "Inverse": 1e-3}


def problem(op: str, seed: int) -> str:
    d = Draw(seed)
    made = MADE[op](d)
    model, feeds = built(d, op, made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        wanted = session.run(None, feeds)
    except Exception as error:
        return f"onnxruntime: {str(error)[:300]}"
    try:
        graph = load(model).graph
        found = interpret(graph, feeds)
    except WebDNNError as error:
        return f"refused: {error}"
    for (name, got), right in zip(found.items(), wanted, strict=True):
        right = np.asarray(right)
        if got.shape != right.shape or got.dtype != right.dtype:
            return f"{name}: {got.dtype}{list(got.shape)}, not {right.dtype}{list(right.shape)}"
        if op == "GroupQueryAttention" and name != "o0":  # beyond these nothing counts
            total = int(made[0][6])
            got, right = got[:, :, :total], right[:, :, :total]
        if got.size:
            step = 1 if right.dtype.kind in "iu" and op.startswith(("Q", "Dyn")) else 0
            a, b = got.astype(np.float64), right.astype(np.float64)
            most = TOLERANCE.get(op, 2e-5) * max(1, np.abs(b).max()) if got.dtype.kind == "f" else 0
            worst = np.abs(a - b).max()
            if not worst <= max(most, step):
                return f"{name}: largest difference {worst:g} of {np.abs(b).max():g}"
    return ""


@pytest.mark.parametrize("op", MADE)
def test_as_onnxruntime(op: str) -> None:
    first = sum(map(ord, op)) * 100
    wrong = {k: p for k in range(first, first + ROUNDS) if (p := problem(op, k))}
    assert not wrong, wrong


# What onnxruntime has and WebDNN does not, by reason; an operator is here or is taken.
REFUSED = {
    "it generates, samples or routes by itself: the page does, with `model.run` for each step": """
        BeamSearch GreedySearch Sampling WhisperBeamSearch MoE MoEGroupRouter MoEPacked QMoE
        RouterGateUpProj NGramHashMapping NGramRepeatBlock VarlenNGramHashMapping
        SpeculativePrefixCommit""",
    "its layout is that of one kind of processor, or of one engine's scheduler": """
        DequantizeWithOrder EPContext GatherPacked GemmFastGelu GemmFloat8 MatMulFpQ4
        MatMulNBitsMlp MatMulNBitsQLoRA MatMulNBitsQkv MatMulPacked PackedAttention
        MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight PackedMultiHeadAttention
        PackedSparseAttentionIndexer PackedSparseAttentionIndexerMerge PagedAttention
        QOrderedAttention QOrderedGelu QOrderedLayerNormalization QOrderedLongformerAttention
        QOrderedMatMul QuantizeWithOrder RemovePadding RestorePadding Snpe SparseAttention
        SparseAttentionIndexer SparsePagedAttention DequantizeBFP QuantizeBFP""",
    "it is for training": """
        BiasDropout BitmaskBiasDropout BitmaskDropout IsAllFinite SampleOp TorchEmbedding""",
    "text": "MurmurHash3 Tokenizer WordConvEmbedding",
    "rare; the model from before onnxruntime optimised it says the same in ONNX's operators": """
        AttnLSTM BifurcationDetector BranchwiseRMSNorm CausalConvWithState ComplexMul
        ComplexMulConj ConvStateReplay ConvTransposeWithDynamicPads CropAndResize DecoderAttention
        DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention DynamicSparseAttention
        DynamicTimeWarping EngramGate GatedAdd GatedDeltaNet GatedDeltaNetStateReplay GatedRMSNorm
        GatedRelativePositionBias GemmaRotaryEmbedding HyperConnectionLowRankMix
        HyperConnectionPostMix HyperConnectionPreMix Irfft LinearAttention LinearAttentionGate
        LongformerAttention MRotaryEmbedding Mamba2Verify MatMulBnb4 MatMulInteger16
        MaxpoolWithMask MulInteger QEmbedLayerNormalization QLinearReduceMean RMSNormRotary
        ReduceSumInteger RelativePositionBias Rfft ScaledSiLU SparseToDenseMatMul SwiGLU
        UnfoldTensor VarlenCausalConvWithState""",
}


def test_what_is_refused_says_how_to_register_it() -> None:
    """Every operator of onnxruntime's domain is taken, or stands among these."""
    schemas = onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    every = {s.name: s for s in schemas if s.domain == "com.microsoft"}
    refused = {name for names in REFUSED.values() for name in names.split()}
    taken = DOMAINS["com.microsoft"].keys()
    # Other versions of onnxruntime have some more, or fewer.
    assert not taken & refused and len(every.keys() - taken - refused) < 20
    for name in sorted(refused & every.keys()):
        graph = helper.make_graph(
            [helper.make_node(name, ["x"], ["y"], domain="com.microsoft")], "m",
            [helper.make_tensor_value_info("x", 1, [2, 3])],
            [helper.make_tensor_value_info("y", 1, None)],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        with pytest.raises(WebDNNError) as error:
            load(helper.make_model(graph, opset_imports=opsets, ir_version=10))
        assert f'@webdnn.onnx.register("com.microsoft::{name}")' in str(error.value)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", ["neighbours", "shuffled", "of any size"])
def test_order_of_blocks(bits: int, kind: str) -> None:
    """MatMulNBits with g_idx and packed zero points, which onnxruntime gets wrong: it multiplies
    what NumPy has dequantised.
    """
    d = Draw(bits)
    k, n, block, blocks = 50, 5, 16, 4
    index = np.arange(k) // block
    if kind == "shuffled":
        index = d.rng.permutation(index)
    elif kind == "of any size":
        index = d.rng.integers(0, blocks, k)
    q, zero = (d.rng.integers(0, 2**bits, (n, c)) for c in (k, blocks))
    a, scale = d.f(2, k), d.scale(n, blocks)
    weights = ((q - zero[:, index]) * scale[:, index]).astype(np.float32)
    product = helper.make_node("MatMul", ["a", "w"], ["y"])
    out = [helper.make_empty_tensor_value_info("y")]
    infos = [helper.make_tensor_value_info("a", 1, a.shape)]
    constants = [numpy_helper.from_array(np.ascontiguousarray(weights.T), "w")]
    plain = helper.make_graph([product], "m", infos, out, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(plain, opset_imports=opsets, ir_version=10)
    (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"a": a})
    held = np.pad(q, ((0, 0), (0, blocks * block - k))).reshape(n, blocks, block)
    given = {"w": in_bytes(held, bits), "s": scale, "z": in_bytes(zero, bits)}
    given["g"] = index.astype(np.int32)
    node = helper.make_node(
        "MatMulNBits", ["a", *given], ["y"], domain="com.microsoft",
        K=k, N=n, bits=bits, block_size=block,
    )  # fmt: skip
    constants = [numpy_helper.from_array(v, name) for name, v in given.items()]
    quantised = helper.make_graph([node], "m", infos, out, constants)
    graph = load(helper.make_model(quantised, opset_imports=opsets, ir_version=10)).graph
    found = interpret(graph, {"a": a})["y"]
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 3}, "bits = 3; 2, 4 and 8 are supported"),
        ({"weight_prepacked": 1}, "in the order of one kind of GPU"),
        ({"block_size": 0}, "block_size = 0: blocks of whole bytes"),
        ({"K": 65}, r"weights u8\[3,2,16\]: expected \[3, 48\]"),
        ({"scales": np.ones(5, np.float32)}, r"scales f32\[5\]: expected \[3, 2\]"),
        ({"zeros": np.ones(4, np.uint8)}, r"zero points u8\[4\]: expected \[3, 1\]"),
        ({"order": np.full(64, 2, np.int32)}, r"g_idx i32\[64\]: 64 numbers of 0..1 expected"),
        ({"order": np.zeros(60, np.int32)}, r"g_idx i32\[60\]: 64 numbers of 0..1 expected"),
    ],
)
def test_damaged_weights_in_blocks(changes: dict[str, Any], message: str) -> None:
    given = {"b": np.zeros((3, 2, 16), np.uint8), "scales": np.ones((3, 2), np.float32)}
    given |= {k: v for k, v in changes.items() if isinstance(v, np.ndarray)}
    names = ["a", *(k if k in given else "" for k in ("b", "scales", "zeros", "order"))]
    attrs = {"K": 64, "N": 3, "bits": 4, "block_size": 32}
    attrs |= {k: v for k, v in changes.items() if not isinstance(v, np.ndarray)}
    while not names[-1]:
        names.pop()
    node = helper.make_node("MatMulNBits", names, ["y"], "node", domain="com.microsoft", **attrs)
    graph = helper.make_graph(
        [node], "m", [helper.make_tensor_value_info("a", 1, (2, 64))],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(v, name) for name, v in given.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    with pytest.raises(WebDNNError, match=f"(?s)node.*{message}|{message}.*node"):
        load(helper.make_model(graph, opset_imports=opsets, ir_version=10))
