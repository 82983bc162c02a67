"""Object detection: SSD heads and pooled regions against OpenCV, top-k and lengths found by a run.

OpenCV writes detections by confidence alone and fills up with rows of zeros; `rows_of_caffe` brings
these into Caffe's order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import webdnn
from tests.interpret import interpret
from tests.jobs import Job, interpreted, run_jobs
from webdnn import ops, passes
from webdnn.browser import engine as browser
from webdnn.browser.check import _ELEMENTS, wire
from webdnn.browser.engine import BrowserError, Page, open_page
from webdnn.errors import ModelError, UnsupportedError
from webdnn.expr import as_dim
from webdnn.frontend import load
from webdnn.graph import Graph, Op, constant, placeholder
from webdnn.passes import counted

cv2 = pytest.importorskip("cv2")

Arrays = dict[str, np.ndarray]


# ---- SSD heads ----------------------------------------------------------------------------------


@dataclass
class Head:
    """One DetectionOutput with random inputs; `oracle` replaces parameters for OpenCV."""

    priors: int = 50
    classes: int = 3
    batch: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    suppression: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self, k: int) -> Arrays:
        rng = np.random.default_rng(k)
        corners = np.sort(rng.random((self.priors, 2, 2)), axis=1).reshape(self.priors, 4)
        prior = corners * 0.6 + rng.random((self.priors, 1)) * 0.3
        variance = np.tile([0.1, 0.15, 0.2, 0.25], (self.priors, 1))
        each = 1 if self.params.get("share_location", "true") == "true" else self.classes
        loc = rng.standard_normal((self.batch, self.priors * each * 4))
        conf = rng.random((self.batch, self.priors * self.classes))
        both = np.stack([prior.ravel(), variance.ravel()])[None]
        named = {"loc": loc, "conf": conf, "prior": both}
        return {f"{name}{k}": a.astype(np.float32) for name, a in named.items()}

    def oracle(self, k: int) -> Arrays:
        """The same for OpenCV, which wants no variances where it needs none."""
        inputs = self.inputs(k)
        if "variance_encoded_in_target" in self.params:
            inputs[f"prior{k}"] = inputs[f"prior{k}"][:, :1]
        return inputs

    def layer(self, k: int, oracle: bool = False, **instead: Any) -> str:
        """Its text; OpenCV wants defaults said, and overruns its memory where nothing is cut."""
        params = {"num_classes": self.classes, **self.params, **instead}
        suppression = self.suppression
        if oracle:
            most = self.priors * self.classes
            plain = {"share_location": "true", "background_label_id": 0, "keep_top_k": most}
            params = {**plain, **params}
            suppression = {"nms_threshold": 0.3, **suppression}
        inside = " ".join(f"{a}: {b}" for a, b in params.items() if b is not None)
        nms = " ".join(f"{a}: {b}" for a, b in suppression.items())
        return (
            f'layer {{ name: "out{k}" type: "DetectionOutput" top: "out{k}" '
            + "".join(f'bottom: "{name}{k}" ' for name in ("loc", "conf", "prior"))
            + f"detection_output_param {{ {inside} nms_param {{ {nms} }} }} }}\n"
        )


HALF = {"confidence_threshold": 0.3, "code_type": "CENTER_SIZE"}
HEADS = [
    Head(params=HALF),  # every default
    Head(params={**HALF, "keep_top_k": 10}, suppression={"nms_threshold": 0.45}),
    Head(60, 4, 2, params={**HALF, "keep_top_k": 30}, suppression={"top_k": 20}),
    Head(params=HALF, suppression={"nms_threshold": 0.7}),
    Head(params={**HALF, "code_type": "CORNER", "keep_top_k": 20}),
    Head(params={**HALF, "code_type": 1, "variance_encoded_in_target": "true", "clip": "true"}),
    Head(params={**HALF, "variance_encoded_in_target": "true"}),
    Head(
        classes=4,
        params={**HALF, "share_location": "false", "background_label_id": 2},
        suppression={"nms_threshold": 0.4},
    ),
    Head(20, params={"code_type": "CENTER_SIZE"}),  # no threshold at all
    Head(params={**HALF, "confidence_threshold": 2}),  # nothing is found
    Head(
        700,
        params={**HALF, "confidence_threshold": 0.01, "keep_top_k": 200},
        suppression={"nms_threshold": 0.45, "top_k": 400},
    ),
    Head(batch=3, params={**HALF, "keep_top_k": 7, "confidence_threshold": 0.9}),
    Head(1, 2, params={**HALF, "confidence_threshold": 0}),
]


def text_of(layers: str, inputs: Arrays) -> str:
    """A net of these layers, with an Input layer for each array."""
    out = 'name: "heads"\n'
    for name, a in inputs.items():
        dims = " ".join(f"dim: {d}" for d in a.shape)
        out += (
            f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f"input_param {{ shape {{ {dims} }} }} }}\n"
        )
    return out + layers


def opencv(text: str, inputs: Arrays, folder: Path) -> Arrays:
    """What OpenCV computes of a net without weights."""
    path = folder / "net.prototxt"
    path.write_text(text)
    net = cv2.dnn.readNetFromCaffe(str(path))
    for name, a in inputs.items():
        net.setInput(a, name)
    names = list(net.getUnconnectedOutLayersNames())
    return dict(zip(names, map(np.array, net.forward(names)), strict=True))


def rows_of_caffe(found: np.ndarray) -> np.ndarray:
    """OpenCV's rows by image, label and confidence, without those that it adds."""
    rows = found.reshape(-1, 7)
    rows = rows[rows.any(1)]
    return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))].reshape(1, 1, -1, 7)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """A job for each head; expected is what OpenCV finds."""
    folder = tmp_path_factory.mktemp("heads")
    out = []
    for k, head in enumerate(HEADS):
        inputs = head.inputs(k)
        graph = load(text_of(head.layer(k), inputs).encode(), {"batch": head.batch}).graph
        given = head.oracle(k)
        want = opencv(text_of(head.layer(k, True), given), given, folder)[f"out{k}"]
        out.append(Job(f"head {k}", graph, inputs, {f"out{k}": rows_of_caffe(want)}, tol=1e-5))
    return out


def test_heads_find_something(jobs: list[Job]) -> None:
    counts = [job.expected[f"out{k}"].shape[2] for k, job in enumerate(jobs)]
    assert [k for k, n in enumerate(counts) if n == 0] == [9]
    assert counts[1] == 10 and counts[2] == 60 and counts[10] == 200 and counts[11] == 21


def test_heads_read_in_numpy(jobs: list[Job]) -> None:
    assert not interpreted(jobs)


def test_heads_on_wasm(jobs: list[Job]) -> None:
    assert not run_jobs(jobs)


def test_corner_size_is_corners_in_units_of_the_prior(tmp_path: Path) -> None:
    """OpenCV lacks this code: it is given the same corners without units."""
    head = Head(params={**HALF, "code_type": "CORNER_SIZE"})
    inputs = head.inputs(0)
    prior, variance = inputs["prior0"].reshape(2, -1, 4)
    size = np.tile(prior[:, 2:] - prior[:, :2], 2)
    units = (inputs["loc0"].reshape(-1, 4) * variance * size).reshape(1, -1)
    given = {**inputs, "loc0": units.astype(np.float32), "prior0": inputs["prior0"][:, :1]}
    plain = {"code_type": "CORNER", "variance_encoded_in_target": "true"}
    want = opencv(text_of(head.layer(0, True, **plain), given), given, tmp_path)["out0"]
    graph = load(text_of(head.layer(0), inputs).encode(), {}).graph
    found = Job("corner size", graph, inputs, {"out0": rows_of_caffe(want)}, tol=1e-5)
    assert not interpreted([found])


def test_without_a_background_every_class_is_found(tmp_path: Path) -> None:
    """OpenCV needs a background: it is given one more class, of no confidence."""
    head = Head(classes=2, params={**HALF, "background_label_id": -1})
    inputs = head.inputs(0)
    wide = np.pad(inputs["conf0"].reshape(1, -1, 2), ((0, 0), (0, 0), (1, 0)))
    given = {**inputs, "conf0": wide.reshape(1, -1)}
    more = {"num_classes": 3, "background_label_id": 0}
    rows = rows_of_caffe(
        opencv(text_of(head.layer(0, True, **more), given), given, tmp_path)["out0"]
    )
    rows[..., 1] -= 1
    graph = load(text_of(head.layer(0), inputs).encode(), {}).graph
    assert set(rows[0, 0, :, 1]) == {0, 1}
    assert not interpreted([Job("no background", graph, inputs, {"out0": rows}, tol=1e-5)])


@pytest.mark.parametrize("eta", [1.0, 0.8])
def test_suppression_as_by_opencv(eta: float) -> None:
    """Also with a threshold that falls, and with scores of which many are equal."""
    rng = np.random.default_rng(5)
    corners = np.sort(rng.random((3, 200, 2, 2)), axis=2).reshape(3, 200, 4).astype(np.float32)
    scores = (np.round(rng.random((3, 200)) * 40) / 40).astype(np.float32)
    b, s = placeholder("b", (1, 3, 200, 4), "f32"), placeholder("s", (1, 3, 200), "f32")
    order = ops.arg_top_k(s, 150, 2, above=constant(0.2, "f32"))
    graph = Graph((b, s), {"y": ops.suppress(b, order, 0.7, 60, eta)})
    expected = np.full((1, 3, 60), -1)
    for row, box, score in zip(expected[0], corners, scores):
        sized = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], 1).tolist()
        found = cv2.dnn.NMSBoxes(sized, score.tolist(), 0.2, 0.7, eta, 150)[:60]
        row[: len(found)] = found
    feeds = {"b": corners[None], "s": scores[None]}
    assert not run_jobs([Job("suppress", graph, feeds, {"y": expected}, tol=0)])


def test_equal_confidences_keep_the_order_of_priors() -> None:
    """Of the cut, too: the lower label and the earlier prior stay."""
    prior = np.float32([[k / 20, 0, k / 20 + 0.04, 1] for k in range(20)])
    inputs = {
        "loc0": np.zeros((1, 80), np.float32),
        "conf0": np.full((1, 60), 0.5, np.float32),
        "prior0": np.stack([prior.ravel(), np.full(80, 0.1)])[None].astype(np.float32),
    }
    head = Head(20, params={**HALF, "keep_top_k": 25})
    graph = load(text_of(head.layer(0), inputs).encode(), {}).graph
    rows = np.zeros((25, 7), np.float32)
    rows[:, 1] = [1] * 20 + [2] * 5
    rows[:, 2] = 0.5
    rows[:, 3:] = prior[[*range(20), *range(5)]]
    expected = {"out0": rows[None, None]}
    assert not run_jobs([Job("ties", graph, inputs, expected, tol=1e-6)])


def test_a_head_that_does_not_fit_says_what_was_expected() -> None:
    head = Head()
    inputs = head.inputs(0)
    for name, array, said in (
        ("conf0", inputs["conf0"][:, 1:], "[1, 150] expected"),
        ("loc0", inputs["loc0"][:, 4:], "[1, 200] expected"),
        ("prior0", inputs["prior0"][:, :1], "priors [1, 2, boxes * 4] expected"),
    ):
        wrong = {**inputs, name: array}
        with pytest.raises((ModelError, UnsupportedError)) as error:
            load(text_of(head.layer(0), wrong).encode(), {})
        assert said in str(error.value) and "'out0'" in str(error.value)
    for params in ({"num_classes": None}, {"code_type": "ROUND"}, {"num_classes": 1}):
        with pytest.raises((ModelError, UnsupportedError)) as error:
            load(text_of(head.layer(0, **params), inputs).encode(), {})
        assert "out0" in str(error.value)


# ---- regions ------------------------------------------------------------------------------------


def region_layers() -> tuple[str, Arrays]:
    rng = np.random.default_rng(7)
    corners = np.sort(rng.integers(-10, 260, (40, 2, 2)), axis=1).reshape(40, 4)
    rois = np.column_stack([rng.integers(0, 2, 40), corners]).astype(np.float32)
    x = rng.standard_normal((2, 6, 17, 15)).astype(np.float32)
    layers = ""
    for k, (h, w, scale) in enumerate(((7, 7, 0.0625), (3, 5, 0.0625), (1, 1, 0.05), (6, 2, 0.1))):
        layers += (
            f'layer {{ name: "out{k}" type: "ROIPooling" bottom: "x" bottom: "rois" top: "out{k}" '
            f"roi_pooling_param {{ pooled_h: {h} pooled_w: {w} spatial_scale: {scale} }} }}\n"
        )
    return layers, {"x": x, "rois": rois}


def test_regions_are_pooled_as_by_opencv(tmp_path: Path) -> None:
    layers, inputs = region_layers()
    text = text_of(layers, inputs)
    graph = load(text.encode(), {"batch": 2}).graph
    job = Job("regions", graph, inputs, opencv(text, inputs, tmp_path), tol=1e-6)
    assert not interpreted([job])
    assert not run_jobs([job])


# ---- choosing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("largest", [True, False])
def test_nan_is_greater_than_every_number(largest: bool) -> None:
    """As numpy and PyTorch sort; of the equal ones the first comes first."""
    torch = pytest.importorskip("torch")
    a = np.float32([[3, np.nan, -np.inf, np.inf, -0.0, 0.0, -np.nan, 3, -1, 1e-30]])
    want, at = torch.sort(torch.from_numpy(a), dim=1, descending=largest, stable=True)
    x = placeholder("x", a.shape, "f32")
    values, indices = ops.sort(x, 1, largest)
    graph = Graph((x,), {"values": values, "indices": indices})
    expected = {"values": want.numpy(), "indices": at.numpy()}
    job = Job("nan", graph, {"x": a}, expected, tol=0)
    assert not interpreted([job])
    assert not run_jobs([job])


def test_what_a_threshold_leaves() -> None:
    a = np.float32([[1, 5, np.nan, 5, 0], [0, 0, 2, 0, 0]])
    x = placeholder("x", a.shape, "f32")
    graph = Graph((x,), {"y": ops.arg_top_k(x, 4, 1, above=constant(0.5, "f32"))})
    job = Job("above", graph, {"x": a}, {"y": np.array([[1, 3, 0, -1], [2, -1, -1, -1]])}, tol=0)
    assert not interpreted([job])
    assert not run_jobs([job])


# ---- lengths that a run finds -------------------------------------------------------------------


def found_rows() -> tuple[Any, Any]:
    """The rows of x [6, 4] whose first element is not 0: x, and the rows, counted."""
    x = placeholder("x", (6, 4), "f32")
    first = ops.reshape(ops.slice_axis(x, 1, 0, 1), (6,))
    at, count = ops.non_zero(first)
    return x, ops.gather(x, ops.counted(ops.reshape(at, (6,)), 0, count), 0)


def test_true_shapes_are_over_what_was_counted() -> None:
    x, rows = found_rows()
    outputs = {"rows": rows, "flat": ops.reshape(rows, (rows.size,)), "other": ops.relu(x)}
    graph = counted.settle(Graph((x,), outputs), {})
    assert list(graph.outputs) == ["rows", "flat", "other", "rows.count"]
    assert graph.outputs["rows"].shape == (6, 4)
    assert {k: list(map(str, s)) for k, s in graph.counts.items()} == {
        "rows": ["rows.count", "4"],
        "flat": ["(rows.count * 4)"],
    }
    a = np.arange(24, dtype=np.float32).reshape(6, 4)
    a[[0, 1, 4], 0] = 0
    found = interpret(graph, {"x": a})
    assert list(found) == ["rows", "flat", "other"]
    np.testing.assert_array_equal(found["rows"], a[[2, 3, 5]])
    np.testing.assert_array_equal(found["flat"], a[[2, 3, 5]].ravel())


def test_a_refusal_names_what_the_model_calls_it() -> None:
    """Windows that begin somewhere else for every length, as those of SAME with a stride do."""
    x, rows = found_rows()
    image = ops.reshape(rows, (1, rows.shape[0], 4, 1))
    begin = as_dim(rows.shape[0] % 2)
    mixed = ops.conv(image, constant(np.ones((3, 1, 1, 1), np.float32)), (2, 1), (begin, 0, 1, 0))
    graph = Graph((x,), {"y": ops.neg(mixed)}, {"y": ops.neg(mixed)})
    kinds = re.escape("'y': conv of (f32[1,?,4,1], f32[3,1,1,1]) needs to know how many there are")
    with pytest.raises(UnsupportedError, match=f"^{kinds}.*cut the model"):
        passes.run(graph)


def test_the_more_a_run_finds_the_less_there_may_be() -> None:
    x, rows = found_rows()
    less = ops.slice_axis(rows, 0, 0, as_dim(7 - rows.shape[0]) // 2)
    graph = passes.run(Graph((x,), {"y": less}))
    a = np.arange(24, dtype=np.float32).reshape(6, 4)
    a[[0, 1, 4], 0] = 0
    np.testing.assert_array_equal(interpret(graph, {"x": a})["y"], a[[2, 3]])


@pytest.mark.parametrize("field", ["", "rows", "combines"])
def test_an_operator_says_what_it_does_along_a_counted_axis(field: str) -> None:
    """An operator of kind opaque that takes rows one by one, or chooses among them."""
    says = {"rows": {0: 1}, "combines": lambda node: [(0, (0,), -np.inf)]}
    whole = Op(
        "whole",
        "opaque",
        lambda x: [(x.shape if field != "combines" else (1, 4), "f32")],
        numpy=lambda x: x[:, ::-1] if field != "combines" else x.max(0, keepdims=True),
        **({field: says[field]} if field else {}),
    )
    x, rows = found_rows()
    graph = Graph((x,), {"y": whole(rows)})
    if not field:
        with pytest.raises(UnsupportedError, match="needs to know how many there are"):
            passes.run(graph)
        return
    a = np.arange(24, dtype=np.float32).reshape(6, 4) - 30
    a[[0, 5], 0] = 0
    expected = a[1:5, ::-1] if field == "rows" else a[1:5].max(0, keepdims=True)
    np.testing.assert_array_equal(interpret(passes.run(graph), {"x": a})["y"], expected)


# ---- in browsers --------------------------------------------------------------------------------


SHAPES = """
export default async function ({ descriptor }, io) {
  const { load } = await import(`${descriptor}model.js`);
  const model = await load({ backend: 'webgpu' });
  const inputs = {};
  for (const { name, shape } of model.inputs)
    inputs[name] = { shape, data: new Float32Array(await io.read(name)) };
  const outputs = await model.run(inputs, { outputs: 'gpu' });
  const found = Object.entries(outputs).map(([name, { shape, data }]) => [name, shape, data.size]);
  for (const { data } of Object.values(outputs)) data.destroy();
  const said = model.outputs.map(({ name, shape }) => [name, shape]);
  model.dispose();
  return { found, said };
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    try:
        browser.find("chromium")
    except BrowserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("detection")
    (folder / "shapes.js").write_text(SHAPES)
    with open_page("chromium", mounts={"/d/": folder}, webgpu=True) as found:
        yield found, folder


def run_page(page: Page, target: str, inputs: Arrays) -> Arrays:
    """The outputs of the descriptor at /d/model/."""
    arrays: dict[str, bytes] = {}
    argument = {
        "descriptor": "/d/model/",
        "options": {"backend": target},
        "runs": [{"inputs": wire(inputs, "in/", arrays)}],
        "layers": False,
    }
    reply = page.call("/__page__/execute.js", argument, arrays, timeout=570)
    assert reply.value["backend"]["name"] == target
    return {
        o["name"]: np.frombuffer(reply.arrays[o["array"]], _ELEMENTS[o["type"]]).reshape(o["shape"])
        for o in reply.value["runs"][0]["outputs"]
    }


def test_heads_and_regions_in_a_page(
    jobs: list[Job], page: tuple[Page, Path], tmp_path: Path
) -> None:
    """True shapes and boxes on both targets; on the GPU, buffers of the largest size."""
    layers, inputs = region_layers()
    chosen = [1, 3, 7, 9, 10]
    feeds = dict(inputs)
    pooled = layers.replace('"out', '"pool')
    for k in chosen:
        feeds |= HEADS[k].inputs(k)
        pooled += HEADS[k].layer(k)
    net = tmp_path / "heads.prototxt"
    net.write_text(text_of(pooled, feeds))
    regions = opencv(text_of(layers, inputs), inputs, tmp_path)
    expected = {f"out{k}": jobs[k].expected[f"out{k}"] for k in chosen}
    expected |= {name.replace("out", "pool"): a for name, a in regions.items()}
    opened, folder = page
    webdnn.transpile(net, folder / "model", dims={"batch": 2})
    for target, tol in (("wasm", 1e-5), ("webgpu", 1e-4)):
        found = run_page(opened, target, feeds)
        assert not Job(target, jobs[0].graph, feeds, expected, tol).problem(found)
    raw = {name: a.tobytes() for name, a in feeds.items()}
    reply = opened.call("/d/shapes.js", {"descriptor": "/d/model/"}, raw, timeout=300).value
    for name, shape, size in reply["found"]:
        assert shape == list(expected[name].shape)
        assert size >= 4 * expected[name].size
    assert dict(map(tuple, reply["said"]))["out10"] == [1, 1, "out10.count", 7]
    assert all(not name.endswith(".count") for name, _ in reply["said"])
    types = (folder / "model" / "model.d.ts").read_text()
    assert "count:" not in types and "shape: readonly [1, 1, number, 7]" in types
