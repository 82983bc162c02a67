"""Scalar and index expressions: one immutable, interned IR that every target prints.

    >>> x = load(0, var("i", 8))
    >>> str(maximum(x + 1.0, 0.0))
    'max((b0[i] + 1.0), 0.0)'
    >>> i, j = var("i", 56), var("j", 64)
    >>> str((i * 64 + j) // 64), str((i * 64 + j) % 64)
    ('i', 'j')

Structurally equal expressions are the same object, so sharing is free and ``is`` is equality.

Grammar (``dtype`` is one of ``f32 f64 i32 u32 bool``)::

    Expr = const(value)            a literal
         | var(name, size)         a loop variable, 0 <= var < size (size: int or Expr)
         | dim(name, lo, hi, step) a symbolic dimension of the model: lo, lo + step, ... or hi
         | load(slot, index)       element `index` (i32) of the kernel's buffer slot
         | acc(stage, k)           k-th accumulator of a finished reduction stage or of a template
         | op(args...)             any row of OPS

Semantics live in OPS (`scalar`), for every target. Integer arithmetic wraps at 32 bits. Comparison
with NaN is false except `ne`. `min`/`max` propagate NaN. Integer `//` and `%` round towards minus
infinity (Python); `idiv` and `rem` truncate (C, ONNX); division by zero gives 0 for integers.
Shifts by 32 or more give 0. Casts from float to integer truncate, saturate, and take NaN to 0.

Index arithmetic (i32) is kept in canonical form: a polynomial with integer coefficients over atoms.
Divisions and remainders are resolved by ranges where that is proved, also for symbolic sizes. A
dimension h in steps of 32 counts there as its number of steps: h is 32 * (h // 32), h // 2 is
16 * (h // 32), and so h // 2 * 2 is h. In sizes, a remainder is what its quotient leaves.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache, reduce
from typing import Any, TypeVar, Union

import numpy as np

from .scalar import FLOAT as FLOAT
from .scalar import INT as INT
from .scalar import NUMPY
from .scalar import OPS as OPS
from .scalar import cast_numpy as cast_numpy

Scalar = int | float | bool
Dim = Union[int, "Expr"]  # a string cannot be joined with |
Poly = dict[tuple["Expr", ...], int]  # monomial (atoms sorted by key) -> coefficient; () is 1

I32_MIN, I32_MAX = -(2**31), 2**31 - 1


class Expr:
    """An interned expression node; build it with the functions below, never directly."""

    __slots__ = ("__weakref__", "_bounds", "_key", "_poly", "_size", "args", "dtype", "op")
    op: str
    args: tuple[Any, ...]
    dtype: str
    # What is found out about the node, once: `bounds`, `poly`, and its text as a key to sort by.
    _bounds: tuple[float, float] | None
    _poly: Poly | None
    _key: str | None
    _size: bool

    def __repr__(self) -> str:
        return text(self)

    def __bool__(self) -> bool:
        raise TypeError(f"the truth of the expression {self} is only known at run time")

    def __add__(self, other: Any) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return binary("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return binary("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return binary("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return binary("div", other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return binary("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Expr:
        return binary("floordiv", other, self)

    def __mod__(self, other: Any) -> Expr:
        return binary("mod", self, other)

    def __rmod__(self, other: Any) -> Expr:
        return binary("mod", other, self)

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def __lt__(self, other: Any) -> Expr:
        return binary("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return binary("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return binary("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return binary("ge", self, other)


# What sizes are made of: every runner evaluates these, and the descriptor's Int can say them.
_SIZE_OPS = {
    "const", "dim", "add", "sub", "mul", "floordiv", "mod", "min", "max", "select", "cast",
    "lt", "le", "eq", "ne", "and", "or",
}  # fmt: skip

_INTERNED: weakref.WeakValueDictionary[Any, Expr] = weakref.WeakValueDictionary()


def make(op: str, args: tuple[Any, ...], dtype: str) -> Expr:
    """The interned node, without simplification."""
    if op == "const":
        value = args[0]
        bits = struct.pack("<d", value) if isinstance(value, float) else value
        key: Any = (op, type(value), bits, dtype)
    else:
        key = (op, args, dtype)
    found = _INTERNED.get(key)
    if found is None:
        found = object.__new__(Expr)
        found.op, found.args, found.dtype = op, args, dtype
        found._bounds = found._poly = found._key = None
        found._size = (
            op in _SIZE_OPS
            and dtype in ("i32", "bool")
            and all(a._size for a in args if isinstance(a, Expr))
        )
        _INTERNED[key] = found
    return found


# ---- leaves --------------------------------------------------------------------------------------


def const(value: Scalar, dtype: str | None = None) -> Expr:
    """A literal; the dtype defaults to bool, i32 or f32 by the Python type."""
    if dtype is None:
        dtype = (
            "bool"
            if isinstance(value, (bool, np.bool_))
            else ("i32" if isinstance(value, (int, np.integer)) else "f32")
        )
    if dtype in INT:
        return make("const", (int(value),), dtype)
    if dtype == "bool":
        return make("const", (bool(value),), dtype)
    return make("const", (float(value),), dtype)


def var(name: str, size: Dim) -> Expr:
    """A loop variable with 0 <= var < size."""
    return make("var", (name, size), "i32")


def dim(name: str, lo: int, hi: int, step: int = 1) -> Expr:
    """A symbolic dimension of the model, settled at each run: lo, lo + step, ... or hi.

    Raises ValueError where no number of steps leads from lo to hi.
    """
    if not (0 <= lo <= hi and step >= 1 and (hi - lo) % step == 0):
        raise ValueError(f"dimension {name}: {lo}..{hi} in steps of {step}")
    return make("dim", (name, lo, hi, step), "i32")


def load(slot: Any, index: Expr | int, dtype: str = "f32") -> Expr:
    """Element `index` of buffer `slot` (an int within a kernel)."""
    return make("load", (slot, lift(index, "i32")), dtype)


def acc(stage: int, k: int, dtype: str) -> Expr:
    """The k-th accumulator of reduction stage `stage` (0 for an Instance: its template)."""
    return make("acc", (stage, k), dtype)


def lift(x: Any, dtype: str | None = None) -> Expr:
    """`x` as an expression; Python and numpy scalars become literals of `dtype`."""
    if isinstance(x, Expr):
        return x
    if isinstance(x, np.generic):
        x = x.item()
    if not isinstance(x, (bool, int, float)):
        raise TypeError(f"expected a number or an expression, found {type(x).__name__}")
    return const(x, dtype)


def as_dim(d: Any) -> Dim:
    """An int where the dimension is known, else its expression (i32)."""
    if isinstance(d, Expr):
        return d.args[0] if d.op == "const" else d
    return int(d)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dimensions (1 if there are none)."""
    out: Any = 1
    for d in dims:
        out = out * d
    return as_dim(out)


# ---- construction with simplification ------------------------------------------------------------

_COMMUTATIVE = {
    "add", "mul", "min", "max", "and", "or", "xor", "eq", "ne", "bitand", "bitor", "bitxor",
}  # fmt: skip


def is_const(e: Any, value: Any = None) -> bool:
    """Whether `e` is a literal (of that value, if given)."""
    if not isinstance(e, Expr):
        return value is None or e == value
    return e.op == "const" and (value is None or e.args[0] == value)


def _coerce(args: tuple[Any, ...]) -> tuple[Expr, ...]:
    dtype = next((a.dtype for a in args if isinstance(a, Expr)), None)
    return tuple(lift(a, dtype) for a in args)


def _fold(op: str, args: tuple[Expr, ...], dtype: str) -> Expr | None:
    if not all(a.op == "const" for a in args):
        return None
    with np.errstate(all="ignore"):
        values: list[np.ndarray] = [np.asarray(a.args[0], dtype=NUMPY[a.dtype]) for a in args]
        return const(np.asarray(OPS[op].numpy(*values)).astype(NUMPY[dtype]).item(), dtype)


def unary(op: str, x: Any) -> Expr:
    """Apply a one-argument row of OPS (not a cast)."""
    x = lift(x)
    dtype = x.dtype if OPS[op].result == "same" else OPS[op].result
    folded = _fold(op, (x,), dtype)
    if folded is not None:
        return folded
    if op == "neg" and dtype == "i32":
        return x * -1
    if op in ("neg", "not", "bitnot") and x.op == op:
        return x.args[0]
    if op in ("floor", "ceil", "round", "trunc") and dtype in INT:
        return x
    if op == "abs" and dtype == "i32" and bounds(x)[0] >= 0:
        return x
    return make(op, (x,), dtype)


def binary(op: str, a: Any, b: Any) -> Expr:
    """Apply a two-argument row of OPS, simplified where that is exact for every input."""
    a, b = _coerce((a, b))
    if a.dtype != b.dtype:
        raise TypeError(f"{op}: operands of dtype {a.dtype} and {b.dtype}: {a}, {b}")
    dtype = a.dtype if OPS[op].result == "same" else OPS[op].result
    folded = _fold(op, (a, b), dtype)
    if folded is not None:
        return folded
    if a.dtype == "i32":
        simple = _integer(op, a, b)
        if simple is not None:
            return simple
    elif dtype in FLOAT:
        # Exact for every float, NaN and -0.0 included: x*1, x/1, x-0 (x+0 turns -0 into +0).
        if (op in ("mul", "div") and is_const(b, 1)) or (op == "sub" and _is_plus_zero(b)):
            return a
        if op == "mul" and is_const(a, 1):
            return b
    elif dtype == "bool" and op in ("and", "or"):
        unit = op == "and"
        for x, y in ((a, b), (b, a)):
            if x.op == "const":
                return y if x.args[0] == unit else x
    if op in ("min", "max", "and", "or", "bitand", "bitor") and a is b:
        return a
    if op in _COMMUTATIVE and a.op == "const":
        a, b = b, a
    return make(op, (a, b), dtype)


def _is_plus_zero(e: Expr) -> bool:
    return e.op == "const" and e.args[0] == 0 and math.copysign(1, e.args[0]) > 0


def select(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; both sides are evaluated."""
    if not any(isinstance(x, Expr) for x in (condition, a, b)):
        return np.where(condition, a, b)
    condition = lift(condition, "bool")
    a, b = _coerce((a, b))
    if condition.op == "const":
        return a if condition.args[0] else b
    return a if a is b else make("select", (condition, a, b), a.dtype)


def cast(x: Any, dtype: str) -> Any:
    """Numeric conversion; float to integer truncates, saturates and takes NaN to 0."""
    x = lift(x)
    if x.dtype == dtype:
        return x
    if x.op == "const":
        return const(cast_numpy(np.asarray(x.args[0], NUMPY[x.dtype]), dtype).item(), dtype)
    return make("cast", (x,), dtype)


def bitcast(x: Expr, dtype: str) -> Expr:
    """The same 32 bits read as another 32-bit dtype."""
    return x if x.dtype == dtype else make("bitcast", (x,), dtype)


def apply(op: str, *args: Any) -> Any:
    """A row of OPS on expressions, or on numpy arrays."""
    if not any(isinstance(a, Expr) for a in args):
        with np.errstate(all="ignore"):
            return OPS[op].numpy(*args)
    if op == "select":
        return select(*args)
    return unary(op, args[0]) if len(args) == 1 else binary(op, *args)


def _named(op: str) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return apply(op, *args)

    call.__name__ = op
    return call


minimum, maximum, power, exp, log, sqrt, rsqrt = map(
    _named, ("min", "max", "pow", "exp", "log", "sqrt", "rsqrt")
)
sin, cos, tan, asin, acos, atan, atan2 = map(
    _named, ("sin", "cos", "tan", "asin", "acos", "atan", "atan2")
)
sinh, cosh, tanh, asinh, acosh, atanh, erf = map(
    _named, ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf")
)
absolute, sign, floor, ceil, round_even, trunc = map(
    _named, ("abs", "sign", "floor", "ceil", "round", "trunc")
)
isnan, isinf, equal, not_equal = map(_named, ("isnan", "isinf", "eq", "ne"))
logical_and, logical_or, logical_xor, logical_not = map(_named, ("and", "or", "xor", "not"))
idiv, rem = map(_named, ("idiv", "rem"))


# ---- integers: polynomials over atoms, ranges ----------------------------------------------------


def _key(e: Expr) -> str:
    if e._key is None:
        e._key = text(e)
    return e._key


def poly(e: Dim) -> Poly:
    """`e` as a polynomial with integer coefficients over its atoms."""
    if isinstance(e, int):
        return {(): e} if e else {}
    if e._poly is None:
        if e.op == "const":
            p: Poly = {(): e.args[0]} if e.args[0] else {}
        elif e.op == "add":
            p = _padd(poly(e.args[0]), poly(e.args[1]))
        elif e.op == "mul":
            p = _pmul(poly(e.args[0]), poly(e.args[1]))
        else:
            p = _stepped(e) or {(e,): 1}
        e._poly = p
    return e._poly


def _stepped(e: Expr) -> Poly | None:
    """A dimension with a step, or its quotient by a divisor of that, in units of the step."""
    d, by = (e.args[0], e.args[1]) if e.op == "floordiv" else (e, None)
    if d.op != "dim" or d.args[3] == 1 or (by is not None and by.op != "const"):
        return None
    step, k = d.args[3], 1 if by is None else by.args[0]
    if k < 1 or step % k:
        return None
    unit = make("floordiv", (d, const(step)), "i32")
    rest = d.args[1] % step // k
    return {(unit,): step // k, (): rest} if rest else {(unit,): step // k}


def _is_unit(a: Expr) -> bool:
    """Whether an atom counts the steps of a dimension."""
    return a.op == "floordiv" and a.args[0].op == "dim" and is_const(a.args[1], a.args[0].args[3])


def _spoken(p: Poly) -> Poly:
    """`p` with a stepped dimension or its quotients in the place of units: 16 units of 32 are
    h // 2.
    """
    out: Poly = {}
    while p:
        # What a dimension leaves beside its steps makes terms of lower degree: these come later.
        m = max(p, key=lambda m: (len(m), [_key(a) for a in m]))
        units = [a for a in m if _is_unit(a)]
        parts = _shares(abs(p[m]), tuple(a.args[1].args[0] for a in units))
        named = []
        for a, part in zip(units, parts):
            d, by = a.args[0], a.args[1].args[0] // part
            named.append(d if by == 1 else make("floordiv", (d, const(by)), "i32"))
        others = [a for a in m if not _is_unit(a)]
        whole: Poly = reduce(_pmul, map(poly, named), {tuple(others): 1})
        count = p[m] // whole[m]
        key = tuple(sorted((*others, *named), key=_key))
        out[key] = out.get(key, 0) + count
        p = _padd(p, whole, -count)
    return {m: c for m, c in out.items() if c}


@cache
def _shares(c: int, steps: tuple[int, ...]) -> tuple[int, ...]:
    """A divisor of each step, their product one of c: the largest, as even as can be."""
    if len(steps) < 2:
        return tuple(math.gcd(c, step) for step in steps)
    divisors = [[k for k in range(1, step + 1) if step % k == 0] for step in steps]
    fitting = [g for g in itertools.product(*divisors) if c % math.prod(g) == 0]
    return max(fitting, key=lambda g: (math.prod(g), -max(g)))


def _padd(a: Poly, b: Poly, scale: int = 1) -> Poly:
    out = dict(a)
    for m, c in b.items():
        c = out.get(m, 0) + c * scale
        if c:
            out[m] = c
        else:
            del out[m]
    return out


def _pmul(a: Poly, b: Poly) -> Poly:
    out: Poly = {}
    for m, c in a.items():
        for n, d in b.items():
            key = tuple(sorted(m + n, key=_key)) if m and n else m or n
            out[key] = out.get(key, 0) + c * d
    return {m: c for m, c in out.items() if c}


def from_poly(p: Poly) -> Expr:
    """The canonical expression of a polynomial: terms in a fixed order, the constant last."""
    p = _rejoin(p)
    if any(not I32_MIN <= c <= I32_MAX for c in p.values()):
        p = {m: _wrap(c) for m, c in p.items() if _wrap(c)}
    if any(_is_unit(a) for m in p for a in m):
        p = _spoken(p)
    total: Expr | None = None
    for m in sorted((m for m in p if m), key=lambda m: [_key(a) for a in m]):
        term = reduce(lambda x, y: make("mul", (x, y), "i32"), m)
        if p[m] != 1:
            term = make("mul", (term, const(p[m])), "i32")
        total = term if total is None else make("add", (total, term), "i32")
    c = p.get((), 0)
    if total is None:
        return const(c)
    return make("add", (total, const(c)), "i32") if c else total


def _rejoin(p: Poly) -> Poly:
    """x % c + (x // c) * c -> x, and x % c + (x // c % d) * c -> x % (c * d), times any factor."""
    for m in [m for m in p if any(a.op == "mod" for a in m)]:
        for a in m if m in p else ():
            if a.op != "mod" or len(poly(a.args[1])) != 1:
                continue
            x, c = a.args
            ((atoms, k),) = poly(c).items()
            rest = list(m)
            rest.remove(a)
            for q in {b for other in p for b in other if b.op in ("floordiv", "mod")}:
                inner = q.args[0] if q.op == "mod" else q
                if inner.op != "floordiv" or inner.args[0] is not x or inner.args[1] is not c:
                    continue
                partner = tuple(sorted((*rest, *atoms, q), key=_key))
                if p.get(partner) == p[m] * k:
                    joined = x if q.op == "floordiv" else x % (c * q.args[1])
                    left = {n: v for n, v in p.items() if n not in (m, partner)}
                    return _rejoin(_padd(left, _pmul(poly(joined), {tuple(rest): p[m]})))
    return p


def same(a: Dim, b: Dim) -> bool:
    """Whether two dimensions are proved equal."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if poly(a) == poly(b) or bounds(a) == bounds(b) == (bounds(a)[0],) * 2:
        return True
    return less(a, b, or_equal=True) and less(b, a, or_equal=True)


def _wrap(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def bounds(e: Dim) -> tuple[float, float]:
    """Inclusive bounds of an i32 expression from the ranges of its variables."""
    if isinstance(e, int):
        return e, e
    if e._bounds is None:
        lo, hi = _bounds(e)
        if e.op == "add" and any(a.op == "floordiv" for m in poly(e) for a in m) and is_size(e):
            # h - h // 4 * 4 is 0..3, which its terms alone do not show
            hi = min(hi, _greatest(poly(e)))
            lo = max(lo, -_greatest(_padd({}, poly(e), -1)))
        if lo < I32_MIN or hi > I32_MAX:  # it may wrap
            lo, hi = (0, 2**32 - 1) if e.dtype == "u32" else (I32_MIN, I32_MAX)
        e._bounds = (lo, hi)
    return e._bounds


def upper(d: Dim) -> int:
    """The largest value of a dimension."""
    return int(bounds(d)[1])


def _bounds(e: Expr) -> tuple[float, float]:
    if e.op == "const":
        return e.args[0], e.args[0]
    if e.op == "var":
        return 0, max(0, bounds(e.args[1])[1] - 1)
    if e.op == "dim":
        return e.args[1], e.args[2]
    full = (-math.inf, math.inf)
    if e.op in ("add", "sub", "mul"):
        (a, b), (c, d) = bounds(e.args[0]), bounds(e.args[1])
        if e.op == "add":
            return a + c, b + d
        if e.op == "sub":
            return a - d, b - c
        corners = [x * y for x in (a, b) for y in (c, d)]
        return min(corners), max(corners)
    if e.op in ("floordiv", "idiv"):
        (a, b), (c, d) = bounds(e.args[0]), bounds(e.args[1])
        if c > 0 and (a >= 0 or e.op == "floordiv"):
            return min(a // c, a // d), max(b // c, b // d)
        return full
    if e.op == "shr" and e.args[1].op == "const" and 0 <= e.args[1].args[0] < 32:
        a, b = bounds(e.args[0])
        by = 2 ** e.args[1].args[0]
        return (a // by, b // by) if a >= 0 and b < math.inf else full
    if e.op in ("mod", "rem"):
        (a, b), (c, d) = bounds(e.args[0]), bounds(e.args[1])
        if c > 0 and (a >= 0 or e.op == "mod"):
            return 0, min(d - 1, b) if a >= 0 else d - 1
        return full
    if e.op in ("min", "max"):
        pick = min if e.op == "min" else max
        (a, b), (c, d) = bounds(e.args[0]), bounds(e.args[1])
        return pick(a, c), pick(b, d)
    if e.op == "select":
        (a, b), (c, d) = bounds(e.args[1]), bounds(e.args[2])
        return min(a, c), max(b, d)
    if e.op == "cast" and e.args[0].dtype == "bool":
        return 0, 1
    return full


def _upper(p: Poly) -> Poly | None:
    """A polynomial over dims that bounds `p` from above, or None if that is not clear.

    Its coefficients may be fractions: 3 * (h // 2) is at most 3/2 * h.
    """
    out = p
    for _ in range(64):
        nested = {a for m in out for a in m if a.op != "dim" and not _is_unit(a)}
        if not nested:
            return out
        # Variables first, since their sizes may cancel; then the outermost before what it holds.
        a = max(nested, key=lambda a: (a.op == "var", len(_key(a)), _key(a)))
        step = out
        for m, c in out.items():
            if a not in m:
                continue
            bound = _above(a) if c > 0 else _below(a)
            rest = list(m)
            rest.remove(a)
            if bound is None or any(bounds(b)[0] < 0 for b in rest):
                return None
            step = _padd(_padd(step, {m: c}, -1), _pmul({tuple(rest): c}, bound))
        out = step
    return None


def _above(a: Expr) -> Poly | None:
    """A polynomial that an atom does not exceed."""
    if a.op == "var":
        return _padd(poly(a.args[1]), {(): -1})
    if a.op == "mod" and bounds(a.args[1])[0] >= 1:
        return _padd(poly(a.args[1]), {(): -1})
    if a.op == "floordiv" and free(a, "dim") and not _may_wrap(a.args[0]):
        numerator, least = a.args[0], bounds(a.args[1])[0]
        if least >= 1 and (a.args[1].op == "const" or _nonnegative(numerator)):
            return _over(poly(numerator), least)
    top = bounds(a)[1]
    return {(): int(top)} if math.isfinite(top) else None


def _below(a: Expr) -> Poly | None:
    """A polynomial that does not exceed an atom."""
    if a.op == "floordiv" and a.args[1].op == "const" and not free(a) and not _may_wrap(a.args[0]):
        by = a.args[1].args[0]
        if by >= 1:
            return _over(_padd(poly(a.args[0]), {(): 1 - by}), by)
    low = bounds(a)[0]
    return {(): int(low)} if math.isfinite(low) else None


def _over(p: Poly, by: float) -> Poly:
    """The polynomial divided by a number, with fractions as coefficients."""
    part: Any = Fraction(1, int(by))
    return {m: c * part for m, c in p.items()} if by != 1 else p


def _may_wrap(e: Dim) -> bool:
    """Whether the value may differ from that of the polynomial read as unbounded integers."""
    return bounds(e) == (I32_MIN, I32_MAX)


def _nonnegative(e: Dim) -> bool:
    return bounds(e)[0] >= 0


def less(a: Dim, b: Dim, or_equal: bool = False) -> bool:
    """Whether a < b (or a <= b) is proved for all values of the variables."""
    if bounds(a)[1] < bounds(b)[0]:
        return True
    if isinstance(b, Expr) and b.op not in ("dim", "const", "add", "mul", "floordiv"):
        return False
    if _may_wrap(a) or _may_wrap(b):
        return False
    return _greatest(_padd(poly(a), poly(b), -1)) < (1 if or_equal else 0)


def _greatest(p: Poly) -> float:
    """An upper bound of a polynomial, read as unbounded integers."""
    above = _upper(p)
    greatest = math.inf if above is None else _largest(above)
    return math.floor(greatest) if math.isfinite(greatest) else greatest


def _largest(p: Poly) -> float:
    """An upper bound of a polynomial over dimensions, read as unbounded integers."""
    total: float = 0
    for m, c in p.items():
        low: float = c
        high: float = c
        for a in m:
            corners = [x * y for x in (low, high) for y in bounds(a)]
            low, high = min(corners), max(corners)
        total += high
    return total


def _divide(p: Poly, divisor: Expr) -> tuple[Poly, Poly]:
    """p = quotient * divisor + rest, dividing the monomials that are multiples of the divisor."""
    quotient: Poly = {}
    rest: Poly = {}
    factors = poly(divisor)
    if len(factors) != 1:
        return _divide_by_sum(p, factors, divisor)
    ((atoms, coefficient),) = factors.items()
    for m, c in p.items():
        left = list(m)
        for a in atoms:
            if a not in left:
                break
            left.remove(a)
        else:
            if not atoms:
                q, r = divmod(c, coefficient)
                if m and r and q:
                    q, r = (q, r) if c > 0 else (0, c)
                if (m and not r) or not m:
                    if q:
                        quotient[tuple(left)] = q
                    if r:
                        rest[m] = r
                    continue
                rest[m] = c
                continue
            if c % coefficient == 0:
                quotient[tuple(left)] = c // coefficient
                continue
        rest[m] = c
    return quotient, rest


def _divide_by_sum(p: Poly, factors: Poly, divisor: Expr) -> tuple[Poly, Poly]:
    """Long division by something like h + 2, if a rest in 0 <= rest < divisor is left."""
    lead = max(factors, key=lambda m: (len(m), [_key(a) for a in m]))
    quotient: Poly = {}
    rest = p
    for _ in range(8):
        for m, c in sorted(rest.items(), key=lambda item: -len(item[0])):
            left = list(m)
            for a in lead:
                if a not in left:
                    break
                left.remove(a)
            else:
                if c % factors[lead] == 0:
                    term: Poly = {tuple(left): c // factors[lead]}
                    break
        else:
            break
        quotient = _padd(quotient, term)
        rest = _padd(rest, _pmul(term, factors), -1)
    remainder = from_poly(rest)
    proved = quotient and (not rest or (_nonnegative(remainder) and less(remainder, divisor)))
    return (quotient, rest) if proved else ({}, p)


def _integer(op: str, a: Expr, b: Expr) -> Expr | None:
    if op == "add":
        return from_poly(_padd(poly(a), poly(b)))
    if op == "sub":
        return from_poly(_padd(poly(a), poly(b), -1))
    if op == "mul":
        return from_poly(_pmul(poly(a), poly(b)))
    if op in ("floordiv", "mod", "idiv", "rem"):
        if op in ("idiv", "rem"):
            if not (_nonnegative(a) and _nonnegative(b)):
                return None
            op = "floordiv" if op == "idiv" else "mod"
            simple = _quotient(op, a, b)
            return make(op, (a, b), "i32") if simple is None else simple
        return _quotient(op, a, b)
    if op in ("min", "max"):
        (al, ah), (bl, bh) = bounds(a), bounds(b)
        if ah <= bl or less(a, b, or_equal=True):
            return a if op == "min" else b
        if bh <= al or less(b, a, or_equal=True):
            return b if op == "min" else a
        return None
    if op in ("lt", "le", "gt", "ge"):
        if op in ("gt", "ge"):
            a, b, op = b, a, "lt" if op == "gt" else "le"
        strict = op == "lt"
        if less(a, b) or (not strict and bounds(a)[1] <= bounds(b)[0]):
            return const(True)
        if (strict and bounds(b)[1] <= bounds(a)[0]) or less(b, a):
            return const(False)
        if a is b:
            return const(not strict)
        return make(op, (a, b), "bool")
    if op in ("eq", "ne"):
        if a is b:
            return const(op == "eq")
        (al, ah), (bl, bh) = bounds(a), bounds(b)
        if ah < bl or bh < al:
            return const(op == "ne")
    return None


def _quotient(op: str, a: Expr, b: Expr) -> Expr | None:
    lo, hi = bounds(b)
    if lo <= 0 and not _counts(a, b):
        return None
    if lo == hi == 1:
        return a if op == "floordiv" else const(0)
    if _may_wrap(a):
        return None
    if _nonnegative(a) and less(a, b):
        return const(0) if op == "floordiv" else a
    if b.op == "const" and (simple := _size_quotient(op, a, b.args[0])) is not None:
        return simple
    q, r = _divide(poly(a), b)
    if q:
        rest = from_poly(r)
        if op == "mod":
            if _nonnegative(rest) and less(rest, b):
                return rest
            return rest % b if rest is not a else None
        if _nonnegative(rest) and less(rest, b):
            return from_poly(q)
        if rest is not a:
            return from_poly(_padd(q, poly(rest // b)))
    if b.op == "const" and op == "floordiv":
        d = b.args[0]
        p = poly(a)
        # (g*x + r) // (g*d) == x // d when 0 <= r < g
        g = reduce(math.gcd, (c for m, c in p.items() if m), d)
        r0 = p.get((), 0)
        if g > 1 and len(p) > (r0 != 0):
            x = {m: c // g for m, c in p.items() if m}
            if r0 // g:
                x[()] = r0 // g
            return from_poly(x) // (d // g)
        if a.op == "floordiv" and a.args[1].op == "const":  # (x // m) // d == x // (m*d)
            x, m = a.args
            return make(op, (x, m * d), "i32") if _stepped(a) else x // (m * d)
    literal = a.op == "mod" and a.args[1].op == "const" and b.op == "const"
    if op == "mod" and literal and a.args[1].args[0] % b.args[0] == 0:  # x % (m*d) % d == x % d
        return a.args[0] % b
    return None


def _counts(a: Expr, b: Expr) -> bool:
    """Whether b, which may be 0, is not: a variable of `a` runs below a multiple of it."""
    if bounds(b)[0] < 0 or len(poly(b)) != 1:
        return False
    run = {x for v in free(a) if len(poly(v.args[1])) == 1 for m in poly(v.args[1]) for x in m}
    return all(x in run or bounds(x)[0] > 0 for m in poly(b) for x in m)


def _size_quotient(op: str, a: Expr, d: int) -> Expr | None:
    """Quotients of sizes in one form; None where `a` is not over dims alone, or in that form.

    The remainder of x is x - x // d * d, and -x // d is -((x + d - 1) // d): so n + -n % 8 is
    (n + 7) // 8 * 8. Quotients within a sum join: ((x // m) + k) // d is (x + k*m) // (m*d).
    """
    p = poly(a)
    if any(x.op in ("var", "load", "acc") for m in p for x in m) or not is_size(a):
        return None
    if op == "mod":
        return a - a // d * d
    if all(c < 0 for m, c in p.items() if m):
        return from_poly(_padd({(): d - 1}, p, -1)) // d * -1
    *inner, last = sorted(p, key=len)  # the constant, if any, and one quotient
    if inner == [()] and p[last] == 1 and len(last) == 1 and _stepped(last[0]) is None:
        x = last[0]
        if x.op == "floordiv" and x.args[1].op == "const":
            return (x.args[0] + x.args[1] * p[()]) // (x.args[1] * d)
    return None


# ---- walking -------------------------------------------------------------------------------------


def children(e: Expr) -> Iterator[Expr]:
    """The expressions directly below `e` (sizes of variables are not visited)."""
    if e.op not in ("var", "dim", "const", "acc"):
        for a in e.args:
            if isinstance(a, Expr):
                yield a


T = TypeVar("T")


def post_order(roots: Iterable[T], below: Callable[[T], Iterable[T]]) -> list[T]:
    """The roots and all that is `below` them, of each first what is below it, each once."""
    order: list[T] = []
    seen: set[T] = set()
    stack = [(root, False) for root in reversed([*roots])]
    while stack:
        x, done = stack.pop()
        if done:
            order.append(x)
        elif x not in seen:
            seen.add(x)
            stack.append((x, True))
            stack.extend((y, False) for y in reversed([*below(x)]) if y not in seen)
    return order


def walk(*roots: Expr) -> list[Expr]:
    """Every expression below the roots, arguments before users, each once."""
    return post_order(roots, children)


def is_size(e: Expr) -> bool:
    """Whether an expression is a size that can be computed when a run's dimensions are settled."""
    return e._size


def rebuild(e: Expr, args: Iterable[Any]) -> Expr:
    """`e` with other arguments, simplified again."""
    args = tuple(args)
    if e.op == "load":
        return load(args[0], args[1], e.dtype)
    if e.op in ("cast", "bitcast"):
        return cast(args[0], e.dtype) if e.op == "cast" else bitcast(args[0], e.dtype)
    return apply(e.op, *args)


def substitute(e: Expr, table: Mapping[Expr, Any], memo: dict[Expr, Expr] | None = None) -> Expr:
    """`e` with each key of `table` replaced by its value, simplified again."""
    memo = {} if memo is None else memo
    for x in walk(e):
        if x in memo:
            continue
        if x in table:
            memo[x] = lift(table[x], x.dtype)
        elif x.op in ("var", "dim", "const", "acc"):
            memo[x] = x
        else:
            args = [memo[a] if isinstance(a, Expr) else a for a in x.args]
            memo[x] = x if all(p is q for p, q in zip(args, x.args)) else rebuild(x, args)
    return memo[e]


def free(e: Dim, op: str = "var") -> set[Expr]:
    """The leaves of kind `op` that occur in `e`."""
    return {x for x in walk(e) if x.op == op} if isinstance(e, Expr) else set()


def coefficient(index: Expr, v: Expr) -> int | Expr | None:
    """d such that index = d*v + (terms without v), or None if it is not affine in v."""
    d: Poly = {}
    for m, c in poly(index).items():
        if v in m:
            rest = list(m)
            rest.remove(v)
            if v in rest or any(v in free(a) for a in rest):
                return None
            d[tuple(rest)] = c
        elif any(v in free(a) for a in m):
            return None
    out = from_poly(d)
    return out.args[0] if out.op == "const" else out


def quotient(a: Dim, b: Dim) -> Dim:
    """How often b goes into a size that is a multiple of it, whatever where both are 0: a // b."""
    parts, rest = _divide(poly(a), lift(b))
    return as_dim(lift(a) // b if rest else from_poly(parts))


def solve(e: Expr, d: Expr) -> Dim | None:
    """The size of a dimension at which `e` is 0, where `e` is a multiple of it and a rest without
    it; None if it is not.
    """
    unit = poly(d)
    (m,) = (m for m in unit if m)
    p = poly(e)
    if p.get(m, 0) % unit[m] or not p.get(m):
        return None
    scale = p[m] // unit[m]
    rest = _padd(p, unit, -scale)
    if any(c % scale for c in rest.values()) or any(d in free(a, "dim") for n in rest for a in n):
        return None
    return as_dim(from_poly({n: c // -scale for n, c in rest.items()}))


def multiple_of(e: Dim, n: int) -> bool:
    """Whether `e` is proved to be a multiple of n."""
    return all(
        c % n == 0 or any(a.op == "mul" and multiple_of(a, n) for a in m)
        for m, c in poly(e).items()
    )


def cost(e: Expr) -> int:
    """Rough flops of one evaluation, index arithmetic not counted."""
    return sum(OPS[x.op].cost for x in walk(e) if x.op in OPS and x.dtype not in INT)


def evaluate(e: Dim, table: Mapping[str, int]) -> int:
    """The value of an integer expression over dims and variables, by name."""
    if isinstance(e, int):
        return e
    if e.op == "const":
        return int(e.args[0])
    if e.op in ("dim", "var"):
        return int(table[e.args[0]])
    args = [evaluate(a, table) for a in e.args]
    plain: dict[str, Callable[..., Any]] = {
        "add": operator.add,
        "sub": operator.sub,
        "mul": operator.mul,
        "floordiv": lambda a, b: a // b if b else 0,
        "mod": lambda a, b: a % b if b else 0,
        "min": min,
        "max": max,
        "select": lambda c, a, b: a if c else b,
    }
    if e.op in plain:
        return int(plain[e.op](*args))
    return int(OPS[e.op].numpy(*(np.asarray(a) for a in args)))


# ---- text ----------------------------------------------------------------------------------------

_SIGN = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&&", "or": "||",
}  # fmt: skip


# Characters of a text. An expression shares its parts, which its text repeats: nested reflections
# of an axis would have gigabytes of it. What is longer is its beginning and a digest.
LONGEST = 10_000


def text(e: Dim) -> str:
    """Readable text, stable across runs; of different expressions, different texts."""
    if isinstance(e, int):
        return str(e)
    done: dict[Expr, str] = {}
    for x in walk(e):
        if x.op == "const":
            s = str(x.args[0])
        elif x.op in ("var", "dim"):
            s = x.args[0]
        elif x.op == "load":
            s = f"b{x.args[0]}[{done[x.args[1]]}]"
        elif x.op == "acc":
            s = f"acc{x.args[0]}_{x.args[1]}"
        else:
            args = [done[a] if isinstance(a, Expr) else str(a) for a in x.args]
            if x.op in _SIGN:
                s = f"({args[0]} {_SIGN[x.op]} {args[1]})"
            elif x.op in ("cast", "bitcast"):
                s = f"{'' if x.op == 'cast' else 'bits_'}{x.dtype}({args[0]})"
            else:
                s = f"{x.op}({', '.join(args)})"
        if len(s) > LONGEST:
            s = f"{s[:100]}...{hashlib.sha256(s.encode()).hexdigest()[:16]}"
        done[x] = s
    return done[e]
