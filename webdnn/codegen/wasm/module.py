"""The WebAssembly target: prints kernels as C, and the module around them.

A kernel becomes one C function over work items::

    void NAME(void* const* buffers, const int* p, int begin, int end, char* scratch)

`lanes` is the C dialect, `loops` prints loops, `instances` templates; `zig` compiles and links the
texts. All buffers lie in one arena: weights | inputs | outputs | states | prepared weights and
temporaries packed by lifetime, from where weights lie that have been prepared.

Results do not depend on the number of threads: how work is cut into vectors and tails is a matter
of sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import UnsupportedError, WebDNNError
from ...expr import Dim, Expr, bounds, walk
from ...schedule.kernel import Instance, Kernel, Loop, Opaque, Program
from ...schedule.plan import nbytes
from ...schedule.target import Limits, Ranges
from .. import opaque
from ..integers import to_json
from ..kept import kept_values
from ..template import own_source, render
from .instances import print_instance, template
from .lanes import Printed, grain
from .loops import print_loop
from .plan import largest_first, plan_arena
from .zig import VARIANTS, CompilerError, Source, build

LIMITS = Limits(buffers=64, memory=2**32 - 2**26)  # of a wasm memory, less stacks and scratch
SPINS = 20_000  # rounds of a waiting thread before it sleeps: some tens of microseconds


# ---- kernels -----------------------------------------------------------------------------------


def _opaque(kernel: Opaque) -> Printed:
    """Hand-written text, with what `kernel.Opaque` promises to it."""
    attrs = kernel.attrs
    sizes = [
        (k, v) for k, v in attrs.items() if isinstance(v, (int, Expr)) and not isinstance(v, bool)
    ]
    env = {
        **attrs,
        **{k: f"p{i}" for i, (k, _) in enumerate(sizes)},
        **{f"out{k}": f"b{slot}" for k, slot in enumerate(attrs["outputs"])},
        "read": lambda k, index: f"b{attrs['inputs'][k]}[{index}]",
        "attrs": attrs,
    }
    return Printed(
        kernel.name,
        opaque.rendered(f"{kernel.template}.c", env),
        kernel.slots,
        tuple(v for _, v in sizes),
        attrs.get("items", 1),
        grain(1 / 4, attrs.get("cost", 1000)),
        attrs.get("scratch", 0),
        kernel.origin,
    )


def print_kernel(kernel: Kernel) -> Printed:
    """The C of one kernel, with the sizes lifted into parameters."""
    if isinstance(kernel, Loop):
        return print_loop(kernel)
    if isinstance(kernel, Opaque):
        return _opaque(kernel)
    return print_instance(kernel)


# ---- modules ------------------------------------------------------------------------------------

_SIZES = {
    "add": "({0} + {1})",
    "sub": "({0} - {1})",
    "mul": "({0} * {1})",
    "floordiv": "floordiv({0}, {1})",
    "mod": "mod({0}, {1})",
    "min": "smaller({0}, {1})",
    "max": "larger({0}, {1})",
    "select": "({0} ? {1} : {2})",
    "lt": "({0} < {1})",
    "le": "({0} <= {1})",
    "eq": "({0} == {1})",
    "ne": "({0} != {1})",
    "and": "({0} && {1})",
    "or": "({0} || {1})",
    "cast": "((int){0})",
}


def _size_text(e: Dim, dims: Mapping[Expr, str]) -> str:
    """A size as C over the dimensions."""
    if isinstance(e, int):
        return str(e)
    done: dict[Expr, str] = {}
    for x in walk(e):
        if x.op == "const":
            done[x] = str(int(x.args[0]))
        else:
            done[x] = dims[x] if x.op == "dim" else _SIZES[x.op].format(*(done[a] for a in x.args))
    return done[e]


def print_program(program: Program, addresses: Mapping[int, int]) -> tuple[list[Source], str]:
    """The distinct kernels of a program, and the text of the module that runs them.

    `addresses` gives each buffer's first byte in the arena.
    """
    dims = {d: f"d{k}" for k, d in enumerate(program.dims)}
    kernels: dict[str, Source] = {}
    rows: list[str] = []
    params: list[str] = []
    buffers: list[str] = []
    sizes: list[str] = []
    scratch = 0
    prepared: dict[int, Printed] = {}

    def constant(e: Dim, place: str) -> str:
        if isinstance(e, Expr) and e.op != "const":
            sizes.append(f"{place} = {_size_text(e, dims)};")
            return "0"
        return _size_text(e, dims)

    for k, step in enumerate([*program.steps, *program.prepare]):
        printed = prepared.get(id(step.kernel))
        if printed is None:
            printed = prepared[id(step.kernel)] = print_kernel(step.kernel)
        kernels.setdefault(printed.symbol, Source(printed.symbol, printed.text, printed.doubles))
        scratch = max(scratch, int(bounds(printed.scratch)[1]))
        items, grain = (
            constant(printed.items, f"steps[{k}].items"),
            constant(printed.grain, f"steps[{k}].grain"),
        )
        rows.append(f"{printed.symbol}, {len(buffers)}, {len(params)}, {items}, {grain}")
        for value in printed.params:
            params.append(constant(value, f"params[{len(params)}]"))
        buffers += [f"(void*){addresses[b]}" for b in step.buffers]
    jumps = []
    for loop in program.repeats:
        flag = f"*(int*)buffers[{len(buffers)}]"
        buffers.append(f"(void*){addresses[loop.flag]}")
        jumps.append((loop.first, loop.last, flag))
    whole = [
        (a.first, a.last)
        for a in program.repeats
        if not any(b.first < a.first < b.last for b in program.repeats)
    ]
    module = render(
        template("module.c"),
        {
            "jumps": jumps,
            "whole": whole,
            "symbols": list(kernels),
            "steps": rows,
            "params": ", ".join(params) or "0",
            "buffers": ", ".join(buffers) or "0",
            "buffer_count": len(buffers),
            "sizes": sizes,
            "dims": len(dims),
            "scratch": (scratch + 63) // 64 * 64,
            "step_count": len(program.steps),
            "prepare_count": len(program.prepare),
            "spins": SPINS,
        },
    )
    return list(kernels.values()), module


def compile_program(
    program: Program,
    addresses: Mapping[int, int],
    progress: Callable[[int, int], None] | None = None,
    variants: Sequence[str] = VARIANTS,
) -> dict[str, bytes]:
    """The modules of a program, by the names of `variants`.

    `addresses`: buffer id -> its first byte in the arena, a multiple of 4. `progress(done, total)`
    is called from several threads as kernels are compiled. Raises WebDNNError for C that does not
    compile where a user's templates are a part of it.
    """
    try:
        return build(*print_program(program, addresses), progress, variants)
    except CompilerError as error:
        kernels = [s.kernel for s in program.steps if isinstance(s.kernel, Instance)]
        own = dict.fromkeys(str(k.folder / f"{k.template}.c") for k in kernels if k.folder)
        if not own:
            raise
        raise WebDNNError(f"templates {', '.join(own)}: {error}") from error


def memory(program: Program) -> int:
    """The bytes of the arena beside the weights, if it uses no memory of theirs."""
    return plan_arena(program, {}, 0).size


def emit(
    program: Program,
    weights: Ranges,
    download: int,
    write: Callable[[str, str, bytes], str],
    *,
    keep: bool,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Compiles the four variants of a program: `schedule.target.Emit`."""
    offsets = {b: offset for b, (offset, _) in weights.items()}
    program = replace(program, prepare=largest_first(program))
    arena = plan_arena(program, offsets, download, keep)
    if arena.size > LIMITS.memory:
        raise UnsupportedError(
            f"on wasm the model needs {arena.size / 2**30:.1f} GiB of memory at its largest sizes; "
            "4 GiB can be addressed. Choose smaller sizes with --dim, or --target webgpu"
        )
    modules = compile_program(program, arena.address, progress)
    variants = [
        {
            "name": name,
            "file": write(name, ".wasm", modules[name]),
            "relaxed": name.startswith("relaxed"),
            "threads": name.endswith("threads"),
        }
        for name in ("relaxed-threads", "relaxed", "plain-threads", "plain")
    ]

    def io(tensors: Any) -> list[dict[str, Any]]:
        return [
            {
                "offset": arena.address[t.buffer],
                "dtype": program.buffers[t.buffer].dtype,
                "elements": to_json(program.buffers[t.buffer].size),
            }
            for t in tensors
        ]

    entry = {
        "variants": variants,
        "memory": {"weights": 0, "bytes": arena.size},
        "inputs": io(program.inputs),
        "outputs": io(program.outputs),
        "steps": [
            {"name": s.kernel.name, "origin": s.kernel.origin}
            | ({"source": source} if (source := own_source(s.kernel, ".c")) else {})
            for s in program.steps
        ],
    }
    if program.states:
        entry["states"] = [
            {"offset": arena.address[t.buffer], "bytes": nbytes(program.buffers[t.buffer])}
            for t in program.states
        ]
    if keep:
        entry |= kept_values(program, lambda b: ("offset", arena.address[b]))
    return entry
