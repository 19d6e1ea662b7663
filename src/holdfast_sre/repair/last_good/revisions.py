"""What the cluster itself remembers of earlier templates: replica sets and controller revisions that serve right now.

A rollout that does not come to its end leaves pods of the revision before it running. Those that are ready prove their
template. A revision that nobody runs proves nothing and is passed over. The cluster fills in defaults, so two living
templates are compared with each other, and only their differences are carried over to what is declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import apply_changes, leaves
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig

_TEMPLATE = "spec.template"
_DEFAULTS = {
    "protocol": "TCP",
    "scheme": "HTTP",
    "successThreshold": "1",
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "grpc.service": "",
}
_SET_BY_CONTROLLERS = ("pod-template-hash", "controller-revision-hash", "kubectl.kubernetes.io/restartedAt")


def serving_template(snapshot: Snapshot, workload: Ref) -> tuple[Ref, Manifest] | None:
    """The object that holds a template other than the current one whose pods are ready now, and the workload's manifest
    with that template; None where nothing serves from another one."""
    declared = snapshot.declared.get(workload)
    current = dig(snapshot.live.get(workload, {}), _TEMPLATE)
    if declared is None or not isinstance(current, Mapping):
        return None
    for ref, template in _serving(snapshot, workload):
        changes = tuple(_carried(workload, declared, current, template))
        if changes:
            return ref, apply_changes({workload: declared}, changes)[workload]
    return None


def _serving(snapshot: Snapshot, workload: Ref) -> Iterator[tuple[Ref, Mapping[str, Any]]]:
    """Templates with ready pods, the newest revision first."""
    found = []
    for ref, item in snapshot.live.items():
        if (
            ref.kind not in ("ReplicaSet", "ControllerRevision")
            or snapshot.owner_of(ref) != workload
            or ref == workload
        ):
            continue
        template = dig(item, _TEMPLATE) if ref.kind == "ReplicaSet" else dig(item, f"data.{_TEMPLATE}")
        if isinstance(template, Mapping) and _has_ready_pods(snapshot, workload, ref, item):
            found.append((_number(item), ref, template))
    for _, ref, template in sorted(found, key=lambda entry: (-entry[0], entry[1])):
        yield ref, template


def _number(item: Manifest) -> int:
    text = (
        (dig(item, "metadata.annotations") or {}).get("deployment.kubernetes.io/revision") or item.get("revision") or 0
    )
    return int(text) if str(text).isdigit() else 0


def _has_ready_pods(snapshot: Snapshot, workload: Ref, ref: Ref, item: Manifest) -> bool:
    if ref.kind == "ReplicaSet":
        return bool(dig(item, "status.readyReplicas"))
    for _, pod in snapshot.pods_of(workload):
        is_of_it = (dig(pod, "metadata.labels") or {}).get("controller-revision-hash") == ref.name
        statuses = dig(pod, "status.containerStatuses") or ()
        if is_of_it and statuses and all(status.get("ready") for status in statuses):
            return True
    return False


def _carried(
    workload: Ref, declared: Manifest, current: Mapping[str, Any], serving: Mapping[str, Any]
) -> Iterator[Change]:
    """The leaves in which the serving template differs from the current one, as changes of what is declared."""
    now, then = leaves(current), leaves(serving)
    written = leaves(dig(declared, _TEMPLATE) or {})
    for path in sorted({*now, *then}):
        before, after = written.get(path), then.get(path)
        if now.get(path) == after or before == after or path.endswith(_SET_BY_CONTROLLERS):
            continue
        if before is None and _is_default(path, after):
            continue
        if before is not None and before != now.get(path):
            continue  # declared differs from what runs already: somebody is on it
        yield Change(str(workload), f"{_TEMPLATE}.{path}", before, after)


def _is_default(path: str, text: str | None) -> bool:
    return any(path.endswith(f".{field}") and text == value for field, value in _DEFAULTS.items())
