"""Which layers a net has at test time, and what kind each is.

    for step in steps_of(parse(text)): step.name, step.type, step.takes, step.tops

Rules of phase, level and stage (`include`, `exclude`) are applied as Caffe does for its TEST phase;
types of version 1 get today's names. The names and numbers are facts of caffe.proto.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ModelError, UnsupportedError
from .text import Message

# Types of version 1: the number and the name of each enumerator, and the type of today.
V1_TYPES = {
    "ABSVAL": (35, "AbsVal"), "ACCURACY": (1, "Accuracy"), "ARGMAX": (30, "ArgMax"),
    "BNLL": (2, "BNLL"), "CONCAT": (3, "Concat"), "CONTRASTIVE_LOSS": (37, "ContrastiveLoss"),
    "CONVOLUTION": (4, "Convolution"), "DATA": (5, "Data"), "DECONVOLUTION": (39, "Deconvolution"),
    "DROPOUT": (6, "Dropout"), "DUMMY_DATA": (32, "DummyData"), "ELTWISE": (25, "Eltwise"),
    "EUCLIDEAN_LOSS": (7, "EuclideanLoss"), "EXP": (38, "Exp"), "FLATTEN": (8, "Flatten"),
    "HDF5_DATA": (9, "HDF5Data"), "HDF5_OUTPUT": (10, "HDF5Output"),
    "HINGE_LOSS": (28, "HingeLoss"), "IM2COL": (11, "Im2col"), "IMAGE_DATA": (12, "ImageData"),
    "INFOGAIN_LOSS": (13, "InfogainLoss"), "INNER_PRODUCT": (14, "InnerProduct"),
    "LRN": (15, "LRN"), "MEMORY_DATA": (29, "MemoryData"),
    "MULTINOMIAL_LOGISTIC_LOSS": (16, "MultinomialLogisticLoss"), "MVN": (34, "MVN"),
    "POOLING": (17, "Pooling"), "POWER": (26, "Power"), "RELU": (18, "ReLU"),
    "SIGMOID": (19, "Sigmoid"), "SIGMOID_CROSS_ENTROPY_LOSS": (27, "SigmoidCrossEntropyLoss"),
    "SILENCE": (36, "Silence"), "SLICE": (33, "Slice"), "SOFTMAX": (20, "Softmax"),
    "SOFTMAX_LOSS": (21, "SoftmaxWithLoss"), "SPLIT": (22, "Split"), "TANH": (23, "TanH"),
    "THRESHOLD": (31, "Threshold"), "WINDOW_DATA": (24, "WindowData"),
}  # fmt: skip
_V1_NUMBERS = dict(V1_TYPES.values())

# Layers without a prediction of their own: how many of their bottoms are predictions, which become
# outputs unless another layer takes them.
DROPPED = {
    "Accuracy": 1, "EuclideanLoss": 1, "HingeLoss": 1, "ContrastiveLoss": 2, "SmoothL1Loss": 1,
    "MultinomialLogisticLoss": 1, "MultiBoxLoss": 0, "TripletLoss": 3, "CtcLoss": 1,
    "LabelsequenceAccuracy": 1, "DetectionEvaluate": 1, "HDF5Output": 9, "Silence": 0,
}  # fmt: skip
# Losses that become what they compute of the prediction.
LOSSES = {"SoftmaxWithLoss", "SoftmaxWithLossV2", "SigmoidCrossEntropyLoss", "InfogainLoss"}
DATA = (
    "Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData",
    "AnnotatedData", "VideoData",
)  # fmt: skip


@dataclass
class Step:
    """A layer as the prototxt has it: its type in today's words, bottoms and tops."""

    name: str
    type: str
    message: Message
    bottoms: list[str]
    tops: list[str]

    @property
    def label(self) -> str:
        return f"layer {self.name!r} ({self.type})"

    @property
    def takes(self) -> list[str]:
        """The bottoms that matter at test time: of a loss the prediction alone."""
        return self.bottoms[:1] if self.type in LOSSES else self.bottoms


def steps_of(net: Message) -> list[Step]:
    """The layers that a net has in the TEST phase, in order."""
    state = net.child("state")
    stages, level = set(state.strings("stage")), state.integer("level")
    found = [(m, line, "layer") for m, line in net.values("layer")]
    found += [(m, line, "layers") for m, line in net.values("layers")]
    out = []
    for message, line, key in sorted(found, key=lambda f: f[1]):
        if not isinstance(message, Message):
            raise net.wrong(key, line, "a message { ... }", message)
        if "layer" in message:
            raise UnsupportedError(
                f"{net.file}, line {line}: a net of version 0 (layers {{ layer {{ ... }} }}); "
                "convert it with Caffe's upgrade_net_proto_text first"
            )
        include, exclude = message.children("include"), message.children("exclude")
        if include and exclude:
            raise ModelError(f"{net.file}, line {line}: a layer has both include and exclude rules")
        kept = any(_meets(r, stages, level) for r in include) if include else True
        if not kept or any(_meets(r, stages, level) for r in exclude):
            continue
        out.append(
            Step(
                message.string("name"),
                _type(message),
                message,
                message.strings("bottom"),
                message.strings("top"),
            )
        )
    return out


def _type(message: Message) -> str:
    values = message.values("type")
    if not values:
        name = message.string("name")
        raise ModelError(f"{message.file}, line {message.line}: layer {name!r} has no type")
    value, line = values[-1]
    if isinstance(value, int):
        if value not in _V1_NUMBERS:
            raise message.wrong("type", line, "the name of a layer's type", value)
        return _V1_NUMBERS[value]
    if not isinstance(value, str):
        raise message.wrong("type", line, "the name of a layer's type", value)
    return V1_TYPES[value][1] if value in V1_TYPES else str(value)


def _meets(rule: Message, stages: set[str], level: int) -> bool:
    """Whether the net's state, at test time, meets a rule."""
    if "phase" in rule and rule.choice("phase", ("TRAIN", "TEST"), "TEST") != "TEST":
        return False
    if "min_level" in rule and level < rule.integer("min_level"):
        return False
    if "max_level" in rule and level > rule.integer("max_level"):
        return False
    wanted, unwanted = rule.strings("stage"), rule.strings("not_stage")
    return stages.issuperset(wanted) and stages.isdisjoint(unwanted)


__all__ = ["DATA", "DROPPED", "LOSSES", "V1_TYPES", "Step", "steps_of"]
