"""`CeleryExecutor`: the door of an engine for programs that start runs, and what Celery's workers need to do them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import celery
from celery import Celery, signals
from celery.exceptions import Reject
from kombu import Exchange, Queue

from holdfast import Engine, InvalidInput, Rejected, Retention, UnclaimedRun, Workflow
from holdfast.integrations.celery.publisher import Publisher
from holdfast.integrations.celery.reaper import ReaperOptions
from holdfast.integrations.celery.routes import Route, check_routes, queue_for
from holdfast.integrations.celery.worker import FLUSH_S, WorkerLoop

NAME = "holdfast"
LEASE_TTL_S = 5.0
RUNS_MAX = 100
QUORUM = {"x-queue-type": "quorum"}
"""What RabbitMQ makes of our queues: replicated, so that a broker node may go. Other brokers do not look at it."""


class CeleryExecutor(Engine):
    """Has runs worked on by the workers of a Celery app. Make one where the app is made, so that both sides import it.

    Entered, it is an engine that works on nothing (`works=False`): `start`, `send` and the rest commit to `store` (a
    URL), then a message with the run's id goes to `queue`, or to the first of `queues` whose route takes the run.
    In the app's workers (pools prefork and solo) each process has one engine that works on at most `runs_max` runs.
    A message is acknowledged once the claim is in the store. With no place for `wait_max_s` seconds it goes back to the
    queue. On a warm shutdown a process waits `drain_s` seconds for its runs to be let go; others go on with the rest.
    Runs that may be killing their workers go to `suspects_queue`, if there is one, for a worker that has nothing else.
    `name` begins the name of the task; give each executor of one app another. The further options are the worker
    engine's; see `Engine`.

    Example::

        app = Celery("shop", broker="amqp://")
        executor = CeleryExecutor(app, "postgresql://localhost/shop", orders, queues={"gpu": Route(workflow="train")})

        async with executor as engine:
            await engine.start("orders", {"item": 7}, user="ana")
    """

    def __init__(
        self,
        app: Celery,
        store: str,
        *workflows: Workflow,
        name: str = NAME,
        queue: str = NAME,
        queues: Mapping[str, Route] | None = None,
        suspects_queue: str | None = None,
        runs_max: int = RUNS_MAX,
        wait_max_s: float = 5.0,
        drain_s: float = 20.0,
        reaper: ReaperOptions | None = None,
        durable: bool = True,
        executor: Executor | None = None,
        retention: Retention | None = None,
        lease_ttl_s: float = LEASE_TTL_S,
        **options: Any,
    ) -> None:
        if not isinstance(store, str):
            raise InvalidInput(
                f"celery executor: expected the store's URL, for each process opens its own, saw {store!r}"
            )
        if wait_max_s <= 0 or drain_s < 0:
            raise InvalidInput(
                f"celery executor: expected wait_max_s > 0 and drain_s >= 0, saw {wait_max_s:g} and {drain_s:g}"
            )
        self._routes = dict(queues or {})
        names = frozenset(workflow.name for workflow in workflows)
        check_routes(self._routes, default=queue, workflows=names, suspects=suspects_queue)
        self._app = app
        self._queue = queue
        self._suspects_queue = suspects_queue
        self._publisher = Publisher(app, self._publish)
        super().__init__(store, *workflows, works=False, deal=self._publisher.offer, codec=options.get("codec"))
        working: dict[str, Any] = {"runs_max": runs_max, "durable": durable, "executor": executor, **options}
        working |= {"retention": retention, "lease_ttl_s": lease_ttl_s}
        self._make_worker = partial(Engine, store, *workflows, deal=self._publisher.offer, **working)
        self._make_worker()  # checks the options now, not at night
        self._worker: tuple[int, WorkerLoop] | None = None
        self._worker_options = {"wait_max_s": wait_max_s, "drain_s": drain_s, "lock_ttl_s": lease_ttl_s}
        self._reaper = reaper or ReaperOptions()

        def take_up(run_id: str, user: str, tenant: str) -> str:
            return self._take_up(run_id, user, tenant)

        self._task = app.task(
            take_up,  # Celery reads the arguments off a plain function
            name=f"{name}.take_up",
            shared=False,
            acks_late=True,
            reject_on_worker_lost=True,
            ignore_result=True,
            serializer="json",
        )
        self._declare_queues()
        self._hear_of_workers()

    async def close(self) -> None:
        """Stop; messages that wait for the broker are sent first, for at most 5 seconds."""
        await super().close()
        await asyncio.to_thread(self._publisher.flush, wait_max_s=FLUSH_S)

    # -- messages -----------------------------------------------------------------------------------------------

    def _publish(self, runs: Sequence[UnclaimedRun], producer: object) -> None:
        for run in runs:
            self._task.apply_async(
                args=(run.id, run.user, run.tenant),
                queue=queue_for(run, self._routes, default=self._queue, suspects=self._suspects_queue),
                producer=producer,
                retry=False,
                ignore_result=True,
            )

    def _declare_queues(self) -> None:
        """Workers consume from our queues, and from the app's own, unless `-Q` names others."""
        conf = self._app.conf
        others = list(conf.task_queues or [Queue(conf.task_default_queue)])
        names = [self._queue, *self._routes, *([self._suspects_queue] if self._suspects_queue is not None else [])]
        ours = [Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=QUORUM) for name in names]
        conf.task_queues = others + ours

    # -- in a worker process ------------------------------------------------------------------------------------

    def _take_up(self, run_id: str, user: str, tenant: str) -> str:
        """What the task does. It returns once the claim is in the store, which acknowledges the message."""
        if self._worker is None or self._worker[0] != os.getpid():
            raise Rejected("celery executor: expected a worker process of the pool prefork or solo, saw another")
        if self._worker[1].has_ended:
            self._begin_loop()
        answer = self._worker[1].take_up(run_id, user=user, tenant=tenant)
        if answer == "full":
            raise Reject(f"run {run_id}: no place here", requeue=True)
        return answer

    def _hear_of_workers(self) -> None:
        signals.worker_process_init.connect(self._process_began, weak=False)
        signals.worker_process_shutdown.connect(self._process_ends, weak=False)
        signals.worker_shutdown.connect(self._process_ends, weak=False)  # of the solo pool, which has one process

    def _process_began(self, **_: object) -> None:
        if celery.current_app._get_current_object() is not self._app:
            return  # another app's worker, in whose program this executor is imported, too
        self._begin_loop()

    def _begin_loop(self) -> None:
        loop = WorkerLoop(self._make_worker, self._publisher, reaper=self._reaper, **self._worker_options)
        self._worker = os.getpid(), loop
        loop.start()

    def _process_ends(self, **_: object) -> None:
        if self._worker is not None and self._worker[0] == os.getpid():
            loop = self._worker[1]
            self._worker = None
            loop.stop()
