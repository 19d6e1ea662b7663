"""The past of a run: its journal, its checkpoints, and how it stood at any version."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from holdfast import codec
from holdfast.errors import NotFound
from holdfast.store.contract.records import Change, Event, Key, Position, Put, Query, Require, Scope
from holdfast.store.rows import journal
from holdfast.store.rows.copies import COPY, Copied, copy_prefix
from holdfast.workflow.model.run import RUN, Run, decode_run, spec_text
from holdfast.workflow.process.runtime import Runtime, Stored

PAGE = 500


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a run that can be gone back to. `name` is "" for those that every decision leaves."""

    run_id: str
    version: int
    state: str
    at: float
    name: str = ""


async def journal_of(runtime: Runtime, scope: Scope, key: Key, after_version: int = 0) -> AsyncIterator[Event]:
    """The journal rows of a record, oldest first."""
    after: Position | None = None
    while page := await runtime.store.events(scope, record=key, after=after, after_version=after_version, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].position


async def run_at(runtime: Runtime, scope: Scope, key: Key, version: int) -> Run:
    """The run as it stood at `version`. Raises NotFound where the journal does not reach it."""
    rows = [event async for event in journal_of(runtime, scope, key) if event.version <= version]
    if not rows or rows[-1].version != version:
        raise NotFound(f"run {key.id}: its journal has no version {version}; `checkpoints` lists what there is")
    return decode_run(codec.encode(journal.rebuild(rows)))


async def keep_checkpoint(runtime: Runtime, scope: Scope, stored: Stored, name: str) -> Checkpoint:
    """Keep a run's present state under a name."""
    run = stored.run
    now = runtime.store.now_s()
    body = {
        "workflow_id": run.id,
        "name": name,
        "snapshot": codec.decode(stored.body),
        "version": stored.version,
        "created_at": now,
        "record": Copied(
            kind=RUN,
            version=stored.version,
            epoch=stored.epoch,
            status=run.status,
            due=now if run.is_ended else run.due,
            queue=run.queue,
            labels=run.record_labels(),
        ),
    }
    put = Put(
        key=_copy_key(run, name),
        body=codec.encode(body, what=f"checkpoint {name}"),
        expect=None,
    )
    require = Require(key=run.key, version=stored.version)
    await runtime.commit(scope, Change(change_id=runtime.change_id(), writes=(put,), requires=(require,)))
    return Checkpoint(run_id=run.id, version=stored.version, state=_state(run), at=now, name=name)


async def checkpointed(runtime: Runtime, scope: Scope, run: Run, name: str) -> Run:
    """The run that a named checkpoint holds. Raises NotFound."""
    record = (await runtime.store.read(scope, [_copy_key(run, name)]))[0]
    if record is None:
        raise NotFound(f"run {run.id}: there is no checkpoint {name!r}; `checkpoints` lists them")
    return decode_run(codec.encode(codec.decode(record.body)["snapshot"]))


async def checkpoints(runtime: Runtime, scope: Scope, stored: Stored) -> list[Checkpoint]:
    """Named checkpoints and the versions in the journal, by version."""
    run = stored.run
    found = {}
    async for event in journal_of(runtime, scope, run.key):
        if event.delta:
            body = codec.decode(event.body)
            state = body.get("to") or event.name
            found[event.version] = Checkpoint(run_id=run.id, version=event.version, state=state, at=event.at)
    named = []
    page = await runtime.store.scan(scope, Query(kind=COPY, prefix=copy_prefix(run.key)), limit=1000)
    for record in page.records:
        kept = codec.decode(record.body)
        snapshot = decode_run(codec.encode(kept["snapshot"]))
        named.append(
            Checkpoint(
                run_id=run.id, version=kept["version"], state=_state(snapshot), at=kept["created_at"], name=kept["name"]
            )
        )
    return sorted([*found.values(), *named], key=lambda checkpoint: (checkpoint.version, checkpoint.name))


def _copy_key(run: Run, name: str) -> Key:
    return Key(run.tenant, run.user, COPY, f"{copy_prefix(run.key)}{name}")


def _state(run: Run) -> str:
    return "|".join(spec_text(path) for path in run.leaves) or run.outcome
