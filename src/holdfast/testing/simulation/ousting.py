"""Whoever stands still at the wrong moment: while he owns a run, or has just claimed one, until another one took it.

A stall of a drawn length ends long before or after another node has taken over, and what the sleeper does then is
refused by what the other one wrote meanwhile. Only who wakes between the other's claim and its first write is held off
by the epoch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.testing.simulation.node import Node


class Ousting:
    """Among `nodes`; `until_s`: when a sleeper wakes in any case (the loop's time); `on_ousted`: hears of each that
    woke because a run was taken from it."""

    def __init__(self, nodes: Sequence[Node], *, until_s: float, on_ousted: Callable[[], None]) -> None:
        self._nodes = nodes
        self._until_s = until_s
        self._on_ousted = on_ousted
        self._about_to: dict[int, None] = {}
        self._asleep: dict[int, str] = {}
        """The process id of each node that stands still, by its number."""

    def now(self, node: Node) -> None:
        """Stand still from now on."""
        if node.is_up:
            self._asleep[node.number] = node.process_id
            node.stall(self._until_s)

    def at_next_claim(self, node: Node) -> None:
        """Stand still as soon as the store has given it a run, before it can do anything with it."""
        self._about_to[node.number] = None

    def claimed(self, owner: str, before: str) -> None:
        """A run was claimed by the process `owner`, and from the process `before`, if that is not ""."""
        for node in self._nodes:
            if before and self._asleep.get(node.number) == before:
                del self._asleep[node.number]
                if node.process_id == before:
                    node.wake()
                    self._on_ousted()
            if node.number in self._about_to and node.process_id == owner:
                del self._about_to[node.number]
                self.now(node)

    def end(self) -> None:
        """Nobody falls asleep any more; who does already may still be ousted."""
        self._about_to.clear()

    def __repr__(self) -> str:
        return f"Ousting(about_to={sorted(self._about_to)}, asleep={sorted(self._asleep)})"
