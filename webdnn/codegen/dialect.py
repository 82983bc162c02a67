"""What the two target languages share: printing of shared expressions, lifting of parameters.

A dialect is a table of spellings plus a few methods. It walks an interned expression, gives a name
to whatever is used twice, and replaces every size, stride and offset by a run-time parameter, so
that two kernels that differ only in sizes print the same text:

    ((i * 3136) + j)  with 3136 a literal or ``h*w``   ->   i * P(0) + j,   params = (3136,)

Small literals (|c| < LITERAL) stay in the text: they are strides 1, 2, 3, lane numbers and flags.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..expr import Dim, Expr, children, is_size

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

    `spell` maps a row of `expr.OPS` to a format string with {0}, {1}, {2}; a (op, dtype) key, of
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
        """Element `index` (a text) of the slot of the load `e`."""
        raise NotImplementedError

    def cast(self, e: Expr, x: str) -> str:
        """The cast or bitcast `e` of the text `x`."""
        raise NotImplementedError

    def let(self, name: str, e: Expr, x: str) -> str:
        """A line that gives `x`, the text of `e`, a name."""
        raise NotImplementedError

    def lifted(self, e: Expr) -> str | None:
        """The parameter that replaces `e`, or None if `e` is printed as it is."""
        if not invariant(e):
            return None
        if e.op == "const":
            return None if abs(e.args[0]) < LITERAL else self.param(self.params.index(e))
        return self.param(self.params.index(e))

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
                lines.append(self.let(name, e, s))
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
        lifted = self.lifted(e)
        if lifted is not None:
            return lifted
        if e.op == "const":
            return self.const(e)
        if e.op in ("var", "acc"):
            return self.leaf(e)
        if e.op == "load":
            return self.load(e, names[e.args[1]])
        args = [names[a] for a in e.args]
        if e.op in ("cast", "bitcast"):
            return self.cast(e, args[0])
        form = self.spell.get((e.op, e.args[-1].dtype)) or self.spell.get(e.op)
        if form is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no spelling of {e.op} on {e.args[-1].dtype}"
            )
        return form.format(*args)


__all__ = ["Dialect", "Params", "invariant"]
