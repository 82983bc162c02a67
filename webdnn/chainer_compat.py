"""What Chainer 7.8.1 misses in NumPy 2, given back: import this before chainer.

    import webdnn.chainer_compat
    import chainer

Three names that Chainer uses are gone: `numpy.sctypes` (since NumPy 2) and `numpy.distutils` (on
Python 3.12 and later), without which it cannot be imported, and `numpy.float` (since NumPy 1.24),
without which `resize_images` fails. Those that are missing are added, as far as Chainer needs them;
nothing else is changed.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np

SCTYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64, np.longdouble],
    "complex": [np.complex64, np.complex128, np.clongdouble],
    "others": [bool, object, bytes, str, np.void],
}


def _distutils() -> ModuleType:
    """numpy.distutils with the one function that is asked for, which knows of no library."""
    package, module = ModuleType("numpy.distutils"), ModuleType("numpy.distutils.system_info")
    vars(module)["get_info"] = lambda name: {}
    vars(package)["system_info"] = module
    sys.modules |= {m.__name__: m for m in (package, module)}
    return package


if "sctypes" not in vars(np):
    vars(np)["sctypes"] = SCTYPES
if "float" not in vars(np):
    vars(np)["float"] = float
if importlib.util.find_spec("numpy.distutils") is None:
    vars(np)["distutils"] = _distutils()
