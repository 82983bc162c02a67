"""Functions of PyTorch that its exporters lack or get wrong, in terms of those that they know.

    with spelled_out(torch):
        torch.onnx.export(module, ...)

While a module is exported, every call of one of `FUNCTIONS`, as a function or a method, goes to the
function of that name here. Each gives what PyTorch's own gives at inference; where it cannot (other
arguments than it has parameters for), it returns None, and PyTorch's own is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

Tensor = Any


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """`torch.nn.functional.embedding_bag` at inference, in terms of simpler functions.

    member[b, l] says whether item l belongs to bag b: all of a row, or what lies between offsets.
    """
    torch = import_module("torch")
    rows = torch.nn.functional.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[..., None]
    there = (
        torch.ones_like(input, dtype=torch.bool) if padding_idx is None else input != padding_idx
    )
    if input.dim() == 1:
        place = torch.arange(input.shape[0], device=input.device)
        begin = offsets[:-1] if include_last_offset else offsets
        end = offsets[1:] if include_last_offset else None
        if end is None:
            last = torch.full_like(offsets[:1], input.shape[0])
            end = torch.cat([offsets[1:], last])
        there = there & (place >= begin[:, None]) & (place < end[:, None])
        rows = rows[None]
    member = there[..., None]
    count = member.sum(-2)
    if mode == "max":
        most = rows.masked_fill(~member, float("-inf")).amax(-2)
        return torch.where(count > 0, most, torch.zeros_like(most))
    total = (rows * member).sum(-2)
    return total / count.clamp(min=1) if mode == "mean" else total


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """At inference the slope is the mean."""
    if training:
        return None
    return import_module("torch").where(input >= 0, input, input * ((lower + upper) / 2))


def _largest_in_bins(x: Tensor, sizes: Any, rank: int) -> Tensor:
    """The last `rank` axes in so many bins each: bin i of n begins at floor(i d / n) and ends at
    ceil((i + 1) d / n)."""
    torch = import_module("torch")
    sizes = [sizes] * rank if isinstance(sizes, int) else list(sizes)
    for k, n in enumerate(sizes):
        axis = x.dim() - rank + k
        d = x.shape[axis]
        if n is None or n == d:
            continue
        bins = [(i * d // n, -(-(i + 1) * d // n)) for i in range(n)]
        parts = [x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in bins]
        x = torch.cat(parts, axis)
    return x


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    return None if return_indices else _largest_in_bins(input, output_size, 1)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    return None if return_indices else _largest_in_bins(input, output_size, 2)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    return None if return_indices else _largest_in_bins(input, output_size, 3)


def hypot(input: Tensor, other: Tensor) -> Tensor:
    return (input * input + other * other).sqrt()


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """Distances between the rows of two tensors."""
    apart = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    if p == 2:
        return (apart * apart).sum(-1).sqrt()
    if p == math.inf:
        return apart.amax(-1)
    return apart.sum(-1) if p == 1 else (apart**p).sum(-1) ** (1 / p) if p > 0 else None


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    values, indices = input.topk(k, dim, largest=False, sorted=True)
    at = (dim, k - 1, 1)
    values, indices = values.narrow(*at), indices.narrow(*at)
    if not keepdim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return import_module("torch").return_types.kthvalue((values, indices))


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower one of two."""
    if dim is None:
        flat = input.reshape(-1)
        return kthvalue(flat, (flat.shape[0] + 1) // 2)[0]
    found = kthvalue(input, (input.shape[dim] + 1) // 2, dim, keepdim)
    return import_module("torch").return_types.median((found[0], found[1]))


def searchsorted(
    sorted_sequence: Tensor,
    input: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Tensor:
    """How many of the sequence are smaller (or, to the right, not larger)."""
    torch = import_module("torch")
    if sorter is not None or not isinstance(input, torch.Tensor):
        return None
    row, value = sorted_sequence.unsqueeze(-2), input.unsqueeze(-1)
    if sorted_sequence.dim() == 1:
        row = sorted_sequence
    smaller = row <= value if right or side == "right" else row < value
    return smaller.sum(-1).to(torch.int32 if out_int32 else torch.int64)


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """With a divisor of its own: a sum over windows; without, PyTorch's own will do."""
    if divisor_override is None or ceil_mode:
        return None
    torch = import_module("torch")
    count = math.prod(kernel_size) if isinstance(kernel_size, tuple) else kernel_size**2
    mean = torch.nn.functional.avg_pool2d(input, kernel_size, stride, padding)
    return mean * (count / divisor_override)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        embedding_bag, rrelu, adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d, hypot,
        cdist, kthvalue, median, searchsorted, avg_pool2d,
    )
}  # fmt: skip


@contextmanager
def spelled_out(torch: Any) -> Iterator[None]:
    """Calls of PyTorch's functions go to `FUNCTIONS` first."""

    class Spelled(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            own = FUNCTIONS.get(getattr(func, "__name__", "").removeprefix("_"))
            if own is not None:
                try:
                    found = own(*args, **kwargs)
                except TypeError:  # other arguments than it takes
                    found = None
                if found is not None:
                    return found
            return func(*args, **kwargs)

    with Spelled():
        yield


__all__ = ["FUNCTIONS", "spelled_out"]
