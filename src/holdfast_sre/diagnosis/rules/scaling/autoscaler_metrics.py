"""An autoscaler that knows no number to go by; a share of a request means nothing where none is written."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.scaling.autoscalers import autoscalers, condition_of, target_of
from holdfast_sre.diagnosis.symptoms import container_path
from holdfast_sre.evidence.snapshot import Snapshot, containers_of, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, scaler in autoscalers(snapshot):
        active, target = condition_of(scaler, "ScalingActive"), target_of(scaler)
        if active.get("status") != "False" or active.get("reason") == "ScalingDisabled" or not snapshot.exists(target):
            continue
        bare = [
            str(item["name"])
            for item in containers_of(snapshot.manifest(target))
            if not dig(item, "resources.requests") and not dig(item, "resources.limits")
        ]
        evidence = [quote(ref, f"{active.get('reason', '')}: {active.get('message', '')}")]
        blames: list[Field] = [Field(ref, "spec.metrics")]
        for name in bare:
            evidence.append(quote(target, f"container {name} asks for no resources, so a share of them means nothing"))
            blames.append(Field(target, f"{container_path(name)}.resources.requests"))
        yield Finding("autoscaler-metrics", ref, 0.9 if bare else 0.75, tuple(evidence[:4]), tuple(blames))


RULE = Rule(
    id="autoscaler-metrics",
    title="The autoscaler has nothing to measure",
    holds="the condition ScalingActive is False although the target exists",
    mending="put back the requests of the target's containers or the metric; else look at the metrics server",
    proof="the autoscaler's condition ScalingActive is True",
    repair="patch",
    find=_find,
)
