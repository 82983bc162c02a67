"""Recurrent cells: one operator runs a whole sequence, what a cell computes is written once.

    >>> from webdnn.graph import placeholder
    >>> x, r = placeholder("x", (1, 9, 20), "f32"), placeholder("r", (5, 20), "f32")
    >>> lstm(x, r)
    (recurrent:f32[1,9,5], recurrent:f32[1,9,5])

The projection of the input to all gates, biases included, is a matrix product over all time steps
at once and not a part of the operator: its operand x is the result. What remains for each step is
the product of the state with r, computed by a template, and `update`, the cell's own arithmetic on
scalars, which targets print from the expressions and constants are folded with.

A cell has gates, each H wide, side by side along the last axis of x and r, in one order whatever
the source's:

    rnn    h' = f(x + h r)
    lstm   i, f, g, o;   c' = f c + i g;   h' = o output(c')
    gru    z, r, h;      h' = z h + (1 - z) g, where g = cell(x + r (h R + b)) if `reset_after`,
           else cell(x + (r h) R + b)

(Elman 1990; Hochreiter and Schmidhuber 1997, Gers and Schmidhuber 2000; Cho et al. 2014.)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..expr import Expr, acc, const, lift, maximum, minimum, same, select, var
from ..graph import (
    FLOATS,
    Node,
    Op,
    Shape,
    Template,
    Value,
    any_view,
    constant,
    is_counted,
    no_view,
    type_text,
)
from . import elementwise
from .movement import concat, expand, pad, reshape, slice_axis, transpose

Activation = str | tuple[str, Mapping[str, float]]
Function = tuple[str, tuple[tuple[str, float], ...]]  # an activation as an attribute

LANES = 8  # hidden units side by side in the packed weights
GATES: Mapping[str, int] = {"rnn": 1, "lstm": 4, "gru": 3}
STATES: Mapping[str, int] = {"rnn": 1, "lstm": 2, "gru": 1}


# ---- what a cell computes ------------------------------------------------------------------------


def function(activation: Activation) -> Function:
    """The activation as an attribute; raises UnsupportedError for what is no scalar function."""
    name, attrs = (activation, {}) if isinstance(activation, str) else activation
    out = (name, tuple(sorted((k, float(a)) for k, a in attrs.items())))
    try:
        _apply(out, np.zeros(1, np.float32))
    except (LookupError, TypeError) as error:
        raise UnsupportedError(
            f"activation {name!r}{f' with {dict(attrs)}' if attrs else ''} of a recurrent cell is "
            f"not a function of one number that WebDNN knows ({error})"
        ) from None
    return out


def _apply(f: Function, x: Any) -> Any:
    name, attrs = f
    if name in ("linear", "identity"):
        return x
    found = (getattr(elementwise, n, None) for n in (name, name + "_"))
    body = next((op.body for op in found if isinstance(op, Op)), None)
    if body is None:
        raise LookupError("there is no such operator")
    plain = [p for p in inspect.signature(body).parameters.values() if p.kind != p.KEYWORD_ONLY]
    if len(plain) != 1:
        raise LookupError(f"it takes {len(plain)} operands")
    return body(x, **dict(attrs))


def gate(f: Function, x: Any, clip: float | None) -> Any:
    """f(x), with x kept within [-clip, clip]; of an expression or an array."""
    return _apply(f, x if clip is None else maximum(minimum(x, clip), -clip))


def plus(x: Any, *terms: Any) -> Any:
    """The sum of the terms that there are."""
    for term in terms:
        x = x if term is None else x + term
    return x


def reset_state(
    h: Any, x: Sequence[Any], a: Sequence[Any], bias: Any, attrs: Mapping[str, Any]
) -> Any:
    """The state that the candidate of a gru without `reset_after` is computed from: r h."""
    b = bias(1) if bias else None
    return gate(attrs["activations"][0], x[1] + plus(a[1], b), attrs["clip"]) * h


def update(
    x: Sequence[Any],
    a: Sequence[Any],
    states: Sequence[Any],
    bias: Callable[[int], Any] | None,
    peephole: Callable[[int], Any] | None,
    attrs: Mapping[str, Any],
) -> tuple[Any, ...]:
    """The states after a step, of expressions or of arrays.

    x: the projected input of each gate; a: the product of the state with r for each gate; states:
    h (and c) before; bias(g), peephole(k): the optional operands' elements.
    """
    cell, clip = attrs["cell"], attrs["clip"]
    f = attrs["activations"]
    if cell == "rnn":
        return (gate(f[0], x[0] + a[0], clip),)
    if cell == "gru":
        (h,) = states
        a = [plus(a[g], bias(g) if bias else None) for g in range(3)]
        z = gate(f[0], x[0] + a[0], clip)
        r = gate(f[0], x[1] + a[1], clip) if attrs["reset_after"] else 1
        new = gate(f[1], x[2] + r * a[2], clip)
        return (new + z * (h - new),)
    h, c = states
    i, forget = (
        gate(f[0], plus(x[k], a[k], peephole(k) * c if peephole else None), clip) for k in (0, 1)
    )
    forget = 1 - i if attrs["coupled"] else forget
    c = forget * c + i * gate(f[1], x[2] + a[2], clip)
    o = gate(f[0], plus(x[3], a[3], peephole(2) * c if peephole else None), clip)
    return (o * gate(f[2], c, None), c)


def phases_of(cell: str, reset_after: bool) -> tuple[int, ...]:
    """How many gates each product of a step serves: a gru that resets before it needs two."""
    return (2, 1) if cell == "gru" and not reset_after else (GATES[cell],)


# ---- the operator --------------------------------------------------------------------------------


def _infer(x: Value, *rest: Value, cell: str, hidden: int, **attrs: Any) -> list[Any]:
    n, t, _ = x.shape
    return [((n, t, hidden), x.dtype)] * STATES[cell]


def _numpy(*arrays: np.ndarray, operands: tuple[str, ...], **attrs: Any) -> Any:
    given = dict(zip(operands, arrays, strict=True))
    cell, h_size, count = attrs["cell"], attrs["hidden"], GATES[attrs["cell"]]
    dtype = given["x"].dtype
    work = np.float64 if dtype == np.float64 else np.float32
    given = {k: a if a.dtype == bool else a.astype(work) for k, a in given.items()}
    x = given["x"].reshape(*given["x"].shape[:2], count, h_size)
    n, t = x.shape[:2]
    r = unpacked(given["r"], h_size, phases_of(cell, attrs["reset_after"]))
    states = [
        np.broadcast_to(given.get(k, np.zeros((1, h_size), work)), (n, h_size))
        for k in ("h0", "c0")[: STATES[cell]]
    ]
    bias = (lambda g: given["bias"].reshape(3, h_size)[g]) if "bias" in given else None
    peephole = (lambda k: given["peephole"][k]) if "peephole" in given else None
    out = np.zeros((len(states), n, t, h_size), work)
    for step in reversed(range(t)) if attrs["reverse"] else range(t):
        if "restart" in given:
            fresh = given["restart"][:, step, None]
            states = [np.where(fresh, np.zeros((), work), s) for s in states]
        xs = [x[:, step, g] for g in range(count)]
        a = [states[0] @ r[:, g] for g in range(count)]
        if cell == "gru" and not attrs["reset_after"]:
            a[2] = reset_state(states[0], xs, a, bias, attrs) @ r[:, 2]
        new = update(xs, a, states, bias, peephole, attrs)
        if "mask" in given:
            keep = given["mask"][:, step, None]
            new = tuple(np.where(keep, b, a) for a, b in zip(states, new))
        states = [np.asarray(s, work) for s in new]
        out[:, :, step] = states
    return out[0] if len(states) == 1 else tuple(out)


def _define(node: Node, read: Callable[[int, tuple[Any, ...]], Expr]) -> Mapping[str, Any]:
    """The parts of the template's instance (`kernel.Instance`)."""
    attrs = node.attrs
    gates, count = GATES[attrs["cell"]], STATES[attrs["cell"]]
    size = attrs["hidden"]
    n, t = (var(name, d) for name, d in zip("nt", node.inputs[0].shape))
    j, k, g = var("j", size), var("k", size), var("g", gates)
    at = {name: i for i, name in enumerate(attrs["operands"])}

    def optional(name: str, index: Callable[[int], tuple[Any, ...]]) -> Any:
        return (lambda i: read(at[name], index(i))) if name in at else None

    old: list[Any] = [acc(1, i, "f32") for i in range(count)]
    sums: list[Any] = [acc(0, i, "f32") for i in range(gates)]
    if "restart" in at:
        fresh = read(at["restart"], (n, t))
        old, sums = ([select(fresh, 0.0, e) for e in some] for some in (old, sums))
    x = [read(at["x"], (n, t, i * size + j)) for i in range(gates)]
    bias = optional("bias", lambda i: (i * size + j,))
    new = update(x, sums, old, bias, optional("peephole", lambda i: (i, j)), attrs)
    if "mask" in at:
        keep = read(at["mask"], (n, t))
        new = tuple(select(keep, a, b) for a, b in zip(new, old))
    holes = {"r": read(at["r"], (j // LANES, (k * gates + g) * LANES + j % LANES))}
    for name in ("h", "c")[:count]:
        holes[name] = read(at[name + "0"], (n, j)) if name + "0" in at else const(0.0, "f32")
    if attrs["cell"] == "gru" and not attrs["reset_after"]:
        holes["reset"] = lift(reset_state(old[0], x, sums, bias, attrs), "f32")
    return {
        "vars": {"n": n, "t": t, "j": j, "g": g, "k": k},
        "holes": holes,
        "sums": ("g", "k"),
        "attrs": {"reverse": attrs["reverse"]},
        "stores": [(i, (n, t, j), lift(e, "f32")) for i, e in enumerate(new)],
    }


RECURRENT = Op(
    "recurrent",
    "opaque",
    _infer,
    None,
    _numpy,
    # steps that do not exist are masked: the state is carried over
    combines=lambda node: [
        (k, (1,), False) for k, name in enumerate(node.attrs["operands"]) if name == "mask"
    ],
    rows=dict.fromkeys(range(8), None),  # as many operands as there may be
    template=Template("recurrent", _define, (any_view, no_view)),
)


def pack_recurrent(r: Value, phases: Sequence[int]) -> Value:
    """[H, G*H] -> [ceil(H/8), H*G*8], zeros beyond H: what 8 hidden units need lies together.

    Within them the gates of a phase do, as [H, gates of the phase, 8]: a step reads memory from
    front to back.
    """
    h = r.shape[0]
    assert isinstance(h, int)
    blocks, parts, first = -(-h // LANES), [], 0
    for gates in phases:
        part = reshape(slice_axis(r, 1, first * h, gates * h), (h, gates, h))
        wide = reshape(pad(part, (0, 0, 0), (0, 0, blocks * LANES - h)), (h, gates, blocks, LANES))
        parts.append(reshape(transpose(wide, (2, 0, 1, 3)), (blocks, h * gates * LANES)))
        first += gates
    return concat(parts, 1)


def unpacked(panels: np.ndarray, h: int, phases: Sequence[int]) -> np.ndarray:
    """The weights before `pack_recurrent`, as [H, gates, H]."""
    parts = np.split(panels, np.cumsum(phases)[:-1] * h * LANES, 1)
    wide = [
        p.reshape(-1, h, gates, LANES).transpose(1, 2, 0, 3).reshape(h, gates, -1)[..., :h]
        for p, gates in zip(parts, phases, strict=True)
    ]
    return np.concatenate(wide, 1)


def _recurrent(
    cell: str,
    x: Value,
    r: Value,
    optional: Mapping[str, Value | None],
    activations: Sequence[Activation],
    *,
    reverse: bool,
    clip: float | None,
    reset_after: bool = True,
    coupled: bool = False,
) -> tuple[Value, ...]:
    gates = GATES[cell]
    if x.rank != 3 or r.rank != 2 or not isinstance(r.shape[0], int):
        raise UnsupportedError(
            f"{cell}: the projected input must be [N, T, {gates}*H] and the recurrent weights "
            f"[H, {gates}*H] with H a number, found {type_text(x)} and {type_text(r)}"
        )
    n, t, _ = x.shape
    h = r.shape[0]
    if r.shape[1] != gates * h or x.shape[2] != gates * h or h < 1:
        raise UnsupportedError(
            f"{cell}: {h} hidden units need {gates * h} columns of the projected input and of the "
            f"recurrent weights, found {type_text(x)} and {type_text(r)}"
        )
    values = {"x": x, "r": pack_recurrent(r, phases_of(cell, reset_after))}
    shapes: dict[str, Shape] = {
        "h0": (n, h),
        "c0": (n, h),
        "bias": (gates * h,),
        "peephole": (3, h),
        "mask": (n, t),
        "restart": (n, t),
    }
    for name, v in optional.items():
        if v is None:
            continue
        shape = shapes[name]
        if v.rank == len(shape) and name in ("h0", "c0") and v.shape[0] == 1 and n != 1:
            v = expand(v, shape)
        if v.rank != len(shape) or not all(map(same, v.shape, shape)):
            raise UnsupportedError(
                f"{cell}: {name} of {type_text(x)} must have shape "
                f"[{', '.join(map(str, shape))}], found {type_text(v)}"
            )
        if (v.dtype == "bool") != (name in ("mask", "restart")):
            raise UnsupportedError(f"{cell}: {name} has dtype {v.dtype}")
        values[name] = v
    if is_counted(t) and "mask" not in values:
        values["mask"] = expand(constant(True, "bool"), (n, t))
    floats = {name: v.dtype for name, v in values.items() if v.dtype != "bool"}
    if x.dtype not in FLOATS or len(set(floats.values())) != 1:
        raise UnsupportedError(
            f"{cell}: operands must have one floating-point dtype, found "
            + ", ".join(f"{name} {dtype}" for name, dtype in floats.items())
        )
    node = RECURRENT.node(
        tuple(values.values()),
        {
            "cell": cell,
            "operands": tuple(values),
            "hidden": h,
            "activations": tuple(map(function, activations)),
            "reverse": bool(reverse),
            "clip": None if clip is None else float(clip),
            "reset_after": bool(reset_after),
            "coupled": bool(coupled),
        },
    )
    return node.outputs


def rnn(
    x: Value,
    r: Value,
    h0: Value | None = None,
    *,
    activation: Activation = "tanh",
    mask: Value | None = None,
    restart: Value | None = None,
    reverse: bool = False,
    clip: float | None = None,
) -> Value:
    """The simple recurrent net: x [N, T, H] (the input's projection plus all biases), r [H, H].

    h0 [N, H] (or [1, H]) is the state before, zeros if absent; the result [N, T, H] the state after
    each step. mask, bool [N, T]: where False the state is carried over. restart, bool [N, T]: where
    True the state is zero before the step. reverse: time runs backwards, and the state after step t
    still stands at t. clip bounds what activations are given. An activation is the name of a
    function of ops.elementwise, or (name, {attribute: number}); "linear" is the identity. T and N
    may be symbolic. Raises UnsupportedError for what does not fit.
    """
    rest = {"h0": h0, "mask": mask, "restart": restart}
    return _recurrent("rnn", x, r, rest, [activation], reverse=reverse, clip=clip)[0]


def lstm(
    x: Value,
    r: Value,
    h0: Value | None = None,
    c0: Value | None = None,
    *,
    activations: Sequence[Activation] = ("sigmoid", "tanh", "tanh"),
    peephole: Value | None = None,
    mask: Value | None = None,
    restart: Value | None = None,
    reverse: bool = False,
    clip: float | None = None,
    coupled: bool = False,
) -> tuple[Value, Value]:
    """Long short-term memory: x [N, T, 4H], r [H, 4H] -> (hs, cs), [N, T, H] each.

    The gates are i, f, g, o. activations: of i, f and o, of g, of the output. peephole [3, H]:
    the weights of c for i, f (before the step) and o (after it). coupled: f is 1 - i. Everything
    else as in `rnn`.
    """
    rest = {"h0": h0, "c0": c0, "peephole": peephole, "mask": mask, "restart": restart}
    hs, cs = _recurrent(
        "lstm", x, r, rest, activations, reverse=reverse, clip=clip, coupled=coupled
    )
    return hs, cs


def gru(
    x: Value,
    r: Value,
    h0: Value | None = None,
    *,
    recurrent_bias: Value | None = None,
    reset_after: bool,
    activations: Sequence[Activation] = ("sigmoid", "tanh"),
    mask: Value | None = None,
    restart: Value | None = None,
    reverse: bool = False,
    clip: float | None = None,
) -> Value:
    """The gated recurrent unit: x [N, T, 3H], r [H, 3H], gates z, r, h -> hs [N, T, H].

    h' = z h + (1 - z) candidate. recurrent_bias [3H] is added to the product of the state with r;
    reset_after: the reset gate multiplies that sum, else the state before the product.
    activations: of the gates, of the candidate. Everything else as in `rnn`.
    """
    rest = {"h0": h0, "bias": recurrent_bias, "mask": mask, "restart": restart}
    return _recurrent(
        "gru", x, r, rest, activations, reverse=reverse, clip=clip, reset_after=reset_after
    )[0]


__all__ = [
    "RECURRENT",
    "gru",
    "lstm",
    "rnn",
]
