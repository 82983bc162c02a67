"""Targets: each prints the kernels of a program in its own language."""
