"""What can happen to a run. An event is one of these; `rules.decide` judges it."""

from __future__ import annotations

import msgspec

from holdfast.workflow.model.run import Failure, Signal, Timer


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all; `agent` is who or what caused it, for the audit trail."""

    agent: str = "engine"


class Finished(Occurrence, frozen=True, kw_only=True):
    """A handler returned `outcome`; `data` is the run's data as it left it, `base` as it got it (JSON)."""

    leaf: str
    visit: int
    outcome: str
    data: bytes
    base: bytes


class Failed(Occurrence, frozen=True, kw_only=True):
    """A handler raised. `draw` in [0, 1) jitters the back-off."""

    leaf: str
    visit: int
    failure: Failure
    draw: float = 0.0


class Parked(Occurrence, frozen=True, kw_only=True):
    """What a leaf needs is not well: `on` is to blame. It is looked at again at `look_at` (epoch seconds) at the
    latest."""

    leaf: str
    visit: int
    on: str
    reason: str
    look_at: float


class Unparked(Occurrence, frozen=True, kw_only=True):
    """A parked leaf is to be tried again."""

    leaf: str
    visit: int


class Signalled(Occurrence, frozen=True, kw_only=True):
    """A signal was taken from the inbox, where its record stands at `record_version` (0: not stored yet)."""

    signal: Signal
    record_version: int = 0


class ChildEnded(Signalled, frozen=True, kw_only=True):
    """The child that `leaf` waits for has ended, or stopped ("" where none waits for it any more)."""

    leaf: str


class ParentLeft(Signalled, frozen=True, kw_only=True):
    """The run that started this one has left the state in which it waited for it."""


class TimerDue(Occurrence, frozen=True, kw_only=True):
    timer: Timer


class RetryDue(Occurrence, frozen=True, kw_only=True):
    """The back-off of a failing leaf is over."""

    leaf: str
    visit: int


class AttemptOverdue(Occurrence, frozen=True, kw_only=True):
    """One attempt of a handler took longer than its state's `timeout_s`."""

    leaf: str
    visit: int
    draw: float = 0.0


class SlaBreached(Occurrence, frozen=True, kw_only=True):
    leaf: str
    visit: int


class RunOverdue(Occurrence, frozen=True, kw_only=True):
    """The whole run passed its deadline (`timeout_at`)."""


class LockGranted(Occurrence, frozen=True, kw_only=True):
    """All that the leaf's state declares is held; `tokens`: one for each."""

    leaf: str
    visit: int
    tokens: tuple[int, ...]


class LockLost(Occurrence, frozen=True, kw_only=True):
    """The locks must be asked for again: after a recovery, or because their places in line are gone."""

    leaf: str
    visit: int


class PlaceAsked(Occurrence, frozen=True, kw_only=True):
    """Whoever owns the run is ready to begin the leaf's handler, and there may be room for it under its limits."""

    leaf: str
    visit: int


class PlaceLost(Occurrence, frozen=True, kw_only=True):
    """The attempt that had the places is none any more, or may be somebody else's: another is to be begun."""

    leaf: str
    visit: int


class Cancelled(Occurrence, frozen=True, kw_only=True):
    reason: str = ""


class Paused(Occurrence, frozen=True, kw_only=True):
    reason: str = ""


class Resumed(Occurrence, frozen=True, kw_only=True):
    """By hand: of a paused, failed or set-aside run, with a fresh budget of retries and deaths."""

    reason: str = ""


class Died(Occurrence, frozen=True, kw_only=True):
    """The process that owned the run died. `memos`: how many memos its visits have now; `was_alone`: it was the one
    suspect that ran; `deaths_max`: how many deaths set a suspect aside; `silent_s`: seconds since its last sign of
    life, None where that is not known."""

    memos: int
    was_alone: bool
    deaths_max: int
    silent_s: float | None = None


class TakenUp(Occurrence, frozen=True, kw_only=True):
    """The run came to a new actor: what was at work begins anew, and has its whole time again."""


class Directed(Occurrence, frozen=True, kw_only=True):
    """Somebody named the chart's event to take, and updates of the data (`WorkflowStateManager.transition_state`)."""

    event: str
    trigger: str
    updates: bytes = b"{}"


class Reported(Occurrence, frozen=True, kw_only=True):
    """A failure reported from outside for the run's current leaf (`handle_workflow_error`)."""

    failure: Failure
    draw: float = 0.0


class Moved(Occurrence, frozen=True, kw_only=True):
    """New code took the run over: adopted as it stands, or its leaves renamed by a mapping."""

    version: int
    states: dict[str, str]


OF_ITS_OWN = (
    *(Finished, Failed, Parked, Unparked, TimerDue, RetryDue, AttemptOverdue, SlaBreached, RunOverdue),
    *(LockGranted, LockLost, PlaceAsked, PlaceLost, TakenUp),
)
"""What comes of a run's own going on, and of nobody's word: it does not set a run going that stands still."""


def is_result_of(occurrence: Occurrence, path: str) -> bool:
    """Whether it is what came of an attempt of that leaf's handler."""
    return isinstance(occurrence, Finished | Failed | Parked) and occurrence.leaf == path
