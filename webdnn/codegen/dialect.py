"""What the two target languages share: printing of shared expressions, lifting of parameters.

A dialect is a table of spellings plus a few methods. It walks an interned expression, names what is
used twice, and replaces every size, stride and offset by a run-time parameter, so that two kernels
that differ only in sizes print the same text:

    ((i * 3136) + j)  with 3136 a literal or ``h*w``   ->   i * P(0) + j,   params = (3136,)

Small literals (|c| < LITERAL) stay in the text: they are strides 1, 2, 3, lane numbers and flags.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..expr import Dim, Expr, is_size

LITERAL = 8


class Params:
    """The run-time parameters of a kernel in order of first use: ints or expressions of dims."""

    def __init__(self) -> None:
        self.values: list[Dim] = []
        self._index: dict[Dim, int] = {}

    def index(self, value: Dim) -> int:
        """The position of `value`, appended if new."""
        if isinstance(value, Expr) and value.op == "const":
            value = value.args[0]
        if value not in self._index:
            self._index[value] = len(self.values)
            self.values.append(value)
        return self._index[value]


def invariant(e: Expr) -> bool:
    """Whether an integer expression depends on dims and literals alone, and is a size's."""
    return e.dtype == "i32" and is_size(e)


class Dialect:
    """Base of the two dialects: a subclass fills in the spellings.

    `spell` maps a row of `scalar.OPS` to a format string with {0}, {1}, {2}; a (op, dtype) key, of
    the last operand's dtype, goes before an op key. A subclass also defines the methods that raise
    NotImplementedError here.
    """

    spell: Mapping[object, str] = {}

    def __init__(self, params: Params) -> None:
        self.params = params

    def param(self, i: int) -> str:
        """The i-th run-time parameter."""
        raise NotImplementedError

    def const(self, e: Expr) -> str:
        """A literal."""
        raise NotImplementedError

    def leaf(self, e: Expr) -> str:
        """A var or acc."""
        raise NotImplementedError

    def load(self, e: Expr, index: str) -> str:
        """The load `e`; `index` is its index as text, if that is already known."""
        raise NotImplementedError

    def cast(self, e: Expr, x: str) -> str:
        """The cast or bitcast `e` of the text `x`."""
        raise NotImplementedError

    def lifted(self, e: Expr) -> str | None:
        """The parameter that replaces `e`, or None if `e` is printed as it is."""
        if not invariant(e):
            return None
        if e.op == "const":
            return None if abs(e.args[0]) < LITERAL else self.param(self.params.index(e))
        return self.param(self.params.index(e))

    def simple(self, e: Expr) -> str | None:
        """The text of a parameter, a literal, a var or an acc; None for what has operands."""
        lifted = self.lifted(e)
        if lifted is not None:
            return lifted
        if e.op == "const":
            return self.const(e)
        return self.leaf(e) if e.op in ("var", "acc") else None

    def form(self, e: Expr) -> str:
        """How the operator of `e` is written."""
        dtype = e.args[-1].dtype
        form = self.spell.get((e.op, dtype)) or self.spell.get(e.op)
        if form is None:
            raise NotImplementedError(f"{type(self).__name__} has no spelling of {e.op} on {dtype}")
        return form


__all__ = ["Dialect", "Params", "invariant"]
