"""Nodes of an ONNX graph: what they read, the order in which they are computed, what calls become.

    ordered(graph.node, inputs, outputs)

A node reads the names of its inputs, and those that the subgraphs among its attributes capture.
Functions of a model are written out where they are called, so a few that call each other twice each
could become millions of nodes: how many is counted before any is written out.

Limits: functions that are called by functions, 50 deep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import onnx

from ... import limits
from ...errors import ModelError, UnsupportedError
from .registry import full_name, registered

_DEEPEST = 50  # functions that are called by functions


def check_names(graph: Any) -> None:
    """Raises for two inputs, initialisers or outputs of one name."""
    for what, names in (
        ("input", [i.name for i in graph.input]),
        (
            "initializer",
            [t.name for t in graph.initializer] + [s.values.name for s in graph.sparse_initializer],
        ),
        ("output", [o.name for o in graph.output]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ModelError(f"the model has two {what}s of the name {twice[0]!r}")


def reads(node: Any) -> list[str]:
    """The names that a node reads, those that its subgraphs capture included."""
    names = [i for i in node.input if i]
    for a in node.attribute:
        for g in [a.g] if a.type == onnx.AttributeProto.GRAPH else a.graphs:
            own = {i.name for i in (*g.input, *g.initializer)} | {
                o for n in g.node for o in n.output
            }
            own |= {s.values.name for s in g.sparse_initializer}
            names += [r for n in g.node for r in reads(n) if r not in own]
            names += [o.name for o in g.output if o.name not in own]
    return names


def label(node: Any) -> str:
    operator = full_name(node.domain, node.op_type)
    if node.name:
        return f"{operator} node {node.name!r}"
    return f"{operator} node of {next((o for o in node.output if o), '?')!r}"


def ordered(nodes: Sequence[Any], given: Iterable[str], wanted: Sequence[str]) -> list[Any]:
    """The nodes that the wanted names need, producers first."""
    known = set(given)
    producer: dict[str, Any] = {}
    for node in nodes:
        for name in node.output:
            if name:
                if name in producer or name in known:
                    raise ModelError(f"{name!r} is defined twice; the second time by {label(node)}")
                producer[name] = node
    order: list[Any] = []
    state: dict[int, int] = {}  # 1: being visited, 2: done
    path: list[tuple[Any, Iterator[str]]] = []

    def enter(name: str, reader: str) -> None:
        if name in known:
            return
        node = producer.get(name)
        if node is None:
            raise ModelError(f"{reader} {name!r}, which nothing in the model defines")
        seen = state.get(id(node))
        if seen == 1:
            start = next(k for k, (n, _) in enumerate(path) if n is node)
            cycle = " -> ".join(label(n) for n, _ in (*path[start:], path[start]))
            raise ModelError(f"the graph has a cycle: {cycle}")
        if seen is None:
            state[id(node)] = 1
            path.append((node, iter(reads(node))))

    for root in wanted:
        enter(root, "the model's outputs include")
        while path:
            node, names = path[-1]
            following = next(names, None)
            if following is None:
                path.pop()
                state[id(node)] = 2
                order.append(node)
            else:
                enter(following, f"{label(node)} reads")
    return order


# ---- functions of the model ----------------------------------------------------------------------


def check_calls(model: onnx.ModelProto) -> None:
    """Raise for functions that call one another without end, or too often to be written out."""
    functions = {(f.domain, f.name): f for f in model.functions}
    written: dict[tuple[str, str], int] = {}  # how many nodes a call becomes
    calling: list[tuple[str, str]] = []

    def expanded(nodes: Iterable[Any]) -> int:
        total = 0
        for node in nodes:
            key = node.domain, node.op_type
            total += 1
            if key in functions and registered(node) is None:
                if key in calling:
                    chain = " -> ".join(full_name(*k) for k in (*calling, key))
                    raise ModelError(f"functions call each other without end: {chain}")
                if key not in written:
                    if len(calling) >= _DEEPEST:
                        raise UnsupportedError(
                            f"functions call each other more than {_DEEPEST} deep"
                        )
                    calling.append(key)
                    written[key] = expanded(functions[key].node)
                    calling.pop()
                total += written[key]
            for a in node.attribute:
                for g in (a.g, *a.graphs):
                    total += expanded(g.node)
        return total

    found = expanded(model.graph.node)
    held = len(model.graph.node) + sum(len(f.node) for f in model.functions)
    limits.check_calls(found, held, "nodes")


def bound(node: Any, given: Mapping[str, Any]) -> Any:
    """A node of a function's body with references to the function's attributes replaced."""
    if not any(
        a.ref_attr_name or a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for a in node.attribute
    ):
        return node
    out = onnx.NodeProto()
    out.CopyFrom(node)
    del out.attribute[:]
    for a in node.attribute:
        if a.ref_attr_name:
            if a.ref_attr_name not in given:
                continue
            b = out.attribute.add()
            b.CopyFrom(given[a.ref_attr_name])
            b.name = a.name
        else:
            b = out.attribute.add()
            b.CopyFrom(a)
            for g in [b.g] if b.type == onnx.AttributeProto.GRAPH else b.graphs:
                inner = [bound(n, given) for n in g.node]
                del g.node[:]
                g.node.extend(inner)
    return out


__all__ = ["bound", "check_calls", "check_names", "label", "ordered", "reads"]
