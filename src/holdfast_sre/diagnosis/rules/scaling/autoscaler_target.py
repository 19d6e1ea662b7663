"""An autoscaler that scales nothing, because what it names is not there."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.scaling.autoscalers import autoscalers, condition_of, target_of
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, scaler in autoscalers(snapshot):
        target, able = target_of(scaler), condition_of(scaler, "AbleToScale")
        if target.kind in WORKLOAD_KINDS and not snapshot.exists(target) and snapshot.workloads:
            told = able.get("message") or "no such object"
            evidence = (quote(ref, f"scales {target}"), quote(target, str(told)))
            yield Finding("autoscaler-target", ref, 0.93, evidence, (Field(ref, "spec.scaleTargetRef"),))


RULE = Rule(
    id="autoscaler-target",
    title="The autoscaler's target does not exist",
    holds="the autoscaler names a workload that the cluster does not have",
    mending="put back the name of the target, or the target",
    proof="the autoscaler's condition AbleToScale is True",
    repair="patch",
    find=_find,
)
