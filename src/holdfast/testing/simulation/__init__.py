"""Simulation: several engines over one store in an event loop that is drawn from a seed, with everything going wrong.

`simulate(seed)` is one world: nodes that crash, stall and are cut off, a store that loses answers, users who meddle.
After each commit checkers look at what is there; when the faults are over, all must come right in a stated time. The
same seed gives the same world. `Scenario` simulates workflows of your own.
"""

from holdfast.testing.simulation.draws import Plan, Strike, Trouble, drawn_plan
from holdfast.testing.simulation.simulate import HEAL_S, Report, Scenario, carry_out, simulate
from holdfast.testing.simulation.world import World

__all__ = [
    "HEAL_S",
    "Plan",
    "Report",
    "Scenario",
    "Strike",
    "Trouble",
    "World",
    "carry_out",
    "drawn_plan",
    "simulate",
]
