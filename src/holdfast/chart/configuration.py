"""Where a run stands in its chart: a frozen value that is JSON at rest.

Only the active leaves are kept; their ancestors follow from the paths. Restoring checks everything against the chart
and repairs nothing: a configuration that is not legal is refused with the state's path.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast import codec
from holdfast.chart.tree import Chart, Node, bits, remember
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
        path, text = problem
        raise Corrupt(f"configuration of chart {chart.name}: {text}", chart=chart.name, state=path)
    return configuration


def adopt(chart: Chart, configuration: Configuration) -> Configuration:
    """The same configuration under another hash of its chart, where it is legal there as it stands.

    Timers that are already set stay as they are. Visit numbers of states that are gone are kept, so that a state
    that comes back goes on counting. Raises InvalidDefinition, naming the state that is not legal.
    """
    leaves = tuple(sorted(configuration.leaves, key=lambda path: chart.numbers.get(path, 0)))
    adopted = msgspec.structs.replace(configuration, leaves=leaves, chart_hash=chart.hash)
    if problem := _problem(chart, adopted):
        path, text = problem
        raise InvalidDefinition(
            f"chart {chart.name} version {chart.version} cannot adopt a configuration: {text}; "
            "keep that state, or raise the version and map it",
            chart=chart.name,
            state=path,
        )
    return adopted


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
    known = chart.memo.active.get(configuration.leaves)
    if known is not None:
        return known
    if problem := _leaf_problem(chart, configuration.leaves):
        path, text = problem
        raise Corrupt(f"configuration of chart {chart.name}: {text}", chart=chart.name, state=path)
    active = _closure(chart, configuration.leaves)
    remember(chart.memo.active, configuration.leaves, active)
    return active


Problem = tuple[str, str]
"""What is not legal: the state's path and a sentence."""


def _problem(chart: Chart, configuration: Configuration) -> Problem | None:
    if problem := _leaf_problem(chart, configuration.leaves):
        return problem
    for number in bits(_closure(chart, configuration.leaves) & ~1):
        path = chart.nodes[number].path
        if configuration.visits.get(path, 0) < 1:
            return path, f"expected a visit number of the active state {path!r}, saw {configuration.visits.get(path)}"
    is_done = chart.nodes[chart.numbers[configuration.leaves[0]]].kind == "final" and "." not in configuration.leaves[0]
    if is_done != configuration.is_done:
        return configuration.leaves[0], f"expected is_done {is_done} at {configuration.leaves[0]!r}, saw the opposite"
    for path, remembered in configuration.history.items():
        if problem := _history_problem(chart, path, remembered):
            return problem
    return None


def _leaf_problem(chart: Chart, leaves: tuple[str, ...]) -> Problem | None:
    """Why these leaves are not one legal configuration of the chart."""
    if not leaves:
        return "", "expected at least one active leaf, saw none"
    for path in leaves:
        number = chart.numbers.get(path)
        if number is None:
            return path, f"{path!r} is not a state of the chart"
        if not chart.nodes[number].is_leaf:
            return path, f"expected leaves, saw {path!r}, which is a {chart.nodes[number].kind} state"
    numbers = [chart.numbers[path] for path in leaves]
    if numbers != sorted(set(numbers)):
        return leaves[0], f"expected each leaf once, in document order, saw {', '.join(leaves)}"
    return _family_problem(chart, chart.nodes[0], _closure(chart, leaves))


def _family_problem(chart: Chart, top: Node, active: int) -> Problem | None:
    """The first state at or below `top` whose active children are not what its kind wants."""
    for number in bits(active & (top.below | 1 << top.number)):
        node = chart.nodes[number]
        children = [child for child in node.children if active >> child & 1]
        if node.kind == "compound" and len(children) != 1:
            seen = " and ".join(repr(chart.nodes[child].path) for child in children) or "none"
            where = f"of {node.path!r}" if node.path else "at the top"
            return node.path, f"expected exactly one active child {where}, saw {seen}"
        if node.kind == "parallel" and len(children) != len(node.children):
            missing = next(child for child in node.children if child not in children)
            return node.path, f"expected all regions of {node.path!r}, {chart.nodes[missing].path!r} is not active"
    return None


def _history_problem(chart: Chart, path: str, remembered: tuple[str, ...]) -> Problem | None:
    """Why a history state cannot remember these paths."""
    number = chart.numbers.get(path)
    if number is None or not chart.nodes[number].is_history:
        return path, f"{path!r} remembers something and is not a history state of the chart"
    history = chart.nodes[number]
    parent = chart.nodes[history.parent]
    for each in remembered:
        known = chart.numbers.get(each)
        if known is None or not parent.below >> known & 1:
            return each, f"{path!r} remembers {each!r}, which is not a state inside {parent.path!r}"
    numbers = [chart.numbers[each] for each in remembered]
    if history.kind == "shallow_history":
        wanted = len(parent.children) if parent.kind == "parallel" else 1
        if len(numbers) != wanted or numbers != [child for child in parent.children if child in numbers]:
            return path, f"{path!r} remembers {', '.join(remembered)}, expected {wanted} of the children"
        return None
    if not all(chart.nodes[each].is_leaf for each in numbers) or numbers != sorted(set(numbers)):
        return path, f"{path!r} remembers {', '.join(remembered)}, expected leaves in document order"
    inside = _closure(chart, remembered) & (parent.below | 1 << parent.number)
    return _family_problem(chart, parent, inside | 1 << parent.number)


def _closure(chart: Chart, leaves: tuple[str, ...]) -> int:
    """The leaves and all states around them."""
    active = 0
    for path in leaves:
        node = chart.nodes[chart.numbers[path]]
        active |= 1 << node.number
        for above in node.above:
            active |= 1 << above
    return active
