"""Who was killed for want of memory, by word of the kubelet or by exit code, under the limit that still stands."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import container_path, declared_container, statuses
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig

_KILLED = 137
"""The exit code of a process that SIGKILL ended: 128 + 9."""


def _killed(snapshot: Snapshot, workload: Ref) -> Iterator[tuple[str, Evidence, float]]:
    """Containers that ran out of memory, by their status or because the sandbox's first process was killed."""
    for ref, pod in snapshot.pods_of(workload):
        for status in statuses(pod):
            for state in ("lastState", "state"):
                if dig(status, f"{state}.terminated.reason") == "OOMKilled":
                    yield status["name"], quote(ref, f"container {status['name']} {state}: OOMKilled"), 0.96
                elif _is_killed_unexplained(snapshot, ref, dig(status, f"{state}.terminated")):
                    yield (
                        status["name"],
                        quote(ref, f"container {status['name']} {state}: killed, exit code {_KILLED}"),
                        0.6,
                    )
        for event in snapshot.events_of(ref):
            if event.reason == "FailedCreatePodSandBox" and "OOM-killed" in event.message:
                container = _smallest_limit(pod)
                if container is not None:
                    yield container, quote(ref, event.message), 0.96


def _is_killed_unexplained(snapshot: Snapshot, pod: Ref, ended: Manifest | None) -> bool:
    """Whether a container was killed by SIGKILL, and neither a probe nor a person asked for it."""
    if not ended or ended.get("exitCode") != _KILLED:
        return False
    return not any(event.reason in ("Killing", "Unhealthy", "Evicted") for event in snapshot.events_of(pod))


def _smallest_limit(pod: Manifest) -> str | None:
    limits = [
        (amount, str(container["name"]))
        for container in containers_of(pod)
        if (amount := quantity(dig(container, "resources.limits.memory"))) is not None
    ]
    return min(limits)[1] if limits else None


def _live_limit(snapshot: Snapshot, workload: Ref, name: str) -> float | None:
    for _, pod in snapshot.pods_of(workload):
        for container in containers_of(pod):
            if container.get("name") == name:
                return quantity(dig(container, "resources.limits.memory"))
    return None


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        for container, evidence, confidence in _killed(snapshot, workload):
            limit = dig(declared_container(snapshot, workload, container), "resources.limits.memory")
            amount, killed_at = quantity(limit), _live_limit(snapshot, workload, container)
            if amount is None or (killed_at is not None and amount > killed_at):
                continue  # The manifest already asks for more than what it was killed at.
            prefix = f"{container_path(container)}.resources"
            yield Finding(
                "memory-limit-too-low",
                workload,
                confidence,
                (evidence, quote(workload, f"container {container} may use {limit} of memory")),
                (Field(workload, f"{prefix}.limits.memory"), Field(workload, f"{prefix}.requests.memory")),
            )
            break


RULE = Rule(
    id="memory-limit-too-low",
    title="Killed for want of memory",
    holds="a container ended OOMKilled, or its sandbox was killed at start, under the limit that still stands",
    mending="put back the last limit and request that worked; without one a person decides the size",
    proof="no kill for as long as the fault took to show, working set under 80 % of the limit",
    repair="patch",
    find=_find,
)
