"""The seven networks of the race, each defined once and written in several ways.

    prepared = prepare("bert128")          # a folder of files, made once and kept
    prepared.plain, prepared.fused         # ONNX: standard operators; ONNX Runtime's own
    bert(Torch(...), 128)                  # the same network in PyTorch: pytorch.py

A definition asks a *writer* for layers. `Plain` writes standard ONNX operators, as exporters do;
`Fused` writes what ONNX Runtime's optimizer makes of a transformer; `pytorch.Torch` computes. All
draw their weights from one seed in the same order, so that one set of outputs is right for all.
Trained weights would give the same times: no kernel here looks at values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.flops import gflop
from tests.packages import building, cache_dir

Array = NDArray[Any]
Activation = Literal["relu", "relu6"] | None

SEED = 7


@dataclass(frozen=True)
class Sizes:
    """Of a transformer; those of BERT-base and of GPT-2 small."""

    width: int = 768
    heads: int = 12
    layers: int = 12
    vocabulary: int = 50257
    past: int = 511
    """Tokens in the cache before the step."""
    longest: int = 1024
    """Those that a cache of fixed size has room for."""

    def cache(self, tokens: int) -> tuple[int, ...]:
        """The shape of the keys, or values, of one layer."""
        return 1, self.heads, tokens, self.width // self.heads


def resnet50(w: Any) -> None:
    """ResNet-50 on one picture of 224×224."""
    x = w.max_pool(w.conv(w.image(224), 3, 64, 7, stride=2, act="relu"), 3, 2, 1)
    channels = 64
    for stage, (inner, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = w.conv(x, channels, inner, 1, act="relu")
            y = w.conv(y, inner, inner, 3, stride=stride, act="relu")
            y = w.conv(y, inner, 4 * inner, 1, gain=0.3)
            if not block:
                x = w.conv(x, channels, 4 * inner, 1, stride=stride, gain=0.7)
            x = w.relu(w.add(y, x))
            channels = 4 * inner
    w.output("y", w.classify(x, 2048, 1000))


def mobilenetv2(w: Any) -> None:
    """MobileNetV2 on one picture of 224×224."""
    x = w.conv(w.image(224), 3, 32, 3, stride=2, act="relu6")
    channels = 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    for expand, outer, blocks, first in [*stages, (6, 160, 3, 2), (6, 320, 1, 1)]:
        for block in range(blocks):
            stride = 1 if block else first
            inner = expand * channels
            y = x if expand == 1 else w.conv(x, channels, inner, 1, act="relu6")
            y = w.conv(y, inner, inner, 3, stride=stride, groups=inner, act="relu6")
            y = w.conv(y, inner, outer, 1, gain=0.7)
            x = w.add(x, y) if stride == 1 and channels == outer else y
            channels = outer
    w.output("y", w.classify(w.conv(x, 320, 1280, 1, act="relu6"), 1280, 1000))


def bert(w: Any, tokens: int) -> None:
    """The encoder of BERT-base on one sequence."""
    x = w.norm(w.embed(w.tokens(tokens), tokens, 0.5))
    for _ in range(w.sizes.layers):
        x, _ = w.add_norm(w.attention(x), x, w.sizes.width, 0.04)
        x, _ = w.add_norm(w.linear_gelu(x, "erf"), x, 4 * w.sizes.width, 0.04)
    w.output("y", x)


def gpt2(w: Any) -> None:
    """One step of GPT-2 small, or one like it: keys and values of tokens before are in a cache."""
    x = w.embed(w.tokens(1), 1, 0.2)
    y = w.norm(x)
    for layer in range(w.sizes.layers):
        y, x = w.add_norm(w.cached_attention(y, layer), x, w.sizes.width, 0.02)
        y, x = w.add_norm(w.linear_gelu(y, "tanh"), x, 4 * w.sizes.width, 0.02)
    w.output("y", w.head(y, w.sizes.vocabulary, 0.04))


def style(w: Any) -> None:
    """Style transfer (Johnson et al., instance normalisation) on one picture of 512×512."""

    def block(x: Any, inputs: int, outputs: int, size: int, stride: int = 1) -> Any:
        x = w.conv(w.reflect(x, size // 2), inputs, outputs, size, stride=stride, pad=0)
        return w.instance_norm(x, outputs)

    x = w.relu(block(w.image(512), 3, 32, 9))
    x = w.relu(block(x, 32, 64, 3, 2))
    x = w.relu(block(x, 64, 128, 3, 2))
    for _ in range(5):
        x = w.add(x, block(w.relu(block(x, 128, 128, 3)), 128, 128, 3))
    x = w.relu(block(w.double(x), 128, 64, 3))
    x = w.relu(block(w.double(x), 64, 32, 3))
    w.output("y", w.conv(w.reflect(x, 4), 32, 3, 9, pad=0))


def unet(w: Any) -> None:
    """U-Net of four levels on one picture of 512×512."""

    def double(x: Any, inputs: int, outputs: int) -> Any:
        return w.conv(w.conv(x, inputs, outputs, 3, act="relu"), outputs, outputs, 3, act="relu")

    x, kept, channels = w.image(512), [], 3
    for outputs in (32, 64, 128, 256):
        kept.append(double(x, channels, outputs))
        x, channels = w.max_pool(kept[-1], 2, 2, 0), outputs
    x = double(x, 256, 512)
    for outputs in (256, 128, 64, 32):
        x = double(w.join(w.conv_up(x, 2 * outputs, outputs), kept.pop()), 2 * outputs, outputs)
    w.output("y", w.conv(x, 32, 2, 1))


NETWORKS: Mapping[str, Callable[[Any], None]] = {
    "resnet50": resnet50,
    "mobilenetv2": mobilenetv2,
    "bert128": partial(bert, tokens=128),
    "bert384": partial(bert, tokens=384),
    "gpt2": gpt2,
    "style": style,
    "unet": unet,
}
TINY = Sizes(width=32, heads=4, layers=1, vocabulary=40, past=15, longest=24)
TRIALS: Mapping[str, Callable[[Any], None]] = {
    "tiny_bert": partial(bert, tokens=24),
    "tiny_gpt2": gpt2,
    "tiny_unet": lambda w: w.output("y", w.conv(w.relu(w.double(w.image(8))), 3, 4, 3)),
}
"""What shows on any machine that the race works."""
DEFINITIONS = {**NETWORKS, **TRIALS}
FUSED = ("tiny_bert", "tiny_gpt2", "bert128", "bert384", "gpt2")
"""Those that ONNX Runtime has operators of its own for."""


def sizes_of(name: str) -> Sizes:
    """Of the transformer `name`."""
    return TINY if name in TRIALS else Sizes()


class Weights:
    """Weights in the order in which a definition asks for them, of a fixed seed."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(SEED)

    def normal(self, shape: Sequence[int], std: float) -> Array:
        """float32, normally distributed."""
        return self._random.standard_normal(tuple(shape), np.float32) * np.float32(std)


class Plain:
    """Writes a network in ONNX's standard operators."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._weights = Weights()
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def model(self) -> onnx.ModelProto:
        """What was written so far."""
        graph = helper.make_graph(
            self._nodes, "network", self._inputs, self._outputs, self._constants
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Writes one operator; returns the name of its output, or the names."""
        number = len(self._nodes)
        names = [f"{kind}_{number}_{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, inputs, names, name=f"{kind}_{number}", **attributes)
        )
        return names[0] if outputs == 1 else names

    def constant(self, value: Array | Sequence[int]) -> str:
        """Writes a constant; a list is one of int64."""
        array = np.array(value, np.int64) if isinstance(value, list) else np.asarray(value)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        """Writes a float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def weight(self, shape: Sequence[int], std: float) -> str:
        """Writes the next weight."""
        return self.constant(self._weights.normal(shape, std))

    def input(self, name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> str:
        """Declares an input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(self, name: str, value: str, shape: Sequence[int] | None = None) -> None:
        """Names a value and makes it an output."""
        for node in self._nodes:
            node.output[:] = [name if x == value else x for x in node.output]
            node.input[:] = [name if x == value else x for x in node.input]
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def image(self, side: int) -> str:
        """The input of a network of pictures."""
        return self.input("x", (1, 3, side, side))

    def tokens(self, count: int) -> str:
        """The input of a network of text."""
        return self.input("input_ids", (1, count), TensorProto.INT32)

    def conv(
        self, x: str, inputs: int, outputs: int, size: int, *, stride: int = 1,
        pad: int | None = None, groups: int = 1, act: Activation = None, gain: float = 1.0,
    ) -> str:  # fmt: skip
        """A convolution with bias."""
        pad = size // 2 if pad is None else pad
        std = gain * (2 / (inputs // groups * size * size)) ** 0.5
        weight = self.weight((outputs, inputs // groups, size, size), std)
        y = self.node(
            "Conv", [x, weight, self.weight((outputs,), 0.02)],
            kernel_shape=[size, size], strides=[stride, stride], pads=[pad] * 4, group=groups,
        )  # fmt: skip
        if act == "relu6":
            return str(self.node("Clip", [y, self.number(0), self.number(6)]))
        return self.relu(y) if act else str(y)

    def conv_up(self, x: str, inputs: int, outputs: int) -> str:
        """A transposed convolution that doubles both sides."""
        weight = self.weight((inputs, outputs, 2, 2), (1 / inputs) ** 0.5)
        bias = self.weight((outputs,), 0.02)
        return str(
            self.node("ConvTranspose", [x, weight, bias], kernel_shape=[2, 2], strides=[2, 2])
        )

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return str(self.node("Relu", [x]))

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return str(self.node("Add", [x, y]))

    def join(self, x: str, y: str) -> str:
        """The channels of both."""
        return str(self.node("Concat", [x, y], axis=1))

    def max_pool(self, x: str, size: int, stride: int, pad: int) -> str:
        """The largest of each window."""
        sides = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [pad] * 4}
        return str(self.node("MaxPool", [x], **sides))

    def reflect(self, x: str, pad: int) -> str:
        """A border that mirrors the picture."""
        return str(self.node("Pad", [x, self.constant([0, 0, pad, pad] * 2)], mode="reflect"))

    def double(self, x: str) -> str:
        """Each pixel four times."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return str(
            self.node(
                "Resize", [x, "", scales], mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        )  # fmt: skip

    def instance_norm(self, x: str, channels: int) -> str:
        """Instance normalisation."""
        return str(self.node("InstanceNormalization", [x, *self._unit(channels)], epsilon=1e-5))

    def classify(self, x: str, channels: int, classes: int) -> str:
        """The mean over all places, and a product."""
        x = self.node("Flatten", [self.node("GlobalAveragePool", [x])], axis=1)
        weight = self.weight((classes, channels), 0.02)
        return str(self.node("Gemm", [x, weight, self.weight((classes,), 0.02)], transB=1))

    def embed(self, ids: str, tokens: int, std: float) -> str:
        """A row for each token, and one for its place."""
        rows = self.node("Gather", [self.weight((1024, self.sizes.width), 0.5), ids], axis=0)
        return self.add(rows, self.weight((1, tokens, self.sizes.width), std))

    def product(self, x: str, weight: str) -> str:
        """A matrix product."""
        return str(self.node("MatMul", [x, weight]))

    def head(self, x: str, outputs: int, std: float) -> str:
        """A product without bias."""
        return self.product(x, self.weight((self.sizes.width, outputs), std))

    def norm(self, x: str) -> str:
        """Layer normalisation."""
        return str(
            self.node(
                "LayerNormalization", [x, *self._unit(self.sizes.width)], axis=-1, epsilon=1e-5
            )
        )

    def add_norm(self, a: str, x: str, inputs: int, std: float) -> tuple[str, str]:
        """x + (a product of `a`), normalised and not."""
        product = self.product(a, self.weight((inputs, self.sizes.width), std))
        total = self.add(x, self.add(product, self.weight((self.sizes.width,), 0.02)))
        return self.norm(total), total

    def linear_gelu(self, x: str, kind: Literal["erf", "tanh"]) -> str:
        """A product four times as wide, and GELU."""
        product = self.product(x, self.weight((self.sizes.width, 4 * self.sizes.width), 0.04))
        y = self.add(product, self.weight((4 * self.sizes.width,), 0.02))
        if kind == "erf":
            z = self.node("Erf", [self.node("Div", [y, self.number(2**0.5)])])
            half = self.node("Mul", [y, self.add(z, self.number(1))])
            return str(self.node("Mul", [half, self.number(0.5)]))
        cube = self.node("Mul", [y, self.node("Mul", [y, y])])
        z = self.add(y, self.node("Mul", [cube, self.number(0.044715)]))
        z = self.node("Tanh", [self.node("Mul", [z, self.number(0.7978845608)])])
        half = self.node("Mul", [y, self.number(0.5)])
        return str(self.node("Mul", [self.add(z, self.number(1)), half]))

    def attention(self, x: str) -> str:
        """Every token looks at every one."""
        weight = self._weights.normal((self.sizes.width, 3 * self.sizes.width), 0.04)
        bias = self._weights.normal((3 * self.sizes.width,), 0.02)
        parts = [
            self.add(self.product(x, self.constant(w)), self.constant(b))
            for w, b in zip(np.split(weight, 3, 1), np.split(bias, 3), strict=True)
        ]
        q, k, v = (self._heads(part) for part in parts)
        return self._attend(q, k, v)

    def cached_attention(self, x: str, layer: int) -> str:
        """The new token looks at those of the cache and at itself; the cache grows by it."""
        product = self.product(x, self.weight((self.sizes.width, 3 * self.sizes.width), 0.04))
        both = self.add(product, self.weight((3 * self.sizes.width,), 0.02))
        parts = self.node("Split", [both, self.constant([self.sizes.width] * 3)], 3, axis=2)
        q, *new = (self._heads(part) for part in parts)
        grown = []
        for name, value in zip("kv", new, strict=True):
            past = self.input(f"past_{name}{layer}", self.sizes.cache(self.sizes.past))
            grown.append(self.node("Concat", [past, value], axis=2))
        y = self._attend(q, *grown)
        for name, value in zip("kv", grown, strict=True):
            self.output(f"present_{name}{layer}", value, self.sizes.cache(self.sizes.past + 1))
        return y

    def _unit(self, size: int) -> list[str]:
        return [self.constant(np.ones(size, np.float32)), self.constant(np.zeros(size, np.float32))]

    def _heads(self, x: str) -> str:
        split = self.node(
            "Reshape",
            [x, self.constant([1, -1, self.sizes.heads, self.sizes.width // self.sizes.heads])],
        )
        return str(self.node("Transpose", [split], perm=[0, 2, 1, 3]))

    def _attend(self, q: str, k: str, v: str) -> str:
        scores = self.product(q, self.node("Transpose", [k], perm=[0, 1, 3, 2]))
        scaled = self.node(
            "Div", [scores, self.number((self.sizes.width // self.sizes.heads) ** 0.5)]
        )
        y = self.product(self.node("Softmax", [scaled], axis=-1), v)
        joined = self.node("Transpose", [y], perm=[0, 2, 1, 3])
        return str(self.node("Reshape", [joined, self.constant([1, -1, self.sizes.width])]))


class Fused(Plain):
    """Writes a transformer in the operators that ONNX Runtime has for its parts."""

    def own(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Writes one of those operators."""
        return self.node(kind, inputs, outputs, domain="com.microsoft", **attributes)

    def attention(self, x: str) -> str:
        """As `Plain.attention`, in one operator."""
        weights = (
            self.weight((self.sizes.width, 3 * self.sizes.width), 0.04),
            self.weight((3 * self.sizes.width,), 0.02),
        )
        return str(self.own("Attention", [x, *weights], num_heads=self.sizes.heads))

    def cached_attention(self, x: str, layer: int) -> str:
        """As `Plain.cached_attention`, in a cache of fixed size that is written in place."""
        if not layer:
            self._count = self.input("seqlens_k", (1,), TensorProto.INT32)
            self._total = self.constant(np.array(self.sizes.past + 1, np.int32))
        product = self.product(x, self.weight((self.sizes.width, 3 * self.sizes.width), 0.04))
        both = self.add(product, self.weight((3 * self.sizes.width,), 0.02))
        past = [
            self.input(f"past_{name}{layer}", self.sizes.cache(self.sizes.longest)) for name in "kv"
        ]
        y, *grown = self.own(
            "GroupQueryAttention", [both, "", "", *past, self._count, self._total], 3,
            num_heads=self.sizes.heads, kv_num_heads=self.sizes.heads,
        )  # fmt: skip
        for name, value in zip("kv", grown, strict=True):
            self.output(f"present_{name}{layer}", value, self.sizes.cache(self.sizes.longest))
        return str(y)

    def add_norm(self, a: str, x: str, inputs: int, std: float) -> tuple[str, str]:
        """As `Plain.add_norm`, in one operator and the product."""
        product = self.product(a, self.weight((inputs, self.sizes.width), std))
        places = [product, x, *self._unit(self.sizes.width), self.weight((self.sizes.width,), 0.02)]
        y, _, _, total = self.own("SkipLayerNormalization", places, 4, epsilon=1e-5)
        return y, total

    def linear_gelu(self, x: str, kind: Literal["erf", "tanh"]) -> str:
        """As `Plain.linear_gelu`, in one operator and the product."""
        product = self.product(x, self.weight((self.sizes.width, 4 * self.sizes.width), 0.04))
        bias = self.weight((4 * self.sizes.width,), 0.02)
        return str(self.own("BiasGelu" if kind == "erf" else "FastGelu", [product, bias]))

    def model(self) -> onnx.ModelProto:
        """As `Plain.model`; outputs that nothing reads are left out, as the optimizer does."""
        read = {x for node in self._nodes for x in node.input} | {x.name for x in self._outputs}
        for node in self._nodes:
            names = [name if name in read else "" for name in node.output]
            while not names[-1]:
                names.pop()
            node.output[:] = names
        return super().model()


@dataclass(frozen=True)
class Prepared:
    """The files of one network: ONNX, inputs, and the outputs that onnxruntime computes."""

    name: str
    folder: Path

    @property
    def plain(self) -> Path:
        """Standard ONNX."""
        return self.folder / "plain.onnx"

    @property
    def fused(self) -> Path | None:
        """With ONNX Runtime's own operators, if it has some for this network."""
        return self.folder / "fused.onnx" if self.name in FUSED else None

    @property
    def gflop(self) -> float:
        """Of one run: products and convolutions, two for each multiply-add."""
        return float(json.loads((self.folder / "facts.json").read_text())["gflop"])

    def inputs(self, fused: bool = False) -> dict[str, Array]:
        """What is fed to the network; the fused one has caches of fixed size."""
        with np.load(self.folder / "inputs.npz") as file:
            inputs: dict[str, Array] = dict(file)
        caches = [name for name in inputs if name.startswith("past_")]
        sizes = sizes_of(self.name)
        if fused and caches:
            for name in caches:
                room = np.zeros(sizes.cache(sizes.longest), np.float32)
                room[:, :, : sizes.past] = inputs[name]
                inputs[name] = room
            inputs["seqlens_k"] = np.array([sizes.past], np.int32)
        return inputs

    def expected(self) -> dict[str, Array]:
        """Every output of the plain network."""
        with np.load(self.folder / "expected.npz") as file:
            return dict(file)


def prepare(name: str) -> Prepared:
    """The network's files, made when they are not there: up to a minute and 1 GB."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = cache_dir() / "made" / f"gpu-{name}-{digest}"
    with building(folder) as empty:
        if empty:
            _make(name, empty)
    return Prepared(name, folder)


def _make(name: str, folder: Path) -> None:
    import onnxruntime

    sizes = sizes_of(name)
    for writer, file in ((Plain(sizes), "plain"), (Fused(sizes), "fused")):
        if file == "plain" or name in FUSED:
            DEFINITIONS[name](writer)
            onnx.save(writer.model(), folder / f"{file}.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        folder / "plain.onnx", options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(SEED + 1)
    inputs = {
        value.name: random.integers(0, 1000, value.shape, np.int32)
        if value.type == "tensor(int32)"
        else random.standard_normal(value.shape, np.float32)
        for value in session.get_inputs()
    }
    np.savez(folder / "inputs.npz", **inputs)
    outputs = [value.name for value in session.get_outputs()]
    expected = dict(zip(outputs, session.run(outputs, inputs), strict=True))
    np.savez(folder / "expected.npz", **expected)
    facts = {"gflop": gflop(folder / "plain.onnx", inputs)}
    (folder / "facts.json").write_text(json.dumps(facts))
