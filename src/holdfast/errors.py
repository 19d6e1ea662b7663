"""The one tree of errors. The class says what the caller should do; the facts are attributes.

`Conflict` re-read and decide again; `Fenced` stop, somebody else owns it; `NotFound` the name is wrong or not yours;
`Rejected` a rule says no; `Unavailable` try again later; `CommitUnknown` it may have happened, look before you retry;
`Corrupt` ask a human.
"""

from __future__ import annotations

import enum
from typing import Any


class HoldfastError(Exception):
    """Root of everything that holdfast raises on purpose. `facts` holds what the message tells, for machines."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; its facts are {sorted(facts)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[HoldfastError], message: str, facts: dict[str, Any]) -> HoldfastError:
    return kind(message, **facts)


class Conflict(HoldfastError):
    """Something changed since it was read: re-read, decide again."""


class MergeConflict(Conflict):
    """Two writers changed the same fields of one object differently, and no policy says who wins. `paths` names the
    fields, `conflicts` says what each side has there."""


class Deadlock(Conflict):
    """Who waits for this lock would wait for himself: give back what you hold, and ask again. `cycle` tells the way,
    one wait after the other, as a sentence."""


class Fenced(HoldfastError):
    """Ownership moved on (a newer epoch or token exists): stop, write nothing more."""


class NotFound(HoldfastError, LookupError):
    """No such thing in the caller's scope. Another user's thing looks the same, on purpose."""


class UnknownWorkflow(NotFound, ValueError):
    """No such run in the caller's scope; the spec wants a ValueError that names it."""


class Rejected(HoldfastError):
    """A rule says no, and will say so again for the same input."""


class InvalidTransition(Rejected, ValueError):
    """The chart has no such transition from here; nothing was changed. Names both states."""


class InvalidDefinition(Rejected, ValueError):
    """A chart or workflow that has no meaning, or fails a check. Raised when it is built, never at night."""


class InvalidInput(Rejected, ValueError):
    """A payload, URL, name or folder that cannot be used; says what was expected and what was seen."""


class WrongContext(Rejected, TypeError):
    """Something else stands where a user's context is due: "must be UserExecutionContext"."""


class ContextClosed(Rejected):
    """A user's context is used after its clean-up: what it stood for is over. Make a new one, from its session."""


class BudgetExceeded(Rejected):
    """A piece of work asks for more calls, tokens or money than it was given. `name` says which, `limit`, `left` and
    `asked` how much; nothing was spent."""


class Unavailable(HoldfastError):
    """It cannot be done now (locked, full, away, closed); the same call may work later."""


class BreakerOpen(Unavailable):
    """A breaker refuses calls to something that is not well; nothing was called. `breaker` names it, `retry_after_s`
    says in how many seconds it is worth asking again, None where only a person releases it."""


class BulkheadFull(Unavailable):
    """All places of a bulkhead are taken, and so are those in its queue; nothing was called. `bulkhead` names it; send
    less, or give it more places. `reason` is "queue" or "user", where one user already has its share of the queue."""


class QuotaExceeded(Unavailable):
    """A user has used what he may in this window of time; nothing was begun. `measure` names what is used up, `used`
    and `most` how much of how much, `retry_after_s` in how many seconds there is room again; None where there never
    is, as one wish alone is above the quota."""


class DeadlineExceeded(Unavailable, TimeoutError):
    """The time that a call was given is over, before it began or while it ran. `what` says what it was given to."""


class CommitUnknown(HoldfastError):
    """The answer to a commit was lost. The work may have happened: look its `change_id` up before trying again."""


class Corrupt(HoldfastError):
    """Stored bytes contradict their digest, or state contradicts its journal. Says where."""


class ErrorType(enum.Enum):
    """What kind of failure a workflow met; decides whether a retry can help."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    TIMEOUT = "timeout"
    RESOURCE = "resource"
    VALIDATION = "validation"
    EXTERNAL = "external"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


class ErrorSeverity(enum.Enum):
    """How loudly to tell people."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class WorkflowError(HoldfastError):
    """A failure inside a workflow, raised by a handler or a step, or handed to `handle_workflow_error`.

    `retry_count` counts the retries so far, not the attempts. `error_type` PERMANENT and VALIDATION are not retried.
    """

    def __init__(
        self,
        message: str = "",
        *,
        error_type: ErrorType = ErrorType.UNKNOWN,
        severity: ErrorSeverity = ErrorSeverity.MEDIUM,
        workflow_id: str = "",
        retry_count: int = 0,
        **facts: Any,
    ) -> None:
        super().__init__(
            message,
            error_type=error_type,
            severity=severity,
            workflow_id=workflow_id,
            retry_count=retry_count,
            **facts,
        )
        self.error_type = error_type
        self.severity = severity
        self.workflow_id = workflow_id
        self.retry_count = retry_count

    @property
    def is_retryable(self) -> bool:
        """Whether a retry of the same work can help, by type alone."""
        return self.error_type not in (ErrorType.PERMANENT, ErrorType.VALIDATION)
