"""What Chainer 7.8.1 misses in NumPy 2, given back: import this before chainer.

    import webdnn.chainer_compat
    import chainer

NumPy 1.24 and 2.0 removed two names that Chainer uses: `numpy.sctypes`, without which it cannot be
imported, and `numpy.float`, without which `resize_images` fails. Both are added if they are
missing, as they were; nothing else is changed.
"""

from __future__ import annotations

import numpy as np

SCTYPES = {
    "int": [np.int8, np.int16, np.int32, np.int64],
    "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
    "float": [np.float16, np.float32, np.float64, np.longdouble],
    "complex": [np.complex64, np.complex128, np.clongdouble],
    "others": [bool, object, bytes, str, np.void],
}
for _name, _value in (("sctypes", SCTYPES), ("float", float)):
    if _name not in vars(np):
        setattr(np, _name, _value)
