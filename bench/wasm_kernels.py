"""GFLOP/s of the wasm templates, shape by shape, beside the core's multiply-add ceiling.

    python -m bench.wasm_kernels [--plain] [--rounds 20] [FILTER]

One module holds every shape as a step; Chromium times each step over and over, and the ceiling
(twelve independent chains of multiply-add in registers) in between; the minimum of each is printed.
Absolute numbers drift with the machine: compare within one run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_wasm_templates import conv, depthwise, matmul
from webdnn import ops, passes
from webdnn.browser.engine import open_page
from webdnn.codegen import TARGETS
from webdnn.codegen.wasm.module import compile_program
from webdnn.codegen.wasm.zig import Source, build
from webdnn.expr import bounds
from webdnn.graph import Graph, constant, placeholder
from webdnn.ops.recurrent import GATES
from webdnn.schedule.kernel import Instance, Program
from webdnn.schedule.lower import lower

PEAK = """
__attribute__((export_name("peak"))) float peak(int rounds, float x) {
  f4 b = S(x), c = S(x * 0.5f), a[12];
  for (int i = 0; i < 12; i++) a[i] = S((float)i);
  for (int k = 0; k < rounds; k++) {
    #pragma clang loop unroll(full)
    for (int i = 0; i < 12; i++) a[i] = MADD(b, c, a[i]);
    b = b + c;
  }
  for (int i = 1; i < 12; i++) a[0] += a[i];
  return a[0][0] + a[0][1] + a[0][2] + a[0][3];
}
"""


def recurrent(cell: str, units: int, steps: int = 100, batch: int = 1, **more: Any) -> Instance:
    """The kernel of a recurrent layer: lstm, gru or rnn, without its input's product."""
    define = {"lstm": ops.lstm, "gru": ops.gru, "rnn": ops.rnn}[cell]
    gates = GATES[cell]
    x = placeholder("x", (batch, steps, gates * units), "f32")
    r = constant(np.zeros((units, gates * units), np.float32))
    found = define(x, r, **more)
    y = found[0] if isinstance(found, tuple) else found
    (step,) = lower(Graph((x,), {"y": y}), TARGETS["wasm"]).steps
    assert isinstance(step.kernel, Instance)
    return step.kernel


def quantised(m: int, n: int, k: int, dtype: str, block: int = 32) -> Instance:
    """The kernel of a product with weights of a dtype: a scale for each block along k (of 0: for
    each column)."""
    q = np.random.default_rng(0).integers(-8, 8, (k, n)).astype(np.int8)
    scale = np.ones((k // block if block else 1, n), np.float32)
    w = constant(q.astype(np.float32))
    if dtype != "f32":
        w = ops.dequantize(constant(q, dtype), constant(scale))
    x = placeholder("x", (m, k), "f32")
    graph = passes.run(Graph((x,), {"y": ops.matmul(x, w)}), 0)
    (step,) = lower(graph, TARGETS["wasm"]).steps
    assert isinstance(step.kernel, Instance)
    return step.kernel


def winograd(size: int, c: int, n: int) -> Instance:
    """The kernel of a 3x3 convolution of size² by Winograd's way; its filters are transformed."""
    x = placeholder("x", (1, size, size, c), "f32")
    w = constant(np.zeros((3, 3, c, n), np.float32))
    y = ops.winograd(ops.pack_conv(x, w, (1, 1), SAME3, (1, 1), 1))
    (step,) = lower(Graph((x,), {"y": y}), TARGETS["wasm"]).steps
    assert isinstance(step.kernel, Instance)
    return step.kernel


SAME3, SAME5 = (1, 1, 1, 1), (2, 2, 2, 2)
SHAPES: dict[str, Instance] = {
    "matmul 512³": matmul(512, 512, 512),
    "matmul 128×768×768": matmul(128, 768, 768),
    "matmul 128×1536×384 gelu": matmul(128, 1536, 384, act="gelu"),
    "matmul 128×384×1536": matmul(128, 384, 1536),
    "matmul 128×128×32 ×12": matmul(128, 128, 32, batch=12, batched=True),
    "matmul 128×32×128 ×12": matmul(128, 32, 128, batch=12, batched=True),
    "matmul 1×1280×1000": matmul(1, 1000, 1280),
    "matmul 16×384×384": matmul(16, 384, 384),
    "matmul 49×512×2048": matmul(49, 512, 2048),
    "1×1 12544×16→96": matmul(12544, 96, 16),
    "1×1 3136×144→24": matmul(3136, 24, 144),
    "1×1 3136×64→256": matmul(3136, 256, 64),
    "1×1 784×32→192": matmul(784, 192, 32),
    "1×1 196×96→576": matmul(196, 576, 96),
    "1×1 196×576→96": matmul(196, 96, 576),
    "1×1 49×960→320": matmul(49, 320, 960),
    "1×1 49×320→1280": matmul(49, 1280, 320),
    "1×1 784×512→256": matmul(784, 256, 512),
    "1×1 12544×8→1": matmul(12544, 1, 8),
    "1×1 12544×32→3": matmul(12544, 3, 32),
    "3×3 224² 3→32 /2": conv(224, 224, 3, 32, stride=(2, 2), pads=SAME3),
    "7×7 224² 3→64 /2": conv(224, 224, 3, 64, (7, 7), stride=(2, 2), pads=(3, 3, 3, 3)),
    "3×3 56² 64→64": conv(56, 56, 64, 64, pads=SAME3),
    "3×3 28² 128→128": conv(28, 28, 128, 128, pads=SAME3),
    "3×3 14² 256→256": conv(14, 14, 256, 256, pads=SAME3),
    "3×3 7² 512→512": conv(7, 7, 512, 512, pads=SAME3),
    "3×3 56² 64→64 winograd": winograd(56, 64, 64),
    "3×3 28² 128→128 winograd": winograd(28, 128, 128),
    "3×3 14² 256→256 winograd": winograd(14, 256, 256),
    "3×3 80² 32→32 winograd": winograd(80, 32, 32),
    "1×1 56² 256→512 /2": conv(56, 56, 256, 512, (1, 1), stride=(2, 2)),
    "9×9 128² 16→3": conv(128, 128, 16, 3, (9, 9), pads=(4, 4, 4, 4)),
    "3×3 64² 32→1": conv(64, 64, 32, 1, pads=SAME3),
    "3×3 80² 96→24": conv(80, 80, 96, 24, pads=SAME3),
    "3×3 56² 128, 32 groups": conv(56, 56, 4, 4, groups=32, pads=SAME3),
    "depthwise 3×3 112² 32": depthwise(112, 112, 32, pads=SAME3),
    "depthwise 3×3 112² 96 /2": depthwise(112, 112, 96, stride=(2, 2), pads=SAME3),
    "depthwise 3×3 56² 144": depthwise(56, 56, 144, pads=SAME3),
    "depthwise 3×3 14² 576": depthwise(14, 14, 576, pads=SAME3),
    "depthwise 3×3 7² 960": depthwise(7, 7, 960, pads=SAME3),
    "depthwise 5×5 28² 240": depthwise(28, 28, 240, (5, 5), pads=SAME5),
    "lstm 100×64": recurrent("lstm", 64),
    "lstm 100×128": recurrent("lstm", 128),
    "lstm 100×256": recurrent("lstm", 256),
    "lstm 8×100×128": recurrent("lstm", 128, batch=8),
    "gru 100×128": recurrent("gru", 128, reset_after=True),
    "gru 100×128, reset before": recurrent("gru", 128, reset_after=False),
    "gru 8×100×256, reset before": recurrent("gru", 256, batch=8, reset_after=False),
    "rnn 100×128": recurrent("rnn", 128),
    **{
        f"weights {m}×2048×2048 {dtype} {block}": quantised(m, 2048, 2048, dtype, block)
        for m in (1, 4, 128)
        for dtype, block in (("f32", 0), ("i8", 0), ("i8", 32), ("i4", 32))
    },
}


def flops(kernel: Instance) -> int:
    """Multiplications and additions of the sums, borders counted as if they were inside."""
    return 2 * int(
        np.prod([bounds(v.args[1])[1] for k, v in kernel.vars.items() if k not in ("iy", "ix")])
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("filter", nargs="?", default="")
    parser.add_argument("--plain", action="store_true", help="without relaxed SIMD")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    shapes = {k: v for k, v in SHAPES.items() if options.filter in k}
    variant = "plain" if options.plain else "relaxed"
    program, addresses, at = place(list(shapes.values()))
    arrays = {
        "module": compile_program(program, addresses)[variant],
        "peak": build([Source("peak", PEAK)], "")[variant],
        "sizes": np.int32([at]).tobytes(),
    }
    with (
        tempfile.TemporaryDirectory(),
        open_page("chromium", mounts={"/bench/": Path(__file__).parent}) as page,
    ):
        reply = page.call("/bench/wasm_kernels.mjs", {"rounds": options.rounds}, arrays).value
    print(f"{variant} SIMD, ceiling {reply['ceiling']:.1f} GFLOP/s")
    for (name, kernel), ms in zip(shapes.items(), reply["best"], strict=True):
        rate = flops(kernel) / ms / 1e6
        print(f"{name:28} {ms:8.3f} ms {rate:6.1f} GFLOP/s {100 * rate / reply['ceiling']:4.0f} %")


def place(kernels: list[Instance]) -> tuple[Program, dict[int, int], int]:
    """A program of one step for each kernel, its buffers side by side."""
    from tests.wasm_harness import program as steps_of

    program = steps_of(*kernels)
    addresses, at = {}, 0
    for b in program.buffers:
        addresses[b.id] = at
        at += (int(bounds(b.size)[1]) * 4 + 127) // 64 * 64
    return program, addresses, at


if __name__ == "__main__":
    main()
