"""Matrix products and convolutions: what templates compute.

    >>> from webdnn.graph import placeholder
    >>> matmul(placeholder("a", (3, 4), "f32"), placeholder("b", (4, 5), "f32"))
    matmul:f32[3,5]

Convolutions are NHWC with filters [KH, KW, C/groups, M]; that is a definition, not a choice:
frontends of NCHW formats wrap them in transposes. The pass `pack` replaces `matmul` and `conv` by
their packed forms, whose second operand lies in panels [..., ceil(N/8), K, 8].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import SizesDifferError, UnsupportedError
from ..expr import Dim, Expr, as_dim, free, lift, product, same, var
from ..graph import (
    FLOATS,
    Node,
    Op,
    Shape,
    Template,
    Value,
    any_view,
    any_weight,
    constant,
    no_view,
    type_text,
)
from .elementwise import broadcast_index, broadcast_shapes, mul
from .indexing import gathered_position
from .movement import dilate, expand, flip, pad, reshape, squeeze, transpose, unsqueeze
from .quantised import DEQUANTIZE, padded
from .reduce import reduce_sum

PANEL = 8


def _matmul_infer(a: Value, b: Value) -> list[tuple[Shape, str]]:
    message = f"matmul: {type_text(a)} and {type_text(b)} do not fit"
    if a.rank < 2 or b.rank < 2:
        raise UnsupportedError(message)
    if not same(a.shape[-1], b.shape[-2]):
        raise SizesDifferError(message, a.shape[-1], b.shape[-2])
    if a.dtype != b.dtype:
        raise UnsupportedError(
            f"matmul: operands must have one dtype, found {type_text(a)} and {type_text(b)}"
        )
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2]) if a.rank > 2 or b.rank > 2 else ()
    return [((*batch, a.shape[-2], b.shape[-1]), a.dtype)]


MATMUL = Op(
    "matmul",
    "template",
    _matmul_infer,
    None,
    lambda a, b: np.matmul(a, b),
    combines=lambda node: [(k, (node.inputs[k].rank - 1 - k,), 0) for k in range(2)],
    rows={0: None, 1: None},
)


def matmul(a: Value, b: Value) -> Value:
    """a[..., M, K] @ b[..., K, N]; batch axes broadcast; one-dimensional operands as in numpy.

    Integers are multiplied and summed as such: the templates would round beyond 2**24.
    Raises SizesDifferError where K differs, UnsupportedError where the dtypes do.
    """
    if a.rank == 1:
        out = matmul(reshape(a, (1, *a.shape)), b)
        if b.rank == 1:
            return reshape(out, ())
        return reshape(out, (*out.shape[:-2], out.shape[-1]))
    if b.rank == 1:
        out = matmul(a, reshape(b, (*b.shape, 1)))
        return reshape(out, out.shape[:-1])
    if a.dtype in FLOATS:
        ((shape, dtype),) = MATMUL.infer(a, b)
        nothing = a.shape[-1] == 0  # to sum
        return expand(constant(0.0, dtype), shape) if nothing else MATMUL(a, b)
    terms = mul(unsqueeze(a, [a.rank]), unsqueeze(b, [b.rank - 2]))
    return squeeze(reduce_sum(terms, [-2]), [-2])


def conv_size(size: Any, kernel: int, stride: int, dilation: int, before: int, after: int) -> Any:
    """The output size of a convolution or pooling along one axis: an int or an expression."""
    return as_dim((lift(size) + before + after - ((kernel - 1) * dilation + 1)) // stride + 1)


def _conv_infer(
    x: Value,
    w: Value,
    *,
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> list[tuple[Shape, str]]:
    n, h, wd, c = x.shape
    kh, kw, cg, m = w.shape
    assert isinstance(kh, int) and isinstance(kw, int)
    if not isinstance(c, int) or not isinstance(m, int) or cg * groups != c or m % groups:
        raise UnsupportedError(
            f"conv: {type_text(x)} and filters {type_text(w)} with {groups} groups do not fit"
        )
    oh = conv_size(h, kh, stride[0], dilation[0], pads[0], pads[2])
    ow = conv_size(wd, kw, stride[1], dilation[1], pads[1], pads[3])
    for o in (oh, ow):
        if isinstance(o, int) and o < 1:
            raise UnsupportedError(
                f"conv: the window of {type_text(w)} does not fit into {type_text(x)} "
                f"with pads {pads}"
            )
    return [((n, oh, ow, m), x.dtype)]


# What lies beyond an image is 0, like the padding around it.
CONV = Op(
    "conv",
    "template",
    _conv_infer,
    combines=lambda node: [(0, (1, 2, 3), 0)],
    rows={0: None},
)


def conv(
    x: Value,
    w: Value,
    stride: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Value:
    """x [N,H,W,C], w [KH,KW,C/groups,M], pads (top, left, bottom, right) -> [N,OH,OW,M].

    Raises UnsupportedError where channels and groups do not fit or the window is too large.
    """
    attrs = {
        "stride": tuple(stride), "pads": tuple(pads), "dilation": tuple(dilation), "groups": groups
    }  # fmt: skip
    if 0 in x.shape:  # nothing but padding to sum
        ((shape, dtype),) = CONV.infer(x, w, **attrs)
        return expand(constant(0.0, dtype), shape)
    return CONV(x, w, **attrs)


def conv_transpose(
    x: Value,
    w: Value,
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    output_padding: Sequence[int] = (0, 0),
) -> Value:
    """The adjoint of conv: x [N,H,W,C], w [KH,KW,C,M/groups] -> [N,OH,OW,M].

    Channel c of x feeds the M/groups outputs of its group. pads (top, left, bottom, right) crop the
    result, output_padding (bottom, right) extends it. Where the windows do not overlap (kernel =
    stride) it is one matrix product and a rearrangement; else a convolution with the flipped
    filters over x with zeros between its elements.
    """
    n, h, wd, c = x.shape
    kh, kw, _, mg = w.shape
    assert isinstance(kh, int) and isinstance(kw, int)
    if (kh, kw) == tuple(stride) and tuple(dilation) == (1, 1) and groups == 1:
        flat = matmul(
            reshape(x, (n, product([h, wd]), c)),
            reshape(transpose(w, (2, 0, 1, 3)), (c, kh * kw * mg)),
        )
        y = transpose(reshape(flat, (n, h, wd, kh, kw, mg)), (0, 1, 3, 2, 4, 5))
        y = reshape(y, (n, lift(h) * kh, lift(wd) * kw, mg))
        top, left, bottom, right = pads
        return pad(
            y, (0, -top, -left, 0), (0, output_padding[0] - bottom, output_padding[1] - right, 0)
        )
    # [KH, KW, C, M/g] -> flipped [KH, KW, C/g, M]
    f = flip(w, (0, 1))
    f = reshape(f, (kh, kw, groups, c // groups, mg))
    f = reshape(transpose(f, (0, 1, 3, 2, 4)), (kh, kw, c // groups, groups * mg))
    ey, ex = (kh - 1) * dilation[0], (kw - 1) * dilation[1]
    top, left, bottom, right = pads
    around = (ey - top, ex - left, ey - bottom + output_padding[0], ex - right + output_padding[1])
    x = dilate(x, (1, stride[0], stride[1], 1))
    x = pad(
        x,
        (0, min(around[0], 0), min(around[1], 0), 0),
        (0, min(around[2], 0), min(around[3], 0), 0),
    )
    return conv(x, f, (1, 1), [max(p, 0) for p in around], dilation, groups)


# ---- packed forms --------------------------------------------------------------------------------


def pack(b: Value) -> Value:
    """[..., K, N] -> panels [..., ceil(N/8), K, 8], zeros (or anything, dequantised) beyond N."""
    *batch, k, n = b.shape
    panels = as_dim((lift(n) + (PANEL - 1)) // PANEL)
    missing = as_dim(lift(panels) * PANEL - n)
    if b.op is DEQUANTIZE:
        b = padded(b, missing)
    else:
        b = pad(b, [0] * b.rank, [0] * (b.rank - 1) + [missing])
    b = reshape(b, (*batch, k, panels, PANEL))
    r = len(batch)
    return transpose(b, (*range(r), r + 1, r, r + 2))


def _rows_element(node: Node, read: Any, idx: tuple[Any, ...]) -> Expr:
    *at, k = idx
    n = gathered_position(read(1, tuple(at)), node.attrs["n"])
    return read(0, (n // PANEL, k, n % PANEL))


# panels of [K, N] and indices [I...] -> columns [I..., K]: gather(transpose(b), indices)
GATHER_COLUMNS = Op(
    "gather_columns",
    "map",
    lambda b, indices, *, n: [((*indices.shape, b.shape[-2]), b.dtype)],
    _rows_element,
    lambda b, indices, *, n: b.transpose(0, 2, 1).reshape(-1, b.shape[1])[:n][indices],
)


def _packed_matmul_infer(
    a: Value, b: Value, *, n: Any, whole: bool = False
) -> list[tuple[Shape, str]]:
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-3]) if a.rank > 2 or b.rank > 3 else ()
    return [((*batch, a.shape[-2], n), a.dtype)]


def matmul_space(node: Node) -> tuple[Any, ...]:
    """Variables for the axes of a product: b0, b1 (the outer batch axes are one), m, n."""
    *batch, m, n = node.outputs[0].shape
    if len(batch) <= 2:
        return (*(var(f"b{k}", d) for k, d in enumerate(batch)), var("m", m), var("n", n))
    merged, last = var("b0", product(batch[:-1])), var("b1", batch[-1])
    index: list[Any] = []
    inner: Dim = 1
    for k in reversed(range(len(batch) - 1)):
        quotient = merged // inner
        index.insert(0, quotient % batch[k] if k else quotient)
        inner = as_dim(lift(inner) * batch[k])
    return (*index, last, var("m", m), var("n", n))


def _matmul_define(node: Node, read: Any) -> Mapping[str, Any]:
    a, b = node.inputs
    *batch, m, n = matmul_space(node)
    k = var("k", a.shape[-1])
    lead = broadcast_index(tuple(batch), b.shape[:-3])
    axes = {v.args[0]: v for e in batch for v in free(e, "var")}
    return {
        "vars": {**dict(sorted(axes.items())), "m": m, "n": n, "k": k},
        "holes": {
            "a": read(0, broadcast_index((*batch, m, k), a.shape)),
            "b": read(1, (*lead, n // PANEL, k, n % PANEL)),
        },
        "sums": ("k",),
        "attrs": {"whole": node.attrs.get("whole", False)},
    }


PACKED_MATMUL = Op(
    "packed_matmul",
    "template",
    _packed_matmul_infer,
    template=Template("matmul", _matmul_define, (any_view, any_weight), matmul_space),
)


def _marked(whole: bool) -> dict[str, Any]:
    return {"whole": True} if whole else {}


def pack_matmul(a: Value, b: Value, whole: bool = False) -> Value:
    """matmul with b in panels: a [..., M, K], b [..., K, N] -> [..., M, N].

    Where b has no batch axes, those of a become rows. whole: both hold whole numbers that fit into
    16 bits, and all sums fit into 32.
    """
    if all(d == 1 for d in b.shape[:-2]) and a.rank > 2:
        out_shape = MATMUL.infer(a, b)[0][0]
        rows = reshape(a, (product(a.shape[:-1]), a.shape[-1]))
        out = PACKED_MATMUL(rows, pack(reshape(b, b.shape[-2:])), n=b.shape[-1], **_marked(whole))
        return reshape(out, out_shape)
    return PACKED_MATMUL(a, pack(b), n=b.shape[-1], **_marked(whole))


def pack_filters(w: Value, groups: int) -> Value:
    """[KH, KW, C/g, M] -> [G, ceil(M/g/8), KH*KW*C/g, 8]."""
    kh, kw, cg, m = w.shape
    assert isinstance(m, int)
    flat = reshape(w, (product([kh, kw, cg]), groups, m // groups))
    return pack(transpose(flat, (1, 0, 2)))


def packed_conv_infer(
    x: Value,
    w: Value,
    *,
    kernel: tuple[int, int],
    m: int,
    stride: Any,
    pads: Any,
    dilation: Any,
    groups: int,
    whole: bool = False,
) -> list[tuple[Shape, str]]:
    n, h, wd, _ = x.shape
    oh = conv_size(h, kernel[0], stride[0], dilation[0], pads[0], pads[2])
    ow = conv_size(wd, kernel[1], stride[1], dilation[1], pads[1], pads[3])
    return [((n, oh, ow, m), x.dtype)]


def conv_space(node: Node) -> tuple[Any, ...]:
    """b, y, x and the channel, g * (channels of a group) + n."""
    b, y, x, c = node.outputs[0].shape
    groups = node.attrs["groups"]
    n = var("n", as_dim(lift(c) // groups))
    channel = var("g", groups) * n.args[1] + n if groups > 1 else n
    return var("b", b), var("y", y), var("x", x), channel


def conv_view(node: Node, view: Value) -> bool:
    """Neighbouring channels must lie side by side; of groups, all channels of a pixel too."""
    whole = view.shape[-1:] == view.inputs[0].shape[-1:]
    return view.op.view == "order" and (node.attrs.get("groups", 1) == 1 or whole)


def conv_window(node: Node, kernel: Sequence[Dim]) -> tuple[dict[str, Expr], dict[str, Any]]:
    """The variables and attributes of what slides a window over a picture."""
    _, h, w, _ = node.inputs[0].shape
    b, y, x, _ = node.outputs[0].shape
    sizes = {"b": b, "y": y, "x": x, "ky": kernel[0], "kx": kernel[1], "iy": h, "ix": w}
    top, left, _, _ = node.attrs["pads"]
    attrs = {"stride": node.attrs["stride"], "dilation": node.attrs["dilation"]}
    return {k: var(k, d) for k, d in sizes.items()}, {**attrs, "pad": (top, left)}


def _conv_define(node: Node, read: Any) -> Mapping[str, Any]:
    groups = node.attrs["groups"]
    v, attrs = conv_window(node, node.attrs["kernel"])
    each = as_dim(lift(node.inputs[0].shape[-1]) // groups)
    v |= {"n": var("n", as_dim(lift(node.attrs["m"]) // groups)), "c": var("c", each)}
    if groups > 1:
        v["g"] = var("g", groups)
    g, n, c = v.get("g", lift(0)), v["n"], v["c"]
    depth = (v["ky"] * node.attrs["kernel"][1] + v["kx"]) * each + c
    return {
        "vars": v,
        "holes": {
            "b": read(1, (g, n // PANEL, depth, n % PANEL)),
            "a": read(0, (v["b"], v["iy"], v["ix"], g * each + c)),
        },
        "sums": ("ky", "kx", "c"),
        "attrs": {**attrs, "groups": groups, "whole": node.attrs.get("whole", False)},
    }


PACKED_CONV = Op(
    "packed_conv",
    "template",
    packed_conv_infer,
    template=Template("conv", _conv_define, (conv_view, any_weight), conv_space),
)


def _depthwise_space(node: Node) -> tuple[Any, ...]:
    return tuple(var(name, d) for name, d in zip("byxc", node.outputs[0].shape))


def _depthwise_define(node: Node, read: Any) -> Mapping[str, Any]:
    v, attrs = conv_window(node, node.inputs[1].shape[:2])
    v["c"] = var("c", node.outputs[0].shape[-1])
    return {
        "vars": v,
        "holes": {
            "w": read(1, (v["ky"], v["kx"], v["c"])),
            "a": read(0, (v["b"], v["iy"], v["ix"], v["c"])),
        },
        "sums": ("ky", "kx"),
        "attrs": attrs,
    }


DEPTHWISE = Op(
    "depthwise",
    "template",
    lambda x, w, *, stride, pads, dilation: packed_conv_infer(
        x,
        w,
        kernel=w.shape[:2],
        m=w.shape[2],
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=1,
    ),
    template=Template("depthwise", _depthwise_define, (conv_view, no_view), _depthwise_space),
)


def pack_conv(
    x: Value, w: Value, stride: Any, pads: Any, dilation: Any, groups: int, whole: bool = False
) -> Value:
    """conv in the form of a template: a matmul if 1x1, depthwise, or with filters in panels; whole
    as in `pack_matmul`."""
    n, h, wd, c = x.shape
    kh, kw, cg, m = w.shape
    if (kh, kw) == (1, 1) and groups == 1 and not any(pads) and tuple(stride) == (1, 1):
        rows, panels = reshape(x, (product([n, h, wd]), c)), pack(reshape(w, (c, m)))
        out = PACKED_MATMUL(rows, panels, n=m, **_marked(whole))
        return reshape(out, (n, h, wd, m))
    if groups == c and cg == 1 and m == c and c > 1:
        return DEPTHWISE(x, reshape(w, (kh, kw, c)), stride=stride, pads=pads, dilation=dilation)
    return PACKED_CONV(
        x,
        pack_filters(w, groups),
        kernel=(kh, kw),
        m=m,
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=groups,
        **_marked(whole),
    )


__all__ = [
    "CONV",
    "DEPTHWISE",
    "GATHER_COLUMNS",
    "MATMUL",
    "PACKED_CONV",
    "PACKED_MATMUL",
    "conv",
    "conv_size",
    "conv_transpose",
    "matmul",
    "pack_conv",
    "pack_matmul",
]
