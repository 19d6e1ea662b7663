"""The account that the pods ask for is absent still; a failure while it was being created is over."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import desired, events_by_reason, is_short, nearest
from holdfast_sre.evidence.snapshot import Ref, Snapshot, pod_spec_of

_MISSING = re.compile(r'serviceaccount "([^"]+)" not found')
_PATH = "spec.template.spec.serviceAccountName"


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        if not is_short(snapshot, workload):
            continue
        account = str(pod_spec_of(snapshot.manifest(workload)).get("serviceAccountName") or "default")
        if snapshot.exists(Ref("ServiceAccount", account)):
            continue  # A failure while the account was being created is over.
        if len(snapshot.pods_of(workload)) >= desired(snapshot.live[workload]):
            continue  # So it is where the pods were created after all, and accounts were not recorded.
        told = events_by_reason(snapshot, workload, "FailedCreate")
        if not told and account != "default" and any(ref.kind == "ServiceAccount" for ref in snapshot.live):
            absent = (quote(workload, f"has fewer pods than desired and asks for account {account}, which is absent"),)
            blames = (Field(workload, _PATH), Field(Ref("ServiceAccount", account), ""))
            yield Finding(
                "service-account-missing", workload, 0.85, absent, blames, _remedy(snapshot, workload, account)
            )
        for event in told:
            match = _MISSING.search(event.message)
            if match and match[1] == account:
                evidence = (
                    quote(event.about, event.message),
                    quote(workload, f"asks for service account {account}, which does not exist"),
                )
                yield Finding(
                    "service-account-missing",
                    workload,
                    0.97,
                    evidence,
                    (Field(workload, _PATH), Field(Ref("ServiceAccount", account), "")),
                    _remedy(snapshot, workload, account),
                )
                break


def _remedy(snapshot: Snapshot, workload: Ref, account: str) -> tuple[Change, ...]:
    """The existing account that differs by a typing error only."""
    existing = [ref.name for ref in snapshot.live if ref.kind == "ServiceAccount" and ref.name != "default"]
    meant = nearest(account, existing, at_least=0.9)
    return (Change(str(workload), _PATH, account, meant),) if meant else ()


RULE = Rule(
    id="service-account-missing",
    title="The service account does not exist",
    holds="fewer pods than desired, creation fails for want of the account, and the account is still absent",
    mending="put back the account's name, or the account",
    proof="the pods are created",
    repair="patch",
    find=_find,
)
