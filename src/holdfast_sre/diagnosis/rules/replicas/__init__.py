"""Workloads scaled to nothing although somebody calls them."""
