"""A proposal with the values that a reviewer asked for, in the places that it changes and in no others."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import apply_changes
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.repair.proof.regression_test import regression_tests
from holdfast_sre.repair.propose import Proposal
from holdfast_sre.repair.tree.typed_leaves import with_types


def as_wished(proposal: Proposal, wishes: Mapping[str, str], snapshot: Snapshot) -> Proposal:
    """The proposal with each change whose very path was named set to the wished value, and its test made anew."""
    changes = tuple(_wished(change, wishes) for change in proposal.changes)
    if changes == proposal.changes or proposal.finding is None:
        return proposal
    rule = next(rule for rule in CATALOGUE if rule.id == proposal.finding.rule)
    patched = with_types(apply_changes(snapshot.declared, changes), changes)
    tests = regression_tests(rule, proposal.finding, changes, snapshot.declared, patched, namespace=snapshot.namespace)
    return msgspec.structs.replace(proposal, changes=changes, tests=tests)


def _wished(change: Change, wishes: Mapping[str, str]) -> Change:
    if change.path not in wishes:
        return change
    return msgspec.structs.replace(change, after=wishes[change.path])
