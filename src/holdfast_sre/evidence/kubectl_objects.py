"""Objects in the shape of the Kubernetes API, from what `kubectl describe` prints about them.

Only what `describe` shows can be rebuilt; fields it leaves out are absent. Unknown kinds keep their metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from holdfast_sre.evidence.kubectl_text import Section, outline
from holdfast_sre.evidence.snapshot import Ref

_REPLICAS = re.compile(r"([0-9]+) (current|desired|updated|total|available|unavailable)")
_PORT = re.compile(r"(?:(?P<name>\S+)\s+)?(?P<port>[A-Za-z0-9-]+)/(?P<protocol>TCP|UDP|SCTP)")
_ACCESS_MODES = {
    "RWO": "ReadWriteOnce",
    "ROX": "ReadOnlyMany",
    "RWX": "ReadWriteMany",
    "RWOP": "ReadWriteOncePod",
}

Object = dict[str, Any]


def parse_described(kind: str, text: str) -> tuple[Object, Section]:
    """The object that a description shows, and the outline it was read from."""
    section = outline(text)
    metadata = _metadata(section)
    build = _BUILDERS.get(kind)
    body = build(section) if build else {}
    return {"kind": kind, "metadata": metadata, **body}, section


def _metadata(section: Section) -> Object:
    metadata: Object = {"name": section.text("Name"), "labels": section.get("Labels").pairs("=")}
    annotations = section.get("Annotations")
    metadata["annotations"] = annotations.pairs(":")
    kind, _, name = section.text("Controlled By").partition("/")
    if name:
        metadata["ownerReferences"] = [{"kind": kind, "name": name}]
    return metadata


def _state(section: Section) -> Object:
    if not section.value:
        return {}
    detail: Object = {}
    for key, label in (("reason", "Reason"), ("message", "Message"), ("signal", "Signal")):
        if section.text(label):
            detail[key] = section.text(label)
    exit_code = section.text("Exit Code")
    if exit_code.isdigit():
        detail["exitCode"] = int(exit_code)
    return {section.value.lower(): detail}


def _container_status(section: Section) -> Object:
    restarts = section.text("Restart Count")
    return {
        "name": section.key,
        "ready": section.text("Ready") == "True",
        "restartCount": int(restarts) if restarts.isdigit() else 0,
        "state": _state(section.get("State")),
        "lastState": _state(section.get("Last State")),
    }


def _container(section: Section) -> Object:
    container: Object = {"name": section.key, "image": section.text("Image"), "ports": [], "resources": {}}
    ports = section.text("Port") or section.text("Ports")
    for number in re.findall(r"([0-9]+)/", ports):
        container["ports"].append({"containerPort": int(number)})
    for label in ("Limits", "Requests"):
        amounts = section.get(label).pairs(":")
        if amounts:
            container["resources"][label.lower()] = amounts
    sources = []
    for item in section.get("Environment Variables from").items:
        cells = item.line.split()
        if len(cells) >= 2 and cells[1] in ("Secret", "ConfigMap"):
            key = "secretRef" if cells[1] == "Secret" else "configMapRef"
            sources.append({key: {"name": cells[0]}})
    if sources:
        container["envFrom"] = sources
    environment = section.get("Environment").pairs(":")
    container["env"] = [{"name": name, "value": value} for name, value in environment.items()]
    return container


def _conditions(section: Section) -> list[Object]:
    """Rows under Conditions; the columns differ by kind, so they are cut at runs of blanks."""
    rows = [re.split(r"\s{2,}", item.line.strip()) for item in section.get("Conditions").items]
    found: list[Object] = []
    for row in rows:
        if len(row) < 2 or row[0] in ("Type", "----"):
            continue
        condition: Object = {"type": row[0], "status": row[1].split()[0]}
        if len(row) >= 6:
            condition |= {"reason": row[4], "message": row[5]}
        elif len(row) >= 3:
            condition["reason"] = row[2]
        found.append(condition)
    return found


def _pod(section: Section) -> Object:
    containers = section.get("Containers").items
    spec: Object = {
        "serviceAccountName": section.text("Service Account"),
        "containers": [_container(item) for item in containers],
        "nodeSelector": section.get("Node-Selectors").pairs("="),
    }
    node = section.text("Node").partition("/")[0]
    if node:
        spec["nodeName"] = node
    status: Object = {
        "phase": section.text("Status"),
        "podIP": section.text("IP"),
        "conditions": _conditions(section),
        "containerStatuses": [_container_status(item) for item in containers],
        "initContainerStatuses": [_container_status(item) for item in section.get("Init Containers").items],
    }
    return {"spec": spec, "status": status}


def _workload(section: Section) -> Object:
    template = section.get("Pod Template")
    counts = {word: int(number) for number, word in _REPLICAS.findall(section.text("Replicas"))}
    running = re.match(r"([0-9]+) Running", section.text("Pods Status"))
    ready = counts.get("available", int(running[1]) if running else 0)
    spec: Object = {
        "replicas": counts.get("desired", 0),
        "selector": {"matchLabels": _selector(section.text("Selector"))},
        "template": {
            "metadata": {
                "labels": template.get("Labels").pairs("="),
                "annotations": template.get("Annotations").pairs(":"),
            },
            "spec": {
                "serviceAccountName": template.text("Service Account"),
                "containers": [_container(item) for item in template.get("Containers").items],
                "nodeSelector": template.get("Node-Selectors").pairs("="),
            },
        },
    }
    status: Object = {
        "replicas": counts.get("total", counts.get("current", 0)),
        "readyReplicas": ready,
        "conditions": _conditions(section),
    }
    return {"spec": spec, "status": status}


def _selector(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {key: value for key, found, value in pairs if found}


def _service(section: Section) -> Object:
    ports: list[Object] = []
    for item in section.items:
        match = _PORT.search(item.value)
        if item.key == "Port" and match:
            port: Object = {"port": int(match["port"]), "protocol": match["protocol"]}
            if match["name"] and match["name"] != "<unset>":
                port["name"] = match["name"]
            ports.append(port)
        elif item.key == "TargetPort" and match and ports:
            target = match["port"]
            ports[-1]["targetPort"] = int(target) if target.isdigit() else target
    spec = {"type": section.text("Type"), "selector": _selector(section.text("Selector")), "ports": ports}
    return {"spec": spec}


def _access_modes(section: Section) -> list[str]:
    return [_ACCESS_MODES.get(mode, mode) for mode in section.text("Access Modes").split(",") if mode]


def _claim(section: Section) -> Object:
    return {
        "spec": {"storageClassName": section.text("StorageClass"), "volumeName": section.text("Volume")},
        "status": {"phase": section.text("Status"), "capacity": {"storage": section.text("Capacity")}},
    }


def _volume(section: Section) -> Object:
    spec: Object = {
        "storageClassName": section.text("StorageClass"),
        "accessModes": _access_modes(section),
        "capacity": {"storage": section.text("Capacity")},
    }
    claim = section.text("Claim").rpartition("/")[2]
    if claim:
        spec["claimRef"] = {"name": claim}
    return {"spec": spec, "status": {"phase": section.text("Status")}}


def _taints(section: Section) -> list[Object]:
    lines = ([section.value] if section.value else []) + [item.line for item in section.items]
    found = []
    for line in lines:
        head, _, effect = line.rpartition(":")
        key, _, value = head.partition("=")
        if key:
            found.append({"key": key, "value": value, "effect": effect})
    return found


def _node(section: Section) -> Object:
    used = {}
    for item in section.get("Allocated resources").items:
        cells = item.line.split()
        if len(cells) >= 2 and cells[0] in ("cpu", "memory"):
            used[cells[0]] = cells[1]
    return {
        "spec": {
            "unschedulable": section.text("Unschedulable") == "true",
            "taints": _taints(section.get("Taints")),
        },
        "status": {
            "conditions": _conditions(section),
            "allocatable": section.get("Allocatable").pairs(":"),
            "requested": used,
        },
    }


def _quota(section: Section) -> Object:
    used: dict[str, str] = {}
    hard: dict[str, str] = {}
    for item in section.items:
        cells = item.line.split()
        if len(cells) == 3 and ":" not in item.line and cells[0] not in ("Resource", "--------"):
            used[cells[0]], hard[cells[0]] = cells[1], cells[2]
    return {"spec": {"hard": hard}, "status": {"used": used, "hard": hard}}


_BUILDERS: dict[str, Callable[[Section], Object]] = {
    "Pod": _pod,
    "Deployment": _workload,
    "StatefulSet": _workload,
    "ReplicaSet": _workload,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "Node": _node,
    "ResourceQuota": _quota,
}


def endpoints(name: str, addresses: str) -> Object:
    """An Endpoints object from the ENDPOINTS cell of its table (`10.1.2.3:80,10.1.2.4:80 + 1 more...`)."""
    subsets: list[Object] = []
    for part in addresses.partition(" ")[0].split(","):
        ip, _, port = part.rpartition(":")
        if ip and port.isdigit():
            subsets.append({"addresses": [{"ip": ip}], "ports": [{"port": int(port)}]})
    return {"kind": "Endpoints", "metadata": {"name": name}, "subsets": subsets}


def named(ref: Ref) -> Object:
    """An object of which only the name is known."""
    return {"kind": ref.kind, "metadata": {"name": ref.name}}
