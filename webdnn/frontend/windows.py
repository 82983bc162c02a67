"""The geometry of windows, which convolutions and pooling of every format have in common.

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (1, 3, 9, 9), "f32")
    >>> w = window(x.shape[2:], (3, 3), strides=(2, 2), pads="same_upper")
    >>> w.pads, max_pool(x, w).shape
    ([(1, 1), (1, 1)], (1, 3, 5, 5))

A format reads its attributes into a `Window`, which is checked, and computes with it. The
functions here take images [N, C, spatial...] and filters [outputs, inputs, kernel...], as Caffe,
Chainer, ONNX and PyTorch have them. What is channels last (Keras, TensorFlow) gives the fields of a
`Window` to `ops.convolve` and the like, which are so too. Sizes may be symbolic, the numbers of a
window may not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import ops
from ..errors import ModelError
from ..expr import Dim, as_dim, lift, maximum, minimum
from ..graph import Value, type_text
from .arrays import channels_first, channels_last

Pads = list[tuple[Dim, Dim]]


@dataclass(frozen=True)
class Window:
    """What a convolution or a pooling sees at each place: a number for each spatial axis.

    pads: elements before and after the image. extra: how many of those after it are there for the
    last window alone, as `ceil_mode` adds them; an average never counts them.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: Pads
    extra: Sequence[Dim] = ()

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)


def per_axis(given: Any, rank: int, what: str = "numbers") -> list[int]:
    """A number for each spatial axis, of one for all or one for each; None: ones.

    Ones for the batch and the channels too, as TensorFlow has them, are left out. Raises ModelError
    for another count, which calls them `what`.
    """
    if given is None:
        return [1] * rank
    numbers = [int(n) for n in given] if isinstance(given, (list, tuple)) else [int(given)]
    if len(numbers) == rank + 2 and numbers[0] == numbers[-1] == 1:
        numbers = numbers[1:-1]
    if len(numbers) not in (1, rank):
        raise ModelError(f"{what} {numbers}: one for each of {rank} spatial axes expected, or one")
    return numbers * rank if len(numbers) == 1 else numbers


def reach(kernel: int, dilation: int) -> int:
    """How many elements of an axis a window spans."""
    return (kernel - 1) * dilation + 1


def window(
    sizes: Sequence[Dim],
    kernel: Sequence[Dim],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: str | Sequence[tuple[Dim, Dim]] = "valid",
) -> Window:
    """The windows over spatial axes of these sizes; strides and dilations are 1 by default.

    pads: (before, after) of each axis, or a name: valid (none), same_upper or same_lower (as many
    windows as size / stride, rounded up; an odd element goes after, or before, the image), causal
    (all that a window reaches back, before), full (as much on both sides). Raises ModelError where
    the numbers are too many, too few or too small, and UnsupportedError where one is unknown.
    """
    rank = len(sizes)
    size = [ops.static(k, "the size of a window") for k in kernel]
    steps, gaps = list(strides or [1] * rank), list(dilations or [1] * rank)
    for what, numbers in (("kernel", size), ("strides", steps), ("dilations", gaps)):
        if len(numbers) != rank or any(n < 1 for n in numbers):
            raise ModelError(
                f"{what} {numbers}: a positive number expected for each of the spatial axes, "
                f"[{', '.join(map(str, sizes))}]"
            )
    if not isinstance(pads, str):
        around = list(pads)
    elif pads in ("same_upper", "same_lower"):
        around = ops.same_pads(sizes, size, steps, gaps, upper=pads == "same_upper")
    else:
        before = {"valid": 0, "causal": 1, "full": 1}.get(pads)
        if before is None:
            raise ModelError(
                f"unknown padding {pads!r}; expected valid, same_upper, same_lower, causal or full"
            )
        span = [before * (reach(k, d) - 1) for k, d in zip(size, gaps)]
        around = [(n, n if pads == "full" else 0) for n in span]
    return Window(size, steps, gaps, around, [0] * rank)


def ceil_mode(w: Window, sizes: Sequence[Dim], drop: bool = True) -> Window:
    """With as much more padding after each axis as a last, partial window needs.

    drop: but without a window that begins beyond the image and the padding before it.
    """
    pads, extra = list(w.pads), list(w.extra)
    for k, (size, (before, after)) in enumerate(zip(sizes, w.pads)):
        s, span = w.strides[k], reach(w.kernel[k], w.dilations[k])
        padded = lift(size) + before + after
        last = (padded - span + (s - 1)) // s
        if drop:
            last = minimum(last, (lift(size) + before - 1) // s)
        extra[k] = as_dim(maximum(last * s + span - padded, 0))
        pads[k] = (before, as_dim(lift(after) + extra[k]))
    return replace(w, pads=pads, extra=extra)


def at_least_one(w: Window, sizes: Sequence[Dim]) -> Window:
    """With padding after each axis that a window exceeds by less than a stride.

    onnxruntime divides towards zero where it counts windows, and so finds a partial one there.
    """
    pads, extra = list(w.pads), list(w.extra)
    for k, (size, (before, after)) in enumerate(zip(sizes, w.pads)):
        over = as_dim(reach(w.kernel[k], w.dilations[k]) - (lift(size) + before + after))
        if isinstance(over, int) and 0 < over < w.strides[k]:
            extra[k], pads[k] = over, (before, as_dim(lift(after) + over))
    return replace(w, pads=pads, extra=extra)


def transposed_size(w: Window, axis: int, count: Dim) -> Dim:
    """The smallest size of an axis along which there are that many windows."""
    before, after = w.pads[axis]
    span = reach(w.kernel[axis], w.dilations[axis])
    return as_dim((lift(count) - 1) * w.strides[axis] + span - before - after)


# ---- channels last, as Keras and TensorFlow have them ------------------------------------------


def channel_axis(data_format: Any) -> int:
    """The axis of the channels of an image: 1 for channels_first, NCHW and the like, else -1."""
    return 1 if str(data_format or "").lower().startswith(("channels_first", "nc")) else -1


def in_format(x: Value, data_format: Any) -> tuple[Value, Callable[[Value], Value]]:
    """x with its channels as the last axis, and how to bring a result back into the format."""
    if x.rank < 3 or channel_axis(data_format) < 0:
        return x, lambda y: y
    return channels_last(x), channels_first


def named_window(x: Value, kernel: Any, strides: Any, dilations: Any, padding: str) -> Window:
    """The windows over x [N, spatial..., C]: numbers as in `per_axis`; same is same_upper."""
    rank, name = x.rank - 2, padding.lower()
    size, steps = per_axis(kernel, rank, "kernel"), per_axis(strides, rank, "strides")
    gaps = per_axis(dilations, rank, "dilations")
    return window(x.shape[1:-1], size, steps, gaps, "same_upper" if name == "same" else name)


# ---- what is computed ----------------------------------------------------------------------------


def conv(x: Value, filters: Value, bias: Value | None, w: Window, groups: int = 1) -> Value:
    """x [N, C, spatial...] by filters [M, C/groups, kernel...], bias [M] -> [N, M, spatial...]."""
    f = ops.transpose(filters, (*range(2, filters.rank), 1, 0))
    y = ops.convolve(channels_last(x), f, w.strides, w.pads, w.dilations, groups)
    return channels_first(_biased(y, bias))


def _biased(y: Value, bias: Value | None) -> Value:
    """y [..., M] with a bias [M]. Raises ModelError for another shape."""
    if bias is None:
        return y
    if bias.rank != 1 or not ops.same(bias.shape[0], y.shape[-1]):
        raise ModelError(f"bias {type_text(bias)}: [{y.shape[-1]}] expected, one for each output")
    return ops.add(y, bias)


def conv_transpose(
    x: Value,
    filters: Value,
    bias: Value | None,
    w: Window,
    groups: int = 1,
    output_padding: Sequence[int] | None = None,
    output_size: Sequence[Dim | None] = (),
) -> Value:
    """The adjoint: x [N, C, spatial...] by filters [C, M/groups, kernel...] -> [N, M, spatial...].

    w: the windows of the convolution whose adjoint it is: pads crop the result. output_padding: how
    much is added after each axis. output_size: what is kept of each, where not all is. Raises
    ModelError for an output padding that is negative or as large as a further window would need.
    """
    extra = list(output_padding or [0] * w.rank)
    most = [max(s, d) - 1 for s, d in zip(w.strides, w.dilations)]
    if len(extra) != w.rank or any(not 0 <= n <= m for n, m in zip(extra, most)):
        raise ModelError(
            f"output padding {extra}: a number from 0 to {most} expected for each of the spatial "
            "axes, less than the stride or the dilation"
        )
    y = ops.convolve_transpose(
        channels_last(x),
        ops.transpose(filters, (*range(2, filters.rank), 0, 1)),
        w.strides,
        [(ops.static(b, "a pad"), ops.static(a, "a pad")) for b, a in w.pads],
        w.dilations,
        groups,
        extra,
    )
    for axis, size in enumerate(output_size, 1):
        y = y if size is None else ops.slice_axis(y, axis, 0, size)
    return channels_first(_biased(y, bias))


def max_pool(x: Value, w: Window) -> Value:
    """x [N, C, spatial...] -> the maximum of each window; padding never wins."""
    _check_pads(w)
    y = ops.max_pool(channels_last(x), w.kernel, w.strides, w.pads, w.dilations)
    return channels_first(y)


def _check_pads(w: Window) -> None:
    """Raises ModelError where a pooling has a window that sees nothing but padding."""
    for k, d, pads, more in zip(w.kernel, w.dilations, w.pads, w.extra):
        numbers = [n for n in (pads[0], as_dim(lift(pads[1]) - more)) if isinstance(n, int)]
        if any(not 0 <= n < reach(k, d) for n in numbers):
            raise ModelError(
                f"pads {w.pads}: each must be at least 0 and smaller than the window, {w.kernel}"
            )


def average_pool(x: Value, w: Window, include_pad: bool = False) -> Value:
    """x [N, C, spatial...] -> the mean of each window, over the image alone unless include_pad."""
    _check_pads(w)
    y = ops.average_pool(
        channels_last(x), w.kernel, w.strides, w.pads, w.dilations, include_pad, w.extra
    )
    return channels_first(y)


def patches(x: Value, w: Window, fill: float = 0) -> Value:
    """[..., spatial...] -> [..., places..., kernel...]: what each window sees, `fill` beyond x."""
    lead = x.rank - w.rank
    none = [0] * lead
    wide = ops.pad(
        x, [*none, *(b for b, _ in w.pads)], [*none, *(a for _, a in w.pads)], value=fill
    )
    return ops.windows(wide, range(lead, x.rank), w.kernel, w.strides, w.dilations)


def im2col(x: Value, w: Window) -> Value:
    """[..., C, spatial...] -> [..., C * kernel, places...]: the windows as columns."""
    lead, rank = x.rank - w.rank, x.rank
    y = patches(x, w)
    y = ops.transpose(y, (*range(lead), *range(rank, rank + w.rank), *range(lead, rank)))
    columns = ops.product([x.shape[lead - 1], *w.kernel])
    return ops.reshape(y, (*x.shape[: lead - 1], columns, *y.shape[lead + w.rank :]))


__all__ = [
    "Pads",
    "Window",
    "at_least_one",
    "average_pool",
    "ceil_mode",
    "channel_axis",
    "conv",
    "conv_transpose",
    "im2col",
    "in_format",
    "max_pool",
    "named_window",
    "patches",
    "per_axis",
    "reach",
    "transposed_size",
    "window",
]
