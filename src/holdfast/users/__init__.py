"""Many users in one process, none in another's way: sessions, turns, quotas, memory, and a stream for each.

`rules` decides about streams, memory, idleness and isolation, `quota` about usage, `words` says what a user is told.
`session` is one user's agents and `registry` all users' sessions; `engine` runs calls within `seats` and the `ledger`
of quotas; `emitter` brings their events into the `stream`, which `bell` watches; `lifecycle` keeps memory within its
marks. `seam` is where this room meets that of the agents.
"""

from holdfast.users.cleaning import AgentCleanupFailure
from holdfast.users.emitter import EventBridge
from holdfast.users.engine import ExecutionEngine
from holdfast.users.figures import ExecutionStatistics, IsolationStatus
from holdfast.users.lifecycle import AgentLifecycleManager, EmergencyReport, MemoryStatus, UserAccount
from holdfast.users.quota import UserQuota
from holdfast.users.registry import AgentRegistry, RegistryMetrics
from holdfast.users.seam import Core
from holdfast.users.session import SessionMetrics, UserAgentSession
from holdfast.users.stream import StreamEvent, StreamObject, StreamSnapshot, UserStreams
from holdfast.users.words import UserNotification

__all__ = [
    "AgentCleanupFailure",
    "AgentLifecycleManager",
    "AgentRegistry",
    "Core",
    "EmergencyReport",
    "EventBridge",
    "ExecutionEngine",
    "ExecutionStatistics",
    "IsolationStatus",
    "MemoryStatus",
    "RegistryMetrics",
    "SessionMetrics",
    "StreamEvent",
    "StreamObject",
    "StreamSnapshot",
    "UserAccount",
    "UserAgentSession",
    "UserNotification",
    "UserQuota",
    "UserStreams",
]
