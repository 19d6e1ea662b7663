"""The durable engine. A `Workflow` declares what may happen; an `Engine` makes it happen, once, whatever crashes.

`rules` judges: a run and an occurrence give the next run and the journal rows that tell it. One `actor` per owned run
commits these judgements and starts handlers; `steps` is what handlers see, `memos` what survives of it; `recovery`
finds what nobody works on, and where a queue deals the work out `dealing` does. `client` and `handle` are the doors,
`keeper` removes what nobody needs; `manager` has the spec's names.
"""

from holdfast.workflow.client import Client
from holdfast.workflow.dealing import UnclaimedRun
from holdfast.workflow.definition import Forward, Join, Retry
from holdfast.workflow.engine import Engine
from holdfast.workflow.handle import RunHandle
from holdfast.workflow.manager import WorkflowStateManager
from holdfast.workflow.past import Checkpoint
from holdfast.workflow.recovery import RecoveryManager
from holdfast.workflow.retention import Retention
from holdfast.workflow.spec import (
    DetailedState,
    MainState,
    StateTransition,
    TicketProcessingSubState,
    WorkflowState,
)
from holdfast.workflow.steps import RunContext
from holdfast.workflow.sync import SyncEngine, SyncRun
from holdfast.workflow.workflow import Workflow

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
