"""The simplifier of expressions never changes a value: random expressions, read before and after.

A random tree is built twice: node by node through `expr.apply`, which simplifies as it goes, and
as plain numpy arithmetic from the operator table over every value of its variables. Both must
agree everywhere. What the simplifier claims about an expression (bounds, less, coefficient,
multiple_of) must hold too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interpret import calculate
from webdnn import expr
from webdnn.expr import (
    Expr,
    bounds,
    coefficient,
    const,
    dim,
    less,
    make,
    multiple_of,
    poly,
    substitute,
    text,
    var,
)

THOROUGH = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))

# Leaves: h, w and s are dimensions, w and s with a step, s may be 0; i and j run below numbers, k
# below h, m below a polynomial of h.
H, W, S = dim("h", 1, 5), dim("w", 1, 7, 3), dim("s", 0, 8, 4)
I, J, K, M = var("i", 6), var("j", 1), var("k", H), var("m", (H + 1) // 2 * 2)  # noqa: E741
LEAVES = (H, W, S, I, J, K, M)


def _grid() -> dict[Expr, np.ndarray]:
    """Every combination of values that the leaves' ranges allow."""
    values = np.meshgrid(*map(np.arange, (6, 8, 9, 6, 1, 5, 6)), indexing="ij")
    h, w, s, _, _, k, m = values
    ok = (h >= 1) & (w % 3 == 1) & (s % 4 == 0) & (k < h) & (m < (h + 1) // 2 * 2)
    return {leaf: a[ok].astype(np.int32) for leaf, a in zip(LEAVES, values, strict=True)}


GRID = _grid()
COUNT = len(GRID[H])

Tree = Any  # a leaf, a number, or (op, Tree...)

small = st.integers(-4, 9) | st.sampled_from([12, 16, 24, 64, -64])
large = st.sampled_from([2**31 - 1, -(2**31), 2**30, 46341, 65536, -65536, 2**16 + 1])
leaf = st.sampled_from(LEAVES) | small
INTEGER_OPS = [
    "add",
    "add",
    "sub",
    "mul",
    "mul",
    "floordiv",
    "floordiv",
    "mod",
    "mod",
    "idiv",
    "rem",
    "min",
    "max",
]
BIT_OPS = ["bitand", "bitor", "bitxor", "shl", "shr"]
COMPARISONS = ["lt", "le", "gt", "ge", "eq", "ne"]


def trees(leaves: st.SearchStrategy[Tree], ops: list[str]) -> st.SearchStrategy[Tree]:
    def grow(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        two = st.tuples(st.sampled_from(ops), children, children)
        one = st.tuples(st.sampled_from(["neg", "abs", "sign"]), children)
        choose = st.tuples(
            st.just("select"),
            st.tuples(st.sampled_from(COMPARISONS), children, children),
            children,
            children,
        )
        by_constant = st.tuples(
            st.sampled_from(["floordiv", "mod", "mul"]), children, st.integers(1, 16)
        )
        return two | two | by_constant | one | choose

    return st.recursive(leaves, grow, max_leaves=10)


integer_trees = trees(leaf, INTEGER_OPS)
wrapping_trees = trees(leaf | large, INTEGER_OPS + BIT_OPS)


def build(tree: Tree) -> Any:
    """The tree as an expression, simplified at every node."""
    if isinstance(tree, tuple):
        return expr.apply(tree[0], *(build(t) for t in tree[1:]))
    return expr.lift(tree)


def plain(tree: Tree, leaves: dict[Expr, np.ndarray], dtype: Any = np.int32) -> np.ndarray:
    """The tree by numpy alone."""
    if isinstance(tree, tuple):
        with np.errstate(all="ignore"):
            args = [plain(t, leaves, dtype) for t in tree[1:]]
            out = np.asarray(expr.OPS[tree[0]].numpy(*args))
        return out if out.dtype == bool else out.astype(dtype)
    if isinstance(tree, Expr):
        return leaves[tree]
    return np.full(COUNT, tree, dtype)


def value(e: Expr, leaves: dict[Expr, np.ndarray] = GRID) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.broadcast_to(calculate(e, leaves, []), COUNT)


def check_integer(tree: Tree) -> None:
    e, wanted = build(tree), plain(tree, GRID)
    np.testing.assert_array_equal(value(e), wanted, err_msg=f"{tree} became {e}")
    lo, hi = bounds(e)
    assert lo <= wanted.min() and wanted.max() <= hi, (
        f"bounds of {e} are {lo}..{hi}; {wanted.min()}..{wanted.max()} occur"
    )


@given(integer_trees)
@THOROUGH
def test_integer_expressions_keep_their_value_and_bounds_hold(tree: Tree) -> None:
    check_integer(tree)


@given(wrapping_trees)
@THOROUGH
def test_integer_expressions_that_wrap_at_32_bits(tree: Tree) -> None:
    check_integer(tree)


def flat_index(shape: list[Any], order: list[int]) -> Tree:
    """Row-major flattening of loop variables, as index arithmetic builds it."""
    flat: Tree = 0
    for k in order:
        flat = ("add", ("mul", flat, shape[k]), (I, J, K, M)[k])
    return flat


@given(
    st.permutations(range(4)),
    st.lists(st.sampled_from(["floordiv", "mod"]), min_size=1, max_size=3),
    st.lists(
        st.sampled_from(
            [1, 2, 3, 4, 6, 8, 12, H, W, S, ("mul", H, 2), ("mul", H, W), ("mul", 6, H)]
        ),
        min_size=3,
        max_size=3,
    ),
)
@THOROUGH
def test_index_arithmetic(order: list[int], ops: list[str], divisors: list[Tree]) -> None:
    tree = flat_index([6, 1, H, ("mul", ("floordiv", ("add", H, 1), 2), 2)], order)
    for op, divisor in zip(ops, divisors, strict=False):
        tree = (op, tree, divisor)
    check_integer(tree)


@given(integer_trees | wrapping_trees, integer_trees)
@THOROUGH
def test_less_and_comparisons_are_sound(a: Tree, b: Tree) -> None:
    x, y = build(a), build(b)
    left, right = plain(a, GRID), plain(b, GRID)
    if less(x, y):
        assert (left < right).all(), f"less({x}, {y})"
    for op in COMPARISONS:
        np.testing.assert_array_equal(
            value(expr.apply(op, x, y)), plain((op, a, b), GRID), err_msg=f"{op} of {x}, {y}"
        )


@given(integer_trees, st.sampled_from((I, K, H)))
@THOROUGH
def test_coefficient_is_the_slope(tree: Tree, v: Expr) -> None:
    e = build(tree)
    d = coefficient(e, v)
    if d is None or (v is H):
        return
    moved = {leaf: (a + 1 if leaf is v else a).astype(np.int32) for leaf, a in GRID.items()}
    rise = value(e, moved).astype(np.int64) - value(e)
    np.testing.assert_array_equal(
        rise,
        np.broadcast_to(value(expr.lift(d)), COUNT),
        err_msg=f"coefficient of {v} in {e} is {d}",
    )


@given(integer_trees, st.integers(2, 8))
@THOROUGH
def test_multiple_of(tree: Tree, n: int) -> None:
    e = build(tree)
    if multiple_of(e, n):
        assert (value(e) % n == 0).all(), f"{e} by {n}"
    assert multiple_of(expr.apply("mul", e, n), n)


@given(integer_trees, integer_trees)
@THOROUGH
def test_equal_polynomials_are_one_object(a: Tree, b: Tree) -> None:
    x, y = build(a), build(b)
    assert x + y is y + x
    assert (x + y) * 3 is x * 3 + y * 3
    assert x - x is const(0)
    assert poly(x + y) == poly(y + x)
    assert build(a) is x


@given(integer_trees, st.sampled_from((I, W)), integer_trees)
@THOROUGH
def test_substitution_is_evaluation(tree: Tree, v: Expr, other: Tree) -> None:
    e = build(tree)
    # The replacement must lie in the range of what it replaces: ranges were already used.
    put = expr.minimum(expr.maximum(build(other), 0), 2 if v is W else 5)
    put = put * 3 + 1 if v is W else put
    leaves = {**GRID, v: value(put)}
    np.testing.assert_array_equal(
        value(substitute(e, {v: put})), value(e, leaves), err_msg=f"{e} with {v} = {put}"
    )


@given(integer_trees)
@settings(max_examples=100, deadline=None)
def test_python_evaluation_agrees(tree: Tree) -> None:
    e, wanted = build(tree), plain(tree, GRID)
    for at in range(0, COUNT, 97):
        table = {leaf.args[0]: int(a[at]) for leaf, a in GRID.items()}
        assert expr.evaluate(e, table) == wanted[at], f"{e} at {table}"


# ---- floats -------------------------------------------------------------------------------------

SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -7.25, 1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan], np.float32
)
X, Y = expr.acc(0, 0, "f32"), expr.acc(0, 1, "f32")
PAIRS = [a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL)]
float_leaf = st.sampled_from([X, Y]) | st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, float("inf"), float("nan")]
)


def _grow_float(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    two = st.tuples(st.sampled_from(["add", "sub", "mul", "div", "min", "max"]), children, children)
    one = st.tuples(
        st.sampled_from(["neg", "abs", "sqrt", "floor", "ceil", "trunc", "round", "sign"]), children
    )
    choose = st.tuples(
        st.just("select"),
        st.tuples(st.sampled_from(COMPARISONS), children, children),
        children,
        children,
    )
    return two | two | one | choose


def _float_build(tree: Tree) -> Any:
    if isinstance(tree, tuple):
        return expr.apply(tree[0], *(_float_build(t) for t in tree[1:]))
    return expr.lift(tree, "f32")


def _float_plain(tree: Tree) -> np.ndarray:
    if isinstance(tree, tuple):
        return np.asarray(expr.OPS[tree[0]].numpy(*(_float_plain(t) for t in tree[1:])))
    if tree is X or tree is Y:
        return PAIRS[0] if tree is X else PAIRS[1]
    return np.full(PAIRS[0].shape, tree, np.float32)


def _float_value(e: Expr) -> np.ndarray:
    done: dict[Expr, Any] = {X: PAIRS[0], Y: PAIRS[1]}
    for x in expr.walk(e):
        if x.op == "const":
            done[x] = np.full(
                PAIRS[0].shape, x.args[0], np.bool_ if x.dtype == "bool" else np.float32
            )
        elif x not in done:
            done[x] = np.asarray(expr.OPS[x.op].numpy(*(done[a] for a in x.args)))
    return done[e]


@given(st.recursive(float_leaf, _grow_float, max_leaves=8))
@THOROUGH
def test_float_expressions_keep_every_bit_but_those_of_nan(tree: Tree) -> None:
    ordered = "min" in str(tree) or "max" in str(tree)  # which zero min(0, -0) gives is not defined
    if ordered and "div" in str(tree):
        return
    with np.errstate(all="ignore"):
        got, wanted = _float_value(_float_build(tree)), _float_plain(tree).astype(np.float32)
    np.testing.assert_array_equal(got, wanted, err_msg=str(tree))  # NaN equals NaN here
    if ordered:
        return
    zero = wanted == 0
    np.testing.assert_array_equal(
        np.signbit(got[zero]), np.signbit(wanted[zero]), err_msg=f"sign of zero in {tree}"
    )


# ---- single facts -------------------------------------------------------------------------------


def test_flattened_and_split_indices_cancel() -> None:
    i, j, k = var("i", 7), var("j", 5), var("k", 3)
    flat = (i * 5 + j) * 3 + k
    assert flat // 15 is i and flat // 3 % 5 is j and flat % 3 is k
    a, b = var("a", H), var("b", W)
    flat = (a * W + b) * 4
    assert flat // (W * 4) is a and flat // 4 % W is b


def test_text_is_the_canonical_form() -> None:
    assert text(K + I * 64 + 3) == text(3 + 64 * I + K) == "(((i * 64) + k) + 3)"
    assert text((I * 64 + K) // 64) == "i"


@pytest.mark.parametrize(
    ("op", "a", "b", "result"),
    [
        ("idiv", -7, 2, -3),
        ("floordiv", -7, 2, -4),
        ("rem", -7, 2, -1),
        ("mod", -7, 2, 1),
        ("idiv", 5, 0, 0),
        ("floordiv", 5, 0, 0),
        ("mod", 5, 0, 0),
        ("rem", 5, 0, 0),
        ("shl", 1, 32, 0),
        ("shr", -8, 1, -4),
        ("add", 2**31 - 1, 1, -(2**31)),
        ("mul", 65536, 65536, 0),
    ],
)
def test_integer_semantics(op: str, a: int, b: int, result: int) -> None:
    assert expr.apply(op, const(a), const(b)) is const(result)


@pytest.mark.parametrize(
    ("x", "dtype", "result"),
    [
        (float("nan"), "i32", 0),
        (3e9, "i32", 2**31 - 1),
        (-3e9, "i32", -(2**31)),
        (-1.9, "i32", -1),
        (-1.0, "u32", 0),
        (float("inf"), "u32", 2**32 - 1),
    ],
)
def test_casts_saturate(x: float, dtype: str, result: int) -> None:
    assert expr.cast(const(x), dtype) is const(result, dtype)


def test_division_by_a_sum() -> None:
    """A padded size, h + 2, divides what it multiplies."""
    n = dim("n", 1, 100)
    i, j, c = var("i", 5), var("j", n + 2), var("c", 3)
    assert (n + 2) // (n + 2) is const(1)
    assert (i * (n + 2) + j) // (n + 2) is i
    assert (i * (n + 2) + j) % (n + 2) is j
    assert ((i * (n + 2) + j) * 3 + c) // (3 * (n + 2)) is i
    assert (n * n + 2 * n) // (n + 2) is n
    assert ((i + j) // (n + 2)).op == "floordiv"  # not proved
    assert (n * n) % (n + 2) is not const(0)


def test_a_dimension_with_a_step_is_its_multiples() -> None:
    h, w = dim("h", 32, 640, 32), dim("w", 32, 640, 32)
    assert h // 2 * 2 is h and h // 8 * 4 is h // 2 and h % 16 is const(0)
    assert (h - 1) // 2 + 1 is h // 2  # a convolution of stride 2
    assert text(h // 2) == "(h // 2)" and text((h // 8) * (w // 8)) == "((h // 8) * (w // 8))"
    assert (h // 2) * (w // 2) * 4 is h * w
    assert (h // 64).op == "floordiv" and h % 64 is not const(0)
    i, j = var("i", 5), var("j", h // 2)
    assert (i * (h // 2) + j) // (h // 2) is i
    o = dim("o", 33, 641, 32)  # one more than a multiple: corners stay in place
    assert (o - 1) // 4 * 4 + 1 is o
    with pytest.raises(ValueError, match="in steps of 8"):
        dim("x", 1, 512, 8)


def test_remainders_of_sizes_have_one_form() -> None:
    n = dim("n", 1, 100)
    padded = (n + 3) // 4 * 4
    assert n + -n % 4 is padded and n + (4 - n % 4) % 4 is padded
    assert n - n % 4 is n // 4 * 4 and bounds(n % 4) == (0, 3)
    assert ((n - 1) // 2 + 1 - 1) // 2 + 1 is (n + 3) // 4
    assert expr.minimum(n, padded) is n and expr.minimum(n, n // 2 * 2) is n // 2 * 2
    assert expr.same(n - n // 2, (n + 1) // 2) and not expr.same(n // 2, (n + 1) // 2)


def test_a_size_that_may_be_0_divides_where_a_variable_runs_below_it() -> None:
    n = dim("n", 0, 9)
    i, j = var("i", 5), var("j", n)
    assert (i * n + j) // n is i and (i * n + j) % n is j
    assert (n * 3 // n).op == "floordiv"  # 0 where n is 0


def test_text_of_what_a_target_loads() -> None:
    """Targets have loads of their own (four elements at once), whose slot is no expression."""
    i = var("i", 8)
    assert text(make("load4", (0, i), "i32") + 1) in ("(load4(0, i) + 1)", "(1 + load4(0, i))")
