"""float64, where a target has it.

    >>> from webdnn.graph import Graph, placeholder, rewrite
    >>> a, b = placeholder("a", (2, 3), "f64"), placeholder("b", (3, 4), "f64")
    >>> print(rewrite(Graph((a, b), {"y": ops.matmul(a, b)}), RULES))
    a: f64[2,3] = input()
    b: f64[3,4] = input()
    %2: f64[2,3,1] = reshape(a, shape=(2,3,1))
    %3: f64[1,3,4] = reshape(b, shape=(1,3,4))
    %4: f64[2,3,4] = mul(%2, %3)
    %5: f64[2,1,4] = reduce(%4, axes=(1), monoid=sum)
    y: f64[2,4] = reshape(%5, shape=(2,4))

Elementwise work, movement and reductions are what they are in float32. Products and convolutions,
whose templates are of float32, become elementwise products and sums. What has a kernel of its own
that is not of float64 (recurrent layers, detection) computes in float32. A target without float64
is given a graph without it (`ops.doubles`), before its passes.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import ops
from ..graph import Value
from ..ops.control import ITERATE
from ..ops.doubles import in_single


def product_of_doubles(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """matmul(a, b) -> sum(a * b), in float64"""
    if v.op is not ops.MATMUL or v.dtype != "f64":
        return None
    a, b = v.inputs
    terms = ops.mul(ops.unsqueeze(a, [a.rank]), ops.unsqueeze(b, [b.rank - 2]))
    return ops.squeeze(ops.reduce_sum(terms, [-2]), [-2])


def convolution_of_doubles(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """conv(x, w) -> sum(windows(x) * w), in float64"""
    if v.op is not ops.CONV or v.dtype != "f64":
        return None
    x, w = v.inputs
    height, width, depth, filters = w.shape
    top, left, bottom, right = v.attrs["pads"]
    groups = v.attrs["groups"]
    x = ops.pad(x, (0, top, left, 0), (0, bottom, right, 0))
    size = [ops.static(d, "the filter's size") for d in (height, width)]
    seen = ops.windows(x, [1, 2], size, v.attrs["stride"], v.attrs["dilation"])
    n, high, wide, _ = v.shape  # seen: n, high, wide, groups * depth, height, width
    each = ops.static(filters, "the number of filters") // groups
    seen = ops.reshape(seen, (n, high, wide, groups, 1, depth, height, width))
    by = ops.transpose(ops.reshape(w, (height, width, depth, groups, each)), (3, 4, 2, 0, 1))
    return ops.reshape(ops.reduce_sum(ops.mul(seen, by), [5, 6, 7]), v.shape)


def single_kernel(v: Value, uses: Mapping[Value, int]) -> Value | None:
    """recurrent(x: f64) -> f64(recurrent(f32(x)))"""
    if v.op.kind not in ("template", "opaque") or v.op is ITERATE:
        return None
    if not any(i.dtype == "f64" for i in v.inputs):
        return None
    inputs = [ops.cast(i, "f32") if i.dtype == "f64" else i for i in v.inputs]
    attrs = {k: in_single(a) for k, a in v.attrs.items()}
    return ops.cast(v.op.node(inputs, attrs).outputs[v.index], v.dtype)


RULES = (product_of_doubles, convolution_of_doubles, single_kernel)

__all__ = ["RULES"]
