"""The programs that build manifests, run on a copy of the sources: kustomize (or kubectl's own), and helm.

They get a folder of their own, no home, no cluster, no plugins, a deadline and a bound on what they print.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

import yaml

from holdfast import InvalidInput, Rejected, Unavailable
from holdfast_sre.repair.built.applications import Inline, inline_values
from holdfast_sre.repair.built.releases import is_release
from holdfast_sre.repair.tree.roots import KUSTOMIZATION, Root, inputs_of

DEADLINE_S = 30.0
OUTPUT_BYTES_MAX = 16 << 20
COMPLAINT_CHARS_MAX = 300
BUILDS_MAX = 256
"""How many builds are remembered: trials build the same sources again and again."""
INLINE_FILE = "inline-values.yaml"
_TAKEN_IN = ("resources", "bases", "components", "crds", "generators", "transformers", "validators", "configurations")
_REMOTE = re.compile(r"[a-z0-9+]+://|[a-z]+::|git@|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}[/:]")
"""Addresses, and hosts as kustomize takes them: `github.com/owner/name`."""
_MISSING_CHARTS = re.compile(r"found in Chart\.yaml, but missing in charts/ directory: (.*)")


class Programs:
    """Builds with the programs on PATH. Implements `Renderer`."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path if path is not None else os.environ.get("PATH", os.defpath)
        self._build = lru_cache(maxsize=BUILDS_MAX)(self._built)

    def render(self, files: Mapping[str, str], root: Root, *, again: bool = False) -> str:
        """The YAML that the root's program prints. Raises Unavailable without it, Rejected where it fails."""
        inputs = tuple(sorted(inputs_of(files, root).items()))
        is_chance = again and root.tool == "helm"  # kustomize knows none
        return self._built(inputs, root) if is_chance else self._build(inputs, root)

    def _built(self, inputs: tuple[tuple[str, str], ...], root: Root) -> str:
        files = dict(inputs)
        if root.tool == "helm":
            inline = _checked_release(files, root)
        elif remote := next((path for path, text in inputs if _is_remote(path, text, files)), None):
            raise Rejected(f"{remote}: takes in what lies elsewhere, which is not fetched; a person makes the change")
        else:
            inline = Inline()
        command = self._command(root)
        with tempfile.TemporaryDirectory(prefix="holdfast-build-") as name:
            folder = Path(name) / "sources"
            folder.mkdir()
            for path, text in inputs:
                target = folder / _checked(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")  # packed charts too
            if inline.values:
                (Path(name) / INLINE_FILE).write_text(inline.values, encoding="utf-8")
                command.append(f"--values={Path(name) / INLINE_FILE}")
            return self._run([*command, *inline.options], folder, Path(name), root)

    def _command(self, root: Root) -> list[str]:
        at = f"./{root.folder}" if root.folder else "."
        if root.tool == "helm":
            helm = shutil.which("helm", path=self._path)
            # Hooks and tests come and go with an installation; what shall be there is the rest.
            options = [f"--namespace={root.namespace or 'default'}", "--no-hooks"]
            options += [f"--values=./{path}" for path in root.values]
            command = [helm, "template", root.release, at, *options] if helm else None
        else:
            kustomize, kubectl = (shutil.which(name, path=self._path) for name in ("kustomize", "kubectl"))
            command = [kustomize, "build", at] if kustomize else [kubectl, "kustomize", at] if kubectl else None
        if command is None:
            raise Unavailable(
                f"{root.folder or '.'}: these manifests are built by {root.tool}, which is not on PATH; "
                "install it, or make the change by hand",
                tool=root.tool,
            )
        return command

    def _run(self, command: list[str], folder: Path, home: Path, root: Root) -> str:
        environment = {"PATH": self._path, "HOME": str(home), "KUBECONFIG": os.devnull, "LC_ALL": "C"}
        output = home / "output"
        try:
            with output.open("wb") as file:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.PIPE,
                    timeout=DEADLINE_S,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{root.tool}: expected an end within {DEADLINE_S} s, still running") from error
        if done.returncode:
            raise Rejected(_complaint(done.stderr.decode(errors="replace"), root))
        if output.stat().st_size > OUTPUT_BYTES_MAX:
            raise Rejected(f"{root}: {root.tool} builds more than {OUTPUT_BYTES_MAX >> 20} MiB")
        return output.read_text(encoding="utf-8", errors="replace")


def _complaint(stderr: str, root: Root) -> str:
    said = " ".join(stderr.split())[:COMPLAINT_CHARS_MAX]
    if missing := _MISSING_CHARTS.search(said):
        return (
            f"{root}: helm does not build it without the charts {missing[1].strip()}, which it names in Chart.yaml and "
            "which are not fetched; commit them into charts/ (helm dependency build), or make the change by hand"
        )
    return f"{root}: {root.tool} does not build it: {said or 'no message'}"


def _checked_release(files: Mapping[str, str], root: Root) -> Inline:
    """The values that the release's Application holds. Raises Rejected for what helm shall not be given."""
    if not is_release(root):
        raise Rejected(f"{root}: expected names such as a cluster takes")
    for path in root.values:
        if path not in files:
            raise Rejected(f"{root}: expected the value file {path} in the tree, saw none; nothing is fetched")
        if "," in path or '"' in path:  # helm reads a list there
            raise Rejected(f"{root}: expected a value file whose name has no comma and no quotes, saw {path}")
    return inline_values(files, root)


def _is_remote(path: str, text: str, files: Mapping[str, str]) -> bool:
    """Whether a kustomization takes in something that does not stand in the tree. One that cannot be read counts."""
    if PurePosixPath(path).name not in KUSTOMIZATION:
        return False
    folder = PurePosixPath(path).parent
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError):
        return True
    for document in documents:
        if not isinstance(document, dict) or "helmCharts" in document:
            return document is not None
        entries = [entry for key in _TAKEN_IN for entry in document.get(key) or () if isinstance(entry, str)]
        entries += [each.get("path", "") for each in document.get("patches") or () if isinstance(each, dict)]
        for entry in entries:
            here = (folder / entry).as_posix()
            is_here = any(known == here or known.startswith(f"{here.rstrip('/')}/") for known in files)
            if not is_here and _REMOTE.match(entry):
                return True
    return False


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise InvalidInput(f"path of a manifest: expected a relative one inside the folder, saw {path!r}", seen=path)
    return path
