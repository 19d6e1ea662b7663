"""The health of an engine: what it can do now, in a form that people and probes can read. Watches, never steers."""

from __future__ import annotations

from holdfast.observe.rules import Facts, Health, judge
from holdfast.resilience.dependencies import Dependencies, DependencyView
from holdfast.resilience.rules import in_words
from holdfast.store.contract.beyond import remedy_of, weakness_of
from holdfast.workflow.engine import Engine


def health_of(engine: Engine) -> Health:
    """The health of an open engine. No I/O: cheap enough for every probe. Raises Unavailable if it is closed."""
    inside = engine.inside
    ailing, well = _dependencies(engine.dependencies)
    names = inside.runtime.tasks.names()
    return judge(
        Facts(
            store_ailment=inside.runtime.store.ailment(),
            store_weakness=weakness_of(inside.runtime.store),
            store_remedy=remedy_of(inside.runtime.store),
            durability=inside.runtime.store.capabilities.durability,
            lease_left_s=inside.ownership.lease_left_s() if inside.ownership.is_shared else None,
            sweep_problem=inside.recovery.last_problem,
            is_recovery_running=any(name.endswith(":recovery") for name in names),
            active_runs=len(inside.crew),
            free_places=inside.crew.free,
            recovered=str(inside.runtime.silences.spread() or ""),
            suspects_here=inside.recovery.quarantine.why_not if inside.recovery.quarantine is not None else None,
            clock_ahead_s=inside.runtime.clock.time_s() - inside.runtime.store.now_s(),
            dependencies=ailing,
            dependencies_well=well,
            problems=dict(inside.problems),
        )
    )


def _dependencies(dependencies: Dependencies | None) -> tuple[dict[str, str], int]:
    """How those are that are not well, in words; and how many are."""
    views = [] if dependencies is None else dependencies.look()
    ailing = {view.dependency.name: _words(view) for view in views if view.standing.health != "well"}
    if dependencies is not None and dependencies.is_self_suspect:
        ailing["all"] = "so much is ill at once that it is likelier this process, or its network"
    return ailing, sum(view.standing.health == "well" for view in views)


def _words(view: DependencyView) -> str:
    words = [in_words(view.standing.health, view.standing.by)]
    if view.standing.health == "ill":
        words.append(view.breaker.reason)
    if view.ill_for_s is not None:
        words.append(f"for {view.ill_for_s:.0f} s, its objective is {view.dependency.objective_s:g} s")
    return "; ".join(words)
