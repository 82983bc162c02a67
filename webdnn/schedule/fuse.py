"""Fusion: which values are stored, and which kernel computes each of them.

Three decisions, in this order:

1. **Clusters.** An *anchor* is a template or a reduction. Its cluster grows
   forward over pointwise work while every path leads to one value, the cluster's *sink* (its
   post-dominator), so nothing inside is needed elsewhere. Only the sink is stored. A reduction's
   cluster may hold further reductions over the same elements: softmax and the normalisations become
   one kernel.
2. **Stored or inlined.** Other values ("map") are computed where they are used, unless evaluating
   them there again and again costs more than a store and loads (`_worth_storing`), or a template
   needs them in memory.
3. **Placements.** A stored value has a buffer, an offset and strides; the parts of a concat are
   computed in place. Everything reads through placements, so a view costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..expr import Expr, cost, free, lift, load, product, upper, var
from ..graph import Graph, Op, Value, scalar_dtype
from .target import Target

DEPTH = 40  # of inlined producers: keeps kernels readable and compilers quick
STRIDED_ROWS = 256  # longer reductions over strided elements do not take their rows along

# A copy of a value that is already stored elsewhere (an output that is an input or a constant).
COPY = Op("copy", "map", lambda x: [(x.shape, x.dtype)], lambda node, read, idx: read(0, idx))


@dataclass
class Cluster:
    """One kernel around an anchor: its values in order, where they stand, and the sink."""

    anchor: Value
    values: list[Value]  # topological; values[0] is the anchor
    index: dict[Value, tuple[Expr, ...]]  # the element of each at a point of the kernel's space
    sink: Value
    axes: tuple[Expr, ...]  # the kernel's space: parallel axes
    reduce: tuple[Expr, ...]  # and reduction axes


class Fusion:
    """The decisions for one graph and target; `fuse` runs it, `lower` turns it into kernels."""

    def __init__(self, graph: Graph, target: Target, forced: Iterable[Value] = ()):
        self.target = target
        self.forced = set(forced)

        def computed(v: Value) -> Value:
            return COPY(v) if v.constant or v.node.op.kind == "input" else v

        self.graph = dataclasses.replace(
            graph,
            outputs={k: computed(v) for k, v in graph.outputs.items()},
            states={k: (before, computed(v)) for k, (before, v) in graph.states.items()},
        )
        self.order = [v for v in self.graph.values() if not v.constant]
        live = set(self.order)
        self.users: dict[Value, list[Value]] = {v: [] for v in self.order}
        for v in self.order:
            for i in dict.fromkeys(v.inputs):
                if i in live:
                    self.users[i].append(v)
        self.rank = {v: k for k, v in enumerate(self.order)}
        self.outputs = set(self.graph.outputs.values())
        self.outputs |= {self._source(after) for _, after in self.graph.states.values()}
        self.clusters: dict[Value, Cluster] = {}  # by sink
        self.cluster_of: dict[Value, Cluster] = {}
        self.stored: set[Value] = set()
        self._post = self._post_dominators()
        self._find_clusters()
        self._choose_stored()

    def _source(self, after: Value) -> Value:
        """What must be stored for a state's value after the run: what it is a view of, if that is
        stored anyway.
        """
        v = after
        while v.node.op.view and v not in self.outputs:
            (v,) = v.inputs
        return v if v in self.outputs or v.node.op.kind == "opaque" else after

    # ---- clusters --------------------------------------------------------------------------------

    def _post_dominators(self) -> dict[Value, Value | None]:
        """The nearest value through which all paths from a value to the outputs go, if any."""
        post: dict[Value, Value | None] = {}
        depth: dict[Value | None, int] = {None: 0}
        for v in reversed(self.order):
            found: Value | None = None
            if v not in self.outputs and self.users[v]:
                it = iter(self.users[v])
                found = next(it)
                for u in it:
                    a: Value | None = u
                    while a is not found:
                        if depth[a] >= depth[found]:
                            a = post[a] if a is not None else None
                        else:
                            found = post[found] if found is not None else None
                    if found is None:
                        break
            post[v] = found
            depth[v] = depth[found] + 1
        return post

    def _find_clusters(self) -> None:
        # A join of two templates goes to the later, so templates go backwards; of the reductions
        # of a softmax the first one must lead, so these go forwards.
        anchors = [v for v in reversed(self.order) if v.node.op.kind == "template"]
        anchors += [v for v in self.order if v.node.op.kind == "reduce"]
        for v in anchors:
            if v not in self.cluster_of:
                cluster = self._grow(v)
                self.clusters[cluster.sink] = cluster
                for x in cluster.values:
                    self.cluster_of[x] = cluster

    def _space(self, anchor: Value) -> tuple[tuple[Expr, ...], tuple[Expr, ...], tuple[Expr, ...]]:
        """Axes, reduce axes, and the index of the anchor's result."""
        template = anchor.node.op.template
        if template is not None and template.space is not None:
            return (), (), template.space(anchor.node)
        x = anchor.inputs[0]
        over = anchor.attrs["axes"]
        axes: list[Expr] = []
        reduce: list[Expr] = []
        frame: list[Expr] = []
        for k, d in enumerate(x.shape):
            group, letter = (reduce, "r") if k in over else (axes, "i")
            group.append(var(f"{letter}{len(group)}", d))
            frame.append(group[-1])
        keep = anchor.node.op.prefixes
        index = tuple(e if k not in over or keep else lift(0) for k, e in enumerate(frame))
        return tuple(axes), tuple(reduce), index

    def _grow(self, anchor: Value) -> Cluster:
        axes, reduce, at = self._space(anchor)
        cluster = Cluster(anchor, [anchor], {anchor: at}, anchor, axes, reduce)
        frame = None
        if anchor.node.op.kind == "reduce":
            x = anchor.inputs[0]
            over = anchor.attrs["axes"]
            length = upper(product([x.shape[k] for k in over]))
            if max(over) == x.rank - 1 or length <= STRIDED_ROWS or anchor.node.op.prefixes:
                it, jt = iter(axes), iter(reduce)
                frame = (x.shape, tuple(next(jt) if k in over else next(it) for k in range(x.rank)))
        while True:
            step = self._extend(cluster, frame)
            if step is None:
                return cluster
            values, index = step
            cluster.values += values
            cluster.index |= index
            cluster.sink = values[-1]

    def _extend(
        self, cluster: Cluster, frame: Any
    ) -> tuple[list[Value], dict[Value, tuple[Expr, ...]]] | None:
        """The values up to the next post-dominator, if all of them can join the cluster."""
        goal = self._post[cluster.sink]
        if goal is None or cluster.sink in self.forced:
            return None
        found: set[Value] = set()
        stack = list(self.users[cluster.sink])
        while stack:
            v = stack.pop()
            if v in found:
                continue
            if (
                self.rank[v] > self.rank[goal]
                or v in self.cluster_of
                or (v in self.forced and v is not goal)
            ):
                return None
            found.add(v)
            if v is not goal:
                stack += self.users[v]
        values = sorted(found, key=self.rank.__getitem__)
        index: dict[Value, tuple[Expr, ...]] = {}
        inside = {**cluster.index, **index}
        for v in values:
            at = self._join(cluster, v, inside, frame)
            if at is None:
                return None
            index[v] = inside[v] = at
        if len(self.leaves(cluster.values + values)) > self.target.limits.buffers - 3:
            return None
        return values, index

    def _join(
        self, cluster: Cluster, v: Value, inside: Mapping[Value, tuple[Expr, ...]], frame: Any
    ) -> tuple[Expr, ...] | None:
        """The index of `v` at a point of the cluster's space, or None where it has none."""
        op = v.node.op
        mine = [i for i in v.inputs if i in inside]
        if op.forward is not None:
            return op.forward(v.node, inside[mine[0]])
        if op.kind == "reduce":
            first = cluster.anchor.node.op
            if first.kind != "reduce" or first.prefixes or op.prefixes:
                return None
            at = inside[mine[0]]
            over = [at[k] for k in v.attrs["axes"] if v.inputs[0].shape[k] != 1]
            if set(over) != set(cluster.reduce) or len(over) != len(cluster.reduce):
                return None
            return tuple(lift(0) if k in v.attrs["axes"] else e for k, e in enumerate(at))
        if not op.pointwise:
            return None
        full = next((i for i in mine if i.shape == v.shape), None)
        if full is not None:
            at = inside[full]
        elif frame is not None and v.shape == frame[0]:
            at = frame[1]
        else:
            return None
        for i in mine:
            tail = at[len(at) - i.rank :]
            want = tuple(lift(0) if d == 1 else e for e, d in zip(tail, i.shape))
            have = tuple(lift(0) if d == 1 else e for e, d in zip(inside[i], i.shape))
            if want != have:
                return None
        return at

    def leaves(self, values: list[Value]) -> set[Value]:
        """What a kernel of these values reads from memory: each outside operand is a buffer."""
        own = set(values)
        found = set[Value]()
        stack = [i for v in values for i in v.inputs if i not in own]
        while stack:
            i = stack.pop()
            if i.weight and not i.constant and i not in self.stored:
                stack += i.inputs  # it is computed of these
            elif not (i.constant and i.size == 1):
                found.add(i)
        return found

    # ---- stored or inlined -----------------------------------------------------------------------

    def _choose_stored(self) -> None:
        for v in self.order:
            kind = v.node.op.kind
            if (
                kind in ("input", "opaque")
                or v.node.op.joins
                or v in self.outputs
                or v in self.forced
            ):
                self.stored.add(v)
        self.stored |= set(self.clusters)
        for v in self.order:
            kind = v.node.op.kind
            if kind in ("opaque", "template"):
                for k, i in enumerate(v.inputs):
                    self._need_memory(i, v, k)
        depth: dict[Value, int] = {}
        weight: dict[Value, tuple[float, int]] = {}
        for v in self.order:
            if v in self.stored or v in self.cluster_of:
                depth[v], weight[v] = 0, (0.0, 1)
                continue
            inputs = [i for i in v.inputs if i in depth]
            depth[v] = 1 + max((depth[i] for i in inputs), default=0)
            flops = body_cost(v) + sum(weight[i][0] for i in inputs)
            leaves = sum(weight[i][1] for i in inputs) + sum(
                1 for i in v.inputs if i.constant and i.size != 1
            )
            weight[v] = flops, leaves
            if (
                depth[v] > DEPTH
                or leaves > self.target.limits.buffers - 2
                or self._worth_storing(v, flops, leaves)
            ):
                self.stored.add(v)
                depth[v], weight[v] = 0, (0.0, 1)

    def _need_memory(self, a: Value, user: Value, k: int) -> None:
        """Operand k of a template or an opaque kernel: it or what it is a view of is stored."""
        node = user.node
        while not a.constant and a not in self.stored and (a.node.op.view or a.node.op.repeats):
            if a in self.cluster_of or not node.op.takes(k, node, a):
                break
            a = a.inputs[0]
        if not a.constant and not (a.weight and node.op.takes(k, node, a)):
            self.stored.add(a)

    def _worth_storing(self, v: Value, flops: float, leaves: int) -> bool:
        if v.weight and v.node.op.grows is not None:
            return False  # it would be another copy of the weight, and a larger one
        users = self.users[v]
        reuse = 0.0
        size = max(1, upper(v.size))
        for u in users:
            cluster = self.cluster_of.get(u)
            passes = 1
            if (
                cluster is not None
                and u.node.op.kind != "reduce"
                and any(free(e) & set(cluster.reduce) for e in cluster.index[u])
            ):
                # the row is gone through again by each later reduction, and for the result
                passes = sum(
                    1
                    for x in cluster.values
                    if x.node.op.kind == "reduce" and self.rank[x] > self.rank[u]
                )
                at = cluster.index[cluster.sink]
                passes += any(bool(free(e) & set(cluster.reduce)) for e in at)
            reuse += max(1.0, upper(u.size) / size) * max(1, passes)
        once = flops + 4 * leaves
        return flops > 0 and reuse * once > once + 4 + 4 * reuse

    # ---- looking inside --------------------------------------------------------------------------

    def why_stored(self, v: Value) -> str:
        """What keeps a stored value from being computed inside its users, in words."""
        users = self.users[v]
        reader = next((u for u in users if u.node.op.kind in ("template", "opaque")), None)
        if v in self.outputs:
            own = v in self.graph.outputs.values()
            return "an output of the model" if own else "a state after the run"
        if v in self.forced:
            return f"its users would read more buffers than {self.target.name} allows"
        if any(u.node.op.joins for u in users):
            return "a part of a concat, computed in its place there"
        if reader is not None:
            return f"an operand of {label(reader)}, read again and again"
        if v in self.clusters and len(users) > 1 and self._post[v] is None:
            return f"{len(users)} users lead to different outputs"
        if v in self.clusters and len(users) > 1:
            return f"{len(users)} users, which do not meet again element by element"
        if v in self.clusters:
            return f"{users[0].node.op.name} reads other elements of it"
        return "computing it again in each use costs more than storing it"


def label(v: Value) -> str:
    """What computes a value, as kernels are named: a template, a monoid or the operator."""
    op = v.node.op
    name: str = op.template.name if op.template else v.attrs.get("monoid", op.name)
    return name.removeprefix("scan_")


def body_cost(v: Value) -> float:
    """Flops of one element of a map operator, its operands not counted."""
    if not v.node.op.pointwise:
        return v.node.op.flops
    assert v.node.op.element is not None
    e = v.node.op.element(
        v.node,
        lambda k, idx: load(k, 0, scalar_dtype(v.inputs[k].dtype)),
        tuple(lift(0) for _ in v.shape),
    )
    return float(cost(e)) + (1.0 if e.dtype in ("i32", "u32") else 0.0)


__all__ = ["COPY", "Cluster", "Fusion"]
