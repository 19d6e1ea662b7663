"""Who holds a lock and who waits: pure decisions over one tree of locks.

A name is a path: "company" covers "company/service", and both are in the tree of "company". A tree is one queue, first
come first served. A ticket is granted once no earlier one conflicts with it, so nobody is overtaken; the number that it
gets then, its fencing token, is higher than any before in the tree. Lapsed tickets are dropped before anything is
decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, get_args

import msgspec
from msgspec.structs import replace

from holdfast.errors import InvalidInput
from holdfast.names import check_id

Mode = Literal["exclusive", "shared"]
LockName = tuple[str, str] | tuple[str, str, Mode]
"""What a lock is asked for by: ("repository", "company/service"), and how, exclusive unless said otherwise."""
REQUESTS_MAX = 100
"""How many locks may be asked for at once."""


class LockRequest(msgspec.Struct, frozen=True, order=True):
    """One lock that is asked for."""

    kind: str
    name: str
    mode: Mode = "exclusive"

    @property
    def root(self) -> str:
        return root_of(self.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Ticket(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place in the queue. `holder` is unique for what asks (a run's visit, or one block of code); `party` is what
    waits as one with other holders (all blocks inside one task or visit), for it is the party that cannot go on.

    `token`: 0 until it is granted. `life`: which self of a holder that outlives its process asked last: only that one
    holds, keeps and gives back. `expires_at`: epoch seconds, None for a run's ticket: it lasts as long as the visit,
    which its transition ends.
    """

    holder: str
    by: str
    since: float
    name: str
    mode: Mode = "exclusive"
    party: str = ""
    token: int = 0
    expires_at: float | None = None
    life: str = ""

    def is_of(self, life: str) -> bool:
        """Whether that self asked last; who shares a tree with older code, which drops it, goes by the name alone."""
        return self.life in ("", life)

    def is_lapsed(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class LockTree(msgspec.Struct, frozen=True):
    """All locks of one kind beneath one first segment of their names, as stored. `tokens`: the last token granted."""

    kind: str
    root: str
    queue: tuple[Ticket, ...] = ()
    tokens: int = 0

    def ticket_of(self, holder: str, name: str) -> Ticket | None:
        """The ticket of one who holds or waits for that name."""
        return next((ticket for ticket in self.queue if (ticket.holder, ticket.name) == (holder, name)), None)

    @property
    def status(self) -> str:
        """ "free", "held", or "queued" where somebody waits."""
        if not self.queue:
            return "free"
        return "held" if all(ticket.token for ticket in self.queue) else "queued"


class Standing(msgspec.Struct, frozen=True):
    """Where somebody stands with all that he asked for. `tokens`: one for each request, once all are granted.
    `must_ask`: tickets are to be written, as some are not there, or nobody alive is before them any more, and only who
    asks grants. `is_superseded`: another self of his asked since. `look_at`: when the first of those before him lapses
    unless it renews; `before`: who they are."""

    tokens: tuple[int, ...] = ()
    must_ask: bool = False
    is_superseded: bool = False
    look_at: float | None = None
    before: tuple[Ticket, ...] = ()


def root_of(name: str) -> str:
    """The first segment of a lock's name, which names its tree."""
    return name.partition("/")[0]


def requests_of(given: Any) -> tuple[LockRequest, ...]:
    """What `given` asks for: one (kind, name) or (kind, name, mode), or several of them; in sorted order, each once.

    Raises InvalidInput for anything else, and for what cannot name a lock.
    """
    several: Iterable[Any] = given if isinstance(given, list | tuple) and not _is_one(given) else [given]
    modes: dict[tuple[str, str], Mode] = {}
    for each in several:
        request = _request(each)
        place = (request.kind, request.name)
        modes[place] = "exclusive" if modes.get(place) == "exclusive" else request.mode
    if not 0 < len(modes) <= REQUESTS_MAX:
        raise InvalidInput(f"locks: expected 1 to {REQUESTS_MAX} locks to be asked for at once, saw {len(modes)}")
    return tuple(sorted(LockRequest(kind, name, mode) for (kind, name), mode in modes.items()))


def check_lock(kind: object, name: object) -> None:
    """Raises InvalidInput for what cannot name a lock: two ids, the kind without "/", which ends it in keys, the name a
    path without empty segments."""
    for what, part in (("lock kind", kind), ("lock name", name)):
        try:
            check_id(what, part).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{what}: expected text that UTF-8 can encode, saw {part!r:.60}") from error
    if "/" in str(kind):
        raise InvalidInput(f'lock kind: expected no "/", saw {kind!r}; the name may have them')
    if "" in str(name).split("/"):
        raise InvalidInput(
            f'lock name: expected segments joined by single "/", such as "company/service", saw {name!r}'
        )


def ask(tree: LockTree, tickets: Sequence[Ticket], *, now: float, anew: bool = False) -> LockTree:
    """Queue the tickets of one holder, or keep their places if they stand there already. `anew`: who asks again in
    another life and wants new tokens, so that the old ones are worth nothing."""
    mine = {(ticket.holder, ticket.name): ticket for ticket in tickets}
    queue: list[Ticket] = []
    for old in tree.queue:
        new = mine.get((old.holder, old.name))
        if new is None:
            queue += [] if old.is_lapsed(now) else [old]
        elif not anew and not old.is_of(new.life) and not old.is_lapsed(now):
            queue.append(old)  # another self asked since: what the former one wants is of no account
            del mine[(old.holder, old.name)]
        elif new.mode == old.mode:  # in another mode it begins behind everybody, for who came since counts on the old
            token = 0 if anew or not old.is_of(new.life) else old.token
            queue.append(replace(old, expires_at=new.expires_at, token=token, party=new.party, life=new.life))
            del mine[(old.holder, old.name)]
    return _settled(tree, (*queue, *mine.values()), now)


def release(
    tree: LockTree, holder: str, *, now: float, tokens: Collection[int] | None = None, life: str = ""
) -> LockTree:
    """Give tickets back, whether they hold or wait; who comes next is granted. `tokens`, `life`: only the tickets with
    these, so that a former life of the same holder gives nothing back that is not its own any more."""

    def goes(ticket: Ticket) -> bool:
        is_his = ticket.holder == holder and ticket.is_of(life) and (tokens is None or ticket.token in tokens)
        return is_his or ticket.is_lapsed(now)

    return _settled(tree, tuple(ticket for ticket in tree.queue if not goes(ticket)), now)


def standing(
    trees: Sequence[LockTree], requests: Sequence[LockRequest], holder: str, *, now: float, life: str = ""
) -> Standing:
    """Where `holder`, in this `life` of his, stands with each of `requests`, the tree of each beside it."""
    tokens, before = [], []
    for tree, request in zip(trees, requests, strict=True):
        ticket = tree.ticket_of(holder, request.name)
        if ticket is None or ticket.is_lapsed(now) or ticket.mode != request.mode:
            return Standing(must_ask=True)
        if not ticket.is_of(life):
            return Standing(is_superseded=True)
        tokens.append(ticket.token)
        if not ticket.token:
            ahead = blockers(tree, ticket, now=now)
            if not ahead:
                return Standing(must_ask=True)
            before += ahead
    if not before:
        return Standing(tokens=tuple(tokens))
    look_at = min((ticket.expires_at for ticket in before if ticket.expires_at is not None), default=None)
    return Standing(look_at=look_at, before=tuple(before))


def blockers(tree: LockTree, ticket: Ticket, *, now: float) -> list[Ticket]:
    """The tickets that must go before `ticket` of the tree can be granted: earlier ones that conflict and live."""
    ahead = tree.queue[: tree.queue.index(ticket)]
    return [other for other in ahead if conflict(other, ticket) and not other.is_lapsed(now)]


def called(tree: LockTree, holders: Collection[str], *, now: float) -> dict[str, tuple[int, ...]]:
    """Those of `holders`, who wait, for whom there is something to do in this tree, each with his tokens: all that he
    wants here is granted, or he must ask, as a ticket of his is gone or nobody alive is before it any more."""
    tickets: dict[str, list[int]] = {holder: [] for holder in holders}
    for place, ticket in enumerate(tree.queue):
        if ticket.holder in tickets:
            tickets[ticket.holder].append(place)
    return {
        holder: tuple(tree.queue[place].token for place in places)
        for holder, places in tickets.items()
        if not any(_is_kept_waiting(tree, place, now) for place in places)
    }


def _is_kept_waiting(tree: LockTree, place: int, now: float) -> bool:
    ticket = tree.queue[place]
    if ticket.token or ticket.is_lapsed(now):
        return False
    return any(conflict(other, ticket) and not other.is_lapsed(now) for other in islice(tree.queue, place))


def is_up_to_others(tree: LockTree, ours: Collection[str]) -> bool:
    """Whether somebody among `ours`, the holders of one process, waits behind none of them: only others can grant that
    one its place, so their commits are worth a look. Any other one waits for a commit of our own first."""
    ahead: list[Ticket] = []
    for ticket in tree.queue:
        if ticket.holder in ours:
            if not ticket.token and not any(conflict(earlier, ticket) for earlier in ahead):
                return True
            ahead.append(ticket)
    return False


def conflict(one: Ticket, other: Ticket) -> bool:
    """Whether two tickets of a tree cannot be granted at once: they clash, and are not of one holder."""
    return one.holder != other.holder and _clash(one.name, one.mode, other.name, other.mode)


def clash(one: LockRequest, other: LockRequest) -> bool:
    """Whether two locks cannot be held at once: one covers the other, and they are not both shared."""
    return one.kind == other.kind and _clash(one.name, one.mode, other.name, other.mode)


def overlap(one: str, other: str) -> bool:
    """Whether one name is the other, or covers it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _clash(one: str, one_mode: Mode, other: str, other_mode: Mode) -> bool:
    return "exclusive" in (one_mode, other_mode) and overlap(one, other)


def _is_one(given: Any) -> bool:
    return len(given) in (2, 3) and all(isinstance(part, str) for part in given)


def _request(given: Any) -> LockRequest:
    if not (isinstance(given, tuple | list) and _is_one(given)):
        raise InvalidInput(
            'lock: expected (kind, name) such as ("repository", "company/service"), or with a mode as third, saw '
            f"{given!r:.80}"
        )
    kind, name, mode = (*given, "exclusive")[:3]
    check_lock(kind, name)
    if mode not in get_args(Mode):
        raise InvalidInput(f"lock {kind}/{name}: expected the mode {' or '.join(get_args(Mode))}, saw {mode!r:.40}")
    return LockRequest(kind, name, mode)


def next_token(last: int, now: float) -> int:
    """The fencing token after `last`: one higher, or the store's time in microseconds where that is more. So tokens
    rise even where the store forgot the last ones, as one does that was set back to an older copy."""
    return max(last + 1, int(now * 1_000_000))


def _settled(tree: LockTree, queue: tuple[Ticket, ...], now: float) -> LockTree:
    """The tree with that queue, and with all granted that can be. Who has a token keeps it: nobody before it can come
    to conflict with it, for new ones come behind."""
    tokens = tree.tokens
    settled: list[Ticket] = []
    for ticket in queue:
        if ticket.token or any(conflict(earlier, ticket) for earlier in settled):
            settled.append(ticket)
        else:
            tokens = next_token(tokens, now)
            settled.append(replace(ticket, token=tokens))
    return replace(tree, queue=tuple(settled), tokens=tokens)
