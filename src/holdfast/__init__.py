"""holdfast keeps agent workflows going: durable, statechart-driven runs that survive crashes, outages and waits."""

from holdfast.context import UserExecutionContext
from holdfast.errors import (
    CommitUnknown,
    Conflict,
    Corrupt,
    ErrorSeverity,
    ErrorType,
    Fenced,
    HoldfastError,
    InvalidDefinition,
    InvalidInput,
    InvalidTransition,
    NotFound,
    Rejected,
    Unavailable,
    WorkflowError,
    WrongContext,
)

__all__ = [
    "CommitUnknown",
    "Conflict",
    "Corrupt",
    "ErrorSeverity",
    "ErrorType",
    "Fenced",
    "HoldfastError",
    "InvalidDefinition",
    "InvalidInput",
    "InvalidTransition",
    "NotFound",
    "Rejected",
    "Unavailable",
    "UserExecutionContext",
    "WorkflowError",
    "WrongContext",
]
