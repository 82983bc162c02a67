"""Frontends: one for each format, its functions named as the format names its operators.

    >>> load("model.onnx", {"batch": 1}).graph  # doctest: +SKIP

A frontend reads a model and returns the graph with notes on what it decided. A model is recognised
by its content, whatever its file is called. Nothing outside this folder knows a format.

Each module of `FORMATS` has `recognises(model, head) -> bool`, where `head` is the beginning of a
file (empty for an object), and `load(model, dims, **options) -> Imported`, whose keyword-only
parameters are the options that the format takes: `weights`, `example`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import ModelError, UnsupportedError, WebDNNError
from .damaged import damaged
from .dims import Given, Sides, Sizes
from .finish import Imported
from .foreign import way_in

HEAD = 65536  # bytes that are enough to tell the formats apart

# In the order in which they are asked; ONNX, the last, explains what it is not.
FORMATS: Mapping[str, str] = {
    "chainer": "Chainer",
    "keras": "Keras",
    "pytorch": "PyTorch",
    "caffe": "Caffe",
    "onnx": "ONNX",
}


@limits.reading()
def load(
    model: Any,
    dims: Given | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    example: Any = None,
    sides: Mapping[str | None, Sides] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Imported:
    """Import a model: the path of a file, its bytes, or a framework's own object.

    dims: the sizes of the dimensions that the model leaves open, as `frontend.dims` says. weights:
    the file of the weights, for formats that keep them apart. example: inputs to trace a model
    with. sides: what is said of the sides of pictures, by input (None: the only one). fixed: the
    values of inputs that become constants. Raises WebDNNError for whatever is wrong with the model.
    """
    sizes = Sizes(dims, sides, fixed=fixed)
    options = {"weights": weights, "example": example}
    if not isinstance(model, (bytes, str, os.PathLike)):
        return _load(model, sizes, options)
    label = "the model" if isinstance(model, bytes) else str(model)
    try:
        return _load(model, sizes, options)
    except (WebDNNError, MemoryError, NameError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename:  # the system refuses a file
            why = error.strerror or error
            raise ModelError(f"{error.filename}: cannot be read: {why}") from error
        raise damaged(f"{label}: the file is", error) from error


def _load(model: Any, sizes: Sizes, options: Mapping[str, Any]) -> Imported:
    name = format_of(model)
    if name == "onnx" and isinstance(model, (bytes, str, os.PathLike)):
        other = way_in(model, _head(model))
        if other is not None:
            raise UnsupportedError(f"{'the model' if isinstance(model, bytes) else model} {other}")
    module = import_module(f".{name}", __name__)
    given = {k: v for k, v in options.items() if v is not None}
    taken = inspect.signature(module.load).parameters
    for option in given:
        if option not in taken:
            what = "a file of weights" if option == "weights" else f"an {option}"
            raise WebDNNError(f"{what} was given, but {FORMATS[name]} models take none")
    loaded: Imported = module.load(model, sizes, **given)
    return loaded


def format_of(model: Any) -> str:
    """The format of a model, a key of FORMATS. Raises ModelError if there is no such file."""
    head = b""
    if isinstance(model, (bytes, str, os.PathLike)):
        head = _head(model)
    elif not any(c.__module__.startswith("onnx") for c in type(model).__mro__):
        for name in FORMATS:
            if name != "onnx" and import_module(f".{name}", __name__).recognises(model, head):
                return name
        found = type(model).__qualname__
        if isinstance(model, type):
            found = f"the class {model.__qualname__}, not what {model.__qualname__}(…) makes"
        raise ModelError(
            "expected the path of a model file, its bytes, or a model of "
            f"{', '.join(FORMATS.values())}; found {found}"
        )
    return next(n for n in FORMATS if import_module(f".{n}", __name__).recognises(model, head))


def _head(model: bytes | str | os.PathLike[str]) -> bytes:
    """The beginning of a model's file; empty for a folder."""
    if isinstance(model, bytes):
        return model[:HEAD]
    path = Path(model)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(HEAD)
        if not path.exists():
            address = re.match(r"https?:/", str(path))
            advice = ": that is an address; download the file first" if address else ""
            raise ModelError(f"{path}: no such file{advice}")
        if not path.is_dir():
            raise ModelError(f"{path}: is a device or a pipe; expected a model's file")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    return b""


__all__ = ["FORMATS", "Imported", "format_of", "load"]
