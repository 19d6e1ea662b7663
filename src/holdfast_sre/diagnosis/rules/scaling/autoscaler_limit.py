"""An autoscaler that would do more than it may. Whether that is a fault is for a person to say."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.scaling.autoscalers import autoscalers, condition_of
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, scaler in autoscalers(snapshot):
        limited = condition_of(scaler, "ScalingLimited")
        is_full = limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas"
        current, most = dig(scaler, "status.currentReplicas"), dig(scaler, "spec.maxReplicas")
        if is_full and isinstance(current, int) and isinstance(most, int) and current >= most:
            message = str(limited.get("message", ""))
            evidence = (quote(ref, f"{current} of at most {most} replicas"), quote(ref, message))
            yield Finding("autoscaler-limit", ref, 0.55, evidence, (Field(ref, "spec.maxReplicas"),))


RULE = Rule(
    id="autoscaler-limit",
    title="The autoscaler may not scale further",
    holds="it wants more replicas than it may have, and has as many as it may",
    mending="find what brings the load; more replicas are a decision about money and about what stands behind",
    proof="the condition ScalingLimited is False",
    repair="escalate",
    find=_find,
)
