"""The slow services that neither what they call nor a want of CPU explains; where none is measured, the silent ones."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.causes import Edges, reach
from holdfast_sre.diagnosis.findings import Evidence, Finding, Rule, quote
from holdfast_sre.diagnosis.latency import SLOW_MS, Rise, callees, packets_per_request, rises, silent, unexplained
from holdfast_sre.diagnosis.rules.network.retransmissions import retransmitting
from holdfast_sre.diagnosis.saturation import starved
from holdfast_sre.diagnosis.symptoms import workload_named
from holdfast_sre.evidence.snapshot import Ref, Snapshot

WIDE_DROP_MIN = 5
RESENDING_FACTOR = 1.4
"""So many times more packets a request tell that a service's own packets are late."""


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    slow = rises(snapshot)
    if not slow:
        yield from _find_silent(snapshot)
        return
    busy, edges = starved(snapshot), callees(snapshot)
    causes = [rise for rise in unexplained(snapshot, slow) if not busy & {rise.name, *reach(edges, rise.name)}]
    if not snapshot.calls:  # Nobody told who calls whom: whose own packets are late comes first.
        causes.sort(key=lambda rise: not _is_resending(snapshot, rise.name))
    for position, rise in enumerate(causes):
        share = min(max(rise.rise_ms / causes[0].rise_ms, 0.3), 0.9) if position else 1.0
        workload, why = _cause(snapshot, edges, rise)
        victims = sorted(caller for caller in slow if workload.name in reach(edges, caller))
        if victims:
            why.append(quote(workload, f"explains the latency of {', '.join(victims[:6])}"))
        evidence = (quote(Ref("Service", rise.name), rise.text), *why)
        yield Finding("network-delay-pod", workload, round(_certainty(snapshot, rise) * share, 4), evidence)


def _is_resending(snapshot: Snapshot, name: str) -> bool:
    ratio = packets_per_request(snapshot, name)
    return ratio is not None and ratio >= RESENDING_FACTOR


def _certainty(snapshot: Snapshot, rise: Rise) -> float:
    """Less where a whole node is in trouble, or where the rise is faint."""
    if retransmitting(snapshot, "Node") is not None:
        return 0.5
    return 0.9 if rise.rise_ms >= SLOW_MS else 0.6


def _cause(snapshot: Snapshot, edges: Edges, rise: Rise) -> tuple[Ref, list[Evidence]]:
    """The slow service itself, or the one that it calls and that gets no request through any more."""
    is_resending = _is_resending(snapshot, rise.name)
    mute = [name for name in silent(snapshot) if name in reach(edges, rise.name)]
    if len(mute) == 1 and not is_resending:
        why = quote(Ref("Service", mute[0]), f"is called by {rise.name} and gets hardly any request now")
        return workload_named(snapshot, mute[0]), [why]
    told = [quote(Ref("Service", rise.name), "no service that it calls is as slow")]
    if is_resending:
        ratio = packets_per_request(snapshot, rise.name) or 0.0
        told.append(quote(Ref("Service", rise.name), f"a request takes {ratio:.1f} times the packets of before"))
    return workload_named(snapshot, rise.name), told


def _find_silent(snapshot: Snapshot) -> Iterator[Finding]:
    """Where no latency is measured, because nothing comes back in time: who lost most of the traffic, or resends it."""
    drops = sorted(snapshot.signals_of("throughput_drop"), key=lambda signal: (signal.factor, signal.subject))
    resenders = sorted(snapshot.signals_of("traffic_surge"), key=lambda signal: (-signal.factor, signal.subject))
    busy = {signal.subject for signal in snapshot.signals_of("throughput_surge")}
    if len(drops) >= WIDE_DROP_MIN:
        chosen, why, confidence = drops[:1], "lost most of its requests of all services", 0.5
    else:
        chosen = [signal for signal in resenders if signal.subject not in busy][:1]
        why, confidence = "sends more packets for no more requests", 0.35
    for signal in chosen:
        evidence = (quote(signal.subject, signal.text), quote(signal.subject, why))
        yield Finding("network-delay-pod", workload_named(snapshot, signal.subject.name), confidence, evidence)


RULE = Rule(
    id="network-delay-pod",
    title="The network of one service's pods is slow",
    holds="a service answers much later than before, is not starved of CPU, and nothing that it calls explains it",
    mending="look at the pods' node and interface; start the pods on another node",
    proof="latencies are back at their normal values",
    repair="escalate",
    find=_find,
)
