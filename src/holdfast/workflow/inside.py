"""What lives while an engine is open: its crew and all that looks after runs, put together and started."""

from __future__ import annotations

from holdfast.errors import CommitUnknown, Conflict, Unavailable
from holdfast.logs import get_logger
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.process.ownership import Ownership
from holdfast.workflow.process.runtime import Runtime, Stored
from holdfast.workflow.recovery.attendant import Attendant
from holdfast.workflow.recovery.dealing import Deal, Dealer, unclaimed
from holdfast.workflow.recovery.handover import Handover
from holdfast.workflow.recovery.messenger import Messenger
from holdfast.workflow.recovery.quarantine import Quarantine
from holdfast.workflow.recovery.recovery import RecoveryManager, Suspects
from holdfast.workflow.recovery.scheduler import Scheduler
from holdfast.workflow.upkeep.keeper import Keeper
from holdfast.workflow.upkeep.retention import Retention

log = get_logger("holdfast.engine")


class Inside:
    """What lives while an engine is open."""

    def __init__(
        self,
        runtime: Runtime,
        ownership: Ownership,
        *,
        runs_max: int,
        deaths_max: int,
        retention: Retention | None,
        suspects: Suspects,
        quarantine: Quarantine | None,
        deal: Deal | None,
    ) -> None:
        self.runtime = runtime
        self.ownership = ownership
        self.problems: dict[str, str] = {}
        self.crew = Crew(
            runtime,
            runs_max=runs_max,
            deaths_max=deaths_max,
            on_released=self._released,
            on_crashed=self._crashed,
            on_lost=lambda: self.recovery.strayed(),
        )
        self.recovery = RecoveryManager(
            runtime,
            self.crew,
            ownership,
            suspects=suspects,
            quarantine=quarantine,
            deal=(lambda run: deal(unclaimed(run))) if deal is not None else None,
        )
        self.dealer = Dealer(runtime, self.crew, ownership, self.recovery)
        self.scheduler = Scheduler(runtime, Handover(runtime, self.crew, self.recovery), self.problems)
        runtime.on_told = Messenger(runtime, self.crew, self.recovery).tell
        self.keeper = Keeper(runtime, retention, self.problems) if retention is not None else None

    def begin(self) -> None:
        """Start recovery, retention and, on a shared store, the heartbeat and the look-out for peers."""
        self.runtime.tasks.start(self.recovery.keep(), name="recovery")
        if self.keeper is not None:
            self.runtime.tasks.start(self.keeper.keep(), name="retention")
        if (dependencies := self.runtime.needs.dependencies) is not None:
            attendant = Attendant(self.runtime, self.recovery, dependencies, self.problems)
            self.runtime.tasks.start(attendant.keep(), name="parking")
        if self.ownership.is_shared:
            self.runtime.tasks.start(
                self.ownership.keep(self._lease_lost, self.recovery.watch.trouble), name="heartbeat"
            )
            self.runtime.tasks.start(self.recovery.listen(), name="listen")

    def _released(self, stored: Stored) -> None:
        self.recovery.released(stored)
        self.dealer.freed()

    def _lease_lost(self) -> None:
        log.warning("lease lost: others may have taken runs over", process=self.ownership.process_id)
        self.runtime.tasks.start(self._after_lost_lease(), name="lost lease")

    async def _after_lost_lease(self) -> None:
        lost = await self.crew.check_epochs()
        log.warning("runs lost to other processes", runs=lost)
        self.recovery.strayed()  # whoever forgot us has removed what was left for us to look at
        self.recovery.nudge()

    def _crashed(self, run_id: str, error: BaseException) -> None:
        if isinstance(error, Unavailable | CommitUnknown | Conflict):
            log.warning("run is taken up anew", run=run_id, error=repr(error))
            if isinstance(error, Conflict):
                self.recovery.strayed()
            else:
                self.recovery.gave_up()
            return
        log.error("run stopped here by an error of its store or code", run=run_id, error=repr(error))
        self.problems[f"run {run_id}"] = repr(error)
