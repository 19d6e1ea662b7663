"""What agents of one type have in common: how long a call takes, when it counts as dead, how soon it is well again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from holdfast.context import check_id
from holdfast.errors import InvalidInput
from holdfast.resilience import BreakerOptions, preset

_USUAL = preset("agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentType:
    """How agents of one type are looked after. All times in seconds.

    A call has `timeout_s`, and a lease of `lease_ttl_s` that each sign of life renews (progress, a tool, a beat; None:
    as long as the timeout). Its end is asked for and awaited for `grace_s`; then it is fenced off. Beyond `slow_s` it
    counts as slow. `recovery_s` is the recovery objective: from the last moment at which it was known to be ill to the
    next call that goes well. A breaker whose longest rest (`open_max_s`) is longer could not keep it, and is refused.
    Each agent has `places` calls at once and a queue of `queue_max`.

    Example: `AgentType.of("data", timeout_s=120)`, `AgentType(name="translator", breaker=preset("llm"))`.
    Raises InvalidInput.
    """

    name: str
    breaker: BreakerOptions = _USUAL
    recovery_s: float = 60.0
    timeout_s: float = 300.0
    slow_s: float = 60.0
    lease_ttl_s: float | None = None
    grace_s: float = 1.0
    places: int = 32
    queue_max: int = 1000

    def __post_init__(self) -> None:
        check_id("agent type", self.name)
        for name in ("recovery_s", "timeout_s", "slow_s", "lease_ttl_s", "grace_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InvalidInput(f"agent type {self.name}: expected {name} above 0, saw {value!r}")
        if self.breaker.open_max_s > self.recovery_s:
            raise InvalidInput(
                f"agent type {self.name}: expected a breaker that rests at most as long as its recovery objective of "
                f"{self.recovery_s:g} s, saw {self.breaker.open_max_s:g} s; shorten open_max_s or raise recovery_s"
            )
        if self.places < 1 or self.queue_max < 0:
            raise InvalidInput(f"agent type {self.name}: expected places 1 or more and queue_max 0 or more")

    @classmethod
    def of(cls, name: str, **changes: Any) -> AgentType:
        """A shipped type ("general", "triage", "supervisor", "data", "optimization"), some of it changed."""
        found = TYPES.get(name)
        if found is None:
            raise InvalidInput(f"agent type: expected one of {', '.join(TYPES)} or an AgentType, saw {name!r}")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(changes.keys() - known):
            raise InvalidInput(
                f"agent type {name}: no option {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            )
        return replace(found, **changes)

    @property
    def lease_s(self) -> float:
        """How long a call may be silent."""
        return self.timeout_s if self.lease_ttl_s is None else self.lease_ttl_s


TYPES: Mapping[str, AgentType] = MappingProxyType(
    {
        each.name: each
        for each in (
            AgentType(name="general"),
            # At the door: everybody waits for it, so it is given up soon and has to be back soon.
            AgentType(
                name="triage",
                breaker=preset("agent", slow_s=30.0, open_s=2.0, open_max_s=15.0, probe_ttl_s=30.0, ramp_s=2.0),
                recovery_s=15.0,
                timeout_s=30.0,
                slow_s=5.0,
            ),
            # Decides and waits for others' answers; without it nothing is shared out.
            AgentType(
                name="supervisor",
                breaker=preset("agent", slow_s=60.0, open_s=2.0, open_max_s=20.0, probe_ttl_s=60.0),
                recovery_s=20.0,
                timeout_s=120.0,
                slow_s=15.0,
            ),
            AgentType(
                name="data", breaker=preset("agent", open_max_s=30.0), recovery_s=30.0, timeout_s=300.0, slow_s=30.0
            ),
            # Long work that says how far it is: two silent minutes are a sign.
            AgentType(name="optimization", recovery_s=60.0, timeout_s=900.0, slow_s=300.0, lease_ttl_s=120.0),
        )
    }
)
"""The shipped types. Their breakers are the preset "agent" of `holdfast.preset`, with shorter times at the door."""
