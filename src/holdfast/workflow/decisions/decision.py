"""What a decision is: the next run, the journal rows that tell it, and what starts and stops once it is committed."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import codec
from holdfast.store.contract.records import NewEvent
from holdfast.store.rows import journal
from holdfast.workflow.model.run import Leaf, Run

TRANSITION = "transition"


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One journal row. Only those named "transition" move between states; the others tell what else was decided."""

    name: str = TRANSITION
    from_state: str = ""
    to_state: str = ""
    trigger: str = ""
    agent: str = "engine"
    metadata: dict[str, Any] = {}

    def facts(self) -> dict[str, Any]:
        """The stored body of the row."""
        body: dict[str, Any] = {"agent": self.agent, "metadata": self.metadata}
        if self.name == TRANSITION:
            body |= {"from": self.from_state, "to": self.to_state, "trigger": self.trigger}
        return body


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` is empty when accepted. `stopped`: leaves whose handlers end; `entered`: leaves to be worked on;
    `left`: visits that are over, whose memos go; `released`: leaves, as they were, whose locks are given back."""

    run: Run
    rows: tuple[Row, ...] = ()
    reason: str = ""
    stopped: tuple[str, ...] = ()
    entered: tuple[str, ...] = ()
    left: tuple[tuple[str, Leaf], ...] = ()
    released: tuple[tuple[str, Leaf], ...] = ()


def refused(run: Run, reason: str) -> Decision:
    """The decision that changes nothing, with the reason."""
    return Decision(run=run, reason=reason)


def events_of(run: Run, rows: tuple[Row, ...], before: bytes, after: bytes, version: int) -> tuple[NewEvent, ...]:
    """The journal rows of a decision; the last one carries how the run's record changed (`before` is b"" at first)."""
    told = rows or (Row(name="changed"),)
    delta = journal.delta(codec.decode(before) if before else None, codec.decode(after), version)
    return tuple(
        NewEvent(
            key=run.key,
            name=row.name,
            body=codec.encode(row.facts(), what=f"journal row of run {run.id}"),
            delta=delta if row is told[-1] else b"",
        )
        for row in told
    )
