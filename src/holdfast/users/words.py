"""What a user is told when his agent did not do what he asked: plain words, and what to do next. Pure.

Nothing of the inside goes out: no text of an unexpected error, no name of another user, no place in the code. Whoever
helps finds the rest by the reference.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.clock import format_duration
from holdfast.errors import (
    BreakerOpen,
    BulkheadFull,
    CommitUnknown,
    Conflict,
    DeadlineExceeded,
    Fenced,
    HoldfastError,
    NotFound,
    QuotaExceeded,
    Rejected,
    Unavailable,
)

NOTIFICATION = "notification"
"""The name of the event that carries one."""
Level = Literal["info", "warning", "error"]


class UserNotification(msgspec.Struct, frozen=True, kw_only=True):
    """What a user reads: what happened to which agent, and what he can do. `retry_after_s`: in how many seconds it is
    worth trying again, None where that is not known; `reference`: what to name when asking for help."""

    level: Level
    agent: str
    text: str
    next_step: str
    retry_after_s: float | None = None
    reference: str = ""


def notification_of(
    error: BaseException, *, agent: str, timeout_s: float | None = None, reference: str = ""
) -> UserNotification:
    """The words for what `agent` met. `timeout_s`: the time that it was given."""
    level, text, next_step = _words(error, agent, timeout_s)
    after = error.facts.get("retry_after_s") if isinstance(error, HoldfastError) else None
    retry_after_s = float(after) if isinstance(after, int | float) else None
    if retry_after_s is not None:
        next_step = f"{next_step} Earliest in {format_duration(max(1.0, retry_after_s))}."
    help_line = f" If you ask for help, name {reference}." if reference and level == "error" else ""
    return UserNotification(
        level=level,
        agent=agent,
        text=text,
        next_step=next_step + help_line,
        retry_after_s=retry_after_s,
        reference=reference,
    )


def _words(error: BaseException, agent: str, timeout_s: float | None) -> tuple[Level, str, str]:
    given = "" if timeout_s is None else f" within {format_duration(timeout_s)}"
    match error:
        case QuotaExceeded():
            return (
                "warning",
                f"{agent} was not started: {error.message.partition(': ')[2]}.",
                "Wait until there is room again, or ask for a higher quota.",
            )
        case BulkheadFull():
            return (
                "warning",
                f"{agent} was not started: too much of yours is waiting already.",
                "Let what is under way finish, then try again.",
            )
        case BreakerOpen():
            return (
                "warning",
                f"{agent} was not started: something that it depends on is not well at the moment.",
                "Try again later; nothing of yours was lost.",
            )
        case DeadlineExceeded() | TimeoutError():
            return (
                "error",
                f"{agent} did not finish{given} and was stopped.",
                "Try again; if it happens again, ask for less at once or give it more time.",
            )
        case NotFound():
            return "error", f"{agent} is not among your agents, or works on what is not there.", "Check the name."
        case Conflict() | Fenced():
            return (
                "warning",
                f"{agent} was stopped: what it works on was changed meanwhile.",
                "Look at how it stands now, then try again.",
            )
        case Rejected():
            return (
                "error",
                f"{agent} could not use what it was given.",
                "Check what you asked for; trying again as it is will not help.",
            )
        case CommitUnknown():
            return (
                "error",
                f"{agent} may have done its work, but the answer was lost.",
                "Look whether it happened before you try again.",
            )
        case Unavailable():
            return "warning", f"{agent} could not work just now.", "Try again in a moment; nothing of yours was lost."
        case _:
            return "error", f"{agent} failed.", "Try again; if it fails again, ask for help."
