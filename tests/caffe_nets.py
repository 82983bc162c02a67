"""Caffe nets for tests: text, caffemodels written field by field, and whole architectures.

    text, shapes = ARCHITECTURES["alexnet"]()
    model = caffemodel(random_weights(np.random.default_rng(0), shapes))

The architectures are those of the papers, some with fewer units in their last layers, so that the
weights stay small enough for a test.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Weights = Mapping[str, Sequence[np.ndarray]]
Shapes = Mapping[str, Sequence[Sequence[int]]]


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def entry(number: int, body: bytes | int) -> bytes:
    """A field of the wire format: bytes, or a varint."""
    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    return varint(number << 3 | 2) + varint(len(body)) + body


def blob(array: np.ndarray, style: str = "packed") -> bytes:
    """A BlobProto: packed, unpacked, double, half (NVIDIA's) or legacy (four sizes)."""
    a = np.asarray(array, np.float32)
    shape = entry(7, entry(1, b"".join(map(varint, a.shape))))
    match style:
        case "unpacked":
            dims = entry(7, b"".join(entry(1, d) for d in a.shape))
            return dims + b"".join(b"\x2d" + struct.pack("<f", v) for v in a.ravel())
        case "double":
            return shape + entry(8, a.astype("<f8").tobytes())
        case "doubles":
            return shape + b"".join(b"\x41" + struct.pack("<d", v) for v in a.ravel())
        case "half":
            return shape + entry(10, 2) + entry(12, a.astype("<f2").tobytes())
        case "legacy":
            sizes = (1,) * (4 - a.ndim) + a.shape
            return b"".join(entry(k, d) for k, d in enumerate(sizes, 1)) + entry(5, a.tobytes())
        case "pieces":
            half = a.size // 2 * 4
            return shape + entry(5, a.tobytes()[:half]) + entry(5, a.tobytes()[half:])
    return shape + entry(5, a.tobytes())


def caffemodel(weights: Weights, style: str = "packed", version: int = 2) -> bytes:
    """A NetParameter with the blobs of layers by name."""
    out = entry(1, b"net")
    for name, arrays in weights.items():
        blobs = [blob(a, style) for a in arrays]
        if version == 2:
            body = entry(1, name.encode()) + entry(2, b"Any")
            out += entry(100, body + b"".join(entry(7, b) for b in blobs))
        elif version == 1:
            body = entry(2, b"x") + entry(4, name.encode()) + entry(5, 4)
            out += entry(2, body + b"".join(entry(6, b) for b in blobs))
        else:
            inner = entry(1, name.encode()) + b"".join(entry(50, b) for b in blobs)
            out += entry(2, entry(1, inner) + entry(2, b"x"))
    return out


def source(name: str, *dims: int) -> str:
    shape = " ".join(f"dim: {d}" for d in dims)
    body = f"input_param {{ shape {{ {shape} }} }}"
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" {body} }}\n'


def layer(
    name: str, kind: str, body: str = "", bottoms: Sequence[str] = ("x",), tops: Sequence[str] = ()
) -> str:
    ends = "".join(f' bottom: "{b}"' for b in bottoms)
    ends += "".join(f' top: "{t}"' for t in tops or (name,))
    return f'layer {{ name: "{name}" type: "{kind}"{ends} {body} }}\n'


def random_weights(
    rng: np.random.Generator, shapes: Mapping[str, Sequence[Sequence[int]]]
) -> Weights:
    """Weights that keep the scale of what goes through, so that outputs discriminate."""
    return {
        name: [
            (rng.normal(size=s) * (1.5 / np.sqrt(max(1, np.prod(s[1:]))))).astype(np.float32)
            for s in given_shapes
        ]
        for name, given_shapes in shapes.items()
    }


@dataclass
class Net:
    """A net that grows layer by layer; `channels` of each blob decide the shapes of weights."""

    text: str
    channels: dict[str, int]
    shapes: dict[str, list[list[int]]] = field(default_factory=dict)

    def add(self, name: str, kind: str, body: str, *bottoms: str, channels: int = 0) -> str:
        """A layer with one top of its own name."""
        self.text += layer(name, kind, body, bottoms)
        self.channels[name] = channels or self.channels[bottoms[0]]
        return name

    def conv(self, x: str, name: str, outputs: int, kernel: int, more: str = "") -> str:
        """A convolution and its ReLU, in place; `more`: stride, pad, group."""
        group = int(more.split("group: ")[1]) if "group" in more else 1
        self.shapes[name] = [[outputs, self.channels[x] // group, kernel, kernel], [outputs]]
        body = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"
        self.add(name, "Convolution", body, x, channels=outputs)
        self.text += layer(f"{name}/relu", "ReLU", "", [name], [name])
        return name

    def pool(
        self, x: str, name: str, kernel: int, stride: int, pad: int = 0, pool: str = "MAX"
    ) -> str:
        """A pooling layer."""
        body = f"pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.add(name, "Pooling", f"pooling_param {{ {body} }}", x)

    def norm(self, x: str, name: str) -> str:
        """Local response normalisation, strong enough to matter."""
        return self.add(name, "LRN", "lrn_param { local_size: 5 alpha: 0.5 beta: 0.75 }", x)

    def dense(self, x: str, name: str, outputs: int, inputs: int, relu: bool = True) -> str:
        """An inner product, with ReLU and dropout in place."""
        self.shapes[name] = [[outputs, inputs], [outputs]]
        body = f"inner_product_param {{ num_output: {outputs} }}"
        self.add(name, "InnerProduct", body, x, channels=outputs)
        if relu:
            self.text += layer(f"{name}/relu", "ReLU", "", [name], [name])
            self.text += layer(f"{name}/drop", "Dropout", "", [name], [name])
        return name

    def done(self, x: str) -> tuple[str, Shapes]:
        """The text and the shapes of the weights, after a softmax."""
        self.add("prob", "Softmax", "", x)
        return self.text, self.shapes


def _net(size: int) -> Net:
    head = f'input: "data"\ninput_dim: 10 input_dim: 3 input_dim: {size} input_dim: {size}\n'
    return Net(head, {"data": 3})


def alexnet(caffenet: bool = False) -> tuple[str, Shapes]:
    """Krizhevsky et al., 2012; CaffeNet pools before it normalises. 256 units for 4096."""
    net = _net(227)
    x = net.conv("data", "conv1", 96, 11, "stride: 4")
    for k, (outputs, kernel, more) in enumerate(
        ((256, 5, "pad: 2 group: 2"), (384, 3, "pad: 1")), 1
    ):
        for step in ("pool", "norm") if caffenet else ("norm", "pool"):
            x = net.pool(x, f"pool{k}", 3, 2) if step == "pool" else net.norm(x, f"norm{k}")
        x = net.conv(x, f"conv{k + 1}", outputs, kernel, more)
    x = net.conv(x, "conv4", 384, 3, "pad: 1 group: 2")
    x = net.conv(x, "conv5", 256, 3, "pad: 1 group: 2")
    x = net.pool(x, "pool5", 3, 2)
    x = net.dense(x, "fc6", 256, 256 * 6 * 6)
    x = net.dense(x, "fc7", 256, 256)
    return net.done(net.dense(x, "fc8", 100, 256, relu=False))


def vgg() -> tuple[str, Shapes]:
    """VGG-16 (Simonyan and Zisserman, arXiv 1409.1556) with a quarter of the channels."""
    net = _net(224)
    x = "data"
    for block, (outputs, count) in enumerate(((16, 2), (32, 2), (64, 3), (128, 3), (128, 3)), 1):
        for k in range(1, count + 1):
            x = net.conv(x, f"conv{block}_{k}", outputs, 3, "pad: 1")
        x = net.pool(x, f"pool{block}", 2, 2)
    x = net.dense(x, "fc6", 128, 128 * 7 * 7)
    return net.done(net.dense(x, "fc8", 100, 128, relu=False))


def googlenet() -> tuple[str, Shapes]:
    """Szegedy et al., arXiv 1409.4842, whole."""
    net = _net(224)
    x = net.conv("data", "conv1/7x7_s2", 64, 7, "pad: 3 stride: 2")
    x = net.norm(net.pool(x, "pool1/3x3_s2", 3, 2), "pool1/norm1")
    x = net.conv(x, "conv2/3x3_reduce", 64, 1)
    x = net.norm(net.conv(x, "conv2/3x3", 192, 3, "pad: 1"), "conv2/norm2")
    x = net.pool(x, "pool2/3x3_s2", 3, 2)
    table = {
        "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    for name, (one, three_in, three, five_in, five, last) in table.items():
        p = f"inception_{name}"
        parts = (
            net.conv(x, f"{p}/1x1", one, 1),
            net.conv(net.conv(x, f"{p}/3x3_reduce", three_in, 1), f"{p}/3x3", three, 3, "pad: 1"),
            net.conv(net.conv(x, f"{p}/5x5_reduce", five_in, 1), f"{p}/5x5", five, 5, "pad: 2"),
            net.conv(net.pool(x, f"{p}/pool", 3, 1, 1), f"{p}/pool_proj", last, 1),
        )
        x = net.add(f"{p}/output", "Concat", "", *parts, channels=one + three + five + last)
        if name in ("3b", "4e"):
            x = net.pool(x, f"pool{name[0]}/3x3_s2", 3, 2)
    x = net.pool(x, "pool5/7x7_s1", 7, 1, pool="AVE")
    return net.done(net.dense(x, "loss3/classifier", 1000, 1024, relu=False))


def residual() -> tuple[str, Shapes]:
    """A net of residual blocks with BatchNorm and Scale in place (He et al., arXiv 1512.03385)."""
    net = _net(64)
    x = "data"
    for k in range(4):
        outputs = 16 * (k + 1)
        branches = []
        for name, kernel, pad in ((f"res{k}a", 3, 1), (f"res{k}b", 1, 0)):
            net.shapes[name] = [[outputs, net.channels[x], kernel, kernel]]
            body = f"num_output: {outputs} kernel_size: {kernel} pad: {pad} stride: 2 "
            body = f"convolution_param {{ {body} bias_term: false }}"
            net.add(name, "Convolution", body, x, channels=outputs)
            net.shapes[f"bn_{name}"] = [[outputs], [outputs], [1]]
            net.shapes[f"scale_{name}"] = [[outputs], [outputs]]
            net.text += layer(f"bn_{name}", "BatchNorm", "", [name], [name])
            body = "scale_param { bias_term: true }"
            net.text += layer(f"scale_{name}", "Scale", body, [name], [name])
            branches.append(name)
        x = net.add(f"res{k}", "Eltwise", "", *branches)
        net.text += layer(f"res{k}/relu", "ReLU", "", [x], [x])
    x = net.add("pool", "Pooling", "pooling_param { pool: AVE global_pooling: true }", x)
    return net.done(net.dense(x, "fc", 50, 64, relu=False))


ARCHITECTURES: Mapping[str, Callable[[], tuple[str, Shapes]]] = {
    "alexnet": alexnet,
    "caffenet": lambda: alexnet(caffenet=True),
    "vgg": vgg,
    "googlenet": googlenet,
    "residual": residual,
}
