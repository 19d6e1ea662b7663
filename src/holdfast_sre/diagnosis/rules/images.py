"""Images that cannot be pulled: no such name or tag, no such registry, no permission.

The kubelet's message decides which. A message counts only for the image that the pod asks for now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import (
    Waiting,
    container_path,
    declared_container,
    events_by_reason,
    is_short,
    waiting,
)
from holdfast_sre.evidence.snapshot import Event, Ref, Snapshot, containers_of, dig, pod_spec_of

_PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_NO_HOST = re.compile(
    r"no such host|server misbehaving|Temporary failure in name resolution|dial tcp: lookup ", re.IGNORECASE
)
_AWAY = re.compile(
    r"i/o timeout|connection refused|no route to host|TLS handshake|x509|connection reset|Client.Timeout|\b50[0-9] ",
    re.IGNORECASE,
)
_PERHAPS_ABSENT = re.compile(r"may not exist|does not exist", re.IGNORECASE)
_FORBIDDEN = re.compile(
    r"\b40[13]\b|unauthorized|forbidden|authentication required|authorization failed|access denied|: denied",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(
    r"not found|manifest unknown|invalid reference format|name unknown|InvalidImageName", re.IGNORECASE
)


def _kind(text: str) -> str | None:
    """Which of the four a kubelet's message means. A 404 from a registry never names a missing host."""
    for kind, pattern in (("dns", _NO_HOST), ("access", _FORBIDDEN), ("image", _NOT_FOUND), ("away", _AWAY)):
        if pattern.search(text):
            return kind
    return None


def _failures(snapshot: Snapshot) -> Iterator[tuple[str, Ref, Waiting, str, list[Event]]]:
    for workload in snapshot.workloads:
        for held in waiting(snapshot, workload):
            if held.reason not in _PULLING:
                continue
            image = str(declared_container(snapshot, workload, held.container).get("image", ""))
            events = events_by_reason(snapshot, workload, "Failed", "FailedToRetrieveImagePullSecret", "InspectFailed")
            told = [event for event in events if f'"{image}"' in event.message]
            text = " ".join([held.reason, held.message, *(event.message for event in told)])
            kind = _kind(text)
            if kind == "access" and _PERHAPS_ABSENT.search(text) and _is_open(snapshot, workload, image):
                kind = "image"  # A registry that does not tell absent from forbidden, and others pull there freely.
            if kind is not None and image and (told or image in held.message):
                yield kind, workload, held, image, told
                break


def _is_open(snapshot: Snapshot, workload: Ref, image: str) -> bool:
    """Whether other workloads run images from the same registry, and nobody here names a pull secret."""
    place = image.partition("/")[0]
    running = [ref for ref in snapshot.workloads if ref != workload and not is_short(snapshot, ref)]
    siblings = [
        ref
        for ref in running
        for item in containers_of(snapshot.manifest(ref))
        if str(item.get("image", "")).startswith(f"{place}/")
    ]
    return bool(siblings) and not any(
        pod_spec_of(snapshot.manifest(ref)).get("imagePullSecrets") for ref in (workload, *siblings)
    )


def _find(kind: str, rule: str, confidence: float, snapshot: Snapshot) -> Iterator[Finding]:
    for seen, workload, held, image, told in _failures(snapshot):
        if seen != kind:
            continue
        blames = [Field(workload, f"{container_path(held.container)}.image")]
        evidence = [quote(held.pod, f"container {held.container} waits: {held.reason}, image {image}")]
        evidence += [quote(event.about, event.message) for event in told[:2]]
        if kind == "access":
            for secret in pod_spec_of(snapshot.manifest(workload)).get("imagePullSecrets") or ():
                name = str(secret.get("name", ""))
                if not snapshot.exists(Ref("Secret", name)):
                    evidence.append(quote(workload, f"imagePullSecrets names {name}, which does not exist"))
                    blames.append(Field(workload, "spec.template.spec.imagePullSecrets"))
            account = str(pod_spec_of(snapshot.manifest(workload)).get("serviceAccountName") or "default")
            if not dig(snapshot.manifest(Ref("ServiceAccount", account)), "imagePullSecrets"):
                evidence.append(quote(Ref("ServiceAccount", account), "no image pull secrets"))
        yield Finding(rule, workload, confidence, tuple(evidence), tuple(dict.fromkeys(blames)))


RULES = (
    Rule(
        id="image-not-found",
        title="Image name or tag does not exist",
        holds="a container waits for its image and the registry answers that this very image is not found",
        mending="put back the last image that ran",
        proof="the new pods become ready without pull events",
        repair="patch",
        find=lambda snapshot: _find("image", "image-not-found", 0.96, snapshot),
    ),
    Rule(
        id="image-registry-unknown",
        title="The image's registry host does not resolve",
        holds="a container waits for its image and the registry's host name cannot be looked up",
        mending="put back the last image that ran; where the host is right, mend the node's name resolution",
        proof="the pull succeeds",
        repair="patch",
        find=lambda snapshot: _find("dns", "image-registry-unknown", 0.95, snapshot),
    ),
    Rule(
        id="image-registry-unreachable",
        title="The image's registry does not answer",
        holds="a container waits for its image, and the registry's host resolves but cannot be talked to",
        mending="put back the last image that ran; where the registry is right, mend the way to it or use a mirror",
        proof="the pull succeeds",
        repair="patch",
        find=lambda snapshot: _find("away", "image-registry-unreachable", 0.9, snapshot),
    ),
    Rule(
        id="image-pull-forbidden",
        title="The registry refuses the pull: the pull secret is missing or wrong",
        holds="a container waits for its image and the registry answers 401 or 403",
        mending="put back the last image and pull secret that worked; secrets are never invented",
        proof="the pull succeeds",
        repair="patch",
        find=lambda snapshot: _find("access", "image-pull-forbidden", 0.95, snapshot),
    ),
)
