"""ONNX's backend tests in a browser: a fixed part of them, against the record of all."""

from __future__ import annotations

import pytest

from tests.conformance import cases, recorded, run, share_of
from tests.test_browser import need
from tools import conformance_page

PARTS = 50  # so many of which one is run; `make test-conformance` runs all


@pytest.mark.parametrize("target", ["wasm", "webgpu"])
def test_a_part_of_the_suite(target: str) -> None:
    need("chromium")
    known, chosen = recorded()[target], share_of(cases(), 1, PARTS)
    results = run(chosen, target)
    wrong = {name: said for name, said in results.items() if said and name not in known}
    assert not wrong, f"these have passed: {wrong}"
    right = [name for name, said in results.items() if not said and name in known]
    assert not right, f"to be recorded (python -m tests.conformance --record), they pass: {right}"
    assert len(results) > 30


def test_the_page_is_that_of_the_record() -> None:
    assert conformance_page.PAGE.read_text() == conformance_page.page(), (
        "run python -m tools.conformance_page"
    )
    reasons = [conformance_page.reason(n, said) for n, said in recorded()["wasm"].items()]
    assert "not supported" not in reasons, "give the page a reason that a user would accept"
