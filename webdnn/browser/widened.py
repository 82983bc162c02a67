"""A PyTorch computation with every tensor in float64, whatever the module casts to.

>>> with widened():  # doctest: +SKIP
...     y = module(x)
>>> y.dtype  # doctest: +SKIP
torch.float64

Modules compute in 16 bits because of their weights, casts in `forward`, autocast, or a policy of
Keras. Each operator that PyTorch runs is given its tensors in float64, and float64 where it is
asked for another float: so the same program says what it would compute if nothing were rounded.

Limits: what a module changes in place must not be a weight.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frontend.pytorch.module import Function, as_array, evaluating, quiet, torch_packages
from .readings import Readings, in_float64

Arrays = Mapping[str, NDArray[Any]]
Between = Callable[[Any, Any, Any], Any]  # an operator, its arguments, those with names


@contextmanager
def widened() -> Iterator[None]:
    """Runs what is within in float64."""
    torch = torch_packages()
    floats = {torch.float16, torch.bfloat16, torch.float32}

    def wide(given: Any) -> Any:
        if isinstance(given, torch.dtype):
            return torch.float64 if given in floats else given
        narrow = isinstance(given, torch.Tensor) and given.dtype in floats
        return given.double() if narrow else given

    tree_map = torch.utils._pytree.tree_map
    with _between(lambda operator, args, named: operator(*tree_map(wide, args),
                                                         **tree_map(wide, named))):  # fmt: skip
        yield


@contextmanager
def watched() -> Iterator[set[str]]:
    """Yields a set that gets the 16-bit floats which are computed within, by name."""
    torch = torch_packages()
    names = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
    seen: set[str] = set()

    def watch(operator: Any, args: Any, named: Any) -> Any:
        found = operator(*args, **named)
        leaves = torch.utils._pytree.tree_leaves(found)
        types = {t.dtype for t in leaves if isinstance(t, torch.Tensor)}
        seen.update(names[d] for d in types & names.keys())
        return found

    with _between(watch):
        yield seen


@contextmanager
def _between(run: Between) -> Iterator[None]:
    """Has each operator run by a function that stands between PyTorch and its kernels."""
    torch = torch_packages()
    dispatch = torch.utils._python_dispatch.TorchDispatchMode

    class Mode(dispatch):  # type: ignore[misc, valid-type]
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any, kwargs: Any) -> Any:
            return run(operator, args, kwargs or {})

    with Mode(), torch.no_grad():
        yield


def module_in_double(called: Function) -> Callable[[Arrays, Arrays], Readings]:
    """A function of inputs, and of what a module made of them, that gives its readings."""
    torch = torch_packages()

    def read(arrays: Arrays, usual: Arrays) -> Readings:
        with watched() as seen:
            called(arrays)
        module = copy.deepcopy(called.call).double()
        tensors = [torch.from_numpy(np.array(arrays[n])) for n in called.inputs]
        wide = [t.double() if t.is_floating_point() else t for t in tensors]
        with evaluating(module), quiet(), widened():
            found = module(*wide)
        outputs = {k: as_array(t) for k, t in zip(called.outputs, found, strict=True)}
        return in_float64("PyTorch", outputs, usual, seen)

    return read


__all__ = ["module_in_double", "watched", "widened"]
