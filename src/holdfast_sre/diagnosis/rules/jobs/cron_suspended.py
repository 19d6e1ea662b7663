"""A cron job that somebody stopped: against its manifest, or as its manifest has it."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, _ in snapshot.of_kind("CronJob"):
        if dig(snapshot.live.get(ref, {}), "spec.suspend") is not True:
            continue
        wanted = dig(snapshot.declared.get(ref, {}), "spec.suspend")
        is_drift = ref in snapshot.declared and wanted is not True
        last = dig(snapshot.live[ref], "status.lastScheduleTime") or "never"
        evidence = (quote(ref, f"suspended; in the manifests: {wanted}"), quote(ref, f"last run: {last}"))
        blames = () if is_drift else (Field(ref, "spec.suspend"),)
        yield Finding("cron-suspended", ref, 0.85 if is_drift else 0.4, evidence, blames)


RULE = Rule(
    id="cron-suspended",
    title="The cron job is suspended",
    holds="the cluster has it suspended; it is sure where the manifests do not say so",
    mending="find who suspended it and why; let the deployment controller apply the manifests again",
    proof="the next run is created",
    repair="escalate",
    find=_find,
)
