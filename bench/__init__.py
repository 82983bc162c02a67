"""Timings, always side by side with a peer. `python -m bench` runs the comparison on wasm."""
