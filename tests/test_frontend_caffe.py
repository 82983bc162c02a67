"""Caffe nets against genuine Caffe (fixtures that it made once) and against OpenCV's reading.

Nets are written as text and their caffemodels field by field (`tests.caffe_nets`), since no Caffe
is installed. Layers run as one wasm program in Node, whole architectures are read in numpy.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.caffe_nets import (
    ARCHITECTURES,
    Weights,
    caffemodel,
    entry,
    layer,
    random_weights,
    source,
    varint,
)
from tests.interpret import interpret
from tests.jobs import Job, interpreted, run_jobs
from tools import framework_tables
from webdnn import ops, passes
from webdnn.browser.reference import reference
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from webdnn.frontend import Imported, format_of, load
from webdnn.frontend.caffe.layers import LAYERS
from webdnn.frontend.caffe.text import parse
from webdnn.graph import Graph

FIXTURES = Path(__file__).parent / "fixtures" / "caffe"


def given(text: str, weights: Weights | None = None, **dims: int) -> Imported:
    """A net of text and arrays, imported."""
    return load(text.encode(), dims, weights=caffemodel(weights) if weights else None)


def problem(text: str | bytes, weights: bytes | None = None, **dims: int) -> str:
    """The one error that a net gives."""
    with pytest.raises(WebDNNError) as error:
        load(text.encode() if isinstance(text, str) else text, dims, weights=weights)
    return str(error.value)


# ---- genuine Caffe ------------------------------------------------------------------------------


def genuine() -> list[Job]:
    """Each net of the fixtures as a job: what Caffe 1.0 computed is expected."""
    expected = np.load(FIXTURES / "expected.npz")
    jobs = []
    for path in sorted(FIXTURES.glob("*.prototxt")):
        name = path.stem

        def arrays(side: str, name: str = name) -> dict[str, np.ndarray]:
            start = f"{name}/{side}/"
            return {k.removeprefix(start): expected[k] for k in expected if k.startswith(start)}

        first = next(iter(arrays("in").values()))
        batch = {"batch": len(first)} if name in ("convolution", "rules", "old") else {}
        graph = load(path, batch, weights=path.with_suffix(".caffemodel")).graph
        feeds = {v.attrs["name"]: arrays("in")[v.attrs["name"]] for v in graph.inputs}
        jobs.append(Job(name, graph, feeds, arrays("out"), 1e-5))
    return jobs


def test_genuine_caffe_read_in_numpy() -> None:
    jobs = genuine()
    assert sum(len(j.expected) for j in jobs) > 180
    assert not interpreted(jobs)


def test_genuine_caffe_on_wasm() -> None:
    for job in genuine():
        job.tol = 1e-4
        assert not run_jobs([job])


# ---- OpenCV -------------------------------------------------------------------------------------


def opencv(text: str, weights: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What OpenCV computes of a net."""
    cv2 = pytest.importorskip("cv2")
    files = (np.frombuffer(content, np.uint8) for content in (text.encode(), weights))
    net = cv2.dnn.readNetFromCaffe(*files)
    for name, array in feeds.items():
        net.setInput(array, name)
    names = list(net.getUnconnectedOutLayersNames())
    return dict(zip(names, net.forward(names), strict=True))


Case = tuple[str, dict[str, list[Sequence[int]]]]  # the text of the layers, shapes of their weights


def random_case(kind: str, rng: np.random.Generator) -> tuple[str, dict[str, list], dict]:
    """A net around one layer with random parameters: (text, shapes of weights, inputs)."""
    n, c, h, w = 2, int(rng.integers(1, 4)) * 2, int(rng.integers(5, 12)), int(rng.integers(5, 12))
    pick = lambda low, high: int(rng.integers(low, high + 1))  # noqa: E731
    coin = lambda: bool(rng.integers(2))  # noqa: E731
    yes = lambda flag: "true" if flag else "false"  # noqa: E731
    shapes: dict[str, list] = {}
    inputs = {"x": (n, c, h, w)}
    body, bottoms, tops = "", ["x"], []
    before = after = ""
    match kind:
        case "Convolution" | "Deconvolution" | "DepthwiseConvolution":
            group = int(rng.choice([g for g in (1, 2, c) if c % g == 0]))
            outputs = c if kind.startswith("Depth") else group * pick(1, 3)
            if kind == "Deconvolution":
                group = 1 if coin() else group
            kernel, stride, dilation = pick(1, 3), pick(1, 3), pick(1, 2)
            pad = pick(0, 1)
            if kind.startswith("Depth") or group == c:  # OpenCV is wrong there: torch says so
                dilation = 1
            if kind == "Deconvolution":  # OpenCV ignores its dilation
                dilation, pad = 1, pick(0, kernel - 1)
            bias = coin()
            body = (
                f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} "
                f"stride: {stride} pad: {pad} dilation: {dilation} bias_term: {yes(bias)}"
            )
            body += "" if kind.startswith("Depth") else f" group: {group}"
            body += " }"
            each = 1 if kind.startswith("Depth") else c // group
            first = [c, outputs // group] if kind == "Deconvolution" else [outputs, each]
            shapes = {"y": [[*first, kernel, kernel]] + ([[outputs]] if bias else [])}
        case "Pooling":
            kernel, stride = (pick(1, 4), pick(1, 4)), (pick(1, 3), pick(1, 3))
            pad = (pick(0, kernel[0] - 1), pick(0, kernel[1] - 1)) if coin() else (0, 0)
            stride = tuple(map(min, stride, kernel))
            body = (
                f"pooling_param {{ pool: {('MAX', 'AVE')[pick(0, 1)]} kernel_h: {kernel[0]} "
                f"kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]} "
                f"pad_h: {pad[0]} pad_w: {pad[1]} }}"
            )
            if pick(0, 4) == 0:
                body = (
                    f"pooling_param {{ pool: {('MAX', 'AVE')[pick(0, 1)]} global_pooling: true }}"
                )
        case "InnerProduct":
            axis, outputs, bias = pick(1, 3), pick(2, 6), coin()
            body = (
                f"inner_product_param {{ num_output: {outputs} axis: {axis} "
                f"bias_term: {yes(bias)} }}"
            )
            shapes = {"y": [[outputs, int(np.prod((n, c, h, w)[axis:]))]] + [[outputs]] * bias}
        case "LRN":
            body = (
                f"lrn_param {{ local_size: {pick(0, 2) * 2 + 1} alpha: {rng.uniform(0.1, 3):.3f} "
                f"beta: {rng.uniform(0.3, 1):.3f} "
            )
            region = coin()
            body += "norm_region: WITHIN_CHANNEL }" if region else "}"  # OpenCV ignores k
        case "BatchNorm":
            shapes = {"y": [[c], [c], [1]], "z": [[c], [c]]}
            body = f"batch_norm_param {{ eps: {rng.uniform(1e-5, 0.1):.5f} }}"
            after = layer("z", "Scale", "scale_param { bias_term: true }", ["y"])
        case "Scale":
            axis = pick(0, 2)
            axis = 1
            shapes = {"y": [[c], [c]]}
            body = f"scale_param {{ axis: {axis} bias_term: true }}"
        case "Eltwise":
            bottoms = ["x", "o", "p"][: pick(2, 3)]
            inputs |= dict.fromkeys(bottoms, (n, c, h, w))
            operation = ("PROD", "SUM", "MAX")[pick(0, 2)]
            body = f"operation: {operation} "
            if operation == "SUM" and coin():
                body += " ".join(f"coeff: {rng.uniform(-2, 2):.3f}" for _ in bottoms)
            body = f"eltwise_param {{ {body} }}"
        case "Concat":
            axis = pick(1, 3)
            other = [n, c, h, w]
            other[axis] = pick(1, 5)
            inputs["o"] = tuple(other)
            bottoms = ["x", "o", "x"]
            body = f"concat_param {{ axis: {axis - 4 if coin() else axis} }}"
        case "Slice":
            axis = pick(1, 3)
            size = (n, c, h, w)[axis]
            points = sorted(rng.choice(np.arange(1, size), min(2, size - 1), replace=False))
            tops = [f"y{k}" for k in range(len(points) + 1)]
            body = " ".join(f"slice_point: {p}" for p in points)
            body = f"slice_param {{ axis: {axis} {body} }}"
            after = "".join(layer(f"z{k}", "Power", "", [t]) for k, t in enumerate(tops))
        case "Crop":
            axis, bottoms = pick(1, 3), ["x", "o"]
            small = [d if k < axis else pick(1, d) for k, d in enumerate((n, c, h, w))]
            inputs["o"] = tuple(small)
            room = [d - s for d, s in zip((n, c, h, w), small)][axis:]
            offsets = [pick(0, r) for r in room]
            body = " ".join(f"offset: {o}" for o in offsets)
            body = f"crop_param {{ axis: {axis} {body} }}"
        case "Permute":
            order = [0, *(1 + rng.permutation(3))]
            body = "permute_param { " + " ".join(f"order: {o}" for o in order) + " }"
        case "Flatten":
            axis = pick(1, 3)  # from 0 on OpenCV keeps two axes
            body = f"flatten_param {{ axis: {axis} end_axis: {pick(axis, 3)} }}"
        case "Reshape":
            body = (
                f"dim: 0 dim: -1 dim: {w}", "dim: 0 dim: 0 dim: -1", f"dim: {n} dim: {w} dim: -1",
                f"dim: {c * h} dim: -1",
            )[pick(0, 3)]  # fmt: skip
            rest = "axis: 1 num_axes: 3" if body.startswith(f"dim: {c * h} dim: -1") else ""
            body = f"reshape_param {{ {rest} shape {{ {body} }} }}"
        case "Softmax":
            body = f"softmax_param {{ axis: {pick(1, 3)} }}"
        case "ReLU":
            body = f"relu_param {{ negative_slope: {rng.uniform(0, 0.5):.3f} }}" if coin() else ""
        case "PReLU":
            shared = False
            body = f"prelu_param {{ channel_shared: {yes(shared)} }}"
            shapes = {"y": [[1 if shared else c]]}
        case "ELU":
            body = f"elu_param {{ alpha: {rng.uniform(0.2, 2):.3f} }}"
        case "Power":
            body = (
                f"power_param {{ power: {pick(1, 3)} scale: {rng.uniform(-2, 2):.3f} "
                f"shift: {rng.uniform(-1, 1):.3f} }}"
            )
        case "MVN":
            body = (
                f"mvn_param {{ across_channels: {yes(coin())} normalize_variance: {yes(coin())} "
                "eps: 1e-9 }"
            )
        case "Normalize":
            across, shared = coin(), coin()
            shared = shared or across  # OpenCV lacks the fourth
            shapes = {"y": [[1 if shared else c]]}
            body = f"norm_param {{ across_spatial: {yes(across)} channel_shared: {yes(shared)} }}"
        case "PriorBox":
            sizes = rng.integers(5, 60, pick(1, 2))
            inputs["image"] = (n, 3, pick(60, 90), pick(60, 90))
            bottoms = ["x", "image"]
            body = " ".join(f"min_size: {s}" for s in sizes)
            if coin():
                body += " ".join(f" max_size: {s + pick(1, 40)}" for s in sizes)
            body += " ".join(
                f" aspect_ratio: {r}" for r in rng.choice([1, 2, 3, 1.5, 0.5], pick(0, 3))
            )
            body += f" flip: {yes(coin())} clip: {yes(coin())} "
            body += ("variance: 0.2 ", "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.3 ")[
                pick(0, 1)
            ]
            body += ("", f"step: {pick(4, 9)} ", f"step_h: {pick(4, 9)} step_w: {pick(4, 9)} ")[
                pick(0, 2)
            ]
            body += ("", "offset: 0.25 ")[pick(0, 1)]
            body = f"prior_box_param {{ {body} }}"
        case "ShuffleChannel":
            body = "shuffle_channel_param { group: 2 }"
        case "Interp":
            body = (
                f"height: {pick(3, 20)} width: {pick(3, 20)}", f"zoom_factor: {pick(2, 3)}",
            )[pick(0, 1)]  # fmt: skip
            body = f"interp_param {{ {body} }}"
    text = before + layer("y", kind, body, bottoms, tops) + after
    return text, shapes, inputs


KINDS = [
    "Convolution",
    "Deconvolution",
    "DepthwiseConvolution",
    "Pooling",
    "InnerProduct",
    "LRN",
    "BatchNorm",
    "Scale",
    "Eltwise",
    "Concat",
    "Slice",
    "Crop",
    "Permute",
    "Flatten",
    "Reshape",
    "Softmax",
    "ReLU",
    "ReLU6",
    "PReLU",
    "ELU",
    "Power",
    "MVN",
    "Normalize",
    "PriorBox",
    "ShuffleChannel",
    "Interp",
    "Sigmoid",
    "TanH",
    "AbsVal",
    "BNLL",
    "Swish",
    "Mish",
    "Exp",
    "Log",
]


def opencv_jobs(kind: str, count: int, seed: int = 0) -> list[Job]:
    """Random nets of one kind of layer with what OpenCV makes of them."""
    jobs = []
    for k in range(count):
        rng = np.random.default_rng([seed, k, KINDS.index(kind)])
        text, shapes, inputs = random_case(kind, rng)
        text = "".join(source(name, *dims) for name, dims in inputs.items()) + text
        weights = random_weights(rng, shapes)
        if kind == "BatchNorm":
            weights["y"][1:] = [rng.uniform(0.5, 2, s).astype("f") for s in shapes["y"][1:]]
        model = caffemodel(weights)
        graph = load(text.encode(), {"batch": 2}, weights=model if shapes else None).graph
        feeds = {name: rng.normal(size=d).astype("f") * 2 for name, d in inputs.items()}
        if kind == "Log":
            feeds["x"] = np.abs(feeds["x"]) + 0.1
        alike = text.replace('"DepthwiseConvolution"', '"Convolution"')
        if alike != text:
            alike = alike.replace("dilation", f"group: {inputs['x'][1]} dilation")
        expected = opencv(alike, model, feeds)
        feeds = {v.attrs["name"]: feeds[v.attrs["name"]] for v in graph.inputs}
        jobs.append(Job(f"{kind} {k}: {text}", graph, feeds, expected))
    return jobs


@pytest.mark.parametrize("kind", KINDS)
def test_opencv_reads_layers_alike(kind: str) -> None:
    assert not interpreted(opencv_jobs(kind, 12))


def test_opencv_and_wasm_compute_layers_alike() -> None:
    """Two nets of each kind, all in one program."""
    assert not run_jobs([job for kind in KINDS for job in opencv_jobs(kind, 2, seed=1)])


def seeded(name: str) -> tuple[str, bytes, Graph, dict[str, np.ndarray]]:
    """A whole architecture with seeded weights: prototxt, caffemodel, its graph and an input."""
    text, shapes = ARCHITECTURES[name]()
    rng = np.random.default_rng(0)
    weights = random_weights(rng, shapes)
    for layer_name, arrays in weights.items():
        if layer_name.startswith("bn_"):
            arrays[1:] = [rng.uniform(0.5, 2, a.shape).astype("f") for a in arrays[1:]]
    model = caffemodel(weights)
    graph = load(text.encode(), weights=model).graph
    data = rng.normal(size=(1, *graph.inputs[0].shape[1:])).astype("f")
    return text, model, graph, {"data": data}


def architecture(name: str) -> Job:
    """A whole architecture with seeded weights, and what OpenCV makes of it."""
    text, model, graph, feeds = seeded(name)
    return Job(name, graph, feeds, opencv(text, model, feeds))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(name: str) -> None:
    job = architecture(name)
    assert np.ptp(job.expected["prob"]) > 0.01
    found = interpret(job.graph, job.feeds, reading="numpy")
    assert not job.problem(found)
    values = passes.run(job.graph, 0).values()
    assert sum(v.op is ops.TRANSPOSE and not v.constant for v in values) == 1  # that of the input


def test_layers_of_forks() -> None:
    """What neither Caffe nor OpenCV has, against the definition in numpy."""
    rng = np.random.default_rng(0)
    x, y, a = (rng.normal(size=s).astype("f") for s in ((1, 4, 5, 6), (1, 4, 5, 6), (1, 4)))
    slopes = rng.normal(size=4).astype("f")
    text = source("x", 1, 4, 5, 6) + source("y", 1, 4, 5, 6) + source("a", 1, 4)
    text += layer("axpy", "Axpy", "", ["a", "x", "y"])
    body = "dropout_param { dropout_ratio: 0.25 scale_train: false }"
    text += layer("dropped", "Dropout", body)
    text += layer("clip", "Clip", "clip_param { min: -0.5 max: 0.25 }")
    text += layer("hsigmoid", "HSigmoid") + layer("hswish", "HSwish")
    text += layer("large", "Upsample", "upsample_param { scale: 3 }")
    text += layer("bn", "BN") + layer("bn4", "BN", "bn_param { eps: 0.01 }")
    text += layer(
        "stochastic", "Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }"
    )
    text += layer(
        "pool", "Pooling", "pooling_param { kernel_size: 2 stride: 2 }", ["x"], ["p", "at"]
    )
    text += layer(
        "back", "Upsample", "upsample_param { scale: 2 upsample_h: 5 upsample_w: 6 }", ["p", "at"]
    )
    text += layer("statistics", "BatchNorm", "batch_norm_param { use_global_stats: false }")
    text += layer("bigger", "Interp", "interp_param { height: 9 width: 11 }")
    text += layer("smaller", "Interp", "interp_param { shrink_factor: 2 }")
    shape = (4, 1, 1)
    mean, spread = rng.normal(size=4).astype("f"), rng.uniform(0.5, 2, 4).astype("f")
    weights = {"bn": [slopes, mean], "bn4": [slopes, mean, mean, spread]}
    keep = np.zeros_like(x)
    mask = np.zeros((1, 4, 3, 3))
    sums = np.zeros((1, 4, 2, 3))
    for c in range(4):
        for i in range(3):
            for j in range(3):
                part = x[0, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                p, q = np.unravel_index(part.argmax(), part.shape)
                keep[0, c, 2 * i + p, 2 * j + q] = part[p, q]
                mask[0, c, i, j] = (2 * i + p) * 6 + 2 * j + q
        for i in range(2):
            for j in range(3):
                part = np.abs(x)[0, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                sums[0, c, i, j] = (part**2).sum() / part.sum()
    d = x - x.mean((0, 2, 3), keepdims=True)
    expected = {
        "axpy": a[..., None, None] * x + y,
        "dropped": x * 0.75,
        "clip": x.clip(-0.5, 0.25),
        "hsigmoid": (x + 3).clip(0, 6) / 6,
        "hswish": x * (x + 3).clip(0, 6) / 6,
        "large": x.repeat(3, 2).repeat(3, 3),
        "bn": x * slopes.reshape(shape) + mean.reshape(shape),
        "bn4": (x - mean.reshape(shape)) / np.sqrt(spread.reshape(shape) + 0.01)
        * slopes.reshape(shape) + mean.reshape(shape),
        "back": keep,
        "statistics": d / np.sqrt((d**2).mean((0, 2, 3), keepdims=True) + 1e-5),
    }  # fmt: skip
    imported = given(text, weights)
    found = interpret(imported.graph, {"x": x, "y": y, "a": a})
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(imported.graph.names["at"].shape, mask.shape)
    positive = interpret(imported.graph, {"x": np.abs(x), "y": y, "a": a})
    np.testing.assert_allclose(positive["stochastic"], sums, rtol=1e-5)
    torch = pytest.importorskip("torch")
    for name, size in (("bigger", (9, 11)), ("smaller", (3, 3))):
        want = torch.nn.functional.interpolate(
            torch.tensor(x), size, mode="bilinear", align_corners=True
        )
        np.testing.assert_allclose(found[name], want.numpy(), atol=1e-5, err_msg=name)


# ---- the prototxt -------------------------------------------------------------------------------


def test_text_is_read() -> None:
    net = parse(
        '# a comment\nname: "a\\"b\\n" \'c\\x41\\101\'  # in pieces\n'
        "n: [1, 0x10, 010, -3] f: 1e-3 f: .5f f: -inf f: 7 flag: true; flag: f, kind: MAX\n"
        "m { a: 1 } m < a: 2 > m: [{ a: 3 }, { a: 4 }] empty {} list: [] [fork.extra] { a: 9 }"
    )
    assert net.string("name") == 'a"b\ncAA'
    assert net.integers("n") == [1, 16, 8, -3]
    assert net.numbers("f") == [1e-3, 0.5, float("-inf"), 7]
    assert net.flag("flag") is False
    assert net.choice("kind", ("AVE", "MAX"), "AVE") == "MAX"
    assert [m.integer("a") for m in net.children("m")] == [1, 2, 3, 4]
    assert net.child("empty").integer("a", 5) == 5
    assert net.integers("list") == []
    assert net.child("[fork.extra]").integer("a") == 9
    assert net.unread() == []


SYNTAX = {
    "layer {\n  name: \"a\n}": (2, 9, "a string that its line does not close"),
    "layer {\n  name: 'a'\n  type \"b\"\n}": (3, 8, "expected ':' or '{' after 'type'"),
    "layer {\n  name: 'a'\n": (3, 1, "expected the name of a field or '}' of line 1"),
    "layer { name: }": (1, 15, "expected a value for 'name', found '}'"),
    "input: 'x'\n}": (2, 1, "expected the name of a field"),
    "layer { n: 1 @ }": (1, 14, "unexpected character '@'"),
    "input_dim: 0x": (1, 12, "is not a number"),
    "layer { a: [1 2] }": (1, 15, "expected ',' or ']' in the list of 'a'"),
    "layer { a: -b }": (1, 13, "expected a number after '-'"),
    "layer " + "{ a " * 200: (1, 409, "nest deeper than 100"),
}  # fmt: skip


@pytest.mark.parametrize("text", SYNTAX, ids=range(len(SYNTAX)))
def test_syntax_errors_say_where(text: str, tmp_path: Path) -> None:
    line, column, what = SYNTAX[text]
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    assert format_of(path) == "caffe"
    with pytest.raises(ModelError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}, line {line}, column {column}: ")
    assert what in str(error.value)


def test_values_of_the_wrong_kind_say_where() -> None:
    for body, what in (
        ("num_output: 1.5", "num_output: expected an integer, found 1.5"),
        ("num_output: MAX", "num_output: expected an integer, found 'MAX'"),
        ("num_output: 99999999999", "num_output: expected an integer from 1"),
        ("num_output: 2 kernel_size: 'a'", "kernel_size: expected an integer"),
        ("num_output: 2 kernel_size: 0", "kernel_size: expected an integer from 1"),
        ("num_output: 2 kernel_size: 1 bias_term: 3", "bias_term: expected true or false, found 3"),
        ("num_output { a: 1 }", "num_output: expected an integer, found a message { ... }"),
    ):
        text = (
            source("x", 1, 2, 4, 4)
            + "\n"
            + layer("c", "Convolution", f"convolution_param {{ {body} }}")
        )
        found = problem(text, caffemodel({"c": [np.ones((2, 2, 1, 1)), np.ones(2)]}))
        assert what in found and "line 3" in found and "layer 'c'" in found, found
    assert "pool: expected one of MAX, AVE, STOCHASTIC, found 'MEAN'" in problem(
        source("x", 1, 2, 4, 4)
        + layer("p", "Pooling", "pooling_param { pool: MEAN kernel_size: 2 }")
    )


# ---- the caffemodel -----------------------------------------------------------------------------

DENSE = source("x", 1, 6) + layer("d", "InnerProduct", "inner_product_param { num_output: 4 }")


@pytest.mark.parametrize(
    ("style", "version"),
    [("packed", 2), ("unpacked", 2), ("double", 2), ("doubles", 1), ("half", 2), ("legacy", 1),
     ("legacy", 0), ("pieces", 2)],
)  # fmt: skip
def test_blobs_in_every_layout(style: str, version: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(4, 6)).astype("f2").astype("f"), rng.normal(size=4).astype("f2")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel({"d": [w, b], "more": [w]}, style, version))
    imported = load(DENSE.encode(), weights=path)
    x = rng.normal(size=(1, 6)).astype("f")
    np.testing.assert_allclose(interpret(imported.graph, {"x": x})["d"], x @ w.T + b, rtol=1e-5)
    assert imported.parameters == 28 and imported.contents == {"InnerProduct": 1}


def test_nets_of_forks_are_recognised() -> None:
    """NVIDIA's fork writes fields of its own between the net's name and its layers."""
    rng = np.random.default_rng(0)
    weights = {"d": [rng.normal(size=(4, 6)), rng.normal(size=4)]}
    name = entry(1, b"net")
    own = entry(11, 2) + entry(12, 2) + b"\x7d" + struct.pack("<f", 1.5)
    model = name + own + caffemodel(weights).removeprefix(name)
    assert format_of(model) == "caffe"
    assert load(DENSE.encode(), weights=model).parameters == 28
    for other in (own + model, b"\x08\x07" + model, name + b"\xff" * 20, name):
        assert format_of(other) != "caffe"


def test_weights_as_hdf5(tmp_path: Path) -> None:
    w, b = np.arange(24, dtype="f").reshape(4, 6), np.arange(4, dtype="f")
    with h5py.File(tmp_path / "net.caffemodel.h5", "w") as file:
        file["data/d/0"], file["data/d/1"] = w, b
    graph = load(DENSE.encode(), weights=tmp_path / "net.caffemodel.h5").graph
    x = np.ones((1, 6), "f")
    np.testing.assert_allclose(interpret(graph, {"x": x})["d"], x @ w.T + b)
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file["model_weights/d"] = w
    with pytest.raises(ModelError, match="without /data: not weights of Caffe"):
        load(DENSE.encode(), weights=tmp_path / "keras.h5")
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["data/d/0"] = h5py.ExternalLink("net.caffemodel.h5", "data/d/0")
    with pytest.raises(ModelError, match="refer to another file"):
        load(DENSE.encode(), weights=tmp_path / "linked.h5")
    with h5py.File(tmp_path / "unwritten.h5", "w") as file:
        file.create_dataset("data/d/0", w.shape, "f")  # read as zeros
    with pytest.raises(ModelError, match="blob 0 of 'd' is declared, but its numbers are missing"):
        load(DENSE.encode(), weights=tmp_path / "unwritten.h5")


def test_large_weights_stay_in_the_file(tmp_path: Path) -> None:
    w = np.ones((64, 50000), "f")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel({"d": [w]}))
    text = source("x", 1, 50000) + layer(
        "d", "InnerProduct", "inner_product_param { num_output: 64 bias_term: false }"
    )
    tracemalloc.start()
    load(text.encode(), weights=path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_weights_that_do_not_fit() -> None:
    w, b = np.ones((4, 6)), np.ones(4)
    assert "the weights: shape [4, 6] expected (by the prototxt), [4, 5] found" in problem(
        DENSE, caffemodel({"d": [np.ones((4, 5)), b]})
    )
    assert "the weights: shape [4, 6] expected (by the prototxt), [6, 4] found" in problem(
        DENSE, caffemodel({"d": [w.T, b]})
    )
    found = problem(DENSE, caffemodel({"d": [w]}))
    assert "layer 'd' (InnerProduct): the bias of shape [4] expected as blob 1" in found
    found = problem(DENSE, caffemodel({"other": [w, b]}))
    assert "has no weights for 1 layers of the net: 'd'" in found and "'other'" in found
    damaged = caffemodel({"d": [w, b]}).replace(varint(6 + 0), varint(7), 1)
    assert problem(DENSE, damaged)
    lying = entry(100, entry(1, b"d") + entry(7, entry(7, entry(1, varint(2**40))) + entry(5, b"")))
    assert "1099511627776 numbers, but holds 0" in problem(DENSE, lying)


def test_truncated_and_damaged_files() -> None:
    """Every cut and every flipped byte gives one error of ours, or a net."""
    for name in ("rules", "old", "recurrent"):
        text = (FIXTURES / f"{name}.prototxt").read_bytes()
        model = (FIXTURES / f"{name}.caffemodel").read_bytes()
        rng = np.random.default_rng(0)
        wrong = 0
        for k in range(60):
            pieces = [bytearray(text), bytearray(model)]
            hit = pieces[k % 2]
            at = int(rng.integers(len(hit)))
            if k % 4 < 2:
                del hit[at:]
            else:
                hit[at] = int(rng.integers(256))
            try:
                load(bytes(pieces[0]), weights=bytes(pieces[1]))
            except WebDNNError as error:
                wrong += 1
                assert 10 < len(str(error)) < 3000
        assert wrong > 30
    cut = model[:1000]
    assert re.search(
        r"damaged or truncated at byte \d+: field 100 should have \d+ bytes", problem(text, cut)
    )


# ---- the net ------------------------------------------------------------------------------------


def test_either_way_round_and_what_is_missing(tmp_path: Path) -> None:
    net, model = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    net.write_text(DENSE)
    model.write_bytes(caffemodel({"d": [np.ones((4, 6)), np.ones(4)]}))
    assert format_of(net) == format_of(model) == "caffe"
    assert (
        load(net, weights=model).graph.outputs.keys()
        == load(model, weights=net).graph.outputs.keys()
    )
    with pytest.raises(
        ModelError, match=r"layers with weights \('d'\): .* after this one: .*net.caffemodel$"
    ):
        load(net)
    with pytest.raises(
        ModelError, match=r"what the net is stands in its prototxt: transpile deploy"
    ):
        load(model)
    with pytest.raises(ModelError, match="but this is a prototxt too"):
        load(net, weights=net)
    with pytest.raises(ModelError, match="neither is a prototxt"):
        load(model, weights=model)
    with pytest.raises(ModelError, match="no such file"):
        load(net, weights=tmp_path / "nothing")
    other = tmp_path / "other"
    for content, what in (
        (b"", "the file is empty"),
        (b"PK\x03\x04....", "this is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (bytes(range(256)), "of another format, damaged or truncated"),
    ):
        other.write_bytes(content)
        with pytest.raises(ModelError, match=what):
            load(net, weights=other)
    solver = b'net: "train_val.prototxt"\nbase_lr: 0.01\nlr_policy: "step"\nmax_iter: 1000\n'
    assert "tells a solver how to train" in problem(solver)
    assert "there are no layers" in problem('input: "x" input_dim: 1')


def test_unknown_layers_are_all_listed() -> None:
    text = source("x", 1, 2, 4, 4) + layer("p", "Proposal") + layer("q", "PSROIPooling", "", ["p"])
    text += layer("r", "Python", 'python_param { module: "rpn" layer: "Anchors" }', ["q"])
    with pytest.raises(UnsupportedError) as error:
        given(text)
    for expected in ("Proposal: 'p'", "PSROIPooling: 'q'", "Python (Anchors): 'r'"):
        assert expected in str(error.value)


def test_errors_of_the_net_say_where() -> None:
    x = source("x", 1, 2, 4, 4)
    for text, what in (
        (
            x + layer("r", "ReLU", "", ["z"]),
            "line 2: layer 'r' (ReLU): its bottom 'z' is made by no",
        ),
        (x + layer("r", "ReLU", "", ["s"]) + layer("s", "ReLU"), "is made by a later layer only"),
        (x + layer("a", "ReLU") + layer("a", "TanH"), "its top 'a' is another layer's top already"),
        (x + layer("r", "ReLU", "", ["x", "x"]), "1 bottom expected, 2 found"),
        (x + layer("r", "ReLU", "", ["x"], ["a", "b"]), "it has 2 tops; 1 expected"),
        (x + layer("r", "Eltwise", "", ["x"]), "two bottoms or more expected"),
        (x + layer("r", "Softmax", "softmax_param { axis: 4 }"), "axis 4 is out of range for f32["),
        (x + layer("r", "Reshape", "reshape_param { shape { dim: 7 dim: 7 } }"), "layer 'r'"),
        (
            x + layer("r", "Pooling", "pooling_param { kernel_size: 2 pad: 2 }"),
            "pad 2 is not smaller",
        ),
        (x + "layer { name: 'r' bottom: 'x' top: 'r' }", "layer 'r' has no type"),
        (x + x + layer("r", "ReLU"), "input 'x' is declared twice"),
        (
            x + "layers { layer { name: 'r' type: 'relu' } bottom: 'x' top: 'y' }",
            "net of version 0",
        ),
        (x + "layer: 3", "layer: expected a message { ... }, found 3"),
        ("input: 'x' input_dim: 1 input_dim: 2 input: 'y'" + layer("r", "ReLU"), "2 inputs, but 0"),
        (
            x + layer("r", "Slice", "slice_param { slice_point: 9 }", ["x"], ["a", "b"]),
            "slice points",
        ),
        (x + source("y", 1, 2, 8, 4) + layer("r", "Crop", "", ["x", "y"]), "it ends before"),
        (
            x + source("y", 1, 2, 8, 4) + layer("r", "Eltwise", "", ["x", "y"]),
            "of one shape expected",
        ),
    ):
        assert what in problem(text), problem(text)


def test_train_val_nets() -> None:
    """Data layers are inputs, the channels are those of the filters; losses give predictions."""
    text = """
    layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN }
      transform_param { crop_size: 9 } data_param { source: "a" batch_size: 64 } }
    layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
      transform_param { crop_size: 8 mean_value: 104 } data_param { source: "b" batch_size: 50 } }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c"
      convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
    layer { name: "f" type: "InnerProduct" bottom: "c" top: "f"
      inner_product_param { num_output: 5 } }
    layer { name: "accuracy" type: "Accuracy" bottom: "f" bottom: "label" top: "accuracy" }
    layer { name: "l" type: "SoftmaxWithLoss" bottom: "f" bottom: "label" top: "loss"
      loss_weight: 0.3 }
    layer { name: "s" type: "SigmoidCrossEntropyLoss" bottom: "f" bottom: "label" top: "sigmoid" }
    layer { name: "i" type: "InfogainLoss" bottom: "f" bottom: "label" top: "info" }
    layer { name: "aux" type: "EuclideanLoss" bottom: "f" bottom: "label" top: "aux" }
    """
    rng = np.random.default_rng(0)
    weights = random_weights(rng, {"c": [[4, 3, 3, 3], [4]], "f": [[5, 144], [5]], "gone": [[3]]})
    imported = given(text, weights)
    (x,) = imported.graph.inputs
    assert x.shape == (1, 3, 8, 8) and list(imported.graph.outputs) == ["loss", "sigmoid", "info"]
    assert any("a batch of 50" in n for n in imported.notes)
    assert any("subtracts a mean" in n for n in imported.notes)
    feed = rng.normal(size=(1, 3, 8, 8)).astype("f")
    found = interpret(imported.graph, {"data": feed})
    assert found["loss"].sum() == pytest.approx(1, abs=1e-5)
    odds = found["sigmoid"] / (1 - found["sigmoid"])
    np.testing.assert_allclose(odds / odds.sum(), found["loss"], rtol=1e-3)
    np.testing.assert_array_equal(found["info"], found["loss"])


def test_sizes_can_be_changed() -> None:
    text = 'input: "data" input_dim: 10 input_dim: 3 input_dim: 32 input_dim: 32\n'
    text += layer(
        "c", "Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }", ["data"]
    )
    text += layer("p", "Pooling", "pooling_param { kernel_size: 3 stride: 2 }", ["c"])
    rng = np.random.default_rng(0)
    weights = random_weights(rng, {"c": [[4, 3, 3, 3], [4]]})
    imported = given(text, weights)
    assert imported.graph.inputs[0].shape == (1, 3, 32, 32)
    assert "the prototxt declares a batch of 10" in imported.notes
    assert given(text, weights, batch=4).graph.outputs["p"].shape == (4, 4, 16, 16)
    sizes = {"h": (8, 64), "w": 20, "batch": (1, 4)}
    graph = load(text.encode(), sizes, weights=caffemodel(weights)).graph
    jobs = []
    for n, h in ((1, 8), (3, 33), (4, 64)):
        x = rng.normal(size=(n, 3, h, 20)).astype("f")
        same = text.replace("input_dim: 10", f"input_dim: {n}")
        same = same.replace("input_dim: 32 input_dim: 32", f"input_dim: {h} input_dim: 20")
        want = opencv(same, caffemodel(weights), {"data": x})
        jobs.append(Job(f"{n} {h}", graph, {"data": x}, want, sizes={"batch": n, "h": h}))
    assert not interpreted(jobs)
    assert not run_jobs(jobs[1:2])
    dense = text + layer("f", "InnerProduct", "inner_product_param { num_output: 2 }", ["p"])
    weights |= {"f": [np.ones((2, 1024)), np.ones(2)]}
    assert given(dense, weights).graph.outputs["f"].shape == (1, 2)
    with pytest.raises(ModelError, match=r"shape \[2, 1600\] expected .*\[2, 1024\] found"):
        given(dense, weights, h=40, w=40)
    with pytest.raises(DimensionError, match="no such open dimension"):
        given(text, weights, depth=4)


def test_a_batch_that_a_layer_works_along_stays() -> None:
    x = source("x", 6, 2, 3)
    body = "reshape_param { shape { dim: 3 dim: 2 dim: -1 } }"
    imported = given(x + layer("r", "Reshape", body))
    assert imported.graph.outputs["r"].shape == (3, 2, 6)
    expected = "the first axis stays 6 as declared, because layer 'r' (Reshape) works along it"
    assert expected in imported.notes
    body = "reshape_param { shape { dim: -1 dim: 6 } }"
    assert given(x + layer("r", "Reshape", body)).graph.outputs["r"].shape == (1, 6)
    body = "dummy_data_param { shape { dim: 6 dim: 2 dim: 3 } data_filler { value: 2 } }"
    constant = layer("c", "DummyData", body, [])
    imported = given(x + constant + layer("p", "Eltwise", "", ["x", "c"]))
    assert imported.graph.outputs["p"].shape == (6, 2, 3)
    planes = source("x", 3, 5, 5) + layer("f", "Flatten", "flatten_param { axis: 0 }")
    assert given(planes).graph.outputs["f"].shape == (75,)
    asked = given(x + layer("s", "Softmax", "softmax_param { axis: 0 }"), batch=4)
    assert any("works along the first axis: check its top" in n for n in asked.notes)


def test_sequences_of_any_length() -> None:
    """Time and batch of a recurrent net can be open: many short sequences or one long."""
    text = source("ids", 5, 2) + source("going", 5, 2) + source("still", 2, 3)
    text += source("h0", 1, 2, 4) + source("c0", 1, 2, 4)
    text += layer("e", "Embed", "embed_param { num_output: 3 input_dim: 7 }", ["ids"])
    bottoms = ["e", "going", "still", "h0", "c0"]
    body = "recurrent_param { num_output: 4 expose_hidden: true }"
    text += layer("l", "LSTM", body, bottoms, ["y", "h", "c"])
    text += layer("d", "InnerProduct", "inner_product_param { num_output: 2 axis: 2 }", ["y"])
    rng = np.random.default_rng(0)
    shapes = {"e": [[7, 3], [3]], "l": [[16, 3], [16], [16, 3], [16, 4]], "d": [[2, 4], [2]]}
    weights = random_weights(rng, shapes)
    model = caffemodel(weights)
    graph = load(text.encode(), {"time": (1, 9), "batch": (1, 3)}, weights=model).graph
    e, (w, b, ws, r), d = weights["e"], weights["l"], weights["d"]

    def expected(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = e[0][feeds["ids"].astype(int)] + e[1]
        h, c = feeds["h0"][0], feeds["c0"][0]
        ys = []
        for t in range(len(x)):
            going = feeds["going"][t][:, None]
            gates = x[t] @ w.T + b + feeds["still"] @ ws.T + (h * going) @ r.T
            i, f, o, g = np.split(gates, 4, 1)
            i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
            c = f * c * going + i * np.tanh(g)
            h = o * np.tanh(c)
            ys.append(h)
        return {"d": np.stack(ys) @ d[0].T + d[1], "h": h[None], "c": c[None]}

    jobs = []
    for t, n in ((1, 1), (5, 2), (9, 3)):
        feeds = {
            "ids": rng.integers(0, 7, (t, n)),
            "going": rng.integers(0, 2, (t, n)),
            "still": rng.normal(size=(n, 3)),
            "h0": rng.normal(size=(1, n, 4)),
            "c0": rng.normal(size=(1, n, 4)),
        }
        feeds = {name: a.astype("f") for name, a in feeds.items()}
        sizes = {"time": t, "batch": n}
        jobs.append(Job(f"{t} {n}", graph, feeds, expected(feeds), sizes=sizes))
    assert not interpreted(jobs)
    for job in jobs[1:]:
        assert not run_jobs([job])


def test_notes_tell_what_was_not_understood() -> None:
    text = source("x", 1, 2, 4, 4) + source("y", 1, 2)
    text += layer(
        "p", "Pooling", "pooling_param { kernel_size: 2 stride: 2 kernal: 3 engine: CUDNN }"
    )
    notes = "\n".join(given(text).notes)
    assert "layer 'p' (Pooling): kernal of pooling_param is not known and ignored (line 3)" in notes
    assert "engine" not in notes and "not used, hence left out: input y" in notes


def test_every_constant_is_small() -> None:
    """Sizes in a prototxt alone must not fill the memory."""
    huge = source("x", 1, 3, 20000, 20000) + layer(
        "p", "PriorBox", "prior_box_param { min_size: 3 }", ["x", "x"]
    )
    assert "more than fit in a model" in problem(huge)
    tiled = source("x", 1, 2, 4, 4) + layer("t", "Tile", "tile_param { tiles: 100000000 }")
    assert "its top 't' would be f32[1,200000000,4,4]: too large" in problem(tiled)


def test_the_reference_knows_inner_values_after_a_run() -> None:
    """What `check --layers` compares with: blobs after their in-place layers, as Caffe has them."""
    text, model, graph, feeds = seeded("residual")
    against = reference(text.encode(), ["data"], ["prob"], weights=model)
    assert against.run(feeds)["prob"].shape == (1, 50)
    found = interpret(graph, feeds, keep=lambda v: True, reading="numpy")
    inner = against.layers(feeds)
    assert {"res0", "res3", "pool"} <= inner.keys()
    for name in inner.keys() & found.keys():
        worst = np.abs(inner[name] - found[name]).max()
        assert worst < 1e-5 * np.abs(inner[name]).max(), name


def test_command_line(tmp_path: Path) -> None:
    """A net becomes a descriptor with its weights; nothing is left of one that fails."""
    net = [str(FIXTURES / "old.prototxt"), str(FIXTURES / "old.caffemodel")]

    def transpile(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "webdnn.cli", "transpile", "--target", "wasm", *words]
        return subprocess.run(command, capture_output=True, text=True)

    done = transpile(*net, "-o", str(tmp_path / "d"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d" / "model.json").is_file()
    done = transpile(net[0], "-o", str(tmp_path / "e"))
    assert done.returncode != 0 and "after this one" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "e").exists()


def test_every_layer_is_tested() -> None:
    """Each type of the table is named by tests of Caffe nets."""
    files = [*FIXTURES.glob("*.prototxt"), *Path(__file__).parent.glob("test_*.py")]
    text = "".join(p.read_text() for p in files if "affe" in p.read_text() or p.suffix != ".py")
    names = set(LAYERS) - {"ConvolutionDepthwise", "DepthwiseConv", "SoftmaxWithLossV2"}
    assert not [name for name in names if not re.search(rf"\b{name}\b", text)]


def test_the_page_lists_every_layer() -> None:
    found = (framework_tables.FOLDER / "caffe.md").read_text()
    assert found == framework_tables.page("caffe"), "run python -m tools.framework_tables caffe"
