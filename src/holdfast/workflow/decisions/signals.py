"""Signals as records: how one lies in a run's inbox, under which key, with which verdict. Pure."""

from __future__ import annotations

from holdfast import codec
from holdfast.store.contract.records import Key, Put
from holdfast.workflow.model.run import SIGNAL, Run, Signal, last_part

NEW, EARLY, TAKEN, REFUSED = "new", "early", "taken", "refused"
JUDGED = (TAKEN, REFUSED)
"""Statuses of a signal that nobody will look at again."""


def signal_key(run: Run, signal_id: str) -> Key:
    """The key of a signal: its id is its de-duplication key within the run."""
    return inbox_key(run.key, signal_id)


def inbox_key(run_key: Key, signal_id: str) -> Key:
    """The key of a signal in the inbox of the run of that key."""
    return Key(run_key.tenant, run_key.user, SIGNAL, f"{run_key.id}/{last_part(signal_id)}")


def signal_put(run: Run, signal: Signal, status: str, *, expect: int, now: float) -> Put:
    """The write that stores `signal` with a verdict; a final one is due, since `now`, to be removed some day."""
    return inbox_put(run.key, run.queue, signal, status, expect=expect, due=now if status in JUDGED else None)


def inbox_put(
    run_key: Key, queue: str, signal: Signal, status: str, *, expect: int | None, due: float | None = None
) -> Put:
    """The same, for who knows of the run its key and its queue alone."""
    return Put(
        key=inbox_key(run_key, signal.id),
        body=codec.encode(signal, what=f"signal {signal.name} of run {run_key.id}"),
        expect=expect,
        status=status,
        due=due,
        queue=queue,
        labels={"run": run_key.id},
    )
