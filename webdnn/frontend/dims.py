"""Sizes that a model leaves open: what the user says of them, and what follows for its inputs.

    >>> declared = [Declared("image", "f32", ("N", None, None, 3))]
    >>> inputs = settle_inputs(declared, {"h": (32, 64, 8), "w": 48}, []).inputs
    >>> inputs["image"], inputs["image"].shape[1] // 8 * 8
    (image:f32[1,h,48,3], h)

A size is a number, a range (low, high), one in steps (low, high, step), or a formula over others:
`--dim h=48`, `h=32..64`, `h=32..64:8`, `total=past+s`. Each key names a dimension by the first of
these rules that fits:

1. its name in the model;
2. INPUT.AXIS, for example `image.2` (or `image_2`): the only way for dimensions without a name;
3. the beginning of one dimension's name, in any case: `seq` for `sequence_length`;
4. `h`, `w` (or height, width): the open image axes of four-dimensional inputs, next to a known
   number of channels or else as NCHW; `batch`: the first axis of the first input.

A batch dimension that is not given becomes 1, and a note says so. A dimension whose name in the
model is a formula over others' ("past + s") is what it says.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from ..errors import DimensionError
from ..expr import Dim, Expr, as_dim, bounds, dim, text
from ..graph import Value, constant, placeholder
from .finish import Imported
from .fixed import Declared, constant_note, fixed_values

BATCH = re.compile(r"(?i)n|b|bs|batch([_ .-]?(size|dim|axis))?|batchsize|unk__\d+")
# What is tried where nobody says: for images, for what a run keeps of earlier ones, and for others.
_IMAGE, _PAST, _USUAL = (32, 640), (0, 512), (1, 512)
_KEPT = re.compile(r"(?i)past|cache|prev|hist")


# ---- what the user says --------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """The sizes low, low + step, ... up to high."""

    low: int
    high: int
    step: int = 1

    def __str__(self) -> str:
        return f"{self.low}..{self.high}" + (f":{self.step}" if self.step > 1 else "")

    def __contains__(self, size: int) -> bool:
        return self.low <= size <= self.high and (size - self.low) % self.step == 0

    def nearest(self, size: int) -> int:
        """The largest of them that is not above `size`, or else the lowest."""
        steps = (min(size, self.high) - self.low) // self.step
        return self.low + max(0, steps) * self.step

    def stepped(self, step: int, rest: int = 0) -> Range | None:
        """Those that leave `rest` when they are divided by `step`; None where there are none."""
        whole = math.lcm(self.step, step)
        fitting = [n for n in range(self.low, self.low + whole, self.step) if n % step == rest]
        if not fitting or fitting[0] > self.high:
            return None
        low = fitting[0]
        return Range(low, low + (self.high - low) // whole * whole, whole)

    def common(self, other: Range) -> Range | None:
        """The sizes that both allow; None where there are none."""
        fitting = self.stepped(other.step, other.low % other.step)
        if fitting is None:
            return None
        high = min(fitting.high, other.high)
        low = fitting.low + max(0, -((fitting.low - other.low) // fitting.step)) * fitting.step
        return Range(low, fitting.nearest(high), fitting.step) if low <= high else None


@dataclass(frozen=True)
class Formula:
    """A size that follows from others, in terms of their names; `why` says what needs it to."""

    text: str
    why: str = ""

    def __str__(self) -> str:
        return re.sub(r"\s", "", self.text)


Size = int | Range | Formula
Given = Mapping[str, "int | tuple[int, ...] | str | Size"]


@dataclass(frozen=True)
class Sides:
    """What is said of the sides of an input's pictures: their size, or what they are multiples of.

    `size` is (width, height).
    """

    size: tuple[int, int] | None = None
    multiple: int = 1


class Sizes(dict[str, Size]):
    """The sizes that are said, by key; a size as the user writes it is checked and made one.

    `sides` are those of pictures, by the input's name (None: the only input). `fixed` are the
    values of inputs that become constants. `assumed` are keys that the user did not give. Raises
    DimensionError for what is no size.
    """

    def __init__(
        self,
        given: Given | None = None,
        sides: Mapping[str | None, Sides] | None = None,
        assumed: Iterable[str] = (),
        fixed: Mapping[str, Any] | None = None,
    ):
        maps = (("dims", given, '"h": (64, 512)'), ("fixed", fixed, '"sr": 16000'))
        for name, values, example in maps:
            if not isinstance(values, Mapping | None):
                raise DimensionError(
                    f"{name}: expected values by name, as {{{example}}}, found {values!r}"
                )
        super().__init__({key: _size(key, value) for key, value in (given or {}).items()})
        self.sides = dict(sides or {})
        self.fixed = dict(fixed or {})
        self.assumed = frozenset(assumed)

    def replaced(self, changes: Mapping[str, Size], assumed: Iterable[str] = ()) -> Sizes:
        """These sizes with others in their place."""
        return Sizes({**self, **changes}, self.sides, {*self.assumed, *assumed}, self.fixed)

    def key(self, d: Expr) -> str | None:
        """The key that a dimension was made for."""
        return next((key for key in self if identifier(key) == d.args[0]), None)

    def said(self) -> dict[str, Size]:
        """The sizes without what was found to follow from others."""
        return {k: v for k, v in self.items() if not (isinstance(v, Formula) and v.why)}

    def line(self) -> str:
        """The `--dim` line that says these sizes."""
        return "--dim " + " ".join(_argument(f"{key}={v}") for key, v in self.said().items())

    def python(self) -> str:
        """The argument of `transpile` that says these sizes."""

        def value(size: Size) -> Any:
            if isinstance(size, Range):
                return (size.low, size.high, *([size.step] if size.step > 1 else []))
            return size.text if isinstance(size, Formula) else size

        shown = {key: value(size) for key, size in self.said().items()}
        return f"dims={shown}"


def _size(key: str, value: Any) -> Size:
    """A size as the user gives it; numpy's numbers are welcome too."""
    if isinstance(value, Range | Formula):
        return value.low if isinstance(value, Range) and value.low == value.high else value
    try:
        if isinstance(value, str):
            if not _names(_parsed(value)):
                raise ValueError(value)
            return Formula(value)
        if not isinstance(value, tuple | list):
            size = index(value)
            if not 0 <= size < 2**31:
                raise DimensionError(f"--dim {key}={size}: expected a size from 0 up, below 2^31")
            return size
        low, high, step = map(index, value if len(value) == 3 else (*value, 1))
    except (TypeError, ValueError, SyntaxError):
        raise DimensionError(
            f"dims[{key!r}]: expected a size, a pair of the lowest and the highest, these and a "
            f"step, or a formula as 'past + s'; found {value!r}"
        ) from None
    said = f"--dim {key}={Range(low, high, step)}"
    if not 0 <= low <= high < 2**31:
        raise DimensionError(
            f"{said}: expected LOW..HIGH, sizes from 0 up, below 2^31, the low one first"
        )
    if step < 1:
        raise DimensionError(f"{said}:{step}: expected LOW..HIGH:STEP, a step from 1 up")
    if (high - low) % step:
        whole = Range(low, high).stepped(step)
        fitting = [Range(low, high - (high - low) % step, step), *([whole] if whole else [])]
        raise DimensionError(
            f"{said}: no number of steps leads from {low} to {high}; expected, for example, "
            + " or ".join(dict.fromkeys(f"{key}={r}" for r in fitting))
        )
    return low if low == high else Range(low, high, step)


def _parsed(text: str) -> ast.expr:
    """A formula's syntax tree. Raises ValueError or SyntaxError for what is no formula."""
    body = ast.parse(re.sub(r"(?<=\w)\.(?=\d)", "_", text.strip()), mode="eval").body
    for node in ast.walk(body):
        number = isinstance(node, ast.Constant) and type(node.value) is int
        if not (number or isinstance(node, ast.BinOp | ast.Name | ast.Load | ast.operator)):
            raise ValueError(f"{text!r} is no formula over sizes")
        if isinstance(node, ast.BinOp) and type(node.op) not in _ARITHMETIC:
            raise ValueError(f"{text!r}: a formula has +, -, *, // and %")
    return body


_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}


def is_formula(text: str) -> bool:
    """Whether a text is a formula over sizes."""
    try:
        _parsed(text)
    except (ValueError, SyntaxError):
        return False
    return True


def value_of(formula: str, values: Mapping[str, Dim]) -> Dim:
    """A formula's value for those of the names in it."""

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp):
            return _ARITHMETIC[type(node.op)](value(node.left), value(node.right))
        return values[node.id] if isinstance(node, ast.Name) else node.value  # type: ignore[attr-defined]

    return as_dim(value(_parsed(formula)))


def _names(formula: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(formula) if isinstance(node, ast.Name)]


def identifier(key: str) -> str:
    """What a dimension is called in the graph."""
    return re.sub(r"\W", "_", key)


# ---- what follows for the inputs -----------------------------------------------------------------


class OpenSizesError(DimensionError):
    """Sizes that the model leaves open are not given.

    `places` says where each lies, by the key to give; `guesses` are ranges to try. `declared` are
    the inputs, and `batch` says where their batch lies, which need not be given. `sizes` are some
    that do, and `imported` is the model imported with them, where these were found.
    """

    def __init__(
        self,
        places: Mapping[str, str],
        guesses: Mapping[str, Range],
        declared: Sequence[Declared],
        batch: Mapping[str, str],
        sizes: Sizes | None = None,
        imported: Imported | None = None,
    ):
        message = "the model leaves dimensions open that must be given:" + "".join(
            f"\n  {place}: --dim {_argument(key)}=SIZE or LOW..HIGH"
            for key, place in places.items()
        )
        for key, place in batch.items():
            message += f"\nThe batch, {place}, is 1 unless it is given: --dim {_argument(key)}=SIZE"
        if sizes is not None:
            both = f"{sizes.line()} (in Python {sizes.python()})"
            message += f"\nFor example, with sizes that it takes: {both}"
        super().__init__(message)
        self.places, self.guesses, self.declared, self.batch = places, guesses, declared, batch
        self.sizes, self.imported = sizes, imported

    def advised(self, sizes: Sizes, keys: Sequence[str], imported: Imported) -> OpenSizesError:
        """This error about the keys that must be given, with sizes that do."""
        places = {key: place for key, place in self.places.items() if key in keys}
        return OpenSizesError(places, self.guesses, self.declared, self.batch, sizes, imported)


@dataclass
class _Open:
    """A dimension that the model leaves open: its name (or None), and where it occurs."""

    name: str | None
    at: list[tuple[str, int]]
    batch: bool = False

    @property
    def label(self) -> str:
        return self.name or f"{self.at[0][0]}.{self.at[0][1]}"


_Shapes = Mapping[str, tuple[str, list[Any]]]  # dtype and shape by input; open sizes are _Open


@dataclass(frozen=True)
class Settled:
    """What becomes of a model's inputs: values by name, which are constants where the user fixes
    them; the symbolic dimensions; and those that are 1 because they look like a batch."""

    inputs: dict[str, Value]
    symbols: tuple[Expr, ...]
    batch: tuple[str, ...]

    @property
    def given(self) -> tuple[Value, ...]:
        """The inputs that the page gives."""
        return tuple(v for v in self.inputs.values() if not v.constant)


def settle_inputs(declared: Sequence[Declared], dims: Given | None, notes: list[str]) -> Settled:
    """The graph's inputs with every dimension settled.

    Inputs that the user fixes are constants. What was settled is added to `notes`. Raises
    OpenSizesError where dimensions are missing, DimensionError for a key of `dims` that means none
    or several, and WebDNNError for a constant that fits no input.
    """
    shapes: dict[str, tuple[str, list[int | _Open]]] = {}
    opened: dict[Any, _Open] = {}
    for k, i in enumerate(declared):
        shape: list[int | _Open] = []
        for axis, d in enumerate(i.shape):
            if isinstance(d, int):
                shape.append(d)
                continue
            one = opened.setdefault(d or (i.name, axis), _Open(d or None, []))
            one.at.append((i.name, axis))
            one.batch |= axis == 0 and (k == 0 or not d or bool(BATCH.fullmatch(d)))
            shape.append(one)
        shapes[i.name] = i.dtype, shape
    sizes = dims if isinstance(dims, Sizes) else Sizes(dims)
    fixed = fixed_values(sizes.fixed, declared)
    settling = _Settling(list(opened.values()), shapes, sizes, notes)
    settling.fix(fixed)
    settled = settling.run(declared)
    inputs = {
        name: constant(fixed[name], dtype)
        if name in fixed
        else placeholder(
            name, [settled[id(d)] if isinstance(d, _Open) else d for d in shape], dtype
        )
        for name, (dtype, shape) in shapes.items()
    }
    symbols = [d for d in dict.fromkeys(settled.values()) if isinstance(d, Expr) and d.op == "dim"]
    return Settled(inputs, tuple(symbols), tuple(settling.batch))


class _Settling:
    """One use of `settle_inputs`: which key means which dimension, and what each becomes."""

    def __init__(self, opened: list[_Open], shapes: _Shapes, sizes: Sizes, notes: list[str]):
        self.opened, self.shapes, self.sizes, self.notes = opened, shapes, sizes, notes
        self.chosen: dict[int, str] = {}
        self.done: dict[int, Dim] = {}
        self.batch: list[str] = []

    def fix(self, fixed: Mapping[str, np.ndarray]) -> None:
        """Takes the sizes of inputs that are constants."""
        for name, value in fixed.items():
            self.notes.append(constant_note(name, value))
            for axis, (one, size) in enumerate(zip(self.shapes[name][1], value.shape)):
                if isinstance(one, _Open) and self.done.setdefault(id(one), size) != size:
                    raise DimensionError(
                        f"--set {name}: axis {axis} of the value is {size}, but another constant "
                        f"has {self.done[id(one)]} for {one.label}"
                    )

    def run(self, declared: Sequence[Declared]) -> dict[int, Dim]:
        """The dimension of each that is open, by its id."""
        for key, size in self.sizes.items():
            for one in _named(key, self.opened, self.shapes):
                if self.done.get(id(one), size) != size:
                    raise DimensionError(
                        f"--dim {key}={size}: an input that --set makes a constant has "
                        f"{self.done[id(one)]} there"
                    )
                other = self.chosen.setdefault(id(one), key)
                if self.sizes[other] != size:
                    raise DimensionError(
                        f"--dim {other} and --dim {key} both mean {_place(one)}, but differ"
                    )
        sides = self._sides()
        missing = []
        for one in self.opened:
            if id(one) in self.chosen or id(one) in self.done:
                continue
            if side := sides.get(id(one)):
                self.done[id(one)] = side
            elif not one.batch and not self._formula(one):
                missing.append(one)
        if missing:
            raise self._missing(missing, declared)
        for one in self.opened:
            self._settle(one, ())
        return self.done

    def _formula(self, one: _Open) -> bool:
        """Whether the model's own name of a dimension is a formula over others'."""
        if one.name is None or re.fullmatch(r"\w+", one.name) or not is_formula(one.name):
            return False
        names = _names(_parsed(one.name))
        return bool(names) and {*names} <= {other.name for other in self.opened}

    def _sides(self) -> dict[int, int]:
        """The sides of pictures of one size, by the id of the dimension."""
        out = {}
        for name, (_, shape) in self.shapes.items():
            said = self.sizes.sides.get(name) or self.sizes.sides.get(None)
            axes = image_axes(shape)
            if said is None or said.size is None or axes is None:
                continue
            for axis, size in zip(axes, reversed(said.size)):
                if isinstance(shape[axis], _Open):
                    out[id(shape[axis])] = size
        return out

    def _missing(self, missing: list[_Open], declared: Sequence[Declared]) -> OpenSizesError:
        guesses, places = {}, {}
        images = {
            id(shape[axis])
            for _, shape in self.shapes.values()
            if len(shape) == 4 and all(isinstance(shape[k], _Open) for k in image_axes(shape) or ())
            for axis in image_axes(shape) or ()
        }
        for one in missing:
            key = _short(one, self.opened, self.shapes)
            kind = _PAST if _KEPT.search(one.label) else _IMAGE if id(one) in images else _USUAL
            guesses[key] = self._aligned(one, Range(*kind))
            places[key] = _place(one)
        batch = {
            one.label: _place(one)
            for one in self.opened
            if one.batch and not {id(one)} & {*self.chosen, *self.done}
        }
        return OpenSizesError(places, guesses, declared, batch)

    def _aligned(self, one: _Open, size: Range) -> Range:
        """A range in the steps that pictures on this axis make."""
        for name, axis in one.at:
            _, shape = self.shapes[name]
            said = self.sizes.sides.get(name) or self.sizes.sides.get(None)
            if said is not None and axis in (image_axes(shape) or ()):
                size = size.stepped(said.multiple) or size
        return size

    def _settle(self, one: _Open, below: tuple[_Open, ...]) -> Dim:
        """The dimension; `below` are those whose formulas are being computed."""
        if id(one) in self.done:
            return self.done[id(one)]
        if one in below:
            raise DimensionError(
                f"{' and '.join(o.label for o in below)} are each computed from the other: give "
                "one of them with --dim"
            )
        key = self.chosen.get(id(one))
        said = self.sizes[key] if key is not None else None
        if said is None and self._formula(one):
            said = Formula(one.label)
        size: Dim
        if isinstance(said, Range):
            assert key is not None
            r = self._aligned(one, said)
            size = dim(identifier(key), r.low, r.high, r.step) if r.low < r.high else r.low
        elif isinstance(said, Formula):
            size = self._computed(said, one, below)
            why = said.why and f": {said.why}"
            if one.label != unbracketed(size):
                self.notes.append(f"{one.label} = {unbracketed(size)} ({_place(one)}){why}")
        elif said is None:
            size = 1
            self.batch.append(one.label)
            self.notes.append(
                f"{one.label} = 1 (the batch); another size: --dim {_argument(one.label)}=SIZE, "
                f"in Python dims={{{one.label!r}: SIZE}}"
            )
        else:
            size = said
            self.notes.append(f"{one.label} = {size} ({_place(one)})")
        self.done[id(one)] = size
        return size

    def _computed(self, said: Formula, one: _Open, below: tuple[_Open, ...]) -> Dim:
        """A formula over the other dimensions."""
        label = one.label if said.text == one.label else f"{one.label}={said}"
        values: dict[str, Dim] = {}
        for name in _names(_parsed(said.text)):
            found = [o for o in self.opened if identifier(self.chosen.get(id(o), "")) == name]
            found = found or _named(name, self.opened, self.shapes, strict=False)
            if not found:
                have = ", ".join(_argument(o.label) for o in self.opened if o is not one)
                raise DimensionError(
                    f"--dim {label}: {name!r} is no open dimension of the model; others are "
                    f"{have or 'none'}"
                )
            values[name] = self._settle(found[0], (*below, one))

        size = as_dim(value_of(said.text, values))
        if bounds(size)[0] < 0:
            raise DimensionError(
                f"--dim {label}: it would be {int(bounds(size)[0])} where the sizes that it is "
                "computed from are smallest"
            )
        return size


def unbracketed(d: Dim) -> str:
    """A size as text, without parentheses around the whole."""
    shown = text(d)
    return shown[1:-1] if isinstance(d, Expr) and shown.startswith("(") else shown


def image_axes(shape: Sequence[Any]) -> tuple[int, int] | None:
    """Where height and width lie in the shape of a picture; sizes that are no numbers are open."""
    if len(shape) == 4:
        nhwc = not isinstance(shape[1], int) and isinstance(shape[3], int)
        return (1, 2) if nhwc else (2, 3)
    if len(shape) == 3:
        nhwc = not isinstance(shape[0], int) and isinstance(shape[2], int)
        return (0, 1) if nhwc else (1, 2)
    return (0, 1) if len(shape) == 2 else None


def _place(one: _Open) -> str:
    name, axis = one.at[0]
    named = f" (named {one.name!r})" if one.name else ""
    return f"axis {axis} of input {name!r}{named}"


def _argument(label: str) -> str:
    """A part of a command line, quoted where a shell would not take it as it is."""
    return f"'{label}'" if re.search(r"[^\w.:=+/%-]", label) else label


def _short(one: _Open, opened: list[_Open], shapes: _Shapes) -> str:
    """The key to advise: a plain name if it has one, else h or w for an image's axes."""
    if one.name and re.fullmatch(r"[A-Za-z_]\w*", one.name):
        return one.name
    for key in ("h", "w"):
        if _named(key, opened, shapes, strict=False) == [one]:
            return key
    return _argument(one.label)


def _named(key: str, opened: list[_Open], shapes: _Shapes, strict: bool = True) -> list[_Open]:
    """The dimensions that a key of `dims` means, by the rules of the module's text."""
    rules = (
        lambda one: one.name == key,
        lambda one: any(key in (f"{name}.{axis}", f"{name}_{axis}") for name, axis in one.at),
        lambda one: bool(one.name) and one.name.lower().startswith(key.lower()),
    )
    for rule in rules:
        found = [one for one in opened if rule(one)]
        if len(found) > 1:
            raise DimensionError(
                f"--dim {key} could mean {' or '.join(_place(one) for one in found)}; "
                f"use {' or '.join(_argument(one.label) for one in found)}"
            )
        if found:
            return found
    short = {"height": "h", "width": "w"}.get(key.lower(), key.lower())
    found = []
    if short in ("h", "w"):
        for _, shape in shapes.values():
            if len(shape) == 4:
                d = shape[(image_axes(shape) or ())["hw".index(short)]]
                if isinstance(d, _Open) and d not in found:
                    found.append(d)
    if short in ("batch", "n"):
        found = [one for one in opened if one.batch]
    if not found and strict:
        have = (
            "; ".join(f"{_argument(one.label)}: {_place(one)}" for one in opened)
            or "none: every dimension is fixed"
        )
        constant = f". To make this input a constant: --set {key}=VALUE" if key in shapes else ""
        raise DimensionError(
            f"--dim {key}: the model has no such open dimension. Open are: {have}{constant}"
        )
    return found


__all__ = [
    "BATCH",
    "Declared",
    "Formula",
    "Given",
    "OpenSizesError",
    "Range",
    "Settled",
    "Sides",
    "Sizes",
    "identifier",
    "image_axes",
    "is_formula",
    "settle_inputs",
    "unbracketed",
    "value_of",
]
