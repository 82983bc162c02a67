"""What `--weights` costs and saves: size, time and accuracy of trained networks in each form.

    python -m bench.weights                                  # the table of docs/weights.md
    python -m bench.weights minilm --forms f32 int8,asymmetric
    python -m bench.weights --pictures docs/weights.jpg      # the style transfer, side by side

Accuracy is that of `webdnn check`: a page's outputs beside the float model's in onnxruntime, on two
real inputs, the worse of both. Time is the least processor time of a run in Node (one thread of
WebAssembly with plain SIMD), and as a part of float32's; forms take turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import models
from webdnn.browser.check import check
from webdnn.transpiler import transpile

NODE = Path(__file__).with_suffix(".mjs")
FORMS = ("f32", "f16", "int8", "int8,asymmetric", "int4", "int4,asymmetric")
SIZES: Mapping[str, Mapping[str, int]] = {
    "mobilenetv2": {},
    "minilm": {"T": 128},
    "ppocr_det": {},
    "ppocr_rec": {},
    "multistyle26": {"h": 256, "w": 256},
}


def row(name: str, form: str, folder: Path, ms: float, first: Mapping[str, float]) -> str:
    """A line of the table: what the page of `folder` makes of the network's inputs."""
    size = SIZES[name]
    stored = json.loads((folder / "model.json").read_text())["weights"]["bytes"]
    feeds = [models.feeds(name, size, variant) for variant in (0, 1)]
    report = check(
        models.fetch(name),
        descriptor=folder,
        inputs=feeds,
        sizes=[size] if size else None,
        targets=["wasm"],
        variants=["relaxed"],
    )
    outputs = [output for run in report.runs for output in run.outputs]
    if any(run.error for run in report.runs):
        raise SystemExit(f"{name} {form}: {report!r}")
    cosine = min((o.cosine for o in outputs), default=1.0)
    angle = "" if np.isnan(cosine) else f"{cosine:.4f}"
    worst = max(o.relative for o in outputs)
    rows = sum(o.rows for o in outputs)
    classes = rows and name == "ppocr_rec"  # all others give features or pictures
    top = f"{sum(o.agree for o in outputs)} of {rows}" if classes else ""
    base = first["bytes"]
    return (
        f"| {name} | {form} | {stored / 1e6:.2f} | {stored / base:.3f} | {ms:.1f} | "
        f"{ms / first['ms']:.2f} | {worst:.1e} | {angle} | {top} |"
    )


def measured(name: str, forms: Sequence[str], seconds: float) -> list[str]:
    """The rows of one network."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {form: Path(scratch) / form.replace(",", "-") for form in forms}
        for form, folder in folders.items():
            transpile(
                models.fetch(name),
                folder,
                targets=["wasm"],
                dims=models.dim_options(name),
                weights=form,
            )
        command = ["node", str(NODE), str(seconds), *map(str, folders.values())]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times = dict(zip(forms, json.loads(done.stdout), strict=True))
        stored = json.loads((folders[forms[0]] / "model.json").read_text())["weights"]["bytes"]
        first = {"ms": times[forms[0]], "bytes": stored}
        return [row(name, form, folders[form], times[form], first) for form in forms]


def pictures(file: Path, forms: Sequence[str]) -> None:
    """Draws what the style transfer makes of a photograph in each form, side by side."""
    from PIL import Image

    size = SIZES["multistyle26"]
    feeds: Any = models.feeds("multistyle26", size)
    shown = []
    with tempfile.TemporaryDirectory() as scratch:
        for form in forms:
            saved = Path(scratch) / form
            check(
                models.fetch("multistyle26"),
                dims=models.dim_options("multistyle26"),
                weights=form,
                inputs=feeds,
                sizes=[size],
                targets=["wasm"],
                variants=["relaxed"],
                save=saved,
            )
            (found,) = saved.rglob("wasm-relaxed/stylized.npy")
            shown.append(np.load(found)[0].transpose(1, 2, 0))
    strip = np.concatenate(shown, 1)
    Image.fromarray((strip.clip(0, 1) * 255).round().astype(np.uint8)).save(file, quality=85)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", default=[*SIZES], help="default: all")
    parser.add_argument("--forms", nargs="+", default=FORMS, help="the first is compared with")
    parser.add_argument("--seconds", type=float, default=5, help="of runs in a form; default: 5")
    parser.add_argument("--pictures", type=Path, metavar="FILE", help="draw these instead")
    given = parser.parse_args(arguments)
    if given.pictures:
        pictures(given.pictures, given.forms)
        return 0
    print("| network | `--weights` | MB | of f32 | ms | of f32 | relative | cosine | top-1 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in given.names:
        for line in measured(name, given.forms, given.seconds):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
