"""From a graph to the program of one target: what is stored, which kernels there are, and where
things lie."""
