"""The trained networks through the real descriptor in headless Chromium, against onnxruntime (or,
for models of other formats, against the program that `run` in tests/models.py names).

Each network runs on all four wasm variants and on WebGPU (SwiftShader: right, and slow, so some run
at smaller sizes there: `gpu_inputs`, `gpu_sizes` in tests/models.py), at every size of its symbolic
dimensions. A reference that is nearly constant, or hardly moves with the input, fails as empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import webdnn
from tests import models
from webdnn.browser.check import THREADS, wire
from webdnn.browser.compare import TOLERANCE, Target, compare
from webdnn.browser.engine import Engine, Page, open_page

VARIANTS = ("plain", "relaxed", "plain-threads", "relaxed-threads")

pytestmark = pytest.mark.models


class Rooms:
    """Open pages and written descriptors, made when first asked for."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder, self.stack = folder, stack
        self.pages: dict[Engine, Page] = {}
        self.descriptors: dict[object, str] = {}

    def page(self, engine: Engine = "chromium") -> Page:
        if engine not in self.pages:
            page = open_page(engine, mounts={"/d/": self.folder}, webgpu=engine != "webkit")
            self.pages[engine] = self.stack.enter_context(page)
        return self.pages[engine]

    def descriptor(self, name: str, target: Target, gpu: bool = False) -> str:
        """The address of the network's descriptor; `gpu` as in `models.dim_options`."""
        dims = models.dim_options(name, gpu=gpu)
        key = name, target, tuple(dims.items())
        if key not in self.descriptors:
            address = f"/d/{len(self.descriptors)}/"
            webdnn.transpile(
                models.fetch(name),
                self.folder / str(len(self.descriptors)),
                weights_file=models.fetch_weights(name),
                targets=[target],
                dims=dims,
            )
            self.descriptors[key] = address
        return self.descriptors[key]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    with ExitStack() as stack:
        yield Rooms(tmp_path_factory.mktemp("descriptors"), stack)


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


def answers(name: str, sizes: Sequence[Mapping[str, int]], gpu: bool) -> list[models.Feeds]:
    """The reference's outputs at each size; fails where none of them changes with the input."""
    moved = False
    expected = []
    for size in sizes:
        wanted = models.reference(name, models.feeds(name, size, gpu=gpu))
        other = models.reference(name, models.feeds(name, size, variant=1, gpu=gpu))
        expected.append(wanted)
        moved |= any(
            other[key].shape != want.shape
            or np.abs(other[key] - want).max() > 10 * TOLERANCE["wasm"] * np.abs(want).max()
            for key, want in wanted.items()
        )
    assert moved, f"{name}: no output changes with the input"
    return expected


def verify(
    name: str,
    target: Target,
    sizes: Sequence[Mapping[str, int]],
    found: Sequence[Mapping[str, Any]],
    expected: Sequence[models.Feeds],
) -> None:
    for size, outputs, wanted in zip(sizes, found, expected, strict=True):
        assert set(outputs) == set(wanted)
        for key, want in wanted.items():
            result = compare(key, outputs[key], want, TOLERANCE[target])
            print(
                f"{name} {target} {dict(size)} {key}: {result.max_abs:.2e} absolute, "
                f"{result.relative:.2e} of the largest"
            )
            assert result.verdict != "wrong", (key, result)
            assert want.size == 1 or result.verdict != "empty" or len(sizes) > 1, (key, result)


@pytest.mark.parametrize("name", [*models.MODELS, *models.OTHER])
def test_wasm(name: str, rooms: Rooms) -> None:
    sizes = models.model(name).sizes
    feeds = [models.feeds(name, size) for size in sizes]
    expected = answers(name, sizes, gpu=False)
    results = {}
    for variant in VARIANTS:
        threads = THREADS if variant.endswith("threads") else 1
        options = {"backend": "wasm", "variant": variant, "threads": threads}
        results[variant] = run(rooms.page(), rooms.descriptor(name, "wasm"), options, feeds)
        verify(name, "wasm", sizes, results[variant], expected)
    for plain in ("plain", "relaxed"):  # bit-equal for any number of threads
        for a, b in zip(results[plain], results[plain + "-threads"], strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])


# VGG-19 has 20 GFLOP for a processor to compute, and no kernel that ZFNet lacks.
@pytest.mark.parametrize("name", [m for m in [*models.MODELS, *models.OTHER] if m != "light_vgg19"])
def test_webgpu(name: str, rooms: Rooms) -> None:
    model = models.model(name)
    sizes = model.gpu_sizes or model.sizes
    feeds = [models.feeds(name, size, gpu=True) for size in sizes]
    address = rooms.descriptor(name, "webgpu", gpu=True)
    found = run(rooms.page(), address, {"backend": "webgpu"}, feeds)
    verify(name, "webgpu", sizes, found, answers(name, sizes, gpu=True))


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
    name: str, size: dict[str, int], engine: Engine, target: Target, variant: str | None,
    rooms: Rooms,
) -> None:  # fmt: skip
    options: dict[str, Any] = {"backend": target}
    if variant is not None:
        threads = THREADS if variant.endswith("threads") else 1
        options |= {"variant": variant, "threads": threads}
    address = rooms.descriptor(name, target)
    found = run(rooms.page(engine), address, options, [models.feeds(name, size)])
    verify(name, target, [size], found, answers(name, [size], gpu=False))
