"""What a mirror counts: how far the cache is behind the truth, and how reads were answered."""

from __future__ import annotations

import msgspec


class SyncFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How a cache keeps up with its truth. Counts are of this process, since it opened the store.

    `lag_s`: seconds from the last batch's COMMIT to its put, or since the oldest COMMIT that still waits, whichever is
    more. `queued`: records that wait. `hits`, `misses`: keys looked up that the cache could answer, or not; `bypasses`:
    keys that were not looked up. `puts`: entries kept; `outdated`: entries refused, because something newer was there.
    `losses`: how often the cache was lost; `raises`: how often this process raised the generation beside its commits.
    `weakness`: why the cache is not used now, or None.
    """

    lag_s: float = 0.0
    queued: int = 0
    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    puts: int = 0
    outdated: int = 0
    losses: int = 0
    raises: int = 0
    generation: int = 0
    weakness: str | None = None


class Tally:
    """The counts as they grow."""

    def __init__(self) -> None:
        self.lag_s = 0.0
        self.hits = self.misses = self.bypasses = 0
        self.puts = self.outdated = 0
        self.losses = self.raises = 0

    def __repr__(self) -> str:
        return f"Tally(hits={self.hits}, misses={self.misses}, bypasses={self.bypasses}, puts={self.puts})"
