"""The examples as a visitor meets them: built, opened in Chromium on both targets, compared."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples import gallery, showcase
from tests.test_browser import need
from webdnn.inspect.describe import describe

ROOT = Path(__file__).parents[1]
FOLDERS = [f for f in gallery.FOLDERS if (showcase.HERE / f / "build.py").is_file()]


def script(folder: str) -> Any:
    """An example's script; skips where its framework is missing."""
    try:
        return importlib.import_module(f"examples.{folder}.build")
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Builds in a folder of this process, beside which another one may build the same example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showcase, "BUILD", tmp_path_factory.mktemp("examples"))
        yield


@pytest.fixture(scope="module", params=FOLDERS)
def built(request: pytest.FixtureRequest) -> Any:
    """The script of an example that is built."""
    need("chromium")
    found = script(request.param)
    found.build()
    return found


@pytest.mark.models
def test_pages_are_right_on_both_targets(built: Any) -> None:
    for example, expected in built.EXAMPLES.items():
        assert showcase.verify(example, expected)


@pytest.mark.models
def test_screenshots_show_a_result(built: Any) -> None:
    from PIL import Image

    for example in built.EXAMPLES:
        with Image.open(example.screenshot) as image:
            assert image.size == (1200, 900)
            assert len(image.convert("RGB").quantize(256).getcolors() or []) > 64


@pytest.mark.models
def test_pages_fit_their_models_types(built: Any, tmp_path: Path) -> None:
    """tsc, strict, on the pages' modules against the generated model.d.ts."""
    tsc = ROOT / "runner" / "node_modules" / ".bin" / "tsc"
    if not tsc.exists() and not os.environ.get("CI"):
        pytest.skip("make types installs the TypeScript compiler")
    site = next(iter(built.EXAMPLES)).site
    config = {
        "extends": str(ROOT / "runner" / "tsconfig.json"),
        "compilerOptions": {
            "module": "ES2022",
            "moduleResolution": "bundler",
            "lib": ["ES2024", "DOM", "DOM.Iterable"],
        },
        "include": [str(file) for file in site.glob("*.js")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [str(tsc), "--project", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout


@contextmanager
def opened(address: str, site: Path, *flags: str) -> Iterator[Any]:
    """A page of a built site in Chromium."""
    from playwright.sync_api import sync_playwright

    from webdnn.browser import engine as browser
    from webdnn.browser import server

    with server.running({"/": site}, csp=True) as running, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser.find("chromium"),
            args=["--disable-quic", *flags],
            chromium_sandbox=False,
        )
        try:
            page = chromium.new_page()
            page.goto(f"{running.url}{address}")
            yield page
        finally:
            chromium.close()


@pytest.mark.models
def test_style_transfer_controls(tmp_path: Path) -> None:
    """Mixing, shares, one's own picture, a file that is none, and the change of the target."""
    from PIL import Image

    need("chromium")
    onnx = script("onnx")
    onnx.build()
    targets = describe(onnx.PAGE.site / "model")["targets"]
    sizes = [targets[name]["code_gzip"] for name in ("wasm relaxed-threads", "webgpu")]
    text = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(r"downloads (\d+) kB of code .* WebAssembly, or (\d+) kB on WebGPU", text)
    assert said, "README says what this network's page downloads"
    for found, kilobytes in zip(sizes, said.groups(), strict=True):
        assert abs(found - 1000 * int(kilobytes)) < 1500, sizes
    Image.linear_gradient("L").resize((90, 60)).save(tmp_path / "own.png")
    (tmp_path / "text.png").write_text("no picture")
    styles = """() => {
      const run = example.lastRun();
      if (!run) return [];
      const bytes = Uint8Array.from(atob(run.inputs.style_weights.base64), (c) => c.charCodeAt(0));
      return [...new Float32Array(bytes.buffer)].concat(run.inputs.image.shape);
    }"""

    def wait(condition: str) -> None:
        page.wait_for_function(f"() => {{ const s = ({styles})(); return {condition}; }}")

    with opened("?size=128&backend=wasm&style=4", onnx.PAGE.site) as page:
        wait("s[3] === 1")
        page.focus(".style:nth-child(8) .add")
        page.keyboard.press("Enter")
        wait("s[3] === .5 && s[7] === .5")
        # What a style is called can be read, and so said.
        assert page.locator("#mix .mixed span").all_inner_texts() == ["Style 4", "Style 8"]
        assert page.inner_text(".style:nth-child(8) button:first-child") == "8"
        small = """() => [...document.querySelectorAll('button, select, input')]
          .map((target) => [target.outerHTML, target.getBoundingClientRect()])
          .filter(([, { width, height }]) => width > 1 && (width < 24 || height < 24))"""
        assert page.evaluate(small) == []
        page.get_by_label("Share of Style 8").focus()
        page.locator("#mix input").first.fill("25")
        wait("Math.abs(s[3] - .25) < 1e-6 && Math.abs(s[7] - .75) < 1e-6")
        page.set_input_files("#file", tmp_path / "own.png")
        wait("s[26] === 84 && s[27] === 128")
        page.set_input_files("#file", tmp_path / "text.png")
        page.wait_for_selector("[data-state=failed]")
        assert "not a picture" in page.inner_text("#message")
        page.click("#photos button:nth-child(2)")
        page.wait_for_selector("[data-state=ready]")
        assert page.inner_text("#target").startswith("WebAssembly")
        # It may be loaded again before one could look.
        page.evaluate("""() => {
          globalThis.states = [];
          const node = document.querySelector('[data-state]');
          const look = () => states.push(node.dataset.state);
          new MutationObserver(look).observe(node, { attributeFilter: ['data-state'] });
        }""")
        page.check("text=best", force=True)
        page.wait_for_function("() => states.includes('loading') && states.at(-1) === 'ready'")


@pytest.mark.models
def test_face_emotion_controls() -> None:
    """The square moves with pointer and keys, and what is in it is what the network gets."""
    need("chromium")
    keras = script("keras")
    keras.build()
    face = "() => example.lastRun()?.inputs.input_1.base64"
    with opened("?backend=wasm", keras.EMOTION_PAGE.site) as page:
        page.wait_for_selector("[data-state=ready]")
        assert page.inner_text("#scores dt:first-child") == "happy"
        seen = [page.evaluate(face)]
        for act in (
            lambda: page.mouse.click(600, 600),
            lambda: page.press("#picture", "ArrowLeft"),
            lambda: page.locator("#side").fill("60"),
            lambda: page.click("#photos button:nth-child(2)"),
        ):
            act()
            page.wait_for_function(f"(before) => ({face})() !== before", arg=seen[-1])
            seen.append(page.evaluate(face))
        assert len(set(seen)) == 5
        total = sum(float(text.split()[0]) for text in page.locator("#scores dd").all_inner_texts())
        assert abs(total - 100) < 4


@pytest.mark.models
def test_face_detection_controls() -> None:
    """A picture without faces, the threshold, and the webcam."""
    need("chromium")
    caffe = script("caffe")
    caffe.build()
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with opened("?backend=wasm", caffe.PAGE.site, *fake) as page:
        page.wait_for_selector("[data-state=ready]")
        assert page.inner_text("#count") == "One face"
        page.click("#photos button:nth-child(3)")
        page.wait_for_function("() => document.querySelector('#count').textContent === 'No face'")
        page.locator("#least").fill("5")
        assert page.inner_text("#count") != "No face" and page.inner_text("#surely") == "5 %"
        page.locator("#least").fill("50")
        page.click("#webcam")
        frame = "() => example.lastRun().inputs.data.shape.join() === '480,640,4'"
        page.wait_for_function(frame)
        assert page.get_attribute("#webcam", "aria-pressed") == "true"
        page.click("#photos button:first-child")
        page.wait_for_function("() => document.querySelector('#count').textContent === 'One face'")
        assert page.get_attribute("#webcam", "aria-pressed") == "false"


# ---- without a model -----------------------------------------------------------------------------


def test_each_example_is_complete() -> None:
    for folder in FOLDERS:
        place = showcase.HERE / folder
        assert {"README.md", "build.py", "page"} <= {p.name for p in place.iterdir()}, folder
        for page in place.glob("page/*.html"):
            text = page.read_text()
            assert 'data-state="loading"' in text and 'href="style.css"' in text, page
            assert 'id="message"' in text and 'id="progress"' in text and 'id="frame"' in text, page
            assert "<style" not in text and " style=" not in text and " on" + "click" not in text, (
                page
            )
        assert f"({folder}/)" in (showcase.HERE / "README.md").read_text()
    onnx = script("onnx")
    place = f"{onnx.STYLES.name}-{onnx.STYLES.version}/{onnx.MODEL}"
    assert f" ~/.cache/webdnn/examples/{place} " in (ROOT / "README.md").read_text()


def test_files_are_the_pinned_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = showcase.Package("pypi", "some", "1.0")
    monkeypatch.setattr(showcase, "cache", lambda: tmp_path)
    (tmp_path / "some-1.0").mkdir()
    (tmp_path / "some-1.0" / "a.bin").write_bytes(b"data")
    digest = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    assert showcase.fetch(package, {"a.bin": digest})["a.bin"].read_bytes() == b"data"
    with pytest.raises(showcase.WebDNNError, match=r"a\.bin of some 1\.0: expected SHA-256 00"):
        showcase.fetch(package, {"a.bin": "00"})


def test_the_gallery_shows_what_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (showcase, gallery):
        monkeypatch.setattr(module, "BUILD", tmp_path)
    one = showcase.Example("one", "<One>", "ONNX", "first & best")
    two = showcase.Example("two", "Two", "Keras", "second", page="other.html")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "index.html").write_text("")
    text = gallery.write_page([one, two]).read_text()
    assert 'href="one/"' in text and "&lt;One&gt;" in text and "first &amp; best" in text
    assert "Two" not in text and '<div class="blank">' in text
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "other.html").write_text("")
    np.zeros(1).tofile(tmp_path / "two" / "other.png")
    assert (
        'href="two/other.html"><img src="two/other.png"'
        in gallery.write_page([one, two]).read_text()
    )


def test_an_example_without_its_framework_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "examples.onnx.build", None)
    assert gallery.load("onnx") is None
    assert "examples/onnx is left out" in capsys.readouterr().out


def test_scripts_explain_themselves() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.onnx.build", "--help"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and "--headless" in done.stdout
