"""A webhook that is asked and does not answer, named with the service that it calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.rules.admission.refusals import refused
from holdfast_sre.evidence.snapshot import Snapshot, dig

_AWAY = re.compile(r'failed calling webhook "(?P<hook>[^"]{1,253})"')


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, about, message, match in refused(snapshot, _AWAY):
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


RULE = Rule(
    id="webhook-away",
    title="An admission webhook does not answer",
    holds="a workload has fewer pods than desired, and creating one fails in the call of a webhook",
    mending="mend the webhook's service; its failure policy is a decision of its owner",
    proof="the pods are created",
    repair="escalate",
    find=_find,
)
