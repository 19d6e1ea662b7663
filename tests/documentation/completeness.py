"""What must be told somewhere: public names, commands and their options, news since the last release."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.documentation.pages import Page, Section

KINDS = ("security", "removed", "deprecated", "added", "changed", "fixed")
FRAGMENT = re.compile(rf"^[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(KINDS)})\.md$")
FRAGMENT_CHARS_MAX = 2000


class Parameter(Protocol):
    """An option or argument of a command, as the command line library has it. `metavar`: how help shows its value."""

    opts: list[str]
    metavar: str | None
    secondary_opts: list[str]

    @property
    def param_type_name(self) -> str: ...


class Command(Protocol):
    """A command; a group of commands has `commands` besides."""

    hidden: bool

    @property
    def params(self) -> Sequence[Parameter]: ...


def names_of_tests(folder: Path) -> set[str]:
    """Files, classes and functions of the tests below `folder`, by name."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        found.add(path.name)
        found.update(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", path.read_text("utf-8"), re.MULTILINE))
    return found


def words(text: str) -> set[str]:
    """The code words of a text: what stands in backquotes, whole and in parts."""
    quoted = re.findall(r"`([^`]+)`", text)
    return set(quoted) | {part for code in quoted for part in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", code)}


def undocumented_names(names: Collection[str], pages: Collection[Page]) -> list[str]:
    """Public names that no page has as a code word, or shows in a heading."""
    told: set[str] = set()
    for page in pages:
        told |= words(page.prose()) | {word for section in page.sections() for word in section.title.split()}
    return [f"{name}: public, and not in docs/reference" for name in sorted(set(names) - told)]


def commands(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    """Every visible command below `command` with the words that call it ("holdfast ps"); groups are passed through."""
    inner: Mapping[str, Command] | None = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for word, child in (inner or {}).items():
        if not child.hidden:
            yield from commands(child, f"{name} {word}")


def undocumented_commands(command: Command, name: str, page: Page | None) -> list[str]:
    """Commands without a heading of their own, and options and arguments not told below it."""
    sections = {section.title: section for section in page.sections()} if page else {}
    found = []
    for call, leaf in commands(command, name):
        if call not in sections:
            found.append(f"{call}: no heading of this name in its reference page")
        else:
            found += [f"{call}: {option} is not told below its heading" for option in _untold(leaf, sections[call])]
    return found


def _untold(command: Command, section: Section) -> Iterator[str]:
    told = re.findall(r"--?[A-Za-z][A-Za-z0-9-]*|[A-Z][A-Z0-9_]*", section.text)
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        if parameter.param_type_name == "argument":
            spellings = [parameter.metavar or parameter.opts[0].upper()]
        else:
            spellings = [option for option in parameter.opts + parameter.secondary_opts if option.startswith("--")]
        yield from (spelling for spelling in spellings if spelling not in told)


def bad_fragments(texts: Mapping[str, str]) -> list[str]:
    """News fragments with a name or a text that the changelog cannot use."""
    found = []
    for name, text in texts.items():
        if not FRAGMENT.match(name):
            found.append(f"changes/{name}: expected SLUG.KIND.md with lower case words in SLUG and KIND one of {KINDS}")
        body = text.strip()
        if not body or not body.endswith((".", "`.", ")", "```")) or len(body) > FRAGMENT_CHARS_MAX:
            found.append(f"changes/{name}: expected sentences for users, at most {FRAGMENT_CHARS_MAX} signs")
        elif body.startswith("#"):
            found.append(f"changes/{name}: a fragment has no heading; the changelog makes it from the kind")
    return found


def missing_news(
    released: Collection[str], now: Collection[str], texts: Mapping[str, str], *, package: str
) -> list[str]:
    """Public names that came or went since the last release and that no fragment tells, fully qualified."""
    told = {word for text in texts.values() for word in words(text)}
    changed = [(name, "came") for name in sorted(set(now) - set(released))]
    changed += [(name, "went") for name in sorted(set(released) - set(now))]
    return [f"{package}.{name}: {what}, and no news tells" for name, what in changed if f"{package}.{name}" not in told]
