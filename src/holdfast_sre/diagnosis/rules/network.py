"""Delay and loss on the network of a node or of one service's pods, from measured deviations.

A slow service is a cause only where no service that it calls is slow enough to explain it.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.causes import Edges, reach
from holdfast_sre.diagnosis.findings import Evidence, Finding, Rule, quote
from holdfast_sre.diagnosis.latency import SLOW_MS, Rise, callees, packets_per_request, rises, silent, unexplained
from holdfast_sre.diagnosis.saturation import starved
from holdfast_sre.evidence.snapshot import Ref, Signal, Snapshot, dig

RETRANSMISSIONS_MIN = 0.3
RETRANSMISSIONS_FACTOR = 3.0
"""A node that always sends a little again is no news."""
UNALARMED_FACTOR = 2.0
"""So many times more it takes where no alert thought it worth telling: a raw rate goes up and down by itself."""
LOSS_PER_SECOND_OF_LATENCY = 1.0
"""Retransmissions/s per second of latency that tell loss from delay: lost segments are sent again, late ones rarely."""
WIDE_DROP_MIN = 5
RESENDING_FACTOR = 1.4
"""So many times more packets a request tell that a service's own packets are late."""


def _retransmitting(snapshot: Snapshot, kind: str) -> Signal | None:
    """The node or service that sends again most, where any does so notably and much more than before."""
    alerted = [signal for signal in snapshot.signals_of("retransmissions") if signal.subject.kind == kind]
    measured = [
        Signal(
            item.subject,
            "retransmissions",
            item.current,
            item.normal,
            f"TCP segments sent again per second: {item.normal:.2f} before, {item.current:.2f} now",
        )
        for item in snapshot.measures_of("retransmissions")
        if item.subject.kind == kind
    ]
    notable = [
        signal
        for signals, least in ((alerted, RETRANSMISSIONS_MIN), (measured, RETRANSMISSIONS_MIN * UNALARMED_FACTOR))
        for signal in signals
        if signal.current >= least and signal.factor >= RETRANSMISSIONS_FACTOR
    ]
    return max(notable, key=lambda signal: (signal.current, signal.subject), default=None)


def _is_loss(resent: Signal, worst_ms: float) -> bool:
    return resent.current >= LOSS_PER_SECOND_OF_LATENCY * worst_ms / 1000.0


def _find_node(snapshot: Snapshot, *, is_loss: bool) -> Iterator[Finding]:
    node = _retransmitting(snapshot, "Node")
    if node is None:
        return
    latencies = [(signal.current, signal.subject, signal.text) for signal in snapshot.signals_of("latency")]
    latencies += [(rise.current_ms, Ref("Service", rise.name), rise.text) for rise in rises(snapshot).values()]
    worst = max(latencies, default=None)
    if _is_loss(node, worst[0] if worst else 0.0) != is_loss:
        return
    pods = sorted(ref.name for ref, pod in snapshot.of_kind("Pod") if dig(pod, "spec.nodeName") == node.subject.name)
    evidence = [quote(node.subject, node.text)]
    evidence += [quote(worst[1], worst[2])] if worst else []
    evidence.append(quote(node.subject, f"runs {', '.join(pods[:8]) or 'no pod of this namespace'}"))
    confidence = 0.85 if worst else 0.5
    yield Finding("network-loss-node" if is_loss else "network-delay-node", node.subject, confidence, tuple(evidence))


def _find_pod(snapshot: Snapshot) -> Iterator[Finding]:
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
    if _retransmitting(snapshot, "Node") is not None:
        return 0.5
    return 0.9 if rise.rise_ms >= SLOW_MS else 0.6


def _cause(snapshot: Snapshot, edges: Edges, rise: Rise) -> tuple[Ref, list[Evidence]]:
    """The slow service itself, or the one that it calls and that gets no request through any more."""
    is_resending = _is_resending(snapshot, rise.name)
    mute = [name for name in silent(snapshot) if name in reach(edges, rise.name)]
    if len(mute) == 1 and not is_resending:
        why = quote(Ref("Service", mute[0]), f"is called by {rise.name} and gets hardly any request now")
        return _workload(snapshot, mute[0]), [why]
    told = [quote(Ref("Service", rise.name), "no service that it calls is as slow")]
    if is_resending:
        ratio = packets_per_request(snapshot, rise.name) or 0.0
        told.append(quote(Ref("Service", rise.name), f"a request takes {ratio:.1f} times the packets of before"))
    return _workload(snapshot, rise.name), told


def _workload(snapshot: Snapshot, service: str) -> Ref:
    return next((ref for ref in snapshot.workloads if ref.name == service), Ref("Service", service))


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
        yield Finding("network-delay-pod", _workload(snapshot, signal.subject.name), confidence, evidence)


def _find_pod_loss(snapshot: Snapshot) -> Iterator[Finding]:
    """Pods whose own segments are counted; without such a count loss and delay of one pod look alike."""
    resent = _retransmitting(snapshot, "Service")
    if resent is None or _retransmitting(snapshot, "Node") is not None:
        return
    worst = max((rise.current_ms for rise in rises(snapshot).values()), default=0.0)
    if _is_loss(resent, worst):
        evidence = (quote(resent.subject, resent.text), quote(resent.subject, "its node sends nothing again"))
        yield Finding("network-loss-pod", _workload(snapshot, resent.subject.name), 0.92, evidence)


RULES = (
    Rule(
        id="network-delay-node",
        title="The network of a node is slow",
        holds="a node sends TCP segments again, few for the latency that services show",
        mending="cordon the node, look at its link, its queues and its neighbours; uncordon when it is well",
        proof="latencies are back at their normal values",
        repair="escalate",
        find=lambda snapshot: _find_node(snapshot, is_loss=False),
    ),
    Rule(
        id="network-loss-node",
        title="The network of a node loses packets",
        holds="a node sends TCP segments again, many for the latency that services show",
        mending="cordon the node, look at its link and its drops; uncordon when it is well",
        proof="no more retransmissions than normal",
        repair="escalate",
        find=lambda snapshot: _find_node(snapshot, is_loss=True),
    ),
    Rule(
        id="network-delay-pod",
        title="The network of one service's pods is slow",
        holds="a service answers much later than before, is not starved of CPU, and nothing that it calls explains it",
        mending="look at the pods' node and interface; start the pods on another node",
        proof="latencies are back at their normal values",
        repair="escalate",
        find=_find_pod,
    ),
    Rule(
        id="network-loss-pod",
        title="The network of one service's pods loses packets",
        holds="the pods of one service send TCP segments again, many for their latency, and their node does not",
        mending="look at the pods' interface and at policies that drop; start the pods on another node",
        proof="no more retransmissions than normal",
        repair="escalate",
        find=_find_pod_loss,
    ),
)
