"""WebDNN: a compiler that makes trained neural networks run in a web page.

    >>> import webdnn
    >>> sizes = {"h": (64, 512), "w": (64, 512)}
    >>> webdnn.transpile("style.onnx", "public/models/style", dims=sizes)  # doctest: +SKIP

`transpile` turns a model into a graph descriptor, a folder of static files; the descriptor runner
loads it in the page. `webdnn.check.check` runs it in a browser beside the model's own framework.
The command line does the same: `webdnn transpile`, `webdnn check`. What an operator of one's own
computes is said in the functions of `webdnn.ops`, to `webdnn.onnx.register` or
`webdnn.keras.register`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .inspect.watched import watched
from .picture.image import ImageInput
from .picture.output import ImageOutput
from .transpiler import TARGETS, Report, imported
from .transpiler import transpile as _transpile
from .version import __version__

transpile = watched(_transpile)


def __getattr__(name: str) -> Any:
    """`webdnn.check`, `onnx`, `keras` and `ops` are imported where they are first used."""
    if name in ("check", "keras", "onnx", "ops"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["TARGETS", "ImageInput", "ImageOutput", "Report", "__version__", "imported", "transpile"]
