"""Kernels and programs: what the fuser hands to a target, and all that a target needs to know.

A *kernel* is one launch. It names its buffers by slot number; a *step* binds the slots to buffers.
Three kinds exist:

* `Loop`: parallel axes, optional reduction stages over common axes, and stores. Every elementwise,
  movement, gather, reduction, pooling, softmax and normalisation kernel is one.
* `Instance`: a template (`codegen/*/templates/`) with its holes filled by expressions.
* `Opaque`: hand-written target text without holes (sort, top-k, ...); never fuses.

Every size, stride and offset in them is a literal or an expression over dims. A target lifts these
into run-time parameters while it prints (`codegen/dialect.py`), so that equal kernels of different
sizes print the same text and are compiled once.

    Loop:  for axes: for each stage: acc = monoid over reduce of exprs;  then the stores
           a store whose value or index mentions a reduce variable runs over the reduce axes ("row")

Text form: ``softmax[i0<12, i1<128 | r0<128] max, sum -> b1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..expr import Dim, Expr, binary, bitcast, cast, const, free, text, walk
from ..scalar import STORAGE


@dataclass(frozen=True)
class Slot:
    """A buffer of a kernel.

    `dtype` is a row of `scalar.STORAGE` (bool is i32 0/1); what is read is what the row is computed
    as.
    """

    dtype: str
    size: Dim  # elements of the whole buffer that may be touched (upper bound where symbolic)
    access: str  # "read", "write" or "readwrite"


@dataclass(frozen=True)
class Stage:
    """A reduction over all reduce axes; results are `acc(stage, k)`. Later stages may use them."""

    monoid: str
    exprs: tuple[Expr, ...]  # what is combined, in terms of axes, reduce vars and earlier accs


@dataclass(frozen=True)
class Store:
    """slots[slot][index] = value."""

    slot: int
    index: Expr
    value: Expr


@dataclass(frozen=True)
class Loop:
    """Parallel axes (outermost first), reduction axes, stages, stores. All vars are `expr.var`."""

    name: str
    axes: tuple[Expr, ...]
    reduce: tuple[Expr, ...]
    stages: tuple[Stage, ...]
    stores: tuple[Store, ...]
    slots: tuple[Slot, ...]
    origin: str = field(default="", compare=False)  # where it came from, for the first line


@dataclass(frozen=True)
class Instance:
    """A template with its holes. Its variables are loops of the kernel, or name coordinates that a
    hole is asked for; a point of the result is a sum over those in `sums`.

    `matmul`:  C[b..., m, n] = sum_k A[b..., m, k] * B[b..., n // 8, k, n % 8]
        vars: b0, b1 (batch, may be absent), m, n, k (sizes are their `size`)
        holes: "a" in b*, m, k; "b" in b*, n, k. Read straight from memory where "a" is a load with
               neighbours in k, and "b" a load of panels: an index that is base(b*) + (n // 8) *
               (K * 8) + k * 8 + n % 8. Any other expression is computed for each tile of rows ("a",
               on wasm), or at each use, so it should be cheap; "b" for each block of rows on wasm.
        stores: in terms of b*, m, n and acc(0, 0): the finished sum. Stores are affine in n with
               coefficient 1 unless the last axis was permuted; the target checks
               `expr.coefficient`.
    `conv`:  Y[b, y, x, g*NG + n] =
             sum_{ky,kx,c} X[b, y*sy - py + ky*dy, x*sx - px + kx*dx, g*C + c] * W[...]
        vars: b, y, x, g (where there are groups), n (within the group), ky, kx, c, iy, ix
        holes: "a" = load of X in terms of b, iy, ix, g, c (iy, ix: input coordinates, sizes H, W);
               out-of-range coordinates read as zero;
               "b" in g, n, ky, kx, c: as matmul's, panels being [G][ceil(NG/8)][ky][kx][c][8]
        attrs: "stride": (sy, sx), "dilation": (dy, dx), "pad": (top, left) (ints), "groups" (int)
        stores: in terms of b, y, x, g, n and acc(0, 0)
    `winograd`:  as conv, 3x3, without groups, stride or dilation
        holes: "a" as conv's, in terms of b, iy, ix, c; "u" = load of element 0, 0, n // 8, c, n % 8
               of the transformed filters [6][6][ceil(N/8)][c][8]
    `winograd_input`:  V[at, tile, c] = L x L^T, x the 6x6 pixels of X that a tile reads
        vars: b, ty, tx (the tile), at (row * 6 + column of V), c, iy, ix
        holes: "a" = X in terms of b, iy, ix, c
        attrs: "matrix": L; "tile": pixels of a tile along an axis; "pad": (top, left)
        stores: in terms of b, ty, tx, at, c and acc(0, 0)
    `winograd_output`:  Y[b, y, x, c] = L x L^T, x the 6x6 sums of a tile
        vars: b, ty, tx, at, c, y, x; pixels beyond y and x are not stored
        holes: "a" = the sums in terms of b, ty, tx, at, c
        attrs: as of winograd_input
        stores: in terms of b, y, x, c and acc(0, 0)
    `depthwise`:  Y[b, y, x, c] =
                  sum_{ky,kx} X[b, y*sy - py + ky*dy, x*sx - px + kx*dx, c] * W[ky, kx, c]
        vars: b, y, x, c, ky, kx, iy, ix
        holes: "a" as conv's, in terms of b, iy, ix, c; "w" = load of W in ky, kx, c
        attrs: "stride", "dilation", "pad"
        stores: in terms of b, y, x, c and acc(0, 0)
    `recurrent`:  for each t, in order: the states after step t, by stores
        vars: n (batch), t, j (hidden unit), g (gate), k (hidden unit of the state before)
        holes: "r" = load of the recurrent weights from a buffer of their own, packed [ceil(J/8)][k]
               [g][8]; with "reset", the last gate's lie apart: [ceil(J/8)]([k][G-1][8] [k][8]);
               "h" ("c") = the states before the first step in n, j; "reset" (may be absent) = what
               the last gate's product is taken with instead of the state, in n, t, j,
               acc(0, 0..G-2) and acc(1, 0)
        attrs: "reverse" (bool): t runs downwards
        stores: h (and c) to [n][t][j] of buffers of their own, in terms of n, t, j, acc(0, g): the
               product of the state with gate g's weights, and acc(1, 0) (acc(1, 1)): h (c) before

    `attention`:  Y[b..., m, n] = sum_t softmax(score)[t] * V[b..., t, n]
        vars: b0, b1 (batch, may be absent), m, n, t (keys), d (the depth of a score)
        holes: "q" in b*, m, d; "k" in b*, t, d; "v" in b*, t, n; "score" in b*, m, t and acc(1, 0):
               the product of a query with a key
        stores: in terms of b*, m, n and acc(0, 0). With one query, also in b*, t, d and acc(3, 1),
               an element of "k" as it is read, or in b*, t, n and acc(3, 2), one of "v"

    A `matmul`, `conv` or `attention` of more than one slice has its depth (its keys) cut into so
    many parts: the variable "slice" says which, and acc(0, 0) is the sum over that part alone. Of
    an attention's slice, acc(2, 0) is the largest score of row m, with which its weights begin, and
    acc(2, 1) the sum of these. Where the cuts are is the target's affair.

    A `matmul` of one row may have stages: its hole "a" then has, in acc(1 + k, 0), what `stages[k]`
    combines over `reduce` (of as many elements as the row has), as do later stages.

    A template of another name is a text that lies in `folder`: docs/extending.md says what is at
    hand in it.
    """

    name: str
    template: str
    vars: Mapping[str, Expr]
    holes: Mapping[str, Expr]
    attrs: Mapping[str, Any]
    stores: tuple[Store, ...]
    slots: tuple[Slot, ...]
    origin: str = field(default="", compare=False)
    sums: tuple[str, ...] = ()
    folder: Path | None = None
    slices: int = 1
    stages: tuple[Stage, ...] = ()
    reduce: tuple[Expr, ...] = ()

    def __hash__(self) -> int:
        return hash((self.name, self.template, self.slots))


@dataclass(frozen=True)
class Opaque:
    """A kernel of text written by hand for each target: `codegen/opaque/NAME.c` and `NAME.wgsl`.

    It is what becomes of an operator of kind "opaque" (`Op("top_k", "opaque", infer, None, numpy,
    kernel=...)`), whose operands and results always lie compactly in memory, results in buffers of
    their own. `attrs` are the node's attributes, what `Op.kernel(node)` adds, and

        x{k}_{j}   the size of axis j of input k (int or Expr)
        inputs, outputs   the slot of each

    where `Op.kernel` may give

        items      independent pieces of work (int or Expr; 1): what threads share, and the
                   workgroups of a dispatch
        cost       floating-point operations of one item, roughly (int or Expr; 1000): how many
                   items a thread takes at a time, and how dispatches are cut into submits
        scratch    bytes of memory of its own that each thread has (wasm; 0)

    In the templates every attribute that is an int or an Expr is the text of a run-time parameter
    (or literal) under its name, so that kernels of equal text are one; `attrs` holds the values
    themselves for `$if` and `$for`. `read(k, "i")` is the text of element i of input k (bool is
    read as i32 0/1, all else as it is computed), `out0`, `out1` ... name the results:

        .c     for (int item = begin; item < end; item++) { ... ${out0}[i] = ${read(0, "i")}; }
               `scratch` is a char*; the functions of prelude.h are at hand
        .wgsl  a whole entry point, as recurrent.wgsl's: main, with wg (workgroup_id) among its
               arguments. `${item}` is the number of its workgroup: let item = ${item}; if (item >=
               ${items}) { return; }. The functions of maths.wgsl are at hand

    A template is listed in tests/test_architecture.py.
    """

    name: str
    template: str
    attrs: Mapping[str, Any]
    slots: tuple[Slot, ...]
    origin: str = field(default="", compare=False)

    def __hash__(self) -> int:
        return hash((self.name, self.template, self.slots))


Kernel = Loop | Instance | Opaque


@dataclass(frozen=True)
class Buffer:
    """Storage for values: a graph input or output, a state that outlives the run, a weight, a
    temporary that `plan` places, or what `Program.prepare` makes of a weight."""

    id: int
    kind: str  # "input", "output", "state", "weight", "temp", "prepared"
    dtype: str  # a row of scalar.STORAGE
    size: Dim  # elements; where symbolic, `upper` of it is allocated
    name: str = ""  # inputs and outputs: the tensor's name; weights: a readable origin


@dataclass(frozen=True)
class Step:
    """One launch: a kernel, the buffer of each of its slots, and why no more was fused into it."""

    kernel: Kernel
    buffers: tuple[int, ...]
    why: str = field(default="", compare=False)


@dataclass(frozen=True)
class Repeat:
    """Steps first, first + 1 ... last - 1 of a program run again as long as a flag is set.

    flag: the buffer whose first element says, before each time, whether they run. once: they run
    once at most. Repeats are nested or apart, and no two begin or end at one step.
    """

    first: int
    last: int
    flag: int
    once: bool = False


@dataclass
class Tensor:
    """A graph input or output: its dtype and shape, and the buffer that holds it compactly.

    words: how many elements of the buffer an element is, the lowest bits first.
    """

    name: str
    dtype: str  # the model's dtype, e.g. "i64"
    shape: tuple[Dim, ...]
    buffer: int
    words: int = 1


@dataclass
class Program:
    """Everything that one target runs: buffers, steps in order, signature, and stored model values.

    `stored` maps the name of an imported value that survives to where it lies (buffer, dtype,
    shape, strides and start, in the source's own order of axes), for `webdnn check --layers`;
    `fused_away` lists the others.
    """

    dims: tuple[Expr, ...]
    inputs: list[Tensor]
    outputs: list[Tensor]
    buffers: list[Buffer]
    steps: list[Step]
    weights: dict[int, Any] = field(default_factory=dict)  # buffer id -> graph Value (constant)
    stored: dict[str, Any] = field(default_factory=dict)
    fused_away: list[str] = field(default_factory=list)
    prepare: list[Step] = field(default_factory=list)  # once, when the weights have arrived
    states: list[Tensor] = field(default_factory=list)  # zero at first; the last steps update them
    # outputs of which a run finds the true shape, over dims named as the scalar outputs that say it
    counts: Mapping[str, tuple[Dim, ...]] = field(default_factory=dict)
    near: Mapping[str, int] = field(default_factory=dict)  # of inputs: `Graph.near`
    alarms: Mapping[str, str] = field(default_factory=dict)  # of outputs: `Graph.alarms`
    repeats: list[Repeat] = field(default_factory=list)  # inner ones first

    def __str__(self) -> str:
        return "\n".join(
            f"{i:4} {kernel_text(s.kernel)}  {s.buffers}" for i, s in enumerate(self.steps)
        )


def packed_element(word: Expr, at: Expr, storage: str) -> Expr:
    """Element `at` of memory that is packed into words of u32, from the word that holds it."""
    bits = STORAGE[storage].bits
    each = 32 // bits
    # The part moves to the top of the word, and from there to the bottom, with its sign. Of u32,
    # the distances stay literals: targets take the i32 for sizes, which change.
    last = const(each - 1, "u32")
    top = binary("shl", word, (last - cast(at % each, "u32")) * const(bits, "u32"))
    down = const(32 - bits, "u32")
    if storage.startswith("u"):
        return bitcast(binary("shr", top, down), "i32")
    return binary("shr", bitcast(top, "i32"), bitcast(down, "i32"))


def loads(kernel: Kernel) -> list[Expr]:
    """All loads of a kernel, arguments before users."""
    roots: list[Expr] = []
    if not isinstance(kernel, Opaque):
        roots += [e for stage in kernel.stages for e in stage.exprs]
    if isinstance(kernel, Instance):
        roots += list(kernel.holes.values())
    if not isinstance(kernel, Opaque):
        roots += [e for s in kernel.stores for e in (s.index, s.value)]
    return [e for e in walk(*roots) if e.op == "load"]


def is_row(store: Store, kernel: Loop) -> bool:
    """Whether the store runs over the reduce axes too."""
    return bool((free(store.value) | free(store.index)) & set(kernel.reduce))


def kernel_text(kernel: Kernel) -> str:
    """The kernel on one line."""

    def size(v: Expr) -> str:
        return f"{v.args[0]}<{text(v.args[1])}"

    if isinstance(kernel, Opaque):
        return f"{kernel.name} {dict(kernel.attrs)}"
    stores = "; ".join(f"b{s.slot}[{s.index}] = {s.value}" for s in kernel.stores)
    if isinstance(kernel, Instance):
        axes = ", ".join(size(v) for v in kernel.vars.values())
        return f"{kernel.name}: {kernel.template}[{axes}] {dict(kernel.attrs)} {stores}"
    axes = ", ".join(map(size, kernel.axes))
    if kernel.reduce:
        axes += " | " + ", ".join(map(size, kernel.reduce))
    stages = ", ".join(f"{s.monoid}({', '.join(map(str, s.exprs))})" for s in kernel.stages)
    return f"{kernel.name}[{axes}] {stages} -> {stores}"
