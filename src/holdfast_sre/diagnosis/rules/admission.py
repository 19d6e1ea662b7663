"""Objects that an admission webhook or policy keeps from being created."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import desired, events_by_reason, is_short
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig

_AWAY = re.compile(r'failed calling webhook "(?P<hook>[^"]{1,253})"')
_DENIED = re.compile(r'admission webhook "(?P<hook>[^"]{1,253})" denied the request|violates PodSecurity "')
_QUOTA = re.compile(r"failed quota: (?P<quota>\S+?): must specify (?P<what>.{1,200})")


def _refused(snapshot: Snapshot, pattern: re.Pattern[str]) -> Iterator[tuple[Ref, Ref, str, re.Match[str]]]:
    """Workloads with fewer pods than desired, and what the latest refusal says."""
    for workload in snapshot.workloads:
        live = snapshot.live.get(workload, {})
        if not is_short(snapshot, workload) or len(snapshot.pods_of(workload)) >= desired(live):
            continue
        for event in events_by_reason(snapshot, workload, "FailedCreate"):
            match = pattern.search(event.message)
            if match:
                yield workload, event.about, event.message, match
                break


def _find_away(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, about, message, match in _refused(snapshot, _AWAY):
        evidence = [quote(about, message)]
        for ref in (
            *snapshot.of_kind("ValidatingWebhookConfiguration"),
            *snapshot.of_kind("MutatingWebhookConfiguration"),
        ):
            for hook in ref[1].get("webhooks") or ():
                if hook.get("name") == match["hook"]:
                    service = dig(hook, "clientConfig.service.name")
                    evidence.append(
                        quote(ref[0], f"calls service {service}, failure policy {hook.get('failurePolicy')}")
                    )
        yield Finding("webhook-away", workload, 0.92, tuple(evidence[:3]))


def _find_denied(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, about, message, _ in _refused(snapshot, _DENIED):
        yield Finding("webhook-denied", workload, 0.92, (quote(about, message),))


def _find_unspecified(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, about, message, match in _refused(snapshot, _QUOTA):
        evidence = (quote(about, message), quote(workload, f"its containers do not all specify {match['what']}"))
        yield Finding("quota-unspecified", workload, 0.93, evidence)


RULES = (
    Rule(
        id="webhook-away",
        title="An admission webhook does not answer",
        holds="a workload has fewer pods than desired, and creating one fails in the call of a webhook",
        mending="mend the webhook's service; its failure policy is a decision of its owner",
        proof="the pods are created",
        repair="escalate",
        find=_find_away,
    ),
    Rule(
        id="webhook-denied",
        title="An admission webhook or policy refuses the pods",
        holds="a workload has fewer pods than desired, and a webhook or the pod security policy denies their creation",
        mending="change the manifest as the refusal says, never the policy; put back the last one that was admitted",
        proof="the pods are created",
        repair="escalate",
        find=_find_denied,
    ),
    Rule(
        id="quota-unspecified",
        title="The quota demands requests or limits that the pods do not specify",
        holds="a workload has fewer pods than desired, and the quota refuses pods that do not say what they ask for",
        mending="put back the requests and limits that worked; their values are a decision",
        proof="the pods are created",
        repair="escalate",
        find=_find_unspecified,
    ),
)
