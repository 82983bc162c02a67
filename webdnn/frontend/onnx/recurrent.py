"""ONNX's recurrent operators, RNN, LSTM and GRU, in terms of `ops.rnn`, `ops.lstm` and `ops.gru`.

    >>> from webdnn.graph import placeholder
    >>> x, w = placeholder("x", (9, 1, 3), "f32"), placeholder("w", (1, 20, 3), "f32")
    >>> [y.shape for y in LSTM(x, w, placeholder("r", (1, 20, 5), "f32"))]
    [(9, 1, 1, 5), (1, 1, 5), (1, 1, 5)]

Weights are [directions, gates * hidden, inputs], the gates of an LSTM being i, o, f, c and its
peepholes i, o, f (onnx/docs/Operators.md). Where a sequence is shorter than the tensor, Y is zero
beyond its end and Y_h is the state at its end; of a sequence without elements it is zero, whatever
the initial state, as in onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ... import ops
from ...errors import ModelError, SizesDifferError, UnsupportedError
from ...expr import same
from ...graph import Value, evaluate, type_text
from .. import sequences
from .attributes import attributes_of

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
# Where the gates of ours stand among ONNX's, and the activations that a model need not name.
CELLS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "rnn": ((0,), ("Tanh",)),
    "gru": ((0, 1, 2), ("Sigmoid", "Tanh")),
    "lstm": ((0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh")),
}
PEEPHOLES = (0, 2, 1)


def _activations(
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
    return sequences.mask_of(lens, t)


def _run(
    kind: str,
    x: Value,
    w: Value,
    r: Value,
    b: Value | None,
    lens: Value | None,
    states: Sequence[Value | None],
    p: Value | None = None,
    more: Mapping[str, Any] | None = None,
    *,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    activations: Sequence[str] = (),
    clip: float | None = None,
    direction: Literal["forward", "reverse", "bidirectional"] = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> list[Value]:
    """Y, Y_h (and Y_c); more: other fields of the cell."""
    count = 2 if direction == "bidirectional" else 1
    other = next((v.rank for v in (x, w, r) if v.rank != 3), None)
    if other is not None:
        message = f"X, W and R must have rank 3, found {', '.join(map(type_text, (x, w, r)))}"
        raise SizesDifferError(message, other, 3)
    order, default = CELLS[kind]
    h, size = r.shape[2], len(order)
    if not isinstance(h, int):
        raise UnsupportedError(f"the number of hidden units must be known, found {type_text(r)}")
    if hidden_size is not None and hidden_size != h:
        raise ModelError(f"hidden_size is {hidden_size}, but R is {type_text(r)}")
    x = x if layout else sequences.swap_time(x)
    n, t, features = x.shape

    def check(v: Value | None, what: str, *shape: Any) -> None:
        if v is not None and not (v.rank == len(shape) and all(map(same, v.shape, shape))):
            text = ", ".join(map(str, shape))
            raise ModelError(f"{what} must have shape [{text}], found {type_text(v)}")

    check(w, "W", count, size * h, features)
    check(r, "R", count, size * h, h)
    check(b, "B", count, 2 * size * h)
    check(p, "P", count, 3 * h)
    for v, what in zip(states, ("initial_h", "initial_c")):
        check(v, what, *((n, count, h) if layout else (count, n, h)))
    mask = None if lens is None else _lengths(lens, n, t)
    functions = _activations(activations, activation_alpha, activation_beta, default, count)
    fields = {**(more or {}), "clip": clip}
    done = []
    for d in range(count):

        def part(v: Value, axis: int = 0, d: int = d) -> Value:
            return ops.squeeze(ops.slice_axis(v, axis, d, 1), [axis])

        def gates(v: Value) -> Value:
            return sequences.gates(v, order)

        halves = [None, None] if b is None else ops.split(part(b), [size * h] * 2, 0)
        bias, inner = (None if v is None else gates(v) for v in halves)
        if p is not None:
            fields["peephole"] = ops.reshape(sequences.gates(part(p), PEEPHOLES), (3, h))
        kernel, recurrent = (ops.transpose(gates(part(v)), (1, 0)) for v in (w, r))
        cell = sequences.Cell(
            kind, kernel, recurrent, bias, inner, activations=functions[d], **fields
        )
        begin = [None if v is None else part(v, 1 if layout else 0) for v in states]
        reverse = direction == "reverse" or d == 1
        done.append(sequences.run(cell, x, begin, mask=mask, reverse=reverse))
    finals = [  # [N, directions, H]
        ops.concat([ops.unsqueeze(one.states[k], [1]) for one in done], 1)
        for k in range(len(states))
    ]
    some = None if mask is None else ops.squeeze(ops.slice_axis(mask, 1, 0, 1), [1])
    if some is not None and not (some.constant and evaluate(some).all()):
        finals = [sequences.blank(state, some) for state in finals]
    hs = [one.outputs if mask is None else sequences.blank(one.outputs, mask) for one in done]
    y = ops.reshape(ops.concat(hs, 2), (n, t, count, h))
    if layout:
        return [y, *finals]
    return [ops.transpose(y, (1, 2, 0, 3)), *map(sequences.swap_time, finals)]


@attributes_of(_run)
def RNN(
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    lens: Value | None = None,
    h0: Value | None = None,
    **given: Any,
) -> list[Value]:
    return _run("rnn", x, w, r, b, lens, [h0], **given)


@attributes_of(_run)
def GRU(
    x: Value,
    w: Value,
    r: Value,
    b: Value | None = None,
    lens: Value | None = None,
    h0: Value | None = None,
    *,
    linear_before_reset: int = 0,
    **given: Any,
) -> list[Value]:
    more = {"reset_after": bool(linear_before_reset)}
    return _run("gru", x, w, r, b, lens, [h0], None, more, **given)


@attributes_of(_run)
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
    input_forget: int = 0,
    **given: Any,
) -> list[Value]:
    return _run("lstm", x, w, r, b, lens, [h0, c0], p, {"coupled": bool(input_forget)}, **given)


__all__ = ["GRU", "LSTM", "RNN"]
