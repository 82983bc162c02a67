"""What else a framework makes of the same inputs: how far a reference is from itself.

>>> read = with_onnxruntime(onnxruntime, proto)  # doctest: +SKIP
>>> read({"x": x}, {"y": y}).name  # doctest: +SKIP
'onnxruntime in float64'

A reference rounds, too: it fuses quantised layers, lets sums of 8-bit products saturate, takes a
Fourier transform in float32, computes in 16 bits. `webdnn check` asks for these readings only where
page and reference differ by more than float32 explains. One of them decides:

* of an ONNX model that rounds activations to steps, its operators as they stand, without
  onnxruntime's optimisations and with exact integer products;
* of others, the model in float64. The graph is rewritten so that each node with a float64 kernel
  runs in it (`in_double`); where kernels lack and the model is quick, by onnx.reference;
* of PyTorch, and of Keras on it, the module itself with every tensor widened to float64.

What it is off by when inputs and constants change in their last bits (`moved`) is what another
order of float32 sums may do as well: of steps, a value nearly halfway may fall to either side.

Limits: onnxruntime has no float64 kernels for convolutions; Caffe, Chainer and other backends of
Keras have no further readings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ..frontend.onnx.nodes import ordered, reads

Array = NDArray[Any]
Arrays = Mapping[str, Array]

QUICK = 0.02  # seconds of a run in onnxruntime up to which onnx.reference is fast enough
LAST_BITS = 2e-6  # what a float32 computation of some depth is off by
ROUNDED = {"float16": 2**-11, "bfloat16": 2**-8}  # what a single rounding is off by
# Runs with moved inputs: at least and at most, and the seconds after which no more are begun.
FEWEST, MOST, SECONDS = 4, 32, 1.0


@dataclass(frozen=True)
class Readings:
    """Outputs of the same inputs, by name, of several readings of a model.

    `decides` are those of the reading `name`. `others` are those of the reference itself and of
    what else there is, by what they are; `moved` are those with inputs and constants changed by
    `LAST_BITS`, or by a rounding to 16 bits where outputs are `narrow`: computed in float16 or
    bfloat16. `rounds`: activations are rounded to steps, whose distances are `steps`. `remark` says
    why there is no reading in float64.
    """

    name: str
    decides: Arrays
    others: Mapping[str, Arrays]
    moved: Sequence[Arrays] = ()
    rounds: bool = False
    narrow: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""
    steps: Mapping[str, Array] = field(default_factory=dict)


def in_float64(framework: str, wide: Arrays, usual: Arrays, kinds: Iterable[str]) -> Readings:
    """The readings of a framework: its outputs in float64, as they usually are, and the types in
    which its layers compute."""
    coarsest = next((kind for kind in ("bfloat16", "float16") if kind in {*kinds}), None)
    narrow = dict.fromkeys(wide, coarsest) if coarsest else {}
    return Readings(f"{framework} in float64", wide, {framework: usual}, narrow=narrow)


# ---- onnxruntime ---------------------------------------------------------------------------------

NARROW = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
_FLOATS = {"tensor(float)", "tensor(float16)", "tensor(bfloat16)"}
# Operators whose result jumps where their input moves by its last bits.
_ROUNDING = {"QuantizeLinear", "DynamicQuantizeLinear", "Round", "Floor", "Ceil"}
# Those through which a change of a constant's last bits is no more than that.
_SMOOTH = {
    "Add", "Sub", "Mul", "MatMul", "Gemm", "Conv", "ConvTranspose", "QuantizeLinear",
    "DequantizeLinear", "LayerNormalization", "BatchNormalization", "InstanceNormalization",
}  # fmt: skip


def rounds(proto: onnx.ModelProto) -> bool:
    """Whether the model rounds activations to steps: it is quantised."""
    return any(
        n.op_type in _ROUNDING
        or n.op_type.startswith(("QLinear", "Dynamic"))
        or n.op_type.endswith("Integer")
        for n in _every_node(proto)
    )


def _every_node(proto: onnx.ModelProto) -> Iterator[Any]:
    rest = [*proto.graph.node, *(n for f in proto.functions for n in f.node)]
    while rest:
        node = rest.pop()
        yield node
        for a in node.attribute:
            rest += [n for g in (a.g, *a.graphs) for n in g.node]


def with_onnxruntime(
    runtime: Any, proto: onnx.ModelProto, inner: bool = False
) -> Callable[[Arrays, Arrays], Readings]:
    """A function of inputs, and of what onnxruntime made of them, that gives the readings.

    `proto` holds its weights. With `inner`, every value of its nodes is an output, too. Raises what
    onnxruntime raises where it cannot run the model.
    """
    from onnx.inliner import inline_local_functions

    if proto.functions:
        proto = inline_local_functions(proto)
    proto = _sorted(proto)
    quantised = rounds(proto)
    spaced = _spaced(proto)
    if inner:
        proto = with_inner(proto)
    exactly = ""
    if any(node.op_type in _PRODUCTS for node in proto.graph.node):
        proto, exactly = _exact_products(proto), ", with exact integer products"
    if any(node.op_type == "DynamicQuantizeLSTM" for node in proto.graph.node):
        proto, exactly = _exact_states(proto), f"{exactly}, with LSTMs whose states are not rounded"
    plain = _session(runtime, proto)
    outputs = [o.name for o in proto.graph.output]
    types = _types(runtime, proto)
    narrow = _narrow(proto, types)

    def read(arrays: Arrays, usual: Arrays) -> Readings:
        begin = time.monotonic()
        decides = _run(plain, outputs, arrays)
        quick = time.monotonic() - begin < QUICK
        name, remark = f"onnxruntime without its optimisations{exactly}", ""
        others: dict[str, Arrays] = {"onnxruntime": usual}
        if not quantised:
            double, kind, remark = _in_double(runtime, proto, types, outputs, arrays, quick)
            if double is not None:
                others[name] = decides
                decides, name = double, kind
        rng = np.random.default_rng(0)
        by = max((ROUNDED[kind] for kind in narrow.values()), default=LAST_BITS)
        sessions = [plain]
        if quantised or narrow:  # what is inside must move, too: a model may round its inputs first
            count = 8 if quick else 2
            sessions = [_session(runtime, _moved(proto, rng, by)) for _ in range(count)]
        moved: list[Arrays] = []
        begin = time.monotonic()
        for k in range(FEWEST if inner else MOST):
            if k >= FEWEST and time.monotonic() - begin > SECONDS:
                break
            near = {k: _near(v, rng, by) for k, v in arrays.items()}
            with suppress(Exception):  # of another shape, say: it is no sample
                moved.append(_run(sessions[k % len(sessions)], outputs, near))
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
        steps = {
            value: step
            for value, spacing in spaced.items()
            if (step := spacing({**arrays, **constants, **decides})) is not None
        }
        return Readings(name, decides, others, moved, quantised, narrow, remark, steps)

    return read


def with_onnx(proto: onnx.ModelProto) -> Callable[[Arrays, Arrays], Readings]:
    """As `with_onnxruntime`, where that lacks kernels: by onnx.reference in float64 alone."""
    from onnx.inliner import inline_local_functions

    if proto.functions:
        proto = inline_local_functions(proto)
    proto = _sorted(proto)
    known = onnx.shape_inference.infer_shapes(proto).graph
    types = {
        v.name: _type_text(v.type.tensor_type.elem_type)
        for v in (*known.input, *known.value_info, *known.output)
    }
    types |= {t.name: _type_text(t.data_type) for t in proto.graph.initializer}
    whole, _ = in_double(proto, types, None)

    def read(arrays: Arrays, usual: Arrays) -> Readings:
        decides = dict(zip(usual, _evaluated(whole, arrays), strict=True))
        narrow = _narrow(proto, types)
        return Readings(
            "onnx.reference in float64", decides, {"onnx.reference": usual}, narrow=narrow
        )

    return read


def _exact_states(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with LSTMs of quantised weights that keep their inputs and states in float32:
    onnxruntime rounds those to 8 bits, in each step anew. Weights that are computed stay so."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    del out.graph.node[:]
    ranks = {t.name: len(t.dims) for t in proto.graph.initializer}
    for node in proto.graph.node:
        known = [*node.input[1:3], *node.input[8:12]]
        if node.op_type != "DynamicQuantizeLSTM" or any(i not in ranks for i in known):
            out.graph.node.append(node)
            continue

        def add(operator: str, inputs: Sequence[str], suffix: str, **attributes: Any) -> str:
            made = f"{node.output[0] or node.output[1]}/{suffix}"  # noqa: B023
            out.graph.node.append(helper.make_node(operator, inputs, [made], **attributes))
            return made

        wide = []
        for k, (weight, scale, zero) in enumerate(zip(known[:2], known[2::2], known[3::2])):
            axes = add("Constant", [], f"axes{k}", value_ints=[1, 2][: 3 - ranks[scale]])
            factor, offset = (
                add("Unsqueeze", [add("Cast", [i], f"{kind}{k}", to=1), axes], f"{kind}s{k}")
                for i, kind in ((scale, "scale"), (zero, "zero"))
            )
            whole = add("Sub", [add("Cast", [weight], f"weight{k}", to=1), offset], f"whole{k}")
            whole = add("Mul", [whole, factor], f"real{k}")
            wide.append(add("Transpose", [whole], f"turned{k}", perm=[0, 2, 1]))
        lstm = out.graph.node.add()
        lstm.CopyFrom(node)
        lstm.op_type, lstm.domain = "LSTM", ""
        lstm.input[:] = [node.input[0], *wide, *node.input[3:8]]
    return out


def _exact_products(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with products of 8-bit integers computed in float64: on processors without
    instructions for them onnxruntime's saturate at 16 bits."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    del out.graph.node[:]
    for node in proto.graph.node:
        if node.op_type not in _PRODUCTS:
            out.graph.node.append(node)
            continue
        name = node.output[0]

        def add(operator: str, inputs: Sequence[str], suffix: str, **attributes: Any) -> str:
            made = f"{name}/{suffix}"  # noqa: B023
            out.graph.node.append(helper.make_node(operator, inputs, [made], **attributes))
            return made

        names = [*node.input, "", "", "", ""]
        a, b, az, bz = (names[k] for k in _PRODUCTS[node.op_type])
        factors = []
        for factor, zero, side in ((a, az, "a"), (b, bz, "b")):
            wide = add("Cast", [factor], side, to=onnx.TensorProto.DOUBLE)
            if zero:
                zero = add("Cast", [zero], f"{side}/zero", to=onnx.TensorProto.DOUBLE)
                wide = add("Sub", [wide, zero], f"{side}/centred")
            factors.append(wide)
        product = add("MatMul", factors, "product")
        if node.op_type == "MatMulInteger":
            out.graph.node.append(
                helper.make_node("Cast", [product], [name], to=onnx.TensorProto.INT32)
            )
            continue
        _, a_scale, _, _, b_scale, _, scale, zero = node.input
        for k, by in enumerate((a_scale, b_scale)):
            by = add("Cast", [by], f"scale/{k}", to=onnx.TensorProto.DOUBLE)
            product = add("Mul", [product, by], f"scaled/{k}")
        product = add("Cast", [product], "float", to=onnx.TensorProto.FLOAT)
        out.graph.node.append(helper.make_node("QuantizeLinear", [product, scale, zero], [name]))
    return out


# Where the factors and their zero points stand among the inputs.
_PRODUCTS = {"MatMulInteger": (0, 1, 2, 3), "QLinearMatMul": (0, 3, 2, 5)}


def _sorted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes that its outputs need, each behind those that it reads."""
    graph = proto.graph
    given = {entry.name for entry in (*graph.input, *graph.initializer)}
    given |= {t.values.name for t in graph.sparse_initializer}
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    del out.graph.node[:]
    out.graph.node.extend(ordered(graph.node, given, [o.name for o in graph.output]))
    return out


def _session(runtime: Any, proto: onnx.ModelProto) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(session: Any, outputs: Sequence[str], arrays: Arrays) -> dict[str, Array]:
    taken = {entry.name for entry in session.get_inputs()}
    found = session.run(list(outputs), {k: v for k, v in arrays.items() if k in taken})
    return dict(zip(outputs, found, strict=True))


def _evaluated(proto: onnx.ModelProto, arrays: Arrays) -> list[Array]:
    """The model's outputs by onnx.reference."""
    from onnx.reference import ReferenceEvaluator

    taken = {i.name for i in proto.graph.input}
    found: Any = ReferenceEvaluator(proto).run(
        [o.name for o in proto.graph.output], {k: v for k, v in arrays.items() if k in taken}
    )
    return list(found)


def with_inner(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every value that its nodes compute as an output."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    known = {entry.name for entry in out.graph.output}
    for node in out.graph.node:
        for name in node.output:
            if name and name not in known:
                out.graph.output.append(onnx.ValueInfoProto(name=name))
    return out


Spacing = Callable[[Arrays], "Array | None"]  # of every value by name


def _spaced(proto: onnx.ModelProto) -> dict[str, Spacing]:
    """The values that are rounded to steps, and a function that gives their distance.

    That is an array which broadcasts to the value: 1 for integers, the scale behind them.
    """
    found: dict[str, Spacing] = {}
    rounded = set()
    for node in proto.graph.node:
        attributes = {a.name: a.i for a in node.attribute}
        if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear"):
            rounded.add(node.output[0])
            found[node.output[0]] = lambda values: np.ones(())
            continue
        whole = not attributes.get("block_size")
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded and whole:
            axis = attributes.get("axis", 1)
            found[node.output[0]] = _scale(node.input[1], node.input[0], axis)
    return found


def _scale(scale: str, of: str, axis: int) -> Spacing:
    def spacing(values: Arrays) -> Array | None:
        step, array = values.get(scale), values.get(of)
        if step is None or step.ndim == 0 or array is None:
            return step
        shape = [1] * array.ndim
        shape[axis] = -1
        return step.reshape(shape)

    return spacing


def _types(runtime: Any, proto: onnx.ModelProto) -> dict[str, str]:
    """The type of every value of the graph, as onnxruntime infers it: "tensor(float)"."""
    session = _session(runtime, with_inner(proto))
    types = {e.name: e.type for e in (*session.get_inputs(), *session.get_outputs())}
    for tensor in proto.graph.initializer:
        types[tensor.name] = _type_text(tensor.data_type)
    return types


def _type_text(code: int) -> str:
    name = onnx.TensorProto.DataType.Name(code).lower()
    return f"tensor({name})"


def _narrow(proto: onnx.ModelProto, types: Mapping[str, str]) -> dict[str, str]:
    """The outputs that values of 16 bits, computed of the inputs, lead to, and which they are."""
    given = {tensor.name for tensor in proto.graph.initializer}
    found: dict[str, str | None] = {
        i.name: None for i in proto.graph.input if i.name not in given
    }  # what depends on the inputs, and in which arithmetic
    for node in proto.graph.node:  # producers come first
        before = [found[name] for name in reads(node) if name in found]
        if not before:
            continue
        coarsest = max((b for b in before if b), key=_coarse, default=None)
        for name in node.output:
            own = types.get(name, "")[7:-1]
            both = [c for c in (coarsest, own if own in NARROW.values() else None) if c]
            found[name] = max(both, key=_coarse, default=None)
    return {o.name: kind for o in proto.graph.output if (kind := found.get(o.name))}


def _coarse(kind: str) -> bool:
    return kind == "bfloat16"


def _near(array: Array, rng: np.random.Generator, by: float) -> Array:
    """Floats changed by at most a part of themselves. Whole numbers stay: 1 - mask must be 0."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.asarray(array * (1 + by * rng.uniform(-1, 1, array.shape)), array.dtype)
    return np.where(np.isfinite(near) & (array != np.round(array)), near, array)


def _moved(proto: onnx.ModelProto, rng: np.random.Generator, by: float) -> onnx.ModelProto:
    """The model with its small float constants changed in their last bits."""
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    users: dict[str, list[str]] = {}
    for node in out.graph.node:
        for name in reads(node):
            users.setdefault(name, []).append(node.op_type)
    tensors = {t.name: t for t in out.graph.initializer}
    for node in out.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    for name, tensor in tensors.items():
        floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
        small = tensor.data_type in floats and np.prod(tensor.dims) <= 65536
        if small and {*users.get(name, ())} <= _SMOOTH:
            array = _near(onnx.numpy_helper.to_array(tensor), rng, by)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return out


def _in_double(
    runtime: Any,
    proto: onnx.ModelProto,
    types: Mapping[str, str],
    outputs: Sequence[str],
    arrays: Arrays,
    quick: bool,
) -> tuple[dict[str, Array] | None, str, str]:
    """The outputs in float64, what computed them, and why there are none."""
    kernels = _double_kernels()
    wide, lacking = in_double(proto, types, kernels)
    failure = ""
    if quick and lacking:
        try:
            whole, _ = in_double(proto, types, None)
            found = _evaluated(whole, arrays)
            return dict(zip(outputs, found, strict=True)), "onnx.reference in float64", ""
        except Exception as error:  # an operator that it lacks
            failure = f"onnx.reference: {error}"
    try:
        names = [o.name for o in wide.graph.output]
        found = [*_run(_session(runtime, wide), names, arrays).values()]
    except Exception as error:  # undocumented types, which change
        failure = failure or f"onnxruntime: {error}"
        return None, "", f"not computed in float64 ({failure.splitlines()[0][:200]})"
    but = f" ({', '.join(sorted(lacking))} in float32)" if lacking else ""
    return dict(zip(outputs, found, strict=True)), f"onnxruntime in float64{but}", ""


Kernels = Mapping[tuple[str, str], Sequence[tuple[int, int, Mapping[str, Sequence[str]]]]]


def _double_kernels() -> Kernels:
    """onnxruntime's kernels on the processor: (domain, operator) -> versions and types by name."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found: dict[tuple[str, str], list[tuple[int, int, Mapping[str, Sequence[str]]]]] = {}
    for k in getattr(state, "get_all_opkernel_def", list)():
        if k.provider == "CPUExecutionProvider":
            low, high = k.version_range
            found.setdefault((k.domain, k.op_name), []).append((low, high, k.type_constraints))
    return found


def in_double(
    proto: onnx.ModelProto, types: Mapping[str, str], kernels: Kernels | None
) -> tuple[onnx.ModelProto, set[str]]:
    """The model in float64 where there are kernels, and the operators that lack them.

    Inputs and initialisers stay as they are; a value `x` that is computed in float64 is `x/f64`,
    one of 16 bits that an operator without such a kernel computes is `x/f32`, and casts stand where
    a node takes another. `kernels` None: whatever ONNX's schemas allow. The outputs keep their
    order, not their names.
    """
    return _Doubling(proto, types, kernels).run()


class _Doubling:
    """One use of `in_double`: the nodes that are written, and the versions that values have."""

    def __init__(self, proto: onnx.ModelProto, types: Mapping[str, str], kernels: Kernels | None):
        self.proto, self.types, self.kernels = proto, types, kernels
        self.opsets = {o.domain.removeprefix("ai.onnx"): o.version for o in proto.opset_import}
        self.nodes: list[Any] = []
        self.has: dict[str, set[str]] = {}  # of a float: "", "/f32", "/f64", as it is computed
        self.lacking: set[str] = set()

    def run(self) -> tuple[onnx.ModelProto, set[str]]:
        """The model, and the operators that lack kernels."""
        for name in (*(i.name for i in self.proto.graph.input),
                     *(t.name for t in self.proto.graph.initializer)):  # fmt: skip
            self.has[name] = {""}
        for node in self.proto.graph.node:
            self.node(node)
        out = onnx.ModelProto()
        out.CopyFrom(self.proto)
        del out.graph.value_info[:]
        del out.graph.output[:]
        for o in self.proto.graph.output:
            wide = self.version(o.name, "/f64") if self.is_float(o.name) else o.name
            # What is a graph's output must be computed in it: an input may be one.
            self.nodes.append(helper.make_node("Identity", [wide], [f"{o.name}/out"]))
            out.graph.output.append(onnx.ValueInfoProto(name=f"{o.name}/out"))
        del out.graph.node[:]
        out.graph.node.extend(self.nodes)
        return out, self.lacking

    def is_float(self, name: str) -> bool:
        """Whether a value is a float of 16 or 32 bits."""
        return self.types.get(name) in _FLOATS

    def version(self, name: str, kind: str) -> str:
        """The name of a value in float64 ("/f64"), float32 ("/f32") or as it was ("")."""
        has = self.has.setdefault(name, {""})
        if kind == "/f32" and self.types[name] == "tensor(float)":
            kind = ""
        if kind not in has:
            best = next(k for k in ("/f64", "/f32", "") if k in has)
            to = {"/f64": onnx.TensorProto.DOUBLE, "/f32": onnx.TensorProto.FLOAT}.get(kind)
            if to is None:
                to = onnx.TensorProto.DataType.Value(self.types[name][7:-1].upper())
            self.nodes.append(helper.make_node("Cast", [name + best], [name + kind], to=to))
            has.add(kind)
        return name + kind

    def node(self, node: Any) -> None:
        """Writes a node in the widest type that it has a kernel for."""
        if any(
            a.HasField("g") or a.graphs for a in node.attribute
        ):  # its graphs take what they capture as it was
            for name in {*reads(node)} - {*node.input}:
                if self.is_float(name) and name in self.has:
                    self.version(name, "")
            self.write(node, {}, "")
            return
        to = next((a.i for a in node.attribute if a.name == "to"), 0)
        if node.op_type == "Cast" and _type_text(to) in _FLOATS:
            x = node.input[0]
            wide = self.version(x, "/f64") if self.is_float(x) else x
            self.nodes.append(
                helper.make_node(
                    "Cast", [wide], [f"{node.output[0]}/f64"], to=onnx.TensorProto.DOUBLE
                )
            )
            self.has[node.output[0]] = {"/f64"}
            return
        kinds = self.wide_inputs(node)
        if kinds:
            self.write(node, kinds, "/f64")
            return
        floats = [n for n in (*node.input, *node.output) if n and self.is_float(n)]
        if any(self.is_float(n) for n in node.input if n) and node.op_type not in _ROUNDING:
            self.lacking.add(node.op_type)
        half = any(self.types[n] != "tensor(float)" for n in floats)
        self.write(node, dict.fromkeys(range(len(node.input)), "/f32"), "/f32" if half else "")

    def write(self, node: Any, kinds: Mapping[int, str], out: str) -> None:
        """Writes a node with these versions of its inputs by place, and of its outputs."""
        written = onnx.NodeProto()
        written.CopyFrom(node)
        for k, name in enumerate(node.input):
            if name and self.is_float(name):
                written.input[k] = self.version(name, kinds.get(k, ""))
        for k, name in enumerate(node.output):
            if name and self.is_float(name):
                kind = "" if out == "/f32" and self.types[name] == "tensor(float)" else out
                written.output[k] = name + kind
                self.has[name] = {kind}
        self.nodes.append(written)

    def wide_inputs(self, node: Any) -> dict[int, str]:
        """The version of each float input if the node runs in float64; none if it cannot."""
        domain = node.domain.removeprefix("ai.onnx")
        version = self.opsets.get(domain, 1)
        try:
            schema = onnx.defs.get_schema(node.op_type, version, domain)
        except onnx.defs.SchemaError:
            return {}
        formal = _formals(schema.inputs, node.input)
        letters = {formal[k] for k, n in enumerate(node.input) if n and self.is_float(n)}
        allowed = {
            c.type_param_str for c in schema.type_constraints
            if "tensor(double)" in c.allowed_type_strs
        }  # fmt: skip
        wide = letters & allowed
        made = {
            letter
            for letter, name in zip(_formals(schema.outputs, node.output), node.output)
            if name and self.is_float(name)
        }
        if not wide or not made <= wide or not self.kernel(domain, node.op_type, version, wide):
            return {}
        return {k: "/f64" if formal[k] in wide else "/f32" for k in range(len(node.input))}

    def kernel(self, domain: str, operator: str, version: int, letters: Iterable[str]) -> bool:
        """Whether there is a kernel in which these types are float64."""
        if self.kernels is None:
            return True
        return any(
            low <= version <= high
            and all("tensor(double)" in constraints.get(letter, ()) for letter in letters)
            for low, high, constraints in self.kernels.get((domain, operator), ())
        )


def _formals(formal: Sequence[Any], names: Sequence[str]) -> list[str]:
    """The type's name of each input or output; the last may stand for many."""
    return [formal[min(k, len(formal) - 1)].type_str for k in range(len(names)) if formal]


__all__ = [
    "Readings",
    "in_double",
    "in_float64",
    "rounds",
    "with_inner",
    "with_onnx",
    "with_onnxruntime",
]
