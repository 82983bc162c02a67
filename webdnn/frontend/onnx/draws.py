"""Random numbers: each element is a hash of where it stands, of the node, and of the run.

    >>> from webdnn.graph import placeholder
    >>> RandomUniform(shape=(2, 3), draws=Draws([]))
    add:f32[2,3]

A state counts the runs (`Graph.states`), so that every run draws anew and the same numbers come
again after the model is loaded or reset. A node's stream follows from its `seed`, from its name
where it has none. Numbers are not those of another engine, for each has a generator of its own:
they are alike in distribution. In a loop that remains one the iteration counts as well.

Limits: 24 bits of a uniform number, 2**32 elements.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections import Counter
from collections.abc import Container, Iterator, Sequence

from ... import ops
from ...errors import ModelError
from ...expr import Dim, as_dim, lift
from ...graph import Value, constant, placeholder, type_text
from .elements import element_type


class Draws:
    """What the random numbers of a model depend on.

    node: the one that is imported now; iterations: of the loops around it that only a run ends.
    taken: names that the state may not have.
    """

    def __init__(self, taken: Container[str]) -> None:
        name = "runs"
        while name in taken:
            name += "_"
        self.runs = placeholder(name, (1,), "i32")
        self.node = ""
        self.iterations: list[Value] = []
        self.times: Counter[str] = Counter()  # a body that is written out draws again

    @property
    def states(self) -> dict[str, tuple[Value, Value]]:
        """The state that counts the runs, if anything is drawn."""
        if not self.times:
            return {}
        return {str(self.runs.attrs["name"]): (self.runs, ops.add(self.runs, 1))}

    @contextlib.contextmanager
    def body(self, iteration: Value | None) -> Iterator[None]:
        """Within, a body is imported: of a loop, in that iteration (i64, scalar)."""
        before = self.iterations
        self.iterations = before if iteration is None else [*before, iteration]
        try:
            yield
        finally:
            self.iterations = before

    def bits(self, shape: Sequence[Dim], seed: float | None, count: int = 1) -> list[Value]:
        """`count` tensors of 32 random bits, u32."""
        stream = self.node if seed is None else float(seed).hex()
        self.times[self.node] += 1
        key = ops.cast(self.runs, "u32")
        for number in self.iterations:
            key = ops.add(_mixed(key), ops.reshape(ops.cast(number, "u32"), (1,)))
        line = _mixed(ops.iota((ops.product(shape),), 0, "u32"))
        out = []
        for k in range(count):
            name = zlib.crc32(f"{stream} {self.times[self.node]} {k}".encode())
            own = _mixed(ops.bit_xor(_mixed(key), constant(name, "u32")))
            out.append(ops.reshape(_mixed(ops.bit_xor(line, own)), shape))
        return out


def _mixed(x: Value) -> Value:
    """A bijection of 32 bits in which each bit of the result depends on all."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ops.bit_xor(x, ops.shift_right(x, constant(shift, "u32")))
        x = ops.mul(x, constant(factor, "u32"))
    return ops.bit_xor(x, ops.shift_right(x, constant(16, "u32")))


def _unit(bits: Value) -> Value:
    """Uniform in 0 (included) to 1 (excluded), f32."""
    top = ops.shift_right(bits, constant(8, "u32"))
    return ops.mul(ops.cast(top, "f32"), 2.0**-24)


def _uniform(draws: Draws, shape: Sequence[Dim], seed: float | None) -> Value:
    return _unit(draws.bits(shape, seed)[0])


def _normal(draws: Draws, shape: Sequence[Dim], seed: float | None) -> Value:
    """Box and Muller's: the distance from 0 by one uniform number, the direction by another."""
    a, b = draws.bits(shape, seed, 2)
    far = ops.sqrt_(ops.mul(ops.log_(ops.sub(1.0, _unit(a))), -2.0))
    return ops.mul(far, ops.cos_(ops.mul(_unit(b), 2 * math.pi)))


def _typed(y: Value, dtype: int | None, otherwise: str = "f32") -> Value:
    return ops.cast(y, otherwise if dtype is None else element_type(dtype))


def RandomUniform(
    *,
    shape: Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
    dtype: int | None = None,
    draws: Draws,
) -> Value:
    y = ops.add(ops.mul(_uniform(draws, shape, seed), high - low), low)
    return _typed(y, dtype)


def RandomUniformLike(
    x: Value,
    *,
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
    dtype: int | None = None,
    draws: Draws,
) -> Value:
    y = ops.add(ops.mul(_uniform(draws, x.shape, seed), high - low), low)
    return _typed(y, dtype, x.dtype)


def RandomNormal(
    *,
    shape: Sequence[int],
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    dtype: int | None = None,
    draws: Draws,
) -> Value:
    return _typed(ops.add(ops.mul(_normal(draws, shape, seed), scale), mean), dtype)


def RandomNormalLike(
    x: Value,
    *,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    dtype: int | None = None,
    draws: Draws,
) -> Value:
    y = ops.add(ops.mul(_normal(draws, x.shape, seed), scale), mean)
    return _typed(y, dtype, x.dtype)


def Bernoulli(
    x: Value, *, seed: float | None = None, dtype: int | None = None, draws: Draws
) -> Value:
    """1 with the probability that x says, else 0."""
    return _typed(ops.less(_uniform(draws, x.shape, seed), ops.cast(x, "f32")), dtype, x.dtype)


def Multinomial(
    x: Value, *, sample_size: int = 1, seed: float | None = None, dtype: int = 6, draws: Draws
) -> Value:
    """Classes of each row [sample_size], drawn by unnormalised logarithms of probabilities."""
    if x.rank != 2:
        raise ModelError(f"{type_text(x)}: [batch, classes] expected")
    rows, classes = x.shape
    until = ops.unsqueeze(ops.cumsum(ops.softmax(ops.cast(x, "f32"), 1), 1), [1])
    last = ops.slice_axis(until, 2, as_dim(lift(classes) - 1), 1)
    at = ops.unsqueeze(_uniform(draws, (rows, sample_size), seed), [2])
    before = ops.less_equal(until, ops.mul(at, last))  # whose share ends before the number
    found = ops.squeeze(ops.reduce_sum(ops.cast(before, "i32"), [2]), [2])
    most = ops.ints(as_dim(lift(classes) - 1), "i32")
    return _typed(ops.min_(found, most), dtype)


OPERATORS = {
    fn.__name__: fn
    for fn in (
        Bernoulli,
        Multinomial,
        RandomNormal,
        RandomNormalLike,
        RandomUniform,
        RandomUniformLike,
    )
}

__all__ = ["OPERATORS", "Draws"]
