"""Caffe's recurrent layers: time first, and a marker for each step that says whether it goes on.

Where the marker is 0, the state is zero before the step: a new sequence begins there. Markers are
data, known only in the page; Caffe multiplies the state by them, which is the same as long as they
are 0 or 1, as its documentation says. A run begins with a state of zeros unless the net exposes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import ops
from ...errors import ModelError
from ...expr import Dim
from ...graph import Value, type_text
from .. import sequences
from ..sequences import Cell, Pass
from .layer import Layer
from .text import Message


def LSTM(layer: Layer, *xs: Value) -> list[Value]:
    """[T, N, ...] and a marker [T, N] that is 0 where a sequence begins -> [T, N, D].

    Blobs: weights of x, bias, weights of the static input if there is one, weights of h, each
    [4 D, ...] in the order input, forget, output, candidate. Donahue et al., arXiv 1411.4389.
    """
    p = layer.param("recurrent_param")
    x, restart, static, begin = _sequence(p, xs, 2)
    cell, context = _cell(layer, "lstm", (0, 1, 3, 2), _units(p), x, static)
    done = sequences.run(cell, x, begin, restart=restart, context=context)
    return [sequences.swap_time(done.outputs), *_exposed(p, done)]


def RNN(layer: Layer, *xs: Value) -> list[Value]:
    """[T, N, ...] and a marker [T, N] that is 0 where a sequence begins -> outputs [T, N, D].

    h = tanh(Wh h + Wx x + b), output tanh(Wo h + bo). Blobs: weights of x, bias, weights of the
    static input if there is one, weights of h, weights and bias of the output.
    """
    p = layer.param("recurrent_param")
    d = _units(p)
    x, restart, static, begin = _sequence(p, xs, 1)
    cell, context = _cell(layer, "rnn", (0,), d, x, static)
    last = 3 + (static is not None)
    w = ops.transpose(layer.blob(last, (d, d), "the weights of the output"), (1, 0))
    bias = layer.blob(last + 1, (d,), "the bias of the output")
    done = sequences.run(cell, x, begin, restart=restart, context=context)
    y = ops.tanh_(ops.add(ops.matmul(done.outputs, w), bias))
    return [sequences.swap_time(y), *_exposed(p, done)]


def _units(p: Message) -> int:
    d = p.integer("num_output", 0, 1)
    if not d:
        raise ModelError("num_output is missing")
    return d


def _cell(
    layer: Layer, kind: str, order: Sequence[int], d: int, x: Value, static: Value | None
) -> tuple[Cell, Value | None]:
    """The cell for x [N, T, K], and what a static input gives its gates at every step.

    order: where the gates of ours stand among Caffe's.
    """
    size = len(order) * d

    def weights(index: int, inputs: Dim, what: str) -> Value:
        w = layer.blob(index, (size, inputs), what)
        return ops.transpose(sequences.gates(w, order), (1, 0))

    kernel = weights(0, x.shape[2], "the input weights")
    bias = sequences.gates(layer.blob(1, (size,), "the bias"), order)
    context = None
    if static is not None:
        inputs = ops.product(static.shape[1:])
        flat = ops.reshape(static, (static.shape[0], 1, inputs))
        context = ops.matmul(flat, weights(2, inputs, "the weights of the static input"))
    recurrent = weights(2 + (static is not None), d, "the recurrent weights")
    return Cell(kind, kernel, recurrent, bias), context


def _exposed(p: Message, done: Pass) -> list[Value]:
    """The last of each state, [1, N, D], where the net exposes them."""
    return [ops.unsqueeze(s, [0]) for s in done.states] if p.flag("expose_hidden") else []


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
    flat = sequences.swap_time(ops.reshape(x, (steps, n, ops.product(x.shape[2:]))))
    return flat, ops.equal(sequences.swap_time(marker), 0.0), static, first


__all__ = ["LSTM", "RNN"]
