"""Every pass: what rules make of what, where they must not fire, and that results stay the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interpret import interpret
from webdnn import ops
from webdnn.codegen import TARGETS
from webdnn.expr import dim
from webdnn.graph import INPUT, Graph, Value, constant, evaluate, placeholder, rewrite, verify
from webdnn.passes import (
    PIPELINE,
    activation,
    affine,
    conv,
    layout,
    rounded,
    run,
    simplify,
    split,
    winograd,
)
from webdnn.schedule.lower import lower

RNG = np.random.default_rng(7)
H, W = dim("h", 4, 32), dim("w", 4, 32)
# What is asserted of products is before attention takes them, and before they are packed.
UNFUSED = tuple(itertools.takewhile(lambda row: row[0] != "attention", PIPELINE))
NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)

X = placeholder("x", (2, 6), "f32")
Y = placeholder("y", (2, 6), "f32")
I = placeholder("i", (2, 6), "i32")  # noqa: E741
IMAGE = placeholder("image", (1, 4, H, W), "f32")


def weights(*shape: int) -> Value:
    return constant(RNG.standard_normal(shape).astype(np.float32))


def graph(*outputs: Value) -> Graph:
    """A graph of these outputs, with whatever inputs they need."""
    named = {f"out{k}": v for k, v in enumerate(outputs)}
    values = Graph((), named).values()
    dims = tuple(d for d in (H, W) if any(d in v.shape for v in values))
    return Graph(tuple(v for v in values if v.op is INPUT), named, {}, dims)


def after(rules: object, *outputs: Value) -> list[Value]:
    return list(rewrite(graph(*outputs), rules).outputs.values())  # type: ignore[arg-type]


def ops_in(g: Graph) -> list[str]:
    return [v.op.name for v in g.values() if not v.constant]


def assert_same(before: Graph, now: Graph, tolerance: float = 1e-5) -> None:
    """Both graphs give the same numbers for random inputs, at two sizes if there are symbols."""
    verify(now)
    for sizes in ({"h": 7, "w": 10}, {"h": 4, "w": 5}):
        feeds = {}
        for v in before.inputs:
            shape = [d if isinstance(d, int) else sizes[str(d)] for d in v.shape]
            draw = RNG.standard_normal(shape) if v.dtype == "f32" else RNG.integers(-9, 9, shape)
            feeds[v.attrs["name"]] = draw.astype({"f32": np.float32, "i32": np.int32}[v.dtype])
        want = interpret(before, feeds, sizes, "numpy")
        found = interpret(now, feeds, sizes, "numpy")
        for name, a in want.items():
            scale = max(1.0, float(np.abs(a).max(initial=0)))
            np.testing.assert_allclose(found[name], a, rtol=0, atol=tolerance * scale)
        if not before.dims:
            break


# ---- simplify: what becomes what -----------------------------------------------------------------

IDENTITIES: dict[str, tuple[Callable[[], Value], Callable[[], Value]]] = {
    "x*1": (lambda: ops.mul(X, 1.0), lambda: X),
    "1*x": (lambda: ops.mul(constant(np.float32(1)), X), lambda: X),
    "x/1": (lambda: ops.div(X, 1.0), lambda: X),
    "x-0": (lambda: ops.sub(X, 0.0), lambda: X),
    "x+(-0)": (lambda: ops.add(X, -0.0), lambda: X),
    "i+0": (lambda: ops.add(I, 0), lambda: I),
    "x*1 broadcast": (
        lambda: ops.mul(placeholder("s", (6,), "f32"), constant(np.ones((2, 1), np.float32))),
        lambda: ops.expand(placeholder("s", (6,), "f32"), (2, 6)),
    ),
    "neg neg": (lambda: ops.neg(ops.neg(X)), lambda: X),
    "relu relu": (lambda: ops.relu(ops.relu(X)), lambda: ops.relu(X)),
    "cast there and back": (lambda: ops.cast(ops.cast(X, "f64"), "f32"), lambda: X),
    "cast i32 i64 f32": (lambda: ops.cast(ops.cast(I, "i64"), "f32"), lambda: ops.cast(I, "f32")),
    "x^2": (lambda: ops.pow_(X, 2.0), lambda: ops.mul(X, X)),
    "x^0.5": (lambda: ops.pow_(X, 0.5), lambda: ops.sqrt_(X)),
    "x^1": (lambda: ops.pow_(X, 1.0), lambda: X),
    "1/sqrt": (lambda: ops.div(1.0, ops.sqrt_(X)), lambda: ops.rsqrt_(X)),
    "x/sqrt(y)": (lambda: ops.div(X, ops.sqrt_(Y)), lambda: ops.mul(X, ops.rsqrt_(Y))),
    "x/8": (lambda: ops.div(X, 8.0), lambda: ops.mul(X, 0.125)),
    "x + -y": (lambda: ops.add(X, ops.neg(Y)), lambda: ops.sub(X, Y)),
    "x - -y": (lambda: ops.sub(X, ops.neg(Y)), lambda: ops.add(X, Y)),
    "where true": (lambda: ops.where(constant(np.ones((1, 6), bool)), X, Y), lambda: X),
    "where false": (lambda: ops.where(constant(np.zeros((), bool)), X, Y), lambda: Y),
    "where same": (lambda: ops.where(ops.less(X, Y), X, X), lambda: X),
    "max(relu, 0)": (lambda: ops.max_(ops.relu(X), 0.0), lambda: ops.relu(X)),
    "min inf": (lambda: ops.min_(X, float("inf")), lambda: X),
    "expand is broadcasting": (
        lambda: ops.add(ops.expand(placeholder("s", (6,), "f32"), (2, 6)), X),
        lambda: ops.add(placeholder("s", (6,), "f32"), X),
    ),
    "slice of slice": (
        lambda: ops.slice_axis(ops.slice_axis(X, 1, 1, 4), 1, 1, 2, 2),
        lambda: ops.slice_axis(X, 1, 2, 2, 2),
    ),
    "flip of flip": (lambda: ops.flip(ops.flip(X, [1]), [1]), lambda: X),
    "split and join": (lambda: ops.concat(ops.split(X, [1, 2, 3], 1), 1), lambda: X),
    "slice of concat": (
        lambda: ops.slice_axis(ops.concat([X, Y], 1), 1, 7, 3),
        lambda: ops.slice_axis(Y, 1, 1, 3),
    ),
    "slice into concat": (
        lambda: ops.slice_axis(ops.concat([X, Y], 0), 1, 2, 3),
        lambda: ops.concat([ops.slice_axis(v, 1, 2, 3) for v in (X, Y)], 0),
    ),
    "slice into pad": (
        lambda: ops.slice_(ops.pad(X, (1, 2), (1, 2)), (0, 1), (2, 8)),
        lambda: ops.pad(ops.slice_axis(X, 0, 0, 1), (1, 1), (0, 1)),
    ),
    "slice away the pad": (
        lambda: ops.slice_axis(ops.pad(X, (0, 2), (0, 2)), 1, 3, 4),
        lambda: ops.slice_axis(X, 1, 1, 4),
    ),
    "relu of concat": (
        lambda: ops.relu(ops.concat([X, Y], 0)),
        lambda: ops.concat([ops.relu(X), ops.relu(Y)], 0),
    ),
    "pad of pad": (
        lambda: ops.pad(ops.pad(X, (1, 0), (0, 2)), (0, 1), (1, 0)),
        lambda: ops.pad(X, (1, 1), (1, 2)),
    ),
    "expand of expand": (
        lambda: ops.expand(ops.expand(placeholder("s", (1, 1), "f32"), (1, 6)), (2, 6)),
        lambda: ops.expand(placeholder("s", (1, 1), "f32"), (2, 6)),
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity(name: str) -> None:
    before, expected = (make() for make in IDENTITIES[name])
    assert before is not expected
    (found,) = after(simplify.RULES, before)
    assert found is expected
    assert_same(graph(before), graph(found))


UNTOUCHED: dict[str, Callable[[], Value]] = {
    "x + 0 turns -0 into 0": lambda: ops.add(X, 0.0),
    "x * 0 keeps NaN": lambda: ops.mul(X, 0.0),
    "1/3 is not exact": lambda: ops.div(X, 3.0),
    "f16 loses": lambda: ops.cast(ops.cast(X, "f16"), "f32"),
    "bf16 loses": lambda: ops.cast(ops.cast(X, "bf16"), "f32"),
    "f32 loses i32": lambda: ops.cast(ops.cast(I, "f32"), "i32"),
    "expand that gives the shape": lambda: ops.add(
        ops.expand(placeholder("s", (1, 6), "f32"), (2, 6)), placeholder("t", (1, 6), "f32")
    ),
    "slice across the seam": lambda: ops.slice_axis(ops.concat([X, Y], 1), 1, 4, 4),
    "slice of pad only": lambda: ops.slice_axis(ops.pad(X, (0, 4), (0, 0)), 1, 1, 3),
    "every second of pad": lambda: ops.slice_axis(ops.pad(X, (0, 4), (0, 0)), 1, 0, 5, 2),
    "sum of concats": lambda: ops.add(ops.concat([X, Y], 0), ops.concat([Y, X], 0)),
    "nested concats": lambda: ops.concat([ops.concat([X, Y], 0), X], 0),
    "slices out of order": lambda: ops.concat(
        [ops.slice_axis(X, 1, 3, 3), ops.slice_axis(X, 1, 0, 3)], 1
    ),
    "pads of two values": lambda: ops.pad(
        ops.pad(X, (1, 0), (0, 0)), (0, 1), (0, 0), "constant", 2.0
    ),
    "max(relu, 1)": lambda: ops.max_(ops.relu(X), 1.0),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_no_identity(name: str) -> None:
    before = UNTOUCHED[name]()
    (found,) = after(simplify.RULES, before)
    assert found is before


def quantised(x: Value, zero: int = 0, dtype: str = "u8") -> Value:
    lo, hi = (0.0, 255.0) if dtype == "u8" else (-128.0, 127.0)
    return ops.cast(ops.clamp(ops.add(ops.round_(x), float(zero)), lo, hi), dtype)


def apart(q: Value, zero: int = 0) -> Value:
    return ops.cast(ops.sub(ops.cast(q, "i32"), zero), "f32")


ROUNDED: dict[str, tuple[Callable[[], Value], Callable[[], Value] | None]] = {
    "u8": (
        lambda: apart(quantised(X, 120), 120),
        lambda: ops.clamp(ops.round_(X), -120.0, 135.0),
    ),
    "i8, transposed": (
        lambda: apart(ops.transpose(quantised(X, 3, "i8"), (1, 0)), 5),
        lambda: ops.sub(
            ops.transpose(ops.clamp(ops.add(ops.round_(X), 3.0), -128.0, 127.0), (1, 0)),
            ops.cast(constant(5, "i32"), "f32"),
        ),
    ),
    "quantised again": (
        lambda: ops.round_(ops.div(ops.mul(apart(quantised(X, 9), 9), 0.3), 0.3)),
        lambda: ops.clamp(ops.round_(X), -9.0, 246.0),
    ),
    "clamped again": (
        lambda: ops.clamp(apart(quantised(X, 9), 9), -9.0, 250.0),
        lambda: ops.clamp(ops.round_(X), -9.0, 246.0),
    ),
    "by another scale": (
        lambda: ops.round_(ops.div(ops.mul(ops.cast(quantised(X), "f32"), 0.3), 0.4)),
        None,
    ),
    "not rounded": (lambda: ops.cast(ops.cast(ops.clamp(X, 0.0, 255.0), "u8"), "f32"), None),
    "not clamped": (lambda: ops.cast(ops.cast(ops.round_(X), "u8"), "f32"), None),
    "too wide": (
        lambda: ops.cast(ops.cast(ops.clamp(ops.round_(X), -128.0, 127.0), "u8"), "f32"), None,
    ),
    "beside an integer that no float is": (lambda: apart(quantised(X), 2**24 + 1), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_floats_stay_floats(name: str) -> None:
    make, expected = ROUNDED[name]
    before = make()
    (found,) = after((*rounded.RULES, *simplify.RULES), before)
    assert_same(graph(before), graph(found), 0)
    if expected is not None:
        assert found is expected()
    else:
        assert any(v.op in (ops.cast_, ops.div) for v in graph(found).values())


def test_shared_concat_stays() -> None:
    inner = ops.concat([X, Y], 0)
    outer = ops.concat([inner, X], 0)
    assert after(simplify.RULES, outer, ops.relu(inner))[0] is outer


def test_batch_norm_passes_concat() -> None:
    """The parts of a vector go with the parts of the concat, and into their weights."""
    z = placeholder("z", (1, H, W, 4), "f32")
    parts = [ops.conv(z, weights(1, 1, 4, n)) for n in (3, 5)]
    before = ops.relu(ops.add(ops.mul(ops.concat(parts, 3), weights(8)), weights(1, 1, 1, 8)))
    now = run(graph(before), 0, pipeline=UNFUSED)
    assert ops_in(now) == ["input", "conv", "add", "relu", "conv", "add", "relu", "concat"]
    assert_same(graph(before), now)


def test_constant_indices_become_a_table() -> None:
    t = dim("w", 4, 32)
    table = weights(32, 3)
    at = ops.slice_axis(constant(np.arange(32)[::-1].copy()), 0, 0, t)
    before = ops.add(ops.gather(table, at, 0), placeholder("v", (t, 3), "f32"))
    (found,) = after(simplify.RULES, before)
    assert "gather" not in ops_in(graph(found))
    assert_same(graph(before), graph(found))


# ---- activations ---------------------------------------------------------------------------------

ROOT2 = 2**0.5


def _tanh_argument(x: Value) -> Value:
    return ops.mul(ops.add(x, ops.mul(ops.pow_(x, 3.0), 0.044715)), (2 / np.pi) ** 0.5)


ACTIVATIONS: dict[str, tuple[Callable[[], Value], Callable[[], Value]]] = {
    "gelu: x/2 * (1+erf)": (
        lambda: ops.mul(ops.mul(X, 0.5), ops.add(ops.erf_(ops.div(X, ROOT2)), 1.0)),
        lambda: ops.gelu(X),
    ),
    "gelu: (x * (1+erf)) / 2": (
        lambda: ops.mul(ops.mul(X, ops.add(1.0, ops.erf_(ops.mul(X, 1 / ROOT2)))), 0.5),
        lambda: ops.gelu(X),
    ),
    "gelu: x * ((1+erf) * .5)": (
        lambda: ops.mul(X, ops.mul(ops.add(ops.erf_(ops.div(X, ROOT2)), 1.0), 0.5)),
        lambda: ops.gelu(X),
    ),
    "gelu: (1+erf) * x / 2": (
        lambda: ops.div(ops.mul(ops.add(ops.erf_(ops.div(X, ROOT2)), 1.0), X), 2.0),
        lambda: ops.gelu(X),
    ),
    "gelu by tanh": (
        lambda: ops.mul(ops.mul(X, 0.5), ops.add(ops.tanh_(_tanh_argument(X)), 1.0)),
        lambda: ops.gelu_tanh(X),
    ),
    "silu": (lambda: ops.mul(X, ops.sigmoid(X)), lambda: ops.silu(X)),
    "swish": (lambda: ops.mul(ops.sigmoid(ops.mul(X, 1.5)), X), lambda: ops.swish(X, alpha=1.5)),
    "hard sigmoid": (
        lambda: ops.div(ops.clip(ops.add(X, 3.0), 0.0, 6.0), 6.0),
        lambda: ops.hard_sigmoid(X, alpha=1 / 6, beta=0.5),
    ),
    "hard swish: gate": (
        lambda: ops.mul(X, ops.hard_sigmoid(X, alpha=1 / 6, beta=0.5)),
        lambda: ops.hard_swish(X),
    ),
    "hard swish: /6 last": (
        lambda: ops.div(ops.mul(X, ops.clip(ops.add(X, 3.0), 0.0, 6.0)), 6.0),
        lambda: ops.hard_swish(X),
    ),
    "hard swish: min of relu": (
        lambda: ops.mul(X, ops.mul(ops.min_(ops.relu(ops.add(X, 3.0)), 6.0), 1 / 6)),
        lambda: ops.hard_swish(X),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    before, expected = (make() for make in ACTIVATIONS[name])
    found = run(graph(before), 0).outputs["out0"]
    assert found is expected
    assert_same(graph(before), graph(found))


@pytest.mark.parametrize(
    "before",
    [
        ops.mul(X, ops.sigmoid(Y)),
        ops.mul(ops.mul(X, 0.5), ops.add(ops.erf_(ops.div(X, 1.5)), 1.0)),
        ops.mul(ops.mul(Y, 0.5), ops.add(ops.erf_(ops.div(X, ROOT2)), 1.0)),
        ops.mul(X, ops.clip(ops.add(X, 2.0), 0.0, 6.0)),
    ],
    ids=["another gate", "another constant", "another operand", "another shift"],
)
def test_no_activation(before: Value) -> None:
    assert after(activation.RULES, before) == [before]


# ---- layout --------------------------------------------------------------------------------------


def nchw_conv(
    x: Value, m: int, k: int = 3, groups: int = 1, pad: int | None = None, stride: int = 1
) -> Value:
    """A convolution as frontends of NCHW formats write it."""
    p = k // 2 if pad is None else pad
    w = weights(k, k, x.shape[1] // groups, m)  # type: ignore[operator]
    return ops.transpose(
        ops.conv(ops.transpose(x, NHWC), w, (stride, stride), (p,) * 4, (1, 1), groups), NCHW
    )


def norm(x: Value) -> Value:
    """Batch normalisation over axis 1, as frontends write it."""
    c = x.shape[1]
    return ops.add(ops.mul(x, weights(c, 1, 1)), weights(c, 1, 1))  # type: ignore[arg-type]


def upsample(x: Value) -> Value:
    return ops.repeat(ops.repeat(x, 2, 2), 2, 3)


def pool(x: Value) -> Value:
    return ops.transpose(
        ops.max_pool(ops.transpose(x, NHWC), (2, 2), (1, 1), ((1, 0), (0, 1)), (1, 1)), NCHW
    )


def squeeze_excite(x: Value) -> Value:
    gate = ops.relu(nchw_conv(ops.reduce_mean(x, (2, 3)), 4, 1))
    return ops.mul(x, ops.sigmoid(nchw_conv(gate, x.shape[1], 1)))  # type: ignore[arg-type]


def swap(x: Value) -> Value:
    """Height and width exchanged: a transpose that no convolution asks for."""
    return ops.transpose(x, (0, 1, 3, 2))


BETWEEN: dict[str, Callable[[Value], Value]] = {
    "relu": ops.relu,
    "norm": lambda x: ops.relu(norm(x)),
    "residual": lambda x: ops.add(x, nchw_conv(ops.relu(x), 4)),
    "scalar": lambda x: ops.add(ops.mul(x, 2.0), 1.0),
    "image-shaped constant": lambda x: ops.add(x, ops.expand(weights(1, 1, 1), (4, 1, 1))),
    "two operands, one computed from the other": lambda x: ops.mul(x, ops.sigmoid(x)),
    "reduce and broadcast": lambda x: ops.sub(x, ops.reduce_max(x, (2, 3))),
    "reduce of one axis": lambda x: ops.div(x, ops.add(ops.reduce_sum(ops.mul(x, x), (1,)), 1.0)),
    "instance norm": lambda x: ops.normalize(x, (2, 3), 1e-5),
    "softmax over channels": lambda x: ops.softmax(x, 1),
    "cumsum": lambda x: ops.cumsum(x, 2),
    "concat": lambda x: ops.concat([x, ops.relu(x), pool(x)], 1),
    "pad": lambda x: ops.pad(x, (0, 0, 1, 2), (0, 0, 2, 1), "constant", 3.0),
    "pad by reflection": lambda x: ops.pad(x, (0, 0, 1, 1), (0, 0, 1, 1), "reflect"),
    "slice": lambda x: ops.slice_axis(ops.slice_axis(x, 2, 1, x.shape[2] - 2), 1, 0, 2),
    "split": lambda x: ops.mul(*ops.split(x, [2, 2], 1)),
    "flip": lambda x: ops.flip(x, (3,)),
    "gather": lambda x: ops.gather(x, constant(np.array([3, 0, 1])), 1),
    "gather rows": lambda x: ops.gather(x, constant(np.array([[0, 2], [1, 1]])), 2),
    "upsample": upsample,
    "resize": lambda x: ops.resize(x, 3, x.shape[3] * 2, mode="linear"),
    "tile": lambda x: ops.tile(x, (1, 2, 1, 1)),
    "expand": lambda x: ops.expand(ops.reduce_max(x, (1,)), (1, 6, *x.shape[2:])),
    "pool": pool,
    "pool with windows of the frontend": lambda x: ops.reshape(
        ops.reduce_max(ops.windows(x, (2, 3), (2, 2), (1, 1), (1, 1)), (4, 5)),
        (*x.shape[:2], x.shape[2] - 1, x.shape[3] - 1),
    ),
    "squeeze and excite": squeeze_excite,
    "split channels": lambda x: ops.reshape(
        ops.relu(ops.reshape(x, (1, 2, 2, *x.shape[2:]))), x.shape
    ),
    "depthwise": lambda x: nchw_conv(x, 4, groups=4),
    "where": lambda x: ops.where(ops.less(x, 0.5), x, ops.reduce_sum(x, (1,))),
    "dilate": lambda x: ops.dilate(x, (1, 1, 2, 3)),
    "clip": lambda x: ops.clip(x, 0.0, 6.0),
    "prelu": lambda x: ops.prelu(x, weights(4, 1, 1)),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_no_transposes_inside_a_network(name: str) -> None:
    """Whatever stands between two convolutions, only input and output are transposed."""
    between = BETWEEN[name](nchw_conv(IMAGE, 4))
    if len(between.shape) == 5:  # gather by a matrix
        between = ops.reshape(between, (1, 4, -1, W))
    before = graph(nchw_conv(between, 4))
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 2
    assert_same(before, now)


def test_classifier_has_no_transpose_but_the_image() -> None:
    x = placeholder("image", (1, 3, 8, 8), "f32")
    y = ops.relu(nchw_conv(x, 4, stride=2))
    flat = ops.reshape(pool(y), (1, -1))
    dense = ops.add(ops.matmul(flat, weights(64, 5)), weights(5))
    before = graph(ops.softmax(dense, -1))
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 1
    assert_same(before, now)


def test_global_pool_then_dense() -> None:
    y = ops.relu(nchw_conv(IMAGE, 6))
    dense = ops.matmul(ops.reshape(ops.reduce_mean(y, (2, 3)), (1, 6)), weights(6, 5))
    now = run(graph(dense), 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 1
    assert_same(graph(dense), now)


def test_channels_last_input_needs_no_transpose() -> None:
    x = placeholder("image", (1, H, W, 4), "f32")
    y = ops.transpose(squeeze_excite(ops.relu(nchw_conv(ops.transpose(x, NCHW), 4))), NHWC)
    now = run(graph(y), 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 0
    assert_same(graph(y), now)


def test_cancel_takes_the_cheaper_side() -> None:
    """add(T(conv), input) then T' for the next convolution: transpose the input, not the sum."""
    y = ops.relu(ops.add(nchw_conv(IMAGE, 4), ops.tanh_(placeholder("side", (1, 4, H, W), "f32"))))
    before = graph(nchw_conv(y, 4))
    assert layout.count_transposes(before) == 4
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 3  # of the image, of the side input, of the output
    assert_same(before, now)


def test_pixel_shuffle_keeps_one_transpose() -> None:
    x = nchw_conv(IMAGE, 8)
    n, _, h, w = x.shape
    parts = ops.transpose(ops.reshape(x, (n, 2, 2, 2, h, w)), (0, 1, 4, 2, 5, 3))
    before = graph(nchw_conv(ops.reshape(parts, (n, 2, h * 2, w * 2)), 4))
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 3
    assert_same(before, now)


def test_channel_shuffle_keeps_one_transpose() -> None:
    x = nchw_conv(IMAGE, 4)
    shape = x.shape
    mixed = ops.transpose(ops.reshape(x, (1, 2, 2, *shape[2:])), (0, 2, 1, 3, 4))
    before = graph(nchw_conv(ops.reshape(mixed, shape), 4))
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 3
    assert_same(before, now)


def attention(x: Value, heads: int = 2) -> Value:
    n, t, c = x.shape

    def project() -> Value:
        y = ops.add(ops.matmul(x, weights(c, c)), weights(c))  # type: ignore[arg-type]
        return ops.transpose(ops.reshape(y, (n, t, heads, c // heads)), (0, 2, 1, 3))  # type: ignore[operator]

    scores = ops.matmul(project(), ops.transpose(project(), (0, 1, 3, 2)))
    mixed = ops.matmul(ops.softmax(ops.mul(scores, 0.5), -1), project())
    y = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (n, t, c))
    return ops.add(x, ops.matmul(y, weights(c, c)))  # type: ignore[arg-type]


def test_attention() -> None:
    """Heads stay four views; three projections are one product, scaled by its weights."""
    x = placeholder("x", (1, H, 8), "f32")
    before = graph(attention(attention(x)))
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) == 8
    names = ops_in(now)
    assert names.count("matmul") == 8
    assert names.count("mul") == 0
    assert_same(before, now)
    assert_same(before, run(before, 0))


def test_transposes_stay_where_two_orders_are_needed() -> None:
    """A value that one user wants transposed and another does not: no second transpose appears."""
    y = ops.relu(swap(IMAGE))
    before = graph(y, ops.reshape(y, (1, 4, -1)))
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) <= layout.count_transposes(before)
    assert_same(before, now)


# ---- conv, affine, matmul ------------------------------------------------------------------------

Z = placeholder("z", (1, H, W, 4), "f32")


def picture(size: int, channels: int) -> Value:
    return placeholder(f"x{size}", (1, size, size, channels), "f32")


@pytest.mark.parametrize(
    ("size", "channels", "m", "attrs", "chosen"),
    [
        (14, 256, 256, {}, True),
        (80, 24, 24, {}, True),
        (7, 512, 512, {}, False),  # its filters would take longer to read than it took
        (80, 8, 8, {}, False),  # and here the transforms would
        (28, 126, 128, {}, False),  # no multiple of 4
        (28, 128, 128, {"stride": (2, 2)}, False),
        (28, 128, 128, {"dilation": (2, 1)}, False),
    ],
)
def test_winograd_where_it_is_faster(
    size: int, channels: int, m: int, attrs: dict[str, tuple[int, int]], chosen: bool
) -> None:
    x, w = picture(size, channels), constant(np.zeros((3, 3, channels, m), np.float32))
    now = run(graph(ops.conv(x, w, pads=(1, 1, 1, 1), **attrs)), 0)
    assert ("winograd" in ops_in(now)) is chosen
    wasm, webgpu = (lower(now, TARGETS[name]) for name in ("wasm", "webgpu"))
    # What is downloaded are the filters as they were, on WebGPU all there is of them.
    assert [v.shape[-2:] for v in wasm.weights.values()] == [(9 * channels, 8)]
    assert len(wasm.prepare) == chosen and not webgpu.prepare
    assert "winograd" not in {getattr(s.kernel, "template", "") for s in webgpu.steps}


def test_winograd_keeps_to_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What saves most for its bytes comes first: here the larger picture."""
    monkeypatch.setattr(winograd, "MEMORY", 36 * 64 * 64 * 4 + 1)
    shapes = [(28, 64, 64), (56, 64, 64), (40, 64, 64)]
    convs = [ops.conv(picture(s, c), weights(3, 3, c, m), pads=(1, 1, 1, 1)) for s, c, m in shapes]
    now = run(graph(*convs), 0)
    taken = [v.shape[1] for v in now.outputs.values() if v.op is ops.WINOGRAD]
    assert taken == [56]


def test_winograd_leaves_integers() -> None:
    """Transformed filters would be sixteen times as large; halves take the way of floats."""
    q = ops.dequantize(constant(np.zeros((3, 3, 64, 64), np.int8), "i8"))
    assert "winograd" not in ops_in(run(graph(ops.conv(picture(56, 64), q)), 0))
    h = ops.cast(constant(np.zeros((3, 3, 64, 64), np.float16)), "f32")
    assert "winograd" in ops_in(run(graph(ops.conv(picture(56, 64), h)), 0))


def test_pad_goes_into_conv() -> None:
    w = weights(3, 3, 4, 2)
    before = ops.conv(ops.pad(Z, (0, 1, 0, 0), (0, 2, 3, 0)), w, pads=(0, 1, 0, 0))
    assert after(conv.RULES, before) == [ops.conv(Z, w, pads=(1, 1, 2, 3))]


@pytest.mark.parametrize(
    "padded",
    [
        ops.pad(Z, (0, 1, 1, 0), (0, 1, 1, 0), "constant", 1.0),
        ops.pad(Z, (0, 1, 1, 0), (0, 1, 1, 0), "reflect"),
        ops.pad(Z, (0, 0, 0, 0), (0, 0, 0, 2)),
    ],
    ids=["value", "mode", "channels"],
)
def test_pad_stays(padded: Value) -> None:
    before = ops.conv(padded, weights(3, 3, padded.shape[3], 2))  # type: ignore[arg-type]
    assert after(conv.RULES, before) == [before]


def test_pad_goes_into_conv_of_one_dimension() -> None:
    signal = placeholder("signal", (1, H, 4), "f32")
    w = weights(1, 3, 4, 2)
    padded = ops.pad(signal, (0, 1, 0), (0, 2, 0))
    before = ops.conv(ops.unsqueeze(padded, (1,)), w)
    found = ops.conv(ops.unsqueeze(signal, (1,)), w, pads=(0, 1, 0, 2))
    assert after(conv.RULES, before) == [found]
    assert_same(graph(before), graph(found))
    split_rows = ops.conv(
        ops.reshape(ops.pad(X, (0, 1), (0, 1)), (1, 2, 2, 4)), weights(1, 1, 4, 2)
    )
    assert after(conv.RULES, split_rows) == [split_rows]


def test_batch_norm_goes_into_weights() -> None:
    for groups in (1, 2, 4):
        y = ops.conv(Z, weights(3, 3, 4 // groups, 8), pads=(1, 1, 1, 1), groups=groups)
        before = ops.mul(
            ops.add(ops.div(ops.add(y, weights(8)), weights(1, 1, 1, 8)), weights(8)), 0.5
        )
        before = ops.sub(before, weights(8))
        (found,) = after(affine.RULES, before)
        assert ops_in(graph(found)) == ["input", "conv", "add"]
        assert_same(graph(before), graph(found), 1e-4)


def test_negation_is_a_scale() -> None:
    before = ops.neg(ops.add(ops.conv(Z, weights(1, 1, 4, 2)), weights(2)))
    (found,) = after(affine.RULES, before)
    assert ops_in(graph(found)) == ["input", "conv", "add"]
    assert_same(graph(before), graph(found))


def test_affine_through_views() -> None:
    """The head axes of attention: a scale per channel passes reshape and transpose."""
    x = placeholder("x", (1, 5, 6), "f32")
    y = ops.add(ops.matmul(x, weights(6, 8)), weights(8))
    heads = ops.transpose(ops.reshape(y, (1, 5, 2, 4)), (0, 2, 1, 3))
    before = ops.mul(ops.mul(heads, weights(2, 1, 4)), 0.25)
    (found,) = after(affine.RULES, before)
    assert "mul" not in ops_in(graph(found))
    assert_same(graph(before), graph(found))


def test_affine_before_a_product() -> None:
    for groups in (1, 2):
        w = weights(3, 3, 4 // groups, 6)
        before = ops.conv(ops.add(ops.mul(Z, weights(4)), weights(4)), w, groups=groups)
        (found,) = after(affine.RULES, before)
        assert ops_in(graph(found)) == ["input", "conv", "add"]
        assert_same(graph(before), graph(found))
    before = ops.matmul(ops.sub(ops.mul(X, weights(6)), weights(6)), weights(6, 3))
    (found,) = after(affine.RULES, before)
    assert ops_in(graph(found)) == ["input", "matmul", "add"]
    assert_same(graph(before), graph(found))


def test_shift_before_padding_stays() -> None:
    """Padding is zero after the shift: only the scale may pass."""
    shifted = ops.add(ops.mul(Z, weights(4)), weights(4))
    before = ops.conv(shifted, weights(3, 3, 4, 2), pads=(1, 1, 1, 1))
    assert after(affine.RULES, before) == [before]
    scaled = ops.conv(ops.mul(Z, weights(4)), weights(3, 3, 4, 2), pads=(1, 1, 1, 1))
    (found,) = after(affine.RULES, scaled)
    assert ops_in(graph(found)) == ["input", "conv"]
    assert_same(graph(scaled), graph(found))


def test_shifts_of_float16_keep_their_digits() -> None:
    """A bias of thousands would be rounded to whole numbers where it is moved through weights."""
    x = placeholder("x", (1, 5, 6), "f16")
    b, w = (constant(evaluate(v).astype(np.float16)) for v in (weights(6), weights(6, 3)))
    before = ops.matmul(ops.add(x, b), w)
    assert after(affine.RULES, before) == [before]


def test_shared_products_stay() -> None:
    y = ops.conv(Z, weights(1, 1, 4, 4))
    outputs = [ops.mul(y, weights(4)), ops.relu(y)]
    assert after(affine.RULES, *outputs) == outputs
    scaled = ops.mul(Z, weights(4))
    outputs = [ops.conv(scaled, weights(1, 1, 4, 4)), ops.relu(scaled)]
    assert after(affine.RULES, *outputs) == outputs


@pytest.mark.parametrize(
    "factor",
    [
        lambda: weights(1, 5, 1, 4),
        lambda: placeholder("s", (4,), "f32"),
    ],
    ids=["varies in space", "not constant"],
)
def test_other_scales_stay(factor: Callable[[], Value]) -> None:
    z = placeholder("z", (1, 5, 5, 4), "f32")
    before = ops.mul(ops.conv(z, weights(1, 1, 4, 4)), factor())
    assert after(affine.RULES, before) == [before]


def test_scale_that_broadcasts_stays() -> None:
    before = ops.mul(
        ops.conv(placeholder("z", (1, 1, 1, 4), "f32"), weights(1, 1, 4, 1)), weights(1, 3, 3, 8)
    )
    assert after(affine.RULES, before) == [before]


def test_chains_collapse() -> None:
    x = X
    for _ in range(4):
        x = ops.add(ops.mul(x, weights(6)), weights(6))
    (found,) = after(affine.RULES, x)
    assert ops_in(graph(found)) == ["input", "mul", "add"]
    assert_same(graph(x), graph(found), 1e-4)


def test_constants_stay_lazy() -> None:
    """Nothing is read while passes run: a constant that cannot be read does no harm."""
    from webdnn.graph import lazy_constant

    def read() -> np.ndarray:
        raise AssertionError("read too early")

    w = lazy_constant("w", (3, 3, 4, 80), "f32", read)
    y = ops.conv(Z, w, pads=(1, 1, 1, 1))
    s = lazy_constant("s", (80,), "f32", read)
    found = run(graph(ops.relu(ops.add(ops.mul(y, s), s))), 0).outputs["out0"]
    with pytest.raises(AssertionError, match="read too early"):
        evaluate(found.inputs[0].inputs[0].inputs[1])


def test_siblings_merge_only_without_activations() -> None:
    x = placeholder("x", (5, 6), "f32")

    def dense(n: int) -> Value:
        return ops.add(ops.matmul(x, weights(6, n)), weights(n))

    plain = graph(*(ops.reshape(dense(n), (-1,)) for n in (4, 8, 3)))
    now = run(plain, 0, pipeline=UNFUSED)
    assert ops_in(now).count("matmul") == 1
    assert_same(plain, now)
    gated = graph(ops.mul(ops.silu(dense(4)), dense(4)))
    assert ops_in(run(gated, 0, pipeline=UNFUSED)).count("matmul") == 2


def test_mixture_is_a_product() -> None:
    x = placeholder("mix", (26,), "f32")
    column = ops.reshape(x, (26, 1))
    tables = [weights(26, n) for n in (4, 3)]
    before = graph(*(ops.reshape(ops.reduce_sum(ops.mul(column, t), (0,)), (-1,)) for t in tables))
    now = run(before, 0, pipeline=UNFUSED)
    assert ops_in(now).count("matmul") == 1 and "reduce" not in ops_in(now)
    assert_same(before, now)


def test_constant_operands_come_second() -> None:
    x = placeholder("x", (3, 5, 6), "f32")
    before = ops.matmul(weights(4, 6), ops.transpose(x, (0, 2, 1)))
    (found,) = after(layout.SINK, before)
    assert found.op is ops.TRANSPOSE and found.inputs[0].inputs[0] is x
    assert_same(graph(before), graph(found))
    product = ops.matmul(ops.transpose(x, (0, 2, 1)), weights(5, 4))
    assert after(layout.SINK, product) == [product]


def test_pack_computes_the_same() -> None:
    z = placeholder("z", (2, 7, 9, 8), "f32")
    for k, m, groups, stride in (
        (1, 5, 1, 1),
        (1, 8, 1, 2),
        (3, 12, 1, 2),
        (3, 8, 8, 1),
        (3, 4, 2, 1),
        (5, 16, 8, 2),
    ):
        before = graph(
            ops.conv(
                z, weights(k, k, 8 // groups, m), (stride, stride), (k // 2,) * 4, (1, 1), groups
            )
        )
        now = run(before, 0)
        assert not {"conv", "matmul"} & set(ops_in(now))
        assert_same(before, now)
    a, b = placeholder("a", (2, 3, 5, 4), "f32"), placeholder("b", (3, 4, 9), "f32")
    for product in (
        ops.matmul(a, b),
        ops.matmul(a, weights(4, 9)),
        ops.matmul(a, weights(1, 4, 3)),
    ):
        now = run(graph(product), 0)
        assert not {"conv", "matmul"} & set(ops_in(now))
        assert_same(graph(product), now)


def test_weights_beyond_a_binding_are_split() -> None:
    x, w = placeholder("x", (3, 16), "f32"), weights(16, 40)
    rules = split.rules(binding=4 * 16 * 20)
    parts = [ops.matmul(x, ops.slice_axis(w, 1, at, min(16, 40 - at))) for at in (0, 16, 32)]
    assert after(rules, ops.matmul(x, w)) == [ops.concat(parts, 1)]
    whole = graph(ops.matmul(x, w))
    assert_same(whole, rewrite(whole, rules))
    assert after(split.rules(binding=4 * 16 * 40), ops.matmul(x, w)) == [ops.matmul(x, w)]


def test_long_reductions_are_split() -> None:
    rules = split.rules(results=64, length=64, rows=32)
    image = placeholder("image", (1, H, W, 4), "f32")
    mean = ops.reduce_mean(image, (1, 2))
    (found,) = after(rules, mean)
    assert ops_in(graph(found)).count("reduce") == 2
    assert_same(graph(mean), graph(found))
    row = ops.reduce_max(placeholder("row", (2, 96, 3), "f32"), (1,))
    (found,) = after(rules, row)
    assert ops_in(graph(found)).count("reduce") == 2
    assert_same(graph(row), graph(found))
    for other in (
        ops.reduce_sum(placeholder("last", (2, 96), "f32"), (1,)),
        ops.reduce_sum(placeholder("short", (2, 60, 3), "f32"), (1,)),
        ops.reduce_sum(placeholder("many", (100, 96, 3), "f32"), (1,)),
        ops.reduce_sum(placeholder("prime", (2, 97, 3), "f32"), (1,)),
        ops.reduce(placeholder("first", (2, 96, 3), "f32"), "argmax", (1,)),
        ops.cumsum(placeholder("scan", (2, 96, 3), "f32"), 1),
    ):
        assert after(rules, other) == [other]


# ---- the pipeline --------------------------------------------------------------------------------


def test_debug_prints_hits_and_dump_sees_every_pass(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    run(graph(ops.neg(ops.neg(X))), 1, lambda name, _: seen.append(name))
    assert seen == [name for name, _ in PIPELINE]
    assert "pass simplify: twice 1" in capsys.readouterr().err
    run(graph(ops.relu(X)), 3)
    assert "out0: f32[2,6] = relu(x)" in capsys.readouterr().err


def test_wrong_rules_are_named() -> None:
    def shrinks(v: Value, uses: object) -> Value | None:
        return ops.slice_axis(v, 0, 0, 1) if v.op is ops.relu else None

    def spins(v: Value, uses: object) -> Value | None:
        if v.op is ops.add:
            return ops.sub(*v.inputs)
        return ops.add(*v.inputs) if v.op is ops.sub else None

    with pytest.raises(AssertionError, match="pass bad: shrinks: relu"):
        run(graph(ops.relu(X)), 0, pipeline=(("bad", (shrinks,)),))
    with pytest.raises(AssertionError, match="spins fires without end"):
        run(graph(ops.add(X, Y)), 0, pipeline=(("bad", (spins,)),))


def test_names_follow_their_values() -> None:
    y = nchw_conv(IMAGE, 4)
    z = ops.relu(norm(y))
    g = graph(nchw_conv(z, 4))
    g = replace(g, names={"conv": y, "relu": z, "out": g.outputs["out0"]})
    now = run(g, 0, pipeline=UNFUSED)
    assert now.names["out"] is now.outputs["out0"]
    relu = now.names["relu"]  # the imported order of axes, as a view of what is computed
    assert relu.shape == z.shape and relu.op is ops.TRANSPOSE and relu.inputs[0] in now.values()


def test_rewriting_is_linear() -> None:
    """A long model takes a number of rule calls proportional to its length."""

    def calls(layers: int) -> int:
        count = 0

        def counted(v: Value, uses: object) -> None:
            nonlocal count
            count += 1

        x = IMAGE
        for _ in range(layers):
            x = ops.add(x, ops.relu(norm(nchw_conv(x, 4, 1))))
        g = graph(x)
        for rules in (simplify.RULES, layout.SINK, affine.RULES):
            g = rewrite(g, (*rules, counted))  # type: ignore[arg-type]
        return count

    assert calls(80) < 2.2 * calls(40)


# ---- random graphs -------------------------------------------------------------------------------


def _step(draw: st.DrawFn, pool_: list[Value]) -> Value | None:
    x = draw(st.sampled_from(pool_[-4:]))
    same = [v for v in pool_ if v.shape == x.shape]
    kind = draw(
        st.sampled_from(
            [
                "conv",
                "conv",
                "norm",
                "relu",
                "add",
                "mul",
                "transpose",
                "back",
                "reduce",
                "center",
                "concat",
                "slice",
                "pad",
                "reshape",
                "merge",
                "softmax",
                "gather",
                "expand",
                "pool",
                "upsample",
                "matmul",
                "vector",
                "scan",
                "where",
            ]
        )
    )
    axis = draw(st.integers(0, x.rank - 1))
    if not isinstance(x.size, int) or x.size > 3000 or x.rank > 5:
        return ops.reduce_max(x, tuple(range(1, x.rank)))
    match kind:
        case ops.CONV if x.rank == 4:
            return nchw_conv(x, draw(st.sampled_from([2, 4])), draw(st.sampled_from([1, 3])))
        case "norm" if x.rank == 4:
            return norm(x)
        case ops.relu:
            return ops.relu(x)
        case ops.add | ops.mul:
            return (ops.add if kind == "add" else ops.mul)(x, draw(st.sampled_from(same)))
        case ops.TRANSPOSE:
            return ops.transpose(x, draw(st.permutations(range(x.rank))))
        case "back" if x.rank == 4:
            return ops.transpose(x, draw(st.sampled_from([NHWC, NCHW])))
        case ops.REDUCE:
            return ops.reduce(x, draw(st.sampled_from(["sum", "max"])), (axis,))
        case "center":
            return ops.sub(x, ops.reduce_mean(x, (axis,)))
        case ops.CONCAT:
            return ops.concat([x, draw(st.sampled_from(same))], axis)
        case ops.SLICE:
            size = x.shape[axis]
            return ops.slice_axis(x, axis, size // 3, size - size // 3)  # type: ignore[operator]
        case ops.PAD:
            one = [int(k == axis) for k in range(x.rank)]
            return ops.pad(x, one, one, draw(st.sampled_from(["constant", "edge"])))
        case ops.RESHAPE if x.shape[axis] % 2 == 0 and x.rank < 5:  # type: ignore[operator]
            return ops.reshape(x, (*x.shape[:axis], 2, x.shape[axis] // 2, *x.shape[axis + 1 :]))  # type: ignore[operator]
        case "merge" if axis + 1 < x.rank:
            return ops.reshape(
                x, (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])
            )  # type: ignore[operator]
        case "softmax":
            return ops.softmax(x, axis)
        case ops.GATHER:
            return ops.gather(x, constant(np.array([0, x.shape[axis] - 1, 0])), axis)  # type: ignore[operator]
        case ops.EXPAND:
            return ops.mul(x, ops.expand(ops.reduce_max(x, (axis,)), x.shape))
        case "pool" if x.rank == 4:
            return pool(x)
        case "upsample":
            return ops.repeat(x, 2, axis)
        case ops.MATMUL if x.rank >= 2:
            return ops.matmul(x, weights(x.shape[-1], 3))  # type: ignore[arg-type]
        case "vector":
            return ops.add(x, weights(*(d if k == axis else 1 for k, d in enumerate(x.shape))))  # type: ignore[arg-type, misc]
        case ops.SCAN:
            return ops.cumsum(x, axis)
        case ops.where:
            return ops.where(ops.less(x, 0.0), x, draw(st.sampled_from(same)))
    return None


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    values = [
        placeholder("x", (1, 4, 6, 5), "f32"),
        ops.relu(placeholder("y", (1, 4, 6, 5), "f32")),
    ]
    for _ in range(draw(st.integers(3, 12))):
        made = _step(draw, values)
        if made is not None:
            values.append(made)
    return graph(*{values[-1], draw(st.sampled_from(values))})


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_random_graphs_compute_the_same(before: Graph) -> None:
    now = run(before, 0, pipeline=UNFUSED)
    assert layout.count_transposes(now) <= layout.count_transposes(before)
    assert_same(before, now, 1e-4)
    assert_same(before, run(before, 0), 1e-4)
