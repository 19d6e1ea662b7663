"""How a function becomes a command: the options that all share, and the boundary where errors become exit codes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_type_hints

import typer

from holdfast.app import load_settings
from holdfast.cli.output import Output, report
from holdfast.cli.rules import STOPPED
from holdfast.cli.session import Desk
from holdfast.errors import HoldfastError

Work = Callable[..., Awaitable[None]]

GROUPS = LOOK, DECIDE, WORK, KEEP, TRY = "Look", "Decide", "Work on runs", "Keep the store", "Try it out"
"""What `holdfast --help` lists commands under, in this order."""
URLS = "sqlite:///runs.db, postgresql://user@host/database, redis://host/0, hybrid+postgresql://..."

_SHARED: dict[str, Any] = {
    "store": Annotated[str | None, typer.Option(metavar="URL", help=f"Where runs are kept: {URLS}")],
    "is_json": Annotated[bool, typer.Option("--json", help="Print JSON: one object, or one a line.")],
}
_SEALED: dict[str, Any] = {
    "codec": Annotated[str | None, typer.Option(metavar="MODULE:NAME", help="Where the codec of a sealed store is.")]
}
_SCOPED: dict[str, Any] = {
    "tenant": Annotated[str | None, typer.Option(help="Whose runs.")],
    "user": Annotated[str | None, typer.Option(help="This user's runs only; without it, the whole tenant's.")],
    "app": Annotated[
        list[str] | None, typer.Option(metavar="MODULE:NAME", help="Where a workflow's code is; may be repeated.")
    ],
}
_ACTING: dict[str, Any] = {
    "by": Annotated[str | None, typer.Option(help="Who acts, for the audit trail: --user, else the login name.")]
}
_DEFAULTS: dict[str, Any] = {"is_json": False}


def command(
    app: typer.Typer, name: str, group: str, *, is_scoped: bool = True, acts: bool = False, has_store: bool = True
) -> Callable[[Work], Work]:
    """Make `work(desk, ...)` the command `name`, listed in `group`. `is_scoped`: it is about runs, `acts`: it
    decides in somebody's name, `has_store`: it works on the store of the settings.

    The rest of its parameters, all of them with `Annotated` types, are arguments and options of its own.
    """
    shared = _SHARED | _SEALED | (_SCOPED if is_scoped else {}) | (_ACTING if acts else {})
    if not has_store:
        shared = {option: kind for option, kind in shared.items() if option not in ("store", "codec")}

    def register(work: Work) -> Work:
        hints = get_type_hints(work, include_extras=True)
        own = [each.replace(annotation=hints[each.name]) for each in inspect.signature(work).parameters.values()][1:]
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(option), annotation=kind)
            for option, kind in shared.items()
        ]

        def run(**given: Any) -> None:
            is_json = given.pop("is_json")
            settings = {option: given.pop(option) or None for option in shared if option != "is_json"}
            perform(work, settings, given, is_json=is_json)

        run.__doc__ = work.__doc__
        run.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *common)}
        app.command(name, rich_help_panel=group)(run)
        return work

    return register


def perform(work: Work, settings: dict[str, Any], given: dict[str, Any], *, is_json: bool) -> None:
    """Do the work in a loop of its own; what holdfast raises on purpose becomes one line and an exit code."""
    try:
        desk = Desk(load_settings(**settings), Output(is_json=is_json))
        asyncio.run(_performed(work, desk, given))
    except HoldfastError as error:
        raise typer.Exit(report(error, is_json=is_json)) from None
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None


async def _performed(work: Work, desk: Desk, given: dict[str, Any]) -> None:
    await work(desk, **given)
