"""WebDNN: a compiler that makes trained neural networks run in a web page.

    >>> import webdnn
    >>> sizes = {"h": (64, 512), "w": (64, 512)}
    >>> webdnn.transpile("style.onnx", "public/models/style", dims=sizes)  # doctest: +SKIP

`transpile` turns a model into a graph descriptor, a folder of static files; the descriptor runner
loads it in the page. `check` runs a descriptor in a browser beside the model's own framework. The
command line does the same: `webdnn transpile`, `webdnn check`. What an operator of one's own
computes is said in the functions of `webdnn.ops`, to `webdnn.onnx.register` or
`webdnn.keras.register`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .picture.image import ImageInput
from .transpiler import TARGETS, Report, imported, transpile
from .version import __version__


def __getattr__(name: str) -> Any:
    """`webdnn.onnx`, `webdnn.keras` and `webdnn.ops` are imported where they are first used."""
    if name in ("keras", "onnx", "ops"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def check(model: Any, **options: Any) -> Any:
    """Runs a model in a browser and compares it with its own framework: `browser.check.check`."""
    from .browser.check import check as run

    return run(model, **options)


__all__ = ["TARGETS", "ImageInput", "Report", "__version__", "check", "imported", "transpile"]
