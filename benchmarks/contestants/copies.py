"""Runs by the million without running them: copies of what a store holds of one run that came to its wait by itself.

Each copy has an id, a ticket, a user and a deadline of its own wherever the pattern has them, and the digests and the
chain that these give, so that `verify` finds nothing to complain of.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import msgspec

from holdfast import Engine, Workflow, codec
from holdfast.clock import SystemClock
from holdfast.ids import uuid7
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.records import Event, Key, Position, Record
from holdfast.store.decisions.rules import moment, row_of
from holdfast.store.open import open_store
from holdfast.store.rows.digest import digest_of, digest_of_event

USERS = 1000
APART_S = 0.05
"""How far the deadlines of two copies lie apart: a million fall due over half a day."""
_TICKET, _USER = "pattern-ticket", "pattern-user"


def ticket_of(number: int) -> str:
    """The ticket id of a copy."""
    return f"INC-{number}"


def user_of(number: int) -> str:
    """Whose copy it is."""
    return f"user-{number % USERS}"


class Copies:
    """Copies of one run. `shared` is what a store holds for all of them; `streams` grow as copies are taken."""

    def __init__(self, histories: Sequence[History]) -> None:
        self.shared = [history for history in histories if history.key.user != _USER]
        self._own = [history for history in histories if history.key.user == _USER]
        self._run = next(record for record in map(_record_of, self._own) if record.key.kind == "run")
        self._clock, self._randomness = SystemClock(), random.Random(7)
        self.streams: dict[Stream, int] = {}

    @classmethod
    async def of(cls, workflow: Workflow, waits_in: str) -> Copies:
        """Of a run of `workflow` that went to the state `waits_in`, which has a deadline, in memory."""
        store = open_store("memory:")
        async with Engine(store, workflow) as engine:
            handle = await engine.start(workflow.name, {"service": "cart"}, id=_TICKET, user=_USER)
            await handle.reach(waits_in)
            async with store.snapshot() as view:
                return cls([history async for history in view.histories() if history.key.kind != "process"])

    def portions(self, runs: int, size: int) -> Iterator[list[History]]:
        """`runs` copies, numbered from 0, about `size` at a time."""
        for first in range(0, runs, size):
            numbers = range(first, min(first + size, runs))
            yield list(itertools.chain.from_iterable(map(self.copy, numbers)))

    def copy(self, number: int) -> list[History]:
        """Copy `number`: each of its records, with its journal."""
        assert self._run.due is not None, "it waits with a deadline"
        due = moment(self._run.due + number * APART_S)
        words = _Words(
            {
                self._run.key.id: uuid7(self._clock, self._randomness),
                _TICKET: ticket_of(number),
                _USER: user_of(number),
                codec.encode(self._run.due).decode(): codec.encode(due).decode(),
            }
        )
        return [self._history(history, words, due) for history in self._own]

    def _history(self, history: History, words: _Words, due: float) -> History:
        record, key = _record_of(history), words.key(history.key)
        events: list[Event] = []
        for event in history.events:
            events.append(self._event(event, key, words, previous=events[-1].digest if events else ""))
        copied = msgspec.structs.replace(
            record,
            key=key,
            body=words.data(record.body),
            due=None if record.due is None else due,
            labels={name: words.text(value) for name, value in record.labels.items()},
            chain=events[-1].digest if events else "",
        )
        copied = msgspec.structs.replace(copied, digest=digest_of(copied))
        return History(key=key, row=row_of(copied), events=events)

    def _event(self, event: Event, key: Key, words: _Words, *, previous: str) -> Event:
        stream = (key.tenant, key.user)
        self.streams[stream] = seq = self.streams.get(stream, 0) + 1
        copied = msgspec.structs.replace(
            event,
            key=key,
            position=Position(event.position.incarnation, seq),
            body=words.data(event.body),
            delta=words.data(event.delta),
            previous=previous,
        )
        return msgspec.structs.replace(copied, digest=digest_of_event(copied))


class _Words:
    """What stands in a copy for what stands in the pattern."""

    def __init__(self, pairs: dict[str, str]) -> None:
        self._pairs = list(pairs.items())
        self._bytes = [(old.encode(), new.encode()) for old, new in self._pairs]

    def text(self, text: str) -> str:
        for old, new in self._pairs:
            text = text.replace(old, new)
        return text

    def data(self, data: bytes) -> bytes:
        for old, new in self._bytes:
            data = data.replace(old, new)
        return data

    def key(self, key: Key) -> Key:
        return Key(key.tenant, self.text(key.user), key.kind, self.text(key.id))


def _record_of(history: History) -> Record:
    assert history.row is not None, f"{history.key}: the pattern is whole"
    assert history.row.record is not None, f"{history.key}: the pattern is whole"
    return history.row.record
