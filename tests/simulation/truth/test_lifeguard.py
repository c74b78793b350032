"""Are blocked members found as soon, and others blamed as seldom, as Lifeguard's paper says? A few runs."""

import pytest
from small_study import verdicts

from ringgossip.simulation.truth.lifeguard import Blocking, published
from ringgossip.simulation.truth.swim import world_of

FEW = {"n": 16, "lasting": 10.0, "cells": [[6, 9.0, 0.02]]}


def test_blocked_members_are_found_as_soon_as_published() -> None:
    rows = verdicts("lifeguard-detection", "(4, 6) health on", 2, blocked=2, seconds=14.0)
    assert rows["first detection"].within
    assert rows["full dissemination"].within
    assert rows["first detection"].measured < rows["full dissemination"].measured


def test_a_shorter_suspicion_is_outside() -> None:
    rows = verdicts("lifeguard-detection", "(4, 6) health on", 2, blocked=2, seconds=10.0, alpha=2)
    assert not rows["first detection"].within
    assert rows["first detection"].measured == pytest.approx(6.1, abs=1.2)


def test_lifeguard_and_we_blame_nobody_where_swim_does() -> None:
    rows = verdicts("lifeguard-false-positives", "", 1, **FEW)
    assert [row.within for row in rows.values()] == [True] * 3
    assert rows["SWIM's, a run"].measured > 5


def test_without_lifeguard_the_share_is_outside() -> None:
    rows = verdicts("lifeguard-false-positives", "", 1, **FEW, beta=1, health=False)
    row = rows["Lifeguard's share of SWIM's"]
    assert row.measured == 1.0 and not row.within
    assert "Judged: at most 0.05." in row.notes


def test_who_is_blocked_is_silent_and_deaf_for_just_so_long() -> None:
    world = world_of(6, "blocked", published(5, 1, False))
    world.run(3.0)
    blocking = Blocking(world, 1)
    sent = list(world.network.packets_sent)
    heard: list[tuple[float, int]] = []
    world.nodes[0].shared.network.listen(0, lambda packet, source, damaged: heard.append((world.now, 0)))
    blocking.block(8.0)
    assert heard == []
    world.run(0.1)
    assert world.network.packets_sent[0] - sent[0] >= 1 and len(heard) > 3
    assert all(8.0 <= when - 3.0 <= 8.1 for when, _ in heard)
