"""Names that code and manifests share: settings, ports, paths of probes, services. Pure.

A commit of a program and a manifest speak of the same thing where both write the same name. That is a reason to look
at the commit first, and no proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.findings import ANY_ABSENT, Finding
from holdfast_sre.diagnosis.manifest_paths import is_under, leaves
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Ref, Snapshot

KeyKind = Literal["setting", "port", "path", "service"]
TABLES = ("data", "stringData", "binaryData")
KNOWN_MAX = 20_000
NAME_CHARS_MIN, NAME_CHARS_MAX = 3, 100

_KINDS = (*WORKLOAD_KINDS, "ConfigMap", "Secret", "Service", "Ingress", "HTTPRoute", "Job", "CronJob")
_ENV = re.compile(r"\.env\[([^\]]+)\]")
_PORT_FIELDS = ("ontainerPort", "argetPort", "odePort", "ostPort", "ort", "port.number")
_PORT_AT_END = re.compile(r":([0-9]{2,5})(?![0-9.])")
_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]{0,30}://)?(?:[^@/\s]{1,200}@)?([a-z0-9][a-z0-9-]{0,62})(?=[.:/]|$)")
UPPER = re.compile(r"(?<![A-Za-z0-9_])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![A-Za-z0-9_])")
"""A constant of two words or more, as nearly every language and shell writes what it takes from its environment."""
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PATH = re.compile(r"/[A-Za-z0-9_.-][A-Za-z0-9_./-]*")
_SERVICE = re.compile(
    r"(?:(?<=//)|(?<=@)|(?<=[\"'`]))([a-z0-9][a-z0-9-]{0,62})(?=[\"'`:/.]|$)"
    r"|(?<![A-Za-z0-9_.-])([a-z0-9][a-z0-9-]{0,62})(?=:[0-9]|\.[a-z0-9-]{1,63}\.svc)"
)
"""Where a service's name is an address or a whole text in quotes: many are everyday words."""
_ASSIGNED = re.compile(r"[\"'`]?\s{0,4}[:=]")


class Key(msgspec.Struct, frozen=True, order=True):
    """A name and what it is: `setting` is a variable of the environment or a key of a ConfigMap or Secret."""

    kind: KeyKind
    name: str

    def __str__(self) -> str:
        return self.name if self.kind == "setting" else f"{self.kind} {self.name}"


def known_keys(snapshot: Snapshot) -> frozenset[Key]:
    """Every key that the objects of a snapshot use, at most KNOWN_MAX."""
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    found = (
        key
        for kind in _KINDS
        for ref, manifest in snapshot.of_kind(kind)
        for path, text in leaves(manifest).items()
        for key in keys_at(ref, path, text, services)
    )
    named = (Key("service", name) for name in sorted(services) if len(name) >= NAME_CHARS_MIN)
    return frozenset(islice((*named, *islice(found, KNOWN_MAX)), KNOWN_MAX))


def keys_at(ref: Ref, path: str, text: str, services: Iterable[str] = ()) -> Iterator[Key]:
    """The keys that one leaf of an object names, by its place and value. Values of tables are not looked into."""
    head, _, below = path.partition(".")
    if ref.kind in ("ConfigMap", "Secret"):
        if head in TABLES and _is_name(below):
            yield Key("setting", below)
        return
    if (match := _ENV.search(path)) and _is_name(match[1]):
        yield Key("setting", match[1])
        if path.endswith("].value"):
            yield from _address(text, services)
    if path.endswith("KeyRef.key") and _is_name(text):
        yield Key("setting", text)
    elif path.endswith(_PORT_FIELDS) and _is_port(text):
        yield Key("port", text)
    elif path.endswith("httpGet.path") and _is_name(text) and text.startswith("/"):
        yield Key("path", text)
    elif path.endswith(("service.name", "serviceName", "ackend.name")) and text in services:
        yield Key("service", text)


def _address(text: str, services: Iterable[str]) -> Iterator[Key]:
    """The service and the port that a value such as `http://oven:80/bake` names."""
    host = _HOST.match(text)
    if host and host[1] in services:
        yield Key("service", host[1])
    if (port := _PORT_AT_END.search(text)) and _is_port(port[1]):
        yield Key("port", port[1])


def blamed_keys(snapshot: Snapshot, finding: Finding, known: frozenset[Key]) -> frozenset[Key]:
    """The keys that a finding is about: what stands in the fields that it blames, and what its evidence names of the
    known ones. The name of its own object is none: it stands in everything about it."""
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    found = {key for item in finding.evidence for key in _named_in(item.text, known)}
    for field in finding.blames:
        found.update(keys_at(field.object, field.path, "", services))
        if field.object.name != ANY_ABSENT:
            for path, text in leaves(snapshot.manifest(field.object)).items():
                if is_under(path, field.path):
                    found.update(keys_at(field.object, path, text, services))
        if field.object.kind == "Service" and not field.path and field.object.name != finding.object.name:
            found.add(Key("service", field.object.name))
    return frozenset(found - {Key("service", finding.object.name)})


def _named_in(text: str, known: frozenset[Key]) -> Iterator[Key]:
    for match in UPPER.finditer(text):
        if _is_name(match[0]):
            yield Key("setting", match[0])
    for match in _PORT_AT_END.finditer(text):
        if Key("port", match[1]) in known:
            yield Key("port", match[1])
    yield from known_words(text, known)


def known_words(text: str, known: frozenset[Key]) -> Iterator[Key]:
    """The known settings, paths and services that a text names as whole words; everyday words where they are quoted
    or assigned to, services where they are an address or quoted."""
    for match in _WORD.finditer(text):
        word = match[0].rstrip(".-")
        if (setting := Key("setting", word)) in known and not _is_prose(text, match.start(), word):
            yield setting
    for match in _PATH.finditer(text):
        path = match[0].rstrip(".")
        below = path[at:] if (at := path.find("/", 1)) > 0 else path  # `//host/path` begins with its host
        yield from (key for key in (Key("path", name) for name in dict.fromkeys((path, below))) if key in known)
    for match in _SERVICE.finditer(text):
        if (service := Key("service", match[1] or match[2])) in known:
            yield service


def _is_prose(text: str, start: int, word: str) -> bool:
    """Whether a lower-case word stands as in a sentence: neither quoted nor assigned to."""
    if not (word.isalpha() and word.islower()):
        return False
    end = start + len(word)
    is_quoted = start > 0 and text[start - 1] in "\"'`" and text[end : end + 1] == text[start - 1]
    return not is_quoted and not _ASSIGNED.match(text, end)


def _is_name(text: str) -> bool:
    return NAME_CHARS_MIN <= len(text) <= NAME_CHARS_MAX and text.isprintable()


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65_536
