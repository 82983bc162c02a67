"""Recurrent cells beside what tests/cases.py shows through ONNX: what other front ends use of them,
threads, and what does not fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.jobs import Job, interpreted, run_jobs
from tests.test_cases_wasm import values
from tests.wasm_harness import run
from webdnn import ops, passes
from webdnn.codegen import TARGETS
from webdnn.errors import UnsupportedError
from webdnn.expr import dim
from webdnn.graph import Graph, Value, constant, placeholder
from webdnn.schedule.lower import lower

RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def cells(h: int) -> dict[str, Any]:
    """Operators of (x, r) with options that ONNX lacks or spells differently."""
    peephole, bias = constant(normal(3, h)), constant(normal(3 * h))
    return {
        "rnn": lambda x, r, **o: [ops.rnn(x, r, activation=("leaky_relu", {"alpha": 0.1}), **o)],
        "lstm": lambda x, r, **o: ops.lstm(x, r, peephole=peephole, **o),
        "coupled": lambda x, r, **o: ops.lstm(
            x, r, coupled=True, activations=("sigmoid", "linear", "silu"), **o
        ),
        "gru": lambda x, r, **o: [
            ops.gru(
                x, r, recurrent_bias=bias, reset_after=True, activations=("sigmoid", "gelu"), **o
            )
        ],
        "reset before": lambda x, r, **o: [
            ops.gru(x, r, recurrent_bias=bias, reset_after=False, **o)
        ],
    }


GATES = {"rnn": 1, "lstm": 4, "coupled": 4, "gru": 3, "reset before": 3}


def test_a_restart_is_a_sequence_of_its_own() -> None:
    """Where a sequence restarts the rest equals a run over the rest; a mask cuts a step out."""
    h, t = 5, 7
    at, out = 3, 5  # the step before which the state is zero; the step that is left out
    for name, cell in cells(h).items():
        x = placeholder("x", (2, t, GATES[name] * h), "f32")
        r = constant(normal(h, GATES[name] * h) * 0.5)
        restart, mask = np.zeros((2, t), bool), np.ones((2, t), bool)
        restart[:, at], mask[:, out] = True, False
        whole = cell(x, r, restart=constant(restart), mask=constant(mask))
        kept = [k for k in range(at, t) if k != out]
        rest = cell(ops.concat([ops.slice_axis(x, 1, k, 1) for k in kept], 1), r)
        fed = {"x": normal(2, t, GATES[name] * h)}
        outputs = {"last": whole[0], "rest": rest[0], "first": cell(x, r)[0]}
        found = _run(Graph((x,), outputs), fed)
        np.testing.assert_allclose(found["last"][:, kept], found["rest"], atol=1e-5)
        np.testing.assert_allclose(found["last"][:, :at], found["first"][:, :at], atol=1e-6)
        np.testing.assert_array_equal(found["last"][:, out], found["last"][:, out - 1])
        assert np.abs(found["last"][:, at] - found["first"][:, at]).max() > 1e-2


def _run(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    program = lower(passes.run(graph, 0), TARGETS["wasm"])
    result = run(program, values(program, feeds))
    return {t.name: result[t.buffer].reshape(t.shape) for t in program.outputs}


def test_stacked_layers_of_torch_at_several_sizes() -> None:
    """Symbolic batch and length, two layers, both directions, against torch.nn."""
    torch = pytest.importorskip("torch")
    n, t = dim("n", 1, 6), dim("t", 1, 30)
    h, features = 13, 6
    jobs = []
    for kind, order in (("LSTM", (0, 1, 2, 3)), ("GRU", (1, 0, 2)), ("RNN", (0,))):
        torch.manual_seed(1)
        net = getattr(torch.nn, kind)(features, h, 2, batch_first=True, bidirectional=True)

        def gates(name: str, net: Any = net, order: tuple[int, ...] = order) -> np.ndarray:
            """A parameter with our order of gates, its last axis the gates."""
            a = getattr(net, name).detach().numpy()
            return np.concatenate([np.split(a, len(order))[k] for k in order]).T.copy()

        def layer(x: Value, suffix: str, kind: str = kind, gates: Any = gates) -> Value:
            reverse = "reverse" in suffix
            own, recurrent = gates("bias_ih" + suffix), gates("bias_hh" + suffix)
            bias = own if kind == "GRU" else own + recurrent
            x = ops.add(ops.matmul(x, constant(gates("weight_ih" + suffix))), constant(bias))
            r = constant(gates("weight_hh" + suffix))
            if kind == "LSTM":
                return ops.lstm(x, r, reverse=reverse)[0]
            if kind == "RNN":
                return ops.rnn(x, r, reverse=reverse)
            b = constant(recurrent)
            return ops.gru(x, r, recurrent_bias=b, reset_after=True, reverse=reverse)

        x = y = placeholder("x", (n, t, features), "f32")
        for k in range(2):
            y = ops.concat([layer(y, f"_l{k}"), layer(y, f"_l{k}_reverse")], 2)
        graph = Graph((x,), {"y": y}, {}, (n, t))
        for size in ({"n": 1, "t": 30}, {"n": 5, "t": 3}, {"n": 2, "t": 1}):
            fed = normal(size["n"], size["t"], features)
            wanted = net(torch.from_numpy(fed))[0].detach().numpy()
            name = f"{kind} {size}"
            jobs.append(Job(name, graph, {"x": fed}, {"y": wanted}, 1e-5, size))
    assert not interpreted(jobs)
    problems: dict[str, str] = {}
    for size in range(3):  # the jobs of one program share their sizes
        problems |= run_jobs(jobs[size::3])
    assert not problems


def test_the_number_of_threads_changes_no_bit() -> None:
    h, outputs, feeds, inputs = 12, {}, {}, []
    for name, cell in cells(h).items():
        x = placeholder(name, (7, 150, GATES[name] * h), "f32")
        outputs[f"{name}'"] = cell(x, constant(normal(h, GATES[name] * h) * 0.4))[0]
        feeds[name] = normal(*x.shape)
        inputs.append(x)
    program = lower(passes.run(Graph(tuple(inputs), outputs), 0), TARGETS["wasm"])
    assert all(step.kernel.name == "recurrent" for step in program.steps)
    results = [
        run(program, values(program, feeds), variant="plain-threads", threads=threads)
        for threads in (1, 2, 3)
    ]
    for tensor in program.outputs:
        one, *more = (r[tensor.buffer] for r in results)
        assert np.ptp(one) > 0.5
        for other in more:
            np.testing.assert_array_equal(one, other)


def test_constant_sequences_are_folded() -> None:
    for name, cell in cells(5).items():
        found = cell(constant(normal(1, 4, GATES[name] * 5)), constant(normal(5, GATES[name] * 5)))
        assert all(v.constant for v in found)


@pytest.mark.parametrize("call,message", [
    (lambda x, r: ops.lstm(x, r, activations=("softmax", "tanh", "tanh")),
     "activation 'softmax' of a recurrent cell is not a function of one number"),
    (lambda x, r: ops.lstm(x, r, activations=("add", "tanh", "tanh")), "takes 2 operands"),
    (lambda x, r: ops.lstm(x, r, activations=("elu", "tanh", "tanh")), "alpha"),
    (lambda x, r: ops.gru(x, r, reset_after=True), "5 hidden units need 15 columns"),
    (lambda x, r: ops.lstm(x, r, constant(normal(3, 5))), r"h0 .* must have shape \[2, 5\]"),
    (lambda x, r: ops.lstm(x, r, mask=constant(normal(2, 4))), "mask has dtype f32"),
    (lambda x, r: ops.lstm(x, ops.cast(r, "f16")), "one floating-point dtype.*r f16"),
    (lambda x, r: ops.rnn(ops.slice_axis(x, 0, 0, 2), ops.reshape(r, (100,))), "must be"),
])  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    x, r = placeholder("x", (2, 4, 20), "f32"), placeholder("r", (5, 20), "f32")
    with pytest.raises(UnsupportedError, match=message):
        call(x, r)
