"""`node-not-ready`: the node is not ready, and nothing tells which of its programs is at fault."""

from __future__ import annotations

import pytest

from tests.sre.diagnosis.rules.nodes.worlds import NODE, RUNTIME, STOPPED, down, hosted
from tests.sre.diagnosis.worlds import World, found


def test_a_node_that_is_not_ready_for_no_reason_that_it_tells() -> None:
    assert found(down("KubeletNotReady", "out of sorts").snapshot(), "node-not-ready")[0].object == NODE


@pytest.mark.parametrize("ready", ["False", "Unknown"])
def test_a_node_is_ready_only_if_it_says_so(ready: str) -> None:
    world = World()
    world.node("node-a", ready=ready)
    assert found(world.snapshot(), "node-not-ready")[0].object == NODE


@pytest.mark.parametrize("words", [STOPPED, RUNTIME])
def test_a_node_whose_words_blame_a_program_is_told_by_another_rule(words: tuple[str, str]) -> None:
    assert not found(down(*words).snapshot(), "node-not-ready")


def test_what_is_known_about_the_host_says_more() -> None:
    assert not found(hosted("kubelet", is_active=False).snapshot(), "node-not-ready")


def test_a_node_that_is_ready_is_well() -> None:
    world = World()
    world.node("node-a")
    assert not found(world.snapshot(), "node-not-ready")
