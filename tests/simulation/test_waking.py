"""Does a peer wake as early as the earliest of its machines, though it does not ask them all each time?"""

from pathlib import Path

import pytest

from ringgossip.protocol.peer_core import PeerCore
from ringgossip.simulation import read_story, run_story

STORIES = Path(__file__).parents[2] / "simulations"


@pytest.mark.parametrize("name", ["anything", "nat_heavy"])
def test_after_every_input_the_next_wakeup_is_the_earliest_of_all_machines(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = PeerCore.next_wakeup
    answers = [0, 0]

    def compared(core: PeerCore) -> float:
        answers[len(core.dues.moved) < 4] += 1
        due = asked(core)
        assert due == min(ask() for ask in core.dues._asks.values())
        return due

    monkeypatch.setattr(PeerCore, "next_wakeup", compared)
    story = read_story(STORIES / f"{name}.yaml")
    run = run_story(story.scaled(story.quick) if story.quick is not None else story, 3)
    assert run.crash is None, run.crash
    assert min(answers) > 100, answers  # both ways to the answer were tried
