"""A quota counts what pods ask for, so it takes none that does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.rules.admission.refusals import refused
from holdfast_sre.evidence.snapshot import Snapshot

_QUOTA = re.compile(r"failed quota: (?P<quota>\S+?): must specify (?P<what>.{1,200})")


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, about, message, match in refused(snapshot, _QUOTA):
        evidence = (quote(about, message), quote(workload, f"its containers do not all specify {match['what']}"))
        yield Finding("quota-unspecified", workload, 0.93, evidence)


RULE = Rule(
    id="quota-unspecified",
    title="The quota demands requests or limits that the pods do not specify",
    holds="a workload has fewer pods than desired, and the quota refuses pods that do not say what they ask for",
    mending="put back the requests and limits that worked; their values are a decision",
    proof="the pods are created",
    repair="escalate",
    find=_find,
)
