"""A job whose failure is final and not yet made good by a later one of the same cron job."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig


def _failed(job: Manifest) -> tuple[str, str] | None:
    for condition in dig(job, "status.conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return str(condition.get("reason", "")), str(condition.get("message", ""))
    return None


def _is_over(snapshot: Snapshot, ref: Ref) -> bool:
    """Whether a later job of the same owner succeeded."""
    owner = snapshot.owner_of(ref)
    started = str(dig(snapshot.live[ref], "status.startTime") or "")
    return owner != ref and any(
        snapshot.owner_of(other) == owner
        and dig(job, "status.succeeded")
        and str(dig(job, "status.startTime") or "") > started
        for other, job in snapshot.of_kind("Job")
        if other != ref and other in snapshot.live
    )


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, _ in snapshot.of_kind("Job"):
        why = _failed(snapshot.live.get(ref, {}))
        if why is None or _is_over(snapshot, ref):
            continue
        evidence = [quote(ref, f"{why[0]}: {why[1]}")]
        evidence += [quote(f"log of {ref.name}", line.text) for line in snapshot.logs_of(ref.name)[:2]]
        yield Finding("job-failed", ref, 0.8, tuple(evidence), (Field(ref, "spec"),))


RULE = Rule(
    id="job-failed",
    title="A job gave up",
    holds="the job's condition Failed is True, and no later job of the same cron job succeeded",
    mending="read the log of its last pod; put back the last job that succeeded; a new run is a decision",
    proof="a run succeeds",
    repair="escalate",
    find=_find,
)
