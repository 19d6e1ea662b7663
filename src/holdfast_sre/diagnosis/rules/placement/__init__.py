"""Pods that find no node: selector, affinity, cordon, taint, size."""

ORDER = (
    "node_selector",
    "node_affinity",
    "node_cordoned",
    "node_taint",
    "cpu_request_too_large",
    "memory_request_too_large",
)
