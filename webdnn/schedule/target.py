"""What the compiler knows of a target; each folder of `codegen` makes one value, `TARGET`.

Fusion asks for limits, lowering for what kernels can read, and the writer of descriptors has the
target print and plan a program. A further target (half precision, say) is a further value: nothing
of the compiler compares names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .kernel import Instance, Kernel, Program

Ranges = Mapping[int, tuple[int, int]]  # buffer of a weight -> its offset and bytes in the download


@dataclass(frozen=True)
class Limits:
    """What every device of a target can do; 0 is no limit."""

    buffers: int  # that one kernel touches
    memory: int = 0  # bytes of one run, weights included
    binding: int = 0  # bytes of a buffer as a kernel sees it
    groups: int = 0  # workgroups along an axis of a grid
    invocations: int = 0  # of a workgroup
    workgroup: int = 0  # bytes of a workgroup's own memory


class Printed(Protocol):
    """A kernel as a target prints it."""

    @property
    def name(self) -> str:
        """Its name: the schedule."""

    @property
    def text(self) -> str:
        """All its text, variants for better devices included."""

    @property
    def given(self) -> tuple[Any, ...]:
        """What a launch is given beside buffers."""


class Emit(Protocol):
    """Prints, plans and compiles a program: the target's entry in model.json."""

    def __call__(
        self,
        program: Program,
        weights: Ranges,
        download: int,
        write: Callable[[str, str, bytes], str],
        *,
        keep: bool,
        progress: Callable[[int, int], None],
    ) -> dict[str, Any]:
        """`weights`: where each weight's buffer lies in the download, of `download` bytes in all.
        `write(stem, suffix, data)` adds a file to the descriptor and returns its name. `keep`:
        values stay readable after a run. `progress(done, total)` may be called from several
        threads.

        Raises WebDNNError for what the target cannot run."""


@dataclass(frozen=True)
class Target:
    """A target as a value.

    reads: the rows of `scalar.STORAGE` that its kernels read; what is stored otherwise is widened
    once, when the weights have arrived (`Program.prepare`). looks_up: rows that they read more
    slowly: for tables of which a run reads a part. suffix: of a kernel's text as a file. memory:
    the bytes that a run needs beside the weights, at the largest sizes. slices: into how many parts
    the depth of a product is cut (`Instance.slices`), which a kernel after it adds up. templates:
    those of `codegen` that it has; `Op.composed` stands in for others. winograd: whether, without
    that template, Winograd's way is faster by products (`ops.winograd_products`), of a convolution
    of so many pixels, tiles, channels and filters. row: elements of a row that a kernel reads once,
    however many reductions it takes over it; 0: none.
    launches: whether each step is a launch of its own, which takes as long as a small copy. halves:
    whether what a run computes lies in memory in half precision, as far as `halves.py` allows.
    """

    name: str
    limits: Limits
    reads: frozenset[str]
    looks_up: frozenset[str]
    suffix: str
    print: Callable[[Kernel], Printed]
    memory: Callable[[Program], int]
    slices: Callable[[Instance], int]
    emit: Emit
    templates: frozenset[str]
    winograd: Callable[[int, int, int, int], bool] = lambda *sizes: False
    row: int = 0
    launches: bool = False
    halves: bool = False


__all__ = ["Emit", "Limits", "Printed", "Ranges", "Target"]
