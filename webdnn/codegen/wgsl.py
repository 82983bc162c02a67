"""The WebGPU target: prints kernels as WGSL and a program as `webgpu.json` (docs/descriptor.md).

    >>> i = var("i", 1024)
    >>> kernel = Loop("relu", (i,), (), (), (Store(1, i, maximum(load(0, i), 0.0)),),
    ...               (Slot("f32", 1024, "read"), Slot("f32", 1024, "write")))
    >>> print(print_kernel(kernel).code)     # ... b1[i4] = max_c4(b0[i4], vec4<f32>(0.0f)); ...

Every expression has a width: 4 if it mentions the variable LANE (0..3), else 1. A kernel that
substitutes `4 * i4 + LANE` for its innermost axis thereby becomes a kernel on `vec4`: loads whose index
is `4 * (...) + LANE` read one vec4, others gather four elements.

Loops have one schedule, `Schedule(lanes, threads, wide)`: a workgroup computes `lanes` outputs with
`threads` invocations each; (64, 1) is elementwise, (1, 256) a row reduction in workgroup memory.
Templates are `templates/*.wgsl`; their tiles are the table TILES.

Limits: at most 8 storage buffers per kernel; f16 values are computed as f32; subnormals may be flushed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WebDNNError
from ..expr import (
    Dim,
    Expr,
    bounds,
    children,
    coefficient,
    cost,
    free,
    less,
    lift,
    logical_and,
    make,
    maximum,
    minimum,
    multiple_of,
    select,
    substitute,
    var,
    walk,
)
from ..kernel import (
    Instance,
    Kernel,
    Loop,
    Opaque,
    Program,
    Slot,
    Stage,
    Step,
    Store,
    is_row,
    loads,
)
from .dialect import Dialect, Params
from .integers import to_json
from .schedule import collapse, depthwise_loop, indices, padded, product, rejoin, rewrite
from .template import render

TEMPLATES = Path(__file__).parent / "templates"
MAX_BUFFERS = 8  # storage buffers of a shader stage that every WebGPU device has
MAX_GROUPS = 65535  # workgroups per grid axis
LANE = var("lane", 4)

TYPE = {"f32": "f32", "f16": "f32", "i32": "i32", "u32": "u32", "bool": "bool"}

# How each row of `expr.OPS` is written; {v} is "4" or "" and {T} the type of the result.
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


@cache
def maths() -> dict[str, str]:
    """The functions of maths.wgsl by name, with their comments left out."""
    source = re.sub(r"//[^\n]*", "", (TEMPLATES / "maths.wgsl").read_text())
    return {m[1]: m[0].strip() for m in re.finditer(r"fn (\w+)\(.*?\n?\}(?=\s*(?:fn|\Z))", source, re.S)}


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
                text = re.sub(r"\b(\w+)(?=\()", lambda m: m[1] + "4" if m[1] in maths() else m[1], text)
            for letter, scalar in (("F", "f32"), ("I", "i32"), ("U", "u32"), ("B", "bool")):
                text = re.sub(rf"\b{letter}\b", f"vec4<{scalar}>" if wide else scalar, text)
            texts[name] = text
            todo.append(text.partition("{")[2])
    return [texts[name] for name in sorted(texts)]


def vec_aligned(index: Expr) -> bool:
    """Whether the four lanes of `index` are one aligned group of four."""
    return coefficient(index, LANE) == 1 and multiple_of(index - LANE, 4)


def opaque(name: str, k: int = 0) -> Expr:
    """An i32 of unknown range that a template's text names."""
    return make("acc", (name, k), "i32")


class Wgsl(Dialect):
    """Prints the expressions of one kernel; gathers its parameters, buffers and helper functions."""

    spell = SPELL

    def __init__(self, name: str, slots: Sequence[Slot], accesses: Iterable[tuple[int, Expr]]) -> None:
        super().__init__(Params())
        if len(slots) > MAX_BUFFERS:
            raise WebDNNError(
                f"kernel {name}: {len(slots)} buffers, WebGPU guarantees {MAX_BUFFERS}; fuse less into it"
            )
        self.name = name
        self.slots = slots
        self.functions: dict[str, str] = {}
        self.wide_acc = False  # whether accumulators hold four lanes
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
        return vector(TYPE[e.dtype], self.wide(e))

    # -- memory

    def lower(self, e: Expr) -> Expr:
        """`e` with each load held within its slot and stated as a vec4, a gather or a scalar access."""
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

    def load(self, e: Expr, index: str) -> str:
        slot = self.slots[e.args[0]]
        wide = e.op == "load4" or self.wide(e.args[1])
        if wide and e.op == "load":
            function, element = f"gather{e.args[0]}", f"b{e.args[0]}"
            each = ", ".join(f"{element}[i.{c}]" for c in "xyzw")
            T = f"vec4<{slot.dtype}>"
            self.functions[function] = f"fn {function}(i: vec4<i32>) -> {T} {{ return {T}({each}); }}"
            s = f"{function}({index})"
        else:
            s = f"b{e.args[0]}[{index}]"
        if e.dtype == "bool":
            return f"({s} != {vector('i32', wide)}(0))"
        if TYPE[e.dtype] != slot.dtype:
            if (slot.dtype, TYPE[e.dtype]) != ("f16", "f32"):
                raise WebDNNError(
                    f"kernel {self.name}: buffer {e.args[0]} holds {slot.dtype} and is read as {e.dtype}")
            s = f"{vector('f32', wide)}({s})"
        return s

    def stores(self, stores: Sequence[Store], names: dict[Expr, str], mask: str | None = None) -> list[str]:
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
        for k, (s, value, target) in enumerate(zip(stores, values, targets)):
            slot, text, wide = self.slots[s.slot], names[value], self.wide(value)
            spread = LANE in free(s.index)
            if value.dtype == "bool":
                text, dtype = f"select({vector('i32', wide)}(0), {vector('i32', wide)}(1), {text})", "i32"
            else:
                dtype = TYPE[value.dtype]
            if dtype != slot.dtype:
                if (dtype, slot.dtype) != ("f32", "f16"):
                    raise WebDNNError(
                        f"kernel {self.name}: buffer {s.slot} holds {slot.dtype}, the value is {value.dtype}")
                text = f"{vector('f16', wide)}({text})"
            if spread and not wide:
                text = f"vec4<{slot.dtype}>({text})"
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

    def let(self, name: str, e: Expr, x: str) -> str:
        return f"let {name} = {x};"

    def cast(self, e: Expr, x: str) -> str:
        source, T, wide = e.args[0], self.type_of(e), self.wide(e)
        a, b = TYPE[source.dtype], TYPE[e.dtype]
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

    def _text(self, e: Expr, names: Mapping[Expr, str]) -> str:
        if self.lifted(e) is not None or e.op in ("const", "var", "acc", "cast", "bitcast"):
            return super()._text(e, names)
        if e.op in ("load", "load4"):
            return self.load(e, names[e.args[1]])
        wide = self.wide(e)
        args = [self._splat(names[a], a, wide) for a in e.args]
        key = (e.op, TYPE[e.args[-1].dtype])
        form = self.spell.get(key) or self.spell.get(e.op)
        if form is None:
            raise NotImplementedError(f"WGSL has no spelling of {e.op} on {e.args[-1].dtype}")
        if key[1] == "i32" and e.op in ("floordiv", "idiv", "mod", "rem"):
            (alo, _), (blo, _) = bounds(e.args[0]), bounds(e.args[1])
            if alo >= 0 and blo > 0:
                U = vector("u32", wide)
                form = f"{{T}}({U}({{0}}) {'/' if 'div' in e.op else '%'} {U}({{1}}))"
        if key in (("min", "f32"), ("max", "f32")) and e.args[1].op == "const" and not math.isnan(e.args[1].args[0]):
            form = e.op + "_c{v}({0}, {1})"
        if key[1] == "f32" and e.op in ("eq", "ne") and e.args[0] is e.args[1]:  # the idiom for NaN
            form = "is_nan{v}({0})" if e.op == "ne" else "(!is_nan{v}({0}))"
        if e.op == "select" and not self.wide(e.args[0]):
            args[0] = names[e.args[0]]
        return form.format(*args, v="4" if wide else "", T=vector(TYPE[e.dtype], wide))

    def _splat(self, text: str, e: Expr, wide: bool) -> str:
        return f"vec4<{TYPE[e.dtype]}>({text})" if wide and not self.wide(e) else text

    # -- the whole module

    def module(self, functions: str, main: str) -> str:
        """The text of a module from its functions, workgroup variables and entry point."""
        head = ["enable f16;"] if any(s.dtype == "f16" for s in self.slots) else []
        for k, slot in enumerate(self.slots):
            access = "read" if slot.access == "read" else "read_write"
            T = vector(slot.dtype, k in self.vec)
            head.append(f"@group(0) @binding({k}) var<storage, {access}> b{k}: array<{T}>;")
        if self.params.values:
            n = (len(self.params.values) + 3) // 4
            head.append(f"@group(0) @binding({len(self.slots)}) var<uniform> params: array<vec4<i32>, {n}>;")
        body = "\n".join([*self.functions.values(), functions, main])
        return "\n".join(line for line in [*head, *used_maths(body), body] if line) + "\n"


def vector(scalar: str, wide: bool) -> str:
    return f"vec4<{scalar}>" if wide else scalar


def held(index: Expr, size: Dim) -> Expr:
    """`index` clamped into 0..size-1, as far as it is not known to lie there."""
    index = maximum(index, 0)
    return index if less(index, size) else minimum(index, lift(size) - 1)


# ---- printed kernels ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """A kernel's text, and what each of its steps must supply."""

    name: str
    code: str
    params: tuple[Dim, ...]
    grid: tuple[Dim, Dim, Dim]
    flops: Any  # Int of the descriptor
    features: frozenset[str] = frozenset()
    variants: Mapping[str, str] = field(default_factory=dict)


def print_kernel(kernel: Kernel) -> Printed:
    """The WGSL of a kernel."""
    match kernel:
        case Loop():
            return print_loop(kernel)
        case Instance(template="depthwise"):
            return print_loop(depthwise_loop(kernel))
        case Instance(template="matmul" | "conv"):
            return print_gemm(kernel)
        case Opaque():
            return print_opaque(kernel)
    raise WebDNNError(f"kernel {kernel.name}: WebGPU has no template named {kernel.template!r}")


def times(*factors: Any) -> Any:
    """A product as the descriptor's Int: unbounded, unlike the i32 of expressions."""
    total, others = 1, []
    for f in factors:
        f = to_json(f) if isinstance(f, Expr) else f
        if isinstance(f, int):
            total *= f
        else:
            others.append(f)
    return reduce(lambda a, b: ["*", a, b], others, total) if others else total


def plus(a: Any, b: int) -> Any:
    return a + b if isinstance(a, int) else ["+", a, b]


def ceil_div(a: Dim, b: int) -> Dim:
    return number((a + (b - 1)) // b)


def number(a: Dim) -> Dim:
    """An int where `a` is literal."""
    return a.args[0] if isinstance(a, Expr) and a.op == "const" else a


def upper(a: Dim) -> int:
    return int(bounds(a)[1])


def linear_grid(groups: Dim) -> tuple[tuple[Dim, Dim, Dim], Dim | None]:
    """A grid of at least `groups` workgroups, and its width if it needs two axes."""
    if upper(groups) <= MAX_GROUPS:
        return (groups, 1, 1), None
    height = ceil_div(groups, MAX_GROUPS)
    width = number((groups + height - 1) // maximum(lift(height), 1))
    return (width, height, 1), width


# ---- loops ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """A workgroup computes `lanes` outputs (groups of four if `wide`), each by `threads` invocations."""

    lanes: int
    threads: int
    wide: bool
    rows: bool = False  # neighbouring invocations differ in the reduction, not in the output

    def __str__(self) -> str:
        return f"{self.lanes}{f'x{self.threads}' if self.threads > 1 else ''}{'v' if self.wide else ''}"


def schedule(loop: Loop) -> Schedule:
    """The schedule of a collapsed loop, from its sizes (upper bounds) and from what is contiguous."""
    outputs = upper(product([v.args[1] for v in loop.axes]))
    length = upper(product([v.args[1] for v in loop.reduce])) if loop.reduce else 1
    last = loop.axes[-1] if loop.axes else None
    wide = (
        last is not None
        and multiple_of(lift(last.args[1]), 4)
        and all(coefficient(s.index, last) == 1 for s in loop.stores)
        and outputs >= 16384
    )
    if length <= 32 and outputs * 8 >= length or any(s.monoid == "scan_sum" for s in loop.stages):
        return Schedule(64, 1, wide)
    if outputs >= 2**20 and length <= 512 and not _along_reduce(loop):
        return Schedule(64, 1, wide)
    threads = 32
    if _along_reduce(loop):
        while threads < 256 and threads * 8 < length:
            threads *= 2
        return Schedule(max(1, 64 // threads), threads, False, True)
    if outputs >= 32768 and length <= 1024:
        return Schedule(64, 1, wide)
    lanes = 32
    while lanes > 8 and outputs < lanes * 256:
        lanes //= 2
    while threads * 2 > length and threads > 2:
        threads //= 2
    return Schedule(lanes, min(threads, 256 // lanes), False)


def _along_reduce(loop: Loop) -> bool:
    """Whether the innermost reduction axis, rather than the last parallel one, is contiguous."""
    if not loop.axes:
        return True
    inner, outer = loop.reduce[-1], loop.axes[-1]
    score = 0
    for index in indices(loop):
        score += (coefficient(index, inner) == 1) - (coefficient(index, outer) == 1)
    return score >= 0


IDENTITY = {
    "sum": 0, "prod": 1, "any": False, "all": True, "scan_sum": 0,
    "max": -math.inf, "min": math.inf, "argmax": -math.inf, "argmax_last": -math.inf,
    "argmin": math.inf, "argmin_last": math.inf,
}  # fmt: skip


class LoopPrinter:
    """Prints one collapsed loop by one schedule."""

    def __init__(self, loop: Loop, plan: Schedule) -> None:
        self.plan = plan
        sizes = [v.args[1] for v in loop.axes]
        leaves = list(loop.axes)
        if plan.wide:
            last = loop.axes[-1]
            leaves[-1] = var(f"{last.args[0]}4", number(lift(last.args[1]) // 4))
            sizes[-1] = leaves[-1].args[1]
            loop = rewrite(loop, {last: leaves[-1] * 4 + LANE})
        self.loop, self.leaves, self.sizes = loop, leaves, sizes
        accesses = [(e.args[0], e.args[1]) for e in loads(loop)] + [(s.slot, s.index) for s in loop.stores]
        self.d = Wgsl(loop.name, loop.slots, accesses)
        self.d.wide_acc = plan.wide
        self.names: dict[Expr, str] = {}
        self.lines: list[str] = []
        self.shared: dict[str, str] = {}  # workgroup arrays: name -> element type
        self.indent = 1

    def put(self, *lines: str) -> None:
        for line in lines:
            if line.startswith("}"):
                self.indent -= 1
            self.lines.append("  " * self.indent + line)
            if line.endswith("{"):
                self.indent += 1

    def print(self) -> Printed:
        loop, plan, d = self.loop, self.plan, self.d
        outputs = number(product(self.sizes))
        group = plan.lanes * plan.threads
        grid, width = linear_grid(ceil_div(outputs, plan.lanes))
        index = "wg.x" if width is None else f"(wg.y * u32({self.text(width)}) + wg.x)"
        if plan.threads == 1:
            self.put(f"let id = i32({index} * {group}u + local);")
            self.put(f"if (id >= {self.text(outputs)}) {{ return; }}")
        else:
            lane, thread = "local % L", "local / L"
            if plan.rows:
                lane, thread = "local / T", "local % T"
            self.put(f"let lane = i32({lane.replace('L', f'{plan.lanes}u').replace('T', f'{plan.threads}u')});")
            self.put(f"let thread = i32({thread.replace('L', f'{plan.lanes}u').replace('T', f'{plan.threads}u')});")
            self.put(f"let slot = thread * {plan.lanes} + lane;")
            self.put(f"let wanted = i32({index}) * {plan.lanes} + lane;")
            self.put(f"let live = wanted < {self.text(outputs)};")
            self.put(f"let id = select(0, wanted, live);")
        self.axes()
        for k in range(len(loop.stages)):
            if loop.stages[k].monoid != "scan_sum" or not self.rows():
                self.stage(k)
        self.finish()
        arrays = "\n".join(f"var<workgroup> {n}: array<{t}, {group}>;" for n, t in self.shared.items())
        main = "\n".join([
            arrays,
            f"@compute @workgroup_size({group})",
            "fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {",
            *self.lines,
            "}",
        ])
        each = sum(cost(e) + 1 for s in loop.stages for e in s.exprs)
        return Printed(
            f"{loop.name}__{plan}", d.module("", main), tuple(d.params.values), grid, self.flops(each),
            features(loop.slots))

    def flops(self, each: int) -> Any:
        """Rough floating-point operations of one launch."""
        length = times(*(v.args[1] for v in self.loop.reduce))
        rows = sum(cost(s.value) for s in self.loop.stores if is_row(s, self.loop))
        once = sum(cost(s.value) for s in self.loop.stores if not is_row(s, self.loop))
        return times(*self.sizes, 4 if self.plan.wide else 1, plus(times(length, each + rows), once))

    def text(self, e: Dim) -> str:
        e = lift(e)
        names = dict(self.names)
        self.d.block([e], names)
        return names[e]

    def rows(self) -> list[Store]:
        return [s for s in self.loop.stores if is_row(s, self.loop)]

    def axes(self) -> None:
        """Takes `id` apart into the parallel axes."""
        self.split("id", self.leaves, self.names, "i")

    def split(self, flat: str, leaves: Sequence[Expr], names: dict[Expr, str], letter: str) -> None:
        """Names the coordinates that the number `flat` stands for, by position: kernels whose axes
        only have other names are one."""
        if len(leaves) == 1:
            names[leaves[0]] = flat
            return
        source = var(f"flat_{flat}", 2**31 - 1)
        scope = {source: flat}
        for k, leaf in enumerate(leaves):
            e: Expr = source
            inner = product([v.args[1] for v in leaves[k + 1 :]])
            e = self.quotient("floordiv", e, inner)
            if k:
                e = self.quotient("mod", e, leaf.args[1])
            name = f"{letter}{k}"
            self.d.block([e], scope)
            self.put(f"let {name} = {scope[e]};")
            names[leaf] = name

    @staticmethod
    def quotient(op: str, a: Expr, b: Dim) -> Expr:
        if isinstance(b, int) and b == 1:
            return a if op == "floordiv" else lift(0)
        return make(op, (a, lift(b)), "i32")

    def open_loops(self, names: dict[Expr, str]) -> int:
        """Opens the loops over the reduce axes; returns how many braces to close."""
        reduce = self.loop.reduce
        if self.plan.threads == 1:
            for k, v in enumerate(reduce):
                name = f"r{k}"
                self.put(f"for (var {name} = 0; {name} < {self.text(v.args[1])}; {name}++) {{")
                names[v] = name
            return len(reduce)
        total = product([v.args[1] for v in reduce])
        self.put(f"for (var r = thread; r < {self.text(total)}; r += {self.plan.threads}) {{")
        self.split("r", reduce, names, "r")
        return 1

    def stage(self, k: int) -> None:
        stage, plan = self.loop.stages[k], self.plan
        dtypes = [TYPE[e.dtype] for e in stage.exprs]
        accs = [f"a{k}_{j}" for j in range(len(dtypes))]
        wide = plan.wide
        for a, T, e in zip(accs, dtypes, self.identity(stage.monoid, dtypes)):
            self.put(f"var {a} = {vector(T, wide)}({e});")
        names = dict(self.names)
        braces = self.open_loops(names)
        exprs = [self.d.lower(e) for e in stage.exprs]
        self.put(*self.d.block(exprs, names))
        values = [self.d._splat(names[e], e, wide) for e in exprs]
        self.put(*self.combine(stage.monoid, dtypes, accs, values))
        for _ in range(braces):
            self.put("}")
        results = accs
        if plan.threads > 1:
            parts = self.parts(dtypes)
            self.put(*(f"{p}[slot] = {a};" for p, a in zip(parts, accs)))
            self.put("workgroupBarrier();")
            self.put(f"for (var half = {plan.threads // 2}; half > 0; half >>= 1u) {{")
            self.put("if (thread < half) {")
            mine = [f"{p}[slot]" for p in parts]
            other = [f"{p}[slot + half * {plan.lanes}]" for p in parts]
            self.put(*self.combine(stage.monoid, dtypes, mine, other))
            self.put("}", "workgroupBarrier();", "}")
            results = [f"r{k}_{j}" for j in range(len(dtypes))]
            self.put(*(f"let {r} = {p}[lane];" for r, p in zip(results, parts)))
            if k + 1 < len(self.loop.stages):
                self.put("workgroupBarrier();")
        for j, (r, e) in enumerate(zip(results, stage.exprs)):
            self.names[make("acc", (k, j), e.dtype)] = r

    def parts(self, dtypes: Sequence[str]) -> list[str]:
        out: list[str] = []
        for T in dtypes:
            name = f"part_{T}_{sum(o.startswith(f'part_{T}_') for o in out)}"
            self.shared[name] = T
            out.append(name)
        return out

    def identity(self, monoid: str, dtypes: Sequence[str]) -> list[str]:
        value, T = IDENTITY[monoid], dtypes[0]
        if isinstance(value, float) and math.isinf(value) and T != "f32":
            info = np.iinfo(np.int32 if T == "i32" else np.uint32)
            value = int(info.min if value < 0 else info.max)
        out = [self.d.const(lift(float(value) if T == "f32" else value, T))]
        if len(dtypes) == 2:
            out.append("-1" if monoid.endswith("_last") else "2147483647")
        return out

    def combine(self, monoid: str, dtypes: Sequence[str], a: Sequence[str], b: Sequence[str]) -> list[str]:
        """Lines that combine b into a."""
        v = "4" if self.plan.wide else ""
        if monoid in ("max", "min"):
            f = f"{monoid}_{v}" if dtypes[0] == "f32" else monoid
            return [f"{a[0]} = {f}({a[0]}, {b[0]});"]
        if len(dtypes) == 1:
            sign = {"sum": "+", "scan_sum": "+", "prod": "*", "any": "|", "all": "&"}[monoid]
            return [f"{a[0]} = {a[0]} {sign} {b[0]};"]
        kind = monoid.removeprefix("arg")
        if dtypes[0] == "f32":
            wins = f"wins_{kind}{v}({b[0]}, {b[1]}, {a[0]}, {a[1]})"
        else:
            sign, tie = (">" if "max" in kind else "<"), (">" if kind.endswith("last") else "<")
            wins = f"({b[0]} {sign} {a[0]}) | (({b[0]} == {a[0]}) & ({b[1]} {tie} {a[1]}))"
        return [
            "{",
            f"let wins = {wins};",
            f"{a[0]} = select({a[0]}, {b[0]}, wins);",
            f"{a[1]} = select({a[1]}, {b[1]}, wins);",
            "}",
        ]

    def finish(self) -> None:
        """The stores: once per output, then those of the row."""
        d, plan, loop = self.d, self.plan, self.loop
        rows = self.rows()
        once = [s for s in loop.stores if s not in rows]
        if once:
            if plan.threads > 1:
                self.put("if (live && thread == 0) {")
                self.put(*d.stores(once, self.names))
                self.put("}")
            else:
                self.put(*(["{"] if rows else []), *d.stores(once, self.names), *(["}"] if rows else []))
        if not rows:
            return
        if plan.threads > 1:
            self.put("if (live) {")
        scans = [(k, s) for k, s in enumerate(loop.stages) if s.monoid == "scan_sum"]
        for k, s in scans:
            T = TYPE[s.exprs[0].dtype]
            self.put(f"var a{k}_0 = {vector(T, plan.wide)}(0);")
        names = dict(self.names)
        braces = self.open_loops(names)
        for k, s in scans:
            e = d.lower(s.exprs[0])
            self.put(*d.block([e], names))
            self.put(f"a{k}_0 += {d._splat(names[e], e, plan.wide)};")
            names[make("acc", (k, 0), s.exprs[0].dtype)] = f"a{k}_0"
        self.put(*d.stores(rows, names))
        for _ in range(braces):
            self.put("}")
        if plan.threads > 1:
            self.put("}")


def features(slots: Iterable[Slot]) -> frozenset[str]:
    return frozenset({"shader-f16"} if any(s.dtype == "f16" for s in slots) else ())


def print_loop(loop: Loop) -> Printed:
    """A Loop by its schedule."""
    loop = collapse(loop)
    return LoopPrinter(loop, schedule(loop)).print()


# ---- matmul and convolution -------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """One way to print a sum of products; the fields are the holes of its template."""

    template: str
    BM: int  # rows of a workgroup
    BN: int  # columns of a workgroup
    TM: int  # rows of an invocation
    BK: int = 0  # gemm_tile: the depth of a tile
    PARTS: int = 1  # gemm_register: invocations that share out k
    rate: float = 0  # TFLOP/s when there is work for the whole device, and
    step: float = 0  # ns for one k of one invocation: both fitted to measurements on one H100

    @property
    def threads(self) -> int:
        return self.BM // self.TM * (self.BN // 8) * self.PARTS

    def __str__(self) -> str:
        k = f"x{self.BK}" if self.BK else f"k{self.PARTS}" if self.PARTS > 1 else ""
        return f"{self.BM}x{self.BN}{k}_{self.TM}x8"


TILES = (
    Tile("gemm_tile", 128, 64, 8, BK=16, rate=30.9, step=78),
    Tile("gemm_tile", 64, 64, 8, BK=16, rate=32.6, step=73),
    Tile("gemm_tile", 64, 32, 4, BK=16, rate=24.8, step=47),
    Tile("gemm_tile", 32, 64, 4, BK=32, rate=27.7, step=42),
    Tile("gemm_tile", 32, 32, 4, BK=32, rate=27.7, step=42),
    Tile("gemm_register", 32, 64, 4, rate=21.1, step=174),
    Tile("gemm_register", 256, 8, 4, rate=15.0, step=174),
    Tile("gemm_register", 32, 32, 8, PARTS=4, rate=20.0, step=136),
    Tile("gemm_register", 16, 32, 8, PARTS=8, rate=16.1, step=128),
    Tile("gemm_register", 16, 16, 4, PARTS=16, rate=13.0, step=100),
    Tile("gemm_register", 8, 16, 4, PARTS=32, rate=8.0, step=45),
    Tile("gemm_register", 4, 8, 4, PARTS=64, rate=3.0, step=10),
    Tile("gemm_register", 2, 8, 2, PARTS=128, rate=1.8, step=10),
    Tile("gemm_register", 1, 8, 1, PARTS=128, rate=1.1, step=10),
)

SMALLER = 2  # devices are assumed this many times slower than the one measured


def tile_time(tile: Tile, m: int, n: int, k: int, batch: int) -> float:
    """Microseconds that a tile takes: all of the padded work, and the serial steps of one invocation."""
    work = -(-m // tile.BM) * tile.BM * -(-n // tile.BN) * tile.BN * k * batch
    return 2 * work / (tile.rate * 1e6) * SMALLER + k / tile.PARTS * tile.step / 1e3


def print_gemm(kernel: Instance, tile: Tile | None = None) -> Printed:
    """A `matmul` or `conv` instance, by the best tile of TILES unless one is given."""
    kernel = pointwise_as_matmul(kernel)
    v = kernel.vars
    conv = kernel.template == "conv"
    outer = ("g",) if conv else tuple(b for b in ("b0", "b1") if b in v)
    spatial = tuple(v[name] for name in ("b", "y", "x") if name in v) if conv else (v["m"],)
    deep = tuple(v[name] for name in ("ky", "kx", "c") if name in v) if conv else (v["k"],)
    M, N, K = product([s.args[1] for s in spatial]), v["n"].args[1], product([s.args[1] for s in deep])
    Z = product([v[name].args[1] for name in outer if name in v])
    if tile is None:
        legal = [t for t in TILES if -(-upper(M) // t.BM) <= MAX_GROUPS] or TILES
        tile = min(legal, key=lambda t: tile_time(t, upper(M), upper(N), upper(K), upper(Z)))
    return GemmPrinter(kernel, tile, outer, spatial, deep).print(M, N, K, Z)


def coordinate(kernel: Instance, name: str) -> Expr:
    """The variable `name` of an instance, which may only occur in its holes."""
    if name in kernel.vars:
        return kernel.vars[name]
    for hole in kernel.holes.values():
        for v in free(hole):
            if v.args[0] == name:
                return v
    raise WebDNNError(f"kernel {kernel.name}: template {kernel.template} has no variable {name}")


def merged(axes: Sequence[Expr], stores: tuple[Store, ...], others: Sequence[Expr]) -> Loop:
    """The axes of stores, and of other expressions, merged where all walk them as one."""
    return collapse(Loop("", tuple(axes), (), (Stage("sum", tuple(others)),), stores, ()))


def pointwise_as_matmul(kernel: Instance) -> Instance:
    """A 1x1 convolution whose pixels lie in a row is a matmul; anything else comes back as it is."""
    v, attrs = kernel.vars, kernel.attrs
    if kernel.template != "conv" or attrs["groups"] != 1 or tuple(attrs["stride"]) != (1, 1):
        return kernel
    if tuple(attrs["pad"]) != (0, 0) or any(number(v[n].args[1]) != 1 for n in ("ky", "kx") if n in v):
        return kernel
    axes = [v[n] for n in ("b", "y", "x") if n in v]
    unit = {v["g"]: 0} if "g" in v else {}
    a = substitute(kernel.holes["a"], {coordinate(kernel, "iy"): v["y"], coordinate(kernel, "ix"): v["x"], **unit})
    stores = tuple(Store(s.slot, substitute(s.index, unit), substitute(s.value, unit)) for s in kernel.stores)
    loop = merged(axes, stores, [a])
    if len(loop.axes) != 1:
        return kernel
    return replace(
        kernel,
        template="matmul",
        vars={"m": loop.axes[0], "n": v["n"], "k": v["c"]},
        holes={**kernel.holes, "a": loop.stages[0].exprs[0]},
        attrs={"b_base": substitute(lift(attrs["b_base"]), unit), "b_batched": False},
        stores=loop.stores,
    )


class GemmPrinter:
    """Prints the functions that the gemm templates call, and the template around them."""

    def __init__(
        self, kernel: Instance, tile: Tile, outer: Sequence[str], spatial: Sequence[Expr], deep: Sequence[Expr]
    ) -> None:
        self.kernel, self.tile, self.deep = kernel, tile, deep
        self.outer = [kernel.vars[name] for name in outer if name in kernel.vars]
        self.K = product([s.args[1] for s in deep])
        N = kernel.vars["n"].args[1]
        self.nq = var("nq", ceil_div(N, 4))
        self.tail = not multiple_of(lift(N), 4)
        inner = deep[-1].args[1]
        self.quads = multiple_of(lift(inner), 4)  # no group of four k straddles a pixel
        self.spatial = list(spatial)
        stores = tuple(Store(s.slot, rejoin(s.index), rejoin(s.value)) for s in kernel.stores)
        loop = merged(spatial, stores, [])
        self.rows = list(loop.axes)
        self.writes = [
            Store(s.slot, *(substitute(e, {kernel.vars["n"]: self.nq * 4 + LANE}) for e in (s.index, s.value)))
            for s in loop.stores
        ]
        self.kv = 4 if tile.template == "gemm_tile" else 0
        if not self.kv:
            self.kv = 4 if self.quads and all(vec_aligned(e.args[1]) for e in walk(self.hole_a(4)) if e.op == "load") else 1
        self.a = self.hole_a(self.kv)
        b = kernel.holes["b"]
        if b.op != "load":
            raise WebDNNError(f"kernel {kernel.name}: B must be a plain load of packed panels, found {b}")
        self.b_slot = b.args[0]
        accesses = [(e.args[0], e.args[1]) for e in walk(self.a, *(e for s in self.writes for e in (s.index, s.value))) if e.op == "load"]
        accesses += [(s.slot, s.index) for s in self.writes] + [(self.b_slot, self.nq * 4 + LANE)]
        self.d = Wgsl(kernel.name, kernel.slots, accesses)
        if self.tail:
            self.d.vec -= {s.slot for s in self.writes}
        if self.b_slot not in self.d.vec:
            raise WebDNNError(f"kernel {kernel.name}: B is not in panels of 8 columns (size {kernel.slots[self.b_slot].size})")

    def hole_a(self, kv: int) -> Expr:
        """An element of A (four of them, over LANE, if kv is 4), zero where it is padding or beyond K."""
        kernel, v = self.kernel, self.kernel.vars
        at = opaque("k")
        if kernel.template == "matmul":
            k = self.deep[0]
            if kv == 1:
                a = substitute(kernel.holes["a"], {})
            elif self.quads:
                a = substitute(kernel.holes["a"], {k: var("kq", number(lift(self.K) // 4)) * 4 + LANE})
            else:
                a = substitute(kernel.holes["a"], {k: var("kb", self.K) + LANE})
            inside = lift(True)
        else:
            C, KX = v["c"].args[1], v["kx"].args[1] if "kx" in v else 1
            dy, dx = kernel.attrs["dilation"]
            oy, ox, c = opaque("oy"), opaque("ox"), v["c"]
            table: dict[Expr, Any] = {}
            if kv == 4 and self.quads:
                table[c] = var("cq", number(lift(C) // 4)) * 4 + LANE
            elif kv == 4:
                k = var("kb", self.K) + LANE
                oy, ox = k // product([KX, C]) * dy, k // C % KX * dx
                table[c] = k % C
            iy, ix = coordinate(kernel, "iy"), coordinate(kernel, "ix")
            table[iy], y_inside = padded(iy.args[1], opaque("y0") + oy)
            table[ix], x_inside = padded(ix.args[1], opaque("x0") + ox)
            a = substitute(kernel.holes["a"], table)
            inside = logical_and(y_inside, x_inside)
        if kv == 4 and not multiple_of(lift(self.K), self.tile.BK or 4):
            inside = logical_and(inside, (at if self.quads else at + LANE) < lift(self.K))
        return select(inside, a, 0.0)

    def text(self, e: Dim, names: Mapping[Expr, str] | None = None) -> str:
        scope = dict(names or {})
        self.d.block([lift(e)], scope)
        return scope[lift(e)]

    def print(self, M: Dim, N: Dim, K: Dim, Z: Dim) -> Printed:
        tile, d, kernel = self.tile, self.d, self.kernel
        grid = (ceil_div(N, tile.BN), ceil_div(M, tile.BM), number(Z))
        if any(upper(g) > MAX_GROUPS for g in grid):
            raise WebDNNError(f"kernel {kernel.name}: a grid of {grid} workgroups, WebGPU allows {MAX_GROUPS} per axis")
        private, batch, outer = self.batch()
        functions = "\n".join([*private, self.row_of(), self.k_of(), self.load_a(outer), self.load_b(), self.finish(outer)])
        holes = {f: getattr(tile, f) for f in ("BM", "BN", "TM", "BK", "PARTS", "threads")}
        holes |= {"WM": tile.BM // tile.TM, "WN": tile.BN // 8, "KV": self.kv, "batch": batch}
        holes["HALVES"] = 1 if upper(N) <= 4 else 2
        holes |= {"M": self.text(M), "K": self.text(K)}
        holes |= {"panels": self.text(ceil_div(N, 8)), "quads": self.text(ceil_div(N, 4))}
        main = render(template(tile.template), holes)
        flops = times(M, N, Z, plus(times(2, K), sum(cost(s.value) for s in self.writes)))
        return Printed(f"{kernel.name}__{tile}", d.module(functions, main), tuple(d.params.values), grid, flops, features(kernel.slots))

    def batch(self) -> tuple[list[str], str, dict[Expr, str]]:
        """Private variables for the batch axes and the base of B, and the lines that set them."""
        d, names = self.d, {v: f"z{k}" for k, v in enumerate(self.outer)}
        private = [f"var<private> {name}: i32;" for name in (*names.values(), "base_b")]
        z = var("z", 2**31 - 1)
        scope, lines = {z: "i32(wg.z)"}, []
        for k, v in enumerate(self.outer):
            e = LoopPrinter.quotient("floordiv", z, product([o.args[1] for o in self.outer[k + 1 :]]))
            e = LoopPrinter.quotient("mod", e, v.args[1]) if k else e
            lines += [*d.block([e], scope), f"{names[v]} = {scope[e]};"]
        base = lift(self.kernel.attrs["b_base"]) // 4
        scope = dict(names)
        lines += [*d.block([base], scope), f"base_b = {scope[base]};"]
        return private, "\n".join(lines), names

    def function(self, head: str, roots: list[Expr], names: dict[Expr, str], form: str) -> str:
        names = dict(names)
        lines = self.d.block(roots, names)
        lines.append(form.format(*(names[r] for r in roots)))
        return "\n".join([head + " {", *("  " + line for line in lines), "}"])

    def pixel(self, axes: Sequence[Expr], m: Expr) -> dict[Expr, Expr]:
        """Each spatial axis as an expression of the row number."""
        out: dict[Expr, Expr] = {}
        for k, v in enumerate(axes):
            e = LoopPrinter.quotient("floordiv", m, product([o.args[1] for o in axes[k + 1 :]]))
            out[v] = LoopPrinter.quotient("mod", e, v.args[1]) if k else e
        return out

    def row_of(self) -> str:
        head = "fn row_of(m: i32) -> vec4<i32>"
        if self.kernel.template == "matmul":
            return head + " { return vec4<i32>(0, 0, 0, m); }"
        m = var("m", 2**31 - 1)
        v, (sy, sx), (top, left) = self.kernel.vars, self.kernel.attrs["stride"], self.kernel.attrs["pad"]
        pixel = self.pixel(self.spatial, m)
        b, y, x = (pixel.get(v[n], lift(0)) if n in v else lift(0) for n in ("b", "y", "x"))
        roots = [b, y * sy - top, x * sx - left]
        return self.function(head, roots, {m: "m"}, "return vec4<i32>({0}, {1}, {2}, m);")

    def k_of(self) -> str:
        head = "fn k_of(k: i32) -> vec4<i32>"
        v, k = self.kernel.vars, var("k", 2**31 - 1)
        if self.kernel.template == "matmul" or (self.kv == 4 and not self.quads):
            last = lift(self.K) - (4 if self.quads and self.kv == 4 else 1)
            root = minimum(k, last)
            if self.quads and self.kv == 4:
                root = root // 4
            return self.function(head, [root], {k: "k"}, "return vec4<i32>(0, 0, {0}, k);")
        C, KX = v["c"].args[1], v["kx"].args[1] if "kx" in v else 1
        dy, dx = self.kernel.attrs["dilation"]
        pixel = LoopPrinter.quotient("floordiv", k, C)
        oy = LoopPrinter.quotient("floordiv", pixel, KX) * dy
        ox = LoopPrinter.quotient("mod", pixel, KX) * dx
        c = LoopPrinter.quotient("mod", k, C)
        if self.kv == 4:
            c = make("floordiv", (c, lift(4)), "i32")
        return self.function(head, [oy, ox, c], {k: "k"}, "return vec4<i32>({0}, {1}, {2}, k);")

    def load_a(self, outer: Mapping[Expr, str]) -> str:
        v = self.kernel.vars
        names = dict(outer)
        names[opaque("k")] = "at.w"
        if self.kernel.template == "matmul":
            names[v["m"]] = "row.w"
        else:
            names |= {opaque("y0"): "row.y", opaque("x0"): "row.z", opaque("oy"): "at.x", opaque("ox"): "at.y"}
            if "b" in v:
                names[v["b"]] = "row.x"
        a = self.d.lower(self.a)
        for leaf in free(a):
            if leaf.args[0] in ("kq", "kb", "cq") or leaf is self.deep[-1]:
                names[leaf] = "at.z"
        T = vector("f32", self.kv == 4)
        head = f"fn load_a(row: vec4<i32>, at: vec4<i32>) -> {T}"
        splat = self.kv == 4 and not self.d.wide(a)
        return self.function(head, [a], names, f"return {T + '({0})' if splat else '{0}'};")

    def load_b(self) -> str:
        index = f"base_b + (panel * {self.text(self.K)} + k) * 2 + half"
        element = f"b{self.b_slot}[{index}]"
        if self.kernel.slots[self.b_slot].dtype == "f16":
            element = f"vec4<f32>({element})"
        return f"fn load_b(panel: i32, k: i32, half: i32) -> vec4<f32> {{ return {element}; }}"

    def finish(self, outer: Mapping[Expr, str]) -> str:
        d = self.d
        d.wide_acc = True
        d._width.clear()
        m = var("m", 2**31 - 1)
        names = {**outer, self.nq: "nq", make("acc", (0, 0), "f32"): "sum", m: "m"}
        lines: list[str] = []
        for k, (leaf, e) in enumerate(self.pixel(self.rows, m).items()):
            lines += d.block([e], names)
            if e is m:
                names[leaf] = "m"
                continue
            lines.append(f"let i{k} = {names[e]};")
            names[leaf] = f"i{k}"
        mask = f"nq * 4 + $ < {self.text(self.kernel.vars['n'].args[1])}" if self.tail else None
        lines += d.stores(self.writes, names, mask)
        return "\n".join(["fn finish(m: i32, nq: i32, sum: vec4<f32>) {", *("  " + x for x in lines), "}"])


def print_opaque(kernel: Opaque) -> Printed:
    """A hand-written kernel."""
    raise WebDNNError(f"kernel {kernel.name}: WebGPU has no text for {kernel.template!r} yet; use the wasm target")


# ---- programs -------------------------------------------------------------------------------------


def build(program: Program, bindings: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The parts of `webgpu.json` that follow from the steps: kernels, prepare, steps.

    `bindings`: the binding object of each buffer id, as the descriptor defines it. Kernels with equal
    text are one. Raises WebDNNError naming the kernel that WebGPU cannot run.
    """
    kernels: list[dict[str, Any]] = []
    known: dict[str, int] = {}
    printed: dict[Kernel, Printed] = {}

    def step(s: Step) -> dict[str, Any]:
        if s.kernel not in printed:
            printed[s.kernel] = print_kernel(s.kernel)
        p = printed[s.kernel]
        if p.code not in known:
            known[p.code] = len(kernels)
            origin = getattr(s.kernel, "origin", "")
            entry: dict[str, Any] = {"name": p.name, "code": f"// {p.name} {origin}".rstrip() + "\n" + p.code}
            entry["origin"] = origin
            if p.variants:
                entry["variants"] = dict(p.variants)
            kernels.append(entry)
        return {
            "kernel": known[p.code],
            "bindings": [bindings[b] for b in s.buffers],
            "params": [to_json(x) for x in p.params],
            "grid": [to_json(x) for x in p.grid],
            "flops": p.flops,
        }

    first = [step(s) for s in program.prepare]
    return {"kernels": kernels, "prepare": first, "steps": [step(s) for s in program.steps]}
