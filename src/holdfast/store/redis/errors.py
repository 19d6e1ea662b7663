"""What Redis and its driver say, in the words of the store: which error it is, and what to do."""

from __future__ import annotations

from redis import exceptions

from holdfast.errors import CommitUnknown, Corrupt, HoldfastError, Unavailable

EVERYTHING = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError)
"""What the driver raises. (What it says of a cluster's nodes is of a family of its own.)"""
_WORDS = {
    "LOADING": "the server is loading its data; it is tried again",
    "READONLY": "the server is a read-only replica; name the primary in the URL",
    "OOM": "the server's memory is full; raise maxmemory or remove old runs, nothing was half done",
    "MISCONF": "the server cannot write its snapshots and refuses to be written to; see its log",
    "NOAUTH": "the server wants credentials; put them into the URL",
    "WRONGPASS": "the server refuses these credentials; check user and password of the URL",
    "NOPERM": "the user of the URL may not do this; grant it the commands and keys of the namespace",
    "CLUSTERDOWN": "the cluster has no owner for some slots; see CLUSTER INFO",
    "CROSSSLOT": "the server is a cluster; use redis+cluster:// in the URL",
    "MOVED": "the server is a cluster; use redis+cluster:// in the URL",
    "BUSY": "the server is busy with a script; it is tried again",
    "NOREPLICAS": "too few replicas follow the server for it to take writes; see its log",
    "MAXCLIENTS": "the server has no connection left; see maxclients",
    "CLOSED": "the store is closed",
    "EXPIRED": "nobody read this snapshot for long, or a restore has replaced everything; begin another",
}
"""By the first word of what the server says."""


def translate(error: BaseException, place: str) -> HoldfastError:
    """The store's error for the driver's, where nothing was done."""
    facts = {"place": place, "redis": str(error)}
    said = str(error)
    if said.startswith("BEHIND"):
        return Corrupt(
            f"{place}: expected numbers that are ahead of every journal, saw otherwise ({said}); run verify, then"
            " repair or restore a backup",
            **facts,
        )
    words = _WORDS.get(said.partition(" ")[0].removesuffix(":"))
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError) and words is None:
        words = _WORDS["WRONGPASS"]
    if isinstance(error, exceptions.BusyLoadingError):
        words = _WORDS["LOADING"]
    if isinstance(error, exceptions.ReadOnlyError):
        words = _WORDS["READONLY"]
    if isinstance(error, exceptions.OutOfMemoryError):
        words = _WORDS["OOM"]
    if words is not None:
        return Unavailable(f"{place}: {words} ({said})", **facts)
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return Unavailable(f"{place}: no answer came in time; the server or the way to it is slow", **facts)
    if isinstance(error, exceptions.ConnectionError | exceptions.RedisClusterException | OSError):
        return Unavailable(f"{place}: expected a server that answers ({said})", **facts)
    return Unavailable(f"{place}: Redis refuses ({type(error).__name__}: {said})", **facts)


def translate_write(error: BaseException, place: str) -> HoldfastError:
    """The same for a script that writes: where its answer was lost, nobody knows."""
    is_lost = isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError | TimeoutError)
    is_said = isinstance(error, exceptions.BusyLoadingError | exceptions.AuthenticationError)
    is_unsent = isinstance(error, exceptions.MaxConnectionsError) or "connecting to" in str(error)
    if is_lost and not is_said and not is_unsent:
        return CommitUnknown(f"{place}: the answer to a commit was lost ({error})", place=place)
    return translate(error, place)


def is_away(error: BaseException) -> bool:
    """Whether an error, the driver's or ours that came of it, says that the server cannot be reached, does not answer,
    or is not ready yet; one that it answered with shows that it is there."""
    cause = error.__cause__ if isinstance(error, HoldfastError) else error
    if isinstance(cause, exceptions.AuthenticationError | exceptions.MaxConnectionsError):
        return False
    return isinstance(cause, exceptions.ConnectionError | exceptions.TimeoutError | OSError | TimeoutError)


def is_closed(error: BaseException) -> bool:
    """Whether a script said that a restore is under way."""
    return str(error).startswith("CLOSED")
