"""Files out of public packages, fetched once into a cache that every checkout shares.

    PAGE = Pinned(Package("pypi", "scikit-image", "0.26.0"), "skimage/data/page.png", "341a6f0a…")
    path = fetch_file(PAGE)

pip and npm download an archive; nothing is installed and no dependency is followed. It is unpacked
in `$WEBDNN_CACHE` or `~/.cache/webdnn`, and a file asked for must have the SHA-256 pinned with it.
The limits: packages on PyPI and npm, and files of packages installed in the running environment.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from examples import showcase
from webdnn.errors import WebDNNError


class FetchError(RuntimeError):
    """A package could not be had, or a file in it is not the one that was pinned."""


@dataclass(frozen=True)
class Package:
    """A published package; `host` "installed" means the one in the running environment."""

    host: Literal["pypi", "npm", "installed"]
    name: str
    version: str


@dataclass(frozen=True)
class Pinned:
    """One file of a package: its path in the unpacked archive and its SHA-256."""

    package: Package
    file: str
    sha256: str


def cache_dir() -> Path:
    """Where packages and models are kept: `$WEBDNN_CACHE`, or `~/.cache/webdnn`."""
    return Path(os.environ.get("WEBDNN_CACHE") or Path.home() / ".cache" / "webdnn").absolute()


def fetch_file(pinned: Pinned) -> Path:
    """A file of a package, downloaded the first time, with its SHA-256 checked each time."""
    path = unpack(pinned.package) / pinned.file
    name = f"{pinned.package.name} {pinned.package.version}".strip()
    if not path.is_file():
        raise FetchError(f"{name} has no file {pinned.file}; expected it below {path.parent}")
    stat = path.stat()
    found = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if found != pinned.sha256:
        raise FetchError(
            f"{pinned.file} of {name} is not the pinned file: SHA-256 expected {pinned.sha256}, "
            f"found {found} in {path}. If the file was damaged, delete that folder and fetch again."
        )
    return path


def unpack(package: Package) -> Path:
    """The folder of a package's unpacked archive."""
    if package.host == "installed":
        spec = importlib.util.find_spec(package.name)
        if spec is None or spec.origin is None:
            raise FetchError(f"the Python package {package.name} is not installed")
        return Path(spec.origin).parent
    slug = package.name.replace("/", "_").replace("@", "")
    folder = cache_dir() / "packages" / package.host / f"{slug}-{package.version}"
    with building(folder) as empty:
        if empty:
            _unpacked(package, empty)
    return folder


def _unpacked(package: Package, folder: Path) -> None:
    """The package's archive, unpacked into a folder."""
    assert package.host != "installed"
    published = showcase.Package(package.host, package.name, package.version)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        try:
            archive = showcase.download(published, Path(scratch))
        except WebDNNError as error:
            raise FetchError(str(error)) from error
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(folder)
        else:
            with tarfile.open(archive) as contents:
                contents.extractall(folder, filter="data")


def run(command: list[str], what: str) -> None:
    """Runs a command; FetchError, with the end of what it wrote, when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise FetchError(f"{what} failed with status {done.returncode}:\n{tail}")


@contextmanager
def building(folder: Path) -> Iterator[Path | None]:
    """Yields an empty folder to fill when `folder` does not exist, else None.

    What was filled becomes `folder` in one step, and only if nothing was raised; processes that
    want the same folder wait for the first.
    """
    if folder.is_dir():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield partial
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@functools.cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """The digest of a file; its size and time are in the cache key so that a change is seen."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
