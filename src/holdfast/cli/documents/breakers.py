"""What `breakers` prints: each dependency, by what all processes on a store tell of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from holdfast import codec
from holdfast.cli.documents.runs import iso, iso_or_none
from holdfast.resilience.graph import Graph
from holdfast.resilience.quorum import Node, Statement, Turn, Word, graph_of
from holdfast.resilience.rules import Breaker, Health, Standing, in_words, incidents, standings
from holdfast.store.contract.records import Event
from holdfast.workflow.board.postings import LASTING, Postings

WORST_FIRST = ("forced_open", "open", "half_open", "closed", "metrics_only", "disabled")
"""Of what is said of a breaker. Who says "closed" says that it takes a share of its calls."""


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """One process that says that a breaker is not closed. `is_own`: by its own calls, not by others' word."""

    process: str
    host: str
    pid: int
    is_alive: bool
    state: str
    reason: str
    is_own: bool
    last_error: str


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """The last order for a breaker. `taken_up`: by how many of the processes that live and depend on it."""

    action: str
    by: str
    reason: str
    at: str
    taken_up: int


class DependencyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One dependency. `state`: the worst that anybody says of its breaker, "closed" where nobody says anything; `by`:
    what it is blocked by or does without; `since`: since when it is ill; `next_probe`: when it may be probed again, and
    `probed_by`: who does so now; `share`: of its usual calls that it takes, where it comes back; `incident`: the root
    of what opened with it; `of`: how many depend on it and live."""

    name: str
    kind: str
    needs: tuple[str, ...]
    wants: tuple[str, ...]
    has_probe: bool
    health: Health
    by: tuple[str, ...]
    state: str
    reason: str
    since: str | None
    objective_s: float
    is_late: bool
    attempt: int
    next_probe: str | None
    probed_by: str
    share: float
    incident: str
    said_by: tuple[Voice, ...]
    of: int
    order: OrderLine | None


def dependency_lines(seen: Postings, *, now: float) -> list[DependencyLine]:
    """Each dependency, behind what it needs; by the last words of the dead where nobody lives."""
    alive = {process: each for process, each in seen.statements.items() if process in seen.living}
    told = list((alive or seen.statements).values())
    graph = graph_of(told)
    words = {name: _words(told, name, now) for name in graph.order}
    worst = {name: _worst(said) for name, said in words.items()}
    breakers = {
        name: Breaker(word.state, word.share(now) if not word.is_ill else 1.0, word.opened_at) if word else Breaker()
        for name, word in worst.items()
    }
    found = standings(graph, breakers)
    opened = [
        (name, word.opened_at) for name, word in worst.items() if word and word.state in ("open", "half_open")
    ]  # fmt: skip
    roots = {name: each.root for each in incidents(graph, opened) if len(each.members) > 1 for name in each.members}
    nodes = {node.name: node for each in sorted(told, key=lambda each: each.at) for node in each.nodes}
    return [
        _line(seen, graph, nodes[name], found[name], worst[name], words[name], roots.get(name, ""), alive, now)
        for name in graph.order
    ]


class BoardRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was ordered, probed or told of a breaker. `who`: who ordered it, or the process."""

    at: str
    what: str
    detail: str
    who: str
    reason: str


def board_row(event: Event, name: str) -> BoardRow:
    """The row of a journalled event about the breaker `name`."""
    facts = codec.decode(event.body)
    detail = facts.get("action") or facts.get("outcome") or ""
    reason = facts.get("reason", "")
    if name in facts.get("moved", {}):
        detail, reason = facts["moved"][name], facts.get("reasons", {}).get(name, "")
    elif name in facts.get("orders", {}):
        detail = f"order {facts['orders'][name]} taken up"
    who = facts.get("by") or facts.get("process", "")
    return BoardRow(at=iso(event.at), what=event.name, detail=detail, who=who, reason=reason)


def mermaid_of(lines: Sequence[DependencyLine]) -> str:
    """The graph as Mermaid text: what is needed below who needs it, soft edges dotted, the ill marked."""
    text = ["flowchart TD"]
    ids = {line.name: f"d{number}" for number, line in enumerate(lines)}
    for line in lines:
        text.append(f'    {ids[line.name]}["{line.name}<br/>{in_words(line.health, line.by)}"]:::{line.health}')
        text += [f"    {ids[line.name]} --> {ids[need]}" for need in line.needs if need in ids]
        text += [f"    {ids[line.name]} -.-> {ids[want]}" for want in line.wants if want in ids]
    text.append("    classDef ill fill:#fcc,stroke:#900")
    text.append("    classDef blocked fill:#eee,stroke:#900,stroke-dasharray:4")
    text.append("    classDef degraded fill:#ffd,stroke:#a60")
    text.append("    classDef probing fill:#def,stroke:#06a")
    text.append("    classDef ramping fill:#dfd,stroke:#06a")
    return "\n".join(text) + "\n"


def _line(
    seen: Postings,
    graph: Graph,
    node: Node,
    standing: Standing,
    worst: Word | None,
    words: Mapping[str, tuple[Statement, Word]],
    incident: str,
    alive: Mapping[str, Statement],
    now: float,
) -> DependencyLine:
    said = [each for _, each in words.values()]
    since = min((each.ill_since for each in said if each.state in ("open", "half_open")), default=None)
    due, prober = _next(seen, node.name, said)
    depending = [each for each in alive.values() if any(other.name == node.name for other in each.nodes)]
    return DependencyLine(
        name=node.name,
        kind=node.kind,
        needs=graph.nodes[node.name].needs,
        wants=graph.nodes[node.name].wants,
        has_probe=node.has_probe,
        health=standing.health,
        by=standing.by,
        state=worst.state if worst else "closed",
        reason=worst.reason if worst else "",
        since=iso_or_none(since),
        objective_s=node.objective_s,
        is_late=since is not None and now - since > node.objective_s,
        attempt=worst.attempt if worst else 0,
        next_probe=iso_or_none(due),
        probed_by=prober,
        share=round(worst.share(now), 2) if worst else 1.0,
        incident=incident,
        said_by=tuple(
            _voice(statement, word, is_alive=process in alive) for process, (statement, word) in sorted(words.items())
        ),
        of=len(depending),
        order=_order(seen, node.name, depending),
    )


def _words(told: Sequence[Statement], name: str, now: float) -> dict[str, tuple[Statement, Word]]:
    return {
        each.process: (each, each.words[name])
        for each in told
        if name in each.words and not each.words[name].is_over(now)
    }


def _worst(words: Mapping[str, tuple[Statement, Word]]) -> Word | None:
    said = [word for _, word in words.values() if word.state in WORST_FIRST]
    return min(said, key=lambda word: (WORST_FIRST.index(word.state), word.opened_at), default=None)


def _next(seen: Postings, name: str, said: Sequence[Word]) -> tuple[float | None, str]:
    """When it may be probed again, and which process probes it now."""
    turn: Turn | None = seen.turns.get(name)
    if turn is not None and turn.outcome == "probing" and turn.holder in seen.living and any(said):
        return None, turn.holder
    due = min((word.until for word in said if word.state == "open" and word.until is not None), default=None)
    if due is not None and turn is not None and turn.outcome == "failed":
        due = max(due, turn.until)
    return due, ""


def _voice(statement: Statement, word: Word, *, is_alive: bool) -> Voice:
    return Voice(
        process=statement.process,
        host=statement.host,
        pid=statement.pid,
        is_alive=is_alive,
        state=word.state,
        reason=word.reason,
        is_own=word.is_own,
        last_error=word.last_error,
    )


def _order(seen: Postings, name: str, depending: Sequence[Statement]) -> OrderLine | None:
    standing = seen.orders.get(name)
    if standing is None:
        return None
    order = standing.order
    return OrderLine(
        action=order.action,
        by=order.by,
        reason=order.reason,
        at=iso(order.at),
        taken_up=sum(each.orders.get(name, 0) >= standing.version for each in depending),
    )


def is_lasting(order: OrderLine | None) -> bool:
    """Whether the order still holds."""
    return order is not None and order.action in LASTING
