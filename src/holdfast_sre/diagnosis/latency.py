"""How much later services answer than before, and how much of that the services they call explain.

Measures are taken where there are any; alerts, which tell of deviations only, where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast_sre.diagnosis.causes import Edges, dependencies, reach
from holdfast_sre.evidence.snapshot import Ref, Snapshot

SLOW_MS = 100.0
"""A rise of the latency that is worth a thought."""
SLOW_FACTOR = 1.25
FAINT_MS = 30.0
FAINT_FACTOR = 3.0
"""What counts where no service is slow by SLOW_MS: small, but a multiple of what was normal."""
LATE_MS = 1000.0
"""A latency beyond what a busy CPU brings about."""
EXPLAINED_SHARE = 0.2
"""A callee explains its caller's rise from this share of it on: a caller may call it a few times in a row."""
SILENT_SHARE = 0.1
"""A service that gets less than this share of its requests does not answer any more."""


class Rise(msgspec.Struct, frozen=True):
    """How a service's latency rose, at the percentile where it rose most."""

    name: str
    normal_ms: float
    current_ms: float
    percentile: int = 0

    @property
    def rise_ms(self) -> float:
        """The difference."""
        return self.current_ms - self.normal_ms

    @property
    def text(self) -> str:
        """For people."""
        return f"p{self.percentile} of the latency: {self.normal_ms:.0f} ms before, {self.current_ms:.0f} ms now"


def rises(snapshot: Snapshot) -> dict[str, Rise]:
    """The services that answer notably later than before, by name."""
    found: dict[str, Rise] = {}
    for rise in (*_measured(snapshot), *_alerted(snapshot)):
        best = found.get(rise.name)
        if best is None or rise.rise_ms > best.rise_ms:
            found[rise.name] = rise
    return _above(found, SLOW_MS, SLOW_FACTOR) or _above(found, FAINT_MS, FAINT_FACTOR)


def _above(found: Mapping[str, Rise], least_ms: float, factor: float) -> dict[str, Rise]:
    return {
        name: rise
        for name, rise in sorted(found.items())
        if rise.rise_ms >= least_ms and rise.current_ms >= factor * rise.normal_ms
    }


def callees(snapshot: Snapshot) -> Edges:
    """Who calls whom: as recorded, or where nothing was recorded by the addresses in the settings."""
    return {name: set(below) for name, below in snapshot.calls.items()} or dependencies(snapshot)


def _measured(snapshot: Snapshot) -> list[Rise]:
    return [
        Rise(measure.subject.name, measure.normal, measure.current, measure.percentile)
        for measure in snapshot.measures_of("latency_ms")
        if measure.subject.kind == "Service"
    ]


def _alerted(snapshot: Snapshot) -> list[Rise]:
    return [
        Rise(signal.subject.name, signal.normal or 0.0, signal.current, signal.percentile)
        for signal in snapshot.signals_of("latency")
        if signal.subject.kind == "Service"
    ]


def explained_share(edges: Edges, slow: Mapping[str, Rise], name: str) -> float:
    """The largest rise among the services that one calls, directly or not, as a share of its own."""
    below = [slow[callee].rise_ms for callee in reach(edges, name) if callee in slow]
    return max(below, default=0.0) / slow[name].rise_ms


def unexplained(snapshot: Snapshot, slow: Mapping[str, Rise]) -> list[Rise]:
    """The slow services that nothing they call explains, the slowest first."""
    edges = callees(snapshot) if slow else {}
    left = [rise for name, rise in slow.items() if explained_share(edges, slow, name) < EXPLAINED_SHARE]
    return sorted(left, key=lambda rise: (-rise.rise_ms, rise.name))


def packets_per_request(snapshot: Snapshot, name: str) -> float | None:
    """How many times more packets a request of the service takes than before; None where that was not measured.

    A sender that waits too long for an answer sends again, so it grows where packets are late or lost.
    """
    subject = Ref("Service", name)
    totals = [0.0, 0.0]
    for kind in ("packets_in", "packets_out"):
        for measure in snapshot.measures_of(kind):
            if measure.subject == subject:
                totals[0] += measure.normal
                totals[1] += measure.current
    rates = next((item for item in snapshot.measures_of("requests") if item.subject == subject), None)
    if rates is None or not rates.normal or not totals[0]:
        return None
    per_request = totals[1] / max(rates.current, SILENT_SHARE * rates.normal)
    return per_request / (totals[0] / rates.normal)


def silent(snapshot: Snapshot) -> list[str]:
    """Services that got requests before and get hardly any now."""
    return sorted(
        measure.subject.name
        for measure in snapshot.measures_of("requests")
        if measure.normal > 0.0 and measure.current < SILENT_SHARE * measure.normal
    )
