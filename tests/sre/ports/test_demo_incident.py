"""The demo's incident, from end to end over the ports: recorded, blamed, mended, deployed, proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import InvalidInput
from holdfast_sre.cli.demo_incident import BROKEN, NAMESPACE, DemoIncident, make_incident
from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence import recording
from holdfast_sre.evidence.snapshot import Ref, Snapshot
from holdfast_sre.local.cluster import ReplayCluster
from holdfast_sre.local.deployment import GitOpsFolder, LiveFolder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.ticket import TicketFolder
from holdfast_sre.ports import Draft, Revision
from holdfast_sre.repair.last_good import changelog
from holdfast_sre.repair.propose import propose
from holdfast_sre.repair.tree.manifests import apply, declared

BOT = Identity("holdfast-sre", "bot@holdfast.example")
NOW_S = 1_800_000_000.0
LIMIT = "spec.template.spec.containers[server].resources.limits.memory"
REQUEST = "spec.template.spec.containers[server].resources.requests.memory"


class Scene:
    """The incident, its recorded cluster and the folder that it is deployed to."""

    def __init__(self, incident: DemoIncident, recorded: Snapshot) -> None:
        self.incident, self.recorded = incident, recorded
        self.repository = incident.repository
        self.live = LiveFolder(incident.folder / "live")
        self.cluster = ReplayCluster(recorded, self.live.files)
        self.deployment = GitOpsFolder(self.live, self.repository, self.cluster, namespace=NAMESPACE)

    async def revision_with(self, *changes: Change) -> Revision:
        files = await self.repository.files(self.incident.faulty)
        draft = Draft("fix", self.incident.faulty, apply(files, changes, namespace=NAMESPACE), "Fix")
        return (await self.repository.propose(draft, key="fix")).revision


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    incident = await make_incident(tmp_path / "demo", identity=BOT, assignee="holdfast-sre", now_s=NOW_S)
    files = await incident.repository.files(incident.faulty)
    scene = Scene(incident, recording.load(incident.folder, declared(files, NAMESPACE)))
    await scene.deployment.sync(incident.faulty, key="before")
    return scene


async def test_the_fault_is_found_and_nothing_beside_it(scene: Scene) -> None:
    ranked = diagnose(scene.recorded).ranked
    assert [(finding.rule, finding.object) for finding in ranked] == [("memory-limit-too-low", BROKEN)]


async def test_the_healthy_commit_would_have_been_silent(scene: Scene) -> None:
    await scene.deployment.sync(scene.incident.healthy, key="healthy")
    assert diagnose(await scene.cluster.capture(NAMESPACE)).ranked == ()


async def test_history_names_who_changed_the_blamed_value_and_what_was_before(scene: Scene) -> None:
    edits = await changelog.recent_edits(scene.repository, scene.incident.faulty, namespace=NAMESPACE)
    assert [len(edit.changes) for edit in edits] == [4, 1, 2]
    finding = diagnose(scene.recorded).ranked[0]
    culprit = changelog.culprit(edits, finding.blames)
    assert culprit is not None
    assert culprit.commit.author == "Jonas Brandt <jonas@ferry.example>"
    assert culprit.commit.at_s == NOW_S - 47 * 60
    assert Change("Deployment/booking", LIMIT, "384Mi", "96Mi") in culprit.changes
    assert all(change.object == "Deployment/booking" for change in culprit.changes)
    assert changelog.culprit(edits, ()) is None


async def test_the_repair_puts_back_what_is_blamed_and_leaves_the_other_services_new_value(scene: Scene) -> None:
    edits = await changelog.recent_edits(scene.repository, scene.incident.faulty, namespace=NAMESPACE)
    diagnosis = diagnose(scene.recorded)
    culprit = changelog.culprit(edits, diagnosis.ranked[0].blames)
    assert culprit is not None
    good = await changelog.last_good(scene.repository, culprit, namespace=NAMESPACE)
    proposal = propose(scene.recorded, diagnosis, last_good=good)
    assert proposal.changes == (
        Change("Deployment/booking", LIMIT, "96Mi", "384Mi"),
        Change("Deployment/booking", REQUEST, "64Mi", "256Mi"),
    )
    fixed = await scene.revision_with(*proposal.changes)
    diff = await scene.repository.diff(scene.incident.faulty, fixed)
    assert "apps/timetable.yaml" not in diff.text
    assert "+              memory: 384Mi   # measured under Saturday's load" in diff.text


async def test_a_mended_deployment_is_healthy_by_the_rules(scene: Scene) -> None:
    assert (await scene.deployment.status()).health == "degraded"
    fixed = await scene.revision_with(Change("Deployment/booking", LIMIT, "96Mi", "384Mi"))
    deployed = await scene.deployment.sync(fixed, key="fix")
    assert (deployed.revision, deployed.phase, deployed.health) == (fixed, "synced", "healthy")
    assert deployed.changed == ("Deployment/booking",)
    after = await scene.cluster.capture(NAMESPACE)
    assert len(after.pods_of(BROKEN)) == 2
    assert len(after.addresses_of("booking") or ()) == 2
    assert after.logs == ()
    assert after.failures == ()
    assert all(probe.reached for probe in after.probes)
    assert after.pods_of(Ref("Deployment", "fares")) == scene.recorded.pods_of(Ref("Deployment", "fares"))


@pytest.mark.parametrize("limit", ["80Mi", "96Mi"])
async def test_a_change_that_does_not_mend_stays_degraded(scene: Scene, limit: str) -> None:
    label = Change("Deployment/booking", "metadata.labels.note", None, "tried")
    fixed = await scene.revision_with(label, Change("Deployment/booking", LIMIT, "96Mi", limit))
    deployed = await scene.deployment.sync(fixed, key="fix")
    assert (deployed.phase, deployed.health) == ("synced", "degraded")
    assert "memory-limit-too-low" in deployed.message
    after = await scene.cluster.capture(NAMESPACE)
    assert after.events == scene.recorded.events


async def test_a_change_that_breaks_another_object_is_degraded(scene: Scene) -> None:
    mended = Change("Deployment/booking", LIMIT, "96Mi", "384Mi")
    path = "spec.template.spec.containers[server].livenessProbe.grpc.port"
    fixed = await scene.revision_with(mended, Change("Deployment/fares", path, "7200", "7201"))
    await scene.deployment.sync(fixed, key="fix")
    selector = Change("Service/fares", "spec.selector.app.kubernetes.io/name", "fares", "fare")
    files = apply(await scene.repository.files(fixed), [selector], namespace=NAMESPACE)
    broken = await scene.repository.propose(Draft("worse", fixed, files, "Worse"), key="worse")
    deployed = await scene.deployment.sync(broken.revision, key="worse")
    assert deployed.health == "degraded"
    assert "Service/fares: service-selector" in deployed.message


async def test_an_image_that_nobody_saw_run_is_not_vouched_for(scene: Scene) -> None:
    path = "spec.template.spec.containers[server].image"
    image = "registry.ferry.example/booking"
    fixed = await scene.revision_with(
        Change("Deployment/booking", LIMIT, "96Mi", "384Mi"),
        Change("Deployment/booking", path, f"{image}:2.3.0", f"{image}:9.9.9"),
    )
    deployed = await scene.deployment.sync(fixed, key="fix")
    assert deployed.health == "unknown"
    assert "never seen running" in deployed.message


async def test_a_revision_that_does_not_parse_leaves_what_ran_before(scene: Scene) -> None:
    draft = Draft("odd", scene.incident.faulty, {"apps/odd.yaml": "a: [\n"}, "Odd")
    odd = await scene.repository.propose(draft, key="odd")
    deployed = await scene.deployment.sync(odd.revision, key="odd")
    assert (deployed.phase, deployed.revision) == ("failed", scene.incident.faulty)
    assert "apps/odd.yaml" in deployed.message
    assert await scene.live.files() == await scene.repository.files(scene.incident.faulty)


async def test_a_revision_without_manifests_is_not_taken_for_an_order_to_delete_all(scene: Scene) -> None:
    files = dict.fromkeys(await scene.repository.files(scene.incident.faulty))
    empty = await scene.repository.propose(Draft("empty", scene.incident.faulty, files, "Empty"), key="empty")
    deployed = await scene.deployment.sync(empty.revision, key="empty")
    assert (deployed.phase, deployed.revision) == ("failed", scene.incident.faulty)


async def test_a_sync_happens_once_per_key(scene: Scene) -> None:
    fixed = await scene.revision_with(Change("Deployment/booking", LIMIT, "96Mi", "384Mi"))
    await scene.deployment.sync(fixed, key="fix")
    await scene.deployment.sync(scene.incident.faulty, key="back")
    again = await scene.deployment.sync(fixed, key="fix")
    assert again.revision == scene.incident.faulty


async def test_old_revisions_are_dropped_and_the_live_one_stays(scene: Scene) -> None:
    fixed = await scene.revision_with(Change("Deployment/booking", LIMIT, "96Mi", "384Mi"))
    await scene.deployment.sync(fixed, key="fix")
    for turn in range(25):
        await scene.deployment.sync(scene.incident.faulty, key=f"turn-{turn}")
    folders = [path.name for path in scene.live.folder.iterdir() if path.is_dir()]
    assert folders == [scene.incident.faulty]


async def test_the_ticket_is_one_that_the_bot_finds(scene: Scene) -> None:
    (ticket,) = await TicketFolder(scene.incident.folder / "tickets").assigned("holdfast-sre")
    assert (ticket.id, ticket.namespace, ticket.service) == ("FERRY-17", NAMESPACE, "booking")


async def test_the_incident_is_written_into_an_empty_folder_only(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="empty folder"):
        await make_incident(tmp_path, identity=BOT, assignee="b", now_s=NOW_S)


async def test_a_recording_is_read_as_it_was_written(scene: Scene, tmp_path: Path) -> None:
    recording.save(tmp_path, scene.recorded)
    again = recording.load(tmp_path, scene.recorded.declared)
    assert again == scene.recorded


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{", "recorded cluster"), ('{"namespace": 3}', "namespace"), ('{"namespace": "a", "items": [{}]}', "kind and")],
)
def test_a_damaged_recording_is_named(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(InvalidInput, match=expected):
        recording.load(tmp_path, {})


def test_a_folder_without_a_recording_is_named(tmp_path: Path) -> None:
    assert not recording.is_recording(tmp_path)
    with pytest.raises(InvalidInput, match=r"cluster\.json"):
        recording.load(tmp_path, {})


async def test_another_namespace_is_not_found(scene: Scene) -> None:
    with pytest.raises(LookupError, match="'ferry', the one that was recorded"):
        await scene.cluster.capture("harbour")
