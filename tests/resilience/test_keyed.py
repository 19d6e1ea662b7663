"""One breaker for each key: what one tenant does wrong is not what the provider is ill of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from holdfast import BreakerOpen, BreakerOptions, InvalidInput, KeyedBreakers, Unavailable, preset
from holdfast.clock import seeded_randomness
from holdfast.errors import NotFound
from holdfast.resilience.breaker.outcomes import (
    FAILURE,
    IGNORED,
    Classify,
    Kind,
    Outcome,
    classify_connection,
    classify_http,
)
from holdfast.resilience.breaker.presets import PRESETS
from tests.resilience.stage import Hands, works


class Answer:
    """What an HTTP client's error has."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        self.status_code = status_code
        self.headers = headers


class HTTPStatusError(Exception):
    """As httpx's: the status stands in the response."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.response = Answer(status, {name.replace("_", "-"): value for name, value in headers.items()})


class ClientResponseError(Exception):
    """As aiohttp's: `status` and `headers` of its own."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class APIStatusError(HTTPStatusError):
    """As openai's and anthropic's: a status of its own, and the response."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status, **headers)
        self.status_code = status
        self.code = "rate_limit_exceeded"


class APIConnectionError(Exception):
    """As openai's, without an answer."""


def fails_with(error: Exception) -> Callable[[], Any]:
    async def call() -> None:
        raise error

    return call


def an_llm(**options: Any) -> tuple[KeyedBreakers, Hands]:
    clock = Hands()
    return KeyedBreakers("llm", preset("llm", **options), clock=clock, randomness=seeded_randomness(1)), clock


class TestKeys:
    async def test_a_quota_closes_one_key_for_the_time_that_the_server_says(self) -> None:
        breakers, clock = an_llm()
        with pytest.raises(APIStatusError):
            await breakers.call("ana", fails_with(APIStatusError(429, retry_after="20")))
        with pytest.raises(BreakerOpen, match="breaker llm/ana is open") as refused:
            await breakers.call("ana", works)
        assert refused.value.retry_after_s == 20
        assert await breakers.call("ben", works) == "fine"
        assert breakers.provider.state == "closed"
        clock.pass_s(20)
        assert [await breakers.call("ana", works) for _ in range(3)] == ["fine"] * 3
        assert breakers.of("ana").state == "closed"

    async def test_the_time_is_capped(self) -> None:
        breakers, _ = an_llm(throttle_max_s=300.0)
        with suppress(APIStatusError):
            await breakers.call("ana", fails_with(APIStatusError(429, retry_after="86400")))
        assert breakers.of("ana").look().retry_after_s == 300

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
    async def test_what_a_caller_did_wrong_opens_nothing(self, status: int) -> None:
        breakers, _ = an_llm()
        for _ in range(50):
            with suppress(APIStatusError):
                await breakers.call("ana", fails_with(APIStatusError(status)))
        assert (breakers.of("ana").state, breakers.provider.state) == ("closed", "closed")
        assert breakers.provider.look().counts.calls == 0

    @pytest.mark.parametrize("status", [500, 503, 529])
    async def test_an_ill_server_opens_the_provider_and_no_key(self, status: int) -> None:
        breakers, _ = an_llm()
        for number in range(5):
            with suppress(APIStatusError):
                await breakers.call(f"user {number}", fails_with(APIStatusError(status)))
        assert breakers.provider.state == "open"
        assert breakers.of("user 1").state == "closed"
        with pytest.raises(BreakerOpen, match="breaker llm is open"):
            await breakers.call("user 99", works)
        assert breakers.of("user 99").state == "closed"

    async def test_one_key_that_is_throttled_for_ever_does_not_open_the_provider(self) -> None:
        breakers, clock = an_llm()
        for _ in range(100):
            with suppress(APIStatusError, BreakerOpen):
                await breakers.call("ana", fails_with(APIStatusError(429, retry_after="1")))
            clock.pass_s(1)
        assert breakers.provider.state == "closed"


class TestForgetting:
    async def test_of_ten_thousand_keys_the_idle_ones_are_forgotten(self) -> None:
        breakers, _ = an_llm()
        for number in range(10_500):
            breakers.of(f"user {number}")
            breakers.of("user 0")
        assert len(breakers) == 10_000
        assert "user 0" in breakers._breakers
        assert "user 1" not in breakers._breakers

    async def test_one_that_refuses_is_forgotten_last(self) -> None:
        clock = Hands()
        breakers = KeyedBreakers("llm", preset("llm"), keys_max=3, clock=clock)
        with suppress(APIStatusError):
            await breakers.call("throttled", fails_with(APIStatusError(429, retry_after="60")))
        for number in range(10):
            breakers.of(f"user {number}")
        assert breakers.of("throttled").state == "open"
        clock.pass_s(60)
        for number in range(3):
            breakers.of(f"later {number}")
        assert breakers.of("throttled").state == "closed", "its time was over, so it went like any other"

    async def test_when_all_refuse_the_oldest_goes(self) -> None:
        breakers = KeyedBreakers("llm", preset("llm"), keys_max=3, clock=Hands())
        for name in "abcd":
            with suppress(APIStatusError):
                await breakers.call(name, fails_with(APIStatusError(429, retry_after="60")))
        assert list(breakers._breakers) == ["b", "c", "d"]

    def test_no_room_for_keys_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="keys_max 1 or more"):
            KeyedBreakers("llm", preset("llm"), keys_max=0)


class PostgresError(Exception):
    """As asyncpg's."""


class UniqueViolationError(PostgresError):
    """As asyncpg's."""


class PostgresConnectionError(PostgresError):
    """As asyncpg's."""


class ConnectionDoesNotExistError(PostgresConnectionError):
    """As asyncpg's."""


class CannotConnectNowError(PostgresError):
    """As asyncpg's."""


class InterfaceError(Exception):
    """As asyncpg's."""


class RedisError(Exception):
    """As redis'."""


class RedisConnectionError(RedisError):
    """As redis', where it is named ConnectionError and no OSError."""


class ResponseError(RedisError):
    """As redis'."""


def throttled(seconds: float | None) -> Outcome:
    return Outcome(Kind.THROTTLED, seconds)


@pytest.mark.parametrize(
    ("classify", "error", "outcome"),
    [
        (classify_http, HTTPStatusError(500), FAILURE),
        (classify_http, HTTPStatusError(404), IGNORED),
        (classify_http, HTTPStatusError(429, Retry_After="7"), throttled(7)),
        (classify_http, ClientResponseError(429, Retry_After="0.5"), throttled(0.5)),
        (classify_http, ClientResponseError(503), FAILURE),
        (classify_http, ClientResponseError(401), IGNORED),
        (classify_http, APIStatusError(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), throttled(None)),
        (classify_http, APIStatusError(429, retry_after="-1"), throttled(None)),
        (classify_http, APIStatusError(529), FAILURE),
        (classify_http, APIStatusError(403), IGNORED),
        (classify_http, APIConnectionError(), FAILURE),
        (classify_http, TimeoutError(), FAILURE),
        (classify_http, NotFound("nowhere"), FAILURE),
        (classify_http, InvalidInput("refused here"), IGNORED),
        (classify_connection, ConnectionRefusedError(), FAILURE),
        (classify_connection, TimeoutError(), FAILURE),
        (classify_connection, ConnectionDoesNotExistError(), FAILURE),
        (classify_connection, CannotConnectNowError(), FAILURE),
        (classify_connection, InterfaceError(), FAILURE),
        (classify_connection, UniqueViolationError(), IGNORED),
        (classify_connection, RedisConnectionError(), FAILURE),
        (classify_connection, ResponseError(), IGNORED),
        (classify_connection, Unavailable("locked"), FAILURE),
        (classify_connection, InvalidInput("refused here"), IGNORED),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Exception) else "",
)
def test_errors_count_as_what_they_tell(classify: Classify, error: Exception, outcome: Outcome) -> None:
    assert classify(error) == outcome


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_each_is_valid_as_shipped(self, name: str) -> None:
        options = preset(name)
        assert isinstance(options, BreakerOptions)
        assert options.but() == options

    def test_a_typo_is_refused_and_the_names_are_told(self) -> None:
        with pytest.raises(InvalidInput, match="no option failure_rat; there are adaptive, calls_min"):
            preset("llm", failure_rat=0.5)
        with pytest.raises(InvalidInput, match="expected one of llm, database, redis, http, agent, saw 'lmm'"):
            preset("lmm")
        with pytest.raises(InvalidInput, match="failure_rate: expected a share above 0 and at most 1, saw 0"):
            preset("http", failure_rate=0)
