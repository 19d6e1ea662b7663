"""Three-way merge of JSON values: what two writers made of one base, put together field by field. Pure.

A field that one side alone changed takes that side's value; one that both changed alike takes it, too. What both
changed differently is settled by the field's policy, or is a conflict, which is listed and keeps the base's value:
nothing is lost in silence, and swapping the sides gives the same value. Objects are merged key by key. A list is one
value, whatever its length: a position names no item, so only a policy can say that a list is a set.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.patch import copied, pointer, tokens_of


class Nothing(enum.Enum):
    """The type of NOTHING: JSON has no value that means "there is none"."""

    NOTHING = "nothing"

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = Nothing.NOTHING
"""Stands for a field that is not there: deleted, or not made yet."""


class FieldPolicy(enum.Enum):
    """What happens to a field that both sides changed differently."""

    RETRY = "retry"
    """A conflict, even where the changes lie apart inside the field: whoever writes re-reads and decides again."""
    MERGE = "merge"
    """Objects are merged key by key; anything else is a conflict."""
    UNION = "union"
    """As MERGE, and a list of scalars is a set: what either added is in, what either removed is out."""
    LAST_WRITER = "last_writer"
    """The later side's value, by (time, writer); the other's is gone."""


class Stamp(NamedTuple):
    """When a side was written, in epoch seconds, and by whom: the later one wins, the name decides a tie."""

    time_s: float
    writer: str


class FieldConflict(msgspec.Struct, frozen=True, kw_only=True):
    """A field that two writers changed differently. `path`: a JSON pointer. A side that has no such field: NOTHING."""

    path: str
    base: Any
    ours: Any
    theirs: Any


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The result: `value` holds the base's value at the path of each of `conflicts`, which are sorted by path."""

    value: Any
    conflicts: tuple[FieldConflict, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to decide."""
        return not self.conflicts


def merge(
    base: Any,
    ours: Any,
    theirs: Any,
    *,
    policies: Mapping[str, FieldPolicy] | None = None,
    stamps: tuple[Stamp, Stamp] | None = None,
) -> Merged:
    """What `ours` and `theirs` made of `base`, together; the inputs stay as they are.

    `policies`: by JSON pointer, where `*` stands for any one key; a policy holds for its field and all below it, the
    longest pointer that fits decides ("" is the whole value), and a field that none fits has MERGE. An object with a
    policy for something inside it is looked at key by key. `stamps` are those of ours and theirs; LAST_WRITER needs
    them, and they speak for the whole side. The order of a set means nothing: the base's comes first, then the rest
    sorted. Raises InvalidInput for a pointer that is none, and for LAST_WRITER without stamps.
    """
    merging = _Merging(_rules(policies or {}), stamps)
    value = merging.merged(base, ours, theirs, ())
    conflicts = sorted(merging.conflicts, key=lambda conflict: conflict.path)
    return Merged(value=copied(value), conflicts=tuple(conflicts))


class _Rule(NamedTuple):
    tokens: tuple[str, ...]
    policy: FieldPolicy

    def fits(self, path: Sequence[str]) -> bool:
        """Whether it speaks of the field at `path`, as far as both of them go."""
        return all(mine in ("*", token) for mine, token in zip(self.tokens, path, strict=False))

    @property
    def weight(self) -> tuple[int, tuple[bool, ...]]:
        return len(self.tokens), tuple(token != "*" for token in self.tokens)


class _Merging:
    """One merge under way, and the conflicts that it met."""

    def __init__(self, rules: Sequence[_Rule], stamps: tuple[Stamp, Stamp] | None) -> None:
        self._rules = rules
        self._stamps = stamps
        self.conflicts: list[FieldConflict] = []

    def merged(self, base: Any, ours: Any, theirs: Any, path: tuple[str, ...]) -> Any:
        if is_same(ours, theirs) or is_same(base, theirs):
            return ours
        if is_same(base, ours):
            return theirs
        policy, is_split = self._policy(path)
        if is_split and isinstance(ours, dict) and isinstance(theirs, dict) and isinstance(base, dict | Nothing):
            return self._by_key(base if isinstance(base, dict) else {}, ours, theirs, path)
        if policy is FieldPolicy.LAST_WRITER:
            return self._later(ours, theirs, path)
        if policy is FieldPolicy.UNION and (sets := _sets(base, ours, theirs)) is not None:
            return _union(*sets)
        self.conflicts.append(
            FieldConflict(path=pointer(path), base=copied(base), ours=copied(ours), theirs=copied(theirs))
        )
        return base

    def _by_key(
        self, base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], path: tuple[str, ...]
    ) -> dict[str, Any]:
        keys = [*base, *sorted((ours.keys() | theirs.keys()) - base.keys())]
        found = {
            key: self.merged(base.get(key, NOTHING), ours.get(key, NOTHING), theirs.get(key, NOTHING), (*path, key))
            for key in keys
        }
        return {key: value for key, value in found.items() if value is not NOTHING}

    def _later(self, ours: Any, theirs: Any, path: tuple[str, ...]) -> Any:
        if self._stamps is None:
            raise InvalidInput(f"merge: expected stamps to say who wrote {pointer(path)!r} last, saw none")
        left, right = self._stamps
        # One writer at one moment wrote both: any rule will do that does not look at the order of the arguments.
        return ours if (left, _form(ours)) > (right, _form(theirs)) else theirs

    def _policy(self, path: tuple[str, ...]) -> tuple[FieldPolicy, bool]:
        """The policy of the field at `path`, and whether an object there is looked at key by key."""
        fitting = [rule for rule in self._rules if rule.fits(path)]
        above = [rule for rule in fitting if len(rule.tokens) <= len(path)]
        policy = max(above, key=lambda rule: rule.weight).policy if above else FieldPolicy.MERGE
        return policy, policy in (FieldPolicy.MERGE, FieldPolicy.UNION) or len(above) < len(fitting)


def is_same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal in type as well: 1, 1.0 and true are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(is_same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return bool(left == right)


def _rules(policies: Mapping[str, FieldPolicy]) -> list[_Rule]:
    for path in policies:
        if path and not path.startswith("/"):
            raise InvalidInput(f'merge: expected a policy\'s JSON pointer such as "/tags" or "/*/seen", saw {path!r}')
    return [_Rule(tuple(tokens_of(path)), policy) for path, policy in policies.items()]


def _sets(base: Any, ours: Any, theirs: Any) -> tuple[list[Any], list[Any], list[Any]] | None:
    """The three as lists of scalars; None where one of them is something else. Who has no base began with none."""
    sides = ([] if base is NOTHING else base, ours, theirs)
    are_sets = all(isinstance(side, list) and not any(isinstance(item, dict | list) for item in side) for side in sides)
    return sides if are_sets else None


def _union(base: list[Any], ours: list[Any], theirs: list[Any]) -> list[Any]:
    began, mine, other = ({_form(item): item for item in side} for side in (base, ours, theirs))
    kept = [item for form, item in began.items() if form in mine and form in other]
    added = {form: item for form, item in (mine | other).items() if form not in began}
    return kept + [added[form] for form in sorted(added)]


def _form(value: Any) -> bytes:
    """What tells two values apart, and orders them."""
    return b"" if value is NOTHING else codec.canonical(value)
