"""Watching, never steering: the health of an engine, and its logs.

`rules` judges facts and is pure; `health` gathers them from an engine; `logs` sets up structured logging.
"""

from holdfast.observe.health import health_of
from holdfast.observe.logs import set_up_logs
from holdfast.observe.rules import Check, Health, Status

__all__ = ["Check", "Health", "Status", "health_of", "set_up_logs"]
