"""What several processes make of each other's breakers: by whose word one opens or closes, and who probes. Pure.

Each process tells what its own calls have shown it, and acts on its own breakers alone. Times are epoch seconds of the
clock that all of them share: the store's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from holdfast.resilience.breaker.machine import BreakerSnapshot
from holdfast.resilience.breaker.rules import State
from holdfast.resilience.graph import Dependency, Graph, Kind

QUORUM_MIN = 2
"""One process never speaks for all."""
GIVE_WAY_S = 1.0
"""How long a process that probed in vain leaves the next probe to others that need it, too."""
FOLLOWS = "others say: "
"""How the reason of a breaker begins that opened or closed by the word of others."""


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is stored of a declared dependency. `carries_board`: it is the server in which all of this is stored."""

    name: str
    kind: Kind
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    objective_s: float = 0.0
    has_probe: bool = False
    carries_board: bool = False


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process says of one of its breakers that is not closed and well. `opened_at`: when it opened last;
    `ill_since`: when it was closed last; `until`: when its wait is over. `is_own`: whether its own calls opened it.

    Of one that is closed and takes a share of its calls, `opened_at` is when it closed, `until` when it takes all of
    them, and `ramps_from` the share at first."""

    state: State
    reason: str
    opened_at: float
    ill_since: float
    until: float | None = None
    attempt: int = 0
    is_own: bool = True
    last_error: str = ""
    ramps_from: float = 1.0

    @property
    def is_ill(self) -> bool:
        """Whether it says more than that it is coming back."""
        return self.state != "closed"

    def is_over(self, now: float) -> bool:
        """Whether its ramp has ended, so that there is nothing to say any more."""
        return self.state == "closed" and (self.until is None or self.until <= now)

    def share(self, now: float) -> float:
        """The share of its usual calls that are let in."""
        if self.is_ill:
            return 0.0
        if self.until is None or self.is_over(now):
            return 1.0
        passed = max(0.0, now - self.opened_at) / (self.until - self.opened_at)
        return self.ramps_from + (1 - self.ramps_from) * passed


class Statement(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a process says: what it depends on, and which breakers are not closed. `is_self_suspect`: it may be ill
    itself, so that its word counts for nothing. `orders`: the last order that it took up for each name, by version."""

    process: str
    host: str
    pid: int
    at: float
    nodes: tuple[Node, ...]
    words: dict[str, Word] = {}
    is_self_suspect: bool = False
    orders: dict[str, int] = {}


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who probes something for all, or did so last, and what came of it. `until`: probing, how long it may take;
    failed, when the next round may be, `attempt` being how many times in a row it has opened by then."""

    holder: str
    outcome: Literal["probing", "closed", "failed", "idle"]
    at: float
    until: float
    attempt: int = 0


class Mine(NamedTuple):
    """A breaker of this process. `moved_at`: when it came into its state, 0 where it never moved."""

    state: State
    moved_at: float = 0.0


class Advice(NamedTuple):
    """What a process should do about one of its breakers. `wait_s`: for how long to open it."""

    name: str
    kind: Literal["open", "close"]
    reason: str
    wait_s: float = 0.0


def quorum_of(voters: int) -> int:
    """How many of so many processes must say that something is ill for the others to believe it."""
    return max(QUORUM_MIN, voters // 2 + 1)


def voters(statements: Mapping[str, Statement], living: Collection[str], name: str) -> list[Statement]:
    """The statements of those whose word on `name` counts: they live, depend on it, and do not suspect themselves."""
    return [
        statement
        for process, statement in sorted(statements.items())
        if process in living
        and not statement.is_self_suspect
        and any(node.name == name for node in statement.nodes)
    ]  # fmt: skip


def advise(
    me: str,
    mine: Mapping[str, Mine],
    statements: Mapping[str, Statement],
    turns: Mapping[str, Turn],
    living: Collection[str],
    *,
    now: float,
) -> list[Advice]:
    """What to do about each of my breakers by the word of others; nothing where I suspect myself."""
    own = statements.get(me)
    if own is not None and own.is_self_suspect:
        return []
    found: list[Advice] = []
    for name, breaker in mine.items():
        turn = turns.get(name)
        if breaker.state == "closed":
            found += _opening(name, breaker, voters(statements, living, name), turn, now)
        elif breaker.state in ("open", "half_open"):
            found += _closing(name, breaker, turn, me)
    return found


def _opening(name: str, breaker: Mine, voting: Sequence[Statement], turn: Turn | None, now: float) -> Iterator[Advice]:
    closed_at = turn.at if turn is not None and turn.outcome == "closed" else 0.0
    known_at = max(breaker.moved_at, closed_at)  # what was said before it closed is no reason to open it again
    words = [statement.words[name] for statement in voting if name in statement.words]
    ill = [
        word for word in words if word.is_own and word.state in ("open", "half_open") and word.opened_at > known_at
    ]  # fmt: skip
    if len(ill) < quorum_of(len(voting)):
        return
    first = min(ill, key=lambda word: word.opened_at)
    until = max(word.until or now for word in ill)
    reason = f"{FOLLOWS}ill at {len(ill)} of {len(voting)} processes, {first.reason}"
    yield Advice(name, "open", reason, max(0.0, until - now))


def _closing(name: str, breaker: Mine, turn: Turn | None, me: str) -> Iterator[Advice]:
    if turn is not None and turn.outcome == "closed" and turn.holder != me and turn.at > breaker.moved_at:
        yield Advice(name, "close", f"{FOLLOWS}probes of process {turn.holder} succeeded")


def may_take(turn: Turn | None, me: str, living: Collection[str], *, now: float) -> bool:
    """Whether the turn to probe is free, or mine anyway."""
    if turn is None or turn.outcome in ("closed", "idle"):
        return True
    if turn.outcome == "failed":
        return turn.until <= now
    return turn.holder == me or turn.holder not in living or turn.until <= now


def elsewhere(turns: Mapping[str, Turn], me: str, living: Collection[str], *, now: float) -> dict[str, float]:
    """What others probe now, and for how many seconds they may."""
    return {
        name: turn.until - now
        for name, turn in turns.items()
        if turn.outcome == "probing" and not may_take(turn, me, living, now=now)
    }


def resting(
    turns: Mapping[str, Turn],
    me: str,
    statements: Mapping[str, Statement],
    living: Collection[str],
    *,
    now: float,
) -> dict[str, float]:
    """What somebody probed in vain, and the seconds until the next round. Whoever did so gives way to others that need
    it: what it saw may be its own network."""
    found = {}
    for name, turn in turns.items():
        if turn.outcome not in ("failed", "idle"):
            continue
        until = turn.until
        if turn.holder == me:
            voting = voters(statements, living, name)
            others = any(name in each.words and each.words[name].is_ill for each in voting if each.process != me)
            if turn.outcome == "failed" and not others:
                continue  # my own wait says it
            until += GIVE_WAY_S if others else 0.0
        if turn.outcome == "failed" or turn.holder == me:
            found[name] = until - now
    return {name: left for name, left in found.items() if left > 0}


def inherited(
    statements: Mapping[str, Statement], living: Collection[str], me: str, *, now: float, epoch_s: float
) -> dict[str, tuple[Word, BreakerSnapshot]]:
    """What a new process goes on from: the last word of the dead on each breaker, unless one who lives knows better.

    `epoch_s`: this process's own clock, by which it restores.
    """
    known = {
        node.name
        for process, statement in statements.items()
        if process in living and process != me and not statement.is_self_suspect
        for node in statement.nodes
    }
    found: dict[str, tuple[Word, BreakerSnapshot]] = {}
    last: dict[str, Statement] = {}
    for process, statement in statements.items():
        if process in living or process == me or statement.is_self_suspect:
            continue
        for node in statement.nodes:
            if node.name not in last or last[node.name].at < statement.at:
                last[node.name] = statement
    for name, statement in last.items():
        word = statement.words.get(name)
        if word is None or word.state not in ("open", "half_open"):
            continue
        if name in known and not any(
            name in statements[each].words and statements[each].words[name].is_ill
            for each in living
            if each in statements
        ):
            continue
        left = max(0.0, (word.until or now) - now)
        snapshot = BreakerSnapshot(
            state="open", taken_at_s=epoch_s, attempt=word.attempt, open_left_s=left, reason=word.reason
        )
        found[name] = (word, snapshot)
    return found


def nodes_of(graph: Graph) -> tuple[Node, ...]:
    """What is stored of a graph."""
    return tuple(
        Node(node.name, node.kind, node.needs, node.wants, node.objective_s, node.probe is not None)
        for node in (graph.nodes[name] for name in graph.order)
    )


def graph_of(statements: Sequence[Statement]) -> Graph:
    """The graph that the statements tell of, without code: of what several declare, the last one's word. Edges that
    make a ring between programs, or lead to nobody, are left out."""
    nodes: dict[str, Node] = {}
    for statement in sorted(statements, key=lambda each: each.at):
        nodes |= {node.name: node for node in statement.nodes}
    below: dict[str, set[str]] = {}
    kept = []
    for node in nodes.values():
        needs = tuple(
            need for need in node.needs if need in nodes and not _reaches(below, need, node.name)
        )  # fmt: skip
        below[node.name] = set(needs)
        kept.append(
            Dependency(
                name=node.name,
                kind=node.kind,
                needs=needs,
                wants=tuple(want for want in node.wants if want in nodes),
                recovery_s=node.objective_s or None,
            )
        )
    return Graph(kept)


def _reaches(below: Mapping[str, set[str]], start: str, end: str) -> bool:
    left, seen = [start], set[str]()
    while left:
        one = left.pop()
        if one == end:
            return True
        if one not in seen:
            seen.add(one)
            left += below.get(one, ())
    return False
