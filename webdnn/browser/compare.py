"""One output beside its reference: right, wrong, or nothing that could have been wrong.

>>> compare("y", np.float32([1, 2]), np.float32([1, 2.1]), 1e-4).verdict  # doctest: +SKIP
'wrong'

An output is right when its largest difference stays within a tolerance times the largest magnitude
of the reference; integers and bools must be equal. Where the reference itself is further off than
that, `judged` asks what else its framework makes of the same inputs (`readings.py`): the most exact
reading decides, and what the others are off by is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from webdnn.browser.readings import Readings
from webdnn.picture.output import Drawing

Target = Literal["wasm", "webgpu", "webgpu-f16"]
Array = NDArray[Any]

# In half precision a stored value is off by up to 2**-11 of itself. Such errors are independent and
# add up as the root of their number: allowed is what 400 in a row are, 20 times 2**-11.
TOLERANCE: Mapping[Target, float] = {"wasm": 1e-4, "webgpu": 1e-3, "webgpu-f16": 1e-2}
# At least, where the reference rounds every step to 11 bits, or to 8; we compute in float32.
NARROW_TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2}
# The 64-bit integers, and the first number that does not fit into the 32 bits of their computation.
WIDE: Mapping[str, int] = {"int64": 2**31, "uint64": 2**32}
# A reference that is off by so much of its largest magnitude, or by half of what its elements vary
# by, proves nothing.
LARGEST = 0.5

Verdict = Literal["right", "constant", "flipped", "narrowed", "wrong", "empty"]


@dataclass(frozen=True)
class Output:
    """One output of one run against the reference; errors are differences, `relative` is scaled by
    the reference's largest magnitude. `why` says what is wrong, or why more is allowed."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    max_abs: float
    relative: float
    tolerance: float
    verdict: Verdict
    why: str = ""
    cosine: float = math.nan  # of the angle between both, where weights were made narrower
    rows: int = 0  # of classes (or integers), and how many have the same largest one (or are equal)
    agree: int = 0


def compare(
    name: str,
    actual: Array,
    expected: Array,
    tolerance: float,
    other: Array | None = None,
    margin: float | None = None,
) -> Output:
    """One output against its reference; `other` is the reference for different inputs.

    A reference that varies by no more than `margin` of its largest magnitude proves nothing;
    default: ten times the tolerance.
    """
    tolerance = max(tolerance, NARROW_TOLERANCE.get(str(expected.dtype), 0))
    margin = 10 * tolerance if margin is None else margin

    def verdict(kind: Verdict, why: str, max_abs: float, relative: float) -> Output:
        shape = tuple(expected.shape)
        return Output(name, shape, str(expected.dtype), max_abs, relative, tolerance, kind, why)

    if actual.shape != expected.shape:
        why = f"expected shape {list(expected.shape)}, found {list(actual.shape)}"
        return verdict("wrong", why, math.inf, math.inf)
    wanted, found = expected.astype(np.float64), actual.astype(np.float64)
    if wanted.size == 0:
        return verdict("right", "no elements at these sizes", 0.0, 0.0)
    # NaN must meet NaN, and an infinity its own sign; all the rest is measured.
    finite = np.isfinite(wanted)
    special = np.array_equal(wanted[~finite], found[~finite], equal_nan=True)
    if not special or not np.isfinite(found[finite]).all():
        return verdict("wrong", "NaN or infinity in other places", math.inf, math.inf)
    wanted, found = wanted[finite], found[finite]
    largest = float(np.abs(wanted).max(initial=0))
    max_abs = float(np.abs(found - wanted).max(initial=0))
    relative = max_abs / largest if largest else (math.inf if max_abs else 0.0)
    exact = expected.dtype.kind in "biu"
    if (exact and max_abs) or relative > tolerance:
        why = "integers must be equal" if exact else f"more than {tolerance:.2g} of {largest:.4g}"
        if expected.dtype.name in WIDE and largest >= WIDE[expected.dtype.name]:
            why = f"{largest:.0f} needs 64 bits, and loops compute integers in 32"
        return verdict("wrong", why, max_abs, relative)
    if other is not None and np.array_equal(expected, other, equal_nan=expected.dtype.kind == "f"):
        return verdict("constant", "the same for other inputs", max_abs, relative)
    if wanted.size == 0:
        return verdict("empty", "no finite element to compare", max_abs, relative)
    if wanted.size > 1 and np.ptp(wanted) <= margin * largest:
        return verdict("empty", "the reference is nearly constant", max_abs, relative)
    if other is not None and still(expected, other, margin / 10):
        return verdict("empty", "hardly changes with the input", max_abs, relative)
    return verdict("right", "", max_abs, relative)


def still(expected: Array, other: Array, tolerance: float) -> bool:
    """True when different inputs change a reference by no more than ten times the tolerance."""
    if expected.shape != other.shape or not expected.size:
        return False
    a, b = expected.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(a)
    moved = np.abs(b - a)[finite]
    if not np.array_equal(finite, np.isfinite(b)) or not moved.size:
        return False
    return bool(moved.max() <= 10 * tolerance * np.abs(a[finite]).max())


def apart(found: Array, wanted: Array) -> tuple[float, float]:
    """The largest difference, and the root of their mean square, where both arrays are finite.

    Both as parts of the largest magnitude of `wanted`; infinite if the shapes differ.
    """
    if found.shape != wanted.shape:
        return math.inf, math.inf
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    off = np.abs(a[finite] - b[finite])
    if not off.any():
        return 0.0, 0.0
    largest = np.abs(a[finite]).max() or math.ulp(0)
    return float(off.max() / largest), float(np.sqrt(np.mean(off**2)) / largest)


@dataclass(frozen=True)
class Allowance:
    """How far from the reading that decides an output may be, as parts of its largest magnitude.

    `most` is for the largest difference, `typical` for the root of their mean square; `floor` is
    both where the reference is no further off than usual. `reasons` say why it is more, `moves` if
    that is what a change in the last bits does; `beside` how little the reference itself is off.
    `hopeless`: it is so much that nothing can be compared.
    """

    floor: float
    most: float
    typical: float
    reasons: tuple[str, ...]
    moves: str
    beside: str
    hopeless: bool


def allowance(name: str, usual: float, readings: Readings) -> Allowance:
    """What the readings of an output allow, beyond the `usual` tolerance."""
    decides = readings.decides[name]
    spread = {
        label: apart(found[name], decides)
        for label, found in readings.others.items()
        if name in found
    }
    label, (off, _) = max(spread.items(), key=lambda entry: entry[1])
    # A model of steps is what its operators say: what optimisations change is no excuse.
    exact = [] if readings.rounds else list(spread.values())
    narrow = readings.narrow.get(name, "")
    # Where some outputs are of 16 bits, inputs were moved by as much: too much for others.
    moved = readings.moved if narrow or not readings.narrow else ()
    near = [apart(found[name], decides) for found in moved]
    floor = max(usual, NARROW_TOLERANCE.get(narrow, 0))
    # The page rounds in yet another way: it may well be off by more than samples were.
    move = max((largest for largest, _ in near), default=0.0)
    # So it does where it computes in 16 bits, too.
    many = 2 if narrow else 1
    most = max(floor, 2 * move, *(many * largest for largest, _ in exact))
    typical = max(floor, *(1.5 * mean for _, mean in near), *(many * mean for _, mean in exact))
    reasons = [f"{label} is itself off by {off:.1e}"] if off > usual else []
    reasons += [f"the model computes it in {narrow}"] if narrow else []
    reasons += [readings.remark] if readings.remark else []
    what = "a rounding on the other side" if readings.rounds else "a change in the last bits"
    values = decides.astype(np.float64)
    varies = float(np.nanstd(values)) if values.size > 1 else math.inf
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    return Allowance(
        floor,
        most,
        typical,
        tuple(reasons),
        moves=f"{what} moves it by {move:.1e}" if 2 * move == most > floor else "",
        beside=f"{label} and {readings.name} differ by {off:.1e} only",
        hopeless=typical > min(varies / largest / 2 if largest else 0, LARGEST),
    )


def judged(actual: Array, usual: Output, readings: Readings, other: Array | None = None) -> Output:
    """An output that is not within the usual tolerance, beside the reading that decides.

    `usual` is the comparison with the reference as it usually runs. Where the page is not within
    the usual tolerance of the reading that decides either, as much more is allowed as others are
    off by, in the largest difference and in the root of the mean square.
    """
    name = usual.name
    decides = readings.decides[name]
    may = allowance(name, usual.tolerance, readings)
    said = "; ".join([*may.reasons, f"decided by {readings.name}"])
    if decides.dtype.kind in "iu" and decides.dtype.itemsize == 1:
        decides = decides.astype(np.float32)  # steps
    elif decides.dtype.kind in "biu":
        return _integers(actual, usual, readings, said)
    found = compare(name, actual, decides, may.floor, other, 10 * usual.tolerance)
    if found.verdict == "wrong" and may.most > may.floor:
        said = "; ".join(filter(None, [may.moves, said]))
        if may.hopeless:
            return replace(usual, verdict="empty", why=f"nothing can be compared: {said}")
        found = compare(name, actual, decides, may.most, other, 10 * usual.tolerance)
        if found.verdict != "wrong" and apart(actual, decides)[1] > may.typical:
            why = f"the root of the mean square is more than {may.typical:.1e}"
            found = replace(found, verdict="wrong", why=why)
    elif found.verdict == "wrong" and not may.reasons:
        said = may.beside
    return replace(found, dtype=usual.dtype, why=f"{found.why}; {said}".removeprefix("; "))


def drawn(
    drawing: Drawing, actual: Array, values: Array, tolerance: float, other: Array | None = None
) -> Output:
    """The pixels of an output beside those that the reference's `values` make.

    They may be off by what the tolerance makes of these numbers, and by a level for their rounding;
    `other` are values for different inputs.
    """
    wanted = drawing.pixels(values)
    found = np.ascontiguousarray(actual, "<u4").view(np.uint8).reshape(*actual.shape, 4)
    if found.shape == wanted.shape:
        right = drawing.agrees(found, values, tolerance)
        found = np.where(right[..., None], wanted, found)
    pixels = None if other is None else drawing.pixels(other)
    shown = compare(drawing.name, found, wanted, tolerance, pixels)
    return replace(shown, why="; ".join(filter(None, [shown.why, "compared as pixels"])))


def drawn_judged(
    drawing: Drawing, actual: Array, usual: Output, readings: Readings, other: Array | None = None
) -> Output:
    """As `judged`, of an output that is a picture: by pixels that the readings make."""
    name = usual.name
    decides = readings.decides[name]
    may = allowance(name, usual.tolerance, readings)
    said = "; ".join(filter(None, [may.moves, *may.reasons, f"decided by {readings.name}"]))
    if may.hopeless:
        return replace(usual, verdict="empty", why=f"nothing can be compared: {said}")
    if drawing.kind == "classes":  # each is one that some reading gives
        words = np.ascontiguousarray(actual, "<u4")
        others = [] if readings.rounds else [r[name] for r in readings.others.values()]
        for reading in (*others, *(r[name] for r in readings.moved)):
            if reading.shape == decides.shape:
                pixels = drawing.pixels(reading).view("<u4")[..., 0]
                decides_at = drawing.pixels(decides).view("<u4")[..., 0]
                words = np.where(words == pixels, decides_at, words)
        actual = words
    found = drawn(drawing, actual, decides, may.most, other)
    if found.verdict != "wrong" and drawing.kind in ("levels", "opacity"):
        levels = np.ascontiguousarray(actual, "<u4").view(np.uint8).reshape(-1, 4)
        off = levels.astype(np.float64) - drawing.pixels(decides).reshape(-1, 4)
        allowed = drawing.levels(may.typical, decides)
        if drawing.spec.threshold is None and np.sqrt(np.mean(off**2)) > allowed:
            why = f"the root of the mean square is more than {allowed} of 255 levels"
            found = replace(found, verdict="wrong", why=why)
    return replace(found, dtype=usual.dtype, why=f"{found.why}; {said}")


def flipped(actual: Array, found: Output, readings: Readings) -> Output:
    """An inner value that is right although elements are a step away, named as what it is."""
    step, decides = readings.steps.get(found.name), readings.decides.get(found.name)
    if found.verdict != "right" or step is None or decides is None:
        return found
    steps = np.abs(actual.astype(np.float64) - decides.astype(np.float64)) / step
    count = int((steps > 0.5).sum())
    if not count or np.abs(steps - np.round(steps)).max() > 0.1:
        return found
    size = f" ({float(step.max()):.3g})" if decides.dtype.kind == "f" else ""
    why = (
        f"{count} of {decides.size} elements are rounded to another step{size}, as in the "
        "reference itself when its constants change in their last bits"
    )
    return replace(found, verdict="flipped", why=why)


def narrowed(actual: Array, usual: Output, expected: Array, form: str) -> Output:
    """An output of narrower weights beside the float model's: measured, and wrong only where the
    root of its mean square error is more than half of what the reference's elements vary by, or
    where most integers are others. `usual` is the comparison without regard to that."""
    if actual.shape != expected.shape or not math.isfinite(usual.relative):
        return usual
    exact = expected.dtype.kind in "biu"
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    rows = agree = 0
    if exact:
        rows, agree = a.size, int((a == b).sum())
    elif a.ndim in (2, 3) and a.shape[-1] > 1:
        rows = a.size // a.shape[-1]
        agree = int((a.argmax(-1) == b.argmax(-1)).sum())
    finite = np.isfinite(a)
    norms = math.sqrt(float((a[finite] ** 2).sum()) * float((b[finite] ** 2).sum()))
    cosine = float((a[finite] * b[finite]).sum()) / norms if norms else math.nan
    found = replace(usual, cosine=cosine, rows=rows, agree=agree)
    if usual.verdict != "wrong":
        return found
    if exact:
        lost = 2 * agree < rows
    else:
        varies = float(np.std(a[finite])) if a.size > 1 else usual.max_abs
        lost = float(np.sqrt(np.mean((a - b)[finite] ** 2))) > LARGEST * varies
    if lost:
        why = f"weights as {form} change it by more than half of what it varies by"
        return replace(found, why=why)
    return replace(found, verdict="narrowed", why="")


def _integers(actual: Array, usual: Output, readings: Readings, said: str) -> Output:
    """Integers that differ from the reference's: right where each is what some reading gives."""
    others = [] if readings.rounds else list(readings.others.values())
    every = [r[usual.name] for r in (readings.decides, *others, *readings.moved)]
    same = [actual == r for r in every if r.shape == actual.shape]
    if same and np.logical_or.reduce(same).all():
        return replace(usual, verdict="right", why=said)
    return replace(usual, why=f"{usual.why}; {said}")


__all__ = [
    "NARROW_TOLERANCE",
    "TOLERANCE",
    "Output",
    "Target",
    "Verdict",
    "allowance",
    "apart",
    "compare",
    "drawn",
    "drawn_judged",
    "flipped",
    "judged",
    "narrowed",
    "still",
]
