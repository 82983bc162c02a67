"""What a model proves of its sizes: which are equal, add up to others, or must be multiples.

    @solved
    def load(model, dims=None, **options): ...

An import says that it needs two sizes to be equal by raising SizesDifferError. If that follows
where one size is computed from others (the mask of a decoder is as long as the past and what is
new), the import begins again with that relation: such sizes need not be given. If it follows where
sizes are multiples of something, as those of a U-Net's pictures, the import begins again with those
of the sizes given that are. Notes say so, and the page checks what it is given. Where sizes are
missing, the error has a `--dim` line with ranges that the model was imported with.

Limits: relations are linear in the size that follows; steps are those of `_STEPS`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import (
    DimensionError,
    NumbersNeededError,
    SizesDifferError,
    TooSmallError,
    UnsupportedError,
    WebDNNError,
)
from ..expr import Dim, Expr, as_dim, bounds, dim, lift, same, solve, substitute
from ..expr import evaluate as size_at
from ..graph import dims_of, is_counted
from .dims import (
    Formula,
    Given,
    OpenSizesError,
    Range,
    Size,
    Sizes,
    identifier,
    is_formula,
    unbracketed,
)
from .finish import Imported

# Of which a size may have to be a multiple: what networks stride by, and windows.
_STEPS = (
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    12,
    14,
    16,
    20,
    24,
    28,
    32,
    40,
    48,
    56,
    64,
    80,
    96,
    112,
    128,
    256,
)


def solved(load: Callable[..., Imported]) -> Callable[..., Imported]:
    """A frontend's `load(model, dims, **options)` that finds sizes out, as the module's text says.

    Raises OpenSizesError for sizes that remain open, and DimensionError where the model needs two
    sizes to be equal that are not, or not at any step of those that are allowed.
    """

    @functools.wraps(load)
    def search(model: Any, dims: Given | None = None, **options: Any) -> Imported:
        sizes = dims if isinstance(dims, Sizes) else Sizes(dims)
        missing: OpenSizesError | None = None
        fixed: dict[str, Size] = {}  # of sizes that are not given, those that must be numbers
        reasons: dict[str, str] = {}  # why the sizes of a key are fewer than those given
        while True:
            try:
                imported = load(model, sizes, **options)
                break
            except OpenSizesError as error:
                missing, sizes = error, sizes.replaced(error.guesses, error.guesses)
            except SizesDifferError as error:
                further = _related(sizes, error)
                if further is None:
                    further = _stepped(sizes, error)
                    if further is None:
                        raise missing or _unequal(sizes, error) from error
                    changed = [key for key in sizes if further[key] != sizes[key]]
                    reasons |= {key: _needs(error) for key in changed}
                sizes = further
            except NumbersNeededError as error:
                numbers = _numbers(sizes, error)
                if not numbers:
                    if missing is None:
                        raise
                    raise missing from error
                if missing is None or not numbers.keys() <= sizes.assumed:
                    raise _fixed(str(error), sizes, numbers) from error
                fixed |= numbers
                sizes = sizes.replaced(numbers)
            except TooSmallError as error:
                larger = _larger(sizes, error)
                if larger is None:
                    if missing is None:
                        raise
                    raise missing from error
                sizes = larger
            except WebDNNError as error:
                if missing is None:
                    raise
                raise missing from error
        still = [k for k in sizes.assumed if k in fixed or isinstance(sizes[k], Range)]
        if missing is not None and still:
            raise missing.advised(sizes, still, imported)
        fewer = [
            f"{key} = {size}, since {reasons[key]}"
            for key, size in sizes.items()
            if key in reasons and not isinstance(size, Formula)
        ]
        return replace(imported, notes=[*fewer, *imported.notes])

    return search


def _needs(error: SizesDifferError) -> str:
    a, b = map(unbracketed, error.sizes)
    return f"{error.place or 'the model'} needs {a} and {b} to be equal"


def _related(sizes: Sizes, error: SizesDifferError) -> Sizes | None:
    """The sizes with one that follows from others where that makes two equal."""
    a, b = error.sizes
    why = _needs(error)
    keys = list(sizes)
    named = {key: d for d in dims_of([(a, b)]) if (key := sizes.key(d)) is not None}
    refusal: DimensionError | None = None
    # Rather what is assumed than what is given, and rather what was given last.
    for key in sorted(named, key=lambda k: (k in sizes.assumed, keys.index(k)), reverse=True):
        value, mine, assumed = solve(lift(a) - b, named[key]), sizes[key], key in sizes.assumed
        if value is None or bounds(value)[0] < 0 or not isinstance(mine, Range):
            continue
        if isinstance(value, int):
            if assumed:
                return sizes.replaced({key: value})
            continue
        if value.op == "dim" and (other := sizes.key(value)) is not None:
            theirs = sizes[other]
            assert isinstance(theirs, Range)
            both = mine.common(theirs)
            if assumed or other in sizes.assumed:
                both = theirs if assumed else mine
            if both is None:
                raise DimensionError(
                    f"{why}, but {key}={mine} and {other}={theirs} have no size in common"
                )
            return sizes.replaced({other: both, key: Formula(identifier(other), why)})
        shown = unbracketed(value)
        if not is_formula(shown):
            continue
        low, high = map(int, bounds(value))
        even = mine.step == 1 or same(lift(value) % mine.step, mine.low % mine.step)
        if assumed or (mine.low <= low and high <= mine.high and even):
            return sizes.replaced({key: Formula(shown, why)})
        refusal = refusal or DimensionError(
            f"{why}, so {key} is {shown} = {low}..{high}, but --dim {key}={mine} does not allow "
            f"all of these. Leave {key} out, or give other sizes to what it is computed from"
        )
    if refusal is not None:
        raise refusal
    return None


def _stepped(sizes: Sizes, error: SizesDifferError) -> Sizes | None:
    """The sizes in the smallest steps at which two are equal."""
    a, b = error.sizes
    ranges = {
        d: (key, size)
        for d in dims_of([(a, b)])
        if (key := sizes.key(d)) is not None and isinstance(size := sizes[key], Range)
    }

    def equal(steps: Mapping[Expr, Range]) -> bool:
        table = {d: dim(d.args[0], r.low, r.high, r.step) for d, r in steps.items()}
        return bool(table) and same(*(as_dim(substitute(lift(e), table)) for e in (a, b)))

    for step in _STEPS:
        for rest in (0, 1):  # one more than a multiple: where corners stay in place
            steps = {d: r for d, (_, size) in ranges.items() if (r := size.stepped(step, rest))}
            if not equal(steps):
                continue
            for d in list(steps):
                fewer = {other: r for other, r in steps.items() if other is not d}
                steps = fewer if equal(fewer) else steps
            return sizes.replaced({ranges[d][0]: r for d, r in steps.items()})
    return None


def _larger(sizes: Sizes, error: TooSmallError) -> Sizes | None:
    """Assumed sizes twice as large, where they were too small; None if there are none of use."""
    changes: dict[str, Size] = {}
    for key in sizes.assumed:
        size = sizes[key]
        if isinstance(size, Range) and identifier(key) in error.names and size.low < 2**20:
            low = max(8, 2 * size.low)
            more = Range(low, max(size.high, 16 * low))
            changes[key] = more.stepped(size.step, size.low % size.step) or more
    return sizes.replaced(changes) if changes else None


def _unequal(sizes: Sizes, error: SizesDifferError) -> WebDNNError:
    """What to say where neither relations nor steps make two sizes equal."""
    a, b = error.sizes
    if is_counted([a, b]):
        return UnsupportedError(f"{error}, and how large one of them is only a run finds")
    keys = {str(d.args[0]): sizes.key(d) or str(d.args[0]) for d in dims_of([(a, b)])}
    if not keys:
        return error
    names = list(keys)
    choices = [_choices(sizes.get(keys[name])) for name in names]
    found = next(
        (
            at
            for at in itertools.islice(itertools.product(*choices), 4096)
            if size_at(a, dict(zip(names, at))) == size_at(b, dict(zip(names, at)))
        ),
        None,
    )
    problem = f"{error}. With symbolic dimensions this must hold at every size; it "
    if found is None:
        return DimensionError(f"{problem}does for none of those allowed that were tried")
    numbers = {keys[name]: n for name, n in zip(names, found)}
    return _fixed(f"{problem}does for some", sizes, numbers)


def numbers_needed(
    text: str, error: Exception, shapes: Iterable[tuple[Dim, ...]]
) -> NumbersNeededError | None:
    """The error of an operator whose message names symbolic sizes of its operands, else None.

    text: that message, with the operator before it. shapes: those of the operands.
    """
    names = [  # which may hold any characters
        str(d)
        for d in dims_of(shapes)
        if not is_counted(d)
        if re.search(rf"(?<!\w){re.escape(str(d))}(?!\w)", str(error))
    ]
    if not names:
        return None
    return NumbersNeededError(
        f"{text}. With symbolic dimensions this must hold at every size; it may for some", names
    )


def _numbers(sizes: Sizes, error: NumbersNeededError) -> dict[str, Size]:
    """A number for each key that must be one: the middle of its range."""
    return {
        key: size.nearest((size.low + size.high) // 2)
        for key, size in sizes.items()
        if identifier(key) in error.names and isinstance(size, Range)
    }


def _fixed(problem: str, sizes: Sizes, numbers: Mapping[str, Size]) -> DimensionError:
    """An error with the line that fixes sizes at numbers."""
    line = sizes.replaced(numbers)
    return DimensionError(
        problem,
        f"Fix {' and '.join(numbers)}, for example {line.line()} (in Python {line.python()})",
    )


def _choices(size: Size | None) -> Sequence[int]:
    if isinstance(size, Range):
        return range(size.low, size.high + 1, size.step)
    return [size] if isinstance(size, int) else []


__all__ = ["numbers_needed", "solved"]
