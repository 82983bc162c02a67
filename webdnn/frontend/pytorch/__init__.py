"""PyTorch: modules with example inputs, exported programs and .pt2 files.

    imported = load(module, {"batch": (1, 8), "h": (64, 512), "w": (64, 512)},
                    example=torch.zeros(1, 3, 224, 224))

PyTorch's own exporter (`torch.onnx.export`) writes ONNX, `onnx.load` reads it. Exporters bake sizes
and make mistakes, so nothing is believed: the ONNX model must give what the module itself gives, at
two choices of the open sizes (or for two inputs where all sizes are fixed), or the next of `ROUTES`
is tried. What was compared, and how well it agreed, is in the notes.

The example is a tensor, a tuple of arguments, or a dict of keyword arguments; numpy arrays will do,
and lists, tuples and dicts of tensors. An argument that is no tensor stays what it is. All sizes
are the example's, except those that `dims` names:

* INPUT.AXIS, as `x.2`: one axis;
* `batch` (or `n`): the first axis of every input that has the first one's batch size;
* `h`, `w` (height, width): the last two axes of four-dimensional float inputs [N, C, H, W], and
  `d`, `h`, `w` the last three of five-dimensional ones;
* any other name, as `seq`: axis 1 of the first input of shape [N, T] or [N, T, features], and of
  every other such input that is equally long.

A number fixes an axis at that size, a range leaves it open, and a formula over other keys says how
it follows from them: "past_2 + ids_1", with underscores for dots. An exported program says by
itself which of its axes are open; there `dims` gives their ranges.

Limits: torch and onnxscript must be installed (`pip install 'webdnn[pytorch]'`). Pickled files are
never read, since reading one runs the code in it. Python control flow is frozen as the example
takes it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DimensionError, UnsupportedError, WebDNNError
from ...expr import evaluate as size_at
from .. import onnx
from ..dims import Formula, Given, Range, Size, Sizes, identifier, image_axes, value_of
from ..finish import Imported
from ..onnx.files import LARGE
from . import files
from .module import (
    Array,
    Function,
    Outputs,
    as_array,
    evaluating,
    first_line,
    function,
    quiet,
    torch_packages,
    type_text,
)
from .spelled import spelled_out

Place = tuple[int, int]  # an input and one of its axes
Weights = Mapping[str, Array]  # by name

# How far an exported model may be from the module, as a part of the output's largest magnitude.
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2  # where the module computes in 16 bits


@dataclass(frozen=True)
class Route:
    """One way of exporting: `capture` is how the module's operations are recorded."""

    capture: str
    opset: int

    def __str__(self) -> str:
        return f"torch.onnx.export ({self.capture}, opset {self.opset})"


# In the order in which they are tried.
ROUTES = (
    Route("dynamo", 23),
    Route("dynamo", 18),
    Route("dynamo, strict", 23),
    Route("TorchScript", 18),
)


def recognises(model: Any, head: bytes) -> bool:
    """Whether this is PyTorch's: a module, an exported program, or a file that torch wrote."""
    if head:
        return files.kind(model, head) is not None
    names = {(c.__module__.partition(".")[0], c.__name__) for c in type(model).__mro__}
    return bool(
        names & {("torch", "Module"), ("torch", "ExportedProgram"), ("torch", "ScriptFunction")}
    ) or files.is_state(model)


def load(
    model: Any,
    dims: Given | None = None,
    *,
    example: Any = None,
) -> Imported:
    """Import a module (with an example), an exported program or a .pt2 file.

    dims: the sizes that are to differ from the example's, as the module's text says.

    Raises ModelError for a module that does not run on its example and for files that hold no
    program, UnsupportedError where no exporter gets it right, DimensionError for a dimension that
    is missing or cannot vary.
    """
    sizes = dims if isinstance(dims, Sizes) else Sizes(dims)
    return import_function(function(model, example, sizes.fixed), sizes)


# ---- which axes are open ------------------------------------------------------------------------


def places(dims: Given, names: Sequence[str], example: Sequence[Any]) -> dict[Place, str]:
    """The axes that the keys of `dims` mean, by the rules of the module's text."""
    ranks = [t.dim() for t in example]
    found: dict[Place, str] = {}
    for key, wanted in dims.items():
        short = {"height": "h", "width": "w", "depth": "d", "n": "batch"}.get(
            key.lower(), key.lower()
        )
        at: list[Place] = [
            (k, axis)
            for k, name in enumerate(names)
            for axis in range(ranks[k])
            if key in (f"{name}.{axis}", f"{name}_{axis}")
        ]
        images = [k for k, t in enumerate(example) if ranks[k] in (4, 5) and t.is_floating_point()]
        if not at and short == "batch":
            first = next((t.shape[0] for t in example if t.dim()), None)
            at = [(k, 0) for k, t in enumerate(example) if t.dim() and t.shape[0] == first]
        elif not at and short in ("h", "w"):
            at = [(k, ranks[k] - 2 + "hw".index(short)) for k in images]
        elif not at and short == "d":
            at = [(k, 2) for k in images if ranks[k] == 5]
        if not at and not re.search(r"[._]\d+$", key) and short not in ("batch", "h", "w"):
            rows = [k for k, rank in enumerate(ranks) if rank in (2, 3)]
            at = [(k, 1) for k in rows if example[k].shape[1] == example[rows[0]].shape[1]]
        if not at:
            have = ", ".join(f"{n}: {type_text(t)}" for n, t in zip(names, example))
            raise DimensionError(
                f"--dim {key}: no axis of the inputs has this name. The inputs are {have}; name an "
                f"axis as {names[0]}.0"
            )
        for place in at:
            if found.get(place, key) != key and dims[found[place]] != wanted:
                raise DimensionError(
                    f"--dim {found[place]} and --dim {key} both mean axis {place[1]} of input "
                    f"{names[place[0]]!r}, but differ"
                )
            found.setdefault(place, key)
    return found


def resized(
    example: Sequence[Any], at: Mapping[Place, str], sizes: Mapping[str, int], seed: int = 0
) -> list[Any]:
    """The example at other sizes, cut off or repeated; with a seed, other inputs of its kind.

    Those hold the example's own integers in another order, since they may be indices of tables.
    """
    torch = torch_packages()
    generator = torch.Generator().manual_seed(seed)
    out = []
    for k, tensor in enumerate(example):
        for axis in range(tensor.dim()):
            size = sizes.get(at.get((k, axis), ""), tensor.shape[axis])
            if size != tensor.shape[axis] and tensor.shape[axis]:
                tensor = tensor.index_select(axis, torch.arange(size) % tensor.shape[axis])
            elif size != tensor.shape[axis]:  # from nothing: zeros, which a seed replaces
                shape = [*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]]
                tensor = tensor.new_zeros(shape)
        if seed and tensor.numel():
            if tensor.dtype.is_floating_point:
                wide = tensor.float()
                spread = (wide.max() - wide.min()).nan_to_num(0.0, 0.0, 0.0)
                noise = torch.rand(tensor.shape, generator=generator)
                if spread == 0:  # zeros or ones: only a shape was meant
                    tensor = noise.to(tensor.dtype)
                else:
                    tensor = torch.where(noise < 0.5, wide, wide.flip(-1) if wide.dim() else wide)
                    tensor = (tensor * (0.5 + noise)).to(example[k].dtype)
            elif tensor.dim():
                order = torch.randperm(tensor.shape[-1], generator=generator)
                tensor = tensor.index_select(tensor.dim() - 1, order)
        out.append(tensor.contiguous())
    return out


# ---- exporting ----------------------------------------------------------------------------------


def import_function(called: Function, dims: Given) -> Imported:
    """The graph of a function by the first of ROUTES whose result agrees with the function."""
    torch = torch_packages()
    sizes = _stepped(called, dims if isinstance(dims, Sizes) else Sizes(dims))
    at = places(sizes, called.inputs, called.example)
    ranges = {k: v for k, v in sizes.items() if not isinstance(v, int)}
    fixed = {k: v for k, v in sizes.items() if isinstance(v, int)}
    if called.program is not None:
        _check_program(called, at, ranges, fixed)
    cases, remarks = _cases(called, at, ranges, fixed)
    problems: dict[Route, str] = {}
    errors: list[WebDNNError] = []
    unexported = False
    routes = list(ROUTES)
    if any(isinstance(m, torch.nn.RNN) for m in called.call.modules()):
        routes.sort(key=lambda r: r.capture != "TorchScript")  # dynamo writes every step out
    for route in routes:
        if unexported and route.capture != "TorchScript":
            continue
        if called.program is not None and (
            route.capture == "dynamo, strict" or (route.capture == "TorchScript" and ranges)
        ):
            continue
        try:
            with torch.no_grad(), evaluating(called.call), _exporting(torch):
                proto, weights = _exported(called, route, cases[0][1], at, ranges, torch)
        except Exception as error:  # any: exporters raise whatever they meet
            problems[route] = _reason(error)
            unexported = "TorchExportError" in type(error).__name__
            continue
        try:
            _name_dimensions(proto, called, at, ranges, fixed)
            imported = onnx.load(proto, _named_sizes(proto, called, at, sizes), arrays=weights)
            decides = route.capture == "TorchScript" and any(
                "data-dependent" in p for p in problems.values()
            )
            opposite = _opposite(called, cases[0]) if decides else []
            worst, through = _compared(proto, weights, called, [*cases[1:], *opposite])
        except WebDNNError as error:
            problems[route] = error.problem if isinstance(error, DimensionError) else str(error)
            errors.append(error)
            continue
        names = {re.sub(r"^m\.", "", k): v for k, v in imported.graph.names.items()}
        graph = replace(imported.graph, names=names)
        where = " and ".join(label for label, *_ in cases[1:])
        said = (
            f"exported by {route}; compared with the module through {through} {where}: "
            f"largest error {worst:.1e} of the output's largest magnitude"
        )
        passed_over = [f"not used: {r}: {p}" for r, p in problems.items()]
        if decides:
            passed_over.append(
                "the module decides by the values of tensors which way to go; TorchScript exports "
                "the way of the example alone: make sure that all inputs go it"
            )
        notes = [*called.notes, *remarks, *passed_over, said, *imported.notes]
        return replace(imported, graph=graph, notes=notes)
    same: dict[str, list[str]] = {}  # routes by their problem
    for r, problem in problems.items():
        same.setdefault(problem, []).append(str(r).removeprefix("torch.onnx.export "))
    lines = "\n".join(f"  torch.onnx.export {' and '.join(r)}: {p}" for p, r in same.items())
    kind: type[WebDNNError] = UnsupportedError
    if errors and all(isinstance(e, DimensionError) for e in errors):
        kind = DimensionError
    advice = next((e.advice for e in errors if isinstance(e, DimensionError) and e.advice), "")
    if ranges and not advice:
        own = {k: called.example[j].shape[a] for (j, a), k in at.items() if k in ranges}
        own_sizes = sizes.replaced(own)
        advice = (
            "A size that cannot vary can be fixed, for example at the example's: "
            f"{own_sizes.line()} (in Python {own_sizes.python()})"
        )
    raise kind(f"none of PyTorch's exporters gets this module right:\n{lines}\n{advice}".rstrip())


Open = Mapping[str, Range | Formula]  # the sizes that vary, by key


def _stepped(called: Function, sizes: Sizes) -> Sizes:
    """The sizes in the steps that pictures make on their axes."""
    changes: dict[str, Size] = {}
    for (k, axis), key in places(sizes, called.inputs, called.example).items():
        said = sizes.sides.get(called.inputs[k]) or sizes.sides.get(None)
        size = changes.get(key, sizes[key])
        if said and isinstance(size, Range) and axis in (image_axes(called.example[k].shape) or ()):
            changes[key] = size.stepped(said.multiple) or size
    return sizes.replaced(changes)


def _complete(choice: Mapping[str, int], ranges: Open) -> dict[str, int]:
    """A choice of sizes with those that follow from it. Raises DimensionError for other names."""
    out = dict(choice)
    names = {identifier(k): n for k, n in choice.items()}
    for key, said in ranges.items():
        if isinstance(said, Formula):
            try:
                out[key] = size_at(value_of(said.text, names), {})
            except KeyError as error:
                raise DimensionError(
                    f"--dim {key}={said}: {error} is none of {', '.join(names) or 'the sizes'}"
                ) from None
    return out


def _check_program(
    called: Function, at: Mapping[Place, str], ranges: Open, fixed: Mapping[str, int]
) -> None:
    """Raises DimensionError for an axis that is to change, but that an exported program fixes."""
    nodes = {n.name: n for n in called.program.graph.nodes if n.op == "placeholder"}
    user = [
        nodes[s.arg.name].meta.get("val")
        for s in called.program.graph_signature.input_specs
        if s.kind.name == "USER_INPUT" and s.arg.name in nodes
    ]
    shapes = [v.shape for v in user if hasattr(v, "shape")]
    for (k, axis), key in at.items():
        size = shapes[k][axis] if k < len(shapes) else None
        if isinstance(size, int) and (key in ranges or fixed.get(key, size) != size):
            raise DimensionError(
                f"--dim {key}: axis {axis} of input {called.inputs[k]!r} is fixed at {size} in the "
                "exported program; export it with dynamic_shapes that leave it open, or pass the "
                "module"
            )


Case = tuple[str, list[Any], Outputs]

# Multiples, and one more than these, at which a module may run that does not run anywhere.
_UNITS = (2, 4, 6, 8, 12, 14, 16, 20, 24, 28, 32, 48, 56, 64)


def _cases(
    called: Function,
    at: Mapping[Place, str],
    ranges: Open,
    fixed: Mapping[str, int],
) -> tuple[list[Case], list[str]]:
    """Inputs to trace with, then two to compare at, each with what the module makes of them."""
    remarks: list[str] = []
    if not ranges:
        cases = []
        for seed in (0, 0, 1):
            feeds = resized(called.example, at, fixed, seed)
            label = ("on the example", "on another input")[seed]
            try:
                cases.append((label, feeds, called.run(_clones(feeds))))
            except Exception as error:
                if seed:  # it may accept no other than its example
                    continue
                text = ", ".join(f"{k}={v}" for k, v in fixed.items())
                raise DimensionError(
                    f"the module does not run at {text}: {first_line(error)}"
                ) from error
        return cases, remarks
    own = {key: called.example[k].shape[axis] for (k, axis), key in at.items()}
    spans = {k: r for k, r in ranges.items() if isinstance(r, Range)}
    low = {k: r.low for k, r in spans.items()}
    # An odd size between, another for each axis, and not much larger than it must be.
    middle = {
        k: r.nearest((r.low + min((r.high - r.low) // 2, max(r.low, 32)) | 1) + 2 * j * r.step)
        for j, (k, r) in enumerate(spans.items())
    }
    usual = {k: r.nearest(max(own[k], r.low, 2)) for k, r in spans.items()}
    above = {k: r.nearest(max(2, r.low) + r.step) for k, r in spans.items()}
    choices = [low, middle, usual, above]
    choices.append({k: r.high for k, r in spans.items() if r.high <= 1024})
    for unit, more in itertools.product(_UNITS, (0, 1)):
        steps = {k: r.stepped(unit, more) or r for k, r in spans.items()}
        choices += [{k: min(r.low + n * r.step, r.high) for k, r in steps.items()} for n in (0, 1)]
    accepted: list[Case] = []
    seen: list[dict[str, int]] = []
    refused = ""
    first: Case | None = None
    for choice in choices:
        good = len(choice) == len(spans) and all(choice[k] in r for k, r in spans.items())
        if not good or choice in seen:
            continue
        seen.append(choice)
        label = "at " + ", ".join(f"{k}={v}" for k, v in choice.items())
        feeds = resized(called.example, at, {**fixed, **_complete(choice, ranges)}, len(seen))
        try:
            case = (label, feeds, called.run(_clones(feeds)))
        except Exception as error:
            refused = refused or f"{label}: {first_line(error)}"
            continue
        # One element is a special case to exporters: what it shows must not be generalised.
        if min(choice.values()) > 1 and (first is None or choice == usual):
            first = case
        if len(accepted) < 2:
            accepted.append(case)
        if len(accepted) == 2 and first is not None and usual in seen:
            break
    if first is None or len(accepted) < 2:
        raise DimensionError(
            f"the module itself does not run at two sizes within the given ranges; {refused}"
        )
    if refused:
        remarks.append(f"the module itself does not run {refused}")
    return [first, *accepted], remarks


def _exported(
    called: Function,
    route: Route,
    feeds: Sequence[Any],
    at: Mapping[Place, str],
    ranges: Open,
    torch: Any,
) -> tuple[Any, Weights]:
    """A ModelProto by one route, and its large weights, which stay where the module has them.

    These are external data of the ModelProto, with the weight's name as location.
    """
    names: dict[str, Any] = {
        "input_names": list(called.inputs),
        "output_names": list(called.outputs),
        "opset_version": route.opset,
    }
    opened = {place: key for place, key in at.items() if key in ranges}
    if route.capture == "TorchScript":
        axes: dict[str, dict[int, str]] = {}
        for (k, axis), key in opened.items():
            axes.setdefault(called.inputs[k], {})[axis] = identifier(key)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            torch.onnx.export(
                called.call, tuple(_clones(feeds)), path, dynamo=False, dynamic_axes=axes, **names
            )
            return _from_folder(path)
    if called.program is not None:
        program = torch.onnx.export(called.program, dynamo=True, verbose=False, **names)
    else:
        shapes = tuple(
            {axis: torch.export.Dim.DYNAMIC for (j, axis) in opened if j == k} or None
            for k in range(len(feeds))
        )
        options = {"dynamic_shapes": (shapes,)} if opened else {}
        what, args = called.call, tuple(_clones(feeds))
        if route.capture == "dynamo, strict":
            what = torch.export.export(what, args, strict=True, **options)
            options, args = {}, ()
        program = torch.onnx.export(what, args, dynamo=True, verbose=False, **options, **names)
    return _without_weights(program.model)


def _from_folder(path: Path) -> tuple[Any, Weights]:
    """A ModelProto from a file; its weights, where it is so large that they lie beside it."""
    onnx = import_module("onnx")
    proto = onnx.load_model(path, load_external_data=False)
    weights: dict[str, Array] = {}
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {e.key: e for e in tensor.external_data}
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            count, shape = int(np.prod(tensor.dims)), tuple(tensor.dims)
            file = path.parent / entries["location"].value
            offset = int(entries["offset"].value) if "offset" in entries else 0
            weights[tensor.name] = np.fromfile(file, dtype, count, offset=offset).reshape(shape)
            entries["location"].value = tensor.name
    return proto, weights


def _without_weights(model: Any) -> tuple[Any, Weights]:
    """A model of onnx_ir as a ModelProto, which could not hold 2 GB, and its large weights."""
    ir = import_module("onnx_ir")
    weights: dict[str, Array] = {}
    _set_apart(model.graph, ir)
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor.nbytes > LARGE and tensor.dtype.bitwidth >= 8:
            weights[name] = tensor.numpy()  # a view, also of a weight that the exporter transposed
            value.const_value = ir.ExternalTensor(
                name, 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name
            )
    return ir.to_proto(model), weights


def _set_apart(graph: Any, ir: Any) -> None:
    """Gives inner values other names than those of inputs and outputs, which the exporter gives
    last, whatever else is called so."""
    public = {id(v): v.name for v in (*graph.inputs, *graph.outputs)}
    taken = set(public.values())
    inner = [v for node in ir.traversal.RecursiveGraphIterator(graph) for v in node.outputs]
    known = taken | {v.name for v in inner} | set(graph.initializers)
    for value in (*inner, *graph.initializers.values()):
        if value.name not in taken or id(value) in public:
            continue
        name = value.name
        while name in known:
            name += "_"
        known.add(name)
        if graph.initializers.get(value.name) is value:
            graph.initializers.pop(value.name)
            value.name = name
            graph.initializers[name] = value
        else:
            value.name = name


def _name_dimensions(
    proto: Any,
    called: Function,
    at: Mapping[Place, str],
    ranges: Open,
    fixed: Mapping[str, int],
) -> None:
    """Calls the open axes what the user calls them. Raises for an axis that the exporter fixed."""
    inputs = {i.name: i for i in proto.graph.input}
    lost = [n for n in called.inputs if n not in inputs]
    if lost:
        raise UnsupportedError(f"the exporter dropped the inputs {', '.join(lost)}")
    renamed: dict[str, str] = {}
    for (k, axis), key in at.items():
        size = inputs[called.inputs[k]].type.tensor_type.shape.dim[axis]
        if key in ranges and not size.dim_param:
            raise DimensionError(
                f"axis {axis} of input {called.inputs[k]!r} was fixed at {size.dim_value}"
            )
        if size.dim_param:
            renamed.setdefault(size.dim_param, identifier(key))
    for i in proto.graph.input:
        for size in i.type.tensor_type.shape.dim:
            if size.dim_param in renamed:
                size.dim_param = renamed[size.dim_param]
            elif size.dim_param:  # perhaps a formula over them
                size.dim_param = re.sub(
                    r"[A-Za-z_]\w*", lambda m: renamed.get(m[0], m[0]), size.dim_param
                )
    # What an exporter says of inner and output shapes may be wrong, and is not needed.
    del proto.graph.value_info[:]
    for o in proto.graph.output:
        o.type.tensor_type.ClearField("shape")


def _named_sizes(proto: Any, called: Function, at: Mapping[Place, str], sizes: Sizes) -> Sizes:
    """The sizes without what the exported model no longer leaves open."""
    inputs = {i.name: i for i in proto.graph.input}
    still = {
        key
        for (k, axis), key in at.items()
        if inputs[called.inputs[k]].type.tensor_type.shape.dim[axis].dim_param
    }
    return Sizes({k: v for k, v in sizes.items() if k in still}, sizes.sides)


# ---- comparing ----------------------------------------------------------------------------------


def _opposite(called: Function, case: Case) -> list[Case]:
    """The case with its numbers negated, which is likely to make a module decide otherwise."""
    label, feeds, _ = case
    other = [-t if t.dtype.is_floating_point else t.clone() for t in feeds]
    try:
        return [(f"{label} negated", other, called.run(_clones(other)))]
    except Exception:  # it need not accept this
        return []


def _compared(
    proto: Any, weights: Weights, called: Function, cases: Sequence[Case]
) -> tuple[float, str]:
    """The largest relative error of the exported model, and what ran it."""
    failed: Exception | None = None
    for through, make in (("onnxruntime", _with_onnxruntime), ("onnx.reference", _with_onnx)):
        try:
            run = make(proto, weights)
            found = [
                run({n: as_array(t) for n, t in zip(called.inputs, feeds)}) for _, feeds, _ in cases
            ]
        except Exception as error:  # not installed, or an operator or a type that it lacks
            failed = failed if isinstance(error, ImportError) else failed or error
            continue
        return _worst(found, called, cases), through
    raise UnsupportedError(f"the exported model does not run ({_reason(failed or Exception())})")


def _worst(found: Sequence[Mapping[str, Any]], called: Function, cases: Sequence[Case]) -> float:
    """The largest relative error in all outputs. Raises for one that is wrong."""
    tolerance = HALF_TOLERANCE if called.half else TOLERANCE
    worst = 0.0
    for outputs, (label, _, expected) in zip(found, cases):
        for name, wanted in expected.items():
            got = np.asarray(outputs[name])
            if got.shape != wanted.shape:
                raise DimensionError(
                    f"output {name!r} {label} has shape {list(got.shape)}, the module's has "
                    f"{list(wanted.shape)}: the exporter fixed a size"
                )
            apart = difference(got, wanted)
            if not apart <= (0 if wanted.dtype.kind in "biu" else tolerance):
                raise UnsupportedError(
                    f"output {name!r} {label} differs from the module's by {apart:.2g} of its "
                    "largest magnitude"
                )
            worst = max(worst, apart)
    return worst


def difference(found: Array, wanted: Array) -> float:
    """The largest difference as a part of the largest magnitude; NaN and infinities must agree."""
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    largest = np.abs(a[np.isfinite(a)]).max(initial=0)
    with np.errstate(invalid="ignore"):
        apart = float(np.abs(np.where(same, 0, a - b)).max(initial=0))
    return apart / float(largest) if largest else (np.inf if apart else 0.0)


Running = Callable[[Mapping[str, Array]], Mapping[str, Any]]


def _with_onnxruntime(proto: Any, weights: Weights) -> Running:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")  # a copy of each weight
    held = {
        name: runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
        for name, array in weights.items()
    }
    options.add_external_initializers([*held], [*held.values()])
    session = runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in proto.graph.output]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds))))


def _with_onnx(proto: Any, weights: Weights) -> Running:
    whole = type(proto)()
    whole.CopyFrom(proto)
    for tensor in whole.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = weights[tensor.name].tobytes()
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    evaluator = import_module("onnx.reference").ReferenceEvaluator(whole)
    names = [o.name for o in proto.graph.output]
    return lambda feeds: dict(zip(names, evaluator.run(names, dict(feeds))))


# ---- PyTorch ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _exporting(torch: Any) -> Iterator[None]:
    """What makes modules exportable: no fused fast paths, and no look at a mask's values.

    `nn.Transformer` compares its mask with a causal one to choose a faster kernel; the mask is
    applied either way, and an exporter cannot know the answer. `spelled` has functions that
    exporters lack. What they print is in their errors, too.
    """
    transformer = torch.nn.modules.transformer
    detect = getattr(transformer, "_detect_is_causal_mask", None)
    fast = torch.backends.mha.get_fastpath_enabled()
    log = getattr(torch._C, "_jit_onnx_log", None)  # prints whole graphs, past sys.stdout

    def given(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
        return is_causal is True

    try:
        torch.backends.mha.set_fastpath_enabled(False)
        if detect is not None:
            transformer._detect_is_causal_mask = given
        if log is not None:
            torch._C._jit_onnx_log = lambda *said: None
        said = io.StringIO()  # code listings, of routes that are then passed over
        with quiet(), spelled_out(torch):
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        if detect is not None:
            transformer._detect_is_causal_mask = detect
        if log is not None:
            torch._C._jit_onnx_log = log


def _clones(tensors: Sequence[Any]) -> list[Any]:
    return [t.clone() for t in tensors]


def _reason(error: BaseException) -> str:
    """What the innermost error of an exporter says."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = first_line(error)
    if "[ONNXRuntimeError]" in text:
        return text.split("Status Message:")[-1].split(" : ")[-1].strip()
    return f"{type(error).__name__}: {text}"
