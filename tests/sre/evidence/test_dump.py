"""What a user really has: files of kubectl in any form, read without a crash, and what they lack said by name."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast import InvalidInput
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.evidence.dump import Dump, read_dump
from holdfast_sre.evidence.input_files import Notes, Piece, pieces_in, pieces_of
from holdfast_sre.evidence.live_objects import WITHHELD
from holdfast_sre.evidence.recording import save
from holdfast_sre.evidence.snapshot import Event, Ref, Snapshot, dig
from holdfast_sre.evidence.sources import find_sources
from tests.sre.diagnosis.worlds import NAMESPACE, World, container
from tests.sre.evidence.dumps import as_list, objects_of, unpullable, write_dump

OVEN = Ref("Deployment", "oven")


def read(path: Path) -> Dump:
    notes = Notes()
    return read_dump(pieces_of(path, notes), str(path), notes)


def read_text(text: str | bytes, name: str = "x.json") -> Dump:
    notes = Notes()
    data = text if isinstance(text, bytes) else text.encode()
    return read_dump([Piece(name, data)], name, notes)


def first(snapshot: Snapshot) -> tuple[str, Ref]:
    finding = diagnose(snapshot).ranked[0]
    return finding.rule, finding.object


IMAGE = ("image-not-found", OVEN)


def test_a_folder_of_cluster_info_dump_is_diagnosed(tmp_path: Path) -> None:
    folder = write_dump(tmp_path / "dump", unpullable(), logs={"till-1-0": "ok\nERROR connection refused\n"})
    snapshot = read(folder).snapshot()
    assert snapshot.namespace == NAMESPACE
    assert first(snapshot) == IMAGE
    assert [(line.workload, line.text) for line in snapshot.logs] == [("till", "ERROR connection refused")]
    assert snapshot.events[0].age_s == 0.0
    assert OVEN in snapshot.declared, "what was applied last is what is declared"


def test_what_a_dump_lacks_is_said_by_name(tmp_path: Path) -> None:
    folder = write_dump(tmp_path / "dump", unpullable())
    (folder / NAMESPACE / "events.json").unlink()
    missing = read(folder).snapshot().missing
    for part in ("kubectl get events", "kubectl get endpoints", "logs of the containers", "measured deviations"):
        assert any(part in text for text in missing), part
    assert not any(text == "kubectl get pods" for text in missing)


@pytest.mark.parametrize("kind", ["List", "PodList"])
def test_a_list_and_a_stream_and_a_lone_object_are_the_same(kind: str) -> None:
    items = objects_of(unpullable())
    texts = [as_list(items, kind), "\n".join(json.dumps(item) for item in items), json.dumps(items)]
    snapshots = [read_text(text).snapshot() for text in texts]
    assert snapshots[0].live == snapshots[1].live == snapshots[2].live
    assert [first(snapshot) for snapshot in snapshots] == [IMAGE] * 3


def test_yaml_of_several_documents_is_read_as_kubectl_means_it() -> None:
    world = unpullable()
    text = "\n---\n".join(json.dumps(item) for item in objects_of(world))  # JSON is YAML
    snapshot = read_text("# dump\n" + text, "x.yaml").snapshot()
    assert first(snapshot) == IMAGE
    odd = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  uid: u\n  creationTimestamp: 2026-01-01T00:00:00Z\n"
    assert (
        read_text(odd, "x.yaml")
        .snapshot()
        .live[Ref("ConfigMap", "c")]["metadata"]["creationTimestamp"]
        .startswith("2026")
    )


def test_standard_output_of_cluster_info_dump_has_logs_between_objects() -> None:
    items = objects_of(unpullable())
    marks = f"==== {{}} logs for container app of pod {NAMESPACE}/till-1-0 ===="
    log = "\n".join([marks.format("START"), "Error: no such host", '{"not": "an object"}', marks.format("END")])
    snapshot = read_text(as_list(items[:4]) + "\n" + log + "\n" + as_list(items[4:]), "stdin").snapshot()
    assert first(snapshot) == IMAGE
    assert [line.text for line in snapshot.logs] == ["Error: no such host"]


def _tar(folder: Path, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname="dump")
    return stream.getvalue()


def _zip(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.json")):
            archive.write(path, path.relative_to(folder).as_posix())
    return stream.getvalue()


def test_archives_and_packed_files_give_what_the_folder_gives(tmp_path: Path) -> None:
    folder = write_dump(tmp_path / "dump", unpullable())
    expected = read(folder).snapshot().live
    packed = {
        "x.tar": _tar(folder, "w"),
        "x.tgz": _tar(folder, "w:gz"),
        "x.tar.xz": _tar(folder, "w:xz"),
        "x.zip": _zip(folder),
    }
    packed["all.json.gz"] = gzip.compress(as_list(objects_of(unpullable())).encode())
    for name, data in packed.items():
        notes = Notes()
        live = read_dump(pieces_in(io.BytesIO(data), name, notes), name, notes).snapshot().live
        assert {ref.kind for ref in expected} <= {ref.kind for ref in live}, name
        assert live[OVEN] == expected[OVEN], name


def test_half_a_dump_gives_its_whole_objects_and_says_so() -> None:
    text = as_list(objects_of(unpullable()))
    dump = read_text(text[: len(text) * 2 // 3], "pods.json")
    assert 0 < len(dump.items) < len(objects_of(unpullable()))
    said = " ".join(dump.snapshot().missing)
    assert "pods.json: ends in the middle" in said
    assert f"{len(dump.items)} whole objects read" in said


def test_every_cut_of_a_dump_is_read_or_refused_by_name() -> None:
    text = as_list(objects_of(unpullable()))
    for size in range(1, len(text), 97):
        with suppress(InvalidInput):
            diagnose(read_text(text[:size]).snapshot())


def test_two_namespaces_are_not_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    write_dump(folder, unpullable(), namespace="shop")
    write_dump(folder, World(), namespace="empty")
    healthy = World()
    healthy.deployment("oven")
    write_dump(folder, healthy, namespace="till")
    dump = read(folder)
    with pytest.raises(
        InvalidInput, match=r"expected one namespace, saw 2: shop \([0-9]+ objects\), till .*--namespace"
    ):
        dump.snapshot()
    with pytest.raises(InvalidInput, match="expected objects of namespace 'nowhere'"):
        dump.snapshot("nowhere")
    assert first(dump.snapshot("shop")) == IMAGE
    assert diagnose(dump.snapshot("till")).ranked == ()
    assert any("other namespaces" in text and "till" in text for text in dump.snapshot("shop").missing)
    names = [source.case.name for source in find_sources([folder], stdin=io.BytesIO)]
    assert names == ["dump:shop", "dump:till"]


def test_a_namespace_of_the_cluster_itself_is_looked_at_only_when_asked(tmp_path: Path) -> None:
    folder = write_dump(tmp_path / "dump", unpullable())
    system = World()
    system.deployment("dns", ready=0)
    write_dump(folder, system, namespace="kube-system")
    assert read(folder).snapshot().namespace == NAMESPACE
    assert Ref("Deployment", "dns") in read(folder).snapshot("kube-system").live


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "", "saw 1 files"),
        ("x.json", "{", "ends in the middle or is no JSON"),
        ("x.json", "[1, 2]", "documents without kind"),
        ("x.yaml", "a: [b", "expected YAML"),
        ("x.yaml", "just: a mapping", "documents without kind"),
        ("x.yaml", "a: &a [*a]\n", "levels"),
        ("x.json", '{"kind": "Pod", "metadata": {"name": 3}}', "documents without kind"),
        ("x.txt", "nothing to see", "no object"),
        ("x.yaml", "!!python/object/apply:os.system ['true']", "expected YAML"),
    ],
)
def test_what_is_no_dump_is_refused_by_name(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        read_text(text, name)
    assert name in caught.value.message


def test_paths_that_lead_to_nothing_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture").mkdir()
    (tmp_path / "picture" / "a.png").write_bytes(b"\x89PNG")
    for name, message in (("absent", "saw nothing"), ("empty", "saw none"), ("picture", "neither JSON, YAML nor text")):
        with pytest.raises(InvalidInput, match=rf"{name}.*{message}"):
            list(find_sources([tmp_path / name], stdin=io.BytesIO))


def test_what_does_not_parse_is_told_beside_what_does(tmp_path: Path) -> None:
    folder = write_dump(tmp_path / "dump", unpullable())
    (folder / "bad.yaml").write_text("kind: [\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n")
    (folder / "odd.json").write_text(
        json.dumps({"kind": "Pod", "metadata": {"name": "odd", "uid": "u"}, "spec": {"containers": 3}})
    )
    dump = read(folder)
    snapshot = dump.snapshot(NAMESPACE)
    assert first(snapshot) == IMAGE
    assert any("bad.yaml, document 1: expected YAML" in text for text in snapshot.missing)
    assert any("Pod/odd" in text for text in dump.snapshot("default").missing)
    assert Ref("ConfigMap", "good") in dump.snapshot("default").declared


def test_kinds_nobody_knows_are_told_and_kept() -> None:
    items = objects_of(unpullable())
    metadata = {"name": "a", "namespace": NAMESPACE, "uid": "1"}
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata}
    knative = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata, "spec": "free"}
    snapshot = read_text(as_list([*items, rollout, knative])).snapshot()
    assert Ref("Rollout", "a") in snapshot.live
    assert Ref("Service", "a") not in snapshot.live, "the same word in another group is another kind"
    assert any(
        "no rule knows these kinds: Rollout (1), Service.serving.knative.dev (1)" in text for text in snapshot.missing
    )


def test_values_of_secrets_are_not_kept() -> None:
    item = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": NAMESPACE, "uid": "1", "annotations": {}},
        "data": {"PASSWORD": "aHVudGVyMg=="},
    }
    applied = json.dumps({**item, "stringData": {"PASSWORD": "hunter2"}})
    item["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": applied}  # type: ignore[index]
    snapshot = read_text(as_list([*objects_of(unpullable()), item])).snapshot()
    assert snapshot.live[Ref("Secret", "s")]["data"] == {"PASSWORD": WITHHELD}
    assert "hunter2" not in repr(snapshot)
    assert "aHVudGVyMg" not in repr(snapshot)


def test_slices_are_endpoints_and_nodes_know_what_is_asked_of_them() -> None:
    world = World()
    box = container(resources={"requests": {"cpu": "250m", "memory": "1Gi"}})
    world.deployment("oven", containers=[box], replicas=2, ready=2)
    world.node("node-a")
    labels = {"kubernetes.io/service-name": "oven"}
    metadata = {"name": "oven-x", "namespace": NAMESPACE, "uid": "1", "labels": labels}
    ends = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
    ]
    item = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "endpoints": ends}
    snapshot = read_text(as_list([*objects_of(world), {**item, "ports": [{"port": 8000}]}])).snapshot()
    assert snapshot.addresses_of("oven") == ["10.0.0.1:8000"]
    assert dig(snapshot.live[Ref("Node", "node-a")], "status.requested") == {"cpu": "0.500", "memory": str(2 << 30)}


def test_daemon_sets_have_their_numbers_where_others_have_them() -> None:
    world = World()
    world.deployment("agent", kind="DaemonSet")
    items = objects_of(world)
    for item in items:
        if item["kind"] == "DaemonSet":
            item["status"] = {"desiredNumberScheduled": 4, "numberReady": 4}
    assert diagnose(read_text(as_list(items)).snapshot()).unexplained == ()


def test_both_forms_of_events_are_read() -> None:
    old = {"kind": "Event", "metadata": {"name": "a", "namespace": "n"}, "involvedObject": {"kind": "Pod", "name": "p"}}
    old |= {"reason": "Failed", "message": "m", "type": "Warning", "count": 4, "lastTimestamp": "2026-01-01T00:00:00Z"}
    new: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": "b", "namespace": "n"},
    }
    new |= {"regarding": {"kind": "Pod", "name": "p"}, "note": "n", "reason": "Killing", "type": "Normal"}
    new |= {"series": {"count": 7, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}}
    events = read_text(json.dumps([old, new])).snapshot("n").events
    assert events == (
        Event(Ref("Pod", "p"), "Warning", "Failed", "m", 4, 60.0),
        Event(Ref("Pod", "p"), "Normal", "Killing", "n", 7, 0.0),
    )


def test_a_redirect_of_powershell_is_text_too() -> None:
    text = as_list(objects_of(unpullable()))
    assert first(read_text(text.encode("utf-16"), "x.json").snapshot()) == IMAGE
    assert first(read_text(text.encode("utf-8-sig"), "x.json").snapshot()) == IMAGE


def test_objects_without_identity_beside_objects_with_one_are_manifests() -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new", "namespace": NAMESPACE}, "spec": {}}
    snapshot = read_text(as_list([*objects_of(unpullable()), manifest])).snapshot()
    assert Ref("Service", "new") in snapshot.declared
    assert not snapshot.exists(Ref("Service", "new"))


def test_a_folder_of_manifests_is_no_sick_cluster() -> None:
    """Nothing in it was written by a cluster, so nothing runs there and nothing can be short of pods."""
    world = unpullable()
    manifests = [{**item, "apiVersion": "apps/v1"} for item in world.declared.values()]
    snapshot = read_text(as_list(manifests)).snapshot()
    assert OVEN in snapshot.declared
    assert (diagnose(snapshot).ranked, diagnose(snapshot).unexplained) == ((), ())
    assert any("are these manifests?" in text for text in snapshot.missing)


def test_a_recording_is_diagnosed_too(tmp_path: Path) -> None:
    save(tmp_path, unpullable().snapshot())
    (source,) = find_sources([tmp_path], stdin=io.BytesIO)
    assert first(source.read().snapshot) == IMAGE
    declared = unpullable().declared
    (source,) = find_sources([tmp_path], stdin=io.BytesIO, declared=lambda namespace: declared)
    assert source.read().snapshot.declared == declared


def test_links_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(as_list(objects_of(unpullable())))
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "link.json").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="a link"):
        read(folder)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    notes = Notes()
    with pytest.raises(InvalidInput, match=r"link\.json: a link"):
        read_dump(pieces_in(io.BytesIO(stream.getvalue()), "x.tar", notes), "x.tar", notes)


class Zeros(io.RawIOBase):
    """A stream of as many zeros as one likes."""

    def __init__(self, count: int) -> None:
        self._left = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._left)
        buffer[:count] = bytes(count)
        self._left -= count
        return count


def bombs() -> Iterator[tuple[str, bytes]]:
    yield "bomb.json.gz", gzip.compress(bytes(80 << 20))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.json", bytes(80 << 20))
    yield "bomb.zip", stream.getvalue()


@pytest.mark.parametrize(("name", "data"), list(bombs()), ids=["gz", "zip"])
def test_a_bomb_is_defused_and_told(name: str, data: bytes) -> None:
    notes = Notes()
    with pytest.raises(InvalidInput, match="MiB"):
        read_dump(pieces_in(io.BytesIO(data), name, notes), name, notes)


def test_an_archive_that_unpacks_without_end_is_left() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        text = as_list(objects_of(unpullable())).encode()
        good = tarfile.TarInfo("good.json")
        good.size = len(text)
        archive.addfile(good, io.BytesIO(text))
        big = tarfile.TarInfo("big.png")
        big.size = 8 << 20
        archive.addfile(big, io.BufferedReader(Zeros(8 << 20)))
    notes = Notes()
    pieces = pieces_in(io.BytesIO(stream.getvalue()), "x.tgz", notes, unpacked_bytes_max=1 << 20)
    snapshot = read_dump(pieces, "x.tgz", notes).snapshot()
    assert first(snapshot) == IMAGE
    assert any("unpacks to more" in text for text in snapshot.missing)


def test_of_a_log_of_100_megabytes_the_end_is_read(tmp_path: Path) -> None:
    folder = write_dump(tmp_path / "dump", unpullable(), logs={"till-1-0": "x"})
    path = folder / NAMESPACE / "till-1-0" / "logs.txt"
    with path.open("w") as file:
        file.truncate(100 << 20)  # a hole: 100 MiB of zeros without a line's end
        file.seek(0, 2)
        file.write("\nfatal: the last words\n")
    snapshot = read(folder).snapshot()
    assert [line.text for line in snapshot.logs] == ["fatal: the last words"]
    assert any("only the last" in text for text in snapshot.missing)
