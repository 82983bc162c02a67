"""A PyTorch module as a function of named tensors: what is exported, and what it must agree with.

    f = function(module, example=torch.zeros(1, 3, 224, 224))
    f({"x": x})                     # {"output": ...}, as the module computes it

Inputs are called as the parameters of `forward`, those inside of lists and dicts with their place
(`states_0`); outputs are `output`, `output_0`, `output_1` ... of a tuple, or the keys of a dict or
named tuple. The module is not changed: it is back in training mode afterwards if it was, and a copy
is taken where its weights are on another device or in bfloat16.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError, UnsupportedError, WebDNNError
from ...graph import FROM_NUMPY
from ..fixed import Declared, constant_note, fixed_values
from . import files

Array = NDArray[Any]
Outputs = dict[str, Array]

INSTALL = "pip install 'webdnn[pytorch]'"


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
        torch = torch_packages()
        with torch.no_grad(), evaluating(self.call), quiet():
            found = self.call(*tensors)
        return {k: as_array(t) for k, t in zip(self.outputs, found)}

    def __call__(self, inputs: Mapping[str, Array]) -> Outputs:
        """As `run`, from arrays by name."""
        torch = torch_packages()
        tensors = [
            torch.from_numpy(np.array(inputs[n])).to(t.dtype)
            for n, t in zip(self.inputs, self.example)
        ]
        return self.run(tensors)


def function(model: Any, example: Any = None, fixed: Mapping[str, Any] | None = None) -> Function:
    """What `load` imports, as a function: the oracle for what has become of it.

    fixed: the values of tensors that are no inputs, but always the same. Raises as `load` does for
    a model or an example that will not do.
    """
    if isinstance(model, (str, os.PathLike, bytes)):
        model = files.read(model, torch_packages)
    if files.is_state(model):
        raise UnsupportedError(
            "a state dict holds weights alone; load it into its module (load_state_dict) and pass "
            "the module"
        )
    torch = torch_packages()
    if isinstance(model, torch.export.ExportedProgram):
        args, kwargs = _example_of_program(model, example, torch)
        return _function(model.module(), args, kwargs, model, fixed or {}, torch)
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedError(
            f"{type(model).__name__} is not a module; wrap it in a torch.nn.Module"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedError(
            f"{type(model).__name__} is TorchScript, which PyTorch itself no longer exports; pass "
            "the module from which it was made"
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
    return _function(model, args, kwargs, None, fixed or {}, torch)


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
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    program: Any,
    fixed: Mapping[str, Any],
    torch: Any,
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
    declared = [
        Declared(names[k], FROM_NUMPY[as_array(leaves[k]).dtype.name], (None,) * leaves[k].dim())
        for k in variable
        if fixed
    ]
    for name, value in fixed_values(fixed, declared).items():
        k = names.index(name)
        leaves[k] = torch.from_numpy(value)
        variable.remove(k)
        notes.append(constant_note(name, value))
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
    with torch.no_grad(), evaluating(call), quiet():
        try:
            some, named = pytree.tree_unflatten(leaves, spec)
            result = module(*_copies(some, torch), **_copies(named, torch))
        except Exception as error:
            shown = ", ".join(f"{names[k]}: {type_text(t)}" for k, t in zip(variable, example))
            raise ModelError(
                f"the module does not run on the example ({shown}): "
                f"{type(error).__name__}: {first_line(error)}"
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


def torch_packages() -> Any:
    """The packages, or one error that says how to install them."""
    missing = []
    for name in ("torch", "onnxscript"):
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise WebDNNError(
            f"PyTorch models need {' and '.join(missing)}, which {verb} not installed: {INSTALL}"
        )
    for name in ("torch.export", "torch.onnx", "torch.utils._pytree"):
        import_module(name)
    return import_module("torch")


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
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
def quiet() -> Iterator[None]:
    """Without torch's warnings and log: what matters of them is in our errors and notes."""
    below = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(below)


def as_array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().resolve_conj().resolve_neg().numpy()
    return array


def type_text(tensor: Any) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def first_line(error: BaseException) -> str:
    """What a message says first: a line, or two if the first ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    short = len(lines) > 1 and (lines[0].endswith(":") or "conflicts between" in lines[0])
    return " ".join(lines[: 1 + short])[:400] if lines else type(error).__name__
