"""What a run of the bot knows: one plain record that grows from state to state and is stored with each."""

from __future__ import annotations

import msgspec

from holdfast_sre.diagnosis.findings import Change, Finding
from holdfast_sre.history.past import Suspected
from holdfast_sre.history.sources import SourcePast
from holdfast_sre.ports import Decision
from holdfast_sre.repair.last_good.changelog import Edit


class Collected(msgspec.Struct, frozen=True):
    """What there was to look at, and what was missing; `revision` is the manifests' head at that time."""

    revision: str
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


def called(finding: Finding) -> str:
    """What a finding is called in a run, for people and as a key."""
    return f"{finding.rule} on {finding.object}"


class Incident(msgspec.Struct):
    """The data of a run. Empty until the state that finds it out has been left.

    `decisions` are those that the run went by, in order; `decided` counts those of the pull request that belong to
    earlier rounds. `proof` is what was checked on the patched manifests, `blast` whom the repair touches, `tests` the
    checks that come with it, path to text. `suspected` are the changes to look at first, by what a finding is called,
    and `pasts` the sources' commits they were sought in. `wishes` are the values that reviewers asked for, by path.
    """

    ticket_id: str = ""
    title: str = ""
    text: str = ""
    namespace: str = ""
    service: str = ""
    problem: str = ""
    repository: str = ""
    collected: Collected | None = None
    findings: tuple[Finding, ...] = ()
    edits: tuple[Edit, ...] = ()
    pasts: tuple[SourcePast, ...] = ()
    culprit: Edit | None = None
    suspected: dict[str, Suspected] = {}
    cause: Finding | None = None
    chosen_by: str = ""
    chosen_because: str = ""
    confidence: float = 0.0
    changes: tuple[Change, ...] = ()
    reason: str = ""
    proof: tuple[str, ...] = ()
    blast: str = ""
    tests: dict[str, str] = {}
    checks: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    decided: int = 0
    wishes: dict[str, str] = {}
    branch: str = ""
    pull: int = 0
    diff: str = ""
    diff_hash: str = ""
    approved_by: str = ""
    merged: str = ""
    deployment: str = ""
    validation: str = ""
    outcome: str = ""

    @property
    def origin_told(self) -> tuple[str, ...]:
        """Lines for people: which change comes first with the cause, and which edit brought what is blamed."""
        first = self.suspected.get(called(self.cause), Suspected()) if self.cause is not None else Suspected()
        if self.culprit is None or (first.suspect is not None and first.suspect.why == "brought it"):
            return first.told
        commit = self.culprit.commit
        return (*first.told, f"Brought by {commit.revision[:10]} of {commit.author}: {commit.subject}")
