"""Compiles C for WebAssembly with the clang and linker of the `ziglang` package, and remembers
objects.

    modules = build([Source("relu_1f", "...C...")], module_text)      # {"plain": b"\\0asm...", ...}

Kernels are compiled several to a file, in as many processes as there are processors (four at most),
once for plain and once for relaxed SIMD; each set is linked with and without shared memory. An
object is found again by the hash of each kernel in it, so that a model which shares kernels with an
earlier one compiles only what is new; the linker drops what it does not need. Everything lives
below `$WEBDNN_CACHE`, or `~/.cache/webdnn`; files appear there by renaming, so that several
processes may share it, and the least recently used go when it has grown beyond CACHE_BYTES.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

CACHE_BYTES = 256 << 20
KERNELS_A_FILE = 8

# -fwrapv: integers wrap (expr.py). No contraction: only MADD may fuse, so that a scalar tail and a
# vector agree. Atomics are allowed in all objects, used in none but the threaded module's: one
# object links both ways.
_FLAGS = (
    "-target",
    "wasm32-freestanding",
    "-std=gnu17",
    "-O3",
    "-g0",
    "-w",
    "-ffreestanding",
    "-fno-builtin",
    "-fwrapv",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-mbulk-memory",
    "-matomics",
    "-msimd128",
    "-fno-sanitize=all",
    "-fno-stack-protector",
)
_SIMD = {"plain": (), "relaxed": ("-mrelaxed-simd",)}
VARIANTS = ("plain", "plain-threads", "relaxed", "relaxed-threads")
_LINK = (
    "--no-entry",
    "--gc-sections",
    "--strip-all",
    "--import-memory",
    "--export=__stack_pointer",
    "-z",
    "stack-size=1024",
    "-O2",
)
_SHARED = ("--shared-memory", "--max-memory=4294967296")


class CompilerError(RuntimeError):
    """The compiler refused text that we printed: a bug of ours. The source is kept at `source`."""

    def __init__(self, source: Path, output: str) -> None:
        super().__init__(
            f"the generated C does not compile; the source is kept at {source}\n{output[-4000:]}"
        )
        self.source = source


@dataclass(frozen=True)
class Source:
    """One kernel: the symbol that it defines, its C without the prelude, and whether that calls
    functions of `double.h`."""

    symbol: str
    text: str
    doubles: bool = False


@cache
def _prelude(doubles: bool = False) -> str:
    folder = files("webdnn.codegen.wasm") / "templates"
    names = ("prelude.h", "double.h") if doubles else ("prelude.h",)
    return "\n".join((folder / name).read_text() for name in names)


@cache
def _compiler() -> str:
    return f"{version('ziglang')} {_FLAGS} {_SIMD}"


def cache_folder() -> Path:
    """Where objects are kept between runs."""
    root = os.environ.get("WEBDNN_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "webdnn") / "objects"


def _zig(arguments: Sequence[str], scratch: str) -> subprocess.CompletedProcess[str]:
    # zig's own cache would keep every object a second time, without end.
    environment = dict(os.environ, ZIG_GLOBAL_CACHE_DIR=scratch, ZIG_LOCAL_CACHE_DIR=scratch)
    return subprocess.run(
        [sys.executable, "-m", "ziglang", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def _write(path: Path, data: bytes) -> None:
    """The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as f:
        f.write(data)
    Path(name).replace(path)


def _compile(text: str, flags: Sequence[str], folder: Path) -> Path:
    """The object file of a C text."""
    name = sha256("\n".join((_compiler(), *flags, text)).encode()).hexdigest()[:32]
    target = folder / f"{name}.o"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source, built = Path(scratch) / "kernels.c", Path(scratch) / "kernels.o"
            source.write_text(text)
            done = _zig(["cc", *_FLAGS, *flags, "-c", str(source), "-o", str(built)], scratch)
            if done.returncode:
                kept = folder / "failed" / f"{name}.c"
                _write(kept, text.encode())
                raise CompilerError(kept, done.stderr)
            built.replace(target)
    os.utime(target)
    return target


def _objects(
    kernels: Sequence[Source],
    simd: str,
    folder: Path,
    pool: ThreadPoolExecutor,
    done: Callable[[int], None],
) -> tuple[set[Path], list[Future[Path]]]:
    """Object files that together hold all the kernels: those at hand, and those still to come."""
    found: set[Path] = set()
    missing: list[tuple[Source, Path]] = []
    for kernel in kernels:
        text = "\n".join((_compiler(), simd, _prelude(kernel.doubles), kernel.text))
        key = sha256(text.encode()).hexdigest()[:32]
        entry = folder / "kernels" / key
        try:
            path = folder / entry.read_text()
            os.utime(path)
        except OSError:
            missing.append((kernel, entry))
        else:
            found.add(path)
            done(1)
    workers = max(1, min(4, os.cpu_count() or 1))
    size = max(1, min(KERNELS_A_FILE, -(-len(missing) // workers)))

    def compile_group(group: list[tuple[Source, Path]]) -> Path:
        prelude = _prelude(any(k.doubles for k, _ in group))
        path = _compile("\n".join((prelude, *(k.text for k, _ in group))), _SIMD[simd], folder)
        for _, entry in group:
            _write(entry, path.name.encode())
        done(len(group))
        return path

    groups = [missing[k : k + size] for k in range(0, len(missing), size)]
    return found, [pool.submit(compile_group, group) for group in groups]


def build(
    kernels: Sequence[Source],
    module: str,
    progress: Callable[[int, int], None] | None = None,
    variants: Sequence[str] = VARIANTS,
) -> dict[str, bytes]:
    """The modules of `variants`, by name.

    `module` is the C text that holds the tables and exports; it is compiled with THREADS defined
    for the modules that share their memory. `progress(done, total)` counts compiled kernels and
    linked modules.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    parts = {v: (v.removesuffix("-threads"), v.endswith("-threads")) for v in variants}
    simds = dict.fromkeys(simd for simd, _ in parts.values())
    total, count = len(simds) * len(kernels) + len(parts), 0

    def step(n: int) -> None:
        nonlocal count
        count += n
        if progress is not None:
            progress(count, total)

    modules: dict[str, bytes] = {}
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        mains = {
            shared: pool.submit(_compile, module, ["-DTHREADS"] * shared, folder)
            for shared in {shared for _, shared in parts.values()}
        }
        objects = {simd: _objects(kernels, simd, folder, pool, step) for simd in simds}
        for name, (simd, shared) in parts.items():
            found, coming = objects[simd]
            paths = sorted(found | {future.result() for future in coming})
            modules[name] = _link([mains[shared].result(), *paths], shared, folder)
            step(1)
    _trim(folder)
    return modules


def _link(objects: Sequence[Path], shared: bool, folder: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        target = Path(scratch) / "module.wasm"
        arguments = [
            "wasm-ld",
            *_LINK,
            *(_SHARED if shared else ()),
            "-o",
            str(target),
            *map(str, objects),
        ]
        done = _zig(arguments, scratch)
        if done.returncode:
            raise CompilerError(objects[0], done.stderr)
        return target.read_bytes()


def _trim(folder: Path) -> None:
    """Removes the least recently used files while the cache is too large."""

    kept: list[tuple[float, int, Path]] = []
    for path in (*folder.glob("*.o"), *folder.glob("kernels/*"), *folder.glob("failed/*")):
        try:
            stat = path.stat()
        except OSError:
            continue  # another process removed it
        kept.append((stat.st_mtime, stat.st_size, path))
    kept.sort()
    size = sum(s for _, s, _ in kept)
    if size <= CACHE_BYTES:
        return
    for _, bytes_, path in kept:
        path.unlink(missing_ok=True)
        size -= bytes_
        if size <= CACHE_BYTES * 3 // 4:
            break
