"""Pages of Markdown: their fenced blocks, headings and links, and what is wrong with the links."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`]*)$")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?)\s*$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_OUTSIDE = re.compile(r"^[a-z]+:", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the language and the marks behind it, its first line's number in the page, its text."""

    language: str
    marks: tuple[str, ...]
    line: int
    text: str


@dataclass(frozen=True)
class Section:
    """A heading and the text below it, up to the next heading of any level."""

    title: str
    text: str


@dataclass(frozen=True)
class Page:
    """One page. `place` is its path from the project's folder."""

    place: str
    text: str

    def blocks(self) -> list[Block]:
        """The fenced blocks in order."""
        return _split(self)[0]

    def prose(self) -> str:
        """The text outside fenced blocks."""
        return _split(self)[1]

    def sections(self) -> list[Section]:
        """The headings outside fenced blocks, with what is below each (fenced blocks left out)."""
        found: list[tuple[str, list[str]]] = []
        for line in self.prose().splitlines():
            if heading := _HEADING.match(line):
                found.append((heading["title"], []))
            elif found:
                found[-1][1].append(line)
        return [Section(title.replace("`", ""), "\n".join(lines)) for title, lines in found]

    def anchors(self) -> set[str]:
        """What a link may have behind its `#`."""
        return {slug(section.title) for section in self.sections()}

    def links(self) -> list[str]:
        """The targets of its links, but for pictures."""
        return [match["target"] for match in _LINK.finditer(self.prose())]


Pages = Mapping[str, Page]


def load_pages(root: Path) -> dict[str, Page]:
    """The README and every page below `docs`, by place."""
    paths = [root / "README.md", *sorted((root / "docs").rglob("*.md")), root / "benchmarks" / "README.md"]
    places = [path.relative_to(root).as_posix() for path in paths if path.exists()]
    return {place: Page(place, (root / place).read_text("utf-8")) for place in places}


def slug(title: str) -> str:
    """The anchor of a heading, as the usual renderers make it."""
    kept = "".join(sign for sign in title.lower() if sign.isalnum() or sign in " -_")
    return kept.replace(" ", "-")


def broken_links(pages: Pages, root: Path) -> list[str]:
    """Links between pages, and to files of the project, that lead nowhere."""
    found = []
    for page in pages.values():
        for target in page.links():
            if _OUTSIDE.match(target):
                continue
            path, _, anchor = target.partition("#")
            place = _resolve(page.place, path) if path else page.place
            if place not in pages and not (root / place).exists():
                found.append(f"{page.place}: link to {target}: {place} does not exist")
            elif anchor and anchor not in (pages[place].anchors() if place in pages else set()):
                found.append(f"{page.place}: link to {target}: no heading of {place} has this anchor")
    return found


def orphans(pages: Pages, *, start: str) -> list[str]:
    """Pages that no chain of links from `start` leads to."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        place = waiting.pop()
        if place in pages and place not in reached:
            reached.add(place)
            waiting += [_resolve(place, link.partition("#")[0]) for link in pages[place].links()]
    return [f"{place}: no link leads here from {start}" for place in pages if place not in reached]


def _resolve(place: str, link: str) -> str:
    parts: list[str] = []
    for part in (PurePosixPath(place).parent / link).parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _split(page: Page) -> tuple[list[Block], str]:
    blocks: list[Block] = []
    prose: list[str] = []
    inside: list[str] | None = None
    fence, info, started = "", "", 0
    for number, line in enumerate(page.text.splitlines(), start=1):
        if inside is None and (opening := _FENCE.match(line)):
            inside, fence, info, started = [], opening["fence"], opening["info"], number + 1
        elif inside is not None and line.strip() == fence:
            language, *marks = info.split() or [""]
            blocks.append(Block(language, tuple(marks), started, "\n".join(inside)))
            inside = None
        elif inside is not None:
            inside.append(line)
        else:
            prose.append(line)
    if inside is not None:
        raise ValueError(f"{page.place}:{started}: a fenced block that never ends")
    return blocks, "\n".join(prose)
