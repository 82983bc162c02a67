"""Caffe's recurrent layers: time first, and a marker for each step that says whether it goes on.

Where the marker is 0, the state is zero before the step: a new sequence begins there. Markers are
data, known only in the page; Caffe multiplies the state by them, which is the same as long as they
are 0 or 1, as its documentation says. A run begins with a state of zeros unless the net exposes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import ops
from ...errors import ModelError
from ...expr import lift
from ...graph import Value, as_dim, type_text
from .layer import Layer
from .text import Message


def LSTM(layer: Layer, *xs: Value) -> list[Value]:
    """[T, N, ...] and a marker [T, N] that is 0 where a sequence begins -> [T, N, D].

    Blobs: weights of x, bias, weights of the static input if there is one, weights of h, each
    [4 D, ...] in the order input, forget, output, candidate. Donahue et al., arXiv 1411.4389.
    """
    p = layer.param("recurrent_param")
    d = _units(p)
    x, restart, static, (h, c) = _sequence(p, xs, 2)
    gates = _projected(layer, x, static, 4 * d)
    last = 2 + (static is not None)
    w = ops.transpose(layer.blob(last, (4 * d, d), "the recurrent weights"), (1, 0))
    hs, cs = ops.lstm(_turned(gates, d), _turned(w, d), h, c, restart=restart)
    return [_time_first(hs), *_exposed(p, hs, cs)]


def RNN(layer: Layer, *xs: Value) -> list[Value]:
    """[T, N, ...] and a marker [T, N] that is 0 where a sequence begins -> outputs [T, N, D].

    h = tanh(Wh h + Wx x + b), output tanh(Wo h + bo). Blobs: weights of x, bias, weights of the
    static input if there is one, weights of h, weights and bias of the output.
    """
    p = layer.param("recurrent_param")
    d = _units(p)
    x, restart, static, (h,) = _sequence(p, xs, 1)
    inputs = _projected(layer, x, static, d)
    last = 2 + (static is not None)
    w = ops.transpose(layer.blob(last, (d, d), "the recurrent weights"), (1, 0))
    w_out = ops.transpose(layer.blob(last + 1, (d, d), "the weights of the output"), (1, 0))
    bias = layer.blob(last + 2, (d,), "the bias of the output")
    hs = ops.rnn(inputs, w, h, activation="tanh", restart=restart)
    y = ops.tanh_(ops.add(ops.matmul(hs, w_out), bias))
    return [_time_first(y), *_exposed(p, hs)]


def _units(p: Message) -> int:
    d = p.integer("num_output", 0, 1)
    if not d:
        raise ModelError("num_output is missing")
    return d


def _time_first(x: Value) -> Value:
    """[N, T, D] as [T, N, D], or the other way round."""
    return ops.transpose(x, (1, 0, 2))


def _turned(x: Value, d: int) -> Value:
    """The gates along the last axis as our cell wants them: candidate before output."""
    i, f, o, g = ops.split(x, [d] * 4, x.rank - 1)
    return ops.concat([i, f, g, o], x.rank - 1)


def _exposed(p: Message, *states: Value) -> list[Value]:
    """The last of each state, [1, N, D], where the net exposes them."""
    if not p.flag("expose_hidden"):
        return []
    return [_time_first(ops.slice_axis(s, 1, as_dim(lift(s.shape[1]) - 1), 1)) for s in states]


def _sequence(
    p: Message, xs: Sequence[Value], states: int
) -> tuple[Value, Value, Value | None, list[Value | None]]:
    """x [N, T, K], where sequences begin [N, T], static input or None, states [N, D] or None."""
    exposed = states if p.flag("expose_hidden") else 0
    if not 2 + exposed <= len(xs) <= 3 + exposed:
        raise ModelError(
            f"{2 + exposed} bottoms expected (the sequence, its markers"
            f"{', the states' if exposed else ''}; a static input may be third), {len(xs)} found"
        )
    x, marker = xs[:2]
    if x.rank < 2 or marker.rank != 2 or not all(map(ops.same, marker.shape, x.shape)):
        raise ModelError(
            f"[T, N, ...] and markers [T, N] expected, found {type_text(x)}, {type_text(marker)}"
        )
    steps, n = x.shape[:2]
    static = xs[2] if len(xs) - exposed == 3 else None
    first: list[Value | None] = [None] * states
    if exposed:
        first = [ops.reshape(v, (n, _units(p))) for v in xs[len(xs) - exposed :]]
    flat = _time_first(ops.reshape(x, (steps, n, ops.product(x.shape[2:]))))
    return flat, ops.equal(ops.transpose(marker, (1, 0)), 0.0), static, first


def _projected(layer: Layer, x: Value, static: Value | None, outputs: int) -> Value:
    """The part of the gates that does not depend on the state, for all steps: [N, T, outputs]."""
    w = layer.blob(0, (outputs, x.shape[2]), "the input weights")
    y = ops.add(ops.matmul(x, ops.transpose(w, (1, 0))), layer.blob(1, (outputs,), "the bias"))
    if static is None:
        return y
    size = ops.product(static.shape[1:])
    w = layer.blob(2, (outputs, size), "the weights of the static input")
    flat = ops.reshape(static, (static.shape[0], 1, size))
    return ops.add(y, ops.matmul(flat, ops.transpose(w, (1, 0))))


__all__ = ["LSTM", "RNN"]
