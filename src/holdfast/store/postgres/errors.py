"""What PostgreSQL and its driver say, in the words of the store: which error it is, whose fault, and what to do."""

from __future__ import annotations

import asyncio

import asyncpg

from holdfast.errors import Corrupt, HoldfastError, InvalidInput, Rejected, Unavailable

_AWAY = {
    "28": "the server refuses these credentials; check user and password of the URL",
    "3D": "there is no such database; create it first (createdb)",
    "25006": "the server is read-only, as a standby is; name the primary in the URL",
    "53100": "the server's disk is full; free space, nothing was half done",
    "53200": "the server is out of memory; try again with less at once",
    "53300": "the server has no connection left; lower pool_size in the URL or raise max_connections",
    "53": "the server lacks resources; see its log",
    "55P03": "a lock was not to be had in time; another session holds it, see pg_stat_activity",
    "57014": "the server took too long and was stopped; see its load",
    "57P": "the server is starting or stopping; it is tried again",
    "08": "the connection was lost; it is tried again",
    "58": "the server's machine fails it; see its log",
    "42501": "the role may not do this; grant holdfast_scoped and holdfast_system to the user of the URL",
    "0A000": "a statement's plan is out of date; it is tried again",
    "26000": "a pooler before the server knows no prepared statements; add ?statement_cache_size=0 to the URL",
}
"""By SQLSTATE, or its beginning: the longest that fits is the one that tells most."""
RACES = ("40001", "40P01", "23505")
"""Somebody else was quicker: the same again has another outcome."""
_DAMAGED = ("XX001", "XX002")
_OF_THE_SESSION = ("FATAL", "PANIC")
_OF_A_VALUE = ("22", "23", "54000")
LOST = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError, TimeoutError, asyncio.IncompleteReadError)
"""What says that a connection is of no use any more."""
EVERYTHING = (asyncpg.PostgresError, asyncpg.InternalClientError, *LOST)


def translate(error: BaseException, place: str) -> HoldfastError:
    """The store's error for the driver's."""
    state = getattr(error, "sqlstate", None) or ""
    facts = {"place": place, "sqlstate": state, "postgres": str(error)}
    if is_payload_fault(error):
        return InvalidInput(f"{place}: expected values that PostgreSQL can store, saw otherwise ({error})", **facts)
    if state in _DAMAGED:
        return Corrupt(f"{place}: the server finds its files damaged ({error}); restore a backup", **facts)
    if state == "42501" and "row-level security" in str(error):
        return Rejected(f"{place}: a row lies outside the scopes of its sender ({error})", **facts)
    for length in (5, 3, 2):
        if words := _AWAY.get(state[:length]):
            return Unavailable(f"{place}: {words} ({error})", **facts)
    if isinstance(error, TimeoutError):
        return Unavailable(
            f"{place}: expected an answer in time, saw none; the server or the way to it is slow", **facts
        )
    if isinstance(error, LOST):
        return Unavailable(
            f"{place}: expected a server that answers ({type(error).__name__}: {error}); does it run, and are host and "
            "port of the URL right?",
            **facts,
        )
    return Unavailable(f"{place}: PostgreSQL refuses ({type(error).__name__}: {error})", **facts)


def is_payload_fault(error: BaseException) -> bool:
    """Whether some value that was sent is to blame, rather than the server."""
    state = getattr(error, "sqlstate", None) or ""
    return state.startswith(_OF_A_VALUE) and state not in RACES


def is_fate_unknown(error: BaseException) -> bool:
    """Whether a commit that ended in this error may have happened all the same: the connection or the server was lost
    over it. Otherwise the server said that it undid it."""
    if not isinstance(error, asyncpg.PostgresError) or isinstance(error, asyncpg.PostgresConnectionError):
        return True
    return error.severity_en in _OF_THE_SESSION or (error.sqlstate or "").startswith("57P")


def is_lost(error: BaseException | None) -> bool:
    """Whether a connection is gone, or a server that is about to be back, rather than slow or unwilling."""
    if isinstance(error, TimeoutError):
        return False
    return isinstance(error, LOST) or (getattr(error, "sqlstate", None) or "").startswith("57P")


def is_away(error: BaseException) -> bool:
    """Whether an error, the driver's or ours that came of it, says that the server cannot be reached or did not answer;
    one that it answered with shows that it is there. A commit whose answer was lost says so, too."""
    cause = error.__cause__ if isinstance(error, HoldfastError) else error
    return isinstance(cause, TimeoutError) or is_lost(cause)


def is_race(error: BaseException) -> bool:
    """Whether the whole batch is to be tried again, because somebody else was quicker."""
    return (getattr(error, "sqlstate", None) or "") in RACES
