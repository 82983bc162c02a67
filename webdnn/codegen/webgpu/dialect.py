"""The WGSL dialect: expressions, memory accesses and modules as text; widths and helper functions.

Every expression has a width: 4 if it mentions the variable LANE (0..3), else 1. A kernel that
substitutes `4 * i4 + LANE` for its innermost axis thereby becomes a kernel on `vec4`: loads whose
index is `4 * (...) + LANE` read one vec4, others gather four elements.

    d = Wgsl("relu", slots, [(0, i4 * 4 + LANE), (1, i4 * 4 + LANE)])
    d.stores([Store(1, i4 * 4 + LANE, maximum(load(0, i4 * 4 + LANE), 0.0))], {i4: "id"})
    # ['b1[id] = max_c4(b0[id], vec4<f32>(0.0f));']
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import WebDNNError
from ...expr import (
    Dim,
    Expr,
    as_dim,
    bounds,
    children,
    coefficient,
    free,
    less,
    lift,
    make,
    maximum,
    minimum,
    multiple_of,
    product,
    substitute,
    upper,
    var,
    walk,
)
from ...scalar import STORAGE
from ...schedule.kernel import (
    Slot,
    Store,
)
from ..dialect import Dialect, Params
from ..integers import to_json
from .limits import LIMITS

TEMPLATES = Path(__file__).parent / "templates"
LANE = var("lane", 4)

Grid = tuple[Dim, Dim, Dim]

# How each row of `scalar.OPS` is written; {v} is "4" or "" and {T} the type of the result.
# A key (op, dtype of the last operand) goes before a key op. `name{v}` are functions of maths.wgsl.
SPELL: Mapping[object, str] = {
    "add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})",
    "div": "({0} / {1})", ("div", "i32"): "idiv{v}({0}, {1})", ("div", "u32"): "udiv{v}({0}, {1})",
    "floordiv": "floordiv{v}({0}, {1})", "mod": "floormod{v}({0}, {1})",
    "idiv": "idiv{v}({0}, {1})", "rem": "rem{v}({0}, {1})",
    **{(op, "u32"): "udiv{v}({0}, {1})" for op in ("floordiv", "idiv")},
    **{(op, "u32"): "urem{v}({0}, {1})" for op in ("mod", "rem")},
    ("floordiv", "f32"): "pydiv{v}({0}, {1})", ("mod", "f32"): "pymod{v}({0}, {1})",
    ("rem", "f32"): "fmod{v}({0}, {1})", ("idiv", "f32"): "trunc({0} / {1})",
    "min": "min({0}, {1})", ("min", "f32"): "min_{v}({0}, {1})", ("min", "bool"): "({0} & {1})",
    "max": "max({0}, {1})", ("max", "f32"): "max_{v}({0}, {1})", ("max", "bool"): "({0} | {1})",
    "pow": "pow_{v}({0}, {1})", ("pow", "i32"): "ipow{v}({0}, {1})",
    ("pow", "u32"): "upow{v}({0}, {1})", "atan2": "atan2_{v}({0}, {1})",
    "neg": "(-{0})", ("neg", "u32"): "({T}(0u) - {0})",
    "abs": "abs({0})", "sign": "sign({0})", ("sign", "f32"): "sign_{v}({0})",
    ("sign", "u32"): "min({0}, {T}(1u))",
    "sqrt": "sqrt({0})", "rsqrt": "inverseSqrt({0})",
    **{op: op + "_{v}({0})" for op in (
        "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
        "acosh", "atanh", "erf")},
    **{op: op + "({0})" for op in ("floor", "ceil", "round", "trunc")},
    **{(op, t): "{0}" for op in ("floor", "ceil", "round", "trunc") for t in ("i32", "u32")},
    "isnan": "is_nan{v}({0})", "isinf": "is_inf{v}({0})",
    "lt": "({0} < {1})", "le": "({0} <= {1})", "gt": "({0} > {1})", "ge": "({0} >= {1})",
    "eq": "({0} == {1})", "ne": "({0} != {1})", ("ne", "f32"): "(!({0} == {1}))",
    "and": "({0} & {1})", "or": "({0} | {1})", "xor": "({0} != {1})", "not": "(!{0})",
    "bitand": "({0} & {1})", "bitor": "({0} | {1})", "bitxor": "({0} ^ {1})", "bitnot": "(~{0})",
    ("bitxor", "bool"): "({0} != {1})", ("bitnot", "bool"): "(!{0})",
    "shl": "shl{v}({0}, {1})", "shr": "shr{v}({0}, {1})",
    ("shl", "u32"): "ushl{v}({0}, {1})", ("shr", "u32"): "ushr{v}({0}, {1})",
    "select": "select({2}, {1}, {0})",
}  # fmt: skip

LETTERS = {"F": "f32", "I": "i32", "U": "u32", "B": "bool", "H": "f16"}  # in maths.wgsl


@cache
def maths() -> dict[str, str]:
    """The functions of maths.wgsl by name, with their comments left out."""
    source = re.sub(r"//[^\n]*", "", (TEMPLATES / "maths.wgsl").read_text())
    return {
        m[1]: m[0].strip() for m in re.finditer(r"fn (\w+)\(.*?\n?\}(?=\s*(?:fn|\Z))", source, re.S)
    }


@cache
def template(name: str) -> str:
    """A template without the comment at its head."""
    lines = (TEMPLATES / f"{name}.wgsl").read_text().splitlines()
    return "\n".join(dropwhile(lambda line: line.startswith("//"), lines))


def used_maths(code: str) -> list[str]:
    """The functions of maths.wgsl, in either width, that `code` needs, callees included."""
    texts: dict[str, str] = {}
    todo = [code]
    while todo:
        for name in re.findall(r"\b[a-z]\w*(?=\()", todo.pop()):
            wide = name not in maths() and name.endswith("4")
            base = name[:-1] if wide else name
            if base not in maths() or name in texts:
                continue
            text = maths()[base]
            if wide:
                text = re.sub(
                    r"\b(\w+)(?=\()", lambda m: m[1] + "4" if m[1] in maths() else m[1], text
                )
            for letter, scalar in LETTERS.items():
                text = re.sub(rf"\b{letter}\b", f"vec4<{scalar}>" if wide else scalar, text)
            texts[name] = text
            todo.append(text.partition("{")[2])
    return [texts[name] for name in sorted(texts)]


def vec_aligned(index: Expr) -> bool:
    """Whether the four lanes of `index` are one aligned group of four."""
    return coefficient(index, LANE) == 1 and multiple_of(index - LANE, 4)


def named_int(name: str, k: int = 0) -> Expr:
    """An i32 of unknown range that a template's text names."""
    return make("acc", (name, k), "i32")


class Wgsl(Dialect):
    """Prints the expressions of one kernel; gathers its parameters and helper functions."""

    spell = SPELL

    def __init__(
        self, name: str, slots: Sequence[Slot], accesses: Iterable[tuple[int, Expr]]
    ) -> None:
        super().__init__(Params())
        if len(slots) > LIMITS.buffers:
            raise WebDNNError(
                f"kernel {name}: {len(slots)} buffers, WebGPU guarantees {LIMITS.buffers}; "
                "fuse less into it"
            )
        self.name = name
        self.slots = slots
        self.functions: dict[str, str] = {}
        self.wide_acc = False  # whether accumulators hold four lanes
        self.words: set[int] = set()  # slots whose elements a template takes out of vec4<u32>
        self._width: dict[Expr, bool] = {}
        self._lowered: dict[Expr, Expr] = {}
        # A slot is an array of vec4 if every access takes an aligned group.
        aligned: dict[int, bool] = {}
        for slot, index in accesses:
            aligned[slot] = aligned.get(slot, True) and vec_aligned(index)
        self.vec = {s for s, ok in aligned.items() if ok and multiple_of(lift(slots[s].size), 4)}

    # -- widths and types

    def wide(self, e: Expr) -> bool:
        """Whether `e` has a value per lane."""
        for x in walk(e) if e not in self._width else ():
            self._width[x] = (
                x is LANE
                or (x.op == "load4")
                or (x.op == "acc" and isinstance(x.args[0], int) and self.wide_acc)
                or any(self._width[c] for c in children(x))
            )
        return self._width[e]

    def type_of(self, e: Expr) -> str:
        return vector(e.dtype, self.wide(e))

    # -- memory

    def lower(self, e: Expr) -> Expr:
        """`e` with each load held within its slot, and read as a vec4 where the slot is one."""
        for x in walk(e) if e not in self._lowered else ():
            below = {c: self._lowered[c] for c in children(x)}
            if x.op == "load":
                self._lowered[x] = self._lower_load(x, below[x.args[1]])
            elif all(c is low for c, low in below.items()):
                self._lowered[x] = x
            else:
                self._lowered[x] = make(x.op, tuple(below.get(a, a) for a in x.args), x.dtype)
        return self._lowered[e]

    def _lower_load(self, e: Expr, index: Expr) -> Expr:
        slot, size = e.args[0], self.slots[e.args[0]].size
        if slot in self.vec:
            return make("load4", (slot, self.group(e.args[1], size)), e.dtype)
        return make("load", (slot, held(index, size)), e.dtype)

    def group(self, index: Expr, size: Dim) -> Expr:
        """The index in groups of four of an aligned access, held within the slot."""
        return held(substitute(index, {LANE: 0}) // 4, lift(size) // 4)

    def element(self, slot: int, index: str) -> str:
        """An element of a slot, or a group of four; what WGSL lacks is read by a function."""
        return f"h{slot}({index})" if self.slots[slot].dtype in NARROW else f"b{slot}[{index}]"

    def load(self, e: Expr, index: str) -> str:
        slot = self.slots[e.args[0]]
        wide = e.op == "load4" or self.wide(e.args[1])
        if wide and e.op == "load":
            function = f"gather{e.args[0]}"
            each = ", ".join(self.element(e.args[0], f"i.{c}") for c in "xyzw")
            T = f"vec4<{STORAGE[slot.dtype].computed}>"
            self.functions[function] = (
                f"fn {function}(i: vec4<i32>) -> {T} {{ return {T}({each}); }}"
            )
            s = f"{function}({index})"
        else:
            s = self.element(e.args[0], index)
        if e.dtype == "bool":
            return f"({s} != {vector('i32', wide)}(0))"
        if e.dtype != STORAGE[slot.dtype].computed:
            raise WebDNNError(
                f"kernel {self.name}: buffer {e.args[0]} holds {slot.dtype}, read as {e.dtype}"
            )
        return s

    def stores(
        self, stores: Sequence[Store], names: dict[Expr, str], mask: str | None = None
    ) -> list[str]:
        """Lines that compute all values first and then store them.

        `mask`: the condition under which lane $ may be stored, where it is not the whole group.
        """
        names = dict(names)
        values = [self.lower(s.value) for s in stores]
        targets: list[Expr] = []
        for s in stores:
            index = self.lower(s.index)
            if s.slot in self.vec:
                index = self.lower(substitute(s.index, {LANE: 0}) // 4)
            elif coefficient(s.index, LANE) == 1:
                index = self.lower(substitute(s.index, {LANE: 0}))
            targets.append(index)
        lines = self.block([*values, *targets], names)
        out: list[str] = []
        for k, (s, value, target) in enumerate(zip(stores, values, targets, strict=True)):
            slot, text, wide = self.slots[s.slot], names[value], self.wide(value)
            spread = LANE in free(s.index)
            if value.dtype == "bool":
                T, dtype = vector("i32", wide), "i32"
                text = f"select({T}(0), {T}(1), {text})"
            else:
                dtype = value.dtype
            if dtype != STORAGE[slot.dtype].computed:
                raise WebDNNError(
                    f"kernel {self.name}: buffer {s.slot} holds {slot.dtype}, "
                    f"the value is {value.dtype}"
                )
            if slot.dtype in NARROW:
                text = f"to_{slot.dtype}{'4' if wide else ''}({text})"
            if spread and not wide:
                text = f"vec4<{slot.dtype}>({text})"
            if wide and not spread and s.slot not in self.vec:
                text = f"({text}).x"  # one column
            single = not spread or s.slot in self.vec
            if len(stores) > 1 or not single:
                lines.append(f"let v{k} = {text};")
                text = f"v{k}"
            if single:
                out.append(f"b{s.slot}[{names[target]}] = {text};")
                continue
            lines.append(f"let at{k} = {names[target]};")
            if self.wide(target):  # lanes lie apart
                at = [f"at{k}.{c}" for c in "xyzw"]
            else:
                at = [f"at{k} + {c}" for c in range(4)]
            for c in range(4):
                guard = f"if ({mask.replace('$', str(c))}) {{ " if mask else ""
                out.append(f"{guard}b{s.slot}[{at[c]}] = {text}.{'xyzw'[c]};{' }' if mask else ''}")
        return lines + out

    # -- spellings

    def param(self, i: int) -> str:
        return f"params[{i // 4}].{'xyzw'[i % 4]}"

    def const(self, e: Expr) -> str:
        value = e.args[0]
        if e.dtype == "bool":
            return "true" if value else "false"
        if e.dtype == "i32":
            return f"({value})" if value < 0 else str(value)
        if e.dtype == "u32":
            return f"{value}u"
        f = float(np.float32(value))
        if not math.isfinite(f):
            return f"from_bits({int(np.float32(f).view(np.uint32))}u)"
        if f == 0 and math.copysign(1, f) < 0:
            return "from_bits(2147483648u)"  # compilers drop the sign of a literal -0
        return f"{np.float32(f)}f" if f >= 0 else f"({np.float32(f)}f)"

    def leaf(self, e: Expr) -> str:
        if e is LANE:
            return "vec4<i32>(0, 1, 2, 3)"
        raise KeyError(f"kernel {self.name}: {e} is not in scope here")

    def cast(self, e: Expr, x: str) -> str:
        source, T, wide = e.args[0], self.type_of(e), self.wide(e)
        a, b = source.dtype, e.dtype
        if e.op == "bitcast":
            return f"bitcast<{T}>({x})"
        if a == b:
            return x
        if b == "bool":
            zero = f"({x} == {self.type_of(source)}(0))"
            return f"(!{zero})"  # true for NaN
        if a == "f32":
            return f"to_{b}{'4' if wide else ''}({x})"
        return f"{T}({x})"

    def block(self, roots: list[Expr], names: dict[Expr, str], prefix: str = "t") -> list[str]:
        """Lines that compute `roots`; `names` then maps each root to its text.

        What is used twice gets a name. `names` may hold expressions that are already computed; what
        is named here is added to it, so a later block in the same scope reuses it.
        """
        lines: list[str] = []
        uses: dict[Expr, int] = {}
        order = self._visit(roots, names)
        for e in order:
            for c in children(e):
                uses[c] = uses.get(c, 0) + 1
        for e in order:
            if e in names:
                continue
            s = self._text(e, names)
            if (
                uses.get(e, 0) > 1
                and e.op not in ("const", "var", "acc")
                and self.lifted(e) is None
            ):
                name = f"{prefix}{sum(1 for v in names.values() if v.startswith(prefix))}"
                lines.append(f"let {name} = {s};")
                s = name
            names[e] = s
        return lines

    def _visit(self, roots: list[Expr], names: Mapping[Expr, str]) -> list[Expr]:
        order: list[Expr] = []
        seen: set[Expr] = set()
        stack = [(r, False) for r in reversed(roots)]
        while stack:
            e, done = stack.pop()
            if done:
                order.append(e)
            elif e not in seen and e not in names:
                seen.add(e)
                stack.append((e, True))
                if self.lifted(e) is None:
                    stack.extend((c, False) for c in reversed(list(children(e))))
        return order

    def _text(self, e: Expr, names: Mapping[Expr, str]) -> str:
        simple = self.simple(e)
        if simple is not None:
            return simple
        if e.op in ("cast", "bitcast"):
            return self.cast(e, names[e.args[0]])
        if e.op in ("load", "load4"):
            return self.load(e, names[e.args[1]])
        wide = self.wide(e)
        args = [self.splat(names[a], a, wide) for a in e.args]
        key, form = (e.op, e.args[-1].dtype), self.form(e)
        if key[1] == "i32" and e.op in ("floordiv", "idiv", "mod", "rem"):
            (alo, _), (blo, _) = bounds(e.args[0]), bounds(e.args[1])
            if alo >= 0 and blo > 0:
                U = vector("u32", wide)
                form = f"{{T}}({U}({{0}}) {'/' if 'div' in e.op else '%'} {U}({{1}}))"
        if (
            key in (("min", "f32"), ("max", "f32"))
            and e.args[1].op == "const"
            and not math.isnan(e.args[1].args[0])
        ):
            form = e.op + "_c{v}({0}, {1})"
        if key[1] == "f32" and e.op in ("eq", "ne") and e.args[0] is e.args[1]:  # the idiom for NaN
            form = "is_nan{v}({0})" if e.op == "ne" else "(!is_nan{v}({0}))"
        if e.op == "select" and not self.wide(e.args[0]):
            args[0] = names[e.args[0]]
        return form.format(*args, v="4" if wide else "", T=vector(e.dtype, wide))

    def text(self, e: Dim) -> str:
        """A size as text: a literal or a parameter."""
        scope: dict[Expr, str] = {}
        self.block([lift(e)], scope)
        return scope[lift(e)]

    def splat(self, text: str, e: Expr, wide: bool) -> str:
        return f"vec4<{e.dtype}>({text})" if wide and not self.wide(e) else text

    # -- the whole module

    def printed(self, name: str, main: str, functions: str, grid: Grid, flops: Any) -> Printed:
        """The kernel, with a text for devices that know the types which it unpacks else; what
        stores such types is for these alone."""
        if kept := {s.dtype for s in self.slots if s.access != "read"} & NARROW.keys():
            (dtype,) = kept
            code = self.module(main, functions, native=dtype)
            features = (NARROW[dtype].feature,)
            return Printed(name, code, tuple(self.params.values), grid, flops, features=features)
        code, variants = self.module(main, functions), {}
        read = {s.dtype for k, s in enumerate(self.slots) if k not in self.words}
        for dtype in sorted(read & NARROW.keys()):
            variants[NARROW[dtype].feature] = self.module(main, functions, native=dtype)
        return Printed(name, code, tuple(self.params.values), grid, flops, variants)

    def module(self, main: str, functions: str = "", native: str = "") -> str:
        """The text of a module from its functions, workgroup variables and entry point.

        native: a row of NARROW that the device knows; others are unpacked from words.
        """
        head = [f"enable {native};"] if native else []
        for k, slot in enumerate(self.slots):
            access = "read" if slot.access == "read" else "read_write"
            T, read = vector(slot.dtype, k in self.vec), ""
            if k in self.words:
                T = "vec4<u32>"
            elif slot.dtype in NARROW:
                T, read = NARROW[slot.dtype].reader(k, k in self.vec, native == slot.dtype)
            head += [f"@group(0) @binding({k}) var<storage, {access}> b{k}: array<{T}>;", read]
        if self.params.values:
            n = (len(self.params.values) + 3) // 4
            head.append(
                f"@group(0) @binding({len(self.slots)}) var<uniform> params: array<vec4<i32>, {n}>;"
            )
        body = "\n".join([*self.functions.values(), functions, main])
        return "\n".join(line for line in [*head, *used_maths(body), body] if line) + "\n"


def counter(name: str) -> Expr:
    """An i32 that a kernel's text names and that is not negative."""
    return var(f"{name}_", 2**31 - 1)


def quotient(op: str, a: Expr, b: Dim) -> Expr:
    """A division (floordiv or mod) of a number that is known not to be negative."""
    if isinstance(b, int) and b == 1:
        return a if op == "floordiv" else lift(0)
    return make(op, (a, lift(b)), "i32")


def digits(flat: Expr, axes: Sequence[Expr]) -> dict[Expr, Expr]:
    """Each axis as an expression of the number that counts through all, the last one fastest."""
    out: dict[Expr, Expr] = {}
    for k, v in enumerate(axes):
        e = quotient("floordiv", flat, product([o.args[1] for o in axes[k + 1 :]]))
        out[v] = quotient("mod", e, v.args[1]) if k else e
    return out


def half(slot: int, wide: bool, native: bool) -> tuple[str, str]:
    """The element type of a slot of f16, and the function that reads element or group i as f32."""
    T = vector("f32", wide)
    if native:
        kept, lines = vector("f16", wide), f"return {T}(b{slot}[i]);"
    elif wide:
        kept = "vec2<u32>"
        lines = f"let w = b{slot}[i]; return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));"
    else:
        kept, lines = "u32", f"return unpack2x16float(b{slot}[i >> 1u])[i & 1];"
    return kept, f"fn h{slot}(i: i32) -> {T} {{ {lines} }}"


@dataclass(frozen=True)
class Narrow:
    """Storage that is narrower than a word: the feature of devices that know it, and `reader`:
    (slot, wide, native) -> the slot's element type, and the function h{slot} that reads it."""

    feature: str
    reader: Callable[[int, bool, bool], tuple[str, str]]


NARROW: Mapping[str, Narrow] = {"f16": Narrow("shader-f16", half)}


def vector(scalar: str, wide: bool) -> str:
    return f"vec4<{scalar}>" if wide else scalar


def held(index: Expr, size: Dim) -> Expr:
    """`index` clamped into 0..size-1, as far as it is not known to lie there."""
    index = maximum(index, 0)
    return index if less(index, size) else minimum(index, lift(size) - 1)


# ---- printed kernels, and their sizes ---------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """A kernel's text, and what each of its steps must supply."""

    name: str
    code: str
    params: tuple[Dim, ...]
    grid: Grid
    flops: Any  # Int of the descriptor
    variants: Mapping[str, str] = field(default_factory=dict)  # device features -> better text
    features: tuple[str, ...] = ()  # that a device needs

    @property
    def text(self) -> str:
        """All its text, variants for better devices included."""
        return "\n".join([self.code, *(f"// {k}\n{code}" for k, code in self.variants.items())])

    @property
    def given(self) -> tuple[Any, ...]:
        """What a launch is given beside buffers."""
        return self.params, self.grid, self.flops


def times(*factors: Any) -> Any:
    """A product as the descriptor's Int: unbounded, unlike the i32 of expressions."""
    total: Any = 1
    others = []
    for f in factors:
        f = to_json(f) if isinstance(f, Expr) else f
        if isinstance(f, int):
            total *= f
        else:
            others.append(f)
    for f in others:
        total = ["*", total, f]
    return total


def plus(a: Any, b: int) -> Any:
    return a + b if isinstance(a, int) else ["+", a, b]


def ceil_div(a: Dim, b: int) -> Dim:
    return as_dim((a + (b - 1)) // b)


def linear_grid(groups: Dim) -> tuple[tuple[Dim, Dim, Dim], Dim | None]:
    """A grid of at least `groups` workgroups, and its width if it needs two axes."""
    if upper(groups) <= LIMITS.groups:
        return (groups, 1, 1), None
    height = ceil_div(groups, LIMITS.groups)
    width = as_dim((groups + height - 1) // maximum(lift(height), 1))
    return (width, height, 1), width
