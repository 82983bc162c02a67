"""The model in its own framework: the other side of `webdnn check`.

>>> with_onnx = reference("style.onnx", ["image"], ["stylized"])  # doctest: +SKIP
>>> with_onnx.name, with_onnx.run({"image": image})  # doctest: +SKIP
('onnxruntime', {'stylized': array(...)})

One function for each format, all of one signature: they import the framework when they are called,
and say what to install if it is missing. Inputs and outputs have the names of the imported graph;
a framework that has no names for them has them in the same order.

Limits: inner values (`layers`) are known for ONNX, Keras, Caffe and Chainer. Where no framework of
today loads a model (some Keras files of 2017, layers of a Caffe fork), values that were recorded
elsewhere take its place: `recorded`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import ModelError, WebDNNError
from ..frontend import FORMATS, format_of
from ..frontend.onnx.registry import registered_in
from .readings import Readings, in_float64, with_inner, with_onnx, with_onnxruntime

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Computed = Callable[[Arrays], dict[str, Array]]
Reading = Callable[[Arrays, Arrays], Readings]


@dataclass(frozen=True)
class Reference:
    """Outputs by name for inputs by name. `layers` gives inner values by the model's names for
    them; None where the framework does not. Both raise WebDNNError for what does not run. `read`
    gives further readings of inputs and the outputs that belong to them, `read_layers` of inner
    values; None where there are none.
    """

    name: str
    run: Computed
    layers: Computed | None = None
    read: Reading | None = None
    read_layers: Reading | None = None

    def again(self, arrays: Arrays, outputs: Arrays, inner: bool = False) -> Readings | str:
        """The further readings, or why there are none."""
        read = self.read_layers if inner else self.read
        if read is None:
            return ""
        try:
            return read(arrays, outputs)
        except Exception as error:  # the types of frameworks' errors are many, and `run` stands
            return f"no more exact reading: {type(error).__name__}: {error}".splitlines()[0]

    def at(self, fixed: Arrays) -> Reference:
        """This reference with some of its inputs given, once and for all."""

        def of(compute: Computed) -> Computed:
            return lambda arrays: compute({**arrays, **fixed})

        def reading(read: Reading) -> Reading:
            return lambda arrays, outputs: read({**arrays, **fixed}, outputs)

        return replace(
            self,
            run=of(self.run),
            layers=self.layers and of(self.layers),
            read=self.read and reading(self.read),
            read_layers=self.read_layers and reading(self.read_layers),
        )


@dataclass(frozen=True)
class _Model:
    """A model as the user gave it, and the names of its inputs and outputs."""

    source: Any
    weights: Any
    example: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def label(self) -> str:
        if isinstance(self.source, (str, os.PathLike)):
            return str(self.source)
        return "the model" if isinstance(self.source, bytes) else type(self.source).__name__


def reference(
    model: Any,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    weights: Any = None,
    example: Any = None,
) -> Reference:
    """The model in its own framework; `weights` and `example` are those of `transpile`.

    inputs, outputs: the imported graph's names, in its order. Raises WebDNNError if the framework
    is missing, ModelError if it cannot load the model.
    """
    kind = format_of(model)
    if kind not in _REFERENCES:
        raise WebDNNError(f"there is no reference for {FORMATS[kind]} models{_RECORDED}")
    made = _REFERENCES[kind](_Model(model, weights, example, tuple(inputs), tuple(outputs)))

    def guarded(compute: Computed) -> Computed:
        def run(arrays: Arrays) -> dict[str, Array]:
            try:
                return compute(arrays)
            except WebDNNError:
                raise
            except Exception as error:  # the types of frameworks' errors are many
                raise WebDNNError(
                    f"{made.name} cannot run the model on these inputs: {error}"
                ) from error

        return run

    return replace(made, run=guarded(made.run), layers=made.layers and guarded(made.layers))


def recorded(expected: Arrays) -> Reference:
    """Outputs that were computed elsewhere, for the only inputs that belong to them."""
    return Reference("recorded values", lambda _: dict(expected))


_RECORDED = (
    "; compare with outputs that were recorded where it does run: "
    "--expected OUTPUT=FILE.npy with --input INPUT=FILE.npy"
)


_PACKAGES = {  # of a format: the framework, the extra that installs it, what it is compared with
    "onnx": ("onnxruntime", "webdnn[check]", "ONNX models"),
    "chainer": ("chainer", "webdnn[chainer]", "Chainer models"),
    "keras": ("keras", "webdnn[keras]", "Keras models"),
    "caffe": ("cv2", "webdnn[caffe]", "Caffe nets"),
}


def check_installed(model: Any) -> None:
    """Raises WebDNNError where a model's framework is missing, before any work is done for it."""
    kind = format_of(model)
    if kind not in _PACKAGES:
        return
    name = _PACKAGES[kind][0]
    if not sys.modules.get(name) and (name in sys.modules or not importlib.util.find_spec(name)):
        _needed(kind)


def _needed(kind: str) -> Any:
    """The framework of a format, or one error that says how to install it."""
    name, extra, what = _PACKAGES[kind]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        alone = error.name == name.split(".")[0]
        missing = "which is not installed" if alone else f"which cannot be imported ({error})"
        raise WebDNNError(
            f"webdnn check compares {what} with {name}, {missing}: pip install '{extra}'{_RECORDED}"
        ) from error


# ---- ONNX ---------------------------------------------------------------------------------------


def _tensors(name: str, held: Any) -> list[tuple[str, Array]]:
    """An output as a page has it: the tensors of a sequence are NAME.0, NAME.1 ..."""
    if isinstance(held, list):
        return [(f"{name}.{k}", a) for k, a in enumerate(held)]
    return [(name, held)]


def _onnx(model: _Model) -> Reference:
    runtime = _needed("onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # its warnings about the model's optimisation are not ours

    def session(inner: bool) -> Any:
        if inner:  # the file's own operators, as they stand
            level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        return runtime.InferenceSession(
            _onnx_source(model.source, inner), options, providers=["CPUExecutionProvider"]
        )

    def computed(of: Any) -> Computed:
        names = [entry.name for entry in of.get_outputs()]

        def run(arrays: Arrays) -> dict[str, Array]:
            # Initialisers may be listed as inputs too; only true inputs are fed.
            fed: dict[str, Any] = {}
            for entry in of.get_inputs():
                name, optional = entry.name, entry.type.startswith("optional(")
                if "seq(" in entry.type:
                    count = sum(bool(re.fullmatch(rf"{re.escape(name)}\.\d+", k)) for k in arrays)
                    parts = [arrays[f"{name}.{k}"] for k in range(count)]
                    fed[name] = parts if parts or not optional else None
                elif name in arrays or optional:
                    fed[name] = arrays.get(name)
            found = zip(names, of.run(None, fed), strict=True)
            return {k: a for name, held in found for k, a in _tensors(name, held)}

        return run

    def layers(arrays: Arrays) -> dict[str, Array]:
        return computed(session(True))(arrays)

    def reading(inner: bool) -> Reading:
        return lambda arrays, outputs: with_onnxruntime(runtime, _onnx_proto(model.source), inner)(
            arrays, outputs
        )

    try:
        run = computed(session(False))
        return Reference("onnxruntime", run, layers, reading(False), reading(True))
    except Exception as error:  # undocumented types, which change
        proto = _onnx_proto(model.source)
        own = registered_in(proto)
        if not own and "NOT_IMPLEMENTED" in str(error):  # products of bfloat16, say
            return replace(_onnx_in_numpy(proto, {}), read=with_onnx(proto))
        if not own:
            raise ModelError(f"{model.label}: onnxruntime cannot load it: {error}") from error
        known = {k: o.reference for k, o in own.items() if o.reference is not None}
        lacking = [name for name in own if name not in known]
        if lacking:
            raise WebDNNError(
                f"{model.label}: onnxruntime cannot load it, perhaps because it lacks "
                f"{', '.join(lacking)}. Say in numpy what that computes: webdnn.onnx.register("
                f"{lacking[0]!r}, …, reference=function of arrays){_RECORDED}. "
                f"onnxruntime says: {error}"
            ) from error
    return _onnx_in_numpy(proto, known)


def _onnx_in_numpy(proto: onnx.ModelProto, own: Mapping[str, Callable[..., Any]]) -> Reference:
    """ONNX's own evaluator, with the users' functions for operators that onnxruntime lacks."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(proto, new_ops=[_numpy_op(*entry) for entry in own.items()])
    inner = [name for node in proto.graph.node for name in node.output if name]

    def run(names: Sequence[str], arrays: Arrays) -> dict[str, Array]:
        fed = {k: v for k, v in arrays.items() if k in evaluator.input_names}
        return dict(zip(names, evaluator.run(names, fed), strict=True))

    return Reference(
        f"onnx.reference, with {', '.join(own)} as registered" if own else "onnx.reference",
        lambda arrays: run(evaluator.output_names, arrays),
        lambda arrays: run(inner, arrays),
    )


def _numpy_op(name: str, function: Callable[..., Any]) -> type:
    """An operator of onnx.reference that a function of arrays computes."""
    from onnx.reference.op_run import OpRun

    def compute(self: Any, *arrays: Any, **attributes: Any) -> tuple[Array, ...]:
        found = function(*arrays, **attributes)
        return tuple(map(np.asarray, found if isinstance(found, tuple) else (found,)))

    domain, _, operator = name.rpartition("::")
    return type(operator, (OpRun,), {"op_domain": domain, "op_schema": None, "_run": compute})


def _onnx_source(source: Any, inner: bool) -> Any:
    """What onnxruntime loads; with `inner`, every node's outputs are outputs of the graph."""
    if isinstance(source, (str, os.PathLike)) and not inner:
        return str(source)
    if isinstance(source, bytes) and not inner:
        return source
    proto = _onnx_proto(source)
    return bytes((with_inner(proto) if inner else proto).SerializeToString())


def _onnx_proto(source: Any) -> onnx.ModelProto:
    """A copy of the model with all that belongs to it."""
    if isinstance(source, (str, os.PathLike)):
        return onnx.load(str(source))
    proto = onnx.ModelProto()
    proto.ParseFromString(source if isinstance(source, bytes) else source.SerializeToString())
    return proto


# ---- PyTorch and Chainer: the module itself ------------------------------------------------------


def _pytorch(model: _Model) -> Reference:
    from ..frontend.pytorch.module import function
    from .widened import module_in_double

    called = function(model.source, model.example)
    return Reference("PyTorch", called, read=module_in_double(called))


def _chainer(model: _Model) -> Reference:
    _needed("chainer")
    from ..frontend.chainer import computed

    if model.weights is not None:
        from ..frontend.chainer.weights import load_weights

        load_weights(model.source, Path(model.weights))

    def run(arrays: Arrays) -> dict[str, Array]:
        outputs, _ = computed(model.source, model.example, arrays)
        return dict(zip(model.outputs, outputs.values(), strict=True))

    def layers(arrays: Arrays) -> dict[str, Array]:
        return computed(model.source, model.example, arrays)[1]

    return Reference("Chainer", run, layers)


def _leaves(nested: Any) -> list[Any]:
    """The arrays of a structure of lists, tuples and dictionaries, in order."""
    if isinstance(nested, Mapping):
        return [leaf for value in nested.values() for leaf in _leaves(value)]
    if isinstance(nested, (list, tuple)):
        return [leaf for value in nested for leaf in _leaves(value)]
    return [] if nested is None else [nested]


# ---- Keras --------------------------------------------------------------------------------------


def _keras(model: _Model) -> Reference:
    if isinstance(model.source, (str, os.PathLike, bytes)):
        if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
            for backend in ("tensorflow", "torch", "jax"):
                if importlib.util.find_spec(backend) is not None:
                    os.environ["KERAS_BACKEND"] = backend
                    break
        keras = _needed("keras")
        net = _keras_net(model, keras)
    else:
        net = model.source
        # An object of keras or of tf_keras: what it came from computes it.
        roots = [c.__module__.partition(".")[0] for c in type(net).__mro__]
        keras = importlib.import_module("tf_keras" if "tf_keras" in roots else "keras")
    name = f"Keras {getattr(keras, '__version__', '')}".strip()

    def outputs(net: Any, names: Sequence[str], arrays: Arrays) -> dict[str, Array]:
        wanted = [t.name.split(":")[0] for t in net.inputs]
        by_name = set(wanted) == set(arrays)
        fed = [arrays[n] for n in (wanted if by_name else model.inputs)]
        structure = net.input if hasattr(net, "input") else net.inputs
        if isinstance(structure, Mapping):
            given: Any = dict(zip(structure, fed))
        else:
            given = fed
        with warnings.catch_warnings():  # of one structure of inputs instead of another
            warnings.simplefilter("ignore")
            found = net(given, training=False)
        values = [_numpy(v) for v in _leaves(found)]
        return dict(zip(names, values, strict=True))

    def layers(arrays: Arrays) -> dict[str, Array]:
        inner = {}
        for layer in net.layers:
            try:  # a layer that is called several times, or in a nested model only, has no output
                one = layer.output
            except (AttributeError, RuntimeError, ValueError):
                continue
            if hasattr(one, "shape"):
                inner[layer.name] = one
        return outputs(keras.Model(net.inputs, list(inner.values())), list(inner), arrays)

    def read(arrays: Arrays, usual: Arrays) -> Readings:
        # A policy of mixed precision, of the model or of single layers.
        kinds = {layer.compute_dtype for layer in net._flatten_layers()}
        if getattr(keras, "config", None) is None or keras.config.backend() != "torch":
            return replace(in_float64(name, usual, usual, kinds), name=name)
        from .widened import widened

        with widened():
            wide = outputs(net, model.outputs, arrays)
        return in_float64(name, wide, usual, kinds)

    return Reference(name, lambda arrays: outputs(net, model.outputs, arrays), layers, read)


def _numpy(value: Any) -> Array:
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
    array: Array = np.asarray(value)
    return array


def _keras_net(model: _Model, keras: Any) -> Any:
    """A model from its file, by Keras itself."""
    if isinstance(model.source, bytes):
        raise WebDNNError(f"Keras loads files, not bytes: write them into a file{_RECORDED}")
    path = Path(model.source)
    try:
        if path.suffix == ".json" and model.weights is not None:
            net = keras.models.model_from_json(path.read_text())
            net.load_weights(str(model.weights))
            return net
        return keras.models.load_model(str(path), compile=False)
    except Exception as error:  # whatever its many readers raise
        text = str(error).strip().splitlines()
        raise ModelError(
            f"{path}: Keras {keras.__version__} cannot load this file "
            f"({type(error).__name__}: {text[0][:200] if text else ''}), though the version that "
            "wrote it may. A class of your own must be made known to Keras, in Python or in a file "
            f"for --plugin: keras.utils.get_custom_objects()['Scale'] = Scale{_RECORDED}"
        ) from error


# ---- Caffe --------------------------------------------------------------------------------------


def _caffe(model: _Model) -> Reference:
    cv2 = _needed("caffe")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise WebDNNError(
            f"OpenCV {cv2.__version__} no longer reads Caffe nets: "
            f"pip install 'opencv-python-headless<5'{_RECORDED}"
        )
    from ..frontend.caffe import sources, text_of
    from ..frontend.caffe.phase import DROPPED, steps_of
    from ..frontend.caffe.text import parse

    text, weights = sources(model.source, model.weights)
    prototxt = text_of(text)

    def loaded(fusion: bool) -> Any:
        """A net of its own: after a run with fusion, turning that off leaves fused weights."""
        try:
            net = cv2.dnn.readNetFromCaffe(
                np.frombuffer(prototxt.encode(), np.uint8),
                np.frombuffer(
                    weights if isinstance(weights, bytes) else Path(weights).read_bytes(), np.uint8
                )
                if weights is not None
                else np.empty(0, np.uint8),
            )
        except cv2.error as error:
            raise ModelError(f"{model.label}: OpenCV cannot load it: {error}{_RECORDED}") from error
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.enableFusion(fusion)
        return net

    net = loaded(fusion=True)
    writers: dict[str, str] = {}  # blob -> the last layer that writes it
    detections: set[str] = set()
    for step in steps_of(parse(prototxt, model.label)):
        if step.type not in DROPPED:
            writers |= dict.fromkeys(step.tops[:1], step.name)
        if step.type == "DetectionOutput":
            detections |= {*step.tops[:1]}

    def forward(net: Any, arrays: Arrays, layers: Mapping[str, str]) -> dict[str, Array]:
        for name, array in arrays.items():
            net.setInput(np.ascontiguousarray(array, np.float32), name)
        found = net.forward(list(layers.values()))
        return {
            k: _detections(v) if k in detections else np.array(v)
            for k, v in zip(layers, found, strict=True)
        }

    def run(arrays: Arrays) -> dict[str, Array]:
        return forward(net, arrays, {name: writers[name] for name in model.outputs})

    def layers(arrays: Arrays) -> dict[str, Array]:
        plain = loaded(fusion=False)
        there = set(plain.getLayerNames())
        return forward(plain, arrays, {k: v for k, v in writers.items() if v in there})

    return Reference(f"OpenCV {cv2.__version__}", run, layers)


def _detections(found: Array) -> Array:
    """OpenCV's rows as Caffe has them: by image, label and confidence, nothing added."""
    rows = np.reshape(found, (-1, 7))
    rows = rows[rows.any(1)]
    return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))].reshape(1, 1, -1, 7)


_REFERENCES: Mapping[str, Callable[[_Model], Reference]] = {
    "onnx": _onnx, "pytorch": _pytorch, "chainer": _chainer, "keras": _keras, "caffe": _caffe,
}  # fmt: skip

__all__ = ["Reference", "check_installed", "recorded", "reference"]
