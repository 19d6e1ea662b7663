"""Values of secrets in texts that people read: numbered, so that one sees that they differ and not what they are."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast import InvalidInput
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.repair.tree.yaml_nodes import end, object_nodes, scalars, start, value_of

_TABLES = ("data", "stringData")
VALUE_CHARS_MIN = 4
"""A known value shorter than this is hidden in its secret only: elsewhere too many other things look like it."""


def hidden_values(changes: Iterable[Change]) -> Hidden:
    """What hides the values of secrets that some changes put or take."""
    return Hidden(
        text
        for change in changes
        if change.object.startswith("Secret/") and change.path.partition(".")[0] in _TABLES
        for text in (change.before, change.after)
        if text
    )


class Hidden:
    """Numbers values in the order in which they are met. `known` are hidden wherever they stand."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = tuple(dict.fromkeys(text for text in known if len(text) >= VALUE_CHARS_MIN))
        self._numbers: dict[str, int] = {}

    def masked(self, text: str) -> str:
        """The text without values of the secrets that it declares, and without the known ones."""
        spots = []
        try:
            for item in object_nodes(text, source="manifests") if "Secret" in text else ():
                for table in _TABLES if item.ref.kind == "Secret" else ():
                    values = value_of(item.node, table)
                    spots += [(start(node), end(node), str(node.value)) for node in scalars(values)] if values else []
        except InvalidInput:
            spots = []  # a template; known values are hidden below
        for first, last, value in sorted(spots, reverse=True):
            line_end = "\n" if text[first:last].endswith("\n") else ""
            text = text[:first] + self._name(value) + line_end + text[last:]
        for value in self._known:
            text = text.replace(value, self._name(value))
        return text

    def _name(self, value: str) -> str:
        return f"(secret value {self._numbers.setdefault(value, len(self._numbers) + 1)})"
