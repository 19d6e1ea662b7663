"""What a command opens: a store for its keeper, or a door to runs that reads and decides but works on none.

Workflows are known by their code where a setting names it, else by the outlines that engines left in the store.
"""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.app import DEFAULT_STORE, Settings, load_codec, load_workflows, login_name
from holdfast.cli.output import Output
from holdfast.context import UserExecutionContext
from holdfast.errors import InvalidInput, NotFound, Rejected, Unavailable
from holdfast.ids import is_uuid
from holdfast.names import check_id
from holdfast.store.contract.place import without_secret
from holdfast.store.contract.protocol import OpenStore, Store
from holdfast.store.contract.records import Query, Record, Scope
from holdfast.store.fallback import without_fallback
from holdfast.store.open import open_sealed, open_store
from holdfast.store.wrapping.seal import Codec
from holdfast.workflow.client import Client
from holdfast.workflow.engine import Engine
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.outline import OUTLINE, Outline, Outlined, decode_outline
from holdfast.workflow.model.run import RUN, Run, queue_of
from holdfast.workflow.process.runtime import Runtime, Stored

OUTLINES_MAX = 1000
ID_CHARS_MIN = 8
"""The shortest beginning of a run's id that may stand for it."""


@dataclass(frozen=True)
class Session:
    """An open store with a client on it. `coded`: the queues whose workflows are known by their code."""

    store: Store
    runtime: Runtime
    client: Client
    coded: frozenset[str]

    @property
    def by(self) -> str:
        """Who acts."""
        return self.client.by

    @property
    def scope(self) -> Scope:
        """What this command may see: a user's, or a tenant's."""
        return self.client.scope

    @property
    def now_s(self) -> float:
        """The store's time."""
        return self.store.now_s()

    async def record(self, ref: str) -> Record:
        """The record of the run that `ref` names: the user's own id, the run's id, or a beginning of that which only
        one run has. Raises NotFound, Rejected."""
        key = (await self._find(ref)).run.key
        record = (await self.store.read(self.scope, [key]))[0]
        if record is None:
            raise NotFound(f"run {ref}: it was removed just now; `holdfast ps --all` shows what there is")
        return record

    async def stored(self, ref: str) -> Stored:
        """The same, decoded."""
        return Stored.of(await self.record(ref))

    def built(self, run: Run) -> Built | None:
        """The run's workflow, if it can be judged here: by its code, which takes over runs of older code, or by the
        outline of the very chart that the run stands in."""
        found = self.runtime.workflows.get(run.queue)
        is_fit = found and (run.queue in self.coded or found.chart.hash == run.configuration.chart_hash)
        return found if is_fit else None

    def require_built(self, run: Run, what: str) -> Built:
        """The same; raises Rejected where it is not known, saying what to do."""
        if (found := self.built(run)) is not None:
            return found
        if run.queue in self.runtime.workflows:
            raise Rejected(
                f"run {run.ticket_id}: cannot {what}: it stands in an older chart of {run.queue} than the newest code "
                "has; name that code: --app module:workflow, or try again when an engine has taken the run up"
            )
        raise Rejected(
            f"run {run.ticket_id}: cannot {what}: {run.queue} is not known here, for no engine has left its outline in "
            "this store; name its code: --app module:workflow, or `app` in holdfast.toml"
        )

    async def _find(self, ref: str) -> Stored:
        if is_uuid(ref):
            return await self.client.find(ref)
        try:
            return await self.client.find(ref)
        except NotFound:
            if len(ref) < ID_CHARS_MIN:
                raise _no_run(ref) from None
        page = await self.store.scan(self.scope, Query(kind=RUN, prefix=ref.lower()), limit=3)
        if not page.records:
            raise _no_run(ref)
        if len(page.records) > 1:
            ids = ", ".join(record.key.id for record in page.records)
            raise Rejected(f"run {ref}: expected a beginning that one id has, saw {ids}; give more of it")
        return Stored.of(page.records[0])


@dataclass(frozen=True)
class Desk:
    """What every command starts from: the settings, and where its answer goes."""

    settings: Settings
    output: Output

    def codec(self) -> Codec | None:
        """The codec that the settings name."""
        return load_codec(self.settings.codec) if self.settings.codec else None

    @contextlib.asynccontextmanager
    async def opened(self, url: str = "", *, must_exist: bool = True) -> AsyncIterator[OpenStore]:
        """The store that the settings name, or the one at `url`, for what operators do to it as a whole."""
        url = without_fallback(url or self.settings.store)  # what a command shows is Redis's, or nothing
        check_place(url, must_exist=must_exist)
        codec, me = self.codec(), "holdfast command line"
        store = open_store(url, process=me) if codec is None else open_sealed(url, codec, process=me)
        try:
            yield store
        finally:
            await store.close()

    @contextlib.asynccontextmanager
    async def runs(self) -> AsyncIterator[Session]:
        """The door to runs: the user's whom the settings name, else the whole tenant's."""
        settings = self.settings
        by = check_id("by", settings.by or settings.user or login_name())
        tenant = check_id("tenant", settings.tenant)
        context = UserExecutionContext(user=settings.user, tenant=tenant) if settings.user else None
        scope = Scope.of_user(tenant, context.user) if context else Scope.of_tenant(tenant)
        coded = load_workflows(settings.app)
        known = frozenset(queue_of(workflow.name, workflow.version) for workflow in coded)
        async with self.opened() as store:
            outlined = [Outlined(outline) for outline in await outlines(store) if outline.queue not in known]
            async with Engine(store, *coded, *outlined, works=False) as engine:
                inside = engine.inside
                client = Client(inside.runtime, inside.crew, inside.recovery, scope=scope, by=by, context=context)
                yield Session(store, inside.runtime, client, known)


async def outlines(store: Store) -> list[Outline]:
    """The newest outline of every version of every workflow that an engine ever opened this store with."""
    page = await store.scan(Scope.system(), Query(kind=OUTLINE), limit=OUTLINES_MAX)
    return [decode_outline(record.body) for record in page.records]


def check_place(url: str, *, must_exist: bool) -> None:
    """Refuse stores that a command cannot mean: one that ends with the process, or a file that is not there."""
    shown = without_secret(url)
    if url.startswith("memory:"):
        raise InvalidInput(
            f"store {shown}: expected one that outlives a process, such as {DEFAULT_STORE} or "
            "postgresql://user@host/database; set --store"
        )
    if not must_exist or not url.startswith("sqlite:///"):
        return
    path = Path(urllib.parse.unquote(url.removeprefix("sqlite:///").partition("?")[0]))
    if not path.exists():
        raise Unavailable(
            f"store {shown}: expected a file, saw nothing at {path.absolute()}; say where it is: --store "
            "sqlite:///runs.db, HOLDFAST_STORE, or `store` in holdfast.toml (an engine makes it at its first start)"
        )


def _no_run(ref: str) -> NotFound:
    return NotFound(f"run {ref}: there is no such run; `holdfast ps --all` shows what there is", run=ref)
