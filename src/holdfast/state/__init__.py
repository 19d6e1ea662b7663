"""state: what a network of agents knows together. Objects with versions and types, each with who made it and why.

`manager` is the door. `rules` decides, purely: what several writers make of one object, who conflicts, what is stale,
what a checkpoint brings back. `objects` and `names` say how objects look and are called; `shelf` reads and writes them,
`healing` mends what is damaged. `folding` makes one write of many updates, `transaction` one change of many objects;
`dependencies` goes along what was made from what, `past` back, `checkpoints` keeps a moment of a whole network,
`watching` tells of changes, `keeper` removes what is over its time.
"""

from holdfast.state.checkpoints import StateCheckpoint
from holdfast.state.manager import StateManager
from holdfast.state.objects import StateChange, StateObject
from holdfast.state.transaction import StateTransaction

__all__ = ["StateChange", "StateCheckpoint", "StateManager", "StateObject", "StateTransaction"]
