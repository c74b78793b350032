"""Who may receive what, and with which reason is it refused?"""

from typing import Any

import pytest
from candidates import GB, disk, peer

from ringgossip.config.blocks import DiskRules
from ringgossip.strategy.candidates import DiskUse
from ringgossip.strategy.eligibility import CODES, No, disk_stops, may_push, may_receive, refusals

KINDS = ("games", "models", "npz")
RULES = DiskRules(min_free_bytes=100 * GB, floor_bytes=2 * GB)


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        ({}, {}),
        ({"role": "coordinator"}, dict.fromkeys(KINDS, "coordinator")),
        ({"role": "coordinator", "receive": ("games",)}, dict.fromkeys(("models", "npz"), "coordinator")),
        ({"role": "coordinator", "want": ("models",)}, dict.fromkeys(("games", "npz"), "coordinator")),
        ({"receive": ("models",)}, dict.fromkeys(("games", "npz"), "kind")),
        ({"excluded": ("games",)}, {"games": "excluded"}),
        ({"excluded": KINDS}, dict.fromkeys(KINDS, "excluded")),
        *(
            ({"state": state}, dict.fromkeys(KINDS, "status"))
            for state in ("offline", "retired", "terminated", "archived", "setup", "suspended")
        ),
        ({"disk": disk(90), "disk_stopped": True}, dict.fromkeys(("games", "npz"), "disk")),
        ({"disk": DiskUse(99 * GB, 1 * GB), "disk_stopped": True}, dict.fromkeys(KINDS, "disk")),
        ({"disk": None, "disk_stopped": True}, {}),
        ({"storage_group": "nfs"}, {}),
        # What a person would have to change comes before what passes by itself.
        ({"role": "coordinator", "state": "offline", "excluded": KINDS}, dict.fromkeys(KINDS, "coordinator")),
        ({"state": "offline", "excluded": ("npz",)},
         {"games": "status", "models": "status", "npz": "excluded"}),
    ],
)  # fmt: skip
def test_what_a_peer_refuses_and_why(facts: dict[str, Any], refused: dict[str, str]) -> None:
    assert refusals(peer("gpu-1", **facts), KINDS, RULES) == refused


def test_what_a_card_tells_is_believed_whatever_we_would_have_said() -> None:
    other = peer("gpu-1", refuses={"games": "disk"})
    verdict = may_receive(other, "games")
    assert isinstance(verdict, No)
    assert (verdict.code, verdict.sentence) == ("disk", "gpu-1: its disk is too full")
    assert may_receive(other, "models")
    assert may_receive(peer("full", disk=DiskUse(10, 0), disk_stopped=True, refuses={}), "games")


def test_a_code_of_a_newer_peer_is_passed_on() -> None:
    verdict = may_receive(peer("gpu-1", refuses={"games": "eclipse"}), "games")
    assert isinstance(verdict, No)
    assert verdict.code == "eclipse"


def test_nothing_is_pushed_to_a_peer_that_reads_our_disk() -> None:
    verdict = may_push(peer("a", storage_group="nfs"), peer("b", storage_group="nfs"), "models")
    assert isinstance(verdict, No)
    assert verdict.code == "storage_group"
    assert may_push(peer("a", storage_group="nfs"), peer("b", storage_group="other"), "models")
    assert may_push(peer("a"), peer("b"), "models")  # no group is no group in common


def test_every_code_is_explained() -> None:
    assert set(CODES) >= {"coordinator", "excluded", "status", "disk", "storage_group", "kind", "not_wanted"}


# --- the disk ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "total", "stops"),
    [
        (70, 100 * GB, False),  # "> 70 %", not ">="
        (71, 100 * GB, True),
        (75, 912 * GB, False),  # 228 GB free once blocked a cluster for five days
        (89, 1000 * GB, False),
        (91, 1000 * GB, True),
        (50, 3 * GB, True),  # under the absolute floor, however little is used
    ],
)
def test_a_disk_stops_when_its_share_and_its_free_bytes_say_so(
    percent: float, total: int, stops: bool
) -> None:
    assert disk_stops(False, disk(percent, total), RULES) is stops


def test_once_stopped_it_goes_on_at_sixty_percent() -> None:
    stopped, seen = False, []
    for percent in (69, 71, 69, 65, 61, 60, 65, 70, 71):
        stopped = disk_stops(stopped, disk(percent, 100 * GB), RULES)
        seen.append(stopped)
    assert seen == [False, True, True, True, True, False, False, False, True]


def test_a_large_disk_that_was_cleaned_goes_on_before_sixty_percent() -> None:
    assert disk_stops(True, disk(75, 2000 * GB), RULES) is False
    assert disk_stops(True, disk(85, 1000 * GB), RULES) is True  # 150 GB: not yet twice what is demanded


def test_a_floor_in_percent_stops_by_itself() -> None:
    rules = DiskRules(floor_percent=15)
    assert disk_stops(False, disk(84, 2000 * GB), rules) is False
    assert disk_stops(False, disk(86, 2000 * GB), rules) is True


def test_an_unknown_disk_is_allowed() -> None:
    assert disk_stops(True, None, RULES) is False
