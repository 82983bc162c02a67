"""The templates of products, convolutions in every tile, and of attention, in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.wgsl_machine import close, quick_engine, run, validate
from webdnn import graph, ops, passes
from webdnn.browser.engine import Page, open_page
from webdnn.codegen.webgpu import TARGET, dialect, gemm
from webdnn.codegen.webgpu.gemm import TILES, Tile, print_gemm
from webdnn.codegen.webgpu.module import print_kernel
from webdnn.expr import Dim, Expr, acc, cast, dim, erf, evaluate, load, maximum, var
from webdnn.graph import Graph, constant, placeholder
from webdnn.schedule import readers
from webdnn.schedule.kernel import Instance, Program, Slot, Step, Store
from webdnn.schedule.lower import lower


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page(quick_engine(), mounts={"/tests/": Path(__file__).parent}, webgpu=True) as page:
        yield page


def panels(b: np.ndarray) -> np.ndarray:
    """[K, N] as [ceil(N / 8)][K][8]."""
    k, n = b.shape
    padded = np.zeros((k, -(-n // 8) * 8), np.float32)
    padded[:, :n] = b
    return padded.reshape(k, -1, 8).transpose(1, 0, 2).copy()


def size(x: Dim, dims: dict[str, int]) -> int:
    return evaluate(x, dims)


def matmul(
    m: Dim,
    n: Dim,
    k: Dim,
    batch: tuple[int, ...] = (),
    residual: bool = False,
    transposed: bool = False,
    dtype: str = "f32",
    scaled: bool = False,
) -> Instance:
    """C = gelu(A x B + bias) (+ residual), or C stored as [n, m]."""
    vm, vn, vk = var("m", m), var("n", n), var("k", k)
    bs = [var(f"b{i}", s) for i, s in enumerate(batch)]
    flat: Any = 0
    for b in bs:
        flat = flat * b.args[1] + b
    groups = (n + 7) // 8
    a = load(0, flat * m * k + vm * k + vk)
    base = flat * groups * k * 8
    b = load(1, base + (vn // 8) * (k * 8) + vk * 8 + vn % 8)
    if scaled:  # B is computed from what is stored
        b = b * load(2, vn) + cast(vk // 4, "f32")
    total = 1
    for s in batch:
        total *= s
    x: Expr = acc(0, 0, "f32") + load(2, vn)
    x = x * 0.5 * (erf(x * 0.7071067811865476) + 1.0)
    at = flat * m * n + (vn * m + vm if transposed else vm * n + vn)
    if residual:
        x = maximum(x + load(3, at), 0.0)
    slots = [
        Slot(dtype, m * k * total, "read"),
        Slot(dtype, groups * 8 * k * total, "read"),
        Slot("f32", n, "read"),
    ]
    slots += [Slot("f32", m * n * total, "read")] if residual else []
    slots.append(Slot("f32", m * n * total, "write"))
    variables = {f"b{i}": b for i, b in enumerate(bs)} | {"m": vm, "n": vn, "k": vk}
    return Instance(
        "mm",
        "matmul",
        variables,
        {"a": a, "b": b},
        {},
        (Store(len(slots) - 1, at, x),),
        tuple(slots),
        sums=("k",),
    )


def gelu(x: np.ndarray) -> np.ndarray:
    from math import erf as scalar

    return 0.5 * x * (1 + np.vectorize(scalar)(x / np.sqrt(2)))


def check_matmul(
    page: Page,
    m: Dim,
    n: Dim,
    k: Dim,
    tile: Tile | None = None,
    dims: dict[str, int] | None = None,
    batch: tuple[int, ...] = (),
    residual: bool = False,
    transposed: bool = False,
    scaled: bool = False,
) -> None:
    dims = dims or {}
    kernel = matmul(m, n, k, batch, residual, transposed, scaled=scaled)
    M, N, K = size(m, dims), size(n, dims), size(k, dims)
    Z = int(np.prod(batch))
    rng = np.random.default_rng(1)
    a, b = (
        rng.normal(size=(Z, M, K)).astype(np.float32),
        rng.normal(size=(Z, K, N)).astype(np.float32),
    )
    bias, extra = (
        rng.normal(size=N).astype(np.float32),
        rng.normal(size=(Z, M, N)).astype(np.float32),
    )
    used = b * bias + (np.arange(K) // 4)[:, None] if scaled else b
    y = gelu(a.astype(np.float64) @ used + bias)
    if transposed:
        y = y.transpose(0, 2, 1)
    if residual:
        y = np.maximum(y + extra.reshape(y.shape), 0)
    inputs = [
        a,
        np.stack([panels(x) for x in b]),
        bias,
        *([extra] if residual else []),
        np.zeros(y.shape, np.float32),
    ]
    arrays = dict(enumerate(inputs))
    out = len(arrays) - 1
    found = run(
        page,
        [Step(kernel, tuple(range(out + 1)))],
        arrays,
        [out],
        dims,
        printer=lambda kernel: print_gemm(kernel, tile),
    )[out]
    _, message = close(found, y.astype(np.float32), 1e-5, scale=float(np.sqrt(K)))
    assert message == "", f"{m}x{n}x{k} by {tile}: {message}"


SHAPES = [(1, 8, 4), (5, 3, 7), (33, 20, 36), (130, 70, 50), (2, 1001, 96), (49, 24, 1152)]


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile(page: Page, tile: Tile) -> None:
    for m, n, k in SHAPES:
        check_matmul(page, m, n, k, tile)


def test_every_tile_is_valid_for_tint() -> None:
    instance, _, _ = conv(1, 9, 9, 16, 3, (9, 9), (1, 1), (1, 1), (4, 4, 4, 4), 1)
    with open_page("chromium", mounts={"/tests/": Path(__file__).parent}, webgpu=True) as page:
        validate(
            page,
            [
                print_gemm(k, tile).code
                for tile in TILES
                for k in (matmul(33, 20, 36), matmul(5, 3, 7), instance)
            ],
        )


def test_epilogues_batches_and_symbolic_sizes(page: Page) -> None:
    check_matmul(page, 40, 36, 16, residual=True)
    check_matmul(page, 40, 36, 16, transposed=True)
    check_matmul(page, 40, 35, 18, residual=True, transposed=True)
    check_matmul(page, 9, 16, 8, batch=(3, 2), residual=True)
    check_matmul(page, 9, 13, 8, batch=(5,))
    s = dim("s", 1, 64)
    for value in (1, 17, 64):
        check_matmul(page, s, 24, 32, dims={"s": value}, batch=(2,), residual=True)
        check_matmul(page, 12, 24, s, dims={"s": value})
    check_matmul(page, 12, s * 4, 20, dims={"s": 7}, residual=True)


def test_more_workgroups_than_an_axis_has(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid is folded: as for a million columns, then at a limit that is quick to pass."""
    assert max(print_gemm(matmul(1, 2**20, 2)).grid) <= dialect.LIMITS.groups
    few = replace(dialect.LIMITS, groups=3)
    monkeypatch.setattr(dialect, "LIMITS", few)
    monkeypatch.setattr(gemm, "LIMITS", few)
    for tile in (TILES[0], next(t for t in TILES if t.template == "gemm_register"), TILES[-1]):
        check_matmul(page, 5, 600, 12, tile, residual=True)
        check_matmul(page, 300, 20, 12, tile)
        check_matmul(page, 9, 13, 8, tile, batch=(2, 5))
        s = dim("s", 1, 900)
        for value in (1, 700):
            check_matmul(page, s, 24, 8, tile, dims={"s": value}, batch=(2,))


def test_a_second_operand_that_is_computed(page: Page) -> None:
    for tile in (TILES[0], next(t for t in TILES if t.template == "gemm_register"), TILES[-1]):
        check_matmul(page, 33, 20, 36, tile, scaled=True)
        check_matmul(page, 5, 13, 7, tile, batch=(2,), scaled=True)
        check_conv(page, 1, 9, 11, 5, 6, groups=2, tile=tile, scaled=True)
    check_conv(page, 2, 6, 7, 16, 24, (1, 1), pad=(0, 0, 0, 0), scaled=True)  # a matmul


@pytest.mark.parametrize("slices", [2, 5])
def test_depth_cut_into_slices(page: Page, slices: int) -> None:
    """Partial sums and the kernel that adds them up, with an epilogue after them."""
    target = replace(TARGET, slices=lambda kernel: slices)
    rng = np.random.default_rng(3)
    for m, n, k, batch in ((33, 20, 100, 1), (9, 13, 70, 3)):
        a = rng.normal(size=(batch, m, k)).astype(np.float32)
        b = rng.normal(size=(batch, k, n)).astype(np.float32)
        bias = rng.normal(size=(n,)).astype(np.float32)
        x, w = placeholder("a", a.shape, "f32"), placeholder("b", b.shape, "f32")
        y = ops.relu(ops.add(ops.matmul(x, w), constant(bias)))
        program = lower(passes.run(Graph((x, w), {"y": y})), target)
        sliced = [s.kernel for s in program.steps if isinstance(s.kernel, Instance)]
        assert [kernel.slices for kernel in sliced] == [slices]
        found = run_program(page, program, {"a": a, "b": b})
        expected = np.maximum(a.astype(np.float64) @ b + bias, 0).astype(np.float32)
        assert close(found, expected, 1e-5, scale=float(np.sqrt(k)))[1] == ""


def test_convolutions_in_slices(page: Page) -> None:
    """Strided, dilated, padded, and in groups; a residual is added after the slices' sums."""
    target = replace(TARGET, slices=lambda kernel: 3)
    rng = np.random.default_rng(4)
    for channels, n, groups, stride, dilation in ((20, 12, 1, 2, 1), (16, 24, 2, 1, 2)):
        a = rng.normal(size=(2, 9, 11, channels)).astype(np.float32)
        w = rng.normal(size=(3, 3, channels // groups, n)).astype(np.float32)
        x, options = placeholder("a", a.shape, "f32"), {"stride": (stride,) * 2, "groups": groups}
        y = ops.conv(x, constant(w), pads=(2, 1, 1, 2), dilation=(dilation,) * 2, **options)
        rest = rng.normal(size=y.shape).astype(np.float32)
        y = ops.relu(ops.add(y, placeholder("rest", y.shape, "f32")))
        program = lower(passes.run(Graph((x, y.inputs[0].inputs[1]), {"y": y})), target)
        sliced = [s.kernel for s in program.steps if isinstance(s.kernel, Instance)]
        assert [kernel.slices for kernel in sliced] == [3]
        found = run_program(page, program, {"a": a, "rest": rest})
        padded = np.pad(a, ((0, 0), (2, 1), (1, 2), (0, 0)))
        expected = torch.nn.functional.conv2d(
            torch.tensor(padded, dtype=torch.float64).permute(0, 3, 1, 2),
            torch.tensor(w, dtype=torch.float64).permute(3, 2, 0, 1),
            dilation=dilation,
            **options,
        ).permute(0, 2, 3, 1)
        scale = float(np.sqrt(9 * channels / groups))
        assert close(found, np.maximum(expected.numpy() + rest, 0), 1e-5, scale=scale)[1] == ""


def test_sums_of_slices_are_added_in_a_norm(page: Page) -> None:
    """Where a norm alone reads what a product gives, two kernels do instead of three."""
    target = replace(TARGET, slices=lambda kernel: 3)
    rng = np.random.default_rng(6)
    a, rest = (rng.normal(size=(1, 11, n)).astype(np.float32) for n in (100, 260))
    w, bias, gain = (rng.normal(size=n).astype(np.float32) for n in ((100, 260), 260, 260))
    y = ops.matmul(placeholder("a", a.shape, "f32"), constant(w))
    y = ops.add(ops.add(y, constant(bias)), placeholder("rest", rest.shape, "f32"))
    y = ops.mul(ops.normalize(y, [2], 1e-5), constant(gain))
    inputs = [i for i in Graph((), {"y": y}).values() if i.node.op.kind == "input"]
    program = lower(passes.run(Graph(tuple(inputs), {"y": y})), target)
    assert len(program.steps) == 2
    found = run_program(page, program, {"a": a, "rest": rest})
    a_, rest_, w_, bias_, gain_ = (
        torch.tensor(x, dtype=torch.float64) for x in (a, rest, w, bias, gain)
    )
    expected = torch.nn.functional.layer_norm(a_ @ w_ + bias_ + rest_, (260,), gain_)
    assert close(found, expected.numpy(), 1e-5, scale=1.0)[1] == ""


@pytest.mark.parametrize("k, n", [(300, 20), (1030, 13), (5000, 8)])
def test_a_row_is_normalised_where_it_is_read(page: Page, k: int, n: int) -> None:
    """A norm of one row, and a softmax of that, are computed by the product that reads it, which
    is one launch; a longer table of columns has it stored."""
    rng = np.random.default_rng(9)
    x, w = (rng.normal(size=size).astype(np.float32) for size in ((1, 1, k), (k, n)))
    given = placeholder("x", x.shape, "f32")
    norm = ops.normalize(given, [2], 1e-5)

    def lowered(y: graph.Value) -> Program:
        return lower(passes.run(Graph((given,), {"y": y})), TARGET)

    x_, w_ = (torch.tensor(a, dtype=torch.float64) for a in (x, w))
    norm_ = torch.nn.functional.layer_norm(x_, (k,))
    for row, row_, scale in (
        (norm, norm_, k**0.5),
        (ops.softmax(norm, -1), torch.softmax(norm_, -1), k**-0.5),
    ):
        program = lowered(ops.relu(ops.matmul(row, constant(w))))
        assert len(program.steps) == 1
        found = run_program(page, program, {"x": x})
        assert close(found, torch.relu(row_ @ w_).numpy(), 1e-5, scale=scale)[1] == ""
    if k == 300:
        wide = np.zeros((k, readers.COLUMNS + 8), np.float32)
        assert len(lowered(ops.matmul(norm, constant(wide))).steps) == 2


def test_winograd(page: Page) -> None:
    """Filters that are transformed once; tiles that hang over the edge; one output, and a residual.
    Only what adds multiples of four to its pixels stores without asking where it is."""
    target = replace(TARGET, winograd=lambda *sizes: True)
    rng = np.random.default_rng(8)
    cases = (
        (2, 9, 14, 20, 27, (0, 1, 2, 0)),
        (1, 8, 12, 64, 64, (1, 1, 1, 1)),
        (1, 3, 3, 4, 1, (2, 2, 2, 2)),
        (1, 17, 30, 132, 8, (1, 1, 1, 1)),
    )
    for batch, height, width, channels, n, pads in cases:
        a = rng.normal(size=(batch, height, width, channels)).astype(np.float32)
        w = rng.normal(size=(3, 3, channels, n)).astype(np.float32)
        x = placeholder("a", a.shape, "f32")
        y = ops.winograd(ops.pack_conv(x, constant(w), (1, 1), pads, (1, 1), 1))
        rest = rng.normal(size=y.shape).astype(np.float32)
        inputs = (x, placeholder("rest", y.shape, "f32"))
        program = lower(Graph(inputs, {"y": ops.relu(ops.add(y, inputs[1]))}), target)
        kernels = [s.kernel.template for s in program.steps if isinstance(s.kernel, Instance)]
        assert kernels == ["winograd_input", "matmul", "winograd_output"]
        assert len(program.prepare) == 1
        found = run_program(page, program, {"a": a, "rest": rest})
        top, left, bottom, right = pads
        padded = np.pad(a, ((0, 0), (top, bottom), (left, right), (0, 0)))
        expected = torch.nn.functional.conv2d(
            torch.tensor(padded, dtype=torch.float64).permute(0, 3, 1, 2),
            torch.tensor(w, dtype=torch.float64).permute(3, 2, 0, 1),
        ).permute(0, 2, 3, 1)
        scale = float(np.sqrt(9 * channels))
        assert close(found, np.maximum(expected.numpy() + rest, 0), 1e-5, scale=scale)[1] == ""


def test_winograd_is_chosen_where_it_is_faster() -> None:
    """Wide pictures of many channels; not small ones, nor few channels, nor what is too much to
    bind: 36 values of each tile."""

    def launches(side: int, channels: int, n: int) -> int:
        x = placeholder("x", (1, side, side, channels), "f32")
        w = constant(np.zeros((3, 3, channels, n), np.float32))
        y = ops.winograd(ops.pack_conv(x, w, (1, 1), (1, 1, 1, 1), (1, 1), 1))
        steps = lower(Graph((x,), {"y": y}), TARGET).steps
        return sum(s.kernel.name.startswith("winograd") for s in steps)

    assert launches(128, 128, 128) == launches(32, 256, 512) == 2
    assert launches(14, 256, 256) == launches(256, 32, 32) == launches(1024, 128, 128) == 0


@pytest.mark.parametrize("axis, sizes", [(2, (7, 1, 4)), (3, (5, 6)), (3, (8, 12)), (0, (40, 33))])
def test_parts_are_joined_by_one_launch(page: Page, axis: int, sizes: tuple[int, ...]) -> None:
    """Inputs that lie side by side in the result; a view of one, with its axes in another order."""
    rng = np.random.default_rng(7)
    shape, given, parts = [3, 5, 12, 16], {}, []
    for k, n in enumerate(sizes):
        shape[axis] = n
        given[f"x{k}"] = rng.normal(size=shape).astype(np.float32)
        parts.append(placeholder(f"x{k}", tuple(shape), "f32"))
    given["x1"] = np.ascontiguousarray(given["x1"].transpose(0, 2, 1, 3))
    inputs = [*parts]
    inputs[1] = placeholder("x1", given["x1"].shape, "f32")
    parts[1] = ops.transpose(inputs[1], (0, 2, 1, 3))
    program = lower(passes.run(Graph(tuple(inputs), {"y": ops.concat(parts, axis)})), TARGET)
    assert len(program.steps) == 1
    joined = {**given, "x1": given["x1"].transpose(0, 2, 1, 3)}
    expected = np.concatenate([joined[f"x{k}"] for k in range(len(sizes))], axis)
    assert np.array_equal(run_program(page, program, given), expected)


def run_program(page: Page, program: Program, given: dict[str, np.ndarray]) -> np.ndarray:
    """The first output of a program for these inputs."""
    return run_outputs(page, program, given)[0]


def run_outputs(page: Page, program: Program, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a program for these inputs."""
    arrays: dict[int, np.ndarray] = {}
    for buffer in program.buffers:
        if buffer.kind == "weight":
            arrays[buffer.id] = graph.evaluate(program.weights[buffer.id])
        elif buffer.kind == "input":
            arrays[buffer.id] = given[buffer.name]
        else:
            arrays[buffer.id] = np.zeros(size(buffer.size, {}), np.float32)
    steps = [*program.prepare, *program.steps]
    found = run(page, steps, arrays, [output.buffer for output in program.outputs])
    return [
        found[output.buffer].reshape([size(d, {}) for d in output.shape])
        for output in program.outputs
    ]


@pytest.mark.parametrize(
    "batch, heads, shared, m, t, depth, width, layout",
    [
        (1, 3, 3, 40, 150, 16, 16, "tdm"),
        (2, 4, 2, 70, 64, 24, 40, "tm"),
        (1, 1, 1, 17, 65, 128, 128, ""),
        (1, 4, 2, 1, 1100, 64, 64, "tm"),
        (2, 2, 2, 3, 300, 20, 128, "d"),
        (1, 1, 1, 9, 40, 12, 8, "cm"),
    ],
)
def test_attention(
    page: Page,
    batch: int,
    heads: int,
    shared: int,
    m: int,
    t: int,
    depth: int,
    width: int,
    layout: str,
) -> None:
    """Against PyTorch's. `shared`: heads of k and v; layout: t, heads after the positions; d, k has
    its positions side by side; m, a mask that hides some keys of each query, c, all later ones."""
    rng = np.random.default_rng(5)
    q, k, v = (
        rng.normal(size=(batch, h, *shape)).astype(np.float32) * 2
        for h, shape in ((heads, (m, depth)), (shared, (t, depth)), (shared, (t, width)))
    )
    mask = np.where(rng.random((batch, 1, m, t)) < 0.4, -np.inf, rng.normal(size=(batch, 1, m, t)))
    if "c" in layout:
        mask = np.broadcast_to(np.where(np.tri(m, t, t - m), 0.0, -np.inf), mask.shape)
    mask = mask.astype(np.float32)
    given: dict[str, np.ndarray] = {}

    def value(name: str, x: np.ndarray, order: tuple[int, ...]) -> Any:
        """The value whose elements are x's, of an input with its axes in another order."""
        given[name] = np.ascontiguousarray(x.transpose(order))
        back = [order.index(axis) for axis in range(4)]
        return ops.transpose(placeholder(name, given[name].shape, "f32"), back)

    apart = (0, 2, 1, 3) if "t" in layout else (0, 1, 2, 3)
    across = (0, 1, 3, 2) if "d" in layout else apart
    vq, vk, vv = value("q", q, apart), value("k", k, across), value("v", v, apart)
    if shared < heads:
        vk, vv = (
            ops.reshape(
                ops.expand(
                    ops.reshape(x, (batch, shared, 1, *x.shape[2:])),
                    (batch, shared, heads // shared, *x.shape[2:]),
                ),
                (batch, heads, *x.shape[2:]),
            )
            for x in (vk, vv)
        )
    x = ops.mul(ops.matmul(vq, ops.transpose(vk, (0, 1, 3, 2))), float(depth**-0.5))
    if masked := "m" in layout:
        x = ops.add(value("mask", mask, (0, 1, 2, 3)), x)
    y = ops.transpose(ops.matmul(ops.softmax(x, -1), vv), (0, 2, 1, 3))
    inputs = [i for i in Graph((), {"y": y}).values() if i.node.op.kind == "input"]
    program = lower(passes.run(Graph(tuple(inputs), {"y": y})), TARGET)
    assert [s.kernel.template for s in program.steps if isinstance(s.kernel, Instance)] == [
        "attention"
    ]
    found = run_program(page, program, given)
    each = heads // shared
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(a, dtype=torch.float64) for a in (q, *(x.repeat(each, 1) for x in (k, v)))),
        attn_mask=torch.tensor(mask, dtype=torch.float64) if masked else None,
    ).permute(0, 2, 1, 3)
    assert close(found, expected.numpy(), 1e-5, scale=2.0)[1] == ""


@pytest.mark.parametrize(
    "heads, shared, past, depth, apart, launches",
    [
        (3, 3, 259, 16, False, ["attention", "matmul"]),
        (3, 3, 299, 20, True, ["concat", "attention", "matmul"]),
        (4, 2, 299, 16, False, ["concat", "concat", "attention", "matmul"]),
        (2, 2, 99, 12, False, ["attention", "matmul"]),
    ],
)
def test_one_query_and_its_cache(
    page: Page, heads: int, shared: int, past: int, depth: int, apart: bool, launches: list[str]
) -> None:
    """Attention of one query stores the cache with the new row as it reads both; slices of the keys
    are added up by the product that reads them. Keys of a whole slice are hidden. `apart`: of
    queries, keys and values in buffers of their own, which are too many."""
    rng = np.random.default_rng(8)
    width, n = heads * depth, 44
    counts = {"q": heads, "k": shared, "v": shared}
    rows = {f"past_{x}": rng.normal(size=(1, shared, past, depth)) for x in "kv"}
    rows |= {x: rng.normal(size=(1, 1, count, depth)) for x, count in counts.items()}
    rows["new"] = np.concatenate([rows[x] for x in "qkv"], 2)
    rows = {name: x.astype(np.float32) for name, x in rows.items()}
    values, at = {}, 0
    new = placeholder("new", rows["new"].shape, "f32")
    for x, count in counts.items():
        part = ops.slice_(new, [0, 0, at, 0], [1, 1, count, depth])
        part = placeholder(x, rows[x].shape, "f32") if apart else part
        values[x], at = ops.transpose(part, (0, 2, 1, 3)), at + count
    values |= {f"past_{x}": placeholder(f"past_{x}", (1, shared, past, depth), "f32") for x in "kv"}
    rows["mask"] = rng.normal(size=(1, 1, 1, past + 1)).astype(np.float32)
    rows["mask"][..., :80] = -np.inf
    rows["rest"] = rng.normal(size=(1, 1, n)).astype(np.float32)
    mask, rest = (placeholder(name, rows[name].shape, "f32") for name in ("mask", "rest"))
    w = rng.normal(size=(width, n)).astype(np.float32)
    both = {name: ops.concat([values[f"past_{name}"], values[name]], 2) for name in "kv"}
    each = (1, shared, heads // shared, past + 1, depth)
    k, v = both["k"], both["v"]
    if shared < heads:
        k, v = (
            ops.reshape(
                ops.expand(ops.reshape(x, (1, shared, 1, past + 1, depth)), each),
                (1, heads, past + 1, depth),
            )
            for x in (k, v)
        )
    scores = ops.mul(ops.matmul(values["q"], ops.transpose(k, (0, 1, 3, 2))), depth**-0.5)
    y = ops.matmul(ops.softmax(ops.add(scores, mask), -1), v)
    y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (1, 1, width))
    outputs = {"y": ops.add(ops.matmul(y, constant(w)), rest), **both}
    inputs = [i for i in Graph((), outputs).values() if i.node.op.kind == "input"]
    program = lower(passes.run(Graph(tuple(inputs), outputs)), TARGET)
    names = [s.kernel.name.removesuffix("_add") for s in program.steps]
    assert names == launches
    found, *cache = run_outputs(page, program, rows)
    for name, kept in zip("kv", cache, strict=True):
        new = rows[name].transpose(0, 2, 1, 3)
        rows[name] = np.concatenate([rows[f"past_{name}"], new], 2)
        assert np.array_equal(kept, rows[name])
    q_, k_, v_, mask_, w_, rest_ = (
        torch.tensor(a, dtype=torch.float64)
        for a in (
            rows["q"].transpose(0, 2, 1, 3),
            *(rows[name].repeat(heads // shared, 1) for name in "kv"),
            rows["mask"],
            w,
            rows["rest"],
        )
    )
    expected = torch.nn.functional.scaled_dot_product_attention(q_, k_, v_, attn_mask=mask_)
    expected = expected.permute(0, 2, 1, 3).reshape(1, 1, width) @ w_ + rest_
    assert close(found, expected.numpy(), 1e-5, scale=4.0)[1] == ""


def test_a_kernel_is_one_text_for_all_sizes() -> None:
    assert print_kernel(matmul(64, 64, 64)).code != print_kernel(matmul(1, 64, 64)).code
    a, b = print_kernel(matmul(6400, 1280, 512)), print_kernel(matmul(5120, 1280, 768))
    assert a.code == b.code and a.params != b.params


def conv(
    B: Dim,
    H: Dim,
    W: Dim,
    C: int,
    N: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad: tuple[int, int, int, int],
    groups: int,
    scaled: bool = False,
) -> tuple[Instance, Dim, Dim]:
    (KY, KX), (sy, sx), (dy, dx), (top, left, bottom, right) = kernel, stride, dilation, pad
    Y = (H + top + bottom - dy * (KY - 1) - 1) // sy + 1
    X = (W + left + right - dx * (KX - 1) - 1) // sx + 1
    b, y, x, g, n = var("b", B), var("y", Y), var("x", X), var("g", groups), var("n", N)
    ky, kx, c, iy, ix = var("ky", KY), var("kx", KX), var("c", C), var("iy", H), var("ix", W)
    K = KY * KX * C
    a = load(0, ((b * H + iy) * W + ix) * (groups * C) + g * C + c)
    base = g * (-(-N // 8) * K * 8)
    w = load(1, base + (n // 8) * (K * 8) + ((ky * KX + kx) * C + c) * 8 + n % 8)
    if scaled:
        w = w * load(2, g * N + n) + cast(kx + c, "f32")
    at = ((b * Y + y) * X + x) * (groups * N) + g * N + n
    value = maximum(acc(0, 0, "f32") + load(2, g * N + n), 0.0)
    slots = (
        Slot("f32", B * H * W * groups * C, "read"),
        Slot("f32", groups * -(-N // 8) * K * 8, "read"),
        Slot("f32", groups * N, "read"),
        Slot("f32", B * Y * X * groups * N, "write"),
    )
    variables = {v.args[0]: v for v in (b, y, x, g, n, ky, kx, c, iy, ix)}
    attrs = {
        "stride": stride,
        "dilation": dilation,
        "pad": (top, left),
        "groups": groups,
    }
    stores = (Store(3, at, value),)
    holes = {"a": a, "b": w}
    sums = ("ky", "kx", "c")
    return Instance("conv", "conv", variables, holes, attrs, stores, slots, sums=sums), Y, X


def check_conv(
    page: Page,
    B: int,
    H: Dim,
    W: Dim,
    C: int,
    N: int,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pad: tuple[int, int, int, int] = (1, 1, 1, 1),
    groups: int = 1,
    tile: Tile | None = None,
    dims: dict[str, int] | None = None,
    scaled: bool = False,
) -> None:
    dims = dims or {}
    instance, Y, X = conv(B, H, W, C, N, kernel, stride, dilation, pad, groups, scaled)
    h, w, oh, ow = (size(s, dims) for s in (H, W, Y, X))
    rng = np.random.default_rng(2)
    x = rng.normal(size=(B, h, w, groups * C)).astype(np.float32)
    f = rng.normal(size=(groups, *kernel, C, N)).astype(np.float32)
    bias = rng.normal(size=groups * N).astype(np.float32)
    offsets = np.add.outer(np.arange(kernel[1]), np.arange(C))[:, :, None]
    used = f * bias.reshape(groups, 1, 1, 1, N) + offsets if scaled else f
    padded = np.pad(x.astype(np.float64), ((0, 0), pad[0::2], pad[1::2], (0, 0)))
    y = np.zeros((B, oh, ow, groups, N))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            part = padded[:, i * dilation[0] :: stride[0], j * dilation[1] :: stride[1]][
                :, :oh, :ow
            ]
            y += np.einsum("byxgc,gcn->byxgn", part.reshape(B, oh, ow, groups, C), used[:, i, j])
    y = np.maximum(y.reshape(B, oh, ow, -1) + bias, 0)
    weights = np.stack([panels(f[g].reshape(-1, N)) for g in range(groups)])
    arrays = {0: x, 1: weights, 2: bias, 3: np.zeros(y.shape, np.float32)}
    found = run(
        page,
        [Step(instance, (0, 1, 2, 3))],
        arrays,
        [3],
        dims,
        printer=lambda k: print_gemm(k, tile),
    )[3]
    _, message = close(
        found, y.astype(np.float32), 1e-5, scale=float(np.sqrt(kernel[0] * kernel[1] * C))
    )
    assert message == "", f"{instance} by {tile}: {message}"


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_convolutions_in_every_tile(page: Page, tile: Tile) -> None:
    check_conv(page, 2, 9, 11, 8, 16, tile=tile)
    check_conv(page, 1, 12, 10, 3, 12, (7, 7), (2, 2), pad=(3, 3, 2, 3), tile=tile)
    check_conv(page, 1, 9, 9, 16, 3, (9, 9), pad=(4, 4, 4, 4), tile=tile)


def test_convolutions(page: Page) -> None:
    check_conv(page, 1, 10, 12, 4, 8, dilation=(2, 3), pad=(2, 3, 2, 3))
    check_conv(page, 2, 8, 8, 4, 6, groups=3)
    check_conv(page, 1, 8, 8, 5, 4, (3, 1), (2, 1), pad=(0, 0, 0, 0), groups=2)
    check_conv(page, 1, 8, 8, 16, 24, (1, 1), (2, 2), pad=(0, 0, 0, 0))
    check_conv(page, 2, 6, 7, 16, 24, (1, 1), pad=(0, 0, 0, 0))  # a matmul
    check_conv(page, 1, 1, 20, 8, 8, (1, 5), pad=(0, 4, 0, 0))  # causal, one-dimensional
    h, w = dim("h", 4, 40), dim("w", 4, 40)
    for sizes in ((4, 4), (13, 40)):
        check_conv(page, 1, h, w, 8, 12, dims={"h": sizes[0], "w": sizes[1]})
        check_conv(page, 1, h, w, 3, 8, stride=(2, 2), dims={"h": sizes[0], "w": sizes[1]})


@pytest.mark.parametrize("native", [False, True], ids=["unpacked", "shader-f16"])
def test_half_precision_storage(native: bool) -> None:
    """Halves are read by devices without shader-f16 too: two are unpacked from a word."""
    m, n, k = 20, 16, 24
    kernel = matmul(m, n, k, dtype="f16")
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(m, k)).astype(np.float16), rng.normal(size=(k, n)).astype(np.float16)
    a[0, :3] = 1e-3, -65504, 0  # (subnormals may be flushed)
    bias = rng.normal(size=n).astype(np.float32)
    y = gelu(a.astype(np.float64) @ b.astype(np.float64) + bias)
    arrays = {
        0: a,
        1: panels(b.astype(np.float32)).astype(np.float16),
        2: bias,
        3: np.zeros((m, n), np.float32),
    }
    printed = print_kernel(kernel)
    assert list(printed.variants) == ["shader-f16"]
    text = printed.variants["shader-f16"] if native else printed.code
    assert text.startswith("enable f16;") is native
    engine = quick_engine()
    if native and engine != "firefox":
        pytest.skip("needs shader-f16, which only Firefox's software device has")
    with open_page(engine, mounts={"/tests/": Path(__file__).parent}, webgpu=True) as page:
        steps = [Step(kernel, (0, 1, 2, 3))]
        chosen = replace(printed, code=text)
        found = run(page, steps, arrays, [3], printer=lambda kernel: chosen)[3]
    assert close(found, y.astype(np.float32), 1e-5, 5.0)[1] == ""
