"""Many users in one process: sessions made, events through streams, how soon a waiting reader has one, and memory.

Streams are measured on each store; "Redis Streams" is `XADD` and `XREAD` by redis-py on a Valkey that writes through to
its disk, bare: no numbers without holes, no snapshot, and a blocking connection for each reader. Latencies are of one
event at a time while 1,000 readers, each of another user, wait: published by the readers' own process, or by another
store object, of which only the store's hint tells. Memory is what the process grew by, divided.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import redis.asyncio

from benchmarks import server
from benchmarks.bench_state import DURABLE, Places
from benchmarks.harness import Comparison, Options, compare, options, publish
from holdfast import AgentRegistry, ExecutionEngine, UserExecutionContext, UserStreams, open_store
from holdfast.testing.servers import ValkeyServer
from holdfast.users.memory import rss_bytes

STORES = ("memory", "sqlite", "postgres", "hybrid")
PUBLISHERS, READ_EVENTS, QUICK_READ_EVENTS = 64, 5000, 200
SUBSCRIBERS, QUICK_SUBSCRIBERS = 1000, 50
WAKE_UPS, QUICK_WAKE_UPS = 100, 5
IDLE_USERS, WAITING_CALLS = 5000, 5000
SECONDS, QUICK_SECONDS = 3.0, 0.3
BODY = {"text": "x" * 100}
MEMORY = "--memory-of"


def user(number: int) -> UserExecutionContext:
    """A user by number."""
    return UserExecutionContext(user=f"user-{number}")


class DirectCore:
    """Awaits the agent."""

    async def execute(self, context: Any, agent: Any, value: Any = None, *, emit: Any = None) -> Any:
        return await agent(context, value)


async def sessions_per_s(seconds: float) -> float:
    """Sessions made a second, each with one agent by its factory."""
    store = open_store("memory:")
    async with UserStreams(store) as streams:
        registry = AgentRegistry(streams, sessions_max=10_000_000)
        registry.declare("agent", lambda context: object())
        made, began = 0, perf_counter()
        while perf_counter() - began < seconds:
            await registry.get(user(made), "agent")
            made += 1
        figure = made / (perf_counter() - began)
        await registry.close()
    await store.close()
    return figure


async def published_per_s(url: str, seconds: float) -> float:
    """Events a second by 64 publishers, each for a user of his own, one commit each."""
    store = open_store(url)
    await store.migrate()
    async with UserStreams(store) as streams:
        await streams.publish(user(0), "tick", BODY)
        ends_at = (began := perf_counter()) + seconds

        async def publish_on(number: int) -> int:
            done = 0
            while perf_counter() < ends_at:
                await streams.publish(user(number), "tick", BODY)
                done += 1
            return done

        done = sum(await asyncio.gather(*map(publish_on, range(PUBLISHERS))))
        figure = done / (perf_counter() - began)
    await store.close()
    return figure


async def read_per_s(url: str, count: int) -> float:
    """Events a second that one reader takes from the beginning of a stream of `count`."""
    store = open_store(url)
    await store.migrate()
    async with UserStreams(store) as streams:
        for _ in range(count // 50):
            await streams.publish_all(user(1), [("tick", BODY)] * 50)
        reader, began = streams.stream(user(1), after="0:0"), perf_counter()
        for _ in range(count):
            await anext(reader)
        figure = count / (perf_counter() - began)
    await store.close()
    return figure


async def added_per_s(url: str, seconds: float) -> float:
    """As `published_per_s`, by XADD."""
    async with redis.asyncio.from_url(url, max_connections=PUBLISHERS + 1) as client:
        ends_at = (began := perf_counter()) + seconds

        async def add_on(number: int) -> int:
            done = 0
            while perf_counter() < ends_at:
                await client.xadd(f"user-{number}", BODY)
                done += 1
            return done

        return sum(await asyncio.gather(*map(add_on, range(PUBLISHERS)))) / (perf_counter() - began)


async def xread_per_s(url: str, count: int) -> float:
    """As `read_per_s`, by XREAD of as many at once."""
    async with redis.asyncio.from_url(url) as client:
        for _ in range(count):
            await client.xadd("stream", BODY)
        last, seen, began = "0", 0, perf_counter()
        while seen < count:
            answer: Any = await client.xread({"stream": last}, count=512)
            found = answer[0][1]
            last, seen = found[-1][0], seen + len(found)
        return count / (perf_counter() - began)


async def wake_ups_ms(url: str, subscribers: int, times: int, *, is_foreign: bool) -> list[float]:
    """Milliseconds from the beginning of a publish until the reader of that user has the event."""
    store = open_store(url)
    await store.migrate()
    other = open_store(url) if is_foreign else store
    async with UserStreams(store) as streams, UserStreams(other) as elsewhere:
        readers = [streams.stream(user(number), after="0:0") for number in range(subscribers)]
        waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
        took_ms = []
        for number in range(times):
            who = (number * 7) % subscribers
            await asyncio.sleep(0.01)
            began = perf_counter()
            await (elsewhere if is_foreign else streams).publish(user(who), "tick", BODY)
            await waiting[who]
            took_ms.append((perf_counter() - began) * 1000)
            waiting[who] = asyncio.ensure_future(anext(readers[who]))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    if other is not store:
        await other.close()
    await store.close()
    return took_ms


async def bytes_per_idle_user(count: int) -> float:
    """What a session with one agent weighs while nobody uses it."""
    async with ExecutionEngine("memory:", DirectCore(), sessions_max=count, idle_max_s=1e6) as engine:
        engine.registry.declare("agent", lambda context: object())
        await engine.registry.get(user(count), "agent")
        gc.collect()
        before = rss_bytes()
        for number in range(count - 1):
            await engine.registry.get(user(number), "agent")
        gc.collect()
        return (rss_bytes() - before) / count


async def bytes_per_waiting_call(count: int) -> float:
    """What a call weighs that waits for a place: each of another user, all places being taken."""
    async with ExecutionEngine("memory:", DirectCore(), places=1, sessions_max=count + 2, wait_max_s=3600) as engine:
        gate = asyncio.Event()

        async def wait(context: Any, value: Any) -> None:
            await gate.wait()

        engine.registry.declare("wait", lambda context: wait)
        for number in range(count):
            engine.registry.session(user(number))  # so that the session itself is not counted
        calls = [asyncio.ensure_future(engine.run(user(count), "wait"))]
        gc.collect()
        before = rss_bytes()
        calls += [asyncio.ensure_future(engine.run(user(number), "wait")) for number in range(count)]
        while engine.registry.seats.all.look().waiting < count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        gc.collect()
        grown = rss_bytes() - before
        gate.set()
        await asyncio.gather(*calls)
        return grown / count


WEIGHED: dict[str, Callable[[int], Coroutine[Any, Any, float]]] = {
    "an idle user": bytes_per_idle_user,
    "a waiting call": bytes_per_waiting_call,
}


def weigh(what: str, count: int) -> float:
    """In a process of its own, so that nothing freed earlier is used again."""
    command = [sys.executable, "-m", "benchmarks.bench_users", MEMORY, what, str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


def comparisons(places: Places, chosen: Options) -> Iterator[Comparison]:
    """Every question that was asked for."""
    quick = chosen.quick
    seconds = QUICK_SECONDS if quick else SECONDS
    subscribers, times = (QUICK_SUBSCRIBERS, QUICK_WAKE_UPS) if quick else (SUBSCRIBERS, WAKE_UPS)
    events = QUICK_READ_EVENTS if quick else READ_EVENTS

    def at(store: str, measure: Callable[[str], Coroutine[Any, Any, float]]) -> Callable[[], float]:
        def run() -> float:
            if store == "memory":
                return asyncio.run(measure("memory:"))
            with places.url(store) as url:
                return asyncio.run(measure(url))

        return run

    def ask(question: str, contestants: dict[str, Callable[[], float]], unit: str, better: Any) -> Iterator[Comparison]:
        if chosen.only in question:
            yield compare(question, contestants, unit=unit, better=better, rounds=chosen.rounds)

    yield from ask("sessions made", {"holdfast": lambda: asyncio.run(sessions_per_s(seconds))}, "sessions/s", "more")
    for store in STORES:
        add = at("redis", lambda url: added_per_s(url, seconds))
        ours = at(store, lambda url: published_per_s(url, seconds))
        yield from ask(
            f"publish, {PUBLISHERS} at once, {store}", {"holdfast": ours, "Redis Streams": add}, "events/s", "more"
        )
        read = at("redis", lambda url: xread_per_s(url, events))
        ours = at(store, lambda url: read_per_s(url, events))
        yield from ask(f"read from a cursor, {store}", {"holdfast": ours, "Redis Streams": read}, "events/s", "more")
        for is_foreign in (False, True):
            if is_foreign and store == "memory":
                continue

            async def middle(url: str, is_foreign: bool = is_foreign, of: Any = median) -> float:
                return float(of(await wake_ups_ms(url, subscribers, times, is_foreign=is_foreign)))

            async def late(url: str, is_foreign: bool = is_foreign) -> float:
                return await middle(url, is_foreign, lambda found: quantiles(found, n=20, method="inclusive")[-1])

            by = "another store object" if is_foreign else "the same process"
            question = f"wake-up at {subscribers} subscribers by {by}, {store}"
            yield from ask(f"{question}, median", {"holdfast": at(store, middle)}, "ms", "less")
            yield from ask(f"{question}, p95", {"holdfast": at(store, late)}, "ms", "less")
    for what, count in (("an idle user", IDLE_USERS), ("a waiting call", WAITING_CALLS)):
        size = 200 if quick else count
        ours = functools.partial(weigh, what, size)
        yield from ask(f"memory of {what}", {"holdfast": ours}, "bytes", "less")


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == [MEMORY]:
        print(asyncio.run(WEIGHED[sys.argv[2]](int(sys.argv[3]))))
        return
    chosen = options(__doc__ or "", rounds=3)
    with server.running() as on, ValkeyServer(options=DURABLE) as valkey:
        publish("users", list(comparisons(Places(on, valkey), chosen)), chosen, servers=[on.version])


if __name__ == "__main__":
    main()
