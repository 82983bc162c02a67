"""Loops on the GPU against their meaning in numpy, and the program that is built of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_graph import namesakes
from tests.wgsl_machine import close, interpret, run
from webdnn.browser.engine import Page, open_page
from webdnn.codegen import TARGETS
from webdnn.codegen.loops import collapse, depthwise_loop
from webdnn.codegen.webgpu.loops import Schedule, schedule
from webdnn.codegen.webgpu.module import build, print_kernel
from webdnn.errors import WebDNNError
from webdnn.expr import (
    Dim,
    Expr,
    acc,
    cast,
    dim,
    evaluate,
    exp,
    free,
    load,
    logical_and,
    maximum,
    rsqrt,
    select,
    sqrt,
    tanh,
    var,
)  # fmt: skip
from webdnn.schedule.kernel import Buffer, Instance, Loop, Program, Slot, Stage, Step, Store
from webdnn.schedule.lower import lower


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page("chromium", mounts={"/tests/": Path(__file__).parent}, webgpu=True) as page:
        yield page


def slots(*rows: tuple[str, Dim, str]) -> tuple[Slot, ...]:
    return tuple(Slot(*row) for row in rows)


def fill(
    loop: Loop, dims: dict[str, int], seed: int, low: int = -9, high: int = 9
) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    out = []
    for slot in loop.slots:
        n = evaluate(slot.size, dims)
        kind = {"f32": np.float32, "i32": np.int32, "u32": np.uint32}[slot.dtype]
        if slot.access == "write":
            out.append(np.full(n, 77, kind))
        elif slot.dtype == "f32":
            out.append(rng.normal(size=n).astype(kind))
        else:
            out.append(rng.integers(low if slot.dtype == "i32" else 0, high, n).astype(kind))
    return out


def check(
    page: Page,
    loop: Loop,
    dims: dict[str, int] | None = None,
    seed: int = 0,
    tolerance: float = 1e-5,
    arrays: list[np.ndarray] | None = None,
) -> None:
    dims = dims or {}
    arrays = arrays or fill(loop, dims, seed)
    expected = interpret(loop, arrays, dims)
    written = [k for k, s in enumerate(loop.slots) if s.access != "read"]
    printed = print_kernel(loop)
    for text, code in {"code": printed.code, **printed.variants}.items():
        found = run(
            page,
            [Step(loop, tuple(range(len(arrays))))],
            dict(enumerate(arrays)),
            written,
            dims,
            lambda _, code=code: replace(printed, code=code),
        )
        for k in written:
            squares = np.minimum(np.abs(expected[k].astype(np.float64)), 1e6) ** 2
            scale = float(np.sqrt(np.nanmean(squares))) if expected[k].size else 0.0
            _, message = close(found[k], expected[k], tolerance, scale)
            what = f"{loop.name} ({schedule(collapse(loop))}, {text}), buffer {k}"
            assert message == "", f"{what}: {message}"


def softmax(rows: Dim, n: Dim, stride: int = 1) -> Loop:
    """Softmax over an axis of n; stride > 1 puts another axis, of that size, inside it."""
    i, c, r = var("i", rows), var("c", stride), var("r", n)
    at = (i * n + r) * stride + c
    x = load(0, at)
    m, s = acc(0, 0, "f32"), acc(1, 0, "f32")
    return Loop(
        "softmax",
        (i, c),
        (r,),
        (Stage("max", (x,)), Stage("sum", (exp(x - m),))),
        (Store(1, at, exp(x - m) / s),),
        slots(("f32", rows * n * stride, "read"), ("f32", rows * n * stride, "write")),
    )


@pytest.mark.parametrize(
    "rows, n, stride",
    [
        (3, 5, 1),
        (40, 1000, 1),
        (1, 3000, 1),
        (2, 6004, 1),
        (520, 257, 1),
        (7, 50, 24),
        (2, 700, 9),
        (3, 4097, 40),
        (900, 30, 20),
        (40000, 33, 1),
    ],
)
def test_softmax_by_every_schedule(page: Page, rows: int, n: int, stride: int) -> None:
    check(page, softmax(rows, n, stride))


def test_symbolic_sizes(page: Page) -> None:
    s = dim("s", 0, 600)
    for value in (1, 33, 600):
        check(page, softmax(4, s), {"s": value})
        check(page, softmax(s, 50), {"s": value})
    untouched = [np.zeros(8, np.float32), np.ones(8, np.float32)]
    assert (
        run(page, [Step(softmax(4, s), (0, 1))], dict(enumerate(untouched)), [1], {"s": 0})[1] == 1
    ).all()


def norm(pixels: int, channels: int) -> Loop:
    """Instance normalisation: two reductions over pixels, then the row."""
    c, p = var("c", channels), var("p", pixels)
    x = load(0, p * channels + c)
    mean = acc(0, 0, "f32") / float(pixels)
    d = x - mean
    y = d * rsqrt(acc(1, 0, "f32") / float(pixels) + 1e-5) * load(1, c) + load(2, c)
    return Loop(
        "norm",
        (c,),
        (p,),
        (Stage("sum", (x,)), Stage("sum", (d * d,))),
        (Store(3, p * channels + c, y), Store(4, c, mean)),
        slots(
            ("f32", pixels * channels, "read"),
            ("f32", channels, "read"),
            ("f32", channels, "read"),
            ("f32", pixels * channels, "write"),
            ("f32", channels, "write"),
        ),
    )


def layernorm(rows: int, n: int) -> Loop:
    """Two sums along a row that is contiguous, then the row."""
    i, r = var("i", rows), var("r", n)
    d = load(0, i * n + r) - acc(0, 0, "f32") / float(n)
    y = d * rsqrt(acc(1, 0, "f32") / float(n) + 1e-5) * load(1, r) + load(2, r)
    return Loop(
        "layernorm",
        (i,),
        (r,),
        (Stage("sum", (load(0, i * n + r),)), Stage("sum", (d * d,))),
        (Store(3, i * n + r, y),),
        slots(
            ("f32", rows * n, "read"),
            ("f32", n, "read"),
            ("f32", n, "read"),
            ("f32", rows * n, "write"),
        ),
    )


def test_layernorm(page: Page) -> None:
    for rows, n in ((5, 384), (3, 2500)):
        check(page, layernorm(rows, n))


def test_texts_for_subgroups() -> None:
    """Where a workgroup reduces one row, and beside the text for f16."""
    for loop in (softmax(3, 1000), softmax(3, dim("s", 1, 1000)), layernorm(2, 300)):
        assert set(print_kernel(loop).variants) == {"subgroups"}
        text = print_kernel(loop).variants["subgroups"]
        assert text.startswith("enable subgroups;\n")
        assert text.count("workgroupBarrier();") == 3, "one a stage, one between"
        assert "subgroup" not in print_kernel(loop).code
    for loop in (softmax(3, 30), softmax(600, 100), softmax(2, 700, 9)):
        assert print_kernel(loop).variants == {}
    weights = layernorm(2, 300)
    f16 = replace(weights.slots[1], dtype="f16")
    half = replace(weights, slots=(weights.slots[0], f16, *weights.slots[2:]))
    texts = print_kernel(half).variants
    assert set(texts) == {"shader-f16", "subgroups", "shader-f16+subgroups"}
    assert texts["shader-f16+subgroups"].startswith("enable subgroups;\nenable f16;\n")


def test_norm_in_lanes(page: Page) -> None:
    for pixels, channels in ((100, 3), (49, 256), (3000, 33), (5, 64)):
        check(page, norm(pixels, channels))


@pytest.mark.parametrize(
    "monoid",
    [
        "sum",
        "prod",
        "max",
        "min",
        "any",
        "all",
        "argmax",
        "argmin",
        "argmax_last",
        "argmin_last",
        "scan_sum",
    ],
)
@pytest.mark.parametrize("dtype", ["f32", "i32", "u32"])
def test_monoids(page: Page, monoid: str, dtype: str) -> None:
    for rows, n, inner in ((6, 9, 1), (5, 700, 1), (3, 40, 30), (2, 300, 20), (1024, 4, 20)):
        i, r, c = var("i", rows), var("r", n), var("c", inner)
        at = (i * n + r) * inner + c
        x = load(0, at, dtype)
        out, exprs, value = dtype, (x,), acc(0, 0, dtype)
        if monoid in ("any", "all"):
            exprs, out = (
                (x > 0 if monoid == "any" else (x < 5) if dtype != "f32" else x < 2.5,),
                "i32",
            )
            value = cast(acc(0, 0, "bool"), "i32")
        if monoid == "prod":
            exprs = (x * 0.125 + 1.0 if dtype == "f32" else x * (2 if dtype == "i32" else 3) + 1,)
        stores: tuple[Store, ...] = (Store(1, i * inner + c, value),)
        kinds = [(dtype, rows * n * inner, "read"), (out, rows * inner, "write")]
        if monoid.startswith("arg"):
            exprs = (x, r)
            stores += (Store(2, i * inner + c, acc(0, 1, "i32")),)
            kinds.append(("i32", rows * inner, "write"))
        if monoid == "scan_sum":
            stores, kinds[1] = (Store(1, at, value),), (out, rows * n * inner, "write")
        loop = Loop(monoid, (i, c), (r,), (Stage(monoid, exprs),), stores, slots(*kinds))
        arrays = fill(loop, {}, 3)
        if dtype == "f32" and monoid.startswith("arg"):
            arrays[0] = np.round(arrays[0])  # ties
        with np.errstate(all="ignore"):
            check(page, loop, arrays=arrays, tolerance=5e-5 if monoid == "prod" else 1e-5)


def test_nan_and_infinity_in_reductions(page: Page) -> None:
    x = np.random.default_rng(0).normal(size=(6, 300)).astype(np.float32)
    x[1, 200], x[2], x[3], x[4, 7:9] = np.nan, -np.inf, np.inf, [np.nan, np.nan]
    i, r = var("i", 6), var("r", 300)
    e = load(0, i * 300 + r)
    for monoid in ("max", "min", "argmax", "argmin", "argmax_last"):
        exprs = (e, r) if "arg" in monoid else (e,)
        value = acc(0, 1, "i32") if "arg" in monoid else acc(0, 0, "f32")
        loop = Loop(
            monoid,
            (i,),
            (r,),
            (Stage(monoid, exprs),),
            (Store(1, i, value),),
            slots(("f32", 1800, "read"), (value.dtype, 6, "write")),
        )
        check(
            page,
            loop,
            arrays=[x.ravel(), np.zeros(6, np.float32 if value.dtype == "f32" else np.int32)],
        )


def test_depthwise(page: Page) -> None:
    for B, H, W, C, stride, pad in (
        (2, 7, 9, 12, 1, 1),
        (1, 8, 8, 5, 2, 1),
        (1, 20, 20, 96, 1, 1),
        (1, 9, 9, 8, 1, 0),
    ):
        Y, X = (H + 2 * pad - 3) // stride + 1, (W + 2 * pad - 3) // stride + 1
        sizes = {"b": B, "y": Y, "x": X, "c": C, "ky": 3, "kx": 3, "iy": H, "ix": W}
        v = {name: var(name, size) for name, size in sizes.items()}
        a = load(0, ((v["b"] * H + v["iy"]) * W + v["ix"]) * C + v["c"])
        w = load(1, (v["ky"] * 3 + v["kx"]) * C + v["c"])
        at = ((v["b"] * Y + v["y"]) * X + v["x"]) * C + v["c"]
        value = maximum(acc(0, 0, "f32") + load(2, v["c"]), 0.0)
        kernel = Instance(
            "dw",
            "depthwise",
            v,
            {"a": a, "w": w},
            {"stride": (stride, stride), "dilation": (1, 1), "pad": (pad, pad)},
            (Store(3, at, value),),
            slots(
                ("f32", B * H * W * C, "read"),
                ("f32", 9 * C, "read"),
                ("f32", C, "read"),
                ("f32", B * Y * X * C, "write"),
            ),
        )
        loop = depthwise_loop(kernel)
        arrays = fill(loop, {}, 4)
        padded = np.pad(
            arrays[0].reshape(B, H, W, C).astype(np.float64),
            ((0, 0), (pad, pad), (pad, pad), (0, 0)),
        )
        y = sum(
            padded[:, j : j + Y * stride : stride, k : k + X * stride : stride][:, :Y, :X]
            * arrays[1].reshape(3, 3, C)[j, k]
            for j in range(3)
            for k in range(3)
        )
        y = np.maximum(y + arrays[2], 0)
        found = run(page, [Step(kernel, (0, 1, 2, 3))], dict(enumerate(arrays)), [3])[3]
        assert close(found, y.ravel().astype(np.float32), 1e-5, 1.0)[1] == "", str(kernel)


def test_operators_of_one_name_compute_their_own(page: Page) -> None:
    program = lower(namesakes(), TARGETS["webgpu"])
    x = np.float32([[1, -2, 0.5], [3, 0, -1]])
    (given,) = (t.buffer for t in program.inputs)
    ours, theirs = (t.buffer for t in program.outputs)
    arrays = {given: x, ours: np.zeros_like(x), theirs: np.zeros_like(x)}
    out = run(page, program.steps, arrays, [ours, theirs])
    np.testing.assert_allclose(out[ours], x * np.tanh(np.logaddexp(0, x)), rtol=1e-5)
    np.testing.assert_array_equal(out[theirs], 3 * x)


def test_movement(page: Page) -> None:
    h, w, c = var("h", 30), var("w", 20), var("c", 32)
    nhwc = (h * 20 + w) * 32 + c
    kinds = slots(("f32", 30 * 20 * 32, "read"), ("f32", 30 * 20 * 32, "write"))
    check(
        page,
        Loop(
            "transpose", (c, h, w), (), (), (Store(1, (c * 30 + h) * 20 + w, load(0, nhwc)),), kinds
        ),
    )
    check(
        page,
        Loop(
            "transpose", (h, w, c), (), (), (Store(1, nhwc, load(0, (c * 30 + h) * 20 + w)),), kinds
        ),
    )
    check(
        page,
        Loop(
            "flip",
            (h, w, c),
            (),
            (),
            (Store(1, nhwc, load(0, ((29 - h) * 20 + w) * 32 + c)),),
            kinds,
        ),
    )
    # Padding: both sides of the select are evaluated, the guard must hold the index in the buffer.
    y, x = var("y", 34), var("x", 26)
    inside = logical_and(logical_and(y >= 2, y < 32), logical_and(x >= 3, x < 23))
    pad = select(inside, load(0, ((y - 2) * 20 + x - 3) * 32 + c), 0.5)
    check(
        page,
        Loop(
            "pad",
            (y, x, c),
            (),
            (),
            (Store(1, (y * 26 + x) * 32 + c, pad),),
            slots(("f32", 30 * 20 * 32, "read"), ("f32", 34 * 26 * 32, "write")),
        ),
    )
    # Parts of a concat: aligned and not.
    for channels, at in ((32, 0), (32, 4), (32, 3), (7, 1)):
        k = var("k", channels)
        check(
            page,
            Loop(
                "concat",
                (h, w, k),
                (),
                (),
                (Store(1, (h * 20 + w) * 48 + at + k, load(0, (h * 20 + w) * channels + k)),),
                slots(("f32", 600 * channels, "read"), ("f32", 600 * 48, "write")),
            ),
        )
    # A gather with wild indices reads something, and nothing breaks.
    i, j = var("i", 300), var("j", 64)
    index = load(0, i, "i32")
    arrays = [
        np.random.default_rng(0).integers(0, 50, 300).astype(np.int32),
        np.random.default_rng(0).normal(size=3200).astype(np.float32),
        np.zeros(19200, np.float32),
    ]
    loop = Loop(
        "gather",
        (i, j),
        (),
        (),
        (Store(2, i * 64 + j, load(1, index * 64 + j)),),
        slots(("i32", 300, "read"), ("f32", 3200, "read"), ("f32", 19200, "write")),
    )
    check(page, loop, arrays=arrays)
    arrays[0][::3] = -(2**31)
    run(page, [Step(loop, (0, 1, 2))], dict(enumerate(arrays)), [2])


def test_a_grid_beyond_one_axis(page: Page) -> None:
    n = 65535 * 64 + 70
    i = var("i", n)
    check(
        page,
        Loop(
            "inc",
            (i,),
            (),
            (),
            (Store(1, i, load(0, i, "i32") + 1),),
            slots(("i32", n, "read"), ("i32", n, "write")),
        ),
    )
    n = 70000
    i, r = var("i", n), var("r", 40)
    check(
        page,
        Loop(
            "sum",
            (i,),
            (r,),
            (Stage("sum", (load(0, i * 40 + r, "i32"),)),),
            (Store(1, i, acc(0, 0, "i32")),),
            slots(("i32", n * 40, "read"), ("i32", n, "write")),
        ),
    )


def test_several_stores_and_in_place(page: Page) -> None:
    for n in (16384, 100):
        i = var("i", n)
        x, y = load(0, i), load(1, i)
        check(
            page,
            Loop(
                "swap",
                (i,),
                (),
                (),
                (Store(0, i, y), Store(1, i, x), Store(2, i, cast(x > y, "i32"))),
                slots(("f32", n, "readwrite"), ("f32", n, "readwrite"), ("i32", n, "write")),
            ),
        )
        check(
            page,
            Loop(
                "bool",
                (i,),
                (),
                (),
                (Store(0, i, logical_and(load(0, i, "bool"), load(1, i) > 0.0)),),
                slots(("i32", n, "readwrite"), ("f32", n, "read")),
            ),
        )


@pytest.mark.parametrize("seed", range(20))
def test_random_loops(page: Page, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    shape = [int(rng.choice([1, 2, 3, 4, 8, 12])) for _ in range(rng.integers(1, 4))]
    deep = [int(rng.choice([1, 3, 4, 20])) for _ in range(rng.integers(0, 3))]
    if rng.random() < 0.3:
        shape[-1] *= 4096 // int(np.prod(shape)) * 4
    axes = [var(f"i{k}", n) for k, n in enumerate(shape)]
    reduce = [var(f"r{k}", n) for k, n in enumerate(deep)]
    every = [*axes, *reduce]
    kinds: list[tuple[str, Dim, str]] = []

    def source(dtype: str) -> Expr:
        """A load whose strides are those of a random order of a random part of the axes."""
        chosen = [v for v in every if rng.random() < 0.8]
        order = list(rng.permutation(len(chosen))) if rng.random() < 0.4 else range(len(chosen))
        index: Any = 0
        for k in order:
            index = index * chosen[k].args[1] + chosen[k]
        size = int(np.prod([chosen[k].args[1] for k in order] or [1]))
        kinds.append((dtype, size, "read"))
        return load(len(kinds) - 1, index, dtype)

    def value(depth: int) -> Expr:
        kind = rng.integers(0, 7) if depth else 0
        if kind == 0:
            return source("f32")
        if kind == 1:
            return value(depth - 1) * value(depth - 1)
        if kind == 2:
            return tanh(value(depth - 1))
        if kind == 3:
            return select(cast(source("i32"), "f32") > value(depth - 1), value(depth - 1), 0.25)
        if kind == 4:
            return maximum(value(depth - 1), value(depth - 1) - 1.0)
        if kind == 5:
            return cast(every[int(rng.integers(len(every)))] * 3 % 7, "f32") * 0.1 + value(
                depth - 1
            )
        return sqrt(value(depth - 1) * 0.0 + 2.0)

    x = value(2)
    stages: tuple[Stage, ...] = ()
    if reduce:
        stages = (Stage("max", (x,)), Stage("sum", (exp(x - acc(0, 0, "f32")),)))
        x = acc(1, 0, "f32") + acc(0, 0, "f32")
        if rng.random() < 0.5:
            x = x + source("f32")
    row = bool(set(reduce) & free(x))
    over = every if row else axes
    index: Any = 0
    for v in over:
        index = index * v.args[1] + v
    kinds.append(("f32", int(np.prod([v.args[1] for v in over])), "write"))
    if len(kinds) > 8:
        pytest.skip("more buffers than a kernel may have")
    check(
        page,
        Loop(
            "random",
            tuple(axes),
            tuple(reduce),
            stages,
            (Store(len(kinds) - 1, index, x),),
            slots(*kinds),
        ),
        seed=seed,
    )


def test_too_many_buffers_name_the_kernel() -> None:
    i = var("i", 4)
    value = sum((load(k, i) for k in range(1, 8)), load(0, i))
    kinds = [("f32", 4, "read")] * 8 + [("f32", 4, "write")]
    loop = Loop("many", (i,), (), (), (Store(8, i, value),), slots(*kinds))
    with pytest.raises(WebDNNError, match="kernel many: 9 buffers"):
        print_kernel(loop)


def test_build_merges_equal_kernels() -> None:
    def relu(n: int, name: str) -> Loop:
        i = var(name, n)
        return Loop(
            "relu",
            (i,),
            (),
            (),
            (Store(1, i, maximum(load(0, i), 0.0)),),
            slots(("f32", n, "read"), ("f32", n, "write")),
        )

    h = dim("h", 1, 100)
    i = var("i", h * 64)
    grow = Loop(
        "grow",
        (i,),
        (),
        (),
        (Store(1, i, load(0, i) + 1.0),),
        slots(("f32", h * 64, "read"), ("f32", h * 64, "write")),
        "Add_3",
    )
    buffers = [Buffer(k, "temp", "f32", 40000) for k in range(3)]
    program = Program(
        (h,),
        [],
        [],
        buffers,
        [Step(relu(20000, "i"), (0, 1)), Step(relu(40000, "j"), (1, 2)), Step(grow, (2, 0))],
    )
    built = build(program, {k: {"b": k} for k in range(3)})
    assert len(built["kernels"]) == 2 and [s["kernel"] for s in built["steps"]] == [0, 0, 1]
    assert built["steps"][1]["params"] == [10000] and built["steps"][1]["grid"] == [157, 1, 1]
    assert built["steps"][1]["bindings"] == [{"b": 1}, {"b": 2}]
    assert built["kernels"][1]["code"].startswith("// grow__64 Add_3\n")
    assert "h" in str(built["steps"][2]["params"])


def test_schedules_are_chosen_by_shape() -> None:
    fours = {"rows": True, "fours": True}
    assert schedule(collapse(softmax(40, 1000))) == Schedule(1, 256, False, **fours, kept=1)
    assert schedule(collapse(softmax(4000, 1000))) == Schedule(1, 64, False, **fours, kept=4)
    assert schedule(collapse(softmax(40, 5000))) == Schedule(1, 256, False, **fours)
    assert schedule(collapse(softmax(4000, 250))) == Schedule(1, 64, False, rows=True, kept=4)
    assert schedule(collapse(softmax(3, 4097, 40))).threads > 1
    assert not schedule(collapse(softmax(3, 4097, 40))).rows
