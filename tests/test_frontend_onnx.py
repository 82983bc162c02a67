"""The ONNX frontend: ONNX's own node tests through the numpy reading, dimensions, and what bad models get."""

from __future__ import annotations

import functools
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from tests.interpret import interpret
from webdnn.errors import DimensionError, ModelError, UnsupportedError
from webdnn.frontend import load
from webdnn.frontend.onnx_ops import OPERATORS
from webdnn.graph import DTYPES, evaluate, verify

# ---- ONNX's node tests -----------------------------------------------------------------------------

# Why a node test of an operator that we have does not count. Every pattern must match some test.
EXCLUDED = {
    r"FLOAT8|float8|FLOAT4|float4|e4m3|e5m2|_e8m0|E8M0": "8-bit and 4-bit floats are not supported",
    r"(to|from)_U?INT[24]|U?INT[24]_to|_u?int[24]$": "2-bit and 4-bit integers exist only as constants",
    r"STRING|strnorm|string": "strings are not supported",
    r"sequence|optional|identity_opt|if_seq|if_opt": "sequences and optionals are not supported",
    r"training|train_|default_mask|_ratio": "training is not supported",
    r"maxpool_with_argmax": "the second output of MaxPool is not supported",
    r"_antialias": "resizing with antialias is not supported",
    r"empty_set|triu_zero|tril_zero|zero_size_splits|_zero_dim$|allowzero": "empty tensors are not supported",
    r"gridsample_bicubic|gridsample_volumetric": "GridSample: bilinear and nearest on images",
    r"test_castlike_(FLOAT|DOUBLE|BFLOAT)": "their second input is empty",
    r"test_not_[234]d": "opset 1",
    r"downsample_scales_\w+_align_corners": "onnxruntime's reading: the corner of a whole number of pixels",
}


@functools.cache
def node_tests() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {c.name: c for c in collect_testcases(None) if c.kind == "node"}


def _with_constants(model: onnx.ModelProto, inputs: list[np.ndarray], first: int) -> onnx.ModelProto:
    """The model with the inputs from `first` on as initialisers: shapes, axes and the like must be known."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.input[first:]
    for given, array in zip(model.graph.input[first:], inputs[first:], strict=True):
        out.graph.initializer.append(numpy_helper.from_array(array, given.name))
    return out


def _array(x: Any) -> np.ndarray:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x)


def _compare(case: Any, reading: str) -> str:
    """"", or what went wrong; raises UnsupportedError for what the frontend refuses."""
    for inputs, outputs in case.data_sets:
        arrays = [_array(x) for x in inputs]
        for model in (case.model, *(_with_constants(case.model, arrays, k) for k in (1, 0))):
            try:
                graph = load(model).graph
                break
            except UnsupportedError as error:
                if model.graph.input and re.search("must be|constant limits|condition depends", str(error)):
                    continue
                raise
        verify(graph)
        names = [i.name for i in model.graph.input]
        low = any(a.dtype.name == "bfloat16" for a in (*arrays, *map(_array, outputs)))
        feeds = {n: a.astype(np.float32) if a.dtype.name == "bfloat16" else a for n, a in zip(names, arrays)}
        results = interpret(graph, feeds, None, reading)
        for (name, got), wanted in zip(results.items(), map(_array, outputs), strict=True):
            if wanted.dtype.name == "bfloat16":
                wanted = wanted.astype(np.float32)
            if got.shape != wanted.shape or got.dtype != wanted.dtype:
                return f"{name}: {got.dtype}{list(got.shape)}, expected {wanted.dtype}{list(wanted.shape)}"
            if wanted.dtype.kind == "f":
                coarse = 1e-2 if low else 2e-3 if wanted.dtype == np.float16 else 0
                rtol, atol = max(case.rtol, 1e-4, coarse), max(case.atol, 1e-6, coarse)
                a, b = got.astype(np.float64), wanted.astype(np.float64)
                if not np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True):
                    return f"{name}: largest difference {np.nanmax(np.abs(a - b)):g}"
            elif not np.array_equal(got, wanted):
                return f"{name}: {np.sum(got != wanted)} of {wanted.size} elements differ"
    return ""


def _excluded(name: str) -> str:
    return next((why for pattern, why in EXCLUDED.items() if re.search(pattern, name)), "")


@pytest.mark.parametrize("reading", ["element", "numpy"])
def test_onnx_node_tests(reading: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every ONNX node test whose operators we have gives ONNX's result, unless EXCLUDED says why not."""
    wrong, refused, left, passed = [], Counter[str](), Counter[str](), 0
    for name, case in node_tests().items():
        if why := _excluded(name):
            left[why] += 1
            continue
        try:
            problem = _compare(case, reading)
        except UnsupportedError as error:
            operators = re.findall(r"^  (\S+) \(", str(error), re.MULTILINE)
            if operators:
                refused.update(set(operators))
            else:
                wrong.append(f"{name}: {error}")
            continue
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            wrong.append(f"{name}: {problem}")
        else:
            passed += 1
    with capsys.disabled():
        print(f"\nONNX node tests by {reading}: {passed} pass of {len(node_tests())}")
        print("  excluded:", dict(left))
        print("  operators not supported:", dict(refused.most_common()))
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong)
    assert passed > 900
