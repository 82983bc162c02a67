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

A number fixes an axis at that size; a range leaves it open. An exported program says by itself
which of its axes are open; there `dims` gives their ranges.

Limits: torch and onnxscript must be installed (`pip install 'webdnn[pytorch]'`). Pickled files are
never read, since reading one runs the code in it. Python control flow is frozen as the example
takes it. Less than 2 GB of weights.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from . import onnx
from .signature import Imported

Array = NDArray[Any]
Outputs = dict[str, Array]
Place = tuple[int, int]  # an input and one of its axes

INSTALL = "pip install 'webdnn[pytorch]'"

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
        return _file_kind(model, head) is not None
    names = {(c.__module__.partition(".")[0], c.__name__) for c in type(model).__mro__}
    return bool(
        names & {("torch", "Module"), ("torch", "ExportedProgram"), ("torch", "ScriptFunction")}
    ) or _is_state(model)


def load(
    model: Any,
    dims: Mapping[str, int | tuple[int, int]] | None = None,
    *,
    example: Any = None,
) -> Imported:
    """Import a module (with an example), an exported program or a .pt2 file.

    dims: the sizes that are to differ from the example's, as the module's text says.

    Raises ModelError for a module that does not run on its example and for files that hold no
    program, UnsupportedError where no exporter gets it right, DimensionError for a dimension that
    is missing or cannot vary.
    """
    return import_function(function(model, example), dims or {})


# ---- files --------------------------------------------------------------------------------------

# The beginning of files that torch.save wrote before version 1.6: its magic number, pickled.
_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_REMEDY = (
    "reading it would run the code in it. Load it in Python, where you know its source, and pass "
    "the module: webdnn.transpile(module, 'build', example=...)"
)


def _file_kind(model: Any, head: bytes) -> str | None:
    """program, script, pickle or weights; None for a file that is not PyTorch's."""
    if head.startswith(_OLD_MAGIC):
        return "pickle"
    if head[8:10] == b'{"' and 2 < int.from_bytes(head[:8], "little") < 2**27:
        return "weights"  # safetensors: the length of a JSON header, and the header
    if not head.startswith(b"PK\x03\x04"):
        return None
    inner = [name.partition("/")[2] for name in _zip_names(model, head)]
    if any(
        n in ("archive_format", "models/model.json") or n.startswith("data/weights/weight_")
        for n in inner
    ) or "serialized_exported_program.json" in _zip_names(model, head):
        return "program"
    if any(n.startswith("code/") for n in inner):
        return "script"
    if "data.pkl" in inner or any(re.fullmatch(r"data/\d+", n) for n in inner):
        return "pickle"
    return None


def _zip_names(model: Any, head: bytes) -> list[str]:
    """The names in an archive; those at its beginning if its end is missing."""
    try:
        with zipfile.ZipFile(io.BytesIO(model) if isinstance(model, bytes) else model) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        found, at = [], head.find(b"PK\x03\x04")
        while at >= 0:
            size = int.from_bytes(head[at + 26 : at + 28], "little")
            found.append(head[at + 30 : at + 30 + size].decode("utf-8", "replace"))
            at = head.find(b"PK\x03\x04", at + 30)
        return found


def _is_state(model: Any) -> bool:
    """Whether this is a state dict: names and tensors, without the computation."""
    return (
        isinstance(model, Mapping)
        and bool(model)
        and all(type(v).__module__.partition(".")[0] == "torch" for v in model.values())
    )


def _read(model: Any) -> Any:
    """The exported program in a .pt2 file; nothing in the file is run."""
    name = "the model" if isinstance(model, bytes) else str(model)
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    match _file_kind(data, data[:65536]):
        case "script":
            raise UnsupportedError(f"{name} is a TorchScript file: {_REMEDY}")
        case "pickle":
            raise UnsupportedError(
                f"{name} was written by torch.save (a state dict, or a pickled module): {_REMEDY}"
            )
        case "weights":
            raise UnsupportedError(
                f"{name} holds weights alone (safetensors); the computation is in Python. Load "
                "them into the module and pass it: webdnn.transpile(module, 'build', example=...)"
            )
    torch = _torch()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _vet(archive, name, torch)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ModelError(f"{name}: the .pt2 file is damaged or truncated ({error})") from None
    try:
        with _quiet():
            return torch.export.load(io.BytesIO(data))
    except Exception as error:  # torch raises whatever its readers meet
        raise ModelError(
            f"{name}: torch {torch.__version__} cannot read this .pt2 file: {_first(error)}"
        ) from error


# What the parts of a program that torch evaluates as Python may consist of.
_TARGET = re.compile(
    r"torch\.ops\.\w+(\.\w+)*|_operator\.[a-z_]+|math\.[a-z]+|torch\._?sym_\w+|torch\.\w+_mode"
)
_EXPRESSION = re.compile(r"[\w\s+\-*/%().,<>=&|~!]*")


def _vet(archive: zipfile.ZipFile, name: str, torch: Any) -> None:
    """Raises for whatever in a .pt2 file would run code, or grow, when torch reads it."""
    infos = archive.infolist()
    stored, unpacked = (
        sum(i.compress_size for i in infos),
        sum(i.file_size for i in infos),
    )
    if unpacked > 4 * stored + 2**20:
        raise ModelError(
            f"{name}: {stored} bytes that unpack to {unpacked}: not as torch.export.save writes"
        )
    broken = archive.testzip()
    if broken is not None:
        raise ModelError(f"{name}: the .pt2 file is damaged: {broken} has a wrong checksum")

    def refuse(what: str) -> ModelError:
        return ModelError(
            f"{name} contains {what}, which would run code when it is read. If you know its "
            "source, load it with torch.export.load and pass the program to webdnn.transpile"
        )

    for info in infos:
        inner = info.filename
        if "aotinductor" in inner or inner.endswith((".so", ".pyd", ".dll", ".py")):
            raise refuse(f"machine code or scripts ({inner})")
        if inner.endswith(".pt") and info.file_size:
            try:
                torch.load(io.BytesIO(archive.read(inner)), weights_only=True)
            except Exception:
                raise refuse(f"pickled objects ({inner})") from None
        if inner.endswith(".json"):
            try:
                document = json.loads(archive.read(inner))
            except (ValueError, RecursionError):
                raise ModelError(f"{name}: the .pt2 file is damaged: {inner}") from None
            for key, value in _entries(document):
                if key == "use_pickle" and value:
                    raise refuse(f"pickled objects ({inner})")
                if key == "target" and not (isinstance(value, str) and _TARGET.fullmatch(value)):
                    raise refuse(f"a call of {str(value)[:80]!r}")
                if key in ("expr_str", "guards_code") and not all(
                    _EXPRESSION.fullmatch(str(e)) and "__" not in str(e)
                    for e in (value if isinstance(value, list) else [value])
                    if key == "expr_str"
                ):
                    raise refuse(f"the expression {str(value)[:80]!r}")


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON document, at any depth."""
    rest = [document]
    while rest:
        here = rest.pop()
        if isinstance(here, dict):
            yield from here.items()
            rest += here.values()
        elif isinstance(here, list):
            rest += here


# ---- the module as a function of named arrays ---------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A module (or program) as a function of tensors with names.

    `call` takes and returns flat tuples of tensors; it is a module that can be exported. `program`
    is the exported program that it came from, if any. `half`: the module computes in 16 bits.
    """

    call: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[Any, ...]
    program: Any
    half: bool
    notes: tuple[str, ...]

    def run(self, tensors: Sequence[Any]) -> Outputs:
        """The outputs by name. Raises what the module raises."""
        torch = _torch()
        with torch.no_grad(), _evaluating(self.call), _quiet():
            found = self.call(*tensors)
        return {k: _array(t) for k, t in zip(self.outputs, found)}

    def __call__(self, inputs: Mapping[str, Array]) -> Outputs:
        """As `run`, from arrays by name."""
        torch = _torch()
        tensors = [
            torch.from_numpy(np.array(inputs[n])).to(t.dtype)
            for n, t in zip(self.inputs, self.example)
        ]
        return self.run(tensors)


def function(model: Any, example: Any = None) -> Function:
    """What `load` imports, as a function: the oracle for what has become of it.

    Raises as `load` does for a model or an example that will not do.
    """
    if isinstance(model, (str, os.PathLike, bytes)):
        model = _read(model)
    if _is_state(model):
        raise UnsupportedError(
            "a state dict holds weights alone; load it into its module (load_state_dict) and pass "
            "the module"
        )
    torch = _torch()
    if isinstance(model, torch.export.ExportedProgram):
        args, kwargs = _example_of_program(model, example, torch)
        return _function(model.module(), args, kwargs, model, torch)
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedError(
            f"{type(model).__name__} is not a module; wrap it in a torch.nn.Module"
        )
    for inner in ("_orig_mod", "module"):  # of torch.compile; of DataParallel
        if type(model).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel"):
            model = getattr(model, inner, model)
    if example is None:
        raise ModelError(
            "a PyTorch module is imported by running it: give inputs to run it on, as in "
            "webdnn.transpile(module, 'build', example=torch.zeros(1, 3, 224, 224))"
        )
    args, kwargs = _arguments(example)
    return _function(model, args, kwargs, None, torch)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example as positional and keyword arguments."""
    if isinstance(example, Mapping):
        return (), {str(k): v for k, v in example.items()}
    if isinstance(example, (tuple, list)):
        last = example[-1] if example else None
        if isinstance(example, tuple) and len(example) > 1 and isinstance(last, Mapping):
            return tuple(example[:-1]), {str(k): v for k, v in last.items()}
        return tuple(example), {}
    return (example,), {}


def _example_of_program(
    program: Any, example: Any, torch: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example that is given, that the program was exported with, or one of its shapes."""
    if example is not None:
        return _arguments(example)
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        return tuple(args), dict(kwargs)
    made = []
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    for spec in program.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        value = nodes[spec.arg.name].meta.get("val") if spec.arg.name in nodes else None
        if value is None or not hasattr(value, "shape"):
            made.append(getattr(spec.arg, "value", value))
            continue
        shape = [int(d) if isinstance(d, int) else int(d.node.hint or 3) for d in value.shape]
        made.append(
            torch.randn(shape).to(value.dtype)
            if value.dtype.is_floating_point
            else torch.ones(shape, dtype=value.dtype)
        )
    args, kwargs = torch.utils._pytree.tree_unflatten(made, program.call_spec.in_spec)
    return tuple(args), dict(kwargs)


def _function(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], program: Any, torch: Any
) -> Function:
    pytree = torch.utils._pytree
    notes: list[str] = []
    params = [*module.parameters(), *module.buffers()]
    floats = {p.dtype for p in params if p.dtype.is_floating_point}
    devices = {p.device.type for p in params}
    if "meta" in devices:
        raise ModelError("the module's weights are on the device 'meta': it has none yet")
    if (devices - {"cpu"} or torch.bfloat16 in floats) and program is not None:
        raise UnsupportedError(
            f"the program was exported with weights on {', '.join(sorted(devices))} of "
            f"{', '.join(sorted(map(str, floats)))}; export it on the CPU in float32 or float16"
        )
    if devices - {"cpu"} or torch.bfloat16 in floats:
        module = copy.deepcopy(module).cpu()  # the caller's stays where it is
        if torch.bfloat16 in floats:
            module, floats = module.float(), {torch.float32}
            notes.append("bfloat16 weights were widened to float32")
    half = torch.float16 in floats
    names, leaves = _named((args, kwargs), module, program, pytree)
    leaves = [_tensor(leaf, names[k], floats, torch) for k, leaf in enumerate(leaves)]
    variable = [k for k, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    if not variable:
        raise ModelError("the example has no tensor: there is nothing that the page could give")
    spec = pytree.tree_structure((args, kwargs))
    kept: list[str] = []

    class Flat(torch.nn.Module):  # type: ignore[misc]
        """The module between flat tuples of tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.m = module

        def forward(self, *tensors: Any) -> Any:
            whole = list(leaves)
            for k, tensor in zip(variable, tensors):
                whole[k] = tensor
            some, named = pytree.tree_unflatten(whole, spec)
            found = self.m(*some, **named)
            return tuple(t for t in pytree.tree_leaves(found) if isinstance(t, torch.Tensor))

    call = Flat()
    example = tuple(leaves[k] for k in variable)
    with torch.no_grad(), _evaluating(call), _quiet():
        try:
            some, named = pytree.tree_unflatten(leaves, spec)
            result = module(*_copies(some, torch), **_copies(named, torch))
        except Exception as error:
            shown = ", ".join(f"{names[k]}: {_type(t)}" for k, t in zip(variable, example))
            raise ModelError(
                f"the module does not run on the example ({shown}): "
                f"{type(error).__name__}: {_first(error)}"
            ) from error
    inputs = [names[k] for k in variable]
    kept = _output_names(result, set(inputs), notes, torch)
    for tensor in (*example, *pytree.tree_leaves(result)):
        if isinstance(tensor, torch.Tensor) and tensor.is_complex():
            raise UnsupportedError(
                "complex tensors are not supported as inputs and outputs; use torch.view_as_real"
            )
    return Function(call, tuple(inputs), tuple(kept), example, program, half, tuple(notes))


def _named(
    tree: tuple[tuple[Any, ...], dict[str, Any]], module: Any, program: Any, pytree: Any
) -> tuple[list[str], list[Any]]:
    """A name for each leaf of the arguments: the parameter's, with the place inside it."""
    import inspect

    if program is not None:
        known = list(program.module_call_graph[0].signature.forward_arg_names or ())
    else:
        parameters = inspect.signature(module.forward).parameters.values()
        known = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    names: list[str] = []
    leaves: list[Any] = []
    for path, leaf in pytree.tree_flatten_with_path(tree)[0]:
        steps = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
        which, first, *rest = steps
        if which == "0":
            place = int(first)
            first = known[place] if place < len(known) else f"input_{place}"
        name = re.sub(r"\W", "_", "_".join([first, *rest]))
        while name in names:
            name += "_"
        names.append(name)
        leaves.append(leaf)
    return names, leaves


def _tensor(leaf: Any, name: str, floats: set[Any], torch: Any) -> Any:
    """An example's leaf as a tensor on the processor, in 16 bits where the module computes so."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        try:
            leaf = torch.from_numpy(np.array(leaf))
        except TypeError as error:
            raise ModelError(f"the example of {name!r}: {error}") from None
    if not isinstance(leaf, torch.Tensor):
        return leaf
    leaf = leaf.detach().cpu()
    narrow = {torch.float16, torch.bfloat16}
    if (
        leaf.dtype == torch.bfloat16
        or (leaf.dtype in {torch.float32, *narrow} and len(floats) == 1 and floats <= narrow)
        or (leaf.dtype in narrow and floats == {torch.float32})
    ):
        leaf = leaf.to(next(iter(floats)) if len(floats) == 1 else torch.float32)
    return leaf.contiguous()


def _copies(tree: Any, torch: Any) -> Any:
    """The same arguments, so that a module that works in place spoils nothing."""
    return torch.utils._pytree.tree_map(
        lambda t: t.clone() if isinstance(t, torch.Tensor) else t, tree
    )


def _output_names(result: Any, taken: set[str], notes: list[str], torch: Any) -> list[str]:
    """output; output_0, output_1 ... of a tuple; the keys of a dict or of a named tuple."""
    pytree = torch.utils._pytree
    names: list[str] = []
    for path, leaf in pytree.tree_flatten_with_path(result)[0]:
        steps = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
        name = re.sub(r"\W", "_", "_".join(steps))
        if not name or name[0].isdigit():
            name = f"output_{name}" if name else "output"
        if not isinstance(leaf, torch.Tensor):
            if leaf is not None:
                notes.append(f"the output {name} is no tensor ({type(leaf).__name__}): left out")
            continue
        while name in names or name in taken:
            name += "_out" if name in taken else "_"
        names.append(name)
    if not names:
        raise ModelError(f"the module returns no tensor, but {type(result).__name__}")
    return names


# ---- which axes are open ------------------------------------------------------------------------


def places(
    dims: Mapping[str, int | tuple[int, int]], names: Sequence[str], example: Sequence[Any]
) -> dict[Place, str]:
    """The axes that the keys of `dims` mean, by the rules of the module's text."""
    ranks = [t.dim() for t in example]
    found: dict[Place, str] = {}
    for key, wanted in dims.items():
        lo, hi = (wanted, wanted) if isinstance(wanted, int) else wanted
        if not 1 <= lo <= hi < 2**31:
            raise DimensionError(f"--dim {key}={lo}..{hi}: expected 1 <= low <= high")
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
            have = ", ".join(f"{n}: {_type(t)}" for n, t in zip(names, example))
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
    torch = _torch()
    generator = torch.Generator().manual_seed(seed)
    out = []
    for k, tensor in enumerate(example):
        for axis in range(tensor.dim()):
            size = sizes.get(at.get((k, axis), ""), tensor.shape[axis])
            if size != tensor.shape[axis] and tensor.shape[axis]:
                tensor = tensor.index_select(axis, torch.arange(size) % tensor.shape[axis])
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


def import_function(called: Function, dims: Mapping[str, int | tuple[int, int]]) -> Imported:
    """The graph of a function by the first of ROUTES whose result agrees with the function."""
    torch = _torch()
    at = places(dims, called.inputs, called.example)
    fixed = {k: v if isinstance(v, int) else v[0] for k, v in dims.items()}
    ranges = {k: v for k, v in dims.items() if not isinstance(v, int) and v[0] < v[1]}
    fixed = {k: v for k, v in fixed.items() if k not in ranges}
    if called.program is not None:
        ranges = _program_ranges(called, at, ranges, fixed)
    cases, remarks = _cases(called, at, ranges, fixed)
    problems: list[str] = []
    errors: list[WebDNNError] = []
    unexported = False
    for route in ROUTES:
        if unexported and route.capture != "TorchScript":
            continue
        if called.program is not None and (
            route.capture == "dynamo, strict" or (route.capture == "TorchScript" and ranges)
        ):
            continue
        try:
            with torch.no_grad(), _evaluating(called.call), _exporting(torch):
                proto = _exported(called, route, cases[0][1], at, ranges, torch)
        except Exception as error:  # any: exporters raise whatever they meet
            problems.append(f"{route}: {_reason(error)}")
            unexported = "TorchExportError" in type(error).__name__
            continue
        try:
            _name_dimensions(proto, called, at, ranges, fixed)
            imported = onnx.load(proto, _named_sizes(proto, called, at, dims))
            worst, through = _compared(proto, called, cases[1:])
        except WebDNNError as error:
            problems.append(f"{route}: {error}")
            errors.append(error)
            continue
        names = {re.sub(r"^m\.", "", k): v for k, v in imported.graph.names.items()}
        graph = replace(imported.graph, names=names)
        where = " and ".join(label for label, *_ in cases[1:])
        said = (
            f"exported by {route}; compared with the module through {through} {where}: "
            f"largest error {worst:.1e} of the output's largest magnitude"
        )
        passed_over = [f"not used: {p}" for p in problems]
        notes = [*called.notes, *remarks, *passed_over, said, *imported.notes]
        return replace(imported, graph=graph, notes=notes)
    lines = "\n".join(f"  {p}" for p in problems)
    kind: type[WebDNNError] = UnsupportedError
    if errors and all(isinstance(e, DimensionError) for e in errors):
        kind = DimensionError
    remedy = (
        " A size that cannot vary can be fixed: --dim "
        + ", --dim ".join(f"{k}=SIZE" for k in ranges)
        if ranges
        else ""
    )
    raise kind(f"none of PyTorch's exporters gets this module right:\n{lines}\n{remedy}".rstrip())


def _program_ranges(
    called: Function,
    at: Mapping[Place, str],
    ranges: Mapping[str, tuple[int, int]],
    fixed: Mapping[str, int],
) -> dict[str, tuple[int, int]]:
    """Ranges for axes that an exported program leaves open; a fixed axis cannot change."""
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
    return dict(ranges)


Case = tuple[str, list[Any], Outputs]


def _cases(
    called: Function,
    at: Mapping[Place, str],
    ranges: Mapping[str, tuple[int, int]],
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
                    f"the module does not run at {text}: {_first(error)}"
                ) from error
        return cases, remarks
    own = {key: called.example[k].shape[axis] for (k, axis), key in at.items()}
    low = {k: lo for k, (lo, _) in ranges.items()}
    # An odd size between, another for each axis, and not much larger than it must be.
    middle = {
        k: min(hi, (lo + min((hi - lo) // 2, max(lo, 32)) | 1) + 2 * j)
        for j, (k, (lo, hi)) in enumerate(ranges.items())
    }
    usual = {k: min(max(own[k], lo, 2), hi) for k, (lo, hi) in ranges.items()}
    choices = [low, middle, usual, {k: hi for k, (_, hi) in ranges.items() if hi <= 1024}]
    for unit in (8, 16, 32, 64):
        for n in (1, 2, 3):
            choices.append(
                {k: min(-(-lo // unit) * unit + (n - 1) * unit, hi // unit * unit)
                 for k, (lo, hi) in ranges.items()}
            )  # fmt: skip
    accepted: list[Case] = []
    seen: list[dict[str, int]] = []
    refused = ""
    first: Case | None = None
    for choice in choices:
        good = len(choice) == len(ranges) and all(
            lo <= choice[k] <= hi for k, (lo, hi) in ranges.items()
        )
        if not good or choice in seen:
            continue
        seen.append(choice)
        label = "at " + ", ".join(f"{k}={v}" for k, v in choice.items())
        feeds = resized(called.example, at, fixed | choice, len(seen))
        try:
            case = (label, feeds, called.run(_clones(feeds)))
        except Exception as error:
            refused = refused or f"{label}: {_first(error)}"
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
    ranges: Mapping[str, Any],
    torch: Any,
) -> Any:
    """A ModelProto by one route."""
    names: dict[str, Any] = {
        "input_names": list(called.inputs),
        "output_names": list(called.outputs),
        "opset_version": route.opset,
    }
    opened = {place: key for place, key in at.items() if key in ranges}
    if route.capture == "TorchScript":
        axes: dict[str, dict[int, str]] = {}
        for (k, axis), key in opened.items():
            axes.setdefault(called.inputs[k], {})[axis] = re.sub(r"\W", "_", key)
        out = io.BytesIO()
        torch.onnx.export(
            called.call, tuple(_clones(feeds)), out, dynamo=False, dynamic_axes=axes, **names
        )
        return onnx.read(out.getvalue())[0]
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
    return program.model_proto


def _name_dimensions(
    proto: Any,
    called: Function,
    at: Mapping[Place, str],
    ranges: Mapping[str, Any],
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
            renamed.setdefault(size.dim_param, key)
    for i in proto.graph.input:
        for size in i.type.tensor_type.shape.dim:
            if size.dim_param in renamed:
                size.dim_param = renamed[size.dim_param]
    # What an exporter says of inner and output shapes may be wrong, and is not needed.
    del proto.graph.value_info[:]
    for o in proto.graph.output:
        o.type.tensor_type.ClearField("shape")


def _named_sizes(
    proto: Any,
    called: Function,
    at: Mapping[Place, str],
    dims: Mapping[str, int | tuple[int, int]],
) -> dict[str, int | tuple[int, int]]:
    """`dims` without what the exported model no longer leaves open."""
    inputs = {i.name: i for i in proto.graph.input}
    still = {
        key
        for (k, axis), key in at.items()
        if inputs[called.inputs[k]].type.tensor_type.shape.dim[axis].dim_param
    }
    return {k: v for k, v in dims.items() if k in still}


# ---- comparing ----------------------------------------------------------------------------------


def _compared(proto: Any, called: Function, cases: Sequence[Case]) -> tuple[float, str]:
    """The largest relative error of the exported model, and what ran it."""
    run, through = _runner(proto)
    tolerance = HALF_TOLERANCE if called.half else TOLERANCE
    worst = 0.0
    for label, feeds, expected in cases:
        arrays = {n: _array(t) for n, t in zip(called.inputs, feeds)}
        try:
            found = run(arrays)
        except Exception as error:
            raise UnsupportedError(
                f"the exported model does not run {label} ({through}: {_reason(error)})"
            ) from error
        for name, wanted in expected.items():
            got = np.asarray(found[name])
            if got.shape != wanted.shape:
                raise DimensionError(
                    f"output {name!r} {label} has shape {list(got.shape)}, the module's has "
                    f"{list(wanted.shape)}: the exporter fixed a size"
                )
            error = difference(got, wanted)
            if not error <= (0 if wanted.dtype.kind in "biu" else tolerance):
                raise UnsupportedError(
                    f"output {name!r} {label} differs from the module's by {error:.2g} of its "
                    "largest magnitude"
                )
            worst = max(worst, error)
    return worst, through


def difference(found: Array, wanted: Array) -> float:
    """The largest difference as a part of the largest magnitude; NaN and infinities must agree."""
    a, b = np.float64(wanted), np.float64(found)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    largest = np.abs(a[np.isfinite(a)]).max(initial=0)
    with np.errstate(invalid="ignore"):
        apart = float(np.abs(np.where(same, 0, a - b)).max(initial=0))
    return apart / float(largest) if largest else (np.inf if apart else 0.0)


def _runner(proto: Any) -> tuple[Callable[[Mapping[str, Array]], dict[str, Any]], str]:
    """Something that runs an ONNX model: onnxruntime, else the onnx package's own evaluator."""
    names = [o.name for o in proto.graph.output]
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        pass
    else:
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = runtime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # an operator or a type that it lacks
            pass
        else:
            return lambda feeds: dict(zip(names, session.run(names, dict(feeds)))), "onnxruntime"
    evaluator = import_module("onnx.reference").ReferenceEvaluator(proto)
    return lambda feeds: dict(zip(names, evaluator.run(names, dict(feeds)))), "onnx.reference"


# ---- PyTorch ------------------------------------------------------------------------------------


def _torch() -> Any:
    """The packages, or one error that says how to install them."""
    missing = []
    for name in ("torch", "onnxscript"):
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise WebDNNError(
            f"PyTorch models need {' and '.join(missing)}, which is not installed: {INSTALL}"
        )
    for name in ("torch.export", "torch.onnx", "torch.utils._pytree"):
        import_module(name)
    return import_module("torch")


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """The module and all in it in evaluation mode, and afterwards as they were."""
    training = [m for m in module.modules() if m.training]
    try:
        for m in training:
            m.training = False
        yield
    finally:
        for m in training:
            m.training = True


@contextlib.contextmanager
def _exporting(torch: Any) -> Iterator[None]:
    """What makes modules exportable: no fused fast paths, and no look at a mask's values.

    `nn.Transformer` compares its mask with a causal one to choose a faster kernel; the mask is
    applied either way, and an exporter cannot know the answer. An embedding bag would become a
    loop over sequences.
    """
    transformer, functional = torch.nn.modules.transformer, torch.nn.functional
    detect = getattr(transformer, "_detect_is_causal_mask", None)
    bag = functional.embedding_bag
    fast = torch.backends.mha.get_fastpath_enabled()

    def given(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
        return is_causal is True

    try:
        torch.backends.mha.set_fastpath_enabled(False)
        if detect is not None:
            transformer._detect_is_causal_mask = given
        functional.embedding_bag = _embedding_bag
        with _quiet():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        functional.embedding_bag = bag
        if detect is not None:
            transformer._detect_is_causal_mask = detect


def _embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """`torch.nn.functional.embedding_bag` at inference, in terms of simpler functions.

    member[b, l] says whether item l belongs to bag b: all of a row, or what lies between offsets.
    """
    torch = import_module("torch")
    rows = torch.nn.functional.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[..., None]
    there = (
        torch.ones_like(input, dtype=torch.bool) if padding_idx is None else input != padding_idx
    )
    if input.dim() == 1:
        place = torch.arange(input.shape[0], device=input.device)
        begin = offsets[:-1] if include_last_offset else offsets
        end = offsets[1:] if include_last_offset else None
        if end is None:
            last = torch.full_like(offsets[:1], input.shape[0])
            end = torch.cat([offsets[1:], last])
        there = there & (place >= begin[:, None]) & (place < end[:, None])
        rows = rows[None]
    member = there[..., None]
    count = member.sum(-2)
    if mode == "max":
        most = rows.masked_fill(~member, float("-inf")).amax(-2)
        return torch.where(count > 0, most, torch.zeros_like(most))
    total = (rows * member).sum(-2)
    return total / count.clamp(min=1) if mode == "mean" else total


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings and log: what matters of them is in our errors and notes."""
    below = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(below)


def _clones(tensors: Sequence[Any]) -> list[Any]:
    return [t.clone() for t in tensors]


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().resolve_conj().resolve_neg().numpy()
    return array


def _type(tensor: Any) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _first(error: BaseException) -> str:
    """The first line of a message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _reason(error: BaseException) -> str:
    """What the innermost error of an exporter says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {_first(error)}"
