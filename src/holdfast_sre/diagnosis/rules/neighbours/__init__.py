"""Pods that find no node because of other pods: apart from, together with, spread over, the same host port."""

ORDER = ("pod_anti_affinity", "pod_affinity", "pod_topology_spread", "host_port_taken")
