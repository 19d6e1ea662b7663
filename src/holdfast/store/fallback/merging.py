"""The changes of an outage go to the server that is back: one by one, in their order, each once."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from holdfast.errors import Conflict, Fenced, InvalidInput, Unavailable
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Claim, Commit, Key, Position, Put, Record, Scope
from holdfast.store.decisions.rules import under_prefix
from holdfast.store.fallback.known import Known
from holdfast.store.fallback.outage import Entry, Landings
from holdfast.store.fallback.rules import (
    Fit,
    Found,
    Kept,
    Policies,
    Standing,
    Taken,
    Written,
    fit,
    has_content_of,
    is_as_left,
    is_known,
    kept_changes,
    kept_key,
    mark_of,
    raised,
)
from holdfast.store.writing.outcome import commit_surely

ATTEMPTS_MAX = 20
"""How often one change may lose against others before it is tried later."""
ROWS_MAX = 1500
"""Bound on the rows of one change that keeps another aside."""
PAGE = 1000


class Became(enum.Enum):
    """What became of a change of an outage."""

    LANDED = "landed"
    MERGED = "merged"
    RESTORED = "restored"
    KEPT = "kept"
    YIELDED = "yielded"


class Outcome(NamedTuple):
    """What became of it, why, and the records that the server has now as far as they are told."""

    became: Became
    why: str = ""


class Merger:
    """Brings changes to `server`. `stands` says how this process left the records there in this outage."""

    def __init__(self, server: Store, known: Known, landings: Landings, policies: Policies) -> None:
        self._server = server
        self._known = known
        self._landings = landings
        self._policies = policies

    async def land(self, entry: Entry, stands: dict[Key, Standing]) -> Outcome:
        """Raises Unavailable and CommitUnknown where the server went away again: then once more with the same."""
        if isinstance(entry, Taken):
            return await self._take(entry, stands)
        for _ in range(ATTEMPTS_MAX):
            found = await self._found(entry, stands)
            if (outcome := await self._was_there(entry, found, stands)) is not None:
                return outcome
            verdict = self._judged(entry, found, stands)
            try:
                if isinstance(verdict, Kept):
                    return await self._keep(entry, found, verdict, stands)
                try:
                    answer = await commit_surely(self._server, entry.scope, verdict.change)
                except InvalidInput as error:  # such as two bodies that together are too large
                    return await self._keep(entry, found, Kept(error.message, {}), stands)
            except (Conflict, Fenced) as error:
                lost = error
                continue
            await self._landed(entry, verdict, answer, stands)
            return _outcome(verdict)
        return await self._keep(entry, found, Kept(f"lost {ATTEMPTS_MAX} races, the last: {lost.message}", {}), stands)

    def _judged(self, entry: Written, found: Mapping[Key, Found], stands: Mapping[Key, Standing]) -> Fit | Kept:
        try:
            return fit(entry, found, stands, self._policies)
        except InvalidInput as error:  # a body that is no JSON, a policy that is none: nothing to merge by
            return Kept(error.message, {})

    async def _found(self, entry: Entry, stands: Mapping[Key, Standing]) -> dict[Key, Found]:
        keys = entry.keys
        records = await self._server.read(Scope.system(), keys)
        found = {}
        for key, record in zip(keys, records, strict=True):
            is_lost = False
            if record is None and is_known(key, _before(entry, key), stands):
                is_lost = not await self._server.events(Scope.system(), record=key, limit=1)
            found[key] = Found(record, is_lost)
        return found

    # -- changes ----------------------------------------------------------------------------------------------------

    async def _was_there(
        self, entry: Written, found: Mapping[Key, Found], stands: dict[Key, Standing]
    ) -> Outcome | None:
        """What became of an entry that was committed already: its answer was lost, in the outage or since."""
        change = entry.change
        if not change.keys:
            is_there = bool(change.events) and await self._journal_tells(change, entry.before)
            return Outcome(Became.LANDED, "it was there already") if is_there else None
        if all(is_as_left(key, entry.before[key], found[key], stands) for key in change.keys):
            return None
        kept = kept_key(entry, 0, change.keys[0])
        if (await self._server.read(Scope.system(), [kept]))[0] is not None:
            self._stand_apart(change.keys, stands)
            return Outcome(Became.KEPT, "it was kept before")
        ids = {there.record.change_id for key in change.keys if (there := found[key]).record is not None}
        if change.change_id not in ids and not await self._journal_tells(change, entry.before):
            return None
        for key in change.keys:
            record = found[key].record
            stands[key] = Standing(mark_of(record), has_content_of(record, entry.after[key]))
        await self._find_landings(change)
        return Outcome(Became.LANDED, "it was there already")

    async def _journal_tells(self, change: Change, before: Mapping[Key, Record | None]) -> bool:
        for key in dict.fromkeys(event.key for event in change.events):
            record, after = before.get(key), None
            since = 0 if record is None else record.version
            while page := await self._server.events(
                Scope.system(), record=key, after=after, after_version=since, limit=PAGE
            ):
                if any(event.change_id == change.change_id for event in page):
                    return True
                after = page[-1].position
        return False

    async def _landed(self, entry: Written, fitted: Fit, answer: Commit, stands: dict[Key, Standing]) -> None:
        for record in self._known.committed(fitted.change, answer):
            stands[record.key] = Standing(mark_of(record), record.key not in fitted.merged)
        for write in fitted.change.writes:
            if not isinstance(write, Put):
                stands[write.key] = Standing(None, write.key not in fitted.merged)
        for removal in fitted.change.removes:
            family = (removal.tenant, removal.user, removal.kind)
            ids = sorted(key.id for key in stands if key[:3] == family)
            for id_ in under_prefix(ids, removal.prefix):
                stands[Key(*family, id_)] = Standing(None, True)
        await self._find_landings(fitted.change)

    async def _keep(
        self, entry: Written, found: Mapping[Key, Found], kept: Kept, stands: dict[Key, Standing]
    ) -> Outcome:
        # The first part last: once it is there, all are. One that others were quicker than is made anew.
        for change in reversed(kept_changes(entry, found, kept, rows_max=ROWS_MAX)):
            if (await self._server.read(Scope.system(), [change.writes[0].key]))[0] is None:
                await commit_surely(self._server, entry.scope, change)
            await self._find_landings(change)
        for write in entry.change.writes:
            after = entry.after[write.key]
            if isinstance(write, Put) and write.raise_epoch and after is not None:
                await self._pass_epoch(after)
        self._stand_apart(entry.change.keys, stands)
        return Outcome(Became.KEPT, kept.why)

    def _stand_apart(self, keys: Sequence[Key], stands: dict[Key, Standing]) -> None:
        for key in keys:
            stands[key] = Standing(None, False)
            self._known.forget(key)

    async def _find_landings(self, change: Change) -> None:
        """Tell where in each stream the changes of this outage begin."""
        for event in change.events:
            stream = (event.key.tenant, event.key.user)
            if self._landings.is_known(stream):
                continue
            after: Position | None = None
            while page := await self._server.events(Scope.system(), record=event.key, after=after, limit=PAGE):
                first = next((row.position for row in page if row.change_id == change.change_id), None)
                if first is not None:
                    self._landings.tell(stream, first)
                    break
                after = page[-1].position

    # -- claims -----------------------------------------------------------------------------------------------------

    async def _take(self, entry: Taken, stands: dict[Key, Standing]) -> Outcome:
        """Own on the server what was claimed in the outage, unless others have touched it."""
        key, before, after = entry.before.key, entry.before, entry.after
        for _ in range(ATTEMPTS_MAX):
            there = (await self._found(entry, stands))[key]
            if there.record is None and there.is_lost:
                return Outcome(Became.LANDED, "the server has lost it")  # whoever writes it next puts it back
            seen = there.record
            is_taken = seen is not None and (seen.owner, seen.epoch) == (after.owner, after.epoch)
            if is_taken and not is_as_left(key, before, there, stands):  # the answer to the claim was lost
                stands[key] = Standing(mark_of(there.record), True)
                return Outcome(Became.LANDED)
            if not is_as_left(key, before, there, stands):
                return await self._yield(after, stands)
            claim = Claim(
                kind=key.kind, owner=after.owner, from_owners=(there.record.owner if there.record else "",),
                ids=(key.id,), due_after=entry.claim.due_after, limit=1,
            )  # fmt: skip
            won = await self._server.claim(Scope.of_user(key.tenant, key.user), claim)
            for record in won:
                self._known.keep(record)
                stands[record.key] = Standing(mark_of(record), True)
            if any(record.key == key for record in won):
                return Outcome(Became.LANDED)
        raise Unavailable(f"{key}: lost {ATTEMPTS_MAX} races for its ownership; it is tried again")

    async def _yield(self, after: Record, stands: dict[Key, Standing]) -> Outcome:
        """Others own it now, or wrote it."""
        await self._pass_epoch(after)
        self._stand_apart([after.key], stands)
        return Outcome(Became.YIELDED, f"{after.key}: others have claimed or changed it meanwhile")

    async def _pass_epoch(self, after: Record) -> None:
        """Let nobody take an epoch that this process gave out for one of the server's."""
        key = after.key
        for _ in range(ATTEMPTS_MAX + after.epoch):
            (there,) = await self._server.read(Scope.system(), [key])
            write = raised(there, after.epoch)
            if write is None:
                return
            change = Change(change_id=f"yield:{key.id[:800]}:{after.change_id[:100]}:{write.expect}", writes=(write,))
            with contextlib.suppress(Conflict, Fenced):
                await commit_surely(self._server, Scope.of_user(key.tenant, key.user), change)
        raise Unavailable(f"{key}: lost {ATTEMPTS_MAX} races for its epoch; it is tried again")


def _before(entry: Entry, key: Key) -> Record | None:
    return entry.before if isinstance(entry, Taken) else entry.before[key]


def _outcome(fitted: Fit) -> Outcome:
    if fitted.merged:
        return Outcome(Became.MERGED, f"with what others wrote: {', '.join(map(str, fitted.merged))}")
    if fitted.restored:
        return Outcome(Became.RESTORED, f"the server had lost {', '.join(map(str, fitted.restored))}")
    return Outcome(Became.LANDED)
