"""Benchmarks: ours beside its peers, in one run, on one machine. README.md tells how to run and how to read them."""
