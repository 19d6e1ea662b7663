"""The durable engine. A `Workflow` declares what may happen; an `Engine` makes it happen, once, whatever crashes.

Its folders are stairs, each above those that it may use. `model` is what a workflow and a run are; `decisions` what may
happen to a run: `decisions/rules.py` makes of a run and an occurrence the next run, and the journal rows of it.
`process` is what one process has for all its runs; in `actors` one actor per owned run commits these judgements and
starts handlers, `steps` is what they see, `memos` what survives. `recovery` finds what nobody works on; beside them
`upkeep` removes what nobody needs, and `board` tells others of breakers. In front stand the doors: `engine`, `client`,
`handle`, `sync`, and `manager` with the spec's names.
"""

from holdfast.workflow.actors.steps import RunContext
from holdfast.workflow.client import Client
from holdfast.workflow.engine import Engine
from holdfast.workflow.handle import RunHandle
from holdfast.workflow.manager import WorkflowStateManager
from holdfast.workflow.model.definition import Forward, Join, Retry
from holdfast.workflow.model.workflow import Workflow
from holdfast.workflow.process.past import Checkpoint
from holdfast.workflow.recovery.dealing import UnclaimedRun
from holdfast.workflow.recovery.recovery import RecoveryManager
from holdfast.workflow.spec import (
    DetailedState,
    MainState,
    StateTransition,
    TicketProcessingSubState,
    WorkflowState,
)
from holdfast.workflow.sync import SyncEngine, SyncRun
from holdfast.workflow.upkeep.retention import Retention

__all__ = [
    "Checkpoint",
    "Client",
    "DetailedState",
    "Engine",
    "Forward",
    "Join",
    "MainState",
    "RecoveryManager",
    "Retention",
    "Retry",
    "RunContext",
    "RunHandle",
    "StateTransition",
    "SyncEngine",
    "SyncRun",
    "TicketProcessingSubState",
    "UnclaimedRun",
    "Workflow",
    "WorkflowState",
    "WorkflowStateManager",
]
