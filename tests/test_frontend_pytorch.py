"""PyTorch modules against what PyTorch makes of them: exported, imported, compiled to wasm.

Weights are random and scaled so that outputs discriminate (`seeded`); inputs at run time are others
than the example, at sizes that the exporter has not seen.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.jobs import Job, interpreted, run_jobs
from webdnn import frontend
from webdnn.errors import DimensionError, ModelError, UnsupportedError, WebDNNError

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
            nn.Conv2d(8, 12, 5, padding="same", dilation=2, groups=4), nn.ELU(0.7), nn.LocalResponseNorm(3),
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
        (randn(2, 7, 16), randn(2, 5, 16, seed=2), torch.arange(7)[None] >= torch.tensor([[7], [4]])),
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
