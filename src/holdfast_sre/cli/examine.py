"""What the commands that look at incidents share: options, reading and diagnosing case by case, answers in JSON."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from holdfast import InvalidInput
from holdfast_sre.cli.terminal import printable
from holdfast_sre.diagnosis.diagnose import Diagnosis, diagnose
from holdfast_sre.evaluation.opsbench_labels import Answer, answer
from holdfast_sre.evidence.incident_folders import Case
from holdfast_sre.evidence.manifest_files import load_folder
from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.opsbench import Incident
from holdfast_sre.evidence.sources import Declared, Source, find_sources
from holdfast_sre.repair.propose import Manifests

EXIT_BAD_INPUT = 2

Paths = Annotated[
    list[Path],
    typer.Argument(help="An incident, a folder of them, a dump (folder, file, archive) of kubectl, or - for stdin."),
]
Namespace = Annotated[str | None, typer.Option("--namespace", help="Which namespace of a dump; else each of them.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, for machines.")]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", help="Folder with the last known good manifests, any layout of YAML files.")
]


class Examined(msgspec.Struct, frozen=True):
    """A case that was read and diagnosed, and how many seconds both took."""

    case: Case
    incident: Incident
    diagnosis: Diagnosis
    seconds: float

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The ranked causes in the layout's vocabulary."""
        return tuple(answer(self.incident, finding) for finding in self.diagnosis.ranked)


class Examination:
    """Reads and diagnoses cases one by one. One that cannot be read is told on standard error and counted."""

    def __init__(self, sources: Iterable[Source], time_s: Callable[[], float]) -> None:
        self._sources = sources
        self._time_s = time_s
        self.unreadable = 0

    def __iter__(self) -> Iterator[Examined]:
        for source in self._sources:
            start_s = self._time_s()
            try:
                incident = source.read()
            except InvalidInput as error:
                self.unreadable += 1
                complain(error)
                continue
            diagnosis = diagnose(incident.snapshot)
            yield Examined(source.case, incident, diagnosis, round(self._time_s() - start_s, 4))


def examine(
    paths: list[Path],
    tell: Callable[[Examined], None],
    *,
    namespace: str | None = None,
    declared: Declared | None = None,
    cases_max: int | None = None,
) -> None:
    """Read and diagnose what is at or under the paths, and tell each. Ends with exit code 2 where one cannot be."""
    try:
        sources = list(find_sources(paths, stdin=lambda: sys.stdin.buffer, namespace=namespace, declared=declared))
    except InvalidInput as error:
        fail_input(error)
    if cases_max is not None and len(sources) > cases_max:
        names = ", ".join(source.case.name for source in sources[:8])
        fail_input(InvalidInput(f"{paths[0]}: expected {cases_max} incident, saw {len(sources)}: {names}; name one"))
    with closing(asyncio.new_event_loop()) as loop:  # Durations come from a loop's clock, here as everywhere.
        examination = Examination(sources, loop.time)
        for found in examination:
            tell(found)
    if examination.unreadable:
        raise typer.Exit(EXIT_BAD_INPUT)


def load_baseline(folder: Path | None) -> Manifests | None:
    """The last known good manifests in a folder, their shapes checked."""
    if folder is None:
        return None
    try:
        last_good = load_folder(folder)
    except InvalidInput as error:
        fail_input(error)
    faults = [fault for ref, manifest in last_good.items() if (fault := shape_fault(ref, manifest))]
    if faults:
        fail_input(InvalidInput(f"{folder}: expected manifests of the API's shape, saw {faults[0]}", faults=faults))
    return last_good


def print_json(value: msgspec.Struct) -> None:
    """One line of JSON that is safe in a terminal too: signs that nobody can see are escaped."""
    text = msgspec.json.encode(value).decode()
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _escaped(sign: str) -> str:
    number = ord(sign)
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def complain(error: InvalidInput) -> None:
    """Say on standard error what cannot be used, and go on."""
    Console(stderr=True).print(printable(error.message), style="red", markup=False, highlight=False, soft_wrap=True)


def fail_input(error: InvalidInput) -> NoReturn:
    """Say what cannot be used, and end."""
    complain(error)
    raise typer.Exit(EXIT_BAD_INPUT)
