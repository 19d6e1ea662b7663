"""Where a soak takes place: servers, a network before them that can be spoiled for one process alone, and a folder."""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from holdfast.errors import Unavailable
from holdfast.testing.network import TcpProxy
from holdfast.testing.servers import PostgresServer, ValkeyServer
from holdfast.testing.soak.options import SoakOptions

POSTGRES, REDIS = "HOLDFAST_TEST_POSTGRES", "HOLDFAST_TEST_REDIS"
"""Environment variables that name servers to use instead of starting some. These are not restarted."""
STATEMENT_TIMEOUT_S, JUDGE_TIMEOUT_S = 5, 120
"""How long a statement of a process may take, and one of whoever judges in the end and reads all that there is."""


class Links:
    """The network between one process and the servers."""

    def __init__(self, proxies: dict[str, TcpProxy]) -> None:
        self.proxies = proxies

    def __repr__(self) -> str:
        return f"Links({self.proxies})"


class Cluster:
    """The servers of a soak, entered. `url`: the store as nothing disturbs it, for whoever judges."""

    def __init__(self, options: SoakOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._exit = AsyncExitStack()
        self._places: dict[str, str] = {}
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        self.links: list[Links] = []
        self.url = ""

    async def __aenter__(self) -> Cluster:
        try:
            if self._options.store == "sqlite":
                self.url = f"sqlite:///{self._folder / 'runs.db'}"
            else:
                await self._open_servers()
            for _ in range(self._options.processes):
                self.links.append(await self._linked())
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    def url_of(self, place: int) -> str:
        """The store by way of the network of a place."""
        proxies = self.links[place].proxies
        return self._url({name: through(url, proxies[name].port) for name, url in self._places.items()})

    def _url(self, places: dict[str, str], *, statement_timeout_s: int = STATEMENT_TIMEOUT_S) -> str:
        if not places:
            return self.url
        own = f"statement_timeout_s={statement_timeout_s}&heads_max={self._options.heads_max}"
        truth = f"{places['postgres']}?{own}"
        if "redis" not in places:
            return truth
        return f"hybrid+{truth}&cache={urllib.parse.quote(places['redis'], safe='')}&namespace=soak"

    async def _open_servers(self) -> None:
        given = os.environ.get(POSTGRES)
        if given:
            self._places["postgres"] = await self._own_database(given)
        else:
            self.postgres = PostgresServer()
            await self._entered(self.postgres)
            self._places["postgres"] = await asyncio.to_thread(self.postgres.create_database, "soak")
        if self._options.store == "mirror":
            given = os.environ.get(REDIS)
            if not given:
                self.valkey = ValkeyServer()
                await self._entered(self.valkey)
            self._places["redis"] = given or self.valkey.url if self.valkey else str(given)
        self.url = self._url(self._places, statement_timeout_s=JUDGE_TIMEOUT_S)

    async def _entered(self, server: PostgresServer | ValkeyServer) -> None:
        await asyncio.to_thread(server.__enter__)
        self._exit.push_async_callback(asyncio.to_thread, server.remove)

    async def _own_database(self, url: str) -> str:
        """A new database on somebody's server, dropped in the end."""
        name = f"holdfast_soak_{os.getpid()}"

        async def execute(sql: str) -> None:
            try:
                connection = await asyncpg.connect(url, timeout=10)
                await connection.execute(sql)
                await connection.close()
            except (OSError, asyncpg.PostgresError) as error:
                raise Unavailable(f"{POSTGRES}: expected a server that runs {sql!r}, saw {error!r}") from error

        await execute(f"CREATE DATABASE {name}")
        self._exit.push_async_callback(execute, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        return urllib.parse.urlunsplit(urllib.parse.urlsplit(url)._replace(path=f"/{name}"))

    async def _linked(self) -> Links:
        proxies = {}
        for name, url in self._places.items():
            parts = urllib.parse.urlsplit(url)
            port = parts.port or {"postgres": 5432, "redis": 6379}[name]
            proxies[name] = await self._exit.enter_async_context(TcpProxy(parts.hostname or "127.0.0.1", port))
        return Links(proxies)

    def __repr__(self) -> str:
        return f"Cluster({self._options.store}, {self.links})"


def through(url: str, port: int) -> str:
    """`url` by way of a port of loopback."""
    parts = urllib.parse.urlsplit(url)
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{port}"))
