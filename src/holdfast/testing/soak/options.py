"""What is asked of a soak, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from holdfast.errors import InvalidInput
from holdfast.testing.soak.growth import Growth, Most

StoreKind = Literal["sqlite", "postgres", "mirror"]
STORES: tuple[StoreKind, ...] = get_args(StoreKind)
PLANTS = ("", "keyless")
SETTLE_LEASES = 30.0
"""How many leases after the last torment everything must have come to rest."""
SETTLE_MORE_S = 30.0
"""And the time in which a client notices by itself that nobody answers."""


@dataclass(frozen=True, kw_only=True)
class SoakOptions:
    """`minutes` of torment for `processes` on a `store`, everything drawn from `seed`.

    `customers`: how many runs each process keeps under way. `heads_max`: rows that a process on PostgreSQL remembers,
    so few that it has them all while it warms up: what grows afterwards is not this cache. `folder`: where the evidence
    is kept; without one it is a new temporary folder, removed when nothing was found. `plant`: a fault that the
    processes have on purpose
    ("keyless": effects without their idempotency key), to see that it is found. Raises InvalidInput.
    """

    minutes: float = 1.0
    processes: int = 3
    seed: int = 1
    store: StoreKind = "mirror"
    lease_ttl_s: float = 2.0
    customers: int = 6
    heads_max: int = 1000
    folder: Path | None = None
    plant: str = ""

    def __post_init__(self) -> None:
        if self.store not in STORES:
            raise InvalidInput(f"soak: expected a store of {', '.join(STORES)}, saw {self.store!r}")
        if self.minutes <= 0:
            raise InvalidInput(f"soak: expected minutes above 0, saw {self.minutes:g}")
        if self.processes < 2:
            raise InvalidInput(
                f"soak: expected at least 2 processes, saw {self.processes}: one of them is never killed"
            )
        if self.heads_max < 1:
            raise InvalidInput(f"soak: expected heads_max >= 1, saw {self.heads_max}")
        if self.customers < 1 or self.lease_ttl_s < 0.5:
            raise InvalidInput(
                f"soak: expected customers >= 1 and lease_ttl_s >= 0.5, saw {self.customers} and {self.lease_ttl_s:g}"
            )
        if self.plant not in PLANTS:
            raise InvalidInput(f"soak: expected a planted fault of {', '.join(PLANTS[1:])}, saw {self.plant!r}")

    @property
    def settle_s(self) -> float:
        """Within how many seconds everything must have come to rest."""
        return SETTLE_LEASES * self.lease_ttl_s + SETTLE_MORE_S


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is told. `by`: its name in the ledger; `plant`: a fault of its own that the audits must find."""

    by: str
    url: str
    ledger: str
    seed: int
    customers: int
    lease_ttl_s: float
    heartbeat_s: float
    plant: str = ""


def live_file(folder: Path, by: str) -> Path:
    """Where a process tells how many runs it works on."""
    return folder / f"process-{by}.live"


class SoakReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak did and found. `torments`: how often each was inflicted; `runs` by how they stand in the end;
    `effects` that happened, and those `presented` again under a key that was known; `settled_s`: how long all took to
    come to rest, None where it did not within `settle_s`; `growth`: how memory, descriptors and connections went in the
    process that is never killed; `others`: the most that those had that were; `found`: the faults, by audit."""

    seed: int
    store: str
    lasted_s: float
    processes: int
    torments: Mapping[str, int]
    runs: Mapping[str, int]
    effects: int
    repeated: int
    decisions: int
    settled_s: float | None
    settle_s: float
    growth: Sequence[Growth]
    others: Most
    found: Mapping[str, Sequence[str]]
    folder: str

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found
