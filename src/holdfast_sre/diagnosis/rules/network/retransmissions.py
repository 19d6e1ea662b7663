"""Who sends TCP segments again, and whether that tells of loss or of delay."""

from __future__ import annotations

import msgspec

from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.diagnosis.latency import rises
from holdfast_sre.evidence.snapshot import Ref, Signal, Snapshot, dig

RETRANSMISSIONS_MIN = 0.3
RETRANSMISSIONS_FACTOR = 3.0
"""A node that always sends a little again is no news."""
UNALARMED_FACTOR = 2.0
"""So many times more it takes where no alert thought it worth telling: a raw rate goes up and down by itself."""
LOSS_PER_SECOND_OF_LATENCY = 1.0
"""Retransmissions/s per second of latency that tell loss from delay: lost segments are sent again, late ones rarely."""


def retransmitting(snapshot: Snapshot, kind: str) -> Signal | None:
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


def is_loss(resent: Signal, worst_ms: float) -> bool:
    """Whether so much is sent again that it is lost rather than late, at the worst latency of all."""
    return resent.current >= LOSS_PER_SECOND_OF_LATENCY * worst_ms / 1000.0


class ResendingNode(msgspec.Struct, frozen=True):
    """A node that sends again much more than before, with what tells of it, and how sure it is that the node is why."""

    node: Ref
    is_loss: bool
    confidence: float
    evidence: tuple[Evidence, ...]


def resending_node(snapshot: Snapshot) -> ResendingNode | None:
    """The node that sends again most, judged beside the worst latency; None where none does so notably."""
    resent = retransmitting(snapshot, "Node")
    if resent is None:
        return None
    latencies = [(signal.current, signal.subject, signal.text) for signal in snapshot.signals_of("latency")]
    latencies += [(rise.current_ms, Ref("Service", rise.name), rise.text) for rise in rises(snapshot).values()]
    worst = max(latencies, default=None)
    node = resent.subject
    pods = sorted(ref.name for ref, pod in snapshot.of_kind("Pod") if dig(pod, "spec.nodeName") == node.name)
    evidence = [quote(node, resent.text)]
    evidence += [quote(worst[1], worst[2])] if worst else []
    evidence.append(quote(node, f"runs {', '.join(pods[:8]) or 'no pod of this namespace'}"))
    loss = is_loss(resent, worst[0] if worst else 0.0)
    return ResendingNode(node, loss, 0.85 if worst else 0.5, tuple(evidence))
