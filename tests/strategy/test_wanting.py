"""Who wants what: by role, as a chosen holder, or because somebody asked; and everybody agrees."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from candidates import disk, peer
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.hashing import hash_bytes
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.eligibility import No
from ringgossip.strategy.wanting import Census, Wanted, rendezvous, row_of

KINDS = ("games", "models", "npz")
KEYS = [hash_bytes(b"%d" % index) for index in range(2000)]


def why(kind: str, member: Candidate, *others: Candidate, origin: str = "away", **more: Any) -> str:
    census = Census(kind, [member, *others], more.pop("copies", 3))
    verdict = census.wanting(member.peer, KEYS[0], origin, **more)
    assert verdict or isinstance(verdict, No)
    return verdict.why if isinstance(verdict, Wanted) else verdict.code  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("facts", "row"),
    [
        ({"role": "training"}, KINDS),
        ({"role": "gpu_training_primary"}, KINDS),
        ({"role": "selfplay"}, ("models",)),
        ({"role": "selfplay", "priority": True}, KINDS),
        ({"role": "coordinator"}, ()),
        ({"role": "coordinator", "receive": ("games",)}, ("games",)),
        ({"role": "backbone"}, ()),
        ({"role": "proxy"}, ()),
        ({"role": "something_new"}, ()),
        ({"role": "selfplay", "want": ("npz",)}, ("npz",)),
        ({"role": "training", "want": ()}, ()),
    ],
)
def test_a_role_has_its_row_and_want_overrides_it(facts: dict[str, Any], row: tuple[str, ...]) -> None:
    assert row_of(peer("a", **facts)) == row


TRAINERS = [peer(f"train-{index}", role="training") for index in range(3)]
PLAYERS = [peer(f"play-{index}") for index in range(10)]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"role": "training"}, "a: as a training node it takes games"),
        # A card states what its node wants, whether or not node.yaml has a `want:`.
        ({"role": "training", "want": KINDS}, "a: as a training node it takes games"),
        (
            {"priority": True, "want": KINDS},
            "a: as a selfplay node (one of `priority_nodes`, which count as training nodes) it takes games",
        ),
        ({"priority": True, "role": "training"}, "a: as a training node it takes games"),
        ({"role": "training", "want": ("games",)}, "a: its `want:` names games"),
        ({"role": "selfplay", "want": ("games", "models")}, "a: its `want:` names games"),
        (
            {"role": "coordinator", "want": ("games",), "refuses": {"npz": "coordinator"}},
            "a: a coordinator, but its `receive:` or `want:` names games",
        ),
    ],
)
def test_why_a_kind_is_taken_is_said_as_far_as_a_card_tells(facts: dict[str, Any], sentence: str) -> None:
    member = peer("a", **facts)
    assert Census("games", [member], 3).wanting(member.peer, KEYS[0], "away") == Wanted("role", sentence)


def test_a_training_node_takes_games_by_its_role() -> None:
    assert why("games", TRAINERS[0]) == "role"


def test_a_selfplay_node_takes_models_and_no_games_when_there_are_copies_enough() -> None:
    assert why("models", PLAYERS[0], *TRAINERS) == "role"
    assert why("games", PLAYERS[0], *TRAINERS) == "not_wanted"


def test_a_selfplay_node_holds_games_when_nobody_else_does() -> None:
    assert why("games", PLAYERS[0]) == "holder"


def test_what_somebody_asked_for_is_wanted_unless_it_may_not_be_received() -> None:
    assert why("games", PLAYERS[0], *TRAINERS, asked=True) == "asked"
    assert why("games", peer("c", role="coordinator"), asked=True) == "coordinator"


@pytest.mark.parametrize(
    ("facts", "code"),
    [({"role": "coordinator"}, "coordinator"), ({"state": "retired"}, "status"),
     ({"excluded": ("games",)}, "excluded"), ({"refuses": {"games": "disk"}}, "disk")],
)  # fmt: skip
def test_who_may_not_receive_is_never_chosen(facts: dict[str, Any], code: str) -> None:
    barred = peer("barred", **facts)
    census = Census("games", [barred, *PLAYERS[:2]], copies=3)
    for key in KEYS[:200]:
        assert {member.name for member in census.chosen(key, "away")} == {"play-0", "play-1"}
    assert why("games", barred, *PLAYERS[:2]) == code


@pytest.mark.parametrize(("trainers", "chosen"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_so_many_are_chosen_as_are_missing(trainers: int, chosen: int) -> None:
    census = Census("games", [*TRAINERS[:trainers], *PLAYERS], copies=3)
    assert census.missing("away") == chosen
    for key in KEYS[:50]:
        names = [member.name for member in census.chosen(key, "away")]
        assert len(names) == chosen
        assert all(name.startswith("play") for name in names)  # the trainers are copies already


def test_the_origin_is_no_copy_of_itself() -> None:
    census = Census("games", [*TRAINERS, *PLAYERS], copies=3)
    assert census.missing("train-0") == 1
    assert "train-0" not in {member.name for member in census.holders(KEYS[0], "train-0")}
    players = Census("games", PLAYERS[:3], copies=3)
    assert {member.name for member in players.chosen(KEYS[0], "play-0")} == {"play-1", "play-2"}


@given(st.randoms(use_true_random=False), st.integers(0, 1999))
def test_every_peer_comes_to_the_same_answer_whatever_order_it_learned_of_the_others(
    rng: Random, index: int
) -> None:
    members = [*TRAINERS[:2], *PLAYERS]
    shuffled = members.copy()
    rng.shuffle(shuffled)
    ours, theirs = Census("games", members, 4), Census("games", shuffled, 4)
    assert ours.holders(KEYS[index], "play-0") == theirs.holders(KEYS[index], "play-0")
    chosen = ours.chosen(KEYS[index], "play-0")
    assert chosen == theirs.chosen(KEYS[index], "play-0")
    for member in PLAYERS[1:]:
        verdict = theirs.wanting(member.peer, KEYS[index], "play-0")
        assert bool(verdict) is (member in chosen)


def test_the_choice_is_pinned_so_that_no_version_chooses_otherwise() -> None:
    census = Census("games", PLAYERS, 3)
    assert [member.name for member in census.chosen(hash_bytes(b"pinned"), "away")] == PINNED


PINNED = ["play-4", "play-8", "play-0"]


def test_twice_the_worth_holds_twice_as_much() -> None:
    light = [peer(f"l-{index}", ephemeral=True, disk=disk(99)) for index in range(10)]
    heavy = [peer(f"h-{index}", disk=disk(0)) for index in range(10)]
    census = Census("games", [*light, *heavy], copies=1)
    counts = Counter(census.chosen(key, "away")[0].name[0] for key in KEYS)
    assert counts["h"] / counts["l"] == pytest.approx(70 / 35, rel=0.15)


def test_equal_peers_hold_equal_shares() -> None:
    census = Census("games", PLAYERS, 1)
    counts = Counter(member.name for key in KEYS for member in census.chosen(key, "away"))
    assert len(counts) == 10
    assert all(count == pytest.approx(200, abs=60) for count in counts.values())  # 4.5 standard deviations


def test_when_a_member_goes_only_what_it_held_moves() -> None:
    before, after = Census("games", PLAYERS, 3), Census("games", PLAYERS[1:], 3)
    for key in KEYS[:300]:
        held = {member.name for member in before.chosen(key, "away")}
        holds = {member.name for member in after.chosen(key, "away")}
        assert held - {"play-0"} <= holds


def test_scores_of_neighbouring_keys_have_nothing_in_common() -> None:
    ups = sum(
        rendezvous(bytes(7) + bytes([index]), PLAYERS[0].peer, 1.0)
        > rendezvous(bytes(7) + bytes([index + 1]), PLAYERS[0].peer, 1.0)
        for index in range(255)
    )
    assert 90 < ups < 165


# --- shared disks ------------------------------------------------------------------------


def test_peers_that_share_a_disk_are_one_copy() -> None:
    sharing = [peer(f"nfs-{index}", storage_group="nfs") for index in range(5)]
    census = Census("games", [*sharing, *PLAYERS[:1]], copies=3)
    for key in KEYS[:100]:
        places = [member.place for member in census.chosen(key, "away")]
        assert len(places) == len(set(places)) == 2


def test_of_trainers_that_share_a_disk_one_pulls_and_the_others_say_who() -> None:
    sharing = [peer(f"nfs-{index}", role="training", storage_group="nfs") for index in range(3)]
    census = Census("games", sharing, copies=3)
    pullers = Counter[str]()
    for key in KEYS[:300]:
        verdicts = {member.name: census.wanting(member.peer, key, "away") for member in sharing}
        [puller] = [name for name, verdict in verdicts.items() if verdict]
        pullers[puller] += 1
        for name, verdict in verdicts.items():
            if name != puller:
                assert isinstance(verdict, No)
                assert verdict.code == "storage_group"
                assert puller in verdict.sentence
    assert len(pullers) == 3  # the load is shared
    assert census.missing("away") == 2


def test_a_disk_on_which_a_trainer_keeps_a_copy_gets_no_second_one() -> None:
    player = peer("nfs-1", storage_group="nfs")
    census = Census("games", [peer("nfs-0", role="training", storage_group="nfs"), player], copies=3)
    assert census.chosen(KEYS[0], "away") == []
    verdict = census.wanting(player.peer, KEYS[0], "away")
    assert isinstance(verdict, No)
    assert verdict.code == "storage_group"


def test_who_reads_the_origins_disk_pulls_nothing() -> None:
    origin = peer("nfs-0", storage_group="nfs")
    other = peer("nfs-1", role="training", storage_group="nfs")
    assert why("games", other, origin, origin="nfs-0") == "storage_group"


def test_who_shares_a_disk_with_a_chosen_holder_is_told_so() -> None:
    sharing = [peer(f"nfs-{index}", storage_group="nfs") for index in range(2)]
    census = Census("games", sharing, copies=3)
    verdicts = [census.wanting(member.peer, KEYS[0], "away") for member in sharing]
    assert sorted("holder" if verdict else verdict.code for verdict in verdicts) == [  # type: ignore[union-attr]
        "holder",
        "storage_group",
    ]


def test_a_sentence_names_the_rule_the_weight_and_the_holders() -> None:
    held = Census("games", [PLAYERS[0]], 3).wanting(PLAYERS[0].peer, KEYS[0], "away")
    assert isinstance(held, Wanted)
    assert "3 copies are wanted" in held.sentence
    assert "its worth as a holder is 60 (base +50 disk headroom +10)" in held.sentence
    left = Census("games", [PLAYERS[0], *TRAINERS], 3).wanting(PLAYERS[0].peer, KEYS[0], "away")
    assert isinstance(left, No)
    assert all(trainer.name in left.sentence for trainer in TRAINERS)
