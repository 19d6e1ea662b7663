"""Restate: its server from npm on a log of its own, synced as it does by default, and a service in this process.

`bench_postgres --with-restate` installs both into a temporary folder: they are no dependency of the project. Steps are
`ctx.run`; a run is one call through its ingress. The witness asks the server what its journals hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import hypercorn.asyncio
import hypercorn.config
import restate

from benchmarks.contestants.process import Measured, Size
from benchmarks.contestants.waves import measured
from benchmarks.contestants.witness import Witness
from benchmarks.restate import SERVER_VARIABLE
from holdfast.testing.servers import free_port, wait_for_port

CALL_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
REGISTER_TRIES = 50
JOURNAL = "SELECT count(*) AS rows FROM sys_journal"


class JournalWitness(Witness):
    """Counts the entries of all journals, by the server's own SQL."""

    def __init__(self, admin: str) -> None:
        super().__init__("restate")
        self._admin = admin

    def count(self) -> int:
        """The entries that the server has."""
        (row,) = _post(f"{self._admin}/query", {"query": JOURNAL})["rows"]
        return int(row["rows"])

    def setting(self) -> str:
        """It has no database of others."""
        return "its own log, rocksdb-disable-wal-fsync=false"


async def run(place: str, size: Size) -> Measured:
    """Every run of a wave called at once."""
    async with _server(Path(place)) as (admin, ingress):
        witness = JournalWitness(admin)
        service = restate.Service("Count")

        @service.handler("run")
        async def count(ctx: restate.Context, number: int) -> int:
            async def add() -> int:
                witness.saw_body()
                return number + 1

            for step in range(size.steps):
                number = await ctx.run_typed(f"add {step}", add)
            return number

        limits = httpx.Limits(max_connections=size.runs, max_keepalive_connections=size.runs)
        async with (
            _serving(restate.app([service]), admin),
            httpx.AsyncClient(limits=limits, timeout=CALL_TIMEOUT_S) as client,
        ):

            async def one(number: int) -> int:
                answer = await client.post(f"{ingress}/Count/run", json=number)
                answer.raise_for_status()
                return int(answer.json())

            return await measured(one, size, witness)


@contextlib.asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """The URLs of the administration and of the ingress of a new server."""
    admin, ingress, node = free_port(), free_port(), free_port()
    environment = os.environ | {
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    command = [os.environ[SERVER_VARIABLE], "--base-dir", str(folder / "restate")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            for port in (admin, ingress):
                wait_for_port(port)
            yield f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{ingress}"
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _serving(app: Any, admin: str) -> AsyncIterator[None]:
    """The service, on HTTP/2 on this loop, known to the server."""
    port = free_port()
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=is_over.wait))
        try:
            await _register(f"{admin}/deployments", {"uri": f"http://127.0.0.1:{port}"})
            yield
        finally:
            is_over.set()


async def _register(url: str, deployment: dict[str, str]) -> None:
    for attempt in range(REGISTER_TRIES):
        try:
            await asyncio.to_thread(_post, url, deployment)
            return
        except OSError:
            if attempt == REGISTER_TRIES - 1:
                raise
            await asyncio.sleep(0.2)


def _post(url: str, body: dict[str, str]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
