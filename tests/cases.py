"""THE table of operator cases: what the transpiler takes, each as a small model with inputs.

    row("conv_dilated", "Conv", X(1, 5, 9, 11), W(7, 5, 3, 3), W(7), dilations=[2, 2])

    @case
    def gelu_spelled_out(n):
        x = n.x(2, 7, 13)
        return n.Mul(n.Mul(x, n.Add(n.Erf(n.Div(x, f32(1.41421356))), f32(1))), f32(0.5))

A row is one operator: X is an input drawn at random, W a constant drawn at random, an array is a
constant, `given(array)` an input with those elements, None an omitted input; the rest are
attributes. A case is a function over a `Net`, whose methods are ONNX's operators. Inputs depend on
the case's name alone, so a failure repeats. Sizes are odd on purpose: kernels go wrong at the last
1, 3 or 7 of something.

The oracle is onnxruntime; onnx.reference where onnxruntime lacks the operator or is known to differ
(`oracle="reference"`), or onnxruntime of another body over the same operands (`oracle=body`) where
only its builds for GPUs have an operator. A result is right when it differs by no more than `tol`
times the largest magnitude of the expected output; with `special` (NaN, infinities, extremes) each
element by itself. On WebGPU a special element may be anything where the expected one is not finite:
WGSL promises nothing there.

`dims` makes dimensions symbolic; `sizes` are the bindings that are run. Cases share nothing, so
that many of them can be one program: `merged` makes one graph of many.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from webdnn.frontend import load
from webdnn.graph import Graph
from webdnn.passes import counted

Array = Any
DEFAULT_OPSET = 17


@dataclass(frozen=True)
class Spec:
    """A tensor to draw: shape (names are symbolic), range, dtype; or its elements. `constant`: an
    initialiser.
    """

    shape: tuple[int | str, ...]
    lo: float = -2.0
    hi: float = 2.0
    dtype: str = "float32"
    constant: bool = False
    values: Array = None

    def draw(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> Array:
        if self.values is not None:
            return self.values
        shape = [sizes[d] if isinstance(d, str) else d for d in self.shape]
        if self.dtype == "bool":
            return rng.integers(0, 2, shape).astype(bool)
        if "int" in self.dtype:
            return rng.integers(int(self.lo), int(self.hi), shape, endpoint=True).astype(self.dtype)
        return np.asarray(rng.random(shape) * (self.hi - self.lo) + self.lo, self.dtype)


def X(*shape: int | str, lo: float = -2.0, hi: float = 2.0, dtype: str = "float32") -> Spec:
    """An input."""
    return Spec(shape, lo, hi, dtype)


def W(*shape: int, lo: float = -1.0, hi: float = 1.0, dtype: str = "float32") -> Spec:
    """A constant."""
    return Spec(shape, lo, hi, dtype, constant=True)


def given(values: Array, dtype: str | None = None) -> Spec:
    """An input with these elements."""
    a = np.asarray(values, dtype)
    return Spec(a.shape, dtype=str(a.dtype), values=a)


def f32(*values: Any) -> Array:
    """A constant of float32: a scalar, or the array of its arguments."""
    return np.array(values[0] if len(values) == 1 else values, np.float32)


def i64(*values: int) -> Array:
    """A constant vector of int64, as shapes and axes are."""
    return np.array(values, np.int64)


@dataclass
class Case:
    """One row of the table, not yet built."""

    name: str
    body: Callable[[Net], Any]
    opset: int = DEFAULT_OPSET
    tol: float = 2e-5
    special: bool = False
    dims: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sizes: Sequence[Mapping[str, int]] = ({},)
    oracle: str | Callable[[Net], Any] = "onnxruntime"
    skip: Mapping[str, str] = field(default_factory=dict)  # target -> why
    declares: Sequence[Sequence[int]] = ()  # the shapes that the model declares of its outputs
    answers: dict[int, dict[str, Array]] = field(default_factory=dict, repr=False)

    def build(self) -> Net:
        """The model and its inputs."""
        net = Net(self)
        out = self.body(net)
        net.outputs = list(out) if isinstance(out, (tuple, list)) else [out]
        return net

    def feeds(self, net: Net, k: int) -> dict[str, Array]:
        """Inputs for the k-th binding of the dimensions."""
        sizes = self.sizes[k % len(self.sizes)]
        return {name: spec.draw(np.random.default_rng([zlib.crc32(name.encode()), k]), sizes)
                for name, spec in net.inputs.items()}

    def expected(self, k: int) -> dict[str, Array]:
        """The oracle's outputs by name for the k-th binding, computed once a process."""
        if k not in self.answers:
            net = self.build()
            model = net.model()
            if callable(self.oracle):
                model = replace(self, body=self.oracle).build().model()
            outputs = self.oracle_outputs(model, self.feeds(net, k))
            self.answers[k] = dict(zip(net.output_names(), map(np.asarray, outputs), strict=True))
        return self.answers[k]

    def oracle_outputs(self, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
        """What another implementation computes of the model, in the order of its outputs."""
        if self.oracle == "reference":
            from onnx.reference import ReferenceEvaluator

            return ReferenceEvaluator(model).run(None, dict(feeds))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
            ["CPUExecutionProvider"])  # fmt: skip
        return session.run(None, dict(feeds))

    def problem(self, got: Array, wanted: Array, tol: float | None = None,
        finite_only: bool = False) -> str:
        """What is wrong with a result, or nothing."""
        tol = self.tol if tol is None else tol
        if got.shape != wanted.shape or got.dtype != wanted.dtype:
            kinds = [f"{a.dtype}{list(a.shape)}" for a in (got, wanted)]
            return f"{kinds[0]} found, {kinds[1]} expected"
        if not wanted.size:
            return ""
        if wanted.dtype.kind != "f":
            wrong = got != wanted
            return _worst(got, wanted, wrong, wrong) if wrong.any() else ""
        a, b = got.astype(np.float64), wanted.astype(np.float64)
        finite = np.isfinite(b)
        with np.errstate(all="ignore"):
            largest = np.abs(b[finite]).max(initial=0.0)
            scale = np.abs(b) + 0.1 if self.special else np.full(b.shape, max(largest, 1e-3))
            allowed = tol * scale
            wrong = ~(np.abs(a - b) <= allowed)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        wrong = np.where(finite, wrong, False if finite_only else ~same)
        if not wrong.any():
            return ""
        with np.errstate(all="ignore"):
            distance = np.where(wrong, np.where(np.isfinite(a - b), np.abs(a - b), np.inf), -1)
        return f"{_worst(got, wanted, wrong, distance)} (largest magnitude {largest:.3g})"


def _worst(got: Array, wanted: Array, wrong: Array, distance: Array) -> str:
    at = np.unravel_index(np.argmax(distance), wrong.shape)
    a, b = (f"{x[at]:.8g}" if x.dtype.kind == "f" else str(x[at]) for x in (got, wanted))
    place = [int(i) for i in at]
    return f"{wrong.sum()} of {wrong.size} differ; at {place} {a} found, {b} expected"


class Net:
    """Builds a case's model; every name begins with the case's, so that models can be merged."""

    def __init__(self, case: Case):
        self.case = case
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: dict[str, Spec] = {}
        self.constants: dict[str, Array] = {}
        self.outputs: list[str] = []
        self.serial = 0

    def x(self, *shape: int | str, **more: Any) -> str:
        """An input drawn at random."""
        return self.add_input(X(*shape, **more))

    def w(self, *shape: int, **more: Any) -> str:
        """A constant drawn at random."""
        return self.operand(W(*shape, **more))

    def add_input(self, spec: Spec) -> str:
        name = f"{self.case.name}.x{len(self.inputs)}"
        self.inputs[name] = Spec(spec.shape, spec.lo, spec.hi, spec.dtype, False, spec.values)
        return name

    def operand(self, what: Any) -> str:
        if what is None:
            return ""
        if isinstance(what, str):
            return what
        if isinstance(what, Spec) and not what.constant:
            return self.add_input(what)
        name = f"{self.case.name}.c{len(self.constants)}"
        if isinstance(what, Spec):
            what = what.draw(np.random.default_rng(zlib.crc32(name.encode())), {})
        self.constants[name] = np.asarray(what)
        return name

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if not op[0].isupper():
            raise AttributeError(op)

        def node(*inputs: Any, outputs: int = 1, domain: str = "", **attrs: Any) -> Any:
            self.serial += 1
            own = f"{self.case.name}.{op}{self.serial}"
            names = [own + (f"_{k}" if k else "") for k in range(outputs)]
            self.nodes.append(helper.make_node(
                op, [self.operand(i) for i in inputs], names, own,
                domain=domain, **attrs))
            return names[0] if outputs == 1 else tuple(names)

        return node

    def output_names(self) -> list[str]:
        """An output that is an input, or given twice, gets a name of its own by Identity."""
        return [f"{self.case.name}:{k}" for k in range(len(self.outputs))]

    def model(self) -> onnx.ModelProto:
        """The ModelProto."""
        infos = []
        for name, spec in self.inputs.items():
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            infos.append(helper.make_tensor_value_info(name, kind,
                [self.symbol(d) for d in spec.shape]))
        ends = [helper.make_node("Identity", [o], [e]) for o,
            e in zip(self.outputs, self.output_names(), strict=True)]
        graph = helper.make_graph(
            [*self.nodes, *ends], self.case.name, infos,
            [helper.make_empty_tensor_value_info(e) for e in self.output_names()],
            [numpy_helper.from_array(np.asarray(a), name) for name, a in self.constants.items()])
        opsets = [helper.make_opsetid("", self.case.opset)]
        opsets += [helper.make_opsetid("com.microsoft",
            1)] if any(n.domain for n in self.nodes) else []
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def symbol(self, d: int | str) -> int | str:
        """Dimensions too belong to their case."""
        return f"{self.case.name}_{d}" if isinstance(d, str) else d

    def graph(self) -> Graph:
        """The imported graph, lengths that only a run finds at their upper bounds."""
        dims = {self.symbol(d): r for d, r in self.case.dims.items()}
        proto = self.model()
        for output, shape in zip(proto.graph.output, self.case.declares):
            output.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto())
            for size in shape:
                output.type.tensor_type.shape.dim.add().dim_value = size
        return counted.settle(load(proto, dims).graph, {})  # type: ignore[arg-type]


def merged(nets: Sequence[Net]) -> Graph:
    """One graph of many cases."""
    graphs = [n.graph() for n in nets]
    return Graph(
        tuple(v for g in graphs for v in g.inputs),
        {k: v for g in graphs for k, v in g.outputs.items()},
        {}, tuple(d for g in graphs for d in g.dims), "cases",
        {k: shape for g in graphs for k, shape in g.counts.items()})


CASES: dict[str, Case] = {}


def case(body: Callable[[Net], Any] | None = None, **more: Any) -> Any:
    """Adds a function over a Net to the table, under its own name."""
    if body is None:
        return lambda b: case(b, **more)
    name = more.pop("name", body.__name__)
    assert name not in CASES, f"two cases named {name}"
    CASES[name] = Case(name, body, **more)
    return body


_OWN = ("opset", "tol", "special", "dims", "sizes", "oracle", "skip", "declares")


def row(name: str, op: str, *operands: Any, outputs: int = 1, domain: str = "",
    **more: Any) -> None:
    """Adds one operator to the table; what is not a field of Case is an attribute."""
    own = {k: more.pop(k) for k in _OWN if k in more}
    case(lambda n: getattr(n, op)(*operands, outputs=outputs, domain=domain, **more), name=name,
        **own)


# ---- elementwise: every function on odd sizes, and on the edges of its domain -------------------

NAN, INF = float("nan"), float("inf")
EDGES = f32([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-30, -1e-30, 1e-6, 2.5, -2.5, 3.5, -7.25, 10.0,
    -10.0, 88.0, -88.0, 100.0,
             -100.0, 1e10, -1e10, 3e38, -3e38, INF, -INF, NAN])
MODERATE = f32([0.0, -0.0, 1.0, -1.0, 0.5, 1e-6, 3.14159, -7.25, 50.0, -50.0, 1000.0, -1000.0])
UNIT = f32([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-6, 0.999, -0.999, 1.5, NAN])
ABOVE = f32([1.0, 1.000001, 1.5, 2.0, 10.0, 1e5, 0.5, INF, NAN])
SHRUNK = f32([0.0, -0.0, 0.5, -0.5, 0.50001, -0.50001, 1.0, -1.0, 3.0, -3.0, 1e10])
FINITE = EDGES[np.isfinite(EDGES)]
SMALL = f32([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-6, 2.5, -2.5, 10.0, -10.0, 30.0, -30.0, 88.0,
    -88.0])

for _op, _lo, _hi, _edges in (
    ("Abs", -2, 2, EDGES), ("Neg", -2, 2, EDGES), ("Sign", -2, 2, FINITE),
    ("Reciprocal", 0.1, 2, EDGES),
    ("Sqrt", 0, 9, EDGES), ("Exp", -3, 3, EDGES), ("Log", 0.01, 9, EDGES), ("Floor", -9, 9, EDGES),
    ("Ceil", -9, 9, EDGES),
    ("Round", -9, 9, EDGES), ("Sin", -7, 7, MODERATE), ("Cos", -7, 7, MODERATE),
    ("Tan", -1.4, 1.4, UNIT),
    ("Asin", -1, 1, UNIT), ("Acos", -1, 1, UNIT), ("Atan", -5, 5, EDGES), ("Sinh", -4, 4, SMALL),
    ("Cosh", -4, 4, SMALL),
    ("Tanh", -4, 4, EDGES), ("Asinh", -4, 4, MODERATE), ("Acosh", 1, 9, ABOVE),
    ("Atanh", -0.95, 0.95, UNIT[:3]),
    ("Erf", -3, 3, EDGES), ("Relu", -2, 2, EDGES), ("Sigmoid", -6, 6, EDGES),
    ("Softplus", -6, 6, SMALL),
    ("Softsign", -6, 6, FINITE[:19]), ("HardSwish", -6, 6, SMALL), ("Elu", -3, 3, SMALL),
    ("Selu", -3, 3, SMALL),
    ("Celu", -3, 3, SMALL), ("LeakyRelu", -3, 3, EDGES[:-1]), ("ThresholdedRelu", -3, 3, SMALL),
    ("HardSigmoid", -5, 5, SMALL),
):  # fmt: skip
    row(_op.lower(), _op, X(3, 5, 7, lo=_lo, hi=_hi))
    row(f"{_op.lower()}_edges", _op, given(_edges), special=True)

row("elu_alpha", "Elu", X(2, 13), alpha=1.7)
row("selu_alpha_gamma", "Selu", X(2, 13), alpha=2.0, gamma=3.0)
row("celu_alpha", "Celu", X(2, 13), alpha=0.6)
row("leakyrelu_alpha", "LeakyRelu", X(33), alpha=0.3)
row("thresholdedrelu_alpha", "ThresholdedRelu", X(33), alpha=0.3)
row("hardsigmoid_alpha_beta", "HardSigmoid", X(33, lo=-4, hi=4), alpha=0.4, beta=0.3)
row("shrink", "Shrink", given(SHRUNK), lambd=0.5, bias=0.25)
row("mish", "Mish", X(3, 13, lo=-8, hi=8), opset=18)
row("mish_edges", "Mish", given(SMALL), opset=18, special=True)
row("gelu", "Gelu", X(3, 13, lo=-4, hi=4), opset=20)
row("gelu_tanh", "Gelu", X(3, 13, lo=-4, hi=4), opset=20, approximate="tanh")
row("gelu_tanh_far", "Gelu", given([-2e4, -100, -20, -9.5, 0, 20, 3e9], "float32"), opset=20,
    approximate="tanh")
row("gelu_edges", "Gelu", given(SMALL), opset=20, special=True)
row("swish", "Swish", X(3, 13, lo=-4, hi=4), opset=24, oracle="reference", alpha=1.3)
row("isnan", "IsNaN", given(EDGES), special=True,
    skip={"webgpu": "WGSL may assume that there is no NaN"})
row("isinf", "IsInf", given(EDGES), special=True,
    skip={"webgpu": "WGSL may assume that there is no infinity"})
row("isinf_negative", "IsInf", given(EDGES), detect_positive=0,
    skip={"webgpu": "WGSL may assume that there is no infinity"})
row("not", "Not", X(3, 7, dtype="bool"))
row("prelu_channels", "PRelu", X(2, 5, 3, 7), W(5, 1, 1))
row("prelu_one", "PRelu", X(2, 5), W(1))
row("prelu_input", "PRelu", X(3, 7), X(3, 7))
row("clip_both", "Clip", X(3, 5, 7), f32(-0.5), f32(1))
row("clip_lower", "Clip", X(3, 5, 7), f32(0.25))
row("clip_upper", "Clip", X(3, 5, 7), None, f32(0.25))
row("clip_attributes", "Clip", X(3, 5, 7), opset=7, min=-0.5, max=0.75)
row("clip_inputs", "Clip", X(3, 5), X(lo=-1, hi=0), X(lo=0, hi=1))
row("clip_edges", "Clip", given(EDGES), f32(-5), f32(5), special=True)
row("clip_int64_upper_open", "Clip", given([-5, 0, 7, 2**31 - 1], "int64"), np.int64(0),
    np.int64(2**63 - 1), opset=13)
row("clip_crossed", "Clip", X(13), f32(1), f32(-1), opset=13)

# ---- two operands: broadcasting, dtypes, integer corners ----------------------------------------

_PATTERNS = {
    "same": ((3, 5, 7), (3, 5, 7)), "scalar": ((3, 5, 7), ()), "scalar_left": ((), (3, 5, 7)),
    "last": ((3, 5, 7), (7,)),
    "middle": ((3, 5, 7), (5, 1)), "outer": ((5, 1), (1, 7)), "batch": ((2, 3, 1, 7), (3, 5, 1)),
    "ones": ((1, 1, 1), (3, 1, 13)),
}  # fmt: skip
for _name, (_a, _b) in _PATTERNS.items():
    row(f"add_{_name}", "Add", X(*_a), X(*_b))
    row(f"sub_{_name}", "Sub", X(*_a), X(*_b))
    row(f"div_{_name}", "Div", X(*_a), X(*_b, lo=0.5, hi=3))
for _name in ("same", "last", "outer"):
    _a, _b = _PATTERNS[_name]
    row(f"mul_{_name}", "Mul", X(*_a), X(*_b))
    row(f"pow_{_name}", "Pow", X(*_a, lo=0.1, hi=3), X(*_b))
    row(f"max_{_name}", "Max", X(*_a), X(*_b))
    row(f"min_{_name}", "Min", X(*_a), X(*_b))
    row(f"less_{_name}", "Less", X(*_a), X(*_b))
    row(f"and_{_name}", "And", X(*_a, dtype="bool"), X(*_b, dtype="bool"))
_P, _Q = (g.ravel() for g in np.meshgrid(EDGES[[0, 1, 2, 3, 9, 10, 21, 22, 23, 24, 25]],
    EDGES[[0, 1, 2, 3, 9, 10, 21, 22, 23, 24, 25]]))
for _op in ("Add", "Sub", "Mul", "Div", "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
    "Equal"):
    row(f"{_op.lower()}_edges", _op, given(_P), given(_Q), special=True,
        **({"skip": {"webgpu": "comparing NaN"}} if _op[0] in "LGE" else {}))
_F = np.isfinite(_P) & np.isfinite(_Q)
row("max_edges", "Max", given(_P[_F]), given(_Q[_F]), special=True)
row("min_edges", "Min", given(_P[_F]), given(_Q[_F]), special=True)
row("pow_edges", "Pow", given(f32([0, 0, -1, -2, -2, 2, 2, 4, 9, 1, 1e-3])),
    given(f32([0, 2, 3, 2, -1, 0.5, -0.5, 0.5, 1.5, 9, -2])), special=True)
row("pow_square", "Pow", X(3, 7), f32(2))
row("pow_cube", "Pow", X(3, 7), f32(3))
row("pow_half", "Pow", X(3, 7, lo=0), f32(0.5))
row("pow_int_exponent", "Pow", X(3, 7), np.array([2, 3, 1, 0, 2, 3, 4], np.int64))
row("pow_int_base", "Pow", X(7, lo=-4, hi=4, dtype="int32"), np.int32(3))
row("pow_int_both", "Pow", X(3, 13, lo=-3, hi=3, dtype="int32"), X(13, lo=0, hi=7, dtype="int32"))
row("max_three", "Max", X(3, 5), X(5), X(3, 1))
row("min_three", "Min", X(3, 5), X(5), X(3, 1))
row("sum_three", "Sum", X(3, 5), X(5), X(3, 1))
row("mean_three", "Mean", X(3, 5), X(5), X(3, 1))
row("sum_one", "Sum", X(3, 5))
row("where_broadcast", "Where", X(3, 1, 7, dtype="bool"), X(5, 7), X(3, 1, 1))
row("where_scalar", "Where", X(3, 5, dtype="bool"), X(3, 5), f32(-1))
row("where_int", "Where", X(13, dtype="bool"), X(13, lo=-9, hi=9, dtype="int64"), np.int64(4))
for _op in ("Or", "Xor"):
    row(_op.lower(), _op, X(3, 1, 7, dtype="bool"), X(5, 7, dtype="bool"))
row("equal_bool", "Equal", X(33, dtype="bool"), X(33, dtype="bool"))
row("equal_int", "Equal", X(33, lo=0, hi=3, dtype="int64"), X(33, lo=0, hi=3, dtype="int64"))

_EXTREMES = [0, 1, -1, 2, -2, 7, -7, 100, 2**31 - 1, -(2**31)]
_IA, _IB = (g.ravel() for g in np.meshgrid(_EXTREMES, _EXTREMES))
row("int_add_wraps", "Add", given(_IA, "int32"), given(_IB, "int32"))
row("int_sub_wraps", "Sub", given(_IA, "int32"), given(_IB, "int32"))
row("int_mul_wraps", "Mul", given(_IA, "int32"), given(_IB, "int32"))
_D = (_IB != 0) & ~((_IA == -(2**31)) & (_IB == -1))
row("int_div_truncates", "Div", given(_IA[_D], "int32"), given(_IB[_D], "int32"))
row("int_mod", "Mod", given(_IA[_D], "int32"), given(_IB[_D], "int32"))
row("int_fmod", "Mod", given(_IA[_D], "int32"), given(_IB[_D], "int32"), fmod=1)
row("int_less", "Less", given(_IA, "int32"), given(_IB, "int32"))
row("int_max", "Max", given(_IA, "int32"), given(_IB, "int32"))
row("int_abs", "Abs", given(_EXTREMES[:-1], "int32"))
row("int_sign", "Sign", given(_EXTREMES, "int32"))
row("int64_arithmetic", "Add", X(3, 5, lo=-1000, hi=1000, dtype="int64"),
    X(5, lo=-1000, hi=1000, dtype="int64"))
row("int8_add", "Add", X(33, lo=-60, hi=60, dtype="int8"), X(33, lo=-60, hi=60, dtype="int8"),
    opset=14, oracle="reference")
row("int8_mul_wraps", "Mul", X(33, lo=-128, hi=127, dtype="int8"),
    X(33, lo=-128, hi=127, dtype="int8"), opset=14, oracle="reference")
row("uint8_add_wraps", "Add", X(33, lo=0, hi=255, dtype="uint8"),
    X(33, lo=0, hi=255, dtype="uint8"), opset=14, oracle="reference")
row("uint8_relu_min", "Min", X(33, lo=0, hi=255, dtype="uint8"), X(33, lo=0, hi=255, dtype="uint8"))
row("uint32_div", "Div", given([0, 1, 2**32 - 1, 2**31, 7], "uint32"),
    given([1, 2, 3, 7, 7], "uint32"))
row("uint32_less", "Less", given([0, 1, 2**32 - 1, 2**31], "uint32"),
    given([1, 1, 3, 2**31 + 1], "uint32"))
row("float_fmod_far", "Mod", given([3e9, -3e9, 1e30, -3.4e38, 7, 1e10], "float32"),
    given([2, 7, 3, 0.1, 2, 1e-3], "float32"), fmod=1)
row("reduce_log_sum_exp_infinite", "ReduceLogSumExp",
    given([[-np.inf] * 3, [0, -np.inf, 1], [np.inf, 0, 1]], "float32"), opset=17, axes=[1],
    special=True)
_ROUND = given([0, -0.0, 1, 1.00390625, 1.01171875, -2.98, 60000, 65519, 65520, -1e6, 3.4e38,
    1e-7, -3e-8, 2e-8, 6e-5, 2.1e-5, INF, -INF, 1e-30], "float32")
for _to, _type in (("bfloat16", 16), ("float16", 10)):
    @case(name=f"cast_to_{_to}_rounds", special=True, opset=19)
    def _cast_rounds(n: Net, to: int = _type) -> Any:
        return n.Cast(n.Cast(_ROUND, to=to), to=1)
row("float16_output_rounds", "Mul", given([60000, -40000, 3, 1e-5], "float16"),
    np.float16([2, 2, 1 / 3, 0.01]), special=True, oracle="reference")
row("max_pool_window_exceeds_the_axis", "MaxPool", X(1, 2, 2, 5), kernel_shape=[3, 3],
    strides=[2, 2], opset=12)
row("average_pool_window_exceeds_the_axis", "AveragePool", X(1, 2, 1, 4), kernel_shape=[3, 2],
    strides=[3, 1], opset=12)
row("lp_pool_window_exceeds_the_axis", "LpPool", X(1, 2, 2), kernel_shape=[3], strides=[2],
    opset=11)


row("float_mod", "Mod", X(33, lo=-9, hi=9), X(33, lo=0.5, hi=3), fmod=1, tol=1e-4)
row("bitshift_left", "BitShift", X(13, lo=0, hi=99, dtype="uint32"),
    X(13, lo=0, hi=31, dtype="uint32"), direction="LEFT")
row("bitshift_right", "BitShift", X(13, lo=0, hi=2**31, dtype="uint32"),
    X(13, lo=0, hi=31, dtype="uint32"), direction="RIGHT")
for _op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    row(_op.lower(), _op, X(3, 7, lo=-99, hi=99, dtype="int32"), X(7, lo=-99, hi=99, dtype="int32"),
        opset=18)
row("bitwisenot", "BitwiseNot", X(13, lo=-99, hi=99, dtype="int32"), opset=18)

# ---- casts --------------------------------------------------------------------------------------

_F32, _F16, _I32, _I64, _U8, _I8, _BOOL = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.BOOL)
row("cast_float_int", "Cast", given(f32([0.0, 0.9, -0.9, 1.5, -1.5, 1e6, -1e6, 123456.7])), to=_I32)
row("cast_float_int64", "Cast", X(3, 7, lo=-99, hi=99), to=_I64)
row("cast_int_float", "Cast", given(_EXTREMES, "int32"), to=_F32)
row("cast_float_bool", "Cast", given(f32([0.0, -0.0, 1.0, -0.5, 1e-30])), to=_BOOL)
row("cast_bool_float", "Cast", X(3, 7, dtype="bool"), to=_F32)
row("cast_bool_int", "Cast", X(3, 7, dtype="bool"), to=_I64)
row("cast_int_uint8", "Cast", X(33, lo=-300, hi=300, dtype="int32"), to=_U8)
row("cast_int_int8", "Cast", X(33, lo=-300, hi=300, dtype="int32"), to=_I8)
row("cast_uint8_float", "Cast", X(33, lo=0, hi=255, dtype="uint8"), to=_F32)
row("cast_float_uint8", "Cast", X(33, lo=0, hi=255), to=_U8)
row("cast_half_rounds", "Cast",
    given(f32([1.0, 1.0004883, 1.0009766, 3.14159, 65504, 65519, 65520, 1e-7, 6e-8, 6.1e-5,
    -2.71828])), to=_F16, special=True)
row("half_arithmetic", "Add", X(3, 7, dtype="float16"), X(7, dtype="float16"), tol=1e-3)
row("half_input_float_output", "Cast", X(33, dtype="float16"), to=_F32)
# Weights of float16 lie two to a word; the rounding of the reference's result is its own.
row("half_weights_matmul", "MatMul", X(5, 20, dtype="float16"), W(20, 12, dtype="float16"),
    tol=1e-3)
row("half_weights_matmul_odd", "MatMul", X(5, 7, dtype="float16"), W(7, 3, dtype="float16"),
    tol=1e-3)
row("half_weights_conv", "Conv", X(1, 5, 9, 7, dtype="float16"),
    W(9, 5, 3, 3, dtype="float16"), W(9, dtype="float16"), pads=[1, 1, 1, 1], tol=1e-3)
row("half_weights_depthwise", "Conv", X(1, 12, 9, 7, dtype="float16"),
    W(12, 1, 3, 3, dtype="float16"), group=12, tol=1e-3)
row("half_weights_added", "Add", X(3, 5, dtype="float16"), W(3, 5, dtype="float16"), tol=1e-3)
row("half_weights_looked_up", "Gather", W(11, 9, dtype="float16"),
    X(6, lo=0, hi=10, dtype="int64"), tol=1e-3)
row("half_weights_widened", "Cast", W(4, 8, dtype="float16"), to=_F32, tol=1e-6)
row("double_input", "Mul", X(3, 7, dtype="float64"), X(7, dtype="float64"))
row("castlike", "CastLike", X(3, 7, lo=-9, hi=9), W(1, dtype="int32"), opset=15, oracle="reference")

# ---- convolution --------------------------------------------------------------------------------

for _name, _x, _w, _attrs in (
    ("1x1", (1, 7, 5, 3), (13, 7, 1, 1), {}),
    ("1x1_stride", (1, 7, 9, 7), (5, 7, 1, 1), {"strides": [2, 2]}),
    ("1x1_batch", (3, 8, 4, 4), (16, 8, 1, 1), {}), ("3x3", (1, 5, 9, 7), (7, 5, 3, 3), {}),
    ("3x3_same", (1, 5, 9, 7), (13, 5, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("3x3_wide", (1, 16, 12, 12), (32, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("3x3_rgb", (1, 3, 33, 31), (16, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("3x3_batch", (3, 4, 8, 8), (8, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("3x3_uneven_pads", (1, 5, 7, 9), (7, 5, 3, 3), {"pads": [0, 2, 1, 0]}),
    ("7x7_stride", (1, 3, 23, 29), (9, 3, 7, 7), {"pads": [3, 3, 3, 3], "strides": [2, 2]}),
    ("5x3", (1, 6, 9, 11), (5, 6, 5, 3), {"pads": [2, 1, 2, 1], "strides": [1, 2]}),
    ("1x7", (1, 4, 5, 13), (6, 4, 1, 7), {"pads": [0, 3, 0, 3]}),
    ("dilated", (1, 5, 13, 11), (7, 5, 3, 3), {"dilations": [2, 2]}),
    ("dilated_same", (1, 5, 13, 11), (7, 5, 3, 3), {"dilations": [3, 2], "pads": [3, 2, 3, 2]}),
    ("grouped", (1, 6, 7, 9), (9, 2, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    ("grouped_wide", (2, 32, 6, 6), (32, 8, 3, 3),
    {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("grouped_1x1", (1, 12, 5, 5), (8, 3, 1, 1), {"group": 4}),
    ("depthwise", (1, 13, 9, 7), (13, 1, 3, 3), {"group": 13, "pads": [1, 1, 1, 1]}),
    ("depthwise_stride", (2, 16, 11, 13), (16, 1, 3, 3),
    {"group": 16, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("depthwise_5x5", (1, 8, 9, 9), (8, 1, 5, 5), {"group": 8, "pads": [2, 2, 2, 2]}),
    ("depthwise_dilated", (1, 5, 13, 11), (5, 1, 3, 3), {"group": 5, "dilations": [2, 3]}),
    ("depthwise_multiplier", (1, 5, 9, 7), (10, 1, 3, 3), {"group": 5, "pads": [1, 1, 1, 1]}),
    ("same_upper", (1, 3, 9, 10), (5, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("same_lower", (1, 3, 9, 10), (5, 3, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("valid", (1, 3, 9, 10), (5, 3, 3, 4), {"auto_pad": "VALID"}),
    ("whole_image", (2, 5, 7, 3), (9, 5, 7, 3), {}),
    ("one_pixel", (1, 5, 1, 1), (9, 5, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("one_channel", (1, 1, 9, 9), (1, 1, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("1d", (2, 5, 23), (7, 5, 3), {"pads": [1, 1]}),
    ("1d_stride", (1, 3, 40), (9, 3, 8), {"strides": [4]}),
    ("1d_depthwise", (1, 7, 19), (7, 1, 5), {"group": 7, "pads": [4, 0]}),
    ("1d_dilated", (1, 4, 29), (4, 4, 3), {"dilations": [4]}),
    ("3d", (1, 3, 5, 7, 6), (4, 3, 3, 3, 3), {"pads": [1, 1, 1, 1, 1, 1]}),
    ("3d_stride", (1, 2, 7, 6, 9), (5, 2, 2, 3, 3), {"strides": [2, 1, 2]}),
):  # fmt: skip
    row(f"conv_{_name}", "Conv", X(*_x), W(*_w), W(_w[0]), **_attrs)
row("conv_no_bias", "Conv", X(1, 5, 9, 7), W(7, 5, 3, 3), pads=[1, 1, 1, 1])
row("conv_pointwise_end_pads", "Conv", X(1, 5, 3, 4), W(2, 5, 1, 1), pads=[0, 0, 1, 2])
row("conv_pointwise_end_pads_1d", "Conv", X(1, 5, 6), W(2, 5, 1), W(2), pads=[0, 1])
row("conv_computed_filters", "Conv", X(1, 5, 9, 7), X(8, 5, 3, 3), X(8), pads=[1, 1, 1, 1])
row("conv_computed_depthwise", "Conv", X(1, 8, 9, 7), X(8, 1, 3, 3), group=8)
row("conv_symbolic", "Conv", X(1, 5, "h", "w"), W(9, 5, 3, 3), W(9), pads=[1, 1, 1, 1],
    strides=[2, 2],
    dims={"h": (3, 19), "w": (3, 17)}, sizes=({"h": 3, "w": 3}, {"h": 19, "w": 17},
    {"h": 8, "w": 13}))
row("conv_symbolic_same_upper", "Conv", X(1, 3, "h", "w"), W(5, 3, 3, 3), auto_pad="SAME_UPPER",
    strides=[2, 2],
    dims={"h": (3, 19), "w": (3, 17)}, sizes=({"h": 4, "w": 3}, {"h": 19, "w": 17},
    {"h": 8, "w": 12}))
row("depthwise_symbolic", "Conv", X(1, 6, "h", "w"), W(6, 1, 3, 3), group=6, pads=[1, 1, 1, 1],
    dims={"h": (1, 9), "w": (1, 9)}, sizes=({"h": 1, "w": 9}, {"h": 9, "w": 9}, {"h": 5, "w": 2}))

for _name, _x, _w, _attrs in (
    ("2x2", (1, 5, 4, 3), (5, 7, 2, 2), {"strides": [2, 2]}),
    ("3x3", (1, 5, 4, 3), (5, 7, 3, 3), {}),
    ("3x3_stride", (1, 5, 4, 6), (5, 7, 3, 3),
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("4x4", (2, 6, 5, 3), (6, 5, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("grouped", (1, 6, 4, 5), (6, 2, 3, 3), {"group": 3, "strides": [2, 1]}),
    ("dilated", (1, 3, 5, 4), (3, 4, 3, 3), {"dilations": [2, 2]}),
    ("uneven", (1, 3, 5, 4), (3, 4, 3, 5), {"strides": [3, 2], "pads": [1, 0, 0, 2]}),
    ("wide_stride", (1, 3, 3, 3), (3, 4, 2, 2), {"strides": [3, 3]}),
    ("depthwise", (1, 5, 4, 4), (5, 1, 3, 3), {"group": 5, "strides": [2, 2]}),
    ("same", (1, 3, 5, 4), (3, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("cropped", (1, 4, 5, 3), (4, 3, 2, 2), {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("1d", (1, 5, 9), (5, 3, 4), {"strides": [2], "pads": [1, 1]}),
    ("output_shape", (1, 3, 4, 4), (3, 2, 3, 3), {"strides": [2, 2], "output_shape": [9, 8]}),
):  # fmt: skip
    row(f"convtranspose_{_name}", "ConvTranspose", X(*_x), W(*_w),
        W(_w[1] * _attrs.get("group", 1)), **_attrs)
row("convtranspose_symbolic", "ConvTranspose", X(1, 5, "h", "w"), W(5, 3, 2, 2), strides=[2, 2],
    dims={"h": (1, 9), "w": (2, 7)},
    sizes=({"h": 1, "w": 7}, {"h": 9, "w": 2}))
row("convtranspose_3d", "ConvTranspose", X(1, 2, 3, 4, 3), W(2, 3, 2, 3, 2), strides=[2, 1, 2])

# ---- matrix products ----------------------------------------------------------------------------

for _name, _a, _b in (
    ("square", (13, 13), (13, 13)), ("odd", (5, 7), (7, 3)), ("wide", (3, 33), (33, 65)),
    ("tall", (65, 7), (7, 5)), ("row", (1, 33), (33, 17)),
    ("column", (17, 33), (33, 1)), ("inner_one", (5, 1), (1, 9)), ("dot", (1, 33), (33, 1)),
    ("vector_right", (5, 7), (7,)),
    ("vector_left", (7,), (7, 5)), ("vectors", (7,), (7,)), ("batch", (3, 5, 7), (3, 7, 9)),
    ("batch_left", (3, 5, 7), (7, 9)),
    ("batch_right", (5, 7), (3, 7, 9)), ("batch_broadcast", (2, 1, 5, 7), (3, 7, 9)),
    ("batch_two", (2, 3, 5, 7), (2, 3, 7, 4)),
    ("large", (40, 130), (130, 72)), ("batch_row", (4, 1, 16), (4, 16, 24)),
):  # fmt: skip
    row(f"matmul_{_name}", "MatMul", X(*_a), X(*_b))
    row(f"matmul_{_name}_weights", "MatMul", X(*_a), W(*_b))
row("matmul_constant_left", "MatMul", W(9, 7), X(7, 5))
row("matmul_int", "MatMul", X(3, 5, lo=-99, hi=99, dtype="int32"),
    X(5, 4, lo=-99, hi=99, dtype="int32"))
row("matmul_symbolic", "MatMul", X(2, "t", 12), X(2, 12, "t"), dims={"t": (1, 19)},
    sizes=({"t": 1}, {"t": 19}, {"t": 8}))
row("matmul_symbolic_weights", "MatMul", X(1, "t", 12), W(12, 20), dims={"t": (1, 19)},
    sizes=({"t": 1}, {"t": 19}, {"t": 7}))
row("matmul_symbolic_inner", "MatMul", X(3, 5, "t"), X(3, "t", 7), dims={"t": (1, 19)},
    sizes=({"t": 1}, {"t": 19}, {"t": 6}))
row("gemm", "Gemm", X(5, 7), W(7, 9), W(9))
row("gemm_transposed", "Gemm", X(7, 5), W(9, 7), W(5, 1), transA=1, transB=1)
row("gemm_alpha_beta", "Gemm", X(5, 7), W(7, 9), W(5, 9), alpha=0.5, beta=0.25)
row("gemm_no_bias", "Gemm", X(5, 7), W(9, 7), transB=1)
row("gemm_one_row", "Gemm", X(1, 65), W(10, 65), W(10), transB=1)
row("gemm_scalar_bias", "Gemm", X(3, 4), X(4, 6), X(), opset=13)
for _eq, _shapes in (
    ("ij,jk->ik", ((3, 5), (5, 4))), ("bij,bjk->bik", ((2, 3, 5), (2, 5, 4))),
    ("bhqd,bhkd->bhqk", ((1, 2, 5, 4), (1, 2, 7, 4))),
    ("ij->ji", ((3, 5),)), ("ij->i", ((3, 5),)), ("ii->i", ((5, 5),)), ("i,j->ij", ((3,), (5,))),
    ("...ij,...jk->...ik", ((2, 3, 5), (2, 5, 4))),
    ("ijk,kl,lm->ijm", ((2, 3, 4), (4, 5), (5, 3))), ("ij,ij->", ((3, 5), (3, 5))),
    ("nchw,oc->nohw", ((1, 3, 4, 5), (7, 3))),
):  # fmt: skip
    row("einsum_" + _eq.replace("->", "_to_").replace(",", "_").replace("...", "_"), "Einsum",
        *(X(*s) for s in _shapes), equation=_eq)

# ---- Fourier transforms -------------------------------------------------------------------------

row("dft", "DFT", X(2, 13, 1), axis=1)
row("dft_onesided", "DFT", X(2, 12, 1), axis=1, onesided=1)
row("dft_complex_inverse", "DFT", X(2, 7, 2), axis=1, inverse=1)
row("dft_in_two_steps", "DFT", X(2, 256, 1), axis=1, onesided=1)
row("dft_padded", "DFT", X(2, 5, 3, 2), np.int64(8), axis=1)
row("dft_axis_input", "DFT", X(2, 5, 3, 2), None, np.int64(1), opset=20)
row("dft_real_again", "DFT", X(2, 7, 2), None, np.int64(1), inverse=1, onesided=1, opset=20,
    oracle="reference")
row("stft", "STFT", X(2, 65, 1), np.int64(8), W(16, lo=0))
row("stft_rank_2", "STFT", X(2, 65), np.int64(8), W(16, lo=0))
row("stft_two_sided", "STFT", X(1, 33, 1), np.int64(5), None, np.int64(12), onesided=0)
row("stft_symbolic", "STFT", X(1, "t", 1), np.int64(8), W(16, lo=0), dims={"t": (16, 99)},
    sizes=({"t": 16}, {"t": 99}, {"t": 40}))

# ---- pooling ------------------------------------------------------------------------------------

for _op in ("MaxPool", "AveragePool"):
    for _name, _x, _attrs in (
        ("2x2", (1, 5, 8, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("3x3", (2, 7, 9, 11), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("stride_one", (1, 3, 5, 7), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("ceil", (1, 5, 8, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("ceil_pads", (1, 5, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2],
        "pads": [1, 0, 1, 0], "ceil_mode": 1}),
        ("same_upper", (1, 3, 7, 8), {"kernel_shape": [3, 3], "strides": [2, 2],
        "auto_pad": "SAME_UPPER"}),
        ("same_lower", (1, 3, 7, 8), {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}),
        ("uneven", (1, 3, 9, 8), {"kernel_shape": [2, 5], "strides": [3, 1], "pads": [0, 2, 1, 0]}),
        ("1d", (2, 5, 17), {"kernel_shape": [3], "strides": [2]}),
        ("3d", (1, 2, 5, 6, 7), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2]}),
    ):  # fmt: skip
        row(f"{_op.lower()}_{_name}", _op, X(*_x), **_attrs)
row("maxpool_uint8", "MaxPool", X(1, 3, 5, 5, lo=0, hi=255, dtype="uint8"), kernel_shape=[3, 3],
    pads=[1, 1, 1, 1])
row("averagepool_symbolic_ceil", "AveragePool", X(1, 3, "h", "w"), kernel_shape=[3, 3],
    strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1,
    ceil_mode=1, opset=19, dims={"h": (2, 17), "w": (2, 17)},
    sizes=({"h": 3, "w": 17}, {"h": 16, "w": 9}, {"h": 6, "w": 2}))
row("maxpool_dilated", "MaxPool", X(1, 3, 11, 9), kernel_shape=[3, 2], dilations=[2, 3])
row("maxpool_negative", "MaxPool", X(1, 3, 5, 5, lo=-9, hi=-1), kernel_shape=[3, 3],
    pads=[1, 1, 1, 1])
row("averagepool_count_pad", "AveragePool", X(1, 3, 7, 7), kernel_shape=[3, 3], pads=[1, 1, 1, 1],
    count_include_pad=1)
row("averagepool_count_pad_ceil", "AveragePool", X(1, 3, 8, 8), kernel_shape=[3, 3], strides=[2, 2],
    pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1, opset=19)
row("maxpool_symbolic", "MaxPool", X(1, 3, "h", "w"), kernel_shape=[3, 3], strides=[2, 2],
    pads=[1, 1, 1, 1], dims={"h": (2, 17), "w": (2, 17)},
    sizes=({"h": 2, "w": 17}, {"h": 17, "w": 9}, {"h": 6, "w": 2}))
row("maxpool_symbolic_ceil", "MaxPool", X(1, 3, "h", "w"), kernel_shape=[2, 2], strides=[2, 2],
    ceil_mode=1, dims={"h": (2, 17), "w": (2, 17)},
    sizes=({"h": 2, "w": 17}, {"h": 17, "w": 8}, {"h": 7, "w": 3}))
row("averagepool_symbolic", "AveragePool", X(1, 3, "h", "w"), kernel_shape=[3, 3], strides=[2, 2],
    pads=[1, 1, 1, 1], dims={"h": (2, 17), "w": (2, 17)},
    sizes=({"h": 2, "w": 17}, {"h": 17, "w": 9}, {"h": 6, "w": 2}))
for _op in ("GlobalAveragePool", "GlobalMaxPool"):
    row(_op.lower(), _op, X(2, 13, 7, 5))
    row(f"{_op.lower()}_large", _op, X(1, 8, 33, 31))
    row(f"{_op.lower()}_symbolic", _op, X(1, 5, "h", "w"), dims={"h": (1, 9), "w": (1, 9)},
        sizes=({"h": 1, "w": 1}, {"h": 9, "w": 9}, {"h": 3, "w": 8}))
row("lppool", "LpPool", X(1, 3, 8, 9), kernel_shape=[3, 3], strides=[2, 2], p=2, opset=18)
row("globallppool", "GlobalLpPool", X(1, 3, 8, 9), p=2)

# ---- reductions ---------------------------------------------------------------------------------

for _op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"):
    _lo = 0.2 if _op in ("ReduceLogSum", "ReduceProd") else -2.0
    for _name, _x, _axes, _keep in (("last", (3, 5, 13), [-1], 1), ("first", (7, 5, 3), [0], 0),
        ("middle", (3, 9, 7), [1], 0), ("two", (3, 5, 7, 4), [1, 3], 0),
                                    ("all", (3, 5, 7), None, 1)):  # fmt: skip
        if _name in ("last", "middle") or _op in ("ReduceSum", "ReduceMean", "ReduceMax"):
            if _op == "ReduceSum":
                row(f"reducesum_{_name}", _op, X(*_x), *([] if _axes is None else [i64(*_axes)]),
                    keepdims=_keep)
            else:
                row(f"{_op.lower()}_{_name}", _op, X(*_x, lo=_lo), keepdims=_keep,
                    **({} if _axes is None else {"axes": _axes}))
row("reducesum_long", "ReduceSum", X(3, 1031, lo=0, hi=1), i64(1))
row("reducemax_long", "ReduceMax", X(1, 5000), axes=[1])
row("reducesum_int", "ReduceSum", X(5, 7, lo=-99, hi=99, dtype="int32"), i64(0))
row("reducemax_int", "ReduceMax", X(5, 7, lo=-99, hi=99, dtype="int32"), axes=[1])
row("reducemean_axes_input", "ReduceMean", X(3, 5, 7), i64(0, 2), opset=18)
row("reducesum_noop", "ReduceSum", X(3, 5), noop_with_empty_axes=1)
row("reducesum_symbolic", "ReduceSum", X(3, "t"), i64(1), dims={"t": (1, 33)},
    sizes=({"t": 1}, {"t": 33}, {"t": 6}))
row("reducemean_symbolic", "ReduceMean", X("t", 5), axes=[0], dims={"t": (1, 33)},
    sizes=({"t": 1}, {"t": 33}, {"t": 6}))
for _op in ("ReduceMax", "ReduceMin"):  # onnxruntime's depend on where the NaN stands
    row(f"{_op.lower()}_of_nan", _op, given(f32([[1, NAN, 2, 0.5], [-INF, 3, 2, 1]])), i64(1),
        opset=18, special=True, oracle="reference")
row("reducemax_nan", "ReduceMax", given(f32([[1, 2, -INF], [-INF, -INF, -INF], [INF, 0, 1]])),
    axes=[1], special=True)
for _op in ("ArgMax", "ArgMin"):
    for _name, _axis, _keep in (("last", -1, 1), ("first", 0, 0), ("middle", 1, 1)):
        row(f"{_op.lower()}_{_name}", _op, X(3, 7, 13), axis=_axis, keepdims=_keep)
    row(f"{_op.lower()}_ties", _op, X(5, 33, lo=0, hi=3, dtype="int32"), axis=1)
    row(f"{_op.lower()}_ties_last", _op, X(5, 33, lo=0, hi=3, dtype="int32"), axis=1,
        select_last_index=1)
row("blackman_window", "BlackmanWindow", np.int64(33), output_datatype=1)
row("hamming_window", "HammingWindow", np.int64(33), periodic=0, output_datatype=1)
row("hann_window", "HannWindow", np.int64(33), output_datatype=11)
row("hann_window_at_run", "HannWindow", given(np.int64(7)), declares=[[7]])
row("mel_matrix", "MelWeightMatrix", np.int64(20), np.int64(256), np.int64(16000), f32(60.0),
    f32(7000.0), output_datatype=1)
row("center_crop_pad", "CenterCropPad", X(3, 11, 9, 2), i64(6, 14), axes=[1, -2], opset=18)
row("affine_grid", "AffineGrid", X(2, 2, 3), i64(2, 3, 5, 7), opset=20, align_corners=1)
row("affine_grid_3d", "AffineGrid", X(2, 3, 4), i64(2, 3, 5, 7, 3), opset=20)

row("unique", "Unique", given(f32(2, 1, 1, 3, 4, 3, -1)), outputs=4)
row("unique_unsorted", "Unique", given(i64(2, 1, 1, 3, 4, 3, -1)), outputs=4, sorted=0)
row("unique_rows", "Unique", given(np.array([[1, 0], [0, 2], [1, 0], [0, 1]], np.float32)),
    outputs=4, axis=0)
row("grams", "TfIdfVectorizer", given(np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int32)),
    max_gram_length=2, max_skip_count=5, min_gram_length=1, mode="TF", ngram_counts=[0, 4],
    ngram_indexes=[0, 1, 2, 3, 4, 5, 6], pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7])
row("grams_weighted", "TfIdfVectorizer", given(i64(5, 6, 5, 6, 7)), max_gram_length=2,
    max_skip_count=0, min_gram_length=1, mode="TFIDF", ngram_counts=[0, 2],
    ngram_indexes=[1, 0, 2], pool_int64s=[5, 6, 5, 6], weights=[2.0, 0.5, 3.0])
row("bits_as_integers", "BitCast", X(3, 5), to=6, opset=26, oracle="reference")
row("bits_as_floats", "BitCast", given(np.arange(40, 60, dtype=np.int32) * 50_000_000), to=1,
    opset=26, oracle="reference")
row("bits_as_unsigned", "BitCast", given(np.array([-1, 3, -128], np.int8)), to=2, opset=26,
    oracle="reference")
row("deform_conv", "DeformConv", X(2, 4, 6, 7), W(6, 2, 3, 2), X(2, 24, 3, 7, lo=-3, hi=3), W(6),
    X(2, 12, 3, 7), group=2, offset_group=2, strides=[2, 1], pads=[1, 0, 0, 1], dilations=[1, 1],
    kernel_shape=[3, 2], opset=22, oracle="reference")
row("tensor_scatter", "TensorScatter", X(2, 3, 5, 4), X(2, 3, 2, 4), given(i64(1, 3)), opset=24,
    oracle="reference")
row("tensor_scatter_circular", "TensorScatter", X(2, 5, 4), X(2, 3, 4), given(i64(4, 2)),
    opset=24, axis=1, mode="circular", oracle="reference")
row("resize_antialias", "Resize", X(1, 2, 9, 13), None, None, i64(1, 2, 4, 5), opset=18,
    mode="linear", antialias=1, exclude_outside=1)
row("resize_antialias_cubic", "Resize", X(1, 1, 12, 9), None, None, i64(1, 1, 5, 7), opset=18,
    mode="cubic", antialias=1, oracle="reference")
row("batchnorm_training", "BatchNormalization", X(2, 3, 4, 5), X(3), X(3), X(3), X(3, lo=0),
    outputs=3, training_mode=1, opset=15)
row("max_pool_indices", "MaxPool", X(2, 3, 7, 9), kernel_shape=[3, 2], strides=[2, 1],
    pads=[1, 0, 1, 1], outputs=2)
row("max_pool_indices_by_columns", "MaxPool", X(2, 3, 7, 9), kernel_shape=[2, 2], strides=[2, 2],
    storage_order=1, outputs=2)
row("max_unpool", "MaxUnpool", X(1, 1, 2, 2), given(np.array([[[[5, 7], [13, 15]]]])),
    kernel_shape=[2, 2], strides=[2, 2])
row("max_unpool_padded", "MaxUnpool", X(1, 1, 2, 2), given(np.array([[[[0, 2], [4, 8]]]])),
    kernel_shape=[2, 2], strides=[2, 2], pads=[0, 1, 1, 0])
row("max_unpool_to_a_shape", "MaxUnpool", X(1, 1, 2, 2), given(np.array([[[[5, 7], [13, 15]]]])),
    i64(1, 1, 5, 5), kernel_shape=[2, 2], strides=[2, 2], oracle="reference")

# Operands that only a run knows: of axes there are few; else the result is declared, or counted.
row("axis_at_run", "CumSum", X(3, 7, 5), given(np.int64(-2)))
row("axes_at_run", "ReduceSum", X(3, 3, 3, 5), given(i64(-3, 3)), keepdims=0,
    declares=[[3, 3]])
row("axes_at_run_kept", "ReduceLogSumExp", X(3, 7, 5), given(i64(0, 2)), opset=18,
    declares=[[1, 7, 1]])
row("slice_at_run", "Slice", X(5, 13, 4), given(i64(1, 11)), given(i64(4, -14)), i64(0, 1),
    given(i64(2, -3)))
row("slice_at_run_declared", "Slice", X(5, 13, 4), given(i64(-3)), given(i64(100)), given(i64(1)),
    declares=[[5, 3, 4]])
row("split_at_run", "Split", X(3, 11), given(i64(4, 0, 7)), axis=1, outputs=3,
    declares=[[3, 4], [3, 0], [3, 7]])
row("pad_at_run", "Pad", X(3, 5), given(i64(2, -1, 0, 3)), given(f32(1.5)), declares=[[5, 7]])
row("pad_reflect_at_run", "Pad", X(3, 5), given(i64(2, 4, 1, 3)), mode="reflect",
    declares=[[6, 12]])
row("reshape_at_run", "Reshape", X(3, 8), given(i64(4, -1)), declares=[[4, 6]])
row("tile_at_run", "Tile", X(3, 5), given(i64(2, 3)), declares=[[6, 15]])
row("resize_sizes_at_run", "Resize", X(1, 2, 5, 7), None, None, given(i64(1, 2, 9, 4)),
    mode="linear", declares=[[1, 2, 9, 4]])
row("resize_scales_at_run", "Resize", X(1, 2, 5, 7), None, given(f32(1, 1, 1.3, 0.6)),
    mode="cubic", declares=[[1, 2, 6, 4]])
row("one_hot_at_run", "OneHot", given(i64(0, -2, 5)), given(np.int64(6)), f32(0, 3),
    declares=[[3, 6]])
row("stft_at_run", "STFT", X(1, 40, 1), given(np.int64(6)), None, given(np.int64(9)),
    declares=[[1, 6, 5, 2]])
row("range_at_run", "Range", given(f32(1)), given(f32(4)), given(f32(0.5)), declares=[[6]])

row("cumsum", "CumSum", X(3, 7, 5), np.int64(1))
row("cumsum_last_exclusive", "CumSum", X(3, 33), np.int64(-1), exclusive=1)
row("cumsum_reverse", "CumSum", X(7, 5), np.int64(0), reverse=1)
row("cumsum_reverse_exclusive", "CumSum", X(7, 5), np.int64(0), reverse=1, exclusive=1)

# ---- softmax and normalisations -----------------------------------------------------------------

for _op in ("Softmax", "LogSoftmax"):
    row(f"{_op.lower()}_last", _op, X(3, 5, 13, lo=-9, hi=9))
    row(f"{_op.lower()}_middle", _op, X(3, 7, 5, lo=-9, hi=9), axis=1)
    row(f"{_op.lower()}_flattening", _op, X(3, 4, 5, lo=-9, hi=9), axis=1, opset=11)
    row(f"{_op.lower()}_first", _op, X(7, 3), axis=0)
row("softmax_one", "Softmax", X(5, 1))
row("softmax_long", "Softmax", X(2, 1031, lo=-9, hi=9))
row("softmax_large_values", "Softmax",
    given(f32([[1000, 1001, 999], [-1000, -1001, -1002], [88, -88, 0]])))
row("softmax_masked", "Softmax", given(f32([[-INF, 1, 2], [-INF, -INF, 0]])))
row("softmax_symbolic", "Softmax", X(2, "t", lo=-9, hi=9), dims={"t": (1, 33)},
    sizes=({"t": 1}, {"t": 33}, {"t": 6}))
row("hardmax", "Hardmax", X(3, 5, 7))
row("hardmax_flattening", "Hardmax", X(3, 5, 7), opset=11, axis=1)
for _rank, _x in ((2, (3, 7)), (3, (2, 5, 9)), (4, (2, 5, 3, 7))):
    row(f"batchnorm_{_rank}d", "BatchNormalization", X(*_x), W(_x[1]), W(_x[1]), W(_x[1]),
        W(_x[1], lo=0.2, hi=2), epsilon=1e-3)
row("batchnorm_opset8", "BatchNormalization", X(2, 5, 3, 7), W(5), W(5), W(5), W(5, lo=0.2, hi=2),
    opset=8)
row("instancenorm", "InstanceNormalization", X(2, 5, 7, 9), W(5), W(5))
row("instancenorm_1d", "InstanceNormalization", X(2, 5, 17), W(5), W(5), epsilon=1e-3)
row("layernorm", "LayerNormalization", X(3, 5, 13), W(13), W(13))
row("layernorm_no_bias", "LayerNormalization", X(3, 33), W(33))
row("layernorm_axis1", "LayerNormalization", X(3, 5, 7), W(5, 7), W(5, 7), axis=1)
row("layernorm_statistics", "LayerNormalization", X(3, 5, 7), W(7), W(7), outputs=3)
row("layernorm_offset", "LayerNormalization", X(3, 33, lo=100, hi=104), W(33), W(33), tol=1e-3)
row("groupnorm", "GroupNormalization", X(2, 6, 5, 3), W(6), W(6), num_groups=3, opset=21,
    oracle="reference")
row("rmsnorm", "RMSNormalization", X(3, 5, 13), W(13), opset=23, oracle="reference")
row("simplified_layernorm", "SimplifiedLayerNormalization", X(3, 5, 13), W(13))
row("lpnorm_2", "LpNormalization", X(3, 7), axis=1)
row("lpnorm_1", "LpNormalization", X(3, 7), axis=0, p=1)
row("lrn", "LRN", X(1, 13, 5, 3), size=5, alpha=1e-2, beta=0.6, bias=1.5)
row("mvn", "MeanVarianceNormalization", X(2, 3, 5, 7), oracle="reference")

# ---- movement -----------------------------------------------------------------------------------

for _name, _perm in (("nhwc", [0, 2, 3, 1]), ("swap_last", [0, 1, 3, 2]), ("reverse", [3, 2, 1, 0]),
    ("rotate", [1, 2, 3, 0])):
    row(f"transpose_{_name}", "Transpose", X(2, 3, 5, 7), perm=_perm)
row("transpose_default", "Transpose", X(3, 5, 7))
row("transpose_large", "Transpose", X(65, 33))
row("transpose_symbolic", "Transpose", X("t", 5, 3), perm=[1, 2, 0], dims={"t": (1, 9)},
    sizes=({"t": 1}, {"t": 9}, {"t": 4}))
row("reshape", "Reshape", X(3, 8, 5), i64(4, 30))
row("reshape_zero_minus_one", "Reshape", X(3, 8, 5), i64(0, 2, -1))
row("reshape_of_none", "Reshape", X(2, 0, 3), i64(5, 0, 3), allowzero=1)
row("flatten", "Flatten", X(2, 3, 5, 7))
row("flatten_axis0", "Flatten", X(2, 3), axis=0)
row("squeeze", "Squeeze", X(1, 5, 1, 3), i64(0, 2))
row("squeeze_all", "Squeeze", X(1, 5, 1))
row("squeeze_attribute", "Squeeze", X(1, 5, 1), opset=11, axes=[0])
row("unsqueeze", "Unsqueeze", X(3, 5), i64(0, -1))
row("unsqueeze_attribute", "Unsqueeze", X(3, 5), opset=11, axes=[1, 3])
row("expand", "Expand", X(3, 1, 5), i64(2, 3, 4, 1))
row("tile", "Tile", X(3, 5), i64(2, 3))
row("concat_last", "Concat", X(3, 5), X(3, 1), X(3, 7), axis=1)
row("concat_first", "Concat", X(3, 5), X(1, 5), axis=0)
row("concat_middle", "Concat", X(2, 3, 5), X(2, 4, 5), axis=-2)
row("concat_constant", "Concat", W(2, 5), X(3, 5), axis=0)
row("concat_symbolic", "Concat", X(2, "t", 3), X(2, 4, 3), X(2, "t", 3), axis=1, dims={"t": (1, 7)},
    sizes=({"t": 1}, {"t": 7}, {"t": 3}))
row("concat_int", "Concat", X(7, lo=-9, hi=9, dtype="int64"), X(3, lo=-9, hi=9, dtype="int64"),
    axis=0)
row("split_equal", "Split", X(2, 9, 5), outputs=3, axis=1)
row("split_sizes", "Split", X(2, 9, 5), i64(2, 4, 3), outputs=3, axis=1)
row("split_attribute", "Split", X(9, 5), opset=11, outputs=2, axis=0, split=[2, 7])
row("split_num_outputs", "Split", X(2, 7), opset=18, outputs=3, axis=1, num_outputs=3)
row("slice", "Slice", X(7, 9), i64(1, 2), i64(6, 9))
row("slice_steps", "Slice", X(17, 9), i64(1, 0), i64(15, 9), i64(0, 1), i64(3, 2))
row("slice_negative", "Slice", X(7, 9), i64(-5, -3), i64(-1, 2**63 - 1))
row("slice_reverse", "Slice", X(7, 9), i64(-1, 7), i64(-(2**63), 1), i64(0, 1), i64(-1, -2))
row("slice_beyond", "Slice", X(7, 9), i64(3), i64(1000), i64(1))
row("slice_attributes", "Slice", X(7, 9), opset=9, starts=[1, -3], ends=[5, 1000], axes=[0, 1])
row("slice_symbolic", "Slice", X("t", 5), i64(1), i64(-1), i64(0), dims={"t": (3, 9)},
    sizes=({"t": 3}, {"t": 9}, {"t": 4}))
row("slice_symbolic_end", "Slice", X("t", 5), i64(-3), i64(2**63 - 1), i64(0), dims={"t": (3, 9)},
    sizes=({"t": 3}, {"t": 9}, {"t": 4}))
row("slice_symbolic_reverse", "Slice", X(2, "t"), i64(-1), i64(-(2**63)), i64(1), i64(-1),
    dims={"t": (1, 9)}, sizes=({"t": 1}, {"t": 9}, {"t": 4}))
for _axis in (0, 1, 2):
    row(f"gather_axis{_axis}", "Gather", X(5, 6, 7), X(2, 3, lo=-5, hi=4, dtype="int64"),
        axis=_axis)
row("gather_constant", "Gather", X(5, 6), np.array([[0, -1], [2, 2]], np.int64), axis=1)
row("gather_scalar", "Gather", X(5, 6), np.int64(-2), axis=0)
row("gather_table", "Gather", W(33, 12), X(2, 5, lo=0, hi=32, dtype="int64"))
row("gather_int32", "Gather", W(33, 12), X(7, lo=0, hi=32, dtype="int32"))
row("gather_elements", "GatherElements", X(5, 6), X(3, 6, lo=-5, hi=4, dtype="int64"), axis=0)
row("gather_elements_last", "GatherElements", X(5, 6), X(5, 9, lo=0, hi=5, dtype="int64"), axis=1)
row("scatter", "Scatter", X(5, 6), given([[1, -1, 4, 0, 2, 3]], "int64"), X(1, 6), opset=10)
row("scatter_elements", "ScatterElements", X(7, 6), given([[1, -1, 4, 0], [0, 6, -3, 5]], "int64"),
    X(2, 4), opset=18)
row("scatter_elements_constant", "ScatterElements", X(3, 7, 5),
    np.array([[[6], [-5]]] * 3), X(3, 2, 1),
    opset=18, axis=1)
row("scatter_elements_dynamic", "ScatterElements", X("a", 5), given([[3, 0, -2, 1, 2]] * 2,
    "int64"),
    X(2, 5), opset=18, axis=0, dims={"a": (4, 30)}, sizes=({"a": 4}, {"a": 13}))
for _how in ("add", "mul", "max", "min"):
    row(f"scatter_elements_{_how}", "ScatterElements", X(5, 9), X(4, 9, lo=-5, hi=4, dtype="int64"),
        X(4, 9), opset=18, axis=0, reduction=_how)
row("scatter_nd", "ScatterND", X(5, 6, 7), given([[1, 2], [-1, 0], [4, -6]], "int64"), X(3, 7),
    opset=18)
row("scatter_nd_rows", "ScatterND", X("a", 7), given([[3], [0], [-1]], "int64"), X(3, 7), opset=18,
    dims={"a": (5, 30)}, sizes=({"a": 5}, {"a": 11}))
row("scatter_nd_add", "ScatterND", X(5, 6), given([[1, 2], [4, 0], [1, 2]], "int64"), X(3),
    opset=18,
    reduction="add")
row("col2im", "Col2Im", X(2, 27, 12), i64(7, 9), i64(3, 3), opset=18, strides=[2, 2], pads=[1, 0,
    0, 0],
    tol=5e-5)
row("col2im_dilated", "Col2Im", X(1, 8, 10), i64(6, 8), i64(2, 2), opset=18, strides=[2, 1],
    dilations=[2, 3], pads=[0] * 4)
row("gathernd", "GatherND", X(3, 4, 5), X(6, 2, lo=0, hi=2, dtype="int64"))
row("gathernd_batch", "GatherND", X(3, 4, 5), X(3, 2, 1, lo=-4, hi=3, dtype="int64"), batch_dims=1)
for _mode in ("constant", "edge", "reflect", "wrap"):
    row(f"pad_{_mode}", "Pad", X(2, 5, 7), i64(0, 1, 3, 0, 2, 4), opset=19, mode=_mode)
row("pad_value", "Pad", X(5, 7), i64(1, 2, 0, 3), f32(1.5))
row("pad_negative", "Pad", X(5, 7), i64(-1, 2, 1, -3))
row("pad_minus_infinity", "Pad", X(5, 7), i64(1, 0, 1, 0), f32(-INF), special=True)
row("pad_axes", "Pad", X(2, 5, 7), i64(1, 2), None, i64(-1), opset=18)
row("pad_attributes", "Pad", X(5, 7), opset=10, pads=[1, 0, 0, 2], value=0.5, mode="constant")
row("pad_int", "Pad", X(5, lo=-9, hi=9, dtype="int32"), i64(1, 2), np.int32(7))
row("pad_bool", "Pad", X(5, dtype="bool"), i64(1, 2), opset=13)
row("pad_image_reflect", "Pad", X(1, 3, 9, 7), i64(0, 0, 4, 4, 0, 0, 4, 4), mode="reflect")
row("pad_symbolic_reflect", "Pad", X(1, 2, "h", "w"), i64(0, 0, 2, 1, 0, 0, 1, 2), mode="reflect",
    dims={"h": (3, 9), "w": (3, 9)},
    sizes=({"h": 3, "w": 9}, {"h": 9, "w": 3}, {"h": 5, "w": 6}))
row("pad_computed_value", "Pad", X(3, 5), i64(1, 0, 0, 2), X())
row("depth_to_space", "DepthToSpace", X(1, 12, 3, 5), blocksize=2)
row("depth_to_space_crd", "DepthToSpace", X(1, 12, 3, 5), blocksize=2, mode="CRD")
row("space_to_depth", "SpaceToDepth", X(1, 3, 4, 6), blocksize=2)
row("trilu_upper", "Trilu", X(2, 5, 7), np.int64(1))
row("trilu_lower", "Trilu", X(5, 5), upper=0)
row("onehot", "OneHot", X(3, 5, lo=-7, hi=6, dtype="int64"), np.int64(7), f32(0, 1))
row("onehot_axis", "OneHot", X(3, 5, lo=0, hi=6, dtype="int64"), np.int64(7), f32(-1, 2), axis=1)
row("eyelike", "EyeLike", X(5, 7), k=1)
row("constantofshape", "ConstantOfShape", i64(3, 5),
    value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5]))
row("range_constant", "Range", np.int64(3), np.int64(17), np.int64(4))
row("dropout", "Dropout", X(3, 5), opset=11)
row("identity", "Identity", X(3, 5))
row("size", "Size", X(3, 5))
row("shape_part", "Shape", X(3, 5, 7), start=1, end=-1)
row("constant_node", "Constant", value=helper.make_tensor("v", TensorProto.FLOAT, [2], [2.5, -1]))
row("constant_floats", "Constant", value_floats=[1.0, 2.5])

# ---- resizing -----------------------------------------------------------------------------------

for _mode in ("nearest", "linear", "cubic"):
    for _name, _scale in (("double", (2.0, 2.0)), ("half", (0.5, 0.5)), ("odd", (1.6, 2.3))):
        row(f"resize_{_mode}_{_name}", "Resize", X(1, 3, 6, 8), None, f32(1, 1, *_scale),
            mode=_mode)
    row(f"resize_{_mode}_sizes", "Resize", X(1, 3, 5, 7), None, None, i64(1, 3, 11, 4), mode=_mode)
for _coordinates in ("asymmetric", "align_corners", "pytorch_half_pixel"):
    row(f"resize_linear_{_coordinates}", "Resize", X(2, 3, 5, 4), None, None, i64(2, 3, 10, 9),
        mode="linear", coordinate_transformation_mode=_coordinates)
    row(f"resize_nearest_{_coordinates}", "Resize", X(2, 3, 5, 4), None, None, i64(2, 3, 10, 9),
        mode="nearest", coordinate_transformation_mode=_coordinates)
for _rounding in ("floor", "ceil", "round_prefer_ceil"):
    row(f"resize_nearest_{_rounding}", "Resize", X(1, 2, 5, 4), None, f32(1, 1, 1.5, 2.5),
        mode="nearest", nearest_mode=_rounding)
row("resize_nearest_integer_asymmetric", "Resize", X(1, 5, 4, 3), None, f32(1, 1, 2, 3),
    mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
row("resize_opset10", "Resize", X(1, 3, 4, 5), f32(1, 1, 2, 2), opset=10, mode="nearest")
row("upsample_nearest", "Upsample", X(1, 3, 4, 5), f32(1, 1, 2, 3), opset=9, mode="nearest")
row("upsample_linear", "Upsample", X(1, 3, 4, 5), f32(1, 1, 2, 2), opset=9, mode="linear")
row("resize_symbolic", "Resize", X(1, 3, "h", "w"), None, f32(1, 1, 2, 2), mode="nearest",
    coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    dims={"h": (1, 9), "w": (1, 9)}, sizes=({"h": 1, "w": 9}, {"h": 9, "w": 4}))
row("resize_symbolic_linear", "Resize", X(1, 3, "h", "w"), None, f32(1, 1, 2, 2), mode="linear",
    dims={"h": (1, 9), "w": (1, 9)}, sizes=({"h": 1, "w": 9}, {"h": 9, "w": 4}))
for _coordinates in ("align_corners", "pytorch_half_pixel"):
    row(f"resize_symbolic_to_one_{_coordinates}", "Resize", X(2, 3, "w"), None, f32(1, 1, 0.5),
        mode="linear", coordinate_transformation_mode=_coordinates, dims={"w": (2, 9)},
        sizes=({"w": 3}, {"w": 2}, {"w": 9}))
row("resize_last_axis", "Resize", X(2, 3, 7), None, f32(1, 1, 2), mode="linear")
row("gridsample", "GridSample", X(1, 3, 5, 7), X(1, 4, 6, 2, lo=-1.2, hi=1.2), opset=16)
row("gridsample_border", "GridSample", X(2, 3, 5, 7), X(2, 4, 6, 2, lo=-1.5, hi=1.5), opset=16,
    padding_mode="border", align_corners=1)
row("gridsample_reflection", "GridSample", X(1, 3, 5, 7), X(1, 4, 6, 2, lo=-1.5, hi=1.5), opset=16,
    padding_mode="reflection")
row("gridsample_nearest", "GridSample", X(1, 3, 5, 7), X(1, 4, 6, 2, lo=-1.2, hi=1.2), opset=16,
    mode="nearest")
row("gridsample_cubic", "GridSample", X(1, 3, 5, 7), X(1, 4, 6, 2, lo=-1.2, hi=1.2), opset=20,
    mode="cubic", tol=5e-5)
row("gridsample_cubic_reflection", "GridSample", X(2, 3, 5, 7), X(2, 4, 3, 2, lo=-1.6, hi=1.6),
    opset=20, mode="cubic", padding_mode="reflection", align_corners=1, tol=5e-5)
row("gridsample_volume", "GridSample", X(1, 2, 3, 5, 4), X(1, 2, 3, 4, 3, lo=-1.2, hi=1.2),
    opset=20)

# ---- quantisation -------------------------------------------------------------------------------

row("quantizelinear", "QuantizeLinear", X(3, 33, lo=-4, hi=4), f32(0.031), np.uint8(128))
row("quantizelinear_int8_axis", "QuantizeLinear", X(3, 5, 7, lo=-4, hi=4), W(5, lo=0.02, hi=0.05),
    np.zeros(5, np.int8), axis=1)
row("dequantizelinear", "DequantizeLinear", X(3, 33, lo=0, hi=255, dtype="uint8"), f32(0.031),
    np.uint8(128))
row("dequantizelinear_axis", "DequantizeLinear", X(3, 5, 7, lo=-128, hi=127, dtype="int8"),
    W(5, lo=0.02, hi=0.05), np.zeros(5, np.int8), axis=1)
row("dynamicquantize", "DynamicQuantizeLinear", X(3, 33, lo=-1, hi=4), outputs=3)
row("matmulinteger", "MatMulInteger", X(3, 5, lo=0, hi=255, dtype="uint8"),
    X(5, 4, lo=0, hi=255, dtype="uint8"), np.uint8(12), np.uint8(3))
row("convinteger", "ConvInteger", X(1, 3, 6, 7, lo=0, hi=255, dtype="uint8"),
    W(4, 3, 3, 3, lo=0, hi=255, dtype="uint8"), np.uint8(128), pads=[1, 1, 1, 1])
row("qlinearmatmul", "QLinearMatMul", X(3, 5, lo=0, hi=255, dtype="uint8"), f32(0.02),
    np.uint8(113), W(5, 4, lo=0, hi=255, dtype="uint8"), f32(0.01),
    np.uint8(99), f32(0.05), np.uint8(118))
# onnxruntime's product of u8 and s8 saturates at 16 bits on processors with AVX2 and no VNNI.
row("qlinearconv", "QLinearConv", X(1, 3, 6, 7, lo=0, hi=255, dtype="uint8"), f32(0.02),
    np.uint8(113), W(4, 3, 3, 3, lo=-127, hi=127, dtype="int8"),
    W(4, lo=0.001, hi=0.002), np.zeros(4, np.int8), f32(0.05), np.uint8(118),
    W(4, lo=-999, hi=999, dtype="int32"), pads=[1, 1, 1, 1], oracle="reference")

# Sums of integers: odd depths, last panels that are not full, windows over the border; weights that
# are bytes, have a zero point for each column, are halves of bytes or computed. All of 7 bits, for
# the reason above.
_B = {"lo": 0, "hi": 255, "dtype": "uint8"}
_W = {"lo": -64, "hi": 63, "dtype": "int8"}
row("integers_row", "MatMulInteger", X(1, 133, **_B), W(133, 45, **_W), np.uint8(12))
row("integers_rows", "MatMulInteger", X(2, 35, 21, **_B), W(21, 19, **_W), np.uint8(7),
    W(19, lo=-9, hi=9, dtype="int8"), oracle="reference")
row("integers_bytes", "MatMulInteger", X(69, 30, **_B), W(30, 24, **_W))
row("integers_batched", "MatMulInteger", X(3, 5, 17, **_B), W(3, 17, 11, **_W), np.uint8(255))
row("integers_of_both", "MatMulInteger", X(2, 6, 9, **_B), X(2, 9, 13, **_W), np.uint8(3))
row("integers_conv", "ConvInteger", X(1, 5, 9, 11, **_B), W(13, 5, 3, 3, **_W), np.uint8(128),
    pads=[1, 2, 1, 1])
row("integers_conv_apart", "ConvInteger", X(2, 6, 9, 8, **_B), W(10, 3, 3, 2, **_W), np.uint8(9),
    group=2, strides=[2, 1], dilations=[1, 2], pads=[2, 1, 0, 3])


@case(opset=21, oracle="reference")
def integers_between_roundings(n: Net) -> Any:
    """Two convolutions and a product whose numbers and weights are all quantised, with a sum of
    two branches."""

    def q(x: Any, scale: float, zero: int) -> Any:
        args = f32(scale), np.uint8(zero)
        return n.DequantizeLinear(n.QuantizeLinear(x, *args), *args)

    def w(dtype: str, *shape: int, axis: int) -> Any:
        hi = {"int8": 64, "int4": 7}[dtype]
        scale = n.w(shape[axis], lo=0.5 / hi, hi=1 / hi)
        return n.DequantizeLinear(n.w(*shape, lo=-hi, hi=hi, dtype=dtype), scale, axis=axis)

    x = q(n.x(1, 12, 7, 9, lo=-1, hi=1), 1 / 64, 120)
    y = q(n.Relu(n.Conv(x, w("int8", 12, 12, 3, 3, axis=0), n.w(12), pads=[1, 1, 1, 1])), 1 / 8, 3)
    y = q(n.Add(x, n.Conv(y, w("int8", 12, 12, 1, 1, axis=0))), 1 / 4, 90)
    return n.MatMul(n.Reshape(y, np.array([12, 63])), w("int4", 63, 21, axis=1)), y


@case(opset=21, oracle="reference")
def integers_then_gelu(n: Net) -> Any:
    """What follows a product of integers reads its accumulators more than once."""
    out = []
    for rows in (5, 1):
        x = n.QuantizeLinear(n.x(rows, 33, lo=-1, hi=1), f32(1 / 64), np.uint8(120))
        x = n.DequantizeLinear(x, f32(1 / 64), np.uint8(120))
        w = n.DequantizeLinear(n.w(33, 21, lo=-64, hi=64, dtype="int8"), f32(1 / 64))
        out.append(n.Gelu(n.MatMul(x, w)))
    return tuple(out)


# ---- chains: what fuses, cancels or shares ------------------------------------------------------


@case
def conv_bn_relu_add(n: Net) -> Any:
    x = n.x(1, 13, 7, 9)
    y = n.Conv(x, W(13, 13, 3, 3), W(13), pads=[1, 1, 1, 1])
    y = n.Relu(n.BatchNormalization(y, W(13), W(13), W(13), W(13, lo=0.3, hi=2)))
    y = n.Conv(y, W(13, 13, 3, 3), pads=[1, 1, 1, 1])
    return n.Relu(n.Add(n.BatchNormalization(y, W(13), W(13), W(13), W(13, lo=0.3, hi=2)), x))


@case
def residual_tower(n: Net) -> Any:
    x = n.Conv(n.x(1, 3, 17, 13), W(8, 3, 3, 3), W(8), pads=[1, 1, 1, 1], strides=[2, 2])
    for _ in range(3):
        y = n.Relu(n.Conv(x, W(8, 8, 3, 3, lo=-0.3, hi=0.3), W(8), pads=[1, 1, 1, 1]))
        x = n.Relu(n.Add(x, n.Conv(y, W(8, 8, 3, 3, lo=-0.3, hi=0.3), W(8), pads=[1, 1, 1, 1])))
    return n.Flatten(n.GlobalAveragePool(x))


@case
def inverted_residual(n: Net) -> Any:
    x = n.x(1, 7, 9, 9)
    y = n.Clip(n.Conv(x, W(21, 7, 1, 1), W(21)), f32(0), f32(6))
    y = n.Clip(n.Conv(y, W(21, 1, 3, 3), W(21), group=21, pads=[1, 1, 1, 1]), f32(0), f32(6))
    return n.Add(x, n.Conv(y, W(7, 21, 1, 1), W(7)))


@case
def squeeze_excite(n: Net) -> Any:
    x = n.Conv(n.x(1, 3, 9, 7), W(12, 3, 3, 3), W(12), pads=[1, 1, 1, 1])
    s = n.GlobalAveragePool(x)
    s = n.HardSigmoid(n.Conv(n.Relu(n.Conv(s, W(3, 12, 1, 1), W(3))), W(12, 3, 1, 1), W(12)))
    return n.Mul(x, s)


@case
def hard_swish_spelled_out(n: Net) -> Any:
    x = n.Conv(n.x(1, 5, 7, 7), W(9, 5, 1, 1), W(9))
    return n.Div(n.Mul(x, n.Clip(n.Add(x, f32(3)), f32(0), f32(6))), f32(6))


@case
def gelu_spelled_out(n: Net) -> Any:
    x = n.x(2, 7, 13, lo=-4, hi=4)
    return n.Mul(n.Mul(x, n.Add(n.Erf(n.Div(x, f32(1.41421356))), f32(1))), f32(0.5))


@case
def gelu_tanh_spelled_out(n: Net) -> Any:
    x = n.MatMul(n.x(5, 7), W(7, 13))
    inner = n.Mul(n.Add(x, n.Mul(n.Mul(n.Mul(x, x), x), f32(0.044715))), f32(0.7978846))
    return n.Mul(n.Mul(x, n.Add(n.Tanh(inner), f32(1))), f32(0.5))


@case
def silu_spelled_out(n: Net) -> Any:
    x = n.Conv(n.x(1, 5, 7, 7), W(9, 5, 1, 1), W(9))
    return n.Mul(x, n.Sigmoid(x))


@case
def mish_spelled_out(n: Net) -> Any:
    x = n.x(3, 33, lo=-6, hi=6)
    return n.Mul(x, n.Tanh(n.Softplus(x)))


@case(tol=1e-4)
def instance_norm_spelled_out(n: Net) -> Any:
    x = n.x(1, 5, 7, 9)
    mean = n.ReduceMean(x, axes=[2, 3])
    d = n.Sub(x, mean)
    var = n.ReduceMean(n.Pow(d, f32(2)), axes=[2, 3])
    y = n.Div(d, n.Sqrt(n.Add(var, f32(1e-5))))
    return n.Add(n.Mul(y, W(1, 5, 1, 1)), W(1, 5, 1, 1))


@case(tol=1e-4)
def layer_norm_spelled_out(n: Net) -> Any:
    x = n.Add(n.x(2, 5, 13), n.x(2, 5, 13))
    d = n.Sub(x, n.ReduceMean(x, axes=[-1]))
    var = n.ReduceMean(n.Pow(d, f32(2)), axes=[-1])
    return n.Add(n.Mul(n.Div(d, n.Sqrt(n.Add(var, f32(1e-5)))), W(13)), W(13))


@case
def softmax_spelled_out(n: Net) -> Any:
    x = n.x(3, 5, 17, lo=-5, hi=5)
    e = n.Exp(n.Sub(x, n.ReduceMax(x, axes=[-1])))
    return n.Div(e, n.ReduceSum(e, i64(-1)))


def _attention(n: Net, x: str, heads: int, width: int, mask: str | None, tokens: Any) -> Any:
    size = width // heads
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        y = n.Add(n.MatMul(x, W(width, width, lo=-0.4, hi=0.4)), W(width))
        parts.append(n.Transpose(n.Reshape(y, i64(0, -1, heads, size)), perm=perm))
    q, k, v = parts
    scores = n.Div(n.MatMul(q, k), f32(size**0.5))
    if mask is not None:
        scores = n.Add(scores, n.Mul(n.Sub(f32(1), n.Unsqueeze(n.Cast(mask, to=_F32), i64(1, 2))),
            f32(-10000)))
    y = n.MatMul(n.Softmax(scores, axis=-1), v)
    y = n.Reshape(n.Transpose(y, perm=[0, 2, 1, 3]), i64(0, -1, width))
    return n.Add(x, n.Add(n.MatMul(y, W(width, width, lo=-0.4, hi=0.4)), W(width)))


@case(tol=1e-4)
def attention(n: Net) -> Any:
    return _attention(n, n.x(2, 7, 12), 3, 12, n.x(2, 7, dtype="int64", lo=0, hi=1), 7)


@case(tol=1e-4, dims={"t": (1, 19)}, sizes=({"t": 1}, {"t": 19}, {"t": 8}, {"t": 5}))
def attention_symbolic(n: Net) -> Any:
    return _attention(n, n.x(1, "t", 16), 2, 16, n.x(1, "t", dtype="int64", lo=0, hi=1), "t")


@case(dims={"t": (1, 19)}, sizes=({"t": 1}, {"t": 19}, {"t": 8}))
def embedding_with_positions(n: Net) -> Any:
    ids = n.x(1, "t", dtype="int64", lo=0, hi=32)
    length = n.Gather(n.Shape(ids), np.int64(1))
    positions = n.Slice(W(24, 8), i64(0), n.Unsqueeze(length, i64(0)), i64(0))
    return n.Add(n.Gather(W(33, 8), ids), positions)


for _stored in ("", "_int8"):

    @case(name=f"tied_embedding{_stored}")
    def _tied(n: Net, stored: str = _stored) -> Any:
        table: Any = n.w(203, 34)
        if stored:
            q, scale = n.w(203, 34, lo=-127, hi=127, dtype="int8"), n.w(203, lo=0.1, hi=1)
            table = n.DequantizeLinear(q, scale, axis=0)
        rows = n.Gather(table, n.x(2, 5, lo=-203, hi=202, dtype="int64"))
        normal = n.Mul(n.LayerNormalization(rows, n.w(34)), n.w(34))
        return n.Mul(n.MatMul(normal, n.Transpose(table, perm=[1, 0])), f32(0.3))


@case(dims={"t": (1, 19)}, sizes=({"t": 1}, {"t": 19}, {"t": 8}))
def range_over_shape(n: Net) -> Any:
    x = n.x(2, "t")
    length = n.Gather(n.Shape(x), np.int64(1))
    return n.Mul(x, n.Cast(n.Range(np.int64(0), length, np.int64(1)), to=_F32))


@case(dims={"h": (4, 12), "w": (4, 12)}, sizes=({"h": 4, "w": 12}, {"h": 12, "w": 4},
    {"h": 7, "w": 9}))
def shape_arithmetic(n: Net) -> Any:
    x = n.x(1, 3, "h", "w")
    shape = n.Shape(x)
    half = n.Div(n.Slice(shape, i64(2), i64(4)), i64(2))
    y = n.Slice(x, i64(0, 0), half, i64(2, 3))
    y = n.Reshape(y, n.Concat(i64(1, 3), n.ReduceProd(half, axes=[0], keepdims=1), axis=0))
    return y, n.Expand(f32(2), n.Concat(half, i64(2), axis=0)), shape


@case(dims={"h": (2, 9), "w": (2, 9)}, sizes=({"h": 2, "w": 9}, {"h": 9, "w": 3}))
def resize_to_another(n: Net) -> Any:
    x, y = n.x(1, 2, "h", "w"), n.x(1, 3, "h", "w")
    big = n.Resize(y, None, f32(1, 1, 2, 2), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    sizes = n.Concat(i64(1, 2), n.Slice(n.Shape(big), i64(2), i64(4)), axis=0)
    return n.Concat(n.Resize(x, None, None, sizes, mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor"), big, axis=1)


@case
def concat_of_convs(n: Net) -> Any:
    x = n.x(1, 5, 9, 7)
    a = n.Relu(n.Conv(x, W(3, 5, 1, 1), W(3)))
    b = n.Relu(n.Conv(x, W(7, 5, 3, 3), W(7), pads=[1, 1, 1, 1]))
    c = n.MaxPool(x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return n.Conv(n.Concat(a, b, c, axis=1), W(4, 15, 1, 1), W(4))


@case
def concat_of_views(n: Net) -> Any:
    x = n.x(2, 12, 5)
    a, b = n.Split(x, outputs=2, axis=1)
    return n.Concat(n.Transpose(a, perm=[0, 2, 1]),
        n.Transpose(n.Slice(b, i64(-1), i64(-(2**63)), i64(1), i64(-1)), perm=[0, 2, 1]), axis=2)


@case
def concat_twice_the_same(n: Net) -> Any:
    x = n.Relu(n.x(2, 3, 5))
    return n.Concat(x, x, n.Neg(x), axis=1)


@case
def dense_block(n: Net) -> Any:
    x = n.x(1, 4, 7, 5)
    for _ in range(3):
        y = n.Conv(n.Relu(x), W(3, 4 + 3 * _, 3, 3), W(3), pads=[1, 1, 1, 1])
        x = n.Concat(x, y, axis=1)
    return n.AveragePool(x, kernel_shape=[2, 2], strides=[2, 2])


@case
def shuffle_channels(n: Net) -> Any:
    x = n.Conv(n.x(1, 6, 5, 7), W(12, 2, 1, 1), group=3)
    x = n.Reshape(n.Transpose(n.Reshape(x, i64(1, 3, 4, 5, 7)), perm=[0, 2, 1, 3, 4]),
        i64(1, 12, 5, 7))
    return n.Conv(x, W(12, 1, 3, 3), group=12, pads=[1, 1, 1, 1])


@case
def transposes_that_cancel(n: Net) -> Any:
    x = n.Transpose(n.x(1, 6, 5, 3), perm=[0, 2, 3, 1])
    x = n.Relu(n.Mul(x, W(6)))
    return n.Transpose(x, perm=[0, 3, 1, 2])


@case
def transpose_between_convs(n: Net) -> Any:
    x = n.Transpose(n.x(1, 9, 7, 3), perm=[0, 3, 1, 2])
    x = n.Conv(x, W(5, 3, 3, 3), W(5), pads=[1, 1, 1, 1])
    return n.Transpose(n.Softmax(x, axis=1), perm=[0, 2, 3, 1])


@case
def transpose_of_nchw_reshape(n: Net) -> Any:
    x = n.Conv(n.x(1, 3, 6, 4), W(8, 3, 3, 3), pads=[1, 1, 1, 1])
    return n.MatMul(n.Transpose(n.Reshape(x, i64(1, 8, 24)), perm=[0, 2, 1]), W(8, 5))


@case
def flatten_then_gemm(n: Net) -> Any:
    x = n.MaxPool(n.Conv(n.x(2, 3, 8, 6), W(5, 3, 3, 3), W(5)), kernel_shape=[2, 2], strides=[2, 2])
    return n.Gemm(n.Flatten(x), W(11, 5 * 3 * 2), W(11), transB=1)


@case
def split_gates(n: Net) -> Any:
    x = n.Add(n.MatMul(n.x(3, 7), W(7, 20)), W(20))
    i, o, f, c = n.Split(x, outputs=4, axis=1)
    return n.Add(n.Mul(n.Sigmoid(i), n.Tanh(c)), n.Mul(n.Sigmoid(f), n.Sigmoid(o)))


@case
def slices_that_meet_again(n: Net) -> Any:
    x = n.x(1, 3, 8, 8)
    parts = [n.Slice(x, i64(a, b), i64(8, 8), i64(2, 3), i64(2, 2)) for a in (0, 1) for b in (0, 1)]
    return n.Conv(n.Concat(*parts, axis=1), W(5, 12, 3, 3), W(5), pads=[1, 1, 1, 1])


@case
def upsample_and_add(n: Net) -> Any:
    x = n.Conv(n.x(1, 5, 4, 3), W(7, 5, 1, 1), W(7))
    big = n.Resize(x, None, f32(1, 1, 2, 2), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return n.Add(big, n.Conv(n.x(1, 3, 8, 6), W(7, 3, 3, 3), pads=[1, 1, 1, 1]))


@case
def reflect_pad_conv(n: Net) -> Any:
    x = n.Pad(n.x(1, 3, 9, 11), i64(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    return n.Relu(n.Conv(x, W(8, 3, 3, 3), W(8)))


@case
def pad_then_conv(n: Net) -> Any:
    x = n.Pad(n.x(1, 3, 9, 11), i64(0, 0, 0, 0, 0, 0, 1, 1), f32(0))
    return n.Conv(x, W(8, 3, 3, 3), W(8), strides=[2, 2])


@case
def shared_input_two_branches(n: Net) -> Any:
    x = n.Relu(n.x(3, 33))
    return n.Mul(n.MatMul(x, W(33, 5)), f32(2)), n.ReduceSum(x, i64(0)), n.Exp(n.Neg(x))


@case
def output_feeds_on(n: Net) -> Any:
    x = n.Conv(n.x(1, 3, 5, 5), W(4, 3, 3, 3))
    y = n.Relu(x)
    return x, y, n.GlobalMaxPool(y)


@case
def input_is_output(n: Net) -> Any:
    x = n.x(3, 5)
    return x, n.Neg(x)


@case
def same_output_twice(n: Net) -> Any:
    y = n.Relu(n.x(3, 5))
    return y, y


@case
def view_is_output(n: Net) -> Any:
    x = n.x(3, 4, 5)
    return n.Reshape(x, i64(12, 5)), n.Transpose(x, perm=[2, 0, 1]), n.Slice(x, i64(1), i64(3),
        i64(1))


@case
def constant_output(n: Net) -> Any:
    return n.Relu(n.x(3)), n.Mul(n.operand(f32([1, 2, 3])), f32(2)), n.operand(i64(4, 5))


@case
def unused_input(n: Net) -> Any:
    n.x(4)
    return n.Neg(n.x(3, 5))


@case
def scalar_graph(n: Net) -> Any:
    return n.Sqrt(n.Add(n.Mul(n.x(), n.x(lo=0)), f32(9)))


@case
def long_pointwise_chain(n: Net) -> Any:
    x = n.x(5, 13, lo=0.1, hi=1)
    for _ in range(6):
        x = n.Add(n.Mul(n.Tanh(x), n.x(13)), n.Sqrt(n.Abs(x)))
    return x


@case
def broadcast_chain(n: Net) -> Any:
    x = n.Add(n.x(3, 1, 7), n.x(1, 5, 1))
    return n.Div(n.Sub(x, n.ReduceMean(x, axes=[0, 2])), n.Add(n.Abs(n.x(7)), f32(1)))


@case
def reduce_of_broadcast(n: Net) -> Any:
    return n.ReduceSum(n.Mul(n.x(3, 5, 1), n.x(3, 1, 7)), i64(1))


@case
def many_reads_of_one(n: Net) -> Any:
    x = n.Exp(n.x(4, 9))
    return n.MatMul(x, n.Transpose(x, perm=[1, 0]))


@case
def integer_path(n: Net) -> Any:
    ids = n.x(2, 7, dtype="int64", lo=0, hi=20)
    mask = n.Cast(n.Not(n.Equal(ids, np.int64(3))), to=_I64)
    return n.Mul(ids, mask), n.ReduceSum(mask, i64(1)), n.CumSum(mask, np.int64(1))


@case
def boolean_path(n: Net) -> Any:
    x = n.x(3, 7)
    inside = n.And(n.Greater(x, f32(-1)), n.Not(n.Greater(x, f32(1))))
    return n.Where(inside, x, f32(0)), inside, n.Cast(inside, to=_F32)


@case
def one_hot_attention(n: Net) -> Any:
    x = n.x(5, 9)
    best = n.ArgMax(x, axis=1, keepdims=0)
    return n.MatMul(n.OneHot(best, np.int64(9), f32(0, 1)), W(9, 4)), best


@case(tol=1e-4)
def fake_quantisation(n: Net) -> Any:
    x = n.DequantizeLinear(n.QuantizeLinear(n.x(1, 3, 8, 8, lo=-1, hi=1), f32(0.0078), np.int8(0)),
        f32(0.0078), np.int8(0))
    w = n.DequantizeLinear(W(5, 3, 3, 3, lo=-127, hi=127, dtype="int8"), W(5, lo=0.005, hi=0.01),
        np.zeros(5, np.int8), axis=0)
    return n.Conv(x, w, pads=[1, 1, 1, 1])


@case(tol=1e-4)
def log_mel_front_end(n: Net) -> Any:
    frames = n.Conv(n.x(1, 1, 200, lo=-1, hi=1), W(18, 1, 32), strides=[16])
    re, im = n.Split(frames, outputs=2, axis=1)
    power = n.Add(n.Mul(re, re), n.Mul(im, im))
    return n.Log(n.Clip(n.MatMul(n.Transpose(power, perm=[0, 2, 1]), W(9, 5, lo=0)), f32(1e-5)))


@case
def unet_skip(n: Net) -> Any:
    x = n.x(1, 3, 8, 12)
    a = n.Relu(n.Conv(x, W(6, 3, 3, 3), W(6), pads=[1, 1, 1, 1]))
    b = n.Relu(n.Conv(n.MaxPool(a, kernel_shape=[2, 2], strides=[2, 2]), W(8, 6, 3, 3), W(8),
        pads=[1, 1, 1, 1]))
    up = n.ConvTranspose(b, W(8, 6, 2, 2), W(6), strides=[2, 2])
    return n.Sigmoid(n.Conv(n.Concat(up, a, axis=1), W(1, 12, 1, 1), W(1)))


@case(dims={"h": (4, 12), "w": (4, 12)}, sizes=({"h": 4, "w": 12}, {"h": 12, "w": 8},
    {"h": 8, "w": 4}))
def style_block_symbolic(n: Net) -> Any:
    x = n.Pad(n.x(1, 3, "h", "w"), i64(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    x = n.Conv(x, W(6, 3, 3, 3), W(6), strides=[2, 2])
    d = n.Sub(x, n.ReduceMean(x, axes=[2, 3]))
    x = n.Div(d, n.Sqrt(n.Add(n.ReduceMean(n.Mul(d, d), axes=[2, 3]), f32(1e-2))))
    x = n.Resize(n.Relu(x), None, f32(1, 1, 2, 2), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return n.Sigmoid(n.Conv(x, W(3, 6, 3, 3), W(3), pads=[1, 1, 1, 1]))


row("cumsum_vector", "CumSum", X(17), np.int64(0))
row("cumsum_units", "CumSum", X(1, 9), np.int64(1), reverse=1)
row("grid_sample_reflection_of_one", "GridSample", X(1, 2, 1, 7), W(1, 3, 2, 2, lo=-1.5, hi=1.5),
    align_corners=1, padding_mode="reflection")


@case
def space_to_depth_then_grouped_conv(n: Net) -> Any:
    x = n.SpaceToDepth(n.x(4, 2, 2, 2), blocksize=2)
    return n.Conv(x, W(32, 2, 5, 2), group=4, auto_pad="SAME_LOWER")


@case
def transposed_square_of_one_element(n: Net) -> Any:
    return n.Transpose(n.Expand(n.x(1, 1), i64(3, 3)))


@case
def constant_of_an_attribute(n: Net) -> Any:
    return n.Add(n.x(3, 5), n.Cast(n.Constant(value_int=3), to=TensorProto.FLOAT))


@case(dims={"n": (1, 12)}, sizes=({"n": 5}, {"n": 1}, {"n": 12}))
def arithmetic_of_sizes(n: Net) -> Any:
    """What a size cannot say (sign, a quotient rounded towards zero, ...) is computed as data."""
    shape = n.Shape(n.x(2, "n", 3))
    less = n.Sub(shape, i64(2, 5, 1))
    ops = [n.Sign(less), n.Abs(less), n.Neg(less), n.Div(less, i64(2)), n.Mod(less, i64(3)),
        n.Mod(less, i64(3), fmod=1), n.Div(i64(-7), shape), n.Max(less, i64(1)),
        n.Cast(n.Greater(less, i64(0)), to=TensorProto.INT64),
        n.Where(n.Not(n.Equal(less, i64(0))), less, shape)]
    return *ops, n.Cast(n.Mul(shape, n.Abs(less)), to=TensorProto.FLOAT)


@case(oracle="reference", opset=23, tol=1e-4)
def attention_operator(n: Net) -> Any:
    return n.Attention(n.x(1, 2, 5, 8), n.x(1, 2, 7, 8), n.x(1, 2, 7, 8))


@case(opset=13)
def if_with_constant_condition(n: Net) -> Any:
    x = n.x(3, 5)
    yes = helper.make_graph([helper.make_node("Relu", [x], ["y"])], "yes", [],
        [helper.make_empty_tensor_value_info("y")])
    no = helper.make_graph([helper.make_node("Neg", [x], ["z"])], "no", [],
        [helper.make_empty_tensor_value_info("z")])
    return n.If(np.array(True), then_branch=yes, else_branch=no)


# ---- recurrent cells: hidden units that fill no vector, more than one element in the batch ------

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_SIZES = {"t": (1, 12), "n": (1, 4)}


def recurrent(name: str, op: str, h: int = 11, features: int = 5, n: int | str = 3,
    t: int | str = 6, lens: Any = None, states: bool = False, bias: bool = True,
    peephole: bool = False, dtype: str = "float32", **more: Any) -> None:
    """Adds a case of RNN, GRU or LSTM; weights are scaled so that states neither die nor
    saturate.
    """
    d, g = 2 if more.get("direction") == "bidirectional" else 1, _GATES[op]
    batch_first = more.get("layout", 0)
    s = h**-0.5
    state = X(*((n, d, h) if batch_first else (d, n, h)), lo=-1, hi=1, dtype=dtype)
    operands = [
        X(*((n, t, features) if batch_first else (t, n, features)), dtype=dtype),
        W(d, g * h, features, dtype=dtype), W(d, g * h, h, lo=-2 * s, hi=2 * s, dtype=dtype),
        W(d, 2 * g * h, dtype=dtype) if bias else None, lens,
        *([state if states else None] * (1 + (g == 4))),
        *([W(d, 3 * h, dtype=dtype)] if peephole else []),
    ]  # fmt: skip
    row(name, op, *operands, outputs=3 if op == "LSTM" else 2, hidden_size=h, **more)


for _op in _GATES:
    _name, _i32 = _op.lower(), "int32"
    _lens = given([6, 0, 4], _i32)  # a sequence may be empty: its last state is zero
    recurrent(_name, _op)
    recurrent(f"{_name}_reverse", _op, direction="reverse", states=True)
    recurrent(f"{_name}_bidirectional", _op, direction="bidirectional", h=6, states=True)
    recurrent(f"{_name}_lengths", _op, lens=_lens, states=True)
    recurrent(f"{_name}_lengths_bidirectional", _op, lens=_lens, direction="bidirectional", h=8)
    recurrent(f"{_name}_batch_first", _op, layout=1, states=True, n=1, oracle="reference")
    recurrent(f"{_name}_symbolic", _op, n="n", t="t", direction="bidirectional", dims=_SIZES,
        sizes=({"t": 5, "n": 2}, {"t": 1, "n": 1}, {"t": 12, "n": 4}))
    recurrent(f"{_name}_large", _op, h=270, features=12, n=1, t=3, tol=5e-5)

for _k, (_act, _more) in enumerate((
    ("Relu", {}), ("Softsign", {}), ("Softplus", {}), ("Affine", {"alpha": 0.7, "beta": 0.1}),
    ("LeakyRelu", {"alpha": 0.3}), ("ThresholdedRelu", {"alpha": 0.2}),
    ("ScaledTanh", {"alpha": 0.8, "beta": 1.2}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    ("Elu", {"alpha": 0.5}),
)):  # fmt: skip
    recurrent(f"rnn_{_act.lower()}", "RNN", n=2, activations=[_act],
        **{f"activation_{k}": [v] for k, v in _more.items()})

recurrent("gru_activations", "GRU", direction="bidirectional",
    activations=["HardSigmoid", "Softsign", "Sigmoid", "LeakyRelu"],
    activation_alpha=[0.2, 0.1], activation_beta=[0.5])
recurrent("gru_clip", "GRU", clip=0.4)
recurrent("gru_linear_before_reset", "GRU", linear_before_reset=1, states=True)
recurrent("gru_linear_before_reset_reverse", "GRU", linear_before_reset=1, direction="reverse",
    lens=given([3, 6, 0], "int32"))
recurrent("gru_linear_before_reset_large", "GRU", h=515, features=9, n=1, t=2,
    linear_before_reset=1, tol=5e-5)
recurrent("lstm_activations", "LSTM", activations=["HardSigmoid", "ScaledTanh", "Softsign"],
    activation_alpha=[0.2, 0.9], activation_beta=[0.5, 1.1])
recurrent("lstm_clip", "LSTM", clip=0.4, states=True, bias=False)
recurrent("lstm_constant_lengths", "LSTM", lens=np.array([5, 0, 1], np.int32), states=True)
recurrent("lstm_one_unit", "LSTM", h=1, features=1, n=2, t=4)
recurrent("lstm_peephole", "LSTM", peephole=True, states=True)
recurrent("lstm_peephole_bidirectional", "LSTM", peephole=True, direction="bidirectional",
    lens=given([3, 6, 1], "int32"), clip=1.5)
recurrent("lstm_input_forget", "LSTM", input_forget=1, peephole=True)
recurrent("lstm_half", "LSTM", dtype="float16", oracle="reference", tol=4e-3, h=13, peephole=True)
recurrent("gru_half", "GRU", dtype="float16", oracle="reference", tol=4e-3, h=16, states=True)
recurrent("lstm_very_large", "LSTM", h=1024, features=4, n=1, t=2, tol=5e-5)


@case(dims={"t": (2, 40)}, sizes=({"t": 7}, {"t": 40}))
def lstm_of_lstm_then_last_step(n: Net) -> Any:
    x = n.x("t", 2, 9)
    for h in (12, 7):
        x, *_ = n.LSTM(x, W(1, 4 * h, 9 if h == 12 else 12), W(1, 4 * h, h), W(1, 8 * h),
            hidden_size=h, outputs=3)
        x = n.Squeeze(x, i64(1))
    return n.Softmax(n.Gemm(n.Gather(x, np.int64(-1), axis=0), W(7, 5)), axis=1)


@case
def recurrent_weights_that_are_computed(n: Net) -> Any:
    """Weights that no one knows before the run are packed in the page."""
    h, _ = n.GRU(n.x(4, 2, 3), n.x(1, 15, 3), n.Tanh(n.x(1, 15, 5)), hidden_size=5, outputs=2)
    return h


# ---- choosing elements, and pooling of regions: lengths that only a run finds -------------------


def _graded(*shape: int, step: float = 1.0) -> Array:
    """Numbers with many equal ones among them, in no order, negative zero included."""
    count = int(np.prod(shape))
    values = np.random.default_rng(count).integers(-4, 5, shape) * np.float32(step)
    values.ravel()[:: 7] *= -1
    return values.astype(np.float32)


row("topk", "TopK", X(5, 37), i64(6), outputs=2)
row("topk_least", "TopK", X(5, 37), i64(6), largest=0, outputs=2)
row("topk_axis", "TopK", X(3, 29, 5), i64(4), axis=1, outputs=2)
row("topk_equals", "TopK", given(_graded(3, 301)), i64(70), outputs=2)
row("topk_equals_least", "TopK", given(_graded(2, 301)), i64(301), largest=0, outputs=2)
row("topk_all", "TopK", X(2, 300), i64(300), outputs=2)
row("topk_one", "TopK", X(70, 9), i64(1), outputs=2)
row("topk_long", "TopK", X(1, 9001), i64(200), outputs=2)
row("topk_beyond_workgroup_memory", "TopK", X(2, 3001), i64(1500), outputs=2)
row("topk_int32", "TopK", X(4, 50, dtype="int32", lo=-9, hi=9), i64(11), outputs=2)
row("topk_int64", "TopK", X(4, 50, dtype="int64", lo=-(2**31), hi=2**31 - 1), i64(11), outputs=2)
row("topk_infinite", "TopK", given([[1, -np.inf, np.inf, -0.0, 0.0, np.inf, -1]], "float32"),
    i64(6), outputs=2)  # fmt: skip
row("topk_opset_9", "TopK", X(3, 20), k=5, axis=1, outputs=2, opset=9)
row("topk_symbolic", "TopK", X("n", "p"), i64(3), outputs=2,
    dims={"n": (1, 6), "p": (3, 500)}, sizes=({"n": 2, "p": 3}, {"n": 6, "p": 500}))


@case(dims={"p": (4, 400)}, sizes=({"p": 4}, {"p": 399}))
def topk_of_all(n: Net) -> Any:
    """k is the size of an axis: sorting."""
    x = n.x(2, "p")
    return n.TopK(x, n.Gather(n.Shape(x), i64(1)), outputs=2)


_SOME = given((np.random.default_rng(3).random((3, 5, 7)) < 0.3).astype(np.float32))
row("nonzero", "NonZero", _SOME)
row("nonzero_vector", "NonZero", given([0, 3, 0, 0, -1, 2], "int64"))
row("nonzero_bool", "NonZero", given(np.eye(9, 4, 2, bool)))
row("nonzero_none", "NonZero", given(np.zeros((4, 3), np.float32)))
row("nonzero_all", "NonZero", given(np.ones((4, 3), np.float32)))
row("nonzero_long", "NonZero", X(1, 5000, lo=-1, hi=1, dtype="int32"))
row("nonzero_symbolic", "NonZero", X("h", 3, lo=-1, hi=1, dtype="int32"),
    dims={"h": (1, 50)}, sizes=({"h": 1}, {"h": 50}))
row("nonzero_of_a_constant", "NonZero", np.float32([[0, 1], [2, 0]]))


@case
def nonzero_then_gather(n: Net) -> Any:
    """The rows where something holds, and what is computed of them."""
    x = n.x(40, 6)
    at = n.Squeeze(n.NonZero(n.Greater(n.ReduceMax(x, axes=[1], keepdims=0), f32(1.4))), i64(0))
    rows = n.Gather(x, at, axis=0)
    return rows, n.MatMul(n.Sigmoid(rows), W(6, 3)), n.Shape(rows), n.Transpose(rows, perm=[1, 0])


@case
def nonzero_then_reductions(n: Net) -> Any:
    """Sums, extremes and sorting along the axis whose length a run finds."""
    x = n.x(40, 6)
    at = n.Squeeze(n.NonZero(n.Less(n.ReduceMax(x, axes=[1], keepdims=0), f32(1.7))), i64(0))
    rows = n.Gather(x, at, axis=0)
    best, where = n.TopK(n.Slice(rows, i64(0), i64(1), i64(1)), i64(3), axis=0, outputs=2)
    return (n.ReduceSum(rows, i64(0)), n.ReduceMax(rows, axes=[0]), n.ReduceMin(rows, axes=[0]),
        n.ReduceMean(rows, axes=[0]), n.ArgMin(rows, axis=0), n.Softmax(rows, axis=0), best, where)


@case
def nonzero_of_two(n: Net) -> Any:
    """Two lengths in one model, and one that limits another's axis."""
    a = n.Transpose(n.NonZero(n.x(4, 9, lo=-1, hi=1, dtype="int32")), perm=[1, 0])
    b = n.NonZero(n.x(30, lo=-1, hi=1, dtype="int32"))
    return a, b, n.Slice(a, i64(0), i64(5), i64(0)), n.Concat(a, n.Neg(a), axis=1)


def _boxes(count: int, batch: int = 1, seed: int = 0) -> Array:
    """Corners of boxes that overlap one another often, given in either order."""
    rng = np.random.default_rng(seed)
    centre, size = rng.random((batch, count, 2)), 0.1 + 0.3 * rng.random((batch, count, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 2)
    swapped = np.concatenate([boxes[..., 2:], boxes[..., :2]], 2)
    return np.where(rng.random((batch, count, 1)) < 0.2, swapped, boxes).astype(np.float32)


_B, _T = given(_boxes(60)), f32([0.4])
_FEW, _LEAST = i64(7), f32([0.3])
row("nms", "NonMaxSuppression", _B, X(1, 3, 60, lo=0, hi=1), _FEW, _T, _LEAST)
row("nms_batch", "NonMaxSuppression", given(_boxes(60, 2)), X(2, 3, 60, lo=0, hi=1), _FEW, _T,
    _LEAST)
row("nms_equal_scores", "NonMaxSuppression", _B,
    given(np.abs(_graded(1, 2, 60, step=0.25))), _FEW, _T, _LEAST)
row("nms_all", "NonMaxSuppression", _B, X(1, 2, 60, lo=0, hi=1), i64(2**31), f32([0.6]))
row("nms_centered", "NonMaxSuppression", X(1, 60, 4, lo=0.1, hi=0.5), X(1, 2, 60, lo=-1, hi=1),
    _FEW, _T, _LEAST, center_point_box=1)
row("nms_none_selected", "NonMaxSuppression", _B, X(1, 2, 60, lo=0, hi=1), _FEW, _T, f32([2]))
row("nms_no_limit_given", "NonMaxSuppression", _B, X(1, 2, 60, lo=0, hi=1))
row("nms_touching_only", "NonMaxSuppression", _B, X(1, 1, 60, lo=0, hi=1), i64(60))
row("nms_many", "NonMaxSuppression", given(_boxes(1300, seed=5)), X(1, 2, 1300, lo=0, hi=1),
    i64(400), f32([0.7]), f32([0.05]))
row("nms_thresholds_as_inputs", "NonMaxSuppression", _B, X(1, 3, 60, lo=0, hi=1), _FEW,
    given([0.35], "float32"), given([0.4], "float32"))
row("nms_symbolic", "NonMaxSuppression", X(1, "p", 4, lo=0, hi=1), X(1, 2, "p", lo=0, hi=1), _FEW,
    _T, _LEAST, dims={"p": (1, 300)}, sizes=({"p": 1}, {"p": 290}))


@case
def nms_then_boxes_and_scores(n: Net) -> Any:
    """The tail of a detector: boxes, classes and scores of what was selected."""
    boxes, scores = n.add_input(given(_boxes(80, seed=2))), n.x(1, 4, 80, lo=0, hi=1)
    found = n.NonMaxSuppression(boxes, scores, i64(20), _T, f32([0.5]))
    box = n.Squeeze(n.Gather(found, i64(2), axis=1), i64(1))
    label = n.Squeeze(n.Slice(found, i64(1), i64(2), i64(1)), i64(1))
    rows = n.Gather(n.Squeeze(boxes, i64(0)), box, axis=0)
    score = n.GatherND(scores, found)
    return n.Mul(rows, f32(640)), n.Cast(label, to=1), n.Unsqueeze(score, i64(0)), n.Concat(
        rows, n.Unsqueeze(score, i64(1)), n.Cast(n.Unsqueeze(label, i64(1)), to=1), axis=1)


@case
def nms_then_the_best(n: Net) -> Any:
    """At most ten of all classes, by their scores."""
    boxes, scores = n.add_input(given(_boxes(80, seed=2))), n.x(1, 4, 80, lo=0, hi=1)
    found = n.NonMaxSuppression(boxes, scores, i64(20), _T, f32([0.5]))
    score = n.GatherND(scores, found)
    count = n.Min(n.Shape(score), i64(10))
    best, at = n.TopK(score, count, outputs=2)
    return best, n.Gather(n.Squeeze(boxes, i64(0)), n.Gather(n.Slice(found, i64(2), i64(3), i64(1)),
        at, axis=0), axis=0)  # fmt: skip


_ROIS = f32(*([x, y, x + w, y + h] for x, y, w, h in (
    (0.5, 1.25, 9.0, 7.5), (3.0, 2.0, 4.0, 11.0), (-3.0, -2.0, 8.0, 9.0), (9.5, 8.25, 20.0, 20.0),
    (4.0, 4.0, 0.25, 0.5))))  # fmt: skip
_AT = given([0, 1, 1, 0, 1], "int64")
_WHOLE = given(np.column_stack([[0, 1, 1, 0, 1], np.rint(_ROIS * 2)]).astype(np.float32))
_PICTURE = X(2, 5, 13, 15)
row("roi_align", "RoiAlign", _PICTURE, given(_ROIS), _AT, output_height=3, output_width=4,
    sampling_ratio=2, opset=16)
row("roi_align_adaptive", "RoiAlign", _PICTURE, given(_ROIS), _AT, output_height=3, output_width=2,
    spatial_scale=0.75, opset=16)
row("roi_align_opset_10", "RoiAlign", _PICTURE, given(_ROIS), _AT, output_height=2, output_width=2,
    sampling_ratio=3, spatial_scale=0.5, opset=10)
row("roi_align_max", "RoiAlign", _PICTURE, given(_ROIS), _AT, output_height=3, output_width=4,
    sampling_ratio=2, mode="max", coordinate_transformation_mode="output_half_pixel", opset=16,
    oracle="reference")
row("max_roi_pool", "MaxRoiPool", _PICTURE, _WHOLE, pooled_shape=[3, 4], spatial_scale=0.5)
row("max_roi_pool_whole", "MaxRoiPool", _PICTURE, _WHOLE, pooled_shape=[7, 6])


@case(opset=16)
def nms_then_roi_align(n: Net) -> Any:
    """The second stage of a two-stage detector works on what the first has found."""
    boxes = _boxes(30, seed=4) * 12
    found = n.NonMaxSuppression(n.add_input(given(boxes)), n.x(1, 1, 30, lo=0, hi=1), i64(8), _T)
    rois = n.Gather(np.sort(boxes[0].reshape(-1, 2, 2), 1).reshape(-1, 4),
        n.Squeeze(n.Gather(found, i64(2), axis=1), i64(1)), axis=0)  # fmt: skip
    at = n.Squeeze(n.Gather(found, i64(0), axis=1), i64(1))
    y = n.RoiAlign(n.x(1, 4, 13, 15), rois, at, output_height=4, output_width=4, sampling_ratio=2)
    y = n.Relu(n.Conv(y, W(6, 4, 3, 3), W(6)))
    return n.Softmax(n.Gemm(n.Flatten(y), W(24, 5)), axis=1)


@case
def nms_of_what_a_threshold_left(n: Net) -> Any:
    """As torchvision's detectors end: candidates above a score, suppression, the best of them."""
    boxes, scores = n.add_input(given(_boxes(80, seed=2)[0])), n.x(80, lo=0, hi=1)
    some = n.Squeeze(n.NonZero(n.Greater(scores, f32(0.4))), i64(0))
    box, score = n.Gather(boxes, some, axis=0), n.Gather(scores, some, axis=0)
    found = n.NonMaxSuppression(n.Unsqueeze(box, i64(0)),
        n.Unsqueeze(n.Unsqueeze(score, i64(0)), i64(0)), i64(2**31), _T)  # fmt: skip
    keep = n.Slice(n.Squeeze(n.Gather(found, i64(2), axis=1), i64(1)), i64(0), i64(9), i64(0))
    wide = n.Squeeze(n.NonZero(n.Greater(n.Gather(score, keep), f32(0.5))), i64(0))
    return n.Gather(box, keep), n.Gather(score, keep), n.Gather(box, n.Gather(keep, wide))


@case
def nms_then_pad_to_a_fixed_length(n: Net) -> Any:
    """As TensorFlow's detectors end: zeros, or a cut, make as many rows as were asked for."""
    boxes, scores = n.add_input(given(_boxes(80, seed=2))), n.x(1, 2, 80, lo=0, hi=1)
    found = n.NonMaxSuppression(boxes, scores, i64(30), _T, f32([0.6]))
    rows = n.Gather(n.Squeeze(boxes, i64(0)), n.Squeeze(n.Gather(found, i64(2), axis=1), i64(1)))
    out = []
    for size in (5, 90):
        some = n.Slice(rows, i64(0), i64(size), i64(0))
        count = n.Slice(n.Shape(some), i64(0), i64(1))
        lacking = n.Sub(i64(size), count)
        out.append(n.Pad(some, n.Concat(i64(0, 0), lacking, i64(0), axis=0), f32(-1)))
    return *out, n.Pad(rows, i64(1, 0, 2, 0)), n.Slice(rows, i64(1), i64(1000), i64(0))


@case
def nonzero_of_nothing_then_more(n: Net) -> Any:
    """Where nothing is found, sizes do not become negative, and sums are of nothing."""
    at = n.Transpose(n.NonZero(n.Greater(n.x(7, 5), f32(9))), perm=[1, 0])
    return n.Slice(at, i64(1), i64(1000), i64(0)), n.ReduceSum(at, i64(0)), n.Shape(at)


def _some_rows(n: Net, *shape: int) -> tuple[Any, Any]:
    """Rows of which only a run finds how many there are, and that number."""
    x = n.x(*shape)
    first = n.Squeeze(n.Slice(x, i64(0), i64(1), i64(1)), i64(1))
    rows = n.Compress(x, n.Greater(first, f32(-0.5)), axis=0)
    return rows, n.Slice(n.Shape(rows), i64(0), i64(1))


_WHOLE_AXIS = i64(-1), i64(-(2**62)), i64(0), i64(-1)


@case
def length_that_a_run_finds_moved(n: Net) -> Any:
    """Joined, turned round, laid flat, repeated, cut from the end, padded with what is there."""
    rows, _ = _some_rows(n, 9, 3)
    both = n.Concat(rows, W(2, 3), n.Neg(rows), axis=0)
    return (both, n.Slice(both, *_WHOLE_AXIS), n.Slice(rows, i64(-2), i64(2**62), i64(0)),
        n.Reshape(n.Transpose(rows, perm=[1, 0]), i64(-1)), n.Tile(rows, i64(2, 1)),
        n.Pad(rows, i64(1, 0, 2, 0), mode="edge"), n.Pad(rows, i64(1, 0, 1, 0), mode="reflect"),
        n.Gather(rows, i64(-1, 0), axis=0))


@case
def length_that_a_run_finds_joined_and_combined(n: Net) -> Any:
    """Reductions, sorting and positions of two lengths side by side."""
    rows, _ = _some_rows(n, 9, 3)
    more, _ = _some_rows(n, 7, 3)
    both = n.Concat(more, rows, W(1, 3), axis=0)
    best, at = n.TopK(both, i64(2), axis=0, outputs=2)
    return (n.ReduceMax(both, axes=[0]), n.CumSum(both, np.int64(0), reverse=1), best, at,
        n.Softmax(both, axis=0), n.NonZero(n.Greater(both, f32(0.5))), n.Shape(both))


@case
def length_that_a_run_finds_multiplied(n: Net) -> Any:
    """Products along the length and of the length with itself, attention, convolution."""
    rows, _ = _some_rows(n, 9, 3)
    turned = n.Transpose(rows, perm=[1, 0])
    seen = n.Softmax(n.MatMul(rows, turned), axis=-1)
    time = n.Unsqueeze(turned, i64(0))
    return (n.MatMul(turned, rows), n.MatMul(seen, rows), n.Conv(time, W(5, 3, 3), pads=[1, 1]),
        n.Conv(time, W(5, 3, 2), strides=[2]), n.ConvTranspose(time, W(3, 4, 4), strides=[2]),
        n.MaxPool(time, kernel_shape=[2]), n.AveragePool(time, kernel_shape=[3], pads=[1, 1]))


@case
def length_that_a_run_finds_as_a_size(n: Net) -> Any:
    """Shape and what is made of it, where nothing else of the value may be needed."""
    rows, count = _some_rows(n, 9, 3)
    line = n.Range(np.int64(0), n.Squeeze(count), np.int64(1))
    zeros = np.zeros((12, 3), np.float32)
    return (n.ConstantOfShape(n.Concat(count, i64(2), axis=0)), n.Mul(line, line),
        n.Expand(f32([[2.5]]), n.Shape(rows)),
        n.Div(n.ReduceSum(rows, i64(0)), n.Cast(count, to=1)),
        n.ScatterND(zeros, n.Unsqueeze(line, i64(1)), rows),
        n.Slice(rows, i64(0), n.Div(count, i64(2)), i64(0)))


@case
def length_that_a_run_finds_alone(n: Net) -> Any:
    """The length is all that a result has of it."""
    _, count = _some_rows(n, 9, 3)
    return n.Mul(count, i64(3))


@case
def length_that_a_run_finds_in_time(n: Net) -> Any:
    """A recurrence goes over the steps that there are, from the last one back too."""
    rows, _ = _some_rows(n, 9, 3)
    y, last = n.GRU(n.Unsqueeze(rows, i64(1)), W(2, 6, 3), W(2, 6, 2), hidden_size=2,
        direction="bidirectional", outputs=2)  # fmt: skip
    return y, last


@case(dims={"w": (5, 9)}, sizes=({"w": 5}, {"w": 9}))
def matmul_of_one_panel_at_every_size(n: Net) -> Any:
    """How many panels the product's columns have is one number for all sizes, and a formula."""
    return n.MatMul(n.x(1, 1, 1), n.Conv(n.x(2, 7, "w"), W(1, 7, 5)))


@case
def range_to_what_a_run_finds(n: Net) -> Any:
    """Positions of as many as an input says, of those that a mask leaves, and backwards."""
    count = n.Min(n.add_input(given(5, "int64")), np.int64(9))
    left = n.ReduceSum(n.Cast(n.Greater(n.x(8), f32(0)), to=7), keepdims=0)
    line = n.Range(np.int64(0), count, np.int64(1))
    return (line, n.Range(count, np.int64(-1), np.int64(-2)), n.Gather(W(9, 2), line),
        n.Range(np.int64(1), left, np.int64(1)))


@case(opset=21)
def grid_sample_by_a_constant_of_what_is_computed(n: Net) -> Any:
    """All positions and weights are constants: more buffers than one kernel may read on WebGPU."""
    x = n.LayerNormalization(n.Hardmax(n.x(1, 5, 2, 1), axis=0), f32([0.6]), f32([0.7]), axis=3)
    return n.GridSample(x, W(1, 2, 3, 2, lo=-1.3, hi=1.3), mode="linear",
        padding_mode="reflection")  # fmt: skip


@case
def slice_from_an_input_to_the_end(n: Net) -> Any:
    """As exporters write x[k:]: up to the largest number of 64 bits, or down to the least."""
    k, least = n.add_input(given([2], "int64")), i64(-(2**63))
    x = n.x(7, 3)
    return (n.Slice(x, k, i64(2**63 - 1), i64(0)), n.Slice(x, least, k, i64(0)),
        n.Slice(x, k, least, i64(0), i64(-1)))  # fmt: skip


@case(dims={"w": (1, 9)}, sizes=({"w": 1}, {"w": 9}, {"w": 6}))
def length_that_a_run_finds_at_most_as_large_as_a_size(n: Net) -> Any:
    """The upper bound is a symbolic dimension."""
    x = n.x(3, "w")
    some = n.Slice(x, i64(0), n.add_input(given([5], "int64")), i64(1))
    both = n.Concat(some, x, axis=1)
    return (n.Add(some, W(3, 1)), both, n.MatMul(some, n.Transpose(some, perm=[1, 0])),
        n.Slice(both, i64(-1), i64(-(2**62)), i64(1), i64(-1)), n.Softmax(both, axis=1))


@case
def length_that_a_run_finds_is_0(n: Net) -> Any:
    """Of nothing: joined with something, turned round, padded, distinct."""
    x = n.x(4, 3)
    rows = n.Compress(x, n.add_input(given(np.zeros(4, bool))), axis=0)
    both = n.Concat(rows, W(2, 3), axis=0)
    flat = n.Reshape(rows, i64(-1))
    return (both, n.Slice(both, *_WHOLE_AXIS), n.Slice(rows, *_WHOLE_AXIS), n.Unique(flat),
        n.Pad(rows, i64(1, 0, 2, 0)), n.MatMul(n.Transpose(rows, perm=[1, 0]), rows))


row("topk_of_as_many_as_an_input_says", "TopK", X(4, 30), given([7], "int64"), outputs=2)
row("nms_of_as_many_as_an_input_says", "NonMaxSuppression", _B, X(1, 3, 60, lo=0, hi=1),
    given([3], "int64"), _T, _LEAST)  # fmt: skip
row("compress", "Compress", X(6, 5), given([1, 0, 1, 1], "bool"), axis=0)
row("compress_columns", "Compress", X(6, 5), given([0, 1, 0, 0, 1], "bool"), axis=-1)
row("compress_all", "Compress", X(3, 4), given([0, 1, 1, 0, 0, 0, 0, 1, 1], "bool"))
row("compress_constant", "Compress", X(6, 5), np.array([True, False, True]), axis=0)


# ---- quantised weights: every storage, wherever kernels read them -------------------------------
# A scale for all, for each channel, or for each block; the sizes are odd, so that the last word of
# four or eight elements is not full.

_INTEGERS = {
    "int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15),
}  # fmt: skip


def quantised(
    n: Net, dtype: str, *shape: int, axis: int | None = None, block: int = 0, zero: bool = True
) -> str:
    """A constant of integers, dequantised: with one scale, by the indices of an axis or in
    blocks."""
    lo, hi = _INTEGERS.get(dtype, (-32768, 32767))
    q = n.w(*shape, lo=lo, hi=hi, dtype=dtype)
    sizes = () if axis is None else shape[axis : axis + 1]
    attrs = {} if axis is None else {"axis": axis}
    if block:
        sizes = tuple(-(-d // block) if k == axis else d for k, d in enumerate(shape))
        attrs["block_size"] = block
    scale = n.w(*sizes, lo=0.5 / hi, hi=2 / hi)
    zeros = [n.w(*sizes, lo=lo, hi=hi, dtype=dtype)] if zero else []
    return n.DequantizeLinear(q, scale, *zeros, **attrs)


def _quantised_cases() -> None:
    def add(name: str, body: Callable[[Net], Any]) -> None:
        case(body, name=f"weights_{name}", opset=21, oracle="reference")

    for dtype in _INTEGERS:

        def q(n: Net, *shape: int, dtype: str = dtype, **how: Any) -> str:
            return quantised(n, dtype, *shape, **how)

        add(f"{dtype}_matmul", lambda n, q=q: n.MatMul(n.x(5, 70), q(n, 70, 33)))
        add(
            f"{dtype}_row_in_blocks",
            lambda n, q=q: n.MatMul(n.x(1, 96), q(n, 96, 37, axis=0, block=32)),
        )
        add(
            f"{dtype}_conv",
            lambda n, q=q: n.Conv(n.x(1, 5, 7, 9), q(n, 11, 5, 3, 3, axis=0), pads=[1, 1, 1, 1]),
        )
        add(
            f"{dtype}_gather", lambda n, q=q: n.Gather(q(n, 13, 21, axis=0), np.array([[3, 12, 0]]))
        )
        add(f"{dtype}_add", lambda n, q=q: n.Add(n.x(3, 7, 13), q(n, 7, 13, axis=1)))

    def of(dtype: str, *shape: int, **how: Any) -> Callable[[Net], str]:
        return lambda n: quantised(n, dtype, *shape, **how)

    for name, body in {
        "symmetric": lambda n: n.MatMul(n.x(9, 64), of("int8", 64, 40, axis=1, zero=False)(n)),
        "few_rows": lambda n: n.MatMul(n.x(3, 64), of("int8", 64, 21, axis=1, zero=False)(n)),
        "two_rows": lambda n: n.MatMul(n.x(2, 256), of("int4", 256, 24, axis=0, block=32)(n)),
        "row_of_halves": lambda n: n.MatMul(n.x(1, 70), n.Cast(
            n.w(70, 35, dtype="float16"), to=1)),
        "int16": lambda n: n.MatMul(n.x(3, 21), of("int16", 21, 11, axis=1, zero=False)(n)),
        "many_rows": lambda n: n.Relu(n.MatMul(
            n.x(70, 48), of("int4", 48, 24, axis=0, block=16)(n))),
        "odd_blocks": lambda n: n.MatMul(n.x(3, 42), of("uint4", 42, 9, axis=0, block=6)(n)),
        "blocks_of_columns": lambda n: n.MatMul(n.x(3, 8), of("int8", 8, 36, axis=1, block=12)(n)),
        "transposed": lambda n: n.MatMul(n.x(2, 5, 64), n.Transpose(
            of("uint8", 31, 64, axis=1, block=16)(n), perm=[1, 0])),
        "gemm": lambda n: n.Gemm(n.x(5, 12), of("int8", 9, 12, axis=0)(n), n.w(9), transB=1),
        "batched": lambda n: n.MatMul(n.x(2, 3, 5, 12), of("int4", 3, 12, 10, axis=2)(n)),
        "first_operand": lambda n: n.MatMul(of("uint4", 9, 14, axis=0)(n), n.x(14, 6)),
        "few_columns": lambda n: n.MatMul(n.x(6, 30), of("int8", 30, 3, axis=1)(n)),
        "grouped": lambda n: n.Conv(n.x(1, 6, 7, 5), of("uint8", 10, 3, 3, 3, axis=0)(n), group=2),
        "depthwise": lambda n: n.Conv(n.x(1, 9, 8, 7), of("int8", 9, 1, 3, 3, axis=0)(n), group=9),
        "pointwise": lambda n: n.Mul(n.Conv(n.x(1, 7, 5, 3), of("int4", 9, 7, 1, 1, axis=0)(n)),
            n.w(1, 9, 1, 1)),
        "one_dimension": lambda n: n.Conv(n.x(2, 5, 17), of("uint4", 6, 5, 3, axis=0)(n)),
        "conv_transpose": lambda n: n.ConvTranspose(n.x(1, 4, 5, 6), of("int8", 4, 6, 3, 3)(n),
            strides=[2, 2]),
        "lstm": lambda n: n.LSTM(n.x(5, 2, 6), of("int8", 1, 28, 6)(n), of("int8", 1, 28, 7)(n),
            outputs=1, hidden_size=7),
        "of_no_elements": lambda n: n.MatMul(n.x(3, 0), of("int8", 0, 4)(n)),
        "as_an_output": of("int4", 7, 13, axis=1),
    }.items():  # fmt: skip
        add(name, body)


_quantised_cases()


# ---- com.microsoft: what onnxruntime's optimiser and exporters fuse; test_onnx_microsoft has more

_MS = {"domain": "com.microsoft"}


def Q(*shape: int, dtype: str = "uint8", constant: bool = False) -> Spec:
    """Integers of a quantised tensor: those of 7 bits, whose products no processor saturates."""
    return Spec(shape, 0 if dtype == "uint8" else -50, 255 if dtype == "uint8" else 50, dtype,
        constant)


U8, I8 = np.uint8, np.int8
_Q = f32(0.02), U8(120)  # a scale and a zero point
row("ms_gelu", "Gelu", X(3, 7), **_MS)
row("ms_fast_gelu", "FastGelu", X(3, 7), W(7), **_MS)
row("ms_bias_gelu", "BiasGelu", X(3, 7), W(7), **_MS)
row("ms_quick_gelu", "QuickGelu", X(3, 7), alpha=1.3, **_MS)
row("ms_fused_matmul", "FusedMatMul", X(2, 5, 3), X(2, 7, 5), transA=1, transB=1, alpha=0.5, **_MS)
row("ms_fused_matmul_batch", "FusedMatMul", X(3, 2, 5), X(2, 5, 7), transBatchA=1, **_MS)
row("ms_transpose_matmul", "TransposeMatMul", X(5, 3), W(5, 7), transA=1, **_MS)
row("ms_fused_gemm", "FusedGemm", X(3, 5), W(7, 5), W(7), transB=1, activation="LeakyRelu",
    activation_alpha=0.2, **_MS)
row("ms_fused_conv", "FusedConv", X(1, 4, 6, 5), W(6, 2, 3, 3), W(6), X(1, 6, 6, 5), group=2,
    pads=[1, 1, 1, 1], activation="Clip", activation_params=[-0.5, 0.75], **_MS)
row("ms_nhwc_max_pool", "NhwcMaxPool", Q(1, 6, 5, 3), kernel_shape=[2, 3], pads=[0, 1, 1, 1],
    **_MS)
row("ms_skip_layer_norm", "SkipLayerNormalization", X(2, 3, 9), X(2, 3, 9), W(9), W(9), W(9), **_MS)
row("ms_skip_rms_norm", "SkipSimplifiedLayerNormalization", X(2, 3, 9), X(2, 3, 9), W(9),
    epsilon=1e-6, **_MS)
row("ms_expand_dims", "ExpandDims", X(2, 3), np.int32(1), **_MS)
row("ms_range", "Range", np.int32(2), np.int32(9), np.int32(3), **_MS)
row("ms_trilu", "Trilu", X(4, 5), np.int64(1), upper=0, **_MS)
row("ms_cdist", "CDist", X(4, 5), X(3, 5), metric="euclidean", **_MS)
row("ms_inverse", "Inverse", X(2, 4, 4), tol=1e-4, **_MS)
row("ms_attention", "Attention", X(2, 3, 6), W(6, 24), W(24), given([2, 3], "int32"), num_heads=2,
    unidirectional=1, **_MS)
row("ms_multi_head", "MultiHeadAttention", X(1, 3, 8), X(1, 5, 8), X(1, 5, 8), W(24), num_heads=2,
    **_MS)
row("ms_rotary", "RotaryEmbedding", X(1, 3, 16), given([[0, 1, 5]], "int64"), W(9, 4), W(9, 4),
    interleaved=1, **_MS)
row("ms_q_linear_add", "QLinearAdd", Q(2, 5), *_Q, Q(2, 5), *_Q, f32(0.05), U8(99), **_MS)
row("ms_q_linear_mul", "QLinearMul", Q(2, 5), *_Q, Q(2, 5), *_Q, f32(0.05), U8(99), **_MS)
row("ms_q_linear_concat", "QLinearConcat", f32(0.03), U8(100), Q(2, 5), *_Q, Q(2, 3), *_Q, axis=1,
    **_MS)
row("ms_q_linear_where", "QLinearWhere", X(2, 5, dtype="bool"), Q(2, 5), *_Q, Q(2, 5), *_Q,
    f32(0.05), U8(99), **_MS)
row("ms_q_linear_leaky_relu", "QLinearLeakyRelu", Q(2, 5), *_Q, f32(0.03), U8(90), alpha=0.2, **_MS)
row("ms_q_linear_sigmoid", "QLinearSigmoid", Q(2, 5), *_Q, f32(0.0041), U8(3), **_MS)
case(lambda n: n.QLinearSoftmax(Q(2, 5), *_Q, f32(1 / 256), U8(0), opset=13, **_MS),
    name="ms_q_linear_softmax")
row("ms_q_linear_global_pool", "QLinearGlobalAveragePool", Q(1, 3, 5, 4), *_Q, f32(0.013), U8(90),
    **_MS)
row("ms_q_linear_average_pool", "QLinearAveragePool", Q(1, 5, 6, 3), *_Q, f32(0.0131), U8(90),
    channels_last=1, kernel_shape=[2, 3], pads=[0, 1, 1, 1], **_MS)
row("ms_q_linear_conv", "QLinearConv", Q(1, 5, 6, 4), *_Q, Q(6, 4, 3, 3, dtype="int8",
    constant=True), f32(0.03), I8(0), f32(0.41), U8(90), channels_last=1, **_MS)
row("ms_q_gemm", "QGemm", Q(3, 5), *_Q, Q(5, 4, dtype="int8", constant=True), f32(0.03), I8(3),
    None, f32(0.11), U8(90), **_MS)
row("ms_matmul_integer_to_float", "MatMulIntegerToFloat", Q(3, 5), Q(5, 4, dtype="int8"), f32(0.02),
    f32(0.03), U8(120), I8(3), W(4), **_MS)
row("ms_dynamic_quantize_matmul", "DynamicQuantizeMatMul", X(3, 5), Q(5, 4, dtype="int8",
    constant=True), f32(0.03), I8(3), **_MS)
row("ms_quantize", "QuantizeLinear", X(3, 5), *_Q, **_MS)
row("ms_dequantize", "DequantizeLinear", Q(3, 5), *_Q, **_MS)
row("ms_q_attention", "QAttention", Q(1, 3, 6), Q(6, 24, dtype="int8", constant=True), W(24),
    f32(0.02), f32(0.01), None, U8(120), I8(0), num_heads=2, tol=1e-4, **_MS)
for _bits, _k, _block, _zeros in (
    (2, 70, 16, True), (4, 96, 32, False), (4, 70, 16, True), (8, 40, 16, True),
):  # fmt: skip
    _blocks = -(-_k // _block)
    _bytes = W(13, -(-_blocks * _bits // 8), lo=0, hi=255, dtype="uint8")
    row(f"ms_matmul_{_bits}_bits_of_{_k}", "MatMulNBits", X(3, _k),
        W(13, _blocks, _block * _bits // 8, lo=0, hi=255, dtype="uint8"), W(13, _blocks, lo=0.02),
        _bytes if _zeros else None, None, W(13) if _zeros else None, K=_k, N=13,
        block_size=_block, bits=_bits, **_MS)
row("ms_matmul_4_bits_ordered", "MatMulNBits", X(1, 64), W(9, 4, 8, lo=0, hi=255, dtype="uint8"),
    W(9, 4, lo=0.02), None, np.arange(64, dtype=np.int32) * 7 % 64 // 16, K=64, N=9, block_size=16,
    bits=4, **_MS)
for _bits in (2, 4, 8):
    row(f"ms_gather_{_bits}_bits", "GatherBlockQuantized",
        W(7, 64 * _bits // 8, lo=0, hi=255, dtype="uint8"), given([[6, 0, -2]], "int64"),
        W(7, 4, lo=0.02), W(7, 4 * _bits // 8, lo=0, hi=255, dtype="uint8") if _bits > 2 else None,
        bits=_bits, block_size=16, gather_axis=0, quantize_axis=1, **_MS)
row("ms_dynamic_quantize_lstm", "DynamicQuantizeLSTM", X(3, 1, 4),
    Q(1, 4, 20, dtype="int8", constant=True), Q(1, 5, 20, dtype="int8", constant=True), W(1, 40),
    None, None, None, None, f32([0.004]), np.zeros(1, I8), f32([0.004]), np.zeros(1, I8),
    hidden_size=5, tol=0.03, **_MS)


@case
def ms_embed_layer_norm(n):
    ids, kinds = given([[1, 4, 2]], "int32"), given([[0, 0, 1]], "int32")
    return n.EmbedLayerNormalization(ids, kinds, W(9, 8), W(5, 8), W(2, 8), W(8), W(8),
        given([[1, 1, 0]], "int32"), outputs=2, **_MS)


@case
def ms_group_query(n):
    return n.GroupQueryAttention(X(1, 1, 64), X(1, 1, 32), X(1, 1, 32), X(1, 2, 3, 16),
        X(1, 2, 3, 16), given([3], "int32"), np.int32(4), W(9, 8), W(9, 8), num_heads=4,
        kv_num_heads=2, do_rotary=1, local_window_size=3, outputs=3, **_MS)


def _normed_heads(n, inside=True):
    """Queries and keys that the operator normalises, or ONNX before it."""
    q, k, v = (n.operand(X(1, 2, 32 if j else 64)) for j in range(3))
    norms = n.operand(W(16)), n.operand(W(16))
    size = {"num_heads": 4, "kv_num_heads": 2}
    rest = [None, None, given([1], "int32"), np.int32(2)]
    if inside:
        return n.GroupQueryAttention(q, k, v, *rest, *[None] * 7, *norms, q_norm_epsilon=1e-3,
            k_norm_epsilon=1e-3, **size, **_MS)

    def normed(x, w):
        y = n.Reshape(x, i64(1, 2, -1, 16))
        mean = n.ReduceMean(n.Mul(y, y), axes=[3])
        return n.Reshape(n.Mul(n.Div(y, n.Sqrt(n.Add(mean, f32(1e-3)))), w), i64(1, 2, -1))

    return n.GroupQueryAttention(normed(q, norms[0]), normed(k, norms[1]), v, *rest, **size, **_MS)


case(_normed_heads, name="ms_group_query_normed", oracle=lambda n: _normed_heads(n, False))


def _same_heads(n):
    x = n.operand(X(1, 3, 2, 3, 4))
    q, k, v = (n.Reshape(n.Slice(x, i64(j), i64(j + 1), i64(3)), i64(1, 3, 8)) for j in range(3))
    return n.MultiHeadAttention(q, k, v, num_heads=2, **_MS)


row("ms_multi_head_packed", "MultiHeadAttention", X(1, 3, 2, 3, 4), num_heads=2,
    oracle=_same_heads, **_MS)


# What onnxruntime has for GPUs alone, spelled out as ONNX.

# ---- control flow and sequences ------------------------------------------------------------------


def graph_of(text: str, **names: str) -> onnx.GraphProto:
    """A body in ONNX's textual syntax; `names` are what it captures, by its own words for them."""
    graph = parser.parse_graph(text)

    def rename(g: onnx.GraphProto) -> None:
        for node in g.node:
            node.input[:] = [names.get(i, i) for i in node.input]
            for a in node.attribute:
                rename(a.g)

    rename(graph)
    return graph


_HALVES = """b (int64 k, bool going, float[2, 3] s, float[2, 3] t) => (bool again, float[2, 3] u,
    float[2, 3] v, float[3] row, float[2, 3] all) {
    again = Identity(going)  f = CastLike(k, s)  w = Mul(s, captured)  u = Add(w, f)
    v = Sub(s, t)  zero = Constant<value_int = 0>()  row = Gather<axis = 0>(u, zero)
    all = Relu(v) }"""


@case
def loop(n):
    captured, times = n.x(3), n.operand(np.int64(3))
    body = graph_of(_HALVES, captured=captured)
    return n.Loop(times, None, X(2, 3), X(2, 3), outputs=4, body=body)


@case
def loop_that_ends_early(n):
    """Of at most 5 iterations; how many there are, only a run finds."""
    body = graph_of("""b (int64 k, bool going, float[3] s) => (bool again, float[3] t,
        float[3] row) { t = Add(s, s)  row = Mul(s, captured)  most = ReduceMax<keepdims = 0>(t)
        again = Less(most, limit) }""", captured=n.x(3), limit=n.operand(f32(9)))
    return n.Loop(n.operand(np.int64(5)), None, X(3, lo=1), outputs=2, body=body)


@case
def loop_that_may_not_begin(n):
    body = graph_of("""b (int64 k, bool going, float[3] s) => (bool again, float[3] t, int64 row) {
        t = Add(s, s)  row = Identity(k)  again = Identity(going) }""")
    begin = n.Greater(n.x(), n.operand(f32(5)))
    return n.Loop(n.operand(np.int64(2)), begin, X(3), outputs=2, body=body)


@case
def loop_of_a_decoder(n):
    """Until a token comes up, or as often as an input says: what was found, and how many."""
    body = graph_of("""b (int64 k, bool going, float[1, 8] s) => (bool again, float[1, 8] t,
        float[8] row, int64 token) { p = MatMul(s, w)  t = Tanh(p)  row = Squeeze(t)
        a = ArgMax<axis = 1, keepdims = 0>(t)  token = Squeeze(a)  end = Constant<value_int = 5>()
        ended = Equal(token, end)  again = Not(ended) }""", w=n.w(8, 8))
    times = n.Min(n.x(dtype="int64", lo=70, hi=75), n.operand(np.int64(80)))
    return n.Loop(times, None, X(1, 8), outputs=3, body=body)


@case(dims={"n": (1, 9)}, sizes=({"n": 3}, {"n": 8}))
def loop_without_a_limit(n):
    """Two states that change places, and one that stays."""
    body = graph_of("""b (int64 k, bool going, float[n] a, float[n] b, float[1] c) => (bool again,
        float[n] b, float[n] d, float[1] c) { m = Add(a, by)  d = Add(m, c)
        most = ReduceMax<keepdims = 0>(d)  again = Less(most, limit) }""",
        by=n.x("n", lo=0.5), limit=n.operand(f32(20)))
    first = n.Greater(n.x(lo=0.5), n.operand(f32(0)))
    return n.Loop(None, first, X("n"), X("n"), X(1, lo=0, hi=1), outputs=3, body=body)


@case
def loop_whose_limit_is_beyond_32_bits(n):
    """As exporters of PyTorch write while loops: the condition ends it after 70 iterations."""
    body = graph_of("""b (int64 k, bool going, float[3] s) => (bool again, float[3] t) {
        t = Add(s, by)  last = Constant<value_int = 69>()  again = Less(k, last) }""", by=n.x(3))
    going = n.Greater(n.x(lo=1), n.operand(f32(0)))
    return n.Loop(n.operand(np.int64(2**63 - 1)), going, X(3), body=body)


@case
def loop_that_finds_lengths(n):
    """Each iteration sums what is positive in it, of which only it finds how much there is."""
    body = graph_of("""b (int64 k, bool going, float[6] s) => (bool again, float[6] t, float sum) {
        again = Identity(going)  zero = Constant<value_float = 0.0>()  p = Greater(s, zero)
        found = Compress<axis = 0>(s, p)  sum = ReduceSum<keepdims = 0>(found)
        u = Sub(s, by)  t = Sin(u) }""", by=n.x(6))
    times = n.Min(n.x(dtype="int64", lo=3, hi=7), n.operand(np.int64(9)))
    return n.Loop(times, None, X(6), outputs=2, body=body)


@case
def loop_that_does_not_begin(n):
    body = graph_of("b (int64 k, bool going, float[3] s) => (bool going, float[3] t, float[3] u) {"
        " t = Add(s, s)  u = Relu(t) }")
    times = n.Min(n.x(dtype="int64", lo=-3, hi=-1), n.operand(np.int64(1000)))
    return n.Loop(times, None, X(3), outputs=2, body=body)


@case
def loop_in_a_loop_of_any_length(n):
    """The inner one adds as often as the outer one has run, to what is carried outside."""
    inner = """i (int64 j, bool g, float[4] s) => (bool h, float[4] t) {
        h = Identity(g)  f = CastLike(k, s)  u = Mul(captured, f)  t = Add(s, u) }"""
    outer = """o (int64 k, bool going, float[4] s) => (bool again, float[4] t, float[4] row) {
        row = Loop(k, , s)  even = Mod(k, two)  one = Constant<value_int = 1>()
        odd = Equal(even, one)  t = If(odd) <then_branch = a () => (float[4] p) { p = Neg(row) },
            else_branch = b () => (float[4] q) { q = Identity(row) }>  again = Identity(going) }"""
    captured = n.x(4)
    body = graph_of(outer, two=n.operand(np.int64(2)))
    body.node[0].attribute.append(
        helper.make_attribute("body", graph_of(inner, captured=captured)))
    times = n.Min(n.x(dtype="int64", lo=5, hi=7), n.operand(np.int64(400)))
    return n.Loop(times, None, X(4), outputs=2, body=body)


@case
def loop_in_a_loop(n):
    inner = """i (int64 j, bool g, float[4] s) => (bool h, float[4] t, float[4] row) {
        h = Identity(g)  f = CastLike(k, s)  t = Mul(s, half)  row = Add(t, f) }"""
    outer = graph_of("""o (int64 k, bool going, float[4] s) => (bool again, float[4] t,
        float[2, 4] rows) { again = Identity(going)  half = Constant<value_float = 0.5>()
        two = Constant<value_int = 2>()  t, rows = Loop(two, , s) }""")
    outer.node[-1].attribute.append(helper.make_attribute("body", parser.parse_graph(inner)))
    return n.Loop(n.operand(np.int64(3)), None, X(4), outputs=2, body=outer)


_SUMS = """b (float[3] s, float[3] x, float[2] y) => (float[3] t, float[3] row, float[2] p) {
    t = Add(s, x)  row = Mul(t, captured)  p = Mul(y, y) }"""


@case
def scan(n):
    """Backwards through one of two inputs, along another axis; one output is filled backwards."""
    return n.Scan(X(3), X(5, 3), X(2, 5), outputs=3, body=graph_of(_SUMS, captured=n.x(3)),
        num_scan_inputs=2, scan_input_axes=[0, -1], scan_input_directions=[1, 0],
        scan_output_axes=[1, 0], scan_output_directions=[0, 1])


@case(dims={"n": (1, 7)}, sizes=({"n": 2}, {"n": 7}))
def scan_of_any_length(n):
    """The same where the length is a size of the run."""
    return n.Scan(X(3), X("n", 3), X(2, "n"), outputs=3, body=graph_of(_SUMS, captured=n.x(3)),
        num_scan_inputs=2, scan_input_axes=[0, -1], scan_input_directions=[1, 0],
        scan_output_axes=[1, 0], scan_output_directions=[0, 1])


@case(dims={"n": (1, 7)}, sizes=({"n": 1}, {"n": 6}))
def loop_over_a_dimension(n):
    x = n.x("n", 3)
    times = n.Gather(n.Shape(x), np.int64(0))
    body = graph_of("""b (int64 k, bool going, float[3] s) => (bool again, float[3] t, float[3] row)
        { again = Identity(going)  e = Gather<axis = 0>(captured, k)  t = Add(s, e)
        row = Mul(t, e) }""", captured=x)
    return n.Loop(times, None, X(3), outputs=2, body=body)


row("scan_of_batches", "Scan", None, X(2, 3), X(2, 5, 3), X(2, 5, 2), outputs=3, opset=8,
    body=graph_of(_SUMS.replace("captured", "x")), num_scan_inputs=2, directions=[1, 0])


@case
def if_(n):
    """Both branches of a condition that only a run knows."""
    return n.If(n.Greater(n.x(), n.operand(f32(0))), outputs=2,
        then_branch=graph_of("t () => (float[2, 3] a, int64[2] b) { a = Relu(x)  b = Shape(x) }",
            x=n.x(2, 3)),
        else_branch=graph_of("e () => (float[2, 3] a, int64[2] b) { a = Neg(x)  b = Cast<to = 7>(f)"
            " }", x=n.x(2, 3), f=n.x(2)))


for _go in (0.0, 1.0):

    @case(name=f"if_dear_{'taken' if _go else 'not'}")
    def if_dear(n, go=_go):
        """A branch that a run computes only if it takes it."""
        return n.If(n.Greater(n.x(), n.operand(f32(1 - go))),
            then_branch=graph_of("t () => (float[24, 256] a) { p = MatMul(x, w)  q = Tanh(p)"
                "  a = MatMul(q, w) }", x=n.x(24, 256), w=n.x(256, 256)),
            else_branch=graph_of("e () => (float[24, 256] a) { a = Neg(x) }", x=n.x(24, 256)))


@case
def sequences(n):
    """Tensors of several shapes put in, taken out, counted, joined."""
    made = n.SequenceConstruct(X(2, 3), X(1, 3))
    longer = n.SequenceInsert(n.SequenceInsert(made, X(4, 3)), X(2, 3), np.int64(-2))
    shorter = n.SequenceErase(longer, np.int64(0))
    joined = n.ConcatFromSequence(shorter, axis=0)
    stacked = n.ConcatFromSequence(n.SequenceErase(n.SequenceConstruct(X(3), X(3), X(3))),
        axis=-1, new_axis=1)
    alone = n.SequenceInsert(n.SequenceEmpty(dtype=TensorProto.FLOAT), X(2))
    return (joined, stacked, n.SequenceLength(shorter), n.SequenceAt(longer, np.int64(-1)),
        n.SequenceAt(alone, np.int64(0)))


@case
def sequence_split(n):
    parts = n.SplitToSequence(X(7, 3), np.int64(3))
    uneven = n.SplitToSequence(X(2, 5), i64(4, 1), axis=1)
    rows = n.SplitToSequence(X(2, 3), axis=1, keepdims=0)
    return (n.SequenceAt(parts, np.int64(2)), n.SequenceAt(uneven, np.int64(0)),
        n.SequenceAt(rows, np.int64(1)), n.SequenceAt(rows, given(-2, "int64")))


@case
def sequence_map(n):
    body = graph_of("b (float[a, 3] x, float[3] y) => (float[a, 3] z, int64[2] s) {"
        " z = Mul(x, y)  s = Shape(x) }")
    made = n.SequenceConstruct(X(2, 3), X(1, 3))
    mapped, shapes = n.SequenceMap(made, X(3), outputs=2, body=body)
    return n.ConcatFromSequence(mapped, axis=0), n.ConcatFromSequence(shapes, axis=0)


@case
def loop_that_grows_a_sequence(n):
    body = graph_of("b (int64 k, bool g, seq(float[3]) s) => (bool h, seq(float[3]) t) {"
        " h = Identity(g)  f = CastLike(k, x)  y = Mul(x, f)  t = SequenceInsert(s, y) }", x=n.x(3))
    first = n.SequenceEmpty(dtype=TensorProto.FLOAT)
    return n.ConcatFromSequence(n.Loop(n.operand(np.int64(4)), None, first, body=body), axis=0)


@case
def optional(n):
    some = n.Optional(X(3))
    none = n.Optional(type=helper.make_tensor_type_proto(TensorProto.FLOAT, [3]))
    has = n.OptionalHasElement
    return has(some), has(none), n.Relu(n.OptionalGetElement(some))


def _split_gelu(n):
    a, b = n.Split(n.Add(X(1, 3, 8), W(8)), axis=2, outputs=2)
    return n.Mul(a, n.Gelu(b, **_MS))


def _last(n, x, rank=4):
    return n.Transpose(x, perm=[0, *range(2, rank), 1])


def _nhwc_conv(n, activation=""):
    x = n.Transpose(X(1, 5, 6, 4), perm=[0, 3, 1, 2])
    y = n.Conv(x, n.Transpose(W(3, 2, 3, 4), perm=[0, 3, 1, 2]), W(3), strides=[2, 1])
    return _last(n, getattr(n, activation)(y) if activation else y)


def _group_norm(n, skip=False):
    x, gamma, beta = (n.operand(s) for s in (X(2, 3, 5, 4), W(4), W(4)))
    total = n.Add(n.Add(x, X(2, 3, 5, 4)), W(4)) if skip else x
    y = n.GroupNormalization(n.Transpose(total, perm=[0, 3, 1, 2]), gamma, beta, num_groups=2,
        epsilon=1e-4)
    y = _last(n, y) if skip else _last(n, n.Mul(y, n.Sigmoid(y)))
    return (y, total) if skip else y


def _group_norm_first(n):
    y = n.GroupNormalization(X(2, 4, 3, 5), W(4), W(4), num_groups=2, epsilon=1e-5)
    return n.Mul(y, n.Sigmoid(y))


row("ms_bias_split_gelu", "BiasSplitGelu", X(1, 3, 8), W(8), oracle=_split_gelu, **_MS)
row("dynamic_quantize_zeros", "DynamicQuantizeLinear", given(np.zeros((2, 3), np.float32)),
    outputs=3)  # fmt: skip
row("ms_pad", "Pad", X(3, 5), i64(1, 0, 2, 1), f32(0.5), **_MS)
row("ms_gather_nd", "GatherND", X(4, 5, 3), given([[1, 4], [0, 2]], "int64"), **_MS)
row("ms_grid_sample", "GridSample", X(2, 3, 5, 4), X(2, 3, 2, 2, lo=-1.2, hi=1.2), **_MS)
row("ms_unique", "Unique", given([3, 1, 3, 2, 1], "float32"), outputs=3, **_MS)
row("ms_bias_add", "BiasAdd", X(2, 3), W(3), X(2, 3), **_MS,
    oracle=lambda n: n.Sum(X(2, 3), W(3), X(2, 3)))
row("ms_bias_softmax", "BiasSoftmax", X(2, 3, 5), X(2, 1, 5), axis=2, is_inner_broadcast=1, **_MS,
    oracle=lambda n: n.Softmax(n.Add(X(2, 3, 5), X(2, 1, 5)), axis=2))
row("ms_fused_matmul_activation", "FusedMatMulActivation", X(2, 3), W(3, 5), **_MS,
    activation="HardSigmoid", activation_alpha=0.3, activation_beta=0.4, alpha=0.5,
    oracle=lambda n: n.HardSigmoid(n.Mul(n.MatMul(X(2, 3), W(3, 5)), f32(0.5)), alpha=0.3,
        beta=0.4))
row("ms_nhwc_conv", "NhwcConv", X(1, 5, 6, 4), W(3, 2, 3, 4), W(3), strides=[2, 1],
    oracle=_nhwc_conv, **_MS)
row("ms_nhwc_fused_conv", "NhwcFusedConv", X(1, 5, 6, 4), W(3, 2, 3, 4), W(3), strides=[2, 1],
    activation="Relu", oracle=lambda n: _nhwc_conv(n, "Relu"), **_MS)
row("ms_group_norm", "GroupNorm", X(2, 3, 5, 4), W(4), W(4), groups=2, activation=1, epsilon=1e-4,
    opset=21, oracle=_group_norm, **_MS)
row("ms_group_norm_first", "GroupNorm", X(2, 4, 3, 5), W(4), W(4), groups=2, activation=1,
    channels_last=0, opset=21, oracle=_group_norm_first, **_MS)
row("ms_skip_group_norm", "SkipGroupNorm", X(2, 3, 5, 4), W(4), W(4), X(2, 3, 5, 4), W(4),
    groups=2, activation=0, epsilon=1e-4, opset=21, outputs=2,
    oracle=lambda n: _group_norm(n, True), **_MS)


row("det", "Det", X(5, 4, 4), tol=1e-4)
row("det_singular", "Det", given([[[1, 2], [2, 4]], [[0, 3], [2, 0]]], "float32"))
row("reverse_sequence", "ReverseSequence", X(5, 3, 2), given([5, 1, 3], "int64"))
row("reverse_sequence_batch_first", "ReverseSequence", X(3, 5), given([0, 4, 2], "int64"),
    batch_axis=0, time_axis=1)
row("cumprod", "CumProd", X(3, 7), np.int64(1), opset=26, oracle="reference")
row("cumprod_exclusive_reverse", "CumProd", X(5, 3), np.int64(-2), opset=26, oracle="reference",
    exclusive=1, reverse=1)
