"""The operator set: each operator is defined once, for every target and for constants.

Operators come in layers: `elementwise` (functions of scalars), `movement` (views), `indexing`
(reads at computed positions), `reduce` (monoids over axes, and softmax, normalisations and pooling
composed of them), `linear` (matrix products and convolutions, computed by templates), `winograd`
(convolutions with fewer products), `spatial` (convolutions over any number of axes), `integers`
(products of integers), `recurrent` (cells over a sequence), `resize`, `rounding` (to narrower
floats), `scatter` (writes at computed positions), `lengths` (that only a run finds) and `control`
(loops whose end a run finds); `known` evaluates shape arithmetic. Frontends and passes build graphs
from these names alone: each file lists its own in `__all__`.

What makes a value is `value.op`, an `Op` object. An elementwise operator is one: `v.op is ops.mul`.
Where a function settles the attributes, or composes, the operators below it are in capitals:
`ops.reshape(x, (-1,))` makes `v.op is ops.RESHAPE`.
"""

from ..expr import product as product
from ..expr import same as same
from .attention import *
from .control import *
from .detection import *
from .einsum import *
from .elementwise import *
from .indexing import *
from .integers import *
from .known import *
from .lengths import *
from .linear import *
from .movement import *
from .quantised import *
from .recurrent import *
from .reduce import *
from .resize import *
from .rounding import *
from .scatter import *
from .selection import *
from .spatial import *
from .winograd import *
