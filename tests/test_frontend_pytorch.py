"""PyTorch modules against what PyTorch makes of them: exported, imported, compiled to wasm.

Weights are random and scaled so that outputs discriminate (`seeded`); inputs at run time are others
than the example, at sizes that the exporter has not seen.
"""

from __future__ import annotations

import functools
import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import webdnn
from tests.jobs import Job, interpreted, run_jobs
from webdnn import frontend
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError
from webdnn.frontend import onnx as onnx_frontend
from webdnn.graph import CONST, evaluate

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from webdnn.frontend import pytorch  # noqa: E402

Dims = Mapping[str, "int | tuple[int, int]"]


def seeded(module: Any, seed: int = 0) -> Any:
    """Weights that keep a signal's spread through depth, and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in (*module.named_parameters(), *module.named_buffers()):
            if not p.dtype.is_floating_point:
                continue
            if name.endswith("running_var"):
                p.copy_(torch.rand(p.shape, generator=generator) + 0.5)
            elif p.dim() < 2:
                offset = 1.0 if name.endswith("weight") else 0.0
                p.copy_(offset + 0.3 * torch.randn(p.shape, generator=generator))
            else:
                fan = p[0].numel()
                p.copy_(torch.randn(p.shape, generator=generator) * (2 / fan) ** 0.5)
    return module.eval()


def randn(*shape: int, seed: int = 1) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randint(high: int, *shape: int, seed: int = 1) -> Any:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


class Run(nn.Module):
    """A function as a module, for what has no weights; `parts` are its submodules."""

    def __init__(self, fn: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.fn = fn
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any) -> Any:
        return self.fn(self, *args)


# ---- what is tried ------------------------------------------------------------------------------


class Classic(nn.Module):
    """The layers of classic image classifiers, in one."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PReLU(8),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(8, 12, 5, padding="same", dilation=2, groups=4), nn.ELU(0.7),
            nn.LocalResponseNorm(3),
            nn.AvgPool2d(2, 2, padding=1, count_include_pad=False),
            nn.Conv2d(12, 12, 3, 2, padding=1, padding_mode="reflect"), nn.Hardswish(),
            nn.LPPool2d(2, 2, 1), nn.InstanceNorm2d(12, affine=True), nn.LeakyReLU(0.2),
            nn.Dropout2d(0.5), nn.AdaptiveAvgPool2d((2, 2)),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(48, 20), nn.BatchNorm1d(20), nn.Softplus(), nn.Linear(20, 7)
        )

    def forward(self, x: Any) -> Any:
        return F.log_softmax(self.classifier(self.features(x)), dim=1)


class UNet(nn.Module):
    """Down and up with interpolation to the skip's size, transposed convolution, both joined."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(3, 6, 3, padding=1)
        self.down2 = nn.Conv2d(6, 8, 3, 2, padding=1)
        self.down3 = nn.Conv2d(8, 10, 3, 2, padding=1)
        self.up = nn.ConvTranspose2d(10, 8, 4, 2, 1)
        self.out = nn.Conv2d(14, 3, 1)

    def forward(self, x: Any) -> Any:
        a = F.relu(self.down1(x))
        b = F.silu(self.down2(a))
        c = F.mish(self.down3(b))
        up = F.interpolate(self.up(c), size=b.shape[-2:], mode="bilinear", align_corners=False)
        up = F.interpolate(up + b, size=a.shape[-2:], mode="nearest")
        return torch.sigmoid(self.out(torch.cat([up, a], 1)))


class Blocks(nn.Module):
    """Blocks of mobile and modern convolutional nets: SE, GroupNorm, ConvNeXt, weight norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3, 2, 1))
        self.expand = nn.Conv2d(16, 32, 1, bias=False)
        self.depth = nn.Conv2d(32, 32, 5, padding=2, groups=32, bias=False)
        self.norm = nn.GroupNorm(8, 32)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.project = nn.utils.parametrizations.spectral_norm(nn.Conv2d(32, 16, 1))
        self.depth7 = nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.layer = nn.LayerNorm(16)
        self.wide, self.narrow = nn.Linear(16, 40), nn.Linear(40, 16)
        self.gamma = nn.Parameter(torch.ones(16))

    def forward(self, x: Any) -> Any:
        x = F.relu6(self.stem(x))
        y = self.norm(self.depth(F.hardswish(self.expand(x))))
        s = F.hardsigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        x = x + self.project(y * s)
        y = self.layer(self.depth7(x).permute(0, 2, 3, 1))
        y = self.gamma * self.narrow(F.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class GPT(nn.Module):
    """A causal block: scaled_dot_product_attention, tied output."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.place = nn.Embedding(50, 32), nn.Embedding(64, 32)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.RMSNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU("tanh"), nn.Linear(64, 32))

    def forward(self, tokens: Any) -> Any:
        n, t = tokens.shape
        x = self.embed(tokens) + self.place(torch.arange(t, device=tokens.device))
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (a.view(n, t, self.heads, -1).transpose(1, 2) for a in (q, k, v))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(a.transpose(1, 2).reshape(n, t, -1))
        x = x + self.mlp(self.norm2(x))
        return x @ self.embed.weight.T


class Llama(nn.Module):
    """Grouped queries and rotary positions, as small language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(32, 32), nn.Linear(32, 16), nn.Linear(32, 16)
        self.gate, self.up, self.down = nn.Linear(32, 48), nn.Linear(32, 48), nn.Linear(48, 32)
        self.norm = nn.RMSNorm(32, eps=1e-5)
        self.register_buffer("rate", 1 / 100 ** (torch.arange(4) / 4), persistent=False)

    def forward(self, x: Any) -> Any:
        n, t, _ = x.shape
        y = self.norm(x)
        q, k, v = (m(y).view(n, t, -1, 8).transpose(1, 2) for m in (self.q, self.k, self.v))
        angle = torch.outer(torch.arange(t).float(), torch.cat([self.rate, self.rate]))
        q, k = (a * angle.cos() + self.turned(a) * angle.sin() for a in (q, k))
        mask = torch.full((t, t), float("-inf")).triu(1)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        x = x + a.transpose(1, 2).flatten(2)
        return x + self.down(F.silu(self.gate(x)) * self.up(x))

    @staticmethod
    def turned(a: Any) -> Any:
        return torch.cat([-a[..., 4:], a[..., :4]], -1)


class ViT(nn.Module):
    """Patches, a class token, learned positions, nn.TransformerEncoder."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 24))
        self.position = nn.Parameter(torch.zeros(1, 17, 24))
        layer = nn.TransformerEncoderLayer(
            24, 3, 48, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.position
        return self.head(self.encoder(y)[:, 0])


class Translator(nn.Module):
    """nn.Transformer: encoder and decoder, padding and causal masks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)

    def forward(self, source: Any, target: Any, padding: Any) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.net(source, target, tgt_mask=mask, src_key_padding_mask=padding)


class Tagger(nn.Module):
    """Embedding, a two-layer bidirectional LSTM, a GRU, a plain RNN."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 10, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(20, 9, bidirectional=True, batch_first=True)
        self.rnn = nn.RNN(18, 8, batch_first=True, nonlinearity="relu")
        self.out = nn.Linear(8, 6)

    def forward(self, words: Any) -> Any:
        y, (h, c) = self.lstm(self.embed(words))
        y, _ = self.gru(y)
        y, last = self.rnn(y)
        return {"tags": self.out(y), "state": h + c, "last": last[0]}


class Speech(nn.Module):
    """One-dimensional convolutions over sound, causal padding, a statistic over time."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 8, 10, 5)
        self.norm = nn.BatchNorm1d(8)
        self.dilated = nn.Conv1d(8, 8, 3, dilation=2, groups=2)
        self.up = nn.ConvTranspose1d(8, 4, 4, 2)
        self.pool = nn.MaxPool1d(2)

    def forward(self, wave: Any) -> Any:
        x = torch.tanh(self.norm(self.first(wave[:, None])))
        x = x + F.glu(torch.cat([self.dilated(F.pad(x, (4, 0))), x], 1), 1)
        y = self.up(self.pool(x))
        return y.mean(-1), y.std(-1), y.amax(-1)


class Bags(nn.Module):
    """Embedding bags, and a table that is looked up twice."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = nn.EmbeddingBag(30, 6, mode="sum")
        self.mean = nn.EmbeddingBag(30, 6, mode="mean", padding_idx=3)
        self.max = nn.EmbeddingBag(30, 6, mode="max")

    def forward(self, words: Any, weights: Any) -> Any:
        starts = torch.tensor([0, 3, 3, 7])
        ragged = self.max(words.flatten(), starts), self.mean(words.flatten(), starts)
        return self.sum(words, per_sample_weights=weights) * self.mean(words), *ragged


def volumes() -> Any:
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2),
        nn.ConvTranspose3d(6, 4, 2, 2), nn.AvgPool3d((1, 2, 2)), nn.Upsample(scale_factor=2),
    )  # fmt: skip


def padded(self: Any, x: Any) -> Any:
    modes = [F.pad(x, (2, 1, 1, 2), mode) for mode in ("reflect", "replicate", "circular")]
    return sum(modes) + F.pad(x, (2, 1, 1, 2), value=0.5), F.pad(x, (-1, 2, 0, -1))


def shuffled(self: Any, x: Any) -> Any:
    return (
        F.pixel_shuffle(x, 2),
        F.pixel_unshuffle(F.channel_shuffle(x, 2), 2),
        x.roll((1, 2), (2, 3)),
    )


def sampled(self: Any, x: Any, grid: Any) -> Any:
    theta = torch.tensor([[[0.8, 0.3, 0.1], [-0.2, 0.9, -0.1]]])
    turned = F.grid_sample(x, F.affine_grid(theta, (1, 2, 5, 6), align_corners=False),
                           align_corners=False)  # fmt: skip
    border = F.grid_sample(x, grid, padding_mode="border", align_corners=True)
    return turned, border, F.grid_sample(x, grid, mode="bicubic", align_corners=False)


def tensors(self: Any, x: Any, i: Any) -> Any:
    """Indexing and arithmetic of all sorts; x: f32[4,6,5], i: i64[4,3] below 5."""
    mask = x > 0
    y = torch.einsum("bij,bkj->bik", x, x.cumsum(1)).masked_fill(mask[:, :, :1], 2.0)
    z = torch.gather(x, 2, i[:, None].expand(-1, 6, -1))
    w = x[:, [0, 2, 5]][..., ::2] + x[i[:, 0] % 4, i[:, 1]][:, None, :3]
    s = torch.zeros_like(x).scatter_add(2, i[:, None].expand(-1, 6, -1), z)
    s = s.index_add(1, torch.tensor([0, 5, 0]), w.repeat(1, 1, 2)[..., :5])
    s = s.scatter(1, i[:, None, :].expand(-1, 2, -1), 7.0)
    p = (i + 0.5) * i.float().mean() + i // 2 - i % 3
    q = torch.where(mask, x, x.new_tensor(-1.0)).clamp(min=-0.5).topk(2, -1)[0]
    return {
        "y": y, "z": z, "w": w, "s": s, "p": p, "q": q,
        "n": torch.linalg.vector_norm(x, dim=-1) + x.var(1).sum(-1, keepdim=True),
        "o": F.one_hot(i, 5).sum(1) + x.argmax(-1)[:, :5],
        "t": torch.tril(y) + y.flip(2) + y.triu(1).transpose(1, 2),
        "u": x.unfold(1, 3, 2).reshape(4, -1) @ torch.eye(30),
        "m": torch.stack(torch.meshgrid(x[0, 0], x[0, 1], indexing="ij")),
        "l": torch.logsumexp(x, (1, 2)) + x.log_softmax(0)[0].sum() + x.prod(-1)[:, 0],
    }  # fmt: skip


def assigned(self: Any, x: Any) -> Any:
    y = x.clone()
    y[:, 1:3, ::2] = 0.25
    y[:, 0] += y[:, 1] * 2
    y[:, :, -1] = x.sum(2)
    return y


def strides(self: Any, x: Any) -> Any:
    """Integers of a shape as data, and sizes that are products of others."""
    n, c, h, w = x.shape
    y = x.view(n, c, h * w).transpose(1, 2).reshape(n * h, w, c)
    return y * (h / w) + torch.arange(w)[None, :, None] / h + torch.linspace(0, 1, 5)[:c]


def windowed(self: Any, x: Any) -> Any:
    """Fold and unfold, as in window attention."""
    columns = F.unfold(x, 3, padding=1, stride=2)
    return F.fold(columns * 0.5, (8, 8), 3, padding=1, stride=2), F.fold(
        F.unfold(x, 4, stride=4), (8, 8), 4, stride=4
    )


def spelled(self: Any, x: Any, image: Any) -> Any:
    """What PyTorch's exporters lack, or get wrong."""
    edges = torch.tensor([-1.0, 0.0, 1.0])
    return (
        x.median(-1)[0] + torch.median(x) + x.kthvalue(2, -1)[0],
        torch.hypot(x, x + 1) + F.rrelu(x) + torch.searchsorted(edges, x),
        torch.cdist(x, x * 1.5) + torch.cdist(x, x * 2, p=1),
        F.adaptive_max_pool2d(image, (5, 4)),
        F.adaptive_max_pool1d(image[0], 3) + nn.AdaptiveMaxPool2d((None, 3))(image)[0],
        F.avg_pool2d(image, 3, 2, 1, divisor_override=5),
    )


HALF = (1, 2)  # two sizes of a batch

CASES: dict[str, tuple[Callable[[], Any], Any, Dims]] = {
    "classic": (Classic, randn(1, 3, 33, 30), {"batch": HALF}),
    "unet": (UNet, randn(1, 3, 24, 24), {"h": (9, 64), "w": (9, 64)}),
    "blocks": (Blocks, randn(1, 3, 32, 32), {"h": (16, 64), "w": (16, 64)}),
    "gpt": (GPT, randint(50, 1, 12), {"batch": HALF, "seq": (1, 64)}),
    "llama": (Llama, randn(2, 7, 32), {"seq": (1, 40)}),
    "vit": (ViT, randn(1, 3, 32, 32), {"batch": HALF}),
    "translator": (
        Translator,
        (randn(2, 7, 16), randn(2, 5, 16, seed=2), torch.arange(7) >= torch.tensor([[7], [4]])),
        {"source.1": (3, 9), "target.1": (2, 8), "padding.1": (3, 9)},
    ),
    "tagger": (Tagger, randint(40, 2, 7), {"batch": HALF, "seq": (1, 20)}),
    "speech": (Speech, randn(1, 160), {"wave.1": (100, 400)}),
    "bags": (Bags, (randint(30, 2, 5), randn(2, 5)), {}),
    "volumes": (volumes, randn(1, 2, 6, 8, 10), {}),
    "padded": (lambda: Run(padded), randn(1, 2, 6, 7), {"w": (4, 9)}),
    "shuffled": (lambda: Run(shuffled), randn(1, 8, 6, 4), {}),
    "sampled": (lambda: Run(sampled), (randn(1, 2, 7, 8), randn(1, 4, 3, 2, seed=4)), {}),
    "tensors": (lambda: Run(tensors), (randn(4, 6, 5), randint(5, 4, 3)), {}),
    "assigned": (lambda: Run(assigned), randn(2, 4, 6), {"batch": HALF}),
    "strides": (lambda: Run(strides), randn(2, 5, 4, 6), {"h": (2, 8), "w": (2, 8)}),
    "windowed": (lambda: Run(windowed), randn(1, 3, 8, 8), {}),
    "spelled": (lambda: Run(spelled), (randn(4, 7), randn(1, 2, 12, 11)), {}),
}  # fmt: skip


def jobs(name: str) -> list[Job]:
    """A module as jobs: at each end of its ranges, or at its fixed sizes."""
    make, example, dims = CASES[name]
    module = seeded(make())
    imported = frontend.load(module, dims, example=example)
    called = pytorch.function(module, example)
    at = pytorch.places(dims, called.inputs, called.example)
    ranges = {k: v for k, v in dims.items() if isinstance(v, tuple)}
    out = []
    for sizes in (
        [{k: lo + 1 for k, (lo, hi) in ranges.items()}, {k: hi for k, (lo, hi) in ranges.items()}]
        if ranges
        else [{}]
    ):
        feeds = pytorch.resized(called.example, at, sizes, seed=7)
        arrays = {k: t.numpy() for k, t in zip(called.inputs, feeds)}
        expected = called(arrays)
        graph = imported.graph
        named = {str(d.args[0]) for d in graph.dims}
        symbols = {k.replace(".", "_"): v for k, v in sizes.items()}
        assert named <= set(symbols)
        label = name + "".join(f",{k}={v}" for k, v in sizes.items())
        out.append(Job(label, graph, arrays, expected, sizes={k: symbols[k] for k in named}))
    return out


@functools.cache
def built(name: str) -> list[Job] | Exception:
    """A case as jobs, or what went wrong with it."""
    try:
        return jobs(name)
    except Exception as error:
        return error


@pytest.mark.parametrize("name", CASES)
def test_module(name: str) -> None:
    found = built(name)
    if isinstance(found, Exception):
        raise found
    assert not interpreted(found)


def test_modules_on_wasm() -> None:
    every = [job for name in CASES if isinstance(found := built(name), list) for job in found]
    assert len(every) >= len(CASES)
    assert not run_jobs(every)


# ---- arguments and results ----------------------------------------------------------------------


class Nested(nn.Module):
    """Containers of tensors, numbers and None in and out."""

    def forward(self, x: Any, states: Any, *, scale: float = 1.0, mask: Any = None) -> Any:
        x = x * scale + states["h"][0]
        x = x if mask is None else x * mask
        return {"y": x, "states": {"h": [x + 1, states["h"][1] * 2]}, "none": None, "n": 3}


class Rated(nn.Module):
    """Another branch for each sample rate."""

    def forward(self, x: Any, rate: Any) -> Any:
        return x * rate / 16000 if rate == 16000 else -x


def test_inputs_become_constants() -> None:
    for rate in (16000, 8000):
        found = frontend.load(
            Rated(), example=(randn(2, 3), torch.tensor(16000)), fixed={"rate": rate}
        )
        assert [v.attrs["name"] for v in found.graph.inputs] == ["x"]
        x = randn(2, 3, seed=5)
        expected = Rated()(x, torch.tensor(rate)).numpy()
        assert not interpreted([Job("r", found.graph, {"x": x.numpy()}, {"output": expected})])
    with pytest.raises(
        WebDNNError, match=r"--set sr: the model has no such input\. It has x: float32"
    ):
        frontend.load(Rated(), example=(randn(2, 3), torch.tensor(16000)), fixed={"sr": 1})


def test_containers_and_numbers() -> None:
    example = (
        np.ones((2, 3), np.float32),
        {"h": [randn(2, 3), randn(3)]},
        {"scale": 2.5, "mask": torch.tensor([True, False, True])},
    )
    imported = frontend.load(Nested(), {}, example=example)
    graph = imported.graph
    names = [v.attrs["name"] for v in graph.inputs]
    assert names == ["x", "states_h_0", "states_h_1", "mask"]
    assert list(graph.outputs) == ["y", "states_h_0_out", "states_h_1_out"]
    assert any("n is no tensor" in note for note in imported.notes)
    called = pytorch.function(Nested(), example)
    feeds = {
        "x": randn(2, 3, seed=5).numpy(), "states_h_0": randn(2, 3, seed=6).numpy(),
        "states_h_1": randn(3, seed=7).numpy(), "mask": np.array([True, True, False]),
    }  # fmt: skip
    assert not interpreted([Job("nested", graph, feeds, called(feeds))])
    np.testing.assert_allclose(
        called(feeds)["y"], (feeds["x"] * 2.5 + feeds["states_h_0"]) * feeds["mask"], rtol=1e-5
    )


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.9)).train()
    module[2].eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    example = randn(2, 4)
    called = pytorch.function(module, example)
    imported = frontend.load(module, {"batch": (1, 4)}, example=example)
    assert [m.training for m in module.modules()] == [True, True, True, False]
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    # In evaluation mode a row does not depend on the others.
    x = randn(3, 4, seed=9).numpy()
    rows = [called({"input": x[k : k + 1]})["output"] for k in range(3)]
    job = Job(
        "eval", imported.graph, {"input": x}, {"output": np.concatenate(rows)}, sizes={"batch": 3}
    )
    assert not interpreted([job])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits(dtype: str) -> None:
    module = seeded(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)))
    exact = pytorch.function(module, randn(2, 8))
    halved = seeded(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)))
    halved = halved.to(getattr(torch, dtype))
    imported = frontend.load(halved, {}, example=randn(2, 8))
    assert next(halved.parameters()).dtype == getattr(torch, dtype)
    kind = "f16" if dtype == "float16" else "f32"
    assert imported.graph.inputs[0].dtype == kind
    x = randn(2, 8, seed=3).numpy()
    feeds = {"input": x.astype(np.float16) if kind == "f16" else x}
    expected = {"output": exact({"input": x})["output"].astype(feeds["input"].dtype)}
    assert not interpreted([Job(dtype, imported.graph, feeds, expected, tol=2e-2)])


def test_parameters_keep_their_names() -> None:
    module = seeded(GPT())
    imported = frontend.load(module, {}, example=randint(50, 1, 6))
    assert "embed.weight" in imported.graph.names
    assert imported.parameters >= 50 * 32 + 64 * 32
    assert imported.contents["Attention"] == 1


# ---- dimensions ---------------------------------------------------------------------------------


def sizes_of(dims: Dims, *example: Any) -> list[list[str]]:
    module = Run(lambda self, *a: sum(t.float().sum() for t in a) * a[0].float())
    graph = frontend.load(module, dims, example=example).graph
    return [[str(d) for d in v.shape] for v in graph.inputs]


def test_which_axes_a_key_means() -> None:
    image, ids = randn(2, 3, 8, 9), randint(9, 2, 5)
    assert sizes_of({"batch": (1, 4)}, image, ids) == [["batch", "3", "8", "9"], ["batch", "5"]]
    assert sizes_of({"h": (2, 9), "w": 6}, image) == [["2", "3", "h", "6"]]
    assert sizes_of({"seq": (1, 9)}, ids, ids) == [["2", "seq"], ["2", "seq"]]
    assert sizes_of({"input_1.1": 7}, ids, randn(2, 6)) == [["2", "5"], ["2", "7"]]
    assert sizes_of({"d": (2, 4)}, randn(1, 2, 3, 4, 5)) == [["1", "2", "d", "4", "5"]]


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({"x.7": 3}, r"--dim x\.7: no axis of the inputs.*x: float32\[2, 24\]"),
        ({"h": (1, 4)}, r"--dim h: no axis of the inputs has this name"),
        ({"x.1": (5, 2)}, r"--dim x\.1=5\.\.2: expected LOW\.\.HIGH, sizes from 0 up"),
        ({"x.1": 24, "seq": 12}, r"both mean axis 1 of input 'x', but differ"),
    ],
)
def test_dimensions_that_do_not_fit(dims: Dims, message: str) -> None:
    class Doubled(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2

    with pytest.raises(DimensionError, match=message):
        frontend.load(Doubled(), dims, example=randn(2, 24))


def test_a_size_that_the_module_fixes() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.view(2, 24) * torch.arange(24)

    with pytest.raises(DimensionError, match=r"itself does not run at two sizes.*x\.1=9"):
        frontend.load(Fixed(), {"x.1": (9, 40)}, example=randn(2, 24))


def test_sizes_that_the_module_refuses_are_passed_over() -> None:
    class Halves(nn.Module):
        def forward(self, x: Any) -> Any:
            a, b = x.reshape(x.shape[0], -1, 8).mean(-1), x.reshape(x.shape[0], 8, -1).mean(1)
            return a + b

    try:
        imported = frontend.load(Halves(), {"x.1": (5, 64)}, example=randn(2, 16))
    except DimensionError as error:
        assert "x_1" in str(error)  # must hold at every size, says the import itself
    else:
        assert any("does not run at x.1=5" in note for note in imported.notes)


# ---- exporters that are wrong -------------------------------------------------------------------


def test_a_wrong_export_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    right = pytorch._exported

    def wrong(called: Any, route: pytorch.Route, *rest: Any) -> Any:
        proto, weights = right(called, route, *rest)
        if route.capture == "dynamo":
            for t in proto.graph.initializer:
                t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t) * 1.01, t.name))
        return proto, weights

    monkeypatch.setattr(pytorch, "_exported", wrong)
    module = seeded(nn.Linear(6, 5))
    imported = frontend.load(module, {}, example=randn(2, 6))
    assert sum("not used: torch.onnx.export (dynamo, opset" in n for n in imported.notes) == 2
    assert any("exported by torch.onnx.export (dynamo, strict" in n for n in imported.notes)
    monkeypatch.setattr(pytorch, "ROUTES", pytorch.ROUTES[:2])
    with pytest.raises(UnsupportedError, match="none of PyTorch's exporters") as raised:
        frontend.load(module, {}, example=randn(2, 6))
    said = "(dynamo, opset 23) and (dynamo, opset 18): output 'output' on the example differs"
    assert said in str(raised.value)


def test_a_baked_size_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = pytorch._exported

    def baked(called: Any, route: pytorch.Route, feeds: Any, at: Any, ranges: Any, t: Any) -> Any:
        proto, weights = right(called, route, feeds, at, {}, t)
        for axis, d in enumerate(proto.graph.input[0].type.tensor_type.shape.dim):
            if (0, axis) in at:
                d.dim_param = "s"
        return proto, weights

    class Steps(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + torch.arange(x.shape[1])

    monkeypatch.setattr(pytorch, "_exported", baked)
    monkeypatch.setattr(pytorch, "ROUTES", pytorch.ROUTES[:1])
    with pytest.raises((DimensionError, UnsupportedError), match="opset 23"):
        frontend.load(Steps(), {"x.1": (2, 30)}, example=randn(2, 24))


@pytest.mark.parametrize("through", ["onnxruntime", "onnx.reference"])
def test_large_weights_stay_in_the_module(through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if through == "onnx.reference":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    module = seeded(nn.Sequential(nn.Linear(600, 50), nn.Linear(50, 7)))
    imported = frontend.load(module, {}, example=randn(2, 600))
    assert any(f"through {through} " in n for n in imported.notes)
    found = max((evaluate(v) for v in imported.graph.values() if v.op is CONST), key=np.size)
    weight = module[0].weight.detach().numpy()
    assert np.shares_memory(found, weight)
    np.testing.assert_array_equal(found if found.shape == weight.shape else found.T, weight)


def test_weights_that_torchscript_puts_beside_a_large_model(tmp_path: Path) -> None:
    module = seeded(nn.Linear(30, 20))
    torch.onnx.export(module, (randn(2, 30),), tmp_path / "m.onnx", dynamo=False)
    whole = onnx.load_model(tmp_path / "m.onnx")
    whole_weights = {t.name: numpy_helper.to_array(t) for t in whole.graph.initializer}
    onnx.save_model(whole, tmp_path / "n.onnx", save_as_external_data=True, size_threshold=0)
    proto, weights = pytorch._from_folder(tmp_path / "n.onnx")
    assert weights.keys() == whole_weights.keys() and proto.ByteSize() < 1000
    for name, array in weights.items():
        np.testing.assert_array_equal(array, whole_weights[name])
    loaded = onnx_frontend.load(proto, {}, arrays=weights)
    assert sum(v.op is CONST for v in loaded.graph.values()) == 2


# ---- exported programs and files ----------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What PyTorch writes of one small network."""
    folder = tmp_path_factory.mktemp("files")
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(2)))
    x = randn(2, 3, 6, 7)
    fixed = torch.export.export(module, (x,))
    torch.export.save(fixed, folder / "fixed.pt2")
    batch = torch.export.Dim("batch", min=1, max=16)
    width = torch.export.Dim("width", min=4, max=64)
    opened = torch.export.export(module, (x,), dynamic_shapes=({0: batch, 3: width},))
    torch.export.save(opened, folder / "open.pt2")
    torch.save(module, folder / "module.pt")
    torch.save(module.state_dict(), folder / "state.pth")
    torch.save(module.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.jit.trace(module, x).save(folder / "script.pt")
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return folder


def convolved(x: np.ndarray) -> np.ndarray:
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(2)))
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)))


def test_program_files(files: Path) -> None:
    assert frontend.format_of(files / "fixed.pt2") == "pytorch"
    assert frontend.format_of((files / "fixed.pt2").read_bytes()) == "pytorch"
    fixed = frontend.load(files / "fixed.pt2").graph
    x = randn(2, 3, 6, 7, seed=8).numpy()
    job = Job("fixed", fixed, {"input": x}, {"output": convolved(x)})
    opened = frontend.load(files / "open.pt2", {"batch": (1, 4), "w": (4, 20)}).graph
    y = randn(3, 3, 6, 11, seed=8).numpy()
    sizes = {"batch": 3, "w": 11}
    other = Job("open", opened, {"input": y}, {"output": convolved(y)}, sizes=sizes)
    assert not interpreted([job, other])
    program = torch.export.load(files / "open.pt2")
    assert frontend.load(program, {"w": 9}).graph.inputs[0].shape == (1, 3, 6, 9)
    with pytest.raises(DimensionError, match=r"axis 2 of input 'input' is fixed at 6"):
        frontend.load(files / "open.pt2", {"h": (4, 8), "w": 8})
    with pytest.raises(DimensionError, match="must be given"):
        frontend.load(files / "open.pt2", {})


@pytest.mark.parametrize(
    "name", ["module.pt", "state.pth", "old.pth", "script.pt", "w.safetensors"]
)
def test_files_that_hold_no_program(name: str, files: Path) -> None:
    assert frontend.format_of(files / name) == "pytorch"
    kind = {
        "script.pt": "is a TorchScript file",
        "module.pt": r"is a whole module of torch\.nn\.modules\.container\.Sequential",
        "w.safetensors": r"weights alone \(safetensors\)",
    }.get(name, "is a state dict")
    with pytest.raises(UnsupportedError, match=kind) as raised:
        frontend.load(files / name)
    assert str(files / name) in str(raised.value)


def test_the_way_in_of_torchscript_is_as_it_says(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError) as raised:
        frontend.load(files / "script.pt")
    lines = "\n".join(line.strip() for line in str(raised.value).splitlines()[1:])
    monkeypatch.chdir(tmp_path)
    exec(lines.replace("1, 3, 224, 224", "2, 3, 6, 7"), {"torch": torch})
    graph = frontend.load(tmp_path / "model.onnx", {}).graph
    x = randn(2, 3, 6, 7, seed=8).numpy()
    (name,), (output,) = [i.attrs["name"] for i in graph.inputs], graph.outputs
    assert not interpreted([Job("script", graph, {name: x}, {output: convolved(x)})])


@pytest.mark.parametrize("name", ["module.pt", "state.pth", "old.pth", "lit.ckpt"])
def test_the_way_in_of_such_a_file_is_as_it_says(
    name: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of the message are run, on an input of this network."""
    state = {"epoch": 3, "state_dict": torch.load(files / "state.pth")}
    torch.save(state, files / "lit.ckpt")
    with pytest.raises(UnsupportedError) as raised:
        frontend.load(files / name)
    lines = [line.strip() for line in str(raised.value).splitlines()[1:]]
    assert lines[-1].startswith("webdnn.transpile(module.eval(), 'build', example=torch.zeros(")
    given: list[Any] = []
    monkeypatch.setattr(webdnn, "transpile", lambda module, *_, example: given.append(module))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(2))
    exec("\n".join(lines), {"torch": torch, "webdnn": webdnn, "module": module})
    x = randn(2, 3, 6, 7, seed=8)
    graph = frontend.load(given[0], example=x).graph
    assert not interpreted(
        [Job(name, graph, {"input": x.numpy()}, {"output": convolved(x.numpy())})]
    )


def test_weights_of_transformers_are_exported(files: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes((files / "w.safetensors").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for model in (tmp_path, tmp_path / "w.safetensors"):
        with pytest.raises(UnsupportedError, match=f"optimum-cli export onnx --model {tmp_path}"):
            frontend.load(model)


def rewritten(path: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> bytes:
    """The archive with changed members."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            new.writestr(*change(info.filename, old.read(info)))
    return out.getvalue()


class Trap:
    """Unpickling this calls `mkdir`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.mkdir, (self.path,))


def test_program_files_run_nothing(files: Path, tmp_path: Path) -> None:
    import pickle

    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    pickle.loads(trap)
    (tmp_path / "sprung").rmdir()  # it does spring
    buffer = io.BytesIO()
    torch.save(((Trap(tmp_path / "sprung"),), {}), buffer)
    call = b"__import__('pathlib').Path('sprung').mkdir()"

    def member(suffix: str, data: bytes) -> Callable[[str, bytes], tuple[str, bytes]]:
        return lambda name, old: (name, data if name.endswith(suffix) else old)

    def text(old: bytes, new: bytes) -> Callable[[str, bytes], tuple[str, bytes]]:
        return lambda name, data: (name, data.replace(old, new) if name.endswith(".json") else data)

    source = files / "open.pt2"
    with zipfile.ZipFile(source) as archive:
        model = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        content = archive.read(model)
    assert b'"expr_str": "' in content
    before, after = b'"expr_str": "', b'"expr_str": "' + call + b"+"
    for data, what in (
        (rewritten(source, member("sample_inputs/model.pt", trap)), "pickled objects"),
        (rewritten(source, member("sample_inputs/model.pt", buffer.getvalue())), "pickled objects"),
        (rewritten(source, text(b'"use_pickle": false', b'"use_pickle": true')), "pickled objects"),
        (rewritten(source, text(before, after)), "the expression"),
        (rewritten(source, text(b"torch.ops.aten.relu.default", b"torch.hub.load")), "a call of"),
        (
            rewritten(source, lambda n, d: (n.replace("byteorder", "aotinductor/x.so"), d)),
            "machine",
        ),
    ):
        with pytest.raises(ModelError, match=f"contains {what}.*torch.export.load"):
            frontend.load(data, {"w": 8})
    assert not (tmp_path / "sprung").exists()


def test_program_files_that_are_damaged(files: Path) -> None:
    data = (files / "fixed.pt2").read_bytes()
    with pytest.raises(ModelError, match="damaged or truncated"):
        frontend.load(data[: len(data) // 2])
    with pytest.raises(ModelError, match="damaged"):
        frontend.load(data.replace(b'"graph_module"', b'"graph_modulo"'))
    inner = rewritten(
        files / "fixed.pt2", lambda n, d: (n, b"{" if n.endswith("model.json") else d)
    )
    with pytest.raises(ModelError, match="damaged"):
        frontend.load(inner)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a/archive_format", "pt2")
        bomb.writestr("a/data/weights/weight_0", bytes(2**24))
    with pytest.raises(ModelError, match="that unpack to"):
        frontend.load(out.getvalue())


# ---- what bad input gets ------------------------------------------------------------------------


def test_what_is_no_module_or_has_no_example() -> None:
    module = nn.Linear(3, 2)
    with pytest.raises(ModelError, match=r"example=torch\.zeros"):
        frontend.load(module)
    with pytest.raises(UnsupportedError, match="state dict holds weights alone"):
        frontend.load(module.state_dict())
    with pytest.raises(ModelError, match=r"input: float32\[2, 4\].*RuntimeError: mat1 and mat2"):
        frontend.load(module, example=randn(2, 4))
    with pytest.raises(ModelError, match="the example has no tensor"):
        frontend.load(module, example=3)
    with pytest.raises(ModelError, match="device 'meta'"):
        frontend.load(nn.Linear(3, 2, device="meta"), example=randn(2, 3))
    with pytest.raises(UnsupportedError, match="complex"):
        frontend.load(Run(lambda self, x: torch.fft.fft(x)), example=randn(2, 8))


def test_a_module_that_decides_by_values_is_not_frozen_unnoticed() -> None:
    """TorchScript's exporter would take the way of the example for all inputs."""
    with pytest.raises(UnsupportedError, match="data-dependent"):
        frontend.load(
            Run(lambda m, x: x * 2 if x.sum() > 0 else x), {}, example=1 + randn(1, 4) / 9
        )


def test_an_exporter_that_fails_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """TorchScript's would print its whole graph, whatever else then exports the module."""
    module, inputs = nn.Bilinear(3, 2, 4), (randn(2, 3), randn(2, 2))
    with pytest.raises(Exception, match="bilinear"), pytorch._exporting(torch):
        torch.onnx.export(module, inputs, io.BytesIO(), dynamo=False)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("package", ["torch", "onnxscript"])
def test_a_missing_package(package: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WebDNNError, match=rf"need {package}.*pip install 'webdnn\[pytorch\]'"):
        frontend.load(files / "fixed.pt2")


def test_scripted_modules() -> None:
    scripted = torch.jit.script(seeded(nn.Sequential(nn.Linear(6, 5), nn.Tanh())))
    with pytest.raises(UnsupportedError, match=r"TorchScript.*the module from which it was made"):
        frontend.load(scripted, {}, example=randn(2, 6))


class NamedAlike(nn.Module):
    """Whose outputs have names that the exporter gives to other values, and to a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(randn(4))
        self.linear = nn.Linear(3, 4)

    def forward(self, add: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.linear(add)
        z = nn.functional.gelu(y) + self.weight
        return {"linear": z, "view": z * 4, "gelu": y, "weight": y * 3, "val_2": z.reshape(-1, 2)}


def test_outputs_may_be_named_like_inner_values() -> None:
    module, x = seeded(NamedAlike()), randn(2, 3)
    imported = frontend.load(module, {"batch": 2}, example=x)
    assert not [note for note in imported.notes if "not used" in note]
    with torch.no_grad():
        wanted = {k: v.numpy() for k, v in module(x).items()}
    assert not interpreted([Job("alike", imported.graph, {"add": x.numpy()}, wanted)])
