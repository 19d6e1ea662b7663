"""The vocabulary of Cloud-OpsBench's labels, and how our catalogue maps to it. Nothing else speaks it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.evidence.opsbench import Incident

ROOT_CAUSES: dict[str, str] = {
    "claim-access-mode": "pvc_access_mode_mismatch",
    "claim-capacity": "pvc_capacity_mismatch",
    "claim-class": "pvc_storage_class_mismatch",
    "claim-class-missing": "pvc_storage_class_mismatch",
    "claim-occupied": "pv_binding_occupied",
    "claim-selector": "pvc_selector_mismatch",
    "cpu-overload": "pod_cpu_overload",
    "cpu-request-too-large": "cpu_capacity_mismatch",
    "database-connections": "db_connection_exhaustion",
    "database-credentials": "mysql_invalid_credentials",
    "database-port": "mysql_invalid_port",
    "database-read-only": "db_read_only",
    "environment-address": "service_env_var_address_mismatch",
    "gateway-route": "gateway_misroute",
    "image-not-found": "incorrect_image_reference",
    "image-pull-forbidden": "missing_image_pull_secret",
    "image-registry-unknown": "image_registry_dns_failure",
    "image-registry-unreachable": "image_registry_dns_failure",
    "liveness-probe-port": "liveness_probe_incorrect_port",
    "liveness-probe-protocol": "liveness_probe_incorrect_protocol",
    "liveness-probe-timing": "liveness_probe_incorrect_timing",
    "memory-limit-too-low": "oom_killed",
    "memory-request-too-large": "memory_capacity_mismatch",
    "network-delay-node": "node_network_delay",
    "network-delay-pod": "pod_network_delay",
    "network-loss-node": "node_network_packet_loss",
    "node-affinity": "node_affinity_mismatch",
    "node-container-runtime-down": "containerd_unavailable",
    "node-cordoned": "node_cordon_mismatch",
    "node-kubelet-down": "kubelet_unavailable",
    "node-proxy-down": "kube_proxy_unavailable",
    "node-scheduler-down": "kube_scheduler_unavailable",
    "node-selector": "node_selector_mismatch",
    "node-taint": "taint_toleration_mismatch",
    "pod-anti-affinity": "pod_anti_affinity_conflict",
    "quota-cpu": "namespace_cpu_quota_exceeded",
    "quota-memory": "namespace_memory_quota_exceeded",
    "quota-pods": "namespace_pod_quota_exceeded",
    "quota-services": "namespace_service_quota_exceeded",
    "quota-storage": "namespace_storage_quota_exceeded",
    "readiness-probe-port": "readiness_probe_incorrect_port",
    "readiness-probe-protocol": "readiness_probe_incorrect_protocol",
    "reference-missing": "missing_secret_binding",
    "resolver": "service_dns_resolution_failure",
    "service-account-missing": "missing_service_account",
    "service-port": "service_port_mapping_mismatch",
    "service-protocol": "service_protocol_mismatch",
    "service-selector": "service_selector_mismatch",
    "service-target-port": "service_port_mapping_mismatch",
    "sidecar-port": "service_sidecar_port_conflict",
    "volume-permission": "volume_mount_permission_denied",
    "zero-replicas": "deployment_zero_replicas",
}

SYNONYMS = {"db_readonly_mode": "db_read_only", "gateway_misrouted": "gateway_misroute"}
"""Labels of which the authors' own list has another spelling than the ground truth."""


def root_cause(finding: Finding) -> str:
    """The label of a finding's class; our own id where the layout has no label for it."""
    return ROOT_CAUSES.get(finding.rule, finding.rule)


def fault_object(incident: Incident, finding: Finding) -> str:
    """The label of a finding's object: `node/NAME`, `namespace/NAME`, or `app/NAME` of what declares it."""
    ref = finding.object
    if ref.kind in ("Node", "Namespace"):
        return f"{ref.kind.lower()}/{ref.name}"
    return f"app/{incident.apps.get(ref, ref.name)}"


class Answer(msgspec.Struct, frozen=True):
    """A root cause and an object in this vocabulary."""

    root_cause: str
    fault_object: str


def answer(incident: Incident, finding: Finding) -> Answer:
    """A finding in this vocabulary."""
    return Answer(root_cause(finding), fault_object(incident, finding))


def read_label(folder: Path) -> Answer | None:
    """The ground truth of a folder, None where it has none. For scoring only: nothing that diagnoses may ask."""
    path = folder / "metadata.json"
    if not path.is_file():
        return None
    result = msgspec.json.decode(path.read_bytes()).get("result") or {}
    cause, ref = result.get("root_cause"), result.get("fault_object")
    return Answer(SYNONYMS.get(cause, cause), ref) if cause and ref else None
