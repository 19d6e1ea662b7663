"""Scalars of manifests as text, and back: which type a leaf's text means, and how YAML writes it.

A change carries text. Most fields say by their name whether text that looks like a number is one (`containerPort`) or
stays text (an annotation, the value of an environment variable).
"""

from __future__ import annotations

import re

_STRING_TABLES = frozenset(
    {"annotations", "labels", "matchLabels", "nodeSelector", "data", "stringData", "binaryData", "matchFields"}
)
_STRING_LISTS = frozenset({"args", "command", "values", "verbs", "resources", "nameservers", "searches", "finalizers"})
_STRING_FIELDS = frozenset({"value", "name", "key", "image", "namespace", "path", "mountPath", "message", "apiVersion"})
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+")
_BOOLEAN = {"True": "true", "False": "false"}

# What some YAML 1.1 or 1.2 reader takes for something else than text; sexagesimal and other odd numbers included.
_NOT_TEXT = re.compile(
    r"(?i:y|yes|n|no|on|off|true|false|null|~|\.nan|[-+]?\.inf|=|<<)|[-+]?[0-9][0-9_,.:eExXoObB+\-a-fA-F]*|[-+]?\.[0-9]+.*"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[A-Za-z0-9_./@+=,$()*\-]|:(?=[^\s:])|\ (?=[A-Za-z0-9(]))*")


def is_text_field(path: str) -> bool:
    """Whether the leaf at this path is text by its name, whatever its value looks like."""
    steps = [step for step in re.split(r"[.\[\]]+", path) if step]
    if not steps:
        return False
    last_name = path.rpartition("[")[0].rpartition(".")[2] if path.endswith("]") else ""
    is_selector = len(steps) == 3 and steps[:2] == ["spec", "selector"]  # a service's; a deployment's is one deeper
    return bool(
        is_selector
        or steps[-1] in _STRING_FIELDS
        or last_name in _STRING_LISTS
        or _STRING_TABLES.intersection(steps[:-1])
    )


def rendered(path: str, text: str, *, old: str | None = None) -> str:
    """How YAML writes the leaf `path` with this value.

    `old` is the source text that it replaces, None for a new leaf: text in quotes that would be a number without them
    stays in quotes, and the kind of quotes stays.
    """
    quote = old[0] if old and old[0] in "'\"" else ""
    inner = old[1:-1] if old and quote else ""
    was_quoted_number = bool(inner) and _literal(inner) is not None
    if not was_quoted_number and not is_text_field(path) and (literal := _literal(text)) is not None:
        return literal
    return quoted(text, quote=quote)


def value_as_written(path: str, text: str) -> str | int | float | bool:
    """What a reader of YAML sees in the leaf `path` after `rendered` wrote it as a new one."""
    literal = None if is_text_field(path) else _literal(text)
    if literal is None:
        return text
    if literal in ("true", "false"):
        return literal == "true"
    return float(literal) if "." in literal else int(literal)


def _literal(text: str) -> str | None:
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    is_number = _INTEGER.fullmatch(text) or (_FLOAT.fullmatch(text) and str(float(text)) == text)
    return text if is_number else None


def reblocked(source: str, before: str, after: str) -> str | None:
    """A literal block (`|`) with another text of lines in it, None where the text does not fit its header.

    `before` is the value that `source` has; header, indentation and the kept line ends stay.
    """
    header, _, body = source.partition("\n")
    first = next((line for line in before.split("\n") if line.strip()), "")
    written = next((line for line in body.split("\n") if line.strip()), "")
    indent = written[: len(written) - len(first)]
    is_same_end = before[len(before.rstrip("\n")) :] == after[len(after.rstrip("\n")) :]
    is_plain = after.strip() and all(sign.isprintable() or sign == "\n" for sign in after)
    if not is_same_end or not is_plain or indent.strip() or after.startswith((" ", "\n")):
        return None
    rest = body[len(body.rstrip("\n")) :]
    lines = [indent + line if line else "" for line in after.rstrip("\n").split("\n")]
    return header + "\n" + "\n".join(lines) + rest


def quoted(text: str, *, quote: str = "") -> str:
    """Text as a YAML scalar: plain where every reader takes it for text, else in the wanted or in double quotes."""
    is_plain = _PLAIN.fullmatch(text) is not None and _NOT_TEXT.fullmatch(text) is None
    if not quote and is_plain:
        return text
    if quote == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    # Not JSON's escapes: those of signs beyond the first 65,536 are pairs of halves, which YAML does not join.
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"
