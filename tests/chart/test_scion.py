"""The pairs of the SCION test framework: a machine, and the configuration expected after each event."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from holdfast.chart import compile, restore, start, step
from tests.chart import scxml

HERE = Path(__file__).resolve()
PAIRS = Path(os.environ.get("HOLDFAST_SCION", HERE.parents[2].parent / "shared" / "conformance" / "scion"))
MACHINES = sorted(PAIRS.rglob("*.scxml"))


def leaves_as_paths(ids: list[str], document: scxml.Document) -> set[str]:
    return {document.paths[each] for each in ids}


@pytest.mark.skipif(not MACHINES, reason=f"the conformance pairs are absent: {PAIRS}")
@pytest.mark.parametrize("machine", MACHINES, ids=lambda path: str(path.relative_to(PAIRS).with_suffix("")))
def test_each_event_gives_the_configuration_that_the_pair_expects(machine: Path) -> None:
    """Each configuration also passes through JSON on its way, so that what is stored is enough."""
    expected = json.loads(machine.with_suffix(".json").read_text())
    try:
        document = scxml.read(machine.read_text(), machine.stem)
    except scxml.Unsupported as error:
        pytest.skip(f"needs more than structure: {error}")
    chart = compile(document.chart)
    configuration = start(chart).configuration
    assert set(configuration.leaves) == leaves_as_paths(expected["initialConfiguration"], document)
    for each in expected["events"]:
        configuration = step(chart, configuration, each["event"]["name"]).configuration
        assert set(configuration.leaves) == leaves_as_paths(each["nextConfiguration"], document)
        configuration = restore(chart, configuration.to_json())
