"""Dumps as kubectl writes them, made from the small clusters of the rules' tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast_sre.diagnosis.manifest_paths import copied
from holdfast_sre.evidence.live_objects import LAST_APPLIED
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import NAMESPACE, World, container

NOW = "2026-11-27T12:00:00Z"
_API = {"Deployment": "apps/v1", "ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1"}
_CLUSTER = ("Node", "PersistentVolume")


def objects_of(world: World, *, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """The world's living objects as a cluster answers with them, each with what was applied last; then its events."""
    found = [
        _living(world, ref, item, namespace, number) for number, (ref, item) in enumerate(sorted(world.live.items()))
    ]
    for number, event in enumerate(world.events):
        about = {"kind": event.about.kind, "name": event.about.name, "namespace": namespace}
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"event-{number}", "namespace": namespace, "uid": f"e{number}"},
                "involvedObject": about,
                "type": event.type,
                "reason": event.reason,
                "message": event.message,
                "count": 3,
                "lastTimestamp": NOW,
            }
        )
    return found


def _living(world: World, ref: Ref, item: Mapping[str, Any], namespace: str, number: int) -> dict[str, Any]:
    living: dict[str, Any] = {**copied(item), "apiVersion": _API.get(ref.kind, "v1"), "kind": ref.kind}
    metadata = {**living["metadata"], "uid": f"uid-{number}", "resourceVersion": str(number)}
    if ref.kind not in _CLUSTER:
        metadata["namespace"] = namespace
    if ref in world.declared:
        manifest = {**copied(world.declared[ref]), "apiVersion": _API.get(ref.kind, "v1")}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), LAST_APPLIED: json.dumps(manifest)}
    living["metadata"] = metadata
    return living


def as_list(items: list[dict[str, Any]], kind: str = "List") -> str:
    """`kubectl get -o json` of several objects."""
    return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": ""}, "items": items}, indent=4)


def unpullable() -> World:
    """An oven whose image does not exist, and a healthy till."""
    world = World()
    image = "registry.test/oven:9.9"
    world.deployment(
        "oven", containers=[container(image=image)], ready=0, state={"waiting": {"reason": "ErrImagePull"}}
    )
    world.deployment("till")
    world.node("node-a")
    world.event(world.pod("oven"), "Failed", f'Failed to pull image "{image}": {image}: not found')
    return world


def write_dump(
    folder: Path, world: World, *, namespace: str = NAMESPACE, logs: Mapping[str, str] | None = None
) -> Path:
    """The layout of `kubectl cluster-info dump --output-directory`: lists without kinds in their items."""
    place = folder / namespace
    place.mkdir(parents=True, exist_ok=True)
    items = objects_of(world, namespace=namespace)
    words = {
        "Event": "events",
        "Pod": "pods",
        "Deployment": "deployments",
        "ReplicaSet": "replicasets",
        "Service": "services",
    }
    for kind, word in words.items():
        mine = [{key: value for key, value in item.items() if key != "kind"} for item in items if item["kind"] == kind]
        text = json.dumps({"kind": f"{kind}List", "apiVersion": _API.get(kind, "v1"), "metadata": {}, "items": mine})
        (place / f"{word}.json").write_text(text)
    nodes = [item for item in items if item["kind"] == "Node"]
    (folder / "nodes.json").write_text(as_list(nodes, "NodeList"))
    for pod, text in (logs or {}).items():
        (place / pod).mkdir(exist_ok=True)
        head = f"==== START logs for container app of pod {namespace}/{pod} ===="
        (place / pod / "logs.txt").write_text(
            f"{head}\n{text}\n==== END logs for container app of pod {namespace}/{pod} ====\n"
        )
    return folder
