"""The networks of the race in PyTorch, on the same card without a browser.

    python -m bench.gpu.pytorch torch.json --seconds 240      # all seven, if there is time
    times(["bert128"], Path("torch.json"))["bert128"]         # {"graph_ms": 2.27, "compile_ms": …}

float32 without TF32. Two ways, as they are what one would use: a CUDA graph of the network, and
`torch.compile(mode="reduce-overhead")`. Times are medians of a replay and a wait for it. Weights
and inputs are those of networks.py, and outputs are compared with onnxruntime's.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.entry import errors
from bench.gpu.networks import DEFINITIONS, NETWORKS, Prepared, Weights, prepare, sizes_of

REPEATS = 40
Row = dict[str, Any]


class Torch:
    """Computes what a definition asks for; makes each weight in the first run."""

    def __init__(self, module: Any, inputs: Mapping[str, Any]) -> None:
        import torch

        self.torch = torch
        self.f = torch.nn.functional
        self.module = module
        self.sizes = module.sizes
        self.inputs = inputs
        self.used = 0
        self.result: Any = None

    def keep(self, make: Callable[[], Any]) -> Any:
        """The next parameter of the module; `make` gives its value in the first run."""
        index = self.used
        self.used += 1
        if index == len(self.module.kept):
            value = self.torch.from_numpy(np.ascontiguousarray(make())).to(self.module.device)
            self.module.kept.append(self.torch.nn.Parameter(value, requires_grad=False))
        return self.module.kept[index]

    def weight(self, shape: Sequence[int], std: float) -> Any:
        return self.keep(lambda: self.module.draw.normal(shape, std))

    def transposed(self, shape: Sequence[int], std: float) -> Any:
        """A weight of `torch.nn.Linear`, whose outputs come first."""
        return self.keep(lambda: self.module.draw.normal(shape, std).T)

    def output(self, name: str, value: Any) -> None:
        self.result = value

    def image(self, side: int) -> Any:
        return self.inputs["x"]

    def tokens(self, count: int) -> Any:
        return self.inputs["input_ids"]

    def conv(
        self, x: Any, inputs: int, outputs: int, size: int, *, stride: int = 1,
        pad: int | None = None, groups: int = 1, act: str | None = None, gain: float = 1.0,
    ) -> Any:  # fmt: skip
        std = gain * (2 / (inputs // groups * size * size)) ** 0.5
        weight = self.weight((outputs, inputs // groups, size, size), std)
        pad = size // 2 if pad is None else pad
        bias = self.weight((outputs,), 0.02)
        y = self.f.conv2d(x, weight, bias, stride=stride, padding=pad, groups=groups)
        return self.f.relu6(y) if act == "relu6" else self.f.relu(y) if act else y

    def conv_up(self, x: Any, inputs: int, outputs: int) -> Any:
        weight = self.weight((inputs, outputs, 2, 2), (1 / inputs) ** 0.5)
        return self.f.conv_transpose2d(x, weight, self.weight((outputs,), 0.02), stride=2)

    def relu(self, x: Any) -> Any:
        return self.f.relu(x)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def join(self, x: Any, y: Any) -> Any:
        return self.torch.cat([x, y], 1)

    def max_pool(self, x: Any, size: int, stride: int, pad: int) -> Any:
        return self.f.max_pool2d(x, size, stride, pad)

    def reflect(self, x: Any, pad: int) -> Any:
        return self.f.pad(x, (pad,) * 4, mode="reflect")

    def double(self, x: Any) -> Any:
        return self.f.interpolate(x, scale_factor=2, mode="nearest")

    def instance_norm(self, x: Any, channels: int) -> Any:
        return self.f.instance_norm(x, weight=self._ones(channels), bias=self._zeros(channels))

    def classify(self, x: Any, channels: int, classes: int) -> Any:
        weight = self.weight((classes, channels), 0.02)
        return self.f.linear(x.mean((2, 3)), weight, self.weight((classes,), 0.02))

    def embed(self, ids: Any, tokens: int, std: float) -> Any:
        rows = self.f.embedding(ids, self.weight((1024, self.sizes.width), 0.5))
        return rows + self.weight((1, tokens, self.sizes.width), std)

    def head(self, x: Any, outputs: int, std: float) -> Any:
        return self.f.linear(x, self.transposed((self.sizes.width, outputs), std))

    def norm(self, x: Any) -> Any:
        return self.f.layer_norm(
            x,
            (self.sizes.width,),
            self._ones(self.sizes.width),
            self._zeros(self.sizes.width),
            1e-5,
        )

    def add_norm(self, a: Any, x: Any, inputs: int, std: float) -> tuple[Any, Any]:
        total = x + self._linear(a, inputs, self.sizes.width, std)
        return self.norm(total), total

    def linear_gelu(self, x: Any, kind: str) -> Any:
        y = self._linear(x, self.sizes.width, 4 * self.sizes.width, 0.04)
        return self.f.gelu(y, approximate="none" if kind == "erf" else "tanh")

    def attention(self, x: Any) -> Any:
        q, k, v = self._heads(x)
        return self._joined(self.f.scaled_dot_product_attention(q, k, v))

    def cached_attention(self, x: Any, layer: int) -> Any:
        q, *new = self._heads(x)
        whole = []
        for name, value in zip("kv", new, strict=True):
            cache = self.module.caches[f"{name}{layer}"]
            cache[:, :, self.sizes.past : self.sizes.past + 1] = value
            whole.append(cache[:, :, : self.sizes.past + 1])
        return self._joined(self.f.scaled_dot_product_attention(q, *whole))

    def _linear(self, x: Any, inputs: int, outputs: int, std: float) -> Any:
        weight = self.transposed((inputs, outputs), std)
        return self.f.linear(x, weight, self.weight((outputs,), 0.02))

    def _ones(self, size: int) -> Any:
        return self.keep(lambda: np.ones(size, np.float32))

    def _zeros(self, size: int) -> Any:
        return self.keep(lambda: np.zeros(size, np.float32))

    def _heads(self, x: Any) -> Any:
        both = self._linear(x, self.sizes.width, 3 * self.sizes.width, 0.04)
        return both.view(1, -1, 3, self.sizes.heads, self.sizes.width // self.sizes.heads).permute(
            2, 0, 3, 1, 4
        )

    def _joined(self, x: Any) -> Any:
        return x.transpose(1, 2).reshape(1, -1, self.sizes.width)


def times(names: Sequence[str], file: Path, seconds: float = 1e9) -> dict[str, Row]:
    """The times of the networks `names`: those in `file`, which what was missing is added to.

    No further network is begun after so many seconds.
    """
    start = time.monotonic()
    known: dict[str, Row] = json.loads(file.read_text()) if file.is_file() else {}
    for name in names:
        if name not in known and time.monotonic() - start < seconds:
            known[name] = measure(prepare(name))
            print(f"PyTorch, {name}: {known[name]}", file=sys.stderr, flush=True)
            file.write_text(json.dumps(known, indent=1))
    return known


def measure(network: Prepared) -> Row:
    """`eager_ms`, `graph_ms`, `compile_ms`, `relative_error`; on a CPU only the first and last."""
    import torch

    row = _measured(network)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # a browser beside this process needs the memory
    return row


def _measured(network: Prepared) -> Row:
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    arrays = network.inputs()
    inputs = {
        name: torch.from_numpy(value).to(device)
        for name, value in arrays.items()
        if not name.startswith("past_")
    }
    module = _module(network.name, arrays, device).eval()
    row: Row = {"device": torch.cuda.get_device_name() if cuda else "CPU"}

    def check(result: Any) -> None:
        found = [("y", result.detach().cpu().numpy().tobytes())]
        error = errors(found, {"y": network.expected()["y"]})[1]
        row["relative_error"] = max(error, row.get("relative_error", 0.0))

    with torch.no_grad():
        check(module(inputs))  # makes the weights
        row["eager_ms"] = _median(lambda: module(inputs), cuda)
        if cuda:
            for kind, way in (("graph", _graph), ("compile", _compiled)):
                start = time.perf_counter()
                try:
                    run, result = way(module, inputs)
                    row[f"{kind}_ms"] = _median(run, cuda)
                    check(result())
                except Exception as error:  # whatever it is, the other way counts
                    row[f"{kind}_error"] = str(error)[:300]
                row[f"{kind}_s"] = round(time.perf_counter() - start, 1)
            torch._dynamo.reset()
    return row


def _module(name: str, arrays: Mapping[str, Any], device: Any) -> Any:
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.device = device
            self.draw = Weights()
            self.sizes = sizes_of(name)
            self.kept = torch.nn.ParameterList()
            self.caches = torch.nn.ParameterDict()
            for key, value in arrays.items():
                if key.startswith("past_"):
                    past = self.sizes.past
                    cache = torch.zeros(self.sizes.cache(past + 1), device=device)
                    cache[:, :, :past] = torch.from_numpy(value).to(device)
                    parameter = torch.nn.Parameter(cache, requires_grad=False)
                    self.caches[key.removeprefix("past_")] = parameter

        def forward(self, inputs: Any) -> Any:
            writer = Torch(self, inputs)
            DEFINITIONS[name](writer)
            return writer.result

    return Network()


def _graph(module: Any, inputs: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            module(inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = module(inputs)
    return graph.replay, lambda: result


def _compiled(module: Any, inputs: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch

    compiled = torch.compile(module, mode="reduce-overhead", fullgraph=True)
    for _ in range(3):
        compiled(inputs)
    torch.cuda.synchronize()
    return lambda: compiled(inputs), lambda: compiled(inputs)


def _median(run: Callable[[], Any], cuda: bool) -> float:
    """Milliseconds of a run and a wait for it."""
    import torch

    wait = torch.cuda.synchronize if cuda else lambda: None
    samples = []
    for i in range(5 + REPEATS if cuda else 3):
        start = time.perf_counter()
        run()
        wait()
        if i >= (5 if cuda else 1):
            samples.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(samples), 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.pytorch")
    parser.add_argument("file", type=Path, help="JSON; what it lacks is measured and added")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing after so long")
    given = parser.parse_args()
    times(list(NETWORKS), given.file, given.seconds)
