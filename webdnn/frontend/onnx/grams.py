"""Counts of n-grams in sequences of numbers: ONNX's TfIdfVectorizer, without strings.

    >>> from webdnn.graph import placeholder
    >>> x = placeholder("x", (6,), "i64")
    >>> y = TfIdfVectorizer(x, min_gram_length=1, max_gram_length=1, max_skip_count=0, mode="TF",
    ...                     ngram_counts=[0], ngram_indexes=[1, 0], pool_int64s=[7, 9])
    >>> y.shape
    (2,)

Every gram is compared at every place with every distance between its elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ... import limits, ops
from ...errors import ModelError
from ...graph import Value, constant, type_text


def TfIdfVectorizer(
    x: Value,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: Literal["TF", "IDF", "TFIDF"],
    ngram_counts: Sequence[int],
    ngram_indexes: Sequence[int],
    pool_int64s: Sequence[int] = (),
    weights: Sequence[float] | None = None,
) -> Value:
    """[N, C] or [C] -> [N, grams]: how often each gram stands in a row, or its weight."""
    if x.rank not in (1, 2) or not pool_int64s:
        raise ModelError(f"{type_text(x)}: rows of integers, and a pool of such, expected")
    rows = x if x.rank == 2 else ops.unsqueeze(x, [0])
    count, length = ops.static(rows.shape[0], "rows"), ops.static(rows.shape[1], "their length")
    ends = [*ngram_counts[1:], len(pool_int64s)]
    columns = max(ngram_indexes, default=-1) + 1
    total = constant(np.zeros((count, columns)), "f32")
    first = 0
    for n, (begin, end) in enumerate(zip(ngram_counts, ends), 1):
        if not 0 <= begin <= end <= len(pool_int64s) or (end - begin) % n:
            raise ModelError(f"ngram_counts {list(ngram_counts)} do not divide the pool into grams")
        grams = np.array(pool_int64s[begin:end], np.int64).reshape(-1, n)
        places = np.array(ngram_indexes[first : first + len(grams)])
        first += len(grams)
        if len(places) != len(grams) or (len(places) and places.min() < 0):
            raise ModelError("ngram_indexes: one for each gram of the pool expected")
        if not min_gram_length <= n <= max_gram_length or not len(grams):
            continue
        found = _counted(rows, grams, 0 if n == 1 else max_skip_count, length)
        limits.make(4 * len(grams) * columns, "the places of grams")
        to = np.zeros((len(grams), columns))
        to[np.arange(len(grams)), places] = 1
        total = ops.add(total, ops.matmul(found, constant(to, "f32")))
    if mode != "TF":
        weight = np.ones(columns)
        if weights is not None:
            for place, w in zip(ngram_indexes, weights):
                weight[place] = w
        if mode == "IDF":
            total = ops.cast(ops.greater(total, 0.0), "f32")
        total = ops.mul(total, constant(weight, "f32"))
    return total if x.rank == 2 else ops.squeeze(total, [0])


def _counted(rows: Value, grams: np.ndarray, skips: int, length: int) -> Value:
    """[N, C] -> f32 [N, grams]: how often each stands there, with 0 to `skips` elements between."""
    n = grams.shape[1]
    out = constant(np.zeros((1, len(grams))), "f32")
    for step in range(1, skips + 2):
        starts = length - (n - 1) * step
        if starts < 1:
            break
        at = np.arange(starts)[:, None] + np.arange(n) * step
        seen = ops.gather(rows, constant(at.astype(np.int64)), 1)  # [N, places, n]
        seen = ops.cast(ops.unsqueeze(seen, [1]), "i64")  # [N, 1, places, n]
        alike = ops.equal(seen, constant(grams[:, None], "i64"))
        whole = ops.cast(ops.reduce(alike, "all", [3]), "f32")
        out = ops.add(out, ops.squeeze(ops.reduce_sum(whole, [2]), [2, 3]))
    return out


__all__ = ["TfIdfVectorizer"]
