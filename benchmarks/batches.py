"""What holdfast sends to PostgreSQL, recorded, and sent again by pgbench: the limit that the SQL itself sets.

A recording is one whole wave: the documents of `holdfast.commit_1`, each one transaction, in their order, as the server
logged them. To be sent again it needs other ids and a stream of its own, and nothing else: what the digests are is all
the same to the server. So each copy gets another beginning of its ids and another user, and all copies are in a table
before the clock starts. pgbench's clients then only name them, which is less than a client that sends them would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from benchmarks.contestants.process import Size, measure_at
from benchmarks.server import Server
from holdfast.store.open import open_store

USER = "local"
ID_BEGINNING = 6
"""Hexadecimal digits at the beginning of an id that all runs of a wave have in common: hours of its time."""
THREADS = 2
TIMEOUT_S = 300
TRIES = 5
SCRIPT = """\
\\set copy :client_id * :copies + :turn
\\set turn :turn + 1
"""
SEND = "SELECT holdfast.commit_1(document) FROM copies WHERE copy = :copy AND place = {place};\n"
_LOGGED = re.compile(
    r"SELECT holdfast\.commit_1\(\$1\)\n[^\n]*DETAIL:  Parameters: \$1 = '(.*?)'\n(?=\d{4}-)", re.DOTALL
)


class Incomplete(Exception):
    """Part of a wave went another way than by `holdfast.commit_1`: what was remembered of a row was out of date."""


class Recording(msgspec.Struct, frozen=True):
    """The documents of one wave of `size`, in the order in which they were committed; steps of those that have any."""

    size: Size
    documents: tuple[str, ...]

    steps_per_batch: float


def record(server: Server, size: Size) -> Recording:
    """What a wave of `size` sends. Raises Incomplete where no wave of several went by `holdfast.commit_1` alone."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Incomplete):
            return _recorded(server, size)
    return _recorded(server, size)


def _recorded(server: Server, size: Size) -> Recording:
    with server.database() as url:
        name = url.rsplit("/", 1)[1]
        server.postgres.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
        log = server.postgres.folder / "log"
        begins_at = log.stat().st_size
        measure_at(url, "holdfast_postgres", msgspec.structs.replace(size, waves=2))
        with log.open() as lines:
            lines.seek(begins_at)
            logged = [text.replace("''", "'") for text in _LOGGED.findall(lines.read())]
    return last_wave(logged, msgspec.structs.replace(size, waves=1))


def last_wave(logged: Iterable[str], size: Size) -> Recording:
    """The documents among `logged` that are about the last runs of a benchmark. Raises Incomplete."""
    documents = [(text, msgspec.json.decode(text)) for text in logged]
    started = [row[3] for _, document in documents for row in document.get("inserted", ()) if row[0] == "run"]
    runs = set(started[-size.runs :])
    wave = [(text, document) for text, document in documents if _runs_of(document) & runs]
    memos = [sum(row[0] == "memo" for row in document.get("inserted", ())) for _, document in wave]
    ended = sum(row[9] == "done" for _, document in wave for row in document.get("updated", ()) if row[0] == "run")
    # The last step of a run is committed by the run's end and needs no memo.
    if (len(runs), sum(memos), ended) != (size.runs, size.all_steps - size.runs, size.runs):
        raise Incomplete(
            f"expected a wave of {size.runs} runs in documents for commit_1, with {size.all_steps - size.runs} memos "
            f"and as many ends as runs; saw {len(runs)} runs, {sum(memos)} memos and {ended} ends"
        )
    return Recording(size, tuple(text for text, _ in wave), sum(memos) / sum(count > 0 for count in memos))


def _runs_of(document: dict[str, Any]) -> set[str]:
    rows = (*document.get("inserted", ()), *document.get("updated", ()))
    return {row[3].partition("/")[0] for row in rows if row[0] in ("run", "memo")}


def steps_per_s(server: Server, recording: Recording, *, clients: int, copies: int) -> float:
    """Steps a second where `clients` at once commit `copies` of the recording each."""
    with server.database() as url:
        asyncio.run(_with_schema(url))
        _write_copies(url, recording, clients * copies)
        server.postgres.execute("CHECKPOINT")
        seconds = _pgbench(server, url, recording, clients=clients, copies=copies)
        ended = "SELECT count(*) FROM holdfast.records WHERE kind = 'run' AND status = 'done'"
        seen = int(server.postgres.execute(ended, database=url.rsplit("/", 1)[1]))
        if seen != (expected := recording.size.runs * clients * copies):
            raise AssertionError(f"pgbench: expected {expected} runs to have ended, saw {seen}")
    return recording.size.all_steps * clients * copies / seconds


async def _with_schema(url: str) -> None:
    store = open_store(url)
    await store.migrate()
    await store.close()


def _write_copies(url: str, recording: Recording, count: int) -> None:
    """Every copy's documents into a table, and its stream as the first of them expects it."""
    first = msgspec.json.decode(recording.documents[0])
    beginning = next(iter(_runs_of(first)))[:ID_BEGINNING]
    ((tenant, _, seq),) = first["counted"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE copies (copy integer, place integer, document text STORAGE EXTERNAL, "
            "PRIMARY KEY (copy, place))"
        )
        for place, text in enumerate(recording.documents):
            connection.execute(
                "INSERT INTO copies SELECT n, %s, replace(replace(%s, %s, lpad(to_hex(n), %s, '0')), %s, 'u' || n) "
                "FROM generate_series(0, %s) AS n",
                (place, text, beginning, ID_BEGINNING, USER, count - 1),
            )
        connection.execute(
            "INSERT INTO holdfast.streams (tenant, \"user\", seq) SELECT %s, 'u' || n, %s "
            "FROM generate_series(0, %s) AS n",
            (tenant, seq, count - 1),
        )
        connection.execute("VACUUM ANALYZE copies")


def _pgbench(server: Server, url: str, recording: Recording, *, clients: int, copies: int) -> float:
    """Seconds, without the time that connecting took."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        script = Path(folder) / "wave.sql"
        script.write_text(SCRIPT + "".join(SEND.format(place=place) for place in range(len(recording.documents))))
        command = [
            *(str(server.postgres.program("pgbench")), "-n", "-M", "prepared", "-f", str(script)),
            *("-c", str(clients), "-j", str(min(clients, THREADS)), "-t", str(copies)),
            *("-D", f"copies={copies}", "-D", "turn=0", url),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    found = re.search(r"tps = ([\d.]+) \(without initial connection time\)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench: expected exit code 0 and a figure, saw {done.returncode}: {done.stderr[-2000:]}")
    return clients * copies / float(found[1])
