"""The PyTorch example's tokenizer, against ids that the `tokenizers` package gave (0.23, with the
model's own tokenizer.json) for text in many scripts; and its network, through `webdnn check`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.interpret import interpret
from webdnn import frontend

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "examples" / "pytorch" / "page"
FIXTURE = Path(__file__).parent / "fixtures" / "wordpiece.json"

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.models  # the vocabulary and the weights are fetched

RUN = """
import { readFileSync } from 'node:fs';
const [module, vocabulary, texts] = process.argv.slice(1);
const { wordPiece } = await import(module);
const tokenizer = wordPiece(readFileSync(vocabulary, 'utf8'));
const cases = JSON.parse(readFileSync(texts, 'utf8'));
console.log(JSON.stringify([
  cases.map(({ text }) => tokenizer(text)), tokenizer('one two three four', 4),
]));
"""


def test_tokenizer_agrees_with_the_models_own() -> None:
    from examples.pytorch.build import FILES, MINILM, VOCABULARY
    from examples.showcase import fetch

    vocabulary = fetch(MINILM, FILES)[VOCABULARY]
    command = ["node", "--input-type=module", "-e", RUN, "--"]
    command += [(PAGE / "wordpiece.js").as_uri(), str(vocabulary), str(FIXTURE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, cut = json.loads(done.stdout)
    cases = json.loads(FIXTURE.read_text())
    assert len(cases) > 40 and sum(len(c["ids"]) for c in cases) > 500
    wrong = [(c["text"], c["ids"], f) for c, f in zip(cases, found, strict=True) if c["ids"] != f]
    assert not wrong
    assert cut == [101, 2028, 2048, 102]


def test_embeddings_of_sentences_at_several_lengths() -> None:
    """The imported graph against PyTorch, and sentences that mean alike are close."""
    import torch

    from examples.pytorch.build import DIMS, model

    net = model().float()
    graph = frontend.load(net, DIMS, example=torch.tensor([[101, 2054, 2003, 2023, 102]])).graph
    sentences = {
        "the doctor helped the man": [101, 1996, 3460, 3271, 1996, 2158, 102],
        "a physician aided him": [101, 1037, 7522, 11553, 2032, 102],
        "stocks fell": [101, 15768, 3062, 102],
    }
    points = []
    for ids in sentences.values():
        tokens = np.array([ids], np.int64)
        found = interpret(graph, {"tokens": tokens}, {"seq": len(ids)})["embedding"]
        with torch.no_grad():
            expected = net(torch.from_numpy(tokens))["embedding"].numpy()
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
        points.append(found[0])
    assert points[0] @ points[1] > 0.5 > points[0] @ points[2] + 0.2
