"""When the message about a run that nobody works on is sent, again or at last: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar


class Left(Protocol):
    """What the decision needs to know of a run that nobody works on; see `holdfast.UnclaimedRun`."""

    @property
    def id(self) -> str: ...

    @property
    def is_new(self) -> bool: ...

    @property
    def since(self) -> float: ...

    @property
    def mark(self) -> str: ...


LeftT = TypeVar("LeftT", bound=Left)


class Sent(NamedTuple):
    """The reaper's messages about one run as of `mark`: how many, and when the last went out (epoch seconds)."""

    mark: str
    times: int
    at: float


def is_to_send(left: Left, sent: Sent | None, *, now: float, patience_s: float, patience_max_s: float) -> bool:
    """Whether a message about `left` is to be sent now; `sent`: what went out about it as it stands.

    At once where nobody else can have sent one; else after `patience_s` seconds, then after twice as long each time, up
    to `patience_max_s`: where all workers are full, messages must not pile up without bound.
    """
    if sent is None:
        return not left.is_new or now - left.since >= patience_s
    pause_s = patience_s * 2.0 ** min(sent.times - 1, 30)
    return now - sent.at >= min(pause_s, patience_max_s)


def select(
    found: Iterable[LeftT], known: Mapping[str, Sent], *, now: float, patience_s: float, patience_max_s: float
) -> tuple[list[LeftT], dict[str, Sent]]:
    """Of the runs that nobody works on those to send a message about now, each once; and what to know at the next
    look: nothing of those that somebody took meanwhile."""
    chosen: list[LeftT] = []
    after: dict[str, Sent] = {}
    for left in {left.id: left for left in found}.values():
        sent = known.get(left.id)
        if sent is not None and sent.mark != left.mark:
            sent = None
        if is_to_send(left, sent, now=now, patience_s=patience_s, patience_max_s=patience_max_s):
            chosen.append(left)
            after[left.id] = Sent(left.mark, 1 if sent is None else sent.times + 1, now)
        elif sent is not None:
            after[left.id] = sent
    return chosen, after
