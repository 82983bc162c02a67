"""Random models against onnxruntime: what nobody thought of putting into the table of cases.

    python -m tests.fuzz --seed 1 --count 100                    wasm, in Node
    python -m tests.fuzz --seed 1 --count 20 --target webgpu     headless Chromium
    python -m tests.fuzz --seed 1 --count 500 --target graph     frontend and passes alone: fast
    python -m tests.fuzz --seed 1 --only 37                      one model of that seed again

Model k of a seed is the same on every machine with the same libraries. It has 5 to 25 nodes; each
is proposed at random and computed at once by onnxruntime, alone, on the values made so far. A
proposal is dropped when onnxruntime refuses it, or when its result is large, not finite, or
ill-conditioned: noise of 1e-4 on its inputs must not change an integer, or a float by more than
1e-3. So every model has a right answer to compare with: 1e-4 of an output's largest magnitude (1e-3
on WebGPU), or ten times what one unit in the last place of the inputs does to it. One model in
three has a symbolic dimension and is run at three sizes; one in eight has values of no elements.
Operands that say which axes, how many, or from where to where are constants or inputs.

Models are imported, and compared after import and after the passes by `tests.interpret`, one by
one; then BATCH of them are one model, so that one call of the compiler serves them all. A model
that fails is shrunk: outputs are dropped and values are made inputs while it still fails. What is
left is printed as ONNX text, with the error. What the transpiler refuses with a clear error is
counted and listed; it is no failure.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from tests.interpret import interpret, shown
from tests.wasm_harness import published
from tests.wasm_harness import run as run_program
from webdnn import passes
from webdnn.codegen import TARGETS
from webdnn.codegen.wasm import zig
from webdnn.codegen.wasm.module import print_program
from webdnn.errors import WebDNNError
from webdnn.frontend import load
from webdnn.graph import Graph, verify
from webdnn.schedule.kernel import Program
from webdnn.schedule.lower import lower

BATCH = 10
SIDES = ("wasm", "webgpu", "graph")
TOLERANCE = {"graph": 1e-4, "wasm": 1e-4, "webgpu": 1e-3}
SIZES = (1, 2, 3, 5, 7, 9, 13, 17, 33)
LARGEST = 6000  # elements of a value
Array = Any
UNARY = (
    "Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Exp", "Log", "Sqrt", "Erf", "Elu", "LeakyRelu",
    "Softplus", "Softsign", "HardSwish", "HardSigmoid", "Floor", "Ceil", "Round", "Sin", "Cos",
    "Reciprocal", "Sign", "Selu", "Celu", "ThresholdedRelu", "Shrink", "IsNaN", "Identity",
    "Atan", "Dropout",
)  # fmt: skip
REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
    "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip
# How often a proposal is made; others once.
WEIGHTS = {
    "op_unary": 3,
    "op_binary": 5,
    "op_integers": 2,
    "op_where": 2,
    "op_cast": 2,
    "op_conv": 4,
    "op_pool": 2,
    "op_matmul": 3,
    "op_reduce": 4,
    "op_softmax": 2,
    "op_norm": 2,
    "op_transpose": 3,
    "op_reshape": 3,
    "op_axes": 2,
    "op_slice": 3,
    "op_concat": 3,
    "op_split": 2,
    "op_pad": 2,
    "op_diamond": 2,
    "op_microsoft": 3,
    "op_pointwise": 2,
    "op_quantised": 2,
    "op_some": 2,
    "op_loop": 6,
    "op_if": 4,
}
# What nodes of bodies are drawn from.
INSIDE = (
    "op_unary", "op_binary", "op_where", "op_cast", "op_matmul", "op_reduce", "op_softmax",
    "op_transpose", "op_slice", "op_concat", "op_pad", "op_gather", "op_clip", "op_compare",
    "op_reshape", "op_cumsum", "op_if", "op_loop",
)  # fmt: skip


# ---- models --------------------------------------------------------------------------------------


@dataclass(eq=False)
class Tensor:
    """A value of the model being made, with its elements at each size of the symbolic dimension."""

    name: str
    values: list[Array]
    kind: str = "node"  # or "input", "const"

    @property
    def shape(self) -> tuple[int | None, ...]:
        """None where the size depends on the symbolic dimension."""
        return tuple(
            d[0] if len(set(d)) == 1 else None for d in zip(*(v.shape for v in self.values))
        )

    @property
    def rank(self) -> int:
        return int(self.values[0].ndim)

    @property
    def static(self) -> bool:
        return None not in self.shape

    @property
    def dtype(self) -> str:
        return str(self.values[0].dtype)


@dataclass
class Model:
    """Nodes and the tensors they read and write; `sizes` are those of the symbolic dimension."""

    name: str
    opset: int
    sizes: tuple[int, ...]
    inputs: list[Tensor] = field(default_factory=list)
    constants: list[Tensor] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    made: dict[str, Tensor] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    @property
    def dims(self) -> dict[str, tuple[int, int]]:
        """The argument of `load`."""
        if all(t.static for t in self.inputs):
            return {}
        return {f"{self.name}_n": (min(self.sizes), max(self.sizes))}

    def proto(self) -> onnx.ModelProto:
        return whole([self])

    def needed(self) -> Model:
        """The same without what its outputs do not need."""
        wanted, nodes = set(self.outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                nodes.append(node)
                wanted |= set(read_by(node))
        return Model(
            self.name, self.opset, self.sizes,
            [t for t in self.inputs if t.name in wanted],
            [t for t in self.constants if t.name in wanted],
            nodes[::-1], self.made, self.outputs,
        )  # fmt: skip


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads; also what its bodies have from around it, beside names of their own."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from read_by(inner)
        yield from (o.name for o in attribute.g.output)


def whole(models: Sequence[Model]) -> onnx.ModelProto:
    """One model of several, of one opset; their names differ."""

    def info(m: Model, t: Tensor) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(t.values[0].dtype)
        return helper.make_tensor_value_info(
            t.name, kind, [f"{m.name}_n" if d is None else d for d in t.shape]
        )

    graph = helper.make_graph(
        [n for m in models for n in m.nodes],
        "_".join(m.name for m in models),
        [info(m, t) for m in models for t in m.inputs],
        [helper.make_empty_tensor_value_info(o) for m in models for o in m.outputs],
        [numpy_helper.from_array(t.values[0], t.name) for m in models for t in m.constants],
    )
    return helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", models[0].opset),
            helper.make_opsetid("com.microsoft", 1),
        ],
        ir_version=10,
    )


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, ["CPUExecutionProvider"]
    )


def noisy(rng: np.random.Generator, a: Array, scale: float) -> Array:
    """Floats moved by up to `scale` of the largest."""
    if a.dtype.kind != "f" or not a.size:
        return a
    return (a + rng.uniform(-1, 1, a.shape) * scale * np.abs(a).max()).astype(a.dtype)


class Maker:
    """Makes one random model."""

    def __init__(self, seed: int, index: int, opset: int):
        self.rng = random.Random(f"{seed}/{index}")
        self.np = np.random.default_rng(self.rng.getrandbits(32))
        sizes = tuple(sorted(self.rng.sample(SIZES[1:], 3))) if self.rng.random() < 1 / 3 else (1,)
        self.model = Model(f"m{index}", opset, sizes)
        self.tensors: list[Tensor] = []
        self.symbolic = len(sizes) > 1
        self.empties = self.rng.random() < 1 / 8
        self.bodies = self.depth = 0  # how many there are, and within how many we are

    # -- parts

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def size(self, largest: int = 33) -> int:
        return self.rng.choice([s for s in SIZES if s <= largest])

    def draw(
        self, shape: Sequence[int], dtype: str = "float32", lo: float = -2, hi: float = 2
    ) -> Array:
        if dtype == "bool":
            return self.np.random(tuple(shape)) < 0.5
        if "int" in dtype:
            return self.np.integers(int(lo), int(hi), tuple(shape), endpoint=True).astype(dtype)
        return self.np.uniform(lo, hi, tuple(shape)).astype(dtype)

    def const(self, array: Array) -> Tensor:
        a = np.asarray(array)
        t = Tensor(
            f"{self.model.name}.c{len(self.model.constants)}", [a] * len(self.model.sizes), "const"
        )
        self.model.constants.append(t)
        return t

    def weights(self, *shape: int, lo: float = -1, hi: float = 1) -> Tensor:
        return self.const(self.draw(shape, "float32", lo, hi))

    def ints(self, *values: int) -> Tensor:
        return self.const(np.array(values, np.int64))

    def operand(self, values: Any) -> Tensor:
        """A constant, or an input with the same elements at all sizes."""
        t = self.const(np.asarray(values))
        if self.chance(0.7):
            return t
        self.model.constants.remove(t)
        t = Tensor(f"{self.model.name}.x{len(self.model.inputs)}", t.values, "input")
        self.model.inputs.append(t)
        return t

    def position(self, values: Sequence[int]) -> Tensor:
        """An operand; as an input of 32 bits, for the runner takes no more."""
        lo, hi = -(2**31), 2**31 - 1
        fits = all(lo <= v <= hi for v in values)
        return self.operand(np.array(values)) if fits else self.ints(*values)

    def input(self, shape: Sequence[int | None], dtype: str = "float32") -> Tensor:
        lo, hi = (0, 5) if "uint" in dtype else (-5, 5) if "int" in dtype else (-2, 2)
        t = Tensor(
            f"{self.model.name}.x{len(self.model.inputs)}",
            [
                self.draw([n if d is None else d for d in shape], dtype, lo, hi)
                for n in self.model.sizes
            ],
            "input",
        )
        self.model.inputs.append(t)
        self.tensors.append(t)
        return t

    def pick(
        self,
        kinds: str = "f",
        ranks: Iterable[int] = range(7),
        want: Callable[[Tensor], bool] = lambda t: True,
    ) -> Tensor | None:
        """A tensor, rather a recent one."""
        ranks = set(ranks)
        fit = [
            t
            for t in self.tensors
            if t.values[0].dtype.kind in kinds and t.rank in ranks and want(t)
        ]
        if not fit:
            return None
        return self.rng.choice(fit[-5:] if self.chance(0.6) else fit)

    def node(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        outputs: int = 1,
        captured: Iterable[Tensor] = (),
        **attrs: Any,
    ) -> list[Tensor] | None:
        """Adds a node if onnxruntime computes it, well-conditioned, at all sizes.

        captured: what its bodies read from around it.
        """
        inputs = list(inputs)
        serial = len(self.model.nodes)
        names = [f"{self.model.name}.{op}{serial}" + (f"_{k}" if k else "") for k in range(outputs)]
        node = helper.make_node(op, [t.name if t else "" for t in inputs], names, names[0], **attrs)
        given = {t.name: t for t in (*inputs, *captured) if t}
        alone = Model(
            self.model.name,
            self.model.opset,
            self.model.sizes,
            [t for t in given.values() if t.kind != "const"],
            [t for t in given.values() if t.kind == "const"],
            [node],
            {},
            names,
        )
        try:
            run = session(alone.proto())
            results = []
            for k in range(len(self.model.sizes)):
                feeds = {t.name: t.values[k] for t in alone.inputs}
                out = [np.asarray(a) for a in run.run(None, feeds)]
                if not all(self.sound(a) for a in out):
                    return None
                for _ in range(2):
                    moved = {n: noisy(self.np, a, 1e-4) for n, a in feeds.items()}
                    for a, b in zip(out, run.run(None, moved), strict=True):
                        if a.dtype.kind != "f":
                            if not np.array_equal(a, b):
                                return None
                        elif a.size and not np.abs(a - b).max() <= 1e-3 * np.abs(a).max() + 1e-30:
                            return None
                results.append(out)
        except Exception:  # onnxruntime's own types are many: it does not run this node
            return None
        made = [Tensor(n, [r[k] for r in results]) for k, n in enumerate(names)]
        self.model.nodes.append(node)
        for t in made:
            self.model.made[t.name] = t
            self.tensors.append(t)
        return made

    def sound(self, a: Array) -> bool:
        if not (0 if self.empties else 1) <= a.size <= LARGEST or a.ndim > 6:
            return False
        if not a.size:
            return True
        if a.dtype.kind == "f":
            return bool(np.isfinite(a).all()) and float(np.abs(a).max()) < 1e4
        # Powers of int64 go through float64 in onnxruntime: exact as long as they are no larger.
        most = 2**50 if a.dtype.itemsize == 8 else 2**24
        return a.dtype.kind == "b" or int(np.abs(a.astype(np.float64)).max()) < most

    # -- the model

    def make(self) -> Model:
        n: int | None = None if self.symbolic else self.size(17)
        starts: list[Sequence[int | None]] = [
            [
                self.rng.choice([1, 2]),
                self.rng.choice([1, 3, 4, 5, 8]),
                n if self.chance(0.7) else 9,
                self.size(13),
            ],
            [n if self.chance(0.5) else 3, self.size(9), self.size(17)],
            [self.size(), n if self.chance(0.5) else 7],
            [2, self.size(9), n],
            [self.rng.choice([1, 2]), n, self.size(7), self.rng.choice([1, 3, 5])],
            [n],
        ]
        for shape in self.rng.sample(starts, self.rng.choice([1, 2, 2, 3])):
            self.input(shape)
        if self.empties:
            self.input(self.rng.choice([[0, 3], [2, 0, 5], [1, 4, 0], [0]]))
        if self.symbolic and all(t.static for t in self.model.inputs):
            self.input([2, n, 5])
        if self.chance(0.3):
            self.input(
                [self.size(9), self.size(9)],
                self.rng.choice(["int64", "int32", "bool", "uint8", "int8"]),
            )
        wanted = self.rng.randint(5, 25)
        proposals = [getattr(self, f) for f in dir(self) if f.startswith("op_")]
        weights = [WEIGHTS.get(f.__name__, 1) for f in proposals]
        for _ in range(12 * wanted):
            if len(self.model.nodes) >= wanted:
                break
            constants, inputs = len(self.model.constants), len(self.model.inputs)
            nodes = len(self.model.nodes)
            added = self.proposed(self.rng.choices(proposals, weights)[0])
            if not added and len(self.model.nodes) == nodes:
                del self.model.constants[constants:], self.model.inputs[inputs:]
        self.outputs()
        return self.model.needed()

    def proposed(self, proposal: Callable[[], Any]) -> Any:
        """What a proposal adds; nothing where it cannot be drawn around an empty value."""
        try:
            return proposal()
        except (ArithmeticError, IndexError, ValueError):
            if not self.empties:
                raise
            return None

    def outputs(self) -> None:
        m = self.model
        read = {i for n in m.nodes for i in read_by(n)}
        ends = [t.name for t in self.tensors if t.kind == "node" and t.name not in read]
        inner = [t.name for t in self.tensors if t.kind == "node" and t.name in read]
        chosen = self.rng.sample(ends, min(len(ends), 6))
        chosen += self.rng.sample(inner, min(len(inner), self.rng.choice([0, 0, 1, 2])))
        if self.chance(0.08):
            chosen.append(self.rng.choice(m.inputs).name)
        if self.chance(0.08) and m.constants:
            chosen.append(self.rng.choice(m.constants).name)
        self.rng.shuffle(chosen)
        for t in (*m.inputs, *m.constants):
            m.made[t.name] = t
        m.outputs = chosen or [m.inputs[0].name]

    # -- proposals: each returns something true if it has added a node

    def op_unary(self) -> Any:
        x = self.pick("f")
        if x is None:
            return None
        op = self.rng.choice(
            list(UNARY)
            + (["Gelu"] if self.model.opset >= 20 else [])
            + (["Mish"] if self.model.opset >= 18 else [])
        )
        attrs: dict[str, Any] = (
            {"alpha": self.rng.choice([0.01, 0.3, 1.5])}
            if op in ("LeakyRelu", "Elu", "Celu") and self.chance(0.6)
            else {}
        )
        return self.node(op, [x], **attrs)

    def op_clip(self) -> Any:
        x = self.pick("f")
        return x and self.node(
            "Clip",
            [
                x,
                self.const(np.float32(-0.7)) if self.chance(0.7) else None,
                self.const(np.float32(self.rng.choice([0.9, 6]))) if self.chance(0.7) else None,
            ],
        )

    def partner(self, x: Tensor) -> Tensor:
        """Something that broadcasts with x."""

        def fits(t: Tensor) -> bool:
            if t.dtype != x.dtype:
                return False
            return all(a == b or 1 in (a, b) for a, b in zip(t.shape[::-1], x.shape[::-1]))

        other = self.pick("fiub", want=fits) if self.chance(0.65) else None
        if other is not None:
            return other
        shape = [1 if d is None or self.chance(0.35) else d for d in x.shape]
        if self.chance(0.3):
            shape = shape[self.rng.randint(0, len(shape)) :]
        elif self.chance(0.15):
            shape = [self.rng.choice([1, 2, 3]), *shape]
        if self.chance(0.1):
            shape = [self.size(5) if d == 1 and len(shape) > k else d for k, d in enumerate(shape)]
        return self.const(self.draw(shape, x.dtype, *((1, 3) if "int" in x.dtype else (-2, 2))))

    def op_binary(self) -> Any:
        x = self.pick("f")
        if x is None:
            return None
        op = self.rng.choice(["Add", "Add", "Sub", "Mul", "Mul", "Div", "Min", "Max", "PRelu"])
        y = self.partner(x)
        pair = [x, y] if op == "PRelu" or self.chance(0.6) else [y, x]
        return self.node(op, pair)

    def op_many(self) -> Any:
        x = self.pick("f")
        if x is None:
            return None
        others = [self.partner(x) for _ in range(self.rng.randint(0, 3))]
        return self.node(self.rng.choice(["Sum", "Mean", "Max", "Min"]), [x, *others])

    def op_pow(self) -> Any:
        x = self.pick("f")
        return x and self.node(
            "Pow", [x, self.const(np.float32(self.rng.choice([2, 3, 0.5, -1, 1, 4])))]
        )

    def op_integers(self) -> Any:
        x = self.pick("iu")
        if x is None:
            return None
        op = self.rng.choice(
            ["Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Abs", "Neg", "Sign"]
        )
        return self.node(op, [x] if op in ("Abs", "Neg", "Sign") else [x, self.partner(x)])

    def op_compare(self) -> Any:
        x = self.pick("fi")
        if x is None:
            return None
        return self.node(
            self.rng.choice(["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]),
            [x, self.partner(x)],
        )

    def op_logic(self) -> Any:
        x = self.pick("b")
        if x is None:
            return None
        op = self.rng.choice(["And", "Or", "Xor", "Not"])
        return self.node(op, [x] if op == "Not" else [x, self.partner(x)])

    def op_where(self) -> Any:
        c = self.pick("b")
        if c is None:
            return None
        x = self.pick(
            "fi",
            want=lambda t: all(a == b or 1 in (a, b) for a, b in zip(t.shape[::-1], c.shape[::-1])),
        )
        return x and self.node(
            "Where", [c, x, self.partner(x)] if self.chance(0.5) else [c, self.partner(x), x]
        )

    def op_cast(self) -> Any:
        x = self.pick("fiub")
        if x is None:
            return None
        to = self.rng.choice(["float32", "float32", "int32", "int64", "bool", "uint8", "int8"])
        if to in ("uint8", "int8") and (
            float(np.max(x.values[0], initial=0)) > 100
            or float(np.min(x.values[0].astype(np.float32), initial=0)) < 0
        ):
            return None
        return self.node("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def op_conv(self) -> Any:
        x = self.pick("f", (3, 4), lambda t: isinstance(t.shape[1], int) and t.shape[1] <= 20)
        if x is None:
            return None
        c, spatial = int(x.shape[1] or 1), x.rank - 2
        groups = self.rng.choice(list({1, c, *(d for d in (2, 3, 4) if c % d == 0)}))
        kernel = [self.rng.choice([1, 2, 3, 3, 5]) for _ in range(spatial)]
        strides = [self.rng.choice([1, 1, 2, 3]) for _ in range(spatial)]
        dilations = [self.rng.choice([1, 1, 1, 2]) for _ in range(spatial)]
        per = self.rng.choice([1, 2, 3, 5, 8])
        attrs: dict[str, Any] = {"group": groups}
        transposed = self.chance(0.25)
        mode = self.rng.choice(["pads", "pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID"])
        if mode == "pads":
            attrs["pads"] = [self.rng.choice([0, 1, 1, 2]) for _ in range(2 * spatial)]
        elif mode != "none":
            attrs["auto_pad"] = mode
        if self.chance(0.8):
            attrs |= {"strides": strides, "dilations": dilations}
        bias = self.weights(per * groups) if self.chance(0.6) else None
        scale = 1 / math.sqrt(c // groups * math.prod(kernel))
        large = any(s > k for s, k in zip(strides, kernel, strict=True))
        if transposed and "SAME" in mode and large:
            return None  # onnxruntime departs from ONNX's output size there
        if transposed:
            if self.chance(0.3) and mode in ("pads", "none"):
                attrs["output_padding"] = (
                    [self.rng.randint(0, min(1, s - 1)) for s in strides]
                    if "strides" in attrs
                    else [0] * spatial
                )
            w = self.weights(c, per, *kernel, lo=-scale, hi=scale)
        else:
            w = self.weights(per * groups, c // groups, *kernel, lo=-scale, hi=scale)
        if self.chance(0.3):
            attrs["kernel_shape"] = kernel
        return self.node("ConvTranspose" if transposed else "Conv", [x, w, bias], **attrs)

    def op_pointwise(self) -> Any:
        """A convolution with one tap, padded at one end."""
        x = self.pick("f", (3, 4), lambda t: isinstance(t.shape[1], int) and 0 < t.shape[1] <= 20)
        if x is None:
            return None
        c, spatial = int(x.shape[1] or 1), x.rank - 2
        w = self.weights(self.rng.choice([1, 2, 5, 8, 16]), c, *[1] * spatial)
        pads = [0] * (2 * spatial)
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            pads[self.rng.randrange(len(pads))] = self.rng.choice([1, 2])
        attrs = {"strides": [2] * spatial} if self.chance(0.2) else {}
        return self.node("Conv", [x, w], pads=pads, **attrs)

    def op_microsoft(self) -> Any:
        op = self.rng.choice(
            ["Gelu", "FastGelu", "QuickGelu", "BiasGelu", "FusedMatMul", "FusedGemm", "FusedConv",
                "SkipLayerNormalization", "Trilu", "BiasAdd", "QLinearAdd",
                "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearConcat"]
        )  # fmt: skip
        ours = {"domain": "com.microsoft"}
        if op.startswith("QLinear"):
            return self.quantised_microsoft(op)
        ranks = {
            "FusedGemm": (2,),
            "FusedConv": (4,),
            "SkipLayerNormalization": (3,),
            "Trilu": (2, 3),
        }
        x = self.pick("f", ranks.get(op, (1, 2, 3, 4)))
        last = x and x.shape[-1]
        if x is None:
            return None
        if op in ("Gelu", "QuickGelu", "Trilu"):
            more = {"alpha": 1.5} if op == "QuickGelu" and self.chance(0.5) else {}
            return self.node(op, [x], **more, **ours)
        if op == "FusedConv":
            c = x.shape[1]
            w = self.weights(3, c or 1, 3, 3, lo=-0.3, hi=0.3)
            return c and self.node(
                op, [x, w, self.weights(3)], pads=[1, 1, 1, 1], **ours,
                activation=self.rng.choice(["Relu", "Tanh", "Sigmoid"]),
            )  # fmt: skip
        if not last:
            return None
        if op == "FastGelu":
            return self.node(op, [x, self.weights(last) if self.chance(0.6) else None], **ours)
        if op == "BiasGelu":
            return self.node(op, [x, self.weights(last)], **ours)
        if op == "BiasAdd":
            return self.node(op, [x, self.weights(last), x], **ours)
        if op == "FusedMatMul":
            if x.rank < 2:
                return None
            n, turned = self.size(), self.chance(0.5)
            w = self.weights(*((n, last) if turned else (last, n)), lo=-0.4, hi=0.4)
            return self.node(op, [x, w], alpha=0.7, transB=int(turned), **ours)
        if op == "FusedGemm":
            w = self.weights(last, self.size())
            return self.node(op, [x, w], activation=self.rng.choice(["Relu", "Tanh"]), **ours)
        skip = self.pick("f", (3,), lambda t: t.shape == x.shape) or x
        return self.node(
            op, [x, skip, self.weights(last), self.weights(last) if self.chance(0.5) else None],
            epsilon=1e-3, **ours,
        )  # fmt: skip

    def quantised_microsoft(self, op: str) -> Any:
        kind = self.rng.choice(["int8", "uint8"])
        x = self.pick("iu", range(1, 5), lambda t: t.dtype == kind)
        if x is None:
            return None
        ours = {"domain": "com.microsoft"}

        def scale() -> list[Tensor]:
            return [self.const(np.float32(self.rng.choice([0.11, 0.05]))),
                self.const(np.array(self.rng.choice([0, 3]), kind))]  # fmt: skip

        one = [x, *scale()]
        if op == "QLinearConcat":
            return self.node(op, [*scale(), *one, *one], axis=0, **ours)
        if op in ("QLinearAdd", "QLinearMul"):
            y = self.pick("iu", want=lambda t: t.dtype == kind and t.shape == x.shape) or x
            return self.node(op, [*one, y, *scale(), *scale()], **ours)
        return self.node(op, [*one, *scale()], **ours)

    def op_some(self) -> Any:
        """As many elements as a run finds."""
        op = self.rng.choice(["NonZero", "Compress", "TopK", "Slice", "Unique", "Range"])
        x = self.pick("f" if op != "NonZero" else "fb", range(1, 4))
        if x is None:
            return None
        if op == "NonZero":
            return self.node(op, [x])
        if op == "Unique":
            i = self.pick("i", (1,))
            return i and self.node(op, [i])
        axis = self.rng.randrange(x.rank)
        n = min(v.shape[axis] for v in x.values)
        if op == "TopK":
            k = self.operand(np.array([self.rng.randint(1, max(n, 1))]))
            return self.node(op, [x, k], 2, axis=axis, largest=int(self.chance(0.5)))
        if op == "Compress":
            some = self.pick("b", (1,))
            if some is None:
                some = self.operand(self.np.random(max(n, 1)) < 0.6)
            return self.node(op, [x, some], axis=axis)
        if op == "Range":
            count = self.node("ReduceSum", [self.operand(self.np.integers(0, 2, 5))], keepdims=0)
            most = count and self.node("Min", [count[0], self.const(np.int64(7))])
            return most and self.node(
                op, [self.const(np.int64(0)), most[0], self.const(np.int64(1))]
            )
        return self.node(
            op, [x, self.ints(self.rng.choice([0, 1])), self.operand(np.array([max(n - 1, 1)])),
                self.ints(axis)],
        )  # fmt: skip

    def op_pool(self) -> Any:
        x = self.pick("f", (3, 4))
        if x is None:
            return None
        op = self.rng.choice(
            [
                "MaxPool",
                "AveragePool",
                "AveragePool",
                "GlobalAveragePool",
                "GlobalMaxPool",
                "LpPool",
            ]
        )
        if op.startswith("Global"):
            return self.node(op, [x])
        spatial = x.rank - 2
        attrs: dict[str, Any] = {
            "kernel_shape": [self.rng.choice([1, 2, 3, 4]) for _ in range(spatial)]
        }
        if self.chance(0.7):
            attrs["strides"] = [self.rng.choice([1, 2, 3]) for _ in range(spatial)]
        if self.chance(0.2):
            attrs["auto_pad"] = self.rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
        else:
            attrs["pads"] = [
                self.rng.randint(0, min(2, attrs["kernel_shape"][k % spatial] - 1))
                for k in range(2 * spatial)
            ]
            if self.chance(0.4) and op != "LpPool":
                attrs["ceil_mode"] = 1
        if op == "AveragePool" and self.chance(0.5):
            attrs["count_include_pad"] = 1
        if op == "MaxPool" and "auto_pad" not in attrs and self.chance(0.3):
            attrs["dilations"] = [self.rng.choice([1, 2]) for _ in range(spatial)]
        return self.node(op, [x], **attrs)

    def op_matmul(self) -> Any:
        x = self.pick("f", (1, 2, 3, 4))
        if x is None:
            return None
        k = x.shape[-1]
        if self.chance(0.4):
            y = self.pick("f", (1, 2, 3, 4), lambda t: t.shape[-2 if t.rank > 1 else 0] == k)
            if y is not None:
                return self.node("MatMul", [x, y])
        if k is None:
            return None
        lead = (
            [d if isinstance(d, int) and self.chance(0.7) else 1 for d in x.shape[:-2]]
            if self.chance(0.3)
            else []
        )
        w = self.weights(
            *lead,
            k,
            *([self.size()] if self.chance(0.9) else []),
            lo=-1 / math.sqrt(k),
            hi=1 / math.sqrt(k),
        )
        return self.node("MatMul", [x, w])

    def op_scores(self) -> Any:
        """x times itself transposed: attention."""
        x = self.pick("f", (2, 3, 4))
        if x is None:
            return None
        perm = list(range(x.rank))
        perm[-2:] = perm[:-3:-1]
        t = self.node("Transpose", [x], perm=perm)
        return t and self.node("MatMul", [x, t[0]] if self.chance(0.7) else [t[0], x])

    def op_gemm(self) -> Any:
        x = self.pick("f", (2,))
        if x is None:
            return None
        ta, tb = self.chance(0.3), self.chance(0.4)
        k, m = (x.shape[0], x.shape[1]) if ta else (x.shape[1], x.shape[0])
        if k is None:
            return None
        n = self.size()
        w = self.weights(*((n, k) if tb else (k, n)))
        c = self.rng.choice([None, [n], [1, n], [1], [], *([[m, 1], [m, n]] if m else [])])
        attrs = {"alpha": 0.5, "beta": 1.5} if self.chance(0.4) else {}
        return self.node(
            "Gemm",
            [x, w, self.weights(*c) if c is not None else None],
            transA=int(ta),
            transB=int(tb),
            **attrs,
        )

    def axes(self, x: Tensor, most: int = 4) -> list[int]:
        chosen = self.rng.sample(range(x.rank), self.rng.randint(1, min(most, x.rank)))
        return [a - x.rank if self.chance(0.3) else a for a in chosen]

    def op_reduce(self) -> Any:
        x = self.pick("fi", range(1, 7))
        if x is None:
            return None
        op = self.rng.choice(REDUCTIONS)
        if x.values[0].dtype.kind != "f" and op in ("ReduceL2", "ReduceLogSumExp"):
            return None  # roots and logarithms of integers: ONNX does not say how they are rounded
        if op == "ReduceMean" and not all(v.size for v in x.values):
            return None  # 0 / 0, which onnxruntime calls 0 and onnx.reference NaN
        keep = int(self.chance(0.6))
        attrs: dict[str, Any] = {"keepdims": keep}
        inputs: list[Tensor | None] = [x]
        if self.chance(0.85):
            if op == "ReduceSum" or self.model.opset >= 18:
                inputs.append(self.operand(np.array(self.axes(x))))
            else:
                attrs["axes"] = self.axes(x)
        return self.node(op, inputs, **attrs)

    def op_arg(self) -> Any:
        x = self.pick("fi", range(1, 7))
        return x and self.node(
            self.rng.choice(["ArgMax", "ArgMin"]),
            [x],
            axis=self.axes(x, 1)[0],
            keepdims=int(self.chance(0.5)),
            select_last_index=int(self.chance(0.3)),
        )

    def op_cumsum(self) -> Any:
        x = self.pick("fi", range(1, 5))
        return x and self.node(
            "CumSum",
            [x, self.operand(np.int64(self.axes(x, 1)[0]))],
            exclusive=int(self.chance(0.4)),
            reverse=int(self.chance(0.4)),
        )

    def op_softmax(self) -> Any:
        x = self.pick("f", range(1, 7))
        return x and self.node(
            self.rng.choice(["Softmax", "Softmax", "LogSoftmax"]), [x], axis=self.axes(x, 1)[0]
        )

    def op_norm(self) -> Any:
        op = self.rng.choice(
            [
                "LayerNormalization",
                "InstanceNormalization",
                "BatchNormalization",
                "LpNormalization",
                "LRN",
                "LayerNormalization",
            ]
        )
        x = self.pick("f", range(2, 5), lambda t: isinstance(t.shape[1], int))
        if x is None:
            return None
        c = int(x.shape[1] or 1)
        if op == "LayerNormalization":
            axis = self.rng.randint(1, x.rank - 1)
            if self.model.opset < 17 or None in x.shape[axis:]:
                return None
            shape = [int(d or 1) for d in x.shape[axis:]]
            return self.node(
                op,
                [x, self.weights(*shape), self.weights(*shape) if self.chance(0.7) else None],
                axis=axis,
            )
        if op == "InstanceNormalization":
            return self.node(op, [x, self.weights(c), self.weights(c)])
        if op == "BatchNormalization":
            return self.node(
                op,
                [
                    x,
                    self.weights(c),
                    self.weights(c),
                    self.weights(c),
                    self.weights(c, lo=0.5, hi=2),
                ],
            )
        if op == "LRN":
            return self.node(op, [x], size=self.rng.choice([1, 3, 5]))
        return self.node(op, [x], axis=self.axes(x, 1)[0], p=self.rng.choice([1, 2]))

    def op_transpose(self) -> Any:
        x = self.pick("fiub", range(2, 7))
        if x is None:
            return None
        perm = list(range(x.rank))
        self.rng.shuffle(perm)
        return self.node("Transpose", [x], **({"perm": perm} if self.chance(0.9) else {}))

    def op_reshape(self) -> Any:
        x = self.pick("fiub", range(1, 6))
        if x is None:
            return None
        if None in x.shape:
            # Keep the axes up to the symbolic one as they are, or merge everything else.
            at = x.shape.index(None)
            rest = [int(d) for k, d in enumerate(x.shape) if k > at and d is not None]
            if x.shape.count(None) > 1 or self.chance(0.3):
                return self.node("Reshape", [x, self.ints(0, -1)])
            target = [0] * at + [-1, *self.split_factors(math.prod(rest))]
            return self.node("Reshape", [x, self.ints(*target)])
        target = self.split_factors(math.prod(int(d or 1) for d in x.shape))
        if self.chance(0.4):
            target[self.rng.randrange(len(target))] = -1
        return self.node("Reshape", [x, self.ints(*target)])

    def split_factors(self, n: int) -> list[int]:
        out = [1] * self.rng.randint(1, 4)
        for p in range(2, n + 1):
            while n % p == 0:
                out[self.rng.randrange(len(out))] *= p
                n //= p
        return out

    def op_shape(self) -> Any:
        """A reshape or an expand whose target is computed from a shape."""
        x = self.pick("f", range(2, 6))
        if x is None:
            return None
        shape = self.node("Shape", [x])
        if not shape:
            return None
        a, b = sorted(self.rng.sample(range(x.rank + 1), 2))
        parts = []
        for lo, hi in ((0, a), (b, x.rank)):
            if lo < hi:
                part = self.node("Slice", [shape[0], self.ints(lo), self.ints(hi)])
                if not part:
                    return None
                parts.append(part[0])
        target = self.node("Concat", [*parts[:1], self.ints(-1), *parts[1:]], axis=0)
        return target and self.node("Reshape", [x, target[0]])

    def op_dynamic_expand(self) -> Any:
        x, y = self.pick("fi", range(1, 4)), self.pick("f", range(1, 5))
        if x is None or y is None:
            return None
        shape = self.node("Shape", [y])
        return shape and self.node("Expand", [x, shape[0]])

    def op_size_arithmetic(self) -> Any:
        """A size as a number that data are divided by."""
        x = self.pick("f", range(1, 5))
        if x is None:
            return None
        shape = self.node("Shape", [x])
        one = shape and self.node(
            "Gather", [shape[0], self.const(np.int64(self.rng.randrange(x.rank)))], axis=0
        )
        number = one and self.node("Cast", [one[0]], to=1)
        return number and self.node(self.rng.choice(["Div", "Mul", "Add"]), [x, number[0]])

    def op_axes(self) -> Any:
        x = self.pick("fiub", range(1, 6))
        if x is None:
            return None
        op = self.rng.choice(["Flatten", "Unsqueeze", "Squeeze"])
        if op == "Flatten":
            return self.node(op, [x], axis=self.rng.randint(-x.rank, x.rank))
        if op == "Unsqueeze":
            return self.node(op, [x, self.ints(self.rng.randint(-x.rank - 1, x.rank))])
        ones = [k for k, d in enumerate(x.shape) if d == 1]
        return ones and self.node(
            op, [x, self.ints(*self.rng.sample(ones, self.rng.randint(1, len(ones))))]
        )

    def op_slice(self) -> Any:
        x = self.pick("fiub", range(1, 6))
        if x is None:
            return None
        axes = self.rng.sample(range(x.rank), self.rng.randint(1, min(3, x.rank)))
        starts, ends, steps = [], [], []
        for _ in axes:
            step = self.rng.choice([1, 1, 1, 2, 3, -1, -2])
            a, b = (
                self.rng.choice([0, 0, 1, 2, -3, -1, -100]),
                self.rng.choice([3, 5, -1, 2**31 - 1, 2**63 - 1, 1000]),
            )
            if step < 0:
                a, b = (
                    self.rng.choice([-1, 4, 1000, 2**31 - 1]),
                    self.rng.choice([0, 1, -1000, -(2**63), -5]),
                )
            starts.append(a)
            ends.append(b)
            steps.append(step)
        return self.node(
            "Slice",
            [x, self.position(starts), self.position(ends), self.ints(*axes),
                self.operand(np.array(steps))],
        )  # fmt: skip

    def op_concat(self) -> Any:
        x = self.pick("fiub", range(1, 6))
        if x is None:
            return None
        axis = self.rng.randrange(x.rank)
        parts = [x]
        for _ in range(self.rng.randint(1, 3)):

            def fits(t: Tensor) -> bool:
                return (
                    t.dtype == x.dtype
                    and t.rank == x.rank
                    and all(a == b for k, (a, b) in enumerate(zip(t.shape, x.shape)) if k != axis)
                )

            other = self.pick("fiub", want=fits)
            if self.chance(0.25) and None not in (*x.shape[:axis], *x.shape[axis + 1 :]):
                shape = [int(d or 1) for d in x.shape]
                shape[axis] = self.size(5)
                other = self.const(self.draw(shape, x.dtype))
            parts.append(other or x)
        self.rng.shuffle(parts)
        return self.node("Concat", parts, axis=axis - x.rank if self.chance(0.3) else axis)

    def op_split(self) -> Any:
        x = self.pick("fiub", range(1, 6), lambda t: any(d and d > 1 for d in t.shape))
        if x is None:
            return None
        axis = self.rng.choice([k for k, d in enumerate(x.shape) if d and d > 1])
        n = int(x.shape[axis] or 0)
        if self.chance(0.3) and n % 2 == 0:
            return self.node(
                "Split", [x], 2, axis=axis, **({"num_outputs": 2} if self.model.opset >= 18 else {})
            )
        first = self.rng.randint(1, n - 1)
        parts = [first, n - first]
        if parts[1] > 1 and self.chance(0.5):
            parts[1:] = [1, parts[1] - 1]
        return self.node("Split", [x, self.ints(*parts)], len(parts), axis=axis)

    def op_gather(self) -> Any:
        x = self.pick("fiub", range(1, 5))
        if x is None:
            return None
        axis = self.rng.randrange(x.rank)
        n = min(v.shape[axis] for v in x.values)
        kind = self.rng.choice(["Gather", "Gather", "GatherElements", "GatherND"])
        if kind == "Gather":
            shape = self.rng.choice([[], [3], [2, 2], [5], [1]])
            return self.node(
                "Gather", [x, self.operand(self.draw(shape, "int64", -n, n - 1))], axis=axis
            )
        if kind == "GatherElements":
            if None in x.shape:
                return None
            shape = [int(d or 1) for d in x.shape]
            shape[axis] = self.rng.choice([1, 2, 5])
            return self.node(kind, [x, self.const(self.draw(shape, "int64", -n, n - 1))], axis=axis)
        n = min(v.shape[0] for v in x.values)
        return self.node(
            "GatherND", [x, self.const(self.draw([self.rng.choice([1, 3]), 1], "int64", 0, n - 1))]
        )

    def op_gather_input(self) -> Any:
        """Indices that are computed: an argmax or an integer input."""
        x, i = (
            self.pick("f", range(1, 4)),
            self.pick("i", range(1, 3), lambda t: t.dtype == "int64"),
        )
        return x and i and self.node("Gather", [x, i], axis=self.rng.randrange(x.rank))

    def op_pad(self) -> Any:
        x = self.pick("f", range(1, 5))
        if x is None:
            return None
        mode = self.rng.choice(["constant", "constant", "reflect", "edge", "wrap"])
        pads = [
            self.rng.choice([0, 0, 1, 2, *([-1] if mode == "constant" else [])])
            for _ in range(2 * x.rank)
        ]
        value = (
            [self.const(np.float32(self.rng.choice([0, 1.5, -1])))]
            if mode == "constant" and self.chance(0.7)
            else []
        )
        return self.node("Pad", [x, self.ints(*pads), *value], mode=mode)

    def op_resize(self) -> Any:
        x = self.pick("f", (3, 4))
        if x is None:
            return None
        mode = self.rng.choice(["nearest", "linear", "linear", "cubic"])
        attrs: dict[str, Any] = {
            "mode": mode,
            "coordinate_transformation_mode": self.rng.choice(
                ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]
            ),
        }
        if mode == "nearest":
            attrs["nearest_mode"] = self.rng.choice(
                ["round_prefer_floor", "floor", "ceil", "round_prefer_ceil"]
            )
        spatial = x.rank - 2
        if self.chance(0.5) or None in x.shape:
            scales = [1.0, 1.0] + [
                self.rng.choice([0.5, 1.0, 1.5, 2.0, 2.0, 3.0]) for _ in range(spatial)
            ]
            return self.node("Resize", [x, None, self.const(np.array(scales, np.float32))], **attrs)
        sizes = [int(d or 1) for d in x.shape[:2]] + [self.size(17) for _ in range(spatial)]
        return self.node("Resize", [x, None, None, self.ints(*sizes)], **attrs)

    def op_expand(self) -> Any:
        x = self.pick("fib", range(1, 5), lambda t: 1 in t.shape)
        if x is None:
            return None
        shape = [self.size(7) if d == 1 else 1 for d in x.shape]
        if self.chance(0.2):
            shape = [2, *shape]
        return self.node("Expand", [x, self.ints(*shape)])

    def op_tile(self) -> Any:
        x = self.pick("fib", range(1, 5))
        return x and self.node(
            "Tile", [x, self.ints(*(self.rng.choice([1, 1, 2, 3]) for _ in range(x.rank)))]
        )

    def op_depth(self) -> Any:
        x = self.pick("f", (4,))
        if x is None:
            return None
        if self.chance(0.5):
            return self.node("DepthToSpace", [x], blocksize=2, mode=self.rng.choice(["DCR", "CRD"]))
        return self.node("SpaceToDepth", [x], blocksize=2)

    def op_rest(self) -> Any:
        op = self.rng.choice(["Trilu", "OneHot", "EyeLike", "Einsum", "ConstantOfShape", "Range"])
        x = self.pick("f", (2, 3) if op != "EyeLike" else (2,))
        if op == "OneHot":
            i = self.pick("i", range(4), lambda t: t.dtype == "int64")
            return i and self.node(
                op,
                [i, self.const(np.int64(4)), self.const(np.array([0.5, 2], np.float32))],
                axis=self.rng.choice([-1, 0]),
            )
        if x is None:
            return None
        if op == "Trilu":
            return self.node(
                op,
                [x, self.const(np.int64(self.rng.choice([-1, 0, 1, 2])))],
                upper=int(self.chance(0.5)),
            )
        if op == "EyeLike":
            return self.node(op, [x], k=self.rng.choice([-1, 0, 1]))
        if op == "Einsum":
            equation = self.rng.choice(
                ["ij,ij->i", "ij,kj->ik", "ij->ji", "ij,ij->ij"]
                if x.rank == 2
                else ["bij,bkj->bik", "bij->bji", "bij,bij->b", "bij,bik->bjk"]
            )
            return self.node(op, [x, x] if "," in equation else [x], equation=equation)
        shape = self.node("Shape", [x])
        if op == "ConstantOfShape":
            return shape and self.node(
                op, [shape[0]], value=numpy_helper.from_array(np.array([1.25], np.float32))
            )
        last = shape and self.node(
            "Gather", [shape[0], self.const(np.int64(self.rng.randrange(x.rank)))]
        )
        return last and self.node(
            "Range",
            [self.const(np.int64(0)), last[0], self.const(np.int64(self.rng.choice([1, 2])))],
        )

    def op_quantised(self) -> Any:
        x = self.pick("iu", range(1, 5), lambda t: t.dtype in ("int8", "uint8"))
        if x is None:
            return None
        zero = self.const(np.array(1, x.dtype))
        if self.chance(0.5):
            return self.node(
                "DequantizeLinear",
                [x, self.const(np.float32(0.1)), zero if self.chance(0.7) else None],
            )
        if x.rank < 2 or x.shape[-1] is None:
            return None
        w = self.const(self.draw([x.shape[-1], self.size(9)], "int8", -5, 5))
        if self.chance(0.5):
            scale, end = self.const(np.float32(0.1)), self.const(np.array(2, x.dtype))
            none = self.const(np.int8(0))
            return self.node("QLinearMatMul", [x, scale, zero, w, scale, none, scale, end])
        return self.node("MatMulInteger", [x, w, zero if self.chance(0.5) else None])

    def op_quantise(self) -> Any:
        x = self.pick("f")
        if x is None:
            return None
        if self.chance(0.2):
            return self.node("DynamicQuantizeLinear", [x], 3)
        kinds = ["uint8", "int8", *(["int16", "uint16"] if self.model.opset >= 21 else [])]
        kind = self.rng.choice(kinds)
        zero = self.const(np.array(1 if kind[0] == "i" else 120, kind))
        if self.chance(0.3) and x.rank > 1 and isinstance(x.shape[1], int):
            c = x.shape[1]
            scales = self.weights(c, lo=0.3, hi=0.6)
            return self.node("QuantizeLinear", [x, scales, self.const(np.full(c, 1, kind))], axis=1)
        return self.node("QuantizeLinear", [x, self.const(np.float32(0.5)), zero])

    def op_few_bits(self) -> Any:
        """Weights of 4 bits, with a scale for each column or for each block of a column."""
        x = self.pick("f", (2, 3), lambda t: isinstance(t.shape[-1], int) and t.shape[-1] > 1)
        if x is None or self.model.opset < 21:
            return None
        k, n = int(x.shape[-1] or 1), self.size(9)
        few = self.rng.choice([onnx.TensorProto.INT4, onnx.TensorProto.UINT4])
        scale = self.weights(n, lo=0.1, hi=0.3)
        whole = self.const(self.draw([k, n], "int8", 0, 7).astype(np.float32))
        q = self.node("Cast", [whole], to=few)
        w = q and self.node("DequantizeLinear", [q[0], scale], axis=1)
        return w and self.node("MatMul", [x, w[0]])

    def op_normalised(self) -> Any:
        op = self.rng.choice(["Hardmax", "MeanVarianceNormalization", "GroupNormalization"])
        x = self.pick("f", (4,) if op.startswith("Mean") else (3, 4))
        if x is None:
            return None
        if op == "Hardmax":
            return self.node(op, [x], axis=self.axes(x, 1)[0])
        if op == "MeanVarianceNormalization":
            return self.node(op, [x], axes=[a % x.rank for a in self.axes(x)])
        c = x.shape[1]
        if c is None or self.model.opset < 21:
            return None
        groups = self.rng.choice([g for g in range(1, c + 1) if c % g == 0])
        return self.node(op, [x, self.weights(c), self.weights(c)], num_groups=groups)

    def op_grid_sample(self) -> Any:
        x = self.pick("f", (4,), lambda t: isinstance(t.shape[0], int))
        if x is None or self.model.opset < 17:
            return None
        grid = self.weights(int(x.shape[0] or 1), self.size(5), self.size(5), 2, lo=-1.3, hi=1.3)
        return self.node(
            "GridSample", [x, grid], align_corners=int(self.chance(0.5)),
            mode=("bilinear" if self.model.opset < 20 else "linear"),
            padding_mode=self.rng.choice(["zeros", "border", "reflection"]),
        )  # fmt: skip

    def op_diamond(self) -> Any:
        """Two ways from one value, together again."""
        x = self.pick("f")
        a = x and self.node(self.rng.choice(["Relu", "Sigmoid", "Tanh", "Neg", "Softplus"]), [x])
        b = x and self.node(self.rng.choice(["Abs", "Cos", "Erf", "Identity"]), [x])
        return a and b and self.node(self.rng.choice(["Add", "Mul", "Sub"]), [a[0], b[0]])

    # -- bodies

    def body(
        self, inputs: Sequence[Tensor], wanted: int, end: Callable[[], Sequence[Tensor] | None]
    ) -> tuple[onnx.GraphProto, list[Tensor]] | None:
        """A body with these inputs and about so many nodes, and what it reads from around it.

        end: adds the last nodes and gives the outputs.
        """
        around, seen, depth = self.model, self.tensors, self.depth
        name = f"{around.name}.b{self.bodies}"
        self.bodies, self.depth = self.bodies + 1, depth + 1
        self.model = Model(name, around.opset, around.sizes)
        self.tensors = [*self.rng.sample(seen, min(len(seen), 3)), *inputs]
        try:
            for _ in range(4 * wanted):
                if len(self.model.nodes) < wanted:
                    self.proposed(getattr(self, self.rng.choice(INSIDE)))
            outputs = end()
            inner, available = self.model, self.tensors
        finally:
            self.model, self.tensors, self.depth = around, seen, depth
        if not outputs:
            return None

        def info(t: Tensor) -> onnx.ValueInfoProto:
            kind = helper.np_dtype_to_tensor_dtype(t.values[0].dtype)
            # onnxruntime wants to know at least that k and the condition are scalars.
            return helper.make_tensor_value_info(t.name, kind, None if t.rank else ())

        graph = helper.make_graph(
            inner.nodes,
            name,
            [info(t) for t in inputs],
            [info(t) for t in outputs],
            [numpy_helper.from_array(t.values[0], t.name) for t in inner.constants],
        )
        read = {i for n in inner.nodes for i in read_by(n)}
        own = {t.name for t in inputs}
        return graph, [t for t in available if t in seen and t.name in read - own]

    def like(self, wanted: Tensor) -> Tensor | None:
        """A new tensor of a type, bounded, made of one that there is."""
        shapes = [v.shape for v in wanted.values]
        found = self.pick(
            "fiub",
            want=lambda t: t.dtype == wanted.dtype and [v.shape for v in t.values] == shapes,
        )
        if found is None:
            return None
        op = self.rng.choice(["Tanh", "Sigmoid", "Softsign"])
        made = self.node(op if wanted.dtype == "float32" else "Identity", [found])
        return made and made[0]  # type: ignore[return-value]

    def op_if(self) -> Any:
        """Two branches for what is known, or for what a run finds."""
        if self.depth > 1:
            return None
        like = self.pick("f", range(4))
        x = self.pick("f", range(1, 4))
        if like is None or x is None:
            return None
        if self.chance(0.3):
            condition = self.const(np.array(self.chance(0.5)))
        else:
            most = self.node("ReduceMax", [x], keepdims=0)
            found = most and self.node("Less", [most[0], self.const(np.float32(0.4))])
            if not found:
                return None
            condition = found[0]
        branches = []
        for _ in range(2):

            def end() -> list[Tensor] | None:
                made = self.like(like)
                return made and [made]  # type: ignore[return-value]

            # A branch has its values by capture alone.
            self.tensors.append(like)
            branches.append(self.body([], self.rng.randint(1, 3), end))
            self.tensors.pop()
        if not all(branches):
            return None
        (one, a), (other, b) = branches  # type: ignore[misc]
        return self.node("If", [condition], captured=[*a, *b], then_branch=one, else_branch=other)

    def op_loop(self) -> Any:
        """As often as is known, as an input says, or until what it computes ends it; or a Scan."""
        if self.depth > 1:
            return None
        picked = [self.pick("f", range(4)), self.pick("fi", range(4))]
        states = [t for t in picked[: self.rng.choice([1, 1, 2])] if t]
        if not states:
            return None
        prefix = f"{self.model.name}.s{self.bodies}"
        sizes = len(self.model.sizes)
        inside = [Tensor(f"{prefix}_{k}", t.values) for k, t in enumerate(states)]
        scanned = self.pick("f", (2, 3), lambda t: all(v.shape[0] for v in t.values))
        if scanned is not None and self.chance(0.3):
            row = Tensor(f"{prefix}_row", [v[0] for v in scanned.values])

            def rows() -> list[Tensor] | None:
                after = [self.like(t) for t in inside]
                row = self.pick("fi", range(4))
                return None if None in (*after, row) else self.own([*after, row])  # type: ignore

            made = self.body([*inside, row], self.rng.randint(1, 5), rows)
            return made and self.node(
                "Scan", [*states, scanned], len(states) + 1, made[1], body=made[0],
                num_scan_inputs=1, scan_input_directions=[int(self.chance(0.4))],
                scan_output_directions=[int(self.chance(0.4))],
            )  # fmt: skip
        k = Tensor(f"{prefix}_k", [np.array(0)] * sizes)
        go = Tensor(f"{prefix}_go", [np.array(True)] * sizes)
        way = self.rng.choice(["known", "given", "found"])
        collects = self.chance(0.6)

        def end() -> list[Tensor] | None:
            after: list[Tensor | None] = [self.like(t) for t in inside]
            if len({(*map(str, t.shape), t.dtype) for t in inside}) < len(inside):
                after = after[::-1] if self.chance(0.5) else [*inside[::-1]]
            again = self.node("Identity", [go])
            if way == "found" and after[0] is not None and after[0].dtype == "float32":
                most = self.node("ReduceMax", [after[0]], keepdims=0)
                limit = self.const(np.float32(self.rng.choice([0.5, 0.7, 0.9])))
                ended = most and self.node("Less", [most[0], limit])
                near = self.node("Less", [k, self.const(np.array(self.rng.randint(1, 7)))])
                again = ended and near and self.node("And", [ended[0], near[0]])
            row = self.pick("fib", range(4)) if collects else None
            outputs = [again and again[0], *after, *([row] if collects else [])]
            return None if None in outputs else self.own(outputs)  # type: ignore[arg-type]

        made = self.body([k, go, *inside], self.rng.randint(1, 6), end)
        if not made:
            return None
        times = self.const(np.array(self.rng.choice([0, 1, 2, 5])))
        if way == "found":
            times = self.const(np.array(self.rng.choice([4, 600])))
        if way == "given" and self.depth:
            return None
        if way == "given":
            most = self.const(np.array(9))
            found = self.node("Min", [self.input([], "int64"), most])
            if not found:
                return None
            times = found[0]
        return self.node(
            "Loop", [times, None, *states], len(states) + int(collects), made[1], body=made[0]
        )

    def own(self, outputs: Sequence[Tensor]) -> list[Tensor] | None:
        """The same, each of them of a node and none of them twice, as bodies give them."""
        out: list[Tensor] = []
        for t in outputs:
            if t.name in {n for node in self.model.nodes for n in node.output} and t not in out:
                out.append(t)
            else:
                made = self.node("Identity", [t])
                if not made:
                    return None
                out.append(made[0])
        return out


def make(seed: int, index: int) -> Model:
    """Model `index` of a seed. Those of one batch have one opset."""
    opset = random.Random(f"{seed}/{index // BATCH}/opset").choice([13, 17, 18, 21])
    return Maker(seed, index, opset).make()


# ---- running them --------------------------------------------------------------------------------


class Refused(Exception):
    """The transpiler does not take this model, and says so."""


def imported(models: Sequence[Model]) -> Graph:
    dims = {k: v for m in models for k, v in m.dims.items()}
    try:
        return load(whole(models), dims).graph
    except WebDNNError as error:
        raise Refused(f"{type(error).__name__}: {error}") from error


def feeds_of(models: Sequence[Model], k: int) -> dict[str, Array]:
    return {t.name: t.values[k % len(m.sizes)] for m in models for t in m.inputs}


def dims_of(models: Sequence[Model], k: int) -> dict[str, int]:
    return {name: m.sizes[k % len(m.sizes)] for m in models for name in m.dims}


def runs_of(models: Sequence[Model]) -> int:
    return max(len(m.sizes) for m in models)


Results = list[dict[str, Array]]  # for each run, outputs by name


def on_graph(models: Sequence[Model], work: Path | None = None, optimise: bool = True) -> Results:
    graph = imported(models)
    if optimise:
        graph = passes.run(graph, 0)
    verify(graph)
    return [
        interpret(graph, feeds_of(models, k), dims_of(models, k)) for k in range(runs_of(models))
    ]


def on_wasm(models: Sequence[Model], work: Path | None = None) -> Results:
    """The plain module, in Node, with guard bytes around buffers; compiled in a hurry."""
    from tests.test_cases_wasm import evaluate, values

    program = lower(passes.run(imported(models), 0), TARGETS["wasm"])
    built: dict[str, bytes] = {}

    def compiled(p: Program, addresses: Any, variants: Any) -> dict[str, bytes]:
        if not built:
            built["plain"] = hurried(p, addresses)
        return built

    results = []
    for k in range(runs_of(models)):
        feeds, dims = feeds_of(models, k), dims_of(models, k)
        after = run_program(program, values(program, feeds), dims, compiler=compiled)
        found = {}
        for t in program.outputs:
            shape = [d if isinstance(d, int) else evaluate(d, dims) for d in t.shape]
            if t.name not in program.alarms:
                found[t.name] = published(t, after[t.buffer], shape)
        results.append(shown(program.counts, found, dims))
    return results


def hurried(program: Program, addresses: Any) -> bytes:
    """The plain module, all kernels in one file, at -O1."""
    folder = zig.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    kernels, module = print_program(program, addresses)
    text = "\n".join((zig._prelude(any(k.doubles for k in kernels)), *(k.text for k in kernels)))
    parts = [zig._compile(t, ["-O1"], folder) for t in (text, module)]
    return zig._link(parts[::-1], False, folder)


class Browser:
    """WebGPU in headless Chromium, with guard words behind every buffer; opened when needed."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.page: Any = None
        self.count = 0

    def __call__(self, models: Sequence[Model], work: Path) -> Results:
        from webdnn.browser.check import _ELEMENTS, wire
        from webdnn.browser.engine import open_page
        from webdnn.descriptor import write as descriptor

        if self.page is None:
            mounts = {"/d/": work, "/t/": Path(__file__).parent}
            self.page = self.stack.enter_context(open_page("chromium", mounts=mounts, webgpu=True))
        self.count += 1
        program = lower(passes.run(imported(models), 0), TARGETS["webgpu"])
        descriptor.write(
            {TARGETS["webgpu"]: program}, work / str(self.count), "fuzz", report=lambda _: ""
        )
        arrays: dict[str, bytes] = {}
        runs = [
            {"inputs": wire(feeds_of(models, k), f"in/{k}/", arrays)}
            for k in range(runs_of(models))
        ]
        argument = {
            "descriptor": f"/d/{self.count}/",
            "options": {"backend": "webgpu"},
            "runs": runs,
            "layers": False,
        }
        reply = self.page.call("/t/cases_page.js", argument, arrays, timeout=570)
        assert reply.value["overwritten"] == 0, "guard words behind GPU buffers changed"
        return [
            {
                o["name"]: np.frombuffer(reply.arrays[o["array"]], _ELEMENTS[o["type"]]).reshape(
                    o["shape"]
                )
                for o in run["outputs"]
            }
            for run in reply.value["runs"]
        ]


Runner = Callable[[Sequence[Model], Path], Results]


# ---- judging -------------------------------------------------------------------------------------


def tolerances(model: Model, k: int, base: float) -> dict[str, float]:
    """Ten times what an ulp of the inputs does to an output, relative to its largest; or `base`."""
    rng = np.random.default_rng(k)
    run = session(model.proto())
    feeds = feeds_of([model], k)
    wanted = {t.name for t in model.inputs}
    feeds = {n: a for n, a in feeds.items() if n in wanted}
    clean = run.run(None, feeds)
    out = dict.fromkeys(model.outputs, base)
    for _ in range(2):
        for name, a, b in zip(
            model.outputs,
            clean,
            run.run(None, {n: noisy(rng, a, 1.2e-7) for n, a in feeds.items()}),
            strict=True,
        ):
            if a.dtype.kind == "f" and a.size:
                moved = np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30)
                out[name] = max(out[name], 10 * float(moved))
    return out


def problem(model: Model, found: Results, base: float) -> str:
    """What is wrong with the outputs of one model, or nothing."""
    for k, size in enumerate(model.sizes):
        tolerance: dict[str, float] | None = None
        at = f" at n={size}" if model.dims else ""
        for name in model.outputs:
            wanted, got = model.made[name].values[k], found[k][name]
            if got.shape != wanted.shape:
                return f"{name}{at}: shape {list(got.shape)} found, {list(wanted.shape)} expected"
            if wanted.dtype.kind != "f":
                if not np.array_equal(got.astype(wanted.dtype), wanted):
                    where = np.argwhere(got != wanted)
                    i = tuple(where[0])
                    return (
                        f"{name}{at}: {len(where)} of {wanted.size} differ; at "
                        f"{[int(j) for j in i]} {got[i]} found, {wanted[i]} expected"
                    )
                continue
            largest = max(float(np.abs(wanted).max(initial=0)), 1e-3)
            difference = np.abs(got.astype(np.float64) - wanted)
            if not wanted.size:
                continue
            if not difference.max() <= base * largest:
                tolerance = tolerance or tolerances(model, k, base)
                if not difference.max() <= tolerance[name] * largest:
                    wrong = ~(difference <= tolerance[name] * largest)
                    i = np.unravel_index(np.argmax(np.where(wrong, difference, -1)), wanted.shape)
                    return (
                        f"{name}{at}: {wrong.sum()} of {wanted.size} differ; at "
                        f"{[int(j) for j in i]} {got[i]:.7g} found, {wanted[i]:.7g} expected "
                        f"(largest {largest:.3g}, tolerance {tolerance[name]:.1g})"
                    )
    return ""


def verdict(model: Model, run: Runner, base: float, work: Path) -> str:
    """What is wrong with one model, run alone; "" if nothing is, or if it is refused."""
    try:
        return problem(model, run([model], work), base)
    except Refused:
        return ""
    except Exception as error:
        trace = traceback.extract_tb(error.__traceback__)
        where = next((f for f in reversed(trace) if "webdnn" in f.filename), trace[-1])
        text = str(error).strip()[-600:]
        return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {text}"


def shrunk(model: Model, fails: Callable[[Model], str], seconds: float) -> tuple[Model, str]:
    """A smaller model that fails as well (for whatever reason), and how."""
    end = time.monotonic() + seconds
    best, why = model.needed(), fails(model)
    sort = why.partition(":")[0] if " at " in why.partition(":")[0] else ""

    def attempt(candidate: Model) -> bool:
        nonlocal best, why
        if time.monotonic() > end:
            return False
        try:
            candidate = candidate.needed()
            if not candidate.inputs or not candidate.nodes:
                return False
            session(candidate.proto())
            found = fails(candidate)
        except Exception:
            return False
        if found and (not sort or found.startswith(sort[:20]) or " at n=" in sort):
            best, why = candidate, found
            return True
        return False

    def changed(**more: Any) -> Model:
        return replace(best, **more)

    progress = True
    while progress and time.monotonic() < end:
        progress = False
        if len(best.outputs) > 1:
            for name in list(best.outputs):
                if len(best.outputs) > 1:
                    others = [o for o in best.outputs if o != name]
                    progress |= attempt(changed(outputs=others))
        # Cut: the outputs of a node become inputs of the model. From the back: large parts first.
        for node in best.nodes[::-1]:
            made = [best.made[o] for o in node.output if o not in best.outputs]
            if not made or all(n is not node for n in best.nodes):
                continue
            nodes = [n for n in best.nodes if n is not node]
            if not all(_plain(t, best.sizes) for t in made):
                continue
            new = [Tensor(t.name, t.values, "input") for t in made]
            if not any(t.name in read_by(n) for n in nodes for t in new):
                continue
            progress |= attempt(changed(nodes=nodes, inputs=[*best.inputs, *new]))
        # End earlier: what a node reads is an output in place of the node's.
        for name in list(best.outputs):
            for node in [n for n in best.nodes if name in n.output]:
                for i in dict.fromkeys(node.input):
                    if i in best.made and i not in best.outputs:
                        others = [o for o in best.outputs if o != name]
                        progress |= attempt(changed(outputs=[*others, i]))
        if len(best.sizes) > 1:
            for k in range(len(best.sizes)):
                made = {n: Tensor(n, [t.values[k]], t.kind) for n, t in best.made.items()}
                progress |= attempt(
                    changed(
                        sizes=(best.sizes[k],),
                        made=made,
                        inputs=[Tensor(t.name, [t.values[k]], t.kind) for t in best.inputs],
                        constants=[Tensor(t.name, [t.values[0]], t.kind) for t in best.constants],
                    )
                )
                if len(best.sizes) == 1:
                    break
    return best, why


# ---- the command ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=50, help="models")
    parser.add_argument("--only", type=int, help="only the model of this number")
    parser.add_argument("--target", choices=SIDES, default="wasm")
    parser.add_argument("--shrink", type=float, default=120, help="seconds to shrink a failure")
    parser.add_argument("--save", type=Path, help="a folder for the models that fail")
    given = parser.parse_args(arguments)
    base = TOLERANCE[given.target]
    browser = Browser()
    run: Runner = {"graph": on_graph, "wasm": on_wasm, "webgpu": browser}[given.target]
    refused: Counter[str] = Counter()
    failures = passed = 0
    numbers = [given.only] if given.only is not None else range(given.count)

    def failed(model: Model, run: Runner, work: Path) -> None:
        nonlocal failures
        failures += 1
        why = verdict(model, run, base, work)
        small, less = (
            shrunk(model, lambda m: verdict(m, run, base, work), given.shrink)
            if why
            else (model, "only fails together with the others of its batch")
        )
        print(f"\nFAILED: model {model.name[1:]} of seed {given.seed}: {why}\nshrunk: {less}")
        print(f"sizes {small.sizes}" if small.dims else "", _text(small))
        if given.save:
            given.save.mkdir(parents=True, exist_ok=True)
            file = given.save / f"{given.target}_{given.seed}_{model.name}.onnx"
            file.write_bytes(small.proto().SerializeToString())
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder, browser.stack:
        work = Path(folder)
        groups: dict[int, list[Model]] = {}
        for k in numbers:
            model = make(given.seed, k)
            groups.setdefault(k // BATCH, []).append(model)
            last = k == numbers[-1] or (k + 1) % BATCH == 0
            try:
                imported([model])
            except Refused as error:
                refused[_general(str(error))] += 1
                groups[k // BATCH].pop()
            except Exception:
                failed(groups[k // BATCH].pop(), on_graph, work)
            else:
                for stage in (_unoptimised, on_graph):
                    if verdict(model, stage, base, work):
                        failed(groups[k // BATCH].pop(), stage, work)
                        break
            if not last:
                continue
            models = groups.pop(k // BATCH)
            if models and given.target != "graph":
                try:
                    found = run(models, work)
                    bad = [m for m in models if problem(m, found, base)]
                except Exception:
                    bad = [m for m in models if verdict(m, run, base, work)]
                    if not bad:
                        print("a batch fails as a whole, its models do not:")
                        traceback.print_exc()
                        failures += 1
                for m in bad:
                    failed(m, run, work)
                models = [m for m in models if m not in bad]
            passed += len(models)
            print(
                f"{k + 1}: {passed} right, {failures} wrong, {refused.total()} refused", flush=True
            )
    for text, count in refused.most_common():
        print(f"refused {count}: {text}")
    return 1 if failures else 0


def _plain(t: Tensor, sizes: Sequence[int]) -> bool:
    """Whether its open sizes are the symbolic dimension itself, so that it may be an input."""
    return all(
        d is not None or tuple(v.shape[k] for v in t.values) == tuple(sizes)
        for k, d in enumerate(t.shape)
    )


def _unoptimised(models: Sequence[Model], work: Path) -> Results:
    return on_graph(models, work, optimise=False)


def _text(model: Model) -> str:
    """The model as ONNX text, without the elements of large constants (--save keeps those)."""
    return re.sub(r"\{[^{}\n]{120,}\}", "{…}", onnx.printer.to_text(model.proto()))


def _general(text: str) -> str:
    """A message without the numbers of this model."""
    return re.sub(r"m\d+\.|(?<=[A-Za-z])\d+|'[^']*'", "…", text.replace("\n", " "))[:230]


if __name__ == "__main__":
    sys.exit(main())
