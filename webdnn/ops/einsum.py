"""Einstein summation: transposes, one matrix product for each further operand, and sums.

    >>> from webdnn.graph import placeholder
    >>> q, k = placeholder("q", (1, 3, 8), "f32"), placeholder("k", (1, 5, 8), "f32")
    >>> einsum("bqd,bkd->bqk", q, k)
    matmul:f32[1,3,5]

Operands are taken pairwise from the left; axes that no later operand needs are summed as early as
possible. A letter that occurs twice in one operand picks its diagonal; an ellipsis stands for the
axes that have no letter.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModelError
from ..expr import Dim, product, same
from ..graph import Value, constant, type_text
from .elementwise import equal, where
from .linear import matmul
from .movement import expand, iota, reshape, squeeze, transpose
from .reduce import reduce_sum


def einsum(equation: str, *xs: Value) -> Value:
    """Sum of products named by an equation such as "bij,bjk->bik", as in numpy's einsum.

    Raises ModelError for an equation that does not fit its operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise ModelError(
            f"the equation {equation!r} has {len(terms)} operands, but {len(xs)} were given"
        )
    # An ellipsis stands for as many axes as the operand has more than letters; name them from the
    # right.
    width = [x.rank - len(t.replace("...", "")) if "..." in t else 0 for t, x in zip(terms, xs)]
    spare = [chr(0x100 + k) for k in range(max(width, default=0))]
    labels = [t.replace("...", "".join(spare[len(spare) - w :])) for t, w in zip(terms, width)]
    letters = "".join(labels)
    if not arrow:
        right = "..." * any(width) + "".join(
            sorted(c for c in set(letters) - set(spare) if letters.count(c) == 1)
        )
    result = right.replace("...", "".join(spare))
    operands = []
    for x, label in zip(xs, labels):
        if x.rank != len(label):
            raise ModelError(f"the equation {equation!r} does not fit {type_text(x)}")
        operands.append(_diagonal(x, label))
    x, have = operands[0]
    for k, (y, other) in enumerate(operands[1:], 1):
        needed = set(result).union(*(label for _, label in operands[k + 1 :]))
        x, have = _contract(x, have, y, other, needed)
    extra = [k for k, c in enumerate(have) if c not in result]
    x = squeeze(reduce_sum(x, extra), extra) if extra else x
    have = "".join(c for c in have if c in result)
    return transpose(x, [have.index(c) for c in result])


def _diagonal(x: Value, label: str) -> tuple[Value, str]:
    """Take the diagonal where a letter occurs twice in one operand."""
    while len(set(label)) < len(label):
        a = next(k for k, c in enumerate(label) if label.count(c) > 1)
        b = label.index(label[a], a + 1)
        n = x.shape[a]
        row = iota([n if k == a else 1 for k in range(x.rank)], a)
        col = iota([n if k == b else 1 for k in range(x.rank)], b)
        kept = where(equal(row, col), x, constant(0, x.dtype))
        x = squeeze(reduce_sum(kept, [b]), [b])
        label = label[:b] + label[b + 1 :]
    return x, label


def _contract(x: Value, a: str, y: Value, b: str, needed: set[str]) -> tuple[Value, str]:
    """One product of two labelled operands: [batch, rows, sum] by [batch, sum, columns]."""
    for letters, other in ((a, b), (b, a)):  # axes that only one operand has and nobody needs
        gone = [k for k, c in enumerate(letters) if c not in other and c not in needed]
        if gone and letters is a:
            x, a = (
                squeeze(reduce_sum(x, gone), gone),
                "".join(c for k, c in enumerate(a) if k not in gone),
            )
        elif gone:
            y, b = (
                squeeze(reduce_sum(y, gone), gone),
                "".join(c for k, c in enumerate(b) if k not in gone),
            )
    batch = [c for c in a if c in b and c in needed]
    inner = [c for c in a if c in b and c not in needed]
    rows, cols = [c for c in a if c not in b], [c for c in b if c not in a]
    size: dict[str, Dim] = {}
    for v, letters in ((x, a), (y, b)):
        for c, d in zip(letters, v.shape):
            size[c] = d if c not in size or same(size[c], 1) else size[c]

    def arrange(v: Value, letters: str, order: Sequence[str], shape: Sequence[Dim]) -> Value:
        v = transpose(v, [letters.index(c) for c in order])
        return reshape(expand(v, [size[c] for c in order]), shape)

    dims = lambda cs: [size[c] for c in cs]  # noqa: E731
    left = arrange(
        x,
        a,
        [*batch, *rows, *inner],
        [*dims(batch), product(dims(rows)), product(dims(inner))],
    )
    right = arrange(
        y,
        b,
        [*batch, *inner, *cols],
        [*dims(batch), product(dims(inner)), product(dims(cols))],
    )
    out = reshape(matmul(left, right), [*dims(batch), *dims(rows), *dims(cols)])
    return out, "".join([*batch, *rows, *cols])


__all__ = ["einsum"]
