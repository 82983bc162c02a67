"""Caffe nets: a `.prototxt` with its `.caffemodel`, read without Caffe and as at test time.

    imported = load("deploy.prototxt", {"batch": 1}, weights="net.caffemodel")
    imported.graph, imported.notes

The prototxt says what the net is (`text` reads it), the caffemodel holds weights by the names
of the layers (`wire`); `layers` has one function for each type of layer. This file
decides which layers are there in the TEST phase, what the inputs are, and walks the layers in
order. Names of layers of version 1 (`layers { type: CONVOLUTION }`) are translated; layers of the
caffemodel that the prototxt lacks are ignored, as Caffe does.

Which sizes may be changed is in `axes`: the batch, which a page wants to be 1, images, time.

Data layers become inputs, layers that only measure (losses, accuracy) are dropped, or replaced by
what they compute from the prediction (softmax, sigmoid). Limits: nets of version 0 (before
2014) and layers written in Python are refused.
"""

from __future__ import annotations

import codecs
import inspect
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ... import ops
from ...errors import (
    ModelError,
    NumbersNeededError,
    SizesDifferError,
    UnsupportedError,
    WebDNNError,
)
from ...expr import upper
from ...graph import Graph, Value, constant, type_text
from ..damaged import NO_DAMAGE, damaged
from ..dims import Given, settle_inputs
from ..finish import Imported, finished
from ..relations import numbers_needed, solved
from . import weights as wire
from .axes import Input, open_axes
from .layer import LARGEST_CONSTANT, Layer
from .layers import LAYERS, WEIGHTED
from .phase import DATA, DROPPED, Step, steps_of
from .text import Message, parse

Source = str | os.PathLike[str] | bytes
MOST_ELEMENTS = 2**30  # of a blob: what an array of 32-bit numbers may have in a page
LARGEST_TEXT = 2**26  # bytes: no prototxt is longer, but a file of another kind may be

# What a net in text looks like: fields of NetParameter that no other text format has.
_NET = re.compile(
    rb"(?m)(?:^|[\s}>;,\"'])(?:layers?\s*:?\s*[{<]|input\s*:\s*[\"']|input_dim\s*:|input_shape\s*:?\s*[{<])"
)
_SOLVER = re.compile(rb"(?m)^\s*(?:base_lr|lr_policy|solver_mode|max_iter|train_net|net)\s*:")
_COMMENTS = re.compile(rb"(?m)^\s*#.*$")

# What of a layer's parameters does not matter at test time.
_FOR_TRAINING = re.compile(
    r".*filler|engine|force_nd_im2col|moving_average_fraction|momentum|debug_info|frozen|"
    r".*decay.*|cudnn.*|slope_.*|update_.*"
)


def recognises(model: Any, head: bytes) -> bool:
    """Whether this is a net of Caffe: a prototxt, a caffemodel, or a solver's prototxt."""
    return _kind(head) != "" or (
        isinstance(model, str | os.PathLike) and Path(model).suffix.lower() == ".prototxt"
    )


def _kind(head: bytes) -> str:
    """text, solver, binary, hdf5, or nothing known."""
    if head.startswith(b"\x89HDF"):
        return ""  # other frameworks use it too; as weights it may be a net's
    if b"\0" not in head and not head.lstrip().startswith((b"{", b"<")):
        text = _COMMENTS.sub(b"", head)
        if _NET.search(text):
            return "text"
        if len(_SOLVER.findall(text)) > 1:
            return "solver"
    return "binary" if wire.is_net(head) else ""


@solved
def load(model: Source, dims: Given, *, weights: Source | None = None) -> Imported:
    """Import a net: the path (or bytes) of its prototxt, and of its weights if it has some.

    The two may be swapped. dims: sizes of `batch` and of images, as the module's text says. Raises
    ModelError for damaged files and weights that do not fit, UnsupportedError for layers that we
    lack, DimensionError for a dimension that is missing or unknown.
    """
    text, blobs = sources(model, weights)
    name = str(text) if isinstance(text, str | os.PathLike) else "the prototxt"
    net = parse(text_of(text), name)
    return _Net(net, name, blobs, text).imported(dims)


# ---- the files ----------------------------------------------------------------------------------


def sources(model: Source, weights: Source | None) -> tuple[Source, Source | None]:
    """(prototxt, weights), whichever way round they were given."""
    first = _kind(_head(model))
    if weights is None:
        if first == "binary":
            raise ModelError(
                f"{_label(model)} holds the weights of a Caffe net; what the net is stands in its "
                "prototxt: transpile deploy.prototxt "
                f"{_label(model) if not isinstance(model, bytes) else 'FILE.caffemodel'}"
            )
    else:
        second = _head(weights)
        kind = _kind(second)
        if first == "binary" and kind in ("text", "solver"):
            model, weights, first, second = weights, model, kind, _head(model)
        elif first == "binary":
            raise ModelError(
                f"{_label(model)} and {_label(weights)}: neither is a prototxt; "
                "one that says what the net is, is expected with the weights"
            )
        elif kind in ("text", "solver"):
            raise ModelError(
                f"{_label(weights)}: weights (a .caffemodel) expected, but this is a prototxt too"
            )
        elif kind != "binary" and not second.startswith(b"\x89HDF"):
            what = "the file is empty" if not second else _what(second)
            raise ModelError(f"{_label(weights)}: expected a .caffemodel, but {what}")
    if first == "solver":
        raise ModelError(
            f"{_label(model)} tells a solver how to train; expected the prototxt of the net itself "
            "(deploy.prototxt)"
        )
    return model, weights


def _what(head: bytes) -> str:
    for magic, what in (
        (b"PK\x03\x04", "this is a zip archive"),
        (b"version https://git-lfs", "this is a Git LFS pointer: `git lfs pull` fetches the file"),
        (b"<", "this is HTML or XML text"),
        (b"\x80", "this is a Python pickle"),
        (b"\x1f\x8b", "this is a gzip file: unpack it first"),
    ):
        if head.startswith(magic):
            return what
    return "no layer is found at its beginning: it is of another format, damaged or truncated"


def _label(source: Source) -> str:
    return "the given bytes" if isinstance(source, bytes) else str(source)


def _head(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source[:65536]
    try:
        with Path(source).open("rb") as file:
            return file.read(65536)
    except FileNotFoundError:
        raise ModelError(f"{source}: no such file") from None
    except OSError as error:
        raise ModelError(f"{source}: cannot be read: {error.strerror}") from None


def text_of(source: Source) -> str:
    """The prototxt; comments in other encodings than UTF-8 do no harm."""
    if not isinstance(source, bytes):
        path = Path(source)
        try:
            if path.stat().st_size > LARGEST_TEXT:
                raise ModelError(f"{path}: {path.stat().st_size} bytes are too many for a prototxt")
            source = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return source.decode("utf-16", "replace")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError:
        return source.decode("latin-1")


# ---- the net ------------------------------------------------------------------------------------


@dataclass
class _Net:
    """A net on its way to a graph."""

    net: Message
    file: str
    weights: Source | None
    text: Source
    notes: list[str] = field(default_factory=list)
    fixed: set[str] = field(default_factory=set)  # blobs that are constants of more than one image

    def imported(self, dims: Given) -> Imported:
        """The graph of the net, and what was decided."""
        steps = steps_of(self.net)
        if not steps:
            raise ModelError(f"{self.file}: there are no layers in it")
        data = [s for s in steps if s.type in DATA]
        rest = [s for s in steps if s.type not in DATA]
        self.check_types(rest)
        outputs = self.outputs(rest)
        steps = self.needed(rest, outputs)
        inputs, constants = self.inputs(data, steps)
        used = {b for s in steps for b in s.takes}
        unused = [i.name for i in inputs if i.name not in used and i.declared]
        if unused:
            self.notes.append(f"not used, hence left out: input {', '.join(unused)}")
        inputs = [i for i in inputs if i.name in used]
        constants = {name: value for name, value in constants.items() if name in used}
        self.fixed = {name for name, v in constants.items() if v.rank and v.shape[0] != 1}
        self.check_bottoms(steps, {i.name for i in inputs} | set(constants))
        blobs = self.blobs(steps)
        self.guess_channels(inputs, steps, blobs)
        if not inputs:
            raise ModelError(f"{self.file}: the outputs need no input")
        declared, notes = open_axes(inputs, steps, self.fixed, dims)
        settled = settle_inputs(declared, dims, self.notes)
        self.notes += notes
        names = dict(settled.inputs)
        scope = {**settled.inputs, **constants}
        layers = self.run(steps, scope, blobs, names)
        graph = Graph(
            settled.given,
            {name: scope[name] for name in outputs},
            layers | names,
            settled.symbols,
            self.net.string("name") or "net",
        )
        used_blobs = [b for s in steps for b in blobs.get(s.name, ())]
        contents = [s.type for s in steps]
        return finished(graph, self.notes, contents, wire.parameters(used_blobs), settled.batch)

    def wrong(self, step: Step, what: str) -> ModelError:
        """An error at a layer."""
        return ModelError(f"{self.file}, line {step.message.line}: {step.label}: {what}")

    def check_types(self, steps: Sequence[Step]) -> None:
        """Raises UnsupportedError with all layers that we lack."""
        lacking: dict[str, list[str]] = {}
        for s in steps:
            if s.type not in LAYERS and s.type not in DROPPED:
                kind = s.type
                if kind == "Python":
                    kind = f"Python ({s.message.child('python_param').string('layer') or '?'})"
                lacking.setdefault(kind, []).append(s.name)
        if lacking:
            lines = [
                f"  {kind}: {', '.join(map(repr, names[:4]))}"
                + (f" and {len(names) - 4} more" if names[4:] else "")
                for kind, names in lacking.items()
            ]
            raise UnsupportedError(
                f"{self.file} has layers that WebDNN lacks:\n" + "\n".join(lines) + "\n"
                "Cut the prototxt before them and compute the rest in the page, "
                "or replace them by layers that docs/frameworks/caffe.md lists"
            )

    def outputs(self, steps: Sequence[Step]) -> list[str]:
        """The tops that no layer takes, in the order in which they are made."""
        free: dict[str, None] = {}
        for s in steps:
            if s.type in DROPPED:
                for b in s.bottoms[DROPPED[s.type] :]:
                    free.pop(b, None)
                continue
            for b in s.bottoms:
                free.pop(b, None)
            free |= dict.fromkeys(s.tops)
        if not free:
            raise ModelError(f"{self.file}: no layer makes an output at test time")
        return list(free)

    def needed(self, steps: Sequence[Step], outputs: Iterable[str]) -> list[Step]:
        """The layers that the outputs need; what a dropped loss alone needs goes with it."""
        wanted = set(outputs)
        out = []
        for s in reversed(steps):
            if s.type not in DROPPED and wanted & set(s.tops):
                out.append(s)
                wanted |= set(s.takes)
        return out[::-1]

    def check_bottoms(self, steps: Sequence[Step], given: set[str]) -> None:
        """Raises ModelError for a bottom that no layer before makes, and for a top made twice."""
        known = set(given)
        for s in steps:
            for b in s.takes:
                if b not in known:
                    later = any(b in t.tops for t in steps)
                    hint = "is made by a later layer only" if later else "is made by no layer"
                    raise self.wrong(s, f"its bottom {b!r} {hint} (in the TEST phase)")
            for t in s.tops:
                if t in known and t not in s.bottoms:
                    raise self.wrong(s, f"its top {t!r} is another layer's top already")
            known |= set(s.tops)

    # ---- inputs

    def inputs(
        self, data: Sequence[Step], steps: Sequence[Step]
    ) -> tuple[list[Input], dict[str, Value]]:
        """The inputs that the file declares, and constants of DummyData layers."""
        out = [Input(name, shape) for name, shape in self.legacy_inputs()]
        constants: dict[str, Value] = {}
        dummies = []
        for s in data:
            if s.type == "DummyData":
                dummies.append(s)
                continue
            shapes = self.data_shapes(s)
            named = s.type == "Input"
            out += [Input(top, list(shape), named) for top, shape in zip(s.tops, shapes)]
        for s in dummies:
            shapes = self.data_shapes(s)
            fillers = s.message.child("dummy_data_param").children("data_filler")
            for k, (top, shape) in enumerate(zip(s.tops, shapes)):
                filler = fillers[min(k, len(fillers) - 1)] if fillers else None
                kind = filler.string("type", "constant") if filler else "constant"
                # A net that is fed by nothing else is fed by these, as in a benchmark of it.
                if kind != "constant" or not any(i.name not in constants for i in out):
                    out.append(Input(top, list(shape), declared=False))
                    continue
                if math.prod(d or 1 for d in shape) > LARGEST_CONSTANT:
                    raise self.wrong(s, f"constant data of the shape {shape}")
                number = filler.number("value") if filler else 0.0
                constants[top] = constant(np.full([d or 1 for d in shape], number, np.float32))
        seen: set[str] = set()
        for i in out:
            if i.name in seen:
                raise ModelError(f"{self.file}: input {i.name!r} is declared twice")
            seen.add(i.name)
        return out, constants

    def legacy_inputs(self) -> list[tuple[str, list[int | None]]]:
        """`input:` with `input_dim:` or `input_shape {}`."""
        net = self.net
        names = net.strings("input")
        shapes = [m.integers("dim", 0) for m in net.children("input_shape")]
        flat = net.integers("input_dim", 0)
        if names and not shapes:
            if len(flat) == 4 * len(names):
                shapes = [flat[4 * k : 4 * k + 4] for k in range(len(names))]
            elif len(names) == 1 and flat:
                shapes = [flat]
        if len(shapes) != len(names):
            raise ModelError(
                f"{self.file}: {len(names)} inputs, but {len(shapes)} of input_shape and "
                f"{len(flat)} of input_dim; expected one shape, or four sizes, for each"
            )
        return [(n, _open(s)) for n, s in zip(names, shapes)]

    def data_shapes(self, s: Step) -> list[list[int | None]]:
        """The shape of each top of a layer that gives data, as far as the layer says."""
        m, count = s.message, len(s.tops)
        if s.type in ("Input", "DummyData"):
            p = m.child("input_param" if s.type == "Input" else "dummy_data_param")
            shapes = [_open(c.integers("dim", 0)) for c in p.children("shape")]
            if not shapes and "num" in p:
                sizes = [p.integers(k, 1) for k in ("num", "channels", "height", "width")]
                shapes = [list(d) for d in zip(*(v * count if len(v) == 1 else v for v in sizes))]
            if len(shapes) not in (1, count):
                raise self.wrong(s, f"{len(shapes)} shapes for {count} tops")
            return shapes * count if len(shapes) == 1 else shapes
        p = {
            "ImageData": m.child("image_data_param"),
            "HDF5Data": m.child("hdf5_data_param"),
            "MemoryData": m.child("memory_data_param"),
            "WindowData": m.child("window_data_param"),
        }.get(s.type, m.child("data_param"))
        transform = m.child("transform_param")
        batch: int | None = p.integer("batch_size", 0, 0) or None
        crop = transform.integer("crop_size", 0, 0) or p.integer("crop_size", 0, 0) or None
        means = len(transform.numbers("mean_value"))
        channels: int | None = means if means > 1 else None
        if transform.flag("force_gray"):
            channels = 1
        elif transform.flag("force_color"):
            channels = 3
        elif s.type == "ImageData":
            channels = 3 if p.flag("is_color", True) else 1
        elif s.type == "WindowData":
            channels = 3
        h, w = crop, crop
        if s.type == "ImageData" and not crop:
            h, w = p.integer("new_height", 0, 0) or None, p.integer("new_width", 0, 0) or None
        if s.type == "MemoryData":
            channels = p.integer("channels", 0, 1) or None
            h, w = crop or p.integer("height", 0, 1), crop or p.integer("width", 0, 1)
        resize = transform.child("resize_param")
        if not h and "height" in resize:
            h, w = resize.integer("height", 0, 1), resize.integer("width", 0, 1)
        if any(k in transform for k in ("scale", "mean_value", "mean_file")):
            self.notes.append(
                f"{s.label} subtracts a mean or scales its data while training: give "
                f"{s.tops[0] if s.tops else 'the input'!r} data that is prepared so"
            )
        image: list[int | None] = [batch, channels, h, w]
        return [image, *([batch] for _ in s.tops[1:])]

    def guess_channels(
        self, inputs: Sequence[Input], steps: Sequence[Step], blobs: Mapping[str, Any]
    ) -> None:
        """The channels of a data layer that does not say: those of the filters it is fed to."""
        for i in inputs:
            if len(i.shape) == 4 and i.shape[1] is None:
                for s in steps:
                    found = blobs.get(s.name, ())
                    if i.name in s.bottoms and s.type == "Convolution" and found:
                        groups = s.message.child("convolution_param").integer("group", 1, 1)
                        if len(found[0].shape) == 4:
                            i.shape[1] = found[0].shape[1] * groups
                            break

    # ---- weights

    def blobs(self, steps: Sequence[Step]) -> dict[str, list[wire.Blob]]:
        """The weights by layer; raises ModelError where layers are without."""
        found = {} if self.weights is None else wire.read(self.weights)
        lacking = [s for s in steps if _needs_weights(s) and s.name not in found]
        lacking = [s for s in lacking if not _shares(s) and not _bilinear(s)]
        if not lacking:
            return found
        shown = ", ".join(f"{s.name!r}" for s in lacking[:6])
        shown += f" and {len(lacking) - 6} more" if lacking[6:] else ""
        if self.weights is None:
            raise ModelError(
                f"{self.file}: the net has layers with weights ({shown}): give the file that holds "
                f"them after this one: {self._candidate() or 'FILE.caffemodel'}"
            )
        have = ", ".join(f"{n!r}" for n in list(found)[:6]) or "none at all"
        raise ModelError(
            f"{_label(self.weights)} has no weights for {len(lacking)} layers of the net: {shown}. "
            f"It has weights for {have}{' ...' if len(found) > 6 else ''}: "
            "is it the caffemodel of this net?"
        )

    def _candidate(self) -> str:
        """The caffemodel that lies beside the prototxt, if it is clear which."""
        if isinstance(self.text, bytes):
            return ""
        path = Path(self.text)
        try:
            beside = sorted(path.parent.glob("*.caffemodel"))
        except OSError:
            return ""
        same = [b for b in beside if b.stem == path.stem]
        return str((same or beside)[0]) if len(same or beside) == 1 else ""

    # ---- the layers

    def run(
        self,
        steps: Sequence[Step],
        scope: dict[str, Value],
        blobs: Mapping[str, list[wire.Blob]],
        names: dict[str, Value],
    ) -> dict[str, Value]:
        """Compute the layers in order; tops go to `scope` and `names`. Returns layers by name."""
        shared: dict[str, wire.Blob] = {}
        layers: dict[str, Value] = {}
        for s in steps:
            own = _with_shared(s, list(blobs.get(s.name, ())), shared)
            layer = Layer(s.name, s.type, s.message, tuple(s.tops), own, self.notes)
            bottoms = [scope[b] for b in s.takes]
            if not own and _bilinear(s):
                layer.blobs = _bilinear_blobs(s, bottoms)
            try:
                _check_arity(s, len(bottoms))
                made = LAYERS[s.type](layer, *bottoms)
            except (NumbersNeededError, SizesDifferError) as error:
                error.at(f"{self.file}, line {s.message.line}: {s.label}")
                raise
            except (WebDNNError, ValueError) as error:
                raise self.failed(s, bottoms, error) from error
            except NO_DAMAGE:
                raise
            except Exception as error:
                where = f"{self.file}, line {s.message.line}: {s.label}: its parameters are"
                raise damaged(where, error) from error
            tops = [made] if isinstance(made, Value) else list(made)
            if len(s.tops) > len(tops):
                raise self.wrong(s, f"it has {len(s.tops)} tops; {len(tops)} expected")
            for top, value in zip(s.tops, tops):
                if math.prod(map(upper, value.shape)) > MOST_ELEMENTS:
                    raise self.wrong(s, f"its top {top!r} would be {type_text(value)}: too large")
                scope[top] = names[top] = value
            layers.setdefault(s.name, tops[0])
            self.tell_unread(s)
        return layers

    def failed(self, s: Step, bottoms: Sequence[Value], error: Exception) -> WebDNNError:
        """The error of a layer with the layer's name; one about symbolic sizes says so."""
        text = f"{self.file}, line {s.message.line}: {s.label}: {error}"
        if str(error).startswith(self.file):
            text = str(error).replace(": ", f": {s.label}: ", 1)
        numbers = numbers_needed(text, error, [v.shape for v in bottoms])
        if numbers is not None:
            return numbers
        return (type(error) if isinstance(error, WebDNNError) else ModelError)(text)

    def tell_unread(self, s: Step) -> None:
        """A note on parameters that no function asked for: they may be meant to matter."""
        for key in s.message.fields:
            if not key.endswith("_param") or key not in s.message.read or key == "transform_param":
                continue
            for value, _ in s.message.values(key):
                unread = value.unread() if isinstance(value, Message) else []
                for name, line in unread:
                    if not _FOR_TRAINING.fullmatch(name):
                        self.notes.append(
                            f"{s.label}: {name} of {key} is not known and ignored (line {line})"
                        )


def _open(dims: Sequence[int]) -> list[int | None]:
    """A declared shape; a size of 0 or less is open."""
    return [d if d > 0 else None for d in dims]


def _needs_weights(s: Step) -> bool:
    if s.type in ("Scale", "Bias"):
        return len(s.bottoms) == 1 or (
            s.type == "Scale" and s.message.child("scale_param").flag("bias_term")
        )
    if s.type == "BatchNorm":
        return s.message.child("batch_norm_param").flag("use_global_stats", True)
    return s.type in WEIGHTED


def _param_names(s: Step) -> list[str]:
    """The name of each blob of a layer, by which layers share them ("": its own)."""
    out = []
    for value, line in s.message.values("param"):
        if isinstance(value, Message):
            out.append(value.string("name"))
        elif isinstance(value, str):  # version 1
            out.append(str(value))
        else:
            raise s.message.wrong("param", line, "a message { ... } or a name", value)
    return out


def _shares(s: Step) -> bool:
    return any(_param_names(s))


def _with_shared(s: Step, own: list[wire.Blob], shared: dict[str, wire.Blob]) -> list[wire.Blob]:
    """The blobs of a layer, with those that it shares with earlier layers in their place."""
    for k, name in enumerate(_param_names(s)):
        if not name:
            continue
        if name in shared and k <= len(own):
            own[k : k + 1] = [shared[name]]
        elif k < len(own):
            shared[name] = own[k]
    return own


def _bilinear(s: Step) -> bool:
    """Whether Caffe makes the weights of this upsampling layer itself where the file has none."""
    p = s.message.child("convolution_param")
    filler = p.child("weight_filler").string("type")
    return s.type == "Deconvolution" and filler == "bilinear" and not p.flag("bias_term", True)


def _bilinear_blobs(s: Step, bottoms: Sequence[Value]) -> list[wire.Blob]:
    """The filters of Caffe's bilinear filler: a tent over the kernel, for each channel alone."""
    p = s.message.child("convolution_param")
    sizes = [*p.integers("kernel_size", 1, 1024), 0]
    kernel = p.integer("kernel_h", sizes[0], 1, 1024)
    outputs, groups = p.integer("num_output", 1, 1), p.integer("group", 1, 1)
    channels = ops.static(bottoms[0].shape[1], "the number of channels")
    if kernel < 1 or kernel != p.integer("kernel_w", sizes[0], 0, 1024):
        raise ModelError("a square kernel expected for the bilinear filler")
    if channels * outputs * kernel * kernel > LARGEST_CONSTANT:
        raise UnsupportedError("filters of the bilinear filler are too large")
    f = math.ceil(kernel / 2)
    centre = (2 * f - 1 - f % 2) / (2 * f)
    tent = 1 - np.abs(np.arange(kernel) / f - centre)
    shape = (channels, outputs // groups, kernel, kernel)
    array = np.broadcast_to(tent[:, None] * tent, shape).astype(np.float32)
    return [wire.Blob(shape, array.nbytes, ("bilinear", shape), lambda: array)]


@cache
def _arity(kind: str) -> tuple[int, float]:
    """How many bottoms a type of layer takes: (fewest, most)."""
    parameters = list(inspect.signature(LAYERS[kind]).parameters.values())[1:]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 1, math.inf
    return len(parameters), len(parameters)


def _check_arity(s: Step, bottoms: int) -> None:
    low, high = _arity(s.type)
    if not low <= bottoms <= high:
        wanted = f"{low}" if low == high else f"{low} or more"
        raise ModelError(f"{wanted} bottom{'' if low == 1 else 's'} expected, {bottoms} found")


__all__ = ["load", "recognises", "sources", "text_of"]
