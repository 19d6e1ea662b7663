"""Whether stored leaves, memories and visit numbers are a legal configuration of a chart.

Pure, and says what is wrong with the path of the state; who reads a store makes an error of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from holdfast.chart.definition import StateDef
from holdfast.chart.tree import Chart, Node, bits, remember


class Problem(NamedTuple):
    """What is not legal: the state's path and a sentence."""

    state: str
    text: str


def active_states(chart: Chart, leaves: tuple[str, ...]) -> int | Problem:
    """The set of active states that these leaves stand for, or why they are no legal configuration."""
    known = chart.memo.active.get(leaves)
    if known is not None:
        return known
    if problem := _leaf_problem(chart, leaves):
        return problem
    active = _closure(chart, leaves)
    remember(chart.memo.active, leaves, active)
    return active


def problem_of(
    chart: Chart,
    leaves: tuple[str, ...],
    history: Mapping[str, tuple[str, ...]],
    visits: Mapping[str, int],
    *,
    is_done: bool,
) -> Problem | None:
    """The first thing about a whole configuration that is not legal."""
    active = active_states(chart, leaves)
    if isinstance(active, Problem):
        return active
    for number in bits(active):
        path = chart.nodes[number].path
        if visits.get(path, 0) < 1:
            return Problem(path, f"expected a visit number of the active state {path!r}, saw {visits.get(path)}")
    for path, count in visits.items():
        if count < 1:
            return Problem(path, f"expected visits counted from 1, saw {count} of {path!r}")
    node = chart.nodes[chart.numbers[leaves[0]]]
    if is_done != (node.kind == "final" and node.parent == 0):
        return Problem(node.path, f"expected is_done to be {not is_done} at {node.path!r}, saw {is_done}")
    for path, remembered in history.items():
        if problem := _history_problem(chart, path, remembered):
            return problem
    return None


def embeds(older: Sequence[StateDef], newer: Sequence[StateDef], *, is_parallel: bool = False) -> bool:
    """Whether what is legal below `older` is legal below `newer`: the same states in the same order, others between
    them at most; no others where all of them are active together, and no leaf that has children now."""
    names = [state.name for state in older]
    kept = [state for state in newer if state.name in names]
    if [state.name for state in kept] != names or (is_parallel and len(kept) != len(newer)):
        return False
    return all(
        was.kind == now.kind
        and bool(was.children) == bool(now.children)
        and embeds(was.children, now.children, is_parallel=was.kind == "parallel")
        for was, now in zip(older, kept, strict=True)
    )


def _leaf_problem(chart: Chart, leaves: tuple[str, ...]) -> Problem | None:
    """Why these leaves are not one legal configuration of the chart."""
    if not leaves:
        return Problem("", "expected at least one active leaf, saw none")
    for path in leaves:
        number = chart.numbers.get(path)
        if number is None:
            return Problem(path, f"{path!r} is not a state of the chart")
        if not chart.nodes[number].is_leaf:
            return Problem(path, f"expected leaves, saw {path!r}, which is a {chart.nodes[number].kind} state")
    numbers = [chart.numbers[path] for path in leaves]
    if numbers != sorted(set(numbers)):
        return Problem(leaves[0], f"expected each leaf once, in document order, saw {', '.join(leaves)}")
    return _family_problem(chart, chart.nodes[0], _closure(chart, leaves))


def _family_problem(chart: Chart, top: Node, active: int) -> Problem | None:
    """The first state at or below `top` whose active children are not what its kind wants."""
    for number in (top.number, *bits(active & top.below)):
        node = chart.nodes[number]
        children = [child for child in node.children if active >> child & 1]
        if node.kind == "compound" and len(children) != 1:
            seen = " and ".join(repr(chart.nodes[child].path) for child in children) or "none"
            where = f"of {node.path!r}" if node.path else "at the top"
            return Problem(node.path, f"expected exactly one active child {where}, saw {seen}")
        if node.kind == "parallel" and len(children) != len(node.children):
            missing = next(chart.nodes[child].path for child in node.children if child not in children)
            return Problem(node.path, f"expected all regions of {node.path!r} active, {missing!r} is not")
    return None


def _history_problem(chart: Chart, path: str, remembered: tuple[str, ...]) -> Problem | None:
    """Why a history state cannot remember these paths."""
    number = chart.numbers.get(path)
    if number is None or not chart.nodes[number].is_history:
        return Problem(path, f"{path!r} remembers something and is not a history state of the chart")
    history = chart.nodes[number]
    parent = chart.nodes[history.parent]
    for each in remembered:
        known = chart.numbers.get(each)
        if known is None or not parent.below >> known & 1:
            return Problem(each, f"{path!r} remembers {each!r}, which is not a state inside {parent.path!r}")
    numbers = [chart.numbers[each] for each in remembered]
    if history.kind == "shallow_history":
        wanted = len(parent.children) if parent.kind == "parallel" else 1
        if len(numbers) != wanted or numbers != [child for child in parent.children if child in numbers]:
            return Problem(path, f"{path!r} remembers {', '.join(remembered)}, expected {wanted} of the children")
        return None
    if not all(chart.nodes[each].is_leaf for each in numbers) or numbers != sorted(set(numbers)):
        return Problem(path, f"{path!r} remembers {', '.join(remembered)}, expected leaves in document order")
    return _family_problem(chart, parent, _closure(chart, remembered))


def _closure(chart: Chart, leaves: tuple[str, ...]) -> int:
    """The leaves and all states around them but the top, which is always active and in no set."""
    active = 0
    for path in leaves:
        node = chart.nodes[chart.numbers[path]]
        for number in (node.number, *node.above[:-1]):
            active |= 1 << number
    return active
