"""Runs on Celery workers. A message carries only a run's id; whoever gets it must first win the claim in the store.

`executor` is the object that a program makes, on both sides of the broker. `publisher` sends messages, `worker` is what
lives in each worker process, `reaper` sends again what nobody claimed, by the `rules`; `routes` say which queue.
"""

from holdfast.integrations.celery.executor import CeleryExecutor
from holdfast.integrations.celery.reaper import ReaperOptions
from holdfast.integrations.celery.routes import Route

__all__ = ["CeleryExecutor", "ReaperOptions", "Route"]
