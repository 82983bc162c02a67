"""ONNX's recurrent operators, RNN, LSTM and GRU, in terms of `ops.rnn`, `ops.lstm` and `ops.gru`.

    >>> from webdnn.graph import placeholder
    >>> x, w = placeholder("x", (9, 1, 3), "f32"), placeholder("w", (1, 20, 3), "f32")
    >>> [y.shape for y in LSTM(x, w, placeholder("r", (1, 20, 5), "f32"))]
    [(9, 1, 1, 5), (1, 1, 5), (1, 1, 5)]

Weights are [directions, gates * hidden, inputs], the gates of an LSTM being i, o, f, c and its
peepholes i, o, f (onnx/docs/Operators.md). Where a sequence is shorter than the tensor, Y is zero
beyond its end and Y_h is the state at its end, as in onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...errors import ModelError, UnsupportedError
from ...expr import lift
from ...graph import Value, as_dim, constant, evaluate, type_text
from ...ops.movement import same

# ONNX's names in lower case (onnxruntime takes any) -> ours, and the parameters with their
# defaults, in the order in which a model gives them.
ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("relu", {}),
    "tanh": ("tanh", {}),
    "sigmoid": ("sigmoid", {}),
    "softsign": ("softsign", {}),
    "softplus": ("softplus", {}),
    "affine": ("affine", {"alpha": 1.0, "beta": 0.0}),
    "leakyrelu": ("leaky_relu", {"alpha": 0.01}),
    "thresholdedrelu": ("thresholded_relu", {"alpha": 1.0}),
    "scaledtanh": ("scaled_tanh", {"alpha": 1.0, "beta": 1.0}),
    "hardsigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "elu": ("elu", {"alpha": 1.0}),
}
Cell = Callable[["_Direction"], tuple[Value, ...]]


class _Direction:
    """The operands of one direction, in our layout and order of gates."""

    def __init__(
        self, x: Value, mask: Value | None, states: Sequence[Value | None], reverse: bool
    ) -> None:
        self.x, self.mask, self.states, self.reverse = x, mask, states, reverse
        self.r: Value
        self.b: Value | None = None
        self.p: Value | None = None
        self.activations: Sequence[tuple[str, dict[str, float]]] = ()

    @property
    def rest(self) -> dict[str, Any]:
        """What every cell takes."""
        return {"mask": self.mask, "reverse": self.reverse}


def activations(
    names: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    default: Sequence[str],
    directions: int,
) -> list[list[tuple[str, dict[str, float]]]]:
    """The activations of each direction; alphas and betas go to those that take one, in order."""
    names = names or tuple(default) * directions
    if len(names) != len(default) * directions:
        raise ModelError(
            f"activations: {len(default) * directions} expected, found {', '.join(names)}"
        )
    given: dict[str, Iterator[float]] = {"alpha": iter(alphas), "beta": iter(betas)}
    out = []
    for name in names:
        if name.lower() not in ACTIVATIONS:
            raise UnsupportedError(f"activation {name!r} of a recurrent operator is unknown")
        ours, defaults = ACTIVATIONS[name.lower()]
        out.append((ours, {k: next(given[k], value) for k, value in defaults.items()}))
    return [out[k : k + len(default)] for k in range(0, len(out), len(default))]


def _lengths(lens: Value, n: Any, t: Any) -> Value | None:
    """Where each sequence has elements, bool [N, T]; None where all are as long as the tensor."""
    if lens.rank != 1 or not same(lens.shape[0], n):
        raise ModelError(f"sequence_lens must have shape [{n}], found {type_text(lens)}")
    if lens.constant and isinstance(t, int):
        found = evaluate(lens)
        if found.size and (found.min() < 0 or found.max() > t):
            raise ModelError(f"sequence_lens must lie within 0..{t}, found {found.tolist()}")
        if (found == t).all():
            return None
    steps = ops.iota((1, t), 1, "i32")
    return ops.less(steps, ops.reshape(ops.cast(lens, "i32"), (n, 1)))


def _gates(v: Value, order: Sequence[int], h: int, axis: int) -> Value:
    """Blocks of h along an axis in another order."""
    if list(order) == list(range(len(order))):
        return v
    return ops.concat([ops.slice_axis(v, axis, k * h, h) for k in order], axis)


def _run(
    order: Sequence[int],  # where ours stand among ONNX's gates
    x: Value,
    w: Value,
    r: Value,
    b: Value | None,
    lens: Value | None,
    states: Sequence[Value | None],
    p: Value | None,
    cell: Cell,
    *,
    functions: tuple[Sequence[str], Sequence[float], Sequence[float], Sequence[str]],
    direction: str,
    hidden_size: int | None,
    layout: int,
    apart: bool = False,
) -> list[Value]:
    """Y, Y_h (and Y_c). apart: the recurrent half of the bias is the cell's own matter."""
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ModelError(f"direction {direction!r} is none of forward, reverse, bidirectional")
    count = 2 if direction == "bidirectional" else 1
    if x.rank != 3 or w.rank != 3 or r.rank != 3:
        raise ModelError(
            f"X, W and R must have rank 3, found {type_text(x)}, {type_text(w)}, {type_text(r)}"
        )
    h, gates = r.shape[2], len(order)
    if not isinstance(h, int):
        raise UnsupportedError(f"the number of hidden units must be known, found {type_text(r)}")
    if hidden_size is not None and hidden_size != h:
        raise ModelError(f"hidden_size is {hidden_size}, but R is {type_text(r)}")
    x = x if layout else ops.transpose(x, (1, 0, 2))
    n, t, features = x.shape

    def check(v: Value | None, what: str, *shape: Any) -> None:
        if v is not None and not (v.rank == len(shape) and all(map(same, v.shape, shape))):
            text = ", ".join(map(str, shape))
            raise ModelError(f"{what} must have shape [{text}], found {type_text(v)}")

    check(w, "W", count, gates * h, features)
    check(r, "R", count, gates * h, h)
    check(b, "B", count, 2 * gates * h)
    check(p, "P", count, 3 * h)
    for v, what in zip(states, ("initial_h", "initial_c")):
        check(v, what, *((n, count, h) if layout else (count, n, h)))
    mask = None if lens is None else _lengths(lens, n, t)
    per_direction = activations(*functions, count)
    sequences: list[list[Value]] = []
    for d in range(count):

        def part(v: Value, axis: int = 0, d: int = d) -> Value:
            return ops.squeeze(ops.slice_axis(v, axis, d, 1), [axis])

        one = _Direction(
            ops.matmul(x, ops.transpose(_gates(part(w), order, h, 0), (1, 0))),
            mask,
            [None if v is None else part(v, 1 if layout else 0) for v in states],
            reverse=direction == "reverse" or d == 1,
        )
        one.r = ops.transpose(_gates(part(r), order, h, 0), (1, 0))
        one.activations = per_direction[d]
        if b is not None:
            halves = [
                _gates(ops.slice_axis(part(b), 0, k * gates * h, gates * h), order, h, 0)
                for k in (0, 1)
            ]
            one.x = ops.add(one.x, halves[0] if apart else ops.add(*halves))
            one.b = halves[1]
        if p is not None:
            one.p = ops.reshape(_gates(part(p), (0, 2, 1), h, 0), (3, h))
        sequences.append(list(cell(one)))
    ends = [0 if direction == "reverse" or d else as_dim(lift(t) - 1) for d in range(count)]
    finals = [  # [N, directions, H]
        ops.concat([ops.slice_axis(s[k], 1, at, 1) for s, at in zip(sequences, ends)], 1)
        for k in range(len(states))
    ]
    hs = [some[0] for some in sequences]
    if mask is not None:
        keep = ops.reshape(mask, (n, t, 1))
        hs = [ops.where(keep, s, constant(np.zeros((), np.float32), s.dtype)) for s in hs]
    y = ops.reshape(ops.concat(hs, 2), (n, t, count, h))
    if layout:
        return [y, *finals]
    return [ops.transpose(y, (1, 2, 0, 3)), *(ops.transpose(v, (1, 0, 2)) for v in finals)]


def RNN(
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    lens: Value | None = None,
    h0: Value | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> list[Value]:
    def cell(d: _Direction) -> tuple[Value, ...]:
        (h,) = d.states
        return (ops.rnn(d.x, d.r, h, activation=d.activations[0], clip=clip, **d.rest),)

    functions = (activations, activation_alpha, activation_beta, ("Tanh",))
    return _run(
        (0,), x, w, r, b, lens, [h0], None, cell,
        functions=functions, direction=direction, hidden_size=hidden_size, layout=layout,
    )  # fmt: skip


def GRU(
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    lens: Value | None = None,
    h0: Value | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> list[Value]:
    def cell(d: _Direction) -> tuple[Value, ...]:
        (h,) = d.states
        hs = ops.gru(
            d.x,
            d.r,
            h,
            recurrent_bias=d.b if linear_before_reset else None,
            reset_after=bool(linear_before_reset),
            activations=d.activations,
            clip=clip,
            **d.rest,
        )
        return (hs,)

    functions = (activations, activation_alpha, activation_beta, ("Sigmoid", "Tanh"))
    return _run(
        (0, 1, 2), x, w, r, b, lens, [h0], None, cell,
        functions=functions, direction=direction, hidden_size=hidden_size, layout=layout,
        apart=bool(linear_before_reset),
    )  # fmt: skip


def LSTM(
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    lens: Value | None = None,
    h0: Value | None = None,
    c0: Value | None = None,
    p: Value | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> list[Value]:
    def cell(d: _Direction) -> tuple[Value, ...]:
        h, c = d.states
        return ops.lstm(
            d.x,
            d.r,
            h,
            c,
            activations=d.activations,
            peephole=d.p,
            clip=clip,
            coupled=bool(input_forget),
            **d.rest,
        )

    functions = (activations, activation_alpha, activation_beta, ("Sigmoid", "Tanh", "Tanh"))
    return _run(
        (0, 2, 3, 1), x, w, r, b, lens, [h0, c0], p, cell,
        functions=functions, direction=direction, hidden_size=hidden_size, layout=layout,
    )  # fmt: skip


__all__ = ["GRU", "LSTM", "RNN"]
