"""Services that are short of CPU, told apart from those that merely work more because they are asked more."""

from __future__ import annotations

import msgspec

from holdfast_sre.evidence.snapshot import Ref, SignalKind, Snapshot

USE_FACTOR = 2.0
THROTTLED_MIN_S = 0.2
"""Seconds per second that a container had to wait for its quota; less is the everyday business of a tight limit."""
THROTTLED_FACTOR = 2.0
PARCHED_S = 0.4
PARCHED_FACTOR = 5.0
PARCHED_USE_FACTOR = 1.2
"""Who waits so much, and so many times longer than before, starves even if its limit lets it use only a little more."""


_KINDS: tuple[SignalKind, ...] = ("cpu", "cpu_throttled")


class Load(msgspec.Struct, frozen=True):
    """A service's CPU: how many times more it uses than before, for each request where requests are counted.

    `throttled_s` is the time it had to wait per second, None where it did not have to wait notably longer than before;
    `wait_factor` how many times longer than before, 1 where that is not known.
    """

    name: str
    factor: float
    throttled_s: float | None
    wait_factor: float
    texts: tuple[str, ...]

    @property
    def is_starved(self) -> bool:
        """Whether it is throttled and works much more than its requests explain."""
        if self.throttled_s is None:
            return False
        is_parched = self.throttled_s >= PARCHED_S and self.wait_factor >= PARCHED_FACTOR
        return self.factor >= (PARCHED_USE_FACTOR if is_parched else USE_FACTOR)


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
    throttled_s, wait_factor = _throttled(snapshot, subject)
    return Load(name, factor, throttled_s, wait_factor, tuple(texts))


def _throttled(snapshot: Snapshot, subject: Ref) -> tuple[float | None, float]:
    waits = next((item for item in snapshot.measures_of("throttled_s") if item.subject == subject), None)
    if waits is not None:
        factor = waits.current / max(waits.normal, 0.01)
        is_more = waits.current >= THROTTLED_MIN_S and factor >= THROTTLED_FACTOR
        return (waits.current if is_more else None), factor
    told = [signal.current for signal in snapshot.signals_of("cpu_throttled") if signal.subject == subject]
    return max(told, default=None), 1.0
