"""What recurrent layers of every format have in common: gates, directions, lengths and states.

    >>> from webdnn.graph import placeholder
    >>> w, r = placeholder("w", (3, 20), "f32"), placeholder("r", (5, 20), "f32")
    >>> done = run(Cell("lstm", w, r), placeholder("x", (2, 9, 3), "f32"))
    >>> done.outputs.shape, [s.shape for s in done.states]
    ((2, 9, 5), [(2, 5), (2, 5)])

A format brings its weights into a `Cell`, with the gates in the order of `ops.recurrent` (an lstm's
i, f, g, o; a gru's z, r, h), and its sequences to [N, T, features]; `run` makes a `Pass` of both.
Steps stay at their places whatever the direction: a pass in reverse ends at step 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import ops
from ..expr import Dim, as_dim, lift
from ..graph import Value, constant
from ..ops.recurrent import STATES, Activation

DEFAULT_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "rnn": ("tanh",),
    "gru": ("sigmoid", "tanh"),
    "lstm": ("sigmoid", "tanh", "tanh"),
}


@dataclass(frozen=True)
class Cell:
    """A recurrent cell with H units: rnn, lstm or gru, with G gates side by side.

    kernel [D, G*H] and bias [G*H] are for the input, recurrent [H, G*H] and recurrent_bias for the
    state. activations: of an rnn; else of the gates, of the candidate and, for an lstm, of the
    output; none: DEFAULT_ACTIVATIONS. The rest is as in `ops.lstm` and `ops.gru`.
    """

    kind: str
    kernel: Value
    recurrent: Value
    bias: Value | None = None
    recurrent_bias: Value | None = None
    activations: Sequence[Activation] = ()
    peephole: Value | None = None
    clip: float | None = None
    reset_after: bool = True
    coupled: bool = False

    @property
    def units(self) -> int:
        """H, the number of units."""
        return ops.static(self.recurrent.shape[0], "the number of hidden units")

    @property
    def state_count(self) -> int:
        """How many states there are: h, and c of an lstm."""
        return STATES[self.kind]

    @property
    def inner_bias(self) -> Value | None:
        """The bias that stays with the product of the state: a gru's that resets after it."""
        return self.recurrent_bias if self.kind == "gru" and self.reset_after else None


@dataclass(frozen=True)
class Pass:
    """A cell's pass over a sequence: outputs [N, T, ...], and each state after the last step."""

    outputs: Value
    states: list[Value]
    reverse: bool

    def last(self) -> Value:
        """The output of the last step of processing, [N, ...]."""
        return at_end(self.outputs, self.reverse)


def at_end(x: Value, reverse: bool) -> Value:
    """x [N, T, ...] at the last step of processing: [N, ...]."""
    at: Dim = 0 if reverse else as_dim(lift(x.shape[1]) - 1)
    return ops.squeeze(ops.slice_axis(x, 1, at, 1), [1])


def gates(w: Value, order: Sequence[int], axis: int = 0) -> Value:
    """w with its blocks along an axis, one for each gate, in the order that is given."""
    if list(order) == list(range(len(order))):
        return w
    h = ops.static(w.shape[axis], "the weights of a cell") // len(order)
    return ops.concat([ops.slice_axis(w, axis, k * h, h) for k in order], axis)


def swap_time(x: Value) -> Value:
    """[T, N, ...] as [N, T, ...], or back."""
    return ops.transpose(x, (1, 0, *range(2, x.rank)))


def mask_of(lengths: Value, steps: Dim) -> Value:
    """The steps that each sequence has, bool [N, steps], of their lengths [N]."""
    at = ops.iota((1, steps), 1, "i32")
    return ops.less(at, ops.reshape(ops.cast(lengths, "i32"), (lengths.shape[0], 1)))


def blank(x: Value, mask: Value) -> Value:
    """x [N, ...] (or [N, T, ...]), zero where the mask [N] (or [N, T]) is False."""
    return ops.where(ops.unsqueeze(mask, range(mask.rank, x.rank)), x, constant(0, x.dtype))


def project(cell: Cell, x: Value) -> Value:
    """What each gate is given of x [N, T, D], for all steps at once: [N, T, G*H]."""
    y = ops.matmul(x, cell.kernel)
    outer = None if cell.inner_bias is not None else cell.recurrent_bias
    biases = [b for b in (cell.bias, outer) if b is not None]
    return ops.add(y, ops.add(*biases) if len(biases) == 2 else biases[0]) if biases else y


def run(
    cell: Cell,
    x: Value,
    states: Sequence[Value | None] = (),
    *,
    mask: Value | None = None,
    restart: Value | None = None,
    reverse: bool = False,
    context: Value | None = None,
) -> Pass:
    """The pass of a cell over x [N, T, D].

    states: those before the first step, [N, H]; None or none: zeros. mask, restart: bool [N, T], as
    in `ops.rnn`. context [N, 1, G*H]: what the gates are given at every step besides.
    """
    y = project(cell, x)
    y = y if context is None else ops.add(y, context)
    h, c = (*states, None, None)[:2]
    rest: dict[str, Any] = {"mask": mask, "restart": restart, "reverse": reverse, "clip": cell.clip}
    f = cell.activations or DEFAULT_ACTIVATIONS[cell.kind]
    if cell.kind == "rnn":
        found = [ops.rnn(y, cell.recurrent, h, activation=f[0], **rest)]
    elif cell.kind == "gru":
        rest |= {"recurrent_bias": cell.inner_bias, "reset_after": cell.reset_after}
        found = [ops.gru(y, cell.recurrent, h, activations=f, **rest)]
    else:
        rest |= {"peephole": cell.peephole, "coupled": cell.coupled}
        found = [*ops.lstm(y, cell.recurrent, h, c, activations=f, **rest)]
    return Pass(found[0], [at_end(s, reverse) for s in found], reverse)


__all__ = [
    "Cell",
    "Pass",
    "at_end",
    "blank",
    "gates",
    "mask_of",
    "project",
    "run",
    "swap_time",
]
