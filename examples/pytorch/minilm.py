"""MiniLM-L6: a BERT encoder in plain PyTorch, and the sentence embedding that is made of it.

    model = SentenceEncoder(); model.load_state_dict(weights(path))
    model(torch.tensor([[101, 7592, 102]]))["embedding"]      # [1, 384], of unit length

The submodules are called as the weights of BERT checkpoints are, so that these load as they are
(Devlin et al., "BERT", 2018; Wang et al., "MiniLM", 2020). One sentence at a time, so there is no
padding and no mask.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, LAYERS, HEADS, INNER = 384, 6, 12, 1536
VOCABULARY, LONGEST = 30522, 512
EPSILON = 1e-12  # of BERT's layer normalisation


class Embeddings(nn.Module):
    """Token, position and segment, summed and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embeddings = nn.Embedding(LONGEST, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.word_embeddings(tokens) + self.position_embeddings(places)
        return self.LayerNorm(x + self.token_type_embeddings.weight[0])


class Output(nn.Module):
    """Back to the encoder's width, onto what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class Attention(nn.Module):
    """Every token looks at all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.self = nn.ModuleDict({n: nn.Linear(WIDTH, WIDTH) for n in ("query", "key", "value")})
        self.output = Output(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.self.values()
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        return self.output(seen.transpose(1, 2).flatten(2), x)


class Layer(nn.Module):
    """Attention, then two dense layers on each token."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = Output(INNER)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class SentenceEncoder(nn.Module):
    """The mean of the tokens' vectors: int64 [1, T], T up to 512 → {"embedding": [1, 384]}."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = self.embeddings(tokens)
        for layer in self.encoder["layer"]:
            x = layer(x)
        return {"embedding": F.normalize(x.mean(1), dim=-1)}


def weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: a JSON header behind its length, then the numbers.

    What the encoder has no use for (a pooler, the numbers of the positions) is left out.
    """
    data = np.memmap(file, np.uint8, "r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32" and not name.startswith("pooler."):
            begin, end = (start + offset for offset in entry["data_offsets"])
            array = np.frombuffer(data[begin:end].tobytes(), "<f4").reshape(entry["shape"])
            found[name] = torch.from_numpy(array.copy())
    return found


def encoder(file: Path) -> SentenceEncoder:
    """The trained encoder in float16: half the download, and no difference to what is found."""
    model = SentenceEncoder()
    model.load_state_dict(weights(file))
    return model.half().eval()
