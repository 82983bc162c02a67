"""Times a graph descriptor in a real browser: load, first run, warm runs, and each kernel.

>>> bench(Path("public/models/style"), targets=["wasm"])[0].minimum  # doctest: +SKIP
12.4

Each target is loaded in a fresh page from a server on this machine, so `load` is compiling and
copying, not a network. The minimum of the warm runs is the figure to compare: the median also holds
what else the machine does. WebGPU runs on the browser's software adapter, whose times say
nothing about a graphics card, unless `gpu` asks for the card.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from webdnn.browser.check import wire
from webdnn.browser.compare import Target
from webdnn.browser.engine import HARDWARE_WEBGPU, Engine, open_page
from webdnn.browser.inputs import default_sizes, random_inputs, signature_of
from webdnn.errors import WebDNNError

TARGETS: tuple[Target, ...] = ("wasm", "webgpu")


@dataclass(frozen=True)
class Kernel:
    """One step: its kernel, the model's node that it came from, its fastest time in ms.

    `flops`, floating-point operations, are known on WebGPU.
    """

    name: str
    origin: str
    ms: float
    flops: float | None = None


@dataclass(frozen=True)
class Timing:
    """One target's times in milliseconds, inputs and outputs copied as a page would."""

    target: Target
    variant: str
    threads: int
    sizes: Mapping[str, int]
    load: float
    first: float
    warm: tuple[float, ...]
    kernels: tuple[Kernel, ...] = ()
    peak: float | None = None
    """Floating-point operations a second of a stream of multiply-adds on the same device."""

    @property
    def minimum(self) -> float:
        """The fastest warm run."""
        return min(self.warm)

    @property
    def median(self) -> float:
        """The middle warm run."""
        return statistics.median(self.warm)


def bench(
    descriptor: Path,
    *,
    targets: Sequence[Target] | None = None,
    variant: str | None = None,
    threads: Sequence[int] | None = None,
    browser: Engine = "chromium",
    sizes: Mapping[str, int] | None = None,
    reps: int = 20,
    seconds: float = 30,
    profile: bool = False,
    flags: Sequence[str] = (),
    gpu: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Timing]:
    """Times `descriptor` on each of its targets (or those in `targets`), on random inputs.

    wasm runs once for each number in `threads` (default: 1, and 2 where `variant`, which fixes its
    SIMD variant, has threads). `sizes` are the symbolic dimensions' (default: their smallest). At
    most `reps` warm runs, and no more than `seconds`. `gpu`: WebGPU on the graphics card, in
    Chromium. Raises WebDNNError when the descriptor or a
    target cannot be run.
    """
    if gpu and browser != "chromium":
        raise WebDNNError(
            f"--gpu is of chromium, and the browser is {browser}: leave one of them out"
        )
    tell = progress or (lambda stage, done, total: None)
    signature = signature_of(descriptor)
    wanted = targets or [t for t in TARGETS if t in signature["targets"]]
    for target in wanted:
        if target not in signature["targets"]:
            had = ", ".join(signature["targets"])
            raise WebDNNError(f"{descriptor}: expected a descriptor for {target}, found {had}")
    if "wasm" not in wanted and (variant or threads):
        option = "--variant" if variant else "--threads"
        raise WebDNNError(f"{option} is of wasm, which is not timed here, but {', '.join(wanted)}")
    single = variant is not None and not variant.endswith("-threads")
    if single and any(count > 1 for count in threads or ()):
        raise WebDNNError(f"--variant {variant} has one thread: with --threads {variant}-threads")
    threads = threads or ((1,) if single else (1, 2))
    chosen = dict(sizes) if sizes else default_sizes(signature)[0]
    arrays: dict[str, bytes] = {}
    inputs = wire(random_inputs(signature, chosen, {}, 0), "in/", arrays)
    plan: list[tuple[Target, int | None]] = []
    for target in wanted:
        plan += [(target, n) for n in threads] if target == "wasm" else [(target, None)]
    timings = []
    for index, (target, count) in enumerate(plan):
        tell(target if count is None else f"{target}, {count} threads", index, len(plan))
        options: dict[str, object] = {"backend": target}
        if count is not None:
            options["threads"] = count
        if variant is not None and target == "wasm":
            options["variant"] = variant
        argument = {
            "descriptor": "/descriptor/",
            "options": options,
            "inputs": inputs,
            "reps": reps,
            "seconds": seconds,
            "profile": 3 if profile else 0,
        }
        with open_page(
            browser,
            mounts={"/descriptor/": descriptor},
            webgpu=target == "webgpu" and not gpu,
            flags=[*(HARDWARE_WEBGPU if target == "webgpu" and gpu else ()), *flags],
        ) as page:
            value = page.call(
                "/__page__/bench.js", argument, arrays, timeout=300 + 10 * seconds
            ).value
        kernels = tuple(
            Kernel(
                step["name"],
                step["origin"],
                min(turn[i]["ms"] for turn in value["profiles"]),
                step.get("flops"),
            )
            for i, step in enumerate(value["profiles"][0] if value["profiles"] else ())
        )
        backend = value["backend"]
        timings.append(
            Timing(
                target,
                backend["variant"],
                backend["threads"],
                chosen,
                value["load"],
                value["first"],
                tuple(value["warm"]),
                kernels,
                value["peak"],
            )
        )
    tell("done", len(plan), len(plan))
    return timings
