"""The table of cases through the frontend alone: the imported graph means what the model means."""

from __future__ import annotations

import pytest

from tests.cases import CASES
from tests.interpret import interpret
from webdnn.frontend.onnx import draws
from webdnn.frontend.onnx.registry import DOMAINS
from webdnn.graph import verify
from webdnn.passes import run, wide


@pytest.mark.parametrize("name", CASES)
def test_import(name: str) -> None:
    """Both readings of the graph agree with the oracle, at every size."""
    case = CASES[name]
    net = case.build()
    graph = net.graph()
    verify(graph)
    graph = wide.settle(graph, {})  # a reading has 32 bits for a number
    for k, sizes in enumerate(case.sizes):
        feeds = case.feeds(net, k)
        expected = case.expected(k)
        for reading in ("element", "numpy"):
            got = interpret(graph, feeds, {net.symbol(d): n for d, n in sizes.items()}, reading)
            for output, wanted in expected.items():
                problem = case.problem(got[output], wanted)
                assert not problem, f"{output} by {reading} at {dict(sizes)}: {problem}"


@pytest.mark.parametrize("name", CASES)
def test_passes(name: str) -> None:
    """Passes change nothing that can be seen from outside."""
    case = CASES[name]
    net = case.build()
    graph = run(net.graph(), debug=0)
    for k, sizes in enumerate(case.sizes):
        feeds = case.feeds(net, k)
        got = interpret(graph, feeds, {net.symbol(d): n for d, n in sizes.items()}, "element")
        for output, wanted in case.expected(k).items():
            problem = case.problem(got[output], wanted)
            assert not problem, f"{output} at {dict(sizes)}: {problem}\n{graph}"


def test_every_operator_has_a_case() -> None:
    used = {(node.domain, node.op_type) for case in CASES.values() for node in case.build().nodes}
    known = {(domain, name) for domain, table in DOMAINS.items() for name in table}
    drawn = {("", name) for name in draws.OPERATORS}  # test_draws.py
    assert known - used == drawn, "operators of the frontend without a case"
