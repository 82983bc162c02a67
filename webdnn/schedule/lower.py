"""Lowering: the kernels, steps and buffers that follow from the decisions of `fuse`.

A value's element is read by *pulling*: from memory if the value is stored, as a literal if it is a
constant of one element, else through its operator's definition. A cluster's values are computed by
*pushing* from its anchor, so that what its template or its reductions leave in registers is used
there.

    >>> from webdnn import ops
    >>> from webdnn.graph import Graph, placeholder
    >>> x = placeholder("x", (2, 8), "f32")
    >>> from webdnn.codegen import TARGETS
    >>> graph = Graph((x,), {"y": ops.softmax(ops.relu(x), 1)})
    >>> for step in lower(graph, TARGETS["wasm"]).steps:
    ...     print(step.kernel.name, [stage.monoid for stage in step.kernel.stages])
    max_sub_exp_sum_div ['max', 'sum']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .. import expr
from ..errors import DimensionError, UnsupportedError
from ..expr import (
    Dim,
    Expr,
    acc,
    as_dim,
    cast,
    coefficient,
    const,
    free,
    lift,
    load,
    product,
    select,
    substitute,
    upper,
    var,
    walk,
)
from ..graph import (
    Graph,
    Node,
    Rule,
    Value,
    computed,
    dims_of,
    evaluate,
    rewrite,
    scalar_dtype,
    stored,
    type_text,
)
from ..ops.control import ITERATE
from ..ops.doubles import single
from ..ops.elementwise import broadcast_index
from ..ops.winograd import TILE, WINOGRAD, winograd_products
from ..scalar import MONOIDS, PACKED, STORAGE, bytes_of
from .fuse import Cluster, Fusion, label
from .halves import halves
from .kernel import (
    Buffer,
    Instance,
    Kernel,
    Loop,
    Opaque,
    Program,
    Repeat,
    Slot,
    Stage,
    Step,
    Store,
    Tensor,
    packed_element,
)
from .readers import appended, coordinates, normalises_a_row, read_by_a_norm, read_by_rows
from .target import Target

Index = tuple[Any, ...]

ELEMENTS = 2**30  # of one buffer: 4 GiB are what wasm addresses


class TooManyBuffers(UnsupportedError):
    """A kernel reads more buffers than the target allows; storing `cut` first helps."""

    def __init__(self, message: str, cut: set[Value]):
        super().__init__(message)
        self.cut = cut


@dataclass(frozen=True)
class Placement:
    """Where a stored value lies: element `offset + sum(index * strides)` of a buffer."""

    buffer: int
    offset: Dim
    strides: tuple[Dim, ...]

    def flat(self, idx: Index) -> Expr:
        """The element of the buffer that holds element `idx` of the value."""
        total = lift(self.offset)
        for i, s in zip(idx, self.strides):
            total = total + lift(i) * s
        return total


def compact(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """Row-major strides."""
    out: list[Dim] = []
    step: Dim = 1
    for d in reversed(shape):
        out.append(step)
        step = as_dim(lift(step) * d)
    return tuple(reversed(out))


class Builder:
    """One kernel under construction: its slots, and reading and writing through placements."""

    def __init__(self, lowering: Lowering):
        self.lowering = lowering
        self.slots: list[int] = []  # buffer ids
        self.written: set[int] = set()
        self.read_from: set[int] = set()
        self.memo: dict[Any, Expr] = {}
        self.pushed: dict[Value, Expr] = {}  # values that the cluster has in registers
        self.passed: dict[Value, Index] = {}  # of what the kernel stores as it reads it, where
        self.stages: list[Stage] = []  # of the row that a product of one row reads
        self.reduce: list[Expr] = []
        self.sources: set[Value] = set()

    def slot(self, buffer: int, write: bool = False) -> int:
        """The slot of a buffer, a new one if the kernel has not touched it yet."""
        (self.written if write else self.read_from).add(buffer)
        if buffer not in self.slots:
            self.slots.append(buffer)
        return self.slots.index(buffer)

    def pull(self, v: Value, idx: Index) -> Expr:
        """Element `idx` of a value."""
        if v in self.pushed:
            return self.pushed[v]
        idx = tuple(lift(i) for i in idx)
        key = (v, idx)
        if key in self.memo:
            return self.memo[key]
        dtype = scalar_dtype(v.dtype)
        if v.constant and v.size == 1:
            e = const(_literal(v), dtype)
        elif v in self.lowering.deferred:
            e = self.lowering.deferred[v](self, idx)
        elif v.constant or v in self.lowering.placed:
            place = self.lowering.weight(v) if v.constant else self.lowering.placed[v]
            self.sources.add(v)
            slot = self.slot(place.buffer)
            e = self.lowering.read(slot, place, idx, v)
            if dtype == "bool":
                e = cast(e, "bool")
        else:
            assert v.node.op.element is not None, (
                f"{v} is neither stored nor can it be computed in place"
            )
            e = v.node.op.element(v.node, lambda k, at: self.pull(v.inputs[k], at), idx)
        self.memo[key] = e
        return e

    def store(self, place: Placement, idx: Index, value: Expr) -> Store:
        """Writing element `idx` of a placement."""
        slot = self.slot(place.buffer, write=True)
        return Store(slot, place.flat(idx), cast(value, "i32") if value.dtype == "bool" else value)

    def finish(self) -> tuple[Slot, ...]:
        """The slots as the kernel declares them; raises TooManyBuffers."""
        low = self.lowering
        limit = low.fusion.target.limits.buffers
        if len(self.slots) > limit:
            cut = {
                u
                for v in self.sources
                for u in low.fusion.users.get(v, ())
                if u.node.op.kind == "map" and u not in low.placed and not u.node.op.joins
            } or {  # it reads constants alone, whose users are not counted
                u
                for u, _ in self.memo
                if u in low.fusion.rank and u.node.op.kind == "map" and u not in low.placed
                if not u.node.op.joins and any(i.constant for i in u.inputs)
            }
            deep = sorted(cut, key=lambda v: low.fusion.rank[v])[: max(1, len(cut) // 2)]
            names = ", ".join(type_text(v) for v in self.sources)
            raise TooManyBuffers(
                f"a kernel reads {len(self.slots)} buffers ({names}); "
                f"{low.fusion.target.name} allows {limit}",
                set(deep),
            )
        out = []
        for b in self.slots:
            buffer = low.buffers[b]
            access = (
                "write" if b not in self.read_from else "readwrite" if b in self.written else "read"
            )
            out.append(Slot(buffer.dtype, buffer.size, access))
        return tuple(out)


def _literal(v: Value) -> Any:
    x = evaluate(v).ravel()[0].item()
    if v.dtype in ("i64", "u64", "u32"):
        lo, hi = (0, 2**32 - 1) if v.dtype in ("u64", "u32") else (-(2**31), 2**31 - 1)
        return min(max(int(x), lo), hi)
    return x


class Lowering:
    """Builds the Program of a Fusion."""

    def __init__(self, fusion: Fusion):
        self.fusion = fusion
        self.buffers: list[Buffer] = []
        self.placed: dict[Value, Placement] = {}
        # values that are not stored after all, and their elements in the one kernel that reads them
        self.deferred: dict[Value, Callable[[Builder, Index], Expr]] = {}
        self.weights: dict[Value, Placement] = {}
        self.downloaded: dict[int, Value] = {}  # buffers whose content is a part of the download
        self.prepare: list[Step] = []
        self.steps: list[Step] = []
        self.repeats: list[Repeat] = []
        # concats that wait for a template that stores them as it reads them, as which operand
        self.appended: dict[Value, tuple[Cluster, int]] = {}
        if fusion.target.launches:
            for r in fusion.clusters.values():
                self.appended |= {v: (r, k) for v, k in appended(fusion, r).items()}
        self.launched: set[Node] = set()  # opaque nodes, which may have several values
        self.halves: frozenset[Value] = halves(fusion) if fusion.target.halves else frozenset()
        self.origins: dict[Value, str] = {}
        for name, v in fusion.graph.names.items():
            self.origins.setdefault(v, name)
            # A value in the model's own layout is only a view of what a kernel computes.
            while v.node.op.forward is not None:
                (v,) = v.inputs
                self.origins.setdefault(v, name)

    # ---- buffers ---------------------------------------------------------------------------------

    def buffer(
        self, kind: str, dtype: str, shape: Sequence[Dim], name: str = "", half: bool = False
    ) -> Placement:
        """A new buffer that holds a value compactly, as halves if it is to."""
        size = product(shape)
        kept = stored(dtype) if kind == "weight" else "f16" if half else computed(dtype)
        if kept in PACKED - self.fusion.target.reads:
            kept, size = "u32", bytes_of(kept, upper(size)) // 4
        self.buffers.append(Buffer(len(self.buffers), kind, kept, size, name))
        return Placement(len(self.buffers) - 1, 0, compact(shape))

    def weight(self, v: Value) -> Placement:
        """Where a constant is read: as it is downloaded, or widened once for the target."""
        if v not in self.weights:
            place = self.buffer("weight", v.dtype, v.shape, self.origins.get(v, ""))
            self.downloaded[place.buffer] = v
            target, row = self.fusion.target, stored(v.dtype)
            read = row in target.reads | PACKED or (row in target.looks_up and v in self.tables)
            if not read:
                place = self._widened(place, v)
            self.weights[v] = place
        return self.weights[v]

    def whole(self, v: Value) -> Placement:
        """Where a constant is read by text that knows whole elements alone."""
        place, target = self.weight(v), self.fusion.target
        narrow = self.buffers[place.buffer].kind == "weight"
        if narrow and stored(v.dtype) not in target.reads - PACKED:
            place = self.weights[v] = self._widened(place, v)
        return place

    @cached_property
    def tables(self) -> set[Value]:
        """The constants of which a run reads fewer elements than there are, at the largest size."""
        part: dict[Value, bool] = {}
        for v in self.fusion.order:
            users = self.fusion.users[v] if v.weight else [v]
            for i in v.inputs:
                if i.constant:
                    few = (u.node.op.kind == "map" and upper(u.size) < upper(i.size) for u in users)
                    part[i] = part.get(i, True) and all(few)
        return {v for v, few in part.items() if few}

    def read(self, slot: int, place: Placement, idx: Index, v: Value) -> Expr:
        """Element `idx` of a value in memory; of what is packed into words a part of one."""
        row = STORAGE[stored(v.dtype)]
        at = place.flat(idx)
        words = PACKED - self.fusion.target.reads
        if row.name not in words or self.buffers[place.buffer].kind != "weight":
            return load(slot, at, computed(v.dtype))
        return packed_element(load(slot, at // (32 // row.bits), "u32"), at, row.name)

    def _widened(self, narrow: Placement, v: Value) -> Placement:
        """A buffer that holds a weight as it is computed, when the weights have arrived."""
        kept, dtype = self.buffers[narrow.buffer], computed(v.dtype)
        place = self.buffer("prepared", v.dtype, v.shape, kept.name)
        i = var("i", v.size)
        slots = (Slot(kept.dtype, kept.size, "read"), Slot(dtype, v.size, "write"))
        flat = Placement(narrow.buffer, narrow.offset, (1,))
        store = Store(1, i, self.read(0, flat, (i,), v))
        kernel = Loop("widen", (i,), (), (), (store,), slots)
        self.prepare.append(Step(kernel, (narrow.buffer, place.buffer)))
        return place

    def within(self, fusion: Fusion) -> Lowering:
        """The lowering of a region, whose steps, buffers and weights are those of this one."""
        inner = Lowering(fusion)
        inner.halves = frozenset()
        inner.buffers, inner.weights, inner.downloaded = self.buffers, self.weights, self.downloaded
        inner.prepare, inner.steps, inner.repeats = self.prepare, self.steps, self.repeats
        return inner

    def place(self, result: str = "output") -> None:
        """Placements of all stored values: inputs, states and outputs, then concats from the
        outside in. result: the kind of buffer that outputs are in.
        """
        f = self.fusion
        for v in f.graph.inputs:
            if v not in self.placed:
                self.placed[v] = self.buffer("input", v.dtype, v.shape, v.attrs["name"])
        for name, (v, _) in f.graph.states.items():
            self.placed[v] = self.buffer("state", v.dtype, v.shape, name)
        for name, v in f.graph.outputs.items():
            if v not in self.placed:
                self.placed[v] = self.buffer(result, v.dtype, v.shape, name)
        for v in reversed(f.order):
            if v not in f.stored:
                continue
            if v not in self.placed:
                kind = "prepared" if v.weight else "temp"  # computed once, not in each run
                self.placed[v] = self.buffer(kind, v.dtype, v.shape, half=v in self.halves)
            if v.node.op.joins and v not in f.cluster_of:
                self._place_parts(v)

    def _place_parts(self, v: Value) -> None:
        place = self.placed[v]
        start: Any = lift(0)
        for part in v.inputs:
            inside = Placement(
                place.buffer,
                as_dim(lift(place.offset) + start * place.strides[v.attrs["axis"]]),
                place.strides,
            )
            if (
                part in self.fusion.stored
                and part not in self.placed
                and part.node.op.kind != "opaque"
                and not any(u.node.op.kind == "opaque" for u in self.fusion.users[part])
            ):
                self.placed[part] = inside
            start = start + part.shape[v.attrs["axis"]]

    # ---- kernels ---------------------------------------------------------------------------------

    def emit(self, kernel: Kernel, builder: Builder, value: Value) -> None:
        """A step for the kernel, which computes `value`, on the builder's buffers."""
        step = Step(kernel, tuple(builder.slots), self.fusion.why_stored(value))
        prepared = value in self.placed and self._is_prepared(self.placed[value].buffer)
        (self.prepare if prepared else self.steps).append(step)

    def _is_prepared(self, buffer: int) -> bool:
        return self.buffers[buffer].kind == "prepared"

    def compute(self) -> None:
        """Steps for all that is stored, in the order of the graph."""
        f = self.fusion
        for v in f.order:
            if v in f.clusters:
                self.cluster(f.clusters[v])
            elif v not in f.stored or v.node.op.kind == "input":
                continue
            elif v.node.op.kind == "opaque":
                self.opaque(v)
            elif v.node.op.joins:
                if v not in self.appended:
                    self.concat(v)
            elif v.size != 0:
                self.map(v)

    def program(self, keep: bool) -> Program:
        """All steps, and what they work on."""
        f = self.fusion
        self.place()
        self.compute()
        for name, (before, after) in f.graph.states.items():
            self.copy(name, self.placed[before], after, after)

        def signature(name: str, v: Value) -> Tensor:
            buffer = self.placed[v].buffer
            if name in f.graph.wide:
                return Tensor(name, {"i32": "i64", "u32": "u64"}[v.dtype], v.shape[:-1], buffer, 2)
            return Tensor(name, f.graph.declared.get(name, v.dtype), v.shape, buffer)

        counts = {k: s[:-1] if k in f.graph.wide else s for k, s in f.graph.counts.items()}

        used = {b for s in self.steps for b in s.buffers}
        prepare: list[Step] = []
        for s in reversed(self.prepare):
            if used & {b for b in s.buffers if self._is_prepared(b)}:
                prepare.insert(0, s)
                used |= set(s.buffers)
        program = Program(
            f.graph.dims,
            [signature(v.attrs["name"], v) for v in f.graph.inputs],
            [signature(name, v) for name, v in f.graph.outputs.items()],
            self.buffers,
            self.steps,
            {b: v for b, v in self.downloaded.items() if b in used},
            prepare=prepare,
            states=[signature(name, v) for name, (v, _) in f.graph.states.items()],
            counts=counts,
            near=f.graph.near,
            alarms=f.graph.alarms,
            repeats=self.repeats,
        )
        if keep:
            self.named(program)
        return program

    def copy(self, name: str, to: Placement, v: Value, why: Value) -> None:
        """A state's value for the next run or iteration: a copy of its own, made when nothing reads
        the old one any more.
        """
        if v.size == 0:
            return
        b = Builder(self)
        axes = tuple(var(f"i{k}", d) for k, d in enumerate(v.shape))
        store = b.store(to, axes, b.pull(v, axes))
        self.emit(Loop("state", axes, (), (), (store,), b.finish(), name), b, why)

    def repeat(self, v: Value) -> None:
        """A loop: its states get their first values, its steps follow once, and `Repeat` says when
        they run again."""
        node = v.node
        region, count, target = node.attrs["region"], node.attrs["states"], self.fusion.target
        states, rows = node.outputs[:count], node.outputs[count:]
        for state, initial in zip(states, node.inputs):
            self.copy("state", self.placed[state], initial, v)
        graph = region.graph(self.fusion.graph.dims)
        kept = {str(k) for k in range(count) if region.outputs[k] is region.inputs[k]}
        graph = replace(graph, outputs={k: o for k, o in graph.outputs.items() if k not in kept})
        graph = rewrite(graph, (_composed(target),))
        inner = self.within(Fusion(graph, target, self.fusion.forced))
        _check_sizes(inner.fusion)
        around = [self.weight(i) if i.constant else self.placed[i] for i in node.inputs[count:]]
        inner.placed |= zip(region.inputs, [*(self.placed[s] for s in states), *around])
        first = len(self.steps)
        inner.place("temp")
        inner.compute()
        found = inner.fusion.graph.outputs
        for k, row in enumerate(rows, count):
            inner.collect(self.placed[row], self.placed[states[1]], found[str(k)])
        for k, state in enumerate(states):
            if str(k) in found:
                inner.copy("state", self.placed[state], found[str(k)], found[str(k)])
        flag = self.placed[states[0]].buffer
        self.repeats.append(Repeat(first, len(self.steps), flag, node.attrs["once"]))

    def collect(self, to: Placement, count: Placement, v: Value) -> None:
        """A value as one more row, at the position that a run has in `count`."""
        if v.size == 0:
            return
        b = Builder(self)
        axes = tuple(var(f"i{k}", d) for k, d in enumerate(v.shape))
        value = b.pull(v, axes)
        row = load(b.slot(count.buffer), 0, "i32")
        store = b.store(to, (row, *axes), value)
        self.emit(Loop("collect", axes, (), (), (store,), b.finish(), self.origin([v])), b, v)

    def origin(self, values: Sequence[Value]) -> str:
        """The source's names of what a kernel computes."""
        names = dict.fromkeys(self.origins[v] for v in values if v in self.origins)
        return ", ".join(list(names)[:4])

    def map(self, v: Value) -> None:
        """A stored map value: one loop over its elements, in their order in memory."""
        b = Builder(self)
        axes = tuple(var(f"i{k}", d) for k, d in enumerate(v.shape))
        assert v.node.op.element is not None
        value = v.node.op.element(v.node, lambda k, at: b.pull(v.inputs[k], at), axes)
        store = b.store(self.placed[v], axes, value)
        name = "_".join(dict.fromkeys(self._chain(v)))
        self.emit(Loop(name, axes, (), (), (store,), b.finish(), self.origin([v])), b, v)

    def _chain(self, v: Value) -> list[str]:
        """Names of the operators computed in place for v, at most six."""
        out: list[str] = []
        stack = [v]
        while stack and len(out) < 6:
            x = stack.pop()
            out.append(x.node.op.name)
            stack += [
                i
                for i in x.inputs
                if not i.constant and i not in self.fusion.stored and i.node.op.kind != "input"
            ]
        return out[::-1]

    def concat(self, v: Value) -> None:
        """Copies of the parts that were not computed in place."""
        place = self.placed[v]
        axis = v.attrs["axis"]
        if self.fusion.target.launches and self._joined(v):
            return
        start: Any = lift(0)
        for part in v.inputs:
            at = Placement(
                place.buffer,
                as_dim(lift(place.offset) + start * place.strides[axis]),
                place.strides,
            )
            start = start + part.shape[axis]
            if self.placed.get(part) == at or part.size == 0:
                continue
            b = Builder(self)
            axes = tuple(var(f"i{k}", d) for k, d in enumerate(part.shape))
            store = b.store(at, axes, b.pull(part, axes))
            self.emit(Loop("concat", axes, (), (), (store,), b.finish(), self.origin([v])), b, v)

    def _joined(self, v: Value) -> bool:
        """One kernel that copies all parts, where each of them is read from memory as it lies."""
        b = Builder(self)
        axes = tuple(var(f"i{k}", d) for k, d in enumerate(v.shape))
        axis = v.attrs["axis"]
        value: Expr | None = None
        start: Any = lift(0)
        for part in v.inputs:
            if part.size == 0:
                return False
            if part in self.placed and self.placed[part].buffer == self.placed[v].buffer:
                return False  # it was computed in place
            at = (*axes[:axis], axes[axis] - start, *axes[axis + 1 :])
            element = b.pull(part, at)
            if element.op != "load":
                return False
            value = element if value is None else select(axes[axis] < start, value, element)
            start = start + part.shape[axis]
        if value is None or len(b.slots) >= self.fusion.target.limits.buffers:
            return False
        store = b.store(self.placed[v], axes, value)
        self.emit(Loop("concat", axes, (), (), (store,), b.finish(), self.origin([v])), b, v)
        return True

    def opaque(self, v: Value) -> None:
        """A kernel that never fuses; its outputs are buffers of their own."""
        node = v.node
        if node in self.launched:
            return
        self.launched.add(node)
        b = Builder(self)
        for o in node.outputs:
            if o not in self.placed:
                self.placed[o] = self.buffer("temp", o.dtype, o.shape)
        outputs = [self.placed[o] for o in node.outputs]
        if all(o.size == 0 for o in node.outputs):
            return
        if node.op is ITERATE:
            self.repeat(v)
            return
        name, origin = node.op.name, self.origin(node.outputs)
        if node.op.template is not None:
            parts = self._parts(node, b)
            stores = tuple(b.store(outputs[k], at, value) for k, at, value in parts.pop("stores"))
            kernel: Kernel = Instance(name, **parts, stores=stores, slots=b.finish(), origin=origin)
        else:
            sizes = {
                f"x{k}_{j}": d for k, i in enumerate(node.inputs) for j, d in enumerate(i.shape)
            }
            inputs = [self.whole(i) if i.constant else self.placed[i] for i in node.inputs]
            slots = {
                "inputs": tuple(b.slot(place.buffer) for place in inputs),
                "outputs": tuple(b.slot(place.buffer, write=True) for place in outputs),
            }
            more = node.op.kernel(node) if node.op.kernel else {}
            kernel = Opaque(
                name, name, {**node.attrs, **sizes, **more, **slots}, b.finish(), origin
            )
        self.emit(kernel, b, v)

    def cluster(self, r: Cluster) -> None:
        """A template or a reduction with everything around it."""
        joined = {v: k for v, (reader, k) in self.appended.items() if reader is r}
        self.deferred |= {v: self._passing(v) for v in joined}
        while True:
            try:
                self._cluster(r, joined)
                break
            except TooManyBuffers:
                if not joined:
                    raise
                v = next(iter(joined))
                del joined[v], self.deferred[v]
                self.concat(v)
        for v in joined:
            if v in self.fusion.outputs:  # others are never stored
                del self.deferred[v]

    def _passing(self, v: Value) -> Callable[[Builder, Index], Expr]:
        """The elements of a concat, read from its parts, where a kernel also stores them."""
        axis = v.attrs["axis"]

        def element(b: Builder, idx: Index) -> Expr:
            b.passed[v] = idx
            found: Any = None
            end: Any = lift(0)
            for part in v.inputs:
                at = (*idx[:axis], idx[axis] - end, *idx[axis + 1 :])
                value = b.pull(part, at)
                found = value if found is None else select(idx[axis] < end, found, value)
                end = end + part.shape[axis]
            return cast(found, scalar_dtype(v.dtype))

        return element

    def _stores_passed(self, joined: Mapping[Value, int], b: Builder) -> list[Store]:
        """The stores of what a template reads of its operands, where these are outputs."""
        return [
            b.store(self.placed[v], b.passed[v], acc(3, k, computed(v.dtype)))
            for v, k in joined.items()
            if v in self.fusion.outputs
        ]

    def _normalised(self, r: Cluster) -> Callable[[Builder, Index], Expr]:
        """The elements of a row that reductions lead to, in the product that reads it: with its
        reductions as that kernel's stages."""

        def element(b: Builder, idx: Index) -> Expr:
            inner, stages = copy(b), list[Stage]()
            inner.memo, inner.pushed = {}, {}
            for v in r.values:
                inner.pushed[v] = self._push(r, v, inner, stages)
            known: dict[Expr, Any] = {
                acc(k, 0, e.dtype): acc(k + 1, 0, e.dtype)
                for k, stage in enumerate(stages)
                for e in stage.exprs
            }
            only = dict.fromkeys(r.axes, 0)
            for stage in stages:
                exprs = tuple(substitute(e, known | only) for e in stage.exprs)
                b.stages.append(Stage(stage.monoid, exprs))
            b.reduce.extend(r.reduce)
            at = coordinates(r.index[r.sink], (*r.axes, *r.reduce), idx)
            assert at is not None
            return substitute(inner.pushed[r.sink], known | at)

        return element

    def _cluster(self, r: Cluster, joined: Mapping[Value, int]) -> None:
        if self.fusion.target.launches and normalises_a_row(self.fusion, r):
            self.deferred[r.sink] = self._normalised(r)
            return
        b = Builder(self)
        stages: list[Stage] = []
        for v in r.values:
            b.pushed[v] = self._push(r, v, b, stages)
        store = b.store(self.placed[r.sink], r.index[r.sink], b.pushed[r.sink])
        if r.anchor.size == 0:
            return
        name = "_".join(dict.fromkeys(label(v) for v in r.values if v.node.op.forward is None))[:80]
        origin = self.origin(r.values)
        if r.anchor.node.op.kind == "reduce":
            kernel: Kernel = Loop(
                name, r.axes, r.reduce, tuple(stages), (store,), b.finish(), origin
            )
        else:
            parts = self._parts(r.anchor.node, b)
            stores = (store, *self._stores_passed(joined, b))
            parts |= {"stages": tuple(b.stages), "reduce": tuple(b.reduce)}
            slots = b.finish()
            kernel = Instance(name, **parts, stores=stores, slots=slots, origin=origin)
            slices = self.fusion.target.slices(kernel)
            if slices > 1:
                self.sliced(r, kernel, slices, joined)
                return
        self.emit(kernel, b, r.sink)

    def sliced(self, r: Cluster, whole: Instance, slices: int, joined: Mapping[Value, int]) -> None:
        """The template of a cluster with its depth cut: one kernel stores a sum for each slice,
        the next adds these up, always in the same order, and computes the rest of the cluster."""
        store, *_ = whole.stores
        walked = free(store.index, "var")
        axes = tuple(v for v in whole.vars.values() if v in walked)
        slice_ = var("slice", slices)
        dtype = computed(r.anchor.dtype)
        sums = self.buffer("temp", dtype, (slices, *(v.args[1] for v in axes)))
        template = r.anchor.node.op.template
        assert template is not None
        rows = tuple(v for v in axes if v is not whole.vars.get("n"))
        numbers = range(template.beside)
        if numbers:
            beside = self.buffer("temp", dtype, (slices, *(v.args[1] for v in rows), len(numbers)))
        b = Builder(self)
        parts = self._parts(r.anchor.node, b)
        parts["vars"] = {"slice": slice_, **parts["vars"]}
        stores = (
            b.store(sums, (slice_, *axes), acc(0, 0, dtype)),
            *(b.store(beside, (slice_, *rows, j), acc(2, j, dtype)) for j in numbers),
            *self._stores_passed(joined, b),
        )
        name = label(r.anchor)
        kernel = Instance(
            name, **parts, stores=stores, slots=b.finish(), origin=whole.origin, slices=slices
        )
        self.emit(kernel, b, r.sink)

        def finished(b: Builder) -> None:
            """Pushes the cluster's values, from the sums."""
            slot = b.slot(sums.buffer)
            found = [load(slot, sums.flat((i, *axes)), dtype) for i in range(slices)]
            more: list[list[Expr]] = []
            if numbers:
                slot = b.slot(beside.buffer)
                for i in range(slices):
                    at = [beside.flat((i, *rows, j)) for j in numbers]
                    more.append([load(slot, k, dtype) for k in at])
            b.pushed[r.anchor] = template.join(found, more)
            for v in r.values[1:]:
                b.pushed[v] = self._push(r, v, b, [])

        if self._defers(r, axes):

            def element(b: Builder, idx: Index) -> Expr:
                inner = copy(b)
                inner.memo, inner.pushed = {}, {}
                finished(inner)
                at = coordinates(r.index[r.sink], axes, idx)
                assert at is not None
                return substitute(inner.pushed[r.sink], at)

            self.deferred[r.sink] = element
            return
        b = Builder(self)
        finished(b)
        stores = (b.store(self.placed[r.sink], r.index[r.sink], b.pushed[r.sink]),)
        name = f"sum{whole.name.removeprefix(name)}"
        self.emit(Loop(name, axes, (), (), stores, b.finish(), whole.origin), b, r.sink)

    def _defers(self, r: Cluster, axes: Sequence[Expr]) -> bool:
        """Whether the sums of slices are added up where the result is read."""
        fusion, sink = self.fusion, r.sink
        if sink in fusion.outputs or sink in fusion.forced:
            return False
        if coordinates(r.index[sink], axes, [0] * sink.rank) is None:
            return False
        return read_by_a_norm(fusion, r, axes) or read_by_rows(fusion, r)

    def _push(self, r: Cluster, v: Value, b: Builder, stages: list[Stage]) -> Expr:
        op = v.node.op
        if op.kind == "template":
            return acc(0, 0, computed(v.dtype))
        if op.kind == "reduce":
            x = v.inputs[0]
            if x in b.pushed:
                e = b.pushed[x]
            else:
                at = list(r.index[v])
                if v is r.anchor:
                    it = iter(r.reduce)
                    for k in v.attrs["axes"]:
                        at[k] = next(it)
                e = b.pull(x, tuple(at))
            monoid = v.attrs["monoid"]
            if MONOIDS[monoid] == 2:  # a value and its index
                stages.append(Stage(monoid, (e, r.reduce[0])))
                return acc(len(stages) - 1, 1, "i32")
            stages.append(Stage(monoid, (e,)))
            return acc(len(stages) - 1, 0, e.dtype)
        if op.forward is not None:
            return b.pushed[v.inputs[0]]
        assert op.element is not None

        def read(k: int, at: Index) -> Expr:
            i = v.inputs[k]
            return b.pushed[i] if i in b.pushed else b.pull(i, broadcast_index(r.index[v], i.shape))

        return op.element(v.node, read, r.index[v])

    def _parts(self, node: Node, b: Builder) -> dict[str, Any]:
        """What a template says of a node's kernel."""
        template = node.op.template
        assert template is not None
        parts = template.define(node, lambda k, at: b.pull(node.inputs[k], at))
        return {"template": template.name, "folder": template.folder, "attrs": {}, **parts}

    # ---- looking inside --------------------------------------------------------------------------

    def named(self, program: Program) -> None:
        """Records where the values of the imported model lie, and which were fused away."""
        for name, v in self.fusion.graph.names.items():
            if v.constant or v.node.op.kind == "input":
                continue
            b = Builder(self)
            axes = tuple(var(f"i{k}", d) for k, d in enumerate(v.shape))
            try:
                e = b.pull(v, axes)
            except AssertionError:
                program.fused_away.append(name)
                continue
            if e.op == "cast" and e.args[0].op == "load":
                e = e.args[0]
            strides = [coefficient(e.args[1], a) for a in axes] if e.op == "load" else [None]
            if any(s is None for s in strides) or len([x for x in walk(e) if x.op == "load"]) != 1:
                program.fused_away.append(name)
                continue
            buffer = self.buffers[b.slots[e.args[0]]]
            if buffer.kind in ("weight", "prepared"):
                continue  # a part of a constant (rows of a table, say): nothing computes it
            if buffer.dtype == "f16":
                continue  # the runner reads words of 32 bits
            start = substitute(e.args[1], dict.fromkeys(axes, 0))
            program.stored[name] = {
                "buffer": b.slots[e.args[0]],
                "dtype": e.dtype,
                "shape": v.shape,
                "strides": tuple(strides),
                "start": as_dim(start),
            }


def lower(graph: Graph, target: Target, keep: bool = False) -> Program:
    """The program of a graph, whose matmuls and convs are packed, for a target.

    `keep`: record where the imported model's named values lie (`Program.stored`). Raises
    UnsupportedError where a kernel exceeds what the target allows.
    """
    graph = graph if "f64" in target.reads else single(graph)
    graph = rewrite(graph, (_composed(target),))
    forced: set[Value] = set()
    while True:
        fusion = Fusion(graph, target, forced)
        _check_sizes(fusion)
        try:
            return Lowering(fusion).program(keep)
        except TooManyBuffers as error:
            if not error.cut - forced:
                raise
            forced |= error.cut


def _composed(target: Target) -> Rule:
    """An operator whose template the target lacks -> the others that compute the same."""

    def composed(v: Value, uses: Mapping[Value, int]) -> Value | None:
        op = v.op
        if op.composed is None or op.template is None or op.template.name in target.templates:
            return None
        if op is WINOGRAD:
            n, height, width, filters = map(upper, v.shape)
            tiles = n * -(-height // TILE) * -(-width // TILE)
            channels = upper(v.inputs[0].shape[-1])
            if target.winograd(n * height * width, tiles, channels, filters):
                return winograd_products(v)
        return op.composed(*v.inputs, **v.attrs)

    return composed


def _check_sizes(fusion: Fusion) -> None:
    """Raises UnsupportedError for a stored value beyond what 32 bits address."""
    graph = fusion.graph
    names = {v: str(name) for name, v in (*graph.names.items(), *graph.outputs.items())}
    largest = {str(d.args[0]): d.args[2] for d in graph.dims}
    for name, (state, _) in graph.states.items():
        if not state.static:
            symbols = " or ".join(map(str, dims_of([state.shape])))
            raise DimensionError(
                f"the state {name!r} is {type_text(state)}: what outlives a run must have one "
                f"size; fix {symbols} with --dim"
            )
    for v in dict.fromkeys((*graph.sources, *graph.results, *fusion.stored)):
        count = math.prod(expr.evaluate(d, largest) for d in v.shape)
        if count < ELEMENTS:
            continue
        name = v.attrs["name"] if v.node.op.kind == "input" else names.get(v, f"a {v.node.op.name}")
        at = ", ".join(f"{d}={largest[str(d)]}" for d in dims_of([v.shape]))
        raise UnsupportedError(
            f"{name!r} has {count:,} elements{' at ' + at if at else ''}; a tensor may have "
            f"{ELEMENTS:,} (4 GiB). Choose smaller sizes with --dim, or a smaller model"
        )


__all__ = ["Lowering", "Placement", "TooManyBuffers", "compact", "lower"]
