"""Loops on wasm against a numpy reading of the same expressions: random kernels, and the corners by
hand.

Inputs are multiples of 1/4 below 8, so that sums and products of a few of them are exact and a
wrong element cannot hide behind a tolerance.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.test_graph import namesakes
from tests.wasm_harness import interpret, program, run
from webdnn import expr
from webdnn.codegen import TARGETS
from webdnn.expr import acc, bounds, cast, const, dim, exp, load, logical_and, maximum, select, var
from webdnn.schedule.kernel import Buffer, Loop, Program, Slot, Stage, Step, Store
from webdnn.schedule.lower import lower

SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 33])
F32_BINARY = ["add", "sub", "mul", "min", "max"]
I32_BINARY = [
    "add",
    "sub",
    "mul",
    "min",
    "max",
    "idiv",
    "rem",
    "floordiv",
    "mod",
    "bitand",
    "bitxor",
    "shl",
    "shr",
]


class Draw:
    """Draws one loop; slot sizes follow from the indices that were drawn."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.sizes: dict[int, int] = {}

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    def index(self, slot: int, variables: list, shift=None):
        """An index into `slot`: some variables in some order, sometimes divided, reversed or
        wrapped."""
        chosen = [v for v in self.draw(st.permutations(variables)) if not self.chance(4)]
        if self.chance(2):
            chosen = [v for v in variables if v in chosen]
        e, stride = const(self.draw(st.integers(0, 2))), 1
        top = e
        for v in reversed(chosen):
            n = v.args[1]
            term, high = v, n - 1
            kind = self.draw(st.integers(0, 9))
            if kind == 0:
                term = (n - 1) - v
            elif kind == 1:
                term = (v + 1) // 2
            elif kind == 2 and n > 2:
                term = (v * 2 + 1) % n
            if shift and v is shift[0]:
                term = v + shift[1]
            e, top = e + term * stride, top + high * stride
            stride *= n
        self.sizes[slot] = max(
            self.sizes.get(slot, 1), int(top.args[0]) + 1, 0 if shift else int(bounds(e)[1]) + 1
        )
        return e

    def leaf(self, variables: list, accs: list):
        kind = self.draw(st.integers(0, 11))
        slot = self.draw(st.integers(0, 1))
        if kind <= 5 or not variables:
            return load(slot, self.index(slot, variables))
        if kind == 6:
            return const(self.draw(st.sampled_from([0.0, 1.0, -0.5, 2.25])))
        if kind == 7:
            return cast(self.draw(st.sampled_from(variables)), "f32")
        if kind == 8:
            v = self.draw(st.sampled_from(variables))
            by = self.draw(st.integers(-3, 3))
            inside = logical_and(v + by >= 0, v + by < v.args[1])
            return select(
                inside, load(slot, self.index(slot, variables, (v, by))), self.leaf(variables, accs)
            )
        if kind == 9:
            self.sizes.setdefault(slot, 3)
            return load(
                slot, load(2, self.index(2, variables), "i32")
            )  # gathered, out of range at times
        if kind == 10:
            return cast(self.integer(variables, 2), "f32")
        return self.draw(st.sampled_from(accs)) if accs else load(slot, self.index(slot, variables))

    def integer(self, variables: list, depth: int):
        if depth == 0 or self.chance(3):
            if variables and self.chance(3):
                return self.draw(st.sampled_from(variables))
            return load(2, self.index(2, variables), "i32")
        op = self.draw(st.sampled_from(I32_BINARY))
        a, b = self.integer(variables, depth - 1), self.integer(variables, depth - 1)
        return expr.apply(op, a, expr.apply("bitand", b, 63) if op in ("shl", "shr") else b)

    def value(self, variables: list, accs: list, depth: int):
        if depth == 0:
            return self.leaf(variables, accs)
        a = self.value(variables, accs, depth - 1)
        kind = self.draw(st.integers(0, 7))
        if kind == 0:
            return expr.apply(
                self.draw(st.sampled_from(["neg", "abs", "floor", "ceil", "round", "sign"])), a
            )
        b = self.value(variables, accs, self.draw(st.integers(0, depth - 1)))
        if kind == 1:
            op = self.draw(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
            return select(expr.apply(op, a, b), self.value(variables, accs, depth - 1), b)
        return expr.apply(self.draw(st.sampled_from(F32_BINARY)), a, b)

    def loop(self) -> Loop:
        axes = [
            var(f"i{k}", n)
            for k, n in enumerate(self.draw(st.lists(SIZES, min_size=0, max_size=3)))
        ]
        reduce = [
            var(f"r{k}", n)
            for k, n in enumerate(self.draw(st.lists(SIZES, min_size=0, max_size=2)))
        ]
        stages, stores, slots = [], [], []
        accs: list = []
        for k in range(self.draw(st.integers(1, 2)) if reduce else 0):
            monoid = self.draw(
                st.sampled_from(
                    ["sum", "max", "min", "any", "all", "argmax", "argmin", "argmax_last"]
                )
            )
            e = self.value([*axes, *reduce], [], self.draw(st.integers(0, 2)))
            if monoid in ("any", "all"):
                stages.append(Stage(monoid, (e > 0.0,)))
                accs.append(cast(acc(k, 0, "bool"), "f32"))
            elif monoid.startswith("arg"):
                position = (
                    reduce[0] if len(reduce) == 1 else reduce[0] * reduce[1].args[1] + reduce[1]
                )
                stages.append(Stage(monoid, (e, position)))
                accs.append(cast(acc(k, 1, "i32"), "f32"))
            else:
                stages.append(Stage(monoid, (e,)))
                accs.append(acc(k, 0, "f32"))
        rows = [False] + ([True] if reduce and self.chance(2) else [])
        for n, row in enumerate(rows):
            space = [*axes, *reduce] if row else axes
            size, index = 1, const(0)
            for v in reversed(self.draw(st.permutations(space)) if self.chance(4) else space):
                index, size = index + v * size, size * v.args[1]
            e = self.value(space, accs, self.draw(st.integers(0, 2)))
            e = e + cast(reduce[0], "f32") if row else e  # so that it is a row
            dtype = "i32" if self.chance(4) else "f32"
            stores.append(Store(3 + n, index, cast(e, "i32") if dtype == "i32" else e))
            slots.append(Slot(dtype, size, "write"))
        inputs = [
            Slot(d, self.sizes.get(k, 1), "read") for k, d in enumerate(("f32", "f32", "i32"))
        ]
        return Loop(
            "random", tuple(axes), tuple(reduce), tuple(stages), tuple(stores), (*inputs, *slots)
        )


def contents(loop: Loop, seed: int, special: bool = False) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for k, s in enumerate(loop.slots):
        if s.access == "write":
            out[k] = np.full(s.size, -77, {"f32": np.float32, "i32": np.int32}[s.dtype])
        elif s.dtype == "f32":
            out[k] = (rng.integers(-31, 32, s.size) / 4).astype(np.float32)
            if special and s.size > 4:
                out[k][rng.integers(0, s.size, s.size // 5 + 1)] = rng.choice(
                    np.float32([np.nan, np.inf, -np.inf, -0.0])
                )
        else:
            out[k] = rng.integers(-40, 40, s.size).astype(np.int32)
    return out


def compare(loops: list[Loop], inputs: list[dict[int, np.ndarray]], **options) -> None:
    """All loops in one module; every slot must hold what numpy says, and inputs must be
    unchanged."""
    values, at = {}, 0
    firsts = []
    for loop, given_ in zip(loops, inputs, strict=True):
        firsts.append(at)
        values |= {at + k: x for k, x in given_.items()}
        at += len(loop.slots)
    got = run(program(*loops), values, **options)
    for loop, given_, first in zip(loops, inputs, firsts, strict=True):
        want = interpret(loop, given_)
        for k in given_:
            np.testing.assert_allclose(
                got[first + k], want[k], rtol=2e-6, atol=2e-5, err_msg=f"slot {k} of {loop}"
            )


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_random_loops(data, seed):
    loops = [Draw(data).loop() for _ in range(6)]
    compare(loops, [contents(x, seed + k, special=k == 0) for k, x in enumerate(loops)])


def slots(*sizes, out="f32"):
    return (*(Slot("f32", n, "read") for n in sizes[:-1]), Slot(out, sizes[-1], "write"))


def softmax(rows: int, n: int) -> Loop:
    i, r = var("i", rows), var("r", n)
    x = load(0, i * n + r)
    e = exp(x - acc(0, 0, "f32"))
    return Loop(
        "softmax",
        (i,),
        (r,),
        (Stage("max", (x,)), Stage("sum", (e,))),
        (Store(1, i * n + r, e / acc(1, 0, "f32")),),
        slots(rows * n, rows * n),
    )


def scan(rows: int, n: int, inner: int) -> Loop:
    i, j, r = var("i", rows), var("j", inner), var("r", n)
    at = (i * n + r) * inner + j
    return Loop(
        "cumsum",
        (i, j),
        (r,),
        (Stage("scan_sum", (load(0, at),)),),
        (Store(1, at, acc(0, 0, "f32") * 2.0),),
        slots(rows * n * inner, rows * n * inner),
    )


def pool(h: int, w: int, c: int, monoid: str) -> Loop:
    y, x, ch, a, b = var("y", h // 2), var("x", w // 2), var("c", c), var("a", 3), var("b", 3)
    iy, ix = y * 2 + a - 1, x * 2 + b - 1
    inside = logical_and(logical_and(iy >= 0, iy < h), logical_and(ix >= 0, ix < w))
    e = select(inside, load(0, (iy * w + ix) * c + ch), float("-inf") if monoid == "max" else 0.0)
    return Loop(
        "pool",
        (y, x, ch),
        (a, b),
        (Stage(monoid, (e,)),),
        (Store(1, (y * (w // 2) + x) * c + ch, acc(0, 0, "f32") * 0.5),),
        slots(h * w * c, h * w * c // 4),
    )


def transpose(n: int, m: int) -> Loop:
    i, j = var("i", n), var("j", m)
    return Loop(
        "transpose", (i, j), (), (), (Store(1, i * m + j, load(0, j * n + i)),), slots(n * m, n * m)
    )


def concat(n: int, a: int, b: int) -> Loop:
    i, j = var("i", n), var("j", a + b)
    e = select(j < a, load(0, i * a + j), load(1, i * b + j - a))
    return Loop(
        "concat", (i, j), (), (), (Store(2, i * (a + b) + j, e),), slots(n * a, n * b, n * (a + b))
    )


CORNERS = {
    "softmax": softmax(5, 77),
    "softmax of 3": softmax(9, 3),
    "softmax, long": softmax(2, 5000),
    "scan": scan(3, 10, 1),
    "scan in lanes": scan(3, 10, 9),
    "max pool": pool(8, 10, 20, "max"),
    "average pool of 3 channels": pool(6, 6, 3, "sum"),
    "transpose": transpose(37, 50),
    "concat": concat(11, 6, 7),
    "one long axis": Loop(
        "relu",
        (var("i", 100_003),),
        (),
        (),
        (Store(1, var("i", 100_003), maximum(load(0, var("i", 100_003)), 0.5)),),
        slots(100_003, 100_003),
    ),
    "everything to one number": Loop(
        "mean",
        (),
        (var("r", 999),),
        (Stage("sum", (load(0, var("r", 999)),)),),
        (Store(1, const(0), acc(0, 0, "f32") * 0.25),),
        slots(999, 1),
    ),
}


@pytest.fixture(
    scope="module", params=[("plain", 1), ("relaxed-threads", 3)], ids=lambda p: f"{p[0]} {p[1]}"
)
def corners(request):
    variant, threads = request.param
    values, at, places = {}, 0, {}
    for name, loop in CORNERS.items():
        places[name] = at, contents(loop, 3)
        values |= {at + k: x for k, x in places[name][1].items()}
        at += len(loop.slots)
    return places, run(program(*CORNERS.values()), values, variant=variant, threads=threads)


@pytest.mark.parametrize("name", CORNERS)
def test_corner(corners, name):
    places, got = corners
    first, inputs = places[name]
    for k, want in interpret(CORNERS[name], inputs).items():
        np.testing.assert_allclose(got[first + k], want, rtol=2e-6, atol=1e-6)


def test_softmax_stores_its_row_once():
    from webdnn.codegen.wasm.module import print_kernel

    body = print_kernel(softmax(4, 64)).body
    assert "vexp(" not in body[body.rindex("for (; r0 + 4") :], "the last pass evaluates exp again"


def test_long_sums_keep_their_precision():
    """Means over a whole image, channel by channel: summed one by one they would be off by 1e-5."""
    n, c = 300_000, 9
    j, r = var("j", c), var("r", n)
    mean = Loop(
        "mean",
        (j,),
        (r,),
        (Stage("sum", (load(0, r * c + j),)),),
        (Store(1, j, acc(0, 0, "f32") * (1 / n)),),
        slots(n * c, c),
    )
    x = np.random.default_rng(0).uniform(0, 1, (n, c)).astype(np.float32)
    out = run(program(mean), {0: x})[1]
    np.testing.assert_allclose(out, x.mean(0, dtype=np.float64), rtol=4e-6)


def test_sizes_do_not_change_the_text():
    from webdnn.codegen.wasm.module import print_kernel

    assert print_kernel(softmax(40, 640)).symbol == print_kernel(softmax(12, 77)).symbol


def test_operators_of_one_name_compute_their_own():
    p = lower(namesakes(), TARGETS["wasm"])
    x = np.float32([[1, -2, 0.5], [3, 0, -1]])
    out = run(p, {p.inputs[0].buffer: x})
    ours, theirs = (out[t.buffer].reshape(2, 3) for t in p.outputs)
    np.testing.assert_allclose(ours, x * np.tanh(np.logaddexp(0, x)), rtol=1e-5)
    np.testing.assert_array_equal(theirs, 3 * x)


def test_symbolic_sizes():
    n = dim("n", 1, 40)
    i, r = var("i", n), var("r", n * 2)
    at = i * (n * 2) + r
    loop = Loop(
        "rowmax",
        (i,),
        (r,),
        (Stage("max", (load(0, at),)),),
        (Store(1, i, acc(0, 0, "f32")),),
        (Slot("f32", n * n * 2, "read"), Slot("f32", n, "write")),
    )
    p = program(loop, dims=(n,))
    for size in (1, 7, 40):
        x = np.random.default_rng(size).standard_normal((size, 2 * size)).astype(np.float32)
        out = run(p, {0: x}, {"n": size})
        np.testing.assert_array_equal(out[1][:size], x.max(1))
        assert (out[1][size:] == -77).all()


def test_a_readable_error_when_the_text_does_not_compile(tmp_path, monkeypatch):
    from webdnn.codegen.wasm.zig import CompilerError, Source, build

    monkeypatch.setenv("WEBDNN_CACHE", str(tmp_path))
    with pytest.raises(CompilerError, match="kept at") as caught:
        build([Source("broken", "void broken(void) { return 1 +; }")], "")
    assert "return 1 +" in caught.value.source.read_text()


def test_threads_that_come_late_change_nothing():
    """Small and large steps on one buffer, many runs of different sizes. Nobody waits for threads
    that took no work (more of them than processors), so they come runs late, sizes changed since.
    """
    n = dim("n", 1, 60_000)
    i, j = var("i", n), var("j", 64)
    mixed = load(0, i) * 0.5 + load(1, i % 64)
    shared = Loop("shared", (i,), (), (), (Store(2, i, mixed),), slots(n, 64, n))
    alone = Loop("alone", (j,), (), (), (Store(1, j, load(0, j) + 1.0),), slots(64, 64))
    buffers = [Buffer(k, "temp", "f32", size) for k, size in enumerate((n, n, 64, 64))]
    steps = [
        Step(shared, (0, 2, 1)),
        Step(alone, (2, 3)),
        Step(shared, (1, 3, 0)),
        Step(alone, (3, 2)),
    ]
    p = Program((n,), [], [], buffers, steps * 4)
    sizes = [{"n": 1 + (k * 7919) % 60_000 // (1 + 50 * (k % 3))} for k in range(150)]
    results = [
        run(p, {}, {"n": 50_000}, "plain-threads", threads=threads, sizes=sizes)
        for threads in (1, 3, 8)
    ]
    assert len(set(results[0]["digests"])) == len(sizes)
    for other in results[1:]:
        assert other["digests"] == results[0]["digests"]
        np.testing.assert_array_equal(other[0], results[0][0])


def test_threads_that_go_from_step_to_step():
    """A call whose steps are all too small to share ends before any other begins."""
    i, j = var("i", 60_000), var("j", 64)
    shared = Loop("shared", (i,), (), (), (Store(1, i, load(0, i) + 1.0),), slots(60_000, 60_000))
    alone = Loop("alone", (j,), (), (), (Store(1, j, load(0, j) + 1.0),), slots(64, 64))
    buffers = [Buffer(k, "temp", "f32", size) for k, size in enumerate((60_000, 60_000, 64, 64))]
    steps = [Step(shared, (0, 1)), Step(alone, (2, 3)), Step(alone, (3, 2))]
    p = Program((), [], [], buffers, steps * 4)
    run(p, {}, None, "plain-threads", threads=3, repeat=10_000, profile=True)
