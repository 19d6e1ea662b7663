"""The registry wants to know who asks: the pull secrets of the pod and of its account are looked at."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.images.pulls import failed_pulls
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig, pod_spec_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for pull in failed_pulls(snapshot, "forbidden"):
        spec = pod_spec_of(snapshot.manifest(pull.workload))
        blames, evidence = [pull.field], [*pull.evidence]
        for secret in spec.get("imagePullSecrets") or ():
            name = str(secret.get("name", ""))
            if not snapshot.exists(Ref("Secret", name)):
                evidence.append(quote(pull.workload, f"imagePullSecrets names {name}, which does not exist"))
                blames.append(Field(pull.workload, "spec.template.spec.imagePullSecrets"))
        account = Ref("ServiceAccount", str(spec.get("serviceAccountName") or "default"))
        if not dig(snapshot.manifest(account), "imagePullSecrets"):
            evidence.append(quote(account, "no image pull secrets"))
        yield Finding("image-pull-forbidden", pull.workload, 0.95, tuple(evidence), tuple(dict.fromkeys(blames)))


RULE = Rule(
    id="image-pull-forbidden",
    title="The registry refuses the pull: the pull secret is missing or wrong",
    holds="a container waits for its image and the registry answers 401 or 403",
    mending="put back the last image and pull secret that worked; secrets are never invented",
    proof="the pull succeeds",
    repair="patch",
    find=_find,
)
