"""One file for each server: it runs in an environment of its own, with the kernels of `benchmarks.peers.kernels`."""
