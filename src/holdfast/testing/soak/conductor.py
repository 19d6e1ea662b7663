"""A soak from the first process to the verdict: set up, torment, heal, wait for rest, judge."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from holdfast.clock import seeded_randomness
from holdfast.errors import HoldfastError
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.open import open_store
from holdfast.testing.soak import gathering, growth, rules
from holdfast.testing.soak.cluster import Cluster
from holdfast.testing.soak.growth import Sample
from holdfast.testing.soak.ledger import Ledger
from holdfast.testing.soak.options import Plan, SoakOptions, SoakReport
from holdfast.testing.soak.processes import Place
from holdfast.testing.soak.rules import Evidence
from holdfast.testing.soak.torment import Tormentor

HEARTBEATS = 4
"""How many of them there are to a lease."""
TOLD_EVERY_S = 15.0
SAMPLES_MAX = 400
SAMPLED_EVERY_S = 0.5
LOOK_S = 0.25
Tell = Callable[[str], None]


async def soak(options: SoakOptions, *, tell: Tell = lambda line: None) -> SoakReport:
    """Torment processes and servers for `options.minutes`, let them come to rest, and judge what they did.

    `tell` hears how it goes, one line a few times a minute. Evidence stays in `report.folder` where anything was found
    or `options.folder` asks for it. Raises Unavailable where the servers cannot be started.
    """
    made = options.folder is None
    folder = options.folder or Path(tempfile.mkdtemp(prefix="holdfast-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        async with Cluster(options, folder) as cluster:
            report = await _Soak(options, folder, cluster, tell).run()
    except asyncio.CancelledError:
        tell(f"stopped before the end, so nothing was judged; what was seen is in {folder}")
        raise
    (folder / "report.json").write_bytes(msgspec.json.encode(report))
    if made and report.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
    return report


class _Soak:
    """One soak under way."""

    def __init__(self, options: SoakOptions, folder: Path, cluster: Cluster, tell: Tell) -> None:
        self._options = options
        self._folder = folder
        self._cluster = cluster
        self._tell = tell
        self._ledger = Ledger(folder / "ledger.jsonl")
        self._places = [
            Place(number, folder, self._plan_of, is_kept=number == 0) for number in range(options.processes)
        ]
        draw = seeded_randomness(options.seed)
        self._tormentor = Tormentor(cluster, self._places, draw, lease_ttl_s=options.lease_ttl_s)
        self._samples: list[Sample] = []
        self._endings: list[str] = []
        self._settled_s: float | None = None
        self._began_s = asyncio.get_running_loop().time()

    async def run(self) -> SoakReport:
        """All of it."""
        store = open_store(self._cluster.url)
        try:
            await store.migrate()
            await self._torment()
            for place in self._places:
                await place.calm()
            await self._settle(store)
            await self._finish()
            return await self._judged(store)
        finally:
            await store.close()
            for place in self._places:
                await place.abandon()

    @property
    def _lasted_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    def _plan_of(self, name: str) -> Plan:
        place = int(name.partition(".")[0])
        return Plan(
            by=name,
            url=self._cluster.url_of(place),
            ledger=str(self._folder / "ledger.jsonl"),
            seed=self._options.seed,
            customers=self._options.customers,
            lease_ttl_s=self._options.lease_ttl_s,
            heartbeat_s=self._options.lease_ttl_s / HEARTBEATS,
            plant=self._options.plant,
        )

    async def _torment(self) -> None:
        """The first phase; when it is over everything is healed."""
        for place in self._places:
            await place.start()
        await self._until_at_work()
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(work) for work in (self._sample(), self._watch(), self._narrate())]
            await self._tormentor.torment(self._options.minutes * 60)
            for watch in watches:
                watch.cancel()

    async def _until_at_work(self) -> None:
        """On a busy machine a short soak would be over before anybody has begun."""
        with contextlib.suppress(TimeoutError):  # then they begin while they are tormented
            async with asyncio.timeout(self._options.settle_s):
                while not self._ledger.size_bytes:  # noqa: ASYNC110 - the processes tell it to a file
                    await asyncio.sleep(LOOK_S)

    async def _sample(self) -> None:
        pause_s = max(SAMPLED_EVERY_S, self._options.minutes * 60 / SAMPLES_MAX)
        while True:
            await asyncio.sleep(pause_s)
            self._samples += filter(None, (place.sample(self._lasted_s) for place in self._places if place.is_alive))

    async def _watch(self) -> None:
        """A process that ends by itself is a fault, and is replaced."""
        while True:
            await asyncio.sleep(LOOK_S)
            for place in self._places:
                if place.codes.get(place.name) is None and place.note_end():
                    self._note_ending(place)
                    await place.replace()

    def _note_ending(self, place: Place) -> None:
        log = (self._folder / f"process-{place.name}.log").read_text("utf-8", "replace")
        last = log.strip().rpartition("\n")[2]
        self._endings.append(f"process {place.name}: it ended by itself with {place.codes[place.name]}: {last}")

    async def _narrate(self) -> None:
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            now = ", ".join(self._tormentor.now.values()) or "peace"
            done = ", ".join(f"{count} {name}" for name, count in sorted(self._tormentor.counts.items()))
            self._tell(f"{self._lasted_s:.0f} s: {self._ledger.size_bytes >> 10} KiB of ledger; {done}; now {now}")

    async def _settle(self, store: OpenStore) -> None:
        """The second phase: what may be left to do is done in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < self._options.settle_s:
            if await self._is_settled(store):
                self._settled_s = loop.time() - began
                return
            await asyncio.sleep(LOOK_S)

    async def _is_settled(self, store: OpenStore) -> bool:
        try:
            return await gathering.is_settled(store)
        except HoldfastError:
            return False  # connections from before a restart; the next look gets another

    async def _finish(self) -> None:
        self._samples += filter(None, (place.sample(self._lasted_s) for place in self._places if place.is_alive))
        for place in self._places:
            if place.codes.get(place.name) is None and place.note_end():
                self._note_ending(place)
            elif not await place.finish(self._options.settle_s):
                self._endings.append(f"process {place.name}: it did not end within {self._options.settle_s:g} s")
            elif place.codes[place.name] != 0:
                self._note_ending(place)

    async def _judged(self, store: OpenStore) -> SoakReport:
        self._tell(f"{self._lasted_s:.0f} s: judging")
        verification = await store.verify()
        runs, gaps = await gathering.seen_runs(store)
        evidence = Evidence(
            seed=self._options.seed,
            lines=list(self._ledger.lines()),
            runs=runs,
            samples=self._samples,
            verified=[str(problem) for problem in verification.problems],
            gaps=gaps,
            endings=self._endings,
            lasted_s=self._options.minutes * 60,
        )
        return self._report(evidence)

    def _report(self, evidence: Evidence) -> SoakReport:
        (self._folder / "samples.json").write_bytes(msgspec.json.encode(self._samples))
        effects = [line.key for line in evidence.lines if line.what == "effect"]
        return SoakReport(
            seed=self._options.seed,
            store=self._options.store,
            lasted_s=self._lasted_s,
            processes=self._options.processes,
            torments=dict(sorted(self._tormentor.counts.items())),
            runs=dict(sorted(Counter(run.outcome or run.status for run in evidence.runs.values()).items())),
            effects=len(set(effects)),
            repeated=len(effects) - len(set(effects)),
            decisions=sum(line.what == "judged" for line in evidence.lines),
            settled_s=self._settled_s,
            settle_s=self._options.settle_s,
            growth=growth.growths(self._samples, lasted_s=evidence.lasted_s),
            others=growth.most_of_the_others(self._samples, lasted_s=evidence.lasted_s),
            found=rules.audited(evidence),
            folder=str(self._folder),
        )
