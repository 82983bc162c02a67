"""The WebAssembly target: C with vector types, compiled by clang."""
