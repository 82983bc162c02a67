"""Caffe's recurrent layers: time first, and a marker for each step that says whether it goes on.

The state is multiplied by the marker before each step, so that 0 begins a new sequence; a marker is
data, known only in the page. The steps are written out one by one, as Caffe does: as many as the
input declares. A run begins with a state of zeros unless the net exposes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import ops
from ..errors import ModelError, UnsupportedError
from ..graph import Value, type_text
from .caffe_layer import (
    Layer,
)
from .caffe_text import Message

MOST_STEPS = 2048


def LSTM(layer: Layer, *xs: Value) -> Value | list[Value]:
    """[T, N, ...] and a marker [T, N] that is 0 where a sequence begins -> [T, N, D].

    Blobs: weights of x, bias, weights of the static input if there is one, weights of h, each
    [4 D, ...] in the order input, forget, output, candidate. Donahue et al., arXiv 1411.4389.
    """
    p = layer.param("recurrent_param")
    d = _units(p)
    x, going, static, states = _sequence(layer, p, xs, 2)
    gates = _projected(layer, x, static, 4 * d)
    last = 2 + (static is not None)
    w = ops.transpose(layer.blob(last, (4 * d, d), "the recurrent weights"), (1, 0))
    h, c = states
    out = []
    for t, marker in enumerate(going):
        gate = ops.squeeze(ops.slice_axis(gates, 0, t, 1), [0])
        if h is not None:
            gate = ops.add(gate, ops.matmul(ops.mul(h, marker), w))
        i, f, o, g = ops.split(gate, [d] * 4, 1)
        new = ops.mul(ops.sigmoid(i), ops.tanh_(g))
        if c is not None:
            new = ops.add(ops.mul(ops.mul(ops.sigmoid(f), marker), c), new)
        c = new
        h = ops.mul(ops.sigmoid(o), ops.tanh_(c))
        out.append(ops.unsqueeze(h, [0]))
    assert h is not None and c is not None
    exposed = [ops.unsqueeze(h, [0]), ops.unsqueeze(c, [0])] if p.flag("expose_hidden") else []
    return [ops.concat(out, 0), *exposed]


def RNN(layer: Layer, *xs: Value) -> Value | list[Value]:
    """[T, N, ...] and a marker [T, N] that is 0 where a sequence begins -> outputs [T, N, D].

    h = tanh(Wh h + Wx x + b), output tanh(Wo h + bo). Blobs: weights of x, bias, weights of the
    static input if there is one, weights of h, weights and bias of the output.
    """
    p = layer.param("recurrent_param")
    d = _units(p)
    x, going, static, (h,) = _sequence(layer, p, xs, 1)
    inputs = _projected(layer, x, static, d)
    last = 2 + (static is not None)
    w = ops.transpose(layer.blob(last, (d, d), "the recurrent weights"), (1, 0))
    w_out = ops.transpose(layer.blob(last + 1, (d, d), "the weights of the output"), (1, 0))
    bias = layer.blob(last + 2, (d,), "the bias of the output")
    states = []
    for t, marker in enumerate(going):
        now = ops.squeeze(ops.slice_axis(inputs, 0, t, 1), [0])
        if h is not None:
            now = ops.add(now, ops.matmul(ops.mul(h, marker), w))
        h = ops.tanh_(now)
        states.append(ops.unsqueeze(h, [0]))
    y = ops.tanh_(ops.add(ops.matmul(ops.concat(states, 0), w_out), bias))
    return [y, *(states[-1:] if p.flag("expose_hidden") else [])]


def _units(p: Message) -> int:
    d = p.integer("num_output", 0, 1)
    if not d:
        raise ModelError("num_output is missing")
    return d


def _sequence(
    layer: Layer, p: Message, xs: Sequence[Value], states: int
) -> tuple[Value, list[Value], Value | None, list[Value | None]]:
    """x [T, N, K], the marker of each step [N, 1], static input or None, states [N, D] or None."""
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
    steps, n = ops.static(x.shape[0], "the number of steps"), x.shape[1]
    if steps > MOST_STEPS:
        raise UnsupportedError(
            f"{steps} steps, which are written out one by one; at most {MOST_STEPS} are supported. "
            "Declare fewer in the prototxt"
        )
    static = xs[2] if len(xs) - exposed == 3 else None
    d = _units(p)
    first: list[Value | None] = [None] * states
    if exposed:
        first = [ops.reshape(v, (n, d)) for v in xs[len(xs) - exposed :]]
    flat = ops.reshape(x, (steps, n, ops.product(x.shape[2:])))
    going = [ops.reshape(ops.slice_axis(marker, 0, t, 1), (n, 1)) for t in range(steps)]
    return flat, going, static, first


def _projected(layer: Layer, x: Value, static: Value | None, outputs: int) -> Value:
    """The part of the gates that does not depend on the state, for all steps: [T, N, outputs]."""
    w = layer.blob(0, (outputs, x.shape[2]), "the input weights")
    y = ops.add(ops.matmul(x, ops.transpose(w, (1, 0))), layer.blob(1, (outputs,), "the bias"))
    if static is None:
        return y
    size = ops.product(static.shape[1:])
    w = layer.blob(2, (outputs, size), "the weights of the static input")
    flat = ops.reshape(static, (1, static.shape[0], size))
    return ops.add(y, ops.matmul(flat, ops.transpose(w, (1, 0))))
