"""Services starved of CPU: throttled while they use far more than before."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.findings import Finding, Rule, quote
from holdfast_sre.snapshot import Ref, Snapshot

USE_FACTOR = 2.0


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    uses = {signal.subject: signal for signal in snapshot.signals_of("cpu") if signal.subject.kind == "Service"}
    for throttled in snapshot.signals_of("cpu_throttled"):
        use = uses.get(throttled.subject)
        if use is None or use.factor < USE_FACTOR:
            continue  # Throttling alone is everyday business of a tight limit.
        name = throttled.subject.name
        workload = next((ref for ref in snapshot.workloads if ref.name == name), Ref("Service", name))
        evidence = (quote(throttled.subject, throttled.text), quote(use.subject, use.text))
        yield Finding("cpu-overload", workload, 0.93, evidence)


RULES = (
    Rule(
        id="cpu-overload",
        title="The pods are starved of CPU",
        holds="a service is throttled and uses more than twice the CPU it used before",
        mending="find what burns the CPU (profile, recent change, load) before limits are raised",
        proof="no throttling, latencies back at their normal values",
        repair="escalate",
        find=_find,
    ),
)
