"""The WebGPU target: WGSL."""
