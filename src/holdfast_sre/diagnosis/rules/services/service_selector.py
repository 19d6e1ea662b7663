"""A selector that takes no pod, or the pods of another service, while the pods that are meant stand ready."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.services.failures import quoted_failure
from holdfast_sre.diagnosis.rules.services.routes import is_ready, labels_of, matches, routes
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    yield from _matchless(snapshot)
    yield from _strangers(snapshot)


def _matchless(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, _, selector in routes(snapshot):
        if snapshot.addresses_of(ref.name) or _selects_something(snapshot, selector):
            continue
        meant = _meant(snapshot, ref, selector)
        if meant is None or not is_ready(snapshot, meant):
            continue
        labels = labels_of(snapshot, meant)
        evidence = (
            quote(ref, f"no endpoints for selector {_text(selector)}"),
            quote(meant, f"is ready and its pods have the labels {_text(labels)}"),
            *quoted_failure(snapshot, ref),
        )
        yield Finding(
            "service-selector",
            ref,
            0.97,
            evidence,
            (Field(ref, "spec.selector"),),
            _selector_remedy(ref, selector, labels),
        )


def _strangers(snapshot: Snapshot) -> Iterator[Finding]:
    """Services that select the pods of another service, while the workload of their own name has no service."""
    for ref, _, selector in routes(snapshot):
        own = next((item for item in snapshot.workloads if item.name == ref.name), None)
        if own is None or matches(selector, labels_of(snapshot, own)) or not is_ready(snapshot, own):
            continue
        taken = [item for item in snapshot.workloads if matches(selector, labels_of(snapshot, item))]
        others = {
            other.name
            for other, _, wanted in routes(snapshot)
            if taken and matches(wanted, labels_of(snapshot, taken[0]))
        }
        orphaned = not any(matches(wanted, labels_of(snapshot, own)) for _, _, wanted in routes(snapshot))
        if taken and orphaned and others - {ref.name}:
            labels = labels_of(snapshot, own)
            evidence = (
                quote(ref, f"selects {', '.join(map(str, taken[:3]))} by {_text(selector)}"),
                quote(own, f"is ready, no service selects it, and its pods have the labels {_text(labels)}"),
                *quoted_failure(snapshot, ref),
            )
            remedy = _selector_remedy(ref, selector, labels)
            yield Finding("service-selector", ref, 0.9, evidence, (Field(ref, "spec.selector"),), remedy)


def _selects_something(snapshot: Snapshot, selector: dict[str, str]) -> bool:
    """Whether a workload's template or a live pod matches: operators label pods of their own accord."""
    pods = (dig(pod, "metadata.labels") or {} for _, pod in snapshot.of_kind("Pod"))
    templates = (labels_of(snapshot, workload) for workload in snapshot.workloads)
    return any(matches(selector, labels) for labels in (*templates, *pods))


def _meant(snapshot: Snapshot, service: Ref, selector: dict[str, str]) -> Ref | None:
    """The workload that a service was written for: of its name, else the one that shares most of the selector."""
    named = [ref for ref in snapshot.workloads if ref.name == service.name]
    if named:
        return named[0]
    shared = {ref: len(selector.items() & labels_of(snapshot, ref).items()) for ref in snapshot.workloads}
    best = max(shared.values(), default=0)
    candidates = [ref for ref, count in shared.items() if count == best]
    return candidates[0] if best and len(candidates) == 1 else None


def _text(pairs: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items()))


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


RULE = Rule(
    id="service-selector",
    title="The service's selector does not match its pods",
    holds="no endpoints or another service's, and the workload that is meant is ready and has no service",
    mending="put back the selector, or correct it to the labels of the pods",
    proof="the endpoints are the ready pods",
    repair="patch",
    find=_find,
)
