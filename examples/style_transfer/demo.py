"""The style-transfer demo: transpile a network, serve a page that runs it on photographs.

    python examples/style_transfer/demo.py              # prints the address; Ctrl-C ends it
    python examples/style_transfer/demo.py --headless   # checks that page, writes build/demo.png

Headless, Chromium opens the page once for each target, and what the page computed is compared with
onnxruntime on what the page fed; the exit status says whether it is right.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import get_model
import numpy as np

import webdnn
from webdnn import browser, server
from webdnn.check import TOLERANCE, compare
from webdnn.cli import progress
from webdnn.errors import WebDNNError
from webdnn.tables import describe, show_descriptor

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
SITE = BUILD / "demo"

# Height and width stay open: one descriptor serves pictures of any size in these ranges.
DIMS: dict[str, int | tuple[int, int]] = {"h": (64, 512), "w": (64, 512)}


def build() -> None:
    """Makes the site: page, photographs, and the model for both targets."""
    (SITE / "photos").mkdir(parents=True, exist_ok=True)
    for name, photo in get_model.photos().items():
        shutil.copyfile(photo, SITE / "photos" / name)
    for part in (HERE / "page").iterdir():
        shutil.copyfile(part, SITE / part.name)
    model = get_model.model()
    with progress(f"Transpiling {model.name}", False) as tell:
        webdnn.transpile(model, SITE / "model", dims=DIMS, name="style", progress=tell)
    show_descriptor(describe(SITE / "model"))


def open_in_chromium(url: str, screenshot: Path | None) -> dict[str, Any]:
    """Opens the page, waits for its picture, and returns what it ran on and what came out."""
    from playwright.sync_api import Error, sync_playwright

    said: list[str] = []
    flags = ["--disable-quic", "--disable-background-networking", "--disable-component-update"]
    flags += ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser.find("chromium"), args=flags, chromium_sandbox=False
        )
        try:
            page = chromium.new_page(viewport={"width": 1200, "height": 820})
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
            page.goto(url)
            page.wait_for_selector("[data-state=ready], [data-state=failed]", timeout=240_000)
            if page.get_attribute("html", "data-state") == "failed":
                raise WebDNNError(page.inner_text("#message"))
            found: dict[str, Any] = json.loads(
                page.evaluate(
                    """() => {
                      const { lastRun: { image, styles, result, ms }, backend } = demo;
                      const plain = ({ data, ...rest }) => ({ ...rest, data: [...data] });
                      return JSON.stringify({
                        backend, ms, styles: [...styles],
                        image: plain(image), result: plain(result),
                      });
                    }"""
                )
            )
            if screenshot is not None:
                page.wait_for_function("() => demo.thumbnailsDone", timeout=240_000)
                page.screenshot(path=screenshot)
            return found
        except Error as error:
            console = "".join(f"\n  console  {line}" for line in said[-20:])
            raise WebDNNError(f"the demo's page failed in Chromium: {error}{console}") from error
        finally:
            chromium.close()


def planes(picture: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A picture of the page as f32 [1, 3, height, width]."""
    shape = (1, 3, picture["height"], picture["width"])
    return np.asarray(picture["data"], np.float32).reshape(shape)


def verify(url: str) -> bool:
    """Runs the page on both targets and compares it with onnxruntime."""
    import onnxruntime

    reference = onnxruntime.InferenceSession(
        str(get_model.model()), providers=["CPUExecutionProvider"]
    )
    right = True
    # First as a visitor opens it: the best target is wasm here, because Chromium's only adapter,
    # SwiftShader, computes WebGPU on the CPU. A small picture does to check that one.
    for query, target, screenshot in (
        ("", "wasm", BUILD / "demo.png"),
        ("?backend=webgpu&size=128", "webgpu", None),
    ):
        found = open_in_chromium(url + query, screenshot)
        feeds = {
            "image": planes(found["image"]),
            "style_weights": np.asarray(found["styles"], np.float32),
        }
        (expected,) = reference.run(["stylized"], feeds)
        tolerance = TOLERANCE["webgpu" if target == "webgpu" else "wasm"]
        result = compare("stylized", planes(found["result"]), expected, tolerance)
        backend = found["backend"]
        right &= result.verdict == "right" and backend["name"] == target
        print(
            f"{target} ({backend['variant']}, {found['image']['width']} px): "
            f"max error {result.max_abs:.2e} "
            f"({result.relative:.2e} of the largest, allowed {tolerance:g}), "
            f"{found['ms']:.0f} ms: {result.verdict} {result.why}".rstrip()
        )
    print(f"screenshot: {BUILD / 'demo.png'}")
    return right


def show_page(port: int | None) -> None:
    """Serves the site until Ctrl-C."""

    def announce(url: str) -> None:
        print(f"\nOpen {url} in a browser. Ctrl-C ends the demo.", flush=True)

    try:
        server.serve(SITE, csp=True, port=8080 if port is None else port, announce=announce)
    except WebDNNError:
        if port is not None:
            raise
        server.serve(SITE, csp=True, port=0, announce=announce)


def main() -> int:
    """Builds the site, then shows or checks it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, help="default: 8080, or any free one if that is taken")
    parser.add_argument("--headless", action="store_true", help="check the page instead")
    options = parser.parse_args()
    try:
        build()
        if options.headless:
            with server.running({"/": SITE}, csp=True) as running:
                return 0 if verify(running.url) else 1
        show_page(options.port)
        return 0
    except (WebDNNError, get_model.FetchError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
