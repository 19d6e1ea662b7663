"""How keys are named, so that all of one tenant lie in one slot of a cluster. Pure."""

from __future__ import annotations

from holdfast.store.contract.records import Key

SCHEMA = 1
"""Of the layout of keys; a store of a later one is refused."""
INCARNATION = 1
"""Of a store into which nothing was ever loaded."""


class Places:
    """The keys below one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def prefix(self, tenant: str) -> str:
        """What the keys of a tenant begin with: its name as a hash tag, without braces in it. (Empty, it were none.)"""
        tag = tenant.replace("%", "%25").replace("{", "%7B").replace("}", "%7D") or "%"
        return f"{self._namespace}:{{{tag}}}:"

    @property
    def tenants(self) -> str:
        """The set of all tenants."""
        return f"{self._namespace}:tenants"

    @property
    def facts(self) -> str:
        """Facts of the whole store: `schema`, `commits`, the `incarnation` in which tenants begin, and `restoring`
        while a restore is under way."""
        return f"{self._namespace}:facts"

    @property
    def channel(self) -> str:
        """Where commits are told of."""
        return f"{self._namespace}:commits"

    @property
    def everything(self) -> str:
        """A pattern for all keys of a tenant or the store."""
        return self._namespace.replace("*", r"\*").replace("?", r"\?").replace("[", r"\[") + ":*"


def place(key: Key) -> str:
    """A record within its tenant, as the scripts name it."""
    return f"{key.kind}\0{key.user}\0{key.id}"


def key_at(tenant: str, where: str) -> Key:
    """The key at a `place`."""
    kind, user, id_ = where.split("\0", 2)
    return Key(tenant, user, kind, id_)


def key_of(tenant: str, kind: str, member: str) -> Key:
    """The key that a member of an index stands for."""
    id_, _, user = member.rpartition("\0")
    return Key(tenant, user, kind, id_)
