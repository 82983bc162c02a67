"""The engines that we are measured against, fetched from npm into the cache that models use.

`mounts()` gives the URL prefixes under which their files are served to a page; nothing is installed
and nothing is bundled.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.packages import Package, building, cache_dir, unpack

ORT = Package("npm", "onnxruntime-web", "1.30.0")
LITERT = Package("npm", "@litertjs/core", "2.5.3")
LITERT_UTILS = Package("npm", "@litertjs/wasm-utils", "2.5.3")


def ort_mounts() -> dict[str, Path]:
    """`/ort/`: ONNX Runtime Web alone."""
    return {"/ort/": unpack(ORT) / "package" / "dist"}


def mounts() -> dict[str, Path]:
    """URL prefix → folder: `/ort/`, `/litert/`, `/litert-wasm/`, `/litert-utils/`, `/peak/`."""
    core = unpack(LITERT) / "package"
    return {
        **ort_mounts(),
        "/litert/": _litert_module(core),
        "/litert-wasm/": core / "wasm",
        "/litert-utils/": unpack(LITERT_UTILS) / "package" / "dist",
        "/peak/": _peak(),
    }


def _litert_module(core: Path) -> Path:
    """LiteRT.js' module with its one bare import made a path, as a bundler would resolve it."""
    folder = cache_dir() / "made" / f"litert-{LITERT.version}-beside"
    with building(folder) as empty:
        if empty:
            source = (core / "dist" / "index.js").read_text()
            bare = 'from "@litertjs/wasm-utils"'
            if source.count(bare) != 1:
                raise RuntimeError(f"expected one {bare} in {core / 'dist' / 'index.js'}")
            url = 'from "../litert-utils/index.js"'
            (empty / "index.js").write_text(source.replace(bare, url))
    return folder


def _peak() -> Path:
    """A folder with peak.wasm, compiled from peak.c."""
    source = Path(__file__).with_name("peak.c")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / "made" / f"peak-{digest}"
    with building(folder) as empty:
        if empty:
            command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding",
                       "-O3", "-msimd128", "-mrelaxed-simd", "-nostdlib", "-Wl,--no-entry",
                       "-o", str(empty / "peak.wasm"), str(source)]  # fmt: skip
            subprocess.run(command, check=True)
    return folder
