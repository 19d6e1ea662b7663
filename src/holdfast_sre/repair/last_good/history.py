"""What history knows about a cause: the edit that brought it, what was before, what else changed since."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.last_good.changelog import (
    COMMITS_MAX,
    Declare,
    Edit,
    HistoryPort,
    culprit,
    last_good,
    recent_edits,
    since,
)

SINCE_MAX = 20


class LookBack(msgspec.Struct, frozen=True):
    """`revision` is where the look began; `culprit` the edit that brought the blamed value, None where none is known.

    `last_good` are the manifests before it. `since` are the edits from then on, newest first, that are no part of the
    cause: what else changed while all was not well. `looked_at` is how many edits were looked at.
    """

    revision: Revision
    looked_at: int
    culprit: Edit | None = None
    last_good: Mapping[Ref, Manifest] | None = None
    since: tuple[Commit, ...] = ()

    @property
    def told(self) -> str:
        """One line for people."""
        if self.culprit is None:
            return f"none of the last {self.looked_at} edits up to {self.revision[:10]} touched what is blamed"
        commit = self.culprit.commit
        return f"brought by {commit.revision[:10]} of {commit.author}: {commit.subject}"


async def look_back(
    repository: HistoryPort,
    revision: Revision,
    finding: Finding,
    *,
    namespace: str,
    healthy_at_s: float | None = None,
    commits_max: int = COMMITS_MAX,
    declare: Declare | None = None,
) -> LookBack:
    """Ask the history up to `revision` about a finding. `healthy_at_s` is a moment at which all was well, if known;
    `declare` is needed where a program builds the manifests."""
    edits = await recent_edits(repository, revision, namespace=namespace, commits_max=commits_max, declare=declare)
    found = culprit(edits, finding.blames, healthy_at_s=healthy_at_s)
    if found is None:
        later = since(edits, healthy_at_s) if healthy_at_s is not None else ()
        return LookBack(revision, len(edits), since=_commits(later, None))
    good = await last_good(repository, found, namespace=namespace, declare=declare)
    later = since(edits, found.commit.at_s - 1.0)
    return LookBack(revision, len(edits), found, good, _commits(later, found))


def _commits(edits: tuple[Edit, ...], without: Edit | None) -> tuple[Commit, ...]:
    found = [edit.commit for edit in edits if without is None or edit.commit.revision != without.commit.revision]
    return tuple(found[:SINCE_MAX])
