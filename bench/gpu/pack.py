"""Packs the race for a machine that has a graphics card, Python and PyTorch, and no network.

    python -m bench.gpu.pack DIR            # DIR/1, DIR/2 …: parts that fit a call of 64 MB
    bash DIR/1/unpack.sh TARGET             # there, once for each part
    . TARGET/env.sh                         # then: python3 -m bench.gpu.race

A part holds a piece of one archive and `unpack.sh`, which puts pieces aside until it has all. In
the archive: this repository's files, ONNX Runtime Web, and Chromium with the libraries that it
needs, as they are on this (Debian) machine. Networks are no part of it: their weights come from a
seed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.peers import ORT, unpack

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = Path("/usr/lib/chromium")
FILES = (
    "chromium",
    "chrome_100_percent.pak",
    "chrome_200_percent.pak",
    "chrome_crashpad_handler",
    "icudtl.dat",
    "libEGL.so",
    "libGLESv2.so",
    "libvk_swiftshader.so",
    "libvulkan.so.1",
    "locales/en-US.pak",
    "snapshot_blob.bin",
    "v8_context_snapshot.bin",
    "vk_swiftshader_icd.json",
)
# Opened by name, so that ldd does not show them: certificates, and what a card's driver wants.
OPENED = (
    "libsoftokn3.so", "libfreebl3.so", "libfreeblpriv3.so", "libnssckbi.so",
    "libX11.so.6", "libXext.so.6", "libxcb.so.1", "libXau.so.6", "libXdmcp.so.6", "libX11-xcb.so.1",
    "libEGL.so.1", "libGL.so.1", "libGLX.so.0", "libGLdispatch.so.0", "libOpenGL.so.0",
    "libGLESv2.so.2",
)  # fmt: skip
# The other machine's own: those of its C library and compiler.
THEIRS = re.compile(
    r"(libc|libm|libdl|libpthread|librt|libresolv|ld-linux.*|libstdc\+\+|libgcc_s)\.so"
)
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
BIG = 30000
"""Bytes from which a resource of the browser's own pages (its inspector's) is left out."""
RUNTIME = (
    "ort.jspi.bundle.min.mjs",
    "ort-wasm-simd-threaded.jspi.mjs",
    "ort-wasm-simd-threaded.jspi.wasm",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.pack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--megabytes", type=float, default=54, help="of a part, at most")
    parser.add_argument("--preset", type=int, default=1, help="of xz: 9 takes ten minutes")
    given = parser.parse_args(arguments)
    if not (CHROMIUM / "chromium").is_file():
        parser.error(f"expected Debian's Chromium in {CHROMIUM}: apt-get install chromium")
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        stage = Path(scratch) / "stage"
        _browser(stage / "chromium")
        _runtime(stage / "cache")
        _source(stage / "source")
        archive = Path(scratch) / "race.tar.xz"
        _compress(stage, archive, given.preset)
        parts = _cut(archive, given.folder, int(given.megabytes * 1e6))
    for part in parts:
        size = sum(file.stat().st_size for file in part.iterdir())
        print(f"{part}: {size / 1e6:.1f} MB")
    return 0


def _browser(folder: Path) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHROMIUM / name, folder / name)
    resources = (CHROMIUM / "resources.pak").read_bytes()
    (folder / "resources.pak").write_bytes(lean(resources, BIG))
    libraries = folder / "lib"
    libraries.mkdir()
    system = next(Path("/usr/lib").glob("*-linux-gnu/libnss3.so")).parent
    opened = [system / name for name in OPENED if (system / name).is_file()]
    needed = {path for file in (CHROMIUM / "chromium", *opened) for path in _needed(file)}
    for path in sorted({*needed, *opened}):
        if not THEIRS.match(path.name):
            shutil.copy2(path, libraries / path.name)  # a link becomes the file
    fonts = folder / "fonts"
    fonts.mkdir()
    shutil.copy2(FONT, fonts)


def _needed(file: Path) -> list[Path]:
    """The libraries that a program or a library is linked with."""
    done = subprocess.run(["ldd", file], capture_output=True, text=True, check=True)
    return [Path(path) for path in re.findall(r"=> (/\S+)", done.stdout)]


def lean(pack: bytes, most: int) -> bytes:
    """Chromium's resources (format 5) with those of more than `most` bytes emptied."""
    version, encoding, count, aliases = struct.unpack_from("<IIHH", pack)
    if version != 5:
        raise ValueError(f"resources.pak has version {version}; expected 5")
    entry = struct.Struct("<HI")
    entries = [entry.unpack_from(pack, 12 + entry.size * i) for i in range(count + 1)]
    table = 12 + entry.size * (count + 1)
    alias = pack[table : table + 4 * aliases]
    offset = table + len(alias)
    index, data = [], []
    for i, (number, start) in enumerate(entries):
        index.append(entry.pack(number, offset))
        if i < count and (size := entries[i + 1][1] - start) <= most:
            data.append(pack[start : start + size])
            offset += size
    head = struct.pack("<IIHH", version, encoding, count, aliases)
    return b"".join([head, *index, alias, *data])


def _runtime(cache: Path) -> None:
    """ONNX Runtime Web where `bench.peers` looks for it."""
    package = unpack(ORT)
    target = cache / "packages" / ORT.host / package.name / "package" / "dist"
    target.mkdir(parents=True)
    for name in RUNTIME:
        shutil.copy2(package / "package" / "dist" / name, target / name)


def _source(folder: Path) -> None:
    """The files of this checkout that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def _compress(stage: Path, archive: Path, preset: int) -> None:
    tar = subprocess.Popen(["tar", "-C", stage, "-cf", "-", "."], stdout=subprocess.PIPE)
    with archive.open("wb") as file:
        filters = ["--x86", f"--lzma2=preset={preset}"]
        subprocess.run(["xz", "-T0", *filters], stdin=tar.stdout, stdout=file, check=True)
    if tar.wait():
        raise RuntimeError(f"tar ended with status {tar.returncode}")


def _cut(archive: Path, folder: Path, most: int) -> list[Path]:
    """The archive in equal parts of at most `most` bytes, each with the script."""
    size = archive.stat().st_size
    count = -(-size // most)
    script = (Path(__file__).parent / "unpack.sh").read_text().replace("PARTS=0", f"PARTS={count}")
    for old in folder.glob("[0-9]*"):
        shutil.rmtree(old)
    parts = []
    with archive.open("rb") as file:
        for number in range(1, count + 1):
            part = folder / str(number)
            part.mkdir()
            (part / f"race.tar.xz.{number:02}").write_bytes(file.read(-(-size // count)))
            (part / "unpack.sh").write_text(script)
            parts.append(part)
    return parts


if __name__ == "__main__":
    sys.exit(main())
