"""A page that races WebDNN, ONNX Runtime Web and LiteRT.js in whichever browser opens it.

    python -m bench.page build/bench                 # the usual networks
    python -m bench.page build/bench minilm T=77     # others
    webdnn serve build/bench

The folder is static: any server will do, a phone may open it, and nothing leaves it. It needs
cross-origin isolation for threads alone (docs/deploying.md). Only networks whose licence allows to
ship them are taken. `report` writes the same page with results in it, as one file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import webdnn
from bench.entry import Entry, enter, sizes
from bench.peers import mounts
from tests import models

HERE = Path(__file__).parent
STATIC = HERE / "static"
STYLE = HERE.parent / "examples" / "style.css"
USUAL: Mapping[str, Mapping[str, int]] = {
    "keras_mobilenetv2": {},
    "keras_mobilenetv3small": {},
    "keras_efficientnetb0": {},
    "minilm": {"T": 128},
    "multistyle26": {"h": 256, "w": 256},
}
# Of what the peers' packages hold, what a page asks for.
PEERS = (
    "ort.wasm.bundle.min.mjs",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="*", metavar="MODEL|DIM=SIZE", help=", ".join(USUAL))
    given = parser.parse_args(arguments)
    try:
        picked = sizes(given.what, USUAL)
    except (KeyError, ValueError) as error:
        parser.error(str(error.args[0]))
    if kept := [name for name in picked if models.model(name).licence != "ship"]:
        parser.error(f"{kept[0]}: its licence does not allow to ship it")
    write(given.folder, picked)
    print(f"webdnn serve {given.folder}")
    return 0


def write(folder: Path, networks: Mapping[str, Mapping[str, int]]) -> None:
    """Writes the page with `networks`, each at one size, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("index.html", "page.js", "race.html"):
        shutil.copyfile(STATIC / name, folder / name)
    shutil.copyfile(STYLE, folder / "style.css")
    (folder / "bench").mkdir(exist_ok=True)
    shutil.copyfile(HERE / "turns.mjs", folder / "bench" / "turns.mjs")
    for url, source in mounts().items():
        wanted = PEERS if url == "/ort/" else [path.name for path in source.iterdir()]
        (folder / url.strip("/")).mkdir(exist_ok=True)
        for file in wanted:
            if (source / file).is_file():
                # not copy: what npm packs may be unreadable to a server
                shutil.copyfile(source / file, folder / url.strip("/") / file)
    told = [_network(folder, enter(name, size)) for name, size in networks.items()]
    (folder / "networks.json").write_text(json.dumps(told))


def _network(folder: Path, entry: Entry) -> dict[str, Any]:
    """Writes one network in every engine's form; what page.js reads of it."""
    place = folder / "networks" / entry.name
    place.mkdir(parents=True, exist_ok=True)
    print(f"{entry.label} …", file=sys.stderr, flush=True)
    dims = models.fixed_dims(entry.name, entry.size)
    webdnn.transpile(entry.onnx, place / "webdnn", dims=dims)
    shutil.copyfile(entry.onnx, place / "model.onnx")
    if tflite := models.fetch_tflite(entry.name):
        shutil.copyfile(tflite, place / "model.tflite")

    def tensors(kind: str, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        found = []
        for i, (name, array) in enumerate(arrays.items()):
            file = place / f"{kind}-{i}.bin"
            file.write_bytes(array.tobytes())
            told = {"name": name, "shape": array.shape, "dtype": str(array.dtype)}
            found.append({**told, "file": file.relative_to(folder).as_posix()})
        return found

    at = place.relative_to(folder).as_posix()
    return {
        "name": entry.label,
        "about": models.model(entry.name).about,
        "gflop": entry.gflop,
        "dims": entry.size,
        "inputs": tensors("input", entry.feeds),
        "outputs": tensors("output", entry.expected),
        "onnx": f"{at}/model.onnx",
        "tflite": f"{at}/model.tflite" if tflite else None,
        "descriptor": f"{at}/webdnn/",
        "files": sorted(
            path.relative_to(folder).as_posix()
            for path in place.rglob("*")
            if path.is_file() and path.suffix in (".onnx", ".tflite", ".bin", ".wasm", ".js")
        ),
    }


def report(path: Path, results: Mapping[str, Any]) -> None:
    """Writes `results`, {"when", "machine", "rows"}, as a page of bars in one file."""
    page = (STATIC / "index.html").read_text()
    data = json.dumps(results, allow_nan=False).replace("<", "\\u003c")
    for tag, inline in (
        ('<link rel="stylesheet" href="style.css">', f"<style>\n{STYLE.read_text()}</style>"),
        (
            '<script type="module" src="page.js"></script>',
            f'<script type="module">\n{(STATIC / "page.js").read_text()}</script>',
        ),
        ('id="given">null<', f'id="given">{data}<'),
    ):
        assert tag in page
        page = page.replace(tag, inline)
    path.write_text(page)


if __name__ == "__main__":
    sys.exit(main())
