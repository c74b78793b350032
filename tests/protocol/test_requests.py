"""Does a `sync` bring every artifact to every target, and say what became of each? On whole peers."""

import pytest
from cores import KB, core, quiet, rows, sync, told, world_of

from ringgossip.config.signals import signal
from ringgossip.content.record import ArtifactKey
from ringgossip.events import DataSyncCompleted, DataSyncFailed, OrphanGamesRegistered
from ringgossip.protocol.answers import SyncRequest
from ringgossip.protocol.receipts import entry_of
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.world import PeerSpec
from ringgossip.wire.messages import Offer


def test_a_named_target_gets_what_it_lacks_and_the_row_says_moved() -> None:
    world = world_of(*quiet(3))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(5.0)
    assert not world.nodes[1].disk.holdings
    report = sync(world, 2, data_type="games", targets=("n1",))
    assert rows(report) == {("games.db", "n1"): "moved"}
    assert report.success and report.nodes == ("n1",)
    assert world.nodes[1].disk.holds(ArtifactKey("games", "n0", "games.db"), 1)
    assert not world.nodes[2].disk.holdings, "who asks for others need not hold it"
    assert told(world, 2, DataSyncCompleted)[-1].bytes_transferred == 300 * KB


def test_nothing_missing_is_success_and_says_so() -> None:
    world = world_of(*quiet(2))
    world.publish(0, "games", "games.db")
    world.run(3.0)
    sync(world, 0, data_type="games", targets=("n1",))
    report = sync(world, 0, data_type="games", targets=("n1", "n0"))
    assert set(rows(report).values()) == {"already_present"}
    assert report.success and not report.moved


def test_what_was_asked_for_is_pulled_after_a_restart_too() -> None:
    world = world_of(*quiet(3), carrier="pieces")
    world.limit(0, up=100.0 * KB, down=None)
    world.publish(0, "games", "games.db", size=2000 * KB)
    world.run(3.0)
    world.nodes[1].give(3, 0, core(world, 1).sync, 7, SyncRequest(data_type="games", targets=("n1",)))
    world.run(5.0)
    assert not world.nodes[1].disk.holdings
    world.crash(1)
    world.restart(1)
    world.run(60.0)
    assert world.nodes[1].disk.holds(ArtifactKey("games", "n0", "games.db"), 1)


def test_a_rule_that_refuses_is_named_and_fails_the_request_only_if_the_target_was_named() -> None:
    world = world_of(*quiet(2), PeerSpec("boss", role="coordinator", rules=RuleSettings(copies=0)))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(3.0)
    report = sync(world, 0, data_type="games", targets=("boss", "n1"))
    assert rows(report) == {("games.db", "boss"): "refused: coordinator", ("games.db", "n1"): "moved"}
    assert not report.success
    assert told(world, 0, DataSyncFailed)[-1].target_node == "boss"
    report = sync(world, 0, data_type="games", targets=("all",))
    assert "boss" not in {row.target for row in report.rows}
    assert report.success


def test_without_a_reachable_holder_the_row_says_so_at_once() -> None:
    world = world_of(*quiet(3))
    world.publish(0, "games", "games.db")
    world.run(3.0)
    world.crash(0)
    assert world.run_until(
        lambda: all(member.state != "alive" or member.name != "n0" for member in core(world, 1).members())
        and all(member.state != "suspect" for member in core(world, 1).members()), 60.0
    ) is not None  # fmt: skip
    report = sync(world, 1, data_type="games", targets=("n1", "n2"), timeout=100.0)
    assert set(rows(report).values()) == {"no_holder"}
    assert report.duration < 1.0
    world.restart(0)
    world.run(30.0)
    key = ArtifactKey("games", "n0", "games.db")
    assert world.nodes[1].disk.holds(key, 1), "asked for here, it comes when its holder does"


def test_what_does_not_arrive_in_time_is_told_as_timed_out() -> None:
    world = world_of(*quiet(2), carrier="pieces")
    world.limit(0, up=50.0 * KB, down=None)
    world.publish(0, "games", "games.db", size=3000 * KB)
    world.run(2.0)
    report = sync(world, 1, data_type="games", targets=("n1",), timeout=5.0)
    assert rows(report) == {("games.db", "n1"): "timed_out"}
    assert not report.success


def test_filters_choose_by_board_and_players() -> None:
    world = world_of(*quiet(2))
    for name, players in (("two", 2), ("four", 4)):
        world.publish(0, "games", name, size=KB, metadata={"board_type": "hex8", "num_players": players})
    world.run(3.0)
    report = sync(world, 0, data_type="games", targets=("n1",), board_type="hex8", num_players=4)
    assert rows(report) == {("four", "n1"): "moved"}


def test_a_target_nobody_knows_is_an_error() -> None:
    world = world_of(*quiet(2))
    world.publish(0, "games", "games.db")
    world.run(3.0)
    report = sync(world, 0, targets=("n9",))
    assert report.errors and "n9" in report.errors[0] and not report.success


def test_priority_sync_pulls_from_the_source_and_registers_orphans() -> None:
    world = world_of(*quiet(3))
    world.publish(0, "games", "one.db", size=300 * KB)
    world.publish(0, "games", "two.db", size=300 * KB)
    world.publish(2, "games", "other.db", size=300 * KB)
    world.run(3.0)
    report = sync(
        world, 1, data_type="games", source_node="n0", priority="critical", reason="orphan_games_recovery"
    )
    assert rows(report) == {("one.db", "n1"): "moved", ("two.db", "n1"): "moved"}
    (event,) = told(world, 1, OrphanGamesRegistered)
    assert (event.node_id, event.file_count, event.bytes_transferred) == ("n0", 2, 600 * KB)
    assert not world.nodes[2].disk.holds(ArtifactKey("games", "n0", "one.db"), 1)
    sync(world, 1, data_type="games", source_node="n0", priority="critical", reason="orphan_games_recovery")
    again = told(world, 1, OrphanGamesRegistered)[-1]
    assert (again.file_count, again.bytes_transferred) == (2, 0), "what is here already is as safe"


def test_orphan_games_detected_pulls_from_that_node() -> None:
    world = world_of(*quiet(3))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(3.0)
    world.nodes[1].give(3, 0, core(world, 1).signal, signal("ORPHAN_GAMES_DETECTED", {"node_id": "n0"}))
    world.run(3.0)
    assert world.nodes[1].disk.holds(ArtifactKey("games", "n0", "games.db"), 1)
    assert told(world, 0, type(signal("ORPHAN_GAMES_DETECTED", {"node_id": "n0"}))), "it was told too"


@pytest.mark.parametrize(
    ("config_key", "pulled"),
    [
        ("hex8_2p", {"hex.db"}),
        ("square8_2p", {"square.db"}),
        ("hex8_4p", set()),
        ("", {"hex.db", "square.db"}),
    ],
)
def test_orphans_of_one_config_key_are_pulled_and_no_others(config_key: str, pulled: set[str]) -> None:
    world = world_of(*quiet(2))
    for name, board in (("hex.db", "hex8"), ("square.db", "square8")):
        world.publish(0, "games", name, size=300 * KB, metadata={"board_type": board, "num_players": 2})
    world.run(3.0)
    told_of = signal("ORPHAN_GAMES_DETECTED", {"node_id": "n0", "config_key": config_key})
    world.nodes[1].give(3, 0, core(world, 1).signal, told_of)
    world.run(3.0)
    assert {key.name for key, _ in world.nodes[1].disk.holdings} == pulled
    [registered] = told(world, 1, OrphanGamesRegistered)
    assert (registered.config_key, registered.file_count) == (config_key, len(pulled))


def test_training_started_elsewhere_is_forwarded_and_changes_the_weight_of_that_node_until_it_ends() -> None:
    world = world_of(*quiet(3))
    trainer = core(world, 2).me
    before = core(world, 1).rules.weights.partner(trainer)
    world.nodes[0].give(3, 0, core(world, 0).signal, signal("TRAINING_STARTED", {"node_id": "n2"}))
    world.run(5.0)
    during = core(world, 1).rules.weights.partner(trainer)
    assert during == before + 50
    world.nodes[0].give(3, 0, core(world, 0).signal, signal("TRAINING_COMPLETED", {"host": "n2"}))
    world.run(5.0)
    assert core(world, 1).rules.weights.partner(trainer) == before


@pytest.mark.parametrize("told_of", [True, False])
def test_a_node_that_recovered_pulls_at_once_what_its_disk_had_refused(told_of: bool) -> None:
    world = world_of(PeerSpec("n0"), PeerSpec("n1", role="training"))
    world.nodes[1].disk.trouble = "no space left on the disk"
    for number in range(5):
        world.publish(0, "games", f"{number}.db", size=300 * KB)
    world.run(120.0)
    world.nodes[1].disk.trouble = None
    if told_of:
        world.nodes[0].give(3, 0, core(world, 0).signal, signal("NODE_RECOVERED", {"node_id": "n1"}))
    world.run(2.0)
    assert len(world.nodes[1].disk.holdings) == (5 if told_of else 0), "else it waits for its back-off"
    world.run(120.0)
    assert len(world.nodes[1].disk.holdings) == 5


def test_a_bandwidth_limit_holds_for_what_the_target_pulls_and_for_nothing_else() -> None:
    world = world_of(*quiet(2))
    world.publish(0, "games", "games.db", size=1000 * KB)
    world.publish(0, "games", "free.db", size=1000 * KB, metadata={"board_type": "hex8"})
    world.run(3.0)
    report = sync(world, 0, data_type="games", targets=("n1",), board_type="hex8")
    assert report.duration < 1.0
    report = sync(world, 0, data_type="games", targets=("n1",), bandwidth_limit=100.0 * KB)
    assert rows(report)["games.db", "n1"] == "moved"
    assert 8.0 < report.duration < 11.0


def test_an_offer_that_would_slow_a_pull_to_nothing_does_not_and_the_next_question_lifts_its_limit() -> None:
    world = world_of(*quiet(2), carrier="pieces")
    world.publish(0, "games", "games.db", size=1000 * KB)
    world.run(3.0)
    record = next(core(world, 1).catalog.records())
    link = next(iter(core(world, 1).dialing._links))
    liar = core(world, 1).dialing.peer_of(link)
    world.nodes[1].give(3, 0, core(world, 1).receive, Offer(entry_of(record), 2, True, 1), liar, link)
    world.run(8.0)
    (pull,) = core(world, 1).transfer.pulls()
    assert pull.bytes_done() > 400 * KB
    sync(world, 1, within=3.0, data_type="games", targets=("n1",), priority="critical")


def test_who_invents_offers_keeps_out_nobodys_true_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringgossip.protocol.verbs._MOST_EARLY", 3)
    world = world_of(*quiet(2))
    link = next(iter(core(world, 1).dialing._links))
    liar = core(world, 1).dialing.peer_of(link)
    invented = b"".join(bytes([number]) * 72 for number in range(9))
    world.nodes[1].give(3, 0, core(world, 1).receive, Offer(invented, 2, True, 0), liar, link)
    later = bytes([77]) * 72
    world.nodes[1].give(3, 0, core(world, 1).receive, Offer(later, 2, True, 0), liar, link)
    assert list(core(world, 1)._early)[-1] == later[:32]
    assert len(core(world, 1)._early) == 3


def test_what_an_absent_target_should_have_is_offered_when_it_is_back_even_if_we_restarted() -> None:
    world = world_of(*quiet(3))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(3.0)
    world.leave(1)
    world.run(5.0)
    report = sync(world, 2, data_type="games", targets=("n1",), priority="high")
    assert rows(report) == {("games.db", "n1"): "failed: n1 is not reachable"}
    world.crash(2)
    world.restart(2)
    world.run(10.0)
    world.restart(1)
    world.run(10.0)
    key = ArtifactKey("games", "n0", "games.db")
    assert world.nodes[1].disk.holds(key, 1)
    assert not world.nodes[2].disk.marks, "the target answered, and remembers it itself"
    assert world.nodes[1].disk.marks[key, "asked"] == 1
    assert core(world, 1).rules.asked()[key] == (1, "high")


def test_an_offer_on_an_open_link_outlives_both_its_ends() -> None:
    world = world_of(*quiet(2))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(3.0)
    world.nodes[1].pause()
    asked = SyncRequest(data_type="games", targets=("n1",))
    world.nodes[0].give(3, 0, core(world, 0).sync, 7, asked)
    world.run(0.5)
    assert len(core(world, 0).errands) == 1, "it is on disk although the sync has not timed out"
    for index in (1, 0):
        world.crash(index)
    world.run(1.0)
    for index in (0, 1):
        world.restart(index)
    world.run(10.0)
    assert world.nodes[1].disk.holds(ArtifactKey("games", "n0", "games.db"), 1)
    assert not len(core(world, 0).errands), "and over when it was answered"


@pytest.mark.parametrize("origin", ["n0", None])
def test_what_was_asked_for_before_anybody_published_it_comes_after_a_restart_too(origin: str | None) -> None:
    world = world_of(*quiet(2))
    world.nodes[1].give(3, 0, core(world, 1).expect, "games", "games.db", origin, None)
    world.nodes[1].give(3, 0, core(world, 1).expect, "games", "next.db", origin, 1)
    world.run(1.0)
    world.crash(1)
    world.restart(1)
    world.run(5.0)
    for name in ("games.db", "other.db", "next.db"):
        world.publish(0, "games", name, size=100 * KB)
    world.run(5.0)
    assert {key.name for key, _ in world.nodes[1].disk.holdings} == {"games.db"}
    world.publish(0, "games", "next.db", size=100 * KB, changed=1.0)
    world.run(5.0)
    assert {key.name for key, _ in world.nodes[1].disk.holdings} == {"games.db", "next.db"}
    assert not core(world, 1).marks.table("expected")


def test_a_full_table_of_questions_forgets_the_oldest_and_not_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ringgossip.protocol.marks._MOST", 2)
    monkeypatch.setattr("ringgossip.protocol.rules._MOST_ASKED", 2)
    world = world_of(*quiet(2))
    for name in ("a", "b", "c"):
        world.publish(0, "games", name)
        world.run(3.0)
        sync(world, 1, data_type="games", targets=("n1",))
    assert [key.name for key in core(world, 1).rules.asked()] == ["b", "c"]
    assert [key.name for key, _, _ in core(world, 1).marks.asked()] == ["b", "c"]


def test_how_urgent_a_question_was_is_known_after_a_restart() -> None:
    world = world_of(*quiet(2))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(3.0)
    world.nodes[1].disk.trouble = "no space left on the disk"
    world.nodes[1].give(
        3, 0, core(world, 1).sync, 7,
        SyncRequest(data_type="games", targets=("n1",), priority="critical"),
    )  # fmt: skip
    world.run(1.0)
    world.nodes[1].disk.trouble = None
    world.crash(1)
    world.restart(1)
    world.run(0.1)
    key = ArtifactKey("games", "n0", "games.db")
    assert core(world, 1).rules.asked()[key] == (1, "critical")


def test_the_back_off_of_what_our_disk_refuses_goes_on_after_a_restart() -> None:
    world = world_of(*quiet(2))
    world.publish(0, "games", "games.db", size=300 * KB)
    world.run(3.0)
    world.nodes[1].disk.trouble = "no space left on the disk"
    world.nodes[1].give(3, 0, core(world, 1).sync, 7, SyncRequest(data_type="games", targets=("n1",)))
    world.run(70.0)
    key = ArtifactKey("games", "n0", "games.db")
    tries = core(world, 1).transfer._parked.tries(key)
    assert tries >= 4
    world.nodes[1].disk.trouble = None
    world.crash(1)
    world.restart(1)
    at, world.nodes[1].told[:] = world.now, []
    took = world.run_until(lambda: world.nodes[1].disk.holds(key, 1), 120.0)
    step = 5.0 * 2 ** (tries - 1)
    assert took is not None and 0.5 * step <= took <= step + 2.0, (took, tries, at)
    assert world.nodes[1].disk.marks == {(key, "asked"): 1}, "it is here: nothing is put off any more"
