"""A function's parameters as a type: what arguments must fit, and the JSON schema that a model is shown."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from holdfast import codec
from holdfast.agents.shape import Shape
from holdfast.context import UserExecutionContext
from holdfast.errors import InvalidDefinition, InvalidInput

CONTEXT = "context"
"""A parameter of this name, annotated `UserExecutionContext`, is given who asks; no caller can set it."""
KEY = "key"
"""A keyword-only parameter of this name is given the idempotency key of the call; no caller can set it."""


class Signature:
    """The parameters of `function`, each annotated, and what it gives. Raises InvalidDefinition."""

    __slots__ = ("_arguments", "_gives", "_names", "schema", "wants_context", "wants_key")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        hints = _hints(name, function)
        parameters = dict(inspect.signature(function).parameters)
        self.wants_context = hints.get(CONTEXT) is UserExecutionContext and parameters.pop(CONTEXT, None) is not None
        key = parameters.get(KEY)
        self.wants_key = key is not None and key.kind is key.KEYWORD_ONLY
        if self.wants_key:
            del parameters[KEY]
        fields = [_field(name, parameter, hints) for parameter in parameters.values()]
        try:
            self._arguments = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
            schema = msgspec.json.schema(self._arguments)
        except (TypeError, ValueError) as error:
            raise InvalidDefinition(
                f"tool {name}: expected parameters that JSON can hold (plain types, dataclasses, msgspec structs), "
                f"saw {error}"
            ) from error
        self._names = tuple(parameters)
        self._gives = Shape(hints.get("return", Any), what=f"tool {name}: what it gives")
        self.schema = _inlined(schema)

    def fit(self, arguments: Mapping[str, Any], *, what: str, bytes_max: int) -> dict[str, Any]:
        """`arguments` as the types of the parameters, defaults filled in. Raises InvalidInput, naming the path."""
        body = codec.encode(dict(arguments), what=what, bytes_max=bytes_max)
        fitted = codec.decode(body, self._arguments, what=what)
        return {name: getattr(fitted, name) for name in self._names}

    def fit_output(self, body: bytes, *, what: str) -> Any:
        """The JSON that a tool gave, as the type that it promises. Raises InvalidInput, naming the path."""
        return self._gives.fit(codec.decode(body, what=what), what=what)


def _hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise InvalidDefinition(
            f"tool {name}: expected annotations that can be looked up, saw {error}; declare the types at the top of "
            "the module"
        ) from error


def _field(tool: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise InvalidDefinition(
            f"tool {tool}: expected parameters that are given by name, saw {parameter}; a model names each argument"
        )
    if parameter.name not in hints:
        raise InvalidDefinition(f"tool {tool}: expected an annotation for each parameter, saw none for {parameter}")
    kind = hints[parameter.name]
    if kind is UserExecutionContext:
        raise InvalidDefinition(
            f"tool {tool}: expected the context as a parameter named {CONTEXT}, saw it as {parameter.name}"
        )
    if parameter.default is parameter.empty:
        return parameter.name, kind
    if isinstance(parameter.default, list | dict | set):
        kept = parameter.default
        return parameter.name, kind, msgspec.field(default_factory=lambda: type(kept)(kept))
    return parameter.name, kind, parameter.default


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its outermost definition in place, as models expect it: an object with properties."""
    definitions = dict(schema.get("$defs", {}))
    outer = dict(definitions.pop(schema["$ref"].rsplit("/", 1)[1]))
    outer.pop("title", None)
    return {**outer, "$defs": definitions} if definitions else outer


def refusal_of(error: InvalidInput) -> str:
    """What is wrong with arguments or an output, for whoever sent it: the words after the type's name."""
    return error.message.partition("saw something else: ")[2] or error.message
