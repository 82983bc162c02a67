"""The C dialect: expressions as scalars and as vectors of four lanes, in nested scopes.

An expression that mentions the lane variable is a vector, any other a scalar, computed once in the
outermost loop where its variables are known:

    >>> from webdnn.expr import load, var
    >>> from webdnn.schedule.kernel import Slot
    >>> i, j = var("i", 100), var("j", 64)
    >>> p = Lanes((Slot("f32", 6400, "read"), Slot("f32", 64, "read")))
    >>> p.names, p.lane = {i: "i", j: "j"}, j
    >>> p.value(load(0, i * 64 + j) * load(1, j) + load(1, i))
    '((LD(b0 + i * p0 + j) * LD(b1 + j)) + S(b1[i]))'

A `select` whose branches read memory reads only what it takes: by a branch where the condition is
one for all lanes, by masked loads otherwise; an index that comes out of memory is clamped to its
buffer. The functions that the text calls are those of `templates/prelude.h`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from ...expr import (
    FLOAT,
    OPS,
    Dim,
    Expr,
    bounds,
    children,
    coefficient,
    from_poly,
    maximum,
    minimum,
    poly,
    walk,
)
from ...schedule.kernel import Slot, Store
from ..dialect import LITERAL, Dialect, Params, invariant

SCALAR = {"f32": "float", "f64": "double", "i32": "int", "u32": "unsigned", "bool": "int"}
VECTOR = {"f32": "f4", "f64": "d4", "i32": "i4", "u32": "u4", "bool": "i4"}
# How a row of scalar.STORAGE is declared, and how an element of it is read, if by a function.
DECLARED = {
    "f32": "float", "f64": "double", "i32": "int", "u32": "unsigned", "f16": "unsigned short",
    "i8": "signed char", "u8": "unsigned char",
}  # fmt: skip
READ = {"f16": "HALF({0})"}
CAST = {"f32": "F", "f64": "D", "i32": "I", "u32": "U"}  # ends the names of conversions
ZERO = {"f32": "0.0f", "f64": "0.0", "i32": "0", "u32": "0u"}


@dataclass
class _Scope:
    """A stretch of C between braces: its lines, and the names that they define."""

    level: int
    lines: list[str]
    names: dict[tuple[Any, int], str] = field(default_factory=dict)
    guarded: bool = False  # under a condition: what reads memory must stay inside
    mask: str | None = None  # the lanes that may read memory


class Lanes(Dialect):
    """The C dialect, printing into nested scopes.

    `level` says at which loop depth a variable or accumulator becomes known; `names` how it is
    spelled. `lane` is the variable whose four values make a vector (None: scalars only), `part`
    counts the vectors that one iteration handles: the lane variable stands for `name + 4 * part`
    and its neighbours.
    """

    spell: Mapping[object, str] = {
        "add": "({0} + {1})",
        "sub": "({0} - {1})",
        "mul": "({0} * {1})",
        "div": "vidiv({0}, {1})",
        ("div", "f32"): "({0} / {1})",
        ("div", "f64"): "({0} / {1})",
        **{(op, "f64"): op.upper() + "({0}, {1})" for op in ("lt", "le", "gt", "ge", "eq", "ne")},
        "neg": "(-{0})",
        "lt": "({0} < {1})",
        "le": "({0} <= {1})",
        "gt": "({0} > {1})",
        "ge": "({0} >= {1})",
        "eq": "({0} == {1})",
        "ne": "({0} != {1})",
        "and": "({0} & {1})",
        "or": "({0} | {1})",
        "xor": "({0} ^ {1})",
        "not": "NOT({0})",
        "bitand": "({0} & {1})",
        "bitor": "({0} | {1})",
        "bitxor": "({0} ^ {1})",
        "bitnot": "(~{0})",
        "select": "SEL({0}, {1}, {2})",
        **{
            op: f"v{op}({{0}})"
            for op, row in OPS.items()
            if row.arity == 1 and op not in ("neg", "not", "bitnot", "cast", "bitcast")
        },
        **{
            op: f"v{op}({{0}}, {{1}})"
            for op in ("floordiv", "mod", "idiv", "rem", "min", "max", "pow", "atan2", "shl", "shr")
        },
    }

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        super().__init__(Params())
        self.slots = slots
        self.level: dict[Expr, int] = {}
        self.names: dict[Expr, str] = {}
        self.lane: Expr | None = None
        self.part = 0
        self.vector_accs = False
        self.scopes: list[_Scope] = [_Scope(0, [])]
        self._leaves: dict[Expr, frozenset[Expr]] = {}
        self._count = 0

    # -- facts about expressions

    def leaves(self, e: Expr) -> frozenset[Expr]:
        """Variables, accumulators and loads below `e`."""
        for x in walk(e) if e not in self._leaves else ():
            if x not in self._leaves:
                own = frozenset((x,)) if x.op in ("var", "acc", "load") else frozenset()
                self._leaves[x] = own.union(*(self._leaves[c] for c in children(x)))
        return self._leaves[e]

    def varies(self, e: Expr) -> bool:
        """Whether the lanes of `e` may differ."""
        return self.lane is not None and any(
            x is self.lane or (x.op == "acc" and self.vector_accs) for x in self.leaves(e)
        )

    def loads(self, e: Expr) -> frozenset[Expr]:
        """The loads below `e`."""
        return frozenset(x for x in self.leaves(e) if x.op == "load")

    def depth(self, e: Expr) -> int:
        """The loop depth at which `e` is known."""
        return max((self.level.get(x, 0) for x in self.leaves(e)), default=0)

    # -- scopes and lines

    @property
    def scope(self) -> _Scope:
        return self.scopes[-1]

    def line(self, text: str) -> None:
        """A line at the end of the innermost scope."""
        self.scope.lines.append(text)

    @contextmanager
    def braces(self, head: str, level: int | None = None) -> Iterator[None]:
        """`head { ... }`; what is hoisted out of it while it is printed lands before it."""
        self.scopes.append(
            _Scope(
                self.scope.level if level is None else level,
                [],
                guarded=self.scope.guarded,
                mask=self.scope.mask,
            )
        )
        yield
        inner = self.scopes.pop()
        self.scope.lines += [f"{head} {{".lstrip(), *("  " + x for x in inner.lines), "}"]

    @contextmanager
    def apart(self) -> Iterator[list[str]]:
        """Lines for another place; names made among them are forgotten."""
        scopes, self.scopes = self.scopes, [_Scope(0, [])]
        yield self.scopes[0].lines
        self.scopes = scopes

    def _named(self, key: Any, text: str, scope: _Scope, ctype: str) -> str:
        name = f"t{self._count}"
        self._count += 1
        scope.lines.append(f"const {ctype} {name} = {text};")
        scope.names[key] = name
        return name

    def _key(self, e: Expr) -> tuple[Expr, int]:
        return e, self.part if self.varies(e) else -1

    def _find(self, key: tuple[Any, int]) -> str | None:
        return next((s.names[key] for s in reversed(self.scopes) if key in s.names), None)

    def _home(self, e: Expr) -> _Scope:
        """The outermost open scope where `e` is known and may be computed."""
        depth, home, reads = self.depth(e), self.scope, bool(self.loads(e))
        for s in reversed(self.scopes):
            if s.level < depth:
                break
            home = s
            if reads and (s.guarded or s.mask):
                break
        return home

    # -- expressions

    def param(self, i: int) -> str:
        return f"p{i}"

    def ctype(self, e: Expr) -> str:
        """The C type of the value of `e`."""
        return (VECTOR if self.varies(e) else SCALAR)[e.dtype]

    def const(self, e: Expr) -> str:
        value = e.args[0]
        if e.dtype == "bool":
            return str(int(value))
        if e.dtype in ("i32", "u32"):
            return (
                "(-2147483647 - 1)" if value == -(2**31) else f"{value}{'u' * (e.dtype == 'u32')}"
            )
        wide = e.dtype == "f64"
        value = value if wide else float(np.float32(value))
        if math.isnan(value):
            return f'{"(double)" * wide}__builtin_nanf("")'
        if math.isinf(value):
            return f"{'-' * (value < 0)}{'BIG_' * wide}INF"
        digits = f"{value:.{17 if wide else 9}g}"
        return f"{digits if any(c in digits for c in '.e') else digits + '.0'}{'f' * (not wide)}"

    def leaf(self, e: Expr) -> str:
        if e.op == "acc":
            part = f"_{self.part}" if self.vector_accs and self.lane is not None else ""
            return self.names.get(e, f"a{e.args[0]}_{e.args[1]}") + part
        if e is self.lane:
            return f"(S({self._scalar_leaf(e)}) + IOTA)"
        return self.names[e]

    def _scalar_leaf(self, e: Expr) -> str:
        return (
            f"({self.names[e]} + {4 * self.part})"
            if e is self.lane and self.part
            else self.names[e]
        )

    def splat(self, e: Expr) -> str:
        """The value of `e` as a vector."""
        s = self.value(e)
        return s if self.varies(e) else f"{'M' if e.dtype == 'bool' else 'S'}({s})"

    def value(self, e: Expr) -> str:
        """The text of `e`: a vector if it varies over the lanes, else a scalar.

        Names what is used twice or known further out; the lines land in the scopes.
        """
        found = self._find(self._key(e))
        if found is not None:
            return found
        strict, lazy = self._strict(e)
        order = [x for x in walk(e) if x in strict]
        uses: dict[Expr, int] = {}
        outside: set[Expr] = set()  # used by something deeper than itself
        here = self.scope.level
        for x in order:
            for c in () if x in lazy else children(x):
                uses[c] = uses.get(c, 0) + 1
                if self.depth(c) < self.depth(x):
                    outside.add(c)
        if self.depth(e) < here:
            outside.add(e)
        texts: dict[Expr, str] = {}
        for x in order:
            text = self._find(self._key(x))
            if text is None:
                text = self._spell(x, texts, lazy)
                if (
                    x.op not in ("const", "var", "acc")
                    and self.lifted(x) is None
                    and (uses.get(x, 0) > 1 or x in outside)
                ):
                    text = self._named(self._key(x), text, self._home(x), self.ctype(x))
            texts[x] = text
        return texts[e]

    def _strict(self, root: Expr) -> tuple[set[Expr], set[Expr]]:
        """What evaluating `root` always evaluates, and the selects whose branches must wait.

        A branch waits if it reads memory that is not read anyway.
        """
        strict: set[Expr] = set()
        selects: list[Expr] = []
        stack = [root]

        def run() -> None:
            while stack:
                x = stack.pop()
                if x in strict:
                    continue
                strict.add(x)
                if self._find(self._key(x)) is not None or self.lifted(x) is not None:
                    continue
                if x.op == "load":
                    continue  # `index` prints what is below, in its own scopes
                if x.op == "select":
                    selects.append(x)
                    stack.append(x.args[0])
                    stack.extend(
                        self.loads(x.args[1]) & self.loads(x.args[2])
                        if not any(y.op == "select" for y in walk(*x.args[1:]))
                        else ()
                    )
                else:
                    stack.extend(children(x))

        run()
        lazy = list(selects)
        while lazy:
            ready = [
                s
                for s in lazy
                if all(
                    y in strict or self._find(self._key(y)) is not None
                    for a in s.args[1:]
                    for y in self.loads(a)
                )
            ]
            if not ready:
                break
            lazy = [s for s in lazy if s not in ready]
            known = len(selects)
            for s in ready:
                stack.extend(s.args[1:])
            run()
            lazy += selects[known:]
        return strict, set(lazy)

    def _spell(self, e: Expr, texts: Mapping[Expr, str], lazy: set[Expr]) -> str:
        simple = self.simple(e)
        if simple is not None:
            return simple
        if e.op == "load":
            return self.load(e, "")
        if e in lazy:
            return self._select(e)
        varies = self.varies(e)

        def arg(a: Expr) -> str:
            s = texts[a] if a in texts else self.value(a)
            return (
                f"{'M' if a.dtype == 'bool' else 'S'}({s})" if varies and not self.varies(a) else s
            )

        args = [arg(a) for a in e.args]
        for a, c, text in ((*e.args, args[0]), (*e.args[::-1], args[-1])) if e.op == "add" else ():
            # A term beside a number needs no denormal part.
            single = e.dtype == "f32" and c.op == "const" and abs(c.args[0]) >= 1
            if single and text.startswith("vexp("):
                (x,) = a.args
                sign, x = (-1, x.args[0]) if x.op == "neg" else (1, x)
                return f"exp_plus({arg(x)}, {sign}, {arg(c)})"
        if e.op in ("cast", "bitcast"):
            return self.cast(e, args[0])
        if (
            e.op in ("floordiv", "mod")
            and e.dtype == "i32"
            and (bounds(e.args[0])[0] >= 0 and bounds(e.args[1])[0] > 0)
        ):
            return f"{'DIV' if e.op == 'floordiv' else 'MOD'}({args[0]}, {args[1]})"
        if (
            e.op in ("min", "max")
            and e.dtype == "f32"
            and (e.args[1].op == "const" and not math.isnan(e.args[1].args[0]))
        ):
            return f"{e.op.upper()}1({args[0]}, {args[1]})"
        return self.form(e).format(*args)

    def cast(self, e: Expr, x: str) -> str:
        source, target = e.args[0], e.dtype
        if e.op == "bitcast":
            return f"BITS_{CAST[target]}({x})"
        if target in FLOAT:
            return f"{'BOOL' if source.dtype == 'bool' else 'TO'}_{CAST[target]}({x})"
        if target == "bool":
            zero = ZERO[source.dtype]
            zero = f"S({zero})" if self.varies(e) else zero
            return f"NE({x}, {zero})" if source.dtype == "f64" else f"({x} != {zero})"
        x = f"BOOL_I({x})" if source.dtype == "bool" else x
        return f"TO_{CAST[target]}({x})"

    def _select(self, e: Expr) -> str:
        """A select that reads memory only on the side that it takes."""
        inner = self.scopes
        self.scopes = inner[: next(k for k, s in enumerate(inner) if s is self._home(e)) + 1]
        condition = self.value(e.args[0])
        vector = self.varies(e)
        if self.varies(e.args[0]):
            m, outer = f"m{self._count}", self.scope.mask
            self._count += 1
            both = "" if outer is None else f" & {outer}"
            self.line(f"const i4 {m} = {condition}, {m}t = {m}{both}, {m}f = ~{m}{both};")
            sides = []
            for a, mask in zip(e.args[1:], (m + "t", m + "f"), strict=True):
                self.scopes.append(_Scope(self.scope.level, [], guarded=True, mask=mask))
                sides.append(self.splat(a))
                lines = self.scopes.pop().lines
                self.scope.lines += lines
            text = f"SEL({m}, {sides[0]}, {sides[1]})"
        else:
            sides = []
            for a in e.args[1:]:
                self.scopes.append(_Scope(self.scope.level, [], guarded=True, mask=self.scope.mask))
                result = self.splat(a) if vector else self.value(a)
                lines = self.scopes.pop().lines
                sides.append(f"({{ {' '.join(lines)} {result}; }})" if lines else result)
            text = f"({condition} ? {sides[0]} : {sides[1]})"
        self.scopes = inner
        return text

    # -- memory

    def index(self, e: Expr) -> str:
        """An index as a scalar (of lane 0): its terms added up loop by loop, from the outside
        in."""
        terms: dict[tuple[Expr, ...], dict[tuple[Expr, ...], int]] = {}
        for monomial, c in poly(e).items():
            inner = tuple(a for a in monomial if not invariant(a))
            outer = tuple(a for a in monomial if invariant(a))
            terms.setdefault(inner, {})[outer] = c
        by_level: dict[int, list[tuple[tuple[Expr, ...], Expr]]] = {}
        for inner, factors in terms.items():
            depth = max((self.depth(a) for a in inner), default=0)
            by_level.setdefault(depth, []).append((inner, from_poly(factors)))
        total, text = from_poly({}), ""
        for depth in sorted(by_level):
            for inner, factor in by_level[depth]:
                pieces = [self._scalar_leaf(a) if a.op == "var" else self.value(a) for a in inner]
                if not (factor.op == "const" and factor.args[0] == 1 and pieces):
                    pieces.append(self.lifted(factor) or self.const(factor))
                term = " * ".join(pieces)
                text = f"{text} + {term}" if text else term
                product = factor
                for a in inner:
                    product = product * a
                total = total + product
            if 0 < depth < self.scope.level and " " in text:
                key = (("index", total), self.part if self.varies(total) else -1)
                text = self._find(key) or self._named(key, text, self._home(total), "int")
        return text or "0"

    def _address(self, slot: Any, index: Expr) -> tuple[str, str]:
        """How four lanes are reached ("", "S", "G", or "1": one element for all) and the text."""
        if any(x.op in ("load", "bitcast") for x in walk(index)):  # read from memory: never trusted
            if not self.varies(index):
                return "1", f"CLAMP({self.value(index)}, {self._size(slot)})"
            return "G", f"b{slot}, CLAMP({self.value(index)}, S({self._size(slot)}))"
        if not self.varies(index):
            return "1", self.index(index)
        step = coefficient(index, self.lane)  # type: ignore[arg-type]
        if step is None or (isinstance(step, Expr) and not invariant(step)):
            return "G", f"b{slot}, {self.value(index)}"
        at = self.index(index)
        at = f"b{slot} + {at}" if at != "0" else f"b{slot}"
        if not isinstance(step, Expr) and step == 1:
            return "", at
        if isinstance(step, Expr):
            return "S", f"{at}, {self.lifted(step)}"
        lifted = str(step) if abs(step) < LITERAL else self.param(self.params.index(step))
        return "S", f"{at}, {lifted}"

    def _size(self, slot: Any) -> str:
        size = self.slots[slot].size
        return self.param(self.params.index(size))

    def load(self, e: Expr, index: str) -> str:
        slot = e.args[0]
        kind, where = self._address(slot, e.args[1])
        mask = self.scope.mask
        if kind == "1":
            text = f"LD1M(b{slot} + {where}, {mask})" if mask else f"b{slot}[{where}]"
            text = READ.get(self.slots[slot].dtype, "{0}").format(text)
        else:
            text = f"LD{kind}M({where}, {mask})" if mask else f"LD{kind}({where})"
        if e.dtype == "bool":
            return f"({text} != {'0' if kind == '1' else 'S(0)'})"
        return text

    def store(self, s: Store) -> None:
        """slots[slot][index] = value, in all lanes."""
        want = self.slots[s.slot].dtype
        value = self.splat(s.value) if self.lane is not None else self.value(s.value)
        if s.value.dtype == "bool":
            value = f"BOOL_I({value})"
        elif s.value.dtype != want:
            raise ValueError(f"a {s.value.dtype} value stored to a slot of {want}: {s}")
        kind, where = self._address(s.slot, s.index)
        if kind == "1":
            if self.lane is not None:
                raise ValueError(f"four lanes stored to one element: {s}")
            if any(x.op == "load" for x in walk(s.index)):  # out of range is not stored
                at = self.value(s.index)
                with self.braces(f"if ((unsigned)({at}) < (unsigned){self._size(s.slot)})"):
                    self.line(f"b{s.slot}[{at}] = {value};")
            else:
                self.line(f"b{s.slot}[{where}] = {value};")
        else:
            self.line(f"ST{kind}({where}, {value});")


# ---- functions ----------------------------------------------------------------------------------

GRAIN_NS = 15_000  # work taken from the shared counter at a time


@dataclass(frozen=True)
class Printed:
    """A kernel's text and what a step of it needs; equal `body` and `slots` are one C function."""

    name: str
    body: str
    slots: tuple[Slot, ...]
    params: tuple[Dim, ...]
    items: Dim
    grain: Dim
    scratch: Dim  # bytes
    origin: str

    @property
    def symbol(self) -> str:
        """The C name: the schedule's name and a hash of the text."""
        text = "\n".join((self.body, *(s.dtype + s.access for s in self.slots)))
        return f"{_identifier(self.name)}_{sha256(text.encode()).hexdigest()[:10]}"

    @property
    def doubles(self) -> bool:
        """Whether it computes float64, with the functions of `double.h`."""
        return any(s.dtype == "f64" for s in self.slots) or any(
            f"{to}_D(" in self.body for to in ("TO", "BOOL")
        )

    @property
    def given(self) -> tuple[Any, ...]:
        """What a launch is given beside buffers."""
        return self.params, self.items, self.grain, self.scratch

    @property
    def text(self) -> str:
        """The C function under its symbol."""
        pointers = [
            f"{'' if s.access != 'read' else 'const '}{DECLARED[s.dtype]}* restrict b{k}"
            for k, s in enumerate(self.slots)
        ]
        casts = ", ".join(f"buffers[{k}]" for k in range(len(self.slots)))
        head = "".join(f"  const int p{k} = p[{k}];\n" for k in range(len(self.params)))
        rest = "const int* restrict p, int begin, int end, char* restrict scratch"
        inner = ", ".join([*pointers, rest])
        call = ", ".join(x for x in (casts, "p, begin, end, scratch") if x)
        return (
            f"OV void {self.symbol}_({inner}) {{\n{head}{_indent(self.body)}\n}}\n"
            f"__attribute__((weak)) void {self.symbol}("
            "void* const* buffers, const int* p, int begin, int end, char* scratch) {\n"
            f"  {self.symbol}_({call});\n}}\n"
        )


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)[:60] or "kernel"


def _indent(text: str, by: str = "  ") -> str:
    return "\n".join(by + line if line else line for line in text.split("\n"))


def grain(each: float, row: Dim) -> Dim:
    """Work items worth GRAIN_NS, of `row` elements each."""
    count: Dim = larger(1, int(GRAIN_NS / each) // larger(1, row))
    return count


def smaller(a: Dim, b: Dim) -> Any:
    """The minimum of two sizes."""
    return minimum(a, b) if isinstance(a, Expr) or isinstance(b, Expr) else min(a, b)


def larger(a: Dim, b: Dim) -> Any:
    """The maximum of two sizes."""
    return maximum(a, b) if isinstance(a, Expr) or isinstance(b, Expr) else max(a, b)
