"""Services that lead nowhere although healthy pods stand behind them: selector, target port, protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from holdfast_sre.diagnosis.findings import Change, Evidence, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import container_path, is_short, nearest, ready, unreached, was_tried
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig

_FAILED = re.compile(
    r"connection refused|i/o timeout|connect timed out|no route to host|ECONNREFUSED|ETIMEDOUT|"
    r"connect error|Unavailable",
    re.IGNORECASE,
)


def _routes(snapshot: Snapshot) -> Iterator[tuple[Ref, Manifest, dict[str, str]]]:
    """Services that exist and have a selector."""
    for ref, service in snapshot.of_kind("Service"):
        selector = dig(service, "spec.selector")
        if snapshot.exists(ref) and isinstance(selector, dict) and selector:
            yield ref, service, selector


def _labels(snapshot: Snapshot, workload: Ref) -> dict[str, str]:
    labels = dig(snapshot.manifest(workload), "spec.template.metadata.labels")
    return dict(labels) if isinstance(labels, dict) else {}


def _matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _selects_something(snapshot: Snapshot, selector: dict[str, str]) -> bool:
    """Whether a workload's template or a live pod matches: operators label pods of their own accord."""
    pods = (dig(pod, "metadata.labels") or {} for _, pod in snapshot.of_kind("Pod"))
    templates = (_labels(snapshot, workload) for workload in snapshot.workloads)
    return any(_matches(selector, labels) for labels in (*templates, *pods))


def _is_ready(snapshot: Snapshot, workload: Ref) -> bool:
    return ready(snapshot.live.get(workload, {})) > 0 and not is_short(snapshot, workload)


def _meant(snapshot: Snapshot, service: Ref, selector: dict[str, str]) -> Ref | None:
    """The workload that a service was written for: of its name, else the one that shares most of the selector."""
    named = [ref for ref in snapshot.workloads if ref.name == service.name]
    if named:
        return named[0]
    shared = {ref: len(selector.items() & _labels(snapshot, ref).items()) for ref in snapshot.workloads}
    best = max(shared.values(), default=0)
    candidates = [ref for ref, count in shared.items() if count == best]
    return candidates[0] if best and len(candidates) == 1 else None


def _find_selector(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, _, selector in _routes(snapshot):
        if snapshot.addresses_of(ref.name) or _selects_something(snapshot, selector):
            continue
        meant = _meant(snapshot, ref, selector)
        if meant is None or not _is_ready(snapshot, meant):
            continue
        labels = _labels(snapshot, meant)
        evidence = (
            quote(ref, f"no endpoints for selector {_text(selector)}"),
            quote(meant, f"is ready and its pods have the labels {_text(labels)}"),
            *_unreached(snapshot, ref),
        )
        yield Finding(
            "service-selector",
            ref,
            0.97,
            evidence,
            (Field(ref, "spec.selector"),),
            _selector_remedy(ref, selector, labels),
        )


def _text(pairs: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items()))


def _unreached(snapshot: Snapshot, service: Ref) -> tuple[Evidence, ...]:
    failed = [probe for probe in snapshot.probes if probe.service == service.name and not probe.reached]
    told = tuple(quote(f"connection to {probe.service}:{probe.port}", probe.text) for probe in failed[:1])
    return told or tuple(_complaints(snapshot, service)[:1])


def _selector_remedy(service: Ref, selector: dict[str, str], labels: dict[str, str]) -> tuple[Change, ...]:
    """Keep the pairs that the pods have; of the others correct the value where the key is right, else drop them.

    Where nothing would be left the key whose label has the very value is taken; failing that there is no remedy.
    """
    changes: dict[str, tuple[str | None, str | None]] = {}
    kept = 0
    for key, value in selector.items():
        if labels.get(key) == value:
            kept += 1
        elif key in labels:
            changes[key] = (value, labels[key])
            kept += 1
        else:
            changes[key] = (value, None)
    if not kept:
        same = [key for key, value in labels.items() if value in selector.values()]
        if len(same) != 1:
            return ()
        changes[same[0]] = (None, labels[same[0]])
    return tuple(
        Change(str(service), f"spec.selector.{key}", before, after) for key, (before, after) in sorted(changes.items())
    )


def _open_ports(snapshot: Snapshot, selector: dict[str, str]) -> tuple[list[Ref], list[dict[str, Any]]]:
    behind = [ref for ref in snapshot.workloads if _matches(selector, _labels(snapshot, ref))]
    ports = [
        port for ref in behind for item in containers_of(snapshot.manifest(ref)) for port in item.get("ports") or ()
    ]
    return behind, ports


def _certainty(snapshot: Snapshot, service: Ref, behind: list[Ref], tried: float) -> float:
    """How sure a mismatch is: `tried` where a connection failed, less where a caller complains, 0 where neither, or
    where no pod behind the service is ready.
    """
    if not any(_is_ready(snapshot, workload) for workload in behind):
        return 0.0
    if was_tried(snapshot, service.name):
        return tried if unreached(snapshot, service.name) else 0.0
    return 0.85 if _complaints(snapshot, service) else 0.0


def _complaints(snapshot: Snapshot, service: Ref) -> list[Evidence]:
    """Lines of others' logs that name the service or one of its ports beside a failed connection."""
    ports = {str(port.get("port")) for port in dig(snapshot.manifest(service), "spec.ports") or ()}
    found = []
    for line in snapshot.logs:
        if line.workload == service.name or not _FAILED.search(line.text):
            continue
        is_named = service.name in line.text or any(re.search(rf":{port}\b", line.text) for port in ports)
        if is_named:
            found.append(quote_line(f"log of {line.workload}", line.text, _FAILED))
    return found


def _find_target_port(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, service, selector in _routes(snapshot):
        behind, opened = _open_ports(snapshot, selector)
        numbers = {port.get("containerPort") for port in opened}
        names = {port.get("name") for port in opened if port.get("name")}
        for index, port in enumerate(dig(service, "spec.ports") or ()):
            target = port.get("targetPort", port.get("port"))
            if not opened or target in numbers or target in names:
                continue
            confidence = _certainty(snapshot, ref, behind, 0.96)
            if not confidence:
                continue
            label = port.get("name") or index
            path = f"spec.ports[{label}].targetPort"
            remedy = _target_remedy(ref, path, port, numbers, names)
            evidence = (
                quote(ref, f"port {port.get('port')} leads to target port {target}"),
                quote(behind[0], f"is ready and opens only {sorted(str(number) for number in numbers | names)}"),
                *_unreached(snapshot, ref),
            )
            blames = [Field(ref, path)]
            if target not in numbers and not str(target).isdigit():
                # A port's name stands on both sides; a last known good holds them together.
                blames += [
                    Field(workload, f"{container_path(str(item['name']))}.ports")
                    for workload in behind
                    for item in containers_of(snapshot.manifest(workload))
                ]
            yield Finding("service-target-port", ref, confidence, evidence, tuple(blames), remedy)


def _target_remedy(
    service: Ref, path: str, port: dict[str, Any], numbers: set[Any], names: set[Any]
) -> tuple[Change, ...]:
    """The only port that the container opens, or the port name that is meant by a misspelt one."""
    target = port.get("targetPort")
    before = None if target is None else str(target)
    if isinstance(target, str) and not target.isdigit():
        meant = nearest(target, sorted(str(name) for name in names))
        if meant:
            return (Change(str(service), path, before, meant),)
    return (Change(str(service), path, before, str(next(iter(numbers)))),) if len(numbers) == 1 else ()


def _find_protocol(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, service, selector in _routes(snapshot):
        behind, opened = _open_ports(snapshot, selector)
        spoken = {str(port.get("protocol", "TCP")) for port in opened}
        for index, port in enumerate(dig(service, "spec.ports") or ()):
            protocol = str(port.get("protocol", "TCP"))
            if protocol in spoken or not spoken:
                continue
            confidence = _certainty(snapshot, ref, behind, 0.97)
            if not confidence:
                continue
            path = f"spec.ports[{port.get('name') or index}].protocol"
            written = min(spoken)
            remedy = Change(str(ref), path, leaves(service).get(path), None if written == "TCP" else written)
            evidence = (
                quote(ref, f"port {port.get('port')} is served over {protocol}"),
                quote(behind[0], f"is ready and opens its ports over {', '.join(sorted(spoken))}"),
                *_unreached(snapshot, ref),
            )
            yield Finding("service-protocol", ref, confidence, evidence, (Field(ref, path),), (remedy,))


def _find_stranger(snapshot: Snapshot) -> Iterator[Finding]:
    """Services that select the pods of another service, while the workload of their own name has no service."""
    for ref, _, selector in _routes(snapshot):
        own = next((item for item in snapshot.workloads if item.name == ref.name), None)
        if own is None or _matches(selector, _labels(snapshot, own)) or not _is_ready(snapshot, own):
            continue
        taken = [item for item in snapshot.workloads if _matches(selector, _labels(snapshot, item))]
        others = {
            other.name
            for other, _, wanted in _routes(snapshot)
            if taken and _matches(wanted, _labels(snapshot, taken[0]))
        }
        orphaned = not any(_matches(wanted, _labels(snapshot, own)) for _, _, wanted in _routes(snapshot))
        if taken and orphaned and others - {ref.name}:
            labels = _labels(snapshot, own)
            evidence = (
                quote(ref, f"selects {', '.join(map(str, taken[:3]))} by {_text(selector)}"),
                quote(own, f"is ready, no service selects it, and its pods have the labels {_text(labels)}"),
                *_unreached(snapshot, ref),
            )
            remedy = _selector_remedy(ref, selector, labels)
            yield Finding("service-selector", ref, 0.9, evidence, (Field(ref, "spec.selector"),), remedy)


RULES = (
    Rule(
        id="service-selector",
        title="The service's selector does not match its pods",
        holds="no endpoints or another service's, and the workload that is meant is ready and has no service",
        mending="put back the selector, or correct it to the labels of the pods",
        proof="the endpoints are the ready pods",
        repair="patch",
        find=lambda snapshot: (*_find_selector(snapshot), *_find_stranger(snapshot)),
    ),
    Rule(
        id="service-target-port",
        title="The service leads to a port that the container does not open",
        holds="pods behind the service are ready, none opens the target port, connections fail or callers complain",
        mending="put back the target port, or take the only port that the container opens",
        proof="the connection succeeds",
        repair="patch",
        find=_find_target_port,
    ),
    Rule(
        id="service-protocol",
        title="The service's port has another protocol than the container's",
        holds="pods behind the service are ready, the protocols differ, and a connection fails or callers complain",
        mending="put back the protocol, or take the container's",
        proof="the connection succeeds",
        repair="patch",
        find=_find_protocol,
    ),
)
