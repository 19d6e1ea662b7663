"""Whoever stands still at the wrong moment: while he owns a run, until another one has taken it.

A stall of a drawn length ends long before or after another node has taken over, and what the sleeper does then is
refused by what the other one wrote meanwhile. Only who wakes between the other's claim and its first write is held off
by the epoch alone; and only who wakes with the other already at work comes to the world with a token that is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from holdfast.testing.simulation.node import Node

Moment = Literal["now", "claim", "token"]
"""When a node falls asleep: at once; as the store gives it a run, before it can do anything with it; as it comes to the
world with the token of a lock."""


class _Sleep(NamedTuple):
    process_id: str
    late_s: float


class Ousting:
    """Among `nodes`; `until_s`: when a sleeper wakes in any case (the loop's time); `on_ousted`: hears of each that
    woke because a run was taken from it."""

    def __init__(self, nodes: Sequence[Node], *, until_s: float, on_ousted: Callable[[], None]) -> None:
        self._nodes = nodes
        self._until_s = until_s
        self._on_ousted = on_ousted
        self._about_to: dict[tuple[int, Moment], float] = {}
        self._asleep: dict[int, _Sleep] = {}

    def plan(self, node: Node, moment: Moment, *, late_s: float = 0.0) -> None:
        """Let it fall asleep at that moment, and wake `late_s` seconds after a run was taken from it."""
        if moment == "now":
            self._fall_asleep(node, late_s)
        else:
            self._about_to[node.number, moment] = late_s

    def claimed(self, owner: str, before: str) -> None:
        """A run was claimed by the process `owner`, and from the process `before`, if that is not ""."""
        for node in self._nodes:
            sleep = self._asleep.get(node.number)
            if before and sleep is not None and sleep.process_id == before:
                del self._asleep[node.number]
                if node.process_id == before:
                    asyncio.get_running_loop().call_later(sleep.late_s, node.wake)
                    self._on_ousted()
        self._if_about_to("claim", lambda node: node.process_id == owner)

    def shown(self) -> None:
        """The running process comes to the world with a token."""
        self._if_about_to("token", lambda node: node.is_running)

    def end(self) -> None:
        """Nobody falls asleep any more; who sleeps already may still be ousted."""
        self._about_to.clear()

    def _if_about_to(self, moment: Moment, is_meant: Callable[[Node], bool]) -> None:
        for node in self._nodes:
            if (node.number, moment) in self._about_to and is_meant(node):
                self._fall_asleep(node, self._about_to.pop((node.number, moment)))

    def _fall_asleep(self, node: Node, late_s: float) -> None:
        if node.is_up:
            self._asleep[node.number] = _Sleep(node.process_id, late_s)
            node.stall(self._until_s)

    def __repr__(self) -> str:
        return f"Ousting(about_to={sorted(self._about_to)}, asleep={sorted(self._asleep)})"
