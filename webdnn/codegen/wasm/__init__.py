"""The WebAssembly target: C with vector types, compiled by clang."""

from ...schedule.target import Target
from .instances import TEMPLATES
from .module import LIMITS, emit, memory, print_kernel

TARGET = Target(
    name="wasm",
    limits=LIMITS,
    reads=frozenset({"f32", "f64", "i32", "u32", "i8", "u8"}),
    looks_up=frozenset({"f16"}),
    suffix="c",
    print=print_kernel,
    memory=memory,
    slices=lambda kernel: 1,
    emit=emit,
    templates=frozenset(TEMPLATES),
)
