"""Whether a process that lives long stays as it is: what it has once it is warm is held against what it has in the end.
Pure.

While a process warms up it grows by right: connections open, code is loaded, caches fill. After that it may not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

JUDGED_FROM_S = 300.0
"""What the processes of a shorter soak have is reported, not judged: a process that has just begun grows."""
WARM_UP_SHARE = 0.25
"""Of the soak. Not judged."""
SAMPLES_MIN = 16
"""Of a process, or nothing is said about it."""
GROWTH_MAX: Mapping[str, float] = {"memory_mib": 4.0, "descriptors": 8.0, "connections": 8.0, "runs": 50.0}
"""What each figure may have grown by, from the warm process to the end, however long the soak was: memory that stays
small in an hour stays small in a year. Eight is what a pool of connections may open when it is asked for more; more
runs at work than that are a machine that cannot keep up, whose memory says nothing."""


class Sample(NamedTuple):
    """What one process had at a moment (seconds since the soak began). `runs`: at work there."""

    by: str
    at_s: float
    memory_mib: float
    descriptors: int
    connections: int
    runs: int = 0


class Growth(NamedTuple):
    """How one figure of a process went: its first sample, the median of the quarter after the warm-up, that of the last
    quarter, the most there ever was, and the median slope after the warm-up. `end_max`: the bound of `end`."""

    by: str
    what: str
    start: float
    warm: float
    end: float
    peak: float
    slope_per_hour: float
    end_max: float

    @property
    def is_within(self) -> bool:
        return self.end <= self.end_max


class Most(NamedTuple):
    """The most that any of the processes had that did not live from the beginning to the end."""

    processes: int
    memory_mib: float
    descriptors: int
    connections: int


def growths(samples: Iterable[Sample], *, lasted_s: float) -> list[Growth]:
    """How each figure went in each process that was there from the beginning to the end."""
    warm_s = lasted_s * WARM_UP_SHARE
    found = []
    for name, own in _by_process(samples).items():
        warmed = [sample for sample in own if sample.at_s >= warm_s]
        if _is_long(own, lasted_s) and len(warmed) >= SAMPLES_MIN:
            found += [_growth(name, what, own, warmed) for what in GROWTH_MAX]
    return found


def most_of_the_others(samples: Iterable[Sample], *, lasted_s: float) -> Most:
    """What the processes had at most that were killed on the way."""
    short = [own for own in _by_process(samples).values() if not _is_long(own, lasted_s)]
    return Most(
        len(short),
        max((sample.memory_mib for own in short for sample in own), default=0.0),
        max((sample.descriptors for own in short for sample in own), default=0),
        max((sample.connections for own in short for sample in own), default=0),
    )


def leaks(samples: Iterable[Sample], *, lasted_s: float) -> Iterable[str]:
    """What grew beyond its bound, where the soak was long enough to tell."""
    for growth in growths(samples, lasted_s=lasted_s) if lasted_s >= JUDGED_FROM_S else ():
        if not growth.is_within:
            yield (
                f"process {growth.by}: {growth.what} grew from {growth.warm:.1f} when it was warm to {growth.end:.1f}, "
                f"{growth.slope_per_hour:+.1f} an hour; expected at most {growth.end_max:.1f}"
            )


def _by_process(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    by: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by[sample.by].append(sample)
    return by


def _is_long(own: Sequence[Sample], lasted_s: float) -> bool:
    """Whether the process was there from before the warm-up was over until the end."""
    return own[0].at_s < lasted_s * WARM_UP_SHARE and own[-1].at_s - own[0].at_s >= lasted_s * (1 - 2 * WARM_UP_SHARE)


def _growth(by: str, what: str, own: Sequence[Sample], warmed: Sequence[Sample]) -> Growth:
    quarter = max(len(warmed) // 4, 1)
    points = [(sample.at_s, float(getattr(sample, what))) for sample in warmed]
    values = [value for _, value in points]
    warm, end = _median(values[:quarter]), _median(values[-quarter:])
    pairs = combinations(points, 2)
    slopes = [(after - before) / (late - early) for (early, before), (late, after) in pairs if late > early]
    return Growth(
        by,
        what,
        float(getattr(own[0], what)),
        warm,
        end,
        max(float(getattr(sample, what)) for sample in own),
        _median(slopes or [0.0]) * 3600,
        warm + GROWTH_MAX[what],
    )


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
