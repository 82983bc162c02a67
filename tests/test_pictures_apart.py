"""Pictures that are not read by the page's own thread: the same pixels, in real browsers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_browser import need
from tests.test_image import Pixels, fits
from webdnn.browser.engine import SOFTWARE_PAINTING, Engine, open_page

HERE = Path(__file__).parent
KINDS = ("raster", "canvas", "bitmap", "frame")


def asked() -> tuple[dict[str, Any], bytes, list[tuple[str, bool, Pixels | None]]]:
    """The page's argument, the pictures' bytes; for each a label, whether it is opaque, and what
    must come out."""
    labels, cases, sources, wanted = zip(*fits(), strict=True)
    sizes = [{"width": s.shape[1], "height": s.shape[0]} for s in sources]
    argument = {"cases": [{**case, **size} for case, size in zip(cases, sizes, strict=True)]}
    opaque = [bool((s[..., 3] == 255).all()) for s in sources]
    data = b"".join(s.tobytes() for s in sources)
    return argument, data, list(zip(labels, opaque, wanted, strict=True))


def far(a: Pixels, b: Pixels) -> int:
    """The largest difference, of colours weighted by their alpha."""
    alphas = np.int32(a[..., 3:]), np.int32(b[..., 3:])
    colours = np.int32(a[..., :3]) * alphas[0] - np.int32(b[..., :3]) * alphas[1]
    return int(max(np.abs(colours).max() / 255, np.abs(alphas[0] - alphas[1]).max()))


@pytest.mark.parametrize(("engine", "gpu"), [("chromium", True), ("firefox", False)])
def test_the_same_pixels_elsewhere(engine: Engine, gpu: bool) -> None:
    """Every way of resizing, of every kind of picture, in a worker and on the GPU, as Pillow and
    the page's thread do it."""
    need(engine)
    argument, sources, cases = asked()
    argument["gpu"] = gpu
    mounts = {"/src/": HERE.parent / "runner" / "src", "/t/": HERE}
    flags = SOFTWARE_PAINTING if gpu else ()
    with open_page(engine, mounts=mounts, webgpu=gpu, flags=flags) as page:
        arrays = {"sources": sources}
        reply = page.call("/t/pictures_apart_page.js", argument, arrays, timeout=120)
    words, at = reply.arrays["words"], 0
    for (label, opaque, wanted), found in zip(cases, reply.value["found"], strict=True):
        for kind in KINDS:
            if wanted is None:
                assert "expected a picture" in found[kind], (label, kind, found)
                continue
            assert found[kind] == list(wanted.shape[:2]), (label, kind, found)
            count = 3 if gpu and kind != "raster" else 2
            data = np.frombuffer(words, np.uint8, count * wanted.size, at)
            at += data.size
            direct, apart, *drawn = data.reshape(count, *wanted.shape)
            assert far(direct, apart) <= 1, (label, kind)
            for pixels in drawn:
                assert far(direct, pixels) <= 1, (label, kind, far(direct, pixels))
            if kind == "raster":
                assert np.array_equal(apart, wanted), label
            elif opaque or kind != "frame":  # which Chromium itself draws wrongly, then
                # A canvas keeps colours times alpha, rounded.
                assert far(apart, wanted) <= (1 if opaque else 3), (label, kind)
    assert at == len(words)
    assert reply.value["lame"] == ["refused", "of another script", "missing"]
    assert reply.value["taken"] == [True] * 4
