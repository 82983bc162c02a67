"""64-bit integers that may need 64 bits, in two words each; all others are computed in 32.

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (4,), "i64")
    >>> y = settle(Graph((x,), {"y": ops.mul(x, 100000)}), {})
    >>> y.wide, y.outputs["y"]
    (frozenset({'y'}), cast:i32[4,2])

`integer_ranges` proves of most values that they fit into 32 bits. What it does not prove of becomes
`Words` (`ops.wide`), from there to where the numbers are known to be small again: to a remainder,
say, or a position, which beyond its axis is clamped. What has no arithmetic on words takes the low
ones, and an alarm, an output that the page does not see, says whether that lost anything.

Inputs hold 32 bits, and fewer where that is enough of a proof: `Graph.near` is how large they may
be, which the runner checks. So an id with an offset, a mask turned around and a position stay what
they are. An input that only such values are computed of as need words anyway is given in words.

Of a loop whose end only a run finds, a state that an iteration may make larger than 32 bits hold is
two states, its words. An alarm of an iteration is one more state, which stays once it is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .. import ops
from ..errors import UnsupportedError
from ..graph import DTYPES, INPUT, Graph, Node, Op, Value, constant, evaluate, placeholder
from ..ops import wide as words
from ..ops.control import Region
from ..ops.ranges import (
    NEAR,
    RANGES,
    Range,
    body_ranges,
    bounded,
    fits,
    integer_ranges,
    wrapped,
)
from ..ops.ranges import WIDE as WHOLE
from ..ops.wide import Words

Part = Value | Words
WIDE = ("i64", "u64")
BOUNDS = (2**31 - 1, NEAR)


def settle(graph: Graph, hits: dict[str, int]) -> Graph:
    """The graph with words for what may need them; the graph itself where nothing does.

    Raises UnsupportedError for a constant beyond 32 bits where an operator has no words.
    """
    if not any(v.dtype in WIDE for v in graph.values()):
        return graph
    near, ranges = _near(graph)
    given = _given(graph, _unproved(ranges))
    if given:
        within = {
            v: _within(v, near[v.attrs["name"]]) for v in graph.inputs if v.attrs["name"] in near
        }
        near = {
            name: bound
            for name, bound in near.items()
            if name not in {v.attrs["name"] for v in given}
        }
        ranges = integer_ranges(graph, within | {v: WHOLE[v.dtype] for v in given})
    loops = any(v.op is ops.ITERATE for v in graph.values())
    if not loops and all(fits(r, v.dtype) for v, r in ranges.items() if v.dtype in WIDE):
        return replace(graph, near=near)
    return _Settling(graph, ranges, hits).graph(near, given)


def _near(graph: Graph) -> tuple[dict[str, int], dict[Value, Range]]:
    """How large inputs may be where that proves something, and the ranges that are proved then."""
    near: dict[str, int] = {}
    ranges = integer_ranges(graph)
    left = _unproved(ranges)
    for bound in BOUNDS:
        if not left:
            break
        within = {v: _within(v, bound) for v in graph.inputs if v.dtype in WIDE}
        tried = integer_ranges(graph, within)
        still = _unproved(tried)
        helped = _sources(graph, left - still)
        near |= {v.attrs["name"]: bound for v in within if v in helped}
        if helped:
            ranges, left = tried, still
    return near, ranges


def _within(v: Value, bound: int) -> Range:
    return max(-bound, RANGES[v.dtype][0]), bound


def _unproved(ranges: Mapping[Value, Range]) -> set[Value]:
    return {v for v, r in ranges.items() if v.dtype in WIDE and not fits(r, v.dtype)}


def _given(graph: Graph, unproved: set[Value]) -> list[Value]:
    """The inputs that a page gives in words: nothing but values that need these reads them.

    Positions are none: the runner checks those that it is given, and refuses larger numbers.
    """
    uses = graph.uses()
    kept = set(graph.results)

    def in_words(v: Value, user: Value) -> bool:
        data = MOVES.get(user.op)
        if user in unproved:
            return not data or v not in user.inputs[data:]
        return data == 0 and all_wide(user)

    def all_wide(v: Value) -> bool:
        return v not in kept and all(in_words(v, user) for user in uses.get(v, ()))

    return [v for v in graph.inputs if v.dtype in WIDE and v in uses and all_wide(v)]


def _sources(graph: Graph, values: set[Value]) -> set[Value]:
    """What values are computed of."""
    found = set(values)
    for v in reversed(graph.values()):
        if v in found:
            found.update(v.inputs)
    return found


class _Settling:
    """One graph being rewritten: what became of its values, and the alarms."""

    def __init__(self, graph: Graph, ranges: Mapping[Value, Range], hits: dict[str, int]):
        self.source, self.ranges, self.hits = graph, ranges, hits
        self.new: dict[Value, Part] = {}
        self.loops: dict[Node, list[Part]] = {}
        self.given: dict[Value, Value] = {}
        self.alarms: dict[str, str] = dict(graph.alarms)
        self.outputs: dict[str, Value] = {}
        self.names: dict[Value, str] = {}
        for name, v in reversed((*graph.names.items(), *graph.outputs.items())):
            self.names[v] = name

    def graph(self, near: Mapping[str, int], given: Sequence[Value]) -> Graph:
        """The graph of the new values. given: the inputs that are words."""
        for v in given:
            signed = v.dtype == "i64"
            shape = (*v.shape, 2)
            pairs = placeholder(v.attrs["name"], shape, "i32" if signed else "u32")
            self.new[v] = words.split(pairs, signed)
            self.given[v] = pairs
        self.settle()
        for v in self.source.outputs.values():
            if v.constant and self.beyond(v):
                self.new[v] = words.wide(v)
        wide = frozenset(
            k for k, v in self.source.outputs.items() if isinstance(self.new[v], Words)
        )
        outputs = {}
        for name, v in self.source.outputs.items():
            part = self.new[v]
            outputs[name] = words.joined(part) if isinstance(part, Words) else part
        states = {
            k: (before, self.narrow(after, f"state {k!r}"))
            for k, (before, after) in self.source.states.items()
        }
        names = {
            k: n for k, v in self.source.names.items() if isinstance(n := self.new.get(v), Value)
        }
        return replace(
            self.source,
            inputs=tuple(self.given.get(v, v) for v in self.source.inputs),
            outputs=outputs | self.outputs,
            states=states,
            names=names,
            near=dict(near),
            wide=wide | {v.attrs["name"] for v in given},
            alarms=self.alarms,
        )

    def settle(self) -> None:
        """Finds what each value becomes, but for those that something is known of."""
        for v in self.source.values():
            if v not in self.new:
                self.new[v] = self.settled(v)

    def settled(self, v: Value) -> Part:
        """What a value becomes."""
        if v.op is ops.ITERATE:
            if v.node not in self.loops:
                self.loops[v.node] = self.loop(v.node)
            return self.loops[v.node][v.index]
        if v.constant or v.op is INPUT:
            return v
        parts = [self.new[i] for i in v.inputs]
        given = any(isinstance(p, Words) for p in parts) or any(
            i.constant and self.beyond(i) for i in v.inputs
        )
        if not given and not self.beyond(v):
            return v if parts == list(v.inputs) else self.again(v, parts)
        short = all(i.constant or isinstance(self.new[i], Value) for i in v.inputs)
        if short and bounded(v, self.ranges):
            return self.again(v, [_cut(i) if i.constant else self.new[i] for i in v.inputs])
        found = self.wide(v)
        if found is None and self.beyond(v):
            raise UnsupportedError(
                f"{self.name(v)!r}: numbers of {DTYPES[v.dtype]} may need more than "
                f"the 32 bits in which {v.op} computes. Cast to int32 before it if they do not"
            )
        if found is None:
            return self.again(v, [self.narrow(i, repr(v.op)) for i in v.inputs])
        self.hits["wide"] = self.hits.get("wide", 0) + 1
        if isinstance(found, Words) and not self.beyond(v):
            return words.narrow(found)
        return found

    def beyond(self, v: Value) -> bool:
        """Whether a value is not proved to fit into 32 bits."""
        return v.dtype in WIDE and not fits(self.ranges[v], v.dtype)

    def again(self, v: Value, parts: list[Part]) -> Value:
        """The same operator on other inputs."""
        return v.op.node([p for p in parts if isinstance(p, Value)], v.attrs).outputs[v.index]

    def words(self, v: Value) -> Words:
        """A value in words."""
        part = self.new[v]
        return part if isinstance(part, Words) else words.wide(part)

    def narrow(self, v: Value, user: str) -> Value:
        """A value in 32 bits; an alarm says whether these are too few."""
        part = self.new[v]
        name = self.name(v)
        if isinstance(part, Value):
            if v.constant and self.beyond(v):
                raise UnsupportedError(
                    f"the {DTYPES[v.dtype]} constant {name!r} holds numbers beyond 32 bits, "
                    f"which {user} does not take here"
                )
            return part
        lost = ops.reduce(ops.logical_not(words.fits(part)), "any", range(len(part.shape)))
        key = f"alarm {len(self.alarms)}"
        self.alarms[key] = (
            f"numbers beyond 32 bits in {name!r}, of which {user} takes 32 bits: try smaller inputs"
        )
        self.outputs[key] = ops.reshape(lost, ())
        return words.narrow(part)

    def loop(self, node: Node) -> list[Part]:
        """What the outputs of a loop become: states and rows of the region once that is settled."""
        region, count = node.attrs["region"], node.attrs["states"]
        known = {v: wrapped(r, v.dtype) for v, r in self.ranges.items()}
        ranges = body_ranges(node, known)
        given = [self.new[i] for i in node.inputs]
        if given == list(node.inputs) and all(
            fits(r, v.dtype) for v, r in ranges.items() if v.dtype in WIDE
        ):
            return list(node.outputs)
        body = _Settling(region.graph(self.source.dims), ranges, self.hits)
        before: list[Part] = []
        read: list[Value] = []  # what the region reads of what is around it
        inside: list[Value] = []  # and what stands for it there
        for k, (p, part) in enumerate(zip(region.inputs, given)):
            if k >= count and isinstance(part, Value):
                read.append(part)
                inside.append(p)
            elif k >= count:
                low, high = (ops.parameter(p.shape, "u32") for _ in range(2))
                body.new[p] = Words(low, high, p.dtype == "i64")
                read += _values(part)
                inside += [low, high]
            elif body.beyond(p):
                low, high = (ops.parameter(p.shape, "u32") for _ in range(2))
                body.new[p] = Words(low, high, p.dtype == "i64")
                before.append(self.words(node.inputs[k]))
            else:
                before.append(self.narrow(node.inputs[k], "a loop"))
        body.settle()
        after = [
            body.words(o) if isinstance(b, Words) else body.narrow(o, "a loop")
            for o, b in zip(region.outputs, before)
        ]
        rows = [body.new[o] for o in region.outputs[count:]]
        states, parameters, new = (
            [v for part in parts for v in _values(part)]
            for parts in (before, [body.new[p] for p in region.inputs[:count]], after)
        )
        if body.alarms:
            lost = ops.parameter((), "bool")
            any_lost = lost
            for alarm in body.outputs.values():
                any_lost = ops.logical_or(any_lost, alarm)
            states, parameters, new = (
                [*states, constant(False, "bool")], [*parameters, lost], [*new, any_lost]
            )  # fmt: skip
        collected = [v for part in rows for v in _values(part)]
        named = {k: n for k, v in region.names.items() if isinstance(n := body.new.get(v), Value)}
        whole = Region((*parameters, *inside), (*new, *collected), named)
        changed = {**node.attrs, "region": whole, "states": len(states)}
        found = iter(node.op.node([*states, *read], changed).outputs)

        def again(part: Part) -> Part:
            return (
                replace(part, low=next(found), high=next(found))
                if isinstance(part, Words)
                else next(found)
            )

        results = [again(part) for part in after]
        if body.alarms:
            key = f"alarm {len(self.alarms)}"
            self.alarms[key] = next(iter(body.alarms.values()))
            self.outputs[key] = next(found)
        return results + [again(part) for part in rows]

    def name(self, v: Value) -> str:
        """What the model calls a value, or what that is computed of."""
        while v not in self.names and v.inputs:
            v = v.inputs[0]
        return self.names.get(v) or str(v.op)

    def wide(self, v: Value) -> Part | None:
        """A value of operands in words; None where its operator has no arithmetic on words."""
        op, attrs = v.op, v.attrs
        if op in MOVES and v.dtype in WIDE:
            data = MOVES[op] or len(v.inputs)
            rest = [self.position(i) for i in v.inputs[data:]]
            all_words = [self.words(i) for i in v.inputs[:data]]
            fill = attrs.get("value", 0) if op is ops.PAD else 0
            low = op.node([w.low for w in all_words] + rest, _filled(op, attrs, fill % 2**32))
            high = op.node([w.high for w in all_words] + rest, _filled(op, attrs, fill >> 32))
            return Words(low.outputs[0], high.outputs[0], v.dtype == "i64")
        if op in ARITHMETIC and all(i.dtype in WIDE for i in v.inputs):
            return ARITHMETIC[op](*map(self.words, v.inputs))
        if op is ops.where:
            condition, a, b = v.inputs
            taken = self.new[condition]
            assert isinstance(taken, Value)
            return words.choose(taken, self.words(a), self.words(b))
        if op is ops.cast_:
            return self.cast(v)
        if op is ops.from_end:
            return self.again(v, [self.position(v.inputs[0]), self.narrow(v.inputs[1], "from_end")])
        if v.op.kind == "reduce" and v.inputs[0].dtype in WIDE:
            return self.reduced(v)
        if (
            isinstance(self.new.get(v.inputs[0]) if v.inputs else None, Words)
            and v.dtype not in WIDE
        ):
            return None
        if MOVES.get(op):  # data that is not wide
            return self.again(v, [self.new[v.inputs[0]], *map(self.position, v.inputs[1:])])
        return None

    def position(self, v: Value) -> Value:
        """A value as positions: what lies beyond 32 bits lies beyond any axis too."""
        part = self.new[v]
        if isinstance(part, Value):
            return part
        end = ops.where(
            words.below_zero(part), constant(-(2**31), "i64"), constant(2**31 - 1, "i64")
        )
        return ops.where(words.fits(part), words.narrow(part), ops.cast(end, v.dtype))

    def cast(self, v: Value) -> Part:
        """A conversion from or to 64 bits."""
        (x,), to = v.inputs, v.dtype
        if x.dtype not in WIDE:
            part = self.new[x]
            assert isinstance(part, Value)
            if x.dtype in RANGES:
                return self.extended(part, to)
            part = part if part.dtype == "f64" else ops.cast(part, "f32")
            return words.from_float(part, to == "i64")
        w = self.words(x)
        if to in WIDE:
            return replace(w, signed=to == "i64")
        if to == "bool":
            return ops.logical_not(words.is_zero(w))
        if to in RANGES:
            return ops.cast(ops.cast(w.low, "i32"), to)
        return ops.cast(words.to_float(w, "f64" if to == "f64" else "f32"), to)

    def extended(self, x: Value, to: str) -> Words:
        """An integer of 32 bits or fewer in words."""
        if x.dtype == "u32":
            return Words(x, words.number(0).high, to == "i64")
        return replace(words.wide(ops.cast(x, "i64")), signed=to == "i64")

    def reduced(self, v: Value) -> Part | None:
        """A reduction of words."""
        monoid, axes, w = v.attrs["monoid"], list(v.attrs["axes"]), self.words(v.inputs[0])
        if monoid in ("sum", "scan_sum"):
            return words.total(w, axes, scan=monoid == "scan_sum")
        if monoid in ("max", "min"):
            return words.extreme(w, axes, monoid == "max")
        if monoid.startswith("arg"):
            return words.position(w, axes[0], monoid)
        return words.whole_product(w, axes) if monoid == "prod" else None


def _cut(v: Value) -> Value:
    """A constant bound of numbers of 32 bits: beyond these, the largest one does as well."""
    lo, hi = RANGES[v.dtype]
    return constant(np.clip(evaluate(v), lo, hi), v.dtype)


def _values(part: Part) -> list[Value]:
    """A value, or both of its words, each of its whole shape."""
    if isinstance(part, Value):
        return [part]
    return [ops.expand(word, part.shape) for word in (part.low, part.high)]


def _filled(op: Op, attrs: Mapping[str, object], value: int) -> Mapping[str, object]:
    return {**attrs, "value": value % 2**32} if op is ops.PAD else attrs


# What moves elements: how many of its inputs are moved (0: all); others are positions.
MOVES: Mapping[Op, int] = {
    ops.RESHAPE: 0, ops.TRANSPOSE: 0, ops.SLICE: 0, ops.PAD: 0, ops.PAD_MODE: 0, ops.EXPAND: 0,
    ops.CONCAT: 0, ops.WINDOWS: 0, ops.DILATE: 0, ops.GATHER: 1, ops.GATHER_ELEMENTS: 1,
    ops.GATHER_ND: 1, ops.COUNTED: 1,
}  # fmt: skip


def _not(f: Callable[..., Value]) -> Callable[..., Value]:
    return lambda a, b: ops.logical_not(f(a, b))


def _swapped(f: Callable[..., Value]) -> Callable[..., Value]:
    return lambda a, b: f(b, a)


ARITHMETIC: Mapping[Op, Callable[..., Part]] = {
    ops.add: words.plus,
    ops.sub: words.minus,
    ops.mul: words.multiply,
    ops.div: words.divide,
    ops.mod: words.modulo,
    ops.fmod: words.remainder,
    ops.pow_: words.power,
    ops.min_: words.least,
    ops.max_: words.greatest,
    ops.neg: words.negative,
    ops.abs_: words.absolute,
    ops.sign_: words.sign,
    ops.relu: lambda a: words.greatest(a, words.number(0, a.signed)),
    ops.clip: lambda a, lo, hi: words.least(words.greatest(a, lo), hi),
    ops.less: words.less,
    ops.greater: _swapped(words.less),
    ops.less_equal: _not(_swapped(words.less)),
    ops.greater_equal: _not(words.less),
    ops.equal: words.equal,
    ops.not_equal: _not(words.equal),
    ops.bit_and: lambda a, b: words.bits(ops.bit_and, a, b),
    ops.bit_or: lambda a, b: words.bits(ops.bit_or, a, b),
    ops.bit_xor: lambda a, b: words.bits(ops.bit_xor, a, b),
    ops.bit_not: lambda a: words.bits(ops.bit_not, a),
    ops.shift_left: words.shift_left,
    ops.shift_right: words.shift_right,
}

__all__ = ["settle"]
