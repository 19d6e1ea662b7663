"""The health of an engine: what it can do now, in a form that people and probes can read. Watches, never steers."""

from __future__ import annotations

from holdfast.observe.rules import Facts, Health, judge
from holdfast.store.recent import weakness_of
from holdfast.workflow.engine import Engine


def health_of(engine: Engine) -> Health:
    """The health of an open engine. No I/O: cheap enough for every probe. Raises Unavailable if it is closed."""
    inside = engine.inside
    names = inside.runtime.tasks.names()
    return judge(
        Facts(
            store_ailment=inside.runtime.store.ailment(),
            store_weakness=weakness_of(inside.runtime.store),
            durability=inside.runtime.store.capabilities.durability,
            lease_left_s=inside.ownership.lease_left_s() if inside.ownership.is_shared else None,
            sweep_problem=inside.recovery.last_problem,
            is_recovery_running=any(name.endswith(":recovery") for name in names),
            active_runs=len(inside.crew),
            free_places=inside.crew.free,
            recovered=str(inside.runtime.silences.spread() or ""),
            suspects_here=inside.recovery.quarantine.why_not if inside.recovery.quarantine is not None else None,
            clock_ahead_s=inside.runtime.clock.time_s() - inside.runtime.store.now_s(),
            problems=dict(inside.problems),
        )
    )
