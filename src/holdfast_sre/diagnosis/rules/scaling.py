"""Autoscalers that cannot scale: no such target, nothing to measure, no room above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import container_path
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Manifest, Ref, Snapshot, containers_of, dig

Fault = Literal["target", "metrics", "limit"]
_KIND = "HorizontalPodAutoscaler"


def _condition(scaler: Manifest, kind: str) -> Manifest:
    for condition in dig(scaler, "status.conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def _target(scaler: Manifest) -> Ref:
    target = dig(scaler, "spec.scaleTargetRef") or {}
    return Ref(str(target.get("kind", "")), str(target.get("name", "")))


def _find(snapshot: Snapshot, fault: Fault) -> Iterator[Finding]:
    for ref, _ in snapshot.of_kind(_KIND):
        scaler = snapshot.live.get(ref)
        if scaler is None:
            continue
        if fault == "target":
            yield from _targetless(snapshot, ref, scaler)
        elif fault == "metrics":
            yield from _unmeasured(snapshot, ref, scaler)
        else:
            yield from _limited(ref, scaler)


def _targetless(snapshot: Snapshot, ref: Ref, scaler: Manifest) -> Iterator[Finding]:
    target, able = _target(scaler), _condition(scaler, "AbleToScale")
    if target.kind in WORKLOAD_KINDS and not snapshot.exists(target) and snapshot.workloads:
        told = able.get("message") or "no such object"
        evidence = (quote(ref, f"scales {target}"), quote(target, str(told)))
        yield Finding("autoscaler-target", ref, 0.93, evidence, (Field(ref, "spec.scaleTargetRef"),))


def _unmeasured(snapshot: Snapshot, ref: Ref, scaler: Manifest) -> Iterator[Finding]:
    active, target = _condition(scaler, "ScalingActive"), _target(scaler)
    if active.get("status") != "False" or active.get("reason") == "ScalingDisabled" or not snapshot.exists(target):
        return
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


def _limited(ref: Ref, scaler: Manifest) -> Iterator[Finding]:
    limited = _condition(scaler, "ScalingLimited")
    is_full = limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas"
    current, most = dig(scaler, "status.currentReplicas"), dig(scaler, "spec.maxReplicas")
    if is_full and isinstance(current, int) and isinstance(most, int) and current >= most:
        evidence = (quote(ref, f"{current} of at most {most} replicas"), quote(ref, str(limited.get("message", ""))))
        yield Finding("autoscaler-limit", ref, 0.55, evidence, (Field(ref, "spec.maxReplicas"),))


RULES = (
    Rule(
        id="autoscaler-target",
        title="The autoscaler's target does not exist",
        holds="the autoscaler names a workload that the cluster does not have",
        mending="put back the name of the target, or the target",
        proof="the autoscaler's condition AbleToScale is True",
        repair="patch",
        find=lambda snapshot: _find(snapshot, "target"),
    ),
    Rule(
        id="autoscaler-metrics",
        title="The autoscaler has nothing to measure",
        holds="the condition ScalingActive is False although the target exists",
        mending="put back the requests of the target's containers or the metric; else look at the metrics server",
        proof="the autoscaler's condition ScalingActive is True",
        repair="patch",
        find=lambda snapshot: _find(snapshot, "metrics"),
    ),
    Rule(
        id="autoscaler-limit",
        title="The autoscaler may not scale further",
        holds="it wants more replicas than it may have, and has as many as it may",
        mending="find what brings the load; more replicas are a decision about money and about what stands behind",
        proof="the condition ScalingLimited is False",
        repair="escalate",
        find=lambda snapshot: _find(snapshot, "limit"),
    ),
)
