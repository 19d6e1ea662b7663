"""The text of a regression test: plain Python for the CI of a repository of manifests, with a place for its facts."""

from __future__ import annotations

SOURCE = '''"""Keeps a repaired fault from coming back: @ABOUT@

Run by pytest, or by itself: python THIS_FILE [FOLDER OF MANIFESTS]. Needs PyYAML. Made by holdfast-sre; when the rule
that it states no longer fits, delete it.
"""

import hashlib
import json
import pathlib
import re
import sys

import yaml

FACTS = json.loads(
    r\'\'\'@DATA@\'\'\'
)
ROOT = pathlib.Path(__file__).resolve().parents[1]
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS.update({"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40})


def manifests(root):
    found = []
    for path in sorted(root.rglob("*.y*ml")):
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, ValueError):
            continue  # a template, or somebody else's check to make
        for document in documents:
            items = document.get("items") if isinstance(document, dict) else None
            found.extend(items if isinstance(items, list) else [document])
    return [item for item in found if isinstance(item, dict) and isinstance(item.get("metadata"), dict)]


def here(item):
    return item["metadata"].get("namespace") in (None, FACTS["namespace"])


def the(items, kind, name):
    for item in items:
        if item.get("kind") == kind and item["metadata"].get("name") == name and here(item):
            return item
    return None


def value_at(value, steps):
    for step in steps:
        if isinstance(step, dict) and isinstance(value, list):
            value = next((item for item in value if isinstance(item, dict) and item.get("name") == step["name"]), None)
        elif isinstance(step, int) and isinstance(value, list):
            value = value[step] if step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def size(text):
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]{0,2})", str(text))
    return float(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else None


def template_of(item):
    return ((item.get("spec") or {}).get("template") or {}) if isinstance(item.get("spec"), dict) else {}


def behind(items, service):
    wanted = (service.get("spec") or {}).get("selector") or {}
    found = []
    for item in filter(here, items):
        labels = (template_of(item).get("metadata") or {}).get("labels") or {}
        if wanted and all(labels.get(key) == value for key, value in wanted.items()):
            found.append(item)
    return found


def ports_of(item, container=None):
    containers = (template_of(item).get("spec") or {}).get("containers") or []
    return [
        port for each in containers if container in (None, each.get("name")) for port in each.get("ports") or []
    ]


def probes_of(item, container):
    for each in (template_of(item).get("spec") or {}).get("containers") or []:
        if each.get("name") == container:
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                for handler in ("httpGet", "tcpSocket", "grpc"):
                    port = ((each.get(probe) or {}).get(handler) or {}).get("port")
                    if port is not None:
                        yield probe, port


def broken(items, check):
    """Why a check does not hold, or an empty text."""
    name = "%s/%s" % (check["kind"], check["name"])
    item = the(items, check["kind"], check["name"])
    if item is None:
        return "%s: expected it among the manifests, found it nowhere" % name
    what = check["what"]
    if what in ("differs", "at least", "at most"):
        place = "%s %s" % (name, check["steps"])
        value = value_at(item, check["steps"])
        if what == "differs":
            digest = hashlib.sha256(str(value).encode()).hexdigest()
            same = digest == check["sha256"] if "sha256" in check else str(value) == check["value"]
            return "%s: has the value again that broke it" % place if same else ""
        seen, bound = size(value), size(check["size"])
        if seen is None or bound is None:
            return ""
        fits = seen >= bound if what == "at least" else seen <= bound
        return "" if fits else "%s: expected %s %s, found %s" % (place, what, check["size"], value)
    if what == "selects":
        return "" if behind(items, item) else "%s: its selector fits the pods of no workload" % name
    if what == "leads":
        opened = [port for each in behind(items, item) for port in ports_of(each)]
        known = {port.get("containerPort") for port in opened} | {port.get("name") for port in opened}
        for port in (item.get("spec") or {}).get("ports") or []:
            target = port.get("targetPort", port.get("port"))
            if opened and target not in known:
                return "%s: leads to port %s, which no container behind it opens" % (name, target)
            protocols = {each.get("protocol", "TCP") for each in opened}
            if opened and port.get("protocol", "TCP") not in protocols:
                return "%s: speaks %s, the containers speak %s" % (name, port.get("protocol"), sorted(protocols))
        return ""
    if what == "probes":
        opened = ports_of(item, check["container"])
        known = {port.get("containerPort") for port in opened} | {port.get("name") for port in opened}
        for probe, port in probes_of(item, check["container"]):
            if opened and port not in known:
                return "%s: %s asks port %s, which the container does not open" % (name, probe, port)
    return ""


def failures(root):
    items = manifests(root)
    return [why for why in (broken(items, check) for check in FACTS["checks"]) if why]


def test_the_repaired_fault_does_not_come_back():
    assert failures(ROOT) == []


if __name__ == "__main__":
    said = failures(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    print("\\n".join(said) or "holds")
    sys.exit(1 if said else 0)
'''
