"""The statechart: what may happen, said once and checked.

A `ChartDef` is written by people or read from JSON. `compile` makes it a `Chart`, `start` and `step` are pure
functions from a configuration and an event to the next configuration and the actions that follow, with the semantics
of W3C SCXML. `check` finds likely mistakes at every depth. Nothing in this room waits, writes or reads a clock: read
`rules.py` for what may happen; the workflow engine makes it happen.
"""

from holdfast.chart.check import Finding, check
from holdfast.chart.compile import compile
from holdfast.chart.configuration import Configuration, Timer, accepts_timer, adopt, adopts_all, restore
from holdfast.chart.definition import ChartDef, Join, StateDef, TimerDef, TransitionDef
from holdfast.chart.mermaid import to_mermaid
from holdfast.chart.queries import enabled_targets, events_accepted, events_leading_to
from holdfast.chart.rules import Taken
from holdfast.chart.shown import shown
from holdfast.chart.step import DroppedTimer, Step, start, step
from holdfast.chart.svg import to_svg
from holdfast.chart.tree import Chart, Guard

__all__ = [
    "Chart",
    "ChartDef",
    "Configuration",
    "DroppedTimer",
    "Finding",
    "Guard",
    "Join",
    "StateDef",
    "Step",
    "Taken",
    "Timer",
    "TimerDef",
    "TransitionDef",
    "accepts_timer",
    "adopt",
    "adopts_all",
    "check",
    "compile",
    "enabled_targets",
    "events_accepted",
    "events_leading_to",
    "restore",
    "shown",
    "start",
    "step",
    "to_mermaid",
    "to_svg",
]
