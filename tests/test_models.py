"""The trained networks through the real descriptor in headless Chromium, against onnxruntime (or,
for models of other formats, against the program that `run` in tests/models.py names).

Each network runs on all four wasm variants and on WebGPU (SwiftShader: right, and slow, so some run
at smaller sizes there: `gpu_inputs`, `gpu_sizes` in tests/models.py), at every size of its symbolic
dimensions. A reference that is nearly constant, or hardly moves with the input, fails as empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import webdnn
from tests import models
from webdnn.browser.check import THREADS, TOLERANCE, Target, compare, wire
from webdnn.browser.engine import Engine, Page, open_page

VARIANTS = ("plain", "relaxed", "plain-threads", "relaxed-threads")

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    folder = tmp_path_factory.mktemp("descriptors")
    with open_page("chromium", mounts={"/d/": folder}, webgpu=True) as page:
        yield page, folder


def run(
    page: Page, url: str, options: dict[str, Any], feeds: list[models.Feeds]
) -> list[dict[str, Any]]:
    """The outputs of a descriptor for each of `feeds`."""
    arrays: dict[str, bytes] = {}
    runs = [{"inputs": wire(f, f"in/{k}/", arrays)} for k, f in enumerate(feeds)]
    argument = {"descriptor": url, "options": options, "runs": runs, "layers": False}
    reply = page.call("/__page__/execute.js", argument, arrays, timeout=900)
    assert reply.value["backend"]["name"] == options["backend"]
    if "variant" in options:
        assert reply.value["backend"]["variant"] == options["variant"]
    from webdnn.browser.check import _arrays

    return [_arrays(r["outputs"], reply.arrays) for r in reply.value["runs"]]


def verify(
    name: str, target: str, sizes: list[Any], found: list[dict[str, Any]], gpu: bool
) -> None:
    moved = False
    for size, outputs in zip(sizes, found, strict=True):
        expected = models.reference(name, models.feeds(name, size, gpu=gpu))
        other = models.reference(name, models.feeds(name, size, variant=1, gpu=gpu))
        assert set(outputs) == set(expected)
        for key, want in expected.items():
            result = compare(key, outputs[key], want, TOLERANCE[target])  # type: ignore[index]
            print(
                f"{name} {target} {dict(size)} {key}: {result.max_abs:.2e} absolute, "
                f"{result.relative:.2e} of the largest"
            )
            assert result.verdict != "wrong", (key, result)
            assert want.size == 1 or result.verdict != "empty" or len(sizes) > 1, (key, result)
            moved |= other[key].shape != want.shape or bool(
                np.abs(other[key] - want).max() > 10 * TOLERANCE["wasm"] * np.abs(want).max()
            )
    assert moved, f"{name}: no output changes with the input"


@pytest.mark.parametrize("name", [*models.MODELS, *models.OTHER])
def test_wasm(name: str, pages: tuple[Page, Path]) -> None:
    page, folder = pages
    webdnn.transpile(
        models.fetch(name),
        folder / name,
        weights=models.fetch_weights(name),
        targets=["wasm"],
        dims=models.dim_options(name),
    )
    sizes = list(models.model(name).sizes)
    feeds = [models.feeds(name, size) for size in sizes]
    results = {}
    for variant in VARIANTS:
        threads = THREADS if variant.endswith("threads") else 1
        results[variant] = run(
            page, f"/d/{name}/", {"backend": "wasm", "variant": variant, "threads": threads}, feeds
        )
        verify(name, "wasm", sizes, results[variant], gpu=False)
    for plain in ("plain", "relaxed"):  # bit-equal for any number of threads
        for a, b in zip(results[plain], results[plain + "-threads"], strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize("name", [*models.MODELS, *models.OTHER])
def test_webgpu(name: str, pages: tuple[Page, Path]) -> None:
    page, folder = pages
    where = folder / f"{name}-gpu"
    webdnn.transpile(
        models.fetch(name),
        where,
        weights=models.fetch_weights(name),
        targets=["webgpu"],
        dims=models.dim_options(name, gpu=True),
    )
    model = models.model(name)
    sizes = list(model.gpu_sizes or model.sizes)
    feeds = [models.feeds(name, size, gpu=True) for size in sizes]
    found = run(page, f"/d/{name}-gpu/", {"backend": "webgpu"}, feeds)
    verify(name, "webgpu", sizes, found, gpu=True)


# The other engines: a compiler of WebAssembly and one of WGSL that are not Chromium's.
ENGINES: list[tuple[Engine, Target, str | None]] = [
    ("firefox", "wasm", "plain"),
    ("firefox", "wasm", "relaxed-threads"),
    ("firefox", "webgpu", None),
    ("webkit", "wasm", "plain"),
]


@pytest.mark.parametrize(("engine", "target", "variant"), ENGINES)
@pytest.mark.parametrize(
    ("name", "size"), [("multistyle26", {"h": 128, "w": 128}), ("minilm", {"T": 16})]
)
def test_engines(
    name: str,
    size: dict[str, int],
    engine: Engine,
    target: Target,
    variant: str | None,
    tmp_path: Path,
) -> None:
    webdnn.transpile(
        models.fetch(name), tmp_path / "d", targets=[target], dims=models.dim_options(name)
    )
    options: dict[str, Any] = {"backend": target}
    if variant is not None:
        threads = THREADS if variant.endswith("threads") else 1
        options |= {"variant": variant, "threads": threads}
    with open_page(engine, mounts={"/d/": tmp_path}, webgpu=target == "webgpu") as page:
        found = run(page, "/d/d/", options, [models.feeds(name, size)])
    verify(name, target, [size], found, gpu=False)
