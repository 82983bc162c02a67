"""The optimisation passes: from the graph as imported to the graph that the fuser takes.

    >>> from webdnn import ops
    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (2, 3), "f32")
    >>> print(run(Graph((x,), {"y": ops.neg(ops.neg(x))})))
    x: f32[2,3] = input()

PIPELINE is read top to bottom. A pass is a name and rules. A rule is `(value, uses) -> Value |
None`, applied everywhere, bottom-up, until none fires (`graph.rewrite`). Where rules must first
look at the whole graph (which values share an input, say), the pass is a function `(graph, hits) ->
graph`. Every pass keeps what the graph computes: exactly, or (affine, matmul, narrow, attention,
winograd) up to the rounding of reassociated products and sums. No pass writes a constant: constants
are built as graphs of constants, and evaluated when the descriptor is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import printable
from ..graph import Graph, Rule, rewrite, verify
from ..ops.control import inside
from . import (
    activation,
    affine,
    attention,
    conv,
    counted,
    doubles,
    integers,
    layout,
    matmul,
    narrow,
    pack,
    rounded,
    simplify,
    split,
    wide,
    winograd,
)


def regions(graph: Graph, hits: dict[str, int]) -> Graph:
    """The graph with the regions of its loops after all passes."""

    def changed(body: Graph) -> Graph:  # `wide` has settled it
        return run(body, 0, pipeline=PIPELINE[1:])

    return inside(graph, changed, hits)


Pass = Sequence[Rule] | Callable[[Graph, dict[str, int]], Graph]

PIPELINE: tuple[tuple[str, Pass], ...] = (
    ("wide", wide.settle),
    ("counted", counted.settle),
    ("doubles", doubles.RULES),
    ("narrow", narrow.RULES),
    ("simplify", simplify.RULES),
    ("activation", activation.RULES),
    ("layout", layout.settle),
    ("rounded", rounded.RULES),
    ("conv", conv.RULES),
    ("affine", affine.RULES),
    ("matmul", matmul.RULES),
    ("siblings", matmul.siblings),
    ("tidy", (*simplify.RULES, *activation.RULES, *rounded.RULES)),
    ("split", split.rules()),
    ("attention", attention.RULES),
    ("integers", integers.RULES),
    ("pack", pack.settle),
    ("winograd", winograd.settle),
    ("regions", regions),
)


def run(
    graph: Graph,
    debug: int | None = None,
    dump: Callable[[str, Graph], Any] | None = None,
    pipeline: Sequence[tuple[str, Pass]] = PIPELINE,
) -> Graph:
    """The graph after all passes.

    `debug` (default: $WEBDNN_DEBUG): 1 prints which rules fired and verifies after each pass, 3
    prints the graph too. `dump` is called with the name of each pass and the graph after it.
    """
    debug = int(os.environ.get("WEBDNN_DEBUG") or 0) if debug is None else debug
    for name, rules in pipeline:
        hits: dict[str, int] = {}
        try:
            graph = rules(graph, hits) if callable(rules) else rewrite(graph, rules, hits)
            if debug or name == pipeline[-1][0]:
                verify(graph)
        except AssertionError as e:
            raise AssertionError(f"pass {name}: {e}") from e
        if debug:
            fired = ", ".join(
                f"{rule} {n}" for rule, n in sorted(hits.items(), key=lambda h: -h[1])
            )
            print(f"pass {name}: {fired or 'nothing to do'}", file=sys.stderr)
        if debug >= 3:
            print(printable(str(graph)), file=sys.stderr)
        if dump is not None:
            dump(name, graph)
    return graph


__all__ = ["PIPELINE", "run"]
