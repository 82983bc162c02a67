"""The graph: immutable, interned tensor nodes, and the one way to rewrite them.

    >>> from webdnn import ops
    >>> x = placeholder("x", (1, 8), "f32")
    >>> y = ops.relu(ops.add(x, x))
    >>> y is ops.relu(ops.add(x, x))
    True
    >>> print(Graph((x,), {"y": y}))
    x: f32[1,8] = input()
    %1: f32[1,8] = add(x, x)
    y: f32[1,8] = relu(%1)

Grammar::

    Graph(inputs: Value..., outputs: {name: Value}, names: {imported name: Value})
    Value = (node, index), with shape: (int | Expr)... and dtype
    Node  = (op, inputs: Value..., attrs)

A node is interned by (op, inputs, attrs), each by its identity but for attrs: equal computations
are one object, so common subexpressions merge and dead code is simply not reached. An operator is
the `Op` object, never its name: two operators of one name are two. Constants are lazy: a value
whose inputs are all constant is computed by numpy when the descriptor is written, never before, and
never held twice.
"""

from __future__ import annotations

import hashlib
import math
import re
import weakref
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import limits
from .errors import ModelError, UnsupportedError
from .expr import Dim, Expr, as_dim, free, post_order, product, text
from .scalar import STORAGE, bytes_of

DTYPES: Mapping[str, str] = {  # dtype -> its public name
    "f32": "float32",
    "f16": "float16",
    "f64": "float64",
    "i8": "int8",
    "u8": "uint8",
    "i4": "int4",
    "u4": "uint4",
    "i2": "int2",
    "u2": "uint2",
    "bf16": "bfloat16",
    "f8e4m3fn": "float8_e4m3fn",
    "f8e4m3fnuz": "float8_e4m3fnuz",
    "f8e5m2": "float8_e5m2",
    "f8e5m2fnuz": "float8_e5m2fnuz",
    "f8e8m0": "float8_e8m0fnu",
    "f4e2m1": "float4_e2m1fn",
    "i16": "int16",
    "u16": "uint16",
    "i32": "int32",
    "u32": "uint32",
    "i64": "int64",
    "u64": "uint64",
    "bool": "bool",
}
FROM_NUMPY: Mapping[str, str] = {public: short for short, public in DTYPES.items()}
# Floats that are computed and held as f32, which has all their numbers.
SHORT_FLOATS = ("bf16", "f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f8e8m0", "f4e2m1")
FLOATS = ("f32", "f16", "f64", *SHORT_FLOATS)
FEW_BITS = {"i4": "int8", "u4": "uint8", "i2": "int8", "u2": "uint8"}  # integers, and their arrays
_ARRAYS = FEW_BITS | dict.fromkeys(SHORT_FLOATS, "float32")  # what numpy lacks is held in

Shape = tuple[Dim, ...]


def computed(dtype: str) -> str:
    """The scalar dtype in which values of a dtype are computed: f32, f64, i32 or u32."""
    if dtype in FLOATS:
        return "f64" if dtype == "f64" else "f32"
    return "u32" if dtype in ("u32", "u64") else "i32"


def stored(dtype: str) -> str:
    """How a constant of a dtype lies in the download and in memory: a row of `scalar.STORAGE`.

    What a run computes lies in memory as it is computed.
    """
    return dtype if dtype in STORAGE else computed(dtype)


def array_type(dtype: str) -> np.dtype:
    """The dtype of arrays that hold constants of a dtype; numpy has none of less than a byte."""
    return np.dtype(_ARRAYS.get(dtype, DTYPES[dtype]))


def scalar_dtype(dtype: str) -> str:
    """The dtype of the expression that reads a value: as computed, but bool stays bool."""
    return "bool" if dtype == "bool" else computed(dtype)


class Data:
    """A lazy constant array, interned by `key` (its source or its content)."""

    def __init__(
        self, key: Any, shape: tuple[int, ...], dtype: str, read: Callable[[], np.ndarray]
    ):
        self.key, self.shape, self.dtype, self.read = key, shape, dtype, read

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Data) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        size = math.prod(self.shape)
        return str(self.read().tolist()) if size <= 8 else f"<{size} elements>"


@dataclass(frozen=True, eq=False)
class Template:
    """How a kernel template computes an operator, and what may fuse around it.

    name: of the template's text, `NAME.c` and `NAME.wgsl`; `folder`: where these lie, for one that
    is not of `codegen/*/templates`.
    define: (node, read) -> the fields `vars`, `holes`, `sums` and `attrs` of `kernel.Instance`,
    where read(k, index) is element `index` of input k.
    takes: for each operand (the last one for all further), what a hole reads of it in place:
    (node, view) -> whether it may be such a view of what is stored, or such a weight as is not
    folded, of what that is made of. Else the operand itself is stored.
    space: (node) -> the index of the result's element, over `vars`, that a point of the kernel's
    space computes; pointwise work then fuses into the stores. A template without one (its operator
    is "opaque") stores its results itself: `define` also gives `stores`, (output, index, value)...
    join: (parts, beside) -> an element of the result, of what each of its slices
    (`Instance.slices`) has for it, and of the `beside` numbers that each has for its row.
    once: (node) -> operands of which a kernel reads each element once, so that it can also store
    them elsewhere.
    """

    name: str
    define: Callable[..., Mapping[str, Any]]
    takes: tuple[Callable[..., bool], ...]
    space: Callable[..., tuple[Any, ...]] | None = None
    folder: Path | None = None
    beside: int = 0
    once: Callable[..., tuple[int, ...]] | None = None
    join: Callable[[Sequence[Any], Sequence[Sequence[Any]]], Any] = lambda parts, beside: sum(
        parts[1:], parts[0]
    )


CHEAP = 4  # flops of an element that is computed again wherever it is used


def any_view(node: Node, view: Value) -> bool:
    """`Template.takes` of an operand that may lie in memory in any order, with any gaps."""
    return bool(view.op.view)


def any_place(node: Node, view: Value) -> bool:
    """`Template.takes` of an operand that may lie so, or of which elements may be repeated."""
    return True


def any_weight(node: Node, view: Value) -> bool:
    """`Template.takes` of an operand that lies compactly, or is computed of weights where it is
    used, if that costs little."""
    return view.weight and view.op.flops <= CHEAP


def no_view(node: Node, view: Value) -> bool:
    """`Template.takes` of an operand that lies compactly."""
    return False


@dataclass(frozen=True, eq=False, repr=False)
class Op:
    """An operator: how its result's type follows from its inputs, and what one element is.

    The object is the operator: compare `value.op is ops.relu`. What the compiler need not know by
    name it asks for by the fields below; `name` is for printing alone.

    kind: "input", "const", "map" (each output element is an expression of input elements), "reduce"
    (a monoid over axes), "template" (a template computes it) or "opaque".
    """

    name: str
    kind: str
    infer: Callable[..., Sequence[tuple[Shape, str]]]  # (*inputs, **attrs) -> (shape, dtype)...
    # map: (node, read, idx) -> Expr, where read(k, index) is element `index` of input k
    element: Callable[..., Expr] | None = None
    numpy: Callable[..., Any] | None = None  # (*arrays, **attrs) -> array(s); None: never folded
    # map: the function of scalars that each element is of the inputs' elements at its (broadcast)
    # index; `build` is how the operator is called where that is more than making a node
    body: Callable[..., Any] | None = None
    build: Callable[..., Value] | None = None
    # The output may take up more bytes than the inputs: where it takes more than these many, it is
    # not folded, for that would cost download
    grows: int | None = None
    # map of one input that moves its elements and changes none: "order" (all of them, in the same
    # row-major order), "axes" (all, the axes in another order), "part" (some, evenly spaced)
    view: str = ""
    repeats: bool = False  # whether it has elements of its input several times, and is no view
    # views of all elements: (node, idx) -> the index within the result of element idx of the input
    forward: Callable[..., tuple[Any, ...]] | None = None
    joins: bool = False  # map: the inputs side by side along attrs["axis"], each may lie in place
    prefixes: bool = False  # reduce: the result holds what each prefix along the axis combines to
    flops: float = 0.0  # map that is not pointwise: what one element costs besides its operands
    # What becomes of an axis of which only a run finds how much exists (`passes.counted`):
    # (node) -> the inputs that are combined or chosen from: each with the axes along which, and an
    # element that changes nothing there
    combines: Callable[[Node], Sequence[tuple[int, Sequence[int], Any]]] | None = None
    # template, opaque: input -> n: along the axes shape[:n] it computes one by one (None: along all
    # that it does not combine)
    rows: Mapping[int, int | None] = field(default_factory=dict)
    template: Template | None = None  # "template", and "opaque" where a template computes it
    # template: (*inputs, **attrs) -> the same of other operators, for targets without the template
    composed: Callable[..., Value] | None = None
    # opaque: what a `kernel.Opaque` has besides the sizes of its operands. (node) -> its attributes
    kernel: Callable[..., Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        if self.body is not None:  # `help` and editors show the function
            object.__setattr__(self, "__doc__", self.body.__doc__)
            object.__setattr__(self, "__wrapped__", self.body)

    def __repr__(self) -> str:
        return self.name

    def takes(self, k: int, node: Node, view: Value) -> bool:
        """Whether the kernel reads operand k in place where it is such a view of what is stored."""
        return self.template is not None and self.template.takes[
            min(k, len(self.template.takes) - 1)
        ](node, view)

    @property
    def pointwise(self) -> bool:
        """Whether each element depends on the elements at its own (broadcast) index alone."""
        return self.body is not None

    def __call__(self, *inputs: Any, **attrs: Any) -> Value:
        """What `build` makes of the inputs; by default output 0 of the node."""
        if self.build is not None:
            return self.build(self, *inputs, **attrs)
        return self.node(inputs, attrs).outputs[0]

    def node(self, inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Node:
        """The interned node; raises what `infer` raises for inputs that do not fit.

        Attributes that `infer` has defaults for may be left out.
        """
        attrs = {**(getattr(self.infer, "__kwdefaults__", None) or {}), **attrs}
        key = (self, tuple(inputs), tuple((k, _exact(a)) for k, a in sorted(attrs.items())))
        node = _NODES.get(key)
        if node is None:
            limits.count_node()
            node = Node(self, tuple(inputs), dict(sorted(attrs.items())))
            node._types = tuple(self.infer(*inputs, **attrs))
            for shape, dtype in node._types:
                _check_shape(self, attrs.get("name"), shape, dtype)
            _NODES[key] = node
        return node


def _check_shape(op: Op, name: str | None, shape: Shape, dtype: str) -> None:
    """Raises for sizes that no tensor has: whatever the format, every value is made in `node`."""
    for d in shape:
        if isinstance(d, int) and not 0 <= d < limits.ELEMENTS:
            of = f" {name!r}" if name else ""
            found = f"{op}{of} would give {dtype}[{','.join(map(dim_text, shape))}]"
            if d < 0:
                raise ModelError(f"{found}: a size is negative")
            raise UnsupportedError(f"{found}: sizes are less than 2**31")


def _exact(a: Any) -> Any:
    """An attribute as a part of a key: -0.0 is not 0.0, and 1.0 is not 1."""
    if isinstance(a, tuple):
        return tuple(map(_exact, a))
    return (a.hex(), float) if isinstance(a, float) else a


class Node:
    """An interned application of an operator; `outputs` are its values."""

    __slots__ = ("__weakref__", "_types", "_values", "attrs", "inputs", "op")

    def __init__(self, op: Op, inputs: tuple[Value, ...], attrs: dict[str, Any]):
        self.op, self.inputs, self.attrs = op, inputs, attrs
        self._types: tuple[tuple[Shape, str], ...] = ()
        self._values: list[weakref.ref[Value] | None] = []

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(map(type_text, self.inputs))})"

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The node's values; the same objects as long as anyone holds them."""
        self._values = self._values or [None] * len(self._types)
        out = []
        for i, (shape, dtype) in enumerate(self._types):
            ref = self._values[i]
            value = ref() if ref is not None else None
            if value is None:
                value = Value(self, i, shape, dtype)
                self._values[i] = weakref.ref(value)
            out.append(value)
        return tuple(out)


_NODES: weakref.WeakValueDictionary[Any, Node] = weakref.WeakValueDictionary()


def is_open(attribute: Any) -> bool:
    """Whether an attribute depends on symbolic dimensions, as where a slice of a table begins."""
    if isinstance(attribute, tuple):
        return any(map(is_open, attribute))
    return isinstance(attribute, Expr)


class Value:
    """A tensor: output `index` of `node`.

    `weight` says that it is known before a run, being made of constants alone; `constant`, that it
    is folded too: one that is not takes up more bytes than what it is made of.
    """

    __slots__ = ("__weakref__", "constant", "dtype", "index", "node", "shape", "weight")

    def __init__(self, node: Node, index: int, shape: Shape, dtype: str):
        self.node, self.index, self.dtype = node, index, dtype
        self.shape: Shape = tuple(as_dim(d) for d in shape)
        op = node.op
        self.weight: bool = op.kind == "const" or (
            op.numpy is not None
            and all(v.weight for v in node.inputs)
            and self.static
            and not any(map(is_open, node.attrs.values()))
        )
        self.constant: bool = (
            self.weight
            and all(v.constant for v in node.inputs)
            and not (
                op.grows is not None
                and _stored_bytes(self) > max(op.grows, sum(map(_stored_bytes, node.inputs)))
            )
        )

    @property
    def op(self) -> Op:
        """The operator."""
        return self.node.op

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The inputs of the node."""
        return self.node.inputs

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of the node."""
        return self.node.attrs

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def static(self) -> bool:
        """Whether every dimension is a number."""
        return all(isinstance(d, int) for d in self.shape)

    @property
    def size(self) -> Any:
        """The number of elements (int or Expr)."""
        return product(self.shape)

    def __repr__(self) -> str:
        return f"{self.op}:{type_text(self)}"


def _stored_bytes(v: Value) -> int:
    """The bytes of a constant in the download."""
    return bytes_of(stored(v.dtype), v.size)


COUNTED_DIM = "?"  # begins the name of a dimension that only a run finds (`ops.counted`)


def dim_text(d: Dim) -> str:
    """A dimension as text: "8", "(h * 2)", and "?" for what only a run finds."""
    return re.sub(f"{re.escape(COUNTED_DIM)}[0-9.]+", COUNTED_DIM, text(d))


def type_text(v: Value) -> str:
    """A value's type as text: "f32[1,8]"."""
    return f"{v.dtype}[{','.join(map(dim_text, v.shape))}]"


def is_counted(d: Any) -> bool:
    """Whether a dimension depends on what a run finds; of a shape, whether any does."""
    if isinstance(d, (tuple, list)):
        return any(map(is_counted, d))
    return isinstance(d, Expr) and any(x.args[0].startswith(COUNTED_DIM) for x in free(d, "dim"))


# ---- leaves --------------------------------------------------------------------------------------

INPUT = Op("input", "input", lambda *, name, shape, dtype: [(shape, dtype)])
CONST = Op("const", "const", lambda *, data: [(data.shape, data.dtype)])


def placeholder(name: str, shape: Sequence[Any], dtype: str) -> Value:
    """A graph input; dimensions are numbers or expressions over `expr.dim`."""
    return INPUT(name=name, shape=tuple(as_dim(d) for d in shape), dtype=dtype)


def constant(array: Any, dtype: str | None = None, again: Callable[[], Any] | None = None) -> Value:
    """A constant from an array (or number), interned by content.

    `dtype` is one of DTYPES, and by default the array's. `again` gives the array once more when it
    is needed, so that it is not held until then. Raises TypeError for an array of another dtype.
    """
    a = np.asarray(array)
    if dtype is None:
        if a.dtype.name not in FROM_NUMPY:
            raise TypeError(f"no WebDNN dtype for numpy's {a.dtype}")
        dtype = FROM_NUMPY[a.dtype.name]
    a = a.astype(array_type(dtype), copy=False)
    raw = (
        a.tobytes()
        if a.nbytes <= 64
        else hashlib.blake2b(np.ascontiguousarray(a).data, digest_size=16).digest()
    )
    read = (lambda: a) if again is None else (lambda: np.asarray(again(), array_type(dtype)))
    return CONST(data=Data((raw, a.shape, dtype), a.shape, dtype, read))


def lazy_constant(
    key: Any, shape: tuple[int, ...], dtype: str, read: Callable[[], np.ndarray]
) -> Value:
    """A constant that `read` gives when it is needed; `key` identifies its bytes."""
    return CONST(data=Data(("lazy", key, shape, dtype), shape, dtype, read))


def evaluate(value: Value) -> np.ndarray:
    """The array of a weight, computed by numpy; raises ValueError for what is known in a run alone.

    What is computed on the way is let go as soon as its last user has been computed.
    """
    if not value.weight:
        raise ValueError(f"{value} is not constant")
    users: dict[Value, int] = {}
    order: list[Value] = []
    stack = [(value, False)]
    while stack:
        v, done = stack.pop()
        if done:
            order.append(v)
        elif v not in users:
            users[v] = 0
            stack.append((v, True))
            stack.extend((i, False) for i in reversed(v.inputs))
    for v in order:
        for i in v.inputs:
            users[i] += 1
    _count(value, order, users)
    arrays: dict[Value, np.ndarray] = {}
    for v in order:
        arrays[v] = _computed(v, arrays)
        for i in v.inputs:
            users[i] -= 1
            if not users[i]:
                del arrays[i]
    return arrays[value]


def _count(value: Value, order: Sequence[Value], users: Mapping[Value, int]) -> None:
    """Counts what the evaluation of these values, inputs first, will take (`limits.compute`)."""
    left = dict(users)
    live = most = work = 0
    stored = []
    for v in order:
        if v.op is CONST:
            data = v.attrs["data"]
            stored.append((data.key, v.size, _nbytes(v)))
            continue
        live += _nbytes(v)
        most = max(most, live)
        sizes = [i.size for i in v.inputs]
        if v.op.kind == "template" and len(sizes) > 1:  # [M, K] by [K, N]: M K N
            # Multiplied and added far faster than anything else is done to an element.
            work += math.isqrt(sizes[0] * sizes[1] * v.size) // 16
        if v.op.kind == "opaque" and len(sizes) > 1:  # each of some with each of others, at most
            work += math.prod(sorted(sizes)[-2:])
        work += limits.EACH + v.size + sum(sizes)
        for i in v.inputs:
            left[i] -= 1
            if not left[i] and i.op is not CONST:
                live -= _nbytes(i)
    if most:
        limits.compute(type_text(value), most, work, stored)


def _nbytes(v: Value) -> int:
    """The bytes of a constant's array."""
    size: int = v.size
    return size * array_type(v.dtype).itemsize


def _computed(v: Value, arrays: Mapping[Value, np.ndarray]) -> np.ndarray:
    """The array of a constant, of those of its inputs."""
    if v.op is CONST:
        array: np.ndarray = v.attrs["data"].read()
        return array
    assert v.op.numpy is not None
    with np.errstate(all="ignore"):
        out = v.op.numpy(*(arrays[i] for i in v.inputs), **v.attrs)
    out = out[v.index] if isinstance(out, tuple) else out
    shape: Any = v.shape  # integers, since v is constant
    return np.asarray(out).astype(array_type(v.dtype), copy=False).reshape(shape)


# ---- the graph -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graph:
    """Inputs, named outputs, and where the imported model's own value names lie now.

    `names` maps a name in the source model to a value of this graph that equals it (if it still
    exists); `dims` are the symbolic dimensions in the order of their declaration. An output whose
    length only a run finds has its largest shape, and in `counts` the true one, over dimensions
    that are named as the scalar outputs which hold them (`passes.counted`).

    `states` outlive a run: by name an input that is not the caller's, and the value that it has in
    the next run. All are zero at first; a run reads what it began with throughout. Their shapes are
    numbers.

    Of `wide` inputs and outputs, which are integers of 64 bits, the last axis is the two words of
    each (i32 or u32, `passes.wide`). `near` is how large integers of inputs may be, up or down;
    `alarms` are scalar outputs that no page sees, and what is wrong where one is not 0. `declared`
    are the dtypes of inputs and outputs, by name, of which a target computes another one.
    """

    inputs: tuple[Value, ...]
    outputs: dict[str, Value]
    names: dict[str, Value] = field(default_factory=dict)
    dims: tuple[Expr, ...] = ()
    name: str = "model"
    counts: dict[str, Shape] = field(default_factory=dict)
    states: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    wide: frozenset[str] = frozenset()
    near: Mapping[str, int] = field(default_factory=dict)
    alarms: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Value, ...]:
        """What a run is given: the inputs, and the states before it."""
        return (*self.inputs, *(before for before, _ in self.states.values()))

    @property
    def results(self) -> tuple[Value, ...]:
        """What a run must compute: the outputs, and the states after it."""
        return (*self.outputs.values(), *(after for _, after in self.states.values()))

    def values(self) -> list[Value]:
        """Every value that the results need, inputs before users; graph inputs first."""
        return post_order((*self.sources, *self.results), lambda v: v.inputs)

    def uses(self) -> dict[Value, list[Value]]:
        """The users of each value (a user that takes it twice is listed twice)."""
        out: dict[Value, list[Value]] = {}
        for v in self.values():
            for i in v.inputs:
                out.setdefault(i, []).append(v)
        return out

    def __str__(self) -> str:
        ids: dict[Value, str] = {v: v.attrs["name"] for v in self.sources}
        ids |= {v: k for k, v in self.outputs.items() if v not in ids}
        ids |= {v: f"{k}'" for k, (_, v) in self.states.items() if v not in ids}
        names: dict[Op, str] = {}  # two operators of one name: mish and mish#2
        whole = set[str]()  # regions, which stand there once
        known = Counter[str]()
        lines: list[str] = []
        for v in self.values():
            ids.setdefault(v, f"%{len(lines)}")
            if v.op not in names:
                known[v.op.name] += 1
                number = known[v.op.name]
                names[v.op] = v.op.name if number == 1 else f"{v.op.name}#{number}"
            shown = {
                k: a
                for k, a in v.attrs.items()
                if k not in ("name", "shape", "dtype") or v.op is not INPUT
            }
            texts = {k: _attr(a) for k, a in shown.items()}
            again = {k: "(as above)" for k, t in texts.items() if t in whole}
            whole |= {t for t in texts.values() if "\n" in t}
            parts = [ids[i] for i in v.inputs] + [f"{k}={t}" for k, t in (texts | again).items()]
            lines.append(f"{ids[v]}: {type_text(v)} = {names[v.op]}({', '.join(parts)})")
        return "\n".join(lines)


def _attr(a: Any) -> str:
    return "(" + ",".join(map(_attr, a)) + ")" if isinstance(a, tuple) else str(a)


Rule = Callable[[Value, Mapping[Value, int]], "Value | None"]


def rewrite(
    graph: Graph,
    rules: Sequence[Rule],
    hits: dict[str, int] | None = None,
    origin: dict[Value, Value] | None = None,
) -> Graph:
    """Apply the rules everywhere, bottom-up, until none fires; linear in the values visited.

    A rule takes a value whose inputs are already rewritten, and the number of uses of each value;
    it returns an equal value of the same type, or None. What it returns is visited in turn, so a
    rule must make progress; the value itself may not be a part of it. Constants are leaves: they
    are not rewritten. `hits` counts the rules that fired, by name. `origin` is told which value of
    `graph` each rebuilt value stands for, so that rules may look up what they noted of the graph
    beforehand.
    """
    uses: dict[Value, int] = {}
    for v in graph.values():
        for i in v.inputs:
            uses[i] = uses.get(i, 0) + 1
    for v in graph.results:
        uses[v] = uses.get(v, 0) + 1
    memo: dict[Value, Value] = {}
    fired: dict[str, int] = {} if hits is None else hits
    limit = 1000 + 50 * len(uses)

    def run(root: Value) -> Value:
        stack: list[tuple[Value, Value | None]] = [(root, None)]
        while stack:
            v, becomes = stack.pop()
            if v in memo:
                continue
            if becomes is not None:
                memo[v] = memo[becomes]
                continue
            if v.constant:
                memo[v] = v
                continue
            missing = [i for i in v.inputs if i not in memo]
            if missing:
                stack.append((v, None))
                stack.extend((i, None) for i in reversed(missing))
                continue
            inputs = tuple(memo[i] for i in v.inputs)
            new = v
            if inputs != v.inputs:
                new = v.op.node(inputs, v.attrs).outputs[v.index]
                uses[new] = uses.get(new, 0) + uses.get(v, 1)
                if origin is not None:
                    origin[new] = v
                if new in memo or new.constant:
                    memo[v] = memo.setdefault(new, new)
                    continue
            for rule in rules:
                found = rule(new, uses)
                if found is not None and found is not new:
                    if found.shape != new.shape or found.dtype != new.dtype:
                        raise AssertionError(f"{rule.__name__}: {new} became {found}")
                    fired[rule.__name__] = fired.get(rule.__name__, 0) + 1
                    if fired[rule.__name__] > limit:
                        raise AssertionError(f"{rule.__name__} fires without end, now at {new}")
                    uses[found] = uses.get(found, 0) + uses.get(new, 1)
                    stack.append((v, found))
                    stack.append((found, None))
                    break
            else:
                memo[v] = new
                memo.setdefault(new, new)
        return memo[root]

    inputs = tuple(run(v) for v in graph.inputs)
    outputs = {k: run(v) for k, v in graph.outputs.items()}
    states = {k: (run(before), run(after)) for k, (before, after) in graph.states.items()}
    result = replace(graph, inputs=inputs, outputs=outputs, names={}, states=states)
    live = set(result.values())

    def remains(v: Value, among: Container[Value]) -> bool:
        while v not in among and v.op.forward is not None:
            (v,) = v.inputs
        return v in among

    # A name survives if it is computed, or is a view of what is computed (a change of layout).
    named = {k: run(v) for k, v in graph.names.items() if remains(v, memo)}
    return replace(result, names={k: v for k, v in named.items() if remains(v, live)})


def verify(graph: Graph) -> None:
    """Raise AssertionError if a value contradicts its operator's inference or leaves the graph."""
    inputs = set(graph.sources)
    for name, (before, after) in graph.states.items():
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise AssertionError(f"state {name!r}: {before} before a run, {after} after it")
    for v in graph.values():
        if v.op is INPUT and v not in inputs:
            raise AssertionError(f"{v} is used but is not an input of the graph")
        again = v.op.infer(*v.inputs, **v.attrs)[v.index]
        if (tuple(as_dim(d) for d in again[0]), again[1]) != (v.shape, v.dtype):
            raise AssertionError(f"{v}: inference now says {again}")


def lengths(counts: Mapping[str, Shape], dims: Iterable[Expr]) -> set[str]:
    """The outputs that only say how long others are: counts' dimensions which are not the model's.

    counts: the true shapes of outputs whose length a run finds. dims: the symbolic dimensions.
    """
    return {str(d.args[0]) for d in dims_of(counts.values())} - {str(d.args[0]) for d in dims}


def dims_of(shapes: Iterable[Shape]) -> list[Expr]:
    """The symbolic dimensions that occur in shapes, in order of first occurrence."""
    out: list[Expr] = []
    for shape in shapes:
        for d in shape:
            for s in sorted(free(d, "dim"), key=text):
                if s not in out:
                    out.append(s)
    return out


__all__ = [
    "CONST",
    "COUNTED_DIM",
    "DTYPES",
    "FEW_BITS",
    "FLOATS",
    "FROM_NUMPY",
    "INPUT",
    "SHORT_FLOATS",
    "Data",
    "Graph",
    "Node",
    "Op",
    "Rule",
    "Shape",
    "Template",
    "Value",
    "any_place",
    "any_view",
    "any_weight",
    "array_type",
    "computed",
    "constant",
    "dim_text",
    "dims_of",
    "evaluate",
    "is_counted",
    "lazy_constant",
    "lengths",
    "no_view",
    "placeholder",
    "rewrite",
    "scalar_dtype",
    "stored",
    "type_text",
    "verify",
]
