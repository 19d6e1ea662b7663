"""What must hold after each commit, whatever happened: one checker for each promise.

A checker is shown what was committed and what the store holds then. It keeps what it needs to remember itself, and
says in words what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple, Protocol

from holdfast import chart as charts
from holdfast import codec, patch
from holdfast.chart import Chart, Configuration
from holdfast.locks.records import LOCK, decode_tree
from holdfast.locks.rules import LockTree, conflict
from holdfast.store.contract.records import Change, Event, Key, Put, Record, Scope
from holdfast.workflow.model.run import MEMO, RUN, STILL, Run, decode_run
from holdfast.workflow.model.schedule import SCHEDULE
from holdfast.workflow.model.scheduling import ticket_of
from holdfast.workflow.recovery.scheduler import state_of

STEPS_MAX = 2
"""So many events one decision may take: approving what was not looked at yet is two."""
LATE_S_MAX = 30.0
"""How late a healed world may be for a due time."""


class Seen(NamedTuple):
    """One commit: what was asked, what the store holds under each key now, and the events that came."""

    change: Change
    records: Mapping[Key, Record | None]
    events: tuple[Event, ...]


class Checker(Protocol):
    """Tells in words what a commit did wrong."""

    def see(self, seen: Seen) -> Iterator[str]: ...


class Versions:
    """Versions rise by one with each update; a write may stand for several that were folded into it."""

    def __init__(self) -> None:
        self._versions: dict[Key, int] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        for removal in seen.change.removes:
            whose = (removal.tenant, removal.user, removal.kind)
            for key in [key for key in self._versions if key[:3] == whose and key.id.startswith(removal.prefix)]:
                del self._versions[key]
        folded = {write.key: write.folded for write in seen.change.writes if isinstance(write, Put)}
        for key, record in seen.records.items():
            expected = self._versions.get(key, 0) + folded.get(key, 1)
            if record is not None and record.version != expected:
                yield f"{key}: expected version {expected}, saw {record.version}"
            self._versions[key] = record.version if record is not None else expected


class Folds:
    """The state of a run is the fold of its events."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Any] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        for event in seen.events:
            if event.key.kind == RUN and event.delta:
                delta = codec.decode(event.delta)
                self._bodies[event.key] = (
                    delta["full"] if "full" in delta else patch.apply(self._bodies.get(event.key), delta["patch"])
                )
        for key, record in seen.records.items():
            if key.kind == RUN and record is not None and codec.decode(record.body) != self._bodies.get(key):
                yield f"{key} at version {record.version}: its journal tells another state"


class Transitions:
    """Every step is one that the chart has. `chart_of` gives the chart of a run."""

    def __init__(self, chart_of: Callable[[Run], Chart]) -> None:
        self._chart_of = chart_of
        self._places: dict[Key, Configuration] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        for key, record in seen.records.items():
            if key.kind != RUN or record is None:
                continue
            run = decode_run(record.body)
            chart, after, before = self._chart_of(run), run.configuration, self._places.get(key)
            charts.restore(chart, after.to_json())
            self._places[key] = after
            if before is None:
                if after != charts.start(chart).configuration:
                    yield f"{key}: began in {after.leaves}, where its chart does not begin"
            elif before != after and after not in _reached(chart, before):
                yield f"{key}: no events lead from {before.leaves} to {after.leaves}"


class Standstills:
    """A run that was paused or has failed moves on when somebody resumes or cancels it, and not by itself."""

    def __init__(self) -> None:
        self._statuses: dict[Key, str] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        resumed = {event.key for event in seen.events if event.name == "resumed"}
        for key, record in seen.records.items():
            if key.kind != RUN or record is None:
                continue
            before = self._statuses.get(key, "")
            self._statuses[key] = record.status
            is_let = key in resumed or record.status in STILL or decode_run(record.body).is_cancelled
            if before in STILL and not is_let:
                yield f"{key}: it was {before}, and is {record.status} though nobody resumed it"


class Tokens:
    """At most one holder for each token, of locks and of runs, tokens that only grow, and no two holders of locks that
    exclude each other."""

    def __init__(self) -> None:
        self._holders: dict[Key, tuple[int, str]] = {}
        self._tickets: dict[tuple[Key, int], tuple[str, str]] = {}
        self._granted: dict[Key, int] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        for key, record in seen.records.items():
            if record is not None and key.kind == RUN:
                yield from self.look(record)
            elif record is not None and key.kind == LOCK:
                yield from self._look_at_locks(key, decode_tree(record))

    def _look_at_locks(self, key: Key, tree: LockTree) -> Iterator[str]:
        if tree.tokens < self._granted.get(key, 0):
            yield f"{key}: expected tokens from {self._granted[key]} on, saw {tree.tokens}"
        self._granted[key] = tree.tokens
        granted = [ticket for ticket in tree.queue if ticket.token]
        for ticket in granted:
            mine = (ticket.holder, ticket.name)
            if (other := self._tickets.setdefault((key, ticket.token), mine)) != mine:
                yield f"{key}: token {ticket.token} has two holders, {other} and {mine}"
        for one, other_one in combinations(granted, 2):
            if conflict(one, other_one):
                yield f"{key}: {one} and {other_one} are both granted"

    def look(self, record: Record) -> Iterator[str]:
        """Words about one record as it is now."""
        token, holder = self._holders.get(record.key, (0, ""))
        if record.epoch < token:
            yield f"{record.key}: expected a token of at least {token}, saw {record.epoch}"
        if record.epoch == token and record.owner and holder and record.owner != holder:
            yield f"{record.key}: token {token} has two holders, {holder} and {record.owner}"
        kept = record.owner or (holder if record.epoch == token else "")
        self._holders[record.key] = (record.epoch, kept)


class Owners:
    """What a run does is written by whoever owned it last by its epoch: its state, its memos, its notes. Anybody else
    must raise the epoch, and thereby take it."""

    def __init__(self) -> None:
        self._owners: dict[Key, tuple[int, str]] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        writer, _, number = seen.change.change_id.partition(":")
        before = dict(self._owners)
        for key, record in seen.records.items():
            if key.kind == RUN and record is not None:
                self.look(record)
        for key in seen.change.keys if number else ():  # who repairs a store is no process
            run = key if key.kind == RUN else Key(key.tenant, key.user, RUN, key.id.partition("/")[0])
            if key.kind not in (RUN, MEMO) or run not in before:
                continue
            (epoch, owner), (epoch_now, owner_now) = before[run], self._owners[run]
            is_taken = epoch_now > epoch and owner_now in ("", writer)
            if writer != owner and not is_taken:
                yield f"{key}: written by {writer}, though {owner or 'nobody'} owns the run since epoch {epoch}"

    def owner_of(self, key: Key) -> str:
        """Who owned a run last, as far as it was seen."""
        return self._owners.get(key, (0, ""))[1]

    def look(self, record: Record) -> None:
        """Remember who owns a run, or let it go and may take it up again while nobody else came."""
        epoch, owner = self._owners.get(record.key, (0, ""))
        self._owners[record.key] = (record.epoch, record.owner or (owner if epoch == record.epoch else ""))


class Relatives:
    """A child begins in the change in which its parent comes to wait for it."""

    def see(self, seen: Seen) -> Iterator[str]:
        runs = {
            record.key.id: decode_run(record.body)
            for record in seen.records.values()
            if record is not None and record.key.kind == RUN
        }
        for key, record in seen.records.items():
            if key.kind != RUN or record is None or record.version != 1:
                continue
            parent = runs[key.id].parent
            if parent is not None and not _waits_for(runs.get(parent.id), key.id):
                yield f"{key}: began without its parent {parent.id}, which does not wait for it"


class Streams:
    """The numbers of each user's stream have no gaps, and each commit has a time not before the last."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def see(self, seen: Seen) -> Iterator[str]:
        if len(seen.events) != len(seen.change.events):
            yield f"change {seen.change.change_id}: {len(seen.change.events)} events, but {len(seen.events)} in streams"
        for event in seen.events:
            stream = (event.key.tenant, event.key.user)
            expected = self._last.get(stream, 0) + 1
            if event.position.seq != expected:
                yield f"stream of {stream}: expected number {expected}, saw {event.position.seq}"
            self._last[stream] = event.position.seq

    def known(self) -> list[tuple[str, str]]:
        """The streams that there are."""
        return list(self._last)

    def last(self, stream: tuple[str, str]) -> int:
        """The last number of a stream so far."""
        return self._last.get(stream, 0)


def outside(scope: Scope, keys: Iterator[Key]) -> list[str]:
    """Words about what was shown to somebody outside whose scope it lies."""
    return [f"{key} of user {key.user!r} was shown to {scope}" for key in keys if not scope.covers(key)]


def missing_turns(schedules: Iterable[Record], runs: Iterable[Run], now_s: float) -> Iterator[str]:
    """Words about the due times of schedules that make up for all that they missed: each has one run, up to now."""
    started = [(run.workflow, run.ticket_id) for run in runs if SCHEDULE in run.labels]
    for record in schedules:
        state, due = state_of(record), record.due or 0.0
        if due < now_s - LATE_S_MAX:
            yield f"{record.key}: stands still since {now_s - due:.0f} s"
        turns = range(1, state.started + state.dropped + 1)
        expected = [(state.workflow, ticket_of(state.name, due - turn * state.timing.every_s)) for turn in turns]
        seen = [each for each in started if each[0] == state.workflow]
        if sorted(expected) != sorted(seen):
            yield f"{record.key}: expected a run for each of {len(expected)} due times, saw {len(seen)}"


def _waits_for(parent: Run | None, child_id: str) -> bool:
    return parent is not None and any(leaf.child and leaf.child.id == child_id for leaf in parent.leaves.values())


def _reached(chart: Chart, before: Configuration) -> list[Configuration]:
    events = {
        descriptor
        for node in chart.nodes
        for transition in node.transitions
        for descriptor in transition.descriptors
        if not descriptor.startswith("done.state")
    }
    found, edge = [before], [before]
    for _ in range(STEPS_MAX):
        edge = [
            step.configuration
            for place in edge
            for event in sorted(events)
            if (step := charts.step(chart, place, event)).is_accepted
        ]
        found += edge
    return found
