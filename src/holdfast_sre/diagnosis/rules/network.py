"""Delay and loss on the network of a node or of one service's pods, from measured deviations.

A slow service is a cause only where no service that it calls is slow enough to explain it.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.causes import reach
from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Ref, Signal, Snapshot, dig

SLOW_FACTOR = 5.0
SLOW_MS = 100.0
EXPLAINED_SHARE = 0.25
"""A callee explains its caller's latency from this share on: a caller may call it a few times in a row."""
RETRANSMISSIONS_MIN = 0.3
LOSS_PER_SECOND_OF_LATENCY = 1.0
"""Retransmissions/s per second of latency that tell loss from delay: lost segments are sent again, late ones rarely."""
WIDE_DROP_MIN = 5

Slowness = dict[str, list[Signal]]


def _slow(snapshot: Snapshot) -> Slowness:
    """Services that answer much later than before, with their deviations. CPU starvation is another fault."""
    starved = {signal.subject for signal in snapshot.signals_of("cpu_throttled")} & {
        signal.subject for signal in snapshot.signals_of("cpu")
    }
    found: Slowness = {}
    for signal in snapshot.signals_of("latency"):
        is_slower = signal.current >= SLOW_MS and signal.factor >= SLOW_FACTOR
        if is_slower or signal.current >= 10 * SLOW_MS:
            found.setdefault(signal.subject.name, []).append(signal)
    return {name: signals for name, signals in found.items() if Ref("Service", name) not in starved}


def _worst(signals: list[Signal]) -> Signal:
    return max(signals, key=lambda signal: signal.current)


def _is_explained(snapshot: Snapshot, slow: Slowness, name: str) -> bool:
    own = _worst(slow[name]).current
    return any(
        _worst(slow[callee]).current >= EXPLAINED_SHARE * own
        for callee in reach(snapshot.calls, name)
        if callee in slow
    )


def _retransmitting(snapshot: Snapshot) -> Signal | None:
    """The node that sends again most, where any does so notably."""
    found = [
        signal
        for signal in snapshot.signals_of("retransmissions")
        if signal.subject.kind == "Node" and signal.current >= RETRANSMISSIONS_MIN
    ]
    return max(found, key=lambda signal: signal.current, default=None)


def _find_node(snapshot: Snapshot, *, is_loss: bool) -> Iterator[Finding]:
    node = _retransmitting(snapshot)
    latencies = snapshot.signals_of("latency")
    if node is None or not latencies:
        return
    worst = max(latencies, key=lambda signal: signal.current)
    per_second = node.current / (worst.current / 1000.0)
    if (per_second >= LOSS_PER_SECOND_OF_LATENCY) == is_loss:
        pods = sorted(
            ref.name for ref, pod in snapshot.of_kind("Pod") if dig(pod, "spec.nodeName") == node.subject.name
        )
        evidence = (
            quote(node.subject, node.text),
            quote(worst.subject, worst.text),
            quote(node.subject, f"runs {', '.join(pods[:8])}"),
        )
        yield Finding("network-loss-node" if is_loss else "network-delay-node", node.subject, 0.85, evidence)


def _find_pod(snapshot: Snapshot) -> Iterator[Finding]:
    slow = _slow(snapshot)
    causes = [name for name in slow if not _is_explained(snapshot, slow, name)]
    causes.sort(key=lambda name: (-_worst(slow[name]).current, name))
    for position, name in enumerate(causes):
        signal = _worst(slow[name])
        victims = sorted(caller for caller in slow if name in reach(snapshot.calls, caller))
        evidence = [quote(signal.subject, signal.text), quote(signal.subject, "no service that it calls is as slow")]
        if victims:
            evidence.append(quote(signal.subject, f"explains the latency of {', '.join(victims[:6])}"))
        confidence = max((0.5 if _retransmitting(snapshot) else 0.9) - 0.1 * position, 0.1)
        yield Finding("network-delay-pod", _workload(snapshot, name), confidence, tuple(evidence))
    if not causes:
        yield from _find_silent(snapshot)


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
)
