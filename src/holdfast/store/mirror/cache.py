"""The cache's side in Redis or Valkey: a few calls, each with a budget, and each bound to one life of the server.

A server that was restarted may hold what an older snapshot held; one that was flushed has forgotten which versions it
had. Both end a *life*: its name is kept in the server under a marker, and begins with the server's run id. Every call
says in which life it believes to be, and every new connection looks at the run id again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from holdfast import faults
from holdfast.clock import Randomness, monotonic_s, system_randomness
from holdfast.errors import InvalidInput, Unavailable
from holdfast.loops import LoopBound
from holdfast.store.contract.records import Key
from holdfast.store.mirror.rules import Entry, name_of, packed
from holdfast.store.redis.errors import is_away
from holdfast.store.servers import redis_clients
from holdfast.store.servers.breaker import OPEN_MAX_S, OPEN_S, ServerBreaker

CONNECTIONS_MAX = 8
"""Connections of one loop."""
BATCH_BYTES_MAX = 1024 * 1024
CLOSE_TIMEOUT_S = 1.0
STANDSTILL_S = 0.02
"""A time-out that comes later than this tells more of our loop than of the server."""

_BEGIN = """
local there = redis.call('GET', KEYS[1]) or ''
if there == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return ARGV[2] end
return there
"""
_PUT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local kept = 0
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 5
  local version, epoch, moment = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local v, e, m = string.match(redis.call('GETRANGE', KEYS[i], 0, 80), '^(%d+):(%d+):(%d+):')
  v, e, m = tonumber(v), tonumber(e), tonumber(m)
  if not v or version > v or (version == v and (epoch > e or (epoch == e and moment > m))) then
    redis.call('SET', KEYS[i], ARGV[at + 3], 'PX', ARGV[at + 4])
    kept = kept + 1
  end
end
return kept
"""


class CacheLost(Exception):
    """The cache did not answer in time, answered nonsense, or is not in the life that we knew."""


class _Client(NamedTuple):
    redis: Redis
    places: asyncio.Semaphore
    """Who waits for a connection waits here, outside his budget: our own crowd is no outage."""


class Cache:
    """The entries of one namespace. Usable from any loop. Every call raises CacheLost, and nothing else."""

    put_script = _PUT

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        budget_s: float,
        connect_timeout_s: float = 1.0,
        probe_first_s: float = OPEN_S,
        probe_max_s: float = OPEN_MAX_S,
        chance: Randomness | None = None,
    ) -> None:
        self._url = url
        self._prefix = f"holdfast:{{{namespace}}}:".encode()
        self._marker = self._prefix + b"life"
        self._budget_s = budget_s
        self._connect_timeout_s = connect_timeout_s
        self._chance = chance or system_randomness()
        self._run_id = b""
        self.server = ServerBreaker(
            "store.cache", "redis", self._ping, is_away=is_away, open_s=probe_first_s, open_max_s=probe_max_s
        )
        self._clients: LoopBound[_Client] = LoopBound(self._open, _close, abandon=_abandon, name="cache")
        try:
            options = BlockingConnectionPool.from_url(url).connection_kwargs
        except ValueError as error:
            raise InvalidInput(f"store URL: expected a cache such as redis://host:6379/0 ({error})") from error
        self.place = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"

    async def meet(self) -> tuple[bytes, bytes]:
        """The life that the server is in and, where it has begun no life since it was started or emptied, the name
        under which one may `begin`; else b""."""
        self._run_id = b""

        async def who(redis: Redis) -> tuple[Any, Any]:
            return await redis.info("server"), await redis.get(self._marker)

        info, there = await self._call(who, budget_s=self._connect_timeout_s)
        run_id, there = _run_id_of(info), there or b""
        self._run_id = run_id
        if there.startswith(run_id + b":"):
            return there, b""
        return there, run_id + b":%016x" % self._chance.getrandbits(64)

    async def begin(self, there: bytes, life: bytes) -> bytes:
        """Begin `life` in place of `there`, or go on with it; the life that the server is in then, which may be
        somebody else's. Writes in any case: a server that cannot be written to cannot be told of commits."""
        found: bytes = await self._call(lambda redis: redis.eval(_BEGIN, 1, self._marker, there, life))
        return found

    async def look(self, life: bytes, keys: Sequence[Key]) -> list[bytes | None]:
        """What is under `keys`."""
        names = [self._marker, *(self._prefix + name_of(key) for key in keys)]
        answer: list[Any] = await self._call(lambda redis: redis.mget(names))
        if answer[0] != life:
            raise CacheLost(f"{self.place} was emptied or restarted")
        return answer[1:]

    async def put(self, life: bytes, entries: Sequence[tuple[Entry, int]]) -> int:
        """Put entries, each for so many milliseconds, where nothing newer is; how many there were."""
        names, values, kept = [], [], 0
        size = 0
        for number, (entry, left_ms) in enumerate(entries, 1):
            data = packed(entry)
            names.append(self._prefix + name_of(entry.record.key))
            values += [*map(str, entry.order), data, str(left_ms)]
            size += len(data)
            if size > BATCH_BYTES_MAX or number == len(entries):
                kept += await self._put(life, names, values)
                names, values, size = [], [], 0
        return kept

    async def close(self) -> None:
        """Close the connections of all loops, for good."""
        await self._clients.end()

    def __repr__(self) -> str:
        return f"Cache({self.place!r}, {self._prefix.decode()!r})"

    async def _put(self, life: bytes, names: list[bytes], values: list[Any]) -> int:
        faults.point("mirror-before-put")
        kept: int = await self._call(
            lambda redis: redis.eval(self.put_script, len(names) + 1, self._marker, *names, life, *values)
        )
        if kept < 0:
            raise CacheLost(f"{self.place} was emptied or restarted")
        return kept

    async def _call(self, ask: Callable[[Redis], Awaitable[Any]], *, budget_s: float | None = None) -> Any:
        """The answer to `ask`, through the breaker."""
        budget_s = self._budget_s if budget_s is None else budget_s
        try:
            client = await self._clients.get()
            async with client.places, self.server.passing():
                return await self._asked(client.redis, ask, budget_s)
        except TimeoutError as error:
            raise CacheLost(f"{self.place} did not answer in time") from error
        except (RedisError, OSError, ValueError, Unavailable) as error:
            raise CacheLost(f"{self.place}: {type(error).__name__}: {error}") from error

    async def _asked(self, redis: Redis, ask: Callable[[Redis], Awaitable[Any]], budget_s: float) -> Any:
        """The answer to `ask`, which is asked again where its time was up because our own loop stood still."""
        began_at_s = monotonic_s()
        try:
            return await _within(budget_s, ask(redis))
        except TimeoutError:
            if monotonic_s() - began_at_s < budget_s + STANDSTILL_S:
                raise
            return await _within(budget_s, ask(redis))

    async def _ping(self) -> bool:
        """Whether a server is there, in whatever life: on a connection of its own: those of the pool look closer."""
        redis = Redis.from_url(
            self._url,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # as in `_open`
            socket_connect_timeout=None,
        )
        try:
            return bool(await _within(self._connect_timeout_s, redis.ping()))
        except (RedisError, OSError, TimeoutError):
            return False
        finally:
            await redis.aclose()

    async def _open(self) -> _Client:
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=CONNECTIONS_MAX,
            timeout=None,
            redis_connect_func=self._greet,
            retry=Retry(NoBackoff(), 0),  # a call that is tried again behind our back may meet another life
            socket_timeout=None,  # the budget is ours: the driver's may lose a cancellation (`heeding_cancellation`)
            socket_connect_timeout=None,
        )
        return _Client(Redis.from_pool(pool), asyncio.Semaphore(CONNECTIONS_MAX))

    async def _greet(self, connection: Any) -> None:
        """On every new connection, those that the driver opens by itself included."""
        try:
            await connection.on_connect()
            expected = self._run_id
            if expected:
                await connection.send_command("INFO", "server")
                if _run_id_of(await connection.read_response()) != expected:
                    raise RedisConnectionError("the server was restarted")
        except BaseException:  # the driver would leave it half open where this is no error of its own
            await connection.disconnect(nowait=True)
            raise


async def _within(budget_s: float, answer: Awaitable[Any]) -> Any:
    async with asyncio.timeout(budget_s):
        return await answer


def _run_id_of(info: Any) -> bytes:
    """The server's run id: another one each time that it is started."""
    if isinstance(info, dict):
        return str(info.get("run_id", "")).encode()
    text = info if isinstance(info, bytes) else str(info).encode()
    run_id = text.partition(b"run_id:")[2].split(None, 1)[:1]
    if not run_id:
        raise ValueError("the server does not tell its run id")
    return run_id[0]


async def _close(client: _Client) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await redis_clients.close(client.redis)


def _abandon(client: _Client) -> None:
    redis_clients.abandon(client.redis)
