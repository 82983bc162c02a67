"""Keras' recurrent layers: cells over a sequence, in both directions, and wrappers over time.

A layer is read as one pass of its cell over the time axis (`Pass`): the states after each step, at
the position of that step whatever the direction. What a layer returns is cut from it: the last
output or all of them (in the order of processing, so that `go_backwards` reverses them), and the
states. Simple, LSTM and GRU cells are one operator each, with the input's projection as one product
before; stacked cells are passes one after the other. A cell whose activation is no function of one
number (softmax), and ConvLSTM, are unrolled: their number of steps must be known.

    x [N, T, D] -> kernel [D, G*H] -> ops.lstm / gru / rnn -> [N, T, H]

Where a mask is False the states stay; the output repeats the last one, which is zero before the
first step that counts, or is zero there (`zero_output_for_mask`, and in Bidirectional).

A stateful layer begins with the states that the run before left (`Graph.states`).

Limits: constants of cells (Keras 2's `constants`) and cells of one's own are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ... import ops
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant, placeholder, type_text
from ...ops.recurrent import GATES
from .. import sequences
from ..arrays import floats
from ..sequences import Cell, Pass
from ..windows import per_axis
from . import spatial
from .activations import Function as Activation
from .activations import activation, scalar
from .model import Call, Layer, Nested
from .spatial import weight

Function = Callable[[Layer, Sequence[Nested], Call], Nested]


# ---- cells ---------------------------------------------------------------------------------------

_KINDS = {
    "SimpleRNN": "rnn", "SimpleRNNCell": "rnn", "LSTM": "lstm", "LSTMCell": "lstm", "GRU": "gru",
    "GRUCell": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru",
}  # fmt: skip


def cell_of(layer: Layer, depth: Dim, dtype: str) -> tuple[Cell, list[Activation]]:
    """The cell that a layer is, or has, for inputs of `depth` features, and its activations.

    The cell itself has them where all are functions of one number.
    """
    c = layer.config
    if layer.class_name not in _KINDS:
        raise layer.lacks(f"a cell of one's own; known are {', '.join(sorted(_KINDS))}")
    kind = _KINDS[layer.class_name]
    gates, h = GATES[kind], int(c["units"])
    kernel = ops.cast(layer.weight(0, (depth, gates * h)), dtype)
    recurrent = ops.cast(layer.weight(1, (h, gates * h)), dtype)
    outer = c.get("activation", "tanh")
    specs = [outer] if kind == "rnn" else [c.get("recurrent_activation", "sigmoid"), outer]
    bias = recurrent_bias = None
    reset_after = bool(c.get("reset_after", layer.version >= 3))
    if layer.class_name.startswith("CuDNN"):
        # each gate's matrix as cuDNN has it, transposed, and both biases in one list
        kernel = _by_gate(kernel, gates, True)
        recurrent = _by_gate(recurrent, gates, False)
        bias, recurrent_bias = ops.split(
            ops.cast(layer.weight(2, (2 * gates * h,)), dtype), [gates * h] * 2, 0
        )
        specs = ["sigmoid", "tanh"]
        reset_after = True
    elif c.get("use_bias", True):
        found = ops.cast(layer.weight(2), dtype)
        if kind == "gru" and found.rank == 2:
            reset_after = True
            found = ops.cast(layer.weight(2, (2, gates * h)), dtype)
            bias, recurrent_bias = (ops.squeeze(b, [0]) for b in ops.split(found, [1, 1], 0))
        else:
            bias = ops.cast(layer.weight(2, (gates * h,)), dtype)
    if kind == "lstm":
        specs += [outer]
    known = [scalar(s, layer.version) for s in specs]
    cell = Cell(
        kind,
        kernel,
        recurrent,
        bias,
        recurrent_bias,
        () if None in known else [f for f in known if f is not None],
        reset_after=reset_after,
    )
    return cell, [activation(s, layer.version) for s in specs]


def _by_gate(w: Value, gates: int, flat: bool) -> Value:
    """cuDNN's matrices [rows, H] of each gate, stored [H, rows]: in that order, or transposed."""
    rows, columns = w.shape
    h = ops.static(columns, "the weights of a cell") // gates
    parts = ops.split(w, [h] * gates, 1)
    if flat:
        parts = [ops.reshape(p, (h, rows)) for p in parts]
    return ops.concat([ops.transpose(p, (1, 0)) for p in parts], 1)


def run_cell(
    layer: Layer,
    cell: Cell,
    functions: Sequence[Activation],
    x: Value,
    states: Sequence[Value],
    mask: Value | None,
    reverse: bool,
) -> Pass:
    """The pass of a cell over x [N, T, D]."""
    if cell.activations:
        return sequences.run(cell, x, states, mask=mask, reverse=reverse)
    return _unrolled_cell(layer, cell, functions, x, states, mask, reverse)


Step = Callable[[Value, list[Value]], list[Value]]


def unrolled(
    layer: Layer,
    x: Value,
    states: list[Value],
    mask: Value | None,
    reverse: bool,
    step: Step,
) -> Pass:
    """A pass step by step: step(x[:, t], states) -> the states after it, the output first."""
    count = x.shape[1]
    if not isinstance(count, int):
        raise layer.lacks(
            f"this layer is unrolled, so its number of steps must be known, but is {count}: "
            "fix it with --dim"
        )
    outputs: list[Value | None] = [None] * count
    for t in reversed(range(count)) if reverse else range(count):
        new = step(ops.squeeze(ops.slice_axis(x, 1, t, 1), [1]), states)
        if mask is not None:
            kept = ops.slice_axis(mask, 1, t, 1)
            kept = ops.reshape(kept, (mask.shape[0], *[1] * (new[0].rank - 1)))
            new = [ops.where(kept, a, b) for a, b in zip(new, states)]
        states = new
        outputs[t] = ops.unsqueeze(new[0], [1])
    return Pass(ops.concat([o for o in outputs if o is not None], 1), states, reverse)


def _unrolled_cell(
    layer: Layer,
    cell: Cell,
    f: Sequence[Activation],
    x: Value,
    states: Sequence[Value],
    mask: Value | None,
    reverse: bool,
) -> Pass:
    h = cell.units
    zero = ops.expand(constant(0, x.dtype), (x.shape[0], h))
    begin = list(states) or [zero] * cell.state_count

    def step(xt: Value, before: list[Value]) -> list[Value]:
        if cell.kind == "rnn":
            return [f[0](ops.add(xt, ops.matmul(before[0], cell.recurrent)))]
        if cell.kind == "lstm":
            total = ops.add(xt, ops.matmul(before[0], cell.recurrent))
            return _lstm_step(total, before[1], f[0], f[1])
        xz, xr, xh = ops.split(xt, [h] * 3, 1)
        bias = cell.inner_bias

        def product(state: Value, gate: int) -> Value:
            y = ops.matmul(state, ops.slice_axis(cell.recurrent, 1, gate * h, h))
            return y if bias is None else ops.add(y, ops.slice_axis(bias, 0, gate * h, h))

        z = f[0](ops.add(xz, product(before[0], 0)))
        r = f[0](ops.add(xr, product(before[0], 1)))
        if cell.reset_after:
            new = f[1](ops.add(xh, ops.mul(r, product(before[0], 2))))
        else:
            new = f[1](ops.add(xh, product(ops.mul(r, before[0]), 2)))
        return [ops.add(new, ops.mul(z, ops.sub(before[0], new)))]

    return unrolled(layer, sequences.project(cell, x), begin, mask, reverse, step)


def _lstm_step(total: Value, c: Value, gate: Activation, inner: Activation) -> list[Value]:
    """h and c after a step, of what the gates are given, [N, ..., 4H], and c before it."""
    h = as_dim(lift(total.shape[-1]) // 4)
    i, forget, g, o = ops.split(total, [h] * 4, total.rank - 1)
    c = ops.add(ops.mul(gate(forget), c), ops.mul(gate(i), inner(g)))
    return [ops.mul(gate(o), inner(c)), c]


# ---- passes of layers ----------------------------------------------------------------------------


def pass_of(layer: Layer, x: Value, states: Sequence[Value], mask: Value | None) -> Pass:
    """The pass of a recurrent layer over its input; states: those given to begin with."""
    reverse = bool(layer.config.get("go_backwards"))
    if layer.class_name.startswith("ConvLSTM"):
        return _conv_lstm(layer, x, states, mask, reverse)
    if layer.class_name == "RNN":
        return _stack(layer, _cells(layer), x, states, mask, reverse)
    if layer.class_name not in _KINDS:
        raise layer.lacks(f"only these are known as recurrent: {', '.join(sorted(_KINDS))}, RNN")
    return run_cell(layer, *cell_of(layer, x.shape[-1], x.dtype), x, states, mask, reverse)


def _cells(layer: Layer) -> list[Layer]:
    """The cells of an RNN layer, one after the other."""
    given = layer.config["cell"]
    if isinstance(given, (list, tuple)):
        given = {"class_name": "StackedRNNCells", "config": {"cells": given}}
    outer = layer.sublayer(given, "cell")
    return _stacked(outer) if outer.class_name == "StackedRNNCells" else [outer]


_PATHS = {"GRUCell": "gru_cell", "LSTMCell": "lstm_cell", "SimpleRNNCell": "simple_rnn_cell"}


def _stacked(outer: Layer) -> list[Layer]:
    """The cells of a stack; Keras 3 counts those of a class in the paths of their weights."""
    cells: list[Layer] = []
    first = 0
    for k, inner in enumerate(outer.config["cells"]):
        kind = str(inner.get("class_name"))
        if kind not in _PATHS:
            raise outer.lacks(f"a stack with {kind}; known are {', '.join(_PATHS)}")
        before = sum(c["class_name"] == kind for c in outer.config["cells"][:k])
        path = f"cells/{_PATHS[kind]}" + (f"_{before}" if before else "")
        count = 2 + bool(inner.get("config", {}).get("use_bias", True))
        cells.append(outer.sublayer(inner, path, first, count))
        first += count
    return cells


def _stack(
    layer: Layer,
    cells: Sequence[Layer],
    x: Value,
    states: Sequence[Value],
    mask: Value | None,
    reverse: bool,
) -> Pass:
    given, built = list(states), []
    depth = x.shape[-1]
    for inner in cells:
        built.append(cell_of(inner, depth, x.dtype))
        depth = built[-1][0].units
    backwards = bool(layer.config.get("reverse_state_order"))
    before: list[list[Value]] = []
    for cell, _ in reversed(built) if backwards else built:
        before.append(given[: cell.state_count])
        given = given[cell.state_count :]
    before = before[::-1] if backwards else before
    after: list[list[Value]] = []
    for inner, (cell, functions), begin in zip(cells, built, before):
        done = run_cell(inner, cell, functions, x, begin, mask, reverse)
        x = done.outputs
        after.append(done.states)
    flat = [s for group in (reversed(after) if backwards else after) for s in group]
    return Pass(x, flat, reverse)


def _conv_lstm(
    layer: Layer, x: Value, states: Sequence[Value], mask: Value | None, reverse: bool
) -> Pass:
    """x [N, T, spatial..., C]: the input's convolutions for all steps at once."""
    c = layer.config
    rank, filters = x.rank - 3, int(c["filters"])
    kernel = per_axis(c["kernel_size"], rank)
    n, t = x.shape[:2]
    flat = ops.reshape(x, (ops.product([n, t]), *x.shape[2:]))
    w = weight(layer, 0, (*kernel, x.shape[-1], 4 * filters), x)
    r = weight(layer, 1, (*kernel, filters, 4 * filters), x)
    named = {k: c[k] for k in ("strides", "padding", "dilation_rate") if c.get(k) is not None}
    y = spatial.conv(flat, w, **named)
    if c.get("use_bias", True):
        y = ops.add(y, weight(layer, 2, (4 * filters,), x))
    y = ops.reshape(y, (n, t, *y.shape[1:]))
    gate = activation(c.get("recurrent_activation", "sigmoid"), layer.version)
    inner = activation(c.get("activation", "tanh"), layer.version)

    def step(xt: Value, before: list[Value]) -> list[Value]:
        total = ops.add(xt, spatial.conv(before[0], r, padding="same"))
        return _lstm_step(total, before[1], gate, inner)

    zero = ops.expand(constant(0, x.dtype), (n, *y.shape[2:-1], filters))
    return unrolled(layer, y, list(states) or [zero, zero], mask, reverse, step)


# ---- layers --------------------------------------------------------------------------------------


def _flat_values(nested: Nested) -> list[Value]:
    if isinstance(nested, Value):
        return [nested]
    if isinstance(nested, (list, tuple)):
        return [v for part in nested for v in _flat_values(part)]
    return []


def _operands(layer: Layer, inputs: Sequence[Nested], call: Call) -> tuple[Value, list[Value]]:
    """The sequence, and the states given to begin with."""
    if call.get("constants") is not None or layer.config.get("num_constants"):
        raise layer.lacks("constants given to cells")
    flat = _flat_values(list(inputs))
    if not flat:
        raise layer.error("a sequence expected, no input found")
    states = _flat_values(call.get("initial_state")) or flat[1:]
    return floats(flat[0]), [floats(s) for s in states]


def _masked(done: Pass, mask: Value | None, zero: bool, begun: bool) -> Value:
    """The outputs as Keras has them where the mask is False."""
    y = done.outputs
    if mask is None or not (zero or begun):
        return y
    if not zero:  # before the first step that counts it is zero, not the state given
        seen = ops.cumsum(ops.cast(mask, "i32"), 1, reverse=done.reverse)
        mask = ops.greater(seen, 0)
    return sequences.blank(y, mask)


def _images_last(x: Value, first: int) -> Value:
    """[..., C, spatial...] as [..., spatial..., C], C being axis `first`."""
    return ops.transpose(x, (*range(first), *range(first + 1, x.rank), first))


def _images_first(x: Value, first: int) -> Value:
    return ops.transpose(x, (*range(first), x.rank - 1, *range(first, x.rank - 1)))


def _sequence_mask(layer: Layer, states: Sequence[Value], call: Call) -> Value | None:
    """The mask of the steps. Keras 3 hands a carried mask only to layers called with one tensor."""
    mask = call.mask
    if layer.version >= 3 and states and not isinstance(call.get("mask"), Value):
        mask = None
    return None if mask is None else ops.cast(mask, "bool")


def _images_first_of(layer: Layer) -> bool:
    return layer.class_name.startswith("ConvLSTM") and layer.data_format == "channels_first"


def _prepared(layer: Layer, x: Value, states: list[Value]) -> tuple[Value, list[Value]]:
    """The operands with the batch first and channels last."""
    x = sequences.swap_time(x) if layer.config.get("time_major") else x
    if _images_first_of(layer):
        return _images_last(x, 2), [_images_last(s, 1) for s in states]
    return x, states


def _returned(layer: Layer, done: Pass, flip: bool) -> tuple[Value, list[Value]]:
    """Output and states of a pass in the layer's own order of axes; flip: with time backwards."""
    every = bool(layer.config.get("return_sequences"))
    y, after = done.outputs if every else done.last(), done.states
    y = ops.flip(y, [1]) if every and flip else y
    if _images_first_of(layer):
        y = _images_first(y, 2 if every else 1)
        after = [_images_first(s, 1) for s in after]
    return sequences.swap_time(y) if every and layer.config.get("time_major") else y, after


def _passed(layer: Layer, x: Value, states: list[Value], mask: Value | None, zero: bool) -> Pass:
    """`pass_of` a layer that may be stateful, its outputs as Keras has them where masked."""
    stateful = bool(layer.config.get("stateful"))
    begin = states or (kept_states(layer, x) if stateful else [])
    done = pass_of(layer, x, begin, mask)
    if stateful:
        keep_states(layer, done.states)
    return replace(done, outputs=_masked(done, mask, zero, bool(begin)))


def Recurrent(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """Any recurrent layer: its pass, and what it returns of it."""
    c = layer.config
    x, states = _operands(layer, inputs, call)
    mask = _sequence_mask(layer, states, call)
    done = _passed(layer, *_prepared(layer, x, states), mask, bool(c.get("zero_output_for_mask")))
    y, after = _returned(layer, done, done.reverse)
    kept = call.mask if c.get("return_sequences") else None
    if not c.get("return_state"):
        call.output_mask = kept
        return y
    call.output_mask = [kept, *[None] * len(after)]
    return [y, *after]


def kept_states(layer: Layer, x: Value) -> list[Value]:
    """What a stateful layer begins with: what its last call left, in this run or the one before."""
    shapes = [s.shape for s in pass_of(layer, x, [], None).states]
    out = []
    for k, shape in enumerate(shapes):
        name = f"{layer.name}.state{k}"
        if name not in layer.states:
            if not all(isinstance(d, int) for d in shape):
                raise layer.lacks(
                    f"it is stateful, so the size of its batch must be a number, but its state has "
                    f"shape [{', '.join(map(str, shape))}]: fix it with --dim"
                )
            before = placeholder(name, shape, x.dtype)
            layer.states[name] = before, before
        out.append(layer.states[name][1])
    return out


def keep_states(layer: Layer, after: Sequence[Value]) -> None:
    """What the next call shall begin with."""
    for k, state in enumerate(after):
        name = f"{layer.name}.state{k}"
        if name not in layer.states:
            raise layer.lacks("a stateful layer that is given its states by the model")
        layer.states[name] = layer.states[name][0], state


def Bidirectional(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    c = layer.config
    forward = layer.sublayer(c["layer"], "forward_layer")
    given = c.get("backward_layer")
    if not isinstance(given, Mapping):
        inner = c["layer"]["config"]
        other = {**inner, "go_backwards": not inner.get("go_backwards", False)}
        given = {**c["layer"], "config": other}
    backward = layer.sublayer(given, "backward_layer")
    x, states = _operands(layer, inputs, call)
    half = len(states) // 2
    mask = _sequence_mask(layer, states, call)
    x, states = _prepared(forward, x, states)
    every_step = bool(forward.config.get("return_sequences"))
    # Keras itself blanks masked outputs since it moved into TensorFlow, whose files bear time_major
    zero = every_step and (layer.version >= 3 or "time_major" in forward.config)
    outs, after = [], []
    for inner, begin in ((forward, states[:half]), (backward, states[half:])):
        done = _passed(inner, x, begin, mask, zero)
        y, last = _returned(forward, done, bool(forward.config.get("go_backwards")))
        outs.append(y)
        after += last
    mode = c.get("merge_mode", "concat")
    y, z = outs
    merged: list[Value]
    if mode == "concat":
        merged = [ops.concat([y, z], y.rank - 1)]
    elif mode == "sum":
        merged = [ops.add(y, z)]
    elif mode == "ave":
        merged = [ops.mul(ops.add(y, z), 0.5)]
    elif mode == "mul":
        merged = [ops.mul(y, z)]
    elif mode is None:
        merged = [y, z]
    else:
        raise layer.error(f"unknown merge_mode {mode!r}; expected concat, sum, mul, ave or None")
    state = after if forward.config.get("return_state") or c.get("return_state") else []
    out_mask = call.mask if every_step else None
    call.output_mask = [out_mask] * len(merged) + [None] * len(state)
    found = [*merged, *state]
    return found if len(found) > 1 else found[0]


def TimeDistributed(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """The inner layer for each step: steps count as batch."""
    x = _flat_values(list(inputs))
    if not x or x[0].rank < 2:
        raise layer.error(f"a sequence expected, found {', '.join(map(type_text, x)) or 'none'}")
    n, t = x[0].shape[:2]
    inner = layer.sublayer(layer.config["layer"], "layer")
    flat = [ops.reshape(v, (ops.product([n, t]), *v.shape[2:])) for v in x]
    found = layer.apply(inner, flat)
    call.output_mask = call.mask

    def parted(y: Value) -> Value:
        return ops.reshape(y, (n, t, *y.shape[1:]))

    if isinstance(found, Value):
        return parted(found)
    return [parted(y) for y in _flat_values(found)]


def CellStep(layer: Layer, inputs: Sequence[Nested], call: Call) -> Nested:
    """A cell by itself: one step from x [N, D] and its states to the output and the states."""
    x, states = _operands(layer, inputs, call)
    states = states or _flat_values(call.get("states"))
    step = ops.unsqueeze(x, [1])
    if layer.class_name == "StackedRNNCells":
        done = _stack(layer, _stacked(layer), step, states, None, False)
    else:
        cell, functions = cell_of(layer, x.shape[-1], x.dtype)
        done = run_cell(layer, cell, functions, step, states, None, False)
    return [done.last(), *done.states]


LAYERS: dict[str, Function] = {
    **dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"), CellStep),
    "Bidirectional": Bidirectional,
    "TimeDistributed": TimeDistributed,
    **dict.fromkeys(
        (
            "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "CuDNNGRU", "CuDNNLSTM", "GRU", "LSTM", "RNN",
            "SimpleRNN",
        ),
        Recurrent,
    ),
}  # fmt: skip

__all__ = ["LAYERS"]
