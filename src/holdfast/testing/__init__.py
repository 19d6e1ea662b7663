"""What our tests and our users' tests need. It may import everything; only the program, for its command, imports it.

`Lab` runs the real engine under a virtual clock; `FaultyStore` makes a store fail on purpose, `FailingAgent` what is
called; `simulation` runs several engines and all their faults from a seed; `conformance` is the contract of a store as
tests.
"""

from holdfast.testing.failing_agent import AgentCall, AgentDown, AgentThrottled, FailingAgent, Spell
from holdfast.testing.faulty_store import Fault, FaultyStore, When
from holdfast.testing.lab import Lab
from holdfast.testing.virtual_clock import Gate, VirtualClock
from holdfast.testing.watched import WatchedStore

__all__ = [
    "AgentCall",
    "AgentDown",
    "AgentThrottled",
    "FailingAgent",
    "Fault",
    "FaultyStore",
    "Gate",
    "Lab",
    "Spell",
    "VirtualClock",
    "WatchedStore",
    "When",
]
