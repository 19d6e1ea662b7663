"""Commits without end: `writers FILE NAME COUNT [STOP_AT]`. Says "go", then each acknowledged transition."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.store.contract.records import Change, Key, NewEvent, Put, Scope
from holdfast.store.rows import journal
from holdfast.store.sqlite.store import SqliteStore


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


class StoppingClock(SystemClock):
    """Stops the process when asked the time for the `nth` time, which a commit does inside its transaction."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def time_s(self) -> float:
        self._left -= 1
        if self._left == 0:
            # To this very thread: one sent to the process would let it run on for a moment.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return super().time_s()


async def main(file: str, name: str, count: int, stop_at: int = 0) -> None:
    store = SqliteStore(Path(file), process=name, clock=StoppingClock(stop_at))
    sys.stdout.write("go\n")
    await asyncio.gather(*(transitions(store, f"{name}{number}") for number in range(count)))
    sys.stdout.write(f"ailment {store.ailment()}\n")
    await store.close()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
