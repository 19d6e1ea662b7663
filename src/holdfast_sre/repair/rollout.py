"""Who recovers when other manifests are applied to a recorded cluster: decided by the rules, and by nothing else.

A snapshot cannot run anything, so recovery is derived. The rules judge the new manifests against the symptoms that were
recorded: where a finding falls silent its object rolls out and what it had made suffer recovers with it; where one
still holds, or an image was never seen, the recorded symptoms stay. `rollout_effects` carries the decision out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, pod_spec_of
from holdfast_sre.repair.propose import as_if_applied


@dataclass(frozen=True)
class Outlook:
    """What becomes of each object: `rolled` gets new pods, `relieved` only loses its symptoms, `held` keeps them.

    `unproven` are objects with new images that nobody has seen run. `mended` are those whose findings fell silent.
    """

    changed: tuple[Ref, ...]
    mended: tuple[Ref, ...]
    rolled: tuple[Ref, ...]
    relieved: tuple[Ref, ...]
    held: tuple[Ref, ...]
    unproven: tuple[Ref, ...]


def changed_objects(before: Mapping[Ref, Manifest], after: Mapping[Ref, Manifest]) -> tuple[Ref, ...]:
    """The objects that differ in a leaf, or are in one of the two only, sorted."""
    return tuple(ref for ref in sorted({*before, *after}) if leaves(before.get(ref, {})) != leaves(after.get(ref, {})))


def outlook(
    before: Snapshot,
    declared: Mapping[Ref, Manifest],
    *,
    found_before: Iterable[Finding],
    found_after: Iterable[Finding],
    images_seen: Collection[str],
) -> Outlook:
    """Decide who recovers. `found_after` is what the rules say of `before` with the new manifests."""
    changed = changed_objects(before.declared, declared)
    was, still = _by_identity(found_before), _by_identity(found_after)
    mended = {finding.object for key, finding in was.items() if key not in still}
    fresh = {finding.object for key, finding in still.items() if key not in was}
    asked = as_if_applied(before, declared)
    touched = {*changed, *mended}
    unproven = {ref for ref in touched if _images(asked, ref) - _images(before, ref) - set(images_seen)}
    opened = {finding.object for finding in still.values()}
    stuck = opened | unproven
    rolled = {ref for ref in asked.workloads if ref not in stuck and _rests_on(asked, ref, touched, stuck)}
    # A finding about somebody who calls what was mended told of that fault: it goes with it, unless it is new.
    victims = _dependants(asked, rolled | (mended - stuck)) - touched - fresh - unproven
    relieved = ((mended - stuck) | victims) - rolled
    held = opened - relieved
    groups = {"mended": mended, "rolled": rolled, "relieved": relieved, "held": held, "unproven": unproven}
    return Outlook(changed, **{name: tuple(sorted(refs)) for name, refs in groups.items()})


def _by_identity(findings: Iterable[Finding]) -> dict[tuple[str, Ref], Finding]:
    return {(finding.rule, finding.object): finding for finding in findings}


def _images(snapshot: Snapshot, ref: Ref) -> set[str]:
    return {str(container.get("image", "")) for container in containers_of(snapshot.declared.get(ref, {}))}


def _rests_on(snapshot: Snapshot, workload: Ref, touched: Collection[Ref], stuck: Collection[Ref]) -> bool:
    """Whether a workload was touched, itself or through what its pods name, and nothing that it needs is stuck."""
    needs = _named_by(snapshot.manifest(workload)) | {workload}
    return not needs.isdisjoint(touched) and needs.isdisjoint(stuck)


_NAMED = {"serviceAccountName": "ServiceAccount", "claimName": "PersistentVolumeClaim", "secretName": "Secret"}


def _named_by(workload: Manifest) -> set[Ref]:
    """The objects that a pod template needs to start: account, claims, secrets, config maps."""
    found = set()
    for path, text in leaves(pod_spec_of(workload)).items():
        last = path.rpartition(".")[2]
        if last in _NAMED:
            found.add(Ref(_NAMED[last], text))
        for table, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if path.endswith((f"{table}Ref.name", f"{table}KeyRef.name", f"{table}.name")):
                found.add(Ref(kind, text))
    return found


def _dependants(snapshot: Snapshot, mended: Collection[Ref]) -> set[Ref]:
    """The workloads that call a mended one, near or far."""
    names = {ref.name for ref in mended}
    frontier = set(names)
    while frontier:
        frontier = {caller for name in frontier for caller in snapshot.callers_of(name)} - names
        names |= frontier
    return {ref for ref in snapshot.workloads if ref.name in names}
