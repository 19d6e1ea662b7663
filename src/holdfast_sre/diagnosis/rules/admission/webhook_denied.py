"""A webhook or policy that answers, and says no."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.rules.admission.refusals import refused
from holdfast_sre.evidence.snapshot import Snapshot

_DENIED = re.compile(r'admission webhook "(?P<hook>[^"]{1,253})" denied the request|violates PodSecurity "')


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, about, message, _ in refused(snapshot, _DENIED):
        yield Finding("webhook-denied", workload, 0.92, (quote(about, message),))


RULE = Rule(
    id="webhook-denied",
    title="An admission webhook or policy refuses the pods",
    holds="a workload has fewer pods than desired, and a webhook or the pod security policy denies their creation",
    mending="change the manifest as the refusal says, never the policy; put back the last one that was admitted",
    proof="the pods are created",
    repair="escalate",
    find=_find,
)
