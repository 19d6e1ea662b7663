"""Where a run stands in its chart: a frozen value that is JSON at rest.

Only the active leaves are kept; their ancestors follow from the paths. Restoring checks everything against the chart
and repairs nothing: a configuration that is not legal is refused with the state's path.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast import codec
from holdfast.chart import legality
from holdfast.chart.definition import ChartDef
from holdfast.chart.legality import Problem
from holdfast.chart.tree import Chart
from holdfast.errors import Corrupt, InvalidDefinition, InvalidInput


class Timer(msgspec.Struct, frozen=True):
    """A timer to set: send `event` after `after_s` seconds, if `state` is then still in its visit number `visit`."""

    state: str
    event: str
    after_s: float
    visit: int


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The active leaves in document order, what history states remember, and how often each state was entered.

    `visits` numbers a state's entries from 1 and is kept after it is left, so that a visit is never mistaken for
    an earlier one. `is_done` says that a top-level final state was reached.
    """

    leaves: tuple[str, ...]
    history: Mapping[str, tuple[str, ...]]
    visits: Mapping[str, int]
    chart_hash: str
    is_done: bool = False

    def to_json(self) -> bytes:
        """This configuration as JSON, for `restore`."""
        return codec.encode(self, what="configuration")

    @classmethod
    def from_json(cls, data: bytes) -> Configuration:
        """The value that `to_json` wrote, its shape checked but no chart asked. Raises Corrupt on any other shape."""
        try:
            return codec.decode(data, cls, what="configuration")
        except InvalidInput as error:
            raise Corrupt(error.message, what="configuration") from error

    def is_active(self, path: str) -> bool:
        """Whether the state at `path` is active: a leaf, or around one."""
        inside = path + "."
        return any(leaf == path or leaf.startswith(inside) for leaf in self.leaves)

    def __repr__(self) -> str:
        return f"Configuration({' | '.join(self.leaves)}{', done' if self.is_done else ''})"


def restore(chart: Chart, data: bytes) -> Configuration:
    """The configuration that `to_json` wrote under this very chart.

    Raises InvalidDefinition where it is of another chart hash (see `adopt`), Corrupt where it is not legal.
    """
    configuration = Configuration.from_json(data)
    require_chart(chart, configuration)
    if problem := _problem(chart, configuration):
        raise _corrupt(chart, problem)
    return configuration


def adopt(chart: Chart, configuration: Configuration) -> Configuration:
    """The same configuration under another hash of its chart, where it is legal there as it stands.

    Timers that are already set stay as they are. Visit numbers of states that are gone are kept, so that a state
    that comes back goes on counting. Raises InvalidDefinition, naming the state that is not legal.
    """
    leaves = tuple(sorted(configuration.leaves, key=lambda path: chart.numbers.get(path, 0)))
    adopted = msgspec.structs.replace(configuration, leaves=leaves, chart_hash=chart.hash)
    if problem := _problem(chart, adopted):
        raise InvalidDefinition(
            f"chart {chart.name} version {chart.version} cannot adopt a configuration: {problem.text}; "
            "keep that state, or raise the version and map it",
            chart=chart.name,
            state=problem.state,
        )
    return adopted


def adopts_all(chart: Chart, older: ChartDef) -> bool:
    """Whether `adopt` takes every configuration that is legal in `older`: all its states are there, where and as they
    were. False means that it depends on the configuration."""
    return legality.embeds(older.children, chart.definition.children)


def require_chart(chart: Chart, configuration: Configuration) -> None:
    """Raises InvalidDefinition where the configuration belongs to another chart."""
    if configuration.chart_hash != chart.hash:
        raise InvalidDefinition(
            f"chart {chart.name} version {chart.version}: expected a configuration of hash {chart.hash[:12]}, "
            f"saw one of {configuration.chart_hash[:12]} at {', '.join(configuration.leaves)}; adopt it first",
            chart=chart.name,
            expected=chart.hash,
            seen=configuration.chart_hash,
            state=configuration.leaves[0] if configuration.leaves else "",
        )


def accepts_timer(configuration: Configuration, timer: Timer) -> bool:
    """Whether a timer that went off still counts: its state is active, in the visit in which it was set."""
    return configuration.visits.get(timer.state) == timer.visit and configuration.is_active(timer.state)


def active_states(chart: Chart, configuration: Configuration) -> int:
    """The set of active states. Raises Corrupt where the leaves are not a legal configuration."""
    active = legality.active_states(chart, configuration.leaves)
    if isinstance(active, Problem):
        raise _corrupt(chart, active)
    return active


def _problem(chart: Chart, configuration: Configuration) -> Problem | None:
    return legality.problem_of(
        chart, configuration.leaves, configuration.history, configuration.visits, is_done=configuration.is_done
    )


def _corrupt(chart: Chart, problem: Problem) -> Corrupt:
    return Corrupt(f"configuration of chart {chart.name}: {problem.text}", chart=chart.name, state=problem.state)
