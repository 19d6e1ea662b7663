"""How a schedule is declared, as plain facts. `scheduling` says what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from holdfast.clock import utc
from holdfast.names import DEFAULT_TENANT
from holdfast.store.contract.records import Key

SCHEDULE = "schedule"
Missed = Literal["skip", "one", "all"]
Overlap = Literal["allow", "skip"]


class Timing(msgspec.Struct, frozen=True, omit_defaults=True):
    """When something is due: every `every_s` seconds; or at `at` ("09:30") on `days` in the time zone `zone`."""

    every_s: float = 0.0
    at: str = ""
    days: tuple[str, ...] = ()
    zone: str = "UTC"


class Policy(msgspec.Struct, frozen=True):
    """What becomes of missed times, of which at most `missed_max` are made up for, and of runs that would overlap."""

    missed: Missed = "one"
    missed_max: int = 100
    overlap: Overlap = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A declared schedule. `input`: the runs' input, or a function of the due time (an aware datetime)."""

    name: str
    timing: Timing
    policy: Policy
    input: Any = None
    user: str
    tenant: str = DEFAULT_TENANT

    def input_at(self, due_s: float) -> Any:
        """The input of the run of a due time; its ISO text as `due`, where none is declared."""
        if self.input is None:
            return {"due": iso(due_s)}
        return self.input(utc(due_s)) if callable(self.input) else self.input

    def key(self, workflow: str) -> Key:
        """The key of its record."""
        return Key(self.tenant, self.user, SCHEDULE, f"{workflow}/{self.name}")


def iso(time_s: float) -> str:
    """A time in UTC as ISO 8601, to the second."""
    return f"{utc(time_s):%Y-%m-%dT%H:%M:%SZ}"
