"""Runs a model's descriptor in a real browser and compares every output with onnxruntime.

>>> report = check(Path("style.onnx"), dims={"h": (64, 512), "w": (64, 512)})  # doctest: +SKIP
>>> report.right
True

Each target, and each wasm variant, runs on the same inputs: given ones, or random ones from a seed.
An output is right when its largest difference stays within a tolerance times the largest magnitude
of the reference (`TOLERANCE`); integers and bools must be equal. A comparison that could not fail
proves nothing, so it is reported as *empty* and counts as a failure: a reference that is nearly
constant, or that hardly changes when the input does.

The limits: the reference is onnxruntime, so the model must be ONNX and within what it runs. Random
floats lie in 0..1; a model that wants other inputs (token ids, say) gets them with `inputs`, though
an integer that indexes a table is drawn from that table's range.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import webdnn
from webdnn.browser import BrowserError, Engine, Page, PageError, open_page
from webdnn.errors import DimensionError, ModelError, WebDNNError
from webdnn.image import ImageInput, Picture, load_raster, random_words

Target = Literal["wasm", "webgpu"]
Array = NDArray[Any]
Progress = Callable[[str, int, int], None]

TOLERANCE: Mapping[Target, float] = {"wasm": 1e-4, "webgpu": 1e-3}
# At least, where the reference is of float16: it rounds every step to 11 bits, we compute in f32.
HALF_TOLERANCE = 2e-3
VARIANTS = ("plain", "relaxed", "plain-threads", "relaxed-threads")
THREADS = 2

# What each engine can run: WebKitGTK has neither relaxed SIMD, nor shared memory, nor WebGPU.
ABLE: Mapping[Engine, tuple[tuple[Target, ...], tuple[str, ...]]] = {
    "chromium": (("wasm", "webgpu"), VARIANTS),
    "firefox": (("wasm", "webgpu"), VARIANTS),
    "webkit": (("wasm",), ("plain",)),
}


@dataclass(frozen=True)
class Output:
    """One output of one run against the reference; errors are differences, `relative` is scaled by
    the reference's largest magnitude."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    max_abs: float
    relative: float
    tolerance: float
    verdict: Literal["right", "wrong", "empty"]
    why: str = ""


@dataclass(frozen=True)
class Run:
    """One target (and wasm variant) at one choice of dimensions; `error` when it did not run."""

    target: Target
    variant: str | None
    sizes: Mapping[str, int]
    outputs: tuple[Output, ...] = ()
    layers: tuple[Output, ...] = ()  # the model's inner values that are stored, in its order
    fused: tuple[str, ...] = ()  # those that exist no more
    ms: float = math.nan
    error: str = ""

    @property
    def label(self) -> str:
        """webdnn's name for it: webgpu, or wasm with its variant."""
        return label(self.target, self.variant)

    @property
    def right(self) -> bool:
        """True when it ran, every output is right and no layer is wrong.

        A layer may be empty: inner values that are constant are nothing special.
        """
        return (
            not self.error
            and all(output.verdict == "right" for output in self.outputs)
            and all(layer.verdict != "wrong" for layer in self.layers)
        )


@dataclass(frozen=True)
class CheckReport:
    """What `check` found; `notices` are the transpiler's."""

    model: str
    browser: Engine
    runs: tuple[Run, ...]
    notices: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """True when everything that was asked for ran and is right."""
        return bool(self.runs) and all(run.right for run in self.runs)


@dataclass
class _Case:
    """Inputs at one choice of dimensions, and what the reference makes of them."""

    sizes: Mapping[str, int]
    inputs: dict[str, Array]  # as the page gets them
    expected: dict[str, Array]
    other: dict[str, Array]  # of other inputs: does the output move?
    layers: dict[str, Array] | None  # the model's inner values
    rasters: frozenset[str] = frozenset()  # the inputs that are RGBA bytes [h, w, 4]


def check(
    model: Path,
    *,
    weights: Path | None = None,
    images: Mapping[Any, str | ImageInput] | None = None,
    targets: Sequence[Target] | None = None,
    variants: Sequence[str] | None = None,
    browser: Engine = "chromium",
    dims: Mapping[str, int | tuple[int, int]] | None = None,
    sizes: Sequence[Mapping[str, int]] | None = None,
    inputs: Mapping[str, Path] | None = None,
    seed: int = 0,
    layers: bool = False,
    descriptor: Path | None = None,
    save: Path | None = None,
    timeout: float = 600,
    progress: Progress | None = None,
) -> CheckReport:
    """Transpiles `model` (or takes `descriptor`, made from it) and compares it with onnxruntime.

    `targets` and `variants` default to all that `browser` can run. `dims` are as for `transpile`;
    `sizes` lists at which values of the symbolic ones to run (default: their minimum, and the
    middle of their range). `inputs` maps input names to .npy files; the others are random from
    `seed`. `weights` and `images` (inputs that take pictures) are those of `transpile`; the page
    then gets pictures, and the reference what `webdnn.image` reads in them. `layers` also compares
    every value of the model that is still stored after a run, and lists those that were fused away.
    `save` receives inputs, expected and actual outputs as .npy files. `timeout` is in seconds per
    run. Raises WebDNNError when there is nothing to compare: no onnxruntime, no browser, a model
    that cannot be transpiled. A target that fails in the browser is a Run with its `error`.
    """
    tell = progress or (lambda stage, done, total: None)
    able_targets, able_variants = ABLE[browser]
    for wanted in targets or ():
        if wanted not in able_targets:
            raise BrowserError(f"{browser} cannot run {wanted}: it runs {', '.join(able_targets)}")
    for variant in variants or ():
        if variant not in able_variants:
            raise BrowserError(
                f"{browser} cannot run the wasm variant {variant}: "
                f"it runs {', '.join(able_variants)}"
            )
    targets = tuple(targets or able_targets)
    variants = tuple(variants or able_variants)
    session = _reference(model)
    inner = _reference(model, layers=True) if layers else None
    with tempfile.TemporaryDirectory(prefix="webdnn-check-") as scratch:
        folder = descriptor
        notices: tuple[str, ...] = ()
        if folder is None:
            folder = Path(scratch) / "model"
            report = webdnn.transpile(
                model,
                folder,
                weights=weights,
                inputs=images,
                targets=targets,
                dims=dims or {},
                keep_values=layers,
                progress=progress,
            )
            notices = tuple(report.notices)
        elif images:
            report = webdnn.imported(model, weights=weights, inputs=images, dims=dims)
        pictures = report.pictures if images else {}
        signature = signature_of(folder)
        _check_pictures(signature, pictures, folder)
        cases = [
            _case(session, inner, model, signature, pictures, chosen, inputs or {}, seed)
            for chosen in (sizes or default_sizes(signature))
        ]
        plan: list[tuple[Target, str | None]] = []
        for target in targets:
            plan += (
                [(target, variant) for variant in variants]
                if target == "wasm"
                else [(target, None)]
            )
        runs: list[Run] = []
        with open_page(
            browser, mounts={"/descriptor/": folder}, webgpu="webgpu" in targets
        ) as page:
            for index, (target, wasm) in enumerate(plan):
                tell(f"running {label(target, wasm)}", index, len(plan))
                runs += _run(page, target, wasm, cases, save, timeout)
            tell("done", len(plan), len(plan))
    return CheckReport(model.name, browser, tuple(runs), notices)


def _check_pictures(
    signature: Mapping[str, Any], pictures: Mapping[str, Picture], folder: Path
) -> None:
    """Raises WebDNNError where the descriptor's pictures are not those that are specified."""
    for entry in signature["inputs"]:
        expected = pictures[entry["name"]].signature() if entry["name"] in pictures else None
        if entry.get("image") != expected:
            raise WebDNNError(
                f"{folder}: input {entry['name']!r} was transpiled "
                f"{'to take pictures' if entry.get('image') else 'without --input'}; "
                "give the same --input NAME:SPECIFICATION as to transpile"
            )


def label(target: Target, variant: str | None) -> str:
    """The name of a run: webgpu, or wasm with its variant."""
    return target if variant is None else f"{target} {variant}"


def compare(
    name: str,
    actual: Array,
    expected: Array,
    tolerance: float,
    other: Array | None = None,
) -> Output:
    """One output against its reference; `other` is the reference for different inputs."""
    if expected.dtype == np.float16:
        tolerance = max(tolerance, HALF_TOLERANCE)

    def verdict(
        kind: Literal["right", "wrong", "empty"], why: str, max_abs: float, relative: float
    ) -> Output:
        shape = tuple(expected.shape)
        return Output(name, shape, str(expected.dtype), max_abs, relative, tolerance, kind, why)

    if actual.shape != expected.shape:
        why = f"expected shape {list(expected.shape)}, found {list(actual.shape)}"
        return verdict("wrong", why, math.inf, math.inf)
    wanted, found = expected.astype(np.float64), actual.astype(np.float64)
    if wanted.size == 0:
        return verdict("right", "no elements at these sizes", 0.0, 0.0)
    # NaN must meet NaN, and an infinity its own sign; all the rest is measured.
    finite = np.isfinite(wanted)
    special = np.array_equal(wanted[~finite], found[~finite], equal_nan=True)
    if not special or not np.isfinite(found[finite]).all():
        return verdict("wrong", "NaN or infinity in other places", math.inf, math.inf)
    wanted, found = wanted[finite], found[finite]
    largest = float(np.abs(wanted).max(initial=0))
    max_abs = float(np.abs(found - wanted).max(initial=0))
    relative = max_abs / largest if largest else (math.inf if max_abs else 0.0)
    exact = expected.dtype.kind in "biu"
    if (exact and max_abs) or relative > tolerance:
        why = "integers must be equal" if exact else f"more than {tolerance:g} of {largest:.4g}"
        return verdict("wrong", why, max_abs, relative)
    margin = 10 * tolerance * largest
    if wanted.size == 0:
        return verdict("empty", "no finite element to compare", max_abs, relative)
    if wanted.size > 1 and np.ptp(wanted) <= margin:
        return verdict("empty", "the reference is nearly constant", max_abs, relative)
    if other is not None and still(expected, other, tolerance):
        return verdict("empty", "hardly changes with the input", max_abs, relative)
    return verdict("right", "", max_abs, relative)


def still(expected: Array, other: Array, tolerance: float) -> bool:
    """True when different inputs change a reference by no more than ten times the tolerance."""
    if expected.shape != other.shape or not expected.size:
        return False
    a, b = expected.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(a)
    moved = np.abs(b - a)[finite]
    if not np.array_equal(finite, np.isfinite(b)) or not moved.size:
        return False
    return bool(moved.max() <= 10 * tolerance * np.abs(a[finite]).max())


def wire(
    inputs: Mapping[str, Array],
    prefix: str,
    arrays: dict[str, bytes],
    rasters: Container[str] = (),
) -> list[object]:
    """Describes inputs for `pages/execute.js`; their bytes are added to `arrays` under `prefix`.

    `rasters` are the inputs that are given as RGBA bytes [h, w, 4].
    """
    feeds: list[object] = []
    for position, (name, array) in enumerate(inputs.items()):
        # float16 crosses to the page as float32 (docs/descriptor.md).
        sent = array.astype(np.float32) if array.dtype == np.float16 else array
        key = f"{prefix}{position}"
        arrays[key] = np.ascontiguousarray(sent).tobytes()
        dtype = "raster" if name in rasters else str(array.dtype)
        feeds.append({"name": name, "dtype": dtype, "shape": array.shape, "array": key})
    return feeds


def _run(
    page: Page,
    target: Target,
    variant: str | None,
    cases: Sequence[_Case],
    save: Path | None,
    timeout: float,
) -> Iterator[Run]:
    """Loads the descriptor once and runs every case on it."""
    options: dict[str, object] = {"backend": target}
    if variant is not None:
        options |= {"variant": variant, "threads": THREADS if variant.endswith("threads") else 1}
    arrays: dict[str, bytes] = {}
    feeds = [
        {"inputs": wire(case.inputs, f"in/{index}/", arrays, case.rasters)}
        for index, case in enumerate(cases)
    ]
    argument = {
        "descriptor": "/descriptor/",
        "options": options,
        "runs": feeds,
        "layers": any(case.layers is not None for case in cases),
    }
    try:
        reply = page.call("/__page__/execute.js", argument, arrays, timeout=timeout)
    except PageError as error:
        yield Run(target, variant, {}, error=str(error))
        return
    backend = reply.value["backend"]
    if (backend["name"], backend.get("variant")) != (target, variant) and target == "wasm":
        ran = label(backend["name"], backend.get("variant"))
        yield Run(target, variant, {}, error=f"asked for {label(target, variant)}, ran {ran}")
        return
    for case, result in zip(cases, reply.value["runs"], strict=True):
        actual = _arrays(result["outputs"], reply.arrays)
        stored = _arrays(result["layers"], reply.arrays)
        if save is not None:
            _save(save, target, variant, case, actual | stored)
        tolerance = TOLERANCE[target]
        # An output that moves at one choice of sizes need not move at another (one token attends
        # only to itself): it is empty when it moves at none.
        moving = {
            name
            for other in cases
            for name, expected in other.expected.items()
            if not still(expected, other.other[name], tolerance)
        }
        outputs = tuple(
            compare(
                name,
                actual[name],
                expected,
                tolerance,
                None if name in moving else case.other[name],
            )
            if name in actual
            else _missing(name, expected, tolerance)
            for name, expected in case.expected.items()
        )
        inner = case.layers or {}
        layers = tuple(
            # A float16 or int64 value is stored in 32 bits: its numbers are compared, not its type.
            compare(name, stored[name], expected, tolerance)
            for name, expected in inner.items()
            if name in stored
        )
        fused = tuple(name for name in inner if name not in stored)
        yield Run(target, variant, case.sizes, outputs, layers, fused, result["ms"])


def _missing(name: str, expected: Array, tolerance: float) -> Output:
    shape, dtype = tuple(expected.shape), str(expected.dtype)
    why = "missing from the result"
    return Output(name, shape, dtype, math.inf, math.inf, tolerance, "wrong", why)


def _arrays(described: Sequence[Mapping[str, Any]], data: Mapping[str, bytes]) -> dict[str, Array]:
    """What `pages/execute.js` wrote, by tensor name."""
    return {
        entry["name"]: np.frombuffer(data[entry["array"]], _ELEMENTS[entry["type"]]).reshape(
            entry["shape"]
        )
        for entry in described
    }


_ELEMENTS: Mapping[str, str] = {
    "Float16Array": "f2",
    "Float32Array": "f4",
    "Float64Array": "f8",
    "Int8Array": "i1",
    "Uint8Array": "u1",
    "Uint8ClampedArray": "u1",
    "Int16Array": "i2",
    "Uint16Array": "u2",
    "Int32Array": "i4",
    "Uint32Array": "u4",
    "BigInt64Array": "i8",
    "BigUint64Array": "u8",
}


def _reference(model: Path, layers: bool = False) -> Any:
    """An onnxruntime session; with `layers`, every node's outputs are the graph's outputs."""
    try:
        import onnxruntime
    except ImportError as error:
        raise WebDNNError(
            "webdnn check compares with onnxruntime, which is not installed: "
            "pip install 'webdnn[check]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings about the model's optimisation are not ours
    try:
        source = _with_layers(model) if layers else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own types are many, undocumented and change
        if not model.is_file():
            raise ModelError(f"{model}: no such file") from error
        raise ModelError(f"{model}: onnxruntime cannot load it: {error}") from error


def _with_layers(model: Path) -> bytes:
    proto = onnx.load(str(model))
    known = {entry.name for entry in proto.graph.output}
    for node in proto.graph.node:
        for name in node.output:
            if name and name not in known:
                proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return bytes(proto.SerializeToString())


def signature_of(descriptor: Path) -> dict[str, Any]:
    """A descriptor's model.json; raises WebDNNError when the folder holds none."""
    file = descriptor / "model.json"
    try:
        return cast("dict[str, Any]", json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WebDNNError(
            f"{descriptor}: no model.json here; expected the folder that webdnn transpile wrote"
        ) from error
    except ValueError as error:
        raise WebDNNError(f"{file}: not a graph descriptor: {error}") from error


def default_sizes(signature: Mapping[str, Any]) -> list[dict[str, int]]:
    """Where to run symbolic dimensions when nobody says: at their minimum and at an odd middle."""
    ranges = {dim["name"]: (dim["min"], dim["max"]) for dim in signature["dims"]}
    if not ranges:
        return [{}]
    # An odd middle: sizes that are no multiple of a tile are where kernels go wrong.
    middle = {name: low + (high - low) // 2 | 1 for name, (low, high) in ranges.items()}
    return [
        {name: low for name, (low, _) in ranges.items()},
        {name: min(size, ranges[name][1]) for name, size in middle.items()},
    ]


def random_inputs(
    signature: Mapping[str, Any],
    sizes: Mapping[str, int],
    bounds: Mapping[str, int],
    seed: int,
    other: bool = False,
) -> dict[str, Array]:
    """Inputs for a descriptor's signature at given sizes of its symbolic dimensions.

    `bounds` limits integer inputs, by name. `other` draws floats from another distribution, so that
    even an average over all of them differs. Raises DimensionError for a size that is missing or
    out of range.
    """
    for dim in signature["dims"]:
        size = sizes.get(dim["name"])
        if size is None or not dim["min"] <= size <= dim["max"]:
            raise DimensionError(
                f"size of dimension {dim['name']}: expected {dim['min']}..{dim['max']}, "
                f"found {'none' if size is None else size}"
            )
    return {
        entry["name"]: _random_input(
            entry,
            np.random.default_rng([seed, position]),
            tuple(_evaluate(size, sizes) for size in entry["shape"]),
            bounds.get(entry["name"]),
            other,
        )
        for position, entry in enumerate(signature["inputs"])
    }


def _case(
    session: Any,
    inner: Any | None,
    model: Path,
    signature: Mapping[str, Any],
    pictures: Mapping[str, Picture],
    sizes: Mapping[str, int],
    given: Mapping[str, Path],
    seed: int,
) -> _Case:
    names = [entry["name"] for entry in signature["inputs"]]
    for name in given:
        if name not in names:
            raise WebDNNError(f"--input {name}: the model's inputs are {', '.join(names)}")
    bounds = _table_sizes(model)
    random = random_inputs(signature, sizes, bounds, seed)
    other = random_inputs(signature, sizes, bounds, seed + 1, other=True)
    inputs = dict(random)
    for name, picture in pictures.items():
        if name in given:
            inputs[name] = load_raster(given[name])
        elif picture.fixed:
            # Of another size than the model's: the runner's resizing is compared, too.
            inputs[name] = picture.example(seed)
    rasters = frozenset(name for name in pictures if inputs[name].ndim == 3)
    for name, file in given.items():
        if name in pictures:
            continue
        loaded = _load(file)
        if (loaded.dtype, loaded.shape) != (random[name].dtype, random[name].shape):
            raise WebDNNError(
                f"--input {name}={file}: expected {random[name].dtype}{list(random[name].shape)}, "
                f"found {loaded.dtype}{list(loaded.shape)}"
            )
        inputs[name] = loaded
    seen = {k: pictures[k].read(v) if k in pictures else v for k, v in inputs.items()}
    others = {k: pictures[k].read(v) if k in pictures else v for k, v in other.items()}
    expected, moved = _evaluate_reference(session, seen), _evaluate_reference(session, others)
    layers = None
    if inner is not None:
        values = _evaluate_reference(inner, seen)
        layers = {k: v for k, v in values.items() if k not in expected and _is_tensor(v)}
    return _Case(sizes, inputs, expected, moved, layers, rasters)


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _evaluate_reference(session: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    # Initialisers may be listed as inputs too; only true inputs are fed.
    wanted = {entry.name for entry in session.get_inputs()}
    names = [entry.name for entry in session.get_outputs()]
    try:
        values = session.run(None, {k: v for k, v in inputs.items() if k in wanted})
    except Exception as error:  # as above
        raise WebDNNError(f"onnxruntime cannot run the model on these inputs: {error}") from error
    return dict(zip(names, values, strict=True))


def _load(file: Path) -> Array:
    try:
        return cast(Array, np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise WebDNNError(f"{file}: expected an .npy file: {error}") from error


def _evaluate(size: Any, sizes: Mapping[str, int]) -> int:
    """A descriptor's Int (docs/descriptor.md) at given dimensions."""
    match size:
        case int():
            return size
        case str():
            return sizes[size]
        case ["select", condition, a, b]:
            return _evaluate(a if _evaluate(condition, sizes) else b, sizes)
        case [op, a, b]:
            x, y = _evaluate(a, sizes), _evaluate(b, sizes)
            return _INT_OPS[op](x, y)
    raise WebDNNError(f"model.json: expected a size, found {size!r}")


_INT_OPS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "//": lambda x, y: x // y,
    "%": lambda x, y: x % y,
    "min": min,
    "max": max,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "&&": lambda x, y: bool(x) and bool(y),
    "||": lambda x, y: bool(x) or bool(y),
}


def _random_input(
    entry: Mapping[str, Any],
    rng: np.random.Generator,
    shape: tuple[int, ...],
    bound: int | None,
    other: bool,
) -> Array:
    if "image" in entry:
        return random_words(rng, shape, entry["image"]["channels"], other)
    return _random(rng, entry["dtype"], shape, bound, other)


def _random(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], bound: int | None, other: bool
) -> Array:
    if dtype.startswith("float"):
        values = rng.random(shape, np.float32)
        return (values**3 if other else values).astype(dtype)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    if bound is not None:
        return rng.integers(0, bound, shape).astype(dtype)
    if limits.bits == 8:
        return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    # An integer of unknown meaning, most often a mask: 0 or 1, the first one set.
    values = rng.integers(0, 2, shape).astype(dtype)
    values.reshape(-1)[:1] = 1
    return values


# What an index passes through between a graph's input and the table that it indexes.
_CARRIERS = {
    "Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip


def _table_sizes(model: Path) -> dict[str, int]:
    """For each integer input that indexes a constant table (an embedding, a one-hot code, spelled
    out or not), its number of rows."""
    graph = onnx.load(str(model), load_external_data=False).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    origin = {entry.name: entry.name for entry in graph.input if entry.name not in constants}
    found: dict[str, int] = {}
    for node in graph.node:
        rows, index = 0, ""
        match node.op_type, list(node.input):
            case kind, [first, *_] if kind in _CARRIERS and first in origin:
                origin[node.output[0]] = origin[first]
            case "Gather", [table, index] if table in constants:
                axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
                rows = constants[table].dims[axis]
            case "OneHot", [index, depth, _] if depth in constants:
                rows = int(numpy_helper.to_array(constants[depth]).max())
            case "Equal", [index, codes] if codes in constants and len(constants[codes].dims):
                rows = int(numpy_helper.to_array(constants[codes]).max()) + 1
        if rows > 1 and index in origin:
            name = origin[index]
            found[name] = min(found.get(name, rows), rows)
    return found


def _save(
    folder: Path, target: Target, variant: str | None, case: _Case, actual: Mapping[str, Array]
) -> None:
    """folder/[h=64,w=64/]{input,expected,wasm-plain,…}/NAME.npy"""
    place = folder / ",".join(f"{k}={v}" for k, v in case.sizes.items())
    for kind, arrays in (
        ("input", case.inputs),
        ("expected", case.expected),
        (label(target, variant).replace(" ", "-"), actual),
    ):
        (place / kind).mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(place / kind / f"{_file_name(name)}.npy", array)


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "_"
