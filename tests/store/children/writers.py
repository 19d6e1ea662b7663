"""Commits without end: `writers FILE NAME COUNT`. Says "go", and then each transition that was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.store import journal
from holdfast.store.records import Change, Key, NewEvent, Put, Scope
from holdfast.store.sqlite import SqliteStore


async def transitions(store: SqliteStore, name: str) -> None:
    """One run's transitions, each one acknowledged before the next."""
    key = Key("acme", name, "run", f"run-{name}")
    body = None
    for version in range(1, 1_000_000):
        after = {"n": version, "by": name}
        delta = journal.delta(body, after, version)
        put = Put(key=key, body=b'{"n":%d,"by":"%s"}' % (version, name.encode()), expect=version - 1, status="active")
        event = NewEvent(key=key, name="transition", body=b"{}", delta=delta)
        change = Change(change_id=f"{name}-{version}", writes=(put,), events=(event,))
        try:
            await store.commit(Scope.of_user("acme", name), change)
        except HoldfastError as error:
            sys.stdout.write(f"error {type(error).__name__} {error.message}\n")
            return
        sys.stdout.write(f"done {name} {version}\n")
        body = after


async def main(file: str, name: str, count: int) -> None:
    store = SqliteStore(Path(file), process=name)
    sys.stdout.write("go\n")
    await asyncio.gather(*(transitions(store, f"{name}{number}") for number in range(count)))
    sys.stdout.write(f"ailment {store.ailment()}\n")
    await store.close()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
