"""Services that are short of CPU, told apart from those that merely work more because they are asked more."""

from __future__ import annotations

import msgspec

from holdfast_sre.evidence.snapshot import Ref, SignalKind, Snapshot

USE_FACTOR = 2.0
THROTTLED_MIN_S = 0.2
"""Seconds per second that a container had to wait for its quota; less is the everyday business of a tight limit."""
THROTTLED_FACTOR = 2.0


_KINDS: tuple[SignalKind, ...] = ("cpu", "cpu_throttled")


class Load(msgspec.Struct, frozen=True):
    """A service's CPU: how many times more it uses than before, for each request where requests are counted.

    `throttled_s` is the time it had to wait per second, None where it did not have to wait notably longer than before.
    """

    name: str
    factor: float
    throttled_s: float | None
    texts: tuple[str, ...]

    @property
    def is_starved(self) -> bool:
        """Whether it is throttled and works much more than its requests explain."""
        return self.throttled_s is not None and self.factor >= USE_FACTOR


def loads(snapshot: Snapshot) -> list[Load]:
    """The services with a CPU measure or alert, by name."""
    subjects = {signal.subject for kind in _KINDS for signal in snapshot.signals_of(kind)}
    subjects |= {measure.subject for measure in snapshot.measures_of("cpu")}
    names = {subject.name for subject in subjects if subject.kind == "Service"}
    return [_load(snapshot, name) for name in sorted(names)]


def starved(snapshot: Snapshot) -> set[str]:
    """Names of the services that are short of CPU."""
    return {load.name for load in loads(snapshot) if load.is_starved}


def _load(snapshot: Snapshot, name: str) -> Load:
    subject = Ref("Service", name)
    told = [*snapshot.signals_of("cpu"), *snapshot.signals_of("cpu_throttled")]
    texts = [signal.text for signal in told if signal.subject == subject]
    factor = max((signal.factor for signal in snapshot.signals_of("cpu") if signal.subject == subject), default=1.0)
    use = next((item for item in snapshot.measures_of("cpu") if item.subject == subject), None)
    if use is not None and use.normal > 0.0:
        factor = use.current / use.normal
        texts.append(f"CPU: {use.normal:.2f} cores before, {use.current:.2f} now")
    asked = next((item for item in snapshot.measures_of("requests") if item.subject == subject), None)
    if asked is not None and asked.normal > 0.0 and asked.current > asked.normal:
        factor /= asked.current / asked.normal
    return Load(name, factor, _throttled_s(snapshot, subject), tuple(texts))


def _throttled_s(snapshot: Snapshot, subject: Ref) -> float | None:
    waits = next((item for item in snapshot.measures_of("throttled_s") if item.subject == subject), None)
    if waits is not None:
        is_more = waits.current >= max(THROTTLED_MIN_S, THROTTLED_FACTOR * waits.normal)
        return waits.current if is_more else None
    told = [signal.current for signal in snapshot.signals_of("cpu_throttled") if signal.subject == subject]
    return max(told, default=None)
