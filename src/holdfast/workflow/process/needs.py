"""What states need, asked of the breakers: whether a handler may begin, and whether what it raised is their fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from holdfast.chart import shown
from holdfast.errors import BreakerOpen, InvalidDefinition
from holdfast.resilience.blame import blamed_in
from holdfast.resilience.dependencies import Dependencies
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.parking import look_at
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import Leaf, Run


class Needs:
    """For one engine; `now_s` is the store's time. Without dependencies nothing ever parks."""

    def __init__(self, dependencies: Dependencies | None, now_s: Callable[[], float]) -> None:
        self.dependencies = dependencies
        self._now_s = now_s
        self.on_parked: Callable[[str], None] = lambda name: None
        """Told the dependency that a run of this engine comes to wait for."""

    def stop(self, built: Built, path: str, leaf: Leaf, error: BaseException | None = None) -> on.Parked | None:
        """What parks the leaf now: something that its state needs is not well, or what its handler raised (`error`) is
        the fault of something that is not. None where it may go on, or where the error is its own."""
        if self.dependencies is None:
            return None
        needs = built.spec_of(path).needs
        if error is not None:
            needs = tuple(name for name in blamed_in(error) if name in self.dependencies.graph.nodes)
        stop = self.dependencies.stops(needs)
        if stop is None and needs and isinstance(error, BreakerOpen):
            stop = error  # it is well by now, or almost: its turn comes with the others'
        return None if stop is None else self._parked(path, leaf, stop)

    def asked(self, built: Built, path: str, leaf: Leaf) -> on.Occurrence:
        """What comes of a leaf that asks for places under limits: it stands aside where what it needs is not well."""
        return self.stop(built, path, leaf) or on.PlaceAsked(leaf=path, visit=leaf.visit)

    def is_stopped(self, built: Built, path: str) -> bool:
        """Whether a handler that began now would be parked at once: it is to take nothing that is spent by that."""
        return self.dependencies is not None and self.dependencies.stops(built.spec_of(path).needs) is not None

    def stop_alone(self, built: Built, path: str, leaf: Leaf) -> on.Parked | None:
        """The same for a parked leaf that nobody let go, but that looks by itself: while its dependency is on its way
        back those go first whose turn it is."""
        stop = self.stop(built, path, leaf)
        if stop is not None or self.dependencies is None or leaf.parked is None:
            return stop
        name = leaf.parked.on
        is_known = name in self.dependencies.graph.nodes
        if not is_known or self.dependencies.breaker(name).look().pace is None:
            return None
        coming = BreakerOpen(f"{name} is coming back: its turn comes", breaker=name, retry_after_s=None)
        return self._parked(path, leaf, coming)

    def _parked(self, path: str, leaf: Leaf, stop: BreakerOpen) -> on.Parked:
        now = self._now_s()
        since = now if leaf.parked is None else leaf.parked.since
        blamed = stop.facts.get("blamed") or stop.facts["breaker"]
        self.on_parked(blamed)
        at = look_at(now, since=since, retry_after_s=stop.facts.get("retry_after_s"))
        return on.Parked(leaf=path, visit=leaf.visit, on=blamed, reason=stop.message, look_at=at)

    def news(self, built: Built, run: Run) -> Iterator[on.Occurrence]:
        """Of what is parked, what can go on now, or waits for something else by now."""
        for path, leaf in run.leaves.items():
            if leaf.parked is not None:
                parked = self.stop(built, path, leaf)
                if parked is None or parked.on != leaf.parked.on:
                    yield parked or on.Unparked(leaf=path, visit=leaf.visit)


def dependencies_of(declared: Iterable[Dependencies | None], given: Dependencies | None) -> Dependencies | None:
    """What an engine was `given`, else what its workflows declare. Raises InvalidDefinition where they differ: who is
    to blame, and who is probed, must be known in one place."""
    found = {id(one): one for one in (given, *declared) if one is not None}
    if len(found) > 1:
        raise InvalidDefinition(
            f"engine: expected the same dependencies for all workflows, saw {len(found)} different ones; "
            "declare all in one Dependencies(...)"
        )
    return next(iter(found.values()), None)


def check_needs(workflows: Iterable[Built], dependencies: Dependencies | None) -> None:
    """Raises InvalidDefinition where a state needs what is not declared."""
    for built in workflows:
        for spec in built.specs.values():
            for name in spec.needs:
                who = f"workflow {built.name}: state {shown(spec.path)!r} needs {name!r}"
                if dependencies is None:
                    raise InvalidDefinition(
                        f"{who}, but there are no dependencies; pass dependencies= to the workflow or the engine"
                    )
                if name not in dependencies.graph.nodes:
                    known = ", ".join(dependencies.graph.order) or "none"
                    raise InvalidDefinition(f"{who}, which is not declared; there are {known}")
