"""Events as they were committed, from a place on: of one run, or of one user's stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.cli.documents.runs import EventDocument, event_document
from holdfast.cli.session import Session
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import Event, Key, Position

PAGE = 500


class Feed:
    """What was committed since it was last asked. `key`: one run's events; without it, the stream of `user`."""

    def __init__(self, session: Session, *, key: Key | None, stream: tuple[str, str], after: Position | None) -> None:
        self._session = session
        self._key = key
        self._stream = stream
        self._after = after
        self._version = 0

    async def news(self) -> AsyncIterator[EventDocument]:
        """The events that nobody was given yet, in order."""
        while page := await self._page():
            for event in page:
                if self._after is None or event.position > self._after:
                    self._after = event.position
                    yield event_document(event)
            self._version = page[-1].version
            if len(page) < PAGE:
                return

    async def _page(self) -> list[Event]:
        store, scope = self._session.store, self._session.scope
        if self._key is None:
            return await store.events(scope, stream=self._stream, after=self._after, limit=PAGE)
        # A version's rows may be split between two pages: its last version is read again, what was given is left out.
        behind = max(0, self._version - 1)
        return await store.events(scope, record=self._key, after_version=behind, limit=PAGE)


async def open_feed(
    session: Session, *, tenant: str, user: str | None, run: str | None, after: Position | None
) -> Feed:
    """The feed of a run, or of a user's stream. Raises InvalidInput where neither is named."""
    if run is not None:
        key = (await session.record(run)).key
        return Feed(session, key=key, stream=(key.tenant, key.user), after=after)
    if user is None:
        raise InvalidInput("events: expected a run, or --user USER for all events of one user, saw neither")
    return Feed(session, key=None, stream=(tenant, user), after=after)
