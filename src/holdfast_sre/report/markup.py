"""HTML that is safe by its type: plain text is escaped, and only `tag` and `trusted` make `Html`.

Signs that a reader cannot see (control signs, those that turn the direction of writing) are spelled out, so that a log
line or a diff cannot look like something that it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"br", "meta", "col", "hr"})
_KEPT = frozenset("\n\t")


class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | None) -> Html:
    """An element. Children that are not `Html` are escaped; `class_` means class, `_` in a name means a hyphen.

    An attribute that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{plain(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    """Parts one after the other, those that are not `Html` escaped."""
    return Html(shown(between).join(shown(part) for part in parts))


def shown(text: str) -> Html:
    """Text for a page: escaped, with invisible signs spelled out. `Html` stays as it is."""
    if isinstance(text, Html):
        return text
    return Html("".join(map(_sign, text)) if not text.isprintable() else escape(text))


def plain(text: str) -> Html:
    """Text where no element may stand, as in an attribute or the page's title: escaped, invisible signs in brackets."""
    return Html(
        "".join(escape(sign) if sign.isprintable() or sign in _KEPT else f"[U+{ord(sign):04X}]" for sign in text)
    )


def trusted(markup: str) -> Html:
    """Markup that our own code made, such as a chart's SVG or a style sheet."""
    return Html(markup)


def _sign(sign: str) -> str:
    if sign.isprintable() or sign in _KEPT:
        return escape(sign)
    return f'<span class="unseen">U+{ord(sign):04X}</span>'
