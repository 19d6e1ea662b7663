"""Everything the bot's handlers may touch, in one value: the six ports, what may be away, and who the bot is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast import Dependencies
from holdfast_sre.evidence.snapshot import Manifest, Ref
from holdfast_sre.history.sources import Sources
from holdfast_sre.ports import (
    ClusterPort,
    DeploymentPort,
    LanguageModelPort,
    RepositoryPort,
    ReviewPort,
    TicketPort,
)
from holdfast_sre.repair.built.renderers import Programs
from holdfast_sre.repair.tree.roots import Renderer

BOT = "holdfast-sre"


@dataclass(frozen=True, kw_only=True)
class World:
    """`repository_name` is what runs lock; `last_good` are manifests known to have worked, beside what history says.
    `sources` are the histories of services' own programs, by the services' names, where they are at hand.
    `dependencies`: what the ports call over a network, with a breaker each; None where nothing is.
    `renderer` builds what a program builds of the repository."""

    tickets: TicketPort
    cluster: ClusterPort
    repository: RepositoryPort
    reviews: ReviewPort
    deployment: DeploymentPort
    model: LanguageModelPort
    repository_name: str
    base_branch: str = "main"
    assignee: str = BOT
    dependencies: Dependencies | None = None
    last_good: Mapping[Ref, Manifest] = field(default_factory=dict)
    sources: Sources = field(default_factory=dict)
    renderer: Renderer = field(default_factory=Programs)
