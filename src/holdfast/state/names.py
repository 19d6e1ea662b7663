"""What objects are called, and under which keys they and what belongs to them are stored. Pure.

An object's path is segments joined by "/", such as "network/layer/agent/plan". It belongs to one user, or is shared by
the users of a tenant. Seen from a user's object, a shared one is written "shared:path".
"""

from __future__ import annotations

from holdfast.errors import InvalidInput
from holdfast.names import Asker
from holdfast.store.contract.records import SHARED, Key, Scope
from holdfast.store.rows.copies import STATE, STATE_BETWEEN, STATE_COPY

OBJECT = STATE
"""The kind of records that are objects; their ids are paths."""
EDGE = "state_edge"
"""The kind of records that say who depends on whom; an id is the source, two slashes and the dependent's path."""
COPY = STATE_COPY
"""The kind of records that hold an object for a checkpoint; an id is its path, two slashes and the checkpoint."""
MANIFEST = "state_checkpoint"
"""The kind of records that say what a checkpoint is; their ids are names."""
BETWEEN = STATE_BETWEEN
SHARED_REF = "shared:"
PATH_CHARS_MAX = 300
SEGMENTS_MAX = 20


def checked_path(path: object) -> str:
    """`path` if it can name an object. Raises InvalidInput."""
    if not isinstance(path, str):
        raise InvalidInput(f"path: expected text such as 'network/layer/agent/plan', saw {type(path).__name__}")
    segments = path.split("/")
    is_plain = 0 < len(path) <= PATH_CHARS_MAX and path.isprintable() and len(segments) <= SEGMENTS_MAX
    if not is_plain or not all(segments) or path.startswith(SHARED_REF):
        raise InvalidInput(
            f"path: expected 1 to {SEGMENTS_MAX} segments joined by single '/', {PATH_CHARS_MAX} printable signs at "
            f"most, not beginning with {SHARED_REF!r}, saw {path!r:.80}; what is shared is asked for by shared=True",
            seen=path,
        )
    return path


def checked_prefix(prefix: object) -> str:
    """What the paths beneath `prefix` begin with; "" is all. Raises InvalidInput."""
    if prefix == "":
        return ""
    return checked_path(prefix.removesuffix("/") if isinstance(prefix, str) else prefix) + "/"


def checked_name(name: object) -> str:
    """`name` if it can name a checkpoint. Raises InvalidInput."""
    if not isinstance(name, str) or not 0 < len(name) <= PATH_CHARS_MAX or not name.isprintable():
        raise InvalidInput(f"checkpoint: expected a name of 1 to {PATH_CHARS_MAX} printable signs, saw {name!r:.80}")
    return name


def owner_of(context: Asker, shared: bool) -> tuple[str, str]:
    """The tenant and user whose objects are meant."""
    return context.tenant, SHARED if shared else context.user


def object_key(context: Asker, path: object, *, shared: bool) -> Key:
    """The key of an object. Raises InvalidInput."""
    return Key(*owner_of(context, shared), OBJECT, checked_path(path))


def scope_of(context: Asker) -> Scope:
    """What a context may see and touch."""
    return Scope.of_user(context.tenant, context.user)


def ref(source: Key, *, dependent: Key) -> str:
    """What `source` is called by `dependent`. Raises InvalidInput where something shared would depend on somebody's
    own, which the others may not see."""
    if source.user == dependent.user:
        return source.id
    if source.user != SHARED:
        raise InvalidInput(
            f"{dependent.id}: expected an object that is shared to depend on shared ones only, saw {source.id!r}"
        )
    return SHARED_REF + source.id


def source_key(name: str, *, dependent: Key) -> Key:
    """The key of what `dependent` calls `name`."""
    user = SHARED if name.startswith(SHARED_REF) else dependent.user
    return Key(dependent.tenant, user, OBJECT, name.removeprefix(SHARED_REF))


def edge_key(name: str, dependent: Key) -> Key:
    """The key of the record that says that `dependent` depends on what it calls `name`."""
    return Key(dependent.tenant, dependent.user, EDGE, f"{name}{BETWEEN}{dependent.id}")


def copy_key(original: Key, checkpoint_id: str) -> Key:
    """The key of the copy of an object in a checkpoint."""
    return Key(original.tenant, original.user, COPY, f"{original.id}{BETWEEN}{checkpoint_id}")


def copied_key(copy: Key) -> Key:
    """The key of the object that a copy is of."""
    return Key(copy.tenant, copy.user, OBJECT, copy.id.rpartition(BETWEEN)[0])
