"""Every row of the operator table, on the GPU, against numpy in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wgsl_machine import NUMPY, close, run
from webdnn.browser.engine import Page, open_page
from webdnn.expr import (
    OPS,
    apply,
    bitcast,
    cast,
    cast_numpy,
    const,
    load,
    select,
    substitute,
    var,
    walk,
)
from webdnn.schedule.kernel import Loop, Slot, Step, Store

N = 16384  # enough for the printer to choose vec4; N - 1 is scalar
INF, NAN = float("inf"), float("nan")
EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, INF, -INF, NAN, 1e-30, -1e-30, 1e30, -1e30,
    3.4e38, -3.4e38, 88.0, 88.7, 89.0, -87.0, -110.0, 0.41, 0.42, -0.29, -0.3, 0.99999994,
    1.0000001, 0.625, 0.6249, 4.0, 10.0, 2147483648.0, -2147483648.0, 4294967296.0,
    2.5, 3.5, -2.5, 1e9, 2e9,
]  # fmt: skip
# Where f32 itself, or the definition, leaves less than 1e-5: (range of |x|, tolerance, scale).
TRIG = (1e5, 1e-5, 1e-2)
RANGES = {"sin": TRIG, "cos": TRIG, "tan": (1e4, 1e-5, 1e-1), "exp": (INF, 1.2e-5, 1e-37)}


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    with open_page(request.param, mounts={"/tests/": Path(__file__).parent}, webgpu=True) as page:
        yield page


def floats(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.concatenate([
        rng.normal(size=n // 4), rng.normal(size=n // 4) * 20,
        np.exp(rng.uniform(-60, 60, n // 4)) * rng.choice([-1, 1], n // 4),
        rng.uniform(-1, 1, n - 3 * (n // 4)),
    ]).astype(np.float32)  # fmt: skip
    x[: len(EDGES)] = EDGES
    return x


def integers(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.where(
        rng.random(n) < 0.7, rng.integers(-40, 40, n), rng.integers(-(2**31), 2**31, n)
    ).astype(np.int32)
    x[:8] = [0, 1, -1, 2, -2, 2**31 - 1, -(2**31), 31]
    return x


def operands(dtype: str, k: int, n: int) -> np.ndarray:
    if dtype == "f32":
        x = floats(k, n)
        return x if k == 0 else np.random.default_rng(7).permutation(x)
    x = integers(k, n)
    return x.view(np.uint32) if dtype == "u32" else x & 1 if dtype == "bool" else x


FLOAT_ONLY = {op for op in OPS if OPS[op].cost >= 8} - {"floordiv", "mod", "idiv", "rem"} | {
    "isnan", "isinf", "floor", "ceil", "round", "trunc"}  # fmt: skip
BITS = {"bitand", "bitor", "bitxor", "bitnot", "shl", "shr"}
LOGIC = {"and", "or", "xor", "not"}


def dtypes(op: str) -> list[str]:
    """The dtypes for which an operator is defined, as the table's users apply it."""
    if op in ("pow", "div", "idiv"):
        return {"pow": ["f32", "i32"], "div": ["f32"], "idiv": ["i32", "u32"]}[op]
    if op in LOGIC:
        return ["bool"]
    if op in BITS:
        return ["i32", "u32"]
    return ["f32"] if op in FLOAT_ONLY else ["f32", "i32", "u32"]


CASES = [(op, d) for op in OPS if op not in ("select", "cast", "bitcast") for d in dtypes(op)]


def expected(op: str, dtype: str, args: list[np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"):
        if dtype == "f32":
            args = [a.astype(np.float64) for a in args]
            y = np.asarray(OPS[op].numpy(*args))
            return y if y.dtype == bool else y.astype(np.float32)
        if dtype == "bool":
            return np.asarray(OPS[op].numpy(*(a != 0 for a in args)))
        return np.asarray(OPS[op].numpy(*args))


@pytest.mark.parametrize("n", [N, N - 1])
def test_operators(page: Page, n: int) -> None:
    i = var("i", n)
    steps, arrays, checks = [], {}, []
    for op, dtype in CASES:
        storage = "i32" if dtype == "bool" else dtype
        values = [operands(dtype, k, n) for k in range(OPS[op].arity)]
        if op == "pow" and dtype == "i32":
            values = [values[0] % 7 - 3 | 1, values[1] % 9 - 1]
        y = expected(op, dtype, values)
        out = "i32" if y.dtype == bool else storage
        slots = [Slot(storage, n, "read") for _ in values] + [Slot(out, n, "write")]
        e = apply(op, *(load(k, i, dtype) for k in range(len(values))))
        first = len(arrays)
        for v in (*values, np.zeros(n, NUMPY[out])):
            arrays[len(arrays)] = v
        kernel = Loop(op, (i,), (), (), (Store(len(values), i, e),), tuple(slots))
        steps.append(Step(kernel, tuple(range(first, len(arrays)))))
        checks.append((op, dtype, values, y, len(arrays) - 1))
    found = run(page, steps, arrays, [c[-1] for c in checks])
    failures = []
    for op, dtype, values, y, buffer in checks:
        limits = RANGES.get(op, (INF, 1e-5, 0.0)) if dtype == "f32" else (INF, 0.0, 0.0)
        keep = comparable(op, dtype, values, y, limits[0])
        wanted = y.astype(np.int32) if y.dtype == bool else y
        at, message = close(found[buffer][keep], wanted[keep], *limits[1:])
        if message:
            failures.append(f"{op} {dtype} of {[v[keep][at] for v in values]}: {message}")
    assert not failures, "\n".join(failures)


def comparable(
    op: str, dtype: str, values: list[np.ndarray], y: np.ndarray, limit: float
) -> np.ndarray:
    """Where a result is settled: no subnormal, not at the very top, with bits of it left."""
    keep = np.ones(y.shape, bool)
    if dtype != "f32":
        return keep
    with np.errstate(all="ignore"):
        if limit < INF:
            keep &= ~(np.abs(values[0]) > limit) | np.isinf(values[0])
        if y.dtype != bool:
            keep &= ~((np.abs(y) < 1.2e-38) & (y != 0)) & ~((np.abs(y) > 3e38) & (np.abs(y) < INF))
        if op in ("rem", "mod", "floordiv"):
            keep &= ~(np.abs(values[0] / values[1]) > 1e4) | (values[1] == 0)
    return keep


@pytest.mark.parametrize("n", [N, N - 1])
def test_conversions_selections_and_literals(page: Page, n: int) -> None:
    i = var("i", n)
    x, k = floats(0, n), integers(0, n)
    f, g = load(0, i), load(1, i, "i32")
    exprs = {
        "f32 to i32": (cast(f, "i32"), cast_numpy(x, "i32")),
        "f32 to u32": (cast(cast(f, "u32"), "i32"), cast_numpy(x, "u32").view(np.int32)),
        "f32 to bool": (cast(cast(f, "bool"), "i32"), (x != 0).astype(np.int32)),
        "i32 to f32": (bitcast(cast(g, "f32"), "i32"), k.astype(np.float32).view(np.int32)),
        "i32 to bool": (cast(cast(g, "bool"), "i32"), (k != 0).astype(np.int32)),
        "u32 to f32": (bitcast(cast(cast(g, "u32"), "f32"), "i32"),
                       k.view(np.uint32).astype(np.float32).view(np.int32)),
        "select": (select(g > 3, g, 7), np.where(k > 3, k, 7)),
        "index": (i * 3 + 1, np.arange(n, dtype=np.int32) * 3 + 1),
        "inf": (bitcast(select(g > 3, const(INF), const(-INF)), "i32"),
                np.where(k > 3, np.float32(INF), np.float32(-INF)).view(np.int32)),
        "nan": (cast(apply("isnan", select(g > 3, const(NAN), f)), "i32"),
                ((k > 3) | np.isnan(x)).astype(np.int32)),
        "-0": (bitcast(select(g > 3, const(-0.0), const(1e-7)), "i32"),
               np.where(k > 3, np.float32(-0.0), np.float32(1e-7)).view(np.int32)),
        "x != x": (cast(apply("ne", f, f), "i32"), np.isnan(x).astype(np.int32)),
        "relu": (bitcast(apply("max", f, 0.0) + 0.0, "i32"),
                 np.where(np.isnan(x), 0, (np.maximum(x, 0) + 0).view(np.int32))),
    }  # fmt: skip
    slots = (Slot("f32", n, "read"), Slot("i32", n, "read"), Slot("i32", n, "write"))
    steps, arrays = [], {0: x, 1: k}
    for name, (e, _) in exprs.items():
        arrays[len(arrays)] = np.zeros(n, np.int32)
        used = sorted({x.args[0] for x in walk(e) if x.op == "load"})
        table = {load(s, i, slots[s].dtype): load(j, i, slots[s].dtype) for j, s in enumerate(used)}
        e = substitute(e, table)
        kernel = Loop(
            name, (i,), (), (), (Store(len(used), i, e),), tuple(slots[s] for s in [*used, 2])
        )
        steps.append(Step(kernel, (*used, len(arrays) - 1)))
    found = run(page, steps, arrays, range(2, len(arrays)))
    for buffer, (name, (_, y)) in enumerate(exprs.items(), 2):
        got = found[buffer]
        if name == "relu":
            got = np.where(np.isnan(x), 0, got)
            assert np.isnan(found[buffer].view(np.float32)[np.isnan(x)]).all(), (
                "max(NaN, 0) must be NaN"
            )
        wanted = np.asarray(y, np.int32)
        if name in ("i32 to f32", "u32 to f32"):  # the direction of rounding is free
            got, wanted = got.view(np.float32), wanted.view(np.float32)
        assert close(got, wanted, 1.2e-7)[1] == "", name
