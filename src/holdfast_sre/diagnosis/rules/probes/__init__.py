"""Liveness and readiness probes that fail because of how they are written: port, protocol, timing.

A probe is compared with the ports that the container opens and with the container's other probe.
"""

ORDER = (
    "liveness_probe_port",
    "liveness_probe_protocol",
    "liveness_probe_timing",
    "readiness_probe_port",
    "readiness_probe_protocol",
    "startup_probe_port",
    "startup_probe_protocol",
)
