"""Whom a repair touches: what restarts, who else uses the changed key, who depends on what changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import desired
from holdfast_sre.evidence.service_calls import calls_of
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Manifest, Ref, Snapshot, dig

_TABLES = ("data", "stringData", "binaryData")
_NAMES_OF = {
    "ServiceAccount": ("serviceAccountName", "serviceAccount"),
    "PersistentVolumeClaim": ("persistentVolumeClaim.claimName",),
    "Secret": ("secretRef.name", "secretKeyRef.name", "secret.secretName", "secret.name"),
    "ConfigMap": ("configMapRef.name", "configMapKeyRef.name", "configMap.name"),
}


class BlastRadius(msgspec.Struct, frozen=True):
    """`restarts`: workloads that get new pods, `pods` of them. `users`: objects that use a changed object or key, each
    with how. `dependants`: workloads that call, near or far, what changes."""

    objects: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    pods: int = 0
    users: tuple[str, ...] = ()
    dependants: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """One line for people."""
        parts = [f"changes {', '.join(self.objects) or 'nothing'}"]
        pods = "1 pod" if self.pods == 1 else f"{self.pods} pods"
        parts.append(f"restarts {', '.join(self.restarts)} ({pods})" if self.restarts else "restarts nothing")
        if self.users:
            parts.append(f"used by {', '.join(self.users)}")
        if self.dependants:
            parts.append(f"called by {', '.join(self.dependants)}")
        return "; ".join(parts)


def blast_radius(snapshot: Snapshot, changes: Iterable[Change]) -> BlastRadius:
    """Whom the changes touch, as far as the snapshot and its manifests tell."""
    by_object: dict[Ref, list[Change]] = {}
    for change in changes:
        kind, _, name = change.object.partition("/")
        by_object.setdefault(Ref(kind, name), []).append(change)
    users: dict[Ref, str] = {}
    for ref, theirs in by_object.items():
        users |= {user: how for user, how in users_of(snapshot, ref, theirs).items() if user not in by_object}
    restarts = {ref for ref, theirs in by_object.items() if _is_rollout(ref, theirs)}
    # A workload reads settings from a table at its start, so whoever reads a changed one is restarted to see it.
    restarts |= {user for user, how in users.items() if user.kind in WORKLOAD_KINDS and how.startswith("reads")}
    names = {ref.name for ref in by_object} | {user.name for user in users if user.kind in WORKLOAD_KINDS}
    dependants = {ref for ref in _callers(snapshot, names) if ref not in by_object and ref not in users}
    return BlastRadius(
        objects=tuple(map(str, sorted(by_object))),
        restarts=tuple(map(str, sorted(restarts))),
        pods=sum(desired(snapshot.manifest(ref)) for ref in restarts),
        users=tuple(f"{user} ({how})" for user, how in sorted(users.items())),
        dependants=tuple(map(str, sorted(dependants))),
    )


def _is_rollout(ref: Ref, changes: Iterable[Change]) -> bool:
    return ref.kind in WORKLOAD_KINDS and any(change.path.startswith("spec.template.") for change in changes)


def users_of(snapshot: Snapshot, ref: Ref, changes: Sequence[Change] = ()) -> Mapping[Ref, str]:
    """Who uses an object, each with how. With changes that are all of keys of a table only users of those keys."""
    if ref.kind == "Service":
        return _users_of_service(snapshot, ref)
    ends = _NAMES_OF.get(ref.kind)
    if ends is not None:
        keys = {change.path.partition(".")[2] for change in changes if change.path.partition(".")[0] in _TABLES}
        is_whole = any(change.path.partition(".")[0] not in _TABLES for change in changes)
        return _users_by_name(snapshot, ref, ends, None if is_whole or not keys else keys)
    if ref.kind in WORKLOAD_KINDS:
        return _users_of_workload(snapshot, ref)
    return {}


def _users_by_name(snapshot: Snapshot, ref: Ref, ends: tuple[str, ...], keys: set[str] | None) -> dict[Ref, str]:
    """Workloads that name the object; of those that name one key of it only those whose key changes."""
    found: dict[Ref, str] = {}
    for workload in snapshot.workloads:
        values = leaves(dig(snapshot.manifest(workload), "spec.template.spec") or {})
        for path, text in values.items():
            if text != ref.name or not path.endswith(ends):
                continue
            key = values.get(path.removesuffix("name") + "key") if path.endswith("KeyRef.name") else None
            if key is not None and keys is not None and key not in keys:
                continue
            how = "reads" if ref.kind in ("Secret", "ConfigMap") else "uses"
            found[workload] = f"{how} {key}" if key is not None else f"{how} it"
    return found


def _users_of_service(snapshot: Snapshot, ref: Ref) -> dict[Ref, str]:
    callers = calls_of(snapshot)
    found = {
        workload: "calls it"
        for workload in snapshot.workloads
        if ref.name in callers.get(workload.name, ()) or workload.name in snapshot.callers_of(ref.name)
    }
    for kind in ("Ingress", "HTTPRoute"):
        for other, manifest in snapshot.of_kind(kind):
            if ref.name in _backends(manifest):
                found[other] = "routes to it"
    return found


def _backends(route: Manifest) -> set[str]:
    ends = ("service.name", "serviceName", ".name")
    return {text for path, text in leaves(route.get("spec") or {}).items() if "ackend" in path and path.endswith(ends)}


def _users_of_workload(snapshot: Snapshot, ref: Ref) -> dict[Ref, str]:
    """Services in front of it, autoscalers that steer it, budgets that guard it."""
    labels = dig(snapshot.manifest(ref), "spec.template.metadata.labels") or {}
    found = {service: "leads to it" for service, _ in snapshot.services_of(ref)}
    for scaler, manifest in snapshot.of_kind("HorizontalPodAutoscaler"):
        if (dig(manifest, "spec.scaleTargetRef.kind"), dig(manifest, "spec.scaleTargetRef.name")) == (
            ref.kind,
            ref.name,
        ):
            found[scaler] = "scales it"
    for budget, manifest in snapshot.of_kind("PodDisruptionBudget"):
        wanted = dig(manifest, "spec.selector.matchLabels") or {}
        if isinstance(wanted, Mapping) and wanted and all(labels.get(key) == value for key, value in wanted.items()):
            found[budget] = "guards it"
    return found


def _callers(snapshot: Snapshot, names: set[str]) -> set[Ref]:
    """Workloads that call one of the names, directly or through others."""
    calls = {**calls_of(snapshot)}
    for caller, callees in snapshot.calls.items():
        calls[caller] = tuple(dict.fromkeys((*calls.get(caller, ()), *callees)))
    reached, frontier = set(names), set(names)
    while frontier:
        frontier = {caller for caller, callees in calls.items() if frontier.intersection(callees)} - reached
        reached |= frontier
    return {ref for ref in snapshot.workloads if ref.name in reached - names}
