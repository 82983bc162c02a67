"""Options of the test-suite."""

from __future__ import annotations

import hashlib
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings

import webdnn.chainer_compat  # noqa: F401 - workers' warnings are read here, by importing Chainer

# What is drawn is the same each time; `--hypothesis-profile default` draws anew.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

RUNNER = Path(__file__).resolve().parents[1] / "runner"


def pytest_configure(config: pytest.Config) -> None:
    sources = hashlib.sha256()
    for path in sorted((RUNNER / "src").rglob("*"), key=Path.as_posix):
        if path.suffix in (".js", ".ts"):
            name = path.relative_to(RUNNER / "src").as_posix()
            sources.update(name.encode() + b"\0" + path.read_bytes())
    if (RUNNER / "dist" / "sources").read_text().strip() != sources.hexdigest():
        raise pytest.UsageError("runner/dist is not built from today's runner/src: `make runner`")
    # A job in a shell's background ignores Ctrl-C, and so would every command that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden/ instead of comparing"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give the weights that a framework draws the same values in every run, whatever ran before."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="module")
def own_files() -> Iterator[None]:
    """HDF5 files that a test has just written: not walked in a process of their own, half a second
    for each of hundreds. tests/test_strangers.py and tests/test_fuzz_files.py prove the walk."""
    with mock.patch("webdnn.frontend.hdf5._walked", return_value=""):
        yield
