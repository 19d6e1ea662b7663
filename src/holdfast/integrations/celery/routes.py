"""Which queue the message about a run goes to: one for each class of resource that handlers need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast import InvalidInput, UnclaimedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The runs of a resource queue: those of `workflow` (None: of any), that were started with all of `labels`.

    Example: `CeleryExecutor(..., queues={"gpu": Route(workflow="train"), "eu": Route(labels={"region": "eu"})})`.
    """

    workflow: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workflow is None and not self.labels:
            raise InvalidInput(
                "route: expected a workflow, labels, or both, saw neither; the default queue has the rest"
            )

    def takes(self, run: UnclaimedRun) -> bool:
        """Whether `run` is to go this way."""
        return self.workflow in (None, run.workflow) and self.labels.items() <= run.labels.items()


def queue_for(run: UnclaimedRun, routes: Mapping[str, Route], *, default: str, suspects: str | None = None) -> str:
    """The queue of the first route that takes `run`, else `default`; of a suspect `suspects`, where there is one."""
    if run.is_suspect and suspects is not None:
        return suspects
    return next((queue for queue, route in routes.items() if route.takes(run)), default)


def check_routes(
    routes: Mapping[str, Route], *, default: str, workflows: frozenset[str], suspects: str | None = None
) -> None:
    """Raises InvalidInput for a route to the default queue, or of a workflow that is not among `workflows`, and where
    the suspects' queue is that of others."""
    if suspects is not None and suspects in (default, *routes):
        raise InvalidInput(f"queue {suspects}: suspects are to have a queue of their own, and it has other runs, too")
    for queue, route in routes.items():
        if queue == default:
            raise InvalidInput(f"queue {queue}: it has the runs that no route takes; give the route another name")
        if route.workflow is not None and route.workflow not in workflows:
            known = ", ".join(sorted(workflows))
            raise InvalidInput(f"queue {queue}: expected a workflow of this executor ({known}), saw {route.workflow!r}")
