"""A slow numpy reading of whole graphs, for tests alone: is the graph right before any target runs
it?

    y = interpret(graph, {"x": array}, {"h": 64})["y"]

`reading="element"` computes each value from the expression of one element, which is what targets
print; `reading="numpy"` uses the operators' own numpy functions, which fold constants. They must
agree. A read outside a tensor gives NaN (or a large integer), so an index that is not guarded
shows in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from webdnn import expr, ops
from webdnn.expr import Expr, lift, walk
from webdnn.graph import (
    CONST,
    INPUT,
    Graph,
    Op,
    Value,
    array_type,
    dims_of,
    placeholder,
    scalar_dtype,
)
from webdnn.passes import counted

_DTYPE = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "i32": np.int32, "u32": np.uint32,
    "bool": np.bool_,
}  # fmt: skip
_POISON = {"f32": np.nan, "f64": np.nan, "i32": 0x5BADF00D, "u32": 0x5BADF00D, "bool": True}


def calculate(root: Expr, leaves: Mapping[Expr, Any], buffers: list[np.ndarray]) -> np.ndarray:
    """An expression on arrays: `leaves` gives variables and dimensions, loads read `buffers`
    (flat).
    """
    done: dict[Expr, Any] = {}
    for e in walk(root):
        if e.op == "const":
            done[e] = np.asarray(e.args[0], _DTYPE[e.dtype])
        elif e.op in ("var", "dim"):
            done[e] = np.asarray(leaves[e], np.int32)
        elif e.op == "load":
            buffer, at = buffers[e.args[0]], done[e.args[1]]
            inside = (at >= 0) & (at < buffer.size)
            taken = (
                buffer[np.where(inside, at, 0)]
                if buffer.size
                else np.zeros(np.shape(at), buffer.dtype)
            )
            done[e] = np.where(inside, taken, np.asarray(_POISON[e.dtype], _DTYPE[e.dtype]))
        elif e.op == "cast":
            done[e] = expr.cast_numpy(done[e.args[0]], e.dtype)
        elif e.op == "bitcast":
            done[e] = np.asarray(done[e.args[0]]).view(_DTYPE[e.dtype])
        else:
            out = expr.OPS[e.op].numpy(*(done[a] for a in e.args))
            done[e] = np.asarray(out).astype(_DTYPE[e.dtype], copy=False)
    return np.asarray(done[root])


def interpret(
    graph: Graph,
    feeds: Mapping[str, np.ndarray],
    dims: Mapping[str, int] | None = None,
    reading: str = "element",
    keep: Callable[[Value], bool] | None = None,
) -> dict[str, np.ndarray]:
    """The outputs by name; `dims` are the sizes of the symbolic dimensions. States that are not fed
    are zero.
    """
    graph = counted.settle(graph, {})
    sizes = dict(dims or {})
    leaves = {d: sizes[d.args[0]] for d in graph.dims}
    zeros = {
        v.attrs["name"]: np.zeros(v.shape, array_type(v.dtype)) for v, _ in graph.states.values()
    }
    feeds = zeros | dict(feeds)
    for name, bound in graph.near.items():
        assert max(map(abs, np.ravel(feeds[name]).tolist()), default=0) <= bound, name
    for v in graph.inputs:
        if v.attrs["name"] in graph.wide:
            feeds[v.attrs["name"]] = apart(feeds[v.attrs["name"]], v)
    done: dict[Value, np.ndarray] = {}
    remaining = {v: len(users) for v, users in graph.uses().items()}
    with np.errstate(all="ignore"):
        for v in graph.values():
            done[v] = _compute(v, done, feeds, sizes, leaves, reading)
            for i in v.inputs:
                remaining[i] -= 1
                if not remaining[i] and i not in graph.results and not (keep and keep(i)):
                    del done[i]
    if keep:
        return {str(k): done[v] for k, v in graph.names.items() if v in done}
    raised = [of for name, of in graph.alarms.items() if done[graph.outputs[name]].any()]
    assert not raised, raised
    given = {name: done[v] for name, v in graph.outputs.items() if name not in graph.alarms}
    found = shown(graph.counts, given, sizes)
    return {name: joined(a) if name in graph.wide else a for name, a in found.items()}


def apart(numbers: np.ndarray, v: Value) -> np.ndarray:
    """The two words of each integer along a new last axis, as the graph's input has them."""
    flat = np.ascontiguousarray(numbers).reshape(-1)
    return flat.view(array_type(v.dtype)).reshape(*np.shape(numbers), 2)


def joined(words: np.ndarray) -> np.ndarray:
    """Integers of 64 bits from the two words of each along the last axis, i32 or u32."""
    wide = np.int64 if words.dtype.kind == "i" else np.uint64
    return np.ascontiguousarray(words).view(wide)[..., 0]


def shown(
    counts: Mapping[str, tuple[Any, ...]], outputs: dict[str, np.ndarray], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Outputs as a page sees them: cut to the lengths that the run has found (`Graph.counts`)."""
    hidden = {d.args[0] for d in dims_of(counts.values())} & outputs.keys()
    dims = {**sizes, **{name: int(outputs[name]) for name in hidden}}
    return {
        name: a[tuple(slice(_settled(d, dims)) for d in counts[name])] if name in counts else a
        for name, a in outputs.items()
        if name not in hidden
    }


def _settled(a: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(a, Expr):
        return expr.evaluate(a, sizes)
    return tuple(_settled(x, sizes) for x in a) if isinstance(a, tuple) else a


def _compute(
    v: Value,
    done: Mapping[Value, np.ndarray],
    feeds: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    leaves: Mapping[Expr, int],
    reading: str,
) -> np.ndarray:
    op, shape = v.op, _settled(v.shape, sizes)
    inputs = [done[i] for i in v.inputs]
    attrs = {
        k: _settled(a, sizes) for k, a in v.attrs.items() if k not in ("name", "dtype", "data")
    }
    if v.op is INPUT:
        fed = np.asarray(feeds[v.attrs["name"]])
        assert fed.shape == shape and fed.dtype == array_type(v.dtype), (
            f"{v.attrs['name']}: {fed.shape} {fed.dtype}, {v}"
        )
        return fed
    if v.op is CONST:
        return np.asarray(v.attrs["data"].read())
    if op is ops.ITERATE:
        out = _repeated(v, inputs, sizes, leaves, reading)
    elif op.composed is not None:
        given = tuple(placeholder(f"x{k}", i.shape, i.dtype) for k, i in enumerate(v.inputs))
        whole = Graph(given, {"y": op.composed(*given, **v.attrs)}, dims=tuple(leaves))
        feeds = {p.attrs["name"]: a for p, a in zip(given, inputs, strict=True)}
        out = interpret(whole, feeds, sizes, reading)["y"]
    elif op in _TEMPLATES:
        out = _TEMPLATES[op](*inputs, **attrs)
    elif op.kind == "map" and (reading == "element" or op.numpy is None):
        out = _by_element(v, inputs, shape, leaves)
    else:
        if "dtype" in v.attrs:
            attrs["dtype"] = v.attrs["dtype"]
        assert op.numpy is not None, f"no numpy reading of {v}"
        result = op.numpy(*inputs, **attrs)
        out = np.asarray(result[v.index] if isinstance(result, tuple) else result)
    assert out.shape == shape, f"{v}: {out.shape}, expected {shape}"
    return np.asarray(out).astype(array_type(v.dtype), copy=False)


def _repeated(
    v: Value, inputs: list[np.ndarray], sizes: Mapping[str, int], leaves: Any, reading: str
) -> np.ndarray:
    """A state of a loop after its last iteration, or the rows that it has collected."""
    region, count = v.attrs["region"], v.attrs["states"]
    graph = region.graph(leaves)
    states, captured, rows = inputs[:count], inputs[count:], []
    while states[0]:
        names = [p.attrs["name"] for p in region.inputs]
        feeds = dict(zip(names, [*states, *captured], strict=True))
        found = list(interpret(graph, feeds, sizes, reading).values())
        states = found[:count]
        rows.append(found[count:])
    if v.index < count:
        return states[v.index]
    out = np.zeros(_settled(v.shape, sizes), array_type(v.dtype))
    for k, row in enumerate(rows):
        out[k] = row[v.index - count]
    return out


def _by_element(
    v: Value, inputs: list[np.ndarray], shape: tuple[int, ...], leaves: Mapping[Expr, int]
) -> np.ndarray:
    axes = [expr.var(f"i{k}", max(1, d)) for k, d in enumerate(shape)]
    grid: dict[Expr, Any] = dict(leaves)
    for k, (axis, d) in enumerate(zip(axes, shape, strict=True)):
        grid[axis] = np.arange(d, dtype=np.int32).reshape(
            [-1 if j == k else 1 for j in range(len(shape))]
        )
    stored = [
        i.astype(_DTYPE[scalar_dtype(value.dtype)], copy=False).ravel()
        for i, value in zip(inputs, v.inputs, strict=True)
    ]

    def read(k: int, index: Any) -> Expr:
        flat: Any = lift(0)
        assert len(index) == inputs[k].ndim, f"{v}: index {index} into {inputs[k].shape}"
        for i, d in zip(index, inputs[k].shape, strict=True):
            flat = flat * d + lift(i)
        return expr.load(k, flat, scalar_dtype(v.inputs[k].dtype))

    assert v.op.element is not None
    element = v.op.element(v.node, read, tuple(axes))
    assert element.dtype == scalar_dtype(v.dtype), f"{v}: its element has dtype {element.dtype}"
    return np.broadcast_to(calculate(element, grid, stored), shape)


def _conv(
    x: np.ndarray, w: np.ndarray, *, stride: Any, pads: Any, dilation: Any, groups: int
) -> np.ndarray:
    n, h, wd, _ = x.shape
    kh, kw, cg, m = w.shape
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    oh = (h + top + bottom - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (wd + left + right - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((n, oh, ow, groups, m // groups), np.result_type(x.dtype, np.float32))
    for y in range(kh):
        for z in range(kw):
            y0, z0 = y * dilation[0], z * dilation[1]
            part = x[
                :,
                y0 : y0 + (oh - 1) * stride[0] + 1 : stride[0],
                z0 : z0 + (ow - 1) * stride[1] + 1 : stride[1],
            ]
            part = part.reshape(n, oh, ow, groups, cg)
            filters = w[y, z].reshape(cg, groups, m // groups)
            if cg == 1:
                out += part * filters[0]
            else:
                for g in range(groups):
                    out[:, :, :, g] += part[:, :, :, g] @ filters[:, g]
    return out.reshape(n, oh, ow, m)


def _unpacked(w: np.ndarray, n: int) -> np.ndarray:
    """Panels [..., ceil(N/8), K, 8] -> [..., K, N]"""
    flat = np.moveaxis(w, -3, -2)
    return flat.reshape(*flat.shape[:-2], -1)[..., :n]


def _packed_conv(
    x: np.ndarray,
    w: np.ndarray,
    *,
    kernel: Any,
    m: int,
    groups: int,
    whole: bool = False,
    **rest: Any,
) -> np.ndarray:
    filters = np.moveaxis(_unpacked(w, m // groups), 0, 1).reshape(*kernel, -1, m)
    return _conv(x, filters, groups=groups, **rest)


_TEMPLATES: dict[Op, Callable[..., np.ndarray]] = {
    ops.CONV: _conv,
    ops.PACKED_MATMUL: lambda a, b, n, whole=False: np.matmul(a, _unpacked(b, n)),
    ops.PACKED_CONV: _packed_conv,
    ops.DEPTHWISE: lambda x, w, **rest: _conv(x, w[:, :, None], groups=w.shape[2], **rest),
}


def _unpacked(panels: np.ndarray, n: int) -> np.ndarray:
    """[..., panels, K, 8] -> [..., K, n]"""
    wide = np.moveaxis(panels, -3, -2)
    return wide.reshape(*wide.shape[:-2], wide.shape[-2] * wide.shape[-1])[..., :n]


def _packed_conv(
    x: np.ndarray, w: np.ndarray, *, kernel: Any, m: int, groups: int, **attrs: Any
) -> np.ndarray:
    flat = _unpacked(w, m // groups)  # [G, KH*KW*C, M/G]
    filters = flat.transpose(1, 0, 2).reshape(*kernel, x.shape[3] // groups, m)
    return _conv(x, filters, groups=groups, **attrs)
