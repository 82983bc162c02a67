"""The WebGPU target: WGSL."""

from ...schedule.target import Target
from .gemm import slices
from .limits import LIMITS
from .module import emit, memory, print_kernel

TARGET = Target(
    name="webgpu",
    limits=LIMITS,
    reads=frozenset({"f32", "i32", "u32", "f16"}),
    suffix="wgsl",
    print=print_kernel,
    memory=memory,
    slices=slices,
    emit=emit,
)
