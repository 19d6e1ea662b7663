"""The composition root: settings become a store, the workflows they name, and an engine.

A setting comes from the command line, else from `HOLDFAST_*`, else from `holdfast.toml` in the current folder, else it
has its default. Only programs read settings; the library takes arguments.
"""

from __future__ import annotations

import getpass
import importlib
import os
import sys
import tomllib
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from holdfast.errors import HoldfastError, InvalidInput
from holdfast.names import DEFAULT_TENANT
from holdfast.store.contract.place import without_secret
from holdfast.store.wrapping.seal import Codec
from holdfast.workflow.model.workflow import Workflow

FILE = "holdfast.toml"
PREFIX = "HOLDFAST_"
DEFAULT_STORE = "sqlite:///holdfast.db"


class Settings(BaseSettings):
    """What a program of holdfast needs to know before it starts.

    `store`: a URL as `open_store` takes it. `app`: where the workflows are, each "module:attribute". `user`: act for
    this user alone (absent: for the whole tenant, as an operator). `by`: who acts, for the audit trail. `codec`: where
    the codec of a sealed store is, "module:attribute".
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, frozen=True, extra="forbid")

    store: str = DEFAULT_STORE
    tenant: str = DEFAULT_TENANT
    user: str | None = None
    by: str | None = None
    app: Annotated[tuple[str, ...], NoDecode] = ()
    codec: str | None = None

    @pydantic.field_validator("app", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Several workflows in one text are separated by commas."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence, first wins."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**given: Any) -> Settings:
    """The settings, those of `given` first that are not None. Raises InvalidInput: names the setting and the value."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        known = ", ".join(Settings.model_fields)
        seen = without_secret(str(problem["input"]))
        raise InvalidInput(
            f"setting {name}: {problem['msg']}, saw {seen!r:.80}; looked at the command line, {PREFIX}* "
            f"and {Path(FILE).absolute()}; known settings: {known}",
            setting=name,
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{Path(FILE).absolute()}: expected TOML: {error}; mend or move the file") from error


def login_name() -> str:
    """The operating system's name for whoever runs this program."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def load_workflows(places: Iterable[str]) -> list[Workflow]:
    """The workflows at "module:attribute", in order: each a Workflow, several, or a function that gives them.

    Modules are also looked for in the current folder. Raises InvalidInput for a place that has none.
    """
    return [workflow for place in places for workflow in _workflows_at(place)]


def load_codec(place: str) -> Codec:
    """The codec at "module:attribute": one, or a function without arguments that gives one. Modules are also looked for
    in the current folder. Raises InvalidInput where there is none."""
    found = _found_at("codec", place, such_as="secrets_of_ours:codec")
    if callable(found):
        found = _called("codec", found, place)
    if not all(callable(getattr(found, name, None)) for name in ("encode", "decode")):
        raise InvalidInput(
            f"codec {place}: expected an object with encode and decode, or a function without arguments that gives "
            f"one, saw {type(found).__name__}"
        )
    codec: Codec = found
    return codec


def _found_at(what: str, place: str, *, such_as: str) -> Any:
    """What stands at "module:attribute"."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module_name, colon, attribute = place.partition(":")
    if not (colon and module_name and attribute):
        raise InvalidInput(f'{what}: expected "module:attribute" such as "{such_as}", saw {place!r}')
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise InvalidInput(
            f'{what}: expected a module as an import names it, such as "{such_as}", saw {module_name!r}; name no file, '
            "but stand in its folder"
        )
    found = _imported(what, place, module_name)
    try:
        for name in attribute.split("."):
            found = getattr(found, name)
    except AttributeError as error:
        raise InvalidInput(f"{what} {place}: expected that attribute: {error}") from error
    return found


def _imported(what: str, place: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{what} {place}: there is no module {error.name!r}; looked in {sys.path[0]} too") from error
    except Exception as error:
        advice = ""
        if isinstance(error, RuntimeError):  # what a script does that starts its loop wherever it is read
            advice = '; what starts the program belongs below `if __name__ == "__main__":`'
        raise InvalidInput(
            f"{what} {place}: importing {module_name!r} failed in {_blamed(error)}: "
            f"{type(error).__name__}: {error}{advice}"
        ) from error


def _blamed(error: Exception) -> str:
    """The file and line where the user's own code failed: its last frame in this folder, else the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(sys.path[0])]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    last = (own or list(frames))[-1]
    return f"{last.filename}, line {last.lineno}"


def _workflows_at(place: str) -> list[Workflow]:
    found = _found_at("workflow", place, such_as="incidents:workflow")
    if callable(found) and not isinstance(found, type):
        found = _called("workflow", found, place)
    workflows = list(found) if isinstance(found, list | tuple) else [found]
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise InvalidInput(
                f"workflow {place}: expected a Workflow, a list of them, or a function without arguments that gives "
                f"them, saw {type(workflow).__name__}"
            )
    return workflows


def _called(what: str, function: Any, place: str) -> Any:
    try:
        return function()
    except TypeError as error:
        raise InvalidInput(f"{what} {place}: expected a function without arguments: {error}") from error
    except HoldfastError as error:
        raise InvalidInput(f"{what} {place}: it could not be made: {error}") from error
