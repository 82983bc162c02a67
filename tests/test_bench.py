"""The benchmarks' page and report: what anyone can open, in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import page
from tests.chromium import driven
from webdnn.browser.server import running


@pytest.mark.models
def test_page_races_engines_and_compares_their_outputs(tmp_path: Path) -> None:
    page.write(tmp_path, {"multistyle26": {"h": 48, "w": 48}})
    with running({"/": tmp_path}) as server, driven() as opened:
        opened.goto(server.url)
        opened.wait_for_selector("#form:not([hidden])")
        for box in opened.query_selector_all("#ways input")[1:]:
            box.uncheck()
        opened.click("#run")
        opened.wait_for_function("document.querySelector('#status').textContent === 'Done.'")
        address = opened.get_attribute("#download", "href")
        results = opened.evaluate("address => fetch(address).then((r) => r.json())", address)
        assert "ONNX Runtime Web takes" in opened.inner_text("#means")
    rows = {row["engine"]: row for row in results["rows"]}
    assert set(rows) == {"ours", "ort"}
    for row in rows.values():
        assert not row["failure"] and 0 < row["minimum"] <= row["median"]
        assert 0 < row["relative_error"] < 1e-4


def test_networks_that_may_not_be_shipped_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        page.main(["anywhere", "openwakeword"])
    assert "openwakeword: its licence does not allow to ship it" in capsys.readouterr().err


def test_report_shows_what_was_measured_and_voids_what_is_wrong(tmp_path: Path) -> None:
    common = {"model": "a <b>", "backend": "wasm", "threads": 2, "gflop": 1.5, "ceiling": 50.0}
    measured = {"minimum": 2.0, "median": 2.5, "first": 40.0, "relative_error": 1e-6, "failure": ""}
    rows = [
        {**common, **measured, "engine": "ours"},
        {**common, **measured, "engine": "ort", "minimum": 5.0},
        {**common, **measured, "engine": "litert", "relative_error": None},
    ]
    page.report(tmp_path / "r.html", {"when": "today", "machine": "this one", "rows": rows})
    with running({"/": tmp_path}) as server, driven() as opened:
        opened.goto(f"{server.url}r.html")
        opened.wait_for_selector("#summary:not([hidden])")
        text = opened.inner_text("main")
        widths = opened.eval_on_selector_all(".bar i", "bars => bars.map((b) => b.style.width)")
    assert "a <b>" in text and "WebAssembly, 2 threads" in text and "2.50" in text
    assert "its outputs are wrong: not comparable" in text
    assert widths == ["40%", "100%"]
