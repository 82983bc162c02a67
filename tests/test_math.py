"""The vector mathematics of the wasm prelude against numpy in double precision, in units in the
last place."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from tests.wasm_harness import run
from webdnn.expr import OPS, apply, exp, load, var
from webdnn.schedule.kernel import Buffer, Loop, Program, Slot, Step, Store

# The bounds that prelude.h states.
ULP = {
    "exp": 1,
    "log": 1,
    "sin": 2,
    "cos": 2,
    "tan": 4,
    "asin": 3,
    "acos": 3,
    "atan": 3,
    "sinh": 3,
    "cosh": 3,
    "tanh": 5,
    "erf": 6,
    "asinh": 4,
    "acosh": 4,
    "atanh": 4,
    "sqrt": 0.5,
    "rsqrt": 2,
    "floor": 0,
    "ceil": 0,
    "trunc": 0,
    "round": 0,
    "abs": 0,
    "sign": 0,
}
# What is made of exp, and how it is written; of such a sum exp has no denormal part.
MADE = {"sigmoid": lambda x: 1 / (1 + exp(-x)), "mirrored": lambda x: 1 / (exp(x) + 1)}
ULP |= dict.fromkeys(MADE, 2)
PAIRS = {"pow": 1, "atan2": 3, "mod": 1, "rem": 0.5, "div": 0.5, "min": 0, "max": 0}
REFERENCE = {name: OPS[name].numpy for name in {**ULP, **PAIRS} if name not in MADE} | {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "mirrored": lambda x: 1 / (np.exp(x) + 1),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "pow": np.power,
    "rem": np.fmod,
    "mod": np.mod,
}

SPECIAL = np.array(
    [
        0.0,
        -0.0,
        1,
        -1,
        0.5,
        -0.5,
        2,
        -2,
        3,
        1e-45,
        -1e-45,
        1e-40,
        1.1754942e-38,
        3.4028235e38,
        -3.4028235e38,
        np.inf,
        -np.inf,
        np.nan,
        88.7,
        88.8,
        89,
        -87.4,
        -103.9,
        -104.1,
        1e5,
        -1e5,
        1e10,
        2.0**28,
        3e38,
        1.5,
        2.5,
        -2.5,
        8388607.5,
        16777216,
        0.99999994,
        1.0000001,
        4,
        -4,
        9,
    ],
    np.float32,
)


def inputs(count: int) -> np.ndarray:
    """All magnitudes, the ranges where functions bend, and the special values."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    near = rng.uniform(-12, 12, count).astype(np.float32)
    unit = rng.uniform(-1, 1, count).astype(np.float32)
    wide = rng.uniform(-1e5, 1e5, count).astype(np.float32)
    turns = (np.arange(count) * (np.pi / 2)).astype(np.float32)  # where sine and cosine cross zero
    return np.concatenate([SPECIAL, bits, near, unit, wide, turns])


def compute(
    names, arity: int, columns: list[np.ndarray], variant: str = "plain", dtype: str = "f32"
) -> dict[str, np.ndarray]:
    n = columns[0].size
    i = var("i", n)
    buffers = [Buffer(k, "temp", dtype, n) for k in range(arity + len(names))]
    slots = (*(Slot(dtype, n, "read") for _ in range(arity)), Slot(dtype, n, "write"))
    steps = [
        Step(
            Loop(
                name,
                (i,),
                (),
                (),
                (Store(arity, i, value(*(load(k, i, dtype) for k in range(arity)))),),
                slots,
            ),
            (*range(arity), arity + k),
        )
        for k, name in enumerate(names)
        for value in (MADE.get(name) or partial(apply, name),)
    ]
    out = run(Program((), [], [], buffers, steps), dict(enumerate(columns)), variant=variant)
    return {name: out[arity + k] for k, name in enumerate(names)}


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Error in units in the last place of the exact result; disagreement about NaN or inf is
    infinite."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float32)
        unit = np.spacing(np.minimum(np.abs(rounded), np.float32(1.7e38))).astype(np.float64)
        error = np.abs(got.astype(np.float64) - want) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(want))
    # Just beyond the largest number the exact result is finite in double and infinite in f32.
    edge = (
        (np.abs(want) > 3.402e38)
        & (np.isinf(got) | np.isinf(rounded))
        & (np.sign(got) == np.sign(want))
    )
    error = np.where(same | edge & (np.abs(want) < 3.4029e38), 0, error)
    return np.where(np.isnan(error), np.inf, error)


@pytest.fixture(scope="module", params=["plain", "relaxed"])
def unary(request):
    x = inputs(20_000)
    x = np.append(
        x, np.float32([0] * (-x.size % 4 + 3))
    )  # the last three go through the scalar tail
    return x, compute(list(ULP), 1, [x], request.param)


@pytest.mark.parametrize("name", ULP)
def test_unary(unary, name):
    x, results = unary
    with np.errstate(all="ignore"):
        want = REFERENCE[name](x.astype(np.float64))
    error = ulps(results[name], want)
    if name in MADE:
        error[(want < 2**-127) & (results[name] == 0)] = 0
    worst = int(np.argmax(error))
    assert error[worst] <= ULP[name], (
        f"{name}({x[worst]!r}) = {results[name][worst]!r}, expected {want[worst]!r}:"
        f" {error[worst]:.3g} ulp"
    )
    zero = want == 0
    assert (np.signbit(results[name][zero]) == np.signbit(want[zero])).all(), "the sign of zero"


@pytest.fixture(scope="module", params=["plain", "relaxed"])
def binary(request):
    a, b = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**32, (2, 20_000), dtype=np.uint32).view(np.float32)
    base = np.exp(rng.uniform(-20, 20, 20_000)).astype(np.float32) * rng.choice(
        np.float32([1, -1]), 20_000
    )
    power = rng.uniform(-6, 6, 20_000).astype(np.float32)
    whole = rng.integers(-30, 30, 20_000).astype(np.float32)
    a = np.concatenate([a, bits[0], np.abs(base), base, base])
    b = np.concatenate([b, bits[1], power, whole, base[::-1]])
    return a, b, compute(list(PAIRS), 2, [a, b], request.param)


@pytest.mark.parametrize("name", PAIRS)
def test_binary(binary, name):
    a, b, results = binary
    with np.errstate(all="ignore"):
        want = np.asarray(REFERENCE[name](a.astype(np.float64), b.astype(np.float64)))
    error = ulps(results[name], want)
    worst = int(np.argmax(error))
    assert error[worst] <= PAIRS[name], (
        f"{name}({a[worst]!r}, {b[worst]!r}) = {results[name][worst]!r}, expected {want[worst]!r}"
    )


def test_power_is_exact_where_the_result_is():
    base, exponent = (
        g.ravel() for g in np.meshgrid(np.float32(range(-12, 13)), np.float32(range(7)))
    )
    out = compute(["pow"], 2, [base, exponent])["pow"]
    np.testing.assert_array_equal(out, base.astype(np.float64) ** exponent)


# ---- float64: the bounds that double.h states ----------------------------------------------------

DOUBLE = dict.fromkeys(ULP, 4) | dict.fromkeys(("exp", "log", "sin", "cos"), 1)
DOUBLE |= {name: bound for name, bound in ULP.items() if bound < 1} | {"rsqrt": 2}
DOUBLE_PAIRS = {**PAIRS, "atan2": 4, "mod": 1}


def double_ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Error in units in the last place of float64 against numpy's long double."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float64)
        error = np.abs(got.astype(np.longdouble) - want) / np.spacing(np.abs(rounded))
    error = np.where((got == rounded) | (np.isnan(got) & np.isnan(want)), 0, error)
    return np.where(np.isnan(error), np.inf, error).astype(np.float64)


def doubles(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)
    near, unit = rng.uniform(-30, 30, count), rng.uniform(-1, 1, count)
    turns = np.arange(count) * (np.pi / 2)
    edges = [5e-324, -1e-310, 1.7976931348623157e308, 709.7, 709.8, -745.1, -745.2, 2.0**53]
    return np.concatenate([SPECIAL.astype(np.float64), edges, bits, near, unit, turns])


def test_doubles() -> None:
    x = doubles(4000)
    results = compute([*DOUBLE], 1, [x], dtype="f64")
    a, b = (g.ravel() for g in np.meshgrid(SPECIAL.astype(np.float64), SPECIAL.astype(np.float64)))
    rng = np.random.default_rng(4)
    base = np.exp(rng.uniform(-40, 40, 6000))
    a = np.concatenate([a, base, -base, x[: x.size // 2], [5e-324, 3e-310, 7.0]])
    power = np.concatenate([rng.uniform(-9, 9, 6000), rng.integers(-20, 20, 6000)])
    b = np.concatenate([b, power, x[x.size // 2 :][: x.size // 2], [3.0, 5e-324, 4e-310]])
    pairs = compute([*DOUBLE_PAIRS], 2, [a, b], dtype="f64")
    wrong = []
    for names, columns, out in ((DOUBLE, [x], results), (DOUBLE_PAIRS, [a, b], pairs)):
        for name, bound in names.items():
            with np.errstate(all="ignore"):
                wide = [c.astype(np.longdouble) for c in columns]
                want = np.asarray(REFERENCE[name](*(columns if name == "erf" else wide)))
            error = double_ulps(out[name], want)
            if name == "mirrored":  # where e^x has no float64, its reciprocal would be denormal
                error[columns[0] > 709.78] = 0
            worst = int(np.argmax(error))
            if error[worst] > bound:
                at = [float(c[worst]) for c in columns]
                wrong.append(f"{name}{at} = {out[name][worst]!r}, expected {want[worst]!r}")
                wrong[-1] += f": {error[worst]:.3g} ulp"
    assert not wrong, "\n".join(wrong)
