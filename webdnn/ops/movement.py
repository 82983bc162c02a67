"""Movement: views and rearrangements. Each says which input element an output element is.

    >>> from webdnn.graph import placeholder
    >>> reshape(placeholder("x", (2, 6), "f32"), (3, -1))
    reshape:f32[3,4]

None of these costs anything by itself: the fuser reads through them, places through them (concat),
or makes one copying kernel where a template needs its operand in a certain order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError, SizesDifferError, UnsupportedError
from ..expr import (
    Dim,
    Expr,
    as_dim,
    cast,
    const,
    equal,
    lift,
    logical_and,
    maximum,
    minimum,
    product,
    quotient,
    same,
    select,
    upper,
)
from ..graph import FLOATS, Node, Op, Shape, Value, scalar_dtype, type_text
from .known import move_known

GROWS = 4 * 4096  # bytes of a constant that is repeated anyway, rather than in each kernel
Read = Callable[[int, Any], Expr]
Index = tuple[Any, ...]


def axis_in(axis: int, x: Value) -> int:
    """An axis of x counted from 0. Raises ModelError for one that x has not."""
    if not -x.rank <= axis < x.rank:
        raise ModelError(f"axis {axis} is out of range for {type_text(x)}")
    return axis % x.rank


# ---- reshape -------------------------------------------------------------------------------------


def groups(a: Shape, b: Shape) -> list[tuple[range, range]]:
    """Match runs of axes of two shapes that have equal products, as short as possible.

    Raises ValueError where there is no such match.
    """
    if 0 in a and 0 in b:
        return [(range(len(a)), range(len(b)))]
    said = f"cannot reshape {list(a)} to {list(b)}"
    a, b = (tuple(1 if same(d, 1) else d for d in sizes) for sizes in (a, b))  # by any formula
    out = []
    i = j = 0
    while i < len(a) or j < len(b):
        i0, j0 = i, j
        left: Any = a[i] if i < len(a) else 1
        right: Any = b[j] if j < len(b) else 1
        i, j = min(i + 1, len(a)), min(j + 1, len(b))
        while not same(left, right):
            grow_left = i < len(a) and (j == len(b) or upper(left) <= upper(right))
            if grow_left:
                left, i = left * a[i], i + 1
            elif j < len(b):
                right, j = right * b[j], j + 1
            else:
                raise ValueError(said)
        out.append((range(i0, i), range(j0, j)))
    return out


def reshape_index(idx: Index, shape: Shape, to: Shape) -> Index:
    """The index within `to` of element `idx` of `shape` (equal sizes, row-major)."""
    if 0 in to:
        return (lift(0),) * len(to)  # of no element
    out: list[Any] = []
    for left, right in groups(shape, to):
        flat: Any = lift(0)
        for k in left:
            flat = flat * shape[k] + idx[k]
        if len(right) == 1:
            out.append(flat)
            continue
        inner: Any = 1
        part: list[Any] = []
        outer = next((k for k in right if to[k] != 1), -1)  # its index needs no remainder
        for k in reversed(right):
            part.append(
                lift(0) if to[k] == 1 else flat // inner if k == outer else flat // inner % to[k]
            )
            inner = as_dim(inner * to[k])
        out += reversed(part)
    return tuple(out)


def _reshape_infer(x: Value, *, shape: Shape) -> list[tuple[Shape, str]]:
    if not same(product(shape), x.size):
        raise SizesDifferError(
            f"reshape: {type_text(x)} has {x.size} elements, {list(shape)} has {product(shape)}",
            x.size,
            product(shape),
        )
    return [(shape, x.dtype)]


RESHAPE = Op(
    "reshape",
    "map",
    _reshape_infer,
    lambda node, read, idx: read(0, reshape_index(idx, node._types[0][0], node.inputs[0].shape)),
    lambda x, *, shape: np.reshape(x, shape),
    view="order",
    forward=lambda node, idx: reshape_index(idx, node.inputs[0].shape, node._types[0][0]),
)


def reshape(x: Value, shape: Sequence[Any]) -> Value:
    """Row-major reshape; one -1 is inferred.

    Raises SizesDifferError where the numbers of elements differ, UnsupportedError where -1 cannot
    be inferred.
    """
    dims = [as_dim(d) for d in shape]
    holes = [k for k, d in enumerate(dims) if isinstance(d, int) and d == -1]
    if len(holes) > 1:
        raise UnsupportedError(f"reshape of {type_text(x)} to {dims}: more than one -1")
    if holes:
        rest = product([d for d in dims if not (isinstance(d, int) and d == -1)])
        if isinstance(rest, int) and rest == 0:
            raise UnsupportedError(f"reshape of {type_text(x)} to {dims}: -1 beside 0")
        dims[holes[0]] = quotient(x.size, rest)
    to = tuple(dims)
    if to == x.shape:
        return x
    moved = move_known(lambda a: a.reshape(to), x) if all(isinstance(d, int) for d in to) else None
    if moved is not None:
        return moved
    if x.op is RESHAPE:
        return reshape(x.inputs[0], to)
    return RESHAPE(x, shape=to)


def squeeze(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Remove the given axes of size 1 (default: all such)."""
    drop = (
        {axis_in(a, x) for a in axes}
        if axes is not None
        else {k for k, d in enumerate(x.shape) if d == 1}
    )
    return reshape(x, [d for k, d in enumerate(x.shape) if k not in drop])


def unsqueeze(x: Value, axes: Sequence[int]) -> Value:
    """Insert axes of size 1 at the given positions of the result."""
    rank = x.rank + len(axes)
    at = {a % rank for a in axes}
    it = iter(x.shape)
    return reshape(x, [1 if k in at else next(it) for k in range(rank)])


def along(v: Value, axis: int | Sequence[int], rank: int) -> Value:
    """v with its axes as those of a tensor of `rank` axes that it broadcasts against.

    axis: the first of them, or each: a bias [C] along axis 1 of four is [1, C, 1, 1].
    """
    at = list(range(axis, axis + v.rank)) if isinstance(axis, int) else list(axis)
    shape: list[Dim] = [1] * rank
    for k, d in zip(at, v.shape, strict=True):
        shape[k] = d
    return reshape(v, shape)


# ---- transpose -----------------------------------------------------------------------------------

TRANSPOSE = Op(
    "transpose",
    "map",
    lambda x, *, perm: [(tuple(x.shape[p] for p in perm), x.dtype)],
    lambda node, read, idx: read(
        0, tuple(idx[node.attrs["perm"].index(k)] for k in range(len(idx)))
    ),
    lambda x, *, perm: np.transpose(x, perm),
    view="axes",
    forward=lambda node, idx: tuple(idx[p] for p in node.attrs["perm"]),
)


def transpose(x: Value, perm: Sequence[int]) -> Value:
    """Permute axes: axis k of the result is axis perm[k] of x. Raises UnsupportedError."""
    given, perm = tuple(perm), tuple(p + x.rank if p < 0 else p for p in perm)
    if sorted(perm) != list(range(x.rank)):
        raise UnsupportedError(
            f"transpose: {given} is not a permutation of the axes of {type_text(x)}"
        )
    if perm == tuple(range(x.rank)):
        return x
    if x.op is TRANSPOSE:
        return transpose(x.inputs[0], [x.attrs["perm"][p] for p in perm])
    moved = move_known(lambda a: a.transpose(perm), x)
    if moved is not None:
        return moved
    if [p for p in perm if x.shape[p] != 1] == [p for p in range(x.rank) if x.shape[p] != 1]:
        return reshape(x, [x.shape[p] for p in perm])  # only axes of size 1 move
    return TRANSPOSE(x, perm=perm)


# ---- slice, pad, expand --------------------------------------------------------------------------


def _slice_numpy(x: np.ndarray, *, starts: Any, sizes: Any, steps: Any) -> np.ndarray:
    return x[np.ix_(*(s + t * np.arange(n) for s, n, t in zip(starts, sizes, steps)))]


def _slice_infer(x: Value, *, starts: Any, sizes: Any, steps: Any) -> list[tuple[Shape, str]]:
    for axis, (d, s, n, t) in enumerate(zip(x.shape, starts, sizes, steps)):
        if all(isinstance(e, int) for e in (d, s, n)) and n > 0:
            last = s + (n - 1) * t
            if not (0 <= s < d and 0 <= last < d):
                raise ModelError(
                    f"slice: elements {s} to {last} of axis {axis} of {type_text(x)}, which has "
                    f"only {d}"
                )
    return [(sizes, x.dtype)]


SLICE = Op(
    "slice",
    "map",
    _slice_infer,
    lambda node, read, idx: read(
        0,
        tuple(
            lift(s) + lift(i) * t for i, s, t in zip(idx, node.attrs["starts"], node.attrs["steps"])
        ),
    ),
    _slice_numpy,
    view="part",
)


def slice_(
    x: Value, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int] | None = None
) -> Value:
    """Take sizes[k] elements from starts[k] in steps of steps[k], which may be negative."""
    steps = tuple(steps or (1,) * x.rank)
    starts, sizes = tuple(map(as_dim, starts)), tuple(map(as_dim, sizes))
    if sizes == x.shape and all(t == 1 for t in steps):
        return x
    if all(isinstance(d, int) for d in (*starts, *sizes)):
        moved = move_known(lambda a: _slice_numpy(a, starts=starts, sizes=sizes, steps=steps), x)
        if moved is not None:
            return moved
    return SLICE(x, starts=starts, sizes=sizes, steps=steps)


def slice_axis(x: Value, axis: int, start: Dim, size: Dim, step: int = 1) -> Value:
    """Take `size` elements from `start` in steps of `step` along one axis."""
    axis = axis_in(axis, x)
    at = range(x.rank)
    return slice_(
        x,
        [start if k == axis else 0 for k in at],
        [size if k == axis else x.shape[k] for k in at],
        [step if k == axis else 1 for k in at],
    )


def flip(x: Value, axes: Sequence[int]) -> Value:
    """Reverse x along axes."""
    at = {axis_in(a, x) for a in axes}
    starts = [as_dim(lift(d) - 1) if k in at else 0 for k, d in enumerate(x.shape)]
    return slice_(x, starts, x.shape, [-1 if k in at else 1 for k in range(x.rank)])


def _pad_element(node: Node, read: Read, idx: Index) -> Expr:
    (x,) = node.inputs
    inside = const(True)
    at = []
    for i, d, before, after in zip(idx, x.shape, node.attrs["before"], node.attrs["after"]):
        j = lift(i) - before
        if before != 0:
            inside = logical_and(inside, j >= 0)
        if after != 0:
            inside = logical_and(inside, j < d)
        at.append(j)
    value = read(0, tuple(at))
    return select(inside, value, lift(node.attrs["value"], value.dtype))


PAD = Op(
    "pad",
    "map",
    lambda x, *, before, after, value: [
        (tuple(as_dim(d + b + a) for d, b, a in zip(x.shape, before, after)), x.dtype)
    ],
    _pad_element,
    lambda x, *, before, after, value: np.pad(x, list(zip(before, after)), constant_values=value),
    flops=2,
)


def _pad_mode_element(node: Node, read: Read, idx: Index) -> Expr:
    at = []
    for i, d, b, a in zip(idx, node.inputs[0].shape, node.attrs["before"], node.attrs["after"]):
        j: Any = lift(i) - b
        if b == 0 and a == 0:
            pass
        elif node.attrs["mode"] == "edge":
            j = minimum(maximum(j, 0), lift(d) - 1)
        elif node.attrs["mode"] == "wrap":
            j = j % d
        else:
            # folded at both ends, whose elements `symmetric` repeats; once on either side
            edge = int(node.attrs["mode"] == "symmetric")
            j = select(j < 0, -j - edge, j)
            j = select(j < d, j, (lift(d) - 1) * 2 + edge - j)
            j = minimum(maximum(j, 0), lift(d) - 1)
        at.append(j)
    return read(0, tuple(at))


PAD_MODE = Op(
    "pad_mode",
    "map",
    lambda x, *, before, after, mode: [
        (tuple(as_dim(d + b + a) for d, b, a in zip(x.shape, before, after)), x.dtype)
    ],
    _pad_mode_element,
    lambda x, *, before, after, mode: np.pad(x, list(zip(before, after)), mode=mode),
)


def pad(
    x: Value, before: Sequence[Dim], after: Sequence[Dim], mode: str = "constant", value: float = 0
) -> Value:
    """Padding by `mode`: constant, edge, reflect (edge not repeated), symmetric (repeated) or wrap.

    `before[k]` and `after[k]` elements along axis k; negative amounts crop. Raises UnsupportedError
    where an axis is too short to be reflected.
    """
    before, after = [as_dim(b) for b in before], [as_dim(a) for a in after]
    crop_before = [max(0, -b) if isinstance(b, int) else 0 for b in before]
    crop_after = [max(0, -a) if isinstance(a, int) else 0 for a in after]
    if any(crop_before) or any(crop_after):
        crops = zip(x.shape, crop_before, crop_after)
        x = slice_(x, crop_before, [as_dim(lift(d) - b - a) for d, b, a in crops])
        before = [b if not isinstance(b, int) else max(0, b) for b in before]
        after = [a if not isinstance(a, int) else max(0, a) for a in after]
    if all(isinstance(d, int) and d == 0 for d in (*before, *after)):
        return x
    if mode == "constant":
        if x.dtype in FLOATS:
            value = float(value)
        else:
            value = bool(value) if x.dtype == "bool" else int(value)
        return PAD(x, before=tuple(before), after=tuple(after), value=value)
    if mode in ("reflect", "symmetric"):
        for d, b, a in zip(x.shape, before, after):
            most = max(upper(b), upper(a))
            if isinstance(d, int) and most > max(0, d - (mode == "reflect")):
                raise UnsupportedError(
                    f"pad: {mode} by {most} needs a longer axis; found {type_text(x)}"
                )
    return PAD_MODE(x, before=tuple(before), after=tuple(after), mode=mode)


def _expand_infer(x: Value, *, shape: Shape) -> list[tuple[Shape, str]]:
    return [(shape, x.dtype)]


def _expand_element(node: Node, read: Read, idx: Index) -> Expr:
    x = node.inputs[0]
    tail = idx[len(idx) - x.rank :]
    return read(0, tuple(lift(0) if d == 1 else i for i, d in zip(tail, x.shape)))


EXPAND = Op(
    "expand",
    "map",
    _expand_infer,
    _expand_element,
    lambda x, *, shape: np.broadcast_to(x, shape),
    grows=GROWS,
    repeats=True,
)


def expand(x: Value, shape: Sequence[Dim]) -> Value:
    """Broadcast to `shape` (numpy's rules; a dimension of x that is not 1 stays).

    Raises SizesDifferError where the shapes do not fit.
    """
    dims = [as_dim(d) for d in shape]
    pad_shape = [1] * (len(dims) - x.rank) + list(x.shape)
    if len(dims) < x.rank:
        dims = list(x.shape[: x.rank - len(dims)]) + dims
        pad_shape = list(x.shape)
    out: list[Any] = []
    for have, want in zip(pad_shape, dims):
        if not (same(have, 1) or same(want, 1) or same(have, want)):
            raise SizesDifferError(
                f"expand: {type_text(x)} does not broadcast to {dims}", have, want
            )
        out.append(want if same(have, 1) else have)
    if tuple(out) == x.shape:
        return x
    if all(isinstance(d, int) for d in out):
        moved = move_known(lambda a: np.broadcast_to(a, out), x)
        if moved is not None:
            return moved
    return EXPAND(x, shape=tuple(out))


# ---- concat, split -----------------------------------------------------------------------------


def _concat_infer(*xs: Value, axis: int) -> list[tuple[Shape, str]]:
    first = xs[0]
    message = f"concat along axis {axis}: {', '.join(map(type_text, xs))} do not fit"
    for x in xs[1:]:
        if x.rank != first.rank or x.dtype != first.dtype:
            raise UnsupportedError(message)
        for k, (a, b) in enumerate(zip(x.shape, first.shape)):
            if k != axis and not same(a, b):
                raise SizesDifferError(message, a, b)
    total: Any = 0
    for x in xs:
        total = total + x.shape[axis]
    return [
        (tuple(as_dim(total) if k == axis else d for k, d in enumerate(first.shape)), first.dtype)
    ]


def _concat_element(node: Node, read: Read, idx: Index) -> Expr:
    axis = node.attrs["axis"]
    starts: list[Any] = [lift(0)]
    for x in node.inputs[:-1]:
        starts.append(starts[-1] + x.shape[axis])
    out: Any = None
    for k in reversed(range(len(node.inputs))):
        at = (*idx[:axis], idx[axis] - starts[k], *idx[axis + 1 :])
        value = read(k, at)
        out = value if out is None else select(lift(idx[axis]) < starts[k + 1], value, out)
    return out


CONCAT = Op(
    "concat",
    "map",
    _concat_infer,
    _concat_element,
    lambda *xs, axis: np.concatenate(xs, axis),
    joins=True,
)


def concat(xs: Sequence[Value], axis: int) -> Value:
    """Join values of one dtype along an axis; empty ones are dropped.

    Raises SizesDifferError where their other dimensions differ, UnsupportedError where their ranks
    or dtypes do.
    """
    axis = axis_in(axis, xs[0])
    # Of another number of axes, which the operator refuses, one may have no such axis.
    empty = [x.rank > axis and isinstance(x.shape[axis], int) and x.shape[axis] == 0 for x in xs]
    kept = [x for x, none in zip(xs, empty) if not none] or [xs[0]]
    if len(kept) == 1:
        return kept[0]
    moved = move_known(lambda *a: np.concatenate(a, axis), *kept)
    return moved if moved is not None else CONCAT(*kept, axis=axis)


def split(x: Value, sizes: Sequence[Dim], axis: int) -> list[Value]:
    """Cut x into consecutive pieces of the given sizes along an axis."""
    out, start = [], lift(0)
    for size in sizes:
        out.append(slice_axis(x, axis, as_dim(start), size))
        start = start + size
    return out


# ---- windows, dilation, iota ---------------------------------------------------------------------


def _windows_infer(
    x: Value,
    *,
    axes: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> list[tuple[Shape, str]]:
    out: list[Any] = list(x.shape)
    if min((*size, *stride, *dilation), default=1) < 1:
        raise ModelError(f"windows of {size}, steps {stride}, dilations {dilation}: one is below 1")
    for a, n, s, d in zip(axes, size, stride, dilation):
        out[a] = as_dim((lift(x.shape[a]) - ((n - 1) * d + 1)) // s + 1)
        if isinstance(out[a], int) and out[a] < 1:
            raise UnsupportedError(
                f"a window of {(n - 1) * d + 1} does not fit into axis {a} of {type_text(x)}"
            )
    return [((*out, *size), x.dtype)]


def _windows_element(node: Node, read: Read, idx: Index) -> Expr:
    at = list(idx[: node.inputs[0].rank])
    a = node.attrs
    for k, axis in enumerate(a["axes"]):
        at[axis] = (
            lift(at[axis]) * a["stride"][k] + lift(idx[node.inputs[0].rank + k]) * a["dilation"][k]
        )
    return read(0, tuple(at))


def _windows_numpy(
    x: np.ndarray, *, axes: Any, size: Any, stride: Any, dilation: Any
) -> np.ndarray:
    for k, a in enumerate(axes):
        count = (x.shape[a] - ((size[k] - 1) * dilation[k] + 1)) // stride[k] + 1
        at = np.arange(count)[:, None] * stride[k] + np.arange(size[k])[None, :] * dilation[k]
        x = np.moveaxis(np.take(x, at, a), a + 1, -1)
    return x


WINDOWS = Op("windows", "map", _windows_infer, _windows_element, _windows_numpy, grows=GROWS)


def windows(
    x: Value,
    axes: Sequence[int],
    size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Value:
    """Sliding windows: axis a becomes the window's position, offsets within are appended as axes.

    [.., D, ..] -> [.., (D - (size - 1) * dilation - 1) // stride + 1, .., size...]. Raises
    UnsupportedError where a window is larger than its axis.
    """
    return WINDOWS(
        x, axes=tuple(axes), size=tuple(size), stride=tuple(stride), dilation=tuple(dilation)
    )


def _dilate_element(node: Node, read: Read, idx: Index) -> Expr:
    inside = const(True)
    at = []
    for i, f in zip(idx, node.attrs["factors"]):
        at.append(lift(i) // f)
        if f > 1:
            inside = logical_and(inside, equal(lift(i) % f, 0))
    value = read(0, tuple(at))
    return select(inside, value, lift(0, value.dtype))


def _dilate_numpy(x: np.ndarray, *, factors: tuple[int, ...]) -> np.ndarray:
    out = np.zeros([(n - 1) * f + 1 for n, f in zip(x.shape, factors)], x.dtype)
    out[tuple(slice(None, None, f) for f in factors)] = x
    return out


DILATE = Op(
    "dilate",
    "map",
    lambda x, *, factors: [
        (tuple(as_dim((d - 1) * f + 1) for d, f in zip(x.shape, factors)), x.dtype)
    ],
    _dilate_element,
    _dilate_numpy,
    flops=2,
)


def dilate(x: Value, factors: Sequence[int]) -> Value:
    """Put factors[k] - 1 zeros between the elements on axis k: D -> (D - 1) * factors[k] + 1."""
    return x if all(f == 1 for f in factors) else DILATE(x, factors=tuple(factors))


IOTA = Op(
    "iota",
    "map",
    lambda *, shape, axis, dtype: [(shape, dtype)],
    lambda node, read, idx: cast(idx[node.attrs["axis"]], scalar_dtype(node.attrs["dtype"])),
    lambda *, shape, axis, dtype: np.broadcast_to(
        np.arange(shape[axis]).reshape([-1 if k == axis else 1 for k in range(len(shape))]), shape
    ),
)


def iota(shape: Sequence[Dim], axis: int, dtype: str = "i32") -> Value:
    """Tensor of `shape` whose elements are their coordinate along an axis."""
    return IOTA(shape=tuple(as_dim(d) for d in shape), axis=axis % len(shape), dtype=dtype)


def repeat(x: Value, times: int, axis: int) -> Value:
    """Repeat each element `times` times along an axis (nearest-neighbour upsampling)."""
    axis = axis_in(axis, x)
    if times == 1:
        return x
    wide = expand(unsqueeze(x, [axis + 1]), (*x.shape[: axis + 1], times, *x.shape[axis + 1 :]))
    return reshape(wide, [as_dim(d * times) if k == axis else d for k, d in enumerate(x.shape)])


def tile(x: Value, repeats: Sequence[int]) -> Value:
    """Repeat x as a whole along each axis. Raises ModelError for another number of axes."""
    if len(repeats) != x.rank:
        raise ModelError(f"tile: {len(repeats)} repetitions for the axes of {type_text(x)}")
    for axis, times in enumerate(repeats):
        if not (isinstance(times, int) and times == 1):
            wide = expand(unsqueeze(x, [axis]), (*x.shape[:axis], times, *x.shape[axis:]))
            x = reshape(
                wide, [as_dim(d * times) if k == axis else d for k, d in enumerate(x.shape)]
            )
    return x


# ---- blocks --------------------------------------------------------------------------------------


def depth_to_space(x: Value, block: int, channels: int = -1, mode: str = "DCR") -> Value:
    """Channels spread over blocks of the spatial axes: [N, H, W, b b C] -> [N, H b, W b, C].

    channels: which axis they are. mode: whether they count the block and then the channel (DCR) or
    the channel and then the block (CRD), as ONNX has it.
    """
    _check_block(x, block, mode)
    c, axes = channels % x.rank, range(x.rank)
    spatial = [k for k in axes if k not in (0, c)]
    blocks = [block] * len(spatial)
    depth = as_dim(lift(x.shape[c]) // block ** len(blocks))
    parts = [*blocks, depth] if mode == "DCR" else [depth, *blocks]
    wide = reshape(x, (*x.shape[:c], *parts, *x.shape[c + 1 :]))
    first, at = (c, c + len(blocks)) if mode == "DCR" else (c + 1, c)  # of the blocks, the depth
    order: list[int] = []
    for k in axes:
        order.append(at if k == c else k if k < c else k + len(blocks))
        order += [first + spatial.index(k)] if k in spatial else []
    sizes = [depth if k == c else x.shape[k] if k == 0 else lift(x.shape[k]) * block for k in axes]
    return reshape(transpose(wide, order), sizes)


def _check_block(x: Value, block: int, mode: str) -> None:
    if block < 1 or mode not in ("DCR", "CRD") or x.rank < 3:
        raise ModelError(
            f"blocks of {block} of {type_text(x)}, mode {mode!r}: a positive size, a picture with "
            "channels and the mode DCR or CRD expected"
        )


def space_to_depth(x: Value, block: int, channels: int = -1, mode: str = "DCR") -> Value:
    """The inverse of `depth_to_space`: [N, H b, W b, C] -> [N, H, W, b b C]."""
    _check_block(x, block, mode)
    c = channels % x.rank
    shape: list[Dim] = []
    order: list[int] = []
    blocks: list[int] = []
    for k, d in enumerate(x.shape):
        order.append(len(shape))
        shape.append(d if k in (0, c) else as_dim(lift(d) // block))
        if k not in (0, c):
            blocks.append(len(shape))
            shape.append(block)
    depth = [*blocks, order[c]] if mode == "DCR" else [order[c], *blocks]
    y = transpose(reshape(x, shape), [*order[:c], *depth, *order[c + 1 :]])
    sizes = [
        product([shape[k] for k in depth]) if k == c else shape[order[k]] for k in range(x.rank)
    ]
    return reshape(y, sizes)


__all__ = [
    "CONCAT", "DILATE", "EXPAND", "IOTA", "PAD", "PAD_MODE", "RESHAPE", "SLICE", "TRANSPOSE",
    "WINDOWS", "along", "concat", "depth_to_space", "dilate", "expand", "flip", "groups",
    "iota", "pad", "repeat", "reshape", "reshape_index", "slice_", "slice_axis",
    "space_to_depth", "split", "squeeze", "tile", "transpose", "unsqueeze", "windows",
]  # fmt: skip
