"""Liveness and readiness probes that fail because of how they are written: port, protocol, timing.

A probe is compared with the ports that the container opens and with the container's other probe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from holdfast_sre.diagnosis.findings import Change, Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import container_path, events_by_reason, is_recent, is_short, restarts, statuses
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig

_HANDLERS = ("grpc", "httpGet", "tcpSocket", "exec")
_TIMINGS = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold")
_WRONG_PROTOCOL = (
    "malformed HTTP",
    "HTTP/1.x transport connection broken",
    "server gave HTTP response to HTTPS client",
)
HASTY_S = 5
"""A liveness probe that may kill within so many seconds of the start gives an ordinary program no time to listen."""

IMPATIENT_S = 10
"""One that kills within so many seconds is suspect where nothing else is wrong with it."""

Probe = Literal["liveness", "readiness", "startup"]
Fault = Literal["port", "protocol", "timing"]


class _Failing(msgspec.Struct, frozen=True):
    workload: Ref
    container: Manifest
    probe: Probe
    evidence: tuple[Evidence, ...]
    text: str

    @property
    def body(self) -> Manifest:
        return dict(self.container.get(f"{self.probe}Probe") or {})

    @property
    def other(self) -> Manifest:
        names = [name for name in ("readiness", "liveness", "startup") if name != self.probe]
        return next((dict(body) for name in names if (body := self.container.get(f"{name}Probe"))), {})

    @property
    def path(self) -> str:
        return f"{container_path(str(self.container['name']))}.{self.probe}Probe"


def _failing(snapshot: Snapshot, probe: Probe) -> Iterator[_Failing]:
    """Probes that fail now and do harm now: restarts for liveness, an unready container for readiness."""
    word = probe.capitalize()
    for workload in snapshot.workloads:
        told = [
            event
            for event in events_by_reason(snapshot, workload, "Unhealthy")
            if event.message.startswith(word) and is_recent(event)
        ]
        if not told and events_by_reason(snapshot, workload, "Unhealthy"):
            continue  # Probes failed, but not this one, or not lately.
        for container in containers_of(snapshot.manifest(workload)):
            harm = _harm(snapshot, workload, str(container.get("name")), probe)
            if harm is not None and container.get(f"{probe}Probe"):
                evidence = (harm, *(quote(event.about, event.message) for event in told[:2]))
                text = " ".join(event.message for event in told)
                yield _Failing(workload, container, probe, evidence, text)


def _harm(snapshot: Snapshot, workload: Ref, container: str, probe: Probe) -> Evidence | None:
    for ref, pod in snapshot.pods_of(workload):
        count = restarts(pod, container)
        if probe != "readiness" and count:
            return quote(ref, f"container {container} restarted {count} times")
        if probe == "readiness" and is_short(snapshot, workload):
            for status in statuses(pod):
                if status["name"] == container and not status.get("ready") and dig(status, "state.running") is not None:
                    return quote(ref, f"container {container} runs and is not ready")
    return None


def _handler(probe: Manifest) -> str | None:
    return next((name for name in _HANDLERS if probe.get(name)), None)


def _port(container: Manifest, probe: Manifest) -> tuple[str | None, int | None]:
    """The handler and the number of its port; None where a port's name leads nowhere."""
    handler = _handler(probe)
    port: Any = dig(probe, f"{handler}.port") if handler else None
    if isinstance(port, str) and not port.isdigit():
        named = [entry.get("containerPort") for entry in container.get("ports") or () if entry.get("name") == port]
        port = named[0] if named else None
    return handler, int(port) if port is not None else None


def _fault(found: _Failing) -> Fault | None:
    handler, port = _port(found.container, found.body)
    if handler is None:
        return None
    if handler == "exec":
        return "protocol" if found.text and _handler(found.other) not in (None, "exec") else None
    opened = {entry.get("containerPort") for entry in found.container.get("ports") or ()}
    if not found.text and port is not None and (not opened or port in opened):
        return None  # Where no event tells that the probe fails, only what cannot work is blamed.
    if handler == "httpGet" and any(sign in found.text for sign in _WRONG_PROTOCOL):
        return "protocol"
    if port is None or (opened and port not in opened):
        return "port"
    if _handler(found.other) not in (None, handler) and found.other and not _is_hasty(found.body):
        return "protocol"
    is_impatient = _patience_s(found.body) < IMPATIENT_S
    return "timing" if found.probe == "liveness" and is_impatient else None


def _is_hasty(probe: Manifest) -> bool:
    """Whether the first kill may come sooner than HASTY_S seconds after the start."""
    return _patience_s(probe) < HASTY_S


def _patience_s(probe: Manifest) -> int:
    """Seconds after the start that a probe may fail all the time before it does harm."""
    delay = _seconds(probe, "initialDelaySeconds", 0)
    period, timeout = _seconds(probe, "periodSeconds", 10), _seconds(probe, "timeoutSeconds", 1)
    return delay + period * (_seconds(probe, "failureThreshold", 3) - 1) + timeout


def _seconds(probe: Manifest, key: str, default: int) -> int:
    value = probe.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def _blames(found: _Failing, fault: Fault) -> tuple[Field, ...]:
    if fault == "timing":
        prefix = container_path(str(found.container["name"]))
        # How long a start takes stands in every probe; a last known good holds these together.
        present = [probe for probe in ("readinessProbe", "startupProbe") if found.container.get(probe)]
        others = [f"{prefix}.{probe}.initialDelaySeconds" for probe in present]
        return tuple(Field(found.workload, path) for path in [*(f"{found.path}.{key}" for key in _TIMINGS), *others])
    return tuple(Field(found.workload, f"{found.path}.{handler}") for handler in _HANDLERS)


def _remedy(found: _Failing, fault: Fault) -> tuple[Change, ...]:
    """The sibling probe's handler, where that one is sound; timings are not computed."""
    handler, port = _port(found.container, found.other)
    opened = {entry.get("containerPort") for entry in found.container.get("ports") or ()}
    if fault == "timing" or handler is None or port not in opened:
        return ()
    before = {path: text for path, text in leaves(found.body).items() if path.split(".")[0] in _HANDLERS}
    if fault == "port" and _handler(found.body) == handler:
        path = f"{handler}.port"
        return (Change(str(found.workload), f"{found.path}.{path}", before.get(path), str(port)),)
    after = {path: text for path, text in leaves(found.other).items() if path.split(".")[0] in _HANDLERS}
    return tuple(
        Change(str(found.workload), f"{found.path}.{path}", before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    )


def _find(snapshot: Snapshot, probe: Probe, fault: Fault) -> Iterator[Finding]:
    for found in _failing(snapshot, probe):
        if _fault(found) == fault:
            written = ", ".join(f"{path}={text}" for path, text in leaves(found.body).items())
            ports = [entry.get("containerPort") for entry in found.container.get("ports") or ()]
            evidence = (*found.evidence, quote(found.workload, f"{probe}Probe: {written}; container ports: {ports}"))
            rule = f"{probe}-probe-{fault}"
            is_sure = fault != "timing" or _is_hasty(found.body)
            confidence = (0.95 if is_sure else 0.7) if found.text else 0.75
            yield Finding(rule, found.workload, confidence, evidence, _blames(found, fault), _remedy(found, fault))


_HOLDS: dict[Fault, str] = {
    "port": "asks a port that the container does not open",
    "protocol": "speaks another protocol than the container",
    "timing": "kills sooner than the container can start",
}


def _rule(probe: Probe, fault: Fault) -> Rule:
    harm = "the container runs and is not ready" if probe == "readiness" else "the container is restarted"
    return Rule(
        id=f"{probe}-probe-{fault}",
        title=f"The {probe} probe {_HOLDS[fault]}",
        holds=f"the {probe} probe fails now, {harm}, and the probe as written {_HOLDS[fault]}",
        mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
        proof="ready, and the number of restarts stays",
        repair="patch",
        find=lambda snapshot: _find(snapshot, probe, fault),
    )


RULES = (
    _rule("liveness", "port"),
    _rule("liveness", "protocol"),
    _rule("liveness", "timing"),
    _rule("readiness", "port"),
    _rule("readiness", "protocol"),
    _rule("startup", "port"),
    _rule("startup", "protocol"),
)
