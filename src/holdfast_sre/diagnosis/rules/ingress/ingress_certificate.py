"""An ingress that is to speak TLS, and has no certificate to show."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.ingress.ways_in import listed
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    if not any(ref.kind == "Secret" for ref in snapshot.live):
        return
    for ref, ingress in snapshot.of_kind("Ingress"):
        for index, entry in enumerate(listed(dig(ingress, "spec.tls"))):
            secret = Ref("Secret", str(entry.get("secretName") or ""))
            if secret.name and not snapshot.exists(secret):
                evidence = (quote(ref, f"takes its certificate from {secret}"), quote(secret, "does not exist"))
                blames = (Field(ref, f"spec.tls[{index}].secretName"), Field(secret, ""))
                yield Finding("ingress-certificate", ref, 0.85, evidence, blames)


RULE = Rule(
    id="ingress-certificate",
    title="The secret with the ingress's certificate is missing",
    holds="secrets were recorded, and the one that the ingress names is not among them",
    mending="put back the name or have the certificate issued again; secrets are never invented",
    proof="a request over TLS gets the certificate",
    repair="escalate",
    find=_find,
)
