"""An incident with a past: a shop that does not start since its program asks for a variable by another name.

Real git repositories, made small: the manifests, the shop's source with tags, and a till's beside it.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from holdfast_sre.evidence import recording
from holdfast_sre.evidence.snapshot import Event, Manifest, Ref
from tests.sre.diagnosis.worlds import World, container

TAKEN_S = 1_795_000_000
"""When the incident was recorded, epoch seconds."""
MINUTE, HOUR, DAY = 60, 3_600, 86_400
SYMPTOM_AGE_S = 8 * MINUTE


class Repo:
    """A git repository with a work tree, whose commits are made `age_s` seconds before the recording."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *args: str, age_s: float = 0.0, author: str = "Ana") -> str:
        """What git prints."""
        at = f"@{int(TAKEN_S - age_s)} +0000"
        who = {f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in _who(author).items()}
        env = {**os.environ, **who, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(["git", *args], cwd=self.path, env=env, capture_output=True, check=True)
        return done.stdout.decode(errors="replace").strip()

    def commit(
        self, subject: str, files: Mapping[str, str | bytes | None], *, age_s: float, author: str = "Ana", tag: str = ""
    ) -> str:
        """One commit; None removes a file. Its id."""
        for name, text in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                place.unlink()
            else:
                place.write_bytes(text.encode() if isinstance(text, str) else text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject, age_s=age_s, author=author)
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")


def _who(name: str) -> dict[str, str]:
    return {"NAME": name, "EMAIL": f"{name.lower()}@shop.test"}


SETTINGS_OLD = 'import os\nHOST = os.environ["DB_HOST"]\nPORT = 8000\n'
SETTINGS_NEW = 'import os\nHOST = os.environ["DATABASE_HOST"]\nPORT = 8000\n'


def shop_source(path: Path) -> Repo:
    """The shop's program: 2.0 is healthy, 2.1 asks for DATABASE_HOST, and the head goes on."""
    repo = Repo(path)
    repo.commit("First", {"app/settings.py": SETTINGS_OLD}, age_s=30 * DAY)
    repo.commit("Faster baskets", {"app/basket.py": "SIZE = 3\n"}, age_s=9 * DAY, tag="v2.0")
    repo.commit("One name for the database", {"app/settings.py": SETTINGS_NEW}, age_s=3 * DAY, author="Jon")
    repo.commit("Say hello", {"app/hello.py": "print('hello')\n"}, age_s=2 * HOUR, author="Eva", tag="v2.1")
    repo.commit("Not deployed", {"app/basket.py": "SIZE = 4\n"}, age_s=HOUR, author="Eva")
    return repo


def till_source(path: Path) -> Repo:
    """A till's program, which asks for DB_HOST too."""
    repo = Repo(path)
    repo.commit("First", {"till.go": 'host := os.Getenv("DB_HOST")\n'}, age_s=30 * DAY)
    repo.commit("Rounding", {"round.go": "const Cents = 100\n"}, age_s=2 * HOUR)
    return repo


def env_of(name: str) -> list[dict[str, Any]]:
    """The environment of a container that is told where the database is."""
    return [{"name": name, "value": "database:5432"}, {"name": "SHOP_COLOUR", "value": "red"}]


def world(*, image: str = "registry.test/shop:2.1") -> World:
    """The shop crashes, and the till that calls it is well."""
    made = World()
    made.taken_at = datetime.fromtimestamp(TAKEN_S, UTC).isoformat()
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
    ended = {"terminated": {"reason": "Error", "exitCode": 1}}
    boxes = [container(image=image, env=env_of("DB_HOST"))]
    made.deployment("shop", containers=boxes, ready=0, state=state, last_state=ended, restarts=4)
    made.deployment("till", containers=[container(env=[*env_of("DB_HOST"), {"name": "SHOP", "value": "shop:80"}])])
    made.deployment("database", containers=[container(port=5432)])
    made.service("shop")
    made.service("till")
    made.service("database", port=5432, target=5432)
    made.node("node-a")
    made.log("shop", "KeyError: 'DATABASE_HOST'")
    made.events.append(
        Event(made.pod("shop"), "Warning", "BackOff", "Back-off restarting failed container", age_s=SYMPTOM_AGE_S)
    )
    return made


def manifests(path: Path, made: World) -> Repo:
    """The manifests as declared, after an edit that rolled 2.1 out an hour ago."""
    repo = Repo(path)
    texts = {f"{ref.kind.lower()}-{ref.name}.yaml": _yaml(item) for ref, item in made.declared.items()}
    before = {name: text.replace("shop:2.1", "shop:2.0") for name, text in texts.items()}
    repo.commit("First", before, age_s=20 * DAY)
    repo.commit("Shop 2.1", texts, age_s=20 * MINUTE, author="Jon")
    return repo


def _yaml(manifest: Manifest) -> str:
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(dict(manifest), stream)
    return stream.getvalue()


def incident(folder: Path, made: World) -> Path:
    """The recorded cluster, as the commands read it."""
    folder.mkdir(parents=True, exist_ok=True)
    recording.save(folder, made.snapshot())
    return folder


SHOP = Ref("Deployment", "shop")
