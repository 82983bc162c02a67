"""Runs a model's descriptor in a real browser and compares every output with its framework's.

>>> report = check(Path("style.onnx"), dims={"h": (64, 512), "w": (64, 512)})  # doctest: +SKIP
>>> report.right
True

Each target, and each wasm variant, runs on the same inputs: given ones, or random ones from a seed.
An output is right when its largest difference stays within a tolerance times the largest magnitude
of the reference (`TOLERANCE`); integers and bools must be equal. A comparison that could not fail
proves nothing, so it is reported as *empty* and counts as a failure: a reference that is nearly
constant, or that hardly changes when the input does.

The reference is the model's own framework (`reference.py`), or values that were recorded where
it runs. Random floats lie in 0..1; a model that wants other inputs gets them with `inputs`, though
an integer that indexes a table (token ids, say) is drawn from that table's range.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from webdnn.browser.compare import (
    TOLERANCE,
    Output,
    Target,
    compare,
    drawn,
    drawn_judged,
    flipped,
    judged,
    narrowed,
    still,
)
from webdnn.browser.engine import BrowserError, Engine, Page, PageError, open_page
from webdnn.browser.inputs import (
    default_sizes,
    random_inputs,
    signature_of,
    sizes_of,
    table_sizes,
)
from webdnn.browser.readings import Readings
from webdnn.browser.reference import Reference, check_installed, recorded, reference
from webdnn.errors import WebDNNError
from webdnn.frontend.dims import OpenSizesError
from webdnn.graph import FEW_BITS, FROM_NUMPY, SHORT_FLOATS, Graph, array_type, evaluate
from webdnn.picture.image import ImageInput, Picture, load_raster
from webdnn.picture.output import Drawing, ImageOutput
from webdnn.transpiler import Dims, imported, transpile

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]

VARIANTS = ("plain", "relaxed", "plain-threads", "relaxed-threads")
THREADS = 2

# What each engine can run: WebKitGTK has neither relaxed SIMD, nor shared memory, nor WebGPU.
ABLE: Mapping[Engine, tuple[tuple[Target, ...], tuple[str, ...]]] = {
    "chromium": (("wasm", "webgpu"), VARIANTS),
    "firefox": (("wasm", "webgpu"), VARIANTS),
    "webkit": (("wasm",), ("plain",)),
}


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
    number: int | None = None  # of the inputs, where several were given
    error: str = ""

    @property
    def label(self) -> str:
        """webdnn's name for it: webgpu, or wasm with its variant."""
        return label(self.target, self.variant)

    @property
    def right(self) -> bool:
        """True when it ran, every output is right and no layer is wrong.

        An output may be constant by nature (a length), but not all of them. A layer may be empty:
        inner values that are constant are nothing special.
        """
        verdicts = {output.verdict for output in self.outputs}
        return (
            not self.error
            and verdicts <= {"right", "constant", "narrowed"}
            and verdicts != {"constant"}
            and all(layer.verdict != "wrong" for layer in self.layers)
        )


@dataclass(frozen=True, repr=False)
class CheckReport:
    """What `check` found; `notices` are the transpiler's, `batch` the dimensions that it made 1."""

    model: str
    browser: Engine
    runs: tuple[Run, ...]
    notices: tuple[str, ...] = ()
    reference: str = ""  # what the outputs were compared with
    batch: tuple[str, ...] = ()
    form: str = ""  # what weights were made into: outputs are measured against the float model's

    @property
    def right(self) -> bool:
        """True when everything that was asked for ran and is right."""
        return bool(self.runs) and all(run.right for run in self.runs)

    def __repr__(self) -> str:
        """What a prompt, a notebook or a failed assertion shows: a line for each output."""
        against = f" compared with {self.reference}" if self.reference else ""
        verdict = "right" if self.right else "wrong"
        lines = [f"CheckReport({self.model} in {self.browser}{against}: {verdict})"]
        for run in self.runs:
            place = " ".join([run.label, *(f"{name}={size}" for name, size in run.sizes.items())])
            if run.error:
                lines.append(f"{place}: {run.error}")
            for output in (*run.outputs, *(x for x in run.layers if x.verdict == "wrong")):
                relative = f"{output.relative:.1e}, allowed {output.tolerance:.0e}"
                why = f": {output.why}" if output.why else ""
                lines.append(f"{place}: {output.name}: {relative}: {output.verdict}{why}")
        return "\n  ".join([*lines, *(f"note: {note}" for note in self.notices)])


@dataclass
class _Case:
    """Inputs at one choice of dimensions, and what the reference makes of them."""

    sizes: Mapping[str, int]
    inputs: dict[str, Array]  # as the page gets them
    expected: dict[str, Array]
    other: dict[str, Array]  # of other inputs: does the output move? Empty if it is not known
    layers: dict[str, Array] | None  # the model's inner values
    rasters: frozenset[str] = frozenset()  # the inputs that are RGBA bytes [h, w, 4]
    # What else the framework makes of the inputs; of inner values, with True.
    again: Callable[[bool], Readings | str] = lambda inner: ""
    drawings: Mapping[str, Drawing] = field(default_factory=dict)  # the outputs that are pictures
    form: str = ""  # what weights were made into, if they were
    number: int | None = None  # of the inputs, where several were given

    @cached_property
    def readings(self) -> Readings | str:
        """These, computed where they are first asked for."""
        return self.again(False)

    @cached_property
    def layer_readings(self) -> Readings | str:
        """Those of inner values."""
        return self.again(True)


def check(
    model: Any,
    *,
    weights_file: Path | None = None,
    weights: str = "f32",
    keep: Sequence[str] = (),
    precision: str = "f32",
    example: Any = None,
    images: Mapping[Any, str | ImageInput] | None = None,
    outputs: Mapping[Any, str | ImageOutput] | None = None,
    targets: Sequence[Target] | None = None,
    variants: Sequence[str] | None = None,
    browser: Engine = "chromium",
    dims: Dims | None = None,
    fixed: Mapping[str, Any] | None = None,
    limits: float = 1,
    sizes: Sequence[Mapping[str, int]] | None = None,
    inputs: Mapping[str, Path | Array] | Sequence[Mapping[str, Path | Array]] | None = None,
    expected: Mapping[str, Path | Array] | None = None,
    seed: int = 0,
    layers: bool = False,
    descriptor: Path | None = None,
    save: Path | None = None,
    timeout: float = 600,
    progress: Progress | None = None,
) -> CheckReport:
    """Transpiles `model` (or takes `descriptor`, made from it) and compares it with its framework.

    `model`, `weights_file`, `weights`, `keep`, `precision`, `example`, `images` (inputs that take
    pictures), `outputs` (that are pictures), `dims`, `fixed` and `limits` are those of `transpile`;
    half precision is a target of its own, run beside WebGPU's. `targets` and `variants` default
    to all that `browser` can run. `sizes` lists at which values of the symbolic dimensions to
    run (default: their minimum, and the middle of their range). `inputs` maps input names to
    arrays or .npy files, and may be a list of such for several runs; the others are random from
    `seed`. Where an input takes pictures, the page gets one and the reference what
    `webdnn.picture` reads in it. `expected` maps output names to arrays or .npy files, recorded
    for these `inputs`: they take the framework's place. `layers` also compares every value of
    the model that is still stored after a run, and lists those that were fused away. `save`
    receives inputs, expected and actual outputs as .npy files. `timeout` is in seconds per run.

    Raises WebDNNError when there is nothing to compare: no framework, no browser, a model that
    cannot be transpiled. A target that fails in the browser is a Run with its `error`.
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
    if variants and "wasm" not in (targets or able_targets):
        raise WebDNNError("--variant is of wasm, which --target leaves out")
    if layers and precision != "f32":
        raise WebDNNError("--layers reads inner values as float32: leave out --precision f16")
    if descriptor and (weights != "f32" or keep or precision != "f32"):
        option = "--keep" if keep else "--weights" if weights != "f32" else "--precision"
        has = "computes as it" if option == "--precision" else "has its weights as it"
        raise WebDNNError(
            f"{option}: {descriptor} {has} was transpiled; leave this out, or leave out "
            "--descriptor"
        )
    if not expected:
        check_installed(model)
    targets = tuple(targets or able_targets)
    variants = tuple(variants or able_variants)
    with tempfile.TemporaryDirectory(prefix="webdnn-check-") as scratch:
        folder = descriptor
        notices: tuple[str, ...] = ()
        if folder is None:
            folder = Path(scratch) / "model"
            report = transpile(
                model,
                folder,
                weights_file=weights_file,
                weights=weights,
                keep=keep,
                precision=precision,
                example=example,
                inputs=images,
                outputs=outputs,
                targets=targets,
                dims=dims or {},
                fixed=fixed,
                limits=limits,
                keep_values=layers,
                progress=progress,
            )
            notices = tuple(report.notices)
            signature = signature_of(folder)
        else:
            signature = signature_of(folder)
            again = partial(
                imported,
                model,
                weights_file=weights_file,
                example=example,
                inputs=images,
                outputs=outputs,
                fixed=fixed,
                limits=limits,
            )
            try:
                report = again(dims=dims or sizes_of(signature))
            except OpenSizesError as error:  # what is computed or fixed has no dimension there
                if dims:
                    raise
                report = again(dims=sizes_of(signature, error.declared))
            _check_inputs(signature, report.imported.graph, folder)
        form = signature["weights"].get("form", "")
        pictures = report.pictures
        _check_pictures(signature, pictures, report.drawings, folder)
        names = [
            [entry["name"] for entry in signature[k] if not entry.get("hidden")]
            for k in ("inputs", "outputs")
        ]
        each = [inputs] if isinstance(inputs, Mapping) else [*(inputs or ({},))]
        every = [_given(signature, given, pictures) for given in each]
        if expected:
            against = recorded(_recorded(expected, names, each))
        else:
            constants = _constants(report.imported.graph, fixed or {})
            against = reference(
                model, [*names[0], *constants], names[1], weights=weights_file, example=example
            ).at(constants)
        if layers and against.layers is None:
            raise WebDNNError(f"--layers: {against.name} does not give inner values")
        bounds = table_sizes(report.imported.graph)
        cases = [
            replace(
                _case(against, layers, signature, pictures, bounds, chosen, fed, seed),
                drawings=report.drawings,
                form=form,
                number=number if len(every) > 1 else None,
            )
            for number, fed in enumerate(every, 1)
            for chosen in (sizes or default_sizes(signature, fed))
        ]
        plan: list[tuple[Target, str | None]] = []
        if "webgpu" in targets and "webgpu-f16" in signature["targets"]:
            targets = (*targets, "webgpu-f16")
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
    name = Path(model).name if isinstance(model, (str, Path)) else type(model).__name__
    batch = report.imported.batch
    return CheckReport(name, browser, tuple(runs), notices, against.name, batch, form)


def _constants(graph: Graph, fixed: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs that are constants in the descriptor: the model's framework is given them."""
    # Of PyTorch's modules the graph has no such input, and the module converts what it is given.
    return {
        name: evaluate(graph.names[name]) if name in graph.names else np.asarray(value)
        for name, value in fixed.items()
    }


def _check_inputs(signature: Mapping[str, Any], graph: Graph, folder: Path) -> None:
    """Raises WebDNNError where the descriptor has other inputs than the model."""
    has = [entry["name"] for entry in signature["inputs"]]
    wants = [v.attrs["name"] for v in graph.inputs]
    for name in wants:
        if name not in has:
            raise WebDNNError(
                f"{folder}: it has no input {name!r}, though the model has. If that was made a "
                f"constant, give the same --set {name}=VALUE as to transpile"
            )
    for name in has:
        if name not in wants:
            raise WebDNNError(f"{folder}: it has an input {name!r}, which --set makes a constant")


def _check_pictures(
    signature: Mapping[str, Any],
    pictures: Mapping[str, Picture],
    drawings: Mapping[str, Drawing],
    folder: Path,
) -> None:
    """Raises WebDNNError where the descriptor's pictures are not those that are specified."""
    for kind, key, given in (("input", "image", pictures), ("output", "drawn", drawings)):
        for entry in signature[f"{kind}s"]:
            name, made = entry["name"], entry.get(key)
            if made != (given[name].signature() if name in given else None):
                raise WebDNNError(
                    f"{folder}: {kind} {name!r} was transpiled "
                    f"{'as a picture' if made else f'without --{kind}'}; "
                    f"give the same --{kind} NAME:SPECIFICATION as to transpile"
                )


def label(target: Target, variant: str | None) -> str:
    """The name of a run: webgpu, webgpu-f16, or wasm with its variant."""
    return target if variant is None else f"{target} {variant}"


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
        # What JavaScript lacks crosses to the page in wider elements (docs/descriptor.md).
        kind = FROM_NUMPY.get(array.dtype.name, "")
        sent = array.astype(np.float32) if kind == "f16" else array
        sent = sent.astype(array_type(kind)) if kind in (*SHORT_FLOATS, *FEW_BITS) else sent
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
    if target != "wasm":
        options = {"backend": "webgpu", "precision": "f16" if target == "webgpu-f16" else "f32"}
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
            if not other.other or not still(expected, other.other[name], tolerance)
        }
        outputs = tuple(
            _output(case, name, actual[name], tolerance, name in moving)
            if name in actual
            else _missing(name, expected, tolerance)
            for name, expected in case.expected.items()
        )
        if all(output.verdict == "constant" for output in outputs):
            outputs = tuple(replace(output, verdict="empty") for output in outputs)
        inner = case.layers or {}
        layers = tuple(
            # A float16 or int64 value is stored in 32 bits: its numbers are compared, not its type.
            _layer(case, name, stored[name], expected, tolerance)
            for name, expected in inner.items()
            if name in stored
        )
        fused = tuple(name for name in inner if name not in stored)
        yield Run(
            target, variant, case.sizes, outputs, layers, fused, result["ms"], number=case.number
        )


def _output(case: _Case, name: str, actual: Array, tolerance: float, moves: bool) -> Output:
    """An output beside the reference or, where that differs, beside its most exact reading."""
    other = None if moves else case.other[name]
    drawing, expected = case.drawings.get(name), case.expected[name]
    if drawing is None:
        usual = compare(name, actual, expected, tolerance, other)
        same = actual.shape == expected.shape
    else:
        usual = drawn(drawing, actual, expected, tolerance, other)
        same = actual.shape == drawing.pixels(expected).shape[:2]
    if case.form and drawing is None:
        return narrowed(actual, usual, expected, case.form)
    if case.form and drawing is not None and same:
        pixels = np.ascontiguousarray(actual, "<u4").view(np.uint8).reshape(*actual.shape, 4)
        wanted = drawing.pixels(expected).astype(np.float32)
        return narrowed(pixels.astype(np.float32), usual, wanted, case.form)
    if usual.verdict != "wrong" or not same:
        return usual
    readings = case.readings
    if isinstance(readings, str):
        return replace(usual, why="; ".join(filter(None, [usual.why, readings])))
    if drawing is None:
        return judged(actual, usual, readings, other)
    return drawn_judged(drawing, actual, usual, readings, other)


def _layer(case: _Case, name: str, actual: Array, expected: Array, tolerance: float) -> Output:
    """An inner value beside the reference's, where roundings may fall to either side."""
    usual = compare(name, actual, expected, tolerance)
    if case.form:
        measured = narrowed(actual, usual, expected, case.form)
        lost = measured.verdict == "wrong" and math.isfinite(measured.relative)
        return replace(measured, verdict="narrowed", why="") if lost else measured
    if usual.verdict != "wrong" or actual.shape != expected.shape:
        return usual
    readings = case.layer_readings
    if isinstance(readings, str):
        return usual
    return flipped(actual, judged(actual, usual, readings), readings)


def _missing(name: str, expected: Array, tolerance: float) -> Output:
    shape, dtype = tuple(expected.shape), str(expected.dtype)
    why = "missing from the result"
    return Output(name, shape, dtype, math.inf, math.inf, tolerance, "wrong", why)


def _arrays(described: Sequence[Mapping[str, Any]], data: Mapping[str, bytes]) -> dict[str, Array]:
    """Arrays that `pages/execute.js` wrote, by tensor name."""
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


def _given(
    signature: Mapping[str, Any],
    files: Mapping[str, Path | Array],
    pictures: Mapping[str, Picture],
) -> dict[str, Array]:
    """Inputs that the user gives; pictures become RGBA bytes [h, w, 4]."""
    names = [entry["name"] for entry in signature["inputs"]]
    for name in files:
        if name not in names:
            raise WebDNNError(f"--input {name}: the model's inputs are {', '.join(names)}")
    return {
        k: load_raster(v) if k in pictures and isinstance(v, Path) else _load(v)
        for k, v in files.items()
    }


def _recorded(
    expected: Mapping[str, Path | Array],
    names: Sequence[Sequence[str]],
    every: Sequence[Mapping[str, Path | Array]],
) -> dict[str, Array]:
    """Outputs from files. Raises WebDNNError if it is not known what they belong to."""
    wanted, known = names
    for name in expected:
        if name not in known:
            raise WebDNNError(f"--expected {name}: the model's outputs are {', '.join(known)}")
    if len(every) > 1:
        raise WebDNNError("--expected: the outputs belong to one --input for each of the inputs")
    missing = [name for name in wanted if name not in every[0]]
    if missing:
        raise WebDNNError(
            "--expected: the outputs belong to certain inputs; give them too: "
            + " ".join(f"--input {name}=FILE.npy" for name in missing)
        )
    return {name: _load(file) for name, file in expected.items()}


def _case(
    against: Reference,
    layers: bool,
    signature: Mapping[str, Any],
    pictures: Mapping[str, Picture],
    bounds: Mapping[str, int],
    sizes: Mapping[str, int],
    given: Mapping[str, Array],
    seed: int,
) -> _Case:
    random = random_inputs(signature, sizes, bounds, seed)
    other = random_inputs(signature, sizes, bounds, seed + 1, other=True)
    inputs = dict(random)
    for name, picture in pictures.items():
        if picture.fixed and name not in given:
            # Of another size than the model's: the runner's resizing is compared, too.
            inputs[name] = picture.example(seed)
    for name, array in given.items():
        wanted = random[name]
        if name not in pictures and (array.dtype, array.shape) != (wanted.dtype, wanted.shape):
            raise WebDNNError(
                f"--input {name}: expected {wanted.dtype}{list(wanted.shape)}, "
                f"found {array.dtype}{list(array.shape)}"
            )
        inputs[name] = array
    rasters = frozenset(name for name in pictures if inputs[name].ndim == 3)
    seen = {k: pictures[k].read(v) if k in pictures else v for k, v in inputs.items()}
    expected = against.run(seen)
    moved: dict[str, Array] = {}
    # Whether outputs move is asked of other random inputs beside those that were given, which mean
    # something: what is drawn may be nothing that the model can take.
    if not inputs.keys() <= given.keys() and against.name != "recorded values":
        others = {k: pictures[k].read(v) if k in pictures else v for k, v in other.items()}
        with suppress(WebDNNError) if given else nullcontext():
            moved = against.run({**others, **{k: seen[k] for k in given}})
    inner = None
    if layers and against.layers is not None:
        values = against.layers(seen)
        inner = {k: v for k, v in values.items() if k not in expected and _is_tensor(v)}

    def again(layers: bool) -> Readings | str:
        return against.again(seen, (inner or {}) if layers else expected, layers)

    return _Case(sizes, inputs, expected, moved, inner, rasters, again)


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _load(file: Path | Array) -> Array:
    if isinstance(file, np.ndarray):
        return file
    try:
        return cast(Array, np.load(file, allow_pickle=False))
    except ValueError as error:  # numpy's own words are of pickles, whatever the file is
        raise WebDNNError(f"{file}: expected an .npy file, as numpy.save writes it") from error
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error  # without the name again
        raise WebDNNError(f"{file}: expected an .npy file: {why}") from error


def _save(
    folder: Path, target: Target, variant: str | None, case: _Case, actual: Mapping[str, Array]
) -> None:
    """Writes folder/[h=64,w=64/]{input,expected,wasm-plain,…}/NAME.npy."""
    numbered = {} if case.number is None else {"input": case.number}
    place = folder / ",".join(f"{k}={v}" for k, v in (numbered | {**case.sizes}).items())
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
