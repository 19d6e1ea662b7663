"""absurd: its SQL as `absurdctl` ships it, 8 async workers with a connection each (1 where there is one run at a time).

A worker claims as many tasks as its share and polls for more. Its default pause of 250 ms would decide everything, so
it is 5 ms here. Who waits for a result is woken by the handler's end and then asks the worker's own connection, which
commits the result first: the SDK's own way is to poll, with pauses that grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import psycopg
from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.server_witness import ServerWitness
from benchmarks.contestants.waves import measured

WORKERS = 8
POLL_EVERY_S = 0.005
QUEUE = "count"


async def run(place: str, size: Size) -> Measured:
    """Every run of a wave spawned at once."""
    witness = ServerWitness(place, f"SELECT count(*) FROM absurd.c_{QUEUE}")
    with contextlib.closing(psycopg.connect(place, autocommit=True)) as connection:
        connection.execute(BUNDLED_SCHEMA_SQL.encode())
    ended: dict[int, asyncio.Future[AsyncAbsurd]] = {}

    def register(app: AsyncAbsurd) -> None:
        @app.register_task("count")
        async def count(number: int, ctx: AsyncTaskContext) -> int:
            first = number

            async def add() -> int:
                witness.saw_body()
                return number + 1

            for step in range(size.steps):
                number = await ctx.step(str(step), add)
            ended[first].set_result(app)
            return number

    async with _workers(place, min(WORKERS, size.runs), size, register) as apps:
        turns = itertools.cycle(apps)

        async def one(number: int) -> int:
            ended[number] = asyncio.get_running_loop().create_future()
            task = await next(turns).spawn("count", number)
            app = await ended[number]
            found = await app.fetch_task_result(task["task_id"])
            if found is None or found.state != "completed":
                raise AssertionError(f"expected task {number} to be committed as completed, saw {found}")
            assert isinstance(found.result, int)
            return found.result

        return await measured(one, size, witness)


@contextlib.asynccontextmanager
async def _workers(
    place: str, count: int, size: Size, register: Callable[[AsyncAbsurd], None]
) -> AsyncIterator[list[AsyncAbsurd]]:
    apps = [AsyncAbsurd(place, queue_name=QUEUE) for _ in range(count)]
    await apps[0].create_queue()
    for app in apps:
        register(app)
    share = -(-size.runs // count)
    async with asyncio.TaskGroup() as group:
        for app in apps:
            group.create_task(app.start_worker(concurrency=share, poll_interval=POLL_EVERY_S))
        try:
            yield apps
        finally:
            for app in apps:
                app.stop_worker()
    for app in apps:
        await app.close()
