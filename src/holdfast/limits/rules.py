"""Whether there is room under a limit, and when there will be: pure decisions over one ledger.

A ledger knows who has a place, and one time that stands for the whole rate: the moment at which the next token would be
due if tokens came evenly. It has the same size however many wait; who waits are records of their own, in line.

Source of the rate: the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371, 1993.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
from msgspec.structs import replace

from holdfast.clock import parse_duration_s
from holdfast.errors import InvalidDefinition, InvalidInput
from holdfast.names import check_id

PLACES_MAX = 1000
"""Bound on the places of one limit: all who hold one stand in one record."""
BURST_MAX = 1_000_000
Per = Literal["user"]
_SLACK_S = 0.001
"""More than sums of floats differ by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    """So many tokens in so many seconds."""

    count: int
    period_s: float


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `places` at once, and at most `rate` ("60/1m") begun in a time; either of them, or both.

    `burst`: how many may begin at one moment after a pause; with the 1 of the default they are evenly spaced, and no
    window of the rate's length has more than the rate says. `per="user"`: one such limit for each user, instead of one
    that all users of a tenant share. Limits of one name must be declared alike wherever they are declared.

    Example::

        LLM = Limit("llm", places=10, rate="60/1m")

        @wf.state("ask", to="asked", limits=LLM)
        async def ask(ctx): ...
    """

    name: str
    places: int | None = None
    rate: str | None = None
    burst: int = 1
    per: Per | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.places is None and self.rate is None:
            raise InvalidDefinition(f"limit {self.name}: expected places= or rate= or both, saw neither")
        if self.places is not None and not (_is_count(self.places) and self.places <= PLACES_MAX):
            raise InvalidDefinition(f"limit {self.name}: expected 1 to {PLACES_MAX} places, saw {self.places!r}")
        if self.rate is not None:
            parse_rate(self.name, self.rate)
        if not (_is_count(self.burst) and self.burst <= BURST_MAX) or (self.rate is None and self.burst != 1):
            raise InvalidDefinition(
                f"limit {self.name}: expected a burst of 1 to {BURST_MAX}, and one only beside a rate=, saw "
                f"{self.burst!r} beside rate={self.rate!r}"
            )
        if self.per is not None and self.per not in get_args(Per):
            raise InvalidDefinition(
                f'limit {self.name}: expected per="user", or none for all users together, saw {self.per!r}'
            )

    @property
    def interval_s(self) -> float:
        """Seconds between two tokens where they come evenly; 0 without a rate."""
        if self.rate is None:
            return 0.0
        rate = parse_rate(self.name, self.rate)
        return rate.period_s / rate.count

    def slot(self, user: str) -> str:
        """The name of the ledger that counts what that user takes."""
        return f"{self.name}/{user}" if self.per == "user" else self.name

    def __str__(self) -> str:
        """The declaration as one text: equal for limits that mean the same."""
        parts = [] if self.places is None else [f"places={self.places}"]
        if self.rate is not None:
            rate = parse_rate(self.name, self.rate)
            parts += [f"rate={rate.count}/{rate.period_s:g}s", f"burst={self.burst}"]
        return " ".join([*parts, *([] if self.per is None else [f"per={self.per}"])])


def declared_as(name: str, rule: str) -> Limit | None:
    """The limit whose declaration reads so; None where it does not read as one."""
    facts = dict(part.partition("=")[::2] for part in rule.split())
    try:
        return Limit(
            name,
            places=int(facts["places"]) if "places" in facts else None,
            rate=facts.get("rate"),
            burst=int(facts.get("burst", 1)),
            per="user" if "per" in facts else None,
        )
    except ValueError:
        return None


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place that is taken. `expires_at`: epoch seconds, None for an attempt's of a run: it lasts until a decision
    ends the attempt."""

    holder: str
    by: str
    since: float
    expires_at: float | None = None


class Ledger(msgspec.Struct, frozen=True, omit_defaults=True):
    """One limit as stored. `rule`: the declaration by which it was last written; `token_at`: when the next token would
    be due if they came evenly; `waiting`: how many stand in line; `front`: the place in line of whoever of them was
    granted last."""

    slot: str
    rule: str = ""
    places: tuple[Place, ...] = ()
    token_at: float = 0.0
    waiting: int = 0
    front: float = 0.0

    def live(self, now: float) -> tuple[Place, ...]:
        """The places that have not lapsed."""
        return tuple(place for place in self.places if place.expires_at is None or place.expires_at > now)


def parse_rate(name: str, text: str) -> _Rate:
    """The rate in "60/1m". Raises InvalidDefinition."""
    count, _, period = str(text).partition("/")
    try:
        rate = _Rate(count=int(count), period_s=parse_duration_s(period.strip()))
    except (ValueError, InvalidInput) as error:
        raise InvalidDefinition(
            f'limit {name}: expected a rate such as "60/1m" or "5/1s", a count and a duration, saw {text!r}'
        ) from error
    if rate.count < 1 or not 0 < rate.period_s < math.inf:
        raise InvalidDefinition(f"limit {name}: expected at least 1 in a duration above zero, saw {text!r}")
    return rate


def room(limit: Limit, ledger: Ledger, *, now: float) -> int:
    """How many may be granted now, one after the other; at most PLACES_MAX."""
    places = PLACES_MAX if limit.places is None else limit.places - len(ledger.live(now))
    if limit.rate is None:
        return max(0, places)
    ahead = now - _next_token_at(limit, ledger, now)
    tokens = 0 if ahead < 0 else min(limit.burst, int(ahead / limit.interval_s) + 1)
    return max(0, min(places, tokens))


def next_at(limit: Limit, ledger: Ledger, *, now: float) -> float | None:
    """When there is room next, `now` where there is; None where somebody must give a place back first."""
    at = now if limit.rate is None else max(now, _next_token_at(limit, ledger, now))
    live = ledger.live(now)
    if limit.places is None or len(live) < limit.places:
        return at
    ends = sorted(place.expires_at for place in live if place.expires_at is not None)
    too_many = len(live) - limit.places
    return max(at, ends[too_many]) if too_many < len(ends) else None


def take(limit: Limit, ledger: Ledger, place: Place, *, now: float) -> Ledger:
    """The ledger with one more grant: a token of the rate is spent, and where places are counted it is held."""
    assert room(limit, ledger, now=now) > 0, f"no room under {ledger.slot}"
    held = () if limit.places is None else (*ledger.live(now), place)
    token_at = ledger.token_at
    if limit.rate is not None:
        token_at = max(_bounded(limit, ledger, now), now) + limit.interval_s
    return replace(ledger, rule=str(limit), places=held, token_at=token_at)


def give_back(ledger: Ledger, holder: str) -> Ledger:
    """The ledger without that holder's place. Its token is spent."""
    if all(place.holder != holder for place in ledger.places):
        return ledger
    return replace(ledger, places=tuple(place for place in ledger.places if place.holder != holder))


def renew(ledger: Ledger, holder: str, expires_at: float, *, now: float) -> Ledger | None:
    """The ledger with that holder's place lasting longer; None where it has lapsed or was given back."""
    if all(place.holder != holder for place in ledger.live(now)):
        return None
    places = [
        replace(place, expires_at=expires_at) if place.holder == holder else place for place in ledger.live(now)
    ]  # fmt: skip
    return replace(ledger, places=tuple(places))


def enter_line(ledger: Ledger, limit: Limit, *, now: float) -> Ledger:
    """The ledger with one more in line."""
    return replace(ledger, rule=str(limit), waiting=ledger.waiting + 1, front=front(ledger, now=now))


def leave_line(ledger: Ledger, place: float | None = None) -> Ledger:
    """The ledger with one less in line; `place`: where he stood who leaves it because he was granted."""
    front = ledger.front if place is None else max(ledger.front, place)
    return replace(ledger, waiting=max(0, ledger.waiting - 1), front=front)


def front(ledger: Ledger, *, now: float) -> float:
    """Where the line begins: behind every place that was granted; an empty line begins anew at the present."""
    return now if ledger.waiting == 0 else ledger.front


def declared_once(limits: list[Limit]) -> dict[str, Limit]:
    """The limits by name. Raises InvalidDefinition where one name stands for two."""
    found: dict[str, Limit] = {}
    for limit in limits:
        if str(found.setdefault(limit.name, limit)) != str(limit):
            raise InvalidDefinition(
                f"limit {limit.name}: expected one declaration, saw two: {found[limit.name]} and {limit}; "
                "declare it once and import it"
            )
    return found


def _next_token_at(limit: Limit, ledger: Ledger, now: float) -> float:
    """When the next token may be taken: up to `burst` of them before they would be due evenly."""
    return _bounded(limit, ledger, now) - (limit.burst - 1) * limit.interval_s


def _bounded(limit: Limit, ledger: Ledger, now: float) -> float:
    """`token_at`, which no grant puts further ahead than a whole burst. What lies behind that was another
    declaration's, or a clock's that was wrong: from here on tokens come evenly."""
    is_ours = ledger.token_at <= now + limit.burst * limit.interval_s + _SLACK_S
    return ledger.token_at if is_ours else now + (limit.burst - 1) * limit.interval_s


def _check_name(name: object) -> None:
    try:
        check_id("limit", name)
    except InvalidInput as error:
        raise InvalidDefinition(error.message) from error
    if "/" in str(name):
        raise InvalidDefinition(f'limit: expected a name without "/", saw {name!r}')


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
