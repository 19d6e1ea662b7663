"""Reader of one frozen incident in the layout of Cloud-OpsBench: keyed outputs of kubectl and of its own tools.

    tool_cache.json   {"GetResources:{...}": "text of kubectl get", "DescribeResource:{...}": "...", ...}
    alert.json        anomalies of metrics, or failed requests (optional)
    metrics.csv       metrics over time (optional)
    metadata.json or incident.json   namespace and one-line query

Labels that such a folder may hold are not read here. The vocabulary of the labels is in `opsbench_labels`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from holdfast import InvalidInput
from holdfast_sre.evidence.kubectl_objects import endpoints, named, parse_described
from holdfast_sre.evidence.kubectl_text import described_events, listed_events, table
from holdfast_sre.evidence.manifest_files import load_manifests
from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.opsbench_metrics import read_measures
from holdfast_sre.evidence.opsbench_signals import TEXT_CHARS_MAX, failures_in, lines_in, signals_in
from holdfast_sre.evidence.snapshot import Event, LogLine, Manifest, NodeAgent, Probe, Ref, Snapshot

CACHE_FILE = "tool_cache.json"
ABOUT_FILES = ("metadata.json", "incident.json")

_KINDS = {
    "pods": "Pod",
    "services": "Service",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "replicasets": "ReplicaSet",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "persistentvolumes": "PersistentVolume",
    "storageclasses": "StorageClass",
    "nodes": "Node",
    "resourcequota": "ResourceQuota",
    "networkpolicies": "NetworkPolicy",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
}
_DESCRIBED = (
    "Pod",
    "Service",
    "Deployment",
    "StatefulSet",
    "ReplicaSet",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Node",
    "ResourceQuota",
)
_TAKEN_AT_CHARS = 40
JSON_BYTES_MAX = 256 << 20
EVENTS_MAX = 100_000
_EXPECTED = ("pods", "services", "deployments", "nodes", "events")


@dataclass
class _Parts:
    """What has been read so far."""

    live: dict[Ref, Manifest] = field(default_factory=dict)
    declared: dict[Ref, Manifest] = field(default_factory=dict)
    apps: dict[Ref, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    agents: list[NodeAgent] = field(default_factory=list)
    calls: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Incident:
    """A snapshot and, by object, the application whose manifests declare it."""

    snapshot: Snapshot
    apps: Mapping[Ref, str]


def is_incident(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / CACHE_FILE).is_file()


def read_incident(folder: Path) -> Incident:
    """The incident in a folder. Raises InvalidInput, naming file, expectation and finding, where it is none."""
    cache = _read_json(folder / CACHE_FILE)
    about = _read_about(folder)
    parts = _Parts()
    for key, value in cache.items():
        name, arguments = _split_key(key)
        if name in _READERS:
            _READERS[name](parts, arguments, value)
    alerts = _read_optional(folder / "alert.json") or cache.get("GetAlerts:{}") or {}
    nodes = frozenset(ref.name for ref in parts.live if ref.kind == "Node")
    try:
        measures = read_measures(folder, alerts, nodes)
    except InvalidInput as error:
        measures = ()
        parts.missing.append(error.message)
    missing = parts.missing + [f"kubectl get {kind}" for kind in _EXPECTED if kind not in parts.seen]
    if not parts.declared:
        missing.append("manifests of the applications")
    snapshot = Snapshot(
        namespace=about["namespace"],
        summary=about["query"],
        live=parts.live,
        declared=parts.declared,
        events=tuple(dict.fromkeys(map(_bounded, parts.events[:EVENTS_MAX]))),
        logs=tuple(parts.logs),
        probes=tuple(parts.probes),
        agents=tuple(parts.agents),
        signals=tuple(signals_in(alerts)),
        measures=measures,
        failures=tuple(failures_in(alerts)),
        calls=parts.calls,
        taken_at=_taken_at(cache.get("collection_timestamp")),
        missing=tuple(missing),
    )
    return Incident(snapshot, parts.apps)


def _bounded(event: Event) -> Event:
    if len(event.message) <= TEXT_CHARS_MAX:
        return event
    return msgspec.structs.replace(event, message=event.message[:TEXT_CHARS_MAX])


def _taken_at(value: Any) -> str:
    return value[:_TAKEN_AT_CHARS] if isinstance(value, str) else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > JSON_BYTES_MAX:
            raise InvalidInput(f"{path}: expected at most {JSON_BYTES_MAX} bytes, saw {size}", path=str(path))
        value = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError as error:
        seen = sorted(item.name for item in path.parent.iterdir())[:8] if path.parent.is_dir() else "no such folder"
        raise InvalidInput(
            f"{path.parent}: expected an incident with a file {path.name}, saw {seen}; give a folder that holds one",
            path=str(path.parent),
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{path}: expected JSON, saw: {error}", path=str(path)) from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{path}: expected a JSON object, saw {type(value).__name__}", path=str(path))
    return value


def _read_optional(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _read_about(folder: Path) -> dict[str, str]:
    path = next((folder / name for name in ABOUT_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InvalidInput(
            f"{folder}: expected {' or '.join(ABOUT_FILES)} with namespace and query, saw neither", path=str(folder)
        )
    value = _read_json(path)
    namespace, query = value.get("namespace"), value.get("query", "")
    if not isinstance(namespace, str) or not isinstance(query, str):
        raise InvalidInput(
            f"{path}: expected the texts 'namespace' and 'query', saw keys {sorted(value)[:8]}", path=str(path)
        )
    return {"namespace": namespace, "query": query}


def _split_key(key: str) -> tuple[str, dict[str, Any]]:
    """The tool's name and its arguments; no arguments where the key holds none that can be read."""
    name, _, text = key.partition(":")
    try:
        arguments = json.loads(text) if text else {}
    except ValueError:
        arguments = {}
    return name, arguments if isinstance(arguments, dict) else {}


def _read_resources(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    resource = str(arguments.get("resource_type", ""))
    extras = set(arguments) - {"resource_type", "name", "namespace"}
    if not isinstance(value, str) or arguments.get("name") or extras:
        return
    parts.seen.add(resource)
    if resource == "events":
        parts.events.extend(listed_events(value))
    elif resource == "endpoints":
        for row in _named_rows(value):
            parts.live[Ref("Endpoints", row["NAME"])] = endpoints(row["NAME"], row.get("ENDPOINTS", ""))
    elif resource in _KINDS:
        for row in _named_rows(value):
            ref = Ref(_KINDS[resource], row["NAME"])
            parts.live.setdefault(ref, named(ref))


def _named_rows(text: str) -> list[dict[str, str]]:
    return [row for row in table(text) if row.get("NAME")]


def _read_description(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    resource = str(arguments.get("resource_type", ""))
    kind = _KINDS.get(resource) or _KINDS.get(f"{resource}s")
    if not isinstance(value, str) or kind not in _DESCRIBED or not value.startswith("Name:"):
        return
    manifest, section = parse_described(kind, value)
    ref = Ref(kind, manifest["metadata"]["name"])
    parts.live[ref] = manifest
    parts.events.extend(described_events(section, ref))


def _read_manifests(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    app = str(arguments.get("app_name", ""))
    try:
        found = load_manifests(value if isinstance(value, str) else "", source=f"manifests of {app}")
    except InvalidInput as error:
        parts.missing.append(error.message)
        return
    for ref, manifest in found:
        fault = shape_fault(ref, manifest)
        if fault:
            parts.missing.append(f"manifests of {app}: {fault}")
        else:
            parts.declared[ref] = manifest
            parts.apps[ref] = app


def _read_logs(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    parts.logs.extend(lines_in(str(arguments.get("service_name", "")), value))


def _read_dependencies(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    """Direct callees: the first level of the printed tree, and the reverse of the printed callers."""
    service = str(arguments.get("service_name", ""))
    for caller, callee in _edges(service, value if isinstance(value, str) else ""):
        if callee not in parts.calls.get(caller, ()):
            parts.calls[caller] = (*parts.calls.get(caller, ()), callee)


def _edges(service: str, text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line.startswith("[Upstream"):
            names = line.rpartition(":")[2].split(",")
            yield from ((name.strip(), service) for name in names if name.strip() and "(" not in name)
        elif line.startswith(("├── ", "└── ")):
            yield service, line[4:].split()[0]


def _read_connectivity(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    if isinstance(value, str) and value.strip():
        port = arguments.get("port")
        reached = "Connection Succeeded" in value
        service = str(arguments.get("service_name", ""))
        parts.probes.append(Probe(service, port if isinstance(port, int) else 0, reached, value[:TEXT_CHARS_MAX]))


def _read_agent(parts: _Parts, arguments: dict[str, Any], value: Any) -> None:
    if isinstance(value, str) and "Active:" in value:
        is_active = "Active: active (running)" in value
        state = next(line.strip() for line in value.splitlines() if "Active:" in line)
        node, agent = str(arguments.get("node_name", "")), str(arguments.get("service_name", ""))
        parts.agents.append(NodeAgent(node, agent, is_active, state))


_READERS = {
    "GetResources": _read_resources,
    "DescribeResource": _read_description,
    "GetAppYAML": _read_manifests,
    "GetErrorLogs": _read_logs,
    "GetServiceDependencies": _read_dependencies,
    "CheckServiceConnectivity": _read_connectivity,
    "CheckNodeServiceStatus": _read_agent,
}
