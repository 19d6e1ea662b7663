"""What a run of the bot knows: one plain record that grows from state to state and is stored with each."""

from __future__ import annotations

import msgspec

from holdfast_sre.diagnosis.findings import Change, Finding
from holdfast_sre.ports import Decision
from holdfast_sre.repair.changelog import Edit


class Collected(msgspec.Struct, frozen=True):
    """What there was to look at, and what was missing; `revision` is the manifests' head at that time."""

    revision: str
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


class Incident(msgspec.Struct):
    """The data of a run. Empty until the state that finds it out has been left.

    `decisions` are those that the run went by, in order; `decided` counts those of the pull request that belong to
    earlier rounds. `proof` is what was checked on the patched manifests, `blast` whom the repair touches, `tests` the
    checks that come with it, path to text. `wishes` are the values that reviewers asked for, by path.
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
    culprit: Edit | None = None
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
