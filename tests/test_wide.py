"""Integers that need 64 bits, in Chromium on both targets: right, or an error; never another one.
And float64, which wasm computes as such and WebGPU in float32.

What is right is onnx.reference's word, which computes them with numpy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

import webdnn
from webdnn.browser.engine import Page, open_page

MODEL = """<ir_version: 9, opset_import: ["": 18]>
wide (int64[n] x, int64[n] y, float[n] f, uint64[n] u, int32[n] s, int64 times)
    => (int64[n] product, int64[n] sums, int64[1] total, int64[n] hash, int64[n] far, int64[n] cube,
        int64[n] quotient, int64[n] left, int64[n] right, int64[n] whole, uint64[n] square,
        uint64[n] rest, int64[1] most, int64[1] least, int64[1] at, int64[1] picked, float[n] real,
        bool[n] larger, int64[n] ends, int64[1] all, uint64[n] turned, int64[n] back, int64[] dot,
        float[n] looked, int64[2, n] both, int64[n] small, int64[n] shifted, int64[n] looped,
        int64[n] inner, int64 grown, int64 begun)
    <int64 zero = {0}, int64[1] axis = {0}, int64 prime = {1000003}, int64 big = {1000000000000},
     int64 three = {3}, int64 much = {500000000}, bool yes = {1}, uint64 odd = {4000000007},
     uint64 nought = {0}, float[3] table = {5, 6, 7}, int64[2] rows = {2, -1}>
{
    product = Mul (x, y)
    sums = CumSum (product, zero)
    total = ReduceSum (product, axis)
    hash = Mod (product, prime)
    far = Add (product, big)
    cube = Pow (y, three)
    quotient = Div (far, y)
    three_u = Cast <to = 13> (three)
    square = Mul (u, u)
    rest = Mod (square, odd)
    left_u = BitShift <direction = "LEFT"> (square, three_u)
    right_u = BitShift <direction = "RIGHT"> (square, three_u)
    left = Cast <to = 7> (left_u)
    right = Cast <to = 7> (right_u)
    whole = Cast <to = 7> (f)
    most = ReduceMax (product, axis)
    least = ReduceMin (product, axis)
    at = ArgMin <axis = 0> (product)
    picked = Gather <axis = 0> (product, at)
    real = Cast <to = 1> (product)
    below = Neg (far)
    larger = Greater (product, below)
    ends = Clip (product, three, big)
    all = ReduceProd (y, axis)
    turned = Sub (nought, u)
    back = Cast <to = 7> (turned)
    dot = MatMul (x, y)
    position = Div (whole, big)
    looked = Gather <axis = 0> (table, position)
    pair = Concat <axis = 0> (product, whole)
    both = Reshape (pair, rows)
    small = Mod (hash, three)
    s_64 = Cast <to = 7> (s)
    shifted = Add (s_64, three)
    twice = Add (much, much)
    grown = Loop (times, yes, twice) <
        body = by_much (int64 k, bool go, int64 t) => (bool on, int64 t2)
        { on = Identity (go)  t2 = Add (t, much) }>
    first = Loop (times, yes, big) <
        body = counted (int64 k, bool go, int64 t) => (bool on, int64 t2)
        { on = Identity (go)  t2 = Identity (k) }>
    begun = Max (first, zero)
    looped, inner = Loop (times, yes, y, y) <
        body = more (int64 k, bool go, int64[n] t, int64[n] r)
            => (bool on, int64[n] t2, int64[n] r2)
        {
            on = Identity (go)
            t2 = Add (t, x)
            r2 = Loop (times, go, r) <
                body = within (int64 i, bool go2, int64[n] w) => (bool on2, int64[n] w2)
                { on2 = Identity (go2)  scaled = Mul (w, prime)  w2 = Sub (scaled, t) }>
        }>
}"""
TRIPLED = """<ir_version: 9, opset_import: ["": 18]>
tripled (int64[n] x) => (int64[n] y)
    <int64 three = {3}> { y = Mul (x, three) }"""
LOOKED_UP = """<ir_version: 9, opset_import: ["": 18]>
looked_up (int64[6] i, int64[6] x) => (int64[6] y, int64[6] z)
    <int64[2] table = {1099511627776, 5}, int64 three = {3}>
    { y = Gather (table, i)  z = Mul (x, three) }"""
SORTED = """<ir_version: 9, opset_import: ["": 18]>
sorted (int64[2] x, int64[2] y, float[2] f, uint64[2] u) => (int64[2] best, int64[2] next)
    <int64[1] two = {2}, int64 one = {1}>
    { square = Mul (x, x)  best, at = TopK (square, two)  next = Add (y, one) }"""
DOUBLES = """<ir_version: 9, opset_import: ["": 18]>
doubles (double[3, 5] x, double[1, 2, 4, 5] image, float[3, 16] f, int64[3] i, double[2] ends)
    => (double[3, 7] product, double[3] total, double[3, 5] soft, double[3, 5] powers,
        int64[3] best, int64[3, 5] whole, float[3, 5] less_wide, double[3] wide,
        double[1, 2, 4, 5] image_out, bool[3, 5] above, double[3, 16] mixed, double[3, 2] top,
        double[3] real, double[3] steps, int64[2] last)
    <int64[1] axis = {1}, double third = {0.1}, double far = {1e300}, int64[1] two = {2},
     bool yes = {1}>
{
    product = MatMul (x, w)
    total = ReduceSum <keepdims = 0> (x, axis)
    soft = Softmax (x)
    positive = Abs (x)
    powers = Pow (positive, third)
    best = ArgMax <axis = 1, keepdims = 0> (x)
    whole = Cast <to = 7> (x)
    less_wide = Cast <to = 1> (x)
    image_out = Conv <pads = [1, 1, 1, 1]> (image, filters)
    above = Greater (x, third)
    row = MatMul (f, square)
    row_64 = Cast <to = 11> (row)
    mixed = Add (row_64, third)
    top, at = TopK (x, two)
    wide = Cast <to = 11> (i)
    sine = Sin (wide)
    real = Mul (sine, far)
    last = Cast <to = 7> (ends)
    steps = Loop (two_steps, yes, total) <
        body = steps (int64 k, bool go, double[3] s) => (bool on, double[3] t)
        { on = Identity (go)  t = Mul (s, third) }>
}"""
PAGE = """export default async ({ url, options, jobs }) => {
  const { load } = await import(url);
  const model = await load(options);
  const found = [];
  for (const { x, y, f, u, s, times } of jobs) {
    const inputs = {
      x: BigInt64Array.from(x, BigInt), y: BigInt64Array.from(y, BigInt),
      f: Float32Array.from(f), u: BigUint64Array.from(u, BigInt),
      ...(s && { s: Int32Array.from(s), times: BigInt64Array.from(times, BigInt) }),
    };
    found.push(await model.run(inputs).then(
      (out) => Object.fromEntries(
        Object.entries(out).map(([k, { data, shape }]) => [k, [shape, Array.from(data, String)]])),
      ({ code, message }) => `${code}: ${message}`,
    ));
  }
  model.dispose();
  return found;
};
"""
FEEDS = [
    {
        "x": [100000, -7, 2**31 - 1, 3],
        "y": [100000, 5, -(2**31) + 1, -1],
        "f": [2.5e12, -1.2e12, 3e9, -7.7],
        "u": [0, 1, 2**32 - 1, 100000],
        "s": [2**31 - 1, -(2**31), 2**30, 7],
        "times": [3],
    },
    {"x": [-65536], "y": [65536], "f": [-2147483648.0], "u": [70000], "s": [0], "times": [0]},
    {
        "x": [-(2**53), 2**40, 1],
        "y": [2**53 - 1, -(2**33), 2**31],
        "f": [0, 1, 2],
        "u": [2**53, 2**32, 2**33 + 1],
        "s": [0, 1, 2],
        "times": [1],
    },
]


CHAINED_PAGE = """export default async ({ url, backend, x }) => {
  const { load } = await import(url);
  const model = await load({ backend, threads: 1, worker: false });
  const outputs = backend === 'webgpu' ? 'gpu' : 'cpu';
  model.view('x');
  const once = await model.run({ x: BigInt64Array.from(x, BigInt) }, { outputs });
  const seen = () => ({ data: model.view('y').subarray(0, 2 * x.length), shape: [x.length] });
  const { y } = await model.run({ x: backend === 'webgpu' ? once.y : seen() });
  model.dispose();
  return Array.from(y.data, String);
};
"""
DOUBLE_PAGE = """export default async ({ url, options, inputs }) => {
  const { load } = await import(url);
  const model = await load(options);
  const given = Object.entries(inputs).map(([k, v]) => [
    k, k === 'i' ? BigInt64Array.from(v, BigInt)
       : (k === 'f' ? Float32Array : Float64Array).from(v)]);
  const out = await model.run(Object.fromEntries(given));
  model.dispose();
  return Object.entries(out).map(
    ([k, { data }]) => [k, data.constructor.name, Array.from(data, String)]);
};
"""


def _doubles() -> onnx.ModelProto:
    proto, random = parser.parse_model(DOUBLES), np.random.default_rng(0)
    given = {
        "w": random.normal(size=(5, 7)),
        "filters": random.normal(size=(2, 2, 3, 3)),
        "square": random.normal(size=(16, 16)).astype(np.float32),
        "two_steps": np.array(2),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in given.items())
    return proto


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder: Path = tmp_path_factory.mktemp("wide")
    webdnn.transpile(parser.parse_model(MODEL), folder / "wide", dims={"n": (1, 9)})
    webdnn.transpile(parser.parse_model(SORTED), folder / "sorted")
    webdnn.transpile(_doubles(), folder / "doubles")
    webdnn.transpile(parser.parse_model(TRIPLED), folder / "tripled", dims={"n": (1, 9)})
    (folder / "page.js").write_text(PAGE)
    (folder / "chained.js").write_text(CHAINED_PAGE)
    (folder / "doubles.js").write_text(DOUBLE_PAGE)
    with open_page("chromium", mounts={"/m/": folder}, webgpu=True) as page:
        yield page


@pytest.mark.parametrize("backend", ["wasm", "webgpu"])
def test_numbers_of_64_bits_are_right(page: Page, backend: str) -> None:
    job = {"url": "/m/wide/model.js", "options": {"backend": backend}, "jobs": FEEDS}
    found = page.call("/m/page.js", job, timeout=120).value
    types: dict[str, Any] = {"f": np.float32, "u": np.uint64, "s": np.int32}
    model = ReferenceEvaluator(parser.parse_model(MODEL))
    for given, outputs in zip(FEEDS, found, strict=True):
        feeds = {k: np.array(v, types.get(k, np.int64)) for k, v in given.items()}
        feeds["times"] = feeds["times"].reshape(())
        with np.errstate(all="ignore"):
            expected = dict(zip(model.output_names, model.run(None, feeds), strict=True))
        assert outputs.keys() == expected.keys(), outputs
        for name, (shape, numbers) in outputs.items():
            wanted = np.asarray(expected[name])
            assert tuple(shape) == wanted.shape, name
            if name == "real":
                np.testing.assert_allclose(np.array(numbers, np.float32), wanted, 2e-7)
            else:
                assert numbers == [str(int(x)) for x in wanted.ravel()], name


@pytest.mark.parametrize("backend", ["wasm", "webgpu"])
def test_words_are_handed_on_where_they_lie(page: Page, backend: str) -> None:
    x = [2**40, -5, 7]
    job = {"url": "/m/tripled/model.js", "backend": backend, "x": x}
    found = page.call("/m/chained.js", job, timeout=120).value
    model = ReferenceEvaluator(parser.parse_model(TRIPLED))
    (once,) = model.run(None, {"x": np.array(x)})
    (twice,) = model.run(None, {"x": once})
    assert found == [str(int(n)) for n in twice]


def test_positions_are_no_words(tmp_path: Path) -> None:
    """The runner checks them as 32 bits, whatever the table holds."""
    webdnn.transpile(parser.parse_model(LOOKED_UP), tmp_path / "m", targets=["wasm"])
    model = json.loads((tmp_path / "m" / "model.json").read_text())
    assert {i["name"]: i.get("words") for i in model["inputs"]} == {"i": None, "x": 2}
    assert [check["input"] for check in model["checks"]] == ["i"]


@pytest.mark.parametrize("backend", ["wasm", "webgpu"])
def test_what_cannot_be_right_is_an_error(page: Page, backend: str) -> None:
    """Numbers that need 64 bits where an operator has 32, and inputs that are not near 0."""
    rest = {"f": [0, 0], "u": [0, 0]}
    jobs = [
        {"x": [3, -40000], "y": [2**30 - 1, 0], **rest},
        {"x": [3, -50000], "y": [5, 0], **rest},
        {"x": [3, 4], "y": [5, 2**30], **rest},
    ]
    job = {"url": "/m/sorted/model.js", "options": {"backend": backend}, "jobs": jobs}
    right, large, far = page.call("/m/page.js", job, timeout=120).value
    assert right == {"best": [[2], ["1600000000", "9"]], "next": [[2], ["1073741824", "1"]]}
    assert large.startswith(
        "range: numbers beyond 32 bits in 'square', of which arg_top_k takes 32"
    )
    assert far.startswith('range: input "y": expected numbers from -1073741823 to 1073741823')


@pytest.mark.parametrize(("backend", "within"), [("wasm", 1e-14), ("webgpu", 1e-5)])
def test_float64_is_float64_on_wasm(page: Page, backend: str, within: float) -> None:
    random = np.random.default_rng(1)
    large = 1e200 if backend == "wasm" else 1  # beyond float32
    feeds = {
        "x": random.normal(size=(3, 5)) * 10,
        "image": random.normal(size=(1, 2, 4, 5)) * large,
        "f": random.normal(size=(3, 16)).astype(np.float32),
        "i": np.array([2**31 - 1, -5, 0]),
        "ends": np.array([-(2.0**63), 2.0**62 + 2.0**40]),
    }
    inputs = {k: a.ravel().tolist() for k, a in feeds.items()}
    job = {"url": "/m/doubles/model.js", "options": {"backend": backend}, "inputs": inputs}
    found = page.call("/m/doubles.js", job, timeout=120).value
    model = ReferenceEvaluator(_doubles())
    with np.errstate(all="ignore"):
        expected = dict(zip(model.output_names, model.run(None, feeds), strict=True))
    for name, array, numbers in found:
        wanted = np.asarray(expected[name])
        if wanted.dtype == np.float64:
            assert array == "Float64Array"
        if wanted.dtype.kind != "f":
            assert numbers == [str(int(x)) for x in wanted.ravel()], name
        elif backend == "wasm" or name != "real":
            tolerance = 1e-5 if name in ("mixed", "less_wide") else within
            got = np.array(numbers, np.float64)
            np.testing.assert_allclose(got, wanted.ravel(), tolerance, tolerance, err_msg=name)
