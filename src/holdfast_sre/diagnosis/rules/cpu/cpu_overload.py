"""Being throttled, using more for a request and answering late: each alone is everyday business, two are not."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.latency import LATE_MS, rises, unexplained
from holdfast_sre.diagnosis.saturation import USE_FACTOR, Load, loads
from holdfast_sre.diagnosis.symptoms import workload_named
from holdfast_sre.evidence.snapshot import Ref, Signal, Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    late = {signal.subject.name: signal for signal in snapshot.signals_of("latency")}
    for load in loads(snapshot):
        confidence = _confidence(snapshot, load, late)
        if confidence is None:
            continue
        subject = Ref("Service", load.name)
        texts = [*load.texts, *([late[load.name].text] if load.name in late else [])]
        evidence = tuple(quote(subject, text) for text in texts[:4])
        yield Finding("cpu-overload", workload_named(snapshot, load.name), confidence, evidence)


def _confidence(snapshot: Snapshot, load: Load, late: dict[str, Signal]) -> float | None:
    """None where the CPU is no matter. Throttling alone is everyday business of a tight limit."""
    is_throttled, is_late = load.throttled_s is not None, load.name in late
    if load.is_starved:
        return 0.93
    if is_late and is_throttled:
        others = [rise for rise in unexplained(snapshot, rises(snapshot)) if rise.rise_ms >= LATE_MS]
        return 0.4 if others else 0.6
    return 0.6 if is_late and load.factor >= USE_FACTOR and not _is_late_for_more(late[load.name]) else None


def _is_late_for_more(signal: Signal) -> bool:
    """Whether the latency is beyond what a busy CPU does without being throttled."""
    return signal.current >= LATE_MS


RULE = Rule(
    id="cpu-overload",
    title="The pods are starved of CPU",
    holds="two of: a service is throttled, uses more than twice the CPU for a request, answers later than before",
    mending="find what burns the CPU (profile, recent change, load) before limits are raised",
    proof="no throttling, latencies back at their normal values",
    repair="escalate",
    find=_find,
)
