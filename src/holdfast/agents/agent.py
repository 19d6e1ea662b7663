"""An agent: a function or an object with a name, a type, and what it takes and gives.

It is a definition, and does nothing by itself: `AgentExecutionCore` carries its calls out, `AgentNetwork` puts it
beside others.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from holdfast.agents.agent_type import AgentType
from holdfast.agents.call import AgentCall
from holdfast.agents.shape import InvalidOutput, Shape
from holdfast.context import check_id
from holdfast.errors import InvalidDefinition, InvalidInput

CALL = "call"
"""The name of the parameter that is given the `AgentCall`."""


class Agent:
    """A named body, async or not, with typed input and output.

    `body`: a function, or an object with a method `run` or that can be called. It takes at most one value, and, in a
    parameter named `call`, the `AgentCall`. `takes` and `gives` are its types, from its annotations unless given; what
    does not fit is InvalidInput or InvalidOutput. `type`: the name of a shipped type, or an `AgentType`. `recycle`
    makes a new body, which is used after a call of the old one had to be fenced off.

    Example::

        async def classify(ticket: Ticket, call: AgentCall) -> Finding: ...

        triage = Agent(classify, name="triage", type="triage")

    Raises InvalidDefinition, or InvalidInput for a name or type that is none.
    """

    def __init__(
        self,
        body: Any,
        *,
        name: str | None = None,
        type: str | AgentType = "general",
        takes: Any = None,
        gives: Any = None,
        recycle: Callable[[], Any] | None = None,
    ) -> None:
        own = name or getattr(body, "name", None) or getattr(body, "__name__", None)
        if own is None:
            raise InvalidDefinition(f"agent: expected a name for {body!r:.80}; give name=")
        self.name = check_id("agent", own)
        if "/" in self.name:
            raise InvalidDefinition(f'agent {self.name}: expected a name without "/"')
        self.type = type if isinstance(type, AgentType) else AgentType.of(type)
        self.body = body
        self._recycle = recycle
        self._entry = _entry(self.name, body, takes, gives)
        self.is_async = self._entry.is_async

    @property
    def takes(self) -> Any:
        """The type of its input; NoneType for none."""
        return self._entry.takes.kind

    @property
    def gives(self) -> Any:
        """The type of its output."""
        return self._entry.gives.kind

    def bind(self, value: object, call: AgentCall) -> Callable[[], Any]:
        """Its body with what this call gives it. `value` was fitted before."""
        entry = self._entry
        arguments = (value,) if entry.has_value else ()
        if entry.has_call:
            return functools.partial(entry.function, *arguments, call=call)
        return functools.partial(entry.function, *arguments)

    def fit_input(self, value: object) -> Any:
        """`value` as what it takes. Raises InvalidInput."""
        return self._entry.takes.fit(value, what=f"input of agent {self.name}")

    def fit_output(self, value: object) -> Any:
        """`value` as what it gives. Raises InvalidOutput."""
        if inspect.iscoroutine(value):
            value.close()
        try:
            return self._entry.gives.fit(value, what=f"output of agent {self.name}")
        except InvalidInput as error:
            expected = getattr(self.gives, "__name__", str(self.gives))
            raise InvalidOutput(error.message, agent=self.name, expected=expected) from error

    def recycle(self) -> bool:
        """A new body in the place of the old one, where it knows how to make one; calls under way keep theirs."""
        if self._recycle is None:
            return False
        body = self._recycle()
        self._entry = _entry(self.name, body, self.takes, self.gives)
        self.body = body
        return True

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, type={self.type.name!r})"


def agent(
    body: Any = None,
    *,
    name: str | None = None,
    type: str | AgentType = "general",
    takes: Any = None,
    gives: Any = None,
) -> Any:
    """A decorator that makes an `Agent` of a function, whose name is its own unless given: `@agent(type="triage")`."""
    if body is None:
        return functools.partial(agent, name=name, type=type, takes=takes, gives=gives)
    return Agent(body, name=name, type=type, takes=takes, gives=gives)


class _Entry(NamedTuple):
    """How a body is called."""

    function: Callable[..., Any]
    takes: Shape
    gives: Shape
    has_value: bool
    has_call: bool
    is_async: bool


def _entry(name: str, body: Any, takes: Any, gives: Any) -> _Entry:
    function = body if inspect.isroutine(body) or isinstance(body, functools.partial) else getattr(body, "run", body)
    if not callable(function):
        raise InvalidDefinition(f"agent {name}: expected a function, or an object with `run`, saw {body!r:.80}")
    plain = function.func if isinstance(function, functools.partial) else function
    called: Any = plain if inspect.isroutine(plain) else type(plain).__call__
    parameters = dict(inspect.signature(function).parameters)
    has_call = parameters.pop(CALL, None) is not None
    values = [each for each in parameters.values() if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = [
        each.name for each in parameters.values() if each.default is each.empty and each.kind < each.VAR_POSITIONAL
    ]
    needed += [
        each.name for each in parameters.values() if each.default is each.empty and each.kind == each.KEYWORD_ONLY
    ]
    if len(needed) > 1 or (needed and (not values or needed[0] != values[0].name)):
        raise InvalidDefinition(
            f"agent {name}: expected at most one value and `{CALL}`, saw the parameters {', '.join(needed)}; "
            "take one dataclass or dict instead"
        )
    hints = _hints(name, called) if takes is None or gives is None else {}
    has_value = bool(values)
    if takes is None:
        takes = hints.get(values[0].name, Any) if has_value else Any
    return _Entry(
        function=function,
        takes=Shape(takes, what=f"agent {name}: what it takes"),
        gives=Shape(hints.get("return", Any) if gives is None else gives, what=f"agent {name}: what it gives"),
        has_value=has_value,
        has_call=has_call,
        is_async=inspect.iscoroutinefunction(called),
    )


def _hints(name: str, function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise InvalidDefinition(
            f"agent {name}: expected annotations that can be looked up, saw {error}; declare the types "
            "at the top of the module, or give takes= and gives="
        ) from error
