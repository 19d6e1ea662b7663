"""Nothing that a reader is given breaks it: garbage in every place, every byte stream, every archive."""

from __future__ import annotations

import copy
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import InvalidInput
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.evidence.dump import read_dump
from holdfast_sre.evidence.input_files import Notes, Piece, pieces_in
from holdfast_sre.evidence.manifest_files import load_manifests
from holdfast_sre.repair.propose import propose
from tests.sre.diagnosis.worlds import World, container
from tests.sre.evidence.dumps import as_list, objects_of, unpullable


def digest(pieces: list[Piece]) -> None:
    """Read, diagnose and propose; a refusal by name is an answer."""
    notes = Notes()
    with suppress(InvalidInput):
        dump = read_dump(pieces, "fuzz", notes)
        for namespace in dump.candidates()[:3]:
            snapshot = dump.snapshot(namespace)
            propose(snapshot, diagnose(snapshot), last_good=snapshot.declared)


def rich_world() -> World:
    """One of everything, all of it troubled."""
    world = unpullable()
    probe = {"grpc": {"port": 8001}, "periodSeconds": 1}
    box = container(
        livenessProbe=probe, readinessProbe={"grpc": {"port": 8000}}, env=[{"name": "A", "value": "till:99"}]
    )
    world.deployment("mixer", containers=[box], restarts=4, kind="StatefulSet")
    world.deployment("shelf", ready=0, node=None, nodeSelector={"a": "b"}, volumes=[{"name": "v"}])
    world.service("till", selector={"app": "tills"}, addresses=())
    world.event(world.pod("mixer"), "Unhealthy", "Liveness probe failed: x")
    world.event(world.pod("shelf"), "FailedScheduling", "node affinity/selector")
    claim = {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    }
    world.add("PersistentVolumeClaim", "c", claim)
    world.add("ResourceQuota", "q", {"status": {"used": {"pods": "1"}, "hard": {"pods": "1"}}})
    world.add("ConfigMap", "m", {"data": {"routes": "uri: x\npredicates: []"}})
    return world


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in an object but its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


RICH = objects_of(rich_world())
GARBAGE: list[Any] = [
    None,
    3,
    -1,
    1e308,
    True,
    "text",
    "",
    [],
    {},
    [7],
    [None],
    {"k": 7},
    {"name": None},
    [[{}]],
    "\x1b[2J\u202e",
]


@pytest.mark.parametrize("index", range(len(RICH)), ids=[f"{item['kind']}-{item['metadata']['name']}" for item in RICH])
@pytest.mark.parametrize(("stride", "first"), [(7, 3), pytest.param(1, 0, marks=pytest.mark.long)])
def test_garbage_in_any_place_of_a_living_object_is_told_not_fatal(index: int, stride: int, first: int) -> None:
    """Each place of each object in turn, with a garbage that goes by the place's number, so that all kinds come up."""
    for number, path in enumerate(places(RICH[index])):
        items: Any = copy.deepcopy(RICH)
        parent = items[index]
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = GARBAGE[(number * stride + first) % len(GARBAGE)]
        digest([Piece("x.json", as_list(items).encode())])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(st.text(max_size=6), below, max_size=4)),
    max_leaves=12,
)
KEYS = (
    "kind",
    "apiVersion",
    "metadata",
    "spec",
    "status",
    "items",
    "involvedObject",
    "subsets",
    "data",
    "name",
    "namespace",
)
KINDS = (
    "Pod",
    "Deployment",
    "Service",
    "Event",
    "Endpoints",
    "EndpointSlice",
    "Node",
    "Secret",
    "PodList",
    "List",
    "Foo",
)
OBJECTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "metadata": st.one_of(JSON, st.fixed_dictionaries({"name": st.sampled_from(["a", "b"])})),
    },
    optional={key: JSON for key in KEYS if key not in ("kind", "metadata")},
)


@given(items=st.lists(OBJECTS, max_size=6), is_yaml=st.booleans())
def test_no_objects_break_the_reader(items: list[Any], is_yaml: bool) -> None:
    text = (
        "\n---\n".join(json.dumps(item) for item in items) if is_yaml else json.dumps({"kind": "List", "items": items})
    )
    digest([Piece("x.yaml" if is_yaml else "x.json", text.encode())])


@given(data=st.binary(max_size=400), name=st.sampled_from(["x.json", "x.yaml", "logs.txt", "n/p/logs.txt", "x"]))
def test_no_bytes_break_the_reader(data: bytes, name: str) -> None:
    digest([Piece(name, data)])


PARTS = (
    *(
        "kind: Pod\n",
        "metadata: {name: a}\n",
        "&a ",
        "*a ",
        "<<: *a\n",
        "- ",
        "--- \n",
        "!!binary x\n",
        "? ",
        ": ",
        "|\n",
    ),
    *(
        "{",
        "[",
        "\t",
        "!!python/object:os.system {}\n",
        "%YAML 9.9\n",
        "\x00",
        "'",
        '"',
        "# c\n",
        "  ",
        "a: 1\n",
        "\u2028",
    ),
    "!include /etc/passwd\n",
)
YAMLS = st.lists(st.sampled_from(PARTS), max_size=25).map("".join)


@given(text=YAMLS)
def test_no_yaml_breaks_the_readers(text: str) -> None:
    digest([Piece("x.yaml", text.encode())])
    with suppress(InvalidInput):
        load_manifests(text, source="fuzz")


MAGIC = [b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"BZh9", b"\xfd7zXZ\x00", bytes(257) + b"ustar\x0000"]


@given(head=st.sampled_from(MAGIC), data=st.binary(max_size=1200))
def test_no_archive_breaks_the_reader(head: bytes, data: bytes) -> None:
    notes = Notes()
    with suppress(InvalidInput):
        read_dump(pieces_in(io.BytesIO(head + data), "x.tar", notes), "x.tar", notes)


ARCHIVES = [b"".join([])]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 10_000), index=st.integers(0, 3))
def test_no_flipped_byte_of_an_archive_breaks_the_reader(place: int, byte: int, cut: int, index: int) -> None:
    data = bytearray(_archives()[index])
    data[place % len(data)] = byte
    notes = Notes()
    with suppress(InvalidInput):
        read_dump(pieces_in(io.BytesIO(bytes(data[: cut or None])), "x", notes), "x", notes)


def _archives() -> list[bytes]:
    if not ARCHIVES[0]:
        ARCHIVES[:] = _made()
    return ARCHIVES


def _made() -> list[bytes]:
    text = as_list(objects_of(unpullable())).encode()
    found = []
    for mode in ("w", "w:gz", "w:xz"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
            info = tarfile.TarInfo("pods.json")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
        found.append(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("pods.json", text)
    return [*found, stream.getvalue()]


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize("text", [LAUGHS, MERGES, "a: &a\n  b: *a\n"], ids=["lists", "merges", "itself"])
def test_aliases_that_multiply_are_refused_at_once(text: str) -> None:
    with pytest.raises(InvalidInput, match="saw"):
        load_manifests(text, source="bomb.yaml")
    digest([Piece("bomb.yaml", (text + "kind: Pod\nmetadata: {name: a}\n").encode())])


def test_an_alias_of_everyday_is_read() -> None:
    text = "x: &x {app: a}\nkind: Service\nmetadata: {name: a, labels: *x}\nspec: {selector: {<<: *x, b: c}}\n"
    ((_, manifest),) = load_manifests(text, source="good.yaml")
    assert manifest["spec"]["selector"] == {"app": "a", "b": "c"}


def test_a_zip_whose_places_lie_before_its_start_is_refused() -> None:
    """Found by the fuzzer: the directory of an archive may lead to a place before the file begins."""
    data = bytearray(_archives()[3])
    offset = int.from_bytes(data[-6:-2], "little")
    data[-6:-2] = (offset + 200).to_bytes(4, "little")
    notes = Notes()
    with pytest.raises(InvalidInput, match="whole archive"):
        read_dump(pieces_in(io.BytesIO(bytes(data)), "x.zip", notes), "x.zip", notes)
