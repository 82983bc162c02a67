"""The graph: interning, inference, lazy constants, rewriting."""

from __future__ import annotations

import doctest
import gc
import importlib
import inspect
import tracemalloc
import weakref
from collections.abc import Mapping

import numpy as np
import pytest

import webdnn.graph as graph_module
from webdnn import ops
from webdnn.errors import ModelError, UnsupportedError
from webdnn.expr import dim, upper
from webdnn.graph import (
    Graph,
    Op,
    Value,
    computed,
    constant,
    dims_of,
    evaluate,
    lazy_constant,
    placeholder,
    rewrite,
    type_text,
    verify,
)
from webdnn.ops.elementwise import elementwise

X = placeholder("x", (2, 3), "f32")
Y = placeholder("y", (2, 3), "f32")


@pytest.mark.parametrize(
    "module",
    [
        "scalar", "expr", "graph", "schedule.kernel", "schedule.lower", "ops.elementwise",
        "ops.indexing", "ops.known", "ops.linear", "ops.movement", "ops.reduce", "passes",
        "passes.layout", "frontend.arrays", "frontend.windows", "frontend.sequences",
        "codegen.integers", "codegen.template",
    ],
)  # fmt: skip
def test_examples_in_docstrings(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"webdnn.{module}"))
    assert not failed


def test_equal_computations_are_one_object() -> None:
    assert ops.add(X, Y) is ops.add(X, Y)
    assert ops.add(X, Y) is not ops.add(Y, X)
    assert ops.mul(X, 2.0) is ops.mul(X, np.float32(2))
    assert constant(np.zeros(100, np.float32)) is constant(np.zeros(100, np.float32))
    assert constant(np.zeros(2, np.float32)) is not constant(np.zeros(2, np.int32))
    assert constant(0.0) is not constant(-0.0)
    assert placeholder("x", (2, 3), "f32") is X
    padded = [ops.pad(X, (0, 1), (0, 0), value=v) for v in (0.0, -0.0, 0)]
    assert padded[0] is not padded[1] and padded[0] is padded[2]


def namesakes() -> Graph:
    """Two operators called mish, of which the second is a user's, each in a kernel of its own."""

    @elementwise
    def mish(x):
        return 3 * x

    return Graph((X,), {"ours": ops.mish(X), "theirs": mish(X)})


def test_operators_of_one_name_are_two() -> None:
    graph = namesakes()
    ours, theirs = graph.outputs.values()
    assert ours is not theirs and ours.op is ops.mish and theirs.op is not ops.mish
    both = ops.add(*(v.op(constant(np.float32([1, -2]))) for v in (ours, theirs)))
    np.testing.assert_allclose(evaluate(both), [3.865098, -6.252502], rtol=1e-6)  # torch's mish
    assert str(graph).splitlines()[1:] == [
        "ours: f32[2,3] = mish(x)",
        "theirs: f32[2,3] = mish#2(x)",
    ]
    # A notebook's cell that is run again: the operator of the graph at hand is the one that counts.
    assert str(Graph((X,), {"y": theirs})).splitlines()[1] == "y: f32[2,3] = mish(x)"
    assert namesakes().outputs["theirs"] is not theirs


def test_names_of_operators_differ() -> None:
    """Graphs, kernels and reports are read by name: no two of ours share one."""
    found = {op: op.name for op in vars(ops).values() if isinstance(op, Op)}
    assert len(set(found.values())) == len(found) > 90


def test_an_elementwise_operator_shows_its_function() -> None:
    assert inspect.getdoc(ops.softplus) == "log(1 + exp(x)) without overflow."
    assert str(inspect.signature(ops.elu)) == "(x, *, alpha)"


def test_attributes_with_defaults_may_be_left_out() -> None:
    op = Op("scaled", "map", lambda x, *, gain=2.0: [(x.shape, x.dtype)])
    assert op(X).attrs == {"gain": 2.0}
    assert op(X) is op(X, gain=2.0)
    assert op(X) is not op(X, gain=3.0)


def test_what_nobody_holds_is_forgotten() -> None:
    gc.collect()
    before = len(graph_module._NODES)
    value = ops.exp_(ops.mul(X, 123.0))
    assert len(graph_module._NODES) == before + 3  # the number, the product, the exponential
    del value
    gc.collect()
    assert len(graph_module._NODES) == before


def test_shapes_broadcast_and_clashes_are_named() -> None:
    h = dim("h", 1, 8)
    image = placeholder("i", (1, h, 4), "f32")
    assert ops.add(image, placeholder("v", (4,), "f32")).shape == (1, h, 4)
    assert ops.add(image, placeholder("w", (5, 1, 1), "f32")).shape == (5, h, 4)
    with pytest.raises(ValueError, match=r"shapes do not broadcast: \[2, 3\], \[2\]"):
        ops.add(X, placeholder("z", (2,), "f32"))
    with pytest.raises(UnsupportedError, match=r"one dtype, found f32\[2,3\], i32\[2,3\]"):
        ops.add(X, placeholder("n", (2, 3), "i32"))
    with pytest.raises(ModelError, match=r"matmul: f32\[2,3\] and f32\[2,3\] do not fit"):
        ops.matmul(X, Y)


def test_constants_are_read_when_evaluated() -> None:
    reads = 0

    def read() -> np.ndarray:
        nonlocal reads
        reads += 1
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    w = lazy_constant(("file", 12), (2, 3), "f32", read)
    assert lazy_constant(("file", 12), (2, 3), "f32", read) is w
    assert lazy_constant(("file", 12), (3, 2), "f32", read) is not w, "the same bytes otherwise"
    total = ops.reduce_sum(ops.mul(ops.transpose(w, (1, 0)), 2.0), [0])
    assert total.constant and not reads
    np.testing.assert_array_equal(evaluate(total), [[6, 24]])
    assert reads == 1
    assert not ops.add(w, X).constant
    with pytest.raises(ValueError, match="is not constant"):
        evaluate(ops.relu(X))


def test_an_array_that_can_be_had_again_is_not_held() -> None:
    array = np.arange(100, dtype=np.float32)
    held = weakref.ref(array)
    w = constant(array, again=lambda: np.arange(100, dtype=np.float64))
    assert w is constant(array), "it is its content that counts"
    del array
    assert held() is None
    np.testing.assert_array_equal(evaluate(w), np.arange(100, dtype=np.float32))
    assert evaluate(w).dtype == np.float32


def test_arrays_on_the_way_to_a_constant_go_with_their_last_user() -> None:
    """Of a chain of 30 arrays no more than three are in memory at once."""
    value = lazy_constant("chain", (2**18,), "f32", lambda: np.ones(2**18, np.float32))
    for _ in range(30):
        value = ops.mul(value, ops.add(value, 1.0))
    tracemalloc.start()
    evaluate(value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * 2**20


def test_what_only_makes_a_constant_larger_is_left_to_run_time() -> None:
    assert ops.expand(constant(np.zeros((1, 3), np.float32)), (4, 3)).constant
    assert not ops.expand(constant(np.zeros((1, 1), np.float32)), (1000, 1000)).constant


def test_text() -> None:
    h = dim("h", 1, 8)
    x = placeholder("x", (h, 4), "f32")
    g = Graph((x,), {"y": ops.softmax(ops.pad(x, (0, 1), (2, 1)), 1)}, {}, (h,))
    assert str(g).splitlines()[:3] == [
        "x: f32[h,4] = input()",
        "%1: f32[(h + 2),6] = pad(x, after=(2,1), before=(0,1), value=0.0)",
        "%2: f32[(h + 2),1] = reduce(%1, axes=(1), monoid=max)",
    ]
    assert str(g).splitlines()[-1] == "y: f32[(h + 2),6] = div(%4, %5)"
    assert type_text(x) == "f32[h,4]"
    assert dims_of([x.shape]) == [h]
    assert upper(h * 2 + 1) == 17
    assert [computed(d) for d in ("f16", "bool", "u8", "u64", "i64")] == [
        "f32",
        "i32",
        "i32",
        "u32",
        "i32",
    ]


def test_order_and_uses() -> None:
    shared = ops.relu(X)
    g = Graph((X, Y), {"a": ops.add(shared, shared), "b": shared})
    order = g.values()
    assert order.index(shared) < order.index(g.outputs["a"])
    assert order[0] is X and Y in order  # inputs that nobody needs are still inputs
    assert g.uses()[shared] == [g.outputs["a"]] * 2


# ---- rewriting -----------------------------------------------------------------------------------


def relu_to_abs(v: Value, uses: Mapping[Value, int]) -> Value | None:
    return ops.abs_(v.inputs[0]) if v.op is ops.relu else None


def abs_to_neg(v: Value, uses: Mapping[Value, int]) -> Value | None:
    return ops.neg(v.inputs[0]) if v.op is ops.abs_ else None


def test_rules_apply_to_what_rules_made() -> None:
    hits: dict[str, int] = {}
    g = Graph((X,), {"y": ops.relu(ops.relu(X))})
    now = rewrite(g, (relu_to_abs, abs_to_neg), hits)
    assert now.outputs["y"] is ops.neg(ops.neg(X))
    assert hits == {"relu_to_abs": 2, "abs_to_neg": 2}


def test_nothing_to_do_changes_nothing() -> None:
    y = ops.exp_(ops.add(X, Y))
    assert rewrite(Graph((X, Y), {"y": y}), (relu_to_abs,)).outputs["y"] is y


def test_rules_see_uses() -> None:
    """Uses are counted before rewriting, outputs included, and follow a value that is rebuilt."""
    seen: dict[str, int] = {}

    def look(v: Value, uses: Mapping[Value, int]) -> Value | None:
        seen[v.op.name] = uses.get(v, 0)
        return None

    shared = ops.tanh_(ops.relu(X))
    outputs = {"a": ops.exp_(shared), "b": ops.sqrt_(shared), "c": shared}
    rewrite(Graph((X,), outputs), (relu_to_abs, look))
    assert seen["tanh"] == 3 and seen["exp"] == 1


def test_constants_are_not_rewritten() -> None:
    w = ops.relu(constant(np.ones(3, np.float32)))
    y = ops.add(X, w)
    assert rewrite(Graph((X,), {"y": y}), (relu_to_abs,)).outputs["y"] is y


def test_names_follow() -> None:
    inner, hidden = ops.relu(X), ops.exp_(X)
    g = Graph((X,), {"y": ops.neg(inner)}, {"inner": inner, "gone": hidden, "x": X})
    now = rewrite(g, (relu_to_abs,))
    assert now.names == {"inner": ops.abs_(X), "x": X}
    view = ops.transpose(inner, (1, 0))
    g = Graph((X,), {"y": ops.neg(inner)}, {"view": view})
    assert rewrite(g, (relu_to_abs,)).names == {"view": ops.transpose(ops.abs_(X), (1, 0))}


def test_origin_tells_what_was_rebuilt() -> None:
    origin: dict[Value, Value] = {}
    old = ops.exp_(ops.relu(X))
    now = rewrite(Graph((X,), {"y": old}), (relu_to_abs,), None, origin)
    assert origin == {now.outputs["y"]: old}


def test_a_rule_may_not_change_the_type() -> None:
    def narrow(v: Value, uses: Mapping[Value, int]) -> Value | None:
        return ops.cast(v, "f16") if v.op is ops.relu else None

    with pytest.raises(AssertionError, match=r"narrow: relu:f32\[2,3\] became cast:f16\[2,3\]"):
        rewrite(Graph((X,), {"y": ops.relu(X)}), (narrow,))


def test_deep_graphs_need_no_deep_stack() -> None:
    x = X
    for _ in range(5000):
        x = ops.exp_(ops.relu(x))
    g = Graph((X,), {"y": x})
    now = rewrite(g, (relu_to_abs,))
    verify(now)
    assert len(now.values()) == 10001 and len(str(now).splitlines()) == 10001


def test_verify_finds_what_does_not_belong() -> None:
    verify(Graph((X, Y), {"z": ops.add(X, Y)}))
    with pytest.raises(AssertionError, match="is not an input of the graph"):
        verify(Graph((X,), {"z": ops.add(X, Y)}))
    answers = [((2, 3), "f32"), ((3, 2), "f32")]
    fickle = Op("fickle", "map", lambda x: [answers.pop(0)])
    with pytest.raises(AssertionError, match=r"fickle:f32\[2,3\]: inference now says"):
        verify(Graph((X,), {"z": fickle(X)}))


def test_the_only_element_is_the_largest() -> None:
    n = dim("n", 1, 9)
    for size in (3, n):
        y = ops.reduce(placeholder("x", (size, 1), "f32"), "argmax", [1])
        assert (y.shape, y.dtype) == ((size, 1), "i64")
        assert not np.any(evaluate(y)) if y.constant else y.op is ops.EXPAND
