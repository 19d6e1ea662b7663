"""From a diagnosis to a patch of the manifests, or to a person with the reason.

The last known good is preferred over computed values, and only the fields that the finding blames are put back: what
else differs is somebody's intention. The rules then judge the patched manifests; unless the finding is gone, no new one
has come and the schema holds, nothing is proposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import msgspec

from holdfast_sre.diagnosis.diagnose import Diagnosis
from holdfast_sre.diagnosis.findings import ANY_ABSENT, Change, Field, Finding, Rule
from holdfast_sre.diagnosis.manifest_paths import apply_changes, differences, replace_subtrees
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Manifest, Ref, Snapshot
from holdfast_sre.repair.last_good.drift import goes_the_right_way, without_notes
from holdfast_sre.repair.last_good.revisions import serving_template
from holdfast_sre.repair.last_good.siblings import from_siblings
from holdfast_sre.repair.policy import Policy, refusal
from holdfast_sre.repair.proof.blast_radius import BlastRadius, blast_radius
from holdfast_sre.repair.proof.regression_test import regression_tests
from holdfast_sre.repair.tree.schema import new_faults
from holdfast_sre.repair.tree.typed_leaves import with_types

Manifests = Mapping[Ref, Manifest]
Source = Literal["", "last known good", "serving revision", "computed", "siblings"]


class Proposal(msgspec.Struct, frozen=True):
    """A patch with its reason, or an escalation with the step that a person takes next.

    `finding` is the cause that it is about; None where no cause was found. `source` says where the values come from,
    `proof` what was checked on the patched manifests and what will prove the repair once it is deployed. `tests` are
    checks for the manifests' own CI, path to text.
    """

    action: Literal["patch", "escalate"]
    reason: str
    changes: tuple[Change, ...]
    finding: Finding | None
    source: Source = ""
    proof: tuple[str, ...] = ()
    blast: BlastRadius = BlastRadius()
    next_step: str = ""
    tests: Mapping[str, str] = {}


def propose(
    snapshot: Snapshot,
    diagnosis: Diagnosis,
    *,
    last_good: Manifests | None = None,
    rules: Sequence[Rule] = CATALOGUE,
    policy: Policy | None = None,
) -> Proposal:
    """What to do about the first cause of a diagnosis. `last_good` are the manifests that worked last, if known."""
    if not diagnosis.ranked:
        seen = ", ".join(diagnosis.looked_at) or "nothing"
        return Proposal("escalate", f"no known fault holds now; looked at {seen}", (), None)
    finding = diagnosis.ranked[0]
    rule = next(rule for rule in rules if rule.id == finding.rule)
    if rule.repair == "escalate":
        return _escalated(rule, finding, "no manifest can mend it")
    found, why = _patch(snapshot, finding, last_good)
    if found is None:
        return _escalated(rule, finding, why)
    changes, source, patched = found
    is_computed = source in ("computed", "siblings")
    refused = (refusal(change, policy or Policy(), is_computed=is_computed) for change in changes)
    if said := next(filter(None, refused), ""):
        return _escalated(rule, finding, f"policy leaves it to a person, {said}")
    doubt = _doubt(snapshot, finding, patched, rules)
    if doubt:
        return _escalated(rule, finding, f"the patch is not proven, {doubt}")
    faults, checked = new_faults(snapshot.declared, patched)
    if faults:
        return _escalated(rule, finding, f"the patch is not proven, it would break the schema: {faults[0]}")
    return Proposal(
        action="patch",
        reason=f"{rule.title}: {why}. Proof after deployment: {rule.proof}",
        changes=changes,
        finding=finding,
        source=source,
        proof=(
            f"{finding.rule} is silent about {finding.object} on the patched manifests",
            "no rule finds anything there that it does not find now",
            checked,
            f"after deployment: {rule.proof}",
        ),
        blast=blast_radius(snapshot, changes),
        next_step="review the diff and approve it",
        tests=regression_tests(rule, finding, changes, snapshot.declared, patched, namespace=snapshot.namespace),
    )


def _escalated(rule: Rule, finding: Finding, why: str) -> Proposal:
    reason = f"{rule.title}: {why}. Next: {rule.mending}"
    return Proposal("escalate", reason, (), finding, next_step=rule.mending)


class _Patch(NamedTuple):
    """The changes, where their values come from, and the manifests with them."""

    changes: tuple[Change, ...]
    source: Source
    patched: Manifests


def _patch(snapshot: Snapshot, finding: Finding, last_good: Manifests | None) -> tuple[_Patch | None, str]:
    """The patch and where its values come from in words; without one the reason why there is none.

    The first source that has something to say decides: a patch that then proves wrong is not tried with other values.
    """
    declared = snapshot.declared
    if not any(field.object in declared for field in finding.blames):
        return None, "the object that it blames is not in the manifests"
    if last_good is not None:
        changes, patched = _restoration(declared, last_good, finding.blames, rule=finding.rule)
        if changes:
            return _Patch(changes, "last known good", patched), "put back from the last known good"
    serving = dict(_serving(snapshot, finding))
    if serving:
        good = {ref: manifest for ref, (_, manifest) in serving.items()}
        changes, patched = _restoration(declared, good, finding.blames, rule=finding.rule)
        if changes:
            names = ", ".join(sorted({str(where) for where, _ in serving.values()}))
            return _Patch(
                changes, "serving revision", patched
            ), f"put back from the revision that still serves ({names})"
    worked_out: tuple[tuple[tuple[Change, ...], Source, str], ...] = (
        (finding.remedy, "computed", "computed from the cluster's own objects"),
        (from_siblings(snapshot, finding), "siblings", "taken from its healthy siblings, which all say the same"),
    )
    for changes, source, why in worked_out:
        if changes:
            return _Patch(changes, source, with_types(apply_changes(declared, changes), changes)), why
    if last_good is None:
        return None, "no last known good was given, and no value can be computed safely"
    return None, "the last known good has the same values in the fields that it blames"


def _serving(snapshot: Snapshot, finding: Finding) -> Iterator[tuple[Ref, tuple[Ref, Manifest]]]:
    for ref in sorted({field.object for field in finding.blames}):
        if ref.kind in WORKLOAD_KINDS:
            found = serving_template(snapshot, ref)
            if found is not None:
                yield ref, found


def restored(declared: Manifests, last_good: Manifests, blames: Iterable[Field]) -> tuple[Change, ...]:
    """The leaves in which the blamed fields differ from the last known good.

    A field of an object that the last known good does not have is left alone, and so is a whole object that both have.
    A whole object goes only together with one that comes: a misnamed object is replaced, nothing is just deleted.
    """
    return _restoration(declared, last_good, blames)[0]


def _restoration(
    declared: Manifests, last_good: Manifests, blames: Iterable[Field], *, rule: str = ""
) -> tuple[tuple[Change, ...], Manifests]:
    """The changes that put the blamed fields back, and the manifests with them. What is drift there is left out."""
    fields = [
        field
        for field in _expanded(declared, last_good, blames)
        if (field.path or (field.object in declared) != (field.object in last_good))
        and goes_the_right_way(rule, field, declared.get(field.object, {}), last_good.get(field.object, {}))
    ]
    coming = any(not field.path and field.object not in declared for field in fields if field.object in last_good)
    usable = [field for field in fields if field.object in last_good or (not field.path and coming)]
    by_object: dict[Ref, list[str]] = {}
    for field in usable:
        by_object.setdefault(field.object, []).append(field.path)
    good = {ref: last_good.get(ref, {}) for ref in by_object}
    good |= {ref: without_notes(item, {**declared, **last_good}) for ref, item in good.items() if ref not in declared}
    target = {ref: replace_subtrees(declared.get(ref, {}), good[ref], paths) for ref, paths in by_object.items()}
    changes = differences(declared, target, usable)
    if not all(_is_narrow(change) for change in changes):
        return (), declared
    patched = {ref: manifest for ref, manifest in {**declared, **target}.items() if manifest}
    return changes, patched


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
