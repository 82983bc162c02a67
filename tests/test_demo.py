"""The demo as a visitor meets it: `make demo HEADLESS=1`, and the types of its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_browser import need

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "style_transfer" / "demo.py"
BUILD = ROOT / "build"


@pytest.fixture(scope="module")
def headless() -> str:
    """The demo's own check: builds the site, opens it on both targets; what it printed."""
    need("chromium")
    done = subprocess.run(
        [sys.executable, str(DEMO), "--headless"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.models
def test_demo_is_right_on_both_targets(headless: str) -> None:
    lines = re.findall(r"^(wasm|webgpu) \(.*max error (\S+) .*: right$", headless, re.MULTILINE)
    assert [target for target, _ in lines] == ["wasm", "webgpu"]
    assert all(0 < float(error) < 1e-3 for _, error in lines)


@pytest.mark.models
def test_demo_writes_a_screenshot_with_a_picture_in_it(headless: str) -> None:
    from PIL import Image

    assert str(BUILD / "demo.png") in headless
    with Image.open(BUILD / "demo.png") as image:
        assert image.size == (1200, 820)
        assert len(image.convert("RGB").quantize(256).getcolors() or []) == 256


@pytest.mark.models
def test_demo_controls(headless: str, tmp_path: Path) -> None:
    """Mixing, shares, one's own picture, and a file that is none."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from webdnn import browser, server

    Image.linear_gradient("L").resize((90, 60)).save(tmp_path / "own.png")
    (tmp_path / "text.png").write_text("no picture")
    with server.running({"/": BUILD / "demo"}, csp=True) as site, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser.find("chromium"),
            args=["--disable-quic"],
            chromium_sandbox=False,
        )
        page = chromium.new_page()
        page.goto(f"{site.url}?size=128&backend=wasm&style=4")
        page.wait_for_function("() => demo.lastRun?.styles[3] === 1")
        page.focus(".style:nth-child(8) .add")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => demo.lastRun.styles[3] === .5 && demo.lastRun.styles[7] === .5"
        )
        page.locator("#mix input").first.fill("25")
        page.wait_for_function("() => Math.abs(demo.lastRun.styles[3] - .2) < 1e-6")
        page.set_input_files("#file", tmp_path / "own.png")
        page.wait_for_function("() => demo.lastRun.image.height === 84")
        page.set_input_files("#file", tmp_path / "text.png")
        page.wait_for_selector("[data-state=failed]")
        assert "not a picture" in page.inner_text("#message")
        page.click("#photos button:nth-child(2)")
        page.wait_for_selector("[data-state=ready]")
        assert page.inner_text("#backend").startswith("WebAssembly")
        chromium.close()


@pytest.mark.models
def test_demo_page_fits_the_model_s_types(headless: str, tmp_path: Path) -> None:
    """tsc, strict, on the page's module against the generated model.d.ts."""
    tsc = ROOT / "runner" / "node_modules" / ".bin" / "tsc"
    if not tsc.exists() and not os.environ.get("CI"):
        pytest.skip("make types installs the TypeScript compiler")
    config = {
        "extends": str(ROOT / "runner" / "tsconfig.json"),
        "compilerOptions": {
            "module": "ES2022",
            "moduleResolution": "bundler",
            "lib": ["ES2024", "DOM", "DOM.Iterable"],
        },
        "include": [str(BUILD / "demo" / "app.js")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [str(tsc), "--project", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
