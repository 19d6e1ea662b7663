"""What a handler is given: the run's data, and steps whose results survive as memos."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import typing
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from holdfast import codec, faults
from holdfast.chart import shown
from holdfast.context import UserExecutionContext
from holdfast.errors import ErrorSeverity, ErrorType, InvalidInput, WorkflowError
from holdfast.limits import Limit
from holdfast.limits.service import PLACE_TTL_S
from holdfast.locks import Lease, Mode
from holdfast.locks.service import LEASE_TTL_S
from holdfast.names import check_id
from holdfast.store.rows.blobs import BLOB_BYTES_MAX, BlobRef
from holdfast.workflow.actors.memos import Memos
from holdfast.workflow.decisions.decision import Row
from holdfast.workflow.model.run import Leaf, Run
from holdfast.workflow.process.large import blob_ref, read_patiently
from holdfast.workflow.process.runtime import Runtime

MAP_CONCURRENCY = 16
"""How many items of a `map` run side by side unless said otherwise."""

Once = Literal["visit", "run"]


class RunContext:
    """What a handler receives, as `ctx`.

    `data` is the run's data as the workflow's type, to be changed in place or replaced; it is stored when the handler
    returns. `input` is what the run was started with. `attempt` counts this visit's attempts from 1. `signal` is the
    last signal taken: a dict of name, by, about, at, data. `reason`: why the run was escalated, resumed or cancelled.
    """

    def __init__(
        self, runtime: Runtime, run: Run, path: str, leaf: Leaf, memos: Memos, data: Any, user: UserExecutionContext
    ) -> None:
        self._runtime = runtime
        self._memos = memos
        self._memos.begin()
        self._leaf = leaf
        self._run = run
        self.data = data
        self.input: Any = codec.decode(run.input)
        self.run_id = run.id
        self.ticket_id = run.ticket_id
        self.workflow = run.workflow
        self.state = shown(path)
        self._visit_name = f"{shown(leaf.born or path)}#{leaf.visit}"
        self.visit = leaf.visit
        self.attempt = leaf.attempts + 1
        self.signal = run.signal
        self.reason = run.reason
        self._blocks: set[tuple[str, int]] = set()
        self.user = user

    @property
    def token(self) -> int:
        """The fencing token of this state's lock, of several the first by kind and name; 0 where it declares none."""
        return next((lock.token for lock in self._leaf.locks), 0)

    @property
    def tokens(self) -> dict[str, int]:
        """The fencing tokens of all locks that this state declares, by "kind/name"."""
        return {str(lock): lock.token for lock in self._leaf.locks}

    def now_s(self) -> float:
        """The store's time in epoch seconds. Take it inside a step if it decides anything."""
        return self._runtime.store.now_s()

    async def sleep(self, seconds: float) -> None:
        """Wait in the handler; for more than moments declare a wait state, which survives and holds no memory."""
        await self._runtime.clock.sleep(seconds)

    def key_of(self, name: str, *, once: Once = "visit", key: str | None = None) -> str:
        """The idempotency key that `step` hands to the outside world for this name."""
        scope = self.run_id if once == "run" else f"{self.run_id}/{self._visit_name}"
        return f"{scope}/{_memo_name(name, key)}"

    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        once: Once = "visit",
        key: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The result of `function(*args, **kwargs)`, run once for this visit whatever crashes in between.

        Sync functions run in a thread. A function with a keyword-only parameter named `key` gets the idempotency key:
        one for each visit, or with `once="run"` one for the whole run (the body still runs in each visit). A name that
        repeats within a visit needs `key=`. The result passes through JSON by the function's return annotation, and may
        have 32 MiB of it.
        Effects happen at least once; exactly once where the receiver honours the key.
        """
        memo = _memo_name(name, key)
        found = await self._memos.find(memo)
        kind = _returns(function)
        if found is not None:
            return codec.decode(found, kind, what=f"result of step {name}")
        await self._memos.durable()
        faults.point("step")
        if _wants_key(function):
            kwargs["key"] = self.key_of(name, once=once, key=key)
        result = await _call(function, args, kwargs, self._runtime.executor)
        body = codec.encode(result, what=f"result of step {name}", bytes_max=BLOB_BYTES_MAX)
        if self._memos.is_known(memo):
            raise WorkflowError(
                f"state {self.state}: step {memo!r} ran twice in one visit; give repeated steps a key=",
                error_type=ErrorType.PERMANENT,
                severity=ErrorSeverity.HIGH,
                workflow_id=self.run_id,
            )
        self._memos.keep(memo, body)
        return codec.decode(body, kind, what=f"result of step {name}")

    async def map(
        self,
        name: str,
        function: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        key: Callable[[Any], str],
        concurrency: int = MAP_CONCURRENCY,
        once: Once = "visit",
    ) -> list[Any]:
        """The results of `function(item)` for each item, in the items' order, each a step of its own.

        `key` names an item; at most `concurrency` run side by side. The first failure ends the others; those that had
        finished are not run again.
        """
        todo = list(items)
        keys = [key(item) for item in todo]
        if len(set(keys)) != len(keys):
            raise InvalidInput(f"state {self.state}: map {name!r}: expected a different key for each item, saw {keys}")
        if concurrency < 1:
            raise InvalidInput(f"state {self.state}: map {name!r}: expected a concurrency of at least 1")
        results: list[Any] = [None] * len(todo)
        places = iter(range(len(todo)))

        async def work() -> None:
            for place in places:
                results[place] = await self.step(name, function, todo[place], key=keys[place], once=once)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(todo))):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return results

    @asynccontextmanager
    async def acquire_resource_lock(
        self,
        resource_type: str,
        resource_name: str,
        *,
        mode: Mode = "exclusive",
        ttl_s: float = LEASE_TTL_S,
        wait_max_s: float | None = None,
    ) -> AsyncIterator[Lease]:
        """Hold a resource for a block: `async with ctx.acquire_resource_lock("repository", "a") as lease`.
        What is known before the state is entered is better declared by its `lock=`.

        An attempt that begins again after a death has it at once, under a new token: it need not wait for the lease of
        the attempt before. Raises LockTimeout after `wait_max_s` seconds, and Deadlock where the wait would have no
        end; unless the handler catches it, the visit gives all that it holds back and is tried again.
        """
        name = f"{self.run_id}/{self._visit_name}/{resource_type}/{resource_name}"
        with self._numbered(name) as holder:
            async with self._runtime.locks.hold_one(
                self.user, resource_type, resource_name,
                mode=mode, ttl_s=ttl_s, wait_max_s=wait_max_s, holder=holder,
            ) as lease:  # fmt: skip
                yield lease

    @asynccontextmanager
    async def place(
        self, limit: Limit, *, ttl_s: float = PLACE_TTL_S, wait_max_s: float | None = None
    ) -> AsyncIterator[None]:
        """Take a place under a limit for a block: `async with ctx.place(LLM)`, and a token of its rate with it. What a
        whole state needs is better declared by its `limits=`: there who waits holds no task, and stands in line.

        Put it inside of a step's function rather than around the step where a result that is known must cost nothing.
        Raises Unavailable after `wait_max_s` seconds.
        """
        name = f"block:{self.run_id}/{self._visit_name}/{limit.name}"
        with self._numbered(name) as holder:
            async with self._runtime.places.hold(
                self.user, limit, ttl_s=ttl_s, wait_max_s=wait_max_s, holder=holder
            ):  # fmt: skip
                yield

    @contextmanager
    def _numbered(self, name: str) -> Iterator[str]:
        """A name of its own for each block: those side by side in one handler exclude each other as any others do."""
        number = next(number for number in itertools.count() if (name, number) not in self._blocks)
        self._blocks.add((name, number))
        try:
            yield f"{name}/{number}"
        finally:
            self._blocks.discard((name, number))

    def note(self, text: str, **facts: Any) -> None:
        """Tell the journal something: durable with the next commit, visible to whoever follows the run.

        Raises InvalidInput for what a journal cannot hold."""
        row = Row(name="note", agent=self.state, metadata={"text": text, **facts})
        body = codec.encode(row.facts(), what=f"note of state {self.state}")
        self._memos.note(replace(row, metadata=codec.decode(body)["metadata"]), len(body))

    async def put_blob(self, name: str, data: bytes) -> BlobRef:
        """Keep bytes that are too big for the run's data, at most 32 MiB; what stands for them is small, and fits into
        the data and into the arguments of steps.

        Durable when it returns. They go with the run, and not before: an older version of it may be gone back to. The
        same bytes under the same name are kept once. Raises InvalidInput.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidInput(f"blob {name!r}: expected bytes, saw {type(data).__name__}; encode it first")
        return await self._memos.put_blob(_memo_name(check_id("blob", name), None), bytes(data))

    async def get_blob(self, ref: BlobRef | Mapping[str, Any]) -> bytes:
        """The bytes that `put_blob` kept. In data without a type a reference is a dict, which does as well.

        Raises NotFound where there is no such blob, Corrupt where its bytes are not what they were.
        """
        return await read_patiently(self._runtime, self._run, blob_ref(ref))

    def __repr__(self) -> str:
        return f"RunContext({self.run_id} {self.state}#{self.visit} attempt {self.attempt})"


def _memo_name(name: str, key: str | None) -> str:
    if not name or "/" in name:
        raise InvalidInput(f'step: expected a name without "/", saw {name!r}')
    return name if key is None else f"{name}/{key}"


async def _call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], executor: Executor | None
) -> Any:
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        context = contextvars.copy_context()
        call = functools.partial(context.run, _call_sync, function, args, kwargs)
        result = await asyncio.get_running_loop().run_in_executor(executor, call)
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody ends this attempt: the function met the end of something else, and who waits for it must hear of it.
        name = getattr(function, "__name__", type(function).__name__)
        raise WorkflowError(f"step function {name} waited for something that was cancelled") from cancelled


def _call_sync(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as stop:  # as in a coroutine: a future cannot hold it, its waiter would wait for ever
        raise RuntimeError("step function raised StopIteration") from stop


def _inspected(function: Callable[..., Any]) -> tuple[Any, bool]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (TypeError, NameError):
        hints = {}
    kind = hints.get("return", Any)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    wants_key = "key" in parameters and parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY
    return _encodable(kind), wants_key


def _encodable(kind: Any) -> Any:
    """`kind` if msgspec can decode to it, Any otherwise."""
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return Any
    return kind


def _returns(function: Callable[..., Any]) -> Any:
    return _inspect(function)[0]


def _wants_key(function: Callable[..., Any]) -> bool:
    return _inspect(function)[1]


_seen: weakref.WeakKeyDictionary[Callable[..., Any], tuple[Any, bool]] = weakref.WeakKeyDictionary()
"""What is known of the functions that live: a closure, and what it holds, must be free to go."""


def _inspect(function: Callable[..., Any]) -> tuple[Any, bool]:
    plain = function.func if isinstance(function, functools.partial) else function
    plain = plain.__func__ if inspect.ismethod(plain) else plain
    try:
        found = _seen.get(plain)
        if found is None:
            found = _seen[plain] = _inspected(plain)
    except TypeError:  # not hashable, or without weak references: a callable object with state
        return _inspected(plain)
    return found
