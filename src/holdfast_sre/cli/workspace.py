"""A folder in which the bot works on its own: an incident, the local versions of all ports, and the run's store.

WORKSPACE/cluster.json, tickets/, manifests.git/    the incident, in the neutral form
WORKSPACE/found-at                                  the commit that the cluster was recorded under
WORKSPACE/sources/                                  the services' own git repositories by their names, where at hand
WORKSPACE/reviews/, live/                           pull requests, and what is deployed
WORKSPACE/holdfast.db                               the runs
WORKSPACE/report.html                               the report of the last run that was watched
WORKSPACE/model.json                                the language model to ask, where there is one
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from ruamel.yaml import YAML

from holdfast import Dependencies, InvalidInput
from holdfast_sre.cli.demo_incident import make_incident
from holdfast_sre.cli.given_sources import sources_below
from holdfast_sre.evidence import opsbench, recording
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot
from holdfast_sre.files import in_thread, read_text, replace_text
from holdfast_sre.flow.opinion import model_dependency
from holdfast_sre.flow.world import BOT, World
from holdfast_sre.history.sources import Sources
from holdfast_sre.local.cluster import ReplayCluster, images_in
from holdfast_sre.local.deployment import GitOpsFolder, LiveFolder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.http_model import HttpModel, ModelSettings
from holdfast_sre.local.model import NoModel
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.local.review import LocalReviews
from holdfast_sre.local.ticket import TicketFolder
from holdfast_sre.ports import Revision, Ticket
from holdfast_sre.repair.built.layouts import declared_in
from holdfast_sre.repair.built.renderers import Programs

BOT_IDENTITY = Identity(BOT, "holdfast-sre@localhost")
KEEPER = Identity("Last known good", "baseline@localhost")
FINDER = Identity("As found", "incident@localhost")
BASE_BRANCH = "main"
REVISION_BYTES_MAX = 200
MODEL_FILE = "model.json"
SOURCES_FOLDER = "sources"
MODEL_BYTES_MAX = 10_000


@dataclass(frozen=True)
class Workspace:
    """One prepared folder. `ticket_id` is the ticket to work on."""

    folder: Path
    ticket_id: str

    @property
    def store_url(self) -> str:
        """Where the runs are."""
        return f"sqlite:///{(self.folder / 'holdfast.db').resolve()}"

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.folder / "report.html"


async def demo_workspace(folder: Path, *, now_s: float) -> Workspace:
    """A new workspace with the demo's incident. Raises InvalidInput for a folder that holds something."""
    incident = await make_incident(folder, identity=BOT_IDENTITY, assignee=BOT, now_s=now_s)
    return Workspace(folder, incident.ticket_id)


async def incident_workspace(
    folder: Path, incident: Path, *, case: str, baseline: Mapping[Ref, Manifest], now_s: float
) -> Workspace:
    """A new workspace for an incident's folder, in any layout that the bot reads.

    The manifests become a git repository: the last known good first, where `baseline` has one, then as they were found.
    """
    if await in_thread(_is_taken, folder):
        raise InvalidInput(f"{folder}: expected an empty folder for a new workspace; name another, or remove it")
    found = await in_thread(opsbench.read_incident, incident)
    snapshot = found.snapshot
    if not snapshot.declared:
        raise InvalidInput(f"{incident}: expected the applications' manifests among its outputs, found none")
    repository = await GitRepository.create(folder / recording.MANIFESTS_FOLDER, identity=BOT_IDENTITY)
    files_found: dict[str, str | None] = dict(_files(snapshot.declared))
    if baseline:
        good = _files({**snapshot.declared, **baseline})
        await repository.record(BASE_BRANCH, dict(good), "Last known good", author=KEEPER, at_s=int(now_s) - 86_400)
        files_found |= {path: None for path in good if path not in files_found}
    await repository.record(
        BASE_BRANCH, files_found, "As found in the incident", author=FINDER, at_s=int(now_s) - 3_600
    )
    await in_thread(recording.save, folder, snapshot)
    ticket_id = "INC-" + "-".join(part for part in case.split("/") if part)
    ticket = Ticket(ticket_id, snapshot.summary or case, namespace=snapshot.namespace, assignee=BOT)
    text = msgspec.json.format(msgspec.json.encode(ticket)).decode()
    await in_thread(replace_text, folder / recording.TICKETS_FOLDER / f"{ticket_id}.json", text + "\n")
    return Workspace(folder, ticket_id)


async def existing_workspace(folder: Path, *, ticket: str | None, is_any: bool = False) -> Workspace:
    """The workspace in a folder, and the ticket that is meant: the named one, else the only one (or with `is_any` any).

    Raises InvalidInput for a folder that is none, or where several tickets leave it open; NotFound for a ticket that
    is not there.
    """
    if not recording.is_recording(folder):
        raise InvalidInput(
            f"{folder}: expected a workspace (a folder with {recording.CLUSTER_FILE}, {recording.TICKETS_FOLDER}/ and "
            f"{recording.MANIFESTS_FOLDER}), saw {'another folder' if await in_thread(folder.is_dir) else 'none'}; "
            "`holdfast-sre demo` makes one"
        )
    tickets = TicketFolder(folder / recording.TICKETS_FOLDER)
    if ticket is not None:
        return Workspace(folder, (await tickets.read(ticket)).id)
    ids = [each.id for each in await tickets.all()]
    if not ids:
        raise InvalidInput(f"{folder}: expected a ticket under {recording.TICKETS_FOLDER}/, found none")
    if len(ids) > 1 and not is_any:
        raise InvalidInput(f"{folder}: expected one ticket, found {', '.join(ids[:10])}; name one by --ticket")
    return Workspace(folder, ids[0])


async def open_world(folder: Path) -> World:
    """The local ports of a workspace. Raises InvalidInput for a folder that is none."""
    repository = GitRepository(folder / recording.MANIFESTS_FOLDER, identity=BOT_IDENTITY)
    bare = await in_thread(recording.load, folder, {})
    found = await _found_at(folder, repository)
    files = await repository.files(found)
    first = (await repository.history(found, commits_max=50))[-1]
    oldest = await repository.files(first.revision)
    programs = Programs()
    then = await in_thread(declared_in, oldest, bare.namespace, programs)
    last_good = then if first.author == str(KEEPER) else {}
    live = LiveFolder(folder / "live")
    recorded: Snapshot = bare.with_declared(await in_thread(declared_in, files, bare.namespace, programs))
    cluster = ReplayCluster(recorded, live.files, images_seen=images_in(then.values()), renderer=programs)
    model = await in_thread(_model, folder / MODEL_FILE)
    return World(
        tickets=TicketFolder(folder / recording.TICKETS_FOLDER),
        cluster=cluster,
        repository=repository,
        reviews=LocalReviews(folder / "reviews", repository),
        deployment=GitOpsFolder(live, repository, cluster, namespace=bare.namespace, renderer=programs),
        model=model or NoModel(),
        dependencies=Dependencies(model_dependency(model)) if model is not None else None,
        repository_name=f"{(await in_thread(folder.resolve)).name}/manifests",
        base_branch=BASE_BRANCH,
        last_good=last_good,
        renderer=programs,
        sources=await in_thread(_sources, folder / SOURCES_FOLDER),
    )


async def _found_at(folder: Path, repository: GitRepository) -> Revision:
    """The commit that was at the head when the workspace was first opened: what the recording shows.

    Kept, because the head moves on with the first merge, and a replay compares with what was there before.
    """
    path = folder / "found-at"
    if not await in_thread(path.exists):
        head = await repository.head(BASE_BRANCH)
        await in_thread(replace_text, path, head + "\n")
    return Revision((await in_thread(read_text, path, bytes_max=REVISION_BYTES_MAX)).strip())


def _sources(folder: Path) -> Sources:
    return sources_below(folder) if folder.is_dir() else {}


def _model(path: Path) -> HttpModel | None:
    """The model that a workspace names. Raises InvalidInput for a file that says otherwise than it may."""
    if not path.exists():
        return None
    try:
        settings = msgspec.json.decode(read_text(path, bytes_max=MODEL_BYTES_MAX), type=ModelSettings)
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f'{path}: expected {{"url": ..., "model": ..., "key_variable": ...}}, saw otherwise ({error})'
        ) from error
    return HttpModel(settings)


def _is_taken(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _files(manifests: Mapping[Ref, Manifest]) -> dict[str, str]:
    """One file per object, `kind/name.yaml`, in the order of names."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1_000_000  # a value over two lines makes a diff that people misread
    files = {}
    for ref in sorted(manifests):
        stream = io.StringIO()
        yaml.dump(msgspec.to_builtins(dict(manifests[ref])), stream)
        files[f"{ref.kind.lower()}/{ref.name}.yaml"] = stream.getvalue()
    return files
