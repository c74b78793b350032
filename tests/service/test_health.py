"""Does the verdict name the worst thing first, and what to do about it?"""

from dataclasses import replace

import pytest

from ringgossip.service.health import DEGRADED, HEALTHY, UNHEALTHY, Facts, judge

WELL = Facts(
    node="gpu-1",
    now=1000.0,
    started=0.0,
    interval=60.0,
    members_alive=5,
    members_lost=(),
    seeds=2,
    artifacts=12,
    here=12,
    missing=0,
    moving=False,
    last_completed=990.0,
    succeeded=10,
    failed=0,
    proven=10,
    disproven=0,
    worst_server="",
    stalled=None,
    held_back=None,
    storage=None,
    refused=(),
    certificate=None,
    keys_refused="",
    seed_refused=None,
    budget="",
    deferred=None,
    stopped="",
)


def test_a_peer_with_everything_is_well() -> None:
    judgement = judge(WELL)
    assert (judgement.status, judgement.healthy) == (HEALTHY, True)
    assert judgement.message == "gpu-1 is well: 5 members alive, all 12 artifacts here"


def test_a_peer_that_wants_no_more_does_not_say_that_all_is_here() -> None:
    judgement = judge(replace(WELL, here=3))
    assert judgement.message == "gpu-1 is well: 5 members alive, 3 of 12 artifacts here, no other is wanted"


def test_a_spent_byte_budget_is_said_by_who_has_it_and_by_who_waits_for_it() -> None:
    spent = "byte budget spent until 2026-12-01 00:00 UTC"
    judgement = judge(replace(WELL, budget=spent))
    assert (judgement.status, judgement.healthy) == (DEGRADED, True)
    assert judgement.message.startswith(spent)
    # Something else may move meanwhile.
    judgement = judge(replace(WELL, missing=1, moving=True, stalled=("games/a/b", f"gpu-2: {spent}")))
    assert judgement.message.endswith(f"1 artifact is on the way (games/a/b stands: gpu-2: {spent})")


def test_a_lone_peer_without_seeds_is_well() -> None:
    judgement = judge(replace(WELL, members_alive=1, seeds=0))
    assert judgement.status == HEALTHY
    assert "alone, with no seeds to ask" in judgement.message


def test_a_seed_that_answers_and_is_no_member_is_not_said_to_be_silent() -> None:
    refused = ("10.0.0.1:7946", "it belongs to another cluster of the same name")
    judgement = judge(replace(WELL, members_alive=1, seed_refused=refused))
    assert (judgement.status, judgement.healthy) == (DEGRADED, True)
    assert "10.0.0.1:7946" in judgement.message and "another cluster of the same name" in judgement.message
    assert "does not answer" not in judgement.message
    assert judge(replace(WELL, seed_refused=refused)).status == HEALTHY


def test_a_peer_whose_seeds_are_silent_is_degraded_only_after_a_while() -> None:
    alone = replace(WELL, members_alive=1)
    assert judge(replace(alone, started=980.0)).status == HEALTHY
    judgement = judge(alone)
    assert (judgement.status, judgement.healthy) == (DEGRADED, True)
    assert "none of 2 seeds answers; check" in judgement.message


def test_a_peer_whose_gossip_key_nobody_accepts_cannot_do_its_work_and_says_what_to_do() -> None:
    judgement = judge(replace(WELL, members_alive=1, keys_refused="gpu-2"))
    assert judgement.status == UNHEALTHY
    assert "no member accepts our gossip key (gpu-2 said so): copy gossip.keys" in judgement.message


def test_one_member_with_another_key_makes_nobody_else_ill() -> None:
    assert judge(replace(WELL, keys_refused="gpu-9")).status == HEALTHY


def test_lost_members_are_named_and_do_no_harm() -> None:
    judgement = judge(replace(WELL, members_lost=("a", "b", "c", "d")))
    assert judgement.status == HEALTHY
    assert "4 lost (a, b, c, ...)" in judgement.message


@pytest.mark.parametrize(("quiet", "status"), [(179.0, HEALTHY), (181.0, DEGRADED)])
def test_nothing_arriving_for_three_intervals_while_something_is_missing_is_degraded(
    quiet: float, status: str
) -> None:
    facts = replace(WELL, missing=3, last_completed=WELL.now - quiet)
    assert judge(facts).status == status
    assert judge(replace(facts, missing=0)).status == HEALTHY
    assert judge(replace(facts, moving=True)).status == HEALTHY


def test_the_message_says_what_stalls_and_why() -> None:
    facts = replace(
        WELL, missing=1, last_completed=None, stalled=("models/b/m.pth", "no holder is reachable")
    )
    assert "1 artifact is missing (models/b/m.pth: no holder is reachable)" in judge(facts).message


def test_who_waits_for_the_byte_budget_of_another_is_not_told_to_bring_it_back() -> None:
    spent = ("models/b/m.pth", "b: byte budget spent until 2026-11-29 00:00 UTC")
    said = judge(replace(WELL, missing=1, last_completed=None, stalled=spent)).message
    assert "raise `budget:` there" in said and "bring a holder back" not in said


@pytest.mark.parametrize(("failed", "status"), [(5, HEALTHY), (6, DEGRADED)])
def test_more_failures_than_half_of_the_successes_is_degraded(failed: int, status: str) -> None:
    assert judge(replace(WELL, failed=failed, missing=1)).status == status


def test_failures_that_were_made_good_are_forgotten() -> None:
    assert judge(replace(WELL, failed=50, missing=0)).status == HEALTHY


@pytest.mark.parametrize(("disproven", "status"), [(1, HEALTHY), (2, DEGRADED)])
def test_more_than_a_tenth_of_verifications_failing_is_degraded(disproven: int, status: str) -> None:
    judgement = judge(replace(WELL, proven=10, disproven=disproven, worst_server="vast-3"))
    assert judgement.status == status
    assert ("vast-3: check its disk" in judgement.message) == (status == DEGRADED)


def test_a_disk_that_stops_everything_is_unhealthy_and_one_that_still_takes_some_is_degraded() -> None:
    full = replace(WELL, storage=("no space left on /data", 990.0), missing=2)
    judgement = judge(full)
    assert (judgement.status, judgement.healthy) == (UNHEALTHY, False)
    assert judgement.message.startswith("the disk: no space left on /data")
    assert judge(replace(full, moving=True)).status == DEGRADED
    assert (
        judge(replace(full, storage=("no space left on /data", 100.0), last_completed=999.0)).status
        == HEALTHY
    )


def test_a_stopped_peer_is_unhealthy_before_anything_else() -> None:
    judgement = judge(replace(WELL, stopped="cloned identity", storage=("full", 999.0)))
    assert not judgement.healthy
    assert judgement.message == "stopped: cloned identity"


def test_a_peer_that_lost_all_members_is_alone() -> None:
    judgement = judge(replace(WELL, members_alive=1, members_lost=("a", "b"), seeds=0))
    assert judgement.status == DEGRADED
    assert judgement.message.startswith("alone: none of 2 members answers; check that they run")


def test_kinds_that_a_full_disk_keeps_out_are_named_with_what_to_do() -> None:
    judgement = judge(replace(WELL, refused=("games", "npz")))
    assert judgement.status == DEGRADED
    assert judgement.message == (
        "the disk is too full to receive games and npz; free space, or change `disk:` in node.yaml"
    )


@pytest.mark.parametrize(("since", "status"), [(900.0, HEALTHY), (800.0, DEGRADED)])
def test_a_snapshot_that_is_put_off_for_long_is_degraded(since: float, status: str) -> None:
    judgement = judge(replace(WELL, deferred=("games.db is locked", since)))
    assert judgement.status == status
    assert (judgement.message == "no snapshot for 200 s: games.db is locked") == (status == DEGRADED)


@pytest.mark.parametrize(("ended", "status"), [(False, DEGRADED), (True, UNHEALTHY)])
def test_a_certificate_that_ends_says_what_to_run(ended: bool, status: str) -> None:
    judgement = judge(replace(WELL, certificate=("it ends; run `ringgossip enroll`", ended)))
    assert (judgement.status, judgement.message) == (status, "it ends; run `ringgossip enroll`")


def test_whoever_waits_behind_an_open_breaker_is_told_for_whom_and_why() -> None:
    why = "The breaker of n0, who alone has it, is open (dial: timed out); n0 is tried again in 42 s. Check"
    judgement = judge(replace(WELL, missing=1, last_completed=0.0, held_back=("models/n0/best.pth", why)))
    assert (judgement.status, judgement.healthy) == (DEGRADED, True)
    assert judgement.message == f"models/n0/best.pth does not come: {why}"
