"""The operator set: each operator is defined once, for every target and for constants.

Operators come in layers: `elementwise` (functions of scalars), `movement` (views), `reduce`
(monoids over axes, and softmax, normalisations and pooling composed of them), `linear` (matrix
products and convolutions, computed by templates) and `resize`. Frontends and passes build graphs
from these names alone.
"""

from typing import TYPE_CHECKING, Any

from .elementwise import *  # noqa: F403
from .known import ints, known
from .linear import conv, conv_size, conv_transpose, matmul
from .movement import (
    concat,
    dilate,
    expand,
    flip,
    gather,
    gather_elements,
    gather_nd,
    iota,
    pad,
    product,
    repeat,
    reshape,
    same,
    slice_,
    slice_axis,
    split,
    squeeze,
    tile,
    transpose,
    unsqueeze,
    windows,
)
from .reduce import (
    average_pool,
    cumsum,
    log_softmax,
    log_sum_exp,
    lp_norm,
    lrn,
    max_pool,
    normalize,
    reduce,
    reduce_max,
    reduce_mean,
    reduce_sum,
    rms_normalize,
    softmax,
    trilu,
)
from .resize import resize

__all__ = [name for name in dir() if not name.startswith("__")]

if TYPE_CHECKING:  # operators are made by decorators, which mypy does not follow

    def __getattr__(name: str) -> Any: ...
