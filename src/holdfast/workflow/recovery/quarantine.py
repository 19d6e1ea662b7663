"""A process of its own for suspects, the runs that may kill whatever process works on them.

The engine that finds a suspect in line starts such a process, which works on suspects alone, one at a time, and hands
each on as soon as it made progress. What kills it kills no engine and no other run. `workflow/suspects.py` is what runs
in it. It needs a store that is named by a URL, and workflows, and a codec, that stand in modules other than `__main__`:
to import a user's main program once more could run it once more. Keys are not handed on: that module gets its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterable

import msgspec

from holdfast import codec as json_codec
from holdfast.logs import get_logger
from holdfast.store.wrapping.seal import Codec
from holdfast.tasks import Supervisor
from holdfast.workflow.model.workflow import Workflow

READY = b"ready"
STOP_TIMEOUT_S = 10.0
MODULE = "holdfast.workflow.suspects"

log = get_logger("holdfast.quarantine")


class Errand(msgspec.Struct, frozen=True):
    """What the process is told, as one line of JSON on its standard input. `workflows`: module and attribute of each;
    `codec`: of the codec, None without one; `paths`: where modules are found; `ready_fd`: where it says that it has
    begun."""

    store: str
    workflows: tuple[tuple[str, str], ...]
    paths: tuple[str, ...]
    deaths_max: int
    lease_ttl_s: float
    heartbeat_s: float
    codec: tuple[str, str] | None = None
    ready_fd: int = -1


def place_of(wanted: Workflow | Codec) -> tuple[str, str] | None:
    """The module and the attribute under which another process finds `wanted`; None where it does not."""
    for name, module in list(sys.modules.items()):
        if name in ("__main__", "__mp_main__"):
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is wanted:
                return name, attribute
    return None


class Quarantine:
    """At most one such process at a time. `on_ended` is called when it ended, however."""

    def __init__(
        self,
        store: str,
        workflows: Iterable[Workflow],
        tasks: Supervisor,
        *,
        codec: Codec | None,
        deaths_max: int,
        lease_ttl_s: float,
        heartbeat_s: float,
        on_ended: Callable[[], None],
    ) -> None:
        self._store = store
        self._workflows = tuple(workflows)
        self._tasks = tasks
        self._codec = codec
        self._limits = (deaths_max, lease_ttl_s, heartbeat_s)
        self._on_ended = on_ended
        self._work: asyncio.Task[None] | None = None
        self._errand: Errand | None = None
        self.why_not: str | None = None
        """Why suspects cannot be tried apart, once that was found out: then they are tried in the engine's process."""

    def send(self) -> bool:
        """See to it that suspects are worked on; False where that cannot be done apart, as `why_not` says."""
        if self._errand is None and self.why_not is None:
            self._prepare()
        if self.why_not is None and (self._work is None or self._work.done()):
            self._work = self._tasks.start(self._run(), name="quarantine")
        return self.why_not is None

    def __repr__(self) -> str:
        return f"Quarantine(at_work={self._work is not None and not self._work.done()}, why_not={self.why_not!r})"

    def _prepare(self) -> None:
        places = [place_of(workflow) for workflow in self._workflows]
        found = tuple(place for place in places if place is not None)
        if len(found) < len(places):
            lost = next(workflow.name for workflow, place in zip(self._workflows, places, strict=True) if place is None)
            self._give_up(
                f"workflow {lost} stands in no module other than the main program; put it into one of its own"
            )
            return
        codec = None if self._codec is None else place_of(self._codec)
        if codec is None and self._codec is not None:
            self._give_up(
                f"codec {self._codec!r} is not an attribute of a module other than the main program; make it one"
            )
            return
        self._errand = Errand(self._store, found, tuple(sys.path), *self._limits, codec=codec)

    async def _run(self) -> None:
        assert self._errand is not None
        read, write = os.pipe()
        try:
            errand = msgspec.structs.replace(self._errand, ready_fd=write)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", MODULE, stdin=asyncio.subprocess.PIPE, pass_fds=(write,)
            )
        except OSError as error:
            os.close(read)
            os.close(write)
            self._give_up(f"no process can be started ({error})")
            self._on_ended()
            return
        os.close(write)
        assert process.stdin is not None
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json_codec.encode(errand) + b"\n")
                await process.stdin.drain()
            code = await process.wait()
        finally:
            await _ended(process)
            is_ready = os.read(read, len(READY)) == READY
            os.close(read)
        if code and not is_ready:
            self._give_up(f"its process ended with {code} before it was ready; see what it has printed")
        log.info("quarantine ended", code=code)
        self._on_ended()

    def _give_up(self, why: str) -> None:
        self.why_not = why
        log.warning("suspects are tried in the engine's own process", reason=why)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """The end of its input tells it to stop in good order; one that does not is killed."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
