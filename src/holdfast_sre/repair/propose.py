"""From a diagnosis to a patch of the manifests, or to a person with the reason.

The last known good is preferred over computed values, and only the fields that the finding blames are put back: what
else differs is somebody's intention. The rules then judge the patched manifests; unless the finding is gone and no new
one has come, nothing is proposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.diagnose import Diagnosis
from holdfast_sre.diagnosis.findings import ANY_ABSENT, Change, Field, Finding, Rule
from holdfast_sre.diagnosis.manifest_paths import apply_changes, differences, replace_subtrees
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot

Manifests = Mapping[Ref, Manifest]


class Proposal(msgspec.Struct, frozen=True):
    """A patch with its reason, or an escalation with the step that a person takes next.

    `finding` is the cause that it is about; None where no cause was found.
    """

    action: Literal["patch", "escalate"]
    reason: str
    changes: tuple[Change, ...]
    finding: Finding | None


def propose(
    snapshot: Snapshot,
    diagnosis: Diagnosis,
    *,
    last_good: Manifests | None = None,
    rules: Sequence[Rule] = CATALOGUE,
) -> Proposal:
    """What to do about the first cause of a diagnosis. `last_good` are the manifests that worked last, if known."""
    if not diagnosis.ranked:
        seen = ", ".join(diagnosis.looked_at) or "nothing"
        return Proposal("escalate", f"no known fault holds now; looked at {seen}", (), None)
    finding = diagnosis.ranked[0]
    rule = next(rule for rule in rules if rule.id == finding.rule)
    if rule.repair == "escalate":
        return Proposal("escalate", f"{rule.title}: no manifest can mend it. Next: {rule.mending}", (), finding)
    changes, source = _changes(snapshot, finding, last_good)
    if not changes:
        return Proposal("escalate", f"{rule.title}: {source}. Next: {rule.mending}", (), finding)
    doubt = _doubt(snapshot, finding, apply_changes(snapshot.declared, changes), rules)
    if doubt:
        return Proposal(
            "escalate", f"{rule.title}: the patch is not proven, {doubt}. Next: {rule.mending}", (), finding
        )
    return Proposal("patch", f"{rule.title}: {source}. Proof after deployment: {rule.proof}", changes, finding)


def _changes(snapshot: Snapshot, finding: Finding, last_good: Manifests | None) -> tuple[tuple[Change, ...], str]:
    """The patch and where it comes from; without one the reason why there is none."""
    if not any(field.object in snapshot.declared for field in finding.blames):
        return (), "the object that it blames is not in the manifests"
    if last_good is not None:
        changes = restored(snapshot.declared, last_good, finding.blames)
        if changes:
            return changes, "put back from the last known good"
    if finding.remedy:
        return finding.remedy, "computed from the cluster's own objects"
    if last_good is None:
        return (), "no last known good was given, and no value can be computed safely"
    return (), "the last known good has the same values in the fields that it blames"


def restored(declared: Manifests, last_good: Manifests, blames: Iterable[Field]) -> tuple[Change, ...]:
    """The leaves in which the blamed fields differ from the last known good.

    A field of an object that the last known good does not have is left alone, and so is a whole object that both have.
    A whole object goes only together with one that comes: a misnamed object is replaced, nothing is just deleted.
    """
    fields = [
        field
        for field in _expanded(declared, last_good, blames)
        if field.path or (field.object in declared) != (field.object in last_good)
    ]
    coming = any(not field.path and field.object not in declared for field in fields if field.object in last_good)
    usable = [field for field in fields if field.object in last_good or (not field.path and coming)]
    by_object: dict[Ref, list[str]] = {}
    for field in usable:
        by_object.setdefault(field.object, []).append(field.path)
    target = {
        ref: replace_subtrees(declared.get(ref, {}), last_good.get(ref, {}), paths) for ref, paths in by_object.items()
    }
    changes = differences(declared, target, usable)
    return changes if all(_is_narrow(change) for change in changes) else ()


def _expanded(declared: Manifests, last_good: Manifests, blames: Iterable[Field]) -> Iterable[Field]:
    for field in blames:
        if field.object.name != ANY_ABSENT:
            yield field
            continue
        for ref in sorted(last_good):
            if ref.kind == field.object.kind and ref not in declared:
                yield Field(ref, field.path)


def _is_narrow(change: Change) -> bool:
    """Whether a change of a text of many lines stays within one line; more might put back somebody's intention."""
    if change.before is None or change.after is None or "\n" not in change.before:
        return True
    before, after = change.before.splitlines(), change.after.splitlines()
    return len(before) == len(after) and sum(old != new for old, new in zip(before, after, strict=True)) == 1


def _doubt(snapshot: Snapshot, finding: Finding, patched: Manifests, rules: Sequence[Rule]) -> str:
    """Why the rules are not satisfied with the patched manifests; empty where they are."""
    after = _found(as_if_applied(snapshot, patched), rules)
    if (finding.rule, finding.object) in after:
        return "the finding still holds on the patched manifests"
    fresh = sorted(after - _found(snapshot, rules))
    return f"it would cause {fresh[0][0]} on {fresh[0][1]}" if fresh else ""


def as_if_applied(snapshot: Snapshot, declared: Manifests) -> Snapshot:
    """The same moment under other manifests: what they add exists, what they drop does not."""
    added = {ref: manifest for ref, manifest in declared.items() if ref not in snapshot.declared}
    dropped = snapshot.declared.keys() - declared.keys()
    live = {ref: manifest for ref, manifest in {**snapshot.live, **added}.items() if ref not in dropped}
    return replace(snapshot, live=live, declared=declared)


def _found(snapshot: Snapshot, rules: Sequence[Rule]) -> set[tuple[str, Ref]]:
    return {(finding.rule, finding.object) for rule in rules for finding in rule.find(snapshot)}
