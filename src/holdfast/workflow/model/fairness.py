"""Fair shares of the workers: where in line a run is put, so that nobody waits for more than his share. Pure.

Start-time fair queueing with a user as the flow and a run as the unit. The line is ordered by `due`, so a place is a
time; one run of a user is one microsecond, the finest that stores keep. Places are the virtual time of the line, not
moments at which anything is due: they only have to rise more slowly than the clock does.

Each priority of a user is a flow of its own. An urgent one is no faster than a normal one, or calling everything urgent
would take from the others: it is another share, beside what the user has in line already.

Source: Goyal, Vin, Cheng, Start-time Fair Queueing, SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast, get_args

from holdfast.errors import InvalidInput

BEGUN = 0.0
"""The place of a run that was begun and let go, by a worker that drains for instance: before all that have not."""
PER_S = 1_000_000
"""Places in a second."""
Priority = Literal["urgent", "normal", "background"]
NORMAL: Priority = "normal"
STRIDES: dict[Priority, int] = {"urgent": 1, "normal": 1, "background": 16}
"""How many places a run of each priority takes: a share is one divided by it."""


def priority_of(given: object) -> Priority:
    """`given` if it is a priority. Raises InvalidInput."""
    if given not in get_args(Priority):
        raise InvalidInput(f"priority: expected one of {', '.join(get_args(Priority))}, saw {given!r:.40}")
    return cast(Priority, given)


def next_place(last: float | None, *, front: float, priority: Priority = NORMAL) -> float:
    """The place of a user's next run: one stride behind his own last one of that priority, but not before the front of
    the line; in the background, not before the end of its first stride.

    So a user who had nothing in line comes in at the front, with whoever is served now, and gains nothing from the
    time in which he asked for nothing; and who has put in many stands with each of them one further back.
    """
    stride = STRIDES[priority]
    behind = 0 if last is None else round(last * PER_S) + stride
    return max(round(front * PER_S) + stride - 1, behind) / PER_S


def front_of(places: Iterable[float | None], *, known: float | None, now: float) -> float:
    """The virtual time: the place of the first in line who has not begun.

    `places`: the first of the line, in order. Where these are all of runs already begun, the front is where it was
    `known` last; an empty line starts anew at `now`, which is behind every place that was ever given.
    """
    looked_at = [place for place in places if place is not None]
    ahead = [place for place in looked_at if place > BEGUN]
    if ahead:
        return min(ahead[0], now)
    return known if looked_at and known is not None else now


def served_together(queue: str, served: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The queues whose runs stand in one line with those of `queue`: what the processes that serve it serve."""
    together = {queue}.union(*(queues for queues in served if queue in queues))
    return tuple(sorted(together))
