"""A tool as it is declared: a function, who may call it, where it runs, and what one call may use up."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.agents.tools.signature import Signature
from holdfast.errors import InvalidDefinition

Place = Literal["loop", "thread", "process"]
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What models take for the name of a function."""
TIMEOUT_S = 30.0
MEMORY_MIB_MIN = 64
"""Less does not let Python itself start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that agents may call by name. Made by `tool`; calling it calls the function.

    `scope`: what the context must have; "" lets anybody. `runs`: "loop" for coroutine functions; "thread" for plain
    ones that are trusted to return; "process" for what must be killable: a program of its own for each call, with at
    most `memory_mib_max` of memory, none of this process's environment but the variables named in `environment`, and an
    end by SIGKILL after `timeout_s`. `hidden`: arguments that the record masks. `check` may raise on arguments that fit
    their types and still make no sense.
    """

    name: str
    body: Callable[..., Any]
    description: str = ""
    scope: str = ""
    runs: Place = "loop"
    timeout_s: float = TIMEOUT_S
    arguments_bytes_max: int = 64 * 1024
    output_bytes_max: int = 256 * 1024
    memory_mib_max: int = 512
    environment: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    check: Callable[..., object] | None = None
    signature: Signature = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for is_well, what, seen in (
            (NAME.fullmatch(self.name), "a name of 1 to 64 letters, digits, - and _", self.name),
            (0 < self.timeout_s < float("inf"), "a timeout_s above 0", self.timeout_s),
            (self.arguments_bytes_max > 0, "an arguments_bytes_max above 0", self.arguments_bytes_max),
            (self.output_bytes_max > 0, "an output_bytes_max above 0", self.output_bytes_max),
            (
                self.memory_mib_max >= MEMORY_MIB_MIN,
                f"a memory_mib_max of at least {MEMORY_MIB_MIN}",
                self.memory_mib_max,
            ),
        ):
            if not is_well:
                raise InvalidDefinition(f"tool {self.name!r}: expected {what}, saw {seen!r}")
        object.__setattr__(self, "signature", Signature(self.name, self.body))
        self._check_place()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.body(*args, **kwargs)

    def described(self) -> dict[str, Any]:
        """As models are shown a function: `name`, `description`, `parameters` (a JSON schema)."""
        return {"name": self.name, "description": self.description, "parameters": self.signature.schema}

    def _check_place(self) -> None:
        if (self.runs == "loop") != inspect.iscoroutinefunction(self.body) and self.runs != "process":
            is_async = "coroutine" if self.runs == "loop" else "plain"
            raise InvalidDefinition(
                f"tool {self.name}: expected a {is_async} function for runs={self.runs!r}, saw {self.body!r}; what "
                "blocks and is trusted to return runs in a 'thread', what must be killable in a 'process'"
            )
        if self.runs != "process":
            return
        if self.signature.wants_context:
            raise InvalidDefinition(f"tool {self.name}: a process of its own cannot be given the context; pass ids")
        if "<" in getattr(self.body, "__qualname__", "<"):
            raise InvalidDefinition(
                f"tool {self.name}: expected a function at the top of a module for runs='process', so that another "
                f"process can import it, saw {getattr(self.body, '__qualname__', self.body)!r}"
            )


def tool(body: Any = None, **options: Any) -> Any:
    """A decorator that makes a `Tool` of a function: `@tool(scope="tickets:read", timeout_s=5)`.

    Its name and description are the function's name and docstring unless given; a coroutine function runs on the loop,
    a plain one in a process. Options are `Tool`'s. Raises InvalidDefinition.
    """
    if body is None:
        return functools.partial(tool, **options)
    given = dict(options)
    given.setdefault("name", getattr(body, "__name__", ""))
    given.setdefault("description", inspect.getdoc(body) or "")
    given.setdefault("runs", "loop" if inspect.iscoroutinefunction(body) else "process")
    try:
        return Tool(body=body, **given)
    except TypeError as error:
        raise InvalidDefinition(f"tool {given['name']!r}: expected options of a Tool, saw {error}") from error
