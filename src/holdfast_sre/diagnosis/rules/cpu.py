"""Services starved of CPU: throttled while they use far more than before."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Snapshot

USE_FACTOR = 2.0


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    uses = {signal.subject: signal for signal in snapshot.signals_of("cpu") if signal.subject.kind == "Service"}
    late = {signal.subject: signal for signal in snapshot.signals_of("latency")}
    throttled = {signal.subject: signal for signal in snapshot.signals_of("cpu_throttled")}
    for subject in sorted({*uses, *throttled}):
        use, delay = uses.get(subject), late.get(subject)
        if use is not None and use.factor < USE_FACTOR:
            use = None
        signs = [signal for signal in (throttled.get(subject), use, delay) if signal is not None]
        if len(signs) < 2 or (use is None and delay is None):
            continue  # Throttling alone is everyday business of a tight limit.
        workload = next((ref for ref in snapshot.workloads if ref.name == subject.name), subject)
        confidence = 0.93 if use is not None and subject in throttled else 0.6
        yield Finding("cpu-overload", workload, confidence, tuple(quote(subject, signal.text) for signal in signs))


RULES = (
    Rule(
        id="cpu-overload",
        title="The pods are starved of CPU",
        holds="two of: a service is throttled, uses more than twice the CPU it used before, answers later than before",
        mending="find what burns the CPU (profile, recent change, load) before limits are raised",
        proof="no throttling, latencies back at their normal values",
        repair="escalate",
        find=_find,
    ),
)
