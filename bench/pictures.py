"""How long a page's thread is blocked by a picture that it hands over, in headless Chromium.

    python -m bench.pictures                 # wasm, and WebGPU on the processor
    python -m bench.pictures --times 60 wasm

For a frame of a 1080p video, and a JPEG of 12 megapixels as a file, a bitmap and an element, three
medians in milliseconds: the call of `run`, the longest time in which the page's event loop had no
turn, and the whole until the result. The model takes 224 × 224 pixels and computes next to nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

import webdnn
from webdnn.browser.engine import open_page


def prepare(place: Path) -> None:
    """The model, and the picture: noise that is smooth enough to be a photograph."""
    image = helper.make_tensor_value_info("photo", TensorProto.FLOAT, [1, 3, 224, 224])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["photo"], ["mean"])
    graph = helper.make_graph([node], "mean", [image], [mean])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, place / "mean.onnx")
    webdnn.transpile(place / "mean.onnx", place / "model", inputs="rgb")
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    (place / "files").mkdir()
    photo = Image.fromarray(noise).resize((4000, 3000))
    photo.save(place / "files" / "photo.jpg", quality=92)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("backends", nargs="*", default=["wasm", "webgpu"])
    parser.add_argument("--times", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(place)
        mounts = {
            "/model/": place / "model",
            "/files/": place / "files",
            "/b/": Path(__file__).parent,
        }
        for backend in options.backends:
            gpu = backend == "webgpu"
            with open_page(mounts=mounts, webgpu=gpu) as page:
                argument = {"options": {"backend": backend}, "times": options.times}
                found = page.call("/b/pictures.mjs", argument).value
            print(f"{found.pop('backend'):24}{'call':>8}{'gap':>8}{'whole':>8}")
            for name, ms in found.items():
                print(f"  {name:22}{ms['call']:8}{ms['gap']:8}{ms['whole']:8}")


if __name__ == "__main__":
    main()
