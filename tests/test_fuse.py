"""Fusion decides what is launched: small graphs of known answers, and a table of networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from webdnn import ops
from webdnn.codegen import TARGETS
from webdnn.codegen.wasm import module as wasm
from webdnn.codegen.wasm.plan import plan_arena
from webdnn.codegen.webgpu import module as wgsl
from webdnn.codegen.webgpu.plan import plan_slots
from webdnn.errors import UnsupportedError
from webdnn.expr import Expr, coefficient, dim
from webdnn.graph import Graph, Value, constant, placeholder
from webdnn.passes import run
from webdnn.schedule.kernel import Kernel, Loop, Program
from webdnn.schedule.lower import lower
from webdnn.schedule.plan import lifetimes, nbytes


def program(outputs: dict[str, Value], *inputs: Value, target: str = "wasm") -> Program:
    return lower(run(Graph(inputs, outputs, dims=())), TARGETS[target])


def names(p: Program) -> list[str]:
    return [s.kernel.name for s in p.steps]


def transposes(kernel: Kernel) -> bool:
    """Whether the kernel only copies, and reads what it writes in order out of order."""
    if not isinstance(kernel, Loop) or kernel.stages or not kernel.axes:
        return False
    value = kernel.stores[0].value
    if value.op != "load":
        return False
    moving = [a for a in kernel.axes if a.args[1] != 1]
    return bool(moving) and coefficient(value.args[1], moving[-1]) not in (0, 1, None)


def vector(n: int, seed: int = 0) -> Value:
    return constant(np.random.default_rng(seed).standard_normal(n).astype(np.float32))


def test_pointwise_chains_are_one_kernel() -> None:
    x = placeholder("x", (4, 8), "f32")
    y = ops.relu(ops.add(ops.mul(ops.exp_(x), vector(8)), x))
    assert len(program({"y": y}, x).steps) == 1


def test_softmax_and_layer_norm_are_one_kernel_each() -> None:
    x = placeholder("x", (4, 8), "f32")
    assert len(program({"y": ops.softmax(x, 1)}, x).steps) == 1
    y = ops.add(ops.mul(ops.normalize(x, (1,), 1e-5), vector(8)), vector(8, 1))
    assert len(program({"y": y}, x).steps) == 1


def test_each_kernel_says_why_it_ends() -> None:
    x, w = placeholder("x", (64, 8), "f32"), constant(np.ones((8, 16), np.float32))
    hidden = ops.relu(ops.matmul(x, w))
    y = ops.matmul(hidden, constant(np.ones((16, 8), np.float32)))
    p = program({"y": y, "z": ops.concat((ops.relu(x), y), 1)}, x)
    assert {s.kernel.name: s.why for s in p.steps} == {
        "matmul_relu": "an operand of matmul, read again and again",
        "matmul": "an output of the model",
        "concat": "an output of the model",
    }


def test_matmul_takes_its_epilogue_and_residual() -> None:
    x, r = placeholder("x", (4, 8), "f32"), placeholder("r", (4, 16), "f32")
    w = constant(np.ones((8, 16), np.float32))
    p = program({"y": ops.add(ops.gelu(ops.add(ops.matmul(x, w), vector(16))), r)}, x, r)
    assert names(p) == ["matmul_add_gelu"]


def test_a_value_with_another_user_is_stored() -> None:
    x = placeholder("x", (4, 8), "f32")
    h = ops.matmul(x, constant(np.ones((8, 8), np.float32)))
    p = program({"a": ops.relu(h), "b": ops.exp_(h)}, x)
    assert sorted(names(p)) == ["exp", "matmul", "relu"]


def test_concat_parts_are_computed_in_place() -> None:
    x = placeholder("x", (1, 4, 4, 8), "f32")
    a = ops.conv(x, constant(np.ones((1, 1, 8, 8), np.float32)))
    b = ops.conv(x, constant(np.full((3, 3, 8, 4), 2, np.float32)), pads=(1, 1, 1, 1))
    p = program({"y": ops.concat([ops.relu(a), ops.relu(b)], 3)}, x)
    assert len(p.steps) == 2
    assert len({s.buffers[s.kernel.stores[0].slot] for s in p.steps}) == 1  # type: ignore[union-attr]


def test_an_output_that_is_an_input_or_a_constant_is_copied() -> None:
    x = placeholder("x", (3,), "f32")
    p = program({"same": x, "fixed": vector(3)}, x)
    assert names(p) == ["copy", "copy"]
    assert len({t.buffer for t in (*p.inputs, *p.outputs)}) == 3


def test_two_outputs_may_be_one_value() -> None:
    x = placeholder("x", (3,), "f32")
    y = ops.relu(x)
    p = program({"a": y, "b": y}, x)
    assert len(p.steps) == 1 and p.outputs[0].buffer == p.outputs[1].buffer


def test_costly_values_with_much_reuse_are_stored() -> None:
    x = placeholder("x", (8, 1), "f32")
    y = ops.add(ops.tanh_(x), placeholder("z", (8, 64), "f32"))
    p = program({"y": y}, x, placeholder("z", (8, 64), "f32"))
    assert len(p.steps) == 2  # tanh once a row, not once an element


def test_webgpu_kernels_keep_to_eight_buffers() -> None:
    xs = [placeholder(f"x{k}", (16,), "f32") for k in range(20)]
    total = xs[0]
    for x in xs[1:]:
        total = ops.add(ops.relu(total), ops.mul(x, vector(16, 7)))
    p = program({"y": total}, *xs, target="webgpu")
    assert all(len(s.buffers) <= 8 for s in p.steps)


def test_symbolic_sizes_are_planned_at_their_upper_bound() -> None:
    n = dim("n", 1, 100)
    x = placeholder("x", (n, 4), "f32")
    graph = Graph((x,), {"y": ops.softmax(x, 0)}, dims=(n,))
    p = lower(run(graph), TARGETS["wasm"])
    assert isinstance(p.buffers[p.outputs[0].buffer].size, Expr)
    assert plan_arena(p, {}, 0).size >= 2 * 4 * 400


def overlaps(p: Program) -> None:
    """No two temporaries that live at once share memory, in either plan."""
    live = lifetimes(p)
    weights = dict.fromkeys(p.weights, 0)
    arena, slots = plan_arena(p, weights, 0), plan_slots(p)
    for a in live:
        for b in live:
            if a < b and live[a][0] <= live[b][1] and live[b][0] <= live[a][1]:
                start, end = arena.address[a], arena.address[a] + nbytes(p.buffers[a])
                assert end <= arena.address[b] or arena.address[b] + nbytes(p.buffers[b]) <= start
                assert slots.of[a] != slots.of[b]


def test_memory_of_a_residual_tower_is_reused() -> None:
    x = placeholder("x", (1, 8, 8, 8), "f32")
    y = x
    for k in range(12):
        w = constant(np.random.default_rng(k).standard_normal((3, 3, 8, 8)).astype(np.float32))
        y = ops.relu(
            ops.add(ops.conv(ops.relu(ops.conv(y, w, pads=(1, 1, 1, 1))), w, pads=(1, 1, 1, 1)), y)
        )
    p = program({"y": y}, x)
    overlaps(p)
    one = 8 * 8 * 8 * 4
    address = plan_arena(p, dict.fromkeys(p.weights, 0), 0).address
    assert len({address[b] for b in lifetimes(p)}) <= 3
    assert all(nbytes(p.buffers[b]) <= one for b in lifetimes(p))


# Launches, distinct kernels and materialised transposes of each network: wasm, WebGPU, where a
# product whose depth is cut into slices has a further launch, which sums them, and Winograd's way
# has two.
TABLE: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "multistyle26": ((118, 32, 1), (118, 37, 1)),
    "opennsfw": ((57, 15, 0), (73, 28, 0)),
    "mobilenetv2": ((55, 10, 1), (56, 25, 1)),
    "minilm": ((73, 16, 0), (61, 15, 0)),
    "ppocr_det": ((98, 42, 1), (106, 65, 1)),
    "ppocr_rec": ((73, 45, 3), (76, 50, 3)),
    "ppocr_cls": ((82, 25, 1), (82, 46, 1)),
    "magika": ((13, 13, 0), (13, 13, 0)),
    "basic_pitch": ((53, 40, 1), (53, 35, 1)),
    "openwakeword": ((25, 7, 0), (25, 22, 0)),
    "light_bvlc_alexnet": ((19, 16, 1), (23, 19, 1)),
    "light_densenet121": ((189, 18, 1), (221, 39, 1)),
    "light_inception_v1": ((87, 24, 1), (103, 58, 1)),
    "light_inception_v2": ((93, 29, 1), (131, 58, 1)),
    "light_resnet50": ((58, 16, 1), (91, 39, 1)),
    "light_shufflenet": ((57, 15, 1), (57, 24, 1)),
    "light_squeezenet": ((37, 14, 1), (40, 24, 1)),
    "light_vgg19": ((30, 16, 1), (57, 26, 1)),
    "light_zfnet512": ((20, 15, 1), (24, 18, 1)),
}


def counts(graph: Graph, target: str) -> tuple[int, int, int]:
    p = lower(graph, TARGETS[target])
    overlaps(p)
    if target == "wasm":
        kernels = len(wasm.print_program(p, {b.id: 0 for b in p.buffers})[0])
    else:
        kernels = len(wgsl.build(p, {b.id: {"b": 0} for b in p.buffers})["kernels"])
    return len(p.steps), kernels, sum(transposes(s.kernel) for s in p.steps)


@pytest.mark.models
@pytest.mark.parametrize("name", TABLE)
def test_launches(name: str) -> None:
    assert measured(name) == TABLE[name]


def measured(name: str) -> Any:
    from tests import models
    from webdnn.frontend import load

    graph = run(load(models.fetch(name), models.dim_options(name)).graph)
    return counts(graph, "wasm"), counts(graph, "webgpu")


if __name__ == "__main__":
    from tests import models

    for name in models.MODELS:
        print(f'    "{name}": {measured(name)},', flush=True)


def test_what_32_bits_do_not_address_is_refused() -> None:
    """One buffer, at fixed sizes and at the largest symbolic ones; the message has the numbers."""
    x = placeholder("x", (70000, 70000), "f32")
    with pytest.raises(UnsupportedError, match=r"'x' has 4,900,000,000 elements; a tensor"):
        program({"y": ops.relu(x)}, x)
    h, w = dim("h", 8, 2**30), dim("w", 8, 2**30)
    x = placeholder("x", (3, h, w), "f32")
    with pytest.raises(UnsupportedError, match=rf"{3 * 2**60:,} elements at h={2**30}, w="):
        lower(run(Graph((x,), {"y": ops.relu(x)}, dims=(h, w))), TARGETS["wasm"])
