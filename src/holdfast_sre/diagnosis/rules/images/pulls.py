"""Pulls that fail now, and which of four answers the kubelet's message means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.findings import Evidence, Field, quote
from holdfast_sre.diagnosis.symptoms import (
    Waiting,
    container_path,
    declared_container,
    events_by_reason,
    is_short,
    waiting,
)
from holdfast_sre.evidence.snapshot import Event, Ref, Snapshot, containers_of, pod_spec_of

Answer = Literal["no such host", "forbidden", "no such image", "away"]


_PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_ANSWERS: dict[Answer, re.Pattern[str]] = {
    "no such host": re.compile(
        r"no such host|server misbehaving|Temporary failure in name resolution|dial tcp: lookup ", re.IGNORECASE
    ),
    "forbidden": re.compile(
        r"\b40[13]\b|unauthorized|forbidden|authentication required|authorization failed|access denied|: denied",
        re.IGNORECASE,
    ),
    "no such image": re.compile(
        r"not found|manifest unknown|invalid reference format|name unknown|InvalidImageName", re.IGNORECASE
    ),
    "away": re.compile(
        r"i/o timeout|connection refused|no route to host|TLS handshake|x509|connection reset|Client.Timeout|"
        r"\b50[0-9] ",
        re.IGNORECASE,
    ),
}
"""In the order of their weight: a 404 from a registry never names a missing host."""

_PERHAPS_ABSENT = re.compile(r"may not exist|does not exist", re.IGNORECASE)


class Pull(msgspec.Struct, frozen=True):
    """A pull that fails: whose, of which container and image, and the events that tell of it."""

    workload: Ref
    held: Waiting
    image: str
    told: tuple[Event, ...]

    @property
    def field(self) -> Field:
        """Where the image is written."""
        return Field(self.workload, f"{container_path(self.held.container)}.image")

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The container that waits, and what is told of its image."""
        waits = f"container {self.held.container} waits: {self.held.reason}, image {self.image}"
        return (quote(self.held.pod, waits), *(quote(event.about, event.message) for event in self.told[:2]))


def failed_pulls(snapshot: Snapshot, answer: Answer) -> Iterator[Pull]:
    """The pulls that fail with this answer, one for each workload."""
    for workload in snapshot.workloads:
        for held in waiting(snapshot, workload):
            if held.reason not in _PULLING:
                continue
            image = str(declared_container(snapshot, workload, held.container).get("image", ""))
            events = events_by_reason(snapshot, workload, "Failed", "FailedToRetrieveImagePullSecret", "InspectFailed")
            told = tuple(event for event in events if f'"{image}"' in event.message)
            text = " ".join([held.reason, held.message, *(event.message for event in told)])
            meant = next((name for name, pattern in _ANSWERS.items() if pattern.search(text)), None)
            if meant == "forbidden" and _PERHAPS_ABSENT.search(text) and _is_open(snapshot, workload, image):
                meant = (
                    "no such image"  # A registry that does not tell absent from forbidden; others pull there freely.
                )
            if meant is not None and image and (told or image in held.message):
                if meant == answer:
                    yield Pull(workload, held, image, told)
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
