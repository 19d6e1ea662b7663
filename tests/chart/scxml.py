"""A reader of SCXML documents, structure only, for conformance cases written by others.

Ids of SCXML are flat and may hold dots; ours are paths. The reader keeps the map between the two. What needs a data
model, a script or an outer service raises Unsupported with the reason.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from holdfast.chart import ChartDef, StateDef, TransitionDef

STATES = ("state", "parallel", "final", "history")
WITHOUT_EFFECT = ("log",)
NEEDS_DATA = ("script", "assign", "foreach", "if", "cancel", "invoke", "datamodel", "donedata", "finalize")


class Unsupported(Exception):
    """The document uses more than structure."""


@dataclass(frozen=True)
class Document:
    """A chart read from SCXML, and the path of each of its ids."""

    chart: ChartDef
    paths: dict[str, str]


def read(text: str, name: str) -> Document:
    """The chart in an SCXML document. Raises Unsupported for documents with more than structure."""
    root = ET.fromstring(text)
    for element in root.iter():
        if _tag(element) in NEEDS_DATA and len(element) + len(element.attrib) + len((element.text or "").strip()):
            raise Unsupported(f"<{_tag(element)}>")
    names: dict[ET.Element, str] = {}
    paths: dict[str, str] = {}
    _name_all(root, "", names, paths)
    children = tuple(_state(child, names, paths) for child in _states(root))
    return Document(ChartDef(name, 1, children, _initial(root, paths)), paths)


def _name_all(element: ET.Element, prefix: str, names: dict[ET.Element, str], paths: dict[str, str]) -> None:
    for place, child in enumerate(_states(element)):
        own = child.get("id", f"unnamed{place}")
        names[child] = re.sub(r"[.\s*]", "-", own)
        paths[own] = prefix + names[child]
        _name_all(child, paths[own] + ".", names, paths)


def _state(element: ET.Element, names: dict[ET.Element, str], paths: dict[str, str]) -> StateDef:
    if _tag(element) == "history":
        deep = element.get("type") == "deep"
        defaults = next(iter(_all(element, "transition")), None)
        initial = () if defaults is None else _paths(defaults.get("target", ""), paths)
        return StateDef(names[element], "deep_history" if deep else "shallow_history", initial=initial)
    children = tuple(_state(child, names, paths) for child in _states(element))
    kind: Literal["parallel", "final", "compound", "atomic"]
    kind = "atomic"
    if _tag(element) == "parallel":
        kind = "parallel"
    elif _tag(element) == "final":
        kind = "final"
    elif children:
        kind = "compound"
    entry = [_content(each) for each in _all(element, "onentry")]
    leaving = [_content(each) for each in _all(element, "onexit")]
    return StateDef(
        names[element],
        kind,
        children=children,
        initial=() if kind == "parallel" else _initial(element, paths),
        transitions=tuple(_transition(each, paths) for each in _all(element, "transition")),
        entry=tuple(action for actions, _ in entry for action in actions),
        entry_raises=tuple(event for _, raises in entry for event in raises),
        exit=tuple(action for actions, _ in leaving for action in actions),
        exit_raises=tuple(event for _, raises in leaving for event in raises),
    )


def _transition(element: ET.Element, paths: dict[str, str]) -> TransitionDef:
    if "cond" in element.attrib:
        raise Unsupported("cond")
    actions, raises = _content(element)
    return TransitionDef(
        event=" ".join(_event(each, paths) for each in element.get("event", "").split()),
        targets=_paths(element.get("target", ""), paths),
        internal=element.get("type") == "internal",
        actions=actions,
        raises=raises,
    )


def _event(descriptor: str, paths: dict[str, str]) -> str:
    """A descriptor with the id in a done event replaced by our path."""
    done = "done.state."
    inner = descriptor.removeprefix(done)
    return done + paths[inner] if descriptor.startswith(done) and inner in paths else descriptor


def _content(element: ET.Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Executable content as (actions, raised events). An immediate send counts as a raise: there is one queue."""
    actions, raises = [], []
    for child in element:
        tag = _tag(child)
        if tag in WITHOUT_EFFECT:
            actions.append(child.get("label", "") or child.get("expr", "log"))
        elif tag in ("raise", "send"):
            if any(name not in ("event", "id") for name in child.attrib) or len(child) or "event" not in child.attrib:
                raise Unsupported(f"<{tag}> with {sorted(child.attrib)}")
            raises.append(child.attrib["event"])
        else:
            raise Unsupported(f"<{tag}>")
    return tuple(actions), tuple(raises)


def _initial(element: ET.Element, paths: dict[str, str]) -> tuple[str, ...]:
    inner = next(iter(_all(element, "initial")), None)
    if inner is None:
        return _paths(element.get("initial", ""), paths)
    transition = _all(inner, "transition")[0]
    if len(transition):
        raise Unsupported("content in <initial>")
    return _paths(transition.get("target", ""), paths)


def _paths(ids: str, paths: dict[str, str]) -> tuple[str, ...]:
    return tuple(paths[each] for each in ids.split())


def _states(element: ET.Element) -> Iterator[ET.Element]:
    return (child for child in element if _tag(child) in STATES)


def _all(element: ET.Element, tag: str) -> list[ET.Element]:
    return [child for child in element if _tag(child) == tag]


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
