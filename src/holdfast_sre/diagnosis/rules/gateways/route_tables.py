"""The route tables that config maps hold: lists of routes with id, uri and predicates, at any depth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig

_TARGET = re.compile(r"[a-z]+://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?")
_PLACEHOLDER = re.compile(r"\$\{([^:}]{1,200})(?::([^}]{0,200}))?\}")
_PATH = re.compile(r"Path=(.+)")
TABLE_CHARS_MAX = 1 << 20


class Route(msgspec.Struct, frozen=True):
    """One row of a route table. `paths` are prefixes; `port` is None where the uri names none."""

    id: str
    host: str
    port: int | None
    uri: str
    paths: tuple[str, ...]

    def leads(self, url: str) -> bool:
        """Whether a request for the URL's path takes this route."""
        return any(url == path.rstrip("/") or url.startswith(path) for path in self.paths)


def tables(snapshot: Snapshot) -> Iterator[tuple[Ref, str, list[Route]]]:
    """The tables: the config map, the path of its entry, and the routes."""
    for ref, manifest in snapshot.of_kind("ConfigMap"):
        for key, text in (dig(manifest, "data") or {}).items():
            if "uri:" not in str(text) or "predicates" not in str(text) or len(str(text)) > TABLE_CHARS_MAX:
                continue
            routes = list(_routes_in(_parsed(str(text)), _settings(snapshot, ref)))
            if len(routes) > 1:
                yield ref, f"data.{key}", routes


def _routes_in(value: Any, settings: Mapping[str, str]) -> Iterator[Route]:
    if isinstance(value, Mapping):
        uri = _PLACEHOLDER.sub(
            lambda found: settings.get(found[1], found[2] or ""), str(value.get("uri", ""))[:TABLE_CHARS_MAX]
        )
        target = _TARGET.match(uri)
        if target and value.get("id"):
            told = value.get("predicates")
            paths = tuple(_prefixes(told if isinstance(told, list) else ()))
            port = int(target["port"]) if target["port"] else None
            yield Route(str(value["id"]), target["host"].split(".")[0], port, uri, paths)
            return
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _routes_in(item, settings)


def _prefixes(predicates: Sequence[Any]) -> Iterator[str]:
    for item in predicates:
        match = _PATH.match(str(item))
        for pattern in match[1].split(",") if match else ():
            yield re.split(r"[*{?]", pattern.strip(), maxsplit=1)[0]


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """A config map's text as YAML; None where it is none, for it may hold any text."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        return None


def _settings(snapshot: Snapshot, config: Ref) -> dict[str, str]:
    """The environment of the containers that use the config map: it fills the table's placeholders."""
    found: dict[str, str] = {}
    for workload in snapshot.workloads:
        manifest = snapshot.manifest(workload)
        volumes = dig(manifest, "spec.template.spec.volumes") or ()
        is_mounted = any(dig(volume, "configMap.name") == config.name for volume in volumes)
        for container in containers_of(manifest):
            sources = [dig(source, "configMapRef.name") for source in container.get("envFrom") or ()]
            if is_mounted or config.name in sources:
                found |= {
                    str(item["name"]): str(item["value"]) for item in container.get("env") or () if "value" in item
                }
    return found
