"""One agent's call, and networks of them: nobody's hang, crash or flood becomes anybody else's.

An `agent` is a definition: a body, a name, a type (`agent_type`), what it takes and gives (`shape`). `execution`
admits a call and tells of it (`events`), `supervision` looks after its body: `running` and `post` are what it knows,
`watchdog` and `stacks` find who blocks the loop, `threads` are for bodies that are not async, `call` is what a body is
given, and `tools` what it may do to the world. `network` puts agents in layers. What is decided (who comes next, what
a failure closes, whose time is over) is in `rules`.
"""

from holdfast.agents.agent import Agent, agent
from holdfast.agents.agent_type import TYPES, AgentType
from holdfast.agents.call import AgentCall, Tools
from holdfast.agents.events import AgentEvent, Emit
from holdfast.agents.execution import AgentExecutionCore
from holdfast.agents.network import AgentNetwork, NetworkFailed, NetworkResult
from holdfast.agents.post import AgentView
from holdfast.agents.shape import InvalidOutput
from holdfast.agents.supervision import AgentDead, Trouble

__all__ = [
    "TYPES",
    "Agent",
    "AgentCall",
    "AgentDead",
    "AgentEvent",
    "AgentExecutionCore",
    "AgentNetwork",
    "AgentType",
    "AgentView",
    "Emit",
    "InvalidOutput",
    "NetworkFailed",
    "NetworkResult",
    "Tools",
    "Trouble",
    "agent",
]
