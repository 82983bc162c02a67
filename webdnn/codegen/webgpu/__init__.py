"""The WebGPU targets: WGSL, which computes in float32, or in half precision where a device can."""

from dataclasses import replace

from ...schedule.target import Target
from .limits import LIMITS
from .loops import ROW
from .module import TEMPLATES, emit, memory, print_kernel, slices
from .winograd import winograd_pays

TARGET = Target(
    name="webgpu",
    limits=LIMITS,
    reads=frozenset({"f32", "i32", "u32", "f16"}),
    looks_up=frozenset(),
    suffix="wgsl",
    print=print_kernel,
    memory=memory,
    slices=slices,
    emit=emit,
    templates=frozenset(TEMPLATES),
    winograd=winograd_pays,
    row=ROW,
    launches=True,
)
HALF = replace(TARGET, name="webgpu-f16", halves=True)
