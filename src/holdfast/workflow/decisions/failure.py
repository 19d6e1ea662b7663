"""From an exception to the facts of a failure: what kind it is decides whether a retry can help."""

from __future__ import annotations

from typing import Any

from holdfast import codec
from holdfast.errors import (
    Conflict,
    ErrorSeverity,
    ErrorType,
    InvalidInput,
    Rejected,
    Unavailable,
    WorkflowError,
)
from holdfast.workflow.model.run import Failure

MESSAGE_CHARS_MAX = 2000


def failure_of(error: BaseException) -> Failure:
    """The facts of an exception that a handler or step raised. Unknown ones count as worth a retry."""
    severity = ErrorSeverity.MEDIUM
    facts: dict[str, Any] = {}
    if isinstance(error, WorkflowError):
        kind, severity = error.error_type, error.severity
        facts = {name: value for name, value in error.facts.items() if _is_plain(name) and _is_plain(value)}
    elif isinstance(error, InvalidInput | Rejected):
        kind = ErrorType.VALIDATION
    elif isinstance(error, TimeoutError):
        kind = ErrorType.TIMEOUT
    elif isinstance(error, Conflict):
        kind = ErrorType.CONFLICT
    elif isinstance(error, Unavailable | ConnectionError):
        kind = ErrorType.TRANSIENT
    elif isinstance(error, MemoryError | OSError):
        kind = ErrorType.RESOURCE
    else:
        kind = ErrorType.UNKNOWN
    return Failure(
        error_type=kind.value,
        severity=severity.value,
        message=_clean(str(error)),
        kind=type(error).__name__,
        facts=facts,
    )


def _is_plain(value: object) -> bool:
    try:
        codec.encode(value, bytes_max=4096)
    except InvalidInput:
        return False
    return isinstance(value, str | int | float | bool | list | dict)


def _clean(text: str) -> str:
    """`text` as a store can keep it: without NUL, and without the halves of signs that stand for undecodable bytes."""
    return text.replace("\0", " ")[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode()
