"""Programs of the host that are down: kubelet, container runtime, proxy, scheduler."""

ORDER = (
    "node_kubelet_down",
    "node_container_runtime_down",
    "node_proxy_down",
    "node_scheduler_down",
    "node_pressure",
    "node_not_ready",
)
