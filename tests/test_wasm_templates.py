"""matmul, conv and depthwise on wasm against onnxruntime: one module of many shapes, plain and
threaded."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.wasm_harness import program, run
from webdnn import ops
from webdnn.codegen import TARGETS
from webdnn.expr import acc, cast, const, dim, erf, load, maximum, minimum, var
from webdnn.graph import Graph, constant, evaluate, placeholder
from webdnn.schedule.kernel import Instance, Loop, Slot, Store
from webdnn.schedule.lower import lower


def _reads(*sizes: int) -> tuple[Slot, ...]:
    return tuple(Slot("f32", n, "read") for n in sizes)


def panels(b: np.ndarray) -> np.ndarray:
    """[..., K, N] as [..., ceil(N / 8), K, 8]"""
    *batch, k, n = b.shape
    p = -(-n // 8)
    wide = np.zeros((*batch, k, p * 8), np.float32)
    wide[..., :n] = b
    return np.ascontiguousarray(np.moveaxis(wide.reshape(*batch, k, p, 8), -2, -3))


def matmul(
    m, n, k, batch=1, batched=False, act="none", read="row", out="row", scaled=False
) -> Instance:
    """Slots: A, B in panels, bias, residual, Y. `scaled`: B is computed from what is stored."""
    vb, vm, vn, vk = var("b0", batch), var("m", m), var("n", n), var("k", k)
    p = (n + 7) // 8
    a = load(0, vb * (m * k) + (vk * m + vm if read == "transposed" else vm * k + vk))
    if read == "relu":
        a = maximum(a, 0.0)
    base = vb * (p * k * 8) if batched else const(0)
    b = load(1, base + (vn // 8) * (k * 8) + vk * 8 + vn % 8)
    if scaled:
        b = b * load(2, vn) + cast(vk // 4, "f32")
    y = acc(0, 0, "f32") + load(2, vn) + load(3, vb * (m * n) + vm * n + vn)
    if act == "gelu":
        y = y * 0.5 * (erf(y * math.sqrt(0.5)) + 1.0)
    index = vb * (m * n) + (vn * m + vm if out == "transposed" else vm * n + vn)
    return Instance(
        "matmul",
        "matmul",
        {"b0": vb, "m": vm, "n": vn, "k": vk},
        {"a": a, "b": b},
        {},
        (Store(4, index, y),),
        (
            *_reads(batch * m * k, (batch if batched else 1) * p * k * 8, n, batch * m * n),
            Slot("f32", batch * m * n, "write"),
        ),
        sums=("k",),
    )


MATMULS = [
    {"m": 1, "n": 1000, "k": 64},
    {"m": 1, "n": 13, "k": 7},
    {"m": 1, "n": 1, "k": 5},
    {"m": 2, "n": 8, "k": 16},
    {"m": 3, "n": 9, "k": 5},
    {"m": 5, "n": 3, "k": 3},
    {"m": 49, "n": 20, "k": 33},
    {"m": 200, "n": 64, "k": 40},
    {"m": 128, "n": 96, "k": 64, "batch": 2, "batched": True},
    {"m": 37, "n": 50, "k": 19, "batch": 3, "act": "gelu"},
    {"m": 50, "n": 24, "k": 30, "read": "relu"},
    {"m": 21, "n": 12, "k": 10, "batch": 2, "out": "transposed"},
    {"m": 70, "n": 9, "k": 11, "read": "transposed"},
    {"m": 64, "n": 16, "k": 1100},
    {"m": 13, "n": 1, "k": 300},
    {"m": 16, "n": 4, "k": 20},
    {"m": 1, "n": 37, "k": 12, "scaled": True},
    {"m": 9, "n": 2, "k": 11, "scaled": True},
    {"m": 70, "n": 19, "k": 21, "batch": 2, "batched": True, "scaled": True},
]


VARIANTS = pytest.mark.parametrize(
    ("variant", "threads"),
    [("plain", 1), ("relaxed", 1), ("plain-threads", 3), ("relaxed-threads", 2)],
)


@VARIANTS
def test_matmul(variant, threads):
    rng = np.random.default_rng(0)
    values, wanted = {}, []
    for at, case in enumerate(MATMULS):
        batch = case.get("batch", 1)
        a = rng.standard_normal((batch, case["m"], case["k"]), np.float32)
        b = rng.standard_normal(
            (batch if case.get("batched") else 1, case["k"], case["n"]), np.float32
        )
        bias, rest = (
            rng.standard_normal(case["n"], np.float32),
            rng.standard_normal((batch, case["m"], case["n"]), np.float32),
        )
        y = (
            (np.maximum(a, 0) if case.get("read") == "relu" else a).astype(np.float64) @ b
            + bias
            + rest
        )
        if case.get("scaled"):
            offsets = (np.arange(case["k"]) // 4)[:, None]
            y = a.astype(np.float64) @ (b * bias.astype(np.float64) + offsets) + bias + rest
        if case.get("act") == "gelu":
            y = y * 0.5 * (np.vectorize(math.erf)(y * math.sqrt(0.5)) + 1)
        stored = a.transpose(0, 2, 1) if case.get("read") == "transposed" else a
        values |= {at * 5: stored, at * 5 + 1: panels(b), at * 5 + 2: bias, at * 5 + 3: rest}
        wanted.append(y.transpose(0, 2, 1) if case.get("out") == "transposed" else y)
    out = run(program(*(matmul(**c) for c in MATMULS)), values, variant=variant, threads=threads)
    for at, (case, y) in enumerate(zip(MATMULS, wanted, strict=True)):
        error = np.abs(out[at * 5 + 4] - y.ravel()).max() / np.abs(y).max()
        assert error < 2e-6, f"{case}: {error:.2e}"


def test_matmul_of_any_length():
    t = dim("t", 1, 130)
    k, n = 24, 20
    vm, vn, vk = var("m", t), var("n", n), var("k", k)
    kernel = Instance(
        "matmul",
        "matmul",
        {"m": vm, "n": vn, "k": vk},
        {"a": load(0, vm * k + vk), "b": load(1, (vn // 8) * (k * 8) + vk * 8 + vn % 8)},
        {},
        (Store(2, vm * n + vn, acc(0, 0, "f32")),),
        (Slot("f32", t * k, "read"), Slot("f32", 3 * k * 8, "read"), Slot("f32", t * n, "write")),
        sums=("k",),
    )
    rng = np.random.default_rng(1)
    b = rng.standard_normal((k, n), np.float32)
    for size in (1, 2, 16, 77, 130):
        a = rng.standard_normal((size, k), np.float32)
        out = run(program(kernel, dims=(t,)), {0: a, 1: panels(b)}, {"t": size})[2]
        np.testing.assert_allclose(out[: size * n], (a @ b).ravel(), rtol=1e-5, atol=1e-5)
        assert (out[size * n :] == -77).all()


def _out(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    return (size + pads - dilation * (kernel - 1) - 1) // stride + 1


def conv(
    h,
    w,
    c,
    n,
    kernel=(3, 3),
    batch=1,
    groups=1,
    stride=(1, 1),
    dilation=(1, 1),
    pads=(0, 0, 0, 0),
    scaled=False,
) -> Instance:
    """Slots: X in NHWC, W in panels, bias, Y in NHWC; c and n are channels of one group."""
    ky, kx = kernel
    yy = _out(h, ky, stride[0], dilation[0], pads[0] + pads[2])
    xx = _out(w, kx, stride[1], dilation[1], pads[1] + pads[3])
    v = {
        k: var(k, s)
        for k, s in {
            "b": batch,
            "y": yy,
            "x": xx,
            "g": groups,
            "n": n,
            "ky": ky,
            "kx": kx,
            "c": c,
            "iy": h,
            "ix": w,
        }.items()
    }
    p = (n + 7) // 8
    base = v["g"] * (p * ky * kx * c * 8)
    hole_b = load(
        1,
        base
        + (v["n"] // 8) * (ky * kx * c * 8)
        + ((v["ky"] * kx + v["kx"]) * c + v["c"]) * 8
        + v["n"] % 8,
    )
    if scaled:
        hole_b = hole_b * load(2, v["g"] * n + v["n"]) + cast(v["kx"] + v["c"], "f32")
    a = load(0, ((v["b"] * h + v["iy"]) * w + v["ix"]) * (groups * c) + v["g"] * c + v["c"])
    y = maximum(acc(0, 0, "f32") + load(2, v["g"] * n + v["n"]), 0.0)
    index = ((v["b"] * yy + v["y"]) * xx + v["x"]) * (groups * n) + v["g"] * n + v["n"]
    return Instance(
        "conv",
        "conv",
        v,
        {"a": a, "b": hole_b},
        {"stride": stride, "dilation": dilation, "pad": pads[:2], "groups": groups},
        (Store(3, index, y),),
        (
            *_reads(batch * h * w * groups * c, groups * p * ky * kx * c * 8, groups * n),
            Slot("f32", batch * yy * xx * groups * n, "write"),
        ),
        sums=("ky", "kx", "c"),
    )


def depthwise(
    h, w, c, kernel=(3, 3), batch=1, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0)
) -> Instance:
    """Slots: X in NHWC, W[ky, kx, c], bias, Y in NHWC."""
    ky, kx = kernel
    yy = _out(h, ky, stride[0], dilation[0], pads[0] + pads[2])
    xx = _out(w, kx, stride[1], dilation[1], pads[1] + pads[3])
    v = {
        k: var(k, s)
        for k, s in {
            "b": batch,
            "y": yy,
            "x": xx,
            "ky": ky,
            "kx": kx,
            "c": c,
            "iy": h,
            "ix": w,
        }.items()
    }
    a = load(0, ((v["b"] * h + v["iy"]) * w + v["ix"]) * c + v["c"])
    y = minimum(maximum(acc(0, 0, "f32") + load(2, v["c"]), 0.0), 6.0)
    return Instance(
        "depthwise",
        "depthwise",
        v,
        {"a": a, "w": load(1, (v["ky"] * kx + v["kx"]) * c + v["c"])},
        {"stride": stride, "dilation": dilation, "pad": pads[:2]},
        (Store(3, ((v["b"] * yy + v["y"]) * xx + v["x"]) * c + v["c"], y),),
        (*_reads(batch * h * w * c, ky * kx * c, c), Slot("f32", batch * yy * xx * c, "write")),
    )


def reference(x, w, b, case) -> np.ndarray:
    """onnxruntime's convolution of NCHW arrays, in NHWC."""
    info = helper.make_tensor_value_info
    node = helper.make_node(
        "Conv",
        ["x", "w", "b"],
        ["y"],
        strides=case.get("stride", (1, 1)),
        group=case["group"],
        dilations=case.get("dilation", (1, 1)),
        pads=case.get("pads", (0, 0, 0, 0)),
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [info(k, TensorProto.FLOAT, a.shape) for k, a in (("x", x), ("w", w), ("b", b))],
        [info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x, "w": w, "b": b})[0].transpose(0, 2, 3, 1)


ONE, BOTH = (1, 1, 1, 1), (2, 2)
CONVS = [
    {"h": 14, "w": 14, "c": 16, "n": 24, "pads": ONE},
    {"h": 15, "w": 13, "c": 3, "n": 10, "batch": 2, "stride": BOTH, "pads": ONE},
    {
        "h": 9,
        "w": 11,
        "c": 5,
        "n": 7,
        "groups": 3,
        "kernel": (3, 2),
        "stride": (2, 1),
        "dilation": (1, 2),
        "pads": (2, 0, 1, 3),
    },
    {"h": 7, "w": 7, "c": 8, "n": 3, "kernel": (5, 5), "dilation": BOTH, "pads": (4, 4, 4, 4)},
    {"h": 8, "w": 8, "c": 12, "n": 8, "groups": 2, "kernel": (1, 1), "stride": BOTH},
    {"h": 30, "w": 34, "c": 16, "n": 16, "pads": ONE},
    {"h": 3, "w": 3, "c": 4, "n": 9},
    {"h": 1, "w": 50, "c": 6, "n": 11, "kernel": (1, 3), "pads": (0, 1, 0, 1)},
    {"h": 12, "w": 10, "c": 7, "n": 1, "pads": ONE},
    {"h": 2, "w": 2, "c": 3, "n": 5, "kernel": (4, 4), "pads": (3, 3, 3, 3)},
    {"h": 40, "w": 20, "c": 3, "n": 32, "kernel": (7, 7), "stride": BOTH, "pads": (3, 3, 3, 3)},
    {"h": 20, "w": 20, "c": 24, "n": 3, "kernel": (9, 9), "pads": (4, 4, 4, 4)},
    {"h": 9, "w": 11, "c": 5, "n": 9, "groups": 2, "dilation": (1, 2), "pads": ONE, "scaled": True},
    {"h": 8, "w": 8, "c": 4, "n": 12, "pads": ONE, "scaled": True},
    {"h": 8, "w": 8, "c": 4, "n": 2, "pads": ONE, "scaled": True},
]
DEPTHWISE = [
    {"h": 14, "w": 14, "c": 16, "pads": ONE},
    {"h": 15, "w": 13, "c": 7, "batch": 2, "stride": BOTH, "pads": (1, 0, 1, 1)},
    {"h": 20, "w": 21, "c": 12, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    {"h": 20, "w": 21, "c": 12, "kernel": (5, 5), "stride": BOTH, "pads": (2, 2, 2, 2)},
    {"h": 20, "w": 21, "c": 12, "dilation": BOTH, "pads": (2, 2, 2, 2)},
    {"h": 3, "w": 4, "c": 6, "kernel": (7, 7), "pads": (3, 3, 3, 3)},
    {
        "h": 2,
        "w": 2,
        "c": 9,
        "kernel": (5, 3),
        "stride": (3, 3),
        "dilation": (3, 1),
        "pads": (6, 3, 6, 3),
    },
    {"h": 9, "w": 30, "c": 8, "kernel": (1, 3)},
    {"h": 12, "w": 12, "c": 1, "pads": ONE},
    {"h": 6, "w": 9, "c": 149, "batch": 2, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    {"h": 5, "w": 5, "c": 70, "dilation": (2, 2), "pads": (2, 2, 2, 2)},
    {"h": 7, "w": 7, "c": 33, "kernel": (3, 5), "stride": (2, 1), "pads": (1, 2, 1, 2)},
]


@VARIANTS
def test_convolutions(variant, threads):
    rng = np.random.default_rng(0)
    kernels, values, wanted = [], {}, []
    for case in (*CONVS, *DEPTHWISE):
        at, deep = len(kernels) * 4, "n" in case
        kernels.append((conv if deep else depthwise)(**case))
        groups = case.get("groups", 1) if deep else case["c"]
        each, filters = (case["c"], case["n"] * groups) if deep else (1, case["c"])
        x = rng.standard_normal(
            (case.get("batch", 1), groups * each, case["h"], case["w"]), np.float32
        )
        w = rng.standard_normal((filters, each, *case.get("kernel", (3, 3))), np.float32)
        b = rng.standard_normal(filters, np.float32)
        used = w
        if case.get("scaled"):
            offsets = np.add.outer(np.arange(each), np.arange(w.shape[3]))[:, None]
            used = (w * b[:, None, None, None] + offsets).astype(np.float32)
        y = reference(x, used, b, {**case, "group": groups})
        if deep:
            split = w.reshape(groups, filters // groups, each, *w.shape[2:]).transpose(
                0, 3, 4, 2, 1
            )
            packed = panels(split.reshape(groups, -1, filters // groups))
        else:
            packed = w[:, 0].transpose(1, 2, 0)
        values |= {at: x.transpose(0, 2, 3, 1), at + 1: packed, at + 2: b}
        wanted.append((case, np.maximum(y, 0) if deep else np.clip(y, 0, 6)))
    out = run(program(*kernels), values, variant=variant, threads=threads)
    for at, (case, y) in enumerate(wanted):
        error = np.abs(out[at * 4 + 3] - y.ravel()).max() / np.abs(y).max()
        assert error < 2e-6, f"{case}: {error:.2e}"


def test_results_do_not_depend_on_the_number_of_threads():
    kernels = [
        conv(30, 34, 16, 40, pads=ONE),
        depthwise(40, 40, 24, pads=ONE),
        matmul(130, 70, 65, act="gelu"),
    ]
    kernels.append(
        Loop(
            "copy",
            (var("i", 5000),),
            (),
            (),
            (Store(1, var("i", 5000), load(0, var("i", 5000)) * 3.0),),
            (*_reads(5000), Slot("f32", 5000, "write")),
        )
    )
    p = program(*kernels)
    rng = np.random.default_rng(0)
    values = {b.id: rng.standard_normal(b.size, np.float32) for b in p.buffers}
    first = run(p, values)
    for threads in (1, 2, 4):
        again = run(p, values, variant="plain-threads", threads=threads, repeat=3)
        for b in p.buffers:
            np.testing.assert_array_equal(first[b.id], again[b.id])


def test_threads_agree_at_every_barrier():
    """Small steps, which one thread runs alone, between steps that are shared; many short runs."""

    def copy(n: int) -> Loop:
        i = var("i", n)
        return Loop(
            "copy",
            (i,),
            (),
            (),
            (Store(1, i, load(0, i) + 1.0),),
            (*_reads(n), Slot("f32", n, "write")),
        )

    p = program(*(copy(16 if k % 3 else 60_000) for k in range(60)))
    rng = np.random.default_rng(0)
    values = {b.id: rng.standard_normal(b.size, np.float32) for b in p.buffers}
    for threads in (2, 3):
        out = run(p, values, variant="plain-threads", threads=threads, repeat=40)
        for step in p.steps:
            source, target = step.buffers
            np.testing.assert_array_equal(out[target], values[source] + np.float32(1))


WINOGRAD = [
    {"h": 14, "w": 14, "c": 64, "n": 64, "pads": ONE},
    {"h": 9, "w": 13, "c": 20, "n": 27, "batch": 2, "pads": (0, 1, 2, 0)},
    {"h": 3, "w": 3, "c": 4, "n": 1, "pads": ONE},
    {"h": 8, "w": 40, "c": 320, "n": 12},
    {"h": 36, "w": 34, "c": 8, "n": 300, "pads": (3, 2, 1, 0)},
    {"h": 16, "w": 16, "c": 256, "n": 8, "pads": ONE, "mean": 100.0},
    {"h": 1, "w": 2, "c": 4, "n": 9, "batch": 5, "pads": (2, 2, 2, 2)},
]


def rounding(found: np.ndarray, y: np.ndarray, x: np.ndarray, w: np.ndarray) -> float:
    """The error as a part of the largest sum that could be: of magnitudes."""
    return float(np.abs(found - y).max() / (np.abs(x).max() * np.abs(w).sum((1, 2, 3)).max()))


@VARIANTS
def test_winograd(variant, threads):
    """Convolutions by Winograd's way, filters transformed by `prepare`, one graph of them all."""
    rng = np.random.default_rng(0)
    given, outputs, feeds, wanted, parts = [], {}, [], [], []
    for k, case in enumerate(WINOGRAD):
        h, width, c, n = (case[d] for d in "hwcn")
        pads = case.get("pads", (0, 0, 0, 0))
        shape = case.get("batch", 1), c, h, width
        x = rng.standard_normal(shape, np.float32) + np.float32(case.get("mean", 0))
        w, b = rng.standard_normal((n, c, 3, 3), np.float32), rng.standard_normal(n, np.float32)
        given.append(placeholder(f"x{k}", (shape[0], h, width, c), "f32"))
        filters = constant(np.ascontiguousarray(w.transpose(2, 3, 1, 0)))
        y = ops.winograd(ops.pack_conv(given[k], filters, (1, 1), pads, (1, 1), 1))
        outputs[f"y{k}"] = ops.relu(ops.add(y, constant(b)))
        wanted.append(np.maximum(reference(x, w, b, {**case, "pads": pads, "group": 1}), 0))
        feeds.append(x.transpose(0, 2, 3, 1))
        parts.append((x, w))
    p = lower(Graph(tuple(given), outputs), TARGETS["wasm"])
    assert [s.kernel.template for s in p.steps] == ["winograd"] * len(WINOGRAD)
    assert len(p.prepare) == len(WINOGRAD)
    values = {t.buffer: x for t, x in zip(p.inputs, feeds, strict=True)}
    values |= {b: evaluate(v) for b, v in p.weights.items()}
    out = run(p, values, variant=variant, threads=threads)
    for t, y, (x, w), case in zip(p.outputs, wanted, parts, WINOGRAD, strict=True):
        found = out[t.buffer].reshape(y.shape)
        # found: up to 1.3e-7; onnxruntime itself is off by up to 6e-8
        assert rounding(found, y, x, w) < 3e-7, case
        if "mean" not in case:
            assert np.abs(found - y).max() < 4e-6 * np.abs(y).max(), case
