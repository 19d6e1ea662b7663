"""Who else uses a key that was changed and is blamed: workloads, services on the way, other sources. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from holdfast_sre.diagnosis.findings import Change, Finding, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig
from holdfast_sre.history.keys import TABLES, Key, blamed_keys, keys_at, known_keys
from holdfast_sre.history.sources import SourcePast, blamed_services
from holdfast_sre.repair.last_good.changelog import Edit, is_blamed
from holdfast_sre.repair.proof.blast_radius import users_of

KEYS_MAX = 12
USERS_MAX = 30


class KeyUse(msgspec.Struct, frozen=True):
    """A changed key, the commits that changed it, and who else uses it, each with how; `users_left_out` are more."""

    key: str
    changed_by: tuple[str, ...]
    users: tuple[str, ...]
    users_left_out: int = 0

    @property
    def told(self) -> str:
        """One line for people."""
        more = f" and {self.users_left_out} more" if self.users_left_out else ""
        users = ", ".join(self.users) + more if self.users else "nobody else, as far as is known"
        return f"{self.key} (changed by {', '.join(self.changed_by)}): {users}"


Changed = Mapping[Key, tuple[str, ...]]
"""Keys with the commits that changed them."""
Elsewhere = Mapping[Key, tuple[str, ...]]
"""Keys with the places outside the cluster that name them."""


def changed_keys(
    snapshot: Snapshot, finding: Finding, edits: Iterable[Edit], pasts: Iterable[SourcePast], revisions: Iterable[str]
) -> Changed:
    """The keys that commits changed and the finding blames, at most KEYS_MAX. `revisions` are those that count."""
    wanted, found = frozenset(revisions), dict[Key, dict[str, None]]()
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    for edit in edits:
        for change in edit.changes if edit.commit.revision in wanted else ():
            if is_blamed(change, finding.blames):
                for key in _keys_of_change(change, services):
                    found.setdefault(key, {})[edit.commit.revision[:10]] = None
    blamed = blamed_keys(snapshot, finding, known_keys(snapshot))
    for past in pasts:
        for each in past.commits if wanted else ():
            touching = (change for change in each.keys if blamed.intersection(change.keys))
            for key in (key for change in touching for key in change.keys):  # the old name of a renamed one, too
                if each.commit.revision in wanted:
                    found.setdefault(key, {})[f"{each.commit.revision[:10]} of {past.service}"] = None
    return {key: tuple(found[key]) for key in islice(found, KEYS_MAX)}


def _keys_of_change(change: Change, services: set[str]) -> Iterator[Key]:
    kind, _, name = change.object.partition("/")
    if kind == "Service":
        yield Key("service", name)
    for text in (change.before, change.after):
        yield from keys_at(Ref(kind, name), change.path, text or "", services)


def key_users(
    snapshot: Snapshot, finding: Finding, changed: Changed, elsewhere: Elsewhere | None = None
) -> tuple[KeyUse, ...]:
    """Who else uses the changed keys, beside the finding's own object and workloads."""
    mine = {finding.object, *(ref for ref in snapshot.workloads if ref.name in blamed_services(snapshot, finding))}
    found = []
    for key, commits in changed.items():
        users = {ref: how for ref, how in _users(snapshot, key, mine).items() if ref not in mine}
        told = [f"{ref} ({how})" for ref, how in sorted(users.items())]
        told += [quote("", place).text for place in (elsewhere or {}).get(key, ())]
        left_out = max(0, len(told) - USERS_MAX)
        found.append(KeyUse(quote("", str(key)).text, commits, tuple(told[:USERS_MAX]), left_out))
    return tuple(found)


def _users(snapshot: Snapshot, key: Key, mine: set[Ref]) -> Mapping[Ref, str]:
    if key.kind == "service":
        return users_of(snapshot, Ref("Service", key.name))
    if key.kind == "port":
        return _users_of_port(snapshot, key.name, mine)
    if key.kind == "setting":
        return _users_of_setting(snapshot, key.name)
    return {}


def _users_of_setting(snapshot: Snapshot, name: str) -> dict[Ref, str]:
    """Workloads that set a variable of this name, and those that read the key of this name of any table."""
    found: dict[Ref, str] = {}
    for workload in snapshot.workloads:
        for container in containers_of(snapshot.manifest(workload)):
            entries = container.get("env")
            if isinstance(entries, Sequence) and any(dig(entry, "name") == name for entry in entries):
                found[workload] = f"sets {name}"
    for kind in ("ConfigMap", "Secret"):
        for table, manifest in snapshot.of_kind(kind):
            at = next((part for part in TABLES if name in (dig(manifest, part) or {})), None)
            if at is not None:
                for user, how in users_of(snapshot, table, [Change(str(table), f"{at}.{name}", "", None)]).items():
                    found.setdefault(user, f"{how.replace('reads it', 'reads all')} of {table}")
    return found


def _users_of_port(snapshot: Snapshot, port: str, mine: set[Ref]) -> dict[Ref, str]:
    """The services that lead to the port of the workloads in question, and who uses those."""
    found: dict[Ref, str] = {}
    for workload in sorted(ref for ref in mine if ref in snapshot.workloads):
        for service, manifest in snapshot.services_of(workload):
            ports = leaves(dig(manifest, "spec.ports") or [])
            if any(text == port and path.endswith("ort") for path, text in ports.items()):
                found[service] = f"leads to port {port}"
                found |= {user: f"{how}, by {service}" for user, how in users_of(snapshot, service).items()}
    return found
