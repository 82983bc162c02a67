"""What every race needs of one network: its file, an input, what must come out, our descriptor.

    entry = enter("minilm", {"T": 77})
    entry.feeds, entry.expected, entry.gflop
    errors([("sentence_embedding", data)], entry.expected)    # (absolute, relative)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.flops import gflop
from tests import models
from tests.packages import cache_dir

WRONG = 1e-3
"""An output further off than this, relative to its largest magnitude, makes a race void."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """A network at one size, with the outputs that onnxruntime computes natively."""

    name: str
    size: Mapping[str, int]
    onnx: Path
    feeds: Mapping[str, Array]
    expected: Mapping[str, Array]
    gflop: float

    @property
    def label(self) -> str:
        """Name and size, as the tables show them."""
        return " ".join([self.name, "×".join(map(str, self.size.values()))]).strip()

    @property
    def signature(self) -> list[dict[str, object]]:
        """Name, dtype and shape of each input, for the page."""
        return [
            {"name": name, "dtype": str(value.dtype), "shape": value.shape}
            for name, value in self.feeds.items()
        ]

    @property
    def arrays(self) -> dict[str, bytes]:
        """The inputs' bytes under the names by which the page reads them."""
        return {f"input-{i}": value.tobytes() for i, value in enumerate(self.feeds.values())}


def enter(name: str, size: Mapping[str, int]) -> Entry:
    """Fetches the model `name`, makes its input at `size` and computes what is expected."""
    onnx = models.fetch(name)
    feeds = models.feeds(name, size)
    return Entry(name, size, onnx, feeds, models.reference(name, feeds), gflop(onnx, feeds))


def sizes(
    words: Sequence[str], usual: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Reads `MODEL … DIM=SIZE …`: the models named, or all of `usual`, each with its size.

    Raises KeyError or ValueError with a message for the user.
    """
    given = {k: int(v) for k, v in (word.split("=", 1) for word in words if "=" in word)}
    names = [word for word in words if "=" not in word] or list(usual)
    picked = {name: usual.get(name, models.model(name).sizes[0]) for name in names}
    return {
        name: {dim: given.get(dim, value) for dim, value in size.items()}
        for name, size in picked.items()
    }


def descriptor(entry: Entry, target: str, ready: Path | None) -> Path:
    """Our descriptor's folder: transpiled for this size, or `ready/NAME` when a folder is given."""
    if ready is not None:
        if not (ready / entry.name / "model.js").is_file():
            raise FileNotFoundError(f"no descriptor {ready / entry.name / 'model.js'}")
        return ready / entry.name
    import webdnn

    dims = models.fixed_dims(entry.name, entry.size)
    slug = "-".join([entry.name, *map(str, entry.size.values()), target])
    folder = cache_dir() / "bench" / slug
    start = time.perf_counter()
    webdnn.transpile(entry.onnx, folder, targets=(target,), dims=dims)
    print(f"  transpiled in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return folder


def errors(
    outputs: Sequence[tuple[str, bytes]], expected: Mapping[str, Array]
) -> tuple[float, float]:
    """The largest absolute error, and the largest relative to its output's largest magnitude.

    Outputs are matched by name; where a format has renamed them, to the nearest one of that size.
    An output that is missing, or of another size, counts as infinitely wrong.
    """
    absolute = relative = 0.0
    left = dict(expected)
    for name, data in sorted(outputs, key=lambda output: output[0] not in expected):
        found = {
            key: float(np.abs(np.frombuffer(data, value.dtype) - value.ravel()).max())
            for key, value in left.items()
            if len(data) == value.nbytes and (name == key or name not in expected)
        }
        if not found:
            return float("inf"), float("inf")
        best = min(found, key=lambda key: found[key])
        # A NaN is neither small nor large: written this way it does not pass for no error.
        absolute = found[best] if not found[best] <= absolute else absolute
        part = found[best] / float(np.abs(left.pop(best)).max())
        relative = part if not part <= relative else relative
    return (float("inf"), float("inf")) if left else (absolute, relative)
