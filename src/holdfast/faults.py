"""Named points at which a process can be made to die, raise or stall on purpose: how recovery is proven.

`HOLDFAST_FAULTS="memo-durable:3:kill,transition:1:raise,claim:2:sleep=0.5"` acts at the n-th passing of each point.
Without the variable a point costs one comparison. Points are named where they stand: `grep 'faults.point('`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

from holdfast.errors import InvalidInput, Unavailable

VARIABLE = "HOLDFAST_FAULTS"


class FaultPlan:
    """What should happen where. Parsed from text such as `point:nth:kill|raise|stop|sleep=SECONDS`, comma separated."""

    def __init__(self, text: str) -> None:
        self._actions: dict[tuple[str, int], str] = {}
        self._passed: Counter[str] = Counter()
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, nth, action = [*part.split(":"), "", ""][:3]
            if not nth.isdigit() or action.partition("=")[0] not in ("kill", "raise", "stop", "sleep"):
                raise InvalidInput(f"{VARIABLE}: expected point:nth:kill|raise|stop|sleep=SECONDS, saw {part!r}")
            self._actions[name, int(nth)] = action

    def __bool__(self) -> bool:
        return bool(self._actions)

    def passed(self, name: str) -> int:
        """How often the point was passed."""
        return self._passed[name]

    def reach(self, name: str) -> None:
        """Count the passing and act if it is time to."""
        self._passed[name] += 1
        action, _, seconds = self._actions.get((name, self._passed[name]), "").partition("=")
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "stop":
            # To this thread: a signal to the process may be taken by another one while this one runs on.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        elif action == "sleep":
            time.sleep(float(seconds or 0.1))
        elif action == "raise":
            raise Unavailable(f"fault point {name}: raised on purpose at passing {self._passed[name]}", point=name)

    def __repr__(self) -> str:
        return f"FaultPlan({len(self._actions)} actions)"


_plan = FaultPlan(os.environ.get(VARIABLE, ""))


def plan(text: str) -> FaultPlan:
    """Replace this process's plan; for tests that stay in one process. Returns it, to see what was passed."""
    global _plan
    _plan = FaultPlan(text)
    return _plan


def point(name: str) -> None:
    """A place where a fault may be planted."""
    if _plan:
        _plan.reach(name)
